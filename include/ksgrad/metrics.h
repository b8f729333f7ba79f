/* metrics.h -- metrics.jsonl (the truth) and metrics.csv of a run folder.
 *
 * One JSON object per event: {"t": unix seconds, "step": n, "kind": "train|valid|ckpt|warn|resume", ...}; units are
 * in the key names, values that are not finite are null. After a restart older steps may appear again: readers keep
 * the last value per (kind, step). The CSV has train and valid rows only. */
#ifndef KS_METRICS_H
#define KS_METRICS_H
#include <stdint.h>
#include "ksgrad/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Columns: X(key). */
#define KS_RUN_COLUMNS(X)                                                                                              \
    X(loss)                                                                                                            \
    X(energy_Ha)                                                                                                       \
    X(commutator)                                                                                                      \
    X(self_consistency)                                                                                                \
    X(hamiltonian)                                                                                                     \
    X(density)                                                                                                         \
    X(lr)                                                                                                              \
    X(grad_norm)                                                                                                       \
    X(min_gap_Ha)                                                                                                      \
    X(n_frame)                                                                                                         \
    X(n_masked)                                                                                                        \
    X(n_built)                                                                                                         \
    X(ms_step)                                                                                                         \
    X(ms_build)                                                                                                        \
    X(ms_wait)                                                                                                         \
    X(frames_per_s)                                                                                                    \
    X(energy_no_network_Ha)                                                                                            \
    X(energy_gain_meV)                                                                                                 \
    X(commutator_rms_Ha)                                                                                               \
    X(energy_mae_meV)                                                                                                  \
    X(h_mae_uHa)                                                                                                       \
    X(seconds)                                                                                                         \
    X(best_step)                                                                                                       \
    X(world)

typedef enum ks_column {
#define X(key) KS_COL_##key,
    KS_RUN_COLUMNS(X)
#undef X
        KS_N_COLUMN
} ks_column;

typedef struct ks_row {
    double  value[KS_N_COLUMN];
    uint8_t is_set[KS_N_COLUMN];
} ks_row;
static inline void ks_row_set(ks_row *row, ks_column column, double value) {
    row->value[column]  = value;
    row->is_set[column] = 1;
}

typedef struct ks_run_metrics ks_run_metrics;
/* Appends to run_dir/metrics.jsonl and .csv; a line that a killed run left half-written is closed first. *had_lines:
 * the file was not empty. */
KS_NODISCARD ks_status ks_run_metrics_open(const char *run_dir, ks_run_metrics **out, int *had_lines);
void                   ks_run_metrics_close(ks_run_metrics **metrics);
/* One event; row and message may be NULL. On the disk's side of the process when it returns. */
KS_NODISCARD ks_status ks_run_metrics_write(ks_run_metrics *metrics, const char *kind, int64_t step, const ks_row *row,
                                            const char *message);

#ifdef __cplusplus
}
#endif
#endif
