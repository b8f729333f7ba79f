/* checkpoint_io.c -- see checkpoint_io.h.
 *
 * model.h5: attributes format, format_version, step, samples_seen, weights, n_ao_kind, checksum
 *   /config  /params/<dotted.name>  /references/000000/{Z, pos_bohr}  /conventions  /provenance
 * state.h5: attributes format, format_version, step, samples_seen, best_step, best_energy_Ha, data_hash, micro_batch,
 *   pool_size, checksum
 *   /optim/m/<dotted.name>  /optim/v/<dotted.name>  /pool (int64 words, src/train/pool.c) */
#define _GNU_SOURCE
#include "train/checkpoint_io.h"
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "io/h5.h"

enum { FORMAT_VERSION = 1 };

/* FNV-1a, 64 bit: HDF5 checks what is stored in chunks only, this covers the small tensors too. */
static uint64_t fnv(uint64_t h, const void *data, size_t n) {
    const unsigned char *p = (const unsigned char *)data;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3ULL;
    return h;
}
static const uint64_t FNV_START = 0xcbf29ce484222325ULL;

static ks_h5_type element_type(const ks_params *params) {
    return ks_params_elem_bytes(params) == 4 ? KS_H5_F32 : KS_H5_F64;
}

static ks_status largest_tensor(ks_params *params, size_t *bytes) {
    ks_status st = KS_OK;
    *bytes       = 0;
    KS_CHECK(ks_params_count(params) > 0, KS_ERR_ARG, "a model without parameters");
    for (int64_t i = 0; i < ks_params_count(params); i++) {
        const size_t b = (size_t)ks_params_get(params, i)->size * ks_params_elem_bytes(params);
        if (b > *bytes) *bytes = b;
    }
done:
    return st;
}

/* ---- tensors of one kind: 'p' data, 'm', 'v' ---- */

/* The flat array of moments: from_host is one in host memory, else it is the registry's, which must have all of it. */
static ks_status moments_of(ks_params *params, char which, const ks_moments *moments, void **flat, int *from_host) {
    ks_status st = KS_OK;
    *from_host   = moments && moments->m;
    *flat        = *from_host ? (which == 'm' ? moments->m : moments->v) : ks_params_flat(params, which);
    KS_CHECK(*from_host || ks_params_n_moment(params) == ks_params_total(params), KS_ERR_ARG,
             "checkpoint: %lld of %lld moments are here", (long long)ks_params_n_moment(params),
             (long long)ks_params_total(params));
done:
    return st;
}

static ks_status write_tensors(ks_ctx *ctx, ks_h5 *file, const char *group, ks_params *params, const void *array,
                               int from_host, uint64_t *sum) {
    ks_status    st   = KS_OK;
    char        *host = NULL;
    char         path[160];
    size_t       bytes = 0;
    const size_t elem  = ks_params_elem_bytes(params);
    KS_TRY(largest_tensor(params, &bytes));
    if (!from_host) KS_TRY(KS_NEW(host, bytes));
    for (int64_t i = 0; i < ks_params_count(params); i++) {
        const ks_param *p  = ks_params_get(params, i);
        const char     *at = (const char *)array + (size_t)p->offset * elem;
        if (!from_host) KS_TRY(ks_mem_to_host(ctx, host, at, (size_t)p->size * elem));
        if (!from_host) at = host;
        *sum = fnv(*sum, at, (size_t)p->size * elem);
        snprintf(path, sizeof path, "%s/%s", group, p->name);
        KS_TRY(ks_h5_write(file, path, element_type(params), p->rank, p->shape, at));
    }
done:
    KS_FREE(host);
    return st;
}

static void print_shape(int rank, const int64_t *shape, char *out, size_t size) {
    size_t n = (size_t)snprintf(out, size, "(");
    for (int k = 0; k < rank && n < size; k++)
        n += (size_t)snprintf(out + n, size - n, "%s%lld", k ? ", " : "", (long long)shape[k]);
    if (n < size) snprintf(out + n, size - n, ")");
}

static int is_registered(ks_params *params, const char *name) {
    for (int64_t i = 0; i < ks_params_count(params); i++)
        if (!strcmp(ks_params_get(params, i)->name, name)) return 1;
    return 0;
}

static ks_status check_tensors(ks_h5 *file, const char *group, ks_params *params) {
    ks_status st    = KS_OK;
    char    **names = NULL;
    int64_t   n     = 0;
    char      path[160], have[96], want[96];
    KS_TRY(ks_h5_list(file, group, &names, &n));
    for (int64_t i = 0; i < ks_params_count(params); i++) {
        const ks_param *p = ks_params_get(params, i);
        int64_t         shape[KS_H5_MAX_RANK];
        int             rank = 0;
        snprintf(path, sizeof path, "%s/%s", group, p->name);
        KS_CHECK(ks_h5_exists(file, path), KS_ERR_DATA, "%s: tensor '%s' is missing", ks_h5_path(file), path);
        KS_TRY(ks_h5_shape(file, path, &rank, shape));
        int same = rank == p->rank;
        for (int k = 0; same && k < rank; k++) same = shape[k] == p->shape[k];
        print_shape(rank, shape, have, sizeof have);
        print_shape(p->rank, p->shape, want, sizeof want);
        KS_CHECK(same, KS_ERR_DATA, "%s: tensor '%s' has shape %s, the model wants %s", ks_h5_path(file), path, have,
                 want);
    }
    for (int64_t i = 0; i < n; i++)
        KS_CHECK(is_registered(params, names[i]), KS_ERR_DATA, "%s: tensor '%s/%s' is not part of the model",
                 ks_h5_path(file), group, names[i]);
done:
    ks_h5_names_free(&names, n);
    return st;
}

static ks_status read_tensors(ks_ctx *ctx, ks_h5 *file, const char *group, ks_params *params, void *array, int to_host,
                              uint64_t *sum) {
    ks_status    st    = KS_OK;
    char        *host  = NULL;
    size_t       bytes = 0;
    char         path[160];
    const size_t elem = ks_params_elem_bytes(params);
    KS_TRY(check_tensors(file, group, params));
    KS_TRY(largest_tensor(params, &bytes));
    if (!to_host) KS_TRY(KS_NEW(host, bytes));
    for (int64_t i = 0; i < ks_params_count(params); i++) {
        const ks_param *p  = ks_params_get(params, i);
        char           *at = (char *)array + (size_t)p->offset * elem, *into = to_host ? at : host;
        snprintf(path, sizeof path, "%s/%s", group, p->name);
        KS_TRY(ks_h5_read(file, path, element_type(params), p->rank, p->shape, into));
        *sum = fnv(*sum, into, (size_t)p->size * elem);
        if (!to_host) KS_TRY(ks_mem_to_backend(ctx, at, host, (size_t)p->size * elem));
    }
done:
    KS_FREE(host);
    return st;
}

static ks_status check_format(ks_h5 *file, const char *want) {
    ks_status st      = KS_OK;
    char     *format  = NULL;
    int64_t   version = 0;
    KS_CHECK(ks_h5_has_attr(file, "/", "format"), KS_ERR_DATA, "%s: not a %s file (no attribute 'format')",
             ks_h5_path(file), want);
    KS_TRY(ks_h5_get_string(file, "/", "format", &format));
    KS_CHECK(!strcmp(format, want), KS_ERR_DATA, "%s: format '%s', wanted '%s'", ks_h5_path(file), format, want);
    KS_TRY(ks_h5_get_i64(file, "/", "format_version", &version));
    KS_CHECK(version == FORMAT_VERSION, KS_ERR_DATA, "%s: format version %lld, this program reads %d", ks_h5_path(file),
             (long long)version, FORMAT_VERSION);
done:
    KS_FREE(format);
    return st;
}

static ks_status check_sum(ks_h5 *file, uint64_t sum) {
    ks_status st     = KS_OK;
    int64_t   stored = 0;
    KS_TRY(ks_h5_get_i64(file, "/", "checksum", &stored));
    KS_CHECK((uint64_t)stored == sum, KS_ERR_HDF5,
             "%s: checksum %016llx of the tensors, %016llx stored: the file is damaged", ks_h5_path(file),
             (unsigned long long)sum, (unsigned long long)stored);
done:
    return st;
}

/* ---- model.h5 ---- */

static ks_status write_references(ks_h5 *file, ks_model *model) {
    ks_status st = KS_OK;
    char      path[64];
    KS_TRY(ks_h5_group(file, "references"));
    for (int64_t k = 0; k < ks_model_n_reference(model); k++) {
        int64_t        n_atom = 0;
        const int32_t *Z      = NULL;
        const double  *pos    = NULL;
        KS_TRY(ks_model_get_reference(model, k, &n_atom, &Z, &pos));
        const int64_t shape[2] = {n_atom, 3};
        snprintf(path, sizeof path, "references/%06lld/Z", (long long)k);
        KS_TRY(ks_h5_write(file, path, KS_H5_I32, 1, shape, Z));
        snprintf(path, sizeof path, "references/%06lld/pos_bohr", (long long)k);
        KS_TRY(ks_h5_write(file, path, KS_H5_F64, 2, shape, pos));
    }
done:
    return st;
}

static ks_status read_references(ks_h5 *file, ks_model *model) {
    ks_status st    = KS_OK;
    char    **names = NULL;
    int64_t   n     = 0;
    int32_t  *Z     = NULL;
    double   *pos   = NULL;
    char      path[160];
    KS_TRY(ks_h5_list(file, "references", &names, &n));
    for (int64_t k = 0; k < n; k++) {
        int64_t shape[2] = {-1, 3};
        snprintf(path, sizeof path, "references/%s/Z", names[k]);
        KS_TRY(ks_h5_read_new(file, path, KS_H5_I32, 1, shape, (void **)&Z));
        snprintf(path, sizeof path, "references/%s/pos_bohr", names[k]);
        KS_TRY(ks_h5_read_new(file, path, KS_H5_F64, 2, shape, (void **)&pos));
        KS_TRY(ks_model_set_reference(model, shape[0], Z, pos));
        KS_FREE(Z);
        KS_FREE(pos);
    }
done:
    ks_h5_names_free(&names, n);
    KS_FREE(Z);
    KS_FREE(pos);
    return st;
}

static ks_status write_provenance(ks_h5 *file, const char *command) {
    ks_status    st        = KS_OK;
    char         host[256] = "unknown", when[64];
    const time_t now       = time(NULL);
    struct tm    utc;
    gethostname(host, sizeof host - 1);
    gmtime_r(&now, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    KS_TRY(ks_h5_group(file, "provenance"));
    KS_TRY(ks_h5_set_string(file, "provenance", "program", "ksgrad"));
    KS_TRY(ks_h5_set_string(file, "provenance", "version", ks_version()));
    KS_TRY(ks_h5_set_string(file, "provenance", "build", ks_build_info()));
    KS_TRY(ks_h5_set_string(file, "provenance", "cpu_kernels", ks_cpu_isa()));
    KS_TRY(ks_h5_set_string(file, "provenance", "host", host));
    KS_TRY(ks_h5_set_string(file, "provenance", "time_utc", when));
    KS_TRY(ks_h5_set_string(file, "provenance", "command", command));
    KS_TRY(ks_h5_group(file, "conventions"));
    KS_TRY(ks_h5_set_string(file, "conventions", "units", "hartree, bohr"));
    KS_TRY(ks_h5_set_string(file, "conventions", "ao_order",
                            "PySCF: atom, l, contraction, m; p x y z; d xy yz z2 xz x2-y2; real spherical"));
done:
    return st;
}

ks_status ks_ckpt_write_model(ks_ctx *ctx, const char *path, const char *config_text, const char *command,
                              ks_model *model, const ks_train_state *state) {
    ks_status  st     = KS_OK;
    ks_h5     *file   = NULL;
    uint64_t   sum    = FNV_START;
    ks_params *params = ks_model_params(model);
    KS_TRY(ks_h5_create(path, &file));
    KS_TRY(ks_h5_set_string(file, "/", "format", "ksgrad-model"));
    KS_TRY(ks_h5_set_i64(file, "/", "format_version", FORMAT_VERSION));
    KS_TRY(ks_h5_set_i64(file, "/", "step", state->step));
    KS_TRY(ks_h5_set_i64(file, "/", "samples_seen", state->samples));
    KS_TRY(ks_h5_set_string(file, "/", "weights", "raw"));
    KS_TRY(ks_h5_set_i64(file, "/", "n_ao_kind", ks_model_get_options(model)->n_ao_kind));
    KS_TRY(ks_h5_write_string(file, "config", config_text));
    KS_TRY(ks_h5_group(file, "params"));
    KS_TRY(write_tensors(ctx, file, "params", params, ks_params_flat(params, 'p'), 0, &sum));
    KS_TRY(ks_h5_set_i64(file, "/", "checksum", (int64_t)sum));
    KS_TRY(write_references(file, model));
    KS_TRY(write_provenance(file, command));
    KS_TRY(ks_h5_publish(&file));
done:
    ks_h5_close(&file);
    return st;
}

ks_status ks_ckpt_read_model(ks_ctx *ctx, const char *path, ks_model *model) {
    ks_status  st     = KS_OK;
    ks_h5     *file   = NULL;
    uint64_t   sum    = FNV_START;
    ks_params *params = ks_model_params(model);
    KS_TRY(ks_h5_open(path, &file));
    KS_TRY(check_format(file, "ksgrad-model"));
    KS_TRY(read_tensors(ctx, file, "params", params, ks_params_flat(params, 'p'), 0, &sum));
    KS_TRY(check_sum(file, sum));
    KS_TRY(read_references(file, model));
done:
    ks_h5_close(&file);
    return st;
}

ks_status ks_ckpt_read_head(const char *path, char **config_text, int64_t *n_ao_kind, ks_checkpoint_info *info) {
    ks_status st      = KS_OK;
    ks_h5    *file    = NULL;
    char     *version = NULL;
    KS_TRY(ks_h5_open(path, &file));
    KS_TRY(check_format(file, "ksgrad-model"));
    if (n_ao_kind) KS_TRY(ks_h5_get_i64(file, "/", "n_ao_kind", n_ao_kind));
    if (info) {
        KS_TRY(ks_h5_get_i64(file, "/", "step", &info->step));
        KS_TRY(ks_h5_get_i64(file, "/", "samples_seen", &info->samples));
        KS_TRY(ks_h5_get_string(file, "provenance", "version", &version));
        snprintf(info->program, sizeof info->program, "%s", version);
    }
    KS_TRY(ks_h5_read_string(file, "config", config_text));
done:
    KS_FREE(version);
    ks_h5_close(&file);
    return st;
}

/* ---- state.h5 ---- */

ks_status ks_ckpt_write_state(ks_ctx *ctx, const char *path, ks_model *model, const ks_moments *moments,
                              const ks_train_state *state) {
    ks_status     st       = KS_OK;
    ks_h5        *file     = NULL;
    uint64_t      sum      = FNV_START;
    const int64_t n_word[] = {state->n_word};
    ks_params    *params   = ks_model_params(model);
    void         *m = NULL, *v = NULL;
    int           from_host = 0;
    KS_TRY(moments_of(params, 'm', moments, &m, &from_host));
    KS_TRY(moments_of(params, 'v', moments, &v, &from_host));
    KS_TRY(ks_h5_create(path, &file));
    KS_TRY(ks_h5_set_string(file, "/", "format", "ksgrad-state"));
    KS_TRY(ks_h5_set_i64(file, "/", "format_version", FORMAT_VERSION));
    KS_TRY(ks_h5_set_i64(file, "/", "step", state->step));
    KS_TRY(ks_h5_set_i64(file, "/", "samples_seen", state->samples));
    KS_TRY(ks_h5_set_i64(file, "/", "best_step", state->best_step));
    KS_TRY(ks_h5_set_f64(file, "/", "best_energy_Ha", state->best_energy));
    KS_TRY(ks_h5_set_i64(file, "/", "data_hash", (int64_t)state->data_hash));
    KS_TRY(ks_h5_set_i64(file, "/", "micro_batch", state->micro_batch));
    KS_TRY(ks_h5_set_i64(file, "/", "pool_size", state->pool_size));
    KS_TRY(ks_h5_write(file, "pool", KS_H5_I64, 1, n_word, state->word));
    sum = fnv(sum, state->word, (size_t)state->n_word * sizeof state->word[0]);
    KS_TRY(write_tensors(ctx, file, "optim/m", params, m, from_host, &sum));
    KS_TRY(write_tensors(ctx, file, "optim/v", params, v, from_host, &sum));
    KS_TRY(ks_h5_set_i64(file, "/", "checksum", (int64_t)sum));
    KS_TRY(ks_h5_publish(&file));
done:
    ks_h5_close(&file);
    return st;
}

ks_status ks_ckpt_read_state(ks_ctx *ctx, const char *path, ks_model *model, ks_moments *moments,
                             ks_train_state *state) {
    ks_status  st   = KS_OK;
    ks_h5     *file = NULL;
    uint64_t   sum  = FNV_START;
    int64_t    n[1] = {-1}, hash = 0;
    ks_params *params = ks_model_params(model);
    void      *m = NULL, *v = NULL;
    int        to_host = 0;
    ks_train_state_clear(state);
    KS_TRY(moments_of(params, 'm', moments, &m, &to_host));
    KS_TRY(moments_of(params, 'v', moments, &v, &to_host));
    KS_TRY(ks_h5_open(path, &file));
    KS_TRY(check_format(file, "ksgrad-state"));
    KS_TRY(ks_h5_get_i64(file, "/", "step", &state->step));
    KS_TRY(ks_h5_get_i64(file, "/", "samples_seen", &state->samples));
    KS_TRY(ks_h5_get_i64(file, "/", "best_step", &state->best_step));
    KS_TRY(ks_h5_get_f64(file, "/", "best_energy_Ha", &state->best_energy));
    KS_TRY(ks_h5_get_i64(file, "/", "data_hash", &hash));
    KS_TRY(ks_h5_get_i64(file, "/", "micro_batch", &state->micro_batch));
    KS_TRY(ks_h5_get_i64(file, "/", "pool_size", &state->pool_size));
    state->data_hash = (uint64_t)hash;
    KS_TRY(ks_h5_read_new(file, "pool", KS_H5_I64, 1, n, (void **)&state->word));
    state->n_word = n[0];
    sum           = fnv(sum, state->word, (size_t)state->n_word * sizeof state->word[0]);
    KS_TRY(read_tensors(ctx, file, "optim/m", params, m, to_host, &sum));
    KS_TRY(read_tensors(ctx, file, "optim/v", params, v, to_host, &sum));
    KS_TRY(check_sum(file, sum));
done:
    ks_h5_close(&file);
    return st;
}
