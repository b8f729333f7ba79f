/* ao_point.h -- value and gradient of one contracted shell at a point (lanes over points).
 * Order and normalisation: include/ksgrad/system.h. CPU: src/ops/ao_lanes.c; CUDA: cuda/ops/rho.cu. */
#ifndef KS_AO_POINT_H
#define KS_AO_POINT_H
#include "pointwise/lane_math.h"

enum { KS_AO_SHELL_MAX = 5 }; /* functions of a d shell */

#define KS_Y_S 0.28209479177387814
#define KS_Y_P 0.4886025119029199
#define KS_Y_D 1.0925484305920792   /* xy, yz, xz */
#define KS_Y_D0 0.31539156525252005 /* 2 z^2 - x^2 - y^2 */
#define KS_Y_D2 0.5462742152960396  /* x^2 - y^2 */

/* One primitive's share of R = sum_k c_k exp(-a_k r^2) and of R1 = (dR/dr)/r = -2 sum_k a_k c_k exp(-a_k r^2). */
KS_LANE_FN void ks_ao_radial_add(double exponent, double coef, ks_lane r2, ks_lane *R, ks_lane *R1) {
    const ks_lane e = coef * ks_lane_exp(-exponent * r2);
    *R += e;
    *R1 -= (2.0 * exponent) * e;
}

KS_LANE_FN void ks_ao_radial(int n_prim, const double *exponent, const double *coef, ks_lane r2, ks_lane *R,
                             ks_lane *R1) {
    *R = *R1 = ks_lane_set(0.0);
    for (int k = 0; k < n_prim; k++) ks_ao_radial_add(exponent[k], coef[k], r2, R, R1);
}

/* chi = Y R, grad chi = grad Y R + Y R1 (x, y, z). value (2l+1), grad (3, KS_AO_SHELL_MAX). */
KS_LANE_FN void ks_ao_angular(int l, ks_lane x, ks_lane y, ks_lane z, ks_lane R, ks_lane R1, ks_lane *value,
                              ks_lane grad[3][KS_AO_SHELL_MAX]) {
    const ks_lane zero = ks_lane_set(0.0);
    if (l == 0) {
        const ks_lane g = KS_Y_S * R1;
        value[0]        = KS_Y_S * R;
        grad[0][0]      = g * x;
        grad[1][0]      = g * y;
        grad[2][0]      = g * z;
    } else if (l == 1) {
        const ks_lane c = KS_Y_P * R, d = KS_Y_P * R1, r[3] = {x, y, z};
        for (int m = 0; m < 3; m++) {
            const ks_lane dm = d * r[m];
            value[m]         = c * r[m];
            for (int i = 0; i < 3; i++) grad[i][m] = i == m ? dm * r[i] + c : dm * r[i];
        }
    } else {
        const ks_lane c = KS_Y_D * R, c0 = KS_Y_D0 * R, c2 = KS_Y_D2 * R, xx = x * x, yy = y * y;
        const ks_lane Y[5] = {KS_Y_D * (x * y), KS_Y_D * (y * z), KS_Y_D0 * (2.0 * z * z - xx - yy), KS_Y_D * (x * z),
                              KS_Y_D2 * (xx - yy)};
        const ks_lane dY[3][5] = {{c * y, zero, -2.0 * c0 * x, c * z, 2.0 * c2 * x},
                                  {c * x, c * z, -2.0 * c0 * y, zero, -2.0 * c2 * y},
                                  {zero, c * y, 4.0 * c0 * z, c * x, zero}};
        for (int m = 0; m < 5; m++) {
            const ks_lane g = Y[m] * R1;
            value[m]        = Y[m] * R;
            grad[0][m]      = dY[0][m] + g * x;
            grad[1][m]      = dY[1][m] + g * y;
            grad[2][m]      = dY[2][m] + g * z;
        }
    }
}
#endif
