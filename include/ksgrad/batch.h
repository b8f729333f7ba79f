/* batch.h -- systems, pools of geometry tensors, segments, batches.
 *
 * ks_tensors: a pool with `capacity` slots; a slot holds everything that follows from one geometry. Built once
 * per geometry, used for all Fock builds of a step and for all visits of that geometry (train.reuse).
 * A segment is B slots of one pool, a batch a list of segments: one molecule is one segment of one frame, a
 * mixture of compositions several segments. Per-batch matrices ("batch matrices") are flat arrays: for segment
 * s, at offset ks_batch_mat_offset(batch, s), (B_s, n_spin, n_s, n_s). Per-frame scalars: (sum of B_s). */
#ifndef KS_BATCH_H
#define KS_BATCH_H
#include "ksgrad/grid.h"
#include "ksgrad/integrals.h"
#include "ksgrad/system.h"
#include "ksgrad/xc.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ks_guess { KS_GUESS_MINAO, KS_GUESS_CORE } ks_guess;

typedef struct ks_method {
    const ks_xc *xc;
    int          grid_level;
    ks_guess     guess;
    int          n_spin; /* 1 for now */
} ks_method;

typedef struct ks_tensors {
    ks_ctx          *ctx; /* borrowed */
    const ks_system *sys; /* borrowed */
    ks_method        method;
    int64_t          capacity;
    /* per slot; backend memory */
    double  *pos;               /* (cap, n_atom, 3) */
    double  *e_nuc;             /* (cap) */
    int32_t *n_occ;             /* (cap, n_spin) occupied orbitals */
    double  *S, *T, *V, *hcore; /* (cap, n, n) */
    double  *dip;               /* (cap, 3, n, n) */
    double  *S_half, *X;        /* (cap, n, n) S^1/2 and X = S^-1/2 (Loewdin) */
    double  *P0;                /* (cap, n_spin, n, n) initial guess */
    double  *JK0, *Vxc0, *F0;   /* (cap, n_spin, n, n) J - (a/2) K, Vxc and Fock matrix of P0 */
    double  *E0;                /* (cap) energy functional at P0 */
    ks_eri  *eri;
    ks_grid *grid;
    int32_t *n_occ_host; /* (cap, n_spin) host copy */
    int64_t  n_occ_max;  /* the largest number that was ever set */
    double  *guess_occ;  /* (n_guess, n_guess) diagonal matrix of the minao occupations */
} ks_tensors;

/* Electrons in an occupied orbital: 2 for closed shells. */
static inline double ks_method_occ(const ks_method *method) { return 2.0 / method->n_spin; }

KS_NODISCARD ks_status ks_tensors_create(ks_ctx *ctx, const ks_system *sys, const ks_method *method, int64_t capacity,
                                         ks_tensors **out);
void                   ks_tensors_destroy(ks_tensors **tensors);
KS_NODISCARD ks_status ks_tensors_bytes(ks_ctx *ctx, const ks_system *sys, const ks_method *method,
                                        int64_t *bytes_per_slot);
/* Fills slots from pos (n_frame, n_atom, 3) and charge (n_frame); slot, pos and charge are host memory; charge NULL:
 * neutral. An odd number of electrons is KS_ERR_UNSUPPORTED (open shells are not there yet). Geometries are uploaded,
 * everything else is made where the backend is; nothing waits. */
KS_NODISCARD ks_status ks_tensors_build(ks_tensors *tensors, int64_t n_frame, const int32_t *slot, const double *pos,
                                        const int32_t *charge);

typedef struct ks_segment {
    ks_tensors *tensors;
    int64_t     n_frame;
    int32_t    *slot; /* (n_frame) backend memory */
} ks_segment;

typedef struct ks_batch {
    int64_t     n_segment;
    ks_segment *segment;
} ks_batch;

int64_t ks_batch_n_frame(const ks_batch *batch);
int64_t ks_batch_mat_size(const ks_batch *batch); /* doubles in a batch matrix */
int64_t ks_batch_mat_offset(const ks_batch *batch, int64_t segment);
int64_t ks_batch_vec_size(const ks_batch *batch); /* doubles in per-orbital data: sum B n_spin n */
int64_t ks_batch_vec_offset(const ks_batch *batch, int64_t segment);
int64_t ks_batch_frame_offset(const ks_batch *batch, int64_t segment); /* index of a segment's first frame */
/* Gathers a per-slot array (e.g. tensors->F0) of every segment into a batch matrix. which: offset of the double*
 * member. */
KS_NODISCARD ks_status ks_batch_gather(ks_ctx *ctx, const ks_batch *batch, size_t member_offset, double *out);

#ifdef __cplusplus
}
#endif
#endif
