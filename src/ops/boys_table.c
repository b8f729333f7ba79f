/* boys_table.c -- rows of the Boys function: expansion about each grid point in long double, economised. */
#define KS_LANE_SCALAR
#include "ops/boys_table.h"
#include <pthread.h>
#include "pointwise/boys.h"

enum { N_TAYLOR = 12, N_ORDER = KS_BOYS_L_MAX + N_TAYLOR + 1 };

static _Alignas(64) double table[KS_BOYS_TABLE_N];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* F_0..F_{N_ORDER-1} at T: the series exp(-T) sum_k (2T)^k / ((2m+1)(2m+3)...(2m+2k+1)) for the highest order (all terms
 * positive), then downward. */
static void boys_ld(long double T, long double F[N_ORDER]) {
    const int         top = N_ORDER - 1;
    const long double e   = expl(-T);
    long double       t = 1.0L / (2 * top + 1), s = t;
    for (int k = 1; t > 1e-22L * s; k++) {
        t *= 2 * T / (2 * top + 2 * k + 1);
        s += t;
    }
    F[top] = e * s;
    for (int m = top - 1; m >= 0; m--) F[m] = (2 * T * F[m + 1] + e) / (2 * m + 1);
}

/* cheb[n][i]: coefficients of the Chebyshev polynomial T_n over its leading one. */
static void chebyshev(long double cheb[N_TAYLOR + 1][N_TAYLOR + 1]) {
    long double T[N_TAYLOR + 1][N_TAYLOR + 1] = {{1.0L}, {0.0L, 1.0L}};
    for (int n = 2; n <= N_TAYLOR; n++)
        for (int i = 0; i <= n; i++) T[n][i] = (i ? 2.0L * T[n - 1][i - 1] : 0.0L) - T[n - 2][i];
    for (int n = 0; n <= N_TAYLOR; n++)
        for (int i = 0; i <= n; i++) cheb[n][i] = T[n][i] / T[n][n];
}

/* F_L(T0 + d) = sum_k (-d)^k / k! F_{L+k}(T0), |d| <= h. Economisation: the leading term c x^n, x = d/h, is replaced by
 * c (x^n - T_n(x) / 2^(n-1)) until degree 6 is left. */
static void row_fill(int L, long double T0, const long double *F, long double cheb[N_TAYLOR + 1][N_TAYLOR + 1],
                     double *row) {
    const long double h = 0.5L / KS_BOYS_PER_UNIT;
    long double       c[N_TAYLOR + 1], f = 1.0L;
    for (int k = 0; k <= N_TAYLOR; k++) {
        c[k] = F[L + k] * f;
        f *= -h / (k + 1);
    }
    for (int n = N_TAYLOR; n > 6; n--)
        for (int i = 0; i < n; i++) c[i] -= c[n] * cheb[n][i];
    f = 1.0L;
    for (int k = 0; k < 7; k++, f /= h) row[k] = (double)(c[k] * f);
    row[7] = (double)expl(-T0);
}

static void table_fill(void) {
    long double F[N_ORDER], cheb[N_TAYLOR + 1][N_TAYLOR + 1];
    chebyshev(cheb);
    for (int r = 0; r < KS_BOYS_N_ROW(KS_BOYS_L_MAX); r++) {
        const long double T0 = (long double)r / KS_BOYS_PER_UNIT;
        boys_ld(T0, F);
        for (int L = 0; L <= KS_BOYS_L_MAX; L++)
            if (r < KS_BOYS_N_ROW(L)) row_fill(L, T0, F, cheb, table + (KS_BOYS_FIRST(L) + r) * KS_BOYS_ROW);
    }
}

const double *ks_boys_table(void) {
    pthread_once(&once, table_fill);
    return table;
}
