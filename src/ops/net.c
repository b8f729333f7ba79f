/* net.c -- argument checks, dispatch and CPU slots of the net family. */
#include "ops/net_ops.h"

const ks_ops_net ks_ops_net_cpu = {.n_slot = 0};
