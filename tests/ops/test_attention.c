/* test_attention.c -- attention with bias matrices: nine checks in fp64 and fp32; rims of the tiles of tokens (48), of
 * channels (32, 64) and rows of scores that do not fit shared memory. */
#include <string.h>
#include "ks_test.h"
#include "op_driver_impl.h"

#define PREC(c) ((c)->op->in[0].type == T_F32 ? KS_FP32 : KS_FP64)

/* Of the ops that run; n is the number of tokens. */
typedef struct shape {
    int64_t frames, heads, dh, biases;
} shape;
static shape   g;
static int64_t width(void) { return g.heads * g.dh; }

static ks_status build(t_case *c) {
    const int64_t T = c->n;
    c->in_size[0]   = g.frames * T * 3 * width();
    c->in_size[1]   = g.biases * g.frames * T * T;
    c->in_size[2]   = g.heads * g.biases;
    c->out_size[0]  = g.frames * T * width();
    c->out_size[1]  = g.frames * g.heads * T * T;
    return KS_OK;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_attention_fwd(c->ctx, PREC(c), g.frames, c->n, g.heads, width(), g.biases, in[0], in[1], in[2], out[0],
                            out[1]);
}
static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    return ks_attention_adj(c->ctx, PREC(c), g.frames, c->n, g.heads, width(), g.biases, g.biases, in[0], in[1], in[2],
                            saved[1], out_bar[0], in_bar[0], in_bar[1], in_bar[2]);
}
/* prob and y of one query, from the definition. */
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    const int64_t T = c->n, D = width();
    for (int64_t b = 0; b < g.frames; b++)
        for (int64_t h = 0; h < g.heads; h++)
            for (int64_t s = 0; s < T; s++) {
                double *p = ref[1] + ((b * g.heads + h) * T + s) * T, sum = 0;
                for (int64_t t = 0; t < T; t++) {
                    double score = 0;
                    for (int64_t k = 0; k < g.dh; k++)
                        score += in[0][((b * T + s) * 3 + 0) * D + h * g.dh + k] *
                                 in[0][((b * T + t) * 3 + 1) * D + h * g.dh + k];
                    score /= sqrt((double)g.dh);
                    for (int64_t k = 0; k < g.biases; k++)
                        score += in[2][h * g.biases + k] * in[1][((k * g.frames + b) * T + s) * T + t];
                    p[t] = exp(score);
                    sum += p[t];
                }
                for (int64_t t = 0; t < T; t++) p[t] /= sum;
                for (int64_t k = 0; k < g.dh; k++) {
                    double y = 0;
                    for (int64_t t = 0; t < T; t++) y += p[t] * in[0][((b * T + t) * 3 + 2) * D + h * g.dh + k];
                    ref[0][(b * T + s) * D + h * g.dh + k] = y;
                }
            }
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    const ks_precision prec = PREC(c);
    const int64_t      D    = width();
    switch (k) {
    case 0:
        return ks_attention_fwd(c->ctx, prec, -1, c->n, g.heads, D, g.biases, in[0], in[1], in[2], out[0], out[1]);
    case 1:
        return ks_attention_fwd(c->ctx, prec, g.frames, c->n, D + 1, D, g.biases, in[0], in[1], in[2], out[0], out[1]);
    case 2:
        return ks_attention_fwd(c->ctx, prec, g.frames, c->n, g.heads, D, g.biases, in[0], NULL, in[2], out[0], out[1]);
    case 3:
        return ks_attention_fwd(c->ctx, prec, g.frames, 1LL << 40, g.heads, D, g.biases, in[0], in[1], in[2], out[0],
                                out[1]);
    default:
        return ks_attention_adj(c->ctx, prec, g.frames, c->n, g.heads, D, g.biases, g.biases + 1, in[0], in[1], in[2],
                                out[1], out[0], NULL, NULL, NULL);
    }
}

/* Plain attention: no bias matrices at all. */
static ks_status plain_build(t_case *c) {
    (void)build(c);
    c->in_size[1] = c->in_size[2] = 0;
    return KS_OK;
}
static ks_status plain_fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_attention_fwd(c->ctx, PREC(c), g.frames, c->n, g.heads, width(), 0, in[0], NULL, NULL, out[0], out[1]);
}
static ks_status plain_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[],
                           void *const in_bar[]) {
    return ks_attention_adj(c->ctx, PREC(c), g.frames, c->n, g.heads, width(), 0, 0, in[0], NULL, NULL, saved[1],
                            out_bar[0], in_bar[0], NULL, NULL);
}

/* Cotangents of the first matrices alone are those of all, bit for bit. */
static void test_first_biases(void) {
    enum { T = 9, D = 8, HEADS = 2, BIAS = 3, QKV = T * 3 * D, ALL = QKV + BIAS * T * T + HEADS * BIAS + 2 * T * D };
    static double x[ALL], all[BIAS * T * T], one[BIAS * T * T];
    uint64_t      seed = 4;
    ks_ctx       *ctx  = t_op_ctx(1);
    void         *pool = NULL, *prob = NULL, *out = NULL;
    for (int i = 0; i < ALL; i++) x[i] = t_random(&seed);
    T_OK(ks_mem_alloc(ctx, sizeof x, &pool));
    T_OK(ks_mem_alloc(ctx, HEADS * T * T * sizeof *x, &prob));
    T_OK(ks_mem_alloc(ctx, sizeof all, &out));
    T_OK(ks_mem_to_backend(ctx, pool, x, sizeof x));
    double *qkv = pool, *bias = qkv + QKV, *mix = bias + BIAS * T * T, *y = mix + HEADS * BIAS, *y_bar = y + T * D;
    T_OK(ks_attention_fwd(ctx, KS_FP64, 1, T, HEADS, D, BIAS, qkv, bias, mix, y, prob));
    for (int n = BIAS; n >= 1; n -= 2) {
        T_OK(ks_mem_zero(ctx, out, sizeof all));
        T_OK(ks_attention_adj(ctx, KS_FP64, 1, T, HEADS, D, BIAS, n, qkv, bias, mix, prob, y_bar, NULL, out, NULL));
        T_OK(ks_mem_to_host(ctx, n == 1 ? one : all, out, sizeof all));
    }
    T_CHECK(all[0] != 0 && !memcmp(all, one, T * T * sizeof *all), "the first matrix");
    for (int i = T * T; i < BIAS * T * T; i++) T_CHECK(one[i] == 0 && all[i] != 0, "element %d: %g", i, one[i]);
    ks_mem_free(ctx, &pool);
    ks_mem_free(ctx, &prob);
    ks_mem_free(ctx, &out);
    ks_ctx_destroy(&ctx);
}

int main(int argc, char **argv) {
#define OP(t, size, ...)                                                                                               \
    {                                                                                                                  \
        .name = "attention " #t, .n = size, __VA_ARGS__, .build = build, .fwd = fwd, .adj = adj, .golden = golden,     \
        .bad = bad, .n_bad = 5,                                                                                        \
        .in  = {{.name = "qkv", .type = t, .diff = 1},                                                                 \
                {.name = "bias", .type = t, .diff = 1},                                                                \
                {.name = "mix", .type = t, .diff = 1}},                                                                \
        .out = {                                                                                                       \
            {.name = "y", .type = t, .diff = 1},                                                                       \
            {.name = "prob", .type = t}                                                                                \
        }                                                                                                              \
    }
#define PLAIN(t)                                                                                                       \
    {                                                                                                                  \
        .name = "attention, no bias " #t, .n = 24, .n_size = 3, .sizes = {0, 1, 49}, .build = plain_build,             \
        .fwd = plain_fwd, .adj = plain_adj, .in = {{.name = "qkv", .type = t, .diff = 1}}, .out = {                    \
            {.name = "y", .type = t, .diff = 1},                                                                       \
            {.name = "prob", .type = t}                                                                                \
        }                                                                                                              \
    }
    static const t_op many[] = {OP(T_F64, 24, .n_size = 6, .sizes = {0, 1, 31, 32, 33, 130}),
                                OP(T_F32, 24, .n_size = 6, .sizes = {0, 1, 31, 32, 33, 130}), PLAIN(T_F64),
                                PLAIN(T_F32)};
    static const t_op few[]  = {OP(T_F64, 11, .n_size = 2, .sizes = {5, 33}),
                                OP(T_F32, 11, .n_size = 2, .sizes = {5, 33})};
    static const t_op wide[] = {OP(T_F64, 11, .n_size = 1, .sizes = {49}), OP(T_F32, 11, .n_size = 1, .sizes = {49})};
    static const t_op tall   = OP(T_F64, 5, .n_size = 1, .sizes = {270}, .trials = 1);
    t_op_init(argc, argv);
    g = (shape){.frames = 2, .heads = 3, .dh = 5, .biases = 4};
    for (size_t k = 0; k < sizeof many / sizeof *many; k++) t_op_run(&many[k]);
    g = (shape){.frames = 2, .heads = 2, .dh = 24, .biases = 7};
    for (size_t k = 0; k < sizeof few / sizeof *few; k++) t_op_run(&few[k]);
    g = (shape){.frames = 1, .heads = 1, .dh = 72, .biases = 7};
    for (size_t k = 0; k < sizeof wide / sizeof *wide; k++) t_op_run(&wide[k]);
    g = (shape){.frames = 1, .heads = 1, .dh = 8, .biases = 1};
    t_op_run(&tall);
    test_first_biases();
    return t_done("attention", 2 * 8 + 2 * 7 + 5 * 8 + 1);
}
