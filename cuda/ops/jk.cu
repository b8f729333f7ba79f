/* jk.cu -- Coulomb and exchange matrices from the stored integrals. CPU twin: src/ops/jk_cpu.c, jk_lanes.c.
 * Test: tests/ops/test_jk.c, tests/gpu/test_jk_store.c.
 *
 * With v = (ik|jl), halved for i = k, for j = l and for equal pairs, and D made symmetric, one pass over the values
 * i >= k, j >= l, (ik) >= (jl) gives
 *   Y_ik += 2 v D_jl   Y_jl += 2 v D_ik                                             J = Y + Y^T
 *   X_ij += v D_kl   X_il += v D_kj   X_kj += v D_il   X_kl += v D_ij               K = X + X^T
 * Both maps are symmetric, so that the adjoint is the same pass.
 *
 * Bytes of the store for a frame of n AOs, N = n (n + 1) / 2 pairs (uracil: n = 132, 8 N^2 = 617 MB), and the choice:
 *   rows ik for all k, a block an i, K_i only:      each row twice        16 N^2   1.23 GB   0.29 ms at 4.3 TB/s
 *   rows once, K_i and K_k and J_ik from whole rows: no partial sums of J   8 N^2   617 MB    0.14 ms
 *   rows once, kl <= ij of each (this file):                                4 N^2   308 MB    0.07 ms
 * The last needs the transposed half of J, Y_jl, and leaves it as partial sums, 1/16 of what is read (below).
 *
 * Mapping. A block has 4 x 4 rows, i of one group of four and k of another, k <= i; its warps take j in turn, a lane
 * one l of a tile of 32. So a warp reads 16 pieces of 256 bytes at a time, and for its 16 values a lane keeps
 *   X_i. and X_k. at l      8 sums in registers over j
 *   X_i. and X_k. at j      8 sums over the lanes: one reduction of 8 values for 16 rows
 *   Y_ik                   16 sums in registers over everything
 *   Y_jl                    one sum over the 16 rows, written to the block's partial sums
 * D_i. and D_k. lie in shared memory. A second kernel adds the blocks' sums in the order of the blocks. No atomics; the
 * order depends on n only, so a frame's bits do not depend on its batch, and J or K alone has the bits of both. One or two
 * densities in one pass; more, in several.
 *
 * Budget, uracil, a frame and density: 561 blocks (B = 1: 4.25 a SM; the largest come first). Bytes: 308 MB of the store,
 * up to 1/8 more where pieces of 256 bytes begin within a sector, 2 x 20 MB of Y_jl and 2 x 5 MB of X: 395 MB, 0.092 ms.
 * 6 multiply-adds a value, 0.46 GFLOP: 0.014 ms; about 20 issue slots a value and warp (multiply-adds 12, reduction 5,
 * loads 3) of the 42 that the memory leaves. Sums: 0.005 ms. A frame alone is held up by its largest blocks, 85 steps of
 * a warp, each a memory latency and four warps' turns, about 0.1 ms. 128 registers on sm_90 (two densities: 255), no
 * spills. Measured: none yet. */
#include "integrals_cuda.cuh"
#include "core/lane.h"

enum {
    T       = 4, /* rows of a block: T values of i, T of k */
    ROWS    = T * T,
    IDX     = 2 * T, /* vectors of X of a block: T for i, then T for k */
    WARPS   = 4,
    THREADS = 32 * WARPS,
    PARTS   = 8,        /* of the sums over blocks */
    WORK    = 128 << 20 /* bytes of partial sums at a time, or what one frame needs */
};

/* Of one call; offsets in doubles from the start of an item = (frame, density). Tiles of rows: (I, K), K <= I < n_group,
 * at I (I + 1) / 2 + K. */
typedef struct jk_shape {
    int64_t n, n_pair, ld;
    int64_t n_group, n_tile;
    int64_t x; /* (n_tile, IDX, n): X by tiles; columns above the tile's last i are not written */
    int64_t y; /* Y_jl by tiles, at y_place: pairs up to the tile's last i */
    int64_t r; /* (n_pair) Y_ik */
    int64_t item;
} jk_shape;

/* Pairs jl with j in the groups 0..I. */
static __host__ __device__ inline int64_t group_pairs(int64_t I) { return 2 * (I + 1) * (4 * I + 5); }
/* sum of (h + 1) group_pairs(h), h < I: where Y of tile (I, 0) starts. */
static __host__ __device__ inline int64_t y_place(int64_t I) {
    return 2 * I * I * (I + 1) * (I + 1) + I * (I + 1) * (2 * I + 1) / 3;
}

/* Largest a with a (a + 1) / 2 <= p. */
static __device__ inline int64_t triangle_row(int64_t p) {
    int64_t a = (int64_t)((sqrt(8.0 * (double)p + 1.0) - 1.0) * 0.5);
    while (a * (a + 1) / 2 > p) a--;
    while ((a + 1) * (a + 2) / 2 <= p) a++;
    return a;
}

/* out = (in + in^T) / 2 in the order of the store, matrices (n, n) */
static __global__ void jk_sym_k(int64_t n, const int32_t *__restrict__ ao, const double *__restrict__ in,
                                double *__restrict__ out) {
    const int64_t at = (int64_t)blockIdx.y * n * n;
    KS_GRID_STRIDE(e, n * n) {
        const int64_t i = ao[e / n], j = ao[e % n];
        out[at + e] = 0.5 * (in[at + i * n + j] + in[at + j * n + i]);
    }
}

/* N sums over the lanes, N a power of two: in the end v[0] of a lane is the sum number lane / (32 / N). */
template <int N, int BIT = 16> static __device__ __forceinline__ void sum_lanes(double *v) {
    if constexpr (N > 1) { /* half of the lanes go on with half of the sums */
        const int upper = (int)threadIdx.x & BIT;
        KS_UNROLL
        for (int q = 0; q < N / 2; q++) {
            const double lo = v[q], hi = v[q + N / 2];
            v[q] = (upper ? hi : lo) + __shfl_xor_sync(0xffffffffu, upper ? lo : hi, BIT);
        }
        sum_lanes<N / 2, BIT / 2>(v);
    } else if constexpr (BIT > 0) {
        v[0] += __shfl_xor_sync(0xffffffffu, v[0], BIT);
        sum_lanes<1, BIT / 2>(v);
    }
}

/* Where a thread stands in its tile. */
typedef struct jk_place {
    const double *row[T]; /* of (i, k0), column 0 */
    int64_t       ld;
    int           i0, k0, n;
} jk_place;

/* The values of 16 rows at column (j, l). edge: rows or columns may be absent or diagonal. */
static __device__ __forceinline__ void load_values(const jk_place *at, int j, int l, int edge, double v[T][T]) {
    const int p = j * (j + 1) / 2 + l;
    KS_UNROLL
    for (int a = 0; a < T; a++) {
        KS_UNROLL
        for (int c = 0; c < T; c++) {
            double f = 1.0;
            if (edge) {
                const int i = at->i0 + a, k = at->k0 + c, q = i * (i + 1) / 2 + k;
                f = l <= j && k <= i && i < at->n && p <= q ? 1.0 : 0.0;
                if (l == j) f *= 0.5;
                if (k == i) f *= 0.5;
                if (p == q) f *= 0.5;
            }
            v[a][c] = 0.0;
            if (f > 0.0) v[a][c] = __ldcs(at->row[a] + c * at->ld + p);
            if (edge) v[a][c] *= f;
        }
    }
}

/* ND densities of items first.. of a frame. DJ, DK (frame, density, n, n), symmetric. */
template <int ND, int WANT_J, int WANT_K>
static __global__ void __launch_bounds__(THREADS, ND > 1 ? 2 : 3 + WANT_J)
    jk_rows_k(jk_shape s, int64_t n_dm, int64_t first, const double *__restrict__ store,
              const int32_t *__restrict__ slot, const double *__restrict__ DJ, const double *__restrict__ DK,
              double *__restrict__ part) {
    KS_SHARED_DYNAMIC(double, shared);
    enum { N_TILE = ND * ROWS, N_WARP = WARPS * N_TILE };
    KS_SHARED(double, d_tile, N_TILE);
    KS_SHARED(double, r_warp, N_WARP);
    const int     lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, n = (int)s.n;
    const int64_t frame = blockIdx.y, tile = s.n_tile - 1 - (int64_t)blockIdx.x, I = triangle_row(tile),
                  K = tile - I * (I + 1) / 2, item = frame * n_dm + first, nn = s.n * s.n;
    const int i0 = (int)(T * I), k0 = (int)(T * K), last = i0 + T < n ? i0 + T - 1 : n - 1;
    const int whole = K < I && i0 + T <= n;      /* no row is absent or diagonal */
    double   *d = shared, *x = d + ND * n * IDX; /* D_i., D_k. and X at j: (ND, n, IDX) */
    double   *xb = x + ND * n * IDX;             /* X at l: (ND, WARPS, IDX, 32) */
    double    r[ND][ROWS], b[ND][IDX], dl[ND][IDX];
    jk_place  at;

    at.ld = s.ld;
    at.i0 = i0;
    at.k0 = k0;
    at.n  = n;
    for (int a = 0; a < T; a++) {
        const int64_t i = i0 + a < n ? i0 + a : n - 1;
        at.row[a]       = store + ((slot ? slot[frame] : frame) * s.n_pair + i * (i + 1) / 2 + k0) * s.ld;
    }
    KS_UNROLL
    for (int m = 0; m < ND; m++) {
        if (WANT_J && threadIdx.x < ROWS) {
            const int i = i0 + (int)threadIdx.x / T, k = k0 + (int)threadIdx.x % T;
            d_tile[m * ROWS + threadIdx.x] = i < n && k < n ? DJ[(item + m) * nn + i * n + k] : 0.0;
        }
        for (int e = (int)threadIdx.x; WANT_K && e < n * IDX; e += THREADS) {
            const int q = e / n, j = e % n, i = q < T ? i0 + q : k0 + q - T;
            d[(m * n + j) * IDX + q] = i < n ? DK[(item + m) * nn + i * n + j] : 0.0;
            x[m * n * IDX + e]       = 0.0;
        }
        KS_UNROLL
        for (int q = 0; q < ROWS; q++) r[m][q] = 0.0;
    }
    __syncthreads();
    for (int l0 = 0; l0 <= last; l0 += 32) {
        const int l = l0 + lane;
        KS_UNROLL
        for (int m = 0; m < ND; m++) {
            KS_UNROLL
            for (int q = 0; q < IDX; q++) {
                b[m][q]  = 0.0;
                dl[m][q] = WANT_K && l < n ? d[(m * n + l) * IDX + q] : 0.0;
            }
        }
        for (int j = l0 + warp; j <= last; j += WARPS) { /* a j has one warp for all l */
            double v[T][T];
            if (whole && j >= l0 + 32 && j < i0) load_values(&at, j, l, 0, v);
            else load_values(&at, j, l, 1, v);
            KS_UNROLL
            for (int m = 0; m < ND; m++) {
                if (WANT_J) {
                    const double djl = l <= j ? DJ[(item + m) * nn + j * n + l] : 0.0;
                    double       y   = 0.0;
                    KS_UNROLL
                    for (int q = 0; q < ROWS; q++) {
                        y += v[q / T][q % T] * d_tile[m * ROWS + q];
                        r[m][q] += v[q / T][q % T] * djl;
                    }
                    if (l <= j)
                        part[(item + m) * s.item + s.y + y_place(I) + K * group_pairs(I) + j * (j + 1) / 2 + l] = y;
                }
                if (WANT_K) {
                    const double *dj = d + (m * n + j) * IDX;
                    double        a[IDX];
                    KS_UNROLL
                    for (int q = 0; q < IDX; q++) a[q] = 0.0;
                    KS_UNROLL
                    for (int q = 0; q < ROWS; q++) {
                        const double u  = v[q / T][q % T];
                        const int    qi = q / T, qk = T + q % T;
                        a[qi] += u * dl[m][qk];
                        a[qk] += u * dl[m][qi];
                        b[m][qi] += u * dj[qk];
                        b[m][qk] += u * dj[qi];
                    }
                    sum_lanes<IDX>(a);
                    if (lane % (32 / IDX) == 0) x[(m * n + j) * IDX + lane / (32 / IDX)] += a[0];
                }
            }
        }
        if (WANT_K) { /* X of this tile of l is complete: later ones have larger j only */
            KS_UNROLL
            for (int m = 0; m < ND; m++) {
                KS_UNROLL
                for (int q = 0; q < IDX; q++) xb[((m * WARPS + warp) * IDX + q) * 32 + lane] = b[m][q];
            }
            __syncthreads();
            for (int e = (int)threadIdx.x; e < ND * IDX * 32; e += THREADS) {
                const int m = e / (IDX * 32), q = e / 32 % IDX;
                if (l <= last) {
                    double sum = x[(m * n + l) * IDX + q];
                    for (int w = 0; w < WARPS; w++) sum += xb[((m * WARPS + w) * IDX + q) * 32 + lane];
                    part[(item + m) * s.item + s.x + (tile * IDX + q) * n + l] = sum;
                }
            }
            __syncthreads();
        }
    }
    if (WANT_J) {
        KS_UNROLL
        for (int m = 0; m < ND; m++) {
            sum_lanes<ROWS>(r[m]);
            if (lane % (32 / ROWS) == 0) r_warp[(m * WARPS + warp) * ROWS + lane / (32 / ROWS)] = r[m][0];
        }
        __syncthreads();
        for (int e = (int)threadIdx.x; e < ND * ROWS; e += THREADS) {
            const int     m = e / ROWS, q = e % ROWS;
            const int64_t i = i0 + q / T, k = k0 + q % T;
            double        sum = 0.0;
            for (int w = 0; w < WARPS; w++) sum += r_warp[(m * WARPS + w) * ROWS + q];
            if (i < n && k <= i) part[(item + m) * s.item + s.r + i * (i + 1) / 2 + k] = sum;
        }
    }
}

/* X_ij of the tiles whose vectors hold row i, those with (number of the tile in that list) % PARTS == g. */
static __device__ __forceinline__ double sum_x(const jk_shape *s, const double *X, int64_t i, int64_t j, int64_t g) {
    const int64_t I = i / T, J = j / T;
    double        sum = 0.0;
    if (J <= I)
        for (int64_t K = g; K <= I; K += PARTS) sum += X[((I * (I + 1) / 2 + K) * IDX + i % T) * s->n + j];
    for (int64_t L = (I > J ? I : J) + g; L < s->n_group; L += PARTS)
        sum += X[((L * (L + 1) / 2 + I) * IDX + T + i % T) * s->n + j];
    return sum;
}

/* J and K (or both into one array) from the tiles' sums: 32 pairs a block, PARTS warps share the tiles. */
template <int WANT_J, int WANT_K>
static __global__ void __launch_bounds__(32 * PARTS)
    jk_sum_k(jk_shape s, const int32_t *__restrict__ ao, const double *__restrict__ part, int add, double *J,
             double *K) {
    KS_SHARED(double, sums, 3 * PARTS * 32);
    const int     lane = (int)threadIdx.x % 32, g = (int)threadIdx.x / 32;
    const int64_t item = blockIdx.y, p = (int64_t)blockIdx.x * 32 + lane;
    const int64_t a = triangle_row(p), b = p - a * (a + 1) / 2;
    const double *mine = part + item * s.item;
    double        t[3] = {0.0, 0.0, 0.0};
    if (p < s.n_pair) {
        for (int64_t I = a / T + g; WANT_J && I < s.n_group; I += PARTS) {
            const double *y = mine + s.y + y_place(I) + p;
            for (int64_t L = 0; L <= I; L++) t[0] += y[L * group_pairs(I)];
        }
        if (WANT_K) {
            t[1] = sum_x(&s, mine + s.x, a, b, g);
            t[2] = sum_x(&s, mine + s.x, b, a, g);
        }
    }
    for (int c = 0; c < 3; c++) sums[(c * PARTS + g) * 32 + lane] = t[c];
    __syncthreads();
    if (g == 0 && p < s.n_pair) {
        const int64_t i = ao[a], j = ao[b], ab = item * s.n * s.n + i * s.n + j, ba = item * s.n * s.n + j * s.n + i;
        for (int h = 1; h < PARTS; h++)
            for (int c = 0; c < 3; c++) t[c] += sums[(c * PARTS + h) * 32 + lane];
        if (WANT_J) {
            const double v = (a == b ? 4.0 : 2.0) * (mine[s.r + p] + t[0]), old = add ? J[ab] : 0.0,
                         old_t = add ? J[ba] : 0.0;
            J[ab]              = old + v;
            if (a != b) J[ba] = old_t + v;
        }
        if (WANT_K) {
            const double v = t[1] + t[2], old = add ? K[ab] : 0.0, old_t = add ? K[ba] : 0.0;
            K[ab] = old + v;
            if (a != b) K[ba] = old_t + v;
        }
    }
}

static jk_shape shape_of(const ks_eri_cuda *e, int want_j, int want_k) {
    jk_shape s = {};
    s.n        = e->n_ao;
    s.n_pair   = e->n_pair;
    s.ld       = e->ld;
    s.n_group  = (s.n + T - 1) / T;
    s.n_tile   = s.n_group * (s.n_group + 1) / 2;
    s.y        = want_k ? s.n_tile * IDX * s.n : 0;
    s.r        = s.y + (want_j ? y_place(s.n_group) : 0);
    s.item     = s.r + (want_j ? s.n_pair : 0);
    return s;
}

template <int ND, int WANT_J, int WANT_K>
static ks_status launch_rows(ks_cuda *cu, const jk_shape *s, const double *store, const int32_t *slot, int64_t n_frame,
                             int64_t n_dm, int64_t first, const double *DJ, const double *DK, double *part) {
    ks_status     st     = KS_OK;
    const int64_t shared = WANT_K ? ND * (2 * s->n + 32 * WARPS) * IDX * (int64_t)sizeof(double) : 0, limit = 220 << 10;
    KS_CHECK(shared <= limit, KS_ERR_UNSUPPORTED, "jk on backend cuda: %lld AOs, limit %lld", (long long)s->n,
             (long long)(limit / (2 * ND * IDX * (int64_t)sizeof(double)) - 16 * WARPS));
    KS_CUDA_CHECK(
        cudaFuncSetAttribute(jk_rows_k<ND, WANT_J, WANT_K>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared));
    KS_LAUNCH((jk_rows_k<ND, WANT_J, WANT_K>), dim3((unsigned)s->n_tile, (unsigned)n_frame), THREADS, (size_t)shared,
              cu->stream, *s, n_dm, first, store, slot, DJ, DK, part);
    KS_LAUNCHED(cu);
done:
    return st;
}

template <int WANT_J, int WANT_K>
static ks_status run_group(ks_cuda *cu, const jk_shape *s, const double *store, const int32_t *slot, int64_t n_frame,
                           int64_t n_dm, const double *DJ, const double *DK, const int32_t *ao, int add, double *part,
                           double *J, double *K) {
    ks_status st = KS_OK;
    int64_t   m  = 0;
    for (; m + 2 <= n_dm; m += 2)
        KS_TRY((launch_rows<2, WANT_J, WANT_K>(cu, s, store, slot, n_frame, n_dm, m, DJ, DK, part)));
    if (m < n_dm) KS_TRY((launch_rows<1, WANT_J, WANT_K>(cu, s, store, slot, n_frame, n_dm, m, DJ, DK, part)));
    KS_LAUNCH((jk_sum_k<WANT_J, WANT_K>), dim3((unsigned)((s->n_pair + 31) / 32), (unsigned)(n_frame * n_dm)),
              32 * PARTS, 0, cu->stream, *s, ao, part, add, J, K);
    KS_LAUNCHED(cu);
done:
    return st;
}

/* J[DJ] and K[DK]; NULL: not wanted. add: into J and K, which may be the same array. */
static ks_status jk_run(ks_ctx *ctx, const ks_eri_cuda *e, int64_t n_frame, const int32_t *slot, int64_t n_dm,
                        const double *DJ, const double *DK, int add, double *J, double *K) {
    enum { MOST = 65535 }; /* of a launch in y */
    ks_status           st    = KS_OK;
    ks_cuda            *cu    = ks_cuda_of(ctx);
    ks_arena           *arena = ks_ctx_scratch(ctx);
    const ks_arena_mark mark  = ks_arena_get_mark(arena);
    const jk_shape      s     = shape_of(e, J != NULL, K != NULL);
    const int64_t       nn = s.n * s.n, n_sq = DJ && DK && DJ != DK ? 2 * nn : nn;
    int64_t             n_at_once = WORK / ((s.item + n_sq) * n_dm * (int64_t)sizeof(double));
    double             *part = NULL, *sj = NULL, *sk = NULL;
    if (n_at_once > n_frame) n_at_once = n_frame;
    if (n_at_once > MOST / n_dm) n_at_once = MOST / n_dm;
    if (n_at_once < 1) n_at_once = 1;
    n_at_once = (n_frame - 1) / ((n_frame - 1) / n_at_once + 1) + 1; /* groups of one size */
    KS_CHECK(n_dm <= MOST, KS_ERR_UNSUPPORTED, "jk on backend cuda: %lld densities, limit %d", (long long)n_dm, MOST);
    KS_TRY(KS_TAKE(arena, part, n_at_once * n_dm * s.item));
    if (J) KS_TRY(KS_TAKE(arena, sj, n_at_once * n_dm * nn));
    if (K && DK != DJ) KS_TRY(KS_TAKE(arena, sk, n_at_once * n_dm * nn));
    for (int64_t f = 0; f < n_frame; f += n_at_once) {
        const int64_t  n = ks_min64(n_frame - f, n_at_once), from = f * n_dm * nn;
        const dim3     grid(ks_blocks(nn, 256, 1024), (unsigned)(n * n_dm));
        const int32_t *sl    = slot ? slot + f : NULL;
        const double  *store = slot ? e->store : e->store + f * s.n_pair * s.ld;
        double        *jo = J ? J + from : NULL, *ko = K ? K + from : NULL;
        if (sj) {
            KS_LAUNCH(jk_sym_k, grid, 256, 0, cu->stream, s.n, e->order.ao, DJ + from, sj);
            KS_LAUNCHED(cu);
        }
        if (sk) {
            KS_LAUNCH(jk_sym_k, grid, 256, 0, cu->stream, s.n, e->order.ao, DK + from, sk);
            KS_LAUNCHED(cu);
        }
        if (J && K)
            KS_TRY((run_group<1, 1>(cu, &s, store, sl, n, n_dm, sj, sk ? sk : sj, e->order.ao, add, part, jo, ko)));
        else if (J) KS_TRY((run_group<1, 0>(cu, &s, store, sl, n, n_dm, sj, sj, e->order.ao, add, part, jo, ko)));
        else KS_TRY((run_group<0, 1>(cu, &s, store, sl, n, n_dm, sk, sk, e->order.ao, add, part, jo, ko)));
    }
done:
    ks_arena_release(arena, mark);
    return st;
}

extern "C" ks_status ks_jk_cuda(ks_ctx *ctx, const void *impl, int64_t n_frame, const int32_t *slot, int64_t n_dm,
                                const double *D, double *J, double *K) {
    return jk_run(ctx, (const ks_eri_cuda *)impl, n_frame, slot, n_dm, J ? D : NULL, K ? D : NULL, 0, J, K);
}

extern "C" ks_status ks_jk_adj_cuda(ks_ctx *ctx, const void *impl, int64_t n_frame, const int32_t *slot, int64_t n_dm,
                                    const double *J_bar, const double *K_bar, double *D_bar) {
    return jk_run(ctx, (const ks_eri_cuda *)impl, n_frame, slot, n_dm, J_bar, K_bar, 1, J_bar ? D_bar : NULL,
                  K_bar ? D_bar : NULL);
}
