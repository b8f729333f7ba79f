/* trainer_run.c -- see train.h: a whole run, from an empty or an interrupted run folder to the last checkpoint.
 *
 * Resume. `auto` and `must` take the newest complete checkpoint. When a newer one is damaged, `auto` says so in a
 * warning and in metrics.jsonl and goes on from the newest complete one, because a requeued job must not need a
 * person and only some steps are lost; `must` stops with the names of both. The damaged folder stays until its step
 * is written again.
 *
 * Ranks. Rank 0 alone has the run folder: it takes the lock, chooses and verifies the checkpoint to resume from, and
 * writes everything; the others are told the step and read the same checkpoint. When rank 0 fails at that, its error
 * reaches the others where they wait for it (comm.h). What the loop does follows from the number of the step and from
 * votes that come back with a step's result: all ranks validate, save and stop after the same steps. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "ksgrad/metrics.h"
#include "train/run_folder.h"
#include "train/trainer_impl.h"

static const double HARTREE_MEV = 1000 * KS_HARTREE_EV;

typedef struct run {
    ks_comm              *comm;
    int                   is_first; /* rank 0 */
    const ks_config      *config;
    const ks_run_options *opt;
    ks_run_folder         folder;
    ks_run_metrics       *metrics;
    ks_trainer           *trainer;
    char                 *config_text;
    int64_t               saved_step;
    double                saved_at, logged_at;
    double                rate; /* seconds per step, smoothed */
} run;

/* ---- resume ---- */

static ks_status check_config(const run *r, const char *dir) {
    ks_status st   = KS_OK;
    char     *text = NULL, *hard = NULL, *soft = NULL, *light = NULL;
    ks_config stored;
    KS_TRY(ks_checkpoint_config(dir, &text));
    KS_TRY(ks_config_parse(text, dir, NULL, 0, NULL, &stored));
    KS_TRY(ks_config_diff(&stored, r->config, KS_CONFIG_HARD, &hard));
    KS_TRY(ks_config_diff(&stored, r->config, KS_CONFIG_SOFT, &soft));
    KS_TRY(ks_config_diff(&stored, r->config, KS_CONFIG_FREE, &light));
    KS_CHECK(!hard[0], KS_ERR_CONFIG,
             "the config is not that of %s; these keys cannot change within a run (choose another run.name):\n%s%s",
             dir, hard, soft);
    KS_CHECK(!soft[0] || r->opt->allow_change, KS_ERR_CONFIG,
             "the config is not that of %s; --allow-change accepts these keys:\n%s", dir, soft);
    if (soft[0]) ks_log(KS_LOG_WARN, "changed against %s:\n%s", dir, soft);
    if (light[0]) ks_log(KS_LOG_INFO, "changed against %s:\n%s", dir, light);
done:
    KS_FREE(text);
    KS_FREE(hard);
    KS_FREE(soft);
    KS_FREE(light);
    return st;
}

/* On rank 0: the newest complete checkpoint from number *at of `steps` on whose files are what was written, or *at = n.
 * damaged: what was wrong with newer ones. */
static ks_status choose(const run *r, const int64_t *steps, int64_t n, int64_t *at, char *damaged,
                        size_t damaged_size) {
    ks_status st = KS_OK;
    char      dir[KS_CHECKPOINT_PATH + 32];
    for (; *at < n; ++*at) {
        snprintf(dir, sizeof dir, "%s/step_%08lld", r->folder.ckpt, (long long)steps[*at]);
        KS_CHECK(!damaged[0] || r->opt->resume != KS_RESUME_MUST, KS_ERR_DATA,
                 "%s; %s may be complete: --resume=auto tries it", damaged, dir);
        const ks_status checked = check_config(r, dir);
        if (checked == KS_OK) break;
        if (checked != KS_ERR_HDF5) { /* only damage leads to an older one; another config stops here */
            st = checked;
            goto done;
        }
        snprintf(damaged, damaged_size, "%s", ks_error_message());
        ks_error_clear();
    }
    KS_CHECK(*at < n || !damaged[0], KS_ERR_DATA,
             "%s, and there is no other complete checkpoint in %s; --resume=never with another "
             "run.name starts anew",
             damaged, r->folder.ckpt);
done:
    return st;
}

/* The checkpoint of a step into this rank's trainer. */
static ks_status load(run *r, int64_t step) {
    ks_status st = KS_OK;
    char      dir[KS_CHECKPOINT_PATH + 32];
    snprintf(dir, sizeof dir, "%s/step_%08lld", r->folder.ckpt, (long long)step);
    KS_CHECK(
        r->is_first || access(dir, R_OK) == 0, KS_ERR_IO,
        "%s, which rank 0 resumes from, cannot be read on %s: %s; a run on several hosts needs its run folder on a "
        "file system that all of them share",
        dir, ks_comm_host(r->comm, ks_comm_rank(r->comm)), strerror(errno));
    KS_TRY(ks_trainer_load(r->trainer, dir));
done:
    return st;
}

/* Loads the newest checkpoint that is complete and loads; *loaded_step -1: there is none. */
static ks_status find_and_load(run *r, char *damaged, size_t damaged_size, int64_t *loaded_step) {
    ks_status st    = KS_OK;
    int64_t  *steps = NULL, n = 0, at = 0;
    *loaded_step = -1;
    if (r->is_first) {
        KS_TRY(ks_checkpoint_list(r->folder.ckpt, &steps, &n, damaged, damaged_size));
        KS_TRY(choose(r, steps, n, &at, damaged, damaged_size));
        if (at < n) *loaded_step = steps[at];
    }
    KS_TRY(ks_comm_host_bcast(r->comm, "the step to resume from", sizeof *loaded_step, loaded_step));
    if (*loaded_step >= 0) KS_TRY(load(r, *loaded_step));
done:
    KS_FREE(steps);
    return st;
}

static ks_status resume(run *r, int had_lines) {
    ks_status st            = KS_OK;
    char      damaged[1024] = "", message[1200];
    int64_t   step = -1, n = 0;
    int64_t  *steps = NULL;
    if (r->opt->resume != KS_RESUME_NEVER) {
        KS_TRY(find_and_load(r, damaged, sizeof damaged, &step));
        KS_CHECK(step >= 0 || r->opt->resume == KS_RESUME_AUTO, KS_ERR_DATA,
                 "--resume=must, but there is no checkpoint in %s", r->folder.ckpt);
    } else if (r->is_first) {
        KS_TRY(ks_checkpoint_list(r->folder.ckpt, &steps, &n, damaged, sizeof damaged));
        KS_CHECK(n == 0 && !damaged[0], KS_ERR_CONFIG,
                 "%s holds a run already (%lld checkpoints); with --resume=never choose another run.name "
                 "(--set run.name=...) or remove the folder",
                 r->folder.dir, (long long)n);
    }
    r->saved_step = step;
    KS_TRY(ks_comm_check_equal(r->comm, "the step to begin with", (uint64_t)ks_trainer_steps_done(r->trainer)));
    KS_TRY(ks_trainer_check_weights(r->trainer));
    if (!r->is_first) goto done;
    if (damaged[0]) {
        snprintf(message, sizeof message, "DAMAGED CHECKPOINT: %s. Going on from step %lld instead", damaged,
                 (long long)step);
        ks_log(KS_LOG_WARN, "%s", message);
        KS_TRY(ks_run_metrics_write(r->metrics, "warn", step, NULL, message));
    }
    if (step >= 0) ks_log(KS_LOG_INFO, "resumed at step %lld of %s", (long long)step, r->folder.dir);
    if (step >= 0 || had_lines) KS_TRY(ks_run_metrics_write(r->metrics, "resume", step >= 0 ? step : 0, NULL, NULL));
done:
    KS_FREE(steps);
    return st;
}

/* ---- events ---- */

/* Rank 0 writes; all leave together, so that nobody reports a checkpoint as written that is not. */
static ks_status save(run *r) {
    ks_status     st   = KS_OK;
    const int64_t step = ks_trainer_steps_done(r->trainer), best = ks_trainer_best_step(r->trainer);
    const double  start = ks_wall_seconds();
    ks_row        row   = {0};
    if (step == r->saved_step) goto done;
    KS_TRY(ks_trainer_save(r->trainer, r->folder.ckpt, r->config_text, r->opt->command ? r->opt->command : ""));
    if (r->is_first) {
        KS_TRY(ks_checkpoint_point(r->folder.ckpt, "latest", step));
        if (best == step) KS_TRY(ks_checkpoint_point(r->folder.ckpt, "best", step));
        KS_TRY(ks_checkpoint_rotate(r->folder.ckpt, r->config->ckpt.keep_last));
        ks_row_set(&row, KS_COL_seconds, ks_wall_seconds() - start);
        if (best >= 0) ks_row_set(&row, KS_COL_best_step, (double)best);
        KS_TRY(ks_run_metrics_write(r->metrics, "ckpt", step, &row, NULL));
    }
    KS_TRY(ks_comm_barrier(r->comm, "a checkpoint"));
    r->saved_step = step;
    r->saved_at   = ks_wall_seconds();
    if (r->is_first) ks_log(KS_LOG_DEBUG, "checkpoint step %lld, %.2f s", (long long)step, r->saved_at - start);
done:
    return st;
}

static ks_status validate(run *r) {
    ks_status       st = KS_OK;
    ks_valid_result v;
    ks_row          row        = {0};
    int             is_best    = 0;
    char            labels[96] = "";
    const int64_t   step       = ks_trainer_steps_done(r->trainer);
    KS_TRY(ks_trainer_validate(r->trainer, &v, &is_best));
    if (!r->is_first) {
        if (is_best) KS_TRY(save(r));
        goto done;
    }
    ks_row_set(&row, KS_COL_energy_Ha, v.energy);
    ks_row_set(&row, KS_COL_energy_no_network_Ha, v.energy_no_network);
    ks_row_set(&row, KS_COL_energy_gain_meV, (v.energy_no_network - v.energy) * HARTREE_MEV);
    ks_row_set(&row, KS_COL_commutator_rms_Ha, v.commutator_rms);
    ks_row_set(&row, KS_COL_n_frame, (double)v.n_frame);
    ks_row_set(&row, KS_COL_n_masked, (double)v.n_masked);
    ks_row_set(&row, KS_COL_seconds, v.seconds);
    ks_row_set(&row, KS_COL_best_step, (double)ks_trainer_best_step(r->trainer));
    if (isfinite(v.h_mae)) {
        ks_row_set(&row, KS_COL_energy_mae_meV, v.energy_mae * HARTREE_MEV);
        ks_row_set(&row, KS_COL_h_mae_uHa, v.h_mae * 1e6);
        snprintf(labels, sizeof labels, ", energy MAE %.4g meV, H MAE %.4g uHa", v.energy_mae * HARTREE_MEV,
                 v.h_mae * 1e6);
    }
    KS_TRY(ks_run_metrics_write(r->metrics, "valid", step, &row, NULL));
    ks_log(KS_LOG_INFO,
           "valid step %lld: energy %.9f Ha, %.4g meV below no network, commutator rms %.3e Ha%s, %lld frames%s%s",
           (long long)step, v.energy, (v.energy_no_network - v.energy) * HARTREE_MEV, v.commutator_rms, labels,
           (long long)v.n_frame, v.n_masked ? ", SOME MASKED" : "", is_best ? ", best" : "");
    if (is_best) KS_TRY(save(r));
done:
    return st;
}

static void print_time(double seconds, char *out, size_t size) {
    const long long s = seconds > 0 && seconds < 1e9 ? (long long)seconds : 0;
    snprintf(out, size, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
}

static void progress(run *r, const ks_step_result *s) {
    char         line[256], eta[32];
    const double now = ks_wall_seconds();
    r->rate          = r->rate > 0 ? 0.95 * r->rate + 0.05 * s->seconds : s->seconds;
    print_time(r->rate * (double)(r->config->optim.steps - s->step), eta, sizeof eta);
    snprintf(line, sizeof line, "step %lld/%lld  loss %.8f  |g| %.2e  lr %.2e  gap %.3f  %.1f frames/s  eta %s",
             (long long)s->step, (long long)r->config->optim.steps, s->loss, s->grad_norm, s->lr, s->min_gap,
             (double)s->n_frame / r->rate, eta);
    if (r->opt->status) r->opt->status(r->opt->user, line);
    if (s->step % r->config->log.every_steps && now - r->logged_at < r->config->log.every_seconds) return;
    r->logged_at = now;
    if (!r->opt->status) ks_log(KS_LOG_INFO, "%s", line);
}

static ks_status record(run *r, const ks_step_result *s) {
    ks_status              st  = KS_OK;
    const ks_loss_weights *w   = &r->config->loss;
    ks_row                 row = {0};
    char                   message[160];
    ks_row_set(&row, KS_COL_loss, s->loss);
    ks_row_set(&row, KS_COL_energy_Ha, s->energy);
    ks_row_set(&row, KS_COL_commutator, s->commutator);
    if (w->self_consistency > 0) ks_row_set(&row, KS_COL_self_consistency, s->self_consistency);
    if (w->hamiltonian > 0) ks_row_set(&row, KS_COL_hamiltonian, s->hamiltonian);
    if (w->density > 0) ks_row_set(&row, KS_COL_density, s->density);
    ks_row_set(&row, KS_COL_lr, s->lr);
    ks_row_set(&row, KS_COL_grad_norm, s->grad_norm);
    ks_row_set(&row, KS_COL_min_gap_Ha, s->min_gap);
    ks_row_set(&row, KS_COL_n_masked, (double)s->n_masked);
    ks_row_set(&row, KS_COL_n_built, (double)s->n_built);
    ks_row_set(&row, KS_COL_ms_step, 1e3 * s->seconds);
    ks_row_set(&row, KS_COL_ms_build, 1e3 * s->build_seconds);
    ks_row_set(&row, KS_COL_frames_per_s, (double)s->n_frame / s->seconds);
    if (r->comm && !ks_comm_is_queued(r->comm)) ks_row_set(&row, KS_COL_ms_wait, 1e3 * s->wait_seconds);
    ks_row_set(&row, KS_COL_world, (double)ks_comm_size(r->comm));
    KS_TRY(ks_run_metrics_write(r->metrics, "train", s->step, &row, NULL));
    if (s->n_masked) {
        snprintf(message, sizeof message, "step %lld: %lld of %lld frames masked, smallest gap %.3g Ha",
                 (long long)s->step, (long long)s->n_masked, (long long)s->n_frame, s->min_gap);
        ks_log(KS_LOG_WARN, "%s", message);
        KS_TRY(ks_run_metrics_write(r->metrics, "warn", s->step, NULL, message));
    }
done:
    return st;
}

/* ---- the loop ---- */

/* Due after a step by its number; by the clock: see vote. */
static int is_due(const run *r, int64_t step) {
    const ks_config *c = r->config;
    return step >= c->optim.steps || (c->ckpt.every_steps && step % c->ckpt.every_steps == 0);
}

/* What this rank wants now: to stop, because it was told to; to save, by the clock of rank 0. */
static void vote(const run *r, int now[KS_VOTE_N]) {
    const double minutes = r->config->ckpt.every_minutes;
    if (r->opt->stop && *r->opt->stop) now[KS_VOTE_STOP] = 1;
    if (r->is_first && minutes > 0 && ks_wall_seconds() - r->saved_at >= 60 * minutes) now[KS_VOTE_SAVE] = 1;
}

/* The oldest step on its way: waited for, written down, shown. Its votes are added to those that are agreed. */
static ks_status collect(run *r, int agreed[KS_VOTE_N]) {
    ks_status      st = KS_OK;
    ks_step_result s;
    KS_TRY(ks_trainer_collect(r->trainer, &s));
    for (int k = 0; k < KS_VOTE_N; k++) agreed[k] |= s.vote[k];
    if (!r->is_first) goto done;
    KS_TRY(record(r, &s));
    progress(r, &s);
done:
    return st;
}

/* A vote is cast with a step and counts when that step's result is there; steps that are on their way by then are
 * finished first. A single rank agrees with itself at once. */
static ks_status loop(run *r) {
    ks_status        st = KS_OK;
    const ks_config *c  = r->config;
    ks_trainer      *t  = r->trainer;
    for (int64_t step = ks_trainer_steps_done(t) + 1; step <= c->optim.steps; step++) {
        int mine[KS_VOTE_N] = {0}, agreed[KS_VOTE_N] = {0};
        vote(r, mine);
        KS_TRY(ks_trainer_queue(t, mine));
        while (ks_trainer_pending(t) >= ks_trainer_depth(t)) KS_TRY(collect(r, agreed));
        if (!r->comm) vote(r, agreed);
        const int validate_now =
            ks_trainer_plan(t)->valid_pool && (step % c->valid.every == 0 || step == c->optim.steps);
        if (!agreed[KS_VOTE_STOP] && !agreed[KS_VOTE_SAVE] && !validate_now && !is_due(r, step)) continue;
        while (ks_trainer_pending(t)) KS_TRY(collect(r, agreed));
        if (agreed[KS_VOTE_STOP]) {
            KS_TRY(save(r));
            KS_CHECK(0, KS_ERR_STOPPED,
                     "stopped after step %lld, checkpoint written; the same command goes on from there",
                     (long long)step);
        }
        if (validate_now) KS_TRY(validate(r));
        if (agreed[KS_VOTE_SAVE] || is_due(r, step)) KS_TRY(save(r));
    }
done:
    return st;
}

/* "node01 (4), node02 (4)", cut where the space ends. */
static void describe_hosts(const ks_comm *comm, char *out, size_t size) {
    size_t n = 0;
    out[0]   = '\0';
    for (int r = 0, next; r < ks_comm_size(comm) && n < size; r = next) {
        for (next = r + 1; next < ks_comm_size(comm); next++)
            if (strcmp(ks_comm_host(comm, r), ks_comm_host(comm, next)) != 0) break;
        n += (size_t)snprintf(out + n, size - n, "%s%s (%d)", r ? ", " : "", ks_comm_host(comm, r), next - r);
    }
}

static ks_status greet(run *r, const ks_run_data *d) {
    ks_status        st   = KS_OK;
    char            *plan = NULL, hosts[1024];
    const ks_config *c    = r->config;
    ks_params       *p    = ks_model_params(ks_trainer_model(r->trainer));
    KS_TRY(ks_train_print_plan(c, d, ks_trainer_plan(r->trainer), &plan));
    ks_log(KS_LOG_INFO, "ksgrad %s, run %s", ks_version(), r->folder.dir);
    ks_log(KS_LOG_INFO,
           "data    %s: %lld frames, %lld composition%s (first %s, %lld AOs); train %lld, valid %lld, test %lld; "
           "labels %s",
           c->data.file, (long long)d->frames->n_frame, (long long)d->n_system, d->n_system == 1 ? "" : "s",
           d->system[0]->formula, (long long)d->system[0]->n_ao, (long long)d->split->n[0], (long long)d->split->n[1],
           (long long)d->split->n[2], d->labels ? "yes" : "none");
    ks_log(KS_LOG_INFO, "method  %s/%s, grid %lld; training refinement %s, evaluation %s", c->method.xc,
           c->method.basis, (long long)c->method.grid, ks_refine_kind_name(c->refine.kind),
           ks_refine_kind_name(c->eval_refine.kind));
    ks_log(KS_LOG_INFO, "network %s, d %lld, %lld heads, %lld layers, %lld parameters", c->model.options.kind,
           (long long)c->model.options.d_model, (long long)c->model.options.heads, (long long)c->model.options.layers,
           (long long)ks_params_n_scalar(p));
    if (r->comm) {
        describe_hosts(r->comm, hosts, sizeof hosts);
        ks_log(KS_LOG_INFO, "ranks   %d, transport %s, on %s", ks_comm_size(r->comm), ks_comm_transport(r->comm),
               hosts);
    }
    for (char *line = plan; line && *line;) {
        char *end = strchr(line, '\n');
        if (end) *end = '\0';
        ks_log(KS_LOG_INFO, "%s", line);
        line = end ? end + 1 : NULL;
    }
    if (ks_trainer_plan(r->trainer)->is_limited)
        ks_log(KS_LOG_WARN,
               "the order of the frames depends on the memory of the ranks: %lld of %lld training geometries fit; "
               "train.pool: %lld makes it the same on other machines and numbers of ranks",
               (long long)ks_trainer_plan(r->trainer)->pool, (long long)d->split->n[KS_PART_TRAIN],
               (long long)ks_trainer_plan(r->trainer)->pool);
    if (c->optim.warmup > c->optim.steps)
        ks_log(KS_LOG_WARN, "optim.warmup %lld exceeds optim.steps %lld: the learning rate never reaches its peak",
               (long long)c->optim.warmup, (long long)c->optim.steps);
    if (c->valid.every && d->split->n[KS_PART_VALID] == 0)
        ks_log(KS_LOG_WARN, "no validation frames: there will be no best checkpoint");
done:
    KS_FREE(plan);
    return st;
}

/* Names everywhere; the folder itself, its lock and its files on rank 0. */
static ks_status prepare_folder(run *r, int *had_lines) {
    ks_status st = KS_OK;
    KS_TRY(ks_run_folder_name(r->config, &r->folder));
    if (!r->is_first) goto done;
    KS_TRY(ks_run_folder_open(&r->folder));
    if (r->opt->folder) r->opt->folder(r->opt->user, r->folder.dir);
    KS_TRY(ks_run_metrics_open(r->folder.dir, &r->metrics, had_lines));
done:
    return st;
}

static ks_status describe(run *r, const ks_ctx *ctx, const ks_run_data *data) {
    ks_status st = KS_OK;
    if (r->opt->config_path) KS_TRY(ks_run_folder_copy(&r->folder, "config.yaml", r->opt->config_path));
    KS_TRY(ks_run_folder_write(&r->folder, "config.resolved.yaml", r->config_text));
    KS_TRY(ks_run_folder_env(&r->folder, ctx, r->comm, r->opt->launcher, r->opt->command));
    KS_TRY(greet(r, data));
done:
    return st;
}

ks_status ks_train_run(ks_ctx *ctx, ks_comm *comm, const ks_config *config, const ks_run_options *options,
                       ks_run_result *result) {
    ks_status    st        = KS_OK;
    ks_run_data *data      = NULL;
    int          had_lines = 0;
    const double start     = ks_wall_seconds();
    run          r         = {.comm       = comm,
                              .is_first   = ks_comm_rank(comm) == 0,
                              .config     = config,
                              .opt        = options,
                              .saved_step = -1,
                              .folder     = {.lock = -1}};
    KS_CHECK(ctx && config && options && result, KS_ERR_ARG, "train: NULL argument");
    memset(result, 0, sizeof *result);
    KS_TRY(ks_run_data_open(config, &data)); /* before anything is written: a wrong path leaves no folder behind */
    KS_TRY(ks_trainer_create(ctx, comm, config, data, &r.trainer));
    KS_TRY(ks_config_dump(config, &r.config_text));
    KS_TRY(prepare_folder(&r, &had_lines));
    snprintf(result->run_dir, sizeof result->run_dir, "%s", r.folder.dir);
    KS_TRY(resume(&r, had_lines));
    if (r.is_first) KS_TRY(describe(&r, ctx, data));
    r.saved_at = r.logged_at = ks_wall_seconds();
    result->first_step       = ks_trainer_steps_done(r.trainer);
    if (result->first_step >= config->optim.steps && r.is_first)
        ks_log(KS_LOG_INFO, "all %lld steps are done already", (long long)config->optim.steps);
    KS_TRY(loop(&r));
done:
    if (r.trainer && result) result->steps = ks_trainer_steps_done(r.trainer);
    if (result) result->seconds = ks_wall_seconds() - start;
    ks_trainer_destroy(&r.trainer);
    ks_run_metrics_close(&r.metrics);
    ks_run_folder_close(&r.folder);
    ks_run_data_close(&data);
    KS_FREE(r.config_text);
    return st;
}
