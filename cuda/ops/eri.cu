/* eri.cu -- two-electron integrals into the pool, for batches of frames: s, p and d shells, 21 classes.
 *
 * The design is in eri_cuda.cuh; the kernels are eri_thread.cuh (12 classes, one quartet per thread) and eri_team.cuh (9
 * classes, a block of warps per bra pair and 32 kets). A call makes the pair records of its frames and then launches once
 * for each class over (frame, tile, part of the ket functions); a block takes every gridDim.x-th tile. CPU twin:
 * src/ops/eri_cpu.c, eri_lanes.c. Tests: tests/gpu/test_eri_class.c, tests/ops/test_eri.c.
 * No atomics: each place of the store is written once, by the same sum in the same order whatever the batch: bitwise
 * repeatable. Nothing is read by the host; loop lengths come from the system, their early ends from the bounds.
 */
#include "eri_cuda.cuh"

enum { TABLE_BYTES = 256 << 20 /* pair records of as many frames at a time as fit in this, at least one */ };

/* Doubles of scratch of one frame. */
static int64_t frame_scratch(const ks_eri_device *d) {
    int64_t n = 0;
    for (int c = 0; c < KS_N_CLASS; c++)
        n += (int64_t)d->c[c].n_row * (KS_ERI_GEOM + KS_CLASS_TERM(c) + 1 + KS_CLASS_FN(c)) * KS_WARP;
    return n;
}

extern "C" ks_status ks_eri_build_cuda(ks_ctx *ctx, void *impl, int64_t n_frame, const int32_t *slot,
                                       const double *pos) {
    ks_status           st        = KS_OK;
    const ks_eri_cuda  *e         = (const ks_eri_cuda *)impl;
    ks_cuda            *cu        = ks_cuda_of(ctx);
    ks_arena           *arena     = ks_ctx_scratch(ctx);
    const ks_arena_mark mark      = ks_arena_get_mark(arena);
    ks_eri_device       d         = e->tables->device;
    int64_t             n_at_once = TABLE_BYTES / (frame_scratch(&d) * (int64_t)sizeof(double)), n_raw = 0;
    double             *raw = NULL;
    n_at_once               = n_at_once < 1 ? 1 : ks_min64(n_at_once, n_frame);
    for (int c = 0; c < KS_N_CLASS; c++) {
        const int64_t n = n_at_once * d.c[c].n_row * KS_WARP;
        KS_TRY(KS_TAKE(arena, d.c[c].record, n * (KS_ERI_GEOM + KS_CLASS_TERM(c))));
        KS_TRY(KS_TAKE(arena, d.c[c].bound, n));
        n_raw += n * KS_CLASS_FN(c);
    }
    KS_TRY(KS_TAKE(arena, raw, n_raw));
    for (int64_t f = 0; f < n_frame; f += n_at_once) {
        const int64_t    n   = ks_min64(n_at_once, n_frame - f);
        const ks_eri_job job = {n, slot ? slot + f : NULL, f, e->store, e->n_pair, e->ld};
        KS_TRY(ks_eri_pairs_cuda(cu, &d, n, pos + f * 3 * d.n_atom, raw));
        KS_TRY(ks_eri_ss_cuda(cu, &d, &job));
        KS_TRY(ks_eri_ps_cuda(cu, &d, &job));
        KS_TRY(ks_eri_pp_cuda(cu, &d, &job));
        KS_TRY(ks_eri_dp_cuda(cu, &d, &job));
        KS_TRY(ks_eri_dd_cuda(cu, &d, &job));
    }
done:
    ks_arena_release(arena, mark);
    return st;
}
