/* control_socket.c -- the few socket calls of the control plane: interrupted calls, partial reads and writes and dead
 * peers are handled here. Every socket is non-blocking and every wait has an end. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <math.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "comm/control_impl.h"
#include "core/machine.h"

void ks_socket_close(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

ks_status ks_socket_prepare(int fd) {
    ks_status st = KS_OK;
    const int on = 1, flags = fcntl(fd, F_GETFL);
    KS_CHECK(flags >= 0 && !fcntl(fd, F_SETFL, flags | O_NONBLOCK) && !fcntl(fd, F_SETFD, FD_CLOEXEC), KS_ERR_COMM,
             "fcntl of a socket: %s", strerror(errno));
    /* both only make things faster or end them sooner */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
done:
    return st;
}

/* IPv6 sockets serve IPv4 as well; where the kernel has no IPv6, IPv4 alone. */
ks_status ks_socket_listen(int port, int *fd, int *taken, int *bound) {
    ks_status               st = KS_OK;
    const int               on = 1, off = 0;
    struct sockaddr_storage name = {0};
    socklen_t               len  = sizeof(struct sockaddr_in6);
    int                     s = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), v6 = s >= 0;
    *fd    = -1;
    *taken = 0;
    if (v6) {
        struct sockaddr_in6 *a = (struct sockaddr_in6 *)&name;
        a->sin6_family         = AF_INET6;
        a->sin6_addr           = in6addr_any;
        a->sin6_port           = htons((uint16_t)port);
        (void)setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    for (;; v6 = 0) {
        if (!v6) {
            struct sockaddr_in *a = (struct sockaddr_in *)&name;
            ks_socket_close(&s);
            s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
            KS_CHECK(s >= 0, KS_ERR_COMM, "no socket: %s", strerror(errno));
            memset(&name, 0, sizeof name);
            len                = sizeof *a;
            a->sin_family      = AF_INET;
            a->sin_addr.s_addr = htonl(INADDR_ANY);
            a->sin_port        = htons((uint16_t)port);
        }
        /* a port whose last user has gone may be used again; one that somebody listens on may not */
        (void)setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (!bind(s, (struct sockaddr *)&name, len) && !listen(s, SOMAXCONN)) break;
        if (errno == EADDRINUSE) {
            *taken = 1;
            goto done;
        }
        KS_CHECK(v6, KS_ERR_COMM, "cannot listen on port %d: %s", port, strerror(errno));
    }
    len = sizeof name;
    KS_CHECK(!getsockname(s, (struct sockaddr *)&name, &len), KS_ERR_COMM, "getsockname: %s", strerror(errno));
    *bound = ntohs(v6 ? ((struct sockaddr_in6 *)&name)->sin6_port : ((struct sockaddr_in *)&name)->sin_port);
    *fd    = s;
    s      = -1;
done:
    ks_socket_close(&s);
    return st;
}

int ks_socket_wait(int fd, short events, double seconds) {
    const double  end = ks_wall_seconds() + seconds;
    struct pollfd p   = {.fd = fd, .events = events};
    for (;;) {
        const double left = end - ks_wall_seconds();
        const int    n    = poll(&p, 1, left > 0 ? (int)fmin(ceil(left * 1e3), 1e6) : 0);
        if (n > 0) return 1;
        if (n == 0 && left <= 0) return 0;
        if (n < 0 && errno != EINTR) return 1; /* the call that follows says what is wrong */
    }
}

/* On a port of the range that outgoing connections get theirs from, an attempt can meet itself. */
static int meets_itself(int fd) {
    struct sockaddr_storage here = {0}, there = {0};
    socklen_t               n_here = sizeof here, n_there = sizeof there;
    return !getsockname(fd, (struct sockaddr *)&here, &n_here) &&
           !getpeername(fd, (struct sockaddr *)&there, &n_there) && n_here == n_there && !memcmp(&here, &there, n_here);
}

int ks_socket_connect(const struct addrinfo *to, double seconds) {
    int       error = 0, s = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t len = sizeof error;
    if (s < 0) return -1;
    if (connect(s, to->ai_addr, to->ai_addrlen)) {
        if (errno != EINPROGRESS && errno != EINTR) error = errno;
        else if (!ks_socket_wait(s, POLLOUT, seconds)) error = ETIMEDOUT;
        else if (getsockopt(s, SOL_SOCKET, SO_ERROR, &error, &len)) error = errno;
    }
    if (!error && meets_itself(s)) error = ECONNREFUSED;
    if (!error && ks_socket_prepare(s) != KS_OK) error = EIO;
    if (!error) return s;
    ks_socket_close(&s);
    errno = error;
    return -1;
}

int ks_socket_write(int fd, const void *x, size_t bytes, double seconds) {
    const double end = ks_wall_seconds() + seconds;
    const char  *p   = x;
    while (bytes) {
        const ssize_t n = send(fd, p, bytes, MSG_NOSIGNAL);
        if (n > 0) {
            p += n;
            bytes -= (size_t)n;
        } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (!ks_socket_wait(fd, POLLOUT, end - ks_wall_seconds())) {
                errno = ETIMEDOUT;
                return -1;
            }
        } else if (n < 0 && errno != EINTR) return -1;
    }
    return 0;
}

int ks_socket_read(int fd, void *x, size_t bytes, double seconds) {
    const double end = ks_wall_seconds() + seconds;
    char        *p   = x;
    while (bytes) {
        const ssize_t n = recv(fd, p, bytes, 0);
        if (n > 0) {
            p += n;
            bytes -= (size_t)n;
        } else if (n == 0) {
            errno = 0;
            return -1;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (!ks_socket_wait(fd, POLLIN, end - ks_wall_seconds())) {
                errno = ETIMEDOUT;
                return -1;
            }
        } else if (errno != EINTR) return -1;
    }
    return 0;
}

void ks_socket_host(char host[KS_HOST_NAME]) {
    if (gethostname(host, KS_HOST_NAME)) snprintf(host, KS_HOST_NAME, "localhost");
    host[KS_HOST_NAME - 1] = 0;
}

/* The host's name first; numbers of its interfaces behind it, for clusters whose nodes do not know each other's
 * names. */
ks_status ks_control_listen(char address[KS_HOST_NAME], int *port, int *listen_fd) {
    ks_status       st  = KS_OK;
    struct ifaddrs *all = NULL;
    int             taken;
    KS_TRY(ks_socket_listen(0, listen_fd, &taken, port));
    KS_CHECK(!taken, KS_ERR_COMM, "no free port");
    ks_socket_host(address);
    if (getifaddrs(&all)) goto done; /* then the name alone */
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        char         number[64];
        const size_t used = strlen(address);
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !(i->ifa_flags & IFF_UP) ||
            i->ifa_flags & IFF_LOOPBACK)
            continue;
        if (getnameinfo(i->ifa_addr, sizeof(struct sockaddr_in), number, sizeof number, NULL, 0, NI_NUMERICHOST))
            continue;
        if (used + strlen(number) + 2 > KS_HOST_NAME) break;
        snprintf(address + used, KS_HOST_NAME - used, ",%s", number);
    }
done:
    if (all) freeifaddrs(all);
    return st;
}
