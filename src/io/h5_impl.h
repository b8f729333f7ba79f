/* h5_impl.h -- shared by h5.c, h5_data.c and h5_attr.c only. */
#ifndef KS_IO_H5_IMPL_H
#define KS_IO_H5_IMPL_H
#include <hdf5.h>
#include "io/h5.h"

typedef enum ks_h5_mode { KS_H5_MODE_READ, KS_H5_MODE_NEW, KS_H5_MODE_ROWS } ks_h5_mode;

struct ks_h5 {
    hid_t      id;
    ks_h5_mode mode;
    char      *path;      /* final name */
    char      *temporary; /* name on disk until published (KS_H5_MODE_NEW), else NULL */
    int        abandoned; /* ks_h5_abandon was called: nothing more reaches the disk */
};

/* Switches HDF5's own printing off in this thread and forgets older errors. First call of every entry point. */
void ks_h5_quiet(void);
/* HDF5's innermost message of this thread, "no details" when there is none. */
const char *ks_h5_why(void);

/* For H5 calls that return a negative value on failure. Needs st, done and `file`. */
#define KS_H5_TRY(call, what, object)                                                                                  \
    KS_CHECK((call) >= 0, KS_ERR_HDF5, "%s: %s '%s' failed: %s", file->path, (what), (object), ks_h5_why())

/* Points the file's descriptor to anonymous memory. Called after a failed write, before anything is closed: HDF5
 * flushes when it closes, and when that fails (a full disk) it frees the object but keeps its number, which crashes
 * later. */
void ks_h5_abandon(ks_h5 *file);

KS_NODISCARD ks_status ks_h5_check_writable(const ks_h5 *file, const char *object, int rows);
#endif
