/* trainer_run.c -- see train.h: a whole run, from an empty or an interrupted run folder to the last checkpoint.
 *
 * Resume. `auto` and `must` take the newest complete checkpoint. When a newer one is damaged, `auto` says so in a
 * warning and in metrics.jsonl and goes on from the newest complete one, because a requeued job must not need a
 * person and only some steps are lost; `must` stops with the names of both. The damaged folder stays until its step
 * is written again. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "ksgrad/metrics.h"
#include "train/run_folder.h"
#include "train/trainer_impl.h"

static const double HARTREE_MEV = 1000 * KS_HARTREE_EV;

typedef struct run {
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

/* The newest checkpoint that is complete and loads. damaged: what was wrong with newer ones. */
static ks_status find_and_load(run *r, char *damaged, size_t damaged_size, int64_t *loaded_step) {
    ks_status st    = KS_OK;
    int64_t  *steps = NULL, n = 0;
    char      dir[KS_CHECKPOINT_PATH + 32];
    *loaded_step = -1;
    KS_TRY(ks_checkpoint_list(r->folder.ckpt, &steps, &n, damaged, damaged_size));
    for (int64_t i = 0; i < n; i++) {
        snprintf(dir, sizeof dir, "%s/step_%08lld", r->folder.ckpt, (long long)steps[i]);
        if (damaged[0] && r->opt->resume == KS_RESUME_MUST)
            KS_CHECK(0, KS_ERR_DATA, "%s; %s is complete: --resume=auto goes on from there", damaged, dir);
        ks_status loaded = check_config(r, dir);
        if (loaded == KS_OK) loaded = ks_trainer_load(r->trainer, dir);
        if (loaded == KS_OK) {
            *loaded_step = steps[i];
            break;
        }
        if (loaded !=
            KS_ERR_HDF5) { /* only a damaged file leads to an older one; other data, shapes or memory stop here */
            st = loaded;
            goto done;
        }
        snprintf(damaged, damaged_size, "%s", ks_error_message());
        KS_CHECK(r->opt->resume != KS_RESUME_MUST || i + 1 == n, KS_ERR_DATA,
                 "%s; step_%08lld before it may be complete: --resume=auto tries it", damaged,
                 (long long)(i + 1 < n ? steps[i + 1] : 0));
        ks_error_clear();
    }
    KS_CHECK(*loaded_step >= 0 || !damaged[0], KS_ERR_DATA,
             "%s, and there is no other complete checkpoint in %s; --resume=never with another "
             "run.name starts anew",
             damaged, r->folder.ckpt);
done:
    KS_FREE(steps);
    return st;
}

static ks_status resume(run *r, int had_lines) {
    ks_status st            = KS_OK;
    char      damaged[1024] = "", message[1200];
    int64_t   step = -1, n = 0;
    int64_t  *steps = NULL;
    if (r->opt->resume == KS_RESUME_NEVER) {
        KS_TRY(ks_checkpoint_list(r->folder.ckpt, &steps, &n, damaged, sizeof damaged));
        KS_CHECK(n == 0 && !damaged[0], KS_ERR_CONFIG,
                 "%s holds a run already (%lld checkpoints); with --resume=never choose another run.name "
                 "(--set run.name=...) or remove the folder",
                 r->folder.dir, (long long)n);
    } else {
        KS_TRY(find_and_load(r, damaged, sizeof damaged, &step));
        KS_CHECK(step >= 0 || r->opt->resume == KS_RESUME_AUTO, KS_ERR_DATA,
                 "--resume=must, but there is no checkpoint in %s", r->folder.ckpt);
    }
    if (damaged[0]) {
        snprintf(message, sizeof message, "DAMAGED CHECKPOINT: %s. Going on from step %lld instead", damaged,
                 (long long)step);
        ks_log(KS_LOG_WARN, "%s", message);
        KS_TRY(ks_run_metrics_write(r->metrics, "warn", step, NULL, message));
    }
    r->saved_step = step;
    if (step >= 0) ks_log(KS_LOG_INFO, "resumed at step %lld of %s", (long long)step, r->folder.dir);
    if (step >= 0 || had_lines) KS_TRY(ks_run_metrics_write(r->metrics, "resume", step >= 0 ? step : 0, NULL, NULL));
done:
    KS_FREE(steps);
    return st;
}

/* ---- events ---- */

static ks_status save(run *r) {
    ks_status     st   = KS_OK;
    const int64_t step = ks_trainer_steps_done(r->trainer), best = ks_trainer_best_step(r->trainer);
    const double  start = ks_wall_seconds();
    ks_row        row   = {0};
    if (step == r->saved_step) goto done;
    KS_TRY(ks_trainer_save(r->trainer, r->folder.ckpt, r->config_text, r->opt->command ? r->opt->command : ""));
    KS_TRY(ks_checkpoint_point(r->folder.ckpt, "latest", step));
    if (best == step) KS_TRY(ks_checkpoint_point(r->folder.ckpt, "best", step));
    KS_TRY(ks_checkpoint_rotate(r->folder.ckpt, r->config->ckpt.keep_last));
    r->saved_step = step;
    r->saved_at   = ks_wall_seconds();
    ks_row_set(&row, KS_COL_seconds, r->saved_at - start);
    if (best >= 0) ks_row_set(&row, KS_COL_best_step, (double)best);
    KS_TRY(ks_run_metrics_write(r->metrics, "ckpt", step, &row, NULL));
    ks_log(KS_LOG_DEBUG, "checkpoint step %lld, %.2f s", (long long)step, r->saved_at - start);
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
    ks_row_set(&row, KS_COL_world, 1);
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

static int is_due(const run *r, int64_t step) {
    const ks_config *c = r->config;
    if (step >= c->optim.steps) return 1;
    if (c->ckpt.every_steps && step % c->ckpt.every_steps == 0) return 1;
    return c->ckpt.every_minutes > 0 && ks_wall_seconds() - r->saved_at >= 60 * c->ckpt.every_minutes;
}

/* The oldest step on its way: waited for, written down, shown. */
static ks_status collect(run *r) {
    ks_status      st = KS_OK;
    ks_step_result s;
    KS_TRY(ks_trainer_collect(r->trainer, &s));
    KS_TRY(record(r, &s));
    progress(r, &s);
done:
    return st;
}

static ks_status loop(run *r) {
    ks_status        st = KS_OK;
    const ks_config *c  = r->config;
    ks_trainer      *t  = r->trainer;
    for (int64_t step = ks_trainer_steps_done(t) + 1; step <= c->optim.steps; step++) {
        KS_TRY(ks_trainer_queue(t, NULL));
        const int stop = r->opt->stop && *r->opt->stop;
        const int validate_now =
            ks_trainer_plan(t)->valid_pool && (step % c->valid.every == 0 || step == c->optim.steps);
        const int due = is_due(r, step);
        while (ks_trainer_pending(t) >= ks_trainer_depth(t)) KS_TRY(collect(r));
        if (!stop && !validate_now && !due) continue;
        while (ks_trainer_pending(t)) KS_TRY(collect(r));
        if (stop) {
            KS_TRY(save(r));
            KS_CHECK(0, KS_ERR_STOPPED,
                     "stopped after step %lld, checkpoint written; the same command goes on from there",
                     (long long)step);
        }
        if (validate_now) KS_TRY(validate(r));
        if (due) KS_TRY(save(r));
    }
done:
    return st;
}

static ks_status greet(run *r, const ks_run_data *d) {
    ks_status        st   = KS_OK;
    char            *plan = NULL;
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
    for (char *line = plan; line && *line;) {
        char *end = strchr(line, '\n');
        if (end) *end = '\0';
        ks_log(KS_LOG_INFO, "%s", line);
        line = end ? end + 1 : NULL;
    }
    if (c->optim.warmup > c->optim.steps)
        ks_log(KS_LOG_WARN, "optim.warmup %lld exceeds optim.steps %lld: the learning rate never reaches its peak",
               (long long)c->optim.warmup, (long long)c->optim.steps);
    if (c->valid.every && d->split->n[KS_PART_VALID] == 0)
        ks_log(KS_LOG_WARN, "no validation frames: there will be no best checkpoint");
done:
    KS_FREE(plan);
    return st;
}

static ks_status prepare_folder(run *r, int *had_lines) {
    ks_status st = KS_OK;
    KS_TRY(ks_run_folder_open(r->config, &r->folder));
    if (r->opt->folder) r->opt->folder(r->opt->user, r->folder.dir);
    KS_TRY(ks_run_metrics_open(r->folder.dir, &r->metrics, had_lines));
done:
    return st;
}

ks_status ks_train_run(ks_ctx *ctx, ks_comm *comm, const ks_config *config, const ks_run_options *options, ks_run_result *result) {
    ks_status    st        = KS_OK;
    ks_run_data *data      = NULL;
    run          r         = {.config = config, .opt = options, .saved_step = -1, .folder = {.lock = -1}};
    int          had_lines = 0;
    const double start     = ks_wall_seconds();
    KS_CHECK(ctx && config && options && result, KS_ERR_ARG, "train: NULL argument");
    memset(result, 0, sizeof *result);
    KS_TRY(ks_run_data_open(config, &data)); /* before anything is written: a wrong path leaves no folder behind */
    KS_TRY(ks_trainer_create(ctx, comm, config, data, &r.trainer));
    KS_TRY(ks_config_dump(config, &r.config_text));
    KS_TRY(prepare_folder(&r, &had_lines));
    snprintf(result->run_dir, sizeof result->run_dir, "%s", r.folder.dir);
    KS_TRY(resume(&r, had_lines));
    if (options->config_path) KS_TRY(ks_run_folder_copy(&r.folder, "config.yaml", options->config_path));
    KS_TRY(ks_run_folder_write(&r.folder, "config.resolved.yaml", r.config_text));
    KS_TRY(ks_run_folder_env(&r.folder, ctx, options->command));
    KS_TRY(greet(&r, data));
    r.saved_at = r.logged_at = ks_wall_seconds();
    result->first_step       = ks_trainer_steps_done(r.trainer);
    if (result->first_step >= config->optim.steps)
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
