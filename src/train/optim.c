/* optim.c -- schedule, global norm and AdamW step over the parameter registry; see optim.h. */
#include "ksgrad/optim.h"
#include <math.h>

double ks_optim_lr(const ks_optim_options *opt, int64_t step) {
    if (step < opt->warmup) return opt->lr * (double)step / (double)opt->warmup;
    if (step >= opt->steps) return opt->lr_min;
    const double x = (double)(step - opt->warmup) / (double)(opt->steps - opt->warmup);
    return opt->lr_min + 0.5 * (opt->lr - opt->lr_min) * (1.0 + cos(3.14159265358979323846 * x));
}

static ks_status grad_sum_squares(ks_ctx *ctx, ks_params *params, double *sum) {
    return ks_sum_squares(ctx, ks_params_precision(params), ks_params_total(params), ks_params_flat(params, 'g'), sum);
}

ks_status ks_grad_norm(ks_ctx *ctx, ks_params *params, double *norm) {
    ks_status           st    = KS_OK;
    ks_arena           *arena = ctx ? ks_ctx_scratch(ctx) : NULL;
    const ks_arena_mark mark  = ctx ? ks_arena_get_mark(arena) : (ks_arena_mark){0};
    double             *sum   = NULL;
    KS_CHECK(ctx && params && norm, KS_ERR_ARG, "gradient norm: NULL argument");
    KS_TRY(KS_TAKE(arena, sum, 1));
    KS_TRY(grad_sum_squares(ctx, params, sum));
    KS_TRY(ks_mem_to_host(ctx, norm, sum, sizeof *norm));
    *norm = sqrt(*norm);
done:
    if (ctx) ks_arena_release(arena, mark);
    return st;
}

ks_status ks_optim_upload(ks_ctx *ctx, const ks_optim_options *opt, int64_t step, double *state) {
    ks_status st = KS_OK;
    double    s[KS_STEP_N];
    KS_CHECK(ctx && opt && state && step >= 1, KS_ERR_ARG, "optimiser: step=%lld (limit >= 1) or a NULL argument",
             (long long)step);
    s[KS_STEP_LR]      = ks_optim_lr(opt, step);
    s[KS_STEP_UNBIAS1] = 1.0 / (1.0 - pow(opt->beta1, (double)step));
    s[KS_STEP_UNBIAS2] = 1.0 / (1.0 - pow(opt->beta2, (double)step));
    s[KS_STEP_NORM] = s[KS_STEP_SCALE] = s[KS_STEP_OK] = 0.0;
    KS_TRY(ks_mem_to_backend(ctx, state, s, sizeof s));
done:
    return st;
}

ks_status ks_adamw_range(ks_ctx *ctx, ks_params *params, const ks_optim_options *opt, const double *state, int64_t lo,
                         int64_t hi, void *m, void *v) {
    ks_status        st   = KS_OK;
    ks_adamw_scalars c    = {0};
    size_t           elem = 0;
    KS_CHECK(ctx && params && opt && state && 0 <= lo && lo <= hi && hi <= ks_params_total(params), KS_ERR_ARG,
             "adamw: elements %lld .. %lld, or a NULL argument", (long long)lo, (long long)hi);
    elem    = ks_params_elem_bytes(params);
    c.beta1 = opt->beta1, c.beta2 = opt->beta2, c.eps = opt->eps;
    /* Neighbours with the same decay flag are one range; the padding between them has zero gradient and stays zero. */
    for (int64_t k = 0, next; k < ks_params_count(params); k = next) {
        const ks_param *first = ks_params_get(params, k);
        for (next = k + 1; next < ks_params_count(params); next++)
            if (ks_params_get(params, next)->decay != first->decay) break;
        const int64_t stop =
            next < ks_params_count(params) ? ks_params_get(params, next)->offset : ks_params_total(params);
        const int64_t from = first->offset > lo ? first->offset : lo, to = stop < hi ? stop : hi;
        if (from >= to) continue;
        const size_t at = (size_t)from * elem, own = (size_t)(from - lo) * elem;
        c.weight_decay = first->decay ? opt->weight_decay : 0.0;
        KS_TRY(ks_adamw_update(ctx, ks_params_precision(params), to - from, &c, state,
                               (char *)ks_params_flat(params, 'g') + at, (char *)ks_params_flat(params, 'p') + at,
                               (char *)m + own, (char *)v + own));
    }
done:
    return st;
}

ks_status ks_adamw_step(ks_ctx *ctx, ks_params *params, const ks_optim_options *opt, double n_frame,
                        const double *n_counted, double *sum_squares, double *state) {
    ks_status st = KS_OK;
    KS_CHECK(ctx && params && opt && sum_squares && state, KS_ERR_ARG, "adamw: NULL argument");
    KS_CHECK(ks_params_n_moment(params) == ks_params_total(params), KS_ERR_ARG,
             "adamw: %lld of %lld moments are here, the others on other ranks", (long long)ks_params_n_moment(params),
             (long long)ks_params_total(params));
    KS_TRY(grad_sum_squares(ctx, params, sum_squares));
    KS_TRY(ks_clip(ctx, opt->clip, n_frame, sum_squares, n_counted, state));
    KS_TRY(ks_adamw_range(ctx, params, opt, state, 0, ks_params_total(params), ks_params_flat(params, 'm'),
                          ks_params_flat(params, 'v')));
done:
    return st;
}
