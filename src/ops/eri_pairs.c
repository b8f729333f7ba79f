/* eri_pairs.c -- pair tables of one frame: Hermite coefficients of all primitive pairs with everything folded in.
 *
 * A primitive pair record is p, P and, for each term (t,u,v) of each spherical function (hermite_terms.h), the coefficient
 *   bra  2 pi^(5/2) / p * c_a c_b * sum_cart E_t E_u E_v          ket  the same * (-1)^(t+u+v) / (2 pi^(5/2))
 * so that (ab|cd) = sum E_bra E_ket R_{t+t',u+u',v+v'} with R carrying (p+q)^(-1/2). A function (m, m) of a shell paired
 * with itself carries the factor 1/2 of i = j.
 *
 * Bound of a primitive pair: Coulomb self-energies of its Hermite functions and the triangle and Cauchy-Schwarz
 * inequalities, b = max_f sum |c| (2 pi^(5/2) / (p^2 (2p)^(1/2)) (2t-1)!!(2u-1)!!(2v-1)!! p^n / (2n+1))^(1/2), n = t+u+v:
 * a primitive integral is never larger than the product of two bounds. */
#include <string.h>
#define KS_LANE_SCALAR
#include "ops/eri.h"
#include "pointwise/hermite.h"
#include "pointwise/hermite_terms.h"

#define TWO_PI_52 34.986836655249725

typedef struct term {
    uint8_t t, u, v;
} term;
#define X(t, u, v) {t, u, v},
static const term term_ss[] = {KS_TERMS_SS(X)}, term_ps[] = {KS_TERMS_PS(X)}, term_pp[] = {KS_TERMS_PP(X)},
                  term_ds[] = {KS_TERMS_DS(X)}, term_dp[] = {KS_TERMS_DP(X)}, term_dd[] = {KS_TERMS_DD(X)};
#undef X
static const int start_ss[] = {KS_TERM_START_SS}, start_ps[] = {KS_TERM_START_PS}, start_pp[] = {KS_TERM_START_PP},
                 start_ds[] = {KS_TERM_START_DS}, start_dp[] = {KS_TERM_START_DP}, start_dd[] = {KS_TERM_START_DD};
static const term *const class_term[KS_N_CLASS]  = {term_ss, term_ps, term_pp, term_ds, term_dp, term_dd};
static const int *const  class_start[KS_N_CLASS] = {start_ss, start_ps, start_pp, start_ds, start_dp, start_dd};

enum { RECORD_MAX = KS_PAIR_GEOM + 391 };
_Static_assert(sizeof term_dd / sizeof *term_dd == 391 && sizeof term_dp / sizeof *term_dp == 122, "term counts");

int64_t ks_eri_table_bytes(const ks_eri_plan *plan) {
    int64_t n = 0;
    for (int c = 0; c < KS_N_CLASS; c++) {
        const int64_t stride = KS_PAIR_GEOM + ks_class_n_term[c];
        n += plan->class_prim[c] * (stride + 1) + plan->class_pair[c + 1] - plan->class_pair[c];
        for (int g = plan->class_group[c]; g < plan->class_group[c + 1]; g++)
            n += plan->group[g].n_block * (plan->group[g].n_prim_max * (stride * plan->isa->lanes + 1) +
                                           (ks_class_n_fn[c] + 1) * plan->isa->lanes + 2);
    }
    return n * (int64_t)sizeof(double);
}

ks_status ks_eri_table_take(const ks_eri_plan *plan, ks_arena *arena, ks_eri_table *tab) {
    ks_status     st    = KS_OK;
    const int64_t lanes = plan->isa->lanes;
    tab->plan           = plan;
    for (int c = 0; c < KS_N_CLASS; c++) {
        ks_eri_class_table *t      = &tab->c[c];
        const int64_t       stride = KS_PAIR_GEOM + ks_class_n_term[c],
                      n_pair       = plan->class_pair[c + 1] - plan->class_pair[c];
        const int64_t n_block      = plan->class_block[c];
        int64_t       n_lane       = 0;
        for (int g = plan->class_group[c]; g < plan->class_group[c + 1]; g++)
            n_lane += (int64_t)plan->group[g].n_block * plan->group[g].n_prim_max;
        KS_TRY(KS_TAKE(arena, t->prim, plan->class_prim[c] * stride));
        KS_TRY(KS_TAKE(arena, t->bound, plan->class_prim[c]));
        KS_TRY(KS_TAKE(arena, t->n_prim, n_pair));
        KS_TRY(KS_TAKE(arena, t->lane, n_lane * stride * lanes));
        KS_TRY(KS_TAKE(arena, t->lane_bound, n_lane));
        KS_TRY(KS_TAKE(arena, t->lane_prim, n_block));
        KS_TRY(KS_TAKE(arena, t->lane_first, n_block));
        KS_TRY(KS_TAKE(arena, t->lane_pair, n_block * lanes));
        KS_TRY(KS_TAKE(arena, t->place, n_block * ks_class_n_fn[c] * lanes));
    }
done:
    return st;
}

/* One record; returns its bound. */
static double primitive_pair(int cls, double a, double b, double cc, const double A[3], const double B[3],
                             double *rec) {
    static const double odd_fact[5] = {1.0, 1.0, 3.0, 15.0, 105.0}; /* (2t-1)!! */
    const int           la = ks_class_la[cls], lb = ks_class_lb[cls];
    const double        p = a + b, ab[3] = {A[0] - B[0], A[1] - B[1], A[2] - B[2]};
    const double        self = TWO_PI_52 / (p * p * sqrt(2.0 * p));
    const term         *tm   = class_term[cls];
    ks_hermite_axis     E[3];
    double              bound = 0.0, *out = rec + KS_PAIR_GEOM, pn[5] = {1.0, p, p * p, p * p * p, p * p * p * p};
    rec[0] = p;
    for (int d = 0; d < 3; d++) {
        rec[1 + d] = (a * A[d] + b * B[d]) / p;
        ks_hermite_e(la, lb, p, -b / p * ab[d], a / p * ab[d], d ? 1.0 : cc, E[d]);
    }
    for (int ma = 0, f = 0; ma < 2 * la + 1; ma++)
        for (int mb = 0; mb < 2 * lb + 1; mb++, f++) {
            ks_sph_term sa[3], sb[3];
            const int   na = ks_sph_terms(la, ma, sa), nb = ks_sph_terms(lb, mb, sb);
            const int   n   = class_start[cls][f + 1] - class_start[cls][f];
            double      sum = 0.0;
            memset(out, 0, (size_t)n * sizeof *out);
            for (int x = 0; x < na; x++)
                for (int y = 0; y < nb; y++) {
                    int i[3], j[3];
                    ks_cart_power(la, sa[x].cart, i);
                    ks_cart_power(lb, sb[y].cart, j);
                    const double *ex = E[0][i[0]][j[0]], *ey = E[1][i[1]][j[1]], *ez = E[2][i[2]][j[2]];
                    for (int k = 0; k < n; k++)
                        out[k] += sa[x].coef * sb[y].coef * ex[tm[k].t] * ey[tm[k].u] * ez[tm[k].v];
                }
            for (int k = 0; k < n; k++) {
                const int deg = tm[k].t + tm[k].u + tm[k].v;
                sum += fabs(out[k]) *
                       sqrt(self * odd_fact[tm[k].t] * odd_fact[tm[k].u] * odd_fact[tm[k].v] * pn[deg] / (2 * deg + 1));
            }
            if (sum > bound) bound = sum;
            for (int k = 0; k < n; k++) out[k] *= TWO_PI_52 / p;
            out += n;
            tm += n;
        }
    return bound;
}

/* Records of one pair, sorted by falling bound; those that cannot matter next to any other pair are left out. */
static int32_t fill_pair(const ks_eri_plan *plan, const double *pos, const ks_eri_pair *q, double *prim,
                         double *bound) {
    const ks_eri_shell *I = &plan->shell[q->I], *J = &plan->shell[q->J];
    const double       *A = pos + 3 * I->atom, *B = pos + 3 * J->atom;
    const int           stride = KS_PAIR_GEOM + ks_class_n_term[q->cls];
    const double ab2 = (A[0] - B[0]) * (A[0] - B[0]) + (A[1] - B[1]) * (A[1] - B[1]) + (A[2] - B[2]) * (A[2] - B[2]);
    double       rec[RECORD_MAX];
    int32_t      n = 0;
    for (int32_t k = 0; k < I->n_prim; k++)
        for (int32_t m = 0; m < J->n_prim; m++) {
            const double a = I->exponent[k], b = J->exponent[m];
            const double cc = I->coef[k] * J->coef[m] * exp(-a * b / (a + b) * ab2);
            const double x  = fabs(cc) > 1e-300 ? primitive_pair(q->cls, a, b, cc, A, B, rec) : 0.0;
            int32_t      i  = n;
            if (x < 1e-3 * KS_ERI_THRESHOLD) continue;
            while (i > 0 && bound[i - 1] < x) i--;
            memmove(prim + (i + 1) * stride, prim + i * stride, (size_t)((n - i) * stride) * sizeof *prim);
            memmove(bound + i + 1, bound + i, (size_t)(n - i) * sizeof *bound);
            memcpy(prim + i * stride, rec, (size_t)stride * sizeof *rec);
            bound[i] = x;
            n++;
        }
    if (q->I == q->J) /* i = j */
        for (int32_t i = 0; i < n; i++)
            for (int m = 0, w = 2 * I->l + 1; m < w; m++)
                for (int k = class_start[q->cls][m * w + m]; k < class_start[q->cls][m * w + m + 1]; k++)
                    prim[i * stride + KS_PAIR_GEOM + k] *= 0.5;
    return n;
}

/* Lane blocks of one group: its pairs in order of size, so that the lanes of a block end at about the same primitive. */
static int64_t fill_group(const ks_eri_plan *plan, int cls, const ks_eri_group *g, int64_t first,
                          ks_eri_class_table *t) {
    const int          lanes = plan->isa->lanes, n_fn = ks_class_n_fn[cls], n_term = ks_class_n_term[cls];
    const int          stride = KS_PAIR_GEOM + n_term, q0 = plan->class_pair[cls];
    const ks_eri_pair *pair = plan->pair + q0;
    const term        *tm   = class_term[cls];
    int32_t            order[128];
    for (int32_t i = 0; i < g->n; i++) {
        const int32_t q = g->first - q0 + i;
        const double  x = t->n_prim[q] ? t->bound[pair[q].prim] : 0.0;
        int32_t       k = i;
        for (; k > 0; k--) {
            const int32_t o = order[k - 1];
            if (t->n_prim[o] > t->n_prim[q] ||
                (t->n_prim[o] == t->n_prim[q] && (!t->n_prim[o] || t->bound[pair[o].prim] >= x)))
                break;
            order[k] = o;
        }
        order[k] = q;
    }
    for (int32_t b = 0; b < g->n_block; b++) {
        const int32_t  blk = g->block + b;
        const int32_t *who = order + b * lanes;
        const int32_t  n   = t->n_prim[who[0]];
        t->lane_prim[blk]  = n;
        t->lane_first[blk] = (int32_t)first;
        for (int32_t k = 0; k < n; k++) t->lane_bound[first + k] = 0.0;
        for (int lane = 0; lane < lanes; lane++) {
            const int     live               = b * lanes + lane < g->n;
            const int32_t q                  = live ? who[lane] : who[0];
            t->lane_pair[blk * lanes + lane] = live ? q : -1;
            for (int f = 0; f < n_fn; f++)
                t->place[((int64_t)blk * n_fn + f) * lanes + lane] = live ? plan->place[pair[q].place + f] : -1;
            for (int32_t k = 0; k < n; k++) {
                const int     some = live && k < t->n_prim[q];
                const double *src  = t->prim + (int64_t)(pair[q].prim + (some ? k : 0)) * stride;
                double       *dst  = t->lane + (first + k) * stride * lanes + lane;
                if (some && t->bound[pair[q].prim + k] > t->lane_bound[first + k])
                    t->lane_bound[first + k] = t->bound[pair[q].prim + k];
                if (!some && !t->n_prim[q])
                    src = t->prim + (int64_t)pair[who[0]].prim * stride; /* any finite geometry */
                for (int c = 0; c < KS_PAIR_GEOM; c++) dst[c * lanes] = src[c];
                dst += KS_PAIR_GEOM * lanes;
                src += KS_PAIR_GEOM;
                for (int c = 0; c < n_term; c++) {
                    const double sign = (tm[c].t + tm[c].u + tm[c].v) & 1 ? -1.0 / TWO_PI_52 : 1.0 / TWO_PI_52;
                    dst[c * lanes]    = some ? sign * src[c] : 0.0;
                }
            }
        }
        first += n;
    }
    return first;
}

void ks_eri_table_fill(const ks_eri_plan *plan, const double *pos, int32_t cls, ks_eri_table *tab) {
    ks_eri_class_table *t      = &tab->c[cls];
    const int           stride = KS_PAIR_GEOM + ks_class_n_term[cls];
    int64_t             first  = 0;
    for (int32_t q = plan->class_pair[cls]; q < plan->class_pair[cls + 1]; q++) {
        const ks_eri_pair *pair = &plan->pair[q];
        t->n_prim[q - plan->class_pair[cls]] =
            fill_pair(plan, pos, pair, t->prim + (int64_t)pair->prim * stride, t->bound + pair->prim);
    }
    for (int32_t g = plan->class_group[cls]; g < plan->class_group[cls + 1]; g++)
        first = fill_group(plan, cls, &plan->group[g], first, t);
}
