/* bench_ops.c -- see bench.h: set-up, operations, models of their work. */
#include "cli/bench.h"
#include <cblas.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

/* ---- set-up ---- */

ks_status bench_setup(bench *b, int with_model) {
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
    if (st == KS_OK) st = ks_mem_to_backend(b->ctx, b->C_occ, occ, (size_t)(b->n_frame * b->n * n_occ) * sizeof *occ);
    KS_FREE(C);
    KS_FREE(occ);
    KS_TRY(st);
    KS_TRY(ks_mem_zero(b->ctx, b->W, bytes)); /* what an operation reads when the one before it is not wanted */
    KS_TRY(ks_mem_zero(b->ctx, b->H0_bar, bytes));
    KS_TRY(ks_loss_terms_reset(b->ctx, b->terms));
    KS_TRY(ks_optim_upload(b->ctx, &b->config.optim, 1, b->state));
    KS_TRY(ks_jk(b->ctx, b->t->eri, b->n_frame, b->slot, 1, b->P, b->J,
                 b->K)); /* J serves as the matrix of the response */
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

void bench_free(bench *b) {
    double **mats[] = {&b->P,      &b->F,     &b->C,   &b->J, &b->K,     &b->W,     &b->H0,
                       &b->H0_bar, &b->C_occ, &b->eps, &b->E, &b->b_pos, &b->terms, &b->state};
    for (size_t k = 0; k < sizeof mats / sizeof *mats; k++) ks_mem_free(b->ctx, (void **)mats[k]);
    KS_FREE(b->pos);
    ks_loss_destroy(&b->loss);
    ks_refine_destroy(&b->refine);
    ks_model_destroy(&b->model);
    ks_chunks_destroy(&b->chunks);
    ks_frames_destroy(&b->frames);
    KS_FREE(b->index);
    ks_basis_destroy(&b->basis);
}

/* ---- operations ---- */

static ks_status op_eri(bench *b) { return ks_eri_build(b->ctx, b->t->eri, b->n_frame, b->slot, b->b_pos); }
static ks_status op_jk(bench *b) { return ks_jk(b->ctx, b->t->eri, b->n_frame, b->slot, 1, b->P, b->J, b->K); }
static ks_status op_j(bench *b) { return ks_jk(b->ctx, b->t->eri, b->n_frame, b->slot, 1, b->P, b->J, NULL); }
static ks_status op_grid(bench *b) { return ks_grid_build(b->ctx, b->t->grid, b->n_frame, b->slot, b->b_pos); }
static ks_status op_xc(bench *b) {
    return ks_vxc_fwd(b->ctx, b->t->grid, b->method.xc, b->n_frame, b->slot, NULL, b->C_occ, &b->occ, b->E, NULL, b->F);
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

/* What a step has from the host, never part of a recording. */
static ks_status op_upload(bench *b) {
    ks_status st = ks_loss_terms_reset(b->ctx, b->terms);
    if (st == KS_OK) st = ks_optim_upload(b->ctx, &b->config.optim, ++b->step, b->state);
    return st;
}
static ks_status op_net(bench *b) {
    ks_status st = ks_params_zero_grad(ks_model_params(b->model));
    if (st == KS_OK) st = ks_model_fwd(b->ctx, b->model, b->chunk.batch, 1, b->W);
    return st;
}
static ks_status op_refine(bench *b) {
    ks_status     st   = KS_OK;
    const ks_term term = {ks_mats_dense(b->W, 1, b->mat), 1, NULL, 0};
    KS_TRY(ks_batch_gather(b->ctx, b->chunk.batch, offsetof(ks_tensors, F0), b->H0));
    KS_TRY(ks_combine(b->ctx, 1, b->mat, 1, &term, 1, b->H0));
    KS_TRY(ks_mem_zero(b->ctx, b->H0_bar, (size_t)b->mat * sizeof(double)));
    KS_TRY(ks_loss_step(b->ctx, b->loss, b->refine, b->chunk.batch, b->H0, NULL, NULL, 1.0 / (double)b->n_global,
                        b->H0_bar, b->terms));
done:
    return st;
}
static ks_status op_net_both(bench *b) {
    ks_status st = op_net(b);
    if (st == KS_OK) st = ks_model_adj(b->ctx, b->model, b->chunk.batch, b->H0_bar);
    return st;
}
static ks_status adamw(bench *b, const double *n_counted) {
    return ks_reducer_update(b->ctx, b->reducer, ks_model_params(b->model), &b->config.optim, (double)b->n_global,
                             n_counted, b->state + KS_STEP_N, b->state);
}
static ks_status op_optim(bench *b) { return adamw(b, NULL); }
static ks_status op_step(bench *b) {
    ks_status st = op_net(b);
    if (st == KS_OK) st = op_refine(b);
    if (st == KS_OK) st = ks_reducer_begin(b->reducer);
    if (st == KS_OK) st = ks_model_adj(b->ctx, b->model, b->chunk.batch, b->H0_bar);
    if (st == KS_OK) st = ks_reducer_end(b->reducer, KS_TERM_MIN_GAP, b->terms, 1, b->terms + KS_TERM_MIN_GAP);
    if (st == KS_OK) st = adamw(b, b->terms + KS_TERM_COUNTED);
    return st;
}
static ks_status op_tensors_upload(bench *b) {
    const ks_status st = op_tensors(b);
    return st == KS_OK ? op_upload(b) : st;
}

const bench_op bench_ops[] = {
    {"int1e", "ops", "S, T and V", NULL, op_int1e, 0, 0},
    {"eri", "ops", "two-electron integrals into the store; bytes: the store", NULL, op_eri, 0, 0},
    {"jk", "ops", "J and K of one density; flops: 12 per unique integral, bytes: the store read once", NULL, op_jk, 0,
     0},
    {"j", "ops", "J of one density; flops: 4 per unique integral, bytes: the store read once", NULL, op_j, 0, 0},
    {"grid", "ops", "points, weights, blocks and AO lists", NULL, op_grid, 0, 0},
    {"xc", "ops", "Exc and Vxc from occupied orbitals; flops: 8 g n o + 2 g n^2 as if no AO were screened", NULL, op_xc,
     0, 0},
    {"xc_dense", "ops", "Exc and Vxc from a density matrix; flops: 4 g n^2 as if no AO were screened", NULL,
     op_xc_dense, 0, 0},
    {"response", "ops", "Hessian of Exc applied to a matrix; flops: 6 g n^2 as if no AO were screened", NULL,
     op_response, 0, 0},
    {"eigh", "ops", "orbitals and density of a Fock matrix; flops: 15 n^3 + 2 n^2 o", NULL, op_eigh, 0, 0},
    {"scf", "scf", "tensors, grid, and SCF to the default tolerances from minao", NULL, op_scf, 0, 0},
    {"tensors", "train", "all geometry tensors, grid, minao guess and F0", NULL, op_tensors, 0, 0},
    {"net", "train", "network, forward; flops: 2 per parameter and AO + 4 n^2 d per layer", NULL, op_net, 1, 1},
    {"net_adj", "train", "network, forward and adjoint; flops: three times the forward's", NULL, op_net_both, 1, 1},
    {"refine", "train", "refinement, loss and their adjoints", op_upload, op_refine, 1, 1},
    {"optim", "train", "norm, clip, AdamW; bytes: gradient read twice, weights and moments read and written", op_upload,
     op_optim, 1, 1},
    {"step", "train", "network, refinement, loss, adjoints, AdamW on ready tensors", op_upload, op_step, 1, 1},
    {"train", "train", "tensors and step: a training step that sees a geometry once", op_tensors_upload, op_step, 1, 1},
};
const int bench_n_op = (int)(sizeof bench_ops / sizeof bench_ops[0]);

/* ---- the work ---- */

/* The budget of cuda/README.md: what the kernels of cuda/ are expected to reach on an H200. */
#define H200_MEM 4.3e12           /* bytes/s */
#define H200_DMMA (0.5 * 67e12)   /* flop/s: fp64 tensor cores from 8 x 8 x 4 fragments */
#define H200_AO (0.4 * 34e12)     /* AO values: exponentials and products */
#define H200_POINT (0.25 * 34e12) /* functionals, weights of the grid: powers, roots, divisions */
#define H200_BLOCKS 132           /* eigenproblems at a time */

typedef struct bench_size { /* of one frame */
    double n, o, g, atoms, pairs, params, width, layers;
} bench_size;

static double padded(double n) { return 8 * ceil(n / 8); } /* to whole fragments */

/* Two passes over the points: density (from a matrix, or from n_orb orbitals; of n_mat matrices) and matrix; AO values
 * are made in each. */
static double density_budget(const bench_size *z, double n_orb, int n_mat) {
    const double n = padded(z->n);
    return z->g * n_mat * (n_orb > 0 ? 4 * n * padded(n_orb) : 2 * n * n) / H200_DMMA + z->g * 45 * z->n / H200_AO;
}
static double matrix_budget(const bench_size *z) {
    const double n = padded(z->n);
    return z->g * 2 * n * n / H200_DMMA + z->g * 38 * z->n / H200_AO + 128 * 2 * 8 * n * n / H200_MEM;
}
static double xc_budget(const bench_size *z, double n_orb) {
    return density_budget(z, n_orb, 1) + 800 * z->g / H200_POINT + matrix_budget(z);
}
static double response_budget(const bench_size *z) {
    return density_budget(z, 0, 2) + 1400 * z->g / H200_POINT + matrix_budget(z);
}
/* 0.8 ms for the 8,778 pairs of uracil: the kernels are bound by shared memory, arithmetic and bytes in turn */
static double eri_budget(const bench_size *z) { return 0.8e-3 * pow(z->pairs / 8778, 2); }
static double jk_bytes(const bench_size *z) {
    return 1.28 * 4 * z->pairs * z->pairs;
} /* half of it, and partial sums */
static double jk_budget(const bench_size *z) { return jk_bytes(z) / H200_MEM; }
static double grid_budget(const bench_size *z) { return 15 * z->g * z->atoms * z->atoms / H200_POINT; }
static double net_flop(const bench_size *z) { return 2 * z->params * z->n + 4 * z->n * z->n * z->width * z->layers; }
static double net_budget(const bench_size *z, ks_precision precision) {
    const double linear = precision == KS_FP64 ? 55e12 : precision == KS_BF16 ? 600e12 : 50e12;
    const double real = precision == KS_FP64 ? 8 : 4, attention = precision == KS_FP64 ? 0.4 * 34e12 : 0.4 * 67e12;
    return 2 * z->params * z->n / linear + 4 * z->n * z->n * z->width * z->layers / attention +
           40 * real * z->n * z->width * z->layers / H200_MEM; /* layer norms, GELU, residual sums, biases */
}
/* A block each, at most 132 at a time: the time does not fall below that. */
static double eigh_run(const bench_size *z, double frames) {
    return 1.1e-3 * pow(z->n / 132, 3) * ceil(frames / H200_BLOCKS);
}

ks_status bench_work_of(bench *b, const bench_op *op, bench_work *out) {
    ks_status    st = KS_OK;
    const double n = (double)b->n, B = (double)b->n_frame;
    const int    is_host = ks_ctx_is_host(b->ctx);
    int64_t      store = 0, n_grid = 0;
    bench_size   z = {.n = n, .o = (double)b->occ.max, .atoms = (double)b->t->sys->n_atom, .pairs = n * (n + 1) / 2};
    KS_TRY(ks_eri_bytes(b->ctx, b->t->sys, &store));
    KS_TRY(ks_grid_n_points(b->t->sys, b->method.grid_level, &n_grid));
    z.g = (double)n_grid;
    if (b->model) {
        z.params = (double)ks_params_n_scalar(ks_model_params(b->model));
        z.width  = (double)b->config.model.options.d_model;
        z.layers = (double)b->config.model.options.layers;
    }
    const ks_precision precision = b->config.model.options.precision;
    const int          build =
        b->config.refine.n_build ? b->config.refine.n_build : ks_refine_default_builds(b->config.refine.kind);
    const double unique   = z.pairs * (z.pairs + 1) / 2;
    const double jk_moved = is_host ? (double)store : jk_bytes(&z);
    const double net      = net_budget(&z, precision);
    const double update   = 32 * z.params * (precision == KS_FP64 ? 2 : 1);
    /* from orbitals, but the builds in between from mixed densities; adjoint builds for all but the last */
    const double mixed   = build > 2 ? (build - 2) * (xc_budget(&z, 0) - xc_budget(&z, z.o)) : 0;
    const double tensors = eri_budget(&z) + jk_budget(&z) + grid_budget(&z) + xc_budget(&z, 0);
    const double refine =
        build * (jk_budget(&z) + xc_budget(&z, z.o)) + mixed + (build - 1) * (jk_budget(&z) + response_budget(&z));
    const double eigh = eigh_run(&z, B);
    const struct {
        const char *name;
        double      flop, bytes, budget; /* of one frame */
        double      fixed;               /* of the whole run */
    } table[] = {
        {"eri", 0, (double)store, eri_budget(&z), 0},
        {"jk", 12 * unique, jk_moved, jk_budget(&z), 0},
        {"j", 4 * unique, jk_moved, jk_budget(&z), 0},
        {"grid", 0, 0, grid_budget(&z), 0},
        {"xc", 8 * z.g * n * z.o + 2 * z.g * n * n, 0, xc_budget(&z, z.o), 0},
        {"xc_dense", 4 * z.g * n * n, 0, xc_budget(&z, 0), 0},
        {"response", 6 * z.g * n * n, 0, response_budget(&z), 0},
        {"eigh", 15 * n * n * n + 2 * n * n * z.o, 0, 0, eigh},
        {"tensors", 0, 0, tensors, eigh},
        {"net", net_flop(&z), 0, net, 0},
        {"net_adj", 3 * net_flop(&z), 0, 3 * net, 0},
        {"refine", 0, 0, refine, build * eigh},
        {"optim", 0, update / B, 0, update / H200_MEM},
        {"step", 0, 0, 3 * net + refine, build * eigh + update / H200_MEM},
        {"train", 0, 0, tensors + 3 * net + refine, (build + 1) * eigh + update / H200_MEM},
    };
    *out = (bench_work){0, 0, 0};
    for (size_t k = 0; k < sizeof table / sizeof *table; k++)
        if (!strcmp(op->name, table[k].name))
            *out = (bench_work){table[k].flop * B, table[k].bytes * B, table[k].budget * B + table[k].fixed};
done:
    return st;
}

/* ---- what the machine reaches ---- */

/* dgemm of order 512 and copies of 64 MiB on each thread. */
static ks_status host_peak(int threads, double *gflops, double *gbytes) {
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

/* The backend's own operations, at sizes that grow until a run takes 2 ms: eight matrix products, of order 1024 at most,
 * and a linear combination. */
static ks_status device_peak(ks_ctx *ctx, double *gflops, double *gbytes) {
    ks_status     st    = KS_OK;
    const int64_t n_mat = 8, most_order = 1024, most_len = (int64_t)1 << 27;
    double       *a = NULL, *out = NULL, best = 0;
    KS_TRY(ks_mem_alloc(ctx, (size_t)(n_mat * most_order * most_order) * sizeof(double), (void **)&a));
    KS_TRY(ks_mem_alloc(ctx, (size_t)(n_mat * most_order * most_order) * sizeof(double), (void **)&out));
    KS_TRY(ks_mem_zero(ctx, a, (size_t)(n_mat * most_order * most_order) * sizeof(double)));
    for (int64_t order = 128; best < 2e-3 && order <= most_order; order *= 2) {
        const ks_mats m = ks_mats_dense(a, order, order);
        best            = 1e30;
        for (int k = 0; k < 3; k++) {
            KS_TRY(ks_sync(ctx));
            const double t = ks_wall_seconds();
            KS_TRY(ks_gemm(ctx, n_mat, 0, 0, order, order, order, 1, m, m, 0, out));
            KS_TRY(ks_sync(ctx));
            best = fmin(best, ks_wall_seconds() - t);
        }
        *gflops = 1e-9 * 2.0 * (double)(n_mat * order * order * order) / best;
    }
    best = 0;
    for (int64_t len = (int64_t)1 << 14; best < 2e-3 && len <= most_len; len *= 4) {
        ks_mem_free(ctx, (void **)&a);
        ks_mem_free(ctx, (void **)&out);
        KS_TRY(ks_mem_alloc(ctx, (size_t)len * sizeof(double), (void **)&a));
        KS_TRY(ks_mem_alloc(ctx, (size_t)len * sizeof(double), (void **)&out));
        KS_TRY(ks_mem_zero(ctx, a, (size_t)len * sizeof(double)));
        const ks_term term = {ks_mats_dense(a, 1, len), 1, NULL, 0};
        best               = 1e30;
        for (int k = 0; k < 3; k++) {
            KS_TRY(ks_sync(ctx));
            const double t = ks_wall_seconds();
            KS_TRY(ks_combine(ctx, 1, len, 1, &term, 0, out));
            KS_TRY(ks_sync(ctx));
            best = fmin(best, ks_wall_seconds() - t);
        }
        *gbytes = 1e-9 * 16.0 * (double)len / best;
    }
done:
    ks_mem_free(ctx, (void **)&a);
    ks_mem_free(ctx, (void **)&out);
    return st;
}

ks_status bench_peak(bench *b, double *gflops, double *gbytes) {
    return ks_ctx_is_host(b->ctx) ? host_peak(ks_ctx_threads(b->ctx), gflops, gbytes)
                                  : device_peak(b->ctx, gflops, gbytes);
}
