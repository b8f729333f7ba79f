/* pool.c -- see pool.h. */
#include "train/pool.h"
#include <string.h>

/* The training frames of one composition and the walk over them. */
typedef struct stream {
    int64_t     n;              /* frames */
    int64_t    *frame;          /* (n) */
    int64_t    *order;          /* (n) permutation of the current epoch */
    int64_t     epoch;          /* that `order` belongs to, -1: none */
    int64_t     drawn;          /* frames drawn so far, over all epochs */
    uint8_t    *is_in;          /* (n) in the pool now */
    int64_t     first, n_entry; /* its entries */
    ks_tensors *tensors;        /* slots of the entries of this rank; NULL when it has none */
} stream;

typedef struct entry {
    int32_t system;
    int32_t slot; /* -1: another rank's */
    int32_t pick; /* index into the stream's frames */
    int32_t visits;
    uint8_t is_built, is_waiting; /* of this rank's entries: tensors are those of `pick`; it is in the queue */
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
    int64_t            n_row;       /* batches of a sweep: the length of the shortest lane */
    int64_t            sweep, row;  /* of the next batch */
    int64_t           *order;       /* (n_row, batch) entries of the sweep's batches */
    int64_t           *lane;        /* (n_row + 1) permutation of a lane */
    int64_t            order_sweep; /* that `order` belongs to, -1: none */
    const int64_t     *batch;       /* (batch) the current one: a row of order */
    /* this rank's share of the current batch, sorted by composition */
    int64_t     n_own;
    int64_t    *chosen; /* (n_own) entries */
    int64_t    *frames; /* (n_own) */
    int32_t    *slot;   /* (n_own) */
    int32_t    *slot_b; /* (n_own) the same in backend memory: of the segments */
    int64_t     n_pass;
    ks_batch   *pass;    /* (n_pass) */
    ks_segment *segment; /* (n_pass, n_stream) */
    /* building */
    int64_t  n_slot;  /* entries of this rank */
    int64_t *waiting; /* (n_slot) ring: entries that have got a new frame, oldest first; some may be built already */
    int64_t  wait_first, n_wait;
    int64_t *todo; /* (n_own) entries to build in this step */
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
    KS_FREE(p->lane);
    KS_FREE(p->chosen);
    KS_FREE(p->frames);
    KS_FREE(p->slot);
    ks_mem_free(p->ctx, (void **)&p->slot_b);
    KS_FREE(p->pass);
    KS_FREE(p->segment);
    KS_FREE(p->waiting);
    KS_FREE(p->todo);
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

static ks_status make_streams(ks_pool *p, int64_t n, const int64_t *frame) {
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
    }
done:
    return st;
}

static int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

int64_t ks_pool_share(int64_t n_entry, int64_t batch, int64_t n_rank) {
    const int64_t full = n_entry / batch, rest = n_entry % batch; /* the first `rest` lanes have one entry more */
    int64_t       most = 0;
    for (int64_t r = 0; r < n_rank; r++) {
        const int64_t lo = batch * r / n_rank, hi = batch * (r + 1) / n_rank;
        const int64_t n = full * (hi - lo) + at_most(rest, hi) - at_most(rest, lo);
        if (n > most) most = n;
    }
    return most;
}

/* The first frames, and the slots of this rank's entries. */
static ks_status fill_entries(ks_pool *p, const ks_method *method) {
    ks_status st = KS_OK;
    for (int64_t s = 0; s < p->n_stream; s++) {
        int32_t n_slot = 0;
        for (int64_t e = p->stream[s].first; e < p->stream[s].first + p->stream[s].n_entry; e++) {
            const int64_t lane   = e % p->opt.batch;
            const int     is_own = lane >= p->opt.lane_lo && lane < p->opt.lane_hi;
            p->entry[e] = (entry){.system = (int32_t)s, .slot = is_own ? n_slot++ : -1, .pick = draw(p, &p->stream[s])};
            if (!p->is_resident) p->entry[e].visits = (int32_t)(e * p->opt.reuse / p->n_entry);
        }
        if (n_slot) KS_TRY(ks_tensors_create(p->ctx, p->data->system[s], method, n_slot, &p->stream[s].tensors));
        p->n_slot += n_slot;
    }
done:
    return st;
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
    KS_CHECK(0 <= opt->lane_lo && opt->lane_lo < opt->lane_hi && opt->lane_hi <= opt->batch, KS_ERR_ARG,
             "pool: lanes %lld to %lld of %lld", (long long)opt->lane_lo, (long long)opt->lane_hi,
             (long long)opt->batch);
    KS_TRY(KS_ZNEW(p, 1));
    p->ctx = ctx, p->data = data, p->opt = *opt;
    p->is_resident = opt->n_entry >= n;
    p->order_sweep = -1;
    KS_TRY(make_streams(p, n, frame));
    KS_TRY(KS_ZNEW(p->entry, p->n_entry));
    p->n_row = p->n_entry / opt->batch;
    p->n_own = opt->lane_hi - opt->lane_lo;
    KS_TRY(KS_NEW(p->order, p->n_row * opt->batch));
    KS_TRY(KS_NEW(p->lane, p->n_row + 1));
    KS_TRY(KS_NEW(p->chosen, p->n_own));
    KS_TRY(KS_NEW(p->frames, p->n_own));
    KS_TRY(KS_NEW(p->slot, p->n_own));
    KS_TRY(ks_mem_alloc(ctx, (size_t)p->n_own * sizeof *p->slot_b, (void **)&p->slot_b));
    p->n_pass = (p->n_own + opt->micro_batch - 1) / opt->micro_batch;
    KS_TRY(KS_ZNEW(p->pass, p->n_pass));
    KS_TRY(KS_ZNEW(p->segment, p->n_pass * p->n_stream));
    for (int64_t s = 0; s < data->n_system; s++)
        if (data->system[s]->n_atom > max_atom) max_atom = data->system[s]->n_atom;
    KS_TRY(KS_NEW(p->todo, p->n_own));
    KS_TRY(KS_NEW(p->build_slot, p->n_own));
    KS_TRY(KS_NEW(p->build_charge, p->n_own));
    KS_TRY(KS_NEW(p->build_pos, p->n_own * max_atom * 3));
    KS_TRY(fill_entries(p, method));
    KS_TRY(KS_NEW(p->waiting, p->n_slot));
    *out = p;
    p    = NULL;
done:
    ks_pool_destroy(&p);
    return st;
}

/* ---- a batch ---- */

static void sweep(ks_pool *p) {
    const int64_t batch = p->opt.batch;
    for (int64_t lane = 0; lane < batch; lane++) {
        const int64_t length = (p->n_entry - lane + batch - 1) / batch; /* n_row, or one more */
        ks_rng_permutation_part(p->opt.seed, KS_STREAM_POOL, (uint32_t)p->sweep, (uint32_t)lane, length, p->lane);
        for (int64_t k = 0; k < p->n_row; k++) p->order[k * batch + lane] = p->lane[k] * batch + lane;
    }
    p->order_sweep = p->sweep;
}

static void choose(ks_pool *p) {
    int64_t n = 0;
    if (p->row == p->n_row) {
        p->sweep++;
        p->row = 0;
    }
    if (p->order_sweep != p->sweep) sweep(p);
    p->batch = p->order + p->row * p->opt.batch;
    for (int64_t s = 0; s < p->n_stream; s++)
        for (int64_t lane = p->opt.lane_lo; lane < p->opt.lane_hi; lane++) {
            const entry *e = &p->entry[p->batch[lane]];
            if (e->system != s) continue;
            p->chosen[n] = p->batch[lane];
            p->frames[n] = p->stream[s].frame[e->pick];
            p->slot[n++] = e->slot;
        }
    p->row++;
}

/* Cuts this rank's share into passes and their segments. */
static void cut(ks_pool *p) {
    for (int64_t q = 0, at = 0; q < p->n_pass; q++) {
        const int64_t end  = (q + 1) * p->n_own / p->n_pass; /* passes of nearly equal size */
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

/* What this step needs, and as many of those that wait as make up an even share of the work: entries are used up in
 * bursts, and ranks whose turn it is not would wait for the one that builds. */
static int64_t choose_builds(ks_pool *p) {
    const int64_t share = (p->n_own + p->opt.reuse - 1) / p->opt.reuse;
    int64_t       n     = 0;
    for (int64_t k = 0; k < p->n_own; k++)
        if (!p->entry[p->chosen[k]].is_built) p->todo[n++] = p->chosen[k];
    for (int64_t k = 0; k < n; k++) p->entry[p->todo[k]].is_built = 1;
    while (n < share && p->n_wait > 0) {
        const int64_t at = p->waiting[p->wait_first];
        entry        *e  = &p->entry[at];
        p->wait_first    = (p->wait_first + 1) % p->n_slot;
        p->n_wait--;
        e->is_waiting = 0;
        if (!e->is_built) p->todo[n++] = at;
        e->is_built = 1;
    }
    return n;
}

static ks_status build(ks_pool *p, int64_t *n_built) {
    ks_status        st = KS_OK;
    const ks_frames *f  = p->data->frames;
    *n_built            = choose_builds(p);
    for (int64_t s = 0; s < p->n_stream; s++) {
        int64_t n = 0;
        for (int64_t k = 0; k < *n_built; k++) {
            const entry *e = &p->entry[p->todo[k]];
            if (e->system != s) continue;
            const int64_t frame = p->stream[s].frame[e->pick], atoms = p->data->system[s]->n_atom;
            p->build_slot[n]   = e->slot;
            p->build_charge[n] = f->charge[frame];
            memcpy(p->build_pos + n * atoms * 3, f->pos + f->atom_off[frame] * 3, (size_t)(atoms * 3) * sizeof(double));
            n++;
        }
        if (n) KS_TRY(ks_tensors_build(p->stream[s].tensors, n, p->build_slot, p->build_pos, p->build_charge));
    }
done:
    return st;
}

ks_status ks_pool_next(ks_pool *pool, int64_t *n_built) {
    ks_status st = KS_OK;
    choose(pool);
    cut(pool);
    KS_TRY(ks_mem_to_backend(pool->ctx, pool->slot_b, pool->slot, (size_t)pool->n_own * sizeof *pool->slot));
    KS_TRY(build(pool, n_built));
done:
    return st;
}

int64_t ks_pool_n_pass(const ks_pool *pool) { return pool->n_pass; }

const ks_batch *ks_pool_pass(const ks_pool *pool, int64_t p, const int64_t **frames) {
    if (frames) *frames = pool->frames + p * pool->n_own / pool->n_pass;
    return &pool->pass[p];
}

void ks_pool_done(ks_pool *p) {
    if (p->is_resident) return;
    for (int64_t lane = 0; lane < p->opt.batch; lane++) {
        entry  *e = &p->entry[p->batch[lane]];
        stream *s = &p->stream[e->system];
        if (++e->visits < p->opt.reuse || s->n_entry == s->n) continue;
        const int32_t gone = e->pick;
        e->pick            = draw(p, s); /* before the old one is free again: not the same geometry twice in a row */
        s->is_in[gone]     = 0;
        e->visits          = 0;
        e->is_built        = 0;
        if (e->slot < 0 || e->is_waiting) continue;
        e->is_waiting                                         = 1;
        p->waiting[(p->wait_first + p->n_wait++) % p->n_slot] = p->batch[lane];
    }
}

/* ---- record: [RECORD, n_entry, batch, n_stream, sweep, row, drawn per stream, (pick, visits) per entry] ----
 * The first word of the first version, without lanes, was the (positive) number of entries. */

enum { RECORD = -2, HEAD = 6 };

int64_t ks_pool_n_word(const ks_pool *pool) { return HEAD + pool->n_stream + 2 * pool->n_entry; }

void ks_pool_save(const ks_pool *p, int64_t *w) {
    *w++ = RECORD;
    *w++ = p->n_entry;
    *w++ = p->opt.batch;
    *w++ = p->n_stream;
    *w++ = p->sweep;
    *w++ = p->row;
    for (int64_t s = 0; s < p->n_stream; s++) *w++ = p->stream[s].drawn;
    for (int64_t e = 0; e < p->n_entry; e++) {
        *w++ = p->entry[e].pick;
        *w++ = p->entry[e].visits;
    }
}

int ks_pool_is_like(const ks_pool *p, int64_t n_word, const int64_t *w) {
    if (n_word < 1 || w[0] != RECORD) return 1;
    return n_word == ks_pool_n_word(p) && w[1] == p->n_entry && w[2] == p->opt.batch && w[3] == p->n_stream;
}

ks_status ks_pool_load(ks_pool *p, int64_t n_word, const int64_t *w) {
    ks_status st = KS_OK;
    KS_CHECK(
        n_word >= HEAD && w[0] == RECORD, KS_ERR_DATA,
        "the checkpoint's record of the pool is of %s version of ksgrad, which visits the frames in another order: "
        "go on with that one, or start anew under another run.name",
        n_word >= 1 && w[0] > 0 ? "an earlier" : "another");
    KS_CHECK(ks_pool_is_like(p, n_word, w), KS_ERR_DATA,
             "the checkpoint's pool has %lld entries, batches of %lld and %lld compositions, this run's %lld, %lld and "
             "%lld",
             (long long)w[1], (long long)w[2], (long long)w[3], (long long)p->n_entry, (long long)p->opt.batch,
             (long long)p->n_stream);
    KS_CHECK(w[4] >= 0 && w[4] < UINT32_MAX && w[5] >= 0 && w[5] <= p->n_row, KS_ERR_DATA,
             "pool: sweep %lld, batch %lld of %lld", (long long)w[4], (long long)w[5], (long long)p->n_row);
    p->sweep       = w[4];
    p->row         = w[5];
    p->order_sweep = -1;
    w += HEAD;
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
        p->entry[e].is_built = p->entry[e].is_waiting = 0;
    }
    p->n_wait = 0;
done:
    return st;
}
