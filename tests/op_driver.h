/* op_driver.h -- one description of an op drives the nine checks every op pair passes, on any backend.
 *
 *   #include "ks_test.h"
 *   #include "op_driver.h"
 *   static ks_status build(t_case *c) {              // extents for size c->n (0, 1, 31, ... and the main size)
 *       c->in_size[0] = c->out_size[0] = c->n;
 *       return KS_OK;
 *   }
 *   static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
 *       return ks_gelu_fwd(c->ctx, c->n, in[0], out[0]);
 *   }
 *   static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[],
 *                        void *const in_bar[]) {
 *       return ks_gelu_adj(c->ctx, c->n, in[0], out_bar[0], in_bar[0]);
 *   }
 *   static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
 *       return k == 0 ? ks_gelu_fwd(c->ctx, -1, in[0], out[0]) : ks_gelu_fwd(c->ctx, c->n, NULL, out[0]);
 *   }
 *   static void golden(const t_case *c, double *const in[], double *const ref[]) { ...independent formula... }
 *   int main(int argc, char **argv) {
 *       static const t_op op = {.name = "gelu", .n = 257, .build = build, .fwd = fwd, .adj = adj, .golden = golden,
 *                               .bad = bad, .n_bad = 2,
 *                               .in  = {{.name = "x", .diff = 1, .lo = -3, .hi = 3}},
 *                               .out = {{.name = "y", .diff = 1, .tol = TOL_POINT}}};
 *       t_op_init(argc, argv);                       // argv[1]: cpu (default), cuda, emu; absent: exit code 77
 *       t_op_run(&op);
 *       return t_done("gelu", 8);                    // 9 rows, less `dot` (the op is not linear)
 *   }
 *
 * The driver owns the data: host arrays of doubles, converted to the argument's type and moved to backend memory with
 * 64 guard elements on each side; outputs arrive filled with NaN, scratch arenas too. Callbacks get backend pointers.
 * Each row (check) counts once in ks_t_run:
 *
 *   value     against .golden, at the main size and every size of .sizes           (only with .golden)
 *   gradient  random cotangent and direction, all inputs at once and each one alone; Richardson difference at three h,
 *             median relative error <= grad_tol; then again with the adjoint scaled by 1 + 1e-6, which must fail
 *   order     the Taylor remainder falls as h^2                                    (not for T_LINEAR)
 *   dot       <y, Ax> == <A'y, x>; planted error too                               (only for T_LINEAR)
 *   adds      twice into 7.0 gives 7 + 2g; a NULL cotangent leaves the others bitwise the same
 *   bounds    guards intact, inputs, saved values and cotangents unchanged, every output written, scratch released,
 *             a second run allocates nothing
 *   shapes    forward, adjoint, guards and gradient at each n of .sizes
 *   backends  same bits twice; cpu: same bits with 1 and 3 threads; others: equal to cpu within .tol
 *   faults    every .bad call is KS_ERR_ARG; allocation N = 1, 2, ... fails: KS_ERR_NOMEM, then a clean run has the
 *             same bits
 *
 * An op without .adj (not differentiable) runs value, bounds, shapes, backends and faults.
 * Noisy ops (an SCF) set T_NOISY, their own h and grad_tol, and say why. */
#ifndef KS_OP_DRIVER_H
#define KS_OP_DRIVER_H
#include <stdint.h>
#include <stdio.h>
#include "ksgrad/context.h"
#include "tol.h"

enum { T_MAX_ARG = 12 };
typedef enum t_type { T_F64, T_F32, T_I32 } t_type;
enum {
    T_LINEAR           = 1,  /* jointly linear in the differentiable inputs */
    T_NOISY            = 2,  /* h is the op's own; order is checked only with order_h set */
    T_ALLOCATES        = 4,  /* may allocate in every call (not for ops of the step loop) */
    T_NO_NULL_BAR      = 8,  /* the adjoint takes no NULL cotangent outputs */
    T_NOT_REPEATABLE   = 16, /* may differ from run to run; say why */
    T_THREAD_DEPENDENT = 32, /* bits may depend on the thread count; say why */
    T_NOT_ON_CPU       = 64  /* a kernel that the CPU backend has in another form: .golden compares with that */
};

typedef struct t_op   t_op;
typedef struct t_case t_case;

/* An argument. Arrays live on the host as doubles whatever the type. */
typedef struct t_arg {
    const char *name; /* NULL ends the list */
    t_type      type;
    int         diff;                            /* input: has a cotangent output; output: has a cotangent */
    int         may_vanish;                      /* the derivative may be zero everywhere at the main size */
    double      lo, hi;                          /* inputs: uniform range, -1..1 when both are 0 */
    double      scale;                           /* inputs: unit of the steps h, 1 when 0 */
    double      tol;                             /* outputs: see tol_row.value. Inputs: the same for their cotangent */
    void (*fill)(const t_case *c, double *x);    /* inputs: instead of lo..hi; x arrives with random numbers in -1..1 */
    void (*project)(const t_case *c, double *x); /* inputs: makes values and directions valid, e.g. symmetric */
    int no_null; /* the cotangent of this input may not be NULL (T_NO_NULL_BAR for one argument) */
} t_arg;

struct t_case {
    const t_op *op;
    ks_ctx     *ctx;
    int64_t     n;                                       /* the size to build */
    int64_t     in_size[T_MAX_ARG], out_size[T_MAX_ARG]; /* elements, set by build */
    int64_t     dim[8];                                  /* the test's own */
    void       *user;                                    /* the test's own; released by drop */
};

struct t_op {
    const char *name;
    unsigned    flags;
    int64_t     n;      /* main size */
    int         n_size; /* of sizes; 0: the default list {0, 1, 31, 32, 33, 257}. Include 0 unless impossible */
    int64_t     sizes[8];
    t_arg       in[T_MAX_ARG], out[T_MAX_ARG];
    ks_status (*build)(t_case *c);
    void (*drop)(t_case *c);
    ks_status (*fwd)(t_case *c, void *const in[], void *const out[]);
    /* saved: what fwd wrote. in_bar[k] and out_bar[k] are NULL for arguments without diff. */
    ks_status (*adj)(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]);
    void (*golden)(const t_case *c, double *const in[], double *const ref[]); /* ref[k] NaN: not compared */
    ks_status (*bad)(t_case *c, int k, void *const in[], void *const out[]);  /* 0 <= k < n_bad */
    int    n_bad;
    int    trials;                                       /* random pairs, default 3 */
    int    max_fault;                                    /* largest N of the failing allocation, default 100 */
    double h[3], order_h[3], grad_tol, dot_tol, planted; /* 0: the rows of tol.h */
};

enum t_row { T_VALUE, T_GRADIENT, T_ORDER, T_DOT, T_ADDS, T_BOUNDS, T_SHAPES, T_BACKENDS, T_FAULTS, T_ROWS };
typedef struct t_report {
    struct {
        int    ran, ok;
        double worst, limit; /* the largest error met and what was allowed */
        char   note[200];    /* first failure, or what was measured */
    } row[T_ROWS];
} t_report;

extern const char *const t_row_name[T_ROWS];

/* Reads argv[1] and opens the backend once; exits with 77 and a reason when it is not there. */
void        t_op_init(int argc, char **argv);
const char *t_op_backend(void); /* "cpu", "cuda" or "emu" */
/* A context of the chosen backend, for tests' own checks. Ends the test on failure. */
ks_ctx *t_op_ctx(int threads);
ks_ctx *t_open(const char *backend, int threads); /* of any backend, e.g. the CPU to compare with */
/* Runs the nine checks. Exits with 77 when the op has no slot on this backend. */
void t_op_check(const t_op *op, t_report *out);

/* t_op_check, printed and counted. Needs ks_test.h. */
#ifdef KS_TEST_H
static inline void t_op_run(const t_op *op) {
    t_report r;
    t_op_check(op, &r);
    printf("op %s, backend %s\n", op->name, t_op_backend());
    for (int k = 0; k < T_ROWS; k++) {
        if (!r.row[k].ran) continue;
        printf("  %-9s %-4s worst %-9.2e limit %-9.2e %s\n", t_row_name[k], r.row[k].ok ? "ok" : "FAIL", r.row[k].worst,
               r.row[k].limit, r.row[k].note);
        T_CHECK(r.row[k].ok, "%s %s: %s", op->name, t_row_name[k], r.row[k].note);
    }
}
#endif
#endif
