/* linalg_cuda.cuh -- what the linalg kernels share: addresses of matrices, occupations, shares of work. Private. */
#ifndef KS_LINALG_CUDA_CUH
#define KS_LINALG_CUDA_CUH
#include "../common.cuh"
#include "ksgrad/linalg.h"

enum { KS_LINALG_THREADS = 256, KS_LINALG_TILE = 32 };

static __device__ __forceinline__ const double *ks_mats_dev(const ks_mats m, int64_t b) {
    const int64_t f = b / m.group;
    return m.ptr + (m.index ? (int64_t)m.index[f] : f) * m.stride + (b % m.group) * m.group_stride;
}
static __device__ __forceinline__ int32_t ks_occ_dev(const ks_occ o, int64_t b) {
    const int64_t f = b / o.n_spin;
    return o.n_occ[(o.slot ? (int64_t)o.slot[f] : f) * o.n_spin + b % o.n_spin];
}

/* Sum of `len` doubles' worth of work a task: pieces of a row that ROW threads take with EACH elements a thread. */
enum { KS_EACH = 4 };
static inline int64_t ks_pieces(int64_t len, int64_t row_threads) {
    return (len + KS_EACH * row_threads - 1) / (KS_EACH * row_threads);
}

static inline int64_t ks_tiles(int64_t n) { return (n + KS_LINALG_TILE - 1) / KS_LINALG_TILE; }

enum { KS_MOST_BLOCKS = 1 << 30 }; /* the kernels stride over more */
#endif
