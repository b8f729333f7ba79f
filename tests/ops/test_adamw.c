/* test_adamw.c -- sum of squares and AdamW update against the formulas written out in fp64; the step's clip, decay
 * flags and refusals. These ops have no adjoint: checks 2 to 5 of the nine do not apply. */
#include <string.h>
#include "ks_test.h"
#include "op_driver.h"

static double rnd(uint32_t stream, int64_t i) { return ks_rng_normal(5, KS_STREAM_TEST, stream, (uint64_t)i); }

static void test_update(ks_ctx *ctx, ks_precision prec, int64_t n) {
    const ks_adamw_scalars c = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-12, .weight_decay = 0.1};
    const double           u1 = 1 / (1 - 0.729), u2 = 1 / (1 - 0.857375);
    const double           h_state[KS_STEP_N] = {[KS_STEP_LR] = 1e-2,    [KS_STEP_UNBIAS1] = u1,
                                                 [KS_STEP_UNBIAS2] = u2, [KS_STEP_SCALE] = 0.5, [KS_STEP_OK] = 1};
    const int64_t          pad = 64, len = n + 2 * pad; /* sentinels on both sides */
    const size_t           elem = prec == KS_FP64 ? sizeof(double) : sizeof(float), bytes = (size_t)len * elem;
    double                *x[4] = {0}, *ref = NULL; /* g, p, m, v */
    float                 *f[4] = {0};
    double                 sum = 0, ref_sum = 0;
    char                  *mem[4] = {0};
    double                *state = NULL, *dev_sum = NULL;
    T_OK(ks_mem_alloc(ctx, sizeof h_state, (void **)&state));
    T_OK(ks_mem_alloc(ctx, sizeof(double), (void **)&dev_sum));
    T_OK(ks_mem_to_backend(ctx, state, h_state, sizeof h_state));
    for (int k = 0; k < 4; k++) {
        T_OK(KS_NEW(x[k], len));
        T_OK(KS_NEW(f[k], len));
        for (int64_t i = 0; i < len; i++) {
            const int inside = i >= pad && i < pad + n;
            x[k][i]          = inside ? rnd(10 + (uint32_t)k, i) : 77.0;
            if (k == 3 && inside) x[k][i] *= x[k][i];
            f[k][i] = (float)x[k][i];
            if (prec != KS_FP64) x[k][i] = (double)f[k][i]; /* the reference starts from the same numbers */
        }
        T_OK(ks_mem_alloc(ctx, bytes, (void **)&mem[k]));
        T_OK(ks_mem_to_backend(ctx, mem[k], prec == KS_FP64 ? (void *)x[k] : (void *)f[k], bytes));
    }
    char *const arg[4] = {mem[0] + (size_t)pad * elem, mem[1] + (size_t)pad * elem, mem[2] + (size_t)pad * elem,
                          mem[3] + (size_t)pad * elem};
    T_OK(KS_NEW(ref, n));
    for (int64_t i = 0; i < n; i++) {
        const double g = 0.5 * x[0][pad + i], m = 0.9 * x[2][pad + i] + 0.1 * g,
                     v = 0.95 * x[3][pad + i] + 0.05 * g * g;
        ref[i]         = x[1][pad + i] - 1e-2 * (m * u1 / (sqrt(v * u2) + 1e-12) + 0.1 * x[1][pad + i]);
        ref_sum += x[0][pad + i] * x[0][pad + i];
    }
    T_OK(ks_sum_squares(ctx, prec, n, arg[0], dev_sum));
    T_OK(ks_mem_to_host(ctx, &sum, dev_sum, sizeof sum));
    T_CLOSE(sum, ref_sum, 0, 4 * 2.2e-16 * sqrt((double)n + 1)); /* the same fp64 terms in another order */
    T_OK(ks_adamw_update(ctx, prec, n, &c, state, arg[0], arg[1], arg[2], arg[3]));
    for (int k = 0; k < 4; k++)
        T_OK(ks_mem_to_host(ctx, prec == KS_FP64 ? (void *)x[k] : (void *)f[k], mem[k], bytes));
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
            bad += prec != KS_FP64 && (f[k][i] != 77.0f || f[k][pad + n + i] != 77.0f);
        }
    T_CHECK(bad == 0, "n=%lld: %lld sentinels touched", (long long)n, (long long)bad);
    for (int k = 0; k < 4; k++) {
        KS_FREE(x[k]);
        KS_FREE(f[k]);
        ks_mem_free(ctx, (void **)&mem[k]);
    }
    KS_FREE(ref);
    ks_mem_free(ctx, (void **)&state), ks_mem_free(ctx, (void **)&dev_sum);
}

static double value(ks_ctx *ctx, const double *dev) {
    double v = NAN;
    T_OK(ks_mem_to_host(ctx, &v, dev, sizeof v));
    return v;
}

/* Norm 5 of the sum over a batch of 4 frames. */
static void test_step(ks_ctx *ctx) {
    ks_params       *params   = NULL;
    const int64_t    shape[1] = {3};
    int64_t          w = 0, b = 0;
    ks_optim_options o  = {.lr           = 0.1,
                           .lr_min       = 0.1,
                           .beta1        = 0.9,
                           .beta2        = 0.95,
                           .eps          = 1e-12,
                           .weight_decay = 0.5,
                           .clip         = 1.0,
                           .steps        = 100};
    const double     hw[3] = {3.0, 0.0, 0.0}, hb[3] = {0.0, 0.0, -4.0}, frames[2] = {2.0, 1.0}, spoilt = NAN;
    double           norm = 0, *state = NULL, *sum = NULL, *counted = NULL;
    T_OK(ks_mem_alloc(ctx, KS_STEP_N * sizeof(double), (void **)&state));
    T_OK(ks_mem_alloc(ctx, sizeof(double), (void **)&sum));
    T_OK(ks_mem_alloc(ctx, sizeof frames, (void **)&counted));
    T_OK(ks_mem_to_backend(ctx, counted, frames, sizeof frames));
    T_OK(ks_params_create(ctx, KS_FP64, &params));
    T_OK(ks_params_add(params, "w", 1, shape, KS_INIT_ONE, 0, 1, &w));
    T_OK(ks_params_add(params, "b", 1, shape, KS_INIT_ONE, 0, 0, &b));
    T_OK(ks_params_finish(params, 1));
    double *gw = ks_params_grad(params, w), *pw = ks_params_data(params, w), *pb = ks_params_data(params, b);
    T_OK(ks_mem_to_backend(ctx, gw, hw, sizeof hw));
    T_OK(ks_mem_to_backend(ctx, ks_params_grad(params, b), hb, sizeof hb));
    T_OK(ks_grad_norm(ctx, params, &norm));
    T_CLOSE(norm, 5.0, 1e-15, 0);
    T_OK(ks_optim_upload(ctx, &o, 1, state));
    T_OK(ks_adamw_step(ctx, params, &o, 4, counted, sum, state));
    /* Half of the frames counted: the mean over them is twice the sum over 4. First step: m / sqrt(v) unbiased is the
     * sign of the gradient; decay only on w; moments hold the clipped gradient. */
    T_CLOSE(value(ctx, state + KS_STEP_NORM), 10.0, 1e-14, 0);
    T_CLOSE(value(ctx, state + KS_STEP_SCALE), 0.2, 1e-15, 0);
    T_CHECK(value(ctx, state + KS_STEP_OK) == 1.0, "a step with half of the frames counts");
    T_CLOSE(value(ctx, pw), 1 - 0.1 * (1 + 0.5), 1e-12, 0);
    T_CLOSE(value(ctx, pw + 1), 1 - 0.1 * 0.5, 1e-15, 0);
    T_CLOSE(value(ctx, pb + 2), 1 + 0.1, 1e-12, 0);
    T_CLOSE(value(ctx, pb), 1.0, 0, 0);
    T_CLOSE(value(ctx, ks_params_flat(params, 'm')), 0.1 * 3.0 / 5.0, 1e-16, 0);
    const double p1 = value(ctx, pw + 1), m0 = value(ctx, ks_params_flat(params, 'm'));
    for (int how = 0; how < 3; how++) { /* fewer than half counted; none; a gradient that is not finite */
        const double none = 0.0;
        if (how == 1) T_OK(ks_mem_to_backend(ctx, counted + 1, &none, sizeof none));
        if (how == 2) T_OK(ks_mem_to_backend(ctx, gw, &spoilt, sizeof spoilt));
        T_OK(ks_optim_upload(ctx, &o, 2, state));
        T_OK(ks_adamw_step(ctx, params, &o, 4, how == 2 ? NULL : counted + 1, sum, state));
        T_CHECK(value(ctx, state + KS_STEP_OK) == 0.0, "case %d: the step must not count", how);
        T_CHECK(value(ctx, pw + 1) == p1 && value(ctx, ks_params_flat(params, 'm')) == m0,
                "case %d: a step that does not count changes nothing", how);
    }
    T_ERR(ks_optim_upload(ctx, &o, 0, state), KS_ERR_ARG);
    o.eps = 0; /* 0/0 where a gradient is zero */
    T_ERR(ks_adamw_step(ctx, params, &o, 4, NULL, sum, state), KS_ERR_ARG);
    ks_params_destroy(&params);
    ks_mem_free(ctx, (void **)&state), ks_mem_free(ctx, (void **)&sum), ks_mem_free(ctx, (void **)&counted);
}

int main(int argc, char **argv) {
    ks_ctx       *ctx     = NULL;
    const int64_t sizes[] = {0, 1, 31, 32, 33, 257, 50001};
    double        sum;
    t_op_init(argc, argv);
    ctx = t_op_ctx(2);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        test_update(ctx, KS_FP32, sizes[k]);
        test_update(ctx, KS_BF16, sizes[k]);
        test_update(ctx, KS_FP64, sizes[k]);
    }
    test_step(ctx);
    T_ERR(ks_sum_squares(ctx, KS_FP32, -1, NULL, &sum), KS_ERR_ARG);
    T_ERR(ks_sum_squares(ctx, KS_FP32, 1, NULL, &sum), KS_ERR_ARG);
    ks_ctx_destroy(&ctx);
    return t_done("adamw", 100);
}
