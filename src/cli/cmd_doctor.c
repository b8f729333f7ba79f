/* cmd_doctor.c -- what this machine has, as ksgrad sees it. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/cli.h"

static void cpu_model(char *text, size_t size) {
    FILE *f = fopen("/proc/cpuinfo", "r");
    char  line[512];
    snprintf(text, size, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        snprintf(text, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f) fclose(f);
}

static double memory_gib(const char *key) {
    FILE  *f = fopen("/proc/meminfo", "r");
    char   line[256];
    double kib = -1;
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key))) kib = strtod(line + strlen(key) + 1, NULL);
    if (f) fclose(f);
    return kib / 1048576;
}

static int check_backend(const char *name) {
    ks_ctx              *ctx = NULL;
    const ks_ctx_options opt = {.backend = name};
    const int            ok  = ks_ctx_create(&opt, &ctx) == KS_OK;
    if (ok)
        printf("%-18s %s, %d thread%s\n", "backend", ks_ctx_backend(ctx), ks_ctx_threads(ctx),
               ks_ctx_threads(ctx) == 1 ? "" : "s");
    else printf("%-18s %s: %s\n", "backend", name, ks_error_message());
    ks_ctx_destroy(&ctx);
    ks_error_clear();
    return ok;
}

int ks_cmd_doctor(int argc, char **argv) {
    const ks_cli_spec spec = {"doctor",
                              "Prints what this machine has: build, CPU, memory, backends, basis sets, launcher.",
                              "ksgrad doctor",
                              NULL,
                              0,
                              0};
    const char       *arg[KS_CLI_MAX_ARG];
    int               n_arg;
    const int         rc = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;
    char cpu[128];
    int  bad = 0;
    cpu_model(cpu, sizeof cpu);
    printf("%-18s %s\n%-18s %s\n", "ksgrad", ks_version(), "build", ks_build_info());
    printf("%-18s %s, kernels %s%s\n", "cpu", cpu, ks_cpu_isa(),
           getenv("KSGRAD_ISA") ? " (lowered by KSGRAD_ISA)" : "");
    printf("%-18s %.1f GiB, %.1f available\n", "memory", memory_gib("MemTotal:"), memory_gib("MemAvailable:"));
    bad += !check_backend("cpu");
    (void)check_backend("cuda"); /* its absence is a fact, not a fault */

    ks_basis *basis = NULL;
    if (ks_basis_load("def2-svp", &basis) == KS_OK) {
        printf("%-18s def2-svp found\n", "basis sets");
    } else {
        bad++;
        printf("%-18s MISSING: %s\n%-18s   set KSGRAD_BASIS_PATH to the folder datasets/basis of the source tree\n",
               "basis sets", ks_error_message(), "");
    }
    ks_basis_destroy(&basis);
    const char *const launcher[][2] = {{"torchrun", "TORCHELASTIC_RUN_ID"},
                                       {"Open MPI", "OMPI_COMM_WORLD_SIZE"},
                                       {"MPICH/Intel", "PMI_SIZE"},
                                       {"srun", "SLURM_STEP_ID"}};
    const char       *seen          = "none (a single process)";
    for (int i = 3; i >= 0; i--)
        if (getenv(launcher[i][1])) seen = launcher[i][0];
    printf("%-18s %s\n", "launcher", seen);
    if (getenv("OMP_NUM_THREADS"))
        printf("%-18s OMP_NUM_THREADS=%s is ignored: use --threads\n", "note", getenv("OMP_NUM_THREADS"));
    printf("%-18s %s\n", "verdict", bad ? "something is missing, see above" : "ready");
    return ks_cli_finish(KS_OK) ? KS_EXIT_DATA : bad ? KS_EXIT_DEVICE : KS_EXIT_OK;
}
