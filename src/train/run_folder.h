/* run_folder.h -- the folder of a run: creation, lock, small files. Private. */
#ifndef KS_RUN_FOLDER_H
#define KS_RUN_FOLDER_H
#include "ksgrad/train.h"

typedef struct ks_run_folder {
    char dir[KS_CHECKPOINT_PATH], ckpt[KS_CHECKPOINT_PATH];
    int  lock; /* file descriptor, -1: none */
} ks_run_folder;

/* Makes <run.dir>/<run.name>/ckpt and takes the lock: a second process there is KS_ERR_IO. */
KS_NODISCARD ks_status ks_run_folder_open(const ks_config *config, ks_run_folder *folder);
void                   ks_run_folder_close(ks_run_folder *folder);
/* A small file as a whole (temporary name, rename). */
KS_NODISCARD ks_status ks_run_folder_write(const ks_run_folder *folder, const char *name, const char *text);
KS_NODISCARD ks_status ks_run_folder_copy(const ks_run_folder *folder, const char *name, const char *from);
/* env.json: program, build, machine, command. */
KS_NODISCARD ks_status ks_run_folder_env(const ks_run_folder *folder, const ks_ctx *ctx, const char *command);
#endif
