/* test_fock.c -- the Fock pair P -> F[P], E[P] on frames of water: value against stored answers is in unit.scf; here
 * gradients, dE/dP = F, and the nine checks. */
#include "scf_op.h"

static ks_status build(t_case *c) {
    t_waters     *s  = t_waters_open(c, "b3lyp5", 3, 4);
    const int64_t nn = s->pool.sys->n_ao * s->pool.sys->n_ao;
    c->in_size[0] = c->out_size[0] = c->n * nn;
    c->out_size[1]                 = c->n;
    return KS_OK;
}
/* The guess density scaled by up to 2 %: a density that is positive everywhere. */
static void fill(const t_case *c, double *x) {
    t_waters_fill(c, ((const t_waters *)c->user)->pool.ts->P0, 0.0, 0.02, x);
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_fock_fwd(c->ctx, t_waters_batch(c), in[0], NULL, out[0], out[1]);
}
/* E_bar enters through dE/dP = F, as in the refinement. */
static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    const ks_batch *b  = t_waters_batch(c);
    const int64_t   nn = c->dim[0] * c->dim[0];
    ks_status       st = KS_OK;
    if (!in_bar[0]) return KS_OK;
    KS_TRY(ks_fock_adj(c->ctx, b, in[0], out_bar[0], in_bar[0]));
    const ks_term t = {{saved[0], nn, nn, NULL, 1, 0}, 1.0, out_bar[1], 1};
    KS_TRY(ks_combine(c->ctx, c->n, nn, 1, &t, 1, in_bar[0]));
done:
    return st;
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    const ks_batch *b = t_waters_batch(c);
    return k == 0 ? ks_fock_fwd(c->ctx, b, NULL, NULL, out[0], out[1])
                  : ks_fock_fwd(c->ctx, NULL, in[0], NULL, out[0], out[1]);
}

/* The route over occupied orbitals and the dense route give the same F and E for an idempotent density. */
static void test_routes(ks_ctx *ctx) {
    t_pool        p = t_pool_make(ctx, "def2-svp", "pbe", 0, 3, T_HCN_Z, 1, T_HCN_POS, NULL);
    const int64_t n = p.sys->n_ao, nn = n * n;
    const int32_t first = 0;
    ks_segment    seg   = {p.ts, 1, t_slots(ctx, 1, &first)};
    ks_batch      batch = {1, &seg};
    double *F = t_dev(ctx, nn), *P = t_dev(ctx, nn), *C = t_dev(ctx, nn), *eps = t_dev(ctx, n), *E = t_dev(ctx, 1),
           *a = t_host(nn), *b = t_host(nn), e[2];
    T_OK(ks_density_fwd(ctx, &batch, p.ts->F0, C, eps, P));
    for (int dense = 0; dense < 2; dense++) {
        T_OK(ks_fock_fwd(ctx, &batch, P, dense ? NULL : C, F, E));
        t_get(ctx, dense ? b : a, F, nn);
        t_get(ctx, e + dense, E, 1);
    }
    T_CHECK(t_max_diff(nn, a, b) <= 1e-11, "F by orbitals and by density differ by %g", t_max_diff(nn, a, b));
    T_CLOSE(e[0], e[1], 1e-10, 0);
    free(a), free(b);
    ks_mem_free(ctx, (void **)&F), ks_mem_free(ctx, (void **)&P), ks_mem_free(ctx, (void **)&C),
        ks_mem_free(ctx, (void **)&eps), ks_mem_free(ctx, (void **)&E);
    ks_mem_free(ctx, (void **)&seg.slot);
    t_pool_drop(&p);
}

int main(int argc, char **argv) {
    static const t_op op = {.name   = "fock",
                            .n      = 2,
                            .n_size = 3,
                            .sizes  = {0, 1, 3},
                            .build  = build,
                            .drop   = t_waters_drop,
                            .fwd    = fwd,
                            .adj    = adj,
                            .bad    = bad,
                            .n_bad  = 2,
                            .in = {{.name = "P", .diff = 1, .scale = 0.1, .fill = fill, .project = t_waters_symmetric}},
                            .out = {{.name = "F", .diff = 1, .tol = 1e-11}, {.name = "E", .diff = 1, .tol = 1e-11}}};
    ks_ctx           *ctx;
    t_op_init(argc, argv);
    t_op_run(&op);
    ctx = t_op_ctx(0);
    test_routes(ctx);
    ks_ctx_destroy(&ctx);
    return t_done("fock", 60);
}
