/* grid_golden.h -- reads tests/fixtures/grid_golden.txt (made by make_grid_golden.py with PySCF) and makes the systems
 * of its cases. For the grid and functional tests; needs ks_test.h. */
#ifndef KS_GRID_GOLDEN_H
#define KS_GRID_GOLDEN_H
#include <string.h>
#include "ops/grid_impl.h"

typedef struct golden_entry {
    char    name[64], key[64];
    int64_t n;
    double *x;
} golden_entry;

/* The file, read once; kept to the end of the program. */
static inline const golden_entry *golden_entries(int *n) {
    static golden_entry entry[600];
    static int          count;
    FILE               *f        = count ? NULL : fopen(KS_TEST_SOURCE_DIR "/tests/fixtures/grid_golden.txt", "r");
    char                name[64] = "", word[64], arg[64];
    while (f && count < 600 && fscanf(f, "%63s %63s", word, arg) == 2) {
        if (!strcmp(word, "case")) {
            memcpy(name, arg, sizeof name);
            continue;
        }
        golden_entry *e = &entry[count++];
        memcpy(e->name, name, sizeof name);
        memcpy(e->key, word, sizeof word);
        e->n = atoll(arg);
        e->x = malloc(sizeof(double) * (size_t)(e->n + 1));
        for (int64_t i = 0; i < e->n; i++)
            if (fscanf(f, "%lf", &e->x[i]) != 1) e->n = i;
    }
    if (f) fclose(f);
    *n = count;
    return entry;
}

/* The values of a key of a case; ends the test when it is not there. Released by free. */
static inline double *golden_array(const char *name, const char *key, int64_t *n) {
    int                 count;
    const golden_entry *e = golden_entries(&count);
    for (int i = 0; i < count; i++)
        if (!strcmp(e[i].name, name) && !strcmp(e[i].key, key)) {
            double *x = malloc(sizeof *x * (size_t)(e[i].n + 1));
            memcpy(x, e[i].x, sizeof *x * (size_t)e[i].n);
            if (n) *n = e[i].n;
            return x;
        }
    printf("FAIL golden case %s: no %s\n", name, key);
    exit(1);
}

static inline double golden_number(const char *name, const char *key) {
    double      *x = golden_array(name, key, NULL);
    const double v = x[0];
    free(x);
    return v;
}

/* A lower triangle as a full symmetric matrix. */
static inline double *golden_matrix(const char *name, const char *key, int64_t n) {
    double *t = golden_array(name, key, NULL), *a = malloc(sizeof *a * (size_t)(n * n));
    for (int64_t i = 0, k = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++, k++) a[i * n + j] = a[j * n + i] = t[k];
    free(t);
    return a;
}

static inline int64_t golden_atoms(const char *name, int32_t Z[8], double pos[24]) {
    int64_t n;
    double *z = golden_array(name, "Z", &n), *p = golden_array(name, "pos", NULL);
    for (int64_t a = 0; a < n; a++) Z[a] = (int32_t)z[a];
    memcpy(pos, p, sizeof *p * (size_t)(3 * n));
    free(z);
    free(p);
    return n;
}

static inline ks_system *golden_system(const char *name, const char *basis_name, double pos[24]) {
    int32_t       Z[8];
    ks_basis     *basis  = NULL;
    ks_system    *sys    = NULL;
    const int64_t n_atom = golden_atoms(name, Z, pos);
    T_OK(ks_basis_load(basis_name, &basis));
    T_OK(ks_system_create(basis, n_atom, Z, &sys));
    ks_basis_destroy(&basis);
    return sys;
}

/* ---- copies in backend memory, and back ---- */

static inline void *golden_put(ks_ctx *ctx, const void *host, size_t bytes) {
    void *b = NULL;
    T_OK(ks_mem_alloc(ctx, bytes, &b));
    if (host) T_OK(ks_mem_to_backend(ctx, b, host, bytes));
    else T_OK(ks_mem_zero(ctx, b, bytes));
    return b;
}
static inline double *golden_get(ks_ctx *ctx, const void *b, int64_t n) { /* released by free */
    double *x = malloc(sizeof *x * (size_t)(n + 1));
    T_OK(ks_mem_to_host(ctx, x, b, sizeof *x * (size_t)n));
    return x;
}
static inline void golden_drop(ks_ctx *ctx, int n, void **b) {
    for (int k = 0; k < n; k++) ks_mem_free(ctx, &b[k]);
}

/* The grid of frames pos (n_frame, n_atom, 3) in the given slots (host memory). */
static inline void golden_build(ks_ctx *ctx, ks_grid *grid, int64_t n_frame, const int32_t *slot, const double *pos,
                                int64_t n_atom) {
    void *b[2] = {golden_put(ctx, slot, sizeof *slot * (size_t)n_frame),
                  golden_put(ctx, pos, sizeof *pos * (size_t)(3 * n_frame * n_atom))};
    T_OK(ks_grid_build(ctx, grid, n_frame, b[0], b[1]));
    golden_drop(ctx, 2, b);
}

/* Features (n_frame, n_feat, n_grid) from internal order, which is the backend's own, to PySCF's, or back. */
static inline void golden_reorder(const ks_grid *grid, int n_feat, int64_t n_frame, const int32_t *slot, int to_pyscf,
                                  const double *from, double *to) {
    const int64_t np = grid->n_point;
    for (int64_t k = 0; k < n_frame * n_feat; k++)
        for (int64_t g = 0; g < np; g++) {
            const int64_t i = grid->point ? grid->point[slot[k / n_feat] * grid->n_pad + g] : g;
            if (to_pyscf) to[k * np + i] = from[k * np + g];
            else to[k * np + g] = from[k * np + i];
        }
}

/* splitmix64 in -1..1 */
static inline double t_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z          = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z          = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1.0;
}
#endif
