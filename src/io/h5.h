/* h5.h -- the only door to HDF5: checked files, groups, typed datasets, attributes (private to the library).
 *
 * Paths inside a file are "group/sub/name"; missing parent groups are made when writing. File types are fixed
 * little-endian, memory types native. Every message names file, object, what was expected and what was found, with
 * HDF5's own innermost message. Nothing is printed. A handle must not be used by two threads at once. */
#ifndef KS_IO_H5_H
#define KS_IO_H5_H
#include <stdint.h>
#include "ksgrad/context.h"

enum { KS_H5_MAX_RANK = 8 };

typedef struct ks_h5 ks_h5;
typedef enum ks_h5_type { KS_H5_F64, KS_H5_F32, KS_H5_I32, KS_H5_I64, KS_H5_U8 } ks_h5_type;

/* ---- files ---- */

/* For reading; no file lock is taken (network file systems). Not an HDF5 file, truncated: KS_ERR_HDF5; absent:
 * KS_ERR_IO. */
KS_NODISCARD ks_status ks_h5_open(const char *path, ks_h5 **out);
/* A new file under a temporary name beside path; nothing is visible at path before ks_h5_publish. */
KS_NODISCARD ks_status ks_h5_create(const char *path, ks_h5 **out);
/* As ks_h5_create, starting from a copy of path: a file is changed as a whole or not at all. */
KS_NODISCARD ks_status ks_h5_edit(const char *path, ks_h5 **out);
/* Opens for writing rows in place (ks_h5_write_rows); takes HDF5's lock. Objects should not be created this way:
 * only the raw data of datasets made with KS_H5_IN_PLACE stay consistent when the program is killed. */
KS_NODISCARD ks_status ks_h5_open_rows(const char *path, ks_h5 **out);
/* Writes everything to disk: fsync, for files of ks_h5_create and ks_h5_edit also rename to the final name and fsync of
 * the folder. Closes and nulls *file in every case; on failure the temporary is removed and what was at path before
 * stays. */
KS_NODISCARD ks_status ks_h5_publish(ks_h5 **file);
/* Queued changes of ks_h5_open_rows to the disk (fsync); the file stays open. */
KS_NODISCARD ks_status ks_h5_flush(ks_h5 *file);
/* Closes without publishing: an unpublished temporary is removed. Accepts NULL and &NULL. */
void        ks_h5_close(ks_h5 **file);
const char *ks_h5_path(const ks_h5 *file);

/* 1 when an object of that path exists. */
int                    ks_h5_exists(ks_h5 *file, const char *path);
KS_NODISCARD ks_status ks_h5_group(ks_h5 *file, const char *path); /* made with its parents; existing is fine */
/* Names in a group, sorted. The caller frees with ks_h5_names_free. */
KS_NODISCARD ks_status ks_h5_list(ks_h5 *file, const char *group, char ***names, int64_t *n);
void                   ks_h5_names_free(char ***names, int64_t n);
/* Unlinks an object (ks_h5_edit, ks_h5_create). */
KS_NODISCARD ks_status ks_h5_remove(ks_h5 *file, const char *path);

/* ---- datasets ---- */

/* A new dataset with all its data. rank 0: a scalar. Arrays are chunked along the first extent and have Fletcher-32
 * checksums, which HDF5 verifies when reading. An existing object is KS_ERR_ARG. */
KS_NODISCARD ks_status ks_h5_write(ks_h5 *file, const char *path, ks_h5_type type, int rank, const int64_t *shape,
                                   const void *data);
/* Reads all of a dataset whose shape must be exactly this. Stored types may be narrower than asked for (f32 read as
 * f64, u8 and i32 as i64), never wider or of another class. */
KS_NODISCARD ks_status ks_h5_read(ks_h5 *file, const char *path, ks_h5_type type, int rank, const int64_t *shape,
                                  void *data);
/* Rank and extents of a dataset; shape holds KS_H5_MAX_RANK entries. */
KS_NODISCARD ks_status ks_h5_shape(ks_h5 *file, const char *path, int *rank, int64_t *shape);
/* As ks_h5_read, allocating: extents given as -1 in shape are filled in. The caller frees *data with KS_FREE; NULL if
 * empty. */
KS_NODISCARD ks_status ks_h5_read_new(ks_h5 *file, const char *path, ks_h5_type type, int rank, int64_t *shape,
                                      void **data);

enum { KS_H5_IN_PLACE = 1 }; /* contiguous and allocated at once: later row writes touch no metadata */
/* A dataset without data (zeros). */
KS_NODISCARD ks_status ks_h5_reserve(ks_h5 *file, const char *path, ks_h5_type type, int rank, const int64_t *shape,
                                     int flags);
/* n rows of the first extent from row first; n_row_value: values per row, checked against the dataset. */
KS_NODISCARD ks_status ks_h5_write_rows(ks_h5 *file, const char *path, ks_h5_type type, int64_t first, int64_t n,
                                        int64_t n_row_value, const void *data);
KS_NODISCARD ks_status ks_h5_read_rows(ks_h5 *file, const char *path, ks_h5_type type, int64_t first, int64_t n,
                                       int64_t n_row_value, void *data);

/* A text of any length as a scalar string dataset (UTF-8). */
KS_NODISCARD ks_status ks_h5_write_string(ks_h5 *file, const char *path, const char *text);
KS_NODISCARD ks_status ks_h5_read_string(ks_h5 *file, const char *path, char **text); /* caller frees with KS_FREE */

/* ---- attributes of a group or dataset ("/" is the file's root); setting replaces ---- */

int                    ks_h5_has_attr(ks_h5 *file, const char *object, const char *name);
KS_NODISCARD ks_status ks_h5_set_string(ks_h5 *file, const char *object, const char *name, const char *value);
KS_NODISCARD ks_status ks_h5_set_i64(ks_h5 *file, const char *object, const char *name, int64_t value);
KS_NODISCARD ks_status ks_h5_set_f64(ks_h5 *file, const char *object, const char *name, double value);
KS_NODISCARD ks_status ks_h5_set_i64s(ks_h5 *file, const char *object, const char *name, int64_t n,
                                      const int64_t *value);
KS_NODISCARD ks_status ks_h5_set_strings(ks_h5 *file, const char *object, const char *name, int64_t n,
                                         const char *const *value);
KS_NODISCARD ks_status ks_h5_get_string(ks_h5 *file, const char *object, const char *name, char **value); /* KS_FREE */
KS_NODISCARD ks_status ks_h5_get_i64(ks_h5 *file, const char *object, const char *name, int64_t *value);
KS_NODISCARD ks_status ks_h5_get_f64(ks_h5 *file, const char *object, const char *name, double *value);
/* Up to max values; *n: how many there are. */
KS_NODISCARD ks_status ks_h5_get_i64s(ks_h5 *file, const char *object, const char *name, int64_t max, int64_t *value,
                                      int64_t *n);

#endif
