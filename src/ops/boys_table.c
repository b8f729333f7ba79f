/* boys_table.c -- rows of the Boys function: expansion about each grid point in long double, economised. */
#define KS_LANE_SCALAR
#include "ops/boys_table.h"
#include <pthread.h>
#include "pointwise/boys.h"

enum { N_TAYLOR = 12, N_ORDER = KS_BOYS_L_MAX + N_TAYLOR + 1 };

static _Alignas(64) double table[KS_BOYS_TABLE_N];
static pthread_once_t      once = PTHREAD_ONCE_INIT;

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

/* F_L(T0 + d) = sum_k (-d)^k / k! F_{L+k}(T0), |d| <= h. Economisation: the leading term c d^n is replaced by
 * c (d^n - h^n T_n(d/h) / 2^(n-1)) until degree 6 is left; T_n is the Chebyshev polynomial. */
static void row_fill(int L, long double T0, const long double *F, double *row) {
    const long double h = 0.5L / KS_BOYS_PER_UNIT;
    long double       c[N_TAYLOR + 1], f = 1.0L;
    for (int k = 0; k <= N_TAYLOR; k++) {
        c[k] = F[L + k] * f;
        f *= -h / (k + 1); /* in units of h */
    }
    for (int n = N_TAYLOR; n > 6; n--) {
        long double a[N_TAYLOR + 1] = {0}, b[N_TAYLOR + 1] = {0}, w[N_TAYLOR + 1]; /* T_{k-1}, T_k, T_{k+1} */
        a[0] = 1.0L;
        b[1] = 1.0L;
        for (int k = 1; k < n; k++) {
            for (int i = 0; i <= n; i++) w[i] = (i ? 2.0L * b[i - 1] : 0.0L) - a[i];
            for (int i = 0; i <= n; i++) a[i] = b[i], b[i] = w[i];
        }
        const long double s = c[n] / b[n];
        for (int i = 0; i <= n; i++) c[i] -= s * b[i];
    }
    f = 1.0L;
    for (int k = 0; k < 7; k++, f /= h) row[k] = (double)(c[k] * f);
    row[7] = (double)expl(-T0);
}

static void table_fill(void) {
    long double F[N_ORDER];
    for (int r = 0; r < KS_BOYS_N_ROW(KS_BOYS_L_MAX); r++) {
        const long double T0 = (long double)r / KS_BOYS_PER_UNIT;
        boys_ld(T0, F);
        for (int L = 0; L <= KS_BOYS_L_MAX; L++)
            if (r < KS_BOYS_N_ROW(L)) row_fill(L, T0, F, table + (KS_BOYS_FIRST(L) + r) * KS_BOYS_ROW);
    }
}

const double *ks_boys_table(void) {
    pthread_once(&once, table_fill);
    return table;
}
