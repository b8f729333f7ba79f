/* status.c -- see status.h. */
#include "ksgrad/status.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TRACE_BYTES = 4096, MESSAGE_BYTES = 1536 };

static _Thread_local char      t_trace[TRACE_BYTES];
static _Thread_local char      t_message[MESSAGE_BYTES];
static _Thread_local ks_status t_code;

const char *ks_status_text(ks_status st) {
    static const char *const text[] = {
#define X(code, t) t,
        KS_STATUS_LIST(X)
#undef X
    };
    return (st >= 0 && st < KS_STATUS_COUNT) ? text[st] : "unknown status";
}

const char *ks_error_trace(void) { return t_trace; }
const char *ks_error_message(void) { return t_message; }
ks_status   ks_error_code(void) { return t_code; }

void ks_error_clear(void) {
    t_trace[0] = t_message[0] = '\0';
    t_code                    = KS_OK;
}

/* Source paths are given relative to the repository by -fmacro-prefix-map. */
ks_status ks_error_raise(ks_status code, const char *file, int line, const char *func, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t_message, sizeof t_message, fmt, ap);
    va_end(ap);
    snprintf(t_trace, sizeof t_trace, "%s: %s (%s:%d %s)", ks_status_text(code), t_message, file, line, func);
    t_code = code;
    return code;
}

void ks_error_relay(const char *file, int line, const char *func, const char *expr) {
    const size_t used = strlen(t_trace);
    (void)expr;
    if (used + 1 < sizeof t_trace)
        snprintf(t_trace + used, sizeof t_trace - used, "\n  via %s:%d %s", file, line, func);
}
