/* signals.h -- a request to stop that long commands look at between two pieces of work. */
#ifndef KS_CLI_SIGNALS_H
#define KS_CLI_SIGNALS_H
#include <signal.h>
#include "ksgrad/status.h"

extern volatile sig_atomic_t ks_cli_stop;

/* SIGTERM, SIGUSR1 and Ctrl-C set ks_cli_stop from here on; a second Ctrl-C ends the program at once. */
KS_NODISCARD ks_status ks_cli_catch_signals(void);
#endif
