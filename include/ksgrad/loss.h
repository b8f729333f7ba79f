/* loss.h -- training losses on a refinement result, with cotangents. Means over the frames that count.
 *
 * energy            mean E                                    (Ha; bounded below by the converged energy)
 * commutator        mean ||X^T (F P S - S P F) X||_F^2
 * self_consistency  mean ||X^T (F[P(H)] - H) X||_F^2, H the reported one
 * hamiltonian       mean over elements of (H - H_ref)^2, H the reported one (needs labels)
 * density           mean ||X^-1 (P - P_ref) X^-T||_F^2 (needs labels) */
#ifndef KS_LOSS_H
#define KS_LOSS_H
#include "ksgrad/refine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ks_loss_weights {
    double energy, commutator, self_consistency, hamiltonian, density;
} ks_loss_weights;

/* Sums over counted frames of the unweighted terms, their number, and the smallest gap of all frames: KS_TERM_N
 * doubles in backend memory, to be fetched when they are wanted. */
enum {
    KS_TERM_ENERGY,
    KS_TERM_COMMUTATOR,
    KS_TERM_SELF_CONSISTENCY,
    KS_TERM_HAMILTONIAN,
    KS_TERM_DENSITY,
    KS_TERM_COUNTED,
    KS_TERM_MIN_GAP,
    KS_TERM_N
};
/* Before the first batch of a sum: zeros, and an infinite gap. */
KS_NODISCARD ks_status ks_loss_terms_reset(ks_ctx *ctx, double *terms);
/* The weighted sum of the terms (host copies of them). */
double ks_loss_value(const ks_loss_weights *weights, const double *terms);

typedef struct ks_loss ks_loss; /* workspace */
KS_NODISCARD ks_status ks_loss_create(ks_ctx *ctx, const ks_loss_weights *weights, ks_loss **out);
void                   ks_loss_destroy(ks_loss **loss);

/* Bytes of backend memory per frame of a system that a ks_loss holds. */
int64_t ks_loss_bytes(const ks_system *sys, int n_spin);

/* Refinement + loss and, when H0_bar is not NULL, H0_bar += scale * d(sum over frames of the weighted loss)/dH0.
 * scale: 1 / (number of frames of the global batch that count), so that accumulation and ranks give the mean.
 * H_ref, P_ref: batch matrices or NULL; a term with weight > 0 whose labels are NULL is KS_ERR_ARG. terms are added
 * to. Nothing waits and nothing goes to the host. */
KS_NODISCARD ks_status ks_loss_step(ks_ctx *ctx, ks_loss *loss, ks_refine *refine, const ks_batch *batch,
                                    const double *H0, const double *H_ref, const double *P_ref, double scale,
                                    double *H0_bar, double *terms);

#ifdef __cplusplus
}
#endif
#endif
