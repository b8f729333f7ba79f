/* test_density.c -- the density pair F -> P = 2 C_occ C_occ^T on frames of water. C and eps are saved values: the
 * signs of C are arbitrary and compared nowhere. */
#include "scf_op.h"

static ks_status build(t_case *c) {
    t_waters     *s  = t_waters_open(c, "lda", 4, 3);
    const int64_t nn = s->pool.sys->n_ao * s->pool.sys->n_ao;
    c->in_size[0] = c->out_size[0] = c->out_size[2] = c->n * nn;
    c->out_size[1]                                  = c->n * s->pool.sys->n_ao;
    return KS_OK;
}
/* A Fock-like matrix: the pool's F0 and a perturbation of up to 0.05 Ha. */
static void fill(const t_case *c, double *x) {
    t_waters_fill(c, ((const t_waters *)c->user)->pool.ts->F0, 0.05, 0.0, x);
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_density_fwd(c->ctx, t_waters_batch(c), in[0], out[0], out[1], out[2]);
}
static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    (void)in;
    return in_bar[0] ? ks_density_adj(c->ctx, t_waters_batch(c), saved[0], saved[1], out_bar[2], NULL, in_bar[0])
                     : KS_OK;
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    const ks_batch *b = t_waters_batch(c);
    return k == 0 ? ks_density_fwd(c->ctx, b, NULL, out[0], out[1], out[2])
                  : ks_density_fwd(c->ctx, b, in[0], NULL, out[1], out[2]);
}

/* Degenerate occupied pairs: the adjoint must not see them. Two stretched H2 far apart have bonding orbitals that
 * agree to 1e-8 or better; the derivative of <M, P> along a direction is compared with differences. */
static void test_degenerate(ks_ctx *ctx) {
    const int32_t Z[4]    = {1, 1, 1, 1};
    const double  pos[12] = {0, 0, 0, 0, 0, 1.4, 0, 60, 0, 0, 60, 1.4};
    t_pool        p       = t_pool_make(ctx, "sto-3g", "hf", 0, 4, Z, 1, pos, NULL);
    const int32_t first   = 0;
    ks_segment    seg     = {p.ts, 1, t_slots(ctx, 1, &first)};
    ks_batch      batch   = {1, &seg};
    enum { N = 4, NN = 16 };
    double  f0[NN], M[NN], dir[NN], bar[NN] = {0}, x[NN], e[N], val[5], ana = 0.0;
    double *F = t_dev(ctx, NN), *C = t_dev(ctx, NN), *eps = t_dev(ctx, N), *P = t_dev(ctx, NN), *b = t_dev(ctx, NN);
    t_get(ctx, f0, p.ts->F0, NN);
    t_random_sym(ctx, &batch, 21, 1.0, M);
    t_random_sym(ctx, &batch, 22, 1.0, dir);
    for (int step = -2; step <= 2; step++) {
        for (int i = 0; i < NN; i++) x[i] = f0[i] + 1e-3 * step * dir[i];
        t_put(ctx, F, x, NN);
        T_OK(ks_density_fwd(ctx, &batch, F, C, eps, P));
        t_get(ctx, x, P, NN);
        val[step + 2] = 0.0;
        for (int i = 0; i < NN; i++) val[step + 2] += M[i] * x[i];
        if (step) continue;
        t_get(ctx, e, eps, N);
        T_CHECK(fabs(e[1] - e[0]) < 1e-8, "the occupied pair is %g apart: not the case meant", e[1] - e[0]);
        t_put(ctx, b, M, NN);
        t_put(ctx, F, bar, NN);
        T_OK(ks_density_adj(ctx, &batch, C, eps, b, NULL, F));
        t_get(ctx, bar, F, NN);
        for (int i = 0; i < NN; i++) ana += bar[i] * dir[i];
        double *off = t_dev(ctx, 1);
        T_OK(ks_mem_zero(ctx, F, sizeof bar));
        T_OK(ks_density_adj(ctx, &batch, C, eps, b, off, F));
        t_get(ctx, x, F, NN);
        double sum = 0.0;
        for (int i = 0; i < NN; i++) sum += fabs(x[i]);
        ks_mem_free(ctx, (void **)&off);
        T_CHECK(sum == 0.0, "a masked frame got a cotangent of %g", sum);
    }
    T_CLOSE(ana, (8 * (val[3] - val[1]) - (val[4] - val[0])) / 12e-3, 0.0,
            1e-8); /* difference of order h^4, gap 1 Ha */
    ks_mem_free(ctx, (void **)&F), ks_mem_free(ctx, (void **)&C), ks_mem_free(ctx, (void **)&eps),
        ks_mem_free(ctx, (void **)&P), ks_mem_free(ctx, (void **)&b);
    ks_mem_free(ctx, (void **)&seg.slot);
    t_pool_drop(&p);
}

int main(int argc, char **argv) {
    static const t_op op = {
        .name   = "density",
        .n      = 3,
        .n_size = 4,
        .sizes  = {0, 1, 2, 4},
        .build  = build,
        .drop   = t_waters_drop,
        .fwd    = fwd,
        .adj    = adj,
        .bad    = bad,
        .n_bad  = 2,
        .in     = {{.name    = "F",
                    .diff    = 1,
                    .tol     = 1e-12 /* over gaps of 0.3 Ha */,
                    .scale   = 0.1,
                    .fill    = fill,
                    .project = t_waters_symmetric}},
        .out = {{.name = "C", .tol = INFINITY}, {.name = "eps", .tol = 1e-12}, {.name = "P", .diff = 1, .tol = 1e-11}}};
    ks_ctx *ctx;
    t_op_init(argc, argv);
    t_op_run(&op);
    ctx = t_op_ctx(0);
    test_degenerate(ctx);
    ks_ctx_destroy(&ctx);
    return t_done("density", 90);
}
