/* nccl_table.c -- cuda/nccl_library.h in programs with the launcher: nccl.cpp is linked, nothing is loaded. */
#include "cuda/nccl_library.h"
#include <stdio.h>

static const ks_nccl g_nccl = {
#define X(name) .name = name,
    KS_NCCL_FUNCTIONS(X)
#undef X
        .version = NCCL_VERSION_CODE,
    .path        = "the launcher's",
};

ks_status ks_nccl_load(const ks_nccl **out) {
    *out = &g_nccl;
    return KS_OK;
}
void ks_nccl_library_describe(char *out, size_t size) { snprintf(out, size, "2.28.9, %s", g_nccl.path); }
