/* eri_lanes.c -- two-electron integrals of one bra pair against all kets of lower or equal rank, into the store. */
#if defined(__AVX2__)
#include <immintrin.h>
#endif
#include "ops/eri.h"
#include "pointwise/eri_class.h"

enum { STREAM_MIN = 1 << 19 /* doubles: smaller stores stay in the cache for the first J/K */ };

typedef int class_fn(const ks_eri_bra *bra, const ks_eri_ket *ket, const double *boys, ks_lane *cube, ks_lane *out);

#define CLASS(cb, ck)                                                                                                  \
    static int class_##cb##ck(const ks_eri_bra *bra, const ks_eri_ket *ket, const double *boys, ks_lane *cube,         \
                              ks_lane *out) {                                                                          \
        return ks_eri_class(cb, ck, bra, ket, boys, KS_ERI_THRESHOLD, cube, out);                                      \
    }
#define CLASSES(X)                                                                                                     \
    X(0, 0)                                                                                                            \
    X(1, 0)                                                                                                            \
    X(1, 1) X(2, 0) X(2, 1) X(2, 2) X(3, 0) X(3, 1) X(3, 2) X(3, 3) X(4, 0) X(4, 1) X(4, 2) X(4, 3) X(4, 4) X(5, 0)    \
        X(5, 1) X(5, 2) X(5, 3) X(5, 4) X(5, 5)
CLASSES(CLASS)
#define ENTRY(cb, ck) [cb][ck] = class_##cb##ck,
static class_fn *const class_table[KS_N_CLASS][KS_N_CLASS] = {CLASSES(ENTRY)};

/* Values of one block to their places in the rows. Scalar stores: the rows of a bra pair stay in the L2 cache. */
static void scatter(int n_bra, int n_ket, const ks_lane *val, const int32_t *place, int64_t stride, double *rows) {
    for (int f = 0; f < n_ket; f++, place += KS_LANES) {
        double *to[KS_LANES];
        for (int i = 0; i < KS_LANES; i++) to[i] = rows + place[i];
        for (int b = 0; b < n_bra; b++, val++)
            for (int i = 0; i < KS_LANES; i++) to[i][b * stride] = (*val)[i];
    }
}

/* A finished row into the store. Past the caches when the store is large: it is not read before it is complete. */
static void copy_row(int64_t n, const double *row, double *store, int stream) {
#if defined(__AVX512F__)
    for (int64_t i = 0; stream && i < n; i += 8) _mm512_stream_pd(store + i, _mm512_load_pd(row + i));
#elif defined(__AVX2__)
    for (int64_t i = 0; stream && i < n; i += 4) _mm256_stream_pd(store + i, _mm256_load_pd(row + i));
#else
    stream = 0;
#endif
    if (!stream) memcpy(store, row, (size_t)n * sizeof *row);
}

/* The quartet of the pair with itself: kl <= ij stays, the diagonal is halved, the rest is zero. */
static void fix_diagonal(const ks_eri_plan *plan, const ks_eri_pair *q, int n_fn, int64_t stride, double *rows) {
    const int32_t *place = plan->place + q->place;
    for (int b = 0; b < n_fn; b++)
        for (int f = b; f < n_fn; f++)
            if (place[f] >= 0) rows[b * stride + place[f]] = f == b ? 0.5 * rows[b * stride + place[f]] : 0.0;
}

static void bra(const ks_eri_table *tab, int32_t pair, double *buf, double *store) {
    const ks_eri_plan        *plan = tab->plan;
    const ks_eri_pair        *q    = &plan->pair[pair];
    const int                 cb = q->cls, n_fn = ks_class_n_fn[cb];
    const int64_t             n_value = (int64_t)q->n_tile * KS_TILE_ROWS * plan->width, stride = n_value + plan->width;
    double                   *rows = buf + plan->width; /* in front of each row: what is not stored */
    const int32_t             mine = pair - plan->class_pair[cb];
    const ks_eri_class_table *tb   = &tab->c[cb];
    const ks_eri_bra          b = {tb->n_prim[mine], tb->prim + (int64_t)q->prim * (KS_PAIR_GEOM + ks_class_n_term[cb]),
                                   tb->bound + q->prim};
    ks_lane                  *out    = (ks_lane *)(buf + n_fn * stride);
    ks_lane                  *cube   = out + 625;
    const int                 stream = plan->n_store > STREAM_MIN;
    memset(buf, 0, (size_t)(n_fn * stride) * sizeof *buf);
    for (int ck = 0; ck <= cb && b.n_prim; ck++) {
        const ks_eri_class_table *t     = &tab->c[ck];
        const int                 n_ket = ks_class_n_fn[ck], own = ck == cb;
        const int64_t             record = (KS_PAIR_GEOM + ks_class_n_term[ck]) * KS_LANES;
        for (int g = plan->class_group[ck]; g < plan->class_group[ck + 1]; g++) {
            const ks_eri_group *grp = &plan->group[g];
            if (own && grp->first > pair) break;
            for (int32_t blk = grp->block; blk < grp->block + grp->n_block; blk++) {
                const int64_t    first = t->lane_first[blk];
                const ks_eri_ket k     = {t->lane_prim[blk], t->lane + first * record, t->lane_bound + first};
                const int32_t   *place = t->place + (int64_t)blk * n_ket * KS_LANES;
                int32_t          masked[25 * KS_LANES];
                if (!k.n_prim) break;
                if (own && grp->first + grp->n > pair) { /* pairs of higher rank are not stored here */
                    for (int i = 0; i < n_ket * KS_LANES; i++)
                        masked[i] = t->lane_pair[blk * KS_LANES + i % KS_LANES] > mine ? -1 : place[i];
                    place = masked;
                }
                if (class_table[cb][ck](&b, &k, tab->boys, cube, out)) scatter(n_fn, n_ket, out, place, stride, rows);
            }
        }
    }
    fix_diagonal(plan, q, n_fn, stride, rows);
    store += q->offset;
    for (int f = 0, w = 2 * plan->shell[q->J].l + 1; f < n_fn; f++)
        if (q->I != q->J || f / w >= f % w) {
            copy_row(n_value, rows + f * stride, store, stream);
            store += n_value;
        }
}

extern void KS_ISA_NAME(ks_jk_rows)(const ks_eri_plan *plan, int64_t row0, int64_t row1, const double *store, int n_dm,
                                    int64_t stride, const double *DJ, const double *DK, double *Y, double *X,
                                    double *tmp);
#define ISA_TABLE KS_ISA_NAME(ks_eri_isa)
const ks_eri_isa ISA_TABLE = {KS_LANES, KS_LANES < 4 ? 4 : KS_LANES, bra, KS_ISA_NAME(ks_jk_rows)};
