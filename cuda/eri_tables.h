/* eri_tables.h -- pair tables of one class of shell pairs on the device, for the ERI kernels. Private. */
#ifndef KS_ERI_TABLES_H
#define KS_ERI_TABLES_H
#include <stdint.h>
#include "core/backend.h"
#include "ksgrad/system.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { KS_WARP = 32 };
#define KS_ERI_CUDA_THRESHOLD 1e-15 /* smallest product of primitive bounds that is computed, as on the CPU */

/* Pairs in order of falling number of primitives. Bras: one record a primitive; kets: blocks of 32, one pair a lane,
 * filled up with zeros. Records: p, P, Hermite coefficients (src/ops/eri_pairs.c). Everything but pair_host in device
 * memory. */
typedef struct ks_eri_class_cuda {
    int32_t  cls, n_pair, n_block;
    int32_t *pair_host;  /* (n_pair, 2) first AO of the two shells, PySCF order; host memory */
    double  *boys;       /* all orders */
    int32_t *n_prim;     /* (n_pair) */
    int32_t *first;      /* (n_pair) record of the first primitive */
    double  *prim;       /* (records, 4 + terms) */
    double  *bound;      /* (records) falling within a pair */
    int32_t *lane_prim;  /* (n_block) */
    int32_t *lane_first; /* (n_block) */
    double  *lane;       /* (lane records, 4 + terms, 32) */
    double  *lane_bound; /* (lane records) of the largest lane, falling */
} ks_eri_class_cuda;

/* pos (n_atom, 3), host memory. */
KS_NODISCARD ks_status ks_eri_tables_open_cuda(ks_ctx *ctx, const ks_system *sys, const double *pos, int32_t cls,
                                               ks_eri_class_cuda *t);
void                   ks_eri_tables_close_cuda(ks_ctx *ctx, ks_eri_class_cuda *t);

/* out (n_pair, n_block, 3, 3, 32): [bra pair][ket block][bra function][ket function][lane] of (ps|ps); lanes beyond
 * n_pair are zero. */
KS_NODISCARD ks_status ks_eri_psps_cuda(ks_ctx *ctx, const ks_eri_class_cuda *t, double *out);

#ifdef __cplusplus
}
#endif
#endif
