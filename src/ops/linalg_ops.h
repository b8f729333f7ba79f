/* linalg_ops.h -- backend slots of the linalg family. Private; see src/core/backend.h.
 *
 * A slot has the contract of the public function of the same name (ksgrad/linalg.h), with arguments checked. */
#ifndef KS_LINALG_OPS_H
#define KS_LINALG_OPS_H
#include "core/backend.h"
#include "ksgrad/linalg.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ks_ops_linalg {
    ks_status (*gemm)(ks_ctx *ctx, int64_t n_mat, int trans_a, int trans_b, int64_t m, int64_t n, int64_t k,
                      double alpha, ks_mats a, ks_mats b, double beta, double *c);
    ks_status (*eigh)(ks_ctx *ctx, int64_t n_mat, int64_t n, const double *a, double *w, double *v);
    ks_status (*lowdin)(ks_ctx *ctx, int64_t n_mat, int64_t n, const double *s, int64_t first_frame, double *s_half,
                        double *x);
    ks_status (*chol_solve)(ks_ctx *ctx, int64_t n_mat, int64_t n, int64_t m, const double *a, const double *b,
                            double *x);
    ks_status (*combine)(ks_ctx *ctx, int64_t n_mat, int64_t len, int n_term, const ks_term *term, int add,
                         double *out);
    ks_status (*scatter)(ks_ctx *ctx, int64_t n_mat, int64_t len, const double *x, const int32_t *index, double *pool);
    ks_status (*dot)(ks_ctx *ctx, int64_t n_mat, int64_t len, double alpha, ks_mats a, ks_mats b, int add, double *out,
                     int64_t out_stride);
    ks_status (*sym)(ks_ctx *ctx, int64_t n_mat, int64_t n, double alpha, double sign, const double *a, int add,
                     double *out);
    ks_status (*occ_density)(ks_ctx *ctx, int64_t n_mat, int64_t n, double weight, const ks_occ *occ, const double *c,
                             double *p);
    ks_status (*occ_virt)(ks_ctx *ctx, int64_t n_mat, int64_t n, double weight, const ks_occ *occ, const double *eps,
                          const double *mask, const double *g, double *y);
    ks_status (*gap)(ks_ctx *ctx, int64_t n_frame, int64_t n, const ks_occ *occ, const double *eps, int min,
                     double *gap);
    ks_status (*mask)(ks_ctx *ctx, int64_t n_frame, const double *E, const double *gap, double gap_min,
                      const double *and_mask, double *mask);
    ks_status (*masked_sum)(ks_ctx *ctx, int64_t n_frame, double alpha, const double *mask, const double *x, int add,
                            double *out);
    ks_status (*min)(ks_ctx *ctx, int64_t n_frame, const double *x, double *out);
    ks_status (*mix_fwd)(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge, const double *gram,
                         double *w);
    ks_status (*mix_adj)(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge, const double *gram,
                         const double *w, const double *w_bar, double *gram_bar);
} ks_ops_linalg;

extern const ks_ops_linalg ks_ops_linalg_cpu;

/* Address of matrix b, and occupied orbitals of matrix b: for code that can read backend memory. */
static inline const double *ks_mats_at(const ks_mats *m, int64_t b) {
    const int64_t f = b / m->group;
    return m->ptr + (m->index ? (int64_t)m->index[f] : f) * m->stride + (b % m->group) * m->group_stride;
}
static inline int32_t ks_occ_of(const ks_occ *o, int64_t b) {
    const int64_t f = b / o->n_spin;
    return o->n_occ[(o->slot ? (int64_t)o->slot[f] : f) * o->n_spin + b % o->n_spin];
}

/* CPU slots, by file. */
ks_status ks_gemm_cpu(ks_ctx *ctx, int64_t n_mat, int trans_a, int trans_b, int64_t m, int64_t n, int64_t k,
                      double alpha, ks_mats a, ks_mats b, double beta, double *c);
ks_status ks_eigh_cpu(ks_ctx *ctx, int64_t n_mat, int64_t n, const double *a, double *w, double *v);
ks_status ks_lowdin_cpu(ks_ctx *ctx, int64_t n_mat, int64_t n, const double *s, int64_t first_frame, double *s_half,
                        double *x);
ks_status ks_chol_solve_cpu(ks_ctx *ctx, int64_t n_mat, int64_t n, int64_t m, const double *a, const double *b,
                            double *x);
ks_status ks_combine_cpu(ks_ctx *ctx, int64_t n_mat, int64_t len, int n_term, const ks_term *term, int add,
                         double *out);
ks_status ks_scatter_cpu(ks_ctx *ctx, int64_t n_mat, int64_t len, const double *x, const int32_t *index, double *pool);
ks_status ks_dot_cpu(ks_ctx *ctx, int64_t n_mat, int64_t len, double alpha, ks_mats a, ks_mats b, int add, double *out,
                     int64_t out_stride);
ks_status ks_sym_cpu(ks_ctx *ctx, int64_t n_mat, int64_t n, double alpha, double sign, const double *a, int add,
                     double *out);
ks_status ks_occ_density_cpu(ks_ctx *ctx, int64_t n_mat, int64_t n, double weight, const ks_occ *occ, const double *c,
                             double *p);
ks_status ks_occ_virt_cpu(ks_ctx *ctx, int64_t n_mat, int64_t n, double weight, const ks_occ *occ, const double *eps,
                          const double *mask, const double *g, double *y);
ks_status ks_gap_cpu(ks_ctx *ctx, int64_t n_frame, int64_t n, const ks_occ *occ, const double *eps, int min,
                     double *gap);
ks_status ks_mask_cpu(ks_ctx *ctx, int64_t n_frame, const double *E, const double *gap, double gap_min,
                      const double *and_mask, double *mask);
ks_status ks_masked_sum_cpu(ks_ctx *ctx, int64_t n_frame, double alpha, const double *mask, const double *x, int add,
                            double *out);
ks_status ks_min_cpu(ks_ctx *ctx, int64_t n_frame, const double *x, double *out);
ks_status ks_mix_fwd_cpu(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge, const double *gram,
                         double *w);
ks_status ks_mix_adj_cpu(ks_ctx *ctx, int64_t n_mat, int64_t k, int64_t ld, double ridge, const double *gram,
                         const double *w, const double *w_bar, double *gram_bar);

#ifdef __cplusplus
}
#endif
#endif
