/* signals.c -- see signals.h. */
#include "cli/signals.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

volatile sig_atomic_t ks_cli_stop;

static void on_signal(int number) {
    if (ks_cli_stop && number == SIGINT) _exit(130);
    ks_cli_stop = 1;
}

ks_status ks_cli_catch_signals(void) {
    static const int number[] = {SIGTERM, SIGINT, SIGUSR1};
    ks_status        st       = KS_OK;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags   = SA_RESTART;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof number / sizeof number[0]; i++)
        KS_CHECK(sigaction(number[i], &action, NULL) == 0, KS_ERR_IO, "signal %d: %s", number[i], strerror(errno));
done:
    return st;
}
