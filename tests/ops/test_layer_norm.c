/* test_layer_norm.c -- layer norm in both precisions: the nine checks; values from a plain two-pass sum in long double.
 */
#include "ks_test.h"
#include "ksgrad/net.h"
#include "op_driver.h"

enum { MAIN_D = 70 }; /* not a multiple of a lane, a warp or a tile */

static ks_precision g_precision;
static int          g_by_width; /* c->n is the width d, not the number of rows */

static ks_status build(t_case *c) {
    const int64_t n = g_by_width ? 3 : c->n, d = g_by_width ? c->n : MAIN_D;
    c->dim[0]     = n;
    c->dim[1]     = d;
    c->in_size[0] = c->out_size[0] = n * d;
    c->in_size[1] = c->in_size[2] = d;
    c->out_size[1]                = 2 * n;
    return KS_OK;
}

static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_layer_norm_fwd(c->ctx, g_precision, c->dim[0], c->dim[1], in[0], in[1], in[2], out[0], out[1]);
}

static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    return ks_layer_norm_adj(c->ctx, g_precision, c->dim[0], c->dim[1], in[0], in[1], saved[1], out_bar[0], in_bar[0],
                             in_bar[1], in_bar[2]);
}

static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    switch (k) {
    case 0:
        return ks_layer_norm_fwd(c->ctx, g_precision, -1, 8, in[0], in[1], in[2], out[0], out[1]);
    case 1:
        return ks_layer_norm_fwd(c->ctx, g_precision, 2, 0, in[0], in[1], in[2], out[0], out[1]);
    case 2:
        return ks_layer_norm_fwd(c->ctx, g_precision, 2, 8, NULL, in[1], in[2], out[0], out[1]);
    case 3:
        return ks_layer_norm_fwd(c->ctx, (ks_precision)7, 2, 8, in[0], in[1], in[2], out[0], out[1]);
    case 4:
        return ks_layer_norm_fwd(c->ctx, g_precision, INT64_MAX / 2, INT64_MAX / 2, in[0], in[1], in[2], out[0],
                                 out[1]);
    default:
        return ks_layer_norm_adj(c->ctx, g_precision, 2, 8, in[0], in[1], NULL, out[0], NULL, NULL, NULL);
    }
}

static void golden(const t_case *c, double *const in[], double *const ref[]) {
    const int64_t d = c->dim[1];
    for (int64_t i = 0; i < c->dim[0]; i++) {
        const double *x    = in[0] + i * d;
        long double   mean = 0, var = 0;
        for (int64_t k = 0; k < d; k++) mean += (long double)x[k] / (long double)d;
        for (int64_t k = 0; k < d; k++) var += ((long double)x[k] - mean) * ((long double)x[k] - mean) / (long double)d;
        const long double r = 1 / sqrtl(var + 1e-5L);
        for (int64_t k = 0; k < d; k++)
            ref[0][i * d + k] =
                (double)((long double)in[1][k] * ((long double)x[k] - mean) * r + (long double)in[2][k]);
        ref[1][2 * i]     = (double)mean;
        ref[1][2 * i + 1] = (double)r;
    }
}

/* Values: a mean of up to 257 terms, and a factor r of up to 300 where a row has one element (variance 0). */
static t_op describe(const char *name, t_type type) {
    const double tol = type == T_F64 ? TOL_SUM(257) : TOL_SUM32(257);
    return (t_op){
        .name   = name,
        .n      = 57,
        .build  = build,
        .fwd    = fwd,
        .adj    = adj,
        .golden = golden,
        .bad    = bad,
        .n_bad  = 6,
        .in     = {{.name = "x", .type = type, .diff = 1, .lo = -1, .hi = 3, .tol = tol},
                   {.name = "gain", .type = type, .diff = 1, .lo = 0.5, .hi = 2, .tol = tol},
                   {.name = "shift", .type = type, .diff = 1, .tol = tol}},
        .out    = {{.name = "y", .type = type, .diff = 1, .tol = tol}, {.name = "stat", .type = type, .tol = tol}}};
}

int main(int argc, char **argv) {
    t_op_init(argc, argv);
    for (g_by_width = 0; g_by_width < 2; g_by_width++) {
        t_op f64 = describe(g_by_width ? "layer norm by width, fp64" : "layer norm, fp64", T_F64);
        t_op f32 = describe(g_by_width ? "layer norm by width, fp32" : "layer norm, fp32", T_F32);
        if (g_by_width) { /* d >= 1 */
            static const int64_t widths[] = {1, 2, 31, 32, 33, 257};
            f64.n_size = f32.n_size = 6;
            for (int k = 0; k < 6; k++) f64.sizes[k] = f32.sizes[k] = widths[k];
        }
        g_precision = KS_FP64;
        t_op_run(&f64);
        g_precision = KS_FP32;
        t_op_run(&f32);
    }
    return t_done("layer_norm", 4 * 8);
}
