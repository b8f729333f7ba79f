/* memory.c -- counted, overflow-checked, fault-injectable host allocation. */
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "core/backend.h"
#include "ksgrad/context.h"

static atomic_llong g_count;
static atomic_llong g_fail_in; /* 0: off */

int64_t ks_alloc_count(void) { return atomic_load(&g_count); }
void    ks_alloc_fail_after(int64_t n) { atomic_store(&g_fail_in, n); }

ks_status ks_mul_i64(int64_t a, int64_t b, int64_t *out) {
    ks_status st = KS_OK;
    KS_CHECK(a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, out), KS_ERR_ARG,
             "size %lld x %lld overflows or is negative", (long long)a, (long long)b);
done:
    return st;
}

ks_status ks_int(int64_t n, int *out) {
    ks_status st = KS_OK;
    KS_CHECK(n >= 0 && n <= INT_MAX, KS_ERR_ARG, "size %lld exceeds the BLAS limit %d", (long long)n, INT_MAX);
    *out = (int)n;
done:
    return st;
}

ks_status ks_alloc_note(int64_t bytes) {
    ks_status st = KS_OK;
    atomic_fetch_add(&g_count, 1);
    KS_CHECK(!(atomic_load(&g_fail_in) > 0 && atomic_fetch_sub(&g_fail_in, 1) == 1), KS_ERR_NOMEM,
             "allocation of %lld bytes failed (injected)", (long long)bytes);
done:
    return st;
}

ks_status ks_host_alloc(int64_t n, size_t size, void **out) {
    ks_status st    = KS_OK;
    int64_t   bytes = 0;
    *out            = NULL;
    KS_TRY(ks_mul_i64(n, (int64_t)size, &bytes));
    if (bytes == 0) return KS_OK;
    KS_TRY(ks_alloc_note(bytes));
    *out = aligned_alloc(64, ((size_t)bytes + 63) / 64 * 64);
    KS_CHECK(*out, KS_ERR_NOMEM, "allocation of %lld bytes failed", (long long)bytes);
done:
    return st;
}

ks_status ks_host_zalloc(int64_t n, size_t size, void **out) {
    const ks_status st = ks_host_alloc(n, size, out);
    if (st == KS_OK && *out) memset(*out, 0, (size_t)n * size);
    return st;
}

void ks_host_free(void **ptr) {
    if (!ptr || !*ptr) return;
    free(*ptr);
    *ptr = NULL;
}

ks_status ks_host_strdup(const char *s, char **out) {
    const size_t    n  = strlen(s) + 1;
    const ks_status st = ks_host_alloc((int64_t)n, 1, (void **)out);
    if (st == KS_OK) memcpy(*out, s, n);
    return st;
}
