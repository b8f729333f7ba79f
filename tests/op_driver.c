/* op_driver.c -- see op_driver.h. Arrays, guards and runs; the checks themselves are in op_checks.c. */
#include "op_driver_impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "core/backend.h"

/* Present in programs that are linked with the launcher of tests/emu. */
__attribute__((weak)) const ks_backend *ks_emu_backend(void);

static const char *g_backend = "cpu";

const char *t_op_backend(void) { return g_backend; }

_Noreturn void t_die(const char *what) {
    printf("FAIL op driver: %s\n%s\n", what, ks_error_trace());
    exit(1);
}

_Noreturn static void skip(const char *why) {
    printf("SKIP %s\n", why);
    exit(77);
}

static ks_status open_backend(const char *name, int threads, ks_ctx **out) {
    ks_ctx_options opt = {.backend = !strcmp(name, "emu") ? "cuda" : name, .threads = threads};
    return ks_ctx_create(&opt, out);
}

ks_ctx *t_open(const char *backend, int threads) {
    ks_ctx *ctx = NULL;
    if (open_backend(backend, threads, &ctx) != KS_OK) t_die("cannot open the backend");
    return ctx;
}

ks_ctx *t_op_ctx(int threads) { return t_open(g_backend, threads); }

void t_op_init(int argc, char **argv) {
    ks_ctx *ctx = NULL;
    if (argc > 1) g_backend = argv[1];
    if (strcmp(g_backend, "cpu") && strcmp(g_backend, "cuda") && strcmp(g_backend, "emu"))
        t_die("the first argument is cpu, cuda or emu");
    if (!strcmp(g_backend, "emu")) {
        if (!ks_emu_backend) skip("this program was built without the launcher");
        if (ks_backend_register(ks_emu_backend()) != KS_OK) t_die("cannot register the launcher");
    }
    if (open_backend(g_backend, 1, &ctx) != KS_OK) skip(ks_error_message());
    ks_ctx_destroy(&ctx);
}

/* ---- random numbers: splitmix64, so that the data do not depend on the code under test ---- */

double t_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z          = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z          = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return 2.0 * ((double)((z ^ (z >> 31)) >> 11) * 0x1p-53) - 1.0;
}

/* ---- arrays: host image with guards, and its place in backend memory ---- */

static size_t type_size(t_type type) { return type == T_F64 ? 8 : 4; }

static void *take(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size);
    if (!p) t_die("out of host memory");
    return p;
}

static void put(t_type type, unsigned char *raw, const double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (type == T_F64) ((double *)raw)[i] = x[i];
        if (type == T_F32) ((float *)raw)[i] = (float)x[i];
        if (type == T_I32) ((int32_t *)raw)[i] = (int32_t)x[i];
    }
}

static void get(t_type type, const unsigned char *raw, double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (type == T_F64) x[i] = ((const double *)raw)[i];
        if (type == T_F32) x[i] = (double)((const float *)raw)[i];
        if (type == T_I32) x[i] = (double)((const int32_t *)raw)[i];
    }
}

void t_round(t_type type, double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (type == T_F32) x[i] = (double)(float)x[i];
        if (type == T_I32) x[i] = (double)(int32_t)x[i];
    }
}

static void buf_open(ks_ctx *ctx, buf *b, t_type type, int64_t n) {
    *b       = (buf){.type = type, .n = n, .elem = type_size(type)};
    b->bytes = ((size_t)n + 2 * GUARD) * b->elem;
    b->raw   = take(b->bytes, 1);
    b->back  = take(b->bytes, 1);
    if (ks_mem_alloc(ctx, b->bytes, &b->mem) != KS_OK) t_die("cannot allocate a test array");
    b->ptr = (char *)b->mem + GUARD * b->elem;
    /* All bits set but the low byte of each element: a NaN with a signature as a float, -256 as an integer. */
    for (size_t i = 0; i < b->bytes; i++) b->raw[i] = i % b->elem ? 0xff : 0x00;
}

static void buf_close(ks_ctx *ctx, buf *b) {
    ks_mem_free(ctx, &b->mem);
    free(b->raw);
    free(b->back);
}

void t_buf_set(ks_ctx *ctx, buf *b, const double *x) {
    put(b->type, b->raw + GUARD * b->elem, x, b->n);
    if (ks_mem_to_backend(ctx, b->mem, b->raw, b->bytes) != KS_OK) t_die("copy to the backend");
}

void t_buf_fill(ks_ctx *ctx, buf *b, double value) {
    double *x = take((size_t)b->n, sizeof *x);
    for (int64_t i = 0; i < b->n; i++) x[i] = b->type == T_I32 && isnan(value) ? -2147483648.0 : value;
    t_buf_set(ctx, b, x);
    free(x);
}

int t_buf_get(ks_ctx *ctx, buf *b, double *x) {
    const size_t g = GUARD * b->elem;
    if (ks_mem_to_host(ctx, b->back, b->mem, b->bytes) != KS_OK) t_die("copy from the backend");
    if (x) get(b->type, b->back + g, x, b->n);
    return !memcmp(b->back, b->raw, g) && !memcmp(b->back + b->bytes - g, b->raw + b->bytes - g, g);
}

int t_buf_is_unchanged(ks_ctx *ctx, buf *b) {
    if (ks_mem_to_host(ctx, b->back, b->mem, b->bytes) != KS_OK) t_die("copy from the backend");
    return !memcmp(b->back, b->raw, b->bytes);
}

/* ---- a run: one case on one context with all its arrays ---- */

static int count_args(const t_arg *a) {
    int n = 0;
    while (n < T_MAX_ARG && a[n].name) n++;
    return n;
}

void t_run_open(run *r, const t_op *op, ks_ctx *ctx, int64_t n) {
    memset(r, 0, sizeof *r);
    r->c     = (t_case){.op = op, .ctx = ctx, .n = n};
    r->n_in  = count_args(op->in);
    r->n_out = count_args(op->out);
    for (int k = 0; k < T_MAX_ARG; k++) r->c.in_size[k] = r->c.out_size[k] = -1;
    const ks_status st = op->build(&r->c);
    if (st == KS_ERR_UNSUPPORTED && strcmp(g_backend, "cpu")) skip(ks_error_message());
    if (st != KS_OK) t_die("build failed");
    for (int k = 0; k < r->n_in; k++) {
        const t_arg  *a    = &op->in[k];
        const int64_t m    = r->c.in_size[k];
        uint64_t      seed = 1000003u * (uint64_t)n + 17u * (uint64_t)k + 1u;
        if (m < 0) t_die("build left a size unset");
        buf_open(ctx, &r->in[k], a->type, m);
        if (a->diff) buf_open(ctx, &r->in_bar[k], a->type, m);
        r->x[k] = take((size_t)m, sizeof(double));
        r->g[k] = take((size_t)m, sizeof(double));
        r->v[k] = take((size_t)m, sizeof(double));
        for (int64_t i = 0; i < m; i++) {
            r->x[k][i] = t_random(&seed);
            if (!a->fill && (a->lo != 0 || a->hi != 0)) r->x[k][i] = a->lo + (a->hi - a->lo) * 0.5 * (r->x[k][i] + 1);
        }
        if (a->fill) a->fill(&r->c, r->x[k]);
        if (a->project) a->project(&r->c, r->x[k]);
        t_round(a->type, r->x[k], m);
    }
    for (int k = 0; k < r->n_out; k++) {
        const t_arg  *a    = &op->out[k];
        const int64_t m    = r->c.out_size[k];
        uint64_t      seed = 1000003u * (uint64_t)n + 17u * (uint64_t)k + 500009u;
        if (m < 0) t_die("build left a size unset");
        buf_open(ctx, &r->out[k], a->type, m);
        if (a->diff) buf_open(ctx, &r->out_bar[k], a->type, m);
        r->y[k]     = take((size_t)m, sizeof(double));
        r->y_bar[k] = take((size_t)m, sizeof(double));
        for (int64_t i = 0; a->diff && i < m; i++) r->y_bar[k][i] = t_random(&seed);
        t_round(a->type, r->y_bar[k], m);
    }
}

void t_run_close(run *r) {
    ks_ctx *ctx = r->c.ctx;
    for (int k = 0; k < T_MAX_ARG; k++) {
        buf_close(ctx, &r->in[k]), buf_close(ctx, &r->in_bar[k]), buf_close(ctx, &r->out[k]),
            buf_close(ctx, &r->out_bar[k]);
        free(r->x[k]), free(r->g[k]), free(r->v[k]), free(r->y[k]), free(r->y_bar[k]);
    }
    if (r->c.op->drop) r->c.op->drop(&r->c);
    memset(r, 0, sizeof *r);
}

void t_run_cotangent(run *r, uint64_t trial) {
    for (int k = 0; k < r->n_out; k++) {
        uint64_t seed = 7919u * (uint64_t)r->c.n + 31u * (uint64_t)k + 104729u * trial + 3u;
        if (!r->c.op->out[k].diff) continue;
        for (int64_t i = 0; i < r->c.out_size[k]; i++) r->y_bar[k][i] = t_random(&seed);
        t_round(r->c.op->out[k].type, r->y_bar[k], r->c.out_size[k]);
    }
}

/* Scratch as a careless op would meet it: NaN. Small pieces and a margin for what is lost at the ends of chunks, so
 * that the arena does not grow by this (sanitizer builds fill every take of host memory, KS_POISON). ctx NULL: the arena
 * is host memory. */
static void poison(ks_ctx *ctx, ks_arena *a) {
    static unsigned char ones[1 << 16];
    const size_t         piece = sizeof ones, size = ks_arena_reserved(a);
    const ks_arena_mark  m = ks_arena_get_mark(a);
    void                *p = NULL;
    memset(ones, 0xff, sizeof ones);
    for (size_t done = 0; done + 8 * piece <= size; done += piece)
        if (ks_arena_take(a, (int64_t)piece, 1, &p) == KS_OK) {
            if (!ctx) memset(p, 0xff, piece);
            else if (ks_mem_to_backend(ctx, p, ones, piece) != KS_OK) t_die("poison");
        }
    ks_arena_release(a, m);
}

static int arena_is_at(const ks_arena *a, ks_arena_mark m) {
    const ks_arena_mark now = ks_arena_get_mark(a);
    return now.chunk == m.chunk && now.used == m.used;
}

static void before_call(run *r) {
    ks_ctx *ctx  = r->c.ctx;
    r->mark      = ks_arena_get_mark(ks_ctx_scratch(ctx));
    r->host_mark = ks_arena_get_mark(ks_ctx_host_scratch(ctx));
    poison(ctx, ks_ctx_scratch(ctx));
    poison(NULL, ks_ctx_host_scratch(ctx));
    for (int t = 0; t < ks_ctx_threads(ctx); t++) poison(NULL, ks_ctx_thread_scratch(ctx, t));
    r->alloc_before = ks_alloc_count();
}

static void after_call(run *r) {
    r->allocs = ks_alloc_count() - r->alloc_before;
    if (!arena_is_at(ks_ctx_scratch(r->c.ctx), r->mark) || !arena_is_at(ks_ctx_host_scratch(r->c.ctx), r->host_mark))
        r->scratch_kept = 1;
    ks_arena_release(ks_ctx_host_scratch(r->c.ctx), r->host_mark);
    ks_arena_release(ks_ctx_scratch(r->c.ctx), r->mark);
}

ks_status t_run_fwd(run *r, double *const x[]) {
    void *in[T_MAX_ARG] = {0}, *out[T_MAX_ARG] = {0};
    for (int k = 0; k < r->n_in; k++) t_buf_set(r->c.ctx, &r->in[k], x[k]), in[k] = r->in[k].ptr;
    for (int k = 0; k < r->n_out; k++) t_buf_fill(r->c.ctx, &r->out[k], NAN), out[k] = r->out[k].ptr;
    before_call(r);
    const ks_status st = r->c.op->fwd(&r->c, in, out);
    after_call(r);
    if (st == KS_ERR_UNSUPPORTED && strcmp(g_backend, "cpu")) skip(ks_error_message());
    if (st != KS_OK) return st;
    for (int k = 0; k < r->n_out; k++)
        if (!t_buf_get(r->c.ctx, &r->out[k], r->y[k]))
            snprintf(r->bad, sizeof r->bad, "forward wrote outside output %s", r->c.op->out[k].name);
    for (int k = 0; k < r->n_in; k++)
        if (!t_buf_is_unchanged(r->c.ctx, &r->in[k]))
            snprintf(r->bad, sizeof r->bad, "forward changed input %s", r->c.op->in[k].name);
    return KS_OK;
}

/* Cotangents of the last forward's point. preset: what the buffers hold before; times: calls; skip_bar: one that is
 * NULL. */
ks_status t_run_adj(run *r, double preset, int times, int skip_bar) {
    ks_ctx   *ctx           = r->c.ctx;
    void     *in[T_MAX_ARG] = {0}, *saved[T_MAX_ARG] = {0}, *out_bar[T_MAX_ARG] = {0}, *in_bar[T_MAX_ARG] = {0};
    ks_status st = KS_OK;
    for (int k = 0; k < r->n_in; k++) {
        in[k] = r->in[k].ptr;
        if (!r->c.op->in[k].diff) continue;
        t_buf_fill(ctx, &r->in_bar[k], preset);
        if (k != skip_bar) in_bar[k] = r->in_bar[k].ptr;
    }
    for (int k = 0; k < r->n_out; k++) {
        saved[k] = r->out[k].ptr;
        memcpy(r->out[k].raw, r->out[k].back, r->out[k].bytes); /* from now on an input */
        if (!r->c.op->out[k].diff) continue;
        t_buf_set(ctx, &r->out_bar[k], r->y_bar[k]);
        out_bar[k] = r->out_bar[k].ptr;
    }
    for (int t = 0; t < times && st == KS_OK; t++) {
        before_call(r);
        st = r->c.op->adj(&r->c, in, saved, out_bar, in_bar);
        after_call(r);
    }
    if (st == KS_ERR_UNSUPPORTED && strcmp(g_backend, "cpu")) skip(ks_error_message());
    if (st != KS_OK) return st;
    for (int k = 0; k < r->n_in; k++) {
        if (!t_buf_is_unchanged(ctx, &r->in[k]))
            snprintf(r->bad, sizeof r->bad, "adjoint changed input %s", r->c.op->in[k].name);
        if (r->c.op->in[k].diff && !t_buf_get(ctx, &r->in_bar[k], r->g[k]))
            snprintf(r->bad, sizeof r->bad, "adjoint wrote outside the cotangent of %s", r->c.op->in[k].name);
    }
    for (int k = 0; k < r->n_out; k++) {
        if (!t_buf_is_unchanged(ctx, &r->out[k]))
            snprintf(r->bad, sizeof r->bad, "adjoint changed the saved %s", r->c.op->out[k].name);
        if (r->c.op->out[k].diff && !t_buf_is_unchanged(ctx, &r->out_bar[k]))
            snprintf(r->bad, sizeof r->bad, "adjoint changed the cotangent of %s", r->c.op->out[k].name);
    }
    return KS_OK;
}
