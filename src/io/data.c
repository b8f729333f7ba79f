/* data.c -- ksgrad data files: geometries. Layout: datasets/README.md; interface: data.h. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "io/data_impl.h"
#include "io/frames.h"
#include "core/text.h"

/* ---- writing ---- */

typedef struct sorted_frames {
    int64_t        n_group;
    ks_data_group *group;
    int32_t       *group_of;
    int64_t       *row_of;
} sorted_frames;

static void groups_free(ks_data_group **group, int64_t n) {
    for (int64_t g = 0; *group && g < n; g++) {
        KS_FREE((*group)[g].name);
        KS_FREE((*group)[g].Z);
    }
    KS_FREE(*group);
}

static int same_composition(const ks_data_group *g, int64_t n_atom, const int32_t *Z) {
    return g->n_atom == n_atom && memcmp(g->Z, Z, (size_t)n_atom * sizeof *Z) == 0;
}

/* Element counts in order of atomic number, carbon and hydrogen first: a readable group name. */
static void composition_name(int64_t n_atom, const int32_t *Z, char *buf, size_t n) {
    static const int32_t first[2]   = {6, 1};
    int                  count[119] = {0};
    size_t               used       = 0;
    for (int64_t a = 0; a < n_atom; a++) count[Z[a]]++;
    for (int k = 0; k < 2 + 118 && used + 8 < n; k++) {
        const int z = k < 2 ? first[k] : k - 1;
        if (!count[z]) continue;
        used += (size_t)(count[z] > 1 ? snprintf(buf + used, n - used, "%s%d", ks_element_symbol(z), count[z])
                                      : snprintf(buf + used, n - used, "%s", ks_element_symbol(z)));
        count[z] = 0;
    }
    buf[used] = '\0';
}

static ks_status sort_frames(const ks_frames *f, sorted_frames *s) {
    ks_status st = KS_OK;
    char      name[128], full[160];
    int64_t   cap = 0, last = 0;
    KS_TRY(KS_NEW(s->group_of, f->n_frame));
    KS_TRY(KS_NEW(s->row_of, f->n_frame));
    for (int64_t k = 0; k < f->n_frame; k++) {
        const int32_t *Z = f->Z + f->atom_off[k];
        const int64_t  n = f->atom_off[k + 1] - f->atom_off[k];
        int64_t        g = last;
        if (!s->n_group || !same_composition(&s->group[g], n, Z))
            for (g = 0; g < s->n_group && !same_composition(&s->group[g], n, Z);) g++;
        if (g == s->n_group) {
            if (g == cap) {
                ks_data_group *more = NULL;
                cap                 = 2 * cap + 8;
                KS_TRY(KS_ZNEW(more, cap));
                if (g) memcpy(more, s->group, (size_t)g * sizeof *more);
                KS_FREE(s->group);
                s->group = more;
            }
            KS_CHECK(g < KS_DATA_MAX_GROUP, KS_ERR_UNSUPPORTED, "%s: more than %d compositions", f->source,
                     KS_DATA_MAX_GROUP);
            s->n_group++;
            s->group[g].n_atom = n;
            KS_TRY(KS_NEW(s->group[g].Z, n));
            memcpy(s->group[g].Z, Z, (size_t)n * sizeof *Z);
            composition_name(n, Z, name, sizeof name);
            /* Numbered, as another order of the atoms is another composition. */
            snprintf(full, sizeof full, "%s_%lld", name, (long long)g);
            KS_TRY(ks_host_strdup(full, &s->group[g].name));
        }
        s->group_of[k] = (int32_t)g;
        s->row_of[k]   = s->group[g].n_frame++;
        last           = g;
    }
done:
    return st;
}

/* The Angstrom value that a reader turns back into exactly this number of bohr: the nearest product is at most one
 * rounding off. */
static double to_angstrom(double bohr) {
    const double y = bohr * KS_BOHR_ANG;
    if (y / KS_BOHR_ANG == bohr) return y;
    const double up = nextafter(y, HUGE_VAL), down = nextafter(y, -HUGE_VAL);
    return up / KS_BOHR_ANG == bohr ? up : down / KS_BOHR_ANG == bohr ? down : y;
}

static ks_status write_values(ks_h5 *h5, const char *element, int rank, const int64_t *shape, const double *v,
                              const char *unit) {
    ks_status     st = KS_OK;
    char          path[256];
    const int64_t one = 1;
    snprintf(path, sizeof path, "%s/value", element);
    KS_TRY(ks_h5_write(h5, path, KS_H5_F64, rank, shape, v));
    KS_TRY(ks_h5_set_string(h5, path, "unit", unit));
    /* H5MD: a scalar step is the increment between rows. */
    snprintf(path, sizeof path, "%s/step", element);
    KS_TRY(ks_h5_write(h5, path, KS_H5_I64, 0, NULL, &one));
done:
    return st;
}

static ks_status write_group(ks_h5 *h5, const ks_frames *f, const sorted_frames *s, int64_t g) {
    ks_status                st    = KS_OK;
    const ks_data_group     *group = &s->group[g];
    const int64_t            n = group->n_atom, shape[3] = {group->n_frame, n, 3};
    double                  *v      = NULL;
    int32_t                 *charge = NULL;
    char                     base[200], path[256];
    static const char *const none[3] = {"none", "none", "none"};
    int64_t                  n3;
    KS_TRY(ks_mul_i64(group->n_frame, 3 * n, &n3));
    KS_TRY(KS_NEW(v, n3));
    KS_TRY(KS_NEW(charge, group->n_frame));
    snprintf(base, sizeof base, "particles/%s", group->name);
    snprintf(path, sizeof path, "%s/box", base);
    KS_TRY(ks_h5_group(h5, path));
    KS_TRY(ks_h5_set_i64(h5, path, "dimension", 3));
    KS_TRY(ks_h5_set_strings(h5, path, "boundary", 3, none));
    snprintf(path, sizeof path, "%s/species", base);
    KS_TRY(ks_h5_write(h5, path, KS_H5_I32, 1, &n, group->Z));
    for (int64_t k = 0; k < f->n_frame; k++) {
        if (s->group_of[k] != g) continue;
        charge[s->row_of[k]] = f->charge[k];
        for (int64_t i = 0; i < 3 * n; i++) v[s->row_of[k] * 3 * n + i] = to_angstrom(f->pos[3 * f->atom_off[k] + i]);
    }
    snprintf(path, sizeof path, "%s/position", base);
    KS_TRY(write_values(h5, path, 3, shape, v, "Angstrom"));
    snprintf(path, sizeof path, "%s/total_charge", base);
    KS_TRY(ks_h5_write(h5, path, KS_H5_I32, 1, shape, charge));
    if (f->external_force) {
        for (int64_t k = 0; k < f->n_frame; k++)
            if (s->group_of[k] == g)
                memcpy(v + s->row_of[k] * 3 * n, f->external_force + 3 * f->atom_off[k], (size_t)n * 3 * sizeof *v);
        snprintf(path, sizeof path, "%s/external_force", base);
        KS_TRY(write_values(h5, path, 3, shape, v, "as in the source"));
    }
    if (f->external_energy) {
        for (int64_t k = 0; k < f->n_frame; k++)
            if (s->group_of[k] == g) v[s->row_of[k]] = f->external_energy[k];
        snprintf(path, sizeof path, "observables/%s/external_energy", group->name);
        KS_TRY(write_values(h5, path, 1, shape, v, f->external_unit));
    }
done:
    KS_FREE(v);
    KS_FREE(charge);
    return st;
}

static ks_status set_if(ks_h5 *h5, const char *name, const char *value) {
    return value && *value ? ks_h5_set_string(h5, "/", name, value) : KS_OK;
}

ks_status ks_data_write(const char *path, const ks_frames *f, const ks_data_origin *origin) {
    ks_status     st    = KS_OK;
    ks_h5        *h5    = NULL;
    char         *names = NULL;
    sorted_frames s     = {0};
    int64_t       bytes = 1;
    KS_CHECK(path && *path && f && f->n_frame >= 1, KS_ERR_ARG, "data file: nothing to write");
    KS_CHECK(!ks_file_exists(path) || ks_data_is_data(path), KS_ERR_IO,
             "%s exists and is not a ksgrad data file: not replaced", path);
    KS_TRY(ks_frames_check(f));
    KS_TRY(sort_frames(f, &s));
    KS_TRY(ks_h5_create(path, &h5));
    KS_TRY(ks_h5_set_string(h5, "/", "format", KS_DATA_FORMAT));
    KS_TRY(ks_h5_set_i64(h5, "/", "format_version", KS_DATA_VERSION));
    KS_TRY(ks_h5_set_string(h5, "/", "created_by", ks_version()));
    KS_TRY(ks_h5_set_f64(h5, "/", "bohr_in_angstrom", KS_BOHR_ANG));
    KS_TRY(ks_h5_set_i64(h5, "/", "has_external_energy", f->external_energy != NULL));
    KS_TRY(ks_h5_set_i64(h5, "/", "has_external_force", f->external_force != NULL));
    if (origin) {
        KS_TRY(set_if(h5, "source", origin->source));
        KS_TRY(set_if(h5, "source_sha256", origin->source_sha256));
        KS_TRY(set_if(h5, "licence", origin->licence));
        KS_TRY(set_if(h5, "note", origin->note));
    }
    KS_TRY(ks_h5_group(h5, "h5md/author"));
    KS_TRY(ks_h5_group(h5, "h5md/creator"));
    KS_TRY(ks_h5_set_i64s(h5, "h5md", "version", 2, (const int64_t[]){1, 1}));
    KS_TRY(ks_h5_set_string(h5, "h5md/author", "name", "unknown"));
    KS_TRY(ks_h5_set_string(h5, "h5md/creator", "name", "ksgrad"));
    KS_TRY(ks_h5_set_string(h5, "h5md/creator", "version", ks_version()));
    KS_TRY(ks_h5_write(h5, "index/group", KS_H5_I32, 1, &f->n_frame, s.group_of));
    KS_TRY(ks_h5_write(h5, "index/row", KS_H5_I64, 1, &f->n_frame, s.row_of));
    for (int64_t g = 0; g < s.n_group; g++) {
        KS_TRY(write_group(h5, f, &s, g));
        bytes += (int64_t)strlen(s.group[g].name) + 1;
    }
    KS_TRY(KS_ZNEW(names, bytes));
    for (int64_t g = 0, at = 0; g < s.n_group; g++)
        at += snprintf(names + at, (size_t)(bytes - at), "%s%s", g ? "\n" : "", s.group[g].name);
    KS_TRY(ks_h5_write_string(h5, "index/names", names));
    KS_TRY(ks_h5_publish(&h5));
done:
    ks_h5_close(&h5);
    KS_FREE(names);
    groups_free(&s.group, s.n_group);
    KS_FREE(s.group_of);
    KS_FREE(s.row_of);
    return st;
}

/* ---- reading ---- */

/* *version: the format version of a ksgrad data file, 0 for any other HDF5 file. */
static ks_status format_of(ks_h5 *h5, int64_t *version) {
    ks_status st   = KS_OK;
    char     *text = NULL;
    *version       = 0;
    if (!ks_h5_has_attr(h5, "/", "format")) goto done;
    KS_TRY(ks_h5_get_string(h5, "/", "format", &text));
    if (strcmp(text, KS_DATA_FORMAT) == 0) KS_TRY(ks_h5_get_i64(h5, "/", "format_version", version));
done:
    KS_FREE(text);
    return st;
}

int ks_data_is_data(const char *path) {
    ks_h5    *h5      = NULL;
    int64_t   version = 0;
    const int yes     = path && ks_file_exists(path) && ks_h5_open(path, &h5) == KS_OK &&
                    format_of(h5, &version) == KS_OK && version > 0;
    ks_h5_close(&h5);
    if (!yes) ks_error_clear();
    return yes;
}

static ks_status load_group(ks_data *d, ks_data_group *g) {
    ks_status st = KS_OK;
    char      path[300];
    int64_t   shape[KS_H5_MAX_RANK] = {-1};
    int       rank                  = 0;
    snprintf(path, sizeof path, "particles/%s/species", g->name);
    KS_TRY(ks_h5_read_new(d->h5, path, KS_H5_I32, 1, shape, (void **)&g->Z));
    g->n_atom = shape[0];
    KS_CHECK(g->n_atom >= 1 && g->n_atom <= KS_FRAME_MAX_ATOM, KS_ERR_DATA, "%s: '%s' has %lld atoms, expected 1 to %d",
             d->path, g->name, (long long)g->n_atom, KS_FRAME_MAX_ATOM);
    snprintf(path, sizeof path, "particles/%s/position/value", g->name);
    KS_TRY(ks_h5_shape(d->h5, path, &rank, shape));
    KS_CHECK(rank == 3 && shape[1] == g->n_atom && shape[2] == 3, KS_ERR_DATA,
             "%s: '%s' has rank %d and does not fit %lld atoms", d->path, path, rank, (long long)g->n_atom);
    g->n_frame = shape[0];
done:
    return st;
}

static ks_status load_index(ks_data *d) {
    ks_status st    = KS_OK;
    char     *names = NULL, *unit = NULL, path[300];
    int64_t   shape = -1, has = 0;
    KS_TRY(ks_h5_read_string(d->h5, "index/names", &names));
    d->n_group = 1;
    for (const char *p = names; *p; p++) d->n_group += *p == '\n';
    KS_CHECK(d->n_group <= KS_DATA_MAX_GROUP, KS_ERR_DATA, "%s: %lld compositions, the limit is %d", d->path,
             (long long)d->n_group, KS_DATA_MAX_GROUP);
    KS_TRY(KS_ZNEW(d->group, d->n_group));
    char *rest = names;
    for (int64_t g = 0; g < d->n_group; g++) {
        char *end = strchr(rest, '\n');
        if (end) *end = '\0';
        KS_CHECK(strlen(rest) < 200, KS_ERR_DATA, "%s: composition name of %zu characters", d->path, strlen(rest));
        KS_TRY(ks_host_strdup(rest, &d->group[g].name));
        KS_TRY(load_group(d, &d->group[g]));
        if (end) rest = end + 1;
    }
    KS_TRY(ks_h5_read_new(d->h5, "index/group", KS_H5_I32, 1, &shape, (void **)&d->group_of));
    d->n_frame = shape;
    KS_CHECK(d->n_frame >= 1, KS_ERR_DATA, "%s: no frames", d->path);
    KS_TRY(KS_NEW(d->row_of, d->n_frame));
    KS_TRY(ks_h5_read(d->h5, "index/row", KS_H5_I64, 1, &shape, d->row_of));
    for (int64_t k = 0; k < d->n_frame; k++)
        KS_CHECK(d->group_of[k] >= 0 && d->group_of[k] < d->n_group && d->row_of[k] >= 0 &&
                     d->row_of[k] < d->group[d->group_of[k]].n_frame,
                 KS_ERR_DATA, "%s: 'index': frame %lld points to row %lld of composition %d", d->path, (long long)k,
                 (long long)d->row_of[k], (int)d->group_of[k]);
    snprintf(d->unit, sizeof d->unit, "unknown");
    /* Said at the top, so that data which cannot be reached are an error and not "absent". */
    KS_TRY(ks_h5_get_i64(d->h5, "/", "has_external_energy", &has));
    d->has_energy = has != 0;
    KS_TRY(ks_h5_get_i64(d->h5, "/", "has_external_force", &has));
    d->has_force = has != 0;
    if (d->has_energy) {
        snprintf(path, sizeof path, "observables/%s/external_energy/value", d->group[0].name);
        KS_TRY(ks_h5_get_string(d->h5, path, "unit", &unit));
        snprintf(d->unit, sizeof d->unit, "%s", unit);
    }
done:
    KS_FREE(names);
    KS_FREE(unit);
    return st;
}

ks_status ks_data_open(const char *path, ks_data **out) {
    ks_status st      = KS_OK;
    ks_data  *d       = NULL;
    int64_t   version = 0;
    KS_CHECK(path && out, KS_ERR_ARG, "data file: no name");
    *out = NULL;
    KS_TRY(KS_ZNEW(d, 1));
    KS_TRY(ks_host_strdup(path, &d->path));
    KS_TRY(ks_h5_open(path, &d->h5));
    KS_TRY(format_of(d->h5, &version));
    KS_CHECK(version != 0, KS_ERR_DATA, "%s: not a ksgrad data file (attribute format = \"%s\" is missing)", path,
             KS_DATA_FORMAT);
    KS_CHECK(version == KS_DATA_VERSION, KS_ERR_DATA, "%s: format version %lld, this program reads version %d", path,
             (long long)version, KS_DATA_VERSION);
    KS_TRY(load_index(d));
    KS_TRY(ks_label_sets_load(d));
    *out = d;
    d    = NULL;
done:
    ks_data_close(&d);
    return st;
}

void ks_data_close(ks_data **data) {
    if (!data || !*data) return;
    ks_data *d = *data;
    ks_label_sets_free(d);
    groups_free(&d->group, d->n_group);
    KS_FREE(d->group_of);
    KS_FREE(d->row_of);
    KS_FREE(d->path);
    ks_h5_close(&d->h5);
    KS_FREE(*data);
}

int64_t ks_data_n_frame(const ks_data *data) { return data ? data->n_frame : 0; }

/* Values of one element of a composition for the frames listed; to_bohr divides. */
static ks_status read_element(ks_data *d, int64_t g, const char *path, int64_t n_value, int64_t n, const int64_t *index,
                              ks_frames *f, double *per_atom, double *per_frame, double divide) {
    ks_status st = KS_OK;
    double   *v  = NULL;
    int64_t   total, low = INT64_MAX, high = -1;
    for (int64_t k = 0; k < n; k++) {
        const int64_t i = index ? index[k] : k;
        if (d->group_of[i] != g) continue;
        if (d->row_of[i] < low) low = d->row_of[i];
        if (d->row_of[i] > high) high = d->row_of[i];
    }
    if (high < 0) goto done;
    KS_TRY(ks_mul_i64(high - low + 1, n_value, &total));
    KS_TRY(KS_NEW(v, total));
    KS_TRY(ks_h5_read_rows(d->h5, path, KS_H5_F64, low, high - low + 1, n_value, v));
    for (int64_t k = 0; k < n; k++) {
        const int64_t i = index ? index[k] : k;
        if (d->group_of[i] != g) continue;
        const double *row = v + (d->row_of[i] - low) * n_value;
        double       *to  = per_atom ? per_atom + 3 * f->atom_off[k] : per_frame + k;
        for (int64_t j = 0; j < n_value; j++) to[j] = divide == 1.0 ? row[j] : row[j] / divide;
    }
done:
    KS_FREE(v);
    return st;
}

ks_status ks_data_frames(ks_data *d, int64_t n, const int64_t *index, ks_frames **out) {
    ks_status  st     = KS_OK;
    ks_frames *f      = NULL;
    int32_t   *charge = NULL;
    int64_t    n_atom = 0;
    char       path[300];
    KS_CHECK(d && out && (n >= 0 || (n == -1 && !index)) && (index || n <= 0), KS_ERR_ARG, "data file: frames");
    *out = NULL;
    if (n < 0) n = d->n_frame;
    for (int64_t k = 0; k < n; k++) {
        const int64_t i = index ? index[k] : k;
        KS_CHECK(i >= 0 && i < d->n_frame, KS_ERR_ARG, "%s: frame %lld of %lld", d->path, (long long)i,
                 (long long)d->n_frame);
        n_atom += d->group[d->group_of[i]].n_atom;
    }
    KS_TRY(ks_frames_alloc(d->path, n, n_atom, d->has_energy, d->has_force, &f));
    snprintf(f->external_unit, sizeof f->external_unit, "%s", d->unit);
    for (int64_t k = 0; k < n; k++) {
        const ks_data_group *g = &d->group[d->group_of[index ? index[k] : k]];
        f->atom_off[k + 1]     = f->atom_off[k] + g->n_atom;
        memcpy(f->Z + f->atom_off[k], g->Z, (size_t)g->n_atom * sizeof *g->Z);
    }
    for (int64_t g = 0; g < d->n_group; g++) {
        const char *name = d->group[g].name;
        snprintf(path, sizeof path, "particles/%s/position/value", name);
        KS_TRY(read_element(d, g, path, 3 * d->group[g].n_atom, n, index, f, f->pos, NULL, KS_BOHR_ANG));
        snprintf(path, sizeof path, "particles/%s/external_force/value", name);
        if (d->has_force)
            KS_TRY(read_element(d, g, path, 3 * d->group[g].n_atom, n, index, f, f->external_force, NULL, 1.0));
        snprintf(path, sizeof path, "observables/%s/external_energy/value", name);
        if (d->has_energy) KS_TRY(read_element(d, g, path, 1, n, index, f, NULL, f->external_energy, 1.0));
        KS_FREE(charge);
        KS_TRY(KS_NEW(charge, d->group[g].n_frame));
        snprintf(path, sizeof path, "particles/%s/total_charge", name);
        KS_TRY(ks_h5_read(d->h5, path, KS_H5_I32, 1, &d->group[g].n_frame, charge));
        for (int64_t k = 0; k < n; k++)
            if (d->group_of[index ? index[k] : k] == g) f->charge[k] = charge[d->row_of[index ? index[k] : k]];
    }
    if (n) KS_TRY(ks_frames_check(f));
    *out = f;
    f    = NULL;
done:
    ks_frames_destroy(&f);
    KS_FREE(charge);
    return st;
}
