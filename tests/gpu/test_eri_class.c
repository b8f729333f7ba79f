/* test_eri_class.c -- the ERI kernel of class (ps|ps) against the stored integrals of the CPU, which op.eri.cpu
 * compares with PySCF. */
#include <string.h>
#include "ks_test.h"
#include "cuda/eri_tables.h"
#include "ksgrad/integrals.h"
#include "op_driver.h"

typedef struct molecule {
    const char *basis;
    int64_t     n_atom;
    int32_t     Z[3];
    double      pos[9];
} molecule;

/* Sizes 0, 1, 2: no pairs; 28 pairs, one block that is not full; 40 pairs, two blocks. */
static const molecule molecules[3] = {
    {"sto-3g", 2, {1, 1}, {0, 0, 0, 0, 0, 1.4}},
    {"def2-svp", 3, {8, 1, 1}, {0, 0, 0.22, 0, 1.43, -0.89, 0.05, -1.41, -0.9}},
    {"def2-svp", 3, {1, 6, 7}, {0, 0.1, -3.0, 0, 0, -0.95, 0.2, 0, 1.23}},
};

typedef struct setup {
    ks_basis         *basis;
    ks_system        *sys;
    ks_eri_class_cuda table;
} setup;

static ks_status build(t_case *c) {
    ks_status       st = KS_OK;
    const molecule *m  = &molecules[c->n];
    setup          *s  = calloc(1, sizeof *s);
    c->user            = s;
    KS_TRY(ks_basis_load(m->basis, &s->basis));
    KS_TRY(ks_system_create(s->basis, m->n_atom, m->Z, &s->sys));
    KS_TRY(ks_eri_tables_open_cuda(c->ctx, s->sys, m->pos, 1, &s->table));
    c->out_size[0] = (int64_t)s->table.n_pair * s->table.n_block * 9 * KS_WARP;
done:
    return st;
}

static void drop(t_case *c) {
    setup *s = c->user;
    ks_eri_tables_close_cuda(c->ctx, &s->table);
    ks_system_destroy(&s->sys);
    ks_basis_destroy(&s->basis);
    free(s);
}

static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    (void)in;
    return ks_eri_psps_cuda(c->ctx, &((setup *)c->user)->table, out[0]);
}

static void must(ks_status st) { /* not a check of its own: the driver counts rows */
    if (st == KS_OK) return;
    printf("FAIL reference: %s\n", ks_error_trace());
    exit(1);
}

static void golden(const t_case *c, double *const in[], double *const ref[]) {
    const setup             *s   = c->user;
    const ks_eri_class_cuda *t   = &s->table;
    ks_ctx                  *cpu = NULL;
    ks_eri                  *eri = NULL;
    (void)in;
    must(ks_ctx_create(NULL, &cpu));
    must(ks_eri_create(cpu, s->sys, 1, &eri));
    must(ks_eri_build(cpu, eri, 1, NULL, molecules[c->n].pos));
    for (int32_t b = 0; b < t->n_pair; b++)
        for (int32_t k = 0; k < t->n_block * KS_WARP; k++)
            for (int fb = 0; fb < 3; fb++)
                for (int fk = 0; fk < 3; fk++) {
                    const int64_t at =
                        ((((int64_t)b * t->n_block + k / KS_WARP) * 3 + fb) * 3 + fk) * KS_WARP + k % KS_WARP;
                    double v = 0.0; /* lanes without a pair */
                    if (k < t->n_pair)
                        must(ks_eri_value(eri, 0, t->pair_host[2 * b] + fb, t->pair_host[2 * b + 1],
                                          t->pair_host[2 * k] + fk, t->pair_host[2 * k + 1], &v));
                    ref[0][at] = v;
                }
    ks_eri_destroy(&eri);
    ks_ctx_destroy(&cpu);
}

int main(int argc, char **argv) {
    /* value: primitive quartets are cut by a bound per lane block, of 4 or 8 lanes there and 32 here: up to 225
     * quartets of 1e-15 next to values of about 1 */
    static const t_op op = {.name   = "(ps|ps)",
                            .flags  = T_NOT_ON_CPU,
                            .n      = 2,
                            .n_size = 3,
                            .sizes  = {0, 1, 2},
                            .build  = build,
                            .drop   = drop,
                            .fwd    = fwd,
                            .golden = golden,
                            .out    = {{.name = "out", .tol = 1e-13}}};
    t_op_init(argc, argv);
    t_op_run(&op);
    return t_done("eri_class", 5);
}
