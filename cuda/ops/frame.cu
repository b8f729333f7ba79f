/* frame.cu -- the geometry side of a network: canonical frames, position features, rotation of AO matrices, constant
 * biases. Formulas: src/pointwise/frame_point.h; CPU twin: src/ops/net_frame_cpu.c. Tests: tests/ops/test_frame.c,
 * test_position.c, test_rotate.c, test_bias.c.
 *   frame     one thread a frame: sums over a few atoms, one Jacobi diagonalisation of 3 x 3 or 4 x 4
 *   position  one thread a coordinate: 20 steps of the addition theorem
 *   rotate    out = D M D^T: a block has the rows of one shell of one frame. x = D_shell M (rows) in shared memory,
 *             then each element of the rows gathers its column shell: out_ic = sum_j x_ij D_cj. The adjoint is the
 *             inverse rotation, added
 *   bias      one block a frame: largest absolute value, then the scaled copy
 * Every element has one writer and one order of its sum; a maximum has none: bitwise repeatable. A frame that is not
 * defined or not finite raises KS_FAULT_FRAME, and its results are NaN.
 * Budget, B = 128 uracils (132 AOs): rotate and bias are bound by memory: 36 MB (rotate; adjoint 54 MB) and 27 MB (bias
 * in fp32): 8, 12 and 6 us at 4.3 TB/s; rotate does 2 flop for each of about 2 x 3 terms an element, 26 MFLOP. frame:
 * a chain of about 40 rotations with a square root and a division each, some 20 us at one thread a frame, whatever
 * the batch. position: 2 MB. measured: none yet. */
#include "../common.cuh"
#include "../reduce.cuh"
#include "cuda/backend_cuda.h"
#include "ops/net_ops.h"
#include "pointwise/frame_point.h"

enum {
    FRAME_THREADS    = 32,
    POSITION_THREADS = 256,
    ROTATE_THREADS   = 256,
    BIAS_THREADS     = 512,
    D_TERMS          = 35, /* of the blocks of s, p and d */
    SHARED_MOST      = 160 << 10
};

typedef struct bond_atoms {
    int32_t atom[3];
} bond_atoms;

static __global__ void frame_fwd_k(ks_frame_kind kind, int64_t n_frame, int64_t n_atom, const int32_t *__restrict__ Z,
                                   const double *__restrict__ ref, bond_atoms bond, const double *__restrict__ pos,
                                   const int32_t *__restrict__ slot, unsigned long long *fault,
                                   double *__restrict__ rot, double *__restrict__ pos_out) {
    KS_GRID_STRIDE(b, n_frame) {
        const double *p = pos + (slot ? slot[b] : b) * n_atom * 3;
        double       *r = rot + 9 * b, *out = pos_out + b * n_atom * 3;
        if (ks_frame_at(kind, n_atom, Z, ref, bond.atom, p, r, out) != KS_FRAME_FOUND) {
            ks_fault_raise(fault, KS_FAULT_FRAME, b);
            for (int i = 0; i < 9; i++) r[i] = NAN;
            for (int64_t i = 0; i < 3 * n_atom; i++) out[i] = NAN;
        }
    }
}

extern "C" ks_status ks_frame_fwd_cuda(ks_ctx *ctx, ks_frame_kind kind, int64_t n_frame, int64_t n_atom,
                                       const int32_t *Z, const double *ref, const int32_t bond[3], const double *pos,
                                       const int32_t *slot, double *rot, double *pos_out) {
    ks_status  st    = KS_OK;
    ks_cuda   *cu    = ks_cuda_of(ctx);
    bond_atoms atoms = {{0, 0, 0}};
    for (int k = 0; bond && k < 3; k++) atoms.atom[k] = bond[k];
    KS_LAUNCH(frame_fwd_k, ks_blocks(n_frame, FRAME_THREADS, 16 * cu->n_sm), FRAME_THREADS, 0, cu->stream, kind,
              n_frame, n_atom, Z, ref, atoms, pos, slot, cu->fault, rot, pos_out);
    KS_LAUNCHED(cu);
done:
    return st;
}

template <typename T>
static __global__ void position_fwd_k(int64_t n, const double *__restrict__ pos, T *__restrict__ feature) {
    KS_GRID_STRIDE(i, n) { /* coordinate i % 3 of atom i / 3 */
        T           *f = feature + i / 3 * KS_POS_FEATURES + i % 3;
        double       c = 1, s = 0;
        const double c1 = cos(KS_POS_OMEGA * pos[i]), s1 = sin(KS_POS_OMEGA * pos[i]);
        f[0] = (T)pos[i];
        for (int k = 0; k < KS_POS_FREQ; k++) {
            f[3 + 3 * k]                 = (T)c;
            f[3 + 3 * (KS_POS_FREQ + k)] = (T)s;
            ks_angle_step(c1, s1, &c, &s);
        }
    }
}

extern "C" ks_status ks_position_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_atom,
                                          const double *pos, void *feature) {
    ks_status      st   = KS_OK;
    ks_cuda       *cu   = ks_cuda_of(ctx);
    const int64_t  n    = 3 * n_frame * n_atom;
    const unsigned grid = ks_blocks(n, POSITION_THREADS, 16 * cu->n_sm);
    if (precision == KS_FP64)
        KS_LAUNCH(position_fwd_k<double>, grid, POSITION_THREADS, 0, cu->stream, n, pos, (double *)feature);
    else KS_LAUNCH(position_fwd_k<float>, grid, POSITION_THREADS, 0, cu->stream, n, pos, (float *)feature);
    KS_LAUNCHED(cu);
done:
    return st;
}

/* Place of the block of angular momentum l among the D_TERMS elements of s, p and d: 0, 1, 10. */
static __device__ __forceinline__ int d_place(int l) { return l * (4 * l * l - 1) / 3; }

/* Dynamic shared memory: x (5, n), then column (n): 4 times the first AO of the shell of an AO, plus its l. */
template <int ADD>
static __global__ void rotate_k(int64_t n_item, int64_t n_shell, int64_t n, const int32_t *__restrict__ shell_l,
                                const int32_t *__restrict__ shell_ao, int inverse, const double *__restrict__ rot,
                                const double *__restrict__ M, const int32_t *__restrict__ slot,
                                double *__restrict__ out) {
    KS_SHARED(double, D, D_TERMS);
    KS_SHARED_DYNAMIC(double, x);
    int32_t  *column = (int32_t *)(x + 5 * n);
    const int self = (int)threadIdx.x, n_thread = (int)blockDim.x;
    for (int64_t k = self; k < n_shell; k += n_thread)
        for (int m = 0; m <= 2 * shell_l[k]; m++) column[shell_ao[k] + m] = 4 * shell_ao[k] + shell_l[k];
    for (int64_t item = blockIdx.x; item < n_item; item += gridDim.x) {
        const int64_t b = item / n_shell;
        const int     l = shell_l[item % n_shell], ao = shell_ao[item % n_shell], w = 2 * l + 1;
        const double *m = M + (slot ? slot[b] : b) * n * n + ao * n;
        double       *o = out + b * n * n + ao * n;
        for (int k = self; k < D_TERMS; k += n_thread) {
            const int dl = k >= 10 ? 2 : k >= 1, at = k - d_place(dl), i = at / (2 * dl + 1), j = at % (2 * dl + 1);
            D[k] = ks_shell_rotation_at(dl, rot + 9 * b, inverse ? j : i, inverse ? i : j);
        }
        __syncthreads();
        const double *d = D + d_place(l);
        for (int64_t c = self; c < n; c += n_thread) {
            double r[5];
            for (int j = 0; j < 5; j++) r[j] = j < w ? m[j * n + c] : 0.0;
            for (int i = 0; i < w; i++) {
                double sum = 0.0;
                for (int j = 0; j < 5; j++)
                    if (j < w) sum += d[i * w + j] * r[j];
                x[i * n + c] = sum;
            }
        }
        __syncthreads();
        for (int64_t c = self; c < n; c += n_thread) {
            const int     q = column[c] / 4, wq = 2 * (column[c] % 4) + 1;
            const double *dq = D + d_place(column[c] % 4) + (c - q) * wq;
            for (int i = 0; i < w; i++) {
                double sum = 0.0;
                for (int j = 0; j < wq; j++) sum += dq[j] * x[i * n + q + j];
                o[i * n + c] = ADD ? o[i * n + c] + sum : sum;
            }
        }
        __syncthreads(); /* D and x are written again */
    }
}

template <int ADD>
static ks_status rotate(ks_ctx *ctx, int64_t n_frame, const ks_ao_blocks *blocks, int inverse, const double *rot,
                        const double *M, const int32_t *slot, double *out) {
    ks_status      st = KS_OK;
    ks_cuda       *cu = ks_cuda_of(ctx);
    const int64_t  n = blocks->n_ao, n_item = n_frame * blocks->n_shell;
    const int64_t  bytes   = 5 * n * (int64_t)sizeof(double) + n * (int64_t)sizeof(int32_t);
    const unsigned threads = (unsigned)ks_min64((n + 31) / 32 * 32, ROTATE_THREADS);
    KS_CHECK(bytes <= SHARED_MOST, KS_ERR_UNSUPPORTED, "rotate: n_ao=%lld needs %lld bytes of shared memory, limit %d",
             (long long)n, (long long)bytes, (int)SHARED_MOST);
    if (n_item == 0) goto done;
    KS_CUDA_CHECK(cudaFuncSetAttribute(rotate_k<ADD>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    KS_LAUNCH(rotate_k<ADD>, ks_blocks(n_item, 1, 64 * cu->n_sm), threads, (size_t)bytes, cu->stream, n_item,
              blocks->n_shell, n, blocks->l, blocks->ao, inverse, rot, M, slot, out);
    KS_LAUNCHED(cu);
done:
    return st;
}

extern "C" ks_status ks_rotate_fwd_cuda(ks_ctx *ctx, int64_t n_frame, const ks_ao_blocks *blocks, int inverse,
                                        const double *rot, const double *M, const int32_t *slot, double *out) {
    return rotate<0>(ctx, n_frame, blocks, inverse, rot, M, slot, out);
}

/* out = D M D^T is linear in M and <out_bar, D dM D^T> = <D^T out_bar D, dM>. */
extern "C" ks_status ks_rotate_adj_cuda(ks_ctx *ctx, int64_t n_frame, const ks_ao_blocks *blocks, int inverse,
                                        const double *rot, const double *out_bar, double *M_bar) {
    return rotate<1>(ctx, n_frame, blocks, !inverse, rot, out_bar, NULL, M_bar);
}

template <typename T>
static __global__ void bias_fwd_k(int64_t size, const double *__restrict__ M, T *__restrict__ bias) {
    KS_SHARED(double, shared, 32);
    const double *m    = M + blockIdx.x * size;
    T            *o    = bias + blockIdx.x * size;
    double        most = 0.0;
    for (int64_t i = threadIdx.x; i < size; i += blockDim.x)
        if (fabs(m[i]) > most) most = fabs(m[i]); /* a NaN shows in its own element */
    most               = ks_block_max(most, shared);
    const double scale = most == 0.0 ? 0.0 : 1.0 / most;
    for (int64_t i = threadIdx.x; i < size; i += blockDim.x) o[i] = (T)(scale * m[i]);
}

extern "C" ks_status ks_bias_fwd_cuda(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n, const double *M,
                                      void *bias) {
    ks_status      st      = KS_OK;
    ks_cuda       *cu      = ks_cuda_of(ctx);
    const unsigned threads = (unsigned)ks_min64((n * n + 31) / 32 * 32, BIAS_THREADS);
    if (precision == KS_FP64)
        KS_LAUNCH(bias_fwd_k<double>, (unsigned)n_frame, threads, 0, cu->stream, n * n, M, (double *)bias);
    else KS_LAUNCH(bias_fwd_k<float>, (unsigned)n_frame, threads, 0, cu->stream, n * n, M, (float *)bias);
    KS_LAUNCHED(cu);
done:
    return st;
}
