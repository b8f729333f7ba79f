/* optim.c -- schedule, global norm and AdamW step over the parameter registry; see optim.h. */
#include "ksgrad/optim.h"
#include <math.h>

double ks_optim_lr(const ks_optim_options *opt, int64_t step) {
    if (step < opt->warmup) return opt->lr * (double)step / (double)opt->warmup;
    if (step >= opt->steps) return opt->lr_min;
    const double x = (double)(step - opt->warmup) / (double)(opt->steps - opt->warmup);
    return opt->lr_min + 0.5 * (opt->lr - opt->lr_min) * (1.0 + cos(3.14159265358979323846 * x));
}

ks_status ks_grad_norm(ks_ctx *ctx, ks_params *params, double *norm) {
    ks_status st  = KS_OK;
    double    sum = 0;
    KS_CHECK(params && norm, KS_ERR_ARG, "gradient norm: NULL argument");
    KS_TRY(
        ks_sum_squares(ctx, ks_params_precision(params), ks_params_total(params), ks_params_flat(params, 'g'), &sum));
    *norm = sqrt(sum);
done:
    return st;
}

ks_status ks_adamw_step(ks_ctx *ctx, ks_params *params, const ks_optim_options *opt, int64_t step, double grad_norm) {
    ks_status        st   = KS_OK;
    ks_adamw_scalars c    = {0};
    size_t           elem = 0;
    KS_CHECK(ctx && params && opt && step >= 1, KS_ERR_ARG, "adamw: step=%lld (limit >= 1) or a NULL argument",
             (long long)step);
    KS_CHECK(isfinite(grad_norm), KS_ERR_NUMERIC, "gradient norm is %g at step %lld", grad_norm, (long long)step);
    KS_CHECK(opt->beta1 >= 0 && opt->beta1 < 1 && opt->beta2 >= 0 && opt->beta2 < 1 && opt->eps >= 1e-30, KS_ERR_ARG,
             "adamw: beta1=%g, beta2=%g (limit [0, 1)), eps=%g (limit >= 1e-30)", opt->beta1, opt->beta2, opt->eps);
    elem         = ks_params_elem_bytes(params);
    c.lr         = ks_optim_lr(opt, step);
    c.beta1      = opt->beta1;
    c.beta2      = opt->beta2;
    c.eps        = opt->eps;
    c.grad_scale = opt->clip > 0 && grad_norm > opt->clip ? opt->clip / grad_norm : 1.0;
    c.unbias1    = 1.0 / (1.0 - pow(opt->beta1, (double)step));
    c.unbias2    = 1.0 / (1.0 - pow(opt->beta2, (double)step));
    /* Neighbours with the same decay flag are one range; the padding between them has zero gradient and stays zero. */
    for (int64_t k = 0, next; k < ks_params_count(params); k = next) {
        const ks_param *first = ks_params_get(params, k);
        for (next = k + 1; next < ks_params_count(params); next++)
            if (ks_params_get(params, next)->decay != first->decay) break;
        const int64_t end =
            next < ks_params_count(params) ? ks_params_get(params, next)->offset : ks_params_total(params);
        const size_t at = (size_t)first->offset * elem;
        c.weight_decay  = first->decay ? opt->weight_decay : 0.0;
        KS_TRY(ks_adamw_update(ctx, ks_params_precision(params), end - first->offset, &c,
                               (char *)ks_params_flat(params, 'g') + at, (char *)ks_params_flat(params, 'p') + at,
                               (char *)ks_params_flat(params, 'm') + at, (char *)ks_params_flat(params, 'v') + at));
    }
done:
    return st;
}
