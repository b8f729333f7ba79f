/* train_data.h -- geometries and configs for the tests of trainer and checkpoints. */
#ifndef KS_TRAIN_DATA_H
#define KS_TRAIN_DATA_H
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ks_test.h"

static char t_dir[64];

static inline void t_make_dir(void) {
    snprintf(t_dir, sizeof t_dir, "/tmp/ksgrad-test-XXXXXX");
    if (!mkdtemp(t_dir)) exit(1);
}
static inline void t_remove_dir(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", t_dir);
    if (system(command) != 0) printf("cannot remove %s\n", t_dir);
}
static inline double t_uniform(uint64_t i) { return ks_rng_uniform(11, KS_STREAM_TEST, 0, i); }

/* n distorted waters, then n_h2 hydrogen molecules of the given lengths (Angstrom). */
static inline void t_write_xyz(const char *name, int n, int n_h2, const double *length) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", t_dir, name);
    FILE *f = fopen(path, "w");
    if (!f) exit(1);
    for (int k = 0; k < n; k++) {
        double d[6];
        for (int i = 0; i < 6; i++) d[i] = 0.08 * (t_uniform((uint64_t)(6 * k + i)) - 0.5);
        fprintf(f, "3\nwater\nO %.8f 0 %.8f\nH 0 %.8f %.8f\nH 0.01 %.8f %.8f\n", d[0], 0.12 + d[1], 0.76 + d[2],
                -0.47 + d[3], -0.76 + d[4], -0.47 + d[5]);
    }
    for (int k = 0; k < n_h2; k++) fprintf(f, "2\nhydrogen\nH 0 0 0\nH 0.1 0 %.8f\n", length[k]);
    fclose(f);
}

/* A small config over that file, with extra lines at the end of the text. */
static inline void t_config(ks_config *c, const char *file, const char *sizes, int n_set, const char *const *set) {
    char text[1024];
    snprintf(text, sizeof text,
             "version: 1\nrun: {name: run, dir: .}\ndata: {file: %s, split: {method: index, sizes: %s}}\n"
             "method: {xc: lda, basis: sto-3g, grid: 0}\nmodel: {d_model: 16, heads: 2, layers: 1}\n"
             "optim: {lr: 1e-3, warmup: 2, steps: 100}\ntrain: {batch: 4}\nvalid: {every: 5, frames: 8}\n",
             file, sizes);
    T_OK(ks_config_parse(text, "test.yaml", t_dir, n_set, set, c));
}
#endif
