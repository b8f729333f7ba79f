/* refine_impl.h -- a refinement scheme as a list of nodes. Private.
 *
 * A node is one op with a hand-written adjoint; a scheme (refine_scheme.c) is the list of its nodes in order of
 * evaluation. The forward sweep (refine.c) runs the list, the adjoint sweep (refine_adj.c) runs it backwards. */
#ifndef KS_REFINE_IMPL_H
#define KS_REFINE_IMPL_H
#include "scf/scf_impl.h"

/* Tikhonov term of the mixing weights, relative to the largest squared residual (src/README.md section 3). */
#define KS_MIX_RIDGE 1e-10

typedef enum ks_node_kind {
    KS_NODE_DENSITY, /* out = P(in[0]); saves C and eps */
    KS_NODE_FOCK,    /* out = F[in[0]]; density >= 0: the density node that made in[0], whose C is used */
    KS_NODE_RESID,   /* out = S^1/2 (in[0] - in[1]) S^1/2 */
    KS_NODE_COMM,    /* out = X (in[0] in[1] S - S in[1] in[0]) X */
    KS_NODE_MIX,     /* weights of the residuals in[0..n_in-1]; row n_in-1 of the Gram matrix is made here */
    KS_NODE_COMBINE  /* out = sum alpha[i] in[i], each times weight weight[i] of node mix when mix >= 0 */
} ks_node_kind;

enum { KS_NODE_IN_MAX = 2 * KS_BUILD_MAX };

typedef struct ks_node {
    ks_node_kind kind;
    int          out, n_in, in[KS_NODE_IN_MAX];
    int          density, mix;
    int          save; /* density: place of C and eps; mix: place of the weights */
    int          weight[KS_NODE_IN_MAX];
    double       alpha[KS_NODE_IN_MAX];
} ks_node;

enum { KS_NODE_MAX = 6 * KS_BUILD_MAX + 4, KS_VAR_MAX = 5 * KS_BUILD_MAX + 4 };

/* Variables are batch matrices; variable 0 is H0. */
typedef struct ks_scheme {
    ks_node node[KS_NODE_MAX];
    int     n_node, n_var, n_density, n_mix;
    int     n_build;
    int     var_H, var_P, var_F; /* what is reported; the energy is that of the Fock node that makes var_F */
    int     last_density;        /* place of C and eps of var_P */
} ks_scheme;

KS_NODISCARD ks_status ks_scheme_make(const ks_refine_options *opt, ks_scheme *out);

struct ks_refine {
    ks_ctx           *ctx;
    ks_refine_options opt;
    ks_scheme         scheme;
    /* capacities of the buffers below; they grow to the largest batch met and stay */
    int64_t mat_cap, vec_cap, frame_cap, bar_cap;
    double *mat;   /* (n_var + n_density, mat_cap): values of the variables, then C of the density nodes */
    double *eps;   /* (n_density, vec_cap) */
    double *bar;   /* (n_var, bar_cap): cotangents, made at the first adjoint */
    double *frame; /* per-frame arrays: E, mask, E_bar, gap, Gram matrix and its cotangent, weights and theirs */
    const ks_batch *batch; /* of the last forward; borrowed, identity only */
    int64_t         mat_size, vec_size, n_frame;
    int             saved;                                   /* an adjoint may follow */
    int             live[KS_VAR_MAX], mix_live[KS_NODE_MAX]; /* cotangents that are not zero */
};

/* Layout of refine->frame, in doubles per frame. */
static inline int64_t ks_refine_frame_doubles(const ks_scheme *s) {
    return 4 + 2 * (int64_t)s->n_build * s->n_build + 2 * (int64_t)s->n_mix * s->n_build;
}
static inline double *ks_refine_E(const struct ks_refine *r) { return r->frame; }
static inline double *ks_refine_mask(const struct ks_refine *r) { return r->frame + r->frame_cap; }
static inline double *ks_refine_E_bar(const struct ks_refine *r) { return r->frame + 2 * r->frame_cap; }
static inline double *ks_refine_gap(const struct ks_refine *r) { return r->frame + 3 * r->frame_cap; }
static inline double *ks_refine_gram(const struct ks_refine *r, int bar) {
    return r->frame + (4 + bar * (int64_t)r->scheme.n_build * r->scheme.n_build) * r->frame_cap;
}
static inline double *ks_refine_weight(const struct ks_refine *r, int place, int bar) {
    const int64_t k = r->scheme.n_build;
    return r->frame + (4 + 2 * k * k + (2 * place + bar) * k) * r->frame_cap;
}
static inline double *ks_refine_val(const struct ks_refine *r, int var) { return r->mat + var * r->mat_cap; }
static inline double *ks_refine_C(const struct ks_refine *r, int place) {
    return r->mat + (r->scheme.n_var + place) * r->mat_cap;
}
static inline double *ks_refine_eps(const struct ks_refine *r, int place) { return r->eps + place * r->vec_cap; }

#endif
