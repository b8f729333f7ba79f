/* launch.c -- how this process was started: command line, then the variables of each launcher. See comm.h.
 *
 * What each sets, and what is the same on all ranks of a job and on no other (the key of the rendezvous):
 *   torchrun  RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT; run id, port, restart count.
 *             The agent itself listens on MASTER_PORT, so ours begin behind it.
 *   Open MPI  OMPI_COMM_WORLD_{RANK,SIZE,LOCAL_RANK,LOCAL_SIZE}; PMIX_NAMESPACE, before it OMPI_MCA_ess_base_jobid
 *   Hydra     PMI_RANK, PMI_SIZE, MPI_LOCALRANKID, MPI_LOCALNRANKS (MPICH, Intel MPI), PMI_LOCAL_* (PALS); nothing: on
 *             one host it is the process of the proxy that has started all its ranks
 *   srun      SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID, node list, tasks per node; job, step, restart count
 * Open MPI and Hydra come before Slurm because inside a Slurm job they start their daemons as a step of their own; srun
 * --mpi=pmi2 sets PMI_RANK too, but none of Hydra's own variables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "comm/nodelist.h"
#include "comm/transport.h"
#include "core/hash.h"
#include "core/text.h"
#include "ksgrad/comm.h"

enum { MAX_RANKS = 65536, N_PORT = 16, FIRST_PORT = 20000, N_PORT_RANGE = 625, LAST_PORT = 65535 };

#define STEP_PSEUDO 0xfffffff0LL /* step numbers from here on are Slurm's own: batch, interactive, extern */

static const struct {
    const char *name, *other;
} g_name[] = {[KS_LAUNCHER_NONE]     = {"none", NULL},
              [KS_LAUNCHER_EXPLICIT] = {"explicit", NULL},
              [KS_LAUNCHER_TORCHRUN] = {"torchrun", "torch"},
              [KS_LAUNCHER_OPENMPI]  = {"openmpi", "ompi"},
              [KS_LAUNCHER_MPICH]    = {"mpich", "hydra"},
              [KS_LAUNCHER_SLURM]    = {"srun", "slurm"}};
enum { N_NAME = (int)(sizeof g_name / sizeof g_name[0]) };

const char *ks_launcher_name(ks_launcher launcher) { return g_name[launcher].name; }

/* ---- variables ---- */

/* An empty variable is none. */
static const char *var(const char *name) {
    const char *text = getenv(name);
    return text && text[0] ? text : NULL;
}
/* The first of two that is set, and its name. */
static const char *var_of(const char **name, const char *other) {
    const char *text = var(*name);
    if (text || !other || !var(other)) return text;
    *name = other;
    return var(other);
}

/* -1 when neither is set. */
static ks_status read_optional(const ks_launch *l, const char *name, const char *other, int64_t lo, int64_t hi,
                               int *out) {
    ks_status   st    = KS_OK;
    const char *text  = var_of(&name, other);
    int64_t     value = -1;
    if (text)
        KS_CHECK(ks_text_decimal(text, &value) == 0 && value >= lo && value <= hi, KS_ERR_CONFIG,
                 "%s: %s=%s should be an integer from %lld to %lld (--launcher none starts one rank)",
                 ks_launcher_name(l->launcher), name, text, (long long)lo, (long long)hi);
    *out = (int)value;
done:
    return st;
}
static ks_status read_number(const ks_launch *l, const char *name, const char *other, const char *meaning, int64_t lo,
                             int64_t hi, int *out) {
    ks_status   st   = KS_OK;
    const char *text = var_of(&name, other);
    KS_CHECK(text, KS_ERR_CONFIG, "%s: %s is not set: should be %s (--launcher none starts one rank)",
             ks_launcher_name(l->launcher), name, meaning);
    KS_TRY(read_optional(l, name, NULL, lo, hi, out));
done:
    return st;
}

/* A text with its end, so that "1","23" is not "12","3". */
static uint64_t hash_text(uint64_t h, const char *text) {
    return ks_hash_bytes(h, text ? text : "", text ? strlen(text) + 1 : 1);
}
static uint64_t hash_number(uint64_t h, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return hash_text(h, text);
}
static uint64_t hash_begin(const char *text) { return hash_text(KS_HASH_START, text); }

/* ---- where rank 0 listens ---- */

static ks_status set_address(ks_launch *l, const char *source, const char *host, size_t length) {
    ks_status st = KS_OK;
    KS_CHECK(length > 0 && length < sizeof l->address, KS_ERR_CONFIG, "%s: a host name of %zu characters, limit %d",
             source, length, KS_HOST_NAME - 1);
    memcpy(l->address, host, length);
    l->address[length] = '\0';
    KS_CHECK(!strpbrk(l->address, " \t\r\n/[]"), KS_ERR_CONFIG, "%s: '%s' is not a host name or an address", source,
             l->address);
done:
    return st;
}

/* Ports of jobs that are given none: below the ephemeral ones of most systems. */
static void set_job_port(ks_launch *l) {
    l->port   = FIRST_PORT + N_PORT * (int)((l->job ^ l->job >> 32) % N_PORT_RANGE);
    l->n_port = N_PORT;
}

/* "host:port" or "[address]:port". */
static ks_status set_rendezvous(ks_launch *l, const char *text) {
    ks_status   st    = KS_OK;
    const char *colon = strrchr(text, ':'), *host = text;
    int64_t     port = 0;
    KS_CHECK(colon && ks_text_decimal(colon + 1, &port) == 0 && port > 0 && port <= LAST_PORT, KS_ERR_CONFIG,
             "--rendezvous %s: should be host:port, the port from 1 to %d", text, LAST_PORT);
    size_t n = (size_t)(colon - text);
    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        host++;
        n -= 2;
    } else {
        KS_CHECK(!memchr(host, ':', n), KS_ERR_CONFIG, "--rendezvous %s: an IPv6 address stands in brackets: [%.*s]%s",
                 text, (int)n, host, colon);
    }
    KS_TRY(set_address(l, "--rendezvous", host, n));
    l->port   = (int)port;
    l->n_port = 1;
done:
    return st;
}

static ks_status set_first_node(ks_launch *l, const char *name) {
    ks_status st = KS_OK;
    char      host[KS_HOST_NAME];
    if (ks_nodelist_host(var(name), 0, host, sizeof host, NULL) != KS_OK) {
        char why[256];
        snprintf(why, sizeof why, "%s", ks_error_message());
        KS_CHECK(0, KS_ERR_CONFIG, "%s: %s: %s; --rendezvous host:port names rank 0's host",
                 ks_launcher_name(l->launcher), name, why);
    }
    KS_TRY(set_address(l, name, host, strlen(host)));
    set_job_port(l);
done:
    return st;
}

/* Open MPI and Hydra say nothing about it. */
static ks_status set_mpi_address(ks_launch *l) {
    ks_status   st     = KS_OK;
    const char *master = var("MASTER_ADDR"),
               *nodes  = var("SLURM_JOB_NODELIST") ? "SLURM_JOB_NODELIST" : "SLURM_NODELIST";
    set_job_port(l);
    if (master) {
        int port;
        KS_TRY(set_address(l, "MASTER_ADDR", master, strlen(master)));
        KS_TRY(read_optional(l, "MASTER_PORT", NULL, 1, LAST_PORT, &port));
        if (port > 0) {
            l->port   = port;
            l->n_port = port + N_PORT - 1 <= LAST_PORT ? N_PORT : LAST_PORT - port + 1;
        }
    } else if (l->local_size == l->size) {
        KS_TRY(set_address(l, "loopback", "127.0.0.1", 9));
    } else {
#ifdef KS_MPI
        if (ks_mpi_is_launcher()) {
            l->port = l->n_port = 0;
            return KS_OK;
        }
#endif
        KS_CHECK(
            var(nodes), KS_ERR_CONFIG,
            "%s: %d ranks on several hosts, and nothing says where rank 0 is: add --rendezvous host:port of its host, "
            "or set MASTER_ADDR on all ranks",
            ks_launcher_name(l->launcher), l->size);
        KS_TRY(set_first_node(l, nodes));
    }
done:
    return st;
}

/* ---- launchers ---- */

static ks_status by_torchrun(ks_launch *l, int has_rendezvous) {
    ks_status   st   = KS_OK;
    const char *host = var("MASTER_ADDR");
    int         port;
    KS_TRY(read_number(l, "WORLD_SIZE", NULL, "the number of ranks", 1, MAX_RANKS, &l->size));
    KS_TRY(read_number(l, "RANK", NULL, "this process's rank", 0, l->size - 1, &l->rank));
    KS_TRY(read_optional(l, "LOCAL_WORLD_SIZE", NULL, 1, l->size, &l->local_size));
    KS_TRY(read_optional(l, "LOCAL_RANK", NULL, 0, (l->local_size > 0 ? l->local_size : l->size) - 1, &l->local_rank));
    l->job = hash_text(hash_begin("torchrun"), var("TORCHELASTIC_RUN_ID"));
    l->job = hash_text(l->job, var("TORCHELASTIC_RESTART_COUNT"));
    if (l->size == 1 || has_rendezvous) return KS_OK;
    KS_CHECK(host, KS_ERR_CONFIG, "torchrun: MASTER_ADDR is not set: should be the host of rank 0");
    KS_TRY(set_address(l, "MASTER_ADDR", host, strlen(host)));
    KS_TRY(read_number(l, "MASTER_PORT", NULL, "the agent's port", 1, LAST_PORT, &port));
    l->job    = hash_number(l->job, port);
    l->port   = port + N_PORT <= LAST_PORT ? port + 1 : port - N_PORT;
    l->n_port = N_PORT;
done:
    return st;
}

static ks_status by_openmpi(ks_launch *l, int has_rendezvous) {
    ks_status   st  = KS_OK;
    const char *job = var("PMIX_NAMESPACE") ? var("PMIX_NAMESPACE") : var("OMPI_MCA_ess_base_jobid");
    KS_TRY(read_number(l, "OMPI_COMM_WORLD_SIZE", NULL, "the number of ranks", 1, MAX_RANKS, &l->size));
    KS_TRY(read_number(l, "OMPI_COMM_WORLD_RANK", NULL, "this process's rank", 0, l->size - 1, &l->rank));
    KS_TRY(read_optional(l, "OMPI_COMM_WORLD_LOCAL_SIZE", NULL, 1, l->size, &l->local_size));
    KS_TRY(read_optional(l, "OMPI_COMM_WORLD_LOCAL_RANK", NULL, 0, (l->local_size > 0 ? l->local_size : l->size) - 1,
                         &l->local_rank));
    l->job = hash_text(hash_text(hash_begin("openmpi"), job), var("SLURM_JOB_ID"));
    if (l->size > 1 && !has_rendezvous) KS_TRY(set_mpi_address(l));
done:
    return st;
}

/* Process id of the proxy above this process, past wrapper scripts; the parent's when there is none. */
static int64_t proxy_pid(void) {
    int64_t pid = getppid();
    for (int level = 0; level < 16 && pid > 1; level++) {
        char  path[64], line[512] = "";
        long  parent = 0;
        FILE *f;
        snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
        if (!(f = fopen(path, "r"))) break;
        const int has_line = fgets(line, sizeof line, f) != NULL;
        fclose(f);
        /* pid (name) state parent ...; a name may hold anything, its end is the last ')' */
        const char *name = strchr(line, '('), *end = strrchr(line, ')');
        if (!has_line || !name || !end || sscanf(end + 1, " %*c %ld", &parent) != 1) break;
        if (!strncmp(name, "(hydra_", 7) || !strncmp(name, "(pmi_proxy", 10)) return pid;
        pid = parent;
    }
    return getppid();
}

static ks_status by_hydra(ks_launch *l, int has_rendezvous) {
    ks_status st = KS_OK;
    KS_TRY(read_number(l, "PMI_SIZE", NULL, "the number of ranks", 1, MAX_RANKS, &l->size));
    KS_TRY(read_number(l, "PMI_RANK", NULL, "this process's rank", 0, l->size - 1, &l->rank));
    KS_TRY(read_optional(l, "MPI_LOCALNRANKS", "PMI_LOCAL_SIZE", 1, l->size, &l->local_size));
    KS_TRY(read_optional(l, "MPI_LOCALRANKID", "PMI_LOCAL_RANK", 0, (l->local_size > 0 ? l->local_size : l->size) - 1,
                         &l->local_rank));
    l->job = hash_text(hash_text(hash_begin("mpich"), var("SLURM_JOB_ID")), var("PBS_JOBID"));
    if (l->local_size == l->size) l->job = hash_number(l->job, proxy_pid());
    if (l->size > 1 && !has_rendezvous) KS_TRY(set_mpi_address(l));
done:
    return st;
}

static int is_slurm_step(void) {
    const char *name = "SLURM_STEP_ID", *text = var_of(&name, "SLURM_STEPID");
    int64_t     step;
    if (!text) return 0;
    return ks_text_decimal(text, &step) != 0 ? strcspn(text, "0123456789") == 0 : step < STEP_PSEUDO;
}

static int is_hydra(void) {
    if (!var("PMI_RANK") && !var("PMI_SIZE")) return 0;
    return !is_slurm_step() || var("MPI_LOCALRANKID") || var("PMI_LOCAL_RANK") || var("HYDI_CONTROL_FD");
}

/* Tasks that a Slurm job has, where no step has started them; 0 outside Slurm. */
static int64_t tasks_of_job(void) {
    const char *name = "SLURM_NTASKS", *text = var_of(&name, "SLURM_NPROCS");
    const char *each_text = var("SLURM_NTASKS_PER_NODE");
    int64_t     tasks     = 0, each, nodes;
    if (!var("SLURM_JOB_ID") && !var("SLURM_JOBID")) return 0;
    if (text) return ks_text_decimal(text, &tasks) == 0 ? tasks : 0;
    name = "SLURM_JOB_NUM_NODES";
    text = var_of(&name, "SLURM_NNODES");
    if (!text || !each_text || ks_text_decimal(each_text, &each) != 0 || ks_text_decimal(text, &nodes) != 0) return 0;
    return each > 0 && each <= MAX_RANKS && nodes > 0 && nodes <= MAX_RANKS ? each * nodes : 0;
}

static ks_status by_slurm(ks_launch *l, int has_rendezvous) {
    ks_status   st    = KS_OK;
    const char *tasks = var("SLURM_STEP_TASKS_PER_NODE"), *how = var("SLURM_DISTRIBUTION");
    const char *nodes = "SLURM_STEP_NODELIST";
    int         node, n_node, step;
    KS_CHECK(is_slurm_step(), KS_ERR_CONFIG,
             "srun: SLURM_STEP_ID is not that of a step: start with srun (--launcher none starts one rank)");
    KS_TRY(read_number(l, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "the number of ranks", 1, MAX_RANKS, &l->size));
    KS_TRY(read_number(l, "SLURM_PROCID", NULL, "this process's rank", 0, l->size - 1, &l->rank));
    KS_TRY(read_number(l, "SLURM_STEP_ID", "SLURM_STEPID", "the number of the step", 0, STEP_PSEUDO - 1, &step));
    KS_TRY(read_optional(l, "SLURM_LOCALID", NULL, 0, l->size - 1, &l->local_rank));
    KS_TRY(read_optional(l, "SLURM_NODEID", NULL, 0, MAX_RANKS, &node));
    KS_TRY(read_optional(l, "SLURM_STEP_NUM_NODES", "SLURM_NNODES", 1, MAX_RANKS, &n_node));
    if (n_node == 1) {
        l->local_size = l->size;
    } else if (tasks && node >= 0) {
        int64_t here;
        if (ks_nodelist_tasks(tasks, node, &here, NULL) != KS_OK)
            KS_CHECK(0, KS_ERR_CONFIG, "srun: SLURM_STEP_TASKS_PER_NODE=%s should look like '4(x2),3'", tasks);
        if (here > l->local_rank && here <= l->size) l->local_size = (int)here;
    }
    KS_CHECK(var("SLURM_JOB_ID") || var("SLURM_JOBID"), KS_ERR_CONFIG, "srun: SLURM_JOB_ID is not set");
    l->job = hash_text(hash_begin("srun"), var("SLURM_JOB_ID") ? var("SLURM_JOB_ID") : var("SLURM_JOBID"));
    l->job = hash_text(hash_number(l->job, step), var("SLURM_RESTART_COUNT"));
    l->job = hash_text(l->job, var("SLURM_CLUSTER_NAME"));
    if (l->size == 1 || has_rendezvous) return KS_OK;
    if (l->local_size == l->size) { /* a node's name need not be one that resolves */
        KS_TRY(set_address(l, "loopback", "127.0.0.1", 9));
        set_job_port(l);
        return KS_OK;
    }
    KS_CHECK(
        !how || strncmp(how, "arbitrary", 9), KS_ERR_CONFIG,
        "srun: SLURM_DISTRIBUTION=%s: rank 0 need not be on the first node: add --rendezvous host:port of its host",
        how);
    if (!var(nodes)) nodes = var("SLURM_JOB_NODELIST") ? "SLURM_JOB_NODELIST" : "SLURM_NODELIST";
    KS_CHECK(
        var(nodes), KS_ERR_CONFIG,
        "srun: SLURM_STEP_NODELIST is not set: should be the nodes of the step; --rendezvous host:port names rank 0's");
    KS_TRY(set_first_node(l, nodes));
done:
    return st;
}

static ks_status by_options(ks_launch *l, const ks_launch_options *opt) {
    ks_status st = KS_OK;
    KS_CHECK(opt->rank >= 0 && opt->size >= 0, KS_ERR_CONFIG, "--rank and --ranks belong together: %s is missing",
             opt->rank >= 0 ? "--ranks" : "--rank");
    KS_CHECK(opt->size >= 1 && opt->size <= MAX_RANKS, KS_ERR_CONFIG, "--ranks %lld: should be from 1 to %d",
             (long long)opt->size, MAX_RANKS);
    KS_CHECK(opt->rank < opt->size, KS_ERR_CONFIG, "--rank %lld: should be from 0 to %lld, one less than --ranks",
             (long long)opt->rank, (long long)opt->size - 1);
    l->rank = (int)opt->rank;
    l->size = (int)opt->size;
    KS_CHECK(l->size == 1 || opt->rendezvous, KS_ERR_CONFIG,
             "--rank and --ranks need --rendezvous host:port: the host of rank 0 and a free port of it");
    /* the port alone: the ranks may know rank 0's host by different names */
    l->job = hash_text(hash_begin("explicit"), opt->rendezvous ? strrchr(opt->rendezvous, ':') : NULL);
done:
    return st;
}

/* ---- which one ---- */

static ks_status choose(const ks_launch_options *opt, ks_launcher *out) {
    ks_status st        = KS_OK;
    const int has_ranks = opt->rank >= 0 || opt->size >= 0;
    *out                = KS_LAUNCHER_NONE;
    if (opt->launcher && strcmp(opt->launcher, "auto") != 0) {
        int i = 0;
        while (i < N_NAME && strcmp(opt->launcher, g_name[i].name) != 0 &&
               (!g_name[i].other || strcmp(opt->launcher, g_name[i].other) != 0))
            i++;
        KS_CHECK(i < N_NAME, KS_ERR_CONFIG,
                 "--launcher %s: should be auto, none, explicit, torchrun, openmpi, mpich or srun", opt->launcher);
        KS_CHECK(!has_ranks || i == KS_LAUNCHER_EXPLICIT, KS_ERR_CONFIG, "--rank and --ranks contradict --launcher %s",
                 opt->launcher);
        *out = (ks_launcher)i;
        return KS_OK;
    }
    if (has_ranks) *out = KS_LAUNCHER_EXPLICIT;
    else if (var("TORCHELASTIC_RUN_ID")) *out = KS_LAUNCHER_TORCHRUN;
    else if (var("OMPI_COMM_WORLD_RANK") || var("OMPI_COMM_WORLD_SIZE")) *out = KS_LAUNCHER_OPENMPI;
    else if (is_hydra()) *out = KS_LAUNCHER_MPICH;
    else if (is_slurm_step()) *out = KS_LAUNCHER_SLURM;
    else {
        KS_CHECK(
            opt->is_alone || tasks_of_job() <= 1, KS_ERR_CONFIG,
            "Slurm job %s has %lld tasks, and this is none of them: start with srun (--launcher none starts one rank)",
            var("SLURM_JOB_ID") ? var("SLURM_JOB_ID") : var("SLURM_JOBID"), (long long)tasks_of_job());
        KS_CHECK(!opt->rendezvous, KS_ERR_CONFIG,
                 "--rendezvous %s without ranks: add --rank and --ranks, or start through a launcher", opt->rendezvous);
    }
done:
    return st;
}

ks_status ks_launch_detect(const ks_launch_options *opt, ks_launch *out) {
    static const ks_launch_options nothing = {NULL, -1, -1, -1, NULL, 0};
    ks_status                      st      = KS_OK;
    ks_launch                      l       = {.size = 1, .local_rank = -1, .local_size = -1};
    if (!opt) opt = &nothing;
    const int has_rendezvous = opt->rendezvous != NULL;
    KS_TRY(choose(opt, &l.launcher));
    switch (l.launcher) {
    case KS_LAUNCHER_NONE:
        break;
    case KS_LAUNCHER_EXPLICIT:
        KS_TRY(by_options(&l, opt));
        break;
    case KS_LAUNCHER_TORCHRUN:
        KS_TRY(by_torchrun(&l, has_rendezvous));
        break;
    case KS_LAUNCHER_OPENMPI:
        KS_TRY(by_openmpi(&l, has_rendezvous));
        break;
    case KS_LAUNCHER_MPICH:
        KS_TRY(by_hydra(&l, has_rendezvous));
        break;
    case KS_LAUNCHER_SLURM:
        KS_TRY(by_slurm(&l, has_rendezvous));
        break;
    }
    if (has_rendezvous) KS_TRY(set_rendezvous(&l, opt->rendezvous));
    if (l.size == 1) l.local_rank = 0, l.local_size = 1;
    if (opt->local_rank >= 0) {
        KS_CHECK(opt->local_rank < (l.local_size > 0 ? l.local_size : l.size), KS_ERR_CONFIG,
                 "--local-rank %lld: should be from 0 to %d", (long long)opt->local_rank,
                 (l.local_size > 0 ? l.local_size : l.size) - 1);
        l.local_rank = (int)opt->local_rank;
    }
done:
    *out = st == KS_OK ? l : (ks_launch){.launcher = l.launcher, .rank = l.rank, .size = l.size};
    return st;
}

void ks_launch_print(const ks_launch *l, char *out, size_t size) {
    char local[64] = "", where[KS_HOST_NAME + 64] = "";
    if (l->size == 1) {
        snprintf(out, size, "%s, one rank", ks_launcher_name(l->launcher));
        return;
    }
    if (l->local_rank >= 0 && l->local_size >= 0)
        snprintf(local, sizeof local, " (local %d of %d)", l->local_rank, l->local_size);
    else if (l->local_rank >= 0) snprintf(local, sizeof local, " (local %d)", l->local_rank);
    if (!l->address[0]) snprintf(where, sizeof where, "told through MPI");
    else if (l->n_port > 1) snprintf(where, sizeof where, "%s:%d to %d", l->address, l->port, l->port + l->n_port - 1);
    else snprintf(where, sizeof where, "%s:%d", l->address, l->port);
    snprintf(out, size, "%s, rank %d of %d%s, rendezvous %s", ks_launcher_name(l->launcher), l->rank, l->size, local,
             where);
}
