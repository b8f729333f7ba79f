/* net_lanes.c -- see net_lanes.h. Simple loops are left to the compiler's vectoriser; kernels with an exponential or a
 * sum over a row are written over explicit vectors of the instruction set's width. The order of additions depends on
 * that width only, never on threads or data.
 *
 * exp of a non-positive argument: 2^n e^r with n = round(x log2 e) by the magic-number addition, r = x - n ln 2 in two
 * parts; the polynomial is Cephes' for float (error < 2 ulp) and the Taylor sum to r^13 for double (remainder 4e-18).
 * Arguments below the smallest normal result are clamped to it. NaN passes through. */
#include "ops/net_lanes.h"
#include <math.h>
#include <string.h>
#include "core/lane.h"

#define INLINE static inline __attribute__((always_inline, unused))
enum { VECTOR_BYTES = 8 * KS_LANES };

#define KS_REAL float
#define KS_FN(name) name##_f32
#define KS_SQRT sqrtf
typedef float   vec_f32 __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t veci_f32 __attribute__((vector_size(VECTOR_BYTES)));

INLINE vec_f32 exp_f32(vec_f32 x) {
    const veci_f32 low = (veci_f32)(x < -87.0f);
    x                  = (vec_f32)(((veci_f32)((vec_f32){0} - 87.0f) & low) | ((veci_f32)x & ~low));
    const vec_f32 t = x * 1.44269504088896341f + 12582912.0f, n = t - 12582912.0f;
    const vec_f32 r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vec_f32       p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p               = p * r + 8.3334519073e-3f;
    p               = p * r + 4.1665795894e-2f;
    p               = p * r + 1.6666665459e-1f;
    p               = p * r + 5.0000001201e-1f;
    p               = p * (r * r) + r + 1.0f;
    return p * (vec_f32)(((veci_f32)t + 127) << 23); /* n is in the low bits of t; its other bits are shifted out */
}
#include "ops/net_lanes_real.inc"

#define KS_REAL double
#define KS_FN(name) name##_f64
#define KS_SQRT sqrt
typedef double  vec_f64 __attribute__((vector_size(VECTOR_BYTES)));
typedef int64_t veci_f64 __attribute__((vector_size(VECTOR_BYTES)));

INLINE vec_f64 exp_f64(vec_f64 x) {
    const veci_f64 low = (veci_f64)(x < -708.0);
    x                  = (vec_f64)(((veci_f64)((vec_f64){0} - 708.0) & low) | ((veci_f64)x & ~low));
    const vec_f64 t = x * 1.4426950408889634 + 6755399441055744.0, n = t - 6755399441055744.0;
    const vec_f64 r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    vec_f64       p = r * (1.0 / 6227020800.0) + 1.0 / 479001600.0;
    p               = p * r + 1.0 / 39916800.0;
    p               = p * r + 1.0 / 3628800.0;
    p               = p * r + 1.0 / 362880.0;
    p               = p * r + 1.0 / 40320.0;
    p               = p * r + 1.0 / 5040.0;
    p               = p * r + 1.0 / 720.0;
    p               = p * r + 1.0 / 120.0;
    p               = p * r + 1.0 / 24.0;
    p               = p * r + 1.0 / 6.0;
    p               = p * r + 0.5;
    p               = p * (r * r) + r + 1.0;
    return p * (vec_f64)(((veci_f64)t + 1023) << 52);
}
#include "ops/net_lanes_real.inc"

#define TABLE(suffix)                                                                                                  \
    {                                                                                                                  \
        .add_to = add_to_##suffix, .add = add_##suffix, .axpy = axpy_##suffix, .axpyz = axpyz_##suffix,                \
        .column_sums = column_sums_##suffix, .gelu_fwd = gelu_fwd_##suffix, .gelu_adj = gelu_adj_##suffix,             \
        .layer_norm_fwd = layer_norm_fwd_##suffix, .layer_norm_adj = layer_norm_adj_##suffix,                          \
        .mix_fwd = mix_fwd_##suffix, .mix_adj = mix_adj_##suffix, .softmax_fwd = softmax_fwd_##suffix,                 \
        .softmax_adj = softmax_adj_##suffix                                                                            \
    }

extern const ks_net_lanes KS_ISA_NAME(ks_net_lanes);
const ks_net_lanes        KS_ISA_NAME(ks_net_lanes) = {.f32 = TABLE(f32), .f64 = TABLE(f64)};
