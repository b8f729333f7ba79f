/* device.cu -- the CUDA device of a context: memory, copies, streams and their libraries, recordings, faults of
 * kernels. The table is in backend_cuda.c. Test: tests/gpu/test_device.c.
 *
 * Streams: branch 0 is the main stream, the others run beside it between a fork (the first ks_branch) and ks_join;
 * each has its own cuBLAS and cuSOLVER handle and cuBLAS workspace, so that calls can be captured and give the same
 * bits every time. KS_CUDA_STREAMS=1: one branch only.
 * Uploads go through a ring of pinned pieces. A piece belongs to one stream at a time and is used again when the event
 * behind its last copy has passed: only an upload that meets no such piece waits. Downloads that do not wait have
 * pinned buffers of their own (fetch).
 * Recording: a stream capture of this thread. What cannot be recorded is refused here, by name. */
#include "common.cuh"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backend_cuda.h"

#ifndef KS_STAGING_BYTES /* the launcher of tests/emu has smaller ones */
#define KS_STAGING_BYTES (16 << 20)
#define KS_BLAS_WORK_BYTES (32 << 20) /* NVIDIA's recommendation for sm_90 */
#endif
enum { BRANCHES = 4, PIECES = 16, ALIGN = 256 };
static const size_t             PIECE_BYTES = KS_STAGING_BYTES / PIECES;
static const unsigned long long NO_FAULT    = ~0ull;

typedef struct cuda_branch {
    cudaStream_t       stream;
    cublasHandle_t     blas;
    cusolverDnHandle_t solver;
    void              *work;   /* of blas */
    cudaEvent_t        done;   /* its end, for join */
    int                forked; /* since the last join */
} cuda_branch;

struct ks_cuda_impl {
    int         device, n_device;
    int         n_branch;
    cuda_branch branch[BRANCHES];
    cudaEvent_t fork;
    int         forked, recording;

    char        *ring;
    cudaEvent_t  piece_used[PIECES]; /* behind the last copy out of a piece */
    int          piece;              /* the one that is filled */
    size_t       piece_at;
    cudaStream_t piece_stream; /* whose copies it holds */

    unsigned long long *fault_seen; /* pinned: what sync has taken */
};

typedef struct cuda_fetch {
    cudaEvent_t         done;
    void               *buffer; /* pinned: the data, then */
    unsigned long long *fault_seen;
} cuda_fetch;

/* The word becomes NO_FAULT, and the smallest of what was there goes to `seen` (pinned host memory). */
static __global__ void fault_take_k(unsigned long long *fault, unsigned long long *seen) {
    const unsigned long long v = atomicExch(fault, ~0ull);
    if (v < *seen) *seen = v;
}

static ks_status fault_report(unsigned long long *seen) {
    ks_status                st   = KS_OK;
    const unsigned long long v    = *seen;
    const int                kind = (int)(v >> 32);
    const char              *what = NULL;
    *seen                         = NO_FAULT;
    if (v == NO_FAULT) return KS_OK;
    if (kind == KS_FAULT_OVERLAP)
        what =
            "the smallest eigenvalue of the overlap matrix is below 1e-8: nuclei too close, or functions that depend "
            "on each other";
    if (kind == KS_FAULT_CHOLESKY) what = "a matrix is not positive definite";
    if (kind == KS_FAULT_FRAME) what = "the geometry has no canonical frame";
    KS_CHECK(what, KS_ERR_CUDA, "a kernel has raised the unknown fault %llx", v);
    KS_CHECK(0, kind == KS_FAULT_CHOLESKY ? KS_ERR_NUMERIC : KS_ERR_DATA, "frame %lld: %s",
             (long long)(v & 0xffffffffu), what);
done:
    return st;
}

/* ---- open and close ---- */

/* Why there is nothing to run on: each case has another remedy. */
static ks_status find_device(void) {
    ks_status         st = KS_OK;
    int               n = 0, driver = 0, runtime = 0;
    const char       *visible = getenv("CUDA_VISIBLE_DEVICES");
    const cudaError_t e       = cudaGetDeviceCount(&n);
    (void)cudaGetLastError();
    if (e == cudaSuccess && n > 0) return KS_OK;
    if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
    if (cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = 0;
    KS_CHECK(driver > 0, KS_ERR_UNSUPPORTED,
             "backend cuda: no usable GPU: NVIDIA's driver (libcuda.so.1) is not installed");
    KS_CHECK(
        e != cudaErrorInsufficientDriver, KS_ERR_UNSUPPORTED,
        "backend cuda: no usable GPU: the driver is made for CUDA %d.%d, this program needs %d.%d: update the driver",
        driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    KS_CHECK(e != cudaErrorNoDevice && e != cudaSuccess, KS_ERR_UNSUPPORTED,
             "backend cuda: no usable GPU: the driver lists none%s%s", visible ? ", with CUDA_VISIBLE_DEVICES=" : "",
             visible ? visible : "");
    KS_CHECK(0, KS_ERR_UNSUPPORTED, "backend cuda: no usable GPU: %s", cudaGetErrorString(e));
done:
    return st;
}

static ks_status open_branch(ks_cuda *cu, cuda_branch *b) {
    ks_status st = KS_OK;
    KS_CUDA_CHECK(cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking));
    KS_CUDA_CHECK(cudaEventCreateWithFlags(&b->done, cudaEventDisableTiming));
    KS_TRY(ks_cuda_alloc(cu, KS_BLAS_WORK_BYTES, &b->work));
    KS_CUBLAS_CHECK(cublasCreate(&b->blas));
    KS_CUBLAS_CHECK(cublasSetStream(b->blas, b->stream)); /* drops a workspace: before the next call */
    KS_CUBLAS_CHECK(cublasSetWorkspace(b->blas, b->work, KS_BLAS_WORK_BYTES));
    KS_CUBLAS_CHECK(cublasSetPointerMode(b->blas, CUBLAS_POINTER_MODE_HOST));
    KS_CUSOLVER_CHECK(cusolverDnCreate(&b->solver));
    KS_CUSOLVER_CHECK(cusolverDnSetStream(b->solver, b->stream));
    KS_CUSOLVER_CHECK(cusolverDnSetDeterministicMode(b->solver, CUSOLVER_DETERMINISTIC_RESULTS));
done:
    return st;
}

static void use_branch(ks_cuda *cu, int k) {
    const cuda_branch *b = &cu->impl->branch[k];
    cu->stream           = b->stream;
    cu->blas             = b->blas;
    cu->solver           = b->solver;
}

extern "C" ks_status ks_cuda_open(int device, void **state) {
    ks_status            st   = KS_OK;
    ks_cuda             *cu   = NULL;
    const char          *sync = getenv("KS_CUDA_SYNC"), *streams = getenv("KS_CUDA_STREAMS");
    struct ks_cuda_impl *c        = NULL;
    int                  n_device = 0;
    cudaDeviceProp       prop;
    cudaFuncAttributes   attributes;
    KS_TRY(find_device());
    KS_CUDA_CHECK(cudaGetDeviceCount(&n_device));
    if (n_device == 1) device = 0; /* many launchers show each rank its own GPU alone */
    KS_CHECK(device >= 0 && device < n_device, KS_ERR_UNSUPPORTED,
             "backend cuda: GPU %d is wanted, this process sees %d: start fewer ranks on this host", device, n_device);
    KS_CUDA_CHECK(cudaSetDevice(device));
    KS_CUDA_CHECK(cudaGetDeviceProperties(&prop, device));
    KS_CHECK(prop.major >= 8, KS_ERR_UNSUPPORTED,
             "backend cuda: no usable GPU: %s has compute capability %d.%d, needed 8.0 or newer", prop.name, prop.major,
             prop.minor);
    KS_CHECK(
        cudaFuncGetAttributes(&attributes, fault_take_k) == cudaSuccess, KS_ERR_UNSUPPORTED,
        "backend cuda: no usable GPU: this program has no kernels for %s (compute capability %d.%d): build it with "
        "CMAKE_CUDA_ARCHITECTURES=%d%d",
        prop.name, prop.major, prop.minor, prop.major, prop.minor);
    KS_TRY(KS_ZNEW(cu, 1));
    KS_TRY(KS_ZNEW(cu->impl, 1));
    c           = cu->impl;
    c->device   = device;
    c->n_device = n_device;
    cu->n_sm    = prop.multiProcessorCount;
    cu->sync    = sync && !strcmp(sync, "1");
    c->n_branch = streams && !strcmp(streams, "1") ? 1 : BRANCHES;
    KS_CUDA_CHECK(cudaEventCreateWithFlags(&c->fork, cudaEventDisableTiming));
    for (int k = 0; k < c->n_branch; k++) KS_TRY(open_branch(cu, &c->branch[k]));
    use_branch(cu, 0);
    KS_CUDA_CHECK(cudaMallocHost((void **)&c->ring, KS_STAGING_BYTES));
    c->piece_stream = cu->stream;
    for (int k = 0; k < PIECES; k++) KS_CUDA_CHECK(cudaEventCreateWithFlags(&c->piece_used[k], cudaEventDisableTiming));
    KS_CUDA_CHECK(cudaMallocHost((void **)&c->fault_seen, sizeof *c->fault_seen));
    *c->fault_seen = NO_FAULT;
    KS_TRY(ks_cuda_alloc(cu, sizeof *cu->fault, (void **)&cu->fault));
    KS_CUDA_CHECK(cudaMemsetAsync(cu->fault, 0xff, sizeof *cu->fault, cu->stream));
    KS_CUDA_CHECK(cudaStreamSynchronize(cu->stream));
    *state = cu;
    cu     = NULL;
done:
    ks_cuda_close(cu);
    return st;
}

/* Nothing can be done about a failing release; the next call that matters reports the device's state. */
extern "C" void ks_cuda_close(void *state) {
    ks_cuda             *cu = (ks_cuda *)state;
    struct ks_cuda_impl *c  = cu ? cu->impl : NULL;
    if (c) ks_int1e_close_cuda(cu);
    for (int k = 0; c && k < c->n_branch; k++) {
        cuda_branch *b = &c->branch[k];
        if (b->stream) (void)cudaStreamSynchronize(b->stream);
        if (b->solver) (void)cusolverDnDestroy(b->solver);
        if (b->blas) (void)cublasDestroy(b->blas);
        if (b->done) (void)cudaEventDestroy(b->done);
        if (b->stream) (void)cudaStreamDestroy(b->stream);
        (void)cudaFree(b->work);
    }
    if (c) {
        for (int k = 0; k < PIECES; k++)
            if (c->piece_used[k]) (void)cudaEventDestroy(c->piece_used[k]);
        if (c->fork) (void)cudaEventDestroy(c->fork);
        (void)cudaFreeHost(c->ring);
        (void)cudaFreeHost(c->fault_seen);
        (void)cudaFree(cu->fault);
        (void)cudaGetLastError();
        KS_FREE(cu->impl);
    }
    KS_FREE(cu);
}

/* ---- memory ---- */

extern "C" ks_status ks_cuda_alloc(void *state, size_t bytes, void **out) {
    ks_status      st         = KS_OK;
    const ks_cuda *cu         = (const ks_cuda *)state;
    size_t         free_bytes = 0, total = 0;
    cudaError_t    e;
    *out = NULL;
    KS_CHECK(!cu->impl->recording, KS_ERR_CUDA, "%zu bytes of device memory are wanted during a recording", bytes);
    KS_TRY(ks_alloc_note((int64_t)bytes));
    e = cudaMalloc(out, bytes);
    if (e == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        (void)cudaMemGetInfo(&free_bytes, &total);
        KS_CHECK(0, KS_ERR_NOMEM, "%zu bytes of device memory, %zu of %zu free", bytes, free_bytes, total);
    }
    KS_CUDA_CHECK(e);
done:
    return st;
}

extern "C" void ks_cuda_free(void *state, void *ptr) {
    (void)state;
    (void)cudaFree(ptr);
}

extern "C" int64_t ks_cuda_memory(void *state) {
    size_t free_bytes = 0, total = 0;
    (void)state;
    return cudaMemGetInfo(&free_bytes, &total) == cudaSuccess ? (int64_t)free_bytes : 0;
}

extern "C" ks_status ks_cuda_device(void *state, ks_device_info *out) {
    ks_status                  st = KS_OK;
    const struct ks_cuda_impl *c  = ((ks_cuda *)state)->impl;
    cudaDeviceProp             prop;
    char                      *at = out->id;
    KS_CUDA_CHECK(cudaGetDeviceProperties(&prop, c->device));
    out->index = c->device;
    out->n     = c->n_device;
    snprintf(out->name, sizeof out->name, "%.127s", prop.name);
    at += snprintf(at, 5, "GPU-");
    for (int k = 0; k < 16; k++)
        at += snprintf(at, 4, "%s%02x", k == 4 || k == 6 || k == 8 || k == 10 ? "-" : "",
                       (unsigned)(unsigned char)prop.uuid.bytes[k]);
done:
    return st;
}

/* Room for at most `want` bytes in the current piece, or in the next one when that is used up or another stream's. */
static ks_status ring_room(ks_cuda *cu, size_t want, char **at, size_t *got) {
    ks_status            st = KS_OK;
    struct ks_cuda_impl *c  = cu->impl;
    if (c->piece_stream != cu->stream || c->piece_at == PIECE_BYTES ||
        (want > PIECE_BYTES - c->piece_at && want <= PIECE_BYTES)) {
        c->piece        = (c->piece + 1) % PIECES;
        c->piece_at     = 0;
        c->piece_stream = cu->stream;
        KS_CUDA_CHECK(cudaEventSynchronize(c->piece_used[c->piece]));
    }
    *at  = c->ring + (size_t)c->piece * PIECE_BYTES + c->piece_at;
    *got = want < PIECE_BYTES - c->piece_at ? want : PIECE_BYTES - c->piece_at;
    c->piece_at += (*got + ALIGN - 1) / ALIGN * ALIGN;
done:
    return st;
}

extern "C" ks_status ks_cuda_to_backend(void *state, void *dst, const void *src, size_t bytes) {
    ks_status st  = KS_OK;
    ks_cuda  *cu  = (ks_cuda *)state;
    char     *at  = NULL;
    size_t    got = 0;
    KS_CHECK(!cu->impl->recording, KS_ERR_CUDA, "%zu bytes are copied from the host during a recording", bytes);
    for (size_t done_bytes = 0; done_bytes < bytes; done_bytes += got) {
        KS_TRY(ring_room(cu, bytes - done_bytes, &at, &got));
        memcpy(at, (const char *)src + done_bytes, got);
        KS_CUDA_CHECK(cudaMemcpyAsync((char *)dst + done_bytes, at, got, cudaMemcpyHostToDevice, cu->stream));
        KS_CUDA_CHECK(cudaEventRecord(cu->impl->piece_used[cu->impl->piece], cu->stream));
    }
done:
    return st;
}

extern "C" ks_status ks_cuda_to_host(void *state, void *dst, const void *src, size_t bytes) {
    ks_status st = KS_OK;
    ks_cuda  *cu = (ks_cuda *)state;
    KS_CHECK(!cu->impl->recording, KS_ERR_CUDA, "%zu bytes are copied to the host during a recording", bytes);
    KS_CUDA_CHECK(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, cu->stream));
    KS_CUDA_CHECK(cudaStreamSynchronize(cu->stream));
done:
    return st;
}

extern "C" ks_status ks_cuda_zero(void *state, void *dst, size_t bytes) {
    ks_status st = KS_OK;
    ks_cuda  *cu = (ks_cuda *)state;
    KS_CUDA_CHECK(cudaMemsetAsync(dst, 0, bytes, cu->stream));
done:
    return st;
}

/* ---- waiting ---- */

extern "C" ks_status ks_cuda_sync(void *state) {
    ks_status            st = KS_OK;
    ks_cuda             *cu = (ks_cuda *)state;
    struct ks_cuda_impl *c  = cu->impl;
    KS_CHECK(!c->recording, KS_ERR_CUDA, "the host waits for the device during a recording");
    for (int k = 1; k < c->n_branch; k++) KS_CUDA_CHECK(cudaStreamSynchronize(c->branch[k].stream));
    KS_LAUNCH(fault_take_k, 1, 1, 0, c->branch[0].stream, cu->fault, c->fault_seen);
    KS_LAUNCHED(cu);
    KS_CUDA_CHECK(cudaStreamSynchronize(c->branch[0].stream));
    KS_TRY(fault_report(c->fault_seen));
done:
    return st;
}

extern "C" ks_status ks_cuda_fetch_open(void *state, size_t bytes, void **out, void **host) {
    ks_status    st   = KS_OK;
    cuda_fetch  *f    = NULL;
    const size_t room = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    *out = *host = NULL;
    KS_TRY(ks_alloc_note((int64_t)bytes));
    KS_TRY(KS_ZNEW(f, 1));
    KS_CUDA_CHECK(cudaEventCreateWithFlags(&f->done, cudaEventDisableTiming));
    KS_CUDA_CHECK(cudaMallocHost(&f->buffer, room + sizeof *f->fault_seen));
    f->fault_seen  = (unsigned long long *)((char *)f->buffer + room);
    *f->fault_seen = NO_FAULT;
    *host          = f->buffer;
    *out           = f;
    f              = NULL;
done:
    ks_cuda_fetch_close(state, f);
    return st;
}

/* Behind all that is queued on the current stream. A fault that a kernel has met so far travels along. */
extern "C" ks_status ks_cuda_fetch_start(void *state, void *fetch, void *host, const void *src, size_t bytes) {
    ks_status         st = KS_OK;
    ks_cuda          *cu = (ks_cuda *)state;
    const cuda_fetch *f  = (const cuda_fetch *)fetch;
    KS_CHECK(!cu->impl->recording, KS_ERR_CUDA, "%zu bytes are fetched during a recording", bytes);
    KS_CUDA_CHECK(cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, cu->stream));
    KS_LAUNCH(fault_take_k, 1, 1, 0, cu->stream, cu->fault, f->fault_seen);
    KS_LAUNCHED(cu);
    KS_CUDA_CHECK(cudaEventRecord(f->done, cu->stream));
done:
    return st;
}

extern "C" ks_status ks_cuda_fetch_wait(void *state, void *fetch) {
    ks_status         st = KS_OK;
    const cuda_fetch *f  = (const cuda_fetch *)fetch;
    (void)state;
    KS_CUDA_CHECK(cudaEventSynchronize(f->done));
    KS_TRY(fault_report(f->fault_seen));
done:
    return st;
}

extern "C" ks_status ks_cuda_fetch_is_ready(void *state, void *fetch, int *ready) {
    ks_status         st = KS_OK;
    const cuda_fetch *f  = (const cuda_fetch *)fetch;
    const cudaError_t e  = cudaEventQuery(f->done);
    (void)state;
    *ready = e == cudaSuccess;
    if (e == cudaErrorNotReady) (void)cudaGetLastError(); /* or the next launch would report it */
    else KS_CUDA_CHECK(e);
done:
    return st;
}

extern "C" void ks_cuda_fetch_close(void *state, void *fetch) {
    cuda_fetch *f = (cuda_fetch *)fetch;
    (void)state;
    if (!f) return;
    if (f->done) (void)cudaEventSynchronize(f->done); /* the copy may still be on its way */
    if (f->done) (void)cudaEventDestroy(f->done);
    (void)cudaFreeHost(f->buffer);
    KS_FREE(f);
}

/* ---- recordings ---- */

extern "C" ks_status ks_cuda_graph_begin(void *state) {
    ks_status            st = KS_OK;
    struct ks_cuda_impl *c  = ((ks_cuda *)state)->impl;
    KS_CHECK(!c->recording && !c->forked, KS_ERR_CUDA, "a recording begins inside %s",
             c->recording ? "another" : "branches");
    KS_CUDA_CHECK(cudaStreamBeginCapture(c->branch[0].stream, cudaStreamCaptureModeThreadLocal));
    c->recording = 1;
done:
    return st;
}

/* Whatever has gone wrong in between, no stream is captured afterwards. */
extern "C" ks_status ks_cuda_graph_end(void *state, void **out) {
    ks_status            st    = KS_OK;
    ks_cuda             *cu    = (ks_cuda *)state;
    struct ks_cuda_impl *c     = cu->impl;
    cudaGraph_t          graph = NULL;
    cudaGraphExec_t      exec  = NULL;
    cudaError_t          e;
    if (out) *out = NULL;
    KS_CHECK(c->recording, KS_ERR_CUDA, "the end of a recording that was not begun");
    st           = ks_cuda_join(cu);
    c->recording = 0;
    e            = cudaStreamEndCapture(c->branch[0].stream, &graph);
    if (!out) {
        if (st != KS_OK) ks_error_clear();
        st = KS_OK;
        (void)cudaGetLastError();
        goto done;
    }
    if (st != KS_OK) goto done;
    KS_CUDA_CHECK(e);
    KS_CUDA_CHECK(cudaGraphInstantiate(&exec, graph, 0));
    *out = exec;
done:
    if (graph) (void)cudaGraphDestroy(graph);
    return st;
}

extern "C" ks_status ks_cuda_graph_launch(void *state, void *graph) {
    ks_status st = KS_OK;
    ks_cuda  *cu = (ks_cuda *)state;
    KS_CHECK(!cu->impl->recording, KS_ERR_CUDA, "a recording is launched during another");
    KS_CUDA_CHECK(cudaGraphLaunch((cudaGraphExec_t)graph, cu->stream));
done:
    return st;
}

extern "C" void ks_cuda_graph_close(void *state, void *graph) {
    const ks_cuda *cu = (const ks_cuda *)state;
    if (!graph) return;
    (void)cudaStreamSynchronize(cu->stream); /* it may still run */
    (void)cudaGraphExecDestroy((cudaGraphExec_t)graph);
}

/* ---- branches ---- */

extern "C" int ks_cuda_n_branch(void *state) { return ((ks_cuda *)state)->impl->n_branch; }

/* The first call after a join is the fork: every branch starts behind what was queued before it. */
extern "C" ks_status ks_cuda_branch(void *state, int k) {
    ks_status            st = KS_OK;
    ks_cuda             *cu = (ks_cuda *)state;
    struct ks_cuda_impl *c  = cu->impl;
    KS_CHECK(k >= 0 && k < c->n_branch, KS_ERR_ARG, "branch %d of %d", k, c->n_branch);
    if (!c->forked) KS_CUDA_CHECK(cudaEventRecord(c->fork, c->branch[0].stream));
    c->forked = 1;
    if (k > 0 && !c->branch[k].forked) {
        KS_CUDA_CHECK(cudaStreamWaitEvent(c->branch[k].stream, c->fork, 0));
        c->branch[k].forked = 1;
    }
    use_branch(cu, k);
done:
    return st;
}

extern "C" ks_status ks_cuda_join(void *state) {
    ks_status            st = KS_OK;
    ks_cuda             *cu = (ks_cuda *)state;
    struct ks_cuda_impl *c  = cu->impl;
    use_branch(cu, 0);
    for (int k = 1; k < c->n_branch; k++)
        if (c->branch[k].forked) {
            KS_CUDA_CHECK(cudaEventRecord(c->branch[k].done, c->branch[k].stream));
            KS_CUDA_CHECK(cudaStreamWaitEvent(c->branch[0].stream, c->branch[k].done, 0));
        }
done:
    c->forked = 0;
    for (int k = 1; k < c->n_branch; k++) c->branch[k].forked = 0;
    return st;
}

/* ---- errors ---- */

extern "C" ks_status ks_cuda_launched(ks_cuda *cu, const char *file, int line, const char *func) {
    cudaError_t e = cudaGetLastError();
    if (e == cudaSuccess && cu->sync && !cu->impl->recording) e = cudaStreamSynchronize(cu->stream);
    return e == cudaSuccess ? KS_OK
                            : ks_error_raise(KS_ERR_CUDA, file, line, func, "kernel launch: %s", cudaGetErrorString(e));
}

extern "C" const char *ks_cublas_error(cublasStatus_t status) { return cublasGetStatusString(status); }

extern "C" const char *ks_cusolver_error(cusolverStatus_t status) {
    switch (status) {
    case CUSOLVER_STATUS_SUCCESS:
        return "success";
    case CUSOLVER_STATUS_NOT_INITIALIZED:
        return "not initialised";
    case CUSOLVER_STATUS_ALLOC_FAILED:
        return "out of memory";
    case CUSOLVER_STATUS_INVALID_VALUE:
        return "invalid argument";
    case CUSOLVER_STATUS_ARCH_MISMATCH:
        return "not available on this GPU";
    case CUSOLVER_STATUS_EXECUTION_FAILED:
        return "execution failed";
    case CUSOLVER_STATUS_INTERNAL_ERROR:
        return "internal error";
    case CUSOLVER_STATUS_NOT_SUPPORTED:
        return "not supported";
    case CUSOLVER_STATUS_INVALID_WORKSPACE:
        return "workspace too small";
    default:
        return "unknown error";
    }
}
