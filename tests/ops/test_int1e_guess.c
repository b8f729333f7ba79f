/* test_int1e_guess.c -- overlap of the AO basis with the guess functions, against Gauss-Hermite quadrature. */
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
    c->out_size[0] = c->n * data.n_ao * data.sys->guess.n_ao;
    return KS_OK;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_int1e_guess(c->ctx, data.sys, c->n, in[0], out[0]);
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    return k == 0   ? ks_int1e_guess(c->ctx, data.sys, -1, in[0], out[0])
           : k == 1 ? ks_int1e_guess(c->ctx, NULL, 1, in[0], out[0])
           : k == 2 ? ks_int1e_guess(c->ctx, data.sys, 1, NULL, out[0])
                    : ks_int1e_guess(c->ctx, data.sys, 1, in[0], NULL);
}

/* Real solid harmonics, normalised on the unit sphere. */
static double solid(int l, int m, const double r[3]) {
    const double x = r[0], y = r[1], z = r[2], pi = 3.14159265358979323846;
    if (l == 0) return sqrt(0.25 / pi);
    if (l == 1) return sqrt(0.75 / pi) * r[m];
    const double d[5] = {x * y, y * z, (2 * z * z - x * x - y * y) / sqrt(12.0), x * z, 0.5 * (x * x - y * y)};
    return sqrt(15.0 / (4 * pi)) * d[m];
}

/* Three points an axis are exact: the polynomial in front of the Gaussian has degree 4 at most. */
static double overlap(const ks_shells *bra, const ks_shell *a, int ma, const ks_shells *ket, const ks_shell *b, int mb,
                      const double *pos) {
    static const double node[3]   = {-1.2247448713915890, 0.0, 1.2247448713915890};
    static const double weight[3] = {0.29540897515091934, 1.1816359006036774, 0.29540897515091934};
    const double       *A = pos + 3 * a->atom, *C = pos + 3 * b->atom;
    const double ac2 = (A[0] - C[0]) * (A[0] - C[0]) + (A[1] - C[1]) * (A[1] - C[1]) + (A[2] - C[2]) * (A[2] - C[2]);
    double       s   = 0.0;
    for (int i = a->prim; i < a->prim + a->n_prim; i++)
        for (int j = b->prim; j < b->prim + b->n_prim; j++) {
            const double p = bra->exponent[i] + ket->exponent[j], q = bra->exponent[i] * ket->exponent[j] / p;
            double       sum = 0.0;
            for (int k = 0; k < 27; k++) {
                const int g[3] = {k / 9, k / 3 % 3, k % 3};
                double    ra[3], rc[3];
                for (int x = 0; x < 3; x++) {
                    const double r = (bra->exponent[i] * A[x] + ket->exponent[j] * C[x]) / p + node[g[x]] / sqrt(p);
                    ra[x]          = r - A[x];
                    rc[x]          = r - C[x];
                }
                sum += weight[g[0]] * weight[g[1]] * weight[g[2]] * solid(a->l, ma, ra) * solid(b->l, mb, rc);
            }
            s += bra->coef[i] * ket->coef[j] * exp(-q * ac2) * sum / (p * sqrt(p));
        }
    return s;
}
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    const ks_shells *bra = &data.sys->basis, *ket = &data.sys->guess;
    for (int64_t f = 0; f < c->n; f++)
        for (const ks_shell *a = bra->shell; a < bra->shell + bra->n_shell; a++)
            for (const ks_shell *b = ket->shell; b < ket->shell + ket->n_shell; b++)
                for (int i = 0; i < 2 * a->l + 1; i++)
                    for (int j = 0; j < 2 * b->l + 1; j++)
                        ref[0][(f * bra->n_ao + a->ao + i) * ket->n_ao + b->ao + j] =
                            overlap(bra, a, i, ket, b, j, in[0] + 3 * data.n_atom * f);
}

/* Relative to the largest element, about 1; measured 5e-16. */
static const t_op op = {.name   = "int1e_guess",
                        .n      = 1,
                        .n_size = 4,
                        .sizes  = {0, 1, 2, 9},
                        .build  = build,
                        .fwd    = fwd,
                        .golden = golden,
                        .bad    = bad,
                        .n_bad  = 4,
                        .in     = {{.name = "pos", .fill = fill_pos}},
                        .out    = {{.name = "S12", .tol = 1e-14}}};

int main(int argc, char **argv) {
    t_op_init(argc, argv);
    int_data_open("hcn", &data);
    t_op_run(&op);
    int_data_close(&data);
    return t_done("int1e_guess", 8);
}
