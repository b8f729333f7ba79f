/* schema.c -- every config key: path, type, default, range, unit, meaning. */
#include "train/schema.h"
#include <stdio.h>
#include <string.h>

#define AT(field) offsetof(ks_config, field)
#define BUF(field) offsetof(ks_config, field), sizeof(((ks_config *)0)->field)

#define INT(path, field, def, lo, hi, unit, kind, doc)                                                                 \
    { path, KS_KEY_INT, AT(field), 0, def, lo, hi, 0, NULL, unit, KS_CONFIG_##kind, doc }
#define INT32(path, field, def, lo, hi, unit, kind, doc)                                                               \
    { path, KS_KEY_INT32, AT(field), 0, def, lo, hi, 0, NULL, unit, KS_CONFIG_##kind, doc }
#define REAL(path, field, def, lo, hi, unit, kind, doc)                                                                \
    { path, KS_KEY_REAL, AT(field), 0, def, lo, hi, 0, NULL, unit, KS_CONFIG_##kind, doc }
#define POSITIVE(path, field, def, hi, unit, kind, doc)                                                                \
    { path, KS_KEY_REAL, AT(field), 0, def, 0, hi, 1, NULL, unit, KS_CONFIG_##kind, doc }
#define ENUM(path, field, def, choices, kind, doc)                                                                     \
    { path, KS_KEY_ENUM, AT(field), 0, def, 0, 0, 0, choices, NULL, KS_CONFIG_##kind, doc }
#define TEXT(path, field, def, choices, kind, doc)                                                                     \
    { path, KS_KEY_TEXT, BUF(field), def, 0, 0, 0, choices, NULL, KS_CONFIG_##kind, doc }
#define PATH(path, field, def, kind, doc)                                                                              \
    { path, KS_KEY_PATH, BUF(field), def, 0, 0, 0, NULL, NULL, KS_CONFIG_##kind, doc }
#define NAMED(path, field, def, kind, doc)                                                                             \
    { path, KS_KEY_NAMED, BUF(field), def, 0, 0, 0, NULL, NULL, KS_CONFIG_##kind, doc }

#define REFINE "none|qpt|qptx|cdiis|anderson|damped"
#define MANY 1e15

_Static_assert(KS_REFINE_NONE == 0 && KS_REFINE_QPT == 1 && KS_REFINE_QPTX == 2 && KS_REFINE_CDIIS == 3 &&
                   KS_REFINE_ANDERSON == 4 && KS_REFINE_DAMPED == 5,
               "REFINE follows the enum");
_Static_assert(KS_OUTPUT_LOWDIN == 0 && KS_HEAD_BILINEAR == 0 && KS_BIAS_LEARNED == 0 && KS_FP32 == 0 && KS_FP64 == 1 &&
                   KS_BF16 == 2,
               "choices");
_Static_assert(KS_FRAME_NONE == 0 && KS_FRAME_KABSCH == 1 && KS_FRAME_BOND == 2 && KS_FRAME_INERTIA == 3, "choices");
_Static_assert(sizeof(ks_refine_kind) == sizeof(int) && sizeof(ks_output) == sizeof(int), "enums are stored as int");

const ks_key ks_schema[] = {
    INT("version", version, "1", 1, 1, NULL, FREE, "format of this file"),

    NAMED("run.name", run.name, "run", FREE, "the run folder is <run.dir>/<run.name>"),
    INT("run.seed", run.seed, "42", 0, 4294967295.0, NULL, HARD, "initial weights and order of the frames"),
    PATH("run.dir", run.dir, "runs", FREE, "folder of run folders, relative to this file"),

    PATH("data.file", data.file, "", FREE,
         "geometries: .xyz, .extxyz, .npz (MD17, rMD17) or ksgrad .h5, relative to this file"),
    TEXT("data.split", data.split, "", NULL, HARD, "name of a split inside the .h5, or a mapping: method, seed, sizes"),
    ENUM("data.split.method", data.split_method, "numpy-legacy", "numpy-legacy|random|index", HARD,
         "numpy-legacy: RandomState(seed).permutation; random: Philox; index: in file order"),
    INT("data.split.seed", data.split_seed, "42", 0, 4294967295.0, NULL, HARD, "seed of the split"),
    {"data.split.sizes", KS_KEY_INTS, AT(data.split_sizes), 0, "[]", 0, MANY, 0, NULL, "frames", KS_CONFIG_HARD,
     "[train, valid, test]; []: 80, 10 and 10 %"},

    TEXT("method.xc", method.xc, "b3lyp5", NULL, HARD, "functional: lda, pbe, pbe0, blyp, b3lyp5, hf"),
    NAMED("method.basis", method.basis, "def2-svp", HARD,
          "basis set by name, or the path of a Gaussian94 file (with a /)"),
    INT("method.grid", method.grid, "3", 0, 3, NULL, HARD, "level of the integration grid, PySCF's numbering"),
    ENUM("method.guess", method.guess, "minao", "minao|core", HARD, "density that F0 is built from"),

    TEXT("model.kind", model.options.kind, "qpt", "qpt", HARD, "network"),
    ENUM("model.size", model.size, "free", "free|tiny|small|base|medium|large", HARD,
         "named size: sets d_model, heads and layers; free: as given"),
    INT("model.d_model", model.options.d_model, "192", 4, 16384, "channels", HARD, "width; a multiple of heads"),
    INT("model.heads", model.options.heads, "6", 1, 256, NULL, HARD, "attention heads"),
    INT("model.layers", model.options.layers, "12", 1, 256, NULL, HARD, "transformer blocks"),
    ENUM("model.output", model.options.output, "lowdin", "lowdin|ao", HARD, "basis in which the network writes W"),
    ENUM("model.head", model.options.head, "bilinear", "bilinear|qpt", HARD,
         "last layer: indefinite W, or q = k as published"),
    ENUM("model.frame", model.options.frame, "kabsch", "none|kabsch|bond|inertia", HARD,
         "frame the network works in: kabsch aligns to the first training frame of the composition"),
    ENUM("model.bias", model.options.bias, "learned", "learned|pairs", HARD,
         "the seven attention biases: mixed over the heads by a learned matrix, or two heads each as published"),
    ENUM("model.precision", model.options.precision, "fp32", "fp32|fp64|bf16", HARD,
         "of the network (bf16: of its linear layers' products); the DFT is always fp64"),
    {"model.bond_atoms", KS_KEY_ATOMS, AT(model.options.bond_atoms), 0, "[0, 0, 0]", 0, 1e6, 0, NULL, NULL,
     KS_CONFIG_HARD,
     "frame: bond: origin atom, x-axis atom, xy-plane atom; all 0: the first three that are not in line"},

    ENUM("refine.kind", refine.kind, "none", REFINE, SOFT,
         "Fock builds between the network and the loss while training"),
    INT32("refine.steps", refine.n_build, "0", 0, 16, "Fock builds", SOFT,
          "0: none 1, qpt, qptx and damped 3, cdiis and anderson 4"),
    ENUM("eval.refine.kind", eval_refine.kind, "anderson", REFINE, FREE, "the same for validation, eval and predict"),
    INT32("eval.refine.steps", eval_refine.n_build, "0", 0, 16, "Fock builds", FREE, "0: the scheme's default"),

    REAL("loss.energy", loss.energy, "1", 0, 1e9, "1/Ha", SOFT, "weight of the mean energy"),
    REAL("loss.commutator", loss.commutator, "0", 0, 1e9, "1/Ha^2", SOFT, "weight of ||X^T (FPS - SPF) X||^2"),
    REAL("loss.self_consistency", loss.self_consistency, "0", 0, 1e9, "1/Ha^2", SOFT,
         "weight of ||X^T (F[P(H)] - H) X||^2"),
    REAL("loss.hamiltonian", loss.hamiltonian, "0", 0, 1e15, "1/Ha^2", SOFT,
         "weight of the mean of (H - H_ref)^2; needs labels"),
    REAL("loss.density", loss.density, "0", 0, 1e15, NULL, SOFT, "weight of ||X^-1 (P - P_ref) X^-T||^2; needs labels"),

    POSITIVE("scf.conv", scf.conv_energy, "1e-9", 1, "Ha", FREE, "converged SCF (eval, data label): energy change"),
    POSITIVE("scf.conv_grad", scf.conv_grad, "1e-5", 1, NULL, FREE, "root-mean-square of the orbital gradient"),
    INT32("scf.max_cycle", scf.max_cycle, "50", 1, 10000, "cycles", FREE,
          "a frame that needs more counts as not converged"),
    INT32("scf.diis_space", scf.diis_space, "8", 1, 64, NULL, FREE, "Fock matrices kept for DIIS"),

    POSITIVE("optim.lr", optim.lr, "5e-4", 10, NULL, SOFT, "peak learning rate of AdamW"),
    REAL("optim.lr_min", optim.lr_min, "1e-7", 0, 10, NULL, SOFT, "learning rate at the end of the cosine"),
    INT("optim.warmup", optim.warmup, "1000", 0, MANY, "steps", SOFT, "linear warm-up"),
    INT("optim.steps", optim.steps, "200000", 1, 4e9, "steps", FREE, "length of the run, and of the cosine"),
    REAL("optim.beta1", optim.beta1, "0.9", 0, 0.999999, NULL, SOFT, "decay of the first moment"),
    REAL("optim.beta2", optim.beta2, "0.95", 0, 0.999999, NULL, SOFT, "decay of the second moment"),
    POSITIVE("optim.eps", optim.eps, "1e-12", 1, NULL, SOFT, "added to the root of the second moment"),
    REAL("optim.weight_decay", optim.weight_decay, "0.1", 0, 10, NULL, SOFT, "decoupled weight decay"),
    REAL("optim.clip", optim.clip, "1", 0, 1e9, NULL, SOFT, "largest global norm of the gradient; 0: no clip"),

    INT("train.batch", train.batch, "32", 1, 1e6, "frames", SOFT, "frames per step, over all ranks"),
    INT("train.reuse", train.reuse, "16", 1, 1e6, "visits", SOFT,
        "how often a geometry is visited before it leaves the pool"),
    INT("train.pool", train.pool, "0", 0, 1e7, "frames", SOFT,
        "geometries whose tensors are kept in memory, by all ranks together; 0: all training frames if they fit, else "
        "what fits, at most batch x reuse"),
    INT("train.micro_batch", train.micro_batch, "0", 0, 1e6, "frames", SOFT, "frames per pass; 0: what fits"),

    INT("valid.every", valid.every, "500", 0, MANY, "steps", FREE, "validation; 0: never"),
    INT("valid.frames", valid.frames, "32", 1, 1e6, "frames", FREE, "the first so many of the validation set"),

    INT("ckpt.every_steps", ckpt.every_steps, "1000", 0, MANY, "steps", FREE, "checkpoint; 0: not by steps"),
    REAL("ckpt.every_minutes", ckpt.every_minutes, "20", 0, 1e6, "min", FREE, "checkpoint; 0: not by time"),
    INT("ckpt.keep_last", ckpt.keep_last, "3", 1, 1e6, NULL, FREE, "how many are kept, besides the best"),

    INT("log.every_steps", log.every_steps, "100", 1, MANY, "steps", FREE,
        "plain progress line where there is no terminal"),
    POSITIVE("log.every_seconds", log.every_seconds, "30", 1e9, "s", FREE, "the same, by time"),

    TEXT("device.backend", device.backend, "auto", "auto|cpu|cuda", SOFT, "auto: cuda if there is a GPU, else cpu"),
    INT("device.threads", device.threads, "0", 0, 1024, NULL, FREE, "CPU threads; 0: all that the process may use"),
    ENUM("device.graphs", device.graphs, "on", "off|on", FREE,
         "on a GPU, record the launches of a pass once and replay them; the results are the same"),
    REAL("device.memory_gib", device.memory_gib, "0", 0, 1e6, "GiB", FREE,
         "memory that a rank plans with; 0: 60 % of the machine's, shared by its ranks, or 85 % of the GPU's free memory"),

    TEXT("comm.transport", comm.transport, "auto", "auto|nccl|mpi|tcp", FREE,
         "between ranks; auto: nccl between GPUs, else mpi when started by it and built with it, else tcp"),
    POSITIVE("comm.timeout_s", comm.timeout_s, "300", 1e6, "s", FREE,
             "how long ranks wait for one another, at the start and in every step, before the job ends"),
    POSITIVE("comm.bucket_mib", comm.bucket_mib, "25", 1e5, "MiB", SOFT,
             "piece of the gradient that is summed over the ranks while the backward pass goes on"),
    ENUM("comm.wire", comm.wire, "full", "full|bf16", SOFT,
         "numbers in which the gradient travels: those of the network, or bfloat16 (half of fp32's bytes)"),
    ENUM("comm.shard_moments", comm.shard_moments, "off", "off|on", SOFT,
         "every rank keeps and updates only its share of the optimiser's moments (ZeRO-1)"),
};
const int ks_schema_n = (int)(sizeof ks_schema / sizeof ks_schema[0]);

int ks_schema_find(const char *path) {
    for (int i = 0; i < ks_schema_n; i++)
        if (!strcmp(ks_schema[i].path, path)) return i;
    return -1;
}

int ks_schema_is_section(const char *path) {
    const size_t n = strlen(path);
    for (int i = 0; i < ks_schema_n; i++)
        if (!strncmp(ks_schema[i].path, path, n) && ks_schema[i].path[n] == '.') return 1;
    return 0;
}

int ks_schema_choice(const char *choices, int k, char *out, size_t size) {
    for (; k > 0 && choices; k--) {
        choices = strchr(choices, '|');
        if (choices) choices++;
    }
    if (!choices) return 0;
    snprintf(out, size, "%.*s", (int)strcspn(choices, "|"), choices);
    return 1;
}

int ks_schema_is_shown(const ks_key *key, const ks_config *config) {
    if (!strcmp(key->path, "data.split")) return config->data.split[0] != '\0';
    if (!strncmp(key->path, "data.split.", 11)) return config->data.split[0] == '\0';
    return 1;
}

/* Shortest of %.15g to %.17g that reads back to the same number. */
static int print_real(double x, char *out, size_t size) {
    double back = 0;
    int    n    = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(out, size, "%.*g", digits, x);
        if (sscanf(out, "%lf", &back) == 1 && back == x) break;
    }
    return n;
}

static int print_text(const char *text, char *out, size_t size) {
    static const char *const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+";
    size_t                   n     = 0;
    if (text[0] &&
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-*") == strlen(text) &&
        strchr(plain, text[0]))
        return snprintf(out, size, "%s", text);
    out[n++] = '"';
    for (; *text && n + 4 < size; text++) { /* control characters were refused by the parser */
        if (*text == '"' || *text == '\\') out[n++] = '\\';
        out[n++] = *text;
    }
    out[n++] = '"';
    out[n]   = '\0';
    return (int)n;
}

int ks_schema_print(const ks_key *key, const ks_config *config, char *out, size_t size) {
    const char *at = (const char *)config + key->offset;
    switch (key->type) {
    case KS_KEY_INT:
        return snprintf(out, size, "%lld", (long long)*(const int64_t *)at);
    case KS_KEY_INT32:
        return snprintf(out, size, "%d", *(const int *)at);
    case KS_KEY_REAL:
        return print_real(*(const double *)at, out, size);
    case KS_KEY_ENUM:
        if (!ks_schema_choice(key->choices, *(const int *)at, out, size)) snprintf(out, size, "invalid");
        return (int)strlen(out);
    case KS_KEY_TEXT:
    case KS_KEY_PATH:
    case KS_KEY_NAMED:
        return print_text(at, out, size);
    case KS_KEY_INTS: {
        const int64_t *v = (const int64_t *)at;
        if (v[-1] == 0) return snprintf(out, size, "[]");
        return snprintf(out, size, "[%lld, %lld, %lld]", (long long)v[0], (long long)v[1], (long long)v[2]);
    }
    case KS_KEY_ATOMS: {
        const int32_t *v = (const int32_t *)at;
        return snprintf(out, size, "[%d, %d, %d]", v[0], v[1], v[2]);
    }
    }
    return 0;
}
