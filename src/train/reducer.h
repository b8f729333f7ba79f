/* reducer.h -- sums the gradient over the ranks bucket by bucket while the backward pass goes on, and makes the optimiser's
 * step: on every rank the whole of it, or its share (comm.shard_moments, ZeRO-1: arXiv 1910.02054). Private.
 *
 * A NULL reducer is that of one rank: nothing travels, and the update is ks_adamw_step.
 *
 * Buckets cut the flat gradient array from its end, because the backward pass finishes parameters in the opposite order of
 * their registration (ks_params_ready). Each bucket is cut into one slice per rank, padded to whole 64-byte lines. */
#ifndef KS_REDUCER_H
#define KS_REDUCER_H
#include "ksgrad/comm.h"
#include "ksgrad/optim.h"

typedef struct ks_reducer ks_reducer;

typedef struct ks_reducer_options {
    int64_t bucket_bytes;
    int     wire_bf16;
    int     shard; /* before ks_params_finish allocates: see ks_params_shard */
} ks_reducer_options;

/* comm of one rank: *out is NULL. */
KS_NODISCARD ks_status ks_reducer_create(ks_ctx *ctx, ks_comm *comm, ks_params *params, const ks_reducer_options *opt,
                                         ks_reducer **out);
void                   ks_reducer_destroy(ks_reducer **reducer);

/* The backward pass that is queued next is the last one of the step: from here to ks_reducer_end every bucket that
 * ks_params_ready reports complete is queued on the communicator. Inside a recording of that pass, all of it is. */
KS_NODISCARD ks_status ks_reducer_begin(ks_reducer *reducer);
/* The rest of the gradient; sum (n_sum) added up and least (n_least) taken the least of over the ranks, in place, backend
 * memory; what is queued in the context afterwards finds all of it there. */
KS_NODISCARD ks_status ks_reducer_end(ks_reducer *reducer, int64_t n_sum, double *sum, int64_t n_least, double *least);

/* ks_adamw_step over the summed gradient. With shards: norm from the shares' norms, update of the own share, weights
 * gathered again. */
KS_NODISCARD ks_status ks_reducer_update(ks_ctx *ctx, ks_reducer *reducer, ks_params *params,
                                         const ks_optim_options *opt, double n_frame, const double *n_counted,
                                         double *sum_squares, double *state);

/* Moments of a checkpoint: which = 'm' or 'v'. The whole flat array (ks_params_total elements of host memory) from the
 * shares, on rank 0 only (host is not touched elsewhere); and back from it. Collective; between steps. */
KS_NODISCARD ks_status ks_reducer_moments_out(ks_ctx *ctx, ks_reducer *reducer, ks_params *params, char which,
                                              void *host);
KS_NODISCARD ks_status ks_reducer_moments_in(ks_ctx *ctx, ks_reducer *reducer, ks_params *params, char which,
                                             const void *host);
#endif
