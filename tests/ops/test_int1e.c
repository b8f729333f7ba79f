/* test_int1e.c -- overlap, kinetic, nuclear attraction, dipole and the overlap with the guess functions. */
#include "int_data.h"
#include "op_driver.h"

static int_data data;

/* Frame 0 is the golden geometry, the others are displaced. */
static void fill_pos(const t_case *c, double *x) {
    const int64_t n3 = 3 * data.n_atom;
    for (int64_t i = 0; i < c->n * n3; i++) x[i] = data.pos[i % n3] + (i < n3 ? 0.0 : 0.1 * x[i]);
}

static ks_status build(t_case *c) {
    c->in_size[0]  = c->n * 3 * data.n_atom;
    c->out_size[0] = c->out_size[1] = c->out_size[2] = c->n * data.n_ao * data.n_ao;
    c->out_size[3]                                   = 3 * c->out_size[0];
    return KS_OK;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_int1e(c->ctx, data.sys, c->n, in[0], out[0], out[1], out[2], out[3]);
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    switch (k) {
    case 0:
        return ks_int1e(c->ctx, data.sys, -1, in[0], out[0], NULL, NULL, NULL);
    case 1:
        return ks_int1e(c->ctx, NULL, 1, in[0], out[0], NULL, NULL, NULL);
    case 2:
        return ks_int1e(c->ctx, data.sys, 1, NULL, out[0], NULL, NULL, NULL);
    default:
        return ks_int1e_guess(c->ctx, data.sys, 1, in[0], NULL);
    }
}
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    const double *src[4] = {data.S, data.T, data.V, data.dip};
    (void)in;
    for (int k = 0; k < 4; k++)
        for (int64_t i = 0; i < c->out_size[k]; i++) ref[k][i] = c->n == 1 ? src[k][i] : NAN;
}

/* Relative to the largest element of each array (|V| 70, |T| 30, in the hard set 1e5): both codes round sums of that size. */
static const t_op op = {.name   = "int1e",
                        .n      = 1,
                        .n_size = 4,
                        .sizes  = {0, 1, 2, 9},
                        .build  = build,
                        .fwd    = fwd,
                        .golden = golden,
                        .bad    = bad,
                        .n_bad  = 4,
                        .in     = {{.name = "pos", .fill = fill_pos}},
                        .out    = {{.name = "S", .tol = 1e-14},
                                   {.name = "T", .tol = 1e-14},
                                   {.name = "V", .tol = 1e-14},
                                   {.name = "dip", .tol = 1e-14}}};

static void run(const char *name) {
    printf("-- %s\n", name);
    int_data_open(name, &data);
    t_op_run(&op);
    int_data_close(&data);
}

/* S, T, V, dip of frames at pos, those of `want` (bits 0..3); out (2, n, n) each, dip (2, 3, n, n). */
static void int1e_of(ks_ctx *ctx, int64_t n_frame, const double *pos, int want, double *out) {
    const int64_t n2 = data.n_ao * data.n_ao * n_frame, n3 = 3 * data.n_atom * n_frame;
    double       *x = int_data_put(ctx, n3, pos), *y = int_data_put(ctx, 6 * n2, NULL);
    T_OK(ks_int1e(ctx, data.sys, n_frame, x, want & 1 ? y : NULL, want & 2 ? y + n2 : NULL,
                  want & 4 ? y + 2 * n2 : NULL, want & 8 ? y + 3 * n2 : NULL));
    int_data_get(ctx, 6 * n2, y, out);
    ks_mem_free(ctx, (void **)&x);
    ks_mem_free(ctx, (void **)&y);
}

/* A NULL output changes nothing in the others; a shift of the molecule leaves S, T, V and moves the dipole by -R S. */
static void test_shift(void) {
    ks_ctx *ctx = t_op_ctx(1);
    int_data_open("hcn", &data);
    const int64_t n2 = data.n_ao * data.n_ao;
    double       *a = malloc((size_t)(24 * n2) * sizeof *a), *b = a + 6 * n2, *pair = a + 12 * n2, pos[9], two[18];
    double        R[3] = {10.0, -7.0, 3.0}, worst = 0.0;
    for (int i = 0; i < 9; i++) pos[i] = data.pos[i] + R[i % 3];
    int1e_of(ctx, 1, data.pos, 15, a);
    int1e_of(ctx, 1, data.pos, 2, b);
    T_CHECK(!memcmp(a + n2, b + n2, (size_t)n2 * sizeof *a), "T alone differs");
    memcpy(two, data.pos, sizeof pos);
    memcpy(two + 9, pos, sizeof pos);
    int1e_of(ctx, 2, two, 4, pair);
    int1e_of(ctx, 1, pos, 15, b);
    T_CHECK(!memcmp(pair + 4 * n2, a + 2 * n2, (size_t)n2 * sizeof *a) &&
                !memcmp(pair + 5 * n2, b + 2 * n2, (size_t)n2 * sizeof *a),
            "frames of a batch differ from single frames");
    /* coordinates of size 10 carry rounding of 2e-15, exponents up to 1e3 multiply it */
    T_CLOSE(max_diff(n2, a, b), 0.0, 1e-12, 0.0);
    T_CLOSE(max_diff(n2, a + n2, b + n2), 0.0, 1e-11, 0.0);
    T_CLOSE(max_diff(n2, a + 2 * n2, b + 2 * n2), 0.0, 1e-11, 0.0);
    for (int64_t i = 0; i < 3 * n2; i++)
        worst = t_worse(worst, fabs(b[3 * n2 + i] - a[3 * n2 + i] - R[i / n2] * a[i % n2]));
    T_CLOSE(worst, 0.0, 1e-11, 0.0);
    free(a);
    int_data_close(&data);
    ks_ctx_destroy(&ctx);
}

/* The guess functions are occupied atomic orbitals, orthonormal on one atom in the ANO basis; against the AOs of the same
 * atom no overlap exceeds one, and an s-p overlap on one centre vanishes. */
static void test_guess(void) {
    ks_ctx *ctx = t_op_ctx(2);
    int_data_open("water", &data);
    const ks_system *sys = data.sys;
    const int64_t    n = sys->n_ao, m = sys->guess.n_ao;
    double          *S      = malloc((size_t)(2 * n * m) * sizeof *S), pos[18], *in, *out;
    int              n_zero = 0, n_large = 0;
    memcpy(pos, data.pos, sizeof pos / 2);
    memcpy(pos + 9, data.pos, sizeof pos / 2);
    in  = int_data_put(ctx, 18, pos);
    out = int_data_put(ctx, 2 * n * m, NULL);
    T_OK(ks_int1e_guess(ctx, sys, 2, in, out));
    int_data_get(ctx, 2 * n * m, out, S);
    ks_mem_free(ctx, (void **)&in);
    ks_mem_free(ctx, (void **)&out);
    T_CHECK(!memcmp(S, S + n * m, (size_t)(n * m) * sizeof *S), "equal frames differ");
    for (int64_t a = 0; a < sys->basis.n_shell; a++)
        for (int64_t b = 0; b < sys->guess.n_shell; b++) {
            const ks_shell *x = &sys->basis.shell[a], *y = &sys->guess.shell[b];
            for (int i = 0; i < 2 * x->l + 1; i++)
                for (int j = 0; j < 2 * y->l + 1; j++) {
                    const double v = S[(x->ao + i) * m + y->ao + j];
                    T_CHECK(fabs(v) <= 1.0 + 1e-12, "overlap %g", v);
                    if (x->atom == y->atom && (x->l != y->l || i != j)) {
                        T_CHECK(fabs(v) < 1e-14, "angular functions not orthogonal: %g", v);
                        n_zero++;
                    }
                    if (x->atom == y->atom && x->l == y->l && i == j && fabs(v) > 0.5) n_large++;
                }
        }
    T_CHECK(n_zero > 50 && n_large > 5, "%d %d", n_zero, n_large);
    free(S);
    int_data_close(&data);
    ks_ctx_destroy(&ctx);
}

int main(int argc, char **argv) {
    t_op_init(argc, argv);
    run("water");
    run("hcn");
    run("hard");
    test_shift();
    test_guess();
    return t_done("int1e", 200);
}
