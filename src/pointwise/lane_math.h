/* lane_math.h -- elementary functions over lanes, to 2 ulp, x^(-1/3) to 4
 * (tests/unit/test_lane_math.c).
 *
 * Domain: finite arguments. exp flushes to 0 below -708.3 and is finite up to 709; log, cbrt and their relatives take
 * positive normal numbers. Scalar lanes (nvcc, the launcher) use the C library's functions. */
#ifndef KS_LANE_MATH_H
#define KS_LANE_MATH_H
#include "core/lane.h"

#if defined(KS_LANE_SCALAR)

KS_LANE_FN ks_lane ks_lane_abs(ks_lane x) { return fabs(x); }
KS_LANE_FN ks_lane ks_lane_max(ks_lane a, ks_lane b) { return a > b ? a : b; }
KS_LANE_FN ks_lane ks_lane_exp(ks_lane x) { return x < -708.3 ? 0.0 : exp(x); }
KS_LANE_FN ks_lane ks_lane_expm1(ks_lane x) { return expm1(x); }
KS_LANE_FN ks_lane ks_lane_log(ks_lane x) { return log(x); }
KS_LANE_FN ks_lane ks_lane_cbrt_both(ks_lane x, ks_lane *inverse) {
    const double c = cbrt(x);
    *inverse       = 1.0 / c;
    return c;
}
KS_LANE_FN ks_lane ks_lane_log1p_both(ks_lane x, ks_lane *inverse) {
    *inverse = 1.0 / (1.0 + x);
    return log1p(x);
}
KS_LANE_FN ks_lane ks_lane_atan(ks_lane x) { return atan(x); }

#else

KS_LANE_FN ks_lane_i ks_lane_bits(ks_lane x) { return (ks_lane_i)x; }
KS_LANE_FN ks_lane_i ks_lane_seti(int64_t k) { return k - (ks_lane_i){0}; }
KS_LANE_FN ks_lane   ks_lane_abs(ks_lane x) { return (ks_lane)(ks_lane_bits(x) & ks_lane_seti(INT64_MAX)); }
KS_LANE_FN ks_lane   ks_lane_max(ks_lane a, ks_lane b) { return ks_lane_select(ks_lane_lt(a, b), b, a); }

/* A double in [2^52, 2^53) holds an integer in its low bits: the conversions below use 1.5 2^52. */
#define KS_LANE_MAGIC 6755399441055744.0

/* x = n ln2 + r with |r| <= ln2 / 2; returns r, *n as a double, *pow2 = 2^n (n in the normal range). */
KS_LANE_FN ks_lane ks_lane_exp_reduce(ks_lane x, ks_lane *n, ks_lane *pow2) {
    const ks_lane t = x * 1.4426950408889634 + KS_LANE_MAGIC;
    *n              = t - KS_LANE_MAGIC;
    *pow2           = (ks_lane)((ks_lane_bits(t) << 52) + ks_lane_bits(ks_lane_set(1.0)));
    return (x - *n * 6.93147180369123816490e-01) - *n * 1.90821492927058770002e-10;
}

/* (exp(r) - 1 - r) / r^2 for |r| <= 0.35: Taylor to r^13, truncation below 2e-17. */
KS_LANE_FN ks_lane ks_lane_exp_tail(ks_lane r) {
    const ks_lane r2 = r * r, r4 = r2 * r2;
    const ks_lane a = (1.0 / 2 + r * (1.0 / 6)) + r2 * (1.0 / 24 + r * (1.0 / 120));
    const ks_lane b = (1.0 / 720 + r * (1.0 / 5040)) + r2 * (1.0 / 40320 + r * (1.0 / 362880));
    const ks_lane c = (1.0 / 3628800 + r * (1.0 / 39916800)) + r2 * (1.0 / 479001600 + r * (1.0 / 6227020800));
    return a + r4 * (b + r4 * c);
}

KS_LANE_FN ks_lane ks_lane_exp(ks_lane x) {
    const ks_lane_i under = ks_lane_lt(x, ks_lane_set(-708.3));
    ks_lane         n, p;
    const ks_lane   r = ks_lane_exp_reduce(ks_lane_select(under, ks_lane_set(-708.0), x), &n, &p);
    const ks_lane   y = p + p * (r + r * r * ks_lane_exp_tail(r));
    return ks_lane_select(under, ks_lane_set(0.0), y);
}

KS_LANE_FN ks_lane ks_lane_expm1(ks_lane x) {
    ks_lane       n, p;
    const ks_lane low = ks_lane_set(-50.0);
    const ks_lane r   = ks_lane_exp_reduce(ks_lane_select(ks_lane_lt(x, low), low, x), &n, &p);
    return (p - 1.0) + p * (r + r * r * ks_lane_exp_tail(r));
}

/* log(1 + f) for 1 + f in [1/sqrt2, sqrt2): with s = f/(2+f), log(1+f) = f - (f^2/2 - s (f^2/2 + R(s^2))), R the
 * minimax polynomial of the classic libm (Tang 1990). */
KS_LANE_FN ks_lane ks_lane_log_core(ks_lane f, ks_lane k) {
    const ks_lane s = f / (2.0 + f), z = s * s, w = z * z;
    const ks_lane t1 = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    const ks_lane t2 =
        z * (6.666666666666735130e-01 +
             w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
    const ks_lane h = 0.5 * f * f;
    return k * 6.93147180369123816490e-01 - ((h - (s * (h + (t1 + t2)) + k * 1.90821492927058770002e-10)) - f);
}

KS_LANE_FN ks_lane ks_lane_log_split(ks_lane x, ks_lane *k) {
    /* exponent such that the mantissa lies in [1/sqrt2, sqrt2) */
    const int64_t   root_half = 0x3fe6a09e667f3bcd;
    const ks_lane_i b = ks_lane_bits(x) - ks_lane_seti(root_half), e = b >> 52;
    *k = (ks_lane)(e + ks_lane_bits(ks_lane_set(KS_LANE_MAGIC))) - KS_LANE_MAGIC;
    return (ks_lane)((b & ks_lane_seti(0x000fffffffffffff)) + ks_lane_seti(root_half));
}

KS_LANE_FN ks_lane ks_lane_log(ks_lane x) {
    ks_lane       k;
    const ks_lane m = ks_lane_log_split(x, &k);
    return ks_lane_log_core(m - 1.0, k);
}

/* log(1 + x) = log(u) + the rounding error of u = fl(1 + x); also 1/(1 + x). x > -1. */
KS_LANE_FN ks_lane ks_lane_log1p_both(ks_lane x, ks_lane *inverse) {
    const ks_lane u = 1.0 + x, y = 1.0 / u;
    const ks_lane c = ks_lane_select(ks_lane_lt(x, ks_lane_set(1.0)), x - (u - 1.0), 1.0 - (u - x)) * y;
    *inverse        = y;
    return ks_lane_log(u) + c;
}

/* Starting value from a third of the exponent (5 %), two series steps for x^(-1/3), one Newton step for the root. */
/* x^(1/3) and x^(-1/3). */
KS_LANE_FN ks_lane ks_lane_cbrt_both(ks_lane x, ks_lane *inverse) {
    const double two52 = 4503599627370496.0;
    /* high 32 bits as a double; -1/3 of it; back: bits of about x^(-1/3) */
    const ks_lane   hi = (ks_lane)((ks_lane_i)((ks_lane_bits(x) >> 32) | ks_lane_bits(ks_lane_set(two52)))) - two52;
    const ks_lane   q  = 1430243711.0 - hi * (1.0 / 3.0);
    const ks_lane_i y0 = (ks_lane_bits(q + two52) & ks_lane_seti(0xffffffff)) << 32;
    ks_lane         y  = (ks_lane)y0;
    ks_lane         r  = 1.0 - x * y * y * y;
    y += y * r * (1.0 / 3 + r * (2.0 / 9 + r * (14.0 / 81 + r * (35.0 / 243))));
    r = 1.0 - x * y * y * y;
    y += y * r * (1.0 / 3 + r * (2.0 / 9 + r * (14.0 / 81)));
    *inverse        = y;
    const ks_lane c = x * y * y;
    return c - (c * c * c - x) * (y * y) * (1.0 / 3);
}

/* Range reduction at tan(pi/8)-like breaks 0.66 and 2.414, rational kernel (Cephes, Moshier 1995). */
KS_LANE_FN ks_lane ks_lane_atan(ks_lane x) {
    const ks_lane   a    = ks_lane_abs(x);
    const ks_lane_i big  = ks_lane_lt(ks_lane_set(2.41421356237309504880), a);
    const ks_lane_i mid  = ks_lane_lt(ks_lane_set(0.66), a) & ~big;
    const ks_lane   num  = ks_lane_select(big, ks_lane_set(-1.0), ks_lane_select(mid, a - 1.0, a));
    const ks_lane   den  = ks_lane_select(big, a, ks_lane_select(mid, a + 1.0, ks_lane_set(1.0)));
    const ks_lane   zero = ks_lane_set(0.0), t = num / den, z = t * t;
    const ks_lane   base = ks_lane_select(big, ks_lane_set(1.57079632679489661923),
                                          ks_lane_select(mid, ks_lane_set(0.785398163397448309616), zero));
    const ks_lane   more = ks_lane_select(big, ks_lane_set(6.123233995736765886130e-17),
                                          ks_lane_select(mid, ks_lane_set(3.061616997868382943065e-17), zero));
    const ks_lane   p =
        -6.485021904942025371773e1 +
        z * (-1.228866684490136173410e2 +
             z * (-7.500855792314704667340e1 + z * (-1.615753718733365076637e1 + z * -8.750608600031904122785e-1)));
    const ks_lane q =
        1.945506571482613964425e2 +
        z * (4.853903996359136964868e2 +
             z * (4.328810604912902668951e2 + z * (1.650270098316988542046e2 + z * (2.485846490142306297962e1 + z))));
    const ks_lane y = base + (t + (t * z * p / q + more));
    return ks_lane_select(ks_lane_lt(x, zero), -y, y);
}

#endif
#endif
