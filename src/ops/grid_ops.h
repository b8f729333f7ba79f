/* grid_ops.h -- backend slots of the grid family. Private; see src/core/backend.h.
 * Contracts: include/ksgrad/{grid,xc}.h; arguments are checked before the call. */
#ifndef KS_GRID_OPS_H
#define KS_GRID_OPS_H
#include "core/backend.h"
#include "ksgrad/grid.h"

typedef struct ks_ops_grid {
    void (*close)(ks_ctx *, void *impl); /* of ks_grid.impl; empty where build makes none */
    ks_status (*bytes)(ks_ctx *, const ks_system *, int64_t n_point, int64_t *bytes_per_frame);
    ks_status (*build)(ks_ctx *, ks_grid *, int64_t n_frame, const int32_t *slot, const double *pos);
    ks_status (*rho_fwd)(ks_ctx *, const ks_grid *, ks_xc_family, int64_t n_frame, const int32_t *slot, const double *P,
                         double *feat);
    ks_status (*rho_adj)(ks_ctx *, const ks_grid *, ks_xc_family, int64_t n_frame, const int32_t *slot,
                         const double *feat_bar, double *P_bar);
    ks_status (*weights)(ks_ctx *, const ks_grid *, int64_t n_frame, const int32_t *slot, double *weight);
    ks_status (*vxc_fwd)(ks_ctx *, const ks_grid *, const ks_xc *, int64_t n_frame, const int32_t *slot,
                         const double *P, const double *C_occ, const ks_occ *occ, double *exc, double *n_elec,
                         double *Vxc);
    ks_status (*vxc_adj)(ks_ctx *, const ks_grid *, const ks_xc *, int64_t n_frame, const int32_t *slot,
                         const double *P, const double *M, double *KM);
    ks_status (*xc_eval)(ks_ctx *, const ks_xc *, int64_t n, const double *rho, const double *sigma, double *e,
                         double *v_rho, double *v_sigma, double *f_rr, double *f_rs, double *f_ss);
} ks_ops_grid;

extern const ks_ops_grid ks_ops_grid_cpu;
#endif
