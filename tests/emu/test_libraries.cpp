/* test_libraries.cpp -- the stand-ins for cuBLAS and cuSOLVER compute what the libraries do, when the libraries do it,
 * and refuse what they refuse. */
#include <cublas_v2.h>
#include <cusolverDn.h>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>
#include "launcher.h"

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

static cudaStream_t       g_stream;
static cublasHandle_t     g_blas;
static cusolverDnHandle_t g_solver;
static cusolverDnParams_t g_params;

template <typename T> static T *device(const std::vector<T> &v) {
    const size_t bytes = v.size() * sizeof(T);
    void        *p = nullptr, *h = nullptr;
    if (cudaMalloc(&p, bytes) != cudaSuccess || cudaMallocHost(&h, bytes) != cudaSuccess) abort();
    memcpy(h, v.data(), bytes);
    (void)cudaMemcpyAsync(p, h, bytes, cudaMemcpyHostToDevice, g_stream);
    (void)cudaFreeHost(h); /* waits */
    return (T *)p;
}
template <typename T> static std::vector<T> host(const T *p, size_t n) {
    std::vector<T> v(n);
    (void)cudaMemcpyAsync(v.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost, g_stream);
    (void)cudaStreamSynchronize(g_stream);
    return v;
}
static std::vector<double> ramp(size_t n, double from) {
    std::vector<double> v(n);
    for (size_t i = 0; i < n; i++) v[i] = sin(from + 1.7 * (double)i);
    return v;
}

/* C = 0.5 op(A) op(B), 3 products of 2 x 3 over k = 4, with NaN in C; strides, transposes, arrays of pointers. */
static void test_dgemm() {
    enum { M = 2, N = 3, K = 4, B = 3 };
    const std::vector<double>   a = ramp(B * M * K, 0), b = ramp(B * K * N, 5);
    const std::vector<double>   none(B * M * N, NAN);
    double                     *da = device(a), *db = device(b), *dc = device(none), *dd = device(none);
    const double                half = 0.5, zero = 0, one = 1;
    std::vector<const double *> pa, pb;
    std::vector<double *>       pc;
    for (int i = 0; i < B; i++)
        pa.push_back(da + i * M * K), pb.push_back(db + i * K * N), pc.push_back(dd + i * M * N);
    const double **qa = device(pa), **qb = device(pb);
    double       **qc = device(pc);
    for (int t = 0; t < 4; t++) {
        const cublasOperation_t ta = t & 1 ? CUBLAS_OP_T : CUBLAS_OP_N, tb = t & 2 ? CUBLAS_OP_T : CUBLAS_OP_N;
        const int               lda = t & 1 ? K : M, ldb = t & 2 ? N : K;
        CHECK(!cublasDgemmStridedBatched(g_blas, ta, tb, M, N, K, &half, da, lda, M * K, db, ldb, K * N, &zero, dc, M,
                                         M * N, B),
              "strided");
        CHECK(!cublasDgemmBatched(g_blas, ta, tb, M, N, K, &half, qa, lda, qb, ldb, &zero, qc, M, B), "pointers");
        CHECK(!cublasDgemm(g_blas, ta, tb, M, N, K, &half, da, lda, db, ldb, &one, dd, M), "adds");
        const std::vector<double> c = host(dc, B * M * N), d = host(dd, B * M * N);
        double                    worst = 0;
        for (int f = 0; f < B; f++)
            for (int i = 0; i < M; i++)
                for (int j = 0; j < N; j++) {
                    double s = 0;
                    for (int k = 0; k < K; k++)
                        s += 0.5 * a[(size_t)(f * M * K + (t & 1 ? i * K + k : k * M + i))] *
                             b[(size_t)(f * K * N + (t & 2 ? k * N + j : j * K + k))];
                    const size_t at = (size_t)(f * M * N + j * M + i);
                    worst           = fmax(worst, fabs(c[at] - s));
                    worst           = fmax(worst, fabs(d[at] - (f == 0 ? 2 * s : s)));
                }
        CHECK(worst <= 1e-14, "transposes %d: error %g", t, worst); /* four products of size 0.5 */
    }
    double on_host[M * N];
    CHECK(cublasDgemm(g_blas, CUBLAS_OP_N, CUBLAS_OP_N, M, N, K, &one, da, M - 1, db, K, &zero, dc, M) ==
              CUBLAS_STATUS_INVALID_VALUE,
          "a leading dimension that is too small");
    CHECK(cublasDgemm(g_blas, CUBLAS_OP_N, CUBLAS_OP_N, M, -1, K, &one, da, M, db, K, &zero, dc, M) ==
              CUBLAS_STATUS_INVALID_VALUE,
          "a negative extent");
    CHECK(cublasDgemm(g_blas, CUBLAS_OP_N, CUBLAS_OP_N, M, N, K, &one, da, M, db, K, &zero, on_host, M) ==
              CUBLAS_STATUS_EXECUTION_FAILED,
          "host memory");
    CHECK(cublasDgemmStridedBatched(g_blas, CUBLAS_OP_N, CUBLAS_OP_N, M, N, K, &one, da, M, M * K, db, K, K * N, &zero,
                                    dc, M, M * N, B + 1) == CUBLAS_STATUS_EXECUTION_FAILED,
          "beyond an allocation");
    pc[1]        = on_host;
    double **bad = device(pc);
    CHECK(!cublasDgemmBatched(g_blas, CUBLAS_OP_N, CUBLAS_OP_N, M, N, K, &one, qa, M, qb, K, &zero, bad, M, B), "call");
    CHECK(cudaStreamSynchronize(g_stream) == cudaErrorLaunchFailure, "a host pointer in a device array");
    ks_emu_reset();
}

/* 1 + 2^-9 is half way between two bfloat16 numbers and rounds to the even one, 1; 1 + 3 2^-9 rounds up. */
static void test_bf16() {
    const std::vector<float> a = {1 + 0x1p-9f, 1 + 0x3p-9f, 3.0f}, b = {1, 1, 1 + 0x1p-20f}, c = {NAN};
    float                   *da = device(a), *db = device(b), *dc = device(c);
    const float              one = 1, zero = 0;
    CHECK(!cublasGemmEx(g_blas, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 3, &one, da, CUDA_R_32F, 1, db, CUDA_R_32F, 3, &zero,
                        dc, CUDA_R_32F, 1, CUBLAS_COMPUTE_32F_FAST_16BF, CUBLAS_GEMM_DEFAULT),
          "call");
    CHECK(host(dc, 1)[0] == 1.0f + (1 + 0x1p-7f) + 3.0f, "bf16: %.9g", (double)host(dc, 1)[0]);
    CHECK(!cublasSgemm(g_blas, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 3, &one, da, 1, db, 3, &zero, dc, 1), "call");
    CHECK(fabsf(host(dc, 1)[0] - (a[0] + a[1] + a[2] * b[2])) <= 1e-6f, "fp32: %.9g", (double)host(dc, 1)[0]);
}

static void test_syev() {
    enum { N = 3, B = 2 };
    const std::vector<double> a  = {2, 1, 0, 1, 2, 0, 0, 0, 5, 4, 0, 0, 0, -1, 0, 0, 0, 7};
    double                   *da = device(a), *w = device(std::vector<double>(N * B, NAN));
    int                      *info  = device(std::vector<int>(B, 77));
    size_t                    bytes = 0, host_bytes = 1;
    const auto                size = [&]() {
        return cusolverDnXsyevBatched_bufferSize(g_solver, g_params, CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_LOWER,
                                                                N, CUDA_R_64F, da, N, CUDA_R_64F, w, CUDA_R_64F, &bytes, &host_bytes,
                                                                B);
    };
    CHECK(!size() && bytes > 0 && host_bytes == 0, "workspace of %zu and %zu bytes", bytes, host_bytes);
    unsigned char *work = device(std::vector<unsigned char>(bytes, 0));
    const auto     call = [&](size_t given) {
        return cusolverDnXsyevBatched(g_solver, g_params, CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_LOWER, N,
                                          CUDA_R_64F, da, N, CUDA_R_64F, w, CUDA_R_64F, work, given, nullptr, 0, info, B);
    };
    CHECK(call(bytes - 8) == CUSOLVER_STATUS_INVALID_WORKSPACE, "a workspace that is too small");
    CHECK(!call(bytes), "call");
    const std::vector<double> e = host(w, N * B), v = host(da, N * N * B);
    const double              want[N * B] = {1, 3, 5, -1, 4, 7};
    double                    worst       = 0;
    for (int i = 0; i < N * B; i++) worst = fmax(worst, fabs(e[(size_t)i] - want[i]));
    CHECK(worst <= 1e-14, "eigenvalues: error %g", worst);
    CHECK(fabs(fabs(v[0]) - sqrt(0.5)) <= 1e-15 && fabs(v[0] + v[1]) <= 1e-15 && v[2] == 0, "first eigenvector");
    CHECK(host(info, B)[0] == 0 && host(info, B)[1] == 0, "info");
    CHECK(!call(bytes), "call");
    CHECK(cudaStreamSynchronize(g_stream) == cudaErrorLaunchFailure, "a workspace that is not zero");
    ks_emu_reset();
}

/* Nothing is read before the stream gets there. */
static void test_order() {
    const std::vector<double> x   = {2};
    const double              one = 1, zero = 0;
    double                   *da = device(x), *dc = device(x);
    CHECK(!cublasDgemm(g_blas, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, da, 1, da, 1, &zero, dc, 1), "call");
    CHECK(!cudaMemsetAsync(da, 0, sizeof(double), g_stream), "a later change");
    CHECK(host(dc, 1)[0] == 4, "order on the stream");
}

int main() {
    if (cudaStreamCreateWithFlags(&g_stream, cudaStreamNonBlocking)) return 1;
    CHECK(cublasSetStream(nullptr, g_stream) == CUBLAS_STATUS_NOT_INITIALIZED, "no handle");
    CHECK(!cublasCreate(&g_blas) && !cublasSetStream(g_blas, g_stream), "handle");
    CHECK(!cusolverDnCreate(&g_solver) && !cusolverDnSetStream(g_solver, g_stream), "handle");
    CHECK(!cusolverDnCreateParams(&g_params), "parameters");
    double *work = device(std::vector<double>(64, 0));
    CHECK(!cublasSetWorkspace(g_blas, work, 512), "workspace");
    CHECK(cublasSetWorkspace(g_blas, work + 1, 256) == CUBLAS_STATUS_INVALID_VALUE, "an unaligned workspace");
    test_dgemm();
    test_bf16();
    test_syev();
    test_order();
    CHECK(!cublasDestroy(g_blas) && !cusolverDnDestroyParams(g_params) && !cusolverDnDestroy(g_solver), "release");
    (void)cudaStreamDestroy(g_stream);
    printf("%d checks, %d failed\n", g_run, g_bad);
    return g_bad || g_run < 25;
}
