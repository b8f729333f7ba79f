/* test_gelu.c -- GELU (tanh form) and the residual sum: nine checks in fp64 and fp32; the far tails. */
#include "ks_test.h"
#include "op_driver.h"

#define PREC(c) ((c)->op->in[0].type == T_F32 ? KS_FP32 : KS_FP64)

static ks_status build(t_case *c) {
    c->in_size[0] = c->out_size[0] = c->n;
    return KS_OK;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_gelu_fwd(c->ctx, PREC(c), c->n, in[0], out[0]);
}
static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    (void)saved;
    return ks_gelu_adj(c->ctx, PREC(c), c->n, in[0], out_bar[0], in_bar[0]);
}
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    for (int64_t i = 0; i < c->n; i++) {
        const long double x = (long double)in[0][i];
        ref[0][i] =
            (double)(0.5L * x * (1 + tanhl(sqrtl(2 / 3.14159265358979323846264338L) * (x + 0.044715L * x * x * x))));
    }
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    switch (k) {
    case 0:
        return ks_gelu_fwd(c->ctx, PREC(c), -1, in[0], out[0]);
    case 1:
        return ks_gelu_fwd(c->ctx, PREC(c), c->n, NULL, out[0]);
    default:
        return ks_gelu_adj(c->ctx, PREC(c), c->n, in[0], NULL, out[0]);
    }
}

static ks_status residual_build(t_case *c) {
    c->in_size[0] = c->in_size[1] = c->out_size[0] = c->n;
    return KS_OK;
}
static ks_status residual_fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_residual_fwd(c->ctx, PREC(c), c->n, in[0], in[1], out[0]);
}
static ks_status residual_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[],
                              void *const in_bar[]) {
    (void)in, (void)saved;
    return ks_residual_adj(c->ctx, PREC(c), c->n, out_bar[0], in_bar[0], in_bar[1]);
}
static void residual_golden(const t_case *c, double *const in[], double *const ref[]) {
    for (int64_t i = 0; i < c->n; i++) ref[0][i] = in[0][i] + in[1][i];
}
static ks_status residual_bad(t_case *c, int k, void *const in[], void *const out[]) {
    return k == 0 ? ks_residual_fwd(c->ctx, PREC(c), -1, in[0], in[1], out[0])
                  : ks_residual_fwd(c->ctx, PREC(c), c->n, in[0], NULL, out[0]);
}

/* |x| where exp saturates, and NaN, which must not be hidden. */
static void test_tails(ks_precision prec) {
    ks_ctx      *ctx  = t_op_ctx(1);
    const double x[6] = {-1e4, -60, -6, 60, 1e4, NAN};
    float        xf[6], yf[6];
    double       y[6];
    void        *dx = NULL, *dy = NULL;
    for (int i = 0; i < 6; i++) xf[i] = (float)x[i];
    const size_t bytes = prec == KS_FP64 ? sizeof x : sizeof xf;
    T_OK(ks_mem_alloc(ctx, bytes, &dx));
    T_OK(ks_mem_alloc(ctx, bytes, &dy));
    T_OK(ks_mem_to_backend(ctx, dx, prec == KS_FP64 ? (const void *)x : (const void *)xf, bytes));
    T_OK(ks_gelu_fwd(ctx, prec, 6, dx, dy));
    T_OK(ks_mem_to_host(ctx, prec == KS_FP64 ? (void *)y : (void *)yf, dy, bytes));
    for (int i = 0; i < 6 && prec == KS_FP32; i++) y[i] = (double)yf[i];
    T_CHECK(fabs(y[0]) < 1e-30 && fabs(y[1]) < 1e-30 && y[2] < 0 && y[2] > -1e-8, "%g %g %g", y[0], y[1], y[2]);
    T_CHECK(y[3] == 60 && y[4] == 1e4 && isnan(y[5]), "%g %g %g", y[3], y[4], y[5]);
    ks_mem_free(ctx, &dx);
    ks_mem_free(ctx, &dy);
    ks_ctx_destroy(&ctx);
}

int main(int argc, char **argv) {
    /* Several blocks of 8192; x = 4 covers both branches of the tail. */
#define OP(t)                                                                                                          \
    {                                                                                                                  \
        .name = "gelu " #t, .n = 20011, .build = build, .fwd = fwd, .adj = adj, .golden = golden, .bad = bad,          \
        .n_bad = 3, .in = {{.name = "x", .type = t, .diff = 1, .lo = -4, .hi = 4}}, .out = {                           \
            {.name = "y", .type = t, .diff = 1}                                                                        \
        }                                                                                                              \
    }
#define RES(t)                                                                                                         \
    {                                                                                                                  \
        .name = "residual " #t, .flags = T_LINEAR, .n = 20011, .build = residual_build, .fwd = residual_fwd,           \
        .adj = residual_adj, .golden = residual_golden, .bad = residual_bad, .n_bad = 2,                               \
        .in = {{.name = "x", .type = t, .diff = 1}, {.name = "f", .type = t, .diff = 1}}, .out = {                     \
            {.name = "y", .type = t, .diff = 1}                                                                        \
        }                                                                                                              \
    }
    static const t_op ops[4] = {OP(T_F64), OP(T_F32), RES(T_F64), RES(T_F32)};
    t_op_init(argc, argv);
    for (int k = 0; k < 4; k++) t_op_run(&ops[k]);
    test_tails(KS_FP32);
    test_tails(KS_FP64);
    return t_done("gelu", 4 * 8 + 4);
}
