/* net.h -- transformer ops: linear, layer norm, GELU, residual, embedding, Gram bias, attention, output head.
 *
 * One source for all precisions; `void *` arrays hold elements of `precision` (floats in KS_BF16), backend memory, last
 * index fastest. KS_BF16 changes the products of ks_linear_* and nothing else: all other ops compute as in KS_FP32.
 * A token row is one AO of one frame: n = B T rows, T = n_ao, all frames of a call have the same T.
 * Forwards overwrite, adjoints add; a NULL cotangent output is not wanted; inputs and outputs do not alias.
 * Sums have an order fixed by the sizes, so the number of threads changes no bit. n == 0 is allowed. */
#ifndef KS_NET_H
#define KS_NET_H
#include "ksgrad/params.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y[i,o] = sum_c x[i,c] w[o,c] + b[o].  x (n, d_in), w (d_out, d_in), b (d_out) or NULL, y (n, d_out).
 * KS_BF16: x, w and, in the adjoint's two products, y_bar enter rounded to bfloat16 (nearest, ties to even); sums, b and
 * b_bar are fp32. The adjoint is that of the rounded product: the rounding itself has derivative 1. */
KS_NODISCARD ks_status ks_linear_fwd(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d_in, int64_t d_out,
                                     const void *x, const void *w, const void *b, void *y);
/* x_bar += y_bar w;  w_bar += y_bar^T x;  b_bar += column sums of y_bar. */
KS_NODISCARD ks_status ks_linear_adj(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d_in, int64_t d_out,
                                     const void *x, const void *w, const void *y_bar, void *x_bar, void *w_bar,
                                     void *b_bar);

/* y[i,c] = gain[c] (x[i,c] - mean_i) r_i + shift[c],  r_i = 1/sqrt(var_i + 1e-5), var over the d channels (divisor d).
 * stat (n, 2): mean and r, saved for the adjoint. d >= 1. */
KS_NODISCARD ks_status ks_layer_norm_fwd(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d, const void *x,
                                         const void *gain, const void *shift, void *y, void *stat);
KS_NODISCARD ks_status ks_layer_norm_adj(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d, const void *x,
                                         const void *gain, const void *stat, const void *y_bar, void *x_bar,
                                         void *gain_bar, void *shift_bar);

/* y = x / 2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), the tanh form that QPT's code (jax.nn.gelu) uses. x, y: (n). */
KS_NODISCARD ks_status ks_gelu_fwd(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, void *y);
KS_NODISCARD ks_status ks_gelu_adj(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, const void *y_bar,
                                   void *x_bar);

/* y = x + f, the residual connection. All (n). */
KS_NODISCARD ks_status ks_residual_fwd(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, const void *f,
                                       void *y);
/* x_bar += y_bar;  f_bar += y_bar. */
KS_NODISCARD ks_status ks_residual_adj(ks_ctx *ctx, ks_precision precision, int64_t n, const void *y_bar, void *x_bar,
                                       void *f_bar);

/* Token input x[b,t,:] = scale table[kind[t],:] + u[b,atom[t],:].
 * kind (n_token) in 0..n_kind-1, atom (n_token) in 0..n_atom-1, both int32 in backend memory (checked on the CPU only);
 * table (n_kind, d), u (n_frame, n_atom, d) the projected position features, x (n_frame, n_token, d). */
KS_NODISCARD ks_status ks_embedding_fwd(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token,
                                        int64_t n_atom, int64_t n_kind, int64_t d, double scale, const int32_t *kind,
                                        const int32_t *atom, const void *table, const void *u, void *x);
KS_NODISCARD ks_status ks_embedding_adj(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token,
                                        int64_t n_atom, int64_t n_kind, int64_t d, double scale, const int32_t *kind,
                                        const int32_t *atom, const void *x_bar, void *table_bar, void *u_bar);

/* The Gram attention bias: g[b,a,c] = u[b,a,:].u[b,c,:] between the projected positions of two atoms, divided by its
 * largest absolute value over the frame (a zero matrix stays zero), spread to tokens: bias[b,s,t] =
 * g[b,atom[s],atom[t]]. Saved: g (n_frame, n_atom, n_atom) after division, top (n_frame) the divisor. bias (n_frame,
 * n_token, n_token). */
KS_NODISCARD ks_status ks_gram_fwd(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token,
                                   int64_t n_atom, int64_t d, const int32_t *atom, const void *u, void *bias, void *g,
                                   void *top);
KS_NODISCARD ks_status ks_gram_adj(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token,
                                   int64_t n_atom, int64_t d, const int32_t *atom, const void *u, const void *g,
                                   const void *top, const void *bias_bar, void *u_bar);

/* Multi-head attention with additive bias matrices, softmax over the keys. Head h has channels h d/n_head ...
 *   score[b,h,s,t] = q[b,s,h].k[b,t,h] / sqrt(d/n_head) + sum_k mix[h,k] bias[k,b,s,t]
 *   prob = softmax over t;  y[b,s,h] = sum_t prob[b,h,s,t] v[b,t,h]
 * qkv (n_frame, n_token, 3, d), bias (n_bias, n_frame, n_token, n_token), mix (n_head, n_bias); n_bias may be 0.
 * y (n_frame, n_token, d); prob (n_frame, n_head, n_token, n_token) is saved for the adjoint. d is a multiple of
 * n_head. */
KS_NODISCARD ks_status ks_attention_fwd(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token,
                                        int64_t n_head, int64_t d, int64_t n_bias, const void *qkv, const void *bias,
                                        const void *mix, void *y, void *prob);
/* bias_bar holds the first n_bias_bar matrices only (those that depend on parameters): (n_bias_bar, n_frame, n_token,
 * n_token). */
KS_NODISCARD ks_status ks_attention_adj(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token,
                                        int64_t n_head, int64_t d, int64_t n_bias, int64_t n_bias_bar, const void *qkv,
                                        const void *bias, const void *mix, const void *prob, const void *y_bar,
                                        void *qkv_bar, void *bias_bar, void *mix_bar);

/* Output head w[b,s,t] = (q[b,s,:].k[b,t,:] + k[b,s,:].q[b,t,:]) / (2 sqrt(d)); exactly symmetric; w is double in both
 * precisions. q and k may be the same array: then w = q q^T / sqrt(d), the published positive semidefinite head. */
KS_NODISCARD ks_status ks_head_fwd(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t d,
                                   const void *q, const void *k, double *w);
/* w_bar need not be symmetric. q_bar and k_bar may be the same array when q and k are. */
KS_NODISCARD ks_status ks_head_adj(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t d,
                                   const void *q, const void *k, const double *w_bar, void *q_bar, void *k_bar);

#ifdef __cplusplus
}
#endif
#endif
