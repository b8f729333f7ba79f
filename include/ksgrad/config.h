/* config.h -- the configuration of a run: YAML (or JSON) over one schema table (src/train/schema.c).
 *
 * Unknown and repeated keys, wrong types, values outside their range, tags and anchors are errors with
 * file:line:column. Types come from the schema, so 1e-3 is a number everywhere. Relative paths of a file are
 * relative to the folder of that file; those of --set to the working folder. Units are in schema.c and
 * reference.yaml. */
#ifndef KS_CONFIG_H
#define KS_CONFIG_H
#include <stdio.h>
#include "ksgrad/batch.h"
#include "ksgrad/loss.h"
#include "ksgrad/model.h"
#include "ksgrad/optim.h"
#include "ksgrad/refine.h"
#include "ksgrad/scf.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { KS_CONFIG_NAME = 128, KS_CONFIG_PATH = 1024 };

typedef enum ks_split_kind { KS_SPLIT_NUMPY_LEGACY, KS_SPLIT_RANDOM, KS_SPLIT_INDEX } ks_split_kind;

typedef struct ks_config {
    int64_t version;
    struct {
        char    name[KS_CONFIG_NAME];
        int64_t seed;
        char    dir[KS_CONFIG_PATH];
    } run;
    struct {
        char    file[KS_CONFIG_PATH];
        char    split[KS_CONFIG_NAME]; /* name of a split inside an .h5; empty: the inline split below */
        int     split_method;          /* ks_split_kind */
        int64_t split_seed;
        int64_t split_n;        /* how many sizes were given: 0 (80/10/10 %) or 3 */
        int64_t split_sizes[3]; /* train, valid, test */
    } data;
    struct {
        char    xc[KS_CONFIG_NAME];
        char    basis[KS_CONFIG_PATH];
        int64_t grid;
        int     guess; /* ks_guess */
    } method;
    struct {
        int              size;    /* 0: free, else 1 + index into tiny, small, base, medium, large */
        ks_model_options options; /* n_ao_kind is filled in by the trainer */
    } model;
    ks_refine_options refine;      /* while training */
    ks_refine_options eval_refine; /* for validation, eval and predict */
    ks_loss_weights   loss;
    ks_scf_options    scf; /* converged SCF of eval and labels */
    ks_optim_options  optim;
    struct {
        int64_t batch, reuse;
        int64_t pool;        /* geometries kept in memory; 0: from the memory plan */
        int64_t micro_batch; /* frames per pass; 0: from the memory plan */
    } train;
    struct {
        int64_t every, frames;
    } valid;
    struct {
        int64_t every_steps;
        double  every_minutes;
        int64_t keep_last;
    } ckpt;
    struct {
        int64_t every_steps;
        double  every_seconds;
    } log;
    struct {
        char    backend[16]; /* auto, cpu, cuda */
        int64_t threads;
        int     graphs;     /* CUDA: record passes and replay them */
        double  memory_gib; /* host or device memory to plan with; 0: what is free, less a reserve */
    } device;
    struct {
        char   transport[16]; /* auto, nccl, mpi, tcp */
        double timeout_s, bucket_mib;
        int    wire;          /* 0: full, 1: bf16 */
        int    shard_moments; /* ZeRO-1 */
    } comm;
} ks_config;

/* All defaults, as a file with only `version: 1` would give (not yet checked by ks_config_check). */
KS_NODISCARD ks_status ks_config_defaults(ks_config *config);

/* Defaults, then the file (NULL: none), then the n_set overrides "a.b=value" in order, then ks_config_check.
 * KS_ERR_CONFIG; the message begins with file:line:column or with the override. */
KS_NODISCARD ks_status ks_config_load(const char *path, int n_set, const char *const *set, ks_config *config);
/* The same from text; name stands for the file in messages, folder (NULL: ".") for relative paths. */
KS_NODISCARD ks_status ks_config_parse(const char *text, const char *name, const char *folder, int n_set,
                                       const char *const *set, ks_config *config);
/* Rules between keys (e.g. d_model divisible by heads). */
KS_NODISCARD ks_status ks_config_check(const ks_config *config);

/* Every key with its value, as YAML that ks_config_parse reads back to the same struct. Caller frees with KS_FREE. */
KS_NODISCARD ks_status ks_config_dump(const ks_config *config, char **text);
/* reference.yaml: every key with default, range, unit and one line of explanation. */
KS_NODISCARD ks_status ks_config_reference(char **text);

/* What a key may do on resume. */
typedef enum ks_config_class { KS_CONFIG_FREE, KS_CONFIG_SOFT, KS_CONFIG_HARD } ks_config_class;
/* Differences between two configurations, one line "  key: old -> new" per key of the given class; text is empty when
 * there are none. Caller frees. */
KS_NODISCARD ks_status ks_config_diff(const ks_config *before, const ks_config *after, ks_config_class kind,
                                      char **text);

/* The method record for ks_tensors_create; functional names are resolved here. */
KS_NODISCARD ks_status ks_config_method(const ks_config *config, ks_method *method);

#ifdef __cplusplus
}
#endif
#endif
