/* train.h -- training: data of a run, memory plan, the step, validation, the run loop.
 *
 * A step: network -> W, H0 = F0 + W, refinement and loss with their adjoint, adjoint of the network,
 * global norm, clip, AdamW. The geometry tensors lie in a pool (train.reuse). */
#ifndef KS_TRAIN_H
#define KS_TRAIN_H
#include <signal.h>
#include "ksgrad/checkpoint.h"
#include "ksgrad/comm.h"
#include "ksgrad/config.h"
#include "ksgrad/data.h"
#include "ksgrad/rng.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- data of a run: frames, their systems, the split ---- */

typedef struct ks_run_data {
    ks_frames      *frames;
    ks_basis       *basis;
    ks_split       *split;
    int64_t         n_system;
    ks_system     **system;       /* one per composition (order of atoms counts), by first appearance */
    int32_t        *frame_system; /* (n_frame) */
    uint64_t        hash;         /* of elements, positions, charges and split: what a resumed run must find again */
    int             needs_labels; /* loss.hamiltonian or loss.density > 0 */
    ks_data        *labels;       /* the open data file when it holds labels of the method of the run, else NULL */
    ks_label_method label_method;
} ks_run_data;

/* Reads data.file and applies data.split. With a label loss, every training frame must have a label of this method:
 * KS_ERR_DATA with the counts otherwise. */
KS_NODISCARD ks_status ks_run_data_open(const ks_config *config, ks_run_data **out);
void                   ks_run_data_close(ks_run_data **data);
/* The split of a config over a geometry file (a named one from an .h5, or the inline one). */
KS_NODISCARD ks_status ks_config_split(const ks_config *config, int64_t n_frame, ks_split **out);

/* ---- memory plan ---- */

/* The same on all ranks: the least memory and the largest frame of all rule. Bytes are those of one rank. */
typedef struct ks_train_plan {
    int64_t budget_bytes;     /* what one rank may use */
    int64_t budget_rank;      /* the first that may use no more */
    int64_t slot_bytes;       /* tensors of one geometry (largest composition) */
    int64_t activation_bytes; /* network, per frame of a pass */
    int64_t work_bytes;       /* matrices of refinement and loss, per frame of a pass */
    int64_t param_bytes;      /* weights, gradients, moments */
    int64_t n_rank;
    int64_t pool;                /* geometries kept, by all ranks together */
    int64_t pool_share;          /* of them on one rank, at most */
    int     is_resident;         /* all training frames are kept: nothing is ever rebuilt */
    int     is_limited;          /* the pool follows from memory, and so does the order of the frames */
    int64_t share;               /* frames of a batch on one rank, at most */
    int64_t micro_batch, n_pass; /* frames per pass, passes per step, of the rank with the largest share */
    int64_t valid_pool;          /* validation geometries kept on one rank (largest composition's share) */
    int64_t total_bytes;
} ks_train_plan;

/* pool and micro_batch of the config, or what fits; device.memory_gib is for one rank, without it ranks on one host
 * share its memory (GPUs are not shared). Collective. KS_ERR_NOMEM with both figures when not even the least fits,
 * KS_ERR_CONFIG for more ranks than frames in a batch. */
KS_NODISCARD ks_status ks_train_make_plan(ks_ctx *ctx, ks_comm *comm, const ks_config *config, const ks_run_data *data,
                                          ks_model *model, ks_train_plan *plan);
/* A table for people; caller frees. */
KS_NODISCARD ks_status ks_train_print_plan(const ks_config *config, const ks_run_data *data, const ks_train_plan *plan,
                                           char **text);

/* ---- the trainer ---- */

typedef struct ks_trainer ks_trainer;

/* What ranks decide together: any rank's vote counts, and all learn of it with the result of the step that carried
 * it. */
enum { KS_VOTE_STOP, KS_VOTE_SAVE, KS_VOTE_N };

typedef struct ks_step_result {
    int64_t step;       /* of this step, from 1 */
    double  loss;       /* weighted mean over counted frames */
    double  energy;     /* mean, Ha; likewise the next ones, NaN where the weight is 0 */
    double  commutator; /* mean of the squared norm */
    double  self_consistency, hamiltonian, density;
    double  lr, grad_norm, min_gap;
    int64_t n_frame, n_masked;
    int64_t n_built;                /* geometries whose tensors were made in this step */
    double  build_seconds, seconds; /* wall time: of building, of the whole step */
    double  wait_seconds;           /* of it: waiting for other ranks; on a GPU the device waits, unseen */
    int     vote[KS_VOTE_N];
} ks_step_result;

typedef struct ks_valid_result {
    int64_t n_frame, n_masked;
    double  energy;            /* mean after eval.refine, Ha */
    double  energy_no_network; /* the same with W = 0 */
    double  commutator_rms;    /* root mean square over frames and elements, Ha */
    double  energy_mae, h_mae; /* Ha, against labels; NaN without */
    double  seconds;
} ks_valid_result;

/* Everything borrowed. comm NULL: one rank. With several, train.batch frames are shared out over them and every call
 * below is collective; results and decisions are the same on all ranks. */
KS_NODISCARD ks_status ks_trainer_create(ks_ctx *ctx, ks_comm *comm, const ks_config *config, const ks_run_data *data,
                                         ks_trainer **out);
void                   ks_trainer_destroy(ks_trainer **trainer);
ks_model              *ks_trainer_model(ks_trainer *trainer);
const ks_train_plan   *ks_trainer_plan(const ks_trainer *trainer);
/* Weights, moments, pool: as after the step that the checkpoint was written at. Before the first step only. */
KS_NODISCARD ks_status ks_trainer_load(ks_trainer *trainer, const char *checkpoint_dir);
/* Rank 0 writes, once all ranks have shown that their weights are the same (KS_ERR_COMM otherwise). */
KS_NODISCARD ks_status ks_trainer_save(ks_trainer *trainer, const char *ckpt_dir, const char *config_text,
                                       const char *command);
int64_t                ks_trainer_steps_done(const ks_trainer *trainer); /* steps whose result has been collected */
/* One optimiser step. More than half of the batch masked, or a gradient that is not finite: KS_ERR_NUMERIC, and the
 * weights stay as they were. */
KS_NODISCARD ks_status ks_trainer_step(ks_trainer *trainer, ks_step_result *out);
/* The same in two parts, so that the host prepares a step while the device works on the one before: queue starts a
 * step (at most ks_trainer_depth may be on their way), collect waits for the oldest. Validation, ks_trainer_save and
 * the end of a run need all steps collected. */
int                    ks_trainer_depth(const ks_trainer *trainer);
int                    ks_trainer_pending(const ks_trainer *trainer);
KS_NODISCARD ks_status ks_trainer_queue(ks_trainer *trainer, const int vote[KS_VOTE_N]); /* NULL: none */
KS_NODISCARD ks_status ks_trainer_collect(ks_trainer *trainer, ks_step_result *out);
/* Validation set (valid.frames); *is_best: the lowest mean energy so far. */
KS_NODISCARD ks_status ks_trainer_validate(ks_trainer *trainer, ks_valid_result *out, int *is_best);
int64_t                ks_trainer_best_step(const ks_trainer *trainer);

/* ---- a whole run in a run folder ---- */

typedef enum ks_resume { KS_RESUME_AUTO, KS_RESUME_NEVER, KS_RESUME_MUST } ks_resume;

typedef struct ks_run_options {
    ks_resume   resume;
    int         allow_change; /* soft keys may differ from the checkpoint's */
    const char *config_path;  /* copied into the run folder; NULL: none */
    const char *command;      /* for provenance */
    const char *launcher;     /* the same: what started the ranks; NULL: not known */
    /* non-zero: finish the step, save, KS_ERR_STOPPED; NULL: never. On any rank: all stop after the same step. */
    const volatile sig_atomic_t *stop;
    void (*status)(void *user, const char *line); /* a live line after each step, NULL: plain log lines */
    void *user;
    void (*folder)(void       *user,
                   const char *run_dir); /* called once the run folder is there, before the first log line */
} ks_run_options;

typedef struct ks_run_result {
    char    run_dir[KS_CHECKPOINT_PATH];
    int64_t steps, first_step;
    double  seconds;
} ks_run_result;

/* Collective. Rank 0 alone has the run folder, shows and writes; status and folder are called on it alone. An error
 * that one rank meets is for the caller to hand on (ks_comm_fail). */
KS_NODISCARD ks_status ks_train_run(ks_ctx *ctx, ks_comm *comm, const ks_config *config, const ks_run_options *options,
                                    ks_run_result *result);

#ifdef __cplusplus
}
#endif
#endif
