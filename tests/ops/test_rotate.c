/* test_rotate.c -- rotation of AO matrices, checked against values of the real spherical harmonics themselves at
 * rotated points. */
#include <string.h>
#include "ks_test.h"
#include "op_driver.h"
#include "op_frames.h"

enum { B = 3 };

/* Shells s, p, d, s, d, p, ... as far as n AOs hold them; a rest is s. */
static int shells(int64_t n, int32_t *l, int32_t *ao) {
    static const int pattern[6] = {0, 1, 2, 0, 2, 1};
    int              count      = 0;
    for (int64_t m = 0; m < n;) {
        int k = pattern[count % 6];
        while (m + 2 * k + 1 > n) k--;
        l[count]    = k;
        ao[count++] = (int32_t)m;
        m += 2 * k + 1;
    }
    return count;
}

/* Proper rotations from random unit quaternions. */
static void rotation(const double *q, double *r) {
    const double s = 1 / sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
    const double a = q[0] * s, b = q[1] * s, c = q[2] * s, d = q[3] * s;
    const double m[9] = {a * a + b * b - c * c - d * d, 2 * (b * c - a * d),           2 * (b * d + a * c),
                         2 * (b * c + a * d),           a * a - b * b + c * c - d * d, 2 * (c * d - a * b),
                         2 * (b * d - a * c),           2 * (c * d + a * b),           a * a - b * b - c * c + d * d};
    memcpy(r, m, sizeof m);
}
static void fill_rot(const t_case *c, double *x) {
    (void)c;
    for (int b = 0; b < B; b++) {
        double q[4];
        memcpy(q, x + 9 * b, sizeof q);
        rotation(q, x + 9 * b);
    }
}

static ks_status build(t_case *c) {
    int32_t l[300], ao[300];
    c->dim[0]      = shells(c->n, l, ao);
    c->in_size[0]  = B * c->n * c->n;
    c->in_size[1]  = 9 * B;
    c->in_size[2]  = c->dim[0];
    c->in_size[3]  = c->dim[0];
    c->out_size[0] = B * c->n * c->n;
    return KS_OK;
}
static void fill_l(const t_case *c, double *x) {
    int32_t   l[300], ao[300];
    const int n = shells(c->n, l, ao);
    for (int k = 0; k < n; k++) x[k] = l[k];
}
static void fill_ao(const t_case *c, double *x) {
    int32_t   l[300], ao[300];
    const int n = shells(c->n, l, ao);
    for (int k = 0; k < n; k++) x[k] = ao[k];
}
static ks_ao_blocks blocks(const t_case *c, void *const in[]) { return (ks_ao_blocks){c->n, c->dim[0], in[2], in[3]}; }

static ks_status run_fwd(t_case *c, int inverse, void *const in[], void *const out[]) {
    const ks_ao_blocks k = blocks(c, in);
    return ks_rotate_fwd(c->ctx, B, &k, inverse, in[1], in[0], NULL, out[0]);
}
static ks_status run_adj(t_case *c, int inverse, void *const in[], void *const out_bar[], void *const in_bar[]) {
    const ks_ao_blocks k = blocks(c, in);
    return ks_rotate_adj(c->ctx, B, &k, inverse, in[1], out_bar[0], in_bar[0]);
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) { return run_fwd(c, 0, in, out); }
static ks_status back(t_case *c, void *const in[], void *const out[]) { return run_fwd(c, 1, in, out); }
static ks_status fwd_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[],
                         void *const in_bar[]) {
    (void)saved;
    return run_adj(c, 0, in, out_bar, in_bar);
}
static ks_status back_adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[],
                          void *const in_bar[]) {
    (void)saved;
    return run_adj(c, 1, in, out_bar, in_bar);
}

/* Y of shell l at r, in the documented order. */
static void harmonics(int l, const double *r, double *y) {
    const double x = r[0], v = r[1], z = r[2];
    if (l == 0) y[0] = 1;
    if (l == 1) y[0] = x, y[1] = v, y[2] = z;
    if (l == 2) {
        y[0] = x * v;
        y[1] = v * z;
        y[2] = (2 * z * z - x * x - v * v) / (2 * sqrt(3.0));
        y[3] = x * z;
        y[4] = (x * x - v * v) / 2;
    }
}
/* D from Y(R r) = D Y(r) at 2l+1 points: solve for the rows by Gauss elimination. */
static void harmonic_rotation(int l, const double *R, double *D) {
    const int w = 2 * l + 1;
    double    a[5][10];
    for (int p = 0; p < w; p++) {
        const double r[3] = {sin(1.0 + p), cos(2.3 * p), sin(0.4 - 1.7 * p)};
        double       rr[3];
        for (int i = 0; i < 3; i++) rr[i] = R[3 * i] * r[0] + R[3 * i + 1] * r[1] + R[3 * i + 2] * r[2];
        harmonics(l, r, a[p]);
        harmonics(l, rr, a[p] + w);
    }
    for (int k = 0; k < w; k++) {
        int piv = k;
        for (int p = k + 1; p < w; p++)
            if (fabs(a[p][k]) > fabs(a[piv][k])) piv = p;
        for (int j = 0; j < 2 * w; j++) {
            const double t = a[k][j];
            a[k][j]        = a[piv][j];
            a[piv][j]      = t;
        }
        for (int p = 0; p < w; p++)
            if (p != k) {
                const double f = a[p][k] / a[k][k];
                for (int j = k; j < 2 * w; j++) a[p][j] -= f * a[k][j];
            }
    }
    for (int i = 0; i < w; i++) /* sum_i' y_i'(r) D_ii' = y_i(Rr): column w+i solved for row i of D */
        for (int k = 0; k < w; k++) D[i * w + k] = a[k][w + i] / a[k][k];
}
static void golden_for(const t_case *c, int inverse, double *const in[], double *const ref[]) {
    const int64_t n = c->n;
    double       *D = calloc((size_t)(n * n) + 1, sizeof *D), *t = calloc((size_t)(n * n) + 1, sizeof *t);
    for (int b = 0; b < B; b++) {
        memset(D, 0, (size_t)(n * n) * sizeof *D);
        for (int64_t k = 0; k < c->dim[0]; k++) {
            const int     l = (int)in[2][k], w = 2 * l + 1;
            const int64_t at = (int64_t)in[3][k];
            double        d[25];
            harmonic_rotation(l, in[1] + 9 * b, d);
            for (int i = 0; i < w; i++)
                for (int j = 0; j < w; j++) D[(at + i) * n + at + j] = inverse ? d[j * w + i] : d[i * w + j];
        }
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                t[i * n + j] = 0;
                for (int64_t k = 0; k < n; k++) t[i * n + j] += D[i * n + k] * in[0][(b * n + k) * n + j];
            }
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                ref[0][(b * n + i) * n + j] = 0;
                for (int64_t k = 0; k < n; k++) ref[0][(b * n + i) * n + j] += t[i * n + k] * D[j * n + k];
            }
    }
    free(D);
    free(t);
}
static void      golden(const t_case *c, double *const in[], double *const ref[]) { golden_for(c, 0, in, ref); }
static void      back_golden(const t_case *c, double *const in[], double *const ref[]) { golden_for(c, 1, in, ref); }
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    ks_ao_blocks s = blocks(c, in);
    if (k == 0) return ks_rotate_fwd(c->ctx, -1, &s, 0, in[1], in[0], NULL, out[0]);
    if (k == 1) return ks_rotate_fwd(c->ctx, B, &s, 0, NULL, in[0], NULL, out[0]);
    s.l = NULL;
    return ks_rotate_fwd(c->ctx, B, &s, 0, in[1], in[0], NULL, out[0]);
}

int main(int argc, char **argv) {
#define ROT(title, f, a, g)                                                                                            \
    {                                                                                                                  \
        .name = title, .flags = T_LINEAR, .n = 40, .build = build, .fwd = f, .adj = a, .golden = g, .bad = bad,        \
        .n_bad = 3, .n_size = 6, .sizes = {0, 1, 31, 32, 33, 132},                                                     \
        .in  = {{.name = "M", .diff = 1},                                                                              \
                {.name = "rot", .fill = fill_rot},                                                                     \
                {.name = "l", .type = T_I32, .fill = fill_l},                                                          \
                {.name = "ao", .type = T_I32, .fill = fill_ao}},                                                       \
        .out = {                                                                                                       \
            {.name = "out", .diff = 1, .tol = 256 * TOL_EPS}                                                           \
        }                                                                                                              \
    } /* the reference solves 5 x 5 systems of condition near 30 */
    static const t_op ops[] = {ROT("rotate", fwd, fwd_adj, golden), ROT("rotate back", back, back_adj, back_golden)};
    t_op_init(argc, argv);
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
        t_op_run(&ops[k]);
        t_frames_apart(&ops[k], B, 1u << 0 | 1u << 1, 1u << 0);
    }
    return t_done("rotate", 2 * (8 + 6));
}
