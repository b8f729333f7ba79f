/* cmd_cluster_script.c -- cluster-script: a batch script that starts training on several GPUs and nodes, stops it in
 * time, and puts it back into the queue until it is done. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/cli.h"
#include "core/text.h"

enum { LEAD_S = 300, MAX_NODES = 100000, MAX_ON_NODE = 1024 };

typedef struct job {
    int64_t     nodes, gpus, tasks, cpus; /* gpus, tasks: of a node; cpus: of a rank */
    const char *time, *name, *partition, *account, *program;
    char        own_name[64], own_program[4096], command[8192 + 64];
    int64_t     seconds, lead; /* the job's, and how long before its end it is told */
} job;

/* A word that a shell takes as it is; 0: it does not fit. */
static int quote(const char *text, char *out, size_t size) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-=:,@%";
    size_t            n       = 0;
    if (text[0] && strspn(text, plain) == strlen(text)) return snprintf(out, size, "%s", text) < (int)size;
    for (const char *p = text; n + 8 < size; p++) {
        if (p == text) out[n++] = '\'';
        if (!*p) {
            out[n++] = '\'';
            out[n]   = '\0';
            return 1;
        }
        if (*p == '\'') n += (size_t)snprintf(out + n, size - n, "'\\''");
        else out[n++] = *p;
    }
    return 0;
}

/* "90" (minutes), "24:00:00", "2-12:00:00"; 0: none of them. */
static int64_t read_time(const char *text) {
    int64_t      minutes;
    int          days = 0, h = 0, m = 0, s = 0, end = 0;
    const size_t n = strlen(text);
    if (n == 0 || n > 16 || strspn(text, "0123456789:-") != n) return 0;
    if (ks_text_decimal(text, &minutes) == 0) return minutes > 0 && minutes < 60 * 24 * 366 ? 60 * minutes : 0;
    if (sscanf(text, "%3d-%2d:%2d:%2d%n", &days, &h, &m, &s, &end) != 4) {
        days = end = 0;
        if (sscanf(text, "%4d:%2d:%2d%n", &h, &m, &s, &end) != 3) return 0;
    }
    if ((size_t)end != n || days < 0 || h < 0 || m < 0 || s < 0 || m > 59 || s > 59) return 0;
    return ((days * 24LL + h) * 60 + m) * 60 + s;
}

/* What a directive can hold. */
static int is_word(const char *text) {
    return text[0] && text[0] != '-' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,+-") == strlen(text);
}

static int64_t ranks_of_node(const job *j) { return j->gpus ? j->gpus : j->tasks; }

static void print_head(const job *j, const char *submit, const char *file) {
    printf(
        "#!/bin/bash\n"
        "# %lld rank%s: %lld node%s, %lld %s each. Save as %s, %s.\n"
        "# %lld s before the end of its time it stops with a checkpoint (exit code 75) and goes back into the queue.\n"
        "# Sites differ in partition or queue, account, memory and modules: add theirs.\n",
        (long long)(j->nodes * ranks_of_node(j)), j->nodes * ranks_of_node(j) == 1 ? "" : "s", (long long)j->nodes,
        j->nodes == 1 ? "" : "s", (long long)ranks_of_node(j), j->gpus ? "GPUs" : "CPU ranks", file, submit,
        (long long)j->lead);
}

/* Ranks end each other by themselves when one fails. Were Slurm to kill the others when the first has left with 75, the exit
 * code of those that give their GPU back more slowly would be that of the kill, and nobody would requeue the job.
 * USR1@ without B: goes to the tasks, not to this shell. srun takes the CPUs of a task from SRUN_CPUS_PER_TASK alone
 * (Slurm 22.05 and later). */
static void print_slurm(const job *j) {
    char file[80], submit[160];
    snprintf(file, sizeof file, "%s.sbatch", j->name);
    snprintf(submit, sizeof submit, "submit with: sbatch %s", file);
    print_head(j, submit, file);
    printf("#SBATCH --job-name=%s\n#SBATCH --nodes=%lld\n#SBATCH --ntasks-per-node=%lld\n", j->name,
           (long long)j->nodes, (long long)ranks_of_node(j));
    if (j->gpus) printf("#SBATCH --gpus-per-node=%lld\n", (long long)j->gpus);
    printf("#SBATCH --cpus-per-task=%lld\n#SBATCH --time=%02lld:%02lld:%02lld\n", (long long)j->cpus,
           (long long)(j->seconds / 3600), (long long)(j->seconds / 60 % 60), (long long)(j->seconds % 60));
    if (j->partition) printf("#SBATCH --partition=%s\n", j->partition);
    if (j->account) printf("#SBATCH --account=%s\n", j->account);
    printf("#SBATCH --signal=USR1@%lld\n#SBATCH --requeue\n#SBATCH --open-mode=append\n#SBATCH --output=%%x-%%j.log\n\n"
           "export SRUN_CPUS_PER_TASK=\"$SLURM_CPUS_PER_TASK\"\n"
           "srun --kill-on-bad-exit=0 %s\n"
           "rc=$?\n"
           "if [ \"$rc\" -eq 75 ]; then\n"
           "    scontrol requeue \"$SLURM_JOB_ID\"\n"
           "fi\n"
           "exit \"$rc\"\n",
           (long long)j->lead, j->command);
}

/* PBS does not signal ahead of time, so timeout does it (mpirun passes USR1 on), and lets users requeue only by
 * submitting. -machinefile is what Open MPI, MPICH and Intel MPI all know; ranks share the CPUs of their host by
 * themselves, so no mpirun should bind them to one. */
static void print_pbs(const job *j) {
    char file[80], submit[160];
    snprintf(file, sizeof file, "%s.pbs", j->name);
    snprintf(submit, sizeof submit, "submit from the same folder with: qsub %s", file);
    print_head(j, submit, file);
    printf("#PBS -N %s\n#PBS -l select=%lld:ncpus=%lld%s", j->name, (long long)j->nodes,
           (long long)(ranks_of_node(j) * j->cpus), j->gpus ? "" : ":");
    if (j->gpus) printf(":ngpus=%lld:", (long long)j->gpus);
    printf("mpiprocs=%lld:ompthreads=%lld\n#PBS -l place=scatter\n#PBS -l walltime=%02lld:%02lld:%02lld\n",
           (long long)ranks_of_node(j), (long long)j->cpus, (long long)(j->seconds / 3600),
           (long long)(j->seconds / 60 % 60), (long long)(j->seconds % 60));
    if (j->partition) printf("#PBS -q %s\n", j->partition);
    if (j->account) printf("#PBS -A %s\n", j->account);
    printf("#PBS -j oe\n#PBS -r y\n\n"
           "cd \"$PBS_O_WORKDIR\" || exit 1\n"
           "host=$(head -n 1 \"$PBS_NODEFILE\")\n"
           "job=${PBS_JOBID%%%%[!0-9]*}\n"
           "export OMPI_MCA_hwloc_base_binding_policy=none PRTE_MCA_hwloc_default_binding_policy=none I_MPI_PIN=0\n"
           "timeout --foreground --preserve-status --signal=USR1 %lld \\\n"
           "    mpirun -np %lld -machinefile \"$PBS_NODEFILE\" \\\n"
           "    %s \\\n"
           "    --rendezvous \"$host:$((20000 + job %% 10000))\"\n"
           "rc=$?\n"
           "# MPICH's mpirun at times ends with 0 after it has passed the signal on\n"
           "if [ \"$rc\" -eq 75 ] || { [ \"$rc\" -eq 0 ] && [ \"$SECONDS\" -ge %lld ]; }; then\n"
           "    qsub -W \"depend=afterany:$PBS_JOBID\" %s\n"
           "fi\n"
           "exit \"$rc\"\n",
           (long long)(j->seconds - j->lead), (long long)(j->nodes * ranks_of_node(j)), j->command,
           (long long)(j->seconds - j->lead), file);
}

/* Name of the job from the config's: "configs/qpt-uracil.yaml" gives qpt-uracil. */
static void name_job(job *j, const char *config) {
    const char *base = strrchr(config, '/');
    base             = base ? base + 1 : config;
    snprintf(j->own_name, sizeof j->own_name, "%.*s", (int)strcspn(base, "."), base);
    if (!is_word(j->own_name)) snprintf(j->own_name, sizeof j->own_name, "ksgrad");
    j->name = j->own_name;
}

static int complete(job *j, const char *config) {
    static const char verb[] = "cluster-script";
    const struct {
        const char *name;
        int64_t     value, most;
    } number[] = {{"nodes", j->nodes, MAX_NODES},
                  {"gpus", j->gpus ? j->gpus : 1, MAX_ON_NODE},
                  {"tasks", j->tasks ? j->tasks : 1, MAX_ON_NODE},
                  {"cpus", j->cpus, MAX_ON_NODE}};
    for (size_t i = 0; i < sizeof number / sizeof number[0]; i++)
        if (number[i].value < 1 || number[i].value > number[i].most)
            return ks_cli_usage_error(verb, "--%s %lld: should be from 1 to %lld", number[i].name,
                                      (long long)number[i].value, (long long)number[i].most);
    if (j->gpus && j->tasks) return ks_cli_usage_error(verb, "--gpus and --tasks: there is one rank per GPU");
    if (!j->gpus && !j->tasks) j->tasks = 1;
    j->seconds = read_time(j->time);
    if (j->seconds < 60)
        return ks_cli_usage_error(verb, "--time %s: should be HH:MM:SS, D-HH:MM:SS or minutes, one at least", j->time);
    j->lead = j->seconds / 3 < LEAD_S ? j->seconds / 3 : LEAD_S;
    if (!j->name) name_job(j, config);
    if (!is_word(j->name) || strlen(j->name) > 63)
        return ks_cli_usage_error(verb, "--name '%s': letters, digits, . _ -", j->name);
    if (j->partition && !is_word(j->partition))
        return ks_cli_usage_error(verb, "--partition '%s': letters, digits, . _ -", j->partition);
    if (j->account && !is_word(j->account))
        return ks_cli_usage_error(verb, "--account '%s': letters, digits, . _ -", j->account);
    if (!j->program) {
        const ssize_t n = readlink("/proc/self/exe", j->own_program, sizeof j->own_program - 1);
        snprintf(j->own_program + (n > 0 ? n : 0), sizeof j->own_program - (size_t)(n > 0 ? n : 0), "%s",
                 n > 0 ? "" : "ksgrad");
        j->program = j->own_program;
    }
    char program[4096 + 16], file[4096];
    if (!quote(j->program, program, sizeof program) || !quote(config, file, sizeof file))
        return ks_cli_usage_error(verb, "a path is longer than 4000 characters");
    if (strpbrk(j->program, "\r\n") || strpbrk(config, "\r\n"))
        return ks_cli_usage_error(verb, "a path has a line end in it");
    snprintf(j->command, sizeof j->command, "%s train %s --resume=auto", program, file);
    return KS_CLI_GO;
}

int ks_cmd_cluster_script(int argc, char **argv) {
    job              j     = {.nodes = 1, .cpus = 8, .time = "24:00:00"};
    const ks_cli_opt opt[] = {
        {"nodes", 0, KS_OPT_INT, "N", "nodes (1)", &j.nodes},
        {"gpus", 0, KS_OPT_INT, "G", "GPUs of a node, one rank each; without it: ranks on CPUs", &j.gpus},
        {"tasks", 0, KS_OPT_INT, "T", "ranks of a node, without GPUs (1)", &j.tasks},
        {"cpus", 0, KS_OPT_INT, "C", "CPUs of a rank (8)", &j.cpus},
        {"time", 0, KS_OPT_TEXT, "HH:MM:SS", "of one job; also D-HH:MM:SS or minutes (24:00:00)", &j.time},
        {"name", 0, KS_OPT_TEXT, "NAME", "of the job (that of the config)", &j.name},
        {"partition", 0, KS_OPT_TEXT, "P", "partition, PBS: queue", &j.partition},
        {"account", 0, KS_OPT_TEXT, "A", "account", &j.account},
        {"program", 0, KS_OPT_TEXT, "PATH", "ksgrad as the nodes see it (this one)", &j.program},
        {NULL, 0, KS_OPT_FLAG, NULL, NULL, NULL}};
    const ks_cli_spec spec = {
        "cluster-script slurm|pbs [CONFIG.yaml] [--nodes N] [--gpus G]",
        "Prints a batch script that trains on all GPUs of some nodes. Shortly before its time is over the job is told "
        "to\n"
        "stop, writes a checkpoint, puts itself back into the queue and goes on from there.",
        "ksgrad cluster-script slurm configs/qpt-uracil.yaml --nodes 2 --gpus 4 > uracil.sbatch\n"
        "ksgrad cluster-script pbs configs/qpt-uracil.yaml --gpus 4 --time 12:00:00 --partition gpu > qpt-uracil.pbs",
        opt,
        1,
        2};
    const char *arg[KS_CLI_MAX_ARG];
    int         n_arg;
    int         rc = ks_cli_parse(&spec, argc, argv, arg, &n_arg);
    if (rc != KS_CLI_GO) return rc;
    if (strcmp(arg[0], "slurm") != 0 && strcmp(arg[0], "pbs") != 0)
        return ks_cli_usage_error("cluster-script", "'%s' should be slurm or pbs", arg[0]);
    rc = complete(&j, n_arg > 1 ? arg[1] : "config.yaml");
    if (rc != KS_CLI_GO) return rc;
    if (arg[0][0] == 's') print_slurm(&j);
    else print_pbs(&j);
    return ks_cli_finish(KS_OK);
}
