/* cuda_runtime.h -- stands in for NVIDIA's header when g++ or clang++ compiles the .cu files for the launcher of
 * tests/emu. Only what the project uses. launcher.cpp and runtime.cpp say what is emulated and what is not. */
#ifndef KS_EMU_CUDA_RUNTIME_H
#define KS_EMU_CUDA_RUNTIME_H
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

#define KS_STAGING_BYTES (1 << 20) /* small, so that tests go round in it (device.cu) */
#define KS_BLAS_WORK_BYTES (64 << 10)
#define KS_NCCL_WARM_BYTES (192 << 10) /* comm_nccl.cu */

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) double2 {
    double x, y;
};
static inline int2    make_int2(int x, int y) { return {x, y}; }
static inline int4    make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static inline float2  make_float2(float x, float y) { return {x, y}; }
static inline float4  make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline double2 make_double2(double x, double y) { return {x, y}; }

enum cudaError_t {
    cudaSuccess                       = 0,
    cudaErrorInvalidValue             = 1,
    cudaErrorMemoryAllocation         = 2,
    cudaErrorInvalidConfiguration     = 9,
    cudaErrorInsufficientDriver       = 35,
    cudaErrorNoDevice                 = 100,
    cudaErrorNoKernelImageForDevice   = 209,
    cudaErrorInvalidResourceHandle    = 400,
    cudaErrorNotReady                 = 600,
    cudaErrorLaunchFailure            = 719,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
    cudaErrorStreamCaptureUnmatched   = 903,
    cudaErrorStreamCaptureUnjoined    = 904,
    cudaErrorStreamCaptureIsolation   = 905,
    cudaErrorCapturedEvent            = 907
};
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize    = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9
};
enum { cudaStreamNonBlocking = 1 };
enum { cudaEventDefault = 0, cudaEventDisableTiming = 2 };
enum { cudaHostAllocDefault = 0 };
enum cudaStreamCaptureMode {
    cudaStreamCaptureModeGlobal,
    cudaStreamCaptureModeThreadLocal,
    cudaStreamCaptureModeRelaxed
};
enum cudaStreamCaptureStatus {
    cudaStreamCaptureStatusNone,
    cudaStreamCaptureStatusActive,
    cudaStreamCaptureStatusInvalidated
};
typedef struct ks_emu_stream *cudaStream_t;
typedef struct ks_emu_event  *cudaEvent_t;
typedef struct ks_emu_graph  *cudaGraph_t;
typedef struct ks_emu_exec   *cudaGraphExec_t;
struct cudaUUID_t {
    char bytes[16];
};
struct cudaDeviceProp {
    char       name[256];
    cudaUUID_t uuid;
    int        major, minor, multiProcessorCount;
    size_t     totalGlobalMem;
};
struct cudaFuncAttributes {
    int numRegs;
};

extern uint3 threadIdx, blockIdx; /* of the fibre that runs */
extern dim3  blockDim, gridDim;
enum { warpSize = 32 };

cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int device);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes);
cudaError_t cudaMalloc(void **ptr, size_t bytes);
cudaError_t cudaFree(void *ptr);
cudaError_t cudaHostAlloc(void **ptr, size_t bytes, unsigned flags);
cudaError_t cudaMallocHost(void **ptr, size_t bytes);
cudaError_t cudaFreeHost(void *ptr);
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t stream);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority);
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags = 0);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);

cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
const char *cudaGetErrorString(cudaError_t error);

namespace ks_emu {
/* For the stand-ins of libraries (blas.cpp, solver.cpp): work that takes its turn on a stream as a kernel does, its
 * failure at run time, and whether a range lies in one allocation of device memory. */
cudaError_t enqueue(const char *name, cudaStream_t stream, std::function<void()> work);
void        work_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool        is_device(const void *p, size_t bytes);

void launch(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared, cudaStream_t stream, int n_ptr,
            const void *const *ptr, std::function<void()> body);
void barrier(const char *file, int line);
/* All lanes of mask leave their value and go on when the last one has come; returns the values of the 32 lanes. */
const uint64_t *exchange(unsigned mask, uint64_t value, int line);
void            lane_missing(unsigned mask, unsigned from, int line); /* an error: from is not in mask */
cudaError_t     allow_shared(const void *kernel, cudaFuncAttribute what, int bytes);
unsigned        lane();
/* One array per declaration and block; the declaration remembers it while the block runs. */
struct shared_array {
    uint64_t block;
    void    *ptr;
    size_t   bytes;
};
extern uint64_t block_serial; /* counts blocks from 1 */
void           *shared_static(shared_array *a, size_t bytes);
void           *shared_dynamic();

template <typename T> void note_pointer(const T &, const void **, int *) {}
template <typename T> void note_pointer(T *const &p, const void **out, int *n) { out[(*n)++] = (const void *)p; }

template <typename... P, typename... A>
void launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
            A &&...a) {
    std::tuple<P...> args(std::forward<A>(a)...); /* by value, now: as a real launch does */
    const void      *ptr[sizeof...(P) + 1];
    int              n_ptr = 0;
    std::apply([&](const P &...v) { (note_pointer(v, ptr, &n_ptr), ...); }, args);
    launch(name, (const void *)kernel, grid, block, shared, stream, n_ptr, ptr,
           [kernel, args]() { std::apply(kernel, args); });
}

template <typename T> T shuffle(int line, unsigned mask, T v, unsigned from) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    uint64_t word = 0;
    memcpy(&word, &v, sizeof v);
    const uint64_t *all = exchange(mask, word, line);
    if (!(mask >> from & 1)) lane_missing(mask, from, line);
    memcpy(&v, &all[from], sizeof v);
    return v;
}
/* Lanes of a segment of `width`; beyond its ends a lane gets its own value. */
template <typename T> T shfl(int line, unsigned mask, T v, int from, int width = 32) {
    return shuffle(line, mask, v, (lane() & ~(unsigned)(width - 1)) | ((unsigned)from & (unsigned)(width - 1)));
}
template <typename T> T shfl_xor(int line, unsigned mask, T v, int x, int width = 32) {
    const unsigned from = lane() ^ (unsigned)x, end = (lane() | (unsigned)(width - 1));
    return shuffle(line, mask, v, from > end ? lane() : from);
}
template <typename T> T shfl_down(int line, unsigned mask, T v, unsigned d, int width = 32) {
    const unsigned from = lane() + d, end = (lane() | (unsigned)(width - 1));
    return shuffle(line, mask, v, from > end ? lane() : from);
}
template <typename T> T shfl_up(int line, unsigned mask, T v, unsigned d, int width = 32) {
    const unsigned first = lane() & ~(unsigned)(width - 1);
    return shuffle(line, mask, v, lane() < first + d ? lane() : lane() - d);
}
static inline unsigned ballot(int line, unsigned mask, bool p) {
    const uint64_t *all  = exchange(mask, p, line);
    unsigned        bits = 0;
    for (unsigned i = 0; i < 32; i++)
        if (mask >> i & 1) bits |= (unsigned)all[i] << i;
    return bits;
}
static inline void sync_warp(int line, unsigned mask = 0xffffffffu) { (void)exchange(mask, 0, line); }
} // namespace ks_emu

template <typename F> cudaError_t cudaFuncSetAttribute(F *kernel, cudaFuncAttribute what, int value) {
    return ks_emu::allow_shared((const void *)kernel, what, value);
}
template <typename F> cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *out, F *) {
    *out = cudaFuncAttributes();
    return cudaSuccess;
}

#define KS_LAUNCH(kernel, grid, block, shared, stream, ...)                                                            \
    ks_emu::launch(#kernel, kernel, grid, block, shared, stream, __VA_ARGS__)
#define KS_SHARED(T, name, n)                                                                                          \
    static ks_emu::shared_array name##_key;                                                                            \
    T *const                    name =                                                                                 \
        (T *)(name##_key.block == ks_emu::block_serial ? name##_key.ptr                                                \
                                                       : ks_emu::shared_static(&name##_key, (n) * sizeof(T)))
#define KS_SHARED_DYNAMIC(T, name) T *const name = (T *)ks_emu::shared_dynamic()

#define __syncthreads() ks_emu::barrier(__FILE__, __LINE__)
#define __syncwarp(...) ks_emu::sync_warp(__LINE__, ##__VA_ARGS__)
#define __shfl_sync(...) ks_emu::shfl(__LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) ks_emu::shfl_xor(__LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) ks_emu::shfl_down(__LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) ks_emu::shfl_up(__LINE__, __VA_ARGS__)
#define __ballot_sync(mask, p) ks_emu::ballot(__LINE__, (mask), (p) ? true : false)
#define __any_sync(mask, p) (ks_emu::ballot(__LINE__, (mask), (p) ? true : false) != 0)
#define __all_sync(mask, p) (ks_emu::ballot(__LINE__, (mask), (p) ? true : false) == (unsigned)(mask))
static inline void __threadfence() {}

/* One operating-system thread runs everything: atomics are plain. Integers only, as everywhere in this project:
 * floating-point atomics add in an order of their own. */
namespace ks_emu {
template <typename T> struct same {
    static_assert(std::is_integral<T>::value, "atomics are for integers");
    typedef T type;
};
} // namespace ks_emu
#define KS_EMU_ATOMIC(name, result)                                                                                    \
    template <typename T> static inline T name(T *p, typename ks_emu::same<T>::type v) {                               \
        const T old = *p;                                                                                              \
        *p          = (result);                                                                                        \
        return old;                                                                                                    \
    }
KS_EMU_ATOMIC(atomicAdd, (T)(old + v))
KS_EMU_ATOMIC(atomicSub, (T)(old - v))
KS_EMU_ATOMIC(atomicMin, v < old ? v : old)
KS_EMU_ATOMIC(atomicMax, v > old ? v : old)
KS_EMU_ATOMIC(atomicExch, v)
KS_EMU_ATOMIC(atomicOr, (T)(old | v))
KS_EMU_ATOMIC(atomicAnd, (T)(old &v))
#undef KS_EMU_ATOMIC
template <typename T>
static inline T atomicCAS(T *p, typename ks_emu::same<T>::type expected, typename ks_emu::same<T>::type v) {
    const T old = *p;
    if (old == expected) *p = v;
    return old;
}

template <typename T> static inline T __ldcs(const T *p) { return *p; }
template <typename T> static inline T __ldg(const T *p) { return *p; }
static inline double                  rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float                   rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline int                     __popc(unsigned x) { return __builtin_popcount(x); }
static inline int                     __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int                     __ffs(int x) { return __builtin_ffs(x); }
static inline int                     __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline long long               __double_as_longlong(double x) {
                  long long v;
                  memcpy(&v, &x, sizeof v);
                  return v;
}
static inline double __longlong_as_double(long long x) {
    double v;
    memcpy(&v, &x, sizeof v);
    return v;
}
static inline unsigned __float_as_uint(float x) {
    unsigned v;
    memcpy(&v, &x, sizeof v);
    return v;
}
static inline float __uint_as_float(unsigned x) {
    float v;
    memcpy(&v, &x, sizeof v);
    return v;
}
using std::max;
using std::min;
#endif
