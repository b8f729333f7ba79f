/* test_clip.c -- what a step is scaled by, and whether it counts, from sums and counts in backend memory. */
#include "ks_test.h"
#include "op_driver.h"

static const struct {
    double clip, sum, counted; /* counted -1: no array, all 4 frames */
    double norm, scale, ok;
} cases[] = {
    {0.0, 25.0, 4, 5, 1, 1},                                  /* no limit */
    {10.0, 25.0, 4, 5, 1, 1},                                 /* below the limit */
    {1.0, 25.0, 4, 5, 0.2, 1},                                /* above it */
    {1.0, 25.0, -1, 5, 0.2, 1},     {0.0, 25.0, 2, 10, 2, 1}, /* half of the frames: the mean over them is twice the sum */
    {1.0, 25.0, 2, 10, 0.2, 1},     {1.0, 0.0, 4, 0, 1, 1},   {1.0, 25.0, 1, 20, 0, 0}, /* less than half */
    {1.0, 25.0, 0, INFINITY, 0, 0}, {1.0, NAN, 4, NAN, 0, 0}, {1.0, INFINITY, 4, INFINITY, 0, 0},
};

int main(int argc, char **argv) {
    enum { N = sizeof cases / sizeof *cases };
    double  state[KS_STEP_N], *dsum = NULL, *dcounted = NULL, *dstate = NULL;
    ks_ctx *ctx;
    t_op_init(argc, argv);
    ctx = t_op_ctx(1);
    T_OK(ks_mem_alloc(ctx, sizeof *dsum, (void **)&dsum));
    T_OK(ks_mem_alloc(ctx, sizeof *dcounted, (void **)&dcounted));
    T_OK(ks_mem_alloc(ctx, sizeof state, (void **)&dstate));
    for (int k = 0; k < N; k++) {
        for (int i = 0; i < KS_STEP_N; i++) state[i] = 7.0 + i;
        T_OK(ks_mem_to_backend(ctx, dsum, &cases[k].sum, sizeof *dsum));
        T_OK(ks_mem_to_backend(ctx, dcounted, &cases[k].counted, sizeof *dcounted));
        T_OK(ks_mem_to_backend(ctx, dstate, state, sizeof state));
        T_OK(ks_clip(ctx, cases[k].clip, 4, dsum, cases[k].counted < 0 ? NULL : dcounted, dstate));
        T_OK(ks_mem_to_host(ctx, state, dstate, sizeof state));
        T_CHECK(state[KS_STEP_LR] == 7.0 + KS_STEP_LR && state[KS_STEP_UNBIAS1] == 7.0 + KS_STEP_UNBIAS1 &&
                    state[KS_STEP_UNBIAS2] == 7.0 + KS_STEP_UNBIAS2,
                "case %d: the host's part of the state has changed", k);
        T_CHECK(state[KS_STEP_OK] == cases[k].ok, "case %d: OK %g", k, state[KS_STEP_OK]);
        if (isfinite(cases[k].norm)) T_CLOSE(state[KS_STEP_NORM], cases[k].norm, 0, 4 * TOL_EPS);
        else T_CHECK(!isfinite(state[KS_STEP_NORM]), "case %d: norm %g", k, state[KS_STEP_NORM]);
        T_CLOSE(state[KS_STEP_SCALE], cases[k].scale, 0, 4 * TOL_EPS);
    }
    T_ERR(ks_clip(ctx, -1, 4, dsum, dcounted, dstate), KS_ERR_ARG);
    T_ERR(ks_clip(ctx, 1, 0, dsum, dcounted, dstate), KS_ERR_ARG);
    T_ERR(ks_clip(ctx, 1, 4, NULL, dcounted, dstate), KS_ERR_ARG);
    T_ERR(ks_clip(ctx, 1, 4, dsum, dcounted, NULL), KS_ERR_ARG);
    ks_mem_free(ctx, (void **)&dsum);
    ks_mem_free(ctx, (void **)&dcounted);
    ks_mem_free(ctx, (void **)&dstate);
    ks_ctx_destroy(&ctx);
    return t_done("clip", 9 * N + 7);
}
