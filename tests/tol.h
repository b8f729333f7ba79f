/* tol.h -- tolerances of the tests, by class. All are relative; the scale each one multiplies is in its comment.
 * A local override in a test needs a comment with the reason and the measured margin. */
#ifndef KS_TOL_H
#define KS_TOL_H
#include <float.h>
#include <math.h>

#define TOL_EPS DBL_EPSILON
#define TOL_EPS32 ((double)FLT_EPSILON)
#define TOL_EPSBF16 0x1p-7 /* bfloat16: 8 significant bits */

/* fp64. Pointwise: of the value. Sum: of sum|terms|. Gemm: of |A||B| with k terms. */
#define TOL_POINT (8 * TOL_EPS)
#define TOL_SUM(n) (4 * TOL_EPS * sqrt((double)(n)))
#define TOL_GEMM(k) (8 * TOL_EPS * (double)(k))

/* fp32 and bf16 with fp32 accumulation, same scales. */
#define TOL_POINT32 (8 * TOL_EPS32)
#define TOL_SUM32(n) (4 * TOL_EPS32 * sqrt((double)(n)))
#define TOL_GEMM32(k) (8 * TOL_EPS32 * sqrt((double)(k)))
#define TOL_POINTBF16 (2 * TOL_EPSBF16)

/* Eigenvectors of a matrix of norm 1 whose closest relevant pair is `gap` apart. */
#define TOL_EIGVEC(n, gap) (16 * TOL_EPS * sqrt((double)(n)) / (gap))

/* Checks of the op driver: row 0 is fp64, row 1 fp32 (bf16 ops are compared with their fp32 twin).
 *   h       steps of the Richardson and Taylor checks, in units of the input's scale
 *   grad    median relative error of the directional derivative. fp32: rounding 6e-8 / h = 6e-6 times the 5/3 of
 *           Richardson and the ratio of |y| to its change; measured 1e-5
 *   planted scale error that the gradient check must catch; at least 10 times grad
 *   dot     <y, Ax> - <A'y, x> relative to |y| |Ax|
 *   adds    7 + 2g relative to 7 + 2|g| + max|g|
 *   value   against golden values and between backends, relative to the largest |value| of the array, where a test
 *           gives nothing better */
typedef struct tol_row {
    double h[3], order_h[3], grad, planted, dot, adds, value;
} tol_row;
static const tol_row tol_driver[2] = {
    {{1e-3, 1e-4, 1e-5}, {1e-3, 1e-4, 1e-5}, 1e-9, 1e-6, 64 * DBL_EPSILON, 64 * DBL_EPSILON, 64 * DBL_EPSILON},
    {{3e-2, 1e-2, 3e-3}, {1e-1, 3e-2, 1e-2}, 3e-4, 1e-2, 64 * FLT_EPSILON, 64 * FLT_EPSILON, 64 * FLT_EPSILON},
};
#define TOL_ORDER_LO 1.9
#define TOL_ORDER_HI 2.1
#endif
