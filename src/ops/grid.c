/* grid.c -- argument checks, dispatch and CPU slots of the grid family. */
#include "ops/grid_ops.h"

const ks_ops_grid ks_ops_grid_cpu = {.n_slot = 0};
