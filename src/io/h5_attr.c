/* h5_attr.c -- HDF5 attributes and text datasets; see h5.h. Texts are written with their fixed length, which needs no
 * heap in the file; texts of variable length (h5py's default) are read as well. */
#include <string.h>
#include "io/h5_impl.h"

enum { MAX_TEXT_BYTES = 64 << 20 };

/* The type of a text of n bytes, or of variable length. */
static ks_status text_type(ks_h5 *file, const char *object, size_t n, hid_t *out) {
    ks_status st = KS_OK;
    *out         = H5Tcopy(H5T_C_S1);
    KS_H5_TRY(*out, "text type of", object);
    KS_H5_TRY(H5Tset_size(*out, n), "text type of", object);
    KS_H5_TRY(H5Tset_cset(*out, H5T_CSET_UTF8), "text type of", object);
done:
    return st;
}

/* Reads the one text of a dataset (is_attr 0) or attribute (1). */
static ks_status read_text(ks_h5 *file, hid_t id, int is_attr, const char *object, char **text) {
    ks_status st     = KS_OK;
    hid_t     stored = is_attr ? H5Aget_type(id) : H5Dget_type(id);
    hid_t     space  = is_attr ? H5Aget_space(id) : H5Dget_space(id);
    hid_t     type   = H5I_INVALID_HID;
    char     *buf    = NULL;
    char     *heap   = NULL;
    KS_H5_TRY(stored, "reading text", object);
    KS_H5_TRY(space, "reading text", object);
    KS_CHECK(H5Tget_class(stored) == H5T_STRING && H5Sget_simple_extent_npoints(space) == 1, KS_ERR_DATA,
             "%s: '%s' is not one text", file->path, object);
    if (H5Tis_variable_str(stored) > 0) {
        KS_TRY(text_type(file, object, H5T_VARIABLE, &type));
        KS_H5_TRY(H5Tset_cset(type, H5Tget_cset(stored)), "reading text", object);
        KS_H5_TRY(is_attr ? H5Aread(id, type, &heap) : H5Dread(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &heap),
                  "reading text", object);
        KS_TRY(ks_host_strdup(heap ? heap : "", &buf));
    } else {
        const size_t n = H5Tget_size(stored);
        KS_CHECK(n > 0 && n <= MAX_TEXT_BYTES, KS_ERR_DATA, "%s: text '%s' of %zu bytes, the limit is %d", file->path,
                 object, n, MAX_TEXT_BYTES);
        KS_TRY(KS_ZNEW(buf, n + 1));
        KS_H5_TRY(is_attr ? H5Aread(id, stored, buf) : H5Dread(id, stored, H5S_ALL, H5S_ALL, H5P_DEFAULT, buf),
                  "reading text", object);
    }
    *text = buf;
    buf   = NULL;
done:
    if (heap) H5free_memory(heap);
    KS_FREE(buf);
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    if (stored >= 0) H5Tclose(stored);
    return st;
}

ks_status ks_h5_write_string(ks_h5 *file, const char *path, const char *text) {
    ks_status st   = KS_OK;
    hid_t     type = H5I_INVALID_HID, space = H5I_INVALID_HID, lcpl = H5I_INVALID_HID, d = H5I_INVALID_HID;
    KS_CHECK(file && path && text, KS_ERR_ARG, "HDF5: NULL argument");
    ks_h5_quiet();
    KS_TRY(ks_h5_check_writable(file, path, 0));
    KS_CHECK(!ks_h5_exists(file, path), KS_ERR_ARG, "%s: '%s' exists already", file->path, path);
    KS_TRY(text_type(file, path, strlen(text) + 1, &type));
    space = H5Screate(H5S_SCALAR);
    KS_H5_TRY(space, "creating text", path);
    lcpl = H5Pcreate(H5P_LINK_CREATE);
    KS_H5_TRY(lcpl, "creating text", path);
    KS_H5_TRY(H5Pset_create_intermediate_group(lcpl, 1), "creating text", path);
    d = H5Dcreate2(file->id, path, type, space, lcpl, H5P_DEFAULT, H5P_DEFAULT);
    KS_H5_TRY(d, "creating text", path);
    KS_H5_TRY(H5Dwrite(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text), "writing text", path);
    KS_H5_TRY(H5Dflush(d), "writing text", path);
done:
    if (st == KS_ERR_HDF5) ks_h5_abandon(file);
    if (d >= 0) H5Dclose(d);
    if (lcpl >= 0) H5Pclose(lcpl);
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    return st;
}

ks_status ks_h5_read_string(ks_h5 *file, const char *path, char **text) {
    ks_status st = KS_OK;
    hid_t     d  = H5I_INVALID_HID;
    KS_CHECK(file && path && text, KS_ERR_ARG, "HDF5: NULL argument");
    *text = NULL;
    ks_h5_quiet();
    KS_CHECK(ks_h5_exists(file, path), KS_ERR_DATA, "%s: there is no dataset '%s'", file->path, path);
    d = H5Dopen2(file->id, path, H5P_DEFAULT);
    KS_H5_TRY(d, "opening text", path);
    KS_TRY(read_text(file, d, 0, path, text));
done:
    if (d >= 0) H5Dclose(d);
    return st;
}

int ks_h5_has_attr(ks_h5 *file, const char *object, const char *name) {
    if (!file || !object || !name || !ks_h5_exists(file, object)) return 0;
    return H5Aexists_by_name(file->id, object, name, H5P_DEFAULT) > 0;
}

/* Replaces the attribute: n values, or one scalar when n < 0. */
static ks_status set_attr(ks_h5 *file, const char *object, const char *name, hid_t ftype, hid_t mtype, int64_t n,
                          const void *value) {
    ks_status st = KS_OK;
    hid_t     o = H5I_INVALID_HID, space = H5I_INVALID_HID, a = H5I_INVALID_HID;
    hsize_t   dim = (hsize_t)n;
    KS_TRY(ks_h5_check_writable(file, name, 0));
    KS_CHECK(ks_h5_exists(file, object), KS_ERR_ARG, "%s: there is no object '%s' to carry attribute '%s'", file->path,
             object, name);
    o = H5Oopen(file->id, object, H5P_DEFAULT);
    KS_H5_TRY(o, "opening", object);
    if (H5Aexists(o, name) > 0) KS_H5_TRY(H5Adelete(o, name), "replacing attribute", name);
    space = n < 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &dim, NULL);
    KS_H5_TRY(space, "creating attribute", name);
    a = H5Acreate2(o, name, ftype, space, H5P_DEFAULT, H5P_DEFAULT);
    KS_H5_TRY(a, "creating attribute", name);
    KS_H5_TRY(H5Awrite(a, mtype, value), "writing attribute", name);
done:
    if (st == KS_ERR_HDF5) ks_h5_abandon(file);
    if (a >= 0) H5Aclose(a);
    if (space >= 0) H5Sclose(space);
    if (o >= 0) H5Oclose(o);
    return st;
}

static ks_status open_attr(ks_h5 *file, const char *object, const char *name, hid_t *a) {
    ks_status st = KS_OK;
    KS_CHECK(ks_h5_has_attr(file, object, name), KS_ERR_DATA, "%s: '%s' has no attribute '%s'", file->path, object,
             name);
    *a = H5Aopen_by_name(file->id, object, name, H5P_DEFAULT, H5P_DEFAULT);
    KS_H5_TRY(*a, "opening attribute", name);
done:
    return st;
}

static ks_status get_number(ks_h5 *file, const char *object, const char *name, H5T_class_t class, hid_t mtype,
                            void *value) {
    ks_status st = KS_OK;
    hid_t     a = H5I_INVALID_HID, type = H5I_INVALID_HID, space = H5I_INVALID_HID;
    ks_h5_quiet();
    KS_TRY(open_attr(file, object, name, &a));
    type  = H5Aget_type(a);
    space = H5Aget_space(a);
    KS_H5_TRY(type, "reading attribute", name);
    KS_H5_TRY(space, "reading attribute", name);
    const H5T_class_t found = H5Tget_class(type);
    KS_CHECK((found == class || (class == H5T_FLOAT && found == H5T_INTEGER)) &&
                 H5Sget_simple_extent_npoints(space) == 1,
             KS_ERR_DATA, "%s: attribute '%s' of '%s' is not one %s", file->path, name, object,
             class == H5T_FLOAT ? "number" : "integer");
    KS_H5_TRY(H5Aread(a, mtype, value), "reading attribute", name);
done:
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    if (a >= 0) H5Aclose(a);
    return st;
}

ks_status ks_h5_set_string(ks_h5 *file, const char *object, const char *name, const char *value) {
    ks_status st   = KS_OK;
    hid_t     type = H5I_INVALID_HID;
    KS_CHECK(file && object && name && value, KS_ERR_ARG, "HDF5: NULL argument");
    ks_h5_quiet();
    /* Attributes live in the object header, whose messages HDF5 limits to 64 KiB. */
    KS_CHECK(strlen(value) < 60000, KS_ERR_ARG,
             "%s: attribute '%s' of %zu bytes, the limit is 60000: use a text dataset", file->path, name,
             strlen(value));
    KS_TRY(text_type(file, name, strlen(value) + 1, &type));
    KS_TRY(set_attr(file, object, name, type, type, -1, value));
done:
    if (type >= 0) H5Tclose(type);
    return st;
}

ks_status ks_h5_set_i64(ks_h5 *file, const char *object, const char *name, int64_t value) {
    ks_status st = KS_OK;
    KS_CHECK(file && object && name, KS_ERR_ARG, "HDF5: NULL argument");
    ks_h5_quiet();
    KS_TRY(set_attr(file, object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, -1, &value));
done:
    return st;
}

ks_status ks_h5_set_f64(ks_h5 *file, const char *object, const char *name, double value) {
    ks_status st = KS_OK;
    KS_CHECK(file && object && name, KS_ERR_ARG, "HDF5: NULL argument");
    ks_h5_quiet();
    KS_TRY(set_attr(file, object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, -1, &value));
done:
    return st;
}

ks_status ks_h5_set_i64s(ks_h5 *file, const char *object, const char *name, int64_t n, const int64_t *value) {
    ks_status st = KS_OK;
    KS_CHECK(file && object && name && n >= 1 && n <= 4096 && value, KS_ERR_ARG, "HDF5: attribute of %lld values",
             (long long)n);
    ks_h5_quiet();
    KS_TRY(set_attr(file, object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, n, value));
done:
    return st;
}

ks_status ks_h5_set_strings(ks_h5 *file, const char *object, const char *name, int64_t n, const char *const *value) {
    ks_status st    = KS_OK;
    hid_t     type  = H5I_INVALID_HID;
    char     *block = NULL;
    size_t    width = 1;
    KS_CHECK(file && object && name && n >= 1 && n <= 4096 && value, KS_ERR_ARG, "HDF5: attribute of %lld texts",
             (long long)n);
    ks_h5_quiet();
    for (int64_t k = 0; k < n; k++)
        if (strlen(value[k]) + 1 > width) width = strlen(value[k]) + 1;
    KS_CHECK(width * (size_t)n < 60000, KS_ERR_ARG, "%s: attribute '%s' is too long", file->path, name);
    KS_TRY(KS_ZNEW(block, n * (int64_t)width));
    for (int64_t k = 0; k < n; k++) memcpy(block + k * (int64_t)width, value[k], strlen(value[k]));
    KS_TRY(text_type(file, name, width, &type));
    KS_TRY(set_attr(file, object, name, type, type, n, block));
done:
    KS_FREE(block);
    if (type >= 0) H5Tclose(type);
    return st;
}

ks_status ks_h5_get_string(ks_h5 *file, const char *object, const char *name, char **value) {
    ks_status st = KS_OK;
    hid_t     a  = H5I_INVALID_HID;
    KS_CHECK(file && object && name && value, KS_ERR_ARG, "HDF5: NULL argument");
    *value = NULL;
    ks_h5_quiet();
    KS_TRY(open_attr(file, object, name, &a));
    KS_TRY(read_text(file, a, 1, name, value));
done:
    if (a >= 0) H5Aclose(a);
    return st;
}

ks_status ks_h5_get_i64(ks_h5 *file, const char *object, const char *name, int64_t *value) {
    ks_status st = KS_OK;
    KS_CHECK(file && object && name && value, KS_ERR_ARG, "HDF5: NULL argument");
    KS_TRY(get_number(file, object, name, H5T_INTEGER, H5T_NATIVE_INT64, value));
done:
    return st;
}

ks_status ks_h5_get_f64(ks_h5 *file, const char *object, const char *name, double *value) {
    ks_status st = KS_OK;
    KS_CHECK(file && object && name && value, KS_ERR_ARG, "HDF5: NULL argument");
    KS_TRY(get_number(file, object, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, value));
done:
    return st;
}

ks_status ks_h5_get_i64s(ks_h5 *file, const char *object, const char *name, int64_t max, int64_t *value, int64_t *n) {
    ks_status st = KS_OK;
    hid_t     a = H5I_INVALID_HID, type = H5I_INVALID_HID, space = H5I_INVALID_HID;
    KS_CHECK(file && object && name && value && n, KS_ERR_ARG, "HDF5: NULL argument");
    ks_h5_quiet();
    KS_TRY(open_attr(file, object, name, &a));
    type  = H5Aget_type(a);
    space = H5Aget_space(a);
    KS_H5_TRY(type, "reading attribute", name);
    KS_H5_TRY(space, "reading attribute", name);
    *n = H5Sget_simple_extent_npoints(space);
    KS_CHECK(H5Tget_class(type) == H5T_INTEGER && *n >= 0 && *n <= max, KS_ERR_DATA,
             "%s: attribute '%s' of '%s' has %lld values, expected up to %lld integers", file->path, name, object,
             (long long)*n, (long long)max);
    KS_H5_TRY(H5Aread(a, H5T_NATIVE_INT64, value), "reading attribute", name);
done:
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    if (a >= 0) H5Aclose(a);
    return st;
}
