/* residual.c -- commutators, changes of basis and frame-wise combinations of flat batch matrices. */
#include "scf/scf_impl.h"

ks_status ks_batch_combine(ks_ctx *ctx, const ks_batch *batch, int n_term, const ks_mat_term *term, int add,
                           double *out) {
    ks_status st = KS_OK;
    ks_term   t[KS_MIX_MAX];
    KS_CHECK(n_term >= 0 && n_term <= KS_MIX_MAX, KS_ERR_ARG, "combination of %d matrices, limit %d", n_term,
             KS_MIX_MAX);
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_seg  sg  = ks_seg_of(batch, s);
        const int64_t off = ks_batch_mat_offset(batch, s), frame = ks_batch_frame_offset(batch, s);
        const int64_t len = sg.n * sg.n * sg.ts->method.n_spin;
        for (int i = 0; i < n_term; i++)
            t[i] = (ks_term){ks_vec_dense(term[i].x + off, len), term[i].alpha,
                             term[i].coef ? term[i].coef + frame * term[i].coef_stride : NULL, term[i].coef_stride};
        KS_TRY(ks_combine(ctx, sg.n_frame, len, n_term, t, add, out + off));
    }
done:
    return st;
}

ks_status ks_batch_dot(ks_ctx *ctx, const ks_batch *batch, double alpha, const double *a, const double *b, int add,
                       double *out, int64_t out_stride) {
    ks_status st = KS_OK;
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_seg  sg  = ks_seg_of(batch, s);
        const int64_t off = ks_batch_mat_offset(batch, s), len = sg.n * sg.n * sg.ts->method.n_spin;
        KS_TRY(ks_dot(ctx, sg.n_frame, len, alpha, ks_vec_dense(a + off, len), ks_vec_dense(b + off, len), add,
                      out + ks_batch_frame_offset(batch, s) * out_stride, out_stride));
    }
done:
    return st;
}

ks_status ks_basis_change(ks_ctx *ctx, const ks_batch *batch, int use_x, const double *A, int add, double *out) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_seg  sg = ks_seg_of(batch, s);
        const int64_t n = sg.n, off = ks_batch_mat_offset(batch, s);
        const ks_mats m    = ks_seg_pool(&sg, use_x ? sg.ts->X : sg.ts->S_half);
        double       *work = NULL;
        KS_TRY(KS_TAKE(scratch, work, sg.n_mat * n * n));
        KS_TRY(ks_gemm(ctx, sg.n_mat, 0, 0, n, n, n, 1.0, ks_mats_dense(A + off, n, n), m, 0.0, work));
        KS_TRY(ks_gemm(ctx, sg.n_mat, 0, 0, n, n, n, 1.0, m, ks_mats_dense(work, n, n), add ? 1.0 : 0.0, out + off));
        ks_arena_release(scratch, mark);
    }
done:
    ks_arena_release(scratch, mark);
    return st;
}

/* X S = S^1/2, so X F P S X = X F P S^1/2 = G and c = G - G^T. */
ks_status ks_commutator_frames(ks_ctx *ctx, const ks_seg *sg, const double *F, const double *P, double *c) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const int64_t       n       = sg->n;
    double             *a = NULL, *b = NULL;
    KS_TRY(KS_TAKE(scratch, a, sg->n_mat * n * n));
    KS_TRY(KS_TAKE(scratch, b, sg->n_mat * n * n));
    KS_TRY(ks_gemm(ctx, sg->n_mat, 0, 0, n, n, n, 1.0, ks_seg_pool(sg, sg->ts->X), ks_mats_dense(F, n, n), 0.0, a));
    KS_TRY(
        ks_gemm(ctx, sg->n_mat, 0, 0, n, n, n, 1.0, ks_mats_dense(P, n, n), ks_seg_pool(sg, sg->ts->S_half), 0.0, b));
    KS_TRY(ks_gemm(ctx, sg->n_mat, 0, 0, n, n, n, 1.0, ks_mats_dense(a, n, n), ks_mats_dense(b, n, n), 0.0, c));
    KS_TRY(ks_sym(ctx, sg->n_mat, n, 1.0, -1.0, c, 0, c));
done:
    ks_arena_release(scratch, mark);
    return st;
}

ks_status ks_commutator_fwd(ks_ctx *ctx, const ks_batch *batch, const double *F, const double *P, double *c) {
    ks_status st = KS_OK;
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_seg  sg  = ks_seg_of(batch, s);
        const int64_t off = ks_batch_mat_offset(batch, s);
        KS_TRY(ks_commutator_frames(ctx, &sg, F + off, P + off, c + off));
    }
done:
    return st;
}

/* c = G - G^T gives G_bar = c_bar - c_bar^T; with R = X G_bar S^1/2,
 * <G_bar, X dF P S^1/2> = <R P, dF> and <G_bar, X F dP S^1/2> = <F R, dP>. Both are symmetrised. */
ks_status ks_commutator_adj(ks_ctx *ctx, const ks_batch *batch, const double *F, const double *P, const double *c_bar,
                            double *F_bar, double *P_bar) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_seg  sg = ks_seg_of(batch, s);
        const int64_t n = sg.n, off = ks_batch_mat_offset(batch, s);
        double       *g = NULL, *r = NULL;
        KS_TRY(KS_TAKE(scratch, g, sg.n_mat * n * n));
        KS_TRY(KS_TAKE(scratch, r, sg.n_mat * n * n));
        KS_TRY(ks_sym(ctx, sg.n_mat, n, 1.0, -1.0, c_bar + off, 0, g));
        KS_TRY(ks_gemm(ctx, sg.n_mat, 0, 0, n, n, n, 1.0, ks_seg_pool(&sg, sg.ts->X), ks_mats_dense(g, n, n), 0.0, r));
        KS_TRY(ks_gemm(ctx, sg.n_mat, 0, 0, n, n, n, 1.0, ks_mats_dense(r, n, n), ks_seg_pool(&sg, sg.ts->S_half), 0.0,
                       g));
        if (F_bar) {
            KS_TRY(ks_gemm(ctx, sg.n_mat, 0, 0, n, n, n, 1.0, ks_mats_dense(g, n, n), ks_mats_dense(P + off, n, n), 0.0,
                           r));
            KS_TRY(ks_sym(ctx, sg.n_mat, n, 0.5, 1.0, r, 1, F_bar + off));
        }
        if (P_bar) {
            KS_TRY(ks_gemm(ctx, sg.n_mat, 0, 0, n, n, n, 1.0, ks_mats_dense(F + off, n, n), ks_mats_dense(g, n, n), 0.0,
                           r));
            KS_TRY(ks_sym(ctx, sg.n_mat, n, 0.5, 1.0, r, 1, P_bar + off));
        }
        ks_arena_release(scratch, mark);
    }
done:
    ks_arena_release(scratch, mark);
    return st;
}
