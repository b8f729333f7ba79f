/* context.c -- see context.h: contexts, the list of backends, the CPU backend's memory functions. */
#define _GNU_SOURCE
#include "ksgrad/context.h"
#include <cblas.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include "core/backend.h"
#include "core/machine.h"

enum { MAX_BACKENDS = 4, MAX_THREADS = 1024, SCRATCH_BYTES = 1 << 20 };

#ifdef KS_CUDA
static const ks_backend *g_backends[MAX_BACKENDS] = {&ks_backend_cpu, &ks_backend_cuda};
static int               g_n_backend              = 2;
#else
static const ks_backend *g_backends[MAX_BACKENDS] = {&ks_backend_cpu};
static int               g_n_backend              = 1;
#endif

ks_status ks_backend_register(const ks_backend *backend) {
    ks_status st = KS_OK;
    KS_CHECK(backend && g_n_backend < MAX_BACKENDS, KS_ERR_ARG, "cannot register another backend");
    for (int i = 0; i < g_n_backend; i++)
        if (g_backends[i] == backend) return KS_OK;
    g_backends[g_n_backend++] = backend;
done:
    return st;
}

const ks_backend *ks_backend_find(const char *name) {
    for (int i = 0; i < g_n_backend; i++)
        if (!strcmp(g_backends[i]->name, name)) return g_backends[i];
    return NULL;
}

static int usable_threads(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

ks_status ks_ctx_create(const ks_ctx_options *opt, ks_ctx **out) {
    ks_status   st   = KS_OK;
    ks_ctx     *ctx  = NULL;
    const char *name = opt && opt->backend ? opt->backend : "cpu";
    const int   nthr = opt ? opt->threads : 0, device = opt ? opt->device : 0;
    KS_CHECK(out, KS_ERR_ARG, "context: NULL argument");
    KS_CHECK(nthr >= 0 && nthr <= MAX_THREADS, KS_ERR_ARG, "threads=%d, limit 0..%d", nthr, MAX_THREADS);
    KS_TRY(KS_ZNEW(ctx, 1));
    if (!strcmp(name, "auto")) {
        const ks_backend *cuda = ks_backend_find("cuda");
        if (cuda && cuda->open(device, &ctx->state) == KS_OK) {
            ctx->backend = cuda;
        } else {
            ks_error_clear();
            name = "cpu";
        }
    }
    if (!ctx->backend) {
        const ks_backend *b = ks_backend_find(name);
        KS_CHECK(b, KS_ERR_UNSUPPORTED, "backend '%s' is not part of this build", name);
        if (b->open) KS_TRY(b->open(device, &ctx->state));
        ctx->backend = b;
    }
    ctx->n_thread = nthr ? nthr : usable_threads();
    ctx->n_branch = ctx->backend->n_branch ? ctx->backend->n_branch(ctx->state) : 1;
    KS_TRY(KS_ZNEW(ctx->scratch, ctx->n_branch));
    for (int b = 0; b < ctx->n_branch; b++) KS_TRY(ks_arena_create_on(ctx, "scratch", SCRATCH_BYTES, &ctx->scratch[b]));
    KS_TRY(ks_arena_create("host scratch", SCRATCH_BYTES, &ctx->host_scratch));
    KS_TRY(KS_ZNEW(ctx->thread_scratch, ctx->n_thread));
    for (int t = 0; t < ctx->n_thread; t++)
        KS_TRY(ks_arena_create("thread scratch", SCRATCH_BYTES, &ctx->thread_scratch[t]));
    openblas_set_num_threads(1); /* parallelism is OpenMP's, over frames, blocks and panels */
    *out = ctx;
    ctx  = NULL;
done:
    ks_ctx_destroy(&ctx);
    return st;
}

void ks_ctx_destroy(ks_ctx **pctx) {
    if (!pctx || !*pctx) return;
    ks_ctx *ctx = *pctx;
    if (ctx->thread_scratch)
        for (int t = 0; t < ctx->n_thread; t++) ks_arena_destroy(&ctx->thread_scratch[t]);
    KS_FREE(ctx->thread_scratch);
    if (ctx->scratch)
        for (int b = 0; b < ctx->n_branch; b++) ks_arena_destroy(&ctx->scratch[b]);
    KS_FREE(ctx->scratch);
    ks_arena_destroy(&ctx->host_scratch);
    if (ctx->backend && ctx->backend->close) ctx->backend->close(ctx->state);
    KS_FREE(*pctx);
}

const char *ks_ctx_backend(const ks_ctx *ctx) { return ctx->backend->name; }
int         ks_ctx_threads(const ks_ctx *ctx) { return ctx->n_thread; }
ks_status   ks_ctx_device(const ks_ctx *ctx, ks_device_info *out) {
    *out = (ks_device_info){.n = 0};
    return ctx->backend->device ? ctx->backend->device(ctx->state, out) : KS_OK;
}
int         ks_ctx_is_host(const ks_ctx *ctx) { return ctx->backend == &ks_backend_cpu; }
ks_arena   *ks_ctx_scratch(ks_ctx *ctx) { return ctx->scratch[ctx->branch]; }
ks_arena   *ks_ctx_host_scratch(ks_ctx *ctx) { return ctx->host_scratch; }
ks_arena   *ks_ctx_thread_scratch(ks_ctx *ctx, int thread) { return ctx->thread_scratch[thread]; }

ks_status ks_mem_alloc(ks_ctx *ctx, size_t bytes, void **out) {
    *out = NULL;
    ctx->mem_epoch += bytes != 0;
    return bytes ? ctx->backend->alloc(ctx->state, bytes, out) : KS_OK;
}
void ks_mem_free(ks_ctx *ctx, void **ptr) {
    if (!ctx || !ptr || !*ptr) return;
    ctx->mem_epoch++;
    ctx->backend->free(ctx->state, *ptr);
    *ptr = NULL;
}
ks_status ks_mem_to_backend(ks_ctx *ctx, void *dst, const void *src, size_t bytes) {
    return bytes ? ctx->backend->to_backend(ctx->state, dst, src, bytes) : KS_OK;
}
ks_status ks_mem_to_host(ks_ctx *ctx, void *dst, const void *src, size_t bytes) {
    return bytes ? ctx->backend->to_host(ctx->state, dst, src, bytes) : KS_OK;
}
ks_status ks_mem_zero(ks_ctx *ctx, void *dst, size_t bytes) {
    return bytes ? ctx->backend->zero(ctx->state, dst, bytes) : KS_OK;
}
ks_status ks_sync(ks_ctx *ctx) { return ctx->backend->sync ? ctx->backend->sync(ctx->state) : KS_OK; }
int64_t   ks_mem_epoch(const ks_ctx *ctx) { return ctx->mem_epoch; }
int64_t   ks_mem_available(const ks_ctx *ctx) { return ctx->backend->memory(ctx->state); }

/* ---- read-back, recordings, branches: in place where nothing is queued ---- */

struct ks_fetch {
    ks_ctx *ctx;
    size_t  bytes;
    void   *impl, *host;
};

ks_status ks_fetch_create(ks_ctx *ctx, size_t bytes, ks_fetch **out) {
    ks_status st = KS_OK;
    ks_fetch *f  = NULL;
    KS_CHECK(ctx && out && bytes, KS_ERR_ARG, "fetch: NULL argument or no bytes");
    KS_TRY(KS_ZNEW(f, 1));
    f->ctx = ctx, f->bytes = bytes;
    if (ctx->backend->fetch_open) KS_TRY(ctx->backend->fetch_open(ctx->state, bytes, &f->impl, &f->host));
    else KS_TRY(ks_host_alloc((int64_t)bytes, 1, &f->host));
    *out = f;
    f    = NULL;
done:
    ks_fetch_destroy(&f);
    return st;
}
void ks_fetch_destroy(ks_fetch **fetch) {
    if (!fetch || !*fetch) return;
    ks_fetch *f = *fetch;
    if (f->ctx->backend->fetch_close) f->ctx->backend->fetch_close(f->ctx->state, f->impl);
    else ks_host_free(&f->host);
    KS_FREE(*fetch);
}
ks_status ks_fetch_start(ks_fetch *f, const void *src, size_t bytes) {
    ks_status st = KS_OK;
    KS_CHECK(f && src && bytes <= f->bytes, KS_ERR_ARG, "fetch of %zu bytes, room for %zu", bytes, f ? f->bytes : 0);
    if (f->ctx->backend->fetch_start) KS_TRY(f->ctx->backend->fetch_start(f->ctx->state, f->impl, f->host, src, bytes));
    else memcpy(f->host, src, bytes);
done:
    return st;
}
ks_status ks_fetch_wait(ks_fetch *f) {
    return f->ctx->backend->fetch_wait ? f->ctx->backend->fetch_wait(f->ctx->state, f->impl) : KS_OK;
}
ks_status ks_fetch_is_ready(ks_fetch *f, int *ready) {
    *ready = 1;
    return f->ctx->backend->fetch_is_ready ? f->ctx->backend->fetch_is_ready(f->ctx->state, f->impl, ready) : KS_OK;
}
const void *ks_fetch_host(const ks_fetch *f) { return f->host; }

struct ks_graph {
    ks_ctx *ctx;
    void   *impl;
};

int       ks_ctx_has_graphs(const ks_ctx *ctx) { return ctx->backend->graph_begin != NULL; }
ks_status ks_graph_begin(ks_ctx *ctx) {
    ks_status st = KS_OK;
    KS_CHECK(ctx->backend->graph_begin, KS_ERR_UNSUPPORTED, "backend %s has no recordings", ctx->backend->name);
    KS_TRY(ctx->backend->graph_begin(ctx->state));
done:
    return st;
}
ks_status ks_graph_end(ks_ctx *ctx, ks_graph **out) {
    ks_status st = KS_OK;
    ks_graph *g  = NULL;
    if (!out) return ctx->backend->graph_end(ctx->state, NULL);
    *out = NULL;
    st   = KS_ZNEW(g, 1);
    if (st != KS_OK) (void)ctx->backend->graph_end(ctx->state, NULL); /* never left open */
    KS_TRY(st);
    g->ctx = ctx;
    KS_TRY(ctx->backend->graph_end(ctx->state, &g->impl));
    *out = g;
    g    = NULL;
done:
    KS_FREE(g);
    return st;
}
ks_status ks_graph_launch(ks_graph *g) { return g->ctx->backend->graph_launch(g->ctx->state, g->impl); }
void      ks_graph_destroy(ks_graph **graph) {
         if (!graph || !*graph) return;
    (*graph)->ctx->backend->graph_close((*graph)->ctx->state, (*graph)->impl);
         KS_FREE(*graph);
}

ks_status ks_branch(ks_ctx *ctx, int64_t k) {
    ks_status st = KS_OK;
    if (ctx->n_branch == 1) return KS_OK;
    KS_TRY(ctx->backend->branch(ctx->state, (int)(k % ctx->n_branch)));
    ctx->branch = (int)(k % ctx->n_branch);
done:
    return st;
}
ks_status ks_join(ks_ctx *ctx) {
    if (ctx->n_branch == 1) return KS_OK;
    ctx->branch = 0;
    return ctx->backend->join(ctx->state);
}

const char *ks_cpu_isa(void) {
#if defined(__x86_64__)
    static const char *const names[] = {"base", "avx2", "avx512"};
    int                      best    = 0;
    const char              *cap     = getenv("KSGRAD_ISA");
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = 1;
    if (best && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
        best = 2;
    for (int i = 0; cap && i < best; i++)
        if (!strcmp(cap, names[i])) best = i;
    return names[best];
#else
    return "base";
#endif
}

/* ---- memory of the CPU backend: plain host memory ---- */

static ks_status cpu_alloc(void *state, size_t bytes, void **out) {
    (void)state;
    return ks_host_alloc((int64_t)bytes, 1, out);
}
static void cpu_free(void *state, void *ptr) {
    (void)state;
    ks_host_free(&ptr);
}
static ks_status cpu_copy(void *state, void *dst, const void *src, size_t bytes) {
    (void)state;
    memcpy(dst, src, bytes);
    return KS_OK;
}
static ks_status cpu_zero(void *state, void *dst, size_t bytes) {
    (void)state;
    memset(dst, 0, bytes);
    return KS_OK;
}

static int64_t cpu_memory(void *state) {
    (void)state;
    return ks_memory_available();
}

/* The CPU sub-tables live beside their families in src/ops. */
extern const struct ks_ops_integrals ks_ops_integrals_cpu;
extern const struct ks_ops_grid      ks_ops_grid_cpu;
extern const struct ks_ops_linalg    ks_ops_linalg_cpu;
extern const struct ks_ops_net       ks_ops_net_cpu;
extern const struct ks_ops_optim     ks_ops_optim_cpu;

const ks_backend ks_backend_cpu = {
    .name       = "cpu",
    .alloc      = cpu_alloc,
    .free       = cpu_free,
    .to_backend = cpu_copy,
    .to_host    = cpu_copy,
    .zero       = cpu_zero,
    .memory     = cpu_memory,
    .integrals  = &ks_ops_integrals_cpu,
    .grid       = &ks_ops_grid_cpu,
    .linalg     = &ks_ops_linalg_cpu,
    .net        = &ks_ops_net_cpu,
    .optim      = &ks_ops_optim_cpu,
};
