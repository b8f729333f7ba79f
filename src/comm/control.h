/* control.h -- the control plane: rendezvous, exchanges through rank 0, watchdog. Private; see comm.h.
 *
 * Every rank but 0 has two connections to rank 0: `data` for the exchanges below, used by the calling thread
 * alone, and `watch` for heartbeats and the end of the job, used by the watchdog thread alone. */
#ifndef KS_CONTROL_H
#define KS_CONTROL_H
#include "ksgrad/comm.h"

enum { KS_TEXT_BYTES = 1024 }; /* of a message to people: an innermost error message with the rank before it */

typedef struct ks_control ks_control;

/* Rank 0 listens, the others come; hellos are compared, the watchdog starts. listen_fd: a listening socket that is
 * open already (rank 0, address told through MPI) and is taken over whatever happens, or -1. launch->address may
 * hold several names or numbers of rank 0 with commas between them: the first that answers. */
KS_NODISCARD ks_status ks_control_open(const ks_launch *launch, const ks_comm_options *opt, int listen_fd,
                                       ks_control **out);
/* In good order when the job has not failed: the others are told. Waits for them for a short time, not for long. */
void ks_control_close(ks_control **control);
/* A listening socket on any free port, for an address that is told through MPI: this host's name and numbers. */
KS_NODISCARD ks_status ks_control_listen(char address[KS_HOST_NAME], int *port, int *listen_fd);

double      ks_control_timeout(const ks_control *control);
const char *ks_control_host(const ks_control *control, int rank);
/* Place among the ranks of this host: the launch's where it says so, else in rank order. n_host: different names. */
void ks_control_places(const ks_control *control, int *local_rank, int *local_size, int *n_host);

/* The job is over: this rank says so (waits until its watchdog has sent it, not for an answer) / has somebody said so
 * (KS_OK: no)? is_told: it was another rank, and this is not rank 0, whose log is the job's. */
void                   ks_control_fail(ks_control *control, ks_status status, const char *message);
KS_NODISCARD ks_status ks_control_poll(ks_control *control);
int                    ks_control_is_told(const ks_control *control);
int                    ks_control_has_ended(const ks_control *control); /* poll without its error */
/* The same when no single rank has failed: nobody's name is put before the message. */
void ks_control_verdict(ks_control *control, ks_status status, const char *message);
/* The calling thread has met an error that the watchdog, or rank 0, should soon have a word on: that one when it comes
 * within a short time, else status and message, which the others are told then. Never KS_OK. */
KS_NODISCARD ks_status ks_control_blame(ks_control *control, ks_status status, const char *message);

/* The calling thread begins to wait for others in `what` (the text is copied) of `step` (-1: the one before), and has
 * stopped to: what the watchdog reports and compares. They nest; the outermost counts. */
void   ks_control_wait_begin(ks_control *control, const char *what, int64_t step);
void   ks_control_wait_end(ks_control *control);
void   ks_control_wait_drop(ks_control *control); /* end of a wait that was not for others: no seconds counted */
double ks_control_wait_seconds(const ks_control *control);

/* Whole blocks over the data connection of `rank` (rank 0: any other; else 0). They wait; they give up when the job
 * ends. */
KS_NODISCARD ks_status ks_control_send(ks_control *control, int rank, const void *x, size_t bytes);
KS_NODISCARD ks_status ks_control_recv(ks_control *control, int rank, void *x, size_t bytes);
/* Both at once, in whatever order the connection takes them: no buffer in between can fill up and stop both ends. */
KS_NODISCARD ks_status ks_control_swap(ks_control *control, int rank, const void *out, size_t out_bytes, void *in,
                                       size_t in_bytes);
#endif
