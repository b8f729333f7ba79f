/* device.cu -- the CUDA device of a context: stream, memory, error mapping. The table is in backend_cuda.c. */
#include "common.cuh"
#include <stdlib.h>
#include <string.h>
#include "backend_cuda.h"

extern "C" ks_status ks_cuda_open(void **state) {
    ks_status      st   = KS_OK;
    ks_cuda       *cu   = NULL;
    int            n    = 0;
    const char    *sync = getenv("KS_CUDA_SYNC");
    cudaDeviceProp prop;
    cudaError_t    e = cudaGetDeviceCount(&n);
    KS_CHECK(e == cudaSuccess && n > 0, KS_ERR_UNSUPPORTED, "backend cuda: no usable GPU (%s)",
             e == cudaSuccess ? "the driver lists none" : cudaGetErrorString(e));
    KS_CUDA_CHECK(cudaSetDevice(0)); /* one process per GPU: the launcher of the ranks sets CUDA_VISIBLE_DEVICES */
    KS_CUDA_CHECK(cudaGetDeviceProperties(&prop, 0));
    KS_CHECK(prop.major >= 8, KS_ERR_UNSUPPORTED, "backend cuda: %s has compute capability %d.%d, needed 8.0 or newer",
             prop.name, prop.major, prop.minor);
    KS_TRY(KS_ZNEW(cu, 1));
    cu->n_sm = prop.multiProcessorCount;
    cu->sync = sync && !strcmp(sync, "1");
    KS_CUDA_CHECK(cudaStreamCreateWithFlags(&cu->stream, cudaStreamNonBlocking));
    *state = cu;
    cu     = NULL;
done:
    KS_FREE(cu);
    return st;
}

/* Nothing can be done about a failing release; the next call that matters reports the device's state. */
extern "C" void ks_cuda_close(void *state) {
    ks_cuda *cu = (ks_cuda *)state;
    if (!cu) return;
    (void)cudaStreamSynchronize(cu->stream);
    (void)cudaFree(cu->scratch);
    (void)cudaStreamDestroy(cu->stream);
    KS_FREE(cu);
}

extern "C" ks_status ks_cuda_alloc(void *state, size_t bytes, void **out) {
    ks_status st = KS_OK;
    (void)state;
    *out = NULL;
    KS_TRY(ks_alloc_note((int64_t)bytes));
    KS_CUDA_CHECK(cudaMalloc(out, bytes));
done:
    return st;
}

extern "C" void ks_cuda_free(void *state, void *ptr) {
    (void)state;
    (void)cudaFree(ptr);
}

/* Both copies wait: the host side may be reused, or read, on return. Not for the step loop. */
extern "C" ks_status ks_cuda_to_backend(void *state, void *dst, const void *src, size_t bytes) {
    ks_status st = KS_OK;
    ks_cuda  *cu = (ks_cuda *)state;
    KS_CUDA_CHECK(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, cu->stream));
    KS_CUDA_CHECK(cudaStreamSynchronize(cu->stream));
done:
    return st;
}

extern "C" ks_status ks_cuda_to_host(void *state, void *dst, const void *src, size_t bytes) {
    ks_status st = KS_OK;
    ks_cuda  *cu = (ks_cuda *)state;
    KS_CUDA_CHECK(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, cu->stream));
    KS_CUDA_CHECK(cudaStreamSynchronize(cu->stream));
done:
    return st;
}

extern "C" ks_status ks_cuda_zero(void *state, void *dst, size_t bytes) {
    ks_status st = KS_OK;
    ks_cuda  *cu = (ks_cuda *)state;
    KS_CUDA_CHECK(cudaMemsetAsync(dst, 0, bytes, cu->stream));
done:
    return st;
}

extern "C" ks_status ks_cuda_sync(void *state) {
    ks_status st = KS_OK;
    ks_cuda  *cu = (ks_cuda *)state;
    KS_CUDA_CHECK(cudaStreamSynchronize(cu->stream));
done:
    return st;
}

extern "C" ks_status ks_cuda_scratch(ks_cuda *cu, int64_t n, size_t size, void **out) {
    ks_status st    = KS_OK;
    int64_t   bytes = 0;
    *out            = NULL;
    KS_TRY(ks_mul_i64(n, (int64_t)size, &bytes));
    if ((size_t)bytes > cu->scratch_bytes) {
        KS_CUDA_CHECK(cudaFree(cu->scratch)); /* waits for the kernels that use it */
        cu->scratch       = NULL;
        cu->scratch_bytes = 0;
        KS_TRY(ks_cuda_alloc(cu, (size_t)bytes, (void **)&cu->scratch));
        cu->scratch_bytes = (size_t)bytes;
    }
    *out = cu->scratch;
done:
    return st;
}

extern "C" ks_status ks_cuda_launched(ks_cuda *cu, const char *file, int line, const char *func) {
    cudaError_t e = cudaGetLastError();
    if (e == cudaSuccess && cu->sync) e = cudaStreamSynchronize(cu->stream);
    return e == cudaSuccess ? KS_OK
                            : ks_error_raise(KS_ERR_CUDA, file, line, func, "kernel launch: %s", cudaGetErrorString(e));
}
