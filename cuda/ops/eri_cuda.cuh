/* eri_cuda.cuh -- two-electron integrals on the device: tables, tiles of quartets and how their values reach the store.
 * Private to eri*.cu.
 *
 * McMurchie-Davidson as on the CPU (src/pointwise/eri_class.h): (ab|cd) = sum over primitive pairs of
 *   sum_h E_bra(h) (-1)^|h| sum_m E_ket(m) (p+q)^(-1/2) R_{h+m}(Q - P).
 * The sign is on the bra here, so that one record of a pair serves both sides.
 *
 * Pairs of a class are sorted by the contraction lengths of their shells, then I, then J, and cut into blocks of 32. A
 * tile is a few bra pairs of a class by one block of 32 ket pairs of another (or the same): the bra is uniform over a
 * warp, so that all lanes run the same loops; ket data are coalesced loads. Primitives of a pair are sorted by falling
 * bound; the loops over primitives end for a warp when no lane has a product of bounds above the threshold.
 *
 * Writing. Both (ij|kl) and (kl|ij) are stored. The values of a tile pass through shared memory: rows ij run over the
 * second shells of the bras, columns kl over those of the kets. Neighbouring threads write first neighbouring columns of
 * the rows ij, then neighbouring rows of the columns kl: runs of 3 to 60 doubles in both directions. Direct stores of
 * registers would need a memory transaction of 32 bytes for every 8-byte value of the transposed half, 40 M instead of
 * 12 M for uracil, about 0.2 ms more; a second pass that transposes the finished half reads and writes 616 MB, 0.14 ms
 * more. What remains of sectors that two tiles share meets in the L2 cache: neighbouring tiles run at the same time. */
#ifndef KS_ERI_CUDA_CUH
#define KS_ERI_CUDA_CUH
#include "integrals_cuda.cuh"
#include "pointwise/eri_pair.h"

#define KS_ERI_CUDA_THRESHOLD 1e-15 /* smallest product of primitive bounds that is computed, as on the CPU */
enum { KS_N_CLASS = 6, KS_WARP = 32 };

/* A class of shell pairs on the device. Records: (frames, n_row, 4 + terms, 32); a row is one primitive of the 32 pairs
 * of a block, p and P and Hermite coefficients times (2 pi^(5/2))^(1/2); pairs that have fewer are filled up with 0. */
typedef struct ks_eri_class_cuda {
    int32_t        n_pair, n_block, n_row;
    const int32_t *pair;   /* (n_pair, 2) shells I >= J in the order of the store */
    const int32_t *first;  /* (n_block + 1) first row of each block */
    const int32_t *row;    /* (n_row) block of each row */
    double        *record; /* scratch of the call */
    double        *bound;  /* (frames, n_row, 32) falling within a pair; 0 ends it */
} ks_eri_class_cuda;

typedef struct ks_eri_device {
    int32_t           n_atom;
    const ks_shell   *shell; /* (n_shell) in the order of the store, ao: first AO there */
    const double     *exponent, *coef;
    const double     *boys; /* all orders */
    ks_eri_class_cuda c[KS_N_CLASS];
} ks_eri_device;

struct ks_eri_tables_cuda {
    ks_eri_device     device; /* without scratch */
    ks_eri_order_cuda order;
    int32_t          *place;     /* = order.place_host */
    void             *memory[5]; /* backend memory */
    int               n_memory;
};

/* What the launches of a call share. */
typedef struct ks_eri_job {
    int64_t        n_frame; /* of this launch */
    const int32_t *slot;    /* NULL: first + frame */
    int64_t        first;
    double        *store;
    int64_t        n_pair, ld;
} ks_eri_job;

#ifdef __cplusplus
extern "C" {
#endif
/* Records and bounds of the job's frames; raw: (frames, sum of rows * functions, 32) of scratch. */
KS_NODISCARD ks_status ks_eri_pairs_cuda(ks_cuda *cu, const ks_eri_device *d, int64_t n_frame, const double *pos,
                                         double *raw);
/* The quartets of some classes into the store. */
KS_NODISCARD ks_status ks_eri_ss_cuda(ks_cuda *cu, const ks_eri_device *d, const ks_eri_job *job);
KS_NODISCARD ks_status ks_eri_ps_cuda(ks_cuda *cu, const ks_eri_device *d, const ks_eri_job *job);
KS_NODISCARD ks_status ks_eri_pp_cuda(ks_cuda *cu, const ks_eri_device *d, const ks_eri_job *job);
KS_NODISCARD ks_status ks_eri_dp_cuda(ks_cuda *cu, const ks_eri_device *d, const ks_eri_job *job);
KS_NODISCARD ks_status ks_eri_dd_cuda(ks_cuda *cu, const ks_eri_device *d, const ks_eri_job *job);
#ifdef __cplusplus
}
#endif

/* ---- device code ---- */

static __device__ __forceinline__ double *ks_eri_slot(const ks_eri_job *job, int64_t frame) {
    const int64_t slot = job->slot ? job->slot[frame] : job->first + frame;
    return job->store + slot * job->n_pair * job->ld;
}

/* 1 when some lane of the warp has a primitive quartet to compute. */
static __device__ __forceinline__ int ks_eri_any(double bra_bound, double ket_bound) {
    return __ballot_sync(0xffffffffu, bra_bound * ket_bound >= KS_ERI_CUDA_THRESHOLD) != 0;
}

/* Geometry of a primitive quartet with Q - P, and base[n] of the recursion (md_r.h); bra and ket: records of this lane,
 * 32 apart. */
template <int L>
static __device__ __forceinline__ ks_eri_prim ks_eri_open(const double *bra, const double *ket, const double *boys,
                                                          double (&base)[L + 1]) {
    double      b[KS_ERI_GEOM], k[KS_ERI_GEOM];
    ks_eri_prim e;
    KS_UNROLL
    for (int c = 0; c < KS_ERI_GEOM; c++) {
        b[c] = bra[c * KS_WARP];
        k[c] = ket[c * KS_WARP];
    }
    e = ks_eri_setup(b, k);
    ks_eri_base(L, boys, &e, base);
    e.x = -e.x;
    e.y = -e.y;
    e.z = -e.z;
    return e;
}

/* acc[h] += c R_{h + (t,u,v)} for all h of degree <= LB; entries of r are STRIDE apart. */
template <int LB, int STRIDE>
static __device__ __forceinline__ void ks_eri_shift_add(int t, int u, int v, double c, const double *r, double *acc) {
    KS_UNROLL
    for (int n = 0; n <= LB; n++) {
        KS_UNROLL
        for (int w = 0; w <= n; w++) {
            KS_UNROLL
            for (int z = 0; z <= w; z++)
                acc[ks_hermite_index(n - w, w - z, z)] += c * r[STRIDE * ks_hermite_index(t + n - w, u + w - z, v + z)];
        }
    }
}

/* (-1)^|h| */
template <int LB> static __device__ __forceinline__ void ks_eri_bra_sign(double *acc) {
    KS_UNROLL
    for (int h = 0; h < KS_N_HERMITE(LB); h++)
        if ((h >= 1 && h < 4) || (h >= 10 && h < 20)) acc[h] = -acc[h];
}

/* A tile: NB bra pairs from bra0, 32 ket pairs from ket0, all bra functions, the ket functions of NM components of the
 * ket's first shell from m0. Its values in shared memory:
 *   V[(mi * NB + bra) * NJ + mj][(m * 32 + lane) * NL + ml], rows of COLS + 1 doubles (odd: a column is read without
 * bank conflicts). Next to it the AO pair of each row and column; -1: not stored. */
template <int CB, int CK, int NB, int NM> struct ks_eri_shape {
    enum {
        NI    = 2 * KS_CLASS_LA(CB) + 1,
        NJ    = 2 * KS_CLASS_LB(CB) + 1,
        NL    = 2 * KS_CLASS_LB(CK) + 1,
        ROWS  = NI * NB * NJ,
        COLS  = NM * KS_WARP * NL,
        LD    = COLS + 1,
        V     = ROWS * LD, /* doubles */
        PLACE = ROWS + COLS,
        L     = KS_CLASS_L(CB) + KS_CLASS_L(CK)
    };
};

/* AO pair of components (m, n) of the shells of pair q; -1: no such pair, or the other half of a shell with itself. */
static __device__ __forceinline__ int ks_eri_ao_pair(const ks_eri_device *d, const ks_eri_class_cuda *c, int q, int m,
                                                     int n) {
    if (q >= c->n_pair) return -1;
    const int i = d->shell[c->pair[2 * q]].ao + m, j = d->shell[c->pair[2 * q + 1]].ao + n;
    return j <= i ? i * (i + 1) / 2 + j : -1;
}

template <int CB, int CK, int NB, int NM>
static __device__ __forceinline__ void ks_eri_load_places(const ks_eri_device *d, int bra0, int ket0, int m0,
                                                          int *place) {
    typedef ks_eri_shape<CB, CK, NB, NM> S;
    for (int e = (int)threadIdx.x; e < S::PLACE; e += (int)blockDim.x) {
        const int c = e - S::ROWS;
        place[e]    = e < S::ROWS ? ks_eri_ao_pair(d, &d->c[CB], bra0 + e / S::NJ % NB, e / (NB * S::NJ), e % S::NJ)
                                  : ks_eri_ao_pair(d, &d->c[CK], ket0 + c / S::NL % KS_WARP, m0 + c / (S::NL * KS_WARP),
                                                   c % S::NL);
    }
}

/* The tile into the store, rows first. Within a class each pair of pairs is stored by the bra of higher rank, and a
 * pair with itself by its lower triangle: no place is written twice. */
template <int CB, int CK, int NB, int NM>
static __device__ __forceinline__ void ks_eri_write(const double *V, const int *place, int bra0, int ket0,
                                                    double *store, int64_t ld) {
    typedef ks_eri_shape<CB, CK, NB, NM> S;
    const int                           *kl = place + S::ROWS;
    for (int r = (int)threadIdx.x / KS_WARP; r < S::ROWS; r += (int)blockDim.x / KS_WARP) {
        const int ij = place[r], q = bra0 + r / S::NJ % NB;
        double   *row = store + ij * ld;
        for (int c = (int)threadIdx.x % KS_WARP; c < S::COLS; c += KS_WARP) {
            const int k = ket0 + c / S::NL % KS_WARP;
            if (ij >= 0 && kl[c] >= 0 && (CB != CK || k < q || (k == q && kl[c] <= ij))) row[kl[c]] = V[r * S::LD + c];
        }
    }
    for (int e = (int)threadIdx.x; e < S::ROWS * S::COLS; e += (int)blockDim.x) {
        const int c = e / S::ROWS, r = e % S::ROWS, ij = place[r];
        const int q = bra0 + r / S::NJ % NB, k = ket0 + c / S::NL % KS_WARP;
        if (ij >= 0 && kl[c] >= 0 && (CB != CK || k < q || (k == q && kl[c] <= ij)))
            store[kl[c] * ld + ij] = V[r * S::LD + c];
    }
}

/* Place of the Hermite function of each term, and first term of each function, as constants of the compiler: loops over
 * the tables of eri_class.h would put acc into local memory for the long ones (dp, dd). */
#define KS_H(t, u, v)                                                                                                  \
    (((t) + (u) + (v)) * ((t) + (u) + (v) + 1) * ((t) + (u) + (v) + 2) / 6 + ((u) + (v)) * ((u) + (v) + 1) / 2 + (v)),
constexpr uint8_t ks_h_ss[] = {KS_TERMS_SS(KS_H)}, ks_h_ps[] = {KS_TERMS_PS(KS_H)}, ks_h_pp[] = {KS_TERMS_PP(KS_H)},
                  ks_h_ds[] = {KS_TERMS_DS(KS_H)}, ks_h_dp[] = {KS_TERMS_DP(KS_H)}, ks_h_dd[] = {KS_TERMS_DD(KS_H)};
constexpr uint16_t ks_f_ss[] = {KS_TERM_START_SS}, ks_f_ps[] = {KS_TERM_START_PS}, ks_f_pp[] = {KS_TERM_START_PP},
                   ks_f_ds[] = {KS_TERM_START_DS}, ks_f_dp[] = {KS_TERM_START_DP}, ks_f_dd[] = {KS_TERM_START_DD};
#undef KS_H
constexpr int ks_eri_term_h(int c, int k) {
    return c == 0   ? ks_h_ss[k]
           : c == 1 ? ks_h_ps[k]
           : c == 2 ? ks_h_pp[k]
           : c == 3 ? ks_h_ds[k]
           : c == 4 ? ks_h_dp[k]
                    : ks_h_dd[k];
}
constexpr int ks_eri_term_start(int c, int f) {
    return c == 0   ? ks_f_ss[f]
           : c == 1 ? ks_f_ps[f]
           : c == 2 ? ks_f_pp[f]
           : c == 3 ? ks_f_ds[f]
           : c == 4 ? ks_f_dp[f]
                    : ks_f_dd[f];
}
template <int C, int K> struct ks_eri_term {
    enum { H = ks_eri_term_h(C, K) };
};
/* (t, u, v) of place H */
constexpr int ks_eri_degree(int h) {
    int n = 0;
    while (KS_N_HERMITE(n) <= h) n++;
    return n;
}
constexpr int ks_eri_row(int h) { /* h: within its degree */
    int w = 0;
    while ((w + 1) * (w + 2) / 2 <= h) w++;
    return w;
}
template <int H> struct ks_eri_hermite {
    enum {
        N = ks_eri_degree(H),
        I = H - N * (N + 1) * (N + 2) / 6,
        W = ks_eri_row(I),
        V = I - W * (W + 1) / 2,
        T = N - W,
        U = W - V
    };
};
template <int C, int F> struct ks_eri_function {
    enum { FIRST = ks_eri_term_start(C, F), END = ks_eri_term_start(C, F + 1) };
};

template <int CB, int NF, int TERM, int END>
static __device__ __forceinline__ void
ks_eri_to_bra_terms(const double *coef, const double (&acc)[NF][KS_N_HERMITE(KS_CLASS_L(CB))], double (&s)[NF]) {
    if constexpr (TERM < END) {
        const double c = coef[TERM * KS_WARP];
        KS_UNROLL
        for (int f = 0; f < NF; f++) s[f] += c * acc[f][ks_eri_term<CB, TERM>::H];
        ks_eri_to_bra_terms<CB, NF, TERM + 1, END>(coef, acc, s);
    }
}

/* V[bra functions from B][f] += sum_terms E_bra acc[f] for the NF ket functions of a thread; coefficients 32 apart. */
template <int CB, int NF, int B>
static __device__ __forceinline__ void ks_eri_to_bra(const double *coef,
                                                     const double (&acc)[NF][KS_N_HERMITE(KS_CLASS_L(CB))], int step_i,
                                                     int step_j, const int (&col)[NF], double *V) {
    if constexpr (B < KS_CLASS_FN(CB)) {
        constexpr int nj = 2 * KS_CLASS_LB(CB) + 1;
        double       *v  = V + B / nj * step_i + B % nj * step_j, s[NF];
        KS_UNROLL
        for (int f = 0; f < NF; f++) s[f] = v[col[f]];
        ks_eri_to_bra_terms<CB, NF, ks_eri_function<CB, B>::FIRST, ks_eri_function<CB, B>::END>(coef, acc, s);
        KS_UNROLL
        for (int f = 0; f < NF; f++) v[col[f]] = s[f];
        ks_eri_to_bra<CB, NF, B + 1>(coef, acc, step_i, step_j, col, V);
    }
}

/* Where the records and bounds of pair q begin. */
static __device__ __forceinline__ void ks_eri_find(const ks_eri_class_cuda *c, int n_term, int64_t frame, int q,
                                                   int *n_row, const double **record, const double **bound) {
    const int64_t row = frame * c->n_row + c->first[q / KS_WARP];
    *n_row            = c->first[q / KS_WARP + 1] - c->first[q / KS_WARP];
    *record           = c->record + row * (KS_ERI_GEOM + n_term) * KS_WARP + q % KS_WARP;
    *bound            = c->bound + row * KS_WARP + q % KS_WARP;
}
#endif
