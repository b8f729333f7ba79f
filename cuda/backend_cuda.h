/* backend_cuda.h -- the C face of the .cu files: memory functions and the launchers of all slots. Private. */
#ifndef KS_BACKEND_CUDA_H
#define KS_BACKEND_CUDA_H
#include <stdint.h>
#include "core/backend.h"
#include "ksgrad/grid.h"
#include "ksgrad/params.h"
#include "ksgrad/system.h"

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
int64_t   ks_cuda_memory(void *state);
ks_status ks_cuda_fetch_open(void *state, size_t bytes, void **fetch, void **host);
ks_status ks_cuda_fetch_start(void *state, void *fetch, void *host, const void *src, size_t bytes);
ks_status ks_cuda_fetch_wait(void *state, void *fetch);
void      ks_cuda_fetch_close(void *state, void *fetch);
ks_status ks_cuda_graph_begin(void *state);
ks_status ks_cuda_graph_end(void *state, void **graph);
ks_status ks_cuda_graph_launch(void *state, void *graph);
void      ks_cuda_graph_close(void *state, void *graph);
int       ks_cuda_n_branch(void *state);
ks_status ks_cuda_branch(void *state, int branch);
ks_status ks_cuda_join(void *state);
struct ks_cuda;
ks_status ks_cuda_scratch(struct ks_cuda *cu, int64_t n, size_t size, void **out);

/* cuda/ops/grid.cu, rho.cu */
ks_status ks_grid_build_cuda(ks_ctx *ctx, ks_grid *grid, int64_t n_frame, const int32_t *slot, const double *pos);
void      ks_grid_close_cuda(ks_ctx *ctx, void *impl);
ks_status ks_grid_weights_cuda(ks_ctx *ctx, const ks_grid *grid, int64_t n_frame, const int32_t *slot, double *weight);
ks_status ks_rho_fwd_cuda(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame, const int32_t *slot,
                          const double *P, double *feat);
ks_status ks_rho_adj_cuda(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame, const int32_t *slot,
                          const double *feat_bar, double *P_bar);

/* cuda/ops/int1e.cu, eri.cu, jk.cu; impl is a ks_eri_cuda (ops/integrals_cuda.cuh) */
ks_status ks_int1e_cuda(ks_ctx *ctx, const ks_system *sys, int64_t n_frame, const double *pos, double *S, double *T,
                        double *V, double *dip);
ks_status ks_int1e_guess_cuda(ks_ctx *ctx, const ks_system *sys, int64_t n_frame, const double *pos, double *S12);
ks_status ks_eri_bytes_cuda(ks_ctx *ctx, const ks_system *sys, int64_t *bytes_per_frame);
ks_status ks_eri_open_cuda(ks_ctx *ctx, const ks_system *sys, int64_t capacity, void **impl);
void      ks_eri_close_cuda(ks_ctx *ctx, void *impl);
ks_status ks_eri_build_cuda(ks_ctx *ctx, void *impl, int64_t n_frame, const int32_t *slot, const double *pos);
ks_status ks_eri_value_cuda(ks_ctx *ctx, const void *impl, int32_t slot, int64_t i, int64_t j, int64_t k, int64_t l,
                            double *value);
ks_status ks_jk_cuda(ks_ctx *ctx, const void *impl, int64_t n_frame, const int32_t *slot, int64_t n_dm, const double *D,
                     double *J, double *K);
ks_status ks_jk_adj_cuda(ks_ctx *ctx, const void *impl, int64_t n_frame, const int32_t *slot, int64_t n_dm,
                         const double *J_bar, const double *K_bar, double *D_bar);

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
