#!/bin/bash
# test_launch.sh KSGRAD -- two processes with the variables that torchrun, Open MPI, MPICH and srun set train together as one
# run; a process that was started wrongly is refused; what all ranks would say is said once. The launchers themselves are
# in test_torchrun.sh, test_mpirun.sh and test_slurm.sh.
KSGRAD=$(realpath "$1")
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/train_common.sh"
for name in $(env | sed -n 's/^\(SLURM[A-Z]*_[A-Z_0-9]*\|PMIX*_[A-Z_0-9]*\|OMPI_[A-Z_0-9a-z]*\|MPI_[A-Z]*\|PBS_[A-Z_]*\|TORCHELASTIC_[A-Z_]*\|MASTER_[A-Z]*\)=.*/\1/p'); do
    unset "$name" # this test may itself run in a job
done
cd "$WORK" || exit 1
PIDS=()
trap 'kill -9 "${PIDS[@]}" 2> /dev/null; wait; rm -rf "$WORK"' EXIT
sed -i 's/^device: .*/device: {threads: 1}/' c.yaml
echo 'comm: {timeout_s: 60, transport: tcp}' >> c.yaml
STEPS=(--set optim.steps=3 --set valid.every=0)

# ranks COMMON-VARIABLES RANK-0-VARIABLES RANK-1-VARIABLES command...: out.R, err.R, CODE[R]. No process between this shell and
# a rank: MPICH's ranks of a host know each other by their parent.
ranks() {
    local all=$1 of=("$2" "$3") r
    shift 3
    PIDS=()
    for r in 0 1; do
        # shellcheck disable=SC2086
        env $all ${of[$r]} "$KSGRAD" "${@//@RANK/$r}" > out.$r 2> err.$r &
        PIDS+=($!)
    done
    for r in 0 1; do
        wait "${PIDS[$r]}"
        CODE[r]=$?
    done
    PIDS=()
}
codes() { [ "${CODE[0]}" -eq "$1" ] && [ "${CODE[1]}" -eq "$2" ] && return; echo "exit codes ${CODE[*]}, expected $1 $2: $(cat err.0 err.1)"; return 1; }
said() { grep -qE -- "$2" "err.$1" && return; echo "rank $1 lacks '$2': $(cat "err.$1")"; return 1; }
silent() { [ ! -s "err.$1" ] && return; echo "rank $1 says: $(cat "err.$1")"; return 1; }
free_port() { PORT=$((10000 + (RANDOM * 32768 + RANDOM) % 9000)); }
count() { grep -c "$1" "$2"; }

# together NAME LAUNCHER VARIABLES RANK-0 RANK-1 [options]
together() {
    local name=$1 launcher=$2 all=$3 zero=$4 one=$5
    shift 5
    ranks "$all" "$zero" "$one" train c.yaml "${STEPS[@]}" --set run.name="$name" "$@"
    check "$name: both end well" codes 0 0
    check "$name: one run of three steps" [ "$(count '"kind": "train"' "$name/metrics.jsonl")" = 3 ]
    check "$name: its log says who is there" grep -q "^$launcher: 2 ranks on 1 host, transport tcp, 1 thread on rank 0" err.0
    check "$name: rank 1 is quiet" silent 1
    check "$name: results are rank 0's" [ "$(count '^3 steps' out.0)" = 1 -a ! -s out.1 ]
    check "$name: the bits of ranks that were started by hand" same_state hand "$name"
}
free_port
together hand explicit "" "" "" --rank @RANK --ranks 2 --rendezvous "127.0.0.1:$PORT"
free_port
together torchrun torchrun "TORCHELASTIC_RUN_ID=test-$$ TORCHELASTIC_RESTART_COUNT=0 WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=$PORT OMP_NUM_THREADS=1" \
    "RANK=0 LOCAL_RANK=0" "RANK=1 LOCAL_RANK=1"
together openmpi openmpi "OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_SIZE=2 PMIX_NAMESPACE=$$$RANDOM" \
    "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_LOCAL_RANK=0" "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_LOCAL_RANK=1"
together mpich mpich "PMI_SIZE=2 MPI_LOCALNRANKS=2" "PMI_RANK=0 MPI_LOCALRANKID=0" "PMI_RANK=1 MPI_LOCALRANKID=1"
SLURM="SLURM_JOB_ID=$$$RANDOM SLURM_STEP_ID=0 SLURM_NTASKS=2 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NUM_NODES=1 SLURM_NODEID=0 SLURM_STEP_TASKS_PER_NODE=2 SLURM_STEP_NODELIST=no-such-node SLURM_JOB_NUM_NODES=1"
together srun srun "$SLURM" "SLURM_PROCID=0 SLURM_LOCALID=0" "SLURM_PROCID=1 SLURM_LOCALID=1"
# two launchers around one process: mpirun in a Slurm job, whose daemon is a step of one task
together inside mpich "$SLURM SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0 PMI_SIZE=2 MPI_LOCALNRANKS=2" \
    "PMI_RANK=0 MPI_LOCALRANKID=0" "PMI_RANK=1 MPI_LOCALRANKID=1"

# Threads that nobody has counted out: the CPUs of the host, shared.
free_port
cpus=$(nproc)
ranks "" "" "" train c.yaml "${STEPS[@]}" --set run.name=threads --threads 0 --rank @RANK --ranks 2 --rendezvous "127.0.0.1:$PORT"
check "threads: both end well" codes 0 0
check "threads: rank 0 has its share of $cpus" said 0 ", $((cpus / 2 > 0 ? cpus / 2 : 1)) threads? on rank 0"

# What all ranks find is said once, by rank 0, with the same exit code on both.
by_hand() { free_port && HAND=(--rank @RANK --ranks 2 --rendezvous "127.0.0.1:$PORT"); }
once() { # once WHAT CODE PATTERN arguments...
    local what=$1 code=$2 pattern=$3
    shift 3
    by_hand
    ranks "" "" "" "$@" "${HAND[@]}"
    check "$what: both end with $code" codes "$code" "$code"
    check "$what: rank 0 says why" said 0 "$pattern"
    check "$what: rank 1 does not repeat it" silent 1
}
once "missing config" 3 'nothere.yaml' train nothere.yaml
once "bad key" 3 "optim.lrr" train c.yaml --set optim.lrr=1
once "verb of one rank" 3 'scf runs as one process; the launcher \(explicit\) has started 2' scf water.xyz --basis sto-3g
once "no data" 4 'gone.xyz' train c.yaml --set data.file=gone.xyz
ranks "$SLURM" "SLURM_PROCID=0" "SLURM_PROCID=1" train c.yaml --no-such-option
check "bad option: both end with 2" codes 2 2
check "bad option: rank 0 says why" said 0 'no-such-option'
check "bad option: rank 1 does not repeat it" silent 1

# What one rank finds is said by it, and by rank 0 with its name.
by_hand
mkdir other
ranks "" "" "" train c.yaml "${STEPS[@]}" --set run.name=differ --set optim.lr=1e-@RANK "${HAND[@]}"
check "another config: both end with 5" codes 5 5
check "another config: rank 0 names rank 1" said 0 'rank 1 on .* has another config'
check "another config: rank 1 leaves it to rank 0" silent 1
cp c.yaml only0.yaml
by_hand
ranks "" "" "" train "only@RANK.yaml" "${STEPS[@]}" --set run.name=differ "${HAND[@]}"
check "config on one host only: exit codes" codes 5 3
check "config on one host only: rank 1 says what it lacks" said 1 '\[rank 1 of 2, .*\] error: only1.yaml: No such file'
check "config on one host only: rank 0 says so too" said 0 'rank 1 on .* cannot start: only1.yaml: No such file'
check "no run folder was made" [ ! -e differ ]
by_hand
ranks "" "" "" train c.yaml "${STEPS[@]}" --set run.name=verbose -v "${HAND[@]}"
check "-v: rank 1 speaks with its name" said 1 '^\[rank 1 of 2, .*\] '

# Started wrongly: refused with what to do.
alone() { # alone WHAT VARIABLES CODE PATTERN arguments...
    local what=$1 variables=$2 code=$3 pattern=$4 rc
    shift 4
    # shellcheck disable=SC2086
    env $variables "$KSGRAD" "$@" > out.0 2> err.0
    rc=$?
    check "$what: exit code $code, not $rc" [ $rc -eq "$code" ]
    [ -z "$pattern" ] || check "$what: says why" said 0 "$pattern"
}
BATCH="SLURM_JOB_ID=12 SLURM_NTASKS=2 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NODELIST=n[1-2]"
alone "batch script without srun" "$BATCH" 3 'job 12 has 2 tasks.*start with srun' train c.yaml --set run.name=batch
check "batch script without srun: no run folder" [ ! -e batch ]
alone "--launcher none" "$BATCH" 0 '' train c.yaml "${STEPS[@]}" -q --set run.name=none --launcher none
check "--launcher none: three steps" [ "$(count '"kind": "train"' none/metrics.jsonl)" = 3 ]
alone "a verb of one rank in a batch script" "$BATCH" 0 '' scf water.xyz --frames 0:1 --xc lda --basis sto-3g --grid 0 --backend cpu
alone "garbled variable" "PMI_RANK=2 PMI_SIZE=2" 3 'mpich: PMI_RANK=2 should be an integer from 0 to 1' train c.yaml
alone "missing variable" "TORCHELASTIC_RUN_ID=x RANK=0" 3 'torchrun: WORLD_SIZE is not set' train c.yaml
alone "unknown launcher" "A=b" 3 '--launcher lsf' train c.yaml --launcher lsf
alone "--rank alone" "A=b" 3 '--ranks is missing' train c.yaml --rank 1
alone "--rendezvous without port" "A=b" 3 '--rendezvous here: should be host:port' train c.yaml --rank 0 --ranks 2 --rendezvous here

# doctor looks, and refuses nothing
env $SLURM SLURM_PROCID=1 SLURM_LOCALID=1 "$KSGRAD" doctor > doctor.txt 2>&1
check "doctor passes" [ $? -eq 0 ]
check "doctor: the launcher" grep -qE '^launcher  *srun, rank 1 of 2 \(local 1 of 2\), rendezvous 127.0.0.1:2[0-9]{4} to ' doctor.txt
check "doctor: its variables" grep -q ' SLURM_PROCID=1$' doctor.txt
check "doctor: the network" grep -qE '^network  *lo 127.0.0.1' doctor.txt
check "doctor: NCCL and MPI" [ "$(grep -cE '^(nccl|mpi) ' doctor.txt)" = 2 ]
env $BATCH "$KSGRAD" doctor > doctor.txt 2>&1
check "doctor passes in a batch script" [ $? -eq 0 ]
check "doctor: advice in a batch script" grep -q -- '-> .*start with srun' doctor.txt
PMI_RANK=x PMI_SIZE=2 "$KSGRAD" doctor > doctor.txt 2>&1
check "doctor: a garbled variable is a fault" [ $? -eq 5 ]
check "doctor: ... and named" grep -q 'PMI_RANK=x should be' doctor.txt
finish launch 85
