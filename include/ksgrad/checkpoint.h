/* checkpoint.h -- checkpoints of a training run: a folder step_00012000/ with
 *   model.h5   weights, resolved config, reference geometries, conventions, provenance: enough to evaluate
 *   state.h5   Adam moments, step, pool and data cursor, best value: with model.h5, enough to go on bit by bit
 *   DONE       written last; sizes and hashes of the two files
 * Written under a temporary name, synced, renamed; then `latest` (and `best`) are re-pointed by rename. A folder
 * without DONE, or with other files, is not a checkpoint. Loading is strict: every tensor missing, left over or of
 * another shape is an error that names it. */
#ifndef KS_CHECKPOINT_H
#define KS_CHECKPOINT_H
#include "ksgrad/config.h"
#include "ksgrad/model.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { KS_CHECKPOINT_PATH = 4096 };

/* What state.h5 holds besides the moments. */
typedef struct ks_train_state {
    int64_t  step;                   /* steps done */
    int64_t  samples;                /* frames seen */
    int64_t  best_step;              /* -1: no validation yet */
    double   best_energy;            /* Ha */
    uint64_t data_hash;              /* of elements, positions, charges and split */
    int64_t  micro_batch, pool_size; /* the memory plan: part of the arithmetic, so kept on resume */
    int64_t  n_word;                 /* the pool's own record */
    int64_t *word;                   /* owned */
} ks_train_state;
void ks_train_state_clear(ks_train_state *state);

/* Adam moments in host memory: whole flat arrays of ks_params_total elements, where the registry holds a share only
 * (ks_params_shard). Empty (m NULL, or no pointer to it): those of the registry. */
typedef struct ks_moments {
    void *m, *v; /* owned */
} ks_moments;
void ks_moments_clear(ks_moments *moments);

/* ckpt_dir/step_<step>/ from the model's parameters and their moments. config_text: the resolved config; command: the
 * command line, for provenance. An existing folder of that step is replaced. */
KS_NODISCARD ks_status ks_checkpoint_save(ks_ctx *ctx, const char *ckpt_dir, const char *config_text,
                                          const char *command, ks_model *model, const ks_moments *moments,
                                          const ks_train_state *state);
/* ckpt_dir/name (latest, best) -> step_<step>, by rename. */
KS_NODISCARD ks_status ks_checkpoint_point(const char *ckpt_dir, const char *name, int64_t step);
/* Removes all but the keep_last newest, what `best` points to, and left-over temporaries. */
KS_NODISCARD ks_status ks_checkpoint_rotate(const char *ckpt_dir, int64_t keep_last);

/* Complete checkpoints of a folder, newest first (caller frees steps with KS_FREE); a missing folder has none.
 * damaged: the newest step_* that is newer than all complete ones, and why (empty when there is none). */
KS_NODISCARD ks_status ks_checkpoint_list(const char *ckpt_dir, int64_t **steps, int64_t *n, char *damaged,
                                          size_t damaged_size);

/* A run folder (its best checkpoint, else its latest), a ckpt folder, a checkpoint folder or a model.h5 -> the
 * checkpoint folder. KS_ERR_DATA with what was looked for. */
KS_NODISCARD ks_status ks_checkpoint_find(const char *path, char out[KS_CHECKPOINT_PATH]);

/* Compares sizes and hashes with DONE; a model.h5 that was handed on alone, without DONE, passes. Damage is
 * KS_ERR_HDF5. */
KS_NODISCARD ks_status ks_checkpoint_verify(const char *dir);

typedef struct ks_checkpoint_info {
    char    dir[KS_CHECKPOINT_PATH];
    int64_t step, samples;
    char    program[128]; /* version that wrote it */
} ks_checkpoint_info;

/* The config inside; model (NULL: not wanted) is created on ctx and filled. path as in ks_checkpoint_find.
 * n_set overrides are applied to the stored config: keys of class hard are refused (KS_ERR_CONFIG). */
KS_NODISCARD ks_status ks_checkpoint_load_model(ks_ctx *ctx, const char *path, int n_set, const char *const *set,
                                                ks_config *config, ks_model **model, ks_checkpoint_info *info);
/* Weights and references into an existing model, moments into it or, when not empty, `moments`, and the state. dir: a
 * checkpoint folder. */
KS_NODISCARD ks_status ks_checkpoint_load_state(ks_ctx *ctx, const char *dir, ks_model *model, ks_moments *moments,
                                                ks_train_state *state);
/* The resolved config text inside (caller frees). */
KS_NODISCARD ks_status ks_checkpoint_config(const char *dir, char **text);

#ifdef __cplusplus
}
#endif
#endif
