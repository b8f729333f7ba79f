/* comm_exchange.c -- exchanges of host values through rank 0, see comm.h. Everybody sends to rank 0, which reads, adds
 * and answers in rank order: the result has the same bits on all ranks, and every time. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "comm/comm_impl.h"
#include "ksgrad/comm.h"

typedef struct call_head {
    uint64_t n_call, bytes;
    int32_t  kind, size;
    char     what[40];
} call_head;

ks_status ks_comm_refuse(ks_comm *c, const char *text) {
    ks_status st = KS_OK;
    if (c->rank == 0) {
        ks_control_verdict(c->control, KS_ERR_COMM, text);
        KS_CHECK(0, KS_ERR_COMM, "%s", text);
    }
    KS_TRY(ks_control_blame(c->control, KS_ERR_COMM, text));
done:
    return st;
}

static ks_status mismatch(ks_comm *c, int rank, const call_head *mine, const call_head *theirs) {
    char      text[512], size[96] = "";
    ks_status st = KS_OK;
    if (theirs->kind == mine->kind && theirs->bytes != mine->bytes)
        snprintf(size, sizeof size, " (with %llu bytes against %llu)", (unsigned long long)theirs->bytes,
                 (unsigned long long)mine->bytes);
    snprintf(text, sizeof text,
             "rank %d (%s) is at '%.40s', rank 0 (%s) at '%.40s'%s: they have lost step with each other. This is a "
             "bug; please report it with both logs",
             rank, ks_control_host(c->control, rank), theirs->what, ks_control_host(c->control, 0), mine->what, size);
    ks_control_verdict(c->control, KS_ERR_COMM, text);
    KS_CHECK(0, KS_ERR_COMM, "%s", text);
done:
    return st;
}

ks_status ks_comm_meet(ks_comm *c, int kind, const char *what, size_t bytes, size_t *of) {
    ks_status st   = KS_OK;
    call_head mine = {.n_call = c->n_call++, .bytes = bytes, .kind = kind, .size = c->size}, theirs;
    snprintf(mine.what, sizeof mine.what, "%s", what ? what : "");
    KS_TRY(ks_control_poll(c->control));
    if (of) of[0] = bytes;
    if (c->rank > 0) {
        KS_TRY(ks_control_send(c->control, 0, &mine, sizeof mine));
        goto done;
    }
    for (int r = 1; r < c->size; r++) {
        KS_TRY(ks_control_recv(c->control, r, &theirs, sizeof theirs));
        theirs.what[sizeof theirs.what - 1] = 0;
        if (theirs.n_call != mine.n_call || theirs.kind != kind || theirs.size != c->size ||
            strcmp(theirs.what, mine.what) || (!of && theirs.bytes != bytes))
            KS_TRY(mismatch(c, r, &mine, &theirs));
        if (of) of[r] = theirs.bytes;
    }
done:
    return st;
}

/* x (bytes) of rank 0 to all. */
static ks_status answer(ks_comm *c, void *x, size_t bytes) {
    ks_status st = KS_OK;
    if (c->rank > 0) {
        KS_TRY(ks_control_recv(c->control, 0, x, bytes));
        goto done;
    }
    for (int r = 1; r < c->size; r++) KS_TRY(ks_control_send(c->control, r, x, bytes));
done:
    return st;
}

static ks_status block_grow(ks_comm *c, size_t bytes) {
    ks_status st = KS_OK;
    if (bytes <= c->block_bytes) goto done;
    ks_host_free(&c->block);
    c->block_bytes = 0;
    KS_TRY(ks_host_alloc((int64_t)bytes, 1, &c->block));
    c->block_bytes = bytes;
done:
    return st;
}

ks_status ks_comm_barrier(ks_comm *c, const char *what) {
    ks_status st  = KS_OK;
    char      one = 1;
    if (!c) return KS_OK;
    ks_control_wait_begin(c->control, what, -1);
    KS_TRY(ks_comm_meet(c, KS_CALL_BARRIER, what, 1, NULL));
    KS_TRY(answer(c, &one, 1));
done:
    ks_control_wait_end(c->control);
    return st;
}

static double add(double x, double y) { return x + y; }
static double larger(double x, double y) { return isnan(y) || y > x ? y : x; } /* NaN stays */

static ks_status host_reduce(ks_comm *c, int kind, const char *what, int64_t n, double *x,
                             double (*op)(double, double)) {
    ks_status st = KS_OK;
    int64_t   bytes;
    if (!c) return KS_OK;
    ks_control_wait_begin(c->control, what, -1);
    KS_TRY(ks_mul_i64(n, sizeof *x, &bytes));
    KS_TRY(block_grow(c, (size_t)bytes));
    KS_TRY(ks_comm_meet(c, kind, what, (size_t)bytes, NULL));
    if (c->rank > 0) KS_TRY(ks_control_send(c->control, 0, x, (size_t)bytes));
    for (int r = 1; c->rank == 0 && r < c->size; r++) {
        const double *y = c->block;
        KS_TRY(ks_control_recv(c->control, r, c->block, (size_t)bytes));
        for (int64_t i = 0; i < n; i++) x[i] = op(x[i], y[i]);
    }
    KS_TRY(answer(c, x, (size_t)bytes));
done:
    ks_control_wait_end(c->control);
    return st;
}

ks_status ks_comm_host_sum(ks_comm *c, const char *what, int64_t n, double *x) {
    return host_reduce(c, KS_CALL_SUM, what, n, x, add);
}

ks_status ks_comm_host_max(ks_comm *c, const char *what, int64_t n, double *x) {
    return host_reduce(c, KS_CALL_MAX, what, n, x, larger);
}

ks_status ks_comm_host_bcast(ks_comm *c, const char *what, size_t bytes, void *x) {
    ks_status st = KS_OK;
    if (!c) return KS_OK;
    ks_control_wait_begin(c->control, what, -1);
    KS_TRY(ks_comm_meet(c, KS_CALL_BCAST, what, bytes, NULL));
    KS_TRY(answer(c, x, bytes));
done:
    ks_control_wait_end(c->control);
    return st;
}

ks_status ks_comm_host_gather(ks_comm *c, const char *what, size_t bytes, const void *x, void *all) {
    ks_status st = KS_OK;
    if (!c) {
        if (bytes) memmove(all, x, bytes);
        return KS_OK;
    }
    ks_control_wait_begin(c->control, what, -1);
    KS_TRY(ks_comm_meet(c, KS_CALL_GATHER, what, bytes, NULL));
    if (c->rank > 0) {
        KS_TRY(ks_control_send(c->control, 0, x, bytes));
    } else {
        if (bytes) memmove(all, x, bytes);
        for (int r = 1; r < c->size; r++)
            KS_TRY(ks_control_recv(c->control, r, (char *)all + (size_t)r * bytes, bytes));
    }
    KS_TRY(answer(c, all, bytes * (size_t)c->size));
done:
    ks_control_wait_end(c->control);
    return st;
}

ks_status ks_comm_host_collect(ks_comm *c, const char *what, size_t bytes, const void *x, void **all, size_t *of) {
    ks_status st    = KS_OK;
    char     *out   = NULL;
    size_t    total = 0, at = bytes;
    *all = NULL;
    if (c) ks_control_wait_begin(c->control, what, -1);
    if (c && c->rank > 0) {
        KS_TRY(ks_comm_meet(c, KS_CALL_COLLECT, what, bytes, NULL));
        KS_TRY(ks_control_send(c->control, 0, x, bytes));
        goto done;
    }
    of[0] = bytes;
    if (c) KS_TRY(ks_comm_meet(c, KS_CALL_COLLECT, what, bytes, of));
    for (int r = 0; r < ks_comm_size(c); r++) {
        KS_CHECK(of[r] <= (size_t)INT64_MAX - total, KS_ERR_COMM, "blocks of more than 2^63 bytes in '%s'", what);
        total += of[r];
    }
    KS_TRY(ks_host_alloc((int64_t)total, 1, (void **)&out));
    if (bytes) memcpy(out, x, bytes);
    for (int r = 1; r < ks_comm_size(c); at += of[r++]) KS_TRY(ks_control_recv(c->control, r, out + at, of[r]));
    *all = out;
    out  = NULL;
done:
    KS_FREE(out);
    if (c) ks_control_wait_end(c->control);
    return st;
}

ks_status ks_comm_check_equal(ks_comm *c, const char *what, uint64_t value) {
    ks_status st  = KS_OK;
    uint64_t *all = NULL;
    char      text[512];
    size_t    used  = 0;
    int       n_bad = 0;
    if (!c) return KS_OK;
    KS_TRY(KS_NEW(all, c->size));
    KS_TRY(ks_comm_host_gather(c, what, sizeof value, &value, all));
    for (int r = 1; r < c->size; r++) {
        if (all[r] == all[0]) continue;
        if (n_bad++ < 8 && used < sizeof text / 2)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%d (%.40s)", n_bad > 1 ? ", " : "", r,
                                     ks_control_host(c->control, r));
    }
    if (n_bad) {
        char whole[768];
        snprintf(whole, sizeof whole,
                 "'%s' is not the same on all ranks: that of rank%s %s%s differs from that of rank 0 (%s)", what,
                 n_bad > 1 ? "s" : "", text, n_bad > 8 ? " and more" : "", ks_control_host(c->control, 0));
        KS_TRY(ks_comm_refuse(c, whole));
    }
done:
    KS_FREE(all);
    return st;
}
