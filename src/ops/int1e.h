/* int1e.h -- one-electron integrals of a shell pair: what the lane files share with the driver. Private. */
#ifndef KS_INT1E_H
#define KS_INT1E_H
#include "ksgrad/system.h"

typedef struct ks_int1e_job {
    const ks_shells *bra, *ket;
    const double    *bra_pos, *ket_pos; /* (n_atom, 3) of one frame */
    int64_t          n_nuc;             /* padded to a multiple of 8 with zero charges */
    const double    *nuc;               /* x, y, z, charge: (4, n_nuc) */
    const double    *boys;
} ks_int1e_job;

/* Spherical blocks of shells a and b, row-major (2la+1, 2lb+1): S, T, V, and dip (3 blocks of 25). Each may be NULL. */
typedef void     ks_int1e_pair_fn(const ks_int1e_job *job, const ks_shell *a, const ks_shell *b, double *S, double *T,
                                  double *V, double *dip);
ks_int1e_pair_fn ks_int1e_pair_base, ks_int1e_pair_avx2, ks_int1e_pair_avx512;
#endif
