#!/bin/bash
# test_launch_script.sh KSGRAD -- the scripts of cluster-script: what stands in them, that a shell (and shellcheck, where it is
# there) accepts them, and what they do when the training ends with 0, 75 or another code, with stand-ins for the clusters'
# own commands. A real Slurm is in test_slurm.sh.
KSGRAD=$(realpath "$1")
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/verbs_common.sh"

script() { "$KSGRAD" cluster-script "$@" > script.sh 2> err.txt; }
has() { grep -qxF -- "$1" script.sh || { echo "  no line '$1'"; return 1; }; }
matches() { grep -qE -- "$1" script.sh || { echo "  nothing matches '$1'"; return 1; }; }
good() { # good WHAT arguments...
    local what=$1
    shift
    check "$what: printed" script "$@"
    check "$what: bash reads it" bash -n script.sh
    ! command -v shellcheck > /dev/null || check "$what: shellcheck has nothing to say" shellcheck script.sh
    check "$what: directives come before commands" awk '/^#(SBATCH|PBS)/ { if (cmd) bad = 1; n++ } /^[^#]/ { cmd = 1 } END { exit bad || n < 5 }' script.sh
    check "$what: goes on from its checkpoint" matches ' train .* --resume=auto'
}
bad() { # bad WHAT PATTERN arguments...
    local what=$1 pattern=$2 rc
    shift 2
    script "$@"
    rc=$?
    check "$what: usage error" [ $rc -eq 2 ]
    check "$what: says why" grep -qE -- "$pattern" err.txt
    check "$what: prints nothing" [ ! -s script.sh ]
}

# ---- what stands in them ----
good "two nodes of Slurm" slurm configs/uracil.yaml --nodes 2 --gpus 4
for line in '#!/bin/bash' '#SBATCH --job-name=uracil' '#SBATCH --nodes=2' '#SBATCH --ntasks-per-node=4' '#SBATCH --gpus-per-node=4' \
    '#SBATCH --cpus-per-task=8' '#SBATCH --time=24:00:00' '#SBATCH --signal=USR1@300' '#SBATCH --requeue' '#SBATCH --open-mode=append' \
    '#SBATCH --output=%x-%j.log' "srun --kill-on-bad-exit=0 $KSGRAD train configs/uracil.yaml --resume=auto"; do
    check "Slurm: $line" has "$line"
done
check "Slurm: no partition unless asked for" [ "$(grep -cE 'partition=|account=' script.sh)" = 0 ]
good "Slurm, everything" slurm c.yaml --nodes 3 --gpus 8 --cpus 12 --time 2-12:00:00 --name run.1 --partition a100,h100 --account chem-7 \
    --program /opt/ksgrad/bin/ksgrad
for line in '#SBATCH --job-name=run.1' '#SBATCH --cpus-per-task=12' '#SBATCH --time=60:00:00' '#SBATCH --partition=a100,h100' \
    '#SBATCH --account=chem-7' 'srun --kill-on-bad-exit=0 /opt/ksgrad/bin/ksgrad train c.yaml --resume=auto'; do
    check "Slurm: $line" has "$line"
done
good "Slurm, CPU ranks" slurm --tasks 2 --cpus 1 --time 10
for line in '#SBATCH --job-name=config' '#SBATCH --nodes=1' '#SBATCH --ntasks-per-node=2' '#SBATCH --cpus-per-task=1' \
    '#SBATCH --time=00:10:00' '#SBATCH --signal=USR1@200'; do
    check "Slurm: $line" has "$line"
done
check "Slurm: no GPUs unless asked for" [ "$(grep -c gpus script.sh)" = 0 ]
good "two nodes of PBS" pbs configs/uracil.yaml --nodes 2 --gpus 4 --time 12:00:00 --partition gpuq --account chem
for line in '#PBS -N uracil' '#PBS -l select=2:ncpus=32:ngpus=4:mpiprocs=4:ompthreads=8' '#PBS -l place=scatter' \
    '#PBS -l walltime=12:00:00' '#PBS -q gpuq' '#PBS -A chem' '#PBS -j oe'; do
    check "PBS: $line" has "$line"
done
check "PBS: told 300 s before its end" matches '^timeout --foreground --preserve-status --signal=USR1 42900 '
check "PBS: all ranks" matches 'mpirun -np 8 -machinefile "\$PBS_NODEFILE"'
good "PBS, CPU ranks" pbs --tasks 3 --cpus 2
check "PBS: CPUs" has '#PBS -l select=1:ncpus=6:mpiprocs=3:ompthreads=2'
good "odd paths" slurm "my configs/it's.yaml" --program '/opt/a b/ksgrad'
check "odd paths: quoted" matches "'/opt/a b/ksgrad' train 'my configs/it'\\\\''s.yaml' --resume"
check "odd paths: a plain name" has '#SBATCH --job-name=ksgrad'

# ---- what is refused ----
bad "no kind" 'missing argument' --nodes 2
bad "unknown kind" "'lsf' should be slurm or pbs" lsf
bad "no nodes" '--nodes 0' slurm --nodes 0
bad "too many GPUs" '--gpus 4096' slurm --gpus 4096
bad "negative CPUs" '--cpus -1' slurm --cpus=-1
bad "GPUs and tasks" '--gpus and --tasks' slurm --gpus 2 --tasks 2
bad "time is a word" '--time tomorrow' slurm --time tomorrow
bad "time has 61 minutes" '--time 1:61:00' slurm --time 1:61:00
bad "time with something behind it" '--time 1:00:00x' slurm --time 1:00:00x
bad "time too short" '--time 0:00:30' slurm --time 0:00:30
bad "name with a blank" "--name 'a b'" slurm --name 'a b'
bad "partition with a line end" '--partition' slurm --partition $'a\nb'
bad "account that is an option" '--account' slurm --account=-x
check "the verb is in the overview" [ "$("$KSGRAD" --help | grep -c '^  cluster-script  ')" = 1 ]

# ---- what they do ----
mkdir bin
for tool in srun mpirun scontrol qsub; do
    printf '#!/bin/bash\necho "%s $*" >> "$DID"\n' $tool > bin/$tool
done
# The launchers run the program that stands behind their options, once.
echo 'echo "cpus $SRUN_CPUS_PER_TASK" >> "$DID"; shift; exec "$@"' >> bin/srun
echo 'while [[ $1 == -* ]]; do shift 2; done; exec "$@"' >> bin/mpirun
printf '#!/bin/bash\necho "program $*" >> "$DID"\ncase "${ENDS_WITH:-0}" in\nwait) trap "exit 75" USR1; for i in $(seq 600); do sleep 0.1; done ;;\n*) exit "$ENDS_WITH" ;;\nesac\n' > bin/program
chmod +x bin/*
export PATH=$PWD/bin:$PATH DID=$PWD/did.txt
printf 'node1\nnode1\nnode2\nnode2\n' > nodes
export SLURM_JOB_ID=77 SLURM_CPUS_PER_TASK=5 PBS_JOBID=123456.server PBS_NODEFILE=$PWD/nodes PBS_O_WORKDIR=$PWD
run() { # run WHAT CODE: what the program ends with
    local rc
    : > "$DID"
    ENDS_WITH=$2 bash script.sh > out.txt 2>&1
    rc=$?
    check "$1, ends with $2: the job does, too" [ $rc -eq "${3:-$2}" ]
}
did() { grep -qF -- "$1" "$DID" || { echo "  '$1' was not done:"; cat "$DID"; return 1; }; }
script slurm c.yaml --program program
run Slurm 0
check "Slurm: once" [ "$(grep -c '^program train c.yaml --resume=auto$' "$DID")" = 1 ]
check "Slurm: the ranks' CPUs" did 'cpus 5'
check "Slurm: done is done" [ "$(grep -c scontrol "$DID")" = 0 ]
run Slurm 75
check "Slurm: requeued" did 'scontrol requeue 77'
run Slurm 3
check "Slurm: an error is not requeued" [ "$(grep -c scontrol "$DID")" = 0 ]
script pbs c.yaml --program program --nodes 2 --tasks 2
run PBS 0
check "PBS: ranks and hosts" did "mpirun -np 4 -machinefile $PWD/nodes program train c.yaml --resume=auto --rendezvous node1:23456"
check "PBS: done is done" [ "$(grep -c qsub "$DID")" = 0 ]
run PBS 75
check "PBS: submitted again, behind itself" did 'qsub -W depend=afterany:123456.server c.pbs'
run PBS 5
check "PBS: an error is not submitted again" [ "$(grep -c qsub "$DID")" = 0 ]
sed -i 's/--signal=USR1 [0-9]*/--signal=USR1 1/' script.sh
run "PBS, told to stop" wait 75
check "PBS, told to stop: submitted again" did 'qsub -W'
sed -i 's/"$SECONDS" -ge [0-9]*/"$SECONDS" -ge 0/' script.sh
run "PBS, told to stop, mpirun hides it" 0
check "PBS, told to stop, mpirun hides it: submitted again" did 'qsub -W'
finish launch_script 121
