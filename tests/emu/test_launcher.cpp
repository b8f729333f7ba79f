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
    double       h[33] = {0};
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

static void test_streams() {
    double *p = device<double>(1), h = -1, two = 2;
    (void)cudaMemcpyAsync(p, &two, 8, cudaMemcpyHostToDevice, g_stream);
    two = 3; /* too early: the copy has not run */
    (void)cudaMemcpyAsync(&h, p, 8, cudaMemcpyDeviceToHost, g_stream);
    CHECK(h == -1, "a copy ran before the synchronisation");
    (void)cudaStreamSynchronize(g_stream);
    CHECK(h == 3, "the host buffer was read at the call, %g", h);
    cudaStream_t other;
    (void)cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
    KS_LAUNCH(store_k, 1, 1, 0, other, p, 0, 5.0);
    CHECK(host(p, 1)[0] == 3, "work of another stream ran without its synchronisation");
    (void)cudaStreamSynchronize(other);
    CHECK(host(p, 1)[0] == 5, "work is lost");
    (void)cudaStreamDestroy(other);
    CHECK(cudaStreamSynchronize(other) == cudaErrorInvalidResourceHandle, "a destroyed stream");
    (void)cudaGetLastError();
    CHECK(cudaFree(p) == cudaSuccess, "free");
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
    int expected = 55;
#ifdef KS_ASAN
    expected += 3;
#endif
    (void)cudaStreamCreateWithFlags(&g_stream, cudaStreamNonBlocking);
    test_barriers();
    test_warps();
    test_indices();
    test_shared();
    test_memory();
    test_streams();
    test_launch_errors();
    (void)cudaStreamDestroy(g_stream);
    printf("launcher: %d checks, %d failed, %d expected\n", g_run, g_bad, expected);
    return g_bad || g_run != expected;
}
