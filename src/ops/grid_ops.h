/* grid_ops.h -- backend slots of the grid family. Private; see src/core/backend.h. */
#ifndef KS_GRID_OPS_H
#define KS_GRID_OPS_H
#include "core/backend.h"

typedef struct ks_ops_grid {
    int n_slot; /* replaced by the family's function pointers */
} ks_ops_grid;

extern const ks_ops_grid ks_ops_grid_cpu;
#endif
