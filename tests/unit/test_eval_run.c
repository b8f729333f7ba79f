/* test_eval_run.c -- chunks of mixed compositions, evaluation of perfect, shifted and broken predictions, gradient
 * checks. */
#include <string.h>
#include "ks_test.h"
#include "ksgrad/eval.h"
#include "ksgrad/gradcheck.h"

enum { N_FRAME = 5, N_ATOM = 12 };
static int64_t   g_off[N_FRAME + 1] = {0, 2, 5, 7, 9, 12}; /* H2, H2O, H2, H2, H2O */
static int32_t   g_Z[N_ATOM]        = {1, 1, 8, 1, 1, 1, 1, 1, 1, 8, 1, 1}, g_charge[N_FRAME];
static double    g_pos[3 * N_ATOM]  = {0, 0, 0,   0, 0.1, 1.4, 0,   0, 0.2, 0, 1.4, -0.9, 0.1, -1.45, -0.85, 0, 0,    0,
                                       0, 0, 1.5, 0, 0,   0,   0.2, 0, 1.3, 0, 0,   0.25, 0,   1.5,   -0.8,  0, -1.4, -0.9};
static ks_frames g_frames           = {(char[]){"test"}, N_FRAME, g_off, g_Z, g_pos, g_charge, NULL, NULL, ""};

typedef struct set_up {
    ks_ctx   *ctx;
    ks_basis *basis;
    ks_method method;
} set_up;

static void open_set_up(set_up *s) {
    const ks_ctx_options opt = {.backend = "cpu",
                                .threads = 1}; /* many tiny operations: threads only wait for each other */
    T_OK(ks_ctx_create(&opt, &s->ctx));
    T_OK(ks_basis_load("sto-3g", &s->basis));
    s->method = (ks_method){NULL, 0, KS_GUESS_MINAO, 1};
    T_OK(ks_xc_find("b3lyp5", &s->method.xc));
}

/* Every frame once, in file order over chunks, at the place in the batch that the chunk says. */
static void test_chunks(const set_up *s) {
    for (int64_t most = 1; most <= 6; most += 2) {
        const ks_chunk_options opt  = {.max_frames = most};
        ks_chunks             *c    = NULL;
        int64_t                next = 0;
        ks_chunk               chunk;
        T_OK(ks_chunks_create(s->ctx, s->basis, &g_frames, &s->method, INT32_MIN, &opt, &c));
        for (;;) {
            T_OK(ks_chunks_next(c, &chunk));
            if (chunk.n_frame == 0) break;
            T_CHECK(chunk.n_frame <= most, "%lld frames", (long long)chunk.n_frame);
            T_CHECK(ks_batch_n_frame(chunk.batch) == chunk.n_frame, "batch size");
            for (int64_t j = 0; j < chunk.n_frame; j++, next++) {
                const int64_t     k    = chunk.file_order[j];
                int32_t           slot = -1;
                const ks_tensors *t    = ks_chunk_tensors(&chunk, k, &slot);
                T_CHECK(chunk.frame[k] == next, "frame %lld, expected %lld", (long long)chunk.frame[k],
                        (long long)next);
                T_CHECK(t->sys->n_atom == g_off[next + 1] - g_off[next], "composition");
                T_CHECK(
                    !memcmp(t->pos + slot * t->sys->n_atom * 3, g_pos + 3 * g_off[next], (size_t)t->sys->n_atom * 24),
                    "positions");
                T_CHECK(ks_batch_frame_offset(chunk.batch, chunk.segment[k]) + chunk.in_segment[k] == k,
                        "batch position");
            }
        }
        T_CHECK(next == N_FRAME, "%lld frames", (long long)next);
        ks_chunks_destroy(&c);
    }
    ks_chunks             *c       = NULL;
    const int64_t          names[] = {10, 20, 30, 40, 50};
    const ks_chunk_options little = {.memory_bytes = 1000, .number = names}, numbered = {.number = names};
    T_ERR(ks_chunks_create(s->ctx, s->basis, &g_frames, &s->method, INT32_MIN, &little, &c), KS_ERR_NOMEM);
    T_ERR(ks_chunks_create(s->ctx, s->basis, &g_frames, &s->method, 1, NULL, &c), KS_ERR_UNSUPPORTED);
    g_charge[3] = -1;
    T_ERR(ks_chunks_create(s->ctx, s->basis, &g_frames, &s->method, INT32_MIN, &numbered, &c), KS_ERR_UNSUPPORTED);
    T_CHECK(strstr(ks_error_message(), "frame 40") != NULL, "%s", ks_error_message());
    g_charge[3]       = 0;
    const double kept = g_pos[3 * 10 + 1];
    g_pos[3 * 10 + 1] = 0;
    g_pos[3 * 10 + 2] = 0.25;
    T_ERR(ks_chunks_create(s->ctx, s->basis, &g_frames, &s->method, INT32_MIN, &numbered, &c), KS_ERR_DATA);
    T_CHECK(strstr(ks_error_message(), "frame 50") && strstr(ks_error_message(), "atoms 0 and 1"), "%s",
            ks_error_message());
    g_pos[3 * 10 + 1] = kept;
    g_pos[3 * 10 + 2] = -0.8;
    T_CHECK(c == NULL, "left behind");
}

/* Over any number of ranks, every frame is one rank's, and the shares add up to all of the work. */
static void test_shares(const set_up *s) {
    for (int size = 1; size <= 7; size++) {
        int64_t seen[N_FRAME] = {0}, fewest = N_FRAME, said = -1;
        for (int rank = 0; rank < size; rank++) {
            const ks_chunk_options opt = {.max_frames = 2, .rank = rank, .size = size};
            ks_chunks             *c   = NULL;
            int64_t                n   = 0;
            ks_chunk               chunk;
            double                 done = 0;
            T_OK(ks_chunks_create(s->ctx, s->basis, &g_frames, &s->method, INT32_MIN, &opt, &c));
            said = ks_chunks_least(c);
            for (;; n++) {
                T_OK(ks_chunks_next(c, &chunk));
                if (chunk.n_frame == 0) break;
                T_CHECK(ks_chunks_done(c) > done && ks_chunks_done(c) <= 1 + 1e-12, "done %g after %g",
                        ks_chunks_done(c), done);
                done = ks_chunks_done(c);
                for (int64_t k = 0; k < chunk.n_frame; k++) seen[chunk.frame[k]]++;
            }
            T_CLOSE(ks_chunks_done(c), 1.0, 1e-12, 0); /* rounding of a sum of shares */
            if (n < fewest) fewest = n;
            ks_chunks_destroy(&c);
        }
        for (int k = 0; k < N_FRAME; k++)
            T_CHECK(seen[k] == 1, "frame %d of %d ranks: %d times", k, size, (int)seen[k]);
        T_CHECK(said == fewest, "%d ranks: at least %d chunks, %d said", size, (int)fewest, (int)said);
    }
    ks_chunks             *c  = NULL;
    const ks_chunk_options no = {.rank = 2, .size = 2};
    T_ERR(ks_chunks_create(s->ctx, s->basis, &g_frames, &s->method, INT32_MIN, &no, &c), KS_ERR_ARG);
}

typedef struct oracle {
    double F[N_FRAME][64], energy[N_FRAME], dipole[N_FRAME][3];
    double shift;     /* added to the diagonal of F */
    int    nan_frame; /* this one's H is NaN */
} oracle;

static ks_status oracle_H(void *user, int64_t frame, int64_t n, double *H, double *energy, double *dipole) {
    const oracle *o = user;
    memcpy(H, o->F[frame], (size_t)(n * n) * sizeof *H);
    if (!energy) /* asked as a prediction */
        for (int64_t i = 0; i < n; i++) H[i * n + i] += o->nan_frame == frame ? (double)NAN : o->shift;
    if (energy) *energy = o->energy[frame];
    if (dipole) memcpy(dipole, o->dipole[frame], sizeof o->dipole[frame]);
    return KS_OK;
}

/* The converged Fock matrices of all frames, in one batch of two segments. */
static void converge(const set_up *s, oracle *o) {
    ks_chunks           *c   = NULL;
    const ks_scf_options opt = ks_label_defaults();
    double              *F   = NULL;
    ks_scf_frame         f[N_FRAME];
    ks_chunk             chunk;
    T_OK(ks_chunks_create(s->ctx, s->basis, &g_frames, &s->method, INT32_MIN, NULL, &c));
    T_OK(ks_chunks_next(c, &chunk));
    T_OK(KS_NEW(F, ks_batch_mat_size(chunk.batch)));
    T_OK(ks_scf_run(s->ctx, chunk.batch, &opt, NULL, NULL, F, NULL, NULL, NULL, f));
    for (int64_t k = 0; k < chunk.n_frame; k++) {
        const int64_t n = ks_chunk_tensors(&chunk, k, NULL)->sys->n_ao, frame = chunk.frame[k];
        T_CHECK(f[k].converged, "frame %lld", (long long)frame);
        memcpy(o->F[frame], F + ks_chunk_mat_offset(&chunk, k), (size_t)(n * n) * sizeof *F);
        memcpy(o->dipole[frame], f[k].dipole, sizeof f[k].dipole);
        o->energy[frame] = f[k].energy;
    }
    KS_FREE(F);
    ks_chunks_destroy(&c);
}

static void evaluate(const set_up *s, const ks_eval_options *opt, ks_eval_frame *frame) {
    ks_chunks      *c       = NULL;
    ks_eval_seconds seconds = {0};
    ks_chunk        chunk;
    T_OK(ks_chunks_create(s->ctx, s->basis, &g_frames, &s->method, INT32_MIN, NULL, &c));
    T_OK(ks_chunks_next(c, &chunk));
    T_CHECK(chunk.n_frame == N_FRAME && chunk.batch->n_segment == 2, "one chunk of two segments");
    ks_eval_frame batch[N_FRAME];
    T_OK(ks_eval_chunk(s->ctx, &chunk, opt, batch, &seconds));
    for (int64_t k = 0; k < chunk.n_frame; k++) frame[batch[k].frame] = batch[k];
    T_CHECK(seconds.tensors > 0 && seconds.refine > 0 && seconds.network == 0, "times");
    ks_chunks_destroy(&c);
}

static void test_evaluation(const set_up *s) {
    static oracle   o = {.nan_frame = -1};
    ks_eval_frame   f[N_FRAME];
    ks_eval_options opt = {.refine          = {KS_REFINE_NONE, 1},
                           .scf             = ks_scf_defaults(),
                           .label           = ks_label_defaults(),
                           .n_cycles        = INT64_MAX,
                           .prediction      = oracle_H,
                           .reference       = oracle_H,
                           .prediction_user = &o,
                           .reference_user  = &o};
    converge(s, &o);
    evaluate(s, &opt, f);
    for (int k = 0; k < N_FRAME; k++) {
        const double *m = f[k].row[KS_EVAL_MODEL].value, *none = f[k].row[KS_EVAL_NO_NETWORK].value;
        T_CHECK(f[k].has[0] && f[k].has[1] && f[k].has[2] && f[k].ref_converged && !f[k].masked[0], "frame %d", k);
        T_CLOSE(m[KS_METRIC_energy], 0, 1e-6, 0); /* labels: 1e-11 Ha = 3e-7 meV */
        T_CLOSE(m[KS_METRIC_h], 0, 0.05, 0);      /* gradient 1e-8 */
        T_CLOSE(m[KS_METRIC_psi], 100, 1e-6, 0);
        T_CLOSE(m[KS_METRIC_psi_s], 100, 1e-6, 0);
        T_CLOSE(m[KS_METRIC_dipole], 0, 1e-3, 0);
        T_CLOSE(m[KS_METRIC_commutator], 0, 1e-7, 0);
        T_CHECK(m[KS_METRIC_cycles] <= 3 && m[KS_METRIC_cycles] <= none[KS_METRIC_cycles_minao],
                "frame %d: %g cycles, minao %g", k, m[KS_METRIC_cycles], none[KS_METRIC_cycles_minao]);
        /* No network: one step from minao is far from convergence for water (H2's two orbitals are fixed by symmetry).
         */
        if (g_off[k + 1] - g_off[k] < 3) continue;
        T_CHECK(m[KS_METRIC_cycles] < none[KS_METRIC_cycles_minao], "cycles");
        T_CHECK(none[KS_METRIC_h] > 10, "frame %d: no network has an H error of %g uHa", k, none[KS_METRIC_h]);
        T_CHECK(none[KS_METRIC_energy] > 0.1, "frame %d: energy error %g meV", k, none[KS_METRIC_energy]);
    }
    /* references converged here instead: the same to their tolerance */
    ks_eval_frame g[N_FRAME];
    opt.reference = NULL;
    opt.n_cycles  = 0;
    evaluate(s, &opt, g);
    for (int k = 0; k < N_FRAME; k++) {
        T_CLOSE(g[k].energy_ref, f[k].energy_ref, 1e-10, 0);
        T_CLOSE(g[k].row[1].value[KS_METRIC_h], f[k].row[1].value[KS_METRIC_h], 0.05, 0);
        T_CHECK(!g[k].row[0].has[KS_METRIC_cycles] && !g[k].row[0].has[KS_METRIC_cycles_minao],
                "cycles were not asked for");
    }
    /* one frame's prediction is NaN: that frame is NaN in every metric, masked, and the others are untouched */
    o.nan_frame = 3;
    evaluate(s, &opt, g);
    T_CHECK(g[3].masked[0] && isnan(g[3].row[0].value[KS_METRIC_h]) && g[3].row[0].has[KS_METRIC_h],
            "a NaN prediction");
    T_CHECK(!g[3].masked[1] && isfinite(g[3].row[1].value[KS_METRIC_h]), "its row without network");
    for (int k = 0; k < N_FRAME; k++)
        if (k != 3) T_CLOSE(g[k].row[0].value[KS_METRIC_psi], 100, 1e-6, 0);
}

static int  g_n_progress;
static void progress(void *user, int64_t done, int64_t all) {
    int64_t *last = user;
    T_CHECK(done > *last && done <= all && all == N_FRAME, "%lld of %lld frames", (long long)done, (long long)all);
    *last = done;
    g_n_progress++;
}

static void run_in_chunks(const set_up *s, const ks_eval_options *opt, int64_t most, ks_eval_frame *frame) {
    const ks_chunk_options how  = {.max_frames = most};
    ks_chunks             *c    = NULL;
    int64_t                last = 0;
    ks_eval_time           time;
    g_n_progress = 0;
    T_OK(ks_chunks_create(s->ctx, s->basis, &g_frames, &s->method, INT32_MIN, &how, &c));
    T_OK(ks_eval_run(s->ctx, NULL, c, opt, N_FRAME, frame, &time, progress, &last));
    T_CHECK(last == N_FRAME && g_n_progress >= 1 && g_n_progress <= (N_FRAME + most - 1) / most, "%d rounds",
            g_n_progress);
    T_CHECK(time.all.tensors > 0 && time.all.network > 0 && time.wall > time.all.tensors, "times");
    ks_chunks_destroy(&c);
}

/* A whole evaluation with a network in fp32: figures do not depend, in any bit, on which frames share a chunk; SCF cycles
 * are those of exactly the first frames; a frame too many or too few is an error. */
static void test_run(const set_up *s) {
    const ks_model_options net = {.kind      = "qpt",
                                  .d_model   = 32,
                                  .heads     = 2,
                                  .layers    = 2,
                                  .frame     = KS_FRAME_NONE,
                                  .precision = KS_FP32,
                                  .n_ao_kind = 64};
    ks_eval_options        opt = {
               .refine = {KS_REFINE_QPT, 3}, .scf = ks_scf_defaults(), .label = ks_label_defaults(), .n_cycles = INT64_MAX};
    ks_eval_frame one[N_FRAME], f[N_FRAME];
    int           n_equal = 0, n_cycles = 0;
    T_OK(ks_model_create(s->ctx, &net, 3, &opt.model));
    for (int64_t k = 0; k < ks_params_count(ks_model_params(opt.model)); k++) { /* the head starts at zero: W too */
        const ks_param *p = ks_params_get(ks_model_params(opt.model), k);
        float          *x = ks_params_data(ks_model_params(opt.model), k);
        for (int64_t i = 0; i < p->size; i++) x[i] += 0.02f * sinf((float)(i + 7 * k));
    }
    run_in_chunks(s, &opt, 1, one);
    for (int64_t most = 2; most <= N_FRAME; most++) {
        opt.n_cycles = most; /* less than a chunk, or not a multiple of it */
        run_in_chunks(s, &opt, most == 4 ? 3 : most, f);
        for (int k = 0; k < N_FRAME; k++) {
            T_CHECK(f[k].frame == k && f[k].ref_converged && f[k].energy_ref == one[k].energy_ref, "frame %d", k);
            for (int row = 0; row < KS_EVAL_ROWS; row++)
                for (int m = 0; m < KS_METRIC_COUNT; m++) {
                    const int counts = m == KS_METRIC_cycles || m == KS_METRIC_cycles_minao;
                    n_cycles += counts && f[k].row[row].has[m];
                    if (counts)
                        T_CHECK(f[k].row[row].has[m] == (k < most), "frame %d of the first %d: cycles %d", k, (int)most,
                                f[k].row[row].has[m]);
                    if (!f[k].row[row].has[m]) continue;
                    T_CHECK(f[k].row[row].value[m] == one[k].row[row].value[m],
                            "frame %d row %d metric %d: %.17g, %.17g", k, row, m, f[k].row[row].value[m],
                            one[k].row[row].value[m]);
                    n_equal++;
                }
        }
    }
    T_CHECK(n_cycles == (2 + 3 + 4 + 5) * KS_EVAL_ROWS * 2 && n_equal > n_cycles, "%d of %d", n_cycles, n_equal);
    T_CHECK(one[1].row[KS_EVAL_MODEL].value[KS_METRIC_h] != one[1].row[KS_EVAL_NO_NETWORK].value[KS_METRIC_h],
            "the network does nothing");

    ks_chunks    *c = NULL;
    ks_eval_time  time;
    ks_eval_frame more[N_FRAME + 1];
    for (int off = -1; off <= 1; off += 2) {
        T_OK(ks_chunks_create(s->ctx, s->basis, &g_frames, &s->method, INT32_MIN, NULL, &c));
        T_ERR(ks_eval_run(s->ctx, NULL, c, &opt, N_FRAME + off, more, &time, NULL, NULL), KS_ERR_COMM);
        T_CHECK(strstr(ks_error_message(), off < 0 ? "not among" : "5 of 6 frames"), "%s", ks_error_message());
        ks_chunks_destroy(&c);
    }
    int64_t bytes = 0;
    T_OK(ks_eval_memory(s->ctx, NULL, 12345, &bytes));
    T_CHECK(bytes == 12345, "%lld bytes", (long long)bytes);
    T_OK(ks_eval_memory(s->ctx, NULL, 0, &bytes));
    T_CHECK(bytes > 0 && bytes <= ks_mem_available(s->ctx), "%lld bytes", (long long)bytes);
    ks_model_destroy(&opt.model);
}

typedef struct seen {
    int    n;
    double worst;
} seen;
static void report(void *user, const ks_gradcheck_stage *stage) {
    seen *s = user;
    s->n++;
    s->worst = t_worse(s->worst, stage->max_error);
    if (getenv("KS_TEST_VERBOSE"))
        printf("%-10s %.1e %.15g %.15g\n", stage->name, stage->max_error, stage->adjoint, stage->difference);
    T_CHECK(stage->max_error < 1e-6, "stage %s: %.2e (%.12g against %.12g)", stage->name, stage->max_error,
            stage->adjoint, stage->difference);
}
static void report_planted(void *user, const ks_gradcheck_stage *stage) {
    seen *s = user;
    s->n++;
    T_CHECK(stage->max_error > 1e-6, "stage %s passed with a planted error: %.2e", stage->name, stage->max_error);
}

static void test_gradcheck(const set_up *s) {
    ks_chunks                 *c   = NULL;
    const ks_loss_weights      all = {1, 1, 1, 1, 1};
    const ks_refine_options    qpt = {KS_REFINE_QPT, 3}, none = {KS_REFINE_NONE, 1};
    const ks_gradcheck_options opt = {1, 7, 0}, planted = {1, 7, 3e-6};
    seen                       ok = {0}, bad = {0};
    double                     worst = 0;
    ks_chunk                   chunk;
    T_OK(ks_chunks_create(s->ctx, s->basis, &g_frames, &s->method, INT32_MIN, NULL, &c));
    T_OK(ks_chunks_next(c, &chunk));
    T_OK(ks_gradcheck_run(s->ctx, chunk.batch, &qpt, &all, NULL, &opt, report, &ok, &worst));
    T_CHECK(ok.n == 6 && worst == ok.worst && worst > 0, "%d stages, worst %.1e", ok.n, worst);
    T_OK(ks_gradcheck_run(s->ctx, chunk.batch, &none, &all, NULL, &planted, report_planted, &bad, &worst));
    T_CHECK(bad.n == 6, "%d stages", bad.n);
    printf("gradcheck without network: worst relative error %.1e\n", ok.worst);
    ks_chunks_destroy(&c);
}

int main(void) {
    set_up s = {0};
    open_set_up(&s);
    test_chunks(&s);
    test_shares(&s);
    test_evaluation(&s);
    test_run(&s);
    test_gradcheck(&s);
    ks_basis_destroy(&s.basis);
    ks_ctx_destroy(&s.ctx);
    return t_done("eval_run", 900);
}
