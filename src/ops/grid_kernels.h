/* grid_kernels.h -- the lane kernels of the grid family, one table per instruction set. Private. */
#ifndef KS_GRID_KERNELS_H
#define KS_GRID_KERNELS_H
#include <stdint.h>
#include "ksgrad/system.h"
#include "ops/grid_impl.h"
#include "pointwise/xc_point.h"

/* What a block's panels read, and the working memory of one thread. ld = row count padded to KS_BLOCK_PAD. */
/* Row counts are rounded up to the product tiles (at most 6 rows), columns to lanes: buffers have KS_TILE_SLACK more. */
enum { KS_BLOCK_PAD = 16, KS_TILE_SLACK = 6 };

typedef struct ks_block_work {
    int64_t  ld;    /* rows of phi etc.: n_ao padded */
    int32_t *ao;    /* (ld) AO of each row */
    double  *phi;   /* (4, ld, KS_PANEL) value, d/dx, d/dy, d/dz */
    double  *phi_t; /* (KS_PANEL, ld) values, transposed */
    double  *X, *Y; /* (ld, KS_PANEL) */
    double  *psi;   /* (n_occ_max, KS_PANEL) */
    double  *P, *M; /* (ld, ld) of the block's AOs */
    double  *C;     /* (ld, n_occ_max) and (n_occ_max, ld) of the block's AOs */
    double  *Ct;
    double  *V; /* (ld, ld) */
} ks_block_work;

typedef enum ks_pass { KS_PASS_RHO, KS_PASS_RHO_ADJ, KS_PASS_VXC, KS_PASS_VXC_ADJ } ks_pass;

/* One pass over the points of one block. */
typedef struct ks_block_job {
    ks_pass          pass;
    int              gga;
    const ks_shells *shells;
    const double    *prim_reach2; /* of the grid */
    const double    *pos;         /* (n_atom, 3) */
    const int32_t   *shell;       /* the block's list */
    const int32_t   *row;         /* (n_shell + 1) first row of each listed shell */
    const int32_t   *panel_shell; /* prefix of each panel */
    int64_t          n_shell, n_row, n_panel;
    const double    *x, *y, *z, *w; /* the block's points */
    int64_t          n_occ;         /* > 0: density from work->C; 0: from work->P */
    int              want_matrix;
    ks_xc_weights    xc;
    double          *feat;                /* RHO: out; RHO_ADJ: in. (4 or 1, feat_stride), at the block's first point */
    int64_t          feat_stride, n_real; /* n_real: points that exist (the rest of the last panel is padding) */
    double           exc, n_elec;         /* out: added to */
} ks_block_job;

typedef struct ks_grid_kernels {
    void (*block_pass)(ks_block_job *job, ks_block_work *work);
    /* Becke: w[g] *= share of atom own[g] at KS_PANEL points. work (2 n_atom KS_PANEL), inv_R, adjust (n_atom, n_atom).
     */
    void (*becke_panel)(int64_t n_atom, const double *pos, const double *inv_R, const double *adjust, const double *x,
                        const double *y, const double *z, const int32_t *own, double *w, double *work);
    /* n points; any output may be NULL */
    void (*xc_eval)(const ks_xc_weights *w, int gga, int64_t n, const double *rho, const double *sigma,
                    double *const out[6]);
} ks_grid_kernels;

/* The table for this machine. */
const ks_grid_kernels *ks_grid_kernels_get(void);

extern const ks_grid_kernels ks_grid_kernels_base;
#if defined(__x86_64__)
extern const ks_grid_kernels ks_grid_kernels_avx2, ks_grid_kernels_avx512;
#endif

/* Inside the lane files: the pieces that the table and the block pass share. */
#ifdef KS_ISA
/* AO panel: n_shell listed shells at KS_PANEL points into phi (4, ld, KS_PANEL); 1 or 4 components. */
void KS_ISA_NAME(ks_grid_ao_panel)(const ks_shells *shells, const double *prim_reach2, const double *pos,
                                   const int32_t *shell, int64_t n_shell, int gga, const double *x, const double *y,
                                   const double *z, int64_t ld, double *phi);
void KS_ISA_NAME(ks_grid_becke_panel)(int64_t n_atom, const double *pos, const double *inv_R, const double *adjust,
                                      const double *x, const double *y, const double *z, const int32_t *own, double *w,
                                      double *work);
void KS_ISA_NAME(ks_grid_xc_eval)(const ks_xc_weights *w, int gga, int64_t n, const double *rho, const double *sigma,
                                  double *const out[6]);
void KS_ISA_NAME(ks_grid_block_pass)(ks_block_job *job, ks_block_work *work);
#endif

/* Weights of the parts of a record, by libxc number. */
#ifdef __cplusplus
extern "C"
#endif
    ks_xc_weights
    ks_xc_weights_of(const ks_xc *xc);
#endif
