/* test_int1e.c -- overlap, kinetic, nuclear attraction, dipole against PySCF. */
#include "int_data.h"

static ks_ctx *ctx;

/* 1e-12: PySCF's values are rounded sums of the same size (|V| up to 70); measured 1e-13. */
static void test_golden(const char *name) {
    int_data d;
    double  *out;
    int_data_open(name, &d);
    const int64_t n2 = d.n_ao * d.n_ao;
    out              = malloc((size_t)(6 * n2) * sizeof *out);
    T_OK(ks_int1e(ctx, d.sys, 1, d.pos, out, out + n2, out + 2 * n2, out + 3 * n2));
    T_CLOSE(max_diff(n2, out, d.S), 0.0, 1e-13, 0.0);
    T_CLOSE(max_diff(n2, out + n2, d.T), 0.0, 1e-12, 0.0);
    T_CLOSE(max_diff(n2, out + 2 * n2, d.V), 0.0, 1e-12, 0.0);
    T_CLOSE(max_diff(3 * n2, out + 3 * n2, d.dip), 0.0, 1e-13, 0.0);
    free(out);
    int_data_close(&d);
}

int main(int argc, char **argv) {
    const ks_ctx_options opt = {argc > 1 ? argv[1] : "cpu", 0};
    T_OK(ks_ctx_create(&opt, &ctx));
    test_golden("water");
    test_golden("hcn");
    ks_ctx_destroy(&ctx);
    return t_done("int1e", 15);
}
