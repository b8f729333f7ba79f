#!/bin/bash
# test_torchrun.sh -- ranks started by torchrun --no-python without a flag for ksgrad; one killed, restarted by torchrun.
KSGRAD=$1
. "$(dirname "$0")/ranks_common.sh"
torchrun=${KS_TORCHRUN:-$(command -v torchrun)}
if [ ! -x "$torchrun" ]; then
    echo "skipped: no torchrun in PATH, and KS_TORCHRUN does not name one (pip install torch)"
    exit 77
fi
start() { # start N OPTIONS-OF-TORCHRUN -- arguments
    local n=$1 options=()
    shift
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    in_background torchrun "$torchrun" --nproc-per-node "$n" "${options[@]}" --no-python "$KSGRAD" train "$WORK/c.yaml" -q \
        --set run.name="$NAME" "$@"
}
begin by_hand
ranks 2 --set optim.steps=20 --set valid.every=10 --set comm.transport=tcp
wait_ranks 90
ended 0 0 1
closed "2 ranks by hand"

begin static
event
start 2 --master-port "$PORT" -- --set optim.steps=20 --set valid.every=10
wait_ranks 120
ended 0 torchrun
check "$NAME: nobody says an error" spoke
check "$NAME: the bits of ranks that were started by hand" same_state by_hand $NAME
closed "torchrun, 2 ranks"

begin standalone
event
start 4 --standalone -- --set optim.steps=20 --set valid.every=10
wait_ranks 120
ended 0 torchrun
check "$NAME: all steps" test "$(step_of $NAME)" = 20
closed "torchrun --standalone, 4 ranks"

# torchrun's own way of going on: all ranks again after one died. The new ones find each other and the checkpoint.
begin restarts
start 2 --standalone --max-restarts 1 -- --set optim.steps=400 --set valid.every=100000
check "$NAME: it trains" is_training 6
event
pkill -KILL -n -f "^$KSGRAD train .*run.name=$NAME"
wait_ranks 180
ended 0 torchrun
check "$NAME: all steps" test "$(step_of $NAME)" = 400
check "$NAME: it went on from a checkpoint" grep -q '"kind": "resume"' "$WORK/$NAME/metrics.jsonl"
closed "torchrun, one of 2 ranks killed, restarted"

begin killed
start 2 --standalone -- "${LONG[@]}"
check "$NAME: it trains" is_training 6
event
pkill -KILL -n -f "^$KSGRAD train .*run.name=$NAME"
wait_ranks $((30 + SLACK))
check "$NAME: torchrun's exit code is not 0" test "$(code_of torchrun)" -ne 0
closed "torchrun, one of 2 ranks killed"
intact
table
finish torchrun 30
