/* result.c -- see result.h. */
#include "io/result.h"
#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const double POS_TOLERANCE = 1e-6; /* bohr; text files carry about nine digits of an Angstrom */

struct ks_result {
    char *path, *temporary; /* temporary: NULL when reading */
    hid_t file;
};

/* HDF5 prints its error stack by default; the library never prints. Per thread, so set on every entry. */
static void hdf5_quiet(void) { (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL); }

static ks_status new_result(const char *path, const char *suffix, ks_result **out) {
    ks_status  st = KS_OK;
    ks_result *r  = NULL;
    KS_TRY(KS_ZNEW(r, 1));
    r->file = H5I_INVALID_HID;
    KS_TRY(ks_host_strdup(path, &r->path));
    if (suffix) {
        const size_t size = strlen(path) + strlen(suffix) + 1;
        KS_TRY(KS_NEW(r->temporary, size));
        snprintf(r->temporary, size, "%s%s", path, suffix);
    }
    *out = r;
    r    = NULL;
done:
    ks_result_close(&r);
    return st;
}

/* ---- writing ---- */

static ks_status text_attribute(hid_t where, const char *name, const char *text) {
    ks_status st   = KS_OK;
    hid_t     type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR), attribute = H5I_INVALID_HID;
    KS_CHECK(type >= 0 && space >= 0 && H5Tset_size(type, strlen(text) + 1) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0,
             KS_ERR_HDF5, "type of attribute '%s'", name);
    attribute = H5Acreate2(where, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    KS_CHECK(attribute >= 0 && H5Awrite(attribute, type, text) >= 0, KS_ERR_HDF5, "cannot write attribute '%s'", name);
done:
    if (attribute >= 0) H5Aclose(attribute);
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    return st;
}

/* n == 0: a scalar. mem, disk: HDF5 types. */
static ks_status attribute(hid_t where, const char *name, hid_t mem, hid_t disk, hsize_t n, const void *value) {
    ks_status st    = KS_OK;
    hid_t     space = n ? H5Screate_simple(1, &n, NULL) : H5Screate(H5S_SCALAR), a = H5I_INVALID_HID;
    KS_CHECK(space >= 0, KS_ERR_HDF5, "space of attribute '%s'", name);
    a = H5Acreate2(where, name, disk, space, H5P_DEFAULT, H5P_DEFAULT);
    KS_CHECK(a >= 0 && H5Awrite(a, mem, value) >= 0, KS_ERR_HDF5, "cannot write attribute '%s'", name);
done:
    if (a >= 0) H5Aclose(a);
    if (space >= 0) H5Sclose(space);
    return st;
}

static ks_status int_attribute(hid_t where, const char *name, int64_t value) {
    return attribute(where, name, H5T_NATIVE_INT64, H5T_STD_I64LE, 0, &value);
}

static ks_status real_attribute(hid_t where, const char *name, double value) {
    return attribute(where, name, H5T_NATIVE_DOUBLE, H5T_IEEE_F64LE, 0, &value);
}

/* One chunk with a checksum (fletcher32) for arrays, contiguous for scalars (rank 0). */
static ks_status dataset(hid_t where, const char *name, hid_t mem, hid_t disk, int rank, const hsize_t *shape, const char *unit,
                         const void *value) {
    ks_status st    = KS_OK;
    hid_t     space = rank ? H5Screate_simple(rank, shape, NULL) : H5Screate(H5S_SCALAR);
    hid_t     plist = H5Pcreate(H5P_DATASET_CREATE), set = H5I_INVALID_HID;
    KS_CHECK(space >= 0 && plist >= 0, KS_ERR_HDF5, "space of dataset '%s'", name);
    if (rank) KS_CHECK(H5Pset_chunk(plist, rank, shape) >= 0 && H5Pset_fletcher32(plist) >= 0, KS_ERR_HDF5, "layout of '%s'", name);
    set = H5Dcreate2(where, name, disk, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    KS_CHECK(set >= 0 && H5Dwrite(set, mem, H5S_ALL, H5S_ALL, H5P_DEFAULT, value) >= 0, KS_ERR_HDF5, "cannot write dataset '%s'", name);
    if (unit) KS_TRY(text_attribute(set, "unit", unit));
done:
    if (set >= 0) H5Dclose(set);
    if (plist >= 0) H5Pclose(plist);
    if (space >= 0) H5Sclose(space);
    return st;
}

static ks_status real_dataset(hid_t where, const char *name, int rank, const hsize_t *shape, const char *unit, const double *value) {
    return dataset(where, name, H5T_NATIVE_DOUBLE, H5T_IEEE_F64LE, rank, shape, unit, value);
}

static ks_status write_head(hid_t file, const ks_result_head *head) {
    ks_status    st     = KS_OK;
    const ks_xc *xc     = head->method->xc;
    hid_t        method = H5I_INVALID_HID, frames = H5I_INVALID_HID;
    int32_t      ids[4];
    for (int k = 0; k < xc->n_part; k++) ids[k] = xc->part[k].libxc_id;
    KS_TRY(text_attribute(file, "format", "ksgrad-result"));
    KS_TRY(int_attribute(file, "schema_version", 1));
    KS_TRY(text_attribute(file, "kind", head->kind));
    KS_TRY(text_attribute(file, "created_by", ks_version()));
    KS_TRY(text_attribute(file, "build", ks_build_info()));
    KS_TRY(text_attribute(file, "source", head->source));
    if (head->model) KS_TRY(text_attribute(file, "model", head->model));
    method = H5Gcreate2(file, "method", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    frames = H5Gcreate2(file, "frames", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    KS_CHECK(method >= 0 && frames >= 0, KS_ERR_HDF5, "cannot create the groups 'method' and 'frames'");
    KS_TRY(text_attribute(method, "xc", xc->name));
    if (xc->n_part) KS_TRY(attribute(method, "xc_libxc_ids", H5T_NATIVE_INT32, H5T_STD_I32LE, (hsize_t)xc->n_part, ids));
    KS_TRY(real_attribute(method, "exact_exchange", xc->hybrid));
    KS_TRY(text_attribute(method, "basis", head->basis));
    KS_TRY(int_attribute(method, "grid_level", head->method->grid_level));
    KS_TRY(int_attribute(method, "spherical", 1));
    KS_TRY(text_attribute(method, "ao_order", "pyscf: by atom, l, contraction; p = x, y, z; d = xy, yz, z2, xz, x2-y2"));
    KS_TRY(real_attribute(method, "bohr_in_angstrom", KS_BOHR_ANG));
    if (head->refine) {
        KS_TRY(text_attribute(method, "refine", head->refine));
    } else {
        KS_TRY(real_attribute(method, "conv_energy_Ha", head->conv_energy));
        KS_TRY(real_attribute(method, "conv_grad", head->conv_grad));
    }
done:
    if (frames >= 0) H5Gclose(frames);
    if (method >= 0) H5Gclose(method);
    return st;
}

ks_status ks_result_create(const char *path, const ks_result_head *head, ks_result **out) {
    ks_status  st = KS_OK;
    ks_result *r = NULL, *old = NULL;
    char       suffix[32];
    KS_CHECK(path && path[0] && head && head->kind && head->source && head->method && head->method->xc && head->basis && out,
             KS_ERR_ARG, "a NULL argument or an empty path");
    *out = NULL;
    hdf5_quiet();
    if (access(path, F_OK) == 0) {
        KS_CHECK(ks_result_open(path, &old) == KS_OK, KS_ERR_IO, "%s exists and is not a ksgrad result file: not replaced", path);
        ks_result_close(&old);
    }
    snprintf(suffix, sizeof suffix, ".%ld.tmp", (long)getpid());
    KS_TRY(new_result(path, suffix, &r));
    r->file = H5Fcreate(r->temporary, H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT);
    if (r->file < 0) { /* HDF5 says no more than "unable to create": ask the system why */
        const int fd = open(r->temporary, O_WRONLY | O_CREAT | O_EXCL, 0666), why = errno;
        if (fd >= 0) close(fd), unlink(r->temporary);
        KS_CHECK(0, KS_ERR_IO, "cannot create %s: %s", r->temporary, fd < 0 ? strerror(why) : "HDF5 error");
    }
    KS_TRY(write_head(r->file, head));
    *out = r;
    r    = NULL;
done:
    ks_result_discard(&r);
    return st;
}

ks_status ks_result_add(ks_result *r, const ks_result_frame *f) {
    ks_status st = KS_OK;
    hid_t     g  = H5I_INVALID_HID;
    char      name[32];
    KS_CHECK(r && r->temporary && f, KS_ERR_ARG, "a NULL argument, or a file that is being read");
    KS_CHECK(f->index >= 0 && f->n_atom > 0 && f->n_ao > 0, KS_ERR_ARG, "frame %lld with %lld atoms, %lld AOs", (long long)f->index,
             (long long)f->n_atom, (long long)f->n_ao);
    hdf5_quiet();
    snprintf(name, sizeof name, "frames/%06lld", (long long)f->index);
    g = H5Gcreate2(r->file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    KS_CHECK(g >= 0, KS_ERR_HDF5, "%s: cannot create /%s (written twice?)", r->path, name);
    const hsize_t atoms[2] = {(hsize_t)f->n_atom, 3}, square[2] = {(hsize_t)f->n_ao, (hsize_t)f->n_ao}, three = 3;
    KS_TRY(dataset(g, "Z", H5T_NATIVE_INT32, H5T_STD_I32LE, 1, atoms, NULL, f->Z));
    KS_TRY(real_dataset(g, "pos_bohr", 2, atoms, "bohr", f->pos));
    KS_TRY(real_dataset(g, "E", 0, NULL, "hartree", &f->energy));
    KS_TRY(real_dataset(g, "eps", 1, square, "hartree", f->eps));
    KS_TRY(real_dataset(g, "F", 2, square, "hartree", f->F));
    KS_TRY(real_dataset(g, "P", 2, square, "1", f->P));
    KS_TRY(real_dataset(g, "S", 2, square, "1", f->S));
    KS_TRY(real_dataset(g, "C", 2, square, "1", f->C));
    KS_TRY(real_dataset(g, "dipole", 1, &three, "e bohr", f->dipole));
    KS_TRY(int_attribute(g, "converged", f->converged));
    KS_TRY(int_attribute(g, "cycles", f->cycles));
    KS_TRY(int_attribute(g, "charge", f->charge));
    KS_TRY(int_attribute(g, "n_electrons", f->n_electron));
done:
    if (g >= 0) H5Gclose(g);
    return st;
}

static ks_status sync_file(const char *path) {
    ks_status st = KS_OK;
    const int fd = open(path, O_RDONLY);
    KS_CHECK(fd >= 0 && fsync(fd) == 0, KS_ERR_IO, "cannot flush %s to disk: %s", path, strerror(errno));
done:
    if (fd >= 0) close(fd);
    return st;
}

ks_status ks_result_commit(ks_result **result) {
    ks_status  st = KS_OK;
    ks_result *r  = result ? *result : NULL;
    KS_CHECK(r && r->temporary && r->file >= 0, KS_ERR_ARG, "not a file that is being written");
    hdf5_quiet();
    const herr_t closed = H5Fclose(r->file);
    r->file             = H5I_INVALID_HID;
    KS_CHECK(closed >= 0, KS_ERR_HDF5, "cannot finish %s", r->temporary);
    KS_TRY(sync_file(r->temporary));
    KS_CHECK(rename(r->temporary, r->path) == 0, KS_ERR_IO, "cannot rename %s to %s: %s", r->temporary, r->path, strerror(errno));
    ks_result_close(result);
    return KS_OK;
done:
    ks_result_discard(result);
    return st;
}

void ks_result_discard(ks_result **result) {
    if (!result || !*result) return;
    ks_result *r = *result;
    if (r->file >= 0) H5Fclose(r->file);
    r->file = H5I_INVALID_HID;
    if (r->temporary) unlink(r->temporary);
    ks_result_close(result);
}

void ks_result_close(ks_result **result) {
    if (!result || !*result) return;
    if ((*result)->file >= 0) H5Fclose((*result)->file);
    KS_FREE((*result)->path);
    KS_FREE((*result)->temporary);
    KS_FREE(*result);
}

/* ---- reading ---- */

/* 1 when the string attribute `name` of the object holds `text`. */
static int attribute_is(hid_t where, const char *name, const char *text) {
    char  value[64] = "";
    int   same      = 0;
    hid_t a         = H5Aexists(where, name) > 0 ? H5Aopen(where, name, H5P_DEFAULT) : H5I_INVALID_HID;
    hid_t type      = a >= 0 ? H5Aget_type(a) : H5I_INVALID_HID;
    if (type >= 0 && H5Tget_class(type) == H5T_STRING && !H5Tis_variable_str(type) && H5Tget_size(type) < sizeof value)
        same = H5Aread(a, type, value) >= 0 && !strcmp(value, text);
    if (type >= 0) H5Tclose(type);
    if (a >= 0) H5Aclose(a);
    return same;
}

ks_status ks_result_open(const char *path, ks_result **out) {
    ks_status  st = KS_OK;
    ks_result *r  = NULL;
    KS_CHECK(path && out, KS_ERR_ARG, "a NULL argument");
    *out = NULL;
    hdf5_quiet();
    KS_CHECK(access(path, R_OK) == 0, KS_ERR_IO, "cannot read %s: %s", path, strerror(errno));
    KS_TRY(new_result(path, NULL, &r));
    KS_CHECK(H5Fis_hdf5(path) > 0, KS_ERR_DATA, "%s is not an HDF5 file", path);
    r->file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    KS_CHECK(r->file >= 0, KS_ERR_DATA, "%s: HDF5 cannot open it (truncated or damaged?)", path);
    KS_CHECK(attribute_is(r->file, "format", "ksgrad-result"), KS_ERR_DATA,
             "%s is not a result file of 'ksgrad scf --out' or 'ksgrad predict --out' (attribute format)", path);
    *out = r;
    r    = NULL;
done:
    ks_result_close(&r);
    return st;
}

/* Reads a dataset of exactly this shape (rank 1 or 2), whose class is int or float. */
static ks_status read_dataset(const ks_result *r, hid_t group, const char *frame, const char *name, hid_t mem, int rank,
                              const hsize_t *shape, void *out) {
    ks_status st  = KS_OK;
    hid_t     set = H5I_INVALID_HID, space = H5I_INVALID_HID, type = H5I_INVALID_HID;
    hsize_t   got[2] = {0, 0};
    KS_CHECK(H5Lexists(group, name, H5P_DEFAULT) > 0, KS_ERR_DATA, "%s: /%s/%s is missing", r->path, frame, name);
    set   = H5Dopen2(group, name, H5P_DEFAULT);
    space = set >= 0 ? H5Dget_space(set) : H5I_INVALID_HID;
    type  = set >= 0 ? H5Dget_type(set) : H5I_INVALID_HID;
    KS_CHECK(space >= 0 && type >= 0, KS_ERR_DATA, "%s: /%s/%s is not a dataset", r->path, frame, name);
    KS_CHECK(H5Tget_class(type) == H5T_FLOAT || H5Tget_class(type) == H5T_INTEGER, KS_ERR_DATA, "%s: /%s/%s does not hold numbers",
             r->path, frame, name);
    KS_CHECK(H5Sget_simple_extent_ndims(space) == rank && H5Sget_simple_extent_dims(space, got, NULL) == rank &&
                 got[0] == shape[0] && (rank < 2 || got[1] == shape[1]),
             KS_ERR_DATA, "%s: /%s/%s has the shape (%lld, %lld), this geometry and basis need (%lld, %lld)", r->path, frame, name,
             (long long)got[0], (long long)got[1], (long long)shape[0], rank < 2 ? 0 : (long long)shape[1]);
    KS_CHECK(H5Dread(set, mem, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) >= 0, KS_ERR_DATA,
             "%s: /%s/%s cannot be read (truncated, or its checksum is wrong)", r->path, frame, name);
done:
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    if (set >= 0) H5Dclose(set);
    return st;
}

static ks_status check_geometry(const ks_result *r, hid_t group, const char *frame, int64_t n_atom, const int32_t *Z,
                                const double *pos) {
    ks_status     st = KS_OK;
    int32_t      *z  = NULL;
    double       *x  = NULL;
    const hsize_t shape[2] = {(hsize_t)n_atom, 3};
    KS_TRY(KS_NEW(z, n_atom));
    KS_TRY(KS_NEW(x, 3 * n_atom));
    KS_TRY(read_dataset(r, group, frame, "Z", H5T_NATIVE_INT32, 1, shape, z));
    KS_TRY(read_dataset(r, group, frame, "pos_bohr", H5T_NATIVE_DOUBLE, 2, shape, x));
    for (int64_t a = 0; a < n_atom; a++) {
        KS_CHECK(z[a] == Z[a], KS_ERR_DATA, "%s: /%s/Z: atom %lld is element %d, the geometry has %d", r->path, frame, (long long)a,
                 (int)z[a], (int)Z[a]);
        for (int64_t i = 3 * a; i < 3 * a + 3; i++)
            KS_CHECK(fabs(x[i] - pos[i]) <= POS_TOLERANCE, KS_ERR_DATA,
                     "%s: /%s/pos_bohr: atom %lld lies %.3g bohr from the geometry's (limit %g): another geometry", r->path, frame,
                     (long long)a, fabs(x[i] - pos[i]), POS_TOLERANCE);
    }
done:
    KS_FREE(z);
    KS_FREE(x);
    return st;
}

ks_status ks_result_matrix(ks_result *r, int64_t index, int64_t n_atom, const int32_t *Z, const double *pos, int64_t n,
                           const char *names, double *out, int *which) {
    ks_status     st       = KS_OK;
    hid_t         group    = H5I_INVALID_HID;
    const hsize_t shape[2] = {(hsize_t)n, (hsize_t)n};
    char          frame[32], name[32];
    KS_CHECK(r && r->file >= 0 && !r->temporary && n_atom > 0 && n > 0 && Z && pos && names && out, KS_ERR_ARG,
             "a NULL argument, or a file that is being written");
    hdf5_quiet();
    snprintf(frame, sizeof frame, "frames/%06lld", (long long)index);
    KS_CHECK(H5Lexists(r->file, "frames", H5P_DEFAULT) > 0 && H5Lexists(r->file, frame, H5P_DEFAULT) > 0, KS_ERR_DATA,
             "%s has no frame %lld (/%s)", r->path, (long long)index, frame);
    group = H5Gopen2(r->file, frame, H5P_DEFAULT);
    KS_CHECK(group >= 0, KS_ERR_DATA, "%s: /%s is not a group", r->path, frame);
    KS_TRY(check_geometry(r, group, frame, n_atom, Z, pos));
    int found = -1, k = 0;
    for (const char *p = names; *p; k++) {
        const size_t len = strcspn(p, ",");
        snprintf(name, sizeof name, "%.*s", (int)len, p);
        if (H5Lexists(group, name, H5P_DEFAULT) > 0) {
            found = k;
            break;
        }
        p += len + (p[len] == ',');
    }
    KS_CHECK(found >= 0, KS_ERR_DATA, "%s: /%s has none of the datasets %s", r->path, frame, names);
    KS_TRY(read_dataset(r, group, frame, name, H5T_NATIVE_DOUBLE, 2, shape, out));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            const double a = out[i * n + j], b = out[j * n + i];
            KS_CHECK(isfinite(a) && isfinite(b), KS_ERR_DATA, "%s: /%s/%s[%lld,%lld] is not finite", r->path, frame, name,
                     (long long)i, (long long)j);
            KS_CHECK(fabs(a - b) <= 1e-6, KS_ERR_DATA, "%s: /%s/%s is not symmetric: [%lld,%lld] differs by %.3g", r->path, frame,
                     name, (long long)i, (long long)j, fabs(a - b));
        }
    if (which) *which = found;
done:
    if (group >= 0) H5Gclose(group);
    return st;
}
