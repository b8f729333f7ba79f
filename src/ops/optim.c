/* optim.c -- argument checks, dispatch and CPU slots of the optim family. */
#include "ops/optim_ops.h"

const ks_ops_optim ks_ops_optim_cpu = {.n_slot = 0};
