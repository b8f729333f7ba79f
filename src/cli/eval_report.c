/* eval_report.c -- see eval_report.h. */
#include "cli/eval_report.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "cli/work.h"

ks_status ks_eval_report_add(ks_eval_report *r, const ks_eval_frame *frame) {
    ks_status      st   = KS_OK;
    ks_eval_frame *more = NULL;
    if (r->n_frame == r->capacity) {
        const int64_t capacity = r->capacity ? 2 * r->capacity : 64;
        KS_TRY(KS_NEW(more, capacity));
        if (r->n_frame) memcpy(more, r->frame, (size_t)r->n_frame * sizeof *more);
        KS_FREE(r->frame);
        r->frame    = more;
        r->capacity = capacity;
    }
    r->frame[r->n_frame++] = *frame;
    if (!frame->ref_converged) {
        r->n_reference_unconverged++;
        ks_log(KS_LOG_WARN, "frame %lld: its reference did not converge; left out of the means",
               (long long)frame->frame);
        goto done;
    }
    for (int row = 0; row < KS_EVAL_ROWS; row++) {
        if (!frame->has[row]) continue;
        ks_metrics_add(&r->sum[row], &frame->row[row]);
        r->n_masked[row] += frame->masked[row];
        r->n_scf_unconverged[row] += frame->unconverged[row];
    }
    r->n_cycles += frame->row[KS_EVAL_NO_NETWORK].has[KS_METRIC_cycles];
done:
    return st;
}

void ks_eval_report_free(ks_eval_report *r) { KS_FREE(r->frame); }

/* Five significant digits without an exponent where that fits; percentages near 100 need their nines. */
static void print_value(FILE *out, int metric, int has, double v) {
    const int percent = metric == KS_METRIC_psi || metric == KS_METRIC_psi_s;
    if (!has) fprintf(out, "  %14s", "-");
    else if (percent) fprintf(out, "  %14.5f", v);
    else if (fabs(v) >= 1e5) fprintf(out, "  %14.0f", v);
    else if (v != 0 && fabs(v) < 1e-3) fprintf(out, "  %14.3e", v);
    else fprintf(out, "  %14.*f", fabs(v) >= 1000 ? 1 : fabs(v) >= 10 ? 2 : 4, v);
}

typedef struct worst {
    int64_t frame;
    double  value;
} worst;
static int by_value(const void *a, const void *b) {
    const double x = ((const worst *)a)->value, y = ((const worst *)b)->value;
    if (isnan(x) || isnan(y)) return isnan(y) - isnan(x); /* NaN is worst */
    return (x < y) - (x > y);
}

static void print_worst(const ks_eval_report *r, FILE *out) {
    worst  *w = NULL;
    int64_t n = 0;
    if (KS_NEW(w, r->n_frame) != KS_OK) return; /* only a convenience line */
    const int row = r->first_row ? KS_EVAL_MODEL : KS_EVAL_NO_NETWORK;
    for (int64_t k = 0; k < r->n_frame; k++)
        if (r->frame[k].ref_converged) w[n++] = (worst){r->frame[k].frame, r->frame[k].row[row].value[KS_METRIC_h]};
    qsort(w, (size_t)n, sizeof *w, by_value);
    fprintf(out, "worst frames (H):");
    for (int64_t k = 0; k < n && k < 5; k++)
        fprintf(out, "%s %lld (%.4g uHa)", k ? "," : "", (long long)w[k].frame, w[k].value);
    fprintf(out, "\n");
    KS_FREE(w);
}

/* By the clock on the wall: all ranks at once, everything included. */
static double rate(const ks_eval_report *r) { return r->time.wall > 0 ? (double)r->n_frame / r->time.wall : 0; }

void ks_eval_report_print(const ks_eval_report *r, FILE *out) {
    const double      n       = r->n_frame ? (double)r->n_frame : 1;
    const char *const title[] = {r->has_network ? "network" : "prediction", "no network", "no network, qpt"};
    ks_metrics        mean[KS_EVAL_ROWS];
    fprintf(out, "%s  %s%s  %lld frames  %s/%s, grid level %d\n", r->data, r->split ? "split " : "all frames",
            r->split ? r->split : "", (long long)r->n_frame, r->method->xc->name, r->basis, r->method->grid_level);
    fprintf(out, "%s", r->model);
    if (r->has_network) fprintf(out, "  step %lld", (long long)r->step);
    fprintf(out, "  refinement %s, %d Fock builds\nreference: %s\n\n%-26s%-5s", ks_refine_kind_name(r->refine.kind),
            r->refine.n_build, r->reference, "", "");
    for (int row = r->first_row ? 0 : 1; row < KS_EVAL_ROWS; row++) {
        mean[row] = ks_metrics_mean(&r->sum[row]);
        fprintf(out, "  %14s", title[row]);
    }
    fprintf(out, "\n");
    for (int k = 0; k < KS_METRIC_COUNT; k++) {
        const ks_metric_info *info = ks_metric_get_info(k);
        fprintf(out, "%-26s%-5s", info->title, info->unit);
        for (int row = r->first_row ? 0 : 1; row < KS_EVAL_ROWS; row++)
            print_value(out, k, mean[row].has[k], mean[row].value[k]);
        if ((k == KS_METRIC_cycles || k == KS_METRIC_cycles_minao) && r->n_cycles)
            fprintf(out, "  (%lld frames)", (long long)r->n_cycles);
        fprintf(out, "\n");
    }
    fprintf(out, "\nms per frame: tensors %.1f", 1e3 * r->time.all.tensors / n);
    if (r->has_network) fprintf(out, ", network %.1f", 1e3 * r->time.all.network / n);
    fprintf(out, ", refinement %.1f%s\n", 1e3 * r->time.all.refine / n, r->world > 1 ? " (of one rank)" : "");
    fprintf(out, "%.4g frames/s with references and metrics, %d rank%s\n", rate(r), r->world, r->world == 1 ? "" : "s");
    print_worst(r, out);
    if (r->n_reference_unconverged)
        fprintf(out, "references that did not converge: %lld (left out)\n", (long long)r->n_reference_unconverged);
    for (int row = 0; row < KS_EVAL_ROWS; row++) {
        if (r->n_masked[row])
            fprintf(out, "%s: %lld frames met a gap below 1e-4 Ha or a non-finite value\n", title[row],
                    (long long)r->n_masked[row]);
        if (r->n_scf_unconverged[row])
            fprintf(out, "%s: %lld SCFs from here did not converge; their cycles are the limit\n", title[row],
                    (long long)r->n_scf_unconverged[row]);
    }
}

static json_t *row_json(const ks_eval_report *r, int row) {
    const ks_metrics mean = ks_metrics_mean(&r->sum[row]);
    json_t          *o    = ks_json_metrics(&mean);
    json_object_set_new(o, "n_masked", json_integer(r->n_masked[row]));
    json_object_set_new(o, "n_scf_unconverged", json_integer(r->n_scf_unconverged[row]));
    return o;
}

static ks_status save_summary(const ks_eval_report *r, const char *path) {
    const double n  = r->n_frame ? (double)r->n_frame : 1;
    json_t      *ms = json_object(), *all = json_object();
    json_object_set_new(ms, "tensors", ks_json_real(1e3 * r->time.all.tensors / n));
    json_object_set_new(ms, "network", r->has_network ? ks_json_real(1e3 * r->time.all.network / n) : json_null());
    json_object_set_new(ms, "refine", ks_json_real(1e3 * r->time.all.refine / n));
    json_object_set_new(all, "n_frames", json_integer(r->n_frame));
    json_object_set_new(all, "n_reference_unconverged", json_integer(r->n_reference_unconverged));
    json_object_set_new(all, "n_frames_scf_cycles", json_integer(r->n_cycles));
    json_object_set_new(all, "data", json_string(r->data));
    json_object_set_new(all, "split", r->split ? json_string(r->split) : json_null());
    json_object_set_new(all, "checkpoint", json_string(r->model));
    json_object_set_new(all, "step", r->has_network ? json_integer(r->step) : json_null());
    json_object_set_new(all, "method", ks_json_method(r->method, r->basis));
    json_object_set_new(all, "reference", json_string(r->reference));
    json_object_set_new(
        all, "refine",
        json_pack("{s:s, s:i}", "kind", ks_refine_kind_name(r->refine.kind), "steps", r->refine.n_build));
    for (int row = 0; row < KS_EVAL_ROWS; row++)
        json_object_set_new(all, ks_eval_row_name(row), row || r->first_row ? row_json(r, row) : json_null());
    json_object_set_new(all, "world", json_integer(r->world));
    json_object_set_new(all, "ms_per_frame", ms); /* time of all ranks added up */
    json_object_set_new(all, "wall_s", ks_json_real(r->time.wall));
    json_object_set_new(all, "frames_per_s", ks_json_real(rate(r)));
    return ks_json_save(path, all);
}

/* One line per frame and row; an empty field: not computed. */
static ks_status save_frames(const ks_eval_report *r, const char *path) {
    ks_status   st  = KS_OK;
    ks_out_file out = {0};
    KS_TRY(ks_out_open(&out, path));
    fprintf(out.file, "frame,row,reference_converged,masked,energy_Ha,reference_energy_Ha");
    for (int k = 0; k < KS_METRIC_COUNT; k++) fprintf(out.file, ",%s", ks_metric_get_info(k)->key);
    fprintf(out.file, "\n");
    for (int64_t i = 0; i < r->n_frame; i++) {
        const ks_eval_frame *f = &r->frame[i];
        for (int row = 0; row < KS_EVAL_ROWS; row++) {
            if (!f->has[row]) continue;
            fprintf(out.file, "%lld,%s,%d,%d,%.12f,%.12f", (long long)f->frame, ks_eval_row_name(row), f->ref_converged,
                    f->masked[row], f->energy[row], f->energy_ref);
            for (int k = 0; k < KS_METRIC_COUNT; k++) {
                if (f->row[row].has[k]) fprintf(out.file, ",%.15g", f->row[row].value[k]);
                else fprintf(out.file, ",");
            }
            fprintf(out.file, "\n");
        }
    }
    KS_TRY(ks_out_commit(&out));
done:
    ks_out_discard(&out);
    return st;
}

ks_status ks_eval_report_save(const ks_eval_report *r, const char *folder) {
    ks_status st = KS_OK;
    char      path[KS_CONFIG_PATH];
    KS_CHECK(strlen(folder) + 16 < sizeof path, KS_ERR_ARG, "the folder name '%s' is too long", folder);
    snprintf(path, sizeof path, "%s/summary.json", folder);
    KS_TRY(save_summary(r, path));
    snprintf(path, sizeof path, "%s/per_frame.csv", folder);
    KS_TRY(save_frames(r, path));
    ks_log(KS_LOG_INFO, "written: %s/summary.json %s/per_frame.csv", folder, folder);
done:
    return st;
}
