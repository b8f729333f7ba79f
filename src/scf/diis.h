/* diis.h -- commutator DIIS of a converged SCF: history of one segment's frames. Private. */
#ifndef KS_DIIS_H
#define KS_DIIS_H
#include "scf/scf_impl.h"

typedef struct ks_diis {
    int     space, n_hist, next;           /* ring of `space` places, of which n_hist are filled */
    int64_t len;                           /* doubles per frame in a history matrix */
    double *F[KS_MIX_MAX], *c[KS_MIX_MAX]; /* (n_frame, len) backend memory */
    double *gram;                          /* (n_frame, space, space) host */
    double *coef, *coef_b;                 /* (n_frame, space) host and backend */
    double *dots, *dots_b;                 /* (n_frame) host and backend */
} ks_diis;

/* Buffers from the context's scratch arenas. */
KS_NODISCARD ks_status ks_diis_init(ks_ctx *ctx, int space, int64_t n_frame, int64_t len, ks_diis *d);
/* Enters F and its commutator c, and overwrites F_ext with the extrapolated matrix, for the first n_frame frames. */
KS_NODISCARD ks_status ks_diis_step(ks_ctx *ctx, ks_diis *d, int64_t n_frame, const double *F, const double *c,
                                    double *F_ext);
/* Keeps only the frames keep[0] < keep[1] < ... (host, and keep_b the same in backend memory). tmp (n_keep, len). */
KS_NODISCARD ks_status ks_diis_keep(ks_ctx *ctx, ks_diis *d, int64_t n_keep, const int32_t *keep, const int32_t *keep_b,
                                    double *tmp);
/* x[b] = x[keep[b]] in place, vectors of len doubles; keep in backend memory. */
KS_NODISCARD ks_status ks_keep_frames(ks_ctx *ctx, int64_t n_keep, const int32_t *keep, int64_t len, double *x,
                                      double *tmp);

#endif
