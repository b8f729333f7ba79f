/* frame.h -- the geometry side of a network: canonical frames, rotation of AO matrices, position features, constant
 * attention biases, and the Loewdin output. All fp64 unless `precision` says otherwise.
 *
 * A frame is a proper rotation R (lab -> frame) and an origin c: r' = R (r - c). An AO coefficient vector becomes
 * D c, with D block-diagonal over the shells: 1 for s, R for p (x, y, z), for d the 5 x 5 matrix
 *   D_ji = tr(Q_j R Q_i R^T),  Y_i(r) = r^T Q_i r,  tr(Q_i Q_j) = delta_ij,  order xy, yz, z2, xz, x2-y2,
 * and a matrix M becomes D M D^T. D is orthogonal.
 * `slot`: frames are taken from a pool; array[slot[b]] belongs to frame b. NULL: array[b]. int32, backend memory. */
#ifndef KS_FRAME_H
#define KS_FRAME_H
#include "ksgrad/model.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { KS_POS_FREQ = 20, KS_POS_FEATURES = 3 + 6 * KS_POS_FREQ };

/* rot (n_frame, 3, 3) and pos_out (n_frame, n_atom, 3) of pos (pool, n_atom, 3), by the nuclear charges Z (n_atom):
 *   none     R = 1, origin at the centre of nuclear charge
 *   kabsch   R minimises sum_a Z_a |R (r_a - c) - (ref_a - c_ref)|^2 (proper rotations only), ref (n_atom, 3)
 *   bond     origin at atom bond[0], x axis towards bond[1], bond[2] in the xy plane with y > 0; bond all 0: the first
 * atom, the second, and the first later one that is off their line by more than 0.1 rad inertia  axes of sum_a Z_a (r_a
 * - c)(r_a - c)^T by falling eigenvalue; x and y point to where the third moment sum_a Z_a u_a^3 is positive (or, where
 * that vanishes by symmetry, to the first atom off the plane); z = x cross y Linear molecules have no unique frame:
 * their axis goes to the reference's (kabsch) or to x by the shortest rotation. Not differentiated: geometries are
 * data. Z, ref in backend memory, bond in host memory. */
KS_NODISCARD ks_status ks_frame_fwd(ks_ctx *ctx, ks_frame_kind kind, int64_t n_frame, int64_t n_atom, const int32_t *Z,
                                    const double *ref, const int32_t bond[3], const double *pos, const int32_t *slot,
                                    double *rot, double *pos_out);

/* feature (n_frame, n_atom, 123) = [x, cos(2 pi f x / 20), sin(2 pi f x / 20)] for f = 0..19: 3 coordinates, then
 * (f, coordinate) for cos, then for sin. pos (n_frame, n_atom, 3) in bohr. Not differentiated. */
KS_NODISCARD ks_status ks_position_fwd(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_atom,
                                       const double *pos, void *feature);

typedef struct ks_ao_blocks { /* shells of the AO basis, for D; arrays in backend memory, l <= 2 */
    int64_t        n_ao, n_shell;
    const int32_t *l, *ao; /* (n_shell) angular momentum, first AO */
} ks_ao_blocks;

/* out[b] = D M[slot[b]] D^T, or D^T M D when inverse. M (pool, n_ao, n_ao), out (n_frame, n_ao, n_ao). */
KS_NODISCARD ks_status ks_rotate_fwd(ks_ctx *ctx, int64_t n_frame, const ks_ao_blocks *blocks, int inverse,
                                     const double *rot, const double *M, const int32_t *slot, double *out);
/* M_bar[b] += D^T out_bar[b] D (or D out_bar D^T when inverse). No slots: M_bar (n_frame, n_ao, n_ao). */
KS_NODISCARD ks_status ks_rotate_adj(ks_ctx *ctx, int64_t n_frame, const ks_ao_blocks *blocks, int inverse,
                                     const double *rot, const double *out_bar, double *M_bar);

/* out[b] = A[slot[b]] M[b] A[slot[b]], A symmetric (S^1/2). (n_frame, n, n). */
KS_NODISCARD ks_status ks_congruence_fwd(ks_ctx *ctx, int64_t n_frame, int64_t n, const double *A, const int32_t *slot,
                                         const double *M, double *out);
/* M_bar += A out_bar A. */
KS_NODISCARD ks_status ks_congruence_adj(ks_ctx *ctx, int64_t n_frame, int64_t n, const double *A, const int32_t *slot,
                                         const double *out_bar, double *M_bar);

/* H[b] = L^-1 H[b] L^-T in place, S[b] = L L^T, H and S symmetric; S is destroyed. Not positive definite:
 * KS_ERR_NUMERIC. Not differentiated. */
KS_NODISCARD ks_status ks_cholesky_transform_fwd(ks_ctx *ctx, int64_t n_frame, int64_t n, double *S, double *H);

/* bias[b] = M[b] / max |M[b]| (a zero matrix stays zero), converted to `precision`. (n_frame, n, n). Not
 * differentiated. */
KS_NODISCARD ks_status ks_bias_fwd(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n, const double *M,
                                   void *bias);

#ifdef __cplusplus
}
#endif
#endif
