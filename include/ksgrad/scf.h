/* scf.h -- converged SCF, batched over frames, with commutator DIIS (Pulay 1982, DOI 10.1002/jcc.540030413). */
#ifndef KS_SCF_H
#define KS_SCF_H
#include "ksgrad/batch.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ks_scf_options {
    double conv_energy; /* |E - E_previous| in Ha; default 1e-9 */
    double conv_grad;   /* root-mean-square of the orbital gradient X^T(FPS-SPF)X; default 1e-5 */
    int    max_cycle;   /* default 50 */
    int    diis_space;  /* default 8 */
} ks_scf_options;
ks_scf_options ks_scf_defaults(void);

typedef struct ks_scf_frame {
    int    converged; /* a frame that does not converge is data, not an error */
    int    cycles;
    double energy, gap, homo, lumo;
    double grad_rms; /* last orbital gradient */
    double n_elec_grid;
    double dipole[3]; /* atomic units, about the origin */
} ks_scf_frame;

/* Starts from guess_F (a batch matrix; first density P(guess_F)) or, when NULL, from guess_P, or, when that is NULL
 * too, from the pool's P0 and F0. Outputs, all flat batch layouts and overwritten, NULL: not wanted: P, the density
 * of the energy; F, the DIIS extrapolation over the last builds, F[P] included (nearer the limit than F[P] alone); C
 * (columns) and eps of that F; frames (n_frame, host). */
KS_NODISCARD ks_status ks_scf_run(ks_ctx *ctx, const ks_batch *batch, const ks_scf_options *opt, const double *guess_F,
                                  const double *guess_P, double *F, double *P, double *C, double *eps,
                                  ks_scf_frame *frames);

#ifdef __cplusplus
}
#endif
#endif
