/* pool.c -- see pool.h. */
#include "train/pool.h"
#include <string.h>

/* The training frames of one composition and the walk over them. */
typedef struct stream {
    int64_t     n;       /* frames */
    int64_t    *frame;   /* (n) */
    int64_t    *order;   /* (n) permutation of the current epoch */
    int64_t     epoch;   /* that `order` belongs to, -1: none */
    int64_t     drawn;   /* frames drawn so far, over all epochs */
    uint8_t    *is_in;   /* (n) in the pool now */
    int64_t     first;   /* its first entry */
    int64_t     n_entry; /* = slots of its tensors */
    ks_tensors *tensors;
} stream;

typedef struct entry {
    int32_t system, slot;
    int32_t pick; /* index into the stream's frames */
    int32_t visits;
    int32_t is_built;
} entry;

struct ks_pool {
    ks_ctx            *ctx;
    const ks_run_data *data;
    ks_pool_options    opt;
    int                is_resident;
    int64_t            n_stream;
    stream            *stream; /* (data->n_system); n == 0 for systems without training frames */
    int64_t            n_entry;
    entry             *entry;
    int64_t            sweep, position; /* of the next batch */
    int64_t           *order;           /* (n_entry) permutation of the sweep */
    int64_t            order_sweep;     /* that `order` belongs to, -1: none */
    /* the current batch, sorted by composition */
    int64_t    *chosen; /* (batch) entries */
    int64_t    *frames; /* (batch) */
    int32_t    *slot;   /* (batch) */
    int32_t    *slot_b; /* (batch) the same in backend memory: of the segments */
    int64_t     n_pass;
    ks_batch   *pass;    /* (n_pass) */
    ks_segment *segment; /* (n_pass, n_stream) */
    /* building */
    int32_t *build_slot, *build_charge;
    double  *build_pos;
};

void ks_pool_destroy(ks_pool **ppool) {
    if (!ppool || !*ppool) return;
    ks_pool *p = *ppool;
    for (int64_t s = 0; p->stream && s < p->n_stream; s++) {
        ks_tensors_destroy(&p->stream[s].tensors);
        KS_FREE(p->stream[s].frame);
        KS_FREE(p->stream[s].order);
        KS_FREE(p->stream[s].is_in);
    }
    KS_FREE(p->stream);
    KS_FREE(p->entry);
    KS_FREE(p->order);
    KS_FREE(p->chosen);
    KS_FREE(p->frames);
    KS_FREE(p->slot);
    ks_mem_free(p->ctx, (void **)&p->slot_b);
    KS_FREE(p->pass);
    KS_FREE(p->segment);
    KS_FREE(p->build_slot);
    KS_FREE(p->build_charge);
    KS_FREE(p->build_pos);
    KS_FREE(*ppool);
}

/* The next frame of a stream that is not in the pool; there is one unless the pool is resident. */
static int32_t draw(ks_pool *p, stream *s) {
    for (;;) {
        const int64_t epoch = s->drawn / s->n;
        if (epoch != s->epoch) {
            ks_rng_permutation(p->opt.seed, KS_STREAM_ORDER, (uint32_t)epoch, s->n, s->order);
            s->epoch = epoch;
        }
        const int64_t pick = s->order[s->drawn++ % s->n];
        if (s->is_in[pick]) continue;
        s->is_in[pick] = 1;
        return (int32_t)pick;
    }
}

static ks_status make_streams(ks_pool *p, const ks_method *method, int64_t n, const int64_t *frame) {
    ks_status st = KS_OK;
    p->n_stream  = p->data->n_system;
    KS_TRY(KS_ZNEW(p->stream, p->n_stream));
    for (int64_t i = 0; i < n; i++) p->stream[p->data->frame_system[frame[i]]].n++;
    p->n_entry = 0;
    for (int64_t s = 0; s < p->n_stream; s++) {
        stream *x = &p->stream[s];
        if (x->n == 0) continue;
        KS_CHECK(x->n < INT32_MAX, KS_ERR_ARG, "%lld frames of one composition", (long long)x->n);
        x->epoch   = -1;
        x->first   = p->n_entry;
        x->n_entry = p->is_resident ? x->n : (p->opt.n_entry * x->n + n - 1) / n; /* its share, rounded up */
        p->n_entry += x->n_entry;
        KS_TRY(KS_NEW(x->frame, x->n));
        KS_TRY(KS_NEW(x->order, x->n));
        KS_TRY(KS_ZNEW(x->is_in, x->n));
        int64_t k = 0;
        for (int64_t i = 0; i < n; i++)
            if (p->data->frame_system[frame[i]] == s) x->frame[k++] = frame[i];
        KS_TRY(ks_tensors_create(p->ctx, p->data->system[s], method, x->n_entry, &x->tensors));
    }
done:
    return st;
}

static void fill_entries(ks_pool *p) {
    for (int64_t s = 0; s < p->n_stream; s++)
        for (int64_t k = 0; k < p->stream[s].n_entry; k++) {
            const int64_t e = p->stream[s].first + k;
            p->entry[e]     = (entry){.system = (int32_t)s, .slot = (int32_t)k, .pick = draw(p, &p->stream[s])};
            if (!p->is_resident) p->entry[e].visits = (int32_t)(e * p->opt.reuse / p->n_entry);
        }
}

ks_status ks_pool_create(ks_ctx *ctx, const ks_run_data *data, const ks_method *method, int64_t n, const int64_t *frame,
                         const ks_pool_options *opt, ks_pool **out) {
    ks_status st       = KS_OK;
    ks_pool  *p        = NULL;
    int64_t   max_atom = 0;
    KS_CHECK(ctx && data && method && opt && out && n > 0, KS_ERR_ARG, "pool: NULL argument, or no frames");
    KS_CHECK(opt->batch >= 1 && opt->batch <= n, KS_ERR_CONFIG,
             "train.batch = %lld, but there are %lld training frames", (long long)opt->batch, (long long)n);
    KS_CHECK(opt->n_entry >= opt->batch && opt->micro_batch >= 1 && opt->reuse >= 1, KS_ERR_ARG,
             "pool: %lld entries, batch %lld, pass %lld", (long long)opt->n_entry, (long long)opt->batch,
             (long long)opt->micro_batch);
    KS_TRY(KS_ZNEW(p, 1));
    p->ctx = ctx, p->data = data, p->opt = *opt;
    p->is_resident = opt->n_entry >= n;
    p->order_sweep = -1;
    KS_TRY(make_streams(p, method, n, frame));
    KS_TRY(KS_ZNEW(p->entry, p->n_entry));
    KS_TRY(KS_NEW(p->order, p->n_entry));
    KS_TRY(KS_NEW(p->chosen, opt->batch));
    KS_TRY(KS_NEW(p->frames, opt->batch));
    KS_TRY(KS_NEW(p->slot, opt->batch));
    KS_TRY(ks_mem_alloc(ctx, (size_t)opt->batch * sizeof *p->slot_b, (void **)&p->slot_b));
    p->n_pass = (opt->batch + opt->micro_batch - 1) / opt->micro_batch;
    KS_TRY(KS_ZNEW(p->pass, p->n_pass));
    KS_TRY(KS_ZNEW(p->segment, p->n_pass * p->n_stream));
    for (int64_t s = 0; s < data->n_system; s++)
        if (data->system[s]->n_atom > max_atom) max_atom = data->system[s]->n_atom;
    KS_TRY(KS_NEW(p->build_slot, opt->batch));
    KS_TRY(KS_NEW(p->build_charge, opt->batch));
    KS_TRY(KS_NEW(p->build_pos, opt->batch * max_atom * 3));
    fill_entries(p);
    *out = p;
    p    = NULL;
done:
    ks_pool_destroy(&p);
    return st;
}

/* ---- a batch ---- */

static void choose(ks_pool *p) {
    const int64_t batch = p->opt.batch;
    int64_t       n     = 0;
    if (p->position + batch > p->n_entry) {
        p->sweep++;
        p->position = 0;
    }
    if (p->order_sweep != p->sweep) {
        ks_rng_permutation(p->opt.seed, KS_STREAM_POOL, (uint32_t)p->sweep, p->n_entry, p->order);
        p->order_sweep = p->sweep;
    }
    for (int64_t s = 0; s < p->n_stream; s++)
        for (int64_t k = 0; k < batch; k++) {
            const int64_t e = p->order[p->position + k];
            if (p->entry[e].system != s) continue;
            p->chosen[n] = e;
            p->frames[n] = p->stream[s].frame[p->entry[e].pick];
            p->slot[n++] = p->entry[e].slot;
        }
    p->position += batch;
}

/* Cuts the batch into passes and their segments. */
static void cut(ks_pool *p) {
    const int64_t batch = p->opt.batch;
    for (int64_t q = 0, at = 0; q < p->n_pass; q++) {
        const int64_t end  = (q + 1) * batch / p->n_pass; /* passes of nearly equal size */
        ks_batch     *pass = &p->pass[q];
        pass->segment      = p->segment + q * p->n_stream;
        pass->n_segment    = 0;
        while (at < end) {
            const int32_t s     = p->entry[p->chosen[at]].system;
            int64_t       count = 0;
            while (at + count < end && p->entry[p->chosen[at + count]].system == s) count++;
            pass->segment[pass->n_segment++] = (ks_segment){p->stream[s].tensors, count, p->slot_b + at};
            at += count;
        }
    }
}

static ks_status build(ks_pool *p, int64_t *n_built) {
    ks_status        st = KS_OK;
    const ks_frames *f  = p->data->frames;
    *n_built            = 0;
    for (int64_t s = 0; s < p->n_stream; s++) {
        int64_t n = 0;
        for (int64_t k = 0; k < p->opt.batch; k++) {
            entry *e = &p->entry[p->chosen[k]];
            if (e->system != s || e->is_built) continue;
            const int64_t frame = p->frames[k], atoms = p->data->system[s]->n_atom;
            p->build_slot[n]   = e->slot;
            p->build_charge[n] = f->charge[frame];
            memcpy(p->build_pos + n * atoms * 3, f->pos + f->atom_off[frame] * 3, (size_t)(atoms * 3) * sizeof(double));
            e->is_built = 1;
            n++;
        }
        if (n) KS_TRY(ks_tensors_build(p->stream[s].tensors, n, p->build_slot, p->build_pos, p->build_charge));
        *n_built += n;
    }
done:
    return st;
}

ks_status ks_pool_next(ks_pool *pool, int64_t *n_built) {
    ks_status st = KS_OK;
    choose(pool);
    cut(pool);
    KS_TRY(ks_mem_to_backend(pool->ctx, pool->slot_b, pool->slot, (size_t)pool->opt.batch * sizeof *pool->slot));
    KS_TRY(build(pool, n_built));
done:
    return st;
}

int64_t ks_pool_n_pass(const ks_pool *pool) { return pool->n_pass; }

const ks_batch *ks_pool_pass(const ks_pool *pool, int64_t p, const int64_t **frames) {
    if (frames) *frames = pool->frames + p * pool->opt.batch / pool->n_pass;
    return &pool->pass[p];
}

void ks_pool_done(ks_pool *p) {
    if (p->is_resident) return;
    for (int64_t k = 0; k < p->opt.batch; k++) {
        entry  *e = &p->entry[p->chosen[k]];
        stream *s = &p->stream[e->system];
        if (++e->visits < p->opt.reuse || s->n_entry == s->n) continue;
        const int32_t gone = e->pick;
        e->pick            = draw(p, s); /* before the old one is free again: not the same geometry twice in a row */
        s->is_in[gone]     = 0;
        e->visits          = 0;
        e->is_built        = 0;
    }
}

/* ---- record: [n_entry, n_stream, sweep, position, drawn per stream, (pick, visits) per entry] ---- */

int64_t ks_pool_n_word(const ks_pool *pool) { return 4 + pool->n_stream + 2 * pool->n_entry; }

void ks_pool_save(const ks_pool *p, int64_t *w) {
    *w++ = p->n_entry;
    *w++ = p->n_stream;
    *w++ = p->sweep;
    *w++ = p->position;
    for (int64_t s = 0; s < p->n_stream; s++) *w++ = p->stream[s].drawn;
    for (int64_t e = 0; e < p->n_entry; e++) {
        *w++ = p->entry[e].pick;
        *w++ = p->entry[e].visits;
    }
}

ks_status ks_pool_load(ks_pool *p, int64_t n_word, const int64_t *w) {
    ks_status st = KS_OK;
    KS_CHECK(n_word == ks_pool_n_word(p) && w[0] == p->n_entry && w[1] == p->n_stream, KS_ERR_DATA,
             "the checkpoint's pool has %lld entries and %lld compositions, this run's %lld and %lld",
             (long long)(n_word > 0 ? w[0] : 0), (long long)(n_word > 1 ? w[1] : 0), (long long)p->n_entry,
             (long long)p->n_stream);
    KS_CHECK(w[2] >= 0 && w[2] < UINT32_MAX && w[3] >= 0 && w[3] <= p->n_entry, KS_ERR_DATA,
             "pool: sweep %lld, position %lld of %lld", (long long)w[2], (long long)w[3], (long long)p->n_entry);
    p->sweep       = w[2];
    p->position    = w[3];
    p->order_sweep = -1;
    w += 4;
    for (int64_t s = 0; s < p->n_stream; s++) {
        stream *x = &p->stream[s];
        x->drawn  = *w++;
        KS_CHECK(x->drawn >= 0 && (x->n == 0 || x->drawn / x->n < UINT32_MAX), KS_ERR_DATA, "pool: %lld frames drawn",
                 (long long)x->drawn);
        if (x->n == 0) continue;
        memset(x->is_in, 0, (size_t)x->n);
        x->epoch = x->drawn / x->n;
        ks_rng_permutation(p->opt.seed, KS_STREAM_ORDER, (uint32_t)x->epoch, x->n, x->order);
    }
    for (int64_t e = 0; e < p->n_entry; e++, w += 2) {
        stream *x = &p->stream[p->entry[e].system];
        KS_CHECK(w[0] >= 0 && w[0] < x->n && !x->is_in[w[0]] && w[1] >= 0 && w[1] < INT32_MAX, KS_ERR_DATA,
                 "pool: entry %lld holds frame %lld of %lld, visited %lld times", (long long)e, (long long)w[0],
                 (long long)x->n, (long long)w[1]);
        x->is_in[w[0]]       = 1;
        p->entry[e].pick     = (int32_t)w[0];
        p->entry[e].visits   = (int32_t)w[1];
        p->entry[e].is_built = 0;
    }
done:
    return st;
}
