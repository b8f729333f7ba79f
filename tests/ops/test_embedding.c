/* test_embedding.c -- token input: nine checks in fp64 and fp32. */
#include <string.h>
#include "ks_test.h"
#include "op_driver.h"
#include "op_frames.h"

#define PREC(c) ((c)->op->in[0].type == T_F32 ? KS_FP32 : KS_FP64)
enum { ATOMS = 5, KINDS = 7, D = 37, B = 3 };
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
        .name = "embedding " #t, .flags = T_LINEAR, .n = 40, .n_size = 6, .sizes = {0, 1, 31, 32, 33, 90},             \
        .build = build, .fwd = fwd, .adj = adj, .golden = golden, .bad = bad, .n_bad = 4,                              \
        .in  = {{.name = "table", .type = t, .diff = 1},                                                               \
                {.name = "u", .type = t, .diff = 1},                                                                   \
                {.name = "kind", .type = T_I32, .fill = fill_kind},                                                    \
                {.name = "atom", .type = T_I32, .fill = fill_atom}},                                                   \
        .out = {                                                                                                       \
            {.name = "x", .type = t, .diff = 1}                                                                        \
        }                                                                                                              \
    }
    static const t_op ops[] = {OP(T_F64), OP(T_F32)};
    t_op_init(argc, argv);
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
        t_op_run(&ops[k]);
        t_frames_apart(&ops[k], B, 1u << 1, 1u << 0);
    }
    test_index_limits();
    return t_done("embedding", 2 * (8 + 3));
}
