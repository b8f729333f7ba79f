/* test_trainer.c -- pool, accumulation, masks, mixtures, repeatability, no allocation in a warm step, validation,
 * resume. */
#include <sys/stat.h>
#include "train/pool.h"
#include "train_data.h"

static ks_ctx *make_ctx(int threads) {
    ks_ctx              *ctx = NULL;
    const ks_ctx_options opt = {.backend = "cpu", .threads = threads};
    T_OK(ks_ctx_create(&opt, &ctx));
    return ctx;
}

/* Weights and gradient of a trainer, as doubles. */
static double *flat(ks_trainer *t, char which, int64_t *n) {
    ks_params *p    = ks_model_params(ks_trainer_model(t));
    const int  is32 = ks_params_elem_bytes(p) == 4;
    double    *out  = NULL;
    *n              = ks_params_total(p);
    T_OK(KS_NEW(out, *n));
    for (int64_t i = 0; i < *n; i++)
        out[i] = is32 ? ((float *)ks_params_flat(p, which))[i] : ((double *)ks_params_flat(p, which))[i];
    return out;
}

/* Largest difference of two flat arrays over the largest element. */
static double differ(ks_trainer *a, ks_trainer *b, char which) {
    int64_t n, m;
    double *x = flat(a, which, &n), *y = flat(b, which, &m);
    double  d = 0, big = 0;
    T_CHECK(n == m, "%lld and %lld parameters", (long long)n, (long long)m);
    for (int64_t i = 0; i < n; i++) {
        d   = fmax(d, fabs(x[i] - y[i]));
        big = fmax(big, fabs(x[i]));
    }
    KS_FREE(x);
    KS_FREE(y);
    return d / big;
}

typedef struct rig {
    ks_ctx      *ctx;
    ks_config    config;
    ks_run_data *data;
    ks_trainer  *trainer;
} rig;

static void rig_open(rig *r, int threads, const char *file, const char *sizes, int n_set, const char *const *set) {
    memset(r, 0, sizeof *r);
    r->ctx = make_ctx(threads);
    t_config(&r->config, file, sizes, n_set, set);
    T_OK(ks_run_data_open(&r->config, &r->data));
    T_OK(ks_trainer_create(r->ctx, NULL, &r->config, r->data, &r->trainer));
}
static void rig_close(rig *r) {
    ks_trainer_destroy(&r->trainer);
    ks_run_data_close(&r->data);
    ks_ctx_destroy(&r->ctx);
}
static ks_step_result steps(rig *r, int n) {
    ks_step_result s = {0};
    for (int i = 0; i < n; i++) T_OK(ks_trainer_step(r->trainer, &s));
    return s;
}

/* ---- pool ---- */

static void test_pool(void) {
    enum { ENTRIES = 12, BATCH = 4, REUSE = 3, STEPS = 120, FRAMES = 30 };
    ks_config       c;
    ks_run_data    *data = NULL;
    ks_ctx         *ctx  = make_ctx(1);
    ks_pool        *p = NULL, *q = NULL;
    ks_method       method;
    ks_pool_options opt   = {ENTRIES, BATCH, 3, REUSE, 42};
    int64_t         built = 0, total = 0, visits[64] = {0}, word[256], back[256];
    int             repeated = 0, different = 0, most_built = 0;
    t_config(&c, "water.xyz", "[30, 2, 2]", 0, NULL);
    T_OK(ks_run_data_open(&c, &data));
    T_OK(ks_config_method(&c, &method));
    T_OK(ks_pool_create(ctx, data, &method, FRAMES, data->split->index[KS_PART_TRAIN], &opt, &p));
    T_CHECK(ks_pool_n_pass(p) == 2, "%lld passes", (long long)ks_pool_n_pass(p));
    for (int s = 0; s < STEPS; s++) {
        const int64_t *frames = NULL;
        int64_t        n      = 0;
        if (s == 50) { /* a second pool takes over the record */
            T_CHECK(ks_pool_n_word(p) < 256, "record");
            ks_pool_save(p, word);
            T_OK(ks_pool_create(ctx, data, &method, FRAMES, data->split->index[KS_PART_TRAIN], &opt, &q));
            T_OK(ks_pool_load(q, ks_pool_n_word(p), word));
            ks_pool_save(q, back);
            T_CHECK(!memcmp(word, back, (size_t)ks_pool_n_word(p) * sizeof word[0]), "record changes through a load");
        }
        T_OK(ks_pool_next(p, &built));
        total += built;
        if (s >= ENTRIES / BATCH && built > most_built)
            most_built = (int)built; /* the first sweep builds what it meets */
        const ks_batch *pass = ks_pool_pass(p, 0, &frames);
        n                    = ks_batch_n_frame(pass) + ks_batch_n_frame(ks_pool_pass(p, 1, NULL));
        repeated += n != BATCH;
        for (int i = 0; i < BATCH; i++) {
            visits[frames[i]]++;
            for (int j = 0; j < i; j++) repeated += frames[i] == frames[j];
        }
        if (q) {
            const int64_t *other = NULL;
            T_OK(ks_pool_next(q, &built));
            (void)ks_pool_pass(q, 0, &other);
            different += memcmp(other, frames, BATCH * sizeof other[0]) != 0;
            ks_pool_done(q);
        }
        ks_pool_done(p);
    }
    T_CHECK(repeated == 0, "a frame twice in a batch, or a batch of another size");
    T_CHECK(different == 0, "%d batches differ after a load", different);
    /* every step replaces batch / reuse frames in the mean, the first pool apart */
    T_CHECK(labs((long)total - (STEPS * BATCH / REUSE + ENTRIES / 2)) <= ENTRIES, "%lld geometries built",
            (long long)total);
    T_CHECK(most_built <= BATCH, "%d built in one step", most_built);
    /* 480 visits over 30 frames are 16 each; a walk of 3 visits at a time stays near */
    for (int f = 0; f < FRAMES; f++)
        T_CHECK(visits[f] >= 10 && visits[f] <= 22, "frame %d visited %lld times", f, (long long)visits[f]);
    word[4 + 1] = 1000000; /* the first entry's frame */
    T_ERR(ks_pool_load(q, ks_pool_n_word(p), word), KS_ERR_DATA);
    T_ERR(ks_pool_load(q, 3, word), KS_ERR_DATA);
    ks_pool_destroy(&p);
    ks_pool_destroy(&q);
    ks_run_data_close(&data);
    ks_ctx_destroy(&ctx);
}

/* ---- step ---- */

/* Two runs are bitwise equal; passes of another size and other thread counts agree to rounding of the fp64 network. */
static void test_repeatable(void) {
    const char *const set[]    = {"model.precision=fp64", "train.pool=8", "train.reuse=2", "loss.commutator=0.1"};
    const char *const passes[] = {"model.precision=fp64", "train.pool=8", "train.reuse=2", "loss.commutator=0.1",
                                  "train.micro_batch=1"};
    rig               a, b, c, d;
    rig_open(&a, 2, "water.xyz", "[20, 4, 4]", 4, set);
    rig_open(&b, 2, "water.xyz", "[20, 4, 4]", 4, set);
    rig_open(&c, 2, "water.xyz", "[20, 4, 4]", 5, passes);
    rig_open(&d, 1, "water.xyz", "[20, 4, 4]", 4, set);
    const ks_step_result ra = steps(&a, 1), rb = steps(&b, 1), rc = steps(&c, 1), rd = steps(&d, 1);
    T_CHECK(ks_trainer_plan(a.trainer)->n_pass == 1 && ks_trainer_plan(c.trainer)->n_pass == 4, "passes");
    T_CHECK(ra.loss == rb.loss && ra.grad_norm == rb.grad_norm, "two runs differ");
    T_CLOSE(ra.loss, rc.loss, 0, 1e-13); /* sums in another order */
    T_CLOSE(ra.loss, rd.loss, 0, 1e-13);
    T_CHECK(differ(a.trainer, c.trainer, 'g') < 1e-11, "gradient of four passes: %.3e",
            differ(a.trainer, c.trainer, 'g'));
    T_CHECK(differ(a.trainer, d.trainer, 'g') < 1e-11, "gradient of one thread: %.3e",
            differ(a.trainer, d.trainer, 'g'));
    steps(&a, 6);
    steps(&b, 6);
    T_CHECK(differ(a.trainer, b.trainer, 'p') == 0, "weights of two runs after 7 steps");
    rig_close(&a);
    rig_close(&b);
    rig_close(&c);
    rig_close(&d);
}

/* The mean over frames that count: masked ones change nothing but their number. */
static void test_masked(void) {
    /* hydrogen pulled apart has no gap: three waters and one such frame against the three waters alone */
    const double      apart[] = {60, 61, 62};
    const char *const four[]  = {"model.precision=fp64"};
    const char *const three[] = {"model.precision=fp64", "train.batch=3"};
    rig               a, b, c;
    ks_step_result    s;
    t_write_xyz("one.xyz", 3, 1, apart);
    t_write_xyz("three.xyz", 3, 0, NULL);
    t_write_xyz("many.xyz", 1, 3, apart);
    rig_open(&a, 2, "one.xyz", "[4, 0, 0]", 1, four);
    rig_open(&b, 2, "three.xyz", "[3, 0, 0]", 2, three);
    const ks_step_result ra = steps(&a, 1), rb = steps(&b, 1);
    T_CHECK(ra.n_masked == 1 && ra.n_frame == 4 && ra.min_gap < 1e-4, "%lld masked, gap %.3g", (long long)ra.n_masked,
            ra.min_gap);
    T_CHECK(rb.n_masked == 0, "%lld masked", (long long)rb.n_masked);
    T_CLOSE(ra.loss, rb.loss, 0, 1e-12);
    T_CLOSE(ra.grad_norm, rb.grad_norm, 0, 1e-10);
    T_CHECK(ra.grad_norm > 1e-6 && differ(a.trainer, b.trainer, 'm') < 1e-10, "first moments %.3e",
            differ(a.trainer, b.trainer, 'm'));
    rig_close(&a);
    rig_close(&b);
    rig_open(&c, 2, "many.xyz", "[4, 0, 0]", 1, four);
    T_ERR(ks_trainer_step(c.trainer, &s), KS_ERR_NUMERIC);
    T_CHECK(strstr(ks_error_message(), "3 of 4 frames"), "%s", ks_error_message());
    rig_close(&c);
}

/* Water and hydrogen in one step. */
static void test_mixture(void) {
    const double      length[] = {0.7, 0.75, 0.8, 0.72};
    const char *const set[]    = {"model.precision=fp64", "model.frame=inertia"};
    rig               mix;
    t_write_xyz("mix.xyz", 4, 4, length);
    rig_open(&mix, 2, "mix.xyz", "[8, 0, 0]", 2, set);
    T_CHECK(mix.data->n_system == 2 && ks_model_n_reference(ks_trainer_model(mix.trainer)) == 2, "%lld systems",
            (long long)mix.data->n_system);
    const ks_step_result r = steps(&mix, 2); /* one sweep: all eight frames once */
    T_CHECK(r.n_masked == 0 && isfinite(r.loss) && r.loss < -0.5 && r.loss > -80, "loss %g", r.loss);
    rig_close(&mix);
}

static void test_no_allocation(void) {
    const char *const pool[]     = {"train.pool=8", "train.reuse=2", "refine.kind=cdiis", "refine.steps=3"};
    const char *const resident[] = {"train.micro_batch=2", "loss.self_consistency=0.1"};
    rig               a;
    rig_open(&a, 2, "water.xyz", "[20, 4, 4]", 4, pool);
    T_CHECK(!ks_trainer_plan(a.trainer)->is_resident && ks_trainer_plan(a.trainer)->pool == 8, "pool");
    steps(&a, 3);
    int64_t before = ks_alloc_count();
    steps(&a, 6);
    T_CHECK(ks_alloc_count() == before, "%lld allocations in 6 warm steps with a moving pool",
            (long long)(ks_alloc_count() - before));
    rig_close(&a);
    rig_open(&a, 2, "water.xyz", "[20, 4, 4]", 2, resident);
    T_CHECK(ks_trainer_plan(a.trainer)->is_resident, "resident");
    steps(&a, 3);
    before                 = ks_alloc_count();
    const ks_step_result s = steps(&a, 6);
    T_CHECK(ks_alloc_count() == before, "%lld allocations in 6 warm steps", (long long)(ks_alloc_count() - before));
    T_CHECK(s.n_built == 0, "a resident geometry is built once");
    rig_close(&a);
}

/* ---- validation, learning, resume ---- */

/* gain: what 60 steps lower the energy of held-out frames by. */
static void test_learning(const char *precision, double *gain) {
    const char *const set[] = {"optim.lr=3e-3", "optim.warmup=5", "eval.refine.kind=none", "model.d_model=32",
                               precision};
    rig               a, b;
    ks_valid_result   first, last, again;
    int               best = 0;
    char              ckpt[128], dir[256];
    rig_open(&a, 2, "water.xyz", "[20, 8, 4]", 5, set);
    T_OK(ks_trainer_validate(a.trainer, &first, &best));
    T_CHECK(best == 1 && first.n_frame == 8 && first.n_masked == 0, "first validation");
    T_CLOSE(first.energy, first.energy_no_network, 1e-9, 0); /* a new network writes W = 0 */
    steps(&a, 60);
    T_OK(ks_trainer_validate(a.trainer, &last, &best));
    T_CHECK(best == 1 && last.energy < first.energy - 1e-3, "60 steps gain %.3g Ha on held-out frames",
            first.energy - last.energy);
    T_CHECK(last.commutator_rms < first.commutator_rms, "commutator %.3g -> %.3g", first.commutator_rms,
            last.commutator_rms);
    T_OK(ks_trainer_validate(a.trainer, &again, &best));
    T_CHECK(best == 0 && again.energy == last.energy, "validation is repeatable");
    *gain = first.energy - last.energy;

    /* a checkpoint in another trainer goes on to the same bits */
    snprintf(ckpt, sizeof ckpt, "%s/%s", t_dir, precision);
    T_CHECK(mkdir(ckpt, 0777) == 0, "cannot make %s", ckpt);
    T_OK(ks_trainer_save(a.trainer, ckpt, "version: 1\n", "test"));
    snprintf(dir, sizeof dir, "%s/step_00000060", ckpt);
    rig_open(&b, 2, "water.xyz", "[20, 8, 4]", 5, set);
    T_OK(ks_trainer_load(b.trainer, dir));
    T_CHECK(ks_trainer_steps_done(b.trainer) == 60 && ks_trainer_best_step(b.trainer) == 60, "state");
    steps(&a, 5);
    const ks_step_result s = steps(&b, 5);
    T_CHECK(s.step == 65 && differ(a.trainer, b.trainer, 'p') == 0 && differ(a.trainer, b.trainer, 'v') == 0,
            "resume is not bitwise equal");
    T_ERR(ks_trainer_load(b.trainer, dir), KS_ERR_ARG);
    rig_close(&b);
    rig_open(&b, 2, "water.xyz", "[19, 8, 4]", 5, set); /* another split */
    T_ERR(ks_trainer_load(b.trainer, dir), KS_ERR_DATA);
    rig_close(&a);
    rig_close(&b);
}

/* A validation set that does not fit into memory is rebuilt in parts: the same energy. */
static void test_small_memory(void) {
    const char *const set[] = {"train.micro_batch=4"};
    rig               a, b;
    ks_valid_result   all, parts;
    int               best;
    char              memory[64];
    rig_open(&a, 1, "water.xyz", "[20, 8, 4]", 1, set);
    const ks_train_plan *p = ks_trainer_plan(a.trainer);
    T_CHECK(p->valid_pool == 8, "all validation geometries fit");
    const double least = (double)(p->param_bytes + 4 * (p->activation_bytes + p->work_bytes) + 6 * p->slot_bytes);
    snprintf(memory, sizeof memory, "device.memory_gib=%.12f", least / 1073741824);
    const char *const tight[] = {"train.micro_batch=4", memory};
    rig_open(&b, 1, "water.xyz", "[20, 8, 4]", 2, tight);
    T_CHECK(ks_trainer_plan(b.trainer)->valid_pool < 8 && ks_trainer_plan(b.trainer)->pool < 20,
            "tight plan: %lld and %lld", (long long)ks_trainer_plan(b.trainer)->valid_pool,
            (long long)ks_trainer_plan(b.trainer)->pool);
    T_CHECK(ks_trainer_plan(b.trainer)->total_bytes <= ks_trainer_plan(b.trainer)->budget_bytes,
            "the plan exceeds its budget");
    for (int k = 0; k < 2; k++) {
        T_OK(ks_trainer_validate(a.trainer, &all, &best));
        T_OK(ks_trainer_validate(b.trainer, &parts, &best));
        T_CLOSE(all.energy, parts.energy, 0, 1e-14); /* the same frames in passes of another size */
    }
    rig_close(&a);
    rig_close(&b);
}

int main(void) {
    double single = 0, half = 0;
    t_make_dir();
    t_write_xyz("water.xyz", 34, 0, NULL);
    test_pool();
    test_repeatable();
    test_masked();
    test_mixture();
    test_no_allocation();
    test_learning("model.precision=fp32", &single);
    test_learning("model.precision=bf16", &half);
    printf("60 steps gain %.6f Ha in fp32, %.6f in bf16\n", single, half);
    T_CHECK(half != single && fabs(half - single) <= 0.05 * single, "bf16 learns otherwise than fp32");
    test_small_memory();
    t_remove_dir();
    return t_done("trainer", 250);
}
