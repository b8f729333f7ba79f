/* grid_lebedev.c -- Lebedev rules from octahedral orbits (table made by scripts/make_lebedev.py). */
#include <math.h>
#include <stddef.h>
#include "chem/grid_recipe.h"

typedef struct ks_lebedev_orbit {
    int    code;
    double a, b, weight;
} ks_lebedev_orbit;
typedef struct ks_lebedev_rule {
    int n_point, degree, first, n_orbit;
} ks_lebedev_rule;

#include "chem/grid_lebedev_table.h"

/* All sign changes of the non-zero coordinates of p, x fastest. */
static double *emit_signs(double *out, const double p[3], double weight) {
    for (int s = 0; s < 8; s++) {
        int keep = 1;
        for (int x = 0; x < 3; x++)
            if (p[x] == 0.0 && (s >> x & 1)) keep = 0;
        if (!keep) continue;
        for (int x = 0; x < 3; x++) *out++ = s >> x & 1 ? -p[x] : p[x];
        *out++ = weight;
    }
    return out;
}

/* Which of (0, a, b, c) stands at x, y, z: the coordinate permutations of each code, in the published order. */
static const struct {
    int n, at[6][3];
} permutation[6] = {
    {3, {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}},
    {3, {{0, 1, 1}, {1, 0, 1}, {1, 1, 0}}},
    {1, {{1, 1, 1}}},
    {3, {{1, 1, 2}, {1, 2, 1}, {2, 1, 1}}},
    {6, {{1, 2, 0}, {2, 1, 0}, {1, 0, 2}, {2, 0, 1}, {0, 1, 2}, {0, 2, 1}}},
    {6, {{1, 2, 3}, {1, 3, 2}, {2, 1, 3}, {2, 3, 1}, {3, 1, 2}, {3, 2, 1}}},
};

static void orbit_values(const ks_lebedev_orbit *o, double v[4]) {
    v[0] = 0.0;
    v[1] = o->code == 0 ? 1.0 : o->code == 1 ? sqrt(0.5) : o->code == 2 ? sqrt(1.0 / 3.0) : o->a;
    v[2] = o->code == 3 ? sqrt(1.0 - 2.0 * o->a * o->a) : o->code == 4 ? sqrt(1.0 - o->a * o->a) : o->b;
    v[3] = o->code == 5 ? sqrt(1.0 - o->a * o->a - o->b * o->b) : 0.0;
}

ks_status ks_lebedev(int64_t n, double *xyzw) {
    ks_status              st   = KS_OK;
    const ks_lebedev_rule *rule = NULL;
    for (unsigned i = 0; i < sizeof lebedev_rule / sizeof *lebedev_rule; i++)
        if (lebedev_rule[i].n_point == n) rule = &lebedev_rule[i];
    KS_CHECK(rule && xyzw, KS_ERR_ARG, "no Lebedev rule of %lld points", (long long)n);
    for (int k = rule->first; k < rule->first + rule->n_orbit; k++) {
        const ks_lebedev_orbit *o = &lebedev_orbit[k];
        double                  v[4];
        orbit_values(o, v);
        for (int i = 0; i < permutation[o->code].n; i++) {
            const int   *at   = permutation[o->code].at[i];
            const double p[3] = {v[at[0]], v[at[1]], v[at[2]]};
            xyzw              = emit_signs(xyzw, p, o->weight);
        }
    }
done:
    return st;
}
