/* reducer_case.h -- what the scenes of test_reducer.c stand on: ranks with a backend of their own, a registry, its arrays on
 * the host. */
#ifndef KS_REDUCER_CASE_H
#define KS_REDUCER_CASE_H
#include "comm_ranks.h"
#include "op_driver.h"
#include "ksgrad/rng.h"
#include "tol.h"
#include "train/reducer.h"

/* ---- ranks ---- */

typedef struct scene {
    void (*play)(ks_comm *comm, const struct scene *scene);
    int          size;
    ks_precision precision;
    int64_t      bucket_bytes;
    int          wire_bf16, shard;
    int64_t      number; /* the scene's own */
} scene;

enum { TIMEOUT_S = 60 };
static char       **g_argv;
static int          g_argc, g_scenes, g_skipped;
static const scene *g_scene;
static ks_ctx      *g_ctx; /* of this rank */

/* The backend, on a device of its own for every rank. */
static int open_backend(const scene *s, int rank) {
    ks_device_info device;
    ks_ctx_options opt = {.backend = "cpu", .threads = 1};
    setenv("KS_EMU_DEVICES", "8", 0);
    t_op_init(g_argc > 1 ? 2 : 1, g_argv);
    g_ctx = t_op_ctx(1);
    if (!strcmp(t_op_backend(), "cpu")) return 1;
    T_OK(ks_ctx_device(g_ctx, &device));
    ks_ctx_destroy(&g_ctx);
    opt.backend = "cuda";
    opt.device  = rank;
    if (s->size > device.n) return 0;
    T_OK(ks_ctx_create(&opt, &g_ctx));
    return 1;
}

static ks_status play_rank(world *w, int rank, ks_comm **comm) {
    ks_status st  = KS_OK;
    w->flag[rank] = open_backend(g_scene, rank);
    if (!w->flag[rank]) return KS_OK;
    KS_TRY(meet(w, rank, comm));
    KS_TRY(ks_comm_attach(*comm, g_ctx, "auto"));
    if (*comm)
        T_CHECK(!strcmp(ks_comm_transport(*comm), strcmp(t_op_backend(), "cpu") ? "nccl" : "tcp"), "transport %s",
                ks_comm_transport(*comm));
    g_scene->play(*comm, g_scene);
    KS_TRY(ks_comm_barrier(*comm, "the end of the scene"));
    ks_comm_destroy(comm);
    ks_ctx_destroy(&g_ctx);
done:
    return st;
}

/* Every rank a process of its own, made before any of them has threads. */
static void play(const scene *s) {
    world *w = world_new(s->size, TIMEOUT_S);
    g_scene  = s;
    g_scenes++;
    start_all(w, play_rank);
    end_all(w, 2 * TIMEOUT_S, "scene");
    for (int r = 0; r < s->size; r++)
        T_CHECK(w->of[r].exit_code == 0 && (!w->flag[r] || w->of[r].checks >= 8),
                "scene %d, rank %d of %d (fp%d, bucket %lld, bf16 %d, shard %d): exit code %d, %d checks, %s", g_scenes,
                r, s->size, s->precision == KS_FP64 ? 64 : 32, (long long)s->bucket_bytes, s->wire_bf16, s->shard,
                w->of[r].exit_code, w->of[r].checks, w->of[r].message);
    g_skipped += !w->flag[0];
    world_free(w);
}

/* ---- a registry: weights with and without decay, lengths that fill no line ---- */

enum { N_PARAM = 9, MOST = 6000 };

static ks_params *make_params(ks_precision precision) {
    static const int64_t size[N_PARAM] = {1, 700, 33, 2048, 16, 5, 1500, 64, 999};
    ks_params           *params        = NULL;
    int64_t              index;
    char                 name[16];
    T_OK(ks_params_create(g_ctx, precision, &params));
    for (int k = 0; k < N_PARAM; k++) {
        snprintf(name, sizeof name, "p%d", k);
        T_OK(ks_params_add(params, name, 1, &size[k], KS_INIT_NORMAL, 1, k % 3 != 1, &index));
    }
    T_OK(ks_params_finish(params, 5));
    return params;
}

static ks_reducer_options options(const scene *s) {
    return (ks_reducer_options){.bucket_bytes = s->bucket_bytes, .wire_bf16 = s->wire_bf16, .shard = s->shard};
}

/* Elements at .. at + n - 1 of a flat array as doubles, and back. */
static void get(ks_params *p, char which, int64_t at, int64_t n, double *x) {
    const size_t elem = ks_params_elem_bytes(p);
    float        f[MOST];
    void        *raw = elem == sizeof(double) ? (void *)x : (void *)f;
    T_OK(ks_mem_to_host(g_ctx, raw, (char *)ks_params_flat(p, which) + (size_t)at * elem, (size_t)n * elem));
    for (int64_t i = 0; i < n && elem == sizeof(float); i++) x[i] = (double)f[i];
}
static void put(ks_params *p, char which, int64_t at, int64_t n, const double *x) {
    const size_t elem = ks_params_elem_bytes(p);
    float        f[MOST];
    for (int64_t i = 0; i < n; i++) f[i] = (float)x[i];
    T_OK(ks_mem_to_backend(g_ctx, (char *)ks_params_flat(p, which) + (size_t)at * elem,
                           elem == sizeof(double) ? (const void *)x : (const void *)f, (size_t)n * elem));
}

/* A few doubles in backend memory. */
static double *up(const double *x, int64_t n) {
    void *p = NULL;
    T_OK(ks_mem_alloc(g_ctx, (size_t)n * sizeof *x, &p));
    T_OK(ks_mem_to_backend(g_ctx, p, x, (size_t)n * sizeof *x));
    return p;
}
static void down(double **p, double *x, int64_t n) {
    T_OK(ks_mem_to_host(g_ctx, x, *p, (size_t)n * sizeof *x));
    ks_mem_free(g_ctx, (void **)p);
}

/* The same weights everywhere. */
static void check_weights(ks_comm *comm, ks_params *params) {
    uint64_t hash = 0;
    T_OK(ks_params_hash(g_ctx, params, &hash));
    T_OK(ks_comm_check_equal(comm, "weights", hash));
}
#endif
