/* guess.c -- the minao guess density (PySCF's: ANO functions with fixed atomic occupations, projected on the basis). */
#include "scf/scf_impl.h"

/* C2 = S^-1 S12, D = C2 diag(occ) C2^T. No renormalisation: D is not idempotent. */
ks_status ks_guess_minao(ks_ctx *ctx, const ks_tensors *ts, int64_t n_frame, const double *S, const double *S12,
                         double *P0) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const int64_t       n = ts->sys->n_ao, m = ts->sys->guess.n_ao;
    const ks_mats       occ = {ts->guess_occ, m, 0, NULL, 1, 0};
    double             *c2 = NULL, *c2n = NULL;
    KS_TRY(KS_TAKE(scratch, c2, n_frame * n * m));
    KS_TRY(KS_TAKE(scratch, c2n, n_frame * n * m));
    KS_TRY(ks_chol_solve(ctx, n_frame, n, m, S, S12, c2));
    KS_TRY(ks_gemm(ctx, n_frame, 0, 0, n, m, m, 1.0, ks_mats_dense(c2, n, m), occ, 0.0, c2n));
    KS_TRY(ks_gemm(ctx, n_frame, 0, 1, n, n, m, 1.0, ks_mats_dense(c2n, n, m), ks_mats_dense(c2, n, m), 0.0, P0));
done:
    ks_arena_release(scratch, mark);
    return st;
}
