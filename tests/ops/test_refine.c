/* test_refine.c -- the refinement object: options, masks, batches against single frames, warm steps, the nine checks
 * of two schemes. Values of all schemes: unit.scf (stored answers); gradients of all schemes: op.loss. */
#include "scf_op.h"

static ks_refine_options g_kind;

static ks_status build(t_case *c) {
    t_waters     *s  = t_waters_open(c, "lda", 2, 5);
    const int64_t nn = s->pool.sys->n_ao * s->pool.sys->n_ao;
    T_OK(ks_refine_create(c->ctx, &g_kind, &s->refine));
    c->in_size[0] = c->out_size[0] = c->out_size[1] = c->out_size[2] = c->n * nn;
    c->out_size[3]                                                   = c->n;
    return KS_OK;
}
static void fill(const t_case *c, double *x) {
    t_waters_fill(c, ((const t_waters *)c->user)->pool.ts->F0, 0.1, 0.0, x);
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    t_waters        *s  = c->user;
    ks_status        st = KS_OK;
    ks_refine_result r;
    KS_TRY(ks_refine_fwd(c->ctx, s->refine, &s->batch, in[0], 1, &r));
    const double *const src[3] = {r.H, r.P, r.F};
    for (int k = 0; k < 3 && c->n; k++) {
        const ks_term t = {{src[k], c->out_size[0], c->out_size[0], NULL, 1, 0}, 1.0, NULL, 0};
        KS_TRY(ks_combine(c->ctx, 1, c->out_size[0], 1, &t, 0, out[k]));
    }
    if (c->n) {
        const ks_term t = {{r.E, 1, 1, NULL, 1, 0}, 1.0, NULL, 0};
        KS_TRY(ks_combine(c->ctx, c->n, 1, 1, &t, 0, out[3]));
    }
done:
    return st;
}
/* The object keeps what the adjoint needs of its last forward, so that one is repeated here. */
static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    t_waters        *s  = c->user;
    ks_status        st = KS_OK;
    ks_refine_result r;
    (void)saved;
    if (!in_bar[0]) return KS_OK;
    KS_TRY(ks_refine_fwd(c->ctx, s->refine, &s->batch, in[0], 1, &r));
    KS_TRY(ks_refine_adj(c->ctx, s->refine, &s->batch, out_bar[3], out_bar[0], out_bar[1], out_bar[2], in_bar[0]));
done:
    return st;
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    t_waters        *s = c->user;
    ks_refine_result r;
    (void)out;
    return k == 0 ? ks_refine_fwd(c->ctx, s->refine, &s->batch, NULL, 1, &r)
                  : ks_refine_fwd(c->ctx, NULL, &s->batch, in[0], 1, &r);
}

static void test_options(ks_ctx *ctx) {
    const struct {
        ks_refine_options opt;
        ks_status         want;
    } cases[]        = {{{KS_REFINE_NONE, 2}, KS_ERR_ARG},
                        {{KS_REFINE_QPT, -1}, KS_ERR_ARG},
                        {{KS_REFINE_QPT, KS_BUILD_MAX + 1}, KS_ERR_ARG},
                        {{(ks_refine_kind)17, 1}, KS_ERR_ARG},
                        {{KS_REFINE_ANDERSON, KS_BUILD_MAX}, KS_OK},
                        {{KS_REFINE_QPTX, KS_BUILD_MAX}, KS_OK},
                        {{KS_REFINE_CDIIS, KS_BUILD_MAX}, KS_OK},
                        {{KS_REFINE_DAMPED, KS_BUILD_MAX}, KS_OK}};
    ks_refine     *r = NULL;
    ks_refine_kind kind;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        T_ERR(ks_refine_create(ctx, &cases[i].opt, &r), cases[i].want);
        ks_refine_destroy(&r);
    }
    for (int k = 0; k <= KS_REFINE_DAMPED; k++) {
        T_OK(ks_refine_kind_parse(ks_refine_kind_name((ks_refine_kind)k), &kind));
        T_CHECK((int)kind == k, "kind %d comes back as %d", k, (int)kind);
    }
    T_ERR(ks_refine_kind_parse("qpt2", &kind), KS_ERR_CONFIG);
    T_CHECK(strstr(ks_error_message(), "qpt2") && strstr(ks_error_message(), "anderson"), "message '%s'",
            ks_error_message());
    ks_error_clear();
}

/* Three frames in two compositions: every frame's results are the bits it gives alone. Then one frame is spoilt, by
 * NaN and by a closed gap: it is masked, contributes nothing, and the others keep their bits. */
static void test_mixed_and_masks(ks_ctx *ctx, ks_refine_kind kind) {
    double        pos[18];
    const int32_t first[2] = {0, 1};
    t_moved(T_WATER_POS, 3, 2, 6, pos);
    t_pool water                    = t_pool_make(ctx, "sto-3g", "lda", 0, 3, T_WATER_Z, 2, pos, NULL),
           hcn                      = t_pool_make(ctx, "sto-3g", "lda", 0, 3, T_HCN_Z, 1, T_HCN_POS, NULL);
    const int32_t           host[3] = {first[0], first[1], 0};
    int32_t                *slots   = t_slots(ctx, 3, host);
    ks_segment              segs[2] = {{water.ts, 2, slots}, {hcn.ts, 1, slots + 2}};
    ks_batch                batch   = {2, segs};
    const ks_refine_options opt     = {kind, 0};
    const int64_t           size = ks_batch_mat_size(&batch), nw = 49;
    ks_refine              *r = NULL, *alone = NULL;
    ks_refine_result        res;
    double *H0 = t_dev(ctx, size), *bar = t_dev(ctx, size), *h = t_host(size), *w = t_host(size), *clean = t_host(size),
           *got = t_host(size), *E_bar = t_dev(ctx, 3);
    const double ones[3] = {1.0, -0.5, 2.0};
    double       E[3];
    t_put(ctx, E_bar, ones, 3);
    T_OK(ks_batch_gather(ctx, &batch, offsetof(ks_tensors, F0), H0));
    t_get(ctx, h, H0, size);
    t_random_sym(ctx, &batch, 8, 0.05, w);
    for (int64_t i = 0; i < size; i++) h[i] += w[i];
    t_put(ctx, H0, h, size);
    T_OK(ks_refine_create(ctx, &opt, &r));
    T_OK(ks_refine_create(ctx, &opt, &alone));
    T_OK(ks_refine_fwd(ctx, r, &batch, H0, 1, &res));
    double mask[3], gap[3];
    t_get(ctx, mask, res.mask, 3);
    T_CHECK(mask[0] + mask[1] + mask[2] == 3.0, "mask %g %g %g", mask[0], mask[1], mask[2]);
    t_get(ctx, E, res.E, 3);
    T_OK(ks_refine_adj(ctx, r, &batch, E_bar, NULL, NULL, NULL, bar));
    t_get(ctx, clean, bar, size);
    for (int f = 0; f < 3; f++) { /* alone */
        ks_segment    seg1 = {f < 2 ? water.ts : hcn.ts, 1, &slots[f]};
        ks_batch      one  = {1, &seg1};
        const int64_t off = f < 2 ? f * nw : 2 * nw, len = f < 2 ? nw : size - 2 * nw;
        double        e1;
        T_OK(ks_mem_zero(ctx, bar, (size_t)size * sizeof(double)));
        T_OK(ks_refine_fwd(ctx, alone, &one, H0 + off, 1, &res));
        t_get(ctx, &e1, res.E, 1);
        T_OK(ks_refine_adj(ctx, alone, &one, E_bar + f, NULL, NULL, NULL, bar));
        t_get(ctx, got, bar, len);
        T_CHECK(e1 == E[f], "frame %d alone: energy differs by %g", f, e1 - E[f]);
        T_CHECK(!memcmp(got, clean + off, (size_t)len * sizeof(double)), "frame %d alone: gradient differs by %g", f,
                t_max_diff(len, got, clean + off));
    }
    for (int how = 0; how < 2; how++) { /* frame 1 of water: NaN; then F = S^1/2 1 S^1/2, all orbital energies equal */
        double *spoilt = t_host(size);
        memcpy(spoilt, h, (size_t)size * sizeof *h);
        if (how == 0) spoilt[nw + 3] = NAN;
        else t_get(ctx, spoilt + nw, water.ts->S + nw, nw);
        t_put(ctx, H0, spoilt, size);
        T_OK(ks_refine_fwd(ctx, r, &batch, H0, 1, &res));
        t_get(ctx, mask, res.mask, 3);
        t_get(ctx, gap, res.gap, 3);
        T_CHECK(mask[0] == 1.0 && mask[1] == 0.0 && mask[2] == 1.0, "mask %g %g %g", mask[0], mask[1], mask[2]);
        T_CHECK(gap[1] < KS_GAP_MIN && gap[0] > 0.1, "gaps %g %g", gap[0], gap[1]);
        T_OK(ks_mem_zero(ctx, bar, (size_t)size * sizeof(double)));
        T_OK(
            ks_refine_adj(ctx, r, &batch, E_bar, H0, NULL, H0, bar)); /* cotangents that hold NaN in the masked frame */
        t_get(ctx, got, bar, size);
        double sum = 0.0;
        for (int64_t i = 0; i < nw; i++) sum += fabs(got[nw + i]);
        T_CHECK(sum == 0.0, "the masked frame contributes %g", sum);
        T_OK(ks_mem_zero(ctx, bar, (size_t)size * sizeof(double)));
        T_OK(ks_refine_adj(ctx, r, &batch, E_bar, NULL, NULL, NULL, bar));
        t_get(ctx, got, bar, size);
        T_CHECK(!memcmp(got, clean, (size_t)nw * sizeof(double)) &&
                    !memcmp(got + 2 * nw, clean + 2 * nw, (size_t)(size - 2 * nw) * sizeof(double)),
                "a masked frame changes its neighbours");
        free(spoilt);
    }
    t_put(ctx, H0, h, size);
    const int64_t before = ks_alloc_count();
    T_OK(ks_refine_fwd(ctx, r, &batch, H0, 1, &res));
    T_OK(ks_refine_adj(ctx, r, &batch, E_bar, H0, H0, H0, bar));
    T_CHECK(ks_alloc_count() == before, "%lld allocations in a warm step", (long long)(ks_alloc_count() - before));
    T_OK(ks_refine_fwd(ctx, r, &batch, H0, 0, &res));
    T_ERR(ks_refine_adj(ctx, r, &batch, E_bar, NULL, NULL, NULL, bar), KS_ERR_ARG); /* nothing saved */
    ks_error_clear();
    free(h), free(w), free(clean), free(got);
    ks_mem_free(ctx, (void **)&H0), ks_mem_free(ctx, (void **)&bar), ks_mem_free(ctx, (void **)&E_bar);
    ks_refine_destroy(&r), ks_refine_destroy(&alone);
    ks_mem_free(ctx, (void **)&slots);
    t_pool_drop(&water), t_pool_drop(&hcn);
}

int main(int argc, char **argv) {
    /* An SCF energy of -75 Ha carries rounding of 1e-13: with h = 1e-4 the differences are good to 1e-8 of the
     * outputs' size; the weights of cdiis vary on the scale of the noise (0.1 Ha), hence larger errors of the
     * difference there. */
    static t_op op = {.name      = "refine",
                      .n         = 2,
                      .n_size    = 2,
                      .sizes     = {0, 1},
                      .flags     = T_NOISY,
                      .build     = build,
                      .drop      = t_waters_drop,
                      .fwd       = fwd,
                      .adj       = adj,
                      .bad       = bad,
                      .n_bad     = 2,
                      .h         = {4e-4, 2e-4, 1e-4},
                      .grad_tol  = 1e-7,
                      .trials    = 1,
                      .max_fault = 20,
                      .in        = {{.name    = "H0",
                                     .diff    = 1,
                                     .tol     = 1e-10 /* as of its outputs, over gaps of 0.3 Ha */,
                                     .fill    = fill,
                                     .project = t_waters_symmetric}},
                      .out       = {{.name = "H", .diff = 1, .tol = 1e-9},
                                    {.name = "P", .diff = 1, .tol = 1e-9},
                                    {.name = "F", .diff = 1, .tol = 1e-9},
                                    {.name = "E", .diff = 1, .tol = 1e-11}}};
    ks_ctx     *ctx;
    t_op_init(argc, argv);
    g_kind = (ks_refine_options){KS_REFINE_QPT, 3};
    t_op_run(&op);
    g_kind = (ks_refine_options){KS_REFINE_CDIIS, 3};
    t_op_run(&op);
    ctx = t_op_ctx(0);
    test_options(ctx);
    test_mixed_and_masks(ctx, KS_REFINE_QPTX);
    test_mixed_and_masks(ctx, KS_REFINE_ANDERSON);
    ks_ctx_destroy(&ctx);
    return t_done("refine", 200);
}
