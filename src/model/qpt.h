/* qpt.h -- inside of the "qpt" network, shared by qpt.c (parameters, layout) and qpt_step.c (forward, adjoint).
 * Private. */
#ifndef KS_QPT_H
#define KS_QPT_H
#include "ksgrad/frame.h"
#include "ksgrad/net.h"
#include "model/model_kind.h"

/* The attention biases. The Gram matrix comes first, as it is the one with a cotangent. */
enum { BIAS_GRAM, BIAS_HCORE, BIAS_LOEWDIN, BIAS_P0, BIAS_JK0, BIAS_VXC0, BIAS_F0, N_BIAS };

typedef struct qpt_block { /* parameter handles */
    int64_t ln1_gain, ln1_shift, qkv_w, qkv_b, mix, proj_w, proj_b, ln2_gain, ln2_shift, fc_w, fc_b, out_w, out_b;
} qpt_block;

/* A composition: the tables that ops read, in backend memory. Found again by comparing the tables themselves. */
typedef struct qpt_system {
    int64_t  n_ao, n_atom, n_shell, n_table;
    int32_t *host;  /* (n_table): kind, atom (n_ao each), Z (n_atom), shell l, shell ao (n_shell each) */
    int32_t *table; /* the same in backend memory */
    double  *ref;   /* (n_atom, 3) backend memory; valid for references of `version` */
    int64_t  version;
} qpt_system;

typedef struct qpt_layer {             /* activations of one block; N rows */
    void *x;                           /* (N, d) input */
    void *h1, *stat1, *qkv, *prob, *y; /* layer norm, attention */
    void *x2, *h2, *stat2, *fc, *g;    /* after attention; MLP before and after GELU */
} qpt_layer;

typedef struct qpt_act { /* activations of one segment */
    const ks_tensors *tensors;
    int64_t           system; /* index */
    int64_t           B, T, A;
    const int32_t    *slot; /* of the segment */
    double           *rot, *pos;
    void             *feature, *u, *gram, *top, *bias;
    qpt_layer        *layer; /* (layers) */
    void             *x_last, *h_last, *stat_last, *q, *k;
} qpt_act;

typedef struct qpt_work { /* scratch of a segment, forward or adjoint */
    double *m1, *m2;      /* (B, T, T) */
    void   *f;            /* (N, d) */
    void   *x_bar, *h_bar, *d_bar, *wide1, *wide2, *bias_bar, *u_bar;
} qpt_work;

typedef struct qpt_state {
    int64_t     position_w, position_b, table, ln_gain, ln_shift, q_w, q_b, k_w, k_b;
    qpt_block  *block; /* (layers) */
    void       *pairs; /* (heads, N_BIAS) fixed mixing matrix of bias = pairs, else NULL; backend memory */
    int64_t     n_system;
    qpt_system *system;
    int64_t     n_act, act_capacity; /* segments of the last forward; n_act = 0: nothing kept */
    qpt_act    *act;
    qpt_layer  *layer; /* (act_capacity, layers) */
    void       *memory;
    size_t      memory_bytes;
} qpt_state;

/* Pointers of one segment's activations and scratch from *base on; base NULL: only counts. *bytes grows. */
ks_status qpt_bind_act(const ks_model *model, int want_adj, char *base, size_t *bytes, qpt_act *act);
ks_status qpt_bind_work(const ks_model *model, int want_adj, const qpt_act *act, char *base, size_t *bytes,
                        qpt_work *work);
/* Index of the tables of a system; made at its first appearance. */
ks_status qpt_find_system(ks_model *model, const ks_system *sys, int64_t *index);

ks_status qpt_fwd(ks_model *model, const ks_batch *batch, int want_adj, double *W);
ks_status qpt_adj(ks_model *model, const ks_batch *batch, const double *W_bar);
#endif
