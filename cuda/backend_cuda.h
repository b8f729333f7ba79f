/* backend_cuda.h -- the C face of the .cu files: memory functions and the launchers of all slots. Private. */
#ifndef KS_BACKEND_CUDA_H
#define KS_BACKEND_CUDA_H
#include <stdint.h>
#include "core/backend.h"
#include "ksgrad/grid.h"
#include "ksgrad/params.h"

#ifdef __cplusplus
extern "C" {
#endif

ks_status ks_cuda_open(void **state);
void      ks_cuda_close(void *state);
ks_status ks_cuda_alloc(void *state, size_t bytes, void **out);
void      ks_cuda_free(void *state, void *ptr);
ks_status ks_cuda_to_backend(void *state, void *dst, const void *src, size_t bytes);
ks_status ks_cuda_to_host(void *state, void *dst, const void *src, size_t bytes);
ks_status ks_cuda_zero(void *state, void *dst, size_t bytes);
ks_status ks_cuda_sync(void *state);

/* cuda/ops/grid.cu, rho.cu */
ks_status ks_grid_build_cuda(ks_ctx *ctx, ks_grid *grid, int64_t n_frame, const int32_t *slot, const double *pos);
void      ks_grid_close_cuda(ks_ctx *ctx, void *impl);
ks_status ks_grid_weights_cuda(ks_ctx *ctx, const ks_grid *grid, int64_t n_frame, const int32_t *slot, double *weight);
ks_status ks_rho_fwd_cuda(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame, const int32_t *slot,
                          const double *P, double *feat);
ks_status ks_rho_adj_cuda(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame, const int32_t *slot,
                          const double *feat_bar, double *P_bar);

/* cuda/ops/net.cu */
ks_status ks_layer_norm_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d, const void *x,
                                 const void *gain, const void *shift, void *y, void *stat);
ks_status ks_layer_norm_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d, const void *x,
                                 const void *gain, const void *stat, const void *y_bar, void *x_bar, void *gain_bar,
                                 void *shift_bar);

#ifdef __cplusplus
}
#endif
#endif
