/* test_scalar_lanes.c -- the point formulas as CUDA compiles them (KS_LANE_SCALAR) give what the vector lanes give. */
#define KS_LANE_SCALAR
#include "pointwise/ao_point.h"
#include "pointwise/becke_point.h"
#include "pointwise/xc_point.h"
#include "ks_test.h"

static ks_xc_weights weights(const ks_xc *xc) {
    ks_xc_weights w = {0};
    for (int i = 0; i < xc->n_part; i++) {
        const double c = xc->part[i].weight;
        if (xc->part[i].libxc_id == 1) w.slater = c;
        if (xc->part[i].libxc_id == 7) w.vwn5 = c;
        if (xc->part[i].libxc_id == 106) w.b88 = c;
        if (xc->part[i].libxc_id == 131) w.lyp = c;
        if (xc->part[i].libxc_id == 101) w.pbe_x = c;
        if (xc->part[i].libxc_id == 130) w.pbe_c = c;
    }
    return w;
}

int main(void) {
    enum { N = 60 };
    int          n_xc;
    const ks_xc *xc  = ks_xc_list(&n_xc);
    ks_ctx      *ctx = NULL;
    double       rho[N], sigma[N], y[6][N];
    T_OK(ks_ctx_create(NULL, &ctx));
    for (int g = 0; g < N; g++) {
        rho[g]   = pow(10.0, -8.0 + 0.17 * g);
        sigma[g] = g % 7 ? pow(rho[g], 8.0 / 3) * pow(10.0, g % 5 - 2) : 0.0;
    }
    for (int i = 0; i < n_xc; i++) {
        const ks_xc_weights w   = weights(&xc[i]);
        const int           gga = xc[i].family == KS_XC_GGA;
        T_OK(ks_xc_eval(ctx, &xc[i], N, rho, sigma, y[0], y[1], y[2], y[3], y[4], y[5]));
        for (int g = 0; g < N; g++) {
            const ks_jet e       = ks_xc_point(&w, gga, rho[g], sigma[g]);
            const double p[6]    = {e.v, e.r, e.s, e.rr, e.rs, e.ss};
            const double power   = log(rho[g]) / 3.0;
            const double size[6] = {exp(4 * power),  exp(power),      exp(-4 * power),
                                    exp(-2 * power), exp(-7 * power), exp(-12 * power)};
            /* rounding of the elementary functions (2 ulp) through cancellations of a factor of 100 */
            for (int k = 0; k < 6; k++) T_CLOSE(p[k], y[k][g], 1e-14 * size[k], 1e-13);
        }
    }
    /* a p function along its axis: x exp(-x^2), gradient (1 - 2x^2) exp(-x^2) */
    const double one = 1.0, x = 0.7;
    double       R, R1, v[KS_AO_SHELL_MAX], dv[3][KS_AO_SHELL_MAX];
    ks_ao_radial(1, &one, &one, x * x, &R, &R1);
    ks_ao_angular(1, x, 0.0, 0.0, R, R1, v, dv);
    T_CLOSE(v[0], KS_Y_P * x * exp(-x * x), 0.0, 1e-15);
    T_CLOSE(dv[0][0], KS_Y_P * (1.0 - 2.0 * x * x) * exp(-x * x), 0.0, 1e-13);
    T_CHECK(v[1] == 0.0 && dv[0][1] == 0.0, "p_y on the x axis: %g %g", v[1], dv[0][1]);
    /* Becke's function: odd, 1 at 1, flat there */
    T_CHECK(ks_becke_pair(0.0, 0.0) == 0.0 && ks_becke_pair(1.0, 0.3) == 1.0, "values at 0 and 1");
    T_CLOSE(ks_becke_pair(0.4, 0.0), -ks_becke_pair(-0.4, 0.0), 0.0, 1e-15);
    T_CHECK(1.0 - ks_becke_pair(0.99, 0.0) < 1e-12, "not flat at 1");
    ks_ctx_destroy(&ctx);
    return t_done("scalar_lanes", 2000);
}
