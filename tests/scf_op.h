/* scf_op.h -- what the op tests of density, Fock build and refinement share: frames of water in slots that are not in
 * order, as a batch of one segment. */
#ifndef SCF_OP_H
#define SCF_OP_H
#include "scf_case.h"
#include "op_driver.h"

enum { T_WATERS_MAX = 4 };

typedef struct t_waters {
    t_pool     pool;
    int32_t    slot[T_WATERS_MAX]; /* host */
    ks_segment seg;
    ks_batch   batch;
    ks_refine *refine; /* the test's own, or NULL */
} t_waters;

/* Pool of n_slot waters, STO-3G, of which the case takes c->n, the last slot first. dim[0]: AOs. */
static inline t_waters *t_waters_open(t_case *c, const char *xc, int n_slot, uint64_t key) {
    t_waters *s = calloc(1, sizeof *s);
    double    pos[9 * T_WATERS_MAX];
    t_moved(T_WATER_POS, 3, n_slot, key, pos);
    s->pool = t_pool_make(c->ctx, "sto-3g", xc, 0, 3, T_WATER_Z, n_slot, pos, NULL);
    for (int i = 0; i < n_slot; i++) s->slot[i] = n_slot - 1 - i;
    s->seg    = (ks_segment){s->pool.ts, c->n, t_slots(c->ctx, n_slot, s->slot)};
    s->batch  = (ks_batch){1, &s->seg};
    c->user   = s;
    c->dim[0] = s->pool.sys->n_ao;
    return s;
}
static inline void t_waters_drop(t_case *c) {
    t_waters *s = c->user;
    ks_refine_destroy(&s->refine);
    ks_mem_free(c->ctx, (void **)&s->seg.slot);
    t_pool_drop(&s->pool);
    free(s);
}
/* Element i of x, a random number in -1..1, becomes member + noise x of the frame's matrix of the pool, or, with
 * scale, member (1 + scale x of the frame's first element). */
static inline void t_waters_fill(const t_case *c, const double *member, double noise, double scale, double *x) {
    const t_waters *s  = c->user;
    const int64_t   nn = c->dim[0] * c->dim[0];
    double         *f  = t_host(nn);
    for (int64_t b = 0; b < c->n; b++) {
        const double factor = 1.0 + scale * x[b * nn];
        t_get(c->ctx, f, member + s->slot[b] * nn, nn);
        for (int64_t i = 0; i < nn; i++) x[b * nn + i] = factor * f[i] + noise * x[b * nn + i];
    }
    free(f);
}
static inline void t_waters_symmetric(const t_case *c, double *x) {
    const int64_t n = c->dim[0];
    for (int64_t b = 0; b < c->n; b++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i; j++) x[(b * n + i) * n + j] = x[(b * n + j) * n + i];
}
static inline const ks_batch *t_waters_batch(const t_case *c) { return &((const t_waters *)c->user)->batch; }
#endif
