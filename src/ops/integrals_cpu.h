/* integrals_cpu.h -- CPU implementations behind the slots of integrals_ops.h. Private. */
#ifndef KS_INTEGRALS_CPU_H
#define KS_INTEGRALS_CPU_H
#include "ksgrad/integrals.h"

ks_status ks_int1e_cpu(ks_ctx *ctx, const ks_system *sys, int64_t n_frame, const double *pos, double *S, double *T,
                       double *V, double *dip);
ks_status ks_int1e_guess_cpu(ks_ctx *ctx, const ks_system *sys, int64_t n_frame, const double *pos, double *S12);
ks_status ks_eri_bytes_cpu(ks_ctx *ctx, const ks_system *sys, int64_t *bytes_per_frame);
ks_status ks_eri_open_cpu(ks_ctx *ctx, const ks_system *sys, int64_t capacity, void **impl);
void      ks_eri_close_cpu(ks_ctx *ctx, void *impl);
ks_status ks_eri_build_cpu(ks_ctx *ctx, void *impl, int64_t n_frame, const int32_t *slot, const double *pos);
ks_status ks_eri_value_cpu(ks_ctx *ctx, const void *impl, int32_t slot, int64_t i, int64_t j, int64_t k, int64_t l,
                           double *value);
ks_status ks_jk_cpu(ks_ctx *ctx, const void *impl, int64_t n_frame, const int32_t *slot, int64_t n_dm, const double *D,
                    double *J, double *K);
ks_status ks_jk_adj_cpu(ks_ctx *ctx, const void *impl, int64_t n_frame, const int32_t *slot, int64_t n_dm,
                        const double *J_bar, const double *K_bar, double *D_bar);
#endif
