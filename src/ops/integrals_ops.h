/* integrals_ops.h -- backend slots of the integrals family. Private; see src/core/backend.h. */
#ifndef KS_INTEGRALS_OPS_H
#define KS_INTEGRALS_OPS_H
#include "core/backend.h"
#include "ksgrad/integrals.h"

/* What ks_eri points to: the backend's own data behind one handle. */
struct ks_eri {
    ks_ctx          *ctx;
    const ks_system *sys;
    int64_t          capacity;
    void            *impl; /* of the backend that made it */
};

/* Arguments as in ksgrad/integrals.h, checked; n_frame > 0. */
typedef struct ks_ops_integrals {
    ks_status (*int1e)(ks_ctx *ctx, const ks_system *sys, int64_t n_frame, const double *pos, double *S, double *T,
                       double *V, double *dip);
    ks_status (*int1e_guess)(ks_ctx *ctx, const ks_system *sys, int64_t n_frame, const double *pos, double *S12);
    ks_status (*eri_bytes)(ks_ctx *ctx, const ks_system *sys, int64_t *bytes_per_frame);
    ks_status (*eri_open)(ks_ctx *ctx, const ks_system *sys, int64_t capacity, void **impl);
    void (*eri_close)(ks_ctx *ctx, void *impl);
    ks_status (*eri_build)(ks_ctx *ctx, void *impl, int64_t n_frame, const int32_t *slot, const double *pos);
    ks_status (*eri_value)(ks_ctx *ctx, const void *impl, int32_t slot, int64_t i, int64_t j, int64_t k, int64_t l,
                           double *value);
    /* add != 0: J and K are added into J_out, which may equal K_out's role: see ks_jk_adj */
    ks_status (*jk)(ks_ctx *ctx, const void *impl, int64_t n_frame, const int32_t *slot, int64_t n_dm, const double *D,
                    double *J, double *K);
    ks_status (*jk_adj)(ks_ctx *ctx, const void *impl, int64_t n_frame, const int32_t *slot, int64_t n_dm,
                        const double *J_bar, const double *K_bar, double *D_bar);
} ks_ops_integrals;

extern const ks_ops_integrals ks_ops_integrals_cpu;
#endif
