/* optim_lanes.h -- elementwise kernels of the optimiser, built once per instruction set (optim_lanes.c). Private. */
#ifndef KS_OPTIM_LANES_H
#define KS_OPTIM_LANES_H
#include <stdint.h>
#include "ksgrad/optim.h"

typedef struct ks_optim_lanes {
    double (*sum_squares_f32)(int64_t n, const float *x);
    double (*sum_squares_f64)(int64_t n, const double *x);
    void (*adamw_f32)(int64_t n, const ks_adamw_scalars *c, const double *state, const float *g, float *p, float *m,
                      float *v);
    void (*adamw_f64)(int64_t n, const ks_adamw_scalars *c, const double *state, const double *g, double *p, double *m,
                      double *v);
    void (*pack_f32)(int64_t n, const float *x, uint16_t *y);
    void (*pack_f64)(int64_t n, const double *x, uint16_t *y);
    void (*unpack_f32)(int64_t n, const uint16_t *y, float *x);
    void (*unpack_f64)(int64_t n, const uint16_t *y, double *x);
} ks_optim_lanes;

extern const ks_optim_lanes ks_optim_lanes_base;
#if defined(__x86_64__)
extern const ks_optim_lanes ks_optim_lanes_avx2, ks_optim_lanes_avx512;
#endif
#endif
