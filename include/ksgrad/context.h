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
} ks_ctx_options;

/* opt may be NULL (cpu, all threads). Not-available backends are KS_ERR_UNSUPPORTED, never a fallback. */
KS_NODISCARD ks_status ks_ctx_create(const ks_ctx_options *opt, ks_ctx **out);
void                   ks_ctx_destroy(ks_ctx **ctx); /* accepts NULL and &NULL */

const char *ks_ctx_backend(const ks_ctx *ctx); /* "cpu" or "cuda" */
int         ks_ctx_threads(const ks_ctx *ctx);
const char *ks_cpu_isa(void); /* "avx512", "avx2" or "base": what the lane kernels run as (KSGRAD_ISA lowers it) */

/* Backend memory, 64-byte aligned. bytes == 0 gives NULL. The pointer is released by ks_mem_free. */
KS_NODISCARD ks_status ks_mem_alloc(ks_ctx *ctx, size_t bytes, void **out);
void                   ks_mem_free(ks_ctx *ctx, void **ptr); /* accepts NULL */
KS_NODISCARD ks_status ks_mem_to_backend(ks_ctx *ctx, void *dst, const void *host_src, size_t bytes);
KS_NODISCARD ks_status ks_mem_to_host(ks_ctx *ctx, void *host_dst, const void *src, size_t bytes);
KS_NODISCARD ks_status ks_mem_zero(ks_ctx *ctx, void *dst, size_t bytes);
KS_NODISCARD ks_status ks_sync(ks_ctx *ctx); /* waits for all queued work; no-op on the CPU */

/* Scratch of the current op: take from it between ks_arena_mark and ks_arena_release (arena.h).
 * One arena for the calling thread, one per worker for parallel regions (0 <= thread < ks_ctx_threads). */
ks_arena *ks_ctx_scratch(ks_ctx *ctx);
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
