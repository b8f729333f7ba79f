/* grid_recipe.c -- see grid_recipe.h. Recipe: radial rule M4 of Treutler and Ahlrichs (doi:10.1063/1.469408) with
 * their element factors xi, five-region pruning as in NWChem, Lebedev rules. */
#include "chem/grid_recipe.h"
#include <math.h>
#include "ksgrad/context.h"

enum { Z_MAX = 18, LEVELS = 4, PERIODS = 3, GROUP = 12, REGIONS = 5 };

static const double bohr_in_ang                = 0.52917721092;
static const double bragg_ang[Z_MAX + 1]       = {0,    0.35, 1.40, 1.45, 1.05, 0.85, 0.70, 0.65, 0.60, 0.50,
                                                  1.50, 1.80, 1.50, 1.25, 1.10, 1.00, 1.00, 1.00, 1.80};
static const double treutler_xi[Z_MAX + 1]     = {0,   0.8, 0.9, 1.8, 1.4, 1.3, 1.1, 0.9, 0.9, 0.9,
                                                  0.9, 1.4, 1.3, 1.3, 1.2, 1.1, 1.0, 1.0, 1.0};
static const int    n_radial[LEVELS][PERIODS]  = {{10, 15, 20}, {30, 40, 50}, {40, 60, 65}, {50, 75, 80}};
static const int    n_angular[LEVELS][PERIODS] = {{50, 86, 110}, {110, 194, 194}, {194, 302, 302}, {302, 302, 434}};
/* Region borders in units of the Bragg radius. */
static const double border[PERIODS][REGIONS - 1] = {
    {0.25, 0.5, 1.0, 4.5}, {0.1667, 0.5, 0.9, 3.5}, {0.1, 0.4, 0.8, 2.5}};
static const int angular_list[] = {38, 50, 74, 86, 110, 146, 170, 194, 230, 266, 302, 350, 434};

enum { RADIAL_MAX = 80, ANGULAR_MAX = 434, ANGULAR_COUNT = sizeof angular_list / sizeof *angular_list };

typedef struct radial_grid {
    int    n;
    double r[RADIAL_MAX], weight[RADIAL_MAX]; /* weight 4 pi r^2 dr */
    int    angular[RADIAL_MAX];               /* index into angular_list */
} radial_grid;

double ks_bragg_radius(int32_t Z) { return bragg_ang[Z] / bohr_in_ang; }

static ks_status radial_make(int32_t Z, int level, radial_grid *g) {
    ks_status st = KS_OK;
    KS_CHECK(level >= 0 && level < LEVELS, KS_ERR_ARG, "grid level %d, available are 0..%d", level, LEVELS - 1);
    KS_CHECK(Z >= 1 && Z <= Z_MAX, KS_ERR_UNSUPPORTED, "no grid for the element with Z=%d (available: 1..%d)", (int)Z,
             Z_MAX);
    const int    period = (Z > 2) + (Z > 10), n = n_radial[level][period];
    const double step = M_PI / (n + 1), f = treutler_xi[Z] / log(2.0);
    g->n = n;
    for (int i = 0; i < n; i++) { /* i-th of the rule, stored ascending in r */
        const double x = cos((i + 1) * step), p = pow(1.0 + x, 0.6), l = log((1.0 - x) / 2.0);
        const double r       = -f * p * l;
        const double dr      = step * sin((i + 1) * step) * f * p * (-0.6 / (1.0 + x) * l + 1.0 / (1.0 - x));
        g->r[n - 1 - i]      = r;
        g->weight[n - 1 - i] = 4.0 * M_PI * (r * r) * dr;
    }
    int full = 0;
    while (angular_list[full] != n_angular[level][period]) full++;
    /* the rule of 50 points has no neighbour list of its own: its middle regions take the next larger rule */
    const int    pruned[REGIONS]   = {1, 3, full - 1, full, full - 1};
    const int    smallest[REGIONS] = {1, 2, 2, 2, 1};
    const double radius            = ks_bragg_radius(Z) + 1e-200;
    for (int i = 0; i < n; i++) {
        int region = 0;
        for (int k = 0; k < REGIONS - 1; k++) region += g->r[i] / radius > border[period][k];
        g->angular[i] = angular_list[full] == 50 ? smallest[region] : pruned[region];
    }
done:
    return st;
}

ks_status ks_atom_grid_size(int32_t Z, int level, int64_t *n) {
    ks_status   st = KS_OK;
    radial_grid g;
    KS_TRY(radial_make(Z, level, &g));
    *n = 0;
    for (int i = 0; i < g.n; i++) *n += angular_list[g.angular[i]];
done:
    return st;
}

ks_status ks_atom_grid_create(int32_t Z, int level, ks_atom_grid *out) {
    ks_status    st   = KS_OK;
    ks_atom_grid grid = {0};
    radial_grid  g;
    double       ang[4 * ANGULAR_MAX];
    int64_t      at = 0;
    KS_TRY(ks_atom_grid_size(Z, level, &grid.n));
    KS_TRY(radial_make(Z, level, &g));
    KS_TRY(KS_NEW(grid.xyz, 3 * grid.n));
    KS_TRY(KS_NEW(grid.weight, grid.n));
    /* angular sizes ascending; the shells of a size in groups of 12; in a group the angle runs outside */
    for (int a = 0; a < ANGULAR_COUNT; a++) {
        int shell[RADIAL_MAX], n_shell = 0;
        for (int i = 0; i < g.n; i++)
            if (g.angular[i] == a) shell[n_shell++] = i;
        if (n_shell) KS_TRY(ks_lebedev(angular_list[a], ang));
        for (int first = 0; first < n_shell; first += GROUP) {
            const int last = first + GROUP < n_shell ? first + GROUP : n_shell;
            for (int k = 0; k < angular_list[a]; k++)
                for (int i = first; i < last; i++, at++) {
                    for (int x = 0; x < 3; x++) grid.xyz[3 * at + x] = g.r[shell[i]] * ang[4 * k + x];
                    grid.weight[at] = g.weight[shell[i]] * ang[4 * k + 3];
                }
        }
    }
    *out = grid;
    grid = (ks_atom_grid){0};
done:
    ks_atom_grid_destroy(&grid);
    return st;
}

void ks_atom_grid_destroy(ks_atom_grid *grid) {
    KS_FREE(grid->xyz);
    KS_FREE(grid->weight);
    grid->n = 0;
}
