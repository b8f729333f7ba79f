/* pool.h -- which geometries are in memory, and which of them the next step uses. Private.
 *
 * The pool has n_entry entries, shared out over the compositions in proportion to their training frames, and `batch`
 * lanes: entry e lies in lane e mod batch. A sweep permutes the entries of every lane by itself; batch k of it takes
 * the k-th of every lane. Where lanes differ in length, a longer one leaves out its last in that sweep, another one
 * each time. An entry whose geometry has been visited `reuse` times takes its composition's next frame. Visits start
 * staggered, so that every step replaces about batch / reuse frames. When all training frames fit, none is ever
 * replaced.
 *
 * Ranks. A rank owns some of the lanes: tensors, slots and passes exist for their entries alone, so that every rank
 * has its share of every batch in its own memory. Who holds what frame is known everywhere. Frame order and sweeps
 * are functions of (seed, epoch) and (seed, sweep, lane): the record of a pool is a few integers, the same on all
 * ranks, and the tensors follow from the geometries. */
#ifndef KS_POOL_H
#define KS_POOL_H
#include "ksgrad/train.h"

typedef struct ks_pool ks_pool;

typedef struct ks_pool_options {
    int64_t  n_entry, batch, reuse;
    int64_t  lane_lo, lane_hi; /* lanes lo .. hi-1 of the batch are this rank's */
    int64_t  micro_batch;      /* frames of a pass, at most */
    uint64_t seed;
} ks_pool_options;

/* frame (n): the training frames, in split order. Data and context are borrowed. */
KS_NODISCARD ks_status ks_pool_create(ks_ctx *ctx, const ks_run_data *data, const ks_method *method, int64_t n,
                                      const int64_t *frame, const ks_pool_options *opt, ks_pool **out);
void                   ks_pool_destroy(ks_pool **pool);

/* Draws the next batch and makes the tensors of this rank's frames that are missing, and some of those that later
 * batches will need, so that every step builds about as many; *n_built: how many. */
KS_NODISCARD ks_status ks_pool_next(ks_pool *pool, int64_t *n_built);
int64_t                ks_pool_n_pass(const ks_pool *pool);
/* Pass p of this rank's share of the batch: segments, and the frame numbers in their order. */
const ks_batch *ks_pool_pass(const ks_pool *pool, int64_t p, const int64_t **frames);
/* The step is done: counts the visits and replaces what is used up. */
void ks_pool_done(ks_pool *pool);

/* The record: n words. Load: KS_ERR_DATA for one of another version or with values out of range. */
int64_t                ks_pool_n_word(const ks_pool *pool);
void                   ks_pool_save(const ks_pool *pool, int64_t *word);
KS_NODISCARD ks_status ks_pool_load(ks_pool *pool, int64_t n_word, const int64_t *word);
/* 1 when a record is of a pool with as many entries, lanes and compositions, 0 when load would refuse it for that. A
 * record of an earlier version: 1, load says so. */
int ks_pool_is_like(const ks_pool *pool, int64_t n_word, const int64_t *word);
/* The most entries that any of n_rank ranks owns. */
int64_t ks_pool_share(int64_t n_entry, int64_t batch, int64_t n_rank);
#endif
