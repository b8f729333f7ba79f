/* ranks.h -- this process among the ranks that a launcher has started: what the rest of src/cli asks about it.
 * Private. */
#ifndef KS_CLI_RANKS_H
#define KS_CLI_RANKS_H
#include "cli/cli.h"

/* The options --launcher, --rank, --ranks, --local-rank, --rendezvous; ends with a row of name NULL. */
const ks_cli_opt *ks_cli_rank_options(void);
/* What they and the environment say, for detecting again. */
ks_launch_options ks_cli_launch_options(void);

/* Looks at options and environment, so that lines of ranks above 0 are told apart from here on. */
void ks_cli_ranks_begin(void);
/* 0 when this is the only rank, or nothing says otherwise. */
int ks_cli_rank(void);
/* "[rank 2 of 4, node01] " on ranks above 0, else "". */
const char *ks_cli_rank_prefix(void);

/* This rank ends with an error, which it is about to print: 1 when it should not, because another rank says it. */
int ks_cli_ranks_is_silent(const char *message);
/* ... and has printed it: the other ranks are told. */
void ks_cli_ranks_fail(ks_status st, const char *message);

/* Context on one of the GPUs that the process sees; see ks_cli_ctx. */
KS_NODISCARD ks_status ks_cli_ctx_on(const char *backend, int threads, int device, ks_ctx **out);
#endif
