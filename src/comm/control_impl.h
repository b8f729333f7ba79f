/* control_impl.h -- inside of the control plane: sockets, frames on the wire, state shared with the watchdog. Private.
 *
 * Frames are structs in the byte order of the machine: ranks of one job run the same build. Only the first fields of a
 * hello are read from anybody who connects; all the rest comes from ranks whose hello was right. */
#ifndef KS_CONTROL_IMPL_H
#define KS_CONTROL_IMPL_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include "comm/control.h"

enum { KS_PROTOCOL = 1, KS_WHAT_BYTES = 48, KS_BUILD_BYTES = 256 };

/* ---- sockets (control_socket.c) ---- */

void ks_socket_close(int *fd); /* -1 is fine, and is left behind */
/* Non-blocking, without Nagle's delay, with keepalive, closed on exec. */
KS_NODISCARD ks_status ks_socket_prepare(int fd);
/* Listening on all interfaces; *fd -1 and *taken 1 when the port is in use. port 0: any, and *bound says which. */
KS_NODISCARD ks_status ks_socket_listen(int port, int *fd, int *taken, int *bound);
/* Connects within `seconds`; -1 with errno otherwise. */
struct addrinfo;
int ks_socket_connect(const struct addrinfo *to, double seconds);
/* Waits for events of poll(2) on a socket; 1: there are some, 0: time over. */
int ks_socket_wait(int fd, short events, double seconds);
/* Whole blocks within `seconds`; 0, or -1 with errno (0: the other end has closed). */
int ks_socket_write(int fd, const void *x, size_t bytes, double seconds);
int ks_socket_read(int fd, void *x, size_t bytes, double seconds);
/* Name of this host. */
void ks_socket_host(char host[KS_HOST_NAME]);

/* ---- frames ---- */

typedef enum ks_link { KS_LINK_DATA, KS_LINK_WATCH, KS_LINK_N } ks_link;

#define KS_HELLO_MAGIC "KSGRAD#"
typedef struct ks_hello {
    char     magic[8]; /* up to `size` the same in all protocols */
    uint32_t protocol, bytes;
    uint64_t job;
    int32_t  rank, size;
    int32_t  link, has_failed; /* before it could start; build: its error */
    int64_t  pid;
    uint64_t config_hash;
    char     host[KS_HOST_NAME];
    char     build[KS_BUILD_BYTES];
} ks_hello;
enum { KS_HELLO_FIXED = 32 };

#define KS_ANSWER_MAGIC "KSGRAD@"
typedef enum ks_answer_kind { KS_ANSWER_WAIT = 1, KS_ANSWER_GO, KS_ANSWER_REFUSED } ks_answer_kind;
typedef struct ks_answer {
    char    magic[8];
    int32_t kind, size;
    double  seconds; /* WAIT: until rank 0 gives up waiting for the rest */
    char    text[KS_TEXT_BYTES];
} ks_answer;

typedef struct ks_peer {
    char    host[KS_HOST_NAME];
    int64_t pid;
} ks_peer;

typedef enum ks_watch_kind { KS_WATCH_BEAT = 1, KS_WATCH_BYE, KS_WATCH_ABORT } ks_watch_kind;
typedef struct ks_watch_frame {
    uint32_t kind;
    int32_t  status; /* of ABORT */
    int32_t  is_waiting, pad;
    uint64_t calls;               /* waits begun so far: ranks make the same calls in the same order */
    int64_t  step;                /* -1: none yet */
    double   seconds;             /* in this phase */
    char     what[KS_WHAT_BYTES]; /* of this wait, or of the last one */
    char     text[KS_TEXT_BYTES];
} ks_watch_frame;

/* ---- state ---- */

typedef enum ks_end_source {
    KS_END_OWN,   /* this rank's calling thread has met an error */
    KS_END_FOUND, /* this rank has found out about another one, or about all */
    KS_END_TOLD   /* another rank has said so */
} ks_end_source;

/* One end of a watch connection; the watchdog thread's alone. */
typedef struct ks_watch_link {
    int            fd; /* -1: closed */
    int            sent_bye, sent_abort;
    double         heard; /* time of the last frame */
    ks_watch_frame in, out, last;
    size_t         n_in, n_out; /* bytes of `in` that have come, of `out` that are still to go */
} ks_watch_link;

struct ks_control {
    int       rank, size;
    ks_launch launch;
    double    timeout, grace, period;
    int (*exit_code)(ks_status status);
    ks_peer *peer;    /* (size) */
    int     *data_fd; /* (size), -1: none; the calling thread's alone */
    int      local_rank, local_size, n_host;

    /* shared with the watchdog */
    pthread_mutex_t lock;
    pthread_cond_t  changed;   /* for ks_control_fail, _blame and _close, on the monotonic clock */
    atomic_int      has_ended; /* set after the fields it stands for */
    ks_status       end_status;
    ks_end_source   end_source;
    int             is_sent, is_noticed, is_leaving, has_left;
    double          end_time, noticed_time;
    char            end_text[KS_TEXT_BYTES];
    char           *has_bye; /* (size) that rank has ended in good order */
    int             depth;   /* of nested waits */
    uint64_t        calls;
    int64_t         step;
    double          phase_time, wait_seconds;
    char            what[KS_WHAT_BYTES];

    /* the watchdog's */
    pthread_t      thread;
    int            has_thread, wake[2]; /* pipe: something for the watchdog to do */
    ks_watch_link *link;                /* (size); rank 0: of all others, else of rank 0 */
};

/* "rank 3 (node02, pid 1234)" */
const char *ks_control_name(const ks_control *c, int rank, char out[KS_HOST_NAME + 64]);

/* control_rendezvous.c, control_join.c: fill peer, data_fd and link[].fd. */
KS_NODISCARD ks_status ks_control_host_ranks(ks_control *c, const ks_hello *mine, int listen_fd);
KS_NODISCARD ks_status ks_control_join(ks_control *c, const ks_hello *mine);

/* control_watch.c */
KS_NODISCARD ks_status ks_control_watch_start(ks_control *c);
/* Tells the others what there is to tell, ends the thread. */
void ks_control_watch_stop(ks_control *c);
/* The job has ended; the first to say so is believed. Takes the lock. */
void ks_control_end(ks_control *c, ks_status status, ks_end_source source, const char *text);
/* Wakes the watchdog. */
void ks_control_wake(ks_control *c);
#endif
