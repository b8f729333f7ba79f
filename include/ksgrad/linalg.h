/* linalg.h -- batched dense linear algebra on small matrices, and the op pairs built from it.
 *
 * All arrays in backend memory unless said; row-major, fp64. A call works on n_mat independent matrices. Inputs
 * are described by ks_mats, so that matrices of a pool (S, X, Hcore of the slots of a segment) are read in place.
 * Outputs are contiguous (n_mat, rows, cols) and must not overlap inputs unless said. n_mat == 0 is allowed.
 * Matrices of different frames never mix: a NaN in one frame stays in it. */
#ifndef KS_LINALG_H
#define KS_LINALG_H
#include <stdint.h>
#include "ksgrad/context.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Matrix b of a call is ptr + index[b / group] * stride (+ (b % group) * group_stride); rows are ld apart.
 * index NULL: b / group. group: matrices per frame that share an index (n_spin), at least 1. */
typedef struct ks_mats {
    const double  *ptr;
    int64_t        ld, stride;
    const int32_t *index;
    int32_t        group;
    int64_t        group_stride; /* 0: all matrices of a group are the same one */
} ks_mats;

/* Occupied orbitals of matrix b: n_occ[f * n_spin + b % n_spin], f = b / n_spin or, with slot, slot[b / n_spin]. */
typedef struct ks_occ {
    const int32_t *n_occ, *slot;
    int64_t        n_spin;
    int64_t        max; /* no n_occ that is met is larger */
} ks_occ;

/* Contiguous (n_mat, n_row, n_col). */
static inline ks_mats ks_mats_dense(const double *ptr, int64_t n_row, int64_t n_col) {
    return (ks_mats){ptr, n_col, n_row * n_col, NULL, 1, 0};
}
/* The n x n matrices index[frame] of a pool, each shared by `group` consecutive matrices of the call. */
static inline ks_mats ks_mats_pool(const double *ptr, int64_t n, const int32_t *index, int32_t group) {
    return (ks_mats){ptr, n, n * n, index, group, 0};
}

/* C (n_mat, m, n) = alpha op(A) op(B) + beta C with op(A) m x k, op(B) k x n; op is the transpose when its flag is 1.
 * beta is 0 (overwrites, C may hold anything) or 1. */
KS_NODISCARD ks_status ks_gemm(ks_ctx *ctx, int64_t n_mat, int trans_a, int trans_b, int64_t m, int64_t n, int64_t k,
                               double alpha, ks_mats a, ks_mats b, double beta, double *c);

/* out (n_mat, n, n) = A^T B A, or A B A^T when trans is 1. work (n_mat, n, n). */
KS_NODISCARD ks_status ks_sandwich(ks_ctx *ctx, int64_t n_mat, int64_t n, int trans, ks_mats a, ks_mats b, double *out,
                                   double *work);

/* A V = V diag(w), ascending: a (n_mat, n, n) symmetric -> w (n_mat, n), v (n_mat, n, n) eigenvectors as columns.
 * A frame with a non-finite element gets w = NaN and v = 1 and is no error; signs and the basis of a degenerate
 * space are arbitrary, and nothing in this program may depend on them. */
KS_NODISCARD ks_status ks_eigh(ks_ctx *ctx, int64_t n_mat, int64_t n, const double *a, double *w, double *v);

/* S^1/2 and X = S^-1/2 (Loewdin) of symmetric positive definite S. A smallest eigenvalue below 1e-8 is KS_ERR_DATA
 * naming frame first_frame + b: at once on the CPU; from the next ks_sync or ks_fetch_wait on CUDA, where the frame's
 * matrices are NaN. */
KS_NODISCARD ks_status ks_lowdin(ks_ctx *ctx, int64_t n_mat, int64_t n, const double *s, int64_t first_frame,
                                 double *s_half, double *x);

/* x (n_mat, n, m) = A^-1 B by Cholesky, A (n_mat, n, n) symmetric positive definite, B (n_mat, n, m). */
KS_NODISCARD ks_status ks_chol_solve(ks_ctx *ctx, int64_t n_mat, int64_t n, int64_t m, const double *a, const double *b,
                                     double *x);

/* One term of a linear combination: alpha * coef[frame * coef_stride] * x. coef (backend memory) NULL: alpha alone. */
typedef struct ks_term {
    ks_mats       x; /* only ptr, stride and index count: vectors of len contiguous doubles */
    double        alpha;
    const double *coef;
    int64_t       coef_stride;
} ks_term;
/* out (n_mat, len) = sum of terms, added to out when add is 1. A term whose weight is exactly 0 is not read, so
 * masked frames may hold NaN. out may be one of the x (same frame). */
KS_NODISCARD ks_status ks_combine(ks_ctx *ctx, int64_t n_mat, int64_t len, int n_term, const ks_term *term, int add,
                                  double *out);

/* pool[index[b]] = x_b: rows of len contiguous doubles, the inverse of a combination that gathers. index distinct. */
KS_NODISCARD ks_status ks_scatter(ks_ctx *ctx, int64_t n_mat, int64_t len, const double *x, const int32_t *index,
                                  double *pool);

/* out[b * out_stride] = alpha <A_b, B_b> over len contiguous doubles, added to it when add is 1. */
KS_NODISCARD ks_status ks_dot(ks_ctx *ctx, int64_t n_mat, int64_t len, double alpha, ks_mats a, ks_mats b, int add,
                              double *out, int64_t out_stride);

/* out (n_mat, n, n) = alpha (A + sign A^T), added to out when add is 1; sign is 1 or -1. out may be A when add is 0. */
KS_NODISCARD ks_status ks_sym(ks_ctx *ctx, int64_t n_mat, int64_t n, double alpha, double sign, const double *a,
                              int add, double *out);

/* P = weight C_occ C_occ^T over the occupied columns of C; weight is 2 for closed shells. */
KS_NODISCARD ks_status ks_occ_density(ks_ctx *ctx, int64_t n_mat, int64_t n, double weight, const ks_occ *occ,
                                      const double *c, double *p);

/* The occupied-virtual response, rows i < occ->max: y_ia = weight g_ia / (eps_i - eps_a) for i < n_occ <= a, else 0.
 * g, y (n_mat, occ->max, n); y may be g. mask (n_mat / n_spin; NULL: all): frames with 0 get y = 0. */
KS_NODISCARD ks_status ks_occ_virt(ks_ctx *ctx, int64_t n_mat, int64_t n, double weight, const ks_occ *occ,
                                   const double *eps, const double *mask, const double *g, double *y);

/* ---- scalars of frames ---- */

/* gap[f] = min over the spins of eps[n_occ] - eps[n_occ - 1]; without an occupied or a virtual orbital infinite, with
 * orbital energies that are not finite -1. min 1: the smaller of that and gap[f] as it was (gap[f] NaN counts as -1).
 * eps (n_frame, n_spin, n). */
KS_NODISCARD ks_status ks_gap(ks_ctx *ctx, int64_t n_frame, int64_t n, const ks_occ *occ, const double *eps, int min,
                              double *gap);
/* mask[f] = 1 where E[f] is finite (E NULL: everywhere), gap[f] >= gap_min and and_mask[f] != 0 (NULL: everywhere),
 * else 0. mask may be and_mask. */
KS_NODISCARD ks_status ks_mask(ks_ctx *ctx, int64_t n_frame, const double *E, const double *gap, double gap_min,
                               const double *and_mask, double *mask);
/* out[0] = alpha sum of x[f] (NULL: 1) over the frames with mask[f] != 0, added to out[0] when add is 1. One order. */
KS_NODISCARD ks_status ks_masked_sum(ks_ctx *ctx, int64_t n_frame, double alpha, const double *mask, const double *x,
                                     int add, double *out);
/* out[0] = min(out[0], x[0], ..., x[n_frame - 1]). */
KS_NODISCARD ks_status ks_min(ks_ctx *ctx, int64_t n_frame, const double *x, double *out);

/* Least-squares mixing weights. gram (n_mat, ld, ld), of which the leading k x k block counts: B_ij = <D_i, D_j>.
 * w (n_mat, k) minimises |sum w_i D_i|^2 + ridge max_i B_ii |w|^2 under sum w = 1. All-zero B gives w = (0,...,0,1). */
KS_NODISCARD ks_status ks_mix_fwd(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge, const double *gram,
                                  double *w);
/* gram_bar (n_mat, ld, ld) += symmetric cotangent: the sum of gram_bar_ij dB_ij over all i, j. */
KS_NODISCARD ks_status ks_mix_adj(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge, const double *gram,
                                  const double *w, const double *w_bar, double *gram_bar);

enum { KS_MIX_MAX = 32 }; /* largest k of ks_mix_* and largest number of terms of ks_combine */

#ifdef __cplusplus
}
#endif
#endif
