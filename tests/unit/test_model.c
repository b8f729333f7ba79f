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
        worst              = t_worse(worst, error);
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

/* A model of these options with the bench's references; stirred unless fresh. */
static ks_model *make(ks_ctx *ctx, const bench *t, const ks_model_options *o, int fresh) {
    ks_model *m = NULL;
    T_OK(ks_model_create(ctx, o, 3, &m));
    references(m, t);
    if (!fresh) mc_stir(m);
    return m;
}

static double *forward(ks_ctx *ctx, ks_model *m, const ks_batch *batch, int64_t size, int want_adj) {
    double *W = NULL;
    T_OK(KS_NEW(W, size));
    T_OK(ks_model_fwd(ctx, m, batch, want_adj, W));
    return W;
}

/* Bilinear head: exactly zero at the start, with a gradient in k's weights. Published head: positive semidefinite. */
static void test_start(ks_ctx *ctx, const bench *t) {
    ks_model_options o = options();
    ks_model        *m = make(ctx, t, &o, 1);
    double          *W = forward(ctx, m, &t->batch, t->size, 1), worst = 0, norm = 0;
    for (int64_t i = 0; i < t->size; i++) worst = t_worse(worst, fabs(W[i]));
    T_CHECK(worst == 0, "W = %g at the start", worst);
    for (int64_t i = 0; i < t->size; i++) W[i] = 1;
    T_OK(ks_params_zero_grad(ks_model_params(m)));
    T_OK(ks_model_adj(ctx, m, &t->batch, W));
    T_OK(ks_grad_norm(ctx, ks_model_params(m), &norm));
    T_CHECK(norm > 1e-3, "gradient norm %g at the start", norm);
    KS_FREE(W);
    ks_model_destroy(&m);
    o.head              = KS_HEAD_QPT;
    o.output            = KS_OUTPUT_AO;
    m                   = make(ctx, t, &o, 1);
    W                   = forward(ctx, m, &t->batch, t->size, 0);
    const int64_t n     = t->mol[0].sys.n_ao;
    double        least = 0;
    for (uint32_t k = 0; k < 20; k++) { /* x^T W x of random x, first frame */
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                sum += W[i * n + j] * ks_rng_normal(4, KS_STREAM_TEST, k, (uint64_t)i) *
                       ks_rng_normal(4, KS_STREAM_TEST, k, (uint64_t)j);
        least = fmin(least, sum);
    }
    T_CHECK(least >= -1e-12, "the published head is not positive: %g", least);
    KS_FREE(W);
    ks_model_destroy(&m);
}

/* W symmetric; a mixed batch equals its frames one by one; the adjoint adds and is the sum over frames. */
static void test_batching(ks_ctx *ctx, const bench *t) {
    const ks_model_options o  = options();
    ks_model              *m  = make(ctx, t, &o, 0);
    ks_params             *p  = ks_model_params(m);
    const int64_t          np = ks_params_total(p);
    double *W = forward(ctx, m, &t->batch, t->size, 1), *g = ks_params_flat(p, 'g'), *whole = NULL, asym = 0,
           differ = 0, most = 0, gdiff = 0;
    T_OK(KS_NEW(whole, np));
    T_OK(ks_params_zero_grad(p));
    T_OK(ks_model_adj(ctx, m, &t->batch, W));
    memcpy(whole, g, (size_t)np * sizeof *g);
    T_ERR(ks_model_adj(ctx, m, &t->batch, W), KS_ERR_ARG); /* one adjoint per forward */
    for (int64_t i = 0; i < np; i++) g[i] = -whole[i];     /* the single frames must bring this back to zero */
    int64_t at = 0;
    for (int s = 0; s < N_SEG; s++) {
        const int64_t n = t->mol[s].sys.n_ao;
        for (int64_t b = 0; b < t->segment[s].n_frame; b++, at += n * n) {
            ks_segment one   = {t->segment[s].tensors, 1, &t->segment[s].slot[b]};
            ks_batch   batch = {1, &one};
            double    *V     = forward(ctx, m, &batch, n * n, 1);
            for (int64_t i = 0; i < n * n; i++) {
                differ = t_worse(differ, fabs(V[i] - W[at + i]));
                asym   = fmax(asym, fabs(W[at + i] - W[at + i % n * n + i / n]));
                most   = fmax(most, fabs(V[i]));
            }
            T_OK(ks_model_adj(ctx, m, &batch, W + at));
            KS_FREE(V);
        }
    }
    double size = 0;
    for (int64_t i = 0; i < np; i++) gdiff = t_worse(gdiff, fabs(g[i])), size = fmax(size, fabs(whole[i]));
    T_CHECK(most > 0.01 && asym <= 1e-13 * most, "W of size %g is asymmetric by %g", most, asym);
    /* Other tile cuts, so other roundings. */
    T_CHECK(differ <= 1e-12 * most, "batched and single frames differ by %g of %g", differ, most);
    T_CHECK(gdiff <= 1e-12 * size, "gradients of batched and single frames differ by %g of %g", gdiff, size);
    KS_FREE(W);
    KS_FREE(whole);
    ks_model_destroy(&m);
}

/* Two atoms of one element exchanged, with all their matrix rows: W is permuted along. No position in the sequence of
 * tokens enters anywhere else. */
static void test_permutation(ks_ctx *ctx) {
    const int32_t    Z[3] = {3, 2, 2};
    ks_model_options o    = options();
    model_case       c;
    int32_t          slot[1] = {0};
    int64_t          perm[MC_MAX_AO];
    double           worst = 0, most = 0;
    o.frame = KS_FRAME_NONE;
    mc_system(&c, 3, Z, "P");
    mc_tensors(&c, ctx, 1);
    ks_segment    seg   = {&c.tensors, 1, slot};
    ks_batch      batch = {1, &seg};
    const int64_t n     = c.sys.n_ao;
    ks_model     *m     = NULL;
    T_OK(ks_model_create(ctx, &o, 3, &m));
    mc_stir(m);
    /* Cholesky depends on the order of the AOs, so the column of L^-1 H L^-T is taken out of the mixing. */
    for (int64_t k = 0; k < ks_params_count(ks_model_params(m)); k++)
        if (strstr(ks_params_get(ks_model_params(m), k)->name, "mix"))
            for (int64_t h = 0; h < o.heads; h++) ((double *)ks_params_data(ks_model_params(m), k))[h * 7 + 2] = 0;
    double *W = forward(ctx, m, &batch, n * n, 0);
    for (int64_t i = 0; i < n; i++)
        perm[i] = c.ao_atom[i] == 1 ? i + 4 : c.ao_atom[i] == 2 ? i - 4 : i; /* 4 AOs each */
    for (int x = 0; x < 3; x++) {
        const double p       = c.tensors.pos[3 + x];
        c.tensors.pos[3 + x] = c.tensors.pos[6 + x];
        c.tensors.pos[6 + x] = p;
    }
    double *tmp = NULL, *member[7] = {c.tensors.S,   c.tensors.S_half, c.tensors.hcore, c.tensors.P0,
                                      c.tensors.JK0, c.tensors.Vxc0,   c.tensors.F0};
    T_OK(KS_NEW(tmp, n * n));
    for (int k = 0; k < 7; k++) {
        for (int64_t i = 0; i < n * n; i++) tmp[i] = member[k][perm[i / n] * n + perm[i % n]];
        memcpy(member[k], tmp, (size_t)(n * n) * sizeof *tmp);
    }
    double *V = forward(ctx, m, &batch, n * n, 0);
    for (int64_t i = 0; i < n * n; i++) {
        worst = t_worse(worst, fabs(V[i] - W[perm[i / n] * n + perm[i % n]]));
        most  = fmax(most, fabs(W[i]));
    }
    T_CHECK(worst <= 1e-12 * most && most > 0.01, "permuted atoms: W differs by %g of %g", worst, most);
    KS_FREE(tmp);
    KS_FREE(V);
    KS_FREE(W);
    ks_model_destroy(&m);
    mc_free(&c);
}

/* bf16 against fp32: the same initial weights, products of factors with 8 significant bits. */
static void test_half(ks_ctx *ctx, const bench *t) {
    ks_model_options o = options();
    ks_model        *f = NULL, *h = NULL;
    double          *W = NULL, *V = NULL, worst = 0, most = 0, gd2 = 0, diff2 = 0;
    o.head        = KS_HEAD_QPT; /* the bilinear head begins with W = 0 */
    o.precision   = KS_FP32;
    f             = make(ctx, t, &o, 1);
    o.precision   = KS_BF16;
    h             = make(ctx, t, &o, 1);
    ks_params *pf = ks_model_params(f), *ph = ks_model_params(h);
    T_CHECK(ks_params_elem_bytes(ph) == sizeof(float) && ks_params_precision(ph) == KS_BF16, "floats");
    T_CHECK(!memcmp(ks_params_flat(pf, 'p'), ks_params_flat(ph, 'p'), (size_t)ks_params_total(pf) * sizeof(float)),
            "initial weights");
    W = forward(ctx, f, &t->batch, t->size, 1);
    V = forward(ctx, h, &t->batch, t->size, 1);
    for (int64_t i = 0; i < t->size; i++) worst = t_worse(worst, fabs(V[i] - W[i])), most = fmax(most, fabs(W[i]));
    T_OK(ks_params_zero_grad(pf));
    T_OK(ks_params_zero_grad(ph));
    T_OK(ks_model_adj(ctx, f, &t->batch, W));
    T_OK(ks_model_adj(ctx, h, &t->batch, W));
    for (int64_t i = 0; i < ks_params_total(pf); i++) {
        const double a = ((float *)ks_params_flat(pf, 'g'))[i], b = ((float *)ks_params_flat(ph, 'g'))[i];
        gd2 += a * a;
        diff2 += (a - b) * (a - b);
    }
    printf("bf16: W off by %.1e, gradient by %.1e\n", worst / most, sqrt(diff2 / gd2));
    T_CHECK(worst <= 0.02 * most && worst > 1e-4 * most, "bf16 and fp32 differ by %g of %g", worst,
            most); /* measured 6e-3: unit roundoff 2e-3, through two blocks */
    T_CHECK(diff2 <= 0.02 * 0.02 * gd2, "bf16 gradient off by %g of its norm", sqrt(diff2 / gd2));
    KS_FREE(W);
    KS_FREE(V);
    ks_model_destroy(&f);
    ks_model_destroy(&h);
}

/* fp32 against fp64 with the same parameters; W is double in both. */
static void test_single(ks_ctx *ctx, const bench *t) {
    ks_model_options o = options();
    ks_model        *d = make(ctx, t, &o, 0), *f = NULL;
    o.precision   = KS_FP32;
    f             = make(ctx, t, &o, 0);
    ks_params *pd = ks_model_params(d), *pf = ks_model_params(f);
    double    *W = NULL, *V = NULL, worst = 0, most = 0, gd2 = 0, diff2 = 0;
    for (int64_t k = 0; k < ks_params_count(pd); k++)
        for (int64_t i = 0; i < ks_params_get(pd, k)->size; i++)
            ((double *)ks_params_data(pd, k))[i] = (double)((float *)ks_params_data(pf, k))[i];
    W = forward(ctx, d, &t->batch, t->size, 1);
    V = forward(ctx, f, &t->batch, t->size, 1);
    for (int64_t i = 0; i < t->size; i++) worst = t_worse(worst, fabs(V[i] - W[i])), most = fmax(most, fabs(W[i]));
    T_CHECK(worst <= 2e-5 * most && worst > 0, "fp32 and fp64 differ by %g of %g", worst,
            most); /* measured 5e-6: rounding through two blocks */
    T_OK(ks_params_zero_grad(pd));
    T_OK(ks_params_zero_grad(pf));
    T_OK(ks_model_adj(ctx, d, &t->batch, W));
    T_OK(ks_model_adj(ctx, f, &t->batch, W));
    for (int64_t k = 0; k < ks_params_count(pd); k++)
        for (int64_t i = 0; i < ks_params_get(pd, k)->size; i++) {
            const double a = ((double *)ks_params_grad(pd, k))[i], b = (double)((float *)ks_params_grad(pf, k))[i];
            gd2 += a * a;
            diff2 += (a - b) * (a - b);
        }
    T_CHECK(diff2 <= 1e-8 * gd2, "fp32 gradient off by %g of its norm", sqrt(diff2 / gd2));
    printf("fp32: W off by %.1e, gradient by %.1e\n", worst / most, sqrt(diff2 / gd2));
    KS_FREE(W);
    KS_FREE(V);
    ks_model_destroy(&d);
    ks_model_destroy(&f);
}

/* 1, 2 and 3 threads, and a second run: the same bits in W and in every gradient. */
static void test_threads(const ks_batch *batch, int64_t size, ks_model_options o) {
    double *W0 = NULL;
    void   *g0 = NULL;
    for (int pass = 0; pass < 4; pass++) {
        ks_ctx              *ctx = NULL;
        ks_model            *m   = NULL;
        const ks_ctx_options opt = {.backend = "cpu", .threads = pass < 3 ? pass + 1 : 2};
        T_OK(ks_ctx_create(&opt, &ctx));
        T_OK(ks_model_create(ctx, &o, 3, &m));
        mc_stir(m);
        double *W = forward(ctx, m, batch, size, 1);
        T_OK(ks_params_zero_grad(ks_model_params(m)));
        T_OK(ks_model_adj(ctx, m, batch, W));
        const size_t bytes = (size_t)ks_params_total(ks_model_params(m)) * ks_params_elem_bytes(ks_model_params(m));
        if (pass == 0) {
            W0 = W;
            T_OK(ks_host_alloc((int64_t)bytes, 1, &g0));
            memcpy(g0, ks_params_flat(ks_model_params(m), 'g'), bytes);
        } else {
            T_CHECK(!memcmp(W, W0, (size_t)size * sizeof *W), "W changes with %d threads", opt.threads);
            T_CHECK(!memcmp(ks_params_flat(ks_model_params(m), 'g'), g0, bytes), "gradient changes with %d threads",
                    opt.threads);
            KS_FREE(W);
        }
        ks_model_destroy(&m);
        ks_ctx_destroy(&ctx);
    }
    KS_FREE(W0);
    ks_host_free(&g0);
}

/* Large enough that every op leaves the calling thread (the limits are in src/ops/net_cpu.c): 640 tokens, 208 channels. */
static void test_threads_large(ks_ctx *ctx, ks_precision prec) {
    const int32_t    Z[8]    = {4, 4, 4, 4, 4, 4, 4, 4};
    int32_t          slot[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    ks_model_options o       = options();
    model_case       c;
    mc_system(&c, 8, Z, "L");
    mc_tensors(&c, ctx, 8);
    ks_segment seg   = {&c.tensors, 8, slot};
    ks_batch   batch = {1, &seg};
    o.d_model        = 208;
    o.heads          = 4;
    o.layers         = 1;
    o.precision      = prec;
    test_threads(&batch, 8 * c.sys.n_ao * c.sys.n_ao, o);
    mc_free(&c);
}

/* Warm steps allocate nothing, ks_model_bytes says what one frame takes, and every failing allocation is survived. */
static void test_memory(ks_ctx *ctx, const bench *t) {
    const ks_model_options o = options();
    ks_model              *m = make(ctx, t, &o, 0);
    double                *W = forward(ctx, m, &t->batch, t->size, 1);
    int64_t                bytes[N_SEG];
    T_OK(ks_model_adj(ctx, m, &t->batch, W));
    const int64_t before = ks_alloc_count();
    for (int step = 0; step < 3; step++) {
        T_OK(ks_model_fwd(ctx, m, &t->batch, step != 1, W));
        if (step != 1) T_OK(ks_model_adj(ctx, m, &t->batch, W));
    }
    T_CHECK(ks_alloc_count() == before, "%lld allocations in warm steps", (long long)(ks_alloc_count() - before));
    for (int s = 0; s < N_SEG; s++) T_OK(ks_model_bytes(m, &t->mol[s].sys, &bytes[s]));
    const int64_t T = t->mol[0].sys.n_ao, d = o.d_model, layer = T * (16 * d + 4 + o.heads * T);
    T_CHECK(bytes[0] > 8 * o.layers * layer && bytes[0] < 2 * 8 * (o.layers * layer + T * (13 * d + 10 * T)),
            "bytes %lld", (long long)bytes[0]);
    ks_model_destroy(&m);
    int n = 1;
    for (; n < 400; n++) {
        ks_ctx              *own = NULL;
        const ks_ctx_options one = {.backend = "cpu", .threads = 1};
        T_OK(ks_ctx_create(&one, &own));
        ks_alloc_fail_after(n);
        ks_status st = ks_model_create(own, &o, 3, &m);
        for (int s = 0; s < N_SEG && st == KS_OK; s++)
            st = ks_model_set_reference(m, t->mol[s].sys.n_atom, t->mol[s].Z, t->mol[s].tensors.pos);
        if (st == KS_OK) st = ks_model_fwd(own, m, &t->batch, 1, W);
        if (st == KS_OK) st = ks_model_adj(own, m, &t->batch, W);
        ks_alloc_fail_after(0);
        if (st != KS_OK && m && n % 7 == 0) { /* a failed step can be tried again */
            T_OK(ks_model_fwd(own, m, &t->batch, 1, W));
            T_OK(ks_model_adj(own, m, &t->batch, W));
        }
        ks_model_destroy(&m);
        ks_ctx_destroy(&own);
        if (st == KS_OK) break;
        if (st != KS_ERR_NOMEM) T_CHECK(0, "n=%d: %s", n, ks_error_trace());
    }
    T_CHECK(n > 10 && n < 400, "%d allocations failed in turn", n);
    KS_FREE(W);
}

static void test_refusals(ks_ctx *ctx, bench *t) {
    ks_model        *m = NULL;
    ks_model_options o = options(), b = o;
    double          *W = NULL;
    T_OK(KS_NEW(W, t->size));
#define REFUSED(change, code)                                                                                          \
    b = o;                                                                                                             \
    change;                                                                                                            \
    T_ERR(ks_model_create(ctx, &b, 1, &m), (code));                                                                    \
    T_CHECK(m == NULL, "a refused model came back")
    REFUSED(b.heads = 3, KS_ERR_CONFIG);
    REFUSED(b.d_model = 0, KS_ERR_CONFIG);
    REFUSED(b.layers = 0, KS_ERR_CONFIG);
    REFUSED(b.layers = 100, KS_ERR_CONFIG);
    REFUSED(b.bias = KS_BIAS_PAIRS, KS_ERR_CONFIG);
    REFUSED(b.precision = (ks_precision)5, KS_ERR_ARG);
    REFUSED(b.n_ao_kind = 0, KS_ERR_ARG);
    REFUSED(strcpy(b.kind, "schnorb"), KS_ERR_CONFIG);
    REFUSED(memset(b.kind, 'x', sizeof b.kind), KS_ERR_ARG);
    T_ERR(ks_model_size("huge", &b), KS_ERR_CONFIG);
    T_OK(ks_model_size("medium", &b));
    T_CHECK(b.d_model == 1024 && b.heads == 16 && b.layers == 24, "medium");
    o.frame = KS_FRAME_KABSCH;
    T_OK(ks_model_create(ctx, &o, 1, &m));
    T_ERR(ks_model_fwd(ctx, m, &t->batch, 1, W), KS_ERR_ARG); /* no reference geometry */
    T_CHECK(strstr(ks_error_message(), "reference"), "%s", ks_error_message());
    T_ERR(ks_model_adj(ctx, m, &t->batch, W), KS_ERR_ARG); /* no forward */
    references(m, t);
    T_CHECK(ks_model_n_reference(m) == 2, "references");
    references(m, t); /* replaces */
    int64_t        n = 0;
    const int32_t *Z;
    const double  *pos;
    T_OK(ks_model_get_reference(m, 1, &n, &Z, &pos));
    T_CHECK(ks_model_n_reference(m) == 2 && n == 4 && Z[1] == 3 && pos[0] == t->mol[1].tensors.pos[0], "reference 1");
    T_ERR(ks_model_get_reference(m, 2, &n, &Z, &pos), KS_ERR_ARG);
    T_ERR(ks_model_set_reference(m, 0, Z, pos), KS_ERR_ARG);
    T_OK(ks_model_fwd(ctx, m, &t->batch, 1, W));
    T_ERR(ks_model_adj(ctx, m, &(ks_batch){1, t->segment}, W), KS_ERR_ARG); /* another batch */
    t->mol[0].ao_kind[1] = 64;
    T_ERR(ks_model_fwd(ctx, m, &t->batch, 1, W), KS_ERR_DATA);
    t->mol[0].ao_kind[1] = t->mol[0].ao_kind[0] + 1;
    t->slot[0][0]        = 4;
    T_ERR(ks_model_fwd(ctx, m, &t->batch, 1, W), KS_ERR_ARG);
    t->slot[0][0]                   = 2;
    t->mol[1].tensors.method.n_spin = 2;
    T_ERR(ks_model_fwd(ctx, m, &t->batch, 1, W), KS_ERR_UNSUPPORTED);
    t->mol[1].tensors.method.n_spin = 1;
    T_OK(ks_model_fwd(ctx, m, &(ks_batch){0, NULL}, 0, W)); /* an empty batch is fine */
    ks_model_destroy(&m);
    KS_FREE(W);
}

/* What the adjoint says of complete gradients: in falling order, from every parameter to all of them, and true: nothing
 * at or above the offset changes afterwards. */
typedef struct ready_log {
    ks_params *params;
    int64_t    n, last; /* reports, offset of the last one */
    double    *seen;    /* gradient from `last` on, as it was when it was reported */
    int        is_wrong;
} ready_log;

static ks_status log_ready(void *user, int64_t offset) {
    ready_log    *r     = user;
    const int64_t total = ks_params_total(r->params);
    const double *g     = ks_params_flat(r->params, 'g');
    if (offset >= r->last) r->is_wrong = 1;
    for (int64_t i = r->last; i < total; i++) r->is_wrong |= memcmp(&g[i], &r->seen[i], sizeof *g) != 0;
    for (int64_t i = offset; i < total; i++) r->seen[i] = g[i];
    r->last = offset;
    r->n++;
    return KS_OK;
}

static void test_ready(ks_ctx *ctx, const bench *t, ks_model_options o, int64_t reports) {
    ks_model  *m        = make(ctx, t, &o, 0);
    ready_log  r        = {.params = ks_model_params(m), .last = ks_params_total(ks_model_params(m))};
    double    *W        = NULL;
    ks_segment order[3] = {t->segment[0], t->segment[1], t->segment[1]};
    T_OK(KS_NEW(r.seen, r.last));
    order[2].n_frame = 0; /* the last segment with frames reports */
    for (int64_t n_segment = 1; n_segment <= 3; n_segment++) {
        const ks_batch batch = {n_segment, order};
        r.n                  = 0;
        r.last               = ks_params_total(r.params);
        T_OK(ks_params_zero_grad(r.params));
        W = forward(ctx, m, &batch, t->size, 1);
        ks_params_listen(r.params, log_ready, &r);
        T_OK(ks_model_adj(ctx, m, &batch, W));
        T_CHECK(!r.is_wrong && r.n == reports && r.last == 0, "%lld reports down to %lld, wrong %d", (long long)r.n,
                (long long)r.last, r.is_wrong);
        T_CHECK(!memcmp(r.seen, ks_params_flat(r.params, 'g'), (size_t)ks_params_total(r.params) * sizeof *r.seen),
                "the gradient has changed after all of it was reported");
        KS_FREE(W);
    }
    r.n                  = 0;
    const ks_batch empty = {0, NULL}, no_frames = {1, order + 2};
    W = forward(ctx, m, &empty, t->size, 1);
    T_OK(ks_model_adj(ctx, m, &empty, W));
    T_OK(ks_model_fwd(ctx, m, &no_frames, 1, W));
    T_OK(ks_model_adj(ctx, m, &no_frames, W));
    T_CHECK(r.n == 0, "a batch without frames reports");
    ks_params_listen(r.params, NULL, NULL);
    T_OK(ks_model_fwd(ctx, m, &t->batch, 1, W));
    T_OK(ks_model_adj(ctx, m, &t->batch, W));
    T_CHECK(r.n == 0, "the listener is gone");
    KS_FREE(W);
    KS_FREE(r.seen);
    ks_model_destroy(&m);
}

int main(void) {
    ks_ctx              *ctx = NULL;
    const ks_ctx_options two = {.backend = "cpu", .threads = 2};
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
    test_start(ctx, &t);
    test_batching(ctx, &t);
    o = options();
    test_ready(ctx, &t, o, 1 + 6 * o.layers + 1); /* head, six places of a block, the rest */
    o.bias    = KS_BIAS_PAIRS;
    o.d_model = 28;
    o.heads   = 14;
    o.head    = KS_HEAD_QPT;
    test_ready(ctx, &t, o, 1 + 6 * o.layers + 1);
    test_permutation(ctx);
    test_single(ctx, &t);
    test_half(ctx, &t);
    o = options();
    test_threads(&t.batch, t.size, o);
    test_threads_large(ctx, KS_FP32);
    test_threads_large(ctx, KS_FP64);
    test_memory(ctx, &t);
    test_refusals(ctx, &t);
    bench_free(&t);
    ks_ctx_destroy(&ctx);
    return t_done("model", 150);
}
