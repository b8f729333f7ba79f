/* test_op_driver.c -- the op driver finds what it is there to find: each way of being wrong must fail its row, and
 * the right op must pass all of them. A checker that has never failed proves nothing. */
#include <string.h>
#include "ks_test.h"
#include "op_driver.h"

/* What is wrong with the toy. */
enum wrong {
    NOTHING,
    ADJ_SCALED,
    ADJ_SCALED_MORE,
    ADJ_ZERO,
    ADJ_NAN,
    ADJ_ONE_ELEMENT,
    ADJ_OVERWRITES,
    ADJ_IGNORES_NULL,
    FWD_OUTSIDE_LOW,
    FWD_OUTSIDE_HIGH,
    ADJ_OUTSIDE,
    FWD_CHANGES_INPUT,
    ADJ_CHANGES_SAVED,
    FWD_SKIPS_LAST,
    FWD_READS_OUTSIDE,
    FWD_USES_SCRATCH_UNSET,
    SCRATCH_KEPT,
    RANDOM_BITS,
    THREADS_MATTER,
    ACCEPTS_BAD,
    IGNORES_NOMEM,
    ALWAYS_ALLOCATES,
    EMPTY_FAILS,
    VALUE_OFF,
    N_WRONG
};
static enum wrong g_wrong;
static int        g_calls;

/* y = w sin(x), s = cos(x) saved; through scratch, as real ops do. */
static ks_status toy_fwd(ks_ctx *ctx, int64_t n, const double *x, const double *w, double *y, double *s) {
    ks_status     st = KS_OK;
    double       *t  = NULL;
    void         *p  = NULL;
    ks_arena_mark m;
    KS_CHECK(ctx, KS_ERR_ARG, "toy: NULL context");
    m = ks_arena_get_mark(ks_ctx_scratch(ctx));
    KS_CHECK(n >= 0 || g_wrong == ACCEPTS_BAD, KS_ERR_ARG, "toy: n=%lld", (long long)n);
    KS_CHECK(n > 0 || g_wrong != EMPTY_FAILS, KS_ERR_ARG, "toy: n=%lld", (long long)n);
    st = KS_TAKE(ks_ctx_scratch(ctx), t, n + 200000); /* more than the first chunk: one allocation */
    if (st != KS_OK && g_wrong == IGNORES_NOMEM) st = KS_OK, t = y;
    KS_TRY(st);
    if (g_wrong == ALWAYS_ALLOCATES) KS_TRY(ks_host_alloc(8, 1, &p));
    for (int64_t i = 0; i < n; i++) t[i] = sin(x[i]);
    for (int64_t i = 0; i < n; i++) {
        y[i] = w[i] * t[i];
        s[i] = cos(x[i]);
    }
    g_calls++;
    if (n > 0) {
        if (g_wrong == FWD_OUTSIDE_LOW) y[-64] = 1;
        if (g_wrong == FWD_OUTSIDE_HIGH) y[n + 63] = 1;
        if (g_wrong == FWD_CHANGES_INPUT) ((double *)(uintptr_t)x)[n - 1] += 1e-3;
        if (g_wrong == FWD_SKIPS_LAST) y[n - 1] = NAN;
        if (g_wrong == FWD_READS_OUTSIDE) y[n - 1] += 1e-30 * x[n];
        if (g_wrong == FWD_USES_SCRATCH_UNSET) y[n - 1] += 1e-30 * t[n];
        if (g_wrong == RANDOM_BITS) y[n - 1] *= 1 + 1e-15 * g_calls;
        if (g_wrong == THREADS_MATTER) y[n - 1] *= 1 + 1e-15 * ks_ctx_threads(ctx);
        if (g_wrong == VALUE_OFF) y[n - 1] += 1e-12;
    }
done:
    ks_host_free(&p);
    if (ctx && g_wrong != SCRATCH_KEPT) ks_arena_release(ks_ctx_scratch(ctx), m);
    return st;
}

static ks_status toy_adj(ks_ctx *ctx, int64_t n, const double *x, const double *w, double *s, const double *y_bar,
                         double *x_bar, double *w_bar) {
    ks_status st = KS_OK;
    KS_CHECK(ctx && n >= 0, KS_ERR_ARG, "toy: n=%lld", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        double gx = y_bar[i] * w[i] * s[i], gw = y_bar[i] * sin(x[i]);
        if (g_wrong == ADJ_SCALED) gx *= 1 + 1e-7;
        if (g_wrong == ADJ_SCALED_MORE) gx *= 1 + 1e-3; /* the order check is the coarser one */
        if (g_wrong == ADJ_ZERO) gx = gw = 0;
        if (g_wrong == ADJ_NAN && i == n / 2) gx = NAN;
        if (g_wrong == ADJ_ONE_ELEMENT && i == n / 2) gx *= 1.001;
        if (x_bar) x_bar[i] = g_wrong == ADJ_OVERWRITES ? gx : x_bar[i] + gx;
        if (w_bar) w_bar[i] += g_wrong == ADJ_IGNORES_NULL && !x_bar ? 2 * gw : gw;
    }
    if (n > 0 && g_wrong == ADJ_OUTSIDE && x_bar) x_bar[n] = 0;
    if (n > 0 && g_wrong == ADJ_CHANGES_SAVED) s[0] = 0;
done:
    return st;
}

static ks_status build(t_case *c) {
    c->in_size[0] = c->in_size[1] = c->out_size[0] = c->out_size[1] = c->n;
    return KS_OK;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return toy_fwd(c->ctx, c->n, in[0], in[1], out[0], out[1]);
}
static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    return toy_adj(c->ctx, c->n, in[0], in[1], saved[1], out_bar[0], in_bar[0], in_bar[1]);
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    return k ? toy_fwd(NULL, 1, in[0], in[1], out[0], out[1]) : toy_fwd(c->ctx, -1, in[0], in[1], out[0], out[1]);
}
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    for (int64_t i = 0; i < c->n; i++) ref[0][i] = in[1][i] * sin(in[0][i]);
}

static const t_op toy = {
    .name   = "toy",
    .n      = 257,
    .build  = build,
    .fwd    = fwd,
    .adj    = adj,
    .golden = golden,
    .bad    = bad,
    .n_bad  = 2,
    .in     = {{.name = "x", .diff = 1, .lo = -3, .hi = 3}, {.name = "w", .diff = 1}},
    .out    = {{.name = "y", .diff = 1, .tol = TOL_POINT}, {.name = "s", .tol = TOL_POINT}},
};

/* y_i = 2 x_i - x_{i-1}: linear, its adjoint wrong by a sign on request. */
static ks_status lin_fwd(t_case *c, void *const in[], void *const out[]) {
    const double *x = in[0];
    double       *y = out[0];
    for (int64_t i = 0; i < c->n; i++) y[i] = 2 * x[i] - (i ? x[i - 1] : 0);
    return KS_OK;
}
static ks_status lin_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[],
                         void *const in_bar[]) {
    const double *y = out_bar[0];
    double       *x = in_bar[0];
    (void)in, (void)saved;
    for (int64_t i = 0; x && i < c->n; i++)
        x[i] += (2 * y[i] - (i + 1 < c->n ? y[i + 1] : 0)) * (g_wrong == ADJ_SCALED ? 1 + 1e-10 : 1);
    return KS_OK;
}
static ks_status lin_build(t_case *c) {
    c->in_size[0] = c->out_size[0] = c->n;
    return KS_OK;
}
static const t_op lin = {.name  = "difference",
                         .flags = T_LINEAR,
                         .n     = 257,
                         .build = lin_build,
                         .fwd   = lin_fwd,
                         .adj   = lin_adj,
                         .in    = {{.name = "x", .diff = 1}},
                         .out   = {{.name = "y", .diff = 1}}};

/* y = x exp(x) in single precision. */
static ks_status f32_fwd(t_case *c, void *const in[], void *const out[]) {
    const float *x = in[0];
    float       *y = out[0];
    for (int64_t i = 0; i < c->n; i++) y[i] = x[i] * expf(x[i]);
    return KS_OK;
}
static ks_status f32_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[],
                         void *const in_bar[]) {
    const float *x = in[0], *y_bar = out_bar[0];
    float       *x_bar = in_bar[0];
    (void)saved;
    for (int64_t i = 0; x_bar && i < c->n; i++)
        x_bar[i] += y_bar[i] * (1 + x[i]) * expf(x[i]) * (g_wrong == ADJ_SCALED ? 1.01f : 1.0f);
    return KS_OK;
}
static const t_op f32 = {.name  = "x exp(x), fp32",
                         .n     = 257,
                         .build = lin_build,
                         .fwd   = f32_fwd,
                         .adj   = f32_adj,
                         .in    = {{.name = "x", .type = T_F32, .diff = 1}},
                         .out   = {{.name = "y", .type = T_F32, .diff = 1}}};

/* y = 1 whatever x. */
static ks_status flat_fwd(t_case *c, void *const in[], void *const out[]) {
    double *y = out[0];
    (void)in;
    for (int64_t i = 0; i < c->n; i++) y[i] = 1;
    return KS_OK;
}
static ks_status flat_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[],
                          void *const in_bar[]) {
    return (void)c, (void)in, (void)saved, (void)out_bar, (void)in_bar, KS_OK;
}
static const t_op flat = {.name  = "constant",
                          .flags = T_LINEAR,
                          .n     = 257,
                          .build = lin_build,
                          .fwd   = flat_fwd,
                          .adj   = flat_adj,
                          .in    = {{.name = "x", .diff = 1}},
                          .out   = {{.name = "y", .diff = 1}}};

static void must_fail(const t_op *op, enum wrong wrong, int row) {
    t_report r;
    g_wrong = wrong;
    t_op_check(op, &r);
    g_wrong = NOTHING;
    T_CHECK(r.row[row].ran && !r.row[row].ok, "%s, fault %d: row %s passes (worst %.2e, limit %.2e)", op->name,
            (int)wrong, t_row_name[row], r.row[row].worst, r.row[row].limit);
}

int main(void) {
    static const struct {
        enum wrong wrong;
        int        row;
    } faults[] = {
        {ADJ_SCALED, T_GRADIENT},     {ADJ_SCALED_MORE, T_ORDER},    {ADJ_ZERO, T_GRADIENT},
        {ADJ_NAN, T_GRADIENT},        {ADJ_NAN, T_BOUNDS},           {ADJ_ONE_ELEMENT, T_GRADIENT},
        {ADJ_ONE_ELEMENT, T_SHAPES},  {ADJ_OVERWRITES, T_ADDS},      {ADJ_IGNORES_NULL, T_ADDS},
        {FWD_OUTSIDE_LOW, T_BOUNDS},  {FWD_OUTSIDE_HIGH, T_BOUNDS},  {ADJ_OUTSIDE, T_BOUNDS},
        {ADJ_OUTSIDE, T_SHAPES},      {FWD_CHANGES_INPUT, T_BOUNDS}, {ADJ_CHANGES_SAVED, T_BOUNDS},
        {FWD_SKIPS_LAST, T_BOUNDS},   {FWD_READS_OUTSIDE, T_BOUNDS}, {FWD_USES_SCRATCH_UNSET, T_BOUNDS},
        {SCRATCH_KEPT, T_BOUNDS},     {ALWAYS_ALLOCATES, T_BOUNDS},  {RANDOM_BITS, T_BACKENDS},
        {THREADS_MATTER, T_BACKENDS}, {ACCEPTS_BAD, T_FAULTS},       {IGNORES_NOMEM, T_FAULTS},
        {EMPTY_FAILS, T_SHAPES},      {VALUE_OFF, T_VALUE},
    };
    const int n_fault = (int)(sizeof faults / sizeof *faults);
    t_op_run(&toy);
    t_op_run(&lin);
    t_op_run(&f32);
    for (int k = 0; k < n_fault; k++) must_fail(&toy, faults[k].wrong, faults[k].row);
    must_fail(&lin, ADJ_SCALED, T_DOT);
    must_fail(&f32, ADJ_SCALED, T_GRADIENT);
    /* An op whose derivative vanishes makes the gradient check empty: that is a failure, not a pass. */
    must_fail(&flat, NOTHING, T_GRADIENT);
    return t_done("op_driver", 8 + 7 + 7 + n_fault + 3);
}
