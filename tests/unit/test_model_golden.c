/* test_model_golden.c -- W of the qpt network against an independent NumPy implementation
 * (scripts/make_golden_model.py): every frame kind, both heads, outputs and bias mixings. */
#include "model_case.h"
#include "golden/model_golden.h"

int main(void) {
    const int32_t        Z[3] = {3, 1, 2};
    const ks_ctx_options two  = {.backend = "cpu", .threads = 2};
    ks_ctx              *ctx  = NULL;
    model_case           c;
    int32_t              slot[1] = {1};
    T_OK(ks_ctx_create(&two, &ctx));
    mc_system(&c, 3, Z, "G");
    mc_tensors(&c, ctx, 2);
    T_CHECK(c.sys.n_ao == GOLDEN_N, "%lld AOs", (long long)c.sys.n_ao);
    ks_segment seg   = {&c.tensors, 1, slot};
    ks_batch   batch = {1, &seg};
    for (int k = 0; k < GOLDEN_CASES; k++) {
        ks_model *m = NULL;
        double    W[GOLDEN_N * GOLDEN_N], worst = 0, size = 0;
        T_OK(ks_model_create(ctx, &golden_options[k], 1, &m));
        T_OK(ks_model_set_reference(m, 3, Z, c.tensors.pos));
        ks_params *p = ks_model_params(m);
        for (int64_t q = 0; q < ks_params_count(p); q++) {
            const char *name = ks_params_get(p, q)->name;
            const int   gain = strlen(name) > 4 && !strcmp(name + strlen(name) - 4, "gain");
            for (int64_t i = 0; i < ks_params_get(p, q)->size; i++)
                ((double *)ks_params_data(p, q))[i] = 0.2 * sin(0.9 * (double)i + 1.7 * (double)q) + (gain ? 1.0 : 0.0);
        }
        T_OK(ks_model_fwd(ctx, m, &batch, 0, W));
        for (int i = 0, at = 0; i < GOLDEN_N; i++)
            for (int j = 0; j <= i; j++, at++) {
                worst = t_worse(worst, fabs(W[i * GOLDEN_N + j] - golden_W[k][at]));
                worst = t_worse(worst, fabs(W[j * GOLDEN_N + i] - golden_W[k][at]));
                size  = fmax(size, fabs(golden_W[k][at]));
            }
        /* Rounding of either side through one or two blocks, in units of the largest element; measured below 1e-14. */
        T_CHECK(size > 0.01 && worst <= 1e-12 * size, "case %d: off by %.2e of %.2e", k, worst, size);
        printf("case %d: largest element %.3g, off by %.1e of it\n", k, size, worst / size);
        ks_model_destroy(&m);
    }
    mc_free(&c);
    ks_ctx_destroy(&ctx);
    return t_done("model_golden", 26);
}
