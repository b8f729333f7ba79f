/* cmd_train.c -- train: a run from a config, resumed where it was interrupted. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "cli/cli.h"
#include "cli/ranks.h"
#include "cli/signals.h"
#include "ksgrad/train.h"

static FILE *g_log;

static void open_log(void *user, const char *run_dir) {
    char path[KS_CHECKPOINT_PATH + 16];
    (void)user;
    snprintf(path, sizeof path, "%s/run.log", run_dir);
    g_log = fopen(path, "a");
    if (g_log) ks_cli_log_file(g_log);
    else ks_log(KS_LOG_WARN, "%s: %s", path, strerror(errno));
}

static void live_line(void *user, const char *line) {
    (void)user;
    ks_cli_status_line(line);
}

static void join_words(int argc, char **argv, char *out, size_t size) {
    size_t n = (size_t)snprintf(out, size, "ksgrad");
    for (int i = 0; i < argc && n < size; i++) n += (size_t)snprintf(out + n, size - n, " %s", argv[i]);
}

static void print_end(const ks_config *c, const ks_run_result *r) {
    char best[KS_CHECKPOINT_PATH];
    printf("%lld steps in %.1f s, %s\n", (long long)(r->steps - r->first_step), r->seconds, r->run_dir);
    if (r->steps >= c->optim.steps && ks_checkpoint_find(r->run_dir, best) == KS_OK)
        printf("best model: %s\nevaluate:   ksgrad eval %s\n", best, r->run_dir);
    ks_error_clear();
}

int ks_cmd_train(int argc, char **argv) {
    const char      *resume = "auto";
    int              allow  = 0;
    const ks_cli_opt opt[]  = {
         {"resume", 0, KS_OPT_TEXT, "auto|never|must",
          "auto: go on from the newest checkpoint of the run folder, if any", &resume},
         {"allow-change", 0, KS_OPT_FLAG, NULL, "on resume, accept changed optim, loss, refine and train keys", &allow},
         {NULL, 0, KS_OPT_FLAG, NULL, NULL, NULL}};
    const ks_cli_spec spec = {
        "train CONFIG.yaml [--resume auto|never|must]",
        "Trains a network. Everything goes into the run folder <run.dir>/<run.name>: metrics.jsonl, metrics.csv, "
        "run.log,\n"
        "ckpt/{best,latest,step_*}. SIGTERM, SIGUSR1 and Ctrl-C finish the step, write a checkpoint and exit with 75;\n"
        "the same command then goes on from there, bit by bit as if it had not stopped. Started as several processes "
        "by\n"
        "srun, mpirun or torchrun, each has a GPU or a share of the CPUs, and train.batch is what all of them do "
        "together.",
        "ksgrad train configs/quickstart.yaml\n"
        "ksgrad train configs/quickstart.yaml --set run.name=faster --set optim.lr=2e-3 --set optim.steps=300\n"
        "srun ksgrad train configs/qpt-uracil.yaml             # one rank per task, see ksgrad cluster-script\n"
        "torchrun --nproc-per-node 4 --no-python ksgrad train configs/qpt-uracil.yaml",
        opt,
        1,
        1};
    const char *arg[KS_CLI_MAX_ARG];
    char        command[1024];
    int         n_arg, n_set;
    ks_status   st   = KS_OK;
    ks_ctx     *ctx  = NULL;
    ks_comm    *comm = NULL;
    ks_config   config;
    const int   rc = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;
    ks_run_options options = {
        .config_path = arg[0], .command = command, .stop = &ks_cli_stop, .folder = open_log, .allow_change = allow};
    if (!strcmp(resume, "auto")) options.resume = KS_RESUME_AUTO;
    else if (!strcmp(resume, "never")) options.resume = KS_RESUME_NEVER;
    else if (!strcmp(resume, "must")) options.resume = KS_RESUME_MUST;
    else return ks_cli_usage_error("train", "--resume wants auto, never or must, got '%s'", resume);
    join_words(argc, argv, command, sizeof command);
    ks_run_result           result;
    ks_launch               launch;
    const ks_launch_options how = ks_cli_launch_options();
    const char *const      *set = ks_cli_sets(&n_set);
    KS_TRY(ks_config_load(arg[0], n_set, set, &config));
    KS_TRY(ks_cli_ranks(&config, &comm, &ctx));
    KS_TRY(ks_launch_detect(&how, &launch));
    options.launcher = ks_launcher_name(launch.launcher);
    if (ks_comm_rank(comm) > 0) options.folder = NULL;
    else if (isatty(STDERR_FILENO)) options.status = live_line;
    KS_TRY(ks_cli_catch_signals());
    st = ks_train_run(ctx, comm, &config, &options, &result);
    if (st == KS_ERR_STOPPED) ks_log(KS_LOG_INFO, "%s", ks_error_message());
    if (st == KS_OK && ks_comm_rank(comm) == 0) print_end(&config, &result);
done:;
    const int code = ks_cli_finish(st);
    ks_comm_destroy(&comm);
    ks_ctx_destroy(&ctx);
    ks_cli_log_file(NULL);
    if (g_log) fclose(g_log);
    return code;
}
