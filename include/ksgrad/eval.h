/* eval.h -- metrics of predicted Hamiltonians against converged references, frames in micro-batches, the
 * evaluation of a model, and the gradient check of a whole step.  Definitions: src/README.md section 6.
 *
 * Energy, dipole and commutator of a prediction belong to its last density (the energy's); eps, psi and gap are
 * those of the Hamiltonian H that the refinement scheme reports. */
#ifndef KS_EVAL_H
#define KS_EVAL_H
#include "ksgrad/comm.h"
#include "ksgrad/geometry.h"
#include "ksgrad/loss.h"
#include "ksgrad/model.h"
#include "ksgrad/scf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- metrics ---- */

/* X(field, key in JSON and CSV, title in tables, unit) */
#define KS_METRIC_LIST(X)                                                                                              \
    X(energy, "energy_mae_meV", "energy MAE", "meV")                                                                   \
    X(h, "h_mae_uHa", "H MAE", "uHa")                                                                                  \
    X(eps_all, "eps_all_mae_uHa", "eps MAE, all orbitals", "uHa")                                                      \
    X(eps_occ, "eps_occ_mae_uHa", "eps MAE, occupied", "uHa")                                                          \
    X(psi, "psi_similarity_pct", "psi similarity, occupied", "%")                                                      \
    X(psi_s, "psi_overlap_pct", "psi overlap (S metric)", "%")                                                         \
    X(gap, "gap_mae_meV", "gap MAE", "meV")                                                                            \
    X(dipole, "dipole_mae_mD", "dipole MAE", "mD")                                                                     \
    X(cycles, "scf_cycles_mean", "SCF cycles from here", "")                                                           \
    X(cycles_minao, "scf_cycles_minao_mean", "SCF cycles from minao", "")                                              \
    X(commutator, "commutator_rms", "commutator rms", "Ha")

enum {
#define X(field, key, title, unit) KS_METRIC_##field,
    KS_METRIC_LIST(X)
#undef X
        KS_METRIC_COUNT
};

typedef struct ks_metric_info {
    const char *key, *title, *unit;
} ks_metric_info;
const ks_metric_info *ks_metric_get_info(int metric); /* NULL outside 0..KS_METRIC_COUNT-1 */

/* One frame's metrics. has[k] == 0: not computed (never: "bad"). A non-finite value stays one. */
typedef struct ks_metrics {
    double  value[KS_METRIC_COUNT];
    uint8_t has[KS_METRIC_COUNT];
} ks_metrics;

/* Running sums; the mean of a metric that no frame has is reported as not there. */
typedef struct ks_metrics_sum {
    double  sum[KS_METRIC_COUNT];
    int64_t n[KS_METRIC_COUNT];
} ks_metrics_sum;
void       ks_metrics_add(ks_metrics_sum *sum, const ks_metrics *frame);
ks_metrics ks_metrics_mean(const ks_metrics_sum *sum);

/* A closed-shell state of one frame, host memory, AO basis in PySCF order. */
typedef struct ks_state {
    double        energy;    /* Ha */
    double        dipole[3]; /* atomic units */
    const double *H;         /* (n, n) */
    const double *eps, *C;   /* (n), (n, n) columns: of (H, S), ascending */
} ks_state;

/* H C = S C eps with LAPACK's dsygvd; all (n, n) row-major host memory. Columns normalised C^T S C = 1. */
KS_NODISCARD ks_status ks_orbitals(int64_t n, const double *H, const double *S, double *eps, double *C);

/* All metrics but the SCF cycles and the commutator. The H, eps and psi errors are means over all n^2 elements, over
 * all n and over n_occ orbitals; H errors weigh both triangles as stored. psi    mean over occupied i of |c_i . c'_i| /
 * (|c_i| |c'_i|), the plain cosine of AO coefficient columns (the published definition of SchNOrb and QHNet) psi_s  the
 * same in the metric of the overlap, |c_i^T S c'_i|: what a physicist calls the overlap of two orbitals Orbitals are
 * paired by energy order: within a degenerate set the pairing is arbitrary, which lowers both. Nothing is done about
 * it, so that figures compare with published ones. n_occ == 0 or n_occ == n: no gap. The dipole error is the length of
 * the difference vector. */
KS_NODISCARD ks_status ks_metrics_frame(int64_t n, int64_t n_occ, const double *S, const ks_state *pred,
                                        const ks_state *ref, ks_metrics *out);

/* Root mean square of the elements of X^T (F P S - S P F) X; (n, n) host memory. */
KS_NODISCARD ks_status ks_commutator_rms(int64_t n, const double *F, const double *P, const double *S, const double *X,
                                         double *rms);

/* Dipole sum_a Z_a R_a - tr(P dip) in atomic units; dip (3, n, n), P (n, n), pos (n_atom, 3) host memory. */
void ks_dipole(int64_t n_atom, const int32_t *Z, const double *pos, int64_t n, const double *dip, const double *P,
               double out[3]);

/* ---- frames in micro-batches ---- */

/* Walks over frames in file order. Each chunk is as many consecutive frames as fit into memory (and at most
 * max_frames), grouped into segments by composition, with all geometry tensors built.
 *
 * Over several ranks, whole chunks are shared out: the costliest first, each to the rank with the least work so far, where
 * the work on a frame is taken to be in proportion to the memory of its tensors (both go with the two-electron integrals).
 * No frame is given twice. With the same options all ranks find the same shares by themselves. */
typedef struct ks_chunks ks_chunks;

typedef struct ks_chunk {
    const ks_batch *batch;
    int64_t         n_frame;
    const int64_t  *frame;         /* (n_frame) frame in the ks_frames of each batch position (segments reorder) */
    const int32_t  *segment;       /* (n_frame) its segment */
    const int32_t  *in_segment;    /* (n_frame) its position there */
    const int32_t  *file_order;    /* (n_frame) batch positions in the order of the file */
    double          build_seconds; /* wall time of ks_tensors_build */
} ks_chunk;

typedef struct ks_chunk_options {
    int64_t memory_bytes; /* 0: half of what the backend has available */
    int64_t max_frames;   /* 0: 32; on several ranks less where there are few frames, for equal shares */
    int64_t n_matrix;     /* (n_ao, n_ao) matrices that the caller's work needs per frame; 0: 64 (SCF, refinement) */
    int     rank, size;   /* chunks of this rank of so many; size 0: 1 */
    /* borrowed for ks_chunks_create only */
    const int64_t *number; /* (n_frame) what messages call the frames; NULL: 0, 1, ... */
    const double  *work;   /* (n_frame) work beside that on another frame of this composition; NULL: all alike */
} ks_chunk_options;

/* charge: total charge of every frame, or INT32_MIN for the frames' own. A frame that does not fit alone is
 * KS_ERR_NOMEM with both figures. Everything is borrowed. */
KS_NODISCARD ks_status ks_chunks_create(ks_ctx *ctx, const ks_basis *basis, const ks_frames *frames,
                                        const ks_method *method, int32_t charge, const ks_chunk_options *opt,
                                        ks_chunks **out);
void                   ks_chunks_destroy(ks_chunks **chunks);
/* The next chunk, valid until the next call; out->n_frame == 0 at the end. Errors name the frame. */
KS_NODISCARD ks_status ks_chunks_next(ks_chunks *chunks, ks_chunk *out);
/* Chunks of the rank that has fewest, and the share (0 to 1) of this rank's work that lies in the chunks it was given. */
int64_t ks_chunks_least(const ks_chunks *chunks);
double  ks_chunks_done(const ks_chunks *chunks);

/* System, number of occupied orbitals and per-frame views of the chunk's batch position k. */
const ks_tensors *ks_chunk_tensors(const ks_chunk *chunk, int64_t k, int32_t *slot);
int64_t           ks_chunk_mat_offset(const ks_chunk *chunk, int64_t k); /* of its matrix in a batch matrix */
int64_t           ks_chunk_vec_offset(const ks_chunk *chunk, int64_t k); /* of its orbitals in per-orbital data */

/* ---- evaluation ---- */

/* The rows of an evaluation: with the network; without it (W = 0) after the same refinement; without it after QPT's. */
enum { KS_EVAL_MODEL, KS_EVAL_NO_NETWORK, KS_EVAL_NO_NETWORK_QPT, KS_EVAL_ROWS };
const char *ks_eval_row_name(int row); /* "model", "no_network", "no_network_qpt" */

/* Somebody's H (n, n) of a frame (its place in the ks_frames), host memory; energy and dipole too when they are not
 * NULL. */
typedef ks_status (*ks_eval_source)(void *user, int64_t frame, int64_t n, double *H, double *energy, double *dipole);

typedef struct ks_eval_options {
    ks_refine_options refine;
    ks_scf_options    scf;        /* whose cycles are counted */
    ks_scf_options    label;      /* for references computed here; ks_label_defaults */
    int64_t           n_cycles;   /* count SCF cycles of the frames before this one; INT64_MAX: all, 0: none */
    ks_model         *model;      /* the first row: H0 = F0 + W of this network, or ... */
    ks_eval_source    prediction; /* ... H0 from here (energy, dipole not asked for); both NULL: no first row */
    ks_eval_source    reference;  /* NULL: converged here from minao */
    void             *prediction_user, *reference_user;
} ks_eval_options;

/* Tolerances of a reference: 1e-11 Ha, orbital gradient 1e-8, 100 cycles. They leave about 1e-11 Ha in E, 1e-8 Ha in H.
 */
ks_scf_options ks_label_defaults(void);

/* No pointers: ranks send it as it is. */
typedef struct ks_eval_frame {
    int64_t    frame; /* place in the ks_frames */
    ks_metrics row[KS_EVAL_ROWS];
    double     energy[KS_EVAL_ROWS], energy_ref;
    uint8_t    masked[KS_EVAL_ROWS];      /* the refinement met a gap below 1e-4 Ha, or a non-finite value */
    uint8_t    unconverged[KS_EVAL_ROWS]; /* the SCF from here, when counted, ended at max_cycle */
    uint8_t    has[KS_EVAL_ROWS];
    uint8_t    ref_converged;
} ks_eval_frame;

typedef struct ks_eval_seconds {
    double tensors, network, refine; /* wall time of the first row (without a network: of the second) */
} ks_eval_seconds;

/* Evaluates one chunk; frame (chunk->n_frame) in batch order, seconds are added to. The network works frame by frame: on
 * the CPU no bit of a frame's figures depends on which others are in the chunk. (Elsewhere a library may choose another
 * algorithm for another number of matrices, which costs the last digits of what it computes.) */
KS_NODISCARD ks_status ks_eval_chunk(ks_ctx *ctx, const ks_chunk *chunk, const ks_eval_options *opt,
                                     ks_eval_frame *frame, ks_eval_seconds *seconds);

/* Work on frame k in Fock builds, for ks_chunk_options.work: 8 to 60 of them, mostly by whether SCF cycles are counted. */
double ks_eval_work(const ks_eval_options *opt, int64_t k);

/* Memory to plan the chunks of a rank with: what is given, or (0) half of what its backend has available, on the CPU divided
 * by the number of ranks on this host; the least of all ranks. Collective. */
KS_NODISCARD ks_status ks_eval_memory(ks_ctx *ctx, ks_comm *comm, int64_t given, int64_t *bytes);

/* Frames that all ranks together have done; called on rank 0. */
typedef void (*ks_eval_progress)(void *user, int64_t done, int64_t all);

typedef struct ks_eval_time {
    ks_eval_seconds all;  /* of all ranks together */
    double          wall; /* from the first chunk to the last result on rank 0 */
} ks_eval_time;

/* Evaluates the chunks of every rank and collects their frames on rank 0, in at most 32 rounds so that no rank waits long:
 * there frame (n_frame) is in the order of the ks_frames, each exactly once or the call fails; elsewhere frame may be NULL
 * and nothing is written. Collective; chunks were made with rank and size of comm and equal options. */
KS_NODISCARD ks_status ks_eval_run(ks_ctx *ctx, ks_comm *comm, ks_chunks *chunks, const ks_eval_options *opt,
                                   int64_t n_frame, ks_eval_frame *frame, ks_eval_time *time, ks_eval_progress progress,
                                   void *user);

#ifdef __cplusplus
}
#endif
#endif
