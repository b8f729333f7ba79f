/* test_embedding.c -- token input, Gram bias and position features: nine checks in fp64 and fp32. */
#include <string.h>
#include "ks_test.h"
#include "op_driver.h"

#define PREC(c) ((c)->op->in[0].type == T_F32 ? KS_FP32 : KS_FP64)
enum { ATOMS = 5, KINDS = 7, D = 70, B = 3 };
static const double k_scale = 0.25;

static void fill_kind(const t_case *c, double *x) {
    for (int64_t t = 0; t < c->n; t++) x[t] = (double)((t * 5 + 2) % KINDS);
}
static void fill_atom(const t_case *c, double *x) {
    for (int64_t t = 0; t < c->n; t++) x[t] = (double)(t * ATOMS / c->n);
}
static ks_status build(t_case *c) {
    c->in_size[0]  = KINDS * D;
    c->in_size[1]  = B * ATOMS * D;
    c->in_size[2]  = c->n;
    c->in_size[3]  = c->n;
    c->out_size[0] = B * c->n * D;
    return KS_OK;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_embedding_fwd(c->ctx, PREC(c), B, c->n, ATOMS, KINDS, D, k_scale, in[2], in[3], in[0], in[1], out[0]);
}
static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    (void)saved;
    return ks_embedding_adj(c->ctx, PREC(c), B, c->n, ATOMS, KINDS, D, k_scale, in[2], in[3], out_bar[0], in_bar[0],
                            in_bar[1]);
}
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    for (int64_t i = 0; i < B * c->n * D; i++) {
        const int64_t k = i % D, t = i / D % c->n, b = i / D / c->n;
        ref[0][i] = k_scale * in[0][(int64_t)in[2][t] * D + k] + in[1][(b * ATOMS + (int64_t)in[3][t]) * D + k];
    }
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    switch (k) {
    case 0:
        return ks_embedding_fwd(c->ctx, PREC(c), -1, c->n, ATOMS, KINDS, D, k_scale, in[2], in[3], in[0], in[1],
                                out[0]);
    case 1:
        return ks_embedding_fwd(c->ctx, PREC(c), B, c->n, ATOMS, KINDS, 0, k_scale, in[2], in[3], in[0], in[1], out[0]);
    case 2:
        return ks_embedding_fwd(c->ctx, PREC(c), B, c->n, ATOMS, KINDS, D, k_scale, in[2], in[3], NULL, in[1], out[0]);
    default:
        return ks_embedding_adj(c->ctx, PREC(c), B, c->n, 0, KINDS, D, k_scale, in[2], in[3], out[0], NULL, NULL);
    }
}

/* Gram bias: atom 2 is clearly the longest vector, so that the divisor is differentiable. */
static void fill_u(const t_case *c, double *u) {
    (void)c;
    for (int64_t i = 0; i < B * ATOMS * D; i++)
        if (i / D % ATOMS == 2) u[i] = 2 * u[i] + (u[i] > 0 ? 1 : -1);
}
static ks_status gram_build(t_case *c) {
    c->in_size[0]  = B * ATOMS * D;
    c->in_size[1]  = c->n;
    c->out_size[0] = B * c->n * c->n;
    c->out_size[1] = B * ATOMS * ATOMS;
    c->out_size[2] = B;
    return KS_OK;
}
static ks_status gram_fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_gram_fwd(c->ctx, PREC(c), B, c->n, ATOMS, D, in[1], in[0], out[0], out[1], out[2]);
}
static ks_status gram_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[],
                          void *const in_bar[]) {
    return ks_gram_adj(c->ctx, PREC(c), B, c->n, ATOMS, D, in[1], in[0], saved[1], saved[2], out_bar[0], in_bar[0]);
}
static void gram_golden(const t_case *c, double *const in[], double *const ref[]) {
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
static ks_status gram_bad(t_case *c, int k, void *const in[], void *const out[]) {
    return k == 0 ? ks_gram_fwd(c->ctx, PREC(c), B, c->n, 0, D, in[1], in[0], out[0], out[1], out[2])
                  : ks_gram_fwd(c->ctx, PREC(c), B, c->n, ATOMS, D, in[1], NULL, out[0], out[1], out[2]);
}

/* Position features: the input is fp64 in both precisions. */
#define OUT_PREC(c) ((c)->op->out[0].type == T_F32 ? KS_FP32 : KS_FP64)
static ks_status position_build(t_case *c) {
    c->in_size[0]  = c->n * 3;
    c->out_size[0] = c->n * KS_POS_FEATURES;
    return KS_OK;
}
static ks_status position_fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_position_fwd(c->ctx, OUT_PREC(c), 1, c->n, in[0], out[0]);
}
static void position_golden(const t_case *c, double *const in[], double *const ref[]) {
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
static ks_status position_bad(t_case *c, int k, void *const in[], void *const out[]) {
    return k == 0 ? ks_position_fwd(c->ctx, OUT_PREC(c), -1, c->n, in[0], out[0])
                  : ks_position_fwd(c->ctx, OUT_PREC(c), 1, c->n, NULL, out[0]);
}

static void test_index_limits(void) {
    if (strcmp(t_op_backend(), "cpu")) return; /* device tables are not read by the host */
    ks_ctx       *ctx     = t_op_ctx(1);
    const int32_t kind[2] = {0, KINDS}, atom[2] = {0, 0}, low[2] = {-1, 0};
    static double table[KINDS * D], u[ATOMS * D], x[2 * D];
    T_ERR(ks_embedding_fwd(ctx, KS_FP64, 1, 2, ATOMS, KINDS, D, 1, kind, atom, table, u, x), KS_ERR_ARG);
    T_ERR(ks_embedding_fwd(ctx, KS_FP64, 1, 2, ATOMS, KINDS, D, 1, atom, low, table, u, x), KS_ERR_ARG);
    ks_ctx_destroy(&ctx);
}

int main(int argc, char **argv) {
#define OP(t)                                                                                                          \
    {                                                                                                                  \
        .name = "embedding " #t, .flags = T_LINEAR, .n = 90, .build = build, .fwd = fwd, .adj = adj, .golden = golden, \
        .bad = bad, .n_bad = 4,                                                                                        \
        .in  = {{.name = "table", .type = t, .diff = 1},                                                               \
                {.name = "u", .type = t, .diff = 1},                                                                   \
                {.name = "kind", .type = T_I32, .fill = fill_kind},                                                    \
                {.name = "atom", .type = T_I32, .fill = fill_atom}},                                                   \
        .out = {                                                                                                       \
            {.name = "x", .type = t, .diff = 1}                                                                        \
        }                                                                                                              \
    }
#define GRAM(t)                                                                                                        \
    {                                                                                                                  \
        .name = "gram " #t, .n = 24, .n_size = 5, .sizes = {0, 1, 31, 33, 90}, .build = gram_build, .fwd = gram_fwd,   \
        .adj = gram_adj, .golden = gram_golden, .bad = gram_bad, .n_bad = 2,                                           \
        .in  = {{.name = "u", .type = t, .diff = 1, .fill = fill_u},                                                   \
                {.name = "atom", .type = T_I32, .fill = fill_atom}},                                                   \
        .out = {                                                                                                       \
            {.name = "bias", .type = t, .diff = 1},                                                                    \
            {.name = "g", .type = t},                                                                                  \
            {.name = "top", .type = t}                                                                                 \
        }                                                                                                              \
    }
    /* Values up to 12 bohr against cos and sin of the multiplied angle, whose own rounding is 19 2pi 12/20 eps = 72
     * eps. */
#define POS(t)                                                                                                         \
    {                                                                                                                  \
        .name = "position " #t, .n = 40, .build = position_build, .fwd = position_fwd, .golden = position_golden,      \
        .bad = position_bad, .n_bad = 2, .in = {{.name = "pos", .lo = -12, .hi = 12}}, .out = {                        \
            {.name = "feature", .type = t}                                                                             \
        }                                                                                                              \
    }
    static const t_op ops[] = {OP(T_F64), OP(T_F32), GRAM(T_F64), GRAM(T_F32), POS(T_F64), POS(T_F32)};
    t_op_init(argc, argv);
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) t_op_run(&ops[k]);
    test_index_limits();
    return t_done("embedding", 4 * 8 + 2 * 4);
}
