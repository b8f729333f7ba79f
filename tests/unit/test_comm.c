/* test_comm.c -- exchanges and the TCP transport between 1, 2, 3 and 4 processes: values, order of sums to the
 * last bit, all types and lengths, places, seconds of waiting. What goes wrong is test_comm_failure.c. */
#include "comm/comm_impl.h"
#include "comm_ranks.h"
#include "core/backend.h"
#include "pointwise/bf16.h"

static const double PATIENCE_S = 60; /* a loaded machine; nothing here takes a second */

/* A number that every rank can make of any other: sums whose order shows in the last bits. */
static double number(int rank, int64_t i) {
    uint64_t z = (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u + (uint64_t)rank * 0xbf58476d1ce4e5b9u;
    z          = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z          = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return ldexp((double)(z >> 11) * 0x1p-53 - 0.5, (int)(z % 24));
}

static void fill(ks_comm_type type, int rank, int64_t from, int64_t n, void *x) {
    for (int64_t i = 0; i < n; i++) {
        if (type == KS_COMM_F64) ((double *)x)[i] = number(rank, from + i);
        if (type == KS_COMM_F32) ((float *)x)[i] = (float)number(rank, from + i);
        if (type == KS_COMM_BF16) ((uint16_t *)x)[i] = ks_bf16_bits((float)number(rank, from + i));
    }
}

static float bf16_at(const void *x, int64_t i) {
    const uint32_t u = (uint32_t)((const uint16_t *)x)[i] << 16;
    float          y;
    memcpy(&y, &u, sizeof y);
    return y;
}

/* Element i of the sum in rank order, compared bit by bit. */
static int is_sum(ks_comm_type type, int size, int64_t i, const void *x, int64_t at) {
    double  d = 0;
    float   f = 0;
    uint8_t one[8];
    for (int r = 0; r < size; r++) {
        fill(type, r, i, 1, one);
        double y;
        float  z;
        memcpy(&y, one, 8);
        memcpy(&z, one, 4);
        if (type == KS_COMM_BF16) z = bf16_at(one, 0);
        d = r ? d + y : y;
        f = r ? f + z : z;
    }
    if (type == KS_COMM_F64) return !memcmp((const double *)x + at, &d, 8);
    if (type == KS_COMM_F32) return !memcmp((const float *)x + at, &f, 4);
    return ((const uint16_t *)x)[at] == ks_bf16_bits(f);
}

static ks_status exchanges(world *w, int rank, ks_comm **comm) {
    ks_status st = KS_OK;
    ks_comm  *c  = NULL;
    double    x[300], m[2], most;
    void     *all = NULL;
    size_t    of[MAX_RANKS];
    char     *big = NULL;
    int64_t   lo, hi;
    KS_TRY(meet(w, rank, comm));
    c = *comm;
    T_CHECK(ks_comm_rank(c) == rank && ks_comm_size(c) == w->size, "rank %d of %d", ks_comm_rank(c), ks_comm_size(c));
    T_CHECK(ks_comm_local_rank(c) == rank && ks_comm_local_size(c) == w->size && ks_comm_n_host(c) == 1, "places");
    T_CHECK(ks_comm_host(c, 1)[0] && !strcmp(ks_comm_host(c, 0), ks_comm_host(c, 1)), "hosts");
    T_CHECK(!strcmp(ks_comm_transport(c), "none"), "transport %s", ks_comm_transport(c));
    ks_comm_share(c, 10, &lo, &hi);
    T_CHECK(lo == 10 * rank / w->size && hi == 10 * (rank + 1) / w->size, "share %lld to %lld", (long long)lo,
            (long long)hi);
    KS_TRY(ks_comm_barrier(c, "start"));
    for (int64_t n = 0; n <= 300; n = n * 7 + 1) {
        int good = 1;
        fill(KS_COMM_F64, rank, 0, n, x);
        KS_TRY(ks_comm_host_sum(c, "sum", n, x));
        for (int64_t i = 0; i < n; i++) good &= is_sum(KS_COMM_F64, w->size, i, x, i);
        T_CHECK(good, "sum of %lld numbers in rank order", (long long)n);
    }
    m[0] = number(rank, 3);
    m[1] = rank == 1 ? NAN : (double)rank;
    most = number(0, 3);
    for (int r = 1; r < w->size; r++) most = fmax(most, number(r, 3));
    KS_TRY(ks_comm_host_max(c, "max", 2, m));
    T_CHECK(m[0] == most && isnan(m[1]), "largest %g of %g, NaN %g", m[0], most, m[1]);
    KS_TRY(KS_NEW(big, 3000001));
    for (size_t n = 0; n <= 3000001; n = n * 173 + 1) {
        int good = 1;
        for (size_t i = 0; i < n; i++) big[i] = rank ? 0 : (char)(i * 7);
        KS_TRY(ks_comm_host_bcast(c, "bcast", n, big));
        for (size_t i = 0; i < n; i++) good &= big[i] == (char)(i * 7);
        T_CHECK(good, "bcast of %zu bytes", n);
    }
    {
        double   g[MAX_RANKS * 5] = {0};
        int      good             = 1;
        uint64_t same             = 77;
        fill(KS_COMM_F64, rank, 0, 5, x);
        KS_TRY(ks_comm_host_gather(c, "gather", 5 * sizeof *x, x, g));
        for (int r = 0; r < w->size; r++)
            for (int i = 0; i < 5; i++) good &= g[5 * r + i] == number(r, i);
        T_CHECK(good, "gather");
        KS_TRY(ks_comm_host_gather(c, "nothing", 0, NULL, NULL));
        KS_TRY(ks_comm_check_equal(c, "weights", same));
    }
    for (int turn = 0; turn < 3; turn++) { /* blocks of rank * 0, 1 and 70,001 bytes: rank 0 has none */
        const size_t each = turn == 0 ? 0 : turn == 1 ? 1 : 70001;
        size_t       at   = 0;
        int          good = 1;
        memset(big, 'a' + rank, each * (size_t)rank);
        KS_TRY(ks_comm_host_collect(c, "collect", each * (size_t)rank, big, &all, of));
        if (rank) T_CHECK(!all, "blocks on rank %d", rank);
        for (int r = 0; rank == 0 && r < w->size; at += of[r++]) {
            good &= of[r] == each * (size_t)r;
            for (size_t i = 0; i < of[r] && good; i++) good &= ((char *)all)[at + i] == 'a' + r;
        }
        T_CHECK(good, "collect of %zu bytes each", each);
        ks_host_free(&all);
    }
    T_OK(ks_comm_poll(c));
done:
    ks_host_free(&all);
    KS_FREE(big);
    return st;
}

/* copies: arrays as if in memory of their own, which the host reaches by copying alone. */
static ks_status transport_on(world *w, int rank, ks_comm **comm, int copies) {
    static const int64_t      length[] = {0, 1, 3, 64, 257, 65536, 65537, 131073, 300001};
    static const ks_comm_type types[]  = {KS_COMM_F32, KS_COMM_F64, KS_COMM_BF16};
    ks_status                 st       = KS_OK;
    ks_ctx                   *ctx      = NULL;
    const ks_backend         *real     = NULL;
    ks_backend                other;
    char                     *x    = NULL;
    const ks_ctx_options      one  = {.backend = "cpu", .threads = 1};
    int64_t                   warm = 0;
    KS_TRY(meet(w, rank, comm));
    KS_TRY(ks_ctx_create(&one, &ctx));
    real  = ctx->backend;
    other = *real;
    if (copies) ctx->backend = &other;
    T_CHECK(ks_ctx_is_host(ctx) == !copies, "host memory");
    T_ERR(ks_comm_sum(*comm, KS_COMM_F64, 0, NULL), KS_ERR_ARG); /* no transport yet */
    KS_TRY(ks_comm_attach(*comm, ctx, "tcp"));
    T_CHECK(!strcmp(ks_comm_transport(*comm), "tcp") && !ks_comm_is_queued(*comm), "%s", ks_comm_transport(*comm));
    KS_TRY(KS_NEW(x, 300001 * 8 * w->size));
    warm = ks_alloc_count();
    for (int t = 0; t < 3; t++)
        for (size_t l = 0; l < sizeof length / sizeof *length; l++) {
            const int64_t      n = length[l], bytes = (int64_t)ks_comm_type_bytes(types[t]);
            const ks_comm_type type = types[t];
            int                good = 1;
            fill(type, rank, 0, n, x);
            KS_TRY(ks_comm_fork(*comm));
            KS_TRY(ks_comm_sum(*comm, type, n, x));
            KS_TRY(ks_comm_join(*comm));
            for (int64_t i = 0; i < n; i++) good &= is_sum(type, w->size, i, x, i);
            T_CHECK(good, "sum, type %d, %lld", (int)type, (long long)n);
            fill(type, rank, 0, n * w->size, x);
            KS_TRY(ks_comm_fork(*comm));
            KS_TRY(ks_comm_reduce_scatter(*comm, type, n, x));
            KS_TRY(ks_comm_join(*comm));
            good = 1;
            for (int64_t i = 0; i < n; i++) good &= is_sum(type, w->size, rank * n + i, x, rank * n + i);
            T_CHECK(good, "reduce_scatter, type %d, %lld", (int)type, (long long)n);
            memset(x, 0, (size_t)(n * w->size * bytes));
            fill(type, rank, rank * n, n, x + rank * n * bytes);
            KS_TRY(ks_comm_fork(*comm));
            KS_TRY(ks_comm_all_gather(*comm, type, n, x));
            KS_TRY(ks_comm_join(*comm));
            good = 1;
            for (int r = 0; r < w->size; r++)
                for (int64_t i = 0; i < n && good; i++) {
                    char y[8];
                    fill(type, r, r * n + i, 1, y);
                    good &= !memcmp(x + (r * n + i) * bytes, y, (size_t)bytes);
                }
            T_CHECK(good, "all_gather, type %d, %lld", (int)type, (long long)n);
        }
    {
        double least[3] = {number(rank, 0), rank == w->size - 1 ? NAN : 1, rank == 0 ? NAN : 1}, expect = number(0, 0);
        for (int r = 1; r < w->size; r++) expect = fmin(expect, number(r, 0));
        KS_TRY(ks_comm_min(*comm, 3, least));
        T_CHECK(least[0] == expect && isnan(least[1]) && isnan(least[2]), "least %g %g %g", least[0], least[1],
                least[2]);
    }
    T_CHECK(copies || ks_alloc_count() == warm, "%lld allocations", (long long)(ks_alloc_count() - warm));
    {
        ks_fetch *fetch = NULL;
        double    v     = 3 + rank;
        KS_TRY(ks_fetch_create(ctx, sizeof v, &fetch));
        KS_TRY(ks_fetch_start(fetch, &v, sizeof v));
        KS_TRY(ks_comm_fetch_wait(*comm, fetch, "step", 1));
        T_CHECK(*(const double *)ks_fetch_host(fetch) == 3 + rank, "fetch");
        ks_fetch_destroy(&fetch);
    }
done:
    KS_FREE(x);
    if (real) ctx->backend = real;
    ks_ctx_destroy(&ctx); /* nothing of it is used by what follows */
    return st;
}

static ks_status transport(world *w, int rank, ks_comm **comm) { return transport_on(w, rank, comm, 0); }
static ks_status transport_by_copies(world *w, int rank, ks_comm **comm) { return transport_on(w, rank, comm, 1); }

static ks_status waiting(world *w, int rank, ks_comm **comm) {
    ks_status st = KS_OK;
    double    before;
    KS_TRY(meet(w, rank, comm));
    KS_TRY(ks_comm_barrier(*comm, "start"));
    before = ks_comm_wait_seconds(*comm);
    if (rank == 1) sleep_for(0.4);
    KS_TRY(ks_comm_barrier(*comm, "end"));
    /* it began to sleep no later than rank 0 came out of the first barrier plus what the machine takes for that */
    if (rank != 1)
        T_CHECK(ks_comm_wait_seconds(*comm) - before > 0.2, "waited for %g s", ks_comm_wait_seconds(*comm) - before);
done:
    return st;
}

/* In good order, at different times: nobody takes it for a failure. */
static ks_status one_ends_first(world *w, int rank, ks_comm **comm) {
    ks_status st = KS_OK;
    KS_TRY(meet(w, rank, comm));
    KS_TRY(ks_comm_barrier(*comm, "last"));
    sleep_for(0.15 * ((rank + 1) % w->size)); /* the last rank first, then 0, 1, ... */
    KS_TRY(ks_comm_poll(*comm));
done:
    return st;
}

static void one_rank(void) {
    ks_comm        *c = NULL;
    const ks_launch l = {.size = 1};
    double          x = 4;
    char            all[1];
    void           *blocks = NULL;
    size_t          of[1];
    int64_t         lo, hi;
    T_OK(ks_comm_create(&l, NULL, &c));
    T_CHECK(!c && ks_comm_rank(c) == 0 && ks_comm_size(c) == 1 && ks_comm_n_host(c) == 1, "one rank");
    T_OK(ks_comm_attach(c, NULL, "auto"));
    T_OK(ks_comm_barrier(c, "x"));
    T_OK(ks_comm_host_sum(c, "x", 1, &x));
    T_OK(ks_comm_host_max(c, "x", 1, &x));
    T_OK(ks_comm_host_bcast(c, "x", sizeof x, &x));
    T_OK(ks_comm_sum(c, KS_COMM_F64, 1, &x));
    T_OK(ks_comm_min(c, 1, &x));
    T_OK(ks_comm_fork(c));
    T_OK(ks_comm_join(c));
    T_OK(ks_comm_check_equal(c, "x", 1));
    T_OK(ks_comm_host_gather(c, "x", 1, "a", all));
    T_OK(ks_comm_host_collect(c, "x", 2, "bc", &blocks, of));
    T_CHECK(x == 4 && all[0] == 'a' && of[0] == 2 && !memcmp(blocks, "bc", 2), "unchanged");
    ks_host_free(&blocks);
    ks_comm_share(c, 7, &lo, &hi);
    T_CHECK(lo == 0 && hi == 7 && ks_comm_wait_seconds(c) == 0 && !ks_comm_is_told(c), "all of it");
    T_OK(ks_comm_poll(c));
    ks_comm_fail(c, KS_ERR_DATA, "x");
    ks_comm_destroy(&c);
}

int main(void) {
    int expected = 17; /* one rank */
    one_rank();
    for (int size = 2; size <= 4; size++) {
        static const struct {
            rank_body   body;
            const char *name;
            int         checks; /* of each rank */
        } part[] = {{exchanges, "exchanges", 19},
                    {transport, "transport", 87},
                    {transport_by_copies, "copies", 87},
                    {waiting, "waiting", 0},
                    {one_ends_first, "ends", 0}};
        for (size_t p = 0; p < sizeof part / sizeof *part; p++) {
            world *w = world_new(size, 30);
            start_all(w, part[p].body);
            end_all(w, PATIENCE_S, part[p].name);
            for (int r = 0; r < size; r++) T_STATUS(w, r, KS_OK);
            world_free(w);
            expected += size * (part[p].checks + 2);
        }
        expected += 3 * (size - 1) + (size - 1); /* collect on ranks but 0, waiting on ranks but 1 */
    }
    return t_done("unit.comm", expected);
}
