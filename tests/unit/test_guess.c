/* test_guess.c -- initial guesses and starts of the SCF: minao's stored values, the core guess, guess_F and guess_P,
 * frames that converge on their own, and non-convergence as data. */
#include "scf_case.h"

/* H2 at 1.1 Angstrom, STO-3G: the values of PySCF's documentation. */
static void test_h2(ks_ctx *ctx) {
    const int32_t Z[2]   = {1, 1};
    const double  pos[6] = {0, 0, 0, 0, 0, 1.1 / KS_BOHR_ANG};
    double        D[4];
    t_pool        p = t_pool_make(ctx, "sto-3g", "lda", 0, 2, Z, 1, pos, NULL);
    t_get(ctx, D, p.ts->P0, 4);
    T_CLOSE(D[0], 0.94758917, 1e-8, 0);
    T_CLOSE(D[1], 0.09227308, 1e-8, 0);
    T_CLOSE(D[3], 0.94758917, 1e-8, 0);
    t_pool_drop(&p);
}

static void test_core(ks_ctx *ctx) {
    ks_method   method  = {.grid_level = 0, .guess = KS_GUESS_CORE, .n_spin = 1};
    ks_basis   *basis   = NULL;
    ks_system  *sys     = NULL;
    ks_tensors *ts      = NULL;
    int32_t     slot[1] = {0};
    double      tr      = 0.0, P[49], S[49];
    T_OK(ks_xc_find("hf", &method.xc));
    T_OK(ks_basis_load("sto-3g", &basis));
    T_OK(ks_system_create(basis, 3, T_WATER_Z, &sys));
    T_OK(ks_tensors_create(ctx, sys, &method, 1, &ts));
    T_OK(ks_tensors_build(ts, 1, slot, T_WATER_POS, NULL));
    t_get(ctx, P, ts->P0, 49), t_get(ctx, S, ts->S, 49);
    for (int i = 0; i < 49; i++) tr += P[i] * S[i];
    T_CLOSE(tr, 10.0, 1e-11, 0); /* idempotent: exactly the electrons */
    ks_segment   seg   = {ts, 1, slot};
    ks_batch     batch = {1, &seg};
    ks_scf_frame fr;
    T_OK(ks_scf_run(ctx, &batch, NULL, NULL, NULL, NULL, NULL, NULL, NULL, &fr));
    T_CHECK(fr.converged, "core guess does not converge");
    t_pool p    = t_pool_make(ctx, "sto-3g", "hf", 0, 3, T_WATER_Z, 1, T_WATER_POS, NULL);
    seg.tensors = p.ts;
    ks_scf_frame minao;
    T_OK(ks_scf_run(ctx, &batch, NULL, NULL, NULL, NULL, NULL, NULL, NULL, &minao));
    T_CLOSE(fr.energy, minao.energy, 1e-9, 0);
    t_pool_drop(&p);
    ks_tensors_destroy(&ts);
    ks_system_destroy(&sys);
    ks_basis_destroy(&basis);
}

static void test_starts(ks_ctx *ctx) {
    enum { B = 3 };
    double pos[9 * B];
    t_moved(T_WATER_POS, 3, B, 10, pos);
    for (int i = 0; i < 9; i++)
        pos[9 + i] = 1.9 * T_WATER_POS[i]; /* stretched: needs more cycles than its neighbours */
    t_pool        p       = t_pool_make(ctx, "sto-3g", "b3lyp5", 0, 3, T_WATER_Z, B, pos, NULL);
    int32_t       slot[B] = {0, 1, 2};
    ks_segment    seg     = {p.ts, B, slot};
    ks_batch      batch   = {1, &seg};
    const int64_t size = ks_batch_mat_size(&batch), nn = 49;
    double       *F = t_dev(ctx, size), *P = t_dev(ctx, size), *C = t_dev(ctx, size), *eps = t_dev(ctx, 7 * B),
           *a = t_host(size), *b = t_host(size), *c = t_host(size);
    ks_scf_frame   fr[B], one, from[B];
    ks_scf_options opt = ks_scf_defaults();
    T_OK(ks_scf_run(ctx, &batch, NULL, NULL, NULL, F, P, C, eps, fr));
    T_CHECK(fr[0].converged && fr[1].converged && fr[2].converged, "not converged");
    T_CHECK(fr[1].cycles > fr[0].cycles && fr[1].cycles > fr[2].cycles,
            "cycles %d %d %d: the case needs different lengths", fr[0].cycles, fr[1].cycles, fr[2].cycles);
    for (int f = 0; f < B; f++)
        T_CHECK(fr[f].homo < fr[f].lumo && fr[f].gap > 0 && fabs(fr[f].n_elec_grid - 10) < 1e-2,
                "frame %d: gap %g, electrons %g", f, fr[f].gap, fr[f].n_elec_grid);
    /* frames leave one after the other: the same bits as alone */
    t_get(ctx, a, F, size), t_get(ctx, c, P, size);
    double *F1 = t_dev(ctx, nn), *P1 = t_dev(ctx, nn);
    for (int f = 0; f < B; f++) {
        ks_segment s1 = {p.ts, 1, slot + f};
        ks_batch   b1 = {1, &s1};
        T_OK(ks_scf_run(ctx, &b1, NULL, NULL, NULL, F1, P1, NULL, NULL, &one));
        t_get(ctx, b, F1, nn);
        T_CHECK(one.cycles == fr[f].cycles && one.energy == fr[f].energy &&
                    !memcmp(a + f * nn, b, (size_t)nn * sizeof *a),
                "frame %d alone: %d cycles, energy off by %g", f, one.cycles, one.energy - fr[f].energy);
        t_get(ctx, b, P1, nn);
        T_CHECK(!memcmp(c + f * nn, b, (size_t)nn * sizeof *c), "frame %d alone: another density", f);
    }
    /* the converged F and P as starts */
    T_OK(ks_scf_run(ctx, &batch, NULL, F, NULL, NULL, NULL, NULL, NULL, from));
    for (int f = 0; f < B; f++)
        T_CHECK(from[f].converged && from[f].cycles <= 4 && fabs(from[f].energy - fr[f].energy) < 1e-9,
                "from F: frame %d, %d cycles", f, from[f].cycles);
    T_OK(ks_scf_run(ctx, &batch, NULL, NULL, P, NULL, NULL, NULL, NULL, from));
    for (int f = 0; f < B; f++)
        T_CHECK(from[f].converged && from[f].cycles <= 3 && fabs(from[f].energy - fr[f].energy) < 1e-9,
                "from P: frame %d, %d cycles", f, from[f].cycles);
    /* too few cycles, a NaN start: data, not errors */
    opt.max_cycle = 3;
    T_OK(ks_scf_run(ctx, &batch, &opt, NULL, NULL, NULL, NULL, NULL, NULL, from));
    T_CHECK(!from[0].converged && from[0].cycles == 3 && isfinite(from[0].energy), "3 cycles: converged %d",
            from[0].converged);
    a[nn + 5] = NAN;
    t_put(ctx, F, a, size);
    T_OK(ks_scf_run(ctx, &batch, NULL, F, NULL, NULL, NULL, NULL, NULL, from));
    T_CHECK(from[0].converged && !from[1].converged && from[2].converged && fabs(from[2].energy - fr[2].energy) < 1e-9,
            "NaN start: %d %d %d", from[0].converged, from[1].converged, from[2].converged);
    opt.diis_space = 0;
    T_ERR(ks_scf_run(ctx, &batch, &opt, NULL, NULL, NULL, NULL, NULL, NULL, from), KS_ERR_ARG);
    ks_error_clear();
    ks_mem_free(ctx, (void **)&F), ks_mem_free(ctx, (void **)&P), ks_mem_free(ctx, (void **)&C),
        ks_mem_free(ctx, (void **)&eps), ks_mem_free(ctx, (void **)&F1), ks_mem_free(ctx, (void **)&P1);
    free(a), free(b), free(c);
    t_pool_drop(&p);
}

int main(void) {
    ks_ctx *ctx = NULL;
    T_OK(ks_ctx_create(NULL, &ctx));
    test_h2(ctx);
    test_core(ctx);
    test_starts(ctx);
    ks_ctx_destroy(&ctx);
    return t_done("guess", 60);
}
