/* linalg_blas.cu -- products of batches of small matrices. CPU twin: src/ops/linalg_blas.c. Test:
 * tests/ops/test_linalg.c.
 *   gemm         C_b = alpha op(A_b) op(B_b) + beta C_b, row-major, A and B dense or picked from a pool by an index on
 *                the device
 *   occ_density  P_b = weight C_b C_b^T over the occupied columns, whose number differs from frame to frame
 * Up to 32 x 32 x 32, and for occ_density, an own kernel: a block a 32 x 32 tile of C, 128 threads of 4 x 2 elements,
 * panels of 32 in shared memory, one order of summation for every element. So P is symmetric to the bit, and small
 * products give the same bits in any batch.
 * Larger products are cuBLAS's (row-major C is column-major C^T = op(B)^T op(A)^T): strided where the strides of A and
 * B are regular, else arrays of pointers that a kernel makes in scratch. Reading a pool through pointers costs one
 * launch of 2 us and 24 bytes a matrix; gathering it first would cost 2 n^2 doubles a matrix (8 us for 128 of 132 x
 * 132) and that memory. cuBLAS repeats its bits on one stream with its own workspace; batches of another size may be
 * given another kernel and differ in the last bits.
 * Budget, n = 132 (uracil), a frame: a product 2 n^3 = 4.6 MFLOP and 3 n^2 doubles (0.42 MB): 0.1 us of bytes at 4.3
 * TB/s, 0.12 us at 40 TFLOP/s (60 % of the 67 of the fp64 tensor cores), so 15 us for 128 frames and about 10 us, the
 * latency of one tile, for a few. occ_density 2 n^2 29 = 1.0 MFLOP and 0.17 MB: 25 blocks a frame, 0.1 us at 30 % of 34
 * TFLOP/s. Measured: none yet; the limit of 32 between the two is an assumption too. */
#include "linalg_cuda.cuh"
#include <limits.h>
#include "cuda/backend_cuda.h"

enum { TILE = KS_LINALG_TILE, THREADS = 128, COLUMNS = 16, R = 4, C = 2, PAD = TILE + 1 };

/* Rows and columns of this thread in the tile: thread / 16 + 8 r, thread % 16 + 16 c. */
static __device__ __forceinline__ int tile_row(int r) { return (int)threadIdx.x / COLUMNS + r * (THREADS / COLUMNS); }
static __device__ __forceinline__ int tile_column(int c) { return (int)threadIdx.x % COLUMNS + c * COLUMNS; }

/* s[q * PAD + i] = element (first + i, q0 + q) of op(x), zero outside (n_row, k). Reads rows of x as they lie. */
static __device__ __forceinline__ void load_panel(int trans, int64_t n_row, int64_t k, const double *x, int64_t ld,
                                                  int64_t first, int64_t q0, double *s) {
    for (int t = (int)threadIdx.x; t < TILE * TILE; t += THREADS) {
        const int     i = trans ? t % TILE : t / TILE, q = trans ? t / TILE : t % TILE;
        const int64_t row = first + i, column = q0 + q;
        double        v = 0.0;
        if (row < n_row && column < k) v = trans ? x[column * ld + row] : x[row * ld + column];
        s[q * PAD + i] = v;
    }
}

/* sum_rc += (tile of op(A) op(B))_rc over k. op(B)^T is what is loaded, so trans_b turns round. */
static __device__ __forceinline__ void tile_product(int trans_a, int trans_b, int64_t m, int64_t n, int64_t k,
                                                    const double *a, int64_t lda, const double *b, int64_t ldb,
                                                    int64_t row, int64_t column, double *pa, double *pb,
                                                    double sum[R][C]) {
    for (int64_t q0 = 0; q0 < k; q0 += TILE) {
        __syncthreads(); /* the panels of the last round are read */
        load_panel(trans_a, m, k, a, lda, row, q0, pa);
        load_panel(!trans_b, n, k, b, ldb, column, q0, pb);
        __syncthreads();
        for (int q = 0; q < TILE; q++)
            for (int r = 0; r < R; r++)
                for (int c = 0; c < C; c++) sum[r][c] += pa[q * PAD + tile_row(r)] * pb[q * PAD + tile_column(c)];
    }
}

/* One tile: m, n, k <= TILE. Block b: matrix b. */
static __global__ void gemm_small_k(int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, double alpha,
                                    const ks_mats a, const ks_mats b, int add, double *__restrict__ c) {
    KS_SHARED(double, pa, TILE *PAD);
    KS_SHARED(double, pb, TILE *PAD);
    double  sum[R][C] = {{0.0}};
    double *out       = c + (int64_t)blockIdx.x * m * n;
    tile_product(trans_a, trans_b, m, n, k, ks_mats_dev(a, blockIdx.x), a.ld, ks_mats_dev(b, blockIdx.x), b.ld, 0, 0,
                 pa, pb, sum);
    for (int r = 0; r < R; r++)
        for (int t = 0; t < C; t++) {
            const int64_t i = tile_row(r), j = tile_column(t);
            if (i < m && j < n) out[i * n + j] = (add ? out[i * n + j] : 0.0) + alpha * sum[r][t];
        }
}

/* Block: a tile of P of one matrix. */
static __global__ void occ_density_k(int64_t n, int64_t n_tile, double weight, const ks_occ occ,
                                     const double *__restrict__ c, double *__restrict__ p) {
    KS_SHARED(double, pa, TILE *PAD);
    KS_SHARED(double, pb, TILE *PAD);
    double        sum[R][C] = {{0.0}};
    const int64_t b = blockIdx.x / (n_tile * n_tile), tile = blockIdx.x % (n_tile * n_tile);
    const int64_t row = tile / n_tile * TILE, column = tile % n_tile * TILE;
    const double *x   = c + b * n * n;
    double       *out = p + b * n * n;
    tile_product(0, 1, n, n, ks_occ_dev(occ, b), x, n, x, n, row, column, pa, pb, sum);
    for (int r = 0; r < R; r++)
        for (int t = 0; t < C; t++) {
            const int64_t i = row + tile_row(r), j = column + tile_column(t);
            if (i < n && j < n) out[i * n + j] = weight * sum[r][t];
        }
}

static __global__ void pointers_k(int64_t n_mat, const ks_mats a, const ks_mats b, double *c, int64_t c_stride,
                                  const double **pa, const double **pb, double **pc) {
    KS_GRID_STRIDE(i, n_mat) {
        pa[i] = ks_mats_dev(a, i);
        pb[i] = ks_mats_dev(b, i);
        pc[i] = c + i * c_stride;
    }
}

/* 1 with the distance of consecutive matrices, when there is one. */
static int is_strided(const ks_mats *m, int64_t n_mat, int64_t *stride) {
    *stride = m->group == 1 ? m->stride : m->group_stride;
    return !m->index && (m->group == 1 || n_mat <= m->group || m->stride == m->group * m->group_stride);
}

/* m, n, k > 0, beyond one tile. */
static ks_status gemm_blas(ks_ctx *ctx, int64_t n_mat, int trans_a, int trans_b, int64_t m, int64_t n, int64_t k,
                           double alpha, const ks_mats *a, const ks_mats *b, double beta, double *c) {
    ks_status               st      = KS_OK;
    ks_cuda                *cu      = ks_cuda_of(ctx);
    ks_arena               *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark     mark    = ks_arena_get_mark(scratch);
    const cublasOperation_t ta = trans_a ? CUBLAS_OP_T : CUBLAS_OP_N, tb = trans_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const double          **pa = NULL, **pb = NULL;
    double                **pc = NULL;
    int64_t                 sa = 0, sb = 0;
    KS_CHECK(a->ld <= INT_MAX && b->ld <= INT_MAX, KS_ERR_ARG, "gemm: leading dimensions %lld and %lld, limit %d",
             (long long)a->ld, (long long)b->ld, INT_MAX);
    if (is_strided(a, n_mat, &sa) && is_strided(b, n_mat, &sb)) {
        KS_CUBLAS_CHECK(cublasDgemmStridedBatched(cu->blas, tb, ta, (int)n, (int)m, (int)k, &alpha, b->ptr, (int)b->ld,
                                                  sb, a->ptr, (int)a->ld, sa, &beta, c, (int)n, m * n, (int)n_mat));
    } else {
        KS_TRY(KS_TAKE(scratch, pa, n_mat));
        KS_TRY(KS_TAKE(scratch, pb, n_mat));
        KS_TRY(KS_TAKE(scratch, pc, n_mat));
        KS_LAUNCH(pointers_k, ks_blocks(n_mat, 32, KS_MOST_BLOCKS), 32, 0, cu->stream, n_mat, *a, *b, c, m * n, pa, pb,
                  pc);
        KS_LAUNCHED(cu);
        KS_CUBLAS_CHECK(cublasDgemmBatched(cu->blas, tb, ta, (int)n, (int)m, (int)k, &alpha, pb, (int)b->ld, pa,
                                           (int)a->ld, &beta, pc, (int)n, (int)n_mat));
    }
done:
    ks_arena_release(scratch, mark);
    return st;
}

extern "C" ks_status ks_gemm_cuda(ks_ctx *ctx, int64_t n_mat, int trans_a, int trans_b, int64_t m, int64_t n, int64_t k,
                                  double alpha, ks_mats a, ks_mats b, double beta, double *c) {
    ks_status st = KS_OK;
    ks_cuda  *cu = ks_cuda_of(ctx);
    if (k == 0) {
        if (beta == 0.0) KS_CUDA_CHECK(cudaMemsetAsync(c, 0, (size_t)(n_mat * m * n) * sizeof *c, cu->stream));
    } else if (m <= TILE && n <= TILE && k <= TILE) {
        KS_LAUNCH(gemm_small_k, (unsigned)n_mat, THREADS, 0, cu->stream, trans_a, trans_b, m, n, k, alpha, a, b,
                  beta != 0.0, c);
        KS_LAUNCHED(cu);
    } else {
        KS_TRY(gemm_blas(ctx, n_mat, trans_a, trans_b, m, n, k, alpha, &a, &b, beta, c));
    }
done:
    return st;
}

extern "C" ks_status ks_occ_density_cuda(ks_ctx *ctx, int64_t n_mat, int64_t n, double weight, const ks_occ *occ,
                                         const double *c, double *p) {
    ks_status     st     = KS_OK;
    ks_cuda      *cu     = ks_cuda_of(ctx);
    const int64_t n_tile = ks_tiles(n);
    KS_LAUNCH(occ_density_k, (unsigned)(n_mat * n_tile * n_tile), THREADS, 0, cu->stream, n, n_tile, weight, *occ, c,
              p);
    KS_LAUNCHED(cu);
done:
    return st;
}
