/* eval_ranks.c -- an evaluation over the ranks: everybody's chunks, and their frames collected on rank 0. */
#include <float.h>
#include <string.h>
#include "core/machine.h"
#include "ksgrad/eval.h"

enum { MAX_ROUNDS = 32 };

/* What a rank sends in a round: this, and behind it the frames. Same program on all ranks (comm.h), hence same layout. */
typedef struct block {
    int64_t         n_frame, frame_bytes;
    ks_eval_seconds seconds; /* of this rank since the beginning */
} block;

ks_status ks_eval_memory(ks_ctx *ctx, ks_comm *comm, int64_t given, int64_t *bytes) {
    ks_status     st    = KS_OK;
    const int64_t share = ks_ctx_is_host(ctx) && ks_comm_local_size(comm) > 1 ? ks_comm_local_size(comm) : 1;
    double        x     = -(double)(given ? given : ks_mem_available(ctx) / 2 / share); /* least: largest negative */
    KS_TRY(ks_comm_host_max(comm, "memory for the evaluation", 1, &x));
    *bytes = (int64_t)-x;
done:
    return st;
}

typedef struct run {
    ks_ctx                *ctx;
    ks_comm               *comm;
    ks_chunks             *chunks;
    const ks_eval_options *opt;
    int64_t                n_frame, n_seen;
    ks_eval_frame         *frame;    /* rank 0: the result */
    uint8_t               *has;      /* rank 0: (n_frame) it is there */
    ks_eval_seconds       *seconds;  /* rank 0: (size) */
    size_t                *of;       /* (size) */
    char                  *send;     /* a block and room for frames */
    int64_t                capacity; /* frames */
    block                  mine;
    int                    at_end;
} run;

static ks_eval_frame *frames_of(char *message) { return (ks_eval_frame *)(void *)(message + sizeof(block)); }

static ks_status make_room(run *r, int64_t n) {
    ks_status st   = KS_OK;
    char     *more = NULL;
    if (n > r->capacity || !r->send) {
        const int64_t capacity = n > 2 * r->capacity ? n : 2 * r->capacity;
        KS_TRY(ks_host_alloc((int64_t)sizeof(block) + capacity * (int64_t)sizeof(ks_eval_frame), 1, (void **)&more));
        if (r->send) memcpy(more, r->send, sizeof(block) + (size_t)r->mine.n_frame * sizeof(ks_eval_frame));
        KS_FREE(r->send);
        r->send     = more;
        r->capacity = capacity;
    }
done:
    return st;
}

/* This rank's chunks until `until` of its work is done. */
static ks_status work_until(run *r, double until) {
    ks_status st = KS_OK;
    ks_chunk  chunk;
    while (!r->at_end && ks_chunks_done(r->chunks) < until) {
        KS_TRY(ks_comm_poll(r->comm)); /* the end of another rank need not wait for the round's */
        KS_TRY(ks_chunks_next(r->chunks, &chunk));
        r->at_end = chunk.n_frame == 0;
        if (r->at_end) break;
        KS_TRY(make_room(r, r->mine.n_frame + chunk.n_frame));
        KS_TRY(ks_eval_chunk(r->ctx, &chunk, r->opt, frames_of(r->send) + r->mine.n_frame, &r->mine.seconds));
        r->mine.n_frame += chunk.n_frame;
    }
done:
    return st;
}

/* Puts a rank's message where its frames belong. */
static ks_status take(run *r, int rank, const char *message, size_t bytes) {
    ks_status st = KS_OK;
    block     b  = {0};
    if (bytes >= sizeof b) memcpy(&b, message, sizeof b);
    KS_CHECK(bytes >= sizeof b && b.frame_bytes == (int64_t)sizeof(ks_eval_frame) && b.n_frame >= 0 &&
                 (bytes - sizeof b) % sizeof(ks_eval_frame) == 0 &&
                 (bytes - sizeof b) / sizeof(ks_eval_frame) == (size_t)b.n_frame,
             KS_ERR_COMM, "evaluation: rank %d sent %zu bytes that are no frames", rank, bytes);
    r->seconds[rank] = b.seconds;
    for (int64_t i = 0; i < b.n_frame; i++) {
        ks_eval_frame f;
        memcpy(&f, message + sizeof b + (size_t)i * sizeof f, sizeof f);
        KS_CHECK(f.frame >= 0 && f.frame < r->n_frame && !r->has[f.frame], KS_ERR_COMM,
                 "evaluation: rank %d sent frame %lld, which %s", rank, (long long)f.frame,
                 f.frame >= 0 && f.frame < r->n_frame ? "was there already" : "is not among those selected");
        r->frame[f.frame] = f;
        r->has[f.frame]   = 1;
        r->n_seen++;
    }
done:
    return st;
}

static ks_status collect(run *r) {
    ks_status st  = KS_OK;
    void     *all = NULL;
    KS_TRY(make_room(r, 0));
    r->mine.frame_bytes = (int64_t)sizeof(ks_eval_frame);
    memcpy(r->send, &r->mine, sizeof r->mine);
    KS_TRY(ks_comm_host_collect(r->comm, "results of the evaluation",
                                sizeof r->mine + (size_t)r->mine.n_frame * sizeof(ks_eval_frame), r->send, &all,
                                r->of));
    r->mine.n_frame = 0;
    if (ks_comm_rank(r->comm) == 0) {
        const char *at = all;
        for (int q = 0; q < ks_comm_size(r->comm); at += r->of[q], q++) KS_TRY(take(r, q, at, r->of[q]));
    }
done:
    ks_host_free(&all);
    return st;
}

ks_status ks_eval_run(ks_ctx *ctx, ks_comm *comm, ks_chunks *chunks, const ks_eval_options *opt, int64_t n_frame,
                      ks_eval_frame *frame, ks_eval_time *time, ks_eval_progress progress, void *user) {
    ks_status st    = KS_OK;
    run       r     = {ctx, comm, chunks, opt, n_frame, 0, frame, NULL, NULL, NULL, NULL, 0, {0}, 0};
    const int first = ks_comm_rank(comm) == 0, size = ks_comm_size(comm);
    KS_CHECK(ctx && chunks && opt && time && n_frame >= 0 && (frame || !first), KS_ERR_ARG, "a NULL argument");
    const double  start   = ks_wall_seconds();
    const int64_t least   = ks_chunks_least(chunks);
    const int64_t n_round = least < 1 ? 1 : least > MAX_ROUNDS ? MAX_ROUNDS : least; /* the same on all ranks */
    KS_TRY(KS_ZNEW(r.has, n_frame));
    KS_TRY(KS_ZNEW(r.seconds, size));
    KS_TRY(KS_ZNEW(r.of, size));
    for (int64_t k = 1; k <= n_round; k++) {
        /* The last round takes what is left, whatever the sum of shares has been rounded to. */
        KS_TRY(work_until(&r, k < n_round ? (double)k / (double)n_round - 1e-9 : DBL_MAX));
        const int64_t before = r.n_seen;
        KS_TRY(collect(&r));
        if (progress && r.n_seen > before) progress(user, r.n_seen, n_frame);
    }
    KS_CHECK(!first || r.n_seen == n_frame, KS_ERR_COMM, "evaluation: %lld of %lld frames came back",
             (long long)r.n_seen, (long long)n_frame);
    *time = (ks_eval_time){.wall = ks_wall_seconds() - start};
    for (int q = 0; q < size && first; q++) {
        time->all.tensors += r.seconds[q].tensors;
        time->all.network += r.seconds[q].network;
        time->all.refine += r.seconds[q].refine;
    }
done:
    KS_FREE(r.has);
    KS_FREE(r.seconds);
    KS_FREE(r.of);
    KS_FREE(r.send);
    return st;
}
