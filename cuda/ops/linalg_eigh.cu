/* linalg_eigh.cu -- symmetric eigenproblem, Loewdin matrices, Cholesky solve. CPU twin: src/ops/linalg_eigh.c. Test:
 * tests/ops/test_linalg.c.
 *   eigh        up to n = 135 by the kernel of linalg_eigh_block.cu. Larger matrices by cusolverDnXsyevBatched on a
 *               copy, in which the identity stands for a frame with non-finite elements: such a frame gets w = NaN and
 *               v = 1 afterwards. A block a matrix to look for them, a block a 32 x 32 tile to transpose (the library's
 *               columns are rows here).
 *   lowdin      S^1/2 = (V w^1/2) V^T, X = (V w^-1/2) V^T; smallest eigenvalue below 1e-8: KS_FAULT_OVERLAP, NaN
 *   chol_solve  square-root free, a block a matrix, everything in shared memory where it fits (packed A and the
 *               right-hand sides in 160 KiB): with
 *               c_ij = L_ij d_j, step j takes c_ij c_kj / d_j from the rest of A and c_ij x_j / d_j from the rest of
 *               the right-hand sides, then the same upwards. One barrier a column; d_j <= 0: KS_FAULT_CHOLESKY, NaN
 * One order of all sums: bitwise repeatable; the library's is set to deterministic results. Its workspace is zeroed
 * first, because cuSOLVER 11.7.1 gives wrong vectors otherwise (github.com/pytorch/pytorch/issues/192483). Whether its
 * call may be part of a recorded step is not documented: above n = 135 recording may be refused.
 * Budget: the only published figures for a batched call at n = 128, JAX's for its Jacobi kernels
 * (github.com/jax-ml/jax/issues/31375, GPU not stated), are 0.6 ms for one matrix and 11.5 ms for 128, 90 us each;
 * cusolverDnXsyevBatched is reported to be faster from n = 32 on. Assumed for n = 150: 100 us a frame of 128.
 * lowdin, n = 132 (uracil): an eigh and two products. chol_solve with 44 right-hand sides: 2.3 MFLOP, 2 x 132 columns
 * of about 180 cycles, 30 us for 1 to 132 frames. Measured: none yet. */
#include "linalg_cuda.cuh"
#include <float.h>
#include "../reduce.cuh"
#include "linalg_eigh_block.cuh"
#include "cuda/backend_cuda.h"
#include "ops/linalg_ops.h"

enum {
    THREADS     = KS_LINALG_THREADS,
    WARP        = 32,
    TILE        = KS_LINALG_TILE,
    EDGE        = 16,
    SHARED_MOST = 160 << 10 /* a block may have 163 KiB on sm_80, 227 on sm_90 */
};
static const double OVERLAP_MIN = 1e-8; /* as on the CPU */

/* u = a, or the unit matrix where a has an element that is not finite; is_bad says which. Block b: matrix b. */
static __global__ void eigh_begin_k(int64_t n, const double *__restrict__ a, double *__restrict__ u,
                                    int *__restrict__ is_bad) {
    KS_SHARED(int, shared, 32);
    KS_SHARED(int, bad, 1);
    const double *x     = a + (int64_t)blockIdx.x * n * n;
    double       *y     = u + (int64_t)blockIdx.x * n * n;
    int           count = 0;
    for (int64_t i = threadIdx.x; i < n * n; i += THREADS) count += !(fabs(x[i]) <= DBL_MAX);
    count = ks_block_sum(count, shared);
    if (threadIdx.x == 0) bad[0] = is_bad[blockIdx.x] = count > 0;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < n * n; i += THREADS) y[i] = bad[0] ? (i % (n + 1) == 0 ? 1.0 : 0.0) : x[i];
}

/* v = u^T. Block: a tile of one matrix; info is the library's. */
static __global__ void eigh_end_k(int64_t n, int64_t n_tile, const double *__restrict__ u,
                                  const int *__restrict__ is_bad, const int *__restrict__ info, double *__restrict__ w,
                                  double *__restrict__ v) {
    KS_SHARED(double, s, TILE *(TILE + 1));
    const int64_t b = blockIdx.x / (n_tile * n_tile), tile = blockIdx.x % (n_tile * n_tile);
    const int64_t row = tile / n_tile * TILE, column = tile % n_tile * TILE;
    const int     tx = (int)threadIdx.x % TILE, ty = (int)threadIdx.x / TILE, bad = is_bad[b] || info[b];
    for (int r = ty; r < TILE; r += THREADS / TILE)
        if (column + r < n && row + tx < n) s[r * (TILE + 1) + tx] = u[(b * n + column + r) * n + row + tx];
    __syncthreads();
    for (int r = ty; r < TILE; r += THREADS / TILE)
        if (row + r < n && column + tx < n)
            v[(b * n + row + r) * n + column + tx] =
                bad ? (row + r == column + tx ? 1.0 : 0.0) : s[tx * (TILE + 1) + r];
    if (bad && tile == 0)
        for (int64_t i = threadIdx.x; i < n; i += THREADS) w[b * n + i] = (double)NAN;
}

/* out_ij = v_ij w_j^(1/2) or, inverse, v_ij w_j^(-1/2); a frame whose overlap matrix is singular gets NaN. A warp a
 * row. */
static __global__ void root_k(int64_t n_row, int64_t n, int inverse, int64_t first_frame, unsigned long long *fault,
                              const double *__restrict__ w, const double *__restrict__ v, double *__restrict__ out) {
    const int64_t lane = threadIdx.x % WARP, step = (int64_t)gridDim.x * (THREADS / WARP);
    for (int64_t row = (int64_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP; row < n_row; row += step) {
        const double *e      = w + row / n * n;
        const int     is_bad = !(e[0] >= OVERLAP_MIN);
        if (is_bad && row % n == 0 && lane == 0) ks_fault_raise(fault, KS_FAULT_OVERLAP, first_frame + row / n);
        for (int64_t j = lane; j < n; j += WARP)
            out[row * n + j] = is_bad    ? (double)NAN
                               : inverse ? v[row * n + j] * (1.0 / sqrt(e[j]))
                                         : v[row * n + j] * sqrt(e[j]);
    }
}

/* Start of row i of a packed lower triangle. */
static __device__ __forceinline__ int row_of(int i) { return i * (i + 1) / 2; }

/* Block b: matrix b. c (packed lower triangle) and y (n, m) are in shared memory, or else in work and x. */
static __global__ void chol_solve_k(int n, int m, int in_shared, const double *__restrict__ a,
                                    const double *__restrict__ b, double *__restrict__ work, double *__restrict__ x,
                                    unsigned long long *fault) {
    KS_SHARED_DYNAMIC(double, own);
    const int     tx = (int)threadIdx.x % EDGE, ty = (int)threadIdx.x / EDGE;
    const int64_t frame = blockIdx.x, size = (int64_t)n * m;
    double       *c = in_shared ? own : work + frame * row_of(n), *y = in_shared ? own + row_of(n) : x + frame * size;
    int           bad = 0;
    for (int i = ty; i < n; i += EDGE) {
        for (int k = tx; k <= i; k += EDGE) c[row_of(i) + k] = a[(frame * n + i) * n + k];
        for (int k = tx; k < m; k += EDGE) y[i * m + k] = b[frame * size + i * m + k];
    }
    for (int j = 0; j < n && !bad; j++) {
        __syncthreads();
        const double d = c[row_of(j) + j], r = 1.0 / d;
        bad = !(d > 0.0 && d <= DBL_MAX); /* the same in all threads */
        for (int i = j + 1 + ty; i < n && !bad; i += EDGE) {
            const double f = c[row_of(i) + j] * r;
            for (int k = j + 1 + tx; k <= i; k += EDGE) c[row_of(i) + k] -= f * c[row_of(k) + j];
            for (int k = tx; k < m; k += EDGE) y[i * m + k] -= f * y[j * m + k];
        }
    }
    for (int j = n - 1; j >= 0 && !bad; j--) { /* x_j = y_j / d_j: the rows above are divided when all is taken off */
        __syncthreads();
        const double r = 1.0 / c[row_of(j) + j];
        for (int i = ty; i < j; i += EDGE)
            for (int k = tx; k < m; k += EDGE) y[i * m + k] -= c[row_of(j) + i] * (y[j * m + k] * r);
    }
    __syncthreads();
    if (bad && threadIdx.x == 0) ks_fault_raise(fault, KS_FAULT_CHOLESKY, frame);
    for (int i = ty; i < n; i += EDGE)
        for (int k = tx; k < m; k += EDGE)
            x[frame * size + i * m + k] = bad ? (double)NAN : y[i * m + k] / c[row_of(i) + i];
}

/* At most this many matrices of n x n in one call of the library, which counts elements in 32 bits. */
static int64_t most_at_once(int64_t n) { return INT32_MAX / (n * n); }

extern "C" ks_status ks_eigh_cuda(ks_ctx *ctx, int64_t n_mat, int64_t n, const double *a, double *w, double *v) {
    ks_status               st      = KS_OK;
    ks_cuda                *cu      = ks_cuda_of(ctx);
    ks_arena               *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark     mark    = ks_arena_get_mark(scratch);
    const int64_t           n_tile  = ks_tiles(n);
    const cusolverEigMode_t vectors = CUSOLVER_EIG_MODE_VECTOR;
    const cublasFillMode_t  uplo    = CUBLAS_FILL_MODE_LOWER; /* as the library sees it */
    cusolverDnParams_t      params  = NULL;
    double                 *u       = NULL;
    int                    *is_bad = NULL, *info = NULL;
    size_t                  bytes = 0, host_bytes = 0;
    char                   *work = NULL;
    int64_t                 part = ks_min64(n_mat, most_at_once(n));
    if (ks_eigh_block_fits(n)) return ks_eigh_block(cu, n_mat, n, a, w, v);
    KS_TRY(KS_TAKE(scratch, u, n_mat * n * n));
    KS_TRY(KS_TAKE(scratch, is_bad, n_mat));
    KS_TRY(KS_TAKE(scratch, info, n_mat));
    KS_LAUNCH(eigh_begin_k, (unsigned)n_mat, THREADS, 0, cu->stream, n, a, u, is_bad);
    KS_LAUNCHED(cu);
    KS_CUSOLVER_CHECK(cusolverDnCreateParams(&params));
    KS_CUSOLVER_CHECK(cusolverDnXsyevBatched_bufferSize(cu->solver, params, vectors, uplo, n, CUDA_R_64F, u, n,
                                                        CUDA_R_64F, w, CUDA_R_64F, &bytes, &host_bytes, part));
    KS_CHECK(host_bytes == 0, KS_ERR_UNSUPPORTED,
             "eigh: cuSOLVER wants %zu bytes of host memory, which a recorded "
             "step cannot keep",
             host_bytes);
    KS_TRY(KS_TAKE(scratch, work, bytes));
    for (int64_t at = 0; at < n_mat; at += part) {
        part = ks_min64(part, n_mat - at);
        KS_CUDA_CHECK(cudaMemsetAsync(work, 0, bytes, cu->stream));
        KS_CUSOLVER_CHECK(cusolverDnXsyevBatched(cu->solver, params, vectors, uplo, n, CUDA_R_64F, u + at * n * n, n,
                                                 CUDA_R_64F, w + at * n, CUDA_R_64F, work, bytes, NULL, 0, info + at,
                                                 part));
    }
    KS_LAUNCH(eigh_end_k, (unsigned)(n_mat * n_tile * n_tile), THREADS, 0, cu->stream, n, n_tile, u, is_bad, info, w,
              v);
    KS_LAUNCHED(cu);
done:
    if (params) (void)cusolverDnDestroyParams(params);
    ks_arena_release(scratch, mark);
    return st;
}

extern "C" ks_status ks_lowdin_cuda(ks_ctx *ctx, int64_t n_mat, int64_t n, const double *s, int64_t first_frame,
                                    double *s_half, double *x) {
    ks_status           st      = KS_OK;
    ks_cuda            *cu      = ks_cuda_of(ctx);
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    double             *w = NULL, *v = NULL, *root = NULL;
    KS_TRY(KS_TAKE(scratch, w, n_mat * n));
    KS_TRY(KS_TAKE(scratch, v, n_mat * n * n));
    KS_TRY(KS_TAKE(scratch, root, n_mat * n * n));
    KS_TRY(ks_eigh_cuda(ctx, n_mat, n, s, w, v));
    for (int inverse = 0; inverse <= 1; inverse++) {
        KS_LAUNCH(root_k, ks_blocks(n_mat * n, THREADS / WARP, KS_MOST_BLOCKS), THREADS, 0, cu->stream, n_mat * n, n,
                  inverse, first_frame, cu->fault, w, v, root);
        KS_LAUNCHED(cu);
        KS_TRY(ks_gemm_cuda(ctx, n_mat, 0, 1, n, n, n, 1.0, ks_mats_dense(root, n, n), ks_mats_dense(v, n, n), 0.0,
                            inverse ? x : s_half));
    }
done:
    ks_arena_release(scratch, mark);
    return st;
}

extern "C" ks_status ks_chol_solve_cuda(ks_ctx *ctx, int64_t n_mat, int64_t n, int64_t m, const double *a,
                                        const double *b, double *x) {
    ks_status           st      = KS_OK;
    ks_cuda            *cu      = ks_cuda_of(ctx);
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const int64_t       packed = n * (n + 1) / 2, bytes = (packed + n * m) * (int64_t)sizeof *a;
    const int           in_shared = bytes <= SHARED_MOST;
    double             *work      = NULL;
    if (in_shared)
        KS_CUDA_CHECK(cudaFuncSetAttribute(chol_solve_k, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    else KS_TRY(KS_TAKE(scratch, work, n_mat * packed));
    KS_LAUNCH(chol_solve_k, (unsigned)n_mat, THREADS, in_shared ? (size_t)bytes : 0, cu->stream, (int)n, (int)m,
              in_shared, a, b, work, x, cu->fault);
    KS_LAUNCHED(cu);
done:
    ks_arena_release(scratch, mark);
    return st;
}
