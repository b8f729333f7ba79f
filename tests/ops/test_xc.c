/* test_xc.c -- functionals: libxc's values (through PySCF), v and f as derivatives of e and v, the records, limits. */
#include "ks_test.h"
#include "op_driver.h"
#include "grid_golden.h"

static const ks_xc *g_xc; /* the functional under test */

static const ks_xc *find(const char *name) {
    const ks_xc *xc = NULL;
    T_OK(ks_xc_find(name, &xc));
    return xc;
}

static int gga(void) { return g_xc->family == KS_XC_GGA; }

/* Wide ranges of density and reduced gradient. Relative to each value, or to the size of the parts that cancel in it:
 * e/rho and e/sigma set the scale of derivatives. */
static void against_libxc(ks_ctx *ctx, const char *name) {
    static const char *const key[6] = {"e", "v_rho", "v_sigma", "f_rr", "f_rs", "f_ss"};
    char                     c[64];
    int64_t                  n;
    double                  *ref[6], *got[6], worst[6] = {0};
    g_xc = find(name);
    snprintf(c, sizeof c, "point_%s", name);
    double *rho = golden_array(c, "rho", &n), *sigma = golden_array(c, "sigma", NULL);
    for (int k = 0; k < 6; k++) {
        ref[k] = golden_array(c, key[k], NULL);
        got[k] = malloc(sizeof(double) * (size_t)n);
    }
    T_OK(ks_xc_eval(ctx, g_xc, n, rho, gga() ? sigma : NULL, got[0], got[1], got[2], got[3], got[4], got[5]));
    double b88 = 0.0;
    for (int i = 0; i < g_xc->n_part; i++)
        if (g_xc->part[i].libxc_id == 106) b88 = g_xc->part[i].weight;
    for (int k = 0; k < 6; k++)
        for (int64_t g = 0; g < n; g++) {
            /* exchange and correlation of PBE cancel in the derivatives for sigma: absolute to the size of the parts */
            const double size[6] = {pow(rho[g], 4.0 / 3),  pow(rho[g], 1.0 / 3),          0.004 * pow(rho[g], -4.0 / 3),
                                    pow(rho[g], -2.0 / 3), 0.006 * pow(rho[g], -7.0 / 3), 1e-4 * pow(rho[g], -4.0)};
            /* libxc divides 0 by 0 in B88's f_ss at sigma = 0; the limit is 24 beta^2 rho^-4 */
            if (k == 5 && sigma[g] == 0.0 && b88 != 0.0) ref[k][g] = b88 * 24.0 * 0.0042 * 0.0042 * pow(rho[g], -4.0);
            const double err = fabs(got[k][g] - ref[k][g]) / fmax(fabs(ref[k][g]), 1e-300);
            if (fabs(ref[k][g]) > 1e-2 * size[k]) worst[k] = t_worse(worst[k], err);
            T_CHECK(t_close(got[k][g], ref[k][g], 1e-13 * size[k], 1e-11),
                    "%s %s at rho=%g sigma=%g: %.15g, libxc %.15g (%.1e)", name, key[k], rho[g], sigma[g], got[k][g],
                    ref[k][g], err);
        }
    printf("%-7s against libxc: e %.1e v %.1e %.1e f %.1e %.1e %.1e\n", name, worst[0], worst[1], worst[2], worst[3],
           worst[4], worst[5]);
    for (int k = 0; k < 6; k++) {
        free(ref[k]);
        free(got[k]);
    }
    free(rho);
    free(sigma);
}

/* The pair e -> v through the driver: forward e, adjoint with v. Then v -> f. */
static ks_status build(t_case *c) {
    c->in_size[0] = c->in_size[1] = c->out_size[0] = c->out_size[1] = c->n;
    return KS_OK;
}

static ks_status e_fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_xc_eval(c->ctx, g_xc, c->n, in[0], in[1], out[0], NULL, NULL, NULL, NULL, NULL);
}

static ks_status e_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    ks_status     st  = KS_OK;
    const double *bar = out_bar[0];
    double       *v   = malloc(sizeof(double) * 2 * (size_t)(c->n + 1));
    (void)saved;
    KS_TRY(ks_xc_eval(c->ctx, g_xc, c->n, in[0], in[1], NULL, v, v + c->n, NULL, NULL, NULL));
    for (int64_t g = 0; g < c->n; g++) {
        if (in_bar[0]) ((double *)in_bar[0])[g] += bar[g] * v[g];
        if (in_bar[1]) ((double *)in_bar[1])[g] += bar[g] * v[c->n + g];
    }
done:
    free(v);
    return st;
}

static ks_status v_fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_xc_eval(c->ctx, g_xc, c->n, in[0], in[1], NULL, out[0], out[1], NULL, NULL, NULL);
}

static ks_status v_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    ks_status     st = KS_OK;
    const double *rb = out_bar[0], *sb = out_bar[1];
    double       *f = malloc(sizeof(double) * 3 * (size_t)(c->n + 1));
    (void)saved;
    KS_TRY(ks_xc_eval(c->ctx, g_xc, c->n, in[0], in[1], NULL, NULL, NULL, f, f + c->n, f + 2 * c->n));
    for (int64_t g = 0; g < c->n; g++) {
        if (in_bar[0]) ((double *)in_bar[0])[g] += rb[g] * f[g] + sb[g] * f[c->n + g];
        if (in_bar[1]) ((double *)in_bar[1])[g] += rb[g] * f[c->n + g] + sb[g] * f[2 * c->n + g];
    }
done:
    free(f);
    return st;
}

static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    if (k == 0) return ks_xc_eval(c->ctx, g_xc, -1, in[0], in[1], out[0], NULL, NULL, NULL, NULL, NULL);
    if (k == 1) return ks_xc_eval(c->ctx, NULL, c->n, in[0], in[1], out[0], NULL, NULL, NULL, NULL, NULL);
    return ks_xc_eval(c->ctx, g_xc, c->n, NULL, in[1], out[0], NULL, NULL, NULL, NULL, NULL);
}

static void derivatives(const char *name) {
    g_xc = find(name);
    char e_name[32], v_name[32];
    snprintf(e_name, sizeof e_name, "xc e, %s", name);
    snprintf(v_name, sizeof v_name, "xc v, %s", name);
    /* e depends little on sigma: larger steps than usual, or rounding would drown the differences */
    const t_arg rho   = {.name = "rho", .diff = 1, .lo = 0.5, .hi = 1.0, .scale = 0.5},
                sigma = {.name = "sigma", .diff = 1, .may_vanish = !gga(), .lo = 0.5, .hi = 2.0, .scale = 1.0};
    const t_op e      = {.name  = e_name,
                         .n     = 257,
                         .build = build,
                         .fwd   = e_fwd,
                         .adj   = e_adj,
                         .bad   = bad,
                         .n_bad = 3,
                         .h     = {1e-2, 1e-3, 3e-4},
                         .in    = {rho, sigma},
                         .out   = {{.name = "e", .diff = 1}}};
    const t_op v      = {.name  = v_name,
                         .n     = 257,
                         .build = build,
                         .fwd   = v_fwd,
                         .adj   = v_adj,
                         .bad   = bad,
                         .n_bad = 3,
                         .h     = {1e-2, 1e-3, 3e-4},
                         .in    = {rho, sigma},
                         .out   = {{.name = "v_rho", .diff = 1}, {.name = "v_sigma", .diff = 1}}};
    t_op_run(&e);
    t_op_run(&v);
}

static void limits(ks_ctx *ctx) {
    int          n_xc;
    const ks_xc *all = ks_xc_list(&n_xc), *xc = NULL;
    const double rho[5] = {0.0, -1e-3, 0.9e-16, 1.1e-16, 1e-12}, sigma[5] = {0.0, 1.0, 1e-40, 0.0, 1e-20};
    double       y[6][5];
    for (int i = 0; i < n_xc; i++) {
        T_OK(ks_xc_eval(ctx, &all[i], 5, rho, sigma, y[0], y[1], y[2], y[3], y[4], y[5]));
        for (int k = 0; k < 6; k++)
            for (int g = 0; g < 5; g++) {
                if (g < 3) T_CHECK(y[k][g] == 0.0, "%s output %d below the floor: %g", all[i].name, k, y[k][g]);
                if (g >= 3) T_CHECK(isfinite(y[k][g]), "%s output %d at rho=%g: %g", all[i].name, k, rho[g], y[k][g]);
            }
        if (all[i].family != KS_XC_NONE)
            T_CHECK(y[0][4] < 0.0 && y[1][4] < 0.0, "%s: e=%g v=%g", all[i].name, y[0][4], y[1][4]);
        T_OK(ks_xc_find(all[i].name, &xc));
        T_CHECK(xc == &all[i], "%s is found as another record", all[i].name);
    }
    T_OK(ks_xc_find("B3LYP5", &xc));
    T_CHECK(xc->hybrid == 0.2 && xc->n_part == 4, "b3lyp5: a=%g", xc->hybrid);
    T_ERR(ks_xc_find("b3lyp", &xc), KS_ERR_ARG);
    T_CHECK(strstr(ks_error_message(), "b3lyp5") != NULL, "the refusal of b3lyp offers nothing: %s",
            ks_error_message());
    T_ERR(ks_xc_find("m06", &xc), KS_ERR_ARG);
    T_ERR(ks_xc_find(NULL, &xc), KS_ERR_ARG);
}

int main(int argc, char **argv) {
    static const char *const name[] = {"lda", "pbe", "pbe0", "blyp", "b3lyp5"};
    t_op_init(argc, argv);
    ks_ctx *ctx = t_op_ctx(0);
    for (int i = 0; i < 5; i++) against_libxc(ctx, name[i]);
    limits(ctx);
    for (int i = 0; i < 5; i++) derivatives(name[i]);
    ks_ctx_destroy(&ctx);
    return t_done("xc", 1900);
}
