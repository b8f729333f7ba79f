/* pool.h -- which geometries are in memory, and which of them the next step uses. Private.
 *
 * The pool has n_entry entries, shared out over the compositions in proportion to their training frames. A sweep is
 * a permutation of the entries, cut into batches (a rest smaller than a batch is left out of that sweep). An entry
 * whose geometry has been visited `reuse` times takes its composition's next frame. Visits start staggered, so that
 * every step replaces about batch / reuse frames. When all training frames fit, none is ever replaced. Frame order
 * and sweeps are functions of (seed, epoch) and (seed, sweep): the record of a pool is a few integers, and the
 * tensors follow from the geometries. */
#ifndef KS_POOL_H
#define KS_POOL_H
#include "ksgrad/train.h"

typedef struct ks_pool ks_pool;

typedef struct ks_pool_options {
    int64_t  n_entry, batch, micro_batch, reuse;
    uint64_t seed;
} ks_pool_options;

/* frame (n): the training frames, in split order. Data and context are borrowed. */
KS_NODISCARD ks_status ks_pool_create(ks_ctx *ctx, const ks_run_data *data, const ks_method *method, int64_t n,
                                      const int64_t *frame, const ks_pool_options *opt, ks_pool **out);
void                   ks_pool_destroy(ks_pool **pool);

/* Draws the next batch and makes the tensors that are missing; *n_built of them. */
KS_NODISCARD ks_status ks_pool_next(ks_pool *pool, int64_t *n_built);
int64_t                ks_pool_n_pass(const ks_pool *pool);
/* Pass p of the current batch: segments, and the frame numbers in batch order. */
const ks_batch *ks_pool_pass(const ks_pool *pool, int64_t p, const int64_t **frames);
/* The step is done: counts the visits and replaces what is used up. */
void ks_pool_done(ks_pool *pool);

/* The record: n words. */
int64_t                ks_pool_n_word(const ks_pool *pool);
void                   ks_pool_save(const ks_pool *pool, int64_t *word);
KS_NODISCARD ks_status ks_pool_load(ks_pool *pool, int64_t n_word, const int64_t *word);
#endif
