/* solver.cpp -- the cuSOLVER calls of the project, answered by LAPACK; see blas.cpp.
 *
 * cusolverDnXsyevBatched of cuSOLVER 11.7.1.2 gives wrong eigenvectors, without an error, when its workspace was not
 * zeroed (github.com/pytorch/pytorch/issues/192483): here the work fails then, and leaves the workspace dirty. */
#include <cusolverDn.h>
#include <cblas.h>
#include <lapacke.h>
#include <cmath>
#include <cstring>
#include <vector>

struct cusolverDnContext {
    cudaStream_t stream;
};
struct cusolverDnParams {
    int unused;
};

cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t *handle) {
    openblas_set_num_threads(1);
    *handle = new cusolverDnContext();
    return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnDestroy(cusolverDnHandle_t handle) {
    if (!handle) return CUSOLVER_STATUS_NOT_INITIALIZED;
    delete handle;
    return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t handle, cudaStream_t stream) {
    if (!handle) return CUSOLVER_STATUS_NOT_INITIALIZED;
    handle->stream = stream;
    return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnSetDeterministicMode(cusolverDnHandle_t handle, cusolverDeterministicMode_t) {
    return handle ? CUSOLVER_STATUS_SUCCESS : CUSOLVER_STATUS_NOT_INITIALIZED;
}
cusolverStatus_t cusolverDnCreateParams(cusolverDnParams_t *params) {
    *params = new cusolverDnParams();
    return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnDestroyParams(cusolverDnParams_t params) {
    delete params;
    return CUSOLVER_STATUS_SUCCESS;
}

static cusolverStatus_t check(cusolverDnHandle_t handle, cusolverDnParams_t params, int64_t n, int64_t lda,
                              int64_t batch, cudaDataType a, cudaDataType w, cudaDataType compute) {
    if (!handle) return CUSOLVER_STATUS_NOT_INITIALIZED;
    if (!params || n < 0 || batch < 0 || lda < (n > 1 ? n : 1)) return CUSOLVER_STATUS_INVALID_VALUE;
    if ((double)n * (double)lda * (double)batch > 2147483647.0) return CUSOLVER_STATUS_INVALID_VALUE;
    if (a != CUDA_R_64F || w != CUDA_R_64F || compute != CUDA_R_64F) return CUSOLVER_STATUS_NOT_SUPPORTED;
    return CUSOLVER_STATUS_SUCCESS;
}

/* Of the launcher's own choice; as with the library, only the query knows. */
static size_t work_bytes(int64_t n, int64_t batch) { return 256 + (size_t)(batch * (n + 2)) * sizeof(double); }

cusolverStatus_t cusolverDnXsyevBatched_bufferSize(cusolverDnHandle_t handle, cusolverDnParams_t params,
                                                   cusolverEigMode_t, cublasFillMode_t, int64_t n,
                                                   cudaDataType dataTypeA, const void *, int64_t lda,
                                                   cudaDataType dataTypeW, const void *, cudaDataType computeType,
                                                   size_t *workspaceInBytesOnDevice, size_t *workspaceInBytesOnHost,
                                                   int64_t batchSize) {
    const cusolverStatus_t st = check(handle, params, n, lda, batchSize, dataTypeA, dataTypeW, computeType);
    if (st != CUSOLVER_STATUS_SUCCESS) return st;
    *workspaceInBytesOnDevice = work_bytes(n, batchSize);
    *workspaceInBytesOnHost   = 0;
    return CUSOLVER_STATUS_SUCCESS;
}

static bool is_zero(const unsigned char *x, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (x[i]) return false;
    return true;
}

cusolverStatus_t cusolverDnXsyevBatched(cusolverDnHandle_t handle, cusolverDnParams_t params, cusolverEigMode_t jobz,
                                        cublasFillMode_t uplo, int64_t n, cudaDataType dataTypeA, void *A, int64_t lda,
                                        cudaDataType dataTypeW, void *W, cudaDataType computeType, void *bufferOnDevice,
                                        size_t workspaceInBytesOnDevice, void *, size_t workspaceInBytesOnHost,
                                        int *info, int64_t batchSize) {
    const cusolverStatus_t st = check(handle, params, n, lda, batchSize, dataTypeA, dataTypeW, computeType);
    if (st != CUSOLVER_STATUS_SUCCESS) return st;
    if (n == 0 || batchSize == 0) return CUSOLVER_STATUS_SUCCESS;
    if (workspaceInBytesOnDevice < work_bytes(n, batchSize) || workspaceInBytesOnHost)
        return CUSOLVER_STATUS_INVALID_WORKSPACE;
    if (!ks_emu::is_device(bufferOnDevice, workspaceInBytesOnDevice) ||
        !ks_emu::is_device(info, (size_t)batchSize * 4) || !ks_emu::is_device(W, (size_t)(batchSize * n) * 8) ||
        !ks_emu::is_device(A, (size_t)(batchSize * n * lda) * 8))
        return CUSOLVER_STATUS_EXECUTION_FAILED;
    const auto work = [=]() {
        if (!is_zero((const unsigned char *)bufferOnDevice, workspaceInBytesOnDevice)) {
            ks_emu::work_fail("cusolverDnXsyevBatched: the workspace was not zeroed");
            return;
        }
        const int           lwork = (int)(1 + 6 * n + 2 * n * n), liwork = (int)(3 + 5 * n);
        std::vector<double> w((size_t)lwork);
        std::vector<int>    iw((size_t)liwork);
        for (int64_t b = 0; b < batchSize; b++)
            info[b] = LAPACKE_dsyevd_work(LAPACK_COL_MAJOR, jobz == CUSOLVER_EIG_MODE_VECTOR ? 'V' : 'N',
                                          uplo == CUBLAS_FILL_MODE_UPPER ? 'U' : 'L', (int)n, (double *)A + b * n * lda,
                                          (int)lda, (double *)W + b * n, w.data(), lwork, iw.data(), liwork);
        memset(bufferOnDevice, 0xff, workspaceInBytesOnDevice);
    };
    return ks_emu::enqueue("cusolverDnXsyevBatched", handle->stream, work) == cudaSuccess
               ? CUSOLVER_STATUS_SUCCESS
               : CUSOLVER_STATUS_EXECUTION_FAILED;
}
