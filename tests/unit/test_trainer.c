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

enum { MAX_RANK = 5, MAX_BATCH = 16, MAX_WORD = 512 };

typedef struct pools { /* of all ranks of a run, in one process */
    int64_t  n, batch;
    ks_pool *rank[MAX_RANK];
    int64_t  built, built_most; /* in the last step: by all ranks, by the one that built most */
    int64_t  frame[MAX_BATCH];  /* of the last step, in rank order */
    int64_t  n_pass;            /* of all ranks together */
    int64_t  most, least;       /* frames of a rank */
} pools;

static void pools_open(pools *p, ks_ctx *ctx, const ks_run_data *data, int64_t n_rank, int64_t n_entry, int64_t batch,
                       int64_t micro_batch, int64_t reuse) {
    ks_method method;
    ks_config c;
    memset(p, 0, sizeof *p);
    T_OK(ks_config_defaults(&c));
    snprintf(c.method.xc, sizeof c.method.xc, "lda");
    T_OK(ks_config_method(&c, &method));
    p->n = n_rank, p->batch = batch;
    for (int64_t r = 0; r < n_rank; r++) {
        const ks_pool_options opt = {n_entry,     batch, reuse, batch * r / n_rank, batch * (r + 1) / n_rank,
                                     micro_batch, 42};
        T_OK(ks_pool_create(ctx, data, &method, data->split->n[KS_PART_TRAIN], data->split->index[KS_PART_TRAIN], &opt,
                            &p->rank[r]));
    }
}
static void pools_close(pools *p) {
    for (int64_t r = 0; r < p->n; r++) ks_pool_destroy(&p->rank[r]);
}

/* Draws a batch on all ranks. Every rank holds its own frames' geometries and no others. */
static void pools_next(pools *p, const ks_run_data *data) {
    int64_t n = 0, built = 0;
    p->n_pass = p->most = p->built = p->built_most = 0;
    p->least                                       = p->batch;
    for (int64_t r = 0; r < p->n; r++) {
        int64_t own = 0, first = n;
        T_OK(ks_pool_next(p->rank[r], &built));
        p->built += built;
        p->built_most = built > p->built_most ? built : p->built_most;
        p->n_pass += ks_pool_n_pass(p->rank[r]);
        for (int64_t q = 0; q < ks_pool_n_pass(p->rank[r]); q++) {
            const int64_t  *frames = NULL;
            const ks_batch *pass   = ks_pool_pass(p->rank[r], q, &frames);
            for (int64_t s = 0, at = 0; s < pass->n_segment; s++)
                for (int64_t i = 0; i < pass->segment[s].n_frame; i++, at++) {
                    const ks_segment *g      = &pass->segment[s];
                    const int64_t     atoms3 = 3 * g->tensors->sys->n_atom;
                    T_CHECK(n < p->batch, "more frames than the batch has");
                    p->frame[n++] = frames[at];
                    T_CHECK(g->tensors->sys == data->system[data->frame_system[frames[at]]], "frame %lld: composition",
                            (long long)frames[at]);
                    T_CHECK(!memcmp(g->tensors->pos + g->slot[i] * atoms3,
                                    data->frames->pos + 3 * data->frames->atom_off[frames[at]],
                                    (size_t)atoms3 * sizeof(double)),
                            "frame %lld: another geometry in its slot", (long long)frames[at]);
                }
        }
        own      = n - first;
        p->most  = own > p->most ? own : p->most;
        p->least = own < p->least ? own : p->least;
    }
    T_CHECK(n == p->batch, "%lld of %lld frames", (long long)n, (long long)p->batch);
}
static void pools_done(pools *p) {
    for (int64_t r = 0; r < p->n; r++) ks_pool_done(p->rank[r]);
}
/* All ranks keep the same record. */
static int64_t pools_save(const pools *p, int64_t *word) {
    int64_t other[MAX_WORD];
    T_CHECK(ks_pool_n_word(p->rank[0]) <= MAX_WORD, "record");
    ks_pool_save(p->rank[0], word);
    for (int64_t r = 1; r < p->n; r++) {
        ks_pool_save(p->rank[r], other);
        T_CHECK(!memcmp(word, other, (size_t)ks_pool_n_word(p->rank[0]) * sizeof *word), "record of rank %lld",
                (long long)r);
    }
    return ks_pool_n_word(p->rank[0]);
}

static int ascending(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void open_data(const char *file, const char *sizes, ks_run_data **data) {
    static ks_config c;
    t_config(&c, file, sizes, 0, NULL);
    T_OK(ks_run_data_open(&c, data));
}

/* Which frames are visited how often, and what is built. */
static void test_pool(void) {
    enum { ENTRIES = 12, BATCH = 4, REUSE = 3, STEPS = 120, FRAMES = 30 };
    ks_run_data *data = NULL;
    ks_ctx      *ctx  = make_ctx(1);
    pools        p;
    int64_t      total = 0, visits[FRAMES] = {0}, balance[FRAMES] = {0}, word[MAX_WORD];
    int          repeated = 0, most_built = 0;
    open_data("water.xyz", "[30, 2, 2]", &data);
    pools_open(&p, ctx, data, 1, ENTRIES, BATCH, 3, REUSE);
    T_CHECK(ks_pool_n_pass(p.rank[0]) == 2, "%lld passes", (long long)ks_pool_n_pass(p.rank[0]));
    pools_save(&p, word); /* behind the head and one composition: frame and visits of each entry */
    for (int e = 0; e < ENTRIES; e++) balance[word[7 + 2 * e]] += word[8 + 2 * e];
    for (int s = 0; s < STEPS; s++) {
        pools_next(&p, data);
        total += p.built;
        if (s >= ENTRIES / BATCH && p.built > most_built)
            most_built = (int)p.built; /* the first sweep builds what it meets */
        for (int i = 0; i < BATCH; i++) {
            const int64_t f = p.frame[i];
            for (int j = 0; j < i; j++) repeated += f == p.frame[j];
            visits[f]++;
        }
        pools_done(&p);
    }
    T_CHECK(repeated == 0, "a frame twice in a batch");
    /* every step replaces batch / reuse frames in the mean, the first pool apart */
    T_CHECK(labs((long)total - (STEPS * BATCH / REUSE + ENTRIES / 2)) <= ENTRIES, "%lld geometries built",
            (long long)total);
    /* Once the first sweep and its staggered visits are over, at most the share of 4 / 3 and what cannot wait. */
    T_CHECK(most_built <= 3, "%d built in one step", most_built);
    printf("at most %d built in a step, %.2f in the mean\n", most_built, (double)total / STEPS);
    /* 480 visits over 30 frames are 16 each; a walk of 3 visits at a time stays near */
    for (int f = 0; f < FRAMES; f++)
        T_CHECK(visits[f] >= 10 && visits[f] <= 22, "frame %d visited %lld times", f, (long long)visits[f]);
    /* whoever has left has been visited exactly REUSE times in each of its stays */
    pools_save(&p, word);
    for (int e = 0; e < ENTRIES; e++) balance[word[7 + 2 * e]] -= word[8 + 2 * e];
    for (int f = 0; f < FRAMES; f++)
        T_CHECK((visits[f] + balance[f]) % REUSE == 0, "frame %d: %lld visits in stays of %d", f,
                (long long)(visits[f] + balance[f]), REUSE);

    /* records that are refused: a frame that is not there, too short, the first version, another batch */
    const int64_t n = pools_save(&p, word);
    word[7]         = 1000000; /* the first entry's frame */
    T_ERR(ks_pool_load(p.rank[0], n, word), KS_ERR_DATA);
    T_ERR(ks_pool_load(p.rank[0], 3, word), KS_ERR_DATA);
    word[0] = ENTRIES;
    T_CHECK(ks_pool_is_like(p.rank[0], n, word), "an old record is for load to refuse");
    T_ERR(ks_pool_load(p.rank[0], n, word), KS_ERR_DATA);
    T_CHECK(strstr(ks_error_message(), "an earlier version"), "%s", ks_error_message());
    pools_save(&p, word);
    word[2] = BATCH + 1;
    T_CHECK(!ks_pool_is_like(p.rank[0], n, word), "another batch is another pool");
    T_ERR(ks_pool_load(p.rank[0], n, word), KS_ERR_DATA);
    pools_close(&p);
    ks_run_data_close(&data);
    ks_ctx_destroy(&ctx);
}

/* A resident pool whose size the batch does not divide: a sweep leaves out the same number of frames each time, but not
 * the same frames. */
static void test_pool_resident(void) {
    enum { FRAMES = 14, BATCH = 4, SWEEPS = 40, STEPS = 3 * SWEEPS };
    ks_run_data *data = NULL;
    ks_ctx      *ctx  = make_ctx(1);
    pools        p;
    int64_t      visits[FRAMES] = {0}, total = 0;
    open_data("water.xyz", "[14, 2, 2]", &data);
    pools_open(&p, ctx, data, 2, FRAMES, BATCH, 4, 5);
    for (int s = 0; s < STEPS; s++) {
        int64_t before[FRAMES];
        memcpy(before, visits, sizeof before);
        pools_next(&p, data);
        total += p.built;
        for (int i = 0; i < BATCH; i++) visits[p.frame[i]]++;
        for (int f = 0; f < FRAMES; f++) T_CHECK(visits[f] <= s / 3 + 1, "frame %d twice in a sweep", f);
        pools_done(&p);
    }
    T_CHECK(total == FRAMES, "%lld geometries built, each once meant", (long long)total);
    /* lanes of 4, 4, 3 and 3: 8 frames sit out every fourth sweep in the mean, 10 times of 40, deviation 2.7 */
    for (int f = 0; f < FRAMES; f++)
        T_CHECK(visits[f] >= 40 - 22 && visits[f] <= 40, "frame %d visited %lld times", f, (long long)visits[f]);
    pools_close(&p);
    ks_run_data_close(&data);
    ks_ctx_destroy(&ctx);
}

/* The same frames in every step on any number of ranks, whatever the passes, and after a record went from one number of
 * ranks to another. */
static void test_pool_ranks(const char *file, const char *sizes, int64_t n_entry, int64_t batch, int64_t reuse) {
    enum { STEPS = 40 };
    ks_run_data *data = NULL;
    ks_ctx      *ctx  = make_ctx(1);
    pools        one, p[MAX_RANK + 1], taken;
    int64_t      word[MAX_WORD], want[MAX_BATCH], have[MAX_BATCH], total[MAX_RANK + 1] = {0}, built[MAX_RANK + 1] = {0},
                                                                               n_word;
    int different = 0, lost = 0;
    open_data(file, sizes, &data);
    pools_open(&one, ctx, data, 1, n_entry, batch, batch, reuse);
    for (int64_t n = 2; n <= MAX_RANK; n++) pools_open(&p[n], ctx, data, n, n_entry, batch, 1 + n % 2, reuse);
    for (int s = 0; s < STEPS; s++) {
        pools_next(&one, data);
        memcpy(want, one.frame, sizeof want);
        qsort(want, (size_t)batch, sizeof *want, ascending);
        for (int64_t n = 2; n <= MAX_RANK; n++) {
            pools_next(&p[n], data);
            T_CHECK(p[n].most - p[n].least <= 1, "shares of %lld and %lld frames", (long long)p[n].least,
                    (long long)p[n].most);
            built[n] += p[n].built;
            total[n] += p[n].n_pass;
            memcpy(have, p[n].frame, sizeof have);
            qsort(have, (size_t)batch, sizeof *have, ascending);
            different += memcmp(want, have, (size_t)batch * sizeof *have) != 0;
            pools_done(&p[n]);
        }
        built[1] += one.built;
        pools_done(&one);
        if (s % 13 != 12) continue;
        /* from 1 to 3, from 3 to 2, from 2 to 4 ranks ... */
        const int64_t from = s % 2 ? 3 : 2, to = s % 2 ? 2 : 4;
        n_word = pools_save(&p[from], word);
        pools_open(&taken, ctx, data, to, n_entry, batch, 2, reuse);
        for (int64_t r = 0; r < to; r++) T_OK(ks_pool_load(taken.rank[r], n_word, word));
        int64_t again[MAX_WORD];
        T_CHECK(pools_save(&taken, again) == n_word && !memcmp(word, again, (size_t)n_word * sizeof *word),
                "a record changes through a load");
        for (int k = 0; k < 3; k++) { /* beside a fresh pool on one rank that has loaded the same */
            pools single;
            if (k == 0) pools_next(&taken, data), lost += taken.built == 0;
            pools_open(&single, ctx, data, 1, n_entry, batch, 3, reuse);
            T_OK(ks_pool_load(single.rank[0], n_word, word));
            pools_next(&single, data);
            memcpy(want, single.frame, sizeof want);
            memcpy(have, taken.frame, sizeof have);
            qsort(want, (size_t)batch, sizeof *want, ascending);
            qsort(have, (size_t)batch, sizeof *have, ascending);
            different += memcmp(want, have, (size_t)batch * sizeof *have) != 0;
            pools_done(&taken);
            n_word = pools_save(&taken, word);
            pools_close(&single);
            pools_next(&taken, data);
        }
        pools_close(&taken);
    }
    T_CHECK(different == 0, "%s: %d batches differ between numbers of ranks", file, different);
    T_CHECK(lost == 0, "%d pools were taken over without building anything", lost);
    for (int64_t n = 2; n <= MAX_RANK; n++)
        T_CHECK(total[n] >= STEPS * n, "%lld passes on %lld ranks", (long long)total[n], (long long)n);
    /* the same geometries, but who has capacity left makes them earlier: at most what the pool holds */
    for (int64_t n = 2; n <= MAX_RANK; n++)
        T_CHECK(llabs(built[n] - built[1]) <= n_entry, "%lld and %lld geometries built", (long long)built[n],
                (long long)built[1]);
    for (int64_t n = 2; n <= MAX_RANK; n++) pools_close(&p[n]);
    pools_close(&one);
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
    const double length[] = {0.7, 0.75, 0.8, 0.72, 0.77};
    double       single = 0, half = 0;
    t_make_dir();
    t_write_xyz("water.xyz", 34, 0, NULL);
    test_pool();
    test_pool_resident();
    test_pool_ranks("water.xyz", "[30, 2, 2]", 13, 6, 3);
    test_pool_ranks("water.xyz", "[20, 2, 2]", 20, 5, 2); /* resident */
    t_write_xyz("both.xyz", 12, 5, length);
    test_pool_ranks("both.xyz", "[17, 0, 0]", 11, 5, 2); /* hydrogen on some of the ranks only */
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
