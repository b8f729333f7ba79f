/* linalg_vec.cu -- combinations, scatter, inner products, symmetrisation, occupied-virtual response. CPU twin:
 * src/ops/linalg_blas.c. Test: tests/ops/test_linalg.c.
 *   combine    out_b = [out_b +] sum_t alpha_t coef_t,b x_t,b      a warp or a block a piece of a row, 4 elements each
 *   scatter    pool[index_b] = x_b                                 the same
 *   dot        out_b = [out_b +] alpha <A_b, B_b>                  a block a row
 *   sym        out = [out +] alpha (A + sign A^T)                  a block a pair of 32 x 32 tiles (through shared
 *                                                                  memory: all reads come before all writes)
 *   occ_virt   y_ia = weight g_ia / (eps_i - eps_a), i < n_occ <= a, else 0     a warp a row
 * Sums have one order, which depends on the extents alone: bitwise repeatable, and the same for a frame in any batch.
 * Budget, n = 132 (uracil), a frame: combine of t terms 8 (t + 1) n^2 bytes (0.56 MB for 3: 0.13 us at 4.3 TB/s),
 * scatter and sym 0.28 MB (0.07 us), dot 0.28 MB, occ_virt 0.06 MB; at most 2 flop for each 8 bytes, so all of it is
 * bandwidth or, below about 20 frames, the 2 to 4 us of a launch. Measured: none yet. */
#include "linalg_cuda.cuh"
#include <string.h>
#include "../reduce.cuh"
#include "cuda/backend_cuda.h"

enum { THREADS = KS_LINALG_THREADS, WARP = 32, TILE = KS_LINALG_TILE, SHORT_ROW = KS_EACH * WARP };

typedef struct term_list {
    ks_term t[KS_MIX_MAX]; /* 2304 of the 4096 bytes of kernel arguments */
} term_list;

/* ROW threads a piece of a row. out may be one of the x: a thread reads its elements before it writes them. */
template <int ROW>
static __global__ void combine_k(int64_t n_mat, int64_t len, int64_t n_piece, int n_term, const term_list list, int add,
                                 double *out) {
    const int64_t per_block = THREADS / ROW, step = (int64_t)gridDim.x * per_block;
    for (int64_t task = blockIdx.x * per_block + threadIdx.x / ROW; task < n_mat * n_piece; task += step) {
        const int64_t b = task / n_piece, first = task % n_piece * (KS_EACH * ROW) + threadIdx.x % ROW;
        double       *o = out + b * len, sum[KS_EACH];
        for (int e = 0; e < KS_EACH; e++) sum[e] = add && first + e * ROW < len ? o[first + e * ROW] : 0.0;
        for (int t = 0; t < n_term; t++) {
            const double *coef = list.t[t].coef;
            const double  w    = list.t[t].alpha * (coef ? coef[b * list.t[t].coef_stride] : 1.0);
            if (w == 0.0) continue; /* not read: the vector of a masked frame may hold NaN */
            const double *x = ks_mats_dev(list.t[t].x, b);
            for (int e = 0; e < KS_EACH; e++)
                if (first + e * ROW < len) sum[e] += w * x[first + e * ROW];
        }
        for (int e = 0; e < KS_EACH; e++)
            if (first + e * ROW < len) o[first + e * ROW] = sum[e];
    }
}

template <int ROW>
static __global__ void scatter_k(int64_t n_mat, int64_t len, int64_t n_piece, const double *__restrict__ x,
                                 const int32_t *__restrict__ index, double *__restrict__ pool) {
    const int64_t per_block = THREADS / ROW, step = (int64_t)gridDim.x * per_block;
    for (int64_t task = blockIdx.x * per_block + threadIdx.x / ROW; task < n_mat * n_piece; task += step) {
        const int64_t b = task / n_piece, first = task % n_piece * (KS_EACH * ROW) + threadIdx.x % ROW;
        double       *o = pool + index[b] * len;
        for (int e = 0; e < KS_EACH; e++)
            if (first + e * ROW < len) o[first + e * ROW] = x[b * len + first + e * ROW];
    }
}

static __global__ void dot_k(int64_t len, double alpha, const ks_mats a, const ks_mats b, int add, double *out,
                             int64_t out_stride) {
    KS_SHARED(double, shared, 32);
    const int64_t row = blockIdx.x;
    const double *x = ks_mats_dev(a, row), *y = ks_mats_dev(b, row);
    double        sum = 0.0;
    for (int64_t i = threadIdx.x; i < len; i += THREADS) sum += x[i] * y[i];
    sum = ks_block_sum(sum, shared);
    if (threadIdx.x == 0) out[row * out_stride] = (add ? out[row * out_stride] : 0.0) + alpha * sum;
}

/* Row i >= column j of the pairs of tiles 0, 1, 2, ... = (0,0), (1,0), (1,1), ... */
static __device__ __forceinline__ void tile_pair(int64_t pair, int64_t *i, int64_t *j) {
    int64_t row = (int64_t)((sqrt(8.0 * (double)pair + 1.0) - 1.0) * 0.5);
    while (row * (row + 1) / 2 > pair) row--; /* the root is rounded */
    while ((row + 1) * (row + 2) / 2 <= pair) row++;
    *i = row;
    *j = pair - row * (row + 1) / 2;
}

static __global__ void sym_k(int64_t n_task, int64_t n_pair, int64_t n, double alpha, double sign, const double *a,
                             int add, double *out) {
    KS_SHARED(double, low, TILE *(TILE + 1));
    KS_SHARED(double, high, TILE *(TILE + 1));
    const int tx = (int)threadIdx.x % TILE, ty = (int)threadIdx.x / TILE;
    for (int64_t task = blockIdx.x; task < n_task; task += gridDim.x) {
        const double *x = a + task / n_pair * n * n;
        double       *o = out + task / n_pair * n * n;
        int64_t       row, column;
        tile_pair(task % n_pair, &row, &column);
        row *= TILE, column *= TILE;
        for (int r = ty; r < TILE; r += THREADS / TILE) {
            if (row + r < n && column + tx < n) low[r * (TILE + 1) + tx] = x[(row + r) * n + column + tx];
            if (column + r < n && row + tx < n) high[r * (TILE + 1) + tx] = x[(column + r) * n + row + tx];
        }
        __syncthreads();
        for (int r = ty; r < TILE; r += THREADS / TILE) {
            if (row + r < n && column + tx < n) {
                const double  v  = alpha * (low[r * (TILE + 1) + tx] + sign * high[tx * (TILE + 1) + r]);
                const int64_t at = (row + r) * n + column + tx;
                o[at]            = add ? o[at] + v : v;
            }
            if (row != column && column + r < n && row + tx < n) {
                const double  v  = alpha * (high[r * (TILE + 1) + tx] + sign * low[tx * (TILE + 1) + r]);
                const int64_t at = (column + r) * n + row + tx;
                o[at]            = add ? o[at] + v : v;
            }
        }
        __syncthreads();
    }
}

/* Row (b, i) of y; y may be g. What does not count is not read: a masked frame may hold NaN. */
static __global__ void occ_virt_k(int64_t n_row, int64_t n, double weight, const ks_occ occ, const double *eps,
                                  const double *mask, const double *g, double *y) {
    const int64_t lane = threadIdx.x % WARP, step = (int64_t)gridDim.x * (THREADS / WARP);
    for (int64_t row = (int64_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP; row < n_row; row += step) {
        const int64_t b = row / occ.max, i = row % occ.max, n_occ = ks_occ_dev(occ, b);
        const int     count = i < n_occ && (!mask || mask[b / occ.n_spin] != 0.0);
        const double *e     = eps + b * n;
        for (int64_t q = lane; q < n; q += WARP)
            y[row * n + q] = count && q >= n_occ ? weight * g[row * n + q] / (e[i] - e[q]) : 0.0;
    }
}

extern "C" ks_status ks_combine_cuda(ks_ctx *ctx, int64_t n_mat, int64_t len, int n_term, const ks_term *term, int add,
                                     double *out) {
    ks_status     st   = KS_OK;
    ks_cuda      *cu   = ks_cuda_of(ctx);
    const int64_t full = ks_pieces(len, THREADS);
    term_list     list;
    memset(&list, 0, sizeof list);
    for (int t = 0; t < n_term; t++) list.t[t] = term[t];
    if (len <= SHORT_ROW) {
        KS_LAUNCH(combine_k<WARP>, ks_blocks(n_mat, THREADS / WARP, KS_MOST_BLOCKS), THREADS, 0, cu->stream, n_mat, len,
                  1, n_term, list, add, out);
    } else {
        KS_LAUNCH(combine_k<THREADS>, ks_blocks(n_mat * full, 1, KS_MOST_BLOCKS), THREADS, 0, cu->stream, n_mat, len,
                  full, n_term, list, add, out);
    }
    KS_LAUNCHED(cu);
done:
    return st;
}

extern "C" ks_status ks_scatter_cuda(ks_ctx *ctx, int64_t n_mat, int64_t len, const double *x, const int32_t *index,
                                     double *pool) {
    ks_status     st   = KS_OK;
    ks_cuda      *cu   = ks_cuda_of(ctx);
    const int64_t full = ks_pieces(len, THREADS);
    if (len <= SHORT_ROW) {
        KS_LAUNCH(scatter_k<WARP>, ks_blocks(n_mat, THREADS / WARP, KS_MOST_BLOCKS), THREADS, 0, cu->stream, n_mat, len,
                  1, x, index, pool);
    } else {
        KS_LAUNCH(scatter_k<THREADS>, ks_blocks(n_mat * full, 1, KS_MOST_BLOCKS), THREADS, 0, cu->stream, n_mat, len,
                  full, x, index, pool);
    }
    KS_LAUNCHED(cu);
done:
    return st;
}

extern "C" ks_status ks_dot_cuda(ks_ctx *ctx, int64_t n_mat, int64_t len, double alpha, ks_mats a, ks_mats b, int add,
                                 double *out, int64_t out_stride) {
    ks_status st = KS_OK;
    ks_cuda  *cu = ks_cuda_of(ctx);
    KS_CHECK(n_mat < (int64_t)1 << 31, KS_ERR_ARG, "dot: %lld vectors, limit 2^31 - 1", (long long)n_mat);
    KS_LAUNCH(dot_k, (unsigned)n_mat, THREADS, 0, cu->stream, len, alpha, a, b, add, out, out_stride);
    KS_LAUNCHED(cu);
done:
    return st;
}

extern "C" ks_status ks_sym_cuda(ks_ctx *ctx, int64_t n_mat, int64_t n, double alpha, double sign, const double *a,
                                 int add, double *out) {
    ks_status     st     = KS_OK;
    ks_cuda      *cu     = ks_cuda_of(ctx);
    const int64_t n_pair = ks_tiles(n) * (ks_tiles(n) + 1) / 2;
    KS_LAUNCH(sym_k, ks_blocks(n_mat * n_pair, 1, KS_MOST_BLOCKS), THREADS, 0, cu->stream, n_mat * n_pair, n_pair, n,
              alpha, sign, a, add, out);
    KS_LAUNCHED(cu);
done:
    return st;
}

extern "C" ks_status ks_occ_virt_cuda(ks_ctx *ctx, int64_t n_mat, int64_t n, double weight, const ks_occ *occ,
                                      const double *eps, const double *mask, const double *g, double *y) {
    ks_status st = KS_OK;
    ks_cuda  *cu = ks_cuda_of(ctx);
    KS_LAUNCH(occ_virt_k, ks_blocks(n_mat * occ->max, THREADS / WARP, KS_MOST_BLOCKS), THREADS, 0, cu->stream,
              n_mat * occ->max, n, weight, *occ, eps, mask, g, y);
    KS_LAUNCHED(cu);
done:
    return st;
}
