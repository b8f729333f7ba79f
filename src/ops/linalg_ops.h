/* linalg_ops.h -- backend slots of the linalg family. Private; see src/core/backend.h. */
#ifndef KS_LINALG_OPS_H
#define KS_LINALG_OPS_H
#include "core/backend.h"

typedef struct ks_ops_linalg {
    int n_slot; /* replaced by the family's function pointers */
} ks_ops_linalg;

extern const ks_ops_linalg ks_ops_linalg_cpu;
#endif
