/* linalg_eigh_block.cu -- symmetric eigenproblem of matrices that fit in the shared memory of a block (n <= 137): a
 * block a matrix. Larger ones: linalg_eigh.cu. Test: tests/ops/test_linalg.c, test_linalg_slots.c.
 *
 * An own kernel, because a step with cuSOLVER calls in it cannot be relied on to be recorded as a CUDA graph
 * (github.com/cupy/cupy/issues/6290), and because the library's batched call takes some 90 us a matrix (linalg_eigh.cu).
 *   1. A = Q T Q^T by Householder reflections H_k = 1 - tau v v^T, from the first column on:
 *      p = tau A v,  w = p - (tau/2) <p, v> v,  A -= v w^T + w v^T         (Golub, Van Loan, Matrix Computations, 8.3)
 *   2. Q = H_0 H_1 ..., formed in place from the last one on
 *   3. T = U diag(w) U^T by QL sweeps with Wilkinson's shift; one lane makes the rotations of a sweep while the other
 *      warps apply those of the sweep before to the rows of Q        (Dubrulle, Martin, Wilkinson, Numer. Math. 12 (1968) 377)
 *   4. eigenvalues in ascending order, the columns of Q U with them
 * A frame with elements that are not finite, or whose QL iteration does not end, gets w = NaN and v = 1.
 * One order of all sums, fixed by n: the same bits in every run and batch.
 * Elements between 1e-150 and 1e150 in size, where there is no overflow in their squares.
 * Budget, n = 132 (uracil): 139 kB of shared memory, so one block an SM, and 132 matrices take as long as one.
 *   1. n^3 doubles through shared memory (one read for p, one read and write for A) at 128 bytes a cycle: 144,000
 *      cycles; 131 columns of 4 barriers and two chains of shuffles: 120,000
 *   2. as many doubles, 3 barriers: 190,000
 *   3. 2.1 n sweeps, 20,000 rotations (counted on random matrices and on levels like uracil's) in a chain of 136 cycles
 *      each: 2,700,000; applying them takes 20 cycles each and is hidden behind it
 * in all 3.2 million cycles: 1.8 ms at 1.75 GHz for 1 to 132 matrices, 14 us a frame for 128. The chain is what to
 * shorten next: several sweeps behind each other with deferred shifts (van de Geijn, SIAM J. Matrix
 * Anal. Appl. 14 (1993) 180), or divide and conquer.
 * Measured: none yet. */
#include "linalg_eigh_block.cuh"
#include <float.h>
#include "../reduce.cuh"

enum { THREADS = 512, WARP = 32, WARPS = THREADS / WARP, MAX_SWEEPS = 60, SHARED_MOST = 160 << 10 };

/* Doubles of shared memory: z (n, ld), d, e, tau, v, w (n each), partial sums, two sweeps of rotations (n, 2). */
static int64_t shared_doubles(int64_t n) { return n * (n | 1) + 5 * n + WARPS * WARP + 4 * n; }

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

/* One QL sweep on d, e between l and m: rotation i turns columns i and i + 1 by (turn[2i], turn[2i+1]) = (c, s), i from
 * m - 1 down to the return value. */
static __device__ int sweep(int l, int m, double *d, double *e, double *turn) {
    const double g0 = (d[l + 1] - d[l]) / (2.0 * e[l]), r0 = sqrt(g0 * g0 + 1.0);
    double       g = d[m] - d[l] + e[l] / (g0 + (g0 < 0.0 ? -r0 : r0)), s = 1.0, c = 1.0, p = 0.0, above = d[m];
    for (int i = m - 1; i >= l; i--) {
        const double here = d[i], f = s * e[i], b = c * e[i], square = f * f + g * g;
        if (square == 0.0) { /* split: what is above i + 1 is done */
            e[i + 1] = 0.0;
            d[i + 1] = above - p;
            e[m]     = 0.0;
            return i + 1;
        }
        const double inverse = rsqrt(square);
        e[i + 1]             = square * inverse;
        s                    = f * inverse;
        c                    = g * inverse;
        g                    = above - p;
        const double r       = (here - g) * s + 2.0 * c * b;
        p                    = s * r;
        d[i + 1]             = g + p;
        g                    = c * r - b;
        above                = here;
        turn[2 * i]          = c;
        turn[2 * i + 1]      = s;
    }
    d[l] = above - p;
    e[l] = g;
    e[m] = 0.0;
    return l;
}

/* The smallest m >= l with a negligible e_m. All lanes of a warp. */
static __device__ int block_end(int n, int l, const double *d, const double *e) {
    for (int from = l; from < n - 1; from += WARP) {
        const int      m     = from + (int)threadIdx.x % WARP;
        const int      small = m >= n - 1 || fabs(e[m]) <= 0.5 * DBL_EPSILON * (fabs(d[m]) + fabs(d[m + 1]));
        const unsigned found = __ballot_sync(0xffffffffu, small);
        if (found) return from + __ffs((int)found) - 1;
    }
    return n - 1;
}

/* d: eigenvalues of the tridiagonal matrix (d, e), z: times its eigenvectors. 0 when the iteration does not end. */
static __device__ int ql(int n, int ld, double *z, double *d, double *e, double *turn, int *range) {
    const int lane = (int)threadIdx.x % WARP;
    int       l = 0, count = 0; /* of warp 0 */
    for (int step = 0;; step++) {
        const int now = step % 2, before = 1 - now;
        if (threadIdx.x < WARP) {
            int m = n - 1;
            for (; l < n; l++, count = 0)
                if ((m = block_end(n, l, d, e)) > l) break;
            if (l < n && count++ < MAX_SWEEPS) {
                if (lane == 0) range[2 * now] = sweep(l, m, d, e, turn + 2 * n * now), range[2 * now + 1] = m;
            } else if (lane == 0) {
                range[2 * now + 1] = l < n ? -2 : -1;
            }
            __syncwarp();
        } else if (step > 0) {
            const double *t = turn + 2 * n * before;
            for (int k = (int)threadIdx.x - WARP; k < n; k += THREADS - WARP) {
                double *row = z + k * ld, f = row[range[2 * before + 1]];
                for (int i = range[2 * before + 1] - 1; i >= range[2 * before]; i--) {
                    const double c = t[2 * i], s = t[2 * i + 1], x = row[i];
                    row[i + 1] = s * x + c * f;
                    f          = c * x - s * f;
                }
                row[range[2 * before]] = f;
            }
        }
        __syncthreads();
        if (range[2 * now + 1] < 0) return range[2 * now + 1] == -1; /* the sweep before is applied */
    }
}

/* Block b: matrix b. */
static __global__ void __launch_bounds__(THREADS) eigh_block_k(int n, const double *a, double *w_out, double *v_out) {
    KS_SHARED_DYNAMIC(double, z);
    KS_SHARED(int, range, 4);
    KS_SHARED(int, count, WARPS);
    const int     ld = n | 1, lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int64_t at = (int64_t)blockIdx.x * n * n;
    double *const d = z + n * ld, *const e = d + n, *const tau = e + n, *const v = tau + n, *const w = v + n;
    double *const part = w + n, *const turn = part + WARPS * WARP;
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
        bad = !ql(n, ld, z, d, e, turn, range);
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
