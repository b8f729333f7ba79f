/* density.c -- the aufbau density of a Fock matrix as an op pair: F C = S C e, P = 2 C_occ C_occ^T. */
#include "scf/scf_impl.h"

ks_status ks_density_frames(ks_ctx *ctx, const ks_seg *sg, const double *F, double *C, double *eps, double *P) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const int64_t       n = sg->n, len = sg->n_mat * n * n;
    const ks_mats       x   = ks_seg_pool(sg, sg->ts->X);
    const ks_occ        occ = ks_seg_occ(sg);
    double             *Fo = NULL, *V = NULL;
    KS_TRY(KS_TAKE(scratch, Fo, len));
    KS_TRY(KS_TAKE(scratch, V, len));
    KS_TRY(ks_sandwich(ctx, sg->n_mat, n, 0, x, ks_mats_dense(F, n, n), Fo, V));
    KS_TRY(ks_eigh(ctx, sg->n_mat, n, Fo, eps, V));
    KS_TRY(ks_gemm(ctx, sg->n_mat, 0, 0, n, n, n, 1.0, x, ks_mats_dense(V, n, n), 0.0, C));
    if (P) KS_TRY(ks_occ_density(ctx, sg->n_mat, n, ks_method_occ(&sg->ts->method), &occ, C, P));
done:
    ks_arena_release(scratch, mark);
    return st;
}

ks_status ks_density_fwd(ks_ctx *ctx, const ks_batch *batch, const double *F, double *C, double *eps, double *P) {
    ks_status st = KS_OK;
    KS_CHECK(ctx && batch && F && C && eps, KS_ERR_ARG, "density: NULL argument");
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_seg  sg  = ks_seg_of(batch, s);
        const int64_t off = ks_batch_mat_offset(batch, s);
        KS_TRY(ks_branch(ctx, s));
        KS_TRY(ks_density_frames(ctx, &sg, F + off, C + off, eps + ks_batch_vec_offset(batch, s), P ? P + off : NULL));
    }
done:
    return ctx ? ks_joined(ctx, st) : st;
}

/* First order: dC_i = sum_a c_a (c_a^T dF c_i)/(e_i - e_a) over the virtuals (mixing among the occupied leaves P as
 * it is), so dP = 2 sum_ia (c_a c_i^T + c_i c_a^T) (c_a^T dF c_i)/(e_i - e_a) and, with G = C^T sym(P_bar) C,
 * <P_bar, dP> = <C Y C^T, dF>,  Y_ia = Y_ai = 2 G_ia/(e_i - e_a), all other blocks zero. Only differences across the
 * gap appear: degenerate occupied or virtual orbitals do no harm. */
static ks_status density_adj_frames(ks_ctx *ctx, const ks_seg *sg, const double *C, const double *eps,
                                    const double *P_bar, const double *mask, double *F_bar) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const int64_t       n = sg->n, len = sg->n_mat * n * n;
    const ks_mats       c   = ks_mats_dense(C, n, n); /* its leading columns are the occupied orbitals */
    const ks_occ        occ = ks_seg_occ(sg);
    const int64_t       r   = occ.max; /* rows: the largest number of occupied orbitals */
    double             *sym = NULL, *half = NULL, *y = NULL;
    KS_TRY(KS_TAKE(scratch, sym, len));
    KS_TRY(KS_TAKE(scratch, half, sg->n_mat * r * n));
    KS_TRY(KS_TAKE(scratch, y, sg->n_mat * r * n));
    KS_TRY(ks_sym(ctx, sg->n_mat, n, 0.5, 1.0, P_bar, 0, sym));
    KS_TRY(ks_gemm(ctx, sg->n_mat, 1, 0, r, n, n, 1.0, c, ks_mats_dense(sym, n, n), 0.0, half));
    KS_TRY(ks_gemm(ctx, sg->n_mat, 0, 0, r, n, n, 1.0, ks_mats_dense(half, r, n), c, 0.0, y));
    KS_TRY(ks_occ_virt(ctx, sg->n_mat, n, ks_method_occ(&sg->ts->method), &occ, eps, mask, y, y));
    KS_TRY(ks_gemm(ctx, sg->n_mat, 0, 1, r, n, n, 1.0, ks_mats_dense(y, r, n), c, 0.0, half));
    KS_TRY(ks_gemm(ctx, sg->n_mat, 0, 0, n, n, r, 1.0, c, ks_mats_dense(half, r, n), 0.0, sym));
    KS_TRY(ks_sym(ctx, sg->n_mat, n, 1.0, 1.0, sym, 1, F_bar));
done:
    ks_arena_release(scratch, mark);
    return st;
}

ks_status ks_density_adj(ks_ctx *ctx, const ks_batch *batch, const double *C, const double *eps, const double *P_bar,
                         const double *mask, double *F_bar) {
    ks_status st = KS_OK;
    KS_CHECK(ctx && batch && C && eps && P_bar && F_bar, KS_ERR_ARG, "density adjoint: NULL argument");
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_seg  sg  = ks_seg_of(batch, s);
        const int64_t off = ks_batch_mat_offset(batch, s);
        KS_TRY(ks_branch(ctx, s));
        KS_TRY(density_adj_frames(ctx, &sg, C + off, eps + ks_batch_vec_offset(batch, s), P_bar + off,
                                  mask ? mask + ks_batch_frame_offset(batch, s) : NULL, F_bar + off));
    }
done:
    return ctx ? ks_joined(ctx, st) : st;
}
