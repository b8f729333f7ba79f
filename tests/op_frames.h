/* op_frames.h -- a frame that is NaN changes nothing in the other frames of a batch. */
#ifndef KS_OP_FRAMES_H
#define KS_OP_FRAMES_H
#include <math.h>
#include "op_driver_impl.h"

/* Number of elements outside frame 1 whose bits differ between a and b, (n_frame, size / n_frame). */
static inline int64_t t_frames_differ(int64_t size, int n_frame, const double *a, const double *b) {
    const int64_t each = size / n_frame;
    int64_t       n    = 0;
    for (int64_t i = 0; i < size; i++) n += i / each != 1 && !(a[i] == b[i]);
    return n;
}
static inline double *t_frames_copy(const double *a, int64_t n) {
    double *c = calloc((size_t)n + 1, sizeof *c);
    for (int64_t i = 0; c && i < n; i++) c[i] = a[i];
    return c;
}

/* The op at its main size, forward and adjoint: once as it is, once with NaN in frame 1 of the inputs named in the bits
 * of `in` and of the cotangents of the outputs named in `out`; both are led by an index 0 <= frame < n_frame. The
 * results with that index keep their bits in all other frames. One check for each result. */
static inline void t_frames_apart(const t_op *op, int n_frame, unsigned in, unsigned out) {
    ks_ctx *ctx          = t_op_ctx(2);
    double *y[T_MAX_ARG] = {0}, *g[T_MAX_ARG] = {0};
    run     r;
    t_run_open(&r, op, ctx, op->n);
    for (int pass = 0; pass < 2; pass++) {
        for (int k = 0; pass && k < r.n_in; k++)
            for (int64_t i = 0, each = r.c.in_size[k] / n_frame; in >> k & 1 && i < each; i++) r.x[k][each + i] = NAN;
        for (int k = 0; pass && k < r.n_out; k++)
            for (int64_t i = 0, each = r.c.out_size[k] / n_frame; out >> k & 1 && op->out[k].diff && i < each; i++)
                r.y_bar[k][each + i] = NAN;
        T_OK(t_run_fwd(&r, r.x));
        if (op->adj) T_OK(t_run_adj(&r, 0.0, 1, -1));
        for (int k = 0; k < r.n_out; k++) {
            if (!pass) y[k] = t_frames_copy(r.y[k], r.c.out_size[k]);
            else if (out >> k & 1)
                T_CHECK(t_frames_differ(r.c.out_size[k], n_frame, y[k], r.y[k]) == 0, "%s: %s", op->name,
                        op->out[k].name);
        }
        for (int k = 0; op->adj && k < r.n_in; k++) {
            if (!pass) g[k] = t_frames_copy(r.g[k], r.c.in_size[k]);
            else if (in >> k & 1 && op->in[k].diff)
                T_CHECK(t_frames_differ(r.c.in_size[k], n_frame, g[k], r.g[k]) == 0, "%s: cotangent of %s", op->name,
                        op->in[k].name);
        }
    }
    for (int k = 0; k < T_MAX_ARG; k++) free(y[k]), free(g[k]);
    t_run_close(&r);
    ks_ctx_destroy(&ctx);
}
#endif
