/* optim_ops.h -- backend slots of the optim family. Private; see src/core/backend.h. */
#ifndef KS_OPTIM_OPS_H
#define KS_OPTIM_OPS_H
#include "core/backend.h"

typedef struct ks_ops_optim {
    int n_slot; /* replaced by the family's function pointers */
} ks_ops_optim;

extern const ks_ops_optim ks_ops_optim_cpu;
#endif
