/* data_split.c -- splits inside a data file, and its description in words; see data.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/data_impl.h"

static ks_status check_name(const char *name) {
    ks_status st = KS_OK;
    KS_CHECK(name && *name && strlen(name) < 64 && !strpbrk(name, "/ \t\n") && ks_part_number(name) < 0, KS_ERR_ARG,
             "split name '%.70s': expected up to 63 characters without '/' and blanks, not train, valid or test",
             name ? name : "");
done:
    return st;
}

ks_status ks_data_split_write(const char *path, const char *name, const ks_split *split, int replace) {
    ks_status st   = KS_OK;
    ks_data  *data = NULL;
    ks_h5    *h5   = NULL;
    char      group[128], item[160];
    KS_CHECK(path && split, KS_ERR_ARG, "split: NULL argument");
    KS_TRY(check_name(name));
    KS_TRY(ks_data_open(path, &data));
    KS_TRY(ks_split_check(split, data->n_frame, name));
    ks_data_close(&data);
    KS_TRY(ks_h5_edit(path, &h5));
    snprintf(group, sizeof group, "splits/%s", name);
    if (ks_h5_exists(h5, group)) {
        KS_CHECK(replace, KS_ERR_ARG, "%s: there is a split '%s' already", path, name);
        KS_TRY(ks_h5_remove(h5, group));
    }
    KS_TRY(ks_h5_group(h5, group));
    KS_TRY(ks_h5_set_string(h5, group, "method", split->method));
    KS_TRY(ks_h5_set_i64(h5, group, "seed", (int64_t)split->seed));
    KS_TRY(ks_h5_set_i64s(h5, group, "sizes", KS_N_PART, split->n));
    KS_TRY(ks_h5_set_string(h5, group, "sha256", split->sha256));
    for (int p = 0; p < KS_N_PART; p++) {
        snprintf(item, sizeof item, "%s/%s", group, ks_part_name(p));
        KS_TRY(ks_h5_write(h5, item, KS_H5_I64, 1, &split->n[p], split->index[p]));
    }
    KS_TRY(ks_h5_publish(&h5));
done:
    ks_data_close(&data);
    ks_h5_close(&h5);
    return st;
}

ks_status ks_data_split_read(ks_data *data, const char *name, ks_split **out) {
    ks_status st   = KS_OK;
    ks_split *s    = NULL;
    char     *text = NULL, **names = NULL, group[128], item[160], hex[65];
    int64_t   n_name = 0, seed = 0;
    KS_CHECK(data && out, KS_ERR_ARG, "split: NULL argument");
    *out = NULL;
    KS_TRY(check_name(name));
    snprintf(group, sizeof group, "splits/%s", name);
    if (!ks_h5_exists(data->h5, group)) {
        char have[256] = "none";
        if (ks_h5_exists(data->h5, "splits")) KS_TRY(ks_h5_list(data->h5, "splits", &names, &n_name));
        for (int64_t k = 0, at = 0; k < n_name && at < 200; k++)
            at += snprintf(have + at, sizeof have - (size_t)at, "%s%.40s", k ? ", " : "", names[k]);
        KS_CHECK(0, KS_ERR_DATA, "%s: there is no split '%s'; there is: %s", data->path, name, have);
    }
    KS_TRY(KS_ZNEW(s, 1));
    KS_TRY(ks_h5_get_string(data->h5, group, "method", &text));
    snprintf(s->method, sizeof s->method, "%s", text);
    KS_FREE(text);
    KS_TRY(ks_h5_get_i64(data->h5, group, "seed", &seed));
    s->seed = (uint64_t)seed;
    for (int p = 0; p < KS_N_PART; p++) {
        s->n[p] = -1;
        snprintf(item, sizeof item, "%s/%s", group, ks_part_name(p));
        KS_TRY(ks_h5_read_new(data->h5, item, KS_H5_I64, 1, &s->n[p], (void **)&s->index[p]));
    }
    KS_TRY(ks_split_check(s, data->n_frame, name));
    KS_TRY(ks_h5_get_string(data->h5, group, "sha256", &text));
    ks_split_hash(s, hex);
    KS_CHECK(strcmp(hex, text) == 0, KS_ERR_DATA,
             "%s: split '%s' does not match its sha256 (%.12s... stored, %.12s... found)", data->path, name, text, hex);
    snprintf(s->sha256, sizeof s->sha256, "%s", hex);
    *out = s;
    s    = NULL;
done:
    KS_FREE(text);
    ks_h5_names_free(&names, n_name);
    ks_split_destroy(&s);
    return st;
}

/* The name of the file's only split. */
static ks_status only_split(ks_data *data, char *name, size_t n) {
    ks_status st     = KS_OK;
    char    **names  = NULL;
    int64_t   n_name = 0;
    if (ks_h5_exists(data->h5, "splits")) KS_TRY(ks_h5_list(data->h5, "splits", &names, &n_name));
    KS_CHECK(n_name == 1, KS_ERR_DATA, "%s has %lld splits: say which, as NAME/test", data->path, (long long)n_name);
    KS_CHECK(strlen(names[0]) < n, KS_ERR_DATA, "%s: split name of %zu characters", data->path, strlen(names[0]));
    snprintf(name, n, "%s", names[0]);
done:
    ks_h5_names_free(&names, n_name);
    return st;
}

ks_status ks_data_split_frames(ks_data *data, const char *spec, int64_t **index, int64_t *n) {
    ks_status   st  = KS_OK;
    ks_split   *s   = NULL;
    int64_t    *idx = NULL, at = 0;
    char        name[64];
    const char *slash = spec ? strchr(spec, '/') : NULL;
    int         part  = -1;
    KS_CHECK(data && spec && *spec && index && n, KS_ERR_ARG, "split: none named");
    *index = NULL;
    *n     = 0;
    if (slash) {
        part = ks_part_number(slash + 1);
        KS_CHECK(part >= 0 && (size_t)(slash - spec) < sizeof name, KS_ERR_ARG,
                 "split '%.80s': expected NAME/train, NAME/valid or NAME/test", spec);
        snprintf(name, sizeof name, "%.*s", (int)(slash - spec), spec);
    } else if ((part = ks_part_number(spec)) >= 0) {
        KS_TRY(only_split(data, name, sizeof name));
    } else {
        KS_CHECK(strlen(spec) < sizeof name, KS_ERR_ARG, "split name '%.80s' is too long", spec);
        snprintf(name, sizeof name, "%s", spec);
    }
    KS_TRY(ks_data_split_read(data, name, &s));
    for (int p = 0; p < KS_N_PART; p++) at += part < 0 || p == part ? s->n[p] : 0;
    KS_TRY(KS_NEW(idx, at));
    at = 0;
    for (int p = 0; p < KS_N_PART; p++)
        for (int64_t k = 0; (part < 0 || p == part) && k < s->n[p]; k++) idx[at++] = s->index[p][k];
    *index = idx;
    *n     = at;
done:
    ks_split_destroy(&s);
    return st;
}

ks_status ks_data_describe(ks_data *data, char **out) {
    static const char *const attrs[] = {"created_by", "source", "source_sha256", "licence", "note"};
    ks_status                st      = KS_OK;
    char                    *buf = NULL, *text = NULL, **names = NULL;
    size_t                   size   = 0;
    int64_t                  n_name = 0;
    ks_split                *s      = NULL;
    FILE                    *f      = NULL;
    KS_CHECK(data && out, KS_ERR_ARG, "data file: NULL argument");
    *out = NULL;
    f    = open_memstream(&buf, &size);
    KS_CHECK(f, KS_ERR_NOMEM, "no memory for a text stream");
    fprintf(f, "%s: ksgrad data file, format version %d\n", data->path, KS_DATA_VERSION);
    for (size_t k = 0; k < sizeof attrs / sizeof attrs[0]; k++) {
        if (!ks_h5_has_attr(data->h5, "/", attrs[k])) continue;
        KS_TRY(ks_h5_get_string(data->h5, "/", attrs[k], &text));
        fprintf(f, "  %-14s %s\n", attrs[k], text);
        KS_FREE(text);
    }
    fprintf(f, "frames: %lld of %lld composition%s, positions in Angstrom\n", (long long)data->n_frame,
            (long long)data->n_group, data->n_group == 1 ? "" : "s");
    for (int64_t g = 0; g < data->n_group && g < 20; g++)
        fprintf(f, "  %-20s %3lld atoms, %lld frames\n", data->group[g].name, (long long)data->group[g].n_atom,
                (long long)data->group[g].n_frame);
    if (data->n_group > 20) fprintf(f, "  ... %lld more\n", (long long)(data->n_group - 20));
    fprintf(f, "external: %s%s%s\n", data->has_energy ? "energies in " : "no energies",
            data->has_energy ? data->unit : "", data->has_force ? ", forces" : "");
    if (ks_h5_exists(data->h5, "splits")) KS_TRY(ks_h5_list(data->h5, "splits", &names, &n_name));
    fprintf(f, "splits: %lld\n", (long long)n_name);
    for (int64_t k = 0; k < n_name; k++) {
        KS_TRY(ks_data_split_read(data, names[k], &s));
        fprintf(f, "  %-20s train %lld, valid %lld, test %lld; %s, seed %llu; sha256 %.16s...\n", names[k],
                (long long)s->n[0], (long long)s->n[1], (long long)s->n[2], s->method, (unsigned long long)s->seed,
                s->sha256);
        ks_split_destroy(&s);
    }
    fprintf(f, "labels: %lld set%s\n", (long long)data->n_set, data->n_set == 1 ? "" : "s");
    for (int64_t k = 0; k < data->n_set; k++) {
        const ks_label_set *set  = &data->set[k];
        int64_t             have = 0, room = 0;
        for (int64_t b = 0; b < set->n_block; b++)
            for (int64_t i = 0; i < set->block[b].n; i++) {
                room++;
                have += set->block[b].done[i] == 1;
            }
        fprintf(f, "  %s/%s, grid %d: %lld of %lld reserved frames; conv %.1e Ha, gradient %.1e; %s\n", set->method.xc,
                set->method.basis, set->method.grid_level, (long long)have, (long long)room, set->method.conv_energy,
                set->method.conv_grad, set->method.program);
    }
    const int bad = fclose(f);
    f             = NULL;
    KS_CHECK(bad == 0, KS_ERR_NOMEM, "no memory for a text stream");
    KS_TRY(ks_host_strdup(buf, out));
done:
    if (f) fclose(f);
    free(buf);
    KS_FREE(text);
    ks_h5_names_free(&names, n_name);
    ks_split_destroy(&s);
    return st;
}
