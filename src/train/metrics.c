/* metrics.c -- see metrics.h. */
#define _GNU_SOURCE
#include "ksgrad/metrics.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "ksgrad/context.h"

struct ks_run_metrics {
    FILE *json, *csv;
};

static const char *const g_key[] = {
#define X(key) #key,
    KS_RUN_COLUMNS(X)
#undef X
};

/* Opens for appending; *size: bytes that were there. Ends an unfinished last line. */
static ks_status open_lines(const char *run_dir, const char *name, FILE **out, long *size) {
    ks_status st = KS_OK;
    char      path[4200];
    FILE     *f = NULL;
    KS_CHECK((size_t)snprintf(path, sizeof path, "%s/%s", run_dir, name) < sizeof path, KS_ERR_IO,
             "path too long: %.200s", run_dir);
    f = fopen(path, "a+");
    KS_CHECK(f, KS_ERR_IO, "%s: %s", path, strerror(errno));
    KS_CHECK(fseek(f, 0, SEEK_END) == 0 && (*size = ftell(f)) >= 0, KS_ERR_IO, "%s: %s", path, strerror(errno));
    if (*size > 0) {
        KS_CHECK(fseek(f, -1, SEEK_END) == 0, KS_ERR_IO, "%s: %s", path, strerror(errno));
        const int last = fgetc(f);
        KS_CHECK(fseek(f, 0, SEEK_END) == 0, KS_ERR_IO, "%s: %s", path, strerror(errno));
        if (last != '\n') fputc('\n', f);
    }
    *out = f;
    f    = NULL;
done:
    if (f) fclose(f);
    return st;
}

ks_status ks_run_metrics_open(const char *run_dir, ks_run_metrics **out, int *had_lines) {
    ks_status       st   = KS_OK;
    ks_run_metrics *m    = NULL;
    long            size = 0;
    KS_TRY(KS_ZNEW(m, 1));
    KS_TRY(open_lines(run_dir, "metrics.csv", &m->csv, &size));
    if (size == 0) {
        fprintf(m->csv, "t,step,kind");
        for (int c = 0; c < KS_N_COLUMN; c++) fprintf(m->csv, ",%s", g_key[c]);
        fputc('\n', m->csv);
    }
    KS_TRY(open_lines(run_dir, "metrics.jsonl", &m->json, &size));
    if (had_lines) *had_lines = size > 0;
    *out = m;
    m    = NULL;
done:
    ks_run_metrics_close(&m);
    return st;
}

void ks_run_metrics_close(ks_run_metrics **pm) {
    if (!pm || !*pm) return;
    if ((*pm)->json) fclose((*pm)->json);
    if ((*pm)->csv) fclose((*pm)->csv);
    KS_FREE(*pm);
}

static void print_string(FILE *f, const char *text) {
    fputc('"', f);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') fprintf(f, "\\%c", *text);
        else if ((unsigned char)*text < 32) fprintf(f, "\\u%04x", (unsigned)*text);
        else fputc(*text, f);
    }
    fputc('"', f);
}

static void print_number(FILE *f, double x, const char *if_not_finite) {
    if (!isfinite(x)) fputs(if_not_finite, f);
    else if (x == floor(x) && fabs(x) < 1e15) fprintf(f, "%.0f", x);
    else fprintf(f, "%.17g", x);
}

ks_status ks_run_metrics_write(ks_run_metrics *m, const char *kind, int64_t step, const ks_row *row,
                               const char *message) {
    ks_status       st = KS_OK;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const double t = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    fprintf(m->json, "{\"t\": %.3f, \"step\": %lld, \"kind\": \"%s\"", t, (long long)step, kind);
    for (int c = 0; row && c < KS_N_COLUMN; c++) {
        if (!row->is_set[c]) continue;
        fprintf(m->json, ", \"%s\": ", g_key[c]);
        print_number(m->json, row->value[c], "null");
    }
    if (message) {
        fprintf(m->json, ", \"message\": ");
        print_string(m->json, message);
    }
    fprintf(m->json, "}\n");
    if (row && (!strcmp(kind, "train") || !strcmp(kind, "valid"))) {
        fprintf(m->csv, "%.3f,%lld,%s", t, (long long)step, kind);
        for (int c = 0; c < KS_N_COLUMN; c++) {
            fputc(',', m->csv);
            if (row->is_set[c]) print_number(m->csv, row->value[c], "");
        }
        fputc('\n', m->csv);
    }
    KS_CHECK(fflush(m->json) == 0 && fflush(m->csv) == 0, KS_ERR_IO, "metrics.jsonl: %s", strerror(errno));
done:
    return st;
}
