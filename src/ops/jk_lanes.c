/* jk_lanes.c -- J and K of one or several densities from the rows of the store, one sequential pass.
 *
 * Every stored v = (ij|kl), halved on each diagonal, stands for its eight permutations. With symmetric D
 *   Y_ij += v 2 D_kl        Y_kl += v 2 D_ij                              J = Y + Y^T
 *   X_ik += v D_jl   X_il += v D_jk   X_jk += v D_il   X_jl += v D_ik     K = X + X^T
 * (X holds one of the two transposed halves). For a row ij the values are a lower triangle in kl, so that X_i and X_j are
 * symmetric matrix-vector products of it with D_j and D_i. Y and 2D lie in tile order, X and D in rows of n_pad: no
 * gathers, no scatters. 12 flops for each 8 bytes of the store and density. */
#include "core/lane.h"
#include "ops/eri.h"

enum { AHEAD = 512 /* doubles: prefetch 4 kB ahead of the stream, across strips and rows */ };

/* J of one strip: returns sum v DJ in lanes, adds v d to Y. */
KS_LANE_FN ks_lane strip_j(int64_t n, const double *v, const double *DJ, double d, double *Y, ks_lane s) {
    const ks_lane dd = ks_lane_set(d);
    ks_lane       s1 = ks_lane_set(0.0);
    for (int64_t t = 0; t < n; t += 2 * KS_LANES) { /* a tile has 4 rows: n is a multiple of 2 lanes */
        const ks_lane a = ks_lane_load(v + t), b = ks_lane_load(v + t + KS_LANES);
        s += a * ks_lane_load(DJ + t);
        s1 += b * ks_lane_load(DJ + t + KS_LANES);
        ks_lane_store(Y + t, ks_lane_load(Y + t) + a * dd);
        ks_lane_store(Y + t + KS_LANES, ks_lane_load(Y + t + KS_LANES) + b * dd);
    }
    return s + s1;
}

/* K of one strip of four rows k: W columns at a time in W / KS_LANES vectors. */
KS_LANE_FN void strip_k(int W, int64_t n_tile, const double *v, int64_t k0, int64_t l0, const double *di,
                        const double *dj, double *xi, double *xj) {
    ks_lane ai[KS_TILE_ROWS], aj[KS_TILE_ROWS], bi[KS_TILE_ROWS], bj[KS_TILE_ROWS];
    for (int k = 0; k < KS_TILE_ROWS; k++) {
        ai[k] = aj[k] = ks_lane_set(0.0);
        bi[k]         = ks_lane_set(di[k0 + k]);
        bj[k]         = ks_lane_set(dj[k0 + k]);
    }
    for (int64_t l = l0; l < l0 + n_tile * W; l += W, v += KS_TILE_ROWS * W) {
        for (int line = 0; line < KS_TILE_ROWS * W; line += 8) __builtin_prefetch(v + AHEAD + line, 0, 3);
        for (int c = 0; c < W; c += KS_LANES) {
            const ks_lane pi = ks_lane_load(di + l + c), pj = ks_lane_load(dj + l + c);
            ks_lane       yi = ks_lane_load(xi + l + c), yj = ks_lane_load(xj + l + c);
            for (int k = 0; k < KS_TILE_ROWS; k++) {
                const ks_lane w = ks_lane_load(v + k * W + c);
                ai[k] += w * pj;
                aj[k] += w * pi;
                yi += w * bj[k];
                yj += w * bi[k];
            }
            ks_lane_store(xi + l + c, yi);
            ks_lane_store(xj + l + c, yj);
        }
    }
    for (int k = 0; k < KS_TILE_ROWS; k++) {
        double si = 0.0, sj = 0.0;
        for (int c = 0; c < KS_LANES; c++) {
            si += ai[k][c];
            sj += aj[k][c];
        }
        xi[k0 + k] += si;
        xj[k0 + k] += sj;
    }
}

/* Rows row0..row1 of the store, which starts with row0. Density m of n_dm has DJ, Y (tile order) and DK, X (n_pad, n_pad) at
 * m * stride; DJ or DK NULL: not wanted. tmp: n_dm * n_pad. */
void KS_ISA_NAME(ks_jk_rows)(const ks_eri_plan *plan, int64_t row0, int64_t row1, const double *store, int n_dm,
                             int64_t stride, const double *DJ, const double *DK, double *Y, double *X, double *tmp);
void KS_ISA_NAME(ks_jk_rows)(const ks_eri_plan *plan, int64_t row0, int64_t row1, const double *store, int n_dm,
                             int64_t stride, const double *DJ, const double *DK, double *Y, double *X, double *tmp) {
    enum { W = KS_LANES < 4 ? 4 : KS_LANES };
    const int64_t n = plan->n_pad;
    ks_lane       dot[KS_DM_MAX];
    for (int64_t r = row0; r < row1; r++) {
        const ks_eri_row *row  = &plan->row[r];
        const int         diag = row->i == row->j;
        for (int m = 0; m < n_dm; m++) dot[m] = ks_lane_set(0.0);
        if (diag && DK) memset(tmp, 0, (size_t)(n_dm * n) * sizeof *tmp);
        for (int32_t u = 0; u < row->n_strip; u++) {
            const ks_eri_strip *sp  = &plan->strip[u];
            const int32_t       end = sp[1].tile < row->n_tile ? sp[1].tile : row->n_tile;
            const int64_t       at  = (int64_t)sp->tile * KS_TILE_ROWS * W,
                          n_value   = (int64_t)(end - sp->tile) * KS_TILE_ROWS * W;
            for (int m = 0; m < n_dm; m++) {
                if (DK) {
                    const double *D = DK + m * stride;
                    double *xi = X + m * stride + row->i * n, *xj = diag ? tmp + m * n : X + m * stride + row->j * n;
                    strip_k(W, end - sp->tile, store + at, sp->k0, sp->l0, D + row->i * n, D + row->j * n, xi, xj);
                }
                if (DJ) {
                    const double *D = DJ + m * stride;
                    dot[m]          = strip_j(n_value, store + at, D + at, D[row->place], Y + m * stride + at, dot[m]);
                }
            }
        }
        for (int m = 0; DJ && m < n_dm; m++)
            for (int c = 0; c < KS_LANES; c++) Y[m * stride + row->place] += dot[m][c];
        for (int m = 0; diag && DK && m < n_dm; m++)
            for (int64_t k = 0; k < n; k++) X[m * stride + row->i * n + k] += tmp[m * n + k];
        store += (int64_t)row->n_tile * KS_TILE_ROWS * W;
    }
}
