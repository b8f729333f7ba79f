/* scf_impl.h -- what the files of src/scf share. Private. */
#ifndef KS_SCF_IMPL_H
#define KS_SCF_IMPL_H
#include <string.h>
#include "ksgrad/batch.h"
#include "ksgrad/linalg.h"
#include "ksgrad/refine.h"

/* The frames of a segment, or some of them. */
typedef struct ks_seg {
    const ks_tensors *ts;
    int64_t           n_frame, n, n_mat; /* n_mat = n_frame * n_spin */
    const int32_t    *slot;              /* (n_frame) */
} ks_seg;

static inline ks_seg ks_seg_make(const ks_tensors *ts, int64_t n_frame, const int32_t *slot) {
    return (ks_seg){ts, n_frame, ts->sys->n_ao, n_frame * ts->method.n_spin, slot};
}
static inline ks_seg ks_seg_of(const ks_batch *batch, int64_t s) {
    return ks_seg_make(batch->segment[s].tensors, batch->segment[s].n_frame, batch->segment[s].slot);
}
/* A spin-free (n, n) pool member of the frames, shared by their spins. */
static inline ks_mats ks_seg_pool(const ks_seg *sg, const double *member) {
    return ks_mats_pool(member, sg->n, sg->slot, sg->ts->method.n_spin);
}
/* Per-frame vectors of `len` doubles: from a pool by slot, or contiguous. */
static inline ks_mats ks_vec_pool(const ks_seg *sg, const double *member, int64_t len) {
    return (ks_mats){member, len, len, sg->slot, 1, 0};
}
static inline ks_mats ks_vec_dense(const double *x, int64_t len) { return (ks_mats){x, len, len, NULL, 1, 0}; }

/* Back on the main branch after a loop over segments that called ks_branch, whatever its outcome. */
static inline ks_status ks_joined(ks_ctx *ctx, ks_status st) {
    const ks_status joined = ks_join(ctx);
    return st != KS_OK ? st : joined;
}

/* Occupations of the frames. */
static inline ks_occ ks_seg_occ(const ks_seg *sg) {
    return (ks_occ){sg->ts->n_occ, sg->slot, sg->ts->method.n_spin, sg->ts->n_occ_max};
}

/* One Fock build. P, C as in ks_fock_fwd; JK = J - (a/2) K, Vxc, F (n_mat, n, n); E, n_elec (n_frame). JK and Vxc are
 * required, F, E, n_elec may be NULL; F may be the same array as JK or Vxc. */
KS_NODISCARD ks_status ks_fock_parts(ks_ctx *ctx, const ks_seg *sg, const double *P, const double *C, double *JK,
                                     double *Vxc, double *F, double *E, double *n_elec);

/* F C = S C e by Loewdin orthogonalisation, and P. P NULL: not wanted. */
KS_NODISCARD ks_status ks_density_frames(ks_ctx *ctx, const ks_seg *sg, const double *F, double *C, double *eps,
                                         double *P);

/* ---- residual.c: what a density that is not yet self-consistent is measured by. Flat batch matrices; forwards
 * overwrite, adjoints add symmetric cotangents, NULL cotangents out are not wanted. ---- */

/* out = M A M with M = S^1/2 (use_x 0) or X = S^-1/2 (use_x 1): to and from the Loewdin basis; linear, its own
 * adjoint. */
KS_NODISCARD ks_status ks_basis_change(ks_ctx *ctx, const ks_batch *batch, int use_x, const double *A, int add,
                                       double *out);
/* c = X (F P S - S P F) X, antisymmetric. */
KS_NODISCARD ks_status ks_commutator_frames(ks_ctx *ctx, const ks_seg *sg, const double *F, const double *P, double *c);
KS_NODISCARD ks_status ks_commutator_fwd(ks_ctx *ctx, const ks_batch *batch, const double *F, const double *P,
                                         double *c);
KS_NODISCARD ks_status ks_commutator_adj(ks_ctx *ctx, const ks_batch *batch, const double *F, const double *P,
                                         const double *c_bar, double *F_bar, double *P_bar);

/* Linear combination of batch matrices; coef (n_frame * coef_stride) backend memory, NULL: alpha alone. */
typedef struct ks_mat_term {
    const double *x;
    double        alpha;
    const double *coef;
    int64_t       coef_stride;
} ks_mat_term;
KS_NODISCARD ks_status ks_batch_combine(ks_ctx *ctx, const ks_batch *batch, int n_term, const ks_mat_term *term,
                                        int add, double *out);
/* out[f * out_stride] = alpha <a_f, b_f>, added when add is 1. */
KS_NODISCARD ks_status ks_batch_dot(ks_ctx *ctx, const ks_batch *batch, double alpha, const double *a, const double *b,
                                    int add, double *out, int64_t out_stride);

/* gap[frame] = LUMO - HOMO of one set of orbital energies, with min 1 the smaller of that and gap[frame]; see ks_gap. */
KS_NODISCARD ks_status ks_batch_gap(ks_ctx *ctx, const ks_batch *batch, const double *eps, int min, double *gap);

/* 1 when the H that a scheme reports is H0 itself, so that its P and F are P(H) and F[P(H)]. */
int ks_refine_reports_input(const ks_refine *refine);

/* P0 of a chunk from its S and S12, or from its Hcore, by the method's guess. */
KS_NODISCARD ks_status ks_guess_minao(ks_ctx *ctx, const ks_tensors *ts, int64_t n_frame, const double *S,
                                      const double *S12, double *P0);

#endif
