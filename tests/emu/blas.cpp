/* blas.cpp -- the cuBLAS calls of the project, answered by OpenBLAS on one thread: the same bits every time.
 *
 * A call checks its arguments as the library does (handle, extents, leading dimensions) and, where the library would
 * meet a fault later, that its arrays lie in device memory; the work itself is queued on the handle's stream like a
 * kernel and reads and writes nothing before. alpha and beta are read at the call (host pointer mode, the only one).
 * With beta 0, C is not read. bf16: factors rounded to nearest even, products summed in fp32. */
#include <cublas_v2.h>
#include <cblas.h>
#include <cstdio>
#include <cstring>
#include <vector>

struct cublasContext {
    cudaStream_t stream;
    void        *workspace;
    size_t       workspace_bytes;
};

cublasStatus_t cublasCreate(cublasHandle_t *handle) {
    openblas_set_num_threads(1);
    *handle = new cublasContext();
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    handle->stream          = stream;
    handle->workspace       = nullptr;
    handle->workspace_bytes = 0;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGetStream(cublasHandle_t handle, cudaStream_t *stream) {
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    *stream = handle->stream;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void *workspace, size_t bytes) {
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    if (!ks_emu::is_device(workspace, bytes) || (uintptr_t)workspace % 256) return CUBLAS_STATUS_INVALID_VALUE;
    handle->workspace       = workspace;
    handle->workspace_bytes = bytes;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t) {
    return handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}
cublasStatus_t cublasSetPointerMode(cublasHandle_t handle, cublasPointerMode_t mode) {
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    return mode == CUBLAS_POINTER_MODE_HOST ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

const char *cublasGetStatusString(cublasStatus_t status) {
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
        return "CUBLAS_STATUS_...";
    }
}

/* ---- one product ---- */

struct product {
    cublasOperation_t   ta, tb;
    int                 m, n, k, lda, ldb, ldc;
    double              alpha, beta;
    cudaDataType        type, c_type; /* of A and B; of C */
    cublasComputeType_t compute;
};

static size_t type_bytes(cudaDataType t) { return t == CUDA_R_64F ? 8 : t == CUDA_R_32F ? 4 : 2; }

/* Bytes from the first to the last element of a column-major matrix. */
static size_t span(int rows, int cols, int ld, cudaDataType t) {
    return rows && cols ? ((size_t)(cols - 1) * (size_t)ld + (size_t)rows) * type_bytes(t) : 0;
}
static size_t span_a(const product &p) {
    return p.ta == CUBLAS_OP_N ? span(p.m, p.k, p.lda, p.type) : span(p.k, p.m, p.lda, p.type);
}
static size_t span_b(const product &p) {
    return p.tb == CUBLAS_OP_N ? span(p.k, p.n, p.ldb, p.type) : span(p.n, p.k, p.ldb, p.type);
}
static size_t span_c(const product &p) { return span(p.m, p.n, p.ldc, p.c_type); }

static bool is_small(int ld, int rows) { return ld < (rows > 1 ? rows : 1); }

static cublasStatus_t check(cublasHandle_t handle, const product &p, int batch) {
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    if (p.m < 0 || p.n < 0 || p.k < 0 || batch < 0) return CUBLAS_STATUS_INVALID_VALUE;
    if (is_small(p.lda, p.ta == CUBLAS_OP_N ? p.m : p.k) || is_small(p.ldb, p.tb == CUBLAS_OP_N ? p.k : p.n) ||
        is_small(p.ldc, p.m))
        return CUBLAS_STATUS_INVALID_VALUE;
    const bool fp64 = p.type == CUDA_R_64F && p.c_type == CUDA_R_64F &&
                      (p.compute == CUBLAS_COMPUTE_64F || p.compute == CUBLAS_COMPUTE_64F_PEDANTIC);
    const bool fp32 = p.type == CUDA_R_32F && p.c_type == CUDA_R_32F &&
                      (p.compute == CUBLAS_COMPUTE_32F || p.compute == CUBLAS_COMPUTE_32F_PEDANTIC ||
                       p.compute == CUBLAS_COMPUTE_32F_FAST_16BF);
    const bool bf16 = p.type == CUDA_R_16BF && p.c_type == CUDA_R_32F &&
                      (p.compute == CUBLAS_COMPUTE_32F || p.compute == CUBLAS_COMPUTE_32F_PEDANTIC);
    return fp64 || fp32 || bf16 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

static float bf16_value(uint16_t h) {
    const uint32_t u = (uint32_t)h << 16;
    float          f;
    memcpy(&f, &u, sizeof f);
    return f;
}
/* Nearest bfloat16, ties to even; NaN stays NaN. */
static float bf16_round(float f) {
    uint32_t u;
    if (f != f) return f;
    memcpy(&u, &f, sizeof u);
    return bf16_value((uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16));
}

/* The span of a factor as floats, rounded where the computation says so. */
static std::vector<float> factor(const void *x, size_t bytes, const product &p) {
    std::vector<float> v(bytes / type_bytes(p.type));
    for (size_t i = 0; i < v.size(); i++)
        v[i] = p.type == CUDA_R_16BF ? bf16_value(((const uint16_t *)x)[i]) : bf16_round(((const float *)x)[i]);
    return v;
}

static CBLAS_TRANSPOSE op(cublasOperation_t t) { return t == CUBLAS_OP_N ? CblasNoTrans : CblasTrans; }

static void run(const product &p, const void *a, const void *b, void *c) {
    if (p.m == 0 || p.n == 0) return;
    if (p.beta == 0)
        for (int j = 0; j < p.n; j++)
            memset((char *)c + (size_t)j * (size_t)p.ldc * type_bytes(p.c_type), 0, (size_t)p.m * type_bytes(p.c_type));
    if (p.type == CUDA_R_64F) {
        cblas_dgemm(CblasColMajor, op(p.ta), op(p.tb), p.m, p.n, p.k, p.alpha, (const double *)a, p.lda,
                    (const double *)b, p.ldb, p.beta, (double *)c, p.ldc);
    } else if (p.type == CUDA_R_32F && p.compute != CUBLAS_COMPUTE_32F_FAST_16BF) {
        cblas_sgemm(CblasColMajor, op(p.ta), op(p.tb), p.m, p.n, p.k, (float)p.alpha, (const float *)a, p.lda,
                    (const float *)b, p.ldb, (float)p.beta, (float *)c, p.ldc);
    } else {
        const std::vector<float> fa = factor(a, span_a(p), p), fb = factor(b, span_b(p), p);
        cblas_sgemm(CblasColMajor, op(p.ta), op(p.tb), p.m, p.n, p.k, (float)p.alpha, fa.data(), p.lda, fb.data(),
                    p.ldb, (float)p.beta, (float *)c, p.ldc);
    }
}

static cublasStatus_t queue(cublasHandle_t handle, const char *name, std::function<void()> work) {
    return ks_emu::enqueue(name, handle->stream, work) == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                                                      : CUBLAS_STATUS_EXECUTION_FAILED;
}

static cublasStatus_t strided(cublasHandle_t handle, const char *name, const product &p, const void *a, long long sa,
                              const void *b, long long sb, void *c, long long sc, int batch) {
    const cublasStatus_t st = check(handle, p, batch);
    if (st != CUBLAS_STATUS_SUCCESS) return st;
    if (p.m == 0 || p.n == 0 || batch == 0) return CUBLAS_STATUS_SUCCESS;
    const size_t    size = type_bytes(p.type), c_size = type_bytes(p.c_type);
    const long long last = batch - 1;
    if (sa < 0 || sb < 0 || (last && (size_t)sc * c_size < span_c(p))) /* the products would overlap */
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!ks_emu::is_device(c, span_c(p) + (size_t)(last * sc) * c_size) ||
        (p.k && (!ks_emu::is_device(a, span_a(p) + (size_t)(last * sa) * size) ||
                 !ks_emu::is_device(b, span_b(p) + (size_t)(last * sb) * size))))
        return CUBLAS_STATUS_EXECUTION_FAILED;
    return queue(handle, name, [=]() {
        for (long long i = 0; i <= last; i++)
            run(p, (const char *)a + (size_t)(i * sa) * size, (const char *)b + (size_t)(i * sb) * size,
                (char *)c + (size_t)(i * sc) * c_size);
    });
}

/* alpha and beta have the type of the computation. */
static double scalar(const void *x, cublasComputeType_t compute) {
    return compute == CUBLAS_COMPUTE_64F || compute == CUBLAS_COMPUTE_64F_PEDANTIC ? *(const double *)x
                                                                                   : (double)*(const float *)x;
}

/* ---- the calls ---- */

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                                          int m, int n, int k, const void *alpha, const void *A, cudaDataType Atype,
                                          int lda, long long strideA, const void *B, cudaDataType Btype, int ldb,
                                          long long strideB, const void *beta, void *C, cudaDataType Ctype, int ldc,
                                          long long strideC, int batchCount, cublasComputeType_t computeType,
                                          cublasGemmAlgo_t) {
    if (!alpha || !beta) return CUBLAS_STATUS_INVALID_VALUE;
    if (Atype != Btype) return CUBLAS_STATUS_NOT_SUPPORTED;
    const product p = {
        transa, transb, m,          n, k, lda, ldb, ldc, scalar(alpha, computeType), scalar(beta, computeType),
        Atype,  Ctype,  computeType};
    return strided(handle, "cublas gemm", p, A, strideA, B, strideB, C, strideC, batchCount);
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n,
                            int k, const void *alpha, const void *A, cudaDataType Atype, int lda, const void *B,
                            cudaDataType Btype, int ldb, const void *beta, void *C, cudaDataType Ctype, int ldc,
                            cublasComputeType_t computeType, cublasGemmAlgo_t algo) {
    return cublasGemmStridedBatchedEx(handle, transa, transb, m, n, k, alpha, A, Atype, lda, 0, B, Btype, ldb, 0, beta,
                                      C, Ctype, ldc, 0, 1, computeType, algo);
}

cublasStatus_t cublasDgemmStridedBatched(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                                         int m, int n, int k, const double *alpha, const double *A, int lda,
                                         long long strideA, const double *B, int ldb, long long strideB,
                                         const double *beta, double *C, int ldc, long long strideC, int batchCount) {
    return cublasGemmStridedBatchedEx(handle, transa, transb, m, n, k, alpha, A, CUDA_R_64F, lda, strideA, B,
                                      CUDA_R_64F, ldb, strideB, beta, C, CUDA_R_64F, ldc, strideC, batchCount,
                                      CUBLAS_COMPUTE_64F, CUBLAS_GEMM_DEFAULT);
}

cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                                         int m, int n, int k, const float *alpha, const float *A, int lda,
                                         long long strideA, const float *B, int ldb, long long strideB,
                                         const float *beta, float *C, int ldc, long long strideC, int batchCount) {
    return cublasGemmStridedBatchedEx(handle, transa, transb, m, n, k, alpha, A, CUDA_R_32F, lda, strideA, B,
                                      CUDA_R_32F, ldb, strideB, beta, C, CUDA_R_32F, ldc, strideC, batchCount,
                                      CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
}

cublasStatus_t cublasDgemm(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n,
                           int k, const double *alpha, const double *A, int lda, const double *B, int ldb,
                           const double *beta, double *C, int ldc) {
    return cublasDgemmStridedBatched(handle, transa, transb, m, n, k, alpha, A, lda, 0, B, ldb, 0, beta, C, ldc, 0, 1);
}

cublasStatus_t cublasSgemm(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n,
                           int k, const float *alpha, const float *A, int lda, const float *B, int ldb,
                           const float *beta, float *C, int ldc) {
    return cublasSgemmStridedBatched(handle, transa, transb, m, n, k, alpha, A, lda, 0, B, ldb, 0, beta, C, ldc, 0, 1);
}

/* The arrays of pointers are device memory: what they hold is looked at when the work runs. */
cublasStatus_t cublasDgemmBatched(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m,
                                  int n, int k, const double *alpha, const double *const Aarray[], int lda,
                                  const double *const Barray[], int ldb, const double *beta, double *const Carray[],
                                  int ldc, int batchCount) {
    if (!alpha || !beta) return CUBLAS_STATUS_INVALID_VALUE;
    const product p = {
        transa, transb, m, n, k, lda, ldb, ldc, *alpha, *beta, CUDA_R_64F, CUDA_R_64F, CUBLAS_COMPUTE_64F};
    const cublasStatus_t st = check(handle, p, batchCount);
    if (st != CUBLAS_STATUS_SUCCESS) return st;
    if (m == 0 || n == 0 || batchCount == 0) return CUBLAS_STATUS_SUCCESS;
    const size_t bytes = (size_t)batchCount * sizeof(void *);
    if (!ks_emu::is_device(Aarray, bytes) || !ks_emu::is_device(Barray, bytes) || !ks_emu::is_device(Carray, bytes))
        return CUBLAS_STATUS_EXECUTION_FAILED;
    return queue(handle, "cublasDgemmBatched", [=]() {
        for (int i = 0; i < batchCount; i++) {
            if (!ks_emu::is_device(Carray[i], span_c(p)) ||
                (k && (!ks_emu::is_device(Aarray[i], span_a(p)) || !ks_emu::is_device(Barray[i], span_b(p))))) {
                ks_emu::work_fail("a pointer of product %d of %d is not device memory", i, batchCount);
                return;
            }
            run(p, Aarray[i], Barray[i], Carray[i]);
        }
    });
}
