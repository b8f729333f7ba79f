/* transport.h -- data planes of a communicator. Private.
 *
 * Arrays are backend memory of the context that open was given. Calls follow comm.h: in place, queued between fork and
 * join. A transport whose work runs on the host (MPI, TCP) does it in the call, or starts it there and ends it in join;
 * while it waits it calls ks_comm_poll and gives up when that fails. */
#ifndef KS_TRANSPORT_H
#define KS_TRANSPORT_H
#include "ksgrad/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ks_transport {
    const char *name;
    int         is_queued; /* 1: calls only queue work, and may be recorded (ks_graph) */
    /* comm: rank, size and the control plane are there. */
    ks_status (*open)(ks_comm *comm, ks_ctx *ctx, void **state);
    void (*close)(void *state, int has_failed); /* has_failed: others may be gone, nothing may wait for them */
    ks_status (*fork)(void *state);
    ks_status (*join)(void *state);
    ks_status (*sum)(void *state, ks_comm_type type, int64_t n, void *x);
    ks_status (*min)(void *state, int64_t n, double *x);
    ks_status (*reduce_scatter)(void *state, ks_comm_type type, int64_t n_each, void *x);
    ks_status (*all_gather)(void *state, ks_comm_type type, int64_t n_each, void *x);
    /* The rest may be empty. poll: KS_ERR_COMM when the transport itself knows of a failure; cheap, between calls.
     * abort: others may be gone, what waits for them on the device gives up; returns at once, before anything waits for
     * the context (in ks_comm_fail, and when a wait ends because the job does). Only close may follow. */
    ks_status (*poll)(void *state);
    void (*abort)(void *state);
    void (*describe)(char *out, size_t size); /* a line for people: library, version, or why not; needs no GPU */
} ks_transport;

/* Seconds that a transport may take to open (comm.timeout_s). */
double ks_comm_timeout(const ks_comm *comm);
/* "2.28.9, /usr/lib/libnccl.so.2", or why NCCL cannot be used; in any build, without a GPU. */
void ks_nccl_describe(char *out, size_t size);

extern const ks_transport ks_transport_tcp;
#ifdef KS_MPI
extern const ks_transport ks_transport_mpi;
#endif
/* NCCL's is ks_backend_cuda.transport (core/backend.h). */

#ifdef KS_MPI
/* 1: the environment says that this process was started by an MPI that this build's can talk to: its mpirun, srun. */
int ks_mpi_is_launcher(void);
/* MPI outside the transport: rank 0 tells the others where it listens. Initialises MPI when that has not happened. */
KS_NODISCARD ks_status ks_mpi_bcast(int rank, int size, size_t bytes, void *x);
/* When it was initialised here. has_failed: leaves it, for nothing may wait for the other ranks. */
void ks_mpi_finalize(int has_failed);
#endif

#ifdef __cplusplus
}
#endif
#endif
