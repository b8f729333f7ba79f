/* cli.c -- see cli.h. */
#define _GNU_SOURCE
#include "cli/cli.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/ranks.h"
#include "core/text.h"

enum { MAX_SETS = 256 };

static const char *g_set[MAX_SETS];
static int         g_n_set;
static int         g_verbose;
static int         g_device_failed;
static FILE       *g_file;
static int         g_status_open; /* a status line stands on the terminal */
static char       *g_threads, *g_backend;
static char        g_verb[64];

/* ---- log lines ---- */

static int g_help, g_quiet;

/* Ranks above 0 speak of errors alone, and of all with -v. */
static void sink(void *user, ks_log_level level, const char *line) {
    static const char *const prefix[] = {"debug: ", "", "warning: ", "error: "};
    const ks_log_level       least    = ks_cli_rank() && !g_verbose ? KS_LOG_ERROR : KS_LOG_WARN;
    (void)user;
    if (level >= least || (!g_quiet && (!ks_cli_rank() || g_verbose))) { /* a log file gets the whole story */
        if (g_status_open) fputs("\r\033[K", stderr);
        g_status_open = 0;
        /* a watchdog's last words have the rank already */
        fprintf(stderr, "%s%s%s\n", strncmp(line, "[rank ", 6) ? ks_cli_rank_prefix() : "", prefix[level], line);
    }
    if (g_file) {
        fprintf(g_file, "%s%s\n", prefix[level], line);
        fflush(g_file);
    }
}

void ks_cli_log_file(FILE *file) { g_file = file; }

void ks_cli_status_line(const char *text) {
    fprintf(stderr, "\r\033[K%s", text);
    fflush(stderr);
    g_status_open = text[0] != '\0';
}

int         ks_cli_verbose(void) { return g_verbose; }
const char *ks_cli_verb(void) { return g_verb; }

/* ---- errors and exit codes ---- */

int ks_cli_exit_code(ks_status st) {
    if (g_device_failed && st != KS_OK) return KS_EXIT_DEVICE;
    switch (st) {
    case KS_OK:
        return KS_EXIT_OK;
    case KS_ERR_ARG:
        return KS_EXIT_USAGE;
    case KS_ERR_CONFIG:
        return KS_EXIT_CONFIG;
    case KS_ERR_UNSUPPORTED:
    case KS_ERR_IO:
    case KS_ERR_DATA:
    case KS_ERR_HDF5:
        return KS_EXIT_DATA;
    case KS_ERR_NOMEM:
    case KS_ERR_CUDA:
    case KS_ERR_COMM:
        return KS_EXIT_DEVICE;
    case KS_ERR_NUMERIC:
    case KS_ERR_LAPACK:
        return KS_EXIT_NUMERIC;
    case KS_ERR_STOPPED:
        return KS_EXIT_STOPPED;
    case KS_STATUS_COUNT:
        break;
    }
    return KS_EXIT_NUMERIC;
}

int ks_cli_finish(ks_status st) {
    if (fflush(stdout) != 0 && st == KS_OK) {
        fprintf(stderr, "ksgrad: error: cannot write to standard output\n");
        return KS_EXIT_DATA;
    }
    if (st == KS_OK || st == KS_ERR_STOPPED) return ks_cli_exit_code(st);
    if (g_status_open) fputs("\r\033[K", stderr);
    g_status_open       = 0;
    char *const message = strdup(ks_error_message()[0] ? ks_error_message() : ks_status_text(st));
    char *const trace   = strdup(ks_error_trace()); /* telling the other ranks may meet errors of its own */
    const char *text    = message ? message : ks_status_text(KS_ERR_NOMEM);
    FILE *const out[2]  = {ks_cli_ranks_is_silent(text) ? NULL : stderr, g_file};
    for (int i = 0; i < 2; i++) {
        if (!out[i]) continue;
        fprintf(out[i], "ksgrad: %serror: %s\n", ks_cli_rank_prefix(), text);
        if (g_verbose || i == 1) fprintf(out[i], "%s\n", trace ? trace : "");
        fflush(out[i]);
    }
    ks_cli_ranks_fail(g_device_failed ? KS_ERR_CUDA : st, text); /* the same exit code everywhere */
    free(message);
    free(trace);
    return ks_cli_exit_code(st);
}

int ks_cli_usage_error(const char *verb, const char *fmt, ...) {
    va_list ap;
    ks_cli_ranks_begin();
    if (ks_cli_rank() > 0) return KS_EXIT_USAGE; /* rank 0 has the same command line */
    va_start(ap, fmt);
    fputs("ksgrad: error: ", stderr);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nTry 'ksgrad %s%s--help'.\n", verb, verb[0] ? " " : "");
    return KS_EXIT_USAGE;
}

ks_status ks_cli_ctx_on(const char *backend, int threads, int device, ks_ctx **out) {
    const ks_ctx_options opt = {.backend = backend, .threads = threads, .device = device};
    const ks_status      st  = ks_ctx_create(&opt, out);
    g_device_failed          = st != KS_OK && st != KS_ERR_ARG;
    return st;
}

/* ---- options ---- */

const char *const *ks_cli_sets(int *n) {
    *n = g_n_set;
    return g_set;
}

ks_status ks_cli_add_set(const char *key, const char *value) {
    ks_status st   = KS_OK;
    char     *text = NULL;
    KS_CHECK(g_n_set < MAX_SETS, KS_ERR_ARG, "more than %d --set options", MAX_SETS);
    KS_CHECK(asprintf(&text, "%s=%s", key, value) >= 0, KS_ERR_NOMEM, "--set %s", key);
    g_set[g_n_set++] = text; /* lives as long as the process, like argv */
done:
    return st;
}

static const ks_cli_opt *common(void) {
    static const ks_cli_opt opt[] = {
        {"set", 0, KS_OPT_TEXT, "KEY=VALUE", "override a config key, e.g. optim.lr=1e-3 (repeatable)", NULL},
        {"backend", 0, KS_OPT_TEXT, "NAME", "auto, cpu or cuda (short for --set device.backend=NAME)", &g_backend},
        {"threads", 0, KS_OPT_TEXT, "N", "CPU threads, 0: all usable (short for --set device.threads=N)", &g_threads},
        {"verbose", 'v', KS_OPT_FLAG, NULL, "more log lines; code locations with an error", &g_verbose},
        {"quiet", 'q', KS_OPT_FLAG, NULL, "warnings and errors only", &g_quiet},
        {"help", 'h', KS_OPT_FLAG, NULL, "this text", &g_help},
        {NULL, 0, KS_OPT_FLAG, NULL, NULL, NULL}};
    return opt;
}

static void print_options(const ks_cli_opt *opt) {
    for (; opt && opt->name; opt++) {
        char left[64];
        snprintf(left, sizeof left, "%c%c%c --%s%s%s", opt->letter ? '-' : ' ', opt->letter ? opt->letter : ' ',
                 opt->letter ? ',' : ' ', opt->name, opt->meta ? " " : "", opt->meta ? opt->meta : "");
        printf("  %-32s%s%s\n", left, strlen(left) >= 32 ? "\n                                  " : "", opt->help);
    }
}

static void print_help(const ks_cli_spec *spec) {
    printf("Usage: ksgrad %s\n\n%s\n", spec->usage, spec->about);
    if (spec->opt && spec->opt->name) {
        printf("\nOptions\n");
        print_options(spec->opt);
    }
    printf("\nCommon options\n");
    print_options(common());
    printf("\nRanks (what starts several processes says this by itself)\n");
    print_options(ks_cli_rank_options());
    printf("\nExample\n");
    for (const char *p = spec->example; *p;) {
        const size_t n = strcspn(p, "\n");
        printf("  %.*s\n", (int)n, p);
        p += n + (p[n] == '\n');
    }
    printf("\nExit codes: 0 ok, 2 usage, 3 config, 4 data, 5 device, memory or another rank, 6 numerical, 75 stopped "
           "in time\n");
}

static const ks_cli_opt *find_long(const ks_cli_opt *opt, const char *name, size_t length) {
    for (; opt && opt->name; opt++)
        if (strlen(opt->name) == length && !strncmp(opt->name, name, length)) return opt;
    return NULL;
}
static const ks_cli_opt *find_short(const ks_cli_opt *opt, char letter) {
    for (; opt && opt->name; opt++)
        if (opt->letter == letter) return opt;
    return NULL;
}

static int store(const char *verb, const ks_cli_opt *opt, const char *text) {
    if (!strcmp(opt->name, "set")) {
        const char *eq = strchr(text, '=');
        if (!eq || eq == text) return ks_cli_usage_error(verb, "--set wants KEY=VALUE, got '%s'", text);
        if (g_n_set == MAX_SETS) return ks_cli_usage_error(verb, "more than %d --set options", MAX_SETS);
        g_set[g_n_set++] = text;
        return KS_CLI_GO;
    }
    switch (opt->kind) {
    case KS_OPT_FLAG:
        *(int *)opt->value = 1;
        break;
    case KS_OPT_TEXT:
        *(const char **)opt->value = text;
        break;
    case KS_OPT_INT:
        if (ks_text_int(text, (int64_t *)opt->value))
            return ks_cli_usage_error(verb, "--%s wants an integer, got '%s'", opt->name, text);
        break;
    case KS_OPT_REAL:
        if (ks_text_real(text, (double *)opt->value))
            return ks_cli_usage_error(verb, "--%s wants a number, got '%s'", opt->name, text);
        break;
    }
    return KS_CLI_GO;
}

static int unknown_option(const ks_cli_spec *spec, const char *verb, const char *word) {
    const char *names[128];
    int         n = 0;
    for (const ks_cli_opt *o = spec->opt; o && o->name && n < 100; o++) names[n++] = o->name;
    for (const ks_cli_opt *o = common(); o->name; o++) names[n++] = o->name;
    for (const ks_cli_opt *o = ks_cli_rank_options(); o->name; o++) names[n++] = o->name;
    char cut[64];
    snprintf(cut, sizeof cut, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    const char *near = word[1] == '-' ? ks_text_nearest(cut, n, names) : NULL;
    return near ? ks_cli_usage_error(verb, "unknown option '%s' (did you mean '--%s'?)", word, near)
                : ks_cli_usage_error(verb, "unknown option '%s'", word);
}

/* One option at argv[*i]; long options take "--name value" or "--name=value", short ones "-o value" or "-ovalue". */
static int parse_option(const ks_cli_spec *spec, const char *verb, int argc, char **argv, int *i) {
    const char       *word = argv[*i], *text = NULL;
    const ks_cli_opt *opt;
    if (word[1] == '-') {
        const size_t n = strcspn(word + 2, "=");
        opt            = find_long(spec->opt, word + 2, n);
        if (!opt) opt = find_long(common(), word + 2, n);
        if (!opt) opt = find_long(ks_cli_rank_options(), word + 2, n);
        if (word[2 + n] == '=') text = word + 3 + n;
    } else {
        opt = find_short(spec->opt, word[1]);
        if (!opt) opt = find_short(common(), word[1]);
        if (word[2]) text = word + 2;
    }
    if (!opt || (opt->kind == KS_OPT_FLAG && text && word[1] != '-')) return unknown_option(spec, verb, word);
    if (opt->kind == KS_OPT_FLAG) {
        if (text) return ks_cli_usage_error(verb, "--%s takes no value", opt->name);
    } else if (!text) {
        if (*i + 1 >= argc) return ks_cli_usage_error(verb, "--%s wants a value", opt->name);
        text = argv[++*i];
    }
    return store(verb, opt, text);
}

/* The leading lower-case words of the usage line: "train", "data convert". */
static void verb_of(const ks_cli_spec *spec, char *verb, size_t size) {
    size_t n = 0;
    for (;;) {
        const size_t word = strspn(spec->usage + n, "abcdefghijklmnopqrstuvwxyz-");
        const char   next = spec->usage[n + word];
        if (word == 0 || spec->usage[n] == '-' || (next && next != ' ')) break;
        n += word + (next == ' ');
    }
    while (n && spec->usage[n - 1] == ' ') n--;
    snprintf(verb, size, "%.*s", (int)n, spec->usage);
}

int ks_cli_parse(const ks_cli_spec *spec, int argc, char **argv, const char *arg[KS_CLI_MAX_ARG], int *n_arg) {
    int n = 0, only_args = 0;
    verb_of(spec, g_verb, sizeof g_verb);
    const char *const verb = g_verb;
    for (int i = 1; i < argc; i++) {
        if (!only_args && !strcmp(argv[i], "--")) {
            only_args = 1;
        } else if (!only_args && argv[i][0] == '-' && argv[i][1]) {
            const int rc = parse_option(spec, verb, argc, argv, &i);
            if (rc != KS_CLI_GO) return rc;
        } else {
            if (n == spec->max_arg || n == KS_CLI_MAX_ARG)
                return ks_cli_usage_error(verb, "unexpected argument '%s'", argv[i]);
            arg[n++] = argv[i];
        }
    }
    if (g_help) {
        print_help(spec);
        return KS_EXIT_OK;
    }
    if (n < spec->min_arg) return ks_cli_usage_error(verb, "missing argument: ksgrad %s", spec->usage);
    if (g_threads && ks_cli_add_set("device.threads", g_threads) != KS_OK) return ks_cli_finish(KS_ERR_ARG);
    if (g_backend && ks_cli_add_set("device.backend", g_backend) != KS_OK) return ks_cli_finish(KS_ERR_ARG);
    ks_cli_ranks_begin();
    ks_log_set(sink, NULL, g_verbose ? KS_LOG_DEBUG : KS_LOG_INFO);
    *n_arg = n;
    return KS_CLI_GO;
}
