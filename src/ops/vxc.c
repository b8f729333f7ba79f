/* vxc.c -- CPU passes over the grid: rho pair, potential and response. Math: vxc_lanes.c.
 *
 * A frame is cut into n_chunk runs of blocks, fixed by the system; each chunk has its own accumulators, summed in
 * order at the end: results do not depend on the number of threads. Parallel over (frame, chunk). */
#include <omp.h>
#include <string.h>
#include "ops/grid_kernels.h"
#include "ops/grid_ops.h"
#include "ops/linalg_ops.h"

const ks_grid_kernels *ks_grid_kernels_get(void) {
#if defined(__x86_64__)
    const char *isa = ks_cpu_isa();
    if (!strcmp(isa, "avx512")) return &ks_grid_kernels_avx512;
    if (!strcmp(isa, "avx2")) return &ks_grid_kernels_avx2;
#endif
    return &ks_grid_kernels_base;
}

/* Everything a pass needs, for all frames. */
typedef struct pass_args {
    ks_pass       pass;
    int           gga;
    ks_xc_weights xc;
    const double *P, *M, *C_occ; /* (B, n, n), (B, n, n), (B, n, occ->max) */
    const ks_occ *occ;
    double       *feat; /* (B, n_feat, n_point) in or out */
    int           want_matrix;
    double       *A;      /* (B, n_chunk, n, n) chunk accumulators of Y phi^T */
    double       *scalar; /* (B, n_chunk, 2) exc, n_elec */
} pass_args;

static ks_status work_take(ks_arena *arena, const ks_grid *grid, const pass_args *a, ks_block_work *w, int32_t **row) {
    ks_status     st = KS_OK;
    const int64_t ld = (grid->sys->n_ao + KS_TILE_SLACK + KS_BLOCK_PAD - 1) / KS_BLOCK_PAD * KS_BLOCK_PAD;
    *w               = (ks_block_work){.ld = ld};
    KS_TRY(KS_TAKE(arena, *row, grid->sys->basis.n_shell + 1));
    KS_TRY(KS_TAKE(arena, w->ao, ld));
    KS_TRY(KS_TAKE(arena, w->phi, 4 * ld * KS_PANEL));
    KS_TRY(KS_TAKE(arena, w->X, ld * KS_PANEL));
    if (a->P || a->C_occ) KS_TRY(KS_TAKE(arena, w->P, ld * ld));
    if (a->M) KS_TRY(KS_TAKE(arena, w->M, ld * ld));
    if (a->C_occ) {
        KS_TRY(KS_TAKE(arena, w->psi, (a->occ->max + KS_TILE_SLACK) * KS_PANEL));
        KS_TRY(KS_TAKE(arena, w->C, ld * a->occ->max));
        KS_TRY(KS_TAKE(arena, w->Ct, ld * (a->occ->max + KS_TILE_SLACK)));
    }
    if (a->want_matrix) {
        KS_TRY(KS_TAKE(arena, w->phi_t, ld * KS_PANEL));
        KS_TRY(KS_TAKE(arena, w->Y, ld * KS_PANEL));
        KS_TRY(KS_TAKE(arena, w->V, ld * ld));
    }
done:
    return st;
}

/* Rows and columns ao[] of an (n, n) matrix. */
static void gather(int64_t n_row, const int32_t *ao, int64_t n, const double *full, int64_t ld, double *block) {
    for (int64_t i = 0; i < n_row; i++) {
        const double *from = full + ao[i] * n;
        double       *to   = block + i * ld;
        for (int64_t j = 0; j < n_row; j++) to[j] = from[ao[j]];
    }
}

static void scatter_add(int64_t n_row, const int32_t *ao, int64_t n, const double *block, int64_t ld, double *full) {
    for (int64_t i = 0; i < n_row; i++) {
        const double *from = block + i * ld;
        double       *to   = full + ao[i] * n;
        for (int64_t j = 0; j < n_row; j++) to[ao[j]] += from[j];
    }
}

/* Orbital coefficients of the block's AOs, both ways round. */
static void gather_orbitals(int64_t n_row, const int32_t *ao, int64_t n_occ, int64_t n_occ_max, const double *C_occ,
                            ks_block_work *w) {
    for (int64_t i = 0; i < n_row; i++)
        for (int64_t k = 0; k < n_occ; k++) w->C[i * n_occ + k] = w->Ct[k * w->ld + i] = C_occ[ao[i] * n_occ_max + k];
}

/* 2 C C^T of the block: for few AOs the dense product is the shorter one. */
static void block_density(int64_t n_row, int64_t n_occ, ks_block_work *w) {
    for (int64_t i = 0; i < n_row; i++)
        for (int64_t j = 0; j <= i; j++) {
            double s = 0.0;
            for (int64_t k = 0; k < n_occ; k++) s += w->C[i * n_occ + k] * w->C[j * n_occ + k];
            w->P[i * w->ld + j] = w->P[j * w->ld + i] = 2.0 * s;
        }
}

static void run_block(const ks_grid *grid, const ks_grid_kernels *kernels, const pass_args *a, int64_t frame,
                      int64_t slot, int64_t block, int32_t *row, ks_block_work *w, double *A, double *scalar) {
    const ks_shells *sh = &grid->sys->basis;
    const int64_t    n = grid->sys->n_ao, n_feat = a->gga ? 4 : 1;
    const int64_t    first = grid->block_panel[block], g0 = first * KS_PANEL;
    ks_block_job     job = {
            .pass        = a->pass,
            .gga         = a->gga,
            .shells      = sh,
            .prim_reach2 = grid->prim_reach2,
            .pos         = grid->pos + 3 * slot * grid->sys->n_atom,
            .shell       = grid->block_shell + (slot * grid->n_block + block) * sh->n_shell,
            .row         = row,
            .panel_shell = grid->panel_n_shell + slot * grid->n_panel + first,
            .n_shell     = grid->block_n_shell[slot * grid->n_block + block],
            .n_panel     = grid->block_panel[block + 1] - first,
            .x           = grid->xyz + 3 * slot * grid->n_pad + g0,
            .w           = grid->weight + slot * grid->n_pad + g0,
            .want_matrix = a->want_matrix,
            .xc          = a->xc,
            .feat        = a->feat ? a->feat + frame * n_feat * grid->n_point + g0 : NULL,
            .feat_stride = grid->n_point,
            .n_real      = grid->n_point - g0,
    };
    job.y = job.x + grid->n_pad;
    job.z = job.y + grid->n_pad;
    for (int64_t s = 0; s < job.n_shell; s++) {
        const ks_shell *q = &sh->shell[job.shell[s]];
        row[s]            = (int32_t)job.n_row;
        for (int m = 0; m < 2 * q->l + 1; m++) w->ao[job.n_row++] = q->ao + m;
    }
    row[job.n_shell] = (int32_t)job.n_row;
    if (a->C_occ) {
        const int64_t n_occ = ks_occ_of(a->occ, frame);
        gather_orbitals(job.n_row, w->ao, n_occ, a->occ->max, a->C_occ + frame * n * a->occ->max, w);
        if (2 * n_occ < job.n_row && n_occ > 0) job.n_occ = n_occ;
        else block_density(job.n_row, n_occ, w);
    } else if (a->P) {
        gather(job.n_row, w->ao, n, a->P + frame * n * n, w->ld, w->P);
    }
    if (a->M) gather(job.n_row, w->ao, n, a->M + frame * n * n, w->ld, w->M);
    if (a->want_matrix) memset(w->V, 0, sizeof(double) * (size_t)(job.n_row * w->ld));
    kernels->block_pass(&job, w);
    if (a->want_matrix) scatter_add(job.n_row, w->ao, n, w->V, w->ld, A);
    scalar[0] += job.exc;
    scalar[1] += job.n_elec;
}

static ks_status run_pass(ks_ctx *ctx, const ks_grid *grid, int64_t n_frame, const int32_t *slot, const pass_args *a) {
    ks_status              st      = KS_OK;
    const ks_grid_kernels *kernels = ks_grid_kernels_get();
    const int64_t          n = grid->sys->n_ao, n_chunk = grid->n_chunk;
    ks_arena              *arena = ks_ctx_scratch(ctx);
    const ks_arena_mark    mark  = ks_arena_get_mark(arena);
    ks_block_work         *work  = NULL;
    int32_t              **row   = NULL;
    KS_TRY(KS_TAKE(arena, work, ctx->n_thread));
    KS_TRY(KS_TAKE(arena, row, ctx->n_thread));
    for (int t = 0; t < ctx->n_thread; t++) KS_TRY(work_take(arena, grid, a, &work[t], &row[t]));
#pragma omp parallel for num_threads(ctx->n_thread) schedule(dynamic, 1)
    for (int64_t task = 0; task < n_frame * n_chunk; task++) {
        const int     t = omp_get_thread_num();
        const int64_t b = task / n_chunk, c = task % n_chunk;
        double       *A      = a->want_matrix ? a->A + task * n * n : NULL;
        double        dud[2] = {0.0, 0.0}, *scalar = a->scalar ? a->scalar + 2 * task : dud;
        if (A) memset(A, 0, sizeof(double) * (size_t)(n * n));
        scalar[0] = scalar[1] = 0.0;
        for (int64_t blk = c * grid->n_block / n_chunk; blk < (c + 1) * grid->n_block / n_chunk; blk++)
            run_block(grid, kernels, a, b, slot[b], blk, row[t], &work[t], A, scalar);
    }
done:
    ks_arena_release(arena, mark);
    return st;
}

/* out (B, n, n) (+)= A + A^T, chunks in order. */
static void reduce_matrix(ks_ctx *ctx, const ks_grid *grid, int64_t n_frame, double *A, int add, double *out) {
    const int64_t n = grid->sys->n_ao, n_chunk = grid->n_chunk;
#pragma omp parallel num_threads(ctx->n_thread)
    {
#pragma omp for schedule(static)
        for (int64_t br = 0; br < n_frame * n; br++) {
            double *sum = A + (br / n) * n_chunk * n * n + br % n * n;
            for (int64_t c = 1; c < n_chunk; c++)
                for (int64_t j = 0; j < n; j++) sum[j] += sum[c * n * n + j];
        }
#pragma omp for schedule(static)
        for (int64_t br = 0; br < n_frame * n; br++) {
            const double *S = A + (br / n) * n_chunk * n * n;
            double       *o = out + br * n;
            const int64_t i = br % n;
            for (int64_t j = 0; j < n; j++) o[j] = (add ? o[j] : 0.0) + (S[i * n + j] + S[j * n + i]);
        }
    }
}

static ks_status rho_fwd_cpu(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame,
                             const int32_t *slot, const double *P, double *feat) {
    const pass_args a = {.pass = KS_PASS_RHO, .gga = family == KS_XC_GGA, .P = P, .feat = feat};
    return run_pass(ctx, grid, n_frame, slot, &a);
}

/* Passes that end in a matrix: out (+)= A + A^T. */
static ks_status matrix_pass(ks_ctx *ctx, const ks_grid *grid, int64_t n_frame, const int32_t *slot, pass_args *a,
                             int add, double *out, double *exc, double *n_elec) {
    ks_status           st    = KS_OK;
    ks_arena           *arena = ks_ctx_scratch(ctx);
    const ks_arena_mark mark  = ks_arena_get_mark(arena);
    const int64_t       n     = grid->sys->n_ao;
    a->want_matrix            = out != NULL;
    if (out) KS_TRY(KS_TAKE(arena, a->A, n_frame * grid->n_chunk * n * n));
    KS_TRY(KS_TAKE(arena, a->scalar, n_frame * grid->n_chunk * 2));
    KS_TRY(run_pass(ctx, grid, n_frame, slot, a));
    if (out) reduce_matrix(ctx, grid, n_frame, a->A, add, out);
    for (int64_t b = 0; b < n_frame; b++) {
        double sum[2] = {0.0, 0.0};
        for (int64_t c = 0; c < grid->n_chunk; c++)
            for (int k = 0; k < 2; k++) sum[k] += a->scalar[2 * (b * grid->n_chunk + c) + k];
        if (exc) exc[b] = sum[0];
        if (n_elec) n_elec[b] = sum[1];
    }
done:
    ks_arena_release(arena, mark);
    return st;
}

static ks_status rho_adj_cpu(ks_ctx *ctx, const ks_grid *grid, ks_xc_family family, int64_t n_frame,
                             const int32_t *slot, const double *feat_bar, double *P_bar) {
    pass_args a = {.pass = KS_PASS_RHO_ADJ, .gga = family == KS_XC_GGA, .feat = (double *)feat_bar};
    return matrix_pass(ctx, grid, n_frame, slot, &a, 1, P_bar, NULL, NULL);
}

static ks_status vxc_fwd_cpu(ks_ctx *ctx, const ks_grid *grid, const ks_xc *xc, int64_t n_frame, const int32_t *slot,
                             const double *P, const double *C_occ, const ks_occ *occ, double *exc, double *n_elec,
                             double *Vxc) {
    pass_args a = {.pass  = KS_PASS_VXC,
                   .gga   = xc->family == KS_XC_GGA,
                   .xc    = ks_xc_weights_of(xc),
                   .C_occ = C_occ,
                   .P     = C_occ ? NULL : P,
                   .occ   = occ};
    return matrix_pass(ctx, grid, n_frame, slot, &a, 0, Vxc, exc, n_elec);
}

static ks_status vxc_adj_cpu(ks_ctx *ctx, const ks_grid *grid, const ks_xc *xc, int64_t n_frame, const int32_t *slot,
                             const double *P, const double *M, double *KM) {
    pass_args a = {.pass = KS_PASS_VXC_ADJ, .gga = xc->family == KS_XC_GGA, .xc = ks_xc_weights_of(xc), .P = P, .M = M};
    return matrix_pass(ctx, grid, n_frame, slot, &a, 1, KM, NULL, NULL);
}

static ks_status weights_cpu(ks_ctx *ctx, const ks_grid *grid, int64_t n_frame, const int32_t *slot, double *weight) {
    (void)ctx;
    for (int64_t b = 0; b < n_frame; b++)
        memcpy(weight + b * grid->n_point, grid->weight + slot[b] * grid->n_pad,
               sizeof(double) * (size_t)grid->n_point);
    return KS_OK;
}

static ks_status xc_eval_cpu(ks_ctx *ctx, const ks_xc *xc, int64_t n, const double *rho, const double *sigma, double *e,
                             double *v_rho, double *v_sigma, double *f_rr, double *f_rs, double *f_ss) {
    const ks_grid_kernels *kernels = ks_grid_kernels_get();
    const ks_xc_weights    w       = ks_xc_weights_of(xc);
    const int64_t          piece   = 1024;
#pragma omp parallel for num_threads(ctx->n_thread) schedule(static) if (n > 4 * piece)
    for (int64_t g = 0; g < n; g += piece) {
        double *const whole[6] = {e, v_rho, v_sigma, f_rr, f_rs, f_ss};
        double       *out[6];
        for (int f = 0; f < 6; f++) out[f] = whole[f] ? whole[f] + g : NULL;
        kernels->xc_eval(&w, xc->family == KS_XC_GGA, n - g < piece ? n - g : piece, rho + g, sigma ? sigma + g : NULL,
                         out);
    }
    return KS_OK;
}

const ks_ops_grid ks_ops_grid_cpu = {
    .bytes   = ks_grid_bytes_cpu,
    .build   = ks_grid_build_cpu,
    .rho_fwd = rho_fwd_cpu,
    .rho_adj = rho_adj_cpu,
    .weights = weights_cpu,
    .vxc_fwd = vxc_fwd_cpu,
    .vxc_adj = vxc_adj_cpu,
    .xc_eval = xc_eval_cpu,
};
