/* eri_pool.cu -- the pool of two-electron integrals on the device: memory and single values. Layout: integrals_cuda.cuh;
 * filled by eri*.cu, read by jk.cu. CPU twin: src/ops/eri_cpu.c. Test: tests/ops/test_eri.c, tests/gpu/test_jk_store.c.
 * No kernels; nothing here is in the step loop. */
#include "integrals_cuda.cuh"

/* Extents and bytes of a pool: open and bytes share this. */
static ks_status pool_layout(const ks_system *sys, int64_t capacity, ks_eri_cuda *e, int64_t *bytes) {
    ks_status st = KS_OK;
    e->sys       = sys;
    e->capacity  = capacity;
    e->n_ao      = sys->n_ao;
    e->n_pair    = ks_pair_count(sys->n_ao);
    e->ld        = ks_pair_ld(e->n_pair);
    KS_TRY(ks_mul_i64(e->n_pair, e->ld, bytes));
    KS_TRY(ks_mul_i64(*bytes, capacity, bytes));
    KS_TRY(ks_mul_i64(*bytes, (int64_t)sizeof(double), bytes));
done:
    return st;
}

extern "C" ks_status ks_eri_bytes_cuda(ks_ctx *ctx, const ks_system *sys, int64_t *bytes_per_frame) {
    ks_eri_cuda e;
    (void)ctx;
    return pool_layout(sys, 1, &e, bytes_per_frame);
}

extern "C" ks_status ks_eri_open_cuda(ks_ctx *ctx, const ks_system *sys, int64_t capacity, void **impl) {
    ks_status    st    = KS_OK;
    ks_eri_cuda *e     = NULL;
    int64_t      bytes = 0, left = 0;
    KS_TRY(KS_ZNEW(e, 1));
    KS_TRY(pool_layout(sys, capacity, e, &bytes));
    KS_TRY(ks_eri_tables_cuda_create(ctx, sys, &e->tables));
    e->order = ks_eri_tables_cuda_order(e->tables);
    left     = ks_mem_available(ctx);
    KS_CHECK(bytes <= left, KS_ERR_NOMEM,
             "integrals of %lld frames of %s (%lld AOs) on the device: %.3f GB (%.3f GB each), %.3f GB are left",
             (long long)capacity, sys->formula, (long long)sys->n_ao, 1e-9 * (double)bytes,
             1e-9 * (double)bytes / (double)(capacity > 0 ? capacity : 1), 1e-9 * (double)left);
    KS_TRY(ks_mem_alloc(ctx, (size_t)bytes, (void **)&e->store));
    KS_TRY(ks_mem_zero(ctx, e->store, (size_t)bytes)); /* the padding columns stay zero */
    *impl = e;
    e     = NULL;
done:
    if (e) ks_eri_close_cuda(ctx, e);
    return st;
}

extern "C" void ks_eri_close_cuda(ks_ctx *ctx, void *impl) {
    ks_eri_cuda *e = (ks_eri_cuda *)impl;
    if (!e) return;
    ks_mem_free(ctx, (void **)&e->store);
    ks_eri_tables_cuda_destroy(ctx, &e->tables);
    KS_FREE(e);
}

/* Waits for the device: for tests and inspection. */
extern "C" ks_status ks_eri_value_cuda(ks_ctx *ctx, const void *impl, int32_t slot, int64_t i, int64_t j, int64_t k,
                                       int64_t l, double *value) {
    const ks_eri_cuda *e     = (const ks_eri_cuda *)impl;
    const int32_t     *place = e->order.place_host;
    const int64_t      row = ks_pair_index(place[i], place[j]), col = ks_pair_index(place[k], place[l]);
    return ks_mem_to_host(ctx, value, e->store + (slot * e->n_pair + row) * e->ld + col, sizeof *value);
}
