/* rng.c -- see rng.h. */
#include "ksgrad/rng.h"
#include <Random123/philox.h>
#include <math.h>
#include <stddef.h>
#include "ksgrad/context.h"

void ks_rng_block(uint64_t seed, uint32_t stream, uint32_t step, uint64_t index, uint32_t out[4]) {
    const philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    const philox4x32_ctr_t ctr = {{(uint32_t)index, (uint32_t)(index >> 32), step, stream}};
    const philox4x32_ctr_t r   = philox4x32(ctr, key);
    for (int k = 0; k < 4; k++) out[k] = r.v[k];
}

/* 53 random bits, shifted by half a unit so that 0 and 1 never occur. */
static double unit_open(uint32_t hi, uint32_t lo) {
    const uint64_t bits = (((uint64_t)hi << 32) | lo) >> 11;
    return ((double)bits + 0.5) * 0x1p-53;
}

double ks_rng_uniform(uint64_t seed, uint32_t stream, uint32_t step, uint64_t index) {
    uint32_t r[4];
    ks_rng_block(seed, stream, step, index, r);
    return unit_open(r[0], r[1]);
}

double ks_rng_normal(uint64_t seed, uint32_t stream, uint32_t step, uint64_t index) {
    uint32_t r[4];
    ks_rng_block(seed, stream, step, index, r);
    return sqrt(-2.0 * log(unit_open(r[0], r[1]))) * cos(6.283185307179586 * unit_open(r[2], r[3]));
}

void ks_rng_permutation_part(uint64_t seed, uint32_t stream, uint32_t step, uint32_t part, int64_t n, int64_t *out) {
    const uint64_t high = (uint64_t)part << 32;
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t j = (int64_t)(ks_rng_uniform(seed, stream, step, high + (uint64_t)i) * (double)(i + 1));
        const int64_t t = out[i];
        out[i]          = out[j];
        out[j]          = t;
    }
}

void ks_rng_permutation(uint64_t seed, uint32_t stream, uint32_t step, int64_t n, int64_t *out) {
    ks_rng_permutation_part(seed, stream, step, 0, n, out);
}

/* MT19937 (Matsumoto, Nishimura 1998, DOI 10.1145/272991.272995) with NumPy's legacy integer seeding, and
 * masked rejection sampling on 32-bit draws as its shuffle uses for ranges below 2^32. */
enum { MT_N = 624, MT_M = 397 };
typedef struct mt19937 {
    uint32_t s[MT_N];
    int      pos;
} mt19937;

static void mt_seed(mt19937 *m, uint32_t seed) {
    for (int i = 0; i < MT_N; i++) {
        m->s[i] = seed;
        seed    = 1812433253u * (seed ^ (seed >> 30)) + (uint32_t)i + 1u;
    }
    m->pos = MT_N;
}

static uint32_t mt_next(mt19937 *m) {
    if (m->pos == MT_N) {
        for (int i = 0; i < MT_N; i++) {
            const uint32_t y = (m->s[i] & 0x80000000u) | (m->s[(i + 1) % MT_N] & 0x7fffffffu);
            m->s[i]          = m->s[(i + MT_M) % MT_N] ^ (y >> 1) ^ ((y & 1u) ? 0x9908b0dfu : 0u);
        }
        m->pos = 0;
    }
    uint32_t y = m->s[m->pos++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

ks_status ks_numpy_permutation(uint32_t seed, int64_t n, int64_t *out) {
    ks_status st = KS_OK;
    mt19937   m;
    KS_CHECK(n >= 0 && n < (int64_t)UINT32_MAX && (out || n == 0), KS_ERR_ARG, "permutation of n=%lld", (long long)n);
    mt_seed(&m, seed);
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        uint32_t mask = (uint32_t)i, j;
        for (int k = 1; k < 32; k *= 2) mask |= mask >> k;
        do {
            j = mt_next(&m) & mask;
        } while (j > (uint32_t)i);
        const int64_t t = out[i];
        out[i]          = out[j];
        out[j]          = t;
    }
done:
    return st;
}
