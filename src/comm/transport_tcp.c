/* transport_tcp.c -- arrays over the control plane's connections, for CPU ranks without MPI and as the slow but
 * sure way between GPUs: through rank 0, in pieces, so that it adds and answers one piece while the next is on its
 * way.
 *
 * Sums go in rank order, ((x0 + x1) + x2) + ..., on rank 0 alone (ordered_sum.h): F64 in fp64, F32 in fp32, BF16
 * in fp32 with one rounding at the end. Arrays of a GPU travel through host memory, which waits for the device and
 * cannot be recorded. */
#include "comm/comm_impl.h"
#include "comm/ordered_sum.h"

enum { PIECE_BYTES = 256 * 1024 };
enum {
    CALL_SUM     = KS_CALL_TRANSPORT,
    CALL_MIN     = CALL_SUM + 8,
    CALL_SCATTER = CALL_MIN + 8,
    CALL_GATHER  = CALL_SCATTER + 8
};

typedef struct tcp {
    ks_comm     *comm;
    ks_control  *control;
    ks_ctx      *ctx;
    char        *piece;  /* rank 0 (size - 1, PIECE_BYTES): the others' */
    const void **source; /* rank 0 (size): what is added, in rank order */
    void        *stage;  /* host copy of an array that lies elsewhere; grows, and is kept */
    size_t       stage_bytes;
} tcp;

static void tcp_close(void *state, int has_failed) {
    tcp *t = state;
    (void)has_failed;
    if (!t) return;
    KS_FREE(t->piece);
    KS_FREE(t->source);
    ks_host_free(&t->stage);
    KS_FREE(t);
}

static ks_status tcp_open(ks_comm *comm, ks_ctx *ctx, void **state) {
    ks_status st = KS_OK;
    tcp      *t  = NULL;
    KS_TRY(KS_ZNEW(t, 1));
    t->comm    = comm;
    t->control = comm->control;
    t->ctx     = ctx;
    if (comm->rank == 0) {
        KS_TRY(KS_NEW(t->piece, (int64_t)(comm->size - 1) * PIECE_BYTES));
        KS_TRY(KS_NEW(t->source, comm->size));
    }
    *state = t;
    t      = NULL;
done:
    tcp_close(t, 1);
    return st;
}

/* Nothing is left in flight when a call returns. */
static ks_status tcp_fork(void *state) {
    (void)state;
    return KS_OK;
}
static ks_status tcp_join(void *state) {
    (void)state;
    return KS_OK;
}

/* ---- host memory of an array ---- */

static ks_status stage_in(tcp *t, void *x, size_t bytes, char **host) {
    ks_status st = KS_OK;
    *host        = x;
    if (ks_ctx_is_host(t->ctx)) goto done;
    if (bytes > t->stage_bytes) {
        ks_host_free(&t->stage);
        t->stage_bytes = 0;
        KS_TRY(ks_host_alloc((int64_t)bytes, 1, &t->stage));
        t->stage_bytes = bytes;
    }
    if (bytes) KS_TRY(ks_mem_to_host(t->ctx, t->stage, x, bytes));
    *host = t->stage;
done:
    return st;
}

static ks_status stage_out(tcp *t, void *x, const char *host, size_t from, size_t bytes) {
    ks_status st = KS_OK;
    if (!ks_ctx_is_host(t->ctx) && bytes) KS_TRY(ks_mem_to_backend(t->ctx, (char *)x + from, host + from, bytes));
done:
    return st;
}

/* ---- rank 0 ---- */

typedef enum reduce_op { OP_SUM, OP_MIN } reduce_op;

/* Piece x (n elements) of rank 0, combined with those of all others. */
static ks_status piece_reduce(tcp *t, reduce_op op, ks_comm_type type, int64_t n, void *x) {
    ks_status    st    = KS_OK;
    const size_t bytes = (size_t)n * ks_comm_type_bytes(type);
    t->source[0]       = x;
    for (int r = 1; r < t->comm->size; r++) {
        char *y = t->piece + (size_t)(r - 1) * PIECE_BYTES;
        KS_TRY(ks_control_recv(t->control, r, y, bytes));
        t->source[r] = y;
    }
    if (op == OP_MIN) ks_ordered_min(n, t->comm->size, t->source, x);
    else ks_ordered_sum(type, n, t->comm->size, t->source, x, 1); /* of little use on a piece */
done:
    return st;
}

/* x (bytes) everywhere. A rank reads the result of a piece over what it has sent: rank 0 has had that piece by
 * then. */
static ks_status reduce_all(tcp *t, int call, const char *what, reduce_op op, ks_comm_type type, int64_t n, void *x) {
    ks_status     st   = KS_OK;
    const int64_t elem = (int64_t)ks_comm_type_bytes(type), step = PIECE_BYTES / elem;
    char         *host;
    int64_t       bytes;
    ks_control_wait_begin(t->control, what, -1);
    KS_TRY(ks_mul_i64(n, elem, &bytes));
    KS_TRY(stage_in(t, x, (size_t)bytes, &host));
    KS_TRY(ks_comm_meet(t->comm, call + (int)type, what, (size_t)bytes, NULL));
    if (t->comm->rank > 0) KS_TRY(ks_control_swap(t->control, 0, host, (size_t)bytes, host, (size_t)bytes));
    for (int64_t at = 0; t->comm->rank == 0 && at < n; at += step) {
        const int64_t k = n - at < step ? n - at : step;
        KS_TRY(piece_reduce(t, op, type, k, host + at * elem));
        for (int r = 1; r < t->comm->size; r++)
            KS_TRY(ks_control_send(t->control, r, host + at * elem, (size_t)(k * elem)));
    }
    KS_TRY(stage_out(t, x, host, 0, (size_t)bytes));
done:
    ks_control_wait_end(t->control);
    return st;
}

static ks_status tcp_sum(void *state, ks_comm_type type, int64_t n, void *x) {
    return reduce_all(state, CALL_SUM, "sum over the ranks", OP_SUM, type, n, x);
}

static ks_status tcp_min(void *state, int64_t n, double *x) {
    return reduce_all(state, CALL_MIN, "least over the ranks", OP_MIN, KS_COMM_F64, n, x);
}

/* As the sum, but a result goes to the owner of its slice alone. */
static ks_status tcp_reduce_scatter(void *state, ks_comm_type type, int64_t n_each, void *x) {
    tcp          *t    = state;
    ks_status     st   = KS_OK;
    const int64_t elem = (int64_t)ks_comm_type_bytes(type), step = PIECE_BYTES / elem, rank = t->comm->rank;
    char         *host;
    int64_t       each, bytes;
    ks_control_wait_begin(t->control, "sum of slices", -1);
    KS_TRY(ks_mul_i64(n_each, elem, &each));
    KS_TRY(ks_mul_i64(each, t->comm->size, &bytes));
    KS_TRY(stage_in(t, x, (size_t)bytes, &host));
    KS_TRY(ks_comm_meet(t->comm, CALL_SCATTER + (int)type, "sum of slices", (size_t)bytes, NULL));
    if (rank > 0) KS_TRY(ks_control_swap(t->control, 0, host, (size_t)bytes, host + rank * each, (size_t)each));
    for (int owner = 0; rank == 0 && owner < t->comm->size; owner++)
        for (int64_t at = 0; at < n_each; at += step) {
            const int64_t k    = n_each - at < step ? n_each - at : step;
            char         *here = host + owner * each + at * elem;
            KS_TRY(piece_reduce(t, OP_SUM, type, k, here));
            if (owner) KS_TRY(ks_control_send(t->control, owner, here, (size_t)(k * elem)));
        }
    KS_TRY(stage_out(t, x, host, (size_t)(rank * each), (size_t)each));
done:
    ks_control_wait_end(t->control);
    return st;
}

static ks_status tcp_all_gather(void *state, ks_comm_type type, int64_t n_each, void *x) {
    tcp          *t    = state;
    ks_status     st   = KS_OK;
    const int64_t rank = t->comm->rank, size = t->comm->size;
    char         *host;
    int64_t       each, bytes;
    ks_control_wait_begin(t->control, "slices of all ranks", -1);
    KS_TRY(ks_mul_i64(n_each, (int64_t)ks_comm_type_bytes(type), &each));
    KS_TRY(ks_mul_i64(each, size, &bytes));
    KS_TRY(stage_in(t, x, (size_t)bytes, &host));
    KS_TRY(ks_comm_meet(t->comm, CALL_GATHER + (int)type, "slices of all ranks", (size_t)bytes, NULL));
    if (rank > 0) {
        KS_TRY(ks_control_send(t->control, 0, host + rank * each, (size_t)each));
        KS_TRY(ks_control_recv(t->control, 0, host, (size_t)(rank * each)));
        KS_TRY(ks_control_recv(t->control, 0, host + (rank + 1) * each, (size_t)((size - rank - 1) * each)));
    } else {
        for (int r = 1; r < size; r++) KS_TRY(ks_control_recv(t->control, r, host + r * each, (size_t)each));
        for (int r = 1; r < size; r++) {
            KS_TRY(ks_control_send(t->control, r, host, (size_t)(r * each)));
            KS_TRY(ks_control_send(t->control, r, host + (r + 1) * each, (size_t)((size - r - 1) * each)));
        }
    }
    KS_TRY(stage_out(t, x, host, 0, (size_t)bytes));
done:
    ks_control_wait_end(t->control);
    return st;
}

const ks_transport ks_transport_tcp = {.name           = "tcp",
                                       .open           = tcp_open,
                                       .close          = tcp_close,
                                       .fork           = tcp_fork,
                                       .join           = tcp_join,
                                       .sum            = tcp_sum,
                                       .min            = tcp_min,
                                       .reduce_scatter = tcp_reduce_scatter,
                                       .all_gather     = tcp_all_gather};
