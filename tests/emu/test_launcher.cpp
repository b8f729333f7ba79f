/* test_launcher.cpp -- the launcher finds what it is there to find (launcher.cpp's list), item by item. */
#include <cuda_runtime.h>
#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>
#include "launcher.h"

#if defined(__SANITIZE_ADDRESS__)
#define KS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KS_ASAN 1
#endif
#endif

static int g_run, g_bad;
#define CHECK(cond, ...)                                                                                               \
    do {                                                                                                               \
        g_run++;                                                                                                       \
        if (!(cond)) {                                                                                                 \
            g_bad++;                                                                                                   \
            printf("FAIL %s:%d %s: ", __FILE__, __LINE__, #cond);                                                      \
            printf(__VA_ARGS__);                                                                                       \
            printf("\n");                                                                                              \
        }                                                                                                              \
    } while (0)

static cudaStream_t g_stream;

/* ---- kernels ---- */

/* Every thread writes what its right neighbour left in shared memory; with_barrier = 0 forgets to wait for it. */
static __global__ void rotate_k(int n, double *out, int with_barrier) {
    KS_SHARED(double, s, 256);
    const int i = (int)threadIdx.x;
    s[i]        = i;
    if (with_barrier) __syncthreads();
    out[blockIdx.x * blockDim.x + threadIdx.x] = s[(i + 1) % n];
}
static __global__ void dynamic_k(int n, double *out, int read) {
    KS_SHARED_DYNAMIC(double, s);
    if ((int)threadIdx.x < n) s[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = s[read];
}
static __global__ void warp_k(double *out) {
    const unsigned i = threadIdx.x + blockDim.x * threadIdx.y;
    double         v = i % 32;
    for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
    const int      d = __shfl_down_sync(0xffffffffu, (int)(i % 32), 3), b = __shfl_sync(0xffffffffu, (int)(i % 32), 5);
    const unsigned p = __ballot_sync(0xffffffffu, i % 3 == 0);
    out[i]           = v + 1000 * d + 100000 * b + (p == 0x49249249u || p == 0x24924924u || p == 0x92492492u ? 0.5 : 0);
}
static __global__ void half_warp_k(double *out) {
    out[threadIdx.x] = threadIdx.x < 16 ? __shfl_xor_sync(0xffffffffu, (double)threadIdx.x, 1) : 0;
}
static __global__ void return_before_barrier_k(double *out) {
    if (threadIdx.x == 3) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}
static __global__ void two_barriers_k(double *out) {
    if (threadIdx.x % 2) __syncthreads();
    else {
        __syncthreads();
    }
    out[threadIdx.x] = 1;
}
static __global__ void ids_k(int *count) {
    const unsigned b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    atomicAdd(&count[b * blockDim.x * blockDim.y * blockDim.z + t], 1);
}
static __global__ void order_k(int *counter, int *order) {
    order[atomicAdd(counter, 1)] = (int)(blockIdx.x * blockDim.x + threadIdx.x);
}
static __global__ void store_k(double *out, int at, double v) { out[at] = v; }
static __global__ void big_shared_k(double *out) {
    KS_SHARED(double, s, 7000);
    s[threadIdx.x]   = 1;
    out[threadIdx.x] = s[threadIdx.x];
}

/* ---- helpers ---- */

template <typename T> static T *device(size_t n) {
    void *p = nullptr;
    if (cudaMalloc(&p, n * sizeof(T)) != cudaSuccess) abort();
    return (T *)p;
}
template <typename T> static std::vector<T> host(const T *p, size_t n) {
    std::vector<T> v(n);
    (void)cudaMemcpyAsync(v.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost, g_stream);
    (void)cudaStreamSynchronize(g_stream);
    return v;
}
/* What happens to a child that runs f: 0 if it returns, else the signal or exit code. */
template <typename F> static int fate(F f) {
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        f();
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}
template <typename F> static void expect_failure(F launch, const char *text, const char *what) {
    launch();
    CHECK(cudaGetLastError() == cudaSuccess, "%s: launch refused", what);
    CHECK(cudaStreamSynchronize(g_stream) == cudaErrorLaunchFailure, "%s is not found", what);
    CHECK(strstr(ks_emu_message(), text), "%s: message '%s'", what, ks_emu_message());
    CHECK(cudaGetLastError() == cudaErrorLaunchFailure, "a failed kernel stays an error");
    ks_emu_reset();
}

/* ---- tests ---- */

static void test_barriers() {
    double *out   = device<double>(512);
    int     wrong = 0;
    KS_LAUNCH(rotate_k, 2, 256, 0, g_stream, 256, out, 1);
    std::vector<double> v = host(out, 512);
    for (int i = 0; i < 512; i++) wrong += v[i] != (i + 1) % 256;
    CHECK(wrong == 0, "%d wrong values with the barrier", wrong);
    KS_LAUNCH(rotate_k, 2, 256, 0, g_stream, 256, out, 0);
    v = host(out, 512);
    for (int i = 0; i < 512; i++) wrong += !(v[i] == (i + 1) % 256);
    CHECK(wrong > 100, "a missing barrier shows in %d of 512 values only", wrong);
    expect_failure([&] { KS_LAUNCH(return_before_barrier_k, 1, 64, 0, g_stream, out); }, "has returned",
                   "a barrier after a return");
    expect_failure([&] { KS_LAUNCH(two_barriers_k, 1, 64, 0, g_stream, out); }, "different __syncthreads",
                   "a barrier in a branch");
    CHECK(cudaFree(out) == cudaSuccess, "free");
}

static void test_warps() {
    double *out   = device<double>(96);
    int     wrong = 0;
    KS_LAUNCH(warp_k, 1, dim3(48, 2), 0, g_stream, out);
    const std::vector<double> v = host(out, 96);
    for (int i = 0; i < 96; i++) wrong += v[i] != 496 + 1000 * (i % 32 + 3 < 32 ? i % 32 + 3 : i % 32) + 500000 + 0.5;
    CHECK(wrong == 0, "%d wrong values, first %g", wrong, v[0]);
    expect_failure([&] { KS_LAUNCH(half_warp_k, 1, 32, 0, g_stream, out); }, "warp",
                   "a shuffle that half a warp skips");
    expect_failure([&] { KS_LAUNCH(half_warp_k, 1, 16, 0, g_stream, out); }, "do not exist",
                   "a mask with lanes that do not exist");
    CHECK(cudaFree(out) == cudaSuccess, "free");
}

static void test_indices() {
    int *count = device<int>(2 * 3 * 2 * 4 * 5 * 3), *order = device<int>(4096), *counter = device<int>(1);
    int  wrong = 0, moved[2] = {0, 0};
    (void)cudaMemsetAsync(count, 0, 720 * sizeof(int), g_stream);
    KS_LAUNCH(ids_k, dim3(2, 3, 2), dim3(4, 5, 3), 0, g_stream, count);
    for (int c : host(count, 720)) wrong += c != 1;
    CHECK(wrong == 0, "%d threads not run exactly once", wrong);
    for (int r = 0; r < 2; r++) {
        (void)cudaMemsetAsync(counter, 0, sizeof(int), g_stream);
        KS_LAUNCH(order_k, 16, 256, 0, g_stream, counter, order);
        const std::vector<int> v = host(order, 4096);
        for (int i = 0; i < 4096; i++) moved[r] += v[i] != i;
    }
    CHECK(moved[0] > 3000 && moved[1] > 3000, "threads in order: %d and %d of 4096 moved", moved[0], moved[1]);
    CHECK(cudaFree(count) == cudaSuccess && cudaFree(order) == cudaSuccess && cudaFree(counter) == cudaSuccess, "free");
}

static void test_shared() {
    double *out = device<double>(64);
    KS_LAUNCH(dynamic_k, 1, 64, 32 * sizeof(double), g_stream, 16, out, 15);
    CHECK(host(out, 1)[0] == 15, "dynamic shared memory");
    KS_LAUNCH(dynamic_k, 1, 64, 32 * sizeof(double), g_stream, 16, out, 16);
    const double v = host(out, 1)[0];
    CHECK(v != v, "shared memory that nobody wrote reads as %g", v);
    expect_failure([&] { KS_LAUNCH(big_shared_k, 1, 32, 0, g_stream, out); }, "static shared",
                   "56 kB of static shared memory");
#ifdef KS_ASAN
    CHECK(fate([&] {
              KS_LAUNCH(dynamic_k, 1, 64, 32 * sizeof(double), g_stream, 16, out, 32);
              (void)cudaStreamSynchronize(g_stream);
          }) != 0,
          "a read beyond shared memory passes");
#endif
    CHECK(cudaFree(out) == cudaSuccess, "free");
}

static void test_memory() {
    double      *p     = device<double>(33);
    const double fresh = host(p, 33)[32];
    double       h[34] = {0};
    CHECK(fresh != fresh, "new memory reads as %g", fresh);
    CHECK(fate([] {}) == 0, "a child that does nothing");
    CHECK(fate([&] { *(volatile double *)p = 1; }) != 0, "the host writes device memory unpunished");
    CHECK(fate([&] { (void)*(volatile double *)p; }) != 0, "the host reads device memory unpunished");
#ifdef KS_ASAN
    CHECK(fate([&] {
              KS_LAUNCH(store_k, 1, 1, 0, g_stream, p, 33, 1.0);
              (void)cudaStreamSynchronize(g_stream);
          }) != 0,
          "a write beyond an allocation passes");
    CHECK(fate([&] {
              KS_LAUNCH(store_k, 1, 1, 0, g_stream, p, 32, 1.0);
              (void)cudaStreamSynchronize(g_stream);
          }) == 0,
          "a write to the last element does not pass");
#endif
    CHECK(cudaMemcpyAsync(h, p, 34 * 8, cudaMemcpyDeviceToHost, g_stream) == cudaErrorInvalidValue,
          "a copy beyond the end");
    CHECK(cudaMemcpyAsync(p, h, 8, cudaMemcpyDeviceToHost, g_stream) == cudaErrorInvalidValue,
          "a copy in the wrong direction");
    CHECK(cudaFree(h) == cudaErrorInvalidValue, "cudaFree of host memory");
    ks_emu_reset();
    CHECK(cudaFree(p) == cudaSuccess && cudaFree(nullptr) == cudaSuccess, "free");
}

/* A pinned buffer of n doubles. */
static double *host_buffer(size_t n) {
    void *p = nullptr;
    if (cudaMallocHost(&p, n * sizeof(double)) != cudaSuccess) abort();
    return (double *)p;
}
static __global__ void copy_k(const double *from, double *to) { to[0] = from[0]; }
static __global__ void add_k(double *x, double v) { x[0] = x[0] + v; }
static __global__ void axpb_k(double *x, double a, double b) { x[0] = a * x[0] + b; }

static cudaStream_t new_stream() {
    cudaStream_t s = nullptr;
    if (cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking) != cudaSuccess) abort();
    return s;
}
static cudaEvent_t new_event() {
    cudaEvent_t e = nullptr;
    if (cudaEventCreateWithFlags(&e, cudaEventDisableTiming) != cudaSuccess) abort();
    return e;
}

static void test_copies() {
    double *p = device<double>(1), *two = host_buffer(1), *h = host_buffer(1), pageable = 2;
    *two = 2;
    *h   = -1;
    (void)cudaMemcpyAsync(p, two, 8, cudaMemcpyHostToDevice, g_stream);
    *two = 3; /* too early: the copy has not run */
    (void)cudaMemcpyAsync(h, p, 8, cudaMemcpyDeviceToHost, g_stream);
    CHECK(*h == -1, "a copy ran before the synchronisation");
    (void)cudaStreamSynchronize(g_stream);
    CHECK(*h == 3, "the host buffer was read at the call, %g", *h);
    CHECK(cudaMemcpyAsync(p, &pageable, 8, cudaMemcpyHostToDevice, g_stream) == cudaErrorInvalidValue,
          "a copy is queued from memory that is not pinned");
    (void)cudaGetLastError();
    KS_LAUNCH(store_k, 1, 1, 0, g_stream, p, 0, 4.0);
    CHECK(cudaMemcpyAsync(&pageable, p, 8, cudaMemcpyDeviceToHost, g_stream) == cudaSuccess && pageable == 4,
          "a copy to pageable memory waits, %g", pageable);
    KS_LAUNCH(store_k, 1, 1, 0, g_stream, &pageable, 0, 1.0);
    CHECK(cudaGetLastError() == cudaErrorInvalidValue, "a kernel gets a pointer to host memory");
    KS_LAUNCH(store_k, 1, 1, 0, g_stream, h, 0, 6.0);
    CHECK(cudaStreamSynchronize(g_stream) == cudaSuccess && *h == 6, "a kernel writes pinned memory");
    CHECK(cudaFreeHost(&pageable) == cudaErrorInvalidValue, "cudaFreeHost of a local variable");
    (void)cudaGetLastError();
    CHECK(cudaFreeHost(two) == cudaSuccess && cudaFreeHost(h) == cudaSuccess && cudaFree(p) == cudaSuccess, "free");
}

/* Two streams, 64 times. Without an event the second one may come first and may not; with one it never does. */
static void test_streams() {
    double      *p        = device<double>(2);
    cudaStream_t other    = new_stream();
    cudaEvent_t  e        = new_event();
    int          early[2] = {0, 0}, late = 0, with_event = 0;
    for (int k = 0; k < 64; k++) {
        for (int ordered = 0; ordered < 2; ordered++) {
            KS_LAUNCH(store_k, 1, 1, 0, g_stream, p, 0, 1.0);
            (void)cudaDeviceSynchronize();
            for (int i = 0; i < 20; i++) KS_LAUNCH(store_k, 1, 1, 0, g_stream, p, 0, 1.0);
            KS_LAUNCH(store_k, 1, 1, 0, g_stream, p, 0, 2.0);
            (void)cudaEventRecord(e, g_stream);
            if (ordered) (void)cudaStreamWaitEvent(other, e, 0);
            KS_LAUNCH(copy_k, 1, 1, 0, other, p, p + 1);
            if (k % 2) (void)cudaDeviceSynchronize();
            (void)cudaStreamSynchronize(other);
            double *h = host_buffer(2);
            (void)cudaMemcpyAsync(h, p, 16, cudaMemcpyDeviceToHost, other);
            (void)cudaStreamSynchronize(other);
            if (ordered) with_event += h[1] == 2;
            else {
                early[k % 2] += h[1] == 1;
            }
            late += h[0] != 2;
            (void)cudaFreeHost(h);
        }
    }
    CHECK(with_event == 64, "%d of 64 reads came after the event they wait for", with_event);
    CHECK(early[0] > 5 && early[1] > 5, "a missing wait shows in %d and %d of 32 runs", early[0], early[1]);
    CHECK(late > 5, "work of another stream had always run: %d", late);
    /* An event is what its last record says; waits that are queued keep the record they were made for. */
    int wrong = 0, done_early = 0, not_done = 0;
    for (int k = 0; k < 64; k++) {
        (void)cudaDeviceSynchronize();
        KS_LAUNCH(store_k, 1, 1, 0, g_stream, p, 0, 7.0);
        (void)cudaEventRecord(e, g_stream);
        (void)cudaStreamWaitEvent(other, e, 0);
        KS_LAUNCH(copy_k, 1, 1, 0, other, p, p + 1);
        (void)cudaEventRecord(e, other);
        (void)cudaStreamWaitEvent(g_stream, e, 0);
        KS_LAUNCH(store_k, 1, 1, 0, g_stream, p, 0, 8.0);
        done_early += cudaEventQuery(e) != cudaErrorNotReady;
        (void)cudaGetLastError();
        (void)cudaEventSynchronize(e);
        not_done += cudaEventQuery(e) != cudaSuccess;
        wrong += host(p + 1, 1)[0] != 7;
    }
    CHECK(wrong == 0, "%d of 64 ping-pongs are out of order", wrong);
    CHECK(done_early == 0 && not_done == 0, "%d events done before anything has run, %d not done after waiting",
          done_early, not_done);
    int polls = 0;
    KS_LAUNCH(store_k, 1, 1, 0, other, p, 0, 9.0);
    while (cudaStreamQuery(other) == cudaErrorNotReady && polls < 1000) polls++;
    CHECK(polls > 0 && polls < 1000, "%d polls until a stream is done", polls);
    (void)cudaGetLastError();
    (void)cudaEventDestroy(e);
    CHECK(cudaEventRecord(e, other) == cudaErrorInvalidResourceHandle, "a destroyed event");
    (void)cudaStreamDestroy(other);
    CHECK(cudaStreamSynchronize(other) == cudaErrorInvalidResourceHandle, "a destroyed stream");
    (void)cudaGetLastError();
    CHECK(cudaFree(p) == cudaSuccess, "free");
}

/* x = ((x + 1) * 2 + 3) on two streams; y = 5 x on a third, joined. */
static void two_branches(cudaStream_t main, cudaStream_t side, cudaEvent_t fork, cudaEvent_t join, double *x,
                         int with_join) {
    KS_LAUNCH(add_k, 1, 1, 0, main, x, 1.0);
    (void)cudaEventRecord(fork, main);
    (void)cudaStreamWaitEvent(side, fork, 0);
    KS_LAUNCH(copy_k, 1, 1, 0, side, x, x + 1);
    KS_LAUNCH(axpb_k, 1, 1, 0, side, x + 1, 5.0, 0.0);
    if (with_join) {
        (void)cudaEventRecord(join, side);
        (void)cudaStreamWaitEvent(main, join, 0);
    }
    KS_LAUNCH(axpb_k, 1, 1, 0, main, x, 2.0, 3.0);
}

static void test_graphs() {
    double         *x = device<double>(2), *h = host_buffer(2);
    cudaStream_t    side = new_stream();
    cudaEvent_t     fork = new_event(), join = new_event();
    cudaGraph_t     graph = nullptr;
    cudaGraphExec_t exec  = nullptr;
    int             wrong = 0;
    KS_LAUNCH(store_k, 1, 1, 0, g_stream, x, 0, 10.0);
    (void)cudaStreamSynchronize(g_stream);
    CHECK(cudaStreamBeginCapture(g_stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess, "begin");
    two_branches(g_stream, side, fork, join, x, 1);
    CHECK(cudaStreamEndCapture(g_stream, &graph) == cudaSuccess && graph, "end: %s", ks_emu_message());
    CHECK(host(x, 1)[0] == 10, "captured work has run");
    CHECK(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess, "instantiate");
    (void)cudaGraphDestroy(graph);
    for (int k = 0; k < 32; k++) {
        KS_LAUNCH(store_k, 1, 1, 0, g_stream, x, 0, (double)k);
        wrong += cudaGraphLaunch(exec, g_stream) != cudaSuccess;
        const std::vector<double> v = host(x, 2);
        KS_LAUNCH(store_k, 1, 1, 0, g_stream, x, 0, (double)k);
        two_branches(g_stream, side, fork, join, x, 1);
        const std::vector<double> direct = host(x, 2);
        wrong += v[0] != direct[0] || v[1] != direct[1] || v[0] != 2.0 * (k + 1) + 3 || v[1] != 5.0 * (k + 1);
    }
    CHECK(wrong == 0, "%d of 32 replays differ from the direct run", wrong);
    CHECK(cudaGraphExecDestroy(exec) == cudaSuccess, "destroy");

    const auto refused = [&](cudaError_t expect, const char *what, auto call) {
        (void)cudaStreamBeginCapture(g_stream, cudaStreamCaptureModeThreadLocal);
        KS_LAUNCH(add_k, 1, 1, 0, g_stream, x, 1.0);
        const cudaError_t e = call();
        cudaGraph_t       g = nullptr;
        CHECK(e == expect, "%s inside a capture: %d, expected %d", what, (int)e, (int)expect);
        CHECK(cudaStreamEndCapture(g_stream, &g) != cudaSuccess && !g, "%s leaves the capture valid", what);
        (void)cudaGetLastError();
        KS_LAUNCH(store_k, 1, 1, 0, g_stream, x, 0, 1.0);
        CHECK(cudaGetLastError() == cudaSuccess && host(x, 1)[0] == 1, "the stream works after %s", what);
    };
    const cudaError_t no = cudaErrorStreamCaptureUnsupported;
    void             *q  = nullptr;
    refused(no, "a wait for the stream", [&] { return cudaStreamSynchronize(g_stream); });
    refused(no, "a wait for the device", [&] { return cudaDeviceSynchronize(); });
    refused(no, "a wait for an event", [&] { return cudaEventSynchronize(join); });
    refused(no, "cudaMalloc", [&] { return cudaMalloc(&q, 8); });
    refused(no, "cudaFree", [&] { return cudaFree(x); });
    refused(no, "cudaMallocHost", [&] { return cudaMallocHost(&q, 8); });
    refused(no, "a copy in", [&] { return cudaMemcpyAsync(x, h, 8, cudaMemcpyHostToDevice, g_stream); });
    refused(no, "a copy out", [&] { return cudaMemcpyAsync(h, x, 8, cudaMemcpyDeviceToHost, g_stream); });
    (void)cudaEventRecord(fork, side);
    refused(cudaErrorStreamCaptureIsolation, "an event from outside",
            [&] { return cudaStreamWaitEvent(g_stream, fork, 0); });
    (void)cudaStreamBeginCapture(g_stream, cudaStreamCaptureModeThreadLocal);
    two_branches(g_stream, side, fork, join, x, 0);
    CHECK(cudaStreamEndCapture(g_stream, &graph) == cudaErrorStreamCaptureUnjoined && !graph, "a stream left out");
    (void)cudaGetLastError();
    CHECK(cudaStreamWaitEvent(side, fork, 0) == cudaErrorStreamCaptureIsolation, "an event of a finished capture");
    (void)cudaGetLastError();
    CHECK(cudaStreamEndCapture(g_stream, &graph) == cudaErrorStreamCaptureUnmatched, "an end without a beginning");
    (void)cudaGetLastError();
    CHECK(cudaFreeHost(h) == cudaSuccess && cudaFree(x) == cudaSuccess, "free");
    (void)cudaEventDestroy(fork);
    (void)cudaEventDestroy(join);
    (void)cudaStreamDestroy(side);
}

static void test_counts() {
    const ks_emu_counts a = ks_emu_count();
    double             *p = device<double>(4), *h = host_buffer(4);
    cudaEvent_t         e = new_event();
    (void)cudaMemsetAsync(p, 0, 32, g_stream);
    KS_LAUNCH(store_k, 1, 1, 0, g_stream, p, 0, 1.0);
    (void)cudaMemcpyAsync(h, p, 32, cudaMemcpyDeviceToHost, g_stream);
    (void)cudaEventRecord(e, g_stream);
    (void)cudaEventSynchronize(e);
    (void)cudaMemcpyAsync(p, h, 32, cudaMemcpyHostToDevice, g_stream);
    (void)cudaStreamSynchronize(g_stream);
    (void)cudaEventDestroy(e);
    (void)cudaFree(p);
    (void)cudaFreeHost(h);
    const ks_emu_counts b = ks_emu_count();
    CHECK(b.launches - a.launches == 2, "%lld launches", (long long)(b.launches - a.launches));
    CHECK(b.waits - a.waits == 1 && b.event_waits - a.event_waits == 1, "waits");
    CHECK(b.allocations - a.allocations == 2 && b.frees - a.frees == 2, "allocations");
    CHECK(b.copies_in - a.copies_in == 1 && b.copies_out - a.copies_out == 1, "copies");
    size_t free0 = 0, free1 = 0, total = 0;
    (void)cudaMemGetInfo(&free0, &total);
    p = device<double>(1 << 17);
    (void)cudaMemGetInfo(&free1, &total);
    CHECK(free0 - free1 >= 1 << 20 && free0 - free1 < 2 << 20 && total >= free0, "memory");
    (void)cudaFree(p);
}

static __global__ void integers_k(unsigned long long *u, int *i) {
    const unsigned t = blockIdx.x * blockDim.x + threadIdx.x;
    atomicMin(&u[0], 1000 + t);
    atomicMax(&u[1], t);
    atomicAdd(&u[2], 1);
    if (t == 77) atomicExch(&u[3], 5);
    atomicCAS(&i[0], 0, (int)t + 1);
    atomicOr(&i[1], 1 << t % 8);
}
static __global__ void segments_k(int *out) {
    const int i = (int)threadIdx.x;
    int       v = i, s = 0;
    for (int step = 4; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step, 8);
    s = __shfl_up_sync(0xffffffffu, i, 1, 8) + 100 * __shfl_down_sync(0xffffffffu, i, 1, 8) +
        10000 * __shfl_sync(0xffffffffu, i, 3, 8);
    __syncwarp();
    out[3 * i]     = v;
    out[3 * i + 1] = s;
    out[3 * i + 2] = 2 * __any_sync(0xffffffffu, i == 3) + __all_sync(0xffffffffu, i < 64);
}
static __global__ void missing_lane_k(int *out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0x0000ffffu, (int)threadIdx.x, 20);
}

static void test_intrinsics() {
    unsigned long long *u = device<unsigned long long>(4);
    int                *i = device<int>(2), *out = device<int>(96), wrong = 0;
    (void)cudaMemsetAsync(u, 0xff, 8, g_stream);
    (void)cudaMemsetAsync(u + 1, 0, 24, g_stream);
    (void)cudaMemsetAsync(i, 0, 8, g_stream);
    KS_LAUNCH(integers_k, 3, 64, 0, g_stream, u, i);
    const std::vector<unsigned long long> v = host(u, 4);
    CHECK(v[0] == 1000 && v[1] == 191 && v[2] == 192 && v[3] == 5, "min %llu max %llu add %llu exch %llu", v[0], v[1],
          v[2], v[3]);
    const std::vector<int> w = host(i, 2);
    CHECK(w[0] > 0 && w[0] <= 192 && w[1] == 255, "cas %d or %d", w[0], w[1]);
    KS_LAUNCH(segments_k, 1, 32, 0, g_stream, out);
    const std::vector<int> s = host(out, 96);
    for (int k = 0; k < 32; k++) {
        const int first = k / 8 * 8, up = k == first ? k : k - 1, down = k == first + 7 ? k : k + 1;
        wrong += s[(size_t)(3 * k)] != 8 * first + 28;
        wrong += s[(size_t)(3 * k + 1)] != up + 100 * down + 10000 * (first + 3);
        wrong += s[(size_t)(3 * k + 2)] != 3;
    }
    CHECK(wrong == 0, "%d wrong values of shuffles in segments", wrong);
    expect_failure([&] { KS_LAUNCH(missing_lane_k, 1, 32, 0, g_stream, out); }, "not in mask",
                   "a shuffle from a lane that takes no part");
    CHECK(cudaFree(u) == cudaSuccess && cudaFree(i) == cudaSuccess && cudaFree(out) == cudaSuccess, "free");
}

static void test_launch_errors() {
    double *p = device<double>(64);
    KS_LAUNCH(store_k, 0, 32, 0, g_stream, p, 0, 1.0);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration, "no blocks");
    KS_LAUNCH(store_k, 1, 0, 0, g_stream, p, 0, 1.0);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration, "no threads");
    KS_LAUNCH(store_k, 1, dim3(32, 33), 0, g_stream, p, 0, 1.0);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration, "1056 threads");
    KS_LAUNCH(store_k, dim3(1, 70000), 1, 0, g_stream, p, 0, 1.0);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration, "70000 blocks in y");
    KS_LAUNCH(dynamic_k, 1, 64, 49153, g_stream, 16, p, 0);
    CHECK(cudaGetLastError() == cudaErrorInvalidValue, "more than 48 kB without asking");
    CHECK(cudaFuncSetAttribute(dynamic_k, cudaFuncAttributeMaxDynamicSharedMemorySize, 300 << 10) ==
              cudaErrorInvalidValue,
          "300 kB");
    (void)cudaGetLastError();
    CHECK(cudaFuncSetAttribute(dynamic_k, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10) == cudaSuccess,
          "64 kB");
    KS_LAUNCH(dynamic_k, 1, 64, 49153, g_stream, 16, p, 0);
    CHECK(cudaGetLastError() == cudaSuccess && cudaStreamSynchronize(g_stream) == cudaSuccess, "64 kB after asking");
    CHECK(cudaGetLastError() == cudaSuccess, "errors are reported once");
    CHECK(cudaFree(p) == cudaSuccess, "free");
}

int main() {
    int expected = 116, n = 0;
#ifdef KS_ASAN
    expected += 3;
#endif
    (void)cudaGetDeviceCount(&n); /* takes the seed from the environment */
    (void)cudaStreamCreateWithFlags(&g_stream, cudaStreamNonBlocking);
    test_barriers();
    test_warps();
    test_indices();
    test_shared();
    test_memory();
    test_copies();
    test_streams();
    test_graphs();
    test_counts();
    test_intrinsics();
    test_launch_errors();
    (void)cudaStreamDestroy(g_stream);
    printf("launcher: %d checks, %d failed, %d expected\n", g_run, g_bad, expected);
    return g_bad || g_run != expected;
}
