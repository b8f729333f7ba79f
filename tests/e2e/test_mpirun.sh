#!/bin/bash
# test_mpirun.sh -- ranks started by mpirun, Open MPI's and MPICH's, without a flag for ksgrad.
KSGRAD=$1
. "$(dirname "$0")/ranks_common.sh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # the tests may run in a container
STARTERS=()
openmpi=$(command -v mpirun.openmpi || command -v mpirun)
mpich=$(command -v mpirun.mpich || command -v mpiexec.hydra || command -v mpirun)
[ -n "$openmpi" ] && "$openmpi" --version 2> /dev/null | grep -qi 'open *\(mpi\|rte\)' && STARTERS+=(openmpi)
[ -n "$mpich" ] && "$mpich" --version 2> /dev/null | grep -qi hydra && STARTERS+=(mpich)
if [ ${#STARTERS[@]} -eq 0 ]; then
    echo "skipped: neither Open MPI's nor MPICH's mpirun is there (Debian: openmpi-bin, mpich)"
    exit 77
fi
start() { # start STARTER N [arguments]: mpirun itself is "rank" mpirun
    local starter=$1 n=$2
    shift 2
    case $starter in
    openmpi) set -- "$openmpi" -np "$n" --oversubscribe --bind-to none "$KSGRAD" train "$@" ;;
    mpich) set -- "$mpich" -np "$n" "$KSGRAD" train "$@" ;;
    esac
    in_background mpirun "$@" "$WORK/c.yaml" -q --set run.name="$NAME"
}
SHORT=(--set optim.steps=20 --set valid.every=10)
for of in 2 4; do
    begin by_hand$of
    ranks $of "${SHORT[@]}" --set comm.transport=tcp
    wait_ranks 90
    ended 0 $(seq 0 $((of - 1)))
    closed "$of ranks by hand"
done

for starter in "${STARTERS[@]}"; do
    for of in 2 4; do
        begin $starter$of
        event
        start $starter $of "${SHORT[@]}" --set comm.transport=tcp
        wait_ranks 120
        ended 0 mpirun
        check "$NAME: nobody says an error" spoke
        check "$NAME: the bits of ranks that were started by hand" same_state by_hand$of $starter$of
        closed "$starter, $of ranks"
    done
    begin $starter.auto # over MPI where the program is built with it
    event
    start $starter 2 "${SHORT[@]}"
    wait_ranks 120
    ended 0 mpirun
    check "$NAME: all steps" test "$(step_of $NAME)" = 20
    closed "$starter, 2 ranks, default transport"

    begin $starter.usr1
    start $starter 2 "${LONG[@]}"
    check "$NAME: it trains" is_training 6
    send USR1 mpirun
    wait_ranks 60
    if [ $starter = mpich ]; then # passes the signal on, and then ends with 0 whatever the ranks say
        check "$NAME: mpirun ends with 0 or 75" grep -qE '^(0|75) ' "$CASE/mpirun.end"
    else
        ended 75 mpirun
    fi
    check "$NAME: no error" spoke
    check "$NAME: a checkpoint of the last step" test "$(step_of $NAME)" = "$(steps_done)"
    closed "$starter, SIGUSR1 to mpirun"
    intact

    begin $starter.kill
    start $starter 2 "${LONG[@]}"
    check "$NAME: it trains" is_training 6
    event
    pkill -KILL -n -f "^$KSGRAD train .*run.name=$NAME"
    wait_ranks $((4 + SLACK))
    check "$NAME: mpirun's exit code is not 0" test "$(code_of mpirun)" -ne 0
    closed "$starter, one of 2 ranks killed"
    intact
done
table
finish "mpirun (${STARTERS[*]})" 45
