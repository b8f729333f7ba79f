/* h5_data.c -- HDF5 datasets; see h5.h. */
#include <stdio.h>
#include <string.h>
#include "io/h5_impl.h"

enum { CHUNK_BYTES = 1 << 20 };

static hid_t memory_type(ks_h5_type t) {
    switch (t) {
    case KS_H5_F64:
        return H5T_NATIVE_DOUBLE;
    case KS_H5_F32:
        return H5T_NATIVE_FLOAT;
    case KS_H5_I32:
        return H5T_NATIVE_INT32;
    case KS_H5_I64:
        return H5T_NATIVE_INT64;
    case KS_H5_U8:
        return H5T_NATIVE_UINT8;
    }
    return H5I_INVALID_HID;
}

static hid_t file_type(ks_h5_type t) {
    switch (t) {
    case KS_H5_F64:
        return H5T_IEEE_F64LE;
    case KS_H5_F32:
        return H5T_IEEE_F32LE;
    case KS_H5_I32:
        return H5T_STD_I32LE;
    case KS_H5_I64:
        return H5T_STD_I64LE;
    case KS_H5_U8:
        return H5T_STD_U8LE;
    }
    return H5I_INVALID_HID;
}

static const char *type_name(ks_h5_type t) {
    static const char *const name[] = {"f64", "f32", "i32", "i64", "u8"};
    return name[t];
}

static const char *shape_text(int rank, const int64_t *shape, char *buf, size_t n) {
    size_t used = (size_t)snprintf(buf, n, "(");
    for (int k = 0; k < rank && used < n; k++) {
        const char *sep = k ? ", " : "";
        used += (size_t)(shape[k] < 0 ? snprintf(buf + used, n - used, "%sany", sep)
                                      : snprintf(buf + used, n - used, "%s%lld", sep, (long long)shape[k]));
    }
    if (used < n) snprintf(buf + used, n - used, ")");
    return buf;
}

static ks_status count_values(const ks_h5 *file, const char *path, int rank, const int64_t *shape, int64_t *n) {
    ks_status st = KS_OK;
    *n           = 1;
    KS_CHECK(rank >= 0 && rank <= KS_H5_MAX_RANK && (rank == 0 || shape), KS_ERR_ARG,
             "%s: '%s': rank %d, the limit is %d", file->path, path, rank, KS_H5_MAX_RANK);
    for (int k = 0; k < rank; k++) KS_TRY(ks_mul_i64(*n, shape[k], n));
done:
    return st;
}

static ks_status new_dataset(ks_h5 *file, const char *path, ks_h5_type type, int rank, const int64_t *shape, int flags,
                             hid_t *out) {
    ks_status st   = KS_OK;
    hid_t     dcpl = H5I_INVALID_HID, lcpl = H5I_INVALID_HID, space = H5I_INVALID_HID;
    hsize_t   dims[KS_H5_MAX_RANK], chunk[KS_H5_MAX_RANK];
    int64_t   n_value;
    KS_TRY(ks_h5_check_writable(file, path, 0));
    KS_CHECK(type >= KS_H5_F64 && type <= KS_H5_U8, KS_ERR_ARG, "%s: '%s': unknown type %d", file->path, path,
             (int)type);
    KS_TRY(count_values(file, path, rank, shape, &n_value));
    KS_CHECK(!ks_h5_exists(file, path), KS_ERR_ARG, "%s: '%s' exists already", file->path, path);
    for (int k = 0; k < rank; k++) dims[k] = chunk[k] = (hsize_t)shape[k];
    space = rank ? H5Screate_simple(rank, dims, NULL) : H5Screate(H5S_SCALAR);
    KS_H5_TRY(space, "creating dataset", path);
    dcpl = H5Pcreate(H5P_DATASET_CREATE);
    KS_H5_TRY(dcpl, "creating dataset", path);
    KS_H5_TRY(H5Pset_obj_track_times(dcpl, 0), "creating dataset", path); /* equal content gives equal bytes */
    const int64_t value_bytes = (int64_t)H5Tget_size(file_type(type));
    if (flags & KS_H5_IN_PLACE) {
        KS_H5_TRY(H5Pset_alloc_time(dcpl, H5D_ALLOC_TIME_EARLY), "creating dataset", path);
    } else if (rank && n_value > 0) {
        /* Whole rows up to about 1 MiB; a longer row is cut along the next extents. */
        int64_t below = n_value;
        for (int k = 0; k < rank; k++) {
            below /= shape[k];
            int64_t rows = CHUNK_BYTES / value_bytes / (below > 0 ? below : 1);
            if (rows < 1) rows = 1;
            if (rows > shape[k]) rows = shape[k];
            chunk[k] = (hsize_t)rows;
        }
        KS_H5_TRY(H5Pset_chunk(dcpl, rank, chunk), "creating dataset", path);
        KS_H5_TRY(H5Pset_fletcher32(dcpl), "creating dataset", path);
    }
    lcpl = H5Pcreate(H5P_LINK_CREATE);
    KS_H5_TRY(lcpl, "creating dataset", path);
    KS_H5_TRY(H5Pset_create_intermediate_group(lcpl, 1), "creating dataset", path);
    *out = H5Dcreate2(file->id, path, file_type(type), space, lcpl, dcpl, H5P_DEFAULT);
    KS_H5_TRY(*out, "creating dataset", path);
done:
    if (space >= 0) H5Sclose(space);
    if (dcpl >= 0) H5Pclose(dcpl);
    if (lcpl >= 0) H5Pclose(lcpl);
    return st;
}

ks_status ks_h5_write(ks_h5 *file, const char *path, ks_h5_type type, int rank, const int64_t *shape,
                      const void *data) {
    ks_status st = KS_OK;
    hid_t     d  = H5I_INVALID_HID;
    int64_t   n;
    KS_CHECK(file && path, KS_ERR_ARG, "HDF5: NULL argument");
    ks_h5_quiet();
    KS_TRY(count_values(file, path, rank, shape, &n));
    KS_CHECK(data || n == 0, KS_ERR_ARG, "%s: '%s': no data for %lld values", file->path, path, (long long)n);
    KS_TRY(new_dataset(file, path, type, rank, shape, 0, &d));
    if (n) KS_H5_TRY(H5Dwrite(d, memory_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, data), "writing dataset", path);
    KS_H5_TRY(H5Dflush(d), "writing dataset", path); /* chunks wait in a cache; closing must have nothing to write */
done:
    if (st == KS_ERR_HDF5) ks_h5_abandon(file);
    if (d >= 0) H5Dclose(d);
    return st;
}

ks_status ks_h5_reserve(ks_h5 *file, const char *path, ks_h5_type type, int rank, const int64_t *shape, int flags) {
    ks_status st = KS_OK;
    hid_t     d  = H5I_INVALID_HID;
    KS_CHECK(file && path, KS_ERR_ARG, "HDF5: NULL argument");
    ks_h5_quiet();
    KS_TRY(new_dataset(file, path, type, rank, shape, flags, &d));
    KS_H5_TRY(H5Dflush(d), "creating dataset", path);
done:
    if (st == KS_ERR_HDF5) ks_h5_abandon(file);
    if (d >= 0) H5Dclose(d);
    return st;
}

/* Opens a dataset and finds its extents. */
static ks_status open_dataset(ks_h5 *file, const char *path, hid_t *d, int *rank, int64_t *shape) {
    ks_status st    = KS_OK;
    hid_t     space = H5I_INVALID_HID;
    hsize_t   dims[KS_H5_MAX_RANK];
    KS_CHECK(ks_h5_exists(file, path), KS_ERR_DATA, "%s: there is no dataset '%s'", file->path, path);
    *d = H5Dopen2(file->id, path, H5P_DEFAULT);
    KS_H5_TRY(*d, "opening dataset", path);
    space = H5Dget_space(*d);
    KS_H5_TRY(space, "opening dataset", path);
    *rank = H5Sget_simple_extent_ndims(space);
    KS_CHECK(*rank >= 0 && *rank <= KS_H5_MAX_RANK, KS_ERR_DATA, "%s: dataset '%s' has rank %d, the limit is %d",
             file->path, path, *rank, KS_H5_MAX_RANK);
    KS_H5_TRY(H5Sget_simple_extent_dims(space, dims, NULL), "opening dataset", path);
    for (int k = 0; k < *rank; k++) {
        KS_CHECK(dims[k] <= INT64_MAX / 16, KS_ERR_DATA, "%s: dataset '%s' claims an extent of %llu", file->path, path,
                 (unsigned long long)dims[k]);
        shape[k] = (int64_t)dims[k];
    }
done:
    if (space >= 0) H5Sclose(space);
    return st;
}

/* The stored type must be of the class asked for and not wider; the stored bytes must be there. */
static ks_status check_stored(ks_h5 *file, const char *path, hid_t d, ks_h5_type type, int64_t n_value) {
    ks_status st     = KS_OK;
    hid_t     stored = H5Dget_type(d), dcpl = H5Dget_create_plist(d);
    KS_H5_TRY(stored, "reading dataset", path);
    KS_H5_TRY(dcpl, "reading dataset", path);
    const H5T_class_t class       = H5Tget_class(stored);
    const size_t bytes            = H5Tget_size(stored);
    const int    is_float         = type == KS_H5_F64 || type == KS_H5_F32;
    const int    is_wide_unsigned = class == H5T_INTEGER && H5Tget_sign(stored) == H5T_SGN_NONE &&
                                 bytes == H5Tget_size(memory_type(type)) && type != KS_H5_U8;
    const int is_signed_for_u8 = class == H5T_INTEGER && type == KS_H5_U8 && H5Tget_sign(stored) != H5T_SGN_NONE;
    KS_CHECK(class == (is_float ? H5T_FLOAT : H5T_INTEGER) && bytes <= H5Tget_size(memory_type(type)) &&
                 !is_wide_unsigned && !is_signed_for_u8,
             KS_ERR_DATA, "%s: dataset '%s' holds %s of %zu bytes, expected %s", file->path, path,
             class == H5T_FLOAT     ? "floats"
             : class == H5T_INTEGER ? "integers"
                                    : "neither floats nor integers",
             bytes, type_name(type));
    /* Without a filter that shrinks data, storage below the size means values that were never written. Catches, too,
     * absurd extents in a damaged header before memory is asked for them. */
    int shrinks = 0;
    for (int k = 0; k < H5Pget_nfilters(dcpl); k++) {
        unsigned flags, config;
        size_t   n_param = 0;
        shrinks |= H5Pget_filter2(dcpl, (unsigned)k, &flags, &n_param, NULL, 0, NULL, &config) != H5Z_FILTER_FLETCHER32;
    }
    const hsize_t storage = H5Dget_storage_size(d);
    KS_CHECK(shrinks || storage / bytes >= (hsize_t)n_value, KS_ERR_DATA,
             "%s: dataset '%s' has %llu bytes in the file, expected %lld values of %zu bytes", file->path, path,
             (unsigned long long)storage, (long long)n_value, bytes);
    KS_CHECK(!shrinks || n_value / 2048 <= (int64_t)storage, KS_ERR_DATA,
             "%s: dataset '%s' claims %lld values in %llu compressed bytes", file->path, path, (long long)n_value,
             (unsigned long long)storage);
done:
    if (stored >= 0) H5Tclose(stored);
    if (dcpl >= 0) H5Pclose(dcpl);
    return st;
}

/* Every chunk of rows first .. first+n-1 is in the index. The 1.8 index has no checksum of its own: a damaged entry
 * would read as zeros. */
static ks_status check_chunks(ks_h5 *file, const char *path, hid_t d, int rank, const int64_t *shape, int64_t first,
                              int64_t n) {
    ks_status st   = KS_OK;
    hid_t     dcpl = H5Dget_create_plist(d);
    hsize_t   chunk[KS_H5_MAX_RANK], at[KS_H5_MAX_RANK] = {0}, bytes;
    KS_H5_TRY(dcpl, "reading dataset", path);
    if (rank == 0 || n == 0 || H5Pget_layout(dcpl) != H5D_CHUNKED) goto done;
    KS_CHECK(H5Pget_chunk(dcpl, rank, chunk) == rank, KS_ERR_DATA, "%s: dataset '%s': chunk rank differs", file->path,
             path);
    for (int k = 0; k < rank; k++) {
        KS_CHECK(chunk[k] > 0, KS_ERR_DATA, "%s: dataset '%s': chunk extent 0", file->path, path);
        if (shape[k] == 0) goto done;
    }
    at[0] = (hsize_t)first / chunk[0] * chunk[0];
    for (int k = 0; k >= 0;) {
        KS_CHECK(H5Dget_chunk_storage_size(d, at, &bytes) >= 0 && bytes > 0, KS_ERR_DATA,
                 "%s: dataset '%s': the chunk at row %llu is missing from the index", file->path, path,
                 (unsigned long long)at[0]);
        for (k = rank - 1; k >= 0; k--) { /* next chunk, last extent fastest */
            at[k] += chunk[k];
            if (at[k] < (hsize_t)(k == 0 ? first + n : shape[k])) break;
            at[k] = 0;
        }
    }
done:
    if (dcpl >= 0) H5Pclose(dcpl);
    return st;
}

ks_status ks_h5_shape(ks_h5 *file, const char *path, int *rank, int64_t *shape) {
    ks_status st = KS_OK;
    hid_t     d  = H5I_INVALID_HID;
    KS_CHECK(file && path && rank && shape, KS_ERR_ARG, "HDF5: NULL argument");
    ks_h5_quiet();
    KS_TRY(open_dataset(file, path, &d, rank, shape));
done:
    if (d >= 0) H5Dclose(d);
    return st;
}

static ks_status read_all(ks_h5 *file, const char *path, ks_h5_type type, int rank, int64_t *shape, void *data,
                          void **fresh) {
    ks_status st = KS_OK;
    hid_t     d  = H5I_INVALID_HID;
    int64_t   found[KS_H5_MAX_RANK], n = 0;
    int       found_rank = 0, same;
    char      text1[128], text2[128];
    void     *buf = NULL;
    ks_h5_quiet();
    KS_CHECK(type >= KS_H5_F64 && type <= KS_H5_U8, KS_ERR_ARG, "%s: '%s': unknown type %d", file->path, path,
             (int)type);
    KS_CHECK(rank >= 0 && rank <= KS_H5_MAX_RANK && (rank == 0 || shape), KS_ERR_ARG, "%s: '%s': rank %d", file->path,
             path, rank);
    KS_TRY(open_dataset(file, path, &d, &found_rank, found));
    same = found_rank == rank;
    for (int k = 0; same && k < rank; k++) same = found[k] == shape[k] || (fresh && shape[k] < 0);
    KS_CHECK(same, KS_ERR_DATA, "%s: dataset '%s' has shape %s, expected %s", file->path, path,
             shape_text(found_rank, found, text1, sizeof text1), shape_text(rank, shape, text2, sizeof text2));
    KS_TRY(count_values(file, path, rank, found, &n));
    KS_TRY(check_stored(file, path, d, type, n));
    KS_TRY(check_chunks(file, path, d, rank, found, 0, rank ? found[0] : 0));
    if (fresh) {
        KS_TRY(ks_host_alloc(n, H5Tget_size(memory_type(type)), &buf));
        data = buf;
    }
    if (n) KS_H5_TRY(H5Dread(d, memory_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, data), "reading dataset", path);
    if (fresh) {
        for (int k = 0; k < rank; k++) shape[k] = found[k];
        *fresh = buf;
        buf    = NULL;
    }
done:
    KS_FREE(buf);
    if (d >= 0) H5Dclose(d);
    return st;
}

ks_status ks_h5_read(ks_h5 *file, const char *path, ks_h5_type type, int rank, const int64_t *shape, void *data) {
    ks_status st = KS_OK;
    int64_t   copy[KS_H5_MAX_RANK], n = 0;
    KS_CHECK(file && path, KS_ERR_ARG, "HDF5: NULL argument");
    KS_TRY(count_values(file, path, rank, shape, &n));
    KS_CHECK(data || n == 0, KS_ERR_ARG, "%s: '%s': nowhere to read %lld values to", file->path, path, (long long)n);
    for (int k = 0; k < rank; k++) copy[k] = shape[k];
    KS_TRY(read_all(file, path, type, rank, copy, data, NULL));
done:
    return st;
}

ks_status ks_h5_read_new(ks_h5 *file, const char *path, ks_h5_type type, int rank, int64_t *shape, void **data) {
    ks_status st = KS_OK;
    KS_CHECK(file && path && data, KS_ERR_ARG, "HDF5: NULL argument");
    *data = NULL;
    KS_TRY(read_all(file, path, type, rank, shape, NULL, data));
done:
    return st;
}

static ks_status rows(ks_h5 *file, const char *path, ks_h5_type type, int64_t first, int64_t n, int64_t n_row_value,
                      const void *from, void *to) {
    ks_status st = KS_OK;
    hid_t     d = H5I_INVALID_HID, fspace = H5I_INVALID_HID, mspace = H5I_INVALID_HID;
    int64_t   shape[KS_H5_MAX_RANK] = {0}, per_row = 1, total = 0;
    hsize_t   start[KS_H5_MAX_RANK] = {0}, count[KS_H5_MAX_RANK];
    int       rank                  = 0;
    KS_CHECK(file && path && first >= 0 && n >= 0 && (n == 0 || from || to), KS_ERR_ARG, "HDF5: rows %lld + %lld",
             (long long)first, (long long)n);
    ks_h5_quiet();
    KS_CHECK(type >= KS_H5_F64 && type <= KS_H5_U8, KS_ERR_ARG, "%s: '%s': unknown type %d", file->path, path,
             (int)type);
    if (from) KS_TRY(ks_h5_check_writable(file, path, 1));
    KS_TRY(open_dataset(file, path, &d, &rank, shape));
    for (int k = 1; k < rank; k++) KS_TRY(ks_mul_i64(per_row, shape[k], &per_row));
    KS_CHECK(rank >= 1 && per_row == n_row_value && n <= shape[0] && first <= shape[0] - n, KS_ERR_DATA,
             "%s: dataset '%s' has %lld rows of %lld values, expected %lld from row %lld on of %lld values", file->path,
             path, (long long)shape[0], (long long)per_row, (long long)n, (long long)first, (long long)n_row_value);
    if (n == 0 || n_row_value == 0) goto done;
    KS_TRY(count_values(file, path, rank, shape, &total));
    if (to) KS_TRY(check_stored(file, path, d, type, total));
    if (to) KS_TRY(check_chunks(file, path, d, rank, shape, first, n));
    start[0] = (hsize_t)first;
    count[0] = (hsize_t)n;
    for (int k = 1; k < rank; k++) count[k] = (hsize_t)shape[k];
    fspace = H5Dget_space(d);
    KS_H5_TRY(fspace, "selecting rows of", path);
    KS_H5_TRY(H5Sselect_hyperslab(fspace, H5S_SELECT_SET, start, NULL, count, NULL), "selecting rows of", path);
    mspace = H5Screate_simple(rank, count, NULL);
    KS_H5_TRY(mspace, "selecting rows of", path);
    if (from) KS_H5_TRY(H5Dwrite(d, memory_type(type), mspace, fspace, H5P_DEFAULT, from), "writing rows of", path);
    else KS_H5_TRY(H5Dread(d, memory_type(type), mspace, fspace, H5P_DEFAULT, to), "reading rows of", path);
    if (from) KS_H5_TRY(H5Dflush(d), "writing rows of", path);
done:
    if (st == KS_ERR_HDF5 && from) ks_h5_abandon(file);
    if (mspace >= 0) H5Sclose(mspace);
    if (fspace >= 0) H5Sclose(fspace);
    if (d >= 0) H5Dclose(d);
    return st;
}

ks_status ks_h5_write_rows(ks_h5 *file, const char *path, ks_h5_type type, int64_t first, int64_t n,
                           int64_t n_row_value, const void *data) {
    return rows(file, path, type, first, n, n_row_value, data, NULL);
}

ks_status ks_h5_read_rows(ks_h5 *file, const char *path, ks_h5_type type, int64_t first, int64_t n, int64_t n_row_value,
                          void *data) {
    return rows(file, path, type, first, n, n_row_value, NULL, data);
}
