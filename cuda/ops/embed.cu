/* embed.cu -- token input and Gram bias, forward and adjoint. CPU twin: src/ops/net_cpu_real.inc. Tests:
 * tests/ops/test_embedding.c, test_gram.c. fp32 (also for bf16) and fp64; every sum in fp64.
 *   embedding  x_bt = scale table_kind(t) + u_b,atom(t);  one thread an element
 *     adj      table_bar_k += scale sum of x_bar over the frames and the tokens of kind k;  u_bar_ba += sum over the
 *              tokens of atom a. The tokens are first sorted by kind and by atom (their rank is counted: n_token^2
 *              comparisons), so that a sum walks a short list in the order of the tokens. Kinds: a block has 32
 *              channels of one kind, its 8 rows share the (frame, token) pairs. Atoms: one thread a channel
 *   gram       g_ac = u_a.u_c: a warp a pair of atoms, both halves from one sum; divided by the largest |g| of the
 *              frame, kept as top; spread to tokens, one thread an element
 *     adj      g_bar_ac = sum of bias_bar over the token pairs of a and c: a block an atom a, columns first;
 *              with e the first element of |g| = 1:  r = (g_bar - e g_e <g_bar, g>) / top,  u_bar += (r + r^T) u
 * One writer for each element, sums in fixed order, no atomics: bitwise repeatable.
 * Budget, B = 128 uracils (132 tokens, 12 atoms), fp32, d = 1024; memory bound: embedding fwd writes 69 MB, adj reads
 * 2 x 69 MB; gram fwd writes and adj reads 9 MB: 16, 32, 2 and 2 us at 4.3 TB/s, each more than the 2 to 5 us of its
 * one to three launches. measured: none yet. */
#include "../common.cuh"
#include "../reduce.cuh"
#include "cuda/backend_cuda.h"
#include "ops/net_ops.h"

enum { THREADS = 256, TILE = 32, TILE_ROWS = 8, WARPS = THREADS / 32, COLUMNS = 512, AHEAD = 4 /* loads in flight */ };

/* Threads for rows of d elements: whole warps, none of them idle. */
static unsigned row_threads(int64_t d) { return (unsigned)ks_min64((d + 31) / 32 * 32, THREADS); }

/* ---- embedding ---- */

template <typename T>
static __global__ void embedding_fwd_k(int64_t n_row, int64_t n_token, int64_t n_atom, int64_t d, T scale,
                                       const int32_t *__restrict__ kind, const int32_t *__restrict__ atom,
                                       const T *__restrict__ table, const T *__restrict__ u, T *__restrict__ x) {
    for (int64_t i = blockIdx.x; i < n_row; i += gridDim.x) {
        const int64_t b = i / n_token, t = i % n_token;
        const T      *row = table + kind[t] * d, *at = u + (b * n_atom + atom[t]) * d;
        for (int64_t c = threadIdx.x; c < d; c += blockDim.x) x[i * d + c] = scale * row[c] + at[c];
    }
}

/* Tokens sorted by key, then by number: those of key k are list[first[k]] .. list[first[k + 1] - 1]. */
static __device__ __forceinline__ void sort_tokens(int64_t i, int64_t n_token, int64_t n_key,
                                                   const int32_t *__restrict__ key, int32_t *__restrict__ list,
                                                   int32_t *__restrict__ first) {
    int32_t before = 0;
    if (i < n_token) {
        for (int64_t t = 0; t < n_token; t++) before += key[t] < key[i] || (key[t] == key[i] && t < i);
        list[before] = (int32_t)i;
    } else if (i - n_token <= n_key) {
        for (int64_t t = 0; t < n_token; t++) before += key[t] < i - n_token;
        first[i - n_token] = before;
    }
}
static __global__ void sort_tokens_k(int64_t n_token, int64_t n_kind, int64_t n_atom, const int32_t *__restrict__ kind,
                                     const int32_t *__restrict__ atom, int32_t *__restrict__ by_kind,
                                     int32_t *__restrict__ by_atom) {
    KS_GRID_STRIDE(i, n_token + (n_kind > n_atom ? n_kind : n_atom) + 1) {
        sort_tokens(i, n_token, n_kind, kind, by_kind, by_kind + n_token);
        sort_tokens(i, n_token, n_atom, atom, by_atom, by_atom + n_token);
    }
}

/* Block (TILE channels, TILE_ROWS); x: channels, y: kinds. */
template <typename T>
static __global__ void embedding_adj_kind_k(int64_t n_frame, int64_t n_token, int64_t n_kind, int64_t d, double scale,
                                            const int32_t *__restrict__ list, const int32_t *__restrict__ first,
                                            const T *__restrict__ x_bar, T *__restrict__ table_bar) {
    KS_SHARED(double, sum, THREADS); /* (TILE_ROWS, TILE) */
    const int64_t c = (int64_t)blockIdx.x * TILE + threadIdx.x;
    for (int64_t k = blockIdx.y; k < n_kind; k += gridDim.y) {
        const int own = first[k + 1] - first[k];
        double    s   = 0.0;
        if (c < d && own > 0) {
            /* Pair b own + t of frame and token, in steps of TILE_ROWS, without a division for each. */
            const int32_t *tokens = list + first[k];
            const int      step_b = TILE_ROWS / own, step_t = TILE_ROWS % own;
            int64_t        b = (int)threadIdx.y / own;
            int            t = (int)threadIdx.y % own;
            while (b < n_frame) {
                T v[AHEAD];
                for (int j = 0; j < AHEAD; j++) {
                    v[j] = b < n_frame ? x_bar[(b * n_token + tokens[t]) * d + c] : T(0);
                    b += step_b;
                    t += step_t;
                    if (t >= own) t -= own, b++;
                }
                for (int j = 0; j < AHEAD; j++) s += (double)v[j];
            }
        }
        sum[threadIdx.y * TILE + threadIdx.x] = s;
        __syncthreads();
        if (threadIdx.y == 0 && c < d && own > 0) {
            for (int r = 1; r < TILE_ROWS; r++) s += sum[r * TILE + threadIdx.x];
            table_bar[k * d + c] += (T)(scale * s);
        }
        __syncthreads(); /* sum is written again */
    }
}

template <typename T>
static __global__ void embedding_adj_atom_k(int64_t n_row, int64_t n_token, int64_t n_atom, int64_t d,
                                            const int32_t *__restrict__ list, const int32_t *__restrict__ first,
                                            const T *__restrict__ x_bar, T *__restrict__ u_bar) {
    for (int64_t i = blockIdx.x; i < n_row; i += gridDim.x) {
        const int64_t b = i / n_atom, a = i % n_atom;
        for (int64_t c = threadIdx.x; c < d; c += blockDim.x) {
            double s = 0.0;
            for (int32_t k = first[a]; k < first[a + 1]; k++) s += (double)x_bar[(b * n_token + list[k]) * d + c];
            u_bar[i * d + c] += (T)s;
        }
    }
}

template <typename T>
static ks_status embedding_fwd(ks_cuda *cu, int64_t n_frame, int64_t n_token, int64_t n_atom, int64_t d, double scale,
                               const int32_t *kind, const int32_t *atom, const T *table, const T *u, T *x) {
    ks_status st = KS_OK;
    KS_LAUNCH(embedding_fwd_k<T>, ks_blocks(n_frame * n_token, 1, 64 * cu->n_sm), row_threads(d), 0, cu->stream,
              n_frame * n_token, n_token, n_atom, d, (T)scale, kind, atom, table, u, x);
    KS_LAUNCHED(cu);
done:
    return st;
}

template <typename T>
static ks_status embedding_adj(ks_ctx *ctx, int64_t n_frame, int64_t n_token, int64_t n_atom, int64_t n_kind, int64_t d,
                               double scale, const int32_t *kind, const int32_t *atom, const T *x_bar, T *table_bar,
                               T *u_bar) {
    ks_status           st      = KS_OK;
    ks_cuda            *cu      = ks_cuda_of(ctx);
    ks_arena           *arena   = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(arena);
    int32_t            *by_kind = NULL, *by_atom = NULL; /* (n_token) lists, then (n_key + 1) first places */
    KS_TRY(KS_TAKE(arena, by_kind, n_token + n_kind + 1));
    KS_TRY(KS_TAKE(arena, by_atom, n_token + n_atom + 1));
    KS_LAUNCH(sort_tokens_k, ks_blocks(n_token + n_kind + n_atom, 64, 16 * cu->n_sm), 64, 0, cu->stream, n_token,
              n_kind, n_atom, kind, atom, by_kind, by_atom);
    KS_LAUNCHED(cu);
    if (table_bar) {
        KS_LAUNCH(embedding_adj_kind_k<T>, dim3((unsigned)((d + TILE - 1) / TILE), ks_blocks(n_kind, 1, 65535)),
                  dim3(TILE, TILE_ROWS), 0, cu->stream, n_frame, n_token, n_kind, d, scale, by_kind, by_kind + n_token,
                  x_bar, table_bar);
        KS_LAUNCHED(cu);
    }
    if (u_bar) {
        KS_LAUNCH(embedding_adj_atom_k<T>, ks_blocks(n_frame * n_atom, 1, 64 * cu->n_sm), row_threads(d), 0, cu->stream,
                  n_frame * n_atom, n_token, n_atom, d, by_atom, by_atom + n_token, x_bar, u_bar);
        KS_LAUNCHED(cu);
    }
done:
    ks_arena_release(arena, mark);
    return st;
}

extern "C" ks_status ks_embedding_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token,
                                           int64_t n_atom, int64_t n_kind, int64_t d, double scale, const int32_t *kind,
                                           const int32_t *atom, const void *table, const void *u, void *x) {
    ks_cuda *cu = ks_cuda_of(ctx);
    (void)n_kind;
    if (precision == KS_FP64)
        return embedding_fwd(cu, n_frame, n_token, n_atom, d, scale, kind, atom, (const double *)table,
                             (const double *)u, (double *)x);
    return embedding_fwd(cu, n_frame, n_token, n_atom, d, scale, kind, atom, (const float *)table, (const float *)u,
                         (float *)x);
}

extern "C" ks_status ks_embedding_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token,
                                           int64_t n_atom, int64_t n_kind, int64_t d, double scale, const int32_t *kind,
                                           const int32_t *atom, const void *x_bar, void *table_bar, void *u_bar) {
    if (precision == KS_FP64)
        return embedding_adj(ctx, n_frame, n_token, n_atom, n_kind, d, scale, kind, atom, (const double *)x_bar,
                             (double *)table_bar, (double *)u_bar);
    return embedding_adj(ctx, n_frame, n_token, n_atom, n_kind, d, scale, kind, atom, (const float *)x_bar,
                         (float *)table_bar, (float *)u_bar);
}

/* ---- Gram bias ---- */

/* One block a frame. */
template <typename T>
static __global__ void gram_k(int64_t n_atom, int64_t d, const T *__restrict__ u, T *__restrict__ g,
                              T *__restrict__ top) {
    KS_SHARED(T, shared, 32);
    const int64_t lane = threadIdx.x % 32, nn = n_atom * n_atom;
    const T      *ub   = u + blockIdx.x * n_atom * d;
    T            *gb   = g + blockIdx.x * nn;
    T             most = 0;
    for (int64_t p = threadIdx.x / 32; p < nn; p += WARPS) {
        const int64_t a = p / n_atom, c = p % n_atom;
        double        s = 0.0;
        if (a > c) continue;
        for (int64_t k = lane; k < d; k += 32) s += (double)ub[a * d + k] * (double)ub[c * d + k];
        s = ks_warp_sum(s);
        if (fabs(s) > (double)most) most = (T)fabs(s); /* a NaN shows in its own element */
        if (lane == 0) gb[a * n_atom + c] = gb[c * n_atom + a] = (T)s;
    }
    most = ks_block_max(most, shared); /* and a barrier behind the writes of g */
    if (threadIdx.x == 0) top[blockIdx.x] = most;
    if (most != 0)
        for (int64_t p = threadIdx.x; p < nn; p += THREADS) gb[p] /= most;
}

template <typename T>
static __global__ void gram_spread_k(int64_t n_row, int64_t n_token, int64_t n_atom, const int32_t *__restrict__ atom,
                                     const T *__restrict__ g, T *__restrict__ bias) {
    for (int64_t i = blockIdx.x; i < n_row; i += gridDim.x) {
        const T *row = g + (i / n_token * n_atom + atom[i % n_token]) * n_atom;
        for (int64_t t = threadIdx.x; t < n_token; t += blockDim.x) bias[i * n_token + t] = row[atom[t]];
    }
}

/* g_bar (n_frame, n_atom, n_atom); one block for each row of it: sums of columns over the tokens of atom a first. */
template <typename T>
static __global__ void gram_adj_pairs_k(int64_t n_row, int64_t n_token, int64_t n_atom,
                                        const int32_t *__restrict__ atom, const T *__restrict__ bias_bar,
                                        double *__restrict__ g_bar) {
    KS_SHARED(double, column, COLUMNS);
    for (int64_t i = blockIdx.x; i < n_row; i += gridDim.x) {
        const int64_t b = i / n_atom, a = i % n_atom;
        double       *out = g_bar + i * n_atom;
        for (int64_t from = 0; from < n_token; from += COLUMNS) {
            const int64_t len = n_token - from < COLUMNS ? n_token - from : (int64_t)COLUMNS;
            for (int64_t t = threadIdx.x; t < len; t += blockDim.x) {
                double sum = 0.0;
                for (int64_t s = 0; s < n_token; s++)
                    if (atom[s] == a) sum += (double)bias_bar[(b * n_token + s) * n_token + from + t];
                column[t] = sum;
            }
            __syncthreads();
            for (int64_t c = threadIdx.x; c < n_atom; c += blockDim.x) {
                double sum = from ? out[c] : 0.0;
                for (int64_t t = 0; t < len; t++)
                    if (atom[from + t] == c) sum += column[t];
                out[c] = sum;
            }
            __syncthreads(); /* column is written again */
        }
    }
}

/* w = r + r^T, or 0 where top is 0. One block a frame. */
template <typename T>
static __global__ void gram_adj_weights_k(int64_t n_atom, const T *__restrict__ g, const T *__restrict__ top,
                                          const double *__restrict__ g_bar, double *__restrict__ w) {
    KS_SHARED(double, shared, 33);
    const int64_t nn = n_atom * n_atom;
    const T      *gb = g + blockIdx.x * nn, most = top[blockIdx.x];
    const double *in  = g_bar + blockIdx.x * nn;
    double       *out = w + blockIdx.x * nn, along = 0.0, place = (double)(1 - nn); /* minus that of the first +-1 */
    for (int64_t p = threadIdx.x; p < nn; p += THREADS) {
        along += in[p] * (double)gb[p];
        if ((gb[p] == 1 || gb[p] == -1) && -(double)p > place) place = -(double)p;
    }
    along = ks_block_sum(along, shared);
    if (threadIdx.x == 0) shared[32] = along;
    __syncthreads(); /* shared is written again */
    const int64_t star = (int64_t)-ks_block_max(place, shared);
    along              = shared[32] * (double)gb[star];
    for (int64_t p = threadIdx.x; p < nn; p += THREADS) {
        const int64_t q = p % n_atom * n_atom + p / n_atom;
        const double  r = in[p] - (p == star ? along : 0.0), s = in[q] - (q == star ? along : 0.0);
        out[p] = most == 0 ? 0.0 : (r + s) / (double)most;
    }
}

template <typename T>
static __global__ void gram_adj_u_k(int64_t n_row, int64_t n_atom, int64_t d, const T *__restrict__ u,
                                    const T *__restrict__ top, const double *__restrict__ w, T *__restrict__ u_bar) {
    for (int64_t i = blockIdx.x; i < n_row; i += gridDim.x) {
        const int64_t b = i / n_atom;
        if (top[b] == 0) continue;
        for (int64_t k = threadIdx.x; k < d; k += blockDim.x) {
            double s = 0.0;
            for (int64_t c = 0; c < n_atom; c++) s += w[i * n_atom + c] * (double)u[(b * n_atom + c) * d + k];
            u_bar[i * d + k] += (T)s;
        }
    }
}

template <typename T>
static ks_status gram_fwd(ks_cuda *cu, int64_t n_frame, int64_t n_token, int64_t n_atom, int64_t d, const int32_t *atom,
                          const T *u, T *bias, T *g, T *top) {
    ks_status st = KS_OK;
    KS_LAUNCH(gram_k<T>, (unsigned)n_frame, THREADS, 0, cu->stream, n_atom, d, u, g, top);
    KS_LAUNCHED(cu);
    if (n_token == 0) goto done;
    KS_LAUNCH(gram_spread_k<T>, ks_blocks(n_frame * n_token, 1, 64 * cu->n_sm), row_threads(n_token), 0, cu->stream,
              n_frame * n_token, n_token, n_atom, atom, g, bias);
    KS_LAUNCHED(cu);
done:
    return st;
}

template <typename T>
static ks_status gram_adj(ks_ctx *ctx, int64_t n_frame, int64_t n_token, int64_t n_atom, int64_t d, const int32_t *atom,
                          const T *u, const T *g, const T *top, const T *bias_bar, T *u_bar) {
    ks_status           st    = KS_OK;
    ks_cuda            *cu    = ks_cuda_of(ctx);
    ks_arena           *arena = ks_ctx_scratch(ctx);
    const ks_arena_mark mark  = ks_arena_get_mark(arena);
    const unsigned      rows  = ks_blocks(n_frame * n_atom, 1, 64 * cu->n_sm);
    double             *g_bar = NULL, *w = NULL;
    KS_TRY(KS_TAKE(arena, g_bar, n_frame * n_atom * n_atom));
    KS_TRY(KS_TAKE(arena, w, n_frame * n_atom * n_atom));
    KS_LAUNCH(gram_adj_pairs_k<T>, rows, row_threads(n_token), 0, cu->stream, n_frame * n_atom, n_token, n_atom, atom,
              bias_bar, g_bar);
    KS_LAUNCHED(cu);
    KS_LAUNCH(gram_adj_weights_k<T>, (unsigned)n_frame, THREADS, 0, cu->stream, n_atom, g, top, g_bar, w);
    KS_LAUNCHED(cu);
    KS_LAUNCH(gram_adj_u_k<T>, rows, row_threads(d), 0, cu->stream, n_frame * n_atom, n_atom, d, u, top, w, u_bar);
    KS_LAUNCHED(cu);
done:
    ks_arena_release(arena, mark);
    return st;
}

extern "C" ks_status ks_gram_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token,
                                      int64_t n_atom, int64_t d, const int32_t *atom, const void *u, void *bias,
                                      void *g, void *top) {
    ks_cuda *cu = ks_cuda_of(ctx);
    if (precision == KS_FP64)
        return gram_fwd(cu, n_frame, n_token, n_atom, d, atom, (const double *)u, (double *)bias, (double *)g,
                        (double *)top);
    return gram_fwd(cu, n_frame, n_token, n_atom, d, atom, (const float *)u, (float *)bias, (float *)g, (float *)top);
}

extern "C" ks_status ks_gram_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token,
                                      int64_t n_atom, int64_t d, const int32_t *atom, const void *u, const void *g,
                                      const void *top, const void *bias_bar, void *u_bar) {
    if (precision == KS_FP64)
        return gram_adj(ctx, n_frame, n_token, n_atom, d, atom, (const double *)u, (const double *)g,
                        (const double *)top, (const double *)bias_bar, (double *)u_bar);
    return gram_adj(ctx, n_frame, n_token, n_atom, d, atom, (const float *)u, (const float *)g, (const float *)top,
                    (const float *)bias_bar, (float *)u_bar);
}
