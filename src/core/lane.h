/* lane.h -- the lane type: formulas of integrals and functionals are written once over it.
 *
 * Under gcc/clang a lane is a vector of KS_LANES doubles, one work item per element; under nvcc (and in the
 * kernel launcher of tests/emu) it is one double, one work item per thread. Files named *_lanes.c are compiled
 * once per instruction set (KS_ISA = avx512, avx2, base); KS_ISA_NAME(f) gives each its own symbols.
 *
 * A branch becomes a select, a table look-up a gather; tails repeat the last item and do not store it. */
#ifndef KS_LANE_H
#define KS_LANE_H
#include <math.h>
#include <stdint.h>
#include <string.h>

#define KS_PASTE2(a, b) a##_##b
#define KS_PASTE(a, b) KS_PASTE2(a, b)
/* In front of a loop that is to be unrolled in full. */
#if defined(__clang__) || defined(__CUDA_ARCH__)
#define KS_UNROLL _Pragma("unroll")
#elif defined(__GNUC__) && !defined(__CUDACC__)
#define KS_UNROLL _Pragma("GCC unroll 64")
#else
#define KS_UNROLL
#endif

#ifdef KS_ISA
#define KS_ISA_NAME(f) KS_PASTE(f, KS_ISA)
#endif

#if defined(KS_LANE_SCALAR) /* one work item per thread: nvcc and the launcher */

#define KS_LANES 1
#ifdef __CUDACC__
#define KS_LANE_FN static __device__ __forceinline__ /* the host side of a .cu file has no formulas */
#else
#define KS_LANE_FN static inline
#endif
typedef double  ks_lane;
typedef int64_t ks_lane_i; /* integers; as a mask: 0 or -1 */

KS_LANE_FN ks_lane   ks_lane_set(double x) { return x; }
KS_LANE_FN ks_lane   ks_lane_load(const double *p) { return *p; }
KS_LANE_FN void      ks_lane_store(double *p, ks_lane x) { *p = x; }
KS_LANE_FN ks_lane   ks_lane_select(ks_lane_i mask, ks_lane a, ks_lane b) { return mask ? a : b; }
KS_LANE_FN ks_lane_i ks_lane_lt(ks_lane a, ks_lane b) { return a < b ? -1 : 0; }
KS_LANE_FN double    ks_lane_get(ks_lane x, int i) { return (void)i, x; }
KS_LANE_FN ks_lane   ks_lane_sqrt(ks_lane x) { return sqrt(x); }
KS_LANE_FN int       ks_lane_any(ks_lane_i mask) { return mask != 0; }

#else

#if defined(__AVX512F__)
#define KS_LANES 8
#elif defined(__AVX2__)
#define KS_LANES 4
#else
#define KS_LANES 2
#endif
#define KS_LANE_FN static inline __attribute__((always_inline, unused))
typedef double  ks_lane __attribute__((vector_size(8 * KS_LANES)));
typedef int64_t ks_lane_i __attribute__((vector_size(8 * KS_LANES))); /* as a mask: 0 or -1 */

KS_LANE_FN ks_lane ks_lane_set(double x) { return x - (ks_lane){0}; }
KS_LANE_FN ks_lane ks_lane_load(const double *p) {
    ks_lane x;
    memcpy(&x, p, sizeof x); /* an unaligned vector load */
    return x;
}
KS_LANE_FN void    ks_lane_store(double *p, ks_lane x) { memcpy(p, &x, sizeof x); }
KS_LANE_FN ks_lane ks_lane_select(ks_lane_i mask, ks_lane a, ks_lane b) {
    return (ks_lane)(((ks_lane_i)a & mask) | ((ks_lane_i)b & ~mask));
}
KS_LANE_FN ks_lane_i ks_lane_lt(ks_lane a, ks_lane b) { return (ks_lane_i)(a < b); }
KS_LANE_FN double    ks_lane_get(ks_lane x, int i) { return x[i]; }
KS_LANE_FN ks_lane   ks_lane_sqrt(ks_lane x) {
      for (int i = 0; i < KS_LANES; i++) x[i] = sqrt(x[i]);
    return x;
}
KS_LANE_FN int ks_lane_any(ks_lane_i mask) {
    int64_t any = 0;
    for (int i = 0; i < KS_LANES; i++) any |= mask[i];
    return any != 0;
}

#endif
#endif
