/* net.cu -- layer norm, forward and adjoint. CPU twin: src/ops/net_lanes_real.inc. Test: tests/ops/test_layer_norm.c.
 *   fwd  mean = sum_c x_c / d,  r = (sum_c (x_c - mean)^2 / d + 1e-5)^(-1/2),  y_c = gain_c (x_c - mean) r + shift_c
 *   adj  with z = (x - mean) r, g = gain y_bar:  dz/dx = r (1 - 1 1^T/d - z z^T/d), so
 *        x_bar += r (g - mean(g) - z mean(g z)),  gain_bar += sum_i y_bar z,  shift_bar += sum_i y_bar
 * Rows: one warp each, sums in fp64 over the lanes. Columns: two stages, rows cut into pieces by n alone; no atomics:
 * bitwise repeatable.
 * Budget, T bytes an element, n rows of d: fwd reads x (once from device memory, twice from L1) and writes y: 2 n d T;
 * adj rows read x, y_bar and update x_bar: 4 n d T; adj columns read x and y_bar: 2 n d T. Memory bound: 6 to 10 flop
 * an element. Expected on an H200 (4.3 TB/s), fp32, n = 4224, d = 1024: 8 us, 16 us and 8 us; columns run as 32 x 64
 * blocks there. Measured: none yet. */
#include "../common.cuh"
#include "../reduce.cuh"
#include "cuda/backend_cuda.h"
#include "ksgrad/params.h"

enum { ROW_THREADS = 256, ROWS = ROW_THREADS / 32, TILE = 32, TILE_ROWS = 8, PIECE_ROWS = 64, MAX_PIECES = 64 };

template <typename T>
static __global__ void layer_norm_fwd_k(int64_t n, int64_t d, const T *__restrict__ x, const T *__restrict__ gain,
                                        const T *__restrict__ shift, T *__restrict__ y, T *__restrict__ stat) {
    const int64_t lane = threadIdx.x % 32, step = (int64_t)gridDim.x * ROWS;
    for (int64_t i = (int64_t)blockIdx.x * ROWS + threadIdx.x / 32; i < n; i += step) {
        const T *xi  = x + i * d;
        T       *yi  = y + i * d;
        double   sum = 0.0, sq = 0.0;
        for (int64_t c = lane; c < d; c += 32) sum += (double)xi[c];
        const T mean = (T)(ks_warp_sum(sum) / (double)d);
        for (int64_t c = lane; c < d; c += 32) sq += (double)(xi[c] - mean) * (double)(xi[c] - mean);
        const T r = (T)(1.0 / sqrt(ks_warp_sum(sq) / (double)d + 1e-5));
        for (int64_t c = lane; c < d; c += 32) yi[c] = gain[c] * ((xi[c] - mean) * r) + shift[c];
        if (lane == 0) {
            stat[2 * i]     = mean;
            stat[2 * i + 1] = r;
        }
    }
}

template <typename T>
static __global__ void layer_norm_adj_rows_k(int64_t n, int64_t d, const T *__restrict__ x, const T *__restrict__ gain,
                                             const T *__restrict__ stat, const T *__restrict__ y_bar,
                                             T *__restrict__ x_bar) {
    const int64_t lane = threadIdx.x % 32, step = (int64_t)gridDim.x * ROWS;
    for (int64_t i = (int64_t)blockIdx.x * ROWS + threadIdx.x / 32; i < n; i += step) {
        const T *xi = x + i * d, *yi = y_bar + i * d, mean = stat[2 * i], r = stat[2 * i + 1];
        double   sum = 0.0, sum_z = 0.0;
        for (int64_t c = lane; c < d; c += 32) {
            const T g = gain[c] * yi[c];
            sum += (double)g;
            sum_z += (double)(g * ((xi[c] - mean) * r));
        }
        const T m = (T)(ks_warp_sum(sum) / (double)d), mz = (T)(ks_warp_sum(sum_z) / (double)d);
        for (int64_t c = lane; c < d; c += 32) x_bar[i * d + c] += r * (gain[c] * yi[c] - m - (xi[c] - mean) * r * mz);
    }
}

/* part (pieces, 2, d): sums over the rows of one piece of y_bar z and y_bar. Block (TILE columns, TILE_ROWS). */
template <typename T>
static __global__ void layer_norm_adj_columns_k(int64_t n, int64_t d, int64_t piece_rows, const T *__restrict__ x,
                                                const T *__restrict__ stat, const T *__restrict__ y_bar,
                                                double *__restrict__ part) {
    KS_SHARED(double, sum, 2 * TILE_ROWS * TILE);
    const int64_t c = (int64_t)blockIdx.x * TILE + threadIdx.x, first = (int64_t)blockIdx.y * piece_rows;
    const int64_t last = first + piece_rows < n ? first + piece_rows : n;
    double        gain = 0.0, shift = 0.0;
    if (c < d)
        for (int64_t i = first + threadIdx.y; i < last; i += TILE_ROWS) {
            const T z = (x[i * d + c] - stat[2 * i]) * stat[2 * i + 1];
            gain += (double)(y_bar[i * d + c] * z);
            shift += (double)y_bar[i * d + c];
        }
    sum[threadIdx.y * TILE + threadIdx.x]               = gain;
    sum[(TILE_ROWS + threadIdx.y) * TILE + threadIdx.x] = shift;
    __syncthreads();
    if (threadIdx.y < 2 && c < d) {
        double s = 0.0;
        for (int k = 0; k < TILE_ROWS; k++) s += sum[(threadIdx.y * TILE_ROWS + k) * TILE + threadIdx.x];
        part[(2 * (int64_t)blockIdx.y + threadIdx.y) * d + c] = s;
    }
}

template <typename T>
static __global__ void layer_norm_adj_sum_k(int64_t d, int64_t n_piece, const double *__restrict__ part,
                                            T *__restrict__ gain_bar, T *__restrict__ shift_bar) {
    KS_GRID_STRIDE(c, d) {
        double gain = 0.0, shift = 0.0;
        for (int64_t k = 0; k < n_piece; k++) {
            gain += part[2 * k * d + c];
            shift += part[(2 * k + 1) * d + c];
        }
        if (gain_bar) gain_bar[c] += (T)gain;
        if (shift_bar) shift_bar[c] += (T)shift;
    }
}

template <typename T>
static ks_status fwd(ks_ctx *ctx, int64_t n, int64_t d, const T *x, const T *gain, const T *shift, T *y, T *stat) {
    ks_status st = KS_OK;
    ks_cuda  *cu = ks_cuda_of(ctx);
    KS_LAUNCH(layer_norm_fwd_k<T>, ks_blocks(n, ROWS, 16 * cu->n_sm), ROW_THREADS, 0, cu->stream, n, d, x, gain, shift,
              y, stat);
    KS_LAUNCHED(cu);
done:
    return st;
}

template <typename T>
static ks_status adj(ks_ctx *ctx, int64_t n, int64_t d, const T *x, const T *gain, const T *stat, const T *y_bar,
                     T *x_bar, T *gain_bar, T *shift_bar) {
    ks_status           st      = KS_OK;
    ks_cuda            *cu      = ks_cuda_of(ctx);
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const int64_t n_piece = (int64_t)ks_blocks(n, PIECE_ROWS, MAX_PIECES); /* by n alone: the same bits on every GPU */
    const int64_t piece_rows = (n + n_piece - 1) / n_piece;
    double       *part       = NULL;
    if (x_bar) {
        KS_LAUNCH(layer_norm_adj_rows_k<T>, ks_blocks(n, ROWS, 16 * cu->n_sm), ROW_THREADS, 0, cu->stream, n, d, x,
                  gain, stat, y_bar, x_bar);
        KS_LAUNCHED(cu);
    }
    if (gain_bar || shift_bar) {
        KS_TRY(KS_TAKE(scratch, part, n_piece * 2 * d));
        KS_LAUNCH(layer_norm_adj_columns_k<T>, dim3((unsigned)((d + TILE - 1) / TILE), (unsigned)n_piece),
                  dim3(TILE, TILE_ROWS), 0, cu->stream, n, d, piece_rows, x, stat, y_bar, part);
        KS_LAUNCHED(cu);
        KS_LAUNCH(layer_norm_adj_sum_k<T>, ks_blocks(d, 256, 16 * cu->n_sm), 256, 0, cu->stream, d, n_piece, part,
                  gain_bar, shift_bar);
        KS_LAUNCHED(cu);
    }
done:
    ks_arena_release(scratch, mark);
    return st;
}

extern "C" ks_status ks_layer_norm_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d, const void *x,
                                            const void *gain, const void *shift, void *y, void *stat) {
    if (precision == KS_FP32)
        return fwd(ctx, n, d, (const float *)x, (const float *)gain, (const float *)shift, (float *)y, (float *)stat);
    return fwd(ctx, n, d, (const double *)x, (const double *)gain, (const double *)shift, (double *)y, (double *)stat);
}

extern "C" ks_status ks_layer_norm_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d, const void *x,
                                            const void *gain, const void *stat, const void *y_bar, void *x_bar,
                                            void *gain_bar, void *shift_bar) {
    if (precision == KS_FP32)
        return adj(ctx, n, d, (const float *)x, (const float *)gain, (const float *)stat, (const float *)y_bar,
                   (float *)x_bar, (float *)gain_bar, (float *)shift_bar);
    return adj(ctx, n, d, (const double *)x, (const double *)gain, (const double *)stat, (const double *)y_bar,
               (double *)x_bar, (double *)gain_bar, (double *)shift_bar);
}
