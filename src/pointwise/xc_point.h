/* xc_point.h -- exchange-correlation energy per volume at a point, closed shell, as a jet in rho and
 * sigma = |grad rho|^2. The one source of e, v and f for the CPU lanes and for CUDA (scalar lanes).
 *
 *   Slater   Dirac 1930, doi:10.1017/S0305004100016108         LYP  doi:10.1103/PhysRevB.37.785 (Miehlich's form,
 *   VWN5     doi:10.1139/p80-159                                    doi:10.1016/0009-2614(89)87234-3)
 *   B88      doi:10.1103/PhysRevA.38.3098                      PBE  doi:10.1103/PhysRevLett.77.3865
 *   PW92     doi:10.1103/PhysRevB.45.13244 (with A = 0.0310907, as libxc)
 *
 * Densities below KS_RHO_FLOOR give zero everywhere. The floor is this low so that the response pass stays the exact
 * derivative of the potential pass. */
#ifndef KS_XC_POINT_H
#define KS_XC_POINT_H
#include "pointwise/jet.h"

#define KS_RHO_FLOOR 1e-16

/* Weights of the parts of a functional: e = sum weight * part. */
typedef struct ks_xc_weights {
    double slater, vwn5, b88, lyp, pbe_x, pbe_c;
} ks_xc_weights;

/* Powers of rho that the parts share. */
typedef struct ks_rho_powers {
    ks_jet1 rho, third, inv_third; /* rho, rho^(1/3), rho^(-1/3) */
} ks_rho_powers;

KS_LANE_FN ks_rho_powers ks_rho_powers_at(ks_lane rho) {
    ks_lane             ic;
    const ks_lane       c = ks_lane_cbrt_both(rho, &ic), ir = ic * ic * ic;
    const ks_rho_powers p = {{rho, ks_lane_set(1.0), ks_lane_set(0.0)},
                             {c, (1.0 / 3) * c * ir, (-2.0 / 9) * c * ir * ir},
                             {ic, (-1.0 / 3) * ic * ir, (4.0 / 9) * ic * ir * ir}};
    return p;
}

/* -(3/4)(3/pi)^(1/3) rho^(4/3) */
KS_LANE_FN ks_jet1 ks_xc_slater(ks_rho_powers p) {
    return ks_jet1_affine(ks_jet1_mul(p.rho, p.third), -0.73855876638202240588, 0.0);
}

/* rho eps_c(x), x = sqrt(rs), X = x^2 + b x + c:
 * eps = A [ ln(x^2/X) + (2b/Q) atan(Q/(2x+b)) - (b x0/X(x0)) ( ln((x-x0)^2/X) + (2(b+2x0)/Q) atan(Q/(2x+b)) ) ].
 * The logarithms are log1p of what remains after the cancellation of x^2. */
KS_LANE_FN ks_jet1 ks_xc_vwn5(ks_rho_powers p) {
    const double  A = 0.0310907, x0 = -0.10498, b = 3.72744, c = 12.9352;
    const double  Q = sqrt(4.0 * c - b * b), k = b * x0 / (x0 * x0 + b * x0 + c);
    const ks_jet1 rs = ks_jet1_affine(p.inv_third, 0.62035049089940001667, 0.0);
    const ks_jet1 x  = ks_jet1_sqrt(rs);
    const ks_jet1 iX = ks_jet1_inv(ks_jet1_add(rs, ks_jet1_affine(x, b, c)));
    const ks_jet1 l1 = ks_jet1_log1p(ks_jet1_mul(ks_jet1_affine(x, -b, -c), iX));
    const ks_jet1 l2 = ks_jet1_log1p(ks_jet1_mul(ks_jet1_affine(x, -(2.0 * x0 + b), x0 * x0 - c), iX));
    const ks_jet1 at = ks_jet1_atan(ks_jet1_affine(ks_jet1_inv(ks_jet1_affine(x, 2.0, b)), Q, 0.0));
    const ks_jet1 t  = ks_jet1_affine(at, A * (2.0 * b - k * 2.0 * (b + 2.0 * x0)) / Q, 0.0);
    return ks_jet1_mul(p.rho, ks_jet1_add(ks_jet1_add(ks_jet1_affine(l1, A, 0.0), ks_jet1_affine(l2, -A * k, 0.0)), t));
}

/* eps_c of the uniform gas (PW92): -2A (1 + a1 rs) ln(1 + 1/(2A (b1 x + b2 x^2 + b3 x^3 + b4 x^4))), x = sqrt(rs). */
KS_LANE_FN ks_jet1 ks_xc_pw92_eps(ks_rho_powers p) {
    const double  A = 0.0310907, a1 = 0.21370, b1 = 7.5957, b2 = 3.5876, b3 = 1.6382, b4 = 0.49294;
    const ks_jet1 rs   = ks_jet1_affine(p.inv_third, 0.62035049089940001667, 0.0);
    const ks_jet1 x    = ks_jet1_sqrt(rs);
    const ks_jet1 odd  = ks_jet1_mul(x, ks_jet1_affine(rs, 2.0 * A * b3, 2.0 * A * b1));
    const ks_jet1 even = ks_jet1_mul(rs, ks_jet1_affine(rs, 2.0 * A * b4, 2.0 * A * b2));
    const ks_jet1 ln   = ks_jet1_log1p(ks_jet1_inv(ks_jet1_add(odd, even)));
    return ks_jet1_mul(ks_jet1_affine(rs, -2.0 * A * a1, -2.0 * A), ln);
}

/* F(t) = sqrt(t) asinh(sqrt(t)) = t h(t) with its derivatives; h = asinh(sqrt t)/sqrt t obeys
 * 2 t h' = (1+t)^(-1/2) - h. Below 0.06 that is 0/0 and the Taylor series of h takes over. */
KS_LANE_FN void ks_xc_asinh_factor(ks_lane t, ks_lane *F, ks_lane *F1, ks_lane *F2) {
    const double    switch_at = 0.06;
    const ks_lane_i small     = ks_lane_lt(t, ks_lane_set(switch_at));
    const ks_lane   tb = ks_lane_max(t, ks_lane_set(switch_at)), root = ks_lane_sqrt(tb), it = 0.5 / tb;
    const ks_lane   cosh_y = ks_lane_sqrt(1.0 + tb), s = 1.0 / cosh_y; /* y = asinh(root) */
    ks_lane         unused;
    const ks_lane   y  = ks_lane_log1p_both(root + tb / (1.0 + cosh_y), &unused);
    ks_lane         h  = y * root * 2.0 * it;
    ks_lane         h1 = (s - h) * it;
    ks_lane         h2 = (-0.5 * s * s * s - 3.0 * h1) * it;
    if (ks_lane_any(small)) {
        /* (-1)^k (2k)! / (4^k k!^2 (2k+1)) */
        static const double c[16] = {1.0,
                                     -1.0 / 6,
                                     3.0 / 40,
                                     -5.0 / 112,
                                     35.0 / 1152,
                                     -63.0 / 2816,
                                     231.0 / 13312,
                                     -143.0 / 10240,
                                     6435.0 / 557056,
                                     -12155.0 / 1245184,
                                     46189.0 / 5505024,
                                     -88179.0 / 12058624,
                                     676039.0 / 104857600,
                                     -1300075.0 / 226492416,
                                     5014575.0 / 973078528,
                                     -9694845.0 / 2080374784};
        const ks_lane       ts = ks_lane_select(small, t, ks_lane_set(0.0)), zero = ks_lane_set(0.0);
        ks_lane             g = zero, g1 = zero, g2 = zero; /* Horner for value, first and half the second derivative */
        for (int k = 15; k >= 0; k--) {
            g2 = g2 * ts + g1;
            g1 = g1 * ts + g;
            g  = g * ts + c[k];
        }
        h  = ks_lane_select(small, g, h);
        h1 = ks_lane_select(small, g1, h1);
        h2 = ks_lane_select(small, 2.0 * g2, h2);
    }
    *F  = t * h;
    *F1 = h + t * h1;
    *F2 = 2.0 * h1 + t * h2;
}

/* e = -Cx rho^(4/3) - beta 2^(-1/3) rho^(4/3) x^2 / (1 + 6 beta x asinh x), x^2 = 2^(2/3) sigma rho^(-8/3) the reduced
 * gradient of one spin. */
KS_LANE_FN ks_jet ks_xc_b88(ks_rho_powers p, ks_lane sigma) {
    const double  beta = 0.0042, two13 = 1.2599210498948731648;
    const ks_jet1 i2 = ks_jet1_mul(p.inv_third, p.inv_third), i4 = ks_jet1_mul(i2, i2);
    const ks_jet  t = ks_jet_sigma(ks_jet1_affine(ks_jet1_mul(i4, i4), two13 * two13, 0.0), sigma);
    ks_lane       F, F1, F2;
    ks_xc_asinh_factor(t.v, &F, &F1, &F2);
    const ks_jet den  = ks_jet_affine(ks_jet_chain(t, F, F1, F2), 6.0 * beta, 1.0);
    const ks_jet grad = ks_jet_sigma(ks_jet1_affine(i4, -beta * two13, 0.0), sigma);
    return ks_jet_add1(ks_jet_mul(grad, ks_jet_inv(den)), ks_xc_slater(p));
}

/* Closed shell: e = -a rho/(1+d y) - a b E/(1+d y) [ C_F rho - (3 + 7 delta)/72 sigma rho^(-5/3) ], y = rho^(-1/3),
 * E = exp(-c y), delta = c y + d y/(1+d y), C_F = (3/10)(3 pi^2)^(2/3). */
KS_LANE_FN ks_jet ks_xc_lyp(ks_rho_powers p, ks_lane sigma) {
    const double  a = 0.04918, b = 0.132, c = 0.2533, d = 0.349, cf = 2.8712340001881918160;
    const ks_jet1 y = p.inv_third, y2 = ks_jet1_mul(y, y), y5 = ks_jet1_mul(ks_jet1_mul(y2, y2), y);
    const ks_jet1 g  = ks_jet1_inv(ks_jet1_affine(y, d, 1.0));
    const ks_jet1 eg = ks_jet1_mul(ks_jet1_exp(ks_jet1_affine(y, -c, 0.0)), g);
    const ks_jet1 local =
        ks_jet1_mul(p.rho, ks_jet1_add(ks_jet1_affine(g, -a, 0.0), ks_jet1_affine(eg, -a * b * cf, 0.0)));
    /* d y g = 1 - g */
    const ks_jet1 delta = ks_jet1_add(ks_jet1_affine(y, c, 1.0), ks_jet1_affine(g, -1.0, 0.0));
    const ks_jet1 k = ks_jet1_mul(ks_jet1_mul(eg, y5), ks_jet1_affine(delta, a * b * 7.0 / 72.0, a * b * 3.0 / 72.0));
    return ks_jet_add1(ks_jet_sigma(k, sigma), local);
}

/* e = -Cx rho^(4/3) [1 + kappa mu s2/(kappa + mu s2)], s2 = sigma / (4 (3 pi^2)^(2/3) rho^(8/3)). */
KS_LANE_FN ks_jet ks_xc_pbe_x(ks_rho_powers p, ks_lane sigma) {
    const double  kappa = 0.8040, mu = 0.2195149727645171, cs = 0.026121172985233599572;
    const ks_jet1 i2 = ks_jet1_mul(p.inv_third, p.inv_third), i4 = ks_jet1_mul(i2, i2);
    const ks_jet  s2  = ks_jet_sigma(ks_jet1_affine(ks_jet1_mul(i4, i4), cs * mu, 0.0), sigma); /* mu s2 */
    const ks_jet  fac = ks_jet_inv(ks_jet_affine(s2, 1.0 / kappa, 1.0));
    const ks_jet1 lda = ks_xc_slater(p);
    return ks_jet_add1(ks_jet_mul1(ks_jet_mul(s2, fac), lda), lda);
}

/* e = rho [ eps + gamma ln(1 + (beta/gamma) t2 (1 + A t2)/(1 + A t2 + A^2 t2^2)) ], A = (beta/gamma)/(exp(-eps/gamma) -
 * 1), t2 = sigma (pi/3)^(1/3) / (16 rho^(7/3)). */
KS_LANE_FN ks_jet ks_xc_pbe_c(ks_rho_powers p, ks_lane sigma) {
    const double  beta = 0.06672455060314922, gamma = 0.031090690869654895034, ct = 0.063468206097703704930;
    const ks_jet1 y2 = ks_jet1_mul(p.inv_third, p.inv_third), y4 = ks_jet1_mul(y2, y2);
    const ks_jet1 y7  = ks_jet1_mul(ks_jet1_mul(y4, y2), p.inv_third);
    const ks_jet1 eps = ks_xc_pw92_eps(p);
    const ks_jet1 A =
        ks_jet1_affine(ks_jet1_inv(ks_jet1_expm1(ks_jet1_affine(eps, -1.0 / gamma, 0.0))), beta / gamma, 0.0);
    const ks_jet t2  = ks_jet_sigma(ks_jet1_affine(y7, ct, 0.0), sigma);
    const ks_jet At  = ks_jet_mul1(t2, A);
    const ks_jet n   = ks_jet_affine(At, 1.0, 1.0);
    const ks_jet den = ks_jet_affine(ks_jet_mul(At, n), 1.0, 1.0); /* 1 + At + At^2 */
    const ks_jet arg = ks_jet_mul(ks_jet_affine(ks_jet_mul(t2, n), beta / gamma, 0.0), ks_jet_inv(den));
    return ks_jet_mul1(ks_jet_add1(ks_jet_affine(ks_jet_log1p(arg), gamma, 0.0), eps), p.rho);
}

/* The functional with weights w at lanes of (rho, sigma). gga = 0: sigma is not read. */
KS_LANE_FN ks_jet ks_xc_point(const ks_xc_weights *w, int gga, ks_lane rho_in, ks_lane sigma_in) {
    const ks_lane       zero = ks_lane_set(0.0), floor = ks_lane_set(KS_RHO_FLOOR);
    const ks_lane_i     out = ks_lane_lt(rho_in, floor);
    const ks_lane       rho = ks_lane_select(out, floor, rho_in);
    const ks_rho_powers p   = ks_rho_powers_at(rho);
    ks_jet              e   = {zero, zero, zero, zero, zero, zero};
    if (w->slater != 0.0) e = ks_jet_add1(e, ks_jet1_affine(ks_xc_slater(p), w->slater, 0.0));
    if (w->vwn5 != 0.0) e = ks_jet_add1(e, ks_jet1_affine(ks_xc_vwn5(p), w->vwn5, 0.0));
    if (gga) {
        const ks_lane sigma = ks_lane_select(out, zero, ks_lane_max(sigma_in, zero));
        if (w->b88 != 0.0) e = ks_jet_add(e, ks_jet_affine(ks_xc_b88(p, sigma), w->b88, 0.0));
        if (w->lyp != 0.0) e = ks_jet_add(e, ks_jet_affine(ks_xc_lyp(p, sigma), w->lyp, 0.0));
        if (w->pbe_x != 0.0) e = ks_jet_add(e, ks_jet_affine(ks_xc_pbe_x(p, sigma), w->pbe_x, 0.0));
        if (w->pbe_c != 0.0) e = ks_jet_add(e, ks_jet_affine(ks_xc_pbe_c(p, sigma), w->pbe_c, 0.0));
    }
    const ks_jet y = {ks_lane_select(out, zero, e.v),  ks_lane_select(out, zero, e.r),
                      ks_lane_select(out, zero, e.s),  ks_lane_select(out, zero, e.rr),
                      ks_lane_select(out, zero, e.rs), ks_lane_select(out, zero, e.ss)};
    return y;
}
#endif
