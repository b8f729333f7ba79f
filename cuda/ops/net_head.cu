/* net_head.cu -- output head, forward and adjoint. CPU twin: src/ops/net_cpu_real.inc. Test: tests/ops/test_attention.c.
 *   fwd  w = (z + z^T) / (2 sqrt(d)),  z = q k^T in the working precision, the sum in fp64
 *   adj  z = (w_bar + w_bar^T) / (2 sqrt(d)),  q_bar += z k,  k_bar += z q
 * fwd: a block has a tile of w of one frame and makes q_s.k_t and k_s.q_t itself: both sums run over the channels in the
 * same order, so w is symmetric to the bit and z is never stored. adj: z is made first, once, in scratch; then a block
 * has NET_ROWS tokens and NET_WIDE channels of one frame. q_bar and k_bar may be the same array: one thread adds both.
 * Products: net_tile.cuh. No atomics: bitwise repeatable.
 * Budget of uracil, fp32, B = 32 (T = 132, d = 1024), once a step: fwd 2.3 GFLOP (2.7 with the tiles' rims), 35 MB q, k,
 * 4.5 MB w; adj 2.3 (2.5) GFLOP, 9 + 2 MB w_bar, z, 104 MB q, k, q_bar, k_bar. At 40 % of 67 TFLOP/s 100 us each on an
 * H200. Measured: none yet. */
#include "cuda/backend_cuda.h"
#include "ksgrad/params.h"
#include "net_tile.cuh"

enum { FLAT_THREADS = 256, B_TILE = NET_K * NET_WIDE };

/* w (n_frame, n, n). Block: x tile of columns + n_tile times tile of rows + n_tile^2 times frame. */
template <typename T>
static __global__ void __launch_bounds__(NET_THREADS, sizeof(T) == 4 ? 3 : 2)
    head_fwd_k(int64_t n, int64_t d, int64_t n_tile, double factor, const T *q, const T *k, double *__restrict__ w) {
    KS_SHARED(ks_quad<T>, a4, NET_ROWS * ks_net_pitch<T>() / 4);
    KS_SHARED(ks_quad<T>, b4, NET_COLS * ks_net_pitch<T>() / 4);
    T            *a = a4[0].v, *b = b4[0].v;
    const int64_t i = blockIdx.x, t = i % n_tile * NET_COLS, s = i / n_tile % n_tile * NET_ROWS;
    const int64_t frame                = i / n_tile / n_tile;
    T             acc[2][NET_I][NET_J] = {{{T(0)}}};
    for (int64_t c = 0; c < d; c += NET_K)
        for (int side = 0; side < 2; side++) {
            const T *left = (side ? k : q) + frame * n * d + c, *right = (side ? q : k) + frame * n * d + c;
            __syncthreads();
            ks_tile_fill<T, NET_ROWS, NET_K>(left + s * d, d, n - s, d - c, ks_net_pitch<T>(), a);
            ks_tile_fill<T, NET_COLS, NET_K>(right + t * d, d, n - t, d - c, ks_net_pitch<T>(), b);
            __syncthreads();
            if (side == 0) ks_tile_nt((const T *)a, (const T *)b, acc[0]);
            else ks_tile_nt((const T *)a, (const T *)b, acc[1]);
        }
    for (int r = 0; r < NET_I; r++)
        for (int j = 0; j < NET_J; j++)
            if (s + ks_tile_row(r) < n && t + ks_nt_column(j) < n)
                w[(frame * n + s + ks_tile_row(r)) * n + t + ks_nt_column(j)] =
                    factor * ((double)acc[0][r][j] + (double)acc[1][r][j]);
}

template <typename T>
static __global__ void head_adj_sym_k(int64_t n_frame, int64_t n, double factor, const double *__restrict__ w_bar,
                                      T *__restrict__ z) {
    KS_GRID_STRIDE(i, n_frame * n * n) {
        const int64_t frame = i / (n * n), s = i / n % n, t = i % n;
        z[i] = (T)(factor * (w_bar[i] + w_bar[(frame * n + t) * n + s]));
    }
}

/* Block: x tile of channels + n_wide times tile of tokens + n_wide n_tile times frame. */
template <typename T>
static __global__ void __launch_bounds__(NET_THREADS, sizeof(T) == 4 ? 4 : 2)
    head_adj_k(int64_t n, int64_t d, int64_t n_tile, int64_t n_wide, const T *q, const T *k, const T *__restrict__ z,
               T *q_bar, T *k_bar) {
    KS_SHARED(ks_quad<T>, a4, NET_ROWS * ks_net_pitch<T>() / 4);
    KS_SHARED(ks_quad<T>, b4, B_TILE / 4);
    T            *a = a4[0].v, *b = b4[0].v;
    const int64_t i = blockIdx.x, c = i % n_wide * NET_WIDE, s = i / n_wide % n_tile * NET_ROWS;
    const int64_t frame = i / n_wide / n_tile;
    for (int side = 0; side < 2; side++) {
        const T *from                  = (side ? q : k) + frame * n * d + c;
        T       *to                    = side ? k_bar : q_bar;
        T        acc[NET_I][4 * NET_Q] = {{T(0)}};
        if (!to) continue;
        for (int64_t t = 0; t < n; t += NET_K) {
            __syncthreads();
            ks_tile_fill<T, NET_ROWS, NET_K>(z + (frame * n + s) * n + t, n, n - s, n - t, ks_net_pitch<T>(), a);
            ks_tile_fill<T, NET_K, NET_WIDE>(from + t * d, d, n - t, d - c, NET_WIDE, b);
            __syncthreads();
            ks_tile_nn((const T *)a, ks_net_pitch<T>(), (const T *)b, acc);
        }
        for (int r = 0; r < NET_I; r++)
            for (int j = 0; j < 4 * NET_Q; j++)
                if (s + ks_tile_row(r) < n && c + ks_nn_column(j) < d)
                    to[(frame * n + s + ks_tile_row(r)) * d + c + ks_nn_column(j)] += acc[r][j];
    }
}

template <typename T>
static ks_status fwd(ks_ctx *ctx, int64_t n_frame, int64_t n, int64_t d, const T *q, const T *k, double *w) {
    ks_status     st      = KS_OK;
    ks_cuda      *cu      = ks_cuda_of(ctx);
    const int64_t n_tile  = (n + NET_ROWS - 1) / NET_ROWS;
    int           n_block = 0;
    KS_TRY(ks_int(n_frame * n_tile * n_tile, &n_block));
    KS_LAUNCH(head_fwd_k<T>, (unsigned)n_block, NET_THREADS, 0, cu->stream, n, d, n_tile, 0.5 / sqrt((double)d), q, k,
              w);
    KS_LAUNCHED(cu);
done:
    return st;
}

template <typename T>
static ks_status adj(ks_ctx *ctx, int64_t n_frame, int64_t n, int64_t d, const T *q, const T *k, const double *w_bar,
                     T *q_bar, T *k_bar) {
    ks_status           st      = KS_OK;
    ks_cuda            *cu      = ks_cuda_of(ctx);
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const int64_t       n_tile = (n + NET_ROWS - 1) / NET_ROWS, n_wide = (d + NET_WIDE - 1) / NET_WIDE;
    int                 n_block = 0;
    T                  *z       = NULL;
    KS_TRY(ks_int(n_frame * n_tile * n_wide, &n_block));
    KS_TRY(KS_TAKE(scratch, z, n_frame * n * n));
    KS_LAUNCH(head_adj_sym_k<T>, ks_blocks(n_frame * n * n, FLAT_THREADS, 16 * cu->n_sm), FLAT_THREADS, 0, cu->stream,
              n_frame, n, 0.5 / sqrt((double)d), w_bar, z);
    KS_LAUNCHED(cu);
    KS_LAUNCH(head_adj_k<T>, (unsigned)n_block, NET_THREADS, 0, cu->stream, n, d, n_tile, n_wide, q, k, (const T *)z,
              q_bar, k_bar);
    KS_LAUNCHED(cu);
done:
    ks_arena_release(scratch, mark);
    return st;
}

extern "C" ks_status ks_head_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t d,
                                      const void *q, const void *k, double *w) {
    return precision == KS_FP32 ? fwd(ctx, n_frame, n_token, d, (const float *)q, (const float *)k, w)
                                : fwd(ctx, n_frame, n_token, d, (const double *)q, (const double *)k, w);
}

extern "C" ks_status ks_head_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token, int64_t d,
                                      const void *q, const void *k, const double *w_bar, void *q_bar, void *k_bar) {
    return precision == KS_FP32 ? adj(ctx, n_frame, n_token, d, (const float *)q, (const float *)k, w_bar,
                                      (float *)q_bar, (float *)k_bar)
                                : adj(ctx, n_frame, n_token, d, (const double *)q, (const double *)k, w_bar,
                                      (double *)q_bar, (double *)k_bar);
}
