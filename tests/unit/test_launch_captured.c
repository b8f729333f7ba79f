/* test_launch_captured.c -- ks_launch_detect on environments that real launchers have set: Slurm 22.05 (batch script, srun,
 * salloc, and Open MPI's and MPICH's mpirun inside a batch script), Open MPI 4.1, MPICH 4.0, torchrun 2.x; two ranks on one
 * host. tests/fixtures/launch has them as captured, without what is not about ranks. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "ks_test.h"
#include "ksgrad/comm.h"

static const ks_launch_options g_auto = {.rank = -1, .size = -1, .local_rank = -1};

/* The environment becomes what the file says, nothing else. */
static int set_environment(const char *name) {
    char  path[512], line[1024];
    int   n = 0;
    FILE *f;
    snprintf(path, sizeof path, KS_TEST_SOURCE_DIR "/tests/fixtures/launch/%s.env", name);
    f = fopen(path, "r");
    if (!f) return 0;
    clearenv();
    while (fgets(line, sizeof line, f)) {
        char *eq                  = strchr(line, '=');
        line[strcspn(line, "\n")] = '\0';
        if (!eq) continue;
        *eq = '\0';
        n += setenv(line, eq + 1, 1) == 0;
    }
    fclose(f);
    return n;
}

static void found(const char *name, ks_launcher launcher, int rank, ks_launch *l) {
    char text[512];
    T_CHECK(set_environment(name) >= 5, "%s", name);
    T_OK(ks_launch_detect(&g_auto, l));
    ks_launch_print(l, text, sizeof text);
    printf("%-20s %s\n", name, text);
    T_CHECK(l->launcher == launcher, "%s: %s", name, ks_launcher_name(l->launcher));
    T_CHECK(l->rank == rank && l->size == 2, "%s: rank %d of %d", name, l->rank, l->size);
    T_CHECK(l->local_rank == rank && l->local_size == 2, "%s: local %d of %d", name, l->local_rank, l->local_size);
    T_CHECK(l->address[0] && l->port > 0 && l->n_port > 0, "%s: '%s' port %d, %d ports", name, l->address, l->port,
            l->n_port);
}

int main(void) {
    ks_launch l, m;
    found("slurm_srun0", KS_LAUNCHER_SLURM, 0, &l);
    found("slurm_srun1", KS_LAUNCHER_SLURM, 1, &m);
    T_CHECK(l.job == m.job && l.port == m.port && !strcmp(l.address, m.address), "two ranks of one step agree");
    setenv("SLURM_RESTART_COUNT", "1", 1);
    T_OK(ks_launch_detect(&g_auto, &m));
    T_CHECK(l.job != m.job, "a requeued job is another one");
    found("slurm_ompi1", KS_LAUNCHER_OPENMPI, 1, &l);
    found("slurm_mpich1", KS_LAUNCHER_MPICH, 1, &l); /* Hydra's step of one task, SLURM_PROCID 0 in all ranks */
    found("openmpi1", KS_LAUNCHER_OPENMPI, 1, &l);
    found("mpich1", KS_LAUNCHER_MPICH, 1, &l);
    found("torchrun1", KS_LAUNCHER_TORCHRUN, 1, &l);
    T_CHECK(!strcmp(l.address, "127.0.0.1"), "%s", l.address);
    T_CHECK(29477 < l.port || l.port + l.n_port <= 29477, "torchrun itself listens on its port: ours are %d to %d",
            l.port, l.port + l.n_port - 1);
    found("torchrun_standalone0", KS_LAUNCHER_TORCHRUN, 0, &l);

    static const char *const forgot[] = {"slurm_batch", "slurm_salloc"};
    for (int k = 0; k < 2; k++) {
        T_CHECK(set_environment(forgot[k]) >= 5, "%s", forgot[k]);
        T_ERR(ks_launch_detect(&g_auto, &l), KS_ERR_CONFIG);
        T_CHECK(strstr(ks_error_message(), "srun"), "%s: %s", forgot[k], ks_error_message());
        ks_error_clear();
    }
    return t_done("launch_captured", 50);
}
