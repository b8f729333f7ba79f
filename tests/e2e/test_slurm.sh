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
S=$(mktemp -d) # not below $WORK, whose processes are ranks
DAEMONS=()
daemon() { # daemon NAME command...: in the foreground of a process of ours, so that it can be ended
    local name=$1
    shift
    "$@" > "$S/$name.out" 2>&1 < /dev/null &
    DAEMONS+=($!)
}
AT_EXIT='kill "${DAEMONS[@]}" 2> /dev/null; for p in "${DAEMONS[@]}"; do until_true 5 eval "! kill -0 $p 2> /dev/null" || kill -KILL $p; done; rm -rf "$S"'

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
ranks 2 --set optim.steps=300 --set valid.every=100
wait_ranks 120
ended 0 0 1
closed "2 ranks by hand"

cd "$WORK" # where jobs are submitted from
# config NAME KEY=VALUE...: NAME.yaml, the config of the runs above with other values
config() {
    local name=$1
    shift
    sed "s/name: run,/name: $name,/; s/steps: 40/steps: 300/; s/every: 20,/every: 100,/" c.yaml > "$name.yaml"
    for word in "$@"; do sed -i "s/\b${word%%=*}: [0-9]*/${word%%=*}: ${word#*=}/" "$name.yaml"; done
}
# submit [options of sbatch] SCRIPT: $JOB
submit() {
    JOB=$(sbatch --parsable --output="$CASE/job.log" "$@") || { echo "FAIL: $NAME: sbatch" && exit 1; }
    RANKS=()
    event
}
over() { until_true "$1" is_over "$JOB" || { scontrol -o show job "$JOB"; return 1; }; }
log_lacks() { ! grep -E -- "$1" "$CASE/job.log"; }
shown() { [ -z "${KS_SHOW:-}" ] || { echo "-- $NAME"; cat "$CASE"/*.log; }; }
trains() { until_true 60 steps_is_at "$1" || { cat "$CASE/job.log"; return 1; }; }

# The printed script: two tasks, told to stop while they train, requeued on exit code 75, to the end.
begin job
config job
"$KSGRAD" cluster-script slurm job.yaml --tasks 2 --cpus 1 --time 10 > job.sbatch
check "$NAME: a script" bash -n job.sbatch
submit job.sbatch
check "$NAME: it trains" trains 20
event
scancel --signal=USR1 "$JOB" # what --signal=USR1@... in the script does when the time is nearly over
check "$NAME: back in the queue" until_true 30 is_job "$JOB" PENDING
first=$(step_of job)
check "$NAME: stopped with a checkpoint (step ${first:-none})" test "${first:-0}" -ge 20 -a "${first:-0}" -lt 300
check "$NAME: it starts again by itself and ends" over 90
check "$NAME: completed" is_job "$JOB" COMPLETED
check "$NAME: it was requeued" test "$(scontrol -o show job "$JOB" | sed 's/.*Restarts=\([0-9]*\).*/\1/')" -ge 1
check "$NAME: the bits of a run that was left alone" same_state whole job
check "$NAME: resumed from there" grep -q "\"step\": $first, \"kind\": \"resume\"" job/metrics.jsonl
check "$NAME: no errors of ours" log_lacks 'ksgrad: .*error'
TIMES="$TIMES$(printf '%-44s %s' "Slurm: signal, requeue, end" "$(awk -v e="$EVENT" -v n="$(now)" 'BEGIN { printf "%.1f", (n - e) / 1e9 }')")"$'\n'
shown

# The same with the end of the job's time: Slurm itself sends the signal, up to a minute early. Task 0 leaves two seconds
# after the other, as when its GPU is given back slowly: nobody may kill it meanwhile, or its exit code would hide the 75.
begin timed
config timed steps=100000
cat > slow_to_leave <<SCRIPT
#!/bin/bash
trap '' USR1 # the program catches it
"$KSGRAD" "\$@"
rc=\$?
[ "\$SLURM_PROCID" = 0 ] && sleep 2
exit \$rc
SCRIPT
chmod +x slow_to_leave
"$KSGRAD" cluster-script slurm timed.yaml --tasks 2 --cpus 1 --time 1 --program "$WORK/slow_to_leave" > timed.sbatch
submit timed.sbatch
check "$NAME: it trains" trains 20
check "$NAME: told by Slurm, back in the queue" until_true 75 is_job "$JOB" PENDING
scancel "$JOB"
check "$NAME: a checkpoint" test "$(step_of timed)" -ge 20
check "$NAME: no errors of ours" log_lacks 'ksgrad: .*error'
check "$NAME: ended before it was killed" log_lacks 'DUE TO TIME LIMIT'
check "$NAME: gone" over 30
TIMES="$TIMES$(printf '%-44s %s' "Slurm: end of the job's time" "$(awk -v e="$EVENT" -v n="$(now)" 'BEGIN { printf "%.1f", (n - e) / 1e9 }')")"$'\n'
shown

# A cancelled job: SIGTERM to the tasks, a checkpoint, no requeue; submitted again it goes on.
begin cancelled
config cancelled
"$KSGRAD" cluster-script slurm cancelled.yaml --tasks 2 --cpus 1 --time 10 > cancelled.sbatch
submit cancelled.sbatch
check "$NAME: it trains" trains 20
scancel "$JOB"
check "$NAME: it ends" over 30
check "$NAME: cancelled" is_job "$JOB" CANCELLED
step=$(step_of cancelled)
check "$NAME: a checkpoint (step ${step:-none})" test "${step:-0}" -gt 0
shown
submit cancelled.sbatch
check "$NAME: again" over 90
check "$NAME: completed" is_job "$JOB" COMPLETED
check "$NAME: the bits of a run that was left alone" same_state whole cancelled
shown

# A task is killed: the step ends at once, the job fails with one message.
begin killed
config killed steps=100000
"$KSGRAD" cluster-script slurm killed.yaml --tasks 2 --cpus 1 --time 10 > killed.sbatch
submit killed.sbatch
check "$NAME: it trains" trains 20
event
pkill -KILL -n -f "^[^ ]*ksgrad train killed.yaml"
check "$NAME: it ends" over $((4 + SLACK))
check "$NAME: failed" is_job "$JOB" FAILED
check "$NAME: nothing is left running" until_true 10 eval '! pgrep -f "train killed.yaml" > /dev/null'
TIMES="$TIMES$(printf '%-44s %s' "Slurm: one of 2 tasks killed" "$(awk -v e="$EVENT" -v n="$(now)" 'BEGIN { printf "%.1f", (n - e) / 1e9 }')")"$'\n'
shown
intact

# Without srun in the script, and by hand.
begin forgot
config forgot
"$KSGRAD" cluster-script slurm forgot.yaml --tasks 2 --cpus 1 --time 10 | sed 's/^srun [^ ]* //' > forgot.sbatch
submit forgot.sbatch
check "$NAME: it ends" over 60
check "$NAME: failed" is_job "$JOB" FAILED
check "$NAME: exit code 3" test "$(scontrol -o show job "$JOB" | sed 's/.*ExitCode=\([0-9:]*\).*/\1/')" = 3:0
check "$NAME: it says what to do" grep -q 'error: .*start with srun' "$CASE/job.log"
check "$NAME: no run folder was made" test ! -e "$WORK/forgot"
shown

for how in srun salloc; do
    begin $how
    config $how steps=20
    command=(srun --quiet "$KSGRAD" train "$WORK/$how.yaml" -q)
    [ $how = srun ] && command=("${command[0]}" -n 2 "${command[@]:1}") || command=(salloc --quiet -n 2 "${command[@]}")
    event
    in_background $how timeout 60 "${command[@]}"
    wait_ranks 70
    ended 0 $how
    check "$NAME: all steps" test "$(step_of $how)" = 20
    closed "Slurm: $how"
done
cd /
table
finish slurm 48
