/* test_grid.c -- grids against PySCF, the internal order and lists against brute force, errors. */
#include <jansson.h>
#include "ks_test.h"
#include "op_driver.h"
#include "grid_golden.h"
#include "ops/grid_impl.h"
#include "pointwise/ao_point.h"

static double fingerprint(int64_t n, const double *a, double *norm1) {
    double s = 0.0;
    *norm1   = 0.0;
    for (int64_t k = 0; k < n; k++) {
        s += cos((double)k) * a[k];
        *norm1 += fabs(a[k]);
    }
    return s;
}

/* One s shell on atom 0: grids of elements that no shipped basis set has. */
static ks_system *bare_system(ks_system *sys, int64_t n_atom, int32_t *Z) {
    static ks_shell shell    = {.n_prim = 1};
    static double   exponent = 1.0, coef = 1.0;
    *sys = (ks_system){.n_atom = n_atom, .Z = Z, .n_ao = 1};
    sys->basis =
        (ks_shells){.n_shell = 1, .n_prim = 1, .n_ao = 1, .shell = &shell, .exponent = &exponent, .coef = &coef};
    return sys;
}

typedef struct exported {
    int64_t n;
    double *xyz, *w;
} exported;

static exported make_grid(ks_ctx *ctx, int64_t n_atom, int32_t *Z, const double *pos, int level, int adjust) {
    exported      e = {0};
    ks_system     sys;
    ks_grid      *grid = NULL;
    const int32_t slot = 1;
    T_OK(ks_grid_n_points(bare_system(&sys, n_atom, Z), level, &e.n));
    T_OK(ks_grid_create(ctx, &sys, level, 2, &grid));
    if (!adjust) memset(grid->adjust, 0, sizeof(double) * (size_t)(n_atom * n_atom));
    golden_build(ctx, grid, 1, &slot, pos, n_atom);
    e.xyz = malloc(sizeof(double) * (size_t)(3 * e.n));
    e.w   = malloc(sizeof(double) * (size_t)e.n);
    T_OK(ks_grid_export(ctx, grid, slot, e.xyz, e.w));
    ks_grid_destroy(&grid);
    return e;
}

static void free_grid(exported *e) {
    free(e->xyz);
    free(e->w);
}

/* Points and weights agree to 1e-13 of each, sums to 1e-13 of the sum of magnitudes. */
static void check_stats(const char *name, const exported *e, const double stats[5]) {
    const double tol = 1e-13;
    double       sum = 0.0, sq = 0.0, norm;
    for (int64_t g = 0; g < e->n; g++) {
        sum += e->w[g];
        sq += e->w[g] * e->w[g];
    }
    T_CHECK((double)e->n == stats[0], "%s: %lld points, expected %.0f", name, (long long)e->n, stats[0]);
    T_CLOSE(sum, stats[1], 0.0, 10 * tol);
    T_CLOSE(sqrt(sq), stats[2], 0.0, 10 * tol);
    const double fp_xyz = fingerprint(3 * e->n, e->xyz, &norm);
    T_CLOSE(fp_xyz, stats[3], tol * norm, 0.0);
    const double fp_w = fingerprint(e->n, e->w, &norm);
    T_CLOSE(fp_w, stats[4], tol * norm, 0.0);
}

/* Levels to test: the launcher runs one thread at a time. */
static int level_max(void) { return strcmp(t_op_backend(), "emu") ? KS_GRID_LEVEL_MAX : 0; }

static void against_golden(ks_ctx *ctx) {
    static const char *const mol[] = {"h2o", "hcn", "hf", "ch3cl", "naf"};
    double                   worst = 0.0;
    for (int level = 0; level <= level_max(); level++)
        for (int m = 0; m < 5; m++) {
            char    name[64];
            int32_t Z[8];
            double  pos[24];
            int64_t n_sample;
            snprintf(name, sizeof name, "grid_%s_%d", mol[m], level);
            const int64_t n_atom = golden_atoms(name, Z, pos);
            exported      e      = make_grid(ctx, n_atom, Z, pos, level, 1);
            double       *stats  = golden_array(name, "stats", NULL);
            double       *at     = golden_array(name, "sample", &n_sample);
            double       *xyzw   = golden_array(name, "sample_xyzw", NULL);
            check_stats(name, &e, stats);
            for (int64_t k = 0; k < n_sample; k++) {
                const int64_t g = (int64_t)at[k];
                for (int c = 0; c < 4; c++) {
                    const double got = c < 3 ? e.xyz[3 * g + c] : e.w[g], want = xyzw[4 * k + c];
                    worst = t_worse(worst, fabs(got - want) / fmax(1.0, fabs(want)));
                    /* a share near 0 is a product of small differences: absolute for those */
                    T_CLOSE(got, want, 1e-13, 1e-13);
                }
            }
            free(stats);
            free(at);
            free(xyzw);
            free_grid(&e);
        }
    printf("sample points and weights: worst %.2e of max(1, |value|)\n", worst);
}

/* pyscf_grids.json holds weights without the radii adjustment (PySCF's get_partition called without it). */
static void against_reference(ks_ctx *ctx) {
    const char *shared = getenv("KSGRAD_SHARED");
    char        path[512];
    snprintf(path, sizeof path, "%s/reference/pyscf_grids.json",
             shared ? shared : KS_TEST_SOURCE_DIR "/../shared/data");
    json_t *root = json_load_file(path, 0, NULL);
    if (!root) {
        printf("skipped: %s is not there\n", path);
        return;
    }
    for (size_t i = 0; i < json_array_size(root); i++) {
        const json_t *r     = json_array_get(root, i);
        const int     level = (int)json_integer_value(json_object_get(r, "level"));
        if (level > level_max()) continue;
        const json_t *jZ = json_object_get(r, "Z"), *jp = json_object_get(r, "pos_bohr");
        const int64_t n_atom = (int64_t)json_array_size(jZ);
        int32_t       Z[32];
        double        pos[96];
        for (int64_t a = 0; a < n_atom; a++) {
            Z[a] = (int32_t)json_integer_value(json_array_get(jZ, (size_t)a));
            for (int x = 0; x < 3; x++)
                pos[3 * a + x] = json_number_value(json_array_get(json_array_get(jp, (size_t)a), (size_t)x));
        }
        exported     e        = make_grid(ctx, n_atom, Z, pos, level, 0);
        const double stats[5] = {
            json_number_value(json_object_get(r, "n")), json_number_value(json_object_get(r, "w_sum")),
            json_number_value(json_object_get(r, "w_norm")), json_number_value(json_object_get(r, "fp_coords")),
            json_number_value(json_object_get(r, "fp_w"))};
        check_stats(json_string_value(json_object_get(r, "name")), &e, stats);
        free_grid(&e);
    }
    json_decref(root);
}

/* CPU: every AO left out of a panel is below the cut there; every listed shell is listed once; points are a permutation. */
static void order_and_lists(ks_ctx *ctx) {
    double        pos[24];
    ks_system    *sys  = golden_system("xc_hcn_def2-svp_pbe_1", "def2-svp", pos);
    ks_grid      *grid = NULL;
    const int32_t slot = 0;
    /* spread out, so that lists are short */
    for (int k = 0; k < 9; k++) pos[k] *= 3.0;
    T_OK(ks_grid_create(ctx, sys, 1, 1, &grid));
    T_OK(ks_grid_build(ctx, grid, 1, &slot, pos));
    uint8_t *seen  = calloc((size_t)grid->n_point, 1);
    int64_t  twice = 0, large = 0, dropped = 0, listed_twice = 0;
    double   largest = 0.0;
    for (int64_t g = 0; g < grid->n_point; g++) twice += seen[grid->point[g]]++;
    T_CHECK(twice == 0, "%lld points occur twice", (long long)twice);
    for (int64_t g = grid->n_point; g < grid->n_pad; g++)
        T_CHECK(grid->weight[g] == 0.0, "padding has weight %g", grid->weight[g]);
    const int64_t n_shell = sys->basis.n_shell;
    for (int64_t b = 0; b < grid->n_block; b++) {
        const int32_t *list = grid->block_shell + b * n_shell;
        T_CHECK(grid->block_panel[b + 1] - grid->block_panel[b] <= KS_BLOCK_PANELS, "block %lld is too large",
                (long long)b);
        for (int64_t p = grid->block_panel[b]; p < grid->block_panel[b + 1]; p++) {
            uint8_t listed[64] = {0};
            for (int32_t k = 0; k < grid->panel_n_shell[p]; k++) listed_twice += listed[list[k]]++;
            for (int64_t s = 0; s < n_shell; s++) {
                if (listed[s]) continue;
                dropped++;
                const ks_shell *sh = &sys->basis.shell[s];
                for (int64_t g = p * KS_PANEL; g < (p + 1) * KS_PANEL; g++) {
                    ks_lane d[3], R, R1, v[KS_AO_SHELL_MAX], dv[3][KS_AO_SHELL_MAX];
                    for (int x = 0; x < 3; x++)
                        d[x] = ks_lane_set(grid->xyz[x * grid->n_pad + g] - pos[3 * sh->atom + x]);
                    ks_ao_radial(sh->n_prim, sys->basis.exponent + sh->prim, sys->basis.coef + sh->prim,
                                 d[0] * d[0] + d[1] * d[1] + d[2] * d[2], &R, &R1);
                    ks_ao_angular(sh->l, d[0], d[1], d[2], R, R1, v, dv);
                    for (int m = 0; m < 2 * sh->l + 1; m++) {
                        double a = fabs(ks_lane_get(v[m], 0));
                        for (int x = 0; x < 3; x++) a = fmax(a, fabs(ks_lane_get(dv[x][m], 0)));
                        largest = fmax(largest, a);
                        large += !(a < 1e-9);
                    }
                }
            }
        }
    }
    T_CHECK(listed_twice == 0, "shells listed twice: %lld", (long long)listed_twice);
    T_CHECK(dropped > grid->n_panel, "only %lld shells were dropped: the test shows nothing", (long long)dropped);
    T_CHECK(large == 0, "%lld dropped values at or above the cut, largest %.2e", (long long)large, largest);
    printf("dropped shells per panel %.1f of %lld, largest dropped value %.2e\n",
           (double)dropped / (double)grid->n_panel, (long long)n_shell, largest);
    free(seen);
    ks_grid_destroy(&grid);
    ks_system_destroy(&sys);
}

/* CPU: the same bits with 1 and 3 threads, alone or in a batch; no allocation in the second build. */
static void repeatable(void) {
    double        pos[24], both[24];
    ks_system    *sys     = golden_system("xc_hcn_def2-svp_pbe_1", "def2-svp", pos);
    ks_grid      *grid[2] = {NULL, NULL};
    ks_ctx       *all[2]  = {NULL, NULL};
    const int32_t slot[2] = {1, 0};
    for (int k = 0; k < 9; k++) {
        both[k]     = pos[k] + 0.01 * k;
        both[9 + k] = pos[k];
    }
    for (int t = 0; t < 2; t++) {
        ks_ctx *ctx = all[t] = t_op_ctx(t ? 3 : 1);
        T_OK(ks_grid_create(ctx, sys, 2, 2, &grid[t]));
        T_OK(ks_grid_build(ctx, grid[t], t ? 2 : 1, t ? slot : slot + 1, t ? both : pos));
        const int64_t before = ks_alloc_count();
        T_OK(ks_grid_build(ctx, grid[t], t ? 2 : 1, t ? slot : slot + 1, t ? both : pos));
        T_CHECK(ks_alloc_count() == before, "the second build allocated");
    }
    const size_t n = (size_t)grid[0]->n_pad;
    T_CHECK(!memcmp(grid[0]->weight, grid[1]->weight, 8 * n), "weights differ");
    T_CHECK(!memcmp(grid[0]->xyz, grid[1]->xyz, 24 * n), "points differ");
    T_CHECK(!memcmp(grid[0]->block_n_shell, grid[1]->block_n_shell, 4 * (size_t)grid[0]->n_block), "lists differ");
    for (int t = 0; t < 2; t++) {
        ks_grid_destroy(&grid[t]);
        ks_ctx_destroy(&all[t]);
    }
    ks_system_destroy(&sys);
}

/* CUDA: PySCF's order and zero weights behind it; alone or in a batch the same bits; the first build makes the tables,
 * the second allocates nothing; weights as the export gives them; frames that cannot be do not touch their neighbours. */
static void on_device(ks_ctx *ctx) {
    double        pos[24], all[3 * 9];
    ks_system    *sys     = golden_system("xc_hcn_def2-svp_pbe_1", "sto-3g", pos);
    ks_grid      *grid    = NULL;
    const int32_t slot[3] = {1, 0, 2};
    for (int b = 0; b < 3; b++)
        for (int k = 0; k < 9; k++) all[9 * b + k] = pos[k] + 0.01 * k * (1 - b);
    T_OK(ks_grid_create(ctx, sys, 0, 3, &grid));
    const int64_t n = grid->n_point, n_pad = grid->n_pad;
    golden_build(ctx, grid, 1, slot, all, 3);
    double *alone[2] = {golden_get(ctx, grid->xyz + 3 * n_pad, 3 * n_pad),
                        golden_get(ctx, grid->weight + n_pad, n_pad)};
    for (int c = 0; c < 3; c++) all[18 + c] = all[21 + c]; /* frame 2: two atoms at one place */
    void *slot_b = golden_put(ctx, slot, sizeof slot), *pos_b = golden_put(ctx, all, sizeof all);
    T_OK(ks_grid_build(ctx, grid, 3, slot_b, pos_b));
    const int64_t before = ks_alloc_count();
    T_OK(ks_grid_build(ctx, grid, 3, slot_b, pos_b));
    T_CHECK(ks_alloc_count() == before, "the second build allocated");
    double *xyz = golden_get(ctx, grid->xyz, 9 * n_pad), *w = golden_get(ctx, grid->weight, 3 * n_pad);
    T_CHECK(!memcmp(alone[0], xyz + 3 * n_pad, sizeof *xyz * (size_t)(3 * n_pad)), "points depend on the batch");
    T_CHECK(!memcmp(alone[1], w + n_pad, sizeof *w * (size_t)n_pad), "weights depend on the batch");
    for (int64_t g = 0; g < n_pad; g++) {
        if (g >= n) T_CHECK(w[g] == 0.0 && xyz[g] == xyz[n - 1], "padding %lld: weight %g", (long long)g, w[g]);
        if (g < n) T_CHECK(isnan(w[2 * n_pad + g]), "weight of a frame with coinciding atoms: %g", w[2 * n_pad + g]);
    }
    void   *weight_b = golden_put(ctx, NULL, sizeof *w * (size_t)(2 * n));
    double *e_xyz = malloc(sizeof *w * (size_t)(3 * n)), *e_w = malloc(sizeof *w * (size_t)n);
    T_OK(ks_grid_weights(ctx, grid, 2, slot_b, weight_b));
    double *both = golden_get(ctx, weight_b, 2 * n);
    for (int b = 0; b < 2; b++) {
        T_OK(ks_grid_export(ctx, grid, slot[b], e_xyz, e_w));
        T_CHECK(!memcmp(e_w, both + b * n, sizeof *w * (size_t)n), "weights of frame %d", b);
        T_CHECK(!memcmp(e_w, w + slot[b] * n_pad, sizeof *w * (size_t)n), "order of frame %d", b);
        T_CHECK(e_xyz[3 * n - 1] == xyz[(3 * slot[b] + 2) * n_pad + n - 1], "points of frame %d", b);
    }
    free(alone[0]);
    free(alone[1]);
    free(xyz);
    free(w);
    free(e_xyz);
    free(e_w);
    free(both);
    ks_mem_free(ctx, &slot_b);
    ks_mem_free(ctx, &pos_b);
    ks_mem_free(ctx, &weight_b);
    ks_grid_destroy(&grid);
    ks_system_destroy(&sys);
}

/* Calls that are refused before anything runs. */
static void errors(ks_ctx *ctx) {
    double        pos[24], built[9];
    int32_t       iron[1] = {26};
    ks_system     bare, *sys = golden_system("xc_hcn_def2-svp_pbe_1", "sto-3g", pos);
    ks_grid      *grid = NULL;
    int64_t       n    = 0;
    const int32_t slot = 1;
    memcpy(built, pos, sizeof built);
    T_ERR(ks_grid_n_points(sys, 4, &n), KS_ERR_ARG);
    T_ERR(ks_grid_n_points(sys, -1, &n), KS_ERR_ARG);
    T_ERR(ks_grid_n_points(bare_system(&bare, 1, iron), 1, &n), KS_ERR_UNSUPPORTED);
    T_ERR(ks_grid_create(ctx, sys, 1, -1, &grid), KS_ERR_ARG);
    T_OK(ks_grid_create(ctx, sys, 1, 2, &grid));
    T_ERR(ks_grid_export(ctx, grid, 2, NULL, NULL), KS_ERR_ARG);
    if (ks_ctx_is_host(ctx)) { /* what needs slots and positions in host memory */
        const int32_t twice[2] = {0, 0}, out = 2;
        T_ERR(ks_grid_build(ctx, grid, 1, &out, pos), KS_ERR_ARG);
        T_ERR(ks_grid_build(ctx, grid, 2, twice, pos), KS_ERR_ARG);
        T_ERR(ks_grid_export(ctx, grid, slot, NULL, NULL), KS_ERR_ARG); /* not built */
        memcpy(pos, pos + 3, 24);
        T_ERR(ks_grid_build(ctx, grid, 1, &slot, pos), KS_ERR_DATA);
        pos[0] = NAN;
        T_ERR(ks_grid_build(ctx, grid, 1, &slot, pos), KS_ERR_DATA);
    }
    T_OK(ks_grid_build(ctx, grid, 0, NULL, NULL));
    T_OK(ks_grid_bytes(ctx, sys, 1, &n));
    T_CHECK(n >= 32 * grid->n_point && n < 48 * grid->n_point, "%lld bytes for %lld points", (long long)n,
            (long long)grid->n_point);
    ks_grid_destroy(&grid);
    ks_grid_destroy(&grid);
    int32_t zero   = 0;
    void   *slot_b = golden_put(ctx, &zero, sizeof zero), *pos_b = golden_put(ctx, built, sizeof built);
    int     failed = 0;
    for (int64_t fail = 1; fail < 200; fail++) { /* every allocation of a grid, one after the other */
        ks_alloc_fail_after(fail);
        ks_status st = ks_grid_create(ctx, sys, 0, 1, &grid);
        if (st == KS_OK) st = ks_grid_build(ctx, grid, 1, slot_b, pos_b); /* makes the tables of a device */
        ks_alloc_fail_after(0);
        if (st == KS_OK) break;
        T_CHECK(st == KS_ERR_NOMEM, "allocation %lld: %s", (long long)fail, ks_status_text(st));
        ks_grid_destroy(&grid);
        failed++;
    }
    T_CHECK(grid != NULL && failed > 10, "%d failed allocations, then %s", failed, grid ? "a grid" : "none");
    ks_grid_destroy(&grid);
    ks_mem_free(ctx, &slot_b);
    ks_mem_free(ctx, &pos_b);
    ks_system_destroy(&sys);
}

int main(int argc, char **argv) {
    t_op_init(argc, argv);
    ks_ctx *ctx = t_op_ctx(0);
    against_golden(ctx);
    against_reference(ctx);
    const int is_host = ks_ctx_is_host(ctx);
    if (is_host) {
        order_and_lists(ctx);
        repeatable();
    } else {
        on_device(ctx);
    }
    errors(ctx);
    ks_ctx_destroy(&ctx);
    return t_done("grid", level_max() ? 1100 : 300);
}
