/* cli.h -- what every verb shares: the verb table, options, help, log lines, exit codes.
 *
 * A verb is a function `int ks_cmd_<verb>(int argc, char **argv)` in src/cli/cmd_<verb>.c and one line in KS_VERBS;
 * argv[0] is the verb. It fills a ks_cli_spec, calls ks_cli_parse, works with ks_status inside and ends with
 * ks_cli_finish. Only src/cli prints or exits. Tables and results go to stdout, log lines to stderr. */
#ifndef KS_CLI_H
#define KS_CLI_H
#include <stdint.h>
#include <stdio.h>
#include "ksgrad/ksgrad.h"

/* The verb table: X(name, function suffix, one line). */
#define KS_VERBS(X)                                                                                                    \
    X("train", train, "train a network from a config, or go on where it was interrupted")                              \
    X("check", check, "parse a config, resolve it, plan memory; touch nothing")                                        \
    X("data", data, "data files: convert, info, split, label, verify")                                                 \
    X("eval", eval, "all metrics of a trained network, beside those without it")                                       \
    X("predict", predict, "Hamiltonians, densities and energies of new geometries")                                    \
    X("scf", scf, "converged SCF of each frame of a geometry file")                                                    \
    X("gradcheck", gradcheck, "adjoints of a training step against finite differences")                                \
    X("bench", bench, "times of operations, SCF and training step")                                                    \
    X("info", info, "what is in a checkpoint, data set, result or geometry file")                                      \
    X("cluster-script", cluster_script, "a batch script: several GPUs, several nodes, requeued")                       \
    X("doctor", doctor, "what this machine has")                                                                       \
    /* end */

enum {
    KS_EXIT_OK      = 0,
    KS_EXIT_USAGE   = 2,
    KS_EXIT_CONFIG  = 3,
    KS_EXIT_DATA    = 4,
    KS_EXIT_DEVICE  = 5, /* device, memory, communication */
    KS_EXIT_NUMERIC = 6,
    KS_EXIT_STOPPED = 75 /* stopped in time, checkpoint written, run the same command again */
};

typedef enum ks_opt_kind {
    KS_OPT_FLAG, /* value: int *, set to 1 */
    KS_OPT_TEXT, /* value: const char ** */
    KS_OPT_INT,  /* value: int64_t * */
    KS_OPT_REAL  /* value: double * */
} ks_opt_kind;

typedef struct ks_cli_opt {
    const char *name;   /* long name without dashes */
    char        letter; /* short name, 0: none */
    ks_opt_kind kind;
    const char *meta; /* what stands for the value in the help, e.g. "FILE" */
    const char *help;
    void       *value; /* holds the default before ks_cli_parse */
} ks_cli_opt;

typedef struct ks_cli_spec {
    const char       *usage;   /* after "ksgrad ": "train CONFIG.yaml [--resume auto|never|must]" */
    const char       *about;   /* a few lines */
    const char       *example; /* complete command lines, one per line */
    const ks_cli_opt *opt;     /* ends with a row of name NULL; may be NULL */
    int               min_arg, max_arg;
} ks_cli_spec;

enum { KS_CLI_GO = -1, KS_CLI_MAX_ARG = 16 };

/* argv[0] is skipped; a verb with sub-verbs ("data convert IN") passes argc - 1, argv + 1. Options may stand anywhere;
 * "--" ends them. Common to all verbs: --help, -v/--verbose, -q/--quiet, --set KEY=VALUE
 * (repeatable), --threads N, --backend NAME (short for --set device.threads=N, device.backend=NAME).
 * KS_CLI_GO: go on, positional arguments in arg[0..*n_arg-1]. Anything else is the exit code (0 after --help, 2 after
 * a complaint on stderr). */
int ks_cli_parse(const ks_cli_spec *spec, int argc, char **argv, const char *arg[KS_CLI_MAX_ARG], int *n_arg);

/* The --set options of this command line, in order: "a.b=c". */
const char *const *ks_cli_sets(int *n);
/* Adds one, as if given on the command line (for options that are short forms). Text is copied. */
KS_NODISCARD ks_status ks_cli_add_set(const char *key, const char *value);
int                    ks_cli_verbose(void);
const char            *ks_cli_verb(void); /* "train", "data convert" */

/* Prints the error (one readable line; the trace with -v) when st is not KS_OK; returns the exit code. */
int ks_cli_finish(ks_status st);
int ks_cli_exit_code(ks_status st);
/* A usage complaint: one line, a pointer to --help; returns KS_EXIT_USAGE. */
int ks_cli_usage_error(const char *verb, const char *fmt, ...) KS_PRINTF(2, 3);

/* Context from backend and threads; an unusable device exits with KS_EXIT_DEVICE, whatever the status is. For verbs that
 * run as one rank: a launcher that has started several is KS_ERR_CONFIG. */
KS_NODISCARD ks_status ks_cli_ctx(const char *backend, int threads, ks_ctx **out);

/* This process among the ranks that a launcher (or --rank, --ranks, --rendezvous) has started: the communicator (NULL:
 * one rank) and the context on this rank's GPU or share of the CPUs, both attached as comm.* of the config says. The
 * config must be the same on all ranks but for folders, threads, memory and log intervals. From here on log lines,
 * status line and standard output are rank 0's (-v: log lines of all). Both are the verb's, after an error too: what
 * hangs on them first, then ks_cli_finish, which tells the other ranks of an error, then ks_comm_destroy, then
 * ks_ctx_destroy. A rank that ends with another one's error says nothing. */
KS_NODISCARD ks_status ks_cli_ranks(const ks_config *config, ks_comm **comm, ks_ctx **ctx);

/* Log lines also go to this file (NULL: no longer). The caller closes it. */
void ks_cli_log_file(FILE *file);
/* For a status line on a terminal: the next log line first ends the status line. */
void ks_cli_status_line(const char *text);

#define X(name, suffix, line) int ks_cmd_##suffix(int argc, char **argv);
KS_VERBS(X)
#undef X
#endif
