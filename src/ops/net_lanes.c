/* net_lanes.c -- see net_lanes.h. Plain loops for the vectoriser; sums over a row have 16 accumulators whose order of
 * addition is fixed by the source.
 *
 * exp: 2^n e^r with n = round(x log2 e) by the magic-number addition, r = x - n ln 2 in two parts; the polynomial is
 * Cephes' for float (error < 2 ulp) and the Taylor sum to r^13 for double (remainder 4e-18). Below the smallest normal
 * result the argument is clamped. NaN passes through. */
#include "ops/net_lanes.h"
#include <math.h>
#include <string.h>
#include "core/lane.h"

enum { ACC = 16 };
#define INLINE static inline __attribute__((always_inline))

INLINE float exp_f32(float x) {
    x             = x < -87.0f ? -87.0f : x;
    x             = x > 88.0f ? 88.0f : x;
    const float t = x * 1.44269504088896341f + 12582912.0f, n = t - 12582912.0f;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float       p = 1.9875691500e-4f, scale;
    uint32_t    bits;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits + 127u) << 23; /* the low bits of t are n: 0x4B400000 has none of the bits that stay */
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

INLINE double exp_f64(double x) {
    x              = x < -708.0 ? -708.0 : x;
    x              = x > 709.0 ? 709.0 : x;
    const double t = x * 1.4426950408889634 + 6755399441055744.0, n = t - 6755399441055744.0;
    const double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    double       p = 1.0 / 6227020800.0, scale;
    uint64_t     bits;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * (r * r) + r + 1.0;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits + 1023u) << 52;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

#define KS_REAL float
#define KS_FN(name) name##_f32
#define KS_SQRT sqrtf
#include "ops/net_lanes_real.inc"
#define KS_REAL double
#define KS_FN(name) name##_f64
#define KS_SQRT sqrt
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
