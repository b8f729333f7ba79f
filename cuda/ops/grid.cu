/* grid.cu -- the grid of a geometry on the device. CPU twin: src/ops/grid_build.c. Test: tests/ops/test_grid.c.
 *   point  r = R_a + r_t, t running through the angular and radial template of its atom a
 *   weight w = w_t c_a / sum_b c_b,  c_i = prod_{j != i} (1 - p_ij) / 2     (src/pointwise/becke_point.h)
 * Points keep PySCF's order and are filled up to whole panels with copies of the last one at weight 0: the passes of
 * rho.cu are dense over the AOs, so neither a spatial order nor lists would save anything.
 * A thread makes a point; distances and cells of its atoms lie in shared memory, one column a thread. Distances between
 * atoms come from a first small kernel. An atom that coincides with another, or is not finite, makes the frame's
 * weights NaN. No sums across threads.
 * Budget, n_atom = 12: 66 pairs of 25 flop and 24 square roots and divisions, 2.2 k flop a point and 36 bytes written.
 * Uracil at level 3 (151,672 points): 0.33 GFLOP, 5.5 MB; at 25 % of 34 TFLOP/s 0.04 ms a frame on an H200, once a
 * geometry. Measured: none yet. */
#include "grid_cuda.cuh"
#include "cuda/backend_cuda.h"
#include "pointwise/becke_point.h"

enum { MAX_THREADS = 128 };

static ks_status upload(ks_ctx *ctx, int64_t n, size_t size, const void *src, void *dst) {
    ks_status st    = KS_OK;
    int64_t   bytes = 0;
    KS_TRY(ks_mul_i64(n, (int64_t)size, &bytes));
    KS_TRY(ks_mem_alloc(ctx, (size_t)bytes, (void **)dst));
    if (src) KS_TRY(ks_mem_to_backend(ctx, *(void **)dst, src, (size_t)bytes));
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
    ks_mem_free(ctx, (void **)&d->tile_ao);
    ks_mem_free(ctx, (void **)&d->tile_row);
    ks_mem_free(ctx, (void **)&d->ao_row);
    ks_mem_free(ctx, (void **)&d->point_atom);
    ks_mem_free(ctx, (void **)&d->point_at);
    ks_mem_free(ctx, (void **)&d->atom_xyz);
    ks_mem_free(ctx, (void **)&d->atom_weight);
    ks_mem_free(ctx, (void **)&d->adjust);
    ks_mem_free(ctx, (void **)&d->pos);
    KS_FREE(d);
}

/* Host copies of the AO tables. */
typedef struct ao_tables {
    ks_shell *shell;
    int32_t  *tile_shell, *tile_ao, *tile_row, *ao_row;
} ao_tables;

static void free_ao_tables(ao_tables *t) {
    KS_FREE(t->shell);
    KS_FREE(t->tile_shell);
    KS_FREE(t->tile_ao);
    KS_FREE(t->tile_row);
    KS_FREE(t->ao_row);
}

/* Instructions of a shell at a point, roughly: an exponential costs as much as two of a d shell's functions. */
static int32_t shell_cost(const ks_shell *s) { return 24 * s->n_prim + 12 * (2 * s->l + 1); }

/* Cuts at shell boundaries into tiles of about equal size; in each the expensive shells first, so that warps that take
 * turns finish together. */
static ks_status make_ao_tables(const ks_shells *sh, ks_grid_cuda *d, ao_tables *t) {
    ks_status st     = KS_OK;
    int64_t   used   = 0, wanted, most;
    int32_t   n_tile = 0;
    d->tile_rows     = sh->n_ao <= KS_TILE_SMALL ? KS_TILE_SMALL : KS_TILE_LARGE;
    wanted           = (sh->n_ao + d->tile_rows - 1) / d->tile_rows;
    most             = (sh->n_ao + wanted - 1) / wanted;
    KS_TRY(KS_NEW(t->shell, sh->n_shell));
    KS_TRY(KS_NEW(t->tile_shell, sh->n_shell + 1));
    KS_TRY(KS_NEW(t->tile_ao, sh->n_shell + 1));
    KS_TRY(KS_NEW(t->tile_row, sh->n_shell + 1));
    KS_TRY(KS_NEW(t->ao_row, sh->n_ao));
    t->tile_shell[0] = 0;
    for (int32_t s = 0; s < sh->n_shell; s++) {
        const int64_t n = 2 * sh->shell[s].l + 1;
        t->shell[s]     = sh->shell[s];
        if (used > 0 && (used >= most || used + n > d->tile_rows)) {
            t->tile_shell[++n_tile] = s;
            used                    = 0;
        }
        used += n;
    }
    t->tile_shell[++n_tile] = (int32_t)sh->n_shell;
    t->tile_ao[0] = t->tile_row[0] = 0;
    for (int32_t k = 0; k < n_tile; k++) {
        const int32_t first = t->tile_shell[k], last = t->tile_shell[k + 1];
        t->tile_ao[k + 1]  = last < sh->n_shell ? sh->shell[last].ao : (int32_t)sh->n_ao;
        t->tile_row[k + 1] = t->tile_row[k] + (int32_t)ks_round_up(t->tile_ao[k + 1] - t->tile_ao[k], 8);
        for (int32_t i = t->tile_ao[k]; i < t->tile_ao[k + 1]; i++) t->ao_row[i] = t->tile_row[k] + i - t->tile_ao[k];
        for (int32_t i = first + 1; i < last; i++)
            for (int32_t j = i; j > first && shell_cost(&t->shell[j]) > shell_cost(&t->shell[j - 1]); j--) {
                const ks_shell s = t->shell[j];
                t->shell[j]      = t->shell[j - 1];
                t->shell[j - 1]  = s;
            }
    }
    d->n_tile = n_tile;
    d->n_row  = t->tile_row[n_tile];
done:
    return st;
}

/* Atomic grids one after the other, and the place of each point in them. */
static ks_status upload_points(ks_ctx *ctx, const ks_grid *grid, ks_grid_cuda *d) {
    ks_status st  = KS_OK;
    int64_t   n   = 0, first;
    double   *xyz = NULL, *weight = NULL;
    int32_t  *at = NULL;
    for (int64_t k = 0; k < grid->n_kind; k++) n += grid->kind[k].n;
    KS_TRY(KS_NEW(xyz, 3 * n));
    KS_TRY(KS_NEW(weight, n));
    KS_TRY(KS_NEW(at, grid->n_point));
    first = 0;
    for (int64_t k = 0; k < grid->n_kind; k++) {
        const ks_atom_grid *t = &grid->kind[k];
        for (int64_t i = 0; i < t->n; i++) {
            for (int c = 0; c < 3; c++) xyz[3 * (first + i) + c] = t->xyz[3 * i + c];
            weight[first + i] = t->weight[i];
        }
        for (int64_t g = 0; g < grid->n_point; g++) {
            const int32_t a = grid->point_atom[g];
            if (grid->atom_kind[a] == k) at[g] = (int32_t)(first + g - grid->atom_point[a]);
        }
        first += t->n;
    }
    KS_TRY(upload(ctx, 3 * n, sizeof *xyz, xyz, &d->atom_xyz));
    KS_TRY(upload(ctx, n, sizeof *weight, weight, &d->atom_weight));
    KS_TRY(upload(ctx, grid->n_point, sizeof *at, at, &d->point_at));
    KS_TRY(upload(ctx, grid->n_point, sizeof(int32_t), grid->point_atom, &d->point_atom));
done:
    KS_FREE(xyz);
    KS_FREE(weight);
    KS_FREE(at);
    return st;
}

static ks_status device_tables(ks_ctx *ctx, ks_grid *grid) {
    ks_status        st     = KS_OK;
    const ks_shells *sh     = &grid->sys->basis;
    const int64_t    n_atom = grid->sys->n_atom;
    ks_grid_cuda    *d      = NULL;
    ao_tables        t      = {NULL, NULL, NULL, NULL, NULL};
    KS_TRY(KS_ZNEW(d, 1));
    d->n_atom  = (int32_t)n_atom;
    d->n_shell = (int32_t)sh->n_shell;
    d->n_ao    = (int32_t)sh->n_ao;
    KS_TRY(make_ao_tables(sh, d, &t));
    KS_TRY(upload(ctx, sh->n_shell, sizeof *t.shell, t.shell, &d->shell));
    KS_TRY(upload(ctx, sh->n_prim, sizeof(double), sh->exponent, &d->exponent));
    KS_TRY(upload(ctx, sh->n_prim, sizeof(double), sh->coef, &d->coef));
    KS_TRY(upload(ctx, d->n_tile + 1, sizeof(int32_t), t.tile_shell, &d->tile_shell));
    KS_TRY(upload(ctx, d->n_tile + 1, sizeof(int32_t), t.tile_ao, &d->tile_ao));
    KS_TRY(upload(ctx, d->n_tile + 1, sizeof(int32_t), t.tile_row, &d->tile_row));
    KS_TRY(upload(ctx, sh->n_ao, sizeof(int32_t), t.ao_row, &d->ao_row));
    KS_TRY(upload_points(ctx, grid, d));
    KS_TRY(upload(ctx, n_atom * n_atom, sizeof(double), grid->adjust, &d->adjust));
    KS_TRY(upload(ctx, 3 * grid->capacity * n_atom, sizeof(double), NULL, &d->pos));
    grid->impl = d;
    d          = NULL;
done:
    free_ao_tables(&t);
    ks_grid_close_cuda(ctx, d);
    return st;
}

/* Positions of the slots; inv_R (frames, n_atom, n_atom): 1 / |R_i - R_j|, 0 on the diagonal. One block a frame. */
static __global__ void atoms_k(ks_grid_cuda d, const int32_t *__restrict__ slot, const double *__restrict__ pos,
                               double *__restrict__ inv_R) {
    const int     n = d.n_atom;
    const int64_t b = blockIdx.x;
    const double *R = pos + 3 * b * n;
    for (int k = (int)threadIdx.x; k < 3 * n; k += (int)blockDim.x) d.pos[3 * (int64_t)slot[b] * n + k] = R[k];
    for (int k = (int)threadIdx.x; k < n * n; k += (int)blockDim.x) {
        const double *p = R + 3 * (k / n), *q = R + 3 * (k % n);
        const double  x = p[0] - q[0], y = p[1] - q[1], z = p[2] - q[2], R2 = x * x + y * y + z * z;
        inv_R[b * n * n + k] = k / n == k % n ? 0.0 : R2 > 1e-12 ? 1.0 / sqrt(R2) : NAN;
    }
}

/* Shared: distance and cell (n_atom, threads) each. */
static __global__ void points_k(ks_grid_cuda d, int64_t n_point, int64_t n_pad, const int32_t *__restrict__ slots,
                                const double *__restrict__ pos, const double *__restrict__ inv_R,
                                double *__restrict__ xyz, double *__restrict__ weight) {
    KS_SHARED_DYNAMIC(double, distance);
    const int     n = d.n_atom, step = (int)blockDim.x, me = (int)threadIdx.x;
    const int64_t b = blockIdx.y, slot = slots[b], g = (int64_t)blockIdx.x * step + me;
    double       *cell = distance + n * step, r[3], sum = 0.0;
    if (g >= n_pad) return; /* no barriers below */
    const int64_t from = g < n_point ? g : n_point - 1;
    const int     own = d.point_atom[from], at = d.point_at[from];
    const double *R = pos + 3 * b * n, *inv = inv_R + b * n * n;
    for (int c = 0; c < 3; c++) r[c] = d.atom_xyz[3 * at + c] + R[3 * own + c];
    for (int i = 0; i < n; i++) {
        const double x = r[0] - R[3 * i], y = r[1] - R[3 * i + 1], z = r[2] - R[3 * i + 2];
        const double ri = sqrt(x * x + y * y + z * z);
        double       ci = 1.0;
        for (int j = 0; j < i; j++) {
            const double p = ks_becke_pair((ri - distance[j * step + me]) * inv[i * n + j], d.adjust[i * n + j]);
            ci *= 0.5 * (1.0 - p);
            cell[j * step + me] *= 0.5 * (1.0 + p);
        }
        distance[i * step + me] = ri;
        cell[i * step + me]     = ci;
    }
    for (int i = 0; i < n; i++) sum += cell[i * step + me];
    for (int c = 0; c < 3; c++) xyz[(3 * slot + c) * n_pad + g] = r[c];
    weight[slot * n_pad + g] = g < n_point ? d.atom_weight[at] * (cell[own * step + me] / sum) : 0.0;
}

extern "C" ks_status ks_grid_bytes_cuda(ks_ctx *ctx, const ks_system *sys, int64_t n_point, int64_t *bytes_per_frame) {
    (void)ctx;
    *bytes_per_frame = (4 * ks_round_up(n_point, KS_PANEL) + 3 * sys->n_atom) * (int64_t)sizeof(double);
    return KS_OK;
}

extern "C" ks_status ks_grid_build_cuda(ks_ctx *ctx, ks_grid *grid, int64_t n_frame, const int32_t *slot,
                                        const double *pos) {
    ks_status           st    = KS_OK;
    ks_cuda            *cu    = ks_cuda_of(ctx);
    ks_arena           *arena = ks_ctx_scratch(ctx);
    const ks_arena_mark mark  = ks_arena_get_mark(arena);
    const int64_t       n = grid->sys->n_atom, column = 2 * n * (int64_t)sizeof(double), limit = 160 << 10;
    int                 threads = MAX_THREADS;
    double             *inv_R   = NULL;
    if (!grid->impl) KS_TRY(device_tables(ctx, grid));
    while (threads > 32 && threads * column > limit) threads /= 2;
    KS_CHECK(threads * column <= limit, KS_ERR_UNSUPPORTED, "grid on backend cuda: %lld atoms, limit %lld",
             (long long)n, (long long)(limit / (32 * 2 * (int64_t)sizeof(double))));
    KS_TRY(KS_TAKE(arena, inv_R, n_frame * n * n));
    KS_LAUNCH(atoms_k, (unsigned)n_frame, 128, 0, cu->stream, *(const ks_grid_cuda *)grid->impl, slot, pos, inv_R);
    KS_LAUNCHED(cu);
    KS_CUDA_CHECK(cudaFuncSetAttribute(points_k, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(threads * column)));
    for (int64_t b = 0; b < n_frame; b += 32768) {
        KS_LAUNCH(points_k, dim3(ks_blocks(grid->n_pad, threads, INT32_MAX), (unsigned)ks_min64(n_frame - b, 32768)),
                  threads, (size_t)(threads * column), cu->stream, *(const ks_grid_cuda *)grid->impl, grid->n_point,
                  grid->n_pad, slot + b, pos + 3 * b * n, inv_R + b * n * n, grid->xyz, grid->weight);
        KS_LAUNCHED(cu);
    }
done:
    ks_arena_release(arena, mark);
    return st;
}

/* weight (B, n_grid) from (capacity, n_pad) */
static __global__ void weights_k(int64_t n_point, int64_t n_pad, const int32_t *__restrict__ slot,
                                 const double *__restrict__ from, double *__restrict__ to) {
    const int64_t b                                = blockIdx.y;
    KS_GRID_STRIDE(g, n_point) to[b * n_point + g] = from[slot[b] * n_pad + g];
}

extern "C" ks_status ks_grid_weights_cuda(ks_ctx *ctx, const ks_grid *grid, int64_t n_frame, const int32_t *slot,
                                          double *weight) {
    ks_status st = KS_OK;
    ks_cuda  *cu = ks_cuda_of(ctx);
    for (int64_t b = 0; b < n_frame; b += 32768) {
        KS_LAUNCH(weights_k, dim3(ks_blocks(grid->n_point, 256, 1024), (unsigned)ks_min64(n_frame - b, 32768)), 256, 0,
                  cu->stream, grid->n_point, grid->n_pad, slot + b, grid->weight, weight + b * grid->n_point);
        KS_LAUNCHED(cu);
    }
done:
    return st;
}
