/* grid_cuda.cuh -- the device side of a ks_grid; AO values of one shell at one point; the two passes over the grid that
 * the ops of rho.cu and xc.cu are made of. Private. */
#ifndef KS_GRID_CUDA_CUH
#define KS_GRID_CUDA_CUH
#include "../common.cuh"
#include "ksgrad/linalg.h"
#include "ksgrad/system.h"
#include "ops/grid_impl.h"
#include "pointwise/ao_point.h"

/* ks_grid.impl: tables of the system, made by the first grid_build, and the geometries. Device memory.
 * AOs are cut into tiles of whole shells; matrices of partial sums have padded rows: each tile begins at a multiple of
 * 8, the edge of a tensor-core product. Inside a tile the expensive shells come first. */
typedef struct ks_grid_cuda {
    int32_t   n_atom, n_shell, n_ao, n_tile, n_row; /* n_row: padded */
    int32_t   tile_rows;                            /* at most so many AOs in a tile: KS_TILE_SMALL or KS_TILE_LARGE */
    ks_shell *shell;                                /* (n_shell) by tile, then by cost */
    double   *exponent, *coef;
    int32_t  *tile_shell;             /* (n_tile + 1) first shell of each tile, in the order of shell */
    int32_t  *tile_ao, *tile_row;     /* (n_tile + 1) first AO and first padded row of each tile */
    int32_t  *ao_row;                 /* (n_ao) padded row of each AO */
    int32_t  *point_atom, *point_at;  /* (n_point) owner, and place in the atomic grids below */
    double   *atom_xyz, *atom_weight; /* (all kinds, 3), (all kinds): points around the origin */
    double   *adjust;                 /* (n_atom, n_atom) */
    double   *pos;                    /* (capacity, n_atom, 3) */
} ks_grid_cuda;
enum { KS_TILE_SMALL = 72, KS_TILE_LARGE = 144 };

/* Workspace of one group of frames stays below this; a call with more frames works in groups. */
#define KS_GRID_WORK_BYTES ((int64_t)256 << 20)

/* An exponential below exp(-KS_EXP_CUT) of its coefficient is left out: 1e-20, below the rounding of the sums that a
 * grid value enters. Most tight primitives are, at most points. */
#define KS_EXP_CUT 46.0

static __device__ __forceinline__ void ks_shell_radial(const ks_shell *s, const double *__restrict__ exponent,
                                                       const double *__restrict__ coef, double r2, double *R,
                                                       double *R1) {
    *R = *R1 = 0.0;
    for (int k = s->prim; k < s->prim + s->n_prim; k++) {
        const double a = exponent[k];
        if (a * r2 < KS_EXP_CUT) ks_ao_radial_add(a, coef[k], r2, R, R1);
    }
}

static __device__ __forceinline__ int ks_occupied(ks_occ o, int64_t b) {
    const int64_t f = b / o.n_spin;
    return o.n_occ[(o.slot ? (int64_t)o.slot[f] : f) * o.n_spin + b % o.n_spin];
}

/* Frames of n that fit the workspace at `bytes` each, at least 1, and no more than a launch takes. */
static inline int64_t ks_grid_group(int64_t n, int64_t bytes) {
    const int64_t fit = KS_GRID_WORK_BYTES / (bytes > 0 ? bytes : 1);
    return ks_min64(ks_min64(n, 32768), fit > 1 ? fit : 1);
}

static inline int64_t ks_round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
/* Columns of a packed matrix; where there are no orbitals at all, 8 of zeros. */
static inline int64_t ks_grid_columns(int64_t n) { return n > 0 ? ks_round_up(n, 8) : 8; }

/* The two passes (rho.cu), queued on the current stream. Frame b of the call has slot[b].
 *
 * Density: features of n_density matrices, feat (n_density, n_frame, n_feat, n_point), overwritten.
 *   n_occ_row = 0: packed (n_density, n_frame, n8, n8), symmetric, n8 = n_ao up to a multiple of 8, zeros beyond n_ao.
 *   n_occ_row > 0, a multiple of 8: packed (n_frame, n8, n_occ_row) holds orbitals C with P = 2 C C^T, zeros where
 *   there are none; n_density = 1.
 * ks_grid_pack makes them from (n_frame, n, n) or (n_frame, n, occ->max). Matrix: out (n_frame, n, n) = or += A + A^T,
 * A = sum_g Y phi^T with Y = coef_0 phi / 2 + coef_x d phi/dx; coef (n_frame, n_feat, n_point); part:
 * ks_grid_part_count(grid) doubles a frame. */
ks_status ks_grid_pack(ks_ctx *ctx, const ks_grid *grid, int64_t n_frame, const double *from, const ks_occ *occ,
                       int64_t first_frame, double *packed);
ks_status ks_grid_density(ks_ctx *ctx, const ks_grid *grid, int n_feat, int n_density, int64_t n_frame,
                          const int32_t *slot, const double *packed, int64_t n_occ_row, double *feat);
int64_t   ks_grid_part_count(const ks_grid *grid);
ks_status ks_grid_matrix(ks_ctx *ctx, const ks_grid *grid, int n_feat, int64_t n_frame, const int32_t *slot,
                         const double *coef, double *part, int add, double *out);
#endif
