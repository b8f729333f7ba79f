/* op_checks.c -- the nine checks; see op_driver.h. Every comparison is written so that NaN fails. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "op_driver_impl.h"

const char *const t_row_name[T_ROWS] = {"value",  "gradient", "order",    "dot",   "adds",
                                        "bounds", "shapes",   "backends", "faults"};

static const int64_t default_sizes[] = {0, 1, 31, 32, 33, 257};

/* Settings of one op, defaults filled in. */
typedef struct setting {
    const tol_row *row;
    double         h[3], order_h[3], grad_tol, planted, dot_tol;
    int            trials, n_size, max_fault;
    const int64_t *sizes;
} setting;

static setting settings(const t_op *op) {
    setting s   = {.row = &tol_driver[0], .trials = op->trials ? op->trials : 3};
    int     f32 = 0;
    for (int k = 0; k < T_MAX_ARG && op->in[k].name; k++) f32 |= op->in[k].diff && op->in[k].type == T_F32;
    for (int k = 0; k < T_MAX_ARG && op->out[k].name; k++) f32 |= op->out[k].diff && op->out[k].type == T_F32;
    s.row = &tol_driver[f32];
    memcpy(s.h, op->h[0] > 0 ? op->h : s.row->h, sizeof s.h);
    memcpy(s.order_h, op->order_h[0] > 0 ? op->order_h : s.row->order_h, sizeof s.order_h);
    s.grad_tol  = op->grad_tol > 0 ? op->grad_tol : s.row->grad;
    s.planted   = op->planted > 0 ? op->planted : fmax(s.row->planted, 10 * s.grad_tol);
    s.dot_tol   = op->dot_tol > 0 ? op->dot_tol : s.row->dot;
    s.n_size    = op->n_size ? op->n_size : (int)(sizeof default_sizes / sizeof *default_sizes);
    s.sizes     = op->n_size ? op->sizes : default_sizes;
    s.max_fault = op->max_fault ? op->max_fault : 100;
    return s;
}

/* One measured error of a row against its limit. */
__attribute__((format(printf, 5, 6))) static void judge(t_report *r, int row, double err, double limit, const char *fmt,
                                                        ...) {
    const int good = err <= limit;
    if (!r->row[row].ran) r->row[row].ok = 1;
    r->row[row].ran = 1;
    /* The worst is the one closest to, or furthest beyond, its limit; a failure stays. */
    if (r->row[row].limit == 0 || !(err / limit <= r->row[row].worst / r->row[row].limit)) {
        r->row[row].worst = err;
        r->row[row].limit = limit;
    }
    if (!good && r->row[row].ok) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(r->row[row].note, sizeof r->row[row].note, fmt, ap);
        va_end(ap);
        r->row[row].ok    = 0;
        r->row[row].worst = err;
        r->row[row].limit = limit;
    }
}

static void judge_bool(t_report *r, int row, int good, const char *what) { judge(r, row, good ? 0 : 2, 1, "%s", what); }

static double median(double *a, int n) { /* NaN sorts last, as the worst */
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && !(a[j] >= a[j - 1]) && !isnan(a[j]); j--) {
            const double t = a[j];
            a[j]           = a[j - 1];
            a[j - 1]       = t;
        }
    return n % 2 ? a[n / 2] : 0.5 * (a[n / 2 - 1] + a[n / 2]);
}

static int is_diff(const t_op *op, int k) { return op->in[k].diff; }

/* Directions: uniform in -scale..scale, zero outside `only` (-1: every differentiable input). */
static void draw_direction(run *r, int only, uint64_t trial) {
    for (int k = 0; k < r->n_in; k++) {
        const t_arg *a    = &r->c.op->in[k];
        uint64_t     seed = 15485863u * (trial + 1) + 613u * (uint64_t)k + 7u * (uint64_t)r->c.n;
        for (int64_t i = 0; i < r->c.in_size[k]; i++) r->v[k][i] = t_random(&seed) * (a->scale > 0 ? a->scale : 1.0);
        if (a->project) a->project(&r->c, r->v[k]);
        if (!a->diff || (only >= 0 && only != k)) memset(r->v[k], 0, (size_t)r->c.in_size[k] * sizeof(double));
    }
}

typedef struct point {
    double *x[T_MAX_ARG], *y[T_MAX_ARG];
} point;

static void point_open(const run *r, point *p) {
    memset(p, 0, sizeof *p);
    for (int k = 0; k < r->n_in; k++)
        if (!(p->x[k] = calloc((size_t)r->c.in_size[k] + 1, sizeof(double)))) t_die("out of host memory");
    for (int k = 0; k < r->n_out; k++)
        if (!(p->y[k] = calloc((size_t)r->c.out_size[k] + 1, sizeof(double)))) t_die("out of host memory");
}

static void point_close(point *p) {
    for (int k = 0; k < T_MAX_ARG; k++) free(p->x[k]), free(p->y[k]);
}

/* p = the op at x + t v (rounded to the argument types). */
static int point_at(run *r, double t, point *p) {
    for (int k = 0; k < r->n_in; k++) {
        for (int64_t i = 0; i < r->c.in_size[k]; i++) p->x[k][i] = r->x[k][i] + t * r->v[k][i];
        t_round(r->c.op->in[k].type, p->x[k], r->c.in_size[k]);
    }
    if (t_run_fwd(r, p->x) != KS_OK) return 0;
    for (int k = 0; k < r->n_out; k++) memcpy(p->y[k], r->y[k], (size_t)r->c.out_size[k] * sizeof(double));
    return 1;
}

/* <y_bar, y_a - y_b> and <g, x_a - x_b>: the inputs' difference is the one that rounding left, so fp32 loses nothing.
 */
static double change_of_output(const run *r, const point *a, const point *b) {
    long double s = 0;
    for (int k = 0; k < r->n_out; k++)
        for (int64_t i = 0; r->c.op->out[k].diff && i < r->c.out_size[k]; i++)
            s += (long double)r->y_bar[k][i] * ((long double)a->y[k][i] - (long double)b->y[k][i]);
    return (double)s;
}
static double change_by_gradient(const run *r, double *const g[], const point *a, const point *b) {
    long double s = 0;
    for (int k = 0; k < r->n_in; k++)
        for (int64_t i = 0; r->c.op->in[k].diff && i < r->c.in_size[k]; i++)
            s += (long double)g[k][i] * ((long double)a->x[k][i] - (long double)b->x[k][i]);
    return (double)s;
}

static double norm(const run *r, double *const a[], int inputs) {
    double s = 0;
    for (int k = 0; k < (inputs ? r->n_in : r->n_out); k++) {
        const int64_t n = inputs ? r->c.in_size[k] : r->c.out_size[k];
        if (inputs ? !r->c.op->in[k].diff : !r->c.op->out[k].diff) continue;
        for (int64_t i = 0; i < n; i++) s += a[k][i] * a[k][i];
    }
    return sqrt(s);
}

/* Median error of <g, v> over trials and steps. Scale: |<g, v>|, but not less than its typical size |g||v| / sqrt(n),
 * so that a direction that happens to be orthogonal to g is no failure. vanish: set to 1 when the derivative is zero to
 * rounding by both g and the differences (then the error says nothing). */
static double gradient_error(run *r, const setting *s, double *const g[], int only, int trials, int *vanish) {
    double  err[64];
    int     n_err = 0;
    int64_t n     = 0;
    point   p[3]; /* +, -, base */
    *vanish = 1;
    for (int i = 0; i < 3; i++) point_open(r, &p[i]);
    for (int k = 0; k < r->n_in; k++)
        if (is_diff(r->c.op, k) && (only < 0 || only == k)) n += r->c.in_size[k];
    for (int t = 0; t < trials && n_err + 3 <= 64; t++) {
        draw_direction(r, only, (uint64_t)t);
        double gv = 0, gg = 0;
        for (int k = 0; k < r->n_in; k++)
            for (int64_t i = 0; is_diff(r->c.op, k) && i < r->c.in_size[k]; i++) {
                gv += g[k][i] * r->v[k][i];
                gg += r->v[k][i] != 0 ? g[k][i] * g[k][i] : 0;
            }
        const double typical = sqrt(gg) * norm(r, r->v, 1) / sqrt((double)(n ? n : 1));
        const double scale   = fmax(fabs(gv), typical);
        for (int j = 0; j < 3; j++) {
            double e[2], change = 0;
            for (int half = 0; half < 2; half++) {
                const double h = s->h[j] / (1 + half);
                if (!point_at(r, h, &p[0]) || !point_at(r, -h, &p[1])) {
                    err[n_err++] = NAN;
                    goto done;
                }
                const double dy = change_of_output(r, &p[0], &p[1]), dx = change_by_gradient(r, g, &p[0], &p[1]);
                e[half] = (dy - dx) / (2 * h);
                change  = fmax(fabs(change), fmax(fabs(dy), fabs(dx)));
                if (isnan(dy) || isnan(dx)) change = NAN;
            }
            const double rounding =
                64 * (s->row == tol_driver ? TOL_EPS : TOL_EPS32) * norm(r, r->y_bar, 0) * norm(r, r->y, 0);
            if (change <= rounding || n == 0) continue; /* no derivative to see along this direction */
            *vanish = 0;
            err[n_err++] =
                fabs((4 * e[1] - e[0]) / 3) / scale; /* the derivative part has cancelled: Richardson of the residual */
        }
    }
done:
    for (int i = 0; i < 3; i++) point_close(&p[i]);
    if (n_err && isnan(err[n_err - 1])) return NAN;
    return n_err ? median(err, n_err) : 0;
}

static double *g_scaled[T_MAX_ARG];

/* Check 2 for all inputs at once and each one alone, then with the planted error. */
static void check_gradient(run *r, const setting *s, int row, int trials, int strict, t_report *out) {
    const t_op *op = r->c.op;
    for (int only = -1; only < r->n_in; only++) {
        int         vanish = 0;
        const char *what   = only < 0 ? "all inputs" : op->in[only].name;
        if (only >= 0 && (!op->in[only].diff || !strict)) continue;
        const double err = gradient_error(r, s, r->g, only, trials, &vanish);
        judge(out, row, err, s->grad_tol, "n=%lld, %s: median relative error %.2e", (long long)r->c.n, what, err);
        if (vanish) {
            if (strict && !(only >= 0 && op->in[only].may_vanish))
                judge(out, row, NAN, s->grad_tol, "%s: the derivative is zero: the check is empty", what);
            continue;
        }
        if (!strict) continue;
        for (int k = 0; k < r->n_in; k++) {
            if (!op->in[k].diff) continue;
            if (!(g_scaled[k] = calloc((size_t)r->c.in_size[k] + 1, sizeof(double)))) t_die("out of host memory");
            for (int64_t i = 0; i < r->c.in_size[k]; i++) g_scaled[k][i] = r->g[k][i] * (1 + s->planted);
        }
        const double found = gradient_error(r, s, g_scaled, only, trials, &vanish);
        if (err <= s->grad_tol && !(found > s->grad_tol))
            judge(out, row, NAN, s->grad_tol, "%s: an adjoint wrong by a factor 1 + %.0e passes (%.2e)", what,
                  s->planted, found);
        for (int k = 0; k < r->n_in; k++) free(g_scaled[k]), g_scaled[k] = NULL;
    }
}

static void check_order(run *r, const setting *s, t_report *out) {
    enum { TRIALS = 5 };
    double order[2][TRIALS];
    point  base, p;
    point_open(r, &base), point_open(r, &p);
    for (int t = 0; t < TRIALS; t++) {
        double rem[3], h[3];
        draw_direction(r, -1, 100u + (uint64_t)t);
        if (!point_at(r, 0, &base)) t_die("forward failed in the order check");
        for (int j = 0; j < 3; j++) {
            h[j] = s->order_h[j];
            if (!point_at(r, h[j], &p)) t_die("forward failed in the order check");
            rem[j] = fabs(change_of_output(r, &p, &base) - change_by_gradient(r, r->g, &p, &base));
        }
        for (int j = 0; j < 2; j++) order[j][t] = log(rem[j] / rem[j + 1]) / log(h[j] / h[j + 1]);
    }
    point_close(&base), point_close(&p);
    const double a = median(order[0], TRIALS), b = median(order[1], TRIALS);
    judge(out, T_ORDER, fmax(fabs(a - 2), fabs(b - 2)), TOL_ORDER_HI - 2, "orders %.3f and %.3f", a, b);
    if (isnan(a) || isnan(b)) judge(out, T_ORDER, NAN, TOL_ORDER_HI - 2, "orders %.3f and %.3f", a, b);
    if (out->row[T_ORDER].ok)
        snprintf(out->row[T_ORDER].note, sizeof out->row[T_ORDER].note, "orders %.3f and %.3f", a, b);
}

/* <y_bar, A x> - <g, x> relative to |y_bar| |A x|. */
static void check_dot(run *r, const setting *s, t_report *out) {
    long double ax = 0, ga = 0;
    for (int k = 0; k < r->n_out; k++)
        for (int64_t i = 0; r->c.op->out[k].diff && i < r->c.out_size[k]; i++)
            ax += (long double)r->y_bar[k][i] * (long double)r->y[k][i];
    for (int k = 0; k < r->n_in; k++)
        for (int64_t i = 0; r->c.op->in[k].diff && i < r->c.in_size[k]; i++)
            ga += (long double)r->g[k][i] * (long double)r->x[k][i];
    const double scale = norm(r, r->y_bar, 0) * norm(r, r->y, 0);
    judge(out, T_DOT, fabs((double)(ax - ga)) / scale, s->dot_tol, "<y,Ax> = %.17g, <A'y,x> = %.17g", (double)ax,
          (double)ga);
    const double planted = fabs((double)(ax - ga * (1 + (long double)s->planted))) / scale;
    if (!(planted > s->dot_tol)) judge(out, T_DOT, NAN, s->dot_tol, "a planted error passes (%.2e)", planted);
}

static double **copy_set(const run *r, double *const a[], int inputs) {
    double **c = calloc(T_MAX_ARG, sizeof *c);
    if (!c) t_die("out of host memory");
    for (int k = 0; k < (inputs ? r->n_in : r->n_out); k++) {
        const size_t n = (size_t)(inputs ? r->c.in_size[k] : r->c.out_size[k]);
        if (!(c[k] = calloc(n + 1, sizeof(double)))) t_die("out of host memory");
        memcpy(c[k], a[k], n * sizeof(double));
    }
    return c;
}
static void free_set(double **c) {
    for (int k = 0; c && k < T_MAX_ARG; k++) free(c[k]);
    free(c);
}

static void check_adds(run *r, const setting *s, double **g, t_report *out) {
    const t_op *op = r->c.op;
    if (t_run_adj(r, 7.0, 2, -1) != KS_OK) t_die("adjoint failed");
    for (int k = 0; k < r->n_in; k++) {
        double largest = 0;
        for (int64_t i = 0; op->in[k].diff && i < r->c.in_size[k]; i++) largest = fmax(largest, fabs(g[k][i]));
        for (int64_t i = 0; op->in[k].diff && i < r->c.in_size[k]; i++) {
            const double err = fabs(r->g[k][i] - (7 + 2 * g[k][i])) / (7 + 2 * fabs(g[k][i]) + largest);
            judge(out, T_ADDS, err, s->row->adds, "%s[%lld] = %.17g, expected 7 + 2 x %.17g", op->in[k].name,
                  (long long)i, r->g[k][i], g[k][i]);
        }
    }
    for (int skip = 0; skip < r->n_in && !(op->flags & T_NO_NULL_BAR); skip++) {
        if (!op->in[skip].diff || op->in[skip].no_null) continue;
        if (t_run_adj(r, 0.0, 1, skip) != KS_OK) {
            judge(out, T_ADDS, NAN, 1, "a NULL cotangent of %s is refused: %.120s", op->in[skip].name,
                  ks_error_message());
            continue;
        }
        for (int k = 0; k < r->n_in; k++)
            if (op->in[k].diff && k != skip && !(op->flags & T_NOT_REPEATABLE))
                judge_bool(out, T_ADDS, !memcmp(r->g[k], g[k], (size_t)r->c.in_size[k] * sizeof(double)),
                           "a NULL cotangent changed another one");
    }
}

static double largest(const double *a, int64_t n) {
    double m = 0;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(a[i]) <= m)) m = fabs(a[i]);
    return m;
}

static void compare(run *r, int row, const t_arg *a, const setting *s, const double *got, const double *ref, int64_t n,
                    const char *with, t_report *out) {
    const double tol   = a->tol > 0 ? a->tol : (a->type == T_F64 ? tol_driver[0].value : tol_driver[1].value);
    const double scale = largest(ref, n);
    (void)s;
    for (int64_t i = 0; i < n; i++)
        judge(out, row, got[i] == ref[i] ? 0 : fabs(got[i] - ref[i]) / scale, tol, "n=%lld, %s[%lld] = %.17g, %s %.17g",
              (long long)r->c.n, a->name, (long long)i, got[i], with, ref[i]);
}

static void check_value(run *r, const setting *s, t_report *out) {
    double **ref = copy_set(r, r->y, 0);
    for (int k = 0; k < r->n_out; k++)
        for (int64_t i = 0; i < r->c.out_size[k]; i++) ref[k][i] = NAN;
    r->c.op->golden(&r->c, r->x, ref);
    for (int k = 0; k < r->n_out; k++)
        if (r->c.out_size[k] > 0 && !isnan(ref[k][0]))
            compare(r, T_VALUE, &r->c.op->out[k], s, r->y[k], ref[k], r->c.out_size[k], "golden", out);
    judge_bool(out, T_VALUE, 1, "");
    free_set(ref);
}

static void check_written(run *r, int row, t_report *out) {
    for (int k = 0; k < r->n_out; k++)
        for (int64_t i = 0; i < r->c.out_size[k]; i++)
            judge(out, row,
                  isfinite(r->y[k][i]) && !(r->c.op->out[k].type == T_I32 && r->y[k][i] == -2147483648.0) ? 0 : NAN, 1,
                  "n=%lld: %s[%lld] was not written or is not finite", (long long)r->c.n, r->c.op->out[k].name,
                  (long long)i);
    for (int k = 0; r->c.op->adj && k < r->n_in; k++)
        for (int64_t i = 0; r->c.op->in[k].diff && i < r->c.in_size[k]; i++)
            judge(out, row, isfinite(r->g[k][i]) ? 0 : NAN, 1, "n=%lld: cotangent of %s[%lld] is not finite",
                  (long long)r->c.n, r->c.op->in[k].name, (long long)i);
    judge(out, row, r->bad[0] ? 2 : 0, 1, "n=%lld: %s", (long long)r->c.n, r->bad);
    judge(out, row, r->scratch_kept ? 2 : 0, 1, "n=%lld: scratch was not released", (long long)r->c.n);
}

/* Forward and, if there is one, adjoint at r->x from cleared cotangents. */
static int run_both(run *r, int row, t_report *out) {
    ks_status st = t_run_fwd(r, r->x);
    if (st == KS_OK && r->c.op->adj) st = t_run_adj(r, 0.0, 1, -1);
    if (st == KS_OK) return 1;
    judge(out, row, NAN, 1, "n=%lld: %.160s", (long long)r->c.n, ks_error_message());
    return 0;
}

static void same_bits(run *r, double **y, double **g, const char *what, t_report *out) {
    for (int k = 0; k < r->n_out; k++)
        judge(out, T_BACKENDS, memcmp(r->y[k], y[k], (size_t)r->c.out_size[k] * sizeof(double)) ? 2 : 0, 1,
              "%s: other bits in %s", what, r->c.op->out[k].name);
    for (int k = 0; r->c.op->adj && k < r->n_in; k++)
        if (r->c.op->in[k].diff)
            judge(out, T_BACKENDS, memcmp(r->g[k], g[k], (size_t)r->c.in_size[k] * sizeof(double)) ? 2 : 0, 1,
                  "%s: other bits in the cotangent of %s", what, r->c.op->in[k].name);
}

static void check_backends(run *r, const setting *s, double **y, double **g, t_report *out) {
    const t_op *op = r->c.op;
    if (!(op->flags & T_NOT_REPEATABLE) && run_both(r, T_BACKENDS, out)) same_bits(r, y, g, "second run", out);
    const int is_cpu = !strcmp(t_op_backend(), "cpu");
    for (int threads = 1; threads <= 3; threads += 2) {
        if (is_cpu ? (op->flags & (T_THREAD_DEPENDENT | T_NOT_REPEATABLE)) != 0 : threads != 1) continue;
        if (op->flags & T_NOT_ON_CPU) break;
        ks_ctx *ctx = t_open("cpu", threads);
        run     o;
        t_run_open(&o, op, ctx, r->c.n);
        if (run_both(&o, T_BACKENDS, out)) {
            if (is_cpu) same_bits(&o, y, g, threads == 1 ? "1 thread" : "3 threads", out);
            for (int k = 0; !is_cpu && k < r->n_out; k++)
                compare(r, T_BACKENDS, &op->out[k], s, y[k], o.y[k], r->c.out_size[k], "cpu", out);
            for (int k = 0; !is_cpu && op->adj && k < r->n_in; k++)
                if (op->in[k].diff) compare(r, T_BACKENDS, &op->in[k], s, g[k], o.g[k], r->c.in_size[k], "cpu", out);
        }
        t_run_close(&o);
        ks_ctx_destroy(&ctx);
    }
}

/* hit: the failing allocation was reached. */
static ks_status both_status(run *r, int64_t fail_after, int *hit) {
    const int64_t before = ks_alloc_count();
    ks_alloc_fail_after(fail_after);
    ks_status st = t_run_fwd(r, r->x);
    if (st == KS_OK && r->c.op->adj) st = t_run_adj(r, 0.0, 1, -1);
    ks_alloc_fail_after(0);
    *hit = fail_after > 0 && ks_alloc_count() - before >= fail_after;
    return st;
}

static void check_faults(run *r, const setting *s, double **y, double **g, t_report *out) {
    const t_op *op            = r->c.op;
    void       *in[T_MAX_ARG] = {0}, *res[T_MAX_ARG] = {0};
    int         n_failed = 0;
    for (int k = 0; k < r->n_in; k++) in[k] = r->in[k].ptr;
    for (int k = 0; k < r->n_out; k++) res[k] = r->out[k].ptr;
    for (int k = 0; k < op->n_bad; k++) {
        const ks_status st = op->bad(&r->c, k, in, res);
        judge(out, T_FAULTS, st == KS_ERR_ARG ? 0 : 2, 1, "bad call %d gives '%s'", k, ks_status_text(st));
    }
    for (int n = 1; n <= s->max_fault; n++) {
        ks_ctx *ctx = t_open(t_op_backend(), 2); /* fresh arenas: every growth happens again */
        run     f;
        t_run_open(&f, op, ctx, r->c.n);
        int             hit = 0, none = 0;
        const ks_status st = both_status(&f, n, &hit);
        judge(out, T_FAULTS, (st == KS_ERR_NOMEM) == hit ? 0 : 2, 1, "failed allocation %d gives '%s'", n,
              ks_status_text(st));
        if (hit) {
            n_failed++;
            ks_error_clear();
            const ks_status again = both_status(&f, 0, &none);
            judge(out, T_FAULTS, again == KS_OK ? 0 : 2, 1, "after failed allocation %d: %.120s", n,
                  ks_error_message());
            for (int k = 0; again == KS_OK && !(op->flags & T_NOT_REPEATABLE) && k < f.n_out; k++)
                judge(out, T_FAULTS, memcmp(f.y[k], y[k], (size_t)f.c.out_size[k] * sizeof(double)) ? 2 : 0, 1,
                      "after failed allocation %d: other bits in %s", n, op->out[k].name);
            for (int k = 0; again == KS_OK && op->adj && !(op->flags & T_NOT_REPEATABLE) && k < f.n_in; k++)
                if (op->in[k].diff)
                    judge(out, T_FAULTS, memcmp(f.g[k], g[k], (size_t)f.c.in_size[k] * sizeof(double)) ? 2 : 0, 1,
                          "after failed allocation %d: other bits in the cotangent of %s", n, op->in[k].name);
        } else {
            judge(out, T_FAULTS, st == KS_OK ? 0 : 2, 1, "failed allocation %d gives '%s'", n, ks_status_text(st));
        }
        t_run_close(&f);
        ks_ctx_destroy(&ctx);
        if (!hit) break;
    }
    if (out->row[T_FAULTS].ok)
        snprintf(out->row[T_FAULTS].note, sizeof out->row[T_FAULTS].note, "%d bad calls, %d failed allocations",
                 op->n_bad, n_failed);
}

static void check_shapes(const t_op *op, const setting *s, ks_ctx *ctx, t_report *out) {
    for (int i = 0; i < s->n_size; i++) {
        run r;
        t_run_open(&r, op, ctx, s->sizes[i]);
        if (run_both(&r, T_SHAPES, out)) {
            check_written(&r, T_SHAPES, out);
            if (op->golden) check_value(&r, s, out);
            if (op->adj) check_gradient(&r, s, T_SHAPES, 1, 0, out);
            judge(out, T_SHAPES, r.bad[0] ? 2 : 0, 1, "n=%lld: %s", (long long)r.c.n, r.bad);
        }
        t_run_close(&r);
    }
}

void t_op_check(const t_op *op, t_report *out) {
    const setting s   = settings(op);
    ks_ctx       *ctx = t_open(t_op_backend(), 2);
    run           r;
    memset(out, 0, sizeof *out);
    ks_alloc_fail_after(0);
    t_run_open(&r, op, ctx, op->n);
    /* Twice: the second run meets scratch that the first one grew, now full of NaN. */
    if (run_both(&r, T_BOUNDS, out) && run_both(&r, T_BOUNDS, out)) {
        double **y = copy_set(&r, r.y, 0), **g = copy_set(&r, r.g, 1);
        if (op->golden) check_value(&r, &s, out);
        if (op->adj && op->flags & T_LINEAR) check_dot(&r, &s, out);
        check_written(&r, T_BOUNDS, out);
        if (!(op->flags & T_ALLOCATES)) {
            if (t_run_fwd(&r, r.x) == KS_OK) judge(out, T_BOUNDS, r.allocs ? 2 : 0, 1, "a second forward allocates");
            if (op->adj && t_run_adj(&r, 0.0, 1, -1) == KS_OK)
                judge(out, T_BOUNDS, r.allocs ? 2 : 0, 1, "a second adjoint allocates");
        }
        check_backends(&r, &s, y, g, out);
        if (op->adj) {
            if (run_both(&r, T_GRADIENT, out)) check_gradient(&r, &s, T_GRADIENT, s.trials, 1, out);
            if (!(op->flags & T_LINEAR) && (!(op->flags & T_NOISY) || op->order_h[0] > 0)) check_order(&r, &s, out);
            if (run_both(&r, T_ADDS, out)) check_adds(&r, &s, g, out);
        }
        judge(out, T_BOUNDS, r.bad[0] ? 2 : 0, 1, "%s", r.bad); /* over all runs above */
        check_faults(&r, &s, y, g, out);
        free_set(y), free_set(g);
    }
    t_run_close(&r);
    check_shapes(op, &s, ctx, out);
    ks_ctx_destroy(&ctx);
}
