/* eri_pair.h -- one primitive pair of the two-electron integrals: Hermite coefficients of its spherical functions, and
 * their bound. Of the pair tables of both backends.
 *
 * A record is p, P and, for each term (t,u,v) of each function (hermite_terms.h), factor / p c_a c_b sum_cart E_t E_u
 * E_v. Bound: Coulomb self-energies of the Hermite functions and the triangle and Cauchy-Schwarz inequalities,
 *   b = max_f sum |c| (2 pi^(5/2) / (p^2 (2p)^(1/2)) (2t-1)!!(2u-1)!!(2v-1)!! p^n / (2n+1))^(1/2),   n = t+u+v:
 * a primitive integral is never larger than the product of two bounds. */
#ifndef KS_ERI_PAIR_H
#define KS_ERI_PAIR_H
#include "pointwise/eri_class.h"
#include "pointwise/hermite.h"

#define KS_TWO_PI_52 34.986836655249725 /* 2 pi^(5/2) */
#define KS_CLASS_LA(c) ((c) == 0 ? 0 : (c) <= 2 ? 1 : 2)
#define KS_CLASS_LB(c) ((c) == 2 || (c) == 4 ? 1 : (c) == 5 ? 2 : 0)
#define KS_ERI_MIN_COEF 1e-300 /* of c_a c_b exp(-ab R^2 / (a+b)): below, the pair is left out */

typedef struct ks_eri_prim_pair {
    double          p, P[3], self;
    ks_hermite_axis E[3];
} ks_eri_prim_pair;

/* Exponents a, b at A, B; cc = c_a c_b exp(-ab |AB|^2 / (a+b)). */
KS_LANE_FN void ks_eri_pair_open(int cls, double a, double b, double cc, const double *A, const double *B,
                                 ks_eri_prim_pair *g) {
    const double p = a + b;
    g->p           = p;
    g->self        = KS_TWO_PI_52 / (p * p * sqrt(2.0 * p));
    for (int d = 0; d < 3; d++) {
        const double ab = A[d] - B[d];
        g->P[d]         = (a * A[d] + b * B[d]) / p;
        ks_hermite_e(KS_CLASS_LA(cls), KS_CLASS_LB(cls), p, -b / p * ab, a / p * ab, d ? 1.0 : cc, g->E[d]);
    }
}

/* The terms of function f, `stride` apart (out NULL: not wanted); returns its share of the bound. */
KS_LANE_FN double ks_eri_pair_function(int cls, int f, const ks_eri_prim_pair *g, double factor, int64_t stride,
                                       double *out) {
    const int       lb   = KS_CLASS_LB(cls);
    const uint16_t *term = ks_class_terms(cls), *start = ks_class_starts(cls);
    const double    p = g->p, pn[5] = {1.0, p, p * p, p * p * p, p * p * p * p};
    ks_sph_term     sa[3], sb[3];
    const int na = ks_sph_terms(KS_CLASS_LA(cls), f / (2 * lb + 1), sa), nb = ks_sph_terms(lb, f % (2 * lb + 1), sb);
    int       i[3][3], j[3][3];
    double    sum = 0.0;
    for (int x = 0; x < na; x++) ks_cart_power(KS_CLASS_LA(cls), sa[x].cart, i[x]);
    for (int y = 0; y < nb; y++) ks_cart_power(lb, sb[y].cart, j[y]);
    for (int k = start[f]; k < start[f + 1]; k++) {
        const int t = term[k] & 15, u = term[k] >> 4 & 15, v = term[k] >> 8, n = t + u + v;
        /* (2t-1)!! (2u-1)!! (2v-1)!!: 1, 1, 3, 15, 105 */
        const double odd = (t < 2    ? 1.0
                            : t == 2 ? 3.0
                            : t == 3 ? 15.0
                                     : 105.0) *
                           (u < 2    ? 1.0
                            : u == 2 ? 3.0
                            : u == 3 ? 15.0
                                     : 105.0) *
                           (v < 2    ? 1.0
                            : v == 2 ? 3.0
                            : v == 3 ? 15.0
                                     : 105.0);
        double c = 0.0;
        for (int x = 0; x < na; x++)
            for (int y = 0; y < nb; y++)
                c += sa[x].coef * sb[y].coef * g->E[0][i[x][0]][j[y][0]][t] * g->E[1][i[x][1]][j[y][1]][u] *
                     g->E[2][i[x][2]][j[y][2]][v];
        sum += fabs(c) * sqrt(g->self * odd * pn[n] / (2 * n + 1));
        if (out) out[(k - start[f]) * stride] = c * (factor / p);
    }
    return sum;
}
#endif
