/* transport_mpi.c -- arrays between CPU ranks through MPI. Builds with KS_MPI only; see transport.h.
 *
 * A sum is cut into pieces, a piece into one slice per rank. Every rank receives the others' copies of its own slice,
 * adds them in rank order, and sends the sum to the others: the traffic of a ring, 2 (n-1)/n of the array out of and
 * into every rank, and the same bits on all ranks at every run by construction. Small arrays take one exchange instead
 * of two: all of it to everybody, added by everybody in the same order, which gives the same bits again.
 *
 * Nothing waits inside MPI. Messages are point to point and nonblocking; the calls queue pieces and let those on their
 * way go on, so that a gradient travels while the backward pass computes; join drives what is left, and gives up when
 * the control plane says that the job is over. MPI then still holds addresses of arrays and buffers, but makes no use
 * of them any more, since nobody calls it: nor does this file after a failure, not even to finalise. The process ends
 * with its own exit code, and its mpirun ends what is left of the others, as it does with every program of which one
 * rank fails. */
#define _GNU_SOURCE
#include <mpi.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "comm/comm_impl.h"
#include "comm/ordered_sum.h"
#include "comm/transport.h"
#include "core/machine.h"

enum {
    N_FLIGHT     = 4,       /* pieces on their way at a time */
    PIECE_BYTES  = 4 << 20, /* of an array, at most: all slices together */
    DIRECT_BYTES = 8 << 10, /* arrays up to here go whole: one exchange */
    N_CALL       = 256,     /* calls that wait for their turn */
    LINE         = 64,
    MAX_RANKS    = 16384, /* a slice of a piece is at least a line and more than nothing */
    N_TAG = 8192 /* numbers of pieces in tags; far more than are on their way, twice of it below MPI's least limit */
};

typedef enum call_kind { CALL_SUM, CALL_MIN, CALL_REDUCE_SCATTER, CALL_ALL_GATHER } call_kind;

typedef struct call {
    call_kind    kind;
    ks_comm_type type;
    int64_t n, next; /* items (of each slice, where the caller has made slices); the first one not on its way yet */
    char   *x;
} call;

typedef enum piece_phase { PIECE_FREE, PIECE_EXCHANGE, PIECE_GATHER } piece_phase;

typedef struct piece {
    piece_phase  phase;
    call_kind    kind;
    ks_comm_type type;
    int          is_direct;
    int64_t      n;      /* items: of the piece, or of each slice where the caller has made them */
    int64_t      stride; /* items from one of the caller's slices to the next */
    char        *x;
    int          tag, n_request;
    MPI_Request *request; /* (2 (size - 1)) */
    char        *buffer;  /* what the others have sent for this rank's slice */
} piece;

typedef struct state {
    ks_comm     *comm;
    MPI_Comm     world; /* a duplicate: its errors return, nobody else's messages */
    int          rank, size, threads;
    int          has_failed;
    piece        flight[N_FLIGHT];
    unsigned     n_started;
    call         queue[N_CALL];
    int          first, n_queued;
    const void **source; /* (size) what is added, in rank order */
    MPI_Request *requests;
    MPI_Status  *statuses; /* (2 (size - 1)) */
    char        *buffers;
} state;

/* ---- MPI itself ---- */

static int g_is_ours; /* MPI_Init was called here */

static ks_status check_mpi(int code, const char *what) {
    ks_status st = KS_OK;
    char      text[MPI_MAX_ERROR_STRING];
    int       n = 0;
    if (code == MPI_SUCCESS) return KS_OK;
    if (MPI_Error_string(code, text, &n) != MPI_SUCCESS) n = 0;
    text[n] = '\0';
    KS_CHECK(0, KS_ERR_COMM, "%s: %s", what, n ? text : "unknown MPI error");
done:
    return st;
}
#define MPI_TRY(expr) KS_TRY(check_mpi((expr), #expr))

/* Name and version: what stands before the first comma or line's end. */
static void library_name(char name[MPI_MAX_LIBRARY_VERSION_STRING]) {
    int n = 0;
    if (MPI_Get_library_version(name, &n) != MPI_SUCCESS) n = 0;
    name[n]                    = '\0';
    name[strcspn(name, ",\n")] = '\0';
    for (char *p = name; *p; p++)
        if (*p == '\t') *p = ' ';
}

int ks_mpi_is_launcher(void) {
#ifdef OPEN_MPI /* its own mpirun, srun --mpi=pmix; to MPI_Init without them, the process is alone and needs a daemon */
    return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK");
#else /* MPICH and its relatives: Hydra, srun; Open MPI's mpirun sets PMIX_RANK too */
    return !getenv("OMPI_COMM_WORLD_SIZE") && (getenv("PMI_RANK") || getenv("PMIX_RANK"));
#endif
}

static ks_status start_mpi(int rank, int size) {
    ks_status st    = KS_OK;
    int       is_up = 0, is_over = 0, level = 0, mpi_rank = 0, mpi_size = 1;
    char      name[MPI_MAX_LIBRARY_VERSION_STRING];
    library_name(name);
    KS_CHECK(
        ks_mpi_is_launcher(), KS_ERR_COMM,
        "rank %d of %d was not started by the MPI that this program is built with (%s): use its own mpirun or srun "
        "--mpi=pmix, or comm.transport tcp with --rendezvous HOST:PORT",
        rank, size, name);
    MPI_TRY(MPI_Initialized(&is_up));
    MPI_TRY(MPI_Finalized(&is_over));
    KS_CHECK(!is_over, KS_ERR_COMM, "MPI was finalised before");
    if (!is_up) {
        MPI_TRY(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level));
        g_is_ours = 1;
        KS_CHECK(level >= MPI_THREAD_FUNNELED, KS_ERR_COMM, "%s does not allow programs with threads", name);
    }
    MPI_TRY(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    MPI_TRY(MPI_Comm_rank(MPI_COMM_WORLD, &mpi_rank));
    MPI_TRY(MPI_Comm_size(MPI_COMM_WORLD, &mpi_size));
    KS_CHECK(
        mpi_rank == rank && mpi_size == size, KS_ERR_COMM,
        "rank %d of %d is rank %d of %d to MPI (%s): another MPI's mpirun, or --rank and --ranks that differ from it",
        rank, size, mpi_rank, mpi_size, name);
done:
    return st;
}

void ks_mpi_finalize(int has_failed) {
    int is_over = 0;
    if (!g_is_ours || has_failed) return;
    if (MPI_Finalized(&is_over) == MPI_SUCCESS && !is_over) MPI_Finalize();
    g_is_ours = 0;
}

/* What to do while nothing moves: tests alone first, then others may have the core, then sleep. */
static void pause_a_while(double waited) {
    if (waited < 50e-6) return;
    const struct timespec nap = {0, 100000};
    if (waited < 5e-3) sched_yield();
    else nanosleep(&nap, NULL);
}

ks_status ks_mpi_bcast(int rank, int size, size_t bytes, void *x) {
    ks_status    st      = KS_OK;
    const double limit   = 300; /* the control plane and its own limit come later */
    int          is_done = 0, n = 0;
    MPI_Request  request = MPI_REQUEST_NULL;
    KS_CHECK(bytes <= INT32_MAX, KS_ERR_ARG, "%zu bytes", bytes);
    n = (int)bytes;
    KS_TRY(start_mpi(rank, size));
    MPI_TRY(MPI_Ibcast(x, n, MPI_BYTE, 0, MPI_COMM_WORLD, &request));
    for (const double start = ks_wall_seconds();;) {
        MPI_TRY(MPI_Test(&request, &is_done, MPI_STATUS_IGNORE));
        if (is_done) break;
        const double waited = ks_wall_seconds() - start;
        KS_CHECK(waited < limit, KS_ERR_COMM, "rank %d of %d has waited %.0f s for MPI to bring what rank 0 says", rank,
                 size, waited);
        pause_a_while(waited);
    }
done:
    return st;
}

/* ---- pieces ---- */

static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* Slice of a rank: where in x, and how many items. */
static char *slice(const state *s, const piece *p, int rank, int64_t *n) {
    const int64_t width = (int64_t)ks_comm_type_bytes(p->type);
    if (p->is_direct) {
        *n = p->n;
        return p->x;
    }
    if (p->kind == CALL_SUM) {
        const int64_t lo = p->n * rank / s->size;
        *n               = p->n * (rank + 1) / s->size - lo;
        return p->x + lo * width;
    }
    *n = p->n;
    return p->x + rank * p->stride * width;
}

static ks_status send_recv(state *s, piece *p, int peer, int tag, const char *out, int64_t n_out, char *in,
                           int64_t n_in) {
    ks_status    st    = KS_OK;
    const size_t width = ks_comm_type_bytes(p->type); /* a piece is shorter than INT_MAX bytes */
    if (n_in > 0)
        MPI_TRY(
            MPI_Irecv(in, (int)(n_in * (int64_t)width), MPI_BYTE, peer, tag, s->world, &p->request[p->n_request++]));
    if (n_out > 0)
        MPI_TRY(
            MPI_Isend(out, (int)(n_out * (int64_t)width), MPI_BYTE, peer, tag, s->world, &p->request[p->n_request++]));
done:
    return st;
}

/* Peers in the order rank + 1, rank + 2, ...: not all to the same one first. */
static int peer_of(const state *s, int k) { return (s->rank + k) % s->size; }

/* Where in the buffer the copy of rank r stands: they lie in rank order, this rank's left out. */
static char *copy_of(const state *s, const piece *p, int rank, int64_t n_mine) {
    const int64_t step = round_up(n_mine * (int64_t)ks_comm_type_bytes(p->type), LINE);
    return p->buffer + (rank - (rank > s->rank)) * step;
}

static ks_status begin_exchange(state *s, piece *p) {
    ks_status st     = KS_OK;
    int64_t   n_mine = 0, n = 0;
    slice(s, p, s->rank, &n_mine);
    p->phase     = PIECE_EXCHANGE;
    p->n_request = 0;
    for (int k = 1; k < s->size; k++) {
        const int   peer = peer_of(s, k);
        const char *out  = slice(s, p, peer, &n);
        KS_TRY(send_recv(s, p, peer, 2 * p->tag, out, n, copy_of(s, p, peer, n_mine), n_mine));
    }
done:
    return st;
}

static ks_status begin_gather(state *s, piece *p) {
    ks_status   st     = KS_OK;
    int64_t     n_mine = 0, n = 0;
    const char *mine = slice(s, p, s->rank, &n_mine);
    p->phase         = PIECE_GATHER;
    p->n_request     = 0;
    for (int k = 1; k < s->size; k++) {
        const int peer = peer_of(s, k);
        char     *in   = slice(s, p, peer, &n);
        KS_TRY(send_recv(s, p, peer, 2 * p->tag + 1, mine, n_mine, in, n));
    }
done:
    return st;
}

static void add_up(state *s, piece *p) {
    int64_t n    = 0;
    char   *mine = slice(s, p, s->rank, &n);
    if (n == 0) return;
    for (int r = 0; r < s->size; r++) s->source[r] = r == s->rank ? mine : copy_of(s, p, r, n);
    if (p->kind == CALL_MIN) ks_ordered_min(n, s->size, s->source, (double *)(void *)mine);
    else ks_ordered_sum(p->type, n, s->size, s->source, mine, s->threads);
}

/* Puts the next piece of the oldest call on its way. */
static ks_status begin_piece(state *s, piece *p) {
    ks_status     st        = KS_OK;
    call         *c         = &s->queue[s->first];
    const int64_t width     = (int64_t)ks_comm_type_bytes(c->type);
    const int     is_direct = c->kind == CALL_MIN || (c->kind == CALL_SUM && c->n * width <= DIRECT_BYTES);
    const int64_t parts = c->kind == CALL_SUM && !is_direct ? 1 : s->size; /* how often its items are in the buffer */
    const int64_t most  = PIECE_BYTES / width / parts;
    *p                  = (piece){.kind      = c->kind,
                                  .type      = c->type,
                                  .is_direct = is_direct,
                                  .n         = c->n - c->next,
                                  .stride    = c->n,
                                  .x         = c->x + c->next * width,
                                  .tag       = (int)(s->n_started++ % N_TAG),
                                  .request   = p->request,
                                  .buffer    = p->buffer};
    if (p->n > most) p->n = most;
    c->next += p->n;
    if (c->next == c->n) {
        s->first = (s->first + 1) % N_CALL;
        s->n_queued--;
    }
    if (p->kind == CALL_ALL_GATHER) KS_TRY(begin_gather(s, p));
    else KS_TRY(begin_exchange(s, p));
done:
    return st;
}

/* Have all messages of a phase come and gone? */
static ks_status test_piece(state *s, piece *p, int *is_done) {
    ks_status st   = KS_OK;
    int       code = MPI_Testall(p->n_request, p->request, is_done, s->statuses);
    for (int k = 0; code == MPI_ERR_IN_STATUS && k < p->n_request; k++) /* which says why */
        if (s->statuses[k].MPI_ERROR != MPI_SUCCESS && s->statuses[k].MPI_ERROR != MPI_ERR_PENDING)
            code = s->statuses[k].MPI_ERROR;
    KS_TRY(check_mpi(code, "MPI_Testall"));
done:
    return st;
}

/* Lets everything go as far as it can without waiting. *left: pieces and calls that are not done. */
static ks_status advance(state *s, int *moved, int *left) {
    ks_status st      = KS_OK;
    int       is_done = 0;
    *moved = *left = 0;
    for (int k = 0; k < N_FLIGHT; k++) {
        piece *p = &s->flight[k];
        if (p->phase != PIECE_FREE) {
            KS_TRY(test_piece(s, p, &is_done));
            if (is_done) {
                const int was_exchange = p->phase == PIECE_EXCHANGE;
                *moved                 = 1;
                p->phase               = PIECE_FREE;
                if (was_exchange) add_up(s, p);
                if (was_exchange && p->kind == CALL_SUM && !p->is_direct) KS_TRY(begin_gather(s, p));
            }
        }
        if (p->phase == PIECE_FREE && s->n_queued > 0) {
            *moved = 1;
            KS_TRY(begin_piece(s, p));
        }
        *left += p->phase != PIECE_FREE;
    }
    *left += s->n_queued;
done:
    return st;
}

/* An MPI that fails mostly does because a rank is gone: then the control plane knows which. */
static ks_status blame(state *s) {
    char text[KS_TEXT_BYTES];
    snprintf(text, sizeof text, "%s", ks_error_message());
    return ks_control_blame(s->comm->control, KS_ERR_COMM, text);
}

/* Until at most `most` pieces and calls are left. */
static ks_status drive(state *s, int most) {
    ks_status st    = KS_OK;
    int       moved = 0, left = 0, waits = 0;
    double    since = 0;
    KS_CHECK(!s->has_failed, KS_ERR_COMM, "MPI has failed before");
    for (;;) {
        if (advance(s, &moved, &left) != KS_OK) KS_TRY(blame(s));
        if (left <= most) break;
        const double now = ks_wall_seconds();
        if (!waits) ks_control_wait_begin(s->comm->control, "arrays over MPI", -1);
        if (moved || !waits) since = now;
        waits = 1;
        KS_TRY(ks_comm_poll(s->comm));
        pause_a_while(now - since);
    }
done:
    if (waits) ks_control_wait_end(s->comm->control);
    if (st != KS_OK) s->has_failed = 1;
    return st;
}

static ks_status enqueue(state *s, call_kind kind, ks_comm_type type, int64_t n, void *x) {
    ks_status st = KS_OK;
    KS_CHECK(n >= 0 && (x || n == 0), KS_ERR_ARG, "%lld items", (long long)n);
    if (n == 0) return KS_OK;
    if (s->n_queued == N_CALL) KS_TRY(drive(s, N_CALL - 1));
    s->queue[(s->first + s->n_queued++) % N_CALL] = (call){kind, type, n, 0, x};
    KS_TRY(drive(s, INT32_MAX));
done:
    return st;
}

/* ---- the transport ---- */

static void mpi_close(void *opaque, int has_failed) {
    state *s = opaque;
    if (!s) return;
    if (!has_failed && s->world != MPI_COMM_NULL && drive(s, 0) == KS_OK) MPI_Comm_free(&s->world);
    KS_FREE(s->source);
    KS_FREE(s->requests);
    KS_FREE(s->statuses);
    KS_FREE(s->buffers);
    KS_FREE(s);
}

static ks_status mpi_open(ks_comm *comm, ks_ctx *ctx, void **out) {
    ks_status     st      = KS_OK;
    const int64_t size    = ks_comm_size(comm);
    state        *s       = NULL;
    MPI_Request   request = MPI_REQUEST_NULL;
    int           is_done = 0;
    *out                  = NULL;
    KS_CHECK(ks_ctx_is_host(ctx), KS_ERR_UNSUPPORTED,
             "comm.transport mpi carries host memory only, and the backend is %s: choose auto", ks_ctx_backend(ctx));
    KS_CHECK(size <= MAX_RANKS, KS_ERR_UNSUPPORTED, "%lld ranks, comm.transport mpi has at most %d", (long long)size,
             MAX_RANKS);
    KS_TRY(start_mpi(ks_comm_rank(comm), (int)size));
    KS_TRY(KS_ZNEW(s, 1));
    s->comm    = comm;
    s->world   = MPI_COMM_NULL;
    s->rank    = ks_comm_rank(comm);
    s->size    = (int)size;
    s->threads = ks_ctx_threads(ctx);
    KS_TRY(KS_NEW(s->source, size));
    KS_TRY(KS_NEW(s->requests, N_FLIGHT * 2 * (size - 1)));
    KS_TRY(KS_NEW(s->statuses, 2 * (size - 1)));
    const int64_t bytes = PIECE_BYTES + 2 * size * LINE; /* slices are padded to whole lines */
    KS_TRY(KS_NEW(s->buffers, N_FLIGHT * bytes));
    for (int k = 0; k < N_FLIGHT; k++) {
        s->flight[k].request = s->requests + k * 2 * (size - 1);
        s->flight[k].buffer  = s->buffers + k * bytes;
    }
    MPI_TRY(MPI_Comm_idup(MPI_COMM_WORLD, &s->world, &request));
    for (const double start = ks_wall_seconds();;) {
        MPI_TRY(MPI_Test(&request, &is_done, MPI_STATUS_IGNORE));
        if (is_done) break;
        KS_TRY(ks_comm_poll(comm));
        pause_a_while(ks_wall_seconds() - start);
    }
    MPI_TRY(MPI_Comm_set_errhandler(s->world, MPI_ERRORS_RETURN));
    *out = s;
    s    = NULL;
done:
    mpi_close(s, 1);
    return st;
}

static ks_status mpi_fork(void *s) { return drive(s, INT32_MAX); }
static ks_status mpi_join(void *s) { return drive(s, 0); }
static ks_status mpi_sum(void *s, ks_comm_type type, int64_t n, void *x) { return enqueue(s, CALL_SUM, type, n, x); }
static ks_status mpi_min(void *s, int64_t n, double *x) { return enqueue(s, CALL_MIN, KS_COMM_F64, n, x); }
static ks_status mpi_reduce_scatter(void *s, ks_comm_type type, int64_t n_each, void *x) {
    return enqueue(s, CALL_REDUCE_SCATTER, type, n_each, x);
}
static ks_status mpi_all_gather(void *s, ks_comm_type type, int64_t n_each, void *x) {
    return enqueue(s, CALL_ALL_GATHER, type, n_each, x);
}

static void mpi_describe(char *out, size_t size) {
    char name[MPI_MAX_LIBRARY_VERSION_STRING];
    library_name(name);
    snprintf(out, size, "%s", name);
}

const ks_transport ks_transport_mpi = {.name           = "mpi",
                                       .open           = mpi_open,
                                       .close          = mpi_close,
                                       .fork           = mpi_fork,
                                       .join           = mpi_join,
                                       .sum            = mpi_sum,
                                       .min            = mpi_min,
                                       .reduce_scatter = mpi_reduce_scatter,
                                       .all_gather     = mpi_all_gather,
                                       .describe       = mpi_describe};
