/* rng.h -- counter-based random numbers (Philox4x32-10, Salmon et al. 2011, DOI 10.1145/2063384.2063405) and
 * NumPy's legacy permutation (MT19937).
 *
 * A number depends only on (seed, stream, step, index): no state to save, independent of ranks and threads. */
#ifndef KS_RNG_H
#define KS_RNG_H
#include <stdint.h>
#include "ksgrad/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Streams in use; a new consumer gets a new number. */
enum {
    KS_STREAM_INIT  = 1,
    KS_STREAM_ORDER = 2,
    KS_STREAM_SPLIT = 3,
    KS_STREAM_TEST  = 4,
    KS_STREAM_CHECK = 5,
    KS_STREAM_POOL  = 6
};

void   ks_rng_block(uint64_t seed, uint32_t stream, uint32_t step, uint64_t index, uint32_t out[4]);
double ks_rng_uniform(uint64_t seed, uint32_t stream, uint32_t step, uint64_t index); /* (0, 1), 53 bits */
double ks_rng_normal(uint64_t seed, uint32_t stream, uint32_t step, uint64_t index);  /* Box-Muller */

/* out (n): a permutation of 0..n-1 drawn by Fisher-Yates with (seed, stream, step). */
void ks_rng_permutation(uint64_t seed, uint32_t stream, uint32_t step, int64_t n, int64_t *out);
/* Independent ones of the same (seed, stream, step), part 0, 1, ... of them; part 0 is that of ks_rng_permutation.
 * n < 2^32: the part is the upper half of the index. */
void ks_rng_permutation_part(uint64_t seed, uint32_t stream, uint32_t step, uint32_t part, int64_t n, int64_t *out);

/* out (n): exactly numpy.random.RandomState(seed).permutation(n). n < 2^32. */
KS_NODISCARD ks_status ks_numpy_permutation(uint32_t seed, int64_t n, int64_t *out);

#ifdef __cplusplus
}
#endif
#endif
