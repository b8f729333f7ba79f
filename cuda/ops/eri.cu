/* eri.cu -- two-electron integrals (ps|ps), one quartet per thread: the pilot of the ERI classes. CPU twin:
 * src/ops/eri_lanes.c. Test: tests/gpu/test_eri_class.c. Formula and tables: src/pointwise/eri_class.h
 * (McMurchie-Davidson).
 *   out[bra function][ket function] = sum over primitive pairs of E_bra E_ket (p+q)^(-1/2) R_{tuv + t'u'v'}
 * A warp has one bra pair (uniform loads) and a block of 32 ket pairs (coalesced loads), so all its threads run the
 * same loops; the primitives of a block end together at the bound. The host orders kets by size. No shared memory, no
 * atomics: bitwise repeatable. Pair tables are made by the CPU code (src/ops/eri_pairs.c) and copied once per geometry.
 * Budget: 327 flop a primitive quartet, 72 bytes written a quartet. Uracil, def2-SVP: 205,120 quartets (3.37 M
 * primitive quartets before the bound, about half after): 0.55 GFLOP, 15 MB: at 35 % of 34 TFLOP/s 0.05 ms on an H200.
 * 118 registers (sm_80), 120 (sm_90), no stack. The store and the other 20 classes follow this file; eri_build stays
 * an empty slot until they are there. Not run on a GPU yet. */
#include "../common.cuh"
#include "cuda/eri_tables.h"
#include "pointwise/eri_class.h"

enum {
    CLASS_PS = 1,
    N_FN     = KS_CLASS_FN(CLASS_PS),
    N_TERM   = KS_CLASS_TERM(CLASS_PS),
    RECORD   = KS_ERI_GEOM + N_TERM,
    THREADS  = 128
};

/* out [bra pair][ket block][bra function][ket function][32] */
static __global__ void __launch_bounds__(THREADS)
    eri_psps_k(ks_eri_class_cuda t, const double *__restrict__ boys, double *__restrict__ out) {
    const int64_t lane = threadIdx.x % 32, step = (int64_t)gridDim.x * (THREADS / 32);
    for (int64_t w = (int64_t)blockIdx.x * (THREADS / 32) + threadIdx.x / 32; w < (int64_t)t.n_pair * t.n_block;
         w += step) {
        const int64_t    b = w / t.n_block, k = w % t.n_block;
        const ks_eri_bra bra = {t.n_prim[b], t.prim + (int64_t)t.first[b] * RECORD, t.bound + t.first[b]};
        const double    *ket = t.lane + (int64_t)t.lane_first[k] * RECORD * 32 + lane,
                     *bound  = t.lane_bound + t.lane_first[k];
        double sum[N_FN * N_FN], one[N_FN * N_FN], cube[27], record[RECORD];
        for (int f = 0; f < N_FN * N_FN; f++) sum[f] = 0.0;
        for (int q = 0; q < t.lane_prim[k] && bra.n_prim > 0; q++) {
            for (int c = 0; c < RECORD; c++) record[c] = ket[((int64_t)q * RECORD + c) * 32];
            const ks_eri_ket single = {1, record, bound + q};
            if (!ks_eri_class(CLASS_PS, CLASS_PS, &bra, &single, boys, KS_ERI_CUDA_THRESHOLD, cube, one))
                break; /* bounds fall */
            for (int f = 0; f < N_FN * N_FN; f++) sum[f] += one[f];
        }
        for (int fb = 0; fb < N_FN; fb++)
            for (int fk = 0; fk < N_FN; fk++) out[((w * N_FN + fb) * N_FN + fk) * 32 + lane] = sum[fk * N_FN + fb];
    }
}

extern "C" ks_status ks_eri_psps_cuda(ks_ctx *ctx, const ks_eri_class_cuda *t, double *out) {
    ks_status st = KS_OK;
    ks_cuda  *cu = (ks_cuda *)ctx->state;
    KS_CHECK(t->cls == CLASS_PS, KS_ERR_UNSUPPORTED,
             "two-electron integrals of class %d have no kernel on backend cuda", t->cls);
    if ((int64_t)t->n_pair * t->n_block == 0) return KS_OK;
    KS_LAUNCH(eri_psps_k, ks_blocks((int64_t)t->n_pair * t->n_block, THREADS / 32, 64 * cu->n_sm), THREADS, 0,
              cu->stream, *t, t->boys, out);
    KS_LAUNCHED(cu);
done:
    return st;
}
