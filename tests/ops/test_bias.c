/* test_bias.c -- scaling of a constant attention bias. */
#include <string.h>
#include "ks_test.h"
#include "op_driver.h"
#include "op_frames.h"

enum { B = 3 };

/* Bias: divided by the largest absolute value; a zero matrix stays zero. */
static ks_status build(t_case *c) {
    c->in_size[0] = c->out_size[0] = B * c->n * c->n;
    return KS_OK;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_bias_fwd(c->ctx, c->op->out[0].type == T_F32 ? KS_FP32 : KS_FP64, B, c->n, in[0], out[0]);
}
static void fill(const t_case *c, double *x) { memset(x, 0, (size_t)(c->n * c->n) * sizeof *x); } /* frame 0 */
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    const int64_t nn = c->n * c->n;
    for (int b = 0; b < B; b++) {
        double most = 0;
        for (int64_t i = 0; i < nn; i++) most = fmax(most, fabs(in[0][b * nn + i]));
        for (int64_t i = 0; i < nn; i++) ref[0][b * nn + i] = most > 0 ? in[0][b * nn + i] / most : 0;
    }
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    (void)k, (void)in;
    return ks_bias_fwd(c->ctx, KS_FP64, B, c->n, NULL, out[0]);
}

int main(int argc, char **argv) {
#define OP(t)                                                                                                          \
    {                                                                                                                  \
        .name = "bias " #t, .n = 24, .n_size = 5, .sizes = {0, 1, 31, 33, 70}, .build = build, .fwd = fwd,             \
        .golden = golden, .bad = bad, .n_bad = 1, .in = {{.name = "M", .fill = fill}}, .out = {                        \
            {.name = "bias", .type = t}                                                                                \
        }                                                                                                              \
    }
    static const t_op ops[] = {OP(T_F64), OP(T_F32)};
    t_op_init(argc, argv);
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
        t_op_run(&ops[k]);
        t_frames_apart(&ops[k], B, 1u << 0, 1u << 0);
    }
    return t_done("bias", 2 * (4 + 3));
}
