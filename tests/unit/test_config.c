/* test_config.c -- schema, YAML with positions, overrides, dump and reference, wrong use. */
#include <limits.h>
#include <string.h>
#include <unistd.h>
#include "core/text.h"
#include "ks_test.h"
#include "train/schema.h"

static void test_text(void) {
    double  x;
    int64_t i;
    T_CHECK(ks_text_distance("learning_rate", "lerning_rate") == 1, "deletion");
    T_CHECK(ks_text_distance("abcd", "abdc") == 1, "transposition");
    T_CHECK(ks_text_distance("", "abc") == 3, "insertions");
    T_CHECK(ks_text_distance("kitten", "sitting") == 3, "kitten");
    T_CHECK(!ks_text_real("1e-3", &x) && x == 1e-3, "1e-3");
    T_CHECK(ks_text_real("0x10", &x) && ks_text_real("nan", &x) && ks_text_real("inf", &x) &&
                ks_text_real("1e999", &x) && ks_text_real("", &x) && ks_text_real("1 ", &x),
            "not numbers");
    T_CHECK(!ks_text_int("2e5", &i) && i == 200000, "2e5");
    T_CHECK(ks_text_int("2.5", &i) && ks_text_int(" 3", &i) && ks_text_int("99999999999999999999", &i), "not integers");
}

static void test_defaults(void) {
    ks_config c;
    ks_method m;
    T_OK(ks_config_parse("version: 1", "t.yaml", NULL, 0, NULL, &c));
    T_CHECK(c.optim.lr == 5e-4 && c.optim.steps == 200000 && c.optim.eps == 1e-12 && c.train.batch == 32 &&
                c.train.reuse == 16,
            "optim, train");
    T_CHECK(c.refine.kind == KS_REFINE_NONE && c.eval_refine.kind == KS_REFINE_ANDERSON && c.loss.energy == 1 &&
                c.loss.density == 0,
            "loss");
    T_CHECK(!strcmp(c.method.xc, "b3lyp5") && !strcmp(c.method.basis, "def2-svp") && c.method.grid == 3 &&
                c.method.guess == KS_GUESS_MINAO,
            "method");
    T_CHECK(c.model.options.output == KS_OUTPUT_LOWDIN && c.model.options.frame == KS_FRAME_KABSCH &&
                c.model.options.precision == KS_FP32,
            "model");
    T_CHECK(c.data.split_method == KS_SPLIT_NUMPY_LEGACY && c.data.split_n == 0 && c.data.split_seed == 42, "split");
    T_OK(ks_config_method(&c, &m));
    T_CHECK(m.grid_level == 3 && m.n_spin == 1 && m.xc && !strcmp(m.xc->name, "b3lyp5"), "method record");
}

/* The published settings of arXiv 2402.04030, and a JSON file. */
static void test_values(void) {
    static const char *const yaml =
        "version: 1\n"
        "run:    {name: qpt-uracil, seed: 7, dir: ../runs}\n"
        "data:   {file: uracil.h5, split: qpt}\n"
        "method: {xc: B3LYP5, basis: ./my.gbs, grid: 3, guess: core}\n"
        "model:  {kind: qpt, size: medium, output: ao, head: qpt, frame: inertia, precision: fp64, bias: pairs, "
        "bond_atoms: [1, 0, 2]}\n"
        "refine: {kind: qpt, steps: 3}\n"
        "eval:   {refine: {kind: cdiis, steps: 4}}\n"
        "loss:   {energy: 1.0, commutator: 1e-3, self_consistency: .5, hamiltonian: 0.0, density: 0}\n"
        "optim:  {lr: 1e-3, lr_min: 1e-7, warmup: 1000, steps: 2e5}\n"
        "train:\n  batch: 16\n  reuse: 4\n";
    static const char *const json = "{\"version\": 1, \"data\": {\"file\": \"w.npz\", \"split\": {\"method\": "
                                    "\"random\", \"seed\": 3, \"sizes\": [80, 10, 10]}},\n"
                                    " \"optim\": {\"lr\": 1e-3}, \"run\": {\"name\": \"j\\\"s\"}}";
    const char *const set[] = {"optim.lr=2e-4", "data.split.sizes=[5,6,7]", "eval.refine.kind=none", "optim.lr=3e-4"};
    ks_config         c, d;
    char             *text = NULL, *again = NULL;
    char              cwd[PATH_MAX], want[PATH_MAX + 32];
    T_CHECK(getcwd(cwd, sizeof cwd) != NULL, "cwd");
    T_OK(ks_config_parse(yaml, "t.yaml", "/tmp", 0, NULL, &c));
    T_CHECK(c.model.options.d_model == 1024 && c.model.options.heads == 16 && c.model.options.layers == 24,
            "size: medium");
    T_CHECK(!strcmp(c.data.file, "/tmp/uracil.h5") && !strcmp(c.run.dir, "/runs") &&
                !strcmp(c.method.basis, "/tmp/my.gbs"),
            "%s %s %s", c.data.file, c.run.dir, c.method.basis);
    T_CHECK(!strcmp(c.data.split, "qpt") && c.loss.commutator == 1e-3 && c.loss.self_consistency == 0.5 &&
                c.optim.steps == 200000,
            "values");
    T_CHECK(c.model.options.bond_atoms[0] == 1 && c.model.options.bond_atoms[2] == 2 && c.refine.n_build == 3, "lists");

    /* the dump reads back to the same struct, and to the same dump */
    T_OK(ks_config_dump(&c, &text));
    T_OK(ks_config_parse(text, "dump", "/usr", 0, NULL, &d));
    T_OK(ks_config_dump(&d, &again));
    T_CHECK(!strcmp(text, again), "dump changes:\n%s\n%s", text, again);
    T_CHECK(!memcmp(&c, &d, sizeof c), "struct changes through the dump");
    KS_FREE(text);
    KS_FREE(again);

    T_OK(ks_config_parse(json, "t.json", "/tmp", 4, set, &c));
    T_CHECK(c.optim.lr == 3e-4 && c.eval_refine.kind == KS_REFINE_NONE && c.data.split_method == KS_SPLIT_RANDOM,
            "overrides");
    T_CHECK(c.data.split_n == 3 && c.data.split_sizes[0] == 5 && c.data.split_sizes[2] == 7 && c.data.split_seed == 3,
            "sizes");
    T_CHECK(!strcmp(c.run.name, "j\"s"), "%s", c.run.name);
    T_OK(ks_config_dump(&c, &text));
    T_OK(ks_config_parse(text, "dump", NULL, 0, NULL, &d));
    T_CHECK(!memcmp(&c, &d, sizeof c), "a quoted name changes through the dump");
    KS_FREE(text);

    const char *const path_set[] = {"data.file=x.npz"};
    T_OK(ks_config_parse("version: 1\ndata: {file: y.npz}", "t", "/tmp", 1, path_set, &c));
    snprintf(want, sizeof want, "%s/x.npz", cwd);
    T_CHECK(!strcmp(c.data.file, want), "--set paths are relative to the working folder: %s", c.data.file);
}

static void test_diff(void) {
    ks_config a, b;
    char     *text = NULL;
    T_OK(ks_config_defaults(&a));
    b                      = a;
    b.optim.lr             = 1e-3;
    b.model.options.layers = 3;
    b.valid.every          = 1;
    T_OK(ks_config_diff(&a, &b, KS_CONFIG_SOFT, &text));
    T_CHECK(!strcmp(text, "  optim.lr: 0.0005 -> 0.001\n"), "%s", text);
    KS_FREE(text);
    T_OK(ks_config_diff(&a, &b, KS_CONFIG_HARD, &text));
    T_CHECK(!strcmp(text, "  model.layers: 12 -> 3\n"), "%s", text);
    KS_FREE(text);
    T_OK(ks_config_diff(&a, &b, KS_CONFIG_FREE, &text));
    T_CHECK(!strcmp(text, "  valid.every: 500 -> 1\n"), "%s", text);
    KS_FREE(text);
}

/* Every bad text: KS_ERR_CONFIG, with the place and the words that help. */
static void test_wrong(void) {
    static const struct {
        const char *text, *place, *says;
    } bad[] = {
        {"", "b.yaml:1:1", "version: 1"},
        {"run: {name: a}", "b.yaml:1:1", "'version: 1' is missing"},
        {"version: 2", "b.yaml:1:10", "reads version 1"},
        {"- a\n- b", "b.yaml:1:1", "mapping"},
        {"version: 1\noptim:\n  lerning_rate: 1", "b.yaml:3:3", "unknown key 'lerning_rate' in 'optim' (known: lr,"},
        {"version: 1\ntrain:\n  bacth: 1", "b.yaml:3:3", "unknown key 'bacth' in 'train' (did you mean 'batch'?)"},
        {"version: 1\ntrain:\n  lr: 1", "b.yaml:3:3", "did you mean 'optim.lr'?"},
        {"version: 1\noptin: {lr: 1}", "b.yaml:2:1", "did you mean 'optim'?"},
        {"version: 1\noptim: {lr: fast}", "b.yaml:2:13", "must be a number, got 'fast'"},
        {"version: 1\noptim: {lr: 0}", "b.yaml:2:13", "outside its range (0, 10]"},
        {"version: 1\noptim: {lr: -1}", "b.yaml:2:13", "outside its range (0, 10]"},
        {"version: 1\noptim: {lr: nan}", "b.yaml:2:13", "must be a number"},
        {"version: 1\noptim: {lr: }", "b.yaml:2:13", "has no value"},
        {"version: 1\noptim: {steps: 1.5}", "b.yaml:2:16", "must be an integer, got '1.5'"},
        {"version: 1\noptim: {lr: [1, 2]}", "b.yaml:2:13", "not a list"},
        {"version: 1\noptim: {lr: {a: 1}}", "b.yaml:2:13", "not a mapping"},
        {"version: 1\noptim: 3", "b.yaml:2:1", "is a section"},
        {"version: 1\nrefine: {kind: ciis}", "b.yaml:2:16", "did you mean 'cdiis'?"},
        {"version: 1\nmodel: {precision: fp16}", "b.yaml:2:20", "fp16"},
        {"version: 1\nmodel: {d_model: 65, heads: 4}", "b.yaml:2:18", "not a multiple of 'model.heads' = 4"},
        {"version: 1\nmodel: {size: tiny, d_model: 64, heads: 4}", "b.yaml:2:15", "means d_model 192"},
        {"version: 1\nmethod: {xc: b3lyp}", "b.yaml:2:14", "b3lyp5"},
        {"version: 1\nmethod: {grid: 9}", "b.yaml:2:16", "[0, 3]"},
        {"version: 1\nrun: {seed: 1}\nrun: {name: a}", "b.yaml:3:1", "repeated (first at line 2)"},
        {"version: 1\noptim: {lr: 1, lr: 2}", "b.yaml:2:16", "repeated"},
        {"version: 1\nrun: {name: &a x}", "b.yaml:2:13", "anchors"},
        {"version: 1\nrun: {name: *a}", "b.yaml:2:13", "aliases"},
        {"version: 1\nrun: {name: !!str x}", "b.yaml:2:13", "tags"},
        {"version: 1\n---\nversion: 1", "b.yaml:2:1", "second YAML document"},
        {"version: 1\nrun: {name: 'a", "b.yaml:2:15", "quoted scalar"},
        {"version: 1\nrun:\n\tname: a", "b.yaml:3:1", "cannot start any token"},
        {"version: 1\nrun: {name: ../x}", "b.yaml:2:13", "name of a folder"},
        {"version: 1\nrun: {name: \"\"}", "b.yaml:2:13", "name of a folder"},
        {"version: 1\nrun: {name: \"a\\nb\"}", "b.yaml:2:13", "control character 0x0a"},
        {"version: 1\ndata: {split: {sizes: [1, 2]}}", "b.yaml:2:23", "got 2 values"},
        {"version: 1\ndata: {split: {sizes: [1, 2, 3, 4]}}", "b.yaml:2:23", "three numbers"},
        {"version: 1\ndata: {split: {sizes: [0, 2, 3]}}", "b.yaml:2:23", "no training frames"},
        {"version: 1\ndata: {split: {sizes: [5, -2, 3]}}", "b.yaml:2:23", "-2 is outside [0, "},
        {"version: 1\ndata: {split: {kind: x}}", "b.yaml:2:16",
         "unknown key 'kind' in 'data.split' (known: method, seed, sizes)"},
        {"version: 1\nloss: {energy: 0}", "b.yaml:2:16", "nothing to train"},
        {"version: 1\noptim: {lr: 1e-5, lr_min: 1e-4}", "b.yaml:2:27", "above 'optim.lr'"},
        {"version: 1\nrefine: {kind: none, steps: 3}", "b.yaml:2:29", "makes one Fock build"},
        {"version: 1\ntrain: {batch: 8, pool: 4}", "b.yaml:2:25", "smaller than 'train.batch'"},
        {"version: 1\nmodel: {frame: bond, bond_atoms: [1, 1, 2]}", "b.yaml:2:34", "three different atoms"},
        {"version: 1\ntrain: {batch: 1000000000000000000000}", "b.yaml:2:16", "must be an integer"},
        {"version: 1\n? [a]\n: 1", "b.yaml:2:3", "a key must be a word"},
        {"version: 1\nrun: [[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]", "b.yaml:2:21", "nested more than"},
    };
    static const char *const bad_set[][2] = {{"lr=1", "unknown key 'lr'"},
                                             {"optim.lr=x", "must be a number"},
                                             {"optim.lr=", "has no value"},
                                             {"optim.lr", "KEY=VALUE"},
                                             {"=3", "KEY=VALUE"},
                                             {"optim=[1", "--set optim=[1"},
                                             {"optim.lr.x=1", "unknown key"}};
    ks_config                c;
    char                     long_text[3000], place[64];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const ks_status st  = ks_config_parse(bad[i].text, "b.yaml", NULL, 0, NULL, &c);
        const char     *msg = ks_error_message();
        snprintf(place, sizeof place, "%s: ", bad[i].place);
        T_CHECK(st == KS_ERR_CONFIG && !strncmp(msg, place, strlen(place)) && strstr(msg, bad[i].says),
                "case %zu '%s' says '%s'", i, bad[i].text, st ? msg : "nothing");
        ks_error_clear();
    }
    for (size_t i = 0; i < sizeof bad_set / sizeof bad_set[0]; i++) {
        const ks_status st = ks_config_parse("version: 1", "b.yaml", NULL, 1, &bad_set[i][0], &c);
        T_CHECK(st == KS_ERR_CONFIG && strstr(ks_error_message(), bad_set[i][1]), "--set %s says '%s'", bad_set[i][0],
                ks_error_message());
    }
    strcpy(long_text, "version: 1\nrun: {name: ");
    memset(long_text + strlen(long_text), 'a', 2000);
    strcpy(long_text + 2022, "}");
    T_ERR(ks_config_parse(long_text, "b.yaml", NULL, 0, NULL, &c), KS_ERR_CONFIG);
    T_ERR(ks_config_parse("version: 1\nrun: {name: \xff\xfe}", "b.yaml", NULL, 0, NULL, &c), KS_ERR_CONFIG);
    T_ERR(ks_config_load("/nonexistent/c.yaml", 0, NULL, &c), KS_ERR_CONFIG);
    T_ERR(ks_config_load("/tmp", 0, NULL, &c), KS_ERR_CONFIG);
    for (int n = 1; n < 200; n++) { /* allocation n fails: an error, no leak, no crash */
        ks_alloc_fail_after(n);
        const ks_status st = ks_config_parse("version: 1\noptim: {lr: 1}", "b.yaml", NULL, 0, NULL, &c);
        ks_alloc_fail_after(0);
        if (st == KS_OK) break;
        T_CHECK(st == KS_ERR_NOMEM, "allocation %d: %s", n, ks_error_message());
    }
}

/* configs/reference.yaml is what the table generates, and parses to the defaults; every shipped config parses. */
static void test_reference(void) {
    static const char *const shipped[] = {"quickstart", "qpt-water", "qpt-uracil", "uracil-small", "reference"};
    ks_config                c, d;
    char                    *text = NULL;
    static char              file[65536];
    T_OK(ks_config_reference(&text));
    FILE *f = fopen(KS_TEST_SOURCE_DIR "/configs/reference.yaml", "rb");
    T_CHECK(f != NULL, "configs/reference.yaml is missing");
    if (f) {
        file[fread(file, 1, sizeof file - 1, f)] = '\0';
        fclose(f);
        T_CHECK(!strcmp(file, text),
                "configs/reference.yaml is stale: ksgrad check --reference > configs/reference.yaml");
    }
    T_OK(ks_config_parse(text, "reference", NULL, 0, NULL, &c));
    T_OK(ks_config_parse("version: 1", "t", NULL, 0, NULL, &d));
    T_CHECK(!memcmp(&c, &d, sizeof c), "the reference does not hold the defaults");
    KS_FREE(text);
    for (size_t i = 0; i < sizeof shipped / sizeof shipped[0]; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/configs/%s.yaml", KS_TEST_SOURCE_DIR, shipped[i]);
        T_OK(ks_config_load(path, 0, NULL, &c));
    }
    for (int i = 0; i < ks_schema_n; i++) {
        T_CHECK(ks_schema[i].doc && ks_schema[i].doc[0], "%s has no explanation", ks_schema[i].path);
        for (int j = 0; j < i; j++)
            T_CHECK(strcmp(ks_schema[i].path, ks_schema[j].path), "%s twice", ks_schema[i].path);
    }
}

int main(void) {
    test_text();
    test_defaults();
    test_values();
    test_diff();
    test_wrong();
    test_reference();
    return t_done("config", 100);
}
