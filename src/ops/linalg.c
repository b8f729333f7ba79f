/* linalg.c -- argument checks and dispatch of the linalg family. CPU slots: linalg_blas.c, linalg_eigh.c,
 * linalg_mix.c. */
#include "ops/linalg_ops.h"

const ks_ops_linalg ks_ops_linalg_cpu = {
    .gemm        = ks_gemm_cpu,
    .eigh        = ks_eigh_cpu,
    .lowdin      = ks_lowdin_cpu,
    .chol_solve  = ks_chol_solve_cpu,
    .combine     = ks_combine_cpu,
    .scatter     = ks_scatter_cpu,
    .dot         = ks_dot_cpu,
    .sym         = ks_sym_cpu,
    .occ_density = ks_occ_density_cpu,
    .occ_virt    = ks_occ_virt_cpu,
    .gap         = ks_gap_cpu,
    .mask        = ks_mask_cpu,
    .masked_sum  = ks_masked_sum_cpu,
    .min         = ks_min_cpu,
    .mix_fwd     = ks_mix_fwd_cpu,
    .mix_adj     = ks_mix_adj_cpu,
};

/* Extents a call can have: non-negative, and small enough for BLAS and for the product of two of them. */
static int size_ok(int64_t n_mat, int64_t n) { return n_mat >= 0 && n >= 0 && n < 46341 && n_mat < ((int64_t)1 << 31); }
static int mats_ok(const ks_mats *m, int64_t n_col) {
    return m->ptr && m->ld >= n_col && m->group >= 1 && m->stride >= 0;
}

#define SIZE_CHECK(n_mat, n)                                                                                           \
    KS_CHECK(size_ok((n_mat), (n)), KS_ERR_ARG, "%lld matrices of extent %lld", (long long)(n_mat), (long long)(n))

ks_status ks_gemm(ks_ctx *ctx, int64_t n_mat, int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, double alpha,
                  ks_mats a, ks_mats b, double beta, double *c) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, gemm);
    SIZE_CHECK(n_mat, m);
    SIZE_CHECK(n_mat, n);
    SIZE_CHECK(n_mat, k);
    if (n_mat == 0 || m == 0 || n == 0) return KS_OK;
    KS_CHECK(c && (k == 0 || (mats_ok(&a, trans_a ? m : k) && mats_ok(&b, trans_b ? k : n))), KS_ERR_ARG,
             "gemm: NULL operand or a leading dimension that is too small");
    KS_CHECK(beta == 0.0 || beta == 1.0, KS_ERR_ARG, "gemm: beta %g is neither 0 nor 1", beta);
    KS_TRY(ctx->backend->linalg->gemm(ctx, n_mat, trans_a, trans_b, m, n, k, alpha, a, b, beta, c));
done:
    return st;
}

ks_status ks_sandwich(ks_ctx *ctx, int64_t n_mat, int64_t n, int trans, ks_mats a, ks_mats b, double *out,
                      double *work) {
    ks_status st = KS_OK;
    KS_TRY(ks_gemm(ctx, n_mat, 0, trans, n, n, n, 1.0, b, a, 0.0, work));
    KS_TRY(ks_gemm(ctx, n_mat, !trans, 0, n, n, n, 1.0, a, ks_mats_dense(work, n, n), 0.0, out));
done:
    return st;
}

ks_status ks_eigh(ks_ctx *ctx, int64_t n_mat, int64_t n, const double *a, double *w, double *v) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, eigh);
    SIZE_CHECK(n_mat, n);
    if (n_mat == 0 || n == 0) return KS_OK;
    KS_CHECK(a && w && v, KS_ERR_ARG, "eigh: NULL argument");
    KS_TRY(ctx->backend->linalg->eigh(ctx, n_mat, n, a, w, v));
done:
    return st;
}

ks_status ks_lowdin(ks_ctx *ctx, int64_t n_mat, int64_t n, const double *s, int64_t first_frame, double *s_half,
                    double *x) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, lowdin);
    SIZE_CHECK(n_mat, n);
    if (n_mat == 0 || n == 0) return KS_OK;
    KS_CHECK(s && s_half && x, KS_ERR_ARG, "lowdin: NULL argument");
    KS_TRY(ctx->backend->linalg->lowdin(ctx, n_mat, n, s, first_frame, s_half, x));
done:
    return st;
}

ks_status ks_chol_solve(ks_ctx *ctx, int64_t n_mat, int64_t n, int64_t m, const double *a, const double *b, double *x) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, chol_solve);
    SIZE_CHECK(n_mat, n);
    SIZE_CHECK(n_mat, m);
    if (n_mat == 0 || n == 0 || m == 0) return KS_OK;
    KS_CHECK(a && b && x, KS_ERR_ARG, "chol_solve: NULL argument");
    KS_TRY(ctx->backend->linalg->chol_solve(ctx, n_mat, n, m, a, b, x));
done:
    return st;
}

ks_status ks_combine(ks_ctx *ctx, int64_t n_mat, int64_t len, int n_term, const ks_term *term, int add, double *out) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, combine);
    KS_CHECK(n_mat >= 0 && len >= 0, KS_ERR_ARG, "combine: %lld vectors of length %lld", (long long)n_mat,
             (long long)len);
    KS_CHECK(n_term >= 0 && n_term <= KS_MIX_MAX, KS_ERR_ARG, "combine: %d terms, limit %d", n_term, KS_MIX_MAX);
    if (n_mat == 0 || len == 0) return KS_OK;
    KS_CHECK(out && (term || n_term == 0), KS_ERR_ARG, "combine: NULL argument");
    for (int t = 0; t < n_term; t++)
        KS_CHECK(term[t].x.ptr && term[t].x.group >= 1, KS_ERR_ARG, "combine: term %d has no vector", t);
    KS_TRY(ctx->backend->linalg->combine(ctx, n_mat, len, n_term, term, add, out));
done:
    return st;
}

ks_status ks_scatter(ks_ctx *ctx, int64_t n_mat, int64_t len, const double *x, const int32_t *index, double *pool) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, scatter);
    KS_CHECK(n_mat >= 0 && len >= 0, KS_ERR_ARG, "scatter: %lld vectors of length %lld", (long long)n_mat,
             (long long)len);
    if (n_mat == 0 || len == 0) return KS_OK;
    KS_CHECK(x && index && pool, KS_ERR_ARG, "scatter: NULL argument");
    KS_TRY(ctx->backend->linalg->scatter(ctx, n_mat, len, x, index, pool));
done:
    return st;
}

ks_status ks_dot(ks_ctx *ctx, int64_t n_mat, int64_t len, double alpha, ks_mats a, ks_mats b, int add, double *out,
                 int64_t out_stride) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, dot);
    KS_CHECK(n_mat >= 0 && len >= 0 && out_stride >= 1, KS_ERR_ARG, "dot: %lld vectors of length %lld, stride %lld",
             (long long)n_mat, (long long)len, (long long)out_stride);
    if (n_mat == 0) return KS_OK;
    KS_CHECK(a.ptr && b.ptr && out && a.group >= 1 && b.group >= 1, KS_ERR_ARG, "dot: NULL argument");
    KS_TRY(ctx->backend->linalg->dot(ctx, n_mat, len, alpha, a, b, add, out, out_stride));
done:
    return st;
}

ks_status ks_sym(ks_ctx *ctx, int64_t n_mat, int64_t n, double alpha, double sign, const double *a, int add,
                 double *out) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, sym);
    SIZE_CHECK(n_mat, n);
    if (n_mat == 0 || n == 0) return KS_OK;
    KS_CHECK(a && out && !(add && a == out), KS_ERR_ARG, "sym: NULL argument, or output equal to input in an addition");
    KS_CHECK(sign == 1.0 || sign == -1.0, KS_ERR_ARG, "sym: sign %g is neither 1 nor -1", sign);
    KS_TRY(ctx->backend->linalg->sym(ctx, n_mat, n, alpha, sign, a, add, out));
done:
    return st;
}

/* Occupations of a call: complete, and within max where they can be read. */
static ks_status check_occ(const ks_ctx *ctx, const char *op, int64_t n_mat, int64_t n, const ks_occ *occ) {
    ks_status st = KS_OK;
    KS_CHECK(occ && occ->n_occ && occ->n_spin >= 1 && occ->max >= 0 && occ->max <= n, KS_ERR_ARG,
             "%s: no occupations, or more than %lld of them", op, (long long)n);
    for (int64_t b = 0; ks_ctx_is_host(ctx) && b < n_mat; b++)
        KS_CHECK(ks_occ_of(occ, b) >= 0 && ks_occ_of(occ, b) <= occ->max, KS_ERR_ARG,
                 "%s: matrix %lld has %d occupied orbitals, limit %lld", op, (long long)b, ks_occ_of(occ, b),
                 (long long)occ->max);
done:
    return st;
}

ks_status ks_occ_density(ks_ctx *ctx, int64_t n_mat, int64_t n, double weight, const ks_occ *occ, const double *c,
                         double *p) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, occ_density);
    SIZE_CHECK(n_mat, n);
    if (n_mat == 0 || n == 0) return KS_OK;
    KS_CHECK(c && p, KS_ERR_ARG, "occ_density: NULL argument");
    KS_TRY(check_occ(ctx, "occ_density", n_mat, n, occ));
    KS_TRY(ctx->backend->linalg->occ_density(ctx, n_mat, n, weight, occ, c, p));
done:
    return st;
}

ks_status ks_occ_virt(ks_ctx *ctx, int64_t n_mat, int64_t n, double weight, const ks_occ *occ, const double *eps,
                      const double *mask, const double *g, double *y) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, occ_virt);
    SIZE_CHECK(n_mat, n);
    if (n_mat == 0 || n == 0) return KS_OK;
    KS_TRY(check_occ(ctx, "occ_virt", n_mat, n, occ));
    if (occ->max == 0) return KS_OK;
    KS_CHECK(eps && g && y, KS_ERR_ARG, "occ_virt: NULL argument");
    KS_TRY(ctx->backend->linalg->occ_virt(ctx, n_mat, n, weight, occ, eps, mask, g, y));
done:
    return st;
}

ks_status ks_gap(ks_ctx *ctx, int64_t n_frame, int64_t n, const ks_occ *occ, const double *eps, int min, double *gap) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, gap);
    SIZE_CHECK(n_frame, n);
    if (n_frame == 0) return KS_OK;
    KS_CHECK(n > 0 && eps && gap, KS_ERR_ARG, "gap: NULL argument or no orbitals");
    KS_TRY(check_occ(ctx, "gap", n_frame * (occ ? occ->n_spin : 1), n, occ));
    KS_TRY(ctx->backend->linalg->gap(ctx, n_frame, n, occ, eps, min, gap));
done:
    return st;
}

ks_status ks_mask(ks_ctx *ctx, int64_t n_frame, const double *E, const double *gap, double gap_min,
                  const double *and_mask, double *mask) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, mask);
    KS_CHECK(n_frame >= 0, KS_ERR_ARG, "mask: %lld frames", (long long)n_frame);
    if (n_frame == 0) return KS_OK;
    KS_CHECK(gap && mask, KS_ERR_ARG, "mask: NULL argument");
    KS_TRY(ctx->backend->linalg->mask(ctx, n_frame, E, gap, gap_min, and_mask, mask));
done:
    return st;
}

ks_status ks_masked_sum(ks_ctx *ctx, int64_t n_frame, double alpha, const double *mask, const double *x, int add,
                        double *out) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, masked_sum);
    KS_CHECK(n_frame >= 0 && out && (mask || n_frame == 0), KS_ERR_ARG, "masked_sum: %lld frames or a NULL argument",
             (long long)n_frame);
    KS_TRY(ctx->backend->linalg->masked_sum(ctx, n_frame, alpha, mask, x, add, out));
done:
    return st;
}

ks_status ks_min(ks_ctx *ctx, int64_t n_frame, const double *x, double *out) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, min);
    KS_CHECK(n_frame >= 0 && out && (x || n_frame == 0), KS_ERR_ARG, "min: %lld frames or a NULL argument",
             (long long)n_frame);
    if (n_frame) KS_TRY(ctx->backend->linalg->min(ctx, n_frame, x, out));
done:
    return st;
}

ks_status ks_mix_fwd(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge, const double *gram, double *w) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, mix_fwd);
    KS_CHECK(n_mat >= 0 && k >= 1 && k <= KS_MIX_MAX && ld >= k && ridge > 0, KS_ERR_ARG,
             "mix: %lld problems, k %lld (limit %d), leading dimension %lld, ridge %g", (long long)n_mat, (long long)k,
             KS_MIX_MAX, (long long)ld, ridge);
    if (n_mat == 0) return KS_OK;
    KS_CHECK(gram && w, KS_ERR_ARG, "mix: NULL argument");
    KS_TRY(ctx->backend->linalg->mix_fwd(ctx, n_mat, k, ld, ridge, gram, w));
done:
    return st;
}

ks_status ks_mix_adj(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge, const double *gram,
                     const double *w, const double *w_bar, double *gram_bar) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, mix_adj);
    KS_CHECK(n_mat >= 0 && k >= 1 && k <= KS_MIX_MAX && ld >= k && ridge > 0, KS_ERR_ARG,
             "mix: %lld problems, k %lld (limit %d), leading dimension %lld, ridge %g", (long long)n_mat, (long long)k,
             KS_MIX_MAX, (long long)ld, ridge);
    if (n_mat == 0) return KS_OK;
    KS_CHECK(gram && w && w_bar && gram_bar, KS_ERR_ARG, "mix: NULL argument");
    KS_TRY(ctx->backend->linalg->mix_adj(ctx, n_mat, k, ld, ridge, gram, w, w_bar, gram_bar));
done:
    return st;
}
