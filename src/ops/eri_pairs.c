/* eri_pairs.c -- pair tables of one frame: Hermite coefficients of all primitive pairs with everything folded in.
 *
 * A primitive pair record is p, P and, for each term (t,u,v) of each spherical function (hermite_terms.h), the
 * coefficient
 *   bra  2 pi^(5/2) / p * c_a c_b * sum_cart E_t E_u E_v          ket  the same * (-1)^(t+u+v) / (2 pi^(5/2))
 * so that (ab|cd) = sum E_bra E_ket R_{t+t',u+u',v+v'} with R carrying (p+q)^(-1/2). A function (m, m) of a shell
 * paired with itself carries the factor 1/2 of i = j.
 * Bounds: pointwise/eri_pair.h. */
#include <string.h>
#define KS_LANE_SCALAR
#include "ops/eri.h"
#include "pointwise/eri_pair.h"

enum { RECORD_MAX = KS_PAIR_GEOM + 391 };
_Static_assert(sizeof ks_term_dd / sizeof *ks_term_dd == 391 && sizeof ks_term_dp / sizeof *ks_term_dp == 122,
               "term counts");

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
    const uint16_t  *start = ks_class_starts(cls);
    ks_eri_prim_pair g;
    double           bound = 0.0;
    ks_eri_pair_open(cls, a, b, cc, A, B, &g);
    rec[0] = g.p;
    for (int d = 0; d < 3; d++) rec[1 + d] = g.P[d];
    for (int f = 0; f < ks_class_n_fn[cls]; f++) {
        const double x = ks_eri_pair_function(cls, f, &g, KS_TWO_PI_52, 1, rec + KS_PAIR_GEOM + start[f]);
        if (x > bound) bound = x;
    }
    return bound;
}

/* Records of one pair, sorted by falling bound; those that cannot matter next to any other pair are left out. */
static int32_t fill_pair(const ks_eri_plan *plan, const double *pos, const ks_eri_pair *q, double *prim,
                         double *bound) {
    const ks_eri_shell *I = &plan->shell[q->I], *J = &plan->shell[q->J];
    const double       *A = pos + 3 * I->atom, *B = pos + 3 * J->atom;
    const int           stride = KS_PAIR_GEOM + ks_class_n_term[q->cls];
    const uint16_t     *start  = ks_class_starts(q->cls);
    const double ab2 = (A[0] - B[0]) * (A[0] - B[0]) + (A[1] - B[1]) * (A[1] - B[1]) + (A[2] - B[2]) * (A[2] - B[2]);
    double       rec[RECORD_MAX];
    int32_t      n = 0;
    for (int32_t k = 0; k < I->n_prim; k++)
        for (int32_t m = 0; m < J->n_prim; m++) {
            const double a = I->exponent[k], b = J->exponent[m];
            const double cc = I->coef[k] * J->coef[m] * exp(-a * b / (a + b) * ab2);
            const double x  = fabs(cc) > KS_ERI_MIN_COEF ? primitive_pair(q->cls, a, b, cc, A, B, rec) : 0.0;
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
                for (int k = start[m * w + m]; k < start[m * w + m + 1]; k++)
                    prim[i * stride + KS_PAIR_GEOM + k] *= 0.5;
    return n;
}

/* Lane blocks of one group: its pairs in order of size, so that the lanes of a block end at about the same primitive.
 * */
static int64_t fill_group(const ks_eri_plan *plan, int cls, const ks_eri_group *g, int64_t first,
                          ks_eri_class_table *t) {
    const int          lanes = plan->isa->lanes, n_fn = ks_class_n_fn[cls], n_term = ks_class_n_term[cls];
    const int          stride = KS_PAIR_GEOM + n_term, q0 = plan->class_pair[cls];
    const ks_eri_pair *pair = plan->pair + q0;
    const uint16_t    *tm   = ks_class_terms(cls);
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
                    const int    deg  = (tm[c] & 15) + (tm[c] >> 4 & 15) + (tm[c] >> 8);
                    const double sign = (deg & 1 ? -1.0 : 1.0) / KS_TWO_PI_52;
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
