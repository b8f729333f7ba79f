/* xc_lanes.c -- the pointwise functional over arrays. Built once per ISA. */
#include "ops/grid_kernels.h"

/* out: e, v_rho, v_sigma, f_rr, f_rs, f_ss; NULL where not wanted. */
void KS_ISA_NAME(ks_grid_xc_eval)(const ks_xc_weights *w, int gga, int64_t n, const double *rho, const double *sigma,
                                  double *const out[6]) {
    for (int64_t g = 0; g < n; g += KS_LANES) {
        const int64_t m = n - g < KS_LANES ? n - g : KS_LANES;
        double        r[KS_LANES], s[KS_LANES], y[6][KS_LANES];
        for (int64_t k = 0; k < KS_LANES; k++) { /* a tail repeats its last point */
            const int64_t from = g + (k < m ? k : m - 1);
            r[k]               = rho[from];
            s[k]               = sigma ? sigma[from] : 0.0;
        }
        const ks_jet e = ks_xc_point(w, gga, ks_lane_load(r), ks_lane_load(s));
        ks_lane_store(y[0], e.v);
        ks_lane_store(y[1], e.r);
        ks_lane_store(y[2], e.s);
        ks_lane_store(y[3], e.rr);
        ks_lane_store(y[4], e.rs);
        ks_lane_store(y[5], e.ss);
        for (int f = 0; f < 6; f++)
            if (out[f])
                for (int64_t k = 0; k < m; k++) out[f][g + k] = y[f][k];
    }
}
