/* net_cpu.c -- CPU slots of the transformer ops. Matrix products are OpenBLAS (one thread each) on tiles cut by the
 * problem's sizes; everything else is in net_lanes.c. The precision-independent part is here, the rest in
 * net_cpu_real.inc. */
#include "ops/net_cpu.h"
#include <cblas.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include "ops/net_lanes.h"
#include "pointwise/bf16.h"

/* Tiles of a product: enough work per OpenBLAS call (80-90 % of its peak from 64 x 128 x 64 on, measured on Zen 3),
 * enough tiles for one uracil (132 rows) on a few cores. */
enum { TILE_ROWS = 96, TILE_COLS = 192, ROW_BLOCK = 64, FLAT_BLOCK = 8192, CHANNEL_BLOCK = 64 };

/* Below about 10 us of work a parallel region costs more than it gains: one thread does it. The cuts, and with them the
 * results, stay the same. Multiply-adds of a product; elements of a pass over memory. */
enum { PARALLEL_PRODUCT = 1 << 19, PARALLEL_ELEMENTS = 1 << 15 };

/* Chosen once: the instruction set does not change while the program runs. */
static const ks_net_lanes *lanes_now(void) {
    static _Atomic(const ks_net_lanes *) chosen;
    const ks_net_lanes                  *l = atomic_load_explicit(&chosen, memory_order_acquire);
    if (l) return l;
    l = &ks_net_lanes_base;
#if defined(__x86_64__)
    if (!strcmp(ks_cpu_isa(), "avx512")) l = &ks_net_lanes_avx512;
    if (!strcmp(ks_cpu_isa(), "avx2")) l = &ks_net_lanes_avx2;
#endif
    atomic_store_explicit(&chosen, l, memory_order_release);
    return l;
}

/* Cutting 0..n into equal pieces of at most `target`, all starts multiples of 8. */
typedef struct cut {
    int64_t n, step, count;
} cut;
static cut cut_make(int64_t n, int64_t target) {
    const int64_t pieces = (n + target - 1) / target;
    cut           c      = {n, 0, 0};
    if (pieces == 0) return c;
    c.step  = ((n + pieces - 1) / pieces + 7) / 8 * 8;
    c.count = (n + c.step - 1) / c.step;
    return c;
}
static int64_t cut_start(cut c, int64_t k) { return k * c.step; }
static int64_t cut_len(cut c, int64_t k) { return c.n - k * c.step < c.step ? c.n - k * c.step : c.step; }

#define KS_REAL float
#define KS_FN(name) name##_f32
#define KS_MEMBER f32
#define KS_GEMM cblas_sgemm
#include "ops/net_cpu_real.inc"
#define KS_REAL double
#define KS_FN(name) name##_f64
#define KS_MEMBER f64
#define KS_GEMM cblas_dgemm
#include "ops/net_cpu_real.inc"

#define BY_PRECISION(op, ...) (precision == KS_FP64 ? op##_f64(__VA_ARGS__) : op##_f32(__VA_ARGS__))

/* Every extent of a product must fit BLAS's int. */
static ks_status check_ints(int64_t a, int64_t b, int64_t c) {
    ks_status st = KS_OK;
    int       i;
    KS_TRY(ks_int(a, &i));
    KS_TRY(ks_int(b, &i));
    KS_TRY(ks_int(c, &i));
done:
    return st;
}

static ks_status check_index(const char *name, int64_t n, const int32_t *index, int64_t limit) {
    ks_status st = KS_OK;
    for (int64_t t = 0; t < n; t++)
        KS_CHECK(index[t] >= 0 && index[t] < limit, KS_ERR_ARG, "%s[%lld]=%d, limit 0..%lld", name, (long long)t,
                 index[t], (long long)limit - 1);
done:
    return st;
}

/* x rounded to bfloat16, as floats in scratch: products in fp32 of such numbers are what a GPU's bf16 products are. */
static ks_status rounded_of(ks_ctx *ctx, int64_t n, const float *x, const float **out) {
    ks_status st   = KS_OK;
    const cut flat = cut_make(n, FLAT_BLOCK);
    float    *r    = NULL;
    KS_TRY(KS_TAKE(ks_ctx_scratch(ctx), r, n));
#pragma omp parallel for schedule(static) num_threads(ctx->n_thread) if (n > PARALLEL_ELEMENTS)
    for (int64_t t = 0; t < flat.count; t++)
        for (int64_t i = cut_start(flat, t); i < cut_start(flat, t) + cut_len(flat, t); i++) r[i] = ks_bf16_round(x[i]);
    *out = r;
done:
    return st;
}

static ks_status linear_fwd_bf16(ks_ctx *ctx, int64_t n, int64_t d_in, int64_t d_out, const float *x, const float *w,
                                 const float *b, float *y) {
    ks_status           st   = KS_OK;
    const ks_arena_mark mark = ks_arena_get_mark(ks_ctx_scratch(ctx));
    KS_TRY(rounded_of(ctx, n * d_in, x, &x));
    KS_TRY(rounded_of(ctx, d_out * d_in, w, &w));
    linear_fwd_f32(ctx, n, d_in, d_out, x, w, b, y);
done:
    ks_arena_release(ks_ctx_scratch(ctx), mark);
    return st;
}

static ks_status linear_adj_bf16(ks_ctx *ctx, int64_t n, int64_t d_in, int64_t d_out, const float *x, const float *w,
                                 const float *y_bar, float *x_bar, float *w_bar, float *b_bar) {
    ks_status           st   = KS_OK;
    const ks_arena_mark mark = ks_arena_get_mark(ks_ctx_scratch(ctx));
    if (b_bar) linear_adj_f32(ctx, n, d_in, d_out, x, w, y_bar, NULL, NULL, b_bar);
    if (w_bar) KS_TRY(rounded_of(ctx, n * d_in, x, &x));
    if (x_bar) KS_TRY(rounded_of(ctx, d_out * d_in, w, &w));
    if (x_bar || w_bar) {
        KS_TRY(rounded_of(ctx, n * d_out, y_bar, &y_bar));
        linear_adj_f32(ctx, n, d_in, d_out, x, w, y_bar, x_bar, w_bar, NULL);
    }
done:
    ks_arena_release(ks_ctx_scratch(ctx), mark);
    return st;
}

ks_status ks_linear_fwd_cpu(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d_in, int64_t d_out, const void *x,
                            const void *w, const void *b, void *y) {
    const ks_status st = check_ints(n, d_in, d_out);
    if (st != KS_OK) return st;
    if (precision == KS_BF16) return linear_fwd_bf16(ctx, n, d_in, d_out, x, w, b, y);
    BY_PRECISION(linear_fwd, ctx, n, d_in, d_out, x, w, b, y);
    return KS_OK;
}
ks_status ks_linear_adj_cpu(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d_in, int64_t d_out, const void *x,
                            const void *w, const void *y_bar, void *x_bar, void *w_bar, void *b_bar) {
    const ks_status st = check_ints(n, d_in, d_out);
    if (st != KS_OK) return st;
    if (precision == KS_BF16) return linear_adj_bf16(ctx, n, d_in, d_out, x, w, y_bar, x_bar, w_bar, b_bar);
    BY_PRECISION(linear_adj, ctx, n, d_in, d_out, x, w, y_bar, x_bar, w_bar, b_bar);
    return KS_OK;
}
ks_status ks_layer_norm_fwd_cpu(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d, const void *x,
                                const void *gain, const void *shift, void *y, void *stat) {
    BY_PRECISION(layer_norm_fwd, ctx, n, d, x, gain, shift, y, stat);
    return KS_OK;
}
ks_status ks_layer_norm_adj_cpu(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d, const void *x,
                                const void *gain, const void *stat, const void *y_bar, void *x_bar, void *gain_bar,
                                void *shift_bar) {
    return BY_PRECISION(layer_norm_adj, ctx, n, d, x, gain, stat, y_bar, x_bar, gain_bar, shift_bar);
}
ks_status ks_gelu_fwd_cpu(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, void *y) {
    BY_PRECISION(gelu_fwd, ctx, n, x, y);
    return KS_OK;
}
ks_status ks_gelu_adj_cpu(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, const void *y_bar,
                          void *x_bar) {
    BY_PRECISION(gelu_adj, ctx, n, x, y_bar, x_bar);
    return KS_OK;
}
ks_status ks_residual_fwd_cpu(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, const void *f, void *y) {
    BY_PRECISION(residual_fwd, ctx, n, x, f, y);
    return KS_OK;
}
ks_status ks_residual_adj_cpu(ks_ctx *ctx, ks_precision precision, int64_t n, const void *y_bar, void *x_bar,
                              void *f_bar) {
    if (x_bar) BY_PRECISION(add_to, ctx, n, y_bar, x_bar);
    if (f_bar) BY_PRECISION(add_to, ctx, n, y_bar, f_bar);
    return KS_OK;
}

ks_status ks_embedding_fwd_cpu(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom,
                               int64_t n_kind, int64_t d, double scale, const int32_t *kind, const int32_t *atom,
                               const void *table, const void *u, void *x) {
    ks_status st = KS_OK;
    KS_TRY(check_index("kind", n_token, kind, n_kind));
    KS_TRY(check_index("atom", n_token, atom, n_atom));
    BY_PRECISION(embedding_fwd, ctx, n_frame, n_token, n_atom, d, scale, kind, atom, table, u, x);
done:
    return st;
}
ks_status ks_embedding_adj_cpu(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom,
                               int64_t n_kind, int64_t d, double scale, const int32_t *kind, const int32_t *atom,
                               const void *x_bar, void *table_bar, void *u_bar) {
    ks_status st = KS_OK;
    KS_TRY(check_index("kind", n_token, kind, n_kind));
    KS_TRY(check_index("atom", n_token, atom, n_atom));
    BY_PRECISION(embedding_adj, ctx, n_frame, n_token, n_atom, d, scale, kind, atom, x_bar, table_bar, u_bar);
done:
    return st;
}

ks_status ks_gram_fwd_cpu(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom,
                          int64_t d, const int32_t *atom, const void *u, void *bias, void *g, void *top) {
    ks_status st = KS_OK;
    KS_TRY(check_ints(n_token, n_atom, d));
    KS_TRY(check_index("atom", n_token, atom, n_atom));
    BY_PRECISION(gram_fwd, ctx, n_frame, n_token, n_atom, d, atom, u, bias, g, top);
done:
    return st;
}
ks_status ks_gram_adj_cpu(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom,
                          int64_t d, const int32_t *atom, const void *u, const void *g, const void *top,
                          const void *bias_bar, void *u_bar) {
    ks_status st = KS_OK;
    KS_TRY(check_ints(n_token, n_atom, d));
    KS_TRY(check_index("atom", n_token, atom, n_atom));
    KS_TRY(BY_PRECISION(gram_adj, ctx, n_frame, n_token, n_atom, d, atom, u, g, top, bias_bar, u_bar));
done:
    return st;
}

ks_status ks_attention_fwd_cpu(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_head,
                               int64_t d, int64_t n_bias, const void *qkv, const void *bias, const void *mix, void *y,
                               void *prob) {
    const ks_status st = check_ints(n_token, 3 * d, n_bias);
    if (st == KS_OK) BY_PRECISION(attention_fwd, ctx, n_frame, n_token, n_head, d, n_bias, qkv, bias, mix, y, prob);
    return st;
}
ks_status ks_attention_adj_cpu(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_head,
                               int64_t d, int64_t n_bias, int64_t n_bias_bar, const void *qkv, const void *bias,
                               const void *mix, const void *prob, const void *y_bar, void *qkv_bar, void *bias_bar,
                               void *mix_bar) {
    const ks_status st = check_ints(n_token, 3 * d, n_bias);
    if (st != KS_OK) return st;
    return BY_PRECISION(attention_adj, ctx, n_frame, n_token, n_head, d, n_bias, bias_bar ? n_bias_bar : 0, qkv, bias,
                        mix, prob, y_bar, qkv_bar, bias_bar, mix_bar);
}

ks_status ks_head_fwd_cpu(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t d,
                          const void *q, const void *k, double *w) {
    const ks_status st = check_ints(n_token, d, 0);
    return st == KS_OK ? BY_PRECISION(head_fwd, ctx, n_frame, n_token, d, q, k, w) : st;
}
ks_status ks_head_adj_cpu(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t d,
                          const void *q, const void *k, const double *w_bar, void *q_bar, void *k_bar) {
    const ks_status st = check_ints(n_token, d, 0);
    return st == KS_OK ? BY_PRECISION(head_adj, ctx, n_frame, n_token, d, q, k, w_bar, q_bar, k_bar) : st;
}

const ks_ops_net ks_ops_net_cpu = {
    .linear_fwd             = ks_linear_fwd_cpu,
    .linear_adj             = ks_linear_adj_cpu,
    .layer_norm_fwd         = ks_layer_norm_fwd_cpu,
    .layer_norm_adj         = ks_layer_norm_adj_cpu,
    .gelu_fwd               = ks_gelu_fwd_cpu,
    .gelu_adj               = ks_gelu_adj_cpu,
    .residual_fwd           = ks_residual_fwd_cpu,
    .residual_adj           = ks_residual_adj_cpu,
    .embedding_fwd          = ks_embedding_fwd_cpu,
    .embedding_adj          = ks_embedding_adj_cpu,
    .gram_fwd               = ks_gram_fwd_cpu,
    .gram_adj               = ks_gram_adj_cpu,
    .attention_fwd          = ks_attention_fwd_cpu,
    .attention_adj          = ks_attention_adj_cpu,
    .head_fwd               = ks_head_fwd_cpu,
    .head_adj               = ks_head_adj_cpu,
    .frame_fwd              = ks_frame_fwd_cpu,
    .position_fwd           = ks_position_fwd_cpu,
    .rotate_fwd             = ks_rotate_fwd_cpu,
    .rotate_adj             = ks_rotate_adj_cpu,
    .cholesky_transform_fwd = ks_cholesky_transform_fwd_cpu,
    .bias_fwd               = ks_bias_fwd_cpu,
};
