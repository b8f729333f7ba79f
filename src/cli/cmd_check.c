/* cmd_check.c -- check: parse, resolve and plan, without touching anything. */
#include "cli/cli.h"
#include "ksgrad/train.h"

static ks_status print_plan(ks_ctx *ctx, const ks_config *config) {
    ks_status        st    = KS_OK;
    ks_run_data     *data  = NULL;
    ks_model        *model = NULL;
    char            *text  = NULL;
    ks_model_options opt   = config->model.options;
    ks_train_plan    plan;
    KS_TRY(ks_run_data_open(config, &data));
    printf("\n# data: %lld frames, %lld composition%s; train %lld, valid %lld, test %lld; labels of this method: %s\n",
           (long long)data->frames->n_frame, (long long)data->n_system, data->n_system == 1 ? "" : "s",
           (long long)data->split->n[0], (long long)data->split->n[1], (long long)data->split->n[2],
           data->labels ? "yes" : "none");
    for (int64_t s = 0; s < data->n_system && s < 10; s++)
        printf("#   %s: %lld atoms, %lld AOs, %lld electrons\n", data->system[s]->formula,
               (long long)data->system[s]->n_atom, (long long)data->system[s]->n_ao,
               (long long)data->system[s]->n_electron);
    opt.n_ao_kind = data->system[0]->n_ao_kind;
    KS_TRY(ks_model_create(ctx, &opt, (uint64_t)config->run.seed, &model));
    printf("# network: %lld parameters\n", (long long)ks_params_n_scalar(ks_model_params(model)));
    KS_TRY(ks_train_make_plan(ctx, NULL, config, data, model, &plan));
    KS_TRY(ks_train_print_plan(config, data, &plan, &text));
    for (const char *p = text; *p; p++) {
        if (p == text || p[-1] == '\n') fputs("# ", stdout);
        putchar(*p);
    }
    putchar('\n');
done:
    KS_FREE(text);
    ks_model_destroy(&model);
    ks_run_data_close(&data);
    return st;
}

int ks_cmd_check(int argc, char **argv) {
    int              reference = 0;
    const ks_cli_opt opt[]     = {
            {"reference", 0, KS_OPT_FLAG, NULL, "print every key with default, meaning and range instead", &reference},
            {NULL, 0, KS_OPT_FLAG, NULL, NULL, NULL}};
    const ks_cli_spec spec = {
        "check CONFIG.yaml",
        "Parses a config, prints it with every default, reads the data and plans memory. Writes nothing.",
        "ksgrad check configs/quickstart.yaml\n"
        "ksgrad check configs/qpt-uracil.yaml --set train.batch=8\n"
        "ksgrad check --reference",
        opt,
        0,
        1};
    const char *arg[KS_CLI_MAX_ARG];
    int         n_arg, n_set;
    ks_status   st   = KS_OK;
    ks_ctx     *ctx  = NULL;
    char       *text = NULL;
    ks_config   config;
    const int   rc = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;
    if (n_arg == 0 && !reference) return ks_cli_usage_error("check", "missing argument: ksgrad check CONFIG.yaml");
    if (reference) {
        KS_TRY(ks_config_reference(&text));
        fputs(text, stdout);
        goto done;
    }
    const char *const *set = ks_cli_sets(&n_set);
    KS_TRY(ks_config_load(arg[0], n_set, set, &config));
    KS_TRY(ks_config_dump(&config, &text));
    fputs(text, stdout);
    KS_TRY(ks_cli_ctx(config.device.backend, (int)config.device.threads, &ctx));
    KS_TRY(print_plan(ctx, &config));
done:
    KS_FREE(text);
    ks_ctx_destroy(&ctx);
    return ks_cli_finish(st);
}
