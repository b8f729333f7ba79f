/* grid.cu -- the grid of a geometry on the device. CPU twin: src/ops/grid_build.c. Test: tests/ops/test_rho.c.
 *
 * Points, weights and their order are made on the host by the CPU code and copied: once per geometry, not in the step
 * loop (3.6 ms of two CPU cores for uracil at level 3). A kernel for it comes when profiles ask for one. The kernels
 * of rho.cu are dense, so the AO lists of the blocks stay on the host, unused. */
#include "grid_cuda.cuh"
#include "cuda/backend_cuda.h"
#include "ops/grid_impl.h"

static ks_status upload(ks_ctx *ctx, int64_t n, size_t size, const void *src, void **dst) {
    ks_status st    = KS_OK;
    int64_t   bytes = 0;
    KS_TRY(ks_mul_i64(n, (int64_t)size, &bytes));
    KS_TRY(ks_mem_alloc(ctx, (size_t)bytes, dst));
    if (src) KS_TRY(ks_mem_to_backend(ctx, *dst, src, (size_t)bytes));
done:
    return st;
}

extern "C" void ks_grid_close_cuda(ks_ctx *ctx, void *impl) {
    ks_grid_cuda *d = (ks_grid_cuda *)impl;
    if (!d) return;
    ks_mem_free(ctx, (void **)&d->shell);
    ks_mem_free(ctx, (void **)&d->exponent);
    ks_mem_free(ctx, (void **)&d->coef);
    ks_mem_free(ctx, (void **)&d->tile_shell);
    ks_mem_free(ctx, (void **)&d->pos);
    KS_FREE(d);
}

/* Cuts of about equal size at shell boundaries, none above KS_AO_TILE. tile_shell holds n_shell + 1. */
static int32_t cut_tiles(const ks_shells *sh, int32_t *tile_shell) {
    const int64_t wanted = (sh->n_ao + KS_AO_TILE - 1) / KS_AO_TILE, most = (sh->n_ao + wanted - 1) / wanted;
    int32_t       n_tile = 0;
    int64_t       used   = 0;
    tile_shell[0]        = 0;
    for (int32_t s = 0; s < sh->n_shell; s++) {
        const int64_t n = 2 * sh->shell[s].l + 1;
        if (used > 0 && used + n > KS_AO_TILE) {
            tile_shell[++n_tile] = s;
            used                 = 0;
        }
        used += n;
        if (used >= most && s + 1 < sh->n_shell) {
            tile_shell[++n_tile] = s + 1;
            used                 = 0;
        }
    }
    tile_shell[++n_tile] = (int32_t)sh->n_shell;
    return n_tile;
}

static ks_status device_tables(ks_ctx *ctx, ks_grid *grid) {
    ks_status        st   = KS_OK;
    const ks_shells *sh   = &grid->sys->basis;
    ks_grid_cuda    *d    = NULL;
    int32_t         *tile = NULL;
    KS_TRY(KS_ZNEW(d, 1));
    KS_TRY(KS_NEW(tile, sh->n_shell + 1));
    d->n_shell = (int32_t)sh->n_shell;
    d->n_ao    = (int32_t)sh->n_ao;
    d->n_tile  = cut_tiles(sh, tile);
    KS_TRY(upload(ctx, sh->n_shell, sizeof *sh->shell, sh->shell, (void **)&d->shell));
    KS_TRY(upload(ctx, sh->n_prim, sizeof(double), sh->exponent, (void **)&d->exponent));
    KS_TRY(upload(ctx, sh->n_prim, sizeof(double), sh->coef, (void **)&d->coef));
    KS_TRY(upload(ctx, d->n_tile + 1, sizeof *tile, tile, (void **)&d->tile_shell));
    KS_TRY(upload(ctx, 3 * grid->capacity * grid->sys->n_atom, sizeof(double), NULL, (void **)&d->pos));
    grid->impl = d;
    d          = NULL;
done:
    KS_FREE(tile);
    ks_grid_close_cuda(ctx, d);
    return st;
}

extern "C" ks_status ks_grid_build_cuda(ks_ctx *ctx, ks_grid *grid, int64_t n_frame, const int32_t *slot,
                                        const double *pos) {
    ks_status           st    = KS_OK;
    ks_arena           *arena = ks_ctx_scratch(ctx);
    const ks_arena_mark mark  = ks_arena_get_mark(arena);
    const size_t        pad = (size_t)grid->n_pad, n3 = 3 * (size_t)grid->sys->n_atom;
    ks_grid             host  = *grid; /* the same lists, points in host memory */
    double             *h_pos = NULL;
    ks_grid_cuda       *d     = NULL;
    if (!grid->impl) KS_TRY(device_tables(ctx, grid));
    d = (ks_grid_cuda *)grid->impl;
    KS_TRY(KS_TAKE(arena, h_pos, n_frame * (int64_t)n3));
    KS_TRY(KS_TAKE(arena, host.xyz, 3 * grid->capacity * grid->n_pad));
    KS_TRY(KS_TAKE(arena, host.weight, grid->capacity * grid->n_pad));
    KS_TRY(ks_mem_to_host(ctx, h_pos, pos, (size_t)n_frame * n3 * sizeof(double)));
    KS_TRY(ks_grid_build_cpu(ctx, &host, n_frame, slot, h_pos));
    for (int64_t b = 0; b < n_frame; b++) {
        const size_t s = (size_t)slot[b];
        KS_TRY(ks_mem_to_backend(ctx, grid->xyz + 3 * s * pad, host.xyz + 3 * s * pad, 3 * pad * sizeof(double)));
        KS_TRY(ks_mem_to_backend(ctx, grid->weight + s * pad, host.weight + s * pad, pad * sizeof(double)));
        KS_TRY(ks_mem_to_backend(ctx, d->pos + s * n3, h_pos + (size_t)b * n3, n3 * sizeof(double)));
    }
done:
    ks_arena_release(arena, mark);
    return st;
}

/* weight (B, n_grid) from (capacity, n_pad) */
static __global__ void weights_k(int64_t n_point, int64_t n_pad, ks_slots slots, const double *__restrict__ from,
                                 double *__restrict__ to) {
    const int64_t b                                = blockIdx.y;
    KS_GRID_STRIDE(g, n_point) to[b * n_point + g] = from[slots.slot[b] * n_pad + g];
}

extern "C" ks_status ks_grid_weights_cuda(ks_ctx *ctx, const ks_grid *grid, int64_t n_frame, const int32_t *slot,
                                          double *weight) {
    ks_status st = KS_OK;
    ks_cuda  *cu = (ks_cuda *)ctx->state;
    for (int64_t b0 = 0; b0 < n_frame; b0 += KS_SLOT_GROUP) {
        const int64_t n     = ks_min64(n_frame - b0, KS_SLOT_GROUP);
        ks_slots      slots = {};
        for (int64_t b = 0; b < n; b++) slots.slot[b] = slot[b0 + b];
        KS_LAUNCH(weights_k, dim3(ks_blocks(grid->n_point, 256, 1024), (unsigned)n), 256, 0, cu->stream, grid->n_point,
                  grid->n_pad, slots, grid->weight, weight + b0 * grid->n_point);
        KS_LAUNCHED(cu);
    }
done:
    return st;
}
