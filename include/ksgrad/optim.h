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

/* What an update needs besides the gradient: KS_STEP_N doubles in backend memory. LR, UNBIAS1 = 1 / (1 - beta1^step)
 * and UNBIAS2 come from the host before the step (ks_optim_upload); NORM, SCALE and OK are made by ks_clip. */
enum { KS_STEP_LR, KS_STEP_UNBIAS1, KS_STEP_UNBIAS2, KS_STEP_NORM, KS_STEP_SCALE, KS_STEP_OK, KS_STEP_N };
KS_NODISCARD ks_status ks_optim_upload(ks_ctx *ctx, const ks_optim_options *opt, int64_t step, double *state);

/* The gradient of a sum over n_frame frames with weight 1 / n_frame each, of which n_counted[0] (backend memory; NULL:
 * all) contributed, made their mean and clipped:
 *   s = n_frame / n_counted,  NORM = s sqrt(sum_squares[0]),  SCALE = s min(1, clip / NORM)  (clip 0: s)
 * OK = 1 when NORM is finite and at least half of the frames counted, else 0: the step then changes nothing. */
KS_NODISCARD ks_status ks_clip(ks_ctx *ctx, double clip, double n_frame, const double *sum_squares,
                               const double *n_counted, double *state);

/* One AdamW step over the registry with the gradient scaled by state[SCALE]: global norm, clip, update. sum_squares:
 * one double of backend memory for the sum. */
KS_NODISCARD ks_status ks_adamw_step(ks_ctx *ctx, ks_params *params, const ks_optim_options *opt, double n_frame,
                                     const double *n_counted, double *sum_squares, double *state);

/* Its update for elements lo .. hi-1 of the flat arrays: m, v (hi - lo) are their moments. */
KS_NODISCARD ks_status ks_adamw_range(ks_ctx *ctx, ks_params *params, const ks_optim_options *opt, const double *state,
                                      int64_t lo, int64_t hi, void *m, void *v);

/* Global 2-norm of the gradient on the host: waits, so not for the step loop. */
KS_NODISCARD ks_status ks_grad_norm(ks_ctx *ctx, ks_params *params, double *norm);

/* The array ops below it; x, p, g, m, v: (n) in `precision`. */
/* sum[0] = sum_i x[i]^2 in fp64: partial sums over blocks of 16384 elements, added in one order (another one on each
 * backend). */
KS_NODISCARD ks_status ks_sum_squares(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, double *sum);

typedef struct ks_adamw_scalars {
    double beta1, beta2, eps, weight_decay;
} ks_adamw_scalars;
/* Nothing when state[OK] is 0, else g' = SCALE g;  m = beta1 m + (1 - beta1) g';  v = beta2 v + (1 - beta2) g'^2;
 * p -= LR (UNBIAS1 m / (sqrt(UNBIAS2 v) + eps) + weight_decay p). Elementwise, in `precision`. */
KS_NODISCARD ks_status ks_adamw_update(ks_ctx *ctx, ks_precision precision, int64_t n, const ks_adamw_scalars *c,
                                       const double *state, const void *g, void *p, void *m, void *v);

/* y[i] = x[i] rounded to the nearest bfloat16 (src/pointwise/bf16.h), fp64 through float; and back, exactly. x (n) in
 * `precision`, y (n). NaN stays NaN. Elementwise; x and y must not overlap. */
KS_NODISCARD ks_status ks_pack_bf16(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, uint16_t *y);
KS_NODISCARD ks_status ks_unpack_bf16(ks_ctx *ctx, ks_precision precision, int64_t n, const uint16_t *y, void *x);

#ifdef __cplusplus
}
#endif
#endif
