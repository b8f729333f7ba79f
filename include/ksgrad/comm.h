/* comm.h -- ranks: how they were started, how they find each other, what they exchange.
 *
 * Rank r of n is a process with a context of its own (one GPU, or some CPU threads). Two planes:
 *   control  TCP between rank 0 and every other rank, whatever else there is: hello and refusals, small exchanges of host
 *            values (summed in rank order: the same bits everywhere), heartbeats, and the end of all ranks when one fails
 *   data     a transport for arrays in backend memory: NCCL between GPUs, MPI or the control plane's TCP between CPU ranks
 * A NULL ks_comm is the communicator of a single rank: every call on it works and does nothing.
 *
 * Failure. When a rank ends with an error (ks_comm_fail), dies, is silent or keeps the others waiting for longer than
 * timeout_s, every rank's next call returns KS_ERR_COMM or that rank's status, with one message that names rank and host.
 * A rank that is stuck outside this interface is ended by its own watchdog with the same exit code: when it has not called
 * anything here for 10 s (or timeout_s, if less) after the end, or not ks_comm_destroy for three times that.
 * Time during which a process was suspended counts for nothing: a batch system may stop a whole job for hours.
 * Calls are collective unless they say otherwise: every rank makes the same ones in the same order, from one thread. */
#ifndef KS_COMM_H
#define KS_COMM_H
#include "ksgrad/context.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- how this process was started ---- */

typedef enum ks_launcher {
    KS_LAUNCHER_NONE, /* one rank */
    KS_LAUNCHER_EXPLICIT,
    KS_LAUNCHER_TORCHRUN,
    KS_LAUNCHER_OPENMPI,
    KS_LAUNCHER_MPICH, /* Hydra: MPICH, Intel MPI */
    KS_LAUNCHER_SLURM  /* srun */
} ks_launcher;
const char *ks_launcher_name(ks_launcher launcher); /* "none", "explicit", "torchrun", "openmpi", "mpich", "srun" */

enum { KS_HOST_NAME = 256 };

typedef struct ks_launch_options {
    const char *launcher;               /* NULL or "auto": from the environment; or one of them by name */
    int64_t     rank, size, local_rank; /* -1: not given; rank and size, with rendezvous: explicit */
    const char *rendezvous;             /* "host:port" where rank 0 listens; NULL: from the environment */
    int         is_alone; /* the program works as one rank: a batch script without srun is what it should be */
} ks_launch_options;

typedef struct ks_launch {
    ks_launcher launcher;
    int         rank, size;
    int         local_rank, local_size; /* among the ranks of this host; -1: the environment does not say */
    char        address[KS_HOST_NAME];  /* where rank 0 listens; empty: rank 0 tells the others through MPI */
    int         port, n_port;           /* on the first free one of port .. port + n_port - 1 */
    uint64_t    job;                    /* the same on all ranks of a job, and on no other job of the same hosts */
} ks_launch;

/* Order: explicit, torchrun, Open MPI, Hydra, Slurm step, one rank. KS_ERR_CONFIG names the variable with its value when
 * one is missing or wrong, and "start with srun" where a batch script of several tasks forgot it; out then holds rank and
 * size as far as they are known, else 0 of 1. Not collective. */
KS_NODISCARD ks_status ks_launch_detect(const ks_launch_options *opt, ks_launch *out);
/* A line for people: "srun, rank 3 of 8 (local 1 of 4), rendezvous node01:29424 to 29439". */
void ks_launch_print(const ks_launch *launch, char *out, size_t size);

/* ---- the communicator ---- */

typedef struct ks_comm ks_comm;

typedef struct ks_comm_options {
    double      timeout_s;   /* for the rendezvous, and for waiting while another rank does not come; 0: 300 */
    uint64_t    config_hash; /* must be equal on all ranks */
    const char *version;     /* must be equal on all ranks; NULL: ks_version and ks_build_info */
    int (*exit_code)(ks_status status); /* of a process that its watchdog ends; NULL: 5 */
    /* This rank has failed before it could start, and comes only to say so: KS_OK when all ranks come with the same
     * message, else the others are refused with it. NULL: it has not. */
    const char *error;
    int        *is_told; /* set to 1 when rank 0 has refused this rank, and says why; may be NULL */
} ks_comm_options;

/* Rendezvous over TCP. Ranks of other builds, configs, jobs or sizes, a rank that comes twice or not at all and a port that
 * is taken are KS_ERR_COMM on every rank, by name. launch->size 1: *out is NULL. */
KS_NODISCARD ks_status ks_comm_create(const ks_launch *launch, const ks_comm_options *opt, ks_comm **out);
/* Opens the data plane over a context: transport "auto", "nccl", "mpi" or "tcp". Another backend on another rank, or two
 * ranks on one GPU, are KS_ERR_COMM by name. */
KS_NODISCARD ks_status ks_comm_attach(ks_comm *comm, ks_ctx *ctx, const char *transport);
/* Orderly end: the others are told, and do not take it for a failure. Before the context's. Not collective; NULL is fine. */
void ks_comm_destroy(ks_comm **comm);
/* This rank ends with an error: the others get status and message. Not collective; does not wait for them. */
void ks_comm_fail(ks_comm *comm, ks_status status, const char *message);
/* KS_OK, or what has ended the job. Not collective, cheap: for loops that wait for something else. A transport that knows
 * of a failure is asked, and one that has work waiting for others on the device gives it up. */
KS_NODISCARD ks_status ks_comm_poll(ks_comm *comm);
/* 1 when the error that this rank returns came from another one, which has said it already. Never on rank 0: its log is
 * the job's. */
int ks_comm_is_told(const ks_comm *comm);

int         ks_comm_rank(const ks_comm *comm); /* 0 for NULL; likewise below */
int         ks_comm_size(const ks_comm *comm); /* 1 for NULL */
int         ks_comm_local_rank(const ks_comm *comm);
int         ks_comm_local_size(const ks_comm *comm);
int         ks_comm_n_host(const ks_comm *comm);
const char *ks_comm_host(const ks_comm *comm, int rank);
const char *ks_comm_transport(const ks_comm *comm); /* "none", "nccl", "mpi", "tcp" */
/* 1: the calls of the data plane queue work and may be recorded (ks_graph). 0: they run on the host. */
int ks_comm_is_queued(const ks_comm *comm);

/* Items lo .. hi-1 of n are this rank's: shares differ by at most one, in rank order. Not collective. */
void ks_comm_share(const ks_comm *comm, int64_t n, int64_t *lo, int64_t *hi);

/* ---- control plane: host values, small; every call waits. what: for messages, e.g. "validation" ---- */

KS_NODISCARD ks_status ks_comm_barrier(ks_comm *comm, const char *what);
KS_NODISCARD ks_status ks_comm_host_sum(ks_comm *comm, const char *what, int64_t n, double *x); /* in rank order */
KS_NODISCARD ks_status ks_comm_host_max(ks_comm *comm, const char *what, int64_t n, double *x); /* NaN is the largest */
KS_NODISCARD ks_status ks_comm_host_bcast(ks_comm *comm, const char *what, size_t bytes, void *x); /* from rank 0 */
/* all (size, bytes): every rank's x, on every rank. */
KS_NODISCARD ks_status ks_comm_host_gather(ks_comm *comm, const char *what, size_t bytes, const void *x, void *all);
/* Blocks of any length to rank 0: there *all holds them in rank order, of[r] bytes each (of: (size)); the caller frees *all
 * with ks_host_free. On the other ranks *all is NULL. */
KS_NODISCARD ks_status ks_comm_host_collect(ks_comm *comm, const char *what, size_t bytes, const void *x, void **all,
                                            size_t *of);
/* KS_ERR_COMM naming the ranks whose value is not rank 0's. */
KS_NODISCARD ks_status ks_comm_check_equal(ks_comm *comm, const char *what, uint64_t value);

/* ---- data plane: arrays in backend memory, queued on a stream of their own ---- */

typedef enum ks_comm_type {
    KS_COMM_F32,
    KS_COMM_F64,
    KS_COMM_BF16
} ks_comm_type; /* BF16: uint16_t, see src/pointwise/bf16.h */
size_t ks_comm_type_bytes(ks_comm_type type);

/* What follows on the communicator starts behind all that is queued in the context now. */
KS_NODISCARD ks_status ks_comm_fork(ks_comm *comm);
/* What is queued in the context from here on starts behind the communicator's work. On the CPU: waits for it. */
KS_NODISCARD ks_status ks_comm_join(ks_comm *comm);
/* Each in place, queued between fork and join, and capturable (ks_graph). The result has the same bits on all ranks, and the
 * same ones every time for a given number of ranks. BF16 sums are made in fp32 or wider where the transport can. */
KS_NODISCARD ks_status ks_comm_sum(ks_comm *comm, ks_comm_type type, int64_t n, void *x);
KS_NODISCARD ks_status ks_comm_min(ks_comm *comm, int64_t n, double *x); /* NaN on any rank: NaN */
/* x (size, n_each): slice `rank` becomes the sum, the others are left undefined; and back. */
KS_NODISCARD ks_status ks_comm_reduce_scatter(ks_comm *comm, ks_comm_type type, int64_t n_each, void *x);
KS_NODISCARD ks_status ks_comm_all_gather(ks_comm *comm, ks_comm_type type, int64_t n_each, void *x);
/* ks_fetch_wait that also ends when another rank fails. what, step: for the watchdog's message. */
KS_NODISCARD ks_status ks_comm_fetch_wait(ks_comm *comm, ks_fetch *fetch, const char *what, int64_t step);

/* Seconds that this rank has spent in exchanges and in transports that run on the host, waiting for others and for the
 * data themselves. ks_comm_fetch_wait is not counted: it waits for this rank's own device. Not collective. */
double ks_comm_wait_seconds(const ks_comm *comm);

#ifdef __cplusplus
}
#endif
#endif
