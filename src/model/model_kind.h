/* model_kind.h -- what a network provides: one table of functions per kind. Private.
 *
 * A new network is one more file src/model/<kind>.c with its table, and one more line in k_kinds of model.c. */
#ifndef KS_MODEL_KIND_H
#define KS_MODEL_KIND_H
#include "ksgrad/model.h"

typedef struct ks_model_kind {
    const char *name;
    /* Checks the options, registers the parameters in model->params, makes model->state. */
    ks_status (*create)(ks_model *model);
    void (*destroy)(ks_model *model);
    ks_status (*fwd)(ks_model *model, const ks_batch *batch, int want_adj, double *W);
    ks_status (*adj)(ks_model *model, const ks_batch *batch, const double *W_bar);
    ks_status (*bytes)(const ks_model *model, const ks_system *sys, int64_t *bytes_per_frame);
} ks_model_kind;

typedef struct ks_model_reference {
    int64_t  n_atom;
    int32_t *Z;   /* (n_atom) */
    double  *pos; /* (n_atom, 3) */
} ks_model_reference;

struct ks_model {
    ks_ctx              *ctx; /* borrowed */
    const ks_model_kind *kind;
    ks_model_options     opt;
    ks_params           *params; /* owned */
    void                *state;  /* of the kind */
    int64_t              n_reference;
    ks_model_reference  *reference; /* (n_reference), owned */
    int64_t              version;   /* counts changes of the references */
};

/* Index of the reference of a composition, -1 when there is none. */
int64_t ks_model_find_reference(const ks_model *model, int64_t n_atom, const int32_t *Z);

extern const ks_model_kind ks_model_kind_qpt;
#endif
