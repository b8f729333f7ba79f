/* boys.h -- the Boys function F_m(T) = int_0^1 u^2m exp(-T u^2) du for m = 0..L, on lanes.
 *
 * Below T_max(L) = 36 + 2.5 L: one 64-byte row per lane holds seven Chebyshev coefficients (as a polynomial in
 * d = T - T_row, |d| <= 1/32) of F_L and exp(-T_row); the rows of all lanes are loaded and transposed.
 * Above: F_L = (2L-1)!!/2^(L+1) sqrt(pi / T^(2L+1)) and exp(-T) = 0, exact to rounding there.
 * Then downward, stable for all T: F_m = (2T F_{m+1} + exp(-T)) / (2m+1).
 * Table: src/ops/boys_table.c. Truncation (1/32)^7 / (7! 2^6) F_{L+7} < 6e-17 F_L. */
#ifndef KS_BOYS_H
#define KS_BOYS_H
#include "core/lane.h"

enum { KS_BOYS_PER_UNIT = 16, KS_BOYS_ROW = 8, KS_BOYS_L_MAX = 10 };
#ifndef KS_BOYS_STRIDE /* doubles between rows: another one for a copy of the table, with scalar lanes only */
#define KS_BOYS_STRIDE KS_BOYS_ROW
#endif

/* Last row + 1 of order L: T = 36 + 2.5 L is the middle of the last row. */
#define KS_BOYS_N_ROW(L) (36 * KS_BOYS_PER_UNIT + (5 * KS_BOYS_PER_UNIT / 2) * (L) + 1)
/* First row of order L in the table of all orders. */
#define KS_BOYS_FIRST(L) ((L) * (36 * KS_BOYS_PER_UNIT + 1) + (5 * KS_BOYS_PER_UNIT / 2) * ((L) * ((L)-1) / 2))
#define KS_BOYS_TABLE_N (KS_BOYS_FIRST(KS_BOYS_L_MAX + 1) * KS_BOYS_ROW)

/* Row r of each lane, transposed: out[c] holds coefficient c of all lanes. */
#if KS_LANES == 1
KS_LANE_FN int  ks_boys_any(ks_lane_i mask) { return ks_lane_any(mask); }
KS_LANE_FN void ks_boys_rows(const double *table, ks_lane row, ks_lane out[8]) {
    const double *r = table + (int)row * KS_BOYS_STRIDE;
    for (int c = 0; c < 8; c++) out[c] = r[c];
}
#elif defined(__AVX2__)
#include <immintrin.h>
/* Four lanes; i4: first elements of the rows. */
KS_LANE_FN void ks_boys_rows4(const double *table, __m128i i4, __m256d out[8]) {
    const uint64_t lo = (uint64_t)_mm_cvtsi128_si64(i4), hi = (uint64_t)_mm_extract_epi64(i4, 1);
    const double  *r0 = table + (uint32_t)lo, *r1 = table + (lo >> 32), *r2 = table + (uint32_t)hi,
                 *r3 = table + (hi >> 32);
    for (int c = 0; c < 8; c += 4) {
        /* rows 0 and 2 share one register's halves, so that the transpose needs four shuffles only */
        const __m256d a = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_load_pd(r0 + c)), _mm_load_pd(r2 + c), 1);
        const __m256d b = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_load_pd(r1 + c)), _mm_load_pd(r3 + c), 1);
        const __m256d d =
            _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_load_pd(r0 + c + 2)), _mm_load_pd(r2 + c + 2), 1);
        const __m256d e =
            _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_load_pd(r1 + c + 2)), _mm_load_pd(r3 + c + 2), 1);
        out[c + 0] = _mm256_unpacklo_pd(a, b);
        out[c + 1] = _mm256_unpackhi_pd(a, b);
        out[c + 2] = _mm256_unpacklo_pd(d, e);
        out[c + 3] = _mm256_unpackhi_pd(d, e);
    }
}
#if KS_LANES == 4
KS_LANE_FN int  ks_boys_any(ks_lane_i mask) { return _mm256_movemask_pd((__m256d)mask); }
KS_LANE_FN void ks_boys_rows(const double *table, ks_lane row, ks_lane out[8]) {
    __m256d t[8];
    ks_boys_rows4(table, _mm_slli_epi32(_mm256_cvttpd_epi32((__m256d)row), 3), t);
    for (int c = 0; c < 8; c++) out[c] = (ks_lane)t[c];
}
#else
KS_LANE_FN int  ks_boys_any(ks_lane_i mask) { return _mm512_movepi64_mask((__m512i)mask); }
KS_LANE_FN void ks_boys_rows(const double *table, ks_lane row, ks_lane out[8]) {
    const __m256i i8 = _mm256_slli_epi32(_mm512_cvttpd_epi32((__m512d)row), 3);
    __m256d       lo[8], hi[8];
    ks_boys_rows4(table, _mm256_castsi256_si128(i8), lo);
    ks_boys_rows4(table, _mm256_extracti128_si256(i8, 1), hi);
    for (int c = 0; c < 8; c++) out[c] = (ks_lane)_mm512_insertf64x4(_mm512_castpd256_pd512(lo[c]), hi[c], 1);
}
#endif
#else
KS_LANE_FN int  ks_boys_any(ks_lane_i mask) { return ks_lane_any(mask); }
KS_LANE_FN void ks_boys_rows(const double *table, ks_lane row, ks_lane out[8]) {
    for (int c = 0; c < 8; c++) {
        ks_lane v = ks_lane_set(0.0);
        for (int i = 0; i < KS_LANES; i++) v[i] = table[(int)row[i] * KS_BOYS_ROW + c];
        out[c] = v;
    }
}
#endif

/* 1 / sqrt(x), x > 0 */
#ifdef __CUDA_ARCH__
KS_LANE_FN ks_lane ks_lane_rsqrt(ks_lane x) { return rsqrt(x); }
#else
KS_LANE_FN ks_lane ks_lane_rsqrt(ks_lane x) { return ks_lane_set(1.0) / ks_lane_sqrt(x); }
#endif

/* F[0..L]; table: the one of order L (first row KS_BOYS_FIRST(L)). T >= 0. */
KS_LANE_FN void ks_boys(int L, const double *table, ks_lane T, ks_lane *F) {
    const double    t_max = 36.0 + 2.5 * L;
    const ks_lane_i far   = ~ks_lane_lt(T, ks_lane_set(t_max));
    const ks_lane   tc    = ks_lane_select(far, ks_lane_set(t_max), T);
    /* round to the nearest row by the 2^52 trick; the sum carries the integer in its low mantissa bits */
    const ks_lane row =
        (tc * ks_lane_set(KS_BOYS_PER_UNIT) + ks_lane_set(6755399441055744.0)) - ks_lane_set(6755399441055744.0);
    const ks_lane d = tc - row * ks_lane_set(1.0 / KS_BOYS_PER_UNIT);
    ks_lane       c[8], f, e = ks_lane_set(0.0);
    ks_boys_rows(table, row, c);
    f = ((((((c[6] * d + c[5]) * d) + c[4]) * d + c[3]) * d + c[2]) * d + c[1]) * d + c[0];
    if (L > 0) { /* exp(-T) = exp(-T_row) exp(-d): Taylor to degree 7, d^7 economised, remainder 9e-17 */
        const double h2 = 1.0 / 1024.0, c7 = -1.0 / 5040.0;
        ks_lane      x = ks_lane_set(1.0 / 720.0);
        x              = x * d + ks_lane_set(-1.0 / 120.0 + c7 * h2 * 112.0 / 64.0);
        x              = x * d + ks_lane_set(1.0 / 24.0);
        x              = x * d + ks_lane_set(-1.0 / 6.0 - c7 * h2 * h2 * 56.0 / 64.0);
        x              = x * d + ks_lane_set(0.5);
        x              = x * d + ks_lane_set(-1.0 + c7 * h2 * h2 * h2 * 7.0 / 64.0);
        x              = x * d + ks_lane_set(1.0);
        e              = x * c[7];
    }
    if (ks_boys_any(far)) {
        const ks_lane ts = ks_lane_select(far, T, ks_lane_set(t_max));
        const ks_lane y2 = ks_lane_set(1.0) / ts;
        double        g  = 0.88622692545275801; /* sqrt(pi)/2 * 1/2 * 3/2 ... */
        ks_lane       a  = ks_lane_sqrt(y2);
        for (int m = 0; m < L; m++, g *= m - 0.5) a = a * y2;
        a = a * ks_lane_set(g);
        f = ks_lane_select(far, a, f);
        e = ks_lane_select(far, ks_lane_set(0.0), e);
    }
    F[L] = f;
    T    = T + T;
    for (int m = L - 1; m >= 0; m--) F[m] = (T * F[m + 1] + e) * ks_lane_set(1.0 / (2 * m + 1));
}
#endif
