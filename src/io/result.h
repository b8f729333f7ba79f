/* result.h -- the HDF5 file of `scf --out` and `predict --out`, written and read back (as a guess, or for eval).
 * Private.
 *
 *   /                   attributes format = "ksgrad-result", schema_version = 1, kind = "scf" | "predict", created_by,
 * source /method             attributes xc, xc_libxc_ids, basis, grid_level, guess, ao_order, conv_energy_Ha,
 * conv_grad, charge... /frames/000012      frame 12 of the geometry file: datasets Z (n_atom), pos_bohr (n_atom,3), E,
 * eps (n), F, P, S, C (n,n; C by columns), dipole (3); attributes converged, cycles, charge, n_electrons hartree, bohr,
 * atomic units; PySCF AO order; float64 little-endian. In a predict file F is the Hamiltonian H that the refinement
 * scheme reports, converged is 0 and cycles is the number of Fock builds. */
#ifndef KS_IO_RESULT_H
#define KS_IO_RESULT_H
#include "ksgrad/batch.h"
#include "ksgrad/geometry.h"

typedef struct ks_result_head {
    const char      *kind;   /* "scf" or "predict" */
    const char      *source; /* geometry file */
    const char      *model;  /* checkpoint of a prediction, or NULL */
    const ks_method *method;
    const char      *basis;
    const char      *guess;                  /* "minao", "core", or a file name */
    const char      *refine;                 /* "anderson, 4 Fock builds", or NULL */
    double           conv_energy, conv_grad; /* of an scf */
} ks_result_head;

typedef struct ks_result_frame {
    int64_t        index; /* frame in the geometry file */
    int64_t        n_atom, n_ao;
    const int32_t *Z;
    const double  *pos; /* (n_atom, 3) bohr */
    int32_t        charge;
    int64_t        n_electron;
    int            converged, cycles;
    double         energy, dipole[3];
    const double  *eps, *F, *P, *S, *C; /* host memory */
} ks_result_frame;

/* Writing: to a temporary file beside path, renamed by ks_result_commit. An existing path is replaced only when it is a
 * result file itself; anything else is KS_ERR_IO and stays as it is. */
typedef struct ks_result ks_result;
KS_NODISCARD ks_status   ks_result_create(const char *path, const ks_result_head *head, ks_result **out);
KS_NODISCARD ks_status   ks_result_add(ks_result *result, const ks_result_frame *frame);
KS_NODISCARD ks_status   ks_result_commit(ks_result **result);
void ks_result_close(ks_result **result); /* uncommitted: the temporary file goes; accepts NULL and &NULL */

/* Reading. ks_result_matrix looks up frame `index`, compares Z and pos (1e-6 bohr) with the given geometry, and reads
 * the first of the datasets named in `names` (comma-separated, e.g. "F,P") into out (n, n); *which is its place in the
 * list. Every mismatch is KS_ERR_DATA naming file, frame and dataset. */
KS_NODISCARD ks_status ks_result_open(const char *path, ks_result **out);
KS_NODISCARD ks_status ks_result_matrix(ks_result *result, int64_t index, int64_t n_atom, const int32_t *Z,
                                        const double *pos, int64_t n, const char *names, double *out, int *which);
#endif
