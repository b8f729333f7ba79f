/* config_dump.c -- see config.h: resolved dump, reference.yaml, differences. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "train/schema.h"

enum { VALUE_BYTES = 2200, DEPTH = 3, COMMENT_COLUMN = 36 };

/* Opens the sections of path that the previous row was not in; returns the row's own indentation. */
static int open_sections(FILE *out, const char *before, const char *path) {
    int depth = 0;
    for (const char *p = path; (p = strchr(p, '.')); p++, depth++) {
        const size_t n = (size_t)(p - path) + 1;
        if (before && !strncmp(before, path, n)) continue;
        const char *word = p;
        while (word > path && word[-1] != '.') word--;
        fprintf(out, "%*s%.*s:\n", 2 * depth, "", (int)(p - word), word);
    }
    return 2 * depth;
}

static const char *leaf_of(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

/* One text stream in memory -> a string of ours. */
static ks_status finish_stream(FILE **stream, char **raw, char **text) {
    ks_status st = KS_OK;
    const int rc = fclose(*stream);
    *stream      = NULL;
    KS_CHECK(rc == 0 && *raw, KS_ERR_NOMEM, "text of the configuration");
    KS_TRY(ks_host_strdup(*raw, text));
done:
    return st;
}

ks_status ks_config_dump(const ks_config *config, char **text) {
    ks_status   st     = KS_OK;
    char       *raw    = NULL;
    size_t      size   = 0;
    const char *before = NULL;
    char        value[VALUE_BYTES];
    FILE       *out = open_memstream(&raw, &size);
    KS_CHECK(out, KS_ERR_NOMEM, "text of the configuration");
    for (int i = 0; i < ks_schema_n; i++) {
        const ks_key *key = &ks_schema[i];
        if (!ks_schema_is_shown(key, config)) continue;
        const int indent = open_sections(out, before, key->path);
        ks_schema_print(key, config, value, sizeof value);
        fprintf(out, "%*s%s: %s\n", indent, "", leaf_of(key->path), value);
        before = key->path;
    }
    KS_TRY(finish_stream(&out, &raw, text));
done:
    if (out) fclose(out);
    free(raw);
    return st;
}

static void print_range(FILE *out, const ks_key *key) {
    const int is_number = key->type == KS_KEY_INT || key->type == KS_KEY_INT32 || key->type == KS_KEY_REAL;
    if (key->choices && strchr(key->choices, '|')) fprintf(out, "; %s", key->choices);
    if (is_number && key->hi < 1e12) fprintf(out, "; %c%g, %g]", key->open_lo ? '(' : '[', key->lo, key->hi);
    if (is_number && key->hi >= 1e12) fprintf(out, "; %s%g", key->open_lo ? "> " : ">= ", key->lo);
    if (key->unit) fprintf(out, "; %s", key->unit);
}

ks_status ks_config_reference(char **text) {
    ks_status   st     = KS_OK;
    char       *raw    = NULL;
    size_t      size   = 0;
    const char *before = NULL;
    FILE       *out    = open_memstream(&raw, &size);
    KS_CHECK(out, KS_ERR_NOMEM, "text of the reference");
    fprintf(out, "# Every key of a ksgrad config with its default, meaning, values and unit.\n"
                 "# Generated from src/train/schema.c by 'ksgrad check --reference'; do not edit.\n"
                 "# Where a default is empty the key is optional or must be given. data.split may also be a name: "
                 "split: NAME\n");
    for (int i = 0; i < ks_schema_n; i++) {
        const ks_key *key = &ks_schema[i];
        if (!strcmp(key->path, "data.split")) continue; /* the mapping is shown */
        const int indent = open_sections(out, before, key->path);
        const int n = fprintf(out, "%*s%s: %s", indent, "", leaf_of(key->path), key->value[0] ? key->value : "\"\"");
        fprintf(out, "%*s# %s", n < COMMENT_COLUMN ? COMMENT_COLUMN - n : 1, "", key->doc);
        print_range(out, key);
        fputc('\n', out);
        before = key->path;
    }
    KS_TRY(finish_stream(&out, &raw, text));
done:
    if (out) fclose(out);
    free(raw);
    return st;
}

ks_status ks_config_diff(const ks_config *a, const ks_config *b, ks_config_class kind, char **text) {
    ks_status st   = KS_OK;
    char     *raw  = NULL;
    size_t    size = 0;
    char      old[VALUE_BYTES], now[VALUE_BYTES];
    FILE     *out = open_memstream(&raw, &size);
    KS_CHECK(out, KS_ERR_NOMEM, "text of the differences");
    for (int i = 0; i < ks_schema_n; i++) {
        if (ks_schema[i].kind != kind) continue;
        ks_schema_print(&ks_schema[i], a, old, sizeof old);
        ks_schema_print(&ks_schema[i], b, now, sizeof now);
        if (strcmp(old, now)) fprintf(out, "  %s: %s -> %s\n", ks_schema[i].path, old, now);
    }
    KS_TRY(finish_stream(&out, &raw, text));
done:
    if (out) fclose(out);
    free(raw);
    return st;
}
