/* test_launch.c -- how ranks were started: variables as launchers really set them (Open MPI 4.1.4, MPICH 4.0.2,
 * torchrun of PyTorch 2, Slurm 22.05; captured, and cut down to what is theirs), mixtures of them, and what must be
 * refused by name. */
#define _GNU_SOURCE
#include <string.h>
#include "comm/nodelist.h"
#include "ks_test.h"
#include "ksgrad/comm.h"

/* ---- node lists ---- */

typedef struct list_case {
    const char *list, *hosts; /* hosts NULL: refused, and the message has `why` */
    const char *why;
} list_case;

static const list_case g_list[] = {
    {"vm", "vm", NULL},
    {"node01", "node01", NULL},
    {"a,b,c", "a b c", NULL},
    {"node[1-3]", "node1 node2 node3", NULL},
    {"node[8-11]", "node8 node9 node10 node11", NULL},
    {"node[008-011]", "node008 node009 node010 node011", NULL},
    {"node[098-101]", "node098 node099 node100 node101", NULL},
    {"node[001-003,007],gpu5,rack[1-2]n[01-02]",
     "node001 node002 node003 node007 gpu5 rack1n01 rack1n02 rack2n01 rack2n02", NULL},
    {"node[5]", "node5", NULL},
    {"node[3,1,2]", "node3 node1 node2", NULL},
    {"n[1-2]-ib", "n1-ib n2-ib", NULL},
    {"n[1-2]-ib0.cluster.local", "n1-ib0.cluster.local n2-ib0.cluster.local", NULL},
    {"[1-2]", "1 2", NULL},
    {"a[0-1]b[0-1]c[0-1]", "a0b0c0 a0b0c1 a0b1c0 a0b1c1 a1b0c0 a1b0c1 a1b1c0 a1b1c1", NULL},
    {"x[01-02,10]y", "x01y x02y x10y", NULL},
    {"n[0-0]", "n0", NULL},
    {"n[09-10],n11", "n09 n10 n11", NULL},
    {"gpu_a[1-2]", "gpu_a1 gpu_a2", NULL},
    {"", NULL, "a name is missing"},
    {"a,,b", NULL, "a name is missing"},
    {"a,", NULL, "a name is missing"},
    {",a", NULL, "a name is missing"},
    {"node[1-3", NULL, "']' is missing"},
    {"node[1-3]]", NULL, "']' cannot be part"},
    {"node[]", NULL, "a number"},
    {"node[a-b]", NULL, "a number"},
    {"node[1-]", NULL, "a number"},
    {"node[1,]", NULL, "a number"},
    {"node[3-1]", NULL, "3-1 runs backwards"},
    {"node[1-9999999999]", NULL, "at most 9 digits"},
    {"node[0-2000000]", NULL, "more than 1000000 hosts"},
    {"a[0-9999]b[0-9999]", NULL, "more than 1000000 hosts"},
    {"a[0-999998],b[0-1]", NULL, "more than 1000000 hosts"},
    {"a[1]b[1]c[1]d[1]e[1]f[1]g[1]h[1]i[1]", NULL, "more than 8 brackets"},
    {"node 1", NULL, "' ' cannot be part"},
    {"bgp[000x113]", NULL, "']' is missing"},
};

static void check_lists(void) {
    for (size_t i = 0; i < sizeof g_list / sizeof g_list[0]; i++) {
        const list_case *c         = &g_list[i];
        char             all[1024] = "", host[64];
        int64_t          n = 0, again = 0;
        ks_status        st = ks_nodelist_host(c->list, 0, host, sizeof host, &n);
        if (!c->hosts) {
            T_ERR(st, KS_ERR_DATA);
            T_CHECK(strstr(ks_error_message(), c->why) && strstr(ks_error_message(), c->list), "'%s': %s", c->list,
                    ks_error_message());
            continue;
        }
        for (int64_t k = 0; st == KS_OK && k < n; k++) {
            st = ks_nodelist_host(c->list, k, host, sizeof host, &again);
            if (k) strcat(all, " ");
            strcat(all, host);
        }
        T_OK(st);
        T_CHECK(!strcmp(all, c->hosts) && again == n, "'%s': '%s', expected '%s'", c->list, all, c->hosts);
        T_ERR(ks_nodelist_host(c->list, n, host, sizeof host, NULL), KS_ERR_DATA);
        T_ERR(ks_nodelist_host(c->list, -1, host, sizeof host, NULL), KS_ERR_DATA);
    }
    char    host[8] = "?";
    int64_t n       = 0;
    T_OK(ks_nodelist_host("node[1-999999]", 0, NULL, 0, &n));
    T_CHECK(n == 999999, "%lld", (long long)n);
    T_OK(ks_nodelist_host("node001", 0, host, sizeof host, NULL)); /* fits exactly */
    T_CHECK(!strcmp(host, "node001"), "%s", host);
    T_ERR(ks_nodelist_host("node0001", 0, host, sizeof host, NULL), KS_ERR_DATA);
    T_ERR(ks_nodelist_host("node[0001]", 0, host, sizeof host, NULL), KS_ERR_DATA);
    T_ERR(ks_nodelist_host("node[1]-ib0", 0, host, sizeof host, NULL), KS_ERR_DATA);
}

static void check_tasks(void) {
    static const struct {
        const char *list;
        int64_t     node, tasks, total;
    } ok[]                         = {{"2", 0, 2, 2},       {"2(x3),1", 0, 2, 7},  {"2(x3),1", 2, 2, 7},
                                      {"2(x3),1", 3, 1, 7}, {"2(x3),1", 4, -1, 7}, {"1,2,3(x2)", 1, 2, 9},
                                      {"4(x1)", 0, 4, 4},   {"0,2", 0, 0, 2},      {"2(x3),1", -1, -1, 7}};
    static const char *const bad[] = {"",    "2(x3",  "2(3)",        "(x3)", "2,",         "2x3",
                                      "two", "2(x0)", "2(x9999999)", "-2",   "99999999999"};
    int64_t                  tasks, total;
    for (size_t i = 0; i < sizeof ok / sizeof ok[0]; i++) {
        T_OK(ks_nodelist_tasks(ok[i].list, ok[i].node, &tasks, &total));
        T_CHECK(tasks == ok[i].tasks && total == ok[i].total, "'%s' node %lld: %lld of %lld", ok[i].list,
                (long long)ok[i].node, (long long)tasks, (long long)total);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        T_ERR(ks_nodelist_tasks(bad[i], 0, &tasks, &total), KS_ERR_DATA);
        T_CHECK(strstr(ks_error_message(), bad[i]) != NULL, "%s", ks_error_message());
    }
}

/* ---- environments ---- */

#define TORCHRUN                                                                                                       \
    "GROUP_RANK=0 GROUP_WORLD_SIZE=1 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=39951 "         \
    "OMP_NUM_THREADS=1 RANK=1 ROLE_NAME=default ROLE_RANK=1 ROLE_WORLD_SIZE=2 TORCHELASTIC_MAX_RESTARTS=0 "            \
    "TORCHELASTIC_RESTART_COUNT=0 TORCHELASTIC_RUN_ID=2f0359aa-2814-4c17-a167-1169843c4a4b WORLD_SIZE=2 "
#define OPENMPI                                                                                                        \
    "OMPI_APP_CTX_NUM_PROCS=2 OMPI_COMMAND=ksgrad OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=2 "          \
    "OMPI_COMM_WORLD_NODE_RANK=1 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 OMPI_MCA_ess_base_jobid=658178049 "     \
    "OMPI_MCA_ess_base_vpid=1 OMPI_MCA_orte_num_nodes=1 OMPI_UNIVERSE_SIZE=2 PMIX_ID=658178049.1 "                     \
    "PMIX_NAMESPACE=658178049 PMIX_RANK=1 PMIX_VERSION=4.2.2rc2 "
#define MPICH "HYDI_CONTROL_FD=7 MPI_LOCALNRANKS=2 MPI_LOCALRANKID=1 PMI_FD=8 PMI_RANK=1 PMI_SIZE=2 "
#define SLURM_JOB                                                                                                      \
    "SLURMD_NODENAME=vm SLURM_CLUSTER_NAME=ks SLURM_CPUS_ON_NODE=2 SLURM_JOBID=2 SLURM_JOB_CPUS_PER_NODE=2 "           \
    "SLURM_JOB_ID=2 SLURM_JOB_NODELIST=vm SLURM_JOB_NUM_NODES=1 SLURM_NNODES=1 SLURM_NODELIST=vm SLURM_NPROCS=2 "      \
    "SLURM_NTASKS=2 SLURM_TASKS_PER_NODE=2 "
#define SLURM_BATCH SLURM_JOB "SLURM_GTIDS=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_TASK_PID=5295 "
#define SLURM_STEP                                                                                                     \
    SLURM_JOB "SLURM_GTIDS=0,1 SLURM_LOCALID=1 SLURM_NODEID=0 SLURM_PROCID=1 SLURM_STEPID=0 SLURM_STEP_ID=0 "          \
              "SLURM_STEP_LAUNCHER_PORT=38339 SLURM_STEP_NODELIST=vm SLURM_STEP_NUM_NODES=1 SLURM_STEP_NUM_TASKS=2 "   \
              "SLURM_STEP_TASKS_PER_NODE=2 "
/* four nodes, from the manual of srun */
#define SLURM_NODES                                                                                                    \
    "SLURM_JOB_ID=4711 SLURM_STEP_ID=3 SLURM_CLUSTER_NAME=big SLURM_PROCID=5 SLURM_LOCALID=1 SLURM_NODEID=2 "          \
    "SLURM_STEP_NUM_TASKS=7 SLURM_NTASKS=7 SLURM_STEP_NUM_NODES=4 SLURM_STEP_TASKS_PER_NODE=2(x3),1 "                  \
    "SLURM_STEP_NODELIST=node[007,010-012] SLURM_JOB_NODELIST=node[001-012] SLURM_DISTRIBUTION=block "
#define TWO_HOSTS                                                                                                      \
    "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=2 "         \
    "PMIX_NAMESPACE=77 "
#define TWO_HOSTS_MPICH "PMI_RANK=3 PMI_SIZE=4 MPI_LOCALRANKID=1 MPI_LOCALNRANKS=2 "

/* launcher, rank, ranks, local rank, rendezvous, is_alone */
#define OPT(launcher, rank, size, local, rendezvous, alone)                                                            \
    { launcher, rank, size, local, rendezvous, alone }
#define NO_OPT OPT(NULL, -1, -1, -1, NULL, 0)
#define ANY_PORT -1 /* 20000 .. 29999, 16 of them */

typedef struct env_case {
    const char       *what, *env;
    ks_launch_options opt;
    ks_launcher       launcher;
    int               rank, size, local_rank, local_size;
    const char       *address; /* NULL: refused, and the message has every word of `why` */
    int               port, n_port;
    const char       *why; /* words separated by '|' */
} env_case;

#define GOOD(launcher, rank, size, lr, ls, address, port, n_port)                                                      \
    launcher, rank, size, lr, ls, address, port, n_port, NULL
#define BAD(why) KS_LAUNCHER_NONE, 0, 0, 0, 0, NULL, 0, 0, why
#define ALONE(launcher) GOOD(launcher, 0, 1, 0, 1, "", 0, 0)

static const env_case g_env[] = {
    /* nothing */
    {"no launcher", "HOME=/root", NO_OPT, ALONE(KS_LAUNCHER_NONE)},
    {"variables of other tools", "RANK=3 WORLD_SIZE=8 MASTER_ADDR=a MASTER_PORT=1", NO_OPT, ALONE(KS_LAUNCHER_NONE)},
    {"empty variables are none", "PMI_RANK= PMI_SIZE= OMPI_COMM_WORLD_SIZE= TORCHELASTIC_RUN_ID=", NO_OPT,
     ALONE(KS_LAUNCHER_NONE)},
    /* torchrun */
    {"torchrun", TORCHRUN, NO_OPT, GOOD(KS_LAUNCHER_TORCHRUN, 1, 2, 1, 2, "localhost", 39952, 16)},
    {"torchrun, second of two nodes", TORCHRUN "WORLD_SIZE=8 RANK=5 LOCAL_WORLD_SIZE=4 MASTER_ADDR=n1.local", NO_OPT,
     GOOD(KS_LAUNCHER_TORCHRUN, 5, 8, 1, 4, "n1.local", 39952, 16)},
    {"torchrun, ports at the end", TORCHRUN "MASTER_PORT=65530", NO_OPT,
     GOOD(KS_LAUNCHER_TORCHRUN, 1, 2, 1, 2, "localhost", 65514, 16)},
    {"torchrun, last port", TORCHRUN "MASTER_PORT=65535", NO_OPT,
     GOOD(KS_LAUNCHER_TORCHRUN, 1, 2, 1, 2, "localhost", 65519, 16)},
    {"torchrun, IPv6", TORCHRUN "MASTER_ADDR=fd00::2", NO_OPT,
     GOOD(KS_LAUNCHER_TORCHRUN, 1, 2, 1, 2, "fd00::2", 39952, 16)},
    {"torchrun, one rank", TORCHRUN "WORLD_SIZE=1 RANK=0 LOCAL_WORLD_SIZE=1 LOCAL_RANK=0", NO_OPT,
     ALONE(KS_LAUNCHER_TORCHRUN)},
    {"torchrun, unknown local size", TORCHRUN "LOCAL_WORLD_SIZE=", NO_OPT,
     GOOD(KS_LAUNCHER_TORCHRUN, 1, 2, 1, -1, "localhost", 39952, 16)},
    {"torchrun by force, without an agent", "RANK=3 WORLD_SIZE=8 MASTER_ADDR=a MASTER_PORT=1000",
     OPT("torchrun", -1, -1, -1, NULL, 0), GOOD(KS_LAUNCHER_TORCHRUN, 3, 8, -1, -1, "a", 1001, 16)},
    {"torchrun, RANK is missing", TORCHRUN "RANK=", NO_OPT, BAD("torchrun|RANK is not set")},
    {"torchrun, WORLD_SIZE is missing", TORCHRUN "WORLD_SIZE=", NO_OPT, BAD("torchrun|WORLD_SIZE is not set")},
    {"torchrun, RANK is a word", TORCHRUN "RANK=one", NO_OPT, BAD("torchrun|RANK=one|from 0 to 1")},
    {"torchrun, RANK too large", TORCHRUN "RANK=2", NO_OPT, BAD("RANK=2|from 0 to 1")},
    {"torchrun, RANK below 0", TORCHRUN "RANK=-1", NO_OPT, BAD("RANK=-1|from 0 to 1")},
    {"torchrun, WORLD_SIZE 0", TORCHRUN "WORLD_SIZE=0", NO_OPT, BAD("WORLD_SIZE=0|from 1 to")},
    {"torchrun, WORLD_SIZE overflows", TORCHRUN "WORLD_SIZE=4294967298", NO_OPT, BAD("WORLD_SIZE=4294967298")},
    {"torchrun, LOCAL_RANK too large", TORCHRUN "LOCAL_RANK=2", NO_OPT, BAD("LOCAL_RANK=2|from 0 to 1")},
    {"torchrun, no address", TORCHRUN "MASTER_ADDR=", NO_OPT, BAD("MASTER_ADDR is not set")},
    {"torchrun, no port", TORCHRUN "MASTER_PORT=", NO_OPT, BAD("MASTER_PORT is not set")},
    {"torchrun, port 0", TORCHRUN "MASTER_PORT=0", NO_OPT, BAD("MASTER_PORT=0|from 1 to 65535")},
    {"torchrun, port too large", TORCHRUN "MASTER_PORT=65536", NO_OPT, BAD("MASTER_PORT=65536")},
    {"torchrun, address is none", TORCHRUN "MASTER_ADDR=http://n1", NO_OPT, BAD("MASTER_ADDR|http://n1")},
    /* Open MPI */
    {"Open MPI", OPENMPI, NO_OPT, GOOD(KS_LAUNCHER_OPENMPI, 1, 2, 1, 2, "127.0.0.1", ANY_PORT, 16)},
    {"Open MPI, MASTER_ADDR", TWO_HOSTS "MASTER_ADDR=n1", NO_OPT,
     GOOD(KS_LAUNCHER_OPENMPI, 3, 4, 1, 2, "n1", ANY_PORT, 16)},
    {"Open MPI, MASTER_ADDR and port", TWO_HOSTS "MASTER_ADDR=n1 MASTER_PORT=29500", NO_OPT,
     GOOD(KS_LAUNCHER_OPENMPI, 3, 4, 1, 2, "n1", 29500, 16)},
    {"Open MPI, port at the end", TWO_HOSTS "MASTER_ADDR=n1 MASTER_PORT=65534", NO_OPT,
     GOOD(KS_LAUNCHER_OPENMPI, 3, 4, 1, 2, "n1", 65534, 2)},
    {"Open MPI, --rendezvous", TWO_HOSTS, OPT(NULL, -1, -1, -1, "n2:30000", 0),
     GOOD(KS_LAUNCHER_OPENMPI, 3, 4, 1, 2, "n2", 30000, 1)},
    {"Open MPI, one rank", "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1 OMPI_COMM_WORLD_LOCAL_SIZE=1", NO_OPT,
     ALONE(KS_LAUNCHER_OPENMPI)},
    {"Open MPI, no rank", OPENMPI "OMPI_COMM_WORLD_RANK=", NO_OPT, BAD("openmpi|OMPI_COMM_WORLD_RANK is not set")},
    {"Open MPI, garbled size", OPENMPI "OMPI_COMM_WORLD_SIZE=2x", NO_OPT, BAD("openmpi|OMPI_COMM_WORLD_SIZE=2x")},
    {"Open MPI, garbled local rank", OPENMPI "OMPI_COMM_WORLD_LOCAL_RANK=7", NO_OPT,
     BAD("OMPI_COMM_WORLD_LOCAL_RANK=7|from 0 to 1")},
    {"Open MPI, garbled port", TWO_HOSTS "MASTER_ADDR=n1 MASTER_PORT=x", NO_OPT, BAD("MASTER_PORT=x")},
    {"Open MPI by force, absent", "HOME=/", OPT("openmpi", -1, -1, -1, NULL, 0),
     BAD("openmpi|OMPI_COMM_WORLD_SIZE is not set")},
    /* Hydra */
    {"MPICH", MPICH, NO_OPT, GOOD(KS_LAUNCHER_MPICH, 1, 2, 1, 2, "127.0.0.1", ANY_PORT, 16)},
    {"Intel MPI, MASTER_ADDR", TWO_HOSTS_MPICH "I_MPI_HYDRA_BOOTSTRAP=ssh MASTER_ADDR=n1", NO_OPT,
     GOOD(KS_LAUNCHER_MPICH, 3, 4, 1, 2, "n1", ANY_PORT, 16)},
    {"PALS", "PMI_RANK=3 PMI_SIZE=4 PMI_LOCAL_RANK=1 PMI_LOCAL_SIZE=2 MASTER_ADDR=n1", NO_OPT,
     GOOD(KS_LAUNCHER_MPICH, 3, 4, 1, 2, "n1", ANY_PORT, 16)},
    {"Hydra, local ranks unknown", "PMI_RANK=3 PMI_SIZE=4 MASTER_ADDR=n1", NO_OPT,
     GOOD(KS_LAUNCHER_MPICH, 3, 4, -1, -1, "n1", ANY_PORT, 16)},
    {"MPICH, rank not below size", MPICH "PMI_RANK=2", NO_OPT, BAD("mpich|PMI_RANK=2|from 0 to 1")},
    {"MPICH, no size", MPICH "PMI_SIZE=", NO_OPT, BAD("mpich|PMI_SIZE is not set")},
    {"MPICH, more local ranks than ranks", MPICH "MPI_LOCALNRANKS=3", NO_OPT, BAD("MPI_LOCALNRANKS=3|from 1 to 2")},
    /* Slurm */
    {"srun", SLURM_STEP, NO_OPT, GOOD(KS_LAUNCHER_SLURM, 1, 2, 1, 2, "127.0.0.1", ANY_PORT, 16)},
    {"srun, four nodes", SLURM_NODES, NO_OPT, GOOD(KS_LAUNCHER_SLURM, 5, 7, 1, 2, "node007", ANY_PORT, 16)},
    {"srun, last node", SLURM_NODES "SLURM_PROCID=6 SLURM_LOCALID=0 SLURM_NODEID=3", NO_OPT,
     GOOD(KS_LAUNCHER_SLURM, 6, 7, 0, 1, "node007", ANY_PORT, 16)},
    {"srun, old names of variables",
     SLURM_NODES "SLURM_STEP_ID= SLURM_STEPID=3 SLURM_STEP_NUM_TASKS= SLURM_JOB_ID= SLURM_JOBID=4711", NO_OPT,
     GOOD(KS_LAUNCHER_SLURM, 5, 7, 1, 2, "node007", ANY_PORT, 16)},
    {"srun, nodes of the job alone", SLURM_NODES "SLURM_STEP_NODELIST=", NO_OPT,
     GOOD(KS_LAUNCHER_SLURM, 5, 7, 1, 2, "node001", ANY_PORT, 16)},
    {"srun, tasks per node unknown", SLURM_NODES "SLURM_STEP_TASKS_PER_NODE=", NO_OPT,
     GOOD(KS_LAUNCHER_SLURM, 5, 7, 1, -1, "node007", ANY_PORT, 16)},
    {"srun, node number unknown", SLURM_NODES "SLURM_NODEID= SLURM_LOCALID=", NO_OPT,
     GOOD(KS_LAUNCHER_SLURM, 5, 7, -1, -1, "node007", ANY_PORT, 16)},
    {"srun, one task of a larger job", SLURM_STEP "SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0", NO_OPT,
     ALONE(KS_LAUNCHER_SLURM)},
    {"srun, --rendezvous", SLURM_NODES, OPT(NULL, -1, -1, -1, "[fd00::1]:2000", 0),
     GOOD(KS_LAUNCHER_SLURM, 5, 7, 1, 2, "fd00::1", 2000, 1)},
    {"srun --distribution=arbitrary", SLURM_NODES "SLURM_DISTRIBUTION=arbitrary", NO_OPT,
     BAD("SLURM_DISTRIBUTION=arbitrary|--rendezvous")},
    {"srun --distribution=arbitrary, --rendezvous", SLURM_NODES "SLURM_DISTRIBUTION=arbitrary",
     OPT(NULL, -1, -1, -1, "n:1", 0), GOOD(KS_LAUNCHER_SLURM, 5, 7, 1, 2, "n", 1, 1)},
    {"srun, garbled node list", SLURM_NODES "SLURM_STEP_NODELIST=node[007", NO_OPT,
     BAD("SLURM_STEP_NODELIST|node[007|']' is missing|--rendezvous")},
    {"srun, no node list", SLURM_NODES "SLURM_STEP_NODELIST= SLURM_JOB_NODELIST=", NO_OPT,
     BAD("SLURM_STEP_NODELIST is not set|--rendezvous")},
    {"srun, garbled tasks per node", SLURM_NODES "SLURM_STEP_TASKS_PER_NODE=2(y3)", NO_OPT,
     BAD("SLURM_STEP_TASKS_PER_NODE=2(y3)|4(x2),3")},
    {"srun, no rank", SLURM_STEP "SLURM_PROCID=", NO_OPT, BAD("srun|SLURM_PROCID is not set")},
    {"srun, garbled rank", SLURM_STEP "SLURM_PROCID=0x1", NO_OPT, BAD("srun|SLURM_PROCID=0x1")},
    {"srun, no job", SLURM_STEP "SLURM_JOB_ID= SLURM_JOBID=", NO_OPT, BAD("SLURM_JOB_ID is not set")},
    {"batch script without srun", SLURM_BATCH, NO_OPT, BAD("job 2|2 tasks|start with srun|--launcher none")},
    {"batch script, tasks per node", "SLURM_JOB_ID=9 SLURM_NTASKS_PER_NODE=4 SLURM_JOB_NUM_NODES=2", NO_OPT,
     BAD("job 9|8 tasks|start with srun")},
    {"batch script of a verb of one rank", SLURM_BATCH, OPT(NULL, -1, -1, -1, NULL, 1), ALONE(KS_LAUNCHER_NONE)},
    {"batch script, --launcher none", SLURM_BATCH, OPT("none", -1, -1, -1, NULL, 0), ALONE(KS_LAUNCHER_NONE)},
    {"batch script, --launcher srun", SLURM_BATCH, OPT("srun", -1, -1, -1, NULL, 0), BAD("start with srun")},
    {"batch script of one task", SLURM_BATCH "SLURM_NTASKS=1 SLURM_NPROCS=1", NO_OPT, ALONE(KS_LAUNCHER_NONE)},
    {"batch script, exclusive node", "SLURM_JOB_ID=6 SLURM_TASKS_PER_NODE=64 SLURM_JOB_NUM_NODES=1 SLURM_NNODES=1",
     NO_OPT, ALONE(KS_LAUNCHER_NONE)},
    {"salloc", SLURM_JOB, NO_OPT, BAD("job 2|2 tasks|start with srun")},
    {"salloc, interactive step",
     SLURM_JOB "SLURM_LOCALID=0 SLURM_PROCID=0 SLURM_STEPID=4294967290 SLURM_STEP_ID=4294967290 SLURM_STEP_NUM_TASKS=1",
     NO_OPT, BAD("2 tasks|start with srun")},
    {"step of the batch script by name", SLURM_BATCH "SLURM_STEP_ID=batch", NO_OPT, BAD("2 tasks|start with srun")},
    /* mixtures */
    {"mpirun (Open MPI) in a batch script", SLURM_BATCH OPENMPI, NO_OPT,
     GOOD(KS_LAUNCHER_OPENMPI, 1, 2, 1, 2, "127.0.0.1", ANY_PORT, 16)},
    {"mpirun (MPICH) in a Slurm job: its proxy is a step of one task",
     SLURM_JOB MPICH "HYDI_CONTROL_FD= SLURM_NPROCS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_STEPID=1 SLURM_STEP_ID=1 "
                     "SLURM_STEP_NUM_TASKS=1 SLURM_STEP_TASKS_PER_NODE=1 SLURM_DISTRIBUTION=cyclic",
     NO_OPT, GOOD(KS_LAUNCHER_MPICH, 1, 2, 1, 2, "127.0.0.1", ANY_PORT, 16)},
    {"srun --mpi=pmi2", SLURM_STEP "PMI_FD=13 PMI_JOBID=2.2 PMI_RANK=1 PMI_SIZE=2", NO_OPT,
     GOOD(KS_LAUNCHER_SLURM, 1, 2, 1, 2, "127.0.0.1", ANY_PORT, 16)},
    {"srun --mpi=pmix", SLURM_STEP "PMIX_NAMESPACE=slurm.pmix.2.0 PMIX_RANK=1", NO_OPT,
     GOOD(KS_LAUNCHER_SLURM, 1, 2, 1, 2, "127.0.0.1", ANY_PORT, 16)},
    {"torchrun started by srun, one agent a node", SLURM_NODES TORCHRUN, NO_OPT,
     GOOD(KS_LAUNCHER_TORCHRUN, 1, 2, 1, 2, "localhost", 39952, 16)},
    {"torchrun under mpirun", OPENMPI TORCHRUN, NO_OPT, GOOD(KS_LAUNCHER_TORCHRUN, 1, 2, 1, 2, "localhost", 39952, 16)},
    {"--launcher against the order", SLURM_STEP TORCHRUN, OPT("slurm", -1, -1, -1, NULL, 0),
     GOOD(KS_LAUNCHER_SLURM, 1, 2, 1, 2, "127.0.0.1", ANY_PORT, 16)},
    {"--launcher none in a step", SLURM_STEP, OPT("none", -1, -1, -1, NULL, 0), ALONE(KS_LAUNCHER_NONE)},
    {"--launcher auto", MPICH, OPT("auto", -1, -1, -1, NULL, 0),
     GOOD(KS_LAUNCHER_MPICH, 1, 2, 1, 2, "127.0.0.1", ANY_PORT, 16)},
    {"--launcher unknown", "HOME=/", OPT("lsf", -1, -1, -1, NULL, 0),
     BAD("--launcher lsf|torchrun, openmpi, mpich or srun")},
    /* by hand */
    {"by hand", "HOME=/", OPT(NULL, 2, 3, -1, "node01:29500", 0),
     GOOD(KS_LAUNCHER_EXPLICIT, 2, 3, -1, -1, "node01", 29500, 1)},
    {"by hand, inside of everything", SLURM_STEP OPENMPI TORCHRUN, OPT(NULL, 0, 3, -1, "10.0.0.1:80", 0),
     GOOD(KS_LAUNCHER_EXPLICIT, 0, 3, -1, -1, "10.0.0.1", 80, 1)},
    {"by hand, local rank", "HOME=/", OPT(NULL, 2, 3, 1, "[::1]:29500", 0),
     GOOD(KS_LAUNCHER_EXPLICIT, 2, 3, 1, -1, "::1", 29500, 1)},
    {"by hand, one rank", "HOME=/", OPT(NULL, 0, 1, -1, NULL, 0), ALONE(KS_LAUNCHER_EXPLICIT)},
    {"by hand, local rank of mpirun", OPENMPI, OPT(NULL, -1, -1, 0, NULL, 0),
     GOOD(KS_LAUNCHER_OPENMPI, 1, 2, 0, 2, "127.0.0.1", ANY_PORT, 16)},
    {"by hand, local rank outside", OPENMPI, OPT(NULL, -1, -1, 2, NULL, 0), BAD("--local-rank 2|from 0 to 1")},
    {"by hand, rank alone", "HOME=/", OPT(NULL, 1, -1, -1, NULL, 0), BAD("--ranks is missing")},
    {"by hand, ranks alone", "HOME=/", OPT(NULL, -1, 2, -1, NULL, 0), BAD("--rank is missing")},
    {"by hand, rank not below ranks", "HOME=/", OPT(NULL, 2, 2, -1, "a:1", 0), BAD("--rank 2|from 0 to 1")},
    {"by hand, no ranks", "HOME=/", OPT(NULL, 0, 0, -1, NULL, 0), BAD("--ranks 0|from 1 to")},
    {"by hand, far too many", "HOME=/", OPT(NULL, 0, 5000000000, -1, NULL, 0), BAD("--ranks 5000000000|from 1 to")},
    {"by hand, nowhere to meet", "HOME=/", OPT(NULL, 0, 2, -1, NULL, 0), BAD("--rendezvous host:port")},
    {"by hand, nothing to meet", "HOME=/", OPT(NULL, -1, -1, -1, "a:1", 0),
     BAD("--rendezvous a:1 without ranks|--rank and --ranks")},
    {"by hand, no port", "HOME=/", OPT(NULL, 0, 2, -1, "node01", 0), BAD("--rendezvous node01|host:port")},
    {"by hand, port 0", "HOME=/", OPT(NULL, 0, 2, -1, "node01:0", 0), BAD("node01:0|from 1 to 65535")},
    {"by hand, port too large", "HOME=/", OPT(NULL, 0, 2, -1, "a:99999", 0), BAD("a:99999|from 1 to 65535")},
    {"by hand, no host", "HOME=/", OPT(NULL, 0, 2, -1, ":5", 0), BAD("--rendezvous|0 characters")},
    {"by hand, bare IPv6", "HOME=/", OPT(NULL, 0, 2, -1, "::1:5", 0), BAD("::1:5|[::1]:5")},
    {"by hand against a launcher", "HOME=/", OPT("srun", 0, 2, -1, "a:5", 0),
     BAD("--rank and --ranks contradict --launcher srun")},
    {"explicit without ranks", "HOME=/", OPT("explicit", -1, -1, -1, NULL, 0), BAD("--rank")},
};

/* "A=b C=d" is the whole environment; of a name that comes twice the later one holds, and an empty value stays. */
static void set_environment(const char *env) {
    char text[4096], *save = NULL;
    clearenv();
    snprintf(text, sizeof text, "%s", env);
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(word, '=');
        *eq      = '\0';
        setenv(word, eq + 1, 1);
    }
}

static int has_words(const char *message, const char *words) {
    char text[512], *save = NULL;
    snprintf(text, sizeof text, "%s", words);
    for (char *word = strtok_r(text, "|", &save); word; word = strtok_r(NULL, "|", &save))
        if (!strstr(message, word)) return 0;
    return 1;
}

static void check_environments(void) {
    for (size_t i = 0; i < sizeof g_env / sizeof g_env[0]; i++) {
        const env_case *c = &g_env[i];
        ks_launch       l = {.size = 77};
        set_environment(c->env);
        const ks_status st = ks_launch_detect(&c->opt, &l);
        if (!c->address) {
            T_CHECK(st == KS_ERR_CONFIG && has_words(ks_error_message(), c->why), "%s: '%s', expected '%s'", c->what,
                    st ? ks_error_message() : "accepted", c->why);
            T_CHECK(l.size >= 1 && l.rank < l.size && !l.address[0], "%s: rank %d of %d", c->what, l.rank, l.size);
            ks_error_clear();
            continue;
        }
        T_CHECK(st == KS_OK, "%s: %s", c->what, ks_error_message());
        char line[512] = "";
        ks_launch_print(&l, line, sizeof line);
        T_CHECK(l.launcher == c->launcher && l.rank == c->rank && l.size == c->size && l.local_rank == c->local_rank &&
                    l.local_size == c->local_size && !strcmp(l.address, c->address),
                "%s: %s", c->what, line);
        if (c->port == ANY_PORT)
            T_CHECK(l.port >= 20000 && l.port + l.n_port - 1 <= 29999 && l.n_port == 16, "%s: port %d, %d of them",
                    c->what, l.port, l.n_port);
        else T_CHECK(l.port == c->port && l.n_port == c->n_port, "%s: port %d, %d of them", c->what, l.port, l.n_port);
    }
}

/* ---- the key of a job: the same on its ranks, another on every other job ---- */

static uint64_t job_of(const char *env, const char *rendezvous) {
    const ks_launch_options opt = OPT(NULL, -1, -1, -1, rendezvous, 0);
    ks_launch               l   = {.job = 0};
    set_environment(env);
    T_OK(ks_launch_detect(&opt, &l));
    return l.job;
}

static void check_jobs(void) {
    static const struct {
        const char *env, *same, *other;
    } c[] = {{TORCHRUN, "RANK=0 LOCAL_RANK=0 ROLE_RANK=0", "TORCHELASTIC_RUN_ID=x"},
             {TORCHRUN, "OMP_NUM_THREADS=8", "TORCHELASTIC_RESTART_COUNT=1"},
             {TORCHRUN, "GROUP_RANK=1", "MASTER_PORT=39952"},
             {OPENMPI, "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_LOCAL_RANK=0 PMIX_RANK=0", "PMIX_NAMESPACE=658178050"},
             {OPENMPI "PMIX_NAMESPACE=", "OMPI_MCA_ess_base_vpid=0", "OMPI_MCA_ess_base_jobid=658178050"},
             {MPICH, "PMI_RANK=0 MPI_LOCALRANKID=0 PMI_FD=6", "SLURM_JOB_ID=5"},
             {MPICH, "PMI_RANK=0 MPI_LOCALRANKID=0 PMI_FD=6", "PBS_JOBID=5.host"},
             {SLURM_STEP, "SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_TASK_PID=1", "SLURM_STEP_ID=1"},
             {SLURM_STEP, "SLURM_PROCID=0", "SLURM_JOB_ID=3"},
             {SLURM_STEP, "SLURM_PROCID=0", "SLURM_RESTART_COUNT=1"},
             {SLURM_STEP, "SLURM_PROCID=0", "SLURM_CLUSTER_NAME=other"},
             {SLURM_NODES, "SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0", "SLURM_JOB_ID=471 SLURM_STEP_ID=13"}};
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        char same[4096], other[4096];
        snprintf(same, sizeof same, "%s %s", c[i].env, c[i].same);
        snprintf(other, sizeof other, "%s %s", c[i].env, c[i].other);
        const uint64_t job = job_of(c[i].env, NULL);
        T_CHECK(job == job_of(same, NULL), "%s changes the job", c[i].same);
        T_CHECK(job != job_of(other, NULL), "%s does not change the job", c[i].other);
        T_CHECK(job == job_of(c[i].env, NULL), "the job changes by itself");
    }
    const ks_launch_options a = OPT(NULL, 0, 2, -1, "n:5", 0), b = OPT(NULL, 1, 2, -1, "n:5", 0),
                            other = OPT(NULL, 1, 2, -1, "n:6", 0);
    ks_launch l[3];
    T_OK(ks_launch_detect(&a, &l[0]));
    T_OK(ks_launch_detect(&b, &l[1]));
    T_OK(ks_launch_detect(&other, &l[2]));
    T_CHECK(l[0].job == l[1].job && l[0].job != l[2].job, "by hand");
    /* jobs that run one after the other on a host should not meet on a port */
    int n_port[625] = {0}, used = 0;
    for (int job = 0; job < 625; job++) {
        char env[2048];
        snprintf(env, sizeof env, "%s SLURM_JOB_ID=%d", SLURM_STEP, 1000 + job);
        const ks_launch_options none = OPT(NULL, -1, -1, -1, NULL, 0);
        set_environment(env);
        T_OK(ks_launch_detect(&none, &l[0]));
        used += n_port[(l[0].port - 20000) / 16]++ == 0;
    }
    T_CHECK(used > 300, "625 jobs use %d of 625 port ranges", used); /* at random: 63 %, 395 */
}

/* Several hosts, and a launcher that does not say which is the first: through MPI, from Slurm, or refused. */
static void check_several_hosts(void) {
    static const char *const env[] = {TWO_HOSTS, TWO_HOSTS_MPICH};
    for (int i = 0; i < 2; i++) {
        char      text[2048];
        ks_launch l = {.size = 0};
        set_environment(env[i]);
#ifdef KS_MPI
        const ks_status st = ks_launch_detect(NULL, &l); /* one of the two is the MPI of this build */
        T_CHECK(st == KS_OK ? l.size == 4 && !l.address[0] : strstr(ks_error_message(), "--rendezvous") != NULL, "%s",
                ks_error_message());
        (void)text;
#else
        T_ERR(ks_launch_detect(NULL, &l), KS_ERR_CONFIG);
        T_CHECK(has_words(ks_error_message(), "4 ranks on several hosts|--rendezvous host:port|MASTER_ADDR"), "%s",
                ks_error_message());
        snprintf(text, sizeof text, "%sSLURM_JOB_ID=3 SLURM_JOB_NODELIST=n[03-09] SLURM_NTASKS=4", env[i]);
        set_environment(text);
        T_OK(ks_launch_detect(NULL, &l));
        T_CHECK(!strcmp(l.address, "n03") && l.size == 4, "'%s'", l.address);
#endif
        ks_error_clear();
    }
}

static void check_prints(void) {
    static const struct {
        const char *env, *line;
        int         rank, size;
        const char *rendezvous;
    } c[] = {{"HOME=/", "none, one rank", -1, -1, NULL},
             {TORCHRUN, "torchrun, rank 1 of 2 (local 1 of 2), rendezvous localhost:39952 to 39967", -1, -1, NULL},
             {SLURM_NODES, "srun, rank 5 of 7 (local 1 of 2), rendezvous n7:3000", -1, -1, "n7:3000"},
             {"HOME=/", "explicit, rank 1 of 2, rendezvous n7:3000", 1, 2, "n7:3000"}};
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        const ks_launch_options opt = OPT(NULL, c[i].rank, c[i].size, -1, c[i].rendezvous, 0);
        ks_launch               l;
        char                    line[256], cut[8];
        set_environment(c[i].env);
        T_OK(ks_launch_detect(&opt, &l));
        ks_launch_print(&l, line, sizeof line);
        T_CHECK(!strcmp(line, c[i].line), "'%s', expected '%s'", line, c[i].line);
        ks_launch_print(&l, cut, sizeof cut);
        T_CHECK(strlen(cut) == sizeof cut - 1, "'%s'", cut);
    }
}

int main(void) {
    check_lists();
    check_tasks();
    check_environments();
    check_jobs();
    check_several_hosts();
    check_prints();
    printf("%zu environments, %zu node lists\n", sizeof g_env / sizeof g_env[0], sizeof g_list / sizeof g_list[0]);
    return t_done("launch", 1130);
}
