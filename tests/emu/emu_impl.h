/* emu_impl.h -- what runtime.cpp (memory, streams, graphs) and launcher.cpp (kernels) share. */
#ifndef KS_EMU_IMPL_H
#define KS_EMU_IMPL_H
#include <cuda_runtime.h>
#include <vector>
#include "launcher.h"

#if defined(__SANITIZE_ADDRESS__)
#define KS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KS_ASAN 1
#endif
#endif
#ifdef KS_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

namespace ks_emu {
/* Notes the error and its text; returns it. */
cudaError_t fail(cudaError_t error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void        fail_kernel(const char *text); /* for good: until ks_emu_reset */
cudaError_t failed_for_good();
bool        is_reachable(const void *ptr); /* device or pinned memory, or NULL */
/* Queues, or records: counts as a launch. */
cudaError_t push_work(const char *name, cudaStream_t stream, std::function<void()> run);
/* The same for work that may have to wait for another process: it is called again until it returns true. A recording
 * runs it as often as it is launched. */
cudaError_t push_attempts(const char *name, cudaStream_t stream, std::function<bool()> run);
cudaUUID_t  device_uuid(); /* of the current device */

uint64_t                   random64();
inline uint32_t            random_below(uint32_t n) { return (uint32_t)((random64() >> 32) * n >> 32); }
template <typename T> void shuffle_order(std::vector<T> &v) {
    for (size_t i = v.size(); i > 1; i--) std::swap(v[i - 1], v[random_below((uint32_t)i)]);
}
} // namespace ks_emu
#endif
