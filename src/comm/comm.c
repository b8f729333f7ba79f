/* comm.c -- see comm.h: the communicator over its two planes. */
#include "ksgrad/comm.h"
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "comm/comm_impl.h"
#include "core/backend.h"

int         ks_comm_rank(const ks_comm *c) { return c ? c->rank : 0; }
int         ks_comm_size(const ks_comm *c) { return c ? c->size : 1; }
int         ks_comm_local_rank(const ks_comm *c) { return c ? c->local_rank : 0; }
int         ks_comm_local_size(const ks_comm *c) { return c ? c->local_size : 1; }
int         ks_comm_n_host(const ks_comm *c) { return c ? c->n_host : 1; }
const char *ks_comm_host(const ks_comm *c, int rank) { return c ? ks_control_host(c->control, rank) : "localhost"; }
const char *ks_comm_transport(const ks_comm *c) { return c && c->transport ? c->transport->name : "none"; }
int         ks_comm_is_queued(const ks_comm *c) { return !c || (c->transport && c->transport->is_queued); }
size_t      ks_comm_type_bytes(ks_comm_type type) { return type == KS_COMM_F64 ? 8 : type == KS_COMM_F32 ? 4 : 2; }

void ks_comm_share(const ks_comm *c, int64_t n, int64_t *lo, int64_t *hi) {
    const int64_t size = ks_comm_size(c), rank = ks_comm_rank(c);
    *lo = n * rank / size;
    *hi = n * (rank + 1) / size;
}

/* ---- life ---- */

#ifdef KS_MPI
/* The launcher does not say where rank 0 runs: it tells the others through MPI. */
static ks_status tell_address(ks_launch *launch, int *listen_fd) {
    ks_status st = KS_OK;
    struct {
        char address[KS_HOST_NAME];
        int  port;
        char why[512];
    } told = {.port = 0};
    if (launch->rank == 0) {
        st = ks_control_listen(told.address, &told.port, listen_fd);
        if (st != KS_OK) { /* the others wait for this message */
            told.port = 0;
            snprintf(told.why, sizeof told.why, "%s", ks_error_message());
        }
    }
    KS_TRY(ks_mpi_bcast(launch->rank, launch->size, sizeof told, &told));
    KS_CHECK(told.port, KS_ERR_COMM, "rank 0 cannot listen: %.500s", told.why);
    memcpy(launch->address, told.address, sizeof told.address);
    launch->port   = told.port;
    launch->n_port = 1;
done:
    return st;
}
#endif

ks_status ks_comm_create(const ks_launch *launch, const ks_comm_options *opt, ks_comm **out) {
    ks_status st        = KS_OK;
    ks_comm  *c         = NULL;
    int       listen_fd = -1;
    *out                = NULL;
    KS_CHECK(launch->size >= 1 && launch->rank >= 0 && launch->rank < launch->size, KS_ERR_ARG, "rank %d of %d",
             launch->rank, launch->size);
    if (launch->size == 1) goto done;
    KS_TRY(KS_ZNEW(c, 1));
    c->rank   = launch->rank;
    c->size   = launch->size;
    c->launch = *launch;
    if (!c->launch.address[0]) {
#ifdef KS_MPI
        KS_TRY(tell_address(&c->launch, &listen_fd));
#else
        KS_CHECK(0, KS_ERR_CONFIG,
                 "%s does not say where rank 0 runs, and this build has no MPI to ask. Set MASTER_ADDR or give "
                 "--rendezvous host:port",
                 ks_launcher_name(launch->launcher));
#endif
    }
    KS_TRY(ks_control_open(&c->launch, opt, listen_fd, &c->control));
    ks_control_places(c->control, &c->local_rank, &c->local_size, &c->n_host);
    *out = c;
    c    = NULL;
done:
    ks_comm_destroy(&c);
    return st;
}

/* What waits for other ranks on the device gives up. Once. */
static void give_up(ks_comm *c) {
    if (c->transport && c->transport->abort && !c->has_given_up) c->transport->abort(c->state);
    c->has_given_up = 1;
}

void ks_comm_destroy(ks_comm **comm) {
    ks_comm *c = *comm;
    int      has_failed;
    if (!c) return;
    has_failed = !c->control || ks_control_has_ended(c->control);
    if (has_failed) give_up(c);
    if (c->transport) c->transport->close(c->state, has_failed); /* the watchdog ends us should this hang */
    ks_control_close(&c->control);
#ifdef KS_MPI
    ks_mpi_finalize(has_failed);
#endif
    ks_host_free(&c->block);
    KS_FREE(*comm);
}

void ks_comm_fail(ks_comm *c, ks_status status, const char *message) {
    if (!c) return;
    ks_control_fail(c->control, status, message && message[0] ? message : ks_status_text(status));
    give_up(c);
}

/* A transport that has failed mostly has because a rank is gone: then the control plane knows which. */
ks_status ks_comm_poll(ks_comm *c) {
    ks_status st = KS_OK;
    if (!c) return KS_OK;
    KS_TRY(ks_control_poll(c->control));
    if (c->transport && c->transport->poll && !c->has_given_up && c->transport->poll(c->state) != KS_OK) {
        char text[KS_TEXT_BYTES];
        snprintf(text, sizeof text, "%s", ks_error_message());
        KS_TRY(ks_control_blame(c->control, KS_ERR_COMM, text));
    }
done:
    if (st != KS_OK) give_up(c);
    return st;
}

int    ks_comm_is_told(const ks_comm *c) { return c && ks_control_is_told(c->control); }
double ks_comm_timeout(const ks_comm *c) { return c ? ks_control_timeout(c->control) : 0; }
double ks_comm_wait_seconds(const ks_comm *c) { return c ? ks_control_wait_seconds(c->control) : 0; }

/* ---- the data plane's choice ---- */

typedef struct place {
    char backend[16], device[64];
} place;

/* Same answer on all ranks: `all` is the same everywhere. */
static ks_status check_places(ks_comm *c, const place *all) {
    ks_status st = KS_OK;
    char      text[512];
    for (int r = 1; r < c->size; r++) {
        if (strcmp(all[r].backend, all[0].backend)) {
            snprintf(text, sizeof text,
                     "rank %d on %.100s runs on backend %s, rank 0 on %.100s on %s. Give all the same "
                     "--backend, and each a GPU that it can see",
                     r, ks_comm_host(c, r), all[r].backend, ks_comm_host(c, 0), all[0].backend);
            KS_TRY(ks_comm_refuse(c, text));
        }
        for (int q = 0; q < r; q++)
            if (all[r].device[0] && !strcmp(all[r].device, all[q].device)) {
                snprintf(text, sizeof text,
                         "ranks %d and %d share %s on %.100s: start one rank per GPU (--gpus-per-task, "
                         "CUDA_VISIBLE_DEVICES, or fewer ranks)",
                         q, r, all[r].device, ks_comm_host(c, r));
                KS_TRY(ks_comm_refuse(c, text));
            }
    }
done:
    return st;
}

static ks_status choose(const ks_ctx *ctx, const char *name, const ks_transport **out) {
    ks_status           st  = KS_OK;
    const ks_transport *own = ctx->backend->transport, *mpi = NULL;
    const int           any     = !name || !strcmp(name, "auto");
    int                 has_mpi = 0;
#ifdef KS_MPI
    mpi     = &ks_transport_mpi;
    has_mpi = ks_mpi_is_launcher();
#endif
    *out = NULL;
    if (own && (any || !strcmp(name, own->name))) *out = own;
    else if (mpi && (any ? has_mpi : !strcmp(name, mpi->name))) *out = mpi;
    else if (any || !strcmp(name, ks_transport_tcp.name)) *out = &ks_transport_tcp;
    KS_CHECK(mpi || *out || strcmp(name, "mpi"), KS_ERR_UNSUPPORTED,
             "comm.transport mpi: this build has no MPI (KS_MPI)");
    KS_CHECK(*out, KS_ERR_UNSUPPORTED, "comm.transport '%s': backend %s has%s%s%s tcp", name, ctx->backend->name,
             own ? " " : "", own ? own->name : "", mpi ? " mpi" : "");
done:
    return st;
}

ks_status ks_comm_attach(ks_comm *c, ks_ctx *ctx, const char *transport) {
    ks_status           st   = KS_OK;
    place               mine = {.backend = ""}, *all = NULL;
    ks_device_info      device;
    const ks_transport *t    = NULL;
    uint64_t            name = 0;
    if (!c) return KS_OK;
    KS_CHECK(!c->transport, KS_ERR_ARG, "the communicator has transport %s already", c->transport->name);
    KS_TRY(ks_ctx_device(ctx, &device));
    snprintf(mine.backend, sizeof mine.backend, "%s", ctx->backend->name);
    snprintf(mine.device, sizeof mine.device, "%s", device.id);
    KS_TRY(KS_NEW(all, c->size));
    KS_TRY(ks_comm_host_gather(c, "the ranks' devices", sizeof mine, &mine, all));
    KS_TRY(check_places(c, all));
    KS_TRY(choose(ctx, transport, &t));
    memcpy(&name, t->name, strlen(t->name) < sizeof name ? strlen(t->name) : sizeof name);
    KS_TRY(ks_comm_check_equal(c, "comm.transport", name));
    KS_TRY(t->open(c, ctx, &c->state));
    c->transport = t;
    KS_TRY(ks_comm_barrier(c, "transport"));
done:
    KS_FREE(all);
    return st;
}

/* ---- data plane ---- */

#define ON_TRANSPORT(call, ...)                                                                                        \
    ks_status st = KS_OK;                                                                                              \
    if (!c) return KS_OK;                                                                                              \
    KS_CHECK(c->transport, KS_ERR_ARG, "the communicator has no transport yet");                                       \
    KS_TRY(ks_control_poll(c->control));                                                                               \
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

/* The device is asked again and again, seldomer as the wait grows: at first at once (a step of a small molecule takes a
 * millisecond), at last every millisecond. */
ks_status ks_comm_fetch_wait(ks_comm *c, ks_fetch *fetch, const char *what, int64_t step) {
    ks_status st = KS_OK;
    if (!c) return ks_fetch_wait(fetch);
    ks_control_wait_begin(c->control, what, step);
    for (int64_t turn = 0;; turn++) {
        int is_ready = 0;
        KS_TRY(ks_fetch_is_ready(fetch, &is_ready));
        if (is_ready) break;
        KS_TRY(ks_comm_poll(c));
        if (turn >= 200) {
            const int64_t         us = turn < 400 ? 50 : turn < 600 ? 200 : 1000;
            const struct timespec t  = {.tv_nsec = (long)(us * 1000)};
            nanosleep(&t, NULL);
        }
    }
    KS_TRY(ks_fetch_wait(fetch));
done:
    ks_control_wait_drop(c->control);
    return st;
}
