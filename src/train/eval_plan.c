/* eval_plan.c -- see eval_plan.h. */
#include "train/eval_plan.h"
#include <stdlib.h>
#include <string.h>
#include "ksgrad/context.h"

enum { PER_RANK = 4 }; /* chunks that each rank should have at least: one of them is as far as shares may differ */

/* The walk over the frames: as many consecutive ones as fit. Counts when first is NULL. */
static int64_t cut(int64_t n_frame, const int64_t *bytes, int64_t memory, int64_t max_frames, int64_t *first) {
    int64_t n = 0;
    for (int64_t k = 0; k < n_frame; n++) {
        int64_t used = 0, count = 0;
        if (first) first[n] = k;
        for (; k < n_frame && count < max_frames && (count == 0 || bytes[k] <= memory - used); k++, count++)
            used += bytes[k];
    }
    if (first) first[n] = n_frame;
    return n;
}

typedef struct item {
    double  cost;
    int64_t chunk;
} item;
static int by_cost(const void *a, const void *b) { /* falling; of equal ones the first in the file */
    const item *x = a, *y = b;
    if (x->cost != y->cost) return x->cost < y->cost ? 1 : -1;
    return (x->chunk > y->chunk) - (x->chunk < y->chunk);
}

/* The costliest chunk that is left goes to the rank that has least to do (R. L. Graham, SIAM J. Appl. Math. 17, 416
 * (1969)): no rank ends later than 4/3 of the best possible. */
static ks_status share_out(ks_chunk_plan *p, int size) {
    ks_status st   = KS_OK;
    item     *left = NULL;
    double   *load = NULL;
    int64_t  *have = NULL;
    KS_TRY(KS_NEW(left, p->n));
    KS_TRY(KS_ZNEW(load, size));
    KS_TRY(KS_ZNEW(have, size));
    for (int64_t c = 0; c < p->n; c++) left[c] = (item){p->cost[c], c};
    if (size > 1 && p->n > 0) qsort(left, (size_t)p->n, sizeof *left, by_cost);
    for (int64_t k = 0; k < p->n; k++) {
        int r = 0;
        for (int q = 1; q < size; q++)
            if (load[q] < load[r]) r = q;
        p->order[k]            = left[k].chunk;
        p->rank[left[k].chunk] = r;
        load[r] += left[k].cost;
        have[r]++;
    }
    p->least = have[0];
    for (int q = 1; q < size; q++)
        if (have[q] < p->least) p->least = have[q];
done:
    KS_FREE(left);
    KS_FREE(load);
    KS_FREE(have);
    return st;
}

ks_status ks_chunk_plan_make(int64_t n_frame, const int64_t *bytes, const double *work, int64_t memory,
                             int64_t max_frames, int size, ks_chunk_plan *out) {
    ks_status     st = KS_OK;
    ks_chunk_plan p  = {0};
    if (size > 1) {
        const int64_t pieces = (int64_t)size * PER_RANK, even = (n_frame + pieces - 1) / pieces;
        if (even < max_frames) max_frames = even > 0 ? even : 1;
    }
    p.n = cut(n_frame, bytes, memory, max_frames, NULL);
    KS_TRY(KS_NEW(p.first, p.n + 1));
    KS_TRY(KS_ZNEW(p.cost, p.n));
    KS_TRY(KS_NEW(p.rank, p.n));
    KS_TRY(KS_NEW(p.order, p.n));
    cut(n_frame, bytes, memory, max_frames, p.first);
    for (int64_t c = 0; c < p.n; c++)
        for (int64_t k = p.first[c]; k < p.first[c + 1]; k++) p.cost[c] += (double)bytes[k] * (work ? work[k] : 1.0);
    KS_TRY(share_out(&p, size));
    *out = p;
    p    = (ks_chunk_plan){0};
done:
    ks_chunk_plan_free(&p);
    return st;
}

void ks_chunk_plan_free(ks_chunk_plan *p) {
    KS_FREE(p->first);
    KS_FREE(p->cost);
    KS_FREE(p->rank);
    KS_FREE(p->order);
}
