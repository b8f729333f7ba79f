/* test_reducer.c -- gradients summed over 1 to 4 processes: buckets of all sizes, parameters reported in pieces or not at
 * all, bfloat16 on the wire; the optimiser's step whole and in shares; moments from one number of ranks to another.
 *
 *   test_reducer [cpu|emu|cuda]                 the checks; on GPUs those with at most as many ranks
 *   test_reducer [cpu|emu|cuda] time N [RANKS]  seconds of a reduction of N million floats */
#define _GNU_SOURCE
#include "reducer_case.h"

static char t_dir[64];

/* ---- sums ---- */

static double part(const ks_params *p, int step, int rank, int64_t i) {
    const double x = ks_rng_normal(11, KS_STREAM_TEST, (uint32_t)(16 * step + rank), (uint64_t)i);
    return ks_params_elem_bytes(p) == sizeof(double) ? x : (double)(float)x;
}

/* The gradient of a parameter appears just before it is reported: a bucket that left too early lacks some of it. Rank 0
 * reports all, rank 1 every third, rank 2 nothing, rank 3 only the first one, which means all. */
static void backward(ks_params *p, int step, int rank) {
    for (int64_t k = N_PARAM - 1; k >= 0; k--) {
        const ks_param *t = ks_params_get(p, k);
        double          x[MOST];
        for (int64_t i = 0; i < t->size; i++) x[i] = part(p, step, rank, t->offset + i);
        put(p, 'g', t->offset, t->size, x);
        if (rank == 0 || (rank == 1 && k % 3 == 0) || (rank == 3 && k == 0)) T_OK(ks_params_ready(p, k));
    }
}

/* Own elements of the summed gradient: all of them, or the slices of the buckets as reducer.h says. */
static int is_own(const scene *s, const ks_params *p, int rank, int64_t i) {
    const int64_t unit = 32 * (int64_t)s->size, elem = (int64_t)ks_params_elem_bytes(p);
    const int64_t n      = (ks_params_total(p) + unit - 1) / unit * unit;
    int64_t       length = (s->bucket_bytes / elem + unit - 1) / unit * unit, end = n;
    if (!s->shard) return 1;
    if (length < unit) length = unit;
    while (end - length > i) end -= length;
    const int64_t begin = end > length ? end - length : 0;
    return (i - begin) / ((end - begin) / s->size) == rank;
}

static void play_sums(ks_comm *comm, const scene *s) {
    const ks_reducer_options opt    = options(s);
    ks_params               *params = make_params(s->precision);
    ks_reducer              *r      = NULL;
    const int                rank = ks_comm_rank(comm), is64 = s->precision == KS_FP64;
    static double            first[MOST], g[MOST];
    int64_t                  own    = 0;
    double                   margin = 0;
    T_OK(ks_reducer_create(g_ctx, comm, params, &opt, &r));
    T_CHECK((r == NULL) == (s->size == 1), "one rank has no reducer");
    if (r) T_ERR(ks_reducer_end(r, 0, NULL, 0, NULL), KS_ERR_ARG);
    for (int step = 0; step < 3; step++) { /* the third is the first once more */
        double  sum[3] = {rank + 1, 1e-3 * rank, step}, least[1] = {10.0 - rank};
        double  worst  = 0;
        int64_t beyond = 0;
        double *sum_b = up(sum, 3), *least_b = up(least, 1);
        T_OK(ks_params_zero_grad(params));
        T_OK(ks_reducer_begin(r));
        backward(params, step % 2, rank);
        T_OK(ks_reducer_end(r, 3, sum_b, 1, least_b));
        T_OK(ks_params_ready(params, 0)); /* nobody listens */
        down(&sum_b, sum, 3);
        down(&least_b, least, 1);
        get(params, 'g', 0, ks_params_total(params), g);
        T_CLOSE(sum[0], s->size * (s->size + 1) / 2.0, 0, 0);
        T_CLOSE(sum[1], 1e-3 * (s->size * (s->size - 1) / 2.0), 0, 4 * TOL_EPS);
        T_CHECK(sum[2] == (double)(step * s->size) && least[0] == 10.0 - (s->size - 1), "%g %g", sum[2], least[0]);
        own = 0;
        for (int64_t k = 0; k < N_PARAM; k++)
            for (int64_t j = 0; j < ks_params_get(params, k)->size; j++) {
                const int64_t i   = ks_params_get(params, k)->offset + j;
                double        ref = 0, terms = 0;
                if (!is_own(s, params, rank, i)) continue;
                own++;
                for (int q = 0; q < s->size; q++) ref += part(params, step % 2, q, i);
                for (int q = 0; q < s->size; q++) terms += fabs(part(params, step % 2, q, i));
                /* size - 1 additions. On the wire each part is rounded, and size - 1 partial sums may be: all by at most
                 * 2^-8 of something below the sum of the terms, and their products. */
                const double bar = s->wire_bf16 && r ? s->size * 0x1p-8 * 1.01 : s->size * (is64 ? TOL_EPS : TOL_EPS32);
                worst            = t_worse(worst, fabs(g[i] - ref) / (bar * terms));
                if (step == 0) first[i] = g[i];
                beyond += step == 2 && g[i] != first[i];
            }
        margin = t_worse(margin, worst);
        T_CHECK(worst <= 1, "step %d: %g of the bar", step, worst);
        T_CHECK(beyond == 0, "%lld elements differ in a second run", (long long)beyond);
        if (!s->shard) { /* all ranks have all of it, with the same bits */
            uint64_t hash = 0xcbf29ce484222325ULL;
            for (int64_t i = 0; i < ks_params_total(params); i++) {
                uint64_t u;
                memcpy(&u, &g[i], sizeof u);
                hash = (hash ^ u) * 0x100000001b3ULL;
            }
            T_OK(ks_comm_check_equal(comm, "gradient", hash));
        }
    }
    double all = (double)own;
    T_OK(ks_comm_host_sum(comm, "own elements", 1, &all));
    T_CHECK(all == (double)ks_params_n_scalar(params) * (s->shard ? 1 : s->size), "%g elements are somebody's", all);
    if (s->number && rank == 0)
        printf("sum, %d ranks, fp%d%s, buckets of %lld bytes: %.2f of the bar\n", s->size, is64 ? 64 : 32,
               s->wire_bf16 ? ", bf16 wire" : "", (long long)s->bucket_bytes, margin);
    const int64_t n = ks_params_total(params), elem = (int64_t)ks_params_elem_bytes(params);
    const int64_t bytes = ks_reducer_param_bytes(params, comm, &opt), most = s->wire_bf16 && r ? 2 * (n + 128) : 0;
    T_CHECK(bytes >= 2 * n * elem + 2 * elem * ks_params_n_moment(params) && bytes - most <= 4 * n * elem &&
                (!s->shard || ks_params_n_moment(params) <= n / s->size + 32),
            "%lld bytes, %lld moments", (long long)bytes, (long long)ks_params_n_moment(params));
    ks_reducer_destroy(&r);
    ks_params_destroy(&params);
}

/* ---- steps: the mean of targets under AdamW, the targets shared out ---- */

enum { N_SAMPLE = 12, N_STEP = 30 };

static double g_target[N_SAMPLE][MOST];

static void make_targets(void) {
    for (int64_t q = 0; q < N_SAMPLE; q++)
        for (int64_t i = 0; i < MOST; i++)
            g_target[q][i] = 2 + ks_rng_normal(7, KS_STREAM_TEST, (uint32_t)q, (uint64_t)i);
}
static ks_optim_options optimiser(void) {
    return (ks_optim_options){.lr           = 0.05,
                              .lr_min       = 0.01,
                              .beta1        = 0.9,
                              .beta2        = 0.95,
                              .eps          = 1e-12,
                              .weight_decay = 0.1,
                              .clip         = 5,
                              .warmup       = 3,
                              .steps        = 3 * N_STEP};
}

/* Step `step` over the samples lo .. hi-1 of this rank; the loss 1/2 sum (x - t)^2 / N_SAMPLE over all of them. */
static double step_once(ks_reducer *r, ks_params *p, int64_t lo, int64_t hi, int64_t step) {
    const ks_optim_options o                = optimiser();
    double                 state[KS_STEP_N] = {0}, terms[2] = {0, (double)(hi - lo)}, squares = NAN, x[MOST], g[MOST];
    double                *state_b = up(state, KS_STEP_N), *terms_b = NULL, *squares_b = up(&squares, 1);
    get(p, 'p', 0, ks_params_total(p), x);
    for (int64_t q = lo; q < hi; q++)
        for (int64_t k = 0; k < N_PARAM; k++)
            for (int64_t j = 0; j < ks_params_get(p, k)->size; j++) {
                const double d = x[ks_params_get(p, k)->offset + j] - g_target[q][ks_params_get(p, k)->offset + j];
                terms[0] += 0.5 * d * d / N_SAMPLE;
            }
    terms_b = up(terms, 2);
    T_OK(ks_params_zero_grad(p));
    T_OK(ks_optim_upload(g_ctx, &o, step, state_b));
    T_OK(ks_reducer_begin(r));
    for (int64_t k = N_PARAM - 1; k >= 0; k--) {
        const ks_param *t = ks_params_get(p, k);
        for (int64_t i = 0; i < t->size; i++) {
            g[i] = 0;
            for (int64_t q = lo; q < hi; q++) g[i] += (x[t->offset + i] - g_target[q][t->offset + i]) / N_SAMPLE;
        }
        put(p, 'g', t->offset, t->size, g);
        if (hi > lo) T_OK(ks_params_ready(p, k));
    }
    T_OK(ks_reducer_end(r, 2, terms_b, 0, NULL));
    T_OK(ks_reducer_update(g_ctx, r, p, &o, N_SAMPLE, terms_b + 1, squares_b, state_b));
    down(&state_b, state, KS_STEP_N);
    down(&terms_b, terms, 2);
    down(&squares_b, &squares, 1);
    T_CHECK(state[KS_STEP_OK] == 1.0 && terms[1] == N_SAMPLE && squares > 0, "step %lld: %g samples", (long long)step,
            terms[1]);
    return terms[0];
}

static double distance(ks_params *a, ks_params *b, char which) {
    double worst = 0, x[MOST], y[MOST];
    get(a, which, 0, ks_params_total(a), x);
    get(b, which, 0, ks_params_total(a), y);
    for (int64_t i = 0; i < ks_params_total(a); i++) worst = t_worse(worst, fabs(x[i] - y[i]));
    return worst;
}

static double bar_of(const scene *s) { return s->precision == KS_FP64 ? 4e-14 : 1e-5; }

static void play_steps(ks_comm *comm, const scene *s) {
    const ks_reducer_options opt = options(s);
    ks_params               *p = make_params(s->precision), *ref = make_params(s->precision);
    ks_reducer              *r = NULL;
    int64_t                  lo, hi;
    double                   loss = 0, loss0 = 0, ref_loss = 0, worst = 0;
    ks_comm_share(comm, N_SAMPLE, &lo, &hi);
    if (s->number)
        lo = ks_comm_rank(comm) ? hi : 0, hi = ks_comm_rank(comm) ? hi : N_SAMPLE; /* the others have nothing */
    T_OK(ks_reducer_create(g_ctx, comm, p, &opt, &r));
    for (int64_t step = 1; step <= N_STEP; step++) {
        loss     = step_once(r, p, lo, hi, step);
        ref_loss = step_once(NULL, ref, 0, N_SAMPLE, step);
        if (step == 1) loss0 = loss;
        check_weights(comm, p);
    }
    worst = distance(p, ref, 'p');
    /* Weights of size 1 after 30 steps of 0.05. A rounding of the gradient is one of m / sqrt(v), whose size is about 1:
     * steps x lr x a few eps, and where the samples cancel to a small gradient by that ratio more. bf16: 2^-8 of the
     * parts. Measured 2e-15, 7e-7, 6e-3. */
    const double bar = s->wire_bf16 && s->size > 1 ? 0.05 : bar_of(s);
    T_CHECK(worst <= bar, "weights differ from one rank's by %.2e, bar %.0e", worst, bar);
    T_CHECK(loss < 0.7 * loss0 && loss0 > 1000, "loss from %g to %g: nothing is learned", loss0, loss);
    T_CLOSE(loss, ref_loss, 0, s->wire_bf16 ? 1e-3 : s->precision == KS_FP64 ? 1e-13 : 1e-6);
    if (ks_comm_rank(comm) == 0)
        printf("steps, %d ranks, fp%d%s%s: weights off by %.1e, bar %.0e; loss %.4g to %.4g\n", s->size,
               s->precision == KS_FP64 ? 64 : 32, s->wire_bf16 ? ", bf16 wire" : "", s->shard ? ", shards" : "", worst,
               bar, loss0, loss);
    ks_reducer_destroy(&r);
    ks_params_destroy(&p);
    ks_params_destroy(&ref);
}

/* A gradient that is not finite on the last rank: nobody steps. */
static void play_spoilt(ks_comm *comm, const scene *s) {
    const ks_reducer_options opt = options(s);
    const ks_optim_options   o   = optimiser();
    ks_params               *p = make_params(s->precision), *before = make_params(s->precision);
    ks_reducer              *r                = NULL;
    double                   state[KS_STEP_N] = {0}, counted = 1, x[MOST];
    double                  *state_b = up(state, KS_STEP_N), *counted_b = up(&counted, 1), *squares_b = up(&counted, 1);
    T_OK(ks_reducer_create(g_ctx, comm, p, &opt, &r));
    T_OK(ks_optim_upload(g_ctx, &o, 1, state_b));
    T_OK(ks_params_zero_grad(p));
    T_OK(ks_reducer_begin(r));
    for (int64_t i = 0; i < ks_params_total(p); i++) x[i] = 1;
    if (ks_comm_rank(comm) == s->size - 1) x[s->number] = NAN;
    put(p, 'g', 0, ks_params_total(p), x);
    T_OK(ks_reducer_end(r, 1, counted_b, 0, NULL));
    T_OK(ks_reducer_update(g_ctx, r, p, &o, s->size, counted_b, squares_b, state_b));
    down(&state_b, state, KS_STEP_N);
    down(&counted_b, &counted, 1);
    down(&squares_b, x, 1);
    T_CHECK(state[KS_STEP_OK] == 0.0 && distance(p, before, 'p') == 0,
            "rank %d steps with a gradient that is not finite", ks_comm_rank(comm));
    ks_reducer_destroy(&r);
    ks_params_destroy(&p);
    ks_params_destroy(&before);
}

/* Gradient and step recorded once and replayed with other gradients: the same as queued. */
static void play_recorded(ks_comm *comm, const scene *s) {
    const ks_reducer_options opt = options(s);
    const ks_optim_options   o   = optimiser();
    ks_params               *p = make_params(s->precision), *q = make_params(s->precision);
    ks_reducer              *rp = NULL, *rq = NULL;
    ks_graph                *graph            = NULL;
    double                   state[KS_STEP_N] = {0}, terms[3] = {0};
    double                  *state_b = up(state, KS_STEP_N), *terms_b = up(terms, 3), x[MOST];
    T_OK(ks_reducer_create(g_ctx, comm, p, &opt, &rp));
    T_OK(ks_reducer_create(g_ctx, comm, q, &opt, &rq));
    for (int step = 0; step < 4; step++)
        for (int recorded = 0; recorded < (ks_ctx_has_graphs(g_ctx) ? 2 : 1); recorded++) {
            ks_params  *w = recorded ? p : q;
            ks_reducer *r = recorded ? rp : rq;
            for (int64_t i = 0; i < ks_params_total(w); i++) x[i] = part(w, step, ks_comm_rank(comm), i);
            T_OK(ks_params_zero_grad(w));
            for (int64_t k = 0; k < N_PARAM; k++)
                put(w, 'g', ks_params_get(w, k)->offset, ks_params_get(w, k)->size, x + ks_params_get(w, k)->offset);
            terms[0] = 1, terms[1] = ks_comm_rank(comm);
            T_OK(ks_mem_to_backend(g_ctx, terms_b, terms, sizeof terms));
            T_OK(ks_optim_upload(g_ctx, &o, step + 1, state_b));
            if (recorded && step == 1) T_OK(ks_graph_begin(g_ctx)); /* the first one grows the scratch */
            if (!recorded || step < 2) {
                T_OK(ks_reducer_begin(r));
                for (int64_t k = N_PARAM - 1; k >= 0; k--) T_OK(ks_params_ready(w, k));
                T_OK(ks_reducer_end(r, 1, terms_b, 1, terms_b + 1));
                T_OK(ks_reducer_update(g_ctx, r, w, &o, s->size, terms_b, terms_b + 2, state_b));
            }
            if (recorded && step == 1) T_OK(ks_graph_end(g_ctx, &graph));
            if (recorded && step >= 1) T_OK(ks_graph_launch(graph));
            T_OK(ks_mem_to_host(g_ctx, terms, terms_b, sizeof terms));
            T_OK(ks_mem_to_host(g_ctx, state, state_b, sizeof state));
            T_CHECK(terms[0] == s->size && terms[1] == 0 && state[KS_STEP_OK] == 1.0, "step %d: %g %g", step, terms[0],
                    terms[1]);
        }
    if (graph) T_CHECK(distance(p, q, 'p') == 0, "recorded steps differ by %g", distance(p, q, 'p'));
    check_weights(comm, q);
    ks_graph_destroy(&graph);
    down(&state_b, state, KS_STEP_N);
    down(&terms_b, terms, 3);
    ks_reducer_destroy(&rp);
    ks_reducer_destroy(&rq);
    ks_params_destroy(&p);
    ks_params_destroy(&q);
}

/* ---- a run that goes from 3 ranks to 1 to 2, its state in a file ---- */

static void file_of(char out[128], int64_t leg) { snprintf(out, 128, "%s/leg%lld", t_dir, (long long)leg); }

/* Weights and moments; those in host memory, or of the registry. */
static void write_state(ks_params *p, const ks_moments *m, int64_t leg) {
    const size_t n = (size_t)ks_params_total(p), elem = ks_params_elem_bytes(p);
    double       raw[3][MOST];
    char         path[128];
    T_OK(ks_mem_to_host(g_ctx, raw[0], ks_params_flat(p, 'p'), n * elem));
    if (m->m) memcpy(raw[1], m->m, n * elem), memcpy(raw[2], m->v, n * elem);
    else {
        T_OK(ks_mem_to_host(g_ctx, raw[1], ks_params_flat(p, 'm'), n * elem));
        T_OK(ks_mem_to_host(g_ctx, raw[2], ks_params_flat(p, 'v'), n * elem));
    }
    file_of(path, leg);
    FILE *f = fopen(path, "wb");
    T_CHECK(f && fwrite(raw, sizeof raw, 1, f) == 1, "%s", path);
    if (f) fclose(f);
}
static void read_state(ks_params *p, ks_moments *m, int64_t leg) {
    const size_t n = (size_t)ks_params_total(p), elem = ks_params_elem_bytes(p);
    double       raw[3][MOST] = {{0}};
    char         path[128];
    file_of(path, leg);
    FILE *f = fopen(path, "rb");
    T_CHECK(f && fread(raw, sizeof raw, 1, f) == 1, "%s", path);
    if (f) fclose(f);
    T_OK(ks_mem_to_backend(g_ctx, ks_params_flat(p, 'p'), raw[0], n * elem));
    if (m->m) memcpy(m->m, raw[1], n * elem), memcpy(m->v, raw[2], n * elem);
    else {
        T_OK(ks_mem_to_backend(g_ctx, ks_params_flat(p, 'm'), raw[1], n * elem));
        T_OK(ks_mem_to_backend(g_ctx, ks_params_flat(p, 'v'), raw[2], n * elem));
    }
}

/* Leg `number` of three. */
static void play_leg(ks_comm *comm, const scene *s) {
    const ks_reducer_options opt = options(s);
    ks_params               *p   = make_params(s->precision);
    ks_reducer              *r   = NULL;
    ks_moments               old = {0}, m = {0};
    int64_t                  lo, hi;
    ks_comm_share(comm, N_SAMPLE, &lo, &hi);
    T_OK(ks_reducer_create(g_ctx, comm, p, &opt, &r));
    T_OK(ks_reducer_moments_room(r, &old));
    T_CHECK((old.m != NULL) == (r && s->shard), "room for moments");
    if (s->number > 0) {
        read_state(p, &old, s->number - 1);
        T_OK(ks_reducer_set_moments(r, &old));
        T_OK(ks_reducer_gather_moments(r, &m)); /* what went in comes out */
        const size_t bytes = (size_t)ks_params_total(p) * ks_params_elem_bytes(p);
        if (m.m) T_CHECK(!memcmp(m.m, old.m, bytes) && !memcmp(m.v, old.v, bytes), "moments change on their way");
        T_CHECK((m.m != NULL) == (r && s->shard && ks_comm_rank(comm) == 0), "whole moments on rank 0 alone");
        ks_moments_clear(&m);
    } else if (r && s->shard) {
        T_ERR(ks_reducer_set_moments(r, &m), KS_ERR_ARG);
    }
    for (int64_t step = 1; step <= N_STEP / 3; step++) step_once(r, p, lo, hi, s->number * (N_STEP / 3) + step);
    T_OK(ks_reducer_gather_moments(r, &m));
    if (ks_comm_rank(comm) == 0) write_state(p, &m, s->number);
    ks_moments_clear(&m);
    ks_moments_clear(&old);
    ks_reducer_destroy(&r);
    ks_params_destroy(&p);
}

static void play_whole_run(ks_comm *comm, const scene *s) {
    ks_params *p = make_params(s->precision), *q = make_params(s->precision);
    ks_moments none = {0};
    (void)comm;
    for (int64_t step = 1; step <= N_STEP; step++) step_once(NULL, p, 0, N_SAMPLE, step);
    read_state(q, &none, 2);
    const double worst = distance(p, q, 'p'), bar = bar_of(s);
    printf("3 ranks, then 1, then 2, fp%d: weights off by %.1e\n", s->precision == KS_FP64 ? 64 : 32, worst);
    T_CHECK(worst <= bar && worst >= 0, "weights differ from one rank's by %.2e", worst);
    const double moment = t_worse(distance(p, q, 'm'), distance(p, q, 'v'));
    T_CHECK(moment <= bar, "moments differ by %.2e", moment);
    ks_params_destroy(&p);
    ks_params_destroy(&q);
}

/* ---- refusals, failing allocations ---- */

static void play_faults(ks_comm *comm, const scene *s) {
    ks_reducer_options opt    = options(s);
    ks_reducer        *r      = NULL;
    int                failed = 0;
    for (int n = 1; n < 20; n++) { /* not collective: no rank waits for another */
        ks_params *p = make_params(s->precision);
        ks_alloc_fail_after(n);
        const ks_status st = ks_reducer_create(g_ctx, comm, p, &opt, &r);
        ks_alloc_fail_after(0);
        T_CHECK(st == KS_OK || (st == KS_ERR_NOMEM && !r), "allocation %d: %s", n, ks_status_text(st));
        ks_reducer_destroy(&r);
        ks_params_destroy(&p);
        if (st == KS_OK) break;
        failed++;
    }
    T_CHECK(failed == 1 + (s->wire_bf16 ? 1 : 0) + (s->shard ? 3 : 0), "%d allocations", failed);
    ks_params *p     = make_params(s->precision);
    opt.bucket_bytes = -1;
    T_ERR(ks_reducer_create(g_ctx, comm, p, &opt, &r), KS_ERR_ARG);
    T_ERR(ks_reducer_create(g_ctx, comm, p, NULL, &r), KS_ERR_ARG);
    ks_params_destroy(&p);
}

/* ---- time ---- */

static void play_time(ks_comm *comm, const scene *s) {
    const ks_reducer_options opt    = options(s);
    const int64_t            n      = s->number;
    ks_params               *params = NULL;
    ks_reducer              *r      = NULL;
    int64_t                  index;
    T_OK(ks_params_create(g_ctx, KS_FP32, &params));
    T_OK(ks_params_add(params, "p", 1, &n, KS_INIT_ZERO, 0, 1, &index));
    T_OK(ks_params_finish(params, 1));
    T_OK(ks_params_shard(params, 0)); /* no moments: this is about the gradient */
    T_OK(ks_reducer_create(g_ctx, comm, params, &opt, &r));
    for (int k = 0; k < 3; k++) {
        T_OK(ks_comm_barrier(comm, "time"));
        const double start = ks_wall_seconds();
        T_OK(ks_reducer_begin(r));
        T_OK(ks_reducer_end(r, 0, NULL, 0, NULL));
        T_OK(ks_sync(g_ctx));
        const double t = ks_wall_seconds() - start;
        if (ks_comm_rank(comm) == 0)
            printf("%d ranks, %lld floats%s: %.3f s, %.2f GB/s of gradient\n", s->size, (long long)n,
                   s->wire_bf16 ? " as bf16" : "", t, 4e-9 * (double)n / t);
    }
    ks_reducer_destroy(&r);
    ks_params_destroy(&params);
}

int main(int argc, char **argv) {
    const ks_precision both[2] = {KS_FP64, KS_FP32};
    g_argc                     = argc;
    g_argv                     = argv;
    if (argc > 3 && !strcmp(argv[2], "time")) {
        scene s = {play_time, argc > 4 ? atoi(argv[4]) : 2, KS_FP32, 25 << 20, 0, 0, atoll(argv[3]) * 1000000};
        play(&s);
        s.wire_bf16 = 1;
        play(&s);
        return t_done("reducer", 4);
    }
    make_targets();
    snprintf(t_dir, sizeof t_dir, "/tmp/ksgrad-reducer-XXXXXX");
    if (!mkdtemp(t_dir)) return 1;
    /* One bucket larger than all, many, the least one, one cut in the middle of a parameter. */
    const int64_t bucket[] = {1 << 20, 2048, 0, 9000};
    for (int size = 1; size <= 4; size++)
        for (int k = 0; k < 4; k++)
            for (int how = 0; how < 4; how++) {
                if ((size == 1 && k + how) || (how > 0 && k != size % 4 && k != 1)) continue;
                play(&(scene){play_sums, size, both[(k + size + how) % 2], bucket[k], how & 1, how >> 1, k == 1});
            }
    for (int size = 1; size <= 4; size++)
        for (int how = 0; how < 4; how++)
            play(
                &(scene){play_steps, size, both[(size + how / 2) % 2], bucket[how == 3 ? 3 : 1], how & 1, how >> 1, 0});
    play(&(scene){play_steps, 2, KS_FP64, 4096, 0, 0, 1}); /* rank 1 has no samples */
    play(&(scene){play_steps, 3, KS_FP64, 4096, 0, 1, 1});
    play(&(scene){play_spoilt, 3, KS_FP32, 4096, 0, 0, 0});
    play(&(scene){play_spoilt, 3, KS_FP32, 4096, 0, 1, 4321});
    play(&(scene){play_spoilt, 2, KS_FP64, 4096, 1, 1, 17});
    for (int how = 0; how < 4; how++)
        play(&(scene){play_recorded, 2 + (how == 2), KS_FP32, 2048, how & 1, how >> 1, 0});
    for (int k = 0; k < 2; k++) {
        const int skipped = g_skipped;
        play(&(scene){play_leg, 3, both[k], 4096, 0, 1, 0});
        if (g_skipped > skipped) continue; /* nothing to go on from */
        play(&(scene){play_leg, 1, both[k], 4096, 0, 1, 1});
        play(&(scene){play_leg, 2, both[k], 9000, 0, 1, 2});
        play(&(scene){play_whole_run, 1, both[k], 4096, 0, 0, 0});
    }
    play(&(scene){play_faults, 2, KS_FP32, 4096, 1, 1, 0});
    play(&(scene){play_faults, 2, KS_FP32, 4096, 0, 0, 0});
    char path[128];
    for (int64_t leg = 0; leg < 3; leg++) {
        file_of(path, leg);
        T_CHECK(unlink(path) == 0 || g_skipped, "%s", path);
    }
    rmdir(t_dir);
    if (g_skipped) printf("%d of %d scenes need more GPUs than there are\n", g_skipped, g_scenes);
    return t_done("reducer", g_skipped ? 300 : 100000);
}
