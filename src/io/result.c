/* result.c -- see result.h. */
#include "io/result.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "io/h5.h"

static const double POS_TOLERANCE = 1e-6; /* bohr; text files carry about nine digits of an Angstrom */
static const double ASYMMETRY     = 1e-6; /* largest difference of mirrored elements in a matrix that is read */

struct ks_result {
    ks_h5 *file;
    int    writing;
};

static ks_status new_result(int writing, ks_result **out) {
    const ks_status st = KS_ZNEW(*out, 1);
    if (st == KS_OK) (*out)->writing = writing;
    return st;
}

/* ---- writing ---- */

static ks_status write_head(ks_h5 *f, const ks_result_head *head) {
    ks_status    st = KS_OK;
    const ks_xc *xc = head->method->xc;
    int64_t      ids[4];
    for (int k = 0; k < xc->n_part; k++) ids[k] = xc->part[k].libxc_id;
    KS_TRY(ks_h5_set_string(f, "/", "format", "ksgrad-result"));
    KS_TRY(ks_h5_set_i64(f, "/", "schema_version", 1));
    KS_TRY(ks_h5_set_string(f, "/", "kind", head->kind));
    KS_TRY(ks_h5_set_string(f, "/", "created_by", ks_version()));
    KS_TRY(ks_h5_set_string(f, "/", "build", ks_build_info()));
    KS_TRY(ks_h5_set_string(f, "/", "source", head->source));
    if (head->model) KS_TRY(ks_h5_set_string(f, "/", "model", head->model));
    KS_TRY(ks_h5_group(f, "frames"));
    KS_TRY(ks_h5_group(f, "method"));
    KS_TRY(ks_h5_set_string(f, "method", "xc", xc->name));
    if (xc->n_part) KS_TRY(ks_h5_set_i64s(f, "method", "xc_libxc_ids", xc->n_part, ids));
    KS_TRY(ks_h5_set_f64(f, "method", "exact_exchange", xc->hybrid));
    KS_TRY(ks_h5_set_string(f, "method", "basis", head->basis));
    KS_TRY(ks_h5_set_i64(f, "method", "grid_level", head->method->grid_level));
    KS_TRY(ks_h5_set_string(f, "method", "guess", head->guess));
    KS_TRY(ks_h5_set_i64(f, "method", "spherical", 1));
    KS_TRY(ks_h5_set_string(f, "method", "ao_order",
                            "pyscf: by atom, l, contraction; p = x, y, z; d = xy, yz, z2, xz, x2-y2"));
    KS_TRY(ks_h5_set_f64(f, "method", "bohr_in_angstrom", KS_BOHR_ANG));
    if (head->refine) {
        KS_TRY(ks_h5_set_string(f, "method", "refine", head->refine));
    } else {
        KS_TRY(ks_h5_set_f64(f, "method", "conv_energy_Ha", head->conv_energy));
        KS_TRY(ks_h5_set_f64(f, "method", "conv_grad", head->conv_grad));
    }
done:
    return st;
}

ks_status ks_result_create(const char *path, const ks_result_head *head, ks_result **out) {
    ks_status  st = KS_OK;
    ks_result *r = NULL, *old = NULL;
    KS_CHECK(path && path[0] && head && head->kind && head->source && head->method && head->method->xc && head->basis &&
                 head->guess && out,
             KS_ERR_ARG, "a NULL argument or an empty path");
    *out = NULL;
    if (access(path, F_OK) == 0) {
        KS_CHECK(ks_result_open(path, &old) == KS_OK, KS_ERR_IO,
                 "%s exists and is not a ksgrad result file: not replaced", path);
        ks_result_close(&old);
    }
    KS_TRY(new_result(1, &r));
    KS_TRY(ks_h5_create(path, &r->file));
    KS_TRY(write_head(r->file, head));
    *out = r;
    r    = NULL;
done:
    ks_result_close(&r);
    return st;
}

/* frames/<index>/<name> */
static void frame_path(int64_t index, const char *name, char out[64]) {
    snprintf(out, 64, "frames/%06lld%s%s", (long long)index, name[0] ? "/" : "", name);
}

static ks_status write_reals(ks_h5 *f, int64_t index, const char *name, int rank, int64_t n, int64_t m,
                             const char *unit, const double *value) {
    ks_status st = KS_OK;
    char      path[64];
    frame_path(index, name, path);
    KS_TRY(ks_h5_write(f, path, KS_H5_F64, rank, (const int64_t[2]){n, m}, value));
    KS_TRY(ks_h5_set_string(f, path, "unit", unit));
done:
    return st;
}

ks_status ks_result_add(ks_result *r, const ks_result_frame *f) {
    ks_status st = KS_OK;
    char      group[64], path[64];
    KS_CHECK(r && r->writing && f, KS_ERR_ARG, "a NULL argument, or a file that is being read");
    KS_CHECK(f->index >= 0 && f->n_atom > 0 && f->n_ao > 0, KS_ERR_ARG, "frame %lld with %lld atoms, %lld AOs",
             (long long)f->index, (long long)f->n_atom, (long long)f->n_ao);
    frame_path(f->index, "", group);
    frame_path(f->index, "Z", path);
    KS_CHECK(!ks_h5_exists(r->file, group), KS_ERR_ARG, "%s: frame %lld is there already", ks_h5_path(r->file),
             (long long)f->index);
    KS_TRY(ks_h5_write(r->file, path, KS_H5_I32, 1, &f->n_atom, f->Z));
    KS_TRY(write_reals(r->file, f->index, "pos_bohr", 2, f->n_atom, 3, "bohr", f->pos));
    KS_TRY(write_reals(r->file, f->index, "E", 0, 0, 0, "hartree", &f->energy));
    KS_TRY(write_reals(r->file, f->index, "eps", 1, f->n_ao, 0, "hartree", f->eps));
    KS_TRY(write_reals(r->file, f->index, "F", 2, f->n_ao, f->n_ao, "hartree", f->F));
    KS_TRY(write_reals(r->file, f->index, "P", 2, f->n_ao, f->n_ao, "1", f->P));
    KS_TRY(write_reals(r->file, f->index, "S", 2, f->n_ao, f->n_ao, "1", f->S));
    KS_TRY(write_reals(r->file, f->index, "C", 2, f->n_ao, f->n_ao, "1", f->C));
    KS_TRY(write_reals(r->file, f->index, "dipole", 1, 3, 0, "e bohr", f->dipole));
    KS_TRY(ks_h5_set_i64(r->file, group, "converged", f->converged));
    KS_TRY(ks_h5_set_i64(r->file, group, "cycles", f->cycles));
    KS_TRY(ks_h5_set_i64(r->file, group, "charge", f->charge));
    KS_TRY(ks_h5_set_i64(r->file, group, "n_electrons", f->n_electron));
done:
    return st;
}

ks_status ks_result_commit(ks_result **result) {
    ks_status st = KS_OK;
    KS_CHECK(result && *result && (*result)->writing, KS_ERR_ARG, "not a file that is being written");
    KS_TRY(ks_h5_publish(&(*result)->file));
done:
    ks_result_close(result);
    return st;
}

void ks_result_close(ks_result **result) {
    if (!result || !*result) return;
    ks_h5_close(&(*result)->file);
    KS_FREE(*result);
}

/* ---- reading ---- */

ks_status ks_result_open(const char *path, ks_result **out) {
    ks_status  st     = KS_OK;
    ks_result *r      = NULL;
    char      *format = NULL;
    KS_CHECK(path && out, KS_ERR_ARG, "a NULL argument");
    *out = NULL;
    KS_TRY(new_result(0, &r));
    KS_TRY(ks_h5_open(path, &r->file));
    if (ks_h5_has_attr(r->file, "/", "format")) KS_TRY(ks_h5_get_string(r->file, "/", "format", &format));
    KS_CHECK(format && !strcmp(format, "ksgrad-result"), KS_ERR_DATA,
             "%s is not a result file of 'ksgrad scf --out' or 'ksgrad predict --out' (its attribute format is '%s')",
             path, format ? format : "missing");
    *out = r;
    r    = NULL;
done:
    KS_FREE(format);
    ks_result_close(&r);
    return st;
}

static ks_status check_geometry(ks_result *r, int64_t index, int64_t n_atom, const int32_t *Z, const double *pos) {
    ks_status   st = KS_OK;
    int32_t    *z  = NULL;
    double     *x  = NULL;
    char        path_z[64], path_x[64];
    const char *file = ks_h5_path(r->file);
    frame_path(index, "Z", path_z);
    frame_path(index, "pos_bohr", path_x);
    KS_TRY(KS_NEW(z, n_atom));
    KS_TRY(KS_NEW(x, 3 * n_atom));
    KS_TRY(ks_h5_read(r->file, path_z, KS_H5_I32, 1, &n_atom, z));
    KS_TRY(ks_h5_read(r->file, path_x, KS_H5_F64, 2, (const int64_t[2]){n_atom, 3}, x));
    for (int64_t a = 0; a < n_atom; a++) {
        KS_CHECK(z[a] == Z[a], KS_ERR_DATA, "%s: %s: atom %lld is element %d, the geometry has %d", file, path_z,
                 (long long)a, (int)z[a], (int)Z[a]);
        for (int64_t i = 3 * a; i < 3 * a + 3; i++)
            KS_CHECK(fabs(x[i] - pos[i]) <= POS_TOLERANCE, KS_ERR_DATA,
                     "%s: %s: atom %lld lies %.3g bohr from the geometry's (limit %g): another geometry", file, path_x,
                     (long long)a, fabs(x[i] - pos[i]), POS_TOLERANCE);
    }
done:
    KS_FREE(z);
    KS_FREE(x);
    return st;
}

static ks_status check_symmetric(const ks_result *r, const char *path, int64_t n, const double *a) {
    ks_status st = KS_OK;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            const double u = a[i * n + j], v = a[j * n + i];
            KS_CHECK(isfinite(u) && isfinite(v), KS_ERR_DATA, "%s: %s[%lld,%lld] is not finite", ks_h5_path(r->file),
                     path, (long long)i, (long long)j);
            KS_CHECK(fabs(u - v) <= ASYMMETRY, KS_ERR_DATA,
                     "%s: %s is not symmetric: [%lld,%lld] and its mirror differ by %.3g", ks_h5_path(r->file), path,
                     (long long)i, (long long)j, fabs(u - v));
        }
done:
    return st;
}

ks_status ks_result_matrix(ks_result *r, int64_t index, int64_t n_atom, const int32_t *Z, const double *pos, int64_t n,
                           const char *names, double *out, int *which) {
    ks_status st    = KS_OK;
    int       found = -1, k = 0;
    char      path[64], name[16];
    KS_CHECK(r && !r->writing && n_atom > 0 && n > 0 && Z && pos && names && out, KS_ERR_ARG,
             "a NULL argument, or a file that is being written");
    frame_path(index, "", path);
    KS_CHECK(ks_h5_exists(r->file, path), KS_ERR_DATA, "%s has no frame %lld (%s)", ks_h5_path(r->file),
             (long long)index, path);
    KS_TRY(check_geometry(r, index, n_atom, Z, pos));
    for (const char *p = names; *p && found < 0; k++) {
        const size_t len = strcspn(p, ",");
        snprintf(name, sizeof name, "%.*s", (int)len, p);
        frame_path(index, name, path);
        if (ks_h5_exists(r->file, path)) found = k;
        p += len + (p[len] == ',');
    }
    KS_CHECK(found >= 0, KS_ERR_DATA, "%s: frame %lld has none of the datasets %s", ks_h5_path(r->file),
             (long long)index, names);
    KS_TRY(ks_h5_read(r->file, path, KS_H5_F64, 2, (const int64_t[2]){n, n}, out));
    KS_TRY(check_symmetric(r, path, n, out));
    if (which) *which = found;
done:
    return st;
}
