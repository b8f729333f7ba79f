/* xc.cu -- exchange-correlation: pointwise functionals, potential and response on the grid. CPU twins: src/ops/vxc.c,
 * vxc_lanes.c, xc_lanes.c. Tests: tests/ops/test_vxc.c, test_xc.c.
 * With e(rho, sigma) the energy per volume (src/pointwise/xc_point.h), sigma = |grad rho|^2, w the weight of a point:
 *   fwd  exc = sum_g w e,  n_elec = sum_g w rho,  cotangents of the features  b_0 = w v_rho,  b = 2 w v_sigma grad rho,
 *        Vxc = matrix(b)
 *   adj  rho1, g1 the features of M, sigma1 = 2 grad rho . g1,
 *        b_0 = w (f_rr rho1 + f_rs sigma1),  b = 2 w ((f_rs rho1 + f_ss sigma1) grad rho + v_sigma g1),
 *        KM += matrix(b)
 * Density and matrix are the two passes of rho.cu, dense over the AOs; between them a kernel with a point a thread
 * turns features into cotangents in place: 4 (8 for the response) doubles a point is all that reaches device memory.
 * Passes of few registers, with the functional on its own, keep the tensor cores fed; one kernel for everything would
 * save 5 MB of traffic (1 us) and hold 255 registers for it.
 * Frames go in groups whose workspace stays below KS_GRID_WORK_BYTES: features, packed matrices, partial sums of the
 * matrix. exc and n_elec: blocks of POINT_BLOCK points, then one warp a frame, both in fixed order.
 * Budget a point: b3lyp5 0.8 k flop for the potential, 1.4 k for the response; 72 and 104 bytes. Uracil at level 3
 * (151,672 points): 11 MB and 0.12 (16 MB and 0.21) GFLOP, at 25 % of 34 TFLOP/s 0.015 (0.025) ms a frame, next to
 * the passes of rho.cu:
 * potential from orbitals 0.15 + 0.015 + 0.23 = 0.40 ms, from P 0.49 ms; response, whose two densities share the AO
 * values, 0.42 + 0.025 + 0.23 = 0.68 ms. Level 1: a third of it. Measured: none yet. */
#include "grid_cuda.cuh"
#include "../reduce.cuh"
#include "cuda/backend_cuda.h"
#include "ops/grid_kernels.h"

enum { THREADS = 128, POINT_BLOCK = 1024 };

/* Outputs of xc_eval, NULL where not wanted. */
typedef struct eval_out {
    double *e, *v_rho, *v_sigma, *f_rr, *f_rs, *f_ss;
} eval_out;

static __global__ void __launch_bounds__(THREADS)
    eval_k(ks_xc_weights xc, int gga, int64_t n, const double *__restrict__ rho, const double *__restrict__ sigma,
           eval_out out) {
    KS_GRID_STRIDE(g, n) {
        const ks_jet e = ks_xc_point(&xc, gga, rho[g], sigma ? sigma[g] : 0.0);
        if (out.e) out.e[g] = e.v;
        if (out.v_rho) out.v_rho[g] = e.r;
        if (out.v_sigma) out.v_sigma[g] = e.s;
        if (out.f_rr) out.f_rr[g] = e.rr;
        if (out.f_rs) out.f_rs[g] = e.rs;
        if (out.f_ss) out.f_ss[g] = e.ss;
    }
}

extern "C" ks_status ks_xc_eval_cuda(ks_ctx *ctx, const ks_xc *xc, int64_t n, const double *rho, const double *sigma,
                                     double *e, double *v_rho, double *v_sigma, double *f_rr, double *f_rs,
                                     double *f_ss) {
    ks_status      st  = KS_OK;
    ks_cuda       *cu  = ks_cuda_of(ctx);
    const eval_out out = {e, v_rho, v_sigma, f_rr, f_rs, f_ss};
    KS_LAUNCH(eval_k, ks_blocks(n, THREADS, 16 * cu->n_sm), THREADS, 0, cu->stream, ks_xc_weights_of(xc),
              xc->family == KS_XC_GGA, n, rho, sigma, out);
    KS_LAUNCHED(cu);
done:
    return st;
}

/* feat (frames, n_feat, n_point): features in, their cotangents out. scalar (frames, blocks, 2): exc, n_elec. */
static __global__ void __launch_bounds__(THREADS)
    potential_k(ks_xc_weights xc, int gga, int64_t n_point, int64_t n_pad, const int32_t *__restrict__ slot,
                const double *__restrict__ weight, double *feat, double *__restrict__ scalar) {
    KS_SHARED(double, sum, 64);
    const int64_t b = blockIdx.y, first = (int64_t)blockIdx.x * POINT_BLOCK;
    const double *w   = weight + slot[b] * n_pad;
    double       *f   = feat + b * (gga ? 4 : 1) * n_point;
    double        exc = 0.0, n_elec = 0.0;
    for (int64_t g = first + threadIdx.x; g < first + POINT_BLOCK && g < n_point; g += THREADS) {
        const double rho = f[g], wg = w[g];
        double       d[3] = {0.0, 0.0, 0.0};
        if (gga)
            for (int x = 0; x < 3; x++) d[x] = f[(x + 1) * n_point + g];
        const ks_jet e = ks_xc_point(&xc, gga, rho, d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
        exc += wg * e.v;
        n_elec += wg * rho;
        f[g] = wg * e.r;
        if (gga)
            for (int x = 0; x < 3; x++) f[(x + 1) * n_point + g] = 2.0 * wg * e.s * d[x];
    }
    exc    = ks_block_sum(exc, sum);
    n_elec = ks_block_sum(n_elec, sum + 32);
    if (threadIdx.x == 0) {
        scalar[2 * (b * gridDim.x + blockIdx.x)]     = exc;
        scalar[2 * (b * gridDim.x + blockIdx.x) + 1] = n_elec;
    }
}

/* One warp a frame. */
static __global__ void scalar_k(int64_t n_block, const double *__restrict__ scalar, double *__restrict__ exc,
                                double *__restrict__ n_elec) {
    const int64_t b      = blockIdx.x;
    double        sum[2] = {0.0, 0.0};
    for (int64_t k = threadIdx.x; k < n_block; k += 32)
        for (int i = 0; i < 2; i++) sum[i] += scalar[2 * (b * n_block + k) + i];
    for (int i = 0; i < 2; i++) sum[i] = ks_warp_sum(sum[i]);
    if (threadIdx.x == 0 && exc) exc[b] = sum[0];
    if (threadIdx.x == 0 && n_elec) n_elec[b] = sum[1];
}

/* feat (2, frames, n_feat, n_point): features of P and of M; the cotangents take the place of the first. */
static __global__ void __launch_bounds__(THREADS)
    response_k(ks_xc_weights xc, int gga, int64_t n_point, int64_t n_pad, const int32_t *__restrict__ slot,
               const double *__restrict__ weight, double *feat) {
    const int64_t b = blockIdx.y, n_feat = gga ? 4 : 1;
    const double *w  = weight + slot[b] * n_pad;
    double       *f  = feat + b * n_feat * n_point;
    const double *f1 = f + gridDim.y * n_feat * n_point;
    KS_GRID_STRIDE(g, n_point) {
        const double rho = f[g], rho1 = f1[g], wg = w[g];
        double       d[3] = {0.0, 0.0, 0.0}, d1[3] = {0.0, 0.0, 0.0}, sigma = 0.0, sigma1 = 0.0;
        if (gga)
            for (int x = 0; x < 3; x++) {
                d[x]  = f[(x + 1) * n_point + g];
                d1[x] = f1[(x + 1) * n_point + g];
                sigma += d[x] * d[x];
                sigma1 += 2.0 * d[x] * d1[x];
            }
        const ks_jet e  = ks_xc_point(&xc, gga, rho, sigma);
        const double v1 = e.rs * rho1 + e.ss * sigma1;
        f[g]            = wg * (e.rr * rho1 + e.rs * sigma1);
        if (gga)
            for (int x = 0; x < 3; x++) f[(x + 1) * n_point + g] = 2.0 * wg * (v1 * d[x] + e.s * d1[x]);
    }
}

/* Workspace of a group, and what all its frames share. */
typedef struct pass_work {
    int64_t n, n8, ld, n_block, part; /* ld: columns of a packed matrix; part: doubles of partial sums a frame */
    int     n_feat;
    double *packed, *feat, *sums, *scalar;
} pass_work;

static ks_status take_work(ks_arena *arena, const ks_grid *grid, const ks_xc *xc, int n_density, int64_t n_column,
                           int want_matrix, int64_t n_frame, pass_work *w, int64_t *group) {
    ks_status st = KS_OK;
    int64_t   count;
    w->n       = grid->sys->n_ao;
    w->n8      = ks_round_up(w->n, 8);
    w->ld      = ks_grid_columns(n_column);
    w->n_feat  = xc->family == KS_XC_GGA ? 4 : 1;
    w->n_block = (grid->n_point + POINT_BLOCK - 1) / POINT_BLOCK;
    w->part    = want_matrix ? ks_grid_part_count(grid) : 0;
    count      = n_density * (w->n8 * w->ld + w->n_feat * grid->n_point) + 2 * w->n_block + w->part;
    *group     = ks_grid_group(n_frame, count * (int64_t)sizeof(double));
    KS_TRY(KS_TAKE(arena, w->packed, *group * n_density * w->n8 * w->ld));
    KS_TRY(KS_TAKE(arena, w->feat, *group * n_density * w->n_feat * grid->n_point));
    KS_TRY(KS_TAKE(arena, w->scalar, *group * 2 * w->n_block));
    KS_TRY(KS_TAKE(arena, w->sums, *group * w->part));
done:
    return st;
}

extern "C" ks_status ks_vxc_fwd_cuda(ks_ctx *ctx, const ks_grid *grid, const ks_xc *xc, int64_t n_frame,
                                     const int32_t *slot, const double *P, const double *C_occ, const ks_occ *occ,
                                     double *exc, double *n_elec, double *Vxc) {
    ks_status           st    = KS_OK;
    ks_cuda            *cu    = ks_cuda_of(ctx);
    ks_arena           *arena = ks_ctx_scratch(ctx);
    const ks_arena_mark mark  = ks_arena_get_mark(arena);
    const int64_t       n     = grid->sys->n_ao;
    const double       *from  = C_occ ? C_occ : P;
    pass_work           w     = {};
    int64_t             group, n_column;
    n_column = C_occ ? occ->max : n;
    KS_TRY(take_work(arena, grid, xc, 1, n_column, Vxc != NULL, n_frame, &w, &group));
    for (int64_t b = 0; b < n_frame; b += group) {
        const int64_t m = ks_min64(n_frame - b, group);
        KS_TRY(ks_grid_pack(ctx, grid, m, from + b * n * n_column, C_occ ? occ : NULL, b, w.packed));
        KS_TRY(ks_grid_density(ctx, grid, w.n_feat, 1, m, slot + b, w.packed, C_occ ? w.ld : 0, w.feat));
        KS_LAUNCH(potential_k, dim3((unsigned)w.n_block, (unsigned)m), THREADS, 0, cu->stream, ks_xc_weights_of(xc),
                  xc->family == KS_XC_GGA, grid->n_point, grid->n_pad, slot + b, grid->weight, w.feat, w.scalar);
        KS_LAUNCHED(cu);
        KS_LAUNCH(scalar_k, (unsigned)m, 32, 0, cu->stream, w.n_block, w.scalar, exc ? exc + b : NULL,
                  n_elec ? n_elec + b : NULL);
        KS_LAUNCHED(cu);
        if (Vxc) KS_TRY(ks_grid_matrix(ctx, grid, w.n_feat, m, slot + b, w.feat, w.sums, 0, Vxc + b * n * n));
    }
done:
    ks_arena_release(arena, mark);
    return st;
}

extern "C" ks_status ks_vxc_adj_cuda(ks_ctx *ctx, const ks_grid *grid, const ks_xc *xc, int64_t n_frame,
                                     const int32_t *slot, const double *P, const double *M, double *KM) {
    ks_status           st    = KS_OK;
    ks_cuda            *cu    = ks_cuda_of(ctx);
    ks_arena           *arena = ks_ctx_scratch(ctx);
    const ks_arena_mark mark  = ks_arena_get_mark(arena);
    const int64_t       n     = grid->sys->n_ao;
    pass_work           w     = {};
    int64_t             group;
    KS_TRY(take_work(arena, grid, xc, 2, n, 1, n_frame, &w, &group));
    for (int64_t b = 0; b < n_frame; b += group) {
        const int64_t m = ks_min64(n_frame - b, group);
        KS_TRY(ks_grid_pack(ctx, grid, m, P + b * n * n, NULL, b, w.packed));
        KS_TRY(ks_grid_pack(ctx, grid, m, M + b * n * n, NULL, b, w.packed + m * w.n8 * w.ld));
        KS_TRY(ks_grid_density(ctx, grid, w.n_feat, 2, m, slot + b, w.packed, 0, w.feat));
        KS_LAUNCH(response_k, dim3(ks_blocks(grid->n_point, THREADS, 16 * cu->n_sm), (unsigned)m), THREADS, 0,
                  cu->stream, ks_xc_weights_of(xc), xc->family == KS_XC_GGA, grid->n_point, grid->n_pad, slot + b,
                  grid->weight, w.feat);
        KS_LAUNCHED(cu);
        KS_TRY(ks_grid_matrix(ctx, grid, w.n_feat, m, slot + b, w.feat, w.sums, 1, KM + b * n * n));
    }
done:
    ks_arena_release(arena, mark);
    return st;
}
