/* boys_table.h -- the table behind src/pointwise/boys.h. Private. */
#ifndef KS_BOYS_TABLE_H
#define KS_BOYS_TABLE_H

/* All orders, KS_BOYS_TABLE_N doubles, 64-byte aligned; made on first use, thread-safe. Never NULL. */
const double *ks_boys_table(void);
#endif
