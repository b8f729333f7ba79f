/* linalg_eigh_block.cu -- symmetric eigenproblem of matrices that fit in the shared memory of a block (n <= 135): a
 * block a matrix. Larger ones: linalg_eigh.cu. Test: tests/ops/test_linalg.c, test_linalg_slots.c.
 *
 * An own kernel, because a step with cuSOLVER calls in it cannot be relied on to be recorded as a CUDA graph
 * (github.com/cupy/cupy/issues/6290), and because a frame of 132 AOs takes some 90 us in a library's batch, as far as
 * figures are known (linalg_eigh.cu).
 *   1. A = Q T Q^T by Householder reflections H_k = 1 - tau v v^T, from the first column on:
 *      p = tau A v,  w = p - (tau/2) <p, v> v,  A -= v w^T + w v^T         (Golub, Van Loan, Matrix Computations, 8.3)
 *   2. Q = H_0 H_1 ..., formed in place from the last one on
 *   3. T = U diag(w) U^T by implicit QL (Dubrulle, Martin, Wilkinson, Numer. Math. 12 (1968) 377). The chain of
 *      rotations is what takes the time: four sweeps run as a train, a lane each, two rotations behind each other, with
 *      the eigenvalues of the leading 4 x 4 block as shifts (van de Geijn, SIAM J. Matrix Anal. Appl. 14 (1993) 180),
 *      while the other warps apply the train before to the rows of Q
 *   4. eigenvalues in ascending order, the columns of Q U with them
 * A frame with elements that are not finite, or whose QL iteration does not end, gets w = NaN and v = 1.
 * One order of all sums, fixed by n: the same bits in every run and batch.
 * Elements between 1e-150 and 1e150 in size, where there is no overflow in their squares.
 * Budget, n = 132 (uracil): 160 kB of shared memory, so one block an SM, and 132 matrices take as long as one.
 *   1. n^3 doubles through shared memory (one read for p, one read and write for A) at 128 bytes a cycle: 144,000
 *      cycles; 131 columns of 4 barriers and two chains of shuffles: 120,000
 *   2. as many doubles, 3 barriers: 190,000
 *   3. 175 trains, 7,000 steps (counted; single sweeps would be 280 and 20,000) in a chain of about 176 cycles each,
 *      and 1,500 of 136 for the shifts: 1,500,000; applying the rotations, 20 cycles each, is hidden behind that
 * in all 2.0 million cycles: 1.1 ms at 1.75 GHz for 1 to 132 matrices, 9 us a frame for 128. Measured: none yet. */
#include "linalg_eigh_block.cuh"
#include <float.h>
#include "../reduce.cuh"

enum { THREADS = 512, WARP = 32, WARPS = THREADS / WARP, MAX_TRAINS = 60, TRAIN = 4, SHARED_MOST = 162 << 10 };

/* Doubles of shared memory: z (n, ld), d and e, and one after the other in the same place: tau, v, w (n each) with
 * partial sums; the rotations of two trains with room for shifts. */
static int64_t shared_doubles(int64_t n) {
    const int64_t reflect = 3 * n + WARPS * WARP, turn = 4 * TRAIN * n + 2 * TRAIN;
    return n * (n | 1) + 2 * n + (reflect > turn ? reflect : turn);
}

/* part[g * width + j - first] = sum over the rows i = first + g, first + g + groups, ... of v_i z_ij: a warp has 32
 * columns and a share of the rows. Returns the number of shares. */
static __device__ __forceinline__ int column_sums(int n, int ld, int first, const double *z, const double *v,
                                                  double *part) {
    const int width = n - first, strips = (width + WARP - 1) / WARP, groups = WARPS / strips;
    const int warp = (int)threadIdx.x / WARP, group = warp / strips,
              j = first + warp % strips * WARP + (int)threadIdx.x % WARP;
    if (group < groups && j < n) {
        double even = 0.0, odd = 0.0;
        int    i = first + group;
        for (; i + groups < n; i += 2 * groups) {
            even += v[i] * z[i * ld + j];
            odd += v[i + groups] * z[(i + groups) * ld + j];
        }
        if (i < n) even += v[i] * z[i * ld + j];
        part[group * width + j - first] = even + odd;
    }
    return groups;
}

static __device__ __forceinline__ double total(const double *part, int groups, int width, int j) {
    double sum = 0.0;
    for (int g = 0; g < groups; g++) sum += part[g * width + j];
    return sum;
}

/* z becomes its reflectors, v_k without its leading 1 below the subdiagonal of column k, with the diagonal as it is. */
static __device__ void tridiagonal(int n, int ld, double *z, double *e, double *tau, double *v, double *w,
                                   double *part) {
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    for (int k = 0; k + 2 < n; k++) {
        const int first = k + 1, width = n - first;
        double    below = 0.0; /* every warp does the same sums: no barrier for them */
        for (int i = k + 2 + lane; i < n; i += WARP) below += z[i * ld + k] * z[i * ld + k];
        below              = ks_warp_sum(below);
        const double alpha = z[first * ld + k], length = sqrt(alpha * alpha + below);
        const double beta = below == 0.0 ? alpha : alpha > 0.0 ? -length : length;
        const double t = below == 0.0 ? 0.0 : (beta - alpha) / beta, scale = below == 0.0 ? 0.0 : 1.0 / (alpha - beta);
        if (warp == 0)
            for (int i = first + lane; i < n; i += WARP) v[i] = i == first ? 1.0 : scale * z[i * ld + k];
        if (threadIdx.x == 0) e[k] = beta, tau[k] = t;
        __syncthreads();
        const int groups = column_sums(n, ld, first, z, v, part);
        __syncthreads();
        if (warp == 0) {
            double pv = 0.0;
            for (int j = lane; j < width; j += WARP) {
                w[first + j] = t * total(part, groups, width, j);
                pv += w[first + j] * v[first + j];
            }
            pv = 0.5 * t * ks_warp_sum(pv);
            for (int j = first + lane; j < n; j += WARP) w[j] -= pv * v[j];
        }
        __syncthreads();
        for (int i = first + warp; i < n; i += WARPS)
            for (int j = first + lane; j < n; j += WARP) z[i * ld + j] -= v[i] * w[j] + w[i] * v[j];
        for (int i = first + (int)threadIdx.x; i < n; i += THREADS) z[i * ld + k] = v[i];
        __syncthreads();
    }
}

/* z = H_0 H_1 ... H_(n-3). */
static __device__ void form_q(int n, int ld, double *z, const double *tau, double *v, double *part) {
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    for (int k = n - 2; k >= -1; k--) { /* rows and columns from k + 2 on are done; k + 1 is one of the unit matrix */
        const int first = k + 1, width = n - first, reflects = k >= 0 && k + 2 < n;
        for (int i = first + (int)threadIdx.x; i < n; i += THREADS) {
            v[i]              = !reflects || i == first ? 1.0 : z[i * ld + k];
            z[first * ld + i] = i == first ? 1.0 : 0.0;
            if (i > first) z[i * ld + first] = 0.0;
        }
        __syncthreads();
        if (reflects) { /* the same for all threads */
            const int groups = column_sums(n, ld, first, z, v, part);
            __syncthreads();
            for (int j = lane; j < width; j += WARP) {
                const double t = tau[k] * total(part, groups, width, j);
                for (int i = first + warp; i < n; i += WARPS) z[i * ld + first + j] -= v[i] * t;
            }
            __syncthreads();
        }
    }
}

/* Rotation (c, s) of columns i and i + 1 in a QL sweep on d, e: one step of the recurrence, which ends in done. */
typedef struct ql_state {
    double g, s, c, p, above; /* above: d_(i+1) before the step */
} ql_state;
static __device__ __forceinline__ ql_state ql_begin(double d_m, double shift) {
    const ql_state q = {d_m - shift, 1.0, 1.0, 0.0, d_m};
    return q;
}
static __device__ __forceinline__ void ql_step(ql_state *q, int i, double *d, double *e) {
    const double here = d[i], off = e[i], f = q->s * off, b = q->c * off, square = f * f + q->g * q->g;
    const double inverse = square > 0.0 ? rsqrt(square) : 0.0;
    e[i + 1]             = square * inverse;
    q->s                 = f * inverse;
    q->c                 = square > 0.0 ? q->g * inverse : 1.0;
    q->g                 = q->above - q->p;
    const double r       = (here - q->g) * q->s + 2.0 * q->c * b;
    q->p                 = q->s * r;
    d[i + 1]             = q->g + q->p;
    q->g                 = q->c * r - b;
    q->above             = here;
}
static __device__ __forceinline__ void ql_done(const ql_state *q, int l, double *d, double *e) {
    d[l] = q->above - q->p;
    e[l] = q->g;
}

static __device__ __forceinline__ int is_negligible(const double *d, const double *e, int m) {
    return fabs(e[m]) <= 0.5 * DBL_EPSILON * (fabs(d[m]) + fabs(d[m + 1]));
}
/* The eigenvalue of the leading 2 x 2 block that is nearer to d_l. */
static __device__ __forceinline__ double wilkinson(int l, const double *d, const double *e) {
    const double g = (d[l + 1] - d[l]) / (2.0 * e[l]), r = sqrt(g * g + 1.0);
    return d[l] - e[l] / (g + (g < 0.0 ? -r : r));
}

/* Eigenvalues of a small tridiagonal matrix in d, well enough for shifts. One lane. */
static __device__ void small_ql(int n, double *d, double *e) {
    for (int l = 0; l < n; l++)
        for (int count = 0; count < 30; count++) {
            int m = l;
            while (m < n - 1 && !is_negligible(d, e, m)) m++;
            if (m == l) break;
            ql_state q = ql_begin(d[m], wilkinson(l, d, e));
            for (int i = m - 1; i >= l; i--) ql_step(&q, i, d, e);
            ql_done(&q, l, d, e);
        }
}

/* k sweeps on d, e between l and m, with the eigenvalues of the leading k x k block as shifts, a lane each, two
 * rotations behind each other. Rotation i of sweep j turns columns i and i + 1 by turn[2 (j n + i)] = (c, s). All lanes
 * of a warp. own: 2 k doubles. */
static __device__ void train(int n, int l, int m, int k, double *d, double *e, double *turn, double *own) {
    const int lane = (int)threadIdx.x % WARP;
    ql_state  q    = {0.0, 0.0, 0.0, 0.0, 0.0};
    if (lane == 0) {
        for (int i = 0; i < k; i++) own[i] = d[l + i], own[k + i] = e[l + i];
        if (k == 1) own[0] = wilkinson(l, d, e);
        else small_ql(k, own, own + k);
    }
    __syncwarp();
    for (int t = 0; t < m - l + 2 * (k - 1); t++) {
        const int i = m - 1 - (t - 2 * lane);
        if (lane < k && i < m && i >= l) {
            if (i == m - 1) q = ql_begin(d[m], own[lane]);
            ql_step(&q, i, d, e);
            if (i == l) ql_done(&q, l, d, e);
            turn[2 * (lane * n + i)]     = q.c;
            turn[2 * (lane * n + i) + 1] = q.s;
        }
        __syncwarp();
    }
    if (lane == 0) e[m] = 0.0;
}

/* The smallest m >= l with a negligible e_m. All lanes of a warp. */
static __device__ int block_end(int n, int l, const double *d, const double *e) {
    for (int from = l; from < n - 1; from += WARP) {
        const int      m     = from + (int)threadIdx.x % WARP;
        const int      small = m >= n - 1 || is_negligible(d, e, m);
        const unsigned found = __ballot_sync(0xffffffffu, small);
        if (found) return from + __ffs((int)found) - 1;
    }
    return n - 1;
}

/* d: eigenvalues of the tridiagonal matrix (d, e), z: times its eigenvectors. 0 when the iteration does not end. range:
 * first and last column and number of sweeps of two trains. */
static __device__ int ql(int n, int ld, double *z, double *d, double *e, double *turn, double *own, int *range) {
    const int lane = (int)threadIdx.x % WARP;
    int       l = 0, count = 0; /* of warp 0 */
    for (int step = 0;; step++) {
        int          *now    = range + 3 * (step % 2);
        const int    *before = range + 3 * (1 - step % 2);
        double       *made   = turn + 2 * TRAIN * n * (step % 2);
        const double *use    = turn + 2 * TRAIN * n * (1 - step % 2);
        if (threadIdx.x < WARP) {
            int m = n - 1;
            for (; l < n; l++, count = 0)
                if ((m = block_end(n, l, d, e)) > l) break;
            const int size = m - l + 1, k = size >= 2 * TRAIN ? TRAIN : size >= 4 ? size / 2 : 1;
            const int end = l == n ? -1 : count++ >= MAX_TRAINS ? -2 : m;
            if (end > 0) train(n, l, m, k, d, e, made, own);
            if (lane == 0) now[0] = l, now[1] = end, now[2] = k;
            __syncwarp();
        } else if (step > 0) {
            for (int row = (int)threadIdx.x - WARP; row < n; row += THREADS - WARP)
                for (int j = 0; j < before[2]; j++) {
                    const double *t = use + 2 * j * n;
                    double       *x = z + row * ld, f = x[before[1]];
                    for (int i = before[1] - 1; i >= before[0]; i--) {
                        const double c = t[2 * i], s = t[2 * i + 1], y = x[i];
                        x[i + 1] = s * y + c * f;
                        f        = c * y - s * f;
                    }
                    x[before[0]] = f;
                }
        }
        __syncthreads();
        if (now[1] < 0) return now[1] == -1; /* the train before is applied */
    }
}

/* Block b: matrix b. */
static __global__ void __launch_bounds__(THREADS) eigh_block_k(int n, const double *a, double *w_out, double *v_out) {
    KS_SHARED_DYNAMIC(double, z);
    KS_SHARED(int, range, 6);
    KS_SHARED(int, count, WARPS);
    const int     ld = n | 1, lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int64_t at = (int64_t)blockIdx.x * n * n;
    double *const d = z + n * ld, *const e = d + n, *const tau = e + n, *const v = tau + n, *const w = v + n;
    double *const part = w + n, *const turn = tau, *const own = turn + 4 * TRAIN * n;
    int bad = 0;
    for (int i = warp; i < n; i += WARPS)
        for (int j = lane; j < n; j += WARP) {
            const double x = a[at + (int64_t)i * n + j];
            z[i * ld + j]  = x;
            bad += !(fabs(x) <= DBL_MAX);
        }
    for (int step = 16; step > 0; step /= 2) bad += __shfl_xor_sync(0xffffffffu, bad, step);
    if (lane == 0) count[warp] = bad;
    __syncthreads();
    bad = 0;
    for (int g = 0; g < WARPS; g++) bad += count[g];
    if (!bad) { /* the same for all threads, as is what ql returns */
        tridiagonal(n, ld, z, e, tau, v, w, part);
        for (int i = (int)threadIdx.x; i < n; i += THREADS) {
            d[i] = z[i * ld + i];
            if (i >= n - 2) e[i] = i == n - 1 ? 0.0 : z[(i + 1) * ld + i];
        }
        __syncthreads();
        form_q(n, ld, z, tau, v, part);
        bad = !ql(n, ld, z, d, e, turn, own, range);
    }
    __syncthreads();
    if (bad) {
        for (int i = warp; i < n; i += WARPS) {
            for (int j = lane; j < n; j += WARP) v_out[at + (int64_t)i * n + j] = i == j ? 1.0 : 0.0;
            if (lane == 0) w_out[(int64_t)blockIdx.x * n + i] = (double)NAN;
        }
        return;
    }
    /* place of column j: the number of eigenvalues before it; in v, for which there is no other use any more */
    for (int j = (int)threadIdx.x; j < n; j += THREADS) {
        int place = 0;
        for (int i = 0; i < n; i++) place += d[i] < d[j] || (d[i] == d[j] && i < j);
        v[j]                                   = (double)place;
        w_out[(int64_t)blockIdx.x * n + place] = d[j];
    }
    __syncthreads();
    for (int i = warp; i < n; i += WARPS)
        for (int j = lane; j < n; j += WARP) v_out[at + (int64_t)i * n + (int)v[j]] = z[i * ld + j];
}

int ks_eigh_block_fits(int64_t n) { return shared_doubles(n) * (int64_t)sizeof(double) <= SHARED_MOST; }

ks_status ks_eigh_block(ks_cuda *cu, int64_t n_mat, int64_t n, const double *a, double *w, double *v) {
    ks_status    st    = KS_OK;
    const size_t bytes = (size_t)shared_doubles(n) * sizeof(double);
    KS_CUDA_CHECK(cudaFuncSetAttribute(eigh_block_k, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    KS_LAUNCH(eigh_block_k, (unsigned)n_mat, THREADS, bytes, cu->stream, (int)n, a, w, v);
    KS_LAUNCHED(cu);
done:
    return st;
}
