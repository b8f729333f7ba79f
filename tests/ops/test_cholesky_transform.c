/* test_cholesky_transform.c -- L^-1 H L^-T against a textbook factorisation and substitution; a matrix that is not
 * positive definite. */
#include <string.h>
#include "ks_test.h"
#include "op_driver.h"

enum { B = 3 };

/* The op works in place: S and H are copied, S to memory of the test's own. */
typedef struct own {
    void   *S;
    double *host;
} own;

static ks_status build(t_case *c) {
    const int64_t size = B * c->n * c->n;
    own          *o    = calloc(1, sizeof *o);
    c->in_size[0] = c->in_size[1] = c->out_size[0] = size;
    c->user                                        = o;
    if (!o || !(o->host = malloc((size_t)(size ? size : 1) * sizeof *o->host))) return KS_ERR_NOMEM;
    return ks_mem_alloc(c->ctx, (size_t)size * sizeof *o->host, &o->S);
}
static void drop(t_case *c) {
    own *o = c->user;
    ks_mem_free(c->ctx, &o->S);
    free(o->host);
    free(o);
}

static void symmetric(const t_case *c, double *x) {
    for (int b = 0; b < B; b++)
        for (int64_t i = 0; i < c->n; i++)
            for (int64_t j = 0; j < i; j++) x[(b * c->n + i) * c->n + j] = x[(b * c->n + j) * c->n + i];
}
/* Eigenvalues between 1.5 and 2.5. */
static void overlap(const t_case *c, double *x) {
    symmetric(c, x);
    for (int64_t i = 0; i < B * c->n * c->n; i++)
        x[i] = 0.5 / (double)c->n * x[i] + (i / c->n % c->n == i % c->n ? 2.0 : 0.0);
}

static ks_status copy(t_case *c, void *dst, const void *src) {
    const size_t    bytes = (size_t)c->out_size[0] * sizeof(double);
    own            *o     = c->user;
    const ks_status st    = ks_mem_to_host(c->ctx, o->host, src, bytes);
    return st == KS_OK ? ks_mem_to_backend(c->ctx, dst, o->host, bytes) : st;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    own      *o  = c->user;
    ks_status st = KS_OK;
    if (c->n && ((st = copy(c, o->S, in[0])) != KS_OK || (st = copy(c, out[0], in[1])) != KS_OK)) return st;
    return ks_cholesky_transform_fwd(c->ctx, B, c->n, c->n ? o->S : in[0], out[0]);
}

static void golden(const t_case *c, double *const in[], double *const ref[]) {
    const int64_t n = c->n;
    double       *L = calloc((size_t)(n * n) + 1, sizeof *L);
    for (int64_t b = 0; b < B; b++) {
        const double *S = in[0] + b * n * n;
        double       *x = ref[0] + b * n * n;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++) {
                double s = S[i * n + j];
                for (int64_t k = 0; k < j; k++) s -= L[i * n + k] * L[j * n + k];
                L[i * n + j] = i == j ? sqrt(s) : s / L[j * n + j];
            }
        memcpy(x, in[1] + b * n * n, (size_t)(n * n) * sizeof *x);
        for (int64_t j = 0; j < n; j++) /* L^-1 H, by columns */
            for (int64_t i = 0; i < n; i++) {
                for (int64_t k = 0; k < i; k++) x[i * n + j] -= L[i * n + k] * x[k * n + j];
                x[i * n + j] /= L[i * n + i];
            }
        for (int64_t i = 0; i < n; i++) /* (...) L^-T, by rows */
            for (int64_t j = 0; j < n; j++) {
                for (int64_t k = 0; k < j; k++) x[i * n + j] -= x[i * n + k] * L[j * n + k];
                x[i * n + j] /= L[j * n + j];
            }
    }
    free(L);
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    own *o = c->user;
    (void)in;
    return k == 0 ? ks_cholesky_transform_fwd(c->ctx, B, -1, o->S, out[0])
                  : ks_cholesky_transform_fwd(c->ctx, B, c->n, o->S, NULL);
}

/* The second of three frames is not positive definite, which is an error that names it, or NaN, which is none of its
 * own (LAPACKs differ in that). The others keep their bits. */
static void test_frame_of_its_own(int64_t n, double broken) {
    ks_ctx      *ctx  = t_op_ctx(2);
    const int    cpu  = !strcmp(t_op_backend(), "cpu");
    const size_t size = (size_t)(B * n * n), bytes = size * sizeof(double), each = (size_t)(n * n);
    double      *S = calloc(size, sizeof *S), *H = calloc(size, sizeof *H), *got[2];
    void        *dS = NULL, *dH = NULL;
    int64_t      other = 0;
    for (int k = 0; k < 2; k++) got[k] = calloc(size, sizeof *got[k]);
    for (size_t i = 0; i < size; i++) {
        const int64_t r = (int64_t)(i / (size_t)n) % n, s = (int64_t)i % n;
        S[i] = (r == s ? 2.0 : 0.0) + 0.3 / (double)n * cos((double)(r + s));
        H[i] = sin((double)(r * s + 1));
    }
    T_OK(ks_mem_alloc(ctx, bytes, &dS));
    T_OK(ks_mem_alloc(ctx, bytes, &dH));
    for (int k = 0; k < 2; k++) {
        if (k) S[each + each / 2] = broken; /* on the diagonal: n is odd */
        T_OK(ks_mem_to_backend(ctx, dS, S, bytes));
        T_OK(ks_mem_to_backend(ctx, dH, H, bytes));
        ks_status st = ks_cholesky_transform_fwd(ctx, B, n, dS, dH);
        if (st == KS_OK) st = ks_sync(ctx);
        if (!k || !isnan(broken) || !cpu) T_ERR(st, k && !isnan(broken) ? KS_ERR_NUMERIC : KS_OK);
        if (k && !isnan(broken)) T_CHECK(strstr(ks_error_message(), "frame 1"), "%s", ks_error_message());
        T_OK(ks_mem_to_host(ctx, got[k], dH, bytes));
    }
    for (size_t i = 0; i < size; i++)
        if (i / each != 1) other += got[0][i] != got[1][i];
        else if (!cpu) other += !isnan(got[1][i]);
    T_CHECK(other == 0, "%lld elements", (long long)other);
    ks_mem_free(ctx, &dS);
    ks_mem_free(ctx, &dH);
    for (int k = 0; k < 2; k++) free(got[k]);
    free(S);
    free(H);
    ks_ctx_destroy(&ctx);
}

int main(int argc, char **argv) {
    static const t_op op = {.name   = "cholesky transform",
                            .n      = 24,
                            .n_size = 6,
                            .sizes  = {0, 1, 31, 32, 33, 67},
                            .build  = build,
                            .drop   = drop,
                            .fwd    = fwd,
                            .golden = golden,
                            .bad    = bad,
                            .n_bad  = 2,
                            .in     = {{.name = "S", .project = overlap}, {.name = "H", .project = symmetric}},
                            .out    = {{.name = "H'"}}};
    t_op_init(argc, argv);
    t_op_run(&op);
    test_frame_of_its_own(5, -1.0);
    test_frame_of_its_own(9, NAN);
    return t_done("cholesky transform", 4 + 2 * 9);
}
