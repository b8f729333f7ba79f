/* mix_point.h -- least-squares mixing weights of one frame (DIIS, Anderson) and their adjoint.
 *
 * w minimises |sum_i w_i D_i|^2 + r |w|^2 under sum w = 1, with B_ij = <D_i, D_j> (k x k, rows ld apart), r = ridge
 * max_i B_ii. With A = B + r 1 and x = A^-1 1, w = x / sum x. l (k, k) and z (k) are workspace. */
#ifndef KS_MIX_POINT_H
#define KS_MIX_POINT_H
#include <math.h>
#include "core/lane.h"

/* Factor of A / max B_ii. Returns the largest diagonal element's place, or -1 when B is zero. */
KS_LANE_FN int ks_mix_factor(int k, int64_t ld, double ridge, const double *b, double *l) {
    int m = 0;
    for (int i = 1; i < k; i++)
        if (b[i * ld + i] > b[m * ld + m]) m = i;
    const double top = b[m * ld + m];
    if (top == 0.0) return -1;
    for (int i = 0; i < k; i++)
        for (int j = 0; j <= i; j++) {
            double sum = b[i * ld + j] / top + (i == j ? ridge : 0.0);
            for (int q = 0; q < j; q++) sum -= l[i * k + q] * l[j * k + q];
            l[i * k + j] = i == j ? sqrt(sum) : sum / l[j * k + j];
        }
    return m;
}

KS_LANE_FN void ks_mix_solve(int k, const double *l, double *x) {
    for (int i = 0; i < k; i++) {
        for (int q = 0; q < i; q++) x[i] -= l[i * k + q] * x[q];
        x[i] /= l[i * k + i];
    }
    for (int i = k - 1; i >= 0; i--) {
        for (int q = i + 1; q < k; q++) x[i] -= l[q * k + i] * x[q];
        x[i] /= l[i * k + i];
    }
}

KS_LANE_FN void ks_mix_weights(int k, int64_t ld, double ridge, const double *b, double *l, double *w) {
    const int m   = ks_mix_factor(k, ld, ridge, b, l);
    double    sum = 0.0;
    for (int i = 0; i < k; i++) w[i] = m < 0 ? (i == k - 1 ? 1.0 : 0.0) : 1.0;
    if (m < 0) return;
    ks_mix_solve(k, l, w);
    for (int i = 0; i < k; i++) sum += w[i];
    for (int i = 0; i < k; i++) w[i] /= sum;
}

/* dx = -A^-1 dA x, dw = (dx - w sum dx) / s with s = sum x and x = s w, so
 *   <w_bar, dw> = <w_bar - <w_bar, w> 1, dx> / s = -z^T dA w,   z = A^-1 (w_bar - <w_bar, w> 1),
 * dA = dB + ridge dB_mm 1 (m: the largest diagonal element). The symmetric cotangent is -(z w^T + w z^T)/2 and, at
 * mm, -ridge <z, w>; it is added to b_bar. */
KS_LANE_FN void ks_mix_cotangent(int k, int64_t ld, double ridge, const double *b, const double *w, const double *w_bar,
                                 double *l, double *z, double *b_bar) {
    const int m    = ks_mix_factor(k, ld, ridge, b, l);
    double    mean = 0.0, zw = 0.0;
    if (m < 0) return;
    for (int i = 0; i < k; i++) mean += w_bar[i] * w[i];
    for (int i = 0; i < k; i++) z[i] = w_bar[i] - mean;
    ks_mix_solve(k, l, z);
    for (int i = 0; i < k; i++) z[i] /= b[m * ld + m]; /* l is the factor of A / B_mm */
    for (int i = 0; i < k; i++) zw += z[i] * w[i];
    for (int i = 0; i < k; i++)
        for (int j = 0; j < k; j++) b_bar[i * ld + j] -= 0.5 * (z[i] * w[j] + w[i] * z[j]);
    b_bar[m * ld + m] -= ridge * zw;
}
#endif
