/* comm_ranks.h -- tests of several ranks: real processes on this host, which report through shared memory.
 *
 * A body runs in each process and fills its report; what it checks with T_CHECK is counted in the parent.
 * Processes that do not end in time are killed, and that is a failure. */
#ifndef KS_COMM_RANKS_H
#define KS_COMM_RANKS_H
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif
#include "core/machine.h"
#include "ks_test.h"

enum { MAX_RANKS = 8 };

typedef struct report {
    int       checks, bad; /* of T_CHECK in the process */
    ks_status status;
    int       told;
    double    seconds;   /* from the start to the end of the body */
    int       exit_code; /* -1: killed by a signal */
    char      message[1536];
} report;

typedef struct world {
    int             size, port, n_port;
    double          timeout;
    report          of[MAX_RANKS];
    volatile double start; /* of what is timed; set by who knows */
    volatile int    flag[MAX_RANKS];
    volatile pid_t  pid[MAX_RANKS];
} world;

typedef ks_status (*rank_body)(world *w, int rank, ks_comm **comm);

static world *world_new(int size, double timeout) {
    world *w = mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (w == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    w->size    = size;
    w->timeout = timeout;
    w->n_port  = 4;
    return w;
}

static void sleep_for(double seconds) {
    struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)(fmod(seconds, 1) * 1e9)};
    while (nanosleep(&t, &t) && errno == EINTR) {
    }
}

/* A free port: taken for a moment, and again by rank 0 (or the next one: n_port). */
static int free_port(void) {
    struct sockaddr_in a   = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t          len = sizeof a;
    const int          fd  = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int ok = fd >= 0 && !bind(fd, (struct sockaddr *)&a, len) && !getsockname(fd, (struct sockaddr *)&a, &len);
    if (fd >= 0) close(fd);
    if (!ok) {
        perror("free port");
        exit(1);
    }
    return ntohs(a.sin_port);
}

static int exit_code_of(ks_status st) { return 40 + (int)st; }

static ks_launch launch_of(const world *w, int rank) {
    ks_launch l = {.launcher   = KS_LAUNCHER_EXPLICIT,
                   .rank       = rank,
                   .size       = w->size,
                   .local_rank = -1,
                   .local_size = -1,
                   .port       = w->port,
                   .n_port     = w->n_port,
                   .job        = 0x1234};
    snprintf(l.address, sizeof l.address, "localhost");
    return l;
}

static ks_status meet(world *w, int rank, ks_comm **comm) {
    const ks_launch       l = launch_of(w, rank);
    const ks_comm_options o = {.timeout_s = w->timeout, .config_hash = 5, .exit_code = exit_code_of};
    return ks_comm_create(&l, &o, comm);
}

/* One process; body r may be that of any rank. */
static void start_rank(world *w, int r, rank_body body) {
    fflush(stdout);
    const pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        exit(1);
    }
    if (pid) {
        w->pid[r] = pid;
        return;
    }
    ks_comm *comm = NULL;
    report  *me   = &w->of[r];
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing is left when the test itself is ended */
    ks_t_run = ks_t_bad   = 0;
    const double    begin = ks_wall_seconds();
    const ks_status st    = body(w, r, &comm);
    me->status            = st;
    me->told              = ks_comm_is_told(comm);
    me->seconds           = ks_wall_seconds() - begin;
    snprintf(me->message, sizeof me->message, "%s", st == KS_OK ? "" : ks_error_message());
    ks_comm_destroy(&comm);
#ifdef __SANITIZE_ADDRESS__ /* _exit looks for no leaks */
    T_CHECK(!__lsan_do_recoverable_leak_check(), "rank %d leaks", r);
#endif
    me->checks = ks_t_run;
    me->bad    = ks_t_bad;
    fflush(stdout);
    _exit(st == KS_OK ? 0 : exit_code_of(st));
}

/* Waits for rank r at most so long; 0: it had to be killed. */
static int end_rank(world *w, int r, double seconds) {
    const double end  = ks_wall_seconds() + seconds;
    int          code = 0, in_time = 1;
    for (;;) {
        const pid_t p = waitpid(w->pid[r], &code, WNOHANG);
        if (p == w->pid[r]) break;
        if (ks_wall_seconds() > end) {
            in_time = 0;
            kill(w->pid[r], SIGKILL);
            waitpid(w->pid[r], &code, 0);
            break;
        }
        sleep_for(0.005);
    }
    w->of[r].exit_code = WIFEXITED(code) ? WEXITSTATUS(code) : -1;
    ks_t_run += w->of[r].checks;
    ks_t_bad += w->of[r].bad;
    return in_time;
}

static void start_all(world *w, rank_body body) {
    w->port = free_port();
    for (int r = 0; r < w->size; r++) start_rank(w, r, body);
}

static void end_all(world *w, double seconds, const char *what) {
    for (int r = 0; r < w->size; r++)
        T_CHECK(end_rank(w, r, seconds), "%s: rank %d had not ended after %g s", what, r, seconds);
}

static void world_free(world *w) { munmap(w, sizeof *w); }

#define T_SAYS(w, r, text)                                                                                             \
    T_CHECK(strstr((w)->of[r].message, (text)), "rank %d should say '%s', says: %s", r, text, (w)->of[r].message)
#define T_STATUS(w, r, code)                                                                                           \
    T_CHECK((w)->of[r].status == (code), "rank %d: status %d: %s", r, (int)(w)->of[r].status, (w)->of[r].message)
#endif
