#!/usr/bin/env bash
# test_ranks.sh KSGRAD EMU_KSGRAD -- training on several GPUs of the launcher, its NCCL between processes, started by hand:
# against one rank and against the CPU; the same bits every time, recorded or not; stopped and resumed on other numbers of
# ranks; a rank that is killed or stops answering while the others wait for it on their devices.
set -u
CPU=$1
KSGRAD=$2
. "$(dirname "$0")/../e2e/train_common.sh"
trap 'kill -9 $(jobs -p) 2> /dev/null; wait; rm -rf "$WORK"' EXIT
RANDOM=$$
export KS_EMU_DEVICES=4

# batches of 6 over 2 and 4 ranks (4: uneven), a pool that moves. Passes of 2: gradients are summed up before they travel
sed -i -e 's/^train:.*/train: {batch: 6, pool: 12, reuse: 3, micro_batch: 2}/' -e 's/^valid:.*/valid: {every: 6, frames: 3}/' \
    -e 's/every_steps: 1,/every_steps: 1000,/' -e 's/^optim:.*/optim: {lr: 1e-3, warmup: 2, steps: 6}/' \
    -e 's/^device:.*/device: {threads: 1, backend: cuda}/' "$WORK/c.yaml"
echo 'comm: {timeout_s: 100}' >> "$WORK/c.yaml"

free_port() {
    for try in $(seq 50); do
        PORT=$((10000 + RANDOM % 20000))
        (exec 3<> /dev/tcp/127.0.0.1/$PORT) 2> /dev/null || return 0
    done
    return 1
}
begin() { # begin N name args...: N ranks in the background, their numbers in PIDS, what they say in name.0, name.1 ...
    local n=$1 name=$2 r
    shift 2
    free_port
    PIDS=()
    for r in $(seq 0 $((n - 1))); do
        KS_EMU_SEED=$((RANDOM + r)) "$KSGRAD" train "$WORK/c.yaml" -q --set run.name=$name "$@" --rank $r --ranks $n \
            --rendezvous 127.0.0.1:$PORT > "$WORK/$name.$r" 2>&1 &
        PIDS+=($!)
    done
}
finished() { # exit codes, in rank order
    CODES=
    for pid in "${PIDS[@]}"; do
        wait $pid 2> /dev/null
        CODES="$CODES $?"
    done
    CODES=${CODES# }
}
ranks() { # ranks N name args...: to a good end
    begin "$@"
    finished
    [ -z "$(tr -d '0 ' <<< "$CODES")" ] || { echo "exit codes $CODES"; tail -n 3 "$WORK/$2".[0-9]; return 1; }
}
value() { # value run kind step column
    awk -F, -v kind="$2" -v step="$3" -v col="$4" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == col) c = i }
        $3 == kind && $2 == step { v = $c } END { print v }' "$WORK/$1/metrics.csv"
}
near() { # near run other column first last absolute relative; NaN and missing values are not near
    local s worst=0
    for s in $(seq $4 $5); do
        worst=$(awk -v a="$(value $1 train $s $3)" -v b="$(value $2 train $s $3)" -v w="$worst" -v abs="$6" -v rel="$7" 'BEGIN {
            if (a !~ /^-?[0-9]/ || b !~ /^-?[0-9]/) { print "no value"; exit 1 }
            d = a - b; if (d < 0) d = -d
            m = b < 0 ? -b : b
            if (!(d <= abs + rel * m)) { printf "%.3g of %.17g\n", d, b; exit 1 }
            if (rel > 0) d /= m
            printf "%.2g\n", (d > w ? d : w) }') || { echo "$1 and $2, $3, step $s: $worst"; return 1; }
    done
    echo "$1, $2: $3, steps $4 to $5: differences up to $worst"
}
step_of() { state $1 | awk '/^step/ { print $2 }'; }
lines_of() { [ -s "$WORK/$1/metrics.jsonl" ] && wc -l < "$WORK/$1/metrics.jsonl" || echo 0; }
until_lines() { # until_lines name N: rank 0 has recorded so much, or has ended
    while kill -0 ${PIDS[0]} 2> /dev/null && [ "$(lines_of $1)" -lt $2 ]; do sleep 0.02; done
}

# ---- the same training ----
check "CPU" "$CPU" train "$WORK/c.yaml" -q --set run.name=cpu --set device.backend=cpu
check "one rank" train --set run.name=one
for n in 2 4; do
    check "$n ranks" ranks $n on$n
    check "$n ranks, over NCCL" grep -q '"transport": "nccl"' "$WORK/on$n/env.json"
    for other in one cpu; do
        # sums of 6 fp64 energies in another order; an fp32 gradient likewise
        check "$n ranks, energy of step 1" near on$n $other energy_Ha 1 1 1e-10 0
        check "$n ranks, gradient of step 1" near on$n $other grad_norm 1 1 0 1e-6
        # later what the optimiser makes of rounding
        check "$n ranks, energies" near on$n $other energy_Ha 2 6 1e-7 0
    done
    check "$n ranks again" ranks $n again$n
    check "$n ranks, the same bits" same_state on$n again$n
    check "$n ranks, not recorded" ranks $n direct$n --set device.graphs=off
    check "$n ranks, recorded or not: the same bits" same_state on$n direct$n
done
KS_EMU_STATS=1 check "2 ranks, counted" ranks 2 counted
check "... passes are recorded and replayed" grep -Eq 'emu: [0-9]+ launches, ([3-9]|[1-9][0-9]+) graph launches' "$WORK/counted.1"
check "shares of the moments" ranks 2 shares --set comm.shard_moments=on
check "... gradient of step 1" near shares one grad_norm 1 1 0 1e-6
check "... energies" near shares one energy_Ha 1 6 1e-7 0

# ---- stopped and resumed ----
long="--set optim.steps=24 --set valid.every=24"
check "uninterrupted" ranks 2 whole $long
for try in 1 2 3 4 5; do # until the signal comes before the end
    rm -rf "${WORK:?}/stop" "${WORK:?}/moved"
    begin 2 stop $long
    until_lines stop 3
    kill -TERM ${PIDS[1]} 2> /dev/null
    finished
    [ "$CODES" = "0 0" ] || break
done
check "a signal to rank 1: exit codes $CODES" test "$CODES" = "75 75"
stopped=$(step_of stop)
check "... checkpoint of step ${stopped:-none}" test "${stopped:-0}" -gt 0 -a "${stopped:-0}" -lt 24
cp -r "$WORK/stop" "$WORK/moved"
check "resumed on 2 ranks" ranks 2 stop $long --resume=must
check "... the same bits" same_state whole stop
check "resumed on 4 ranks" ranks 4 moved $long --resume=must
check "... the same energies" near moved whole energy_Ha 1 24 1e-6 0

# ---- ranks that are gone: the others wait on their devices, and end ----
lost="--set optim.steps=4000 --set valid.every=4000 --set ckpt.every_steps=3"
begin 4 killed $lost
until_lines killed 6
begin_s=$SECONDS
kill -9 ${PIDS[2]}
finished
check "a killed rank: exit codes $CODES" test "$CODES" = "5 5 137 5"
check "... in $((SECONDS - begin_s)) s" test $((SECONDS - begin_s)) -lt 60
check "... named once" test "$(cat "$WORK"/killed.[0-9] | grep -c 'rank 2')" = 1
check "... the last checkpoint is whole" test "$(step_of killed)" -ge 3
check "... and the run goes on" ranks 2 killed $lost --set optim.steps=$(($(step_of killed) + 2)) --resume=must --allow-change

begin 2 silent $lost --set comm.timeout_s=6
until_lines silent 3
begin_s=$SECONDS
kill -STOP ${PIDS[1]}
wait ${PIDS[0]}
code=$?
check "a stopped rank: exit code $code" test $code = 5
check "... after $((SECONDS - begin_s)) s" test $((SECONDS - begin_s)) -lt 60
check "... named" grep -q 'rank 1' "$WORK/silent.0"
kill -9 ${PIDS[1]} && wait ${PIDS[1]} 2> /dev/null

# ---- refused ----
export KS_EMU_DEVICES=1
begin 2 shared
finished
check "two ranks on one GPU: exit codes $CODES" test "$CODES" = "5 5"
check "... named once" test "$(cat "$WORK"/shared.[0-9] | grep -c 'ranks 0 and 1 share GPU-')" = 1
check "nobody is left" test -z "$(jobs -pr)"
check "nothing is left in shared memory" test -z "$(find /dev/shm -name '*ksgrad*' 2> /dev/null)"
finish emu_ranks 45
