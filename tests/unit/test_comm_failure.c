/* test_comm_failure.c -- what goes wrong between ranks: each case with the status and the message on every rank, how
 * long it took, and that no process is left. Where a failure is noticed at once, the timeout is far longer than
 * the time that the case may take; where the timeout itself is tested it is short. */
#include <fcntl.h>
#include "comm/comm_impl.h"
#include "comm/control_impl.h"
#include "comm_ranks.h"
#include "core/backend.h"

static const double LONG_S  = 120; /* a timeout that must not be needed */
static const double SHORT_S = 1.5; /* one that is waited for */
static const double AT_ONCE = 20;  /* "at once" on a loaded machine; far below LONG_S */
static const double SLACK_S = 12;  /* after a short timeout: grace, ends of processes, load */

/* ---- rendezvous ---- */

static ks_status only_meet(world *w, int rank, ks_comm **comm) { return meet(w, rank, comm); }

static void missing(void) {
    world *w = world_new(4, SHORT_S);
    w->port  = free_port();
    start_rank(w, 0, only_meet);
    start_rank(w, 2, only_meet);
    T_CHECK(end_rank(w, 0, SHORT_S + SLACK_S) && end_rank(w, 2, SHORT_S + SLACK_S), "missing: in time");
    for (int r = 0; r < 4; r += 2) {
        T_STATUS(w, r, KS_ERR_COMM);
        T_SAYS(w, r, "ranks 1 and 3 of 4 have not come within 1.5 s");
        T_SAYS(w, r, "here: 0 on ");
        T_SAYS(w, r, "2 on ");
        T_CHECK(w->of[r].seconds >= 0.9 * SHORT_S, "rank %d gave up after %g s", r, w->of[r].seconds);
        T_CHECK(w->of[r].exit_code == exit_code_of(KS_ERR_COMM), "exit code %d", w->of[r].exit_code);
    }
    world_free(w);
}

static void no_rank_0(void) {
    char   text[64];
    world *w = world_new(2, SHORT_S);
    w->port  = free_port();
    start_rank(w, 1, only_meet);
    T_CHECK(end_rank(w, 1, SHORT_S + SLACK_S), "no rank 0: in time");
    snprintf(text, sizeof text, "at localhost, ports %d to %d, within 1.5 s", w->port, w->port + 3);
    T_STATUS(w, 1, KS_ERR_COMM);
    T_SAYS(w, 1, "has not found rank 0");
    T_SAYS(w, 1, text);
    T_SAYS(w, 1, "Connection refused");
    world_free(w);
}

typedef struct odd { /* what is different about the last rank */
    int         size, rank;
    uint64_t    hash;
    const char *version;
} odd;
static odd g_odd; /* copied into the processes */

static ks_status meet_oddly(world *w, int rank, ks_comm **comm) {
    ks_launch       l = launch_of(w, rank);
    ks_comm_options o = {.timeout_s = w->timeout, .config_hash = 5};
    if (rank == w->size - 1) {
        if (g_odd.size) l.size = g_odd.size;
        if (g_odd.rank) l.rank = g_odd.rank;
        if (g_odd.hash) o.config_hash = g_odd.hash;
        if (g_odd.version) o.version = g_odd.version;
    }
    return ks_comm_create(&l, &o, comm);
}

static void refused(odd how, const char *says, const char *names) {
    world *w = world_new(3, 8); /* a quarter of it for ranks that are late to hear */
    g_odd    = how;
    start_all(w, meet_oddly);
    end_all(w, AT_ONCE, says);
    for (int r = 0; r < 3; r++) {
        T_STATUS(w, r, KS_ERR_COMM);
        T_SAYS(w, r, says);
        T_SAYS(w, r, names);
    }
    world_free(w);
}

static int listen_on(int port) {
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_ANY)};
    const int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    T_CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof a) && !listen(fd, 8), "port %d: %s", port,
            strerror(errno));
    return fd;
}

static void taken_port(void) {
    char   text[64];
    world *w  = world_new(2, 2 * SHORT_S);
    w->port   = free_port();
    w->n_port = 1;
    int fd    = listen_on(w->port); /* accepts, and says nothing */
    start_rank(w, 0, only_meet);
    start_rank(w, 1, only_meet);
    T_CHECK(end_rank(w, 0, 2 * SHORT_S + SLACK_S) && end_rank(w, 1, 2 * SHORT_S + SLACK_S), "taken port: in time");
    snprintf(text, sizeof text, "cannot listen on port %d of ", w->port);
    T_STATUS(w, 0, KS_ERR_COMM);
    T_SAYS(w, 0, text);
    T_SAYS(w, 0, "taken");
    T_CHECK(w->of[0].seconds < SHORT_S, "rank 0 knows at once: %g s", w->of[0].seconds);
    T_STATUS(w, 1, KS_ERR_COMM);
    T_SAYS(w, 1, "something listens there, but it is not rank 0 of this job");
    /* with another port to go to */
    w->n_port  = 2;
    w->timeout = LONG_S;
    memset(w->of, 0, sizeof w->of);
    start_rank(w, 0, only_meet);
    start_rank(w, 1, only_meet);
    end_all(w, AT_ONCE, "second port");
    for (int r = 0; r < 2; r++) T_STATUS(w, r, KS_OK);
    close(fd);
    world_free(w);
}

static int dial(int port) {
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (double end = ks_wall_seconds() + AT_ONCE; ks_wall_seconds() < end; sleep_for(0.01)) {
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (!connect(fd, (struct sockaddr *)&a, sizeof a)) return fd;
        close(fd);
    }
    return -1;
}

/* Port scanners, browsers and other jobs: nothing of it changes anything for the ranks. */
static void strangers(void) {
    world   *w = world_new(3, LONG_S);
    int      fd[80], n = 0;
    char     rubbish[4096];
    ks_hello h = {.protocol = KS_PROTOCOL, .bytes = sizeof h, .job = 0x9999, .rank = 1, .size = 3};
    memcpy(h.magic, KS_HELLO_MAGIC, sizeof h.magic);
    for (size_t i = 0; i < sizeof rubbish; i++) rubbish[i] = (char)(i * 31 + 7);
    w->port   = free_port();
    w->n_port = 1;
    start_rank(w, 0, only_meet);
    for (int i = 0; i < 80; i++) fd[n++] = dial(w->port); /* more than it keeps; the first say nothing */
    T_CHECK(fd[79] >= 0, "no connection");
    for (int i = 70; i < 75; i++) (void)!send(fd[i], rubbish, sizeof rubbish, MSG_NOSIGNAL);
    (void)!send(fd[75], "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL);
    (void)!send(fd[76], &h, sizeof h, MSG_NOSIGNAL); /* another job */
    h.job  = 0x1234;
    h.link = 77;
    (void)!send(fd[77], &h, sizeof h, MSG_NOSIGNAL); /* no such connection */
    (void)!send(fd[78], &h, 20, MSG_NOSIGNAL);       /* and then nothing */
    close(fd[79]);
    start_rank(w, 1, only_meet);
    start_rank(w, 2, only_meet);
    end_all(w, AT_ONCE, "strangers");
    for (int r = 0; r < 3; r++) T_STATUS(w, r, KS_OK);
    for (int i = 0; i < 79; i++) close(fd[i]);
    world_free(w);
}

/* ---- the job's life ---- */

enum { KILLED, STOPPED, AT_WORK, LEFT, OTHER_CALL, OTHER_LENGTH, FAILED, DIFFERENT, KILLED_IN_SUM };
static int g_case, g_who; /* of rank g_who */

static ks_status trouble(world *w, int rank, ks_comm **comm) {
    ks_status            st  = KS_OK;
    ks_ctx              *ctx = NULL;
    double              *x   = NULL;
    const int            me  = rank == g_who;
    const ks_ctx_options one = {.backend = "cpu", .threads = 1};
    KS_TRY(meet(w, rank, comm));
    if (g_case == KILLED_IN_SUM) {
        KS_TRY(KS_ZNEW(x, 1 << 22));
        KS_TRY(ks_ctx_create(&one, &ctx));
        KS_TRY(ks_comm_attach(*comm, ctx, "auto"));
    }
    KS_TRY(ks_comm_barrier(*comm, "warm"));
    w->flag[rank] = 1;
    if (me) {
        if (g_case == KILLED) raise(SIGKILL);
        if (g_case == STOPPED) raise(SIGSTOP);
        if (g_case == AT_WORK) sleep_for(LONG_S);
        if (g_case == LEFT) goto done;
        if (g_case == OTHER_CALL) KS_TRY(ks_comm_barrier(*comm, "validation"));
        if (g_case == OTHER_LENGTH) {
            double few[3] = {0};
            KS_TRY(ks_comm_host_sum(*comm, "checkpoint", 3, few));
        }
        if (g_case == FAILED) {
            ks_comm_fail(*comm, KS_ERR_DATA, "frame 7 of water.h5 cannot be read");
            st = ks_comm_poll(*comm);
            goto done;
        }
    }
    if (g_case == DIFFERENT) KS_TRY(ks_comm_check_equal(*comm, "weights", me ? 8 : 7));
    if (g_case == KILLED_IN_SUM) {
        if (me) sleep_for(0.2);
        if (me) raise(SIGKILL);
        KS_TRY(ks_comm_sum(*comm, KS_COMM_F64, 1 << 22, x));
    }
    if (g_case == OTHER_LENGTH) {
        double some[2] = {0};
        KS_TRY(ks_comm_host_sum(*comm, "checkpoint", 2, some));
    }
    KS_TRY(ks_comm_barrier(*comm, "checkpoint"));
    KS_TRY(ks_comm_barrier(*comm, "again")); /* a rank that was stopped may have found all it needed in the first one */
done:
    KS_FREE(x);
    ks_ctx_destroy(&ctx);
    return st;
}

/* size ranks, rank `who` is in trouble; everybody else ends within `seconds` with this status and these words.
 * who_code: exit code of the rank in trouble, -1: killed, -2: still there. */
static void life(int which, const char *name, int size, int who, double timeout, double seconds, ks_status status,
                 const char *says, const char *also, int who_code) {
    world *w = world_new(size, timeout);
    g_case   = which;
    g_who    = who;
    start_all(w, trouble);
    for (int r = 0; r < size; r++) {
        if (r == who) continue;
        T_CHECK(end_rank(w, r, seconds), "%s: rank %d had not ended after %g s", name, r, seconds);
        T_STATUS(w, r, status);
        T_SAYS(w, r, says);
        T_SAYS(w, r, also);
        T_CHECK(w->of[r].exit_code == exit_code_of(status), "%s: exit code %d of rank %d", name, w->of[r].exit_code, r);
        T_CHECK(w->of[r].seconds < seconds, "%s: rank %d took %g s", name, r, w->of[r].seconds);
    }
    if (who_code == -2) kill(w->pid[who], SIGCONT);
    T_CHECK(end_rank(w, who, seconds), "%s: rank %d was left over", name, who);
    if (who_code == -2) who_code = exit_code_of(KS_ERR_COMM);
    T_CHECK(w->of[who].exit_code == who_code, "%s: exit code %d of rank %d, expected %d: %s", name,
            w->of[who].exit_code, who, who_code, w->of[who].message);
    printf("  %-34s %d ranks, rank %d: %s\n", name, size, who, w->of[who ? 0 : 1].message);
    world_free(w);
}

static ks_status is_told_body(world *w, int rank, ks_comm **comm) {
    ks_status st = KS_OK;
    KS_TRY(meet(w, rank, comm));
    KS_TRY(ks_comm_barrier(*comm, "warm"));
    if (rank == 2) {
        ks_comm_fail(*comm, KS_ERR_NUMERIC, "more than half of the batch is masked");
        ks_comm_fail(*comm, KS_ERR_DATA, "said later");
        return ks_comm_poll(*comm);
    }
    while (ks_comm_poll(*comm) == KS_OK) sleep_for(0.001); /* not in any call of the communicator */
    st = ks_comm_poll(*comm);
    T_ERR(ks_comm_barrier(*comm, "after the end"), KS_ERR_NUMERIC);
done:
    return st;
}

static void is_told(void) {
    world *w = world_new(4, LONG_S);
    start_all(w, is_told_body);
    end_all(w, AT_ONCE, "is_told");
    for (int r = 0; r < 4; r++) {
        T_STATUS(w, r, KS_ERR_NUMERIC);
        T_SAYS(w, r, "more than half of the batch is masked");
        if (r != 2) T_SAYS(w, r, "rank 2 (");
        T_CHECK(w->of[r].told == (r == 1 || r == 3), "rank %d: told %d", r, w->of[r].told);
    }
    world_free(w);
}

/* Everybody waits for something that does not come: a network that carries nothing. */
static ks_status all_wait_body(world *w, int rank, ks_comm **comm) {
    ks_status st = KS_OK;
    KS_TRY(meet(w, rank, comm));
    ks_control_wait_begin((*comm)->control, "gradient", 17);
    while ((st = ks_comm_poll(*comm)) == KS_OK) sleep_for(0.01);
    ks_control_wait_end((*comm)->control);
done:
    return st;
}

static void all_wait(void) {
    world *w = world_new(2, SHORT_S);
    start_all(w, all_wait_body);
    end_all(w, SHORT_S + SLACK_S, "all wait");
    for (int r = 0; r < 2; r++) {
        T_STATUS(w, r, KS_ERR_COMM);
        T_SAYS(w, r, "all ranks have waited for");
        T_SAYS(w, r, "'gradient'");
        T_SAYS(w, r, "NCCL_SOCKET_IFNAME");
    }
    world_free(w);
}

/* Suspended all together for longer than the timeout, as a batch system does: they go on. */
static ks_status suspended_body(world *w, int rank, ks_comm **comm) {
    ks_status st = KS_OK;
    KS_TRY(meet(w, rank, comm));
    KS_TRY(ks_comm_barrier(*comm, "warm"));
    w->flag[rank] = 1;
    if (rank == 1) /* at work until all have been stopped and woken; the others wait */
        while (!w->flag[MAX_RANKS - 1]) sleep_for(0.01);
    KS_TRY(ks_comm_barrier(*comm, "after"));
    sleep_for(0.5); /* some heartbeats */
    KS_TRY(ks_comm_barrier(*comm, "end"));
done:
    return st;
}

static void suspended(void) {
    const double timeout = 4; /* longer than a loaded machine takes to stop and wake three processes */
    world       *w       = world_new(3, timeout);
    start_all(w, suspended_body);
    for (const double end = ks_wall_seconds() + AT_ONCE; ks_wall_seconds() < end; sleep_for(0.01))
        if (w->flag[0] && w->flag[1] && w->flag[2]) break;
    for (int r = 0; r < 3; r++) kill(w->pid[r], SIGSTOP);
    sleep_for(1.5 * timeout);
    for (int r = 0; r < 3; r++) kill(w->pid[r], SIGCONT);
    w->flag[MAX_RANKS - 1] = 1;
    end_all(w, AT_ONCE, "suspended");
    for (int r = 0; r < 3; r++) T_STATUS(w, r, KS_OK);
    world_free(w);
}

/* ---- attach ---- */

static ks_backend g_other;
static ks_status  device_of(void *state, ks_device_info *out) {
     (void)state;
     snprintf(out->id, sizeof out->id, "%s", "GPU-5f3a");
     return KS_OK;
}

static ks_status attach_body(world *w, int rank, ks_comm **comm) {
    ks_status            st  = KS_OK;
    ks_ctx              *ctx = NULL;
    const ks_ctx_options one = {.backend = "cpu", .threads = 1};
    KS_TRY(meet(w, rank, comm));
    KS_TRY(ks_ctx_create(&one, &ctx));
    const ks_backend *real = ctx->backend;
    g_other                = *real;
    if (g_case == 0) g_other.device = device_of;
    if (g_case == 1) g_other.name = "cuda";
    if (g_case == 0 ? rank > 0 : rank == 2) ctx->backend = &g_other;
    st           = ks_comm_attach(*comm, ctx, g_case == 2 && rank == 1 ? "pigeon" : "auto");
    ctx->backend = real;
    if (st != KS_OK) ks_error_relay(__FILE__, __LINE__, __func__, "attach");
done:
    if (st != KS_OK && *comm) ks_comm_fail(*comm, st, ks_error_message()); /* as the program does */
    ks_ctx_destroy(&ctx);
    return st;
}

static void attach(int which, ks_status status, const char *says) {
    world *w = world_new(3, LONG_S);
    g_case   = which;
    start_all(w, attach_body);
    end_all(w, AT_ONCE, says);
    for (int r = 0; r < 3; r++) {
        T_STATUS(w, r, status);
        T_SAYS(w, r, says);
    }
    world_free(w);
}

int main(void) {
    const int code = exit_code_of(KS_ERR_COMM);
    missing();
    no_rank_0();
    refused((odd){.rank = 1}, "two processes are rank 1", "Give each its own --rank");
    refused((odd){.version = "0.0.1"}, "runs another ksgrad", "'0.0.1'");
    refused((odd){.hash = 6}, "has another config", "rank 2 on ");
    refused((odd){.size = 5}, "believes in 5 ranks", "rank 2 on ");
    taken_port();
    strangers();

    life(KILLED, "killed", 3, 1, LONG_S, AT_ONCE, KS_ERR_COMM, "rank 1 (", "gone without a word", -1);
    life(KILLED, "rank 0 killed", 3, 0, LONG_S, AT_ONCE, KS_ERR_COMM, "rank 0 (", "gone without a word", -1);
    life(KILLED_IN_SUM, "killed in a sum", 4, 3, LONG_S, AT_ONCE, KS_ERR_COMM, "rank 3 (", "gone without a word", -1);
    life(STOPPED, "stopped", 3, 2, SHORT_S, SHORT_S + SLACK_S, KS_ERR_COMM, "rank 2 (", "silent", -2);
    life(STOPPED, "rank 0 stopped", 3, 0, SHORT_S, SHORT_S + SLACK_S, KS_ERR_COMM, "rank 0 (", "silent", -2);
    life(AT_WORK, "at work for ever", 4, 2, SHORT_S, 2 * SHORT_S + SLACK_S, KS_ERR_COMM, "rank 2 (", "at work for",
         code);
    life(AT_WORK, "rank 0 at work for ever", 2, 0, SHORT_S, 2 * SHORT_S + SLACK_S, KS_ERR_COMM, "rank 0 (",
         "at work for", code);
    life(LEFT, "left early", 3, 1, LONG_S, AT_ONCE, KS_ERR_COMM, "rank 1 (",
         "has ended in good order while rank 0 waits for it in 'checkpoint'", 0);
    life(LEFT, "rank 0 left early", 2, 0, LONG_S, AT_ONCE, KS_ERR_COMM, "rank 0 (",
         "has ended in good order while rank 1 waits for it in 'checkpoint'", 0);
    life(OTHER_CALL, "at another call", 3, 2, LONG_S, AT_ONCE, KS_ERR_COMM, "rank 2 (", "is at 'validation', rank 0 (",
         code);
    life(OTHER_LENGTH, "another length", 3, 1, LONG_S, AT_ONCE, KS_ERR_COMM, "rank 1 (", "24 bytes against 16", code);
    life(FAILED, "failed", 3, 2, LONG_S, AT_ONCE, KS_ERR_DATA, "rank 2 (", "frame 7 of water.h5 cannot be read",
         exit_code_of(KS_ERR_DATA));
    life(FAILED, "rank 0 failed", 3, 0, LONG_S, AT_ONCE, KS_ERR_DATA, "rank 0 (", "frame 7", exit_code_of(KS_ERR_DATA));
    life(DIFFERENT, "other weights", 4, 3, LONG_S, AT_ONCE, KS_ERR_COMM, "'weights' is not the same on all ranks",
         "rank 3 (", code);
    is_told();
    all_wait();
    suspended();

    attach(0, KS_ERR_COMM, "ranks 1 and 2 share GPU-5f3a on ");
    attach(1, KS_ERR_COMM, "runs on backend cuda, rank 0 on ");
    return t_done("unit.comm_failure", 343);
}
