/* xc.c -- functional records and the pointwise op. */
#include "ksgrad/xc.h"
#include <ctype.h>
#include <string.h>
#include "ops/grid_kernels.h"
#include "ops/grid_ops.h"

#define SLATER(w)                                                                                                      \
    { 1, "lda_x", w, "10.1017/S0305004100016108" }
#define VWN5(w)                                                                                                        \
    { 7, "lda_c_vwn", w, "10.1139/p80-159" }
#define B88(w)                                                                                                         \
    { 106, "gga_x_b88", w, "10.1103/PhysRevA.38.3098" }
#define LYP(w)                                                                                                         \
    { 131, "gga_c_lyp", w, "10.1103/PhysRevB.37.785" }
#define PBE_X(w)                                                                                                       \
    { 101, "gga_x_pbe", w, "10.1103/PhysRevLett.77.3865" }
#define PBE_C(w)                                                                                                       \
    { 130, "gga_c_pbe", w, "10.1103/PhysRevLett.77.3865" }

static const ks_xc record[] = {
    {"lda", KS_XC_LDA, 0.0, 2, {SLATER(1.0), VWN5(1.0)}},
    {"pbe", KS_XC_GGA, 0.0, 2, {PBE_X(1.0), PBE_C(1.0)}},
    {"pbe0", KS_XC_GGA, 0.25, 2, {PBE_X(0.75), PBE_C(1.0)}},
    {"blyp", KS_XC_GGA, 0.0, 2, {B88(1.0), LYP(1.0)}},
    {"b3lyp5", KS_XC_GGA, 0.20, 4, {SLATER(0.08), B88(0.72), LYP(0.81), VWN5(0.19)}},
    {"hf", KS_XC_NONE, 1.0, 0, {{0}}},
};
enum { N_RECORD = sizeof record / sizeof *record };

const ks_xc *ks_xc_list(int *n) {
    if (n) *n = N_RECORD;
    return record;
}

static int same_name(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b)) return 0;
    return *a == *b;
}

ks_status ks_xc_find(const char *name, const ks_xc **out) {
    ks_status st = KS_OK;
    KS_CHECK(name && out, KS_ERR_ARG, "functional: NULL argument");
    *out = NULL;
    KS_CHECK(!same_name(name, "b3lyp"), KS_ERR_ARG,
             "functional 'b3lyp' is ambiguous (programs disagree on its VWN part); b3lyp5 is the one with VWN5");
    for (int i = 0; i < N_RECORD && !*out; i++)
        if (same_name(name, record[i].name)) *out = &record[i];
    KS_CHECK(*out, KS_ERR_ARG, "unknown functional '%s' (available: lda, pbe, pbe0, blyp, b3lyp5, hf)", name);
done:
    return st;
}

ks_xc_weights ks_xc_weights_of(const ks_xc *xc) {
    ks_xc_weights w = {0};
    for (int i = 0; i < xc->n_part; i++) {
        const double c = xc->part[i].weight;
        switch (xc->part[i].libxc_id) {
        case 1:
            w.slater += c;
            break;
        case 7:
            w.vwn5 += c;
            break;
        case 106:
            w.b88 += c;
            break;
        case 131:
            w.lyp += c;
            break;
        case 101:
            w.pbe_x += c;
            break;
        case 130:
            w.pbe_c += c;
            break;
        default:
            break;
        }
    }
    return w;
}

ks_status ks_xc_eval(ks_ctx *ctx, const ks_xc *xc, int64_t n, const double *rho, const double *sigma, double *e,
                     double *v_rho, double *v_sigma, double *f_rr, double *f_rs, double *f_ss) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, grid, xc_eval);
    KS_CHECK(xc && n >= 0, KS_ERR_ARG, "xc_eval: n=%lld", (long long)n);
    KS_CHECK(n == 0 || rho, KS_ERR_ARG, "xc_eval: rho is NULL");
    KS_CHECK(n == 0 || sigma || xc->family != KS_XC_GGA, KS_ERR_ARG, "xc_eval: %s needs sigma", xc->name);
    if (n) KS_TRY(ctx->backend->grid->xc_eval(ctx, xc, n, rho, sigma, e, v_rho, v_sigma, f_rr, f_rs, f_ss));
done:
    return st;
}
