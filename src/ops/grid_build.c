/* grid_build.c -- CPU: points of a geometry in k-d order, Becke weights, AO lists of blocks and panels. */
#include <float.h>
#include <omp.h>
#include <string.h>
#include "ops/grid_kernels.h"
#include "ops/grid_ops.h"

/* A point while it is being ordered: float positions are enough for that. */
typedef struct kd_point {
    float   x[3];
    int32_t id;
} kd_point;

enum { TASK_PANELS = 512 };

static void swap_points(kd_point *a, kd_point *b) {
    const kd_point t = *a;
    *a               = *b;
    *b               = t;
}

/* Quickselect: afterwards p[0..k) <= p[k..n) along axis. Equal keys are spread evenly (Hoare). */
static void kd_select(kd_point *p, int64_t n, int64_t k, int axis) {
    int64_t lo = 0, hi = n - 1;
    while (hi - lo > 2) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (p[mid].x[axis] < p[lo].x[axis]) swap_points(&p[mid], &p[lo]);
        if (p[hi].x[axis] < p[lo].x[axis]) swap_points(&p[hi], &p[lo]);
        if (p[hi].x[axis] < p[mid].x[axis]) swap_points(&p[hi], &p[mid]);
        const float pivot = p[mid].x[axis];
        int64_t     i = lo, j = hi;
        for (;;) {
            while (p[i].x[axis] < pivot) i++;
            while (pivot < p[j].x[axis]) j--;
            if (i >= j) break;
            swap_points(&p[i++], &p[j--]);
        }
        const int64_t cut = i == j ? i : j + 1; /* [lo, cut) <= pivot <= [cut, hi] */
        if (k < cut) hi = cut - 1;
        else lo = cut;
        if (lo == hi) return;
    }
    for (int64_t i = lo; i < hi; i++)
        for (int64_t j = i + 1; j <= hi; j++)
            if (p[j].x[axis] < p[i].x[axis]) swap_points(&p[i], &p[j]);
}

static int widest_axis(const kd_point *p, int64_t n) {
    float lo[3] = {FLT_MAX, FLT_MAX, FLT_MAX}, hi[3] = {-FLT_MAX, -FLT_MAX, -FLT_MAX};
    for (int64_t i = 0; i < n; i++)
        for (int x = 0; x < 3; x++) {
            lo[x] = p[i].x[x] < lo[x] ? p[i].x[x] : lo[x];
            hi[x] = p[i].x[x] > hi[x] ? p[i].x[x] : hi[x];
        }
    int best = 0;
    for (int x = 1; x < 3; x++)
        if (hi[x] - lo[x] > hi[best] - lo[best]) best = x;
    return best;
}

/* Orders the panels [first, last): split between blocks while there are several, then between panels. */
static void kd_order(const ks_grid *grid, kd_point *p, int64_t block, int64_t n_block, int64_t first, int64_t last) {
    while (last - first > 1) {
        const int64_t mid   = n_block > 1 ? grid->block_panel[block + n_block / 2] : first + (last - first) / 2;
        const int64_t begin = first * KS_PANEL, cut = mid * KS_PANEL;
        const int64_t end = last * KS_PANEL < grid->n_point ? last * KS_PANEL : grid->n_point;
        if (cut < end) kd_select(p + begin, end - begin, cut - begin, widest_axis(p + begin, end - begin));
        const int64_t left = n_block > 1 ? n_block / 2 : 1;
        if (last - first > TASK_PANELS) {
#pragma omp task default(none) firstprivate(grid, p, block, left, first, mid)
            kd_order(grid, p, block, left, first, mid);
        } else {
            kd_order(grid, p, block, left, first, mid);
        }
        block += left;
        n_block = n_block > 1 ? n_block - left : 1;
        first   = mid;
    }
}

/* Exact positions, PySCF index and unpartitioned weight of the points of one panel. */
static void panel_points(const ks_grid *grid, const double *pos, const kd_point *order, int64_t panel, double *x,
                         double *w, int32_t *id, int32_t *own) {
    for (int64_t k = 0; k < KS_PANEL; k++) {
        const int64_t       g     = panel * KS_PANEL + k;
        const int64_t       from  = g < grid->n_point ? g : grid->n_point - 1;
        const int32_t       i     = order[from].id;
        const int32_t       a     = grid->point_atom[i];
        const ks_atom_grid *t     = &grid->kind[grid->atom_kind[a]];
        const int64_t       local = i - grid->atom_point[a];
        for (int c = 0; c < 3; c++) x[c * grid->n_pad + g] = t->xyz[3 * local + c] + pos[3 * (int64_t)a + c];
        w[g]   = g < grid->n_point ? t->weight[local] : 0.0;
        id[g]  = i;
        own[k] = a;
    }
}

static double box_distance2(const double lo[3], const double hi[3], const double *center) {
    double d2 = 0.0;
    for (int x = 0; x < 3; x++) {
        const double below = lo[x] - center[x], above = center[x] - hi[x];
        const double d = below > 0.0 ? below : above > 0.0 ? above : 0.0;
        d2 += d * d;
    }
    return d2;
}

/* Lists of one block: bit p of mask[s] says that panel p needs shell s. */
static void block_lists(const ks_grid *grid, const double *pos, const double *xyz, int64_t block, uint8_t *mask,
                        int32_t *n_shell, int32_t *shell, int32_t *panel_n_shell) {
    const ks_shells *sh    = &grid->sys->basis;
    const int64_t    first = grid->block_panel[block], n_panel = grid->block_panel[block + 1] - first;
    memset(mask, 0, (size_t)sh->n_shell);
    for (int64_t p = 0; p < n_panel; p++) {
        double lo[3], hi[3];
        for (int x = 0; x < 3; x++) {
            const double *v = xyz + x * grid->n_pad + (first + p) * KS_PANEL;
            lo[x] = hi[x] = v[0];
            for (int k = 1; k < KS_PANEL; k++) {
                lo[x] = v[k] < lo[x] ? v[k] : lo[x];
                hi[x] = v[k] > hi[x] ? v[k] : hi[x];
            }
        }
        double  d2   = 0.0;
        int32_t atom = -1;
        for (int64_t s = 0; s < sh->n_shell; s++) {
            if (sh->shell[s].atom != atom) {
                atom = sh->shell[s].atom;
                d2   = box_distance2(lo, hi, pos + 3 * (int64_t)atom);
            }
            if (d2 < grid->reach[s] * grid->reach[s]) mask[s] = (uint8_t)(mask[s] | 1u << p);
        }
    }
    int32_t n = 0;
    for (int64_t p = 0; p < n_panel; p++) panel_n_shell[first + p] = 0;
    for (int used = KS_BLOCK_PANELS; used > 0; used--)
        for (int64_t s = 0; s < sh->n_shell; s++)
            if (__builtin_popcount(mask[s]) == used) {
                shell[n++] = (int32_t)s;
                for (int64_t p = 0; p < n_panel; p++)
                    if (mask[s] >> p & 1) panel_n_shell[first + p] = n;
            }
    *n_shell = n;
}

typedef struct build_scratch {
    double  *becke;
    uint8_t *mask;
} build_scratch;

ks_status ks_grid_build_cpu(ks_ctx *ctx, ks_grid *grid, int64_t n_frame, const int32_t *slot, const double *pos) {
    ks_status              st     = KS_OK;
    const ks_grid_kernels *k      = ks_grid_kernels_get();
    const int64_t          n_atom = grid->sys->n_atom, n_shell = grid->sys->basis.n_shell;
    ks_arena              *arena  = ks_ctx_scratch(ctx);
    const ks_arena_mark    mark   = ks_arena_get_mark(arena);
    kd_point              *order  = NULL;
    double                *inv_R  = NULL;
    build_scratch         *thread = NULL;
    KS_TRY(KS_TAKE(arena, order, n_frame * grid->n_point));
    KS_TRY(KS_TAKE(arena, inv_R, n_frame * n_atom * n_atom));
    KS_TRY(KS_TAKE(arena, thread, ctx->n_thread));
    for (int t = 0; t < ctx->n_thread; t++) {
        KS_TRY(KS_TAKE(arena, thread[t].becke, 2 * n_atom * KS_PANEL));
        KS_TRY(KS_TAKE(arena, thread[t].mask, n_shell));
    }
    for (int64_t b = 0; b < n_frame; b++)
        for (int64_t i = 0; i < n_atom; i++)
            for (int64_t j = 0; j < n_atom; j++) {
                const double *p = pos + 3 * (b * n_atom + i), *q = pos + 3 * (b * n_atom + j);
                const double  R2 =
                    (p[0] - q[0]) * (p[0] - q[0]) + (p[1] - q[1]) * (p[1] - q[1]) + (p[2] - q[2]) * (p[2] - q[2]);
                KS_CHECK(i == j || R2 > 1e-12, KS_ERR_DATA,
                         "grid: atoms %lld and %lld of frame %lld coincide or are not finite", (long long)i,
                         (long long)j, (long long)b);
                inv_R[(b * n_atom + i) * n_atom + j] = i == j ? 0.0 : 1.0 / sqrt(R2);
            }
#pragma omp parallel num_threads(ctx->n_thread)
    {
#pragma omp for schedule(dynamic, 1)
        for (int64_t b = 0; b < n_frame; b++) {
            kd_point *p = order + b * grid->n_point;
            for (int64_t i = 0; i < grid->n_point; i++) {
                const int32_t       a     = grid->point_atom[i];
                const ks_atom_grid *t     = &grid->kind[grid->atom_kind[a]];
                const int64_t       local = i - grid->atom_point[a];
                for (int x = 0; x < 3; x++) p[i].x[x] = (float)(t->xyz[3 * local + x] + pos[3 * (b * n_atom + a) + x]);
                p[i].id = (int32_t)i;
            }
            kd_order(grid, p, 0, grid->n_block, 0, grid->n_panel);
        } /* the barrier of the loop also completes the tasks */
        const build_scratch *mine = &thread[omp_get_thread_num()];
#pragma omp for schedule(dynamic, 8) collapse(2)
        for (int64_t b = 0; b < n_frame; b++)
            for (int64_t blk = 0; blk < grid->n_block; blk++) {
                const int64_t s = slot[b];
                const double *R = pos + 3 * b * n_atom;
                double       *x = grid->xyz + 3 * s * grid->n_pad, *w = grid->weight + s * grid->n_pad;
                for (int64_t p = grid->block_panel[blk]; p < grid->block_panel[blk + 1]; p++) {
                    int32_t own[KS_PANEL];
                    panel_points(grid, R, order + b * grid->n_point, p, x, w, grid->point + s * grid->n_pad, own);
                    const int64_t g = p * KS_PANEL;
                    k->becke_panel(n_atom, R, inv_R + b * n_atom * n_atom, grid->adjust, x + g, x + grid->n_pad + g,
                                   x + 2 * grid->n_pad + g, own, w + g, mine->becke);
                }
                block_lists(grid, R, x, blk, mine->mask, grid->block_n_shell + s * grid->n_block + blk,
                            grid->block_shell + (s * grid->n_block + blk) * n_shell,
                            grid->panel_n_shell + s * grid->n_panel);
            }
    }
    for (int64_t b = 0; b < n_frame; b++) {
        memcpy(grid->pos + 3 * slot[b] * n_atom, pos + 3 * b * n_atom, sizeof(double) * 3 * (size_t)n_atom);
        grid->is_built[slot[b]] = 1;
    }
done:
    ks_arena_release(arena, mark);
    return st;
}
