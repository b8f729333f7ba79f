/* comm_impl.h -- inside of a communicator. Private to src/comm. */
#ifndef KS_COMM_IMPL_H
#define KS_COMM_IMPL_H
#include "comm/control.h"
#include "comm/transport.h"

struct ks_comm {
    int                 rank, size;
    int                 local_rank, local_size, n_host;
    ks_launch           launch;
    ks_control         *control;
    const ks_transport *transport; /* NULL: not attached */
    void               *state;
    int                 has_given_up; /* the transport was told to abort */
    uint64_t            n_call;       /* exchanges so far */
    void               *block;        /* of one rank in an exchange; grows, and is kept */
    size_t              block_bytes;
};

/* What the ranks say to rank 0 at the beginning of each call, so that two different calls never meet. */
typedef enum ks_call_kind {
    KS_CALL_BARRIER = 1,
    KS_CALL_SUM,
    KS_CALL_MAX,
    KS_CALL_BCAST,
    KS_CALL_GATHER,
    KS_CALL_COLLECT,
    KS_CALL_TRANSPORT = 16 /* + the transport's own */
} ks_call_kind;

/* Every rank is at this call with so many bytes (of NULL: all with the same number, which is checked; else
 * rank 0 learns them there): rank 0 has heard so of all on return. Otherwise KS_ERR_COMM everywhere, naming
 * both calls. */
KS_NODISCARD ks_status ks_comm_meet(ks_comm *comm, int kind, const char *what, size_t bytes, size_t *of);
/* All ranks have found the same reason to refuse (and call this): rank 0 says it, KS_ERR_COMM on all. */
KS_NODISCARD ks_status ks_comm_refuse(ks_comm *comm, const char *text);
#endif
