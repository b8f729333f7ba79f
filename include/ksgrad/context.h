/* context.h -- execution context: backend, threads, memory.
 *
 * A ks_ctx is created once per process (or once per test) and passed to every op. It owns the scratch arenas.
 * Memory of a context ("backend memory") is host memory on the CPU backend and device memory on CUDA. */
#ifndef KS_CONTEXT_H
#define KS_CONTEXT_H
#include <stddef.h>
#include <stdint.h>
#include "ksgrad/arena.h"
#include "ksgrad/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ks_ctx ks_ctx;

typedef struct ks_ctx_options {
    const char *backend; /* "auto", "cpu" or "cuda"; NULL means "cpu". "auto": cuda when usable, else cpu */
    int         threads; /* CPU threads; 0: what the process may use (affinity mask) */
    int         device;  /* which of the GPUs that the process sees; of a single one, that one */
} ks_ctx_options;

/* opt may be NULL (cpu, all threads). Not-available backends are KS_ERR_UNSUPPORTED, never a fallback. */
KS_NODISCARD ks_status ks_ctx_create(const ks_ctx_options *opt, ks_ctx **out);
void                   ks_ctx_destroy(ks_ctx **ctx); /* accepts NULL and &NULL */

const char *ks_ctx_backend(const ks_ctx *ctx); /* "cpu" or "cuda" */
int         ks_ctx_threads(const ks_ctx *ctx);
const char *ks_cpu_isa(void); /* "avx512", "avx2" or "base": what the lane kernels run as (KSGRAD_ISA lowers it) */

typedef struct ks_device_info {
    char name[128]; /* of the GPU; empty on the CPU backend, likewise id */
    char id[64];    /* UUID */
    int  index, n;  /* which of the n that the process sees */
} ks_device_info;
KS_NODISCARD ks_status ks_ctx_device(const ks_ctx *ctx, ks_device_info *out);

int ks_ctx_is_host(const ks_ctx *ctx); /* 1: backend memory is host memory and may be read in place */

/* Backend memory, 64-byte aligned. bytes == 0 gives NULL. The pointer is released by ks_mem_free. Every array of an
 * op is backend memory unless its contract says host, index arrays (slots, occupations, masks) included. */
KS_NODISCARD ks_status ks_mem_alloc(ks_ctx *ctx, size_t bytes, void **out);
void                   ks_mem_free(ks_ctx *ctx, void **ptr); /* accepts NULL */
/* host_src has been read on return; the copy itself is queued behind earlier work, and nothing waits for the device
 * unless the copy is larger than the staging buffer. */
KS_NODISCARD ks_status ks_mem_to_backend(ks_ctx *ctx, void *dst, const void *host_src, size_t bytes);
KS_NODISCARD ks_status ks_mem_to_host(ks_ctx *ctx, void *host_dst, const void *src, size_t bytes); /* waits */
KS_NODISCARD ks_status ks_mem_zero(ks_ctx *ctx, void *dst, size_t bytes);
/* Waits for all queued work. An error that a kernel has met (KS_ERR_DATA, KS_ERR_NUMERIC) is reported here. */
KS_NODISCARD ks_status ks_sync(ks_ctx *ctx);
int64_t                ks_mem_available(const ks_ctx *ctx); /* bytes of backend memory that can still be had */
int64_t                ks_mem_epoch(const ks_ctx *ctx);     /* counts allocations and releases of backend memory */

/* A result on its way to the host while the next work is queued: start queues the copy, wait waits for it alone (and
 * reports errors of kernels as ks_sync does). ks_fetch_host: the host copy, valid between wait and the next start. */
typedef struct ks_fetch ks_fetch;
KS_NODISCARD ks_status  ks_fetch_create(ks_ctx *ctx, size_t bytes, ks_fetch **out);
void                    ks_fetch_destroy(ks_fetch **fetch);
KS_NODISCARD ks_status  ks_fetch_start(ks_fetch *fetch, const void *src, size_t bytes);
KS_NODISCARD ks_status  ks_fetch_wait(ks_fetch *fetch);
KS_NODISCARD ks_status  ks_fetch_is_ready(ks_fetch *fetch, int *ready); /* 1: ks_fetch_wait would not wait */
const void             *ks_fetch_host(const ks_fetch *fetch);

/* Recorded work: what is queued between begin and end is recorded instead of run, and every launch runs it again on
 * the same addresses: good as long as ks_mem_epoch stays what it was. Between them nothing may be allocated, waited for, or copied from or to the host. Backends that
 * queue nothing have no recordings: ks_ctx_has_graphs is 0 and begin is KS_ERR_UNSUPPORTED. */
typedef struct ks_graph ks_graph;
int                     ks_ctx_has_graphs(const ks_ctx *ctx);
KS_NODISCARD ks_status  ks_graph_begin(ks_ctx *ctx);
KS_NODISCARD ks_status  ks_graph_end(ks_ctx *ctx, ks_graph **out); /* out NULL: the recording is thrown away */
KS_NODISCARD ks_status  ks_graph_launch(ks_graph *graph);
void                    ks_graph_destroy(ks_graph **graph);

/* Independent pieces of work (the segments of a batch) may run side by side: ks_branch(ctx, k) sends what follows to
 * branch k mod (number of branches), behind all that was queued before the fork; ks_join puts what follows behind all
 * branches. Each branch has its own scratch. On the CPU there is one branch, and both do nothing. */
KS_NODISCARD ks_status ks_branch(ks_ctx *ctx, int64_t k);
KS_NODISCARD ks_status ks_join(ks_ctx *ctx);

/* Scratch of the current op: take from it between ks_arena_get_mark and ks_arena_release (arena.h). Backend memory,
 * released memory being used again in the order of the queue; one arena per branch: ask again after ks_branch. */
ks_arena *ks_ctx_scratch(ks_ctx *ctx);
/* Host memory: for the calling thread, and one arena per worker of parallel regions (0 <= thread < ks_ctx_threads). */
ks_arena *ks_ctx_host_scratch(ks_ctx *ctx);
ks_arena *ks_ctx_thread_scratch(ks_ctx *ctx, int thread);

/* Number of allocations made through this library so far (arena growth, ks_mem_alloc, ks_host_alloc):
 * a warm training step must not move it. */
int64_t ks_alloc_count(void);
/* Test hook: the n-th allocation from now fails once (n >= 1); 0 switches it off. */
void ks_alloc_fail_after(int64_t n);

/* Host memory, 64-byte aligned, counted and fault-injected like the rest. Overflow-checked: n * size. */
KS_NODISCARD ks_status ks_host_alloc(int64_t n, size_t size, void **out); /* uninitialised; n == 0 gives NULL */
KS_NODISCARD ks_status ks_host_zalloc(int64_t n, size_t size, void **out);
void                   ks_host_free(void **ptr);
KS_NODISCARD ks_status ks_host_strdup(const char *s, char **out);

/* *out = a * b, KS_ERR_ARG when it overflows or an argument is negative. */
KS_NODISCARD ks_status ks_mul_i64(int64_t a, int64_t b, int64_t *out);
/* Checked narrowing for BLAS/LAPACK. */
KS_NODISCARD ks_status ks_int(int64_t n, int *out);

/* Typed shorthand: KS_NEW(ptr, n) and KS_ZNEW(ptr, n) inside KS_TRY, KS_FREE(ptr) anywhere. */
#define KS_NEW(ptr, n) ks_host_alloc((int64_t)(n), sizeof *(ptr), (void **)&(ptr))
#define KS_ZNEW(ptr, n) ks_host_zalloc((int64_t)(n), sizeof *(ptr), (void **)&(ptr))
#define KS_FREE(ptr) ks_host_free((void **)&(ptr))

/* Program version "0.1.0 (git <hash>)" and build options, as stored in every output file. */
const char *ks_version(void);
const char *ks_build_info(void);

#ifdef __cplusplus
}
#endif
#endif
