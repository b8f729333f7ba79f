/* work.c -- see work.h. */
#include "cli/work.h"
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

ks_status ks_cli_method_config(const ks_method_args *args, ks_config *config) {
    ks_status          st = KS_OK;
    int                n  = 0;
    const char *const *sets;
    if (args->xc) KS_TRY(ks_cli_add_set("method.xc", args->xc));
    if (args->basis) KS_TRY(ks_cli_add_set("method.basis", args->basis));
    if (args->grid) KS_TRY(ks_cli_add_set("method.grid", args->grid));
    if (args->guess) KS_TRY(ks_cli_add_set("method.guess", args->guess));
    sets = ks_cli_sets(&n);
    KS_TRY(ks_config_load(NULL, n, sets, config));
done:
    return st;
}

ks_status ks_cli_frames(const char *path, const char *selection, ks_frames **frames, int64_t **index) {
    ks_status  st  = KS_OK;
    ks_frames *all = NULL;
    int64_t    n   = 0;
    *frames        = NULL;
    *index         = NULL;
    KS_TRY(ks_frames_read(path, &all));
    KS_TRY(ks_slice_parse(selection ? selection : ":", all->n_frame, index, &n));
    if (selection) {
        KS_TRY(ks_frames_select(all, n, *index, frames));
    } else {
        *frames = all;
        all     = NULL;
    }
done:
    if (st != KS_OK) {
        KS_FREE(*index);
        ks_frames_destroy(frames);
    }
    ks_frames_destroy(&all);
    return st;
}

json_t *ks_json_real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

json_t *ks_json_metrics(const ks_metrics *m) {
    json_t *o = json_object();
    for (int k = 0; k < KS_METRIC_COUNT; k++)
        json_object_set_new(o, ks_metric_get_info(k)->key, m->has[k] ? ks_json_real(m->value[k]) : json_null());
    return o;
}

json_t *ks_json_method(const ks_method *method, const char *basis) {
    json_t *o = json_object(), *parts = json_array();
    for (int k = 0; k < method->xc->n_part; k++)
        json_array_append_new(parts, json_pack("{s:s, s:i, s:f}", "name", method->xc->part[k].name, "libxc_id",
                                               method->xc->part[k].libxc_id, "weight", method->xc->part[k].weight));
    json_object_set_new(o, "xc", json_string(method->xc->name));
    json_object_set_new(o, "xc_parts", parts);
    json_object_set_new(o, "exact_exchange", json_real(method->xc->hybrid));
    json_object_set_new(o, "basis", json_string(basis));
    json_object_set_new(o, "grid", json_integer(method->grid_level));
    json_object_set_new(o, "guess", json_string(method->guess == KS_GUESS_CORE ? "core" : "minao"));
    json_object_set_new(o, "program", json_string(ks_version()));
    return o;
}

/* ---- files that appear complete or not at all ---- */

ks_status ks_out_open(ks_out_file *out, const char *path) {
    ks_status   st = KS_OK;
    struct stat s;
    *out = (ks_out_file){0};
    KS_CHECK(path[0] && strlen(path) < sizeof out->path, KS_ERR_ARG, "output path '%s' is empty or too long", path);
    KS_CHECK(stat(path, &s) != 0 || S_ISREG(s.st_mode), KS_ERR_IO, "%s exists and is not a regular file: not replaced",
             path);
    snprintf(out->path, sizeof out->path, "%s", path);
    snprintf(out->temporary, sizeof out->temporary, "%s.%ld.tmp", path, (long)getpid());
    out->file = fopen(out->temporary, "wx");
    KS_CHECK(out->file, KS_ERR_IO, "cannot create %s: %s", out->temporary, strerror(errno));
done:
    return st;
}

ks_status ks_out_commit(ks_out_file *out) {
    ks_status st      = KS_OK;
    const int written = !ferror(out->file) && fflush(out->file) == 0 && fsync(fileno(out->file)) == 0;
    const int why     = errno;
    const int closed  = fclose(out->file) == 0;
    out->file         = NULL;
    KS_CHECK(written && closed, KS_ERR_IO, "cannot write %s: %s", out->temporary, strerror(why));
    KS_CHECK(rename(out->temporary, out->path) == 0, KS_ERR_IO, "cannot rename %s to %s: %s", out->temporary, out->path,
             strerror(errno));
    return KS_OK;
done:
    unlink(out->temporary);
    return st;
}

void ks_out_discard(ks_out_file *out) {
    if (!out->file) return;
    fclose(out->file);
    out->file = NULL;
    unlink(out->temporary);
}

ks_status ks_json_save(const char *path, json_t *value) {
    ks_status   st  = KS_OK;
    ks_out_file out = {0};
    KS_CHECK(value, KS_ERR_NOMEM, "JSON for %s", path);
    KS_TRY(ks_out_open(&out, path));
    KS_CHECK(json_dumpf(value, out.file, JSON_INDENT(1) | JSON_REAL_PRECISION(16)) == 0 && fputc('\n', out.file) != EOF,
             KS_ERR_IO, "cannot write %s: %s", out.temporary, strerror(errno));
    KS_TRY(ks_out_commit(&out));
done:
    ks_out_discard(&out);
    json_decref(value);
    return st;
}

ks_status ks_cli_not_input(const char *option, const char *out, int n, const char *const *input) {
    ks_status   st = KS_OK;
    struct stat a, b;
    if (!out || stat(out, &a) != 0) return KS_OK;
    for (int k = 0; k < n; k++)
        KS_CHECK(!input[k] || stat(input[k], &b) != 0 || a.st_dev != b.st_dev || a.st_ino != b.st_ino, KS_ERR_ARG,
                 "%s %s is an input file: it would be overwritten", option, out);
done:
    return st;
}

/* ---- checkpoints ---- */

ks_status ks_cli_refine(const char *kind, int64_t steps, ks_refine_options *refine) {
    ks_status st = KS_OK;
    if (kind) {
        KS_TRY(ks_refine_kind_parse(kind, &refine->kind));
        refine->n_build = 0; /* the scheme's default, unless --steps says otherwise */
    }
    KS_CHECK(steps == -1 || (steps >= 1 && steps <= 16), KS_ERR_ARG, "--steps %lld is outside 1..16", (long long)steps);
    if (steps > 0) refine->n_build = (int)steps;
    if (refine->n_build == 0) refine->n_build = ks_refine_default_builds(refine->kind);
done:
    return st;
}

ks_status ks_cli_model_open(const char *path, const char *kind, int64_t steps, int has_ranks, ks_cli_model *out) {
    ks_status          st    = KS_OK;
    int                n_set = 0;
    const char *const *sets  = ks_cli_sets(&n_set);
    *out                     = (ks_cli_model){0};
    KS_TRY(ks_checkpoint_load_model(NULL, path, n_set, sets, &out->config, NULL, &out->info)); /* which device, first */
    out->refine = out->config.eval_refine;
    KS_TRY(ks_cli_refine(kind, steps, &out->refine));
    KS_TRY(ks_config_method(&out->config, &out->method));
    KS_TRY(ks_basis_load(out->config.method.basis, &out->basis));
    if (has_ranks) KS_TRY(ks_cli_ranks(&out->config, &out->comm, &out->ctx));
    else KS_TRY(ks_cli_ctx(out->config.device.backend, (int)out->config.device.threads, &out->ctx));
    KS_TRY(ks_checkpoint_load_model(out->ctx, path, n_set, sets, &out->config, &out->model, &out->info));
    char        best[KS_CHECKPOINT_PATH + 16];
    struct stat a, b;
    snprintf(best, sizeof best, "%s/ckpt/best", path);
    const int is_best =
        stat(best, &a) == 0 && stat(out->info.dir, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
    ks_log(KS_LOG_INFO, "%scheckpoint %s (step %lld)", is_best ? "best " : "", out->info.dir,
           (long long)out->info.step);
done:
    return st;
}

ks_status ks_cli_no_model_open(const char *kind, int64_t steps, ks_cli_model *out) {
    ks_status          st    = KS_OK;
    int                n_set = 0;
    const char *const *sets  = ks_cli_sets(&n_set);
    *out                     = (ks_cli_model){0};
    KS_TRY(ks_config_load(NULL, n_set, sets, &out->config));
    out->refine = out->config.eval_refine;
    KS_TRY(ks_cli_refine(kind, steps, &out->refine));
    KS_TRY(ks_config_method(&out->config, &out->method));
    KS_TRY(ks_basis_load(out->config.method.basis, &out->basis));
    KS_TRY(ks_cli_ranks(&out->config, &out->comm, &out->ctx));
done:
    return st;
}

void ks_cli_model_close(ks_cli_model *m) {
    ks_model_destroy(&m->model);
    ks_basis_destroy(&m->basis);
    ks_comm_destroy(&m->comm);
    ks_ctx_destroy(&m->ctx);
}
