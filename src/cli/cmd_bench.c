/* cmd_bench.c -- times of the operations, of an SCF and of a training step on one molecule. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cblas.h>
#include <unistd.h>
#include "cli/work.h"
#include "ksgrad/linalg.h"
#include "ksgrad/optim.h"

typedef struct bench bench;

/* An operation: one run of it; flops and bytes of a run by the model that `note` states (0: no model). */
typedef struct bench_op {
    const char *name, *group; /* group: "ops", "scf", "train" */
    const char *note;
    ks_status (*run)(bench *b);
} bench_op;

typedef struct bench_time {
    double wall, wall_min, wall_max, cpu; /* seconds; medians */
    double flop, bytes;
} bench_time;

struct bench {
    ks_config   config;
    ks_method   method;
    ks_ctx     *ctx;
    ks_basis   *basis;
    ks_frames  *frames;
    int64_t    *index;
    ks_chunks  *chunks;
    ks_chunk    chunk;
    ks_tensors *t; /* the pool, refilled by the builds that are timed */
    int32_t    *slot;      /* backend */
    const int32_t *slot_host;
    ks_occ      occ;
    double     *terms, *state; /* backend: of the loss and of the optimiser, see op_step */
    double     *pos; /* host (B, n_atom, 3) */
    double     *b_pos;
    int64_t     n_frame, n, mat;
    double     *P, *F, *C, *C_occ, *eps, *J, *K, *E; /* backend */
    ks_model   *model;
    ks_refine  *refine;
    ks_loss    *loss;
    double     *W, *H0, *H0_bar;
    int64_t     step;
    int         scf_cycles;
};

/* ---- operations ---- */

static ks_status op_eri(bench *b) { return ks_eri_build(b->ctx, b->t->eri, b->n_frame, b->slot, b->b_pos); }
static ks_status op_jk(bench *b) { return ks_jk(b->ctx, b->t->eri, b->n_frame, b->slot, 1, b->P, b->J, b->K); }
static ks_status op_j(bench *b) { return ks_jk(b->ctx, b->t->eri, b->n_frame, b->slot, 1, b->P, b->J, NULL); }
static ks_status op_grid(bench *b) { return ks_grid_build(b->ctx, b->t->grid, b->n_frame, b->slot, b->b_pos); }
static ks_status op_xc(bench *b) {
    return ks_vxc_fwd(b->ctx, b->t->grid, b->method.xc, b->n_frame, b->slot, NULL, b->C_occ, &b->occ, b->E, NULL,
                      b->F);
}
static ks_status op_xc_dense(bench *b) {
    return ks_vxc_fwd(b->ctx, b->t->grid, b->method.xc, b->n_frame, b->slot, b->P, NULL, NULL, b->E, NULL, b->F);
}
static ks_status op_response(bench *b) {
    ks_status st = ks_mem_zero(b->ctx, b->F, (size_t)b->mat * sizeof(double));
    if (st == KS_OK) st = ks_vxc_adj(b->ctx, b->t->grid, b->method.xc, b->n_frame, b->slot, b->P, b->J, b->F);
    return st;
}
static ks_status op_int1e(bench *b) {
    return ks_int1e(b->ctx, b->t->sys, b->n_frame, b->b_pos, b->F, b->J, b->K, NULL);
}
static ks_status op_eigh(bench *b) { return ks_density_fwd(b->ctx, b->chunk.batch, b->H0, b->C, b->eps, b->F); }
static ks_status op_tensors(bench *b) { return ks_tensors_build(b->t, b->n_frame, b->slot_host, b->pos, NULL); }

static ks_status op_scf(bench *b) {
    ks_status     st = KS_OK;
    ks_scf_frame *f  = NULL;
    KS_TRY(KS_ZNEW(f, b->n_frame));
    KS_TRY(op_tensors(b));
    KS_TRY(ks_scf_run(b->ctx, b->chunk.batch, &b->config.scf, NULL, NULL, b->F, NULL, NULL, NULL, f));
    b->scf_cycles = 0;
    for (int64_t k = 0; k < b->n_frame; k++) {
        if (f[k].cycles > b->scf_cycles) b->scf_cycles = f[k].cycles;
        KS_CHECK(f[k].converged, KS_ERR_NUMERIC, "frame %lld did not converge in %d cycles",
                 (long long)b->index[b->chunk.frame[k]], f[k].cycles);
    }
done:
    KS_FREE(f);
    return st;
}

/* Network, refinement, loss, their adjoints, clip and AdamW on tensors that are there. */
static ks_status op_step(bench *b) {
    ks_status     st = KS_OK;
    const size_t  bytes = (size_t)b->mat * sizeof(double);
    ks_params    *p     = ks_model_params(b->model);
    KS_TRY(ks_loss_terms_reset(b->ctx, b->terms));
    KS_TRY(ks_optim_upload(b->ctx, &b->config.optim, ++b->step, b->state));
    KS_TRY(ks_params_zero_grad(p));
    KS_TRY(ks_model_fwd(b->ctx, b->model, b->chunk.batch, 1, b->W));
    KS_TRY(ks_batch_gather(b->ctx, b->chunk.batch, offsetof(ks_tensors, F0), b->H0));
    const ks_term term = {ks_mats_dense(b->W, 1, b->mat), 1, NULL, 0};
    KS_TRY(ks_combine(b->ctx, 1, b->mat, 1, &term, 1, b->H0));
    KS_TRY(ks_mem_zero(b->ctx, b->H0_bar, bytes));
    KS_TRY(ks_loss_step(b->ctx, b->loss, b->refine, b->chunk.batch, b->H0, NULL, NULL, 1.0 / (double)b->n_frame,
                        b->H0_bar, b->terms));
    KS_TRY(ks_model_adj(b->ctx, b->model, b->chunk.batch, b->H0_bar));
    KS_TRY(ks_adamw_step(b->ctx, p, &b->config.optim, (double)b->n_frame, b->terms + KS_TERM_COUNTED,
                         b->state + KS_STEP_N, b->state));
done:
    return st;
}
static ks_status op_train(bench *b) {
    ks_status st = op_tensors(b);
    if (st == KS_OK) st = op_step(b);
    return st;
}

static const bench_op OPS[] = {
    {"int1e", "ops", "S, T and V", op_int1e},
    {"eri", "ops", "two-electron integrals into the store; bytes: the store", op_eri},
    {"jk", "ops", "J and K of one density; flops: 12 per unique integral, bytes: the store read once", op_jk},
    {"j", "ops", "J of one density; flops: 4 per unique integral, bytes: the store read once", op_j},
    {"grid", "ops", "points, weights, blocks and AO lists", op_grid},
    {"xc", "ops", "Exc and Vxc from occupied orbitals; flops: 8 g n o + 2 g n^2 as if no AO were screened", op_xc},
    {"xc_dense", "ops", "Exc and Vxc from a density matrix; flops: 4 g n^2 as if no AO were screened", op_xc_dense},
    {"response", "ops", "Hessian of Exc applied to a matrix; flops: 6 g n^2 as if no AO were screened", op_response},
    {"eigh", "ops", "orbitals and density of a Fock matrix; flops: 15 n^3 + 2 n^2 o", op_eigh},
    {"scf", "scf", "tensors, grid, and SCF to the default tolerances from minao", op_scf},
    {"tensors", "train", "all geometry tensors, grid, minao guess and F0", op_tensors},
    {"step", "train", "network, refinement, loss, adjoints, AdamW on ready tensors", op_step},
    {"train", "train", "tensors and step: a training step that sees a geometry once", op_train},
};
enum { N_OP = (int)(sizeof OPS / sizeof OPS[0]) };

static ks_status work_of(bench *b, const bench_op *op, double *flop, double *bytes) {
    ks_status    st = KS_OK;
    const double n = (double)b->n, np = n * (n + 1) / 2, unique = np * (np + 1) / 2, o = (double)b->occ.max,
                 B = (double)b->n_frame;
    int64_t store = 0, n_grid = 0;
    KS_TRY(ks_eri_bytes(b->ctx, b->t->sys, &store));
    KS_TRY(ks_grid_n_points(b->t->sys, b->method.grid_level, &n_grid));
    const double g = (double)n_grid;
    *flop = *bytes = 0;
    if (!strcmp(op->name, "eri") || !strcmp(op->name, "jk") || !strcmp(op->name, "j")) *bytes = (double)store * B;
    if (!strcmp(op->name, "jk")) *flop = 12 * unique * B;
    if (!strcmp(op->name, "j")) *flop = 4 * unique * B;
    if (!strcmp(op->name, "xc")) *flop = (8 * g * n * o + 2 * g * n * n) * B;
    if (!strcmp(op->name, "xc_dense")) *flop = 4 * g * n * n * B;
    if (!strcmp(op->name, "response")) *flop = 6 * g * n * n * B;
    if (!strcmp(op->name, "eigh")) *flop = (15 * n * n * n + 2 * n * n * o) * B;
done:
    return st;
}

/* ---- timing ---- */

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double median(int n, double *v) {
    qsort(v, (size_t)n, sizeof *v, by_size);
    return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

static ks_status time_op(bench *b, const bench_op *op, int warmup, int repeat, bench_time *out) {
    ks_status st   = KS_OK;
    double   *wall = NULL, *cpu = NULL;
    KS_TRY(KS_NEW(wall, repeat));
    KS_TRY(KS_NEW(cpu, repeat));
    for (int k = -warmup; k < repeat; k++) {
        const double w0 = ks_wall_seconds(), c0 = ks_cpu_seconds();
        KS_TRY(op->run(b));
        KS_TRY(ks_sync(b->ctx));
        if (k < 0) continue;
        wall[k] = ks_wall_seconds() - w0;
        cpu[k]  = ks_cpu_seconds() - c0;
    }
    out->wall     = median(repeat, wall);
    out->wall_min = wall[0];
    out->wall_max = wall[repeat - 1];
    out->cpu      = median(repeat, cpu);
    KS_TRY(work_of(b, op, &out->flop, &out->bytes));
done:
    KS_FREE(wall);
    KS_FREE(cpu);
    return st;
}

/* What this machine reaches with the same threads: dgemm of order 512 on each thread, and copying 64 MiB per thread. */
static ks_status measure_peak(int threads, double *gflops, double *gbytes) {
    ks_status     st        = KS_OK;
    const int     n         = 512;
    const int64_t words     = 8 << 20;
    double       *a         = NULL;
    double        best_flop = 1e30, best_copy = 1e30;
    KS_TRY(KS_NEW(a, threads * words));
    for (int64_t i = 0; i < threads * words; i++) a[i] = 1e-3 * (double)(i % 1000);
    for (int k = 0; k < 3; k++) {
        double t = ks_wall_seconds();
#pragma omp parallel for num_threads(threads)
        for (int i = 0; i < threads; i++) {
            double *m = a + i * words;
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1.0, m, n, m + n * n, n, 0.0, m + 2 * n * n,
                        n);
        }
        best_flop = fmin(best_flop, ks_wall_seconds() - t);
        t         = ks_wall_seconds();
#pragma omp parallel for num_threads(threads)
        for (int i = 0; i < threads; i++)
            memcpy(a + i * words, a + i * words + words / 2, (size_t)words / 2 * sizeof *a);
        best_copy = fmin(best_copy, ks_wall_seconds() - t);
    }
    *gflops = 1e-9 * 2.0 * n * n * n * threads / best_flop;
    *gbytes = 1e-9 * 8.0 * (double)(threads * words) / best_copy; /* read and written */
done:
    KS_FREE(a);
    return st;
}

/* ---- set-up ---- */

/* Everything that is allocated before the first timing. */
static ks_status setup(bench *b, int with_model) {
    ks_status   st       = KS_OK;
    ks_segment *seg      = &b->chunk.batch->segment[0];
    b->t                 = seg->tensors;
    b->slot              = seg->slot;
    b->n_frame           = seg->n_frame;
    b->n                 = b->t->sys->n_ao;
    b->mat               = ks_batch_mat_size(b->chunk.batch);
    b->slot_host         = b->chunk.in_segment;
    b->occ               = (ks_occ){b->t->n_occ, b->slot, 1, b->t->n_occ_max};
    const int64_t n_occ  = b->occ.max;
    const size_t  bytes  = (size_t)b->mat * sizeof(double);
    const int64_t n3     = b->n_frame * b->t->sys->n_atom * 3;
    double      **mats[] = {&b->P, &b->F, &b->C, &b->J, &b->K, &b->W, &b->H0, &b->H0_bar};
    for (size_t k = 0; k < sizeof mats / sizeof *mats; k++) KS_TRY(ks_mem_alloc(b->ctx, bytes, (void **)mats[k]));
    KS_TRY(ks_mem_alloc(b->ctx, (size_t)(b->n_frame * b->n * n_occ) * sizeof(double), (void **)&b->C_occ));
    KS_TRY(ks_mem_alloc(b->ctx, (size_t)(b->n_frame * b->n) * sizeof(double), (void **)&b->eps));
    KS_TRY(ks_mem_alloc(b->ctx, (size_t)b->n_frame * sizeof(double), (void **)&b->E));
    KS_TRY(ks_mem_alloc(b->ctx, (size_t)n3 * sizeof(double), (void **)&b->b_pos));
    KS_TRY(ks_mem_alloc(b->ctx, KS_TERM_N * sizeof(double), (void **)&b->terms));
    KS_TRY(ks_mem_alloc(b->ctx, (KS_STEP_N + 1) * sizeof(double), (void **)&b->state));
    KS_TRY(KS_NEW(b->pos, n3));
    memcpy(b->pos, b->frames->pos, (size_t)n3 * sizeof(double));
    KS_TRY(ks_mem_to_backend(b->ctx, b->b_pos, b->pos, (size_t)n3 * sizeof(double)));
    /* the density and orbitals of F0: idempotent, as in a refinement */
    KS_TRY(ks_batch_gather(b->ctx, b->chunk.batch, offsetof(ks_tensors, F0), b->H0));
    KS_TRY(ks_density_fwd(b->ctx, b->chunk.batch, b->H0, b->C, b->eps, b->P));
    double *C = NULL, *occ = NULL;
    st = KS_NEW(C, b->mat);
    if (st == KS_OK) st = KS_NEW(occ, b->n_frame * b->n * n_occ);
    if (st == KS_OK) st = ks_mem_to_host(b->ctx, C, b->C, bytes);
    for (int64_t r = 0; st == KS_OK && r < b->n_frame * b->n; r++)
        memcpy(occ + r * n_occ, C + r * b->n, (size_t)n_occ * sizeof *occ);
    if (st == KS_OK)
        st = ks_mem_to_backend(b->ctx, b->C_occ, occ, (size_t)(b->n_frame * b->n * n_occ) * sizeof *occ);
    KS_FREE(C);
    KS_FREE(occ);
    KS_TRY(st);
    KS_TRY(op_jk(b)); /* J serves as the matrix of the response */
    if (with_model) {
        ks_model_options opt = b->config.model.options;
        opt.n_ao_kind        = b->t->sys->n_ao_kind;
        KS_TRY(ks_model_create(b->ctx, &opt, (uint64_t)b->config.run.seed, &b->model));
        if (opt.frame == KS_FRAME_KABSCH)
            KS_TRY(ks_model_set_reference(b->model, b->t->sys->n_atom, b->t->sys->Z, b->pos));
        KS_TRY(ks_refine_create(b->ctx, &b->config.refine, &b->refine));
        KS_TRY(ks_loss_create(b->ctx, &b->config.loss, &b->loss));
    }
done:
    return st;
}

static void bench_free(bench *b) {
    double **mats[] = {&b->P,  &b->F,      &b->C,     &b->J,   &b->K, &b->W,
                       &b->H0, &b->H0_bar, &b->C_occ, &b->eps, &b->E, &b->b_pos, &b->terms, &b->state};
    for (size_t k = 0; k < sizeof mats / sizeof *mats; k++) ks_mem_free(b->ctx, (void **)mats[k]);
    KS_FREE(b->pos);
    ks_loss_destroy(&b->loss);
    ks_refine_destroy(&b->refine);
    ks_model_destroy(&b->model);
    ks_chunks_destroy(&b->chunks);
    ks_frames_destroy(&b->frames);
    KS_FREE(b->index);
    ks_basis_destroy(&b->basis);
    ks_ctx_destroy(&b->ctx);
}

typedef struct bench_args {
    const char    *group, *geometry, *frames, *only, *json;
    ks_method_args method;
    int64_t        repeat, warmup;
} bench_args;

static int is_wanted(const bench_args *a, const bench_op *op) {
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
    ks_status st = KS_OK;
    for (const char *p = a->only; p && *p;) {
        const int n     = (int)strcspn(p, ",");
        int       known = 0;
        for (int k = 0; k < N_OP; k++) known |= (int)strlen(OPS[k].name) == n && !strncmp(OPS[k].name, p, (size_t)n);
        KS_CHECK(known, KS_ERR_ARG,
                 "--only: unknown operation '%.*s' (int1e, eri, jk, j, grid, xc, xc_dense, response, eigh, scf, "
                 "tensors, step, train)",
                 n, p);
        p += n + (p[n] == ',');
    }
done:
    return st;
}

/* The shipped uracil sample, in the source tree or the installation. */
static ks_status default_geometry(char *path, size_t size) {
    ks_status         st       = KS_OK;
    const char *const folder[] = {KS_SOURCE_DATADIR, KS_INSTALL_DATADIR};
    for (int k = 0; k < 2; k++) {
        snprintf(path, size, "%s/uracil-512.npz", folder[k]);
        if (access(path, R_OK) == 0) return KS_OK;
    }
    KS_CHECK(0, KS_ERR_IO, "the sample uracil-512.npz is neither in %s nor in %s: name a geometry file", folder[0],
             folder[1]);
done:
    return st;
}

static json_t *time_json(const bench_op *op, const bench_time *t) {
    json_t *o = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "op", op->name, "what", op->note, "seconds",
                          ks_json_real(t->wall), "seconds_min", ks_json_real(t->wall_min), "seconds_max",
                          ks_json_real(t->wall_max), "cpu_seconds", ks_json_real(t->cpu));
    json_object_set_new(o, "gflops", t->flop > 0 ? ks_json_real(1e-9 * t->flop / t->wall) : json_null());
    json_object_set_new(o, "gbytes_per_s", t->bytes > 0 ? ks_json_real(1e-9 * t->bytes / t->wall) : json_null());
    return o;
}

static void print_time(const bench_op *op, const bench_time *t, double peak_flop, double peak_bytes) {
    printf("%-9s %10.3f %10.3f %10.3f %10.3f", op->name, 1e3 * t->wall, 1e3 * t->wall_min, 1e3 * t->wall_max,
           1e3 * t->cpu);
    if (t->flop > 0) printf(" %9.2f %5.0f %%", 1e-9 * t->flop / t->wall, 100e-9 * t->flop / t->wall / peak_flop);
    else printf(" %9s %7s", "", "");
    if (t->bytes > 0) printf(" %8.2f %5.0f %%", 1e-9 * t->bytes / t->wall, 100e-9 * t->bytes / t->wall / peak_bytes);
    else printf(" %8s %7s", "", "");
    printf("  %s\n", op->note);
    fflush(stdout);
}

static ks_status load_config(const bench_args *a, ks_config *config) {
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

static ks_status run_bench(bench *b, const bench_args *a) {
    ks_status st = KS_OK;
    char      sample[KS_CONFIG_PATH];
    int       with_model = 0;
    double    peak_flop = 0, peak_bytes = 0;
    json_t   *ops = NULL, *all = NULL;
    KS_TRY(check_only(a));
    KS_TRY(load_config(a, &b->config));
    KS_TRY(ks_config_method(&b->config, &b->method));
    KS_TRY(ks_basis_load(b->config.method.basis, &b->basis));
    if (!a->geometry) KS_TRY(default_geometry(sample, sizeof sample));
    KS_TRY(ks_cli_frames(a->geometry ? a->geometry : sample, a->frames, &b->frames, &b->index));
    KS_TRY(ks_cli_ctx(b->config.device.backend, (int)b->config.device.threads, &b->ctx));
    const ks_chunk_options opt = {.max_frames = b->frames->n_frame, .n_matrix = 128, .number = b->index};
    KS_TRY(ks_chunks_create(b->ctx, b->basis, b->frames, &b->method, INT32_MIN, &opt, &b->chunks));
    KS_TRY(ks_chunks_next(b->chunks, &b->chunk));
    KS_CHECK(b->chunk.n_frame == b->frames->n_frame, KS_ERR_NOMEM, "%lld frames do not fit into memory at once",
             (long long)b->frames->n_frame);
    KS_CHECK(b->chunk.batch->n_segment == 1, KS_ERR_ARG, "the frames differ in composition: bench takes one");
    for (int k = 0; k < N_OP; k++)
        with_model |= is_wanted(a, &OPS[k]) && (OPS[k].run == op_step || OPS[k].run == op_train);
    KS_TRY(setup(b, with_model));
    KS_TRY(measure_peak(ks_ctx_threads(b->ctx), &peak_flop, &peak_bytes));
    printf("%s x %lld, %s/%s (%lld AOs), grid level %d, %s, %d threads, %s; dgemm here %.1f GFLOP/s, copy %.1f GB/s\n",
           b->t->sys->formula, (long long)b->n_frame, b->method.xc->name, ks_basis_name(b->basis), (long long)b->n,
           b->method.grid_level, ks_ctx_backend(b->ctx), ks_ctx_threads(b->ctx), ks_cpu_isa(), peak_flop, peak_bytes);
    if (with_model)
        printf("network d %lld, heads %lld, layers %lld, %lld parameters; refinement %s, %d Fock builds\n",
               (long long)b->config.model.options.d_model, (long long)b->config.model.options.heads,
               (long long)b->config.model.options.layers, (long long)ks_params_n_scalar(ks_model_params(b->model)),
               ks_refine_kind_name(b->config.refine.kind),
               b->config.refine.n_build ? b->config.refine.n_build : ks_refine_default_builds(b->config.refine.kind));
    printf("%-9s %10s %10s %10s %10s %9s %7s %8s %7s\n", "ms", "median", "least", "most", "cpu", "GFLOP/s", "of dgemm",
           "GB/s", "of copy");
    ops = json_array();
    for (int k = 0; k < N_OP; k++) {
        if (!is_wanted(a, &OPS[k])) continue;
        bench_time t;
        KS_TRY(time_op(b, &OPS[k], (int)a->warmup, (int)a->repeat, &t));
        print_time(&OPS[k], &t, peak_flop, peak_bytes);
        json_array_append_new(ops, time_json(&OPS[k], &t));
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

int ks_cmd_bench(int argc, char **argv) {
    bench_args       a     = {.frames = "0", .repeat = 5, .warmup = 1};
    const ks_cli_opt opt[] = {
        {"frames", 'f', KS_OPT_TEXT, "SLICE", "frames of GEOM, as one batch of one composition (default 0)", &a.frames},
        {"only", 0, KS_OPT_TEXT, "LIST", "these operations only, e.g. eri,jk,xc", &a.only},
        KS_METHOD_OPTS(a.method),
        {"repeat", 'n', KS_OPT_INT, "N", "timed runs of each operation, of which the median counts (default 5)",
         &a.repeat},
        {"warmup", 0, KS_OPT_INT, "N", "runs before them (default 1)", &a.warmup},
        {"json", 'j', KS_OPT_TEXT, "FILE.json", "write the times as JSON", &a.json},
        {NULL, 0, KS_OPT_FLAG, NULL, NULL, NULL}};
    const ks_cli_spec spec = {
        "bench [ops|scf|train] [GEOM] [options]",
        "Times of the integrals, grid, exchange-correlation and eigenproblem (ops), of a whole SCF (scf) and of a "
        "training\n"
        "step (train); all of them without a group. GEOM defaults to the first frame of the shipped uracil sample. The "
        "step\n"
        "is the published one (network d 192, 6 heads, 12 layers, refine qpt) unless --set model.* and refine.* say "
        "otherwise.\n"
        "GFLOP/s and GB/s follow from the stated models of the work, shares from a dgemm and a copy timed on the same "
        "threads.",
        "ksgrad bench ops --threads 2\nksgrad bench train water.xyz --grid 1 --set model.d_model=64 --json b.json",
        opt,
        0,
        2};
    const char *arg[KS_CLI_MAX_ARG];
    int         n_arg;
    const int   rc = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;
    int at = 0;
    if (n_arg && (!strcmp(arg[0], "ops") || !strcmp(arg[0], "scf") || !strcmp(arg[0], "train"))) a.group = arg[at++];
    if (at < n_arg) a.geometry = arg[at++];
    if (at < n_arg)
        return ks_cli_usage_error("bench", "unexpected argument '%s' (groups are ops, scf, train)", arg[at]);
    if (a.repeat < 1 || a.repeat > 10000 || a.warmup < 0 || a.warmup > 1000)
        return ks_cli_usage_error("bench", "--repeat wants 1..10000 and --warmup 0..1000");

    bench           b  = {0};
    const ks_status st = run_bench(&b, &a);
    bench_free(&b);
    return ks_cli_finish(st);
}
