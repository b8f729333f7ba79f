/* test_eval.c -- metrics on numbers worked out by hand, their means, orbitals and commutator. */
#include <string.h>
#include "ks_test.h"
#include "ksgrad/eval.h"

static double value(const ks_metrics *m, int k) { return m->has[k] ? m->value[k] : (double)NAN; }

/* Two functions with overlap 1/2. H = diag-like: eigenvectors are (1, 1)/sqrt(3) and (1, -1), eigenvalues
 * (a + b)/(1 + s) and (a - b)/(1 - s). */
static void test_orbitals(void) {
    const double H[4] = {-1.0, -0.8, -0.8, -1.0}, S[4] = {1, 0.5, 0.5, 1};
    double       eps[2], C[4];
    T_OK(ks_orbitals(2, H, S, eps, C));
    T_CLOSE(eps[0], -1.8 / 1.5, 1e-14, 0);
    T_CLOSE(eps[1], -0.2 / 0.5, 1e-14, 0);
    T_CLOSE(fabs(C[0]), 1 / sqrt(3.0), 1e-14, 0); /* column 0 */
    T_CLOSE(C[2] / C[0], 1.0, 1e-13, 0);
    T_CLOSE(fabs(C[1]), 1.0, 1e-14, 0); /* column 1 */
    T_CLOSE(C[3] / C[1], -1.0, 1e-13, 0);
    T_OK(ks_orbitals(0, NULL, NULL, NULL, NULL));
    T_ERR(ks_orbitals(-1, H, S, eps, C), KS_ERR_ARG);
    T_ERR(ks_orbitals(2, H, (const double[4]){1, 1, 1, 1}, eps, C), KS_ERR_LAPACK);
    T_ERR(ks_orbitals(2, (const double[4]){1, NAN, NAN, 1}, S, eps, C), KS_ERR_NUMERIC);
}

static void test_metrics(void) {
    const double S[4] = {1, 0.5, 0.5, 1}, Hr[4] = {-1.0, -0.8, -0.8, -1.0}, Hp[4] = {-1.001, -0.8, -0.8, -1.0};
    /* columns: reference (1, 1) and (1, -1); prediction (1, 0) and (0, 1), scaled: scale must not matter */
    const double   er[2] = {-1.2, -0.4}, ep[2] = {-1.203, -0.401}, Cr[4] = {1, 1, 1, -1}, Cp[4] = {-3, 0, 0, 5};
    const ks_state ref  = {-75.0, {0, 0, 0.7}, Hr, er, Cr};
    const ks_state pred = {-75.002, {0.003, 0, 0.704}, Hp, ep, Cp};
    ks_metrics     m;
    T_OK(ks_metrics_frame(2, 1, S, &pred, &ref, &m));
    T_CLOSE(value(&m, KS_METRIC_energy), 54.422772491976, 1e-8, 0); /* 0.002 Ha */
    T_CLOSE(value(&m, KS_METRIC_h), 250.0, 1e-7, 0);                /* 1000 uHa in one of four elements */
    T_CLOSE(value(&m, KS_METRIC_eps_all), 2000.0, 1e-6, 0);         /* (3000 + 1000) / 2 */
    T_CLOSE(value(&m, KS_METRIC_eps_occ), 3000.0, 1e-6, 0);
    T_CLOSE(value(&m, KS_METRIC_psi), 100 / sqrt(2.0), 1e-11, 0);        /* (1,0).(1,1) */
    T_CLOSE(value(&m, KS_METRIC_psi_s), 150 / sqrt(3.0), 1e-11, 0);      /* 1.5 / sqrt(1 * 3) */
    T_CLOSE(value(&m, KS_METRIC_gap), 0.002 * 27211.386245988, 1e-7, 0); /* 0.802 against 0.800 */
    T_CLOSE(value(&m, KS_METRIC_dipole), 0.005 * 2541.746473, 1e-8, 0);  /* 3-4-5 */
    T_CHECK(!m.has[KS_METRIC_cycles] && !m.has[KS_METRIC_commutator], "not computed here");

    T_OK(ks_metrics_frame(2, 2, S, &pred, &ref, &m)); /* no virtual orbital: no gap */
    T_CHECK(!m.has[KS_METRIC_gap] && m.has[KS_METRIC_eps_occ], "gap without virtuals");
    T_CLOSE(value(&m, KS_METRIC_eps_occ), 2000.0, 1e-6, 0);
    T_OK(ks_metrics_frame(2, 0, S, &pred, &ref, &m));
    T_CHECK(!m.has[KS_METRIC_gap] && !m.has[KS_METRIC_eps_occ] && !m.has[KS_METRIC_psi], "no electrons");
    T_ERR(ks_metrics_frame(2, 3, S, &pred, &ref, &m), KS_ERR_ARG);

    /* a prediction equal to its reference is perfect to rounding */
    T_OK(ks_metrics_frame(2, 1, S, &ref, &ref, &m));
    for (int k = 0; k < KS_METRIC_COUNT; k++)
        if (m.has[k]) T_CLOSE(m.value[k], k == KS_METRIC_psi || k == KS_METRIC_psi_s ? 100.0 : 0.0, 1e-12, 0);
}

/* A non-finite frame must not vanish from a mean, and a metric nobody has must not read 0. */
static void test_means(void) {
    ks_metrics_sum sum = {0};
    ks_metrics     a = {0}, b = {0}, mean;
    a.has[KS_METRIC_energy] = b.has[KS_METRIC_energy] = a.has[KS_METRIC_cycles] = a.has[KS_METRIC_h] =
        b.has[KS_METRIC_h]                                                      = 1;
    a.value[KS_METRIC_energy] = 1, b.value[KS_METRIC_energy] = 4, a.value[KS_METRIC_cycles] = 7;
    a.value[KS_METRIC_h] = 3, b.value[KS_METRIC_h] = (double)NAN;
    ks_metrics_add(&sum, &a);
    ks_metrics_add(&sum, &b);
    mean = ks_metrics_mean(&sum);
    T_CLOSE(value(&mean, KS_METRIC_energy), 2.5, 0, 0);
    T_CLOSE(value(&mean, KS_METRIC_cycles), 7, 0, 0);
    T_CHECK(mean.has[KS_METRIC_h] && isnan(mean.value[KS_METRIC_h]), "a NaN frame was dropped");
    T_CHECK(!mean.has[KS_METRIC_gap] && isnan(mean.value[KS_METRIC_gap]), "an empty mean");
    T_CHECK(!strcmp(ks_metric_get_info(KS_METRIC_h)->key, "h_mae_uHa"), "key");
    T_CHECK(!ks_metric_get_info(-1) && !ks_metric_get_info(KS_METRIC_COUNT), "range");
}

static void test_commutator(void) {
    /* orthonormal basis: F = [[0, 1], [1, 0]], P = diag(2, 0): FP - PF = [[0, -2], [2, 0]], rms sqrt(2) */
    const double I[4] = {1, 0, 0, 1}, F[4] = {0, 1, 1, 0}, P[4] = {2, 0, 0, 0}, Pc[4] = {1, 1, 1, 1};
    const double S[4] = {4, 0, 0, 1}, X[4] = {0.5, 0, 0, 1};
    double       rms;
    T_OK(ks_commutator_rms(2, F, P, I, I, &rms));
    T_CLOSE(rms, sqrt(2.0), 1e-15, 0);
    T_OK(ks_commutator_rms(2, F, Pc, I, I, &rms)); /* Pc is a function of F */
    T_CLOSE(rms, 0, 1e-15, 0);
    /* S = diag(4, 1): F P S - S P F = [[0, -8], [8, 0]], X = S^-1/2 makes it [[0, -4], [4, 0]] */
    T_OK(ks_commutator_rms(2, F, P, S, X, &rms));
    T_CLOSE(rms, 4 / sqrt(2.0), 1e-15, 0);
}

static void test_dipole(void) {
    const int32_t Z[2]   = {1, 3};
    const double  pos[6] = {0, 0, 1, 0.5, 0, -1}, P[4] = {2, 0.25, 0.25, 1};
    const double  dip[12] = {0.1, 0, 0, 0.2, /* x */ 0, 1, 1, 0, /* y */ 1, 0, 0, -1 /* z */};
    double        mu[3];
    ks_dipole(2, Z, pos, 2, dip, P, mu);
    T_CLOSE(mu[0], 1.5 - 0.4, 1e-15, 0);
    T_CLOSE(mu[1], -0.5, 1e-15, 0);
    T_CLOSE(mu[2], 1 - 3 - 1, 1e-15, 0);
}

int main(void) {
    test_orbitals();
    test_metrics();
    test_means();
    test_commutator();
    test_dipole();
    return t_done("eval", 44);
}
