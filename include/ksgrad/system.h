/* system.h -- everything that depends on the composition and the basis only, computed once.
 *
 * A system is an ordered list of elements with a basis. Frames of one system share every extent: arrays of a
 * segment are uniform (B, ...), without padding. AO order is PySCF's: by atom, then l, then contraction, then
 * m (p: x, y, z; d: xy, yz, z2, xz, x2-y2); real spherical, normalised. */
#ifndef KS_SYSTEM_H
#define KS_SYSTEM_H
#include <stdint.h>
#include "ksgrad/context.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { KS_L_MAX = 2 }; /* s, p, d; f and above are refused with a message for now */

typedef struct ks_shell {
    int32_t atom;   /* owner */
    int32_t l;      /* angular momentum */
    int32_t n_prim; /* number of primitives */
    int32_t prim;   /* its first primitive in exponent/coef */
    int32_t ao;     /* its first AO; it has 2l+1 */
} ks_shell;

/* Contracted spherical shells (general contractions are stored as several shells).
 * chi_lm(r) = Y_lm(r) sum_k coef[k] exp(-exponent[k] r^2), Y_lm the real solid harmonic r^l Y normalised on the
 * unit sphere (s: 0.28209479177387814; p: 0.4886025119029199 x; d xy: 1.0925484305920792 x y; ...); coef holds
 * the primitive's radial normalisation and makes the contracted AO normalised. */
typedef struct ks_shells {
    int64_t   n_shell, n_prim, n_ao;
    int32_t   l_max;
    ks_shell *shell;    /* (n_shell) */
    double   *exponent; /* (n_prim) bohr^-2 */
    double   *coef;     /* (n_prim) */
} ks_shells;

/* A basis set read from a Gaussian94 file, or a shipped one found by name (case, '-', '*' as written in
 * the literature: "def2-svp", "sto-3g", "6-31g*", "cc-pvdz" when a file is there).
 * Search order: the name as a path, $KSGRAD_BASIS_PATH, the source tree's datasets/basis, the install's share folder,
 * ../share/ksgrad/basis beside the program. */
typedef struct ks_basis ks_basis;
KS_NODISCARD ks_status  ks_basis_load(const char *name_or_path, ks_basis **out);
void                    ks_basis_destroy(ks_basis **basis);
const char             *ks_basis_name(const ks_basis *basis);

typedef struct ks_system {
    int64_t   n_atom;
    int32_t  *Z;           /* (n_atom) */
    int64_t   n_electron;  /* of the neutral molecule; charge belongs to the frame */
    ks_shells basis;       /* the AO basis */
    ks_shells guess;       /* minao functions with non-zero occupation (contracted ANO functions) */
    double   *guess_occ;   /* (guess.n_ao) occupation of each */
    int64_t   n_ao;        /* = basis.n_ao */
    int32_t  *ao_atom;     /* (n_ao) */
    int32_t  *ao_l, *ao_m; /* (n_ao) m as index 0..2l within the shell */
    int32_t  *ao_kind;     /* (n_ao) network vocabulary: one id per (element, AO within the element's basis) */
    int64_t   n_ao_kind; /* vocabulary size over all elements of the basis file that ksgrad supports (H, C, N, O, F) */
    char      formula[64]; /* Hill order, e.g. "C4H4N2O2" */
    char      basis_name[64];
} ks_system;

KS_NODISCARD ks_status ks_system_create(const ks_basis *basis, int64_t n_atom, const int32_t *Z, ks_system **out);
void                   ks_system_destroy(ks_system **system);
int                    ks_system_is_same(const ks_system *system, int64_t n_atom, const int32_t *Z);

/* E_nuc (n_frame) of pos (n_frame, n_atom, 3): sum_{a<b} Z_a Z_b / |R_a - R_b|. Coinciding atoms: KS_ERR_DATA. */
KS_NODISCARD ks_status ks_nuclear_repulsion(const ks_system *system, int64_t n_frame, const double *pos, double *e_nuc);

#ifdef __cplusplus
}
#endif
#endif
