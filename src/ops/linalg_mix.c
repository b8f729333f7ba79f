/* linalg_mix.c -- CPU slots: least-squares mixing weights of a refinement (DIIS, Anderson) and their adjoint.
 *
 * w minimises |sum_i w_i D_i|^2 + r |w|^2 under sum w = 1, with B_ij = <D_i, D_j>, r = ridge max_i B_ii. With
 * A = B + r 1 and x = A^-1 1, w = x / sum x. */
#include <math.h>
#include "ops/linalg_ops.h"

/* Factor of A / max B_ii. Returns the largest diagonal element's place, or -1 when B is zero. */
static int factor(int k, int64_t ld, double ridge, const double *b, double l[KS_MIX_MAX][KS_MIX_MAX]) {
    int m = 0;
    for (int i = 1; i < k; i++)
        if (b[i * ld + i] > b[m * ld + m]) m = i;
    const double top = b[m * ld + m];
    if (top == 0.0) return -1;
    for (int i = 0; i < k; i++)
        for (int j = 0; j <= i; j++) {
            double sum = b[i * ld + j] / top + (i == j ? ridge : 0.0);
            for (int q = 0; q < j; q++) sum -= l[i][q] * l[j][q];
            l[i][j] = i == j ? sqrt(sum) : sum / l[j][j];
        }
    return m;
}

static void solve(int k, double l[KS_MIX_MAX][KS_MIX_MAX], double *x) {
    for (int i = 0; i < k; i++) {
        for (int q = 0; q < i; q++) x[i] -= l[i][q] * x[q];
        x[i] /= l[i][i];
    }
    for (int i = k - 1; i >= 0; i--) {
        for (int q = i + 1; q < k; q++) x[i] -= l[q][i] * x[q];
        x[i] /= l[i][i];
    }
}

ks_status ks_mix_fwd_cpu(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge, const double *gram,
                         double *w) {
    (void)ctx;
    for (int64_t f = 0; f < n_mat; f++) {
        double    l[KS_MIX_MAX][KS_MIX_MAX], *wf = w + f * k, sum = 0.0;
        const int m = factor((int)k, ld, ridge, gram + f * ld * ld, l);
        for (int64_t i = 0; i < k; i++) wf[i] = m < 0 ? (i == k - 1 ? 1.0 : 0.0) : 1.0;
        if (m < 0) continue;
        solve((int)k, l, wf);
        for (int64_t i = 0; i < k; i++) sum += wf[i];
        for (int64_t i = 0; i < k; i++) wf[i] /= sum;
    }
    return KS_OK;
}

/* dx = -A^-1 dA x, dw = (dx - w sum dx) / s with s = sum x and x = s w, so
 *   <w_bar, dw> = <w_bar - <w_bar, w> 1, dx> / s = -z^T dA w,   z = A^-1 (w_bar - <w_bar, w> 1),
 * dA = dB + ridge dB_mm 1 (m: the largest diagonal element). The symmetric cotangent is -(z w^T + w z^T)/2 and, at
 * mm, -ridge <z, w>. */
ks_status ks_mix_adj_cpu(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge, const double *gram,
                         const double *w, const double *w_bar, double *gram_bar) {
    (void)ctx;
    for (int64_t f = 0; f < n_mat; f++) {
        double        l[KS_MIX_MAX][KS_MIX_MAX], z[KS_MIX_MAX], mean = 0.0, zw = 0.0;
        const double *b = gram + f * ld * ld, *wf = w + f * k, *wb = w_bar + f * k;
        double       *bb = gram_bar + f * ld * ld;
        const int     m  = factor((int)k, ld, ridge, b, l);
        if (m < 0) continue;
        for (int64_t i = 0; i < k; i++) mean += wb[i] * wf[i];
        for (int64_t i = 0; i < k; i++) z[i] = wb[i] - mean;
        solve((int)k, l, z);
        for (int64_t i = 0; i < k; i++) z[i] /= b[m * ld + m]; /* l is the factor of A / B_mm */
        for (int64_t i = 0; i < k; i++) zw += z[i] * wf[i];
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j < k; j++) bb[i * ld + j] -= 0.5 * (z[i] * wf[j] + wf[i] * z[j]);
        bb[m * ld + m] -= ridge * zw;
    }
    return KS_OK;
}
