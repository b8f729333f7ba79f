/* eri.cu -- two-electron integrals into the pool, for batches of frames: s, p and d shells, 21 classes.
 *
 * The design is in eri_cuda.cuh; the kernels are eri_thread.cuh (13 classes, one quartet per thread) and eri_team.cuh
 * (8 classes, a block of warps per bra pair and 32 kets). A call makes the pair records of its frames (eri_tables.cu)
 * and then launches once for each class over (frame, tile, part of the ket functions); a block takes every
 * gridDim.x-th tile. CPU twin: src/ops/eri_cpu.c, eri_lanes.c. Tests: tests/gpu/test_eri_class.c, tests/ops/test_eri.c.
 * No atomics: each place of the store is written once, by the same sum in the same order whatever the batch: bitwise
 * repeatable. Nothing is read by the host: loop lengths come from the system, their early ends from the bounds.
 *
 * Budget of a frame of uracil, def2-SVP: 1.68 M quartets, 38.5 M values, written twice: 617 MB, 0.15 ms at 4.3 TB/s. Of
 * 23.9 M primitive quartets 11.3 M pass the bound; a warp runs while one of its 32 kets has work, so that 52 % of the
 * lanes do useful work: 0.67 M turns of a warp. Columns: quartets, flop done (10^9), time of the fp64 units, of shared
 * memory and L1, of issuing the stores, of writing HBM; estimates in us for 132 SMs at 1.755 GHz, counted for this
 * geometry from the loops as written.
 *   file     classes             quartets  Gflop  fp64  shared  issue  HBM  bound by
 *   eri_ss   (ss|ss) .. (dd|ss)   827,000   1.68    67     136     12   17  rows of the Boys table
 *   eri_ps   (ps|ps) .. (dp|ps)   606,000   1.81    72      86     34   47  the same, fp64, HBM
 *   eri_pp   (pp|pp) .. (ds|ds)   109,000   1.28    51      38     14   19  fp64 (R is made for three parts)
 *   eri_dp   (dp|pp) .. (dp|dp)    87,000   1.05    42     117     28   39  shared-memory reads of R
 *   eri_dd   (dd|ps) .. (dd|dd)    46,000   0.52    21      62     19   27  the same
 * Sum of the largest: 0.46 ms; expected 0.6 to 0.8 ms a frame in batches of 16 and more. A single frame is bound by the
 * latency of its largest tiles, up to 625 primitive quartets one after the other: about 1 ms. Measured: none yet.
 * Scratch: 1.5 MB a frame. Registers and shared memory of each kernel: tests/gpu/kernels.txt. sm_80 spills nothing, sm_90
 * 32 bytes in (ps|ss), whose 80 registers let three blocks share an SM; sm_100 8 to 464 bytes in three classes. */
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
