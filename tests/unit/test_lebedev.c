/* test_lebedev.c -- the Lebedev rules integrate every monomial up to their degree. */
#include "ks_test.h"
#include "chem/grid_recipe.h"

static double double_factorial(int n) { return n <= 1 ? 1.0 : n * double_factorial(n - 2); }

/* Mean of x^i y^j z^k over the unit sphere. */
static double mean(int i, int j, int k) {
    if (i % 2 || j % 2 || k % 2) return 0.0;
    return double_factorial(i - 1) * double_factorial(j - 1) * double_factorial(k - 1) /
           double_factorial(i + j + k + 1);
}

/* Largest error over all monomials of degrees lo..hi. */
static double worst(int64_t n, const double *p, int lo, int hi) {
    double bad = 0.0;
    for (int d = lo; d <= hi; d++)
        for (int i = 0; i <= d; i++)
            for (int j = 0; i + j <= d; j++) {
                double s = 0.0;
                for (int64_t g = 0; g < n; g++)
                    s += p[4 * g + 3] * pow(p[4 * g], i) * pow(p[4 * g + 1], j) * pow(p[4 * g + 2], d - i - j);
                const double e = fabs(s - mean(i, j, d - i - j));
                bad            = t_worse(bad, e);
            }
    return bad;
}

int main(void) {
    static const int rule[][2] = {{38, 9},   {50, 11},  {74, 13},  {86, 15},  {110, 17}, {146, 19}, {170, 21},
                                  {194, 23}, {230, 25}, {266, 27}, {302, 29}, {350, 31}, {434, 35}, {590, 41}};
    double           p[4 * 590];
    for (unsigned r = 0; r < sizeof rule / sizeof *rule; r++) {
        const int n = rule[r][0], degree = rule[r][1];
        T_OK(ks_lebedev(n, p));
        double unit = 0.0;
        for (int g = 0; g < n; g++) {
            const double *q = p + 4 * g;
            unit            = fmax(unit, fabs(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] - 1.0));
        }
        T_CHECK(unit <= 4e-16, "rule %d: points are %.2e off the sphere", n, unit);
        /* rounding of up to 590 terms with high powers: 6e-15 measured */
        const double exact = worst(n, p, 0, degree);
        T_CHECK(exact <= 1e-14, "rule %d: error %.2e within its degree", n, exact);
        p[4] *= 1.0 + 1e-10; /* one coordinate moved: must be seen */
        p[3] *= 1.0 + 1e-10;
        const double moved = worst(n, p, 0, degree);
        T_CHECK(moved > 1e-14, "rule %d: a moved point leaves the error at %.2e", n, moved);
    }
    T_ERR(ks_lebedev(39, p), KS_ERR_ARG);
    return t_done("lebedev", 4 * 14 + 1);
}
