/* cmd_predict.c -- H, P, E, eps of new geometries from a checkpoint. */
#include <math.h>
#include <stddef.h>
#include "cli/work.h"
#include "io/result.h"
#include "ksgrad/linalg.h"

typedef struct predict_job {
    ks_cli_model m;
    ks_frames   *frames;
    int64_t     *index;
    ks_chunks   *chunks;
    ks_refine   *refine;
    ks_result   *out;
    int64_t      n_masked;
} predict_job;

typedef struct predict_arrays {
    double *W, *H0;                      /* backend batch matrices */
    double *H, *P, *F, *E, *mask;        /* host batch matrices; per frame */
    double *S, *X, *C, *eps, *dip, *pos; /* host, one frame */
} predict_arrays;

static void arrays_free(ks_ctx *ctx, predict_arrays *a) {
    double **backend[] = {&a->W, &a->H0},
           **host[]    = {&a->H, &a->P, &a->F, &a->E, &a->S, &a->X, &a->C, &a->eps, &a->dip, &a->pos, &a->mask};
    for (size_t k = 0; k < sizeof backend / sizeof *backend; k++) ks_mem_free(ctx, (void **)backend[k]);
    for (size_t k = 0; k < sizeof host / sizeof *host; k++) ks_host_free((void **)host[k]);
}

static ks_status arrays_alloc(ks_ctx *ctx, const ks_chunk *chunk, predict_arrays *a) {
    ks_status     st   = KS_OK;
    const int64_t mat  = ks_batch_mat_size(chunk->batch);
    int64_t       most = 0, atoms = 0;
    for (int64_t s = 0; s < chunk->batch->n_segment; s++) {
        const ks_system *sys = chunk->batch->segment[s].tensors->sys;
        if (sys->n_ao > most) most = sys->n_ao;
        if (sys->n_atom > atoms) atoms = sys->n_atom;
    }
    KS_TRY(ks_mem_alloc(ctx, (size_t)mat * sizeof(double), (void **)&a->W));
    KS_TRY(ks_mem_alloc(ctx, (size_t)mat * sizeof(double), (void **)&a->H0));
    KS_TRY(KS_NEW(a->H, mat));
    KS_TRY(KS_NEW(a->P, mat));
    KS_TRY(KS_NEW(a->F, mat));
    KS_TRY(KS_NEW(a->E, chunk->n_frame));
    KS_TRY(KS_NEW(a->mask, chunk->n_frame));
    KS_TRY(KS_NEW(a->S, most * most));
    KS_TRY(KS_NEW(a->X, most * most));
    KS_TRY(KS_NEW(a->C, most * most));
    KS_TRY(KS_NEW(a->eps, most));
    KS_TRY(KS_NEW(a->dip, 3 * most * most));
    KS_TRY(KS_NEW(a->pos, 3 * atoms));
done:
    return st;
}

static ks_status report_frame(predict_job *job, const ks_chunk *chunk, predict_arrays *a, int64_t k, int masked,
                              int n_build, double seconds) {
    ks_status         st   = KS_OK;
    ks_ctx           *ctx  = job->m.ctx;
    int32_t           slot = 0;
    const ks_tensors *t    = ks_chunk_tensors(chunk, k, &slot);
    const ks_system  *sys  = t->sys;
    const int64_t n = sys->n_ao, mat = ks_chunk_mat_offset(chunk, k), n_occ = t->n_occ_host[slot * t->method.n_spin];
    const int64_t number = job->index[chunk->frame[k]];
    double        mu[3], rms = 0;
    KS_TRY(ks_mem_to_host(ctx, a->S, t->S + slot * n * n, (size_t)(n * n) * sizeof(double)));
    KS_TRY(ks_mem_to_host(ctx, a->X, t->X + slot * n * n, (size_t)(n * n) * sizeof(double)));
    KS_TRY(ks_mem_to_host(ctx, a->dip, t->dip + slot * 3 * n * n, (size_t)(3 * n * n) * sizeof(double)));
    KS_TRY(ks_mem_to_host(ctx, a->pos, t->pos + slot * 3 * sys->n_atom, (size_t)(3 * sys->n_atom) * sizeof(double)));
    KS_TRY(ks_orbitals(n, a->H + mat, a->S, a->eps, a->C));
    KS_TRY(ks_commutator_rms(n, a->F + mat, a->P + mat, a->S, a->X, &rms));
    ks_dipole(sys->n_atom, sys->Z, a->pos, n, a->dip, a->P + mat, mu);
    const double gap = n_occ > 0 && n_occ < n ? a->eps[n_occ] - a->eps[n_occ - 1] : (double)NAN;
    printf("%7lld  %18.10f  %8.4f  %9.4f  %10.2e  %9.1f%s\n", (long long)number, a->E[k], gap * KS_HARTREE_EV,
           sqrt(mu[0] * mu[0] + mu[1] * mu[1] + mu[2] * mu[2]) * KS_AU_DEBYE, rms, 1e3 * seconds,
           masked ? "  SMALL GAP" : "");
    job->n_masked += masked;
    if (job->out) {
        const ks_result_frame r = {.index      = number,
                                   .n_atom     = sys->n_atom,
                                   .n_ao       = n,
                                   .Z          = sys->Z,
                                   .pos        = a->pos,
                                   .charge     = (int32_t)(sys->n_electron - 2 * n_occ),
                                   .n_electron = 2 * n_occ,
                                   .converged  = 0,
                                   .cycles     = n_build,
                                   .energy     = a->E[k],
                                   .dipole     = {mu[0], mu[1], mu[2]},
                                   .eps        = a->eps,
                                   .F          = a->H + mat,
                                   .P          = a->P + mat,
                                   .S          = a->S,
                                   .C          = a->C};
        KS_TRY(ks_result_add(job->out, &r));
    }
done:
    return st;
}

static ks_status run_chunk(predict_job *job, const ks_chunk *chunk) {
    ks_status        st  = KS_OK;
    ks_ctx          *ctx = job->m.ctx;
    predict_arrays   a   = {0};
    ks_refine_result r;
    const int64_t    mat   = ks_batch_mat_size(chunk->batch);
    const size_t     bytes = (size_t)mat * sizeof(double);
    const double     start = ks_wall_seconds();
    KS_TRY(arrays_alloc(ctx, chunk, &a));
    KS_TRY(ks_model_fwd(ctx, job->m.model, chunk->batch, 0, a.W));
    KS_TRY(ks_batch_gather(ctx, chunk->batch, offsetof(ks_tensors, F0), a.H0));
    const ks_term W = {ks_mats_dense(a.W, 1, mat), 1, NULL, 0};
    KS_TRY(ks_combine(ctx, 1, mat, 1, &W, 1, a.H0));
    KS_TRY(ks_refine_fwd(ctx, job->refine, chunk->batch, a.H0, 0, &r));
    KS_TRY(ks_mem_to_host(ctx, a.H, r.H, bytes));
    KS_TRY(ks_mem_to_host(ctx, a.P, r.P, bytes));
    KS_TRY(ks_mem_to_host(ctx, a.F, r.F, bytes));
    KS_TRY(ks_mem_to_host(ctx, a.E, r.E, (size_t)chunk->n_frame * sizeof(double)));
    KS_TRY(ks_mem_to_host(ctx, a.mask, r.mask, (size_t)chunk->n_frame * sizeof(double)));
    const double seconds = (chunk->build_seconds + ks_wall_seconds() - start) / (double)chunk->n_frame;
    for (int64_t j = 0; j < chunk->n_frame; j++) {
        const int64_t k = chunk->file_order[j];
        KS_TRY(report_frame(job, chunk, &a, k, a.mask[k] == 0.0, job->m.refine.n_build, seconds));
    }
    fflush(stdout);
done:
    arrays_free(ctx, &a);
    return st;
}

int ks_cmd_predict(int argc, char **argv) {
    const char      *selection = NULL, *kind = NULL, *out = NULL;
    int64_t          steps = -1, charge = INT32_MIN;
    const ks_cli_opt opt[] = {
        {"frames", 'f', KS_OPT_TEXT, "SLICE", "frames as a Python slice: 5, 0:8, ::100 (default: all)", &selection},
        {"charge", 0, KS_OPT_INT, "Q", "total charge of every frame (default: the file's, or 0)", &charge},
        {"refine", 0, KS_OPT_TEXT, "KIND",
         "none, qpt, qptx, cdiis, anderson, damped (default: the config's eval.refine)", &kind},
        {"steps", 0, KS_OPT_INT, "N", "Fock builds of the refinement (default: the config's, or the scheme's)", &steps},
        {"out", 'o', KS_OPT_TEXT, "FILE.h5", "write E, eps, F (= H), P, S, C, dipole of each frame", &out},
        {NULL, 0, KS_OPT_FLAG, NULL, NULL, NULL}};
    const ks_cli_spec spec = {"predict RUN|CKPT GEOM [options]",
                              "Predicts the Hamiltonian of each frame of GEOM with a trained network, refines it, and "
                              "prints energy (of the last\n"
                              "density), gap (of H), dipole, root-mean-square of the commutator (0 at "
                              "self-consistency) and time. RUN is a run\n"
                              "folder, of which the best checkpoint is taken. A file of --out starts an SCF: ksgrad "
                              "scf GEOM --guess FILE.h5.",
                              "ksgrad predict runs/quickstart new.xyz --out new.h5\nksgrad predict "
                              "runs/uracil/ckpt/best uracil.npz --frames 0:8 --refine cdiis --steps 4",
                              opt,
                              2,
                              2};
    const char       *arg[KS_CLI_MAX_ARG];
    int               n_arg;
    const int         rc = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;

    ks_status   st  = KS_OK;
    predict_job job = {0};
    ks_chunk    chunk;
    char        refine[64];
    KS_CHECK(charge == INT32_MIN || (charge >= -100 && charge <= 100), KS_ERR_ARG, "--charge %lld is outside -100..100",
             (long long)charge);
    KS_TRY(ks_cli_not_input("--out", out, 2, arg));
    KS_TRY(ks_cli_model_open(arg[0], kind, steps, 0, &job.m));
    KS_TRY(ks_cli_frames(arg[1], selection, &job.frames, &job.index));
    KS_TRY(ks_refine_create(job.m.ctx, &job.m.refine, &job.refine));
    snprintf(refine, sizeof refine, "%s, %d Fock builds", ks_refine_kind_name(job.m.refine.kind), job.m.refine.n_build);
    if (out) {
        const ks_result_head head = {.kind   = "predict",
                                     .source = arg[1],
                                     .model  = job.m.info.dir,
                                     .method = &job.m.method,
                                     .basis  = ks_basis_name(job.m.basis),
                                     .guess  = "network",
                                     .refine = refine};
        KS_TRY(ks_result_create(out, &head, &job.out));
    }
    const ks_chunk_options chunks = {.memory_bytes = (int64_t)(job.m.config.device.memory_gib * 1073741824.0),
                                     .number       = job.index};
    KS_TRY(ks_chunks_create(job.m.ctx, job.m.basis, job.frames, &job.m.method, (int32_t)charge, &chunks, &job.chunks));
    printf("%s: %lld frame%s, %s/%s, grid level %d, refinement %s, network of step %lld\n", arg[1],
           (long long)job.frames->n_frame, job.frames->n_frame == 1 ? "" : "s", job.m.method.xc->name,
           ks_basis_name(job.m.basis), job.m.method.grid_level, refine, (long long)job.m.info.step);
    printf("  frame                E/Ha    gap/eV   dipole/D  commutator         ms\n");
    for (;;) {
        KS_TRY(ks_chunks_next(job.chunks, &chunk));
        if (chunk.n_frame == 0) break;
        KS_TRY(run_chunk(&job, &chunk));
    }
    if (out) KS_TRY(ks_result_commit(&job.out));
    if (job.n_masked)
        ks_log(KS_LOG_WARN, "%lld frames met a HOMO-LUMO gap below 1e-4 Ha: their densities are arbitrary",
               (long long)job.n_masked);
done:
    ks_refine_destroy(&job.refine);
    ks_chunks_destroy(&job.chunks);
    ks_result_close(&job.out);
    ks_frames_destroy(&job.frames);
    KS_FREE(job.index);
    ks_cli_model_close(&job.m);
    return ks_cli_finish(st);
}
