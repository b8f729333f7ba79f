/* model.h -- networks: geometry tensors of a batch -> symmetric W per frame, H0 = F0 + W.
 *
 * A model is a table of functions and an opaque state; nothing outside src/model/<kind>.c knows its tensors.
 * The first kind is "qpt", the transformer of arXiv 2402.04030 with this project's options. */
#ifndef KS_MODEL_H
#define KS_MODEL_H
#include "ksgrad/batch.h"
#include "ksgrad/params.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ks_output { KS_OUTPUT_LOWDIN, KS_OUTPUT_AO } ks_output; /* W = S^1/2 W' S^1/2, or W' itself */
typedef enum ks_head { KS_HEAD_BILINEAR, KS_HEAD_QPT } ks_head;
typedef enum ks_frame_kind { KS_FRAME_NONE, KS_FRAME_KABSCH, KS_FRAME_BOND, KS_FRAME_INERTIA } ks_frame_kind;
typedef enum ks_bias_mix {
    KS_BIAS_LEARNED,
    KS_BIAS_PAIRS
} ks_bias_mix; /* learned (heads x 7) matrix, or two heads per matrix as published */

typedef struct ks_model_options {
    char          kind[16]; /* "qpt" */
    int64_t       d_model, heads, layers;
    ks_output     output;
    ks_head       head;
    ks_frame_kind frame;
    ks_bias_mix   bias;
    ks_precision  precision;
    int64_t       n_ao_kind; /* vocabulary */
    /* kabsch: reference geometry per composition is the first frame seen in training; it is part of the model:
     * (n_ref) systems, stored by ks_model_set_reference and written into the checkpoint. */
    int32_t bond_atoms
        [3]; /* bond: origin atom, x-axis atom, xy-plane atom; all 0: chosen from the first three non-collinear atoms */
} ks_model_options;

/* "tiny" 192/6/12, "small" 384/6/12, "base" 768/12/12, "medium" 1024/16/24, "large" 1280/16/36. */
KS_NODISCARD ks_status ks_model_size(const char *size, ks_model_options *opt);

typedef struct ks_model ks_model;
KS_NODISCARD ks_status  ks_model_create(ks_ctx *ctx, const ks_model_options *opt, uint64_t seed, ks_model **out);
void                    ks_model_destroy(ks_model **model);
ks_params              *ks_model_params(ks_model *model);
const ks_model_options *ks_model_get_options(const ks_model *model);

/* Reference geometries for frame = kabsch, by composition; a system without one is KS_ERR_ARG at fwd. */
KS_NODISCARD ks_status ks_model_set_reference(ks_model *model, int64_t n_atom, const int32_t *Z,
                                              const double *pos_host);
int64_t                ks_model_n_reference(const ks_model *model);
KS_NODISCARD ks_status ks_model_get_reference(const ks_model *model, int64_t k, int64_t *n_atom, const int32_t **Z,
                                              const double **pos_host);

/* W (batch matrix, lab frame, symmetric to rounding), overwritten. want_adj keeps the activations for one following ks_model_adj. */
KS_NODISCARD ks_status ks_model_fwd(ks_ctx *ctx, ks_model *model, const ks_batch *batch, int want_adj, double *W);
/* Parameter gradients += d<W_bar, W>/d parameters. */
KS_NODISCARD ks_status ks_model_adj(ks_ctx *ctx, ks_model *model, const ks_batch *batch, const double *W_bar);
/* Bytes of activations per frame of a system, for the memory plan. */
KS_NODISCARD ks_status ks_model_bytes(const ks_model *model, const ks_system *sys, int64_t *bytes_per_frame);

#ifdef __cplusplus
}
#endif
#endif
