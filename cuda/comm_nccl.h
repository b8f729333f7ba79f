/* comm_nccl.h -- the C face of comm_nccl.cu: the functions of its ks_transport (comm/transport.h). Private. */
#ifndef KS_COMM_NCCL_H
#define KS_COMM_NCCL_H
#include "ksgrad/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

ks_status ks_nccl_open_cuda(ks_comm *comm, ks_ctx *ctx, void **state);
void      ks_nccl_close_cuda(void *state, int has_failed);
ks_status ks_nccl_fork_cuda(void *state);
ks_status ks_nccl_join_cuda(void *state);
ks_status ks_nccl_sum_cuda(void *state, ks_comm_type type, int64_t n, void *x);
ks_status ks_nccl_min_cuda(void *state, int64_t n, double *x);
ks_status ks_nccl_reduce_scatter_cuda(void *state, ks_comm_type type, int64_t n_each, void *x);
ks_status ks_nccl_all_gather_cuda(void *state, ks_comm_type type, int64_t n_each, void *x);
ks_status ks_nccl_poll_cuda(void *state);
void      ks_nccl_abort_cuda(void *state);

#ifdef __cplusplus
}
#endif
#endif
