/* int1e_lanes.c -- overlap, kinetic energy, nuclear attraction and dipole integrals of one shell pair.
 *
 * Cartesian sums over primitives first, one spherical transform at the end. Per axis, with E of hermite.h,
 *   overlap   s_ij = E_0^{ij} sqrt(pi/p)
 *   position  x_ij = (E_1^{ij} + P_x E_0^{ij}) sqrt(pi/p)
 *   kinetic   t_ij = -1/2 d^2/dx^2 on j = -2 b^2 s_{i,j+2} + b (2j+1) s_ij - j(j-1)/2 s_{i,j-2}
 *   nuclear   -Z 2 pi/p sum_tuv E_t E_u E_v R_tuv(p, P - C)      nuclei fill the lanes
 * (Helgaker, Jorgensen, Olsen, Molecular Electronic-Structure Theory, chapter 9). */
#include "ops/int1e.h"
#include "core/lane.h"
#include "pointwise/boys.h"
#include "pointwise/hermite.h"
#include "pointwise/md_r.h"

enum { L_PAIR = 2 * KS_L_MAX, N_HERM = 35, N_CART2 = KS_CART_MAX * KS_CART_MAX };

/* w[tuv] = sum_C -Z_C R_tuv(p, P - C), compact order */
KS_LANE_FN void nuclei_l(int L, const ks_int1e_job *job, double p, const double P[3], double *w) {
    ks_lane       acc[N_HERM], r[N_HERM], base[L_PAIR + 1];
    const int     n_herm = KS_N_HERMITE(L);
    const double *table  = job->boys + KS_BOYS_FIRST(L) * KS_BOYS_ROW;
    for (int h = 0; h < n_herm; h++) acc[h] = ks_lane_set(0.0);
    for (int64_t c = 0; c < job->n_nuc; c += KS_LANES) {
        const ks_lane x = ks_lane_set(P[0]) - ks_lane_load(job->nuc + c);
        const ks_lane y = ks_lane_set(P[1]) - ks_lane_load(job->nuc + job->n_nuc + c);
        const ks_lane z = ks_lane_set(P[2]) - ks_lane_load(job->nuc + 2 * job->n_nuc + c);
        ks_lane       f = -ks_lane_load(job->nuc + 3 * job->n_nuc + c);
        ks_boys(L, table, ks_lane_set(p) * (x * x + y * y + z * z), base);
        for (int n = 0; n <= L; n++, f *= ks_lane_set(-2.0 * p)) base[n] *= f;
        ks_md_r(L, base, x, y, z, r);
        for (int h = 0; h < n_herm; h++) acc[h] += r[h];
    }
    for (int h = 0; h < n_herm; h++) {
        w[h] = 0.0;
        for (int i = 0; i < KS_LANES; i++) w[h] += ks_lane_get(acc[h], i);
    }
}

static void nuclei(int L, const ks_int1e_job *job, double p, const double P[3], double *w) {
    switch (L) {
    case 0:
        nuclei_l(0, job, p, P, w);
        break;
    case 1:
        nuclei_l(1, job, p, P, w);
        break;
    case 2:
        nuclei_l(2, job, p, P, w);
        break;
    case 3:
        nuclei_l(3, job, p, P, w);
        break;
    default:
        nuclei_l(4, job, p, P, w);
        break;
    }
}

/* out (2la+1, 2lb+1) = spherical transform of cart (na, nb) */
static void to_spherical(int la, int lb, const double *cart, double *out) {
    const int nb = (lb + 1) * (lb + 2) / 2;
    for (int ma = 0; ma < 2 * la + 1; ma++)
        for (int mb = 0; mb < 2 * lb + 1; mb++) {
            ks_sph_term ta[3], tb[3];
            const int   na_t = ks_sph_terms(la, ma, ta), nb_t = ks_sph_terms(lb, mb, tb);
            double      s = 0.0;
            for (int i = 0; i < na_t; i++)
                for (int j = 0; j < nb_t; j++) s += ta[i].coef * tb[j].coef * cart[ta[i].cart * nb + tb[j].cart];
            out[ma * (2 * lb + 1) + mb] = s;
        }
}

typedef struct sums {
    double S[N_CART2], T[N_CART2], V[N_CART2], dip[3][N_CART2];
} sums;

/* Adds one primitive pair; E holds the three axes (the prefactor exp(-mu AB^2) and the contraction are in x). */
static void add_primitives(int la, int lb, double b, double p, const double P[3], ks_hermite_axis E[3], const double *w,
                           int want_t, sums *out) {
    const double root = sqrt(3.14159265358979323846 / p), root3 = root * root * root;
    const double nuc = 2.0 * 3.14159265358979323846 / p;
    const int    na = (la + 1) * (la + 2) / 2, nb = (lb + 1) * (lb + 2) / 2;
    for (int ca = 0; ca < na; ca++)
        for (int cb = 0; cb < nb; cb++) {
            int       i[3], j[3];
            double    s[3], x[3], t[3] = {0};
            const int o = ca * nb + cb;
            ks_cart_power(la, ca, i);
            ks_cart_power(lb, cb, j);
            for (int d = 0; d < 3; d++) {
                s[d] = E[d][i[d]][j[d]][0];
                x[d] = (i[d] + j[d] > 0 ? E[d][i[d]][j[d]][1] : 0.0) + P[d] * s[d];
                if (want_t) {
                    t[d] = -2.0 * b * b * E[d][i[d]][j[d] + 2][0] + b * (2 * j[d] + 1) * s[d];
                    if (j[d] > 1) t[d] -= 0.5 * j[d] * (j[d] - 1) * E[d][i[d]][j[d] - 2][0];
                }
            }
            out->S[o] += root3 * s[0] * s[1] * s[2];
            out->T[o] += root3 * (t[0] * s[1] * s[2] + s[0] * t[1] * s[2] + s[0] * s[1] * t[2]);
            out->dip[0][o] += root3 * x[0] * s[1] * s[2];
            out->dip[1][o] += root3 * s[0] * x[1] * s[2];
            out->dip[2][o] += root3 * s[0] * s[1] * x[2];
            if (w) {
                double sum = 0.0;
                for (int tx = 0; tx <= i[0] + j[0]; tx++)
                    for (int ty = 0; ty <= i[1] + j[1]; ty++)
                        for (int tz = 0; tz <= i[2] + j[2]; tz++)
                            sum += E[0][i[0]][j[0]][tx] * E[1][i[1]][j[1]][ty] * E[2][i[2]][j[2]][tz] *
                                   w[ks_hermite_index(tx, ty, tz)];
                out->V[o] += nuc * sum;
            }
        }
}

ks_int1e_pair_fn KS_ISA_NAME(ks_int1e_pair);
void KS_ISA_NAME(ks_int1e_pair)(const ks_int1e_job *job, const ks_shell *sa, const ks_shell *sb, double *S, double *T,
                                double *V, double *dip) {
    const double   *A = job->bra_pos + 3 * sa->atom, *B = job->ket_pos + 3 * sb->atom;
    const double    ab[3] = {A[0] - B[0], A[1] - B[1], A[2] - B[2]};
    const double    ab2   = ab[0] * ab[0] + ab[1] * ab[1] + ab[2] * ab[2];
    const int       la = sa->l, lb = sb->l;
    sums            cart;
    ks_hermite_axis E[3];
    double          w[N_HERM];
    memset(&cart, 0, sizeof cart);
    for (int k = sa->prim; k < sa->prim + sa->n_prim; k++)
        for (int m = sb->prim; m < sb->prim + sb->n_prim; m++) {
            const double a = job->bra->exponent[k], b = job->ket->exponent[m], p = a + b;
            const double c = job->bra->coef[k] * job->ket->coef[m] * exp(-a * b / p * ab2);
            double       P[3];
            if (fabs(c) < 1e-300) continue; /* underflow: nothing that a double could hold is lost */
            for (int d = 0; d < 3; d++) {
                P[d] = (a * A[d] + b * B[d]) / p;
                ks_hermite_e(la, lb + (T ? 2 : 0), p, -b / p * ab[d], a / p * ab[d], d ? 1.0 : c, E[d]);
            }
            if (V) nuclei(la + lb, job, p, P, w);
            add_primitives(la, lb, b, p, P, E, V ? w : NULL, T != NULL, &cart);
        }
    if (S) to_spherical(la, lb, cart.S, S);
    if (T) to_spherical(la, lb, cart.T, T);
    if (V) to_spherical(la, lb, cart.V, V);
    if (dip)
        for (int d = 0; d < 3; d++) to_spherical(la, lb, cart.dip[d], dip + 25 * d);
}
