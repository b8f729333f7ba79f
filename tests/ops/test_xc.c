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

/* All six outputs at n points, arrays in host memory. */
static void evaluate(ks_ctx *ctx, int64_t n, const double *rho, const double *sigma, double *const y[6]) {
    const size_t bytes = sizeof(double) * (size_t)n;
    void        *b[8]  = {NULL};
    for (int k = 0; k < 6; k++) b[k] = golden_put(ctx, NULL, bytes);
    b[6] = golden_put(ctx, rho, bytes);
    if (sigma) b[7] = golden_put(ctx, sigma, bytes);
    T_OK(ks_xc_eval(ctx, g_xc, n, b[6], b[7], b[0], b[1], b[2], b[3], b[4], b[5]));
    for (int k = 0; k < 6; k++) T_OK(ks_mem_to_host(ctx, y[k], b[k], bytes));
    golden_drop(ctx, 8, b);
}

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
    evaluate(ctx, n, rho, gga() ? sigma : NULL, got);
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
typedef struct setup {
    void *d[3]; /* derivatives at the points, backend memory */
} setup;

static ks_status build(t_case *c) {
    setup *s      = calloc(1, sizeof *s);
    c->user       = s;
    c->in_size[0] = c->in_size[1] = c->out_size[0] = c->out_size[1] = c->n;
    for (int k = 0; k < 3; k++) s->d[k] = golden_put(c->ctx, NULL, sizeof(double) * (size_t)c->n);
    return KS_OK;
}

static void drop(t_case *c) {
    setup *s = c->user;
    golden_drop(c->ctx, 3, s->d);
    free(s);
}

static ks_status e_fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_xc_eval(c->ctx, g_xc, c->n, in[0], in[1], out[0], NULL, NULL, NULL, NULL, NULL);
}

/* in_bar[i] += sum_o out_bar[o] d[o][i] for the pairs of (rho, sigma): the derivatives of ks_xc_eval are products at
 * each point, which this test makes on the host. d: backend memory, n doubles each. */
static void add_products(t_case *c, int n_out, void *const d[][2], void *const out_bar[], void *const in_bar[]) {
    const size_t bytes = sizeof(double) * (size_t)c->n;
    for (int i = 0; i < 2; i++) {
        if (!in_bar[i]) continue;
        double *sum = golden_get(c->ctx, in_bar[i], c->n);
        for (int o = 0; o < n_out; o++) {
            double *bar = golden_get(c->ctx, out_bar[o], c->n), *x = golden_get(c->ctx, d[o][i], c->n);
            for (int64_t g = 0; g < c->n; g++) sum[g] += bar[g] * x[g];
            free(bar);
            free(x);
        }
        T_OK(ks_mem_to_backend(c->ctx, in_bar[i], sum, bytes));
        free(sum);
    }
}

static ks_status e_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    ks_status    st      = KS_OK;
    void *const *v       = ((setup *)c->user)->d;
    void *const  d[1][2] = {{v[0], v[1]}};
    (void)saved;
    KS_TRY(ks_xc_eval(c->ctx, g_xc, c->n, in[0], in[1], NULL, v[0], v[1], NULL, NULL, NULL));
    add_products(c, 1, d, out_bar, in_bar);
done:
    return st;
}

static ks_status v_fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_xc_eval(c->ctx, g_xc, c->n, in[0], in[1], NULL, out[0], out[1], NULL, NULL, NULL);
}

static ks_status v_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    ks_status    st      = KS_OK;
    void *const *f       = ((setup *)c->user)->d;
    void *const  d[2][2] = {{f[0], f[1]}, {f[1], f[2]}};
    (void)saved;
    KS_TRY(ks_xc_eval(c->ctx, g_xc, c->n, in[0], in[1], NULL, NULL, NULL, f[0], f[1], f[2]));
    add_products(c, 2, d, out_bar, in_bar);
done:
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
                         .drop  = drop,
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
                         .drop  = drop,
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
        double *const out[6] = {y[0], y[1], y[2], y[3], y[4], y[5]};
        g_xc                 = &all[i];
        evaluate(ctx, 5, rho, sigma, out);
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
