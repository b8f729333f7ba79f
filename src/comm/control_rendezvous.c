/* control_rendezvous.c -- rank 0 gathers the others.
 *
 * Everybody who connects is a stranger until a whole hello with the magic and the key of this job has come; a stranger
 * who is wrong, slow or silent is closed and changes nothing for the others. A hello is answered at once (WAIT),
 * so that a rank knows that it has found rank 0; when all have come, everybody gets GO and the list of all ranks,
 * and when something is wrong, everybody gets REFUSED and why, for a while also those who come later. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "comm/control_impl.h"
#include "core/machine.h"

enum { STRANGERS = 64 }; /* kept beside the connections of ranks; the oldest gives way */

typedef struct guest {
    int      fd;
    int      is_known; /* the hello was right and has been answered */
    double   since;
    size_t   n_in;
    ks_hello in;
} guest;

typedef struct meeting {
    ks_control     *c;
    const ks_hello *mine;
    int             listen_fd, port;
    double          deadline;
    int64_t         n_guest, max_guest;
    guest          *guest;
    int            *at;   /* (size, KS_LINK_N): index into guest, -1: has not come */
    char           *told; /* (size) was refused, and knows it */
    int             is_refused;
    char            text[KS_TEXT_BYTES];
} meeting;

static void answer_fill(ks_answer *a, ks_answer_kind kind, int size) {
    memset(a, 0, sizeof *a);
    memcpy(a->magic, KS_ANSWER_MAGIC, sizeof a->magic);
    a->kind = kind;
    a->size = size;
}

/* Fits into the empty buffer of a new connection: does not wait. */
static int answer_send(int fd, const ks_answer *a) {
    return send(fd, a, sizeof *a, MSG_NOSIGNAL) == (ssize_t)sizeof *a ? 0 : -1;
}

/* Swaps the last guest into place g. */
static void guest_drop(meeting *m, int64_t g) {
    ks_socket_close(&m->guest[g].fd);
    for (int64_t i = 0; i < (int64_t)m->c->size * KS_LINK_N; i++) {
        if (m->at[i] == (int)g) m->at[i] = -1;
        else if (m->at[i] == (int)m->n_guest - 1) m->at[i] = (int)g;
    }
    m->guest[g] = m->guest[--m->n_guest];
}

static void guest_refuse(meeting *m, int64_t g) {
    const ks_hello *h = &m->guest[g].in;
    ks_answer       a;
    answer_fill(&a, KS_ANSWER_REFUSED, m->c->size);
    memcpy(a.text, m->text, sizeof a.text);
    if (!answer_send(m->guest[g].fd, &a) && h->rank > 0 && h->rank < m->c->size && h->link == KS_LINK_DATA)
        m->told[h->rank] = 1;
}

/* From here on everybody is refused; ranks that are on their way get a little time to hear it. */
static void KS_PRINTF(2, 3) refuse(meeting *m, const char *fmt, ...) {
    va_list ap;
    if (m->is_refused) return;
    va_start(ap, fmt);
    vsnprintf(m->text, sizeof m->text, fmt, ap);
    va_end(ap);
    m->is_refused = 1;
    m->deadline   = fmin(m->deadline, ks_wall_seconds() + fmin(10, m->c->timeout / 4));
    for (int64_t g = 0; g < m->n_guest; g++)
        if (m->guest[g].is_known) guest_refuse(m, g);
}

/* 0: a stranger, to be closed. */
static int hello_check(meeting *m, int64_t g) {
    ks_control     *c    = m->c;
    guest          *u    = &m->guest[g];
    ks_hello       *h    = &u->in;
    const ks_hello *mine = m->mine;
    ks_answer       a;
    if (memcmp(h->magic, mine->magic, sizeof h->magic) || h->job != mine->job) return 0;
    if (h->protocol == mine->protocol && h->bytes == mine->bytes) {
        if (u->n_in < sizeof *h) return 1; /* the rest is on its way */
        h->host[sizeof h->host - 1] = h->build[sizeof h->build - 1] = 0;
        if (h->link < 0 || h->link >= KS_LINK_N) return 0;
    } else {
        memset((char *)h + KS_HELLO_FIXED, 0, sizeof *h - KS_HELLO_FIXED);
        snprintf(h->host, sizeof h->host, "another host");
        snprintf(h->build, sizeof h->build, "protocol %u, here %u", h->protocol, mine->protocol);
    }
    u->is_known = 1;
    if (m->is_refused) {
        guest_refuse(m, g);
        return 1;
    }
    if (h->has_failed != mine->has_failed || (h->has_failed && strcmp(h->build, mine->build)))
        refuse(m, "rank %d on %s cannot start: %s", h->has_failed ? h->rank : 0, h->has_failed ? h->host : mine->host,
               h->has_failed ? h->build : mine->build);
    else if (strcmp(h->build, mine->build))
        refuse(
            m,
            "rank %d on %s runs another ksgrad than rank 0 on %s: '%s' against '%s'. Start the same file on all nodes",
            h->rank, h->host, mine->host, h->build, mine->build);
    else if (h->size != c->size || h->rank < 0 || h->rank >= c->size)
        refuse(m,
               "rank %d on %s (pid %lld) believes in %d ranks, rank 0 on %s in %d. Give all the same --ranks, or "
               "leave them to the launcher",
               h->rank, h->host, (long long)h->pid, h->size, mine->host, c->size);
    else if (h->config_hash != mine->config_hash)
        refuse(m,
               "rank %d on %s has another config than rank 0 on %s (hash %016llx against %016llx). Start all with the "
               "same file and --set options",
               h->rank, h->host, mine->host, (unsigned long long)h->config_hash, (unsigned long long)mine->config_hash);
    else if (h->rank == 0)
        refuse(m, "two processes are rank 0: pid %lld on %s and pid %lld on %s. Give each its own --rank",
               (long long)mine->pid, mine->host, (long long)h->pid, h->host);
    if (m->is_refused) return 1;
    int *at = &m->at[h->rank * KS_LINK_N + h->link];
    if (*at >= 0) { /* the same process again has given up the first connection; another one is one too many */
        const ks_hello *first = &m->guest[*at].in;
        if (first->pid != h->pid || strcmp(first->host, h->host)) {
            refuse(m, "two processes are rank %d: pid %lld on %s and pid %lld on %s. Give each its own --rank", h->rank,
                   (long long)first->pid, first->host, (long long)h->pid, h->host);
            return 1;
        }
        m->guest[*at].is_known = 0; /* dropped as a stranger by and by */
        m->guest[*at].since    = -INFINITY;
    }
    *at = (int)g;
    answer_fill(&a, KS_ANSWER_WAIT, c->size);
    a.seconds = fmax(m->deadline - ks_wall_seconds(), 0);
    return !answer_send(u->fd, &a);
}

/* 0: to be closed. */
static int guest_read(meeting *m, int64_t g) {
    guest *u = &m->guest[g];
    if (u->is_known) { /* a rank has nothing to say now: it has gone, or is not one of ours */
        char          c;
        const ssize_t n = recv(u->fd, &c, 1, 0);
        return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
    }
    for (;;) {
        const size_t  want = (u->n_in < KS_HELLO_FIXED ? KS_HELLO_FIXED : sizeof u->in) - u->n_in;
        const ssize_t n    = recv(u->fd, (char *)&u->in + u->n_in, want, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
        if (n == 0) return 0;
        u->n_in += (size_t)n;
        if (u->n_in < KS_HELLO_FIXED) continue;
        if (!hello_check(m, g)) return 0;
        if (u->is_known) return 1;
    }
}

static void meeting_accept(meeting *m) {
    for (;;) {
        int64_t oldest = -1, n_stranger = 0;
        int     fd = accept4(m->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && errno == EINTR) continue;
        if (fd < 0) return; /* nobody, or somebody who has gone again */
        if (ks_socket_prepare(fd) != KS_OK) {
            ks_socket_close(&fd);
            continue;
        }
        for (int64_t g = 0; g < m->n_guest; g++)
            if (!m->guest[g].is_known) {
                n_stranger++;
                if (oldest < 0 || m->guest[g].since < m->guest[oldest].since) oldest = g;
            }
        if (n_stranger >= STRANGERS || m->n_guest == m->max_guest) guest_drop(m, oldest >= 0 ? oldest : 0);
        guest *u    = &m->guest[m->n_guest++];
        u->fd       = fd;
        u->is_known = 0;
        u->since    = ks_wall_seconds();
        u->n_in     = 0;
    }
}

static int meeting_is_over(const meeting *m) {
    for (int r = 1; r < m->c->size; r++)
        if (m->is_refused ? !m->told[r] : m->at[r * KS_LINK_N] < 0 || m->at[r * KS_LINK_N + 1] < 0) return 0;
    return 1;
}

/* " 1 and 3", " 1, 2 and 5": the ranks (not) there; long lists are cut. Returns how many. */
static int list_ranks(const meeting *m, int is_there, char *out, size_t size) {
    int    n = 0, shown = 0;
    size_t used = 0;
    for (int r = 1; r < m->c->size; r++) n += (m->at[r * KS_LINK_N] >= 0) == is_there;
    out[0] = 0;
    for (int r = 1; r < m->c->size && shown < 8; r++) {
        const int g = m->at[r * KS_LINK_N];
        if ((g >= 0) != is_there) continue;
        used += (size_t)snprintf(out + used, size - used, "%s%d", !shown ? "" : shown + 1 < n ? ", " : " and ", r);
        if (is_there && used < size) used += (size_t)snprintf(out + used, size - used, " on %s", m->guest[g].in.host);
        shown++;
        if (used >= size) return n;
    }
    if (shown < n) snprintf(out + used, size - used, " and %d more", n - shown);
    return n;
}

static void refuse_missing(meeting *m) {
    char      gone[256], come[384];
    const int n_gone = list_ranks(m, 0, gone, sizeof gone), n_come = list_ranks(m, 1, come, sizeof come);
    if (!n_gone) /* one of the two connections of a rank */
        refuse(m, "not all ranks have completed their connections within %g s (comm.timeout_s). Look at their logs",
               m->c->timeout);
    else
        refuse(m,
               "rank%s %s of %d %s not come within %g s (comm.timeout_s; here: 0 on %s%s%s). Look at their logs; can "
               "they reach rank 0 at %s, port %d?",
               n_gone == 1 ? "" : "s", gone, m->c->size, n_gone == 1 ? "has" : "have", m->c->timeout, m->mine->host,
               n_come ? ", " : "", come, m->c->launch.address[0] ? m->c->launch.address : m->mine->host, m->port);
}

static ks_status meeting_run(meeting *m, struct pollfd *p) {
    ks_status    st      = KS_OK;
    const double hello_s = fmin(5, m->c->timeout / 2); /* a rank says its hello at once */
    while (!meeting_is_over(m)) {
        const double  now = ks_wall_seconds();
        const int64_t n   = m->n_guest;
        if (now >= m->deadline) {
            if (m->is_refused) break;
            refuse_missing(m);
            break;
        }
        p[0] = (struct pollfd){.fd = m->listen_fd, .events = POLLIN};
        for (int64_t g = 0; g < n; g++) p[g + 1] = (struct pollfd){.fd = m->guest[g].fd, .events = POLLIN};
        if (poll(p, (nfds_t)n + 1, (int)fmin(ceil((m->deadline - now) * 1e3), 100)) < 0 && errno != EINTR)
            KS_CHECK(0, KS_ERR_COMM, "poll: %s", strerror(errno));
        for (int64_t g = n - 1; g >= 0; g--) /* from the end: dropping moves the last one, which has been seen */
            if ((p[g + 1].revents && !guest_read(m, g)) ||
                (!m->guest[g].is_known && ks_wall_seconds() - m->guest[g].since > hello_s))
                guest_drop(m, g);
        if (p[0].revents) meeting_accept(m);
    }
    KS_CHECK(!m->is_refused, KS_ERR_COMM, "%s", m->text);
done:
    return st;
}

static ks_status meeting_go(meeting *m) {
    ks_status   st = KS_OK;
    ks_control *c  = m->c;
    ks_answer   a;
    answer_fill(&a, KS_ANSWER_GO, c->size);
    for (int r = 1; r < c->size; r++) {
        const guest *u = &m->guest[m->at[r * KS_LINK_N]];
        memcpy(c->peer[r].host, u->in.host, sizeof c->peer[r].host);
        c->peer[r].pid = u->in.pid;
    }
    for (int r = 1; r < c->size; r++) {
        for (int l = 0; l < KS_LINK_N; l++) {
            guest *u                                               = &m->guest[m->at[r * KS_LINK_N + l]];
            *(l == KS_LINK_DATA ? &c->data_fd[r] : &c->link[r].fd) = u->fd;
            u->fd                                                  = -1;
        }
        if (ks_socket_write(c->data_fd[r], &a, sizeof a, c->timeout) ||
            ks_socket_write(c->data_fd[r], c->peer, (size_t)c->size * sizeof *c->peer, c->timeout))
            KS_CHECK(0, KS_ERR_COMM, "rank %d (%s) is gone again: %s. See its log", r, c->peer[r].host,
                     errno ? strerror(errno) : "connection closed");
    }
done:
    return st;
}

ks_status ks_control_host_ranks(ks_control *c, const ks_hello *mine, int listen_fd) {
    ks_status        st   = KS_OK;
    const ks_launch *l    = &c->launch;
    struct pollfd   *p    = NULL;
    int              port = l->port, taken = 1, last = l->port + (l->n_port > 1 ? l->n_port : 1) - 1;
    meeting          m = {.c = c, .mine = mine, .listen_fd = listen_fd};
    m.max_guest        = STRANGERS + 2 * (int64_t)c->size * KS_LINK_N;
    m.deadline         = ks_wall_seconds() + c->timeout;
    m.port             = port;
    for (; m.listen_fd < 0 && port <= last && taken; port++)
        KS_TRY(ks_socket_listen(port, &m.listen_fd, &taken, &m.port));
    if (m.listen_fd < 0 && last == l->port)
        KS_CHECK(0, KS_ERR_COMM,
                 "rank 0 cannot listen on port %d of %s: it is taken. Another job? Choose another one (--rendezvous "
                 "%s:PORT)",
                 l->port, mine->host, l->address[0] ? l->address : mine->host);
    KS_CHECK(m.listen_fd >= 0, KS_ERR_COMM, "rank 0 cannot listen on any port of %d to %d of %s: all are taken",
             l->port, last, mine->host);
    KS_TRY(KS_ZNEW(m.guest, m.max_guest));
    KS_TRY(KS_ZNEW(p, m.max_guest + 1));
    KS_TRY(KS_NEW(m.at, (int64_t)c->size * KS_LINK_N));
    KS_TRY(KS_ZNEW(m.told, c->size));
    for (int64_t i = 0; i < (int64_t)c->size * KS_LINK_N; i++) m.at[i] = -1;
    KS_TRY(meeting_run(&m, p));
    KS_TRY(meeting_go(&m));
done:
    for (int64_t g = 0; m.guest && g < m.n_guest; g++) {
        if (m.guest[g].fd >= 0) shutdown(m.guest[g].fd, SHUT_WR); /* a refusal still goes out */
        ks_socket_close(&m.guest[g].fd);
    }
    ks_socket_close(&m.listen_fd);
    KS_FREE(m.guest);
    KS_FREE(p);
    KS_FREE(m.at);
    KS_FREE(m.told);
    return st;
}
