/* op_driver_impl.h -- what op_driver.c (arrays, runs) and op_checks.c (the nine checks) share. */
#ifndef KS_OP_DRIVER_IMPL_H
#define KS_OP_DRIVER_IMPL_H
#include "op_driver.h"

enum { GUARD = 64 }; /* elements on each side */

typedef struct buf {
    t_type         type;
    int64_t        n;
    size_t         elem, bytes;
    unsigned char *raw, *back; /* host images with guards: as written, as read back */
    void          *mem, *ptr;  /* backend memory; ptr: behind the guard */
} buf;

typedef struct run {
    t_case        c;
    int           n_in, n_out;
    buf           in[T_MAX_ARG], in_bar[T_MAX_ARG], out[T_MAX_ARG], out_bar[T_MAX_ARG];
    double       *x[T_MAX_ARG], *g[T_MAX_ARG], *v[T_MAX_ARG]; /* inputs, their cotangents, a direction */
    double       *y[T_MAX_ARG], *y_bar[T_MAX_ARG];            /* outputs of the last forward, cotangents */
    ks_arena_mark mark, host_mark;
    int64_t       alloc_before, allocs; /* of the last call */
    int           scratch_kept;
    char          bad[160]; /* a broken guard or a changed input, "" if none */
} run;

_Noreturn void t_die(const char *what);
double         t_random(uint64_t *state); /* -1..1 */
void           t_round(t_type type, double *x, int64_t n);

void t_buf_set(ks_ctx *ctx, buf *b, const double *x);
void t_buf_fill(ks_ctx *ctx, buf *b, double value);
int  t_buf_get(ks_ctx *ctx, buf *b, double *x); /* 0: a guard is broken */
int  t_buf_is_unchanged(ks_ctx *ctx, buf *b);

void      t_run_open(run *r, const t_op *op, ks_ctx *ctx, int64_t n);
void      t_run_close(run *r);
void      t_run_cotangent(run *r, uint64_t trial); /* new random cotangents of the outputs */
ks_status t_run_fwd(run *r, double *const x[]);
ks_status t_run_adj(run *r, double preset, int times, int skip_bar);
#endif
