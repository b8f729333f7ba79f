/* checkpoint.c -- see checkpoint.h: folders, names, links, rotation. */
#define _GNU_SOURCE
#include "ksgrad/checkpoint.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "train/checkpoint_io.h"

static ks_status join(char *out, size_t size, const char *a, const char *b) {
    ks_status st = KS_OK;
    KS_CHECK((size_t)snprintf(out, size, "%s/%s", a, b) < size, KS_ERR_IO, "path too long: %.200s/%.200s", a, b);
done:
    return st;
}

static ks_status step_dir(char *out, const char *ckpt_dir, int64_t step, const char *suffix) {
    char name[64];
    snprintf(name, sizeof name, "step_%08lld%s", (long long)step, suffix);
    return join(out, KS_CHECKPOINT_PATH, ckpt_dir, name);
}

static ks_status sync_dir(const char *path) {
    ks_status st = KS_OK;
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    KS_CHECK(fd >= 0, KS_ERR_IO, "%s: %s", path, strerror(errno));
    const int rc = fsync(fd), why = errno;
    close(fd);
    KS_CHECK(rc == 0 || why == EINVAL, KS_ERR_IO, "%s: %s", path, strerror(why)); /* EINVAL: a file system without it */
done:
    return st;
}

/* The files of a checkpoint folder lie flat in it. */
static ks_status remove_dir(const char *path) {
    ks_status      st  = KS_OK;
    DIR           *dir = opendir(path);
    struct dirent *e;
    char           file[KS_CHECKPOINT_PATH];
    KS_CHECK(dir, KS_ERR_IO, "%s: %s", path, strerror(errno));
    while ((e = readdir(dir))) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        KS_TRY(join(file, sizeof file, path, e->d_name));
        KS_CHECK(unlink(file) == 0, KS_ERR_IO, "%s: %s", file, strerror(errno));
    }
    KS_CHECK(rmdir(path) == 0, KS_ERR_IO, "%s: %s", path, strerror(errno));
done:
    if (dir) closedir(dir);
    return st;
}

static int exists(const char *path) {
    struct stat s;
    return lstat(path, &s) == 0;
}

static ks_status file_bytes(const char *dir, const char *name, int64_t *bytes) {
    ks_status   st = KS_OK;
    char        path[KS_CHECKPOINT_PATH];
    struct stat s;
    KS_TRY(join(path, sizeof path, dir, name));
    KS_CHECK(stat(path, &s) == 0, KS_ERR_DATA, "%s: %s", path, strerror(errno));
    *bytes = (int64_t)s.st_size;
done:
    return st;
}

/* Size and hash of a file of the folder. The hash takes 8 bytes at a time (FNV-1a's prime, high half folded in): it
 * is there to find damage before HDF5 does, whose 1.10 series can crash on damaged metadata. */
static ks_status file_hash(const char *dir, const char *name, int64_t *bytes, uint64_t *hash) {
    enum { BLOCK = 1 << 16 };
    ks_status st  = KS_OK;
    uint64_t *buf = NULL, h = 0xcbf29ce484222325ULL;
    size_t    n;
    char      path[KS_CHECKPOINT_PATH];
    FILE     *f = NULL;
    *bytes      = 0;
    KS_TRY(join(path, sizeof path, dir, name));
    KS_TRY(KS_NEW(buf, BLOCK));
    f = fopen(path, "rb");
    KS_CHECK(f, KS_ERR_DATA, "%s: %s", path, strerror(errno));
    do {
        n = fread(buf, 1, BLOCK * sizeof *buf, f);
        memset((char *)buf + n, 0, BLOCK * sizeof *buf - n);
        for (size_t i = 0; i < (n + sizeof *buf - 1) / sizeof *buf; i++) {
            h = (h ^ buf[i]) * 0x100000001b3ULL;
            h ^= h >> 32;
        }
        *bytes += (int64_t)n;
    } while (n == BLOCK * sizeof *buf);
    KS_CHECK(!ferror(f), KS_ERR_IO, "%s: %s", path, strerror(errno));
    *hash = h;
done:
    if (f) fclose(f);
    KS_FREE(buf);
    return st;
}

static const char *const g_file[] = {"model.h5", "state.h5"};

static ks_status write_done(const char *dir) {
    ks_status st = KS_OK;
    FILE     *f  = NULL;
    char      path[KS_CHECKPOINT_PATH];
    KS_TRY(join(path, sizeof path, dir, "DONE"));
    f = fopen(path, "w");
    KS_CHECK(f, KS_ERR_IO, "%s: %s", path, strerror(errno));
    for (int i = 0; i < 2; i++) {
        int64_t  bytes = 0;
        uint64_t hash  = 0;
        KS_TRY(file_hash(dir, g_file[i], &bytes, &hash));
        KS_CHECK(fprintf(f, "%s %lld %016llx\n", g_file[i], (long long)bytes, (unsigned long long)hash) > 0, KS_ERR_IO,
                 "%s: %s", path, strerror(errno));
    }
    KS_CHECK(fflush(f) == 0 && fsync(fileno(f)) == 0, KS_ERR_IO, "%s: %s", path, strerror(errno));
done:
    if (f && fclose(f) != 0 && st == KS_OK)
        st = ks_error_raise(KS_ERR_IO, __FILE__, __LINE__, __func__, "%s: %s", path, strerror(errno));
    return st;
}

/* Complete: DONE is there and the first n_file files have the sizes and, when asked, the contents that it states. */
static ks_status check_complete(const char *dir, int n_file, int with_content) {
    ks_status st = KS_OK;
    FILE     *f  = NULL;
    char      path[KS_CHECKPOINT_PATH], name[16];
    KS_TRY(join(path, sizeof path, dir, "DONE"));
    f = fopen(path, "r");
    KS_CHECK(f, KS_ERR_DATA, "%s is not a complete checkpoint: no DONE in it", dir);
    for (int i = 0; i < n_file; i++) {
        long long          bytes = 0;
        unsigned long long hash  = 0;
        int64_t            have  = 0;
        uint64_t           found = 0;
        KS_CHECK(fscanf(f, "%15s %lld %llx", name, &bytes, &hash) == 3 && !strcmp(name, g_file[i]), KS_ERR_HDF5,
                 "%s: unreadable", path);
        KS_TRY(file_bytes(dir, g_file[i], &have));
        KS_CHECK(have == bytes, KS_ERR_HDF5, "%s/%s has %lld bytes, %lld were written", dir, g_file[i], (long long)have,
                 bytes);
        if (!with_content) continue;
        KS_TRY(file_hash(dir, g_file[i], &have, &found));
        KS_CHECK(found == hash, KS_ERR_HDF5, "%s/%s is damaged: its content is not what was written", dir, g_file[i]);
    }
done:
    if (f) fclose(f);
    return st;
}

void ks_train_state_clear(ks_train_state *state) {
    if (!state) return;
    KS_FREE(state->word);
    *state = (ks_train_state){.best_step = -1};
}

void ks_moments_clear(ks_moments *moments) {
    if (!moments) return;
    KS_FREE(moments->m);
    KS_FREE(moments->v);
}

ks_status ks_checkpoint_save(ks_ctx *ctx, const char *ckpt_dir, const char *config_text, const char *command,
                             ks_model *model, const ks_moments *moments, const ks_train_state *state) {
    ks_status st = KS_OK;
    char      tmp[KS_CHECKPOINT_PATH], final[KS_CHECKPOINT_PATH], old[KS_CHECKPOINT_PATH], path[KS_CHECKPOINT_PATH];
    KS_TRY(step_dir(tmp, ckpt_dir, state->step, ".tmp"));
    KS_TRY(step_dir(final, ckpt_dir, state->step, ""));
    KS_TRY(step_dir(old, ckpt_dir, state->step, ".old.tmp"));
    if (exists(tmp)) KS_TRY(remove_dir(tmp));
    if (exists(old)) KS_TRY(remove_dir(old));
    KS_CHECK(mkdir(tmp, 0777) == 0, KS_ERR_IO, "%s: %s", tmp, strerror(errno));
    KS_TRY(join(path, sizeof path, tmp, "model.h5"));
    KS_TRY(ks_ckpt_write_model(ctx, path, config_text, command, model, state));
    KS_TRY(join(path, sizeof path, tmp, "state.h5"));
    KS_TRY(ks_ckpt_write_state(ctx, path, model, moments, state));
    KS_TRY(write_done(tmp));
    KS_TRY(sync_dir(tmp));
    if (exists(final)) KS_CHECK(rename(final, old) == 0, KS_ERR_IO, "%s: %s", final, strerror(errno));
    KS_CHECK(rename(tmp, final) == 0, KS_ERR_IO, "%s: %s", final, strerror(errno));
    KS_TRY(sync_dir(ckpt_dir));
    if (exists(old)) KS_TRY(remove_dir(old));
done:
    return st;
}

ks_status ks_checkpoint_point(const char *ckpt_dir, const char *name, int64_t step) {
    ks_status st = KS_OK;
    char      link[KS_CHECKPOINT_PATH], tmp[KS_CHECKPOINT_PATH], target[64], tmp_name[64];
    snprintf(target, sizeof target, "step_%08lld", (long long)step);
    snprintf(tmp_name, sizeof tmp_name, "%s.tmp", name);
    KS_TRY(join(link, sizeof link, ckpt_dir, name));
    KS_TRY(join(tmp, sizeof tmp, ckpt_dir, tmp_name));
    KS_CHECK(unlink(tmp) == 0 || errno == ENOENT, KS_ERR_IO, "%s: %s", tmp, strerror(errno));
    KS_CHECK(symlink(target, tmp) == 0, KS_ERR_IO, "%s: %s", tmp, strerror(errno));
    KS_CHECK(rename(tmp, link) == 0, KS_ERR_IO, "%s: %s", link, strerror(errno));
    KS_TRY(sync_dir(ckpt_dir));
done:
    return st;
}

/* ---- folders ---- */

/* step_00000020 -> 20; -1 for other names. is_tmp: step_00000020.tmp and the like. */
static int64_t step_of(const char *name, int *is_tmp) {
    char *end;
    *is_tmp = 0;
    if (strncmp(name, "step_", 5) || name[5] < '0' || name[5] > '9') return -1;
    errno             = 0;
    const long long v = strtoll(name + 5, &end, 10);
    if (errno || end == name + 5) return -1;
    *is_tmp = !strcmp(end, ".tmp") || !strcmp(end, ".old.tmp");
    return *end && !*is_tmp ? -1 : v;
}

static int newer_first(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

static ks_status all_steps(const char *ckpt_dir, int64_t **steps, int64_t *n) {
    ks_status      st  = KS_OK;
    int64_t        cap = 0;
    int            is_tmp;
    struct dirent *e;
    DIR           *dir = opendir(ckpt_dir);
    *steps             = NULL;
    *n                 = 0;
    if (!dir && errno == ENOENT) return KS_OK;
    KS_CHECK(dir, KS_ERR_IO, "%s: %s", ckpt_dir, strerror(errno));
    while ((e = readdir(dir))) cap++;
    rewinddir(dir);
    KS_TRY(KS_NEW(*steps, cap));
    while ((e = readdir(dir)) && *n < cap) {
        const int64_t s = step_of(e->d_name, &is_tmp);
        if (s >= 0 && !is_tmp) (*steps)[(*n)++] = s;
    }
    if (*n) qsort(*steps, (size_t)*n, sizeof **steps, newer_first);
done:
    if (dir) closedir(dir);
    return st;
}

ks_status ks_checkpoint_list(const char *ckpt_dir, int64_t **steps, int64_t *n, char *damaged, size_t damaged_size) {
    ks_status st  = KS_OK;
    int64_t   all = 0;
    char      dir[KS_CHECKPOINT_PATH];
    *n = 0;
    if (damaged) damaged[0] = '\0';
    KS_TRY(all_steps(ckpt_dir, steps, &all));
    for (int64_t i = 0; i < all; i++) {
        KS_TRY(step_dir(dir, ckpt_dir, (*steps)[i], ""));
        if (check_complete(dir, 2, 0) == KS_OK) {
            (*steps)[(*n)++] = (*steps)[i];
        } else if (*n == 0 && damaged && !damaged[0]) {
            snprintf(damaged, damaged_size, "%s", ks_error_message());
        }
        ks_error_clear();
    }
done:
    return st;
}

ks_status ks_checkpoint_rotate(const char *ckpt_dir, int64_t keep_last) {
    ks_status      st    = KS_OK;
    int64_t       *steps = NULL, n = 0, best = -1;
    int            is_tmp;
    char           path[KS_CHECKPOINT_PATH], target[256];
    DIR           *dir = NULL;
    struct dirent *e;
    KS_TRY(ks_checkpoint_list(ckpt_dir, &steps, &n, NULL, 0)); /* damaged ones neither count nor go */
    KS_TRY(join(path, sizeof path, ckpt_dir, "best"));
    const ssize_t length = readlink(path, target, sizeof target - 1);
    if (length > 0) {
        target[length] = '\0';
        best           = step_of(target, &is_tmp);
    }
    for (int64_t i = keep_last; i < n; i++) {
        if (steps[i] == best) continue;
        /* renamed first: a half-removed folder must not look like a checkpoint */
        char tmp[KS_CHECKPOINT_PATH];
        KS_TRY(step_dir(path, ckpt_dir, steps[i], ""));
        KS_TRY(step_dir(tmp, ckpt_dir, steps[i], ".old.tmp"));
        KS_CHECK(rename(path, tmp) == 0, KS_ERR_IO, "%s: %s", path, strerror(errno));
    }
    dir = opendir(ckpt_dir);
    KS_CHECK(dir, KS_ERR_IO, "%s: %s", ckpt_dir, strerror(errno));
    while ((e = readdir(dir))) {
        if (step_of(e->d_name, &is_tmp) < 0 || !is_tmp) continue;
        KS_TRY(join(path, sizeof path, ckpt_dir, e->d_name));
        KS_TRY(remove_dir(path));
    }
done:
    if (dir) closedir(dir);
    KS_FREE(steps);
    return st;
}

/* ---- finding and loading ---- */

ks_status ks_checkpoint_find(const char *path, char out[KS_CHECKPOINT_PATH]) {
    static const char *const below[] = {"", "/ckpt/best", "/ckpt/latest", "/best", "/latest"};
    ks_status                st      = KS_OK;
    char                     real[PATH_MAX];
    struct stat              s;
    KS_CHECK(stat(path, &s) == 0, KS_ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(s.st_mode)) {
        const char *slash = strrchr(path, '/');
        KS_CHECK(!strcmp(slash ? slash + 1 : path, "model.h5"), KS_ERR_DATA,
                 "%s: not a checkpoint (a run folder, a folder step_*, or its model.h5)", path);
        const int n = slash ? (int)(slash - path) : 1;
        KS_CHECK(n < KS_CHECKPOINT_PATH, KS_ERR_IO, "path too long: %.200s", path);
        snprintf(out, KS_CHECKPOINT_PATH, "%.*s", n ? n : 1, slash ? path : ".");
        goto done;
    }
    for (size_t i = 0; i < sizeof below / sizeof below[0]; i++) {
        char try[PATH_MAX + 32];
        snprintf(try, sizeof try, "%.*s%s/model.h5", PATH_MAX - 32, path, below[i]);
        if (!exists(try)) continue;
        try[strlen(try) - strlen("/model.h5")] = '\0';
        KS_CHECK(realpath(try, real) && strlen(real) < KS_CHECKPOINT_PATH, KS_ERR_IO, "%s: %s", try, strerror(errno));
        snprintf(out, KS_CHECKPOINT_PATH, "%s", real);
        goto done;
    }
    KS_CHECK(0, KS_ERR_DATA, "%s: no checkpoint in it (looked for model.h5, ckpt/best, ckpt/latest)", path);
done:
    return st;
}

ks_status ks_checkpoint_verify(const char *dir) {
    ks_status st = KS_OK;
    char      path[KS_CHECKPOINT_PATH];
    KS_TRY(join(path, sizeof path, dir, "DONE"));
    if (!exists(path)) goto done;
    KS_TRY(join(path, sizeof path, dir, "state.h5"));
    KS_TRY(check_complete(dir, exists(path) ? 2 : 1, 1));
done:
    return st;
}

ks_status ks_checkpoint_config(const char *dir, char **text) {
    ks_status st = KS_OK;
    char      path[KS_CHECKPOINT_PATH];
    KS_TRY(check_complete(dir, 2, 1));
    KS_TRY(join(path, sizeof path, dir, "model.h5"));
    KS_TRY(ks_ckpt_read_head(path, text, NULL, NULL));
done:
    return st;
}

ks_status ks_checkpoint_load_model(ks_ctx *ctx, const char *path, int n_set, const char *const *set, ks_config *config,
                                   ks_model **model, ks_checkpoint_info *info) {
    ks_status          st   = KS_OK;
    char              *text = NULL, *hard = NULL;
    ks_config          stored;
    ks_model          *made = NULL;
    ks_checkpoint_info own;
    char               file[KS_CHECKPOINT_PATH], name[KS_CHECKPOINT_PATH + 16];
    int64_t            n_ao_kind = 0;
    memset(&own, 0, sizeof own);
    KS_TRY(ks_checkpoint_find(path, own.dir));
    KS_TRY(join(file, sizeof file, own.dir, "model.h5"));
    KS_TRY(ks_checkpoint_verify(own.dir));
    KS_TRY(ks_ckpt_read_head(file, &text, &n_ao_kind, &own));
    snprintf(name, sizeof name, "%s:/config", file);
    KS_TRY(ks_config_parse(text, name, NULL, 0, NULL, &stored));
    KS_TRY(ks_config_parse(text, name, NULL, n_set, set, config));
    KS_TRY(ks_config_diff(&stored, config, KS_CONFIG_HARD, &hard));
    KS_CHECK(!hard[0], KS_ERR_CONFIG, "these keys belong to the trained model and cannot be changed for %s:\n%s",
             own.dir, hard);
    config->model.options.n_ao_kind = n_ao_kind;
    if (model) {
        KS_TRY(ks_model_create(ctx, &config->model.options, (uint64_t)config->run.seed, &made));
        KS_TRY(ks_ckpt_read_model(ctx, file, made));
    }
    if (info) *info = own;
    if (model) *model = made;
    made = NULL;
done:
    ks_model_destroy(&made);
    KS_FREE(text);
    KS_FREE(hard);
    return st;
}

ks_status ks_checkpoint_load_state(ks_ctx *ctx, const char *dir, ks_model *model, ks_moments *moments,
                                   ks_train_state *state) {
    ks_status st = KS_OK;
    char      path[KS_CHECKPOINT_PATH];
    KS_TRY(check_complete(dir, 2, 1));
    KS_TRY(join(path, sizeof path, dir, "model.h5"));
    KS_TRY(ks_ckpt_read_model(ctx, path, model));
    KS_TRY(join(path, sizeof path, dir, "state.h5"));
    KS_TRY(ks_ckpt_read_state(ctx, path, model, moments, state));
done:
    return st;
}
