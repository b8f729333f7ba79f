/* control.h -- the control plane: rendezvous, exchanges through rank 0, watchdog. Private; see comm.h.
 *
 * Every rank but 0 has two connections to rank 0: `data` for the exchanges below, used by the calling thread alone, and
 * `watch` for heartbeats and the end of the job, used by the watchdog thread alone. */
#ifndef KS_CONTROL_H
#define KS_CONTROL_H
#include "ksgrad/comm.h"

typedef struct ks_control ks_control;

/* Rank 0 listens, the others come; hellos are compared, the watchdog starts. listen_fd: a listening socket that is open
 * already (rank 0, address told through MPI), or -1. */
KS_NODISCARD ks_status ks_control_open(const ks_launch *launch, const ks_comm_options *opt, int listen_fd,
                                       ks_control **out);
void                   ks_control_close(ks_control **control);
/* A listening socket on any free port, for an address that is told through MPI. */
KS_NODISCARD ks_status ks_control_listen(char address[KS_HOST_NAME], int *port, int *listen_fd);

const char *ks_control_host(const ks_control *control, int rank);

/* The job is over: this rank says so / has somebody said so (KS_OK: no)? is_told: it was another rank. */
void                   ks_control_fail(ks_control *control, ks_status status, const char *message);
KS_NODISCARD ks_status ks_control_poll(ks_control *control);
int                    ks_control_is_told(const ks_control *control);

/* The calling thread begins to wait for others in `what` (a string constant) of `step`, and has stopped to: what the
 * watchdog reports and compares. */
void   ks_control_wait_begin(ks_control *control, const char *what, int64_t step);
void   ks_control_wait_end(ks_control *control);
double ks_control_wait_seconds(const ks_control *control);

/* Whole blocks over the data connection of `rank` (rank 0: any other; else 0). They wait, and give up when the job ends. */
KS_NODISCARD ks_status ks_control_send(ks_control *control, int rank, const void *x, size_t bytes);
KS_NODISCARD ks_status ks_control_recv(ks_control *control, int rank, void *x, size_t bytes);
#endif
