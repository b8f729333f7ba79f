/* int1e_lanes.c -- overlap, kinetic energy, nuclear attraction and dipole integrals of one shell pair.
 *
 * Cartesian sums over primitives first, one spherical transform at the end; formulas in pointwise/int1e_point.h. Nuclei
 * fill the lanes. */
#include "ops/int1e.h"
#include "core/lane.h"
#include "pointwise/boys.h"
#include "pointwise/int1e_point.h"

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

/* out (2la+1, 2lb+1) = spherical transform of component k of cart (na, nb) */
static void to_spherical(int la, int lb, double (*cart)[N_CART2], int k, double *out) {
    for (int ma = 0; ma < 2 * la + 1; ma++)
        for (int mb = 0; mb < 2 * lb + 1; mb++)
            out[ma * (2 * lb + 1) + mb] = ks_int1e_spherical(la, lb, ma, mb, cart[k]);
}

/* Adds one primitive pair to cart[KS_INT1E_...]. */
static void add_primitives(int la, int lb, double b, double p, const double P[3], ks_hermite_axis *E, const double *w,
                           int want_t, double (*cart)[N_CART2]) {
    const int na = (la + 1) * (la + 2) / 2, nb = (lb + 1) * (lb + 2) / 2;
    for (int ca = 0; ca < na; ca++)
        for (int cb = 0; cb < nb; cb++) {
            int    i[3], j[3];
            double sum[KS_INT1E_N] = {0};
            ks_cart_power(la, ca, i);
            ks_cart_power(lb, cb, j);
            ks_int1e_component(i, j, b, p, P, E, w, want_t, sum);
            for (int k = 0; k < KS_INT1E_N; k++) cart[k][ca * nb + cb] += sum[k];
        }
}

ks_int1e_pair_fn KS_ISA_NAME(ks_int1e_pair);
void KS_ISA_NAME(ks_int1e_pair)(const ks_int1e_job *job, const ks_shell *sa, const ks_shell *sb, double *S, double *T,
                                double *V, double *dip) {
    const double   *A = job->bra_pos + 3 * sa->atom, *B = job->ket_pos + 3 * sb->atom;
    const double    ab[3] = {A[0] - B[0], A[1] - B[1], A[2] - B[2]};
    const double    ab2   = ab[0] * ab[0] + ab[1] * ab[1] + ab[2] * ab[2];
    const int       la = sa->l, lb = sb->l;
    double          cart[KS_INT1E_N][N_CART2] = {{0}};
    ks_hermite_axis E[3];
    double          w[N_HERM];
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
            add_primitives(la, lb, b, p, P, E, V ? w : NULL, T != NULL, cart);
        }
    if (S) to_spherical(la, lb, cart, KS_INT1E_S, S);
    if (T) to_spherical(la, lb, cart, KS_INT1E_T, T);
    if (V) to_spherical(la, lb, cart, KS_INT1E_V, V);
    for (int d = 0; dip && d < 3; d++) to_spherical(la, lb, cart, KS_INT1E_DIP + d, dip + 25 * d);
}
