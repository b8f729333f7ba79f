/* integrals_cuda.cuh -- the pool of two-electron integrals on the device: its layout, shared by the kernels that fill it
 * (eri*.cu) and those that read it (jk.cu). Private.
 *
 * Order. AOs are sorted by angular momentum, then contraction length (long first), then PySCF order: rows of the store
 * then consist of long runs of one class of shell pairs, so that the kernels of a class write whole sectors of memory. In
 * PySCF order nearly every sector would hold several classes, and the memory would have to read and merge it for each.
 *
 * Pair-square store. AO pair ij = i (i + 1) / 2 + j, i >= j, in that order; n_pair = n (n + 1) / 2. A slot has n_pair
 * rows of ld doubles, ld = n_pair rounded up to a multiple of 16 (128 bytes, one line of the L2 cache):
 *   (ij|kl) = store[(slot * n_pair + ij) * ld + kl]
 * Both triangles are filled, plain values without factors, so that a row is all of (ij|..): J is then a matrix-vector
 * product and every kl of a bra pair one coalesced stream. Columns n_pair..ld-1 are zero, written once at open. Uracil,
 * def2-SVP: n_pair 8778, ld 8784, 617 MB a slot, twice the unique values; an H200 holds 200 slots. */
#ifndef KS_INTEGRALS_CUDA_CUH
#define KS_INTEGRALS_CUDA_CUH
#include "../common.cuh"
#include "cuda/backend_cuda.h"
#include "cuda/eri_pool.h"

enum { KS_PAIR_ALIGN = 16 /* doubles; rows of the store */ };

static inline int64_t ks_pair_count(int64_t n_ao) { return n_ao * (n_ao + 1) / 2; }
static inline int64_t ks_pair_ld(int64_t n_pair) {
    return (n_pair + KS_PAIR_ALIGN - 1) / KS_PAIR_ALIGN * KS_PAIR_ALIGN;
}
/* i, j: places, in any order */
static __host__ __device__ inline int64_t ks_pair_index(int64_t i, int64_t j) {
    return i >= j ? i * (i + 1) / 2 + j : j * (j + 1) / 2 + i;
}
#endif
