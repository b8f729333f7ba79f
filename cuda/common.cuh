/* common.cuh -- what every .cu file starts with: the CUDA side of a context, launches, error mapping. Private.
 *
 * Rules of the .cu files: C with launches (templates only for types and tile sizes); kernels are launched through
 * KS_LAUNCH and followed by KS_LAUNCHED, shared memory is declared through KS_SHARED and KS_SHARED_DYNAMIC, no inline
 * PTX: so that tests/emu can compile the same files for the CPU. Launchers never synchronise, copy or allocate:
 * workspace comes from ks_ctx_scratch. Barriers and shuffles are reached by all threads of the block or warp: none
 * returns before. */
#ifndef KS_COMMON_CUH
#define KS_COMMON_CUH
#define KS_LANE_SCALAR 1 /* lane.h: one work item per thread */
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cusolverDn.h>
#include <stdint.h>
#include "core/backend.h"

/* ks_ctx.state of a CUDA context. stream, blas and solver are those of the current branch: read them at each launch. */
typedef struct ks_cuda {
    cudaStream_t       stream;
    cublasHandle_t     blas;   /* host pointer mode, its workspace set by device.cu: capturable, repeatable */
    cusolverDnHandle_t solver; /* deterministic mode */
    int                n_sm;
    int sync; /* KS_CUDA_SYNC=1: wait after every launch, so that an error is reported where it happens */
    unsigned long long    *fault; /* device: see ks_fault_raise */
    struct ks_cuda_impl   *impl;  /* device.cu */
    struct ks_int1e_cache *int1e; /* int1e.cu: tables of the systems met so far */
} ks_cuda;
static inline ks_cuda *ks_cuda_of(const ks_ctx *ctx) { return (ks_cuda *)ctx->state; }

/* What a kernel may find wrong with its data; the frame is the call's or, where the op's contract says so, another
 * index. The smallest (kind, frame) of all that are raised is kept and reported by the next ks_sync or ks_fetch_wait,
 * which clears it. */
typedef enum ks_fault_kind {
    KS_FAULT_OVERLAP  = 1, /* KS_ERR_DATA: smallest eigenvalue of S below 1e-8 */
    KS_FAULT_CHOLESKY = 2, /* KS_ERR_NUMERIC: a matrix is not positive definite */
    KS_FAULT_FRAME    = 3  /* KS_ERR_DATA: no canonical frame */
} ks_fault_kind;

#ifdef __cplusplus
extern "C" {
#endif
/* Error of the last launch, and with sync also of its execution. */
KS_NODISCARD ks_status ks_cuda_launched(ks_cuda *cu, const char *file, int line, const char *func);
const char            *ks_cublas_error(cublasStatus_t status);
const char            *ks_cusolver_error(cusolverStatus_t status);
#ifdef __cplusplus
}
#endif

#define KS_CUBLAS_CHECK(call)                                                                                          \
    do {                                                                                                               \
        const cublasStatus_t e_ = (call);                                                                              \
        KS_CHECK(e_ == CUBLAS_STATUS_SUCCESS, KS_ERR_CUDA, "%s: %s", #call, ks_cublas_error(e_));                      \
    } while (0)
#define KS_CUSOLVER_CHECK(call)                                                                                        \
    do {                                                                                                               \
        const cusolverStatus_t e_ = (call);                                                                            \
        KS_CHECK(e_ == CUSOLVER_STATUS_SUCCESS, KS_ERR_CUDA, "%s: %s", #call, ks_cusolver_error(e_));                  \
    } while (0)
#define KS_CUDA_CHECK(call)                                                                                            \
    do {                                                                                                               \
        const cudaError_t e_ = (call);                                                                                 \
        if (e_ != cudaSuccess) (void)cudaGetLastError(); /* or the next launch would report it again */                \
        KS_CHECK(e_ == cudaSuccess, e_ == cudaErrorMemoryAllocation ? KS_ERR_NOMEM : KS_ERR_CUDA, "%s: %s", #call,     \
                 cudaGetErrorString(e_));                                                                              \
    } while (0)

#ifndef KS_LAUNCH /* the launcher of tests/emu has its own three */
#define KS_LAUNCH(kernel, grid, block, shared, stream, ...) kernel<<<grid, block, shared, stream>>>(__VA_ARGS__)
#define KS_SHARED(T, name, n) __shared__ T name[n]
#define KS_SHARED_DYNAMIC(T, name)                                                                                     \
    extern __shared__ __align__(16) char name##_raw[];                                                                 \
    T *const                             name = (T *)name##_raw
#endif
/* Needs st and done. Always on. */
#define KS_LAUNCHED(cu) KS_TRY(ks_cuda_launched((cu), __FILE__, __LINE__, __func__))

/* int64_t index, widened before the product. */
#define KS_GRID_STRIDE(i, n)                                                                                           \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, i##_step = (int64_t)gridDim.x * blockDim.x;       \
         i < (n); i += i##_step)

static inline int64_t ks_min64(int64_t a, int64_t b) { return a < b ? a : b; }

static __device__ inline void ks_fault_raise(unsigned long long *fault, ks_fault_kind kind, int64_t frame) {
    (void)atomicMin(fault, (unsigned long long)kind << 32 | (unsigned long long)frame);
}

/* Blocks for n items at `per_block` each, at least 1 and at most `most`: the kernels stride over the rest. */
static inline unsigned ks_blocks(int64_t n, int64_t per_block, int64_t most) {
    int64_t b = (n + per_block - 1) / per_block;
    if (b > most) b = most;
    return (unsigned)(b > 0 ? b : 1);
}
#endif
