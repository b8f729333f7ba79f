/* net.c -- argument checks and dispatch of the transformer ops (net.h). CPU slots: net_cpu.c; CUDA: cuda/ops/net.cu. */
#include "ksgrad/net.h"
#include "ops/net_ops.h"

/* Sizes that the op multiplies must not overflow: checked once here, so that implementations may multiply freely. */
static ks_status check_product(const char *op, int64_t a, int64_t b, int64_t c, int64_t d) {
    ks_status     st        = KS_OK;
    const int64_t factor[4] = {a, b, c, d};
    int64_t       size      = (int64_t)sizeof(double);
    for (int k = 0; k < 4; k++) {
        KS_CHECK(factor[k] >= 0, KS_ERR_ARG, "%s: negative size %lld", op, (long long)factor[k]);
        if (factor[k] > 0)
            KS_CHECK(!__builtin_mul_overflow(size, factor[k], &size), KS_ERR_ARG,
                     "%s: %lld x %lld x %lld x %lld elements overflow", op, (long long)a, (long long)b, (long long)c,
                     (long long)d);
    }
done:
    return st;
}

#define CHECK_PRECISION(op)                                                                                            \
    KS_CHECK(ks_precision_is_known(precision), KS_ERR_ARG, op ": precision=%d is not fp32, fp64 or bf16",              \
             (int)precision)
/* For all ops but linear: their slots see the precision of the elements. */
#define ELEMENT_PRECISION(op)                                                                                          \
    do {                                                                                                               \
        CHECK_PRECISION(op);                                                                                           \
        precision = ks_element_precision(precision);                                                                   \
    } while (0)

ks_status ks_linear_fwd(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d_in, int64_t d_out, const void *x,
                        const void *w, const void *b, void *y) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, linear_fwd);
    CHECK_PRECISION("linear");
    KS_CHECK(d_in >= 1 && d_out >= 1, KS_ERR_ARG, "linear: d_in=%lld, d_out=%lld, limit >= 1", (long long)d_in,
             (long long)d_out);
    KS_TRY(check_product("linear", n, d_in, d_out, 1));
    KS_CHECK(w && ((x && y) || n == 0), KS_ERR_ARG, "linear: x, w or y is NULL");
    if (n) KS_TRY(ctx->backend->net->linear_fwd(ctx, precision, n, d_in, d_out, x, w, b, y));
done:
    return st;
}

ks_status ks_linear_adj(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d_in, int64_t d_out, const void *x,
                        const void *w, const void *y_bar, void *x_bar, void *w_bar, void *b_bar) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, linear_adj);
    CHECK_PRECISION("linear");
    KS_CHECK(d_in >= 1 && d_out >= 1, KS_ERR_ARG, "linear: d_in=%lld, d_out=%lld, limit >= 1", (long long)d_in,
             (long long)d_out);
    KS_TRY(check_product("linear", n, d_in, d_out, 1));
    KS_CHECK(w && ((x && y_bar) || n == 0), KS_ERR_ARG, "linear: x, w or y_bar is NULL");
    if (n) KS_TRY(ctx->backend->net->linear_adj(ctx, precision, n, d_in, d_out, x, w, y_bar, x_bar, w_bar, b_bar));
done:
    return st;
}

ks_status ks_layer_norm_fwd(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d, const void *x, const void *gain,
                            const void *shift, void *y, void *stat) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, layer_norm_fwd);
    ELEMENT_PRECISION("layer norm");
    KS_CHECK(d >= 1, KS_ERR_ARG, "layer norm: d=%lld, limit >= 1", (long long)d);
    KS_TRY(check_product("layer norm", n, d, 2, 1));
    KS_CHECK(gain && shift && ((x && y && stat) || n == 0), KS_ERR_ARG, "layer norm: an array is NULL");
    if (n) KS_TRY(ctx->backend->net->layer_norm_fwd(ctx, precision, n, d, x, gain, shift, y, stat));
done:
    return st;
}

ks_status ks_layer_norm_adj(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d, const void *x, const void *gain,
                            const void *stat, const void *y_bar, void *x_bar, void *gain_bar, void *shift_bar) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, layer_norm_adj);
    ELEMENT_PRECISION("layer norm");
    KS_CHECK(d >= 1, KS_ERR_ARG, "layer norm: d=%lld, limit >= 1", (long long)d);
    KS_TRY(check_product("layer norm", n, d, 2, 1));
    KS_CHECK(gain && ((x && stat && y_bar) || n == 0), KS_ERR_ARG, "layer norm: an array is NULL");
    if (n)
        KS_TRY(
            ctx->backend->net->layer_norm_adj(ctx, precision, n, d, x, gain, stat, y_bar, x_bar, gain_bar, shift_bar));
done:
    return st;
}

ks_status ks_gelu_fwd(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, void *y) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, gelu_fwd);
    ELEMENT_PRECISION("gelu");
    KS_TRY(check_product("gelu", n, 1, 1, 1));
    KS_CHECK((x && y) || n == 0, KS_ERR_ARG, "gelu: x or y is NULL");
    if (n) KS_TRY(ctx->backend->net->gelu_fwd(ctx, precision, n, x, y));
done:
    return st;
}

ks_status ks_gelu_adj(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, const void *y_bar, void *x_bar) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, gelu_adj);
    ELEMENT_PRECISION("gelu");
    KS_TRY(check_product("gelu", n, 1, 1, 1));
    KS_CHECK((x && y_bar) || n == 0, KS_ERR_ARG, "gelu: x or y_bar is NULL");
    if (n && x_bar) KS_TRY(ctx->backend->net->gelu_adj(ctx, precision, n, x, y_bar, x_bar));
done:
    return st;
}

ks_status ks_residual_fwd(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, const void *f, void *y) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, residual_fwd);
    ELEMENT_PRECISION("residual");
    KS_TRY(check_product("residual", n, 1, 1, 1));
    KS_CHECK((x && f && y) || n == 0, KS_ERR_ARG, "residual: an array is NULL");
    if (n) KS_TRY(ctx->backend->net->residual_fwd(ctx, precision, n, x, f, y));
done:
    return st;
}

ks_status ks_residual_adj(ks_ctx *ctx, ks_precision precision, int64_t n, const void *y_bar, void *x_bar, void *f_bar) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, residual_adj);
    ELEMENT_PRECISION("residual");
    KS_TRY(check_product("residual", n, 1, 1, 1));
    KS_CHECK(y_bar || n == 0, KS_ERR_ARG, "residual: y_bar is NULL");
    if (n) KS_TRY(ctx->backend->net->residual_adj(ctx, precision, n, y_bar, x_bar, f_bar));
done:
    return st;
}

ks_status ks_embedding_fwd(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom,
                           int64_t n_kind, int64_t d, double scale, const int32_t *kind, const int32_t *atom,
                           const void *table, const void *u, void *x) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, embedding_fwd);
    ELEMENT_PRECISION("embedding");
    KS_CHECK(d >= 1 && n_kind >= 1 && n_atom >= 1, KS_ERR_ARG,
             "embedding: d=%lld, n_kind=%lld, n_atom=%lld, limit >= 1", (long long)d, (long long)n_kind,
             (long long)n_atom);
    KS_TRY(check_product("embedding", n_frame, n_token > n_atom ? n_token : n_atom, d, 1));
    KS_TRY(check_product("embedding", n_token, n_kind, d, 1));
    KS_CHECK(table && ((kind && atom && u && x) || n_frame == 0 || n_token == 0), KS_ERR_ARG,
             "embedding: an array is NULL");
    if (n_frame && n_token)
        KS_TRY(ctx->backend->net->embedding_fwd(ctx, precision, n_frame, n_token, n_atom, n_kind, d, scale, kind, atom,
                                                table, u, x));
done:
    return st;
}

ks_status ks_embedding_adj(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom,
                           int64_t n_kind, int64_t d, double scale, const int32_t *kind, const int32_t *atom,
                           const void *x_bar, void *table_bar, void *u_bar) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, embedding_adj);
    ELEMENT_PRECISION("embedding");
    KS_CHECK(d >= 1 && n_kind >= 1 && n_atom >= 1, KS_ERR_ARG,
             "embedding: d=%lld, n_kind=%lld, n_atom=%lld, limit >= 1", (long long)d, (long long)n_kind,
             (long long)n_atom);
    KS_TRY(check_product("embedding", n_frame, n_token > n_atom ? n_token : n_atom, d, 1));
    KS_TRY(check_product("embedding", n_token, n_kind, d, 1));
    KS_CHECK((kind && atom && x_bar) || n_frame == 0 || n_token == 0, KS_ERR_ARG, "embedding: an array is NULL");
    if (n_frame && n_token)
        KS_TRY(ctx->backend->net->embedding_adj(ctx, precision, n_frame, n_token, n_atom, n_kind, d, scale, kind, atom,
                                                x_bar, table_bar, u_bar));
done:
    return st;
}

ks_status ks_gram_fwd(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom, int64_t d,
                      const int32_t *atom, const void *u, void *bias, void *g, void *top) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, gram_fwd);
    ELEMENT_PRECISION("gram");
    KS_CHECK(d >= 1 && n_atom >= 1, KS_ERR_ARG, "gram: d=%lld, n_atom=%lld, limit >= 1", (long long)d,
             (long long)n_atom);
    KS_TRY(check_product("gram", n_frame, n_token, n_token, 1));
    KS_TRY(check_product("gram", n_frame, n_atom, n_atom > d ? n_atom : d, 1));
    KS_CHECK(n_frame == 0 || (u && g && top && (n_token == 0 || (atom && bias))), KS_ERR_ARG, "gram: an array is NULL");
    if (n_frame)
        KS_TRY(ctx->backend->net->gram_fwd(ctx, precision, n_frame, n_token, n_atom, d, atom, u, bias, g, top));
done:
    return st;
}

ks_status ks_gram_adj(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom, int64_t d,
                      const int32_t *atom, const void *u, const void *g, const void *top, const void *bias_bar,
                      void *u_bar) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, gram_adj);
    ELEMENT_PRECISION("gram");
    KS_CHECK(d >= 1 && n_atom >= 1, KS_ERR_ARG, "gram: d=%lld, n_atom=%lld, limit >= 1", (long long)d,
             (long long)n_atom);
    KS_TRY(check_product("gram", n_frame, n_token, n_token, 1));
    KS_TRY(check_product("gram", n_frame, n_atom, n_atom > d ? n_atom : d, 1));
    KS_CHECK(n_frame == 0 || n_token == 0 || (u && g && top && atom && bias_bar), KS_ERR_ARG, "gram: an array is NULL");
    if (n_frame && n_token && u_bar)
        KS_TRY(
            ctx->backend->net->gram_adj(ctx, precision, n_frame, n_token, n_atom, d, atom, u, g, top, bias_bar, u_bar));
done:
    return st;
}

static ks_status check_attention(int64_t n_frame, int64_t n_token, int64_t n_head, int64_t d, int64_t n_bias) {
    ks_status st = KS_OK;
    KS_CHECK(n_head >= 1 && d >= 1 && d % n_head == 0, KS_ERR_ARG, "attention: d=%lld is not a multiple of n_head=%lld",
             (long long)d, (long long)n_head);
    KS_CHECK(n_bias >= 0, KS_ERR_ARG, "attention: n_bias=%lld", (long long)n_bias);
    KS_TRY(check_product("attention", n_frame, n_token, 3, d));
    KS_TRY(check_product("attention", n_frame, n_token, n_token, n_bias > n_head ? n_bias : n_head));
done:
    return st;
}

ks_status ks_attention_fwd(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_head,
                           int64_t d, int64_t n_bias, const void *qkv, const void *bias, const void *mix, void *y,
                           void *prob) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, attention_fwd);
    ELEMENT_PRECISION("attention");
    KS_TRY(check_attention(n_frame, n_token, n_head, d, n_bias));
    if (n_frame == 0 || n_token == 0) goto done;
    KS_CHECK(qkv && y && prob && (n_bias == 0 || (bias && mix)), KS_ERR_ARG, "attention: an array is NULL");
    KS_TRY(
        ctx->backend->net->attention_fwd(ctx, precision, n_frame, n_token, n_head, d, n_bias, qkv, bias, mix, y, prob));
done:
    return st;
}

ks_status ks_attention_adj(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_head,
                           int64_t d, int64_t n_bias, int64_t n_bias_bar, const void *qkv, const void *bias,
                           const void *mix, const void *prob, const void *y_bar, void *qkv_bar, void *bias_bar,
                           void *mix_bar) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, attention_adj);
    ELEMENT_PRECISION("attention");
    KS_TRY(check_attention(n_frame, n_token, n_head, d, n_bias));
    KS_CHECK(n_bias_bar >= 0 && n_bias_bar <= n_bias, KS_ERR_ARG, "attention: n_bias_bar=%lld, limit 0..n_bias=%lld",
             (long long)n_bias_bar, (long long)n_bias);
    if (n_frame == 0 || n_token == 0) goto done;
    KS_CHECK(qkv && prob && y_bar && (n_bias == 0 || (bias && mix)), KS_ERR_ARG, "attention: an array is NULL");
    KS_TRY(ctx->backend->net->attention_adj(ctx, precision, n_frame, n_token, n_head, d, n_bias, n_bias_bar, qkv, bias,
                                            mix, prob, y_bar, qkv_bar, bias_bar, mix_bar));
done:
    return st;
}

ks_status ks_head_fwd(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t d, const void *q,
                      const void *k, double *w) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, head_fwd);
    ELEMENT_PRECISION("head");
    KS_CHECK(d >= 1, KS_ERR_ARG, "head: d=%lld, limit >= 1", (long long)d);
    KS_TRY(check_product("head", n_frame, n_token, n_token, 1));
    KS_TRY(check_product("head", n_frame, n_token, d, 1));
    if (n_frame == 0 || n_token == 0) goto done;
    KS_CHECK(q && k && w, KS_ERR_ARG, "head: an array is NULL");
    KS_TRY(ctx->backend->net->head_fwd(ctx, precision, n_frame, n_token, d, q, k, w));
done:
    return st;
}

ks_status ks_head_adj(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t d, const void *q,
                      const void *k, const double *w_bar, void *q_bar, void *k_bar) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, head_adj);
    ELEMENT_PRECISION("head");
    KS_CHECK(d >= 1, KS_ERR_ARG, "head: d=%lld, limit >= 1", (long long)d);
    KS_TRY(check_product("head", n_frame, n_token, n_token, 1));
    KS_TRY(check_product("head", n_frame, n_token, d, 1));
    if (n_frame == 0 || n_token == 0) goto done;
    KS_CHECK(q && k && w_bar, KS_ERR_ARG, "head: an array is NULL");
    KS_TRY(ctx->backend->net->head_adj(ctx, precision, n_frame, n_token, d, q, k, w_bar, q_bar, k_bar));
done:
    return st;
}
