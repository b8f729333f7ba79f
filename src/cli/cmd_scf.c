/* cmd_scf.c -- converged SCF of each frame of a geometry file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "cli/work.h"
#include "io/result.h"

typedef struct scf_job {
    ks_config   config;
    ks_method   method;
    ks_ctx     *ctx;
    ks_basis   *basis;
    ks_frames  *frames;
    int64_t    *index; /* frame number in the file */
    ks_chunks  *chunks;
    const char *guess_path; /* NULL: minao or core */
    ks_result  *guess, *out;
    json_t     *json; /* array of frames, or NULL */
    int64_t     n_unconverged;
    double      seconds;
} scf_job;

/* Batch matrices of one chunk: host and backend copies. */
typedef struct scf_arrays {
    double       *F, *P, *C, *eps, *start;  /* backend */
    double       *hF, *hP, *hC, *heps, *hS; /* host; hS one frame */
    ks_scf_frame *frame;
    int64_t       mat, vec;
} scf_arrays;

static void arrays_free(ks_ctx *ctx, scf_arrays *a) {
    double **backend[] = {&a->F, &a->P, &a->C, &a->eps, &a->start};
    double **host[]    = {&a->hF, &a->hP, &a->hC, &a->heps, &a->hS};
    for (size_t k = 0; k < sizeof backend / sizeof *backend; k++) ks_mem_free(ctx, (void **)backend[k]);
    for (size_t k = 0; k < sizeof host / sizeof *host; k++) ks_host_free((void **)host[k]);
    KS_FREE(a->frame);
}

static ks_status arrays_alloc(ks_ctx *ctx, const ks_chunk *chunk, scf_arrays *a) {
    ks_status st   = KS_OK;
    int64_t   most = 0;
    a->mat         = ks_batch_mat_size(chunk->batch);
    a->vec         = ks_batch_vec_size(chunk->batch);
    for (int64_t s = 0; s < chunk->batch->n_segment; s++) {
        const int64_t n = chunk->batch->segment[s].tensors->sys->n_ao;
        if (n > most) most = n;
    }
    double **mats[] = {&a->F, &a->P, &a->C, &a->start}, **hosts[] = {&a->hF, &a->hP, &a->hC};
    for (size_t k = 0; k < 4; k++) KS_TRY(ks_mem_alloc(ctx, (size_t)a->mat * sizeof(double), (void **)mats[k]));
    for (size_t k = 0; k < 3; k++) KS_TRY(ks_host_alloc(a->mat, sizeof(double), (void **)hosts[k]));
    KS_TRY(ks_mem_alloc(ctx, (size_t)a->vec * sizeof(double), (void **)&a->eps));
    KS_TRY(KS_NEW(a->heps, a->vec));
    KS_TRY(KS_NEW(a->hS, most * most));
    KS_TRY(KS_ZNEW(a->frame, chunk->n_frame));
done:
    return st;
}

/* Matrices of --guess FILE into a->start; *is_density when they are densities. */
static ks_status read_guess(scf_job *job, const ks_chunk *chunk, scf_arrays *a, int *is_density) {
    ks_status st   = KS_OK;
    int       kind = -1;
    for (int64_t k = 0; k < chunk->n_frame; k++) {
        const ks_tensors *t     = ks_chunk_tensors(chunk, k, NULL);
        const int64_t     frame = chunk->frame[k];
        int               which = 0;
        KS_TRY(ks_result_matrix(job->guess, job->index[frame], t->sys->n_atom, t->sys->Z,
                                job->frames->pos + 3 * job->frames->atom_off[frame], t->sys->n_ao, "F,P",
                                a->hF + ks_chunk_mat_offset(chunk, k), &which));
        KS_CHECK(kind < 0 || kind == which, KS_ERR_DATA, "%s: frame %lld has no F but others do", job->guess_path,
                 (long long)job->index[frame]);
        kind = which;
    }
    KS_TRY(ks_mem_to_backend(job->ctx, a->start, a->hF, (size_t)a->mat * sizeof *a->hF));
    *is_density = kind == 1;
done:
    return st;
}

static ks_status report_frame(scf_job *job, const ks_chunk *chunk, const scf_arrays *a, int64_t k, double seconds) {
    ks_status           st    = KS_OK;
    const ks_scf_frame *f     = &a->frame[k];
    const int64_t       frame = chunk->frame[k], number = job->index[frame];
    int32_t             slot = 0;
    const ks_tensors   *t    = ks_chunk_tensors(chunk, k, &slot);
    const ks_system    *sys  = t->sys;
    const int64_t nn = sys->n_ao * sys->n_ao, mat = ks_chunk_mat_offset(chunk, k), vec = ks_chunk_vec_offset(chunk, k);
    const int64_t n_elec = 2 * (int64_t)t->n_occ_host[slot * t->method.n_spin];
    int64_t       n_grid = 0;
    double        mu     = 0;
    for (int x = 0; x < 3; x++) mu += f->dipole[x] * f->dipole[x];
    KS_TRY(ks_grid_n_points(sys, job->method.grid_level, &n_grid));
    if (job->method.xc->family == KS_XC_NONE) n_grid = 0;
    printf("%7lld  %18.10f  %6d  %8.4f  %9.4f  %8.3f  %s\n", (long long)number, f->energy, f->cycles,
           f->gap * KS_HARTREE_EV, sqrt(mu) * KS_AU_DEBYE, seconds, f->converged ? "" : "NOT CONVERGED");
    if (!f->converged) {
        job->n_unconverged++;
        ks_log(KS_LOG_WARN, "frame %lld did not converge in %d cycles: orbital gradient %.2e (limit %.1e)",
               (long long)number, f->cycles, f->grad_rms, job->config.scf.conv_grad);
    }
    if (job->json)
        json_array_append_new(
            job->json, json_pack("{s:I, s:b, s:i, s:o, s:o, s:o, s:o, s:[o,o,o], s:I, s:I, s:I, s:o, s:o, s:o, s:s}",
                                 "frame", (json_int_t)number, "converged", f->converged, "cycles", f->cycles,
                                 "energy_Ha", ks_json_real(f->energy), "gap_eV", ks_json_real(f->gap * KS_HARTREE_EV),
                                 "homo_Ha", ks_json_real(f->homo), "lumo_Ha", ks_json_real(f->lumo), "dipole_D",
                                 ks_json_real(f->dipole[0] * KS_AU_DEBYE), ks_json_real(f->dipole[1] * KS_AU_DEBYE),
                                 ks_json_real(f->dipole[2] * KS_AU_DEBYE), "n_ao", (json_int_t)sys->n_ao, "n_electrons",
                                 (json_int_t)n_elec, "n_grid", (json_int_t)n_grid, "electrons_on_grid",
                                 ks_json_real(f->n_elec_grid), "grad_rms", ks_json_real(f->grad_rms), "seconds",
                                 ks_json_real(seconds), "formula", sys->formula));
    if (job->out) {
        ks_result_frame r = {.index      = number,
                             .n_atom     = sys->n_atom,
                             .n_ao       = sys->n_ao,
                             .Z          = sys->Z,
                             .pos        = job->frames->pos + 3 * job->frames->atom_off[frame],
                             .charge     = (int32_t)(sys->n_electron - n_elec),
                             .n_electron = n_elec,
                             .converged  = f->converged,
                             .cycles     = f->cycles,
                             .energy     = f->energy,
                             .dipole     = {f->dipole[0], f->dipole[1], f->dipole[2]},
                             .eps        = a->heps + vec,
                             .F          = a->hF + mat,
                             .P          = a->hP + mat,
                             .S          = a->hS,
                             .C          = a->hC + mat};
        KS_TRY(ks_mem_to_host(job->ctx, a->hS, t->S + slot * nn, (size_t)nn * sizeof *a->hS));
        KS_TRY(ks_result_add(job->out, &r));
    }
done:
    return st;
}

static ks_status run_chunk(scf_job *job, const ks_chunk *chunk) {
    ks_status    st         = KS_OK;
    scf_arrays   a          = {0};
    int          is_density = 0;
    const double start      = ks_wall_seconds();
    KS_TRY(arrays_alloc(job->ctx, chunk, &a));
    if (job->guess) KS_TRY(read_guess(job, chunk, &a, &is_density));
    KS_TRY(ks_scf_run(job->ctx, chunk->batch, &job->config.scf, job->guess && !is_density ? a.start : NULL,
                      job->guess && is_density ? a.start : NULL, a.F, a.P, a.C, a.eps, a.frame));
    KS_TRY(ks_mem_to_host(job->ctx, a.hF, a.F, (size_t)a.mat * sizeof(double)));
    KS_TRY(ks_mem_to_host(job->ctx, a.hP, a.P, (size_t)a.mat * sizeof(double)));
    KS_TRY(ks_mem_to_host(job->ctx, a.hC, a.C, (size_t)a.mat * sizeof(double)));
    KS_TRY(ks_mem_to_host(job->ctx, a.heps, a.eps, (size_t)a.vec * sizeof(double)));
    const double seconds = chunk->build_seconds + ks_wall_seconds() - start;
    for (int64_t k = 0; k < chunk->n_frame; k++)
        KS_TRY(report_frame(job, chunk, &a, chunk->file_order[k], seconds / (double)chunk->n_frame));
    fflush(stdout);
    job->seconds += seconds;
done:
    arrays_free(job->ctx, &a);
    return st;
}

static const char *guess_name(const scf_job *job) {
    return job->guess_path ? job->guess_path : job->method.guess == KS_GUESS_CORE ? "core" : "minao";
}

static ks_status open_job(scf_job *job, const char *geometry, const char *selection, const char *out,
                          const char *json) {
    ks_status         st       = KS_OK;
    const char *const inputs[] = {geometry, job->guess_path};
    KS_TRY(ks_cli_not_input("--out", out, 2, (const char *const[]){geometry, NULL}));
    KS_TRY(ks_cli_not_input("--json", json, 2, inputs));
    KS_TRY(ks_config_method(&job->config, &job->method));
    KS_TRY(ks_basis_load(job->config.method.basis, &job->basis));
    KS_TRY(ks_cli_frames(geometry, selection, &job->frames, &job->index));
    KS_TRY(ks_cli_ctx(job->config.device.backend, (int)job->config.device.threads, &job->ctx));
    if (job->guess_path) KS_TRY(ks_result_open(job->guess_path, &job->guess));
    if (json) KS_CHECK(job->json = json_array(), KS_ERR_NOMEM, "JSON array");
    if (out) {
        const ks_result_head head = {.kind        = "scf",
                                     .source      = geometry,
                                     .method      = &job->method,
                                     .basis       = ks_basis_name(job->basis),
                                     .guess       = guess_name(job),
                                     .conv_energy = job->config.scf.conv_energy,
                                     .conv_grad   = job->config.scf.conv_grad};
        KS_TRY(ks_result_create(out, &head, &job->out));
    }
done:
    return st;
}

static ks_status save_json(scf_job *job, const char *path) {
    json_t *method = ks_json_method(&job->method, ks_basis_name(job->basis));
    json_object_set_new(method, "conv_energy_Ha", json_real(job->config.scf.conv_energy));
    json_object_set_new(method, "conv_grad", json_real(job->config.scf.conv_grad));
    if (job->guess_path) json_object_set_new(method, "guess", json_string(job->guess_path));
    json_t *all = json_pack("{s:o, s:O}", "method", method, "frames", job->json);
    return ks_json_save(path, all);
}

int ks_cmd_scf(int argc, char **argv) {
    ks_method_args   method    = {0};
    const char      *selection = NULL, *guess = "minao", *out = NULL, *json = NULL;
    int64_t          charge = INT32_MIN, max_cycle = -1;
    double           conv = (double)NAN, conv_grad = (double)NAN; /* not given */
    const ks_cli_opt opt[] = {
        {"frames", 'f', KS_OPT_TEXT, "SLICE", "frames as a Python slice: 5, 0:8, ::100 (default: all)", &selection},
        KS_METHOD_OPTS(method),
        {"charge", 0, KS_OPT_INT, "Q", "total charge of every frame (default: the file's, or 0)", &charge},
        {"guess", 0, KS_OPT_TEXT, "HOW", "minao, core, or a file of scf --out or predict --out (default minao)",
         &guess},
        {"conv", 0, KS_OPT_REAL, "HA", "energy change at convergence (default 1e-9)", &conv},
        {"conv-grad", 0, KS_OPT_REAL, "X", "rms orbital gradient at convergence (default 1e-5)", &conv_grad},
        {"max-cycle", 0, KS_OPT_INT, "N", "most cycles (default 50)", &max_cycle},
        {"out", 'o', KS_OPT_TEXT, "FILE.h5", "write E, eps, F, P, S, C, dipole of each frame", &out},
        {"json", 'j', KS_OPT_TEXT, "FILE.json", "write the table as JSON", &json},
        {NULL, 0, KS_OPT_FLAG, NULL, NULL, NULL}};
    const ks_cli_spec spec = {
        "scf GEOM [options]",
        "Converged Kohn-Sham SCF of each frame of GEOM (.xyz, .extxyz, .npz in MD17 or rMD17 layout, ksgrad .h5), as\n"
        "many frames at a time as memory carries. Frames may differ in composition.\n"
        "The default tolerances give energies to 1e-9 Ha and orbital energies to 1e-6 Ha of the limit. For labels use\n"
        "--conv 1e-11 --conv-grad 1e-8. A frame that does not converge is reported and kept (converged = 0); the\n"
        "others go on, and the exit code is 6 at the end. An existing --out file is replaced only if it is such a "
        "file.",
        "ksgrad scf water.xyz --xc pbe0 --grid 3\nksgrad scf uracil.npz --frames 0:8 --out uracil_scf.h5 --json "
        "uracil_scf.json",
        opt,
        1,
        1};
    const char *arg[KS_CLI_MAX_ARG];
    int         n_arg;
    const int   rc = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;

    ks_status st  = KS_OK;
    scf_job   job = {0};
    ks_chunk  chunk;
    KS_CHECK(charge == INT32_MIN || (charge >= -100 && charge <= 100), KS_ERR_ARG, "--charge %lld is outside -100..100",
             (long long)charge);
    if (!strcmp(guess, "minao") || !strcmp(guess, "core")) method.guess = guess;
    else job.guess_path = guess;
    KS_TRY(ks_cli_method_config(&method, &job.config));
    KS_CHECK(isnan(conv) || conv > 0, KS_ERR_ARG, "--conv %g must be positive", conv);
    KS_CHECK(isnan(conv_grad) || conv_grad > 0, KS_ERR_ARG, "--conv-grad %g must be positive", conv_grad);
    KS_CHECK(max_cycle == -1 || (max_cycle >= 1 && max_cycle <= 10000), KS_ERR_ARG,
             "--max-cycle %lld is outside 1..10000", (long long)max_cycle);
    if (!isnan(conv)) job.config.scf.conv_energy = conv;
    if (!isnan(conv_grad)) job.config.scf.conv_grad = conv_grad;
    if (max_cycle > 0) job.config.scf.max_cycle = (int)max_cycle;
    KS_TRY(open_job(&job, arg[0], selection, out, json));
    const ks_chunk_options chunks = {.memory_bytes = (int64_t)(job.config.device.memory_gib * 1073741824.0),
                                     .number       = job.index};
    KS_TRY(ks_chunks_create(job.ctx, job.basis, job.frames, &job.method, (int32_t)charge, &chunks, &job.chunks));
    printf("%s: %lld frame%s, %s/%s, grid level %d, guess %s, %s, %d thread%s\n", arg[0],
           (long long)job.frames->n_frame, job.frames->n_frame == 1 ? "" : "s", job.method.xc->name,
           ks_basis_name(job.basis), job.method.grid_level, guess_name(&job), ks_ctx_backend(job.ctx),
           ks_ctx_threads(job.ctx), ks_ctx_threads(job.ctx) == 1 ? "" : "s");
    printf("  frame                E/Ha  cycles    gap/eV   dipole/D   seconds\n");
    for (;;) {
        KS_TRY(ks_chunks_next(job.chunks, &chunk));
        if (chunk.n_frame == 0) break;
        KS_TRY(run_chunk(&job, &chunk));
    }
    printf("%lld of %lld frames converged in %.2f s\n", (long long)(job.frames->n_frame - job.n_unconverged),
           (long long)job.frames->n_frame, job.seconds);
    if (json) KS_TRY(save_json(&job, json));
    if (out) KS_TRY(ks_result_commit(&job.out));
    KS_CHECK(job.n_unconverged == 0, KS_ERR_NUMERIC, "%lld of %lld frames did not converge in %d cycles",
             (long long)job.n_unconverged, (long long)job.frames->n_frame, job.config.scf.max_cycle);
done:
    ks_chunks_destroy(&job.chunks);
    ks_result_close(&job.out);
    ks_result_close(&job.guess);
    if (job.json) json_decref(job.json);
    ks_frames_destroy(&job.frames);
    KS_FREE(job.index);
    ks_basis_destroy(&job.basis);
    ks_ctx_destroy(&job.ctx);
    return ks_cli_finish(st);
}
