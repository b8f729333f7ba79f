/* reducer.c -- see reducer.h.
 *
 * Bucket b holds elements n - (b + 1) L .. n - b L of the flat arrays, the last one what is left at the beginning. With
 * shards n is ks_params_total rounded up to whole slices, which reaches into the slack of the arrays, and rank r owns slice
 * r of each bucket; its moments are the slices one behind the other. The rounding to bfloat16 has an array of its own for
 * the whole gradient, 2 bytes a parameter: one of bucket size could be written again only when its bucket has travelled,
 * and the backward pass would wait for that. */
#include "train/reducer.h"
#include <string.h>
#include "ksgrad/linalg.h"

enum { LINE = 32 /* elements: 64 bytes of bfloat16, 128 or 256 of the gradient */, COLLECT = 1 << 22 /* bytes */ };

struct ks_reducer {
    ks_ctx      *ctx;
    ks_comm     *comm;
    ks_params   *params;
    int          shard, is_armed;
    ks_comm_type type; /* of gradient and weights */
    size_t       elem;
    int64_t      rank, size;
    int64_t      n, length, n_bucket;
    int64_t      next; /* bucket that is to be queued next */
    uint16_t    *wire; /* (n) backend memory; NULL: the gradient travels as it is */
    double      *part; /* (n_bucket) backend memory: squares of the own slices */
};

typedef struct layout { /* of the flat arrays, in elements */
    int64_t n, length;
} layout;

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

static layout layout_of(const ks_params *params, const ks_comm *comm, const ks_reducer_options *opt) {
    const int64_t total = ks_params_total(params), unit = LINE * (opt->shard ? ks_comm_size(comm) : 1);
    const int64_t want = opt->bucket_bytes / (int64_t)ks_params_elem_bytes(params);
    layout        l    = {opt->shard ? round_up(total, unit) : total, 0};
    l.length           = want < l.n ? round_up(want > 0 ? want : 1, unit) : l.n;
    return l;
}

int64_t ks_reducer_param_bytes(const ks_params *params, const ks_comm *comm, const ks_reducer_options *opt) {
    const int64_t elem = (int64_t)ks_params_elem_bytes(params), total = ks_params_total(params);
    const layout  l = layout_of(params, comm, opt);
    if (ks_comm_size(comm) == 1) return 4 * total * elem;
    return 2 * total * elem + 2 * elem * (opt->shard ? l.n / ks_comm_size(comm) : total) +
           (opt->wire_bf16 ? l.n * (int64_t)sizeof(uint16_t) : 0);
}

ks_status ks_reducer_create(ks_ctx *ctx, ks_comm *comm, ks_params *params, const ks_reducer_options *opt,
                            ks_reducer **out) {
    ks_status   st = KS_OK;
    ks_reducer *r  = NULL;
    KS_CHECK(ctx && params && opt && out, KS_ERR_ARG, "reducer: NULL argument");
    KS_CHECK(opt->bucket_bytes >= 0, KS_ERR_ARG, "reducer: buckets of %lld bytes", (long long)opt->bucket_bytes);
    *out = NULL;
    if (ks_comm_size(comm) == 1) return KS_OK;
    KS_TRY(KS_ZNEW(r, 1));
    const layout l = layout_of(params, comm, opt);
    r->ctx = ctx, r->comm = comm, r->params = params, r->shard = opt->shard;
    r->elem = ks_params_elem_bytes(params);
    r->type = r->elem == sizeof(double) ? KS_COMM_F64 : KS_COMM_F32;
    r->rank = ks_comm_rank(comm), r->size = ks_comm_size(comm);
    r->n = l.n, r->length = l.length;
    r->n_bucket = l.length ? (l.n + l.length - 1) / l.length : 0;
    KS_CHECK(r->n - ks_params_total(params) <= KS_PARAMS_SLACK, KS_ERR_UNSUPPORTED,
             "comm.shard_moments on %lld ranks, limit %d", (long long)r->size, KS_PARAMS_SLACK / LINE);
    if (opt->wire_bf16) {
        KS_TRY(ks_mem_alloc(ctx, (size_t)r->n * sizeof *r->wire, (void **)&r->wire));
        KS_TRY(ks_mem_zero(ctx, r->wire, (size_t)r->n * sizeof *r->wire));
    }
    if (r->shard) {
        KS_TRY(ks_mem_alloc(ctx, (size_t)r->n_bucket * sizeof *r->part, (void **)&r->part));
        KS_TRY(ks_params_shard(params, r->n / r->size));
    }
    *out = r;
    r    = NULL;
done:
    ks_reducer_destroy(&r);
    return st;
}

void ks_reducer_destroy(ks_reducer **reducer) {
    if (!reducer || !*reducer) return;
    ks_reducer *r = *reducer;
    if (r->is_armed) ks_params_listen(r->params, NULL, NULL);
    ks_mem_free(r->ctx, (void **)&r->wire);
    ks_mem_free(r->ctx, (void **)&r->part);
    KS_FREE(*reducer);
}

/* ---- places ---- */

static int64_t bucket_end(const ks_reducer *r, int64_t b) { return r->n - b * r->length; }
static int64_t bucket_begin(const ks_reducer *r, int64_t b) { return b + 1 < r->n_bucket ? bucket_end(r, b + 1) : 0; }

typedef struct slice { /* of a bucket, this rank's; [lo, hi) without what reaches into the slack */
    int64_t lo, hi, n_each;
    int64_t moment; /* where its moments begin */
} slice;

static slice own_slice(const ks_reducer *r, int64_t b) {
    const int64_t begin = bucket_begin(r, b), total = ks_params_total(r->params);
    slice         s;
    s.n_each = (bucket_end(r, b) - begin) / r->size;
    s.lo     = begin + r->rank * s.n_each;
    s.hi     = s.lo + s.n_each;
    s.moment = b * (r->length / r->size);
    if (s.lo > total) s.lo = total;
    if (s.hi > total) s.hi = total;
    return s;
}

static void *flat(const ks_reducer *r, char which, int64_t element) {
    return (char *)ks_params_flat(r->params, which) + (size_t)element * r->elem;
}

/* ---- the gradient's way ---- */

static ks_status pack(ks_reducer *r, int64_t lo, int64_t hi) {
    return r->wire ? ks_pack_bf16(r->ctx, ks_params_precision(r->params), hi - lo, flat(r, 'g', lo), r->wire + lo)
                   : KS_OK;
}
static ks_status unpack(ks_reducer *r, int64_t lo, int64_t hi) {
    return r->wire ? ks_unpack_bf16(r->ctx, ks_params_precision(r->params), hi - lo, r->wire + lo, flat(r, 'g', lo))
                   : KS_OK;
}

/* Buckets next .. end-1, behind a fork. */
static ks_status travel(ks_reducer *r, int64_t end) {
    ks_status st = KS_OK;
    for (; r->next < end; r->next++) {
        const int64_t      lo = bucket_begin(r, r->next), n = bucket_end(r, r->next) - lo;
        void              *x    = r->wire ? (void *)(r->wire + lo) : flat(r, 'g', lo);
        const ks_comm_type type = r->wire ? KS_COMM_BF16 : r->type;
        if (r->shard) KS_TRY(ks_comm_reduce_scatter(r->comm, type, n / r->size, x));
        else KS_TRY(ks_comm_sum(r->comm, type, n, x));
    }
done:
    return st;
}

/* The gradient is complete from `offset` on. */
static ks_status listen(void *user, int64_t offset) {
    ks_status   st  = KS_OK;
    ks_reducer *r   = user;
    int64_t     end = r->next;
    while (end < r->n_bucket && bucket_begin(r, end) >= offset) end++;
    if (end == r->next) return KS_OK;
    KS_TRY(pack(r, bucket_begin(r, end - 1), bucket_end(r, r->next)));
    KS_TRY(ks_comm_fork(r->comm));
    KS_TRY(travel(r, end));
done:
    return st;
}

ks_status ks_reducer_begin(ks_reducer *r) {
    if (!r) return KS_OK;
    r->next     = 0;
    r->is_armed = 1;
    ks_params_listen(r->params, listen, r);
    return KS_OK;
}

ks_status ks_reducer_end(ks_reducer *r, int64_t n_sum, double *sum, int64_t n_least, double *least) {
    ks_status st = KS_OK;
    if (!r) return KS_OK;
    KS_CHECK(r->is_armed, KS_ERR_ARG, "reducer: end without begin");
    ks_params_listen(r->params, NULL, NULL);
    r->is_armed = 0;
    if (r->next < r->n_bucket) KS_TRY(pack(r, 0, bucket_end(r, r->next)));
    KS_TRY(ks_comm_fork(r->comm));
    KS_TRY(travel(r, r->n_bucket));
    if (n_sum) KS_TRY(ks_comm_sum(r->comm, KS_COMM_F64, n_sum, sum));
    if (n_least) KS_TRY(ks_comm_min(r->comm, n_least, least));
    KS_TRY(ks_comm_join(r->comm));
    if (!r->shard) KS_TRY(unpack(r, 0, r->n));
    for (int64_t b = 0; r->shard && b < r->n_bucket; b++) {
        const slice s = own_slice(r, b);
        KS_TRY(unpack(r, s.lo, s.hi));
    }
done:
    return st;
}

/* ---- the step ---- */

ks_status ks_reducer_update(ks_ctx *ctx, ks_reducer *r, ks_params *params, const ks_optim_options *opt, double n_frame,
                            const double *n_counted, double *sum_squares, double *state) {
    ks_status st = KS_OK;
    if (!r || !r->shard) return ks_adamw_step(ctx, params, opt, n_frame, n_counted, sum_squares, state);
    for (int64_t b = 0; b < r->n_bucket; b++) {
        const slice s = own_slice(r, b);
        KS_TRY(ks_sum_squares(ctx, ks_params_precision(params), s.hi - s.lo, flat(r, 'g', s.lo), r->part + b));
    }
    /* The parts are their own mask: what is not added is zero. */
    KS_TRY(ks_masked_sum(ctx, r->n_bucket, 1.0, r->part, r->part, 0, sum_squares));
    KS_TRY(ks_comm_fork(r->comm));
    KS_TRY(ks_comm_sum(r->comm, KS_COMM_F64, 1, sum_squares));
    KS_TRY(ks_comm_join(r->comm));
    KS_TRY(ks_clip(ctx, opt->clip, n_frame, sum_squares, n_counted, state));
    for (int64_t b = 0; b < r->n_bucket; b++) {
        const slice s = own_slice(r, b);
        KS_TRY(ks_adamw_range(ctx, params, opt, state, s.lo, s.hi, flat(r, 'm', s.moment), flat(r, 'v', s.moment)));
    }
    KS_TRY(ks_comm_fork(r->comm));
    for (int64_t b = 0; b < r->n_bucket; b++)
        KS_TRY(ks_comm_all_gather(r->comm, r->type, own_slice(r, b).n_each, flat(r, 'p', bucket_begin(r, b))));
    KS_TRY(ks_comm_join(r->comm));
done:
    return st;
}

/* ---- moments of a checkpoint ---- */

static ks_status alloc_moments(const ks_reducer *r, ks_moments *moments) {
    ks_status st = KS_OK;
    KS_TRY(ks_host_zalloc(r->n, r->elem, &moments->m));
    KS_TRY(ks_host_zalloc(r->n, r->elem, &moments->v));
done:
    if (st != KS_OK) ks_moments_clear(moments);
    return st;
}

ks_status ks_reducer_moments_room(ks_reducer *r, ks_moments *moments) {
    *moments = (ks_moments){0};
    return r && r->shard ? alloc_moments(r, moments) : KS_OK;
}

/* Slices of a bucket lie in rank order, piece by piece of at most COLLECT bytes from each rank. */
static ks_status gather_bucket(ks_reducer *r, char which, int64_t b, char *piece, char *whole) {
    ks_status     st   = KS_OK;
    void         *all  = NULL;
    size_t       *of   = NULL;
    const slice   s    = own_slice(r, b);
    const int64_t most = COLLECT / (int64_t)r->elem, begin = bucket_begin(r, b);
    KS_TRY(KS_NEW(of, r->size));
    for (int64_t at = 0; at < s.n_each; at += most) {
        const size_t bytes = (size_t)(s.n_each - at < most ? s.n_each - at : most) * r->elem;
        KS_TRY(ks_mem_to_host(r->ctx, piece, flat(r, which, s.moment + at), bytes));
        KS_TRY(ks_comm_host_collect(r->comm, "moments", bytes, piece, &all, of));
        for (int64_t k = 0; whole && k < r->size; k++)
            memcpy(whole + (size_t)(begin + k * s.n_each + at) * r->elem, (char *)all + (size_t)k * bytes, bytes);
        ks_host_free(&all);
    }
done:
    ks_host_free(&all);
    KS_FREE(of);
    return st;
}

ks_status ks_reducer_gather_moments(ks_reducer *r, ks_moments *moments) {
    ks_status st    = KS_OK;
    char     *piece = NULL;
    *moments        = (ks_moments){0};
    if (!r || !r->shard) return KS_OK;
    KS_TRY(KS_NEW(piece, COLLECT));
    if (r->rank == 0) KS_TRY(alloc_moments(r, moments));
    for (int64_t b = 0; b < r->n_bucket; b++) {
        KS_TRY(gather_bucket(r, 'm', b, piece, moments->m));
        KS_TRY(gather_bucket(r, 'v', b, piece, moments->v));
    }
done:
    if (st != KS_OK) ks_moments_clear(moments);
    KS_FREE(piece);
    return st;
}

ks_status ks_reducer_set_moments(ks_reducer *r, const ks_moments *moments) {
    ks_status st = KS_OK;
    if (!r || !r->shard) return KS_OK;
    KS_CHECK(moments && moments->m && moments->v, KS_ERR_ARG, "reducer: no moments to take the share from");
    for (int64_t b = 0; b < r->n_bucket; b++) {
        const slice  s     = own_slice(r, b);
        const size_t bytes = (size_t)(s.hi - s.lo) * r->elem;
        KS_TRY(ks_mem_to_backend(r->ctx, flat(r, 'm', s.moment), (char *)moments->m + (size_t)s.lo * r->elem, bytes));
        KS_TRY(ks_mem_to_backend(r->ctx, flat(r, 'v', s.moment), (char *)moments->v + (size_t)s.lo * r->elem, bytes));
    }
    KS_TRY(ks_sync(r->ctx));
done:
    return st;
}
