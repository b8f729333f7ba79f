/* Device layer (cuda/device.cu) through the public interface: uploads through the ring, read-back while work is queued,
 * recordings, branches, faults of kernels. Runs on a GPU and on the launcher, which runs streams in every order that
 * their events allow and counts what the host waits for. */
#include <stdint.h>
#include <string.h>
#include "core/backend.h"
#include "emu/launcher.h"
#include "ksgrad/linalg.h"
#include "ks_test.h"
#include "op_driver.h"

__attribute__((weak)) ks_emu_counts ks_emu_count(void); /* of the launcher only */
__attribute__((weak)) void          ks_emu_pretend(int error, int driver_version, int compute_major);

static ks_ctx  *g_ctx;
static uint64_t g_random = 7;

static void *device(size_t bytes) {
    void *p = NULL;
    T_OK(ks_mem_alloc(g_ctx, bytes, &p));
    return p;
}
static void put(double *dst, int64_t n, const double *src) {
    T_OK(ks_mem_to_backend(g_ctx, dst, src, (size_t)n * sizeof(double)));
}
static double get(const double *src) {
    double v = 0.0;
    T_OK(ks_mem_to_host(g_ctx, &v, src, sizeof v));
    return v;
}

/* x = a x + b y over n doubles; y may be x. */
static ks_status axpby(int64_t n, double a, double *x, double b, const double *y) {
    const ks_term term[2] = {{.x = ks_mats_dense(x, 1, n), .alpha = a}, {.x = ks_mats_dense(y, 1, n), .alpha = b}};
    return ks_combine(g_ctx, 1, n, 2, term, 0, x);
}

/* ---- uploads ---- */

static unsigned char pattern(size_t k, size_t i) { return (unsigned char)(k * 37 + i * 11 + i / 251); }

/* All are queued before anything is read back, and each source is overwritten as soon as its call returns. */
static void test_uploads(void) {
    enum { N = 16, SMALL = 4000 };
    static const size_t size[N] = {1,     7,       8,       255,     256,     257,     65535,         65536,
                                   65537, 1 << 20, 1048583, 3 << 20, 3 << 19, 1 << 24, (1 << 24) + 1, 40 << 20};
    unsigned char      *host    = malloc((size_t)40 << 20), *dst[N], *many;
    int                 wrong   = 0;
    for (int k = 0; k < N; k++) dst[k] = device(size[k]);
    for (size_t k = 0; k < N; k++) {
        for (size_t i = 0; i < size[k]; i++) host[i] = pattern(k, i);
        T_OK(ks_mem_to_backend(g_ctx, dst[k], host, size[k]));
        memset(host, 0x55, size[k]);
    }
    for (size_t k = 0; k < N; k++) {
        int bad = 0;
        T_OK(ks_mem_to_host(g_ctx, host, dst[k], size[k]));
        for (size_t i = 0; i < size[k]; i++) bad += host[i] != pattern(k, i);
        T_CHECK(bad == 0, "%d of %zu bytes are wrong", bad, size[k]);
    }
    /* The ring goes round several times while nothing of it has been copied yet. */
    many = device((size_t)SMALL * 512);
    for (size_t k = 0; k < SMALL; k++) {
        const size_t n = 1 + k * 7 % 512;
        for (size_t i = 0; i < n; i++) host[i] = pattern(k, i);
        if (ks_mem_to_backend(g_ctx, many + 512 * k, host, n) != KS_OK) wrong++;
        memset(host, 0xaa, n);
    }
    T_OK(ks_mem_to_host(g_ctx, host, many, (size_t)SMALL * 512));
    for (size_t k = 0; k < SMALL; k++)
        for (size_t i = 0; i < 1 + k * 7 % 512; i++) wrong += host[512 * k + i] != pattern(k, i);
    T_CHECK(wrong == 0, "%d bytes of small uploads are wrong", wrong);
    for (int k = 0; k < N; k++) ks_mem_free(g_ctx, (void **)&dst[k]);
    ks_mem_free(g_ctx, (void **)&many);
    free(host);
}

/* Uploads of several branches share the ring: what one branch has not copied yet must not be overwritten by another. */
static void test_uploads_of_branches(void) {
    enum { PER = 15, BYTES = 20000 };
    unsigned char *host  = malloc(BYTES), *dst[4 * PER];
    int            wrong = 0;
    for (int k = 0; k < 4 * PER; k++) dst[k] = device(BYTES);
    for (int round = 0; round < 10; round++) {
        for (size_t k = 0; k < 4 * PER; k++) {
            T_OK(ks_branch(g_ctx, (int64_t)k * 7 % 4));
            for (size_t i = 0; i < BYTES; i++) host[i] = pattern(k + (size_t)round, i);
            T_OK(ks_mem_to_backend(g_ctx, dst[k], host, BYTES));
        }
        T_OK(ks_join(g_ctx));
        for (size_t k = 0; k < 4 * PER; k++) {
            T_OK(ks_mem_to_host(g_ctx, host, dst[k], BYTES));
            for (size_t i = 0; i < BYTES; i++) wrong += host[i] != pattern(k + (size_t)round, i);
        }
    }
    T_CHECK(wrong == 0, "%d bytes uploaded by branches are wrong", wrong);
    for (int k = 0; k < 4 * PER; k++) ks_mem_free(g_ctx, (void **)&dst[k]);
    free(host);
}

/* An upload lies between the work queued before and after it. */
static void test_order(void) {
    double *x = device(sizeof *x), *y = device(sizeof *y), v = 3.0;
    put(x, 1, &v);
    T_OK(ks_mem_zero(g_ctx, y, sizeof *y));
    T_OK(axpby(1, 1.0, y, 1.0, x)); /* y = 3 */
    v = 5.0;
    put(x, 1, &v);
    T_OK(axpby(1, 10.0, y, 1.0, x)); /* y = 35 */
    v = -1.0;
    put(x, 1, &v);
    T_CLOSE(get(y), 35.0, 0.0, 0.0);
    T_CLOSE(get(x), -1.0, 0.0, 0.0);
    ks_mem_free(g_ctx, (void **)&x);
    ks_mem_free(g_ctx, (void **)&y);
}

/* ---- read-back ---- */

static void test_fetch(void) {
    enum { N = 1000 };
    double   *x = device(N * sizeof *x), host[N];
    ks_fetch *a = NULL, *b = NULL;
    for (int i = 0; i < N; i++) host[i] = i;
    T_OK(ks_fetch_create(g_ctx, sizeof host, &a));
    T_OK(ks_fetch_create(g_ctx, sizeof host, &b));
    put(x, N, host);
    int wrong = 0;
    for (int round = 0; round < 20; round++) { /* x doubles between the two copies, and after them */
        T_OK(ks_fetch_start(a, x, sizeof host));
        T_OK(axpby(N, 1.0, x, 1.0, x));
        T_OK(ks_fetch_start(b, x, sizeof host / 2));
        T_OK(axpby(N, 1.0, x, 1.0, x));
        T_OK(ks_fetch_wait(round % 2 ? b : a));
        T_OK(ks_fetch_wait(round % 2 ? a : b));
        const double *ha = ks_fetch_host(a), *hb = ks_fetch_host(b);
        for (int i = 0; i < N; i++) wrong += ha[i] != ldexp(i, 2 * round);
        for (int i = 0; i < N / 2; i++) wrong += hb[i] != ldexp(i, 2 * round + 1);
    }
    T_CHECK(wrong == 0, "%d values are not those of the moment of the call", wrong);
    T_CLOSE(get(x + 1), ldexp(1, 40), 0.0, 0.0);
    T_ERR(ks_fetch_start(a, x, sizeof host + 1), KS_ERR_ARG);
    for (int round = 0; round < 20; round++) { /* asking disturbs nothing */
        int ready = 0;
        T_OK(ks_fetch_start(a, x, sizeof host));
        T_OK(ks_fetch_is_ready(a, &ready));
        T_OK(axpby(N, 1.0, x, 0.0, x));
        while (!ready) T_OK(ks_fetch_is_ready(a, &ready));
        T_OK(ks_fetch_wait(a));
    }
    T_OK(ks_fetch_start(a, x, sizeof host));
    ks_fetch_destroy(&a); /* on its way */
    ks_fetch_destroy(&b);
    ks_mem_free(g_ctx, (void **)&x);
}

/* ---- branches ---- */

enum { PIECES = 7, LEN = 33 };

/* sum = sum of all elements of x after x_k = (k + 2) x_k + 1 (through scratch), pieces side by side. */
static ks_status pieces(double *x, const double *one, double *sum) {
    ks_status st = KS_OK;
    KS_TRY(axpby(PIECES * LEN, 2.0, x, 0.0, x)); /* before the fork */
    for (int k = 0; k < PIECES; k++) {
        double *tmp = NULL;
        KS_TRY(ks_branch(g_ctx, k));
        ks_arena           *scratch = ks_ctx_scratch(g_ctx);
        const ks_arena_mark mark    = ks_arena_get_mark(scratch);
        KS_TRY(KS_TAKE(scratch, tmp, LEN));
        KS_TRY(ks_mem_zero(g_ctx, tmp, LEN * sizeof *tmp));
        for (int i = 0; i < k + 2; i++) KS_TRY(axpby(LEN, 1.0, tmp, 0.5, x + LEN * k));
        KS_TRY(axpby(LEN, 1.0, tmp, 1.0, one));
        KS_TRY(axpby(LEN, 0.0, x + LEN * k, 1.0, tmp));
        ks_arena_release(scratch, mark);
    }
    KS_TRY(ks_join(g_ctx));
    KS_TRY(ks_dot(g_ctx, 1, PIECES * LEN, 1.0, ks_mats_dense(x, 1, PIECES * LEN), ks_mats_dense(one, 1, PIECES * LEN),
                  0, sum, 1));
    KS_TRY(axpby(PIECES * LEN, 0.0, x, 1.0, one)); /* too early, it would spoil what a late branch reads */
done:
    return st;
}

static double pieces_on_host(const double *x) {
    double sum = 0.0;
    for (int i = 0; i < PIECES * LEN; i++) sum += (i / LEN + 2) * x[i] + 1.0;
    return sum;
}

static void random_integers(double *x, int64_t n) { /* sums are exact in any order */
    for (int64_t i = 0; i < n; i++) {
        g_random = g_random * 6364136223846793005u + 1442695040888963407u;
        x[i]     = (double)(g_random >> 50);
    }
}

static void test_branches(int rounds) {
    double *x = device(PIECES * LEN * sizeof *x), *one = device(PIECES * LEN * sizeof *one), *sum = device(sizeof *sum);
    double  host[PIECES * LEN];
    int     wrong = 0;
    for (int i = 0; i < PIECES * LEN; i++) host[i] = 1.0;
    put(one, PIECES * LEN, host);
    for (int r = 0; r < rounds; r++) {
        random_integers(host, PIECES * LEN);
        put(x, PIECES * LEN, host);
        T_OK(pieces(x, one, sum));
        wrong += !(get(sum) == pieces_on_host(host));
    }
    T_CHECK(wrong == 0, "%d of %d sums over branches are wrong", wrong, rounds);
    ks_mem_free(g_ctx, (void **)&x);
    ks_mem_free(g_ctx, (void **)&one);
    ks_mem_free(g_ctx, (void **)&sum);
}

/* ---- recordings ---- */

static void test_graphs(void) {
    double *x = device(PIECES * LEN * sizeof *x), *one = device(PIECES * LEN * sizeof *one), *sum = device(sizeof *sum);
    double  host[PIECES * LEN], v = 0.0;
    void   *p       = NULL;
    ks_graph *graph = NULL, *other = NULL;
    ks_fetch *fetch = NULL;
    int       wrong = 0;
    T_CHECK(ks_ctx_has_graphs(g_ctx), "no recordings");
    for (int i = 0; i < PIECES * LEN; i++) host[i] = 1.0;
    put(one, PIECES * LEN, host);
    put(x, PIECES * LEN, host);
    T_OK(pieces(x, one, sum)); /* scratch grows here */
    T_OK(ks_mem_zero(g_ctx, sum, sizeof *sum));
    T_OK(ks_graph_begin(g_ctx));
    T_OK(pieces(x, one, sum));
    T_OK(ks_graph_end(g_ctx, &graph));
    T_CLOSE(get(sum), 0.0, 0.0, 0.0); /* recorded, not run */
    for (int r = 0; r < 20; r++) {
        random_integers(host, PIECES * LEN);
        put(x, PIECES * LEN, host);
        T_OK(ks_graph_launch(graph));
        wrong += !(get(sum) == pieces_on_host(host));
    }
    T_CHECK(wrong == 0, "%d of 20 replays are wrong", wrong);

    /* What cannot be recorded is refused; the recording can be thrown away and everything works on. */
    T_OK(ks_fetch_create(g_ctx, sizeof v, &fetch));
    T_OK(ks_graph_begin(g_ctx));
    T_OK(axpby(LEN, 2.0, x, 0.0, x));
    T_ERR(ks_mem_to_backend(g_ctx, x, &v, sizeof v), KS_ERR_CUDA);
    T_ERR(ks_mem_to_host(g_ctx, &v, x, sizeof v), KS_ERR_CUDA);
    T_ERR(ks_mem_alloc(g_ctx, 64, &p), KS_ERR_CUDA);
    T_ERR(ks_sync(g_ctx), KS_ERR_CUDA);
    T_ERR(ks_fetch_start(fetch, x, sizeof v), KS_ERR_CUDA);
    T_ERR(ks_graph_begin(g_ctx), KS_ERR_CUDA);
    T_ERR(ks_graph_launch(graph), KS_ERR_CUDA);
    T_OK(ks_branch(g_ctx, 1)); /* an error in the middle of a branch */
    T_OK(ks_graph_end(g_ctx, NULL));
    T_ERR(ks_graph_end(g_ctx, &other), KS_ERR_CUDA);
    T_CHECK(!other, "a recording out of nothing");
    T_OK(ks_join(g_ctx));
    random_integers(host, PIECES * LEN);
    put(x, PIECES * LEN, host);
    T_OK(ks_graph_launch(graph));
    T_CLOSE(get(sum), pieces_on_host(host), 0.0, 0.0);
    T_OK(ks_branch(g_ctx, 1));
    if (g_ctx->n_branch > 1) T_ERR(ks_graph_begin(g_ctx), KS_ERR_CUDA);
    T_OK(ks_join(g_ctx));
    ks_graph_destroy(&graph);
    ks_fetch_destroy(&fetch);
    ks_mem_free(g_ctx, (void **)&x);
    ks_mem_free(g_ctx, (void **)&one);
    ks_mem_free(g_ctx, (void **)&sum);
}

/* ---- faults ---- */

enum { DIM = 3, FRAMES = 4 };

/* (FRAMES, DIM, DIM): unit matrices but for frame `bad`, which has the eigenvalue `low`. */
static double *matrices(int bad, double low) {
    double  host[FRAMES * DIM * DIM] = {0.0};
    double *m                        = device(sizeof host);
    for (int f = 0; f < FRAMES; f++)
        for (int i = 0; i < DIM; i++) host[(f * DIM + i) * DIM + i] = f == bad && i == 1 ? low : 1.0;
    put(m, FRAMES * DIM * DIM, host);
    return m;
}

static void expect_fault(ks_status got, ks_status want, const char *text) {
    T_ERR(got, want);
    T_CHECK(strstr(ks_error_message(), text), "'%s' does not name '%s'", ks_error_message(), text);
    ks_error_clear();
}

static void test_faults(void) {
    double   *good = matrices(-1, 1.0), *thin = matrices(2, 1e-10), *indefinite = matrices(1, -1.0);
    double   *s = device(FRAMES * DIM * DIM * sizeof *s), *x = device(FRAMES * DIM * DIM * sizeof *x);
    ks_fetch *fetch = NULL;
    T_OK(ks_fetch_create(g_ctx, sizeof *x, &fetch));
    T_OK(ks_sync(g_ctx));
    T_OK(ks_lowdin(g_ctx, FRAMES, DIM, good, 10, s, x));
    T_OK(ks_sync(g_ctx));
    T_OK(ks_lowdin(g_ctx, FRAMES, DIM, thin, 10, s, x));
    expect_fault(ks_sync(g_ctx), KS_ERR_DATA, "frame 12");
    T_OK(ks_sync(g_ctx)); /* reported once */
    T_CHECK(isnan(get(x + 2 * DIM * DIM)), "the frame at fault has a result");
    T_CLOSE(get(x + 3 * DIM * DIM), 1.0, 1e-12, 0.0); /* the others are computed */

    T_OK(ks_chol_solve(g_ctx, FRAMES, DIM, DIM, indefinite, good, x));
    expect_fault(ks_sync(g_ctx), KS_ERR_NUMERIC, "frame 1:");
    T_OK(ks_chol_solve(g_ctx, FRAMES, DIM, DIM, indefinite, good, x));
    T_OK(ks_lowdin(g_ctx, FRAMES, DIM, thin, 100, s, x));
    T_OK(ks_lowdin(g_ctx, FRAMES, DIM, thin, 10, s, x));
    expect_fault(ks_sync(g_ctx), KS_ERR_DATA, "frame 12"); /* the smallest of three */
    T_OK(ks_sync(g_ctx));

    /* A read-back reports what was met before it was started, the next one the rest. */
    T_OK(ks_chol_solve(g_ctx, FRAMES, DIM, DIM, indefinite, good, x));
    T_OK(ks_fetch_start(fetch, x, sizeof *x));
    T_OK(ks_lowdin(g_ctx, FRAMES, DIM, thin, 20, s, x));
    expect_fault(ks_fetch_wait(fetch), KS_ERR_NUMERIC, "frame 1:");
    T_OK(ks_fetch_start(fetch, x, sizeof *x));
    expect_fault(ks_fetch_wait(fetch), KS_ERR_DATA, "frame 22");
    T_OK(ks_fetch_start(fetch, x, sizeof *x));
    T_OK(ks_fetch_wait(fetch));
    T_OK(ks_chol_solve(g_ctx, FRAMES, DIM, DIM, indefinite, good, x));
    T_OK(ks_fetch_start(fetch, x, sizeof *x));
    T_OK(ks_fetch_start(fetch, x, sizeof *x)); /* started again without a wait: nothing is lost */
    expect_fault(ks_fetch_wait(fetch), KS_ERR_NUMERIC, "frame 1:");
    for (int r = 0; r < 8; r++) { /* of a branch that is not joined */
        T_OK(ks_branch(g_ctx, 1));
        T_OK(ks_chol_solve(g_ctx, FRAMES, DIM, DIM, indefinite, good, x));
        expect_fault(ks_sync(g_ctx), KS_ERR_NUMERIC, "frame 1:");
        T_OK(ks_join(g_ctx));
    }
    T_OK(ks_sync(g_ctx));
    ks_fetch_destroy(&fetch);
    ks_mem_free(g_ctx, (void **)&good);
    ks_mem_free(g_ctx, (void **)&thin);
    ks_mem_free(g_ctx, (void **)&indefinite);
    ks_mem_free(g_ctx, (void **)&s);
    ks_mem_free(g_ctx, (void **)&x);
}

/* ---- memory, counts ---- */

static void test_memory(void) {
    const int64_t before = ks_mem_available(g_ctx);
    void         *p = device(64 << 20), *q = NULL;
    const int64_t taken = before - ks_mem_available(g_ctx);
    T_CHECK(before > 0 && taken >= 64 << 20 && taken < 80 << 20, "64 MiB take %lld of %lld bytes", (long long)taken,
            (long long)before);
    T_ERR(ks_mem_alloc(g_ctx, (size_t)before * 2, &q), KS_ERR_NOMEM);
    T_CHECK(!q && strstr(ks_error_message(), "device memory"), "'%s'", ks_error_message());
    ks_error_clear();
    T_OK(axpby(1, 1.0, p, 0.0, p)); /* the failed allocation does not stick to the next launch */
    T_OK(ks_sync(g_ctx));
    ks_mem_free(g_ctx, &p);
}

/* What a step of the trainer does: small uploads, work, one read-back. The host waits for the read-back alone. */
static void test_warm_step(void) {
    double *x = device(PIECES * LEN * sizeof *x), *one = device(PIECES * LEN * sizeof *one), *sum = device(sizeof *sum);
    double  host[PIECES * LEN];
    ks_fetch     *fetch = NULL;
    ks_emu_counts a = {0}, b = {0};
    for (int i = 0; i < PIECES * LEN; i++) host[i] = 1.0;
    put(one, PIECES * LEN, host);
    T_OK(ks_fetch_create(g_ctx, sizeof *sum, &fetch));
    for (int step = 0; step < 3; step++) {
        if (step == 1 && ks_emu_count) a = ks_emu_count();
        const int64_t allocations = ks_alloc_count();
        put(x, PIECES * LEN, host);
        T_OK(pieces(x, one, sum));
        T_OK(ks_fetch_start(fetch, sum, sizeof *sum));
        T_OK(ks_fetch_wait(fetch));
        T_CLOSE(*(const double *)ks_fetch_host(fetch), pieces_on_host(host), 0.0, 0.0);
        T_CHECK(step == 0 || ks_alloc_count() == allocations, "step %d allocates", step);
    }
    if (ks_emu_count) b = ks_emu_count();
    T_CHECK(b.waits == a.waits && b.allocations == a.allocations && b.frees == a.frees,
            "two warm steps: %lld waits, %lld allocations, %lld frees", (long long)(b.waits - a.waits),
            (long long)(b.allocations - a.allocations), (long long)(b.frees - a.frees));
    T_CHECK(!ks_emu_count || (b.event_waits - a.event_waits == 2 && b.copies_in - a.copies_in == 2 &&
                              b.copies_out - a.copies_out == 2),
            "two warm steps: %lld event waits, %lld copies in, %lld out", (long long)(b.event_waits - a.event_waits),
            (long long)(b.copies_in - a.copies_in), (long long)(b.copies_out - a.copies_out));
    ks_fetch_destroy(&fetch);
    ks_mem_free(g_ctx, (void **)&x);
    ks_mem_free(g_ctx, (void **)&one);
    ks_mem_free(g_ctx, (void **)&sum);
}

/* Why there is no usable GPU, each case with its own remedy; `auto` then takes the CPU. */
static void expect_no_device(int error, int driver, int major, const char *text) {
    ks_ctx        *ctx = NULL;
    ks_ctx_options opt = {.backend = "cuda", .threads = 1};
    ks_emu_pretend(error, driver, major);
    T_ERR(ks_ctx_create(&opt, &ctx), KS_ERR_UNSUPPORTED);
    T_CHECK(strstr(ks_error_message(), "backend cuda: no usable GPU") && strstr(ks_error_message(), text),
            "'%s' does not say '%s'", ks_error_message(), text);
    ks_error_clear();
    opt.backend = "auto";
    T_OK(ks_ctx_create(&opt, &ctx));
    T_CHECK(!strcmp(ks_ctx_backend(ctx), "cpu"), "auto is %s", ks_ctx_backend(ctx));
    ks_ctx_destroy(&ctx);
    ks_emu_pretend(0, 13000, 9);
}

static void test_no_device(void) {
    expect_no_device(35, 0, 9, "driver (libcuda.so.1) is not installed");
    expect_no_device(35, 11040, 9, "made for CUDA 11.4, this program needs 13.0");
    expect_no_device(100, 13000, 9, "lists none");
    expect_no_device(0, 13000, 7, "compute capability 7.0, needed 8.0");
}

int main(int argc, char **argv) {
    t_op_init(argc, argv);
    g_ctx = t_op_ctx(1);
    T_CHECK(g_ctx->n_branch == 4, "%d branches", g_ctx->n_branch);
    test_uploads();
    test_uploads_of_branches();
    test_order();
    test_fetch();
    test_branches(60);
    test_graphs();
    test_faults();
    test_memory();
    test_warm_step();
    ks_ctx_destroy(&g_ctx);

    T_CHECK(setenv("KS_CUDA_STREAMS", "1", 1) == 0, "setenv");
    g_ctx = t_op_ctx(1);
    T_CHECK(g_ctx->n_branch == 1, "KS_CUDA_STREAMS=1: %d branches", g_ctx->n_branch);
    test_branches(3);
    test_graphs();
    ks_ctx_destroy(&g_ctx);
    if (ks_emu_pretend) test_no_device();
    return t_done("device", 1000);
}
