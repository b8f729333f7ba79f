/* test_checkpoint.c -- folders, links, rotation, strict loading, damage, failing allocations. */
#include <sys/stat.h>
#include "io/h5.h"
#include "train/checkpoint_io.h"
#include "train_data.h"

static ks_ctx   *g_ctx;
static char     *g_text; /* resolved config */
static ks_config g_config;

static ks_model *make_model(int layers) {
    ks_model_options opt = g_config.model.options;
    ks_model        *m   = NULL;
    opt.layers           = layers;
    opt.n_ao_kind        = 61;
    T_OK(ks_model_create(g_ctx, &opt, 7, &m));
    return m;
}

/* Parameters and moments by a formula, so that every element is known. */
static void fill(ks_model *m, double shift) {
    ks_params *p = ks_model_params(m);
    for (const char *which = "pmv"; *which; which++)
        for (int64_t i = 0; i < ks_params_total(p); i++)
            ((float *)ks_params_flat(p, *which))[i] = (float)(shift + 0.001 * (double)i + *which);
}
static int is_same(ks_model *a, ks_model *b, const char *which) {
    ks_params *p = ks_model_params(a), *q = ks_model_params(b);
    for (; *which; which++)
        for (int64_t k = 0; k < ks_params_count(p); k++) { /* tensor by tensor: padding is not stored */
            const ks_param *t = ks_params_get(p, k);
            if (memcmp((float *)ks_params_flat(p, *which) + t->offset, (float *)ks_params_flat(q, *which) + t->offset,
                       (size_t)t->size * sizeof(float)))
                return 0;
        }
    return 1;
}

static ks_train_state make_state(int64_t step) {
    ks_train_state s = {.step        = step,
                        .samples     = 4 * step,
                        .best_step   = 3,
                        .best_energy = -76.123456789012345,
                        .data_hash   = 0xfedcba9876543210ULL,
                        .micro_batch = 2,
                        .pool_size   = 8,
                        .n_word      = 5};
    T_OK(KS_NEW(s.word, s.n_word));
    for (int64_t i = 0; i < s.n_word; i++) s.word[i] = step + i;
    return s;
}

static void path_in(char *out, const char *rest) { snprintf(out, 512, "%s/%s", t_dir, rest); }
static int  is_there(const char *rest) {
     char        path[512];
     struct stat st;
     path_in(path, rest);
     return lstat(path, &st) == 0;
}
static void shell(const char *format) {
    char command[512];
    snprintf(command, sizeof command, "cd '%s' && %s", t_dir, format);
    if (system(command) != 0) printf("'%s' failed\n", command);
}

static void save(ks_model *m, int64_t step) {
    ks_train_state s = make_state(step);
    T_OK(ks_checkpoint_save(g_ctx, t_dir, g_text, "test", m, NULL, &s));
    T_OK(ks_checkpoint_point(t_dir, "latest", step));
    ks_train_state_clear(&s);
}

static void test_round_trip(void) {
    ks_model          *a = make_model(1), *b = make_model(1), *c = NULL;
    ks_train_state     s = {.best_step = -1};
    ks_config          config;
    ks_checkpoint_info info;
    char               path[512], found[KS_CHECKPOINT_PATH];
    const int32_t      Z[3]   = {8, 1, 1};
    const double       pos[9] = {0, 0, 0.1, 0, 1.4, -0.9, 0, -1.4, -0.9};
    int64_t            n_atom;
    const int32_t     *Zb;
    const double      *pb;
    const char *const hard[] = {"model.layers=3"}, *const free_key[] = {"eval.refine.kind=cdiis"};
    T_OK(ks_model_set_reference(a, 3, Z, pos));
    fill(a, 0.5);
    save(a, 20);
    path_in(path, "step_00000020");
    T_OK(ks_checkpoint_load_state(g_ctx, path, b, NULL, &s));
    T_CHECK(is_same(a, b, "pmv"), "tensors change through a checkpoint");
    T_CHECK(s.step == 20 && s.samples == 80 && s.best_step == 3 && s.best_energy == -76.123456789012345 &&
                s.data_hash == 0xfedcba9876543210ULL && s.micro_batch == 2 && s.pool_size == 8 && s.n_word == 5 &&
                s.word[4] == 24,
            "state changes through a checkpoint");
    T_CHECK(ks_model_n_reference(b) == 1, "references");
    T_OK(ks_model_get_reference(b, 0, &n_atom, &Zb, &pb));
    T_CHECK(n_atom == 3 && !memcmp(Zb, Z, sizeof Z) && !memcmp(pb, pos, sizeof pos), "reference geometry");

    T_OK(ks_checkpoint_find(t_dir, found));
    T_CHECK(strstr(found, "step_00000020") != NULL, "%s", found);
    T_OK(ks_checkpoint_load_model(g_ctx, t_dir, 0, NULL, &config, &c, &info));
    T_CHECK(is_same(a, c, "p") && info.step == 20 && info.samples == 80 && config.model.options.n_ao_kind == 61,
            "model from its file alone");
    ks_model_destroy(&c);
    T_ERR(ks_checkpoint_load_model(g_ctx, t_dir, 1, hard, &config, &c, &info), KS_ERR_CONFIG);
    T_CHECK(strstr(ks_error_message(), "model.layers: 1 -> 3") && !c, "%s", ks_error_message());
    T_OK(ks_checkpoint_load_model(g_ctx, t_dir, 1, free_key, &config, NULL, NULL));
    T_CHECK(config.eval_refine.kind == KS_REFINE_CDIIS, "override");
    /* model.h5 handed on alone */
    shell("mkdir alone && cp step_00000020/model.h5 alone/");
    path_in(path, "alone/model.h5");
    T_OK(ks_checkpoint_load_model(g_ctx, path, 0, NULL, &config, &c, &info));
    T_CHECK(is_same(a, c, "p"), "a lone model.h5");
    ks_model_destroy(&c);
    shell("rm -r alone");
    /* the same step again replaces */
    fill(a, 0.25);
    save(a, 20);
    path_in(path, "step_00000020");
    T_OK(ks_checkpoint_load_state(g_ctx, path, b, NULL, &s));
    T_CHECK(is_same(a, b, "pmv") && !is_there("step_00000020.old.tmp"), "replaced");
    ks_train_state_clear(&s);
    ks_model_destroy(&a);
    ks_model_destroy(&b);
}

/* Moments that the registry does not hold: the same file as from a registry that does. */
static void test_moments(void) {
    ks_model      *a = make_model(1), *b = make_model(1);
    ks_params     *p = ks_model_params(a), *q = ks_model_params(b);
    ks_train_state s = make_state(7);
    ks_moments     m = {0}, none = {0};
    char           path[512];
    const int64_t  n      = ks_params_total(p);
    int64_t        differ = 0;
    path_in(path, "step_00000007");
    fill(a, 0.75);
    T_OK(ks_host_zalloc(n, sizeof(float), &m.m));
    T_OK(ks_host_zalloc(n, sizeof(float), &m.v));
    memcpy(m.m, ks_params_flat(p, 'm'), (size_t)n * sizeof(float));
    memcpy(m.v, ks_params_flat(p, 'v'), (size_t)n * sizeof(float));
    T_OK(ks_params_shard(p, 32)); /* the others are somewhere else */
    T_ERR(ks_checkpoint_save(g_ctx, t_dir, g_text, "test", a, NULL, &s), KS_ERR_ARG);
    T_ERR(ks_checkpoint_save(g_ctx, t_dir, g_text, "test", a, &none, &s), KS_ERR_ARG);
    T_OK(ks_checkpoint_save(g_ctx, t_dir, g_text, "test", a, &m, &s));
    T_ERR(ks_checkpoint_load_state(g_ctx, path, a, NULL, &s), KS_ERR_ARG);
    T_OK(ks_checkpoint_load_state(g_ctx, path, b, NULL, &s)); /* into a registry */
    T_CHECK(is_same(a, b, "p"), "weights");
    for (int64_t k = 0; k < ks_params_count(q); k++) {
        const ks_param *t     = ks_params_get(q, k);
        const size_t    bytes = (size_t)t->size * sizeof(float);
        differ += memcmp((float *)m.m + t->offset, (float *)ks_params_flat(q, 'm') + t->offset, bytes) != 0;
        differ += memcmp((float *)m.v + t->offset, (float *)ks_params_flat(q, 'v') + t->offset, bytes) != 0;
        memset((float *)m.m + t->offset, 0, bytes);
        memset((float *)m.v + t->offset, 0, bytes);
    }
    T_CHECK(differ == 0, "moments of %lld tensors", (long long)differ);
    T_OK(ks_checkpoint_load_state(g_ctx, path, a, &m, &s)); /* into host memory */
    for (int64_t k = 0; k < ks_params_count(q); k++) {
        const ks_param *t     = ks_params_get(q, k);
        const size_t    bytes = (size_t)t->size * sizeof(float);
        differ += memcmp((float *)m.m + t->offset, (float *)ks_params_flat(q, 'm') + t->offset, bytes) != 0;
        differ += memcmp((float *)m.v + t->offset, (float *)ks_params_flat(q, 'v') + t->offset, bytes) != 0;
    }
    T_CHECK(differ == 0 && s.step == 7, "moments of %lld tensors", (long long)differ);
    shell("rm -r step_0000000*");
    ks_moments_clear(&m);
    T_CHECK(!m.m && !m.v, "cleared");
    ks_moments_clear(NULL);
    ks_train_state_clear(&s);
    ks_model_destroy(&a);
    ks_model_destroy(&b);
}

static void test_rotation(void) {
    ks_model *m     = make_model(1);
    int64_t  *steps = NULL, n           = 0;
    char      damaged[512], target[128] = "", path[512];
    for (int64_t s = 30; s <= 70; s += 10) save(m, s);
    T_OK(ks_checkpoint_point(t_dir, "best", 30));
    shell("mkdir step_00000099.tmp && touch step_00000099.tmp/model.h5");
    T_OK(ks_checkpoint_rotate(t_dir, 2));
    T_OK(ks_checkpoint_list(t_dir, &steps, &n, damaged, sizeof damaged));
    T_CHECK(n == 3 && steps[0] == 70 && steps[1] == 60 && steps[2] == 30 && !damaged[0], "%lld left", (long long)n);
    T_CHECK(!is_there("step_00000099.tmp") && !is_there("step_00000020"), "left-overs");
    path_in(path, "latest");
    T_CHECK(readlink(path, target, sizeof target - 1) == 13 && !strcmp(target, "step_00000070"), "%s", target);
    KS_FREE(steps);
    /* damaged ones are named, do not count in a rotation, and stay */
    shell("rm step_00000070/DONE");
    T_OK(ks_checkpoint_list(t_dir, &steps, &n, damaged, sizeof damaged));
    T_CHECK(n == 2 && steps[0] == 60 && strstr(damaged, "step_00000070") && strstr(damaged, "no DONE"), "%s", damaged);
    KS_FREE(steps);
    T_OK(ks_checkpoint_rotate(t_dir, 1));
    T_CHECK(is_there("step_00000070") && is_there("step_00000060") && is_there("step_00000030"),
            "rotation with a damaged folder");
    shell("rm -r step_00000070 latest && ln -s step_00000060 latest");
    ks_model_destroy(&m);
}

/* One change to a model.h5, and what loading says. */
static void expect(const char *what, ks_model *m, const char *says) {
    char path[512];
    path_in(path, "x/model.h5");
    const ks_status st = ks_ckpt_read_model(g_ctx, path, m);
    T_CHECK((st == KS_ERR_DATA || st == KS_ERR_HDF5) && strstr(ks_error_message(), says), "%s: '%s'", what,
            st ? ks_error_message() : "accepted");
    ks_error_clear();
}

static void test_strict(void) {
    ks_model       *m = make_model(1), *other = make_model(2);
    char            path[512], name[160], message[256];
    ks_h5          *h5     = NULL;
    const ks_param *p      = ks_params_get(ks_model_params(m), 0);
    const int64_t   one[1] = {1};
    const float     x      = 1;
    snprintf(name, sizeof name, "params/%s", p->name);
    path_in(path, "x/model.h5");
#define EDIT()                                                                                                         \
    shell("rm -rf x && cp -r step_00000060 x");                                                                        \
    T_OK(ks_h5_edit(path, &h5))
    EDIT();
    T_OK(ks_h5_remove(h5, name));
    T_OK(ks_h5_publish(&h5));
    snprintf(message, sizeof message, "tensor '%s' is missing", name);
    expect("missing", m, message);
    T_OK(ks_h5_edit(path, &h5));
    T_OK(ks_h5_write(h5, name, KS_H5_F32, 1, one, &x));
    T_OK(ks_h5_publish(&h5));
    snprintf(message, sizeof message, "tensor '%s' has shape (1), the model wants (", name);
    expect("shape", m, message);
    EDIT();
    T_OK(ks_h5_write(h5, "params/extra.weight", KS_H5_F32, 1, one, &x));
    T_OK(ks_h5_publish(&h5));
    expect("left over", m, "tensor 'params/extra.weight' is not part of the model");
    EDIT();
    T_OK(ks_h5_set_i64(h5, "/", "checksum", 12345));
    T_OK(ks_h5_publish(&h5));
    expect("checksum", m, "damaged");
    EDIT();
    T_OK(ks_h5_set_string(h5, "/", "format", "something"));
    T_OK(ks_h5_publish(&h5));
    expect("format", m, "format 'something', wanted 'ksgrad-model'");
    EDIT();
    T_OK(ks_h5_set_i64(h5, "/", "format_version", 2));
    T_OK(ks_h5_publish(&h5));
    expect("version", m, "format version 2");
    EDIT();
    ks_h5_close(&h5);
    expect("another network", other, "is missing");
#undef EDIT
    shell("rm -rf x");
    ks_model_destroy(&m);
    ks_model_destroy(&other);
}

static void test_damage(void) {
    ks_model                *m = make_model(1), *c = NULL;
    ks_train_state           s = {.best_step = -1};
    ks_config                config;
    ks_checkpoint_info       info;
    char                     path[512];
    static const char *const harm[][2] = {
        {"truncate -s -1 x/state.h5", "bytes"},
        {"truncate -s +1 x/model.h5", "bytes"},
        {"rm x/DONE", "no DONE"},
        {"rm x/state.h5", "No such file"},
        {": > x/DONE", "unreadable"},
        {"printf Q | dd of=x/model.h5 bs=1 seek=3000 conv=notrunc 2> /dev/null", "damaged"},
        {"printf Q | dd of=x/state.h5 bs=1 seek=9000 conv=notrunc 2> /dev/null", "damaged"}};
    path_in(path, "x");
    for (size_t i = 0; i < sizeof harm / sizeof harm[0]; i++) {
        shell("rm -rf x && cp -r step_00000060 x");
        shell(harm[i][0]);
        const ks_status st = ks_checkpoint_load_state(g_ctx, path, m, NULL, &s);
        T_CHECK((st == KS_ERR_DATA || st == KS_ERR_HDF5) && strstr(ks_error_message(), harm[i][1]), "%s: '%s'",
                harm[i][0], st ? ks_error_message() : "accepted");
    }
    shell("rm -rf x && cp -r step_00000060 x && printf Q | dd of=x/model.h5 bs=1 seek=3000 conv=notrunc 2> /dev/null");
    T_ERR(ks_checkpoint_load_model(g_ctx, path, 0, NULL, &config, &c, &info), KS_ERR_HDF5);
    shell("rm -rf x && mkdir x");
    T_ERR(ks_checkpoint_load_model(g_ctx, path, 0, NULL, &config, &c, &info), KS_ERR_DATA);
    T_ERR(ks_checkpoint_load_model(g_ctx, "/nonexistent", 0, NULL, &config, &c, &info), KS_ERR_IO);
    T_ERR(ks_checkpoint_load_model(g_ctx, "/etc/passwd", 0, NULL, &config, &c, &info), KS_ERR_DATA);
    shell("rm -rf x");
    ks_model_destroy(&m);
}

/* Allocation n fails while saving: an error, and nothing is to be seen but the temporary. */
static void test_faults(void) {
    ks_model *m    = make_model(1);
    int       fail = 0;
    for (int n = 1; n < 400; n++) {
        ks_train_state s = make_state(80);
        ks_alloc_fail_after(n);
        const ks_status st = ks_checkpoint_save(g_ctx, t_dir, g_text, "test", m, NULL, &s);
        ks_alloc_fail_after(0);
        ks_train_state_clear(&s);
        if (st == KS_OK) break;
        fail++;
        T_CHECK(st == KS_ERR_NOMEM && !is_there("step_00000080"), "allocation %d: %s", n, ks_error_message());
        ks_error_clear();
    }
    T_CHECK(fail > 3 && is_there("step_00000080/DONE") && !is_there("step_00000080.tmp"), "%d failures", fail);
    /* a folder that cannot be written */
    ks_train_state s = make_state(81);
    T_ERR(ks_checkpoint_save(g_ctx, "/nonexistent", g_text, "test", m, NULL, &s), KS_ERR_IO);
    ks_train_state_clear(&s);
    ks_model_destroy(&m);
}

int main(void) {
    const ks_ctx_options opt = {.backend = "cpu", .threads = 1};
    t_make_dir();
    t_config(&g_config, "none.xyz", "[]", 0, NULL);
    T_OK(ks_config_dump(&g_config, &g_text));
    T_OK(ks_ctx_create(&opt, &g_ctx));
    test_round_trip();
    test_moments();
    test_rotation();
    test_strict();
    test_damage();
    test_faults();
    KS_FREE(g_text);
    ks_ctx_destroy(&g_ctx);
    t_remove_dir();
    return t_done("checkpoint", 110);
}
