/* fock.c -- the Fock build as an op pair.
 *
 *   F[P] = Hcore + J[P] - (a/2) K[P] + Vxc[P]
 *   E[P] = E_nuc + <P, Hcore> + 1/2 <P, J - (a/2) K> + Exc[P],   dE/dP = F[P]
 *
 * J and K come from one pass over the integrals, Exc and Vxc from one pass over the grid. */
#include "scf/scf_impl.h"

/* JK = J[D] - (a/2) K[D]; pure functionals skip K. */
static ks_status jk_part(ks_ctx *ctx, const ks_seg *sg, const double *D, double *JK) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const double        a       = sg->ts->method.xc->hybrid;
    const int64_t       n_spin = sg->ts->method.n_spin, nn = sg->n * sg->n;
    double             *K = NULL;
    if (a != 0.0) KS_TRY(KS_TAKE(scratch, K, sg->n_mat * nn));
    KS_TRY(ks_jk(ctx, sg->ts->eri, sg->n_frame, sg->slot, n_spin, D, JK, K));
    if (K) {
        const ks_term k = {ks_vec_dense(K, nn), -0.5 * a, NULL, 0};
        KS_TRY(ks_combine(ctx, sg->n_mat, nn, 1, &k, 1, JK));
    }
done:
    ks_arena_release(scratch, mark);
    return st;
}

/* exc, n_elec (n_frame) and Vxc, by the occupied columns of C when they are there, else by P. */
static ks_status vxc_part(ks_ctx *ctx, const ks_seg *sg, const double *P, const double *C, double *exc, double *n_elec,
                          double *Vxc) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const ks_method    *method  = &sg->ts->method;
    const ks_occ        occ     = ks_seg_occ(sg);
    double             *C_occ   = NULL;
    if (method->xc->family == KS_XC_NONE) {
        KS_TRY(ks_mem_zero(ctx, Vxc, (size_t)(sg->n_mat * sg->n * sg->n) * sizeof *Vxc));
        if (exc) KS_TRY(ks_mem_zero(ctx, exc, (size_t)sg->n_frame * sizeof *exc));
        if (n_elec) KS_TRY(ks_mem_zero(ctx, n_elec, (size_t)sg->n_frame * sizeof *n_elec));
        goto done;
    }
    if (C) {
        KS_TRY(KS_TAKE(scratch, C_occ, sg->n_mat * sg->n * occ.max));
        const ks_term rows = {{C, sg->n, sg->n, NULL, 1, 0}, 1.0, NULL, 0};
        KS_TRY(ks_combine(ctx, sg->n_mat * sg->n, occ.max, 1, &rows, 0, C_occ));
    }
    KS_TRY(ks_vxc_fwd(ctx, sg->ts->grid, method->xc, sg->n_frame, sg->slot, P, C_occ, &occ, exc, n_elec, Vxc));
done:
    ks_arena_release(scratch, mark);
    return st;
}

ks_status ks_fock_parts(ks_ctx *ctx, const ks_seg *sg, const double *P, const double *C, double *JK, double *Vxc,
                        double *F, double *E, double *n_elec) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const int64_t       n_spin = sg->ts->method.n_spin, nn = sg->n * sg->n, len = n_spin * nn;
    double             *exc = NULL, *hp = NULL;
    KS_TRY(jk_part(ctx, sg, P, JK));
    KS_TRY(KS_TAKE(scratch, exc, sg->n_frame));
    KS_TRY(vxc_part(ctx, sg, P, C, exc, n_elec, Vxc));
    if (E) {
        const ks_term scalar[2] = {{ks_vec_pool(sg, sg->ts->e_nuc, 1), 1.0, NULL, 0},
                                   {ks_vec_dense(exc, 1), 1.0, NULL, 0}};
        KS_TRY(KS_TAKE(scratch, hp, sg->n_mat));
        KS_TRY(ks_combine(ctx, sg->n_frame, 1, 2, scalar, 0, E));
        KS_TRY(
            ks_dot(ctx, sg->n_mat, nn, 1.0, ks_mats_dense(P, sg->n, sg->n), ks_seg_pool(sg, sg->ts->hcore), 0, hp, 1));
        for (int64_t s = 0; s < n_spin; s++) {
            const ks_term h = {{hp + s, 1, n_spin, NULL, 1, 0}, 1.0, NULL, 0};
            KS_TRY(ks_combine(ctx, sg->n_frame, 1, 1, &h, 1, E));
        }
        KS_TRY(ks_dot(ctx, sg->n_frame, len, 0.5, ks_vec_dense(P, len), ks_vec_dense(JK, len), 1, E, 1));
    }
    if (F) {
        const ks_term sum[3] = {{ks_seg_pool(sg, sg->ts->hcore), 1.0, NULL, 0},
                                {ks_vec_dense(JK, nn), 1.0, NULL, 0},
                                {ks_vec_dense(Vxc, nn), 1.0, NULL, 0}};
        KS_TRY(ks_combine(ctx, sg->n_mat, nn, 3, sum, 0, F));
    }
done:
    ks_arena_release(scratch, mark);
    return st;
}

static ks_status fock_segment(ks_ctx *ctx, const ks_seg *sg, const double *P, const double *C, double *F, double *E) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    double             *Vxc     = NULL;
    KS_TRY(KS_TAKE(scratch, Vxc, sg->n_mat * sg->n * sg->n));
    KS_TRY(ks_fock_parts(ctx, sg, P, C, F, Vxc, F, E, NULL));
done:
    ks_arena_release(scratch, mark);
    return st;
}

ks_status ks_fock_fwd(ks_ctx *ctx, const ks_batch *batch, const double *P, const double *C, double *F, double *E) {
    ks_status st = KS_OK;
    KS_CHECK(ctx && batch && P && F, KS_ERR_ARG, "fock: NULL argument");
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_seg  sg  = ks_seg_of(batch, s);
        const int64_t off = ks_batch_mat_offset(batch, s);
        KS_TRY(ks_branch(ctx, s));
        KS_TRY(fock_segment(ctx, &sg, P + off, C ? C + off : NULL, F + off,
                            E ? E + ks_batch_frame_offset(batch, s) : NULL));
    }
done:
    return ctx ? ks_joined(ctx, st) : st;
}

/* F is linear in P through J and K, whose matrices are symmetric, and through Vxc = dExc/dP, whose Jacobian is the
 * Hessian of Exc; for a symmetric cotangent M = (F_bar + F_bar^T)/2 therefore  P_bar += J[M] - (a/2) K[M] +
 * Kxc[P](M). */
static ks_status fock_adj_segment(ks_ctx *ctx, const ks_seg *sg, const double *P, const double *F_bar, double *P_bar) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const ks_method    *method  = &sg->ts->method;
    const int64_t       nn      = sg->n * sg->n;
    double             *M = NULL, *JK = NULL;
    KS_TRY(KS_TAKE(scratch, M, sg->n_mat * nn));
    KS_TRY(KS_TAKE(scratch, JK, sg->n_mat * nn));
    KS_TRY(ks_sym(ctx, sg->n_mat, sg->n, 0.5, 1.0, F_bar, 0, M));
    KS_TRY(jk_part(ctx, sg, M, JK));
    const ks_term jk = {ks_vec_dense(JK, nn), 1.0, NULL, 0};
    KS_TRY(ks_combine(ctx, sg->n_mat, nn, 1, &jk, 1, P_bar));
    if (method->xc->family != KS_XC_NONE)
        KS_TRY(ks_vxc_adj(ctx, sg->ts->grid, method->xc, sg->n_frame, sg->slot, P, M, P_bar));
done:
    ks_arena_release(scratch, mark);
    return st;
}

ks_status ks_fock_adj(ks_ctx *ctx, const ks_batch *batch, const double *P, const double *F_bar, double *P_bar) {
    ks_status st = KS_OK;
    KS_CHECK(ctx && batch && P && F_bar && P_bar, KS_ERR_ARG, "fock adjoint: NULL argument");
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_seg  sg  = ks_seg_of(batch, s);
        const int64_t off = ks_batch_mat_offset(batch, s);
        KS_TRY(ks_branch(ctx, s));
        KS_TRY(fock_adj_segment(ctx, &sg, P + off, F_bar + off, P_bar + off));
    }
done:
    return ctx ? ks_joined(ctx, st) : st;
}
