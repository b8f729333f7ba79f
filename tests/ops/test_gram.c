/* test_gram.c -- the Gram attention bias: nine checks in fp64 and fp32. */
#include "ks_test.h"
#include "op_driver.h"
#include "op_frames.h"

#define PREC(c) ((c)->op->in[0].type == T_F32 ? KS_FP32 : KS_FP64)
enum { ATOMS = 5, D = 37, B = 3 };

static void fill_atom(const t_case *c, double *x) {
    for (int64_t t = 0; t < c->n; t++) x[t] = (double)(t * ATOMS / c->n);
}
/* Atom 2 is clearly the longest vector, so that the divisor is differentiable. */
static void fill_u(const t_case *c, double *u) {
    (void)c;
    for (int64_t i = 0; i < B * ATOMS * D; i++)
        if (i / D % ATOMS == 2) u[i] = 2 * u[i] + (u[i] > 0 ? 1 : -1);
}
static ks_status build(t_case *c) {
    c->in_size[0]  = B * ATOMS * D;
    c->in_size[1]  = c->n;
    c->out_size[0] = B * c->n * c->n;
    c->out_size[1] = B * ATOMS * ATOMS;
    c->out_size[2] = B;
    return KS_OK;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_gram_fwd(c->ctx, PREC(c), B, c->n, ATOMS, D, in[1], in[0], out[0], out[1], out[2]);
}
static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    return ks_gram_adj(c->ctx, PREC(c), B, c->n, ATOMS, D, in[1], in[0], saved[1], saved[2], out_bar[0], in_bar[0]);
}
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    for (int64_t b = 0; b < B; b++) {
        double g[ATOMS][ATOMS], most = 0;
        for (int p = 0; p < ATOMS; p++)
            for (int q = 0; q < ATOMS; q++) {
                g[p][q] = 0;
                for (int k = 0; k < D; k++) g[p][q] += in[0][(b * ATOMS + p) * D + k] * in[0][(b * ATOMS + q) * D + k];
                most = fmax(most, fabs(g[p][q]));
            }
        ref[2][b] = most;
        for (int p = 0; p < ATOMS * ATOMS; p++) ref[1][b * ATOMS * ATOMS + p] = g[p / ATOMS][p % ATOMS] / most;
        for (int64_t s = 0; s < c->n; s++)
            for (int64_t t = 0; t < c->n; t++)
                ref[0][(b * c->n + s) * c->n + t] = g[(int)in[1][s]][(int)in[1][t]] / most;
    }
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    return k == 0 ? ks_gram_fwd(c->ctx, PREC(c), B, c->n, 0, D, in[1], in[0], out[0], out[1], out[2])
                  : ks_gram_fwd(c->ctx, PREC(c), B, c->n, ATOMS, D, in[1], NULL, out[0], out[1], out[2]);
}

/* All positions zero: top is 0, the bias and the gradient vanish. */
static void zeros(const t_case *c, double *u) {
    for (int64_t i = 0; i < c->in_size[0]; i++) u[i] = 0;
}
static void zero_golden(const t_case *c, double *const in[], double *const ref[]) {
    (void)in;
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < c->out_size[k]; i++) ref[k][i] = 0;
}

int main(int argc, char **argv) {
#define OP(title, t, f, g, d)                                                                                          \
    {                                                                                                                  \
        .name = title " " #t, .n = 24, .n_size = 5, .sizes = {0, 1, 31, 33, 40}, .build = build, .fwd = fwd,           \
        .adj = d ? adj : NULL, .golden = g, .bad = bad, .n_bad = 2,                                                    \
        .in  = {{.name = "u", .type = t, .diff = d, .fill = f}, {.name = "atom", .type = T_I32, .fill = fill_atom}},   \
        .out = {                                                                                                       \
            {.name = "bias", .type = t, .diff = d},                                                                    \
            {.name = "g", .type = t},                                                                                  \
            {.name = "top", .type = t}                                                                                 \
        }                                                                                                              \
    }
    static const t_op ops[] = {OP("gram", T_F64, fill_u, golden, 1), OP("gram", T_F32, fill_u, golden, 1),
                               OP("gram of zero", T_F64, zeros, zero_golden, 0)};
    t_op_init(argc, argv);
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
        t_op_run(&ops[k]);
        t_frames_apart(&ops[k], B, 1u << 0, 1u << 0 | 1u << 1 | 1u << 2);
    }
    return t_done("gram", 2 * (8 + 5) + 5 + 4);
}
