/* test_sum_squares.c -- the sum of squares of an array, in fp32 and fp64, aligned to 16 bytes and not. */
#include "ks_test.h"
#include "op_driver.h"

#define PREC(c) ((c)->op->in[0].type == T_F32 ? KS_FP32 : KS_FP64)

static ks_status build(t_case *c) {
    c->in_size[0]  = c->n;
    c->out_size[0] = 1;
    return KS_OK;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_sum_squares(c->ctx, PREC(c), c->n, in[0], out[0]);
}
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    long double sum = 0;
    for (int64_t i = 0; i < c->n; i++) sum += (long double)in[0][i] * (long double)in[0][i];
    ref[0][0] = (double)sum;
}
/* All but the first element: an array that no wide load may touch. */
static ks_status shifted_fwd(t_case *c, void *const in[], void *const out[]) {
    const int64_t first = c->n > 0;
    const void   *x     = (char *)in[0] + (first ? (PREC(c) == KS_FP64 ? sizeof(double) : sizeof(float)) : 0);
    return ks_sum_squares(c->ctx, PREC(c), c->n - first, x, out[0]);
}
static void shifted_golden(const t_case *c, double *const in[], double *const ref[]) {
    golden(c, in, ref);
    if (c->n) ref[0][0] -= in[0][0] * in[0][0];
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    switch (k) {
    case 0:
        return ks_sum_squares(c->ctx, PREC(c), -1, in[0], out[0]);
    case 1:
        return ks_sum_squares(c->ctx, PREC(c), 1, NULL, out[0]);
    default:
        return ks_sum_squares(c->ctx, PREC(c), c->n, in[0], NULL);
    }
}

int main(int argc, char **argv) {
    /* fp64 in both precisions. The sizes are one and three blocks of the definition with odd rests. */
#define OP(title, t, f, g)                                                                                             \
    {                                                                                                                  \
        .name = title " " #t, .n = 3 * 16384 + 7, .n_size = 7, .sizes = {0, 1, 31, 33, 257, 16384, 16385},             \
        .build = build, .fwd = f, .golden = g, .bad = bad, .n_bad = 3, .in = {{.name = "x", .type = t}}, .out = {      \
            {.name = "sum"}                                                                                            \
        }                                                                                                              \
    }
    static const t_op ops[] = {OP("sum of squares", T_F64, fwd, golden), OP("sum of squares", T_F32, fwd, golden),
                               OP("sum of squares, not aligned", T_F64, shifted_fwd, shifted_golden),
                               OP("sum of squares, not aligned", T_F32, shifted_fwd, shifted_golden)};
    t_op_init(argc, argv);
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) t_op_run(&ops[k]);
    return t_done("sum_squares", 4 * 5);
}
