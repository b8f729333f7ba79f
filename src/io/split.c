/* split.c -- train, valid and test frame numbers: drawn or read; see data.h. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "io/data_impl.h"
#include "io/npz.h"
#include "io/sha256.h"
#include "core/text.h"
#include "ksgrad/context.h"
#include "ksgrad/rng.h"

static const char *const part_names[KS_N_PART] = {"train", "valid", "test"};

int ks_part_number(const char *name) {
    for (int p = 0; name && p < KS_N_PART; p++)
        if (strcmp(name, part_names[p]) == 0) return p;
    return -1;
}

const char *ks_part_name(int part) { return part >= 0 && part < KS_N_PART ? part_names[part] : NULL; }

void ks_split_destroy(ks_split **split) {
    if (!split || !*split) return;
    for (int p = 0; p < KS_N_PART; p++) KS_FREE((*split)->index[p]);
    KS_FREE(*split);
}

void ks_split_hash(const ks_split *s, char hex[65]) {
    ks_sha256 h;
    ks_sha256_start(&h);
    for (int p = 0; p < KS_N_PART; p++) ks_sha256_i64(&h, s->n[p]);
    for (int p = 0; p < KS_N_PART; p++)
        for (int64_t k = 0; k < s->n[p]; k++) ks_sha256_i64(&h, s->index[p][k]);
    ks_sha256_end(&h, hex);
}

ks_status ks_split_check(const ks_split *s, int64_t n_frame, const char *name) {
    ks_status st   = KS_OK;
    char     *seen = NULL;
    KS_TRY(KS_ZNEW(seen, n_frame));
    for (int p = 0; p < KS_N_PART; p++)
        for (int64_t k = 0; k < s->n[p]; k++) {
            const int64_t i = s->index[p][k];
            KS_CHECK(i >= 0 && i < n_frame, KS_ERR_DATA, "%s: %s[%lld] is frame %lld, the file has %lld", name,
                     part_names[p], (long long)k, (long long)i, (long long)n_frame);
            KS_CHECK(!seen[i], KS_ERR_DATA, "%s: %s[%lld]: frame %lld occurs twice", name, part_names[p], (long long)k,
                     (long long)i);
            seen[i] = 1;
        }
done:
    KS_FREE(seen);
    return st;
}

ks_status ks_split_make(const char *method, uint64_t seed, int64_t n_frame, const int64_t sizes[KS_N_PART],
                        ks_split **out) {
    ks_status st   = KS_OK;
    ks_split *s    = NULL;
    int64_t  *perm = NULL, total = 0;
    int       open = -1;
    KS_CHECK(method && sizes && out && n_frame >= 1, KS_ERR_ARG, "split of %lld frames", (long long)n_frame);
    *out             = NULL;
    const int legacy = strcmp(method, "numpy-legacy") == 0;
    KS_CHECK(legacy || strcmp(method, "random") == 0, KS_ERR_ARG, "split method '%s', expected numpy-legacy or random",
             method);
    KS_CHECK(!legacy || (seed <= UINT32_MAX && n_frame < UINT32_MAX), KS_ERR_ARG,
             "numpy-legacy: seed %llu and %lld frames, both must be below 2^32", (unsigned long long)seed,
             (long long)n_frame);
    KS_TRY(KS_ZNEW(s, 1));
    for (int p = 0; p < KS_N_PART; p++) {
        KS_CHECK(sizes[p] >= -1 && sizes[p] <= n_frame && (sizes[p] >= 0 || open < 0), KS_ERR_ARG,
                 "split sizes %lld, %lld, %lld of %lld frames: expected sizes that fit; one may be -1 (the rest)",
                 (long long)sizes[0], (long long)sizes[1], (long long)sizes[2], (long long)n_frame);
        s->n[p] = sizes[p] < 0 ? 0 : sizes[p];
        total += s->n[p];
        if (sizes[p] < 0) open = p;
    }
    KS_CHECK(total <= n_frame, KS_ERR_ARG, "split sizes %lld + %lld + %lld exceed the %lld frames", (long long)s->n[0],
             (long long)s->n[1], (long long)s->n[2], (long long)n_frame);
    if (open >= 0) s->n[open] = n_frame - total;
    KS_CHECK(total > 0 || open >= 0, KS_ERR_ARG, "split sizes are all 0");
    KS_TRY(KS_NEW(perm, n_frame));
    if (legacy) KS_TRY(ks_numpy_permutation((uint32_t)seed, n_frame, perm));
    else ks_rng_permutation(seed, KS_STREAM_SPLIT, 0, n_frame, perm);
    int64_t at = 0;
    for (int p = 0; p < KS_N_PART; p++) {
        KS_TRY(KS_NEW(s->index[p], s->n[p]));
        if (s->n[p]) memcpy(s->index[p], perm + at, (size_t)s->n[p] * sizeof *perm);
        at += s->n[p];
    }
    snprintf(s->method, sizeof s->method, "%s", method);
    s->seed = seed;
    ks_split_hash(s, s->sha256);
    *out = s;
    s    = NULL;
done:
    KS_FREE(perm);
    ks_split_destroy(&s);
    return st;
}

static ks_status read_npz_parts(const char *path, ks_split *s) {
    static const char *const names[KS_N_PART][4] = {{"train", "idx_train", "train_idx", "train_index"},
                                                    {"valid", "val", "idx_val", "val_idx"},
                                                    {"test", "idx_test", "test_idx", "test_index"}};
    ks_status                st                  = KS_OK;
    ks_npz                  *npz                 = NULL;
    int                      found               = 0;
    KS_TRY(ks_npz_open(path, &npz));
    for (int p = 0; p < KS_N_PART; p++)
        for (int k = 0; k < 4 && !s->index[p]; k++) {
            int     rank = 0;
            int64_t shape[KS_NPZ_MAX_RANK];
            if (!ks_npz_has(npz, names[p][k])) continue;
            KS_TRY(ks_npz_read_i64(npz, names[p][k], &rank, shape, &s->index[p]));
            KS_CHECK(rank == 1, KS_ERR_DATA, "%s: array '%s' has rank %d, expected a list", path, names[p][k], rank);
            s->n[p] = shape[0];
            found   = 1;
        }
    KS_CHECK(found, KS_ERR_DATA, "%s: has none of the arrays train, valid, test", path);
done:
    ks_npz_close(&npz);
    return st;
}

static ks_status read_text_part(const char *path, int64_t **index, int64_t *n) {
    ks_status st    = KS_OK;
    char     *text  = NULL, *token[2];
    int64_t   bytes = 0, n_line = 1, k = 0;
    KS_TRY(ks_text_read(path, 1 << 30, &text, &bytes));
    /* A last number without its line end may be half a number. */
    KS_CHECK(bytes == 0 || text[bytes - 1] == '\n', KS_ERR_DATA,
             "%s: the last line does not end in a newline: cut off?", path);
    for (int64_t i = 0; i < bytes; i++) n_line += text[i] == '\n';
    KS_TRY(KS_NEW(*index, n_line));
    ks_lines lines = {.next = text};
    for (char *line; (line = ks_lines_next(&lines));) {
        line[strcspn(line, "#")] = '\0';
        const int m              = ks_tokens(line, 2, token);
        if (m == 0) continue;
        KS_CHECK(m == 1 && !ks_text_decimal(token[0], &(*index)[k]), KS_ERR_DATA,
                 "%s:%lld: '%.40s', expected one frame number", path, (long long)lines.number, token[0]);
        k++;
    }
    *n = k;
done:
    KS_FREE(text);
    return st;
}

ks_status ks_split_read(const char *files, int64_t n_frame, ks_split **out) {
    ks_status st   = KS_OK;
    ks_split *s    = NULL;
    char     *copy = NULL;
    KS_CHECK(files && *files && out && n_frame >= 1, KS_ERR_ARG, "split of %lld frames from files", (long long)n_frame);
    *out = NULL;
    KS_TRY(KS_ZNEW(s, 1));
    const size_t len = strlen(files);
    if (len > 4 && strcmp(files + len - 4, ".npz") == 0) {
        KS_TRY(read_npz_parts(files, s));
    } else {
        KS_TRY(ks_host_strdup(files, &copy));
        char *rest = copy;
        for (int p = 0; rest; p++) {
            KS_CHECK(p < KS_N_PART, KS_ERR_ARG, "split files '%s': expected at most TRAIN,VALID,TEST", files);
            char *name = rest;
            rest       = strchr(rest, ',');
            if (rest) *rest++ = '\0';
            if (*name) KS_TRY(read_text_part(name, &s->index[p], &s->n[p]));
        }
    }
    KS_CHECK(s->n[0] + s->n[1] + s->n[2] > 0, KS_ERR_DATA, "%s: no frame numbers", files);
    KS_TRY(ks_split_check(s, n_frame, files));
    snprintf(s->method, sizeof s->method, "index");
    ks_split_hash(s, s->sha256);
    *out = s;
    s    = NULL;
done:
    KS_FREE(copy);
    ks_split_destroy(&s);
    return st;
}
