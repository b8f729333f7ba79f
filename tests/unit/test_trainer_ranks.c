/* test_trainer_ranks.c -- the trainer in 2 to 4 processes over TCP against one: gradient element by element, masks,
 * votes, validation, one plan for ranks with different memory; no allocation in a warm step. */
#define _GNU_SOURCE
#include "comm_ranks.h"
#include "train_data.h"

enum { STEPS = 4, WARM = 5, MOST = 20000 };

/* What one rank has found, for the others to compare with. */
typedef struct found {
    int64_t         n;
    double          grad[MOST], weight[MOST]; /* after the first step */
    ks_step_result  step[STEPS];
    ks_valid_result valid;
} found;

static struct scene {
    const char        *file, *sizes, *precision;
    int                batch, valid, n_set;
    const char *const *set;
    double             close; /* relative, of the gradient's largest element */
} g_scene;
static found *g_one; /* shared memory */

typedef struct rig {
    ks_ctx      *ctx;
    ks_config    config;
    ks_run_data *data;
    ks_trainer  *trainer;
} rig;

static void flat(const rig *r, char which, int64_t *n, double *out) {
    ks_params *p = ks_model_params(ks_trainer_model(r->trainer));
    *n           = ks_params_total(p);
    T_CHECK(*n <= MOST, "%lld parameters", (long long)*n);
    for (int64_t i = 0; i < *n && i < MOST; i++)
        out[i] = ks_params_elem_bytes(p) == 4 ? ((float *)ks_params_flat(p, which))[i]
                                              : ((double *)ks_params_flat(p, which))[i];
}

static double differ(int64_t n, const double *a, const double *b) {
    double d = 0, big = 0;
    for (int64_t i = 0; i < n; i++) {
        d   = fabs(a[i] - b[i]) <= d ? d : fabs(a[i] - b[i]); /* NaN stays */
        big = fmax(big, fabs(b[i]));
    }
    return d / big;
}

static ks_ctx *g_ctx; /* of this rank: ends with the process, because the communicator is destroyed first; no leak */

/* Finds the others and makes a trainer; own: a setting of this rank alone. */
static ks_status open_rig(world *w, int rank, ks_comm **comm, const char *own, rig *r) {
    ks_status            st      = KS_OK;
    const ks_ctx_options one     = {.backend = "cpu", .threads = 1};
    char                 key[64] = "";
    const char          *set[12] = {key, g_scene.precision};
    int                  n       = 2;
    memset(r, 0, sizeof *r);
    snprintf(key, sizeof key, "train.batch=%d", g_scene.batch);
    for (int k = 0; k < g_scene.n_set; k++) set[n++] = g_scene.set[k];
    if (own) set[n++] = own;
    T_OK(ks_ctx_create(&one, &g_ctx));
    r->ctx = g_ctx;
    t_config(&r->config, g_scene.file, g_scene.sizes, n, set);
    T_OK(ks_run_data_open(&r->config, &r->data));
    if (w->size > 1) {
        KS_TRY(meet(w, rank, comm));
        KS_TRY(ks_comm_attach(*comm, r->ctx, "tcp"));
    }
    KS_TRY(ks_trainer_create(r->ctx, *comm, &r->config, r->data, &r->trainer));
done:
    return st;
}

static ks_status close_rig(rig *r, ks_comm *comm, ks_status st) {
    if (st != KS_OK) ks_comm_fail(comm, st, ks_error_message()); /* as the program does */
    ks_trainer_destroy(&r->trainer);
    ks_run_data_close(&r->data);
    return st;
}

/* ---- steps ---- */

static ks_status train(world *w, int rank, ks_comm **comm) {
    ks_status      st = KS_OK;
    rig            r;
    found         *mine = NULL;
    ks_step_result s;
    int            best;
    T_OK(KS_ZNEW(mine, 1));
    KS_TRY(open_rig(w, rank, comm, NULL, &r));
    const ks_train_plan *plan = ks_trainer_plan(r.trainer);
    T_CHECK(plan->n_rank == w->size && plan->share == (g_scene.batch + w->size - 1) / w->size &&
                plan->n_pass * plan->micro_batch >= plan->share,
            "plan of %lld ranks, share %lld, %lld passes of %lld", (long long)plan->n_rank, (long long)plan->share,
            (long long)plan->n_pass, (long long)plan->micro_batch);
    for (int k = 0; k < STEPS; k++) {
        /* the last rank votes to stop with step 2, the first to save with step 3 */
        const int vote[KS_VOTE_N] = {[KS_VOTE_STOP] = k == 1 && rank == w->size - 1, [KS_VOTE_SAVE] = k == 2 && !rank};
        KS_TRY(ks_trainer_queue(r.trainer, vote));
        KS_TRY(ks_trainer_collect(r.trainer, &mine->step[k]));
        s = mine->step[k];
        T_CHECK(s.vote[KS_VOTE_STOP] == (k == 1) && s.vote[KS_VOTE_SAVE] == (k == 2), "step %d: votes %d %d", k + 1,
                s.vote[KS_VOTE_STOP], s.vote[KS_VOTE_SAVE]);
        T_CHECK(s.wait_seconds >= 0 && s.wait_seconds <= s.seconds, "waited %g of %g s", s.wait_seconds, s.seconds);
        if (k == 0) {
            flat(&r, 'g', &mine->n, mine->grad);
            flat(&r, 'p', &mine->n, mine->weight);
        }
    }
    if (g_scene.valid) KS_TRY(ks_trainer_validate(r.trainer, &mine->valid, &best));
    if (w->size == 1) {
        *g_one = *mine;
        goto done;
    }
    const found *one = g_one;
    T_CHECK(mine->n == one->n && one->n > 100, "%lld and %lld parameters", (long long)mine->n, (long long)one->n);
    const double g = differ(one->n, mine->grad, one->grad);
    T_CHECK(g <= g_scene.close, "gradient of step 1 differs by %.3g of its largest element", g);
    if (rank == 0) printf("%s, %s, %d ranks: gradient %.1e", g_scene.file, g_scene.precision, w->size, g);
    for (int k = 0; k < STEPS; k++) {
        const ks_step_result *a = &mine->step[k], *b = &one->step[k];
        /* step 1: the same weights; then what the optimiser makes of the gradient's rounding, at steps of 1e-3 */
        T_CLOSE(a->energy, b->energy, k ? 100 * g_scene.close : 1e-10, 0);
        T_CLOSE(a->loss, b->loss, k ? 100 * g_scene.close : 1e-10, 0);
        T_CLOSE(a->grad_norm, b->grad_norm, 0, k ? 1000 * g_scene.close : g_scene.close);
        T_CLOSE(a->min_gap, b->min_gap, k ? 100 * g_scene.close : 1e-12, 0);
        /* geometries are built when a rank has time for it, those of the first step at once */
        T_CHECK(a->n_masked == b->n_masked && a->n_frame == g_scene.batch && a->n_built <= g_scene.batch &&
                    (k > 0 || a->n_built == g_scene.batch),
                "step %d: %lld masked, %lld built", k + 1, (long long)a->n_masked, (long long)a->n_built);
        KS_TRY(ks_comm_check_equal(*comm, "new geometries", (uint64_t)a->n_built));
    }
    if (g_scene.valid) {
        T_CHECK(mine->valid.n_frame == g_scene.valid && mine->valid.n_masked == 0, "%lld frames",
                (long long)mine->valid.n_frame);
        T_CLOSE(mine->valid.energy_no_network, one->valid.energy_no_network, 0, 1e-12);
        T_CLOSE(mine->valid.energy, one->valid.energy, 100 * g_scene.close, 1e-12); /* after 4 steps */
        if (rank == 0) printf(", validation %.1e Ha", fabs(mine->valid.energy - one->valid.energy));
    }
    if (rank == 0) printf("\n");
    /* the same bits on all ranks */
    uint64_t bits[STEPS + 1];
    for (int k = 0; k < STEPS; k++) memcpy(&bits[k], &mine->step[k].loss, sizeof bits[k]);
    memcpy(&bits[STEPS], &mine->valid.energy, sizeof bits[STEPS]);
    for (int k = 0; k <= STEPS; k++) KS_TRY(ks_comm_check_equal(*comm, "figures", bits[k]));
    const int64_t before = ks_alloc_count();
    for (int k = 0; k < WARM; k++) KS_TRY(ks_trainer_step(r.trainer, &s));
    T_CHECK(ks_alloc_count() == before, "%lld allocations in %d warm steps", (long long)(ks_alloc_count() - before),
            WARM);
    KS_TRY(ks_params_hash(r.ctx, ks_model_params(ks_trainer_model(r.trainer)), &bits[0]));
    KS_TRY(ks_comm_check_equal(*comm, "the weights", bits[0]));
done:
    KS_FREE(mine);
    return close_rig(&r, *comm, st);
}

static void run(int size, rank_body body) {
    world *w = world_new(size, 60);
    start_all(w, body);
    end_all(w, 100, g_scene.file);
    for (int r = 0; r < size; r++) T_STATUS(w, r, KS_OK);
    world_free(w);
}

static void compare(const char *file, const char *sizes, int batch, int valid, int n_set, const char *const *set) {
    static const char *const precision[] = {"model.precision=fp64", "model.precision=fp32"};
    for (int k = 0; k < 2; k++) {
        /* fp64: sums of some 1e5 terms in another order; fp32: the bar of the whole */
        g_scene = (struct scene){file, sizes, precision[k], batch, valid, n_set, set, k ? 1e-6 : 1e-12};
        for (int size = 1; size <= 4; size++) run(size, train);
    }
}

/* ---- errors ---- */

static ks_status one_step(world *w, int rank, ks_comm **comm) {
    ks_status      st = KS_OK;
    rig            r;
    ks_step_result s;
    KS_TRY(open_rig(w, rank, comm, NULL, &r));
    KS_TRY(ks_trainer_step(r.trainer, &s));
done:
    return close_rig(&r, *comm, st);
}

/* All ranks come to the same error: rank 0 says it, the others are told. */
static void test_alike(int batch, ks_status status, const char *text) {
    world *w = world_new(3, 60);
    g_scene  = (struct scene){"many.xyz", "[4, 0, 0]", "model.precision=fp64", batch, 0, 0, NULL, 0};
    start_all(w, one_step);
    end_all(w, 100, "an error on all ranks");
    for (int r = 0; r < 3; r++) {
        T_STATUS(w, r, status);
        T_SAYS(w, r, text);
        T_CHECK(w->of[r].told == (r > 0), "rank %d: told %d", r, w->of[r].told);
    }
    world_free(w);
}

/* A rank whose weights have gone astray, by a single bit: nothing is written. */
static ks_status astray(world *w, int rank, ks_comm **comm) {
    ks_status      st = KS_OK;
    rig            r;
    ks_step_result s;
    KS_TRY(open_rig(w, rank, comm, NULL, &r));
    KS_TRY(ks_trainer_step(r.trainer, &s));
    if (rank == 1) ((unsigned char *)ks_params_flat(ks_model_params(ks_trainer_model(r.trainer)), 'p'))[40] ^= 1;
    KS_TRY(ks_trainer_save(r.trainer, t_dir, "version: 1\n", "test"));
done:
    return close_rig(&r, *comm, st);
}

static void test_astray(void) {
    world *w = world_new(3, 60);
    char   path[128];
    g_scene = (struct scene){"water.xyz", "[20, 0, 0]", "model.precision=fp32", 5, 0, 0, NULL, 0};
    start_all(w, astray);
    end_all(w, 100, "weights that differ");
    for (int r = 0; r < 3; r++) {
        T_STATUS(w, r, KS_ERR_COMM);
        T_SAYS(w, r, "the weights");
        T_SAYS(w, r, "rank 1");
    }
    snprintf(path, sizeof path, "%s/step_00000001", t_dir);
    T_CHECK(access(path, F_OK) != 0, "a checkpoint of weights that differ");
    world_free(w);
}

/* Ranks with different memory: the least rules, and all have the same plan. */
static ks_status plan_of(world *w, int rank, ks_comm **comm) {
    ks_status st = KS_OK;
    rig       r;
    KS_TRY(open_rig(w, rank, comm, rank == 1 ? "device.memory_gib=0.0008" : "device.memory_gib=1", &r));
    const ks_train_plan *p = ks_trainer_plan(r.trainer);
    T_CHECK(p->is_limited && p->pool < 20 && p->pool >= 5, "a pool of %lld", (long long)p->pool);
    T_CHECK(p->total_bytes <= p->budget_bytes && p->budget_bytes < 2000000, "plan of %lld, budget %lld",
            (long long)p->total_bytes, (long long)p->budget_bytes);
    const int64_t word[] = {p->pool,   p->pool_share,  p->share,      p->micro_batch,  p->n_pass,
                            p->n_rank, p->total_bytes, p->valid_pool, p->budget_bytes, p->is_resident};
    for (size_t k = 0; k < sizeof word / sizeof word[0]; k++)
        KS_TRY(ks_comm_check_equal(*comm, "the plan", (uint64_t)word[k]));
done:
    return close_rig(&r, *comm, st);
}

int main(void) {
    const char *const pool[] = {"train.pool=9", "train.reuse=2", "train.micro_batch=2"};
    /* two compositions, and a frame without a gap: hydrogen pulled apart */
    const double      length[] = {0.7, 0.75, 60, 0.72}, apart[] = {60, 61, 62};
    const char *const mixed[] = {"loss.commutator=0.1", "model.frame=inertia"};
    g_one                     = mmap(NULL, sizeof *g_one, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (g_one == MAP_FAILED) return 1;
    t_make_dir();
    t_write_xyz("water.xyz", 34, 0, NULL);
    t_write_xyz("mixed.xyz", 5, 4, length);
    t_write_xyz("many.xyz", 1, 3, apart);
    compare("water.xyz", "[20, 6, 0]", 5, 6, 3, pool);
    compare("water.xyz", "[20, 2, 0]", 6, 2, 0, NULL); /* ranks without a validation frame */
    compare("mixed.xyz", "[9, 0, 0]", 8, 0, 2, mixed);
    T_CHECK(g_one->step[0].n_masked + g_one->step[1].n_masked > 0, "no frame was masked");
    test_alike(4, KS_ERR_NUMERIC, "3 of 4 frames");
    test_alike(2, KS_ERR_CONFIG, "train.batch = 2 frames cannot be shared out over 3 ranks");
    test_astray();
    g_scene = (struct scene){"water.xyz", "[20, 8, 0]", "model.precision=fp32", 5, 8, 0, NULL, 0};
    run(3, plan_of);
    t_remove_dir();
    return t_done("trainer_ranks", 2450);
}
