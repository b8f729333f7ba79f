/* backend.h -- the backend table and the inside of ks_ctx. Private.
 *
 * One table per backend: memory functions and one sub-table per op family. A family declares its slots in
 * src/ops/<family>_ops.h; the public function of an op (in src/ops/<family>.c) checks the arguments once and
 * calls the slot. An empty slot is KS_ERR_UNSUPPORTED naming op and backend: never a silent host round trip. */
#ifndef KS_BACKEND_H
#define KS_BACKEND_H
#include <stddef.h>
#include "ksgrad/context.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ks_ops_integrals;
struct ks_ops_grid;
struct ks_ops_linalg;
struct ks_ops_net;
struct ks_ops_optim;
struct ks_transport;

typedef struct ks_backend {
    const char *name;
    ks_status (*open)(int device, void **state); /* device handles, streams */
    void (*close)(void *state);
    ks_status (*alloc)(void *state, size_t bytes, void **out);
    void (*free)(void *state, void *ptr);
    ks_status (*to_backend)(void *state, void *dst, const void *src, size_t bytes);
    ks_status (*to_host)(void *state, void *dst, const void *src, size_t bytes);
    ks_status (*zero)(void *state, void *dst, size_t bytes);
    ks_status (*sync)(void *state); /* waits; reports faults that kernels have raised */
    int64_t (*memory)(void *state); /* bytes that can still be allocated */
    ks_status (*device)(void *state, ks_device_info *out); /* empty on the CPU */
    /* Asynchronous read-back into host memory of the backend's own kind; see ks_fetch in context.h. */
    ks_status (*fetch_open)(void *state, size_t bytes, void **fetch, void **host);
    ks_status (*fetch_start)(void *state, void *fetch, void *host, const void *src, size_t bytes);
    ks_status (*fetch_wait)(void *state, void *fetch);
    ks_status (*fetch_is_ready)(void *state, void *fetch, int *ready);
    void (*fetch_close)(void *state, void *fetch);
    /* Capture and replay; empty where nothing is queued (the CPU). */
    ks_status (*graph_begin)(void *state);
    ks_status (*graph_end)(void *state, void **graph); /* graph NULL: throw the capture away */
    ks_status (*graph_launch)(void *state, void *graph);
    void (*graph_close)(void *state, void *graph);
    /* Branches: branch 0 is the main stream; 1..n_branch-1 run beside it between fork and join. */
    int (*n_branch)(void *state);
    ks_status (*branch)(void *state, int branch); /* what is queued from here on goes there */
    ks_status (*join)(void *state);               /* back on branch 0, behind all others */
    const struct ks_ops_integrals *integrals;
    const struct ks_ops_grid      *grid;
    const struct ks_ops_linalg    *linalg;
    const struct ks_ops_net       *net;
    const struct ks_ops_optim     *optim;
    const struct ks_transport     *transport; /* between ranks of this backend (comm/transport.h); empty: the host's */
} ks_backend;

extern const ks_backend ks_backend_cpu;
extern const ks_backend ks_backend_cuda; /* in builds with KS_CUDA, and in the tests' launcher */

/* Counts an allocation of a backend like those of ks_host_alloc; KS_ERR_NOMEM when ks_alloc_fail_after says so. */
KS_NODISCARD ks_status ks_alloc_note(int64_t bytes);

/* Adds a backend under its name (the CUDA library, or the tests' launcher, at start-up). At most 4. */
KS_NODISCARD ks_status ks_backend_register(const ks_backend *backend);
/* NULL: no backend of this name in this program. */
const ks_backend *ks_backend_find(const char *name);

struct ks_ctx {
    const ks_backend *backend;
    void             *state; /* of the backend: NULL on the CPU, ks_cuda * on CUDA */
    int               n_thread;
    int               n_branch, branch; /* branch: the current one */
    int64_t           mem_epoch;
    ks_arena        **scratch; /* (n_branch) backend memory */
    ks_arena         *host_scratch;
    ks_arena        **thread_scratch; /* (n_thread) host memory */
};

/* The slot `op` of family `fam`, or an error that names both; needs st and done like KS_CHECK. */
#define KS_SLOT(ctx, fam, op)                                                                                          \
    KS_CHECK((ctx) && (ctx)->backend->fam && (ctx)->backend->fam->op, KS_ERR_UNSUPPORTED,                              \
             "op " #op " is not available on backend %s", (ctx) ? (ctx)->backend->name : "(none)")

#ifdef __cplusplus
}
#endif
#endif
