/* run_folder.h -- the folder of a run: creation, lock, small files. Private. */
#ifndef KS_RUN_FOLDER_H
#define KS_RUN_FOLDER_H
#include "ksgrad/train.h"

typedef struct ks_run_folder {
    char dir[KS_CHECKPOINT_PATH], ckpt[KS_CHECKPOINT_PATH];
    int  lock; /* file descriptor, -1: none */
} ks_run_folder;

/* <run.dir>/<run.name> and ckpt in it, on any rank; touches nothing. */
KS_NODISCARD ks_status ks_run_folder_name(const ks_config *config, ks_run_folder *folder);
/* Makes the named folders and takes the lock: a second process there is KS_ERR_IO. On one rank. */
KS_NODISCARD ks_status ks_run_folder_open(ks_run_folder *folder);
void                   ks_run_folder_close(ks_run_folder *folder);
/* A small file as a whole (temporary name, rename). */
KS_NODISCARD ks_status ks_run_folder_write(const ks_run_folder *folder, const char *name, const char *text);
KS_NODISCARD ks_status ks_run_folder_copy(const ks_run_folder *folder, const char *name, const char *from);
/* env.json: program, build, machine, command; ranks, their hosts and transport. launcher, command: NULL when not
 * known. */
KS_NODISCARD ks_status ks_run_folder_env(const ks_run_folder *folder, const ks_ctx *ctx, const ks_comm *comm,
                                         const char *launcher, const char *command);
#endif
