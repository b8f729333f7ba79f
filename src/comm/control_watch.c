/* control_watch.c -- the watchdog: a thread per rank that tells and hears who is alive, who waits, and that the job is
 * over.
 *
 * Every `period` each rank tells rank 0, and rank 0 everybody, what it does: at work or waiting, in which call,
 * how many calls so far, for how long. The job is over when
 *   a connection ends without BYE            the process is dead
 *   nothing has come for longer than timeout it is stopped, or its node or the network is
 *   somebody waits longer than timeout       rank 0 names those who are at work or at an earlier call
 *   a rank says ABORT                        its calling thread has met an error
 * Rank 0 passes the end on to all. A calling thread that does not take notice of the end within `grace`, or does not
 * close the communicator within three times that, is stuck: then the watchdog ends the process. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "comm/control_impl.h"
#include "core/machine.h"
#include "ksgrad/log.h"

typedef struct watch {
    ks_control    *c;
    int            first, last; /* links in use: c->link[first..last] */
    struct pollfd *p;           /* (size + 1) */
    double         next_beat, last_turn, leave_time;
    int            is_leaving;
} watch;

void ks_control_wake(ks_control *c) {
    const char one = 1;
    while (write(c->wake[1], &one, 1) < 0 && errno == EINTR) {
    } /* full: it will wake up anyway */
}

void ks_control_end(ks_control *c, ks_status status, ks_end_source source, const char *text) {
    pthread_mutex_lock(&c->lock);
    if (!atomic_load(&c->has_ended)) {
        c->end_status = status > KS_OK && status < KS_STATUS_COUNT ? status : KS_ERR_COMM;
        c->end_source = source;
        c->end_time   = ks_wall_seconds();
        snprintf(c->end_text, sizeof c->end_text, "%s", text);
        atomic_store_explicit(&c->has_ended, 1, memory_order_release);
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- frames ---- */

/* 0: the one before is not out yet. */
static int link_put(ks_watch_link *l, const ks_watch_frame *f) {
    if (l->n_out) return 0;
    l->out   = *f;
    l->n_out = sizeof *f;
    return 1;
}

static void link_write(ks_watch_link *l) {
    while (l->n_out && l->fd >= 0) {
        const ssize_t n = send(l->fd, (const char *)&l->out + (sizeof l->out - l->n_out), l->n_out, MSG_NOSIGNAL);
        if (n > 0) l->n_out -= (size_t)n;
        else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        else if (n < 0 && errno != EINTR) {
            l->n_out = 0; /* reading will tell that it is gone */
            return;
        }
    }
    if (l->fd >= 0 && (l->sent_bye || l->sent_abort)) shutdown(l->fd, SHUT_WR);
}

static ks_watch_frame beat(ks_control *c) {
    ks_watch_frame f = {.kind = KS_WATCH_BEAT};
    pthread_mutex_lock(&c->lock);
    f.is_waiting = c->depth > 0;
    f.calls      = c->calls;
    f.step       = c->step;
    f.seconds    = ks_wall_seconds() - c->phase_time;
    memcpy(f.what, c->what, sizeof f.what);
    pthread_mutex_unlock(&c->lock);
    return f;
}

/* ---- what has come ---- */

static void heard(watch *w, int rank, ks_watch_link *l) {
    ks_control           *c = w->c;
    const ks_watch_frame *f = &l->in;
    char                  text[KS_TEXT_BYTES], name[KS_HOST_NAME + 64];
    l->heard                      = ks_wall_seconds();
    l->in.what[KS_WHAT_BYTES - 1] = l->in.text[KS_TEXT_BYTES - 1] = 0;
    switch (f->kind) {
    case KS_WATCH_BEAT:
        l->last = *f;
        break;
    case KS_WATCH_BYE:
        ks_socket_close(&l->fd);
        pthread_mutex_lock(&c->lock);
        c->has_bye[rank] = 1;
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->lock);
        break;
    case KS_WATCH_ABORT:
        ks_socket_close(&l->fd);
        ks_control_end(c, f->status, KS_END_TOLD, f->text);
        break;
    default:
        ks_socket_close(&l->fd);
        snprintf(text, sizeof text, "%s has sent something that is no heartbeat: memory overwritten?",
                 ks_control_name(c, rank, name));
        ks_control_end(c, KS_ERR_COMM, KS_END_FOUND, text);
    }
}

static void gone(watch *w, int rank, ks_watch_link *l) {
    ks_control *c = w->c;
    char        text[KS_TEXT_BYTES], name[KS_HOST_NAME + 64];
    ks_socket_close(&l->fd);
    if (l->sent_bye || l->sent_abort) return; /* that is its answer */
    snprintf(
        text, sizeof text,
        "%s has gone without a word: killed, or out of memory. See its log and dmesg on %s. The run goes on from its "
        "last checkpoint",
        ks_control_name(c, rank, name), c->peer[rank].host);
    ks_control_end(c, KS_ERR_COMM, KS_END_FOUND, text);
}

static void link_read(watch *w, int rank, ks_watch_link *l) {
    while (l->fd >= 0) {
        const ssize_t n = recv(l->fd, (char *)&l->in + l->n_in, sizeof l->in - l->n_in, 0);
        if (n > 0) {
            l->n_in += (size_t)n;
            if (l->n_in < sizeof l->in) continue;
            l->n_in = 0;
            heard(w, rank, l);
        } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        else if (n == 0 || errno != EINTR) gone(w, rank, l);
    }
}

/* ---- verdicts ---- */

static void judge_silence(watch *w) {
    ks_control  *c   = w->c;
    const double now = ks_wall_seconds();
    for (int r = w->first; r <= w->last; r++) {
        const ks_watch_link *l = &c->link[r];
        char                 text[KS_TEXT_BYTES], name[KS_HOST_NAME + 64];
        if (l->fd < 0 || now - l->heard <= c->timeout) continue;
        snprintf(
            text, sizeof text,
            "%s has been silent for %.3g s (comm.timeout_s %g): stopped, or its node or the network to it is down. See "
            "its log. The run goes on from its last checkpoint",
            ks_control_name(c, r, name), now - l->heard, c->timeout);
        ks_control_end(c, KS_ERR_COMM, KS_END_FOUND, text);
        return;
    }
}

/* "rank 2 (node02, pid 77), at work for 312 s since 'validation' (step 40)" */
static void describe(const watch *w, int rank, const ks_watch_frame *f, char *out, size_t size) {
    const ks_control *c = w->c;
    char              name[KS_HOST_NAME + 64], step[32] = "";
    if (f->step >= 0) snprintf(step, sizeof step, " (step %lld)", (long long)f->step);
    ks_control_name(c, rank, name);
    if (c->has_bye[rank]) snprintf(out, size, "%s, which has ended in good order after '%s'%s", name, f->what, step);
    else if (f->is_waiting) snprintf(out, size, "%s, which is at '%s'%s", name, f->what, step);
    else snprintf(out, size, "%s, at work for %.3g s since '%s'%s", name, f->seconds, f->what, step);
}

typedef enum lateness { ON_TIME, BEHIND, AWAY } lateness; /* waits at an earlier call; does not wait at all */

/* Rank 0: has anybody waited for too long, and for whom? A wait counts as its rank reports it; two periods more,
 * so that all others have reported later than the moment it became too long. */
static void judge_waits(watch *w) {
    ks_control    *c       = w->c;
    ks_watch_frame longest = {.seconds = -1}, f;
    lateness       worst   = ON_TIME;
    uint64_t       calls   = 0;
    int            who = -1, n                    = 0;
    char           text[KS_TEXT_BYTES], late[640] = "";
    size_t         used = 0;
    for (int r = 0; r < c->size; r++) {
        f = r == c->rank ? beat(c) : c->link[r].last;
        if (c->has_bye[r] || !f.is_waiting) continue;
        if (f.seconds > longest.seconds) longest = f, who = r;
        if (f.calls > calls) calls = f.calls;
    }
    if (who < 0 || longest.seconds <= c->timeout + 2 * c->period) return;
    for (int pass = 0; pass < 2; pass++) /* those who are behind may themselves wait for those who are away */
        for (int r = 0; r < c->size; r++) {
            f                = r == c->rank ? beat(c) : c->link[r].last;
            const lateness l = c->has_bye[r] || !f.is_waiting ? AWAY : f.calls < calls ? BEHIND : ON_TIME;
            if (pass == 0 && l > worst) worst = l;
            if (pass == 0 || l == ON_TIME || l < worst) continue;
            if (n++ >= 3 || used >= sizeof late - 32) continue;
            if (n > 1) used += (size_t)snprintf(late + used, sizeof late - used, "; ");
            describe(w, r, &f, late + used, sizeof late - used);
            used = strlen(late);
        }
    if (n > 3) snprintf(late + used, sizeof late - used, "; and %d more", n - 3);
    if (n)
        snprintf(
            text, sizeof text,
            "rank %d (%.64s) has waited for %.3g s in '%s' (comm.timeout_s %g) for %s. See the log there. The run goes "
            "on from its last checkpoint",
            who, c->peer[who].host, longest.seconds, longest.what, c->timeout, late);
    else
        snprintf(
            text, sizeof text,
            "all ranks have waited for %.3g s in '%s' (comm.timeout_s %g): the network between them does not carry "
            "data, or the call takes longer than that. NCCL_DEBUG=INFO shows what it uses, NCCL_SOCKET_IFNAME chooses "
            "the interface",
            longest.seconds, longest.what, c->timeout);
    ks_control_end(c, KS_ERR_COMM, KS_END_FOUND, text);
}

/* ---- the thread ---- */

/* The calling thread does not come back. Files are written under another name and moved, so nothing is half
 * written. */
static void end_process(ks_control *c, ks_status status, int speaks, double seconds) {
    char text[KS_TEXT_BYTES];
    pthread_mutex_lock(&c->lock);
    memcpy(text, c->end_text, sizeof text);
    pthread_mutex_unlock(&c->lock);
    if (speaks)
        ks_log(KS_LOG_ERROR, "[rank %d of %d, %s] %s (this rank was busy and is ended after %.3g s)", c->rank, c->size,
               c->peer[c->rank].host, text, seconds);
    _exit(c->exit_code ? c->exit_code(status) : 5);
}

static void after_end(watch *w) {
    ks_control    *c     = w->c;
    ks_watch_frame f     = {.kind = KS_WATCH_ABORT};
    const double   now   = ks_wall_seconds();
    int            n_due = 0, speaks;
    double         stuck;
    char           name[KS_HOST_NAME + 64];
    pthread_mutex_lock(&c->lock);
    f.status = c->end_status;
    if (c->end_source == KS_END_OWN) /* the others are told whose error it is */
        snprintf(f.text, sizeof f.text, "%s: %.*s", ks_control_name(c, c->rank, name),
                 (int)(sizeof f.text - sizeof name), c->end_text);
    else memcpy(f.text, c->end_text, sizeof f.text);
    stuck  = c->is_noticed ? now - c->noticed_time - 3 * c->grace : now - c->end_time - c->grace;
    speaks = c->rank == 0 || c->end_source != KS_END_TOLD;
    pthread_mutex_unlock(&c->lock);
    for (int r = w->first; r <= w->last; r++) {
        ks_watch_link *l = &c->link[r];
        if (l->fd >= 0 && !l->sent_abort && !l->sent_bye && link_put(l, &f)) l->sent_abort = 1;
        link_write(l);
        n_due += l->fd >= 0 && (l->n_out || !(l->sent_abort || l->sent_bye));
    }
    if (!n_due) {
        pthread_mutex_lock(&c->lock);
        if (!c->is_sent) pthread_cond_broadcast(&c->changed);
        c->is_sent = 1;
        pthread_mutex_unlock(&c->lock);
    }
    if (stuck > 0) end_process(c, f.status, speaks, c->grace);
}

static void say_bye(watch *w) {
    const ks_watch_frame f = {.kind = KS_WATCH_BYE};
    for (int r = w->first; r <= w->last; r++) {
        ks_watch_link *l = &w->c->link[r];
        if (l->fd >= 0 && !l->sent_bye && !l->sent_abort && link_put(l, &f)) l->sent_bye = 1;
        link_write(l);
    }
}

static void say_beat(watch *w) {
    const ks_watch_frame f = beat(w->c);
    for (int r = w->first; r <= w->last; r++) {
        ks_watch_link *l = &w->c->link[r];
        if (l->fd >= 0 && !l->sent_bye && !l->sent_abort)
            (void)link_put(l, &f); /* the last is on its way: it is late */
        link_write(l);
    }
}

/* Waits for something to do, at most until the next heartbeat; reads and writes what can be. Returns the open
 * links. */
static int turn(watch *w) {
    ks_control  *c      = w->c;
    const double now    = ks_wall_seconds();
    int          n_open = 0;
    char         bin[64];
    w->p[0] = (struct pollfd){.fd = c->wake[0], .events = POLLIN};
    for (int r = w->first; r <= w->last; r++)
        w->p[1 + r] =
            (struct pollfd){.fd = c->link[r].fd, .events = (short)(POLLIN | (c->link[r].n_out ? POLLOUT : 0))};
    if (w->first) w->p[1] = w->p[0]; /* keeps places the same on rank 0 */
    (void)poll(w->p, (nfds_t)w->last + 2, (int)fmax(0, fmin(ceil((w->next_beat - now) * 1e3), 50)));
    while (read(c->wake[0], bin, sizeof bin) > 0) {
    }
    for (int r = w->first; r <= w->last; r++) {
        link_read(w, r, &c->link[r]);
        link_write(&c->link[r]);
        n_open += c->link[r].fd >= 0;
    }
    return n_open;
}

/* This process itself was suspended, perhaps with all others (a batch system does that), or starved: that time is
 * nobody's silence, and no wait for others. What they have said meanwhile has been read by now. */
static void was_stopped(watch *w, double now) {
    ks_control *c = w->c;
    for (int r = w->first; r <= w->last; r++) c->link[r].heard = now;
    pthread_mutex_lock(&c->lock);
    c->phase_time = fmin(now, c->phase_time + (now - w->last_turn));
    pthread_mutex_unlock(&c->lock);
}

static void *watch_main(void *arg) {
    watch       w = *(watch *)arg;
    ks_control *c = w.c;
    KS_FREE(arg);
    w.last_turn = ks_wall_seconds();
    for (;;) {
        const int    n_open = turn(&w);
        const double now    = ks_wall_seconds();
        if (now - w.last_turn > 4 * c->period) was_stopped(&w, now);
        w.last_turn = now;
        if (!w.is_leaving) {
            pthread_mutex_lock(&c->lock);
            w.is_leaving = c->is_leaving;
            pthread_mutex_unlock(&c->lock);
            w.leave_time = now + fmin(2, c->timeout);
        }
        if (atomic_load_explicit(&c->has_ended, memory_order_acquire)) after_end(&w);
        else if (w.is_leaving) say_bye(&w);
        else if (now >= w.next_beat) {
            w.next_beat = now + c->period;
            say_beat(&w);
            judge_silence(&w);
            if (c->rank == 0) judge_waits(&w);
        }
        if (now >= w.next_beat) w.next_beat = now + c->period;
        if (w.is_leaving && (!n_open || now >= w.leave_time)) break;
    }
    pthread_mutex_lock(&c->lock);
    c->has_left = 1;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    KS_FREE(w.p);
    return NULL;
}

ks_status ks_control_watch_start(ks_control *c) {
    ks_status    st = KS_OK;
    watch       *w  = NULL;
    sigset_t     all, before;
    const double now = ks_wall_seconds();
    int          error;
    KS_TRY(KS_ZNEW(w, 1));
    KS_TRY(KS_ZNEW(w->p, c->size + 2));
    w->c         = c;
    w->first     = c->rank == 0 ? 1 : 0;
    w->last      = c->rank == 0 ? c->size - 1 : 0;
    w->next_beat = now;
    for (int r = w->first; r <= w->last; r++) {
        c->link[r].heard     = now;
        c->link[r].last.step = -1;
        snprintf(c->link[r].last.what, KS_WHAT_BYTES, "start");
    }
    sigfillset(&all); /* signals are the calling thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&c->thread, NULL, watch_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    KS_CHECK(!error, KS_ERR_NOMEM, "no thread for the watchdog: %s", strerror(error));
    c->has_thread = 1;
    w             = NULL;
done:
    if (w) KS_FREE(w->p);
    KS_FREE(w);
    return st;
}

void ks_control_watch_stop(ks_control *c) {
    pthread_mutex_lock(&c->lock);
    c->is_leaving = 1;
    pthread_mutex_unlock(&c->lock);
    ks_control_wake(c);
    pthread_join(c->thread, NULL);
    c->has_thread = 0;
}
