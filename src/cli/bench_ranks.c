/* bench_ranks.c -- bench train on several ranks: how a training step scales.
 *
 * The step is timed in three ways, in turn, so that what else the machine does meets all of them:
 *   alone     rank 0 with all frames, the others wait
 *   together  every rank with its share of the frames, the gradient reduced as in training
 *   compute   the same shares, all at once, nothing travels
 * The wait is that part of `together` in which the host waits for other ranks. Speed-up is alone / together,
 * efficiency of the job that over the number of ranks; a rank's own efficiency is compute / together, which leaves out
 * what ranks of one host take from each other. */
#include <math.h>
#include <string.h>
#include "cli/bench.h"

typedef struct timed_step { /* a way to run a step, with its recording */
    bench      *b;
    ks_model   *model;
    ks_reducer *reducer;
    ks_graph   *graph;
    int64_t     number;
    double     *seconds, *wait; /* (repeat) */
} timed_step;

typedef struct rank_time { /* medians, seconds of one step */
    double step, compute, wait, alone;
    double frames;
} rank_time;

typedef struct ranks_bench {
    const bench_args *a;
    ks_comm          *comm;
    bench             share, all; /* all: rank 0 only */
    ks_model         *free_model; /* for steps without communication, where the moments are sharded */
    ks_reducer       *reducer;
    rank_time        *time; /* (size) */
} ranks_bench;

/* Run k, all at once where all do it; those below 0 are not counted. */
static ks_status run_step(ranks_bench *r, timed_step *w, const bench_op *op, int k) {
    ks_status st   = KS_OK;
    bench    *b    = w->b;
    ks_model *kept = b->model;
    KS_TRY(ks_comm_barrier(r->comm, "bench"));
    const double start = ks_wall_seconds(), waited = ks_comm_wait_seconds(r->comm);
    b->model   = w->model;
    b->reducer = w->reducer;
    st         = bench_run(b, op, w->number++, &w->graph);
    if (st == KS_OK) st = ks_sync(b->ctx);
    b->model   = kept;
    b->reducer = NULL;
    KS_TRY(st);
    if (k >= 0) w->seconds[k] = ks_wall_seconds() - start;
    if (k >= 0) w->wait[k] = ks_comm_wait_seconds(r->comm) - waited;
done:
    return st;
}

static ks_status time_steps(ranks_bench *r, const bench_op *op) {
    ks_status     st     = KS_OK;
    const int64_t repeat = r->a->repeat;
    const int     rank   = ks_comm_rank(r->comm);
    timed_step    alone  = {.b = &r->all, .model = r->all.model};
    timed_step    both   = {.b = &r->share, .model = r->share.model, .reducer = r->reducer};
    timed_step    apart  = {.b = &r->share, .model = r->free_model ? r->free_model : r->share.model};
    timed_step   *way[]  = {&alone, &both, &apart};
    for (int k = 0; k < 3; k++) {
        KS_TRY(KS_NEW(way[k]->seconds, repeat));
        KS_TRY(KS_NEW(way[k]->wait, repeat));
    }
    for (int k = -(int)r->a->warmup; k < (int)repeat; k++) {
        if (rank == 0) KS_TRY(run_step(r, &alone, op, k));
        else KS_TRY(ks_comm_barrier(r->comm, "bench"));
        KS_TRY(ks_comm_barrier(r->comm, "bench: one rank alone"));
        KS_TRY(run_step(r, &both, op, k));
        KS_TRY(run_step(r, &apart, op, k));
    }
    const rank_time mine = {.step    = bench_median(repeat, both.seconds),
                            .compute = bench_median(repeat, apart.seconds),
                            .wait    = bench_median(repeat, both.wait),
                            .alone   = rank == 0 ? bench_median(repeat, alone.seconds) : 0,
                            .frames  = (double)r->share.n_frame};
    KS_TRY(ks_comm_host_gather(r->comm, "bench", sizeof mine, &mine, r->time));
done:
    for (int k = 0; k < 3; k++) {
        ks_graph_destroy(&way[k]->graph);
        KS_FREE(way[k]->seconds);
        KS_FREE(way[k]->wait);
    }
    return st;
}

static void report(ranks_bench *r, const bench_op *op, json_t *ops) {
    const int       size    = ks_comm_size(r->comm);
    const double    frames  = (double)r->share.n_global;
    const rank_time first   = r->time[0];
    const int       on_host = ks_ctx_is_host(r->share.ctx); /* else it is the device that waits, unseen */
    double          step    = 0;
    json_t         *ranks   = json_array();
    for (int k = 0; k < size; k++)
        if (r->time[k].step > step) step = r->time[k].step;
    printf("%s: %s\n%5s %-16s %7s %11s %11s %11s %11s %11s\n", op->name, op->note, "rank", "host", "frames", "step ms",
           "compute ms", "wait ms", "wait", "efficiency");
    for (int k = 0; k < size; k++) {
        const rank_time *t = &r->time[k];
        printf("%5d %-16s %7.0f %11.3f %11.3f ", k, ks_comm_host(r->comm, k), t->frames, 1e3 * t->step,
               1e3 * t->compute);
        if (on_host) printf("%11.3f %9.1f %%", 1e3 * t->wait, 100 * t->wait / t->step);
        else printf("%11s %11s", "-", "-");
        printf(" %9.1f %%\n", 100 * t->compute / t->step);
        json_array_append_new(ranks,
                              json_pack("{s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "rank", k, "host",
                                        ks_comm_host(r->comm, k), "frames", ks_json_real(t->frames), "step_seconds",
                                        ks_json_real(t->step), "compute_seconds", ks_json_real(t->compute),
                                        "wait_seconds", ks_json_real(on_host ? t->wait : NAN), "wait_share",
                                        ks_json_real(on_host ? t->wait / t->step : NAN), "rank_efficiency",
                                        ks_json_real(t->compute / t->step)));
    }
    printf(
        "%.0f frames: %d ranks %.3f ms, %.2f frames/s; one rank alone %.3f ms, %.2f frames/s: %.2f times, efficiency "
        "%.1f %%\n",
        frames, size, 1e3 * step, frames / step, 1e3 * first.alone, frames / first.alone, first.alone / step,
        100 * first.alone / step / size);
    fflush(stdout);
    json_array_append_new(ops,
                          json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "op", op->name, "seconds",
                                    ks_json_real(step), "frames_per_s", ks_json_real(frames / step), "alone_seconds",
                                    ks_json_real(first.alone), "alone_frames_per_s", ks_json_real(frames / first.alone),
                                    "speedup", ks_json_real(first.alone / step), "efficiency",
                                    ks_json_real(first.alone / step / size), "ranks", ranks));
}

static ks_status open_ranks(ranks_bench *r) {
    ks_status                st     = KS_OK;
    const ks_config         *c      = &r->share.config;
    const ks_reducer_options reduce = {.bucket_bytes = (int64_t)(c->comm.bucket_mib * 1048576),
                                       .wire_bf16    = c->comm.wire,
                                       .shard        = c->comm.shard_moments};
    KS_TRY(KS_NEW(r->time, ks_comm_size(r->comm)));
    KS_TRY(bench_open(&r->share, r->a, r->comm, 1));
    if (ks_comm_rank(r->comm) == 0) {
        bench_args whole = *r->a;
        char       selection[64];
        snprintf(selection, sizeof selection, "0:%d", ks_comm_size(r->comm));
        if (!whole.frames) whole.frames = selection;
        KS_TRY(bench_open(&r->all, &whole, NULL, 1));
    }
    KS_TRY(ks_comm_barrier(r->comm, "bench: set-up"));
    KS_TRY(ks_reducer_create(r->share.ctx, r->comm, ks_model_params(r->share.model), &reduce, &r->reducer));
    if (reduce.shard) {
        ks_model_options opt = c->model.options;
        opt.n_ao_kind        = r->share.t->sys->n_ao_kind;
        KS_TRY(ks_model_create(r->share.ctx, &opt, (uint64_t)c->run.seed, &r->free_model));
        if (opt.frame == KS_FRAME_KABSCH)
            KS_TRY(ks_model_set_reference(r->free_model, r->share.t->sys->n_atom, r->share.t->sys->Z, r->share.pos));
    }
done:
    return st;
}

ks_status bench_ranks(const bench_args *a, const ks_config *config, ks_comm *comm, ks_ctx *ctx) {
    ks_status   st  = KS_OK;
    json_t     *ops = json_array();
    ranks_bench r   = {.a = a, .comm = comm};
    r.share.config = r.all.config = *config;
    r.share.ctx = r.all.ctx = ctx;
    int n_wanted            = 0;
    KS_TRY(open_ranks(&r));
    printf("%s x %lld on %d ranks, %d host%s, transport %s; %s/%s (%lld AOs), grid level %d, %s, %d threads, %s; "
           "network d "
           "%lld, heads %lld, layers %lld, %lld parameters; refinement %s\n",
           r.share.t->sys->formula, (long long)r.share.n_global, ks_comm_size(comm), ks_comm_n_host(comm),
           ks_comm_n_host(comm) == 1 ? "" : "s", ks_comm_transport(comm), r.share.method.xc->name,
           ks_basis_name(r.share.basis), (long long)r.share.n, r.share.method.grid_level, ks_ctx_backend(ctx),
           ks_ctx_threads(ctx), ks_cpu_isa(), (long long)config->model.options.d_model,
           (long long)config->model.options.heads, (long long)config->model.options.layers,
           (long long)ks_params_n_scalar(ks_model_params(r.share.model)), ks_refine_kind_name(config->refine.kind));
    for (int k = 0; k < bench_n_op; k++) {
        const bench_op *op = &bench_ops[k];
        if ((strcmp(op->name, "step") != 0 && strcmp(op->name, "train") != 0) || !bench_is_wanted(a, op)) continue;
        n_wanted++;
        KS_TRY(time_steps(&r, op));
        report(&r, op, ops);
    }
    KS_CHECK(n_wanted, KS_ERR_ARG, "--only %s: several ranks time step and train", a->only);
    if (a->json && ks_comm_rank(comm) == 0)
        KS_TRY(ks_json_save(a->json, json_pack("{s:s, s:I, s:I, s:o, s:s, s:i, s:i, s:i, s:s, s:I, s:O}", "formula",
                                               r.share.t->sys->formula, "n_frame", (json_int_t)r.share.n_global, "n_ao",
                                               (json_int_t)r.share.n, "method",
                                               ks_json_method(&r.share.method, ks_basis_name(r.share.basis)), "backend",
                                               ks_ctx_backend(ctx), "threads", ks_ctx_threads(ctx), "n_rank",
                                               ks_comm_size(comm), "n_host", ks_comm_n_host(comm), "transport",
                                               ks_comm_transport(comm), "repeat", (json_int_t)a->repeat, "ops", ops)));
done:
    json_decref(ops);
    KS_FREE(r.time);
    ks_reducer_destroy(&r.reducer);
    ks_model_destroy(&r.free_model);
    bench_free(&r.share);
    bench_free(&r.all);
    return st;
}
