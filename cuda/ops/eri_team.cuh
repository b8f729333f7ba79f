/* eri_team.cuh -- a block of warps for one bra pair and 32 kets: the classes with L = l_bra + l_ket from 5 on, whose R
 * does not fit into the registers of a thread. Private.
 *
 * Each warp has one ket function. For each primitive of the bra and up to NR of the ket: the first warps make R of one
 * ket primitive each, the degrees up to 4 of the recursion in registers and the rest in place in shared memory; then
 * every warp contracts R with the terms of its function, applies the bra coefficients and adds to its columns of V.
 *
 * The contraction is bound by shared memory: 8 bytes a lane for each product would keep the multipliers at a quarter of
 * their rate. For (dp|pp) and (dp|ds) each R_k is read once, in order of k, and used for all terms m with k = h + m, acc
 * and the coefficients of the function being in registers: 1.7 and 2.0 times fewer reads. That takes one body for each
 * function, chosen by the warp. The other classes have a bit mask that selects among bodies for each term, which serve
 * all functions: bodies for each of 15 or 25 functions would take minutes to compile and save 40 us a frame of uracil,
 * and next to the 35 sums of a dd bra the coefficients do not fit into the registers. */
#ifndef KS_ERI_TEAM_CUH
#define KS_ERI_TEAM_CUH
#include "eri_cuda.cuh"

enum { KS_ERI_R_MAX = 4 /* degree of R held in registers */ };

/* R, degrees up to L, of one primitive quartet into R[h * 32]. */
template <int L>
static __device__ __forceinline__ void ks_eri_make_r(const double *bra, const double *ket, const double *boys,
                                                     double *R) {
    enum { TOP = L < KS_ERI_R_MAX ? L : KS_ERI_R_MAX };
    double            base[L + 1], r[KS_N_HERMITE(TOP)];
    const ks_eri_prim e = ks_eri_open<L>(bra, ket, boys, base);
    ks_md_r(TOP, base + L - TOP, e.x, e.y, e.z, r);
    KS_UNROLL
    for (int h = 0; h < KS_N_HERMITE(TOP); h++) R[h * KS_WARP] = r[h];
    KS_UNROLL
    for (int n = L - TOP - 1; n >= 0; n--) {
        ks_md_r_sweep(L - n, 0, e.x, e.y, e.z, KS_WARP, R, NULL);
        R[0] = base[n];
    }
}

/* acc_{k - m} += c_m R_k for the terms from M on of a function, the first of which is FIRST. */
template <int LB, int CK, int FIRST, int END, int K, int M>
static __device__ __forceinline__ void ks_eri_use(double r, const double *c, double *acc) {
    if constexpr (M < END) {
        typedef ks_eri_hermite<K>                     k;
        typedef ks_eri_hermite<ks_eri_term<CK, M>::H> m;
        enum { T = k::T - m::T, U = k::U - m::U, V = k::V - m::V };
        if constexpr (T >= 0 && U >= 0 && V >= 0 && T + U + V <= LB) acc[ks_hermite_index(T, U, V)] += c[M - FIRST] * r;
        ks_eri_use<LB, CK, FIRST, END, K, M + 1>(r, c, acc);
    }
}

/* The same for R_k from K on. */
template <int LB, int CK, int F, int K>
static __device__ __forceinline__ void ks_eri_stream(const double *R, const double *c, double *acc) {
    if constexpr (K < KS_N_HERMITE(LB + KS_CLASS_L(CK))) {
        typedef ks_eri_function<CK, F> f;
        ks_eri_use<LB, CK, f::FIRST, f::END, K, f::FIRST>(R[K * KS_WARP], c, acc);
        ks_eri_stream<LB, CK, F, K + 1>(R, c, acc);
    }
}

/* acc[h] += sum_m E_ket(m) R_{h+m} of ket function f >= F; coef: its first term. */
template <int LB, int CK, int F>
static __device__ __forceinline__ void ks_eri_add_function(int f, const double *coef, const double *R, double *acc) {
    if constexpr (F < KS_CLASS_FN(CK)) {
        if (f == F) {
            enum { N = ks_eri_function<CK, F>::END - ks_eri_function<CK, F>::FIRST };
            double c[N];
            KS_UNROLL
            for (int m = 0; m < N; m++) c[m] = coef[m * KS_WARP];
            ks_eri_stream<LB, CK, F, 0>(R, c, acc);
        } else {
            ks_eri_add_function<LB, CK, F + 1>(f, coef, R, acc);
        }
    }
}

/* The same for all functions in one body: the terms are a subset of the Hermite functions of the class in their
 * order. */
template <int LB, int LK>
static __device__ __forceinline__ void ks_eri_add_terms(uint64_t mask, const double *coef, const double *R,
                                                        double *acc) {
    KS_UNROLL
    for (int n = 0; n <= LK; n++) {
        KS_UNROLL
        for (int w = 0; w <= n; w++) {
            KS_UNROLL
            for (int z = 0; z <= w; z++)
                if (mask >> ks_hermite_index(n - w, w - z, z) & 1) {
                    ks_eri_shift_add<LB, KS_WARP>(n - w, w - z, z, *coef, R, acc);
                    coef += KS_WARP;
                }
        }
    }
}

/* NM components of the ket's first shell, all of its second: NM * NL warps. NR: buffers for R. */
template <int CB, int CK, int NM, int NR, int PER_SM>
static __global__ void __launch_bounds__(NM *(2 * KS_CLASS_LB(CK) + 1) * KS_WARP, PER_SM)
    eri_team_k(ks_eri_device d, ks_eri_job job) {
    typedef ks_eri_shape<CB, CK, 1, NM> S;
    enum {
        L      = S::L,
        LB     = KS_CLASS_L(CB),
        LK     = KS_CLASS_L(CK),
        NH     = KS_N_HERMITE(LB),
        R_STEP = KS_N_HERMITE(L) * KS_WARP
    };
    enum {
        BRA_STEP = (KS_ERI_GEOM + KS_CLASS_TERM(CB)) * KS_WARP,
        KET_STEP = (KS_ERI_GEOM + KS_CLASS_TERM(CK)) * KS_WARP
    };
    KS_SHARED_DYNAMIC(double, shared);
    double                  *R = shared, *V = R + NR * R_STEP;
    int                     *place = (int *)(V + S::V);
    const ks_eri_class_cuda *bra = &d.c[CB], *ket = &d.c[CK];
    const double            *boys = d.boys + KS_BOYS_FIRST(L) * KS_BOYS_ROW;
    const int                lane = (int)threadIdx.x % KS_WARP, warp = (int)threadIdx.x / KS_WARP;
    const int                m0 = (int)blockIdx.y * NM, f = m0 * S::NL + warp; /* its function */
    const int                first  = ks_class_starts(CK)[f];
    const int                col[1] = {(warp / S::NL * KS_WARP + lane) * S::NL + warp % S::NL};
    const int64_t            n_tile = (int64_t)bra->n_pair * ket->n_block;
    uint64_t                 mask   = 0;
    for (int m = first; m < ks_class_starts(CK)[f + 1]; m++) mask |= (uint64_t)1 << ks_class_index(CK)[m];
    for (int64_t t = blockIdx.x; t < n_tile * job.n_frame; t += gridDim.x) {
        const int64_t frame = t / n_tile;
        const int     q = (int)(t % n_tile / ket->n_block), block = (int)(t % ket->n_block);
        int           n_bra, n_ket;
        const double *bra_record, *bra_bound, *ket_record, *ket_bound;
        if (CB == CK && block * KS_WARP > q) continue;
        __syncthreads(); /* the tile before is stored */
        ks_eri_load_places<CB, CK, 1, NM>(&d, q, block * KS_WARP, m0, place);
        ks_eri_find(bra, KS_CLASS_TERM(CB), frame, q, &n_bra, &bra_record, &bra_bound);
        ks_eri_find(ket, KS_CLASS_TERM(CK), frame, block * KS_WARP + lane, &n_ket, &ket_record, &ket_bound);
        for (int b = 0; b < KS_CLASS_FN(CB); b++) V[b * S::LD + col[0]] = 0.0;
        for (int p = 0; p < n_bra; p++) {
            const double  bound = bra_bound[p * KS_WARP];
            const double *bp    = bra_record + p * BRA_STEP;
            int           n     = 0; /* the same in all warps */
            while (n < n_ket && ks_eri_any(bound, ket_bound[n * KS_WARP])) n++;
            if (n == 0) break;
            for (int s0 = 0; s0 < n; s0 += NR) {
                double acc[1][NH];
                if (warp < NR && s0 + warp < n)
                    ks_eri_make_r<L>(bp, ket_record + (s0 + warp) * KET_STEP, boys, R + warp * R_STEP + lane);
                __syncthreads();
                KS_UNROLL
                for (int h = 0; h < NH; h++) acc[0][h] = 0.0;
                for (int s = 0; s < NR && s0 + s < n; s++) {
                    const double *coef = ket_record + (s0 + s) * KET_STEP + (KS_ERI_GEOM + first) * KS_WARP;
                    if constexpr (CB < 5 && CK < 4)
                        ks_eri_add_function<LB, CK, 0>(f, coef, R + s * R_STEP + lane, acc[0]);
                    else ks_eri_add_terms<LB, LK>(mask, coef, R + s * R_STEP + lane, acc[0]);
                }
                ks_eri_bra_sign<LB>(acc[0]);
                ks_eri_to_bra<CB, 1, 0>(bp + KS_ERI_GEOM * KS_WARP, acc, S::NJ * S::LD, S::LD, col, V);
                __syncthreads(); /* R is read */
            }
        }
        __syncthreads();
        ks_eri_write<CB, CK, 1, NM>(V, place, q, block * KS_WARP, ks_eri_slot(&job, frame), job.ld);
    }
}

template <int CB, int CK, int NM, int NR, int PER_SM>
static ks_status ks_eri_team_launch(ks_cuda *cu, const ks_eri_device *d, const ks_eri_job *job) {
    typedef ks_eri_shape<CB, CK, 1, NM> S;
    ks_status                           st      = KS_OK;
    const int                           threads = NM * S::NL * KS_WARP, parts = (2 * KS_CLASS_LA(CK) + 1) / NM;
    const int shared = (NR * KS_N_HERMITE(S::L) * KS_WARP + S::V) * (int)sizeof(double) + S::PLACE * (int)sizeof(int);
    const int64_t n  = job->n_frame * d->c[CB].n_pair * d->c[CK].n_block;
    auto         *kernel = eri_team_k<CB, CK, NM, NR, PER_SM>;
    if (n == 0) goto done;
    KS_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
    KS_LAUNCH(kernel, dim3(ks_blocks(n, 1, (int64_t)PER_SM * cu->n_sm), (unsigned)parts), (unsigned)threads,
              (size_t)shared, cu->stream, *d, *job);
    KS_LAUNCHED(cu);
done:
    return st;
}
#endif
