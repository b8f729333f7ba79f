/* grid.c -- the grid object, argument checks and dispatch of the grid family. */
#include <math.h>
#include <string.h>
#include "ops/grid_impl.h"
#include "ops/grid_ops.h"
#include "ops/linalg_ops.h"

/* Value and gradient of a shell below this are dropped, beyond its reach. Measured on uracil, level 3: see
 * tests/ops/test_vxc.c. */
#define AO_CUT 1e-9
/* Tight primitives are left out where they contribute less than this to value and gradient. */
#define PRIMITIVE_CUT 1e-14

/* Bound of value and gradient components of primitives [first, last) of degree l at distance r:
 * |Y| <= value_max r^l, |dY/dx| <= slope_max r^(l-1). */
static double radial_bound(const ks_shells *sh, int32_t l, int64_t first, int64_t last, double r) {
    static const double value_max[KS_L_MAX + 1]                      = {0.2821, 0.4887, 0.6308},
                                             slope_max[KS_L_MAX + 1] = {0.0, 0.4887, 1.2616};
    double R = 0.0, R1 = 0.0;
    for (int64_t k = first; k < last; k++) {
        const double e = fabs(sh->coef[k]) * exp(-sh->exponent[k] * r * r);
        R += e;
        R1 += 2.0 * sh->exponent[k] * r * e;
    }
    const double rl = pow(r, l), value = value_max[l] * rl * R;
    return fmax(value, slope_max[l] * rl / r * R + value_max[l] * rl * R1);
}

/* The distance beyond which the bound stays below cut, to 0.02 bohr, at most 60. */
static double reach_of(const ks_shells *sh, int32_t l, int64_t first, int64_t last, double cut) {
    double r = 60.0;
    for (double step = 1.0; step > 0.01; step *= 0.14)
        while (r > 2.0 * step && radial_bound(sh, l, first, last, r - step) < cut) r -= step;
    return r;
}

static ks_status count_points(const ks_system *sys, int level, int64_t *n) {
    ks_status st = KS_OK;
    *n           = 0;
    for (int64_t a = 0; a < sys->n_atom; a++) {
        int64_t m;
        KS_TRY(ks_atom_grid_size(sys->Z[a], level, &m));
        *n += m;
    }
    KS_CHECK(*n <= INT32_MAX / 4, KS_ERR_ARG, "grid of %s: %lld points are too many", sys->formula, (long long)*n);
done:
    return st;
}

ks_status ks_grid_n_points(const ks_system *sys, int level, int64_t *n) {
    ks_status st = KS_OK;
    KS_CHECK(sys && n, KS_ERR_ARG, "grid: NULL argument");
    KS_TRY(count_points(sys, level, n));
done:
    return st;
}

static int64_t panels_of(int64_t n_point) { return (n_point + KS_PANEL - 1) / KS_PANEL; }
static int64_t blocks_of(int64_t n_panel) { return (n_panel + KS_BLOCK_PANELS - 1) / KS_BLOCK_PANELS; }

ks_status ks_grid_bytes(ks_ctx *ctx, const ks_system *sys, int level, int64_t *bytes_per_frame) {
    ks_status st = KS_OK;
    int64_t   n;
    KS_SLOT(ctx, grid, bytes);
    KS_CHECK(sys && bytes_per_frame, KS_ERR_ARG, "grid: NULL argument");
    KS_TRY(count_points(sys, level, &n));
    KS_TRY(ctx->backend->grid->bytes(ctx, sys, n, bytes_per_frame));
done:
    return st;
}

ks_status ks_grid_bytes_cpu(ks_ctx *ctx, const ks_system *sys, int64_t n_point, int64_t *bytes_per_frame) {
    const int64_t n_panel = panels_of(n_point), n_block = blocks_of(n_panel);
    (void)ctx;
    *bytes_per_frame = n_panel * KS_PANEL * (int64_t)(4 * sizeof(double) + sizeof(int32_t)) +
                       3 * sys->n_atom * (int64_t)sizeof(double) +
                       (n_block * (1 + sys->basis.n_shell) + n_panel) * (int64_t)sizeof(int32_t) + 1;
    return KS_OK;
}

static ks_status system_tables(ks_grid *g) {
    ks_status        st  = KS_OK;
    const ks_system *sys = g->sys;
    KS_TRY(KS_NEW(g->atom_point, sys->n_atom + 1));
    KS_TRY(KS_NEW(g->point_atom, g->n_point));
    KS_TRY(KS_NEW(g->atom_kind, sys->n_atom));
    KS_TRY(KS_ZNEW(g->kind, sys->n_atom));
    KS_TRY(KS_NEW(g->adjust, sys->n_atom * sys->n_atom));
    KS_TRY(KS_NEW(g->reach, sys->basis.n_shell));
    KS_TRY(KS_NEW(g->prim_reach2, sys->basis.n_prim));
    KS_TRY(KS_NEW(g->block_panel, g->n_block + 1));
    g->atom_point[0] = 0;
    for (int64_t a = 0; a < sys->n_atom; a++) {
        int64_t first = 0;
        while (sys->Z[first] != sys->Z[a]) first++;
        if (first == a) {
            KS_TRY(ks_atom_grid_create(sys->Z[a], g->level, &g->kind[g->n_kind]));
            g->atom_kind[a] = (int32_t)g->n_kind++;
        } else {
            g->atom_kind[a] = g->atom_kind[first];
        }
        g->atom_point[a + 1] = g->atom_point[a] + g->kind[g->atom_kind[a]].n;
        for (int64_t i = g->atom_point[a]; i < g->atom_point[a + 1]; i++) g->point_atom[i] = (int32_t)a;
    }
    for (int64_t i = 0; i < sys->n_atom; i++)
        for (int64_t j = 0; j < sys->n_atom; j++) {
            const double si = sqrt(ks_bragg_radius(sys->Z[i])), sj = sqrt(ks_bragg_radius(sys->Z[j]));
            g->adjust[i * sys->n_atom + j] = fmax(-0.5, fmin(0.5, 0.25 * (sj / si - si / sj)));
        }
    for (int64_t s = 0; s < sys->basis.n_shell; s++) {
        const ks_shell *q = &sys->basis.shell[s];
        g->reach[s]       = reach_of(&sys->basis, q->l, q->prim, q->prim + q->n_prim, AO_CUT);
        for (int64_t k = q->prim; k < q->prim + q->n_prim; k++) {
            const double r    = reach_of(&sys->basis, q->l, k, k + 1, PRIMITIVE_CUT);
            g->prim_reach2[k] = r * r;
        }
    }
    for (int64_t b = 0; b <= g->n_block; b++) g->block_panel[b] = (int32_t)(b * g->n_panel / g->n_block);
done:
    return st;
}

static ks_status slot_tables(ks_grid *g) {
    ks_status st = KS_OK;
    KS_TRY(KS_ZNEW(g->is_built, g->capacity));
    KS_TRY(KS_NEW(g->pos, 3 * g->capacity * g->sys->n_atom));
    KS_TRY(KS_NEW(g->point, g->capacity * g->n_pad));
    KS_TRY(KS_NEW(g->block_n_shell, g->capacity * g->n_block));
    KS_TRY(KS_NEW(g->block_shell, g->capacity * g->n_block * g->sys->basis.n_shell));
    KS_TRY(KS_NEW(g->panel_n_shell, g->capacity * g->n_panel));
done:
    return st;
}

ks_status ks_grid_create(ks_ctx *ctx, const ks_system *sys, int level, int64_t capacity, ks_grid **out) {
    ks_status st = KS_OK;
    ks_grid  *g  = NULL;
    int64_t   np;
    KS_CHECK(ctx && sys && out, KS_ERR_ARG, "grid: NULL argument");
    *out = NULL;
    KS_CHECK(capacity >= 0, KS_ERR_ARG, "grid: capacity=%lld", (long long)capacity);
    KS_TRY(KS_ZNEW(g, 1));
    g->ctx      = ctx;
    g->sys      = sys;
    g->level    = level;
    g->capacity = capacity;
    KS_TRY(count_points(sys, level, &g->n_point));
    g->n_panel = panels_of(g->n_point);
    g->n_pad   = g->n_panel * KS_PANEL;
    g->n_block = blocks_of(g->n_panel);
    g->n_chunk = g->n_block < 4 * KS_GRID_CHUNKS ? (g->n_block + 3) / 4 : KS_GRID_CHUNKS;
    KS_TRY(system_tables(g));
    KS_TRY(ks_mul_i64(capacity, g->n_pad, &np));
    KS_TRY(ks_mem_alloc(ctx, 3 * sizeof(double) * (size_t)np, (void **)&g->xyz));
    KS_TRY(ks_mem_alloc(ctx, sizeof(double) * (size_t)np, (void **)&g->weight));
    if (ks_ctx_is_host(ctx)) KS_TRY(slot_tables(g));
    *out = g;
    g    = NULL;
done:
    ks_grid_destroy(&g);
    return st;
}

void ks_grid_destroy(ks_grid **pgrid) {
    if (!pgrid || !*pgrid) return;
    ks_grid *g = *pgrid;
    if (g->impl) g->ctx->backend->grid->close(g->ctx, g->impl);
    ks_mem_free(g->ctx, (void **)&g->xyz);
    ks_mem_free(g->ctx, (void **)&g->weight);
    for (int64_t i = 0; i < g->n_kind; i++) ks_atom_grid_destroy(&g->kind[i]);
    KS_FREE(g->atom_point);
    KS_FREE(g->point_atom);
    KS_FREE(g->atom_kind);
    KS_FREE(g->kind);
    KS_FREE(g->adjust);
    KS_FREE(g->reach);
    KS_FREE(g->prim_reach2);
    KS_FREE(g->block_panel);
    KS_FREE(g->is_built);
    KS_FREE(g->pos);
    KS_FREE(g->point);
    KS_FREE(g->block_n_shell);
    KS_FREE(g->block_shell);
    KS_FREE(g->panel_n_shell);
    KS_FREE(*pgrid);
}

/* Where slots can be read: in range (and built, for everything but build); slots of one build call must differ. */
static ks_status check_slots(const char *op, const ks_grid *grid, int64_t n_frame, const int32_t *slot,
                             int must_be_built) {
    ks_status st = KS_OK;
    KS_CHECK(grid && n_frame >= 0 && (n_frame == 0 || slot), KS_ERR_ARG, "%s: n_frame=%lld", op, (long long)n_frame);
    for (int64_t b = 0; ks_ctx_is_host(grid->ctx) && b < n_frame; b++) {
        KS_CHECK(slot[b] >= 0 && slot[b] < grid->capacity, KS_ERR_ARG, "%s: slot %d of frame %lld, capacity %lld", op,
                 (int)slot[b], (long long)b, (long long)grid->capacity);
        KS_CHECK(!must_be_built || grid->is_built[slot[b]], KS_ERR_ARG,
                 "%s: slot %d has no geometry yet (ks_grid_build)", op, (int)slot[b]);
    }
done:
    return st;
}

ks_status ks_grid_build(ks_ctx *ctx, ks_grid *grid, int64_t n_frame, const int32_t *slot, const double *pos) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, grid, build);
    KS_TRY(check_slots("grid_build", grid, n_frame, slot, 0));
    KS_CHECK(n_frame == 0 || pos, KS_ERR_ARG, "grid_build: pos is NULL");
    for (int64_t b = 0; ks_ctx_is_host(ctx) && b < n_frame; b++)
        for (int64_t c = 0; c < b; c++)
            KS_CHECK(slot[b] != slot[c], KS_ERR_ARG, "grid_build: slot %d is given twice", (int)slot[b]);
    if (n_frame) KS_TRY(ctx->backend->grid->build(ctx, grid, n_frame, slot, pos));
done:
    return st;
}

ks_status ks_grid_export(ks_ctx *ctx, const ks_grid *grid, int32_t slot, double *xyz, double *weight) {
    ks_status     st    = KS_OK;
    double       *x     = NULL; /* (4, n_pad): x, y, z, w */
    ks_arena     *arena = NULL;
    ks_arena_mark mark  = {0};
    KS_CHECK(ctx && grid, KS_ERR_ARG, "grid_export: NULL argument");
    KS_CHECK(slot >= 0 && slot < grid->capacity, KS_ERR_ARG, "grid_export: slot %d, capacity %lld", (int)slot,
             (long long)grid->capacity);
    KS_CHECK(!ks_ctx_is_host(ctx) || grid->is_built[slot], KS_ERR_ARG,
             "grid_export: slot %d has no geometry yet (ks_grid_build)", (int)slot);
    arena = ks_ctx_host_scratch(ctx);
    mark  = ks_arena_get_mark(arena);
    KS_TRY(KS_TAKE(arena, x, 4 * grid->n_pad));
    KS_TRY(ks_mem_to_host(ctx, x, grid->xyz + 3 * slot * grid->n_pad, 3 * sizeof(double) * (size_t)grid->n_pad));
    KS_TRY(ks_mem_to_host(ctx, x + 3 * grid->n_pad, grid->weight + slot * grid->n_pad,
                          sizeof(double) * (size_t)grid->n_pad));
    for (int64_t g = 0; g < grid->n_point; g++) {
        const int64_t i = grid->point ? grid->point[slot * grid->n_pad + g] : g;
        if (weight) weight[i] = x[3 * grid->n_pad + g];
        if (xyz)
            for (int c = 0; c < 3; c++) xyz[3 * i + c] = x[c * grid->n_pad + g];
    }
done:
    if (arena) ks_arena_release(arena, mark);
    return st;
}

ks_status ks_grid_weights(ks_ctx *ctx, const ks_grid *grid, int64_t n_frame, const int32_t *slot, double *weight) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, grid, weights);
    KS_TRY(check_slots("grid_weights", grid, n_frame, slot, 1));
    KS_CHECK(n_frame == 0 || weight, KS_ERR_ARG, "grid_weights: NULL argument");
    if (n_frame) KS_TRY(ctx->backend->grid->weights(ctx, grid, n_frame, slot, weight));
done:
    return st;
}

ks_status ks_rho_fwd(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame, const int32_t *slot,
                     const double *P, double *feat) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, grid, rho_fwd);
    KS_TRY(check_slots("rho_fwd", grid, n_frame, slot, 1));
    KS_CHECK(family == KS_XC_LDA || family == KS_XC_GGA, KS_ERR_ARG, "rho_fwd: family %d has no features", (int)family);
    KS_CHECK(n_frame == 0 || (P && feat), KS_ERR_ARG, "rho_fwd: NULL argument");
    if (n_frame) KS_TRY(ctx->backend->grid->rho_fwd(ctx, grid, family, n_frame, slot, P, feat));
done:
    return st;
}

ks_status ks_rho_adj(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame, const int32_t *slot,
                     const double *feat_bar, double *P_bar) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, grid, rho_adj);
    KS_TRY(check_slots("rho_adj", grid, n_frame, slot, 1));
    KS_CHECK(family == KS_XC_LDA || family == KS_XC_GGA, KS_ERR_ARG, "rho_adj: family %d has no features", (int)family);
    KS_CHECK(n_frame == 0 || feat_bar, KS_ERR_ARG, "rho_adj: NULL argument");
    if (n_frame && P_bar) KS_TRY(ctx->backend->grid->rho_adj(ctx, grid, family, n_frame, slot, feat_bar, P_bar));
done:
    return st;
}

ks_status ks_vxc_fwd(ks_ctx *ctx, const ks_grid *grid, const ks_xc *xc, int64_t n_frame, const int32_t *slot,
                     const double *P, const double *C_occ, const ks_occ *occ, double *exc, double *n_elec,
                     double *Vxc) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, grid, vxc_fwd);
    KS_TRY(check_slots("vxc_fwd", grid, n_frame, slot, 1));
    KS_CHECK(xc, KS_ERR_ARG, "vxc_fwd: no functional");
    if (n_frame == 0) goto done;
    if (xc->family == KS_XC_NONE) {
        const int64_t n = grid->sys->n_ao;
        if (exc) KS_TRY(ks_mem_zero(ctx, exc, sizeof(double) * (size_t)n_frame));
        if (n_elec) KS_TRY(ks_mem_zero(ctx, n_elec, sizeof(double) * (size_t)n_frame));
        if (Vxc) KS_TRY(ks_mem_zero(ctx, Vxc, sizeof(double) * (size_t)(n_frame * n * n)));
        goto done;
    }
    KS_CHECK(P || C_occ, KS_ERR_ARG, "vxc_fwd: neither P nor C_occ is given");
    if (C_occ) {
        KS_CHECK(occ && occ->n_occ && occ->n_spin == 1 && occ->max >= 0, KS_ERR_ARG, "vxc_fwd: C_occ without occ");
        for (int64_t b = 0; ks_ctx_is_host(ctx) && b < n_frame; b++)
            KS_CHECK(ks_occ_of(occ, b) >= 0 && ks_occ_of(occ, b) <= occ->max, KS_ERR_ARG,
                     "vxc_fwd: n_occ=%d of frame %lld, limit %lld", (int)ks_occ_of(occ, b), (long long)b,
                     (long long)occ->max);
    }
    KS_TRY(ctx->backend->grid->vxc_fwd(ctx, grid, xc, n_frame, slot, P, C_occ, occ, exc, n_elec, Vxc));
done:
    return st;
}

ks_status ks_vxc_adj(ks_ctx *ctx, const ks_grid *grid, const ks_xc *xc, int64_t n_frame, const int32_t *slot,
                     const double *P, const double *M, double *KM) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, grid, vxc_adj);
    KS_TRY(check_slots("vxc_adj", grid, n_frame, slot, 1));
    KS_CHECK(xc, KS_ERR_ARG, "vxc_adj: no functional");
    KS_CHECK(n_frame == 0 || (P && M), KS_ERR_ARG, "vxc_adj: NULL argument");
    if (n_frame && KM && xc->family != KS_XC_NONE)
        KS_TRY(ctx->backend->grid->vxc_adj(ctx, grid, xc, n_frame, slot, P, M, KM));
done:
    return st;
}
