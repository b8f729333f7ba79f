/* test_comm.c -- ranks that exchange arrays between GPUs (cuda/comm_nccl.cu): 2 and 4 processes, each with a context of its
 * own. With the launcher, its stand-in for NCCL; on a machine with GPUs, NCCL between as many as there are: it does not run
 * two ranks on one.
 *
 * Right results for every call, size and type, in recordings too; then what must not happen: a rank that ends, dies or does
 * not come must end the others in time and by name, with the device waiting for it. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "comm_case.h"

enum { PATIENCE_S = 120 };
static const char *g_backend = "emu";
static int         g_scenes;

static double now_s(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct scene {
    const char *name;
    void (*play)(line *l);
    int    size;
    double timeout_s;
    int    own_open; /* the scene attaches by itself, or not at all */
    int    one_gpu, notice;
    int    dies; /* 1 + rank that ends by a signal */
    int    least;
} scene;

/* ---- scenes ---- */

static void play_results(line *l) {
    check_collectives(l, 16385);
    check_min(l);
}

static void play_order(line *l) {
    check_order(l, 12);
    check_recording(l, 6);
}

/* The same bits everywhere and every time, of sums that are not exact. */
static void play_bits(line *l) {
    enum { N = 5000 };
    array    a = make_array(l, KS_COMM_F32, N);
    uint64_t h[3];
    for (int turn = 0; turn < 3; turn++) {
        for (int64_t i = 0; i < N; i++)
            store(KS_COMM_F32, a.host, i + GUARD, ks_rng_normal(3, KS_STREAM_TEST, (uint32_t)l->rank, (uint64_t)i));
        T_OK(ks_mem_to_backend(l->ctx, a.device, a.host, whole(&a)));
        T_OK(ks_comm_fork(l->comm));
        T_OK(ks_comm_sum(l->comm, KS_COMM_F32, N, at(&a)));
        T_OK(ks_comm_join(l->comm));
        get_array(l, &a);
        h[turn] = 14695981039346656037u;
        for (size_t b = 0; b < whole(&a); b++) h[turn] = (h[turn] ^ (unsigned char)a.host[b]) * 1099511628211u;
        T_OK(ks_comm_check_equal(l->comm, "bits of a sum", h[turn]));
    }
    T_CHECK(h[0] == h[1] && h[0] == h[2], "a sum has other bits the next time");
    free_array(l, &a);
}

/* Without the waits of fork and join results are wrong now and then: so the checks of their order can fail. */
static void play_no_waits(line *l) {
    chain_data d     = make_chain(l);
    int        wrong = 0;
    for (int r = 0; r < 16; r++) {
        set_chain(l, &d, r);
        T_OK(chain(l, d.x, d.y, d.least, r % 2, 1 - r % 2));
        wrong += wrong_chain(l, &d, r) != 0;
        T_OK(ks_sync(l->ctx));
        l->t->fork(l->state);
        l->t->join(l->state);
        T_OK(ks_sync(l->ctx));
    }
    T_CHECK(wrong > 0, "16 rounds without waits, all of them right");
    free_chain(l, &d);
}

/* A fetch behind a sum that `rank 1` does not come to: ends with its error, in time; then nothing hangs. */
static void wait_for_nobody(line *l, const char *expected, int with_graph) {
    array        a     = make_array(l, KS_COMM_F64, 100);
    ks_graph    *graph = NULL;
    ks_fetch    *fetch = NULL;
    const double begin = now_s();
    put_array(l, &a, l->rank, 0);
    T_OK(ks_fetch_create(l->ctx, sizeof(double), &fetch));
    T_OK(ks_sync(l->ctx));
    if (with_graph) T_OK(ks_graph_begin(l->ctx));
    T_OK(ks_comm_fork(l->comm));
    T_OK(ks_comm_sum(l->comm, KS_COMM_F64, 100, at(&a)));
    T_OK(ks_comm_join(l->comm));
    if (with_graph) {
        T_OK(ks_graph_end(l->ctx, &graph));
        T_OK(ks_graph_launch(graph));
    }
    T_OK(ks_fetch_start(fetch, at(&a), sizeof(double)));
    T_OK(ks_comm_barrier(l->comm, "queued"));
    T_ERR(ks_comm_fetch_wait(l->comm, fetch, "a sum", 7), KS_ERR_COMM);
    printf("rank %d, %.1f s: %s\n", l->rank, now_s() - begin, ks_error_message());
    T_CHECK(strstr(ks_error_message(), expected), "message without '%s'", expected);
    T_CHECK(now_s() - begin < 30.0, "%.1f s", now_s() - begin);
    ks_error_clear();
    ks_graph_destroy(&graph);
    ks_fetch_destroy(&fetch);
    free_array(l, &a);
}

static void play_failing_rank(line *l) {
    if (l->rank == 1) {
        T_OK(ks_comm_barrier(l->comm, "queued"));
        ks_comm_fail(l->comm, KS_ERR_COMM, "planted failure");
    } else wait_for_nobody(l, "planted failure", 0);
}
static void play_failing_rank_recorded(line *l) {
    if (l->rank == 1) {
        T_OK(ks_comm_barrier(l->comm, "queued"));
        ks_comm_fail(l->comm, KS_ERR_COMM, "planted failure");
    } else wait_for_nobody(l, "planted failure", 1);
}
static void play_killed_rank(line *l) {
    if (l->rank == 1) {
        T_OK(ks_comm_barrier(l->comm, "queued"));
        (void)raise(SIGKILL);
    } else wait_for_nobody(l, "rank 1", 1);
}
/* NCCL itself notices; the rank lives. */
static void play_noticed(line *l) {
    if (l->rank == 1) {
        T_OK(ks_comm_barrier(l->comm, "queued"));
        l->t->abort(l->state);
        for (const double end = now_s() + 20.0; now_s() < end && ks_comm_poll(l->comm) == KS_OK;) (void)usleep(1000);
        T_ERR(ks_comm_poll(l->comm), KS_ERR_COMM);
        ks_error_clear();
    } else {
        wait_for_nobody(l, "remote process exited", 0);
    }
}

/* One call on rank 0, another on rank 1: a GPU would hang, the stand-in says so. */
static void play_mismatch(line *l) {
    array a = make_array(l, KS_COMM_F64, 100);
    put_array(l, &a, l->rank, 0);
    T_OK(ks_comm_fork(l->comm));
    T_OK(ks_comm_sum(l->comm, KS_COMM_F64, l->rank ? 100 : 99, at(&a)));
    T_OK(ks_comm_join(l->comm));
    T_ERR(ks_sync(l->ctx), KS_ERR_CUDA);
    T_CHECK(strstr(ks_error_message(), "a GPU would hang"), "%s", ks_error_message());
    ks_error_clear();
    ks_comm_fail(l->comm, KS_ERR_COMM, "mismatch");
}

/* Refused with the ranks' names before NCCL sees it; and by NCCL, where it sees it first. */
static void play_one_gpu(line *l) {
    T_ERR(ks_comm_attach(l->comm, l->ctx, "auto"), KS_ERR_COMM);
    T_CHECK(strstr(ks_error_message(), "ranks 0 and 1 share GPU-") || ks_comm_is_told(l->comm), "%s",
            ks_error_message());
    ks_error_clear();
}
static void play_one_gpu_of_nccl(line *l) {
    char text[512];
    T_ERR(l->t->open(l->comm, l->ctx, &l->state), KS_ERR_COMM);
    snprintf(text, sizeof text, "%s", ks_error_message());
    ks_comm_fail(l->comm, KS_ERR_COMM, text); /* who is first tells the other */
    T_CHECK(strstr(text, "two ranks on one GPU") && strstr(text, "Duplicate GPU"), "%s", text);
    ks_error_clear();
}

/* Rank 1 has the id and does not come: the deadline of the transport. */
static void play_late(line *l) {
    const double begin = now_s();
    if (l->rank == 1) {
        char id[136]; /* and the library's version */
        T_OK(ks_comm_host_bcast(l->comm, "the id for NCCL", sizeof id, id));
        while (now_s() < begin + 60.0 && ks_comm_poll(l->comm) == KS_OK) (void)usleep(1000);
        T_ERR(ks_comm_poll(l->comm), KS_ERR_COMM);
    } else {
        T_ERR(l->t->open(l->comm, l->ctx, &l->state), KS_ERR_COMM);
        printf("rank 0, %.1f s: %s\n", now_s() - begin, ks_error_message());
        T_CHECK(strstr(ks_error_message(), "NCCL_SOCKET_IFNAME"), "%s", ks_error_message());
        T_CHECK(now_s() - begin >= 2.0 && now_s() - begin < 30.0, "%.1f s", now_s() - begin);
        ks_comm_fail(l->comm, KS_ERR_COMM, ks_error_message());
    }
    ks_error_clear();
}

static const scene g_scene[] = {
    {.name = "results", .play = play_results, .size = 2, .least = 100},
    {.name = "results", .play = play_results, .size = 4, .least = 100},
    {.name = "order", .play = play_order, .size = 2, .least = 60},
    {.name = "order", .play = play_order, .size = 4, .least = 60},
    {.name = "bits", .play = play_bits, .size = 4, .least = 20},
    {.name = "no waits", .play = play_no_waits, .size = 2, .least = 60},
    {.name = "failing rank", .play = play_failing_rank, .size = 2},
    {.name = "failing rank, recorded", .play = play_failing_rank_recorded, .size = 4},
    {.name = "killed rank", .play = play_killed_rank, .size = 2, .dies = 2},
    {.name = "noticed by NCCL", .play = play_noticed, .size = 2, .notice = 1},
    {.name = "mismatch", .play = play_mismatch, .size = 2},
    {.name = "one GPU", .play = play_one_gpu, .size = 2, .own_open = 1, .one_gpu = 1},
    {.name = "one GPU, said by NCCL", .play = play_one_gpu_of_nccl, .size = 2, .own_open = 1, .one_gpu = 1},
    {.name = "late", .play = play_late, .size = 2, .timeout_s = 2.5, .own_open = 1},
};
enum { SCENES = sizeof g_scene / sizeof *g_scene };

/* ---- processes ---- */

static int play_rank(const scene *s, int rank, int port) {
    ks_ctx               *ctx       = NULL;
    ks_comm              *comm      = NULL;
    char                 *backend[] = {"test_comm", (char *)(uintptr_t)g_backend, NULL}, seed[16];
    const ks_ctx_options  own       = {.backend = "cuda", .threads = 1, .device = s->one_gpu ? 0 : rank};
    const ks_comm_options opt       = {.timeout_s = s->timeout_s > 0 ? s->timeout_s : PATIENCE_S, .config_hash = 1};
    ks_launch             launch    = {.launcher   = KS_LAUNCHER_EXPLICIT,
                                       .rank       = rank,
                                       .size       = s->size,
                                       .local_rank = rank,
                                       .local_size = s->size,
                                       .address    = "127.0.0.1",
                                       .port       = port,
                                       .n_port     = 16,
                                       .job        = (uint64_t)getppid() << 16 | (uint64_t)g_scenes};
    ks_t_run = ks_t_bad = 0;
    alarm(2 * PATIENCE_S);
    snprintf(seed, sizeof seed, "%d", 17 * g_scenes + rank);
    (void)setenv("KS_EMU_SEED", seed, 0);
    (void)setenv("KS_EMU_DEVICES", "4", 1);
    if (s->notice) (void)setenv("KS_EMU_NCCL_NOTICE", "1", 1);
    t_op_init(2, backend);
    T_OK(ks_ctx_create(&own, &ctx));
    T_OK(ks_comm_create(&launch, &opt, &comm));
    if (!s->own_open) T_OK(ks_comm_attach(comm, ctx, "auto"));
    line l = {ctx, comm, ctx->backend->transport, comm->state, rank, s->size};
    if (!s->own_open) T_CHECK(!strcmp(ks_comm_transport(comm), "nccl"), "transport %s", ks_comm_transport(comm));
    s->play(&l);
    const double begin = now_s();
    if (s->least) T_OK(ks_comm_barrier(comm, "end of the scene"));
    ks_comm_destroy(&comm);
    ks_ctx_destroy(&ctx);
    T_CHECK(now_s() - begin < 20.0, "the end took %.1f s", now_s() - begin);
    fflush(stdout);
    return ks_t_bad != 0 || ks_t_run < s->least;
}

/* The parent has no context: a child that is forked has not even an address of its memory. */
static void play(const scene *s) {
    pid_t     child[8];
    const int port = 20000 + (int)(((unsigned)getpid() * 16u) % 20000u);
    g_scenes++;
    fflush(stdout);
    for (int r = 0; r < s->size; r++) {
        child[r] = fork();
        if (child[r] == 0) _exit(play_rank(s, r, port));
        T_CHECK(child[r] > 0, "fork");
    }
    for (int r = 0; r < s->size; r++) {
        int status = -1;
        if (child[r] > 0) (void)waitpid(child[r], &status, 0);
        const int ok = s->dies == r + 1 ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                                        : WIFEXITED(status) && WEXITSTATUS(status) == 0;
        T_CHECK(ok, "%s, rank %d of %d: status %x", s->name, r, s->size, (unsigned)status);
    }
}

/* GPUs of this machine, asked by a process of its own; -1: none, or no NCCL. */
static int count_devices(void) {
    int         status = -1;
    const pid_t child  = fork();
    if (child == 0) {
        char          *backend[] = {"test_comm", (char *)(uintptr_t)g_backend, NULL};
        ks_device_info info      = {.n = 0};
        t_op_init(2, backend); /* exit code 77 without a GPU */
        ks_ctx *ctx = t_op_ctx(1);
        if (ks_ctx_device(ctx, &info) != KS_OK || !ctx->backend->transport) _exit(77);
        _exit(info.n < 64 ? info.n : 64);
    }
    if (child > 0) (void)waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) > 0 && WEXITSTATUS(status) <= 64 ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv) {
    int        n = 4, n_played = 0;
    const char only = argc > 2 ? argv[2][0] : 0;
    if (argc > 1) g_backend = argv[1];
    const int emu = !strcmp(g_backend, "emu");
    if (!strcmp(g_backend, "cpu")) return 77;
    if (!emu) n = count_devices();
    if (n < 2) {
        printf("SKIP: %s\n", n == 1 ? "one GPU: NCCL does not run two ranks on one" : "no usable GPU, or no NCCL");
        return 77;
    }
    for (int k = 0; k < SCENES; k++) {
        const scene *s = &g_scene[k];
        /* Order in time and planted mistakes are the launcher's; real GPUs would win the race, or hang. */
        if (s->size > n || (!emu && (s->play == play_no_waits || s->play == play_mismatch || s->notice))) continue;
        if (only && only != 'a' + k) continue;
        const double begin = now_s();
        play(s);
        printf("%s, %d ranks: %.1f s\n", s->name, s->size, now_s() - begin);
        n_played++;
    }
    T_CHECK(only || !emu || n_played == SCENES, "%d scenes", n_played);
    return t_done("comm", only ? 2 : emu ? 70 : 30);
}
