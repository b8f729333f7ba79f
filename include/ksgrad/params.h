/* params.h -- the parameter registry. A model registers name, shape, initialiser and weight-decay flag at creation;
 * optimiser, checkpoint, gradient reduction and tests walk the registry and know nothing else of the model.
 *
 * All parameters lie in one flat array per kind (data, grad, m, v), in the order of registration, each starting on
 * a 64-byte boundary; element type float (fp32, bf16) or double (fp64). Backend memory. */
#ifndef KS_PARAMS_H
#define KS_PARAMS_H
#include "ksgrad/context.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of the network's arithmetic. KS_BF16: every array holds floats, parameters and moments included; the factors of the
 * matrix products of ks_linear_* are rounded to bfloat16 (nearest even) and their products summed in fp32. */
typedef enum ks_precision { KS_FP32, KS_FP64, KS_BF16 } ks_precision;
static inline int ks_precision_is_known(ks_precision p) { return p == KS_FP32 || p == KS_FP64 || p == KS_BF16; }
typedef enum ks_init { KS_INIT_ZERO, KS_INIT_ONE, KS_INIT_NORMAL } ks_init;

typedef struct ks_param {
    char    name[64]; /* dotted, e.g. "block.03.attn.qkv.weight" */
    int     rank;     /* 1..4 */
    int64_t shape[4];
    int64_t offset, size; /* elements in the flat arrays */
    ks_init init;
    double  init_std;
    int     decay; /* takes part in weight decay */
} ks_param;

typedef struct ks_params ks_params;
KS_NODISCARD ks_status   ks_params_create(ks_ctx *ctx, ks_precision precision, ks_params **out);
void                     ks_params_destroy(ks_params **params);
/* index: handle of the parameter. Before ks_params_finish only. */
KS_NODISCARD ks_status ks_params_add(ks_params *params, const char *name, int rank, const int64_t *shape, ks_init init,
                                     double init_std, int decay, int64_t *index);
/* Allocates the flat arrays and initialises the data from (seed, KS_STREAM_INIT, parameter index, element). */
KS_NODISCARD ks_status ks_params_finish(ks_params *params, uint64_t seed);

int64_t         ks_params_count(const ks_params *params);
const ks_param *ks_params_get(const ks_params *params, int64_t index);
int64_t         ks_params_total(const ks_params *params);    /* elements of a flat array, padding included */
int64_t         ks_params_n_scalar(const ks_params *params); /* parameters proper, padding excluded */
ks_precision    ks_params_precision(const ks_params *params);
size_t          ks_params_elem_bytes(const ks_params *params);
void           *ks_params_data(ks_params *params, int64_t index); /* float* or double* */
void           *ks_params_grad(ks_params *params, int64_t index);
/* Whole flat arrays: which = 'p' data, 'g' gradients, 'm' and 'v' Adam moments. Behind the ks_params_total elements of
 * 'p' and 'g' lie KS_PARAMS_SLACK more that are zero and belong to nobody, so that they can be cut into equal pieces. */
enum { KS_PARAMS_SLACK = 32768 };
void                  *ks_params_flat(ks_params *params, char which);
KS_NODISCARD ks_status ks_params_zero_grad(ks_params *params); /* the slack too */

/* This process keeps n elements of the moments, zero, laid out by the caller: no longer those of ks_params_total. After
 * ks_params_finish, before the first step. */
KS_NODISCARD ks_status ks_params_shard(ks_params *params, int64_t n);
int64_t                ks_params_n_moment(const ks_params *params); /* elements in each of 'm' and 'v' */

/* Of the weights, padding included: equal weights have equal hashes. Waits. */
KS_NODISCARD ks_status ks_params_hash(ks_ctx *ctx, ks_params *params, uint64_t *hash);

/* While it queues the last segment that has frames, the model's adjoint says that the gradients of parameter `index` and
 * of all registered after it are complete in the queue; the listener (NULL: none) queues what follows from that. A batch
 * without frames says nothing. */
typedef ks_status (*ks_params_listener)(void *user, int64_t offset); /* of parameter `index` in the flat arrays */
void                   ks_params_listen(ks_params *params, ks_params_listener listener, void *user);
KS_NODISCARD ks_status ks_params_ready(ks_params *params, int64_t index);

#ifdef __cplusplus
}
#endif
#endif
