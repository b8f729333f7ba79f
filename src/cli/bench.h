/* bench.h -- what cmd_bench.c times: operations (bench_ops.c) on one batch of one composition; on several ranks the
 * training step (bench_ranks.c) and what connects them (bench_comm.c). */
#ifndef KS_CLI_BENCH_H
#define KS_CLI_BENCH_H
#include "cli/work.h"
#include "ksgrad/linalg.h"
#include "ksgrad/optim.h"
#include "train/reducer.h"

typedef struct bench_args {
    const char    *group, *geometry, *frames, *only, *json, *sizes; /* frames NULL: the default */
    ks_method_args method;
    int64_t        repeat, warmup;
} bench_args;

typedef struct bench {
    ks_config      config;
    ks_method      method;
    ks_ctx        *ctx; /* borrowed */
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
    int64_t        n_global;                            /* frames of the step on all ranks */
    double        *P, *F, *C, *C_occ, *eps, *J, *K, *E; /* backend */
    ks_model      *model;
    ks_reducer    *reducer; /* borrowed; NULL: one rank */
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

/* Config from the command line: defaults, the published training step, short forms, --set. */
KS_NODISCARD ks_status bench_config(const bench_args *a, ks_config *config);
/* Frames of the command line as one batch (those of this rank's share; comm NULL: all), memory, orbitals and density
 * of F0, the network; config and ctx are there. */
KS_NODISCARD ks_status bench_open(bench *b, const bench_args *a, const ks_comm *comm, int with_model);
/* bench_open's last part, from the batch on. */
KS_NODISCARD ks_status bench_setup(bench *b, int with_model);
void                   bench_free(bench *b);
/* The number-th run of an operation: directly the first time, then as the recording of the second, where there are
 * any. */
KS_NODISCARD ks_status bench_run(bench *b, const bench_op *op, int64_t number, ks_graph **graph);
int                    bench_is_wanted(const bench_args *a, const bench_op *op);
double                 bench_median(int64_t n, double *v); /* sorts v */
KS_NODISCARD ks_status bench_work_of(bench *b, const bench_op *op, bench_work *work);
/* What this machine reaches on the bench's backend: a matrix product and a copy (read and written). */
KS_NODISCARD ks_status bench_peak(bench *b, double *gflops, double *gbytes);

/* bench comm: the ranks' connections. An exit code. */
int bench_comm(const bench_args *a);
/* bench train on several ranks: how a step scales. */
KS_NODISCARD ks_status bench_ranks(const bench_args *a, const ks_config *config, ks_comm *comm, ks_ctx *ctx);
#endif
