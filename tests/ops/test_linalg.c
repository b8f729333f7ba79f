/* test_linalg.c -- the linalg family against plain triple loops and its own defining equations. Each slot through the
 * op driver: test_linalg_slots.c. */
#include <string.h>
#include "ks_test.h"
#include "op_driver.h"

static double uni(uint64_t i) { return 2.0 * ks_rng_uniform(11, KS_STREAM_TEST, 0, i) - 1.0; }

/* Backend arrays from and to the host. */
static double *up(ks_ctx *ctx, const double *h, int64_t n) {
    double *d = NULL;
    T_OK(ks_mem_alloc(ctx, (size_t)n * sizeof *d, (void **)&d));
    T_OK(ks_mem_to_backend(ctx, d, h, (size_t)n * sizeof *d));
    return d;
}
static int32_t *up_index(ks_ctx *ctx, const int32_t *h, int64_t n) {
    int32_t *d = NULL;
    T_OK(ks_mem_alloc(ctx, (size_t)n * sizeof *d, (void **)&d));
    T_OK(ks_mem_to_backend(ctx, d, h, (size_t)n * sizeof *d));
    return d;
}
static double *down(ks_ctx *ctx, double *d, int64_t n) {
    double *h = malloc((size_t)n * sizeof *h);
    T_OK(ks_mem_to_host(ctx, h, d, (size_t)n * sizeof *h));
    ks_mem_free(ctx, (void **)&d);
    return h;
}
/* What a kernel finds wrong is reported by the call itself where backend memory is host memory, else by ks_sync. */
static ks_status reported(ks_ctx *ctx, ks_status st) { return st == KS_OK && !ks_ctx_is_host(ctx) ? ks_sync(ctx) : st; }
static double   *random_array(int64_t n, uint64_t key) {
      double *h = malloc((size_t)n * sizeof *h);
      for (int64_t i = 0; i < n; i++) h[i] = uni(key * 1000003 + (uint64_t)i);
    return h;
}
static void symmetrise(double *a, int64_t n_mat, int64_t n) {
    for (int64_t b = 0; b < n_mat; b++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i; j++) a[(b * n + i) * n + j] = a[(b * n + j) * n + i];
}

static void test_gemm(ks_ctx *ctx, int64_t B, int64_t m, int64_t n, int64_t k, int ta, int tb, double beta) {
    double       *a = random_array(B * m * k, 1), *b = random_array(2 * k * n, 2), *c = random_array(B * m * n, 3);
    double       *da = up(ctx, a, B * m * k), *db = up(ctx, b, 2 * k * n), *dc = up(ctx, c, B * m * n);
    const int32_t index[8] = {1, 0, 1, 1, 0, 0, 1, 0}; /* b: a pool of two matrices */
    int32_t      *di       = up_index(ctx, index, 8);
    if (beta == 0.0) { /* overwriting must not read what is there */
        double *nan_c = malloc((size_t)(B * m * n) * sizeof *nan_c);
        for (int64_t i = 0; i < B * m * n; i++) nan_c[i] = NAN;
        T_OK(ks_mem_to_backend(ctx, dc, nan_c, (size_t)(B * m * n) * sizeof *nan_c));
        free(nan_c);
    }
    T_OK(ks_gemm(ctx, B, ta, tb, m, n, k, 0.7, ks_mats_dense(da, ta ? k : m, ta ? m : k),
                 (ks_mats){db, tb ? k : n, k * n, di, 1, 0}, beta, dc));
    double *got = down(ctx, dc, B * m * n), worst = 0.0;
    for (int64_t f = 0; f < B; f++)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                const double *af = a + f * m * k, *bf = b + index[f] * k * n;
                double        s = 0.0;
                for (int64_t q = 0; q < k; q++)
                    s += (ta ? af[q * m + i] : af[i * k + q]) * (tb ? bf[j * k + q] : bf[q * n + j]);
                const double want = 0.7 * s + beta * c[(f * m + i) * n + j], d = fabs(got[(f * m + i) * n + j] - want);
                worst = t_worse(worst, d);
            }
    /* elements are sums of k products of size 1 */
    T_CHECK(worst <= 8 * 2.3e-16 * (double)(k + 1), "gemm B=%lld m=%lld n=%lld k=%lld ta=%d tb=%d: error %g",
            (long long)B, (long long)m, (long long)n, (long long)k, ta, tb, worst);
    ks_mem_free(ctx, (void **)&da);
    ks_mem_free(ctx, (void **)&db);
    ks_mem_free(ctx, (void **)&di);
    free(a), free(b), free(c), free(got);
}

/* Matrices of a frame and spin: a shared by the spins of a frame, b with its own stride between them; 40 wide goes
 * through the library, 9 through an own kernel on a GPU. */
static void test_gemm_groups(ks_ctx *ctx, int64_t n, int with_index) {
    enum { F = 3, SPIN = 2, B = F * SPIN };
    const int64_t nn       = n * n;
    const int32_t index[F] = {2, 0, 1};
    double       *a = random_array(F * nn, 21), *b = random_array(B * nn, 22), worst = 0.0;
    double       *da = up(ctx, a, F * nn), *db = up(ctx, b, B * nn), *dc = up(ctx, b, B * nn);
    int32_t      *di = up_index(ctx, index, F);
    T_OK(ks_gemm(ctx, B, 0, 0, n, n, n, 1.0, (ks_mats){da, n, nn, with_index ? di : NULL, SPIN, 0},
                 (ks_mats){db, n, SPIN * nn, NULL, SPIN, nn}, 0.0, dc));
    double *got = down(ctx, dc, B * nn);
    for (int64_t m = 0; m < B; m++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                const double *af = a + (with_index ? index[m / SPIN] : m / SPIN) * nn, *bf = b + m * nn;
                double        s = 0.0;
                for (int64_t q = 0; q < n; q++) s += af[i * n + q] * bf[q * n + j];
                worst = t_worse(worst, fabs(got[m * nn + i * n + j] - s));
            }
    T_CHECK(worst <= TOL_GEMM(n), "gemm of groups, n=%lld index=%d: error %g", (long long)n, with_index, worst);
    ks_mem_free(ctx, (void **)&da), ks_mem_free(ctx, (void **)&db), ks_mem_free(ctx, (void **)&di);
    free(a), free(b), free(got);
}

static void test_eigh(ks_ctx *ctx, int64_t B, int64_t n) {
    double *a = random_array(B * n * n, 4);
    symmetrise(a, B, n);
    if (n > 3) /* an exactly degenerate, block-diagonal frame */
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) a[i * n + j] = i == j ? (double)(i / 2) : 0.0;
    double *da = up(ctx, a, B * n * n), *w = NULL, *v = NULL;
    T_OK(ks_mem_alloc(ctx, (size_t)(B * n) * sizeof *w, (void **)&w));
    T_OK(ks_mem_alloc(ctx, (size_t)(B * n * n) * sizeof *v, (void **)&v));
    T_OK(ks_eigh(ctx, B, n, da, w, v));
    double *hw = down(ctx, w, B * n), *hv = down(ctx, v, B * n * n), resid = 0.0, ortho = 0.0;
    int     sorted = 1;
    for (int64_t f = 0; f < B; f++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                const double *af = a + f * n * n, *vf = hv + f * n * n;
                double        r = -vf[i * n + j] * hw[f * n + j], o = i == j ? -1.0 : 0.0;
                for (int64_t q = 0; q < n; q++) r += af[i * n + q] * vf[q * n + j], o += vf[q * n + i] * vf[q * n + j];
                resid = fabs(r) <= resid ? resid : fabs(r);
                ortho = fabs(o) <= ortho ? ortho : fabs(o);
                if (j && i == 0 && hw[f * n + j] < hw[f * n + j - 1]) sorted = 0;
            }
    /* |A| is of the order of n at most; backward stable: a small multiple of eps |A| */
    T_CHECK(resid <= 20 * 2.3e-16 * (double)(n + 1), "eigh n=%lld residual %g", (long long)n, resid);
    T_CHECK(ortho <= 20 * 2.3e-16 * (double)(n + 1), "eigh n=%lld orthogonality %g", (long long)n, ortho);
    T_CHECK(sorted, "eigh n=%lld: eigenvalues not ascending", (long long)n);
    ks_mem_free(ctx, (void **)&da);
    free(a), free(hw), free(hv);
}

/* Matrices on which eigensolvers stumble, 21 x 21 and, in the middle of a unit matrix, 41 x 41 and 150 x 150. */
static double special(int kind, int64_t i, int64_t j) {
    const double lo = (double)(i < j ? i : j);
    switch (kind) {
    case 0: /* nothing */
        return 0.0;
    case 1: /* descending diagonal */
        return i == j ? -(double)i : 0.0;
    case 2: /* Wilkinson's W21+: pairs of eigenvalues that agree to 1e-13 */
        return i == j ? fabs(10.0 - (double)i) : i - j == 1 || j - i == 1 ? 1.0 : 0.0;
    case 3: /* one eigenvalue 21, twenty of 0 */
        return 1.0;
    case 4: /* graded: 1 to 1e-20, falling */
        return pow(10.0, -0.5 * (double)(i + j));
    case 5: /* graded the other way */
        return pow(10.0, -0.5 * (40.0 - (double)(i + j)));
    case 6: /* an arrow with equal diagonal elements */
        return i == j ? 2.0 : lo == 0.0 ? 1.0 : 0.0;
    case 7: /* blocks of 3 that do not see each other */
        return i / 3 == j / 3 ? (i == j ? 1.0 : 0.5) : 0.0;
    default: /* a level with a close neighbour: 1 + 1e-10 noise */
        return (i == j ? 1.0 : 0.0) + 1e-10 * uni((uint64_t)(31 * (i + j) + i * j));
    }
}
static void test_eigh_special(ks_ctx *ctx, int64_t n) {
    enum { KINDS = 9, CORE = 21 };
    const int64_t nn = n * n, first = (n - CORE) / 2;
    double       *a = calloc((size_t)(KINDS * nn), sizeof *a);
    for (int k = 0; k < KINDS; k++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                const int in          = i >= first && i < first + CORE && j >= first && j < first + CORE;
                a[k * nn + i * n + j] = in ? special(k, i - first, j - first) : i == j ? 1.0 : 0.0;
            }
    double *da = up(ctx, a, KINDS * nn), *w = up(ctx, a, KINDS * n), *v = up(ctx, a, KINDS * nn);
    T_OK(ks_eigh(ctx, KINDS, n, da, w, v));
    double *hw = down(ctx, w, KINDS * n), *hv = down(ctx, v, KINDS * nn);
    for (int k = 0; k < KINDS; k++) {
        const double *ak = a + k * nn, *vk = hv + k * nn, *wk = hw + k * n;
        double        resid = 0.0, ortho = 0.0, norm = 1.0;
        int           sorted = 1;
        for (int64_t j = 0; j < n; j++) {
            norm   = fmax(norm, fabs(wk[j]));
            sorted = sorted && (j == 0 || wk[j] >= wk[j - 1]);
        }
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                double r = -vk[i * n + j] * wk[j], o = i == j ? -1.0 : 0.0;
                for (int64_t q = 0; q < n; q++) r += ak[i * n + q] * vk[q * n + j], o += vk[q * n + i] * vk[q * n + j];
                resid = t_worse(resid, fabs(r)), ortho = t_worse(ortho, fabs(o));
            }
        /* as for random matrices, of which the norm is n at most */
        T_CHECK(resid <= 20 * TOL_EPS * norm * sqrt((double)n), "eigh of kind %d, n=%lld: residual %g", k, (long long)n,
                resid);
        T_CHECK(ortho <= 20 * TOL_EPS * sqrt((double)n), "eigh of kind %d, n=%lld: orthogonality %g", k, (long long)n,
                ortho);
        T_CHECK(sorted, "eigh of kind %d, n=%lld: not ascending", k, (long long)n);
        if (k == 4) T_CHECK(fabs(wk[0]) <= 1e-15 || n > CORE, "graded matrix: smallest eigenvalue %g", wk[0]);
    }
    ks_mem_free(ctx, (void **)&da);
    free(a), free(hw), free(hv);
}

/* A frame has the same bits in any batch, and its neighbours do not matter. */
static void test_eigh_batch(ks_ctx *ctx, int64_t n) {
    enum { B = 4 };
    double *a = random_array(B * n * n, 31);
    symmetrise(a, B, n);
    double *da = up(ctx, a, B * n * n), *w = up(ctx, a, B * n), *v = up(ctx, a, B * n * n), *w1 = up(ctx, a, n),
           *v1 = up(ctx, a, n * n);
    T_OK(ks_eigh(ctx, B, n, da, w, v));
    T_OK(ks_eigh(ctx, 1, n, da + 2 * n * n, w1, v1));
    double *hw = down(ctx, w, B * n), *hv = down(ctx, v, B * n * n), *hw1 = down(ctx, w1, n),
           *hv1 = down(ctx, v1, n * n);
    T_CHECK(!memcmp(hw + 2 * n, hw1, (size_t)n * sizeof *hw) &&
                !memcmp(hv + 2 * n * n, hv1, (size_t)(n * n) * sizeof *hv),
            "eigh n=%lld: a frame depends on its batch", (long long)n);
    ks_mem_free(ctx, (void **)&da);
    free(a), free(hw), free(hv), free(hw1), free(hv1);
}

static void test_eigh_nan(ks_ctx *ctx) {
    enum { B = 2, N = 3 };
    double  a[B * N * N] = {1, 0, NAN, 0, 2, 0, NAN, 0, 3, 3, 0, 0, 0, 2, 0, 0, 0, 1};
    double *da = up(ctx, a, B * N * N), *w = up(ctx, a, B * N), *v = up(ctx, a, B * N * N);
    T_OK(ks_eigh(ctx, B, N, da, w, v));
    double *hw = down(ctx, w, B * N), *hv = down(ctx, v, B * N * N);
    T_CHECK(isnan(hw[0]) && isnan(hw[2]) && hv[0] == 1.0 && hv[1] == 0.0,
            "a NaN frame must be marked by NaN eigenvalues");
    T_CHECK(hw[3] == 1.0 && hw[4] == 2.0 && hw[5] == 3.0, "a NaN frame changed its neighbour");
    ks_mem_free(ctx, (void **)&da);
    free(hw), free(hv);
}

static void test_lowdin(ks_ctx *ctx, int64_t B, int64_t n) {
    double *r = random_array(B * n * n, 5), *s = calloc((size_t)(B * n * n), sizeof *s);
    for (int64_t f = 0; f < B; f++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                for (int64_t q = 0; q < n; q++)
                    s[(f * n + i) * n + j] += r[(f * n + i) * n + q] * r[(f * n + j) * n + q] / (double)n;
                if (i == j) s[(f * n + i) * n + j] += 0.1;
            }
    double *ds = up(ctx, s, B * n * n), *dh = up(ctx, s, B * n * n), *dx = up(ctx, s, B * n * n), worst = 0.0,
           asym = 0.0;
    T_OK(ks_lowdin(ctx, B, n, ds, 0, dh, dx));
    double *h = down(ctx, dh, B * n * n), *x = down(ctx, dx, B * n * n);
    for (int64_t f = 0; f < B; f++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                const double *hf = h + f * n * n, *xf = x + f * n * n;
                double        hh = -s[(f * n + i) * n + j], hx = i == j ? -1.0 : 0.0;
                for (int64_t q = 0; q < n; q++)
                    hh += hf[i * n + q] * hf[q * n + j], hx += hf[i * n + q] * xf[q * n + j];
                worst = t_worse(t_worse(worst, fabs(hh)), fabs(hx));
                asym  = t_worse(asym, fabs(xf[i * n + j] - xf[j * n + i]));
            }
    T_CHECK(worst <= 1e-13 * (double)(n + 1), "lowdin n=%lld: S^1/2 S^1/2 - S or S^1/2 X - 1 is %g", (long long)n,
            worst); /* |S| about 1, condition below 100 */
    T_CHECK(asym <= 1e-14 * (double)(n + 1), "lowdin n=%lld: X is not symmetric by %g", (long long)n, asym);
    if (n > 1) { /* make the last frame singular: two equal functions */
        double *sf = s + (B - 1) * n * n;
        for (int64_t j = 0; j < n; j++) sf[n + j] = sf[j], sf[j * n + 1] = sf[j * n];
        sf[n + 1]  = sf[0];
        double *db = up(ctx, s, B * n * n), *d1 = up(ctx, s, B * n * n), *d2 = up(ctx, s, B * n * n);
        char    want[32];
        T_ERR(reported(ctx, ks_lowdin(ctx, B, n, db, 40, d1, d2)), KS_ERR_DATA);
        snprintf(want, sizeof want, "frame %d", (int)(40 + B - 1));
        T_CHECK(strstr(ks_error_message(), want) && strstr(ks_error_message(), "eigenvalue"),
                "message '%s' does not name %s", ks_error_message(), want);
        ks_error_clear();
        if (!ks_ctx_is_host(ctx)) { /* the frame is NaN, its neighbour as before, and nothing is left to report */
            T_OK(ks_sync(ctx));
            double *h1 = down(ctx, d1, B * n * n), *h2 = down(ctx, d2, B * n * n);
            int     same = 1, marked = 1;
            for (int64_t i = 0; i < B * n * n; i++)
                if (i < (B - 1) * n * n) same = same && h1[i] == h[i] && h2[i] == x[i];
                else marked = marked && isnan(h1[i]) && isnan(h2[i]);
            T_CHECK(same && marked, "lowdin n=%lld: neighbour unchanged %d, frame NaN %d", (long long)n, same, marked);
            free(h1), free(h2);
            d1 = d2 = NULL;
        }
        ks_mem_free(ctx, (void **)&db), ks_mem_free(ctx, (void **)&d1), ks_mem_free(ctx, (void **)&d2);
    }
    ks_mem_free(ctx, (void **)&ds);
    free(r), free(s), free(h), free(x);
}

static void test_chol(ks_ctx *ctx, int64_t n, int64_t m) {
    enum { B = 3 };
    double *r = random_array(B * n * n, 6), *rhs = random_array(B * n * m, 7),
           *a = calloc((size_t)(B * n * n), sizeof *a);
    for (int64_t f = 0; f < B; f++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                for (int64_t q = 0; q < n; q++)
                    a[(f * n + i) * n + j] += r[(f * n + i) * n + q] * r[(f * n + j) * n + q] / (double)n;
                if (i == j) a[(f * n + i) * n + j] += 0.5;
            }
    double *da = up(ctx, a, B * n * n), *db = up(ctx, rhs, B * n * m), *dx = up(ctx, rhs, B * n * m), worst = 0.0;
    T_OK(ks_chol_solve(ctx, B, n, m, da, db, dx));
    double *x = down(ctx, dx, B * n * m);
    for (int64_t f = 0; f < B; f++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t c = 0; c < m; c++) {
                double d = -rhs[(f * n + i) * m + c];
                for (int64_t q = 0; q < n; q++) d += a[(f * n + i) * n + q] * x[(f * n + q) * m + c];
                worst = t_worse(worst, fabs(d));
            }
    /* backward stable: eps |A| |x|, |A| below 3, |x| below 2 sqrt(n) */
    T_CHECK(worst <= 8 * TOL_EPS * (double)(n + 8), "chol_solve n=%lld residual %g", (long long)n, worst);
    a[n * n] = -1.0;
    T_OK(ks_mem_to_backend(ctx, da, a, (size_t)(B * n * n) * sizeof *a));
    dx = up(ctx, rhs, B * n * m);
    T_ERR(reported(ctx, ks_chol_solve(ctx, B, n, m, da, db, dx)), ks_ctx_is_host(ctx) ? KS_ERR_DATA : KS_ERR_NUMERIC);
    ks_error_clear();
    if (!ks_ctx_is_host(ctx)) {
        double *y    = down(ctx, dx, B * n * m);
        int     same = 1, marked = 1;
        for (int64_t i = 0; i < B * n * m; i++)
            if (i / (n * m) != 1) same = same && y[i] == x[i];
            else marked = marked && isnan(y[i]);
        T_CHECK(same && marked, "chol_solve n=%lld: neighbours unchanged %d, frame NaN %d", (long long)n, same, marked);
        free(y);
        dx = NULL;
    }
    ks_mem_free(ctx, (void **)&da), ks_mem_free(ctx, (void **)&db), ks_mem_free(ctx, (void **)&dx);
    free(r), free(rhs), free(x), free(a);
}

static void test_vectors(ks_ctx *ctx) {
    enum { B = 3, LEN = 301, POOL = 4 };
    double       *x = random_array(POOL * LEN, 8), *y = random_array(B * LEN, 9), coef[B] = {0.5, 0.0, -2.0};
    const int32_t index[B] = {3, 0, 2};
    for (int i = 0; i < LEN; i++) y[LEN + i] = NAN; /* frame 1 has weight 0 for y: must not be read */
    double  *dx = up(ctx, x, POOL * LEN), *dy = up(ctx, y, B * LEN), *dc = up(ctx, coef, B), *out = up(ctx, x, B * LEN);
    int32_t *di        = up_index(ctx, index, B);
    const ks_term t[2] = {{{dx, LEN, LEN, di, 1, 0}, 3.0, NULL, 0}, {{dy, LEN, LEN, NULL, 1, 0}, 2.0, dc, 1}};
    for (int add = 0; add < 2; add++) {
        double worst = 0.0;
        T_OK(ks_mem_to_backend(ctx, out, x, B * LEN * sizeof *out));
        T_OK(ks_combine(ctx, B, LEN, 2, t, add, out));
        double got[B * LEN];
        T_OK(ks_mem_to_host(ctx, got, out, sizeof got));
        for (int f = 0; f < B; f++)
            for (int i = 0; i < LEN; i++) {
                const double want = (add ? x[f * LEN + i] : 0.0) + 3.0 * x[index[f] * LEN + i] +
                                    (f == 1 ? 0.0 : 2.0 * coef[f] * y[f * LEN + i]);
                worst = fabs(got[f * LEN + i] - want) <= worst ? worst : fabs(got[f * LEN + i] - want);
            }
        T_CHECK(worst <= 4e-15, "combine add=%d: error %g", add, worst); /* sums of three terms below 8 */
    }
    /* in place: out is one of the terms */
    T_OK(ks_mem_to_backend(ctx, out, x, B * LEN * sizeof *out));
    const ks_term self = {{out, LEN, LEN, NULL, 1, 0}, -1.0, NULL, 0};
    T_OK(ks_combine(ctx, B, LEN, 1, &self, 0, out));
    double got[B * LEN];
    T_OK(ks_mem_to_host(ctx, got, out, sizeof got));
    int same = 1;
    for (int i = 0; i < B * LEN; i++) same = same && got[i] == -x[i];
    T_CHECK(same, "combine in place");

    double dots[2 * B];
    for (int i = 0; i < 2 * B; i++) dots[i] = 1.0;
    double *dd = up(ctx, dots, 2 * B);
    T_OK(ks_dot(ctx, B, LEN, 2.0, (ks_mats){dx, LEN, LEN, di, 1, 0}, (ks_mats){dx, LEN, LEN, NULL, 1, 0}, 1, dd, 2));
    double *hd = down(ctx, dd, 2 * B);
    for (int f = 0; f < B; f++) {
        double want = 1.0;
        for (int i = 0; i < LEN; i++) want += 2.0 * x[index[f] * LEN + i] * x[f * LEN + i];
        T_CLOSE(hd[2 * f], want, 1e-13, 0.0); /* 301 terms below 2 */
        T_CHECK(hd[2 * f + 1] == 1.0, "dot wrote outside its stride");
    }
    T_OK(ks_scatter(ctx, B, LEN, out, di, dx));
    double *pool = down(ctx, dx, POOL * LEN);
    same         = 1;
    for (int i = 0; i < LEN; i++) {
        for (int f = 0; f < B; f++) same = same && pool[index[f] * LEN + i] == got[f * LEN + i];
        same = same && pool[LEN + i] == x[LEN + i];
    }
    T_CHECK(same, "scatter");
    ks_mem_free(ctx, (void **)&dy), ks_mem_free(ctx, (void **)&dc), ks_mem_free(ctx, (void **)&out);
    ks_mem_free(ctx, (void **)&di);
    free(x), free(y), free(hd), free(pool);
}

static void test_sym_occ(ks_ctx *ctx) {
    enum { B = 2, N = 6, ROWS = 4 };
    double       *a = random_array(B * N * N, 10), *g = random_array(B * ROWS * N, 12), eps[B * N];
    const int32_t n_occ[B] = {4, 2};
    const int32_t bad[B]   = {4, 7};
    const double  mask[B]  = {0.0, 1.0};
    for (int i = 0; i < B * N; i++) eps[i] = i % N + 0.1 * i;
    double *da = up(ctx, a, B * N * N), *o = up(ctx, a, B * N * N), *dg = up(ctx, g, B * ROWS * N),
           *de     = up(ctx, eps, B * N);
    double      *p = up(ctx, a, B * N * N), *dy = up(ctx, g, B * ROWS * N), *dm = up(ctx, mask, B);
    int32_t     *dn = up_index(ctx, n_occ, B), *dbad = up_index(ctx, bad, B);
    const ks_occ occ = {dn, NULL, 1, ROWS}, too_many = {dbad, NULL, 1, ROWS}, too_wide = {dn, NULL, 1, N + 1};
    T_OK(ks_sym(ctx, B, N, 0.5, -1.0, da, 0, o));
    T_OK(ks_sym(ctx, B, N, 2.0, 1.0, da, 1, o));
    T_OK(ks_occ_density(ctx, B, N, 2.0, &occ, da, p));
    double *ho = down(ctx, o, B * N * N), *hp = down(ctx, p, B * N * N), e_sym = 0.0, e_p = 0.0;
    for (int f = 0; f < B; f++)
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                const double *af = a + f * N * N;
                double        s  = 0.0;
                for (int k = 0; k < n_occ[f]; k++) s += 2.0 * af[i * N + k] * af[j * N + k];
                e_p   = fmax(e_p, fabs(hp[(f * N + i) * N + j] - s));
                e_sym = t_worse(e_sym, fabs(ho[(f * N + i) * N + j] - 2.5 * af[i * N + j] - 1.5 * af[j * N + i]));
            }
    T_CHECK(e_sym <= 2e-15, "sym: error %g", e_sym);
    T_CHECK(e_p <= 4e-15, "occ_density: error %g", e_p);
    for (int masked = 0; masked < 2; masked++) {
        double e_y = 0.0;
        T_OK(ks_occ_virt(ctx, B, N, 2.0, &occ, de, masked ? dm : NULL, dg, dy));
        double y[B * ROWS * N];
        T_OK(ks_mem_to_host(ctx, y, dy, sizeof y));
        for (int f = 0; f < B; f++)
            for (int i = 0; i < ROWS; i++)
                for (int q = 0; q < N; q++) {
                    const int    on   = i < n_occ[f] && q >= n_occ[f] && (!masked || mask[f] != 0.0);
                    const double want = on ? 2.0 * g[(f * ROWS + i) * N + q] / (eps[f * N + i] - eps[f * N + q]) : 0.0;
                    e_y               = fmax(e_y, fabs(y[(f * ROWS + i) * N + q] - want));
                }
        T_CHECK(e_y <= 1e-15, "occ_virt masked=%d: error %g", masked, e_y);
    }
    T_ERR(ks_occ_density(ctx, B, N, 2.0, &too_wide, da, da), KS_ERR_ARG);
    if (ks_ctx_is_host(ctx)) T_ERR(ks_occ_density(ctx, B, N, 2.0, &too_many, da, da), KS_ERR_ARG);
    ks_error_clear();
    ks_mem_free(ctx, (void **)&da), ks_mem_free(ctx, (void **)&dg), ks_mem_free(ctx, (void **)&de),
        ks_mem_free(ctx, (void **)&dy), ks_mem_free(ctx, (void **)&dm);
    ks_mem_free(ctx, (void **)&dn), ks_mem_free(ctx, (void **)&dbad);
    free(a), free(g), free(ho), free(hp);
}

/* Weights satisfy the optimality condition (B + r) w = const, and the adjoint agrees with Richardson differences. */
static void test_mix(ks_ctx *ctx) {
    enum { B = 5, K = 4, LD = 6, DIM = 7 };
    const double ridge = 1e-3; /* large enough that its derivative counts */
    double *d = random_array(B * K * DIM, 13), *w_bar = random_array(B * K, 14), *dir = random_array(B * K * DIM, 15);
    double  gram[B * LD * LD] = {0}, bar[B * LD * LD] = {0}, worst = 0.0;
    double *dg = up(ctx, gram, B * LD * LD), *dw = up(ctx, w_bar, B * K), *dwb = up(ctx, w_bar, B * K);
    double  f[5], ana = 0.0;
    for (int step = -2; step <= 2; step++) {
        const double h = 1e-3 * step;
        for (int b = 0; b < B; b++)
            for (int i = 0; i < K; i++)
                for (int j = 0; j < K; j++) {
                    double s = 0.0;
                    for (int x = 0; x < DIM; x++)
                        s += (d[(b * K + i) * DIM + x] + h * dir[(b * K + i) * DIM + x]) *
                             (d[(b * K + j) * DIM + x] + h * dir[(b * K + j) * DIM + x]);
                    gram[(b * LD + i) * LD + j] = s;
                }
        T_OK(ks_mem_to_backend(ctx, dg, gram, sizeof gram));
        T_OK(ks_mix_fwd(ctx, B, K, LD, ridge, dg, dw));
        double w[B * K];
        T_OK(ks_mem_to_host(ctx, w, dw, sizeof w));
        f[step + 2] = 0.0;
        for (int i = 0; i < B * K; i++) f[step + 2] += w_bar[i] * w[i];
        if (step) continue;
        double *db = up(ctx, bar, B * LD * LD);
        T_OK(ks_mix_adj(ctx, B, K, LD, ridge, dg, dw, dwb, db));
        double *hb = down(ctx, db, B * LD * LD);
        for (int b = 0; b < B; b++) {
            double top = 0.0, sum = 0.0, lambda[K];
            for (int i = 0; i < K; i++) top = fmax(top, gram[(b * LD + i) * LD + i]), sum += w[b * K + i];
            T_CLOSE(sum, 1.0, 1e-14, 0.0);
            for (int i = 0; i < K; i++) {
                lambda[i] = ridge * top * w[b * K + i];
                for (int j = 0; j < K; j++) lambda[i] += gram[(b * LD + i) * LD + j] * w[b * K + j];
                worst = t_worse(worst, fabs(lambda[i] - lambda[0]));
            }
            for (int i = 0; i < K; i++)
                for (int j = 0; j < K; j++)
                    for (int x = 0; x < DIM; x++)
                        ana += 2.0 * hb[(b * LD + i) * LD + j] * d[(b * K + i) * DIM + x] * dir[(b * K + j) * DIM + x];
        }
        free(hb);
    }
    T_CHECK(worst <= 1e-13, "mix: optimality %g", worst);
    T_CLOSE(ana, (8 * (f[3] - f[1]) - (f[4] - f[0])) / 12e-3, 0.0, 1e-7); /* fourth-order difference at h = 1e-3 */
    memset(gram, 0, sizeof gram);
    T_OK(ks_mem_to_backend(ctx, dg, gram, sizeof gram));
    T_OK(ks_mix_fwd(ctx, B, K, LD, ridge, dg, dw));
    double w[B * K];
    T_OK(ks_mem_to_host(ctx, w, dw, sizeof w));
    T_CHECK(w[0] == 0.0 && w[K - 1] == 1.0 && w[B * K - 1] == 1.0, "all-zero residuals must give the last vector");
    ks_mem_free(ctx, (void **)&dg), ks_mem_free(ctx, (void **)&dw), ks_mem_free(ctx, (void **)&dwb);
    free(d), free(w_bar), free(dir);
}

int main(int argc, char **argv) {
    t_op_init(argc, argv);
    ks_ctx       *ctx        = t_op_ctx(0);
    const int64_t sizes[][4] = {{1, 1, 1, 1},       {2, 3, 4, 5},    {8, 7, 7, 7},
                                {1, 132, 132, 132}, {3, 65, 33, 29}, {2, 5, 5, 0}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int q = 0; q < 8; q++)
            test_gemm(ctx, sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3], q & 1, q >> 1 & 1, q >> 2 & 1);
    const int64_t ns[] = {1, 2, 3, 4, 7, 24, 31, 32, 33, 65, 97, 132, 135, 136}; /* up to 135 an own kernel on a GPU */
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++) test_eigh(ctx, 3, ns[i]), test_lowdin(ctx, 2, ns[i]);
    for (int with_index = 0; with_index < 2; with_index++)
        test_gemm_groups(ctx, 9, with_index), test_gemm_groups(ctx, 40, with_index);
    test_eigh_special(ctx, 21), test_eigh_special(ctx, 41), test_eigh_special(ctx, 150);
    test_eigh_batch(ctx, 40);
    test_eigh_nan(ctx);
    test_chol(ctx, 1, 1), test_chol(ctx, 5, 2), test_chol(ctx, 33, 17);
    test_chol(ctx, 132, 44), test_chol(ctx, 150, 70); /* the second is too large for the shared memory of a block */
    test_vectors(ctx);
    test_sym_occ(ctx);
    test_mix(ctx);
    /* empty and bad calls */
    double one = 1.0;
    T_OK(ks_eigh(ctx, 0, 5, NULL, NULL, NULL));
    T_OK(ks_combine(ctx, 0, 5, 0, NULL, 0, NULL));
    T_ERR(ks_eigh(ctx, -1, 5, &one, &one, &one), KS_ERR_ARG);
    T_ERR(ks_eigh(ctx, 1, 1, NULL, &one, &one), KS_ERR_ARG);
    T_ERR(ks_gemm(ctx, 1, 0, 0, 1, 1, 1, 1.0, ks_mats_dense(&one, 1, 1), ks_mats_dense(&one, 1, 1), 0.5, &one),
          KS_ERR_ARG);
    T_ERR(ks_mix_fwd(ctx, 1, KS_MIX_MAX + 1, KS_MIX_MAX + 1, 1e-10, &one, &one), KS_ERR_ARG);
    ks_error_clear();
    ks_ctx_destroy(&ctx);
    return t_done("linalg", 400);
}
