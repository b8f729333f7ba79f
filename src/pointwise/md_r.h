/* md_r.h -- Hermite Coulomb integrals R_tuv, t + u + v <= L, on lanes.
 *
 *   R^n_000 = (-2 alpha)^n F_n(alpha |r|^2),  R^n_{t+1,u,v} = t R^{n+1}_{t-1,u,v} + x R^{n+1}_{tuv}
 * (McMurchie & Davidson 1978, eq. 4.6-4.8), made in place from n = L down to 0.
 * Compact order: by degree k = t+u+v, then t falling, then u falling. */
#ifndef KS_MD_R_H
#define KS_MD_R_H
#include "core/lane.h"

#define KS_N_HERMITE(L) (((L) + 1) * ((L) + 2) * ((L) + 3) / 6)

#if defined(__clang__)
#define KS_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define KS_UNROLL _Pragma("GCC unroll 64")
#else
#define KS_UNROLL
#endif

/* Place of (t, u, v) in compact order. */
KS_LANE_FN int ks_hermite_index(int t, int u, int v) {
    const int k = t + u + v, w = u + v;
    return k * (k + 1) * (k + 2) / 6 + w * (w + 1) / 2 + v;
}

/* base[n] = R^n_000, n = 0..L; r: KS_N_HERMITE(L) values out. */
KS_LANE_FN void ks_md_r(int L, const ks_lane *base, ks_lane x, ks_lane y, ks_lane z, ks_lane *r) {
    r[0] = base[L];
    KS_UNROLL
    for (int n = L - 1; n >= 0; n--) {
        KS_UNROLL
        for (int k = L - n; k >= 1; k--) {
            KS_UNROLL
            for (int w = k; w >= 0; w--) {
                KS_UNROLL
                for (int v = w; v >= 0; v--) {
                    const int t = k - w, u = w - v, i = ks_hermite_index(t, u, v);
                    ks_lane   s;
                    if (t > 0) {
                        s = x * r[ks_hermite_index(t - 1, u, v)];
                        if (t > 1) s += ks_lane_set(t - 1) * r[ks_hermite_index(t - 2, u, v)];
                    } else if (u > 0) {
                        s = y * r[ks_hermite_index(t, u - 1, v)];
                        if (u > 1) s += ks_lane_set(u - 1) * r[ks_hermite_index(t, u - 2, v)];
                    } else {
                        s = z * r[ks_hermite_index(t, u, v - 1)];
                        if (v > 1) s += ks_lane_set(v - 1) * r[ks_hermite_index(t, u, v - 2)];
                    }
                    r[i] = s;
                }
            }
        }
        r[0] = base[n];
    }
}
#endif
