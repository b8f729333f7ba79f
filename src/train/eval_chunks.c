/* eval_chunks.c -- frames of the file, as many at a time as memory carries, grouped by composition. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/machine.h"
#include "ksgrad/eval.h"
#include "train/eval_plan.h"

static const double CLOSEST = 0.1; /* bohr; nearer atoms make the overlap singular and are a damaged file */

typedef struct group { /* one composition: its system, and a pool while a chunk needs it */
    ks_system  *sys;
    ks_tensors *pool;
    int64_t     bytes_per_frame; /* pool slot and the caller's matrices */
} group;

struct ks_chunks {
    ks_ctx          *ctx;
    const ks_frames *frames;
    ks_method        method;
    int32_t          charge;
    int64_t          memory, max_frames;
    int64_t          n_group;
    group           *group;
    int32_t         *group_of; /* (n_frame) */
    ks_chunk_plan    plan;
    int              rank;
    int64_t          next;        /* place in plan.order of the next chunk, this rank's or not */
    double           cost, taken; /* of all chunks of this rank, of those that it has been given */
    /* the current chunk, sized for max_frames */
    ks_batch    batch;
    ks_segment *segment;
    int32_t    *slot_b; /* (max_frames) backend copy of slot */
    int32_t    *slot, *frame_segment, *frame_in_segment, *file_order, *segment_group;
    int64_t    *frame;
    double     *pos;
    int32_t    *frame_charge;
};

static int64_t n_atom(const ks_frames *f, int64_t k) { return f->atom_off[k + 1] - f->atom_off[k]; }

/* What would fail later without naming the frame: an odd number of electrons, atoms on top of each other. */
static ks_status check_frame(const ks_chunks *c, int64_t k, int64_t number, const ks_system *sys) {
    ks_status        st       = KS_OK;
    const ks_frames *f        = c->frames;
    const double    *x        = f->pos + 3 * f->atom_off[k];
    const int32_t    charge   = c->charge == INT32_MIN ? f->charge[k] : c->charge;
    const int64_t    electron = sys->n_electron - charge;
    KS_CHECK(electron >= 0 && electron % 2 == 0, KS_ERR_UNSUPPORTED,
             "%s: frame %lld (%s, charge %+d) has %lld electrons: only closed shells (an even number) can be computed",
             f->source, (long long)number, sys->formula, (int)charge, (long long)electron);
    KS_CHECK(electron / 2 <= sys->n_ao, KS_ERR_DATA,
             "%s: frame %lld (%s, charge %+d): %lld electrons do not fit into %lld orbitals", f->source,
             (long long)number, sys->formula, (int)charge, (long long)electron, (long long)sys->n_ao);
    for (int64_t a = 0; a < sys->n_atom; a++)
        for (int64_t b = 0; b < a; b++) {
            double d2 = 0;
            for (int i = 0; i < 3; i++) d2 += (x[3 * a + i] - x[3 * b + i]) * (x[3 * a + i] - x[3 * b + i]);
            KS_CHECK(d2 >= CLOSEST * CLOSEST, KS_ERR_DATA,
                     "%s: frame %lld: atoms %lld and %lld are %.3g Angstrom apart (least %.2g)", f->source,
                     (long long)number, (long long)b, (long long)a, sqrt(d2) * KS_BOHR_ANG, CLOSEST * KS_BOHR_ANG);
        }
done:
    return st;
}

/* Assigns every frame to the group of its ordered element list, creating groups as they appear. */
static ks_status find_groups(ks_chunks *c, const ks_basis *basis, int64_t n_matrix, const int64_t *number) {
    ks_status        st  = KS_OK;
    const ks_frames *f   = c->frames;
    int64_t          cap = 0;
    for (int64_t k = 0; k < f->n_frame; k++) {
        const int32_t *Z    = f->Z + f->atom_off[k];
        const int64_t  name = number ? number[k] : k;
        int64_t        g    = k ? c->group_of[k - 1] : 0; /* neighbours are mostly alike */
        if (!(g < c->n_group && ks_system_is_same(c->group[g].sys, n_atom(f, k), Z)))
            for (g = 0; g < c->n_group && !ks_system_is_same(c->group[g].sys, n_atom(f, k), Z);) g++;
        if (g == c->n_group) {
            int64_t tensors = 0, matrices = 0;
            if (c->n_group == cap) {
                group *more = NULL;
                cap         = cap ? 2 * cap : 4;
                KS_TRY(KS_ZNEW(more, cap));
                if (c->n_group) memcpy(more, c->group, (size_t)c->n_group * sizeof *more);
                KS_FREE(c->group);
                c->group = more;
            }
            KS_TRY(ks_system_create(basis, n_atom(f, k), Z, &c->group[g].sys));
            c->n_group++;
            KS_TRY(ks_tensors_bytes(c->ctx, c->group[g].sys, &c->method, &tensors));
            KS_TRY(ks_mul_i64(c->group[g].sys->n_ao, c->group[g].sys->n_ao, &matrices));
            KS_TRY(ks_mul_i64(matrices, 8 * n_matrix, &matrices));
            c->group[g].bytes_per_frame = tensors + matrices;
            KS_CHECK(c->group[g].bytes_per_frame <= c->memory, KS_ERR_NOMEM,
                     "%s: frame %lld (%s, %lld AOs) needs %.2f GiB, %.2f GiB are planned with", f->source,
                     (long long)name, c->group[g].sys->formula, (long long)c->group[g].sys->n_ao,
                     (double)c->group[g].bytes_per_frame / 1073741824.0, (double)c->memory / 1073741824.0);
        }
        c->group_of[k] = (int32_t)g;
        KS_TRY(check_frame(c, k, name, c->group[g].sys));
    }
done:
    return st;
}

/* All chunks, and which of them are this rank's. */
static ks_status make_plan(ks_chunks *c, const double *work, int size) {
    ks_status st    = KS_OK;
    int64_t  *bytes = NULL;
    KS_TRY(KS_NEW(bytes, c->frames->n_frame));
    for (int64_t k = 0; k < c->frames->n_frame; k++) bytes[k] = c->group[c->group_of[k]].bytes_per_frame;
    KS_TRY(ks_chunk_plan_make(c->frames->n_frame, bytes, work, c->memory, c->max_frames, size, &c->plan));
    for (int64_t k = 0; k < c->plan.n; k++)
        if (c->plan.rank[k] == c->rank) c->cost += c->plan.cost[k];
done:
    KS_FREE(bytes);
    return st;
}

ks_status ks_chunks_create(ks_ctx *ctx, const ks_basis *basis, const ks_frames *frames, const ks_method *method,
                           int32_t charge, const ks_chunk_options *options, ks_chunks **out) {
    ks_status        st         = KS_OK;
    ks_chunks       *c          = NULL;
    int64_t          atoms_most = 0;
    ks_chunk_options opt        = options ? *options : (ks_chunk_options){0};
    KS_CHECK(ctx && basis && frames && method && out, KS_ERR_ARG, "a NULL argument");
    if (opt.size == 0) opt.size = 1;
    KS_CHECK(opt.memory_bytes >= 0 && opt.max_frames >= 0 && opt.n_matrix >= 0, KS_ERR_ARG, "negative chunk option");
    KS_CHECK(opt.rank >= 0 && opt.rank < opt.size, KS_ERR_ARG, "chunks of rank %d of %d", opt.rank, opt.size);
    *out = NULL;
    KS_TRY(KS_ZNEW(c, 1));
    c->ctx = ctx, c->frames = frames, c->method = *method, c->charge = charge, c->rank = opt.rank;
    c->memory     = opt.memory_bytes ? opt.memory_bytes : ks_mem_available(ctx) / 2;
    c->max_frames = opt.max_frames ? opt.max_frames : 32;
    KS_TRY(KS_NEW(c->group_of, frames->n_frame));
    KS_TRY(find_groups(c, basis, opt.n_matrix ? opt.n_matrix : 64, opt.number));
    KS_TRY(make_plan(c, opt.work, opt.size));
    for (int64_t k = 0; k < frames->n_frame; k++)
        if (n_atom(frames, k) > atoms_most) atoms_most = n_atom(frames, k);
    KS_TRY(KS_NEW(c->segment, c->max_frames));
    KS_TRY(KS_NEW(c->slot, c->max_frames));
    KS_TRY(ks_mem_alloc(ctx, (size_t)c->max_frames * sizeof *c->slot_b, (void **)&c->slot_b));
    KS_TRY(KS_NEW(c->frame_segment, c->max_frames));
    KS_TRY(KS_NEW(c->frame_in_segment, c->max_frames));
    KS_TRY(KS_NEW(c->file_order, c->max_frames));
    KS_TRY(KS_NEW(c->segment_group, c->max_frames));
    KS_TRY(KS_NEW(c->frame, c->max_frames));
    KS_TRY(KS_NEW(c->frame_charge, c->max_frames));
    KS_TRY(KS_NEW(c->pos, c->max_frames * atoms_most * 3));
    *out = c;
    c    = NULL;
done:
    ks_chunks_destroy(&c);
    return st;
}

void ks_chunks_destroy(ks_chunks **chunks) {
    if (!chunks || !*chunks) return;
    ks_chunks *c = *chunks;
    for (int64_t g = 0; g < c->n_group; g++) {
        ks_tensors_destroy(&c->group[g].pool);
        ks_system_destroy(&c->group[g].sys);
    }
    ks_chunk_plan_free(&c->plan);
    KS_FREE(c->group);
    KS_FREE(c->group_of);
    KS_FREE(c->segment);
    KS_FREE(c->slot);
    ks_mem_free(c->ctx, (void **)&c->slot_b);
    KS_FREE(c->frame_segment);
    KS_FREE(c->frame_in_segment);
    KS_FREE(c->file_order);
    KS_FREE(c->segment_group);
    KS_FREE(c->frame);
    KS_FREE(c->frame_charge);
    KS_FREE(c->pos);
    KS_FREE(*chunks);
}

/* The n frames from `first` on: c->frame ordered by segment, segments in order of first appearance. Returns their number. */
static int64_t order_frames(ks_chunks *c, int64_t first, int64_t n) {
    int64_t n_seg = 0, at = 0;
    for (int64_t k = 0; k < n; k++) {
        int64_t s = 0;
        while (s < n_seg && c->segment_group[s] != c->group_of[first + k]) s++;
        if (s == n_seg) c->segment_group[n_seg++] = c->group_of[first + k];
    }
    for (int64_t s = 0; s < n_seg; s++) {
        c->segment[s] = (ks_segment){NULL, 0, c->slot_b + at};
        for (int64_t k = 0; k < n; k++) {
            if (c->group_of[first + k] != c->segment_group[s]) continue;
            c->frame[at]            = first + k;
            c->file_order[k]        = (int32_t)at;
            c->frame_segment[at]    = (int32_t)s;
            c->frame_in_segment[at] = (int32_t)c->segment[s].n_frame;
            c->slot[at]             = (int32_t)c->segment[s].n_frame++;
            at++;
        }
    }
    return n_seg;
}

/* Fills one segment's pool, which is made or enlarged when needed. */
static ks_status build_segment(ks_chunks *c, int64_t s, int64_t first) {
    ks_status        st  = KS_OK;
    const ks_frames *f   = c->frames;
    ks_segment      *seg = &c->segment[s];
    group           *g   = &c->group[c->segment_group[s]];
    const int64_t    n3  = 3 * g->sys->n_atom;
    if (g->pool && g->pool->capacity < seg->n_frame) ks_tensors_destroy(&g->pool);
    if (!g->pool) KS_TRY(ks_tensors_create(c->ctx, g->sys, &c->method, seg->n_frame, &g->pool));
    seg->tensors = g->pool;
    for (int64_t k = 0; k < seg->n_frame; k++) {
        const int64_t frame = c->frame[first + k];
        memcpy(c->pos + k * n3, f->pos + 3 * f->atom_off[frame], (size_t)n3 * sizeof *c->pos);
        c->frame_charge[k] = c->charge == INT32_MIN ? f->charge[frame] : c->charge;
    }
    KS_TRY(ks_tensors_build(g->pool, seg->n_frame, c->slot + first, c->pos, c->frame_charge));
done:
    return st;
}

ks_status ks_chunks_next(ks_chunks *c, ks_chunk *out) {
    ks_status      st    = KS_OK;
    int64_t        first = 0;
    double         start = 0;
    ks_chunk_plan *p     = NULL;
    KS_CHECK(c && out, KS_ERR_ARG, "a NULL argument");
    *out = (ks_chunk){0};
    p    = &c->plan;
    while (c->next < p->n && p->rank[p->order[c->next]] != c->rank) c->next++;
    if (c->next == p->n) return KS_OK;
    const int64_t k = p->order[c->next++], n_frame = p->first[k + 1] - p->first[k];
    const int64_t n_segment = order_frames(c, p->first[k], n_frame);
    for (int64_t g = 0; g < c->n_group; g++) { /* pools of other compositions make room first */
        int used = 0;
        for (int64_t s = 0; s < n_segment; s++) used |= c->segment_group[s] == g;
        if (!used) ks_tensors_destroy(&c->group[g].pool);
    }
    KS_TRY(ks_mem_to_backend(c->ctx, c->slot_b, c->slot, (size_t)n_frame * sizeof *c->slot));
    start = ks_wall_seconds();
    for (int64_t s = 0; s < n_segment; s++) {
        KS_TRY(build_segment(c, s, first));
        first += c->segment[s].n_frame;
    }
    KS_TRY(ks_sync(c->ctx));
    c->taken += p->cost[k];
    c->batch = (ks_batch){n_segment, c->segment};
    *out     = (ks_chunk){
            &c->batch, n_frame, c->frame, c->frame_segment, c->frame_in_segment, c->file_order, ks_wall_seconds() - start};
done:
    return st;
}

int64_t ks_chunks_least(const ks_chunks *c) { return c->plan.least; }
double  ks_chunks_done(const ks_chunks *c) { return c->cost > 0 ? c->taken / c->cost : 1; }

const ks_tensors *ks_chunk_tensors(const ks_chunk *chunk, int64_t k, int32_t *slot) {
    const ks_segment *seg = &chunk->batch->segment[chunk->segment[k]];
    if (slot) *slot = chunk->in_segment[k]; /* the frames of a segment fill its pool in order */
    return seg->tensors;
}

int64_t ks_chunk_mat_offset(const ks_chunk *chunk, int64_t k) {
    const ks_tensors *t = ks_chunk_tensors(chunk, k, NULL);
    return ks_batch_mat_offset(chunk->batch, chunk->segment[k]) +
           (int64_t)chunk->in_segment[k] * t->method.n_spin * t->sys->n_ao * t->sys->n_ao;
}

int64_t ks_chunk_vec_offset(const ks_chunk *chunk, int64_t k) {
    const ks_tensors *t = ks_chunk_tensors(chunk, k, NULL);
    return ks_batch_vec_offset(chunk->batch, chunk->segment[k]) +
           (int64_t)chunk->in_segment[k] * t->method.n_spin * t->sys->n_ao;
}
