/* arena.h -- stack allocation from chunks that are kept: one arena per lifetime.
 *
 * An arena grows by whole chunks and never gives one back before ks_arena_destroy, so a loop that takes and
 * releases the same amounts allocates only in its first pass. Blocks are 64-byte aligned. */
#ifndef KS_ARENA_H
#define KS_ARENA_H
#include <stddef.h>
#include <stdint.h>
#include "ksgrad/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ks_arena ks_arena;
struct ks_ctx;
typedef struct ks_arena_mark {
    void  *chunk;
    size_t used;
} ks_arena_mark;

KS_NODISCARD ks_status ks_arena_create(const char *name, size_t first_chunk_bytes, ks_arena **out);
/* The same in backend memory of ctx (NULL: host memory); the arena must go before the context. */
KS_NODISCARD ks_status ks_arena_create_on(struct ks_ctx *ctx, const char *name, size_t first_chunk_bytes,
                                          ks_arena **out);
void                   ks_arena_destroy(ks_arena **arena);

/* n elements of size bytes, uninitialised (NaN-filled in debug builds). Overflow is KS_ERR_ARG. */
KS_NODISCARD ks_status ks_arena_take(ks_arena *arena, int64_t n, size_t size, void **out);

ks_arena_mark ks_arena_get_mark(const ks_arena *arena);
void          ks_arena_release(ks_arena *arena, ks_arena_mark mark); /* everything taken since the mark */

size_t      ks_arena_high_water(const ks_arena *arena); /* largest number of bytes in use at once */
size_t      ks_arena_reserved(const ks_arena *arena);
const char *ks_arena_name(const ks_arena *arena);

/* Typed shorthand inside KS_TRY: KS_TAKE(arena, ptr, n). */
#define KS_TAKE(arena, ptr, n) ks_arena_take((arena), (int64_t)(n), sizeof *(ptr), (void **)&(ptr))

#ifdef __cplusplus
}
#endif
#endif
