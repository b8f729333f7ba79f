/* linalg_blas.c -- CPU slots: products, combinations and inner products of batches of small matrices.
 *
 * Work is cut by the problem, not by the thread count (frames, and panels of rows inside a product), so results are
 * bitwise the same for any number of threads. */
#include <cblas.h>
#include <math.h>
#include <string.h>
#include "ops/linalg_ops.h"
#include "pointwise/frame_scalar.h"

/* Below this many multiply-adds (about 30 us) a parallel region costs more than it gains. */
enum { PAR_WORK = 300000, PANEL_ROWS = 64 };

ks_status ks_gemm_cpu(ks_ctx *ctx, int64_t n_mat, int trans_a, int trans_b, int64_t m, int64_t n, int64_t k,
                      double alpha, ks_mats a, ks_mats b, double beta, double *c) {
    const int64_t n_panel = (m + PANEL_ROWS - 1) / PANEL_ROWS, rows = (m + n_panel - 1) / n_panel;
    const double  work = (double)n_mat * (double)m * (double)n * (double)k;
#pragma omp parallel for num_threads(ctx->n_thread) schedule(static) if (work > PAR_WORK)
    for (int64_t task = 0; task < n_mat * n_panel; task++) {
        const int64_t f = task / n_panel, row = task % n_panel * rows, n_row = row + rows < m ? rows : m - row;
        double       *out = c + f * m * n + row * n;
        if (n_row <= 0) continue;
        if (k == 0) {
            if (beta == 0.0) memset(out, 0, (size_t)(n_row * n) * sizeof *out);
            continue;
        }
        const double *pa = ks_mats_at(&a, f) + (trans_a ? row : row * a.ld);
        cblas_dgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans, (int)n_row,
                    (int)n, (int)k, alpha, pa, (int)a.ld, ks_mats_at(&b, f), (int)b.ld, beta, out, (int)n);
    }
    return KS_OK;
}

ks_status ks_combine_cpu(ks_ctx *ctx, int64_t n_mat, int64_t len, int n_term, const ks_term *term, int add,
                         double *out) {
    const double work = (double)n_mat * (double)len * (n_term + 1);
#pragma omp parallel for num_threads(ctx->n_thread) schedule(static) if (work > PAR_WORK)
    for (int64_t f = 0; f < n_mat; f++) {
        double       *o = out + f * len;
        const double *x[KS_MIX_MAX];
        double        w[KS_MIX_MAX];
        int           n_use = 0;
        for (int t = 0; t < n_term; t++) {
            const double wt = term[t].alpha * (term[t].coef ? term[t].coef[f * term[t].coef_stride] : 1.0);
            if (wt == 0.0) continue;
            x[n_use] = ks_mats_at(&term[t].x, f), w[n_use] = wt, n_use++;
        }
        /* pass by pass over short pieces, so that out may be one of the x: a piece is summed before it is stored */
        enum { PIECE = 128 };
        for (int64_t i0 = 0; i0 < len; i0 += PIECE) {
            const int64_t cnt = i0 + PIECE < len ? PIECE : len - i0;
            double        sum[PIECE];
            for (int64_t i = 0; i < cnt; i++) sum[i] = add ? o[i0 + i] : 0.0;
            for (int t = 0; t < n_use; t++)
                for (int64_t i = 0; i < cnt; i++) sum[i] += w[t] * x[t][i0 + i];
            memcpy(o + i0, sum, (size_t)cnt * sizeof *sum);
        }
    }
    return KS_OK;
}

ks_status ks_scatter_cpu(ks_ctx *ctx, int64_t n_mat, int64_t len, const double *x, const int32_t *index, double *pool) {
    (void)ctx;
    for (int64_t b = 0; b < n_mat; b++) memcpy(pool + index[b] * len, x + b * len, (size_t)len * sizeof *x);
    return KS_OK;
}

ks_status ks_dot_cpu(ks_ctx *ctx, int64_t n_mat, int64_t len, double alpha, ks_mats a, ks_mats b, int add, double *out,
                     int64_t out_stride) {
    const double work = (double)n_mat * (double)len;
#pragma omp parallel for num_threads(ctx->n_thread) schedule(static) if (work > PAR_WORK)
    for (int64_t f = 0; f < n_mat; f++) {
        const double *x = ks_mats_at(&a, f), *y = ks_mats_at(&b, f);
        double        part[8] = {0};
        int64_t       i       = 0;
        for (; i + 8 <= len; i += 8)
            for (int l = 0; l < 8; l++) part[l] += x[i + l] * y[i + l];
        for (; i < len; i++) part[i % 8] += x[i] * y[i];
        const double d      = ((part[0] + part[4]) + (part[1] + part[5])) + ((part[2] + part[6]) + (part[3] + part[7]));
        out[f * out_stride] = (add ? out[f * out_stride] : 0.0) + alpha * d;
    }
    return KS_OK;
}

ks_status ks_sym_cpu(ks_ctx *ctx, int64_t n_mat, int64_t n, double alpha, double sign, const double *a, int add,
                     double *out) {
    const double work = (double)n_mat * (double)(n * n) * 2.0;
#pragma omp parallel for num_threads(ctx->n_thread) schedule(static) if (work > PAR_WORK)
    for (int64_t f = 0; f < n_mat; f++) {
        const double *x = a + f * n * n;
        double       *o = out + f * n * n;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++) {
                const double v = alpha * (x[i * n + j] + sign * x[j * n + i]);
                if (add) {
                    o[i * n + j] += v;
                    if (j < i) o[j * n + i] += sign * v;
                } else {
                    o[i * n + j] = v;
                    o[j * n + i] = sign * v;
                }
            }
    }
    return KS_OK;
}

ks_status ks_occ_density_cpu(ks_ctx *ctx, int64_t n_mat, int64_t n, double weight, const ks_occ *occ, const double *c,
                             double *p) {
    const int64_t n_panel = (n + PANEL_ROWS - 1) / PANEL_ROWS, rows = (n + n_panel - 1) / n_panel;
    const double  work = (double)n_mat * (double)(n * n) * (double)occ->max;
#pragma omp parallel for num_threads(ctx->n_thread) schedule(static) if (work > PAR_WORK)
    for (int64_t task = 0; task < n_mat * n_panel; task++) {
        const int64_t f = task / n_panel, row = task % n_panel * rows, n_row = row + rows < n ? rows : n - row;
        const int     n_occ = ks_occ_of(occ, f);
        const double *cf    = c + f * n * n;
        double       *out   = p + f * n * n + row * n;
        if (n_row <= 0) continue;
        if (n_occ == 0) memset(out, 0, (size_t)(n_row * n) * sizeof *out);
        else
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n_row, (int)n, n_occ, weight, cf + row * n,
                        (int)n, cf, (int)n, 0.0, out, (int)n);
    }
    return KS_OK;
}

ks_status ks_occ_virt_cpu(ks_ctx *ctx, int64_t n_mat, int64_t n, double weight, const ks_occ *occ, const double *eps,
                          const double *mask, const double *g, double *y) {
    const int64_t n_row = occ->max;
    const double  work  = (double)n_mat * (double)(n_row * n) * 8.0;
#pragma omp parallel for num_threads(ctx->n_thread) schedule(static) if (work > PAR_WORK)
    for (int64_t f = 0; f < n_mat; f++) {
        const double *gf = g + f * n_row * n, *e = eps + f * n;
        double       *yf    = y + f * n_row * n;
        const int64_t n_o   = ks_occ_of(occ, f);
        const int     count = !mask || mask[f / occ->n_spin] != 0.0;
        for (int64_t i = 0; i < n_row; i++)
            for (int64_t a = 0; a < n; a++)
                yf[i * n + a] = count && i < n_o && a >= n_o ? weight * gf[i * n + a] / (e[i] - e[a]) : 0.0;
    }
    return KS_OK;
}

/* ---- scalars of frames: a few doubles each, one thread ---- */

ks_status ks_gap_cpu(ks_ctx *ctx, int64_t n_frame, int64_t n, const ks_occ *occ, const double *eps, int min,
                     double *gap) {
    (void)ctx;
    for (int64_t f = 0; f < n_frame; f++) {
        double least = min ? gap[f] : INFINITY;
        for (int64_t s = 0; s < occ->n_spin; s++)
            least = ks_lower_gap(least, n, ks_occ_of(occ, f * occ->n_spin + s), eps + (f * occ->n_spin + s) * n);
        gap[f] = least;
    }
    return KS_OK;
}

ks_status ks_mask_cpu(ks_ctx *ctx, int64_t n_frame, const double *E, const double *gap, double gap_min,
                      const double *and_mask, double *mask) {
    (void)ctx;
    for (int64_t f = 0; f < n_frame; f++)
        mask[f] = ks_frame_counts(E ? E[f] : 0.0, gap[f], gap_min, and_mask ? and_mask[f] : 1.0);
    return KS_OK;
}

ks_status ks_masked_sum_cpu(ks_ctx *ctx, int64_t n_frame, double alpha, const double *mask, const double *x, int add,
                            double *out) {
    double sum = 0.0;
    (void)ctx;
    for (int64_t f = 0; f < n_frame; f++)
        if (mask[f] != 0.0) sum += x ? x[f] : 1.0;
    *out = (add ? *out : 0.0) + alpha * sum;
    return KS_OK;
}

ks_status ks_min_cpu(ks_ctx *ctx, int64_t n_frame, const double *x, double *out) {
    (void)ctx;
    for (int64_t f = 0; f < n_frame && *out == *out; f++) /* NaN stays */
        if (!(x[f] >= *out)) *out = x[f];
    return KS_OK;
}
