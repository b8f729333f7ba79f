/* nccl_library.h -- NCCL, loaded when several ranks need it. Private.
 *
 * nccl.h is needed to build, libnccl.so.2 only where ranks meet: one GPU needs none. The file is
 * that of KS_NCCL in the environment, else what the system's loader finds, else the toolkit's. It stays loaded. */
#ifndef KS_NCCL_LIBRARY_H
#define KS_NCCL_LIBRARY_H
#include <nccl.h>
#include <stddef.h>
#include "ksgrad/status.h"

#if NCCL_VERSION_CODE < 21800
#error "nccl.h is older than 2.18"
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define KS_NCCL_FUNCTIONS(X)                                                                                           \
    X(ncclGetVersion)                                                                                                  \
    X(ncclGetUniqueId)                                                                                                 \
    X(ncclCommInitRankConfig)                                                                                          \
    X(ncclCommGetAsyncError)                                                                                           \
    X(ncclCommFinalize)                                                                                                \
    X(ncclCommDestroy)                                                                                                 \
    X(ncclCommAbort)                                                                                                   \
    X(ncclAllReduce)                                                                                                   \
    X(ncclReduceScatter)                                                                                               \
    X(ncclAllGather)                                                                                                   \
    X(ncclGetErrorString)                                                                                              \
    X(ncclGetLastError)

typedef struct ks_nccl {
#define X(name) __typeof__(name) *name;
    KS_NCCL_FUNCTIONS(X)
#undef X
    int         version; /* 22809: 2.28.9 */
    const char *path;    /* of the file; lives as long as the library */
} ks_nccl;

/* KS_ERR_UNSUPPORTED names what was tried and why it failed; KS_NCCL_OLDEST is what it must be. */
#define KS_NCCL_OLDEST 21800
KS_NODISCARD ks_status ks_nccl_load(const ks_nccl **out);
/* "2.28.9, /usr/lib/libnccl.so.2", or why there is none. */
void ks_nccl_library_describe(char *out, size_t size);

#ifdef __cplusplus
}
#endif
#endif
