/* trainer_impl.h -- what trainer.c, trainer_valid.c and trainer_run.c share. Private. */
#ifndef KS_TRAINER_IMPL_H
#define KS_TRAINER_IMPL_H
#include "core/machine.h"
#include "ksgrad/log.h"
#include "ksgrad/train.h"
#include "train/pool.h"
#include "train/reducer.h"

/* Batch matrices of one pass, grown to the largest and kept. */
typedef struct ks_pass_buffers {
    int64_t size; /* doubles in each */
    double *H0, *H0_bar, *H_ref, *P_ref;
    double *host; /* (2, size) labels on their way to the backend */
} ks_pass_buffers;

/* Validation: geometries by composition, in passes of one composition each; every n_rank-th of all is this rank's. */
typedef struct ks_valid_set {
    ks_ctx      *ctx;
    int64_t      n_total; /* over all ranks */
    int64_t      n_frame; /* this rank's; may be 0 */
    int64_t     *frame;   /* (n_frame) sorted by composition */
    int64_t      n_system;
    int64_t     *first;    /* (n_system + 1) in frame */
    ks_tensors **tensors;  /* (n_system) NULL where the composition has no frame */
    int64_t      is_built; /* every geometry has its slot and is there */
    double       energy_no_network;
    int          has_no_network;
    int32_t     *slot, *charge; /* (largest capacity) */
    int32_t     *slot_b;        /* slot in backend memory */
    double      *pos;
} ks_valid_set;

/* Work of a step that is recorded after it has run once, and replayed; see trainer_graph.c. */
typedef struct ks_recorder ks_recorder;

/* ks_trainer.block: doubles that a step makes in backend memory and that come to the host with its result. Votes, builds and the
 * terms up to the frames that counted are sums over the ranks, the smallest gap is the smallest of all. */
enum {
    KS_BLOCK_VOTE,
    KS_BLOCK_BUILT = KS_BLOCK_VOTE + KS_VOTE_N, /* geometries whose tensors were made */
    KS_BLOCK_TERM,
    KS_BLOCK_LEAST  = KS_BLOCK_TERM + KS_TERM_MIN_GAP,
    KS_BLOCK_STATE  = KS_BLOCK_TERM + KS_TERM_N, /* of the optimiser */
    KS_BLOCK_FETCH  = KS_BLOCK_STATE + KS_STEP_N,
    KS_BLOCK_SQUARE = KS_BLOCK_FETCH, /* of the gradient */
    KS_BLOCK_N
};

enum { KS_FLIGHT_MAX = 2 };
typedef struct ks_flight { /* a step on its way */
    ks_fetch *fetch;
    int64_t   step, n_built;
    double    start, build_seconds;
    int       vote[KS_VOTE_N];
} ks_flight;

struct ks_trainer {
    ks_ctx            *ctx;
    ks_comm           *comm; /* NULL: one rank */
    const ks_config   *config;
    const ks_run_data *data;
    ks_method          method;
    ks_train_plan      plan;
    ks_model          *model;
    ks_pool           *pool;
    ks_refine         *refine, *eval_refine;
    ks_loss           *loss, *eval_loss;
    ks_pass_buffers    buf;
    ks_valid_set       valid;
    int64_t            step, samples;
    int64_t            best_step;
    double             best_energy;
    ks_reducer        *reducer;    /* NULL: one rank */
    double            *block;      /* backend: KS_BLOCK_N */
    double            *eval_terms; /* backend: KS_TERM_N */
    ks_flight          flight[KS_FLIGHT_MAX];
    int                first_flight, n_flight;
    double             collected_at, waited; /* ks_comm_wait_seconds then */
    ks_recorder       *recorder;
};

KS_NODISCARD ks_status ks_pass_reserve(ks_ctx *ctx, ks_pass_buffers *buf, const ks_batch *batch, int with_labels);
void                   ks_pass_release(ks_ctx *ctx, ks_pass_buffers *buf);
/* buf->H0 = F0 + W of the network (NULL: F0 alone). */
KS_NODISCARD ks_status ks_pass_h0(ks_ctx *ctx, ks_model *model, const ks_batch *batch, int want_adj,
                                  ks_pass_buffers *buf);
/* buf->H_ref, P_ref of the frames of a pass; energies (n_frame) when not NULL. */
KS_NODISCARD ks_status ks_pass_labels(ks_ctx *ctx, const ks_run_data *data, const ks_batch *batch,
                                      const int64_t *frames, ks_pass_buffers *buf, double *energy);

KS_NODISCARD ks_status ks_recorder_create(ks_ctx *ctx, ks_recorder **out);
void                   ks_recorder_destroy(ks_recorder **recorder);
/* Runs body(trainer, batch), which queues work and does nothing else that a replay would miss: directly the first time
 * that this kind of batch is met, and as a recording from then on. batch may be NULL. */
KS_NODISCARD ks_status ks_recorder_run(ks_recorder *recorder, ks_trainer *trainer, const ks_batch *batch,
                                       ks_status (*body)(ks_trainer *, const ks_batch *));

KS_NODISCARD ks_status ks_valid_set_create(ks_ctx *ctx, const ks_comm *comm, const ks_config *config,
                                           const ks_run_data *data, const ks_method *method, int64_t capacity,
                                           ks_valid_set *set);
void                   ks_valid_set_release(ks_valid_set *set);

ks_reducer_options ks_reducer_options_of(const ks_config *config);

/* Pool and passes of a plan (wanted sizes, cut to what there is), and what follows from them. */
void ks_plan_settle(ks_train_plan *plan, int64_t batch, int64_t n_train, int64_t pool, int64_t micro_batch);

/* For an error that all ranks meet alike: it is rank 0's to say, the others hear it from there. Returns st, or that. */
KS_NODISCARD ks_status ks_leave_together(ks_comm *comm, ks_status st);

/* KS_ERR_COMM when a rank has other weights than rank 0. Waits. */
KS_NODISCARD ks_status ks_trainer_check_weights(ks_trainer *trainer);

#endif
