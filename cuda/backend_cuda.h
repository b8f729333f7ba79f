/* backend_cuda.h -- the C face of the .cu files: memory functions and the launchers of all slots. Private. */
#ifndef KS_BACKEND_CUDA_H
#define KS_BACKEND_CUDA_H
#include <stdint.h>
#include "core/backend.h"
#include "ksgrad/frame.h"
#include "ksgrad/grid.h"
#include "ksgrad/linalg.h"
#include "ksgrad/optim.h"
#include "ksgrad/params.h"
#include "ksgrad/system.h"

#ifdef __cplusplus
extern "C" {
#endif

ks_status ks_cuda_open(int device, void **state);
void      ks_cuda_close(void *state);
ks_status ks_cuda_alloc(void *state, size_t bytes, void **out);
void      ks_cuda_free(void *state, void *ptr);
ks_status ks_cuda_to_backend(void *state, void *dst, const void *src, size_t bytes);
ks_status ks_cuda_to_host(void *state, void *dst, const void *src, size_t bytes);
ks_status ks_cuda_zero(void *state, void *dst, size_t bytes);
ks_status ks_cuda_sync(void *state);
int64_t   ks_cuda_memory(void *state);
ks_status ks_cuda_device(void *state, ks_device_info *out);
ks_status ks_cuda_fetch_open(void *state, size_t bytes, void **fetch, void **host);
ks_status ks_cuda_fetch_start(void *state, void *fetch, void *host, const void *src, size_t bytes);
ks_status ks_cuda_fetch_wait(void *state, void *fetch);
ks_status ks_cuda_fetch_is_ready(void *state, void *fetch, int *ready);
void      ks_cuda_fetch_close(void *state, void *fetch);
ks_status ks_cuda_graph_begin(void *state);
ks_status ks_cuda_graph_end(void *state, void **graph);
ks_status ks_cuda_graph_launch(void *state, void *graph);
void      ks_cuda_graph_close(void *state, void *graph);
int       ks_cuda_n_branch(void *state);
ks_status ks_cuda_branch(void *state, int branch);
ks_status ks_cuda_join(void *state);

/* cuda/ops/grid.cu, rho.cu, xc.cu */
ks_status ks_grid_bytes_cuda(ks_ctx *ctx, const ks_system *sys, int64_t n_point, int64_t *bytes_per_frame);
ks_status ks_grid_build_cuda(ks_ctx *ctx, ks_grid *grid, int64_t n_frame, const int32_t *slot, const double *pos);
void      ks_grid_close_cuda(ks_ctx *ctx, void *impl);
ks_status ks_grid_weights_cuda(ks_ctx *ctx, const ks_grid *grid, int64_t n_frame, const int32_t *slot, double *weight);
ks_status ks_rho_fwd_cuda(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame, const int32_t *slot,
                          const double *P, double *feat);
ks_status ks_rho_adj_cuda(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame, const int32_t *slot,
                          const double *feat_bar, double *P_bar);
ks_status ks_vxc_fwd_cuda(ks_ctx *ctx, const ks_grid *grid, const ks_xc *xc, int64_t n_frame, const int32_t *slot,
                          const double *P, const double *C_occ, const ks_occ *occ, double *exc, double *n_elec,
                          double *Vxc);
ks_status ks_vxc_adj_cuda(ks_ctx *ctx, const ks_grid *grid, const ks_xc *xc, int64_t n_frame, const int32_t *slot,
                          const double *P, const double *M, double *KM);
ks_status ks_xc_eval_cuda(ks_ctx *ctx, const ks_xc *xc, int64_t n, const double *rho, const double *sigma, double *e,
                          double *v_rho, double *v_sigma, double *f_rr, double *f_rs, double *f_ss);

/* cuda/ops/int1e.cu, eri*.cu, jk.cu; impl is a ks_eri_cuda (ops/integrals_cuda.cuh) */
ks_status ks_int1e_cuda(ks_ctx *ctx, const ks_system *sys, int64_t n_frame, const double *pos, double *S, double *T,
                        double *V, double *dip);
void      ks_int1e_close_cuda(void *state); /* its tables; the context closes */
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
/* cuda/ops/net_linear.cu */
ks_status ks_linear_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d_in, int64_t d_out, const void *x,
                             const void *w, const void *b, void *y);
ks_status ks_linear_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d_in, int64_t d_out, const void *x,
                             const void *w, const void *y_bar, void *x_bar, void *w_bar, void *b_bar);
/* cuda/ops/net_elementwise.cu */
ks_status ks_gelu_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, void *y);
ks_status ks_gelu_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, const void *y_bar,
                           void *x_bar);
ks_status ks_residual_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, const void *f, void *y);
ks_status ks_residual_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const void *y_bar, void *x_bar,
                               void *f_bar);
/* cuda/ops/net_attention.cu, net_head.cu */
ks_status ks_attention_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_head,
                                int64_t d, int64_t n_bias, const void *qkv, const void *bias, const void *mix, void *y,
                                void *prob);
ks_status ks_attention_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_head,
                                int64_t d, int64_t n_bias, int64_t n_bias_bar, const void *qkv, const void *bias,
                                const void *mix, const void *prob, const void *y_bar, void *qkv_bar, void *bias_bar,
                                void *mix_bar);
ks_status ks_head_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t d,
                           const void *q, const void *k, double *w);
ks_status ks_head_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t d,
                           const void *q, const void *k, const double *w_bar, void *q_bar, void *k_bar);

/* cuda/ops/embed.cu */
ks_status ks_embedding_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom,
                                int64_t n_kind, int64_t d, double scale, const int32_t *kind, const int32_t *atom,
                                const void *table, const void *u, void *x);
ks_status ks_embedding_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom,
                                int64_t n_kind, int64_t d, double scale, const int32_t *kind, const int32_t *atom,
                                const void *x_bar, void *table_bar, void *u_bar);
ks_status ks_gram_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom,
                           int64_t d, const int32_t *atom, const void *u, void *bias, void *g, void *top);
ks_status ks_gram_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t n_atom,
                           int64_t d, const int32_t *atom, const void *u, const void *g, const void *top,
                           const void *bias_bar, void *u_bar);

/* cuda/ops/frame.cu, frame_cholesky.cu */
ks_status ks_frame_fwd_cuda(ks_ctx *ctx, ks_frame_kind kind, int64_t n_frame, int64_t n_atom, const int32_t *Z,
                            const double *ref, const int32_t bond[3], const double *pos, const int32_t *slot,
                            double *rot, double *pos_out);
ks_status ks_position_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_atom, const double *pos,
                               void *feature);
ks_status ks_rotate_fwd_cuda(ks_ctx *ctx, int64_t n_frame, const ks_ao_blocks *blocks, int inverse, const double *rot,
                             const double *M, const int32_t *slot, double *out);
ks_status ks_rotate_adj_cuda(ks_ctx *ctx, int64_t n_frame, const ks_ao_blocks *blocks, int inverse, const double *rot,
                             const double *out_bar, double *M_bar);
ks_status ks_cholesky_transform_fwd_cuda(ks_ctx *ctx, int64_t n_frame, int64_t n, double *S, double *H);
ks_status ks_bias_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n, const double *M,
                           void *bias);

/* cuda/ops/optim.cu */
ks_status ks_sum_squares_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, double *sum);
ks_status ks_clip_cuda(ks_ctx *ctx, double clip, double n_frame, const double *sum_squares, const double *n_counted,
                       double *state);
ks_status ks_adamw_update_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const ks_adamw_scalars *c,
                               const double *state, const void *g, void *p, void *m, void *v);
ks_status ks_pack_bf16_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, uint16_t *y);
ks_status ks_unpack_bf16_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const uint16_t *y, void *x);

/* cuda/ops/linalg_blas.cu, linalg_vec.cu, linalg_eigh.cu, linalg_frame.cu */
ks_status ks_gemm_cuda(ks_ctx *ctx, int64_t n_mat, int trans_a, int trans_b, int64_t m, int64_t n, int64_t k,
                       double alpha, ks_mats a, ks_mats b, double beta, double *c);
ks_status ks_eigh_cuda(ks_ctx *ctx, int64_t n_mat, int64_t n, const double *a, double *w, double *v);
ks_status ks_lowdin_cuda(ks_ctx *ctx, int64_t n_mat, int64_t n, const double *s, int64_t first_frame, double *s_half,
                         double *x);
ks_status ks_chol_solve_cuda(ks_ctx *ctx, int64_t n_mat, int64_t n, int64_t m, const double *a, const double *b,
                             double *x);
ks_status ks_combine_cuda(ks_ctx *ctx, int64_t n_mat, int64_t len, int n_term, const ks_term *term, int add,
                          double *out);
ks_status ks_scatter_cuda(ks_ctx *ctx, int64_t n_mat, int64_t len, const double *x, const int32_t *index, double *pool);
ks_status ks_dot_cuda(ks_ctx *ctx, int64_t n_mat, int64_t len, double alpha, ks_mats a, ks_mats b, int add, double *out,
                      int64_t out_stride);
ks_status ks_sym_cuda(ks_ctx *ctx, int64_t n_mat, int64_t n, double alpha, double sign, const double *a, int add,
                      double *out);
ks_status ks_occ_density_cuda(ks_ctx *ctx, int64_t n_mat, int64_t n, double weight, const ks_occ *occ, const double *c,
                              double *p);
ks_status ks_occ_virt_cuda(ks_ctx *ctx, int64_t n_mat, int64_t n, double weight, const ks_occ *occ, const double *eps,
                           const double *mask, const double *g, double *y);
ks_status ks_gap_cuda(ks_ctx *ctx, int64_t n_frame, int64_t n, const ks_occ *occ, const double *eps, int min,
                      double *gap);
ks_status ks_mask_cuda(ks_ctx *ctx, int64_t n_frame, const double *E, const double *gap, double gap_min,
                       const double *and_mask, double *mask);
ks_status ks_masked_sum_cuda(ks_ctx *ctx, int64_t n_frame, double alpha, const double *mask, const double *x, int add,
                             double *out);
ks_status ks_min_cuda(ks_ctx *ctx, int64_t n_frame, const double *x, double *out);
ks_status ks_mix_fwd_cuda(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge, const double *gram,
                          double *w);
ks_status ks_mix_adj_cuda(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge, const double *gram,
                          const double *w, const double *w_bar, double *gram_bar);

#ifdef __cplusplus
}
#endif
#endif
