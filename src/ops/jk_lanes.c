/* jk_lanes.c -- J and K from the rows of the store, one sequential pass.
 *
 * Every stored v = (ij|kl), halved on each diagonal, stands for its eight permutations. With symmetric D
 *   Y_ij += v 2 D_kl        Y_kl += v 2 D_ij                              J = Y + Y^T
 *   X_ik += v D_jl   X_il += v D_jk   X_jk += v D_il   X_jl += v D_ik     K = X + X^T
 * (X holds one of the two transposed halves). For a row ij the values are a lower triangle in kl, and X_i, X_j are
 * symmetric matrix-vector products of it with D_j, D_i. Y and 2D lie in tile order, X and D in rows of n_pad.
 * About 12 flops for each 8 bytes of the store. */
#include "core/lane.h"
#include "ops/eri.h"

/* DJ, Y: tile order. DK, X: (n_pad, n_pad). DJ or DK NULL: not wanted. tmp: 2 n_pad. */
void KS_ISA_NAME(ks_jk_rows)(const ks_eri_plan *plan, int64_t row0, int64_t row1, const double *store, const double *DJ,
                             const double *DK, double *Y, double *X, double *tmp);
void KS_ISA_NAME(ks_jk_rows)(const ks_eri_plan *plan, int64_t row0, int64_t row1, const double *store, const double *DJ,
                             const double *DK, double *Y, double *X, double *tmp) {
    const int64_t n = plan->n_pad;
    const int32_t W = plan->width;
    double       *xi = tmp, *xj = tmp + n;
    for (int64_t r = row0; r < row1; r++) {
        const ks_eri_row *row = &plan->row[r];
        const int64_t     len = (int64_t)row->n_tile * KS_TILE_ROWS * W;
        if (DJ) {
            const int32_t c  = row->place;
            const ks_lane d  = ks_lane_set(DJ[c]);
            ks_lane       s  = ks_lane_set(0.0);
            for (int64_t t = 0; t < len; t += KS_LANES) {
                const ks_lane v = ks_lane_load(store + t);
                s += v * ks_lane_load(DJ + t);
                ks_lane_store(Y + t, ks_lane_load(Y + t) + v * d);
            }
            for (int i = 0; i < KS_LANES; i++) Y[c] += s[i];
        }
        if (DK) {
            const double *di = DK + row->i * n, *dj = DK + row->j * n;
            memset(tmp, 0, (size_t)(2 * n) * sizeof *tmp);
            for (int32_t u = 0; u < row->n_strip; u++) {
                const ks_eri_strip *sp  = &plan->strip[u];
                const int32_t       end = sp[1].tile < row->n_tile ? sp[1].tile : row->n_tile;
                const double       *v   = store + (int64_t)sp->tile * KS_TILE_ROWS * W;
                for (int32_t t = sp->tile, l = sp->l0; t < end; t++, l += W)
                    for (int k = sp->k0; k < sp->k0 + KS_TILE_ROWS; k++)
                        for (int w = 0; w < W; w++, v++) {
                            xi[k] += *v * dj[l + w];
                            xj[k] += *v * di[l + w];
                            xi[l + w] += *v * dj[k];
                            xj[l + w] += *v * di[k];
                        }
            }
            for (int64_t k = 0; k < n; k++) X[row->i * n + k] += xi[k];
            for (int64_t k = 0; k < n; k++) X[row->j * n + k] += xj[k];
        }
        store += len;
    }
}
