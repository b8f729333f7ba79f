/* log.h -- levelled log lines through one sink. The library formats, the program decides where they go. */
#ifndef KS_LOG_H
#define KS_LOG_H
#include "ksgrad/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ks_log_level { KS_LOG_DEBUG, KS_LOG_INFO, KS_LOG_WARN, KS_LOG_ERROR } ks_log_level;
typedef void (*ks_log_sink)(void *user, ks_log_level level, const char *line);

/* NULL sink: lines are dropped (the library's default). Not thread-safe: set it before work starts. */
void ks_log_set(ks_log_sink sink, void *user, ks_log_level least);
void ks_log(ks_log_level level, const char *fmt, ...) KS_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
#endif
