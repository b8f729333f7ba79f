/* net_ops.h -- backend slots of the net family. Private; see src/core/backend.h. */
#ifndef KS_NET_OPS_H
#define KS_NET_OPS_H
#include "core/backend.h"

typedef struct ks_ops_net {
    int n_slot; /* replaced by the family's function pointers */
} ks_ops_net;

extern const ks_ops_net ks_ops_net_cpu;
#endif
