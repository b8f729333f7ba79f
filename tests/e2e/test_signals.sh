#!/bin/bash
# test_signals.sh -- SIGTERM, SIGUSR1 and SIGINT: the step is finished, a checkpoint written, exit code 75, and the same
# command goes on to the same bits.
KSGRAD=$1
. "$(dirname "$0")/train_common.sh"
check "uninterrupted run" train --set run.name=whole

for sig in TERM USR1 INT; do
    caught=0
    for try in 1 2 3 4 5; do
        rm -rf "${WORK:?}/$sig"
        "$KSGRAD" train "$WORK/c.yaml" -q --set run.name=$sig 2>> "$WORK/stderr" > /dev/null &
        pid=$!
        for wait in $(seq 500); do # until a few steps are on record
            [ -s "$WORK/$sig/metrics.jsonl" ] && [ "$(wc -l < "$WORK/$sig/metrics.jsonl")" -ge 5 ] && break
            sleep 0.01
        done
        kill -$sig $pid 2> /dev/null
        wait $pid
        code=$?
        [ $code -eq 0 ] && continue # it was done before the signal came
        caught=1
        break
    done
    check "SIG$sig was sent in time" test $caught -eq 1
    check "SIG$sig: exit code $code" test $code -eq 75
    step=$(state $sig | awk '/^step/ { print $2 }')
    check "SIG$sig: checkpoint of the last step (${step:-none})" test "${step:-0}" -gt 0 -a "${step:-0}" -lt 40
    check "SIG$sig: recorded" grep -q "\"step\": $step, \"kind\": \"ckpt\"" "$WORK/$sig/metrics.jsonl"
    check "SIG$sig: resumed" train --set run.name=$sig --resume=must
    check "SIG$sig: the same bits" same_state whole $sig
done
finish signals 19
