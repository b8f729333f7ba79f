/* ranks.c -- see ranks.h and ks_cli_ranks in cli.h.
 *
 * An error before the ranks know each other (config, data) is mostly the same one on all of them, and should be said
 * once. Nobody can know without asking: so a rank that has failed goes to the rendezvous all the same and says so
 * there. When all come with the same message, rank 0's line stands for all; when not, every failed rank speaks for
 * itself, and those that wait in earnest are refused with the message. */
#define _GNU_SOURCE
#include "cli/ranks.h"
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "core/hash.h"
#include "core/machine.h"

enum { FAILED_TOGETHER_S = 20, FIRST_WORD_S = 1, LOST_S = 2 };

static const char *g_launcher, *g_rendezvous;
static int64_t     g_rank = -1, g_size = -1, g_local_rank = -1;

static ks_launch g_launch = {.size = 1};
static char      g_prefix[KS_HOST_NAME + 64];
static ks_comm  *g_comm;       /* the verb's */
static int       g_is_lost;    /* options and environment do not say where to meet */
static int       g_has_tried;  /* the rendezvous */
static int       g_is_refused; /* every rank knows it from its launcher alone */
static int       g_is_told;    /* rank 0 has refused us, and says why */

const ks_cli_opt *ks_cli_rank_options(void) {
    static const ks_cli_opt opt[] = {
        {"launcher", 0, KS_OPT_TEXT, "NAME", "auto, none (one rank), torchrun, openmpi, mpich, srun or explicit",
         &g_launcher},
        {"rank", 0, KS_OPT_INT, "R", "this process's rank, from 0; for starting the ranks by hand", &g_rank},
        {"ranks", 0, KS_OPT_INT, "N", "how many there are", &g_size},
        {"local-rank", 0, KS_OPT_INT, "L", "which GPU of the host, where the ranks' order does not say", &g_local_rank},
        {"rendezvous", 0, KS_OPT_TEXT, "HOST:PORT",
         "host of rank 0 and a free port of it, where the ranks find each other", &g_rendezvous},
        {NULL, 0, KS_OPT_FLAG, NULL, NULL, NULL}};
    return opt;
}

ks_launch_options ks_cli_launch_options(void) {
    return (ks_launch_options){
        .launcher = g_launcher, .rank = g_rank, .size = g_size, .local_rank = g_local_rank, .rendezvous = g_rendezvous};
}

static void set_launch(const ks_launch *launch) {
    char host[KS_HOST_NAME] = "";
    g_launch                = *launch;
    g_prefix[0]             = '\0';
    if (launch->rank == 0) return;
    if (gethostname(host, sizeof host - 1) != 0) snprintf(host, sizeof host, "unknown host");
    snprintf(g_prefix, sizeof g_prefix, "[rank %d of %d, %s] ", launch->rank, launch->size, host);
}

void ks_cli_ranks_begin(void) {
    ks_launch_options opt = ks_cli_launch_options();
    ks_launch         launch;
    opt.is_alone = 1;
    g_is_lost    = ks_launch_detect(&opt, &launch) != KS_OK; /* whoever needs it detects again */
    if (g_is_lost) ks_error_clear();
    set_launch(&launch);
}

int         ks_cli_rank(void) { return g_launch.rank; }
const char *ks_cli_rank_prefix(void) { return g_prefix; }

/* ---- the end ---- */

/* KS_OK: all ranks come with this message. */
static ks_status fail_together(const char *message) {
    const ks_comm_options opt  = {.timeout_s = FAILED_TOGETHER_S, .error = message};
    ks_comm              *comm = NULL;
    const ks_status       st   = ks_comm_create(&g_launch, &opt, &comm);
    g_has_tried                = 1;
    ks_comm_destroy(&comm);
    return st;
}

/* Rank 0 may be about to say the same: results and decisions are the same on all ranks, and so are most errors. */
static void wait_for_rank_0(void) {
    const struct timespec pause = {.tv_nsec = 5000000};
    for (double end = ks_wall_seconds() + FIRST_WORD_S; g_comm && ks_wall_seconds() < end; nanosleep(&pause, NULL))
        if (ks_comm_poll(g_comm) != KS_OK) break;
}

int ks_cli_ranks_is_silent(const char *message) {
    if (g_launch.rank == 0) return 0;
    if (g_is_lost) { /* nowhere to meet. Most launchers end the others when rank 0 ends, before they say the same */
        nanosleep(&(struct timespec){.tv_sec = LOST_S}, NULL);
        return 0;
    }
    if (!g_is_refused && !g_has_tried) return fail_together(message) == KS_OK;
    wait_for_rank_0();
    return g_is_refused || g_is_told || ks_comm_is_told(g_comm);
}

void ks_cli_ranks_fail(ks_status st, const char *message) {
    if (g_comm) ks_comm_fail(g_comm, st, message);
    else if (g_launch.size > 1 && !g_is_refused && !g_has_tried && !g_is_lost) (void)fail_together(message);
    g_comm = NULL;
}

/* ---- one rank ---- */

ks_status ks_cli_ctx(const char *backend, int threads, ks_ctx **out) {
    ks_status         st  = KS_OK;
    ks_launch_options opt = ks_cli_launch_options();
    ks_launch         launch;
    opt.is_alone = 1;
    *out         = NULL;
    KS_TRY(ks_launch_detect(&opt, &launch));
    g_is_refused = launch.size > 1;
    KS_CHECK(launch.size == 1, KS_ERR_CONFIG,
             "%s runs as one process; the launcher (%s) has started %d: start it with one, or --launcher none",
             ks_cli_verb(), ks_launcher_name(launch.launcher), launch.size);
    KS_TRY(ks_cli_ctx_on(backend, threads, 0, out));
done:
    return st;
}

/* ---- several ---- */

/* What must be the same on all ranks: all keys but paths up to the last name, what a rank may have of its machine (the
 * backend is compared later, by name) and what it prints. */
static ks_status hash_config(const ks_config *config, uint64_t *hash) {
    ks_status  st   = KS_OK;
    ks_config *c    = NULL, standard;
    char      *text = NULL;
    KS_TRY(KS_NEW(c, 1));
    KS_TRY(ks_config_defaults(&standard));
    *c                   = *config;
    const char *const at = strrchr(config->data.file, '/'), *const basis = strrchr(config->method.basis, '/');
    if (at) snprintf(c->data.file, sizeof c->data.file, "%s", at + 1);
    if (basis) snprintf(c->method.basis, sizeof c->method.basis, "%s", basis + 1);
    snprintf(c->run.dir, sizeof c->run.dir, ".");
    c->device.threads    = standard.device.threads;
    c->device.memory_gib = standard.device.memory_gib;
    memcpy(c->device.backend, standard.device.backend, sizeof c->device.backend);
    c->log            = standard.log;
    c->comm.timeout_s = standard.comm.timeout_s;
    KS_TRY(ks_config_dump(c, &text));
    *hash = ks_hash_bytes(KS_HASH_START, text, strlen(text));
done:
    KS_FREE(text);
    KS_FREE(c);
    return st;
}

/* Threads of this rank: the CPUs that it may use, shared with the ranks of its host that may use the same ones. A
 * launcher that has bound its ranks has given them different ones. */
static ks_status share_threads(ks_comm *comm, int *threads) {
    ks_status  st   = KS_OK;
    cpu_set_t *all  = NULL, mine;
    const int  rank = ks_comm_rank(comm), size = ks_comm_size(comm);
    int        before = 0, n = 0;
    CPU_ZERO(&mine);
    if (sched_getaffinity(0, sizeof mine, &mine) != 0) CPU_SET(0, &mine);
    KS_TRY(KS_NEW(all, size));
    KS_TRY(ks_comm_host_gather(comm, "start", sizeof mine, &mine, all));
    for (int r = 0; r < size; r++) {
        if (strcmp(ks_comm_host(comm, r), ks_comm_host(comm, rank)) != 0 || !CPU_EQUAL(&all[r], &mine)) continue;
        before += r < rank;
        n++;
    }
    const int cpus = CPU_COUNT(&mine);
    *threads       = cpus * (before + 1) / n - cpus * before / n;
    if (*threads < 1) *threads = 1;
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (cpus == 1 && g_launch.launcher == KS_LAUNCHER_OPENMPI && online >= 2L * ks_comm_local_size(comm))
        ks_log(KS_LOG_WARN, "mpirun has bound each rank to one of %ld CPUs: mpirun --bind-to none lets them share all",
               online);
done:
    KS_FREE(all);
    return st;
}

ks_status ks_cli_ranks(const ks_config *config, ks_comm **comm, ks_ctx **ctx) {
    ks_status               st  = KS_OK;
    const ks_launch_options opt = ks_cli_launch_options();
    ks_comm_options how = {.timeout_s = config->comm.timeout_s, .exit_code = ks_cli_exit_code, .is_told = &g_is_told};
    int             threads = (int)config->device.threads;
    ks_launch       launch;
    *comm = NULL;
    *ctx  = NULL;
    st    = ks_launch_detect(&opt, &launch);
    set_launch(&launch);
    g_is_lost = st != KS_OK;
    if (g_is_lost) goto done;
    KS_TRY(hash_config(config, &how.config_hash));
    g_has_tried = 1;
    KS_TRY(ks_comm_create(&launch, &how, comm));
    g_comm = *comm;
    if (*comm) {
        if (launch.rank > 0 && !freopen("/dev/null", "w", stdout))
            KS_CHECK(0, KS_ERR_IO, "/dev/null cannot be opened"); /* results are rank 0's */
        if (threads == 0) KS_TRY(share_threads(*comm, &threads));
    }
    KS_TRY(ks_cli_ctx_on(config->device.backend, threads, ks_comm_local_rank(*comm), ctx));
    KS_TRY(ks_comm_attach(*comm, *ctx, config->comm.transport));
    if (*comm)
        ks_log(KS_LOG_INFO, "%s: %d ranks on %d host%s, transport %s, %d thread%s on rank 0",
               ks_launcher_name(launch.launcher), launch.size, ks_comm_n_host(*comm),
               ks_comm_n_host(*comm) == 1 ? "" : "s", ks_comm_transport(*comm), ks_ctx_threads(*ctx),
               ks_ctx_threads(*ctx) == 1 ? "" : "s");
done:
    return st;
}
