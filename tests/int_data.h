/* int_data.h -- reads tests/golden/integrals_<name>.bin (scripts/make_integral_goldens.py) and makes its system. */
#ifndef INT_DATA_H
#define INT_DATA_H
#include <string.h>
#include "ks_test.h"

enum { INT_KEYS = 14, INT_NEEDED = 11 };

typedef struct int_data {
    int64_t    n_atom, n_ao, n_eri, n_shell, n_prim;
    int32_t   *Z;
    double    *Zd, *pos, *S, *T, *V, *dip, *idx, *val, *M, *J, *K, *shell, *exponent, *coef;
    ks_basis  *basis;
    ks_system *sys;
    ks_shell  *own_shell; /* of a system made from the file's own shells */
} int_data;

/* 0 when the file is there and whole. */
static int int_data_read(const char *path, int_data *d) {
    static const char *const key[INT_KEYS] = {"Z",       "pos_bohr", "S",  "T",  "V",     "dip_ints", "eri_idx",
                                              "eri_val", "M",        "JM", "KM", "shell", "exponent", "coef"};
    double **const           dst[INT_KEYS] = {&d->Zd,  &d->pos, &d->S, &d->T, &d->V,     &d->dip,      &d->idx,
                                              &d->val, &d->M,   &d->J, &d->K, &d->shell, &d->exponent, &d->coef};
    FILE                    *f             = fopen(path, "rb");
    char                     name[16];
    int64_t                  n, found = 0;
    memset(d, 0, sizeof *d);
    if (!f) return 1;
    while (fread(name, 16, 1, f) == 1 && fread(&n, 8, 1, f) == 1)
        for (int k = 0; k < INT_KEYS; k++)
            if (!strncmp(name, key[k], 16)) {
                *dst[k] = malloc((size_t)n * sizeof(double));
                if (fread(*dst[k], sizeof(double), (size_t)n, f) == (size_t)n) found++;
                if (k == 0) d->n_atom = n;
                if (k == 7) d->n_eri = n;
                if (k == 11) d->n_shell = n / 3;
                if (k == 12) d->n_prim = n;
            }
    fclose(f);
    if (found < INT_NEEDED) return 1;
    d->Z = malloc((size_t)d->n_atom * sizeof *d->Z);
    for (int64_t i = 0; i < d->n_atom; i++) d->Z[i] = (int32_t)d->Zd[i];
    return 0;
}

/* A system of given shells (n_shell times atom, l, n_prim), in the given order when order is not NULL; owned by the caller:
 * only what the integrals read. */
static inline void int_data_shells(int_data *d, const int *order) {
    ks_system *sys = calloc(1, sizeof *sys);
    int32_t    ao  = 0;
    d->own_shell   = calloc((size_t)d->n_shell, sizeof *d->own_shell);
    for (int64_t s = 0; s < d->n_shell; s++) {
        const int64_t o    = order ? order[s] : s;
        int32_t       prim = 0;
        for (int64_t k = 0; k < o; k++) prim += (int32_t)d->shell[3 * k + 2];
        d->own_shell[s] =
            (ks_shell){(int32_t)d->shell[3 * o], (int32_t)d->shell[3 * o + 1], (int32_t)d->shell[3 * o + 2], prim, ao};
        ao += 2 * d->own_shell[s].l + 1;
    }
    *sys       = (ks_system){.n_atom = d->n_atom, .Z = d->Z, .n_ao = ao};
    sys->basis = (ks_shells){d->n_shell, d->n_prim, ao, 2, d->own_shell, d->exponent, d->coef};
    d->sys     = sys;
    d->n_ao    = ao;
}

static inline void int_data_open(const char *name, int_data *d) {
    char path[512];
    snprintf(path, sizeof path, KS_TEST_SOURCE_DIR "/tests/golden/integrals_%s.bin", name);
    T_CHECK(int_data_read(path, d) == 0, "%s", path);
    if (d->shell) {
        int_data_shells(d, NULL);
        return;
    }
    T_OK(ks_basis_load("def2-svp", &d->basis));
    T_OK(ks_system_create(d->basis, d->n_atom, d->Z, &d->sys));
    d->n_ao = d->sys->n_ao;
}

static inline void int_data_close(int_data *d) {
    double *all[INT_KEYS] = {d->Zd,  d->pos, d->S, d->T, d->V,     d->dip,      d->idx,
                             d->val, d->M,   d->J, d->K, d->shell, d->exponent, d->coef};
    if (d->shell) {
        free(d->sys);
        free(d->own_shell);
    } else {
        ks_system_destroy(&d->sys);
        ks_basis_destroy(&d->basis);
    }
    for (int k = 0; k < INT_KEYS; k++) free(all[k]);
    free(d->Z);
}

/* Arrays of doubles in backend memory, x NULL: undefined; freed with ks_mem_free. */
static inline double *int_data_put(ks_ctx *ctx, int64_t n, const double *x) {
    double *p = NULL;
    T_OK(ks_mem_alloc(ctx, (size_t)n * sizeof *p, (void **)&p));
    if (x) T_OK(ks_mem_to_backend(ctx, p, x, (size_t)n * sizeof *p));
    return p;
}
static inline void int_data_get(ks_ctx *ctx, int64_t n, const double *p, double *x) {
    T_OK(ks_mem_to_host(ctx, x, p, (size_t)n * sizeof *p));
}

static inline double max_diff(int64_t n, const double *a, const double *b) {
    double m = 0.0;
    for (int64_t i = 0; i < n; i++) m = t_worse(m, fabs(a[i] - b[i]));
    return m;
}
#endif
