/* int_data.h -- reads tests/golden/integrals_<name>.bin (scripts/make_integral_goldens.py) and makes its system. */
#ifndef INT_DATA_H
#define INT_DATA_H
#include <string.h>
#include "ks_test.h"

typedef struct int_data {
    int64_t    n_atom, n_ao, n_eri;
    int32_t   *Z;
    double    *Zd, *pos, *S, *T, *V, *dip, *idx, *val, *M, *J, *K;
    ks_basis  *basis;
    ks_system *sys;
} int_data;

/* 0 when the file is there and whole. */
static int int_data_read(const char *path, int_data *d) {
    static const char *const key[] = {"Z", "pos_bohr", "S", "T", "V", "dip_ints", "eri_idx", "eri_val", "M", "JM", "KM"};
    double **const           dst[] = {&d->Zd, &d->pos, &d->S, &d->T, &d->V, &d->dip, &d->idx, &d->val, &d->M, &d->J, &d->K};
    FILE                    *f     = fopen(path, "rb");
    char                     name[16];
    int64_t                  n, found = 0;
    memset(d, 0, sizeof *d);
    if (!f) return 1;
    while (fread(name, 16, 1, f) == 1 && fread(&n, 8, 1, f) == 1)
        for (int k = 0; k < 11; k++)
            if (!strncmp(name, key[k], 16)) {
                *dst[k] = malloc((size_t)n * sizeof(double));
                if (fread(*dst[k], sizeof(double), (size_t)n, f) == (size_t)n) found++;
                if (k == 0) d->n_atom = n;
                if (k == 7) d->n_eri = n;
            }
    fclose(f);
    if (found != 11) return 1;
    d->Z = malloc((size_t)d->n_atom * sizeof *d->Z);
    for (int64_t i = 0; i < d->n_atom; i++) d->Z[i] = (int32_t)d->Zd[i];
    return 0;
}

static void int_data_open(const char *name, int_data *d) {
    char path[512];
    snprintf(path, sizeof path, KS_TEST_SOURCE_DIR "/tests/golden/integrals_%s.bin", name);
    T_CHECK(int_data_read(path, d) == 0, "%s", path);
    T_OK(ks_basis_load("def2-svp", &d->basis));
    T_OK(ks_system_create(d->basis, d->n_atom, d->Z, &d->sys));
    d->n_ao = d->sys->n_ao;
}

static void int_data_close(int_data *d) {
    double *all[] = {d->Zd, d->pos, d->S, d->T, d->V, d->dip, d->idx, d->val, d->M, d->J, d->K};
    for (int k = 0; k < 11; k++) free(all[k]);
    free(d->Z);
    ks_system_destroy(&d->sys);
    ks_basis_destroy(&d->basis);
}

static inline double max_diff(int64_t n, const double *a, const double *b) {
    double m = 0.0;
    for (int64_t i = 0; i < n; i++) m = !(fabs(a[i] - b[i]) <= m) ? fabs(a[i] - b[i]) : m; /* NaN sticks */
    return m;
}
#endif
