/* int1e.cu -- overlap, kinetic energy, nuclear attraction, dipole, and the overlap with the guess functions. CPU twin:
 * src/ops/int1e.c, int1e_lanes.c. Formulas: src/pointwise/int1e_point.h, hermite.h, md_r.h, boys.h. Test:
 * tests/ops/test_int1e.c.
 *   V_ab = sum_primitives 2 pi/p sum_tuv E_tuv sum_C -Z_C R_tuv(p, P - C), and S, T, dip from the same E
 *
 * Mapping. A warp has one (frame, shell pair) and takes four primitive pairs at a time, eight lanes each:
 *   nuclei      lane g of the eight sums R_tuv over the nuclei g, g + 8, ... in registers; three shuffles a (t,u,v)
 *   E           three of the eight lanes, one axis each, into shared memory
 *   products    then all 32 lanes take one Cartesian component pair (ca, cb) each (dd: 36, in two rounds) and go through
 *               the four primitive pairs: sums over primitives stay in a lane
 *   spherical   once at the end, one function pair a lane
 * One launch serves all classes; pairs come in order of falling cost, all frames of a pair side by side, so that long ones
 * start first. The order of all sums depends on the pair alone: bitwise repeatable, and a frame's bits do not depend on
 * its batch. NULL outputs are not made.
 *
 * Shells, pair lists and the Boys rows are copied to the device when a system is met for the first time and kept until
 * the context closes. A system is recognised by what its tables contain, because its address may be used again.
 *
 * Budget, uracil def2-SVP: 1,830 shell pairs, 6,902 primitive pairs, 82,824 times a nucleus: 11 + 3 MFLOP for R and E
 * and 0.5 MB written, so nothing is near a limit of the machine: what counts is the length of the chains, 7 rounds of about
 * 3 us of latency for (5 primitives | 5 primitives): 0.02 ms for one frame, 0.1 ms for 64. Once per geometry, beside a few
 * ms of two-electron integrals. 252 registers (sm_90), no spills. Measured: none yet. */
#include "../common.cuh"
#include <stdlib.h>
#include <string.h>
#include "cuda/backend_cuda.h"
#include "ksgrad/integrals.h"
#include "ops/boys_table.h"
#include "pointwise/boys.h"
#include "pointwise/int1e_point.h"

enum {
    WARPS   = 2,
    GROUP   = 8, /* lanes of a primitive pair */
    N_GROUP = 32 / GROUP,
    L_PAIR  = 2 * KS_L_MAX,
    N_HERM  = KS_N_HERMITE(L_PAIR),
    N_CART2 = KS_CART_MAX * KS_CART_MAX
};

/* What a warp shares: of each primitive pair the axes, p, b, P and the sums over nuclei; later the Cartesian sums. */
typedef struct warp_shared {
    union {
        ks_hermite_axis E[N_GROUP][3];
        double          cart[KS_INT1E_N][N_CART2];
    };
    double w[N_GROUP][N_HERM], p[N_GROUP], b[N_GROUP], P[N_GROUP][3];
} warp_shared;

/* ---- tables of a system ---- */

typedef struct side {
    int64_t         n_shell, n_prim, n_ao;
    const double   *exponent, *coef; /* (n_prim) */
    const ks_shell *shell;           /* (n_shell) */
} side;

/* One list of shell pairs, (n_pair, 2) by falling cost: the basis with itself (a >= b) or with the guess functions. */
typedef struct pair_list {
    int64_t        n_pair;
    const int32_t *pair;
} pair_list;

typedef struct view {
    int64_t       n_atom;
    side          basis, guess;
    const double *charge; /* (n_atom) */
    pair_list     own, cross;
} view;

typedef struct entry {
    struct entry *next;
    char         *host_block, *block; /* the same bytes; the second in device memory */
    view          host, device;
} entry;

struct ks_int1e_cache {
    entry  *first;
    double *boys; /* orders 0..L_PAIR */
};

static char *place(char *base, int64_t *at, int64_t n, size_t size) {
    char *p = base ? base + *at : NULL;
    *at += (n * (int64_t)size + 7) / 8 * 8;
    return p;
}

static void place_side(const ks_shells *s, char *base, int64_t *at, side *v) {
    v->n_shell  = s->n_shell;
    v->n_prim   = s->n_prim;
    v->n_ao     = s->n_ao;
    v->exponent = (const double *)place(base, at, s->n_prim, sizeof(double));
    v->coef     = (const double *)place(base, at, s->n_prim, sizeof(double));
    v->shell    = (const ks_shell *)place(base, at, s->n_shell, sizeof(ks_shell));
}

/* Pointers into a block at base (NULL: none); its size. */
static int64_t layout(const ks_system *sys, char *base, view *v) {
    int64_t at = 0;
    v->n_atom  = sys->n_atom;
    v->charge  = (const double *)place(base, &at, sys->n_atom, sizeof(double));
    place_side(&sys->basis, base, &at, &v->basis);
    place_side(&sys->guess, base, &at, &v->guess);
    v->own.n_pair   = sys->basis.n_shell * (sys->basis.n_shell + 1) / 2;
    v->own.pair     = (const int32_t *)place(base, &at, 2 * v->own.n_pair, sizeof(int32_t));
    v->cross.n_pair = sys->basis.n_shell * sys->guess.n_shell;
    v->cross.pair   = (const int32_t *)place(base, &at, 2 * v->cross.n_pair, sizeof(int32_t));
    return at;
}

static int side_is_same(const side *v, const ks_shells *s) {
    return v->n_shell == s->n_shell && v->n_prim == s->n_prim && v->n_ao == s->n_ao &&
           (s->n_shell == 0 || (!memcmp(v->shell, s->shell, (size_t)s->n_shell * sizeof *s->shell) &&
                                !memcmp(v->exponent, s->exponent, (size_t)s->n_prim * sizeof(double)) &&
                                !memcmp(v->coef, s->coef, (size_t)s->n_prim * sizeof(double))));
}

static int is_same(const view *v, const ks_system *sys) {
    if (v->n_atom != sys->n_atom || !side_is_same(&v->basis, &sys->basis) || !side_is_same(&v->guess, &sys->guess))
        return 0;
    for (int64_t i = 0; i < sys->n_atom; i++)
        if (v->charge[i] != sys->Z[i]) return 0;
    return 1;
}

typedef struct cost {
    int32_t a, b;
    int64_t cost;
} cost;

static int by_cost(const void *x, const void *y) {
    const cost *p = (const cost *)x, *q = (const cost *)y;
    if (p->cost != q->cost) return p->cost > q->cost ? -1 : 1;
    return p->a != q->a ? (p->a > q->a) - (p->a < q->a) : (p->b > q->b) - (p->b < q->b);
}

/* Rounds of a warp times what a round does: R_tuv and component pairs. */
static int64_t cost_of(const ks_shell *a, const ks_shell *b) {
    const int64_t L = a->l + b->l;
    return (a->n_prim * b->n_prim + N_GROUP - 1) / N_GROUP * (4 + (L + 1) * (L + 2) * (L + 3) / 6);
}

static void fill_pairs(const side *bra, const side *ket, int symmetric, cost *tmp, int32_t *pair) {
    int64_t n = 0;
    for (int32_t a = 0; a < bra->n_shell; a++)
        for (int32_t b = 0; b < (symmetric ? a + 1 : ket->n_shell); b++) {
            tmp[n].a      = a;
            tmp[n].b      = b;
            tmp[n++].cost = cost_of(&bra->shell[a], &ket->shell[b]);
        }
    qsort(tmp, (size_t)n, sizeof *tmp, by_cost);
    for (int64_t i = 0; i < n; i++) {
        pair[2 * i]     = tmp[i].a;
        pair[2 * i + 1] = tmp[i].b;
    }
}

static void fill_side(const ks_shells *s, const side *v) {
    if (s->n_shell == 0) return;
    memcpy((void *)v->exponent, s->exponent, (size_t)s->n_prim * sizeof(double));
    memcpy((void *)v->coef, s->coef, (size_t)s->n_prim * sizeof(double));
    memcpy((void *)v->shell, s->shell, (size_t)s->n_shell * sizeof *s->shell);
}

static void entry_close(ks_cuda *cu, entry *e) {
    if (!e) return;
    if (e->block) ks_cuda_free(cu, e->block);
    KS_FREE(e->host_block);
    KS_FREE(e);
}

static ks_status entry_open(ks_ctx *ctx, const ks_system *sys, entry **out) {
    ks_status     st  = KS_OK;
    ks_cuda      *cu  = ks_cuda_of(ctx);
    entry        *e   = NULL;
    cost         *tmp = NULL;
    view          v;
    const int64_t bytes = layout(sys, NULL, &v), most = v.own.n_pair > v.cross.n_pair ? v.own.n_pair : v.cross.n_pair;
    KS_TRY(KS_ZNEW(e, 1));
    KS_TRY(KS_NEW(tmp, most));
    KS_TRY(ks_host_alloc(bytes, 1, (void **)&e->host_block));
    memset(e->host_block, 0, (size_t)bytes);
    (void)layout(sys, e->host_block, &e->host);
    for (int64_t i = 0; i < sys->n_atom; i++) ((double *)e->host.charge)[i] = sys->Z[i];
    fill_side(&sys->basis, &e->host.basis);
    fill_side(&sys->guess, &e->host.guess);
    fill_pairs(&e->host.basis, &e->host.basis, 1, tmp, (int32_t *)e->host.own.pair);
    fill_pairs(&e->host.basis, &e->host.guess, 0, tmp, (int32_t *)e->host.cross.pair);
    KS_TRY(ks_mem_alloc(ctx, (size_t)bytes, (void **)&e->block));
    KS_TRY(ks_mem_to_backend(ctx, e->block, e->host_block, (size_t)bytes));
    (void)layout(sys, e->block, &e->device);
    KS_CUDA_CHECK(cudaStreamSynchronize(cu->stream)); /* once a system: other branches may use the tables next */
    *out = e;
    e    = NULL;
done:
    KS_FREE(tmp);
    entry_close(cu, e);
    return st;
}

static ks_status cache_open(ks_ctx *ctx) {
    ks_status              st    = KS_OK;
    ks_cuda               *cu    = ks_cuda_of(ctx);
    struct ks_int1e_cache *c     = NULL;
    const size_t           bytes = (size_t)KS_BOYS_FIRST(L_PAIR + 1) * KS_BOYS_ROW * sizeof(double);
    KS_TRY(KS_ZNEW(c, 1));
    KS_TRY(ks_mem_alloc(ctx, bytes, (void **)&c->boys));
    KS_TRY(ks_mem_to_backend(ctx, c->boys, ks_boys_table(), bytes));
    KS_CUDA_CHECK(cudaStreamSynchronize(cu->stream));
    cu->int1e = c;
    c         = NULL;
done:
    if (c && c->boys) ks_cuda_free(cu, c->boys);
    KS_FREE(c);
    return st;
}

static ks_status tables_of(ks_ctx *ctx, const ks_system *sys, const view **out) {
    ks_status st = KS_OK;
    ks_cuda  *cu = ks_cuda_of(ctx);
    entry    *e  = NULL;
    if (!cu->int1e) KS_TRY(cache_open(ctx));
    for (e = cu->int1e->first; e && !is_same(&e->host, sys);) e = e->next;
    if (!e) {
        KS_TRY(entry_open(ctx, sys, &e));
        e->next          = cu->int1e->first;
        cu->int1e->first = e;
    }
    *out = &e->device;
done:
    return st;
}

extern "C" void ks_int1e_close_cuda(void *state) {
    ks_cuda               *cu = (ks_cuda *)state;
    struct ks_int1e_cache *c  = cu->int1e;
    if (!c) return;
    for (entry *e = c->first, *next; e; e = next) {
        next = e->next;
        entry_close(cu, e);
    }
    ks_cuda_free(cu, c->boys);
    KS_FREE(cu->int1e);
}

/* ---- kernel ---- */

typedef struct job {
    side          bra, ket;
    pair_list     list;
    int64_t       n_frame, n_atom;
    const double *charge, *boys;
    int           symmetric; /* the list has a >= b only: both triangles are written */
} job;

typedef struct outputs {
    double *a[4]; /* S, T, V (B, n, m), dip (B, 3, n, m) */
} outputs;

/* w (compact order) = sum_C -Z_C R_tuv(p, P - C); lane g of a group of GROUP lanes takes every GROUP-th nucleus. All
 * lanes of the warp come here. */
template <int L>
static __device__ __forceinline__ void nuclei(const job *c, const double *pos, int g, double p, const double P[3],
                                              double *w) {
    double        acc[KS_N_HERMITE(L)], r[KS_N_HERMITE(L)], base[L + 1];
    const double *table = c->boys + KS_BOYS_FIRST(L) * KS_BOYS_ROW;
    KS_UNROLL
    for (int h = 0; h < KS_N_HERMITE(L); h++) acc[h] = 0.0;
    for (int64_t a = g; a < c->n_atom; a += GROUP) {
        const double x = P[0] - pos[3 * a], y = P[1] - pos[3 * a + 1], z = P[2] - pos[3 * a + 2];
        double       f = -c->charge[a];
        ks_boys(L, table, p * (x * x + y * y + z * z), base);
        KS_UNROLL
        for (int n = 0; n <= L; n++, f *= -2.0 * p) base[n] *= f;
        ks_md_r(L, base, x, y, z, r);
        KS_UNROLL
        for (int h = 0; h < KS_N_HERMITE(L); h++) acc[h] += r[h];
    }
    KS_UNROLL
    for (int h = 0; h < KS_N_HERMITE(L); h++) {
        for (int step = GROUP / 2; step > 0; step /= 2) acc[h] += __shfl_xor_sync(0xffffffffu, acc[h], step);
        if (g == 0) w[h] = acc[h];
    }
}

static __device__ __forceinline__ void nuclei_of(int L, const job *c, const double *pos, int g, double p,
                                                 const double P[3], double *w) {
    switch (L) {
    case 0:
        nuclei<0>(c, pos, g, p, P, w);
        break;
    case 1:
        nuclei<1>(c, pos, g, p, P, w);
        break;
    case 2:
        nuclei<2>(c, pos, g, p, P, w);
        break;
    case 3:
        nuclei<3>(c, pos, g, p, P, w);
        break;
    default:
        nuclei<4>(c, pos, g, p, P, w);
        break;
    }
}

/* Spherical block of output k of cart into out (n, m) of one frame. */
static __device__ __forceinline__ void store_block(const job *c, const ks_shell *sa, const ks_shell *sb,
                                                   const double *cart, double *out) {
    const int lane = (int)threadIdx.x % 32, nb = 2 * sb->l + 1, ma = lane / nb, mb = lane % nb;
    if (ma > 2 * sa->l) return;
    const int64_t row = sa->ao + ma, col = sb->ao + mb;
    const double  v = ks_int1e_spherical(sa->l, sb->l, ma, mb, cart);
    if (!c->symmetric) out[row * c->ket.n_ao + col] = v;
    else if (row >= col) out[row * c->ket.n_ao + col] = out[col * c->ket.n_ao + row] = v;
}

static __global__ void __launch_bounds__(32 * WARPS) int1e_k(job c, const double *__restrict__ pos_all, outputs out) {
    KS_SHARED(warp_shared, shared, WARPS);
    const int     lane = (int)threadIdx.x % 32, q = lane / GROUP, g = lane % GROUP;
    const int64_t task = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    warp_shared  *s    = shared + threadIdx.x / 32;
    if (task >= c.list.n_pair * c.n_frame) return; /* whole warps; there is no barrier of the block */
    const int64_t  pair = task / c.n_frame, frame = task % c.n_frame;
    const ks_shell sa = c.bra.shell[c.list.pair[2 * pair]], sb = c.ket.shell[c.list.pair[2 * pair + 1]];
    const double  *pos = pos_all + 3 * frame * c.n_atom, *A = pos + 3 * sa.atom, *B = pos + 3 * sb.atom;
    const double   dx = A[0] - B[0], dy = A[1] - B[1], dz = A[2] - B[2], ab2 = dx * dx + dy * dy + dz * dz;
    const int      nb = (sb.l + 1) * (sb.l + 2) / 2, n_cart = (sa.l + 1) * (sa.l + 2) / 2 * nb;
    const int      n_prim = sa.n_prim * sb.n_prim, want_t = out.a[1] != NULL, want_v = out.a[2] != NULL;
    double         sum[2][KS_INT1E_N];
    int            i[2][3], j[2][3];
    KS_UNROLL
    for (int h = 0; h < 2; h++) { /* the lane's component pairs, lane and lane + 32 */
        const int k = lane + 32 * h < n_cart ? lane + 32 * h : 0;
        ks_cart_power(sa.l, k / nb, i[h]);
        ks_cart_power(sb.l, k % nb, j[h]);
        for (int o = 0; o < KS_INT1E_N; o++) sum[h][o] = 0.0;
    }
    for (int first = 0; first < n_prim; first += N_GROUP) {
        const int k = first + q < n_prim ? first + q : n_prim - 1, ka = sa.prim + k / sb.n_prim,
                  kb   = sb.prim + k % sb.n_prim;
        const double a = c.bra.exponent[ka], b = c.ket.exponent[kb], p = a + b;
        const double e    = c.bra.coef[ka] * c.ket.coef[kb] * exp(-a * b / p * ab2);
        const double P[3] = {(a * A[0] + b * B[0]) / p, (a * A[1] + b * B[1]) / p, (a * A[2] + b * B[2]) / p};
        if (g < 3) {
            const double d = g == 0 ? dx : g == 1 ? dy : dz;
            s->P[q][g]     = g == 0 ? P[0] : g == 1 ? P[1] : P[2];
            ks_hermite_e(sa.l, sb.l + 2 * want_t, p, -b / p * d, a / p * d, g == 0 ? e : 1.0, s->E[q][g]);
        } else if (g == 3) {
            s->p[q] = p;
            s->b[q] = b;
        }
        if (want_v) nuclei_of(sa.l + sb.l, &c, pos, g, p, P, s->w[q]);
        __syncwarp();
        KS_UNROLL
        for (int h = 0; h < 2; h++)
            for (int m = 0; m < N_GROUP && first + m < n_prim && lane + 32 * h < n_cart; m++)
                ks_int1e_component(i[h], j[h], s->b[m], s->p[m], s->P[m], s->E[m], want_v ? s->w[m] : NULL, want_t,
                                   sum[h]);
        __syncwarp();
    }
    KS_UNROLL
    for (int h = 0; h < 2; h++)
        for (int o = 0; o < KS_INT1E_N; o++)
            if (lane + 32 * h < n_cart) s->cart[o][lane + 32 * h] = sum[h][o];
    __syncwarp();
    const int64_t n2 = c.bra.n_ao * c.ket.n_ao;
    for (int o = 0; o < KS_INT1E_N; o++) {
        double *to = out.a[o < 3 ? o : 3];
        if (to) store_block(&c, &sa, &sb, s->cart[o], to + (o < 3 ? frame : 3 * frame + o - 3) * n2);
    }
}

static ks_status run(ks_ctx *ctx, const job *c, const double *pos, const outputs *out) {
    ks_status     st      = KS_OK;
    ks_cuda      *cu      = ks_cuda_of(ctx);
    const int64_t n_block = (c->list.n_pair * c->n_frame + WARPS - 1) / WARPS;
    KS_CHECK(n_block <= INT32_MAX, KS_ERR_UNSUPPORTED,
             "int1e on backend cuda: %lld shell pairs of %lld frames in a call", (long long)c->list.n_pair,
             (long long)c->n_frame);
    if (n_block == 0) goto done;
    KS_LAUNCH(int1e_k, (unsigned)n_block, 32 * WARPS, 0, cu->stream, *c, pos, *out);
    KS_LAUNCHED(cu);
done:
    return st;
}

extern "C" ks_status ks_int1e_cuda(ks_ctx *ctx, const ks_system *sys, int64_t n_frame, const double *pos, double *S,
                                   double *T, double *V, double *dip) {
    ks_status     st  = KS_OK;
    const view   *t   = NULL;
    const outputs out = {{S, T, V, dip}};
    job           c;
    if (!S && !T && !V && !dip) return KS_OK;
    KS_TRY(tables_of(ctx, sys, &t));
    c = {t->basis, t->basis, t->own, n_frame, t->n_atom, t->charge, ks_cuda_of(ctx)->int1e->boys, 1};
    KS_TRY(run(ctx, &c, pos, &out));
done:
    return st;
}

extern "C" ks_status ks_int1e_guess_cuda(ks_ctx *ctx, const ks_system *sys, int64_t n_frame, const double *pos,
                                         double *S12) {
    ks_status     st  = KS_OK;
    const view   *t   = NULL;
    const outputs out = {{S12, NULL, NULL, NULL}};
    job           c;
    KS_TRY(tables_of(ctx, sys, &t));
    c = {t->basis, t->guess, t->cross, n_frame, t->n_atom, t->charge, ks_cuda_of(ctx)->int1e->boys, 0};
    KS_TRY(run(ctx, &c, pos, &out));
done:
    return st;
}
