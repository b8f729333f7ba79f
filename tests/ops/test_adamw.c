/* test_adamw.c -- sum of squares and AdamW update against the formulas written out in fp64; the step's clip, decay
 * flags and refusals. These ops have no adjoint: checks 2 to 5 of the nine do not apply. */
#include <string.h>
#include "ks_test.h"

static double rnd(uint32_t stream, int64_t i) { return ks_rng_normal(5, KS_STREAM_TEST, stream, (uint64_t)i); }

static void test_update(ks_ctx *ctx, ks_precision prec, int64_t n) {
    const ks_adamw_scalars c   = {.lr           = 1e-2,
                                  .beta1        = 0.9,
                                  .beta2        = 0.95,
                                  .eps          = 1e-12,
                                  .weight_decay = 0.1,
                                  .grad_scale   = 0.5,
                                  .unbias1      = 1 / (1 - 0.729),
                                  .unbias2      = 1 / (1 - 0.857375)};
    const int64_t          pad = 64, len = n + 2 * pad; /* sentinels on both sides */
    double                *x[4] = {0}, *ref = NULL;     /* g, p, m, v */
    float                 *f[4] = {0};
    double                 sum = 0, ref_sum = 0;
    void                  *arg[4];
    for (int k = 0; k < 4; k++) {
        T_OK(KS_NEW(x[k], len));
        T_OK(KS_NEW(f[k], len));
        for (int64_t i = 0; i < len; i++) {
            const int inside = i >= pad && i < pad + n;
            x[k][i]          = inside ? rnd(10 + (uint32_t)k, i) : 77.0;
            if (k == 3 && inside) x[k][i] *= x[k][i];
            f[k][i] = (float)x[k][i];
            if (prec == KS_FP32) x[k][i] = (double)f[k][i]; /* the reference starts from the same numbers */
        }
        arg[k] = prec == KS_FP64 ? (void *)(x[k] + pad) : (void *)(f[k] + pad);
    }
    T_OK(KS_NEW(ref, n));
    for (int64_t i = 0; i < n; i++) {
        const double g = 0.5 * x[0][pad + i], m = 0.9 * x[2][pad + i] + 0.1 * g,
                     v = 0.95 * x[3][pad + i] + 0.05 * g * g;
        ref[i]         = x[1][pad + i] - 1e-2 * (m * c.unbias1 / (sqrt(v * c.unbias2) + 1e-12) + 0.1 * x[1][pad + i]);
        ref_sum += x[0][pad + i] * x[0][pad + i];
    }
    T_OK(ks_sum_squares(ctx, prec, n, arg[0], &sum));
    T_CLOSE(sum, ref_sum, 0, 4 * 2.2e-16 * sqrt((double)n + 1)); /* the same fp64 terms in another order */
    T_OK(ks_adamw_update(ctx, prec, n, &c, arg[0], arg[1], arg[2], arg[3]));
    int64_t bad = 0;
    /* A handful of roundings; the quotient u1 m / sqrt(u2 v) can be 1e3, times lr: 16 eps of max(|p|, 10). */
    for (int64_t i = 0; i < n; i++) {
        const double got = prec == KS_FP64 ? x[1][pad + i] : (double)f[1][pad + i];
        bad += !(fabs(got - ref[i]) <= 16 * (prec == KS_FP64 ? 2.2e-16 : 1.2e-7) * fmax(10.0, fabs(ref[i])));
    }
    T_CHECK(bad == 0, "n=%lld: %lld parameters differ", (long long)n, (long long)bad);
    for (int k = 0; k < 4; k++)
        for (int64_t i = 0; i < pad; i++) {
            bad += prec == KS_FP64 && (x[k][i] != 77.0 || x[k][pad + n + i] != 77.0);
            bad += prec == KS_FP32 && (f[k][i] != 77.0f || f[k][pad + n + i] != 77.0f);
        }
    T_CHECK(bad == 0, "n=%lld: %lld sentinels touched", (long long)n, (long long)bad);
    for (int k = 0; k < 4; k++) {
        KS_FREE(x[k]);
        KS_FREE(f[k]);
    }
    KS_FREE(ref);
}

static void test_step(ks_ctx *ctx) {
    ks_params       *params   = NULL;
    const int64_t    shape[1] = {3};
    int64_t          w = 0, b = 0;
    ks_optim_options o    = {.lr           = 0.1,
                             .lr_min       = 0.1,
                             .beta1        = 0.9,
                             .beta2        = 0.95,
                             .eps          = 1e-12,
                             .weight_decay = 0.5,
                             .clip         = 1.0,
                             .steps        = 100};
    double           norm = 0;
    T_OK(ks_params_create(ctx, KS_FP64, &params));
    T_OK(ks_params_add(params, "w", 1, shape, KS_INIT_ONE, 0, 1, &w));
    T_OK(ks_params_add(params, "b", 1, shape, KS_INIT_ONE, 0, 0, &b));
    T_OK(ks_params_finish(params, 1));
    double *gw = ks_params_grad(params, w), *gb = ks_params_grad(params, b), *pw = ks_params_data(params, w),
           *pb = ks_params_data(params, b);
    gw[0]      = 3.0;
    gb[2]      = -4.0;
    T_OK(ks_grad_norm(ctx, params, &norm));
    T_CLOSE(norm, 5.0, 1e-15, 0);
    T_OK(ks_adamw_step(ctx, params, &o, 1, norm));
    /* First step: m / sqrt(v) unbiased is the sign of the gradient; decay only on w; moments hold the clipped gradient.
     */
    T_CLOSE(pw[0], 1 - 0.1 * (1 + 0.5), 1e-12, 0);
    T_CLOSE(pw[1], 1 - 0.1 * 0.5, 1e-15, 0);
    T_CLOSE(pb[2], 1 + 0.1, 1e-12, 0);
    T_CLOSE(pb[0], 1.0, 0, 0);
    T_CLOSE(((double *)ks_params_flat(params, 'm'))[0], 0.1 * 3.0 / 5.0, 1e-16, 0);
    T_ERR(ks_adamw_step(ctx, params, &o, 2, NAN), KS_ERR_NUMERIC);
    T_ERR(ks_adamw_step(ctx, params, &o, 2, INFINITY), KS_ERR_NUMERIC);
    T_ERR(ks_adamw_step(ctx, params, &o, 0, 1.0), KS_ERR_ARG);
    o.eps = 0; /* 0/0 where a gradient is zero */
    T_ERR(ks_adamw_step(ctx, params, &o, 2, 1.0), KS_ERR_ARG);
    T_CLOSE(pw[1], 1 - 0.1 * 0.5, 1e-15, 0); /* refused steps change nothing */
    ks_params_destroy(&params);
}

int main(int argc, char **argv) {
    ks_ctx              *ctx     = NULL;
    const ks_ctx_options opt     = {argc > 1 ? argv[1] : "cpu", 2};
    const int64_t        sizes[] = {0, 1, 31, 32, 33, 257, 50001};
    double               sum;
    T_OK(ks_ctx_create(&opt, &ctx));
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        test_update(ctx, KS_FP32, sizes[k]);
        test_update(ctx, KS_FP64, sizes[k]);
    }
    test_step(ctx);
    T_ERR(ks_sum_squares(ctx, KS_FP32, -1, NULL, &sum), KS_ERR_ARG);
    T_ERR(ks_sum_squares(ctx, KS_FP32, 1, NULL, &sum), KS_ERR_ARG);
    ks_ctx_destroy(&ctx);
    return t_done("adamw", 100);
}
