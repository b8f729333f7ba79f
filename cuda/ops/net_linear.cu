/* net_linear.cu -- linear layers, forward and adjoint. CPU twin: src/ops/net_cpu_real.inc. Tests:
 * tests/ops/test_linear.c, test_bf16.c.
 *   fwd  y = x w^T + 1 b^T      adj  x_bar += y_bar w,  w_bar += y_bar^T x,  b_bar += column sums of y_bar
 * Products: cuBLAS on the context's handle. Row-major arrays are column-major transposed ones, so the factors change
 * places. b is written into y first, and the product adds (beta 1). KS_BF16: the factors are rounded into scratch by
 * own kernels and multiplied with fp32 sums, so that the numbers are those of the CPU backend but for the order of
 * sums; CUBLAS_COMPUTE_32F_FAST_16BF on floats leaves rounding, and whether tensor cores are used, to the library, and
 * moves twice the bytes to the multipliers. y_bar is rounded and its columns summed in one pass.
 * Column sums: two stages, rows cut into pieces by n alone, fp64; no atomics: bitwise repeatable. cuBLAS is repeatable
 * on one kind of GPU with the workspace that device.cu sets.
 * Budget of uracil, B = 32 (n = 4224 rows), d = 1024, 24 layers of 12 d^2 weights: 2.55 TFLOP forward, 5.1 adjoint.
 * On an H200: bf16 at 600 TFLOP/s 4.3 + 8.5 ms, fp32 at 50 TFLOP/s 51 + 102 ms, fp64 at 55 TFLOP/s 46 + 93 ms. Besides
 * the products, for 24 layers: b into y 3.7 GB written and read again, 1.7 ms; rounding in bf16 6.2 GB (x, w) forward,
 * 11.8 GB (x, w, y_bar) adjoint, 1.4 + 2.7 ms; column sums in fp32 3.7 GB, 0.9 ms, in bf16 with the rounding. cublasLt's
 * epilogues (bias, GELU, bias gradient) would save 2 to 3 ms of about 30 in bf16 and 1.5 % in fp32: not used. Measured:
 * none yet. */
#include "../common.cuh"
#include "cuda/backend_cuda.h"
#include "ksgrad/params.h"
#include "pointwise/bf16.h"

enum { THREADS = 256, EACH = 4, TILE = 32, TILE_ROWS = 8, PIECE_ROWS = 64, MAX_PIECES = 64, MAX_GRID_Y = 1024 };

/* y[i,:] = b. Block: x columns, y rows. */
template <typename T>
static __global__ void linear_bias_k(int64_t n, int64_t d, const T *__restrict__ b, T *__restrict__ y) {
    const int64_t c = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (c >= d) return;
    const T v = b[c];
    for (int64_t i = blockIdx.y; i < n; i += gridDim.y) y[i * d + c] = v;
}

static __global__ void round_k(int64_t n, const float *__restrict__ x, uint16_t *__restrict__ rounded) {
    const int64_t step = (int64_t)gridDim.x * (THREADS * EACH);
    for (int64_t first = (int64_t)blockIdx.x * (THREADS * EACH) + threadIdx.x; first < n; first += step) {
        float v[EACH];
        for (int e = 0; e < EACH; e++) v[e] = first + e * THREADS < n ? x[first + e * THREADS] : 0.0f;
        for (int e = 0; e < EACH; e++)
            if (first + e * THREADS < n) rounded[first + e * THREADS] = ks_bf16_bits(v[e]);
    }
}

/* part (pieces, d): sums over the rows of one piece. rounded: also y rounded, when there. Block (TILE columns,
 * TILE_ROWS); grid: x columns, y pieces. */
template <typename T>
static __global__ void linear_columns_k(int64_t n, int64_t d, int64_t piece_rows, const T *__restrict__ y,
                                        double *__restrict__ part, uint16_t *__restrict__ rounded) {
    KS_SHARED(double, sum, TILE_ROWS *TILE);
    const int64_t c = (int64_t)blockIdx.x * TILE + threadIdx.x, first = (int64_t)blockIdx.y * piece_rows;
    const int64_t last  = first + piece_rows < n ? first + piece_rows : n;
    double        total = 0.0;
    if (c < d)
        for (int64_t i = first + threadIdx.y; i < last; i += TILE_ROWS) {
            const T v = y[i * d + c];
            total += (double)v;
            if (rounded) rounded[i * d + c] = ks_bf16_bits((float)v);
        }
    sum[threadIdx.y * TILE + threadIdx.x] = total;
    __syncthreads();
    if (threadIdx.y == 0 && c < d && part) {
        double s = 0.0;
        for (int k = 0; k < TILE_ROWS; k++) s += sum[k * TILE + threadIdx.x];
        part[(int64_t)blockIdx.y * d + c] = s;
    }
}

template <typename T>
static __global__ void linear_column_sum_k(int64_t d, int64_t n_piece, const double *__restrict__ part,
                                           T *__restrict__ b_bar) {
    KS_GRID_STRIDE(c, d) {
        double s = 0.0;
        for (int64_t k = 0; k < n_piece; k++) s += part[k * d + c];
        b_bar[c] += (T)s;
    }
}

/* Column-major C (m, n) = op(A) op(B), added to C when add. */
static ks_status product(ks_cuda *cu, ks_precision precision, cublasOperation_t ta, cublasOperation_t tb, int m, int n,
                         int k, const void *a, int lda, const void *b, int ldb, int add, void *c, int ldc) {
    ks_status          st    = KS_OK;
    const double       add64 = add, one64 = 1.0;
    const float        add32 = (float)add, one32 = 1.0f;
    const int          wide  = precision == KS_FP64;
    const void        *alpha = wide ? (const void *)&one64 : &one32, *beta = wide ? (const void *)&add64 : &add32;
    const cudaDataType to = wide ? CUDA_R_64F : CUDA_R_32F, from = precision == KS_BF16 ? CUDA_R_16BF : to;
    const cublasComputeType_t sums = wide ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F;
    KS_CUBLAS_CHECK(cublasGemmEx(cu->blas, ta, tb, m, n, k, alpha, a, from, lda, b, from, ldb, beta, c, to, ldc, sums,
                                 CUBLAS_GEMM_DEFAULT));
done:
    return st;
}

/* x rounded, in scratch. */
static ks_status rounded_of(ks_ctx *ctx, int64_t n, const void *x, const void **out) {
    ks_status st = KS_OK;
    ks_cuda  *cu = ks_cuda_of(ctx);
    uint16_t *r  = NULL;
    KS_TRY(KS_TAKE(ks_ctx_scratch(ctx), r, n));
    KS_LAUNCH(round_k, ks_blocks(n, THREADS * EACH, 16 * cu->n_sm), THREADS, 0, cu->stream, n, (const float *)x, r);
    KS_LAUNCHED(cu);
    *out = r;
done:
    return st;
}

extern "C" ks_status ks_linear_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d_in, int64_t d_out,
                                        const void *x, const void *w, const void *b, void *y) {
    ks_status           st      = KS_OK;
    ks_cuda            *cu      = ks_cuda_of(ctx);
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const dim3          grid((unsigned)((d_out + THREADS - 1) / THREADS), (unsigned)ks_min64(n, MAX_GRID_Y));
    int                 in = 0, out = 0, rows = 0;
    KS_TRY(ks_int(n, &rows));
    KS_TRY(ks_int(d_in, &in));
    KS_TRY(ks_int(d_out, &out));
    if (b) {
        if (precision == KS_FP64)
            KS_LAUNCH(linear_bias_k<double>, grid, THREADS, 0, cu->stream, n, d_out, (const double *)b, (double *)y);
        else KS_LAUNCH(linear_bias_k<float>, grid, THREADS, 0, cu->stream, n, d_out, (const float *)b, (float *)y);
        KS_LAUNCHED(cu);
    }
    if (precision == KS_BF16) {
        KS_TRY(rounded_of(ctx, n * d_in, x, &x));
        KS_TRY(rounded_of(ctx, d_out * d_in, w, &w));
    }
    KS_TRY(product(cu, precision, CUBLAS_OP_T, CUBLAS_OP_N, out, rows, in, w, in, x, in, b != NULL, y, out));
done:
    ks_arena_release(scratch, mark);
    return st;
}

/* b_bar, when there, and y_bar rounded, when asked for. */
static ks_status columns(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d, const void *y_bar, void *b_bar,
                         uint16_t *rounded) {
    ks_status           st         = KS_OK;
    ks_cuda            *cu         = ks_cuda_of(ctx);
    ks_arena           *scratch    = ks_ctx_scratch(ctx);
    const ks_arena_mark mark       = ks_arena_get_mark(scratch);
    const int64_t       n_piece    = (int64_t)ks_blocks(n, PIECE_ROWS, MAX_PIECES); /* by n alone */
    const int64_t       piece_rows = (n + n_piece - 1) / n_piece;
    const dim3          grid((unsigned)((d + TILE - 1) / TILE), (unsigned)n_piece), block(TILE, TILE_ROWS);
    double             *part = NULL;
    if (b_bar) KS_TRY(KS_TAKE(scratch, part, n_piece * d));
    if (precision == KS_FP64)
        KS_LAUNCH(linear_columns_k<double>, grid, block, 0, cu->stream, n, d, piece_rows, (const double *)y_bar, part,
                  rounded);
    else
        KS_LAUNCH(linear_columns_k<float>, grid, block, 0, cu->stream, n, d, piece_rows, (const float *)y_bar, part,
                  rounded);
    KS_LAUNCHED(cu);
    if (b_bar) {
        const unsigned blocks = ks_blocks(d, THREADS, 16 * cu->n_sm);
        if (precision == KS_FP64)
            KS_LAUNCH(linear_column_sum_k<double>, blocks, THREADS, 0, cu->stream, d, n_piece, (const double *)part,
                      (double *)b_bar);
        else
            KS_LAUNCH(linear_column_sum_k<float>, blocks, THREADS, 0, cu->stream, d, n_piece, (const double *)part,
                      (float *)b_bar);
        KS_LAUNCHED(cu);
    }
done:
    ks_arena_release(scratch, mark);
    return st;
}

extern "C" ks_status ks_linear_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, int64_t d_in, int64_t d_out,
                                        const void *x, const void *w, const void *y_bar, void *x_bar, void *w_bar,
                                        void *b_bar) {
    ks_status           st      = KS_OK;
    ks_cuda            *cu      = ks_cuda_of(ctx);
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const int           rounds  = precision == KS_BF16 && (x_bar || w_bar);
    uint16_t           *rounded = NULL;
    int                 in = 0, out = 0, rows = 0;
    KS_TRY(ks_int(n, &rows));
    KS_TRY(ks_int(d_in, &in));
    KS_TRY(ks_int(d_out, &out));
    if (rounds) KS_TRY(KS_TAKE(scratch, rounded, n * d_out));
    if (rounds || b_bar) KS_TRY(columns(ctx, precision, n, d_out, y_bar, b_bar, rounded));
    if (rounds) {
        y_bar = rounded;
        if (x_bar) KS_TRY(rounded_of(ctx, d_out * d_in, w, &w));
        if (w_bar) KS_TRY(rounded_of(ctx, n * d_in, x, &x));
    }
    if (x_bar) KS_TRY(product(cu, precision, CUBLAS_OP_N, CUBLAS_OP_N, in, rows, out, w, in, y_bar, out, 1, x_bar, in));
    if (w_bar) KS_TRY(product(cu, precision, CUBLAS_OP_N, CUBLAS_OP_T, in, out, rows, x, in, y_bar, out, 1, w_bar, in));
done:
    ks_arena_release(scratch, mark);
    return st;
}
