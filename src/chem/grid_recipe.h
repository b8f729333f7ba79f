/* grid_recipe.h -- the atomic grids of PySCF 2.14: sizes by level, radial rule, pruning, Lebedev rules. Private. */
#ifndef KS_GRID_RECIPE_H
#define KS_GRID_RECIPE_H
#include <stdint.h>
#include "ksgrad/status.h"

/* Points of one atom around the origin, in PySCF's order; weights before the partition. Host memory. */
typedef struct ks_atom_grid {
    int64_t n;
    double *xyz;    /* (n, 3) */
    double *weight; /* (n) */
} ks_atom_grid;

/* Elements H..Ar; others and levels outside 0..3: KS_ERR_UNSUPPORTED / KS_ERR_ARG. */
KS_NODISCARD ks_status ks_atom_grid_size(int32_t Z, int level, int64_t *n);
KS_NODISCARD ks_status ks_atom_grid_create(int32_t Z, int level, ks_atom_grid *out);
void                   ks_atom_grid_destroy(ks_atom_grid *grid);

/* Bragg-Slater radius in bohr, as the partition uses it. */
double ks_bragg_radius(int32_t Z);

/* Lebedev rule of n points into xyzw (n, 4), weights sum to 1, points in the orbit order of the published codes. */
KS_NODISCARD ks_status ks_lebedev(int64_t n, double *xyzw);
#endif
