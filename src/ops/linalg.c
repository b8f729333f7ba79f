/* linalg.c -- argument checks, dispatch and CPU slots of the linalg family. */
#include "ops/linalg_ops.h"

const ks_ops_linalg ks_ops_linalg_cpu = {.n_slot = 0};
