/* rho.cu -- density and its gradient on the grid, forward and adjoint, dense over all AOs. CPU twin (screened):
 * src/ops/vxc.c, vxc_lanes.c. Tests: tests/ops/test_rho.c, tests/gpu/test_rho_tiles.c. AO values
 * (src/pointwise/ao_point.h) are made in each kernel, never in device memory.
 *   fwd  X = P chi,  rho = sum_m chi_m X_m,  grad rho = 2 sum_m grad chi_m X_m                       (P symmetric)
 *   adj  Y = rho_bar chi / 2 + sum_x (grad rho)_bar,x d_x chi,  P_bar_mn += sum_g Y_m chi_n + chi_m Y_n
 * fwd: a block has 32 points, one per lane; its 8 warps share shells, then rows of P, then shells again.
 * adj: a block has one pair of AO tiles (at most 80 x 80, lower triangle) and one of 32 pieces of the points; each
 * thread keeps 5 x 5 sums in registers; a second kernel adds the pieces.
 * Sums over warps and pieces in fixed order, no atomics: bitwise repeatable.
 * Budget a point of n AOs: fwd 2 n^2 flop and AO values twice; adj 4 x 80^2 flop and AO values once or twice for each
 * pair of tiles. Uracil, level 3 (151,672 points, 132 AOs): fwd 5.3 + 1.6 GFLOP, adj 11.6 + 3.2 GFLOP; bytes: P, 5
 * doubles a point (6 MB), 2 x 4.5 MB of partial sums. Bound by fp64 arithmetic and shared-memory reads: at 40 % of 34
 * TFLOP/s 0.5 ms and 1.1 ms on an H200. Registers are held to two blocks an SM: 32 bytes spill on sm_80, 12 on sm_90,
 * outside the product loop. Tensor-core products (60 TFLOP/s) are the next step. Not run on a GPU yet. */
#include "grid_cuda.cuh"
#include "cuda/backend_cuda.h"
#include "ops/grid_impl.h"

enum {
    THREADS = 256,
    WARPS   = THREADS / 32,
    ROWS    = 8,                 /* rows of X of one warp at a time */
    EDGE    = 16,                /* adj: threads along an edge of a tile */
    R       = KS_AO_TILE / EDGE, /* adj: rows and columns of a thread */
    STRIDE  = KS_AO_TILE + 1,    /* odd: lanes write to different banks */
    PIECES  = 32
};

/* Dynamic shared memory: X (n_ao, 32) and chi (n_ao, 32), at least 4 WARPS rows of it, because its place is used
 * again for the sums over warps. */
static __global__ void rho_fwd_k(ks_grid_cuda d, int64_t n_atom, int64_t n_point, int64_t n_pad, int n_feat,
                                 ks_slots slots, const double *__restrict__ xyz, const double *__restrict__ P,
                                 double *__restrict__ feat) {
    KS_SHARED_DYNAMIC(double, X);
    double       *chi  = X + (int64_t)d.n_ao * KS_POINTS;
    const int     lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, n = d.n_ao;
    const int64_t b = blockIdx.y, slot = slots.slot[b], g = (int64_t)blockIdx.x * KS_POINTS + lane;
    const double *p = P + b * n * n, *point = xyz + 3 * slot * n_pad, *pos = d.pos + 3 * slot * n_atom;
    const double  x = point[g], y = point[n_pad + g], z = point[2 * n_pad + g]; /* the grid is padded to whole tiles */
    double        value[KS_AO_SHELL_MAX], grad[3][KS_AO_SHELL_MAX], sum[4] = {0.0, 0.0, 0.0, 0.0};

    for (int s = warp; s < d.n_shell; s += WARPS) {
        const ks_shell sh = d.shell[s];
        ks_shell_at(&sh, d.exponent, d.coef, pos, x, y, z, value, grad);
        for (int m = 0; m < KS_AO_SHELL_MAX; m++)
            if (m <= 2 * sh.l) chi[(sh.ao + m) * KS_POINTS + lane] = value[m];
    }
    __syncthreads();
    for (int m = ROWS * warp; m < n; m += ROWS * WARPS) {
        double acc[ROWS] = {0.0};
        for (int k = 0; k < n; k++) {
            const double c = chi[k * KS_POINTS + lane];
            for (int r = 0; r < ROWS; r++)
                if (m + r < n)
                    acc[r] += p[(int64_t)k * n + m + r] * c; /* row k of the symmetric P: the loads are contiguous */
        }
        for (int r = 0; r < ROWS; r++)
            if (m + r < n) X[(m + r) * KS_POINTS + lane] = acc[r];
    }
    __syncthreads();
    for (int s = warp; s < d.n_shell; s += WARPS) {
        const ks_shell sh = d.shell[s];
        ks_shell_at(&sh, d.exponent, d.coef, pos, x, y, z, value, grad);
        for (int m = 0; m < KS_AO_SHELL_MAX; m++)
            if (m <= 2 * sh.l) {
                const double v = X[(sh.ao + m) * KS_POINTS + lane];
                sum[0] += value[m] * v;
                for (int c = 0; c < 3; c++) sum[1 + c] += 2.0 * grad[c][m] * v;
            }
    }
    for (int c = 0; c < 4; c++)
        chi[(warp * 4 + c) * KS_POINTS + lane] = sum[c]; /* chi was last read before the barrier */
    __syncthreads();
    if (warp < n_feat && g < n_point) {
        double s = 0.0;
        for (int w = 0; w < WARPS; w++) s += chi[(w * 4 + warp) * KS_POINTS + lane];
        feat[(b * n_feat + warp) * n_point + g] = s;
    }
}

/* Y and chi of the AOs of one tile at 32 points, [point][AO]. */
static __device__ __forceinline__ void tile_values(const ks_grid_cuda *d, int tile, const double *pos, double x,
                                                   double y, double z, const double f[4], double *Y, double *chi) {
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int first = d->tile_shell[tile], ao0 = d->shell[first].ao;
    double    value[KS_AO_SHELL_MAX], grad[3][KS_AO_SHELL_MAX];
    for (int s = first + warp; s < d->tile_shell[tile + 1]; s += WARPS) {
        const ks_shell sh = d->shell[s];
        ks_shell_at(&sh, d->exponent, d->coef, pos, x, y, z, value, grad);
        for (int m = 0; m < KS_AO_SHELL_MAX; m++)
            if (m <= 2 * sh.l) {
                const int at = lane * STRIDE + sh.ao - ao0 + m;
                chi[at]      = value[m];
                Y[at]        = 0.5 * f[0] * value[m] + (f[1] * grad[0][m] + f[2] * grad[1][m] + f[3] * grad[2][m]);
            }
    }
}

/* part (frames, pieces, n_ao, n_ao), lower triangle of tiles. Block: x pair of tiles, y piece, z frame. */
static __global__ void __launch_bounds__(THREADS, 2)
    rho_adj_k(ks_grid_cuda d, int64_t n_atom, int64_t n_point, int64_t n_pad, int n_feat, ks_slots slots,
              const double *__restrict__ xyz, const double *__restrict__ feat_bar, double *__restrict__ part) {
    KS_SHARED_DYNAMIC(double, shared); /* Y and chi of the row tile, Y and chi of the column tile */
    const int     lane = (int)threadIdx.x % 32, i = (int)threadIdx.x % EDGE, j = (int)threadIdx.x / EDGE, n = d.n_ao;
    const int64_t b = blockIdx.z, slot = slots.slot[b], n_tile = n_pad / KS_POINTS;
    const double *point = xyz + 3 * slot * n_pad, *pos = d.pos + 3 * slot * n_atom;
    double        acc[R][R] = {{0.0}};
    int           row       = 0;
    while ((row + 1) * (row + 2) / 2 <= (int)blockIdx.x) row++;
    const int column = (int)blockIdx.x - row * (row + 1) / 2;
    double   *Yr = shared, *Cr = shared + KS_POINTS * STRIDE;
    double   *Yc = row == column ? Yr : Cr + KS_POINTS * STRIDE, *Cc = Yc + KS_POINTS * STRIDE;
    for (int k = (int)threadIdx.x; k < 4 * KS_POINTS * STRIDE; k += THREADS)
        shared[k] = 0.0; /* tiles that are not full */
    for (int64_t t = blockIdx.y * n_tile / gridDim.y; t < (blockIdx.y + 1) * n_tile / gridDim.y; t++) {
        const int64_t g = t * KS_POINTS + lane;
        const double  x = point[g], y = point[n_pad + g], z = point[2 * n_pad + g];
        double        f[4] = {0.0, 0.0, 0.0, 0.0};
        if (g < n_point)
            for (int c = 0; c < 4; c++)
                if (c < n_feat) f[c] = feat_bar[(b * n_feat + c) * n_point + g];
        __syncthreads();
        tile_values(&d, row, pos, x, y, z, f, Yr, Cr);
        if (row != column) tile_values(&d, column, pos, x, y, z, f, Yc, Cc);
        __syncthreads();
        for (int k = 0; k < KS_POINTS; k++) {
            double yr[R], cr[R];
            for (int a = 0; a < R; a++) {
                yr[a] = Yr[k * STRIDE + i + a * EDGE];
                cr[a] = Cr[k * STRIDE + i + a * EDGE];
            }
            for (int c = 0; c < R; c++) {
                const double yc = Yc[k * STRIDE + j + c * EDGE], cc = Cc[k * STRIDE + j + c * EDGE];
                for (int a = 0; a < R; a++) acc[a][c] += yr[a] * cc + cr[a] * yc;
            }
        }
    }
    const int r0 = d.shell[d.tile_shell[row]].ao, c0 = d.shell[d.tile_shell[column]].ao;
    const int r1  = row + 1 < d.n_tile ? d.shell[d.tile_shell[row + 1]].ao : n;
    const int c1  = column + 1 < d.n_tile ? d.shell[d.tile_shell[column + 1]].ao : n;
    double   *out = part + (b * gridDim.y + blockIdx.y) * n * n;
    for (int a = 0; a < R; a++)
        for (int c = 0; c < R; c++) {
            const int m = r0 + i + a * EDGE, k = c0 + j + c * EDGE;
            if (m < r1 && k < c1) out[(int64_t)m * n + k] = acc[a][c];
        }
}

/* P_bar (frames, n, n) += sum over pieces, both triangles from the lower one. */
static __global__ void rho_adj_sum_k(int64_t n, int64_t n_piece, const double *__restrict__ part,
                                     double *__restrict__ P_bar) {
    const int64_t b = blockIdx.y;
    KS_GRID_STRIDE(e, n * n) {
        const int64_t m = e / n, k = e % n, at = m > k ? m * n + k : k * n + m;
        double        s = 0.0;
        for (int64_t c = 0; c < n_piece; c++) s += part[(b * n_piece + c) * n * n + at];
        P_bar[b * n * n + e] += s;
    }
}

static ks_slots take_slots(const int32_t *slot, int64_t n) {
    ks_slots s = {};
    for (int64_t b = 0; b < n; b++) s.slot[b] = slot[b];
    return s;
}

extern "C" ks_status ks_rho_fwd_cuda(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame,
                                     const int32_t *slot, const double *P, double *feat) {
    ks_status           st     = KS_OK;
    ks_cuda            *cu     = (ks_cuda *)ctx->state;
    const ks_grid_cuda *d      = (const ks_grid_cuda *)grid->impl;
    const int           n_feat = family == KS_XC_GGA ? 4 : 1;
    const int64_t       n = d->n_ao, rows = n > 4 * WARPS ? n : 4 * WARPS;
    const int64_t       shared = (n + rows) * KS_POINTS * (int64_t)sizeof(double), limit = 227 << 10;
    KS_CHECK(shared <= limit, KS_ERR_UNSUPPORTED, "rho on backend cuda: %lld AOs, limit %lld", (long long)n,
             (long long)(limit / (2 * KS_POINTS * (int64_t)sizeof(double))));
    KS_CUDA_CHECK(cudaFuncSetAttribute(rho_fwd_k, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared));
    for (int64_t b = 0; b < n_frame; b += KS_SLOT_GROUP) {
        const int64_t m = ks_min64(n_frame - b, KS_SLOT_GROUP);
        KS_LAUNCH(rho_fwd_k, dim3((unsigned)(grid->n_pad / KS_POINTS), (unsigned)m), THREADS, (size_t)shared,
                  cu->stream, *d, grid->sys->n_atom, grid->n_point, grid->n_pad, n_feat, take_slots(slot + b, m),
                  grid->xyz, P + b * n * n, feat + b * n_feat * grid->n_point);
        KS_LAUNCHED(cu);
    }
done:
    return st;
}

extern "C" ks_status ks_rho_adj_cuda(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame,
                                     const int32_t *slot, const double *feat_bar, double *P_bar) {
    ks_status           st     = KS_OK;
    ks_cuda            *cu     = (ks_cuda *)ctx->state;
    const ks_grid_cuda *d      = (const ks_grid_cuda *)grid->impl;
    const int           n_feat = family == KS_XC_GGA ? 4 : 1, shared = 4 * KS_POINTS * STRIDE * (int)sizeof(double);
    const int64_t       n = d->n_ao, n_tile = grid->n_pad / KS_POINTS, n_piece = ks_min64(n_tile, PIECES);
    double             *part = NULL;
    KS_CUDA_CHECK(cudaFuncSetAttribute(rho_adj_k, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
    for (int64_t b = 0; b < n_frame; b += KS_SLOT_GROUP) {
        const int64_t m = ks_min64(n_frame - b, KS_SLOT_GROUP);
        KS_TRY(ks_cuda_scratch(cu, m * n_piece * n * n, sizeof *part, (void **)&part));
        KS_LAUNCH(rho_adj_k, dim3((unsigned)(d->n_tile * (d->n_tile + 1) / 2), (unsigned)n_piece, (unsigned)m), THREADS,
                  (size_t)shared, cu->stream, *d, grid->sys->n_atom, grid->n_point, grid->n_pad, n_feat,
                  take_slots(slot + b, m), grid->xyz, feat_bar + b * n_feat * grid->n_point, part);
        KS_LAUNCHED(cu);
        KS_LAUNCH(rho_adj_sum_k, dim3(ks_blocks(n * n, 256, 1024), (unsigned)m), 256, 0, cu->stream, n, n_piece, part,
                  P_bar + b * n * n);
        KS_LAUNCHED(cu);
    }
done:
    return st;
}
