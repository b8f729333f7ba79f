/* log.c -- see log.h. */
#include "ksgrad/log.h"
#include <stdarg.h>
#include <stdio.h>

static ks_log_sink  g_sink;
static void        *g_user;
static ks_log_level g_least = KS_LOG_INFO;

void ks_log_set(ks_log_sink sink, void *user, ks_log_level least) {
    g_sink  = sink;
    g_user  = user;
    g_least = least;
}

void ks_log(ks_log_level level, const char *fmt, ...) {
    char    line[2048];
    va_list ap;
    if (!g_sink || level < g_least) return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    g_sink(g_user, level, line);
}
