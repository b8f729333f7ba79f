/* run_folder.c -- see run_folder.h. */
#define _GNU_SOURCE
#include "train/run_folder.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static ks_status make_dirs(const char *path) {
    ks_status st = KS_OK;
    char      part[KS_CHECKPOINT_PATH];
    KS_CHECK(strlen(path) < sizeof part, KS_ERR_IO, "path too long: %.200s", path);
    for (const char *p = path + 1;; p++) {
        if (*p && *p != '/') continue;
        snprintf(part, sizeof part, "%.*s", (int)(p - path), path);
        KS_CHECK(mkdir(part, 0777) == 0 || errno == EEXIST, KS_ERR_IO, "%s: %s", part, strerror(errno));
        if (!*p) break;
    }
done:
    return st;
}

ks_status ks_run_folder_name(const ks_config *c, ks_run_folder *f) {
    ks_status st = KS_OK;
    f->lock      = -1;
    KS_CHECK((size_t)snprintf(f->dir, sizeof f->dir, "%s/%s", c->run.dir, c->run.name) < sizeof f->dir - 8, KS_ERR_IO,
             "path too long: %.200s", c->run.dir);
    snprintf(f->ckpt, sizeof f->ckpt, "%.*s/ckpt", KS_CHECKPOINT_PATH - 8, f->dir);
done:
    return st;
}

ks_status ks_run_folder_open(ks_run_folder *f) {
    ks_status st = KS_OK;
    char      lock[KS_CHECKPOINT_PATH + 16];
    KS_TRY(make_dirs(f->ckpt));
    snprintf(lock, sizeof lock, "%s/.lock", f->dir);
    f->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    KS_CHECK(f->lock >= 0, KS_ERR_IO, "%s: %s", lock, strerror(errno));
    KS_CHECK(flock(f->lock, LOCK_EX | LOCK_NB) == 0, KS_ERR_IO, "%s: another process is training in this folder",
             f->dir);
done:
    if (st != KS_OK) ks_run_folder_close(f);
    return st;
}

void ks_run_folder_close(ks_run_folder *f) {
    if (f->lock >= 0) close(f->lock);
    f->lock = -1;
}

ks_status ks_run_folder_write(const ks_run_folder *f, const char *name, const char *text) {
    ks_status st = KS_OK;
    char      path[KS_CHECKPOINT_PATH + 64], tmp[KS_CHECKPOINT_PATH + 72];
    FILE     *out = NULL;
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    out = fopen(tmp, "w");
    KS_CHECK(out, KS_ERR_IO, "%s: %s", tmp, strerror(errno));
    KS_CHECK(fputs(text, out) >= 0 && fflush(out) == 0 && fsync(fileno(out)) == 0, KS_ERR_IO, "%s: %s", tmp,
             strerror(errno));
    const int rc = fclose(out);
    out          = NULL;
    KS_CHECK(rc == 0 && rename(tmp, path) == 0, KS_ERR_IO, "%s: %s", path, strerror(errno));
done:
    if (out) fclose(out);
    return st;
}

ks_status ks_run_folder_copy(const ks_run_folder *f, const char *name, const char *from) {
    ks_status st   = KS_OK;
    char     *raw  = NULL;
    size_t    size = 0;
    FILE     *in   = fopen(from, "r");
    KS_CHECK(in, KS_ERR_IO, "%s: %s", from, strerror(errno));
    KS_CHECK(getdelim(&raw, &size, '\0', in) >= 0, KS_ERR_IO, "%s: cannot be read", from);
    KS_TRY(ks_run_folder_write(f, name, raw));
done:
    if (in) fclose(in);
    free(raw);
    return st;
}

/* Where each rank runs. */
static json_t *hosts_of(const ks_comm *comm) {
    json_t *hosts = json_array();
    for (int r = 0; r < ks_comm_size(comm); r++) json_array_append_new(hosts, json_string(ks_comm_host(comm, r)));
    return hosts;
}

ks_status ks_run_folder_env(const ks_run_folder *f, const ks_ctx *ctx, const ks_comm *comm, const char *launcher,
                            const char *command) {
    ks_status    st        = KS_OK;
    char         host[256] = "unknown", when[64];
    char        *text      = NULL;
    const time_t now       = time(NULL);
    const char  *job       = getenv("SLURM_JOB_ID");
    struct tm    utc;
    gethostname(host, sizeof host - 1);
    gmtime_r(&now, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:s?, s:i, s:s?}", "version", ks_version(), "build",
                          ks_build_info(), "backend", ks_ctx_backend(ctx), "cpu_kernels", ks_cpu_isa(), "threads",
                          ks_ctx_threads(ctx), "host", host, "started_utc", when, "command", command ? command : "",
                          "slurm_job_id", job, "ranks", ks_comm_size(comm), "launcher", launcher);
    KS_CHECK(o, KS_ERR_NOMEM, "env.json");
    if (comm) {
        KS_CHECK(json_object_set_new(o, "transport", json_string(ks_comm_transport(comm))) == 0 &&
                     json_object_set_new(o, "hosts", hosts_of(comm)) == 0,
                 KS_ERR_NOMEM, "env.json");
    }
    KS_CHECK((text = json_dumps(o, JSON_INDENT(2))), KS_ERR_NOMEM, "env.json");
    KS_TRY(ks_run_folder_write(f, "env.json", text));
done:
    json_decref(o);
    free(text);
    return st;
}
