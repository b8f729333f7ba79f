/* linalg_eigh_block.cuh -- ks_eigh of small matrices, linalg_eigh_block.cu. Private. */
#ifndef KS_LINALG_EIGH_BLOCK_CUH
#define KS_LINALG_EIGH_BLOCK_CUH
#include "../common.cuh"

int ks_eigh_block_fits(int64_t n);
/* a (n_mat, n, n) -> w, v as ks_eigh has them. a may be v. */
KS_NODISCARD ks_status ks_eigh_block(ks_cuda *cu, int64_t n_mat, int64_t n, const double *a, double *w, double *v);
#endif
