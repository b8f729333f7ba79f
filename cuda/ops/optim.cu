/* optim.cu -- global norm, clip and AdamW update. CPU twin: src/ops/optim.c, optim_real.inc. Tests:
 * tests/ops/test_adamw.c.
 *   sum_squares  a block of threads for each KS_SUM_BLOCK elements, in fp64; then one block adds the partial sums.
 *                Which thread adds what depends on n alone: the same bits on every GPU, and in every run
 *   clip         one thread (formula: src/pointwise/frame_scalar.h)
 *   adamw        elementwise, 16 bytes a load where the arrays allow it; the scalars of the step are read from device
 *                memory, so that a captured step can be replayed
 *   pack, unpack elementwise, 16 bytes of the wide array an access; tests: test_pack.c
 * Budget, bytes a parameter in fp32: sum 4, update 16 read and 12 written. 302 M parameters: 1.2 GB and 8.5 GB: 0.3 ms
 * and 2.0 ms at 4.3 TB/s; pack and unpack 6 each: 0.4 ms; 12 flop a parameter and one square root and division. measured: none yet. */
#include "../common.cuh"
#include "../reduce.cuh"
#include "cuda/backend_cuda.h"
#include "ops/optim_ops.h"
#include "pointwise/bf16.h"
#include "pointwise/frame_scalar.h"

enum { THREADS = 256, SUM_THREADS = 1024 };

/* V elements as one access of up to 16 bytes. */
template <typename T, int V> struct alignas(sizeof(T) * V) pack { T x[V]; };
template <typename T> static int packed(const void *a, const void *b, const void *c, const void *d) {
    return (((uintptr_t)a | (uintptr_t)b | (uintptr_t)c | (uintptr_t)d) & 15) == 0 ? 16 / (int)sizeof(T) : 1;
}

/* part[k] of elements k KS_SUM_BLOCK ...; the same sums for V = 1 as for whole packs would be other bits, which is of
 * no consequence: the alignment of an array does not change. */
template <typename T, int V>
static __global__ void __launch_bounds__(THREADS, 4)
    sum_squares_k(int64_t n, int64_t n_block, const T *__restrict__ x, double *__restrict__ part) {
    KS_SHARED(double, shared, 32);
    for (int64_t k = blockIdx.x; k < n_block; k += gridDim.x) {
        const T          *xk    = x + k * KS_SUM_BLOCK;
        const int         len   = n - k * KS_SUM_BLOCK < KS_SUM_BLOCK ? (int)(n - k * KS_SUM_BLOCK) : (int)KS_SUM_BLOCK;
        const int         full  = len / V;
        double            sum   = 0.0;
        const pack<T, V> *packs = (const pack<T, V> *)xk;
        for (int i = (int)threadIdx.x; i < full; i += THREADS) {
            const pack<T, V> p = packs[i];
            for (int j = 0; j < V; j++) sum += (double)p.x[j] * (double)p.x[j];
        }
        for (int i = full * V + (int)threadIdx.x; i < len; i += THREADS) sum += (double)xk[i] * (double)xk[i];
        sum = ks_block_sum(sum, shared);
        if (threadIdx.x == 0) part[k] = sum;
        __syncthreads(); /* shared is written again */
    }
}

static __global__ void sum_parts_k(int64_t n_block, const double *__restrict__ part, double *__restrict__ out) {
    KS_SHARED(double, shared, 32);
    double sum = 0.0;
    for (int64_t k = threadIdx.x; k < n_block; k += SUM_THREADS) sum += part[k];
    sum = ks_block_sum(sum, shared);
    if (threadIdx.x == 0) *out = sum;
}

static __global__ void clip_k(double clip, double n_frame, const double *__restrict__ sum_squares,
                              const double *__restrict__ n_counted, double *__restrict__ state) {
    ks_clip_point(clip, n_frame, *sum_squares, n_counted ? *n_counted : n_frame, &state[KS_STEP_NORM],
                  &state[KS_STEP_SCALE], &state[KS_STEP_OK]);
}

template <typename T> struct step_scalars { T lr, eps, decay, scale, b1, b2, a1, a2, u1, u2; };
template <typename T> static __device__ __forceinline__ void update(const step_scalars<T> &c, T g, T &p, T &m, T &v) {
    g = c.scale * g;
    m = c.b1 * m + c.a1 * g;
    v = c.b2 * v + c.a2 * g * g;
    p -= c.lr * (c.u1 * m / (sqrt(c.u2 * v) + c.eps) + c.decay * p);
}

template <typename T, int V>
static __global__ void __launch_bounds__(THREADS, 4)
    adamw_k(int64_t n, ks_adamw_scalars s, const double *__restrict__ state, const T *__restrict__ g, T *__restrict__ p,
            T *__restrict__ m, T *__restrict__ v) {
    typedef pack<T, V> packT;
    if (state[KS_STEP_OK] == 0.0) return;
    const step_scalars<T> c = {(T)state[KS_STEP_LR],     (T)s.eps,           (T)s.weight_decay,
                               (T)state[KS_STEP_SCALE],  (T)s.beta1,         (T)s.beta2,
                               (T)(1.0 - s.beta1),       (T)(1.0 - s.beta2), (T)state[KS_STEP_UNBIAS1],
                               (T)state[KS_STEP_UNBIAS2]};
    KS_GRID_STRIDE(i, n / V) {
        const packT gi = ((const packT *)g)[i];
        packT       pi = ((const packT *)p)[i], mi = ((const packT *)m)[i], vi = ((const packT *)v)[i];
        for (int j = 0; j < V; j++) update(c, gi.x[j], pi.x[j], mi.x[j], vi.x[j]);
        ((packT *)p)[i] = pi;
        ((packT *)m)[i] = mi;
        ((packT *)v)[i] = vi;
    }
    if (blockIdx.x == 0 && (int64_t)threadIdx.x < n % V) {
        const int64_t i = n / V * V + threadIdx.x;
        update(c, g[i], p[i], m[i], v[i]);
    }
}

template <typename T, int V> static ks_status sum_squares(ks_ctx *ctx, int64_t n, const T *x, double *sum) {
    ks_status           st      = KS_OK;
    ks_cuda            *cu      = ks_cuda_of(ctx);
    ks_arena           *arena   = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(arena);
    const int64_t       n_block = (n + KS_SUM_BLOCK - 1) / KS_SUM_BLOCK;
    double             *part    = NULL;
    KS_TRY(KS_TAKE(arena, part, n_block));
    if (n_block) {
        KS_LAUNCH((sum_squares_k<T, V>), ks_blocks(n_block, 1, 8 * cu->n_sm), THREADS, 0, cu->stream, n, n_block, x,
                  part);
        KS_LAUNCHED(cu);
    }
    KS_LAUNCH(sum_parts_k, 1, SUM_THREADS, 0, cu->stream, n_block, part, sum);
    KS_LAUNCHED(cu);
done:
    ks_arena_release(arena, mark);
    return st;
}

extern "C" ks_status ks_sum_squares_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, double *sum) {
    if (precision == KS_FP64)
        return packed<double>(x, x, x, x) > 1 ? sum_squares<double, 2>(ctx, n, (const double *)x, sum)
                                              : sum_squares<double, 1>(ctx, n, (const double *)x, sum);
    return packed<float>(x, x, x, x) > 1 ? sum_squares<float, 4>(ctx, n, (const float *)x, sum)
                                         : sum_squares<float, 1>(ctx, n, (const float *)x, sum);
}

extern "C" ks_status ks_clip_cuda(ks_ctx *ctx, double clip, double n_frame, const double *sum_squares,
                                  const double *n_counted, double *state) {
    ks_status st = KS_OK;
    ks_cuda  *cu = ks_cuda_of(ctx);
    KS_LAUNCH(clip_k, 1, 1, 0, cu->stream, clip, n_frame, sum_squares, n_counted, state);
    KS_LAUNCHED(cu);
done:
    return st;
}

template <typename T, int V>
static ks_status adamw_update(ks_ctx *ctx, int64_t n, const ks_adamw_scalars *c, const double *state, const void *g,
                              void *p, void *m, void *v) {
    ks_status st = KS_OK;
    ks_cuda  *cu = ks_cuda_of(ctx);
    KS_LAUNCH((adamw_k<T, V>), ks_blocks(n / V, THREADS, 16 * cu->n_sm), THREADS, 0, cu->stream, n, *c, state,
              (const T *)g, (T *)p, (T *)m, (T *)v);
    KS_LAUNCHED(cu);
done:
    return st;
}

extern "C" ks_status ks_adamw_update_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const ks_adamw_scalars *c,
                                          const double *state, const void *g, void *p, void *m, void *v) {
    if (precision == KS_FP64)
        return packed<double>(g, p, m, v) > 1 ? adamw_update<double, 2>(ctx, n, c, state, g, p, m, v)
                                              : adamw_update<double, 1>(ctx, n, c, state, g, p, m, v);
    return packed<float>(g, p, m, v) > 1 ? adamw_update<float, 4>(ctx, n, c, state, g, p, m, v)
                                         : adamw_update<float, 1>(ctx, n, c, state, g, p, m, v);
}

/* ---- the gradient on the wire ---- */

template <typename T, int V>
static __global__ void __launch_bounds__(THREADS) pack_k(int64_t n, const T *__restrict__ x, uint16_t *__restrict__ y) {
    KS_GRID_STRIDE(i, n / V) {
        const pack<T, V>  from = ((const pack<T, V> *)x)[i];
        pack<uint16_t, V> to;
        for (int j = 0; j < V; j++) to.x[j] = ks_bf16_bits((float)from.x[j]);
        ((pack<uint16_t, V> *)y)[i] = to;
    }
    if (blockIdx.x == 0 && (int64_t)threadIdx.x < n % V) {
        const int64_t i = n / V * V + threadIdx.x;
        y[i]            = ks_bf16_bits((float)x[i]);
    }
}

template <typename T, int V>
static __global__ void __launch_bounds__(THREADS)
    unpack_k(int64_t n, const uint16_t *__restrict__ y, T *__restrict__ x) {
    KS_GRID_STRIDE(i, n / V) {
        const pack<uint16_t, V> from = ((const pack<uint16_t, V> *)y)[i];
        pack<T, V>              to;
        for (int j = 0; j < V; j++) to.x[j] = (T)ks_bf16_value(from.x[j]);
        ((pack<T, V> *)x)[i] = to;
    }
    if (blockIdx.x == 0 && (int64_t)threadIdx.x < n % V) {
        const int64_t i = n / V * V + threadIdx.x;
        x[i]            = (T)ks_bf16_value(y[i]);
    }
}

/* V elements of T fill 16 bytes; may both arrays be read and written so? */
template <typename T> static int both_packed(const void *x, const uint16_t *y) {
    return ((uintptr_t)x & 15) == 0 && (uintptr_t)y % (16 / sizeof(T) * sizeof *y) == 0;
}

template <typename T, int V> static ks_status pack_bf16(ks_ctx *ctx, int64_t n, const void *x, uint16_t *y) {
    ks_status st = KS_OK;
    ks_cuda  *cu = ks_cuda_of(ctx);
    KS_LAUNCH((pack_k<T, V>), ks_blocks(n / V, THREADS, 16 * cu->n_sm), THREADS, 0, cu->stream, n, (const T *)x, y);
    KS_LAUNCHED(cu);
done:
    return st;
}

template <typename T, int V> static ks_status unpack_bf16(ks_ctx *ctx, int64_t n, const uint16_t *y, void *x) {
    ks_status st = KS_OK;
    ks_cuda  *cu = ks_cuda_of(ctx);
    KS_LAUNCH((unpack_k<T, V>), ks_blocks(n / V, THREADS, 16 * cu->n_sm), THREADS, 0, cu->stream, n, y, (T *)x);
    KS_LAUNCHED(cu);
done:
    return st;
}

extern "C" ks_status ks_pack_bf16_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, uint16_t *y) {
    if (precision == KS_FP64)
        return both_packed<double>(x, y) ? pack_bf16<double, 2>(ctx, n, x, y) : pack_bf16<double, 1>(ctx, n, x, y);
    return both_packed<float>(x, y) ? pack_bf16<float, 4>(ctx, n, x, y) : pack_bf16<float, 1>(ctx, n, x, y);
}

extern "C" ks_status ks_unpack_bf16_cuda(ks_ctx *ctx, ks_precision precision, int64_t n, const uint16_t *y, void *x) {
    if (precision == KS_FP64)
        return both_packed<double>(x, y) ? unpack_bf16<double, 2>(ctx, n, y, x) : unpack_bf16<double, 1>(ctx, n, y, x);
    return both_packed<float>(x, y) ? unpack_bf16<float, 4>(ctx, n, y, x) : unpack_bf16<float, 1>(ctx, n, y, x);
}
