/* eval_metrics.c -- error measures of one frame and their means (src/README.md section 6). */
#include <lapacke.h>
#include <math.h>
#include <string.h>
#include "ksgrad/context.h"
#include "ksgrad/eval.h"

static const ks_metric_info g_info[KS_METRIC_COUNT] = {
#define X(field, key, title, unit) {key, title, unit},
    KS_METRIC_LIST(X)
#undef X
};

const ks_metric_info *ks_metric_get_info(int metric) {
    return metric >= 0 && metric < KS_METRIC_COUNT ? &g_info[metric] : NULL;
}

void ks_metrics_add(ks_metrics_sum *sum, const ks_metrics *frame) {
    for (int k = 0; k < KS_METRIC_COUNT; k++) {
        if (!frame->has[k]) continue;
        sum->sum[k] += frame->value[k];
        sum->n[k]++;
    }
}

ks_metrics ks_metrics_mean(const ks_metrics_sum *sum) {
    ks_metrics m = {0};
    for (int k = 0; k < KS_METRIC_COUNT; k++) {
        m.has[k]   = sum->n[k] > 0;
        m.value[k] = sum->n[k] > 0 ? sum->sum[k] / (double)sum->n[k] : (double)NAN;
    }
    return m;
}

ks_status ks_orbitals(int64_t n, const double *H, const double *S, double *eps, double *C) {
    ks_status  st = KS_OK;
    double    *s  = NULL;
    int        ni = 0;
    lapack_int info;
    KS_CHECK(n >= 0 && (n == 0 || (H && S && eps && C)), KS_ERR_ARG, "orbitals of n=%lld, or a NULL argument",
             (long long)n);
    if (n == 0) return KS_OK;
    KS_TRY(ks_int(n, &ni));
    KS_TRY(KS_NEW(s, n * n));
    for (int64_t i = 0; i < n * n; i++) /* LAPACK may never return on NaN */
        KS_CHECK(isfinite(H[i]) && isfinite(S[i]), KS_ERR_NUMERIC, "matrix element %lld of %lld x %lld is not finite",
                 (long long)i, (long long)n, (long long)n);
    memcpy(s, S, (size_t)(n * n) * sizeof *s);
    memcpy(C, H, (size_t)(n * n) * sizeof *C);
    /* Symmetric input reads the same in both storage orders; eigenvectors come out as columns of a column-major
     * array, that is, as rows here. */
    info = LAPACKE_dsygvd(LAPACK_COL_MAJOR, 1, 'V', 'L', ni, C, ni, s, ni, eps);
    KS_CHECK(info <= ni, KS_ERR_LAPACK, "overlap of %d functions is not positive definite (dsygvd info %d)", ni,
             (int)info);
    KS_CHECK(info == 0, KS_ERR_LAPACK, "dsygvd of order %d: info %d", ni, (int)info);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++) {
            const double t = C[i * n + j];
            C[i * n + j]   = C[j * n + i];
            C[j * n + i]   = t;
        }
done:
    KS_FREE(s);
    return st;
}

static void set(ks_metrics *m, int k, double value) {
    m->value[k] = value;
    m->has[k]   = 1;
}

/* Both similarities of the first n_occ columns of two coefficient matrices, in percent. */
static ks_status psi_similarity(int64_t n, int64_t n_occ, const double *S, const double *A, const double *B,
                                double *cosine, double *overlap) {
    ks_status st = KS_OK;
    double   *a = NULL, *b = NULL; /* one column of each, contiguous */
    KS_TRY(KS_NEW(a, n));
    KS_TRY(KS_NEW(b, n));
    *cosine = *overlap = 0;
    for (int64_t i = 0; i < n_occ; i++) {
        double ab = 0, aa = 0, bb = 0, asb = 0, asa = 0, bsb = 0;
        for (int64_t m = 0; m < n; m++) {
            a[m] = A[m * n + i];
            b[m] = B[m * n + i];
        }
        for (int64_t m = 0; m < n; m++) {
            double sa = 0, sb = 0;
            for (int64_t k = 0; k < n; k++) {
                sa += S[m * n + k] * a[k];
                sb += S[m * n + k] * b[k];
            }
            ab += a[m] * b[m];
            aa += a[m] * a[m];
            bb += b[m] * b[m];
            asb += a[m] * sb;
            asa += a[m] * sa;
            bsb += b[m] * sb;
        }
        *cosine += fabs(ab) / sqrt(aa * bb);
        *overlap += fabs(asb) / sqrt(asa * bsb);
    }
    *cosine *= 100.0 / (double)n_occ;
    *overlap *= 100.0 / (double)n_occ;
done:
    KS_FREE(a);
    KS_FREE(b);
    return st;
}

ks_status ks_metrics_frame(int64_t n, int64_t n_occ, const double *S, const ks_state *pred, const ks_state *ref,
                           ks_metrics *out) {
    ks_status    st      = KS_OK;
    const double milli_d = KS_AU_DEBYE * 1e3, milli_ev = KS_HARTREE_EV * 1e3;
    double       sum = 0, cosine = 0, overlap = 0;
    KS_CHECK(n > 0 && n_occ >= 0 && n_occ <= n && S && pred && ref && out, KS_ERR_ARG, "metrics of n=%lld, n_occ=%lld",
             (long long)n, (long long)n_occ);
    *out = (ks_metrics){0};
    set(out, KS_METRIC_energy, fabs(pred->energy - ref->energy) * milli_ev);
    for (int64_t i = 0; i < n * n; i++) sum += fabs(pred->H[i] - ref->H[i]);
    set(out, KS_METRIC_h, sum / (double)(n * n) * 1e6);
    sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += fabs(pred->eps[i] - ref->eps[i]);
        if (i == n_occ - 1) set(out, KS_METRIC_eps_occ, sum / (double)n_occ * 1e6);
    }
    set(out, KS_METRIC_eps_all, sum / (double)n * 1e6);
    if (n_occ > 0) {
        KS_TRY(psi_similarity(n, n_occ, S, pred->C, ref->C, &cosine, &overlap));
        set(out, KS_METRIC_psi, cosine);
        set(out, KS_METRIC_psi_s, overlap);
    }
    if (n_occ > 0 && n_occ < n)
        set(out, KS_METRIC_gap,
            fabs((pred->eps[n_occ] - pred->eps[n_occ - 1]) - (ref->eps[n_occ] - ref->eps[n_occ - 1])) * milli_ev);
    sum = 0;
    for (int x = 0; x < 3; x++) sum += (pred->dipole[x] - ref->dipole[x]) * (pred->dipole[x] - ref->dipole[x]);
    set(out, KS_METRIC_dipole, sqrt(sum) * milli_d);
done:
    return st;
}

/* c = a b for row-major (n, n) matrices; n is a few hundred and this runs a handful of times per frame. */
static void matmul(int64_t n, const double *a, const double *b, double *c) {
    memset(c, 0, (size_t)(n * n) * sizeof *c);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++)
            for (int64_t j = 0; j < n; j++) c[i * n + j] += a[i * n + k] * b[k * n + j];
}

ks_status ks_commutator_rms(int64_t n, const double *F, const double *P, const double *S, const double *X,
                            double *rms) {
    ks_status st = KS_OK;
    double   *a = NULL, *b = NULL, *c = NULL, sum = 0;
    KS_CHECK(n > 0 && F && P && S && X && rms, KS_ERR_ARG, "commutator of n=%lld, or a NULL argument", (long long)n);
    KS_TRY(KS_NEW(a, n * n));
    KS_TRY(KS_NEW(b, n * n));
    KS_TRY(KS_NEW(c, n * n));
    matmul(n, F, P, a);
    matmul(n, a, S, b); /* F P S; its transpose is S P F */
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            a[i * n + j] = b[i * n + j] - b[j * n + i];
            c[i * n + j] = X[j * n + i];
        }
    matmul(n, a, X, b);
    matmul(n, c, b, a);
    for (int64_t i = 0; i < n * n; i++) sum += a[i] * a[i];
    *rms = sqrt(sum / (double)(n * n));
done:
    KS_FREE(a);
    KS_FREE(b);
    KS_FREE(c);
    return st;
}

void ks_dipole(int64_t n_atom, const int32_t *Z, const double *pos, int64_t n, const double *dip, const double *P,
               double out[3]) {
    for (int x = 0; x < 3; x++) {
        double v = 0;
        for (int64_t a = 0; a < n_atom; a++) v += Z[a] * pos[3 * a + x];
        for (int64_t i = 0; i < n * n; i++) v -= P[i] * dip[x * n * n + i];
        out[x] = v;
    }
}
