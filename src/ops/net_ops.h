/* net_ops.h -- backend slots of the net family. Private; see src/core/backend.h. Contracts: net.h and frame.h; the
 * public functions have checked the arguments, and n == 0 never arrives here. KS_BF16 arrives at linear_* only: the
 * arrays of all others hold floats then, and they see KS_FP32. */
#ifndef KS_NET_OPS_H
#define KS_NET_OPS_H
#include "core/backend.h"
#include "ksgrad/frame.h"
#include "ksgrad/net.h"

static inline ks_precision ks_element_precision(ks_precision p) { return p == KS_BF16 ? KS_FP32 : p; }

typedef struct ks_ops_net {
    ks_status (*linear_fwd)(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d_in, int64_t d_out, const void *x,
                            const void *w, const void *b, void *y);
    ks_status (*linear_adj)(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d_in, int64_t d_out, const void *x,
                            const void *w, const void *y_bar, void *x_bar, void *w_bar, void *b_bar);
    ks_status (*layer_norm_fwd)(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d, const void *x,
                                const void *gain, const void *shift, void *y, void *stat);
    ks_status (*layer_norm_adj)(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d, const void *x,
                                const void *gain, const void *stat, const void *y_bar, void *x_bar, void *gain_bar,
                                void *shift_bar);
    ks_status (*gelu_fwd)(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, void *y);
    ks_status (*gelu_adj)(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, const void *y_bar,
                          void *x_bar);
    ks_status (*residual_fwd)(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, const void *f, void *y);
    ks_status (*residual_adj)(ks_ctx *ctx, ks_precision precision, int64_t n, const void *y_bar, void *x_bar,
                              void *f_bar);
    ks_status (*embedding_fwd)(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom,
                               int64_t n_kind, int64_t d, double scale, const int32_t *kind, const int32_t *atom,
                               const void *table, const void *u, void *x);
    ks_status (*embedding_adj)(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom,
                               int64_t n_kind, int64_t d, double scale, const int32_t *kind, const int32_t *atom,
                               const void *x_bar, void *table_bar, void *u_bar);
    ks_status (*gram_fwd)(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom,
                          int64_t d, const int32_t *atom, const void *u, void *bias, void *g, void *top);
    ks_status (*gram_adj)(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom,
                          int64_t d, const int32_t *atom, const void *u, const void *g, const void *top,
                          const void *bias_bar, void *u_bar);
    ks_status (*attention_fwd)(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_head,
                               int64_t d, int64_t n_bias, const void *qkv, const void *bias, const void *mix, void *y,
                               void *prob);
    ks_status (*attention_adj)(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_head,
                               int64_t d, int64_t n_bias, int64_t n_bias_bar, const void *qkv, const void *bias,
                               const void *mix, const void *prob, const void *y_bar, void *qkv_bar, void *bias_bar,
                               void *mix_bar);
    ks_status (*head_fwd)(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t d,
                          const void *q, const void *k, double *w);
    ks_status (*head_adj)(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t d,
                          const void *q, const void *k, const double *w_bar, void *q_bar, void *k_bar);
    ks_status (*frame_fwd)(ks_ctx *ctx, ks_frame_kind kind, int64_t n_frame, int64_t n_atom, const int32_t *Z,
                           const double *ref, const int32_t bond[3], const double *pos, const int32_t *slot,
                           double *rot, double *pos_out);
    ks_status (*position_fwd)(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_atom, const double *pos,
                              void *feature);
    ks_status (*rotate_fwd)(ks_ctx *ctx, int64_t n_frame, const ks_ao_blocks *blocks, int inverse, const double *rot,
                            const double *M, const int32_t *slot, double *out);
    ks_status (*rotate_adj)(ks_ctx *ctx, int64_t n_frame, const ks_ao_blocks *blocks, int inverse, const double *rot,
                            const double *out_bar, double *M_bar);
    ks_status (*cholesky_transform_fwd)(ks_ctx *ctx, int64_t n_frame, int64_t n, double *S, double *H);
    ks_status (*bias_fwd)(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n, const double *M, void *bias);
} ks_ops_net;

extern const ks_ops_net ks_ops_net_cpu;
#endif
