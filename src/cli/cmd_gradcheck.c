/* cmd_gradcheck.c -- the adjoint of the whole training step on the user's own data against finite differences. */
#include <string.h>
#include "cli/work.h"
#include "ksgrad/gradcheck.h"

static const double LIMIT = 1e-6;

static void print_stage(void *user, const ks_gradcheck_stage *s) {
    (void)user;
    printf("  %-9s %-32s %10d  %9.1e  %22.15e  %22.15e  %8.2f%s\n", s->name, s->what, s->n_direction, s->max_error,
           s->adjoint, s->difference, s->seconds, s->max_error > LIMIT ? "  ABOVE THE LIMIT" : "");
    fflush(stdout);
}

/* The network of the config in fp64, with the first frame of each composition as its reference geometry. */
static ks_status make_model(ks_ctx *ctx, const ks_config *config, const ks_chunk *chunk, const ks_frames *frames,
                            ks_model **out) {
    ks_status        st  = KS_OK;
    ks_model_options opt = config->model.options;
    opt.precision        = KS_FP64;
    opt.n_ao_kind        = chunk->batch->segment[0].tensors->sys->n_ao_kind;
    KS_TRY(ks_model_create(ctx, &opt, (uint64_t)config->run.seed, out));
    for (int64_t k = 0; opt.frame == KS_FRAME_KABSCH && k < chunk->n_frame; k++) {
        const ks_system *sys = ks_chunk_tensors(chunk, k, NULL)->sys;
        if (chunk->in_segment[k] == 0)
            KS_TRY(
                ks_model_set_reference(*out, sys->n_atom, sys->Z, frames->pos + 3 * frames->atom_off[chunk->frame[k]]));
    }
done:
    return st;
}

typedef struct gradcheck_job {
    ks_config            config;
    ks_method            method;
    ks_ctx              *ctx;
    ks_basis            *basis;
    ks_frames           *frames;
    int64_t             *index;
    ks_chunks           *chunks;
    ks_chunk             chunk;
    ks_model            *model;
    ks_gradcheck_options opt;
    double               worst;
    int64_t              n_direction;
} gradcheck_job;

static ks_status run_one(gradcheck_job *job, const ks_refine_options *refine, const ks_loss_weights *loss) {
    ks_status st    = KS_OK;
    double    worst = 0;
    printf("refine %s, %d Fock builds; loss", ks_refine_kind_name(refine->kind), refine->n_build);
    const double weight[5] = {loss->energy, loss->commutator, loss->self_consistency, loss->hamiltonian, loss->density};
    const char *const name[5] = {"energy", "commutator", "self_consistency", "hamiltonian", "density"};
    for (int k = 0; k < 5; k++)
        if (weight[k] != 0) printf(" %s %g", name[k], weight[k]);
    printf("\n  %-9s %-32s %10s  %9s  %22s  %22s  %8s\n", "stage", "scalar", "directions", "rel. err.", "adjoint",
           "difference", "seconds");
    KS_TRY(
        ks_gradcheck_run(job->ctx, job->chunk.batch, refine, loss, job->model, &job->opt, print_stage, NULL, &worst));
    if (worst > job->worst) job->worst = worst;
    job->n_direction += 8 * job->opt.n_direction; /* eight stages */
done:
    return st;
}

/* Every scheme with every loss alone, and with all together. */
static ks_status run_all(gradcheck_job *job) {
    ks_status             st     = KS_OK;
    const ks_refine_kind  kind[] = {KS_REFINE_NONE,  KS_REFINE_QPT,      KS_REFINE_QPTX,
                                    KS_REFINE_CDIIS, KS_REFINE_ANDERSON, KS_REFINE_DAMPED};
    const ks_loss_weights all    = {1, 1, 1, 1, 1};
    for (size_t k = 0; k < sizeof kind / sizeof *kind; k++) {
        const ks_refine_options refine = {kind[k], ks_refine_default_builds(kind[k])};
        KS_TRY(run_one(job, &refine, &(ks_loss_weights){.energy = 1}));
        KS_TRY(run_one(job, &refine, &(ks_loss_weights){.commutator = 1}));
        KS_TRY(run_one(job, &refine, &(ks_loss_weights){.self_consistency = 1}));
        KS_TRY(run_one(job, &refine, &(ks_loss_weights){.hamiltonian = 1}));
        KS_TRY(run_one(job, &refine, &(ks_loss_weights){.density = 1}));
        KS_TRY(run_one(job, &refine, &all));
    }
done:
    return st;
}

int ks_cmd_gradcheck(int argc, char **argv) {
    const char      *selection = "0:1", *kind = NULL;
    int64_t          directions = 3, steps = -1, seed = 1;
    double           plant = 0;
    int              all   = 0;
    const ks_cli_opt opt[] = {
        {"frames", 'f', KS_OPT_TEXT, "SLICE", "frames of data.file to take as one batch (default 0:1)", &selection},
        {"directions", 'n', KS_OPT_INT, "N", "random directions per stage (default 3)", &directions},
        {"refine", 0, KS_OPT_TEXT, "KIND",
         "none, qpt, qptx, cdiis, anderson, damped (default: the config's refine.kind)", &kind},
        {"steps", 0, KS_OPT_INT, "N", "Fock builds of the refinement (default: the config's, or the scheme's)", &steps},
        {"all", 0, KS_OPT_FLAG, NULL, "every refinement scheme with every loss", &all},
        {"seed", 0, KS_OPT_INT, "N", "of the random directions (default 1)", &seed},
        {"plant", 0, KS_OPT_REAL, "X", "multiply the adjoint by 1 + X: shows that the check fails when it should",
         &plant},
        {NULL, 0, KS_OPT_FLAG, NULL, NULL, NULL}};
    const ks_cli_spec spec = {
        "gradcheck CONFIG.yaml [options]",
        "Compares the hand-written adjoints of a training step with finite differences on the "
        "config's own data, in fp64 and\n"
        "stage by stage: energy, Fock build, density, refinement, loss, network, and the whole "
        "step from the parameters to\n"
        "the loss. Random directions; central differences extrapolated by Ridders' method; errors are relative to the "
        "value\n"
        "(or to a tenth of a typical one, when the direction is nearly at right angles to the gradient).\n"
        "The network is made new from the config, in fp64, its zero-initialised tensors filled "
        "with small random numbers.\n"
        "Exit code 6 when the largest relative error is above 1e-6.",
        "ksgrad gradcheck configs/qpt-water.yaml --frames 0:2\nksgrad gradcheck uracil.yaml "
        "--set method.grid=0 --refine qpt --directions 5",
        opt,
        1,
        1};
    const char *arg[KS_CLI_MAX_ARG];
    int         n_arg;
    const int   rc = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;

    ks_status          st  = KS_OK;
    gradcheck_job      job = {0};
    int                n_set;
    const char *const *sets = ks_cli_sets(&n_set);
    KS_CHECK(directions >= 1 && directions <= 1000, KS_ERR_ARG, "--directions %lld is outside 1..1000",
             (long long)directions);
    KS_TRY(ks_config_load(arg[0], n_set, sets, &job.config));
    ks_refine_options refine = job.config.refine;
    KS_TRY(ks_cli_refine(kind, steps, &refine));
    job.opt = (ks_gradcheck_options){(int)directions, (uint64_t)seed, plant};
    KS_TRY(ks_config_method(&job.config, &job.method));
    KS_TRY(ks_basis_load(job.config.method.basis, &job.basis));
    KS_TRY(ks_cli_frames(job.config.data.file, selection, &job.frames, &job.index));
    KS_TRY(ks_cli_ctx(job.config.device.backend, (int)job.config.device.threads, &job.ctx));
    const ks_chunk_options chunks = {.memory_bytes = (int64_t)(job.config.device.memory_gib * 1073741824.0),
                                     .max_frames   = job.frames->n_frame,
                                     .n_matrix     = 128,
                                     .number       = job.index};
    KS_TRY(ks_chunks_create(job.ctx, job.basis, job.frames, &job.method, INT32_MIN, &chunks, &job.chunks));
    KS_TRY(ks_chunks_next(job.chunks, &job.chunk));
    KS_CHECK(job.chunk.n_frame == job.frames->n_frame, KS_ERR_NOMEM,
             "%lld frames do not fit into memory at once, %lld do", (long long)job.frames->n_frame,
             (long long)job.chunk.n_frame);
    KS_TRY(make_model(job.ctx, &job.config, &job.chunk, job.frames, &job.model));
    printf("%s: %lld frame%s of %s, %s/%s, grid level %d, network %s d %lld, heads %lld, layers %lld, %lld parameters, "
           "fp64\n",
           arg[0], (long long)job.frames->n_frame, job.frames->n_frame == 1 ? "" : "s", job.config.data.file,
           job.method.xc->name, ks_basis_name(job.basis), job.method.grid_level, job.config.model.options.kind,
           (long long)job.config.model.options.d_model, (long long)job.config.model.options.heads,
           (long long)job.config.model.options.layers, (long long)ks_params_n_scalar(ks_model_params(job.model)));
    if (all) KS_TRY(run_all(&job));
    else KS_TRY(run_one(&job, &refine, &job.config.loss));
    printf("gradcheck: max relative error %.1e over %lld directions\n", job.worst, (long long)job.n_direction);
    KS_CHECK(job.worst <= LIMIT, KS_ERR_NUMERIC, "gradcheck: relative error %.1e is above the limit %.0e", job.worst,
             LIMIT);
done:
    ks_model_destroy(&job.model);
    ks_chunks_destroy(&job.chunks);
    ks_frames_destroy(&job.frames);
    KS_FREE(job.index);
    ks_basis_destroy(&job.basis);
    ks_ctx_destroy(&job.ctx);
    return ks_cli_finish(st);
}
