/* optim.h -- AdamW (arXiv 1711.05101) with global-norm clip, warm-up and cosine schedule. */
#ifndef KS_OPTIM_H
#define KS_OPTIM_H
#include "ksgrad/params.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ks_optim_options {
    double  lr, lr_min, beta1, beta2, eps, weight_decay, clip; /* clip 0: off */
    int64_t warmup, steps;
} ks_optim_options;

/* Learning rate of step 1, 2, ...: linear to lr over `warmup` steps, then cosine to lr_min at `steps`, then constant.
 */
double ks_optim_lr(const ks_optim_options *opt, int64_t step);
/* Global 2-norm of the gradient (fp64, fixed order). Padding is zero and does not count. */
KS_NODISCARD ks_status ks_grad_norm(ks_ctx *ctx, ks_params *params, double *norm);
/* One AdamW step (step >= 1) with the gradient scaled by min(1, clip/norm). A non-finite norm is KS_ERR_NUMERIC
 * and changes nothing. */
KS_NODISCARD ks_status ks_adamw_step(ks_ctx *ctx, ks_params *params, const ks_optim_options *opt, int64_t step,
                                     double grad_norm);

/* The two array ops below them; x, p, g, m, v: (n) in `precision`, backend memory; *sum is host memory. */
/* *sum = sum_i x[i]^2 in fp64: partial sums over blocks of 16384 elements, added in order. */
KS_NODISCARD ks_status ks_sum_squares(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, double *sum);

typedef struct ks_adamw_scalars {
    double lr, beta1, beta2, eps, weight_decay;
    double grad_scale;       /* clip factor */
    double unbias1, unbias2; /* 1 / (1 - beta^step) */
} ks_adamw_scalars;
/* g' = grad_scale g;  m = beta1 m + (1 - beta1) g';  v = beta2 v + (1 - beta2) g'^2;
 * p -= lr (unbias1 m / (sqrt(unbias2 v) + eps) + weight_decay p). Elementwise, in `precision`. */
KS_NODISCARD ks_status ks_adamw_update(ks_ctx *ctx, ks_precision precision, int64_t n, const ks_adamw_scalars *c,
                                       const void *g, void *p, void *m, void *v);

#ifdef __cplusplus
}
#endif
#endif
