/* md_r.h -- Hermite Coulomb integrals R_tuv, t + u + v <= L, on lanes.
 *
 *   R^n_000 = (-2 alpha)^n F_n(alpha |r|^2),  R^n_{t+1,u,v} = t R^{n+1}_{t-1,u,v} + x R^{n+1}_{tuv}
 * (McMurchie & Davidson 1978, eq. 4.6-4.8), made in place from n = L down to 0.
 * Compact order: by degree k = t+u+v, then t falling, then u falling. */
#ifndef KS_MD_R_H
#define KS_MD_R_H
#include <stddef.h>
#include "core/lane.h"

#define KS_N_HERMITE(L) (((L) + 1) * ((L) + 2) * ((L) + 3) / 6)

/* Place of (t, u, v) in compact order. */
KS_LANE_FN int ks_hermite_index(int t, int u, int v) {
    const int k = t + u + v, w = u + v;
    return k * (k + 1) * (k + 2) / 6 + w * (w + 1) / 2 + v;
}

/* One entry from entries of lower degree in r, which are `stride` apart. */
KS_LANE_FN ks_lane ks_md_r_step(int t, int u, int v, ks_lane x, ks_lane y, ks_lane z, int stride, const ks_lane *r) {
    ks_lane s;
    if (t > 0) {
        s = x * r[stride * ks_hermite_index(t - 1, u, v)];
        if (t > 1) s += ks_lane_set(t - 1) * r[stride * ks_hermite_index(t - 2, u, v)];
    } else if (u > 0) {
        s = y * r[stride * ks_hermite_index(t, u - 1, v)];
        if (u > 1) s += ks_lane_set(u - 1) * r[stride * ks_hermite_index(t, u - 2, v)];
    } else {
        s = z * r[stride * ks_hermite_index(t, u, v - 1)];
        if (v > 1) s += ks_lane_set(v - 1) * r[stride * ks_hermite_index(t, u, v - 2)];
    }
    return s;
}

/* R^n, degrees L-n..1, from R^{n+1} in r; written to r (cube NULL) or to cube with strides N^2, N, 1. */
KS_LANE_FN void ks_md_r_sweep(int degree, int N, ks_lane x, ks_lane y, ks_lane z, int stride, ks_lane *r,
                              ks_lane *cube) {
    KS_UNROLL
    for (int k = degree; k >= 1; k--) {
        KS_UNROLL
        for (int w = k; w >= 0; w--) {
            KS_UNROLL
            for (int v = w; v >= 0; v--) {
                const ks_lane s = ks_md_r_step(k - w, w - v, v, x, y, z, stride, r);
                if (cube) cube[(k - w) * N * N + (w - v) * N + v] = s;
                else r[stride * ks_hermite_index(k - w, w - v, v)] = s;
            }
        }
    }
}

/* base[n] = R^n_000, n = 0..L; r: KS_N_HERMITE(L) values out. */
KS_LANE_FN void ks_md_r(int L, const ks_lane *base, ks_lane x, ks_lane y, ks_lane z, ks_lane *r) {
    r[0] = base[L];
    KS_UNROLL
    for (int n = L - 1; n >= 0; n--) {
        ks_md_r_sweep(L - n, 0, x, y, z, 1, r, NULL);
        r[0] = base[n];
    }
}

/* The same into a cube of edge N = L + 1, L > 0. */
KS_LANE_FN void ks_md_r_cube(int L, const ks_lane *base, ks_lane x, ks_lane y, ks_lane z, ks_lane *cube) {
    ks_lane r[KS_N_HERMITE(8)];
    r[0] = base[L];
    KS_UNROLL
    for (int n = L - 1; n >= 1; n--) {
        ks_md_r_sweep(L - n, 0, x, y, z, 1, r, NULL);
        r[0] = base[n];
    }
    ks_md_r_sweep(L, L + 1, x, y, z, 1, r, cube);
    cube[0] = base[0];
}
#endif
