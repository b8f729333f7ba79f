/* cmd_data.c -- data: convert, info, split, label, verify. */
#include <stdlib.h>
#include <string.h>
#include "cli/cli.h"
#include "cli/cmd_data.h"
#include "io/npz.h"
#include "io/sha256.h"

/* ---- convert ---- */

typedef struct preset {
    const char *name;
    const char *arrays[2]; /* of the source .npz; NULL: not readable in this version */
    const char *unit, *licence, *note;
} preset;

static const preset presets[] = {
    {"md17",
     {"z", "R"},
     "kcal/mol",
     NULL,
     "MD17 (Chmiela et al. 2017, DOI 10.1126/sciadv.1603015): PBE+vdW-TS energies and forces, kcal/mol and "
     "kcal/mol/Angstrom"},
    {"rmd17",
     {"nuclear_charges", "coords"},
     "kcal/mol",
     "CC0",
     "rMD17 (Christensen, von Lilienfeld 2020, DOI 10.1088/2632-2153/abba6f): PBE/def2-SVP energies and forces, "
     "kcal/mol and kcal/mol/Angstrom"},
    {"schnorb-md17", {NULL, NULL}, NULL, NULL, NULL},
    {"qh9", {NULL, NULL}, NULL, NULL, NULL},
};

static const preset *find_preset(const char *name) {
    for (size_t k = 0; k < sizeof presets / sizeof presets[0]; k++)
        if (!strcmp(presets[k].name, name)) return &presets[k];
    return NULL;
}

static ks_status check_preset(const preset *p, const char *path) {
    ks_status st  = KS_OK;
    ks_npz   *npz = NULL;
    char      names[256];
    KS_CHECK(p->arrays[0], KS_ERR_DATA,
             "preset '%s': reading stored Hamiltonians is not in this version; "
             "its geometries can be converted from xyz or npz and labelled with 'ksgrad data label'",
             p->name);
    KS_TRY(ks_npz_open(path, &npz));
    ks_npz_names(npz, names, sizeof names);
    KS_CHECK(ks_npz_has(npz, p->arrays[0]) && ks_npz_has(npz, p->arrays[1]), KS_ERR_DATA,
             "%s: preset '%s' expects arrays '%s' and '%s', the file has: %s", path, p->name, p->arrays[0],
             p->arrays[1], names);
done:
    ks_npz_close(&npz);
    return st;
}

static int cmd_convert(int argc, char **argv) {
    const char      *out = NULL, *preset_name = NULL, *frames_spec = NULL, *unit = NULL, *licence = NULL, *note = NULL;
    const ks_cli_opt opt[] = {
        {"output", 'o', KS_OPT_TEXT, "D.h5", "the data file to write", &out},
        {"preset", 0, KS_OPT_TEXT, "NAME", "md17 | rmd17: units and origin of a known set", &preset_name},
        {"frames", 0, KS_OPT_TEXT, "SLICE", "frames to take, e.g. 0:1000, ::10", &frames_spec},
        {"energy-unit", 0, KS_OPT_TEXT, "UNIT", "unit of the energies that come with the file (kept as external data)",
         &unit},
        {"licence", 0, KS_OPT_TEXT, "TEXT", "stored in the file", &licence},
        {"note", 0, KS_OPT_TEXT, "TEXT", "stored in the file", &note},
        {NULL, 0, KS_OPT_FLAG, NULL, NULL, NULL}};
    const ks_cli_spec spec = {
        "data convert IN -o D.h5 [--preset md17|rmd17] [--frames S]",
        "Makes a ksgrad data file from .xyz, .extxyz, .npz (MD17, rMD17 layouts) or another data file. Energies and "
        "forces of the\n"
        "source are another method's: they are kept beside the geometries and never used as references.",
        "ksgrad data convert rmd17_uracil.npz -o uracil.h5 --preset rmd17\n"
        "ksgrad data convert md.extxyz -o md.h5 --frames ::10 --energy-unit eV",
        opt,
        1,
        1};
    const char *arg[KS_CLI_MAX_ARG];
    int         n_arg;
    ks_status   st     = KS_OK;
    ks_frames  *frames = NULL, *part = NULL;
    int64_t    *index = NULL, n = 0;
    char        sha[65];
    const int   rc = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;
    if (!out) return ks_cli_usage_error("data convert", "the data file to write is missing: -o D.h5");
    const preset *p = preset_name ? find_preset(preset_name) : NULL;
    if (preset_name && !p) return ks_cli_usage_error("data convert", "unknown preset '%s' (md17, rmd17)", preset_name);
    if (p) KS_TRY(check_preset(p, arg[0]));
    KS_TRY(ks_frames_read(arg[0], &frames));
    if (frames_spec) {
        KS_TRY(ks_slice_parse(frames_spec, frames->n_frame, &index, &n));
        KS_TRY(ks_frames_select(frames, n, index, &part));
        ks_frames_destroy(&frames);
        frames = part;
        part   = NULL;
    }
    if (!unit && p) unit = p->unit;
    if (unit) {
        if (strlen(unit) >= sizeof frames->external_unit) {
            ks_frames_destroy(&frames);
            KS_FREE(index);
            return ks_cli_usage_error("data convert", "--energy-unit '%s' is too long", unit);
        }
        snprintf(frames->external_unit, sizeof frames->external_unit, "%s", unit);
    }
    if (frames->external_energy && !strcmp(frames->external_unit, "unknown"))
        ks_log(KS_LOG_WARN, "%s does not say the unit of its energies: give --energy-unit or --preset", arg[0]);
    if (ks_data_is_data(arg[0]))
        ks_log(KS_LOG_INFO, "splits and labels of %s are not taken over: frame numbers may differ", arg[0]);
    KS_TRY(ks_sha256_file(arg[0], sha));
    const char          *slash  = strrchr(arg[0], '/');
    const ks_data_origin origin = {slash ? slash + 1 : arg[0], sha,
                                   licence ? licence
                                   : p     ? p->licence
                                           : NULL,
                                   note ? note
                                   : p  ? p->note
                                        : NULL};
    KS_TRY(ks_data_write(out, frames, &origin));
    printf("%s: %lld frame%s, %lld atoms in all%s%s%s\n", out, (long long)frames->n_frame,
           frames->n_frame == 1 ? "" : "s", (long long)frames->atom_off[frames->n_frame],
           frames->external_energy ? ", external energies in " : "",
           frames->external_energy ? frames->external_unit : "", frames->external_force ? ", external forces" : "");
done:
    ks_frames_destroy(&frames);
    ks_frames_destroy(&part);
    KS_FREE(index);
    return ks_cli_finish(st);
}

/* ---- info ---- */

static int cmd_data_info(int argc, char **argv) {
    const ks_cli_spec spec = {"data info D.h5",
                              "What is in a data file: origin, frames, splits, labels.",
                              "ksgrad data info uracil.h5",
                              NULL,
                              1,
                              1};
    const char       *arg[KS_CLI_MAX_ARG];
    int               n_arg;
    ks_status         st   = KS_OK;
    ks_data          *data = NULL;
    char             *text = NULL;
    const int         rc   = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;
    KS_TRY(ks_data_open(arg[0], &data));
    KS_TRY(ks_data_describe(data, &text));
    fputs(text, stdout);
done:
    KS_FREE(text);
    ks_data_close(&data);
    return ks_cli_finish(st);
}

/* ---- split ---- */

/* "25000,500,4500"; missing ones are 0, "-1" is the rest. 1 on success. */
static int parse_sizes(const char *text, int64_t sizes[KS_N_PART]) {
    const char *p = text;
    for (int k = 0; k < KS_N_PART; k++) {
        char *end = NULL;
        sizes[k]  = 0;
        if (!*p) continue;
        sizes[k] = strtoll(p, &end, 10);
        if (end == p || (*end != ',' && *end != '\0')) return 0;
        p = *end ? end + 1 : end;
    }
    return *p == '\0';
}

static int cmd_split(int argc, char **argv) {
    const char      *name = NULL, *method = "numpy-legacy", *sizes_text = NULL, *files = NULL;
    int64_t          seed    = 42, sizes[KS_N_PART];
    int              replace = 0;
    const ks_cli_opt opt[]   = {
          {"name", 0, KS_OPT_TEXT, "N", "name of the split in the file", &name},
          {"method", 0, KS_OPT_TEXT, "M", "numpy-legacy (as RandomState(seed).permutation) | random | index", &method},
          {"seed", 0, KS_OPT_INT, "S", "seed of numpy-legacy and random", &seed},
          {"sizes", 0, KS_OPT_TEXT, "a,b,c", "train, valid, test; one may be -1: the rest", &sizes_text},
          {"index", 0, KS_OPT_TEXT, "FILES", "for index: .npz (train, valid, test) or texts TRAIN,VALID,TEST", &files},
          {"replace", 0, KS_OPT_FLAG, NULL, "replace a split of that name", &replace},
          {NULL, 0, KS_OPT_FLAG, NULL, NULL, NULL}};
    const ks_cli_spec spec = {
        "data split D.h5 --name N --method M --sizes a,b,c",
        "Stores a split (train, valid, test) in a data file, with method, seed and a hash.",
        "ksgrad data split uracil.h5 --name qpt --method numpy-legacy --seed 42 --sizes 25000,500,4500\n"
        "ksgrad data split uracil.h5 --name published --method index --index index_train_01.csv,,index_test_01.csv",
        opt,
        1,
        1};
    const char *arg[KS_CLI_MAX_ARG];
    int         n_arg;
    ks_status   st    = KS_OK;
    ks_data    *data  = NULL;
    ks_split   *split = NULL;
    const int   rc    = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;
    if (!name) return ks_cli_usage_error("data split", "the split needs a name: --name N");
    const int by_index = !strcmp(method, "index");
    if (!by_index && strcmp(method, "numpy-legacy") != 0 && strcmp(method, "random") != 0)
        return ks_cli_usage_error("data split", "--method wants numpy-legacy, random or index, got '%s'", method);
    if (by_index && !files) return ks_cli_usage_error("data split", "--method index needs --index FILES");
    if (!by_index && (!sizes_text || !parse_sizes(sizes_text, sizes)))
        return ks_cli_usage_error("data split", "--sizes wants TRAIN,VALID,TEST, got '%s'",
                                  sizes_text ? sizes_text : "");
    if (seed < 0) return ks_cli_usage_error("data split", "--seed %lld is negative", (long long)seed);
    KS_TRY(ks_data_open(arg[0], &data));
    const int64_t n_frame = ks_data_n_frame(data);
    ks_data_close(&data);
    if (by_index) KS_TRY(ks_split_read(files, n_frame, &split));
    else KS_TRY(ks_split_make(method, (uint64_t)seed, n_frame, sizes, &split));
    KS_TRY(ks_data_split_write(arg[0], name, split, replace));
    printf("%s: split '%s': train %lld, valid %lld, test %lld of %lld frames; sha256 %s\n", arg[0], name,
           (long long)split->n[0], (long long)split->n[1], (long long)split->n[2], (long long)n_frame, split->sha256);
done:
    ks_data_close(&data);
    ks_split_destroy(&split);
    return ks_cli_finish(st);
}

/* ---- the verb ---- */

int ks_cmd_data(int argc, char **argv) {
    static const struct {
        const char *name, *line;
        int (*run)(int, char **);
    } sub[]         = {{"convert", "xyz, extxyz, npz (MD17, rMD17) -> data file", cmd_convert},
                       {"info", "what is in a data file", cmd_data_info},
                       {"split", "store a train/valid/test split", cmd_split},
                       {"label", "converged references (E, H, P, eps, dipole); may be stopped and resumed", ks_cmd_data_label},
                       {"verify", "recompute some labels and compare", ks_cmd_data_verify}};
    const int n_sub = (int)(sizeof sub / sizeof sub[0]);
    const int help  = argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"));
    for (int k = 0; argc > 1 && k < n_sub; k++)
        if (!strcmp(sub[k].name, argv[1])) return sub[k].run(argc - 1, argv + 1);
    if (argc > 1 && !help)
        return ks_cli_usage_error("data", "unknown action '%s' (convert, info, split, label, verify)", argv[1]);
    FILE *to = help ? stdout : stderr;
    fprintf(to, "Usage: ksgrad data ACTION [arguments] [options]\n\n");
    for (int k = 0; k < n_sub; k++) fprintf(to, "  %-8s %s\n", sub[k].name, sub[k].line);
    fprintf(to, "\nExample:\n  ksgrad data convert rmd17_uracil.npz -o uracil.h5 --preset rmd17\n  ksgrad data split "
                "uracil.h5 --name qpt --sizes 950,50,500\n"
                "  ksgrad data label uracil.h5 --split qpt/test\n");
    return help ? KS_EXIT_OK : KS_EXIT_USAGE;
}
