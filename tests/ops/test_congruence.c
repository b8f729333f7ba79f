/* test_congruence.c -- A M A with A of a pool of symmetric matrices, against plain sums. */
#include "ks_test.h"
#include "op_driver.h"

enum { B = 3 };

static void symmetric(const t_case *c, double *x) {
    for (int b = 0; b < B; b++)
        for (int64_t i = 0; i < c->n; i++)
            for (int64_t j = 0; j < i; j++) x[(b * c->n + i) * c->n + j] = x[(b * c->n + j) * c->n + i];
}
static ks_status build(t_case *c) {
    c->in_size[0] = c->in_size[1] = c->out_size[0] = B * c->n * c->n;
    c->in_size[2]                                  = B;
    return KS_OK;
}
static void fill_slot(const t_case *c, double *x) {
    (void)c;
    for (int b = 0; b < B; b++) x[b] = (b + 2) % B;
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_congruence_fwd(c->ctx, B, c->n, in[1], in[2], in[0], out[0]);
}
static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    (void)saved;
    return ks_congruence_adj(c->ctx, B, c->n, in[1], in[2], out_bar[0], in_bar[0]);
}
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    const int64_t n = c->n;
    double       *t = calloc((size_t)(n * n) + 1, sizeof *t);
    for (int b = 0; b < B; b++) {
        const double *A = in[1] + (int64_t)in[2][b] * n * n, *M = in[0] + b * n * n;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++) {
                    double s = 0;
                    for (int64_t k = 0; k < n; k++)
                        s += pass ? t[i * n + k] * A[k * n + j] : A[i * n + k] * M[k * n + j];
                    *(pass ? &ref[0][(b * n + i) * n + j] : &t[i * n + j]) = s;
                }
    }
    free(t);
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    return k == 0 ? ks_congruence_fwd(c->ctx, B, -1, in[1], in[2], in[0], out[0])
                  : ks_congruence_fwd(c->ctx, B, c->n, NULL, in[2], in[0], out[0]);
}

int main(int argc, char **argv) {
    static const t_op op = {.name   = "congruence",
                            .flags  = T_LINEAR,
                            .n      = 40,
                            .n_size = 6,
                            .sizes  = {0, 1, 31, 32, 33, 130},
                            .build  = build,
                            .fwd    = fwd,
                            .adj    = adj,
                            .golden = golden,
                            .bad    = bad,
                            .n_bad  = 2,
                            .in     = {{.name = "M", .diff = 1},
                                       {.name = "A", .project = symmetric},
                                       {.name = "slot", .type = T_I32, .fill = fill_slot}},
                            .out    = {{.name = "out", .diff = 1}}};
    t_op_init(argc, argv);
    t_op_run(&op);
    return t_done("congruence", 8);
}
