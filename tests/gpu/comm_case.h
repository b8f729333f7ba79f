/* comm_case.h -- ranks on GPUs for test_comm.c and test_comm_one.c: what every transport of the backend must give, and
 * processes to run it in. */
#ifndef KS_COMM_CASE_H
#define KS_COMM_CASE_H
#include <stdint.h>
#include <string.h>
#include "comm/comm_impl.h"
#include "core/backend.h"
#include "ks_test.h"
#include "ksgrad/linalg.h"
#include "ksgrad/rng.h"
#include "op_driver.h"

/* A transport over a context; comm NULL: a single rank. */
typedef struct line {
    ks_ctx             *ctx;
    ks_comm            *comm;
    const ks_transport *t;
    void               *state;
    int                 rank, size;
} line;

enum { GUARD = 16 };

static inline size_t bytes_of(ks_comm_type type) { return ks_comm_type_bytes(type); }

/* Host value i of `rank`: small integers, whose sums are exact in every type and order. */
static inline double value_of(int rank, int64_t i, int turn) { return (double)((i * 7 + 3 * rank + turn) % 9 - 4); }
static inline double sum_of(int size, int64_t i, int turn) {
    double sum = 0.0;
    for (int r = 0; r < size; r++) sum += value_of(r, i, turn);
    return sum;
}

static inline void store(ks_comm_type type, void *x, int64_t i, double v) {
    const float f = (float)v;
    uint32_t    w;
    memcpy(&w, &f, sizeof w);
    if (type == KS_COMM_F64) ((double *)x)[i] = v;
    if (type == KS_COMM_F32) ((float *)x)[i] = f;
    if (type == KS_COMM_BF16) ((uint16_t *)x)[i] = (uint16_t)(w >> 16); /* exact for these values */
}
static inline double load(ks_comm_type type, const void *x, int64_t i) {
    float    f;
    uint32_t w;
    if (type == KS_COMM_F64) return ((const double *)x)[i];
    if (type == KS_COMM_F32) return (double)((const float *)x)[i];
    w = (uint32_t)((const uint16_t *)x)[i] << 16;
    memcpy(&f, &w, sizeof f);
    return (double)f;
}

typedef struct array {
    ks_comm_type type;
    int64_t      n;
    char        *device, *host; /* GUARD elements before and behind */
} array;

static inline char  *at(const array *a) { return a->device + GUARD * bytes_of(a->type); }
static inline size_t whole(const array *a) { return (size_t)(a->n + 2 * GUARD) * bytes_of(a->type); }

static inline array make_array(const line *l, ks_comm_type type, int64_t n) {
    array a = {.type = type, .n = n};
    void *p = NULL;
    T_OK(ks_mem_alloc(l->ctx, whole(&a), &p));
    a.device = p;
    a.host   = malloc(whole(&a));
    for (int64_t i = 0; i < n + 2 * GUARD; i++) store(type, a.host, i, 2.0);
    return a;
}
static inline void put_array(const line *l, const array *a, int rank, int turn) {
    for (int64_t i = 0; i < a->n; i++) store(a->type, a->host, i + GUARD, value_of(rank, i, turn));
    T_OK(ks_mem_to_backend(l->ctx, a->device, a->host, whole(a)));
}
static inline void get_array(const line *l, const array *a) {
    T_OK(ks_mem_to_host(l->ctx, a->host, a->device, whole(a)));
}
static inline int guards_are_kept(const array *a) {
    int bad = 0;
    for (int64_t i = 0; i < GUARD; i++)
        bad += load(a->type, a->host, i) != 2.0 || load(a->type, a->host, i + GUARD + a->n) != 2.0;
    return bad == 0;
}
static inline void free_array(const line *l, array *a) {
    ks_mem_free(l->ctx, (void **)&a->device);
    free(a->host);
}

/* Elements lo..hi-1 are the sums of all ranks. */
static inline int64_t wrong_sums(const line *l, const array *a, int64_t lo, int64_t hi, int turn) {
    int64_t bad = 0;
    for (int64_t i = lo; i < hi; i++) bad += !(load(a->type, a->host, i + GUARD) == sum_of(l->size, i, turn));
    return bad;
}

/* ---- every collective, type and size ---- */

static inline void check_collectives(const line *l, int64_t most) {
    static const int64_t size[]   = {1, 2, 31, 257, 1000, 16384, 16385, 40001};
    static const char   *name[3]  = {"f32", "f64", "bf16"};
    int                  n_checks = ks_t_run;
    for (int type = 0; type < 3; type++)
        for (int k = 0; k < 8; k++) {
            const ks_comm_type t      = (ks_comm_type)type;
            const int64_t      n_each = size[k];
            if (n_each > most) continue;
            array         a  = make_array(l, t, n_each * l->size);
            const int64_t lo = n_each * l->rank, hi = lo + n_each;
            put_array(l, &a, l->rank, k);
            T_OK(l->t->fork(l->state));
            T_OK(l->t->sum(l->state, t, a.n, at(&a)));
            T_OK(l->t->join(l->state));
            get_array(l, &a);
            T_CHECK(wrong_sums(l, &a, 0, a.n, k) == 0 && guards_are_kept(&a), "sum of %lld %s: %lld are wrong",
                    (long long)a.n, name[type], (long long)wrong_sums(l, &a, 0, a.n, k));
            put_array(l, &a, l->rank, k);
            T_OK(l->t->fork(l->state));
            T_OK(l->t->reduce_scatter(l->state, t, n_each, at(&a)));
            T_OK(l->t->join(l->state));
            get_array(l, &a);
            T_CHECK(wrong_sums(l, &a, lo, hi, k) == 0 && guards_are_kept(&a),
                    "reduce-scatter of %lld %s: %lld are wrong", (long long)a.n, name[type],
                    (long long)wrong_sums(l, &a, lo, hi, k));
            T_OK(l->t->fork(l->state));
            T_OK(l->t->all_gather(l->state, t, n_each, at(&a)));
            T_OK(l->t->join(l->state));
            get_array(l, &a);
            T_CHECK(wrong_sums(l, &a, 0, a.n, k) == 0 && guards_are_kept(&a), "all-gather of %lld %s: %lld are wrong",
                    (long long)a.n, name[type], (long long)wrong_sums(l, &a, 0, a.n, k));
            free_array(l, &a);
        }
    T_OK(l->t->sum(l->state, KS_COMM_F32, 0, NULL));
    T_CHECK(ks_t_run - n_checks > 100, "%d checks of collectives", ks_t_run - n_checks);
}

/* Least over the ranks; a NaN of any rank stays. */
static inline void check_min(const line *l) {
    static const int64_t size[] = {1, 5, 1023, 1024, 1025, 2500};
    for (int k = 0; k < 6; k++) {
        array   a   = make_array(l, KS_COMM_F64, size[k]);
        int64_t bad = 0;
        put_array(l, &a, l->rank, k);
        if (l->rank == l->size - 1) store(KS_COMM_F64, a.host, GUARD + size[k] / 2, (double)NAN);
        T_OK(ks_mem_to_backend(l->ctx, a.device, a.host, whole(&a)));
        T_OK(l->t->fork(l->state));
        T_OK(l->t->min(l->state, size[k], (double *)(void *)at(&a)));
        T_OK(l->t->join(l->state));
        get_array(l, &a);
        for (int64_t i = 0; i < size[k]; i++) {
            double least = 9.0;
            for (int r = 0; r < l->size; r++) least = fmin(least, value_of(r, i, k));
            const double got = load(KS_COMM_F64, a.host, i + GUARD);
            bad += i == size[k] / 2 ? !isnan(got) : !(got == least);
        }
        T_CHECK(bad == 0 && guards_are_kept(&a), "least of %lld: %lld are wrong", (long long)size[k], (long long)bad);
        free_array(l, &a);
    }
}

/* ---- order: what is queued before a fork and after a join ---- */

/* y = alpha x + beta y over n doubles, in order of the current stream */
static inline ks_status axpby(const line *l, int64_t n, double alpha, const double *x, double beta, double *y) {
    const ks_term term[2] = {{.x = ks_mats_dense((double *)(uintptr_t)x, 1, n), .alpha = alpha},
                             {.x = ks_mats_dense(y, 1, n), .alpha = beta}};
    return ks_combine(l->ctx, 1, n, 2, term, 0, y);
}

enum { LEN = 304, STEPS = 3 }; /* halves that 1, 2 and 4 ranks share evenly */

/* Three times: x = 2 x; x = sum over ranks; y = y + x, while x goes on: as a step does with its buckets. The end is
 * y = sum_k (2 size)^k ... x, checked by the caller. The sums are forked from different branches. */
static inline ks_status chain(const line *l, double *x, double *y, double *least, int with_fork, int with_join) {
    ks_status st = KS_OK;
    for (int k = 0; k < STEPS; k++) {
        KS_TRY(axpby(l, LEN, 0.0, x, 2.0, x));
        KS_TRY(ks_branch(l->ctx, k)); /* 0: the main stream */
        if (with_fork) KS_TRY(l->t->fork(l->state));
        KS_TRY(l->t->sum(l->state, KS_COMM_F64, LEN / 2, x + LEN / 2)); /* the last bucket first */
        if (with_fork) KS_TRY(l->t->fork(l->state));
        KS_TRY(l->t->reduce_scatter(l->state, KS_COMM_F64, LEN / 2 / l->size, x));
        KS_TRY(l->t->all_gather(l->state, KS_COMM_F64, LEN / 2 / l->size, x));
        KS_TRY(ks_join(l->ctx));
        if (with_join) KS_TRY(l->t->join(l->state));
        KS_TRY(axpby(l, LEN, 1.0, x, 1.0, y));
    }
    if (with_fork) KS_TRY(l->t->fork(l->state));
    KS_TRY(l->t->min(l->state, 3, least));
    if (with_join) KS_TRY(l->t->join(l->state));
    KS_TRY(axpby(l, 3, 0.0, least, 2.0, least));
done:
    return st;
}

typedef struct chain_data {
    double *x, *y, *least;
} chain_data;

static inline void set_chain(const line *l, const chain_data *d, int turn) {
    double host[LEN], zero[LEN] = {0}, least[3] = {l->rank - 1.0, 5.0 - l->rank, turn};
    for (int i = 0; i < LEN; i++) host[i] = value_of(l->rank, i, turn);
    T_OK(ks_mem_to_backend(l->ctx, d->x, host, sizeof host));
    T_OK(ks_mem_to_backend(l->ctx, d->y, zero, sizeof zero));
    T_OK(ks_mem_to_backend(l->ctx, d->least, least, sizeof least));
}
/* number of wrong values */
static inline int wrong_chain(const line *l, const chain_data *d, int turn) {
    double host[LEN], least[3], factor = 0.0, power = 1.0;
    int    bad = 0;
    for (int k = 0; k < STEPS; k++) {
        power *= k ? 2.0 * l->size : 2.0;
        factor += power;
    }
    T_OK(ks_mem_to_host(l->ctx, host, d->y, sizeof host));
    T_OK(ks_mem_to_host(l->ctx, least, d->least, sizeof least));
    for (int i = 0; i < LEN; i++) bad += !(host[i] == factor * sum_of(l->size, i, turn));
    bad += !(least[0] == -2.0) + !(least[1] == 2.0 * (6.0 - l->size)) + !(least[2] == 2.0 * turn);
    return bad;
}

static inline chain_data make_chain(const line *l) {
    chain_data d;
    T_OK(ks_mem_alloc(l->ctx, LEN * sizeof(double), (void **)&d.x));
    T_OK(ks_mem_alloc(l->ctx, LEN * sizeof(double), (void **)&d.y));
    T_OK(ks_mem_alloc(l->ctx, 3 * sizeof(double), (void **)&d.least));
    return d;
}
static inline void free_chain(const line *l, chain_data *d) {
    ks_mem_free(l->ctx, (void **)&d->x);
    ks_mem_free(l->ctx, (void **)&d->y);
    ks_mem_free(l->ctx, (void **)&d->least);
}

static inline void check_order(const line *l, int rounds) {
    chain_data d     = make_chain(l);
    int        wrong = 0;
    for (int r = 0; r < rounds; r++) {
        set_chain(l, &d, r);
        T_OK(chain(l, d.x, d.y, d.least, 1, 1));
        wrong += wrong_chain(l, &d, r);
    }
    T_CHECK(wrong == 0, "%d values of %d rounds are wrong", wrong, rounds);
    free_chain(l, &d);
}

/* Recorded once, replayed with new data; between replays the same without a recording. */
static inline void check_recording(const line *l, int rounds) {
    chain_data d     = make_chain(l);
    ks_graph  *graph = NULL;
    int        wrong = 0;
    set_chain(l, &d, 0);
    T_OK(chain(l, d.x, d.y, d.least, 1, 1)); /* scratch grows here */
    T_CHECK(wrong_chain(l, &d, 0) == 0, "before the recording");
    set_chain(l, &d, 1);
    T_OK(ks_graph_begin(l->ctx));
    T_OK(chain(l, d.x, d.y, d.least, 1, 1));
    T_OK(ks_graph_end(l->ctx, &graph));
    for (int r = 1; r <= rounds; r++) {
        set_chain(l, &d, r);
        if (r % 3 == 0) T_OK(chain(l, d.x, d.y, d.least, 1, 1));
        else T_OK(ks_graph_launch(graph));
        wrong += wrong_chain(l, &d, r);
    }
    T_CHECK(wrong == 0, "%d values of %d replays are wrong", wrong, rounds);
    ks_graph_destroy(&graph);
    /* thrown away in the middle: everything works on */
    T_OK(ks_graph_begin(l->ctx));
    T_OK(l->t->fork(l->state));
    T_OK(l->t->sum(l->state, KS_COMM_F64, LEN, d.x));
    T_OK(ks_graph_end(l->ctx, NULL));
    set_chain(l, &d, 2);
    T_OK(chain(l, d.x, d.y, d.least, 1, 1));
    T_CHECK(wrong_chain(l, &d, 2) == 0, "after a recording that was thrown away");
    free_chain(l, &d);
}
#endif
