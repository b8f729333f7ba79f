/* npz.h -- NumPy .npz archives: a zip of .npy arrays (format: numpy.lib.format, versions 1 to 3). Private. */
#ifndef KS_IO_NPZ_H
#define KS_IO_NPZ_H
#include <stdint.h>
#include "ksgrad/status.h"

enum { KS_NPZ_MAX_RANK = 8 };

typedef struct ks_npz  ks_npz;
KS_NODISCARD ks_status ks_npz_open(const char *path, ks_npz **out);
void                   ks_npz_close(ks_npz **npz);
int                    ks_npz_has(const ks_npz *npz, const char *name);
/* Names of all arrays, blank separated, for messages; cut to the buffer. */
void ks_npz_names(const ks_npz *npz, char *buf, int64_t n);

/* A whole array in C order. Numbers only; checksums are verified. The caller frees *data with KS_FREE (NULL when
 * empty). _f64: stored f8, f4 or any integer. _i64: stored integers only. */
KS_NODISCARD ks_status ks_npz_read_f64(ks_npz *npz, const char *name, int *rank, int64_t *shape, double **data);
KS_NODISCARD ks_status ks_npz_read_i64(ks_npz *npz, const char *name, int *rank, int64_t *shape, int64_t **data);
/* A text scalar ('U' or 'S', ASCII), cut to the buffer. */
KS_NODISCARD ks_status ks_npz_read_text(ks_npz *npz, const char *name, char *buf, int64_t n);
#endif
