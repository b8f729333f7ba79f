/* test_adamw.c -- AdamW update against the formulas written out in fp64, in fp32, bf16 (whose arrays are floats) and
 * fp64, on arrays aligned to 16 bytes and not; the step's clip, decay flags and refusals. */
#include <string.h>
#include "ks_test.h"
#include "op_driver.h"

/* Sizes are n + 1: the driver's arrays are aligned, and OFF elements are left alone at their beginning. */
enum { WORDS = 4, OFF = 1 };
typedef struct own {
    void *host;
} own;

static const ks_adamw_scalars scalars = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-12, .weight_decay = 0.1};
static const double           unbias1 = 1 / (1 - 0.729), unbias2 = 1 / (1 - 0.857375);

static const t_op   ops[6]; /* fp64, fp32, bf16; the same, not aligned */
static ks_precision precision(const t_case *c) {
    static const ks_precision p[3] = {KS_FP64, KS_FP32, KS_BF16};
    return p[(c->op - ops) % 3];
}
static int64_t first(const t_case *c) { return c->op - ops < 3 ? 0 : OFF; }
static size_t  elem(const t_case *c) { return precision(c) == KS_FP64 ? sizeof(double) : sizeof(float); }

static ks_status build(t_case *c) {
    const int64_t size = c->n + first(c);
    own          *o    = calloc(1, sizeof *o);
    for (int k = 0; k < WORDS; k++) c->in_size[k] = size;
    for (int k = 0; k < WORDS - 1; k++) c->out_size[k] = size;
    c->in_size[WORDS] = KS_STEP_N;
    c->user           = o;
    return o && (o->host = calloc((size_t)size + 1, elem(c))) ? KS_OK : KS_ERR_NOMEM;
}
static void drop(t_case *c) {
    own *o = c->user;
    free(o->host);
    free(o);
}
static void fill_v(const t_case *c, double *x) {
    for (int64_t i = 0; i < c->in_size[3]; i++) x[i] = x[i] * x[i] + 1e-6;
}
static void fill_state(const t_case *c, double *x) {
    (void)c;
    x[KS_STEP_LR]      = 1e-2;
    x[KS_STEP_UNBIAS1] = unbias1;
    x[KS_STEP_UNBIAS2] = unbias2;
    x[KS_STEP_NORM]    = 2;
    x[KS_STEP_SCALE]   = 0.5;
    x[KS_STEP_OK]      = 1;
}
/* In place: the driver's p, m and v are copied to the outputs first. */
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    const size_t at = (size_t)first(c) * elem(c), bytes = (size_t)c->in_size[0] * elem(c);
    own         *o = c->user;
    for (int k = 0; bytes && k < 3; k++) {
        ks_status st = ks_mem_to_host(c->ctx, o->host, in[1 + k], bytes);
        if (st == KS_OK) st = ks_mem_to_backend(c->ctx, out[k], o->host, bytes);
        if (st != KS_OK) return st;
    }
    return ks_adamw_update(c->ctx, precision(c), c->n, &scalars, in[4], (char *)in[0] + at, (char *)out[0] + at,
                           (char *)out[1] + at, (char *)out[2] + at);
}
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    for (int64_t i = 0; i < c->in_size[0]; i++) {
        const double p = in[1][i], g = 0.5 * in[0][i], m = 0.9 * in[2][i] + 0.1 * g, v = 0.95 * in[3][i] + 0.05 * g * g;
        ref[0][i] = i < first(c) ? p : p - 1e-2 * (m * unbias1 / (sqrt(v * unbias2) + 1e-12) + 0.1 * p);
        ref[1][i] = i < first(c) ? in[2][i] : m;
        ref[2][i] = i < first(c) ? in[3][i] : v;
    }
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    ks_adamw_scalars s = scalars;
    if (k == 0) return ks_adamw_update(c->ctx, precision(c), -1, &s, in[4], in[0], out[0], out[1], out[2]);
    if (k == 1) return ks_adamw_update(c->ctx, precision(c), c->n, &s, NULL, in[0], out[0], out[1], out[2]);
    if (k == 2) return ks_adamw_update(c->ctx, precision(c), c->n, &s, in[4], NULL, out[0], out[1], out[2]);
    s.eps = 0; /* 0/0 where a gradient is zero */
    return ks_adamw_update(c->ctx, precision(c), c->n, &s, in[4], in[0], out[0], out[1], out[2]);
}

/* A handful of roundings; the quotient u1 m / sqrt(u2 v) is at most 1e3 here, times lr: 16 eps of 10. */
#define OP(title, t)                                                                                                   \
    {                                                                                                                  \
        .name = title, .n = 1003, .n_size = 6, .sizes = {0, 1, 31, 33, 257, 4096}, .build = build, .drop = drop,       \
        .fwd = fwd, .golden = golden, .bad = bad, .n_bad = 4,                                                          \
        .in  = {{.name = "g", .type = t},                                                                              \
                {.name = "p", .type = t},                                                                              \
                {.name = "m", .type = t},                                                                              \
                {.name = "v", .type = t, .fill = fill_v},                                                              \
                {.name = "state", .fill = fill_state}},                                                                \
        .out = {{.name = "p'", .type = t}, {.name = "m'", .type = t}, {.name = "v'", .type = t}},                      \
    }
static const t_op ops[6] = {OP("adamw, fp64", T_F64),
                            OP("adamw, fp32", T_F32),
                            OP("adamw, bf16", T_F32),
                            OP("adamw, fp64, not aligned", T_F64),
                            OP("adamw, fp32, not aligned", T_F32),
                            OP("adamw, bf16, not aligned", T_F32)};

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
    ks_optim_options o     = {.lr           = 0.1,
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
    ks_ctx *ctx = NULL;
    t_op_init(argc, argv);
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) t_op_run(&ops[k]);
    ctx = t_op_ctx(2);
    test_step(ctx);
    ks_ctx_destroy(&ctx);
    return t_done("adamw", 6 * 5 + 50);
}
