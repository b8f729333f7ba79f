/* basis.h -- inside of ks_basis: contracted shells of each element of a Gaussian94 file (private to src/chem). */
#ifndef KS_CHEM_BASIS_H
#define KS_CHEM_BASIS_H
#include "ksgrad/system.h"

enum { KS_BASIS_Z_MAX = 118 };

typedef struct ks_basis_shell {
    int32_t Z, l, n_prim;
    int32_t order;     /* position in the file: keeps equal l of an element in file order */
    int64_t prim;      /* first primitive */
    double  electrons; /* of the whole shell, from the shell line's "electrons=" (minao.gbs); 0 when not given */
} ks_basis_shell;

/* What is read from one file. Shells are sorted by (Z, l, order); coef is normalised as ks_shells wants it. */
typedef struct ks_basis_table {
    char           *path;
    int64_t         n_shell, n_prim, cap_shell, cap_prim;
    ks_basis_shell *shell;
    double         *exponent, *coef;
    int64_t         first[KS_BASIS_Z_MAX + 2];        /* shells of element Z: first[Z] .. first[Z+1]-1 */
    int32_t         header_line[KS_BASIS_Z_MAX + 1];  /* line of the element's header, 0: not in the file */
    int32_t         refused_line[KS_BASIS_Z_MAX + 1]; /* line of a shell ksgrad cannot use, 0: none */
    char            refused_what[KS_BASIS_Z_MAX + 1][32];
} ks_basis_table;

struct ks_basis {
    char           name[64];
    ks_basis_table ao, guess; /* the basis itself; the minao functions of the initial guess */
};

/* Elements ksgrad works with, ascending: the network vocabulary is made over these. */
extern const int32_t ks_supported_elements[];
extern const int     ks_n_supported_elements;

/* KS_ERR_DATA when Z is not in the table, KS_ERR_UNSUPPORTED when it has a shell or core potential we cannot use. */
KS_NODISCARD ks_status ks_basis_table_check(const ks_basis_table *table, int32_t Z);
#endif
