/* test_bf16.c -- KS_BF16: linear layers multiply factors rounded to bfloat16 and sum in fp32; every other op is that of
 * fp32, bit for bit. A rounded function has no difference quotient, so forward and adjoint are each compared with a
 * product in long double of numbers rounded here, by another route; test_linear.c has the derivatives. */
#include <string.h>
#include "ks_test.h"
#include "ksgrad/net.h"
#include "op_driver_impl.h"

enum { D_IN = 37 };

/* TOL_SUM32(root^2), but constant for every compiler: sums of 37, 203 and 257 terms below. */
#define SUM32(root) (4 * TOL_EPS32 * (root))

/* Nearest number of 8 significant bits, ties to even, by arithmetic on the value. */
static double nearest(double x) {
    int          e;
    const double m = frexp(x, &e);
    return x == 0 || !isfinite(x) ? x : ldexp(nearbyint(ldexp(m, 8)), e - 8);
}

static int64_t d_out(const t_case *c) { return c->n > 200 ? 203 : 11; }

static ks_status build_fwd(t_case *c) {
    c->in_size[0]  = c->n * D_IN;
    c->in_size[1]  = d_out(c) * D_IN;
    c->in_size[2]  = d_out(c);
    c->out_size[0] = c->n * d_out(c);
    return KS_OK;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_linear_fwd(c->ctx, KS_BF16, c->n, D_IN, d_out(c), in[0], in[1], in[2], out[0]);
}
static void golden_fwd(const t_case *c, double *const in[], double *const ref[]) {
    for (int64_t i = 0; i < c->n; i++)
        for (int64_t o = 0; o < d_out(c); o++) {
            long double s = (long double)in[2][o];
            for (int64_t k = 0; k < D_IN; k++)
                s += (long double)nearest(in[0][i * D_IN + k]) * (long double)nearest(in[1][o * D_IN + k]);
            ref[0][i * d_out(c) + o] = (double)s;
        }
}
static ks_status bad_fwd(t_case *c, int k, void *const in[], void *const out[]) {
    return k == 0 ? ks_linear_fwd(c->ctx, KS_BF16, -1, D_IN, d_out(c), in[0], in[1], in[2], out[0])
                  : ks_linear_fwd(c->ctx, KS_BF16, c->n, D_IN, d_out(c), in[0], NULL, in[2], out[0]);
}

/* The adjoint as an op of its own: into zeros. */
static ks_status build_adj(t_case *c) {
    c->in_size[0] = c->out_size[0] = c->n * D_IN;
    c->in_size[1] = c->out_size[1] = d_out(c) * D_IN;
    c->in_size[2]                  = c->n * d_out(c);
    c->out_size[2]                 = d_out(c);
    return KS_OK;
}
static ks_status adj(t_case *c, void *const in[], void *const out[]) {
    ks_status st = KS_OK;
    for (int k = 0; k < 3; k++) KS_TRY(ks_mem_zero(c->ctx, out[k], (size_t)c->out_size[k] * sizeof(float)));
    KS_TRY(ks_linear_adj(c->ctx, KS_BF16, c->n, D_IN, d_out(c), in[0], in[1], in[2], out[0], out[1], out[2]));
done:
    return st;
}
static void golden_adj(const t_case *c, double *const in[], double *const ref[]) {
    const int64_t m = d_out(c);
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < c->out_size[k]; i++) ref[k][i] = 0;
    for (int64_t i = 0; i < c->n; i++)
        for (int64_t o = 0; o < m; o++) {
            const double y = nearest(in[2][i * m + o]);
            for (int64_t k = 0; k < D_IN; k++) {
                ref[0][i * D_IN + k] += y * nearest(in[1][o * D_IN + k]);
                ref[1][o * D_IN + k] += y * nearest(in[0][i * D_IN + k]);
            }
            ref[2][o] += in[2][i * m + o]; /* not a product: not rounded */
        }
}

static void *to_backend(ks_ctx *ctx, const void *x, size_t bytes) {
    void *p = NULL;
    T_OK(ks_mem_alloc(ctx, bytes, &p));
    T_OK(ks_mem_to_backend(ctx, p, x, bytes));
    return p;
}

/* y = round(x) 1: ties, carries into the exponent, the ends of the range, what is not a number. */
static void test_rounding(void) {
    enum { N = 12 };
    const uint32_t from[N] = {0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001, 0xbf817fff, 0x3fffff00,
                              0x7f7fffff, 0x00000000, 0x80000000, 0x7f800000, 0x7f800001, 0xffffffff};
    const uint32_t want[N] = {0x3f800000, 0x3f800000, 0x3f820000, 0x3f810000, 0xbf810000, 0x40000000,
                              0x7f800000, 0x00000000, 0x80000000, 0x7f800000, 0,          0};
    const float    one     = 1;
    ks_ctx        *ctx     = t_op_ctx(1);
    uint32_t       got[N];
    void          *x = to_backend(ctx, from, sizeof from), *w = to_backend(ctx, &one, sizeof one);
    void          *y = to_backend(ctx, from, sizeof from);
    T_OK(ks_linear_fwd(ctx, KS_BF16, N, 1, 1, x, w, NULL, y));
    T_OK(ks_mem_to_host(ctx, got, y, sizeof got));
    for (int i = 0; i < N; i++) {
        float f;
        memcpy(&f, &got[i], sizeof f);
        if (i >= 10) T_CHECK(isnan(f), "%08x became %08x", from[i], got[i]);
        else T_CHECK(got[i] == want[i] || (want[i] == 0x80000000 && f == 0), "%08x became %08x", from[i], got[i]);
    }
    ks_mem_free(ctx, &x);
    ks_mem_free(ctx, &w);
    ks_mem_free(ctx, &y);
    ks_ctx_destroy(&ctx);
}

/* Cotangents that are wanted do not depend on those that are not, and are added. */
static void test_wanted(void) {
    enum { N = 33, OUT = 11, NX = N * D_IN, NW = OUT * D_IN };
    static float in[NX + NW + N * OUT], full[3][NX], part[3][NX], seven[NX];
    const size_t bytes[3] = {NX * sizeof(float), NW * sizeof(float), OUT * sizeof(float)};
    uint64_t     seed     = 5;
    ks_ctx      *ctx      = t_op_ctx(1);
    for (size_t i = 0; i < sizeof in / sizeof *in; i++) in[i] = (float)t_random(&seed);
    for (int i = 0; i < NX; i++) seven[i] = 7;
    void *x = to_backend(ctx, in, bytes[0]), *w = to_backend(ctx, in + NX, bytes[1]);
    void *y = to_backend(ctx, in + NX + NW, N * OUT * sizeof(float));
    for (int set = 7; set > 0; set--) {
        void *out[3] = {NULL, NULL, NULL};
        for (int k = 0; k < 3; k++)
            if (set >> k & 1) out[k] = to_backend(ctx, seven, bytes[k]);
        T_OK(ks_linear_adj(ctx, KS_BF16, N, D_IN, OUT, x, w, y, out[0], out[1], out[2]));
        for (int k = 0; k < 3; k++) {
            if (!out[k]) continue;
            T_OK(ks_mem_to_host(ctx, set == 7 ? full[k] : part[k], out[k], bytes[k]));
            T_CHECK(set == 7 || !memcmp(full[k], part[k], bytes[k]), "cotangent %d with set %d", k, set);
            ks_mem_free(ctx, &out[k]);
        }
    }
    double sum = 0;
    for (int i = 0; i < N; i++) sum += (double)in[NX + NW + i * OUT];
    T_CLOSE(full[2][0], 7 + sum, 1e-5, 0); /* 33 terms of fp32 below 1 */
    ks_mem_free(ctx, &x);
    ks_mem_free(ctx, &w);
    ks_mem_free(ctx, &y);
    ks_ctx_destroy(&ctx);
}

/* ---- everything else ---- */

enum { ROWS = 10, D = 12, HEADS = 2, T = 5, B = 2, BIAS = 3, N_OUT = 6, ALL = 4096 };

/* A chain of the other ops, forward and adjoint; all arrays in one pool of floats. */
static void chain(ks_ctx *ctx, ks_precision prec, const float *seed_values, float *result) {
    void   *pool = to_backend(ctx, seed_values, ALL * sizeof(float));
    float  *x = pool, *gain = x + ROWS * D, *shift = gain + D, *h = shift + D, *stat = h + ROWS * D;
    float  *qkv = stat + 2 * ROWS, *bias = qkv + 3 * ROWS * D, *mix = bias + BIAS * B * T * T;
    float  *y = mix + HEADS * BIAS, *prob = y + ROWS * D, *g = prob + B * HEADS * T * T, *s = g + ROWS * D;
    float  *x_bar = s + ROWS * D, *w_even = x_bar + 3 * ROWS * D, *bars = w_even + 2 * B * T * T + 1;
    double *w = (double *)(((uintptr_t)w_even + 7) / 8 * 8);
    T_CHECK(bars + BIAS * B * T * T + HEADS * BIAS + 2 * D <= x + ALL, "pool");
    T_OK(ks_layer_norm_fwd(ctx, prec, ROWS, D, x, gain, shift, h, stat));
    T_OK(ks_attention_fwd(ctx, prec, B, T, HEADS, D, BIAS, qkv, bias, mix, y, prob));
    T_OK(ks_gelu_fwd(ctx, prec, ROWS * D, y, g));
    T_OK(ks_residual_fwd(ctx, prec, ROWS * D, h, g, s));
    T_OK(ks_head_fwd(ctx, prec, B, T, D, s, h, w));
    T_OK(ks_head_adj(ctx, prec, B, T, D, s, h, w, x_bar, x_bar + ROWS * D));
    T_OK(ks_residual_adj(ctx, prec, ROWS * D, x_bar, x_bar + ROWS * D, x_bar + 2 * ROWS * D));
    T_OK(ks_gelu_adj(ctx, prec, ROWS * D, y, x_bar + 2 * ROWS * D, x_bar));
    T_OK(ks_attention_adj(ctx, prec, B, T, HEADS, D, BIAS, BIAS, qkv, bias, mix, prob, x_bar + ROWS * D, qkv, bars,
                          bars + BIAS * B * T * T));
    T_OK(ks_layer_norm_adj(ctx, prec, ROWS, D, x, gain, stat, x_bar, x, bars, bars + D));
    T_OK(ks_mem_to_host(ctx, result, pool, ALL * sizeof(float)));
    ks_mem_free(ctx, &pool);
}
static void test_others(void) {
    static float from[ALL], single[ALL], half[ALL];
    uint64_t     seed    = 11;
    ks_ctx      *ctx     = t_op_ctx(1);
    int64_t      changed = 0, finite = 1;
    for (int i = 0; i < ALL; i++) from[i] = (float)t_random(&seed);
    chain(ctx, KS_FP32, from, single);
    chain(ctx, KS_BF16, from, half);
    for (int i = 0; i < ALL; i++) changed += memcmp(&from[i], &single[i], sizeof from[i]) != 0;
    for (int i = 0; i < ROWS * D; i++) finite &= isfinite(single[i]) != 0;
    T_CHECK(changed > 1000 && finite, "%lld numbers written", (long long)changed);
    T_CHECK(!memcmp(single, half, sizeof half), "an op other than linear computes differently in bf16");
    ks_ctx_destroy(&ctx);
}

int main(int argc, char **argv) {
    /* A rounded factor is off by up to 2^-9 of itself: a product that does not round misses these by a hundred times. */
    static const t_op ops[2] = {
        {.name   = "linear bf16",
         .n      = 230,
         .build  = build_fwd,
         .fwd    = fwd,
         .golden = golden_fwd,
         .bad    = bad_fwd,
         .n_bad  = 2,
         .in     = {{.name = "x", .type = T_F32}, {.name = "w", .type = T_F32}, {.name = "b", .type = T_F32}},
         .out    = {{.name = "y", .type = T_F32, .tol = SUM32(6.0)}}},
        {.name   = "linear bf16, adjoint",
         .n      = 230,
         .build  = build_adj,
         .fwd    = adj,
         .golden = golden_adj,
         .in     = {{.name = "x", .type = T_F32}, {.name = "w", .type = T_F32}, {.name = "y_bar", .type = T_F32}},
         .out    = {{.name = "x_bar", .type = T_F32, .tol = SUM32(14.2)},
                    {.name = "w_bar", .type = T_F32, .tol = SUM32(16.0)},
                    {.name = "b_bar", .type = T_F32, .tol = SUM32(16.0)}}}};
    t_op_init(argc, argv);
    for (int k = 0; k < 2; k++) t_op_run(&ops[k]);
    test_rounding();
    test_wanted();
    test_others();
    return t_done("bf16", 2 * 4 + 12 + 12 + 3);
}
