/* refine.h -- from a predicted H to an energy: Fock builds, refinement schemes, their adjoint.
 *
 * F[P] = Hcore + J[P] - (a/2) K[P] + Vxc[P];  E[P] = E_nuc + tr(P Hcore) + 1/2 tr(P (J - (a/2) K)) + Exc.
 * P(F): F C = S C e, P = 2 C_occ C_occ^T (aufbau, idempotent).  Schemes: src/README.md section 3. */
#ifndef KS_REFINE_H
#define KS_REFINE_H
#include "ksgrad/batch.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the Fock build as an op pair; flat batch matrices ---- */
/* C_occ: batch matrix-shaped (B, n_spin, n, n) eigenvectors as columns, of which the first n_occ give P; NULL: dense P.
 * E (n_frame) NULL: not wanted. */
KS_NODISCARD ks_status ks_fock_fwd(ks_ctx *ctx, const ks_batch *batch, const double *P, const double *C, double *F,
                                   double *E);
/* P_bar += J[F_bar] - (a/2) K[F_bar] + Kxc[P](F_bar)   (F_bar symmetrised inside) */
KS_NODISCARD ks_status ks_fock_adj(ks_ctx *ctx, const ks_batch *batch, const double *P, const double *F_bar,
                                   double *P_bar);

/* ---- density from Fock; saved: C (columns), eps (per-orbital vector) ---- */
KS_NODISCARD ks_status ks_density_fwd(ks_ctx *ctx, const ks_batch *batch, const double *F, double *C, double *eps,
                                      double *P);
/* F_bar += C Y C^T, Y_ia = 2 G_ia/(e_i - e_a), G = C^T P_bar C. Frames with mask[frame] == 0 get nothing; mask may be
 * NULL. */
KS_NODISCARD ks_status ks_density_adj(ks_ctx *ctx, const ks_batch *batch, const double *C, const double *eps,
                                      const double *P_bar, const double *mask, double *F_bar);

typedef enum ks_refine_kind {
    KS_REFINE_NONE,
    KS_REFINE_QPT,
    KS_REFINE_QPTX,
    KS_REFINE_CDIIS,
    KS_REFINE_ANDERSON,
    KS_REFINE_DAMPED
} ks_refine_kind;

enum { KS_BUILD_MAX = 16 }; /* largest n_build */
#define KS_GAP_MIN 1e-4     /* Ha: frames with a smaller HOMO-LUMO gap are masked */

typedef struct ks_refine_options {
    ks_refine_kind kind;
    int n_build; /* Fock builds; 0: the default: 1 for none (its only value), 3 qpt/qptx/damped, 4 cdiis/anderson */
} ks_refine_options;

KS_NODISCARD ks_status ks_refine_kind_parse(const char *name, ks_refine_kind *out);
const char            *ks_refine_kind_name(ks_refine_kind kind);

int ks_refine_default_builds(ks_refine_kind kind);

/* Unrolled refinement with everything the adjoint needs. Sized for a largest batch; reused every step. */
typedef struct ks_refine ks_refine;
KS_NODISCARD ks_status   ks_refine_create(ks_ctx *ctx, const ks_refine_options *opt, ks_refine **out);
void                     ks_refine_destroy(ks_refine **refine);

/* Bytes of backend memory per frame of a system that a ks_refine holds, with and without an adjoint. */
KS_NODISCARD ks_status ks_refine_bytes(const ks_refine_options *opt, const ks_system *sys, int n_spin, int want_adj,
                                       int64_t *bytes_per_frame);

/* Views into the ks_refine, valid until its next fwd. Flat batch layouts, backend memory unless said. */
typedef struct ks_refine_result {
    const double *H;       /* the H that the scheme reports */
    const double *P;       /* last density (idempotent): the energy's */
    const double *F;       /* F[P], the last build */
    const double *C, *eps; /* of the Fock-like matrix whose P(.) the last density is */
    const double *E;       /* (n_frame) */
    const double *gap;     /* (n_frame) smallest HOMO-LUMO gap met, Ha */
    const double *mask;    /* (n_frame) 0 where the gap fell below 1e-4 Ha or a value is not finite, else 1 */
} ks_refine_result;

/* H0 = F0 + W. want_adj = 0 skips saving. */
KS_NODISCARD ks_status ks_refine_fwd(ks_ctx *ctx, ks_refine *refine, const ks_batch *batch, const double *H0,
                                     int want_adj, ks_refine_result *out);
/* H0_bar += adjoint of (E, H, P, F) at the saved point. Any cotangent may be NULL. E_bar (n_frame) backend memory.
 * With only E_bar, no second derivatives are taken at the last build (dE/dP = F). Masked frames contribute nothing. */
KS_NODISCARD ks_status ks_refine_adj(ks_ctx *ctx, ks_refine *refine, const ks_batch *batch, const double *E_bar,
                                     const double *H_bar, const double *P_bar, const double *F_bar, double *H0_bar);

#ifdef __cplusplus
}
#endif
#endif
