/* net_lanes.h -- elementwise and row kernels of the network, built once per instruction set (net_lanes.c). Private.
 * Contracts as in net.h; "+=" kernels add. */
#ifndef KS_NET_LANES_H
#define KS_NET_LANES_H
#include <stdint.h>

#define KS_NET_KERNELS(REAL)                                                                                           \
    /* y += x; y = a + b; y[i,:] = b */                                                                                \
    void (*add_to)(int64_t n, const REAL *x, REAL *y);                                                                 \
    void (*add)(int64_t n, const REAL *a, const REAL *b, REAL *y);                                                     \
    /* y += a x; y = a x + z */                                                                                        \
    void (*axpy)(int64_t n, REAL a, const REAL *x, REAL *y);                                                           \
    void (*axpyz)(int64_t n, REAL a, const REAL *x, const REAL *z, REAL *y);                                           \
    /* b[c] += sum_i y[i,c] over rows of leading dimension ld */                                                       \
    void (*column_sums)(int64_t rows, int64_t cols, int64_t ld, const REAL *y, REAL *b);                               \
    void (*gelu_fwd)(int64_t n, const REAL *x, REAL *y);                                                               \
    void (*gelu_adj)(int64_t n, const REAL *x, const REAL *y_bar, REAL *x_bar);                                        \
    void (*layer_norm_fwd)(int64_t rows, int64_t d, const REAL *x, const REAL *gain, const REAL *shift, REAL *y,       \
                           REAL *stat);                                                                                \
    /* x_bar may be NULL; gain_bar and shift_bar: both or none */                                                      \
    void (*layer_norm_adj)(int64_t rows, int64_t d, const REAL *x, const REAL *gain, const REAL *stat,                 \
                           const REAL *y_bar, REAL *x_bar, REAL *gain_bar, REAL *shift_bar);                           \
    /* s = sum_k m[k] a[k stride ...]; out[k] = <s, a_k> */                                                            \
    void (*mix_fwd)(int64_t n, int64_t n_bias, int64_t stride, const REAL *m, const REAL *a, REAL *s);                 \
    void (*mix_adj)(int64_t n, int64_t n_bias, int64_t stride, const REAL *s_bar, const REAL *a, double *out);         \
    /* rows in place; the adjoint turns prob_bar into score_bar */                                                     \
    void (*softmax_fwd)(int64_t rows, int64_t cols, REAL * s);                                                         \
    void (*softmax_adj)(int64_t rows, int64_t cols, const REAL *prob, REAL *s_bar);

typedef struct ks_net_kernels_f32 {
    KS_NET_KERNELS(float)
} ks_net_kernels_f32;
typedef struct ks_net_kernels_f64 {
    KS_NET_KERNELS(double)
} ks_net_kernels_f64;
typedef struct ks_net_lanes {
    ks_net_kernels_f32 f32;
    ks_net_kernels_f64 f64;
} ks_net_lanes;

extern const ks_net_lanes ks_net_lanes_base;
#if defined(__x86_64__)
extern const ks_net_lanes ks_net_lanes_avx2, ks_net_lanes_avx512;
#endif
#endif
