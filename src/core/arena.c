/* arena.c -- see arena.h. A list of chunks; the current one is filled from the bottom. */
#include "ksgrad/arena.h"
#include <string.h>
#include "ksgrad/context.h"

enum { ALIGN = 64, NAME_BYTES = 32 };

typedef struct chunk {
    struct chunk  *prev, *next;
    size_t         size;
    unsigned char *base;
    size_t         used_at_leave; /* bytes used here when the next chunk became current */
} chunk;

struct ks_arena {
    char    name[NAME_BYTES];
    ks_ctx *ctx; /* NULL: host memory */
    chunk  *first, *cur;
    size_t  used;       /* in the current chunk */
    size_t  used_below; /* in the chunks before it */
    size_t  reserved, high;
};

static ks_status chunk_create(const ks_arena *a, size_t bytes, chunk **out) {
    ks_status st = KS_OK;
    chunk    *c  = NULL;
    KS_TRY(KS_ZNEW(c, 1));
    if (a->ctx) KS_TRY(ks_mem_alloc(a->ctx, bytes, (void **)&c->base));
    else KS_TRY(ks_host_alloc((int64_t)bytes, 1, (void **)&c->base));
    c->size = bytes;
    *out    = c;
    c       = NULL;
done:
    KS_FREE(c);
    return st;
}

ks_status ks_arena_create(const char *name, size_t first_chunk_bytes, ks_arena **out) {
    return ks_arena_create_on(NULL, name, first_chunk_bytes, out);
}

ks_status ks_arena_create_on(ks_ctx *ctx, const char *name, size_t first_chunk_bytes, ks_arena **out) {
    ks_status st = KS_OK;
    ks_arena *a  = NULL;
    KS_CHECK(out && name, KS_ERR_ARG, "arena: NULL argument");
    KS_TRY(KS_ZNEW(a, 1));
    a->ctx = ctx;
    strncpy(a->name, name, sizeof a->name - 1);
    if (first_chunk_bytes < 4096) first_chunk_bytes = 4096;
    KS_TRY(chunk_create(a, first_chunk_bytes, &a->first));
    a->cur      = a->first;
    a->reserved = first_chunk_bytes;
    *out        = a;
    a           = NULL;
done:
    ks_arena_destroy(&a);
    return st;
}

void ks_arena_destroy(ks_arena **arena) {
    if (!arena || !*arena) return;
    for (chunk *c = (*arena)->first, *n; c; c = n) {
        n = c->next;
        if ((*arena)->ctx) ks_mem_free((*arena)->ctx, (void **)&c->base);
        else KS_FREE(c->base);
        KS_FREE(c);
    }
    KS_FREE(*arena);
}

ks_status ks_arena_take(ks_arena *a, int64_t n, size_t size, void **out) {
    ks_status st    = KS_OK;
    chunk    *grown = NULL;
    int64_t   bytes = 0;
    size_t    need;
    KS_CHECK(a && out && size > 0, KS_ERR_ARG, "arena take: NULL argument");
    *out = NULL;
    KS_TRY(ks_mul_i64(n, (int64_t)size, &bytes));
    need = ((size_t)bytes + ALIGN - 1) / ALIGN * ALIGN;
    while (a->used + need > a->cur->size) {
        if (!a->cur->next) {
            size_t grow = 2 * a->cur->size;
            if (grow < need) grow = need;
            KS_TRY(chunk_create(a, grow, &grown));
            grown->prev  = a->cur;
            a->cur->next = grown;
            a->reserved += grow;
            grown = NULL;
        }
        a->cur->used_at_leave = a->used;
        a->used_below += a->used;
        a->cur  = a->cur->next;
        a->used = 0;
    }
    *out = a->cur->base + a->used;
    a->used += need;
    if (a->used_below + a->used > a->high) a->high = a->used_below + a->used;
#ifdef KS_POISON
    if (!a->ctx || ks_ctx_is_host(a->ctx)) memset(*out, 0xff, need); /* every double and float reads as NaN */
#endif
done:
    return st;
}

ks_arena_mark ks_arena_get_mark(const ks_arena *a) { return (ks_arena_mark){a->cur, a->used}; }

void ks_arena_release(ks_arena *a, ks_arena_mark mark) {
    while (a->cur != mark.chunk) {
        a->cur = a->cur->prev;
        a->used_below -= a->cur->used_at_leave;
    }
    a->used = mark.used;
}

size_t      ks_arena_high_water(const ks_arena *a) { return a->high; }
size_t      ks_arena_reserved(const ks_arena *a) { return a->reserved; }
const char *ks_arena_name(const ks_arena *a) { return a->name; }
