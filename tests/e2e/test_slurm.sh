#!/bin/bash
# test_slurm.sh -- a real Slurm of one node, started here and ended here: the script that `ksgrad cluster-script slurm` prints
# runs a job of two tasks, the job is told to stop, puts itself back into the queue, goes on, and ends with the bits of a run
# that was left alone. Needs root and Debian's slurm-wlm and munge; touches none of the machine's own configuration.
KSGRAD=$1
skip() { echo "skipped: $*" && exit 77; }
[ "$(id -u)" -eq 0 ] || skip "starting Slurm's daemons needs root"
for tool in munged slurmctld slurmd sbatch srun scontrol; do
    PATH=$PATH:/usr/sbin command -v $tool > /dev/null || skip "no $tool (Debian: slurm-wlm, munge)"
done
PATH=$PATH:/usr/sbin
. "$(dirname "$0")/ranks_common.sh"
node=$(hostname -s)
S=$WORK/slurm
DAEMONS=()
daemon() { # daemon NAME command...: in the foreground of a process of ours, so that it can be ended
    local name=$1
    shift
    "$@" > "$S/$name.out" 2>&1 < /dev/null &
    DAEMONS+=($!)
}
AT_EXIT='kill "${DAEMONS[@]}" 2> /dev/null; for p in "${DAEMONS[@]}"; do until_true 5 eval "! kill -0 $p 2> /dev/null" || kill -KILL $p; done'

mkdir -p "$S/state" "$S/spool"
chmod 755 "$WORK" "$S" # munge and Slurm want to pass
(umask 077 && head -c 1024 /dev/urandom > "$S/munge.key")
free_port && ctld_port=$PORT
free_port && slurmd_port=$PORT
cat > "$S/slurm.conf" <<CONF
ClusterName=ksgradtest
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$ctld_port
SlurmdPort=$slurmd_port
AuthType=auth/munge
AuthInfo=socket=$S/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$S/state
SlurmdSpoolDir=$S/spool
SlurmctldPidFile=$S/slurmctld.pid
SlurmdPidFile=$S/slurmd.pid
SlurmctldLogFile=$S/slurmctld.log
SlurmdLogFile=$S/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2
SwitchType=switch/none
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
InactiveLimit=0
MailProg=/bin/true
NodeName=$node NodeAddr=127.0.0.1 CPUs=4 RealMemory=100000 State=UNKNOWN
PartitionName=test Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$S/slurm.conf
daemon munged munged --foreground --force --key-file="$S/munge.key" --socket="$S/munge.socket" --pid-file="$S/munged.pid" \
    --log-file="$S/munged.log" --seed-file="$S/munged.seed"
until_true 20 test -S "$S/munge.socket" || { cat "$S"/munged.*; exit 1; }
daemon slurmctld slurmctld -D -f "$SLURM_CONF"
daemon slurmd slurmd -D -f "$SLURM_CONF" -N "$node"
is_up() { sinfo -h -o %T 2> /dev/null | grep -q idle; }
until_true 60 is_up || { echo "FAIL: Slurm does not start"; tail -n 20 "$S"/*.log "$S"/*.out; exit 1; }
echo "$(sinfo --version), one node"

job_state() { scontrol -o show job "$1" 2> /dev/null | sed 's/.*JobState=\([A-Z]*\).*/\1/'; }
is_job() { [ "$(job_state "$1")" = "$2" ]; }
is_over() { case "$(job_state "$1")" in PENDING | RUNNING | COMPLETING) return 1 ;; esac; }
steps_is_at() { [ "$(steps_done)" -ge "$1" ] 2> /dev/null; }

begin whole
ranks 2 --set optim.steps=300 --set valid.every=100 --set comm.transport=tcp
wait_ranks 120
ended 0 0 1
closed "2 ranks by hand"

# The printed script, in its own words but for time and memory; the job writes into its log.
export PATH=$(dirname "$KSGRAD"):$PATH
cd "$WORK"
script() { # script NAME [options of cluster-script]: $WORK/NAME.sh
    local name=$1
    shift
    "$KSGRAD" cluster-script slurm c.yaml --nodes 1 --tasks 2 --cpus 1 --time 10 "$@" > "$name.sh"
}
submit() { # submit [options of sbatch] SCRIPT: $JOB
    JOB=$(sbatch --parsable --output="$CASE/job.log" "$@") || return
    : > "$CASE/0.err" # for the checks of ranks
    RANKS=()
}
