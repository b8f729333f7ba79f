/* test_position.c -- position features of a network, in fp64 and fp32. */
#include "ks_test.h"
#include "op_driver.h"
#include "op_frames.h"

/* The input is fp64 in both precisions. */
#define OUT_PREC(c) ((c)->op->out[0].type == T_F32 ? KS_FP32 : KS_FP64)
static ks_status build(t_case *c) {
    c->in_size[0]  = c->n * 3;
    c->out_size[0] = c->n * KS_POS_FEATURES;
    return KS_OK;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_position_fwd(c->ctx, OUT_PREC(c), 1, c->n, in[0], out[0]);
}
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    for (int64_t i = 0; i < c->n; i++)
        for (int x = 0; x < 3; x++) {
            const double r = in[0][3 * i + x];
            double      *f = ref[0] + i * 123;
            f[x]           = r;
            for (int k = 0; k < 20; k++) {
                f[3 + 3 * k + x]  = cos(2 * 3.14159265358979323846 * k * r / 20);
                f[63 + 3 * k + x] = sin(2 * 3.14159265358979323846 * k * r / 20);
            }
        }
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    return k == 0 ? ks_position_fwd(c->ctx, OUT_PREC(c), -1, c->n, in[0], out[0])
                  : ks_position_fwd(c->ctx, OUT_PREC(c), 1, c->n, NULL, out[0]);
}

int main(int argc, char **argv) {
    /* Values up to 12 bohr against cos and sin of the multiplied angle, whose own rounding is 19 2pi 12/20 eps = 72
     * eps. */
#define OP(t)                                                                                                          \
    {                                                                                                                  \
        .name = "position " #t, .n = 40, .build = build, .fwd = fwd, .golden = golden, .bad = bad, .n_bad = 2,         \
        .in = {{.name = "pos", .lo = -12, .hi = 12}}, .out = {                                                         \
            {.name = "feature", .type = t}                                                                             \
        }                                                                                                              \
    }
    static const t_op ops[] = {OP(T_F64), OP(T_F32)};
    t_op_init(argc, argv);
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
        t_op_run(&ops[k]);
        t_frames_apart(&ops[k], 40, 1u << 0, 1u << 0);
    }
    return t_done("position", 2 * (4 + 2));
}
