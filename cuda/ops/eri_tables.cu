/* eri_tables.cu -- tables of the two-electron integrals: what depends on the system (host, once), and the pair
 * records of a geometry (device, each build). CPU twin: src/ops/eri_plan.c, eri_pairs.c; formulas:
 * src/pointwise/eri_pair.h.
 *
 * eri_bound_k   the bound of each primitive pair and function
 * eri_record_k  the rank of each primitive pair among those of its shell pair, largest bound first, and its record there
 *
 * Both: a warp has one function of one primitive of the 32 pairs of a block, so that the pairs of a large class do not
 * take longer than those of a small one. All sizes are those of the system: pairs with fewer primitives than the largest
 * of their block, and primitives that cannot matter next to any other pair, get records of zeros with bound 0. The
 * Hermite tables of a thread are indexed at run time and lie in local memory (3 kB, cached): these are not hot kernels.
 *
 * Budget for uracil, def2-SVP, a frame: 6,900 primitive pairs, 1.2 MB of records, 15 MFLOP twice: 10 us when frames fill
 * the device; alone about 20 us, the latency of a few functions. Scratch 1.5 MB a frame. Measured: none yet. Bitwise
 * repeatable, independent of the batch. */
#include <string.h>
#include "eri_cuda.cuh"
#include "ops/boys_table.h"

enum { THREADS = 128 };

/* ---- of a geometry ---- */

/* Place of a warp's work in the classes. */
typedef struct row_place {
    int     cls, row, f;
    int64_t raw; /* its first element in the raw bounds of the frame */
} row_place;

static __host__ __device__ inline int64_t row_functions(const ks_eri_device *d) {
    int64_t n = 0;
    for (int c = 0; c < KS_N_CLASS; c++) n += (int64_t)d->c[c].n_row * KS_CLASS_FN(c);
    return n;
}

static __device__ __forceinline__ row_place find_row(const ks_eri_device *d, int64_t w) {
    int64_t first = 0;
    int     c     = 0;
    while (c + 1 < KS_N_CLASS && w - first >= (int64_t)d->c[c].n_row * KS_CLASS_FN(c)) {
        first += (int64_t)d->c[c].n_row * KS_CLASS_FN(c);
        c++;
    }
    return {c, (int)((w - first) / KS_CLASS_FN(c)), (int)((w - first) % KS_CLASS_FN(c)), w * KS_WARP};
}

/* The primitive pair k of pair q; 0: there is none, or it is below everything. */
static __device__ __forceinline__ int open_prim(const ks_eri_device *d, const double *pos, int cls, int q, int k,
                                                ks_eri_prim_pair *g) {
    const ks_eri_class_cuda *c = &d->c[cls];
    if (q >= c->n_pair) return 0;
    const ks_shell *I = &d->shell[c->pair[2 * q]], *J = &d->shell[c->pair[2 * q + 1]];
    if (k >= I->n_prim * J->n_prim) return 0;
    const double *A = pos + 3 * I->atom, *B = pos + 3 * J->atom;
    const int     ka = I->prim + k / J->n_prim, kb = J->prim + k % J->n_prim;
    const double  a = d->exponent[ka], b = d->exponent[kb];
    const double  ab2 = (A[0] - B[0]) * (A[0] - B[0]) + (A[1] - B[1]) * (A[1] - B[1]) + (A[2] - B[2]) * (A[2] - B[2]);
    const double  cc  = d->coef[ka] * d->coef[kb] * exp(-a * b / (a + b) * ab2);
    if (!(fabs(cc) > KS_ERI_MIN_COEF)) return 0;
    ks_eri_pair_open(cls, a, b, cc, A, B, g);
    return 1;
}

/* raw (frames, rows x functions, 32) */
static __global__ void eri_bound_k(ks_eri_device d, int64_t n_frame, const double *__restrict__ pos,
                                   double *__restrict__ raw) {
    const int64_t n = row_functions(&d), step = (int64_t)gridDim.x * (THREADS / KS_WARP);
    const int     lane = (int)threadIdx.x % KS_WARP;
    for (int64_t w = (int64_t)blockIdx.x * (THREADS / KS_WARP) + threadIdx.x / KS_WARP; w < n * n_frame; w += step) {
        const int64_t            frame = w / n;
        const row_place          at    = find_row(&d, w % n);
        const ks_eri_class_cuda *c     = &d.c[at.cls];
        const int                block = c->row[at.row];
        ks_eri_prim_pair         g;
        double                   x = 0.0;
        if (open_prim(&d, pos + frame * 3 * d.n_atom, at.cls, block * KS_WARP + lane, at.row - c->first[block], &g))
            x = ks_eri_pair_function(at.cls, at.f, &g, 1.0, 1, NULL);
        raw[frame * n * KS_WARP + at.raw + lane] = x;
    }
}

/* Bound of the primitive pair in one row: the largest of its functions, 0 when it cannot matter. from: raw bounds of
 * the row and lane. */
static __device__ __forceinline__ double row_bound(const double *from, int n_fn) {
    double x = 0.0;
    for (int f = 0; f < n_fn; f++)
        if (from[f * KS_WARP] > x) x = from[f * KS_WARP];
    return x < 1e-3 * KS_ERI_CUDA_THRESHOLD ? 0.0 : x;
}

static __global__ void eri_record_k(ks_eri_device d, int64_t n_frame, const double *__restrict__ pos,
                                    const double *__restrict__ raw) {
    const int64_t n = row_functions(&d), step = (int64_t)gridDim.x * (THREADS / KS_WARP);
    const int     lane = (int)threadIdx.x % KS_WARP;
    for (int64_t w = (int64_t)blockIdx.x * (THREADS / KS_WARP) + threadIdx.x / KS_WARP; w < n * n_frame; w += step) {
        const int64_t            frame = w / n;
        const row_place          at    = find_row(&d, w % n);
        const ks_eri_class_cuda *c     = &d.c[at.cls];
        const int                n_fn = KS_CLASS_FN(at.cls), block = c->row[at.row], first = c->first[block];
        const int64_t            fn_step = (int64_t)n_fn * KS_WARP, n_record = KS_ERI_GEOM + KS_CLASS_TERM(at.cls);
        const double            *mine  = raw + frame * n * KS_WARP + at.raw - at.f * KS_WARP + lane;
        const double            *own   = mine - (at.row - first) * fn_step; /* of the block's first row */
        const double             bound = row_bound(mine, n_fn);
        const uint16_t          *start = ks_class_starts(at.cls);
        ks_eri_prim_pair         g;
        int                      rank = 0;
        for (int k = 0; k < c->first[block + 1] - first; k++) {
            const double x = row_bound(own + k * fn_step, n_fn);
            rank += x > bound || (x == bound && k < at.row - first);
        }
        const int64_t row  = frame * c->n_row + first + rank;
        double       *to   = c->record + row * n_record * KS_WARP + lane;
        double       *term = to + (KS_ERI_GEOM + start[at.f]) * KS_WARP;
        if (bound > 0.0 &&
            open_prim(&d, pos + frame * 3 * d.n_atom, at.cls, block * KS_WARP + lane, at.row - first, &g)) {
            (void)ks_eri_pair_function(at.cls, at.f, &g, sqrt(KS_TWO_PI_52), KS_WARP, term);
        } else {
            for (int k = 0; k < start[at.f + 1] - start[at.f]; k++) term[k * KS_WARP] = 0.0;
            g.p    = 1.0; /* any finite geometry */
            g.P[0] = g.P[1] = g.P[2] = 0.0;
        }
        if (at.f == 0) {
            to[0] = g.p;
            for (int x = 0; x < 3; x++) to[(1 + x) * KS_WARP] = g.P[x];
            c->bound[row * KS_WARP + lane] = bound;
        }
    }
}

extern "C" ks_status ks_eri_pairs_cuda(ks_cuda *cu, const ks_eri_device *d, int64_t n_frame, const double *pos,
                                       double *raw) {
    ks_status      st     = KS_OK;
    const int64_t  n      = row_functions(d) * n_frame;
    const unsigned blocks = ks_blocks(n, THREADS / KS_WARP, (int64_t)cu->n_sm * 64);
    KS_LAUNCH(eri_bound_k, blocks, THREADS, 0, cu->stream, *d, n_frame, pos, raw);
    KS_LAUNCHED(cu);
    KS_LAUNCH(eri_record_k, blocks, THREADS, 0, cu->stream, *d, n_frame, pos, raw);
    KS_LAUNCHED(cu);
done:
    return st;
}

/* ---- of the system ---- */

/* Shells in the order of the store: angular momentum, contraction length (long first), PySCF order. */
static ks_status order_shells(const ks_system *sys, ks_shell *shell, int32_t *ao, int32_t *place) {
    ks_status        st = KS_OK;
    const ks_shells *b  = &sys->basis;
    int32_t          n = 0, at = 0, longest = 0;
    for (int64_t s = 0; s < b->n_shell; s++)
        if (b->shell[s].n_prim > longest) longest = b->shell[s].n_prim;
    for (int32_t l = 0; l <= KS_L_MAX; l++)
        for (int32_t k = longest; k > 0; k--)
            for (int64_t s = 0; s < b->n_shell; s++) {
                if (b->shell[s].l != l || b->shell[s].n_prim != k) continue;
                for (int32_t m = 0; m < 2 * l + 1; m++) {
                    ao[at + m]                = b->shell[s].ao + m;
                    place[b->shell[s].ao + m] = at + m;
                }
                shell[n]    = b->shell[s];
                shell[n].ao = at;
                n++;
                at += 2 * l + 1;
            }
    KS_CHECK(n == b->n_shell && at == b->n_ao, KS_ERR_ARG, "eri tables: %d of %lld shells are s, p or d", n,
             (long long)b->n_shell);
done:
    return st;
}

/* Pairs (I, J) of one class, I >= J: contraction lengths outermost, so that the pairs of a block cost about the same,
 * then I, then J, so that their columns in the store are runs. pair NULL: only counted. */
static int32_t list_pairs(int cls, int64_t n_shell, const ks_shell *shell, int32_t *pair) {
    const int la = KS_CLASS_LA(cls), lb = KS_CLASS_LB(cls);
    int32_t   n = 0;
    for (int64_t i0 = 0, i1; i0 < n_shell; i0 = i1) {
        for (i1 = i0; i1 < n_shell && shell[i1].l == shell[i0].l && shell[i1].n_prim == shell[i0].n_prim;) i1++;
        if (shell[i0].l != la) continue;
        for (int64_t j0 = 0, j1; j0 < i1; j0 = j1) {
            for (j1 = j0; j1 < n_shell && shell[j1].l == shell[j0].l && shell[j1].n_prim == shell[j0].n_prim;) j1++;
            if (shell[j0].l != lb) continue;
            for (int64_t i = i0; i < i1; i++)
                for (int64_t j = j0; j < j1 && j <= i; j++, n++) {
                    if (!pair) continue;
                    pair[2 * n]     = (int32_t)i;
                    pair[2 * n + 1] = (int32_t)j;
                }
        }
    }
    return n;
}

/* First row of each block; returns the number of rows. first NULL: only counted. */
static int32_t list_rows(int32_t n_pair, const int32_t *pair, const ks_shell *shell, int32_t *first, int32_t *row) {
    int32_t n = 0;
    for (int32_t b = 0; b * KS_WARP < n_pair; b++) {
        int32_t most = 0;
        for (int32_t q = b * KS_WARP; q < n_pair && q < (b + 1) * KS_WARP; q++) {
            const int32_t k = shell[pair[2 * q]].n_prim * shell[pair[2 * q + 1]].n_prim;
            if (k > most) most = k;
        }
        if (first) {
            first[b]     = n;
            first[b + 1] = n + most;
            for (int32_t k = 0; k < most; k++) row[n + k] = b;
        }
        n += most;
    }
    return n;
}

static ks_status upload(ks_ctx *ctx, ks_eri_tables_cuda *t, int64_t n, size_t size, const void *src, void **out) {
    ks_status st    = KS_OK;
    int64_t   bytes = 0;
    KS_TRY(ks_mul_i64(n, (int64_t)size, &bytes));
    KS_TRY(ks_mem_alloc(ctx, (size_t)bytes, &t->memory[t->n_memory]));
    *out = t->memory[t->n_memory++];
    KS_TRY(ks_mem_to_backend(ctx, *out, src, (size_t)bytes));
done:
    return st;
}

extern "C" ks_status ks_eri_tables_cuda_create(ks_ctx *ctx, const ks_system *sys, ks_eri_tables_cuda **out) {
    ks_status           st    = KS_OK;
    ks_eri_tables_cuda *t     = NULL;
    const ks_shells    *b     = &sys->basis;
    ks_shell           *shell = NULL;
    int32_t            *list = NULL, *pair = NULL, *ints = NULL, *at = NULL;
    int64_t             n = 2 * b->n_ao, n_pair = 0;
    void               *p = NULL;
    KS_CHECK(sys->n_ao < 4096, KS_ERR_UNSUPPORTED, "%lld AOs, limit 4095 for stored integrals", (long long)sys->n_ao);
    KS_TRY(KS_ZNEW(t, 1));
    KS_TRY(KS_NEW(shell, b->n_shell));
    KS_TRY(KS_NEW(t->place, b->n_ao));
    KS_TRY(KS_NEW(list, b->n_ao));
    KS_TRY(order_shells(sys, shell, list, t->place));
    KS_TRY(KS_NEW(pair, b->n_shell * (b->n_shell + 1)));
    for (int c = 0; c < KS_N_CLASS; c++) {
        ks_eri_class_cuda *k = &t->device.c[c];
        k->n_pair            = list_pairs(c, b->n_shell, shell, pair + 2 * n_pair);
        k->n_block           = (k->n_pair + KS_WARP - 1) / KS_WARP;
        k->n_row             = list_rows(k->n_pair, pair + 2 * n_pair, shell, NULL, NULL);
        n_pair += k->n_pair;
        n += 2 * k->n_pair + k->n_block + 1 + k->n_row;
    }
    KS_TRY(KS_ZNEW(ints, n));
    memcpy(ints, list, (size_t)b->n_ao * sizeof *ints);
    memcpy(ints + b->n_ao, t->place, (size_t)b->n_ao * sizeof *ints);
    at = ints + 2 * b->n_ao;
    for (int c = 0; c < KS_N_CLASS; c++) {
        const ks_eri_class_cuda *k = &t->device.c[c];
        (void)list_pairs(c, b->n_shell, shell, at);
        (void)list_rows(k->n_pair, at, shell, at + 2 * k->n_pair, at + 2 * k->n_pair + k->n_block + 1);
        at += 2 * k->n_pair + k->n_block + 1 + k->n_row;
    }
    t->device.n_atom = (int32_t)sys->n_atom;
    KS_TRY(upload(ctx, t, b->n_shell, sizeof *shell, shell, &p));
    t->device.shell = (const ks_shell *)p;
    KS_TRY(upload(ctx, t, b->n_prim, sizeof *b->exponent, b->exponent, &p));
    t->device.exponent = (const double *)p;
    KS_TRY(upload(ctx, t, b->n_prim, sizeof *b->coef, b->coef, &p));
    t->device.coef = (const double *)p;
    KS_TRY(upload(ctx, t, KS_BOYS_TABLE_N, sizeof(double), ks_boys_table(), &p));
    t->device.boys = (const double *)p;
    KS_TRY(upload(ctx, t, n, sizeof *ints, ints, &p));
    t->order = {(const int32_t *)p, (const int32_t *)p + b->n_ao, t->place};
    p        = (int32_t *)p + 2 * b->n_ao;
    for (int c = 0; c < KS_N_CLASS; c++) {
        ks_eri_class_cuda *k = &t->device.c[c];
        k->pair              = (const int32_t *)p;
        k->first             = k->pair + 2 * k->n_pair;
        k->row               = k->first + k->n_block + 1;
        p                    = (int32_t *)p + 2 * k->n_pair + k->n_block + 1 + k->n_row;
    }
    *out = t;
    t    = NULL;
done:
    ks_eri_tables_cuda_destroy(ctx, &t);
    KS_FREE(shell);
    KS_FREE(list);
    KS_FREE(pair);
    KS_FREE(ints);
    return st;
}

extern "C" void ks_eri_tables_cuda_destroy(ks_ctx *ctx, ks_eri_tables_cuda **tables) {
    ks_eri_tables_cuda *t = tables ? *tables : NULL;
    if (!t) return;
    for (int k = 0; k < t->n_memory; k++) ks_mem_free(ctx, &t->memory[k]);
    KS_FREE(t->place);
    KS_FREE(*tables);
}

extern "C" ks_eri_order_cuda ks_eri_tables_cuda_order(const ks_eri_tables_cuda *tables) { return tables->order; }
