/* net_elementwise.cu -- GELU and the residual sum, forward and adjoint. CPU twin: src/ops/net_lanes_real.inc. Test:
 * tests/ops/test_gelu.c.
 *   gelu      y = x s(v),  v = 2 sqrt(2/pi) (x + 0.044715 x^3),  s(v) = 1 / (1 + e^-v) = (1 + tanh(v/2)) / 2
 *             x_bar += y_bar (s + x s (1 - s) v'),  v' = 2 sqrt(2/pi) (1 + 3 0.044715 x^2)
 *   residual  y = x + f;  x_bar += y_bar,  f_bar += y_bar, both in one pass
 * With e = exp(-|v|): s = 1 / (1 + e) for v >= 0 and e / (1 + e) below; s (1 - s) = e / (1 + e)^2: no cancellation.
 * A thread has EACH elements at a time, THREADS apart: loads of all of them are under way together. No order matters.
 * Budget an element: gelu fwd 2 T bytes, adj 4 T; residual fwd 3 T, adj 5 T (T = 4 in fp32 and bf16); 20 flop.
 * Uracil, B = 32, d = 1024, a layer, fp32: gelu over n = 17.3 M elements 32 us and 64 us, residual over 4.3 M (twice) 24
 * us and 40 us on an H200 at 4.3 TB/s. Measured: none yet. */
#include "../common.cuh"
#include "cuda/backend_cuda.h"
#include "ksgrad/params.h"

enum { THREADS = 256, EACH = 4 };

static __device__ __forceinline__ float  exp_of(float x) { return expf(x); }
static __device__ __forceinline__ double exp_of(double x) { return exp(x); }

template <typename T> static __device__ __forceinline__ void sigmoid(T x, T *s, T *slope) {
    const T v = T(1.5957691216057308) * x * (T(1) + T(0.044715) * x * x);
    const T e = exp_of(v < T(0) ? v : -v), r = T(1) / (T(1) + e);
    *s     = v < T(0) ? r * e : r;
    *slope = e * r * r;
}
template <typename T> static __device__ __forceinline__ T gelu(T x) {
    T s, slope;
    sigmoid(x, &s, &slope);
    return x * s;
}
template <typename T> static __device__ __forceinline__ T gelu_slope(T x) {
    T s, slope;
    sigmoid(x, &s, &slope);
    return s + x * slope * (T(1.5957691216057308) * (T(1) + T(0.134145) * x * x));
}

/* i of element `e` of this thread's turn that starts at `first`. */
#define TURNS(first, n)                                                                                                \
    for (int64_t first = (int64_t)blockIdx.x * (THREADS * EACH) + threadIdx.x; first < (n);                            \
         first += (int64_t)gridDim.x * (THREADS * EACH))

template <typename T> static __global__ void gelu_fwd_k(int64_t n, const T *__restrict__ x, T *__restrict__ y) {
    TURNS(first, n) {
        T v[EACH];
        for (int e = 0; e < EACH; e++) v[e] = first + e * THREADS < n ? x[first + e * THREADS] : T(0);
        for (int e = 0; e < EACH; e++)
            if (first + e * THREADS < n) y[first + e * THREADS] = gelu(v[e]);
    }
}

template <typename T>
static __global__ void gelu_adj_k(int64_t n, const T *__restrict__ x, const T *__restrict__ y_bar,
                                  T *__restrict__ x_bar) {
    TURNS(first, n) {
        T v[EACH], b[EACH], sum[EACH];
        for (int e = 0; e < EACH; e++) {
            const int64_t i = first + e * THREADS;
            v[e]            = i < n ? x[i] : T(0);
            b[e]            = i < n ? y_bar[i] : T(0);
            sum[e]          = i < n ? x_bar[i] : T(0);
        }
        for (int e = 0; e < EACH; e++)
            if (first + e * THREADS < n) x_bar[first + e * THREADS] = sum[e] + b[e] * gelu_slope(v[e]);
    }
}

template <typename T>
static __global__ void residual_fwd_k(int64_t n, const T *__restrict__ x, const T *__restrict__ f, T *__restrict__ y) {
    TURNS(first, n) {
        T a[EACH], b[EACH];
        for (int e = 0; e < EACH; e++) {
            const int64_t i = first + e * THREADS;
            a[e]            = i < n ? x[i] : T(0);
            b[e]            = i < n ? f[i] : T(0);
        }
        for (int e = 0; e < EACH; e++)
            if (first + e * THREADS < n) y[first + e * THREADS] = a[e] + b[e];
    }
}

template <typename T>
static __global__ void residual_adj_k(int64_t n, const T *__restrict__ y_bar, T *__restrict__ x_bar,
                                      T *__restrict__ f_bar) {
    TURNS(first, n) {
        T b[EACH];
        for (int e = 0; e < EACH; e++) b[e] = first + e * THREADS < n ? y_bar[first + e * THREADS] : T(0);
        for (int e = 0; e < EACH; e++) {
            const int64_t i = first + e * THREADS;
            if (i < n && x_bar) x_bar[i] += b[e];
            if (i < n && f_bar) f_bar[i] += b[e];
        }
    }
}

extern "C" ks_status ks_gelu_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, void *y) {
    ks_status      st    = KS_OK;
    ks_cuda       *cu    = ks_cuda_of(ctx);
    const unsigned block = ks_blocks(n, THREADS * EACH, 16 * cu->n_sm);
    if (precision == KS_FP32)
        KS_LAUNCH(gelu_fwd_k<float>, block, THREADS, 0, cu->stream, n, (const float *)x, (float *)y);
    else KS_LAUNCH(gelu_fwd_k<double>, block, THREADS, 0, cu->stream, n, (const double *)x, (double *)y);
    KS_LAUNCHED(cu);
done:
    return st;
}

extern "C" ks_status ks_gelu_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, const void *y_bar,
                                      void *x_bar) {
    ks_status      st    = KS_OK;
    ks_cuda       *cu    = ks_cuda_of(ctx);
    const unsigned block = ks_blocks(n, THREADS * EACH, 16 * cu->n_sm);
    if (precision == KS_FP32)
        KS_LAUNCH(gelu_adj_k<float>, block, THREADS, 0, cu->stream, n, (const float *)x, (const float *)y_bar,
                  (float *)x_bar);
    else
        KS_LAUNCH(gelu_adj_k<double>, block, THREADS, 0, cu->stream, n, (const double *)x, (const double *)y_bar,
                  (double *)x_bar);
    KS_LAUNCHED(cu);
done:
    return st;
}

extern "C" ks_status ks_residual_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, const void *f,
                                          void *y) {
    ks_status      st    = KS_OK;
    ks_cuda       *cu    = ks_cuda_of(ctx);
    const unsigned block = ks_blocks(n, THREADS * EACH, 16 * cu->n_sm);
    if (precision == KS_FP32)
        KS_LAUNCH(residual_fwd_k<float>, block, THREADS, 0, cu->stream, n, (const float *)x, (const float *)f,
                  (float *)y);
    else
        KS_LAUNCH(residual_fwd_k<double>, block, THREADS, 0, cu->stream, n, (const double *)x, (const double *)f,
                  (double *)y);
    KS_LAUNCHED(cu);
done:
    return st;
}

extern "C" ks_status ks_residual_adj_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const void *y_bar,
                                          void *x_bar, void *f_bar) {
    ks_status      st    = KS_OK;
    ks_cuda       *cu    = ks_cuda_of(ctx);
    const unsigned block = ks_blocks(n, THREADS * EACH, 16 * cu->n_sm);
    if (!x_bar && !f_bar) goto done;
    if (precision == KS_FP32)
        KS_LAUNCH(residual_adj_k<float>, block, THREADS, 0, cu->stream, n, (const float *)y_bar, (float *)x_bar,
                  (float *)f_bar);
    else
        KS_LAUNCH(residual_adj_k<double>, block, THREADS, 0, cu->stream, n, (const double *)y_bar, (double *)x_bar,
                  (double *)f_bar);
    KS_LAUNCHED(cu);
done:
    return st;
}
