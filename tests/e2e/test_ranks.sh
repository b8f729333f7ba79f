#!/bin/bash
# test_ranks.sh -- training on several ranks of this machine, started by hand, over TCP: the same frames, energies and
# gradients as one rank; the same bits every time; stopped and resumed together, also on other numbers of ranks; errors
# of one rank are the end of all, said once.
KSGRAD=$1
. "$(dirname "$0")/train_common.sh"
trap 'kill $(jobs -p) 2> /dev/null; wait; rm -rf "$WORK"' EXIT
RANDOM=$$

# shares of 1 to 3 frames on 2 to 4 ranks, passes of 2, a pool that moves
sed -i -e 's/^train:.*/train: {batch: 6, pool: 10, reuse: 3, micro_batch: 2}/' \
    -e 's/^valid:.*/valid: {every: 1, frames: 4}/' \
    -e 's/every_steps: 1,/every_steps: 1000,/' -e 's/^device:.*/device: {threads: 1}/' "$WORK/c.yaml"
echo 'comm: {transport: tcp, timeout_s: 60}' >> "$WORK/c.yaml"

# a port that nobody listens on, below the range that the system gives to outgoing connections
free_port() {
    for try in $(seq 50); do
        PORT=$((10000 + RANDOM % 20000))
        (exec 3<> /dev/tcp/127.0.0.1/$PORT) 2> /dev/null || return 0
    done
    return 1
}
# begin N name args...: N ranks in the background, their numbers in PIDS, what they say in name.0, name.1 ...
# ONLY="r arg arg": arguments of rank r alone
begin() {
    local n=$1 name=$2 r
    shift 2
    free_port
    PIDS=()
    for r in $(seq 0 $((n - 1))); do
        local own=()
        [ "${ONLY:--}" != - ] && [ "${ONLY%% *}" = "$r" ] && read -ra own <<< "${ONLY#* }"
        "$KSGRAD" train "$WORK/c.yaml" -q --set run.name=$name "$@" "${own[@]}" --rank $r --ranks $n \
            --rendezvous 127.0.0.1:$PORT > "$WORK/$name.$r" 2>&1 &
        PIDS+=($!)
    done
}
# their exit codes, in rank order
finished() {
    CODES=
    for pid in "${PIDS[@]}"; do
        wait $pid
        CODES="$CODES $?"
    done
    CODES=${CODES# }
}
ranks() { # ranks N name args...: all of them to a good end
    begin "$@"
    finished
    [ -z "$(tr -d '0 ' <<< "$CODES")" ] || { echo "exit codes $CODES"; tail -n 3 "$WORK/$2".[0-9]; return 1; }
}
ends_with() { # ends_with CODE N name args...: every rank
    local want=$1 code
    shift
    begin "$@"
    finished
    for code in $CODES; do
        [ "$code" = "$want" ] || { echo "exit codes $CODES, wanted $want"; tail -n 3 "$WORK/$2".[0-9]; return 1; }
    done
}
# said name text [rank]: once by rank 0, and by the rank that met it itself; the others are silent
said() {
    local f n
    for f in "$WORK/$1".[0-9]; do
        n=$(grep -c "error" "$f")
        [ "$n" -eq "$([ "$f" = "$WORK/$1.0" ] || [ "$f" = "$WORK/$1.${3:-0}" ] && echo 1 || echo 0)" ] &&
            { [ "$n" -eq 0 ] || grep -q "$2" "$f"; } && continue
        echo "'$2':"
        tail -n 3 "$WORK/$1".[0-9]
        return 1
    done
}

# value run kind step column
value() {
    awk -F, -v kind="$2" -v step="$3" -v col="$4" '
        NR == 1 { for (i = 1; i <= NF; i++) if ($i == col) c = i }
        $3 == kind && $2 == step { v = $c } END { print v }' "$WORK/$1/metrics.csv"
}
# near run other kind column first last absolute relative: in all steps; prints the largest difference. Values that are
# not there or no numbers are not near.
near() {
    local s worst=0
    for s in $(seq $5 $6); do
        worst=$(awk -v a="$(value $1 $3 $s $4)" -v b="$(value $2 $3 $s $4)" -v w="$worst" -v abs="$7" -v rel="$8" '
            BEGIN {
            if (a !~ /^-?[0-9]/ || b !~ /^-?[0-9]/) { print "no value"; exit 1 }
            d = a - b; if (d < 0) d = -d
            m = b < 0 ? -b : b
            if (!(d <= abs + rel * m)) { printf "%.3g of %.17g\n", d, b; exit 1 }
            printf "%.2g\n", (d > w ? d : w) }') || { echo "$1 and $2, $3 $4, step $s: $worst"; return 1; }
    done
    echo "$1, $2: $3 $4, steps $5 to $6: differences up to $worst"
}
equal() { # equal run other kind column first last
    local s
    for s in $(seq $5 $6); do
        [ -n "$(value $1 $3 $s $4)" ] && [ "$(value $1 $3 $s $4)" = "$(value $2 $3 $s $4)" ] ||
            { echo "$1 and $2, $3 $4, step $s: '$(value $1 $3 $s $4)', '$(value $2 $3 $s $4)'"; return 1; }
    done
}
step_of() { state $1 | awk '/^step/ { print $2 }'; }

# ---- the same training on 1 to 4 ranks ----
short="--set optim.steps=8"
wide="$short --set model.precision=fp64"
check "one rank" train $short --set run.name=one
check "one rank, fp64" train $wide --set run.name=wide
for n in 2 3 4; do
    check "$n ranks" ranks $n on$n $short
    # step 1: sums of 6 fp64 energies in another order; an fp32 gradient likewise
    check "$n ranks, energy of step 1" near on$n one train energy_Ha 1 1 1e-10 0
    check "$n ranks, gradient of step 1" near on$n one train grad_norm 1 1 0 1e-6
    # later: what the optimiser makes of rounding, 8 steps of 1e-3 (differences stay near 1e-9 here)
    check "$n ranks, energies" near on$n one train energy_Ha 2 8 1e-7 0
    check "$n ranks, said so" test "$(value on$n train 1 world)" = $n
    check "$n ranks, energy without a network" near on$n one valid energy_no_network_Ha 1 8 0 1e-12
    check "$n ranks, all validation frames" equal on$n one valid n_frame 1 8
    check "$n ranks, fp64" ranks $n wide$n $wide
    check "$n ranks, fp64, energies" near wide$n wide train energy_Ha 1 8 1e-11 0
    check "$n ranks, fp64, gradients" near wide$n wide train grad_norm 1 8 0 1e-10
    check "$n ranks, validation" near wide$n wide valid energy_Ha 1 1 0 1e-12
    check "$n ranks, validation" near wide$n wide valid commutator_rms_Ha 1 1 0 1e-9
done
for n in 2 4; do
    check "$n ranks again" ranks $n again$n $short
    check "... the same bits" same_state on$n again$n
    check "... and figures" equal on$n again$n train loss 1 8
done

# batch 5 on 3 ranks; two validation frames, so that one rank has none
uneven="--set train.batch=5 --set valid.frames=2 $wide"
check "batch 5" train $uneven --set run.name=five
check "batch 5 on 3 ranks" ranks 3 five3 $uneven
check "... energies" near five3 five train energy_Ha 1 8 1e-11 0
check "... gradients" near five3 five train grad_norm 1 8 0 1e-10
check "... validation" near five3 five valid energy_Ha 1 1 0 1e-12
check "... its frames" test "$(value five3 valid 1 n_frame)" = 2

# two compositions, of which a rank may have one
cp "$WORK/water.xyz" "$WORK/mixed.xyz"
for d in 0.70 0.72 0.74 0.76 0.78; do printf '2\nhydrogen\nH 0 0 0\nH 0.1 0 %s\n' $d; done >> "$WORK/mixed.xyz"
mixed="--set data.file=$WORK/mixed.xyz --set data.split.sizes=[23,6,0] --set train.pool=0 $wide"
mixed="$mixed --set model.frame=inertia"
check "mixture" train $mixed --set run.name=mixed
check "mixture on 4 ranks" ranks 4 mixed4 $mixed
check "... energies" near mixed4 mixed train energy_Ha 1 8 1e-11 0
check "... gradients" near mixed4 mixed train grad_norm 1 8 0 1e-10
check "... validation" near mixed4 mixed valid energy_Ha 1 1 0 1e-12

# moments in shares: the same step, up to the order in which the norm is summed
check "shares of the moments" ranks 3 shares $short --set comm.shard_moments=on
check "... energies" near shares one train energy_Ha 1 8 1e-7 0
check "... gradient of step 1" near shares one train grad_norm 1 1 0 1e-6

# ---- stopped through one rank, resumed ----
long="--set optim.steps=60 --set valid.every=20"
check "uninterrupted, 2 ranks" ranks 2 whole $long
check "uninterrupted, 3 ranks" ranks 3 three $long
check "uninterrupted, one rank" train $long --set run.name=alone
# interrupt N name rank signal lines args...: the signal to one rank once so many lines are on record
interrupt() {
    local n=$1 name=$2 rank=$3 sig=$4 lines=$5 try
    shift 5
    begin $n $name "$@"
    while kill -0 ${PIDS[0]} 2> /dev/null && ! { [ -s "$WORK/$name/metrics.jsonl" ] &&
        [ "$(wc -l < "$WORK/$name/metrics.jsonl")" -ge $lines ]; }; do sleep 0.01; done
    kill -$sig ${PIDS[$rank]} 2> /dev/null
    finished
}
for try in 1 2 3 4 5; do # until the signal comes before the end
    rm -rf "${WORK:?}/stop"
    interrupt 2 stop 1 TERM 4 $long
    [ "$CODES" = "0 0" ] || break
done
check "signal to rank 1: exit codes $CODES" test "$CODES" = "75 75"
stopped=$(step_of stop)
check "... checkpoint of step ${stopped:-none}" test "${stopped:-0}" -gt 0 -a "${stopped:-0}" -lt 60
check "... is the last step on record" test "$(grep -c '"kind": "train"' "$WORK/stop/metrics.jsonl")" = "$stopped"
cp -r "$WORK/stop" "$WORK/first"
check "resumed on 2 ranks" ranks 2 stop $long --resume=must
check "... the same bits" same_state whole stop
for try in 1 2 3 4 5; do
    rm -rf "${WORK:?}/moved"
    cp -r "$WORK/first" "$WORK/moved"
    interrupt 3 moved 2 USR1 $(($(wc -l < "$WORK/moved/metrics.jsonl") + 4)) $long --resume=must
    [ "$CODES" = "0 0 0" ] || break
done
check "resumed on 3 ranks and stopped again: exit codes $CODES" test "$CODES" = "75 75 75"
check "... later" test "$(step_of moved)" -gt "$stopped"
check "resumed on one rank" train $long --set run.name=moved --resume=must
# the same frames in fp32 on other numbers of ranks; frames differ from one another by 1e-2
check "... same energies" near moved alone train energy_Ha 1 60 1e-6 0
check "from shares to one rank" train --set optim.steps=12 --set run.name=shares --resume=must --allow-change

# rank 0's clock: saved on all ranks after the same steps, and never by the others' wishes
check "saved by the clock" ranks 3 clock $long --set ckpt.every_minutes=0.001
check "... more than once" test "$(grep -c '"kind": "ckpt"' "$WORK/clock/metrics.jsonl")" -gt 4
check "... and nothing else changes" same_state clock three

# ---- one rank's folder, one rank's error ----
ONLY="1 --set run.dir=$WORK/elsewhere"
check "rank 1 looks elsewhere" ranks 2 here $short
check "... where nothing is" test ! -e "$WORK/elsewhere"
check "rank 0's folder" test -s "$WORK/here/ckpt/latest/model.h5" -a -s "$WORK/here/run.log"
check "... says who was there" grep -q '"ranks": 2' "$WORK/here/env.json"
check "... and how" grep -q '"transport": "tcp"' "$WORK/here/env.json"
check "... and why" grep -q '"launcher": "explicit"' "$WORK/here/env.json"
check "nothing to resume from for rank 1" ends_with 4 2 here --set optim.steps=9
check "... says why" said here "file system that all of them share" 1

ONLY="1 --set data.file=$WORK/elsewhere/water.xyz"
check "rank 1 has no data" ends_with 4 3 nodata $short
check "... said once" said nodata "elsewhere/water.xyz" 1
check "... no folder" test ! -e "$WORK/nodata"
mkdir "$WORK/other"
sed 's/^O 0[.]/O 0.1/' "$WORK/water.xyz" > "$WORK/other/water.xyz"
ONLY="2 --set data.file=$WORK/other/water.xyz"
check "rank 2 has other geometries" ends_with 5 3 otherdata $short
check "... said once, by name" said otherdata "geometries of data.file.*rank 2"
ONLY=
check "more ranks than frames" ends_with 3 4 many $short --set train.batch=3
check "... said once" said many "train.batch = 3 frames cannot be shared out over 4 ranks"
check "no memory" ends_with 5 2 small $short --set device.memory_gib=0.0001
check "... said once" said small "on each rank"
check "an old folder" ends_with 3 2 whole $long --resume=never
check "... said once" said whole "choose another run.name"
check "nobody is left" test -z "$(jobs -pr)"
finish ranks 94
