/* eri_class.h -- two-electron integrals of one bra pair and KS_LANES ket pairs of one class, on lanes.
 *
 * McMurchie-Davidson: (ab|cd) = sum_bra sum_ket E_bra E_ket (p+q)^(-1/2) R_{tuv + t'u'v'}(alpha, P - Q) with
 * alpha = pq/(p+q); all other factors are in the coefficients (src/ops/eri_pairs.c). The bra is scalar (broadcast), the
 * ket pairs fill the lanes. For each bra primitive: first R of all ket primitives that pass the bound, then one ket
 * function at a time,
 *   acc[tuv]   = sum_ket E_ket R_{tuv + t'u'v'}          in registers
 *   out[bra f] += sum_tuv E_bra acc[tuv].
 * Uracil, def2-SVP: 3.6 GFLOP after the primitive bound (12.5 of 23.9 M primitive quartets), 322 MB written; one Zen 3 core
 * with AVX2 lanes needs 0.09-0.10 of PySCF's time for its 8-fold store. Bra coefficients are broadcast once for several ket
 * functions (17 % of the whole); steps of up to 8 primitives at a time overlap the latencies of root, table and recursion.
 * R is kept in a cube with strides (N^2, N, 1), N = L+1, so that places add. Free of host-only constructs: the angular
 * momenta are compile-time constants of the caller; under KS_LANE_SCALAR one quartet per thread. */
#ifndef KS_ERI_CLASS_H
#define KS_ERI_CLASS_H
#include "pointwise/boys.h"
#include "pointwise/hermite_terms.h"
#include "pointwise/md_r.h"

enum {
    KS_ERI_GEOM    = 4,
    KS_ERI_ACC     = 10,                  /* accumulators held in registers */
    KS_ERI_ACC_ALL = 9 * 35,              /* all functions of a pp ket next to a dd bra */
    KS_ERI_STAGE   = KS_LANES > 1 ? 8 : 1 /* primitives that go through each step together, to overlap latencies */
};

#ifdef __CUDACC__
#define KS_TABLE static __device__ const
#else
#define KS_TABLE static const
#endif

/* Term (t, u, v) packed for run-time strides, and its place in compact order. */
#define X(t, u, v) (t) | (u) << 4 | (v) << 8,
KS_TABLE uint16_t ks_term_ss[] = {KS_TERMS_SS(X)}, ks_term_ps[] = {KS_TERMS_PS(X)}, ks_term_pp[] = {KS_TERMS_PP(X)},
                  ks_term_ds[] = {KS_TERMS_DS(X)}, ks_term_dp[] = {KS_TERMS_DP(X)}, ks_term_dd[] = {KS_TERMS_DD(X)};
#undef X
#define KS_INDEX(t, u, v)                                                                                              \
    (((t) + (u) + (v)) * ((t) + (u) + (v) + 1) * ((t) + (u) + (v) + 2) / 6 + ((u) + (v)) * ((u) + (v) + 1) / 2 + (v)),
KS_TABLE uint8_t ks_index_ss[] = {KS_TERMS_SS(KS_INDEX)}, ks_index_ps[] = {KS_TERMS_PS(KS_INDEX)},
                 ks_index_pp[] = {KS_TERMS_PP(KS_INDEX)}, ks_index_ds[] = {KS_TERMS_DS(KS_INDEX)},
                 ks_index_dp[] = {KS_TERMS_DP(KS_INDEX)}, ks_index_dd[] = {KS_TERMS_DD(KS_INDEX)};
#undef KS_INDEX
KS_TABLE uint16_t ks_start_ss[] = {KS_TERM_START_SS}, ks_start_ps[] = {KS_TERM_START_PS},
                  ks_start_pp[] = {KS_TERM_START_PP}, ks_start_ds[] = {KS_TERM_START_DS},
                  ks_start_dp[] = {KS_TERM_START_DP}, ks_start_dd[] = {KS_TERM_START_DD};

#define X(t, u, v) t,
KS_TABLE uint8_t ks_herm_t[] = {KS_HERMITES(X)};
#undef X
#define X(t, u, v) u,
KS_TABLE uint8_t ks_herm_u[] = {KS_HERMITES(X)};
#undef X
#define X(t, u, v) v,
KS_TABLE uint8_t ks_herm_v[] = {KS_HERMITES(X)};
#undef X
/* Places of the terms in a cube of edge N, for the classes whose loops are not unrolled. */
#define X7(t, u, v) ((t)*49 + (u)*7 + (v)),
#define X8(t, u, v) ((t)*64 + (u)*8 + (v)),
#define X9(t, u, v) ((t)*81 + (u)*9 + (v)),
KS_TABLE uint16_t ks_off_dp7[] = {KS_TERMS_DP(X7)}, ks_off_dp8[] = {KS_TERMS_DP(X8)}, ks_off_dd9[] = {KS_TERMS_DD(X9)};
#undef X7
#undef X8
#undef X9

KS_LANE_FN const uint16_t *ks_class_offsets(int c, int N) {
    return c == 5 ? ks_off_dd9 : N == 7 ? ks_off_dp7 : ks_off_dp8;
}
KS_LANE_FN const uint16_t *ks_class_terms(int c) {
    return c == 0   ? ks_term_ss
           : c == 1 ? ks_term_ps
           : c == 2 ? ks_term_pp
           : c == 3 ? ks_term_ds
           : c == 4 ? ks_term_dp
                    : ks_term_dd;
}
KS_LANE_FN const uint8_t *ks_class_index(int c) {
    return c == 0   ? ks_index_ss
           : c == 1 ? ks_index_ps
           : c == 2 ? ks_index_pp
           : c == 3 ? ks_index_ds
           : c == 4 ? ks_index_dp
                    : ks_index_dd;
}
KS_LANE_FN const uint16_t *ks_class_starts(int c) {
    return c == 0   ? ks_start_ss
           : c == 1 ? ks_start_ps
           : c == 2 ? ks_start_pp
           : c == 3 ? ks_start_ds
           : c == 4 ? ks_start_dp
                    : ks_start_dd;
}

#define KS_CLASS_L(c) ((c) == 0 ? 0 : (c) == 1 ? 1 : (c) <= 3 ? 2 : (c)-1)
#define KS_CLASS_FN(c) ((c) == 0 ? 1 : (c) == 1 ? 3 : (c) == 2 ? 9 : (c) == 3 ? 5 : (c) == 4 ? 15 : 25)
/* Ket functions whose bra transform is done together. */
#define KS_CLASS_GROUP(c) ((c) == 0 ? 1 : (c) <= 2 ? 3 : 5)
#define KS_CLASS_TERM(c) ((c) == 0 ? 1 : (c) == 1 ? 6 : (c) == 2 ? 33 : (c) == 3 ? 24 : (c) == 4 ? 122 : 391)

typedef struct ks_eri_bra {
    int           n_prim;
    const double *prim;  /* [prim][4 + terms] */
    const double *bound; /* falling */
} ks_eri_bra;

typedef struct ks_eri_ket {
    int           n_prim;
    const double *prim;  /* [prim][4 + terms][lanes] */
    const double *bound; /* of the largest lane, falling */
} ks_eri_ket;

/* What one primitive quartet needs before the Boys function. */
typedef struct ks_eri_prim {
    ks_lane x, y, z, T, s, w; /* P - Q, alpha |P-Q|^2, (p+q)^(-1/2), -2 alpha */
} ks_eri_prim;

KS_LANE_FN ks_eri_prim ks_eri_setup(const double *bra, const double *ket) {
    ks_eri_prim   e;
    const ks_lane p = ks_lane_set(bra[0]), q = ks_lane_load(ket);
    ks_lane       alpha;
    e.x   = ks_lane_set(bra[1]) - ks_lane_load(ket + KS_LANES);
    e.y   = ks_lane_set(bra[2]) - ks_lane_load(ket + 2 * KS_LANES);
    e.z   = ks_lane_set(bra[3]) - ks_lane_load(ket + 3 * KS_LANES);
    e.s   = ks_lane_rsqrt(p + q);
    alpha = p * q * (e.s * e.s);
    e.w   = ks_lane_set(-2.0) * alpha;
    e.T   = alpha * (e.x * e.x + e.y * e.y + e.z * e.z);
    return e;
}

/* base[n] = R^n_000 / prefactors of the pairs */
KS_LANE_FN void ks_eri_base(int L, const double *boys, const ks_eri_prim *e, ks_lane *base) {
    ks_lane f = e->s;
    ks_boys(L, boys, e->T, base);
    for (int n = 0; n <= L; n++, f = f * e->w) base[n] = base[n] * f;
}

/* out[f][f_bra] += sum_terms E_bra acc[f] for KS_CLASS_GROUP(ck) ket functions f, which share each broadcast coefficient. */
KS_LANE_FN void ks_eri_bra_terms(int cb, int n_f, const double *coef, const ks_lane *acc, ks_lane *out) {
    const uint8_t  *idx   = ks_class_index(cb);
    const uint16_t *start = ks_class_starts(cb);
    const int       n_fn = KS_CLASS_FN(cb), n_herm = KS_N_HERMITE(KS_CLASS_L(cb));
    KS_UNROLL
    for (int b = 0; b < n_fn; b++) {
        ks_lane s[5];
        for (int f = 0; f < n_f; f++) s[f] = out[f * n_fn + b];
        KS_UNROLL
        for (int k = start[b]; k < start[b + 1]; k++) {
            const ks_lane c = ks_lane_set(coef[k]);
            for (int f = 0; f < n_f; f++) s[f] += c * acc[f * n_herm + idx[k]];
        }
        for (int f = 0; f < n_f; f++) out[f * n_fn + b] = s[f];
    }
}

/* acc[h0..h1) = sum over n ket primitives and the terms m0..m1 of one ket function. */
KS_LANE_FN void ks_eri_ket_terms(int ck, int N, int h0, int h1, int m0, int m1, int n, int ket_stride,
                                 const double *coef, const ks_lane *cube, ks_lane *acc) {
    const uint16_t *term   = ks_class_terms(ck);
    const int       n_cube = N * N * N;
    ks_lane         a[KS_ERI_ACC];
    KS_UNROLL
    for (int h = 0; h < h1 - h0; h++) a[h] = ks_lane_set(0.0);
    for (int k = 0; k < n; k++, coef += ket_stride, cube += n_cube) {
        if (ck <= 3) {
            KS_UNROLL
            for (int m = m0; m < m1; m++) {
                const ks_lane  c = ks_lane_load(coef + m * KS_LANES);
                const ks_lane *s = cube + (term[m] & 15) * N * N + (term[m] >> 4 & 15) * N + (term[m] >> 8);
                KS_UNROLL
                for (int h = h0; h < h1; h++)
                    a[h - h0] += c * s[ks_herm_t[h] * N * N + ks_herm_u[h] * N + ks_herm_v[h]];
            }
        } else {
            const uint16_t *off = ks_class_offsets(ck, N);
            for (int m = m0; m < m1; m++) {
                const ks_lane  c = ks_lane_load(coef + m * KS_LANES);
                const ks_lane *s = cube + off[m];
                KS_UNROLL
                for (int h = h0; h < h1; h++)
                    a[h - h0] += c * s[ks_herm_t[h] * N * N + ks_herm_u[h] * N + ks_herm_v[h]];
            }
        }
    }
    KS_UNROLL
    for (int h = 0; h < h1 - h0; h++) acc[h0 + h] = a[h];
}

KS_LANE_FN void ks_eri_ket_function(int cb, int ck, int N, int f, int n, int ket_stride, const double *coef,
                                    const ks_lane *cube, ks_lane *acc) {
    const uint16_t *start  = ks_class_starts(ck);
    const int       n_herm = KS_N_HERMITE(KS_CLASS_L(cb)), n_chunk = (n_herm + KS_ERI_ACC - 1) / KS_ERI_ACC;
    const int       size = (n_herm + n_chunk - 1) / n_chunk;
    KS_UNROLL
    for (int h = 0; h < n_herm; h += size)
        ks_eri_ket_terms(ck, N, h, h + size < n_herm ? h + size : n_herm, start[f], start[f + 1], n, ket_stride, coef,
                         cube, acc);
}

/* out [ket function][bra function], overwritten. cube: ket->n_prim * (L+1)^3 lanes of scratch (unused for ss kets).
 * Quartets of primitives with a product of bounds below threshold are left out. Returns 0 when all were. */
KS_LANE_FN int ks_eri_class(int cb, int ck, const ks_eri_bra *bra, const ks_eri_ket *ket, const double *boys,
                            double threshold, ks_lane *cube, ks_lane *out) {
    const int L = KS_CLASS_L(cb) + KS_CLASS_L(ck), N = L + 1, n_cube = N * N * N;
    const int n_bra = KS_CLASS_FN(cb), n_ket = KS_CLASS_FN(ck), n_herm = KS_N_HERMITE(KS_CLASS_L(cb));
    const int bra_stride = KS_ERI_GEOM + KS_CLASS_TERM(cb), ket_stride = (KS_ERI_GEOM + KS_CLASS_TERM(ck)) * KS_LANES;
    const double *table = boys + KS_BOYS_FIRST(L) * KS_BOYS_ROW;
    const int     n_f   = KS_CLASS_GROUP(ck);
    ks_lane       acc[KS_ERI_ACC_ALL], r[KS_N_HERMITE(4)], base[KS_ERI_STAGE][KS_BOYS_L_MAX + 1];
    ks_eri_prim   e[KS_ERI_STAGE];
    if (!(bra->bound[0] * ket->bound[0] >= threshold)) return 0;
    for (int i = 0; i < n_bra * n_ket; i++) out[i] = ks_lane_set(0.0);
    for (int b = 0; b < bra->n_prim; b++) {
        const double *bp = bra->prim + b * bra_stride, *coef = ket->prim + KS_ERI_GEOM * KS_LANES;
        int           n = 0;
        if (ck == 0) {
            KS_UNROLL
            for (int h = 0; h < n_herm; h++) acc[h] = ks_lane_set(0.0);
        }
        while (n < ket->n_prim && bra->bound[b] * ket->bound[n] >= threshold) n++;
        if (n == 0) break;
        for (int k0 = 0; k0 < n; k0 += KS_ERI_STAGE) {
            const int m = n - k0 < KS_ERI_STAGE ? n - k0 : KS_ERI_STAGE;
            for (int k = 0; k < m; k++) e[k] = ks_eri_setup(bp, ket->prim + (k0 + k) * ket_stride);
            for (int k = 0; k < m; k++) ks_eri_base(L, table, &e[k], base[k]);
            for (int k = 0; k < m; k++) {
                if (ck == 0) {
                    const ks_lane c = ks_lane_load(coef + (k0 + k) * ket_stride);
                    ks_md_r(L, base[k], e[k].x, e[k].y, e[k].z, r);
                    KS_UNROLL
                    for (int h = 0; h < n_herm; h++) acc[h] += c * r[h];
                } else {
                    ks_md_r_cube(L, base[k], e[k].x, e[k].y, e[k].z, cube + (k0 + k) * n_cube);
                }
            }
        }
        if (ck == 0) {
            ks_eri_bra_terms(cb, 1, bp + KS_ERI_GEOM, acc, out);
        } else if (ck <= 3) {
            KS_UNROLL
            for (int f = 0; f < n_ket; f++)
                ks_eri_ket_function(cb, ck, N, f, n, ket_stride, coef, cube, acc + f * n_herm);
            for (int f = 0; f < n_ket; f += n_f)
                ks_eri_bra_terms(cb, n_f, bp + KS_ERI_GEOM, acc + f * n_herm, out + f * n_bra);
        } else {
            for (int f = 0; f < n_ket; f += n_f) {
                for (int i = 0; i < n_f; i++)
                    ks_eri_ket_function(cb, ck, N, f + i, n, ket_stride, coef, cube, acc + i * n_herm);
                ks_eri_bra_terms(cb, n_f, bp + KS_ERI_GEOM, acc, out + f * n_bra);
            }
        }
    }
    return 1;
}
#endif
