/* geometry.h -- molecular geometries as read from files: xyz, extxyz, npz (MD17 and rMD17 layouts), ksgrad .h5.
 *
 * Positions are kept in bohr (1 bohr = KS_BOHR_ANG Angstrom; files are in Angstrom unless they say otherwise).
 * Energies and forces that come with a file are another method's: kept as `external`, never used as references. */
#ifndef KS_GEOMETRY_H
#define KS_GEOMETRY_H
#include <stdint.h>
#include "ksgrad/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KS_BOHR_ANG 0.52917721092
#define KS_HARTREE_EV 27.211386245988
#define KS_AU_DEBYE 2.541746473

typedef struct ks_frames {
    char    *source; /* path it was read from */
    int64_t  n_frame;
    int64_t *atom_off;          /* (n_frame + 1): atoms of frame f are atom_off[f] .. atom_off[f+1]-1 */
    int32_t *Z;                 /* (n_atom_total) nuclear charges */
    double  *pos;               /* (n_atom_total, 3) bohr */
    int32_t *charge;            /* (n_frame) total charge, 0 unless the file says so */
    double  *external_energy;   /* (n_frame) as stored in the file, or NULL */
    double  *external_force;    /* (n_atom_total, 3) as stored, or NULL */
    char     external_unit[32]; /* of the energies: "kcal/mol", "eV", ... or "unknown" */
} ks_frames;

/* Format by content and suffix. Errors name file, line or array, value and limit (KS_ERR_IO, KS_ERR_DATA). */
KS_NODISCARD ks_status ks_frames_read(const char *path, ks_frames **out);
void                   ks_frames_destroy(ks_frames **frames);
/* The frames index[0..n-1], in that order (a copy). */
KS_NODISCARD ks_status ks_frames_select(const ks_frames *in, int64_t n, const int64_t *index, ks_frames **out);

/* A Python slice or index ("5", "0:8", "::100", "-3:") over n items -> indices (caller frees with KS_FREE).
 * An empty selection or a bad spec is KS_ERR_ARG. */
KS_NODISCARD ks_status ks_slice_parse(const char *spec, int64_t n, int64_t **index, int64_t *n_index);

const char *ks_element_symbol(int32_t Z);        /* "H".."Og"; NULL when out of range */
int32_t     ks_element_number(const char *text); /* symbol (any case) or number; 0 when unknown */

#ifdef __cplusplus
}
#endif
#endif
