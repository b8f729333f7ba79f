/* test_transport.c -- the data plane between ranks, to be started by a launcher: test_transport [TRANSPORT].
 *
 * Every rank can make the input of every other, so each compares all results bit by bit with sums that it has made
 * itself in rank order: right values, the same on all ranks, the same at every run. */
#include <string.h>
#include <time.h>
#include "comm/transport.h"
#include "ks_test.h"
#include "pointwise/bf16.h"

enum { GUARD = 64, MAX_RANK = 64 };

static ks_comm *comm;
static int      rank, size;

/* ---- inputs and references ---- */

static double value(int r, int64_t i, int seed) {
    uint64_t h = (uint64_t)i * 0x9e3779b97f4a7c15u + (uint64_t)(r + 1) * 0xbf58476d1ce4e5b9u +
                 (uint64_t)seed * 0x94d049bb133111ebu;
    h ^= h >> 31;
    h *= 0xd6e8feb86659fd93u;
    h ^= h >> 29;
    const double x = (double)(h >> 11) / 9007199254740992.0 - 0.5;
    return h % 7 ? x : 1e6 * x; /* rounding must matter: another order would give other bits */
}
static void put(ks_comm_type type, void *x, int64_t at, double v) {
    if (type == KS_COMM_F64) ((double *)x)[at] = v;
    else if (type == KS_COMM_F32) ((float *)x)[at] = (float)v;
    else ((uint16_t *)x)[at] = ks_bf16_bits((float)v);
}
static double get(ks_comm_type type, const void *x, int64_t at) {
    if (type == KS_COMM_F64) return ((const double *)x)[at];
    if (type == KS_COMM_F32) return ((const float *)x)[at];
    const uint32_t u = (uint32_t)((const uint16_t *)x)[at] << 16;
    float          f;
    memcpy(&f, &u, sizeof f);
    return f;
}
/* What a rank puts in, as the type has it. */
static double input(ks_comm_type type, int r, int64_t i, int seed) {
    double word = 0;
    put(type, &word, 0, value(r, i, seed));
    return get(type, &word, 0);
}
static double expected_sum(ks_comm_type type, int64_t i, int seed) {
    double d = input(type, 0, i, seed), word = 0;
    float  f = (float)d;
    for (int r = 1; r < size; r++) {
        d += input(type, r, i, seed);
        f += (float)input(type, r, i, seed);
    }
    if (type == KS_COMM_F64) return d;
    put(type, &word, 0, (double)f);
    return get(type, &word, 0);
}

/* ---- arrays between guards ---- */

typedef struct guarded {
    unsigned char *all;
    void          *x;
    size_t         bytes;
} guarded;

static guarded guarded_new(ks_ctx *ctx, ks_comm_type type, int64_t n, int shift) {
    guarded      g      = {0};
    const size_t offset = GUARD + (size_t)shift * ks_comm_type_bytes(type);
    g.bytes             = (size_t)n * ks_comm_type_bytes(type);
    T_OK(ks_mem_alloc(ctx, offset + g.bytes + GUARD, (void **)&g.all));
    g.x = g.all + offset;
    memset(g.all, 0xa5, offset);
    memset((char *)g.x + g.bytes, 0xa5, GUARD);
    return g;
}
static int is_intact(const guarded *g) {
    for (const unsigned char *p = g->all; p < (unsigned char *)g->x; p++)
        if (*p != 0xa5) return 0;
    for (size_t k = 0; k < GUARD; k++)
        if (((unsigned char *)g->x)[g->bytes + k] != 0xa5) return 0;
    return 1;
}

/* A rank comes later than the others, another one each time. */
static void come_late(int turn) {
    const struct timespec nap = {0, 3000000};
    if (size > 1 && turn % size == rank) nanosleep(&nap, NULL);
}

static const char *type_name(ks_comm_type type) {
    return type == KS_COMM_F64 ? "fp64" : type == KS_COMM_F32 ? "fp32" : "bf16";
}

/* ---- the calls ---- */

static void check_sum(ks_ctx *ctx, ks_comm_type type, int64_t n, int turn) {
    guarded g   = guarded_new(ctx, type, n, turn % 3);
    int64_t bad = 0;
    for (int64_t i = 0; i < n; i++) put(type, g.x, i, value(rank, i, turn));
    come_late(turn);
    T_OK(ks_comm_fork(comm));
    T_OK(ks_comm_sum(comm, type, n, g.x));
    T_OK(ks_comm_join(comm));
    for (int64_t i = 0; i < n; i++) bad += !(get(type, g.x, i) == expected_sum(type, i, turn));
    T_CHECK(bad == 0, "rank %d: %lld of %lld %s sums are wrong", rank, (long long)bad, (long long)n, type_name(type));
    T_CHECK(is_intact(&g), "rank %d: written beside %lld %s", rank, (long long)n, type_name(type));
    ks_mem_free(ctx, (void **)&g.all);
}

static void check_halves(ks_ctx *ctx, ks_comm_type type, int64_t n_each, int turn) {
    const int64_t n   = n_each * size;
    guarded       g   = guarded_new(ctx, type, n, 0);
    int64_t       bad = 0;
    for (int64_t i = 0; i < n; i++) put(type, g.x, i, value(rank, i, turn));
    come_late(turn);
    T_OK(ks_comm_fork(comm));
    T_OK(ks_comm_reduce_scatter(comm, type, n_each, g.x));
    T_OK(ks_comm_join(comm));
    for (int64_t i = rank * n_each; i < (rank + 1) * n_each; i++)
        bad += !(get(type, g.x, i) == expected_sum(type, i, turn));
    T_CHECK(bad == 0, "rank %d: %lld of a slice of %lld %s sums are wrong", rank, (long long)bad, (long long)n_each,
            type_name(type));
    for (int64_t i = 0; i < n; i++)
        if (i < rank * n_each || i >= (rank + 1) * n_each) put(type, g.x, i, NAN);
    come_late(turn + 1);
    T_OK(ks_comm_fork(comm));
    T_OK(ks_comm_all_gather(comm, type, n_each, g.x));
    T_OK(ks_comm_join(comm));
    bad = 0;
    for (int64_t i = 0; i < n; i++) bad += !(get(type, g.x, i) == expected_sum(type, i, turn));
    T_CHECK(bad == 0, "rank %d: %lld of %lld gathered %s are wrong", rank, (long long)bad, (long long)n,
            type_name(type));
    T_CHECK(is_intact(&g), "rank %d: written beside %lld x %lld %s", rank, (long long)size, (long long)n_each,
            type_name(type));
    ks_mem_free(ctx, (void **)&g.all);
}

static void check_min(ks_ctx *ctx, int64_t n) {
    guarded g   = guarded_new(ctx, KS_COMM_F64, n, 1);
    double *x   = g.x;
    int64_t bad = 0;
    for (int64_t i = 0; i < n; i++) x[i] = value(rank, i, 5);
    if (n > 2 && rank == size - 1) x[n - 2] = NAN;
    T_OK(ks_comm_fork(comm));
    T_OK(ks_comm_min(comm, n, x));
    T_OK(ks_comm_join(comm));
    for (int64_t i = 0; i < n; i++) {
        double least = value(0, i, 5);
        for (int r = 1; r < size; r++) least = fmin(least, value(r, i, 5));
        if (n > 2 && i == n - 2) bad += !(isnan(x[i]) || x[i] <= least);
        else bad += !(x[i] == least);
    }
    T_CHECK(bad == 0, "rank %d: %lld of %lld least values are wrong", rank, (long long)bad, (long long)n);
    T_CHECK(is_intact(&g), "rank %d: written beside %lld least values", rank, (long long)n);
    ks_mem_free(ctx, (void **)&g.all);
}

/* As in a training step: many calls of all kinds, one join; more of them than any queue has room for. */
static void check_many(ks_ctx *ctx, int n_call) {
    static const int64_t      length[] = {1, 900, 5000, 40000, 3, 2048, 60000, 77};
    static const ks_comm_type type[]   = {KS_COMM_F32, KS_COMM_F64, KS_COMM_BF16};
    int64_t                  *at = NULL, total = 0, bad = 0, before = 0;
    T_OK(KS_NEW(at, n_call + 1));
    for (int k = 0; k < n_call; k++) {
        at[k] = total;
        total += length[k % 8] / (1 + k / 40) + 1;
    }
    at[n_call] = total;
    guarded g  = guarded_new(ctx, KS_COMM_F64, total, 0);
    for (int round = 0; round < 2; round++) {
        for (int k = 0; k < n_call; k++)
            for (int64_t i = 0; i < at[k + 1] - at[k]; i++)
                put(type[k % 3], (double *)g.x + at[k], i, value(rank, i, k));
        if (round == 1) before = ks_alloc_count();
        T_OK(ks_comm_fork(comm));
        for (int k = 0; k < n_call; k++) {
            if (k % 50 == 0) come_late(k / 50);
            const int64_t n = at[k + 1] - at[k];
            double       *x = (double *)g.x + at[k];
            if (k % 3 == 1 && k % 8 == 4) T_OK(ks_comm_min(comm, n, x));
            else T_OK(ks_comm_sum(comm, type[k % 3], n, x));
        }
        T_OK(ks_comm_join(comm));
    }
    T_CHECK(ks_alloc_count() == before, "rank %d: %lld allocations in a warm round", rank,
            (long long)(ks_alloc_count() - before));
    for (int k = 0; k < n_call; k++) {
        for (int64_t i = 0; i < at[k + 1] - at[k]; i++) {
            double want = expected_sum(type[k % 3], i, k);
            if (k % 3 == 1 && k % 8 == 4) {
                want = value(0, i, k);
                for (int r = 1; r < size; r++) want = fmin(want, value(r, i, k));
            }
            bad += !(get(type[k % 3], (double *)g.x + at[k], i) == want);
        }
    }
    T_CHECK(bad == 0, "rank %d: %lld of %lld results of %d calls are wrong", rank, (long long)bad, (long long)total,
            n_call);
    T_CHECK(is_intact(&g), "rank %d: written beside %d arrays", rank, n_call);
    ks_mem_free(ctx, (void **)&g.all);
    KS_FREE(at);
}

int main(int argc, char **argv) {
    static const int64_t length[] = {0, 1, 2, 3, 31, 1024, 1025, 2049, 4099, 65537, 1500001};
    enum { N_LENGTH = sizeof length / sizeof length[0], N_CALL = 300 };
    const ks_launch_options opt    = {.rank = -1, .size = -1, .local_rank = -1};
    ks_ctx                 *ctx    = NULL;
    ks_launch               launch = {0};
    char                    name[80];
    T_OK(ks_launch_detect(&opt, &launch));
    T_OK(ks_comm_create(&launch, &(ks_comm_options){.timeout_s = 60, .config_hash = 7}, &comm));
    T_OK(ks_ctx_create(&(ks_ctx_options){.threads = 1}, &ctx));
    T_OK(ks_comm_attach(comm, ctx, argc > 1 ? argv[1] : "auto"));
    rank = ks_comm_rank(comm);
    size = ks_comm_size(comm);
    if (argc > 1 && size > 1)
        T_CHECK(!strcmp(ks_comm_transport(comm), argv[1]), "transport %s, not %s", ks_comm_transport(comm), argv[1]);
    int turn = 0;
    for (ks_comm_type type = KS_COMM_F32; type <= KS_COMM_BF16; type++)
        for (int k = 0; k < N_LENGTH - (type != KS_COMM_F64); k++) check_sum(ctx, type, length[k], turn++);
    for (ks_comm_type type = KS_COMM_F32; type <= KS_COMM_BF16; type++)
        for (int k = 0; k < N_LENGTH - 1; k++) check_halves(ctx, type, length[k], turn++);
    check_min(ctx, 1);
    check_min(ctx, 5000);
    check_many(ctx, N_CALL);
    ks_comm_destroy(&comm);
    ks_ctx_destroy(&ctx);
    snprintf(name, sizeof name, "transport %s, rank %d of %d", argc > 1 ? argv[1] : "auto", rank, size);
    /* every sum 6 checks, every reduce-scatter and all-gather 10, every least 6, the many N_CALL x 2 and 9 more */
    return t_done(name, (3 * N_LENGTH - 2) * 6 + 3 * (N_LENGTH - 1) * 10 + 2 * 6 + 2 * N_CALL + 9);
}
