/* test_eri.c -- stored two-electron integrals: PySCF, order of shells, shifts, threads, the pool. */
#include "int_data.h"
#include "op_driver.h"
#include "ops/eri.h"
#include "ops/integrals_ops.h"

static ks_ctx *ctx;

static double largest(const int_data *d) {
    double m = 0.0;
    for (int64_t q = 0; q < d->n_eri; q++) m = fmax(m, fabs(d->val[q]));
    return m;
}

/* Largest error of the golden integrals in one slot. */
static double error_of(const ks_eri *eri, int32_t slot, const int_data *d, const int *ao) {
    double worst = 0.0;
    for (int64_t q = 0; q < d->n_eri; q++) {
        const double *i = d->idx + 4 * q;
        int64_t       a[4];
        double        v;
        for (int k = 0; k < 4; k++) a[k] = ao ? ao[(int64_t)i[k]] : (int64_t)i[k];
        T_OK(ks_eri_value(eri, slot, a[0], a[1], a[2], a[3], &v));
        worst = t_worse(worst, fabs(v - d->val[q]));
    }
    return worst;
}

/* Frames of a system from host arrays. */
static ks_status build(ks_ctx *c, ks_eri *eri, int64_t n_frame, const int32_t *slot, const double *pos, int64_t n_pos) {
    ks_status st   = KS_OK;
    void     *x[2] = {NULL, NULL};
    KS_TRY(ks_mem_alloc(c, (size_t)(n_frame * n_pos) * sizeof *pos, &x[0]));
    KS_TRY(ks_mem_to_backend(c, x[0], pos, (size_t)(n_frame * n_pos) * sizeof *pos));
    if (slot) {
        KS_TRY(ks_mem_alloc(c, (size_t)n_frame * sizeof *slot, &x[1]));
        KS_TRY(ks_mem_to_backend(c, x[1], slot, (size_t)n_frame * sizeof *slot));
    }
    KS_TRY(ks_eri_build(c, eri, n_frame, x[1], x[0]));
    KS_TRY(ks_sync(c)); /* before the arrays are released */
done:
    ks_mem_free(c, &x[0]);
    ks_mem_free(c, &x[1]);
    return st;
}

/* The store is filled with NaN before the build: every place that J and K read must be written. (The CUDA store:
 * tests/gpu/test_eri_class.c.) */
static void poison(ks_eri *eri) {
    const ks_eri_cpu *e = ((struct ks_eri *)eri)->impl;
    if (!strcmp(t_op_backend(), "cpu"))
        memset(e->store, 0xff, (size_t)(eri->capacity * e->plan->n_store) * sizeof(double));
}

/* Threshold 1e-15 a primitive quartet, at most a few hundred of them left out, and values up to 5 (hard: 280) rounded in both
 * codes. Measured: 1e-14, 2e-14, 3e-13. */
static void test_golden(const char *name) {
    int_data d;
    ks_eri  *eri = NULL;
    int64_t  bytes;
    int_data_open(name, &d);
    T_OK(ks_eri_create(ctx, d.sys, 1, &eri));
    poison(eri);
    T_OK(build(ctx, eri, 1, NULL, d.pos, 3 * d.n_atom));
    const double err = error_of(eri, 0, &d, NULL), big = largest(&d);
    printf("%s: largest error %.2e of values up to %.3g\n", name, err, big);
    T_CLOSE(err, 0.0, 2e-13 + 4e-15 * big, 0.0);
    T_OK(ks_eri_bytes(ctx, d.sys, &bytes));
    if (!strcmp(t_op_backend(), "cpu")) {
        const ks_eri_cpu *e   = eri->impl;
        int64_t           bad = 0;
        for (int64_t i = 0; i < e->plan->n_store; i++) bad += !(fabs(e->store[i]) < 1e6);
        T_CHECK(bad == 0, "%lld places not written", (long long)bad);
        T_CHECK(bytes == e->plan->n_store * 8 && bytes % 64 == 0, "%lld bytes", (long long)bytes);
    }
    ks_eri_destroy(&eri);
    int_data_close(&d);
}

/* Shells in reversed order swap bra and ket and the shells within pairs; a shift moves nothing. */
static void test_order_and_shift(void) {
    int_data d, r;
    ks_eri  *eri = NULL;
    int      order[32], ao_of[64];
    int_data_open("hard", &d);
    int_data_open("hard", &r);
    for (int64_t s = 0; s < r.n_shell; s++) order[s] = (int)(r.n_shell - 1 - s);
    free(r.sys);
    free(r.own_shell);
    int_data_shells(&r, order);
    for (int64_t s = 0; s < d.n_shell; s++)
        for (int m = 0; m < 2 * d.own_shell[s].l + 1; m++)
            ao_of[d.own_shell[s].ao + m] = r.own_shell[d.n_shell - 1 - s].ao + m;
    for (int64_t i = 0; i < 3 * r.n_atom; i++)
        r.pos[i] += i % 3 == 0 ? 4.0 : -2.0; /* exact in binary for most coordinates */
    T_OK(ks_eri_create(ctx, r.sys, 1, &eri));
    T_OK(build(ctx, eri, 1, NULL, r.pos, 3 * r.n_atom));
    T_CLOSE(error_of(eri, 0, &d, ao_of), 0.0, 2e-13 + 4e-15 * largest(&d), 0.0);
    ks_eri_destroy(&eri);
    int_data_close(&d);
    int_data_close(&r);
}

/* Frames of a pool: built together or alone, with 1 or 3 threads, the same bits; a rebuilt slot leaves the others. */
static void test_pool(void) {
    enum { B = 4 };
    const int32_t slot[B] = {3, 1, 0, 5};
    ks_ctx       *c3      = t_op_ctx(3);
    ks_eri       *a = NULL, *b = NULL;
    int_data      d;
    double       *pos;
    int_data_open("water", &d);
    pos = malloc((size_t)(B * 9) * sizeof *pos);
    for (int i = 0; i < 9 * B; i++) pos[i] = d.pos[i % 9] + 0.3 * ks_rng_uniform(4, KS_STREAM_TEST, 0, (uint64_t)i);
    T_OK(ks_eri_create(ctx, d.sys, 6, &a));
    T_OK(ks_eri_create(c3, d.sys, 6, &b));
    T_OK(build(c3, b, B, slot, pos, 9));
    for (int f = B - 1; f >= 0; f--) T_OK(build(ctx, a, 1, &slot[f], pos + 9 * f, 9));
    for (int pass = 0; pass < 2; pass++) {
        for (int f = 0; f < B; f++)
            for (int64_t q = 0; q < d.n_eri; q++) {
                const double *i = d.idx + 4 * q;
                double        x = 0.0, y = 1.0;
                T_OK(ks_eri_value(a, slot[f], (int64_t)i[0], (int64_t)i[1], (int64_t)i[2], (int64_t)i[3], &x));
                T_OK(ks_eri_value(b, slot[f], (int64_t)i[0], (int64_t)i[1], (int64_t)i[2], (int64_t)i[3], &y));
                T_CHECK(x == y, "frame %d integral %lld: %.17g %.17g", f, (long long)q, x, y);
            }
        T_OK(build(ctx, a, 1, &slot[2], pos + 18, 9)); /* again: nothing may change */
    }
    double *x = int_data_put(c3, 9 * B, pos), *y = int_data_put(ctx, 9, pos);
    T_OK(ks_eri_build(c3, b, B, NULL, x));
    const int64_t before = ks_alloc_count();
    T_OK(ks_eri_build(c3, b, B, NULL, x));
    T_OK(ks_sync(c3));
    T_CHECK(ks_alloc_count() == before, "a second build allocates");
    /* arguments */
    if (ks_ctx_is_host(ctx)) { /* elsewhere slots are not read before the kernels run */
        const int32_t twice[2] = {1, 1}, far[1] = {6};
        T_ERR(ks_eri_build(ctx, a, 2, twice, pos), KS_ERR_ARG);
        T_ERR(ks_eri_build(ctx, a, 1, far, pos), KS_ERR_ARG);
    }
    T_ERR(ks_eri_build(ctx, a, 7, NULL, y), KS_ERR_ARG);
    T_ERR(ks_eri_build(ctx, a, 1, NULL, NULL), KS_ERR_ARG);
    T_ERR(ks_eri_build(c3, a, 1, NULL, x), KS_ERR_ARG);
    T_OK(ks_eri_build(ctx, a, 0, NULL, NULL));
    ks_mem_free(c3, (void **)&x);
    ks_mem_free(ctx, (void **)&y);
    double v;
    T_ERR(ks_eri_value(a, 0, 0, 0, 0, d.n_ao, &v), KS_ERR_ARG);
    T_ERR(ks_eri_value(a, 6, 0, 0, 0, 0, &v), KS_ERR_ARG);
    T_ERR(ks_eri_create(ctx, d.sys, -1, &a), KS_ERR_ARG);
    ks_eri_destroy(&a);
    ks_eri_destroy(&b);
    ks_eri_destroy(NULL);
    ks_eri_destroy(&b);
    free(pos);
    int_data_close(&d);
    ks_ctx_destroy(&c3);
}

/* Allocation N fails: an error each time, no leak (asan builds), and success in the end. */
static void test_faults(void) {
    int_data d;
    int      n = 1;
    int_data_open("water", &d);
    for (;; n++) {
        ks_eri   *eri = NULL;
        ks_ctx   *c   = t_op_ctx(2);
        double   *pos = int_data_put(c, 9, d.pos);
        ks_status st;
        ks_alloc_fail_after(n);
        st = ks_eri_create(c, d.sys, 2, &eri);
        if (st == KS_OK) st = ks_eri_build(c, eri, 1, NULL, pos);
        ks_alloc_fail_after(0);
        ks_mem_free(c, (void **)&pos);
        ks_eri_destroy(&eri);
        ks_ctx_destroy(&c);
        if (st == KS_OK) break;
        T_CHECK(st == KS_ERR_NOMEM, "allocation %d: %s", n, ks_status_text(st));
        if (n > 100) break;
    }
    T_CHECK(n > 8 && n < 60, "%d allocations", n);
    int_data_close(&d);
}

int main(int argc, char **argv) {
    t_op_init(argc, argv);
    ctx = t_op_ctx(1);
    test_golden("water");
    test_golden("hcn");
    test_golden("hard");
    test_order_and_shift();
    test_pool();
    test_faults();
    ks_ctx_destroy(&ctx);
    return t_done("eri", 20000);
}
