/* test_libxc.c -- every part of the functionals against libxc over wide ranges of density and gradient, closed shell.
 */
#include <string.h>
#include <xc.h>
#include "ks_test.h"

enum { N = 20000 };

static uint64_t state = 3;
static double   uniform(void) {
      uint64_t z = (state += 0x9e3779b97f4a7c15u);
      z          = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
      z          = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
      return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* Size of each quantity at reduced gradients of order 1: what cancellation may be measured against. */
static double scale(int k, double rho) {
    static const double factor[6] = {1.0, 1.0, 4e-3, 1.0, 6e-3, 1e-4}, power[6] = {4.0, 1.0, -4.0, -2.0, -7.0, -12.0};
    return factor[k] * pow(rho, power[k] / 3.0);
}

static void compare(ks_ctx *ctx, const ks_xc *xc, double rho_lo, double rho_hi, double s_lo, double s_hi, double rtol,
                    double atol) {
    static const char *const label[6] = {"e", "v_rho", "v_sigma", "f_rr", "f_rs", "f_ss"};
    static double            rho[N], sigma[N], ref[6][N], part[6][N], got[6][N];
    double                   worst[6] = {0};
    int64_t                  bad[6]   = {0};
    memset(ref, 0, sizeof ref);
    for (int g = 0; g < N; g++) {
        rho[g]         = exp(log(rho_lo) + uniform() * log(rho_hi / rho_lo));
        const double s = exp(log(s_lo) + uniform() * log(s_hi / s_lo));
        sigma[g]       = 4.0 * pow(3.0 * M_PI * M_PI, 2.0 / 3) * s * s * pow(rho[g], 8.0 / 3);
    }
    for (int i = 0; i < xc->n_part; i++) {
        xc_func_type f;
        memset(part, 0, sizeof part);
        if (xc_func_init(&f, xc->part[i].libxc_id, XC_UNPOLARIZED)) {
            T_CHECK(0, "libxc has no functional %d", xc->part[i].libxc_id);
            return;
        }
        xc_func_set_dens_threshold(&f, 1e-30);
        xc_func_set_sigma_threshold(&f, 1e-60);
        T_CHECK(!strcmp(xc_functional_get_name(xc->part[i].libxc_id), xc->part[i].name), "number %d is not %s",
                xc->part[i].libxc_id, xc->part[i].name);
        if (f.info->family == XC_FAMILY_LDA) xc_lda_exc_vxc_fxc(&f, N, rho, part[0], part[1], part[3]);
        else xc_gga_exc_vxc_fxc(&f, N, rho, sigma, part[0], part[1], part[2], part[3], part[4], part[5]);
        xc_func_end(&f);
        for (int k = 0; k < 6; k++)
            for (int g = 0; g < N; g++) ref[k][g] += xc->part[i].weight * part[k][g] * (k ? 1.0 : rho[g]);
    }
    T_OK(ks_xc_eval(ctx, xc, N, rho, sigma, got[0], got[1], got[2], got[3], got[4], got[5]));
    for (int k = 0; k < 6; k++) {
        int at = -1;
        for (int g = 0; g < N; g++) {
            const double size = fabs(ref[k][g]) + atol / rtol * scale(k, rho[g]),
                         err  = fabs(got[k][g] - ref[k][g]) / size;
            if (!(err <= worst[k])) worst[k] = err, at = g;
            bad[k] += !(err <= rtol);
        }
        T_CHECK(bad[k] == 0, "%s %s: %lld of %d points off, worst %.1e at rho=%g sigma=%g: %.15g, libxc %.15g",
                xc->name, label[k], (long long)bad[k], N, worst[k], rho[at], sigma[at], got[k][at], ref[k][at]);
    }
    printf("%-7s rho %.0e..%.0e s %.0e..%.0e: e %.0e v %.0e %.0e f %.0e %.0e %.0e\n", xc->name, rho_lo, rho_hi, s_lo,
           s_hi, worst[0], worst[1], worst[2], worst[3], worst[4], worst[5]);
}

int main(void) {
    int          n;
    const ks_xc *all = ks_xc_list(&n);
    ks_ctx      *ctx = NULL;
    T_OK(ks_ctx_create(NULL, &ctx));
    for (int i = 0; i < n; i++) {
        if (all[i].family == KS_XC_NONE) continue;
        compare(ctx, &all[i], 1e-3, 1e3, 1e-3, 1e1, 1e-11, 1e-13);
        compare(ctx, &all[i], 1e-9, 1e-3, 1e-2, 1e2, 1e-10, 1e-12);
        /* libxc takes ln(1 + x) of PW92 and exp(x) - 1 of PBE as written: x = 1e-8 here costs it eight digits */
        const int pbe = !strncmp(all[i].name, "pbe", 3);
        compare(ctx, &all[i], 1e-15, 1e-9, 1e-1, 1e2, pbe ? 3e-6 : 1e-10, pbe ? 3e-8 : 1e-12);
    }
    /* each part alone, so that nothing hides behind a larger one */
    for (int i = 0; i < n; i++)
        for (int k = 0; k < all[i].n_part; k++) {
            ks_xc one          = {.name = all[i].part[k].name, .family = all[i].family, .n_part = 1};
            one.part[0]        = all[i].part[k];
            one.part[0].weight = 1.0;
            compare(ctx, &one, 1e-6, 1e2, 1e-2, 1e1, 1e-10, 1e-12);
        }
    ks_ctx_destroy(&ctx);
    return t_done("libxc", 150);
}
