/* eri_plan.c -- everything about the stored integrals that depends on the composition only; see eri.h. */
#include <string.h>
#include "ops/eri.h"

enum { GROUP_BLOCKS = 8 };

const ks_eri_isa *ks_eri_isa_current(void) {
#if defined(__x86_64__)
    const char *isa = ks_cpu_isa();
    if (!strcmp(isa, "avx512")) return &ks_eri_isa_avx512;
    if (!strcmp(isa, "avx2")) return &ks_eri_isa_avx2;
#endif
    return &ks_eri_isa_base;
}

static int32_t round_up(int32_t n, int32_t m) { return (n + m - 1) / m * m; }

/* Shells by angular momentum, then contraction length (long first), then PySCF order. */
static ks_status make_shells(const ks_system *sys, ks_eri_plan *p) {
    ks_status        st = KS_OK;
    const ks_shells *b  = &sys->basis;
    int32_t          n = 0, ao = 0;
    p->n_atom  = (int32_t)sys->n_atom;
    p->n_shell = (int32_t)b->n_shell;
    p->n_ao    = (int32_t)b->n_ao;
    KS_TRY(KS_ZNEW(p->shell, p->n_shell));
    KS_TRY(KS_ZNEW(p->ao_of_ext, p->n_ao));
    for (int32_t l = 0; l <= KS_L_MAX; l++) {
        int32_t longest = 0;
        p->ao_block[l]  = ao;
        for (int64_t s = 0; s < b->n_shell; s++)
            if (b->shell[s].n_prim > longest) longest = b->shell[s].n_prim;
        for (int32_t k = longest; k > 0; k--)
            for (int64_t s = 0; s < b->n_shell; s++) {
                const ks_shell *h = &b->shell[s];
                if (h->l != l || h->n_prim != k) continue;
                for (int32_t m = 0; m < 2 * l + 1; m++) p->ao_of_ext[h->ao + m] = ao + m;
                p->shell[n++] =
                    (ks_eri_shell){l, h->atom, h->n_prim, ao, h->ao, b->exponent + h->prim, b->coef + h->prim};
                ao += 2 * l + 1;
            }
        ao = round_up(ao, p->width);
    }
    p->ao_block[3] = p->n_pad = ao;
done:
    return st;
}

static ks_status make_strips(ks_eri_plan *p) {
    ks_status st    = KS_OK;
    int32_t   n_max = 1;
    for (int c = 0; c < KS_N_CLASS; c++)
        n_max += (p->ao_block[ks_class_la[c] + 1] - p->ao_block[ks_class_la[c]]) / KS_TILE_ROWS;
    KS_TRY(KS_ZNEW(p->strip, n_max));
    for (int c = 0; c < KS_N_CLASS; c++) {
        const int32_t *kb = &p->ao_block[ks_class_la[c]], *lb = &p->ao_block[ks_class_lb[c]];
        p->class_strip[c] = p->n_strip;
        for (int32_t k = kb[0]; k < kb[1] && lb[1] > lb[0]; k += KS_TILE_ROWS) {
            const int32_t l_end    = kb == lb ? lb[0] + round_up(k + KS_TILE_ROWS - lb[0], p->width) : lb[1];
            p->strip[p->n_strip++] = (ks_eri_strip){k, lb[0], p->n_tile};
            p->n_tile += (l_end - lb[0]) / p->width;
        }
    }
    p->class_strip[KS_N_CLASS] = p->n_strip;
    p->strip[p->n_strip]       = (ks_eri_strip){0, 0, p->n_tile};
done:
    return st;
}

int32_t ks_eri_row_place(const ks_eri_plan *p, int32_t cls, int32_t k, int32_t l) {
    const ks_eri_strip *s = &p->strip[p->class_strip[cls] + (k - p->ao_block[ks_class_la[cls]]) / KS_TILE_ROWS];
    const int32_t       t = s->tile + (l - s->l0) / p->width;
    return (t * KS_TILE_ROWS + (k - s->k0)) * p->width + (l - s->l0) % p->width;
}

/* Tiles of a row of pair (I, J): up to the strip of I's last AO; when all its rows belong to I, only up to J's last AO. */
static int32_t row_tiles(const ks_eri_plan *p, const ks_eri_pair *q, int32_t *n_strip) {
    const ks_eri_shell *I = &p->shell[q->I], *J = &p->shell[q->J];
    const int32_t       k = I->ao + 2 * I->l, l = J->ao + 2 * J->l;
    const int32_t       s = p->class_strip[q->cls] + (k - p->ao_block[I->l]) / KS_TILE_ROWS;
    *n_strip              = s + 1;
    return p->strip[s].k0 < I->ao ? p->strip[s + 1].tile : p->strip[s].tile + (l - p->strip[s].l0) / p->width + 1;
}

/* Rank of the AO pair (a, b) with a >= b, and its class. */
static int64_t rank_of(const ks_eri_plan *p, int32_t a, int32_t b, int32_t *cls, int32_t *row) {
    int32_t I = 0, J = 0;
    while (I + 1 < p->n_shell && p->shell[I + 1].ao <= a) I++;
    while (J + 1 < p->n_shell && p->shell[J + 1].ao <= b) J++;
    const ks_eri_pair *q  = &p->pair[p->pair_of[I * p->n_shell + J]];
    const int32_t      mi = a - p->shell[I].ao, mj = b - p->shell[J].ao;
    *cls = q->cls;
    *row = q->row + (I == J ? mi * (mi + 1) / 2 + mj : mi * (2 * p->shell[J].l + 1) + mj);
    return *row;
}

double ks_eri_plan_value(const ks_eri_plan *p, const double *store, int64_t i, int64_t j, int64_t k, int64_t l) {
    int32_t a = p->ao_of_ext[i], b = p->ao_of_ext[j], c = p->ao_of_ext[k], d = p->ao_of_ext[l], t, cls, row_ij, row_kl,
            cls_kl;
    if (a < b) t = a, a = b, b = t;
    if (c < d) t = c, c = d, d = t;
    if (rank_of(p, a, b, &cls, &row_ij) < rank_of(p, c, d, &cls_kl, &row_kl)) {
        t = a, a = c, c = t;
        t = b, b = d, d = t;
        t = row_ij, row_ij = row_kl, row_kl = t;
        cls_kl = cls;
    }
    const ks_eri_row *row = &p->row[row_ij];
    int32_t           q   = 0;
    while (q + 1 < p->n_pair && p->pair[q + 1].row <= row_ij) q++;
    const int64_t size   = (int64_t)row->n_tile * KS_TILE_ROWS * p->width;
    const double  halved = (a == b ? 2.0 : 1.0) * (c == d ? 2.0 : 1.0) * (row_ij == row_kl ? 2.0 : 1.0);
    return halved * store[p->pair[q].offset + (row_ij - p->pair[q].row) * size + ks_eri_row_place(p, cls_kl, c, d)];
}

static ks_status make_pairs(ks_eri_plan *p) {
    ks_status st = KS_OK;
    int32_t   n = 0, r = 0;
    KS_TRY(KS_ZNEW(p->pair, (int64_t)p->n_shell * (p->n_shell + 1) / 2));
    KS_TRY(KS_ZNEW(p->pair_of, (int64_t)p->n_shell * p->n_shell));
    KS_TRY(KS_ZNEW(p->row, (int64_t)p->n_ao * (p->n_ao + 1) / 2));
    for (int32_t c = 0; c < KS_N_CLASS; c++) {
        p->class_pair[c] = n;
        for (int32_t I = 0; I < p->n_shell; I++)
            for (int32_t J = 0; J <= I; J++) {
                const ks_eri_shell *a = &p->shell[I], *b = &p->shell[J];
                if (a->l != ks_class_la[c] || b->l != ks_class_lb[c]) continue;
                ks_eri_pair *q = &p->pair[n];
                int32_t      n_strip;
                *q        = (ks_eri_pair){.I = I, .J = J, .cls = c, .row = r, .prim = p->class_prim[c]};
                q->n_tile = row_tiles(p, q, &n_strip);
                q->offset = p->n_store;
                p->pair_of[I * p->n_shell + J] = n++;
                p->class_prim[c] += a->n_prim * b->n_prim;
                for (int32_t mi = 0; mi < 2 * a->l + 1; mi++)
                    for (int32_t mj = 0; mj < (I == J ? mi + 1 : 2 * b->l + 1); mj++, q->n_row++)
                        p->row[r++] = (ks_eri_row){a->ao + mi, b->ao + mj, q->n_tile, n_strip,
                                                   ks_eri_row_place(p, c, a->ao + mi, b->ao + mj)};
                p->n_store += (int64_t)q->n_row * q->n_tile * KS_TILE_ROWS * p->width;
            }
    }
    p->class_pair[KS_N_CLASS] = p->n_pair = n;
    p->n_row                              = r;
done:
    return st;
}

static ks_status make_places(ks_eri_plan *p) {
    ks_status st = KS_OK;
    int32_t   n  = 0;
    for (int32_t q = 0; q < p->n_pair; q++) {
        p->pair[q].place = n;
        n += ks_class_n_fn[p->pair[q].cls];
    }
    KS_TRY(KS_ZNEW(p->place, n));
    for (const ks_eri_pair *q = p->pair; q < p->pair + p->n_pair; q++) {
        const ks_eri_shell *K = &p->shell[q->I], *L = &p->shell[q->J];
        int32_t            *out = p->place + q->place;
        for (int32_t mk = 0; mk < 2 * K->l + 1; mk++)
            for (int32_t ml = 0; ml < 2 * L->l + 1; ml++)
                *out++ = K == L && mk < ml ? -1 : ks_eri_row_place(p, q->cls, K->ao + mk, L->ao + ml);
    }
done:
    return st;
}

static ks_status make_groups(ks_eri_plan *p) {
    ks_status     st    = KS_OK;
    const int32_t lanes = p->isa->lanes, size = GROUP_BLOCKS * lanes;
    KS_TRY(KS_ZNEW(p->group, p->n_pair / size + KS_N_CLASS));
    for (int32_t c = 0; c < KS_N_CLASS; c++) {
        p->class_group[c] = p->n_group;
        for (int32_t q = p->class_pair[c]; q < p->class_pair[c + 1]; q += size) {
            ks_eri_group *g = &p->group[p->n_group++];
            g->first        = q;
            g->n            = p->class_pair[c + 1] - q < size ? p->class_pair[c + 1] - q : size;
            g->n_block      = (g->n + lanes - 1) / lanes;
            g->block        = p->class_block[c];
            p->class_block[c] += g->n_block;
            for (int32_t i = q; i < q + g->n; i++) {
                const int32_t k = p->shell[p->pair[i].I].n_prim * p->shell[p->pair[i].J].n_prim;
                if (k > g->n_prim_max) g->n_prim_max = k;
            }
        }
    }
    p->class_group[KS_N_CLASS] = p->n_group;
done:
    return st;
}

/* Chunks of about equal numbers of stored values, at row boundaries. */
static void make_chunks(ks_eri_plan *p) {
    const int64_t want = p->n_store / (1 << 17);
    int64_t       r = 0, offset = 0;
    p->n_chunk = (int32_t)(want < 1 ? 1 : want > KS_CHUNK_MAX ? KS_CHUNK_MAX : want);
    for (int32_t c = 0; c < p->n_chunk; c++) {
        p->chunk_row[c]    = r;
        p->chunk_offset[c] = offset;
        for (; r < p->n_row && (offset < p->n_store / p->n_chunk * (c + 1) || c == p->n_chunk - 1); r++)
            offset += (int64_t)p->row[r].n_tile * KS_TILE_ROWS * p->width;
    }
    p->chunk_row[p->n_chunk]    = p->n_row;
    p->chunk_offset[p->n_chunk] = p->n_store;
}

ks_status ks_eri_plan_create(const ks_system *sys, ks_eri_plan **out) {
    ks_status    st = KS_OK;
    ks_eri_plan *p  = NULL;
    KS_CHECK(sys->n_ao < 4096, KS_ERR_UNSUPPORTED, "%lld AOs, limit 4095 for stored integrals", (long long)sys->n_ao);
    KS_TRY(KS_ZNEW(p, 1));
    p->isa   = ks_eri_isa_current();
    p->width = p->isa->width;
    KS_TRY(make_shells(sys, p));
    KS_TRY(make_strips(p));
    KS_TRY(make_pairs(p));
    KS_TRY(make_places(p));
    KS_TRY(make_groups(p));
    make_chunks(p);
    *out = p;
    p    = NULL;
done:
    ks_eri_plan_destroy(&p);
    return st;
}

void ks_eri_plan_destroy(ks_eri_plan **pp) {
    if (!pp || !*pp) return;
    ks_eri_plan *p = *pp;
    KS_FREE(p->shell);
    KS_FREE(p->ao_of_ext);
    KS_FREE(p->pair);
    KS_FREE(p->pair_of);
    KS_FREE(p->place);
    KS_FREE(p->row);
    KS_FREE(p->group);
    KS_FREE(p->strip);
    KS_FREE(*pp);
}
