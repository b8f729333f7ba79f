/* eri_pool.h -- what ks_eri.impl is on the CUDA backend, for C files and the kernels; the layout of the store is
 * described in ops/integrals_cuda.cuh. Private. */
#ifndef KS_ERI_POOL_H
#define KS_ERI_POOL_H
#include <stdint.h>
#include "ksgrad/system.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What depends on the system only: order of the AOs, shell pairs by class, exponents and coefficients, Boys rows. Made
 * once (eri_tables.cu); the rest of it is in eri_cuda.cuh. */
typedef struct ks_eri_tables_cuda ks_eri_tables_cuda;
/* (n_ao) PySCF AO of each place in the store's order; place of each PySCF AO. The first two in device memory. */
typedef struct ks_eri_order_cuda {
    const int32_t *ao, *place, *place_host;
} ks_eri_order_cuda;
KS_NODISCARD ks_status ks_eri_tables_cuda_create(ks_ctx *ctx, const ks_system *sys, ks_eri_tables_cuda **out);
void                   ks_eri_tables_cuda_destroy(ks_ctx *ctx, ks_eri_tables_cuda **tables); /* accepts NULL */
ks_eri_order_cuda      ks_eri_tables_cuda_order(const ks_eri_tables_cuda *tables);

typedef struct ks_eri_cuda {
    const ks_system    *sys;
    ks_eri_tables_cuda *tables;
    ks_eri_order_cuda   order; /* = ks_eri_tables_cuda_order(tables) */
    int64_t             capacity, n_ao, n_pair, ld;
    double             *store; /* (capacity, n_pair, ld) device */
} ks_eri_cuda;

#ifdef __cplusplus
}
#endif
#endif
