/* linalg_eigh.c -- CPU slots: symmetric eigenproblem, Loewdin matrices, Cholesky solve. One frame per task. */
#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>
#include "ops/linalg_ops.h"
#ifdef _OPENMP
#include <omp.h>
#endif

/* Frames below this overlap eigenvalue have an X that amplifies the error of F by more than 1e8. */
static const double OVERLAP_MIN = 1e-8;

static int64_t eigh_lwork(int64_t n) { return 1 + 6 * n + 2 * n * n; }
static int64_t eigh_liwork(int64_t n) { return 3 + 5 * n; }

/* u (n, n): symmetric matrix in, eigenvectors as rows out. Returns LAPACK's info. dsyevd with the upper triangle of
 * the column-major view is the fastest of OpenBLAS's dsyev, dsyevd, dsyevr at n = 132 (1.4-1.8 ms; lower triangle
 * 3.7, dsyevr 1.7-2.1, dsyev 3.3-5.4). */
static int eigh_rows(int64_t n, double *u, double *w, double *work, int *iwork) {
    return LAPACKE_dsyevd_work(LAPACK_COL_MAJOR, 'V', 'U', (int)n, u, (int)n, w, work, (int)eigh_lwork(n), iwork,
                               (int)eigh_liwork(n));
}

static int all_finite(int64_t len, const double *x) {
    double sum = 0.0; /* x - x is 0 for finite x and NaN otherwise */
    for (int64_t i = 0; i < len; i++) sum += x[i] - x[i];
    return sum == 0.0;
}

ks_status ks_eigh_cpu(ks_ctx *ctx, int64_t n_mat, int64_t n, const double *a, double *w, double *v) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const int           n_thr   = ctx->n_thread < n_mat ? ctx->n_thread : (int)n_mat;
    const int64_t       n_work = eigh_lwork(n) + n * n, n_iwork = eigh_liwork(n);
    double             *work  = NULL;
    int                *iwork = NULL, *info = NULL;
    KS_TRY(KS_TAKE(scratch, work, n_thr * n_work));
    KS_TRY(KS_TAKE(scratch, iwork, n_thr * n_iwork));
    KS_TRY(KS_TAKE(scratch, info, n_mat));
#pragma omp parallel for num_threads(n_thr) schedule(dynamic)
    for (int64_t f = 0; f < n_mat; f++) {
#ifdef _OPENMP
        const int t = omp_get_thread_num();
#else
        const int t = 0;
#endif
        double       *u = work + t * n_work + eigh_lwork(n), *vf = v + f * n * n;
        const double *af = a + f * n * n;
        info[f]          = 0;
        if (!all_finite(n * n, af)) {
            memset(vf, 0, (size_t)(n * n) * sizeof *vf);
            for (int64_t i = 0; i < n; i++) vf[i * n + i] = 1.0, w[f * n + i] = NAN;
            continue;
        }
        memcpy(u, af, (size_t)(n * n) * sizeof *u);
        info[f] = eigh_rows(n, u, w + f * n, work + t * n_work, iwork + t * n_iwork);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) vf[i * n + j] = u[j * n + i];
    }
    for (int64_t f = 0; f < n_mat; f++)
        KS_CHECK(info[f] == 0, KS_ERR_LAPACK, "dsyevd returned %d for matrix %lld of %lld (extent %lld)", info[f],
                 (long long)f, (long long)n_mat, (long long)n);
done:
    ks_arena_release(scratch, mark);
    return st;
}

ks_status ks_lowdin_cpu(ks_ctx *ctx, int64_t n_mat, int64_t n, const double *s, int64_t first_frame, double *s_half,
                        double *x) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    double             *w = NULL, *v = NULL, *vs = NULL;
    KS_TRY(KS_TAKE(scratch, w, n_mat * n));
    KS_TRY(KS_TAKE(scratch, v, n_mat * n * n));
    KS_TRY(KS_TAKE(scratch, vs, n_mat * n * n));
    KS_TRY(ks_eigh_cpu(ctx, n_mat, n, s, w, v));
    for (int64_t f = 0; f < n_mat; f++)
        KS_CHECK(w[f * n] >= OVERLAP_MIN, KS_ERR_DATA,
                 "frame %lld: smallest eigenvalue of the overlap matrix is %.3g, limit %.0e (basis functions are "
                 "linearly dependent)",
                 (long long)(first_frame + f), w[f * n], OVERLAP_MIN);
    for (int half = 1; half >= 0; half--) {
        for (int64_t f = 0; f < n_mat; f++)
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++) {
                    const double root       = sqrt(w[f * n + j]);
                    vs[(f * n + i) * n + j] = v[(f * n + i) * n + j] * (half ? root : 1.0 / root);
                }
        KS_TRY(ks_gemm_cpu(ctx, n_mat, 0, 1, n, n, n, 1.0, ks_mats_dense(vs, n, n), ks_mats_dense(v, n, n), 0.0,
                           half ? s_half : x));
    }
done:
    ks_arena_release(scratch, mark);
    return st;
}

ks_status ks_chol_solve_cpu(ks_ctx *ctx, int64_t n_mat, int64_t n, int64_t m, const double *a, const double *b,
                            double *x) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    double             *l       = NULL;
    int                *info    = NULL;
    KS_TRY(KS_TAKE(scratch, l, n_mat * n * n));
    KS_TRY(KS_TAKE(scratch, info, n_mat));
    memcpy(l, a, (size_t)(n_mat * n * n) * sizeof *l);
    memcpy(x, b, (size_t)(n_mat * n * m) * sizeof *x);
#pragma omp parallel for num_threads(ctx->n_thread) schedule(static)
    for (int64_t f = 0; f < n_mat; f++) {
        double *lf = l + f * n * n, *xf = x + f * n * m;
        /* column-major upper U with A = U^T U is row-major lower L = U^T: A = L L^T */
        info[f] = LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', (int)n, lf, (int)n);
        if (info[f]) continue;
        cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, (int)m, 1.0, lf, (int)n,
                    xf, (int)m);
        cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasTrans, CblasNonUnit, (int)n, (int)m, 1.0, lf, (int)n, xf,
                    (int)m);
    }
    for (int64_t f = 0; f < n_mat; f++)
        KS_CHECK(info[f] == 0, KS_ERR_DATA,
                 "chol_solve: matrix %lld of %lld is not positive definite (leading minor %d)", (long long)f,
                 (long long)n_mat, info[f]);
done:
    ks_arena_release(scratch, mark);
    return st;
}
