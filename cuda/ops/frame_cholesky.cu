/* frame_cholesky.cu -- the transform H <- L^-1 H L^-T with S = L L^T. CPU twin: dpotrf and dsygst
 * (src/ops/net_frame_cpu.c). Test: tests/ops/test_cholesky_transform.c.
 * One block a frame. S lies by columns in shared memory (n <= 144; beyond, in its own place), and becomes L:
 *   column k: every thread subtracts a_ik a_jk / d_k from its elements i >= j > k, d_k being the pivot left by the
 *   columns before; one barrier a column. Then l_ik = a_ik / sqrt(d_k), and 1 / l_kk on the diagonal.
 * Y = L^-1 H: a thread has a column of H to itself, without barriers: 8 rows at a time in registers, from which it
 * subtracts the rows above, then the triangle of the 8. H is symmetric, so that L^-1 (L^-1 H)^T = L^-1 H L^-T: the
 * same again after a transposition. The lower triangle is a copy of the upper one, as in the CPU twin.
 * One writer and one order for each element, no atomics: bitwise repeatable. A pivot <= 0 raises
 * KS_FAULT_CHOLESKY; with it, and with a pivot that is NaN, all of the frame's H is NaN.
 * Budget, B = 128 uracils (n = 132): one wave of 128 blocks; a block has n^3 / 3 + 2 n^3 = 5.4 MFLOP, 8 loads of L and
 * one of H for 16 flop: 2 x 54 k cycles of the load units, and 132 barriers of about 200: 80 us at 1.7 GHz, whatever
 * the batch up to 132. 54 MB of memory: 13 us. measured: none yet. */
#include "../common.cuh"
#include "cuda/backend_cuda.h"
#include "ops/net_ops.h"

enum { THREADS = 256, LANES = 32, R = 8, SHARED_MOST = 162 << 10 };

/* L (by columns, ld n) of the matrix in L, 1 / l_kk on the diagonal. Returns the first pivot that is not positive, or
 * 1. Whole block. */
static __device__ __forceinline__ double factorise(int n, double *L) {
    const int lane = (int)threadIdx.x % LANES, row = (int)threadIdx.x / LANES;
    for (int k = 0; k < n; k++) {
        const double d = L[(int64_t)k * n + k];
        if (!(d > 0.0)) return d; /* the same for all threads */
        const double r = 1.0 / d;
        for (int j = k + 1 + row; j < n; j += THREADS / LANES) {
            const double f = L[(int64_t)k * n + j] * r;
            for (int i = j + lane; i < n; i += LANES) L[(int64_t)j * n + i] -= L[(int64_t)k * n + i] * f;
        }
        __syncthreads();
    }
    for (int k = row; k < n; k += THREADS / LANES) {
        const double r = 1.0 / sqrt(L[(int64_t)k * n + k]);
        __syncwarp(); /* read by all lanes before lane 0 writes it */
        for (int i = k + lane; i < n; i += LANES) L[(int64_t)k * n + i] = i == k ? r : L[(int64_t)k * n + i] * r;
    }
    __syncthreads();
    return 1.0;
}

/* h = L^-1 h, a column for each thread. */
static __device__ __forceinline__ void substitute(int n, const double *L, double *h) {
    for (int c = (int)threadIdx.x; c < n; c += THREADS)
        for (int i0 = 0; i0 < n; i0 += R) {
            double acc[R];
            for (int r = 0; r < R; r++) acc[r] = i0 + r < n ? h[(int64_t)(i0 + r) * n + c] : 0.0;
            if (i0 + R <= n)
                for (int k = 0; k < i0; k++) {
                    const double y = h[(int64_t)k * n + c];
                    for (int r = 0; r < R; r++) acc[r] -= L[(int64_t)k * n + i0 + r] * y;
                }
            else
                for (int k = 0; k < i0; k++) {
                    const double y = h[(int64_t)k * n + c];
                    for (int r = 0; r < R; r++)
                        if (i0 + r < n) acc[r] -= L[(int64_t)k * n + i0 + r] * y;
                }
            for (int k = 0; k < R; k++) {
                if (i0 + k >= n) continue;
                acc[k] *= L[(int64_t)(i0 + k) * n + i0 + k];
                for (int r = k + 1; r < R; r++)
                    if (i0 + r < n) acc[r] -= L[(int64_t)(i0 + k) * n + i0 + r] * acc[k];
                h[(int64_t)(i0 + k) * n + c] = acc[k];
            }
        }
}

/* IN_SHARED 0: L takes the place of S, whose rows read as columns are the lower triangle. */
template <int IN_SHARED>
static __global__ void __launch_bounds__(THREADS, 1)
    cholesky_transform_k(int n, double *__restrict__ S, double *__restrict__ H, unsigned long long *fault) {
    KS_SHARED_DYNAMIC(double, shared);
    const int64_t size = (int64_t)n * n;
    double       *s = S + blockIdx.x * size, *h = H + blockIdx.x * size, *L = IN_SHARED ? shared : s;
    if (IN_SHARED)
        for (int64_t i = threadIdx.x; i < size; i += THREADS) L[i] = s[i];
    __syncthreads();
    const double pivot = factorise(n, L);
    if (!(pivot > 0.0)) {
        if (threadIdx.x == 0 && pivot <= 0.0) ks_fault_raise(fault, KS_FAULT_CHOLESKY, blockIdx.x);
        for (int64_t i = threadIdx.x; i < size; i += THREADS) h[i] = NAN;
        return;
    }
    substitute(n, L, h);
    __syncthreads();
    for (int64_t i = threadIdx.x; i < size; i += THREADS) {
        const int64_t r = i / n, c = i % n;
        if (r < c) {
            const double t = h[i];
            h[i]           = h[c * n + r];
            h[c * n + r]   = t;
        }
    }
    __syncthreads();
    substitute(n, L, h);
    __syncthreads();
    for (int64_t i = threadIdx.x; i < size; i += THREADS)
        if (i % n < i / n) h[i] = h[i % n * n + i / n];
}

extern "C" ks_status ks_cholesky_transform_fwd_cuda(ks_ctx *ctx, int64_t n_frame, int64_t n, double *S, double *H) {
    ks_status     st    = KS_OK;
    ks_cuda      *cu    = ks_cuda_of(ctx);
    const int64_t bytes = n * n * (int64_t)sizeof(double);
    int           ni    = 0;
    KS_TRY(ks_int(n, &ni));
    if (bytes <= SHARED_MOST) {
        KS_CUDA_CHECK(
            cudaFuncSetAttribute(cholesky_transform_k<1>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
        KS_LAUNCH(cholesky_transform_k<1>, (unsigned)n_frame, THREADS, (size_t)bytes, cu->stream, ni, S, H, cu->fault);
    } else {
        KS_LAUNCH(cholesky_transform_k<0>, (unsigned)n_frame, THREADS, 0, cu->stream, ni, S, H, cu->fault);
    }
    KS_LAUNCHED(cu);
done:
    return st;
}
