/* int1e_point.h -- one-electron integrals of one pair of Cartesian components of a primitive pair, and the spherical
 * transform of their sums. Per axis, with E of hermite.h,
 *   overlap   s_ij = E_0^{ij} sqrt(pi/p)
 *   position  x_ij = (E_1^{ij} + P_x E_0^{ij}) sqrt(pi/p)
 *   kinetic   t_ij = -1/2 d^2/dx^2 on j = -2 b^2 s_{i,j+2} + b (2j+1) s_ij - j(j-1)/2 s_{i,j-2}
 *   nuclear   2 pi/p sum_tuv E_t E_u E_v w_tuv,  w_tuv = sum_C -Z_C R_tuv(p, P - C)
 * (Helgaker, Jorgensen, Olsen, Molecular Electronic-Structure Theory, chapter 9). */
#ifndef KS_INT1E_POINT_H
#define KS_INT1E_POINT_H
#include "pointwise/hermite.h"
#include "pointwise/md_r.h"

enum { KS_INT1E_S, KS_INT1E_T, KS_INT1E_V, KS_INT1E_DIP, KS_INT1E_N = KS_INT1E_DIP + 3 };

/* Adds to sum (KS_INT1E_N). i, j: powers of the two components; E: the three axes (the prefactor exp(-mu AB^2) and the
 * contraction are in x), made for j + 2 when want_t; w in compact order, NULL: no nuclear attraction. */
KS_LANE_FN void ks_int1e_component(const int i[3], const int j[3], double b, double p, const double P[3],
                                   ks_hermite_axis *E, const double *w, int want_t, double *sum) {
    const double root = sqrt(3.14159265358979323846 / p), root3 = root * root * root;
    double       s[3], x[3], t[3] = {0.0, 0.0, 0.0};
    for (int d = 0; d < 3; d++) {
        s[d] = E[d][i[d]][j[d]][0];
        x[d] = (i[d] + j[d] > 0 ? E[d][i[d]][j[d]][1] : 0.0) + P[d] * s[d];
        if (want_t) {
            t[d] = -2.0 * b * b * E[d][i[d]][j[d] + 2][0] + b * (2 * j[d] + 1) * s[d];
            if (j[d] > 1) t[d] -= 0.5 * j[d] * (j[d] - 1) * E[d][i[d]][j[d] - 2][0];
        }
    }
    sum[KS_INT1E_S] += root3 * s[0] * s[1] * s[2];
    sum[KS_INT1E_T] += root3 * (t[0] * s[1] * s[2] + s[0] * t[1] * s[2] + s[0] * s[1] * t[2]);
    sum[KS_INT1E_DIP + 0] += root3 * x[0] * s[1] * s[2];
    sum[KS_INT1E_DIP + 1] += root3 * s[0] * x[1] * s[2];
    sum[KS_INT1E_DIP + 2] += root3 * s[0] * s[1] * x[2];
    if (w) {
        double v = 0.0;
        for (int tx = 0; tx <= i[0] + j[0]; tx++)
            for (int ty = 0; ty <= i[1] + j[1]; ty++)
                for (int tz = 0; tz <= i[2] + j[2]; tz++)
                    v += E[0][i[0]][j[0]][tx] * E[1][i[1]][j[1]][ty] * E[2][i[2]][j[2]][tz] *
                         w[ks_hermite_index(tx, ty, tz)];
        sum[KS_INT1E_V] += 2.0 * 3.14159265358979323846 / p * v;
    }
}

/* Spherical function (ma, mb) of cart (na, nb). */
KS_LANE_FN double ks_int1e_spherical(int la, int lb, int ma, int mb, const double *cart) {
    const int   nb = (lb + 1) * (lb + 2) / 2;
    ks_sph_term ta[3], tb[3];
    const int   na_t = ks_sph_terms(la, ma, ta), nb_t = ks_sph_terms(lb, mb, tb);
    double      s = 0.0;
    for (int i = 0; i < na_t; i++)
        for (int j = 0; j < nb_t; j++) s += ta[i].coef * tb[j].coef * cart[ta[i].cart * nb + tb[j].cart];
    return s;
}
#endif
