/* net_tile.cuh -- products of tiles in shared memory, fp32 and fp64, for attention and the output head. Private.
 *
 * A block of NET_THREADS threads makes an output tile of NET_ROWS rows, 16 x 8 threads: thread (ty, tx) owns the rows
 * ty + 16 i. The sum runs over chunks of NET_K. Two forms:
 *   ks_tile_nt  C[i][j] += sum_k A[i][k] B[j][k]   NET_COLS columns; the thread's columns are tx + 8 j
 *   ks_tile_nn  C[i][j] += sum_k A[i][k] B[k][j]   NET_WIDE columns; the thread's columns are 4 tx + 32 j ... + 3
 * Rows of A and of the nt form's B are `pitch` apart: 16 bytes more than a chunk, so that the 16-byte reads of the eight
 * neighbouring rows of a quarter warp meet different banks. Everything outside the matrices is read as zero. A product
 * reads 9 or 11 groups of four elements for 72 or 96 multiply-adds. Each sum runs in one order, fixed by the sizes. */
#ifndef KS_NET_TILE_CUH
#define KS_NET_TILE_CUH
#include "../common.cuh"

enum { NET_THREADS = 128, NET_TY = 16, NET_TX = 8, NET_ROWS = 48, NET_COLS = 48, NET_WIDE = 64, NET_K = 32 };
enum { NET_I = NET_ROWS / NET_TY, NET_J = NET_COLS / NET_TX, NET_Q = NET_WIDE / (4 * NET_TX) };

template <typename T> struct alignas(16) ks_quad { T v[4]; };
template <typename T> static __device__ __forceinline__ ks_quad<T> ks_quad_at(const T *p) {
    return *(const ks_quad<T> *)p;
}

template <typename T> static constexpr __host__ __device__ int ks_net_pitch(void) {
    return NET_K + 16 / (int)sizeof(T);
}

/* tile[r][c] = src[r * ld + c] for r < rows, c < cols, else 0; R x C elements, rows `pitch` apart. */
template <typename T, int R, int C>
static __device__ __forceinline__ void ks_tile_fill(const T *src, int64_t ld, int64_t rows, int64_t cols, int pitch,
                                                    T *tile) {
    for (int i = (int)threadIdx.x; i < R * C; i += NET_THREADS) {
        const int r = i / C, c = i % C;
        tile[r * pitch + c] = r < rows && c < cols ? src[r * ld + c] : T(0);
    }
}

/* tile[c][r] = src[r * ld + c]: NET_K rows and NET_ROWS columns of the matrix become NET_ROWS rows of the tile. */
template <typename T>
static __device__ __forceinline__ void ks_tile_fill_transposed(const T *src, int64_t ld, int64_t rows, int64_t cols,
                                                               T *tile) {
    for (int i = (int)threadIdx.x; i < NET_K * NET_ROWS; i += NET_THREADS) {
        const int r = i / NET_ROWS, c = i % NET_ROWS;
        tile[c * ks_net_pitch<T>() + r] = r < rows && c < cols ? src[r * ld + c] : T(0);
    }
}

template <typename T>
static __device__ __forceinline__ void ks_tile_nt(const T *a, const T *b, T (&acc)[NET_I][NET_J]) {
    const int pitch = ks_net_pitch<T>(), tx = (int)threadIdx.x % NET_TX, ty = (int)threadIdx.x / NET_TX;
    for (int k = 0; k < NET_K; k += 4) {
        ks_quad<T> row[NET_I];
        for (int i = 0; i < NET_I; i++) row[i] = ks_quad_at(a + (ty + NET_TY * i) * pitch + k);
        for (int j = 0; j < NET_J; j++) {
            const ks_quad<T> column = ks_quad_at(b + (tx + NET_TX * j) * pitch + k);
            for (int i = 0; i < NET_I; i++)
                for (int q = 0; q < 4; q++) acc[i][j] += row[i].v[q] * column.v[q];
        }
    }
}

/* a: rows a_pitch apart, a multiple of 4; b: (NET_K, NET_WIDE). */
template <typename T>
static __device__ __forceinline__ void ks_tile_nn(const T *a, int a_pitch, const T *b, T (&acc)[NET_I][4 * NET_Q]) {
    const int tx = (int)threadIdx.x % NET_TX, ty = (int)threadIdx.x / NET_TX;
    for (int k = 0; k < NET_K; k += 4) {
        ks_quad<T> row[NET_I];
        for (int i = 0; i < NET_I; i++) row[i] = ks_quad_at(a + (ty + NET_TY * i) * a_pitch + k);
        for (int q = 0; q < 4; q++)
            for (int j = 0; j < NET_Q; j++) {
                const ks_quad<T> column = ks_quad_at(b + (k + q) * NET_WIDE + 4 * NET_TX * j + 4 * tx);
                for (int i = 0; i < NET_I; i++)
                    for (int c = 0; c < 4; c++) acc[i][4 * j + c] += row[i].v[q] * column.v[c];
            }
    }
}

/* Row and column, within the tile, of an element of acc. */
static __device__ __forceinline__ int ks_tile_row(int i) { return (int)threadIdx.x / NET_TX + NET_TY * i; }
static __device__ __forceinline__ int ks_nt_column(int j) { return (int)threadIdx.x % NET_TX + NET_TX * j; }
static __device__ __forceinline__ int ks_nn_column(int j) {
    return 4 * ((int)threadIdx.x % NET_TX) + 4 * NET_TX * (j / 4) + j % 4;
}
#endif
