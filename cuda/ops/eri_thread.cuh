/* eri_thread.cuh -- one quartet per thread, R in registers: the classes with L = l_bra + l_ket up to 4. Private. */
#ifndef KS_ERI_THREAD_CUH
#define KS_ERI_THREAD_CUH
/* Rows of the Boys table lie 9 doubles apart in shared memory: the lanes of a warp read different rows, and 8 would put
 * one coefficient of all rows into two banks. */
#define KS_BOYS_STRIDE 9
#include "eri_cuda.cuh"

/* The Boys rows of order L into shared memory. All threads of the block; a barrier must follow. */
static __device__ __forceinline__ void ks_eri_load_boys(int L, const double *boys, double *shared) {
    const double *from = boys + KS_BOYS_FIRST(L) * KS_BOYS_ROW;
    for (int i = (int)threadIdx.x; i < KS_BOYS_N_ROW(L) * KS_BOYS_ROW; i += (int)blockDim.x)
        shared[i / KS_BOYS_ROW * KS_BOYS_STRIDE + i % KS_BOYS_ROW] = from[i];
}

#define KS_ERI_BOYS(L) (KS_BOYS_N_ROW(L) * KS_BOYS_STRIDE)

/* A warp has one bra pair and 32 kets, a block NB consecutive bra pairs and the same kets. The thread computes the ket
 * functions of the components m0 .. m0 + NM of the ket's first shell: one part of parts. */
template <int CB, int CK, int NB, int M0, int NM>
static __device__ __forceinline__ void ks_eri_thread_tiles(const ks_eri_device *d, const ks_eri_job *job,
                                                           double *shared) {
    typedef ks_eri_shape<CB, CK, NB, NM> S;
    enum {
        L      = S::L,
        LB     = KS_CLASS_L(CB),
        NH     = KS_N_HERMITE(LB),
        NF     = NM * S::NL,
        F0     = M0 * S::NL,
        STEP_I = NB * S::NJ * S::LD
    };
    enum {
        BRA_STEP = (KS_ERI_GEOM + KS_CLASS_TERM(CB)) * KS_WARP,
        KET_STEP = (KS_ERI_GEOM + KS_CLASS_TERM(CK)) * KS_WARP
    };
    const ks_eri_class_cuda *bra = &d->c[CB], *ket = &d->c[CK];
    const uint16_t          *term = ks_class_terms(CK), *start = ks_class_starts(CK);
    double                  *boys = shared, *V = boys + KS_ERI_BOYS(L);
    int                     *place = (int *)(V + S::V);
    const int                lane = (int)threadIdx.x % KS_WARP, warp = (int)threadIdx.x / KS_WARP;
    const int64_t            n_tile = (int64_t)((bra->n_pair + NB - 1) / NB) * ket->n_block;
    int                      col[NF];
    for (int f = 0; f < NF; f++) col[f] = (f / S::NL * KS_WARP + lane) * S::NL + f % S::NL;
    ks_eri_load_boys(L, d->boys, boys);
    for (int64_t t = blockIdx.x; t < n_tile * job->n_frame; t += gridDim.x) {
        const int64_t frame = t / n_tile;
        const int     bra0 = (int)(t % n_tile / ket->n_block) * NB, block = (int)(t % ket->n_block);
        const int     q = bra0 + warp < bra->n_pair ? bra0 + warp : bra->n_pair - 1; /* not stored then */
        int           n_bra, n_ket;
        const double *bra_record, *bra_bound, *ket_record, *ket_bound;
        double       *mine = V + warp * S::NJ * S::LD;
        if (CB == CK && block * KS_WARP >= bra0 + NB) continue;
        __syncthreads(); /* the tile before is stored */
        ks_eri_load_places<CB, CK, NB, NM>(d, bra0, block * KS_WARP, M0, place);
        ks_eri_find(bra, KS_CLASS_TERM(CB), frame, q, &n_bra, &bra_record, &bra_bound);
        ks_eri_find(ket, KS_CLASS_TERM(CK), frame, block * KS_WARP + lane, &n_ket, &ket_record, &ket_bound);
        KS_UNROLL
        for (int b = 0; b < KS_CLASS_FN(CB); b++) {
            KS_UNROLL
            for (int f = 0; f < NF; f++) mine[b / S::NJ * STEP_I + b % S::NJ * S::LD + col[f]] = 0.0;
        }
        for (int p = 0; p < n_bra && ks_eri_any(bra_bound[p * KS_WARP], ket_bound[0]); p++) {
            double acc[NF][NH];
            KS_UNROLL
            for (int f = 0; f < NF; f++) {
                KS_UNROLL
                for (int h = 0; h < NH; h++) acc[f][h] = 0.0;
            }
            for (int s = 0; s < n_ket && ks_eri_any(bra_bound[p * KS_WARP], ket_bound[s * KS_WARP]); s++) {
                const double     *coef = ket_record + s * KET_STEP + KS_ERI_GEOM * KS_WARP;
                double            r[KS_N_HERMITE(L)], base[L + 1];
                const ks_eri_prim e = ks_eri_open<L>(bra_record + p * BRA_STEP, ket_record + s * KET_STEP, boys, base);
                ks_md_r(L, base, e.x, e.y, e.z, r);
                KS_UNROLL
                for (int f = 0; f < NF; f++) {
                    KS_UNROLL
                    for (int m = start[F0 + f]; m < start[F0 + f + 1]; m++)
                        ks_eri_shift_add<LB, 1>(term[m] & 15, term[m] >> 4 & 15, term[m] >> 8, coef[m * KS_WARP], r,
                                                acc[f]);
                }
            }
            KS_UNROLL
            for (int f = 0; f < NF; f++) ks_eri_bra_sign<LB>(acc[f]);
            ks_eri_to_bra<CB, NF, 0>(bra_record + p * BRA_STEP + KS_ERI_GEOM * KS_WARP, acc, STEP_I, S::LD, col, mine);
        }
        __syncthreads();
        ks_eri_write<CB, CK, NB, NM>(V, place, bra0, block * KS_WARP, ks_eri_slot(job, frame), job->ld);
    }
}

template <int CB, int CK, int NB, int NM, int PER_SM>
static __global__ void __launch_bounds__(NB *KS_WARP, PER_SM) eri_thread_k(ks_eri_device d, ks_eri_job job) {
    KS_SHARED_DYNAMIC(double, shared);
    enum { PARTS = (2 * KS_CLASS_LA(CK) + 1) / NM };
    if (PARTS == 1) ks_eri_thread_tiles<CB, CK, NB, 0, NM>(&d, &job, shared);
    else if (blockIdx.y == 0) ks_eri_thread_tiles<CB, CK, NB, 0, NM>(&d, &job, shared);
    else if (blockIdx.y == 1) ks_eri_thread_tiles<CB, CK, NB, (PARTS > 1 ? NM : 0), NM>(&d, &job, shared);
    else ks_eri_thread_tiles<CB, CK, NB, (PARTS > 2 ? 2 * NM : 0), NM>(&d, &job, shared);
}

template <int CB, int CK, int NB, int NM, int PER_SM>
static ks_status ks_eri_thread_launch(ks_cuda *cu, const ks_eri_device *d, const ks_eri_job *job) {
    typedef ks_eri_shape<CB, CK, NB, NM> S;
    ks_status                            st = KS_OK;
    const int     shared = (KS_ERI_BOYS(S::L) + S::V) * (int)sizeof(double) + S::PLACE * (int)sizeof(int);
    const int64_t n      = job->n_frame * ((d->c[CB].n_pair + NB - 1) / NB) * d->c[CK].n_block;
    auto         *kernel = eri_thread_k<CB, CK, NB, NM, PER_SM>;
    if (n == 0) goto done;
    KS_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
    KS_LAUNCH(kernel, dim3(ks_blocks(n, 1, (int64_t)PER_SM * cu->n_sm), (2 * KS_CLASS_LA(CK) + 1) / NM), NB * KS_WARP,
              (size_t)shared, cu->stream, *d, *job);
    KS_LAUNCHED(cu);
done:
    return st;
}
#endif
