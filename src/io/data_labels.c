/* data_labels.c -- labels of a data file: sets by method, reserved in blocks, written in place; see data.h.
 *
 * A block holds the frames reserved together, of one number of AOs: frame, E, dipole, eps, F and P (lower triangles by
 * rows), cycles, converged, check, done. Room is reserved by replacing the file as a whole; after that only raw data of
 * contiguous datasets change: the label, fsync, then done = 1, fsync. check is a hash of the label's bytes. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "io/data_impl.h"

struct ks_label_writer {
    ks_data      *data; /* index and sets; its file handle is closed */
    ks_h5        *h5;
    ks_label_set *set;
    double       *row; /* packed triangle */
    int64_t       cap_row;
};

enum { MAX_AO = 20000 };

/* FNV-1a over 64-bit words. */
static uint64_t hash_words(uint64_t h, const void *data, int64_t n_word) {
    const unsigned char *p = data;
    for (int64_t k = 0; k < n_word; k++) {
        uint64_t w;
        memcpy(&w, p + 8 * k, 8);
        h = (h ^ w) * 0x100000001b3ull;
        h ^= h >> 29;
    }
    return h;
}
static const uint64_t hash_start = 0xcbf29ce484222325ull;

static int64_t packed(int64_t n) { return n * (n + 1) / 2; }

/* ---- loading ---- */

static void set_free(ks_label_set *s) {
    for (int64_t b = 0; s->block && b < s->n_block; b++) {
        KS_FREE(s->block[b].path);
        KS_FREE(s->block[b].frame);
        KS_FREE(s->block[b].done);
    }
    KS_FREE(s->block);
    KS_FREE(s->path);
    KS_FREE(s->block_of);
    KS_FREE(s->row_of);
}

void ks_label_sets_free(ks_data *data) {
    for (int64_t k = 0; data->set && k < data->n_set; k++) set_free(&data->set[k]);
    KS_FREE(data->set);
    data->n_set = 0;
}

static ks_status get_text(ks_h5 *h5, const char *object, const char *name, char *buf, size_t n) {
    ks_status st   = KS_OK;
    char     *text = NULL;
    KS_TRY(ks_h5_get_string(h5, object, name, &text));
    KS_CHECK(strlen(text) < n, KS_ERR_DATA, "%s: attribute '%s' of '%s' is too long", ks_h5_path(h5), name, object);
    snprintf(buf, n, "%s", text);
done:
    KS_FREE(text);
    return st;
}

static ks_status load_method(ks_h5 *h5, const char *path, ks_label_method *m) {
    ks_status st = KS_OK;
    int64_t   v = 0, n = 0, id[4] = {0};
    KS_TRY(get_text(h5, path, "xc", m->xc, sizeof m->xc));
    KS_TRY(get_text(h5, path, "basis", m->basis, sizeof m->basis));
    if (ks_h5_has_attr(h5, path, "basis_sha256"))
        KS_TRY(get_text(h5, path, "basis_sha256", m->basis_sha256, sizeof m->basis_sha256));
    KS_TRY(get_text(h5, path, "grid", m->grid, sizeof m->grid));
    KS_TRY(get_text(h5, path, "program", m->program, sizeof m->program));
    KS_TRY(ks_h5_get_i64(h5, path, "grid_level", &v));
    m->grid_level = (int)v;
    if (ks_h5_has_attr(h5, path, "xc_libxc_ids")) KS_TRY(ks_h5_get_i64s(h5, path, "xc_libxc_ids", 4, id, &n));
    m->n_libxc = (int)n;
    for (int64_t k = 0; k < n; k++) {
        char name[32];
        m->libxc_id[k] = (int)id[k];
        snprintf(name, sizeof name, "xc_weight_%d", (int)k);
        KS_TRY(ks_h5_get_f64(h5, path, name, &m->libxc_weight[k]));
    }
    KS_TRY(ks_h5_get_f64(h5, path, "hybrid", &m->hybrid));
    KS_TRY(ks_h5_get_f64(h5, path, "conv_energy_Ha", &m->conv_energy));
    KS_TRY(ks_h5_get_f64(h5, path, "conv_grad", &m->conv_grad));
done:
    return st;
}

static ks_status load_block(ks_data *d, ks_label_set *s, int64_t b) {
    ks_status       st    = KS_OK;
    ks_label_block *block = &s->block[b];
    char            path[320];
    int64_t         n = -1;
    snprintf(path, sizeof path, "%s/frame", block->path);
    KS_TRY(ks_h5_read_new(d->h5, path, KS_H5_I64, 1, &n, (void **)&block->frame));
    block->n = n;
    KS_TRY(KS_NEW(block->done, n));
    snprintf(path, sizeof path, "%s/done", block->path);
    KS_TRY(ks_h5_read(d->h5, path, KS_H5_U8, 1, &n, block->done));
    KS_TRY(ks_h5_get_i64(d->h5, block->path, "n_ao", &block->n_ao));
    KS_CHECK(block->n_ao >= 1 && block->n_ao <= MAX_AO, KS_ERR_DATA, "%s: '%s' has n_ao = %lld", d->path, block->path,
             (long long)block->n_ao);
    for (int64_t k = 0; k < n; k++) {
        const int64_t f = block->frame[k];
        KS_CHECK(f >= 0 && f < d->n_frame && s->block_of[f] < 0, KS_ERR_DATA,
                 "%s: '%s': frame %lld is out of range or has room already", d->path, block->path, (long long)f);
        s->block_of[f] = (int32_t)b;
        s->row_of[f]   = k;
    }
done:
    return st;
}

static ks_status load_set(ks_data *d, ks_label_set *s, const char *name) {
    ks_status st    = KS_OK;
    char    **names = NULL, path[200], sub[300];
    int64_t   n     = 0;
    KS_CHECK(strlen(name) < 120, KS_ERR_DATA, "%s: label set name of %zu characters", d->path, strlen(name));
    snprintf(path, sizeof path, "labels/%s", name);
    KS_TRY(ks_host_strdup(path, &s->path));
    KS_TRY(load_method(d->h5, path, &s->method));
    KS_TRY(KS_NEW(s->block_of, d->n_frame));
    KS_TRY(KS_NEW(s->row_of, d->n_frame));
    for (int64_t f = 0; f < d->n_frame; f++) s->block_of[f] = -1;
    KS_TRY(ks_h5_list(d->h5, path, &names, &n));
    KS_TRY(KS_ZNEW(s->block, n));
    s->n_block = n;
    for (int64_t b = 0; b < n; b++) {
        KS_CHECK(strlen(names[b]) < 64, KS_ERR_DATA, "%s: '%s': block name of %zu characters", d->path, path,
                 strlen(names[b]));
        snprintf(sub, sizeof sub, "%s/%s", path, names[b]);
        KS_TRY(ks_host_strdup(sub, &s->block[b].path));
        KS_TRY(load_block(d, s, b));
    }
done:
    ks_h5_names_free(&names, n);
    return st;
}

ks_status ks_label_sets_load(ks_data *d) {
    ks_status st    = KS_OK;
    char    **names = NULL;
    int64_t   n     = 0;
    if (!ks_h5_exists(d->h5, "labels")) goto done;
    KS_TRY(ks_h5_list(d->h5, "labels", &names, &n));
    KS_CHECK(n <= KS_DATA_MAX_SET, KS_ERR_DATA, "%s: %lld label sets, the limit is %d", d->path, (long long)n,
             KS_DATA_MAX_SET);
    KS_TRY(KS_ZNEW(d->set, n));
    d->n_set = n;
    for (int64_t k = 0; k < n; k++) KS_TRY(load_set(d, &d->set[k], names[k]));
done:
    ks_h5_names_free(&names, n);
    return st;
}

ks_label_set *ks_label_set_find(ks_data *data, const ks_label_method *m) {
    for (int64_t k = 0; k < data->n_set; k++) {
        const ks_label_method *s = &data->set[k].method;
        if (strcmp(s->xc, m->xc) == 0 && strcmp(s->basis, m->basis) == 0 && s->grid_level == m->grid_level)
            return &data->set[k];
    }
    return NULL;
}

/* ---- asking ---- */

int ks_data_has_label(ks_data *data, const ks_label_method *method, int64_t frame) {
    if (!data || !method || frame < 0 || frame >= data->n_frame) return 0;
    const ks_label_set *s = ks_label_set_find(data, method);
    return s && s->block_of[frame] >= 0 && s->block[s->block_of[frame]].done[s->row_of[frame]] == 1;
}

ks_status ks_data_labels_missing(ks_data *data, const ks_label_method *method, int64_t n, const int64_t *index,
                                 int64_t **todo, int64_t *n_todo) {
    ks_status st   = KS_OK;
    int64_t  *list = NULL;
    KS_CHECK(data && method && todo && n_todo && n >= 0 && (index || n == 0), KS_ERR_ARG, "labels: NULL argument");
    *todo   = NULL;
    *n_todo = 0;
    KS_TRY(KS_NEW(list, n));
    for (int64_t k = 0; k < n; k++) {
        KS_CHECK(index[k] >= 0 && index[k] < data->n_frame, KS_ERR_ARG, "%s: frame %lld of %lld", data->path,
                 (long long)index[k], (long long)data->n_frame);
        if (!ks_data_has_label(data, method, index[k])) list[(*n_todo)++] = index[k];
    }
    *todo = list;
    list  = NULL;
done:
    KS_FREE(list);
    return st;
}

ks_status ks_data_label_sets(ks_data *data, ks_label_method **sets, int64_t *n_set) {
    ks_status st = KS_OK;
    KS_CHECK(data && sets && n_set, KS_ERR_ARG, "labels: NULL argument");
    *n_set = data->n_set;
    KS_TRY(KS_NEW(*sets, data->n_set));
    for (int64_t k = 0; k < data->n_set; k++) (*sets)[k] = data->set[k].method;
done:
    return st;
}

/* ---- reserving ---- */

static ks_status write_method(ks_h5 *h5, const char *path, const ks_label_method *m) {
    ks_status st = KS_OK;
    int64_t   id[4];
    KS_TRY(ks_h5_group(h5, path));
    KS_TRY(ks_h5_set_string(h5, path, "xc", m->xc));
    KS_TRY(ks_h5_set_string(h5, path, "basis", m->basis));
    if (*m->basis_sha256) KS_TRY(ks_h5_set_string(h5, path, "basis_sha256", m->basis_sha256));
    KS_TRY(ks_h5_set_string(h5, path, "grid", m->grid));
    KS_TRY(ks_h5_set_string(h5, path, "program", m->program));
    KS_TRY(ks_h5_set_i64(h5, path, "grid_level", m->grid_level));
    for (int k = 0; k < m->n_libxc; k++) {
        char name[32];
        id[k] = m->libxc_id[k];
        snprintf(name, sizeof name, "xc_weight_%d", k);
        KS_TRY(ks_h5_set_f64(h5, path, name, m->libxc_weight[k]));
    }
    if (m->n_libxc) KS_TRY(ks_h5_set_i64s(h5, path, "xc_libxc_ids", m->n_libxc, id));
    KS_TRY(ks_h5_set_f64(h5, path, "hybrid", m->hybrid));
    KS_TRY(ks_h5_set_f64(h5, path, "conv_energy_Ha", m->conv_energy));
    KS_TRY(ks_h5_set_f64(h5, path, "conv_grad", m->conv_grad));
    KS_TRY(ks_h5_set_string(h5, path, "units", "hartree, bohr, atomic units"));
    KS_TRY(ks_h5_set_string(h5, path, "ao_order",
                            "PySCF: atom, l, contraction, m (p: x, y, z; d: xy, yz, z2, xz, x2-y2), spherical"));
done:
    return st;
}

/* One block for frame[0..n-1] of n_ao AOs each. */
static ks_status write_block(ks_h5 *h5, const char *path, int64_t n_ao, int64_t n, const int64_t *frame) {
    ks_status     st          = KS_OK;
    const int64_t triangle[2] = {n, packed(n_ao)}, vec[2] = {n, n_ao}, dip[2] = {n, 3};
    const struct {
        const char    *name;
        ks_h5_type     type;
        int            rank;
        const int64_t *shape;
    } item[] = {{"E", KS_H5_F64, 1, &n},        {"dipole", KS_H5_F64, 2, dip}, {"eps", KS_H5_F64, 2, vec},
                {"F", KS_H5_F64, 2, triangle},  {"P", KS_H5_F64, 2, triangle}, {"cycles", KS_H5_I32, 1, &n},
                {"converged", KS_H5_U8, 1, &n}, {"check", KS_H5_I64, 1, &n},   {"done", KS_H5_U8, 1, &n}};
    char sub[320];
    snprintf(sub, sizeof sub, "%s/frame", path);
    KS_TRY(ks_h5_write(h5, sub, KS_H5_I64, 1, &n, frame));
    for (size_t k = 0; k < sizeof item / sizeof item[0]; k++) {
        snprintf(sub, sizeof sub, "%s/%s", path, item[k].name);
        KS_TRY(ks_h5_reserve(h5, sub, item[k].type, item[k].rank, item[k].shape, KS_H5_IN_PLACE));
    }
    KS_TRY(ks_h5_set_i64(h5, path, "n_ao", n_ao));
done:
    return st;
}

/* Frames without room, each with its AO count -> list (n_left). */
static ks_status without_room(ks_data *data, const ks_label_set *s, int64_t n, const int64_t *index,
                              const int64_t *n_ao, int64_t *list, int64_t *list_ao, int64_t *n_left) {
    ks_status st   = KS_OK;
    char     *seen = NULL;
    *n_left        = 0;
    KS_TRY(KS_ZNEW(seen, data->n_frame));
    for (int64_t k = 0; k < n; k++) {
        const int64_t f = index[k];
        KS_CHECK(f >= 0 && f < data->n_frame && n_ao[k] >= 1 && n_ao[k] <= MAX_AO, KS_ERR_ARG,
                 "%s: frame %lld of %lld with %lld AOs", data->path, (long long)f, (long long)data->n_frame,
                 (long long)n_ao[k]);
        if (s && s->block_of[f] >= 0) {
            KS_CHECK(s->block[s->block_of[f]].n_ao == n_ao[k], KS_ERR_DATA,
                     "%s: frame %lld has room for %lld AOs, expected %lld", data->path, (long long)f,
                     (long long)s->block[s->block_of[f]].n_ao, (long long)n_ao[k]);
            continue;
        }
        if (seen[f]) continue;
        seen[f]              = 1;
        list[*n_left]        = f;
        list_ao[(*n_left)++] = n_ao[k];
    }
done:
    KS_FREE(seen);
    return st;
}

ks_status ks_data_labels_reserve(const char *path, const ks_label_method *m, int64_t n, const int64_t *index,
                                 const int64_t *n_ao) {
    ks_status st   = KS_OK;
    ks_data  *data = NULL;
    ks_h5    *h5   = NULL;
    int64_t  *list = NULL, *list_ao = NULL, *part = NULL, n_left = 0, n_block = 0;
    char      set_path[200], sub[300];
    KS_CHECK(path && m && n >= 0 && (n == 0 || (index && n_ao)), KS_ERR_ARG, "labels: NULL argument");
    KS_CHECK(m->n_libxc >= 0 && m->n_libxc <= 4 && *m->xc && *m->basis, KS_ERR_ARG,
             "labels: method without functional or basis");
    KS_TRY(ks_data_open(path, &data));
    const ks_label_set *s = ks_label_set_find(data, m);
    KS_CHECK(!s || (s->method.conv_energy == m->conv_energy && s->method.conv_grad == m->conv_grad), KS_ERR_ARG,
             "%s has %s/%s labels converged to %.1e Ha and %.1e, not %.1e and %.1e: use the same thresholds", path,
             m->xc, m->basis, s->method.conv_energy, s->method.conv_grad, m->conv_energy, m->conv_grad);
    KS_CHECK(!s || !*s->method.basis_sha256 || !*m->basis_sha256 || !strcmp(s->method.basis_sha256, m->basis_sha256),
             KS_ERR_ARG, "%s has labels of a basis '%s' with other numbers (sha256 %.12s..., now %.12s...)", path,
             m->basis, s->method.basis_sha256, m->basis_sha256);
    KS_TRY(KS_NEW(list, n));
    KS_TRY(KS_NEW(list_ao, n));
    KS_TRY(KS_NEW(part, n));
    KS_TRY(without_room(data, s, n, index, n_ao, list, list_ao, &n_left));
    if (n_left == 0) goto done;
    if (s) {
        snprintf(set_path, sizeof set_path, "%s", s->path);
        n_block = s->n_block;
    } else {
        snprintf(set_path, sizeof set_path, "labels/%s_%s_g%d", m->xc, m->basis, m->grid_level);
        for (char *c = set_path + 7; *c; c++)
            if (*c == '/' || *c == ' ') *c = '_';
    }
    ks_h5_close(&data->h5);
    KS_TRY(ks_h5_edit(path, &h5));
    if (!s) KS_TRY(write_method(h5, set_path, m));
    for (int64_t k = 0; k < n_left; k++) {
        if (!list_ao[k]) continue; /* taken into an earlier block */
        const int64_t ao = list_ao[k];
        int64_t       in = 0;
        for (int64_t j = k; j < n_left; j++)
            if (list_ao[j] == ao) {
                part[in++] = list[j];
                list_ao[j] = 0;
            }
        snprintf(sub, sizeof sub, "%s/block_%06lld", set_path, (long long)n_block++);
        KS_TRY(write_block(h5, sub, ao, in, part));
    }
    KS_TRY(ks_h5_publish(&h5));
done:
    ks_h5_close(&h5);
    ks_data_close(&data);
    KS_FREE(list);
    KS_FREE(list_ao);
    KS_FREE(part);
    return st;
}

/* ---- writing and reading one label ---- */

ks_status ks_label_writer_open(const char *path, const ks_label_method *method, ks_label_writer **out) {
    ks_status        st = KS_OK;
    ks_label_writer *w  = NULL;
    KS_CHECK(path && method && out, KS_ERR_ARG, "labels: NULL argument");
    *out = NULL;
    KS_TRY(KS_ZNEW(w, 1));
    KS_TRY(ks_data_open(path, &w->data));
    ks_h5_close(&w->data->h5); /* HDF5 does not open a file twice with different rights */
    w->set = ks_label_set_find(w->data, method);
    KS_CHECK(w->set, KS_ERR_DATA, "%s: no room is reserved for %s/%s labels", path, method->xc, method->basis);
    KS_TRY(ks_h5_open_rows(path, &w->h5));
    *out = w;
    w    = NULL;
done:
    if (w) {
        ks_h5_close(&w->h5);
        ks_data_close(&w->data);
        KS_FREE(w);
    }
    return st;
}

static uint64_t label_hash(int64_t frame, int64_t n_ao, int64_t cycles, int64_t converged, const double *energy,
                           const double dipole[3], const double *eps) {
    uint64_t h = hash_words(hash_start, &frame, 1);
    h          = hash_words(h, &cycles, 1);
    h          = hash_words(h, &converged, 1);
    h          = hash_words(h, &n_ao, 1);
    h          = hash_words(h, energy, 1);
    h          = hash_words(h, dipole, 3);
    return hash_words(h, eps, n_ao);
}

static ks_status put_matrix(ks_label_writer *w, const ks_label_block *b, int64_t row, const char *name, const double *m,
                            uint64_t *hash) {
    ks_status     st = KS_OK;
    const int64_t n  = b->n_ao;
    char          path[320];
    for (int64_t i = 0, k = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) w->row[k++] = 0.5 * (m[i * n + j] + m[j * n + i]);
    snprintf(path, sizeof path, "%s/%s", b->path, name);
    KS_TRY(ks_h5_write_rows(w->h5, path, KS_H5_F64, row, 1, packed(n), w->row));
    *hash = hash_words(*hash, w->row, packed(n));
done:
    return st;
}

ks_status ks_label_writer_put(ks_label_writer *w, int64_t frame, const ks_label *l) {
    ks_status st = KS_OK;
    char      path[320];
    KS_CHECK(w && l && l->F && l->P && l->eps, KS_ERR_ARG, "labels: NULL argument");
    KS_CHECK(frame >= 0 && frame < w->data->n_frame && w->set->block_of[frame] >= 0, KS_ERR_ARG,
             "%s: no room is reserved for frame %lld", w->data->path, (long long)frame);
    ks_label_block *b   = &w->set->block[w->set->block_of[frame]];
    const int64_t   row = w->set->row_of[frame], n = b->n_ao;
    KS_CHECK(l->n_ao == n, KS_ERR_ARG, "%s: frame %lld: label of %lld AOs, room for %lld", w->data->path,
             (long long)frame, (long long)l->n_ao, (long long)n);
    double sum = l->energy + l->dipole[0] + l->dipole[1] + l->dipole[2];
    for (int64_t k = 0; k < n; k++) sum += l->eps[k];
    for (int64_t k = 0; k < n * n; k++) sum += l->F[k] + l->P[k];
    KS_CHECK(isfinite(sum), KS_ERR_NUMERIC, "%s: the label of frame %lld is not finite", w->data->path,
             (long long)frame);
    if (w->cap_row < packed(n)) {
        KS_FREE(w->row);
        w->cap_row = 0;
        KS_TRY(KS_NEW(w->row, packed(n)));
        w->cap_row = packed(n);
    }
    const uint8_t no = 0, yes = 1, converged = l->converged ? 1 : 0;
    const int32_t cycles = l->cycles;
    uint64_t      hash   = label_hash(frame, n, cycles, converged, &l->energy, l->dipole, l->eps);
#define PUT(name, type, width, ptr)                                                                                    \
    do {                                                                                                               \
        snprintf(path, sizeof path, "%s/%s", b->path, name);                                                           \
        KS_TRY(ks_h5_write_rows(w->h5, path, type, row, 1, width, ptr));                                               \
    } while (0)
    if (b->done[row] == 1) {
        /* Overwriting: the old label stops counting before its bytes change. */
        PUT("done", KS_H5_U8, 1, &no);
        KS_TRY(ks_h5_flush(w->h5));
        b->done[row] = 0;
    }
    PUT("E", KS_H5_F64, 1, &l->energy);
    PUT("dipole", KS_H5_F64, 3, l->dipole);
    PUT("eps", KS_H5_F64, n, l->eps);
    KS_TRY(put_matrix(w, b, row, "F", l->F, &hash));
    KS_TRY(put_matrix(w, b, row, "P", l->P, &hash));
    PUT("cycles", KS_H5_I32, 1, &cycles);
    PUT("converged", KS_H5_U8, 1, &converged);
    const int64_t check = (int64_t)hash;
    PUT("check", KS_H5_I64, 1, &check);
    KS_TRY(ks_h5_flush(w->h5));
    PUT("done", KS_H5_U8, 1, &yes);
    KS_TRY(ks_h5_flush(w->h5));
    b->done[row] = 1;
#undef PUT
done:
    return st;
}

ks_status ks_label_writer_close(ks_label_writer **writer) {
    ks_status st = KS_OK;
    if (!writer || !*writer) return KS_OK;
    ks_label_writer *w = *writer;
    if (w->h5) KS_TRY(ks_h5_publish(&w->h5));
done:
    ks_h5_close(&w->h5);
    ks_data_close(&w->data);
    KS_FREE(w->row);
    KS_FREE(*writer);
    return st;
}

static ks_status get_matrix(ks_data *d, const ks_label_block *b, int64_t row, const char *name, double *packed_row,
                            double *m, uint64_t *hash) {
    ks_status     st = KS_OK;
    const int64_t n  = b->n_ao;
    char          path[320];
    snprintf(path, sizeof path, "%s/%s", b->path, name);
    KS_TRY(ks_h5_read_rows(d->h5, path, KS_H5_F64, row, 1, packed(n), packed_row));
    *hash = hash_words(*hash, packed_row, packed(n));
    if (!m) goto done;
    for (int64_t i = 0, k = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++, k++) m[i * n + j] = m[j * n + i] = packed_row[k];
done:
    return st;
}

ks_status ks_data_label_read(ks_data *d, const ks_label_method *method, int64_t frame, ks_label *l) {
    ks_status st  = KS_OK;
    double   *row = NULL, *eps = NULL;
    int32_t   cycles    = 0;
    int64_t   check     = 0;
    uint8_t   converged = 0;
    char      path[320];
    KS_CHECK(d && method && l, KS_ERR_ARG, "labels: NULL argument");
    KS_CHECK(ks_data_has_label(d, method, frame), KS_ERR_DATA,
             "%s: frame %lld has no label of %s/%s, grid %d (make it with ksgrad data label)", d->path,
             (long long)frame, method->xc, method->basis, method->grid_level);
    const ks_label_set   *s = ks_label_set_find(d, method);
    const ks_label_block *b = &s->block[s->block_of[frame]];
    const int64_t         k = s->row_of[frame], n = b->n_ao;
    KS_CHECK(!(l->F || l->P || l->eps) || l->n_ao == n, KS_ERR_DATA,
             "%s: the label of frame %lld has %lld AOs, expected %lld", d->path, (long long)frame, (long long)n,
             (long long)l->n_ao);
    KS_TRY(KS_NEW(row, packed(n)));
    KS_TRY(KS_NEW(eps, n));
#define GET(name, type, width, ptr)                                                                                    \
    do {                                                                                                               \
        snprintf(path, sizeof path, "%s/%s", b->path, name);                                                           \
        KS_TRY(ks_h5_read_rows(d->h5, path, type, k, 1, width, ptr));                                                  \
    } while (0)
    GET("E", KS_H5_F64, 1, &l->energy);
    GET("dipole", KS_H5_F64, 3, l->dipole);
    GET("eps", KS_H5_F64, n, eps);
    GET("cycles", KS_H5_I32, 1, &cycles);
    GET("converged", KS_H5_U8, 1, &converged);
    uint64_t hash = label_hash(frame, n, cycles, converged, &l->energy, l->dipole, eps);
    KS_TRY(get_matrix(d, b, k, "F", row, l->F, &hash));
    KS_TRY(get_matrix(d, b, k, "P", row, l->P, &hash));
    GET("check", KS_H5_I64, 1, &check);
#undef GET
    KS_CHECK((int64_t)hash == check, KS_ERR_DATA,
             "%s: the label of frame %lld ('%s', row %lld) is damaged: its checksum does not fit", d->path,
             (long long)frame, b->path, (long long)k);
    if (l->eps) memcpy(l->eps, eps, (size_t)n * sizeof *eps);
    l->n_ao      = n;
    l->cycles    = cycles;
    l->converged = converged;
done:
    KS_FREE(row);
    KS_FREE(eps);
    return st;
}
