/* test_linear.c -- y = x w^T + b: nine checks in fp64 and fp32, with and without bias, sizes around the tile limits. */
#include "ks_test.h"
#include "op_driver.h"

#define PREC(c) ((c)->op->in[0].type == T_F32 ? KS_FP32 : KS_FP64)
enum { D_IN = 37 }; /* not a multiple of a vector */

/* n is the number of rows; d_out follows it so that both tile directions are cut. */
static int64_t d_out(const t_case *c) { return c->n > 200 ? 203 : 11; }

static ks_status build(t_case *c) {
    c->in_size[0]  = c->n * D_IN;
    c->in_size[1]  = d_out(c) * D_IN;
    c->in_size[2]  = d_out(c);
    c->out_size[0] = c->n * d_out(c);
    return KS_OK;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_linear_fwd(c->ctx, PREC(c), c->n, D_IN, d_out(c), in[0], in[1], in[2], out[0]);
}
static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    (void)saved;
    return ks_linear_adj(c->ctx, PREC(c), c->n, D_IN, d_out(c), in[0], in[1], out_bar[0], in_bar[0], in_bar[1],
                         in_bar[2]);
}
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    for (int64_t i = 0; i < c->n; i++)
        for (int64_t o = 0; o < d_out(c); o++) {
            long double s = (long double)in[2][o];
            for (int64_t k = 0; k < D_IN; k++) s += (long double)in[0][i * D_IN + k] * (long double)in[1][o * D_IN + k];
            ref[0][i * d_out(c) + o] = (double)s;
        }
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    switch (k) {
    case 0:
        return ks_linear_fwd(c->ctx, PREC(c), -1, D_IN, d_out(c), in[0], in[1], in[2], out[0]);
    case 1:
        return ks_linear_fwd(c->ctx, PREC(c), c->n, 0, d_out(c), in[0], in[1], in[2], out[0]);
    case 2:
        return ks_linear_fwd(c->ctx, PREC(c), c->n, D_IN, d_out(c), NULL, in[1], in[2], out[0]);
    case 3:
        return ks_linear_fwd(c->ctx, PREC(c), INT64_MAX / 2, INT64_MAX / 2, 2, in[0], in[1], in[2], out[0]);
    case 4:
        return ks_linear_adj(c->ctx, PREC(c), c->n, D_IN, -3, in[0], in[1], out[0], NULL, NULL, NULL);
    default:
        return ks_linear_fwd(c->ctx, (ks_precision)7, c->n, D_IN, d_out(c), in[0], in[1], in[2], out[0]);
    }
}

static void test_no_bias(void) {
    ks_ctx      *ctx  = t_op_ctx(1);
    const double x[2] = {1, 2}, w[4] = {3, 4, 5, 6};
    void        *dx = NULL, *dw = NULL, *dy = NULL;
    double       y[2];
    T_OK(ks_mem_alloc(ctx, sizeof x, &dx));
    T_OK(ks_mem_alloc(ctx, sizeof w, &dw));
    T_OK(ks_mem_alloc(ctx, sizeof y, &dy));
    T_OK(ks_mem_to_backend(ctx, dx, x, sizeof x));
    T_OK(ks_mem_to_backend(ctx, dw, w, sizeof w));
    T_OK(ks_linear_fwd(ctx, KS_FP64, 1, 2, 2, dx, dw, NULL, dy));
    T_OK(ks_mem_to_host(ctx, y, dy, sizeof y));
    T_CHECK(y[0] == 11 && y[1] == 17, "%g %g", y[0], y[1]);
    ks_mem_free(ctx, &dx);
    ks_mem_free(ctx, &dw);
    ks_mem_free(ctx, &dy);
    ks_ctx_destroy(&ctx);
}

int main(int argc, char **argv) {
#define OP(t)                                                                                                          \
    {                                                                                                                  \
        .name = "linear " #t, .n = 230, .build = build, .fwd = fwd, .adj = adj, .golden = golden, .bad = bad,          \
        .n_bad = 6,                                                                                                    \
        .in    = {{.name = "x", .type = t, .diff = 1},                                                                 \
                  {.name = "w", .type = t, .diff = 1},                                                                 \
                  {.name = "b", .type = t, .diff = 1}},                                                                \
        .out   = {                                                                                                     \
              {.name = "y", .type = t, .diff = 1}                                                                      \
        }                                                                                                              \
    }
    static const t_op ops[2] = {OP(T_F64), OP(T_F32)};
    t_op_init(argc, argv);
    for (int k = 0; k < 2; k++) t_op_run(&ops[k]);
    test_no_bias();
    return t_done("linear", 2 * 8 + 1);
}
