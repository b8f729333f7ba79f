/* trainer_graph.c -- recorded passes.
 *
 * A pass over the same segments (pools, frames per segment, place of the slots) queues the same launches on the same
 * addresses: only the contents of the slot arrays, of the pools and of the optimiser's scalars differ. So it is run once
 * as it is (which grows every buffer to its size), recorded when it comes again, and replayed from then on. A recording
 * dies when backend memory was allocated or released since (ks_mem_epoch). Backends without recordings run the body. */
#include <string.h>
#include "train/trainer_impl.h"

enum { RECORDINGS = 32, KEY_WORDS = 3 * 16 }; /* more kinds of passes, or segments in one, run unrecorded */

typedef struct recording {
    ks_status (*body)(ks_trainer *, const ks_batch *);
    int64_t   n_key;
    intptr_t  key[KEY_WORDS];
    int       seen;
    ks_graph *graph;
} recording;

struct ks_recorder {
    ks_ctx   *ctx;
    int64_t   epoch;
    int       n;
    recording rec[RECORDINGS];
};

ks_status ks_recorder_create(ks_ctx *ctx, ks_recorder **out) {
    ks_status st = KS_OK;
    KS_TRY(KS_ZNEW(*out, 1));
    (*out)->ctx   = ctx;
    (*out)->epoch = -1;
done:
    return st;
}

static void forget(ks_recorder *r) {
    for (int k = 0; k < r->n; k++) ks_graph_destroy(&r->rec[k].graph);
    r->n = 0;
}

void ks_recorder_destroy(ks_recorder **recorder) {
    if (!recorder || !*recorder) return;
    forget(*recorder);
    KS_FREE(*recorder);
}

/* The recording of this kind of pass, new ones included; NULL when there is no room. */
static recording *find(ks_recorder *r, const ks_batch *batch, ks_status (*body)(ks_trainer *, const ks_batch *)) {
    recording want = {.body = body};
    if (batch && 3 * batch->n_segment > KEY_WORDS) return NULL;
    for (int64_t s = 0; batch && s < batch->n_segment; s++) {
        const ks_segment *g    = &batch->segment[s];
        want.key[want.n_key++] = (intptr_t)g->tensors;
        want.key[want.n_key++] = (intptr_t)g->n_frame;
        want.key[want.n_key++] = (intptr_t)g->slot;
    }
    for (int k = 0; k < r->n; k++)
        if (r->rec[k].body == body && r->rec[k].n_key == want.n_key &&
            !memcmp(r->rec[k].key, want.key, (size_t)want.n_key * sizeof *want.key))
            return &r->rec[k];
    if (r->n == RECORDINGS) return NULL;
    r->rec[r->n] = want;
    return &r->rec[r->n++];
}

static ks_status record(ks_recorder *r, recording *rec, ks_trainer *t, const ks_batch *batch) {
    ks_status st = KS_OK;
    KS_TRY(ks_graph_begin(r->ctx));
    st                   = rec->body(t, batch);
    const ks_status made = ks_graph_end(r->ctx, st == KS_OK ? &rec->graph : NULL);
    if (st == KS_OK) st = made;
done:
    return st;
}

ks_status ks_recorder_run(ks_recorder *r, ks_trainer *t, const ks_batch *batch,
                          ks_status (*body)(ks_trainer *, const ks_batch *)) {
    ks_status  st  = KS_OK;
    recording *rec = NULL;
    if (!r) return body(t, batch);
    if (r->epoch != ks_mem_epoch(r->ctx)) {
        forget(r);
        r->epoch = ks_mem_epoch(r->ctx);
    }
    rec = find(r, batch, body);
    if (!rec || !rec->seen) {
        KS_TRY(body(t, batch));
        if (rec) rec->seen = 1;
        goto done;
    }
    if (!rec->graph) KS_TRY(record(r, rec, t, batch));
    KS_TRY(ks_graph_launch(rec->graph));
done:
    return st;
}
