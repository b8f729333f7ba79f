/* reduce.cuh -- sums in a fixed order: bitwise repeatable, no floating-point atomics. Private. */
#ifndef KS_REDUCE_CUH
#define KS_REDUCE_CUH
#include "common.cuh"

/* Sum over the 32 lanes, in all of them. Every lane takes part. */
template <typename T> static __device__ __forceinline__ T ks_warp_sum(T v) {
    for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
    return v;
}

/* Sum over a block of up to 1024 threads (a multiple of 32), valid in thread 0. shared: 32 elements, free afterwards
 * only behind a __syncthreads of the caller. */
template <typename T> static __device__ __forceinline__ T ks_block_sum(T v, T *shared) {
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_warp = blockDim.x / 32;
    v = ks_warp_sum(v);
    if (lane == 0) shared[warp] = v;
    __syncthreads();
    if (warp == 0) v = ks_warp_sum(lane < n_warp ? shared[lane] : T(0));
    return v;
}

/* Largest of a block of up to 1024 threads (a multiple of 32), in all of them; a NaN is left out unless all before it
 * are. shared as above. Also a barrier for what the threads wrote before. */
template <typename T> static __device__ __forceinline__ T ks_block_max(T v, T *shared) {
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_warp = blockDim.x / 32;
    for (int step = 16; step > 0; step /= 2) {
        const T other = __shfl_xor_sync(0xffffffffu, v, step);
        if (other > v) v = other;
    }
    if (lane == 0) shared[warp] = v;
    __syncthreads();
    for (unsigned k = 0; k < n_warp; k++)
        if (shared[k] > v) v = shared[k];
    return v;
}
#endif
