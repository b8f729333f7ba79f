/* linalg_mix.c -- CPU slots: least-squares mixing weights of a refinement (DIIS, Anderson) and their adjoint. The
 * formulas: src/pointwise/mix_point.h. */
#include "ops/linalg_ops.h"
#include "pointwise/mix_point.h"

ks_status ks_mix_fwd_cpu(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge, const double *gram,
                         double *w) {
    double factor[KS_MIX_MAX * KS_MIX_MAX];
    (void)ctx;
    for (int64_t f = 0; f < n_mat; f++) ks_mix_weights((int)k, ld, ridge, gram + f * ld * ld, factor, w + f * k);
    return KS_OK;
}

ks_status ks_mix_adj_cpu(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge, const double *gram,
                         const double *w, const double *w_bar, double *gram_bar) {
    double factor[KS_MIX_MAX * KS_MIX_MAX], z[KS_MIX_MAX];
    (void)ctx;
    for (int64_t f = 0; f < n_mat; f++)
        ks_mix_cotangent((int)k, ld, ridge, gram + f * ld * ld, w + f * k, w_bar + f * k, factor, z,
                         gram_bar + f * ld * ld);
    return KS_OK;
}
