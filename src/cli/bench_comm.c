/* bench_comm.c -- bench comm: what the ranks' connections reach, through the communicator that training uses.
 *
 * Bandwidths as nccl-tests defines them: the algorithm's is bytes / time, the bus's is what that takes on the links, 2
 * (n-1)/n of it for a sum, (n-1)/n for its halves; bytes are those of the whole array. A time is that of the slowest
 * rank, the median of the runs; short calls are timed several at a time. Every call's result is then checked: the
 * inputs are small integers, whose sums are exact in every type. */
#include <stdlib.h>
#include <string.h>
#include "cli/bench.h"

enum { MAX_SIZE = 32, CHUNK = 1 << 18, N_LATENCY = 200, EXACT_BF16 = 256 };

typedef struct comm_bench {
    ks_comm *comm;
    ks_ctx  *ctx;
    int      rank, size;
    int64_t  repeat, warmup;
    void    *x;     /* backend memory, the largest size */
    void    *chunk; /* host, CHUNK items */
    double  *seconds;
} comm_bench;

typedef struct comm_call {
    const char *name;
    ks_status (*run)(ks_comm *comm, ks_comm_type type, int64_t n, void *x);
    int has_slices; /* n is that of one slice */
    int is_sum, is_gather;
} comm_call;

static const comm_call g_call[] = {{"sum", ks_comm_sum, 0, 1, 0},
                                   {"reduce_scatter", ks_comm_reduce_scatter, 1, 1, 0},
                                   {"all_gather", ks_comm_all_gather, 1, 0, 1}};
static const struct {
    ks_comm_type type;
    const char  *name;
} g_type[] = {{KS_COMM_F32, "fp32"}, {KS_COMM_BF16, "bf16"}};

typedef struct comm_time {
    int64_t bytes;
    double  seconds, least, most, algorithm, bus; /* GB/s */
    int64_t wrong;
} comm_time;

/* ---- sizes ---- */

static ks_status parse_sizes(const char *text, int64_t *size, int *n) {
    ks_status st = KS_OK;
    *n           = 0;
    for (const char *p = text; *p;) {
        char     *end   = NULL;
        long long value = strtoll(p, &end, 10);
        int       shift = 0;
        KS_CHECK(*n < MAX_SIZE, KS_ERR_ARG, "--sizes: more than %d", MAX_SIZE);
        if (*end == 'K') shift = 10;
        if (*end == 'M') shift = 20;
        if (*end == 'G') shift = 30;
        end += shift > 0;
        KS_CHECK(end != p && (*end == '\0' || (*end == ',' && end[1])) && value > 0 && value <= INT64_MAX >> 40,
                 KS_ERR_ARG, "--sizes '%s' should be bytes with K, M or G, separated by commas, e.g. 64K,1M,16M", text);
        size[(*n)++] = (int64_t)value << shift;
        p            = end + (*end == ',');
    }
    KS_CHECK(*n > 0, KS_ERR_ARG, "--sizes is empty");
done:
    return st;
}

/* 4 KiB to 256 MiB by factors of 4, in host memory to 64 MiB; no more than a quarter of what the poorest rank has. */
static ks_status default_sizes(comm_bench *b, int64_t *size, int *n) {
    ks_status     st    = KS_OK;
    const int64_t most  = ks_ctx_is_host(b->ctx) ? 64 << 20 : 256 << 20;
    const int     share = ks_ctx_is_host(b->ctx) ? ks_comm_size(b->comm) : 1;
    double room = -0.25 * (double)ks_mem_available(b->ctx) / share; /* the least of all is the largest negative */
    KS_TRY(ks_comm_host_max(b->comm, "bench", 1, &room));
    *n = 0;
    for (int64_t s = 4 << 10; s <= most && (double)s <= -room; s *= 4) size[(*n)++] = s;
    KS_CHECK(*n > 0, KS_ERR_NOMEM, "%.0f bytes of memory are too little for messages of 4 KiB", -room);
done:
    return st;
}

/* ---- inputs and results ---- */

static double input(int rank, int64_t i) { return (double)(1 + (i + rank) % 2); }
/* Item i of a call's array on this rank afterwards; 0: not defined. */
static double expected(const comm_bench *b, const comm_call *c, int64_t n_each, int64_t i) {
    const int64_t owner = c->has_slices ? i / n_each : b->rank;
    double        sum   = 0;
    if (c->is_gather) return input((int)owner, i);
    if (c->has_slices && owner != b->rank) return 0;
    for (int r = 0; r < 2; r++) sum += input(r, i) * (double)((b->size + 1 - r) / 2); /* even ranks, odd ranks */
    return sum;
}

static double item_of(ks_comm_type type, const void *x, int64_t i) {
    if (type == KS_COMM_F32) return ((const float *)x)[i];
    const uint32_t u = (uint32_t)((const uint16_t *)x)[i] << 16;
    float          f;
    memcpy(&f, &u, sizeof f);
    return f;
}
static void set_item(ks_comm_type type, void *x, int64_t i, float value) {
    uint32_t u;
    memcpy(&u, &value, sizeof u);
    if (type == KS_COMM_F32) ((float *)x)[i] = value;
    else ((uint16_t *)x)[i] = (uint16_t)(u >> 16); /* of a small integer: exact */
}

static ks_status check_call(comm_bench *b, const comm_call *c, ks_comm_type type, int64_t n, int64_t *wrong) {
    ks_status     st    = KS_OK;
    const int64_t width = (int64_t)ks_comm_type_bytes(type), n_each = n / b->size;
    char         *x = b->x;
    *wrong          = 0;
    for (int64_t at = 0; at < n; at += CHUNK) {
        const int64_t len = n - at < CHUNK ? n - at : CHUNK;
        for (int64_t i = 0; i < len; i++) set_item(type, b->chunk, i, (float)input(b->rank, at + i));
        KS_TRY(ks_mem_to_backend(b->ctx, x + at * width, b->chunk, (size_t)(len * width)));
    }
    KS_TRY(ks_comm_fork(b->comm));
    KS_TRY(c->run(b->comm, type, c->has_slices ? n_each : n, b->x));
    KS_TRY(ks_comm_join(b->comm));
    for (int64_t at = 0; at < n; at += CHUNK) {
        const int64_t len = n - at < CHUNK ? n - at : CHUNK;
        KS_TRY(ks_mem_to_host(b->ctx, b->chunk, x + at * width, (size_t)(len * width)));
        for (int64_t i = 0; i < len; i++) {
            const double want = expected(b, c, n_each, at + i);
            *wrong += want != 0 && !(item_of(type, b->chunk, i) == want);
        }
    }
    double sum = (double)*wrong;
    KS_TRY(ks_comm_host_sum(b->comm, "bench", 1, &sum));
    *wrong = (int64_t)sum;
done:
    return st;
}

/* ---- times ---- */

static ks_status run_calls(comm_bench *b, const comm_call *c, ks_comm_type type, int64_t n, int64_t times,
                           double *seconds) {
    ks_status st = KS_OK;
    KS_TRY(ks_sync(b->ctx));
    KS_TRY(ks_comm_barrier(b->comm, "bench"));
    const double start = ks_wall_seconds();
    for (int64_t k = 0; k < times; k++) {
        KS_TRY(ks_comm_fork(b->comm));
        KS_TRY(c->run(b->comm, type, n, b->x));
        KS_TRY(ks_comm_join(b->comm));
    }
    KS_TRY(ks_sync(b->ctx));
    *seconds = (ks_wall_seconds() - start) / (double)times;
done:
    return st;
}

static ks_status time_call(comm_bench *b, const comm_call *c, ks_comm_type type, int64_t bytes, comm_time *out) {
    ks_status     st    = KS_OK;
    const int64_t width = (int64_t)ks_comm_type_bytes(type), unit = width * b->size, n_each = (bytes + unit - 1) / unit;
    const int64_t n = n_each * b->size, count = c->has_slices ? n_each : n;
    double        first = 0;
    *out                = (comm_time){.bytes = n * width};
    KS_TRY(ks_mem_zero(b->ctx, b->x, (size_t)(n * width)));
    for (int64_t k = 0; k <= b->warmup; k++) KS_TRY(run_calls(b, c, type, count, 1, &first));
    KS_TRY(ks_comm_host_max(b->comm, "bench", 1, &first)); /* all ranks repeat it as often */
    const int64_t times = first > 2e-3 ? 1 : first > 2e-6 ? (int64_t)(2e-3 / first) : 1000;
    for (int64_t k = 0; k < b->repeat; k++) KS_TRY(run_calls(b, c, type, count, times, b->seconds + k));
    KS_TRY(ks_comm_host_max(b->comm, "bench", b->repeat, b->seconds));
    out->seconds   = bench_median(b->repeat, b->seconds);
    out->least     = b->seconds[0];
    out->most      = b->seconds[b->repeat - 1];
    out->algorithm = 1e-9 * (double)out->bytes / out->seconds;
    out->bus       = out->algorithm * (c->has_slices ? 1 : 2) * (b->size - 1) / b->size;
    if (type == KS_COMM_BF16 && c->is_sum && 2 * b->size > EXACT_BF16) out->wrong = -1; /* rounded: not to be told */
    else KS_TRY(check_call(b, c, type, n, &out->wrong));
done:
    return st;
}

/* Medians in seconds: barrier and a sum over the control plane; 16 numbers over the data plane. */
static ks_status time_latency(comm_bench *b, double *barrier, double *host_sum, double *sum) {
    ks_status st = KS_OK;
    double    v[N_LATENCY], x[16] = {0};
    double   *out[] = {barrier, host_sum, sum};
    KS_TRY(ks_mem_zero(b->ctx, b->x, sizeof x));
    for (int kind = 0; kind < 3; kind++) {
        for (int k = -10; k < N_LATENCY; k++) {
            const double start = ks_wall_seconds();
            if (kind == 0) KS_TRY(ks_comm_barrier(b->comm, "bench"));
            if (kind == 1) KS_TRY(ks_comm_host_sum(b->comm, "bench", 1, x));
            if (kind == 2) {
                KS_TRY(ks_comm_fork(b->comm));
                KS_TRY(ks_comm_sum(b->comm, KS_COMM_F64, 16, b->x));
                KS_TRY(ks_comm_join(b->comm));
                KS_TRY(ks_sync(b->ctx));
            }
            if (k >= 0) v[k] = ks_wall_seconds() - start;
        }
        *out[kind] = bench_median(N_LATENCY, v);
    }
done:
    return st;
}

/* ---- the verb ---- */

static void print_bytes(char *out, size_t size, int64_t bytes) {
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB"};
    double                   x      = (double)bytes;
    int                      k      = 0;
    while (x >= 1024 && k < 3) x /= 1024, k++;
    snprintf(out, size, "%.4g %s", x, unit[k]);
}

static ks_status run_sizes(comm_bench *b, int n_size, const int64_t *size, json_t *calls, int64_t *wrong) {
    ks_status st = KS_OK;
    char      text[32];
    printf("%-15s %-5s %10s %11s %11s %11s %9s %9s %6s\n", "call", "type", "bytes", "median us", "least", "most",
           "alg GB/s", "bus GB/s", "wrong");
    for (size_t c = 0; c < sizeof g_call / sizeof *g_call; c++)
        for (size_t k = 0; k < sizeof g_type / sizeof *g_type; k++)
            for (int s = 0; s < n_size; s++) {
                comm_time t;
                KS_TRY(time_call(b, &g_call[c], g_type[k].type, size[s], &t));
                print_bytes(text, sizeof text, t.bytes);
                printf("%-15s %-5s %10s %11.1f %11.1f %11.1f %9.3f %9.3f ", g_call[c].name, g_type[k].name, text,
                       1e6 * t.seconds, 1e6 * t.least, 1e6 * t.most, t.algorithm, t.bus);
                if (t.wrong < 0) printf("%6s\n", "-");
                else printf("%6lld\n", (long long)t.wrong);
                fflush(stdout);
                if (t.wrong > 0) *wrong += t.wrong;
                json_array_append_new(
                    calls, json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:I}", "call", g_call[c].name, "type",
                                     g_type[k].name, "bytes", (json_int_t)t.bytes, "seconds", ks_json_real(t.seconds),
                                     "seconds_min", ks_json_real(t.least), "seconds_max", ks_json_real(t.most),
                                     "algorithm_gbytes_per_s", ks_json_real(t.algorithm), "bus_gbytes_per_s",
                                     ks_json_real(t.bus), "wrong", (json_int_t)t.wrong));
            }
done:
    return st;
}

static ks_status run_comm(comm_bench *b, const char *sizes, const char *json) {
    ks_status st             = KS_OK;
    int64_t   size[MAX_SIZE] = {0}, most = 0, wrong = 0;
    int       n_size  = 0;
    double    barrier = 0, host_sum = 0, sum = 0;
    json_t   *calls = json_array();
    b->rank         = ks_comm_rank(b->comm);
    b->size         = ks_comm_size(b->comm);
    if (sizes) KS_TRY(parse_sizes(sizes, size, &n_size));
    else KS_TRY(default_sizes(b, size, &n_size));
    for (int k = 0; k < n_size; k++)
        if (size[k] > most) most = size[k];
    KS_TRY(ks_mem_alloc(b->ctx, (size_t)(most + (int64_t)sizeof(float) * b->size + 128), &b->x));
    KS_TRY(ks_host_alloc(CHUNK, sizeof(float), &b->chunk));
    KS_TRY(KS_NEW(b->seconds, b->repeat));
    KS_TRY(time_latency(b, &barrier, &host_sum, &sum));
    printf(
        "%d ranks on %d host%s, transport %s, backend %s; control plane: barrier %.1f us, sum %.1f us; 16 numbers over "
        "%s: %.1f us\n",
        b->size, ks_comm_n_host(b->comm), ks_comm_n_host(b->comm) == 1 ? "" : "s", ks_comm_transport(b->comm),
        ks_ctx_backend(b->ctx), 1e6 * barrier, 1e6 * host_sum, ks_comm_transport(b->comm), 1e6 * sum);
    KS_TRY(run_sizes(b, n_size, size, calls, &wrong));
    if (json && b->rank == 0)
        KS_TRY(ks_json_save(json, json_pack("{s:i, s:i, s:s, s:s, s:I, s:o, s:o, s:o, s:O}", "ranks", b->size, "hosts",
                                            ks_comm_n_host(b->comm), "transport", ks_comm_transport(b->comm), "backend",
                                            ks_ctx_backend(b->ctx), "repeat", (json_int_t)b->repeat, "barrier_seconds",
                                            ks_json_real(barrier), "host_sum_seconds", ks_json_real(host_sum),
                                            "small_sum_seconds", ks_json_real(sum), "calls", calls)));
    KS_CHECK(wrong == 0, KS_ERR_NUMERIC, "%lld results are wrong: transport %s cannot be used between these ranks",
             (long long)wrong, ks_comm_transport(b->comm));
done:
    json_decref(calls);
    return st;
}

int bench_comm(const bench_args *a) {
    ks_status          st    = KS_OK;
    comm_bench         b     = {.repeat = a->repeat, .warmup = a->warmup};
    int                n_set = 0;
    const char *const *sets  = ks_cli_sets(&n_set);
    ks_config          config;
    KS_TRY(ks_config_load(NULL, n_set, sets, &config));
    KS_TRY(ks_cli_ranks(&config, &b.comm, &b.ctx));
    if (!b.comm) {
        ks_ctx_destroy(&b.ctx);
        return ks_cli_usage_error("bench", "bench comm with one rank has nothing to measure: start several, e.g. "
                                           "mpirun -np 2 ksgrad bench comm");
    }
    KS_TRY(run_comm(&b, a->sizes, a->json));
done:
    if (b.ctx) ks_mem_free(b.ctx, &b.x);
    ks_host_free(&b.chunk);
    KS_FREE(b.seconds);
    const int code = ks_cli_finish(st);
    ks_comm_destroy(&b.comm);
    ks_ctx_destroy(&b.ctx);
    return code;
}
