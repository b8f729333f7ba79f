/* launcher.cpp -- runs the project's CUDA kernels on the CPU, for tests. Never part of a user's build.
 *
 * What it emulates, and what each part is there to find:
 *   threads    one fibre each; between barriers they run one after the other in an order shuffled by a seed, so that a
 *              missing __syncthreads gives a wrong answer; blocks run in shuffled order too
 *   barriers   all threads of the block must reach the same line; one that returned or waits elsewhere is an error
 *   warps      shuffles and ballots wait for exactly the lanes of the mask; a lane that has returned is an error
 *   shared     allocated to the byte for each block and filled with NaN (redzones under AddressSanitizer)
 *   device     one mapping that is inaccessible outside kernels and copies: a host dereference faults; new memory is
 *              NaN; gaps between allocations and freed ones are poisoned under AddressSanitizer
 *   streams    queue; nothing runs before a synchronisation of that stream, so that a missing one shows
 *   launches   refuse what a GPU refuses: no blocks, too many threads, too much shared memory
 * What it cannot show: speed, occupancy, races between blocks that run at the same time, NVIDIA's compiler. */
#include "launcher.h"
#include <cuda_runtime.h>
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <sys/mman.h>
#include <vector>
#include "fibre.h"

#if defined(__SANITIZE_ADDRESS__)
#define KS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KS_ASAN 1
#endif
#endif
#ifdef KS_ASAN
#include <sanitizer/asan_interface.h>
static const size_t stack_bytes = 256 << 10;
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
static const size_t stack_bytes = 64 << 10;
#endif

uint3 threadIdx, blockIdx;
dim3  blockDim, gridDim;

static char        g_message[512];
static cudaError_t g_last, g_sticky; /* g_sticky: a kernel failed; only ks_emu_reset clears it */
static uint64_t    g_seed, g_random = 1;

__attribute__((format(printf, 2, 3))) static cudaError_t fail(cudaError_t error, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(g_message, sizeof g_message, fmt, ap);
    va_end(ap);
    g_last = error;
    return error;
}

static uint64_t random64() { /* splitmix64 */
    uint64_t z = (g_random += 0x9e3779b97f4a7c15u);
    z          = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z          = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

template <typename T> static void shuffle_order(std::vector<T> &v) {
    for (size_t i = v.size(); i > 1; i--) std::swap(v[i - 1], v[random64() % i]);
}

/* ---- device memory ---- */

static const size_t              heap_reserve = (size_t)16 << 30, heap_align = 256;
static char                     *g_heap;
static size_t                    g_heap_top; /* bytes handed out so far, page multiple protected together */
static std::map<char *, size_t> &live() {
    static std::map<char *, size_t> m;
    return m;
}
static std::multimap<size_t, char *> &spare() {
    static std::multimap<size_t, char *> m;
    return m;
}

static size_t slot_bytes(size_t bytes) { return (bytes + heap_align - 1) / heap_align * heap_align + heap_align; }

static void heap_protect(int prot) {
    const size_t pages = (g_heap_top + 4095) / 4096 * 4096;
    if (pages && mprotect(g_heap, pages, prot) != 0) {
        fprintf(stderr, "emu: mprotect failed\n");
        abort();
    }
}

cudaError_t cudaMalloc(void **ptr, size_t bytes) {
    if (!g_heap) {
        g_heap = (char *)mmap(nullptr, heap_reserve, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (g_heap == MAP_FAILED)
            return g_heap = nullptr, fail(cudaErrorMemoryAllocation, "cannot reserve device memory");
    }
    const size_t size = slot_bytes(bytes);
    const auto   old  = spare().find(size);
    char        *p;
    *ptr = nullptr;
    if (bytes == 0) return cudaSuccess;
    if (old != spare().end()) {
        p = old->second;
        spare().erase(old);
    } else {
        if (size > heap_reserve - g_heap_top) return fail(cudaErrorMemoryAllocation, "device memory is used up");
        p = g_heap + g_heap_top;
        g_heap_top += size;
    }
    ASAN_UNPOISON_MEMORY_REGION(p, size);
    heap_protect(PROT_READ | PROT_WRITE);
    memset(p, 0xff, size); /* NaN */
    heap_protect(PROT_NONE);
    ASAN_POISON_MEMORY_REGION(p + bytes, size - bytes);
    live()[p] = bytes;
    *ptr      = p;
    return cudaSuccess;
}

/* The range lies within one allocation. */
static bool is_device(const void *p, size_t bytes) {
    auto it = live().upper_bound((char *)p);
    if (it == live().begin()) return false;
    --it;
    return (const char *)p >= it->first && (const char *)p + bytes <= it->first + it->second;
}
static bool is_in_heap(const void *p) {
    return g_heap && (const char *)p >= g_heap && (const char *)p < g_heap + heap_reserve;
}

cudaError_t cudaFree(void *ptr) {
    if (!ptr) return cudaSuccess;
    const cudaError_t error = cudaDeviceSynchronize();
    const auto        it    = live().find((char *)ptr);
    if (it == live().end()) return fail(cudaErrorInvalidValue, "cudaFree of a pointer that is not allocated");
    const size_t size = slot_bytes(it->second);
    heap_protect(PROT_READ | PROT_WRITE);
    ASAN_UNPOISON_MEMORY_REGION(ptr, size);
    memset(ptr, 0xff, size);
    ASAN_POISON_MEMORY_REGION(ptr, size);
    heap_protect(PROT_NONE);
    spare().insert({size, (char *)ptr});
    live().erase(it);
    return error;
}

/* ---- streams ---- */

struct ks_emu_stream {
    std::deque<std::function<void()>> work;
};
static std::vector<cudaStream_t> &streams() {
    static std::vector<cudaStream_t> v;
    return v;
}

static bool is_stream(cudaStream_t s) { return std::find(streams().begin(), streams().end(), s) != streams().end(); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    streams().push_back(*stream = new ks_emu_stream());
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (!is_stream(stream))
        return fail(cudaErrorInvalidResourceHandle, "not a stream (the default stream is not used in this project)");
    heap_protect(PROT_READ | PROT_WRITE);
    while (!stream->work.empty() && !g_sticky) {
        const std::function<void()> f = std::move(stream->work.front());
        stream->work.pop_front();
        f();
    }
    heap_protect(PROT_NONE);
    return g_sticky;
}

cudaError_t cudaDeviceSynchronize() {
    for (cudaStream_t s : streams())
        if (cudaStreamSynchronize(s)) return g_sticky;
    return g_sticky;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    const cudaError_t error = cudaStreamSynchronize(stream);
    if (!is_stream(stream)) return error;
    streams().erase(std::find(streams().begin(), streams().end(), stream));
    delete stream;
    return error;
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    const bool to   = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (!is_stream(stream)) return fail(cudaErrorInvalidResourceHandle, "copy: not a stream");
    if (to ? !is_device(dst, bytes) : is_in_heap(dst))
        return fail(cudaErrorInvalidValue, "copy: destination and kind disagree");
    if (from ? !is_device(src, bytes) : is_in_heap(src))
        return fail(cudaErrorInvalidValue, "copy: source and kind disagree");
    stream->work.push_back([=]() { memcpy(dst, src, bytes); });
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t stream) {
    if (!is_stream(stream)) return fail(cudaErrorInvalidResourceHandle, "memset: not a stream");
    if (!is_device(dst, bytes)) return fail(cudaErrorInvalidValue, "memset: not device memory");
    stream->work.push_back([=]() { memset(dst, value, bytes); });
    return cudaSuccess;
}

/* ---- one block ---- */

enum thread_state { READY, AT_BARRIER, AT_WARP, DONE };
struct thread {
    fibre       *f;
    uint3        id;
    thread_state state;
    const char  *file;
    int          line;
};
struct warp {
    unsigned char slot[2][32 * 8];
    unsigned      generation, arrived, mask, exists, exited;
    int           line;
};
struct shared_array {
    void  *ptr;
    size_t bytes;
};

static std::vector<thread>                  g_thread;
static std::vector<warp>                    g_warp;
static unsigned                             g_self; /* index of the running thread */
static const std::function<void()>         *g_body;
static std::map<const void *, shared_array> g_static_shared;
static void                                *g_dynamic_shared;
static size_t                               g_shared_used;
static bool                                 g_kernel_failed;
static const char                          *g_kernel       = "";
static const size_t                         shared_default = 48 << 10, shared_limit = 227 << 10;
static std::map<const void *, int>         &allowed() {
            static std::map<const void *, int> m;
            return m;
}

static void kernel_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void kernel_fail(const char *fmt, ...) {
    char    text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!g_kernel_failed) fail(cudaErrorLaunchFailure, "kernel %s: %s", g_kernel, text);
    g_kernel_failed = true;
    g_sticky        = cudaErrorLaunchFailure;
}

/* Leaves a fibre of a failed kernel for good; its stack is started anew by the next block. */
static void stop_here() {
    for (;;) fibre_yield();
}

unsigned ks_emu::lane() { return g_self % 32; }

void *ks_emu::shared_static(const void *key, size_t bytes) {
    shared_array &a = g_static_shared[key];
    if (!a.ptr) {
        g_shared_used += bytes;
        if (g_shared_used > shared_default) {
            kernel_fail("static shared memory of %zu bytes exceeds %zu", g_shared_used, shared_default);
            stop_here();
        }
        a = {malloc(bytes), bytes};
        memset(a.ptr, 0xff, bytes);
    }
    return a.ptr;
}

void *ks_emu::shared_dynamic() { return g_dynamic_shared; }

void ks_emu::barrier(const char *file, int line) {
    thread &t = g_thread[g_self];
    t.state   = AT_BARRIER;
    t.file    = file;
    t.line    = line;
    fibre_yield();
    if (g_kernel_failed) stop_here();
}

const unsigned char *ks_emu::exchange(unsigned mask, const void *value, size_t bytes, int line, unsigned *present) {
    warp          &w    = g_warp[g_self / 32];
    const unsigned self = g_self, bit = 1u << lane(), mine = w.generation & 1;
    if (!(mask & bit)) kernel_fail("line %d: lane %u is not in its own mask %08x", line, lane(), mask);
    if (mask & ~w.exists || mask & w.exited)
        kernel_fail("line %d: mask %08x names lanes that do not exist or have returned", line, mask);
    if (w.arrived && (w.mask != mask || w.line != line))
        kernel_fail("lines %d and %d: lanes of one warp meet in different operations", w.line, line);
    if (g_kernel_failed) stop_here();
    w.mask = mask;
    w.line = line;
    w.arrived |= bit;
    memcpy(w.slot[mine] + 8 * lane(), value, bytes);
    if (w.arrived == mask) {
        w.arrived = 0;
        w.generation++;
        for (unsigned i = 0; i < 32; i++)
            if (mask >> i & 1 && i != self % 32) g_thread[self / 32 * 32 + i].state = READY;
    } else {
        g_thread[self].state = AT_WARP;
        fibre_yield();
        if (g_kernel_failed) stop_here();
    }
    *present = mask;
    return w.slot[mine];
}

static void thread_main(void *) {
    const unsigned self = g_self;
    (*g_body)();
    g_thread[self].state = DONE;
    g_warp[self / 32].exited |= 1u << self % 32;
}

/* Nobody can run: either everybody waits at one barrier, or something is wrong. */
static bool release_barrier() {
    const thread *first = nullptr;
    for (const thread &t : g_thread) {
        if (t.state == AT_WARP) return kernel_fail("a warp operation waits for lanes that never come"), false;
        if (t.state == AT_BARRIER && !first) first = &t;
    }
    for (const thread &t : g_thread) {
        if (t.state == DONE)
            return kernel_fail("%s:%d: __syncthreads after thread (%u,%u,%u) has returned", first->file, first->line,
                               t.id.x, t.id.y, t.id.z),
                   false;
        if (t.line != first->line || t.file != first->file)
            return kernel_fail("threads of one block wait at different __syncthreads, lines %d and %d", first->line,
                               t.line),
                   false;
    }
    for (thread &t : g_thread) t.state = READY;
    return true;
}

static void run_block() {
    std::vector<unsigned> order;
    for (warp &w : g_warp) w.arrived = w.exited = w.generation = 0;
    for (thread &t : g_thread) {
        t.state = READY;
        fibre_start(t.f, thread_main, nullptr);
    }
    while (!g_kernel_failed) {
        size_t done = 0;
        order.clear();
        for (unsigned i = 0; i < g_thread.size(); i++) {
            if (g_thread[i].state == READY) order.push_back(i);
            done += g_thread[i].state == DONE;
        }
        if (done == g_thread.size()) break;
        if (order.empty() && !release_barrier()) break;
        shuffle_order(order);
        for (unsigned i : order) {
            g_self    = i;
            threadIdx = g_thread[i].id;
            fibre_resume(g_thread[i].f);
            if (g_kernel_failed) break;
        }
    }
}

struct fibre_pool {
    std::vector<fibre *> f;
    ~fibre_pool() {
        for (fibre *x : f) fibre_destroy(x);
    }
};

static void run_kernel(const char *name, dim3 grid, dim3 block, size_t shared, const std::function<void()> &body) {
    static fibre_pool     pool;
    const unsigned        n = block.x * block.y * block.z;
    std::vector<uint64_t> blocks((size_t)grid.x * grid.y * grid.z);
    g_kernel        = name;
    g_kernel_failed = false;
    g_body          = &body;
    gridDim         = grid;
    blockDim        = block;
    while (pool.f.size() < n) pool.f.push_back(fibre_create(stack_bytes));
    g_thread.assign(n, thread());
    g_warp.assign((n + 31) / 32, warp());
    for (unsigned i = 0; i < n; i++) {
        g_thread[i].f  = pool.f[i];
        g_thread[i].id = {i % block.x, i / block.x % block.y, i / block.x / block.y};
        g_warp[i / 32].exists |= 1u << i % 32;
    }
    for (size_t b = 0; b < blocks.size(); b++) blocks[b] = b;
    shuffle_order(blocks);
    for (uint64_t b : blocks) {
        blockIdx         = {(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y)};
        g_shared_used    = 0;
        g_dynamic_shared = malloc(shared ? shared : 1);
        memset(g_dynamic_shared, 0xff, shared);
        run_block();
        free(g_dynamic_shared);
        for (auto &a : g_static_shared) free(a.second.ptr);
        g_static_shared.clear();
        if (g_kernel_failed) break;
    }
}

void ks_emu::launch(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                    std::function<void()> body) {
    const uint64_t threads = (uint64_t)block.x * block.y * block.z;
    const auto     it      = allowed().find(kernel);
    const size_t   limit   = it == allowed().end() ? shared_default : (size_t)it->second;
    if (g_sticky) {
        g_last = g_sticky;
    } else if (!is_stream(stream)) {
        fail(cudaErrorInvalidResourceHandle, "launch of %s: not a stream", name);
    } else if (!grid.x || !grid.y || !grid.z || grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535) {
        fail(cudaErrorInvalidConfiguration, "launch of %s: grid %u x %u x %u", name, grid.x, grid.y, grid.z);
    } else if (threads == 0 || threads > 1024 || block.z > 64) {
        fail(cudaErrorInvalidConfiguration, "launch of %s: block %u x %u x %u", name, block.x, block.y, block.z);
    } else if (shared > limit) {
        fail(cudaErrorInvalidValue, "launch of %s: %zu bytes of shared memory, allowed %zu", name, shared, limit);
    } else {
        stream->work.push_back([=]() { run_kernel(name, grid, block, shared, body); });
    }
}

bool ks_emu::is_device(const void *p, size_t bytes) { return ::is_device(p, bytes); }

cudaError_t ks_emu::enqueue(const char *name, cudaStream_t stream, std::function<void()> work) {
    if (g_sticky) return g_last = g_sticky;
    if (!is_stream(stream)) return fail(cudaErrorInvalidResourceHandle, "%s: not a stream", name);
    stream->work.push_back([=]() {
        g_kernel        = name;
        g_kernel_failed = false;
        work();
    });
    return cudaSuccess;
}

void ks_emu::work_fail(const char *fmt, ...) {
    char    text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    kernel_fail("%s", text);
}

cudaError_t ks_emu::allow_shared(const void *kernel, int bytes) {
    if (bytes < 0 || (size_t)bytes > shared_limit)
        return fail(cudaErrorInvalidValue, "%d bytes of shared memory, limit %zu", bytes, shared_limit);
    allowed()[kernel] = bytes;
    return cudaSuccess;
}

/* ---- the rest ---- */

cudaError_t cudaGetDeviceCount(int *n) {
    const char *seed = getenv("KS_EMU_SEED");
    if (seed && !g_seed) ks_emu_seed(strtoull(seed, nullptr, 10));
    *n = 1;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidValue; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int) {
    *prop = cudaDeviceProp();
    snprintf(prop->name, sizeof prop->name, "launcher (CPU)");
    prop->major               = 9;
    prop->multiProcessorCount = 3; /* small and odd: grid-stride loops go round more than once */
    prop->totalGlobalMem      = heap_reserve;
    return cudaSuccess;
}
cudaError_t cudaGetLastError() {
    const cudaError_t e = g_sticky ? g_sticky : g_last;
    g_last              = cudaSuccess;
    return e;
}
const char *cudaGetErrorString(cudaError_t error) {
    return error && g_message[0] ? g_message : error ? "error" : "no error";
}

const char *ks_emu_message(void) { return g_message; }
void        ks_emu_seed(uint64_t seed) { g_seed = g_random = seed; }
void        ks_emu_reset(void) {
           for (cudaStream_t s : streams()) s->work.clear();
    g_last = g_sticky = cudaSuccess;
           g_message[0]      = '\0';
}
