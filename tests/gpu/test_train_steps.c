/* test_train_steps.c -- training on CUDA (or the launcher) against the CPU backend: water and HCN in one batch, 20 steps
 * from the same weights. And what a warm step may not do: allocate, wait, copy to the host before its result is asked
 * for; recorded passes and several streams change no bit.
 *
 * Bars, fp32 network: energies 1e-9 Ha at step 1 and 1e-7 after 20, the gradient of step 1 to 1e-5 relative. */
#include "../unit/train_data.h"
#include "op_driver.h"
#include "train/trainer_impl.h"
#ifdef KS_EMU
#include "launcher.h"
#endif

enum { STEPS = 20 };

typedef struct rig {
    ks_ctx      *ctx;
    ks_config    config;
    ks_run_data *data;
    ks_trainer  *trainer;
    double       energy[STEPS], norm[STEPS];
    double      *grad; /* of step 1 */
    int64_t      n;
} rig;

static void write_frames(const char *name) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", t_dir, name);
    FILE *f = fopen(path, "w");
    if (!f) exit(1);
    for (int k = 0; k < 6; k++) {
        double d[9];
        for (int i = 0; i < 9; i++) d[i] = 0.08 * (t_uniform((uint64_t)(9 * k + i)) - 0.5);
        if (k % 2 == 0)
            fprintf(f, "3\nwater\nO %.8f 0 %.8f\nH 0 %.8f %.8f\nH 0.01 %.8f %.8f\n", d[0], 0.12 + d[1], 0.76 + d[2],
                    -0.47 + d[3], -0.76 + d[4], -0.47 + d[5]);
        else
            fprintf(f, "3\nhydrogen cyanide\nH %.8f 0 %.8f\nC %.8f 0.01 %.8f\nN 0.02 %.8f %.8f\n", d[0], -1.07 + d[1],
                    d[2], d[3], d[4], 1.15 + d[5]);
    }
    fclose(f);
}

static void open_rig(rig *r, ks_ctx *ctx, int n_set, const char *const *set) {
    memset(r, 0, sizeof *r);
    r->ctx = ctx;
    t_config(&r->config, "frames.xyz", "[6, 0, 0]", n_set, set);
    T_OK(ks_run_data_open(&r->config, &r->data));
    T_OK(ks_trainer_create(r->ctx, NULL, &r->config, r->data, &r->trainer));
}

static void copy_flat(rig *r, char which, double **out) {
    ks_params   *p    = ks_model_params(ks_trainer_model(r->trainer));
    const size_t elem = ks_params_elem_bytes(p);
    void        *raw  = NULL;
    r->n              = ks_params_total(p);
    KS_FREE(*out);
    T_OK(ks_host_alloc(r->n, elem, &raw));
    T_OK(KS_NEW(*out, r->n));
    T_OK(ks_mem_to_host(r->ctx, raw, ks_params_flat(p, which), (size_t)r->n * elem));
    for (int64_t i = 0; i < r->n; i++) (*out)[i] = elem == 4 ? (double)((float *)raw)[i] : ((double *)raw)[i];
    ks_host_free(&raw);
}

static void train(rig *r, int steps) {
    ks_step_result s = {0};
    for (int k = 0; k < steps; k++) {
        T_OK(ks_trainer_step(r->trainer, &s));
        r->energy[k] = s.energy;
        r->norm[k]   = s.grad_norm;
        if (k == 0) copy_flat(r, 'g', &r->grad);
    }
}

static void close_rig(rig *r) {
    ks_trainer_destroy(&r->trainer);
    ks_run_data_close(&r->data);
    KS_FREE(r->grad);
}

static double relative(int64_t n, const double *a, const double *b) {
    double d = 0, big = 0;
    for (int64_t i = 0; i < n; i++) {
        d   = fabs(a[i] - b[i]) <= d ? d : fabs(a[i] - b[i]);
        big = fmax(big, fabs(b[i]));
    }
    return d / big;
}

static void against_cpu(ks_ctx *dev, ks_ctx *cpu, const char *precision, int steps, double limit_1, double limit_all,
                        double limit_gradient) {
    char              key[64];
    const char *const set[] = {key,
                               "method.xc=b3lyp5",
                               "model.frame=inertia",
                               "refine.kind=qpt",
                               "loss.commutator=0.1",
                               "model.layers=2",
                               "train.batch=6"};
    rig               a, b;
    snprintf(key, sizeof key, "model.precision=%s", precision);
    open_rig(&a, dev, 7, set);
    open_rig(&b, cpu, 7, set);
    train(&a, steps);
    train(&b, steps);
    const double first = fabs(a.energy[0] - b.energy[0]), g = relative(b.n, a.grad, b.grad);
    double       last = 0; /* energies are finite: the trainer refuses others */
    for (int k = 0; k < steps; k++) last = fmax(last, fabs(a.energy[k] - b.energy[k]));
    printf("%s: energy %.9f -> %.9f Ha; differences %.1e at step 1, at most %.1e; gradient %.1e\n", precision,
           b.energy[0], b.energy[steps - 1], first, last, g);
    T_CHECK(first <= limit_1, "%s: step 1 differs by %g Ha", precision, first);
    T_CHECK(last <= limit_all, "%s: energies of %d steps differ by up to %g Ha", precision, steps, last);
    T_CHECK(g <= limit_gradient, "%s: gradient of step 1 differs by %g of its largest element", precision, g);
    T_CHECK(b.energy[steps - 1] < b.energy[0], "training does not lower the energy");
    close_rig(&a);
    close_rig(&b);
}

/* The same run with recorded passes, once more, without, and on one stream: equal bits. */
static void repeatable(ks_ctx *dev) {
    static const char *const what[4] = {"", "two runs", "recorded and not", "several streams and one"};
    const char              *graphs  = "device.graphs=on";
    ks_ctx                  *single  = NULL;
    rig                      r[4];
    double                  *p[4] = {0};
    T_CHECK(setenv("KS_CUDA_STREAMS", "1", 1) == 0, "cannot set KS_CUDA_STREAMS");
    single = t_op_ctx(0);
    unsetenv("KS_CUDA_STREAMS");
    for (int k = 0; k < 4; k++) {
        const char *const set[] = {"refine.kind=qpt", "train.batch=6", k == 2 ? "device.graphs=off" : graphs};
        open_rig(&r[k], k == 3 ? single : dev, 3, set);
        train(&r[k], 6);
        copy_flat(&r[k], 'p', &p[k]);
    }
    for (int k = 1; k < 4; k++) {
        T_CHECK(!memcmp(p[0], p[k], (size_t)r[0].n * sizeof *p[0]), "%s: weights differ", what[k]);
        T_CHECK(!memcmp(r[0].energy, r[k].energy, 6 * sizeof(double)), "%s: energies differ", what[k]);
    }
    for (int k = 0; k < 4; k++) {
        close_rig(&r[k]);
        KS_FREE(p[k]);
    }
    ks_ctx_destroy(&single);
}

/* Steps of a resident pool, after the first few: queued without an allocation, and without a wait or a copy to the host
 * until the result is collected. */
static void warm_step(ks_ctx *dev, const char *graphs) {
    char              key[64];
    const char *const set[] = {"refine.kind=qpt", "train.batch=6", key};
    rig               r;
    ks_step_result    s;
    snprintf(key, sizeof key, "device.graphs=%s", graphs);
    open_rig(&r, dev, 3, set);
    train(&r, 4);
    const int64_t before = ks_alloc_count();
#ifdef KS_EMU
    const ks_emu_counts at = ks_emu_count();
#endif
    T_OK(ks_trainer_queue(r.trainer, NULL));
#ifdef KS_EMU
    const ks_emu_counts now = ks_emu_count();
    T_CHECK(now.allocations == at.allocations && now.frees == at.frees, "a warm step allocates or releases");
    T_CHECK(now.waits == at.waits && now.event_waits == at.event_waits, "a warm step waits %lld times",
            (long long)(now.waits - at.waits + now.event_waits - at.event_waits));
    T_CHECK(now.copies_out - at.copies_out <= 1, "a warm step copies %lld times to the host: only its result may",
            (long long)(now.copies_out - at.copies_out));
    printf("warm step, recordings %s: %lld launches, %lld recordings replayed, %lld uploads\n", graphs,
           (long long)(now.launches - at.launches), (long long)(now.graph_launches - at.graph_launches),
           (long long)(now.copies_in - at.copies_in));
    if (!strcmp(graphs, "on"))
        T_CHECK(now.graph_launches - at.graph_launches == 2,
                "%lld recordings replayed, 2 meant: the pass and the update",
                (long long)(now.graph_launches - at.graph_launches));
#endif
    T_CHECK(ks_alloc_count() == before, "a warm step makes %lld allocations", (long long)(ks_alloc_count() - before));
    T_OK(ks_trainer_queue(r.trainer, NULL)); /* a second one on its way */
    T_ERR(ks_trainer_queue(r.trainer, NULL), KS_ERR_ARG);
    T_CHECK(ks_trainer_pending(r.trainer) == 2, "two steps are on their way");
    for (int k = 0; k < 2; k++) {
        T_OK(ks_trainer_collect(r.trainer, &s));
        T_CHECK(s.step == 5 + k && isfinite(s.loss) && s.n_masked == 0, "step %lld: loss %g", (long long)s.step,
                s.loss);
    }
    close_rig(&r);
}

int main(int argc, char **argv) {
    ks_ctx *dev, *cpu;
    t_op_init(argc, argv);
    t_make_dir();
    write_frames("frames.xyz");
    dev = t_op_ctx(0);
    cpu = t_open("cpu", 0);
    against_cpu(dev, cpu, "fp64", 4, 1e-9, 1e-9, 1e-9);
    against_cpu(dev, cpu, "fp32", STEPS, 1e-9, 1e-7, 1e-5);
    repeatable(dev);
    warm_step(dev, "on");
    warm_step(dev, "off");
    ks_ctx_destroy(&dev);
    ks_ctx_destroy(&cpu);
    t_remove_dir();
    return t_done("train_steps", 40);
}
