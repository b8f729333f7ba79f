/* nccl_describe.c -- what `ksgrad doctor` says of NCCL, in builds with and without it. */
#include <stdio.h>
#include "comm/transport.h"
#include "core/backend.h"

void ks_nccl_describe(char *out, size_t size) {
    const ks_backend *cuda = ks_backend_find("cuda");
    if (cuda && cuda->transport && cuda->transport->describe) cuda->transport->describe(out, size);
    else snprintf(out, size, "%s", cuda ? "this build has none (nccl.h was not found)" : "only with the backend cuda");
}
