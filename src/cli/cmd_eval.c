/* cmd_eval.c -- all metrics of a network beside the same refinement without it. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "cli/eval_report.h"
#include "cli/work.h"
#include "core/hash.h"
#include "io/result.h"
#include "ksgrad/train.h"

typedef struct eval_job {
    ks_cli_model    m;
    ks_frames      *frames;
    int64_t        *index; /* frame number in the file */
    ks_chunks      *chunks;
    ks_data        *data; /* labels; NULL: computed here */
    ks_label_method label;
    ks_result      *prediction; /* --prediction */
    ks_eval_options opt;
    ks_eval_report  report;
} eval_job;

/* ---- which frames ---- */

/* A part of the run's split, as frame numbers of a file of n_frame frames. */
static ks_status config_part(const ks_config *config, int64_t n_frame, int part, int64_t **index, int64_t *n) {
    ks_status st    = KS_OK;
    ks_split *split = NULL;
    KS_TRY(ks_config_split(config, n_frame, &split));
    *n = split->n[part];
    KS_CHECK(*n > 0, KS_ERR_DATA, "the %s part of the split is empty", ks_part_name(part));
    KS_TRY(KS_NEW(*index, *n));
    memcpy(*index, split->index[part], (size_t)*n * sizeof **index);
done:
    ks_split_destroy(&split);
    return st;
}

/* Frames of path: the named part of a split when there is one (given, or by default the run's test part), then the
 * slice. */
static ks_status choose_frames(eval_job *job, const char *path, const char *split, const char *selection) {
    ks_status  st   = KS_OK;
    ks_frames *all  = NULL;
    int64_t   *part = NULL, *slice = NULL, n_part = 0, n_slice = 0;
    KS_TRY(ks_frames_read(path, &all));
    if (split && ks_part_number(split) >= 0) {
        KS_TRY(config_part(&job->m.config, all->n_frame, ks_part_number(split), &part, &n_part));
        for (int64_t k = 0; k < n_part; k++)
            KS_CHECK(part[k] < all->n_frame, KS_ERR_DATA, "%s has %lld frames, the split names frame %lld", path,
                     (long long)all->n_frame, (long long)part[k]);
    } else if (split) {
        KS_CHECK(job->data, KS_ERR_ARG,
                 "--split %s: %s holds no splits (train, valid and test name parts of the run's own split)", split,
                 path);
        KS_TRY(ks_data_split_frames(job->data, split, &part, &n_part));
    } else {
        n_part = all->n_frame;
        KS_TRY(KS_NEW(part, n_part));
        for (int64_t k = 0; k < n_part; k++) part[k] = k;
    }
    KS_TRY(ks_slice_parse(selection ? selection : ":", n_part, &slice, &n_slice));
    KS_TRY(KS_NEW(job->index, n_slice));
    for (int64_t k = 0; k < n_slice; k++) job->index[k] = part[slice[k]];
    KS_TRY(ks_frames_select(all, n_slice, job->index, &job->frames));
done:
    KS_FREE(part);
    KS_FREE(slice);
    ks_frames_destroy(&all);
    return st;
}

/* ---- references and predictions from files ---- */

static ks_status read_label(void *user, int64_t frame, int64_t n, double *H, double *energy, double *dipole) {
    ks_status st    = KS_OK;
    eval_job *job   = user;
    ks_label  label = {.n_ao = n, .F = H};
    KS_TRY(ks_data_label_read(job->data, &job->label, job->index[frame], &label));
    KS_CHECK(label.n_ao == n, KS_ERR_DATA, "%s: the label of frame %lld has %lld AOs, this basis gives %lld",
             job->frames->source, (long long)job->index[frame], (long long)label.n_ao, (long long)n);
    KS_CHECK(label.converged, KS_ERR_DATA, "%s: the label of frame %lld did not converge", job->frames->source,
             (long long)job->index[frame]);
    *energy = label.energy;
    memcpy(dipole, label.dipole, sizeof label.dipole);
done:
    return st;
}

static ks_status read_prediction(void *user, int64_t frame, int64_t n, double *H, double *energy, double *dipole) {
    eval_job        *job = user;
    const ks_frames *f   = job->frames;
    const int64_t    at  = f->atom_off[frame];
    (void)energy;
    (void)dipole;
    return ks_result_matrix(job->prediction, job->index[frame], f->atom_off[frame + 1] - at, f->Z + at, f->pos + 3 * at,
                            n, "F,H", H, NULL);
}

/* Labels of the method in the data file when all frames have them; otherwise references are converged here, with a
 * notice. */
static ks_status choose_references(eval_job *job, const char *path, int label) {
    ks_status st   = KS_OK;
    int64_t  *todo = NULL, n_todo = 0;
    snprintf(job->label.xc, sizeof job->label.xc, "%s", job->m.method.xc->name);
    snprintf(job->label.basis, sizeof job->label.basis, "%s", ks_basis_name(job->m.basis));
    job->label.grid_level = job->m.method.grid_level;
    if (job->data && !label) {
        KS_TRY(ks_data_labels_missing(job->data, &job->label, job->frames->n_frame, job->index, &todo, &n_todo));
        if (n_todo == 0) {
            job->opt.reference      = read_label;
            job->opt.reference_user = job;
        }
    }
    if (job->opt.reference) {
        snprintf(job->report.reference, sizeof job->report.reference, "labels of %s (%s/%s, grid level %d)", path,
                 job->label.xc, job->label.basis, job->label.grid_level);
    } else {
        if (!label)
            ks_log(KS_LOG_INFO, "%s: %s; references are converged here (ksgrad data label stores them)", path,
                   n_todo ? "not every frame has a label of this method" : "no labels in this file");
        snprintf(job->report.reference, sizeof job->report.reference,
                 "converged here to %.0e Ha, orbital gradient %.0e", job->opt.label.conv_energy,
                 job->opt.label.conv_grad);
    }
done:
    KS_FREE(todo);
    return st;
}

/* ---- the run ---- */

static void print_progress(void *user, int64_t done, int64_t all) {
    (void)user;
    if (done < all) ks_log(KS_LOG_INFO, "%lld of %lld frames", (long long)done, (long long)all);
}

/* A rank that has read something else would still give figures. */
static ks_status check_equal(const eval_job *job) {
    ks_status        st = KS_OK;
    const ks_frames *f  = job->frames;
    const int64_t    n = f->n_frame, n_total = f->atom_off[n];
    const int64_t    how[] = {job->m.refine.kind, job->m.refine.n_build, job->opt.n_cycles, job->opt.reference != NULL};
    uint64_t         h     = KS_HASH_START;
    if (ks_comm_size(job->m.comm) == 1) return KS_OK;
    h = ks_hash_bytes(h, job->index, (size_t)n * sizeof *job->index);
    h = ks_hash_bytes(h, f->atom_off, (size_t)(n + 1) * sizeof *f->atom_off);
    h = ks_hash_bytes(h, f->Z, (size_t)n_total * sizeof *f->Z);
    h = ks_hash_bytes(h, f->pos, (size_t)(3 * n_total) * sizeof *f->pos);
    h = ks_hash_bytes(h, f->charge, (size_t)n * sizeof *f->charge);
    KS_TRY(ks_comm_check_equal(job->m.comm, "the frames to evaluate", h));
    KS_TRY(ks_comm_check_equal(job->m.comm, "options of the evaluation, or whether there are labels",
                               ks_hash_bytes(KS_HASH_START, how, sizeof how)));
    if (job->m.model) {
        KS_TRY(ks_params_hash(job->m.ctx, ks_model_params(job->m.model), &h));
        KS_TRY(ks_comm_check_equal(job->m.comm, "the weights of the network", h));
    }
done:
    return st;
}

/* Every rank its chunks; the report is filled on rank 0. */
static ks_status run(eval_job *job) {
    ks_status        st    = KS_OK;
    const int64_t    n     = job->frames->n_frame;
    ks_comm         *comm  = job->m.comm;
    ks_eval_frame   *rows  = NULL;
    double          *work  = NULL;
    const int64_t    given = (int64_t)(job->m.config.device.memory_gib * 1073741824.0);
    ks_chunk_options opt   = {.rank = ks_comm_rank(comm), .size = ks_comm_size(comm), .number = job->index};
    KS_TRY(check_equal(job));
    KS_TRY(ks_eval_memory(job->m.ctx, comm, given, &opt.memory_bytes));
    KS_TRY(KS_NEW(work, n));
    for (int64_t k = 0; k < n; k++) work[k] = ks_eval_work(&job->opt, k);
    opt.work = work;
    KS_TRY(ks_chunks_create(job->m.ctx, job->m.basis, job->frames, &job->m.method, INT32_MIN, &opt, &job->chunks));
    if (opt.rank == 0) KS_TRY(KS_NEW(rows, n));
    KS_TRY(ks_eval_run(job->m.ctx, comm, job->chunks, &job->opt, n, rows, &job->report.time, print_progress, NULL));
    for (int64_t k = 0; rows && k < n; k++) {
        rows[k].frame = job->index[k];
        KS_TRY(ks_eval_report_add(&job->report, &rows[k]));
    }
done:
    KS_FREE(work);
    KS_FREE(rows);
    return st;
}

static ks_status make_folder(const char *path) {
    ks_status   st = KS_OK;
    struct stat s;
    if (mkdir(path, 0777) != 0) {
        const int why = errno;
        KS_CHECK(why == EEXIST && stat(path, &s) == 0 && S_ISDIR(s.st_mode), KS_ERR_IO, "cannot make the folder %s: %s",
                 path, strerror(why == EEXIST ? ENOTDIR : why));
    }
done:
    return st;
}

typedef struct eval_args {
    const char *model, *data, *split, *frames, *out, *kind, *prediction;
    int64_t     steps, cycles;
    int         label;
} eval_args;

static ks_status evaluate(eval_job *job, const eval_args *a) {
    ks_status   st   = KS_OK;
    const char *path = a->data;
    if (a->model) {
        KS_TRY(ks_cli_model_open(a->model, a->kind, a->steps, 1, &job->m));
        if (!path) path = job->m.config.data.file;
    } else {
        KS_TRY(ks_cli_no_model_open(a->kind, a->steps, &job->m));
        KS_TRY(ks_result_open(a->prediction, &job->prediction));
        job->opt.prediction      = read_prediction;
        job->opt.prediction_user = job;
    }
    KS_CHECK(path && path[0], KS_ERR_CONFIG, "the run's config names no data.file: give --data GEOM");
    if (ks_data_is_data(path)) KS_TRY(ks_data_open(path, &job->data));
    const char *split = a->split ? a->split : a->model && !a->data ? "test" : NULL;
    KS_TRY(choose_frames(job, path, split, a->frames));
    job->opt.refine   = job->m.refine;
    job->opt.scf      = job->m.config.scf;
    job->opt.label    = ks_label_defaults();
    job->opt.n_cycles = a->cycles < 0 ? INT64_MAX : a->cycles;
    job->opt.model    = job->m.model;
    KS_TRY(choose_references(job, path, a->label));
    const int first = ks_comm_rank(job->m.comm) == 0; /* writes; every rank reads for itself */
    if (a->out && first) KS_TRY(make_folder(a->out)); /* before the work, not after it */

    ks_eval_report *r = &job->report;
    r->method = &job->m.method, r->basis = ks_basis_name(job->m.basis), r->refine = job->m.refine;
    r->data = path, r->split = split, r->model = a->model ? job->m.info.dir : a->prediction, r->step = job->m.info.step;
    r->first_row = 1, r->has_network = a->model != NULL, r->world = ks_comm_size(job->m.comm);
    KS_TRY(run(job));
    if (first) {
        ks_eval_report_print(r, stdout);
        if (a->out) KS_TRY(ks_eval_report_save(r, a->out));
        KS_CHECK(r->n_frame > r->n_reference_unconverged, KS_ERR_NUMERIC, "no reference converged");
    }
    KS_TRY(ks_comm_barrier(job->m.comm, "the end of the evaluation")); /* all ranks end alike */
done:
    return st;
}

int ks_cmd_eval(int argc, char **argv) {
    eval_args        a     = {.steps = -1, .cycles = 8};
    const ks_cli_opt opt[] = {
        {"data", 'd', KS_OPT_TEXT, "GEOM", "evaluate on this file (default: the run's own data file)", &a.data},
        {"split", 0, KS_OPT_TEXT, "NAME",
         "train, valid or test of the run's split, or a split of an .h5, e.g. qpt/test\n"
         "                                  (default: test; with --data: all frames)",
         &a.split},
        {"frames", 'f', KS_OPT_TEXT, "SLICE", "of these frames, as a Python slice: 5, 0:8, ::100 (default: all)",
         &a.frames},
        {"label", 0, KS_OPT_FLAG, NULL, "converge references here even if the file has labels", &a.label},
        {"refine", 0, KS_OPT_TEXT, "KIND",
         "none, qpt, qptx, cdiis, anderson, damped (default: the config's eval.refine)", &a.kind},
        {"steps", 0, KS_OPT_INT, "N", "Fock builds of the refinement (default: the config's, or the scheme's)",
         &a.steps},
        {"cycles", 0, KS_OPT_INT, "N", "count SCF cycles on the first N frames; -1: all, 0: none (default 8)",
         &a.cycles},
        {"prediction", 0, KS_OPT_TEXT, "FILE",
         "instead of a network: somebody's Hamiltonians, in the layout of predict --out", &a.prediction},
        {"out", 'o', KS_OPT_TEXT, "DIR", "write DIR/summary.json and DIR/per_frame.csv", &a.out},
        {NULL, 0, KS_OPT_FLAG, NULL, NULL, NULL}};
    const ks_cli_spec spec = {"eval RUN|CKPT [options]",
                              "All metrics of a trained network on frames that it has not seen, and beside them those "
                              "of the same refinement\n"
                              "without network (W = 0) and of QPT's refinement without network. RUN is a run folder, "
                              "of which the best checkpoint\n"
                              "is taken. References are the labels of the model's method in the data file or, when "
                              "they are missing, converged\n"
                              "here to 1e-11 Ha and an orbital gradient of 1e-8. Energy, dipole and commutator are "
                              "those of the last density;\n"
                              "H, eps, psi and gap those of the H that the refinement reports. psi similarity is the "
                              "mean over occupied orbitals\n"
                              "of |cosine| between AO coefficient columns (the published definition), psi overlap the "
                              "same in the metric of S;\n"
                              "orbitals are paired by energy, so that degenerate ones lower both. Frames whose "
                              "reference does not converge are\n"
                              "left out of the means and counted. --prediction FILE --data GEOM [--set method.xc=...] "
                              "evaluates somebody else's\n"
                              "Hamiltonians (with --refine none unless another is named).\n"
                              "Started by srun, mpirun or torchrun as several ranks, each evaluates a share of the "
                              "frames; the first one collects\n"
                              "them and writes. Figures and number of frames are those of a single rank.",
                              "ksgrad eval runs/quickstart --out eval\nmpirun -n 4 ksgrad eval runs/quickstart --out "
                              "eval\nksgrad eval runs/uracil/ckpt/best --data "
                              "uracil.h5 --split qpt/test --refine cdiis --steps 4\n"
                              "ksgrad eval --prediction theirs.h5 --data uracil.h5 --set method.xc=pbe",
                              opt,
                              0,
                              1};
    const char       *arg[KS_CLI_MAX_ARG];
    int               n_arg;
    const int         rc = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;
    if (n_arg == 0 && !a.prediction)
        return ks_cli_usage_error("eval", "missing argument: a run folder or a checkpoint");
    if (n_arg == 1 && a.prediction)
        return ks_cli_usage_error("eval", "--prediction takes the place of a run or checkpoint");
    if (a.prediction && !a.data) return ks_cli_usage_error("eval", "--prediction needs --data GEOM");
    if (a.cycles < -1) return ks_cli_usage_error("eval", "--cycles %lld is below -1", (long long)a.cycles);
    a.model = n_arg ? arg[0] : NULL;
    if (a.prediction && !a.kind) a.kind = "none";

    eval_job        job = {0};
    const ks_status st  = evaluate(&job, &a);
    ks_eval_report_free(&job.report);
    ks_chunks_destroy(&job.chunks);
    ks_frames_destroy(&job.frames);
    KS_FREE(job.index);
    ks_result_close(&job.prediction);
    ks_data_close(&job.data);
    const int code = ks_cli_finish(st);
    ks_cli_model_close(&job.m);
    return code;
}
