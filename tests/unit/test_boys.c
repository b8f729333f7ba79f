/* test_boys.c -- the Boys function of every lane build against 25-digit values (scripts/make_boys_golden.py). */
#include <string.h>
#include "ks_test.h"
#include "ops/boys_table.h"

enum { N_M = 11, MAX_T = 64 };

/* Relative error. Table: roundings of the polynomial and the exponential; the downward recursion damps what comes from above:
 * 6 eps; measured 3 eps. Asymptotic: 1/T to the power L and L products back: 2L + 4 eps; measured L + 1 eps. */
static void check(const char *name, ks_boys_array_fn *fn, int64_t n, const double *T, const long double (*ref)[N_M]) {
    double F[MAX_T * N_M], worst[2] = {0};
    for (int L = 0; L < N_M; L++) {
        for (int i = 0; i < MAX_T * N_M; i++) F[i] = NAN;
        fn(L, n, T, F);
        for (int64_t i = 0; i < n; i++)
            for (int m = 0; m <= L; m++) {
                const double e   = (double)(fabsl((long double)F[i * (L + 1) + m] - ref[i][m]) / ref[i][m]);
                const int    far = T[i] >= 36.0 + 2.5 * L;
                const double bar = (far ? 2 * L + 4 : 6) * 2.220446049250313e-16;
                T_CHECK(e <= bar, "%s: F_%d(%g) from L=%d: relative error %.2e", name, m, T[i], L, e);
                if (!(e <= worst[far])) worst[far] = e;
            }
    }
    printf("%s: largest relative error %.2e, asymptotic %.2e\n", name, worst[0], worst[1]);
}

int main(void) {
    static long double ref[MAX_T][N_M];
    static double      T[MAX_T];
    int64_t            n = 0;
    FILE              *f = fopen(KS_TEST_SOURCE_DIR "/tests/golden/boys.txt", "r");
    T_CHECK(f != NULL, "no tests/golden/boys.txt");
    while (f && n < MAX_T && fscanf(f, "%lf", &T[n]) == 1) {
        for (int m = 0; m < N_M; m++)
            if (fscanf(f, "%Lf", &ref[n][m]) != 1) return 1;
        n++;
    }
    if (f) fclose(f);
    T_CHECK(n > 40, "%lld arguments", (long long)n);
    check("base", ks_boys_array_base, n, T, ref);
#if defined(__x86_64__)
    if (strcmp(ks_cpu_isa(), "base") != 0) check("avx2", ks_boys_array_avx2, n, T, ref);
    if (!strcmp(ks_cpu_isa(), "avx512")) check("avx512", ks_boys_array_avx512, n, T, ref);
#endif
    return t_done("boys", 3000);
}
