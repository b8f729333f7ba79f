/* linalg_frame.cu -- scalars of frames (gap, mask, masked sum, minimum) and mixing weights. CPU twins:
 * src/ops/linalg_blas.c, linalg_mix.c; the formulas are in src/pointwise/frame_scalar.h and mix_point.h. Tests:
 * tests/ops/test_linalg.c, test_linalg_frame.c.
 * gap, mask, mix: a thread a frame. Sum and minimum: one block, every thread its frames in order, then a tree: one
 * order, bitwise repeatable. Mixing: the factor (k x k) and a vector of a frame are in scratch, since an array of the
 * kernel would claim 8 KiB for each thread the device can hold, 2 GB of device memory.
 * Budget: below 100 kB for 128 frames, so each is the 2 to 4 us of a launch; mixing with k = 8 about 8 us (340
 * dependent operations at L1 latency), k = 32 about 0.3 ms. Measured: none yet. */
#include "linalg_cuda.cuh"
#include "../reduce.cuh"
#include "cuda/backend_cuda.h"
#include "pointwise/frame_scalar.h"
#include "pointwise/mix_point.h"

enum { THREADS = KS_LINALG_THREADS, MIX_THREADS = 32 };

static __global__ void gap_k(int64_t n_frame, int64_t n, const ks_occ occ, const double *__restrict__ eps, int min,
                             double *__restrict__ gap) {
    KS_GRID_STRIDE(f, n_frame) {
        double least = min ? gap[f] : (double)INFINITY;
        for (int64_t b = f * occ.n_spin; b < (f + 1) * occ.n_spin; b++)
            least = ks_lower_gap(least, n, ks_occ_dev(occ, b), eps + b * n);
        gap[f] = least;
    }
}

/* mask may be and_mask. */
static __global__ void mask_k(int64_t n_frame, const double *E, const double *gap, double gap_min,
                              const double *and_mask, double *mask) {
    KS_GRID_STRIDE(f, n_frame) {
        mask[f] = ks_frame_counts(E ? E[f] : 0.0, gap[f], gap_min, and_mask ? and_mask[f] : 1.0);
    }
}

static __global__ void masked_sum_k(int64_t n_frame, double alpha, const double *mask, const double *x, int add,
                                    double *out) {
    KS_SHARED(double, shared, 32);
    double sum = 0.0;
    for (int64_t f = threadIdx.x; f < n_frame; f += THREADS)
        if (mask[f] != 0.0) sum += x ? x[f] : 1.0;
    sum = ks_block_sum(sum, shared);
    if (threadIdx.x == 0) out[0] = (add ? out[0] : 0.0) + alpha * sum;
}

/* NaN counts as the smallest number there is, as it does on the CPU. */
static __device__ __forceinline__ double lower(double a, double b) { return a >= b || b != b ? b : a; }

static __global__ void min_k(int64_t n_frame, const double *x, double *out) {
    KS_SHARED(double, part, THREADS / 32);
    double least = (double)INFINITY;
    for (int64_t f = threadIdx.x; f < n_frame; f += THREADS) least = lower(least, x[f]);
    for (int step = 16; step > 0; step /= 2) least = lower(least, __shfl_xor_sync(0xffffffffu, least, step));
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = least;
    __syncthreads();
    if (threadIdx.x == 0) {
        least = out[0];
        for (int w = 0; w < THREADS / 32; w++) least = lower(least, part[w]);
        out[0] = least;
    }
}

static __global__ void mix_fwd_k(int64_t n_mat, int k, int64_t ld, double ridge, const double *__restrict__ gram,
                                 double *__restrict__ factor, double *__restrict__ w) {
    KS_GRID_STRIDE(b, n_mat) { ks_mix_weights(k, ld, ridge, gram + b * ld * ld, factor + b * k * k, w + b * k); }
}

static __global__ void mix_adj_k(int64_t n_mat, int k, int64_t ld, double ridge, const double *__restrict__ gram,
                                 const double *__restrict__ w, const double *__restrict__ w_bar,
                                 double *__restrict__ factor, double *__restrict__ z, double *__restrict__ gram_bar) {
    KS_GRID_STRIDE(b, n_mat) {
        ks_mix_cotangent(k, ld, ridge, gram + b * ld * ld, w + b * k, w_bar + b * k, factor + b * k * k, z + b * k,
                         gram_bar + b * ld * ld);
    }
}

extern "C" ks_status ks_gap_cuda(ks_ctx *ctx, int64_t n_frame, int64_t n, const ks_occ *occ, const double *eps, int min,
                                 double *gap) {
    ks_status st = KS_OK;
    ks_cuda  *cu = ks_cuda_of(ctx);
    KS_LAUNCH(gap_k, ks_blocks(n_frame, 32, KS_MOST_BLOCKS), 32, 0, cu->stream, n_frame, n, *occ, eps, min, gap);
    KS_LAUNCHED(cu);
done:
    return st;
}

extern "C" ks_status ks_mask_cuda(ks_ctx *ctx, int64_t n_frame, const double *E, const double *gap, double gap_min,
                                  const double *and_mask, double *mask) {
    ks_status st = KS_OK;
    ks_cuda  *cu = ks_cuda_of(ctx);
    KS_LAUNCH(mask_k, ks_blocks(n_frame, THREADS, KS_MOST_BLOCKS), THREADS, 0, cu->stream, n_frame, E, gap, gap_min,
              and_mask, mask);
    KS_LAUNCHED(cu);
done:
    return st;
}

extern "C" ks_status ks_masked_sum_cuda(ks_ctx *ctx, int64_t n_frame, double alpha, const double *mask, const double *x,
                                        int add, double *out) {
    ks_status st = KS_OK;
    ks_cuda  *cu = ks_cuda_of(ctx);
    KS_LAUNCH(masked_sum_k, 1, THREADS, 0, cu->stream, n_frame, alpha, mask, x, add, out);
    KS_LAUNCHED(cu);
done:
    return st;
}

extern "C" ks_status ks_min_cuda(ks_ctx *ctx, int64_t n_frame, const double *x, double *out) {
    ks_status st = KS_OK;
    ks_cuda  *cu = ks_cuda_of(ctx);
    KS_LAUNCH(min_k, 1, THREADS, 0, cu->stream, n_frame, x, out);
    KS_LAUNCHED(cu);
done:
    return st;
}

extern "C" ks_status ks_mix_fwd_cuda(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge,
                                     const double *gram, double *w) {
    ks_status           st      = KS_OK;
    ks_cuda            *cu      = ks_cuda_of(ctx);
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    double             *factor  = NULL;
    KS_TRY(KS_TAKE(scratch, factor, n_mat * k * k));
    KS_LAUNCH(mix_fwd_k, ks_blocks(n_mat, MIX_THREADS, KS_MOST_BLOCKS), MIX_THREADS, 0, cu->stream, n_mat, (int)k, ld,
              ridge, gram, factor, w);
    KS_LAUNCHED(cu);
done:
    ks_arena_release(scratch, mark);
    return st;
}

extern "C" ks_status ks_mix_adj_cuda(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge,
                                     const double *gram, const double *w, const double *w_bar, double *gram_bar) {
    ks_status           st      = KS_OK;
    ks_cuda            *cu      = ks_cuda_of(ctx);
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    double             *factor = NULL, *z = NULL;
    KS_TRY(KS_TAKE(scratch, factor, n_mat * k * k));
    KS_TRY(KS_TAKE(scratch, z, n_mat * k));
    KS_LAUNCH(mix_adj_k, ks_blocks(n_mat, MIX_THREADS, KS_MOST_BLOCKS), MIX_THREADS, 0, cu->stream, n_mat, (int)k, ld,
              ridge, gram, w, w_bar, factor, z, gram_bar);
    KS_LAUNCHED(cu);
done:
    ks_arena_release(scratch, mark);
    return st;
}
