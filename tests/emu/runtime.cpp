/* runtime.cpp -- the launcher's devices, memory, streams, events and graphs. See launcher.cpp for what they are there to find.
 *
 * A stream is a queue. Nothing runs before the host waits for something; then either only what the host waits for runs
 * (and what that waits for), or all streams run in bursts, in an order drawn from the seed: whatever no event orders
 * happens in either order. Copies read and write when they run, not when they are queued.
 * Work may also have to wait for another process (nccl.cpp): it is tried again while the host waits, and the host that
 * only asks is told that it is not done. It goes on only then: a host that waits for something else holds up the others. */
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <sys/mman.h>
#include <unistd.h>
#include "emu_impl.h"

using namespace ks_emu;

static char          g_message[512];
static cudaError_t   g_last, g_sticky; /* g_sticky: a kernel failed; only ks_emu_reset clears it */
static uint64_t      g_random = 1;
static ks_emu_counts g_count;

cudaError_t ks_emu::fail(cudaError_t error, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(g_message, sizeof g_message, fmt, ap);
    va_end(ap);
    g_last = error;
    return error;
}
void        ks_emu::fail_kernel(const char *text) { g_sticky = fail(cudaErrorLaunchFailure, "%s", text); }
cudaError_t ks_emu::failed_for_good() { return g_sticky; }

uint64_t ks_emu::random64() { /* splitmix64 */
    uint64_t z = (g_random += 0x9e3779b97f4a7c15u);
    z          = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z          = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* ---- captures: declared here because allocations and waits are refused during one ---- */

struct node {
    std::function<bool()> run;   /* false: not yet, try again */
    std::vector<int>      after; /* nodes */
};
struct capture {
    bool                      open = true, invalid = false;
    cudaStream_t              origin = nullptr;
    std::vector<cudaStream_t> member; /* origin and forked streams */
    std::vector<node>         nodes;
};
static std::shared_ptr<capture> g_capture; /* at most one at a time */

static cudaError_t refuse_in_capture(const char *what) {
    if (!g_capture) return cudaSuccess;
    g_capture->invalid = true;
    return fail(cudaErrorStreamCaptureUnsupported, "%s while a stream is being captured", what);
}

/* ---- device memory ---- */

static const size_t heap_reserve = (size_t)4 << 30, heap_align = 256;
static const size_t heap_page = 2 << 20; /* huge pages: changing the protection of small ones would cost the most */
static char        *g_heap;
static size_t       g_heap_top; /* bytes handed out so far */
struct block {
    size_t bytes, size; /* asked for, taken */
};
static std::map<char *, block> &live() {
    static std::map<char *, block> m;
    return m;
}
static std::multimap<size_t, char *> &spare() {
    static std::multimap<size_t, char *> m;
    return m;
}
static std::map<char *, size_t> &pinned() {
    static std::map<char *, size_t> m;
    return m;
}

static void protect(char *from, char *to, int prot) {
    from = (char *)((uintptr_t)from & ~(uintptr_t)(heap_page - 1));
    to   = (char *)(((uintptr_t)to + heap_page - 1) & ~(uintptr_t)(heap_page - 1));
    if (to > from && mprotect(from, (size_t)(to - from), prot) != 0) {
        fprintf(stderr, "emu: mprotect failed\n");
        abort();
    }
}
static void open_heap() { protect(g_heap, g_heap + g_heap_top, PROT_READ | PROT_WRITE); }
static void close_heap() { protect(g_heap, g_heap + g_heap_top, PROT_NONE); }

static void fill_with_nan(char *p, size_t bytes, size_t size) {
    ASAN_UNPOISON_MEMORY_REGION(p, size);
    protect(p, p + size, PROT_READ | PROT_WRITE);
    memset(p, 0xff, size);
    protect(p, p + size, PROT_NONE);
    ASAN_POISON_MEMORY_REGION(p + bytes, size - bytes);
}

cudaError_t cudaMalloc(void **ptr, size_t bytes) {
    const size_t size = (bytes + heap_align - 1) / heap_align * heap_align + heap_align; /* with a gap behind */
    g_count.allocations++;
    *ptr = nullptr;
    if (const cudaError_t e = refuse_in_capture("cudaMalloc")) return e;
    if (bytes == 0) return cudaSuccess;
    if (!g_heap) {
        void *const all =
            mmap(nullptr, heap_reserve + heap_page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (all == MAP_FAILED) return fail(cudaErrorMemoryAllocation, "cannot reserve device memory");
        g_heap = (char *)(((uintptr_t)all + heap_page - 1) & ~(uintptr_t)(heap_page - 1));
        (void)madvise(g_heap, heap_reserve, MADV_HUGEPAGE);
    }
    const auto old = spare().lower_bound(size);
    block      b   = {bytes, size};
    char      *p;
    if (old != spare().end() && old->first <= size + size / 4) {
        p      = old->second;
        b.size = old->first;
        spare().erase(old);
    } else {
        if (size > heap_reserve - g_heap_top) return fail(cudaErrorMemoryAllocation, "device memory is used up");
        p = g_heap + g_heap_top;
        g_heap_top += size;
    }
    fill_with_nan(p, bytes, b.size);
    live()[p] = b;
    *ptr      = p;
    return cudaSuccess;
}

bool ks_emu::is_device(const void *p, size_t bytes) {
    auto it = live().upper_bound((char *)p);
    if (it == live().begin()) return false;
    --it;
    return (const char *)p >= it->first && (const char *)p + bytes <= it->first + it->second.bytes;
}
static bool is_in_heap(const void *p) {
    return g_heap && (const char *)p >= g_heap && (const char *)p < g_heap + heap_reserve;
}
static bool is_pinned(const void *p, size_t bytes) {
    auto it = pinned().upper_bound((char *)p);
    if (it == pinned().begin()) return false;
    --it;
    return (const char *)p >= it->first && (const char *)p + bytes <= it->first + it->second;
}
bool ks_emu::is_reachable(const void *p) { return !p || is_in_heap(p) || is_pinned(p, 0); }

cudaError_t cudaFree(void *ptr) {
    if (!ptr) return cudaSuccess;
    g_count.frees++;
    if (const cudaError_t e = refuse_in_capture("cudaFree")) return e;
    g_count.waits--; /* its own */
    const cudaError_t error = cudaDeviceSynchronize();
    const auto        it    = live().find((char *)ptr);
    if (it == live().end()) return fail(cudaErrorInvalidValue, "cudaFree of a pointer that is not allocated");
    fill_with_nan((char *)ptr, 0, it->second.size);
    spare().insert({it->second.size, (char *)ptr});
    live().erase(it);
    return error;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    size_t used = 0;
    for (const auto &b : live()) used += b.second.size;
    *total_bytes = heap_reserve;
    *free_bytes  = heap_reserve - used;
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **ptr, size_t bytes, unsigned) {
    g_count.allocations++;
    *ptr = nullptr;
    if (const cudaError_t e = refuse_in_capture("cudaHostAlloc")) return e;
    if (bytes == 0) return cudaSuccess;
    *ptr = aligned_alloc(heap_align, (bytes + heap_align - 1) / heap_align * heap_align);
    if (!*ptr) return fail(cudaErrorMemoryAllocation, "host memory is used up");
    memset(*ptr, 0xff, bytes);
    pinned()[(char *)*ptr] = bytes;
    return cudaSuccess;
}
cudaError_t cudaMallocHost(void **ptr, size_t bytes) { return cudaHostAlloc(ptr, bytes, cudaHostAllocDefault); }

cudaError_t cudaFreeHost(void *ptr) {
    if (!ptr) return cudaSuccess;
    g_count.frees++;
    if (const cudaError_t e = refuse_in_capture("cudaFreeHost")) return e;
    g_count.waits--;
    const cudaError_t error = cudaDeviceSynchronize();
    if (!pinned().erase((char *)ptr)) return fail(cudaErrorInvalidValue, "cudaFreeHost of memory that is not pinned");
    free(ptr);
    return error;
}

/* ---- streams and events ---- */

/* One cudaEventRecord: done when the stream has come to it. During a capture: the nodes before it. */
struct record {
    bool                     done   = false;
    cudaStream_t             stream = nullptr;
    std::shared_ptr<capture> cap;
    std::vector<int>         after;
};
struct work {                    /* one of the three */
    std::function<bool()>   run; /* false: not yet, try again */
    std::shared_ptr<record> wait, mark;
};
struct ks_emu_stream {
    std::deque<work>         queue;
    std::shared_ptr<capture> cap;  /* while it is captured */
    std::vector<int>         tail; /* nodes that the next one comes after */
};
struct ks_emu_event {
    std::shared_ptr<record> last;
};
struct ks_emu_graph {
    std::vector<node> nodes;
};
struct ks_emu_exec {
    std::vector<node> nodes;
};

static std::vector<cudaStream_t> &streams() {
    static std::vector<cudaStream_t> v;
    return v;
}
static std::vector<cudaEvent_t> &events() {
    static std::vector<cudaEvent_t> v;
    return v;
}
static bool is_stream(cudaStream_t s) { return std::find(streams().begin(), streams().end(), s) != streams().end(); }
static bool is_event(cudaEvent_t e) { return std::find(events().begin(), events().end(), e) != events().end(); }
#define NEED_STREAM(s)                                                                                                 \
    if (!is_stream(s))                                                                                                 \
    return fail(cudaErrorInvalidResourceHandle, "%s: not a stream (the default stream is not used in this project)",   \
                __func__)
#define NEED_EVENT(e)                                                                                                  \
    if (!is_event(e)) return fail(cudaErrorInvalidResourceHandle, "%s: not an event", __func__)

static bool is_runnable(cudaStream_t s) {
    return !s->queue.empty() && !(s->queue.front().wait && !s->queue.front().wait->done);
}
static bool run_one(cudaStream_t s) {
    if (s->queue.front().run && !s->queue.front().run()) return false;
    const work w = std::move(s->queue.front());
    s->queue.pop_front();
    if (w.mark) w.mark->done = true;
    return true;
}

/* Runs until each target stream is empty, or the target record done, or (without `wait`) all wait for other processes. */
static cudaError_t drain(std::vector<cudaStream_t> target, const record *until, bool wait = true) {
    const bool                only_needed = random_below(2) == 0;
    std::vector<cudaStream_t> all         = streams();
    bool                      opened = false, stuck = false;
    auto                      finished = [&](cudaStream_t s) { return until ? until->done : s->queue.empty(); };
    shuffle_order(target);
    shuffle_order(all);
    for (cudaStream_t t : target)
        while (!finished(t) && !g_sticky && !(stuck && !wait)) {
            if (stuck) (void)usleep(200);
            if (!opened) open_heap();
            opened = stuck = true;
            if (only_needed) { /* t, or the stream whose record it waits for, and so on */
                cudaStream_t next = t;
                while (!is_runnable(next)) next = next->queue.front().wait->stream;
                stuck = !run_one(next);
            } else {
                if (random_below(16) == 0) shuffle_order(all);
                for (cudaStream_t s : all)
                    if (stuck && is_runnable(s)) stuck = !run_one(s);
            }
        }
    if (opened) close_heap();
    return g_sticky;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    if (flags != cudaStreamNonBlocking) return fail(cudaErrorInvalidValue, "streams of this project are non-blocking");
    streams().push_back(*stream = new ks_emu_stream());
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least    = 0;
    *greatest = -5;
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority) {
    if (priority > 0 || priority < -5) return fail(cudaErrorInvalidValue, "stream of priority %d", priority);
    return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    g_count.waits++;
    NEED_STREAM(stream);
    if (const cudaError_t e = refuse_in_capture("cudaStreamSynchronize")) return e;
    return drain({stream}, nullptr);
}

cudaError_t cudaDeviceSynchronize() {
    g_count.waits++;
    if (const cudaError_t e = refuse_in_capture("cudaDeviceSynchronize")) return e;
    return drain(streams(), nullptr);
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    NEED_STREAM(stream);
    if (const cudaError_t e = refuse_in_capture("cudaStreamQuery")) return e;
    if (stream->queue.empty() || g_sticky) return g_sticky;
    if (random_below(2)) (void)drain({stream}, nullptr, false); /* who polls gets there at some time */
    return fail(cudaErrorNotReady, "the stream has work");
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    NEED_STREAM(stream);
    if (const cudaError_t e = refuse_in_capture("cudaStreamDestroy")) return e;
    const cudaError_t error = drain({stream}, nullptr);
    for (work &w : stream->queue) /* left behind by a failed kernel */
        if (w.mark) w.mark->done = true;
    streams().erase(std::find(streams().begin(), streams().end(), stream));
    delete stream;
    return error;
}

/* Queues, or adds a node behind what the captured stream has. */
static cudaError_t push(cudaStream_t stream, std::function<bool()> run) {
    if (stream->cap) {
        capture &c = *stream->cap;
        if (c.invalid) return fail(cudaErrorStreamCaptureInvalidated, "the capture has failed before");
        c.nodes.push_back({std::move(run), stream->tail});
        stream->tail = {(int)c.nodes.size() - 1};
    } else {
        stream->queue.push_back({std::move(run), nullptr, nullptr});
    }
    return cudaSuccess;
}

cudaError_t ks_emu::push_attempts(const char *name, cudaStream_t stream, std::function<bool()> run) {
    g_count.launches++;
    if (g_sticky) return g_last = g_sticky;
    if (!is_stream(stream)) return fail(cudaErrorInvalidResourceHandle, "%s: not a stream", name);
    return push(stream, std::move(run));
}
static std::function<bool()> once(std::function<void()> run) {
    return [run = std::move(run)]() { return run(), true; };
}
cudaError_t ks_emu::push_work(const char *name, cudaStream_t stream, std::function<void()> run) {
    return push_attempts(name, stream, once(std::move(run)));
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    const bool to   = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    g_count.copies_in += !from;
    g_count.copies_out += !to;
    NEED_STREAM(stream);
    if (to ? !is_device(dst, bytes) : is_in_heap(dst))
        return fail(cudaErrorInvalidValue, "copy: destination and kind disagree");
    if (from ? !is_device(src, bytes) : is_in_heap(src))
        return fail(cudaErrorInvalidValue, "copy: source and kind disagree");
    if (!(to && from))
        if (const cudaError_t e = refuse_in_capture("a copy from or to the host")) return e;
    /* A GPU would stage it or wait, depending on size and driver. */
    if (!from && !is_pinned(src, bytes))
        return fail(cudaErrorInvalidValue, "a copy is queued from memory that is not pinned");
    const cudaError_t e = push(stream, once([=]() { memcpy(dst, src, bytes); }));
    if (e || to || is_pinned(dst, bytes)) return e;
    return drain({stream}, nullptr); /* a copy to pageable memory waits */
}

cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t stream) {
    NEED_STREAM(stream);
    if (!is_device(dst, bytes)) return fail(cudaErrorInvalidValue, "memset: not device memory");
    return push_work("memset", stream, [=]() { memset(dst, value, bytes); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    events().push_back(*event = new ks_emu_event());
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    NEED_EVENT(event);
    events().erase(std::find(events().begin(), events().end(), event));
    delete event; /* streams that wait keep the record */
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    NEED_EVENT(event);
    NEED_STREAM(stream);
    event->last         = std::make_shared<record>();
    event->last->stream = stream;
    event->last->cap    = stream->cap;
    event->last->after  = stream->tail;
    if (!stream->cap) stream->queue.push_back({nullptr, nullptr, event->last});
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    NEED_STREAM(stream);
    NEED_EVENT(event);
    const std::shared_ptr<record> r = event->last;
    if (!r) return cudaSuccess;
    if (r->cap) { /* recorded in a capture, which takes the waiting stream in */
        if (!r->cap->open || (stream->cap && stream->cap != r->cap))
            return fail(cudaErrorStreamCaptureIsolation,
                        "a stream waits for an event of a capture that it is not part of");
        if (!stream->cap) {
            stream->cap = r->cap;
            stream->tail.clear();
            r->cap->member.push_back(stream);
        }
        for (int k : r->after)
            if (std::find(stream->tail.begin(), stream->tail.end(), k) == stream->tail.end()) stream->tail.push_back(k);
        return cudaSuccess;
    }
    if (stream->cap) {
        stream->cap->invalid = true;
        return fail(cudaErrorStreamCaptureIsolation, "a captured stream waits for an event from outside");
    }
    if (!r->done) stream->queue.push_back({nullptr, r, nullptr});
    return cudaSuccess;
}

static cudaError_t event_state(cudaEvent_t event, const char *what) {
    if (const cudaError_t e = refuse_in_capture(what)) return e;
    if (event->last && event->last->cap)
        return fail(cudaErrorCapturedEvent, "%s: the event is part of a capture", what);
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    g_count.event_waits++;
    NEED_EVENT(event);
    if (const cudaError_t e = event_state(event, "cudaEventSynchronize")) return e;
    const std::shared_ptr<record> r = event->last;
    if (!r || r->done) return g_sticky;
    return drain({r->stream}, r.get());
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    NEED_EVENT(event);
    if (const cudaError_t e = event_state(event, "cudaEventQuery")) return e;
    const std::shared_ptr<record> r = event->last;
    if (!r || r->done || g_sticky) return g_sticky;
    if (random_below(2)) (void)drain({r->stream}, r.get(), false);
    return fail(cudaErrorNotReady, "the event has not been reached");
}

/* ---- graphs ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    NEED_STREAM(stream);
    if (g_capture) return fail(cudaErrorStreamCaptureUnsupported, "a capture begins inside another");
    g_capture         = std::make_shared<capture>();
    g_capture->origin = stream;
    g_capture->member.push_back(stream);
    stream->cap = g_capture;
    stream->tail.clear();
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status) {
    NEED_STREAM(stream);
    *status = !stream->cap           ? cudaStreamCaptureStatusNone
              : stream->cap->invalid ? cudaStreamCaptureStatusInvalidated
                                     : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    *graph = nullptr;
    NEED_STREAM(stream);
    if (!stream->cap || stream->cap->origin != stream)
        return fail(cudaErrorStreamCaptureUnmatched, "no capture began on this stream");
    const std::shared_ptr<capture> c = stream->cap;
    std::vector<char>              joined(c->nodes.size(), 0);
    for (int k : stream->tail) joined[(size_t)k] = 1;
    for (size_t k = joined.size(); k-- > 0;) /* after < node */
        if (joined[k])
            for (int before : c->nodes[k].after) joined[(size_t)before] = 1;
    for (cudaStream_t s : c->member) {
        s->cap.reset();
        s->tail.clear();
    }
    c->open = false;
    g_capture.reset();
    const std::vector<node> nodes = std::move(c->nodes); /* events still refer to the capture */
    c->nodes.clear();
    if (c->invalid) return g_last = cudaErrorStreamCaptureInvalidated; /* g_message says why */
    for (char j : joined)
        if (!j) return fail(cudaErrorStreamCaptureUnjoined, "a captured stream was not joined");
    *graph = new ks_emu_graph{nodes};
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
    *exec = nullptr;
    if (!graph) return fail(cudaErrorInvalidValue, "no graph");
    *exec = new ks_emu_exec{graph->nodes};
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    (void)drain(streams(), nullptr); /* pending launches refer to it */
    delete exec;
    return cudaSuccess;
}

/* One launch: an order in which each node follows those it comes after, along one branch, jumping to another now and then. */
struct graph_run {
    const ks_emu_exec            *exec;
    bool                          begun = false;
    std::vector<int>              ready, waiting, missing; /* waiting: tried, and to be tried again */
    std::vector<std::vector<int>> next;

    void begin() {
        const std::vector<node> &n = exec->nodes;
        missing.assign(n.size(), 0);
        next.resize(n.size());
        for (size_t k = 0; k < n.size(); k++) {
            missing[k] = (int)n[k].after.size();
            for (int before : n[k].after) next[(size_t)before].push_back((int)k);
            if (!missing[k]) ready.push_back((int)k);
        }
        for (std::vector<int> &v : next) shuffle_order(v);
        begun = true;
    }
    bool run() {
        if (!begun) begin();
        while (!ready.empty() && !g_sticky) {
            if (random_below(4) == 0) std::swap(ready[random_below((uint32_t)ready.size())], ready.back());
            const int k = ready.back();
            ready.pop_back();
            if (!exec->nodes[(size_t)k].run()) {
                waiting.push_back(k);
                continue;
            }
            for (int later : next[(size_t)k])
                if (--missing[(size_t)later] == 0) ready.push_back(later);
        }
        ready.swap(waiting);
        return ready.empty() || g_sticky;
    }
};

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    g_count.graph_launches++;
    if (g_sticky) return g_last = g_sticky;
    NEED_STREAM(stream);
    if (!exec) return fail(cudaErrorInvalidValue, "no graph");
    if (const cudaError_t e = refuse_in_capture("a graph launch")) return e;
    const auto run = std::make_shared<graph_run>();
    run->exec      = exec;
    return push(stream, [run]() { return run->run(); });
}

/* ---- the rest ---- */

static struct { int error, driver, major; } g_device = {0, 13000, 9};
void ks_emu_pretend(int error, int driver_version, int compute_major) {
    g_device = {error, driver_version, compute_major};
}

static void print_counts() {
    fprintf(stderr,
            "emu: %lld launches, %lld graph launches, %lld waits, %lld event waits, %lld allocations, %lld copies in, "
            "%lld out\n",
            (long long)g_count.launches, (long long)g_count.graph_launches, (long long)g_count.waits,
            (long long)g_count.event_waits, (long long)g_count.allocations, (long long)g_count.copies_in,
            (long long)g_count.copies_out);
}

/* KS_EMU_DEVICES: how many there are. Memory and streams are those of the process, whichever of them it uses. */
static int device_count() {
    const char *text = getenv("KS_EMU_DEVICES");
    const int   n    = text ? atoi(text) : 1;
    return n < 1 ? 1 : n > 64 ? 64 : n;
}
static int g_current;
cudaUUID_t ks_emu::device_uuid() { /* the same for all processes of a host */
    char       host[256] = "";
    uint64_t   h         = 14695981039346656037u;
    cudaUUID_t id        = {"KSEMU"};
    (void)gethostname(host, sizeof host - 1);
    for (const char *c = host; *c; c++) h = (h ^ (unsigned char)*c) * 1099511628211u;
    memcpy(id.bytes + 8, &h, 7);
    id.bytes[15] = (char)g_current;
    return id;
}

cudaError_t cudaGetDeviceCount(int *n) {
    static bool once = false;
    const char *seed = getenv("KS_EMU_SEED"), *stats = getenv("KS_EMU_STATS");
    if (!once && seed) ks_emu_seed(strtoull(seed, nullptr, 10));
    if (!once && stats && !strcmp(stats, "1")) atexit(print_counts);
    once = true;
    *n   = g_device.error ? 0 : device_count();
    return g_device.error ? fail((cudaError_t)g_device.error, "no device") : cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *version) { return *version = g_device.driver, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= device_count())
        return fail(cudaErrorInvalidValue, "device %d of %d", device, device_count());
    g_current = device;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int device) {
    if (device < 0 || device >= device_count())
        return fail(cudaErrorInvalidValue, "device %d of %d", device, device_count());
    *prop                = cudaDeviceProp();
    prop->uuid           = device_uuid();
    prop->uuid.bytes[15] = (char)device;
    snprintf(prop->name, sizeof prop->name, "launcher (CPU)");
    prop->major               = g_device.major;
    prop->multiProcessorCount = 3; /* small and odd: grid-stride loops go round more than once */
    prop->totalGlobalMem      = heap_reserve;
    return cudaSuccess;
}
cudaError_t cudaPeekAtLastError() { return g_sticky ? g_sticky : g_last; }
cudaError_t cudaGetLastError() {
    const cudaError_t e = cudaPeekAtLastError();
    g_last              = cudaSuccess;
    return e;
}
const char *cudaGetErrorString(cudaError_t error) {
    return error && g_message[0] ? g_message : error ? "error" : "no error";
}

const char   *ks_emu_message(void) { return g_message; }
void          ks_emu_seed(uint64_t seed) { g_random = seed; }
ks_emu_counts ks_emu_count(void) { return g_count; }
void          ks_emu_reset(void) {
             for (cudaStream_t s : streams()) {
                 for (work &w : s->queue)
            if (w.mark) w.mark->done = true;
        s->queue.clear();
                 s->cap.reset();
                 s->tail.clear();
    }
             g_capture.reset();
             g_last = g_sticky = cudaSuccess;
             g_message[0]      = '\0';
}
