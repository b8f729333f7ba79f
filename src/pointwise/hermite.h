/* hermite.h -- Cartesian and spherical components, and Hermite expansion coefficients of Gaussian products.
 *
 * The product of two primitives is sum_t E_t Lambda_t per axis (McMurchie & Davidson, J. Comput. Phys. 26, 218
 * (1978), DOI 10.1016/0021-9991(78)90092-X), with the recurrences
 *   E_t^{i+1,j} = E_{t-1}^{ij} / 2p + X_PA E_t^{ij} + (t+1) E_{t+1}^{ij}   and the same with X_PB for j+1.
 * Plain doubles: used by the pair tables and the one-electron integrals of both backends. */
#ifndef KS_HERMITE_H
#define KS_HERMITE_H
#include "core/lane.h"

enum { KS_CART_MAX = 6, KS_SPH_MAX = 5 }; /* components of a d shell */

/* E[t] of one axis for i <= i_max and j <= j_max, t <= i_max + j_max (0 above i + j); E_0^{00} = e00.
 * Dimensions: i < 3, j < 5, t < 8. */
typedef double ks_hermite_axis[3][5][8];

KS_LANE_FN void ks_hermite_e(int i_max, int j_max, double p, double xpa, double xpb, double e00, ks_hermite_axis E) {
    const double h = 0.5 / p;
    for (int i = 0; i <= i_max; i++)
        for (int j = 0; j <= j_max; j++) {
            double *e = E[i][j];
            for (int t = i + j + 1; t <= i_max + j_max; t++) e[t] = 0.0;
            if (i == 0 && j == 0) {
                e[0] = e00;
                continue;
            }
            const double *f = j ? E[i][j - 1] : E[i - 1][0];
            const double  x = j ? xpb : xpa;
            const int     n = i + j; /* highest t of this row; f has n-1 */
            for (int t = 0; t <= n; t++) {
                double v = 0.0;
                if (t > 0) v += h * f[t - 1];
                if (t <= n - 1) v += x * f[t];
                if (t + 1 <= n - 1) v += (double)(t + 1) * f[t + 1];
                e[t] = v;
            }
        }
}

/* Powers (x, y, z) of Cartesian component c of angular momentum l; order xx xy xz yy yz zz. */
KS_LANE_FN void ks_cart_power(int l, int c, int pow[3]) {
    int n  = 0;
    pow[0] = pow[1] = pow[2] = 0;
    for (int x = l; x >= 0; x--)
        for (int y = l - x; y >= 0; y--, n++)
            if (n == c) {
                pow[0] = x;
                pow[1] = y;
                pow[2] = l - x - y;
                return;
            }
}

/* Real solid harmonics normalised on the unit sphere, as combinations of Cartesian monomials: a spherical
 * function has at most three terms. PySCF order (p: x y z; d: xy yz z2 xz x2-y2). */
typedef struct ks_sph_term {
    int    cart;
    double coef;
} ks_sph_term;

#define KS_SPH_S 0.28209479177387814  /* sqrt(1/4pi) */
#define KS_SPH_P 0.48860251190291992  /* sqrt(3/4pi) */
#define KS_SPH_D 1.0925484305920792   /* sqrt(15/4pi) */
#define KS_SPH_D0 0.31539156525252005 /* sqrt(5/16pi) */
#define KS_SPH_D2 0.54627421529603959 /* sqrt(15/16pi) */

KS_LANE_FN int ks_sph_terms(int l, int m, ks_sph_term out[3]) {
    if (l == 0) {
        out[0] = (ks_sph_term){0, KS_SPH_S};
        return 1;
    }
    if (l == 1) {
        out[0] = (ks_sph_term){m, KS_SPH_P};
        return 1;
    }
    switch (m) {
    case 0:
        out[0] = (ks_sph_term){1, KS_SPH_D};
        return 1;
    case 1:
        out[0] = (ks_sph_term){4, KS_SPH_D};
        return 1;
    case 2:
        out[0] = (ks_sph_term){5, 2.0 * KS_SPH_D0};
        out[1] = (ks_sph_term){0, -KS_SPH_D0};
        out[2] = (ks_sph_term){3, -KS_SPH_D0};
        return 3;
    case 3:
        out[0] = (ks_sph_term){2, KS_SPH_D};
        return 1;
    default:
        out[0] = (ks_sph_term){0, KS_SPH_D2};
        out[1] = (ks_sph_term){3, -KS_SPH_D2};
        return 2;
    }
}
#endif
