/* test_core.c -- status trace, arenas, allocation faults, checked sizes, random numbers, lanes. */
#include <string.h>
#include "core/lane.h"
#include "ks_test.h"

static ks_status deep(int level) {
    ks_status st = KS_OK;
    KS_CHECK(level > 0, KS_ERR_ARG, "level=%d", level);
    KS_TRY(deep(level - 1));
done:
    return st;
}

static void test_trace(void) {
    T_ERR(deep(3), KS_ERR_ARG);
    T_CHECK(!strcmp(ks_error_message(), "level=0"), "%s", ks_error_message());
    T_CHECK(strstr(ks_error_trace(), "via tests/unit/test_core.c") != NULL, "%s", ks_error_trace());
    ks_error_clear();
    T_CHECK(ks_error_trace()[0] == '\0', "not cleared");
}

static void test_arena(void) {
    ks_arena *a = NULL;
    double   *p = NULL, *q = NULL, *big = NULL;
    T_OK(ks_arena_create("test", 4096, &a));
    for (int pass = 0; pass < 3; pass++) {
        const int64_t       before = ks_alloc_count();
        const ks_arena_mark m      = ks_arena_get_mark(a);
        T_OK(KS_TAKE(a, p, 100));
        T_OK(KS_TAKE(a, big, 10000));
        T_OK(KS_TAKE(a, q, 0));
        T_CHECK(((uintptr_t)p | (uintptr_t)big) % 64 == 0, "not aligned");
        p[99] = big[9999] = 1.0;
        ks_arena_release(a, m);
        if (pass) T_CHECK(ks_alloc_count() == before, "a warm arena allocated");
    }
    T_CHECK(ks_arena_high_water(a) >= 10100 * 8 && ks_arena_high_water(a) < 10300 * 8, "high water %zu",
            ks_arena_high_water(a));
    T_ERR(ks_arena_take(a, INT64_MAX, 8, (void **)&p), KS_ERR_ARG);
    ks_arena_destroy(&a);
    for (int n = 1; n < 8; n++) { /* allocation n fails: an error, no leak, no crash */
        ks_alloc_fail_after(n);
        ks_status st = ks_arena_create("test", 4096, &a);
        if (st == KS_OK) st = ks_arena_take(a, 100000, 8, (void **)&p);
        T_CHECK((st == KS_OK) == (n > 5), "n=%d: %s", n, ks_status_text(st));
        ks_arena_destroy(&a);
    }
    ks_alloc_fail_after(0);
}

static void test_rng(void) {
    uint32_t b[4];
    int64_t  perm[10];
    /* RandomState(42).permutation(10) in NumPy 1.x and 2.x */
    const int64_t ref[10] = {8, 1, 5, 0, 7, 2, 9, 4, 3, 6};
    double        sum = 0, sum2 = 0;
    ks_rng_block(0, 0, 0, 0, b); /* published test vector of Philox4x32-10 */
    T_CHECK(b[0] == 0x6627e8d5 && b[1] == 0xe169c58d && b[2] == 0xbc57ac4c && b[3] == 0x9b00dbd8, "%08x", b[0]);
    T_OK(ks_numpy_permutation(42, 10, perm));
    for (int i = 0; i < 10; i++) T_CHECK(perm[i] == ref[i], "permutation[%d] = %lld", i, (long long)perm[i]);
    for (uint64_t i = 0; i < 20000; i++) {
        const double x = ks_rng_normal(7, KS_STREAM_TEST, 1, i);
        sum += x;
        sum2 += x * x;
    }
    T_CLOSE(sum / 20000, 0.0, 0.03, 0); /* 4 standard errors */
    T_CLOSE(sum2 / 20000, 1.0, 0.04, 0);
}

static void test_sizes(void) {
    int64_t r;
    int     i;
    T_ERR(ks_mul_i64(1LL << 40, 1LL << 30, &r), KS_ERR_ARG);
    T_ERR(ks_mul_i64(-1, 2, &r), KS_ERR_ARG);
    T_ERR(ks_int(1LL << 31, &i), KS_ERR_ARG);
    T_OK(ks_int((1LL << 31) - 1, &i));
}

static void test_context(void) {
    ks_ctx              *ctx = NULL;
    const ks_ctx_options two = {.backend = "cpu", .threads = 2}, bad = {.backend = "abacus", .threads = 1};
    T_OK(ks_ctx_create(&two, &ctx));
    T_CHECK(ks_ctx_threads(ctx) == 2, "threads");
    ks_ctx_destroy(&ctx);
    T_ERR(ks_ctx_create(&bad, &ctx), KS_ERR_UNSUPPORTED);
    for (int n = 1; n < 30; n++) {
        ks_alloc_fail_after(n);
        if (ks_ctx_create(&two, &ctx) == KS_OK) break;
        T_CHECK(ctx == NULL && ks_error_code() == KS_ERR_NOMEM, "n=%d", n);
    }
    ks_alloc_fail_after(0);
    ks_ctx_destroy(&ctx);
}

int main(void) {
    test_trace();
    test_arena();
    test_rng();
    test_sizes();
    test_context();
    return t_done("core", 45);
}
