/* diis.c -- commutator DIIS (Pulay 1982, DOI 10.1002/jcc.540030413). */
#include "scf/diis.h"
#include <math.h>

/* Relative to each residual's own square: caps the weights when residuals become parallel, and, unlike a term
 * relative to the largest residual, leaves the weights of the late small ones alone. */
static const double DIIS_RIDGE = 1e-13;

ks_status ks_diis_init(ks_ctx *ctx, int space, int64_t n_frame, int64_t len, ks_diis *d) {
    ks_status st      = KS_OK;
    ks_arena *scratch = ks_ctx_scratch(ctx), *host = ks_ctx_host_scratch(ctx);
    memset(d, 0, sizeof *d);
    d->space = space;
    d->len   = len;
    for (int h = 0; h < space; h++) {
        KS_TRY(KS_TAKE(scratch, d->F[h], n_frame * len));
        KS_TRY(KS_TAKE(scratch, d->c[h], n_frame * len));
    }
    KS_TRY(KS_TAKE(host, d->gram, n_frame * space * space));
    KS_TRY(KS_TAKE(host, d->coef, n_frame * space));
    KS_TRY(KS_TAKE(scratch, d->coef_b, n_frame * space));
    KS_TRY(KS_TAKE(host, d->dots, n_frame));
    KS_TRY(KS_TAKE(scratch, d->dots_b, n_frame));
done:
    return st;
}

/* Weights of the residuals place[0..k-1] (oldest first): minimise |sum w c|^2 with sum w = 1. Returns 0 when the
 * scaled Gram matrix is numerically singular in spite of the ridge. */
static int weights(int space, const double *gram, int k, const int *place, double *w) {
    double l[KS_MIX_MAX][KS_MIX_MAX], norm[KS_MIX_MAX], low = INFINITY, sum = 0.0;
    for (int i = 0; i < k; i++) {
        norm[i] = sqrt(gram[place[i] * space + place[i]]);
        if (norm[i] < low) low = norm[i];
        if (!(norm[i] > 0.0)) return 0;
    }
    for (int i = 0; i < k; i++) {
        w[i] = low / norm[i];
        for (int j = 0; j <= i; j++) {
            double v = gram[place[i] * space + place[j]] / (norm[i] * norm[j]) + (i == j ? DIIS_RIDGE : 0.0);
            for (int q = 0; q < j; q++) v -= l[i][q] * l[j][q];
            if (i == j && !(v > 0.0)) return 0;
            l[i][j] = i == j ? sqrt(v) : v / l[j][j];
        }
    }
    for (int i = 0; i < k; i++) {
        for (int q = 0; q < i; q++) w[i] -= l[i][q] * w[q];
        w[i] /= l[i][i];
    }
    for (int i = k - 1; i >= 0; i--) {
        for (int q = i + 1; q < k; q++) w[i] -= l[q][i] * w[q];
        w[i] /= l[i][i];
    }
    for (int i = 0; i < k; i++) sum += (w[i] /= norm[i]);
    for (int i = 0; i < k; i++) w[i] /= sum;
    return isfinite(sum) && sum != 0.0;
}

ks_status ks_diis_step(ks_ctx *ctx, ks_diis *d, int64_t n_frame, const double *F, const double *c, double *F_ext) {
    ks_status     st = KS_OK;
    const int     at = d->next, sp = d->space;
    const ks_term f = {ks_vec_dense(F, d->len), 1.0, NULL, 0}, r = {ks_vec_dense(c, d->len), 1.0, NULL, 0};
    ks_term       t[KS_MIX_MAX];
    d->next   = (at + 1) % sp;
    d->n_hist = d->n_hist < sp ? d->n_hist + 1 : sp;
    KS_TRY(ks_combine(ctx, n_frame, d->len, 1, &f, 0, d->F[at]));
    KS_TRY(ks_combine(ctx, n_frame, d->len, 1, &r, 0, d->c[at]));
    for (int h = 0; h < d->n_hist; h++) {
        KS_TRY(
            ks_dot(ctx, n_frame, d->len, 1.0, ks_vec_dense(c, d->len), ks_vec_dense(d->c[h], d->len), 0, d->dots_b, 1));
        KS_TRY(ks_mem_to_host(ctx, d->dots, d->dots_b, (size_t)n_frame * sizeof *d->dots));
        for (int64_t b = 0; b < n_frame; b++)
            d->gram[(b * sp + at) * sp + h] = d->gram[(b * sp + h) * sp + at] = d->dots[b];
    }
    for (int64_t b = 0; b < n_frame; b++) {
        int    place[KS_MIX_MAX];
        double w[KS_MIX_MAX];
        int    k = d->n_hist, first = 0;
        for (int i = 0; i < k; i++) place[i] = (at + 1 + i + sp - k) % sp; /* oldest first, `at` last */
        while (first < k - 1 && !weights(sp, d->gram + b * sp * sp, k - first, place + first, w)) first++;
        if (first == k - 1) w[0] = 1.0;
        for (int h = 0; h < sp; h++) d->coef[b * sp + h] = 0.0;
        for (int i = first; i < k; i++) d->coef[b * sp + place[i]] = w[i - first];
    }
    KS_TRY(ks_mem_to_backend(ctx, d->coef_b, d->coef, (size_t)(n_frame * sp) * sizeof *d->coef));
    for (int h = 0; h < d->n_hist; h++) t[h] = (ks_term){ks_vec_dense(d->F[h], d->len), 1.0, d->coef_b + h, sp};
    KS_TRY(ks_combine(ctx, n_frame, d->len, d->n_hist, t, 0, F_ext));
done:
    return st;
}

ks_status ks_keep_frames(ks_ctx *ctx, int64_t n_keep, const int32_t *keep, int64_t len, double *x, double *tmp) {
    ks_status     st   = KS_OK;
    const ks_term from = {{x, len, len, keep, 1, 0}, 1.0, NULL, 0}, back = {ks_vec_dense(tmp, len), 1.0, NULL, 0};
    KS_TRY(ks_combine(ctx, n_keep, len, 1, &from, 0, tmp));
    KS_TRY(ks_combine(ctx, n_keep, len, 1, &back, 0, x));
done:
    return st;
}

ks_status ks_diis_keep(ks_ctx *ctx, ks_diis *d, int64_t n_keep, const int32_t *keep, const int32_t *keep_b,
                       double *tmp) {
    ks_status     st = KS_OK;
    const int64_t sq = (int64_t)d->space * d->space;
    for (int h = 0; h < d->n_hist; h++) {
        KS_TRY(ks_keep_frames(ctx, n_keep, keep_b, d->len, d->F[h], tmp));
        KS_TRY(ks_keep_frames(ctx, n_keep, keep_b, d->len, d->c[h], tmp));
    }
    for (int64_t b = 0; b < n_keep; b++)
        memmove(d->gram + b * sq, d->gram + keep[b] * sq, (size_t)sq * sizeof *d->gram);
done:
    return st;
}
