/* cuda_runtime.h -- stands in for NVIDIA's header when g++ or clang++ compiles the .cu files for the launcher of
 * tests/emu. Only what the project's kernels use. See launcher.cpp for what is emulated and what is not. */
#ifndef KS_EMU_CUDA_RUNTIME_H
#define KS_EMU_CUDA_RUNTIME_H
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

enum cudaError_t {
    cudaSuccess                    = 0,
    cudaErrorInvalidValue          = 1,
    cudaErrorMemoryAllocation      = 2,
    cudaErrorInvalidConfiguration  = 9,
    cudaErrorNoDevice              = 100,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorLaunchFailure         = 719
};
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum { cudaStreamNonBlocking = 1 };
typedef struct ks_emu_stream *cudaStream_t;
struct cudaDeviceProp {
    char   name[256];
    int    major, minor, multiProcessorCount;
    size_t totalGlobalMem;
};

extern uint3 threadIdx, blockIdx; /* of the fibre that runs */
extern dim3  blockDim, gridDim;
enum { warpSize = 32 };

cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int device);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaMalloc(void **ptr, size_t bytes);
cudaError_t cudaFree(void *ptr);
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaGetLastError();
const char *cudaGetErrorString(cudaError_t error);

namespace ks_emu {
void  launch(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
             std::function<void()> body);
void *shared_static(const void *key, size_t bytes); /* one array per declaration and block */
void *shared_dynamic();
void  barrier(const char *file, int line);
/* All lanes of mask leave their value and go on when the last one has come; returns the 32 slots of 8 bytes. */
const unsigned char *exchange(unsigned mask, const void *value, size_t bytes, int line, unsigned *present);
cudaError_t          allow_shared(const void *kernel, int bytes);
unsigned             lane();
/* For the stand-ins of libraries (blas.cpp, solver.cpp): work that takes its turn on a stream as a kernel does, its
 * failure at run time, and whether a range lies in one allocation of device memory. */
cudaError_t enqueue(const char *name, cudaStream_t stream, std::function<void()> work);
void        work_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool        is_device(const void *p, size_t bytes);

template <typename... P, typename... A>
void launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
            A &&...a) {
    std::tuple<P...> args(std::forward<A>(a)...); /* by value, now: as a real launch does */
    launch(name, (const void *)kernel, grid, block, shared, stream, [kernel, args]() { std::apply(kernel, args); });
}
template <typename T> T shuffle(unsigned mask, T v, unsigned from, int line) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    unsigned             present = 0;
    const unsigned char *slot    = exchange(mask, &v, sizeof v, line, &present);
    T                    out     = v;
    if (from < 32 && (present >> from & 1)) memcpy(&out, slot + 8 * from, sizeof out);
    return out;
}
} // namespace ks_emu

template <typename F> cudaError_t cudaFuncSetAttribute(F *kernel, cudaFuncAttribute, int bytes) {
    return ks_emu::allow_shared((const void *)kernel, bytes);
}

#define KS_LAUNCH(kernel, grid, block, shared, stream, ...)                                                            \
    ks_emu::launch(#kernel, kernel, grid, block, shared, stream, __VA_ARGS__)
#define KS_SHARED(T, name, n)                                                                                          \
    static const char name##_key = 0;                                                                                  \
    T *const          name       = (T *)ks_emu::shared_static(&name##_key, (n) * sizeof(T))
#define KS_SHARED_DYNAMIC(T, name) T *const name = (T *)ks_emu::shared_dynamic()

#define __syncthreads() ks_emu::barrier(__FILE__, __LINE__)
#define __syncwarp(...) (void)ks_emu::shuffle(0xffffffffu, 0, 0, __LINE__)
#define __shfl_sync(mask, v, from) ks_emu::shuffle((mask), (v), (unsigned)(from), __LINE__)
#define __shfl_xor_sync(mask, v, x) ks_emu::shuffle((mask), (v), ks_emu::lane() ^ (unsigned)(x), __LINE__)
#define __shfl_down_sync(mask, v, d) ks_emu::shuffle((mask), (v), ks_emu::lane() + (unsigned)(d), __LINE__)
#define __ballot_sync(mask, p) ks_emu_ballot((mask), (p) ? 1 : 0, __LINE__)
static inline unsigned ks_emu_ballot(unsigned mask, int p, int line) {
    unsigned             present = 0, bits = 0;
    const unsigned char *slot = ks_emu::exchange(mask, &p, sizeof p, line, &present);
    for (unsigned i = 0; i < 32; i++) {
        int v = 0;
        if (present >> i & 1) memcpy(&v, slot + 8 * i, sizeof v);
        bits |= (unsigned)v << i;
    }
    return bits;
}

/* One operating-system thread runs everything: atomics are plain. */
template <typename T> static inline T atomicAdd(T *p, T v) {
    const T old = *p;
    *p          = old + v;
    return old;
}
template <typename T> static inline T atomicMax(T *p, T v) {
    const T old = *p;
    if (v > old) *p = v;
    return old;
}
template <typename T> static inline T atomicCAS(T *p, T expected, T v) {
    const T old = *p;
    if (old == expected) *p = v;
    return old;
}
template <typename T> static inline T __ldg(const T *p) { return *p; }
#endif
