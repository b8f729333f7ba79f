/* cmd_doctor.c -- what this machine has, as ksgrad sees it. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/ranks.h"
#include "comm/transport.h"
#include "core/backend.h"

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

/* A fact, and where something is to be done about it, a line below it. */
static void KS_PRINTF(2, 3) fact(const char *name, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    printf("%-18s ", name);
    vprintf(fmt, ap);
    putchar('\n');
    va_end(ap);
}
static void KS_PRINTF(1, 2) advice(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    printf("%-18s   -> ", "");
    vprintf(fmt, ap);
    putchar('\n');
    va_end(ap);
}

static void show_cpus(void) {
    cpu_set_t  set;
    char       cpu[128];
    const long all = sysconf(_SC_NPROCESSORS_ONLN);
    cpu_model(cpu, sizeof cpu);
    fact("cpu", "%s, kernels %s%s", cpu, ks_cpu_isa(), getenv("KSGRAD_ISA") ? " (lowered by KSGRAD_ISA)" : "");
    if (sched_getaffinity(0, sizeof set, &set) != 0) return;
    fact("cpus", "%d of %ld for this process", CPU_COUNT(&set), all);
    if (CPU_COUNT(&set) == 1 && all > 1)
        advice("bound to one: mpirun --bind-to none, or srun --cpus-per-task with SRUN_CPUS_PER_TASK set");
}

/* Of each GPU that the process sees; the first one's context is *ctx. */
static void show_gpus(const ks_ctx *ctx) {
    ks_device_info info;
    if (ks_ctx_device(ctx, &info) != KS_OK || info.n == 0) return;
    fact("gpu", "0 of %d: %s, %s", info.n, info.name, info.id);
    for (int i = 1; i < info.n; i++) {
        ks_ctx              *other = NULL;
        ks_device_info       it;
        const ks_ctx_options opt = {.backend = "cuda", .threads = 1, .device = i};
        if (ks_ctx_create(&opt, &other) == KS_OK && ks_ctx_device(other, &it) == KS_OK)
            fact("", "%d of %d: %s, %s", it.index, it.n, it.name, it.id);
        else fact("", "%d of %d: %s", i, info.n, ks_error_message());
        ks_ctx_destroy(&other);
    }
}

static int show_backend(const char *name) {
    ks_ctx              *ctx = NULL;
    const ks_ctx_options opt = {.backend = name};
    const int            ok  = ks_ctx_create(&opt, &ctx) == KS_OK;
    if (ok) {
        fact("backend", "%s, %d thread%s", ks_ctx_backend(ctx), ks_ctx_threads(ctx),
             ks_ctx_threads(ctx) == 1 ? "" : "s");
        show_gpus(ctx);
    } else {
        fact("backend", "%s: %s", name, ks_error_message());
    }
    ks_ctx_destroy(&ctx);
    ks_error_clear();
    return ok;
}

static void show_libraries(void) {
    char text[512];
    ks_nccl_describe(text, sizeof text);
    fact("nccl", "%s", text);
#ifdef KS_MPI
    ks_transport_mpi.describe(text, sizeof text);
    fact("mpi", "%s", text);
#else
    fact("mpi", "not in this build (cmake -DKS_MPI=ON); ranks on CPUs talk over TCP");
#endif
}

/* ---- launcher ---- */

/* What launch.c and the libraries between ranks read. */
static int is_of_interest(const char *entry) {
    static const char *const name[] = {"TORCHELASTIC_RUN_ID=",
                                       "TORCHELASTIC_RESTART_COUNT=",
                                       "RANK=",
                                       "WORLD_SIZE=",
                                       "LOCAL_RANK=",
                                       "LOCAL_WORLD_SIZE=",
                                       "MASTER_",
                                       "OMPI_COMM_WORLD_",
                                       "PMIX_NAMESPACE=",
                                       "PMI_",
                                       "MPI_LOCAL",
                                       "SLURM_JOB_ID=",
                                       "SLURM_STEP_ID=",
                                       "SLURM_STEP_NUM_",
                                       "SLURM_STEP_NODELIST=",
                                       "SLURM_STEP_TASKS_PER_NODE=",
                                       "SLURM_PROCID=",
                                       "SLURM_LOCALID=",
                                       "SLURM_NODEID=",
                                       "SLURM_NTASKS",
                                       "SLURM_JOB_NODELIST=",
                                       "SLURM_DISTRIBUTION=",
                                       "SLURM_RESTART_COUNT=",
                                       "PBS_JOBID=",
                                       "PBS_NODEFILE=",
                                       "CUDA_VISIBLE_DEVICES=",
                                       "NCCL_"};
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++)
        if (!strncmp(entry, name[i], strlen(name[i]))) return 1;
    return 0;
}

static int show_launcher(void) {
    ks_launch_options opt = ks_cli_launch_options();
    ks_launch         launch;
    char              line[KS_HOST_NAME + 256];
    const char       *title = "variables";
    ks_status         st    = ks_launch_detect(&opt, &launch);
    if (st != KS_OK) {
        snprintf(line, sizeof line, "%s", ks_error_message());
        opt.is_alone = 1; /* a batch script may well look around before it starts ranks */
        st           = ks_launch_detect(&opt, &launch);
        fact("launcher", "%s", st == KS_OK ? "none, one rank" : "WRONG:");
        advice("%s", line);
    } else {
        ks_launch_print(&launch, line, sizeof line);
        fact("launcher", "%s", line);
    }
    ks_error_clear();
    for (char **e = environ; *e; e++)
        if (is_of_interest(*e)) {
            fact(title, "%.200s", *e);
            title = "";
        }
    return st == KS_OK;
}

/* ---- network ---- */

/* All addresses of one interface; 1: another machine may reach it. */
static int show_interface(const struct ifaddrs *all, const char *name, const char *title) {
    char   line[1024];
    size_t n     = (size_t)snprintf(line, sizeof line, "%s", name);
    int    is_up = 0, is_loop = 0, count = 0;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        char        text[INET6_ADDRSTRLEN] = "";
        const void *number                 = NULL;
        if (strcmp(i->ifa_name, name) != 0) continue;
        is_up |= (i->ifa_flags & IFF_UP) && (i->ifa_flags & IFF_RUNNING);
        is_loop |= (i->ifa_flags & IFF_LOOPBACK) != 0;
        if (!i->ifa_addr) continue;
        if (i->ifa_addr->sa_family == AF_INET)
            number = &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr;
        if (i->ifa_addr->sa_family == AF_INET6) {
            const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr;
            if (!IN6_IS_ADDR_LINKLOCAL(six)) number = six;
        }
        if (!number || !inet_ntop(i->ifa_addr->sa_family, number, text, sizeof text) || n >= sizeof line) continue;
        n += (size_t)snprintf(line + n, sizeof line - n, "%s %s", count++ ? "," : "", text);
    }
    fact(title, "%s%s%s", line, count ? "" : " no address", is_up ? "" : " (down)");
    return is_up && !is_loop && count;
}

static void show_network(void) {
    struct ifaddrs *all                = NULL;
    char            host[KS_HOST_NAME] = "";
    const char     *title              = "network";
    int             n_reach            = 0;
    if (gethostname(host, sizeof host - 1) == 0) fact("host", "%s", host);
    if (getifaddrs(&all) != 0) return;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        const struct ifaddrs *first = all;
        while (strcmp(first->ifa_name, i->ifa_name) != 0) first = first->ifa_next;
        if (first != i) continue;
        n_reach += show_interface(all, i->ifa_name, title);
        title = "";
    }
    freeifaddrs(all);
    if (n_reach == 0) advice("no address that other machines can reach: ranks on this one only");
    if (n_reach > 1 && !getenv("NCCL_SOCKET_IFNAME"))
        advice("several networks: where NCCL takes the wrong one, set NCCL_SOCKET_IFNAME");
    DIR *verbs = opendir("/sys/class/infiniband");
    title      = "infiniband";
    for (struct dirent *e = verbs ? readdir(verbs) : NULL; e; e = readdir(verbs))
        if (e->d_name[0] != '.') {
            fact(title, "%s", e->d_name);
            title = "";
        }
    if (verbs) closedir(verbs);
}

int ks_cmd_doctor(int argc, char **argv) {
    const ks_cli_spec spec = {
        "doctor",
        "Prints what this machine has: build, CPU, memory, backends, GPUs, NCCL and MPI, basis sets, launcher\n"
        "with its variables, networks. In a job, started like the training: what its ranks will see.",
        "ksgrad doctor\nsrun --nodes 2 --ntasks-per-node 1 ksgrad doctor",
        NULL,
        0,
        0};
    const char *arg[KS_CLI_MAX_ARG];
    int         n_arg;
    const int   rc = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;
    int bad = 0;
    fact("ksgrad", "%s", ks_version());
    fact("build", "%s", ks_build_info());
    show_cpus();
    fact("memory", "%.1f GiB, %.1f available", memory_gib("MemTotal:"), memory_gib("MemAvailable:"));
    bad += !show_backend("cpu");
    (void)show_backend("cuda"); /* its absence is a fact, not a fault */
    show_libraries();

    ks_basis *basis = NULL;
    if (ks_basis_load("def2-svp", &basis) == KS_OK) {
        fact("basis sets", "def2-svp found");
    } else {
        bad++;
        fact("basis sets", "MISSING: %s", ks_error_message());
        advice("set KSGRAD_BASIS_PATH to the folder datasets/basis of the source tree");
    }
    ks_basis_destroy(&basis);
    bad += !show_launcher();
    show_network();
    if (getenv("OMP_NUM_THREADS"))
        fact("note", "OMP_NUM_THREADS=%s is ignored: use --threads", getenv("OMP_NUM_THREADS"));
    fact("verdict", "%s", bad ? "something is missing or wrong, see above" : "ready");
    return ks_cli_finish(KS_OK) ? KS_EXIT_DATA : bad ? KS_EXIT_DEVICE : KS_EXIT_OK;
}
