/* rho.cu -- density and its gradient on the grid, forward and adjoint: the two passes that the potential and the
 * response (xc.cu) are made of as well. CPU twin (screened): src/ops/vxc.c, vxc_lanes.c. Tests: tests/ops/test_rho.c,
 * tests/gpu/test_rho_tiles.c.
 *   density  X = P phi or 2 C (C^T phi),  rho = sum_m phi_m X_m,  grad rho = 2 sum_m grad phi_m X_m     (P symmetric)
 *   matrix   A = sum_g Y phi^T,  Y = rho_bar phi / 2 + sum_x (grad rho)_bar,x d_x phi,  P_bar += A + A^T
 * Dense over the AOs. AO values (src/pointwise/ao_point.h) are made by each pass in shared memory; what passes between
 * passes is 4 numbers a point. Products run on the fp64 tensor cores, 8 x 8 x 4 at a time (wmma); rows of panels are
 * 4 beyond a multiple of 16 apart: no bank conflicts.
 *   grid_density_k  a block has 64 points (32 where memory does not suffice) and all AOs. Warps share the shells (lanes
 *                   are points), then the fragments of X, then the shells again; R and R' of each are kept for that.
 *   grid_matrix_k   a block has one pair of AO tiles (lower triangle; up to 144 AOs there is one tile) and a run of
 *                   points fixed by the system; its 8 warps hold the sums in registers, up to 9 x 5 fragments each, and
 *                   share the shells before each product. sum_k adds the runs. On sm_100 it spills 80 bytes each way a
 *                   thread around the AO values, once a panel of 32 points: below 1 % of the panel's time.
 * Fixed order, no atomics: bitwise repeatable, the same for a frame alone and in any batch.
 * Why no library product: uracil has 132 AOs, which tiles of 64 or 128 fill to 47 or 27 %, and values and gradients in
 * device memory would cost 640 MB a frame and pass each way: 0.15 ms at 4.3 TB/s, as much as the product.
 * Budget, a point of n = 132 AOs (136 padded; 60 shells, 116 primitives of which half are skipped):
 *   density    2 x 136^2 flop (37 k), or 4 x 136 x 32 (17 k) from 29 orbitals; AO values and features 6 k
 *   matrix     2 x 136^2 flop; AO values and Y 5 k
 *   bytes      40 in, 32 between the passes; P from L2: 148 KB each 64 points, 2.3 KB a point, 0.07 ms a frame
 * Uracil at level 3 (151,672 points): density 5.6 (2.6 from orbitals) + 0.9 GFLOP, matrix 5.6 + 0.8 GFLOP and 128 x
 * 148 KB of partial sums. The tensor cores' 67 TFLOP/s is for larger fragments than wmma offers in fp64; at half of it
 * and 40 % of 34 TFLOP/s for the rest the passes take 0.24 (0.15) and 0.23 ms a frame. Measured: none yet. */
#include "grid_cuda.cuh"
#include <mma.h>
#include "cuda/backend_cuda.h"

#ifdef __CUDACC__
#define UNROLL _Pragma("unroll")
#define NO_UNROLL _Pragma("unroll 1")
#else
#define UNROLL
#define NO_UNROLL
#endif

using nvcuda::wmma::fragment;

typedef fragment<nvcuda::wmma::accumulator, 8, 8, 4, double> sum_fragment;
template <typename L> using left_fragment  = fragment<nvcuda::wmma::matrix_a, 8, 8, 4, double, L>;
template <typename L> using right_fragment = fragment<nvcuda::wmma::matrix_b, 8, 8, 4, double, L>;
typedef nvcuda::wmma::row_major by_row;
typedef nvcuda::wmma::col_major by_column;

enum {
    TURNS          = 8, /* density: warps that share the shells of 32 points */
    ROW_GROUPS     = 4, /* density: warps that share the rows of 16 points */
    ROW_FRAGMENTS  = 5, /* density: of X, held by a warp at a time */
    PANEL          = 32,
    PANEL_LD       = PANEL + 4,
    WARP_ROWS      = 2, /* matrix: warps along the rows and the columns of a tile */
    WARP_COLUMNS   = 4,
    MATRIX_WARPS   = WARP_ROWS * WARP_COLUMNS,
    MATRIX_THREADS = 32 * MATRIX_WARPS,
    PIECES         = 128,
    PIECE_PANELS   = 8 /* a run of points has at least so many panels */
};

typedef struct density_args {
    const int32_t *slot;
    const double  *xyz, *packed;
    double        *feat;
    int64_t        n_frame, n_point, n_pad;
    int            n_feat, n_density, n_occ_row, keep;
} density_args;

/* ---- AO values of one shell, lanes are points; rows of a panel are LD apart ---- */

template <int L, int LD>
static __device__ __forceinline__ void put_values(double x, double y, double z, double R, double R1, double *phi) {
    double value[KS_AO_SHELL_MAX], grad[3][KS_AO_SHELL_MAX];
    ks_ao_angular(L, x, y, z, R, R1, value, grad);
    for (int m = 0; m < 2 * L + 1; m++) phi[m * LD] = value[m];
}

template <int L, int LD>
static __device__ __forceinline__ void add_features(int gga, double x, double y, double z, double R, double R1,
                                                    const double *X, double sum[4]) {
    double value[KS_AO_SHELL_MAX], grad[3][KS_AO_SHELL_MAX];
    ks_ao_angular(L, x, y, z, R, R1, value, grad);
    for (int m = 0; m < 2 * L + 1; m++) {
        const double v = X[m * LD];
        sum[0] += value[m] * v;
        if (gga)
            for (int c = 0; c < 3; c++) sum[1 + c] += grad[c][m] * v;
    }
}

template <int L>
static __device__ __forceinline__ void put_both(double x, double y, double z, double R, double R1, const double f[4],
                                                double *Y, double *phi) {
    double value[KS_AO_SHELL_MAX], grad[3][KS_AO_SHELL_MAX];
    ks_ao_angular(L, x, y, z, R, R1, value, grad);
    for (int m = 0; m < 2 * L + 1; m++) {
        phi[m * PANEL_LD] = value[m];
        Y[m * PANEL_LD]   = f[0] * value[m] + (f[1] * grad[0][m] + f[2] * grad[1][m] + f[3] * grad[2][m]);
    }
}

/* ---- density ---- */

/* out (8 n_frag, POINTS) = A in, in (n_k, POINTS); element (i, k) of A at i row_step + k k_step, one of them 1. */
template <int POINTS, typename LAYOUT>
static __device__ __forceinline__ void product(int n_frag, int n_k, const double *__restrict__ A, int row_step,
                                               int k_step, const double *in, double *out) {
    const int LD = POINTS + 4, COLUMNS = POINTS / 16, warp = (int)threadIdx.x / 32;
    const int column = 16 * (warp % COLUMNS), group = warp / COLUMNS;
    const int first = group * n_frag / ROW_GROUPS, last = (group + 1) * n_frag / ROW_GROUPS;
    for (int r0 = first; r0 < last; r0 += ROW_FRAGMENTS) {
        sum_fragment acc[ROW_FRAGMENTS][2];
        UNROLL
        for (int r = 0; r < ROW_FRAGMENTS; r++)
            for (int c = 0; c < 2; c++) nvcuda::wmma::fill_fragment(acc[r][c], 0.0);
        NO_UNROLL
        for (int k = 0; k < n_k; k += 4) {
            right_fragment<by_row> b[2];
            for (int c = 0; c < 2; c++) nvcuda::wmma::load_matrix_sync(b[c], in + k * LD + column + 8 * c, LD);
            UNROLL
            for (int r = 0; r < ROW_FRAGMENTS; r++)
                if (r0 + r < last) {
                    left_fragment<LAYOUT> a;
                    nvcuda::wmma::load_matrix_sync(a, A + 8 * (r0 + r) * row_step + k * k_step,
                                                   (unsigned)(row_step * k_step));
                    for (int c = 0; c < 2; c++) nvcuda::wmma::mma_sync(acc[r][c], a, b[c], acc[r][c]);
                }
        }
        UNROLL
        for (int r = 0; r < ROW_FRAGMENTS; r++)
            if (r0 + r < last)
                for (int c = 0; c < 2; c++)
                    nvcuda::wmma::store_matrix_sync(out + 8 * (r0 + r) * LD + column + 8 * c, acc[r][c], LD,
                                                    nvcuda::wmma::mem_row_major);
    }
}

/* Doubles of shared memory: phi (n8, LD), X (n8 but at least 32, LD), psi (n_occ_row, LD), R and R' of each shell. */
static int64_t density_shared(int64_t points, int64_t n8, int64_t n_occ_row, int64_t n_shell, int keep) {
    return (n8 + (n8 > 32 ? n8 : 32) + n_occ_row) * (points + 4) + (keep ? 2 * n_shell * points : 0);
}

template <int POINTS>
static __global__ void __launch_bounds__(8 * POINTS, 64 / POINTS) grid_density_k(ks_grid_cuda d, density_args a) {
    KS_SHARED_DYNAMIC(double, phi);
    const int     LD = POINTS + 4, HALVES = POINTS / 32, THREADS = 8 * POINTS;
    const int     n8 = (d.n_ao + 7) / 8 * 8, n_frag = n8 / 8, gga = a.n_feat == 4;
    const int     lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int     point = 32 * (warp % HALVES) + lane, turn = warp / HALVES;
    double       *X = phi + n8 * LD, *psi = X + (n8 > 32 ? n8 : 32) * LD, *radial = psi + a.n_occ_row * LD;
    const int64_t b = blockIdx.y, slot = a.slot[b], g0 = (int64_t)blockIdx.x * POINTS;
    const double *xyz = a.xyz + 3 * slot * a.n_pad + (g0 + point < a.n_pad ? g0 + point : a.n_pad - 1);
    const double  x = xyz[0], y = xyz[a.n_pad], z = xyz[2 * a.n_pad], *pos = d.pos + 3 * slot * d.n_atom;

    for (int k = d.n_ao * LD + (int)threadIdx.x; k < n8 * LD; k += THREADS) phi[k] = 0.0;
    for (int s = turn; s < d.n_shell; s += TURNS) {
        const ks_shell sh = d.shell[s];
        const double   dx = x - pos[3 * sh.atom], dy = y - pos[3 * sh.atom + 1], dz = z - pos[3 * sh.atom + 2];
        double        *to = phi + sh.ao * LD + point, R, R1;
        ks_shell_radial(&sh, d.exponent, d.coef, dx * dx + dy * dy + dz * dz, &R, &R1);
        if (a.keep) {
            radial[2 * s * POINTS + point]       = R;
            radial[(2 * s + 1) * POINTS + point] = R1;
        }
        if (sh.l == 0) put_values<0, POINTS + 4>(dx, dy, dz, R, R1, to);
        else if (sh.l == 1) put_values<1, POINTS + 4>(dx, dy, dz, R, R1, to);
        else put_values<2, POINTS + 4>(dx, dy, dz, R, R1, to);
    }
    __syncthreads();
    for (int q = 0; q < a.n_density; q++) {
        if (a.n_occ_row > 0) { /* C (n8, n_occ_row): psi = C^T phi, X = C psi */
            const double *C = a.packed + b * n8 * a.n_occ_row;
            product<POINTS, by_column>(a.n_occ_row / 8, n8, C, 1, a.n_occ_row, phi, psi);
            __syncthreads();
            product<POINTS, by_row>(n_frag, a.n_occ_row, C, a.n_occ_row, 1, psi, X);
        } else {
            product<POINTS, by_row>(n_frag, n8, a.packed + (q * a.n_frame + b) * n8 * n8, n8, 1, phi, X);
        }
        __syncthreads();
        double sum[4] = {0.0, 0.0, 0.0, 0.0};
        for (int s = turn; s < d.n_shell; s += TURNS) {
            const ks_shell sh = d.shell[s];
            const double   dx = x - pos[3 * sh.atom], dy = y - pos[3 * sh.atom + 1], dz = z - pos[3 * sh.atom + 2];
            const double  *from = X + sh.ao * LD + point;
            double         R, R1;
            if (a.keep) {
                R  = radial[2 * s * POINTS + point];
                R1 = radial[(2 * s + 1) * POINTS + point];
            } else {
                ks_shell_radial(&sh, d.exponent, d.coef, dx * dx + dy * dy + dz * dz, &R, &R1);
            }
            if (sh.l == 0) add_features<0, POINTS + 4>(gga, dx, dy, dz, R, R1, from, sum);
            else if (sh.l == 1) add_features<1, POINTS + 4>(gga, dx, dy, dz, R, R1, from, sum);
            else add_features<2, POINTS + 4>(gga, dx, dy, dz, R, R1, from, sum);
        }
        __syncthreads(); /* X has been read: its place takes the sums */
        for (int f = 0; f < 4; f++) X[(turn * 4 + f) * POINTS + point] = sum[f];
        __syncthreads();
        const int f = (int)threadIdx.x / POINTS, p = (int)threadIdx.x % POINTS;
        if (f < a.n_feat && g0 + p < a.n_point) {
            double s = 0.0;
            for (int t = 0; t < TURNS; t++) s += X[(t * 4 + f) * POINTS + p];
            if (f > 0) s *= 2.0;
            if (a.n_occ_row > 0) s *= 2.0;
            a.feat[((q * a.n_frame + b) * a.n_feat + f) * a.n_point + g0 + p] = s;
        }
        __syncthreads();
    }
}

/* packed (frames, n8, ld): rows and columns of from (frames, n, n_col), zeros elsewhere and beyond the occupied. */
static __global__ void pack_k(int64_t n, int64_t n8, int64_t n_col, int64_t ld, int has_occ, ks_occ occ,
                              int64_t first_frame, const double *__restrict__ from, double *__restrict__ packed) {
    const int64_t b = blockIdx.y, used = has_occ ? ks_occupied(occ, first_frame + b) : n_col;
    KS_GRID_STRIDE(e, n8 * ld) {
        const int64_t i = e / ld, k = e % ld;
        packed[b * n8 * ld + e] = i < n && k < used ? from[(b * n + i) * n_col + k] : 0.0;
    }
}

ks_status ks_grid_pack(ks_ctx *ctx, const ks_grid *grid, int64_t n_frame, const double *from, const ks_occ *occ,
                       int64_t first_frame, double *packed) {
    ks_status     st = KS_OK;
    ks_cuda      *cu = ks_cuda_of(ctx);
    const int64_t n = grid->sys->n_ao, n8 = ks_round_up(n, 8), n_col = occ ? occ->max : n;
    const int64_t ld   = ks_grid_columns(n_col);
    const ks_occ  none = {NULL, NULL, 1, 0};
    KS_LAUNCH(pack_k, dim3(ks_blocks(n8 * ld, 256, 64), (unsigned)n_frame), 256, 0, cu->stream, n, n8, n_col, ld,
              occ != NULL, occ ? *occ : none, first_frame, from, packed);
    KS_LAUNCHED(cu);
done:
    return st;
}

/* Launches when the device gives a block so much shared memory (sm_80: 163 KiB, sm_90: 227); else *launched stays 0. */
template <int POINTS>
static ks_status density(ks_cuda *cu, const ks_grid_cuda *d, int64_t shared, const density_args *a, int *launched) {
    ks_status         st = KS_OK;
    const cudaError_t e  = cudaFuncSetAttribute(grid_density_k<POINTS>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                (int)ks_min64(shared, INT32_MAX));
    if (e == cudaErrorInvalidValue) {
        (void)cudaGetLastError();
        return KS_OK;
    }
    KS_CUDA_CHECK(e);
    KS_LAUNCH(grid_density_k<POINTS>, dim3(ks_blocks(a->n_point, POINTS, INT32_MAX), (unsigned)a->n_frame), 8 * POINTS,
              (size_t)shared, cu->stream, *d, *a);
    KS_LAUNCHED(cu);
    *launched = 1;
done:
    return st;
}

ks_status ks_grid_density(ks_ctx *ctx, const ks_grid *grid, int n_feat, int n_density, int64_t n_frame,
                          const int32_t *slot, const double *packed, int64_t n_occ_row, double *feat) {
    ks_status           st = KS_OK;
    const ks_grid_cuda *d  = (const ks_grid_cuda *)grid->impl;
    const int64_t       n8 = ks_round_up(d->n_ao, 8), word = (int64_t)sizeof(double);
    int64_t             shared   = 0;
    int                 launched = 0;
    density_args        a        = {slot,        grid->xyz, packed,    feat,           n_frame, grid->n_point,
                                    grid->n_pad, n_feat,    n_density, (int)n_occ_row, 0};
    for (int choice = 0; choice < 4 && !launched; choice++) { /* the larger panel first, then R and R' kept */
        const int points = choice < 2 ? 64 : 32;
        a.keep           = choice % 2 == 0;
        shared           = word * density_shared(points, n8, n_occ_row, d->n_shell, a.keep);
        if (points == 64) KS_TRY(density<64>(ks_cuda_of(ctx), d, shared, &a, &launched));
        else KS_TRY(density<32>(ks_cuda_of(ctx), d, shared, &a, &launched));
    }
    KS_CHECK(launched, KS_ERR_UNSUPPORTED,
             "density on backend cuda: %d AOs need %lld bytes of shared memory, more than a block of this GPU has",
             (int)d->n_ao, (long long)shared);
done:
    return st;
}

/* ---- matrix ---- */

typedef struct matrix_args {
    const int32_t *slot;
    const double  *xyz, *coef;
    double        *part; /* (frames, pieces, n_row, n_row) */
    int64_t        n_point, n_pad;
    int            n_feat;
} matrix_args;

/* Y and phi of the AOs of one tile at 32 points. */
static __device__ __forceinline__ void tile_values(const ks_grid_cuda *d, int tile, const double *pos, double x,
                                                   double y, double z, const double f[4], double *Y, double *phi) {
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, ao0 = d->tile_ao[tile];
    for (int s = d->tile_shell[tile] + warp; s < d->tile_shell[tile + 1]; s += MATRIX_WARPS) {
        const ks_shell sh = d->shell[s];
        const double   dx = x - pos[3 * sh.atom], dy = y - pos[3 * sh.atom + 1], dz = z - pos[3 * sh.atom + 2];
        const int      to = (sh.ao - ao0) * PANEL_LD + lane;
        double         R, R1;
        ks_shell_radial(&sh, d->exponent, d->coef, dx * dx + dy * dy + dz * dz, &R, &R1);
        if (sh.l == 0) put_both<0>(dx, dy, dz, R, R1, f, Y + to, phi + to);
        else if (sh.l == 1) put_both<1>(dx, dy, dz, R, R1, f, Y + to, phi + to);
        else put_both<2>(dx, dy, dz, R, R1, f, Y + to, phi + to);
    }
}

/* acc += A B^T over the points of a panel, for the fragments that exist: n_row x n_column of at most R x C. */
template <int R, int C>
static __device__ __forceinline__ void add_product(int n_row, int n_column, const double *A, const double *B,
                                                   sum_fragment acc[R][C]) {
    NO_UNROLL
    for (int k = 0; k < PANEL; k += 4) {
        right_fragment<by_column> b[C];
        UNROLL
        for (int c = 0; c < C; c++)
            if (c < n_column) nvcuda::wmma::load_matrix_sync(b[c], B + 8 * c * PANEL_LD + k, PANEL_LD);
        UNROLL
        for (int r = 0; r < R; r++)
            if (r < n_row) {
                left_fragment<by_row> a;
                nvcuda::wmma::load_matrix_sync(a, A + 8 * r * PANEL_LD + k, PANEL_LD);
                UNROLL
                for (int c = 0; c < C; c++)
                    if (c < n_column) nvcuda::wmma::mma_sync(acc[r][c], a, b[c], acc[r][c]);
            }
    }
}

/* Block: x pair of tiles (row >= column), y run of points, z frame. On the diagonal A, else Y phi^T + phi Y^T. */
template <int TILE>
static __global__ void __launch_bounds__(MATRIX_THREADS, TILE == KS_TILE_SMALL ? 2 : 1)
    grid_matrix_k(ks_grid_cuda d, matrix_args q) {
    KS_SHARED_DYNAMIC(double, shared);
    const int     R = (TILE / 8 + WARP_ROWS - 1) / WARP_ROWS, C = (TILE / 8 + WARP_COLUMNS - 1) / WARP_COLUMNS;
    const int     SIZE = TILE * PANEL_LD, lane = (int)threadIdx.x % 32;
    const int     wr = (int)threadIdx.x / 32 / WARP_COLUMNS, wc = (int)threadIdx.x / 32 % WARP_COLUMNS;
    const int64_t b = blockIdx.z, slot = q.slot[b], n_panel = q.n_pad / PANEL;
    const double *xyz = q.xyz + 3 * slot * q.n_pad, *pos = d.pos + 3 * slot * d.n_atom;
    int           row = 0;
    while ((row + 1) * (row + 2) / 2 <= (int)blockIdx.x) row++;
    const int    column = (int)blockIdx.x - row * (row + 1) / 2;
    const int    n_rf   = (d.tile_row[row + 1] - d.tile_row[row]) / 8;
    const int    n_cf   = (d.tile_row[column + 1] - d.tile_row[column]) / 8;
    const int    r0 = wr * n_rf / WARP_ROWS, n_r = (wr + 1) * n_rf / WARP_ROWS - r0;
    const int    c0 = wc * n_cf / WARP_COLUMNS, n_c = (wc + 1) * n_cf / WARP_COLUMNS - c0;
    double      *Yr = shared, *Cr = shared + SIZE;
    double      *Yc = row == column ? Yr : Cr + SIZE, *Cc = Yc + SIZE;
    sum_fragment acc[R][C];
    UNROLL
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) nvcuda::wmma::fill_fragment(acc[r][c], 0.0);
    for (int k = (int)threadIdx.x; k < (row == column ? 2 : 4) * SIZE; k += MATRIX_THREADS)
        shared[k] = 0.0; /* the rows that fill a fragment */
    const int last = (int)((blockIdx.y + 1) * n_panel / gridDim.y);
    for (int t = (int)(blockIdx.y * n_panel / gridDim.y); t < last; t++) {
        const int    g = t * PANEL + lane;
        const double x = xyz[g], y = xyz[q.n_pad + g], z = xyz[2 * q.n_pad + g];
        double       f[4] = {0.0, 0.0, 0.0, 0.0};
        if (g < q.n_point)
            for (int c = 0; c < 4; c++)
                if (c < q.n_feat) f[c] = (c ? 1.0 : 0.5) * q.coef[(b * q.n_feat + c) * q.n_point + g];
        __syncthreads();
        tile_values(&d, row, pos, x, y, z, f, Yr, Cr);
        if (row != column) tile_values(&d, column, pos, x, y, z, f, Yc, Cc);
        __syncthreads();
        add_product<R, C>(n_r, n_c, Yr + 8 * r0 * PANEL_LD, Cc + 8 * c0 * PANEL_LD, acc);
        if (row != column) add_product<R, C>(n_r, n_c, Cr + 8 * r0 * PANEL_LD, Yc + 8 * c0 * PANEL_LD, acc);
    }
    double *out = q.part + (b * gridDim.y + blockIdx.y) * d.n_row * d.n_row +
                  (int64_t)(d.tile_row[row] + 8 * r0) * d.n_row + d.tile_row[column] + 8 * c0;
    UNROLL
    for (int r = 0; r < R; r++) UNROLL
    for (int c = 0; c < C; c++)
        if (r < n_r && c < n_c)
            nvcuda::wmma::store_matrix_sync(out + (int64_t)8 * r * d.n_row + 8 * c, acc[r][c], (unsigned)d.n_row,
                                            nvcuda::wmma::mem_row_major);
}

static __device__ __forceinline__ int tile_of(const ks_grid_cuda *d, int row) {
    int t = 0;
    while (d->tile_row[t + 1] <= row) t++;
    return t;
}

/* Sum over the runs of points, in order, into the first. */
static __global__ void sum_k(ks_grid_cuda d, int64_t n_piece, double *__restrict__ part) {
    const int64_t n2 = (int64_t)d.n_row * d.n_row;
    double       *p  = part + blockIdx.y * n_piece * n2;
    KS_GRID_STRIDE(e, n2) {
        double s = 0.0;
        if (tile_of(&d, (int)(e / d.n_row)) < tile_of(&d, (int)(e % d.n_row))) continue; /* never written */
        for (int64_t c = 0; c < n_piece; c++) s += p[c * n2 + e];
        p[e] = s;
    }
}

static __global__ void finish_k(ks_grid_cuda d, int64_t n_piece, const double *__restrict__ part, int add,
                                double *__restrict__ out) {
    const int64_t n_row = d.n_row, n = d.n_ao;
    const double *S = part + blockIdx.y * n_piece * n_row * n_row;
    double       *o = out + blockIdx.y * n * n;
    KS_GRID_STRIDE(e, n * n) {
        const int64_t i = d.ao_row[e / n], k = d.ao_row[e % n];
        const int     ti = tile_of(&d, (int)i), tk = tile_of(&d, (int)k);
        const double  v = ti == tk ? S[i * n_row + k] + S[k * n_row + i] : S[ti > tk ? i * n_row + k : k * n_row + i];
        o[e]            = add ? o[e] + v : v;
    }
}

static int64_t piece_count(const ks_grid *grid) {
    return (int64_t)ks_blocks(grid->n_pad / PANEL, PIECE_PANELS, PIECES);
}

int64_t ks_grid_part_count(const ks_grid *grid) {
    const ks_grid_cuda *d = (const ks_grid_cuda *)grid->impl;
    return piece_count(grid) * d->n_row * d->n_row;
}

template <int TILE> static ks_status matrix(ks_cuda *cu, const ks_grid_cuda *d, dim3 blocks, const matrix_args *q) {
    ks_status st     = KS_OK;
    const int shared = (d->n_tile > 1 ? 4 : 2) * TILE * PANEL_LD * (int)sizeof(double);
    KS_CUDA_CHECK(cudaFuncSetAttribute(grid_matrix_k<TILE>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
    KS_LAUNCH(grid_matrix_k<TILE>, blocks, MATRIX_THREADS, (size_t)shared, cu->stream, *d, *q);
    KS_LAUNCHED(cu);
done:
    return st;
}

ks_status ks_grid_matrix(ks_ctx *ctx, const ks_grid *grid, int n_feat, int64_t n_frame, const int32_t *slot,
                         const double *coef, double *part, int add, double *out) {
    ks_status           st      = KS_OK;
    ks_cuda            *cu      = ks_cuda_of(ctx);
    const ks_grid_cuda *d       = (const ks_grid_cuda *)grid->impl;
    const int64_t       n_piece = piece_count(grid), n = d->n_ao;
    const matrix_args   q = {slot, grid->xyz, coef, part, grid->n_point, grid->n_pad, n_feat};
    const dim3          blocks((unsigned)(d->n_tile * (d->n_tile + 1) / 2), (unsigned)n_piece, (unsigned)n_frame);
    if (d->tile_rows == KS_TILE_SMALL) KS_TRY(matrix<KS_TILE_SMALL>(cu, d, blocks, &q));
    else KS_TRY(matrix<KS_TILE_LARGE>(cu, d, blocks, &q));
    KS_LAUNCH(sum_k, dim3(ks_blocks((int64_t)d->n_row * d->n_row, 256, 1024), (unsigned)n_frame), 256, 0, cu->stream,
              *d, n_piece, part);
    KS_LAUNCHED(cu);
    KS_LAUNCH(finish_k, dim3(ks_blocks(n * n, 256, 1024), (unsigned)n_frame), 256, 0, cu->stream, *d, n_piece, part,
              add, out);
    KS_LAUNCHED(cu);
done:
    return st;
}

/* ---- the op pair ---- */

extern "C" ks_status ks_rho_fwd_cuda(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame,
                                     const int32_t *slot, const double *P, double *feat) {
    ks_status           st     = KS_OK;
    ks_arena           *arena  = ks_ctx_scratch(ctx);
    const ks_arena_mark mark   = ks_arena_get_mark(arena);
    const int           n_feat = family == KS_XC_GGA ? 4 : 1;
    const int64_t       n = grid->sys->n_ao, n8 = ks_round_up(n, 8);
    const int64_t       group  = ks_grid_group(n_frame, n8 * n8 * (int64_t)sizeof(double));
    double             *packed = NULL;
    KS_TRY(KS_TAKE(arena, packed, group * n8 * n8));
    for (int64_t b = 0; b < n_frame; b += group) {
        const int64_t m = ks_min64(n_frame - b, group);
        KS_TRY(ks_grid_pack(ctx, grid, m, P + b * n * n, NULL, b, packed));
        KS_TRY(ks_grid_density(ctx, grid, n_feat, 1, m, slot + b, packed, 0, feat + b * n_feat * grid->n_point));
    }
done:
    ks_arena_release(arena, mark);
    return st;
}

extern "C" ks_status ks_rho_adj_cuda(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame,
                                     const int32_t *slot, const double *feat_bar, double *P_bar) {
    ks_status           st     = KS_OK;
    ks_arena           *arena  = ks_ctx_scratch(ctx);
    const ks_arena_mark mark   = ks_arena_get_mark(arena);
    const int           n_feat = family == KS_XC_GGA ? 4 : 1;
    const int64_t       n = grid->sys->n_ao, count = ks_grid_part_count(grid);
    const int64_t       group = ks_grid_group(n_frame, count * (int64_t)sizeof(double));
    double             *part  = NULL;
    KS_TRY(KS_TAKE(arena, part, group * count));
    for (int64_t b = 0; b < n_frame; b += group) {
        const int64_t m = ks_min64(n_frame - b, group);
        KS_TRY(ks_grid_matrix(ctx, grid, n_feat, m, slot + b, feat_bar + b * n_feat * grid->n_point, part, 1,
                              P_bar + b * n * n));
    }
done:
    ks_arena_release(arena, mark);
    return st;
}
