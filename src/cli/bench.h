/* bench.h -- what cmd_bench.c times: operations (bench_ops.c) on one batch of one composition. */
#ifndef KS_CLI_BENCH_H
#define KS_CLI_BENCH_H
#include "cli/work.h"
#include "ksgrad/linalg.h"
#include "ksgrad/optim.h"

typedef struct bench {
    ks_config      config;
    ks_method      method;
    ks_ctx        *ctx;
    ks_basis      *basis;
    ks_frames     *frames;
    int64_t       *index;
    ks_chunks     *chunks;
    ks_chunk       chunk;
    ks_tensors    *t;    /* the pool, refilled by the builds that are timed */
    int32_t       *slot; /* backend */
    const int32_t *slot_host;
    ks_occ         occ;
    double        *pos; /* host (B, n_atom, 3) */
    double        *b_pos;
    int64_t        n_frame, n, mat;
    double        *P, *F, *C, *C_occ, *eps, *J, *K, *E; /* backend */
    ks_model      *model;
    ks_refine     *refine;
    ks_loss       *loss;
    double        *W, *H0, *H0_bar;
    double        *terms, *state; /* backend: of the loss and of the optimiser */
    int64_t        step;
    int            scf_cycles;
} bench;

/* An operation: one run of it. before (may be NULL) is timed with it, but never recorded: it may copy from the host. */
typedef struct bench_op {
    const char *name, *group; /* group: "ops", "scf", "train" */
    const char *note;         /* which model of the work GFLOP/s and GB/s follow */
    ks_status (*before)(bench *b);
    ks_status (*run)(bench *b);
    int record;     /* run as a recording where the backend has them */
    int with_model; /* needs network, refinement and loss */
} bench_op;

/* Of one run: flops and bytes by the model that the note states, seconds on an H200 by the budget of cuda/README.md.
 * 0: no model. */
typedef struct bench_work {
    double flop, bytes, budget;
} bench_work;

extern const bench_op bench_ops[];
extern const int      bench_n_op;

/* Memory, orbitals and density of F0, the network; the batch is there. */
KS_NODISCARD ks_status bench_setup(bench *b, int with_model);
void                   bench_free(bench *b);
KS_NODISCARD ks_status bench_work_of(bench *b, const bench_op *op, bench_work *work);
/* What this machine reaches on the bench's backend: a matrix product and a copy (read and written). */
KS_NODISCARD ks_status bench_peak(bench *b, double *gflops, double *gbytes);
#endif
