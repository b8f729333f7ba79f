/* cmd_data_label.c -- data label and data verify: converged SCF of the frames of a data file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/cli.h"
#include "cli/cmd_data.h"
#include "cli/signals.h"
#include "ksgrad/eval.h"

/* Tighter than a plain SCF: H and eps err linearly in the orbital gradient, and errors of a network are measured
 * against them. */
static const char *const label_defaults[] = {"scf.conv=1e-10", "scf.conv_grad=1e-8", "scf.max_cycle=100"};
enum { N_LABEL_DEFAULT = 3, FRAMES_AT_ONCE = 8, MAX_SET = 64 };

/* The configuration of this command line: label defaults, then what the user gave. */
static ks_status label_config(ks_config *config) {
    ks_status          st = KS_OK;
    const char        *all[MAX_SET];
    int                n_set;
    const char *const *set = ks_cli_sets(&n_set);
    KS_CHECK(n_set + N_LABEL_DEFAULT <= MAX_SET, KS_ERR_ARG, "%d settings, the limit is %d", n_set,
             MAX_SET - N_LABEL_DEFAULT);
    memcpy(all, label_defaults, sizeof label_defaults);
    for (int k = 0; k < n_set; k++) all[N_LABEL_DEFAULT + k] = set[k];
    KS_TRY(ks_config_load(NULL, n_set + N_LABEL_DEFAULT, all, config));
done:
    return st;
}

typedef struct short_options { /* short forms of method.* and scf.* */
    const char *xc, *basis, *grid, *conv, *conv_grad;
} short_options;

static ks_status add_shorts(const short_options *s) {
    ks_status st = KS_OK;
    if (s->xc) KS_TRY(ks_cli_add_set("method.xc", s->xc));
    if (s->basis) KS_TRY(ks_cli_add_set("method.basis", s->basis));
    if (s->grid) KS_TRY(ks_cli_add_set("method.grid", s->grid));
    if (s->conv) KS_TRY(ks_cli_add_set("scf.conv", s->conv));
    if (s->conv_grad) KS_TRY(ks_cli_add_set("scf.conv_grad", s->conv_grad));
done:
    return st;
}

static void fill_label_method(const ks_config *c, const ks_method *m, const ks_basis *basis, ks_label_method *out) {
    memset(out, 0, sizeof *out);
    snprintf(out->xc, sizeof out->xc, "%s", m->xc->name);
    snprintf(out->basis, sizeof out->basis, "%s", ks_basis_name(basis));
    ks_basis_sha256(basis, out->basis_sha256);
    out->grid_level = m->grid_level;
    out->n_libxc    = m->xc->n_part;
    for (int k = 0; k < m->xc->n_part; k++) {
        out->libxc_id[k]     = m->xc->part[k].libxc_id;
        out->libxc_weight[k] = m->xc->part[k].weight;
    }
    out->hybrid = m->xc->hybrid;
    snprintf(out->grid, sizeof out->grid, "PySCF level %d: Treutler-Ahlrichs, Lebedev, NWChem pruning, Becke",
             m->grid_level);
    out->conv_energy = c->scf.conv_energy;
    out->conv_grad   = c->scf.conv_grad;
    snprintf(out->program, sizeof out->program, "ksgrad %s", ks_version());
}

/* ---- converged SCF over a list of frames ---- */

/* Called per frame, in any order within a chunk. */
typedef ks_status (*frame_sink)(void *user, int64_t k, const ks_scf_frame *result, const ks_label *label);

typedef struct matrices { /* of a chunk: backend memory, and one frame's in host memory */
    ks_ctx       *ctx;
    int64_t       n_mat, n_vec, n_frame, n_host;
    double       *F, *P, *eps;
    double       *host_F, *host_P, *host_eps;
    ks_scf_frame *result;
} matrices;

static void matrices_free(matrices *m) {
    ks_mem_free(m->ctx, (void **)&m->F);
    ks_mem_free(m->ctx, (void **)&m->P);
    ks_mem_free(m->ctx, (void **)&m->eps);
    KS_FREE(m->host_F);
    KS_FREE(m->host_P);
    KS_FREE(m->host_eps);
    KS_FREE(m->result);
}

static ks_status matrices_fit(matrices *m, const ks_batch *batch) {
    ks_status     st    = KS_OK;
    const int64_t n_mat = ks_batch_mat_size(batch), n_vec = ks_batch_vec_size(batch), n_frame = ks_batch_n_frame(batch);
    int64_t       largest = 0;
    for (int64_t s = 0; s < batch->n_segment; s++)
        if (batch->segment[s].tensors->sys->n_ao > largest) largest = batch->segment[s].tensors->sys->n_ao;
    if (n_mat <= m->n_mat && n_vec <= m->n_vec && n_frame <= m->n_frame && largest <= m->n_host) goto done;
    matrices_free(m);
    KS_TRY(ks_mem_alloc(m->ctx, (size_t)n_mat * sizeof(double), (void **)&m->F));
    KS_TRY(ks_mem_alloc(m->ctx, (size_t)n_mat * sizeof(double), (void **)&m->P));
    KS_TRY(ks_mem_alloc(m->ctx, (size_t)n_vec * sizeof(double), (void **)&m->eps));
    KS_TRY(KS_NEW(m->host_F, largest * largest));
    KS_TRY(KS_NEW(m->host_P, largest * largest));
    KS_TRY(KS_NEW(m->host_eps, largest));
    KS_TRY(KS_NEW(m->result, n_frame));
    m->n_mat   = n_mat;
    m->n_vec   = n_vec;
    m->n_frame = n_frame;
    m->n_host  = largest;
done:
    return st;
}

static ks_status hand_over(matrices *m, const ks_chunk *chunk, frame_sink sink, void *user) {
    ks_status st = KS_OK;
    for (int64_t k = 0; k < chunk->n_frame; k++) {
        const ks_tensors *t = ks_chunk_tensors(chunk, k, NULL);
        const int64_t     n = t->sys->n_ao;
        KS_TRY(
            ks_mem_to_host(m->ctx, m->host_F, m->F + ks_chunk_mat_offset(chunk, k), (size_t)(n * n) * sizeof(double)));
        KS_TRY(
            ks_mem_to_host(m->ctx, m->host_P, m->P + ks_chunk_mat_offset(chunk, k), (size_t)(n * n) * sizeof(double)));
        KS_TRY(ks_mem_to_host(m->ctx, m->host_eps, m->eps + ks_chunk_vec_offset(chunk, k), (size_t)n * sizeof(double)));
        const ks_scf_frame *r     = &m->result[k];
        const ks_label      label = {.n_ao      = n,
                                     .converged = r->converged,
                                     .cycles    = r->cycles,
                                     .energy    = r->energy,
                                     .dipole    = {r->dipole[0], r->dipole[1], r->dipole[2]},
                                     .F         = m->host_F,
                                     .P         = m->host_P,
                                     .eps       = m->host_eps};
        KS_TRY(sink(user, chunk->frame[k], r, &label));
    }
done:
    return st;
}

static ks_status run_scf(ks_ctx *ctx, const ks_config *c, const ks_basis *basis, const ks_method *method,
                         const ks_frames *frames, frame_sink sink, void *user) {
    ks_status              st     = KS_OK;
    ks_chunks             *chunks = NULL;
    matrices               m      = {.ctx = ctx};
    ks_chunk               chunk;
    const ks_chunk_options opt = {.memory_bytes = (int64_t)(c->device.memory_gib * 1073741824.0),
                                  .max_frames   = FRAMES_AT_ONCE};
    KS_TRY(ks_chunks_create(ctx, basis, frames, method, INT32_MIN, &opt, &chunks));
    for (;;) {
        KS_CHECK(!ks_cli_stop, KS_ERR_STOPPED, "stopped; the same command goes on from here");
        KS_TRY(ks_chunks_next(chunks, &chunk));
        if (chunk.n_frame == 0) break;
        KS_TRY(matrices_fit(&m, chunk.batch));
        KS_TRY(ks_scf_run(ctx, chunk.batch, &c->scf, NULL, NULL, m.F, m.P, NULL, m.eps, m.result));
        KS_TRY(hand_over(&m, &chunk, sink, user));
    }
done:
    matrices_free(&m);
    ks_chunks_destroy(&chunks);
    return st;
}

/* ---- label ---- */

typedef struct labelling {
    ks_label_writer *writer;
    const int64_t   *todo; /* frame numbers in the file */
    int64_t          n_todo, n_done, n_failed;
    int64_t          failed[8]; /* the first ones, for the message */
} labelling;

static ks_status store_label(void *user, int64_t k, const ks_scf_frame *r, const ks_label *label) {
    ks_status  st = KS_OK;
    labelling *l  = user;
    char       line[128];
    if (!r->converged) {
        if (l->n_failed < 8) l->failed[l->n_failed] = l->todo[k];
        l->n_failed++;
        ks_log(KS_LOG_WARN, "frame %lld did not converge in %d cycles (gradient %.2e): no label", (long long)l->todo[k],
               r->cycles, r->grad_rms);
        goto done;
    }
    KS_TRY(ks_label_writer_put(l->writer, l->todo[k], label));
    l->n_done++;
    snprintf(line, sizeof line, "frame %lld: E = %.9f Ha, %d cycles (%lld of %lld)", (long long)l->todo[k], r->energy,
             r->cycles, (long long)l->n_done, (long long)l->n_todo);
    if (isatty(STDERR_FILENO)) ks_cli_status_line(line);
    else ks_log(KS_LOG_INFO, "%s", line);
done:
    return st;
}

/* Number of AOs of every frame. */
static ks_status count_ao(const ks_basis *basis, const ks_frames *f, int64_t *n_ao) {
    ks_status  st  = KS_OK;
    ks_system *sys = NULL;
    for (int64_t k = 0; k < f->n_frame; k++) {
        const int64_t  n = f->atom_off[k + 1] - f->atom_off[k];
        const int32_t *Z = f->Z + f->atom_off[k];
        if (!sys || !ks_system_is_same(sys, n, Z)) {
            ks_system_destroy(&sys);
            KS_TRY(ks_system_create(basis, n, Z, &sys));
        }
        n_ao[k] = sys->n_ao;
    }
done:
    ks_system_destroy(&sys);
    return st;
}

/* Frames named by --split or --frames, or all. */
static ks_status wanted_frames(ks_data *data, const char *split, const char *slice, int64_t **index, int64_t *n) {
    ks_status st = KS_OK;
    if (split) KS_TRY(ks_data_split_frames(data, split, index, n));
    else KS_TRY(ks_slice_parse(slice ? slice : ":", ks_data_n_frame(data), index, n));
done:
    return st;
}

static ks_status label_file(ks_ctx *ctx, const ks_config *c, const char *path, const char *split, const char *slice) {
    ks_status       st     = KS_OK;
    ks_data        *data   = NULL;
    ks_basis       *basis  = NULL;
    ks_frames      *frames = NULL;
    int64_t        *index = NULL, *todo = NULL, *n_ao = NULL, n = 0;
    labelling       l = {0};
    ks_method       method;
    ks_label_method lm;
    KS_TRY(ks_config_method(c, &method));
    KS_TRY(ks_basis_load(c->method.basis, &basis));
    fill_label_method(c, &method, basis, &lm);
    KS_TRY(ks_data_labels_reserve(path, &lm, 0, NULL,
                                  NULL)); /* refuses other thresholds than those of the labels in the file */
    KS_TRY(ks_data_open(path, &data));
    KS_TRY(wanted_frames(data, split, slice, &index, &n));
    KS_TRY(ks_data_labels_missing(data, &lm, n, index, &todo, &l.n_todo));
    printf("%s: %s/%s, grid %d: %lld frames wanted, %lld have a label\n", path, lm.xc, lm.basis, lm.grid_level,
           (long long)n, (long long)(n - l.n_todo));
    if (l.n_todo == 0) goto done;
    KS_TRY(ks_data_frames(data, l.n_todo, todo, &frames));
    KS_TRY(KS_NEW(n_ao, l.n_todo));
    KS_TRY(count_ao(basis, frames, n_ao));
    ks_data_close(&data);
    KS_TRY(ks_data_labels_reserve(path, &lm, l.n_todo, todo, n_ao));
    KS_TRY(ks_label_writer_open(path, &lm, &l.writer));
    l.todo = todo;
    st     = run_scf(ctx, c, basis, &method, frames, store_label, &l);
    printf("%lld labels written, %lld missing\n", (long long)l.n_done, (long long)(l.n_todo - l.n_done));
    if (st != KS_OK) goto done;
    KS_TRY(ks_label_writer_close(&l.writer));
    KS_CHECK(l.n_failed == 0, KS_ERR_NUMERIC,
             "%s: %lld of %lld frames did not converge (first: %lld); try --set scf.max_cycle=300", path,
             (long long)l.n_failed, (long long)l.n_todo, (long long)l.failed[0]);
done:
    /* After an error its trace is what the user should see; labels on the disk are whole either way. */
    if (l.writer && ks_label_writer_close(&l.writer) != KS_OK && st == KS_OK) st = ks_error_code();
    ks_data_close(&data);
    ks_frames_destroy(&frames);
    ks_basis_destroy(&basis);
    KS_FREE(index);
    KS_FREE(todo);
    KS_FREE(n_ao);
    return st;
}

#define METHOD_OPTIONS(s)                                                                                              \
    {"xc", 0, KS_OPT_TEXT, "NAME", "functional (method.xc)", &(s).xc},                                                 \
        {"basis", 0, KS_OPT_TEXT, "NAME", "basis set or .gbs file (method.basis)", &(s).basis},                        \
        {"grid", 0, KS_OPT_TEXT, "0..3", "integration grid (method.grid)", &(s).grid},                                 \
        {"conv", 0, KS_OPT_TEXT, "Ha", "energy change (scf.conv); labels: 1e-10", &(s).conv}, {                        \
        "conv-grad", 0, KS_OPT_TEXT, "X", "rms orbital gradient (scf.conv_grad); labels: 1e-8", &(s).conv_grad         \
    }

int ks_cmd_data_label(int argc, char **argv) {
    const char       *split = NULL, *slice = NULL;
    short_options     s     = {0};
    const ks_cli_opt  opt[] = {{"split", 0, KS_OPT_TEXT, "N/PART", "frames of a split, e.g. qpt/test", &split},
                               {"frames", 0, KS_OPT_TEXT, "SLICE", "frames by number, e.g. 0:8", &slice},
                               METHOD_OPTIONS(s),
                               {NULL, 0, KS_OPT_FLAG, NULL, NULL, NULL}};
    const ks_cli_spec spec  = {"data label D.h5 [--split N/test] [--frames S] [method options]",
                               "Computes converged references (energy, H = F, P, orbital energies, dipole) and stores "
                                "them in the file with the method that\n"
                                "made them. Frames that have a label are left alone: stop with Ctrl-C or SIGTERM and "
                                "give the same command again.",
                               "ksgrad data label uracil.h5 --split qpt/test\n"
                                "ksgrad data label water.h5 --frames 0:8 --xc pbe --grid 3",
                               opt,
                               1,
                               1};
    const char       *arg[KS_CLI_MAX_ARG];
    int               n_arg;
    ks_status         st  = KS_OK;
    ks_ctx           *ctx = NULL;
    ks_config         config;
    const int         rc = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;
    if (split && slice) return ks_cli_usage_error("data label", "give --split or --frames, not both");
    KS_TRY(add_shorts(&s));
    KS_TRY(label_config(&config));
    KS_TRY(ks_cli_ctx(config.device.backend, (int)config.device.threads, &ctx));
    KS_TRY(ks_cli_catch_signals());
    KS_TRY(label_file(ctx, &config, arg[0], split, slice));
done:
    ks_ctx_destroy(&ctx);
    return ks_cli_finish(st);
}

/* ---- verify ---- */

typedef struct comparison {
    ks_data               *data;
    const ks_label_method *method;
    const int64_t         *frame;
    double                 max_energy, max_eps, max_F, max_P, max_dipole;
} comparison;

static double max_difference(int64_t n, const double *a, const double *b) {
    double worst = 0.0;
    for (int64_t k = 0; k < n; k++) {
        const double d = fabs(a[k] - b[k]);
        if (!(d <= worst)) worst = d; /* keeps a NaN */
    }
    return worst;
}

static ks_status compare_label(void *user, int64_t k, const ks_scf_frame *r, const ks_label *label) {
    ks_status     st = KS_OK;
    comparison   *c  = user;
    double       *F = NULL, *P = NULL, *eps = NULL;
    const int64_t n = label->n_ao;
    KS_TRY(KS_NEW(F, n * n));
    KS_TRY(KS_NEW(P, n * n));
    KS_TRY(KS_NEW(eps, n));
    ks_label stored = {.n_ao = n, .F = F, .P = P, .eps = eps};
    KS_TRY(ks_data_label_read(c->data, c->method, c->frame[k], &stored));
    const double dE = stored.energy - label->energy, dF = max_difference(n * n, F, label->F),
                 dP = max_difference(n * n, P, label->P);
    const double de = max_difference(n, eps, label->eps), dd = max_difference(3, stored.dipole, label->dipole);
    printf("%8lld %18.9f %10.2e %10.2e %10.2e %10.2e %10.2e%s\n", (long long)c->frame[k], stored.energy, dE, de, dF, dP,
           dd, r->converged ? "" : "  not converged");
#define WORST(field, value)                                                                                            \
    if (!((value) <= c->field)) c->field = (value)
    WORST(max_energy, fabs(dE));
    WORST(max_eps, de);
    WORST(max_F, dF);
    WORST(max_P, dP);
    WORST(max_dipole, dd);
#undef WORST
done:
    KS_FREE(F);
    KS_FREE(P);
    KS_FREE(eps);
    return st;
}

/* At most want labelled frames of the set, evenly spread over the file. */
static ks_status spread_frames(ks_data *data, const ks_label_method *m, int64_t want, int64_t **frame, int64_t *n) {
    ks_status st  = KS_OK;
    int64_t  *all = NULL, have = 0;
    KS_TRY(KS_NEW(all, ks_data_n_frame(data)));
    for (int64_t f = 0; f < ks_data_n_frame(data); f++)
        if (ks_data_has_label(data, m, f)) all[have++] = f;
    *n = want < have ? want : have;
    KS_TRY(KS_NEW(*frame, *n));
    for (int64_t k = 0; k < *n; k++) (*frame)[k] = all[k * have / *n];
done:
    KS_FREE(all);
    return st;
}

static ks_status verify_set(ks_ctx *ctx, const ks_config *c, ks_data *data, const ks_label_method *m, int64_t want) {
    ks_status  st     = KS_OK;
    ks_basis  *basis  = NULL;
    ks_frames *frames = NULL;
    int64_t   *frame = NULL, n = 0;
    ks_config  config = *c;
    ks_method  method;
    char       sha[65];
    KS_TRY(ks_basis_load(m->basis, &basis));
    ks_basis_sha256(basis, sha);
    KS_CHECK(!*m->basis_sha256 || !strcmp(sha, m->basis_sha256), KS_ERR_DATA,
             "basis '%s' has other numbers here (sha256 %.12s...) than those of the labels (%.12s...)", m->basis, sha,
             m->basis_sha256);
    KS_TRY(ks_config_method(&config, &method));
    KS_TRY(ks_xc_find(m->xc, &method.xc));
    method.grid_level = m->grid_level;
    KS_TRY(spread_frames(data, m, want, &frame, &n));
    printf(
        "%s/%s, grid %d: %lld labels recomputed (gradient to %.1e); differences stored - recomputed, largest element\n",
        m->xc, m->basis, m->grid_level, (long long)n, config.scf.conv_grad);
    if (n == 0) goto done;
    printf("%8s %18s %10s %10s %10s %10s %10s\n", "frame", "E/Ha", "E/Ha", "eps/Ha", "H/Ha", "P", "dipole/au");
    KS_TRY(ks_data_frames(data, n, frame, &frames));
    comparison cmp = {.data = data, .method = m, .frame = frame};
    KS_TRY(run_scf(ctx, &config, basis, &method, frames, compare_label, &cmp));
    /* The energy is quadratic, everything else linear in the remaining orbital gradient; 100 covers the response of P
     * to it. */
    const double limit_E = fmax(1e-8, 100 * m->conv_energy), limit = fmax(1e-6, 100 * m->conv_grad);
    KS_CHECK(cmp.max_energy <= limit_E && cmp.max_eps <= limit && cmp.max_F <= limit && cmp.max_dipole <= 10 * limit,
             KS_ERR_NUMERIC, "%s/%s labels differ: E %.2e Ha (limit %.1e), eps %.2e, H %.2e (limit %.1e), dipole %.2e",
             m->xc, m->basis, cmp.max_energy, limit_E, cmp.max_eps, cmp.max_F, limit, cmp.max_dipole);
    printf("all within limits: E %.1e, eps and H %.1e\n", limit_E, limit);
done:
    ks_frames_destroy(&frames);
    ks_basis_destroy(&basis);
    KS_FREE(frame);
    return st;
}

int ks_cmd_data_verify(int argc, char **argv) {
    int64_t          want  = 3;
    const ks_cli_opt opt[] = {
        {"frames", 0, KS_OPT_INT, "K", "labels to recompute of each set, evenly spread (default 3)", &want},
        {NULL, 0, KS_OPT_FLAG, NULL, NULL, NULL}};
    const ks_cli_spec spec = {
        "data verify D.h5 [--frames K]",
        "Recomputes some labels of every set in the file and compares. Exit code 6 when they differ.",
        "ksgrad data verify uracil.h5 --frames 3",
        opt,
        1,
        1};
    const char      *arg[KS_CLI_MAX_ARG];
    int              n_arg;
    ks_status        st    = KS_OK;
    ks_ctx          *ctx   = NULL;
    ks_data         *data  = NULL;
    ks_label_method *sets  = NULL;
    int64_t          n_set = 0;
    ks_config        config;
    const int        rc = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;
    if (want < 1)
        return ks_cli_usage_error("data verify", "--frames %lld: expected a number of frames", (long long)want);
    KS_TRY(label_config(&config));
    KS_TRY(ks_data_open(arg[0], &data));
    KS_TRY(ks_data_label_sets(data, &sets, &n_set));
    KS_CHECK(n_set > 0, KS_ERR_DATA, "%s has no labels (make them with 'ksgrad data label')", arg[0]);
    KS_TRY(ks_cli_ctx(config.device.backend, (int)config.device.threads, &ctx));
    for (int64_t k = 0; k < n_set; k++) KS_TRY(verify_set(ctx, &config, data, &sets[k], want));
done:
    ks_ctx_destroy(&ctx);
    ks_data_close(&data);
    KS_FREE(sets);
    return ks_cli_finish(st);
}
