/* bf16.h -- rounding to bfloat16, the upper half of a float: the one both backends use. */
#ifndef KS_BF16_H
#define KS_BF16_H
#include "core/lane.h"

/* Bits of the nearest bfloat16, ties to even; too large becomes infinite, NaN stays NaN. */
KS_LANE_FN uint16_t ks_bf16_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40u); /* the carry below could reach the sign */
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

KS_LANE_FN float ks_bf16_value(uint16_t bits) {
    const uint32_t u = (uint32_t)bits << 16;
    float          y;
    memcpy(&y, &u, sizeof y);
    return y;
}

KS_LANE_FN float ks_bf16_round(float x) { return ks_bf16_value(ks_bf16_bits(x)); }
#endif
