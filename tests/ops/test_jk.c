/* test_jk.c -- Coulomb and exchange matrices against PySCF. */
#include "int_data.h"

static ks_ctx *ctx;

static void test_golden(const char *name) {
    int_data d;
    ks_eri  *eri = NULL;
    double  *out;
    int_data_open(name, &d);
    const int64_t n2 = d.n_ao * d.n_ao;
    out              = malloc((size_t)(2 * n2) * sizeof *out);
    T_OK(ks_eri_create(ctx, d.sys, 1, &eri));
    T_OK(ks_eri_build(ctx, eri, 1, NULL, d.pos));
    T_OK(ks_jk(ctx, eri, 1, NULL, 1, d.M, out, out + n2));
    T_CLOSE(max_diff(n2, out, d.J), 0.0, 1e-11, 0.0); /* sums of n^2 terms of size one; measured 1e-13 */
    T_CLOSE(max_diff(n2, out + n2, d.K), 0.0, 1e-11, 0.0);
    free(out);
    ks_eri_destroy(&eri);
    int_data_close(&d);
}

int main(int argc, char **argv) {
    const ks_ctx_options opt = {argc > 1 ? argv[1] : "cpu", 0};
    T_OK(ks_ctx_create(&opt, &ctx));
    test_golden("water");
    test_golden("hcn");
    ks_ctx_destroy(&ctx);
    return t_done("jk", 17);
}
