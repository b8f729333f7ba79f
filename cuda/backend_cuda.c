/* backend_cuda.c -- the table of the CUDA backend. C, so that a new slot of a family stays empty here by itself; an
 * empty slot is KS_ERR_UNSUPPORTED (core/backend.h). */
#include "backend_cuda.h"
#ifdef KS_NCCL
#include "comm/transport.h"
#include "comm_nccl.h"
#include "nccl_library.h"
#endif
#include "ops/grid_ops.h"
#include "ops/integrals_ops.h"
#include "ops/linalg_ops.h"
#include "ops/net_ops.h"
#include "ops/optim_ops.h"

static const ks_ops_grid ks_ops_grid_cuda = {
    .bytes   = ks_grid_bytes_cuda,
    .build   = ks_grid_build_cuda,
    .close   = ks_grid_close_cuda,
    .weights = ks_grid_weights_cuda,
    .rho_fwd = ks_rho_fwd_cuda,
    .rho_adj = ks_rho_adj_cuda,
    .vxc_fwd = ks_vxc_fwd_cuda,
    .vxc_adj = ks_vxc_adj_cuda,
    .xc_eval = ks_xc_eval_cuda,
};

static const ks_ops_integrals ks_ops_integrals_cuda = {
    .int1e       = ks_int1e_cuda,
    .int1e_guess = ks_int1e_guess_cuda,
    .eri_bytes   = ks_eri_bytes_cuda,
    .eri_open    = ks_eri_open_cuda,
    .eri_close   = ks_eri_close_cuda,
    .eri_build   = ks_eri_build_cuda,
    .eri_value   = ks_eri_value_cuda,
    .jk          = ks_jk_cuda,
    .jk_adj      = ks_jk_adj_cuda,
};

static const ks_ops_linalg ks_ops_linalg_cuda = {
    .gemm        = ks_gemm_cuda,
    .eigh        = ks_eigh_cuda,
    .lowdin      = ks_lowdin_cuda,
    .chol_solve  = ks_chol_solve_cuda,
    .combine     = ks_combine_cuda,
    .scatter     = ks_scatter_cuda,
    .dot         = ks_dot_cuda,
    .sym         = ks_sym_cuda,
    .occ_density = ks_occ_density_cuda,
    .occ_virt    = ks_occ_virt_cuda,
    .gap         = ks_gap_cuda,
    .mask        = ks_mask_cuda,
    .masked_sum  = ks_masked_sum_cuda,
    .min         = ks_min_cuda,
    .mix_fwd     = ks_mix_fwd_cuda,
    .mix_adj     = ks_mix_adj_cuda,
};

static const ks_ops_net ks_ops_net_cuda = {
    .layer_norm_fwd         = ks_layer_norm_fwd_cuda,
    .layer_norm_adj         = ks_layer_norm_adj_cuda,
    .linear_fwd             = ks_linear_fwd_cuda,
    .linear_adj             = ks_linear_adj_cuda,
    .gelu_fwd               = ks_gelu_fwd_cuda,
    .gelu_adj               = ks_gelu_adj_cuda,
    .residual_fwd           = ks_residual_fwd_cuda,
    .residual_adj           = ks_residual_adj_cuda,
    .attention_fwd          = ks_attention_fwd_cuda,
    .attention_adj          = ks_attention_adj_cuda,
    .head_fwd               = ks_head_fwd_cuda,
    .head_adj               = ks_head_adj_cuda,
    .embedding_fwd          = ks_embedding_fwd_cuda,
    .embedding_adj          = ks_embedding_adj_cuda,
    .gram_fwd               = ks_gram_fwd_cuda,
    .gram_adj               = ks_gram_adj_cuda,
    .frame_fwd              = ks_frame_fwd_cuda,
    .position_fwd           = ks_position_fwd_cuda,
    .rotate_fwd             = ks_rotate_fwd_cuda,
    .rotate_adj             = ks_rotate_adj_cuda,
    .cholesky_transform_fwd = ks_cholesky_transform_fwd_cuda,
    .bias_fwd               = ks_bias_fwd_cuda,
};

static const ks_ops_optim ks_ops_optim_cuda = {
    .sum_squares  = ks_sum_squares_cuda,
    .clip         = ks_clip_cuda,
    .adamw_update = ks_adamw_update_cuda,
    .pack_bf16    = ks_pack_bf16_cuda,
    .unpack_bf16  = ks_unpack_bf16_cuda,
};

#ifdef KS_NCCL
static const ks_transport ks_transport_nccl = {
    .name           = "nccl",
    .is_queued      = 1,
    .open           = ks_nccl_open_cuda,
    .close          = ks_nccl_close_cuda,
    .fork           = ks_nccl_fork_cuda,
    .join           = ks_nccl_join_cuda,
    .sum            = ks_nccl_sum_cuda,
    .min            = ks_nccl_min_cuda,
    .reduce_scatter = ks_nccl_reduce_scatter_cuda,
    .all_gather     = ks_nccl_all_gather_cuda,
    .poll           = ks_nccl_poll_cuda,
    .abort          = ks_nccl_abort_cuda,
    .describe       = ks_nccl_library_describe,
};
#endif

const ks_backend ks_backend_cuda = {
    .name           = "cuda",
    .open           = ks_cuda_open,
    .close          = ks_cuda_close,
    .alloc          = ks_cuda_alloc,
    .free           = ks_cuda_free,
    .to_backend     = ks_cuda_to_backend,
    .to_host        = ks_cuda_to_host,
    .zero           = ks_cuda_zero,
    .sync           = ks_cuda_sync,
    .memory         = ks_cuda_memory,
    .device         = ks_cuda_device,
    .fetch_open     = ks_cuda_fetch_open,
    .fetch_start    = ks_cuda_fetch_start,
    .fetch_wait     = ks_cuda_fetch_wait,
    .fetch_is_ready = ks_cuda_fetch_is_ready,
    .fetch_close    = ks_cuda_fetch_close,
    .graph_begin    = ks_cuda_graph_begin,
    .graph_end      = ks_cuda_graph_end,
    .graph_launch   = ks_cuda_graph_launch,
    .graph_close    = ks_cuda_graph_close,
    .n_branch       = ks_cuda_n_branch,
    .branch         = ks_cuda_branch,
    .join           = ks_cuda_join,
    .integrals      = &ks_ops_integrals_cuda,
    .grid           = &ks_ops_grid_cuda,
    .linalg         = &ks_ops_linalg_cuda,
    .net            = &ks_ops_net_cuda,
    .optim          = &ks_ops_optim_cuda,
#ifdef KS_NCCL
    .transport = &ks_transport_nccl,
#endif
};
