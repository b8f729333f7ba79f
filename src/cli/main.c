/* main.c -- the program: verbs, version, overview. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/cli.h"
#include "core/text.h"

typedef struct verb {
    const char *name, *line;
    int (*run)(int argc, char **argv);
} verb;

static const verb g_verb[] = {
#define X(name, suffix, line) {name, line, ks_cmd_##suffix},
    KS_VERBS(X)
#undef X
};
enum { N_VERB = (int)(sizeof g_verb / sizeof g_verb[0]) };

static void print_overview(FILE *out) {
    fprintf(out,
            "ksgrad %s -- differentiable Kohn-Sham DFT, and networks trained through it\n\n"
            "Usage: ksgrad VERB [arguments] [options]\n\n",
            ks_version());
    for (int i = 0; i < N_VERB; i++) fprintf(out, "  %-15s %s\n", g_verb[i].name, g_verb[i].line);
    fprintf(out, "\n'ksgrad VERB --help' shows a verb's options and an example; 'ksgrad --version' the build.\n");
}

/* A step has hundreds of short parallel regions. libgomp lets waiting threads spin for milliseconds by default, which costs
 * up to twenty times the run time as soon as another program shares the cores; it reads its settings only while it is
 * loaded, so the program starts itself again with a short spin. A user's own setting of either variable is left alone. */
static void limit_spinning(char **argv) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    if (setenv("GOMP_SPINCOUNT", "1000", 1) == 0)
        execv("/proc/self/exe", argv); /* when that fails: slower, not wrong */
}

int main(int argc, char **argv) {
    limit_spinning(argv);
    if (argc < 2) {
        print_overview(stderr);
        return KS_EXIT_USAGE;
    }
    const char *word = argv[1];
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
        if (argc > 2 && word[0] != '-') { /* "help VERB" */
            char *again[3] = {argv[2], (char[]){"--help"}, NULL};
            for (int i = 0; i < N_VERB; i++)
                if (!strcmp(g_verb[i].name, argv[2])) return g_verb[i].run(2, again);
            return ks_cli_usage_error("", "unknown verb '%s'", argv[2]);
        }
        print_overview(stdout);
        return KS_EXIT_OK;
    }
    if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
        printf("ksgrad %s\n%s, cpu kernels %s\n", ks_version(), ks_build_info(), ks_cpu_isa());
        return KS_EXIT_OK;
    }
    for (int i = 0; i < N_VERB; i++)
        if (!strcmp(g_verb[i].name, word)) return g_verb[i].run(argc - 1, argv + 1);

    const char *names[N_VERB + 1];
    for (int i = 0; i < N_VERB; i++) names[i] = g_verb[i].name;
    const char *near = ks_text_nearest(word, N_VERB, names);
    return near ? ks_cli_usage_error("", "unknown verb '%s' (did you mean '%s'?)", word, near)
                : ks_cli_usage_error("", "unknown verb '%s'", word);
}
