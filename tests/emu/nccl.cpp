/* nccl.cpp -- stands in for NCCL between processes on one host. Tests only.
 *
 * The id names a memory file of rank 0's process, which the others open through /proc: nothing is left behind, however
 * the processes end. What is there to be found:
 *   calls        queued on their stream when NCCL's own thread would queue them: not in the call, but some time before
 *                ncclCommGetAsyncError has answered; another call before that is refused as NCCL refuses it
 *   order        all ranks must make the same calls with the same sizes: where NCCL would hang, the launcher fails by name
 *   waiting      for a rank that does not come blocks the stream for ever; the host that asks an event is told so
 *   recordings   run again at every launch; while one holds work of a communicator, its end waits (as NCCL's does)
 *   devices      two ranks on one, a rank that comes twice: ncclInvalidUsage
 *   slices       those that a reduce-scatter leaves undefined are overwritten with NaN
 * Sums are in rank order: f32 and f64 in their own precision, bf16 in fp32 and rounded once (NCCL rounds at every rank).
 * KS_EMU_NCCL_NOTICE=1: a rank that is gone is noticed by the others, ncclRemoteError, as over a network; else it is not, as
 * over NVLink. What it cannot show: speed, NCCL's own choice of algorithms, and everything of its network. */
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <memory>
#include <sys/mman.h>
#include <unistd.h>
#include <nccl.h>
#include "emu_impl.h"

using namespace ks_emu;

enum { RANKS = 64 };
static const size_t   slot_bytes = 64 << 10; /* what a rank shows the others at a time */
static const uint64_t magic      = 0x6b736e63636c3031u;

enum call_kind { ALL_REDUCE = 1, REDUCE_SCATTER, ALL_GATHER };

struct turn { /* what a rank shows: must be the same of all */
    int      kind, type, op;
    uint64_t count, at; /* at: element that this piece begins with, of all */
};
struct rank_page {
    std::atomic<int>      present, gone;
    std::atomic<uint64_t> written, taken; /* pieces so far */
    int                   n, pid;
    cudaUUID_t            uuid;
    turn                  now;
    alignas(64) char slot[slot_bytes];
};
struct shared_page {
    uint64_t  magic, nonce;
    rank_page rank[RANKS]; /* pages that nobody touches take no memory */
};
struct id_text {
    uint64_t magic, nonce;
    int      pid, fd;
};

struct comm_state {
    int               n = 0, me = 0;
    shared_page      *page = nullptr;
    std::atomic<bool> aborted{false};
    uint64_t          piece = 0;       /* number of the next one */
    const void       *busy  = nullptr; /* the call that is at work: one at a time, as in NCCL */
    ~comm_state() {
        if (page) (void)munmap(page, sizeof *page);
    }
};

/* What a communicator is about to have done. */
enum stage { CONNECTING, READY, QUEUEING, ENDING, ENDED, FAILED };
struct ncclComm {
    std::shared_ptr<comm_state>  s;
    stage                        at     = CONNECTING;
    int                          delay  = 0; /* questions that are still answered with "in progress" */
    ncclResult_t                 result = ncclSuccess;
    std::function<cudaError_t()> queue; /* while QUEUEING */
    bool                         complained = false;
};

static char         g_last[512];
static ncclResult_t refuse(ncclResult_t r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static ncclResult_t refuse(ncclResult_t r, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(g_last, sizeof g_last, fmt, ap);
    va_end(ap);
    return r;
}

/* ---- one call, piece by piece ---- */

static size_t size_of(int type) { return type == ncclFloat64 ? 8 : type == ncclFloat32 ? 4 : 2; }

static float from_bf16(uint16_t h) {
    const uint32_t w = (uint32_t)h << 16;
    float          x;
    memcpy(&x, &w, sizeof x);
    return x;
}
static uint16_t to_bf16(float x) { /* to nearest, ties to even */
    uint32_t w;
    memcpy(&w, &x, sizeof w);
    if (x != x) return (uint16_t)(w >> 16 | 0x40);
    return (uint16_t)((w + 0x7fff + (w >> 16 & 1)) >> 16);
}
template <typename T> static void add_up(const shared_page *p, int n, size_t m, T *out) {
    for (size_t i = 0; i < m; i++) {
        T sum = ((const T *)p->rank[0].slot)[i];
        for (int r = 1; r < n; r++) sum += ((const T *)p->rank[r].slot)[i];
        out[i] = sum;
    }
}
static void add_up_bf16(const shared_page *p, int n, size_t m, uint16_t *out) {
    for (size_t i = 0; i < m; i++) {
        float sum = from_bf16(((const uint16_t *)p->rank[0].slot)[i]);
        for (int r = 1; r < n; r++) sum += from_bf16(((const uint16_t *)p->rank[r].slot)[i]);
        out[i] = to_bf16(sum);
    }
}

struct collective {
    std::shared_ptr<comm_state> c;
    turn                        what;
    const char                 *send;
    char                       *recv;
    uint64_t                    at    = 0; /* elements of all that are done */
    bool                        shown = false;

    /* elements of send: all, except for an all-gather, whose pieces each rank has of its own slice */
    uint64_t total() const { return what.kind == REDUCE_SCATTER ? what.count * (uint64_t)c->n : what.count; }
    /* A piece does not reach beyond the slice of a reduce-scatter. */
    uint64_t length() const {
        const uint64_t most = slot_bytes / size_of(what.type);
        const uint64_t left = what.kind == REDUCE_SCATTER ? what.count - at % what.count : total() - at;
        return left < most ? left : most;
    }
    void finish() {
        at      = 0; /* a recording runs it again */
        shown   = false;
        c->busy = nullptr;
    }
    bool disagree() const {
        for (int r = 0; r < c->n; r++) {
            const turn &t = c->page->rank[r].now;
            if (t.kind == what.kind && t.type == what.type && t.op == what.op && t.count == what.count && t.at == at)
                continue;
            static const char *const name[] = {"nothing", "a sum", "a reduce-scatter", "an all-gather"};
            char                     text[300];
            snprintf(text, sizeof text,
                     "NCCL: rank %d is in %s of %llu elements of type %d, rank %d in %s of %llu of type %d: a GPU "
                     "would hang",
                     c->me, name[what.kind], (unsigned long long)what.count, what.type, r, name[t.kind & 3],
                     (unsigned long long)t.count, t.type);
            fprintf(stderr, "emu: %s\n", text);
            fail_kernel(text);
            return true;
        }
        return false;
    }
    /* One piece further; false when another rank has not come. */
    bool step() {
        shared_page   *p    = c->page;
        rank_page     &mine = p->rank[c->me];
        const size_t   e    = size_of(what.type);
        const uint64_t m    = length();
        if (!shown) {
            for (int r = 0; r < c->n; r++)
                if (p->rank[r].taken.load(std::memory_order_acquire) < c->piece) return false;
            memcpy(mine.slot, send + at * e, m * e);
            mine.now    = what;
            mine.now.at = at;
            mine.written.store(c->piece + 1, std::memory_order_release);
            shown = true;
        }
        for (int r = 0; r < c->n; r++)
            if (p->rank[r].written.load(std::memory_order_acquire) < c->piece + 1) return false;
        if (disagree()) return true;
        if (what.kind == ALL_GATHER) {
            for (int r = 0; r < c->n; r++) memcpy(recv + ((uint64_t)r * what.count + at) * e, p->rank[r].slot, m * e);
        } else if (what.kind == ALL_REDUCE || (int)(at / what.count) == c->me) {
            char *out = recv + (what.kind == REDUCE_SCATTER ? at % what.count : at) * e;
            if (what.type == ncclFloat64) add_up(p, c->n, m, (double *)out);
            else if (what.type == ncclFloat32) add_up(p, c->n, m, (float *)out);
            else add_up_bf16(p, c->n, m, (uint16_t *)out);
        } else if (recv == send + (uint64_t)c->me * what.count * e) { /* in place: undefined from here on */
            memset(const_cast<char *>(send) + at * e, 0xff, m * e);
        }
        mine.taken.store(++c->piece, std::memory_order_release);
        at += m;
        shown = false;
        return true;
    }
    bool run() {
        if (c->aborted.load()) return finish(), true;
        if (c->busy && c->busy != this) return false;
        c->busy = this;
        while (at < total() && !failed_for_good())
            if (!step()) return false;
        return finish(), true;
    }
};

static ncclResult_t ready(ncclComm_t comm, const char *call) {
    if (!comm) return refuse(ncclInvalidArgument, "%s: no communicator", call);
    if (comm->at == READY) return ncclSuccess;
    if (comm->at == FAILED) return comm->result;
    return refuse(ncclInvalidArgument, "%s before ncclCommGetAsyncError has said that what was called before is queued",
                  call);
}

static ncclResult_t enqueue_call(const char *name, int kind, const void *send, void *recv, size_t n,
                                 ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
    if (const ncclResult_t r = ready(comm, name)) return r;
    if (type != ncclFloat64 && type != ncclFloat32 && type != ncclBfloat16)
        return refuse(ncclInvalidArgument, "%s: type %d", name, (int)type);
    if (kind != ALL_GATHER && op != ncclSum) return refuse(ncclInvalidArgument, "%s: operation %d", name, (int)op);
    const size_t each = n * size_of(type), all = each * (size_t)comm->s->n;
    if (!is_device(send, kind == REDUCE_SCATTER ? all : each) || !is_device(recv, kind == ALL_GATHER ? all : each))
        return refuse(ncclInvalidArgument, "%s: %zu elements that are not all in device memory", name, n);
    if (n == 0) return refuse(ncclInvalidUsage, "%s of nothing", name);
    comm->at    = QUEUEING;
    comm->delay = (int)random_below(4);
    auto call   = std::make_shared<collective>();
    call->c     = comm->s;
    call->what  = {kind, (int)type, kind == ALL_GATHER ? 0 : (int)op, n, 0};
    call->send  = (const char *)send;
    call->recv  = (char *)recv;
    comm->queue = [=]() { return push_attempts(name, stream, [call]() { return call->run(); }); };
    return ncclInProgress;
}
ncclResult_t ncclAllReduce(const void *send, void *recv, size_t n, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                           cudaStream_t stream) {
    return enqueue_call("ncclAllReduce", ALL_REDUCE, send, recv, n, type, op, comm, stream);
}
ncclResult_t ncclReduceScatter(const void *send, void *recv, size_t n_each, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
    return enqueue_call("ncclReduceScatter", REDUCE_SCATTER, send, recv, n_each, type, op, comm, stream);
}
ncclResult_t ncclAllGather(const void *send, void *recv, size_t n_each, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
    return enqueue_call("ncclAllGather", ALL_GATHER, send, recv, n_each, type, ncclSum, comm, stream);
}

/* ---- communicators ---- */

ncclResult_t ncclGetVersion(int *version) { return *version = NCCL_VERSION_CODE, ncclSuccess; }

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    id_text   text = {magic, random64() ^ (uint64_t)getpid() << 32 ^ (uint64_t)time(nullptr), (int)getpid(), -1};
    const int fd = memfd_create("ksgrad-nccl", MFD_CLOEXEC); /* open as long as the process: another rank may be late */
    if (fd < 0 || ftruncate(fd, sizeof(shared_page)) != 0)
        return refuse(ncclSystemError, "no shared memory: %s", strerror(errno));
    text.fd = fd;
    if (pwrite(fd, &text, 2 * sizeof(uint64_t), 0) != 2 * sizeof(uint64_t))
        return refuse(ncclSystemError, "shared memory: %s", strerror(errno));
    memset(id, 0, sizeof *id);
    memcpy(id, &text, sizeof text);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int n, ncclUniqueId id, int rank, ncclConfig_t *config) {
    id_text text;
    char    path[64];
    int     none = 0;
    memcpy(&text, &id, sizeof text);
    *comm = nullptr;
    if (!config || config->magic != 0xcafebeefu || config->blocking != 0)
        return refuse(ncclInvalidArgument, "the stand-in is for non-blocking communicators");
    if (text.magic != magic || n < 1 || n > RANKS || rank < 0 || rank >= n)
        return refuse(ncclInvalidArgument, "rank %d of %d, or no id", rank, n);
    snprintf(path, sizeof path, "/proc/%d/fd/%d", text.pid, text.fd);
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return refuse(ncclSystemError, "the process of rank 0 is not there: %s", strerror(errno));
    void *const page = mmap(nullptr, sizeof(shared_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (page == MAP_FAILED) return refuse(ncclSystemError, "mmap: %s", strerror(errno));
    auto s  = std::make_shared<comm_state>();
    s->n    = n;
    s->me   = rank;
    s->page = (shared_page *)page;
    if (s->page->magic != magic || s->page->nonce != text.nonce)
        return refuse(ncclSystemError, "the id of another job");
    rank_page &mine = s->page->rank[rank];
    if (!mine.present.compare_exchange_strong(none, 1)) return refuse(ncclInvalidUsage, "rank %d comes twice", rank);
    mine.n    = n;
    mine.pid  = (int)getpid();
    mine.uuid = device_uuid();
    mine.present.store(2);
    *comm          = new ncclComm();
    (*comm)->s     = s;
    (*comm)->delay = 3 + (int)random_below(4);
    return ncclInProgress;
}

static ncclResult_t connected(ncclComm_t comm) {
    const comm_state &s = *comm->s;
    const rank_page  *r = s.page->rank;
    for (int k = 0; k < s.n; k++)
        if (r[k].present.load() != 2) return ncclInProgress;
    for (int k = 0; k < s.n; k++) {
        if (r[k].n != s.n) return refuse(ncclInvalidUsage, "rank %d has come for %d ranks, not %d", k, r[k].n, s.n);
        for (int l = 0; l < k; l++)
            if (!memcmp(&r[k].uuid, &r[l].uuid, sizeof r[k].uuid))
                return refuse(ncclInvalidUsage, "Duplicate GPU detected : rank %d and rank %d both on CUDA device %x",
                              k, l, (unsigned)r[k].uuid.bytes[15]);
    }
    return ncclSuccess;
}

static bool somebody_is_gone(const comm_state &s) {
    static const char *const notice = getenv("KS_EMU_NCCL_NOTICE");
    if (!notice || strcmp(notice, "1")) return false;
    for (int k = 0; k < s.n; k++) {
        const rank_page &r = s.page->rank[k];
        if (k != s.me && r.present.load() == 2 && (r.gone.load() || (kill(r.pid, 0) != 0 && errno == ESRCH)))
            return true;
    }
    return false;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error) {
    if (!comm) return refuse(ncclInvalidArgument, "ncclCommGetAsyncError: no communicator");
    *error = ncclInProgress;
    if (comm->at != ENDING && comm->at != ENDED && comm->at != FAILED && somebody_is_gone(*comm->s)) {
        comm->at     = FAILED;
        comm->result = refuse(ncclRemoteError, "a rank's connection was closed");
    }
    if (comm->delay > 0 && comm->at != FAILED) return comm->delay--, ncclSuccess;
    switch (comm->at) {
    case CONNECTING:
        *error = connected(comm);
        if (*error == ncclInProgress) return ncclSuccess;
        comm->at     = *error == ncclSuccess ? READY : FAILED;
        comm->result = *error;
        return ncclSuccess;
    case QUEUEING: {
        const cudaError_t e = comm->queue();
        comm->queue         = nullptr;
        comm->at            = e == cudaSuccess ? READY : FAILED;
        comm->result = e == cudaSuccess ? ncclSuccess : refuse(ncclUnhandledCudaError, "%s", cudaGetErrorString(e));
        break;
    }
    case ENDING: /* work in queues and recordings hold the state */
        if (comm->s.use_count() > 1) return ncclSuccess;
        comm->at = ENDED;
        break;
    default:
        break;
    }
    *error = comm->result;
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
    if (const ncclResult_t r = ready(comm, "ncclCommFinalize")) return r;
    comm->at    = ENDING;
    comm->delay = (int)random_below(4);
    return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    if (comm->at != ENDED) return refuse(ncclInvalidUsage, "ncclCommDestroy before the end of ncclCommFinalize");
    comm->s->page->rank[comm->s->me].gone.store(1);
    delete comm;
    return ncclSuccess;
}

/* From any thread: streams that wait go on; returns when nothing holds work of the communicator any more. */
ncclResult_t ncclCommAbort(ncclComm_t comm) {
    if (!comm) return ncclSuccess;
    comm->s->aborted.store(true);
    comm->s->page->rank[comm->s->me].gone.store(1);
    comm->queue = nullptr;
    while (comm->s.use_count() > 1) (void)usleep(500);
    delete comm;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result) {
    static const char *const text[] = {"no error",
                                       "unhandled cuda error",
                                       "unhandled system error",
                                       "internal error",
                                       "invalid argument",
                                       "invalid usage",
                                       "remote process exited or there was a network error",
                                       "NCCL operation in progress"};
    return (unsigned)result < 8 ? text[result] : "unknown result code";
}
const char *ncclGetLastError(ncclComm_t) { return g_last; }
