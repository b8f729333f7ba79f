/* test_attention.c -- attention with bias matrices, and the output head: nine checks in fp64 and fp32. */
#include "ks_test.h"
#include "op_driver.h"

#define PREC(c) ((c)->op->in[0].type == T_F32 ? KS_FP32 : KS_FP64)
enum { HEADS = 3, DH = 5, D = HEADS * DH, N_BIAS = 4, B = 2 };

/* n is the number of tokens; the large size runs one head's worth of frames only. */
static ks_status build(t_case *c) {
    const int64_t T = c->n;
    c->in_size[0]   = B * T * 3 * D;
    c->in_size[1]   = N_BIAS * B * T * T;
    c->in_size[2]   = HEADS * N_BIAS;
    c->out_size[0]  = B * T * D;
    c->out_size[1]  = B * HEADS * T * T;
    return KS_OK;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_attention_fwd(c->ctx, PREC(c), B, c->n, HEADS, D, N_BIAS, in[0], in[1], in[2], out[0], out[1]);
}
static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    return ks_attention_adj(c->ctx, PREC(c), B, c->n, HEADS, D, N_BIAS, N_BIAS, in[0], in[1], in[2], saved[1],
                            out_bar[0], in_bar[0], in_bar[1], in_bar[2]);
}
/* prob and y of one query, from the definition. */
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    const int64_t T = c->n;
    for (int64_t b = 0; b < B; b++)
        for (int64_t h = 0; h < HEADS; h++)
            for (int64_t s = 0; s < T; s++) {
                double *p = ref[1] + ((b * HEADS + h) * T + s) * T, sum = 0;
                for (int64_t t = 0; t < T; t++) {
                    double score = 0;
                    for (int64_t k = 0; k < DH; k++)
                        score += in[0][((b * T + s) * 3 + 0) * D + h * DH + k] *
                                 in[0][((b * T + t) * 3 + 1) * D + h * DH + k];
                    score /= sqrt((double)DH);
                    for (int64_t k = 0; k < N_BIAS; k++)
                        score += in[2][h * N_BIAS + k] * in[1][((k * B + b) * T + s) * T + t];
                    p[t] = exp(score);
                    sum += p[t];
                }
                for (int64_t t = 0; t < T; t++) p[t] /= sum;
                for (int64_t k = 0; k < DH; k++) {
                    double y = 0;
                    for (int64_t t = 0; t < T; t++) y += p[t] * in[0][((b * T + t) * 3 + 2) * D + h * DH + k];
                    ref[0][(b * T + s) * D + h * DH + k] = y;
                }
            }
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    switch (k) {
    case 0:
        return ks_attention_fwd(c->ctx, PREC(c), -1, c->n, HEADS, D, N_BIAS, in[0], in[1], in[2], out[0], out[1]);
    case 1:
        return ks_attention_fwd(c->ctx, PREC(c), B, c->n, 2, D, N_BIAS, in[0], in[1], in[2], out[0], out[1]);
    case 2:
        return ks_attention_fwd(c->ctx, PREC(c), B, c->n, HEADS, D, N_BIAS, in[0], NULL, in[2], out[0], out[1]);
    case 3:
        return ks_attention_fwd(c->ctx, PREC(c), B, 1LL << 40, HEADS, D, N_BIAS, in[0], in[1], in[2], out[0], out[1]);
    default:
        return ks_attention_adj(c->ctx, PREC(c), B, c->n, HEADS, D, N_BIAS, N_BIAS + 1, in[0], in[1], in[2], out[1],
                                out[0], NULL, NULL, NULL);
    }
}

/* Plain attention: no bias matrices at all. */
static ks_status plain_build(t_case *c) {
    c->in_size[0]  = B * c->n * 3 * D;
    c->out_size[0] = B * c->n * D;
    c->out_size[1] = B * HEADS * c->n * c->n;
    return KS_OK;
}
static ks_status plain_fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_attention_fwd(c->ctx, PREC(c), B, c->n, HEADS, D, 0, in[0], NULL, NULL, out[0], out[1]);
}
static ks_status plain_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[],
                           void *const in_bar[]) {
    return ks_attention_adj(c->ctx, PREC(c), B, c->n, HEADS, D, 0, 0, in[0], NULL, NULL, saved[1], out_bar[0],
                            in_bar[0], NULL, NULL);
}

/* Output head. */
static ks_status head_build(t_case *c) {
    c->in_size[0] = c->in_size[1] = B * c->n * D;
    c->out_size[0]                = B * c->n * c->n;
    return KS_OK;
}
static ks_status head_fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_head_fwd(c->ctx, PREC(c), B, c->n, D, in[0], in[1], out[0]);
}
static ks_status head_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[],
                          void *const in_bar[]) {
    (void)saved;
    return ks_head_adj(c->ctx, PREC(c), B, c->n, D, in[0], in[1], out_bar[0], in_bar[0], in_bar[1]);
}
static void head_golden(const t_case *c, double *const in[], double *const ref[]) {
    const int64_t T = c->n;
    for (int64_t i = 0; i < B * T * T; i++) {
        const double *qs = in[0] + i / T * D, *ks = in[1] + i / T * D;
        const double *qt = in[0] + (i / (T * T) * T + i % T) * D, *kt = in[1] + (i / (T * T) * T + i % T) * D;
        double        sum = 0;
        for (int64_t k = 0; k < D; k++) sum += qs[k] * kt[k] + ks[k] * qt[k];
        ref[0][i] = sum / (2 * sqrt((double)D));
    }
}
static ks_status head_bad(t_case *c, int k, void *const in[], void *const out[]) {
    return k == 0 ? ks_head_fwd(c->ctx, PREC(c), B, c->n, 0, in[0], in[1], out[0])
                  : ks_head_fwd(c->ctx, PREC(c), B, c->n, D, in[0], NULL, out[0]);
}

/* The published head: q = k, one array in two places. */
static ks_status same_build(t_case *c) {
    c->in_size[0]  = B * c->n * D;
    c->out_size[0] = B * c->n * c->n;
    return KS_OK;
}
static ks_status same_fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_head_fwd(c->ctx, PREC(c), B, c->n, D, in[0], in[0], out[0]);
}
static ks_status same_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[],
                          void *const in_bar[]) {
    (void)saved;
    return ks_head_adj(c->ctx, PREC(c), B, c->n, D, in[0], in[0], out_bar[0], in_bar[0], in_bar[0]);
}

int main(int argc, char **argv) {
#define SIZES .n_size = 6, .sizes = { 0, 1, 31, 32, 33, 130 }
#define OP(t)                                                                                                          \
    {                                                                                                                  \
        .name = "attention " #t, .n = 24, SIZES, .build = build, .fwd = fwd, .adj = adj, .golden = golden, .bad = bad, \
        .n_bad = 5,                                                                                                    \
        .in    = {{.name = "qkv", .type = t, .diff = 1},                                                               \
                  {.name = "bias", .type = t, .diff = 1},                                                              \
                  {.name = "mix", .type = t, .diff = 1}},                                                              \
        .out   = {                                                                                                     \
              {.name = "y", .type = t, .diff = 1},                                                                     \
              {.name = "prob", .type = t}                                                                              \
        }                                                                                                              \
    }
#define PLAIN(t)                                                                                                       \
    {                                                                                                                  \
        .name = "attention, no bias " #t, .n = 24, SIZES, .build = plain_build, .fwd = plain_fwd, .adj = plain_adj,    \
        .in = {{.name = "qkv", .type = t, .diff = 1}}, .out = {                                                        \
            {.name = "y", .type = t, .diff = 1},                                                                       \
            {.name = "prob", .type = t}                                                                                \
        }                                                                                                              \
    }
#define HEAD(t, eps)                                                                                                   \
    {                                                                                                                  \
        .name = "head " #t, .n = 24, SIZES, .build = head_build, .fwd = head_fwd, .adj = head_adj,                     \
        .golden = head_golden, .bad = head_bad, .n_bad = 2,                                                            \
        .in = {{.name = "q", .type = t, .diff = 1}, {.name = "k", .type = t, .diff = 1}}, .out = {                     \
            {.name = "w", .diff = 1, .tol = 8 * (eps)*D}                                                               \
        }                                                                                                              \
    }
#define SAME(t)                                                                                                        \
    {                                                                                                                  \
        .name = "head q = k " #t, .n = 24, SIZES, .build = same_build, .fwd = same_fwd, .adj = same_adj,               \
        .in = {{.name = "q", .type = t, .diff = 1}}, .out = {                                                          \
            {.name = "w", .diff = 1}                                                                                   \
        }                                                                                                              \
    }
    static const t_op ops[] = {
        OP(T_F64),   OP(T_F32),  PLAIN(T_F64), PLAIN(T_F32), HEAD(T_F64, TOL_EPS), HEAD(T_F32, TOL_EPS32),
        SAME(T_F64), SAME(T_F32)};
    t_op_init(argc, argv);
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) t_op_run(&ops[k]);
    return t_done("attention", 8 * 6);
}
