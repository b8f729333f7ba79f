#!/bin/bash
# test_kill.sh -- a training killed with SIGKILL at 20 random instants ends with the same bits as one left alone.
KSGRAD=$1
. "$(dirname "$0")/train_common.sh"
RANDOM=${SEED:-$$}
echo "seed ${SEED:-$$}"

start=$(date +%s%N)
check "uninterrupted run" train --set run.name=whole
span=$((($(date +%s%N) - start) / 1000000)) # ms of a whole run on this machine, at this moment

killed=0
for i in $(seq 20); do
    # the remaining run gets shorter as it goes on: aim at the first fifth of a whole one
    train --set run.name=parts &
    pid=$!
    sleep "$(awk "BEGIN { print ($RANDOM % 1000) / 1000 * $span / 5000 + 0.005 }")"
    pkill -KILL -P $pid 2> /dev/null && killed=$((killed + 1))
    wait $pid 2> /dev/null
done
check "last run to the end" train --set run.name=parts
check "the same bits" same_state whole parts
check "kills that hit a running training: $killed" test "$killed" -ge 5
check "no temporaries left" test -z "$(find "$WORK/parts" -name '*.tmp')"
check "rotation" test "$(find "$WORK/parts/ckpt" -maxdepth 1 -name 'step_*' | wc -l)" -le 4
lines=$(grep -c '"kind": "resume"' "$WORK/parts/metrics.jsonl")
steps=$(grep '"kind": "train"' "$WORK/parts/metrics.jsonl" | sed 's/.*"step": \([0-9]*\),.*/\1/' | sort -un | wc -l)
check "resumed $lines times" test "$lines" -ge 5
check "every step is in metrics.jsonl ($steps)" test "$steps" -eq 40
finish kill 8
