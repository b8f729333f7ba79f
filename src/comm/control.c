/* control.c -- the control plane: opening and closing, the calling thread's side of exchanges and of the watch. */
#define _GNU_SOURCE
#include "comm/control.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "comm/control_impl.h"
#include "core/machine.h"

/* How often a waiting thread looks whether the job has ended; data and its end wake it at once. */
static const double LOOK_S = 0.05;

const char *ks_control_host(const ks_control *c, int rank) {
    return rank >= 0 && rank < c->size ? c->peer[rank].host : "";
}

double ks_control_timeout(const ks_control *c) { return c->timeout; }

const char *ks_control_name(const ks_control *c, int rank, char out[KS_HOST_NAME + 64]) {
    snprintf(out, KS_HOST_NAME + 64, "rank %d (%s, pid %lld)", rank, c->peer[rank].host, (long long)c->peer[rank].pid);
    return out;
}

void ks_control_places(const ks_control *c, int *local_rank, int *local_size, int *n_host) {
    *local_rank = c->local_rank;
    *local_size = c->local_size;
    *n_host     = c->n_host;
}

static void find_places(ks_control *c) {
    int before = 0, all = 0;
    for (int r = 0; r < c->size; r++) {
        int is_first = 1;
        for (int q = 0; q < r && is_first; q++) is_first = strcmp(c->peer[q].host, c->peer[r].host) != 0;
        c->n_host += is_first;
        if (strcmp(c->peer[r].host, c->peer[c->rank].host)) continue;
        before += r < c->rank;
        all++;
    }
    c->local_rank = c->launch.local_rank >= 0 ? c->launch.local_rank : before;
    c->local_size = c->launch.local_size >= 1 ? c->launch.local_size : all;
}

static ks_status fill_hello(const ks_control *c, const ks_comm_options *opt, ks_hello *h) {
    ks_status st = KS_OK;
    int       n;
    memset(h, 0, sizeof *h);
    memcpy(h->magic, KS_HELLO_MAGIC, sizeof h->magic);
    h->protocol    = KS_PROTOCOL;
    h->bytes       = sizeof *h;
    h->job         = c->launch.job;
    h->rank        = c->rank;
    h->size        = c->size;
    h->pid         = getpid();
    h->config_hash = opt ? opt->config_hash : 0;
    ks_socket_host(h->host);
    if (opt && opt->error) { /* cut to what fits: still the same on ranks that have met the same */
        h->has_failed = 1;
        snprintf(h->build, sizeof h->build, "%s", opt->error);
        return KS_OK;
    }
    n = opt && opt->version ? snprintf(h->build, sizeof h->build, "%s", opt->version)
                            : snprintf(h->build, sizeof h->build, "%s, %s", ks_version(), ks_build_info());
    KS_CHECK(n >= 0 && n < (int)sizeof h->build, KS_ERR_ARG, "version text of %d bytes, at most %d", n,
             KS_BUILD_BYTES - 1);
done:
    return st;
}

static ks_status locks_create(ks_control *c) {
    ks_status          st = KS_OK;
    pthread_condattr_t monotonic;
    KS_CHECK(!pthread_mutex_init(&c->lock, NULL), KS_ERR_NOMEM, "no mutex");
    KS_CHECK(!pthread_condattr_init(&monotonic) && !pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) &&
                 !pthread_cond_init(&c->changed, &monotonic),
             KS_ERR_NOMEM, "no condition variable");
    pthread_condattr_destroy(&monotonic);
    KS_CHECK(!pipe2(c->wake, O_CLOEXEC | O_NONBLOCK), KS_ERR_IO, "pipe: %s", strerror(errno));
done:
    return st;
}

ks_status ks_control_open(const ks_launch *launch, const ks_comm_options *opt, int listen_fd, ks_control **out) {
    ks_status   st = KS_OK;
    ks_control *c  = NULL;
    ks_hello    mine;
    *out = NULL;
    KS_CHECK(launch->size >= 2 && launch->rank >= 0 && launch->rank < launch->size, KS_ERR_ARG, "rank %d of %d",
             launch->rank, launch->size);
    KS_TRY(KS_ZNEW(c, 1));
    c->rank    = launch->rank;
    c->size    = launch->size;
    c->launch  = *launch;
    c->timeout = opt && opt->timeout_s > 0 ? opt->timeout_s : 300;
    /* seldom enough to be free, often enough to be heard many times within the timeout */
    c->period    = fmin(1, c->timeout / 8);
    c->grace     = fmin(10, c->timeout);
    c->exit_code = opt ? opt->exit_code : NULL;
    c->step      = -1;
    c->wake[0] = c->wake[1] = -1;
    atomic_init(&c->has_ended, 0);
    snprintf(c->what, sizeof c->what, "start");
    c->phase_time = ks_wall_seconds();
    KS_TRY(locks_create(c));
    KS_TRY(KS_ZNEW(c->peer, c->size));
    KS_TRY(KS_NEW(c->data_fd, c->size));
    for (int r = 0; r < c->size; r++) c->data_fd[r] = -1;
    KS_TRY(KS_ZNEW(c->link, c->size));
    for (int r = 0; r < c->size; r++) c->link[r].fd = -1;
    KS_TRY(KS_ZNEW(c->has_bye, c->size));
    KS_TRY(fill_hello(c, opt, &mine));
    memcpy(c->peer[c->rank].host, mine.host, sizeof mine.host);
    c->peer[c->rank].pid = mine.pid;
    if (c->rank == 0) {
        const int fd = listen_fd;
        listen_fd    = -1;
        KS_TRY(ks_control_host_ranks(c, &mine, fd));
    } else KS_TRY(ks_control_join(c, &mine));
    find_places(c);
    KS_TRY(ks_control_watch_start(c));
    *out = c;
    c    = NULL;
done:
    if (opt && opt->is_told) *opt->is_told = c && c->end_source == KS_END_TOLD; /* no thread runs in a refused one */
    ks_socket_close(&listen_fd);
    ks_control_close(&c);
    return st;
}

void ks_control_close(ks_control **control) {
    ks_control *c = *control;
    if (!c) return;
    if (c->has_thread) ks_control_watch_stop(c);
    for (int r = 0; r < c->size; r++) {
        if (c->data_fd) ks_socket_close(&c->data_fd[r]);
        if (c->link) ks_socket_close(&c->link[r].fd);
    }
    ks_socket_close(&c->wake[0]);
    ks_socket_close(&c->wake[1]);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    KS_FREE(c->peer);
    KS_FREE(c->data_fd);
    KS_FREE(c->link);
    KS_FREE(c->has_bye);
    KS_FREE(*control);
}

/* ---- the end of the job ---- */

static struct timespec time_after(double seconds) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    seconds += (double)t.tv_nsec * 1e-9;
    t.tv_sec += (time_t)seconds;
    t.tv_nsec = (long)(fmod(seconds, 1) * 1e9);
    return t;
}

static void fail(ks_control *c, ks_status status, ks_end_source source, const char *message) {
    const struct timespec end = time_after(fmin(1, c->timeout));
    ks_control_end(c, status, source, message);
    ks_control_wake(c);
    pthread_mutex_lock(&c->lock);
    if (!c->is_noticed) {
        c->is_noticed   = 1;
        c->noticed_time = ks_wall_seconds();
    }
    while (!c->is_sent && !c->has_left)
        if (pthread_cond_timedwait(&c->changed, &c->lock, &end)) break;
    pthread_mutex_unlock(&c->lock);
}

void ks_control_fail(ks_control *c, ks_status status, const char *message) { fail(c, status, KS_END_OWN, message); }
void ks_control_verdict(ks_control *c, ks_status status, const char *message) {
    fail(c, status, KS_END_FOUND, message);
}

ks_status ks_control_poll(ks_control *c) {
    ks_status st = KS_OK;
    char      text[KS_TEXT_BYTES];
    if (!atomic_load_explicit(&c->has_ended, memory_order_acquire)) return KS_OK;
    pthread_mutex_lock(&c->lock);
    if (!c->is_noticed) {
        c->is_noticed   = 1;
        c->noticed_time = ks_wall_seconds();
    }
    memcpy(text, c->end_text, sizeof text);
    st = c->end_status;
    pthread_mutex_unlock(&c->lock);
    KS_CHECK(0, st, "%s", text);
done:
    return st;
}

int ks_control_is_told(const ks_control *c) {
    return c->rank != 0 && atomic_load_explicit(&((ks_control *)c)->has_ended, memory_order_acquire) &&
           c->end_source == KS_END_TOLD;
}

int ks_control_has_ended(const ks_control *c) { return atomic_load(&((ks_control *)c)->has_ended); }

/* Until the watchdog knows why the job is over, or that `rank` (-1: nobody) has ended in good order: then 1. */
static int await_word(ks_control *c, int rank) {
    const struct timespec end = time_after(fmin(3, c->timeout / 2));
    int                   bye = 0;
    pthread_mutex_lock(&c->lock);
    while (!atomic_load(&c->has_ended) && !(bye = rank >= 0 && c->has_bye[rank]))
        if (pthread_cond_timedwait(&c->changed, &c->lock, &end)) break;
    pthread_mutex_unlock(&c->lock);
    return bye;
}

ks_status ks_control_blame(ks_control *c, ks_status status, const char *message) {
    ks_status st = KS_OK;
    (void)await_word(c, -1);
    KS_TRY(ks_control_poll(c));
    ks_control_verdict(c, status, message);
    KS_CHECK(0, status, "%s", message);
done:
    return st;
}

/* ---- waits ---- */

void ks_control_wait_begin(ks_control *c, const char *what, int64_t step) {
    pthread_mutex_lock(&c->lock);
    if (!c->depth++) {
        snprintf(c->what, sizeof c->what, "%s", what ? what : "");
        if (step >= 0) c->step = step;
        c->calls++;
        c->phase_time = ks_wall_seconds();
    }
    pthread_mutex_unlock(&c->lock);
}

static void wait_end(ks_control *c, int counts) {
    const double now = ks_wall_seconds();
    pthread_mutex_lock(&c->lock);
    if (!--c->depth) {
        if (counts) c->wait_seconds += now - c->phase_time;
        c->phase_time = now;
    }
    pthread_mutex_unlock(&c->lock);
}

void   ks_control_wait_end(ks_control *c) { wait_end(c, 1); }
void   ks_control_wait_drop(ks_control *c) { wait_end(c, 0); }
double ks_control_wait_seconds(const ks_control *c) {
    return c->wait_seconds;
} /* written by the calling thread alone */

/* ---- blocks ---- */

/* The data connection is broken: why, the watchdog should know. */
static ks_status lost(ks_control *c, int rank, int error) {
    ks_status st = KS_OK;
    char      name[KS_HOST_NAME + 64], text[KS_TEXT_BYTES], what[KS_WHAT_BYTES];
    const int bye = await_word(c, rank);
    KS_TRY(ks_control_poll(c));
    pthread_mutex_lock(&c->lock);
    memcpy(what, c->what, sizeof what);
    pthread_mutex_unlock(&c->lock);
    snprintf(text, sizeof text, "%s %s while rank %d waits for it in '%s'%s%s. See its log",
             ks_control_name(c, rank, name),
             bye     ? "has ended in good order"
             : error ? "cannot be reached"
                     : "has ended",
             c->rank, what, error && !bye ? ": " : "", error && !bye ? strerror(error) : "");
    ks_control_verdict(c, KS_ERR_COMM, text);
    KS_CHECK(0, KS_ERR_COMM, "%s", text);
done:
    return st;
}

ks_status ks_control_swap(ks_control *c, int rank, const void *out, size_t out_bytes, void *in, size_t in_bytes) {
    ks_status   st    = KS_OK;
    const char *o     = out;
    char       *i     = in;
    int         ready = POLLIN | POLLOUT; /* may be; tried before the first wait */
    const int   fd    = c->data_fd[rank];
    while (out_bytes || in_bytes) {
        if (out_bytes && ready & POLLOUT) {
            const ssize_t n = send(fd, o, out_bytes, MSG_NOSIGNAL);
            if (n > 0) o += n, out_bytes -= (size_t)n;
            if (n < 0 && errno != EINTR) {
                if (errno != EAGAIN && errno != EWOULDBLOCK) return lost(c, rank, errno);
                ready &= ~POLLOUT;
            }
        }
        if (in_bytes && ready & POLLIN) {
            const ssize_t n = recv(fd, i, in_bytes, 0);
            if (n > 0) i += n, in_bytes -= (size_t)n;
            if (n == 0) return lost(c, rank, 0);
            if (n < 0 && errno != EINTR) {
                if (errno != EAGAIN && errno != EWOULDBLOCK) return lost(c, rank, errno);
                ready &= ~POLLIN;
            }
        }
        if ((out_bytes && ready & POLLOUT) || (in_bytes && ready & POLLIN) || !(out_bytes || in_bytes)) continue;
        KS_TRY(ks_control_poll(c));
        if (ks_socket_wait(fd, (short)((out_bytes ? POLLOUT : 0) | (in_bytes ? POLLIN : 0)), LOOK_S))
            ready = POLLIN | POLLOUT;
    }
done:
    return st;
}

ks_status ks_control_send(ks_control *c, int rank, const void *x, size_t bytes) {
    return ks_control_swap(c, rank, x, bytes, NULL, 0);
}

ks_status ks_control_recv(ks_control *c, int rank, void *x, size_t bytes) {
    return ks_control_swap(c, rank, NULL, 0, x, bytes);
}
