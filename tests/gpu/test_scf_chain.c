/* test_scf_chain.c -- the whole chain on CUDA (or the launcher) against the CPU backend: geometry to tensors, density,
 * refinement, loss and back to the cotangent of H0, for a batch of several compositions at once.
 *
 * Bars: energies 1e-10 Ha, matrices (H, P, F in hartree, the cotangent of the mean loss) 1e-9. They are sums of up to
 * 1e5 terms of size 1..100 in another order: 1e-12 to 1e-11 is what rounding leaves, and the eigenvectors' differences
 * are divided by gaps of 0.2 Ha. */
#include <stddef.h>
#include "ks_test.h"
#include "op_driver.h"
#include "scf_case.h"

static const int32_t ETHANOL_Z[9]    = {6, 6, 8, 1, 1, 1, 1, 1, 1};
static const double  ETHANOL_POS[27] = {-2.2489, -0.2643, 0.0,    0.0,     1.4834,  0.0,     2.2489,  0.1323, 0.0,
                                        -2.2111, -1.4834, 1.6819, -2.2111, -1.4834, -1.6819, -3.9871, 0.8315, 0.0,
                                        0.0,     2.7214,  1.6819, 0.0,     2.7214,  -1.6819, 3.7793,  1.1338, 0.0};

/* The same pools and batch on one backend, and what came out, on the host. */
typedef struct side {
    ks_ctx    *ctx;
    t_pool     pool[3];
    ks_segment seg[3];
    ks_batch   batch;
    int64_t    n_frame, size;
    double    *E0, *F0, *E, *H, *P, *F, *bar;
    double     terms[KS_TERM_N];
} side;

static void open_side(side *s, ks_ctx *ctx, int n_mol, const char *basis, const char *xc) {
    static const int32_t slots[2] = {1, 0}; /* not in order */
    const struct {
        int            n_atom, n_frame;
        const int32_t *Z;
        const double  *pos;
    } mol[3] = {{3, 2, T_WATER_Z, T_WATER_POS}, {3, 1, T_HCN_Z, T_HCN_POS}, {9, 1, ETHANOL_Z, ETHANOL_POS}};
    memset(s, 0, sizeof *s);
    s->ctx = ctx;
    for (int k = 0; k < n_mol; k++) {
        double pos[54];
        t_moved(mol[k].pos, mol[k].n_atom, mol[k].n_frame, 31, pos);
        s->pool[k] = t_pool_make(ctx, basis, xc, 0, mol[k].n_atom, mol[k].Z, mol[k].n_frame, pos, NULL);
        s->seg[k] =
            (ks_segment){s->pool[k].ts, mol[k].n_frame, t_slots(ctx, mol[k].n_frame, slots + (mol[k].n_frame == 1))};
    }
    s->batch       = (ks_batch){n_mol, s->seg};
    s->n_frame     = ks_batch_n_frame(&s->batch);
    s->size        = ks_batch_mat_size(&s->batch);
    double **all[] = {&s->F0, &s->H, &s->P, &s->F, &s->bar};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) *all[k] = t_host(s->size);
    s->E0 = t_host(s->n_frame);
    s->E  = t_host(s->n_frame);
}

static void close_side(side *s) {
    for (int k = 0; k < s->batch.n_segment; k++) {
        ks_mem_free(s->ctx, (void **)&s->seg[k].slot);
        t_pool_drop(&s->pool[k]);
    }
    free(s->F0), free(s->H), free(s->P), free(s->F), free(s->bar), free(s->E0), free(s->E);
}

/* H0 = F0 + W; all label-free losses at once. */
static void run_side(side *s, ks_refine_kind kind, const double *W) {
    const ks_refine_options opt    = {kind, 0};
    const ks_loss_weights   w      = {1.0, 0.5, 0.1, 0.0, 0.0};
    ks_refine              *refine = NULL;
    ks_loss                *loss   = NULL;
    ks_refine_result        r;
    double *H0 = t_dev(s->ctx, s->size), *bar = t_dev(s->ctx, s->size), *terms = t_dev(s->ctx, KS_TERM_N),
           *h     = t_host(s->size);
    int64_t frame = 0;
    for (int64_t k = 0; k < s->batch.n_segment; k++)
        for (int64_t f = 0; f < s->seg[k].n_frame; f++, frame++) {
            int32_t slot;
            T_OK(ks_mem_to_host(s->ctx, &slot, s->seg[k].slot + f, sizeof slot));
            t_get(s->ctx, s->E0 + frame, s->seg[k].tensors->E0 + slot, 1);
        }
    T_OK(ks_batch_gather(s->ctx, &s->batch, offsetof(ks_tensors, F0), H0));
    t_get(s->ctx, s->F0, H0, s->size);
    for (int64_t i = 0; i < s->size; i++) h[i] = s->F0[i] + W[i];
    t_put(s->ctx, H0, h, s->size);
    T_OK(ks_refine_create(s->ctx, &opt, &refine));
    T_OK(ks_loss_create(s->ctx, &w, &loss));
    T_OK(ks_loss_terms_reset(s->ctx, terms));
    T_OK(ks_loss_step(s->ctx, loss, refine, &s->batch, H0, NULL, NULL, 1.0 / (double)s->n_frame, bar, terms));
    t_get(s->ctx, s->terms, terms, KS_TERM_N);
    t_get(s->ctx, s->bar, bar, s->size);
    T_OK(ks_refine_fwd(s->ctx, refine, &s->batch, H0, 0, &r));
    t_get(s->ctx, s->E, r.E, s->n_frame);
    t_get(s->ctx, s->H, r.H, s->size);
    t_get(s->ctx, s->P, r.P, s->size);
    t_get(s->ctx, s->F, r.F, s->size);
    T_OK(ks_sync(s->ctx));
    ks_refine_destroy(&refine);
    ks_loss_destroy(&loss);
    ks_mem_free(s->ctx, (void **)&H0), ks_mem_free(s->ctx, (void **)&bar), ks_mem_free(s->ctx, (void **)&terms);
    free(h);
}

static void compare(const char *what, const side *a, const side *b) {
    const double e0 = t_max_diff(a->n_frame, a->E0, b->E0), e = t_max_diff(a->n_frame, a->E, b->E),
                 f0 = t_max_diff(a->size, a->F0, b->F0), h = t_max_diff(a->size, a->H, b->H),
                 p = t_max_diff(a->size, a->P, b->P), f = t_max_diff(a->size, a->F, b->F),
                 g = t_max_diff(a->size, a->bar, b->bar);
    printf("%-28s E0 %.1e E %.1e | F0 %.1e H %.1e P %.1e F %.1e W_bar %.1e\n", what, e0, e, f0, h, p, f, g);
    T_CHECK(e0 <= 1e-10 && e <= 1e-10, "%s: energies differ by %g and %g", what, e0, e);
    T_CHECK(f0 <= 1e-9 && h <= 1e-9 && p <= 1e-9 && f <= 1e-9 && g <= 1e-9, "%s: matrices differ by %g %g %g %g %g",
            what, f0, h, p, f, g);
    T_CHECK(a->terms[KS_TERM_COUNTED] == (double)a->n_frame && b->terms[KS_TERM_COUNTED] == (double)a->n_frame,
            "%s: frames were masked", what);
    T_CLOSE(a->terms[KS_TERM_ENERGY], b->terms[KS_TERM_ENERGY], 1e-9, 0);
    T_CLOSE(a->terms[KS_TERM_COMMUTATOR], b->terms[KS_TERM_COMMUTATOR], 1e-9, 1e-9);
    T_CLOSE(a->terms[KS_TERM_MIN_GAP], b->terms[KS_TERM_MIN_GAP], 1e-9, 0);
}

static void run(ks_ctx *dev, ks_ctx *cpu, int n_mol, const char *basis, const char *xc, int n_kind,
                const ks_refine_kind *kind) {
    side    a, b;
    char    what[64];
    double *W, *first;
    open_side(&a, dev, n_mol, basis, xc);
    open_side(&b, cpu, n_mol, basis, xc);
    W     = t_host(a.size);
    first = t_host(a.size);
    t_random_sym(cpu, &b.batch, 5, 0.1, W);
    for (int k = 0; k < n_kind; k++) {
        snprintf(what, sizeof what, "%d x %s/%s %s", n_mol, xc, basis, ks_refine_kind_name(kind[k]));
        run_side(&a, kind[k], W);
        run_side(&b, kind[k], W);
        compare(what, &a, &b);
        memcpy(first, a.bar, (size_t)a.size * sizeof *first);
        run_side(&a, kind[k], W);
        T_CHECK(!memcmp(first, a.bar, (size_t)a.size * sizeof *first), "%s: two runs give other bits", what);
    }
    free(W), free(first);
    close_side(&a);
    close_side(&b);
}

int main(int argc, char **argv) {
    static const ks_refine_kind all[]  = {KS_REFINE_NONE,  KS_REFINE_QPT,      KS_REFINE_QPTX,
                                          KS_REFINE_CDIIS, KS_REFINE_ANDERSON, KS_REFINE_DAMPED},
                                some[] = {KS_REFINE_QPT};
    ks_ctx *dev, *cpu;
    t_op_init(argc, argv);
    dev = t_op_ctx(0);
    cpu = t_open("cpu", 0);
    run(dev, cpu, 2, "sto-3g", "b3lyp5", 6, all);
    run(dev, cpu, 2, "def2-svp", "pbe0", 1, some);
    run(dev, cpu, 3, "def2-svp", "b3lyp5", 1, some); /* ethanol too */
    ks_ctx_destroy(&dev);
    ks_ctx_destroy(&cpu);
    return t_done("scf_chain", 48);
}
