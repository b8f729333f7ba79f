/* net_cpu.h -- what net_cpu.c and net_frame_cpu.c share. Private. */
#ifndef KS_NET_CPU_H
#define KS_NET_CPU_H
#include "ops/net_ops.h"

ks_status ks_frame_fwd_cpu(ks_ctx *ctx, ks_frame_kind kind, int64_t n_frame, int64_t n_atom, const int32_t *Z,
                           const double *ref, const int32_t bond[3], const double *pos, const int32_t *slot,
                           double *rot, double *pos_out);
ks_status ks_position_fwd_cpu(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_atom, const double *pos,
                              void *feature);
ks_status ks_rotate_fwd_cpu(ks_ctx *ctx, int64_t n_frame, const ks_ao_blocks *blocks, int inverse, const double *rot,
                            const double *M, const int32_t *slot, double *out);
ks_status ks_rotate_adj_cpu(ks_ctx *ctx, int64_t n_frame, const ks_ao_blocks *blocks, int inverse, const double *rot,
                            const double *out_bar, double *M_bar);
ks_status ks_cholesky_transform_fwd_cpu(ks_ctx *ctx, int64_t n_frame, int64_t n, double *S, double *H);
ks_status ks_bias_fwd_cpu(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n, const double *M, void *bias);
#endif
