/* ks_test.h -- checks that count themselves. A test states how many checks it expects and fails when fewer ran. */
#ifndef KS_TEST_H
#define KS_TEST_H
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "ksgrad/ksgrad.h"

static int ks_t_run, ks_t_bad;

/* NaN fails, because <= is false. */
static inline int t_close(double a, double b, double atol, double rtol) {
    return fabs(a - b) <= atol + rtol * fmax(fabs(a), fabs(b));
}

/* The larger of two errors; NaN is the largest and stays (fmax, and a comparison that is false for NaN, lose it). */
static inline double t_worse(double worst, double x) { return isnan(worst) || x <= worst ? worst : x; }

#define T_CHECK(cond, ...)                                                                                             \
    do {                                                                                                               \
        ks_t_run++;                                                                                                    \
        if (!(cond)) {                                                                                                 \
            ks_t_bad++;                                                                                                \
            printf("FAIL %s:%d %s: ", __FILE__, __LINE__, #cond);                                                      \
            printf(__VA_ARGS__);                                                                                       \
            printf("\n");                                                                                              \
        }                                                                                                              \
    } while (0)
#define T_CLOSE(a, b, atol, rtol)                                                                                      \
    do {                                                                                                               \
        const double a_ = (a), b_ = (b);                                                                               \
        T_CHECK(t_close(a_, b_, (atol), (rtol)), "%.17g against %.17g, difference %.3g", a_, b_, a_ - b_);             \
    } while (0)
/* A ks_status that must be KS_OK; anything else ends the test. */
#define T_OK(expr)                                                                                                     \
    do {                                                                                                               \
        ks_t_run++;                                                                                                    \
        if ((expr) != KS_OK) {                                                                                         \
            printf("FAIL %s:%d %s\n%s\n", __FILE__, __LINE__, #expr, ks_error_trace());                                \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)
/* A ks_status that must be this error. */
#define T_ERR(expr, code)                                                                                              \
    do {                                                                                                               \
        const ks_status s_ = (expr);                                                                                   \
        T_CHECK(s_ == (code), "got '%s', expected '%s'", ks_status_text(s_), ks_status_text(code));                    \
    } while (0)

/* The verdict: exit code of main. */
static inline int t_done(const char *name, int expected_at_least) {
    printf("%s: %d checks, %d failed, at least %d expected\n", name, ks_t_run, ks_t_bad, expected_at_least);
    return ks_t_bad || ks_t_run < expected_at_least;
}
#endif
