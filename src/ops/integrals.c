/* integrals.c -- argument checks, dispatch and CPU slots of the integrals family. */
#include "ops/integrals_ops.h"

const ks_ops_integrals ks_ops_integrals_cpu = {.n_slot = 0};
