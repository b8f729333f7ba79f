/* vxc_lanes.c -- the passes over one block of grid points. Built once per ISA.
 *
 * Per panel of 32 points: AO values phi and gradients, X = P phi (or C (C^T phi)), features
 *   rho = sum_m phi_m X_m,   grad rho = 2 sum_m (grad phi_m) X_m,
 * pointwise coefficients a0, a = (ax, ay, az), then A += Y phi^T with Y = a0 phi + a . grad phi; the matrix of the pass
 * is A + A^T. With cotangents (b0, b) of (rho, grad rho) that is a0 = b0/2, a = b: P_bar = sum_g b0 phi phi^T + b .
 * (grad phi phi^T + phi grad phi^T). Potential: b0 = w v_rho, b = 2 w v_sigma grad rho. Response to M (rho1, g1 its
 * features, sigma1 = 2 g.g1): b0 = w (f_rr rho1 + f_rs sigma1),  b = 2 w [ (f_rs rho1 + f_ss sigma1) g + v_sigma g1 ].
 */
#include "ops/grid_kernels.h"

#if KS_LANES == 8
enum { TILE_ROWS = 6 };
#else
enum { TILE_ROWS = 3 };
#endif
enum { TILE_LANES = 4, TILE_COLS = TILE_LANES * KS_LANES };

/* C[r][c] (+)= sum_k A[r * a_row + k] B[k * b_k + c] for a tile of rows x lanes; both literals. */
KS_LANE_FN void tile(int rows, int lanes, int add, int64_t n_k, const double *A, int64_t a_row, const double *B,
                     int64_t b_k, double *C, int64_t c_row) {
    ks_lane acc[TILE_ROWS][TILE_LANES];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int c = 0; c < lanes; c++) acc[r][c] = add ? ks_lane_load(C + r * c_row + c * KS_LANES) : ks_lane_set(0.0);
    for (int64_t k = 0; k < n_k; k++) {
        ks_lane b[TILE_LANES];
#pragma GCC unroll 8
        for (int c = 0; c < lanes; c++) b[c] = ks_lane_load(B + k * b_k + c * KS_LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const ks_lane a = ks_lane_set(A[r * a_row + k]);
#pragma GCC unroll 8
            for (int c = 0; c < lanes; c++) acc[r][c] += a * b[c];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int c = 0; c < lanes; c++) ks_lane_store(C + r * c_row + c * KS_LANES, acc[r][c]);
}

/* All rows of a strip of `lanes` lanes, rounded up to whole tiles: A and C have the rows (KS_TILE_SLACK). */
KS_LANE_FN void strip(int lanes, int add, int64_t n_row, int64_t n_k, const double *A, int64_t a_row, const double *B,
                      int64_t b_k, double *C, int64_t c_row) {
    for (int64_t r = 0; r < n_row; r += TILE_ROWS)
        tile(TILE_ROWS, lanes, add, n_k, A + r * a_row, a_row, B, b_k, C + r * c_row, c_row);
}

/* X (n_row, PANEL) = A (n_row, n_k; leading lda) B (n_k, PANEL) */
static void panel_product(int64_t n_row, int64_t n_k, const double *A, int64_t lda, const double *B, double *X) {
    for (int g = 0; g < KS_PANEL; g += TILE_COLS)
        strip(TILE_LANES, 0, n_row, n_k, A, lda, B + g, KS_PANEL, X + g, KS_PANEL);
}

/* V (n, n; leading ld) += Y (n, PANEL) phi_t (PANEL, n; leading ld); columns run to the next multiple of a lane,
 * where phi_t is zero. */
static void matrix_update(int64_t n, const double *Y, const double *phi_t, int64_t ld, double *V) {
    int64_t c = 0;
    for (; c + TILE_COLS <= n; c += TILE_COLS) strip(TILE_LANES, 1, n, KS_PANEL, Y, KS_PANEL, phi_t + c, ld, V + c, ld);
    for (; c + 2 * KS_LANES <= n; c += 2 * KS_LANES) strip(2, 1, n, KS_PANEL, Y, KS_PANEL, phi_t + c, ld, V + c, ld);
    for (; c < n; c += KS_LANES) strip(1, 1, n, KS_PANEL, Y, KS_PANEL, phi_t + c, ld, V + c, ld);
}

/* A square of lanes, transposed in log2(KS_LANES) rounds of interleaving halves. */
KS_LANE_FN void transpose_square(ks_lane t[KS_LANES]) {
    ks_lane u[KS_LANES];
#if KS_LANES == 2
    u[0] = __builtin_shufflevector(t[0], t[1], 0, 2);
    u[1] = __builtin_shufflevector(t[0], t[1], 1, 3);
#elif KS_LANES == 4
    for (int i = 0; i < 4; i += 2) {
        u[i]     = __builtin_shufflevector(t[i], t[i + 1], 0, 4, 2, 6);
        u[i + 1] = __builtin_shufflevector(t[i], t[i + 1], 1, 5, 3, 7);
    }
    for (int i = 0; i < 2; i++) {
        t[i]     = __builtin_shufflevector(u[i], u[i + 2], 0, 1, 4, 5);
        t[i + 2] = __builtin_shufflevector(u[i], u[i + 2], 2, 3, 6, 7);
    }
    return;
#else
    for (int i = 0; i < 8; i += 2) {
        u[i]     = __builtin_shufflevector(t[i], t[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        u[i + 1] = __builtin_shufflevector(t[i], t[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    for (int i = 0; i < 8; i += 4)
        for (int k = i; k < i + 2; k++) {
            t[k]     = __builtin_shufflevector(u[k], u[k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            t[k + 2] = __builtin_shufflevector(u[k], u[k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        u[i]     = __builtin_shufflevector(t[i], t[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        u[i + 4] = __builtin_shufflevector(t[i], t[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
#endif
    for (int i = 0; i < KS_LANES; i++) t[i] = u[i];
}

/* phi_t (PANEL, n rounded up) from phi (n, PANEL), zeros beyond n. */
static void transpose(int64_t n, int64_t ld, const double *phi, double *phi_t) {
    for (int64_t m = 0; m < n; m += KS_LANES)
        for (int g = 0; g < KS_PANEL; g += KS_LANES) {
            ks_lane t[KS_LANES];
            for (int i = 0; i < KS_LANES; i++)
                t[i] = m + i < n ? ks_lane_load(phi + (m + i) * KS_PANEL + g) : ks_lane_set(0.0);
            transpose_square(t);
            for (int i = 0; i < KS_LANES; i++) ks_lane_store(phi_t + (g + i) * ld + m, t[i]);
        }
}

/* feat[f][g] = c_f sum_m phi[f][m][g] X[m][g], c = scale (1, 2, 2, 2). */
static void features(int gga, int64_t n, int64_t ld, const double *phi, const double *X, double scale,
                     double (*feat)[KS_PANEL]) {
    const int64_t comp = ld * KS_PANEL;
    for (int g = 0; g < KS_PANEL; g += 2 * KS_LANES) {
        ks_lane s[4][2];
        for (int f = 0; f < 4; f++) s[f][0] = s[f][1] = ks_lane_set(0.0);
        if (gga)
            for (int64_t m = 0; m < n; m++) {
                const ks_lane x0 = ks_lane_load(X + m * KS_PANEL + g),
                              x1 = ks_lane_load(X + m * KS_PANEL + g + KS_LANES);
                const double *p  = phi + m * KS_PANEL + g;
#pragma GCC unroll 4
                for (int f = 0; f < 4; f++) {
                    s[f][0] += ks_lane_load(p + f * comp) * x0;
                    s[f][1] += ks_lane_load(p + f * comp + KS_LANES) * x1;
                }
            }
        else
            for (int64_t m = 0; m < n; m++) {
                s[0][0] += ks_lane_load(phi + m * KS_PANEL + g) * ks_lane_load(X + m * KS_PANEL + g);
                s[0][1] +=
                    ks_lane_load(phi + m * KS_PANEL + g + KS_LANES) * ks_lane_load(X + m * KS_PANEL + g + KS_LANES);
            }
        for (int f = 0; f < (gga ? 4 : 1); f++) {
            const double c = f ? 2.0 * scale : scale;
            ks_lane_store(feat[f] + g, c * s[f][0]);
            ks_lane_store(feat[f] + g + KS_LANES, c * s[f][1]);
        }
    }
}

/* Y = a0 phi + a . grad phi; two lanes at a time, so that whole cache lines are used. The rows that fill the last tile
 * are zero. */
static void combine(int gga, int64_t n, int64_t ld, const double *phi, double (*a)[KS_PANEL], double *Y) {
    const int64_t comp = ld * KS_PANEL;
    for (int g = 0; g < KS_PANEL; g += 2 * KS_LANES) {
        ks_lane c[4][2];
        for (int f = 0; f < (gga ? 4 : 1); f++)
            for (int k = 0; k < 2; k++) c[f][k] = ks_lane_load(a[f] + g + k * KS_LANES);
        for (int64_t m = 0; m < n; m++) {
            const double *p  = phi + m * KS_PANEL + g;
            double       *y  = Y + m * KS_PANEL + g;
            ks_lane       y0 = c[0][0] * ks_lane_load(p), y1 = c[0][1] * ks_lane_load(p + KS_LANES);
            if (gga)
#pragma GCC unroll 3
                for (int f = 1; f < 4; f++) {
                    y0 += c[f][0] * ks_lane_load(p + f * comp);
                    y1 += c[f][1] * ks_lane_load(p + f * comp + KS_LANES);
                }
            ks_lane_store(y, y0);
            ks_lane_store(y + KS_LANES, y1);
        }
    }
    const int64_t n_tile = (n + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
    memset(Y + n * KS_PANEL, 0, sizeof(double) * (size_t)((n_tile - n) * KS_PANEL));
}

/* Potential coefficients of a panel; adds to exc and n_elec. */
static void potential_panel(ks_block_job *job, const double *w, double (*feat)[KS_PANEL], double (*a)[KS_PANEL]) {
    ks_lane exc = ks_lane_set(0.0), ne = exc;
    for (int g = 0; g < KS_PANEL; g += KS_LANES) {
        const ks_lane wg = ks_lane_load(w + g), rho = ks_lane_load(feat[0] + g);
        ks_lane       gx = ks_lane_set(0.0), gy = gx, gz = gx;
        if (job->gga) {
            gx = ks_lane_load(feat[1] + g);
            gy = ks_lane_load(feat[2] + g);
            gz = ks_lane_load(feat[3] + g);
        }
        const ks_jet e = ks_xc_point(&job->xc, job->gga, rho, gx * gx + gy * gy + gz * gz);
        exc += wg * e.v;
        ne += wg * rho;
        ks_lane_store(a[0] + g, 0.5 * wg * e.r);
        if (job->gga) {
            const ks_lane c = 2.0 * wg * e.s;
            ks_lane_store(a[1] + g, c * gx);
            ks_lane_store(a[2] + g, c * gy);
            ks_lane_store(a[3] + g, c * gz);
        }
    }
    for (int k = 0; k < KS_LANES; k++) {
        job->exc += exc[k];
        job->n_elec += ne[k];
    }
}

/* Response coefficients: feat of P, feat1 of M. */
static void response_panel(const ks_block_job *job, const double *w, double (*feat)[KS_PANEL],
                           double (*feat1)[KS_PANEL], double (*a)[KS_PANEL]) {
    for (int g = 0; g < KS_PANEL; g += KS_LANES) {
        const ks_lane wg = ks_lane_load(w + g), rho = ks_lane_load(feat[0] + g), rho1 = ks_lane_load(feat1[0] + g);
        if (!job->gga) {
            const ks_jet e = ks_xc_point(&job->xc, 0, rho, rho);
            ks_lane_store(a[0] + g, 0.5 * wg * e.rr * rho1);
            continue;
        }
        ks_lane d[3], d1[3], sigma = ks_lane_set(0.0), sigma1 = sigma;
        for (int x = 0; x < 3; x++) {
            d[x]  = ks_lane_load(feat[x + 1] + g);
            d1[x] = ks_lane_load(feat1[x + 1] + g);
            sigma += d[x] * d[x];
            sigma1 += 2.0 * d[x] * d1[x];
        }
        const ks_jet  e  = ks_xc_point(&job->xc, 1, rho, sigma);
        const ks_lane v1 = e.rs * rho1 + e.ss * sigma1;
        ks_lane_store(a[0] + g, 0.5 * wg * (e.rr * rho1 + e.rs * sigma1));
        for (int x = 0; x < 3; x++) ks_lane_store(a[x + 1] + g, 2.0 * wg * (v1 * d[x] + e.s * d1[x]));
    }
}

static void density_panel(const ks_block_job *job, ks_block_work *w, int64_t n, double (*feat)[KS_PANEL]) {
    if (job->n_occ > 0) {
        panel_product(job->n_occ, n, w->Ct, w->ld, w->phi, w->psi);
        panel_product(n, job->n_occ, w->C, job->n_occ, w->psi, w->X);
        features(job->gga, n, w->ld, w->phi, w->X, 2.0, feat);
    } else {
        panel_product(n, n, w->P, w->ld, w->phi, w->X);
        features(job->gga, n, w->ld, w->phi, w->X, 1.0, feat);
    }
}

void KS_ISA_NAME(ks_grid_block_pass)(ks_block_job *job, ks_block_work *work) {
    const int n_feat = job->gga ? 4 : 1;
    for (int64_t p = 0; p < job->n_panel; p++) {
        const int64_t g0 = p * KS_PANEL, n_shell = job->panel_shell[p], n = job->row[n_shell];
        const int64_t real = job->n_real - g0 < KS_PANEL ? job->n_real - g0 : KS_PANEL;
        double        feat[4][KS_PANEL], feat1[4][KS_PANEL], a[4][KS_PANEL];
        KS_ISA_NAME(ks_grid_ao_panel)
        (job->shells, job->prim_reach2, job->pos, job->shell, n_shell, job->gga, job->x + g0, job->y + g0, job->z + g0,
         work->ld, work->phi);
        if (job->pass == KS_PASS_RHO_ADJ) {
            for (int f = 0; f < n_feat; f++)
                for (int64_t g = 0; g < KS_PANEL; g++)
                    a[f][g] = g < real ? (f ? 1.0 : 0.5) * job->feat[f * job->feat_stride + g0 + g] : 0.0;
        } else {
            density_panel(job, work, n, feat);
        }
        if (job->pass == KS_PASS_RHO) {
            for (int f = 0; f < n_feat; f++)
                for (int64_t g = 0; g < real; g++) job->feat[f * job->feat_stride + g0 + g] = feat[f][g];
            continue;
        }
        if (job->pass == KS_PASS_VXC) potential_panel(job, job->w + g0, feat, a);
        if (job->pass == KS_PASS_VXC_ADJ) {
            panel_product(n, n, work->M, work->ld, work->phi, work->X);
            features(job->gga, n, work->ld, work->phi, work->X, 1.0, feat1);
            response_panel(job, job->w + g0, feat, feat1, a);
        }
        if (!job->want_matrix) continue;
        combine(job->gga, n, work->ld, work->phi, a, work->Y);
        transpose(n, work->ld, work->phi, work->phi_t);
        matrix_update(n, work->Y, work->phi_t, work->ld, work->V);
    }
}

const ks_grid_kernels KS_ISA_NAME(ks_grid_kernels) = {
    .block_pass  = KS_ISA_NAME(ks_grid_block_pass),
    .becke_panel = KS_ISA_NAME(ks_grid_becke_panel),
    .xc_eval     = KS_ISA_NAME(ks_grid_xc_eval),
};
