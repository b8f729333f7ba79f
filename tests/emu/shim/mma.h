/* mma.h -- stands in for NVIDIA's header of warp matrix functions: the fp64 product of tensor cores, 8 x 8 x 4. The
 * elements lie in the lanes as on the device (PTX, mma.m8n8k4 .f64); each product is two exchanges of the warp. */
#ifndef KS_EMU_MMA_H
#define KS_EMU_MMA_H
#include "cuda_runtime.h"

namespace nvcuda {
namespace wmma {
struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

template <typename Use, int M, int N, int K, typename T, typename Layout = void> struct fragment {
    static_assert(M == 8 && N == 8 && K == 4 && sizeof(T) == 8, "only the fp64 shape");
    T x[2]; /* factors use the first */
};
template <typename L> using fragment_a = fragment<matrix_a, 8, 8, 4, double, L>;
template <typename L> using fragment_b = fragment<matrix_b, 8, 8, 4, double, L>;
typedef fragment<accumulator, 8, 8, 4, double> fragment_c;

static inline void fill_fragment(fragment_c &c, double v) { c.x[0] = c.x[1] = v; }

/* Row m, column k of A: lane 4 m + k; row k, column n of B: lane 4 n + k; row m, columns 2j and 2j + 1 of C: lane
 * 4 m + j. */
static inline void load_matrix_sync(fragment_a<row_major> &a, const double *p, unsigned ld) {
    a.x[0] = p[ks_emu::lane() / 4 * ld + ks_emu::lane() % 4];
}
static inline void load_matrix_sync(fragment_a<col_major> &a, const double *p, unsigned ld) {
    a.x[0] = p[ks_emu::lane() % 4 * ld + ks_emu::lane() / 4];
}
static inline void load_matrix_sync(fragment_b<row_major> &b, const double *p, unsigned ld) {
    b.x[0] = p[ks_emu::lane() % 4 * ld + ks_emu::lane() / 4];
}
static inline void load_matrix_sync(fragment_b<col_major> &b, const double *p, unsigned ld) {
    b.x[0] = p[ks_emu::lane() / 4 * ld + ks_emu::lane() % 4];
}
static inline void store_matrix_sync(double *p, const fragment_c &c, unsigned ld, layout_t layout) {
    const unsigned m = ks_emu::lane() / 4, n = 2 * (ks_emu::lane() % 4);
    for (unsigned i = 0; i < 2; i++) p[layout == mem_row_major ? m * ld + n + i : (n + i) * ld + m] = c.x[i];
}

template <typename LA, typename LB>
static inline void mma_sync(fragment_c &d, const fragment_a<LA> &a, const fragment_b<LB> &b, const fragment_c &c) {
    const unsigned m = ks_emu::lane() / 4, n = 2 * (ks_emu::lane() % 4);
    double         A[4], B[8];
    uint64_t       word;
    memcpy(&word, &a.x[0], sizeof word);
    memcpy(A, ks_emu::exchange(0xffffffffu, word, __LINE__) + 4 * m, sizeof A);
    memcpy(&word, &b.x[0], sizeof word);
    memcpy(B, ks_emu::exchange(0xffffffffu, word, -__LINE__) + 4 * n, sizeof B);
    for (int i = 0; i < 2; i++) {
        double s = c.x[i];
        for (int k = 0; k < 4; k++) s += A[k] * B[4 * i + k];
        d.x[i] = s;
    }
}
} // namespace wmma
} // namespace nvcuda
#endif
