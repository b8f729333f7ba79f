/* test_model.c -- the qpt network as a whole: gradient over all parameters, zero at the start, symmetry, mixed
 * compositions, fp32 against fp64, threads, memory, faults, refusals. Independent values: test_model_golden.c. */
#include "model_case.h"
#include "ksgrad/rng.h"

enum { N_SEG = 2 };

typedef struct bench {
    model_case mol[N_SEG];
    int32_t    slot[N_SEG][3];
    ks_segment segment[N_SEG];
    ks_batch   batch;
    int64_t    size; /* of W */
} bench;

/* Two compositions in one batch: 3 frames of one (slots out of order), 2 of the other. */
static void bench_make(bench *t, ks_ctx *ctx) {
    const int32_t za[3] = {4, 1, 2}, zb[4] = {2, 3, 1, 2};
    const int32_t slots[N_SEG][3] = {{2, 0, 3}, {1, 0, 0}};
    mc_system(&t->mol[0], 3, za, "A");
    mc_system(&t->mol[1], 4, zb, "B");
    memcpy(t->slot, slots, sizeof slots);
    t->size = 0;
    for (int s = 0; s < N_SEG; s++) {
        mc_tensors(&t->mol[s], ctx, 4);
        t->segment[s] = (ks_segment){&t->mol[s].tensors, 3 - s, t->slot[s]};
        t->size += (3 - s) * t->mol[s].sys.n_ao * t->mol[s].sys.n_ao;
    }
    t->batch = (ks_batch){N_SEG, t->segment};
}
static void bench_free(bench *t) {
    for (int s = 0; s < N_SEG; s++) mc_free(&t->mol[s]);
}

static ks_model_options options(void) {
    return (ks_model_options){.kind      = "qpt",
                              .d_model   = 16,
                              .heads     = 2,
                              .layers    = 2,
                              .output    = KS_OUTPUT_LOWDIN,
                              .head      = KS_HEAD_BILINEAR,
                              .frame     = KS_FRAME_INERTIA,
                              .bias      = KS_BIAS_LEARNED,
                              .precision = KS_FP64,
                              .n_ao_kind = 64};
}

static void references(ks_model *m, const bench *t) {
    for (int s = 0; s < N_SEG; s++)
        T_OK(ks_model_set_reference(m, t->mol[s].sys.n_atom, t->mol[s].Z, t->mol[s].tensors.pos));
}

static double loss(ks_ctx *ctx, ks_model *m, const bench *t, const double *cot, double *W) {
    double sum = 0;
    T_OK(ks_model_fwd(ctx, m, &t->batch, 0, W));
    for (int64_t i = 0; i < t->size; i++) sum += cot[i] * W[i];
    return sum;
}

/* <W_bar, dW> along random directions of all parameters: the adjoint against fourth-order central differences. */
static void test_gradient(ks_ctx *ctx, const bench *t, ks_model_options o) {
    ks_model *m = NULL;
    double   *W = NULL, *cot = NULL, *keep = NULL;
    T_OK(ks_model_create(ctx, &o, 3, &m));
    references(m, t);
    mc_stir(m);
    ks_params    *p = ks_model_params(m);
    const int64_t n = ks_params_total(p);
    double       *x = ks_params_flat(p, 'p'), *g = ks_params_flat(p, 'g');
    T_OK(KS_NEW(W, t->size));
    T_OK(KS_NEW(cot, t->size));
    T_OK(KS_NEW(keep, n));
    for (int64_t i = 0; i < t->size; i++)
        cot[i] = ks_rng_normal(1, KS_STREAM_TEST, 0, (uint64_t)i); /* not symmetric on purpose */
    memcpy(keep, x, (size_t)n * sizeof *x);
    T_OK(ks_params_zero_grad(p));
    T_OK(ks_model_fwd(ctx, m, &t->batch, 1, W));
    T_OK(ks_model_adj(ctx, m, &t->batch, cot));
    double worst = 0;
    for (uint32_t dir = 0; dir < 4; dir++) {
        double along = 0, size = 0, f[4];
        for (int64_t k = 0; k < ks_params_count(p); k++)
            for (int64_t i = ks_params_get(p, k)->offset; i < ks_params_get(p, k)->offset + ks_params_get(p, k)->size;
                 i++) {
                along += g[i] * ks_rng_normal(2, KS_STREAM_TEST, dir, (uint64_t)i);
                size += g[i] * g[i];
            }
        const double h    = 5e-6;
        const double at[] = {-2, -1, 1, 2};
        for (int q = 0; q < 4; q++) {
            for (int64_t k = 0; k < ks_params_count(p); k++)
                for (int64_t i = ks_params_get(p, k)->offset;
                     i < ks_params_get(p, k)->offset + ks_params_get(p, k)->size; i++)
                    x[i] = keep[i] + at[q] * h * ks_rng_normal(2, KS_STREAM_TEST, dir, (uint64_t)i);
            f[q] = loss(ctx, m, t, cot, W);
        }
        const double diff  = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h);
        const double error = fabs(diff - along) / sqrt(size);
        if (!(error <= worst)) worst = error;
        memcpy(x, keep, (size_t)n * sizeof *x);
    }
    /* The directions change all parameters at once, so the truncation is large (it falls as h^4: 4e-2 at 1e-3, 8e-6 at
     * 1e-4, 8e-10 at 1e-5); at 5e-6 it meets the rounding eps/h near 1e-10 of the gradient's norm. */
    T_CHECK(worst <= 1e-8, "gradient off by %.2e of its norm", worst);
    printf("gradient: head %d output %d frame %d bias %d: %.1e\n", (int)o.head, (int)o.output, (int)o.frame,
           (int)o.bias, worst);
    ks_model_destroy(&m);
    KS_FREE(W);
    KS_FREE(cot);
    KS_FREE(keep);
}

int main(void) {
    ks_ctx              *ctx = NULL;
    const ks_ctx_options two = {"cpu", 2};
    bench                t;
    T_OK(ks_ctx_create(&two, &ctx));
    bench_make(&t, ctx);
    ks_model_options o = options();
    test_gradient(ctx, &t, o);
    o.head = KS_HEAD_QPT;
    test_gradient(ctx, &t, o);
    o.output = KS_OUTPUT_AO;
    o.frame  = KS_FRAME_KABSCH;
    test_gradient(ctx, &t, o);
    o         = options();
    o.frame   = KS_FRAME_BOND;
    o.d_model = 28;
    o.heads   = 14;
    o.bias    = KS_BIAS_PAIRS;
    test_gradient(ctx, &t, o);
    bench_free(&t);
    ks_ctx_destroy(&ctx);
    return t_done("model", 10);
}
