/* common.cuh -- what every .cu file starts with: the CUDA side of a context, launches, error mapping. Private.
 *
 * Rules of the .cu files: C with launches (templates only for types and tile sizes); kernels are launched through
 * KS_LAUNCH and followed by KS_LAUNCHED, shared memory is declared through KS_SHARED and KS_SHARED_DYNAMIC, no inline
 * PTX: so that tests/emu can compile the same files for the CPU. Launchers never synchronise, copy or allocate (but
 * see ks_cuda_scratch). Barriers and shuffles are reached by all threads of the block or warp: none
 * returns before. */
#ifndef KS_COMMON_CUH
#define KS_COMMON_CUH
#define KS_LANE_SCALAR 1 /* lane.h: one work item per thread */
#include <cuda_runtime.h>
#include <stdint.h>
#include "core/backend.h"

/* ks_ctx.state of a CUDA context. */
typedef struct ks_cuda {
    cudaStream_t stream;
    int          n_sm;
    int          sync; /* KS_CUDA_SYNC=1: wait after every launch, so that an error is reported where it happens */
    char        *scratch;
    size_t       scratch_bytes;
} ks_cuda;

#ifdef __cplusplus
extern "C" {
#endif
/* Device workspace of the running launcher, 256-byte aligned, contents undefined; one at a time, valid until the next
 * call. Grows on first use of a size, so a warm step does not allocate. */
KS_NODISCARD ks_status ks_cuda_scratch(ks_cuda *cu, int64_t n, size_t size, void **out);
/* Error of the last launch, and with sync also of its execution. */
KS_NODISCARD ks_status ks_cuda_launched(ks_cuda *cu, const char *file, int line, const char *func);
#ifdef __cplusplus
}
#endif

#define KS_CUDA_CHECK(call)                                                                                            \
    do {                                                                                                               \
        const cudaError_t e_ = (call);                                                                                 \
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

/* Blocks for n items at `per_block` each, at least 1 and at most `most`: the kernels stride over the rest. */
static inline unsigned ks_blocks(int64_t n, int64_t per_block, int64_t most) {
    int64_t b = (n + per_block - 1) / per_block;
    if (b > most) b = most;
    return (unsigned)(b > 0 ? b : 1);
}
#endif
