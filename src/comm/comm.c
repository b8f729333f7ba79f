/* comm.c -- see comm.h: the communicator over its two planes. */
#include "ksgrad/comm.h"
#include <string.h>
#include "comm/control.h"
#include "comm/transport.h"
#include "core/backend.h"

struct ks_comm {
    ks_launch           launch;
    ks_control         *control;
    const ks_transport *transport; /* NULL: not attached */
    void               *state;
};

int    ks_comm_rank(const ks_comm *c) { return c ? c->launch.rank : 0; }
int    ks_comm_size(const ks_comm *c) { return c ? c->launch.size : 1; }
int    ks_comm_local_rank(const ks_comm *c) { return c ? c->launch.local_rank : 0; }
int    ks_comm_local_size(const ks_comm *c) { return c ? c->launch.local_size : 1; }
size_t ks_comm_type_bytes(ks_comm_type type) { return type == KS_COMM_F64 ? 8 : type == KS_COMM_F32 ? 4 : 2; }

void ks_comm_share(const ks_comm *c, int64_t n, int64_t *lo, int64_t *hi) {
    const int64_t size = ks_comm_size(c), rank = ks_comm_rank(c);
    *lo = n * rank / size;
    *hi = n * (rank + 1) / size;
}

const char *ks_comm_transport(const ks_comm *c) { return c && c->transport ? c->transport->name : "none"; }

/* ---- data plane ---- */

#define ON_TRANSPORT(call, ...)                                                                                        \
    ks_status st = KS_OK;                                                                                              \
    if (!c) return KS_OK;                                                                                              \
    KS_CHECK(c->transport, KS_ERR_ARG, "the communicator has no transport yet");                                       \
    KS_TRY(c->transport->call(c->state __VA_OPT__(, ) __VA_ARGS__));                                                   \
    done:                                                                                                              \
    return st

ks_status ks_comm_fork(ks_comm *c) { ON_TRANSPORT(fork); }
ks_status ks_comm_join(ks_comm *c) { ON_TRANSPORT(join); }
ks_status ks_comm_sum(ks_comm *c, ks_comm_type type, int64_t n, void *x) { ON_TRANSPORT(sum, type, n, x); }
ks_status ks_comm_min(ks_comm *c, int64_t n, double *x) { ON_TRANSPORT(min, n, x); }
ks_status ks_comm_reduce_scatter(ks_comm *c, ks_comm_type type, int64_t n_each, void *x) {
    ON_TRANSPORT(reduce_scatter, type, n_each, x);
}
ks_status ks_comm_all_gather(ks_comm *c, ks_comm_type type, int64_t n_each, void *x) {
    ON_TRANSPORT(all_gather, type, n_each, x);
}

/* ---- not there yet ---- */

#define ONE_RANK                                                                                                       \
    ks_status st = KS_OK;                                                                                              \
    KS_CHECK(!c, KS_ERR_UNSUPPORTED, "several ranks");                                                                 \
    done:                                                                                                              \
    return st
ks_status ks_comm_poll(ks_comm *c) { ONE_RANK; }
ks_status ks_comm_barrier(ks_comm *c, const char *what) {
    (void)what;
    ONE_RANK;
}
ks_status ks_comm_host_sum(ks_comm *c, const char *what, int64_t n, double *x) {
    (void)what, (void)n, (void)x;
    ONE_RANK;
}
ks_status ks_comm_host_max(ks_comm *c, const char *what, int64_t n, double *x) {
    (void)what, (void)n, (void)x;
    ONE_RANK;
}
ks_status ks_comm_host_bcast(ks_comm *c, const char *what, size_t b, void *x) {
    (void)what, (void)b, (void)x;
    ONE_RANK;
}
ks_status ks_comm_check_equal(ks_comm *c, const char *what, uint64_t v) {
    (void)what, (void)v;
    ONE_RANK;
}
ks_status ks_comm_host_gather(ks_comm *c, const char *what, size_t bytes, const void *x, void *all) {
    (void)what;
    if (!c) memcpy(all, x, bytes);
    ONE_RANK;
}
ks_status ks_comm_host_collect(ks_comm *c, const char *what, size_t bytes, const void *x, void **all, size_t *of) {
    ks_status st = KS_OK;
    (void)what;
    KS_CHECK(!c, KS_ERR_UNSUPPORTED, "several ranks");
    KS_TRY(ks_host_alloc((int64_t)bytes, 1, all));
    if (bytes) memcpy(*all, x, bytes);
    of[0] = bytes;
done:
    return st;
}
ks_status ks_comm_fetch_wait(ks_comm *c, ks_fetch *fetch, const char *what, int64_t step) {
    (void)c, (void)what, (void)step;
    return ks_fetch_wait(fetch);
}
ks_status ks_comm_create(const ks_launch *launch, const ks_comm_options *opt, ks_comm **out) {
    ks_status st = KS_OK;
    (void)opt;
    *out = NULL;
    KS_CHECK(launch->size == 1, KS_ERR_UNSUPPORTED, "%d ranks", launch->size);
done:
    return st;
}
ks_status ks_comm_attach(ks_comm *c, ks_ctx *ctx, const char *transport) {
    (void)ctx, (void)transport;
    ONE_RANK;
}
void ks_comm_destroy(ks_comm **comm) { (void)comm; }
void ks_comm_fail(ks_comm *comm, ks_status status, const char *message) { (void)comm, (void)status, (void)message; }
int  ks_comm_is_told(const ks_comm *c) { return c != NULL; }
int  ks_comm_n_host(const ks_comm *c) { return c ? 0 : 1; }
const char *ks_comm_host(const ks_comm *c, int rank) { return c && rank ? "" : "localhost"; }
double      ks_comm_timeout(const ks_comm *c) { return c ? 300.0 : 0.0; }
double      ks_comm_wait_seconds(const ks_comm *c) { return c ? 0 : 0; }
