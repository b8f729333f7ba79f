/* optim_ops.h -- backend slots of the optim family. Private; see src/core/backend.h. */
#ifndef KS_OPTIM_OPS_H
#define KS_OPTIM_OPS_H
#include "core/backend.h"
#include "ksgrad/optim.h"

enum { KS_SUM_BLOCK = 16384 }; /* elements per partial sum: part of the definition of ks_sum_squares */

typedef struct ks_ops_optim {
    ks_status (*sum_squares)(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, double *sum);
    ks_status (*clip)(ks_ctx *ctx, double clip, double n_frame, const double *sum_squares, const double *n_counted,
                      double *state);
    ks_status (*adamw_update)(ks_ctx *ctx, ks_precision precision, int64_t n, const ks_adamw_scalars *c,
                              const double *state, const void *g, void *p, void *m, void *v);
    ks_status (*pack_bf16)(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, uint16_t *y);
    ks_status (*unpack_bf16)(ks_ctx *ctx, ks_precision precision, int64_t n, const uint16_t *y, void *x);
} ks_ops_optim;

extern const ks_ops_optim ks_ops_optim_cpu;
#endif
