/* comm_nccl.cu -- ranks exchange arrays through NCCL (comm/transport.h). Test: tests/gpu/test_comm.c.
 *
 * Streams: one of its own, of the highest priority, so that sums run beside the backward pass. fork: it waits for what is
 * queued on the context's current stream; join: the reverse. Events do both, so that a capture that forks takes it in, and
 * one that joins gives it back.
 * Non-blocking communicator: every call returns at once, what it started is asked for (settle) until it is queued; so each
 * wait has a deadline and ends when the job does. NCCL queues from a thread of its own then: recordings must be of the
 * thread-local kind, as those of device.cu are.
 * What is connected on first use (rings, trees) is connected by a warm-up when ranks attach, which also checks the sums.
 * Abort: NCCL's kernels wait for ranks that are gone until ncclCommAbort tells them; it returns only when no recording
 * holds work of the communicator any more, so it runs in a thread of its own. For the same reason recordings are destroyed
 * before the communicator.
 * Bits: every element is summed in one place and copied, so all ranks have the same; the order of a sum depends on
 * ranks, topology, size and NCCL's version and not on time, as long as NVLS is off (nccl_library.c). NCCL_ALGO=Ring and
 * NCCL_PROTO=Simple pin what is left to its tuner. Sums of bf16 are rounded at every rank.
 * Minimum: gathered and taken here in rank order; ncclMin would lose a NaN. */
#include "common.cuh"
#include <ifaddrs.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "backend_cuda.h"
#include "comm/transport.h"
#include "comm_nccl.h"
#include "nccl_library.h"

#ifndef KS_NCCL_WARM_BYTES /* the launcher of tests/emu has less */
#define KS_NCCL_WARM_BYTES (32 << 20)
#endif
enum { LEAST = 1024 };                /* values whose minimum is taken at a time */
static const double CLOSE_S   = 30.0; /* an orderly end that takes longer is none */
static const double ABANDON_S = 5.0;  /* what does not give up by then ends with the process */

typedef struct comm_nccl {
    const ks_nccl *nccl;
    ks_comm       *comm;
    ks_cuda       *cu;
    int            rank, size;
    double         timeout_s;
    ncclComm_t     handle;
    cudaStream_t   stream;
    cudaEvent_t    fork, join;
    double        *least; /* device (size, LEAST) */
    pthread_t      aborter;
    int            is_aborting, has_aborted; /* the second is the thread's */
} comm_nccl;

static double now_s(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The k-th look at something that takes microseconds or minutes. */
static void pause_of(int k) {
    const struct timespec t = {0, k < 300 ? 20000 : 1000000};
    if (k < 100) (void)sched_yield();
    else (void)nanosleep(&t, NULL);
}

/* ---- errors ---- */

static ks_status nccl_failed(const comm_nccl *s, ncclResult_t r, const char *what) {
    ks_status   st   = KS_OK;
    const char *last = s->nccl->ncclGetLastError(s->handle), *next = "NCCL_DEBUG=INFO says more";
    if (r == ncclRemoteError) next = "another rank has ended, or the network between the hosts fails: see its message";
    if (r == ncclInvalidUsage)
        next = "two ranks on one GPU, or a call that not all ranks make: NCCL_DEBUG=INFO says more";
    KS_CHECK(0, KS_ERR_COMM, "rank %d of %d (%s), NCCL %d.%d.%d, %s: %s%s%.200s; %s", s->rank, s->size,
             ks_comm_host(s->comm, s->rank), s->nccl->version / 10000, s->nccl->version % 10000 / 100,
             s->nccl->version % 100, what, s->nccl->ncclGetErrorString(r), last && *last ? ", " : "",
             last && *last ? last : "", next);
done:
    return st;
}

/* Network interfaces that are up, loopback left out: "eth0, ib0". */
static void interfaces_of_host(char *out, size_t size) {
    struct ifaddrs *all = NULL;
    *out                = '\0';
    if (getifaddrs(&all) != 0) return;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        const size_t used = strlen(out);
        if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK)) continue;
        if (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6) continue;
        if (used + strlen(i->ifa_name) + 3 > size || strstr(out, i->ifa_name))
            continue; /* one name has many addresses */
        snprintf(out + used, size - used, "%s%s", used ? ", " : "", i->ifa_name);
    }
    freeifaddrs(all);
}

static ks_status too_late(const comm_nccl *s, const char *what, double seconds) {
    ks_status st = KS_OK;
    char      interfaces[256];
    interfaces_of_host(interfaces, sizeof interfaces);
    KS_CHECK(
        0, KS_ERR_COMM,
        "rank %d of %d (%s), NCCL: %s has not ended after %.0f s: a rank does not come, or the hosts do not reach each "
        "other: set NCCL_SOCKET_IFNAME to the interface that all share (here: %s); NCCL_DEBUG=INFO says more",
        s->rank, s->size, ks_comm_host(s->comm, s->rank), what, seconds, interfaces[0] ? interfaces : "none is up");
done:
    return st;
}

/* Until what the call r started has been queued. */
static ks_status settle(const comm_nccl *s, ncclResult_t r, const char *what, double seconds) {
    ks_status    st  = KS_OK;
    const double end = now_s() + seconds;
    for (int k = 0; r == ncclInProgress; k++) {
        KS_TRY(ks_comm_poll(s->comm));
        if (now_s() > end) KS_TRY(too_late(s, what, seconds));
        pause_of(k);
        const ncclResult_t asked = s->nccl->ncclCommGetAsyncError(s->handle, &r);
        if (asked != ncclSuccess) r = asked;
    }
    if (r != ncclSuccess) {
        KS_TRY(ks_comm_poll(s->comm)); /* mostly because a rank is gone: then that is the message */
        KS_TRY(nccl_failed(s, r, what));
    }
done:
    return st;
}

/* KS_NCCL_CALL(s, ncclAllReduce, "sum", arguments...) */
#define KS_NCCL_CALL(s, call, what, ...)                                                                               \
    KS_CHECK(!(s)->is_aborting, KS_ERR_COMM, "NCCL, " what ": the ranks have been given up");                          \
    KS_TRY(settle((s), (s)->nccl->call(__VA_ARGS__), (what), (s)->timeout_s))

/* ---- collectives ---- */

static ncclDataType_t type_of(ks_comm_type type) {
    return type == KS_COMM_F64 ? ncclFloat64 : type == KS_COMM_F32 ? ncclFloat32 : ncclBfloat16;
}

extern "C" ks_status ks_nccl_fork_cuda(void *state) {
    ks_status        st = KS_OK;
    const comm_nccl *s  = (const comm_nccl *)state;
    KS_CUDA_CHECK(cudaEventRecord(s->fork, s->cu->stream));
    KS_CUDA_CHECK(cudaStreamWaitEvent(s->stream, s->fork, 0));
done:
    return st;
}

extern "C" ks_status ks_nccl_join_cuda(void *state) {
    ks_status        st = KS_OK;
    const comm_nccl *s  = (const comm_nccl *)state;
    KS_CUDA_CHECK(cudaEventRecord(s->join, s->stream));
    KS_CUDA_CHECK(cudaStreamWaitEvent(s->cu->stream, s->join, 0));
done:
    return st;
}

extern "C" ks_status ks_nccl_sum_cuda(void *state, ks_comm_type type, int64_t n, void *x) {
    ks_status        st = KS_OK;
    const comm_nccl *s  = (const comm_nccl *)state;
    if (n == 0) return KS_OK;
    KS_NCCL_CALL(s, ncclAllReduce, "sum", x, x, (size_t)n, type_of(type), ncclSum, s->handle, s->stream);
done:
    return st;
}

extern "C" ks_status ks_nccl_reduce_scatter_cuda(void *state, ks_comm_type type, int64_t n_each, void *x) {
    ks_status        st   = KS_OK;
    const comm_nccl *s    = (const comm_nccl *)state;
    char            *mine = (char *)x + (size_t)s->rank * (size_t)n_each * ks_comm_type_bytes(type);
    if (n_each == 0) return KS_OK;
    KS_NCCL_CALL(s, ncclReduceScatter, "reduce-scatter", x, mine, (size_t)n_each, type_of(type), ncclSum, s->handle,
                 s->stream);
done:
    return st;
}

extern "C" ks_status ks_nccl_all_gather_cuda(void *state, ks_comm_type type, int64_t n_each, void *x) {
    ks_status        st   = KS_OK;
    const comm_nccl *s    = (const comm_nccl *)state;
    const char      *mine = (const char *)x + (size_t)s->rank * (size_t)n_each * ks_comm_type_bytes(type);
    if (n_each == 0) return KS_OK;
    KS_NCCL_CALL(s, ncclAllGather, "all-gather", mine, x, (size_t)n_each, type_of(type), s->handle, s->stream);
done:
    return st;
}

/* x[i] = min over ranks of all (size, n); a NaN stays. */
static __global__ void comm_least_k(int size, int64_t n, const double *all, double *x) {
    KS_GRID_STRIDE(i, n) {
        double v = all[i];
        for (int r = 1; r < size; r++) {
            const double y = all[r * n + i];
            if (y < v || y != y) v = y;
        }
        x[i] = v;
    }
}

extern "C" ks_status ks_nccl_min_cuda(void *state, int64_t n, double *x) {
    ks_status        st = KS_OK;
    const comm_nccl *s  = (const comm_nccl *)state;
    for (int64_t lo = 0; lo < n; lo += LEAST) {
        const int64_t m    = ks_min64(n - lo, LEAST);
        double       *mine = s->least + m * s->rank;
        KS_CUDA_CHECK(cudaMemcpyAsync(mine, x + lo, (size_t)m * sizeof *x, cudaMemcpyDeviceToDevice, s->stream));
        KS_NCCL_CALL(s, ncclAllGather, "minimum", mine, s->least, (size_t)m, ncclFloat64, s->handle, s->stream);
        KS_LAUNCH(comm_least_k, ks_blocks(m, 256, 4), 256, 0, s->stream, s->size, m, s->least, x + lo);
        KS_LAUNCHED(s->cu);
    }
done:
    return st;
}

/* ---- open ---- */

static __global__ void comm_fill_k(int64_t n, float *x, float value) { KS_GRID_STRIDE(i, n) x[i] = value; }
/* bad becomes 1 + the index of some value that is not `value` */
static __global__ void comm_verify_k(int64_t n, const float *x, float value, unsigned long long *bad) {
    KS_GRID_STRIDE(i, n) if (!(x[i] == value))(void) atomicExch(bad, (unsigned long long)i + 1);
}

/* Waits for the stream, not longer than `seconds` and not longer than the job lasts. */
static ks_status stream_wait(comm_nccl *s, const char *what, double seconds) {
    ks_status    st  = KS_OK;
    const double end = now_s() + seconds;
    cudaError_t  e   = cudaStreamQuery(s->stream);
    for (int k = 0; e == cudaErrorNotReady; k++) {
        (void)cudaGetLastError();
        KS_TRY(ks_comm_poll(s->comm));
        KS_TRY(ks_nccl_poll_cuda(s));
        if (now_s() > end) KS_TRY(too_late(s, what, seconds));
        pause_of(k);
        e = cudaStreamQuery(s->stream);
    }
    KS_CUDA_CHECK(e);
done:
    return st;
}

/* Every collective at sizes that NCCL treats differently. Rank r contributes r + 1: sums are exact. */
static ks_status warm_up(comm_nccl *s) {
    ks_status           st    = KS_OK;
    const int64_t       most  = KS_NCCL_WARM_BYTES / (int64_t)sizeof(float) / s->size;
    float              *x     = NULL;
    unsigned long long *bad   = NULL;
    unsigned long long  found = 0;
    const float         total = 0.5f * (float)s->size * (float)(s->size + 1);
    KS_TRY(ks_cuda_alloc(s->cu, (size_t)(most * s->size) * sizeof *x, (void **)&x));
    KS_TRY(ks_cuda_alloc(s->cu, sizeof *bad, (void **)&bad));
    KS_CUDA_CHECK(cudaMemsetAsync(bad, 0, sizeof *bad, s->stream));
    for (int64_t n_each = 1; n_each <= most; n_each = n_each < most && n_each * 32 > most ? most : n_each * 32) {
        const int64_t  n      = n_each * s->size;
        const unsigned blocks = ks_blocks(n, 256, 1024);
        for (int kind = 0; kind < 2; kind++) {
            KS_LAUNCH(comm_fill_k, blocks, 256, 0, s->stream, n, x, (float)(s->rank + 1));
            KS_LAUNCHED(s->cu);
            if (kind == 0) {
                KS_TRY(ks_nccl_sum_cuda(s, KS_COMM_F32, n, x));
            } else {
                KS_TRY(ks_nccl_reduce_scatter_cuda(s, KS_COMM_F32, n_each, x));
                KS_TRY(ks_nccl_all_gather_cuda(s, KS_COMM_F32, n_each, x));
            }
            KS_LAUNCH(comm_verify_k, blocks, 256, 0, s->stream, n, x, total, bad);
            KS_LAUNCHED(s->cu);
        }
    }
    KS_TRY(stream_wait(s, "the first sums", s->timeout_s));
    KS_TRY(ks_cuda_to_host(s->cu, &found, bad, sizeof found));
    KS_CHECK(found == 0, KS_ERR_COMM, "rank %d of %d (%s): NCCL's sums are wrong: element %llu of a first test",
             s->rank, s->size, ks_comm_host(s->comm, s->rank), found - 1);
done:
    if (st != KS_OK) ks_nccl_abort_cuda(s); /* or the release would wait for ranks that do not come */
    ks_cuda_free(s->cu, x);
    ks_cuda_free(s->cu, bad);
    return st;
}

static ks_status connect_ranks(comm_nccl *s) {
    ks_status    st     = KS_OK;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    struct {
        ncclUniqueId id;
        int64_t      version;
    } told;
    memset(&told, 0, sizeof told);
    config.blocking = 0;
    if (s->rank == 0) {
        const ncclResult_t r = s->nccl->ncclGetUniqueId(&told.id);
        if (r != ncclSuccess) KS_TRY(nccl_failed(s, r, "the id of the ranks"));
        told.version = s->nccl->version;
    }
    KS_TRY(ks_comm_host_bcast(s->comm, "the id for NCCL", sizeof told, &told));
    KS_CHECK(told.version == s->nccl->version, KS_ERR_COMM,
             "rank %d of %d (%s) has NCCL %d (%s), rank 0 has %d: give all hosts the same one", s->rank, s->size,
             ks_comm_host(s->comm, s->rank), s->nccl->version, s->nccl->path, (int)told.version);
    KS_NCCL_CALL(s, ncclCommInitRankConfig, "connecting the ranks", &s->handle, s->size, told.id, s->rank, &config);
done:
    return st;
}

extern "C" ks_status ks_nccl_open_cuda(ks_comm *comm, ks_ctx *ctx, void **state) {
    ks_status  st    = KS_OK;
    comm_nccl *s     = NULL;
    int        least = 0, greatest = 0;
    KS_TRY(KS_ZNEW(s, 1));
    s->comm      = comm;
    s->cu        = ks_cuda_of(ctx);
    s->rank      = ks_comm_rank(comm);
    s->size      = ks_comm_size(comm);
    s->timeout_s = comm ? ks_comm_timeout(comm) : CLOSE_S; /* NULL: one rank, in tests */
    KS_TRY(ks_nccl_load(&s->nccl));
    KS_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    KS_CUDA_CHECK(cudaStreamCreateWithPriority(&s->stream, cudaStreamNonBlocking, greatest));
    KS_CUDA_CHECK(cudaEventCreateWithFlags(&s->fork, cudaEventDisableTiming));
    KS_CUDA_CHECK(cudaEventCreateWithFlags(&s->join, cudaEventDisableTiming));
    KS_TRY(ks_cuda_alloc(s->cu, (size_t)LEAST * (size_t)s->size * sizeof *s->least, (void **)&s->least));
    KS_TRY(connect_ranks(s));
    KS_TRY(warm_up(s));
    *state = s;
    s      = NULL;
done:
    ks_nccl_close_cuda(s, 1);
    return st;
}

/* ---- failures and the end ---- */

extern "C" ks_status ks_nccl_poll_cuda(void *state) {
    ks_status        st = KS_OK;
    const comm_nccl *s  = (const comm_nccl *)state;
    ncclResult_t     r  = ncclSuccess;
    if (s->is_aborting) return KS_OK;
    const ncclResult_t asked = s->nccl->ncclCommGetAsyncError(s->handle, &r);
    if (asked != ncclSuccess) r = asked;
    if (r != ncclSuccess && r != ncclInProgress) KS_TRY(nccl_failed(s, r, "working"));
done:
    return st;
}

static void *abort_main(void *state) {
    comm_nccl *s = (comm_nccl *)state;
    (void)s->nccl->ncclCommAbort(s->handle);
    __atomic_store_n(&s->has_aborted, 1, __ATOMIC_RELEASE);
    return NULL;
}

extern "C" void ks_nccl_abort_cuda(void *state) {
    comm_nccl *s = (comm_nccl *)state;
    if (!s->handle || s->is_aborting) return;
    s->is_aborting = pthread_create(&s->aborter, NULL, abort_main, s) == 0;
}

/* 1: nothing of NCCL is left. */
static int end_orderly(comm_nccl *s) {
    int ok = stream_wait(s, "the last work", CLOSE_S) == KS_OK &&
             settle(s, s->nccl->ncclCommFinalize(s->handle), "the end", CLOSE_S) == KS_OK &&
             s->nccl->ncclCommDestroy(s->handle) == ncclSuccess;
    if (!ok) ks_error_clear(); /* the job is over; what went wrong has been said, or hurts nobody any more */
    return ok;
}

extern "C" void ks_nccl_close_cuda(void *state, int has_failed) {
    comm_nccl *s = (comm_nccl *)state;
    if (!s) return;
    if (s->handle && (has_failed || s->is_aborting || !end_orderly(s))) {
        const double end = now_s() + ABANDON_S;
        ks_nccl_abort_cuda(s);
        if (!s->is_aborting) return;
        for (int k = 0; !__atomic_load_n(&s->has_aborted, __ATOMIC_ACQUIRE); k++) {
            if (now_s() > end) return; /* the thread still uses s */
            pause_of(k);
        }
        (void)pthread_join(s->aborter, NULL);
    }
    if (s->stream) (void)cudaStreamSynchronize(s->stream);
    if (s->fork) (void)cudaEventDestroy(s->fork);
    if (s->join) (void)cudaEventDestroy(s->join);
    if (s->stream) (void)cudaStreamDestroy(s->stream);
    ks_cuda_free(s->cu, s->least);
    (void)cudaGetLastError();
    KS_FREE(s);
}
