/* h5.c -- HDF5 files, groups and links; see h5.h. */
#define _GNU_SOURCE /* memfd_create */
#include "io/h5_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static _Thread_local char t_why[256];

static herr_t keep_innermost(unsigned n, const H5E_error2_t *e, void *user) {
    (void)n;
    (void)user;
    /* H5E_WALK_UPWARD starts at the function that failed first. */
    if (t_why[0] == '\0')
        snprintf(t_why, sizeof t_why, "%s (%s)", e->desc ? e->desc : "", e->func_name ? e->func_name : "");
    for (char *c = t_why; *c; c++) /* it puts line breaks into some of its texts */
        if (*c == '\n') *c = ' ';
    return 0;
}

void ks_h5_quiet(void) {
    /* A file that could not be closed because the disk was full is still in HDF5's table, and its exit handler crashes on
     * it. Nothing is left for that handler: all files are closed by ks_h5_close. Comes before HDF5's first call. */
    (void)H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5Eclear2(H5E_DEFAULT);
}

const char *ks_h5_why(void) {
    t_why[0] = '\0';
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, NULL);
    return t_why[0] ? t_why : "no details";
}

/* The 1.8 format carries checksums in its metadata, which the older default lacks, and every HDF5 since 2008 reads it.
 */
static ks_status access_list(const char *path, int lock, hid_t *out) {
    ks_status st = KS_OK;
    *out         = H5Pcreate(H5P_FILE_ACCESS);
    KS_CHECK(*out >= 0 && H5Pset_libver_bounds(*out, H5F_LIBVER_V18, H5F_LIBVER_V18) >= 0 &&
                 H5Pset_fclose_degree(*out, H5F_CLOSE_STRONG) >= 0 && H5Pset_file_locking(*out, lock ? 1 : 0, 1) >= 0,
             KS_ERR_HDF5, "%s: file access settings: %s", path, ks_h5_why());
done:
    return st;
}

static ks_status handle_new(const char *path, ks_h5_mode mode, ks_h5 **out) {
    ks_status st = KS_OK;
    ks_h5    *f  = NULL;
    KS_TRY(KS_ZNEW(f, 1));
    f->id   = H5I_INVALID_HID;
    f->mode = mode;
    KS_TRY(ks_host_strdup(path, &f->path));
    if (mode == KS_H5_MODE_NEW) {
        const size_t n = strlen(path) + 32;
        KS_TRY(KS_NEW(f->temporary, n));
        snprintf(f->temporary, n, "%s.%ld.tmp", path, (long)getpid());
    }
    *out = f;
    f    = NULL;
done:
    ks_h5_close(&f);
    return st;
}

static ks_status open_existing(const char *path, ks_h5_mode mode, unsigned flags, ks_h5 **out) {
    ks_status   st   = KS_OK;
    ks_h5      *f    = NULL;
    hid_t       fapl = H5I_INVALID_HID;
    struct stat s;
    KS_CHECK(path && out, KS_ERR_ARG, "HDF5: no file name");
    *out = NULL;
    ks_h5_quiet();
    KS_CHECK(stat(path, &s) == 0, KS_ERR_IO, "%s: %s", path, strerror(errno));
    KS_CHECK(S_ISREG(s.st_mode), KS_ERR_IO, "%s: not a regular file", path);
    KS_TRY(handle_new(path, mode, &f));
    KS_TRY(access_list(path, mode == KS_H5_MODE_ROWS, &fapl));
    f->id = H5Fopen(f->temporary ? f->temporary : path, flags, fapl);
    KS_CHECK(f->id >= 0, KS_ERR_HDF5, "%s: not a readable HDF5 file (%lld bytes): %s", path, (long long)s.st_size,
             ks_h5_why());
    *out = f;
    f    = NULL;
done:
    if (fapl >= 0) H5Pclose(fapl);
    ks_h5_close(&f);
    return st;
}

ks_status ks_h5_open(const char *path, ks_h5 **out) {
    ks_h5_quiet(); /* the macro calls HDF5 */
    return open_existing(path, KS_H5_MODE_READ, H5F_ACC_RDONLY, out);
}

ks_status ks_h5_open_rows(const char *path, ks_h5 **out) {
    ks_h5_quiet();
    return open_existing(path, KS_H5_MODE_ROWS, H5F_ACC_RDWR, out);
}

ks_status ks_h5_create(const char *path, ks_h5 **out) {
    ks_status st   = KS_OK;
    ks_h5    *f    = NULL;
    hid_t     fapl = H5I_INVALID_HID, fcpl = H5I_INVALID_HID;
    KS_CHECK(path && *path && out, KS_ERR_ARG, "HDF5: no file name");
    *out = NULL;
    ks_h5_quiet();
    KS_TRY(handle_new(path, KS_H5_MODE_NEW, &f));
    KS_TRY(access_list(path, 0, &fapl));
    /* Every array is chunked (for its checksum): a smaller index node than the default's 2 KiB suits small ones. */
    fcpl = H5Pcreate(H5P_FILE_CREATE);
    KS_CHECK(fcpl >= 0 && H5Pset_istore_k(fcpl, 8) >= 0, KS_ERR_HDF5, "%s: file settings: %s", path, ks_h5_why());
    /* Truncates a leftover of a killed process with the same number. */
    f->id = H5Fcreate(f->temporary, H5F_ACC_TRUNC, fcpl, fapl);
    KS_CHECK(f->id >= 0, KS_ERR_IO, "%s: cannot create: %s", f->temporary, ks_h5_why());
    *out = f;
    f    = NULL;
done:
    if (fcpl >= 0) H5Pclose(fcpl);
    if (fapl >= 0) H5Pclose(fapl);
    ks_h5_close(&f);
    return st;
}

/* Byte copy; the descriptor of the copy is closed with an error check, as delayed writes may fail there. */
static ks_status copy_file(const char *from, const char *to) {
    ks_status     st = KS_OK;
    FILE         *in = NULL, *out = NULL;
    char         *buf   = NULL;
    const int64_t block = 1 << 20;
    size_t        n;
    KS_TRY(KS_NEW(buf, block));
    in = fopen(from, "rb");
    KS_CHECK(in, KS_ERR_IO, "%s: %s", from, strerror(errno));
    out = fopen(to, "wb");
    KS_CHECK(out, KS_ERR_IO, "%s: %s", to, strerror(errno));
    while ((n = fread(buf, 1, (size_t)block, in)) > 0)
        KS_CHECK(fwrite(buf, 1, n, out) == n, KS_ERR_IO, "%s: %s", to, strerror(errno));
    KS_CHECK(!ferror(in), KS_ERR_IO, "%s: read error", from);
    const int bad = fclose(out);
    out           = NULL;
    KS_CHECK(bad == 0, KS_ERR_IO, "%s: %s", to, strerror(errno));
done:
    if (in) fclose(in);
    if (out) fclose(out);
    KS_FREE(buf);
    return st;
}

ks_status ks_h5_edit(const char *path, ks_h5 **out) {
    ks_status   st   = KS_OK;
    ks_h5      *f    = NULL;
    hid_t       fapl = H5I_INVALID_HID;
    struct stat s;
    KS_CHECK(path && out, KS_ERR_ARG, "HDF5: no file name");
    *out = NULL;
    ks_h5_quiet();
    KS_CHECK(stat(path, &s) == 0, KS_ERR_IO, "%s: %s", path, strerror(errno));
    KS_CHECK(S_ISREG(s.st_mode), KS_ERR_IO, "%s: not a regular file", path);
    KS_TRY(handle_new(path, KS_H5_MODE_NEW, &f));
    KS_TRY(copy_file(path, f->temporary));
    KS_TRY(access_list(path, 0, &fapl));
    f->id = H5Fopen(f->temporary, H5F_ACC_RDWR, fapl);
    KS_CHECK(f->id >= 0, KS_ERR_HDF5, "%s: not a readable HDF5 file (%lld bytes): %s", path, (long long)s.st_size,
             ks_h5_why());
    *out = f;
    f    = NULL;
done:
    if (fapl >= 0) H5Pclose(fapl);
    ks_h5_close(&f);
    return st;
}

static ks_status sync_path(const char *path, int flags) {
    ks_status st = KS_OK;
    const int fd = open(path, flags | O_CLOEXEC);
    KS_CHECK(fd >= 0, KS_ERR_IO, "%s: %s", path, strerror(errno));
    KS_CHECK(fsync(fd) == 0, KS_ERR_IO, "%s: fsync: %s", path, strerror(errno));
done:
    if (fd >= 0) close(fd);
    return st;
}

static ks_status folder_of(const char *path, char **folder) {
    ks_status   st    = KS_OK;
    const char *slash = strrchr(path, '/');
    KS_TRY(ks_host_strdup(slash ? path : ".", folder));
    if (slash) (*folder)[slash == path ? 1 : slash - path] = '\0';
done:
    return st;
}

ks_status ks_h5_flush(ks_h5 *file) {
    ks_status st = KS_OK;
    KS_CHECK(file, KS_ERR_ARG, "HDF5: no file");
    KS_CHECK(!file->abandoned, KS_ERR_IO, "%s: an earlier write to the file failed", file->path);
    ks_h5_quiet();
    KS_H5_TRY(H5Fflush(file->id, H5F_SCOPE_GLOBAL), "writing", "/");
    KS_TRY(sync_path(file->temporary ? file->temporary : file->path, O_RDWR));
done:
    if (st != KS_OK && file) ks_h5_abandon(file);
    return st;
}

ks_status ks_h5_publish(ks_h5 **pfile) {
    ks_status st     = KS_OK;
    char     *folder = NULL;
    ks_h5    *file;
    KS_CHECK(pfile && *pfile, KS_ERR_ARG, "HDF5: no file to publish");
    file = *pfile;
    ks_h5_quiet();
    KS_CHECK(file->mode != KS_H5_MODE_READ, KS_ERR_ARG, "%s: opened for reading, nothing to publish", file->path);
    KS_TRY(ks_h5_flush(file));
    const herr_t closed = H5Fclose(file->id);
    file->id            = H5I_INVALID_HID;
    KS_CHECK(closed >= 0, KS_ERR_HDF5, "%s: closing failed: %s", file->path, ks_h5_why());
    if (file->temporary) {
        KS_TRY(folder_of(file->path, &folder)); /* nothing but the system may fail after the rename */
        KS_TRY(sync_path(file->temporary, O_RDWR));
        KS_CHECK(rename(file->temporary, file->path) == 0, KS_ERR_IO, "%s: rename to %s: %s", file->temporary,
                 file->path, strerror(errno));
        KS_FREE(file->temporary);
        KS_TRY(sync_path(folder, O_RDONLY | O_DIRECTORY));
    } else {
        KS_TRY(sync_path(file->path, O_RDWR));
    }
done:
    KS_FREE(folder);
    ks_h5_close(pfile);
    return st;
}

void ks_h5_abandon(ks_h5 *file) {
    void *handle = NULL;
    if (file->abandoned || file->id < 0 || H5Fget_vfd_handle(file->id, H5P_DEFAULT, &handle) < 0 || !handle) return;
    file->abandoned  = 1;
    const int memory = memfd_create("ksgrad-abandoned", MFD_CLOEXEC);
    if (memory < 0) return;
    dup2(memory, *(const int *)handle);
    close(memory);
}

void ks_h5_close(ks_h5 **pfile) {
    if (!pfile || !*pfile) return;
    ks_h5 *f = *pfile;
    ks_h5_quiet();
    if (f->temporary) ks_h5_abandon(f); /* it will be removed: no need to write what is left of it */
    if (f->id >= 0) H5Fclose(f->id);
    if (f->temporary) remove(f->temporary);
    KS_FREE(f->temporary);
    KS_FREE(f->path);
    KS_FREE(*pfile);
}

const char *ks_h5_path(const ks_h5 *file) { return file ? file->path : ""; }

ks_status ks_h5_check_writable(const ks_h5 *file, const char *object, int rows) {
    ks_status st = KS_OK;
    KS_CHECK(file->mode == KS_H5_MODE_NEW || (rows && file->mode == KS_H5_MODE_ROWS), KS_ERR_ARG,
             "%s: '%s' cannot be written, the file was opened for %s", file->path, object,
             file->mode == KS_H5_MODE_READ ? "reading" : "writing rows");
    KS_CHECK(!file->abandoned, KS_ERR_IO, "%s: '%s' is not written, an earlier write to the file failed", file->path,
             object);
done:
    return st;
}

int ks_h5_exists(ks_h5 *file, const char *path) {
    char       part[512];
    H5O_info_t info;
    if (!file || !path) return 0;
    ks_h5_quiet();
    while (*path == '/') path++;
    if (*path == '\0') return 1;
    if (strlen(path) >= sizeof part) return 0;
    /* H5Lexists wants every parent to exist. */
    for (const char *p = path;; p++) {
        if (*p != '/' && *p != '\0') continue;
        memcpy(part, path, (size_t)(p - path));
        part[p - path] = '\0';
        if (H5Lexists(file->id, part, H5P_DEFAULT) <= 0) return 0;
        if (*p == '\0') return 1; /* a damaged object is there, too: opening it says so */
        if (H5Oget_info_by_name2(file->id, part, &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0) return 0;
        if (info.type != H5O_TYPE_GROUP) return 0;
    }
}

ks_status ks_h5_group(ks_h5 *file, const char *path) {
    ks_status st   = KS_OK;
    hid_t     lcpl = H5I_INVALID_HID, g = H5I_INVALID_HID;
    KS_CHECK(file && path, KS_ERR_ARG, "HDF5: NULL argument");
    ks_h5_quiet();
    KS_TRY(ks_h5_check_writable(file, path, 0));
    if (ks_h5_exists(file, path)) {
        g = H5Gopen2(file->id, *path ? path : "/", H5P_DEFAULT);
        KS_CHECK(g >= 0, KS_ERR_ARG, "%s: '%s' exists and is not a group", file->path, path);
        goto done;
    }
    lcpl = H5Pcreate(H5P_LINK_CREATE);
    KS_H5_TRY(lcpl, "creating group", path);
    KS_H5_TRY(H5Pset_create_intermediate_group(lcpl, 1), "creating group", path);
    g = H5Gcreate2(file->id, path, lcpl, H5P_DEFAULT, H5P_DEFAULT);
    KS_H5_TRY(g, "creating group", path);
done:
    if (st == KS_ERR_HDF5) ks_h5_abandon(file);
    if (g >= 0) H5Gclose(g);
    if (lcpl >= 0) H5Pclose(lcpl);
    return st;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

ks_status ks_h5_list(ks_h5 *file, const char *group, char ***names, int64_t *n) {
    ks_status  st = KS_OK;
    hid_t      g  = H5I_INVALID_HID;
    H5G_info_t info;
    char     **list = NULL;
    int64_t    got  = 0;
    KS_CHECK(file && group && names && n, KS_ERR_ARG, "HDF5: NULL argument");
    *names = NULL;
    *n     = 0;
    ks_h5_quiet();
    g = H5Gopen2(file->id, group, H5P_DEFAULT);
    KS_H5_TRY(g, "opening group", group);
    KS_H5_TRY(H5Gget_info(g, &info), "listing group", group);
    KS_CHECK(info.nlinks < (1u << 24), KS_ERR_DATA, "%s: group '%s' claims %llu members", file->path, group,
             (unsigned long long)info.nlinks);
    KS_TRY(KS_ZNEW(list, info.nlinks));
    for (hsize_t k = 0; k < info.nlinks; k++) {
        const ssize_t len = H5Lget_name_by_idx(g, ".", H5_INDEX_NAME, H5_ITER_INC, k, NULL, 0, H5P_DEFAULT);
        KS_H5_TRY(len, "listing group", group);
        KS_TRY(KS_NEW(list[k], len + 1));
        got++;
        KS_H5_TRY(H5Lget_name_by_idx(g, ".", H5_INDEX_NAME, H5_ITER_INC, k, list[k], (size_t)len + 1, H5P_DEFAULT),
                  "listing group", group);
    }
    if (got) qsort(list, (size_t)got, sizeof *list, compare_names);
    *names = list;
    *n     = got;
    list   = NULL;
done:
    ks_h5_names_free(&list, got);
    if (g >= 0) H5Gclose(g);
    return st;
}

void ks_h5_names_free(char ***names, int64_t n) {
    if (!names || !*names) return;
    for (int64_t k = 0; k < n; k++) KS_FREE((*names)[k]);
    KS_FREE(*names);
}

ks_status ks_h5_remove(ks_h5 *file, const char *path) {
    ks_status st = KS_OK;
    KS_CHECK(file && path, KS_ERR_ARG, "HDF5: NULL argument");
    ks_h5_quiet();
    KS_TRY(ks_h5_check_writable(file, path, 0));
    KS_H5_TRY(H5Ldelete(file->id, path, H5P_DEFAULT), "removing", path);
done:
    return st;
}
