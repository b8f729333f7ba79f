/* ao_lanes.c -- AO values and gradients of a panel of points; Becke shares of a panel. Built once per ISA. */
#include "ops/grid_kernels.h"
#include "pointwise/ao_point.h"
#include "pointwise/becke_point.h"

/* Positions of the panel's points relative to an atom, kept while consecutive shells share it. */
typedef struct ks_panel_center {
    int32_t atom;
    double  r2_min;
    double  d[3][KS_PANEL], r2[KS_PANEL];
} ks_panel_center;

KS_LANE_FN void center_panel(ks_panel_center *c, int32_t atom, const double *R, const double *x, const double *y,
                             const double *z) {
    ks_lane low = ks_lane_set(1e300);
    for (int g = 0; g < KS_PANEL; g += KS_LANES) {
        const ks_lane dx = ks_lane_load(x + g) - R[0], dy = ks_lane_load(y + g) - R[1], dz = ks_lane_load(z + g) - R[2];
        const ks_lane r2 = dx * dx + dy * dy + dz * dz;
        low              = ks_lane_select(ks_lane_lt(r2, low), r2, low);
        ks_lane_store(c->d[0] + g, dx);
        ks_lane_store(c->d[1] + g, dy);
        ks_lane_store(c->d[2] + g, dz);
        ks_lane_store(c->r2 + g, r2);
    }
    c->atom   = atom;
    c->r2_min = low[0];
    for (int k = 1; k < KS_LANES; k++) c->r2_min = low[k] < c->r2_min ? low[k] : c->r2_min;
}

/* l is a literal at the call sites. The primitives run outside, so that the exponentials of all points overlap. */
KS_LANE_FN void shell_panel(int l, int n_prim, const double *exponent, const double *coef, const ks_panel_center *c,
                            int gga, int64_t comp, double *phi) {
    double radial[2][KS_PANEL] = {{0.0}, {0.0}};
    for (int k = 0; k < n_prim; k++)
        for (int g = 0; g < KS_PANEL; g += KS_LANES) {
            ks_lane R = ks_lane_load(radial[0] + g), R1 = ks_lane_load(radial[1] + g);
            ks_ao_radial_add(exponent[k], coef[k], ks_lane_load(c->r2 + g), &R, &R1);
            ks_lane_store(radial[0] + g, R);
            ks_lane_store(radial[1] + g, R1);
        }
    for (int g = 0; g < KS_PANEL; g += KS_LANES) {
        ks_lane value[KS_AO_SHELL_MAX], grad[3][KS_AO_SHELL_MAX];
        ks_ao_angular(l, ks_lane_load(c->d[0] + g), ks_lane_load(c->d[1] + g), ks_lane_load(c->d[2] + g),
                      ks_lane_load(radial[0] + g), ks_lane_load(radial[1] + g), value, grad);
        for (int m = 0; m < 2 * l + 1; m++) ks_lane_store(phi + m * KS_PANEL + g, value[m]);
        if (gga)
            for (int i = 0; i < 3; i++)
                for (int m = 0; m < 2 * l + 1; m++) ks_lane_store(phi + (i + 1) * comp + m * KS_PANEL + g, grad[i][m]);
    }
}

void KS_ISA_NAME(ks_grid_ao_panel)(const ks_shells *shells, const double *prim_reach2, const double *pos,
                                   const int32_t *shell, int64_t n_shell, int gga, const double *x, const double *y,
                                   const double *z, int64_t ld, double *phi) {
    const int64_t   comp = ld * KS_PANEL;
    ks_panel_center c;
    c.atom = -1;
    for (int64_t s = 0; s < n_shell; s++) {
        const ks_shell *sh = &shells->shell[shell[s]];
        if (sh->atom != c.atom) center_panel(&c, sh->atom, pos + 3 * (int64_t)sh->atom, x, y, z);
        /* leading (tight) primitives that vanish on the whole panel; the last one always stays */
        int32_t first = sh->prim, last = sh->prim + sh->n_prim;
        while (first < last - 1 && prim_reach2[first] < c.r2_min) first++;
        const double *exponent = shells->exponent + first, *coef = shells->coef + first;
        if (sh->l == 0) shell_panel(0, last - first, exponent, coef, &c, gga, comp, phi);
        if (sh->l == 1) shell_panel(1, last - first, exponent, coef, &c, gga, comp, phi);
        if (sh->l == 2) shell_panel(2, last - first, exponent, coef, &c, gga, comp, phi);
        phi += (2 * sh->l + 1) * KS_PANEL;
    }
}

void KS_ISA_NAME(ks_grid_becke_panel)(int64_t n_atom, const double *pos, const double *inv_R, const double *adjust,
                                      const double *x, const double *y, const double *z, const int32_t *own, double *w,
                                      double *work) {
    double *cell = work + n_atom * KS_PANEL;
    for (int g = 0; g < KS_PANEL; g += KS_LANES) {
        const ks_lane px = ks_lane_load(x + g), py = ks_lane_load(y + g), pz = ks_lane_load(z + g);
        for (int64_t i = 0; i < n_atom; i++) {
            const ks_lane dx = px - pos[3 * i], dy = py - pos[3 * i + 1], dz = pz - pos[3 * i + 2];
            const ks_lane ri = ks_lane_sqrt(dx * dx + dy * dy + dz * dz);
            ks_lane       ci = ks_lane_set(1.0);
            for (int64_t j = 0; j < i; j++) {
                const ks_lane mu = (ri - ks_lane_load(work + j * KS_PANEL + g)) * inv_R[i * n_atom + j];
                const ks_lane p  = ks_becke_pair(mu, adjust[i * n_atom + j]);
                double       *cj = cell + j * KS_PANEL + g;
                ci               = ci * (0.5 * (1.0 - p));
                ks_lane_store(cj, ks_lane_load(cj) * (0.5 * (1.0 + p)));
            }
            ks_lane_store(work + i * KS_PANEL + g, ri);
            ks_lane_store(cell + i * KS_PANEL + g, ci);
        }
        ks_lane sum = ks_lane_set(0.0);
        for (int64_t i = 0; i < n_atom; i++) sum += ks_lane_load(cell + i * KS_PANEL + g);
        double share[KS_LANES];
        for (int k = 0; k < KS_LANES; k++) share[k] = cell[own[g + k] * KS_PANEL + g + k];
        ks_lane_store(w + g, ks_lane_load(w + g) * (ks_lane_load(share) / sum));
    }
}
