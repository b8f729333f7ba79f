/* density.c -- the aufbau density of a Fock matrix as an op pair: F C = S C e, P = 2 C_occ C_occ^T. */
#include "scf/scf_impl.h"

ks_status ks_density_frames(ks_ctx *ctx, const ks_seg *sg, const double *F, double *C, double *eps, double *P) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const int64_t       n = sg->n, len = sg->n_mat * n * n;
    const ks_mats       x  = ks_seg_pool(sg, sg->ts->X);
    double             *Fo = NULL, *V = NULL;
    int32_t            *n_occ = NULL;
    int64_t             n_max = 0;
    KS_TRY(ks_seg_n_occ(ctx, sg, &n_occ, &n_max));
    KS_TRY(KS_TAKE(scratch, Fo, len));
    KS_TRY(KS_TAKE(scratch, V, len));
    KS_TRY(ks_sandwich(ctx, sg->n_mat, n, 0, x, ks_mats_dense(F, n, n), Fo, V));
    KS_TRY(ks_eigh(ctx, sg->n_mat, n, Fo, eps, V));
    KS_TRY(ks_gemm(ctx, sg->n_mat, 0, 0, n, n, n, 1.0, x, ks_mats_dense(V, n, n), 0.0, C));
    if (P) KS_TRY(ks_occ_density(ctx, sg->n_mat, n, ks_method_occ(&sg->ts->method), n_occ, C, P));
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
        KS_TRY(ks_density_frames(ctx, &sg, F + off, C + off, eps + ks_batch_vec_offset(batch, s), P ? P + off : NULL));
    }
done:
    return st;
}

/* First order: dC_i = sum_a c_a (c_a^T dF c_i)/(e_i - e_a) over the virtuals (mixing among the occupied leaves P as
 * it is), so dP = 2 sum_ia (c_a c_i^T + c_i c_a^T) (c_a^T dF c_i)/(e_i - e_a) and, with G = C^T sym(P_bar) C,
 * <P_bar, dP> = <C Y C^T, dF>,  Y_ia = Y_ai = 2 G_ia/(e_i - e_a), all other blocks zero. Only differences across the
 * gap appear: degenerate occupied or virtual orbitals do no harm. */
static ks_status density_adj_frames(ks_ctx *ctx, const ks_seg *sg, const double *C, const double *eps,
                                    const double *P_bar, const uint8_t *mask, double *F_bar) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const int64_t       n = sg->n, len = sg->n_mat * n * n, n_spin = sg->ts->method.n_spin;
    const ks_mats       c     = ks_mats_dense(C, n, n); /* its leading columns are the occupied orbitals */
    int32_t            *n_occ = NULL;
    int64_t             r     = 0; /* rows: the largest number of occupied orbitals */
    double             *sym = NULL, *half = NULL, *y = NULL;
    uint8_t            *mat_mask = NULL;
    KS_TRY(ks_seg_n_occ(ctx, sg, &n_occ, &r));
    if (mask) {
        KS_TRY(KS_TAKE(scratch, mat_mask, sg->n_mat));
        for (int64_t b = 0; b < sg->n_mat; b++) mat_mask[b] = mask[b / n_spin];
    }
    KS_TRY(KS_TAKE(scratch, sym, len));
    KS_TRY(KS_TAKE(scratch, half, sg->n_mat * r * n));
    KS_TRY(KS_TAKE(scratch, y, sg->n_mat * r * n));
    KS_TRY(ks_sym(ctx, sg->n_mat, n, 0.5, 1.0, P_bar, 0, sym));
    KS_TRY(ks_gemm(ctx, sg->n_mat, 1, 0, r, n, n, 1.0, c, ks_mats_dense(sym, n, n), 0.0, half));
    KS_TRY(ks_gemm(ctx, sg->n_mat, 0, 0, r, n, n, 1.0, ks_mats_dense(half, r, n), c, 0.0, y));
    KS_TRY(ks_occ_virt(ctx, sg->n_mat, r, n, ks_method_occ(&sg->ts->method), n_occ, eps, mat_mask, y, y));
    KS_TRY(ks_gemm(ctx, sg->n_mat, 0, 1, r, n, n, 1.0, ks_mats_dense(y, r, n), c, 0.0, half));
    KS_TRY(ks_gemm(ctx, sg->n_mat, 0, 0, n, n, r, 1.0, c, ks_mats_dense(half, r, n), 0.0, sym));
    KS_TRY(ks_sym(ctx, sg->n_mat, n, 1.0, 1.0, sym, 1, F_bar));
done:
    ks_arena_release(scratch, mark);
    return st;
}

ks_status ks_density_adj(ks_ctx *ctx, const ks_batch *batch, const double *C, const double *eps, const double *P_bar,
                         const uint8_t *mask, double *F_bar) {
    ks_status st = KS_OK;
    KS_CHECK(ctx && batch && C && eps && P_bar && F_bar, KS_ERR_ARG, "density adjoint: NULL argument");
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_seg  sg  = ks_seg_of(batch, s);
        const int64_t off = ks_batch_mat_offset(batch, s);
        KS_TRY(density_adj_frames(ctx, &sg, C + off, eps + ks_batch_vec_offset(batch, s), P_bar + off,
                                  mask ? mask + ks_batch_frame_offset(batch, s) : NULL, F_bar + off));
    }
done:
    return st;
}
