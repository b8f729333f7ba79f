/* cmd_info.c -- info: what is in a checkpoint, a data set, a result file or a geometry file. */
#include <string.h>
#include <sys/stat.h>
#include "cli/cli.h"
#include "io/h5.h"
#include "ksgrad/train.h"

/* All attributes of one group that a checkpoint writes as texts. */
static ks_status print_texts(ks_h5 *file, const char *group, int n, const char *const *names) {
    ks_status st   = KS_OK;
    char     *text = NULL;
    for (int i = 0; i < n; i++) {
        if (!ks_h5_has_attr(file, group, names[i])) continue;
        KS_TRY(ks_h5_get_string(file, group, names[i], &text));
        printf("%-16s %s\n", names[i], text);
        KS_FREE(text);
    }
done:
    KS_FREE(text);
    return st;
}

static ks_status print_numbers(ks_h5 *file, int n, const char *const *names) {
    ks_status st = KS_OK;
    for (int i = 0; i < n; i++) {
        int64_t value = 0;
        if (!ks_h5_has_attr(file, "/", names[i])) continue;
        KS_TRY(ks_h5_get_i64(file, "/", names[i], &value));
        if (strcmp(names[i], "checksum") && strcmp(names[i], "data_hash"))
            printf("%-16s %lld\n", names[i], (long long)value);
        else printf("%-16s %016llx\n", names[i], (unsigned long long)value);
    }
done:
    return st;
}

static ks_status print_tensors(ks_h5 *file, const char *group) {
    ks_status st    = KS_OK;
    char    **names = NULL, path[256];
    int64_t   n = 0, total = 0;
    KS_TRY(ks_h5_list(file, group, &names, &n));
    for (int64_t i = 0; i < n; i++) {
        int     rank = 0;
        int64_t shape[KS_H5_MAX_RANK], size = 1;
        snprintf(path, sizeof path, "%s/%s", group, names[i]);
        KS_TRY(ks_h5_shape(file, path, &rank, shape));
        for (int k = 0; k < rank; k++) size *= shape[k];
        total += size;
        if (!ks_cli_verbose()) continue;
        printf("  %-48s", names[i]);
        for (int k = 0; k < rank; k++) printf("%s%lld", k ? " x " : "", (long long)shape[k]);
        putchar('\n');
    }
    printf("%-16s %lld tensors, %lld parameters%s\n", group, (long long)n, (long long)total,
           ks_cli_verbose() ? "" : " (-v lists them)");
done:
    ks_h5_names_free(&names, n);
    return st;
}

static ks_status info_checkpoint(const char *path) {
    static const char *const numbers[]    = {"format_version", "step", "samples_seen", "n_ao_kind", "checksum"};
    static const char *const provenance[] = {"version", "build", "cpu_kernels", "host", "time_utc", "command"};
    static const char *const moments[]    = {"best_step", "micro_batch", "pool_size", "data_hash", "checksum"};
    ks_status                st           = KS_OK;
    char                     dir[KS_CHECKPOINT_PATH], file[KS_CHECKPOINT_PATH + 16];
    char                    *text = NULL;
    ks_h5                   *h5   = NULL;
    char                   **refs = NULL;
    int64_t                  n    = 0;
    KS_TRY(ks_checkpoint_find(path, dir));
    KS_TRY(ks_checkpoint_verify(dir));
    printf("checkpoint       %s\n", dir);
    snprintf(file, sizeof file, "%s/model.h5", dir);
    KS_TRY(ks_h5_open(file, &h5));
    KS_TRY(print_numbers(h5, 5, numbers));
    KS_TRY(print_texts(h5, "provenance", 6, provenance));
    KS_TRY(print_tensors(h5, "params"));
    KS_TRY(ks_h5_list(h5, "references", &refs, &n));
    printf("references       %lld reference geometr%s\n", (long long)n, n == 1 ? "y" : "ies");
    KS_TRY(ks_h5_read_string(h5, "config", &text));
    ks_h5_close(&h5);
    snprintf(file, sizeof file, "%s/state.h5", dir);
    struct stat s;
    if (stat(file, &s) == 0) {
        printf("\nstate.h5\n");
        KS_TRY(ks_h5_open(file, &h5));
        KS_TRY(print_numbers(h5, 5, moments));
    }
    printf("\nconfig\n%s", text);
done:
    ks_h5_names_free(&refs, n);
    ks_h5_close(&h5);
    KS_FREE(text);
    return st;
}

static ks_status info_hdf5(const char *path) {
    ks_status                st   = KS_OK;
    ks_h5                   *h5   = NULL;
    ks_data                 *data = NULL;
    char                    *text = NULL, *format = NULL, **names = NULL;
    int64_t                  n        = 0;
    static const char *const texts[]  = {"format", "kind", "created_by", "source", "model"};
    static const char *const method[] = {"xc", "basis", "guess", "ao_order", "refine"};
    if (ks_data_is_data(path)) {
        KS_TRY(ks_data_open(path, &data));
        KS_TRY(ks_data_describe(data, &text));
        fputs(text, stdout);
        goto done;
    }
    KS_TRY(ks_h5_open(path, &h5));
    KS_CHECK(ks_h5_has_attr(h5, "/", "format"), KS_ERR_DATA,
             "%s: an HDF5 file, but none of ksgrad's (no attribute 'format')", path);
    KS_TRY(ks_h5_get_string(h5, "/", "format", &format));
    if (!strcmp(format, "ksgrad-model")) {
        ks_h5_close(&h5);
        KS_TRY(info_checkpoint(path));
        goto done;
    }
    KS_TRY(print_texts(h5, "/", (int)(sizeof texts / sizeof *texts), texts));
    if (ks_h5_exists(h5, "method")) KS_TRY(print_texts(h5, "method", (int)(sizeof method / sizeof *method), method));
    if (ks_h5_exists(h5, "frames")) {
        KS_TRY(ks_h5_list(h5, "frames", &names, &n));
        printf("%-16s %lld%s%s%s%s\n", "frames", (long long)n, n ? ", " : "", n ? names[0] : "", n > 1 ? " to " : "",
               n > 1 ? names[n - 1] : "");
    }
done:
    ks_h5_names_free(&names, n);
    ks_h5_close(&h5);
    ks_data_close(&data);
    KS_FREE(text);
    KS_FREE(format);
    return st;
}

static ks_status info_geometry(const char *path) {
    ks_status  st = KS_OK;
    ks_frames *f  = NULL;
    KS_TRY(ks_frames_read(path, &f));
    int64_t fewest = INT64_MAX, most = 0;
    for (int64_t i = 0; i < f->n_frame; i++) {
        const int64_t n = f->atom_off[i + 1] - f->atom_off[i];
        if (n < fewest) fewest = n;
        if (n > most) most = n;
    }
    printf("%-16s %s\n%-16s %lld\n", "geometries", path, "frames", (long long)f->n_frame);
    printf("%-16s %lld", "atoms", (long long)fewest);
    if (most != fewest) printf(" to %lld", (long long)most);
    printf("\n%-16s", "first frame");
    for (int64_t a = 0; a < f->atom_off[1]; a++) printf(" %s", ks_element_symbol(f->Z[a]));
    printf("\n%-16s %s", "external", f->external_energy ? "energies in " : "none");
    if (f->external_energy)
        printf("%s%s (another method's: never used as references)", f->external_unit,
               f->external_force ? ", and forces" : "");
    putchar('\n');
done:
    ks_frames_destroy(&f);
    return st;
}

int ks_cmd_info(int argc, char **argv) {
    const ks_cli_spec spec = {
        "info FILE",
        "Says what is in a run folder, a checkpoint, a data set, a result file or a geometry file. With -v also the\n"
        "tensors of a checkpoint.",
        "ksgrad info runs/quickstart\nksgrad info runs/quickstart/ckpt/latest -v\nksgrad info datasets/water-512.npz",
        NULL,
        1,
        1};
    const char *arg[KS_CLI_MAX_ARG];
    int         n_arg;
    ks_status   st = KS_OK;
    struct stat s;
    const int   rc = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;
    const size_t n = strlen(arg[0]);
    if (stat(arg[0], &s) == 0 && S_ISDIR(s.st_mode)) KS_TRY(info_checkpoint(arg[0]));
    else if (n > 3 && (!strcmp(arg[0] + n - 3, ".h5") || (n > 5 && !strcmp(arg[0] + n - 5, ".hdf5"))))
        KS_TRY(info_hdf5(arg[0]));
    else KS_TRY(info_geometry(arg[0]));
done:
    return ks_cli_finish(st);
}
