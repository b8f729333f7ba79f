/* eri_cpu.c -- the pool of stored integrals on the CPU, built over (frame, bra pair). */
#define _GNU_SOURCE
#include <omp.h>
#include <string.h>
#include <sys/mman.h>
#include "ops/boys_table.h"
#include "ops/eri.h"
#include "ops/integrals_cpu.h"

enum { TABLE_BYTES = 64 << 20 /* pair tables of as many frames at a time as fit in this, at least one */ };

ks_status ks_eri_bytes_cpu(ks_ctx *ctx, const ks_system *sys, int64_t *bytes_per_frame) {
    ks_status    st   = KS_OK;
    ks_eri_plan *plan = NULL;
    (void)ctx;
    KS_TRY(ks_eri_plan_create(sys, &plan));
    *bytes_per_frame = plan->n_store * (int64_t)sizeof(double);
done:
    ks_eri_plan_destroy(&plan);
    return st;
}

/* Fewer page faults in the first build and fewer TLB misses in every pass; only a hint. */
static void ask_for_large_pages(double *p, size_t bytes) {
#ifdef MADV_HUGEPAGE
    const uintptr_t page = 2u << 20, first = ((uintptr_t)p + page - 1) / page * page,
                    last = ((uintptr_t)p + bytes) / page * page;
    if (p && last > first) (void)madvise((void *)first, last - first, MADV_HUGEPAGE);
#else
    (void)p;
    (void)bytes;
#endif
}

ks_status ks_eri_open_cpu(ks_ctx *ctx, const ks_system *sys, int64_t capacity, void **impl) {
    ks_status   st = KS_OK;
    ks_eri_cpu *e  = NULL;
    int64_t     n  = 0;
    KS_TRY(KS_ZNEW(e, 1));
    KS_TRY(ks_eri_plan_create(sys, &e->plan));
    KS_TRY(ks_mul_i64(e->plan->n_store, capacity, &n));
    KS_TRY(ks_mul_i64(n, sizeof(double), &n));
    KS_TRY(ks_mem_alloc(ctx, (size_t)n, (void **)&e->store));
    ask_for_large_pages(e->store, (size_t)n);
    e->boys = ks_boys_table();
    *impl   = e;
    e       = NULL;
done:
    if (e) ks_eri_close_cpu(ctx, e);
    return st;
}

void ks_eri_close_cpu(ks_ctx *ctx, void *impl) {
    ks_eri_cpu *e = impl;
    ks_mem_free(ctx, (void **)&e->store);
    ks_eri_plan_destroy(&e->plan);
    KS_FREE(e);
}

/* Doubles of scratch one thread needs for a bra pair: its rows with a place for what is not stored, values, R cubes. */
static int64_t bra_scratch(const ks_eri_plan *plan) {
    int64_t n = 0, prim = 1;
    for (const ks_eri_pair *q = plan->pair; q < plan->pair + plan->n_pair; q++) {
        const int64_t rows = ((int64_t)q->n_tile * KS_TILE_ROWS + 1) * plan->width * ks_class_n_fn[q->cls];
        if (rows > n) n = rows;
    }
    for (int g = 0; g < plan->n_group; g++)
        if (plan->group[g].n_prim_max > prim) prim = plan->group[g].n_prim_max;
    return n + (625 + prim * 729) * plan->isa->lanes + 8;
}

ks_status ks_eri_build_cpu(ks_ctx *ctx, void *impl, int64_t n_frame, const int32_t *slot, const double *pos) {
    ks_status           st    = KS_OK;
    const ks_eri_cpu   *e     = impl;
    const ks_eri_plan  *plan  = e->plan;
    ks_arena           *arena = ks_ctx_scratch(ctx);
    const ks_arena_mark mark  = ks_arena_get_mark(arena);
    const int64_t       n_pos = 3 * plan->n_atom, n_scratch = bra_scratch(plan) / 8 * 8;
    int64_t             n_at_once = TABLE_BYTES / ks_eri_table_bytes(plan);
    ks_eri_table       *tab       = NULL;
    double             *scratch   = NULL;
    if (n_at_once < 1) n_at_once = 1;
    if (n_at_once > n_frame) n_at_once = n_frame;
    KS_TRY(KS_TAKE(arena, tab, n_at_once));
    KS_TRY(KS_TAKE(arena, scratch, ctx->n_thread * n_scratch));
    for (int64_t k = 0; k < n_at_once; k++) {
        KS_TRY(ks_eri_table_take(plan, arena, &tab[k]));
        tab[k].boys = e->boys;
    }
    for (int64_t f0 = 0; f0 < n_frame; f0 += n_at_once) {
        const int64_t n = n_frame - f0 < n_at_once ? n_frame - f0 : n_at_once;
#pragma omp parallel num_threads(ctx->n_thread)
        {
            double *mine = scratch + omp_get_thread_num() * n_scratch;
#pragma omp for collapse(2) schedule(dynamic)
            for (int64_t k = 0; k < n; k++)
                for (int c = 0; c < KS_N_CLASS; c++) ks_eri_table_fill(plan, pos + (f0 + k) * n_pos, c, &tab[k]);
#pragma omp for collapse(2) schedule(dynamic, 4)
            for (int64_t k = 0; k < n; k++)
                for (int32_t q = 0; q < plan->n_pair; q++)
                    plan->isa->bra(&tab[k], plan->n_pair - 1 - q, mine,
                                   e->store + (slot ? slot[f0 + k] : f0 + k) * plan->n_store);
        }
    }
done:
    ks_arena_release(arena, mark);
    return st;
}

ks_status ks_eri_value_cpu(ks_ctx *ctx, const void *impl, int32_t slot, int64_t i, int64_t j, int64_t k, int64_t l,
                           double *value) {
    const ks_eri_cpu  *e    = impl;
    const ks_eri_plan *plan = e->plan;
    (void)ctx;
    *value = ks_eri_plan_value(plan, e->store + slot * plan->n_store, i, j, k, l);
    return KS_OK;
}
