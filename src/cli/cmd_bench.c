/* cmd_bench.c -- times of the operations, of an SCF and of a training step on one molecule; of what connects ranks. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/bench.h"

typedef struct bench_time {
    double     wall, wall_min, wall_max, cpu; /* seconds; medians */
    bench_work work;
} bench_time;

/* ---- timing ---- */

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
double bench_median(int64_t n, double *v) {
    qsort(v, (size_t)n, sizeof *v, by_size);
    return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

ks_status bench_run(bench *b, const bench_op *op, int64_t number, ks_graph **graph) {
    ks_status st = KS_OK;
    if (op->before) KS_TRY(op->before(b));
    if (!op->record || !b->config.device.graphs || !ks_ctx_has_graphs(b->ctx) || number == 0) {
        KS_TRY(op->run(b));
        goto done;
    }
    if (!*graph) {
        KS_TRY(ks_graph_begin(b->ctx));
        const ks_status run = op->run(b);
        st                  = ks_graph_end(b->ctx, run == KS_OK ? graph : NULL);
        KS_TRY(run);
        KS_TRY(st);
    }
    KS_TRY(ks_graph_launch(*graph));
done:
    return st;
}

static ks_status time_op(bench *b, const bench_op *op, int warmup, int repeat, bench_time *out) {
    ks_status st   = KS_OK;
    double   *wall = NULL, *cpu = NULL;
    ks_graph *graph = NULL;
    KS_TRY(KS_NEW(wall, repeat));
    KS_TRY(KS_NEW(cpu, repeat));
    for (int k = -warmup; k < repeat; k++) {
        const double w0 = ks_wall_seconds(), c0 = ks_cpu_seconds();
        KS_TRY(bench_run(b, op, k + warmup, &graph));
        KS_TRY(ks_sync(b->ctx));
        if (k < 0) continue;
        wall[k] = ks_wall_seconds() - w0;
        cpu[k]  = ks_cpu_seconds() - c0;
    }
    out->wall     = bench_median(repeat, wall);
    out->wall_min = wall[0];
    out->wall_max = wall[repeat - 1];
    out->cpu      = bench_median(repeat, cpu);
    KS_TRY(bench_work_of(b, op, &out->work));
done:
    ks_graph_destroy(&graph);
    KS_FREE(wall);
    KS_FREE(cpu);
    return st;
}

/* ---- the verb ---- */

int bench_is_wanted(const bench_args *a, const bench_op *op) {
    if (!a->only) return !a->group || !strcmp(a->group, op->group);
    const size_t len = strlen(op->name);
    for (const char *p = a->only; *p;) {
        const size_t n = strcspn(p, ",");
        if (n == len && !strncmp(p, op->name, n)) return 1;
        p += n + (p[n] == ',');
    }
    return 0;
}

static ks_status check_only(const bench_args *a) {
    ks_status st       = KS_OK;
    char      all[400] = "";
    size_t    n_all    = 0;
    for (int k = 0; k < bench_n_op; k++)
        n_all += (size_t)snprintf(all + n_all, sizeof all - n_all, "%s%s", k ? ", " : "", bench_ops[k].name);
    for (const char *p = a->only; p && *p;) {
        const int n     = (int)strcspn(p, ",");
        int       known = 0;
        for (int k = 0; k < bench_n_op; k++)
            known |= (int)strlen(bench_ops[k].name) == n && !strncmp(bench_ops[k].name, p, (size_t)n);
        KS_CHECK(known, KS_ERR_ARG, "--only: unknown operation '%.*s' (%s)", n, p, all);
        p += n + (p[n] == ',');
    }
done:
    return st;
}

/* The shipped uracil sample. */
static ks_status default_geometry(char *path, size_t size) {
    ks_status st = KS_OK;
    char      folder[KS_CONFIG_PATH];
    for (int k = 0; ks_data_folder(k, folder, sizeof folder); k++)
        if ((size_t)snprintf(path, size, "%s/uracil-512.npz", folder) < size && access(path, R_OK) == 0) return KS_OK;
    KS_CHECK(0, KS_ERR_IO,
             "the sample uracil-512.npz is neither in the source tree nor beside the program (%s): name a "
             "geometry file",
             folder);
done:
    return st;
}

static json_t *ratio(double amount, double seconds) {
    return amount > 0 && seconds > 0 ? ks_json_real(amount / seconds) : json_null();
}

static json_t *time_json(const bench *b, const bench_op *op, const bench_time *t) {
    const int is_cuda = !ks_ctx_is_host(b->ctx);
    json_t   *o       = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "op", op->name, "what", op->note, "seconds",
                                  ks_json_real(t->wall), "seconds_min", ks_json_real(t->wall_min), "seconds_max",
                                  ks_json_real(t->wall_max), "cpu_seconds", ks_json_real(t->cpu));
    json_object_set_new(o, "gflops", ratio(1e-9 * t->work.flop, t->wall));
    json_object_set_new(o, "gbytes_per_s", ratio(1e-9 * t->work.bytes, t->wall));
    json_object_set_new(o, "frames_per_s", ratio((double)b->n_frame, t->wall));
    json_object_set_new(o, "budget_seconds",
                        is_cuda && t->work.budget > 0 ? ks_json_real(t->work.budget) : json_null());
    json_object_set_new(o, "budget_share", is_cuda ? ratio(t->work.budget, t->wall) : json_null());
    return o;
}

static void print_time(const bench *b, const bench_op *op, const bench_time *t, double peak_flop, double peak_bytes) {
    const double flop = 1e-9 * t->work.flop / t->wall, bytes = 1e-9 * t->work.bytes / t->wall;
    printf("%-9s %10.3f %10.3f %10.3f %10.3f %9.1f", op->name, 1e3 * t->wall, 1e3 * t->wall_min, 1e3 * t->wall_max,
           1e3 * t->cpu, (double)b->n_frame / t->wall);
    if (flop > 0) printf(" %9.2f %5.0f %%", flop, 100 * flop / peak_flop);
    else printf(" %9s %7s", "", "");
    if (bytes > 0) printf(" %8.2f %5.0f %%", bytes, 100 * bytes / peak_bytes);
    else printf(" %8s %7s", "", "");
    if (!ks_ctx_is_host(b->ctx) && t->work.budget > 0)
        printf(" %8.3f %5.0f %%", 1e3 * t->work.budget, 100 * t->work.budget / t->wall);
    else if (!ks_ctx_is_host(b->ctx)) printf(" %8s %7s", "", "");
    printf("  %s\n", op->note);
    fflush(stdout);
}

ks_status bench_config(const bench_args *a, ks_config *config) {
    ks_status          st       = KS_OK;
    int                n_set    = 0;
    const char        *all[300] = {"refine.kind=qpt"}; /* the published training step, unless --set says otherwise */
    const char *const *sets;
    KS_TRY(ks_cli_method_config(&a->method, config)); /* adds the short forms to the --set list */
    sets = ks_cli_sets(&n_set);
    memcpy(all + 1, sets, (size_t)n_set * sizeof *sets);
    KS_TRY(ks_config_load(NULL, n_set + 1, all, config));
done:
    return st;
}

ks_status bench_open(bench *b, const bench_args *a, const ks_comm *comm, int with_model) {
    ks_status  st = KS_OK;
    char       sample[KS_CONFIG_PATH], selection[64];
    ks_frames *all = NULL;
    int64_t    lo = 0, hi = 0;
    KS_TRY(ks_config_method(&b->config, &b->method));
    KS_TRY(ks_basis_load(b->config.method.basis, &b->basis));
    snprintf(selection, sizeof selection, "0:%d", ks_comm_size(comm)); /* one for each rank */
    if (!a->geometry) KS_TRY(default_geometry(sample, sizeof sample));
    KS_TRY(ks_cli_frames(a->geometry ? a->geometry : sample, a->frames ? a->frames : selection, &b->frames, &b->index));
    b->n_global = b->frames->n_frame;
    ks_comm_share(comm, b->n_global, &lo, &hi);
    KS_CHECK(hi > lo, KS_ERR_ARG, "--frames: %lld frames for %d ranks: one each at least", (long long)b->n_global,
             ks_comm_size(comm));
    memmove(b->index, b->index + lo, (size_t)(hi - lo) * sizeof *b->index);
    if (hi - lo < b->n_global) {
        int64_t *own = NULL;
        all          = b->frames;
        b->frames    = NULL;
        KS_TRY(KS_NEW(own, hi - lo));
        for (int64_t k = 0; k < hi - lo; k++) own[k] = lo + k;
        st = ks_frames_select(all, hi - lo, own, &b->frames);
        KS_FREE(own);
        KS_TRY(st);
    }
    const ks_chunk_options opt = {.max_frames = b->frames->n_frame, .n_matrix = 128, .number = b->index};
    KS_TRY(ks_chunks_create(b->ctx, b->basis, b->frames, &b->method, INT32_MIN, &opt, &b->chunks));
    KS_TRY(ks_chunks_next(b->chunks, &b->chunk));
    KS_CHECK(b->chunk.n_frame == b->frames->n_frame, KS_ERR_NOMEM, "%lld frames do not fit into memory at once",
             (long long)b->frames->n_frame);
    KS_CHECK(b->chunk.batch->n_segment == 1, KS_ERR_ARG, "the frames differ in composition: bench takes one");
    KS_TRY(bench_setup(b, with_model));
done:
    ks_frames_destroy(&all);
    return st;
}

static ks_status run_bench(bench *b, const bench_args *a) {
    ks_status st         = KS_OK;
    int       with_model = 0;
    double    peak_flop = 0, peak_bytes = 0;
    json_t   *ops = NULL, *all = NULL;
    for (int k = 0; k < bench_n_op; k++) with_model |= bench_is_wanted(a, &bench_ops[k]) && bench_ops[k].with_model;
    KS_TRY(bench_open(b, a, NULL, with_model));
    KS_TRY(bench_peak(b, &peak_flop, &peak_bytes));
    printf("%s x %lld, %s/%s (%lld AOs), grid level %d, %s, %d threads, %s; dgemm here %.1f GFLOP/s, copy %.1f GB/s\n",
           b->t->sys->formula, (long long)b->n_frame, b->method.xc->name, ks_basis_name(b->basis), (long long)b->n,
           b->method.grid_level, ks_ctx_backend(b->ctx), ks_ctx_threads(b->ctx), ks_cpu_isa(), peak_flop, peak_bytes);
    if (with_model)
        printf("network d %lld, heads %lld, layers %lld, %lld parameters; refinement %s, %d Fock builds\n",
               (long long)b->config.model.options.d_model, (long long)b->config.model.options.heads,
               (long long)b->config.model.options.layers, (long long)ks_params_n_scalar(ks_model_params(b->model)),
               ks_refine_kind_name(b->config.refine.kind),
               b->config.refine.n_build ? b->config.refine.n_build : ks_refine_default_builds(b->config.refine.kind));
    printf("%-9s %10s %10s %10s %10s %9s %9s %7s %8s %7s%s\n", "ms", "median", "least", "most", "cpu", "frames/s",
           "GFLOP/s", "of dgemm", "GB/s", "of copy", ks_ctx_is_host(b->ctx) ? "" : "  H200 ms   share");
    ops = json_array();
    for (int k = 0; k < bench_n_op; k++) {
        if (!bench_is_wanted(a, &bench_ops[k])) continue;
        bench_time t;
        KS_TRY(time_op(b, &bench_ops[k], (int)a->warmup, (int)a->repeat, &t));
        print_time(b, &bench_ops[k], &t, peak_flop, peak_bytes);
        json_array_append_new(ops, time_json(b, &bench_ops[k], &t));
    }
    if (b->scf_cycles) printf("scf: %d cycles\n", b->scf_cycles);
    if (a->json) {
        all = json_pack("{s:s, s:I, s:I, s:o, s:s, s:i, s:s, s:o, s:o, s:I, s:i, s:O}", "formula", b->t->sys->formula,
                        "n_frame", (json_int_t)b->n_frame, "n_ao", (json_int_t)b->n, "method",
                        ks_json_method(&b->method, ks_basis_name(b->basis)), "backend", ks_ctx_backend(b->ctx),
                        "threads", ks_ctx_threads(b->ctx), "isa", ks_cpu_isa(), "dgemm_gflops", ks_json_real(peak_flop),
                        "copy_gbytes_per_s", ks_json_real(peak_bytes), "repeat", (json_int_t)a->repeat, "scf_cycles",
                        b->scf_cycles, "ops", ops);
        KS_TRY(ks_json_save(a->json, all));
    }
done:
    if (ops) json_decref(ops);
    return st;
}

static int run(const bench_args *a) {
    ks_status st   = KS_OK;
    bench     b    = {0};
    ks_comm  *comm = NULL;
    ks_ctx   *ctx  = NULL;
    KS_TRY(check_only(a));
    KS_TRY(bench_config(a, &b.config));
    if (a->group && !strcmp(a->group, "train")) KS_TRY(ks_cli_ranks(&b.config, &comm, &ctx));
    else KS_TRY(ks_cli_ctx(b.config.device.backend, (int)b.config.device.threads, &ctx));
    b.ctx = ctx;
    if (comm) KS_TRY(bench_ranks(a, &b.config, comm, ctx));
    else KS_TRY(run_bench(&b, a));
done:
    bench_free(&b);
    const int code = ks_cli_finish(st);
    ks_comm_destroy(&comm);
    ks_ctx_destroy(&ctx);
    return code;
}

int ks_cmd_bench(int argc, char **argv) {
    bench_args       a     = {.repeat = 5, .warmup = 1};
    const ks_cli_opt opt[] = {
        {"frames", 'f', KS_OPT_TEXT, "SLICE",
         "frames of GEOM, as one batch of one composition, shared out over the ranks (default: one for each)",
         &a.frames},
        {"only", 0, KS_OPT_TEXT, "LIST", "these operations only, e.g. eri,jk,xc", &a.only},
        KS_METHOD_OPTS(a.method),
        {"repeat", 'n', KS_OPT_INT, "N", "timed runs of each operation, of which the median counts (default 5)",
         &a.repeat},
        {"warmup", 0, KS_OPT_INT, "N", "runs before them (default 1)", &a.warmup},
        {"sizes", 0, KS_OPT_TEXT, "LIST",
         "comm: bytes of the messages, e.g. 64K,1M,16M (default 4K to 256M, in host memory 64M)", &a.sizes},
        {"json", 'j', KS_OPT_TEXT, "FILE.json", "write the times as JSON", &a.json},
        {NULL, 0, KS_OPT_FLAG, NULL, NULL, NULL}};
    const ks_cli_spec spec = {
        "bench [ops|scf|train|comm] [GEOM] [options]",
        "Times of the integrals, grid, exchange-correlation and eigenproblem (ops), of a whole SCF (scf) and of a "
        "training\n"
        "step (train); these three without a group. GEOM defaults to the first frame of the shipped uracil sample. The "
        "step\n"
        "is the published one (network d 192, 6 heads, 12 layers, refine qpt) unless --set model.* and refine.* say "
        "otherwise.\n"
        "GFLOP/s and GB/s follow from the stated models of the work, shares from a dgemm and a copy timed on the same "
        "threads\n"
        "or GPU. With --backend cuda the parts of a step are recorded once and replayed (device.graphs), and the last "
        "columns\n"
        "are the time that cuda/README.md budgets for the same on an H200, and its share of the median.\n"
        "Started as several ranks, train reports how the step scales: against the same frames on one rank, and against "
        "the "
        "same\n"
        "share without communication, in turn; comm measures the connections (one rank has none: exit code 2).",
        "ksgrad bench ops --threads 2\nksgrad bench train --frames 0:64 --backend cuda --set refine.kind=none\nksgrad "
        "bench train water.xyz --grid 1 --set model.d_model=64 --json b.json\nmpirun -np 2 ksgrad bench comm --sizes "
        "64K,1M,16M\nmpirun -np 4 ksgrad bench train --frames 0:16",
        opt,
        0,
        2};
    const char *arg[KS_CLI_MAX_ARG];
    int         n_arg;
    const int   rc = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;
    int       at      = 0;
    const int is_comm = n_arg && !strcmp(arg[0], "comm");
    if (n_arg && (!strcmp(arg[0], "ops") || !strcmp(arg[0], "scf") || !strcmp(arg[0], "train") || is_comm))
        a.group = arg[at++];
    if (at < n_arg) a.geometry = arg[at++];
    if (at < n_arg)
        return ks_cli_usage_error("bench", "unexpected argument '%s' (groups are ops, scf, train, comm)", arg[at]);
    if (is_comm && (a.geometry || a.frames || a.only))
        return ks_cli_usage_error("bench", "bench comm has no GEOM, --frames or --only");
    if (!is_comm && a.sizes) return ks_cli_usage_error("bench", "--sizes is an option of bench comm");
    if (a.repeat < 1 || a.repeat > 10000 || a.warmup < 0 || a.warmup > 1000)
        return ks_cli_usage_error("bench", "--repeat wants 1..10000 and --warmup 0..1000");

    return is_comm ? bench_comm(&a) : run(&a);
}
