/* test_pack.c -- rounding to bfloat16 for the wire and back, from fp32 and fp64, aligned to 16 bytes and not. The driver
 * knows no 16-bit arrays: two of them are one of its 32-bit words, and odd lengths are tested by hand. */
#include <string.h>
#include "ks_test.h"
#include "op_driver_impl.h"

static ks_precision precision_of(t_type t) { return t == T_F32 ? KS_FP32 : KS_FP64; }
static size_t       bytes_of(t_type t) { return t == T_F32 ? sizeof(float) : sizeof(double); }

/* The nearest multiple of 2^(exponent - 7), ties to even: the current rounding mode. */
static double nearest(double x) {
    int e = 0;
    if (x == 0.0 || !isfinite(x)) return x;
    (void)frexp(x, &e);
    return ldexp(nearbyint(ldexp(x, 8 - e)), e - 8);
}
static uint32_t bits(double x) {
    const float f = (float)x;
    uint32_t    u;
    memcpy(&u, &f, sizeof u);
    return u >> 16;
}

/* ---- pack: x (2n) -> n words ---- */

static ks_status build(t_case *c) {
    c->in_size[0]  = 2 * c->n;
    c->out_size[0] = c->n;
    return KS_OK;
}
static ks_status pack(t_case *c, void *const in[], void *const out[]) {
    return ks_pack_bf16(c->ctx, precision_of(c->op->in[0].type), 2 * c->n, in[0], out[0]);
}
static void golden_pack(const t_case *c, double *const in[], double *const ref[]) {
    for (int64_t i = 0; i < c->n; i++) {
        const uint32_t w = bits(nearest(in[0][2 * i])) | bits(nearest(in[0][2 * i + 1])) << 16;
        ref[0][i]        = (double)(int32_t)w;
    }
}
static ks_status bad_pack(t_case *c, int k, void *const in[], void *const out[]) {
    const ks_precision p = precision_of(c->op->in[0].type);
    if (k == 0) return ks_pack_bf16(c->ctx, p, -1, in[0], out[0]);
    if (k == 1) return ks_pack_bf16(c->ctx, p, 1, NULL, out[0]);
    return k == 2 ? ks_pack_bf16(c->ctx, p, 1, in[0], NULL) : ks_pack_bf16(c->ctx, (ks_precision)9, 1, in[0], out[0]);
}

/* ---- unpack: n words -> x (2n) ---- */

static ks_status build_unpack(t_case *c) {
    c->in_size[0]  = c->n;
    c->out_size[0] = 2 * c->n;
    return KS_OK;
}
/* Words of two bfloat16 of size about 1. */
static void fill_words(const t_case *c, double *x) {
    for (int64_t i = 0; i < c->in_size[0]; i++)
        x[i] = (double)(int32_t)(bits(nearest(x[i])) | bits(nearest(1 - 3 * x[i])) << 16);
}
static ks_status unpack(t_case *c, void *const in[], void *const out[]) {
    return ks_unpack_bf16(c->ctx, precision_of(c->op->out[0].type), 2 * c->n, in[0], out[0]);
}
static double value_of(uint32_t half) {
    const int    e = (int)(half >> 7 & 0xff), m = (int)(half & 0x7f); /* no subnormal numbers here */
    const double x = e ? ldexp(128 + m, e - 127 - 7) : 0;
    return half & 0x8000 ? -x : x;
}
static void golden_unpack(const t_case *c, double *const in[], double *const ref[]) {
    for (int64_t i = 0; i < c->n; i++) {
        const uint32_t w  = (uint32_t)(int32_t)in[0][i];
        ref[0][2 * i]     = value_of(w & 0xffff);
        ref[0][2 * i + 1] = value_of(w >> 16);
    }
}
static ks_status bad_unpack(t_case *c, int k, void *const in[], void *const out[]) {
    const ks_precision p = precision_of(c->op->out[0].type);
    if (k == 0) return ks_unpack_bf16(c->ctx, p, -1, in[0], out[0]);
    if (k == 1) return ks_unpack_bf16(c->ctx, p, 1, NULL, out[0]);
    return k == 2 ? ks_unpack_bf16(c->ctx, p, 1, in[0], NULL)
                  : ks_unpack_bf16(c->ctx, (ks_precision)9, 1, in[0], out[0]);
}

/* ---- by hand ---- */

enum { MOST = 70, BEHIND = 8 };

/* Any length, beginning at any element: the same values as one by one, and nothing beside them is touched. */
static void test_lengths(ks_ctx *ctx, t_type type) {
    const size_t elem = bytes_of(type);
    float        f[MOST + 1];
    double       d[MOST + 1];
    uint16_t     y[MOST + 1 + BEHIND];
    void        *x_b = NULL, *back_b = NULL, *y_b = NULL;
    uint64_t     seed  = 3;
    int64_t      wrong = 0;
    for (int i = 0; i <= MOST; i++) d[i] = t_random(&seed), f[i] = (float)d[i];
    T_OK(ks_mem_alloc(ctx, sizeof d, &x_b));
    T_OK(ks_mem_alloc(ctx, sizeof d, &back_b));
    T_OK(ks_mem_alloc(ctx, sizeof y, &y_b));
    T_OK(ks_mem_to_backend(ctx, x_b, type == T_F32 ? (void *)f : (void *)d, (MOST + 1) * elem));
    for (int first = 0; first < 2; first++)
        for (int n = 0; n <= MOST - 1; n += n < 10 ? 1 : 7) {
            float  back_f[MOST + 1];
            double back_d[MOST + 1];
            memset(y, 0x5a, sizeof y);
            for (int i = 0; i <= MOST; i++) back_f[i] = -9, back_d[i] = -9;
            T_OK(ks_mem_to_backend(ctx, y_b, y, sizeof y));
            T_OK(ks_mem_to_backend(ctx, back_b, type == T_F32 ? (void *)back_f : (void *)back_d, (MOST + 1) * elem));
            T_OK(ks_pack_bf16(ctx, precision_of(type), n, (char *)x_b + (size_t)first * elem, (uint16_t *)y_b + first));
            T_OK(ks_unpack_bf16(ctx, precision_of(type), n, (uint16_t *)y_b + first,
                                (char *)back_b + (size_t)first * elem));
            T_OK(ks_mem_to_host(ctx, y, y_b, sizeof y));
            T_OK(ks_mem_to_host(ctx, type == T_F32 ? (void *)back_f : (void *)back_d, back_b, (MOST + 1) * elem));
            for (int i = 0; i <= MOST; i++) {
                const int    in   = i >= first && i < first + n;
                const double have = type == T_F32 ? (double)back_f[i] : back_d[i];
                wrong += y[i] != (in ? bits(nearest(f[i])) : 0x5a5a) || have != (in ? nearest(f[i]) : -9);
            }
        }
    T_CHECK(wrong == 0, "%lld elements", (long long)wrong);
    ks_mem_free(ctx, &x_b);
    ks_mem_free(ctx, &back_b);
    ks_mem_free(ctx, &y_b);
}

/* Ties, carries into the exponent, the ends of the range, what is not a number. */
static void test_rounding(ks_ctx *ctx) {
    enum { N = 15 };
    const uint32_t from[N] = {0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001, 0xbf817fff, 0x3fffff00, 0x7f7fffff, 0,
                              0x80000000, 0x7f800000, 0xff800000, 0x00018000, 0x7f800001, 0xffffffff, 0x7fffffff};
    const uint16_t want[N] = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xbf81, 0x4000, 0x7f80, 0,
                              0x8000, 0x7f80, 0xff80, 0x0002, 0,      0,      0}; /* the last three: any NaN */
    float          f[N], back[N];
    double         d[N];
    uint16_t       y[N];
    void          *x_b = NULL, *y_b = NULL;
    memcpy(f, from, sizeof f);
    T_OK(ks_mem_alloc(ctx, sizeof d, &x_b));
    T_OK(ks_mem_alloc(ctx, sizeof y, &y_b));
    for (int wide = 0; wide < 2; wide++) {
        for (int i = 0; i < N; i++) d[i] = (double)f[i];
        T_OK(ks_mem_to_backend(ctx, x_b, wide ? (void *)d : (void *)f, wide ? sizeof d : sizeof f));
        T_OK(ks_pack_bf16(ctx, wide ? KS_FP64 : KS_BF16, N, x_b, y_b));
        T_OK(ks_mem_to_host(ctx, y, y_b, sizeof y));
        T_OK(ks_unpack_bf16(ctx, KS_FP32, N, y_b, x_b));
        T_OK(ks_mem_to_host(ctx, back, x_b, sizeof back));
        for (int i = 0; i < N; i++) {
            if (i >= N - 3) T_CHECK((y[i] & 0x7fff) > 0x7f80 && isnan(back[i]), "%08x became %04x", from[i], y[i]);
            else T_CHECK(y[i] == want[i], "%08x became %04x, wanted %04x", from[i], y[i], want[i]);
        }
    }
    d[0] = 1e300; /* beyond fp32 */
    T_OK(ks_mem_to_backend(ctx, x_b, d, sizeof d[0]));
    T_OK(ks_pack_bf16(ctx, KS_FP64, 1, x_b, y_b));
    T_OK(ks_mem_to_host(ctx, y, y_b, sizeof y[0]));
    T_CHECK(y[0] == 0x7f80, "1e300 became %04x", y[0]);
    ks_mem_free(ctx, &x_b);
    ks_mem_free(ctx, &y_b);
}

int main(int argc, char **argv) {
    /* Exact. The words of pack are compared as integers, which fp64 holds. */
#define PACK(title, t)                                                                                                 \
    {                                                                                                                  \
        .name = title, .n = 40000, .build = build, .fwd = pack, .golden = golden_pack, .bad = bad_pack, .n_bad = 4,    \
        .in = {{.name = "x", .type = t}}, .out = {{.name = "y", .type = T_I32, .tol = 1e-15}},                         \
    }
#define UNPACK(title, t)                                                                                               \
    {                                                                                                                  \
        .name = title, .n = 40000, .build = build_unpack, .fwd = unpack, .golden = golden_unpack, .bad = bad_unpack,   \
        .n_bad = 4, .in = {{.name = "y", .type = T_I32, .fill = fill_words}},                                          \
        .out = {{.name = "x", .type = t, .tol = 1e-15}},                                                               \
    }
    static const t_op ops[] = {PACK("pack, fp32", T_F32), PACK("pack, fp64", T_F64), UNPACK("unpack, fp32", T_F32),
                               UNPACK("unpack, fp64", T_F64)};
    ks_ctx           *ctx   = NULL;
    t_op_init(argc, argv);
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) t_op_run(&ops[k]);
    ctx = t_op_ctx(2);
    test_lengths(ctx, T_F32);
    test_lengths(ctx, T_F64);
    test_rounding(ctx);
    ks_ctx_destroy(&ctx);
    return t_done("pack", 4 * 5 + 2 * 60 + 2 * 15);
}
