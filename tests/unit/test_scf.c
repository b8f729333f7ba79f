/* test_scf.c -- tensors, converged SCF and refinement schemes against stored answers of PySCF and plain numpy. */
#include "scf_case.h"

static void check_case(ks_ctx *ctx, const t_gold *g) {
    const int64_t n_atom = g->n[t_gold_find(g, "Z")];
    int32_t       Z[8], slot[1] = {0};
    for (int64_t a = 0; a < n_atom; a++) Z[a] = (int32_t)t_gold_get(g, "Z")[a];
    t_pool p = t_pool_make(ctx, t_gold_text(g, "basis"), t_gold_text(g, "xc"), (int)t_gold_get(g, "level")[0], n_atom,
                           Z, 1, t_gold_get(g, "pos"), NULL);
    const int64_t n = p.sys->n_ao, nn = n * n;
    ks_segment    seg   = {p.ts, 1, slot};
    ks_batch      batch = {1, &seg};
    double *F = t_dev(ctx, nn), *P = t_dev(ctx, nn), *C = t_dev(ctx, nn), *eps = t_dev(ctx, n), *h = t_host(nn), E0;
    t_get(ctx, h, p.ts->P0, nn);
    T_CHECK(t_max_diff(nn, h, t_gold_get(g, "P0")) <= 1e-10, "minao density differs by %g",
            t_max_diff(nn, h, t_gold_get(g, "P0")));
    t_get(ctx, h, p.ts->F0, nn);
    T_CHECK(t_max_diff(nn, h, t_gold_get(g, "F0")) <= 2e-9, "F0 differs by %g",
            t_max_diff(nn, h, t_gold_get(g, "F0"))); /* PySCF screens AOs */
    t_get(ctx, &E0, p.ts->E0, 1);
    T_CLOSE(E0, t_gold_get(g, "E0")[0], 2e-9, 0);

    ks_scf_frame   fr;
    ks_scf_options opt = ks_scf_defaults();
    opt.conv_energy = 1e-12, opt.conv_grad = 1e-8;
    T_OK(ks_scf_run(ctx, &batch, &opt, NULL, NULL, F, P, C, eps, &fr));
    T_CHECK(fr.converged, "not converged after %d cycles, gradient %g", fr.cycles, fr.grad_rms);
    T_CLOSE(fr.energy, t_gold_get(g, "E")[0], 2e-9, 0);
    t_get(ctx, h, eps, n);
    T_CHECK(t_max_diff(n, h, t_gold_get(g, "eps")) <= 1e-7, "eps differs by %g",
            t_max_diff(n, h, t_gold_get(g, "eps")));
    t_get(ctx, h, F, nn);
    T_CHECK(t_max_diff(nn, h, t_gold_get(g, "F")) <= 1e-7, "F differs by %g", t_max_diff(nn, h, t_gold_get(g, "F")));
    T_CHECK(t_max_diff(3, fr.dipole, t_gold_get(g, "dipole")) <= 1e-6, "dipole differs by %g",
            t_max_diff(3, fr.dipole, t_gold_get(g, "dipole")));

    /* every scheme from F0 + W */
    const int kinds[][2] = {{KS_REFINE_NONE, 1},  {KS_REFINE_QPT, 3},      {KS_REFINE_QPTX, 3},
                            {KS_REFINE_CDIIS, 4}, {KS_REFINE_ANDERSON, 4}, {KS_REFINE_DAMPED, 3},
                            {KS_REFINE_QPT, 5},   {KS_REFINE_CDIIS, 6},    {KS_REFINE_ANDERSON, 6}};
    double   *H0 = t_host(nn), *W = t_host(nn);
    t_get(ctx, H0, p.ts->F0, nn);
    for (int64_t i = 0; i < nn; i++) H0[i] += t_gold_get(g, "W")[i];
    t_put(ctx, P, H0, nn);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        const ks_refine_options ro = {(ks_refine_kind)kinds[k][0], kinds[k][1]};
        ks_refine              *r  = NULL;
        ks_refine_result        res;
        char                    key[32];
        double                  E;
        T_OK(ks_refine_create(ctx, &ro, &r));
        T_OK(ks_refine_fwd(ctx, r, &batch, P, 0, &res));
        t_get(ctx, &E, res.E, 1);
        t_get(ctx, W, res.H, nn);
        snprintf(key, sizeof key, "E_%s_%d", ks_refine_kind_name(ro.kind), ro.n_build);
        T_CHECK(t_close(E, t_gold_get(g, key)[0], 1e-8, 0), "%s: %.12f against %.12f, difference %.3g", key, E,
                t_gold_get(g, key)[0], E - t_gold_get(g, key)[0]);
        key[0] = 'H';
        T_CHECK(t_max_diff(nn, W, t_gold_get(g, key)) <= 1e-7, "%s differs by %g", key,
                t_max_diff(nn, W, t_gold_get(g, key)));
        double mask, gap;
        t_get(ctx, &mask, res.mask, 1);
        t_get(ctx, &gap, res.gap, 1);
        T_CHECK(mask == 1.0 && gap > 0.0, "frame is masked, gap %g", gap);
        ks_refine_destroy(&r);
    }
    printf("%s: cycles %d\n", t_gold_text(g, "name"), fr.cycles);
    free(h), free(H0), free(W);
    ks_mem_free(ctx, (void **)&F), ks_mem_free(ctx, (void **)&P), ks_mem_free(ctx, (void **)&C),
        ks_mem_free(ctx, (void **)&eps);
    t_pool_drop(&p);
}

int main(void) {
    ks_ctx *ctx = NULL;
    FILE   *f   = fopen(KS_TEST_SOURCE_DIR "/tests/fixtures/refine_golden.txt", "r");
    t_gold  g;
    int     n_case = 0;
    T_CHECK(f != NULL, "golden file is missing");
    if (!f) return 1;
    T_OK(ks_ctx_create(NULL, &ctx));
    for (; t_gold_next(f, &g); n_case++) {
        check_case(ctx, &g);
        t_gold_drop(&g);
    }
    fclose(f);
    T_CHECK(n_case == 2, "%d cases in the golden file", n_case);
    ks_ctx_destroy(&ctx);
    return t_done("scf", 60);
}
