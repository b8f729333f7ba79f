/* scf_case.h -- molecules, batches and stored answers for the tests of src/scf. */
#ifndef SCF_CASE_H
#define SCF_CASE_H
#include <string.h>
#include "ks_test.h"
#include "ksgrad/ksgrad.h"

/* ---- a pool of frames of one molecule ---- */
typedef struct t_pool {
    ks_basis   *basis;
    ks_system  *sys;
    ks_tensors *ts;
} t_pool;

static inline t_pool t_pool_make(ks_ctx *ctx, const char *basis, const char *xc, int level, int64_t n_atom,
                                 const int32_t *Z, int64_t n_frame, const double *pos, const int32_t *charge) {
    t_pool    p      = {0};
    ks_method method = {.grid_level = level, .guess = KS_GUESS_MINAO, .n_spin = 1};
    int32_t   slot[64];
    for (int i = 0; i < 64; i++) slot[i] = i;
    T_OK(ks_xc_find(xc, &method.xc));
    T_OK(ks_basis_load(basis, &p.basis));
    T_OK(ks_system_create(p.basis, n_atom, Z, &p.sys));
    T_OK(ks_tensors_create(ctx, p.sys, &method, n_frame, &p.ts));
    T_OK(ks_tensors_build(p.ts, n_frame, slot, pos, charge));
    return p;
}
static inline void t_pool_drop(t_pool *p) {
    ks_tensors_destroy(&p->ts);
    ks_system_destroy(&p->sys);
    ks_basis_destroy(&p->basis);
}

/* Water and HCN (bohr), and frames of them moved by up to 0.1 bohr. */
static const int32_t T_WATER_Z[3]   = {8, 1, 1};
static const double  T_WATER_POS[9] = {
     0, 0, 0.2216648744, 0, 1.4309006215, -0.8866594976, 0, -1.4309006215, -0.8866594976};
static const int32_t T_HCN_Z[3]   = {1, 6, 7};
static const double  T_HCN_POS[9] = {0, 0, -2.0220069533, 0.0188972612, 0, 0, 0, 0.0377945225, 2.1731850432};
static inline void   t_moved(const double *ref, int64_t n_atom, int64_t n_frame, uint64_t key, double *pos) {
      for (int64_t i = 0; i < n_frame * n_atom * 3; i++)
        pos[i] = ref[i % (n_atom * 3)] + 0.1 * (2.0 * ks_rng_uniform(key, KS_STREAM_TEST, 7, (uint64_t)i) - 1.0);
}

/* ---- backend arrays ---- */
static inline double *t_dev(ks_ctx *ctx, int64_t n) {
    double *d = NULL;
    T_OK(ks_mem_alloc(ctx, (size_t)n * sizeof *d, (void **)&d));
    T_OK(ks_mem_zero(ctx, d, (size_t)n * sizeof *d));
    return d;
}
static inline void t_put(ks_ctx *ctx, double *d, const double *h, int64_t n) {
    T_OK(ks_mem_to_backend(ctx, d, h, (size_t)n * sizeof *h));
}
static inline void t_get(ks_ctx *ctx, double *h, const double *d, int64_t n) {
    T_OK(ks_mem_to_host(ctx, h, d, (size_t)n * sizeof *h));
}
/* Slots of a segment in backend memory; released by t_drop_slots. */
static inline int32_t *t_slots(ks_ctx *ctx, int64_t n, const int32_t *host) {
    int32_t *d = NULL;
    T_OK(ks_mem_alloc(ctx, (size_t)n * sizeof *d, (void **)&d));
    T_OK(ks_mem_to_backend(ctx, d, host, (size_t)n * sizeof *d));
    return d;
}
static inline double *t_host(int64_t n) { return calloc((size_t)(n ? n : 1), sizeof(double)); }

static inline double t_max_diff(int64_t n, const double *a, const double *b) {
    double worst = 0.0;
    for (int64_t i = 0; i < n; i++) worst = fabs(a[i] - b[i]) <= worst ? worst : fabs(a[i] - b[i]);
    return worst;
}

/* S^1/2 N S^1/2 with symmetric N of normal numbers: a random symmetric matrix of size `scale` in the Loewdin basis,
 * one per frame. */
static inline void t_random_sym(ks_ctx *ctx, const ks_batch *batch, uint64_t key, double scale, double *host) {
    uint64_t at = 0;
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_tensors *ts = batch->segment[s].tensors;
        const int64_t     n = ts->sys->n_ao, nn = n * n;
        double           *half = t_host(nn), *N = t_host(nn), *t = t_host(nn);
        for (int64_t f = 0; f < batch->segment[s].n_frame; f++) {
            double *out = host + ks_batch_mat_offset(batch, s) + f * nn;
            int32_t slot;
            T_OK(ks_mem_to_host(ctx, &slot, batch->segment[s].slot + f, sizeof slot));
            t_get(ctx, half, ts->S_half + slot * nn, nn);
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j <= i; j++)
                    N[i * n + j] = N[j * n + i] = scale * ks_rng_normal(key, KS_STREAM_TEST, 3, at++);
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++) {
                    double v = 0.0;
                    for (int64_t q = 0; q < n; q++) v += half[i * n + q] * N[q * n + j];
                    t[i * n + j] = v;
                }
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++) {
                    double v = 0.0;
                    for (int64_t q = 0; q < n; q++) v += t[i * n + q] * half[q * n + j];
                    out[i * n + j] = v;
                }
        }
        free(half), free(N), free(t);
    }
}

/* ---- stored answers: tests/fixtures/refine_golden.txt (see make_refine_golden.py) ---- */
enum { T_GOLD_KEYS = 64 };
typedef struct t_gold {
    int     n_key;
    char    key[T_GOLD_KEYS][32], text[T_GOLD_KEYS][32];
    int64_t n[T_GOLD_KEYS];
    double *v[T_GOLD_KEYS];
} t_gold;

/* Reads the next case; 0 at the end of the file. */
static inline int t_gold_next(FILE *f, t_gold *g) {
    char key[32];
    long n;
    memset(g, 0, sizeof *g);
    while (fscanf(f, " %31s", key) == 1) {
        if (key[0] == '#') {
            while (fgetc(f) != '\n') continue;
            continue;
        }
        if (fscanf(f, " %ld", &n) != 1) return 0;
        if (!strcmp(key, "case")) {
            if (g->n_key) {
                fseek(f, -(long)strlen("case 0"), SEEK_CUR);
                return 1;
            }
            continue;
        }
        const int k = g->n_key++;
        if (k >= T_GOLD_KEYS) return 0;
        snprintf(g->key[k], sizeof g->key[k], "%s", key);
        g->n[k] = n;
        g->v[k] = t_host(n);
        if (!strcmp(key, "name") || !strcmp(key, "basis") || !strcmp(key, "xc")) {
            if (fscanf(f, " %31s", g->text[k]) != 1) return 0;
        } else {
            for (long i = 0; i < n; i++)
                if (fscanf(f, "%lf", &g->v[k][i]) != 1) return 0;
        }
    }
    return g->n_key > 0;
}
static inline void t_gold_drop(t_gold *g) {
    for (int k = 0; k < g->n_key; k++) free(g->v[k]);
}
static inline int t_gold_find(const t_gold *g, const char *key) {
    for (int k = 0; k < g->n_key; k++)
        if (!strcmp(g->key[k], key)) return k;
    printf("FAIL no key %s in the golden file\n", key);
    exit(1);
}
static inline const double *t_gold_get(const t_gold *g, const char *key) { return g->v[t_gold_find(g, key)]; }
static inline const char   *t_gold_text(const t_gold *g, const char *key) { return g->text[t_gold_find(g, key)]; }

#endif
