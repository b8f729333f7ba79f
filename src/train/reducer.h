/* reducer.h -- sums the gradient over the ranks bucket by bucket while the backward pass goes on, and makes the optimiser's
 * step: on every rank the whole of it, or its share (comm.shard_moments, ZeRO-1: arXiv 1910.02054). Private.
 *
 * A NULL reducer is that of one rank: nothing travels, and the update is ks_adamw_step.
 *
 * Buckets cut the flat gradient array from its end, because the backward pass finishes parameters in the opposite order of
 * their registration (ks_params_ready). With shards each bucket is cut into one slice per rank, of whole 64-byte lines.
 *
 * A step: ks_params_zero_grad, passes, ks_reducer_begin, the last pass, ks_reducer_end, ks_reducer_update. All of these only
 * queue. begin, the last pass and end belong into one recording: what the listener queues is then replayed with the pass.
 * A rank without a last pass calls begin and end all the same. The order of what travels is the same on all ranks whatever
 * their batches are: buckets from the end, then the sums. */
#ifndef KS_REDUCER_H
#define KS_REDUCER_H
#include "ksgrad/checkpoint.h"
#include "ksgrad/comm.h"
#include "ksgrad/optim.h"

typedef struct ks_reducer ks_reducer;

typedef struct ks_reducer_options {
    int64_t bucket_bytes; /* of gradient; at least one line for every rank */
    int     wire_bf16;    /* the gradient travels rounded to bfloat16 */
    int     shard;        /* this rank keeps moments for its slices only */
} ks_reducer_options;

/* Before the first step and before moments are loaded. comm of one rank: *out is NULL. Everything borrowed. */
KS_NODISCARD ks_status ks_reducer_create(ks_ctx *ctx, ks_comm *comm, ks_params *params, const ks_reducer_options *opt,
                                         ks_reducer **out);
void                   ks_reducer_destroy(ks_reducer **reducer); /* before the parameters */

/* Bytes of backend memory that weights, gradient, moments and the wire take on each rank (comm NULL: without a reducer). */
int64_t ks_reducer_param_bytes(const ks_params *params, const ks_comm *comm, const ks_reducer_options *opt);

/* The backward pass that is queued next is the last one of the step: from here to ks_reducer_end every bucket that
 * ks_params_ready reports complete is queued on the communicator. */
KS_NODISCARD ks_status ks_reducer_begin(ks_reducer *reducer);
/* The rest of the gradient; sum (n_sum) added up and least (n_least) taken the least of over the ranks, in place, backend
 * memory; what is queued in the context afterwards finds all of it there. With shards only this rank's slices of the
 * gradient are valid then. */
KS_NODISCARD ks_status ks_reducer_end(ks_reducer *reducer, int64_t n_sum, double *sum, int64_t n_least, double *least);

/* ks_adamw_step over the summed gradient. With shards: norm from the shares' norms, update of the own slices, weights
 * gathered again. */
KS_NODISCARD ks_status ks_reducer_update(ks_ctx *ctx, ks_reducer *reducer, ks_params *params,
                                         const ks_optim_options *opt, double n_frame, const double *n_counted,
                                         double *sum_squares, double *state);

/* ---- moments of a checkpoint, between steps; without shards (and for NULL) these leave *moments empty: the registry's ---- */

/* The whole arrays from the slices of all ranks, in host memory of rank 0; empty on the others. Collective. */
KS_NODISCARD ks_status ks_reducer_gather_moments(ks_reducer *reducer, ks_moments *moments);
/* Room for them, to be filled by ks_checkpoint_load_state; and the own slices from them. Not collective. */
KS_NODISCARD ks_status ks_reducer_moments_room(ks_reducer *reducer, ks_moments *moments);
KS_NODISCARD ks_status ks_reducer_set_moments(ks_reducer *reducer, const ks_moments *moments);
#endif
