/* test_linalg_frame.c -- scalars of frames (gap, mask, masked sum, minimum) and mixing weights through the op driver,
 * and what they do with NaN, ties and missing orbitals. */
#include <string.h>
#include "ks_test.h"
#include "op_driver.h"

enum { B = 3, SPIN = 2, POOL = 4, ORBITALS = 9 };
static const double RIDGE = 1e-3; /* large enough that its derivative counts */

static void symmetrise(double *x, int64_t n_mat, int64_t n) {
    for (int64_t b = 0; b < n_mat; b++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i; j++) x[(b * n + i) * n + j] = x[(b * n + j) * n + i];
}

/* ---- scalars of frames: n frames of ORBITALS orbitals ---- */

static void fill_frame_slot(const t_case *c, double *x) {
    for (int64_t i = 0; i < c->n; i++) x[i] = (double)(i * 7 % POOL);
}
static void fill_frame_occ(const t_case *c, double *x) { /* each has occupied and virtual orbitals */
    (void)c;
    for (int i = 0; i < POOL * SPIN; i++) x[i] = (double)(1 + i % (ORBITALS - 1));
}
static ks_status gap_build(t_case *c) {
    c->in_size[0] = c->n * SPIN * ORBITALS;
    c->in_size[1] = POOL * SPIN;
    c->in_size[2] = c->in_size[3] = c->out_size[0] = c->out_size[1] = c->n;
    return KS_OK;
}
static ks_status gap_fwd(t_case *c, void *const in[], void *const out[]) {
    ks_status     st   = KS_OK;
    const ks_occ  occ  = {in[1], in[2], SPIN, ORBITALS - 1};
    const ks_term copy = {ks_mats_dense(in[3], 1, 1), 1.0, NULL, 0};
    KS_TRY(ks_gap(c->ctx, c->n, ORBITALS, &occ, in[0], 0, out[0]));
    KS_TRY(ks_combine(c->ctx, c->n, 1, 1, &copy, 0, out[1]));
    KS_TRY(ks_gap(c->ctx, c->n, ORBITALS, &occ, in[0], 1, out[1]));
done:
    return st;
}
static ks_status gap_bad(t_case *c, int k, void *const in[], void *const out[]) {
    const ks_occ occ = {in[1], in[2], SPIN, ORBITALS - 1};
    return k ? ks_gap(c->ctx, c->n, ORBITALS, NULL, in[0], 0, out[0]) : ks_gap(c->ctx, c->n, 0, &occ, in[0], 0, out[0]);
}
static void gap_golden(const t_case *c, double *const in[], double *const ref[]) {
    for (int64_t f = 0; f < c->n; f++) {
        double g = INFINITY;
        for (int s = 0; s < SPIN; s++) {
            const int64_t n_occ = (int64_t)in[1][(int64_t)in[2][f] * SPIN + s];
            const double *e     = in[0] + (f * SPIN + s) * ORBITALS;
            g                   = fmin(g, e[n_occ] - e[n_occ - 1]);
        }
        ref[0][f] = g;
        ref[1][f] = fmin(g, in[3][f]);
    }
}

static ks_status mask_build(t_case *c) {
    c->in_size[0] = c->in_size[1] = c->in_size[2] = c->out_size[0] = c->out_size[1] = c->n;
    return KS_OK;
}
static void fill_energy(const t_case *c, double *x) {
    for (int64_t i = 0; i < c->n; i++)
        if (i % 5 == 3) x[i] = i % 2 ? NAN : INFINITY;
}
static void fill_any_mask(const t_case *c, double *x) {
    for (int64_t i = 0; i < c->n; i++) x[i] = i % 3 ? 1.0 : 0.0;
}
static ks_status mask_fwd(t_case *c, void *const in[], void *const out[]) {
    ks_status st = KS_OK;
    KS_TRY(ks_mask(c->ctx, c->n, in[0], in[1], -0.5, in[2], out[0]));
    KS_TRY(ks_mask(c->ctx, c->n, NULL, in[1], 0.5, NULL, out[1]));
    KS_TRY(ks_mask(c->ctx, c->n, in[0], in[1], 0.5, out[1], out[1]));
done:
    return st;
}
static ks_status mask_bad(t_case *c, int k, void *const in[], void *const out[]) {
    return k ? ks_mask(c->ctx, -1, in[0], in[1], 0.0, NULL, out[0])
             : ks_mask(c->ctx, c->n, in[0], NULL, 0.0, NULL, out[0]);
}
static void mask_golden(const t_case *c, double *const in[], double *const ref[]) {
    for (int64_t f = 0; f < c->n; f++) {
        ref[0][f] = isfinite(in[0][f]) && in[1][f] >= -0.5 && in[2][f] != 0.0;
        ref[1][f] = isfinite(in[0][f]) && in[1][f] >= 0.5;
    }
}

static ks_status sum_build(t_case *c) {
    c->in_size[0] = c->in_size[1] = c->n;
    c->out_size[0] = c->out_size[1] = c->out_size[2] = 1;
    return KS_OK;
}
static ks_status sum_fwd(t_case *c, void *const in[], void *const out[]) {
    ks_status st = KS_OK;
    KS_TRY(ks_masked_sum(c->ctx, c->n, 0.3, in[0], in[1], 0, out[0]));
    KS_TRY(ks_masked_sum(c->ctx, c->n, 1.0, in[0], NULL, 0, out[1])); /* their number */
    KS_TRY(ks_masked_sum(c->ctx, c->n, 2.0, in[0], NULL, 0, out[2]));
    KS_TRY(ks_masked_sum(c->ctx, c->n, -1.0, in[0], in[1], 1, out[2]));
done:
    return st;
}
static ks_status sum_bad(t_case *c, int k, void *const in[], void *const out[]) {
    return k ? ks_masked_sum(c->ctx, -1, 1.0, in[0], in[1], 0, out[0])
             : ks_masked_sum(c->ctx, c->n, 1.0, in[0], in[1], 0, NULL);
}
static void sum_golden(const t_case *c, double *const in[], double *const ref[]) {
    double sum = 0, count = 0;
    for (int64_t f = 0; f < c->n; f++)
        if (in[0][f] != 0.0) sum += in[1][f], count += 1.0;
    ref[0][0] = 0.3 * sum;
    ref[1][0] = count;
    ref[2][0] = 2.0 * count - sum;
}

static ks_status min_build(t_case *c) {
    c->in_size[0] = c->n;
    c->in_size[1] = c->out_size[0] = 1;
    return KS_OK;
}
static ks_status min_fwd(t_case *c, void *const in[], void *const out[]) {
    ks_status     st   = KS_OK;
    const ks_term copy = {ks_mats_dense(in[1], 1, 1), 1.0, NULL, 0};
    KS_TRY(ks_combine(c->ctx, 1, 1, 1, &copy, 0, out[0]));
    KS_TRY(ks_min(c->ctx, c->n, in[0], out[0]));
done:
    return st;
}
static ks_status min_bad(t_case *c, int k, void *const in[], void *const out[]) {
    return k ? ks_min(c->ctx, -1, in[0], out[0]) : ks_min(c->ctx, c->n, NULL, out[0]);
}
static void min_golden(const t_case *c, double *const in[], double *const ref[]) {
    ref[0][0] = in[1][0];
    for (int64_t f = 0; f < c->n; f++) ref[0][0] = fmin(ref[0][0], in[0][f]);
}

/* ---- mixing weights: k = n, rows of the Gram matrices one apart from that ---- */

static ks_status mix_build(t_case *c) {
    c->in_size[0]  = B * (c->n + 1) * (c->n + 1);
    c->out_size[0] = B * c->n;
    return KS_OK;
}
static void mix_project(const t_case *c, double *x) { symmetrise(x, B, c->n + 1); }
static void mix_fill(const t_case *c, double *x) { /* symmetric, diagonally dominant, diagonal elements all different */
    const int64_t ld = c->n + 1;
    mix_project(c, x);
    for (int64_t i = 0; i < B * ld; i++) x[i * ld + i % ld] += 1.0 + (double)ld + 0.1 * (double)(i % 7);
}
static ks_status mix_fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_mix_fwd(c->ctx, B, c->n, c->n + 1, RIDGE, in[0], out[0]);
}
static ks_status mix_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[],
                         void *const in_bar[]) {
    return ks_mix_adj(c->ctx, B, c->n, c->n + 1, RIDGE, in[0], saved[0], out_bar[0], in_bar[0]);
}
static ks_status mix_bad(t_case *c, int k, void *const in[], void *const out[]) {
    return k ? ks_mix_fwd(c->ctx, B, c->n, c->n - 1, RIDGE, in[0], out[0])
             : ks_mix_fwd(c->ctx, B, c->n, c->n + 1, 0.0, in[0], out[0]);
}

/* ---- corner cases ---- */

static void *up(ks_ctx *ctx, const void *h, size_t bytes) {
    void *d = NULL;
    T_OK(ks_mem_alloc(ctx, bytes, &d));
    T_OK(ks_mem_to_backend(ctx, d, h, bytes));
    return d;
}

static void test_gap(ks_ctx *ctx) {
    enum { F = 8, N = 3 };
    const double inf = INFINITY;
    /* two occupied of three; none; all; a tie at the Fermi level; NaN, and infinity, where it decides */
    const double  eps[F * N] = {-2,  -1,  0.5, -2, -1, 0.5, -2, -1, 0.5, -1, 0.25, 0.25,
                                NAN, NAN, NAN, -1, 0,  inf, -2, -1, 0.5, -2, -1,   0.5};
    const int32_t n_occ[F]   = {2, 0, 3, 2, 2, 2, 2, 2};
    const double  before[F]  = {1, 2, inf, 5, 5, 5, NAN, -3};
    const double  want[2][F] = {{1.5, inf, inf, 0, -1, -1, 1.5, 1.5}, {1, 2, inf, 0, -1, -1, -1, -3}};
    double       *de = up(ctx, eps, sizeof eps), *dg = up(ctx, before, sizeof before), got[F];
    int32_t      *dn  = up(ctx, n_occ, sizeof n_occ);
    const ks_occ  occ = {dn, NULL, 1, N};
    for (int min = 0; min < 2; min++) {
        T_OK(ks_mem_to_backend(ctx, dg, before, sizeof before));
        T_OK(ks_gap(ctx, F, N, &occ, de, min, dg));
        T_OK(ks_mem_to_host(ctx, got, dg, sizeof got));
        for (int f = 0; f < F; f++)
            T_CHECK(got[f] == want[min][f], "gap min=%d frame %d: %g, expected %g", min, f, got[f], want[min][f]);
    }
    ks_mem_free(ctx, (void **)&de), ks_mem_free(ctx, (void **)&dg), ks_mem_free(ctx, (void **)&dn);
}

static void test_mask(ks_ctx *ctx) {
    enum { F = 6 };
    const double E[F] = {-1, NAN, -INFINITY, -1, -1, -1}, gap[F] = {0.1, 1, 1, 0.05, NAN, INFINITY};
    const double x[F] = {1, NAN, NAN, NAN, NAN, 4}, so_far = 2.5;
    double      *dE = up(ctx, E, sizeof E), *dg = up(ctx, gap, sizeof gap), *dx = up(ctx, x, sizeof x);
    double      *dm = up(ctx, E, sizeof E), *ds = up(ctx, &so_far, sizeof so_far), mask[F], sum;
    T_OK(ks_mask(ctx, F, dE, dg, 0.1, NULL, dm));
    T_OK(ks_mem_to_host(ctx, mask, dm, sizeof mask));
    for (int f = 0; f < F; f++) T_CHECK(mask[f] == (f == 0 || f == 5), "mask of frame %d is %g", f, mask[f]);
    T_OK(ks_masked_sum(ctx, F, 2.0, dm, dx, 1, ds)); /* masked frames hold NaN */
    T_OK(ks_mem_to_host(ctx, &sum, ds, sizeof sum));
    T_CHECK(sum == 12.5, "masked sum %.17g", sum);
    T_OK(ks_masked_sum(ctx, 0, 2.0, NULL, NULL, 1, ds));
    T_OK(ks_mem_to_host(ctx, &sum, ds, sizeof sum));
    T_CHECK(sum == 12.5, "masked sum over nothing %.17g", sum);
    T_OK(ks_min(ctx, F, dg, ds));
    T_OK(ks_mem_to_host(ctx, &sum, ds, sizeof sum));
    T_CHECK(isnan(sum), "a minimum with NaN is NaN, not %g", sum);
    ks_mem_free(ctx, (void **)&dE), ks_mem_free(ctx, (void **)&dg), ks_mem_free(ctx, (void **)&dx);
    ks_mem_free(ctx, (void **)&dm), ks_mem_free(ctx, (void **)&ds);
}

/* No residual at all: the last vector alone. */
static void test_mix_zero(ks_ctx *ctx) {
    enum { K = 4 };
    const double gram[K * K] = {0}, one[K] = {1, 2, 3, 4};
    double      *dg = up(ctx, gram, sizeof gram), *dw = up(ctx, one, sizeof one), *dw_bar = up(ctx, one, sizeof one);
    double      *db = up(ctx, gram, sizeof gram), w[K], bar[K * K];
    T_OK(ks_mix_fwd(ctx, 1, K, K, RIDGE, dg, dw));
    T_OK(ks_mix_adj(ctx, 1, K, K, RIDGE, dg, dw, dw_bar, db));
    T_OK(ks_mem_to_host(ctx, w, dw, sizeof w));
    T_OK(ks_mem_to_host(ctx, bar, db, sizeof bar));
    T_CHECK(w[0] == 0.0 && w[1] == 0.0 && w[2] == 0.0 && w[3] == 1.0, "weights %g %g %g %g", w[0], w[1], w[2], w[3]);
    T_CHECK(!memcmp(bar, gram, sizeof bar), "a frame without residuals has no cotangent");
    ks_mem_free(ctx, (void **)&dg), ks_mem_free(ctx, (void **)&dw), ks_mem_free(ctx, (void **)&dw_bar);
    ks_mem_free(ctx, (void **)&db);
}

int main(int argc, char **argv) {
    const t_op op[] = {
        {.name   = "gap",
         .n      = 70,
         .build  = gap_build,
         .fwd    = gap_fwd,
         .golden = gap_golden,
         .bad    = gap_bad,
         .n_bad  = 2,
         .in     = {{.name = "eps"},
                    {.name = "n_occ", .type = T_I32, .fill = fill_frame_occ},
                    {.name = "slot", .type = T_I32, .fill = fill_frame_slot},
                    {.name = "gap", .lo = -2, .hi = 2}},
         .out    = {{.name = "gap"}, {.name = "smaller"}}},
        {.name   = "mask",
         .n      = 300,
         .build  = mask_build,
         .fwd    = mask_fwd,
         .golden = mask_golden,
         .bad    = mask_bad,
         .n_bad  = 2,
         .in     = {{.name = "E", .fill = fill_energy}, {.name = "gap"}, {.name = "mask", .fill = fill_any_mask}},
         .out    = {{.name = "mask"}, {.name = "in place"}}},
        {.name   = "masked_sum",
         .n      = 300,
         .build  = sum_build,
         .fwd    = sum_fwd,
         .golden = sum_golden,
         .bad    = sum_bad,
         .n_bad  = 2,
         .in     = {{.name = "mask", .fill = fill_any_mask}, {.name = "x", .lo = 0.5, .hi = 1.5}},
         .out    = {{.name = "sum"}, {.name = "count"}, {.name = "added"}}},
        {.name   = "min",
         .n      = 300,
         .build  = min_build,
         .fwd    = min_fwd,
         .golden = min_golden,
         .bad    = min_bad,
         .n_bad  = 2,
         .in     = {{.name = "x"}, {.name = "so far"}},
         .out    = {{.name = "least"}}},
        {.name   = "mix",
         .n      = 5,
         .build  = mix_build,
         .fwd    = mix_fwd,
         .adj    = mix_adj,
         .bad    = mix_bad,
         .n_bad  = 2,
         .n_size = 5,
         .sizes  = {2, 3, 8, 31, 32},
         .in     = {{.name = "gram", .diff = 1, .no_null = 1, .fill = mix_fill, .project = mix_project}},
         .out    = {{.name = "w", .diff = 1}}},
    };
    t_op_init(argc, argv);
    for (size_t i = 0; i < sizeof op / sizeof *op; i++) t_op_run(&op[i]);
    ks_ctx *ctx = t_op_ctx(1);
    test_gap(ctx);
    test_mask(ctx);
    test_mix_zero(ctx);
    ks_ctx_destroy(&ctx);
    return t_done("linalg frame", 90);
}
