/* grid_cuda.cuh -- the device side of a ks_grid, and AO values of one shell at one point. Private. */
#ifndef KS_GRID_CUDA_CUH
#define KS_GRID_CUDA_CUH
#include "../common.cuh"
#include "ksgrad/system.h"
#include "pointwise/ao_point.h"

enum { KS_POINTS = 32 /* points of a tile: one per lane */, KS_SLOT_GROUP = 64 /* frames of a launch */ };

/* ks_grid.impl: tables of the system and the geometries, made by grid_build (grid.cu). */
typedef struct ks_grid_cuda {
    int32_t   n_shell, n_ao;
    int32_t   n_tile; /* of AOs: whole shells, at most KS_AO_TILE AOs each */
    ks_shell *shell;  /* (n_shell) device, like everything below */
    double   *exponent, *coef;
    int32_t  *tile_shell; /* (n_tile + 1) */
    double   *pos;        /* (capacity, n_atom, 3) */
} ks_grid_cuda;
enum { KS_AO_TILE = 80 };

/* Slots travel with the launch: no copy to the device in the step loop. */
typedef struct ks_slots {
    int32_t slot[KS_SLOT_GROUP];
} ks_slots;

/* Values and gradients of shell s at (x, y, z); entries beyond 2l+1 are zero. */
static __device__ __forceinline__ void ks_shell_at(const ks_shell *s, const double *exponent, const double *coef,
                                                   const double *pos, double x, double y, double z,
                                                   double value[KS_AO_SHELL_MAX], double grad[3][KS_AO_SHELL_MAX]) {
    const double dx = x - pos[3 * s->atom], dy = y - pos[3 * s->atom + 1], dz = z - pos[3 * s->atom + 2];
    double       R, R1;
    for (int m = 0; m < KS_AO_SHELL_MAX; m++) value[m] = grad[0][m] = grad[1][m] = grad[2][m] = 0.0;
    ks_ao_radial(s->n_prim, exponent + s->prim, coef + s->prim, dx * dx + dy * dy + dz * dz, &R, &R1);
    ks_ao_angular(s->l, dx, dy, dz, R, R1, value, grad);
}
#endif
