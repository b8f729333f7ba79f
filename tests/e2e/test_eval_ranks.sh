#!/bin/bash
# test_eval_ranks.sh PROGRAM -- eval as several ranks: the same figures, in the same bits, as one rank, every frame once, for
# compositions mixed, labels stored and computed, predictions of somebody else, fewer frames than ranks, and 4,500 frames on
# three ranks. A rank that is killed, cannot read, reads something else or cannot write ends all, and nothing is left behind.
# Verbs that work as one rank refuse several.
KSGRAD=$(realpath "$1")
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/verbs_common.sh"
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PIDS=()
clean_up() {
    for pid in "${PIDS[@]}"; do # each is a timeout with the program under it
        pkill -KILL -P "$pid"
        kill "$pid" 2> /dev/null
    done
    wait 2> /dev/null
    rm -rf "$WORK"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# ---- ranks ----

free_port() { # one that nobody listens on, below those that the system gives out
    local hex
    while :; do
        PORT=$((10000 + (RANDOM * 32768 + RANDOM) % 20000))
        printf -v hex '%04X' $PORT
        grep -qi "^ *[0-9]*: [0-9A-F]*:$hex .* 0A " /proc/net/tcp /proc/net/tcp6 2> /dev/null || return
    done
}
start() { # start NAME RANK RANKS arguments...: in the background, output in NAME.RANK.out and .err
    local name=$1 r=$2 n=$3
    shift 3
    timeout 300 "$KSGRAD" "$@" --threads 1 --rank "$r" --ranks "$n" --rendezvous "127.0.0.1:$PORT" \
        --set comm.timeout_s=60 > "$name.$r.out" 2> "$name.$r.err" &
    PIDS[r]=$!
}
finished() { # finished RANKS: waits; their exit codes in CODES
    local r
    CODES=""
    for r in $(seq 0 $(($1 - 1))); do
        wait "${PIDS[r]}"
        CODES+="$? "
    done
    PIDS=()
}
on_ranks() { # on_ranks NAME RANKS arguments...: all of them, until they have ended
    local name=$1 n=$2 r
    shift 2
    free_port
    for r in $(seq 0 $((n - 1))); do start "$name" "$r" "$n" "$@"; done
    finished "$n"
}
codes() { # codes CODE RANKS
    local want
    want=$(for _ in $(seq "$2"); do printf '%s ' "$1"; done)
    [ "$CODES" = "$want" ] || { echo "  exit codes $CODES, expected $want"; tail -n 3 ./*.err; return 1; }
}
until_true() { # until_true SECONDS command...
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}

# ---- results ----

# A summary without what the clock says; the number of ranks is compared by itself.
figures() { grep -vE '"(world|wall_s|frames_per_s|tensors|network|refine)":' "$1/summary.json"; }
equal_to_one() { # equal_to_one ONE SEVERAL
    figures "$1" > one.txt
    figures "$2" > several.txt
    [ "$(grep -c '_mae_\|cycles\|rms' one.txt)" -ge 20 ] || { echo "  no figures in $1/summary.json"; return 1; }
    cmp one.txt several.txt && cmp "$1/per_frame.csv" "$2/per_frame.csv"
}
frames_in() { awk -F, 'NR > 1 && $2 == "model" { n++; if (seen[$1]++) twice++ } END { print n - twice }' "$1/per_frame.csv"; }
# compare NAME RANKS FRAMES arguments...: several ranks against $one, which is the same with one rank
compare() {
    local name=$1 n=$2 frames=$3
    shift 3
    on_ranks "$name" "$n" eval "$@" --out "$name"
    check "$name: exit codes" codes 0 "$n"
    check "$name: figures of one rank" equal_to_one "$one" "$name"
    check "$name: every frame once" same "$(frames_in "$name") $(json "$name/summary.json" n_frames)" "$frames $frames"
    check "$name: number of ranks" same "$(json "$name/summary.json" world)" "$n"
    check "$name: the first rank alone prints" same "$(cat "$name".[1-9].out | wc -c) $(grep -c 'energy MAE' "$name.0.out")" "0 1"
    check "$name: nothing else is there" same "$(ls "$name" | tr '\n' ' ')" "per_frame.csv summary.json "
}
alone() { # alone NAME arguments...
    one=$1
    shift
    "$KSGRAD" eval "$@" --threads 1 --out "$one" > "$one.out" 2> "$one.err"
    check "$one: one rank" [ $? -eq 0 ]
}

# Frames of three compositions in no order, and 4,500 of water.
awk 'function r() { return 0.05 * rand() }
    BEGIN { srand(5); for (f = 0; f < 26; f++) { k = f < 3 ? f : int(3 * rand())
    if (k == 0) printf "2\nhydrogen\nH %.6f %.6f %.6f\nH %.6f %.6f %.6f\n", r(), r(), r(), r(), r(), 0.74 + r()
    if (k == 1) printf "3\nwater\nO %.6f %.6f %.6f\nH %.6f %.6f %.6f\nH %.6f %.6f %.6f\n", r(), r(), 0.1193 + r(),
        r(), 0.7632 + r(), -0.4770 - r(), r(), -0.7632 - r(), -0.4770 + r()
    if (k == 2) printf "4\nammonia\nN %.6f %.6f %.6f\nH %.6f %.6f %.6f\nH %.6f %.6f %.6f\nH %.6f %.6f %.6f\n", r(), r(), 0.12 + r(),
        r(), 0.94 + r(), -0.27 + r(), 0.81 + r(), -0.47 + r(), -0.27 + r(), -0.81 + r(), -0.47 + r(), -0.27 + r() } }' > mixed.xyz
awk 'BEGIN { srand(11); for (f = 0; f < 4500; f++) { print "3\nwater " f
    printf "O %.6f %.6f %.6f\n", 0.04 * rand(), 0.04 * rand(), 0.1193 + 0.03 * rand()
    printf "H %.6f %.6f %.6f\n", 0.04 * rand(), 0.7632 + 0.06 * rand(), -0.4770 - 0.06 * rand()
    printf "H %.6f %.6f %.6f\n", 0.04 * rand(), -0.7632 - 0.06 * rand(), -0.4770 + 0.06 * rand() } }' > water.xyz
cat > c.yaml <<YAML
version: 1
run: {name: run, dir: .}
data: {file: mixed.xyz, split: {method: numpy-legacy, seed: 1, sizes: [14, 2, 10]}}
method: {xc: lda, basis: sto-3g, grid: 0}
model: {d_model: 16, heads: 2, layers: 1, frame: none}
eval: {refine: {kind: anderson, steps: 3}}
optim: {lr: 2e-3, lr_min: 0, warmup: 2, steps: 10}
train: {batch: 4}
valid: {every: 10, frames: 2}
YAML
"$KSGRAD" train c.yaml --threads 1 > train.log 2>&1
check "training" [ $? -eq 0 ]

# the test part, references computed on the spot
alone spot run
compare spot2 2 10 run
compare spot3 3 10 run
check "says how many ranks" grep -q '3 ranks' spot3.0.out
# all frames, uneven shares, SCF cycles of 5 of them; stored labels
alone all run --data mixed.xyz --cycles 5
compare all3 3 26 run --data mixed.xyz --cycles 5
check "five frames with cycles" same "$(json all3/summary.json n_frames_scf_cycles)" 5
"$KSGRAD" data convert mixed.xyz -o mixed.h5 > /dev/null 2>&1 &&
    "$KSGRAD" data label mixed.h5 --set method.xc=lda --set method.basis=sto-3g --set method.grid=0 > label.txt 2>&1
check "labels" [ $? -eq 0 ]
alone labels run --data mixed.h5 --cycles -1
compare labels4 4 26 run --data mixed.h5 --cycles -1
check "with the labels" grep -q 'reference: labels of mixed.h5' labels4.0.out
alone label run --data mixed.h5 --label --frames ::3
compare label2 2 9 run --data mixed.h5 --label --frames ::3
# other refinements; more ranks than frames; somebody's Hamiltonians; little memory
for kind in none qpt cdiis damped; do
    alone "$kind" run --data mixed.h5 --frames 0:7 --refine $kind --cycles 0
    compare "${kind}2" 2 7 run --data mixed.h5 --frames 0:7 --refine $kind --cycles 0
done
alone few run --data mixed.h5 --frames 0:3
compare few5 5 3 run --data mixed.h5 --frames 0:3
method=(--set method.xc=lda --set method.basis=sto-3g --set method.grid=0)
"$KSGRAD" scf mixed.xyz "${method[@]}" --conv 1e-11 --conv-grad 1e-8 --out f.h5 > /dev/null 2>&1
alone theirs --prediction f.h5 --data mixed.xyz "${method[@]}" --cycles 3
compare theirs2 2 26 --prediction f.h5 --data mixed.xyz "${method[@]}" --cycles 3
check "a converged F is perfect" close_to "$(json theirs2/summary.json psi_similarity_pct)" 100 1e-6
alone little run --data mixed.h5 --set device.memory_gib=0.002
compare little2 2 26 run --data mixed.h5 --set device.memory_gib=0.002

# ---- ends ----

free_port # a rank that cannot read its data
start lost 0 2 eval run --data mixed.h5 --out lost
start lost 1 2 eval run --data nowhere.h5 --out lost
finished 2
check "no data on one rank: exit codes" codes 4 2
check "no data on one rank: who says it" same "$(grep -c 'error: ' lost.0.err lost.1.err | tr '\n' ' ')" "lost.0.err:0 lost.1.err:1 "
check "no data on one rank: which" grep -q 'rank 1 of 2.*nowhere.h5' lost.1.err
check "no data on one rank: no results" [ ! -e lost/summary.json ]

free_port # other frames on one rank
start other 0 3 eval run --data mixed.h5 --frames 0:9 --out other
start other 1 3 eval run --data mixed.h5 --frames 0:9 --out other
start other 2 3 eval run --data mixed.h5 --frames 1:10 --out other
finished 3
check "other frames on one rank: exit codes" codes 5 3
check "other frames on one rank: message" grep -q 'frames to evaluate' other.0.err
check "other frames on one rank: no results" [ ! -e other/summary.json ]

echo taken > taken # rank 0 cannot write
on_ranks taken 2 eval run --data mixed.h5 --frames 0:4 --out taken
check "no folder: exit codes" codes 4 2
check "no folder: the other is silent" same "$(grep -c 'error: ' taken.1.err)" 0

free_port # a rank is killed in the middle of the work
for r in 0 1 2; do start killed $r 3 eval run --data water.xyz --cycles -1 --out killed; done
check "the work has begun" until_true 60 grep -q 'of 4500 frames' killed.0.err
pkill -KILL -P "${PIDS[1]}"
SECONDS=0
finished 3
check "a killed rank: the others end" same "$(echo "$CODES" | cut -d' ' -f1,3)" "5 5"
check "a killed rank: soon" [ $SECONDS -le 45 ] # a few s of a chunk, the watchdog's grace, a busy machine
check "a killed rank: one line that names it" same "$(grep -c 'error: .*rank 1' killed.0.err) $(grep -c 'error: ' killed.2.err)" "1 0"
check "a killed rank: no results" same "$(ls killed | wc -l)" 0

# verbs that work as one rank
cp mixed.h5 before.h5
for verb in "predict run mixed.xyz --out p.h5" "data label mixed.h5 --set method.xc=pbe" "gradcheck c.yaml"; do
    # shellcheck disable=SC2086
    on_ranks refused 2 $verb
    check "$verb: exit codes" codes 3 2
    check "$verb: says why" grep -q 'one process' refused.0.err
    check "$verb: once" same "$(grep -c 'error: ' refused.1.err)" 0
done
check "nothing was written" cmp mixed.h5 before.h5
check "nothing was predicted" [ ! -e p.h5 ]

# ---- 4,500 frames ----

SECONDS=0
alone big run --data water.xyz
seconds=$SECONDS
SECONDS=0
compare big3 3 4500 run --data water.xyz
echo "4,500 frames: $seconds s with one rank, $SECONDS s with three on $(nproc) cores"
check "4,500 frames" same "$(json big/summary.json n_frames) $(json big3/summary.json n_reference_unconverged)" "4500 0"
finish eval_ranks 100
