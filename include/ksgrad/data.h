/* data.h -- ksgrad data files (.h5): geometries, splits, labels. Layout: datasets/README.md.
 *
 * A data file holds frames of one or several compositions, in a fixed order: frame numbers mean that order everywhere.
 * References of a method are labels: what ksgrad (or a converter that states functional, basis and grid) put there. */
#ifndef KS_DATA_H
#define KS_DATA_H
#include <stdint.h>
#include "ksgrad/geometry.h"
#include "ksgrad/system.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- splits: of any geometry file, by numbers ---- */

enum { KS_PART_TRAIN, KS_PART_VALID, KS_PART_TEST, KS_N_PART };

typedef struct ks_split {
    int64_t  n[KS_N_PART];
    int64_t *index[KS_N_PART]; /* disjoint; in the order in which they were drawn */
    char     method[16];       /* "numpy-legacy", "random", "index" */
    uint64_t seed;             /* 0 for "index" */
    char     sha256[65];       /* of the three counts and all indices, as little-endian int64 */
} ks_split;

/* Consecutive parts of a permutation of 0..n_frame-1: "numpy-legacy": RandomState(seed).permutation(n_frame), as the
 * published uracil split; "random": Philox. One size may be -1: what the others leave. Sizes that do not fit:
 * KS_ERR_ARG. */
KS_NODISCARD ks_status ks_split_make(const char *method, uint64_t seed, int64_t n_frame, const int64_t sizes[KS_N_PART],
                                     ks_split **out);
/* From files: one .npz with integer arrays train, valid (or val), test (also idx_train ...), absent ones empty; or up
 * to three texts "TRAIN,VALID,TEST" with one frame number per line, an empty name for an empty part. Repeated or
 * out-of-range: KS_ERR_DATA. */
KS_NODISCARD ks_status ks_split_read(const char *files, int64_t n_frame, ks_split **out);
void                   ks_split_destroy(ks_split **split);
/* "train", "valid", "test" -> KS_PART_..., -1 otherwise. */
int         ks_part_number(const char *name);
const char *ks_part_name(int part);

/* ---- data files ---- */

typedef struct ks_data ks_data;

/* What a file says about its origin; NULL fields are left out when writing. */
typedef struct ks_data_origin {
    const char *source;        /* file or address it was converted from */
    const char *source_sha256; /* of that file */
    const char *licence;
    const char *note;
} ks_data_origin;

/* Writes a new data file (atomically, replacing only an existing ksgrad data file). */
KS_NODISCARD ks_status ks_data_write(const char *path, const ks_frames *frames, const ks_data_origin *origin);
/* Reads headers only. Not a ksgrad data file, or of a later format version: KS_ERR_DATA. */
KS_NODISCARD ks_status ks_data_open(const char *path, ks_data **out);
void                   ks_data_close(ks_data **data);
int64_t                ks_data_n_frame(const ks_data *data);
/* All frames (n = -1, index NULL) or the given ones. ks_frames_read of a .h5 path is this with all frames. */
KS_NODISCARD ks_status ks_data_frames(ks_data *data, int64_t n, const int64_t *index, ks_frames **out);
/* 1 when path is a ksgrad data file. */
int ks_data_is_data(const char *path);

/* Splits of the file. Writing an existing name is KS_ERR_ARG unless replace. An open ks_data sees the change after
 * reopening. */
KS_NODISCARD ks_status ks_data_split_write(const char *path, const char *name, const ks_split *split, int replace);
KS_NODISCARD ks_status ks_data_split_read(ks_data *data, const char *name, ks_split **out); /* checks the sha256 */
/* "test" of the only split, "qpt/test" or "qpt" (all parts, in order) -> frame numbers (KS_FREE). */
KS_NODISCARD ks_status ks_data_split_frames(ks_data *data, const char *spec, int64_t **index, int64_t *n);

/* ---- labels ---- */

/* The method that made a set of labels. A file may hold several sets, one per (xc, basis, grid). */
typedef struct ks_label_method {
    char   xc[32], basis[64];
    char   basis_sha256[65]; /* empty: not said. Not part of what tells sets apart */
    int    grid_level;
    int    n_libxc, libxc_id[4];
    double libxc_weight[4], hybrid;
    char   grid[96]; /* in words */
    double conv_energy, conv_grad;
    char   program[128]; /* name, version, git hash */
} ks_label_method;

/* SHA-256 of the normalised shells of H, C, N, O and F of a basis: equal for equal numbers, whatever the file's name. */
void ks_basis_sha256(const ks_basis *basis, char hex[65]);

/* Labels of one frame; arrays belong to the caller. Hartree, atomic units, PySCF AO order. */
typedef struct ks_label {
    int64_t n_ao;
    int     converged, cycles;
    double  energy, dipole[3];
    double *F, *P; /* (n_ao, n_ao) symmetric; F is the converged Fock matrix, the label H of the Hamiltonian */
    double *eps;   /* (n_ao) */
} ks_label;

/* Frames of index[0..n-1] that have no label of this method yet -> todo (KS_FREE), in that order. */
KS_NODISCARD ks_status ks_data_labels_missing(ks_data *data, const ks_label_method *method, int64_t n,
                                              const int64_t *index, int64_t **todo, int64_t *n_todo);
/* Reserves room for labels of these frames (n_ao[k] AOs each); frames that have room already are skipped. The file is
 * replaced as a whole. Close ks_data handles of it first. */
KS_NODISCARD ks_status ks_data_labels_reserve(const char *path, const ks_label_method *method, int64_t n,
                                              const int64_t *index, const int64_t *n_ao);
/* Writing labels into reserved room: in place; a label counts only once it is on the disk as a whole (its own
 * checksum), so a killed run loses at most the frame it was writing. */
typedef struct ks_label_writer ks_label_writer;
KS_NODISCARD ks_status ks_label_writer_open(const char *path, const ks_label_method *method, ks_label_writer **out);
KS_NODISCARD ks_status ks_label_writer_put(ks_label_writer *writer, int64_t frame, const ks_label *label);
KS_NODISCARD ks_status ks_label_writer_close(ks_label_writer **writer); /* to the disk; accepts NULL and &NULL */

/* 1 when the frame has a whole label of this method (xc, basis, grid level), 0 when not. */
int ks_data_has_label(ks_data *data, const ks_label_method *method, int64_t frame);
/* Reads it; NULL arrays in label are skipped, others hold label->n_ao values as checked against the file. No label:
 * KS_ERR_DATA. */
KS_NODISCARD ks_status ks_data_label_read(ks_data *data, const ks_label_method *method, int64_t frame, ks_label *label);
/* The method of set k as stored, all fields; *n_set sets in all. */
KS_NODISCARD ks_status ks_data_label_sets(ks_data *data, ks_label_method **sets, int64_t *n_set); /* KS_FREE */

/* What is in the file, in lines of text (KS_FREE). */
KS_NODISCARD ks_status ks_data_describe(ks_data *data, char **text);

#ifdef __cplusplus
}
#endif
#endif
