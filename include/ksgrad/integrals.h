/* integrals.h -- Gaussian integrals over contracted spherical AOs, and J/K builds.
 *
 * All arrays in backend memory of ctx, row-major, PySCF AO order, hartree and bohr. `slot` maps the B frames
 * of a call to places of a pool (see batch.h); NULL means 0..B-1. B == 0 is allowed. */
#ifndef KS_INTEGRALS_H
#define KS_INTEGRALS_H
#include "ksgrad/system.h"

#ifdef __cplusplus
extern "C" {
#endif

/* S, T, V (B, n, n): overlap, kinetic energy, nuclear attraction (negative); dip (B, 3, n, n) about the origin.
 * pos (B, n_atom, 3). Outputs are overwritten; NULL: not wanted. */
KS_NODISCARD ks_status ks_int1e(ks_ctx *ctx, const ks_system *sys, int64_t n_frame, const double *pos, double *S,
                                double *T, double *V, double *dip);

/* S12 (B, n, n_guess): overlap of the AO basis with the minao functions. */
KS_NODISCARD ks_status ks_int1e_guess(ks_ctx *ctx, const ks_system *sys, int64_t n_frame, const double *pos,
                                      double *S12);

/* Two-electron integrals (ij|kl) of up to `capacity` frames. Opaque: stored now, direct later, behind the same ops. */
typedef struct ks_eri  ks_eri;
KS_NODISCARD ks_status ks_eri_create(ks_ctx *ctx, const ks_system *sys, int64_t capacity, ks_eri **out);
void                   ks_eri_destroy(ks_eri **eri);
KS_NODISCARD ks_status ks_eri_bytes(ks_ctx *ctx, const ks_system *sys,
                                    int64_t *bytes_per_frame); /* same layout code as create */
KS_NODISCARD ks_status ks_eri_build(ks_ctx *ctx, ks_eri *eri, int64_t n_frame, const int32_t *slot, const double *pos);
/* One stored integral (tests, inspection): chemists' (ij|kl). */
KS_NODISCARD ks_status ks_eri_value(const ks_eri *eri, int32_t slot, int64_t i, int64_t j, int64_t k, int64_t l,
                                    double *value);

/* J_ij = sum_kl (ij|kl) D_kl, K_ij = sum_kl (ik|jl) D_kl for symmetric D.
 * D, J, K: (B, n_dm, n, n); J or K NULL: not wanted. Overwrites. Linear and symmetric, so it is its own adjoint. */
KS_NODISCARD ks_status ks_jk(ks_ctx *ctx, const ks_eri *eri, int64_t n_frame, const int32_t *slot, int64_t n_dm,
                             const double *D, double *J, double *K);
/* The adjoint in op-pair form: D_bar += J^T[J_bar] + K^T[K_bar]. J_bar or K_bar NULL: zero. */
KS_NODISCARD ks_status ks_jk_adj(ks_ctx *ctx, const ks_eri *eri, int64_t n_frame, const int32_t *slot, int64_t n_dm,
                                 const double *J_bar, const double *K_bar, double *D_bar);

#ifdef __cplusplus
}
#endif
#endif
