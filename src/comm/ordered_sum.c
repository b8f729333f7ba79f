/* ordered_sum.c -- see ordered_sum.h. */
#include "comm/ordered_sum.h"
#include <math.h>
#include <string.h>
#include "pointwise/bf16.h"

enum { BLOCK = 1024, LEAST_FOR_THREADS = 1 << 16 }; /* items: a block and its sum stay in the first-level cache */

static float bf16_value(uint16_t bits) {
    const uint32_t u = (uint32_t)bits << 16;
    float          x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static void sum_f64(int64_t n, int64_t at, int n_rank, const void *const *x, double *out) {
    double sum[BLOCK];
    memcpy(sum, (const double *)x[0] + at, (size_t)n * sizeof *sum);
    for (int r = 1; r < n_rank; r++) {
        const double *y = (const double *)x[r] + at;
        for (int64_t i = 0; i < n; i++) sum[i] += y[i];
    }
    memcpy(out + at, sum, (size_t)n * sizeof *sum);
}

static void sum_f32(int64_t n, int64_t at, int n_rank, const void *const *x, float *out) {
    float sum[BLOCK];
    memcpy(sum, (const float *)x[0] + at, (size_t)n * sizeof *sum);
    for (int r = 1; r < n_rank; r++) {
        const float *y = (const float *)x[r] + at;
        for (int64_t i = 0; i < n; i++) sum[i] += y[i];
    }
    memcpy(out + at, sum, (size_t)n * sizeof *sum);
}

static void sum_bf16(int64_t n, int64_t at, int n_rank, const void *const *x, uint16_t *out) {
    float sum[BLOCK];
    for (int r = 0; r < n_rank; r++) {
        const uint16_t *y = (const uint16_t *)x[r] + at;
        if (r == 0)
            for (int64_t i = 0; i < n; i++) sum[i] = bf16_value(y[i]);
        else
            for (int64_t i = 0; i < n; i++) sum[i] += bf16_value(y[i]);
    }
    for (int64_t i = 0; i < n; i++) out[at + i] = ks_bf16_bits(sum[i]);
}

void ks_ordered_sum(ks_comm_type type, int64_t n, int n_rank, const void *const *x, void *out, int threads) {
    const int64_t n_block = (n + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && n >= LEAST_FOR_THREADS)
    for (int64_t b = 0; b < n_block; b++) {
        const int64_t at = b * BLOCK, len = n - at < BLOCK ? n - at : BLOCK;
        switch (type) {
        case KS_COMM_F64:
            sum_f64(len, at, n_rank, x, out);
            break;
        case KS_COMM_F32:
            sum_f32(len, at, n_rank, x, out);
            break;
        case KS_COMM_BF16:
            sum_bf16(len, at, n_rank, x, out);
            break;
        }
    }
}

void ks_ordered_min(int64_t n, int n_rank, const void *const *x, double *out) {
    for (int64_t i = 0; i < n; i++) {
        double least = ((const double *)x[0])[i];
        for (int r = 1; r < n_rank; r++) {
            const double y = ((const double *)x[r])[i];
            if (isnan(y) || y < least) least = y; /* a NaN that is there stays: nothing is below it */
        }
        out[i] = least;
    }
}
