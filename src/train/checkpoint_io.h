/* checkpoint_io.h -- the two HDF5 files of a checkpoint. Private. */
#ifndef KS_CHECKPOINT_IO_H
#define KS_CHECKPOINT_IO_H
#include "ksgrad/checkpoint.h"

KS_NODISCARD ks_status ks_ckpt_write_model(ks_ctx *ctx, const char *path, const char *config_text, const char *command,
                                           ks_model *model, const ks_train_state *state);
/* moments: NULL or empty are the registry's. */
KS_NODISCARD ks_status ks_ckpt_write_state(ks_ctx *ctx, const char *path, ks_model *model, const ks_moments *moments,
                                           const ks_train_state *state);
/* Into an existing model. */
KS_NODISCARD ks_status ks_ckpt_read_model(ks_ctx *ctx, const char *path, ks_model *model);
KS_NODISCARD ks_status ks_ckpt_read_state(ks_ctx *ctx, const char *path, ks_model *model, ks_moments *moments,
                                          ks_train_state *state);
/* What is needed before a model exists: the config text and the vocabulary. */
KS_NODISCARD ks_status ks_ckpt_read_head(const char *path, char **config_text, int64_t *n_ao_kind,
                                         ks_checkpoint_info *info);
#endif
