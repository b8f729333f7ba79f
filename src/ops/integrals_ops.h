/* integrals_ops.h -- backend slots of the integrals family. Private; see src/core/backend.h. */
#ifndef KS_INTEGRALS_OPS_H
#define KS_INTEGRALS_OPS_H
#include "core/backend.h"

typedef struct ks_ops_integrals {
    int n_slot; /* replaced by the family's function pointers */
} ks_ops_integrals;

extern const ks_ops_integrals ks_ops_integrals_cpu;
#endif
