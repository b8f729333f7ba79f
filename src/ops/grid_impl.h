/* grid_impl.h -- inside of ks_grid. Private to src/ops, cuda/ops and the tests.
 *
 * Points of a slot in internal order: panels of KS_PANEL points, up to KS_BLOCK_PANELS panels a block; cuts are
 * the same for all geometries of a system. The last panel is filled with copies of the last point at weight 0, so
 * arrays hold n_pad = KS_PANEL * n_panel points.
 * A shell belongs to a panel when the panel's box comes closer to its centre than the shell's reach. The list of a
 * block is the union over its panels, most-used shells first; each panel uses a prefix of it (the "staircase").
 * That is the CPU. On CUDA internal order is PySCF's and there are no lists (cuda/ops/grid.cu). */
#ifndef KS_GRID_IMPL_H
#define KS_GRID_IMPL_H
#include "chem/grid_recipe.h"
#include "ksgrad/grid.h"

enum { KS_PANEL = 32, KS_BLOCK_PANELS = 8, KS_GRID_CHUNKS = 16 };

struct ks_grid {
    ks_ctx          *ctx;
    const ks_system *sys; /* borrowed */
    int              level;
    int64_t          capacity, n_point, n_pad, n_panel, n_block;
    int64_t          n_chunk; /* parallel pieces of a frame, fixed by the system */
    void            *impl;    /* the backend's own tables, made by its build slot, released by its close slot */

    /* of the system (host) */
    int64_t      *atom_point; /* (n_atom + 1) first point of each atom, PySCF's order */
    int32_t      *point_atom; /* (n_point) */
    int32_t      *atom_kind;  /* (n_atom) index into kind */
    ks_atom_grid *kind;       /* (n_kind) one per element */
    int64_t       n_kind;
    double       *adjust;      /* (n_atom, n_atom) Treutler's a_ij */
    double       *reach;       /* (n_shell) beyond it value and gradient of the shell are negligible */
    double       *prim_reach2; /* (n_prim) the same, squared, for a primitive, at a much lower cut */
    int32_t      *block_panel; /* (n_block + 1) first panel of each block */

    /* of the slots, backend memory */
    double *xyz;    /* (capacity, 3, n_pad) internal order */
    double *weight; /* (capacity, n_pad) */

    /* of the slots where backend memory is host memory; elsewhere NULL */
    uint8_t *is_built;      /* (capacity) */
    double  *pos;           /* (capacity, n_atom, 3) */
    int32_t *point;         /* (capacity, n_pad) PySCF's index of each internal point */
    int32_t *block_n_shell; /* (capacity, n_block) */
    int32_t *block_shell;   /* (capacity, n_block, n_shell) the ordered lists */
    int32_t *panel_n_shell; /* (capacity, n_panel) prefix of the block's list */
};

#ifdef __cplusplus
extern "C" {
#endif
/* Order, points, weights and lists of the slots. */
KS_NODISCARD ks_status ks_grid_build_cpu(ks_ctx *ctx, ks_grid *grid, int64_t n_frame, const int32_t *slot,
                                         const double *pos);
KS_NODISCARD ks_status ks_grid_bytes_cpu(ks_ctx *ctx, const ks_system *sys, int64_t n_point, int64_t *bytes_per_frame);
#ifdef __cplusplus
}
#endif
#endif
