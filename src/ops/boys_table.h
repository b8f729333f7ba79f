/* boys_table.h -- the table behind src/pointwise/boys.h. Private. */
#ifndef KS_BOYS_TABLE_H
#define KS_BOYS_TABLE_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* All orders, KS_BOYS_TABLE_N doubles, 64-byte aligned; made on first use, thread-safe. Never NULL. */
const double *ks_boys_table(void);

/* F (n, L+1) = F_0..F_L of each T (n), one lane build of each. */
typedef void     ks_boys_array_fn(int L, int64_t n, const double *T, double *F);
ks_boys_array_fn ks_boys_array_base, ks_boys_array_avx2, ks_boys_array_avx512;

#ifdef __cplusplus
}
#endif
#endif
