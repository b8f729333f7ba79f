/* status.h -- return codes and the error trace.
 *
 * Every fallible function returns a ks_status. The library never prints, exits or asserts on input: it
 * records a trace (thread-local, innermost message first, one "via" line per level) that the program prints.
 * Exit codes of the program are derived from the code in src/cli/main.c. */
#ifndef KS_STATUS_H
#define KS_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#define KS_STATUS_LIST(X)                                                                                              \
    X(KS_OK, "ok")                                                                                                     \
    X(KS_ERR_ARG, "invalid argument")                                                                                  \
    X(KS_ERR_NOMEM, "out of memory")                                                                                   \
    X(KS_ERR_UNSUPPORTED, "not supported")                                                                             \
    X(KS_ERR_NUMERIC, "non-finite or unconverged value")                                                               \
    X(KS_ERR_IO, "input/output error")                                                                                 \
    X(KS_ERR_CONFIG, "configuration error")                                                                            \
    X(KS_ERR_DATA, "data error")                                                                                       \
    X(KS_ERR_HDF5, "HDF5 error")                                                                                       \
    X(KS_ERR_LAPACK, "LAPACK error")                                                                                   \
    X(KS_ERR_CUDA, "CUDA error")                                                                                       \
    X(KS_ERR_COMM, "communication error")                                                                              \
    X(KS_ERR_STOPPED, "stopped on request")

typedef enum ks_status {
#define X(code, text) code,
    KS_STATUS_LIST(X)
#undef X
        KS_STATUS_COUNT
} ks_status;

#if defined(__GNUC__)
#define KS_NODISCARD __attribute__((warn_unused_result))
#define KS_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define KS_NODISCARD
#define KS_PRINTF(fmt, first)
#endif

/* Short text of a code; never NULL. */
const char *ks_status_text(ks_status st);

/* The trace of this thread's last error: "message (file:line func)" then one "via" line per level.
 * Valid until the next error of the same thread. Empty string when there is none. */
const char *ks_error_trace(void);

/* Only the innermost message, without code locations: what a user should read first. */
const char *ks_error_message(void);

/* Code of the last error raised by this thread, KS_OK when the trace is empty. */
ks_status ks_error_code(void);

void ks_error_clear(void);

/* Starts a new trace and returns code. */
ks_status ks_error_raise(ks_status code, const char *file, int line, const char *func, const char *fmt, ...)
    KS_PRINTF(5, 6);

/* Adds one level to the trace. */
void ks_error_relay(const char *file, int line, const char *func, const char *expr);

/* Both macros need a local `ks_status st` and a label `done`. */
#define KS_TRY(expr)                                                                                                   \
    do {                                                                                                               \
        st = (expr);                                                                                                   \
        if (st != KS_OK) {                                                                                             \
            ks_error_relay(__FILE__, __LINE__, __func__, #expr);                                                       \
            goto done;                                                                                                 \
        }                                                                                                              \
    } while (0)

#define KS_CHECK(cond, code, ...)                                                                                      \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            st = ks_error_raise((code), __FILE__, __LINE__, __func__, __VA_ARGS__);                                    \
            goto done;                                                                                                 \
        }                                                                                                              \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
