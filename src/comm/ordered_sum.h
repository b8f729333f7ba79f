/* ordered_sum.h -- sums over ranks on the host, in rank order: the same bits wherever they are made. Private. */
#ifndef KS_ORDERED_SUM_H
#define KS_ORDERED_SUM_H
#include "ksgrad/comm.h"

/* out[i] = (x[0][i] + x[1][i]) + ... + x[n_rank-1][i], out may be one of the x. fp32 and fp64 in their own precision,
 * bf16 in fp32 and rounded once. On up to `threads` threads when n is large. */
void ks_ordered_sum(ks_comm_type type, int64_t n, int n_rank, const void *const *x, void *out, int threads);
/* The same with the least of them; NaN where one of them is. */
void ks_ordered_min(int64_t n, int n_rank, const void *const *x, double *out);
#endif
