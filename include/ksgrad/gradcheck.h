/* gradcheck.h -- the adjoints of a training step against finite differences, on any batch, stage by stage, in fp64.
 *
 * A stage is a scalar L(x). For each random direction d the adjoint's <dL/dx, d> is compared with central differences
 * extrapolated by Ridders' method from steps 0.1, 0.05, ..., 0.0004, which picks its order and step from the table's
 * own consistency, without looking at the adjoint. The error is relative to the larger of both values and of
 * 0.1 |dL/dx| |d| / sqrt(n), a tenth of what a random direction gives on average, so that a direction nearly at right
 * angles to the gradient does not amplify rounding. */
#ifndef KS_GRADCHECK_H
#define KS_GRADCHECK_H
#include "ksgrad/loss.h"
#include "ksgrad/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ks_gradcheck_options {
    int      n_direction;
    uint64_t seed;
    double   planted; /* the adjoint's value is multiplied by 1 + planted: shows that the check can fail */
} ks_gradcheck_options;

typedef struct ks_gradcheck_stage {
    const char *name, *what; /* "fock", "<F_bar, F[P]>" */
    int         n_direction;
    double      max_error;           /* relative, over the directions */
    double      adjoint, difference; /* of the worst direction */
    double      seconds;
} ks_gradcheck_stage;

typedef void (*ks_gradcheck_report)(void *user, const ks_gradcheck_stage *stage);

/* Stages energy (dE/dP = F), fock, density, refine (E only, then all results), loss, network and whole. model: fp64
 * parameters, or NULL (no network and whole stages); its zero-initialised parameters are filled with random numbers of
 * standard deviation 0.02 first, since a zero head has no gradient behind it. Reference matrices for the hamiltonian
 * and density losses are arbitrary here, so they are made up. report is called after each stage. A frame whose gap is
 * too small to differentiate, or a non-finite value, is KS_ERR_NUMERIC. */
KS_NODISCARD ks_status ks_gradcheck_run(ks_ctx *ctx, const ks_batch *batch, const ks_refine_options *refine,
                                        const ks_loss_weights *loss, ks_model *model, const ks_gradcheck_options *opt,
                                        ks_gradcheck_report report, void *user, double *max_error);

#ifdef __cplusplus
}
#endif
#endif
