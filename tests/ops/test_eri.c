/* test_eri.c -- stored two-electron integrals against PySCF. */
#include "int_data.h"

static ks_ctx *ctx;

static void test_golden(const char *name) {
    int_data d;
    ks_eri  *eri = NULL;
    double   worst = 0.0;
    int_data_open(name, &d);
    T_OK(ks_eri_create(ctx, d.sys, 1, &eri));
    T_OK(ks_eri_build(ctx, eri, 1, NULL, d.pos));
    for (int64_t q = 0; q < d.n_eri; q++) {
        const double *i = d.idx + 4 * q;
        double        v;
        T_OK(ks_eri_value(eri, 0, (int64_t)i[0], (int64_t)i[1], (int64_t)i[2], (int64_t)i[3], &v));
        if (!(fabs(v - d.val[q]) <= worst)) worst = fabs(v - d.val[q]);
    }
    T_CLOSE(worst, 0.0, 1e-12, 0.0); /* threshold 1e-15 a primitive quartet, up to 625 of them; measured 1e-14 */
    ks_eri_destroy(&eri);
    int_data_close(&d);
}

int main(int argc, char **argv) {
    const ks_ctx_options opt = {argc > 1 ? argv[1] : "cpu", 0};
    T_OK(ks_ctx_create(&opt, &ctx));
    test_golden("water");
    test_golden("hcn");
    ks_ctx_destroy(&ctx);
    return t_done("eri", 4007);
}
