/* launcher.cpp -- runs the project's CUDA kernels on the CPU, for tests. Never part of a user's build.
 *
 * What it emulates, and what each part is there to find:
 *   threads    between barriers they run one after the other in an order shuffled by a seed, so that a missing
 *              __syncthreads gives a wrong answer; blocks run in shuffled order too
 *   barriers   all threads of the block must reach the same line; one that returned or waits elsewhere is an error
 *   warps      shuffles and ballots wait for exactly the lanes of the mask; a lane that has returned is an error
 *   shared     allocated to the byte and filled with NaN for each block (redzones under AddressSanitizer)
 *   device     one mapping that is inaccessible outside kernels and copies: a host dereference faults; a kernel's
 *              pointer argument must not be host memory; new memory is NaN; gaps between allocations and freed ones
 *              are poisoned under AddressSanitizer
 *   streams    queue (runtime.cpp): a missing wait of the host or of another stream shows; copies must be pinned
 *   graphs     record what is queued; a wait, an allocation, a host copy or a stream left out is an error
 *   launches   refuse what a GPU refuses: no blocks, too many threads, too much shared memory
 * What it cannot show: speed, occupancy, races between blocks that run at the same time, NVIDIA's compiler.
 *
 * Speed: a thread is a function call on the fibre that runs already; only when one has to wait does it keep that
 * fibre, and the next threads run on another. */
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <string>
#include "emu_impl.h"
#include "fibre.h"

#ifdef KS_ASAN
static const size_t stack_bytes = 256 << 10;
#else
static const size_t stack_bytes = 64 << 10;
#endif

using namespace ks_emu;

uint3 threadIdx, blockIdx;
dim3  blockDim, gridDim;

/* ---- one block ---- */

struct thread {
    fibre      *f; /* its own while it waits */
    uint3       id;
    bool        done;
    const char *file; /* barrier that it waits at, or NULL */
    int         line;
};
struct warp {
    uint64_t slot[2][32];
    unsigned generation, arrived, mask, exists, exited;
    int      line;
};

static std::vector<thread>          g_thread;
static std::vector<warp>            g_warp;
static std::vector<unsigned>        g_order, g_ready, g_woken; /* of this pass; g_woken: of the next one */
static size_t                       g_at, g_done, g_at_warp;
static unsigned                     g_self; /* index of the running thread */
static bool                         g_kernel_failed;
static const std::function<void()> *g_body;
static const char                  *g_kernel = "";
static std::vector<fibre *>         g_idle;
static size_t                       g_static_used, g_dynamic_used, g_dynamic_bytes, g_allowed;
static void                        *g_dynamic_shared;
static const size_t                 shared_default = 48 << 10, shared_limit = 227 << 10;
uint64_t                            ks_emu::block_serial;

static struct fibre_pool {
    std::vector<fibre *> f;
    ~fibre_pool() {
        for (fibre *x : f) fibre_destroy(x);
    }
} g_pool;

static std::map<const void *, int> &allowed() {
    static std::map<const void *, int> m;
    return m;
}

static void kernel_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void kernel_fail(const char *fmt, ...) {
    char    text[400], line[480];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(line, sizeof line, "kernel %s: %s", g_kernel, text);
    if (!g_kernel_failed) fail_kernel(line);
    g_kernel_failed = true;
}

/* Leaves a fibre of a failed kernel for good; its stack is started anew. */
static void stop_here() {
    for (;;) fibre_switch(nullptr);
}

static fibre *idle_fibre();

/* Gives way to the next thread of this pass, or to run_block when there is none. */
static void give_way() {
    fibre *next = nullptr;
    if (g_at < g_ready.size() && !g_kernel_failed) {
        const unsigned i = g_ready[g_at];
        next             = g_thread[i].f;
        if (next) { /* it has waited */
            g_at++;
            g_self    = i;
            threadIdx = g_thread[i].id;
        } else {
            next = idle_fibre();
        }
    }
    fibre_switch(next);
}

unsigned ks_emu::lane() { return g_self % 32; }

void *ks_emu::shared_static(shared_array *a, size_t bytes) {
    g_static_used += bytes;
    if (g_static_used > shared_default || g_static_used + g_dynamic_used > g_allowed) {
        kernel_fail("static shared memory of %zu bytes exceeds %zu less %zu", g_static_used,
                    std::min(shared_default, g_allowed), g_dynamic_used);
        stop_here();
    }
    if (!a->ptr) a->ptr = malloc(a->bytes = bytes);
    memset(a->ptr, 0xff, bytes);
    a->block = block_serial;
    return a->ptr;
}

void *ks_emu::shared_dynamic() { return g_dynamic_shared; }

void ks_emu::barrier(const char *file, int line) {
    thread &t = g_thread[g_self];
    t.file    = file;
    t.line    = line;
    give_way();
    if (g_kernel_failed) stop_here();
}

const uint64_t *ks_emu::exchange(unsigned mask, uint64_t value, int line) {
    const unsigned self = g_self, bit = 1u << lane();
    warp          &w    = g_warp[self / 32];
    const unsigned mine = w.generation & 1;
    if (!(mask & bit)) kernel_fail("line %d: lane %u is not in its own mask %08x", line, lane(), mask);
    if (mask & ~w.exists || mask & w.exited)
        kernel_fail("line %d: mask %08x names lanes that do not exist or have returned", line, mask);
    if (w.arrived && (w.mask != mask || w.line != line))
        kernel_fail("lines %d and %d: lanes of one warp meet in different operations", w.line, line);
    if (g_kernel_failed) stop_here();
    w.mask = mask;
    w.line = line;
    w.arrived |= bit;
    w.slot[mine][self % 32] = value;
    if (w.arrived == mask) {
        w.arrived = 0;
        w.generation++;
        for (unsigned rest = mask & ~bit; rest; rest &= rest - 1, g_at_warp--)
            g_woken.push_back(self / 32 * 32 + (unsigned)__builtin_ctz(rest));
    } else {
        g_at_warp++;
        give_way();
        if (g_kernel_failed) stop_here();
    }
    return w.slot[mine];
}

void ks_emu::lane_missing(unsigned mask, unsigned from, int line) {
    kernel_fail("line %d: lane %u reads lane %u, which is not in mask %08x", line, lane(), from, mask);
    stop_here();
}

/* The body of every fibre: threads that have not started, one after the other. One that waits takes the fibre with it,
 * and it comes back here when that thread is done. */
static void run_threads(void *arg) {
    fibre *const self = (fibre *)arg;
    for (;;) {
        while (g_at < g_ready.size() && !g_thread[g_ready[g_at]].f && !g_kernel_failed) {
            g_self              = g_ready[g_at++];
            thread        &t    = g_thread[g_self];
            const unsigned mine = g_self;
            t.f                 = self;
            threadIdx           = t.id;
            (*g_body)();
            g_thread[mine].done = true;
            g_warp[mine / 32].exited |= 1u << mine % 32;
            g_done++;
        }
        g_idle.push_back(self);
        give_way();
    }
}

static fibre *idle_fibre() {
    if (g_idle.empty()) {
        fibre *f = fibre_create(stack_bytes, g_pool.f.size());
        fibre_start(f, run_threads, f);
        g_pool.f.push_back(f);
        g_idle.push_back(f);
    }
    fibre *f = g_idle.back();
    g_idle.pop_back();
    return f;
}

/* Nobody can run: either everybody waits at one barrier, or something is wrong. */
static bool release_barrier() {
    const thread *first = nullptr;
    g_ready.resize(g_order.size());
    if (g_at_warp) return kernel_fail("a warp operation waits for lanes that never come"), false;
    for (const thread &t : g_thread)
        if (!t.done && !first) first = &t;
    for (const thread &t : g_thread) {
        if (t.done)
            return kernel_fail("%s:%d: __syncthreads after thread (%u,%u,%u) has returned", first->file, first->line,
                               t.id.x, t.id.y, t.id.z),
                   false;
        if (t.line != first->line || t.file != first->file)
            return kernel_fail("threads of one block wait at different __syncthreads, lines %d and %d", first->line,
                               t.line),
                   false;
    }
    /* Another order, for less than a shuffle of all. */
    std::rotate_copy(g_order.begin(), g_order.begin() + random_below((uint32_t)g_order.size()), g_order.end(),
                     g_ready.begin());
    if (random_below(2)) std::reverse(g_ready.begin(), g_ready.end());
    return true;
}

static void run_block() {
    for (warp &w : g_warp) w.arrived = w.exited = w.generation = 0;
    for (thread &t : g_thread) {
        t.f    = nullptr;
        t.done = false;
    }
    g_done = g_at_warp = 0;
    g_woken.clear();
    shuffle_order(g_order);
    g_ready = g_order;
    while (!g_kernel_failed) {
        for (g_at = 0; g_at < g_ready.size() && !g_kernel_failed;) give_way();
        if (g_done == g_thread.size()) return;
        g_ready.swap(g_woken);
        g_woken.clear();
        if (!g_ready.empty()) shuffle_order(g_ready);
        else if (!release_barrier()) return;
    }
}

/* ---- one kernel ---- */

struct cost {
    double  seconds;
    int64_t launches, threads;
};
static std::map<std::string, cost> &costs() {
    static auto *m = new std::map<std::string, cost>(); /* printed at the very end */
    return *m;
}
static double now() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static void print_costs() {
    std::vector<std::pair<double, std::string>> order;
    for (const auto &c : costs()) order.push_back({c.second.seconds, c.first});
    std::sort(order.rbegin(), order.rend());
    for (size_t k = 0; k < order.size() && k < 25; k++) {
        const cost &c = costs()[order[k].second];
        fprintf(stderr, "emu: %8.3f s %8lld launches %12lld threads %s\n", c.seconds, (long long)c.launches,
                (long long)c.threads, order[k].second.c_str());
    }
}
static bool wants_costs() {
    static int wanted = -1;
    if (wanted < 0) {
        const char *s = getenv("KS_EMU_STATS");
        wanted        = s && !strcmp(s, "1");
        if (wanted) atexit(print_costs);
    }
    return wanted;
}

static void restart_fibres() {
    g_idle.clear();
    for (fibre *f : g_pool.f) {
        fibre_start(f, run_threads, f);
        g_idle.push_back(f);
    }
}

template <typename F> static void timed(const char *name, int64_t threads, F run) {
    const double start = wants_costs() ? now() : 0.0;
    g_kernel           = name;
    g_kernel_failed    = false;
    run();
    if (wants_costs()) {
        cost &c = costs()[name];
        c.seconds += now() - start;
        c.launches++;
        c.threads += threads;
    }
}

static void run_kernel(dim3 grid, dim3 block, size_t shared, size_t limit, const std::function<void()> &body) {
    const unsigned        n = block.x * block.y * block.z;
    std::vector<uint64_t> blocks((size_t)grid.x * grid.y * grid.z);
    g_body         = &body;
    gridDim        = grid;
    blockDim       = block;
    g_allowed      = limit;
    g_dynamic_used = shared;
    if (shared && shared != g_dynamic_bytes) {
        free(g_dynamic_shared);
        g_dynamic_shared = malloc(g_dynamic_bytes = shared);
    }
    g_thread.assign(n, thread());
    g_warp.assign((n + 31) / 32, warp());
    g_order.resize(n);
    for (unsigned i = 0; i < n; i++) {
        g_order[i]     = i;
        g_thread[i].id = {i % block.x, i / block.x % block.y, i / block.x / block.y};
        g_warp[i / 32].exists |= 1u << i % 32;
    }
    for (size_t b = 0; b < blocks.size(); b++) blocks[b] = b;
    shuffle_order(blocks);
    for (uint64_t b : blocks) {
        blockIdx      = {(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y)};
        g_static_used = 0;
        block_serial++;
        if (shared) memset(g_dynamic_shared, 0xff, shared);
        run_block();
        if (g_kernel_failed) break;
    }
    if (g_kernel_failed) restart_fibres();
}

void ks_emu::launch(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                    int n_ptr, const void *const *ptr, std::function<void()> body) {
    const uint64_t threads = (uint64_t)block.x * block.y * block.z;
    const auto     it      = allowed().find(kernel);
    const size_t   limit   = it == allowed().end() ? shared_default : (size_t)it->second;
    if (!grid.x || !grid.y || !grid.z || grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535) {
        fail(cudaErrorInvalidConfiguration, "launch of %s: grid %u x %u x %u", name, grid.x, grid.y, grid.z);
        return;
    }
    if (threads == 0 || threads > 1024 || block.z > 64) {
        fail(cudaErrorInvalidConfiguration, "launch of %s: block %u x %u x %u", name, block.x, block.y, block.z);
        return;
    }
    if (shared > limit) {
        fail(cudaErrorInvalidValue, "launch of %s: %zu bytes of shared memory, allowed %zu", name, shared, limit);
        return;
    }
    for (int k = 0; k < n_ptr; k++)
        if (!is_reachable(ptr[k])) {
            fail(cudaErrorInvalidValue, "launch of %s: its pointer argument %d is host memory", name, k + 1);
            return;
        }
    const size_t  most = it == allowed().end() ? shared_default : shared_limit; /* static and dynamic together */
    const int64_t all  = (int64_t)threads * grid.x * grid.y * grid.z;
    (void)push_work(name, stream, [=]() { timed(name, all, [&] { run_kernel(grid, block, shared, most, body); }); });
}

cudaError_t ks_emu::enqueue(const char *name, cudaStream_t stream, std::function<void()> work) {
    return push_work(name, stream, [=]() { timed(name, 1, work); });
}

void ks_emu::work_fail(const char *fmt, ...) {
    char    text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    kernel_fail("%s", text);
}

cudaError_t ks_emu::allow_shared(const void *kernel, cudaFuncAttribute what, int bytes) {
    if (what != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (bytes < 0 || (size_t)bytes > shared_limit)
        return fail(cudaErrorInvalidValue, "%d bytes of shared memory, limit %zu", bytes, shared_limit);
    allowed()[kernel] = bytes;
    return cudaSuccess;
}
