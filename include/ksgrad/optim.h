/* optim.h -- AdamW (DOI-less: arXiv 1711.05101) with global-norm clip, warm-up and cosine schedule. */
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

/* Learning rate of step 1, 2, ...: linear to lr over `warmup` steps, then cosine to lr_min at `steps`, then constant. */
double ks_optim_lr(const ks_optim_options *opt, int64_t step);
/* Global 2-norm of the gradient (fp64, fixed order). */
KS_NODISCARD ks_status ks_grad_norm(ks_ctx *ctx, ks_params *params, double *norm);
/* One AdamW step (step >= 1) with the gradient scaled by min(1, clip/norm). A non-finite norm is KS_ERR_NUMERIC. */
KS_NODISCARD ks_status ks_adamw_step(ks_ctx *ctx, ks_params *params, const ks_optim_options *opt, int64_t step, double grad_norm);

#ifdef __cplusplus
}
#endif
#endif
