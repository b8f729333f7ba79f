/* config.c -- see config.h: from a YAML tree to ks_config, overrides, rules between keys. */
#define _GNU_SOURCE
#include "ksgrad/config.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "core/text.h"
#include "train/config_yaml.h"
#include "train/schema.h"

enum { MAX_KEYS = 128, PATH_TEXT = 256, FILE_MAX = 1 << 20 };

/* Where a message points to: a file position, or an override. */
typedef struct source {
    const char *name;   /* file name, or "--set a.b=c" */
    const char *folder; /* absolute; relative paths start here */
    int         with_position;
} source;

typedef struct loader {
    ks_config *config;
    char       given[MAX_KEYS][PATH_TEXT]; /* place of each key that was given, "" otherwise */
    source     src;
} loader;

static void place(const source *s, const ks_node *node, char *out, size_t size) {
    if (s->with_position) snprintf(out, size, "%s:%d:%d", s->name, node->line, node->column);
    else snprintf(out, size, "%s", s->name);
}

/* ---- one value ---- */

static void describe(const ks_key *key, char *out, size_t size) {
    char list[128];
    switch (key->type) {
    case KS_KEY_INT:
    case KS_KEY_INT32:
        snprintf(out, size, "an integer");
        break;
    case KS_KEY_REAL:
        snprintf(out, size, "a number");
        break;
    case KS_KEY_INTS:
        snprintf(out, size, "a list [train, valid, test] of three numbers of frames, or []");
        break;
    case KS_KEY_ATOMS:
        snprintf(out, size, "a list of three atom numbers, counted from 0");
        break;
    default:
        if (key->choices) {
            size_t n = 0;
            for (const char *p = key->choices; *p && n + 3 < sizeof list; p++) {
                if (*p == '|') list[n++] = ',';
                list[n++] = *p == '|' ? ' ' : *p;
            }
            list[n] = '\0';
            snprintf(out, size, strchr(key->choices, '|') ? "one of %s" : "'%s'", list);
        } else {
            snprintf(out, size, "a text");
        }
    }
}

static void range_text(const ks_key *key, char *out, size_t size) {
    snprintf(out, size, "%c%g, %g]%s%s", key->open_lo ? '(' : '[', key->lo, key->hi, key->unit ? " " : "",
             key->unit ? key->unit : "");
}

static int in_range(const ks_key *key, double x) { return x <= key->hi && (key->open_lo ? x > key->lo : x >= key->lo); }

/* text relative to folder -> absolute; leading "./" and "../" are resolved, folder has no links (realpath). */
static ks_status absolute(const source *s, const char *text, char *out, size_t size, const char *where,
                          const char *path) {
    ks_status st = KS_OK;
    char      base[PATH_MAX + 2];
    if (text[0] == '/' || text[0] == '\0') {
        KS_CHECK(strlen(text) < size, KS_ERR_CONFIG, "%s: '%s': longer than %zu characters", where, path, size - 1);
        snprintf(out, size, "%s", text);
        goto done;
    }
    snprintf(base, sizeof base, "%s", s->folder);
    while (text[0] == '.') {
        if (!strncmp(text, "./", 2)) {
            text += 2;
        } else if (!strncmp(text, "../", 3) || !strcmp(text, "..")) {
            char *slash = strrchr(base, '/');
            if (slash) *slash = '\0';
            text += text[2] ? 3 : 2;
        } else if (!strcmp(text, ".")) {
            text++;
        } else {
            break;
        }
    }
    KS_CHECK((size_t)snprintf(out, size, "%s%s%s", base, text[0] ? "/" : "", text) < size, KS_ERR_CONFIG,
             "%s: '%s': longer than %zu characters", where, path, size - 1);
done:
    return st;
}

static ks_status set_text(const source *s, const ks_key *key, const ks_node *node, const char *where, char *out) {
    ks_status st = KS_OK;
    char      want[256];
    memset(out, 0, key->size); /* nothing of an earlier value stays behind: configurations compare by bytes */
    if (key->choices) {
        char        word[64];
        const char *names[16];
        char        store[16][64];
        int         n = 0;
        for (; n < 16 && ks_schema_choice(key->choices, n, word, sizeof word); n++) {
            memcpy(store[n], word, sizeof word);
            names[n] = store[n];
            if (!strcmp(word, node->text)) {
                if (key->type == KS_KEY_ENUM) memcpy(out, &n, sizeof n);
                else snprintf(out, key->size, "%s", word);
                goto done;
            }
        }
        const char *near = ks_text_nearest(node->text, n, names);
        describe(key, want, sizeof want);
        KS_CHECK(0, KS_ERR_CONFIG, "%s: '%s' must be %s, got '%s'%s%s%s", where, key->path, want, node->text,
                 near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    }
    if (key->type == KS_KEY_PATH ||
        (key->type == KS_KEY_NAMED && strcmp(key->path, "run.name") && strchr(node->text, '/'))) {
        KS_TRY(absolute(s, node->text, out, key->size, where, key->path));
        goto done;
    }
    KS_CHECK(strlen(node->text) < key->size, KS_ERR_CONFIG, "%s: '%s': longer than %zu characters", where, key->path,
             key->size - 1);
    snprintf(out, key->size, "%s", node->text);
done:
    return st;
}

static ks_status set_list(const ks_key *key, const ks_node *node, const char *where, char *out) {
    ks_status st = KS_OK;
    int64_t   v[3];
    int64_t   n = 0;
    char      want[256], range[128];
    describe(key, want, sizeof want);
    KS_CHECK(node->kind == KS_NODE_LIST, KS_ERR_CONFIG, "%s: '%s' must be %s", where, key->path, want);
    for (const ks_node *c = node->child; c; c = c->next, n++) {
        KS_CHECK(n < 3 && c->kind == KS_NODE_SCALAR && !ks_text_int(c->text, &v[n]), KS_ERR_CONFIG,
                 "%s: '%s' must be %s", where, key->path, want);
        range_text(key, range, sizeof range);
        KS_CHECK(in_range(key, (double)v[n]), KS_ERR_CONFIG, "%s: '%s': %s is outside %s", where, key->path, c->text,
                 range);
    }
    KS_CHECK(n == 3 || (n == 0 && key->type == KS_KEY_INTS), KS_ERR_CONFIG, "%s: '%s' must be %s, got %lld values",
             where, key->path, want, (long long)n);
    if (key->type == KS_KEY_INTS) {
        ((int64_t *)out)[-1] = n;
        memset(out, 0, sizeof v);
        memcpy(out, v, (size_t)n * sizeof v[0]);
    } else {
        for (int i = 0; i < 3; i++) ((int32_t *)out)[i] = (int32_t)v[i];
    }
done:
    return st;
}

static ks_status set_number(const ks_key *key, const ks_node *node, const char *where, char *out) {
    ks_status st = KS_OK;
    int64_t   i  = 0;
    double    x  = 0;
    char      want[256], range[128];
    describe(key, want, sizeof want);
    range_text(key, range, sizeof range);
    if (key->type == KS_KEY_REAL) {
        KS_CHECK(!ks_text_real(node->text, &x), KS_ERR_CONFIG, "%s: '%s' must be %s, got '%s'", where, key->path, want,
                 node->text);
    } else {
        KS_CHECK(!ks_text_int(node->text, &i), KS_ERR_CONFIG, "%s: '%s' must be %s, got '%s'", where, key->path, want,
                 node->text);
        x = (double)i;
    }
    if (!strcmp(key->path, "version"))
        KS_CHECK(i == 1, KS_ERR_CONFIG, "%s: version %s is not known: this program reads version 1", where, node->text);
    KS_CHECK(in_range(key, x), KS_ERR_CONFIG, "%s: '%s' = %s is outside its range %s", where, key->path, node->text,
             range);
    if (key->type == KS_KEY_REAL) memcpy(out, &x, sizeof x);
    else if (key->type == KS_KEY_INT) memcpy(out, &i, sizeof i);
    else *(int *)out = (int)i;
done:
    return st;
}

static ks_status set_value(loader *l, int row, const ks_node *node) {
    ks_status     st  = KS_OK;
    const ks_key *key = &ks_schema[row];
    char         *out = (char *)l->config + key->offset;
    char          where[PATH_TEXT], want[256];
    place(&l->src, node, where, sizeof where);
    describe(key, want, sizeof want);
    if (key->type == KS_KEY_INTS || key->type == KS_KEY_ATOMS) {
        KS_TRY(set_list(key, node, where, out));
    } else {
        KS_CHECK(node->kind == KS_NODE_SCALAR, KS_ERR_CONFIG, "%s: '%s' must be %s, not a %s", where, key->path, want,
                 node->kind == KS_NODE_LIST ? "list" : "mapping");
        KS_CHECK(node->text[0] || node->is_quoted, KS_ERR_CONFIG, "%s: '%s' has no value; it must be %s", where,
                 key->path, want);
        const int is_text = key->type == KS_KEY_ENUM || key->type == KS_KEY_TEXT || key->type == KS_KEY_PATH ||
                            key->type == KS_KEY_NAMED;
        if (is_text) KS_TRY(set_text(&l->src, key, node, where, out));
        else KS_TRY(set_number(key, node, where, out));
    }
    if (!strncmp(key->path, "data.split.", 11)) l->config->data.split[0] = '\0'; /* a mapping replaces a name */
    snprintf(l->given[row], sizeof l->given[row], "%s", where);
done:
    return st;
}

/* ---- the tree ---- */

/* The last word of a path and the section before it. */
static void cut_path(const char *path, char *section, const char **leaf) {
    const char *dot = strrchr(path, '.');
    snprintf(section, PATH_TEXT, "%.*s", dot ? (int)(dot - path) : 0, path);
    *leaf = dot ? dot + 1 : path;
}

static ks_status unknown_key(const char *where, const char *path) {
    char        section[PATH_TEXT], store[MAX_KEYS][64], list[512] = "", other[PATH_TEXT];
    const char *leaf, *names[MAX_KEYS];
    int         n = 0, n_other = 0;
    cut_path(path, section, &leaf);
    const size_t skip = section[0] ? strlen(section) + 1 : 0;
    for (int i = 0; i < ks_schema_n; i++) {
        const char *p   = ks_schema[i].path;
        const char *dot = strrchr(p, '.');
        if (dot && !strcmp(dot + 1, leaf) && n_other++ == 0) snprintf(other, sizeof other, "%s", p);
        if (skip && (strncmp(p, section, skip - 1) || p[skip - 1] != '.')) continue;
        snprintf(store[n], sizeof store[n], "%.*s", (int)strcspn(p + skip, "."), p + skip);
        if (n && !strcmp(store[n], store[n - 1])) continue;
        names[n]          = store[n];
        const size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", n ? ", " : "", store[n]);
        n++;
    }
    const char *near              = ks_text_nearest(leaf, n, names);
    char        in[PATH_TEXT + 8] = "";
    if (section[0]) snprintf(in, sizeof in, " in '%s'", section);
    if (near)
        return ks_error_raise(KS_ERR_CONFIG, __FILE__, __LINE__, __func__,
                              "%s: unknown key '%s'%s (did you mean '%s'?)", where, leaf, in, near);
    if (n_other == 1)
        return ks_error_raise(KS_ERR_CONFIG, __FILE__, __LINE__, __func__,
                              "%s: unknown key '%s'%s (did you mean '%s'?)", where, leaf, in, other);
    return ks_error_raise(KS_ERR_CONFIG, __FILE__, __LINE__, __func__, "%s: unknown key '%s'%s (known: %s)", where,
                          leaf, in, list);
}

static ks_status set_node(loader *l, const char *path, const ks_node *key, const ks_node *node);

static ks_status set_map(loader *l, const char *prefix, const ks_node *map) {
    ks_status st = KS_OK;
    char      path[PATH_TEXT];
    for (const ks_node *k = map->child; k; k = k->next->next) {
        snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] ? "." : "", k->text);
        KS_TRY(set_node(l, path, k, k->next));
    }
done:
    return st;
}

static ks_status set_node(loader *l, const char *path, const ks_node *key, const ks_node *node) {
    ks_status st         = KS_OK;
    const int row        = ks_schema_find(path);
    const int is_section = ks_schema_is_section(path);
    char      where[PATH_TEXT];
    place(&l->src, key, where, sizeof where);
    if (row < 0 && !is_section) KS_TRY(unknown_key(where, path));
    if (is_section && node->kind == KS_NODE_MAP) KS_TRY(set_map(l, path, node));
    else if (row >= 0) KS_TRY(set_value(l, row, node));
    else KS_CHECK(0, KS_ERR_CONFIG, "%s: '%s' is a section: it wants keys below it", where, path);
done:
    return st;
}

static ks_status set_override(loader *l, const char *text, ks_arena *arena) {
    ks_status   st = KS_OK;
    char        path[PATH_TEXT], name[PATH_TEXT];
    ks_node    *node  = NULL;
    ks_node     empty = {.kind = KS_NODE_SCALAR, .text = ""};
    const char *eq    = strchr(text, '=');
    snprintf(name, sizeof name, "--set %s", text);
    l->src.name          = name;
    l->src.with_position = 0;
    KS_CHECK(eq && eq > text && (size_t)(eq - text) < sizeof path, KS_ERR_CONFIG, "%s: want KEY=VALUE", name);
    snprintf(path, sizeof path, "%.*s", (int)(eq - text), text);
    KS_TRY(ks_yaml_parse(eq + 1, strlen(eq + 1), name, 0, arena, &node));
    KS_TRY(set_node(l, path, &empty, node ? node : &empty));
done:
    return st;
}

/* ---- rules between keys ---- */

static void where_given(const void *user, const char *path, char *out, size_t size) {
    const loader *l   = (const loader *)user;
    const int     row = ks_schema_find(path);
    snprintf(out, size, "%s: ", row >= 0 && l->given[row][0] ? l->given[row] : l->src.name);
}

static void where_unknown(const void *user, const char *path, char *out, size_t size) {
    (void)user;
    (void)path;
    out[0] = '\0';
    (void)size;
}

#define RULE(cond, path, ...)                                                                                          \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            char at_[PATH_TEXT], what_[512];                                                                           \
            where(user, path, at_, sizeof at_);                                                                        \
            snprintf(what_, sizeof what_, __VA_ARGS__);                                                                \
            return ks_error_raise(KS_ERR_CONFIG, __FILE__, __LINE__, __func__, "%s%s", at_, what_);                    \
        }                                                                                                              \
    } while (0)

ks_status ks_config_rules(const ks_config *c, ks_config_where where, const void *user) {
    const ks_model_options *m  = &c->model.options;
    const ks_xc            *xc = NULL;
    RULE(c->run.name[0] && c->run.name[0] != '.' && !strchr(c->run.name, '/'), "run.name",
         "'run.name' must be the name of a folder, got '%s'", c->run.name);
    RULE(c->run.dir[0], "run.dir", "'run.dir' is empty");
    RULE(c->refine.kind != KS_REFINE_NONE || c->refine.n_build <= 1, "refine.steps",
         "'refine.kind: none' makes one Fock build, 'refine.steps' = %d", c->refine.n_build);
    RULE(c->eval_refine.kind != KS_REFINE_NONE || c->eval_refine.n_build <= 1, "eval.refine.steps",
         "'eval.refine.kind: none' makes one Fock build, 'eval.refine.steps' = %d", c->eval_refine.n_build);
    RULE(c->optim.lr_min <= c->optim.lr, "optim.lr_min", "'optim.lr_min' = %g is above 'optim.lr' = %g",
         c->optim.lr_min, c->optim.lr);
    RULE(c->loss.energy + c->loss.commutator + c->loss.self_consistency + c->loss.hamiltonian + c->loss.density > 0,
         "loss.energy", "all weights in 'loss' are 0: nothing to train");
    RULE(c->train.pool == 0 || c->train.pool >= c->train.batch, "train.pool",
         "'train.pool' = %lld is smaller than 'train.batch' = %lld", (long long)c->train.pool,
         (long long)c->train.batch);
    RULE(c->data.split_n == 0 || c->data.split_sizes[0] > 0, "data.split.sizes",
         "'data.split.sizes': no training frames");
    RULE(!(m->frame == KS_FRAME_BOND) || (m->bond_atoms[0] == 0 && m->bond_atoms[1] == 0 && m->bond_atoms[2] == 0) ||
             (m->bond_atoms[0] != m->bond_atoms[1] && m->bond_atoms[0] != m->bond_atoms[2] &&
              m->bond_atoms[1] != m->bond_atoms[2]),
         "model.bond_atoms", "'model.bond_atoms' = [%d, %d, %d] must be three different atoms", m->bond_atoms[0],
         m->bond_atoms[1], m->bond_atoms[2]);
    if (c->model.size) {
        char             name[16] = "";
        ks_model_options size     = *m;
        const int        row      = ks_schema_find("model.size");
        ks_schema_choice(ks_schema[row].choices, c->model.size, name, sizeof name);
        if (ks_model_size(name, &size) != KS_OK) return ks_error_code();
        RULE(size.d_model == m->d_model && size.heads == m->heads && size.layers == m->layers, "model.size",
             "'model.size: %s' means d_model %lld, heads %lld, layers %lld, but %lld, %lld, %lld are given; give "
             "either, or size: free",
             name, (long long)size.d_model, (long long)size.heads, (long long)size.layers, (long long)m->d_model,
             (long long)m->heads, (long long)m->layers);
    }
    RULE(m->d_model % m->heads == 0, "model.d_model",
         "'model.d_model' = %lld is not a multiple of 'model.heads' = %lld", (long long)m->d_model,
         (long long)m->heads);
    if (ks_xc_find(c->method.xc, &xc) != KS_OK) {
        char message[256];
        snprintf(message, sizeof message, "%s", ks_error_message());
        RULE(0, "method.xc", "'method.xc': %s", message);
    }
    return KS_OK;
}

ks_status ks_config_check(const ks_config *config) { return ks_config_rules(config, where_unknown, NULL); }

/* model.size fills what was not given. */
static ks_status expand_size(loader *l) {
    ks_status        st       = KS_OK;
    char             name[16] = "";
    ks_model_options size = l->config->model.options, *m = &l->config->model.options;
    if (!l->config->model.size) goto done;
    ks_schema_choice(ks_schema[ks_schema_find("model.size")].choices, l->config->model.size, name, sizeof name);
    KS_TRY(ks_model_size(name, &size));
    if (!l->given[ks_schema_find("model.d_model")][0]) m->d_model = size.d_model;
    if (!l->given[ks_schema_find("model.heads")][0]) m->heads = size.heads;
    if (!l->given[ks_schema_find("model.layers")][0]) m->layers = size.layers;
done:
    return st;
}

/* ---- entry points ---- */

/* The defaults are texts like any other value, so one parser serves both; a bad one is a bug that test_config finds. */
static ks_status set_defaults(loader *l, ks_arena *arena) {
    ks_status st = KS_OK;
    ks_node  *node;
    memset(l->config, 0, sizeof *l->config);
    for (int i = 0; i < ks_schema_n; i++) {
        ks_node empty        = {.kind = KS_NODE_SCALAR, .text = "", .is_quoted = 1};
        l->src.name          = ks_schema[i].path;
        l->src.with_position = 0;
        node                 = NULL;
        KS_TRY(ks_yaml_parse(ks_schema[i].value, strlen(ks_schema[i].value), ks_schema[i].path, 0, arena, &node));
        KS_TRY(set_value(l, i, node ? node : &empty));
        l->given[i][0] = '\0';
    }
done:
    return st;
}

ks_status ks_config_defaults(ks_config *config) {
    ks_status st    = KS_OK;
    loader   *l     = NULL;
    ks_arena *arena = NULL;
    char      folder[PATH_MAX];
    KS_TRY(KS_ZNEW(l, 1));
    KS_TRY(ks_arena_create("config", 16384, &arena));
    KS_CHECK(getcwd(folder, sizeof folder), KS_ERR_IO, "working folder: %s", strerror(errno));
    l->config     = config;
    l->src.folder = folder;
    KS_TRY(set_defaults(l, arena));
done:
    ks_arena_destroy(&arena);
    KS_FREE(l);
    return st;
}

ks_status ks_config_parse(const char *text, const char *name, const char *folder, int n_set, const char *const *set,
                          ks_config *config) {
    ks_status st    = KS_OK;
    loader   *l     = NULL;
    ks_arena *arena = NULL;
    ks_node  *root  = NULL;
    char      base[PATH_MAX], cwd[PATH_MAX];
    _Static_assert(sizeof ks_schema[0] > 0, "schema");
    KS_CHECK(ks_schema_n <= MAX_KEYS, KS_ERR_ARG, "schema of %d keys, limit %d", ks_schema_n, MAX_KEYS);
    KS_CHECK(config && (n_set == 0 || set), KS_ERR_ARG, "config: NULL argument");
    KS_CHECK(realpath(folder ? folder : ".", base), KS_ERR_IO, "%s: %s", folder ? folder : ".", strerror(errno));
    KS_CHECK(getcwd(cwd, sizeof cwd), KS_ERR_IO, "working folder: %s", strerror(errno));
    KS_TRY(KS_ZNEW(l, 1));
    KS_TRY(ks_arena_create("config", 16384, &arena));
    l->config     = config;
    l->src.folder = base;
    KS_TRY(set_defaults(l, arena));
    if (text) {
        KS_TRY(ks_yaml_parse(text, strlen(text), name, 1, arena, &root));
        l->src = (source){name, base, 1};
        KS_CHECK(root, KS_ERR_CONFIG, "%s:1:1: the file is empty; it must begin with 'version: 1'", name);
        KS_CHECK(root->kind == KS_NODE_MAP, KS_ERR_CONFIG,
                 "%s:%d:%d: a config is a mapping of keys, beginning with 'version: 1'", name, root->line,
                 root->column);
        KS_TRY(set_map(l, "", root));
        KS_CHECK(l->given[ks_schema_find("version")][0], KS_ERR_CONFIG, "%s:1:1: 'version: 1' is missing", name);
    }
    l->src.folder = cwd;
    for (int i = 0; i < n_set; i++) KS_TRY(set_override(l, set[i], arena));
    l->src.name = text ? name : "config";
    KS_TRY(expand_size(l));
    KS_TRY(ks_config_rules(config, where_given, l));
done:
    ks_arena_destroy(&arena);
    KS_FREE(l);
    return st;
}

ks_status ks_config_load(const char *path, int n_set, const char *const *set, ks_config *config) {
    ks_status st   = KS_OK;
    FILE     *f    = NULL;
    char     *text = NULL;
    char      folder[PATH_MAX];
    if (!path) return ks_config_parse(NULL, "config", NULL, n_set, set, config);
    f = fopen(path, "rb");
    KS_CHECK(f, KS_ERR_CONFIG, "%s: %s", path, strerror(errno));
    KS_TRY(KS_NEW(text, FILE_MAX + 1));
    const size_t n = fread(text, 1, FILE_MAX, f);
    KS_CHECK(!ferror(f), KS_ERR_CONFIG, "%s: %s", path, strerror(errno));
    KS_CHECK(n < FILE_MAX, KS_ERR_CONFIG, "%s: larger than %d bytes: not a config", path, FILE_MAX);
    KS_CHECK(!memchr(text, 0, n), KS_ERR_CONFIG, "%s: contains zero bytes: not a config", path);
    text[n]           = '\0';
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    KS_TRY(ks_config_parse(text, path, folder[0] ? folder : "/", n_set, set, config));
done:
    if (f) fclose(f);
    KS_FREE(text);
    return st;
}

ks_status ks_config_method(const ks_config *config, ks_method *method) {
    ks_status st = KS_OK;
    *method = (ks_method){.grid_level = (int)config->method.grid, .guess = (ks_guess)config->method.guess, .n_spin = 1};
    KS_TRY(ks_xc_find(config->method.xc, &method->xc));
done:
    return st;
}
