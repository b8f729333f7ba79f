/* eval_report.h -- the results of an evaluation: collected per frame, printed as a table, saved as JSON and CSV. */
#ifndef KS_CLI_EVAL_REPORT_H
#define KS_CLI_EVAL_REPORT_H
#include <stdio.h>
#include "ksgrad/eval.h"

typedef struct ks_eval_report {
    /* set by the caller; all borrowed */
    const ks_method  *method;
    const char       *basis, *data, *split, *model; /* split NULL: all frames; model: checkpoint or prediction file */
    char              reference[1400];
    ks_refine_options refine;
    int64_t           step;
    int               first_row;   /* there is a model row */
    int               has_network; /* it is a network's (with a time and a step) */
    int               world;       /* ranks */
    ks_eval_time      time;
    /* collected */
    int64_t        n_frame, n_reference_unconverged, capacity;
    int64_t        n_masked[KS_EVAL_ROWS], n_scf_unconverged[KS_EVAL_ROWS], n_cycles;
    ks_eval_frame *frame;
    ks_metrics_sum sum[KS_EVAL_ROWS]; /* frames whose reference converged */
} ks_eval_report;

KS_NODISCARD ks_status ks_eval_report_add(ks_eval_report *r, const ks_eval_frame *frame);
void                   ks_eval_report_print(const ks_eval_report *r, FILE *out);
/* folder/summary.json and folder/per_frame.csv. */
KS_NODISCARD ks_status ks_eval_report_save(const ks_eval_report *r, const char *folder);
void                   ks_eval_report_free(ks_eval_report *r);
#endif
