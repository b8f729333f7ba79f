/* grid.h -- the molecular grid and everything evaluated on it.
 *
 * Grid: PySCF 2.14's, exactly (Treutler-Ahlrichs M4 with atom-specific xi, NWChem pruning, Becke partition with
 * Treutler's radii adjustment). The number of points depends on the system and the level only. On the CPU points are
 * ordered along a k-d tree inside and cut into blocks; each block has its list of AOs, fixed at ks_grid_build, so that
 * forward and adjoint passes see identical lists. On CUDA they keep PySCF's order and passes are dense over the AOs.
 * AO values are recomputed in each pass.
 *
 * Matrices (B, n_spin, n, n), symmetric; n_spin = 1 (closed shell: total density) for now. */
#ifndef KS_GRID_H
#define KS_GRID_H
#include "ksgrad/linalg.h"
#include "ksgrad/system.h"
#include "ksgrad/xc.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ks_grid ks_grid;

enum { KS_GRID_LEVEL_MAX = 3 };

/* Number of points of a system at a level (0..3). */
KS_NODISCARD ks_status ks_grid_n_points(const ks_system *sys, int level, int64_t *n);
KS_NODISCARD ks_status ks_grid_bytes(ks_ctx *ctx, const ks_system *sys, int level, int64_t *bytes_per_frame);
KS_NODISCARD ks_status ks_grid_create(ks_ctx *ctx, const ks_system *sys, int level, int64_t capacity, ks_grid **out);
void                   ks_grid_destroy(ks_grid **grid);
/* pos (B, n_atom, 3) -> points, weights, and on the CPU block order and AO lists of the slots (distinct). Atoms that
 * coincide or are not finite: KS_ERR_DATA on the CPU, NaN weights of that frame on CUDA. */
KS_NODISCARD ks_status ks_grid_build(ks_ctx *ctx, ks_grid *grid, int64_t n_frame, const int32_t *slot,
                                     const double *pos);
/* Points (n, 3) and weights (n) of one slot in PySCF's unsorted order (host memory), for tests and inspection. */
KS_NODISCARD ks_status ks_grid_export(ks_ctx *ctx, const ks_grid *grid, int32_t slot, double *xyz, double *weight);

/* rho pair (linear). Features of the slot's points in internal order: feat (B, n_feat4, n_grid) with n_feat4 = 1
 * (family LDA: rho) or 4 (GGA: rho, d rho/dx, /dy, /dz).  fwd overwrites; adj adds the symmetric matrix
 * P_bar += sum_g sum_f feat_bar[f][g] d feat[f][g] / dP (symmetrised). */
KS_NODISCARD ks_status ks_rho_fwd(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame,
                                  const int32_t *slot, const double *P, double *feat);
KS_NODISCARD ks_status ks_rho_adj(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame,
                                  const int32_t *slot, const double *feat_bar, double *P_bar);
/* Weights in internal order, (B, n_grid): what feat_bar is built with. */
KS_NODISCARD ks_status ks_grid_weights(ks_ctx *ctx, const ks_grid *grid, int64_t n_frame, const int32_t *slot,
                                       double *weight);

/* One fused pass over the grid: exc (B), n_elec (B) and Vxc (B, n, n), all overwritten; NULL: not wanted.
 * C_occ (B, n, occ->max) row-major, whose occupied columns give P = 2 C C^T, is a faster route to the density for
 * idempotent P; NULL: the dense P is used. P is needed only when C_occ is NULL. family NONE gives zeros. */
KS_NODISCARD ks_status ks_vxc_fwd(ks_ctx *ctx, const ks_grid *grid, const ks_xc *xc, int64_t n_frame,
                                  const int32_t *slot, const double *P, const double *C_occ, const ks_occ *occ,
                                  double *exc, double *n_elec, double *Vxc);
/* Hessian of Exc at P applied to M (both symmetric), which is also the adjoint of Vxc[P]:
 * KM (B, n, n) += Kxc[P](M). */
KS_NODISCARD ks_status ks_vxc_adj(ks_ctx *ctx, const ks_grid *grid, const ks_xc *xc, int64_t n_frame,
                                  const int32_t *slot, const double *P, const double *M, double *KM);

#ifdef __cplusplus
}
#endif
#endif
