/* eri_tables.c -- see eri_tables.h: the CPU's pair tables (src/ops/eri_pairs.c), re-cut into blocks of 32 kets. */
#define KS_LANE_SCALAR
#include "eri_tables.h"
#include <string.h>
#include "ops/boys_table.h"
#include "ops/eri.h"
#include "pointwise/boys.h"

/* Where a pair of the class lies in the CPU's lane blocks. */
typedef struct place {
    int32_t pair, block, lane;
} place;

static ks_status upload(ks_ctx *ctx, int64_t n, size_t size, const void *src, void *out) {
    ks_status st    = KS_OK;
    int64_t   bytes = 0;
    void     *p     = NULL;
    KS_TRY(ks_mul_i64(n, (int64_t)size, &bytes));
    KS_TRY(ks_mem_alloc(ctx, (size_t)bytes, &p));
    memcpy(out, &p, sizeof p); /* *out is a typed pointer: released with the others whatever follows */
    KS_TRY(ks_mem_to_backend(ctx, p, src, (size_t)bytes));
done:
    return st;
}

static void find_places(const ks_eri_plan *plan, int32_t cls, const ks_eri_class_table *t, place *order) {
    const int32_t lanes = plan->isa->lanes, n_pair = plan->class_pair[cls + 1] - plan->class_pair[cls];
    int32_t       n = 0;
    for (int32_t b = 0; b < plan->class_block[cls]; b++)
        for (int32_t l = 0; l < lanes; l++) {
            const int32_t q = t->lane_pair[b * lanes + l];
            int32_t       k = n;
            if (q < 0 || n == n_pair) continue;
            for (; k > 0 && t->n_prim[order[k - 1].pair] < t->n_prim[q]; k--) order[k] = order[k - 1];
            order[k] = (place){q, b, l};
            n++;
        }
}

ks_status ks_eri_tables_open_cuda(ks_ctx *ctx, const ks_system *sys, const double *pos, int32_t cls,
                                  ks_eri_class_cuda *out) {
    ks_status           st    = KS_OK;
    ks_arena           *arena = ks_ctx_scratch(ctx);
    const ks_arena_mark mark  = ks_arena_get_mark(arena);
    ks_eri_plan        *plan  = NULL;
    ks_eri_table        tab;
    place              *order  = NULL;
    int32_t            *n_prim = NULL, *first = NULL, *lane_prim = NULL, *lane_first = NULL;
    double             *prim = NULL, *bound = NULL, *lane = NULL, *lane_bound = NULL;
    ks_eri_class_cuda   t        = {.cls = cls};
    int64_t             n_record = 0, n_lane = 0, stride, lanes;
    KS_CHECK(cls >= 0 && cls < KS_N_CLASS, KS_ERR_ARG, "eri tables: class %d", cls);
    KS_TRY(ks_eri_plan_create(sys, &plan));
    KS_TRY(ks_eri_table_take(plan, arena, &tab));
    ks_eri_table_fill(plan, pos, cls, &tab);
    const ks_eri_class_table *c    = &tab.c[cls];
    const ks_eri_pair        *pair = plan->pair + plan->class_pair[cls];
    stride                         = KS_PAIR_GEOM + ks_class_n_term[cls];
    lanes                          = plan->isa->lanes;
    t.n_pair                       = plan->class_pair[cls + 1] - plan->class_pair[cls];
    t.n_block                      = (t.n_pair + KS_WARP - 1) / KS_WARP;
    KS_TRY(KS_TAKE(arena, order, t.n_pair));
    find_places(plan, cls, c, order);
    for (int32_t i = 0; i < t.n_pair; i++) {
        n_record += c->n_prim[order[i].pair];
        if (i % KS_WARP == 0) n_lane += c->n_prim[order[i].pair];
    }
    KS_TRY(KS_NEW(t.pair_host, 2 * t.n_pair));
    KS_TRY(KS_TAKE(arena, n_prim, t.n_pair));
    KS_TRY(KS_TAKE(arena, first, t.n_pair));
    KS_TRY(KS_TAKE(arena, prim, n_record * stride));
    KS_TRY(KS_TAKE(arena, bound, n_record));
    KS_TRY(KS_TAKE(arena, lane_prim, t.n_block));
    KS_TRY(KS_TAKE(arena, lane_first, t.n_block));
    KS_TRY(KS_TAKE(arena, lane, n_lane * stride * KS_WARP));
    KS_TRY(KS_TAKE(arena, lane_bound, n_lane));
    memset(lane, 0, (size_t)(n_lane * stride * KS_WARP) * sizeof *lane);
    n_record = n_lane = 0;
    for (int32_t i = 0; i < t.n_pair; i++) {
        const place        o = order[i];
        const ks_eri_pair *q = &pair[o.pair];
        const int32_t      n = c->n_prim[o.pair], blk = i / KS_WARP, l = i % KS_WARP;
        const double      *src = c->lane + (int64_t)c->lane_first[o.block] * stride * lanes + o.lane;
        t.pair_host[2 * i]     = plan->shell[q->I].ao_ext;
        t.pair_host[2 * i + 1] = plan->shell[q->J].ao_ext;
        n_prim[i]              = n;
        first[i]               = (int32_t)n_record;
        memcpy(prim + n_record * stride, c->prim + (int64_t)q->prim * stride, (size_t)(n * stride) * sizeof *prim);
        memcpy(bound + n_record, c->bound + q->prim, (size_t)n * sizeof *bound);
        n_record += n;
        if (l == 0) { /* the largest of its block */
            lane_prim[blk]  = n;
            lane_first[blk] = (int32_t)n_lane;
            n_lane += n;
            for (int32_t k = 0; k < n; k++) {
                lane_bound[lane_first[blk] + k] = 0.0;
                for (int w = 0; w < KS_WARP; w++)
                    lane[((lane_first[blk] + k) * stride) * KS_WARP + w] = 1.0; /* p of an empty lane */
            }
        }
        for (int32_t k = 0; k < n; k++) {
            double *dst = lane + (int64_t)(lane_first[blk] + k) * stride * KS_WARP + l;
            for (int64_t e = 0; e < stride; e++) dst[e * KS_WARP] = src[(k * stride + e) * lanes];
            if (c->bound[q->prim + k] > lane_bound[lane_first[blk] + k])
                lane_bound[lane_first[blk] + k] = c->bound[q->prim + k];
        }
    }
    KS_TRY(upload(ctx, KS_BOYS_TABLE_N, sizeof(double), ks_boys_table(), &t.boys));
    KS_TRY(upload(ctx, t.n_pair, sizeof *n_prim, n_prim, &t.n_prim));
    KS_TRY(upload(ctx, t.n_pair, sizeof *first, first, &t.first));
    KS_TRY(upload(ctx, n_record * stride, sizeof *prim, prim, &t.prim));
    KS_TRY(upload(ctx, n_record, sizeof *bound, bound, &t.bound));
    KS_TRY(upload(ctx, t.n_block, sizeof *lane_prim, lane_prim, &t.lane_prim));
    KS_TRY(upload(ctx, t.n_block, sizeof *lane_first, lane_first, &t.lane_first));
    KS_TRY(upload(ctx, n_lane * stride * KS_WARP, sizeof *lane, lane, &t.lane));
    KS_TRY(upload(ctx, n_lane, sizeof *lane_bound, lane_bound, &t.lane_bound));
    *out = t;
    t    = (ks_eri_class_cuda){0};
done:
    ks_eri_tables_close_cuda(ctx, &t);
    ks_eri_plan_destroy(&plan);
    ks_arena_release(arena, mark);
    return st;
}

void ks_eri_tables_close_cuda(ks_ctx *ctx, ks_eri_class_cuda *t) {
    ks_mem_free(ctx, (void **)&t->boys);
    ks_mem_free(ctx, (void **)&t->n_prim);
    ks_mem_free(ctx, (void **)&t->first);
    ks_mem_free(ctx, (void **)&t->prim);
    ks_mem_free(ctx, (void **)&t->bound);
    ks_mem_free(ctx, (void **)&t->lane_prim);
    ks_mem_free(ctx, (void **)&t->lane_first);
    ks_mem_free(ctx, (void **)&t->lane);
    ks_mem_free(ctx, (void **)&t->lane_bound);
    KS_FREE(t->pair_host);
}
