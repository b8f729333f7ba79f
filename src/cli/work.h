/* work.h -- what scf, eval, predict and bench share: frames from a geometry file, method options, JSON files. */
#ifndef KS_CLI_WORK_H
#define KS_CLI_WORK_H
#include <jansson.h>
#include "cli/cli.h"
#include "core/machine.h"
#include "ksgrad/checkpoint.h"
#include "ksgrad/config.h"
#include "ksgrad/eval.h"

/* Rows for a verb's option table: the method, as short forms of config keys. */
typedef struct ks_method_args {
    const char *xc, *basis, *grid, *guess;
} ks_method_args;
#define KS_METHOD_OPTS(a)                                                                                              \
    {"xc", 0, KS_OPT_TEXT, "NAME", "functional: lda, pbe, pbe0, blyp, b3lyp5, hf (default b3lyp5)", &(a).xc},          \
        {"basis", 0, KS_OPT_TEXT, "NAME", "basis set name or Gaussian94 file (default def2-svp)", &(a).basis}, {       \
        "grid", 0, KS_OPT_TEXT, "LEVEL", "PySCF grid level 0..3 (default 3)", &(a).grid                                \
    }

/* Turns the options that were given into --set method.X=... and loads the config (defaults, then all --set). */
KS_NODISCARD ks_status ks_cli_method_config(const ks_method_args *args, ks_config *config);

/* Frames of a file (selection NULL: all); index (n_frame) are their places in the file, to be freed with KS_FREE. */
KS_NODISCARD ks_status ks_cli_frames(const char *path, const char *selection, ks_frames **frames, int64_t **index);

/* A number, null when it is not finite. */
json_t *ks_json_real(double value);
json_t *ks_json_metrics(const ks_metrics *m);
json_t *ks_json_method(const ks_method *method, const char *basis);
/* Writes value to path (temporary file, then rename) and releases it, also on errors. NULL value: KS_ERR_NOMEM. */
KS_NODISCARD ks_status ks_json_save(const char *path, json_t *value);
/* A text file the same way: printed through the returned stream, kept by commit. */
typedef struct ks_out_file {
    FILE *file;
    char  path[KS_CONFIG_PATH], temporary[KS_CONFIG_PATH + 32];
} ks_out_file;
KS_NODISCARD ks_status ks_out_open(ks_out_file *out, const char *path);
KS_NODISCARD ks_status ks_out_commit(ks_out_file *out);
void                   ks_out_discard(ks_out_file *out);

/* An output path that is one of the inputs is KS_ERR_ARG. NULL paths are skipped; ends with the count. */
KS_NODISCARD ks_status ks_cli_not_input(const char *option, const char *out, int n, const char *const *input);

/* --refine KIND and --steps N (NULL, -1: not given) over what the config says; n_build is never 0 afterwards. */
KS_NODISCARD ks_status ks_cli_refine(const char *kind, int64_t steps, ks_refine_options *refine);

/* A checkpoint for evaluation: config (with this command line's --set), communicator, context and network. */
typedef struct ks_cli_model {
    ks_config          config;
    ks_method          method;
    ks_refine_options  refine; /* eval.refine, or --refine KIND --steps N */
    ks_comm           *comm;   /* NULL: one rank */
    ks_ctx            *ctx;
    ks_basis          *basis;
    ks_model          *model;
    ks_checkpoint_info info;
} ks_cli_model;
/* path: run folder (its best checkpoint; what was chosen is logged), checkpoint or model.h5. kind NULL, steps -1: not
 * given. has_ranks: the verb works as several ranks (ks_cli_ranks); 0: as one (ks_cli_ctx). */
KS_NODISCARD ks_status ks_cli_model_open(const char *path, const char *kind, int64_t steps, int has_ranks,
                                         ks_cli_model *out);
/* The same without a network: method, refinement and device from the command line's --set; as several ranks. */
KS_NODISCARD ks_status ks_cli_no_model_open(const char *kind, int64_t steps, ks_cli_model *out);
void                   ks_cli_model_close(ks_cli_model *m); /* after ks_cli_finish when there are several ranks */
#endif
