/* model_case.h -- a made-up composition and pool of tensors for tests of networks: no integrals, only symmetric
 * matrices with the right transformation rules, so that networks can be tested without the rest of the program. */
#ifndef KS_MODEL_CASE_H
#define KS_MODEL_CASE_H
#include <string.h>
#include "ks_test.h"
#include "ksgrad/frame.h"

enum { MC_MAX_ATOM = 8, MC_MAX_AO = 96, MC_MAX_SHELL = 48 };

typedef struct model_case {
    ks_system  sys;
    ks_tensors tensors;
    int32_t    Z[MC_MAX_ATOM], ao_atom[MC_MAX_AO], ao_l[MC_MAX_AO], ao_m[MC_MAX_AO], ao_kind[MC_MAX_AO];
    int32_t    shell_l[MC_MAX_SHELL], shell_ao[MC_MAX_SHELL];
    ks_shell   shell[MC_MAX_SHELL];
} model_case;

/* Elements 1..4 have 1, 2, 3, 4 shells: s; s, p; s, p, d; s, s, p, d. */
static inline void mc_system(model_case *c, int n_atom, const int32_t *Z, const char *formula) {
    static const int ls[5][5] = {{-1}, {0, -1}, {0, 1, -1}, {0, 1, 2, -1}, {0, 0, 1, 2, -1}};
    int              n_shell = 0, n_ao = 0;
    memset(c, 0, sizeof *c);
    for (int a = 0; a < n_atom; a++) {
        int kind = 16 * (Z[a] - 1);
        c->Z[a]  = Z[a];
        for (int k = 0; ls[Z[a]][k] >= 0; k++) {
            const int l            = ls[Z[a]][k];
            c->shell[n_shell]      = (ks_shell){.atom = a, .l = l, .ao = n_ao};
            c->shell_l[n_shell]    = l;
            c->shell_ao[n_shell++] = n_ao;
            for (int m = 0; m < 2 * l + 1; m++, n_ao++) {
                c->ao_atom[n_ao] = a;
                c->ao_l[n_ao]    = l;
                c->ao_m[n_ao]    = m;
                c->ao_kind[n_ao] = kind++;
            }
        }
    }
    c->sys               = (ks_system){.n_atom    = n_atom,
                                       .Z         = c->Z,
                                       .n_ao      = n_ao,
                                       .ao_atom   = c->ao_atom,
                                       .ao_l      = c->ao_l,
                                       .ao_m      = c->ao_m,
                                       .ao_kind   = c->ao_kind,
                                       .n_ao_kind = 64};
    c->sys.basis.n_shell = n_shell;
    c->sys.basis.n_ao    = n_ao;
    c->sys.basis.shell   = c->shell;
    snprintf(c->sys.formula, sizeof c->sys.formula, "%s", formula);
}

/* Value i of stream s: smooth, reproducible in any language. */
static inline double mc_value(int64_t s, int64_t i) {
    return sin(1.3 * (double)i + 0.7 * (double)s + 0.3) * cos(0.37 * (double)i * (double)(s + 1));
}

/* (cap, n, n) symmetric, strong diagonal when diag > 0. */
static inline void mc_matrices(double **out, int64_t cap, int64_t n, int64_t stream, double off, double diag) {
    T_OK(KS_NEW(*out, cap * n * n));
    for (int64_t b = 0; b < cap; b++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++) {
                const double v              = off * mc_value(stream, (b * n + i) * n + j) + (i == j ? diag : 0);
                (*out)[(b * n + i) * n + j] = (*out)[(b * n + j) * n + i] = v;
            }
}

static inline void mc_tensors(model_case *c, ks_ctx *ctx, int64_t cap) {
    const int64_t n = c->sys.n_ao, A = c->sys.n_atom;
    c->tensors               = (ks_tensors){.ctx = ctx, .sys = &c->sys, .capacity = cap};
    c->tensors.method.n_spin = 1;
    T_OK(KS_NEW(c->tensors.pos, cap * A * 3));
    for (int64_t i = 0; i < cap * A * 3; i++) /* a clearly non-symmetric shape, distorted from slot to slot */
        c->tensors.pos[i] = 2.0 * mc_value(11, i % (A * 3)) + 0.1 * mc_value(12, i);
    mc_matrices(&c->tensors.S_half, cap, n, 1, 0.02, 1.0);
    mc_matrices(&c->tensors.hcore, cap, n, 2, 1.0, -2.0);
    mc_matrices(&c->tensors.P0, cap, n, 3, 0.5, 0.5);
    mc_matrices(&c->tensors.JK0, cap, n, 4, 0.7, 1.0);
    mc_matrices(&c->tensors.Vxc0, cap, n, 5, 0.2, -0.5);
    mc_matrices(&c->tensors.F0, cap, n, 6, 0.4, -1.0);
    T_OK(KS_NEW(c->tensors.S, cap * n * n)); /* S = S_half^2 */
    for (int64_t b = 0; b < cap; b++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                double s = 0;
                for (int64_t k = 0; k < n; k++)
                    s += c->tensors.S_half[(b * n + i) * n + k] * c->tensors.S_half[(b * n + k) * n + j];
                c->tensors.S[(b * n + i) * n + j] = s;
            }
}

static inline void mc_free(model_case *c) {
    ks_tensors *t = &c->tensors;
    KS_FREE(t->pos);
    KS_FREE(t->S_half);
    KS_FREE(t->S);
    KS_FREE(t->hcore);
    KS_FREE(t->P0);
    KS_FREE(t->JK0);
    KS_FREE(t->Vxc0);
    KS_FREE(t->F0);
}

/* Parameters away from their initial values, so that every path is active: p += 0.3 sin(1.1 i + k). */
static inline void mc_stir(ks_model *model) {
    ks_params *p = ks_model_params(model);
    for (int64_t k = 0; k < ks_params_count(p); k++)
        for (int64_t i = 0; i < ks_params_get(p, k)->size; i++) {
            const double add = 0.3 * sin(1.1 * (double)i + (double)k);
            if (ks_params_precision(p) == KS_FP64) ((double *)ks_params_data(p, k))[i] += add;
            else ((float *)ks_params_data(p, k))[i] += (float)add;
        }
}
#endif
