#!/bin/bash
# test_failures.sh -- what goes wrong while several ranks train: a rank dies, hangs, runs out of memory or disk, gets
# strangers' visits, is told to stop. All ranks end in time, one message names the culprit, the newest checkpoint is whole.
# Arguments: ksgrad, and ksgrad with the kernel launcher as its GPU where there is one.
KSGRAD=$1
. "$(dirname "$0")/ranks_common.sh"
host=$(hostname)

# The bits that a run of two ranks ends with, for comparison below.
begin whole
ranks 2 --set optim.steps=40
wait_ranks 90
ended 0 0 1
closed "whole run"

# 1. A rank is killed. The connection breaks: nobody waits for the deadline, which is far off here.
begin kill1
ranks 2 --set optim.steps=40 --set comm.timeout_s=120
check "$NAME: it trains" is_training 6
send KILL 1
wait_ranks $SLACK
ended 137 1
ended 5 0
check "$NAME: rank 0 speaks" spoke 0
check "$NAME: about rank 1" rank_says 0 'rank 1' "$host"
closed "rank 1 of 2 killed"
check "$NAME: resumed" goes_on 2 40
check "$NAME: to the same bits as if nothing had happened" same_state whole kill1

# 2. Rank 0 is killed, at three ranks: the others see it for themselves.
begin kill0
ranks 3 "${LONG[@]}" --set comm.timeout_s=120
check "$NAME: it trains" is_training 6
send KILL 0
wait_ranks $SLACK
ended 137 0
ended 5 1 2
check "$NAME: both others speak" spoke 1 2
check "$NAME: rank 1 about rank 0" rank_says 1 'rank 0' "$host" 'rank 1 of 3'
check "$NAME: rank 2 about rank 0" rank_says 2 'rank 0' "$host" 'rank 2 of 3'
closed "rank 0 of 3 killed"
intact

# 3. A rank stands still, as on a machine that hangs: its connections stay open, nothing comes from it.
for r in 1 0; do
    begin stop$r
    ranks 2 "${LONG[@]}"
    check "$NAME: it trains" is_training 6
    send STOP $r
    wait_ranks $((4 + SLACK)) $((1 - r))
    ended 5 $((1 - r))
    check "$NAME: rank $((1 - r)) speaks" rank_says $((1 - r)) "rank $r" "$host"
    kill -CONT "$(pid_of $r)" # the machine comes back: its rank must not go on alone
    wait_ranks $((4 + 2 * SLACK)) $r
    ended 5 $r
    closed "rank $r of 2 stopped, then continued"
    intact
done

# A rank that stands still for less than that: nothing happens.
begin pause
ranks 2 --set optim.steps=40 --set comm.timeout_s=60
check "$NAME: it trains" is_training 3
send STOP 1
sleep 1
kill -CONT "$(pid_of 1)"
wait_ranks 90
ended 0 0 1
check "$NAME: nobody says an error" spoke
check "$NAME: the same bits" same_state whole pause
closed "rank 1 of 2 stopped for a second"

# 4. The disk of rank 0 is full: a limit on the size of a file stands in for it, weights and moments need more.
begin disk
BEFORE=(bash -c 'trap "" XFSZ; ulimit -f 8; exec "$@"' _)
rank 0 2 "${LONG[@]}"
BEFORE=()
event
rank 1 2 "${LONG[@]}"
wait_ranks 60
ended 4 0 1
check "$NAME: rank 0 speaks" spoke 0
check "$NAME: it names the file" rank_says 0 "$WORK/disk"
closed "rank 0 of 2 cannot write"

# 5. The same with a file system that is really full or read-only, where the test may mount one.
mkdir "$WORK/full" "$WORK/locked"
if mount -t tmpfs -o size=8m ksgrad-test "$WORK/full" 2> /dev/null; then
    AT_EXIT="umount '$WORK/full'"
    begin full
    ranks 2 "${LONG[@]}" --set run.dir="$WORK/full"
    ln -s full/full "$WORK/full_run"
    until_true 60 test -e "$WORK/full/full/ckpt/latest/DONE"
    event
    dd if=/dev/zero of="$WORK/full/rest" bs=4096 2> /dev/null # what is left of it
    wait_ranks $((4 + SLACK))
    ended 4 0 1
    check "$NAME: rank 0 speaks" spoke 0
    check "$NAME: it says why" rank_says 0 'No space left|full'
    closed "disk full under rank 0 of 2"
    rm "$WORK/full/rest"
    step=$("$KSGRAD" info "$WORK/full/full/ckpt/latest" | awk '/^step / { print $2 }')
    check "$NAME: the newest checkpoint is whole (step ${step:-none})" test "${step:-0}" -gt 0
    check "$NAME: the run goes on where there is room" \
        train --set run.name=full --set run.dir="$WORK/full" --set optim.steps=$((step + 3)) --resume=must

    begin locked
    mount -o remount,ro "$WORK/full"
    event
    ranks 2 "${LONG[@]}" --set run.dir="$WORK/full"
    wait_ranks 60
    ended 4 0 1
    check "$NAME: rank 0 speaks" spoke 0
    check "$NAME: it says why" rank_says 0 'Read-only'
    closed "run folder read-only for rank 0 of 2"
else
    echo "no mount: full and read-only disk are left out"
fi

# 6. Strangers come while it trains: they are ignored.
begin visit
ranks 2 --set optim.steps=40
check "$NAME: it trains" is_training 3
for word in $'GET / HTTP/1.0\r\n\r\n' "$(head -c 3000 /dev/urandom | tr -d '\0')" ''; do
    (exec 3<> "/dev/tcp/127.0.0.1/$PORT" && printf '%s' "$word" >&3) 2> /dev/null
done
wait_ranks 60
ended 0 0 1
check "$NAME: nobody says an error" spoke
check "$NAME: the same bits" same_state whole visit
closed "strangers while it trains"

# 7. A stop: told to one rank, or to all at once. All finish the same step and leave with 75.
stop() { # stop NAME OF SIGNAL R...
    local name=$1 of=$2 signal=$3
    shift 3
    begin "$name"
    ranks "$of" "${LONG[@]}" --set comm.timeout_s=60
    check "$NAME: it trains" is_training 6
    send "$signal" "$@"
    wait_ranks 60
    ended 75 $(seq 0 $((of - 1)))
    check "$NAME: no error" spoke
    check "$NAME: a checkpoint of the last step" test "$(step_of "$name")" = "$(steps_done)"
    closed "SIG$signal to rank $* of $of"
}
stop term_all 3 TERM 0 1 2
intact 2
stop term_one 3 TERM 2
intact
stop usr1_one 2 USR1 1
stop int_0 2 INT 0

# 8. Two at once: a rank dies while the others save after a signal.
begin both
ranks 3 "${LONG[@]}"
check "$NAME: it trains" is_training 6
kill -TERM "$(pid_of 1)"
send KILL 2
wait_ranks $((4 + SLACK))
for r in 0 1; do check "$NAME: rank $r ends with 5 or 75" grep -qE '^(5|75) ' "$CASE/$r.end"; done
closed "SIGTERM to rank 1, SIGKILL to rank 2 of 3"
intact

table
finish failures 110
