/* jet.h -- second-order jets in (rho, sigma) over lanes: a value with its first and second derivatives.
 *
 * Energy densities are written once over jets, so v and f follow by the chain rule and agree with e to rounding.
 * ks_jet1 depends on rho alone (cheaper); ks_jet on both. Components nobody reads are removed by the compiler. */
#ifndef KS_JET_H
#define KS_JET_H
#include "pointwise/lane_math.h"

typedef struct ks_jet1 {
    ks_lane v, r, rr;
} ks_jet1;

typedef struct ks_jet {
    ks_lane v, r, s, rr, rs, ss;
} ks_jet;

/* f(a) from f, f', f'' at a.v */
KS_LANE_FN ks_jet1 ks_jet1_chain(ks_jet1 a, ks_lane f, ks_lane f1, ks_lane f2) {
    const ks_jet1 y = {f, f1 * a.r, f1 * a.rr + f2 * a.r * a.r};
    return y;
}
KS_LANE_FN ks_jet1 ks_jet1_add(ks_jet1 a, ks_jet1 b) {
    const ks_jet1 y = {a.v + b.v, a.r + b.r, a.rr + b.rr};
    return y;
}
/* c a + d */
KS_LANE_FN ks_jet1 ks_jet1_affine(ks_jet1 a, double c, double d) {
    const ks_jet1 y = {c * a.v + d, c * a.r, c * a.rr};
    return y;
}
KS_LANE_FN ks_jet1 ks_jet1_mul(ks_jet1 a, ks_jet1 b) {
    const ks_jet1 y = {a.v * b.v, a.r * b.v + a.v * b.r, a.rr * b.v + 2.0 * a.r * b.r + a.v * b.rr};
    return y;
}
KS_LANE_FN ks_jet1 ks_jet1_inv(ks_jet1 a) {
    const ks_lane y = 1.0 / a.v, y2 = y * y;
    return ks_jet1_chain(a, y, -y2, 2.0 * y2 * y);
}
KS_LANE_FN ks_jet1 ks_jet1_exp(ks_jet1 a) {
    const ks_lane e = ks_lane_exp(a.v);
    return ks_jet1_chain(a, e, e, e);
}
KS_LANE_FN ks_jet1 ks_jet1_expm1(ks_jet1 a) {
    const ks_lane e = ks_lane_expm1(a.v);
    return ks_jet1_chain(a, e, e + 1.0, e + 1.0);
}
KS_LANE_FN ks_jet1 ks_jet1_log1p(ks_jet1 a) {
    ks_lane       y;
    const ks_lane f = ks_lane_log1p_both(a.v, &y);
    return ks_jet1_chain(a, f, y, -y * y);
}
KS_LANE_FN ks_jet1 ks_jet1_atan(ks_jet1 a) {
    const ks_lane y = 1.0 / (1.0 + a.v * a.v);
    return ks_jet1_chain(a, ks_lane_atan(a.v), y, -2.0 * a.v * y * y);
}
KS_LANE_FN ks_jet1 ks_jet1_sqrt(ks_jet1 a) {
    const ks_lane s = ks_lane_sqrt(a.v), h = 0.5 / s;
    return ks_jet1_chain(a, s, h, -2.0 * h * h * h);
}

KS_LANE_FN ks_jet ks_jet_chain(ks_jet a, ks_lane f, ks_lane f1, ks_lane f2) {
    const ks_jet y = {
        f, f1 * a.r, f1 * a.s, f1 * a.rr + f2 * a.r * a.r, f1 * a.rs + f2 * a.r * a.s, f1 * a.ss + f2 * a.s * a.s};
    return y;
}
KS_LANE_FN ks_jet ks_jet_affine(ks_jet a, double c, double d) {
    const ks_jet y = {c * a.v + d, c * a.r, c * a.s, c * a.rr, c * a.rs, c * a.ss};
    return y;
}
KS_LANE_FN ks_jet ks_jet_add(ks_jet a, ks_jet b) {
    const ks_jet y = {a.v + b.v, a.r + b.r, a.s + b.s, a.rr + b.rr, a.rs + b.rs, a.ss + b.ss};
    return y;
}
KS_LANE_FN ks_jet ks_jet_add1(ks_jet a, ks_jet1 b) {
    a.v += b.v;
    a.r += b.r;
    a.rr += b.rr;
    return a;
}
KS_LANE_FN ks_jet ks_jet_mul(ks_jet a, ks_jet b) {
    const ks_jet y = {a.v * b.v,
                      a.r * b.v + a.v * b.r,
                      a.s * b.v + a.v * b.s,
                      a.rr * b.v + 2.0 * a.r * b.r + a.v * b.rr,
                      a.rs * b.v + a.r * b.s + a.s * b.r + a.v * b.rs,
                      a.ss * b.v + 2.0 * a.s * b.s + a.v * b.ss};
    return y;
}
KS_LANE_FN ks_jet ks_jet_mul1(ks_jet a, ks_jet1 b) {
    const ks_jet y = {
        a.v * b.v, a.r * b.v + a.v * b.r, a.s * b.v, a.rr * b.v + 2.0 * a.r * b.r + a.v * b.rr, a.rs * b.v + a.s * b.r,
        a.ss * b.v};
    return y;
}
/* b(rho) sigma */
KS_LANE_FN ks_jet ks_jet_sigma(ks_jet1 b, ks_lane sigma) {
    const ks_lane zero = ks_lane_set(0.0);
    const ks_jet  y    = {b.v * sigma, b.r * sigma, b.v, b.rr * sigma, b.r, zero};
    return y;
}
KS_LANE_FN ks_jet ks_jet_inv(ks_jet a) {
    const ks_lane y = 1.0 / a.v, y2 = y * y;
    return ks_jet_chain(a, y, -y2, 2.0 * y2 * y);
}
KS_LANE_FN ks_jet ks_jet_log1p(ks_jet a) {
    ks_lane       y;
    const ks_lane f = ks_lane_log1p_both(a.v, &y);
    return ks_jet_chain(a, f, y, -y * y);
}
#endif
