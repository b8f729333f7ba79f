/* net_attention.cu -- attention with bias matrices, forward and adjoint. CPU twin: src/ops/net_cpu_real.inc. Test:
 * tests/ops/test_attention.c. Per frame and head, with a = 1/sqrt(d/n_head):
 *   fwd  s = a q k^T + sum_k mix_k B_k,  p = softmax(s) over the keys,  y = p v
 *   adj  p_bar = y_bar v^T,  s_bar = p (p_bar - rowsum(p p_bar)),
 *        q_bar += a s_bar k,  k_bar += a s_bar^T q,  v_bar += p^T y_bar,  mix_bar_k += <s_bar, B_k>,
 *        B_k_bar += sum_h mix_hk s_bar_h
 * fwd and the query half of adj: a block has NET_ROWS queries of one head of one frame and keeps their rows of s (of
 * p_bar) over all keys in shared memory between the two products: p (s_bar) is written to device memory once. Rows that
 * are too long for that (524 keys in fp32, 260 in fp64) stay in their place in prob (s_bar), which the cache holds. The
 * key half of adj: a block has NET_ROWS keys and sums over the queries. Products: net_tile.cuh; rows: a warp each.
 * mix_bar: a partial sum of every block, then one warp an element; B_bar: one thread an element, heads in order.
 * No atomics: bitwise repeatable.
 * Budget a layer of uracil, fp32, B = 32 (T = 132, d = 1024, 16 heads, 7 biases): fwd 2.3 GFLOP (2.7 with the tiles'
 * rims), 52 MB qkv, 16 MB biases, 17 MB y, 36 MB p: 28 us of device memory, 250 MB of biases out of L2; adj 4.6 (5.5)
 * GFLOP, 52 + 17 + 36 MB twice, 36 MB s_bar once written and twice read, 104 MB q_bar, k_bar, v_bar: 90 us. Bound by
 * fp32 arithmetic and shared-memory reads: at 40 % of 67 TFLOP/s 100 us and 200 us on an H200; 24 layers 7 ms.
 * Measured: none yet. */
#include "../reduce.cuh"
#include "cuda/backend_cuda.h"
#include "ksgrad/params.h"
#include "net_tile.cuh"

enum { WARPS = NET_THREADS / 32, ROWS_BYTES_MAX = 100 << 10, FLAT_THREADS = 256, B_TILE = NET_K * NET_WIDE };
static_assert((int)B_TILE >= NET_COLS * (NET_K + 4), "the second tile holds either form");

typedef struct attention_size {
    int64_t n_frame, n_token, n_head, d, n_bias, dh;
    int64_t n_tile; /* of NET_ROWS tokens */
    double  scale;
} attention_size;

/* What a block works on: tokens first ... of one head of one frame. */
typedef struct attention_item {
    int64_t first, head, frame;
} attention_item;
static __device__ __forceinline__ attention_item item_of(const attention_size *z) {
    const int64_t i = blockIdx.x;
    return {i % z->n_tile * NET_ROWS, i / z->n_tile % z->n_head, i / z->n_tile / z->n_head};
}

static __device__ __forceinline__ float  exp_of(float x) { return expf(x); }
static __device__ __forceinline__ double exp_of(double x) { return exp(x); }

template <typename T> static __device__ __forceinline__ T warp_max(T v) {
    for (int step = 16; step > 0; step /= 2) {
        const T other = __shfl_xor_sync(0xffffffffu, v, step);
        v             = other > v ? other : v;
    }
    return v;
}

/* acc = A B^T of NET_ROWS rows of a and NET_COLS rows of b over the dh channels of a head. Begins with a barrier. */
template <typename T>
static __device__ __forceinline__ void channel_product(int64_t dh, const T *a, int64_t a_ld, int64_t a_rows, const T *b,
                                                       int64_t b_ld, int64_t b_rows, T *a_tile, T *b_tile,
                                                       T (&acc)[NET_I][NET_J]) {
    for (int i = 0; i < NET_I; i++)
        for (int j = 0; j < NET_J; j++) acc[i][j] = T(0);
    for (int64_t c = 0; c < dh; c += NET_K) {
        __syncthreads();
        ks_tile_fill<T, NET_ROWS, NET_K>(a + c, a_ld, a_rows, dh - c, ks_net_pitch<T>(), a_tile);
        ks_tile_fill<T, NET_COLS, NET_K>(b + c, b_ld, b_rows, dh - c, ks_net_pitch<T>(), b_tile);
        __syncthreads();
        ks_tile_nt(a_tile, b_tile, acc);
    }
}

/* acc = rows V of NET_ROWS rows over all keys and NET_WIDE channels of v. SHARED: the rows are in shared memory, padded
 * with zeros to whole chunks. Begins with a barrier. */
template <typename T, int SHARED>
static __device__ __forceinline__ void key_product(int64_t n_token, const T *rows, int64_t pitch, int64_t n_row,
                                                   const T *v, int64_t v_ld, int64_t v_cols, T *a_tile, T *b_tile,
                                                   T (&acc)[NET_I][4 * NET_Q]) {
    for (int i = 0; i < NET_I; i++)
        for (int j = 0; j < 4 * NET_Q; j++) acc[i][j] = T(0);
    for (int64_t t = 0; t < n_token; t += NET_K) {
        __syncthreads();
        if (!SHARED) ks_tile_fill<T, NET_ROWS, NET_K>(rows + t, pitch, n_row, n_token - t, ks_net_pitch<T>(), a_tile);
        ks_tile_fill<T, NET_K, NET_WIDE>(v + t * v_ld, v_ld, n_token - t, v_cols, NET_WIDE, b_tile);
        __syncthreads();
        if (SHARED) ks_tile_nn(rows + t, (int)pitch, b_tile, acc);
        else ks_tile_nn((const T *)a_tile, ks_net_pitch<T>(), b_tile, acc);
    }
}

/* Rows in shared memory: elements between them. */
template <typename T> static __host__ __device__ __forceinline__ int64_t row_pitch(int64_t n_token) {
    return (n_token + NET_K - 1) / NET_K * NET_K + 16 / (int64_t)sizeof(T);
}
template <typename T> static __device__ __forceinline__ void pad_row(int64_t n_token, T *row) {
    for (int64_t t = n_token + threadIdx.x % 32; t < (n_token + NET_K - 1) / NET_K * NET_K; t += 32) row[t] = T(0);
}

template <typename T, int SHARED>
static __global__ void __launch_bounds__(NET_THREADS, sizeof(T) == 4 ? 3 : 2)
    attention_fwd_k(attention_size z, const T *__restrict__ qkv, const T *__restrict__ bias, const T *__restrict__ mix,
                    T *__restrict__ y, T *prob) {
    KS_SHARED(ks_quad<T>, a4, NET_ROWS * ks_net_pitch<T>() / 4);
    KS_SHARED(ks_quad<T>, b4, B_TILE / 4);
    KS_SHARED_DYNAMIC(T, kept);
    T                   *a = a4[0].v, *b = b4[0].v;
    const attention_item at = item_of(&z);
    const int64_t        n = z.n_token, n_row = n - at.first, ld = 3 * z.d;
    const T             *q = qkv + at.frame * n * ld + at.head * z.dh, *k = q + z.d, *v = k + z.d;
    T                   *p     = prob + ((at.frame * z.n_head + at.head) * n + at.first) * n;
    T                   *rows  = SHARED ? kept : p;
    const int64_t        pitch = SHARED ? row_pitch<T>(n) : n;
    const int            lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;

    for (int64_t first = 0; first < n; first += NET_COLS) {
        T acc[NET_I][NET_J];
        channel_product(z.dh, q + at.first * ld, ld, n_row, k + first * ld, ld, n - first, a, b, acc);
        for (int i = 0; i < NET_I; i++)
            for (int j = 0; j < NET_J; j++) acc[i][j] *= (T)z.scale;
        for (int64_t m = 0; m < z.n_bias; m++) {
            const T  factor = mix[at.head * z.n_bias + m];
            const T *from   = bias + ((m * z.n_frame + at.frame) * n + at.first) * n + first;
            for (int i = 0; i < NET_I; i++)
                for (int j = 0; j < NET_J; j++)
                    if (ks_tile_row(i) < n_row && first + ks_nt_column(j) < n)
                        acc[i][j] += factor * from[ks_tile_row(i) * n + ks_nt_column(j)];
        }
        for (int i = 0; i < NET_I; i++)
            for (int j = 0; j < NET_J; j++)
                if (ks_tile_row(i) < n_row && first + ks_nt_column(j) < n)
                    rows[ks_tile_row(i) * pitch + first + ks_nt_column(j)] = acc[i][j];
    }
    __syncthreads();
    for (int r = warp; r < NET_ROWS && r < n_row; r += WARPS) {
        T *row = rows + r * pitch, most = row[0], sum = T(0);
        for (int64_t t = lane; t < n; t += 32) most = row[t] > most ? row[t] : most;
        most = warp_max(most);
        for (int64_t t = lane; t < n; t += 32) {
            row[t] = exp_of(row[t] - most);
            sum += row[t];
        }
        const T inverse = T(1) / ks_warp_sum(sum);
        for (int64_t t = lane; t < n; t += 32) {
            row[t] *= inverse;
            if (SHARED) p[r * n + t] = row[t];
        }
        if (SHARED) pad_row(n, row);
    }
    for (int64_t c = 0; c < z.dh; c += NET_WIDE) {
        T acc[NET_I][4 * NET_Q];
        key_product<T, SHARED>(n, rows, pitch, n_row, v + c, ld, z.dh - c, a, b, acc);
        for (int i = 0; i < NET_I; i++)
            for (int j = 0; j < 4 * NET_Q; j++)
                if (ks_tile_row(i) < n_row && c + ks_nn_column(j) < z.dh)
                    y[(at.frame * n + at.first + ks_tile_row(i)) * z.d + at.head * z.dh + c + ks_nn_column(j)] =
                        acc[i][j];
    }
}

/* s_bar (n_frame, n_head, n_token, n_token); q_bar (in the layout of qkv) when qkv_bar is there; part (blocks, n_bias)
 * = <s_bar, B_k> over the block's queries when it is there. */
template <typename T, int SHARED>
static __global__ void __launch_bounds__(NET_THREADS, sizeof(T) == 4 ? 4 : 2)
    attention_adj_query_k(attention_size z, const T *__restrict__ qkv, const T *__restrict__ bias,
                          const T *__restrict__ prob, const T *__restrict__ y_bar, T *s_bar, T *__restrict__ qkv_bar,
                          double *__restrict__ part) {
    KS_SHARED(ks_quad<T>, a4, NET_ROWS * ks_net_pitch<T>() / 4);
    KS_SHARED(ks_quad<T>, b4, B_TILE / 4);
    KS_SHARED(double, sums, 32);
    KS_SHARED_DYNAMIC(T, kept);
    T                   *a = a4[0].v, *b = b4[0].v;
    const attention_item at = item_of(&z);
    const int64_t        n = z.n_token, n_row = n - at.first, ld = 3 * z.d;
    const int64_t        plane = ((at.frame * z.n_head + at.head) * n + at.first) * n;
    const int64_t        head  = at.frame * n * ld + at.head * z.dh;
    const T             *k = qkv + head + z.d, *v = k + z.d, *p = prob + plane;
    const T             *yb    = y_bar + (at.frame * n + at.first) * z.d + at.head * z.dh;
    T                   *rows  = SHARED ? kept : s_bar + plane;
    const int64_t        pitch = SHARED ? row_pitch<T>(n) : n;
    const int            lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;

    for (int64_t first = 0; first < n; first += NET_COLS) {
        T acc[NET_I][NET_J];
        channel_product(z.dh, yb, z.d, n_row, v + first * ld, ld, n - first, a, b, acc);
        for (int i = 0; i < NET_I; i++)
            for (int j = 0; j < NET_J; j++)
                if (ks_tile_row(i) < n_row && first + ks_nt_column(j) < n)
                    rows[ks_tile_row(i) * pitch + first + ks_nt_column(j)] = acc[i][j];
    }
    __syncthreads();
    for (int r = warp; r < NET_ROWS && r < n_row; r += WARPS) {
        T *row = rows + r * pitch, sum = T(0);
        for (int64_t t = lane; t < n; t += 32) sum += p[r * n + t] * row[t];
        sum = ks_warp_sum(sum);
        for (int64_t t = lane; t < n; t += 32) {
            row[t] = p[r * n + t] * (row[t] - sum);
            if (SHARED) s_bar[plane + r * n + t] = row[t];
        }
        if (SHARED) pad_row(n, row);
    }
    if (part)
        for (int64_t m = 0; m < z.n_bias; m++) { /* every lane reads what it wrote itself */
            const T *from  = bias + ((m * z.n_frame + at.frame) * n + at.first) * n;
            double   total = 0.0;
            for (int r = warp; r < NET_ROWS && r < n_row; r += WARPS) {
                T sum = T(0);
                for (int64_t t = lane; t < n; t += 32) sum += rows[r * pitch + t] * from[r * n + t];
                total += (double)sum;
            }
            total = ks_block_sum(total, sums);
            if (threadIdx.x == 0) part[blockIdx.x * z.n_bias + m] = total;
            __syncthreads();
        }
    if (qkv_bar)
        for (int64_t c = 0; c < z.dh; c += NET_WIDE) {
            T acc[NET_I][4 * NET_Q];
            key_product<T, SHARED>(n, rows, pitch, n_row, k + c, ld, z.dh - c, a, b, acc);
            for (int i = 0; i < NET_I; i++)
                for (int j = 0; j < 4 * NET_Q; j++)
                    if (ks_tile_row(i) < n_row && c + ks_nn_column(j) < z.dh)
                        qkv_bar[head + (at.first + ks_tile_row(i)) * ld + c + ks_nn_column(j)] +=
                            (T)z.scale * acc[i][j];
        }
}

/* k_bar (blockIdx.y 0) and v_bar (1) of NET_ROWS keys: sums over the queries of s_bar^T q and p^T y_bar. */
template <typename T>
static __global__ void __launch_bounds__(NET_THREADS, sizeof(T) == 4 ? 4 : 2)
    attention_adj_key_k(attention_size z, const T *__restrict__ qkv, const T *__restrict__ prob,
                        const T *__restrict__ y_bar, const T *__restrict__ s_bar, T *__restrict__ qkv_bar) {
    KS_SHARED(ks_quad<T>, a4, NET_ROWS * ks_net_pitch<T>() / 4);
    KS_SHARED(ks_quad<T>, b4, B_TILE / 4);
    T                   *a = a4[0].v, *b = b4[0].v;
    const attention_item at    = item_of(&z);
    const int            value = blockIdx.y == 1;
    const int64_t        n = z.n_token, n_row = n - at.first, ld = 3 * z.d, channel = at.head * z.dh;
    const int64_t        from_ld = value ? z.d : ld;
    const T             *from    = (value ? y_bar : qkv) + at.frame * n * from_ld + channel;
    const T             *m       = (value ? prob : s_bar) + (at.frame * z.n_head + at.head) * n * n + at.first;
    T                   *to      = qkv_bar + (at.frame * n + at.first) * ld + (value ? 2 : 1) * z.d + channel;
    const T              factor  = value ? T(1) : (T)z.scale;
    for (int64_t c = 0; c < z.dh; c += NET_WIDE) {
        T acc[NET_I][4 * NET_Q] = {{T(0)}};
        for (int64_t s = 0; s < n; s += NET_K) {
            __syncthreads();
            ks_tile_fill_transposed(m + s * n, n, n - s, n_row, a);
            ks_tile_fill<T, NET_K, NET_WIDE>(from + s * from_ld + c, from_ld, n - s, z.dh - c, NET_WIDE, b);
            __syncthreads();
            ks_tile_nn((const T *)a, ks_net_pitch<T>(), b, acc);
        }
        for (int i = 0; i < NET_I; i++)
            for (int j = 0; j < 4 * NET_Q; j++)
                if (ks_tile_row(i) < n_row && c + ks_nn_column(j) < z.dh)
                    to[ks_tile_row(i) * ld + c + ks_nn_column(j)] += factor * acc[i][j];
    }
}

/* bias_bar (n_bias_bar, n_frame, n_token, n_token): a thread has one element, heads in order. */
template <typename T>
static __global__ void attention_adj_bias_k(attention_size z, int64_t n_bias_bar, const T *__restrict__ mix,
                                            const T *__restrict__ s_bar, T *__restrict__ bias_bar) {
    const int64_t nn = z.n_token * z.n_token;
    KS_GRID_STRIDE(i, z.n_frame * nn) {
        const T *from = s_bar + i / nn * z.n_head * nn + i % nn;
        for (int64_t m = 0; m < n_bias_bar; m++) {
            T sum = T(0);
            for (int64_t h = 0; h < z.n_head; h++) sum += mix[h * z.n_bias + m] * from[h * nn];
            bias_bar[m * z.n_frame * nn + i] += sum;
        }
    }
}

/* mix_bar (n_head, n_bias): a warp has one element; its lanes share the blocks of attention_adj_query_k. */
template <typename T>
static __global__ void attention_adj_mix_k(attention_size z, const double *__restrict__ part, T *__restrict__ mix_bar) {
    const int64_t j = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32, h = j / z.n_bias, m = j % z.n_bias;
    double        sum = 0.0;
    if (h < z.n_head)
        for (int64_t i = threadIdx.x % 32; i < z.n_frame * z.n_tile; i += 32)
            sum += part[((i / z.n_tile * z.n_head + h) * z.n_tile + i % z.n_tile) * z.n_bias + m];
    sum = ks_warp_sum(sum);
    if (h < z.n_head && threadIdx.x % 32 == 0) mix_bar[j] += (T)sum;
}

static ks_status size_of(int64_t n_frame, int64_t n_token, int64_t n_head, int64_t d, int64_t n_bias, attention_size *z,
                         int *n_block) {
    ks_status st = KS_OK;
    *z           = {n_frame,
                    n_token,
                    n_head,
                    d,
                    n_bias,
                    d / n_head,
                    (n_token + NET_ROWS - 1) / NET_ROWS,
                    1.0 / sqrt((double)d / (double)n_head)};
    KS_TRY(ks_int(n_frame * n_head * z->n_tile, n_block));
done:
    return st;
}

template <typename T>
static ks_status fwd(ks_ctx *ctx, const attention_size *z, int n_block, const T *qkv, const T *bias, const T *mix, T *y,
                     T *prob) {
    ks_status     st    = KS_OK;
    ks_cuda      *cu    = ks_cuda_of(ctx);
    const int64_t bytes = NET_ROWS * row_pitch<T>(z->n_token) * (int64_t)sizeof(T);
    if (bytes <= ROWS_BYTES_MAX) {
        KS_CUDA_CHECK(
            cudaFuncSetAttribute(attention_fwd_k<T, 1>, cudaFuncAttributeMaxDynamicSharedMemorySize, ROWS_BYTES_MAX));
        KS_LAUNCH((attention_fwd_k<T, 1>), (unsigned)n_block, NET_THREADS, (size_t)bytes, cu->stream, *z, qkv, bias,
                  mix, y, prob);
    } else {
        KS_LAUNCH((attention_fwd_k<T, 0>), (unsigned)n_block, NET_THREADS, 0, cu->stream, *z, qkv, bias, mix, y, prob);
    }
    KS_LAUNCHED(cu);
done:
    return st;
}

template <typename T>
static ks_status adj(ks_ctx *ctx, const attention_size *z, int n_block, int64_t n_bias_bar, const T *qkv, const T *bias,
                     const T *mix, const T *prob, const T *y_bar, T *qkv_bar, T *bias_bar, T *mix_bar) {
    ks_status           st      = KS_OK;
    ks_cuda            *cu      = ks_cuda_of(ctx);
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const int64_t       nn      = z->n_token * z->n_token;
    const int64_t       bytes   = NET_ROWS * row_pitch<T>(z->n_token) * (int64_t)sizeof(T);
    T                  *s_bar   = NULL;
    double             *part    = NULL;
    KS_TRY(KS_TAKE(scratch, s_bar, z->n_frame * z->n_head * nn));
    if (mix_bar && z->n_bias) KS_TRY(KS_TAKE(scratch, part, n_block * z->n_bias));
    if (bytes <= ROWS_BYTES_MAX) {
        KS_CUDA_CHECK(cudaFuncSetAttribute(attention_adj_query_k<T, 1>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           ROWS_BYTES_MAX));
        KS_LAUNCH((attention_adj_query_k<T, 1>), (unsigned)n_block, NET_THREADS, (size_t)bytes, cu->stream, *z, qkv,
                  bias, prob, y_bar, s_bar, qkv_bar, part);
    } else {
        KS_LAUNCH((attention_adj_query_k<T, 0>), (unsigned)n_block, NET_THREADS, 0, cu->stream, *z, qkv, bias, prob,
                  y_bar, s_bar, qkv_bar, part);
    }
    KS_LAUNCHED(cu);
    if (qkv_bar) {
        KS_LAUNCH(attention_adj_key_k<T>, dim3((unsigned)n_block, 2), NET_THREADS, 0, cu->stream, *z, qkv, prob, y_bar,
                  (const T *)s_bar, qkv_bar);
        KS_LAUNCHED(cu);
    }
    if (bias_bar && n_bias_bar) {
        KS_LAUNCH(attention_adj_bias_k<T>, ks_blocks(z->n_frame * nn, FLAT_THREADS, 16 * cu->n_sm), FLAT_THREADS, 0,
                  cu->stream, *z, n_bias_bar, mix, (const T *)s_bar, bias_bar);
        KS_LAUNCHED(cu);
    }
    if (part) {
        KS_LAUNCH(attention_adj_mix_k<T>, (unsigned)((z->n_head * z->n_bias + WARPS - 1) / WARPS), NET_THREADS, 0,
                  cu->stream, *z, (const double *)part, mix_bar);
        KS_LAUNCHED(cu);
    }
done:
    ks_arena_release(scratch, mark);
    return st;
}

extern "C" ks_status ks_attention_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token,
                                           int64_t n_head, int64_t d, int64_t n_bias, const void *qkv, const void *bias,
                                           const void *mix, void *y, void *prob) {
    ks_status      st = KS_OK;
    attention_size z;
    int            n_block = 0;
    KS_TRY(size_of(n_frame, n_token, n_head, d, n_bias, &z, &n_block));
    if (precision == KS_FP32)
        KS_TRY(fwd(ctx, &z, n_block, (const float *)qkv, (const float *)bias, (const float *)mix, (float *)y,
                   (float *)prob));
    else
        KS_TRY(fwd(ctx, &z, n_block, (const double *)qkv, (const double *)bias, (const double *)mix, (double *)y,
                   (double *)prob));
done:
    return st;
}

extern "C" ks_status ks_attention_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_token,
                                           int64_t n_head, int64_t d, int64_t n_bias, int64_t n_bias_bar,
                                           const void *qkv, const void *bias, const void *mix, const void *prob,
                                           const void *y_bar, void *qkv_bar, void *bias_bar, void *mix_bar) {
    ks_status      st = KS_OK;
    attention_size z;
    int            n_block = 0;
    KS_TRY(size_of(n_frame, n_token, n_head, d, n_bias, &z, &n_block));
    if (precision == KS_FP32)
        KS_TRY(adj(ctx, &z, n_block, n_bias_bar, (const float *)qkv, (const float *)bias, (const float *)mix,
                   (const float *)prob, (const float *)y_bar, (float *)qkv_bar, (float *)bias_bar, (float *)mix_bar));
    else
        KS_TRY(adj(ctx, &z, n_block, n_bias_bar, (const double *)qkv, (const double *)bias, (const double *)mix,
                   (const double *)prob, (const double *)y_bar, (double *)qkv_bar, (double *)bias_bar,
                   (double *)mix_bar));
done:
    return st;
}
