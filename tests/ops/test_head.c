/* test_head.c -- output head: nine checks in fp64 and fp32, with two arrays and with one in two places. */
#include "ks_test.h"
#include "op_driver.h"

#define PREC(c) ((c)->op->in[0].type == T_F32 ? KS_FP32 : KS_FP64)
enum { B = 2 };
static int64_t g_d; /* channels; n is the number of tokens */

static ks_status build(t_case *c) {
    c->in_size[0] = c->in_size[1] = B * c->n * g_d;
    c->out_size[0]                = B * c->n * c->n;
    return KS_OK;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_head_fwd(c->ctx, PREC(c), B, c->n, g_d, in[0], in[1], out[0]);
}
static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    (void)saved;
    return ks_head_adj(c->ctx, PREC(c), B, c->n, g_d, in[0], in[1], out_bar[0], in_bar[0], in_bar[1]);
}
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    const int64_t T = c->n;
    for (int64_t i = 0; i < B * T * T; i++) {
        const double *qs = in[0] + i / T * g_d, *ks = in[1] + i / T * g_d;
        const double *qt = in[0] + (i / (T * T) * T + i % T) * g_d, *kt = in[1] + (i / (T * T) * T + i % T) * g_d;
        double        sum = 0;
        for (int64_t k = 0; k < g_d; k++) sum += qs[k] * kt[k] + ks[k] * qt[k];
        ref[0][i] = sum / (2 * sqrt((double)g_d));
    }
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    return k == 0 ? ks_head_fwd(c->ctx, PREC(c), B, c->n, 0, in[0], in[1], out[0])
                  : ks_head_fwd(c->ctx, PREC(c), B, c->n, g_d, in[0], NULL, out[0]);
}

/* The published head: q = k, one array in two places. */
static ks_status same_build(t_case *c) {
    c->in_size[0]  = B * c->n * g_d;
    c->out_size[0] = B * c->n * c->n;
    return KS_OK;
}
static ks_status same_fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_head_fwd(c->ctx, PREC(c), B, c->n, g_d, in[0], in[0], out[0]);
}
static ks_status same_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[],
                          void *const in_bar[]) {
    (void)saved;
    return ks_head_adj(c->ctx, PREC(c), B, c->n, g_d, in[0], in[0], out_bar[0], in_bar[0], in_bar[0]);
}

/* w is symmetric to the bit. */
static void test_symmetric(ks_precision prec) {
    enum { N = 50, WIDTH = 40 };
    static double w[B * N * N], x[2][B * N * WIDTH];
    ks_ctx       *ctx   = t_op_ctx(1);
    void         *in[2] = {NULL, NULL}, *out = NULL;
    int64_t       differ = 0;
    uint64_t      state  = 3;
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < B * N * WIDTH; i++) {
            state              = state * 6364136223846793005u + 1442695040888963407u;
            const double value = (double)(state >> 40) / (double)(1 << 23) - 1;
            if (prec == KS_FP64) x[k][i] = value;
            else ((float *)x[k])[i] = (float)value;
        }
        T_OK(ks_mem_alloc(ctx, sizeof x[k], &in[k]));
        T_OK(ks_mem_to_backend(ctx, in[k], x[k], sizeof x[k]));
    }
    T_OK(ks_mem_alloc(ctx, sizeof w, &out));
    T_OK(ks_head_fwd(ctx, prec, B, N, WIDTH, in[0], in[1], out));
    T_OK(ks_mem_to_host(ctx, w, out, sizeof w));
    for (int64_t b = 0; b < B; b++)
        for (int64_t s = 0; s < N; s++)
            for (int64_t t = 0; t < N; t++) differ += !(w[(b * N + s) * N + t] == w[(b * N + t) * N + s]);
    T_CHECK(differ == 0, "%lld elements are not symmetric", (long long)differ);
    for (int k = 0; k < 2; k++) ks_mem_free(ctx, &in[k]);
    ks_mem_free(ctx, &out);
    ks_ctx_destroy(&ctx);
}

int main(int argc, char **argv) {
    /* Sums over 70 channels at most; w is fp64, its products in the working precision. */
#define OP(t, eps, size, ...)                                                                                          \
    {                                                                                                                  \
        .name = "head " #t, .n = size, __VA_ARGS__, .build = build, .fwd = fwd, .adj = adj, .golden = golden,          \
        .bad = bad, .n_bad = 2, .in = {{.name = "q", .type = t, .diff = 1}, {.name = "k", .type = t, .diff = 1}},      \
        .out = {                                                                                                       \
            {.name = "w", .diff = 1, .tol = 8 * (eps)*15}                                                              \
        }                                                                                                              \
    }
#define SAME(t, eps)                                                                                                   \
    {                                                                                                                  \
        .name = "head q = k " #t, .n = 24, SIZES, .build = same_build, .fwd = same_fwd, .adj = same_adj,               \
        .in = {{.name = "q", .type = t, .diff = 1}}, .out = {                                                          \
            {.name = "w", .diff = 1, .tol = 8 * (eps)*15}                                                              \
        }                                                                                                              \
    }
#define SIZES .n_size = 6, .sizes = {0, 1, 31, 32, 33, 130}
#define FEW .n_size = 2, .sizes = {5, 49}
    static const t_op narrow[] = {OP(T_F64, TOL_EPS, 24, SIZES), OP(T_F32, TOL_EPS32, 24, SIZES), SAME(T_F64, TOL_EPS),
                                  SAME(T_F32, TOL_EPS32)};
    static const t_op wide[]   = {OP(T_F64, TOL_EPS, 11, FEW), OP(T_F32, TOL_EPS32, 11, FEW)};
    t_op_init(argc, argv);
    g_d = 15;
    for (size_t k = 0; k < sizeof narrow / sizeof *narrow; k++) t_op_run(&narrow[k]);
    g_d = 70; /* more than one chunk and one tile of channels */
    for (size_t k = 0; k < sizeof wide / sizeof *wide; k++) t_op_run(&wide[k]);
    test_symmetric(KS_FP64);
    test_symmetric(KS_FP32);
    return t_done("head", 4 * 8 + 2 * 7 + 2);
}
