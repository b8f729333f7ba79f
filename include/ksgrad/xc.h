/* xc.h -- exchange-correlation functionals: records and the pointwise op.
 *
 * Each energy density is written once over second-order jets (src/pointwise/xc_point.h); first and second
 * derivatives follow by construction. A point has n_feat features: rho (LDA), rho and sigma = |grad rho|^2 (GGA). */
#ifndef KS_XC_H
#define KS_XC_H
#include "ksgrad/context.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ks_xc_family { KS_XC_NONE, KS_XC_LDA, KS_XC_GGA } ks_xc_family;

typedef struct ks_xc_part {
    int         libxc_id;
    const char *name; /* libxc's name, e.g. "gga_x_b88" */
    double      weight;
    const char *doi;
} ks_xc_part;

typedef struct ks_xc {
    const char  *name; /* "lda" (Slater + VWN5), "pbe", "pbe0", "blyp", "b3lyp5", "hf" */
    ks_xc_family family;
    double       hybrid; /* exact-exchange share a */
    int          n_part;
    ks_xc_part   part[4];
} ks_xc;

/* By name, case-insensitive. "b3lyp" is refused with a message that offers b3lyp5 (KS_ERR_ARG): programs disagree on it. */
KS_NODISCARD ks_status ks_xc_find(const char *name, const ks_xc **out);
const ks_xc           *ks_xc_list(int *n); /* all records */

/* Pointwise, closed shell, n points. rho, sigma (n); e: energy per volume; v_*: first, f_*: second derivatives of e
 * with respect to rho and sigma. NULL outputs: not wanted. sigma may be NULL for LDA. Overwrites.
 * rho below 1e-16 gives zero everywhere. */
KS_NODISCARD ks_status ks_xc_eval(ks_ctx *ctx, const ks_xc *xc, int64_t n, const double *rho, const double *sigma,
                                  double *e, double *v_rho, double *v_sigma, double *f_rr, double *f_rs, double *f_ss);

#ifdef __cplusplus
}
#endif
#endif
