/* control_join.c -- a rank other than 0 looks for rank 0: every address and port in turn until the deadline, because
 * rank 0 may come later, and something else may listen on a port. What has answered as rank 0 of this job is it. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include "comm/control_impl.h"
#include "core/machine.h"

typedef struct search {
    ks_control *c;
    double      deadline;
    double      answer_s;  /* patience with who has taken our hello; grows: the machine may be busy */
    char        last[256]; /* what went wrong last */
} search;

static void pause_for(double seconds) {
    const struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)(fmod(seconds, 1) * 1e9)};
    nanosleep(&t, NULL);
}

/* One address: *fd is a connection that rank 0 has answered; -1: not here. KS_ERR_COMM: refused. */
static ks_status join_address(search *s, const struct addrinfo *to, const ks_hello *hello, int *fd, ks_answer *a) {
    ks_status st   = KS_OK;
    double    left = s->deadline - ks_wall_seconds();
    char      number[NI_MAXHOST], port[NI_MAXSERV];
    if (getnameinfo(to->ai_addr, to->ai_addrlen, number, sizeof number, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV))
        snprintf(number, sizeof number, "?"), port[0] = 0;
    *fd = left > 0 ? ks_socket_connect(to, fmin(left, 2)) : -1;
    if (*fd < 0) {
        if (left > 0) snprintf(s->last, sizeof s->last, "%.64s port %.8s: %s", number, port, strerror(errno));
        return KS_OK;
    }
    left  = fmax(s->deadline - ks_wall_seconds(), 0.1);
    errno = 0;
    if (ks_socket_write(*fd, hello, sizeof *hello, fmin(left, s->answer_s)) ||
        ks_socket_read(*fd, a->magic, sizeof a->magic, fmin(left, s->answer_s)) ||
        memcmp(a->magic, KS_ANSWER_MAGIC, sizeof a->magic) ||
        ks_socket_read(*fd, (char *)a + sizeof a->magic, sizeof *a - sizeof a->magic, fmin(left, s->answer_s))) {
        snprintf(s->last, sizeof s->last,
                 "%.64s port %.8s: something listens there, but it is not rank 0 of this job%s", number, port,
                 errno == ETIMEDOUT ? " (no answer)" : "");
        ks_socket_close(fd);
        return KS_OK;
    }
    a->text[sizeof a->text - 1] = 0;
    if (a->kind == KS_ANSWER_REFUSED) s->c->end_source = KS_END_TOLD;
    KS_CHECK(a->kind != KS_ANSWER_REFUSED, KS_ERR_COMM, "%s", a->text);
done:
    if (st != KS_OK) ks_socket_close(fd);
    return st;
}

/* All addresses of one name. */
static ks_status join_name(search *s, const char *name, const ks_hello *hello, int *fd, ks_answer *a) {
    ks_status        st  = KS_OK;
    const ks_launch *l   = &s->c->launch;
    struct addrinfo *all = NULL,
                    hint = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    const int n_port     = l->n_port > 1 ? l->n_port : 1;
    for (int k = 0; k < n_port && *fd < 0; k++) {
        char port[16];
        int  e;
        snprintf(port, sizeof port, "%d", l->port + k);
        e = getaddrinfo(name, port, &hint, &all);
        if (e) {
            snprintf(s->last, sizeof s->last, "%.128s: %s", name, gai_strerror(e));
            break;
        }
        for (const struct addrinfo *i = all; i && *fd < 0; i = i->ai_next) KS_TRY(join_address(s, i, hello, fd, a));
        freeaddrinfo(all);
        all = NULL;
    }
done:
    if (all) freeaddrinfo(all);
    return st;
}

/* first: a connection of this rank on which rank 0 may have its last word already; then *fd stays -1. */
static ks_status join_link(search *s, ks_hello *hello, ks_link link, int first, int *fd, ks_answer *a) {
    ks_status        st = KS_OK;
    const ks_launch *l  = &s->c->launch;
    hello->link         = link;
    *fd                 = -1;
    for (double pause = 0.02; *fd < 0; pause = fmin(2 * pause, 0.5)) {
        char names[KS_HOST_NAME], *rest = names, *name;
        snprintf(names, sizeof names, "%s", l->address);
        while (*fd < 0 && (name = strsep(&rest, ","))) KS_TRY(join_name(s, name, hello, fd, a));
        if (*fd >= 0 || (first >= 0 && ks_socket_wait(first, POLLIN, 0))) break;
        if (ks_wall_seconds() + pause >= s->deadline) {
            char ports[64];
            snprintf(ports, sizeof ports, l->n_port > 1 ? "ports %d to %d" : "port %d", l->port,
                     l->port + l->n_port - 1);
            KS_CHECK(
                0, KS_ERR_COMM,
                "rank %d on %s has not found rank 0 at %s, %s, within %g s (last: %s). Has rank 0 started (its log)? "
                "May this host connect to that one (firewall)?",
                s->c->rank, hello->host, l->address, ports, s->c->timeout, s->last[0] ? s->last : "nothing");
        }
        pause_for(pause);
        s->answer_s = fmin(2 * s->answer_s, 30);
    }
done:
    return st;
}

ks_status ks_control_join(ks_control *c, const ks_hello *mine) {
    ks_status st    = KS_OK;
    ks_hello  hello = *mine;
    ks_answer a;
    search    s = {.c = c, .deadline = ks_wall_seconds() + c->timeout, .answer_s = 2};
    double    end;
    KS_CHECK(c->launch.address[0], KS_ERR_COMM,
             "rank %d does not know where rank 0 listens. Give --rendezvous host:port", c->rank);
    KS_TRY(join_link(&s, &hello, KS_LINK_DATA, -1, &c->data_fd[0], &a));
    end = ks_wall_seconds() + a.seconds + fmin(5, c->timeout / 2) + 1; /* rank 0 is the one to give up first */
    KS_TRY(join_link(&s, &hello, KS_LINK_WATCH, c->data_fd[0], &c->link[0].fd, &a));
    if (ks_socket_read(c->data_fd[0], &a, sizeof a, end - ks_wall_seconds()))
        KS_CHECK(0, KS_ERR_COMM, "rank 0 at %s %s while it waited for the other ranks. See its log", c->launch.address,
                 errno == ETIMEDOUT ? "has gone silent" : "has gone");
    a.text[sizeof a.text - 1] = 0;
    if (a.kind == KS_ANSWER_REFUSED) c->end_source = KS_END_TOLD;
    KS_CHECK(a.kind != KS_ANSWER_REFUSED, KS_ERR_COMM, "%s", a.text);
    KS_CHECK(a.kind == KS_ANSWER_GO && a.size == c->size && !memcmp(a.magic, KS_ANSWER_MAGIC, sizeof a.magic),
             KS_ERR_COMM, "rank 0 at %s has sent something that is no answer", c->launch.address);
    if (ks_socket_read(c->data_fd[0], c->peer, (size_t)c->size * sizeof *c->peer, c->timeout))
        KS_CHECK(0, KS_ERR_COMM, "rank 0 at %s has gone while it told who is there. See its log", c->launch.address);
    for (int r = 0; r < c->size; r++) c->peer[r].host[KS_HOST_NAME - 1] = 0;
done:
    return st;
}
