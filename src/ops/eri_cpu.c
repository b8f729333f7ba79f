/* eri_cpu.c -- the pool of stored integrals on the CPU: builds over (frame, bra pair), J and K over (frame, chunk). */
#include <omp.h>
#include <string.h>
#include "ops/boys_table.h"
#include "ops/eri.h"
#include "ops/integrals_cpu.h"

enum { JK_BYTES = 64 << 20, TABLE_BYTES = 64 << 20 /* pair tables of as many frames at a time as fit in this, at least one */ };

typedef struct eri_cpu {
    ks_eri_plan  *plan;
    double       *store; /* (capacity, n_store) */
    const double *boys;
} eri_cpu;

ks_status ks_eri_bytes(const ks_system *sys, int64_t *bytes_per_frame) {
    ks_status    st   = KS_OK;
    ks_eri_plan *plan = NULL;
    KS_CHECK(sys && bytes_per_frame, KS_ERR_ARG, "eri_bytes: NULL argument");
    KS_TRY(ks_eri_plan_create(sys, &plan));
    *bytes_per_frame = plan->n_store * (int64_t)sizeof(double);
done:
    ks_eri_plan_destroy(&plan);
    return st;
}

ks_status ks_eri_open_cpu(ks_ctx *ctx, const ks_system *sys, int64_t capacity, void **impl) {
    ks_status st = KS_OK;
    eri_cpu  *e  = NULL;
    int64_t   n  = 0;
    KS_TRY(KS_ZNEW(e, 1));
    KS_TRY(ks_eri_plan_create(sys, &e->plan));
    KS_TRY(ks_mul_i64(e->plan->n_store, capacity, &n));
    KS_TRY(ks_mul_i64(n, sizeof(double), &n));
    KS_TRY(ks_mem_alloc(ctx, (size_t)n, (void **)&e->store));
    e->boys = ks_boys_table();
    *impl   = e;
    e       = NULL;
done:
    if (e) ks_eri_close_cpu(ctx, e);
    return st;
}

void ks_eri_close_cpu(ks_ctx *ctx, void *impl) {
    eri_cpu *e = impl;
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
    const eri_cpu      *e     = impl;
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
                    plan->isa->bra(&tab[k], plan->n_pair - 1 - q, mine, e->store + (slot ? slot[f0 + k] : f0 + k) * plan->n_store);
        }
    }
done:
    ks_arena_release(arena, mark);
    return st;
}

ks_status ks_eri_value_cpu(ks_ctx *ctx, const void *impl, int32_t slot, int64_t i, int64_t j, int64_t k, int64_t l, double *value) {
    const eri_cpu     *e    = impl;
    const ks_eri_plan *plan = e->plan;
    (void)ctx;
    *value = ks_eri_plan_value(plan, e->store + slot * plan->n_store, i, j, k, l);
    return KS_OK;
}

/* One J/K problem: the density of J in tile order (doubled), the one of K in rows, and the accumulators of all chunks. */
typedef struct jk_work {
    double *DJ, *DK, *Y, *X, *tmp;
    int64_t n_tile, n_sq; /* doubles of one array */
} jk_work;

/* Symmetric part of D into internal order. */
static void pack_density(const ks_eri_plan *p, const double *D, double *DK) {
    const int64_t n = p->n_ao, np = p->n_pad;
    memset(DK, 0, (size_t)(np * np) * sizeof *DK);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) DK[p->ao_of_ext[i] * np + p->ao_of_ext[j]] = 0.5 * (D[i * n + j] + D[j * n + i]);
}

static void pack_tiles(const ks_eri_plan *p, const double *D, double *DJ) {
    const int64_t n = p->n_pad;
    for (const ks_eri_strip *s = p->strip; s < p->strip + p->n_strip; s++)
        for (int32_t t = s->tile, l = s->l0; t < s[1].tile; t++, l += p->width)
            for (int32_t k = s->k0; k < s->k0 + KS_TILE_ROWS; k++)
                for (int32_t w = 0; w < p->width; w++) *DJ++ = 2.0 * D[k * n + l + w];
}

/* out (+)= Y + Y^T and X + X^T in PySCF order, chunks summed in order; Y is already summed into its first chunk. */
static void unpack_j(const ks_eri_plan *p, const double *Y, double *sq, int add, double *J) {
    const int64_t n = p->n_ao, np = p->n_pad;
    for (const ks_eri_strip *s = p->strip; s < p->strip + p->n_strip; s++)
        for (int32_t t = s->tile, l = s->l0; t < s[1].tile; t++, l += p->width)
            for (int32_t k = s->k0; k < s->k0 + KS_TILE_ROWS; k++)
                for (int32_t w = 0; w < p->width; w++, Y++)
                    if (l + w <= k) sq[k * np + l + w] = sq[(l + w) * np + k] = l + w == k ? 2.0 * *Y : *Y;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            const double v = sq[p->ao_of_ext[i] * np + p->ao_of_ext[j]];
            J[i * n + j]   = add ? J[i * n + j] + v : v;
        }
}

static void unpack_k(const ks_eri_plan *p, const double *X, int add, double *K) {
    const int64_t n = p->n_ao, np = p->n_pad;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            const int64_t a = p->ao_of_ext[i], b = p->ao_of_ext[j];
            const double  v = X[a * np + b] + X[b * np + a];
            K[i * n + j]    = add ? K[i * n + j] + v : v;
        }
}

static void sum_chunks(int32_t n_chunk, int64_t n, double *a) {
    for (int32_t c = 1; c < n_chunk; c++)
        for (int64_t i = 0; i < n; i++) a[i] += a[c * n + i];
}

/* J[DJ] and K[DK] of n frames and n_dm densities; add: into J and K, which may be the same array. */
static ks_status jk_run(ks_ctx *ctx, const eri_cpu *e, int64_t n_frame, const int32_t *slot, int64_t n_dm, const double *DJ,
                        const double *DK, double *J, double *K, int add) {
    ks_status           st    = KS_OK;
    const ks_eri_plan  *plan  = e->plan;
    ks_arena           *arena = ks_ctx_scratch(ctx);
    const ks_arena_mark mark  = ks_arena_get_mark(arena);
    const int64_t       n_sq = (int64_t)plan->n_pad * plan->n_pad, n_tile = (int64_t)plan->n_tile * KS_TILE_ROWS * plan->width;
    const int64_t       n2 = (int64_t)plan->n_ao * plan->n_ao, n_item = n_frame * n_dm, n_chunk = plan->n_chunk;
    const int64_t       n_one = n_tile * (1 + n_chunk) + n_sq * (1 + n_chunk);
    int64_t             n_at_once = JK_BYTES / (n_one * (int64_t)sizeof(double));
    double             *work = NULL, *tmp = NULL;
    if (n_at_once < 1) n_at_once = 1;
    if (n_at_once > n_item) n_at_once = n_item;
    KS_TRY(KS_TAKE(arena, work, n_at_once * n_one));
    KS_TRY(KS_TAKE(arena, tmp, ctx->n_thread * (n_sq + 2 * plan->n_pad)));
    for (int64_t i0 = 0; i0 < n_item; i0 += n_at_once) {
        const int64_t n = n_item - i0 < n_at_once ? n_item - i0 : n_at_once;
#pragma omp parallel num_threads(ctx->n_thread)
        {
            double *mine = tmp + omp_get_thread_num() * (n_sq + 2 * plan->n_pad);
#pragma omp for schedule(static)
            for (int64_t k = 0; k < n; k++) {
                double *w = work + k * n_one;
                if (J) {
                    pack_density(plan, DJ + (i0 + k) * n2, mine);
                    pack_tiles(plan, mine, w);
                }
                if (K) pack_density(plan, DK + (i0 + k) * n2, w + n_tile * (1 + n_chunk));
            }
#pragma omp for collapse(2) schedule(dynamic)
            for (int64_t k = 0; k < n; k++)
                for (int64_t c = 0; c < n_chunk; c++) {
                    double       *w = work + k * n_one, *Y = w + n_tile * (1 + c), *X = w + n_tile * (1 + n_chunk) + n_sq * (1 + c);
                    const int64_t f = (i0 + k) / n_dm;
                    const double *store = e->store + (slot ? slot[f] : f) * plan->n_store + plan->chunk_offset[c];
                    if (J) memset(Y, 0, (size_t)n_tile * sizeof *Y);
                    if (K) memset(X, 0, (size_t)n_sq * sizeof *X);
                    plan->isa->jk(plan, plan->chunk_row[c], plan->chunk_row[c + 1], store, J ? w : NULL,
                                  K ? w + n_tile * (1 + n_chunk) : NULL, Y, X, mine);
                }
#pragma omp for schedule(static)
            for (int64_t k = 0; k < n; k++) {
                double *w = work + k * n_one, *Y = w + n_tile, *X = w + n_tile * (1 + n_chunk) + n_sq;
                if (J) {
                    sum_chunks((int32_t)n_chunk, n_tile, Y);
                    unpack_j(plan, Y, mine, add, J + (i0 + k) * n2);
                }
                if (K) {
                    sum_chunks((int32_t)n_chunk, n_sq, X);
                    unpack_k(plan, X, add, K + (i0 + k) * n2);
                }
            }
        }
    }
done:
    ks_arena_release(arena, mark);
    return st;
}

ks_status ks_jk_cpu(ks_ctx *ctx, const void *impl, int64_t n_frame, const int32_t *slot, int64_t n_dm, const double *D, double *J,
                    double *K) {
    return jk_run(ctx, impl, n_frame, slot, n_dm, D, D, J, K, 0);
}

ks_status ks_jk_adj_cpu(ks_ctx *ctx, const void *impl, int64_t n_frame, const int32_t *slot, int64_t n_dm, const double *J_bar,
                        const double *K_bar, double *D_bar) {
    return jk_run(ctx, impl, n_frame, slot, n_dm, J_bar, K_bar, J_bar ? D_bar : NULL, K_bar ? D_bar : NULL, 1);
}
