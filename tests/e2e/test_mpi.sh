#!/bin/bash
# test_mpi.sh -- training over MPI: the figures of one rank, the same bits at every run, stop and resume with other
# numbers of ranks, a rank that dies or hangs, another MPI's mpirun. Needs a build with KS_MPI and the mpirun of its MPI.
KSGRAD=$1
. "$(dirname "$0")/ranks_common.sh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # the tests may run in a container
export ASAN_OPTIONS=detect_leaks=0 # see tests/ranks/mpirun.sh
skip() {
    echo "skipped: $*"
    exit 77
}
"$KSGRAD" --version | grep -q 'mpi ON' || skip "a build without MPI (-DKS_MPI=ON)"
is_openmpi() { "$1" --version 2> /dev/null | grep -qi 'open *\(mpi\|rte\)'; }
is_hydra() { "$1" --version 2> /dev/null | grep -qi hydra; }
first_of() { # first_of TEST name...: the first of these programs that passes the test
    local test=$1 name
    shift
    for name in "$@"; do command -v "$name" > /dev/null && $test "$name" && echo "$name" && return; done
    return 1
}
openmpi=$(first_of is_openmpi mpirun.openmpi mpirun) || openmpi=
hydra=$(first_of is_hydra mpirun.mpich mpiexec.hydra mpirun) || hydra=
if ldd "$KSGRAD" | grep -q libmpich; then own=$hydra other=$openmpi; else own=$openmpi other=$hydra; fi
[ -n "$own" ] || skip "the mpirun of this build's MPI is not there (Debian: openmpi-bin)"

mpirun() { # mpirun PROGRAM N [arguments]: as "rank" mpirun
    local program=$1 n=$2 flags=()
    shift 2
    is_openmpi "$program" && flags=(--oversubscribe --bind-to none)
    in_background mpirun "$program" "${flags[@]}" -np "$n" "$KSGRAD" train "$WORK/c.yaml" --set run.name="$NAME" "$@"
}
SHORT=(--set optim.steps=12 --set valid.every=6)
run() { # run NAME N [arguments]: to its end
    begin "$1"
    mpirun "$own" "${@:2}"
    wait_ranks 90
    ended 0 mpirun
    check "$NAME: nobody says an error" spoke
    closed "$NAME: $2 ranks to the end"
}
value() { grep '"kind": "train"' "$WORK/$1/metrics.jsonl" | awk -v step="$2" -v key="\"$3\":" '
    { s = v = ""; for (i = 1; i < NF; i++) { if ($i == "\"step\":") s = $(i + 1) + 0; if ($i == key) v = $(i + 1) }
      if (s == step) last = v } END { sub(/,$/, "", last); print last }'; }
near() { # near KEY STEP A B ATOL RTOL: of two runs
    local a b
    a=$(value "$3" "$2" "$1") b=$(value "$4" "$2" "$1")
    awk -v a="$a" -v b="$b" -v atol="$5" -v rtol="$6" -v what="$1 of $3 and $4 at step $2" 'BEGIN { d = a - b
        if (d < 0) d = -d; m = b < 0 ? -b : b; printf "%s: %s, %s, apart %.2g\n", what, a, b, d
        exit !(a ~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/ && b ~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/ && d <= atol + rtol * m) }'
}

check "one rank" train --set run.name=one "${SHORT[@]}"
for of in 2 4; do
    run mpi$of $of "${SHORT[@]}" --set comm.transport=mpi
    check "mpi$of: over MPI" grep -q "$of ranks on 1 host, transport mpi" "$CASE/mpirun.err"
    # The bars are the project's. The network computes in fp32: one frame more or less in a matrix product rounds
    # otherwise, by 1e-7 of a gradient; energies are sums in fp64 over frames of which each is the same.
    check "mpi$of: energy of step 1" near energy_Ha 1 mpi$of one 1e-10 0
    check "mpi$of: gradient of step 1" near grad_norm 1 mpi$of one 0 1e-6
    # and Adam's first steps turn the rounding of the smallest components into whole steps: 8e-9 Ha measured
    check "mpi$of: energy of step 12" near energy_Ha 12 mpi$of one 1e-6 0
    cp -r "$WORK/mpi$of" "$WORK/first$of"
    rm -r "${WORK:?}/mpi$of"
    run mpi$of $of "${SHORT[@]}" # auto: MPI, because its mpirun has started it
    check "mpi$of: the same bits again" same_state first$of mpi$of
done
run slices 4 "${SHORT[@]}" --set comm.shard_moments=on
check "slices: the same bits as with whole moments" near energy_Ha 12 slices mpi4 1e-7 0
run wire 2 "${SHORT[@]}" --set comm.wire=bf16
check "wire: bf16 rounds the gradient to 8 bits" near grad_norm 1 wire one 0 4e-3
check "wire: and is not fp32" eval '! same_state wire mpi2'

# stop and resume
begin usr1
mpirun "$own" 2 "${LONG[@]}"
check "usr1: it trains" is_training 6
send USR1 mpirun
wait_ranks 60
ended 75 mpirun
check "usr1: a checkpoint of the last step" test "$(step_of usr1)" = "$(steps_done)"
closed "SIGUSR1 to mpirun"
stopped=$(step_of usr1)
for of in 4 1 2; do
    begin usr1
    stopped=$((stopped + 4))
    if [ $of -eq 1 ]; then
        check "usr1: on with one rank" train --set run.name=usr1 --set optim.steps=$stopped --resume=must
    else
        mpirun "$own" $of --set optim.steps=$stopped --set valid.every=100000 --resume=must
        wait_ranks 90
        ended 0 mpirun
        closed "resumed with $of ranks"
    fi
    check "usr1: on with $of ranks to step $stopped" test "$(step_of usr1)" = $stopped
done

# a rank that is gone: mpirun ends the others and says so
begin kill
mpirun "$own" 2 "${LONG[@]}"
check "kill: it trains" is_training 6
event
pkill -KILL -n -f "^$KSGRAD train .*run.name=kill "
wait_ranks $((4 + SLACK))
check "kill: mpirun's exit code is not 0" test "$(code_of mpirun)" -ne 0
closed "one of 2 ranks killed"
intact

# a rank that hangs: the others end with the exit code for it, mpirun ends the one that hangs
begin hang
mpirun "$own" 2 "${LONG[@]}"
check "hang: it trains" is_training 6
event
pkill -STOP -n -f "^$KSGRAD train .*run.name=hang "
wait_ranks $((3 * 4 + SLACK))
ended 5 mpirun
check "hang: a message names the rank" grep -qE 'rank [01]( of 2)?' "$CASE/mpirun.err"
closed "one of 2 ranks stopped"
intact

# another MPI's mpirun: its ranks are alone to this MPI, which is refused; TCP does not mind
if [ -n "$other" ]; then
    begin other
    mpirun "$other" 2 "${SHORT[@]}" --set comm.transport=mpi
    wait_ranks 60
    check "other: refused" test "$(code_of mpirun)" -ne 0
    check "other: says why" grep -q 'not started by the MPI that this program is built with' "$CASE/mpirun.err"
    check "other: says what to do" grep -q 'comm.transport tcp' "$CASE/mpirun.err"
    closed "$other, over MPI"
    begin other_tcp
    mpirun "$other" 2 "${SHORT[@]}"
    wait_ranks 90
    ended 0 mpirun
    check "other_tcp: over TCP" grep -q "2 ranks on 1 host, transport tcp" "$CASE/mpirun.err"
    check "other_tcp: energy of step 1" near energy_Ha 1 other_tcp one 1e-10 0
    closed "$other, over TCP"
else
    echo "no other MPI's mpirun here: not tested"
fi
table
finish "mpi ($own)" 81 # 93 where another MPI is there
