# eval_ranks_common.sh -- an evaluation as several ranks of this machine, and its results against those of one. Sourced with
# KSGRAD and HERE set.
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

water_frames() { # water_frames N: distorted molecules
    awk -v n="$1" 'BEGIN { srand(11); for (f = 0; f < n; f++) { print "3\nwater " f
        printf "O %.6f %.6f %.6f\n", 0.04 * rand(), 0.04 * rand(), 0.1193 + 0.03 * rand()
        printf "H %.6f %.6f %.6f\n", 0.04 * rand(), 0.7632 + 0.06 * rand(), -0.4770 - 0.06 * rand()
        printf "H %.6f %.6f %.6f\n", 0.04 * rand(), -0.7632 - 0.06 * rand(), -0.4770 + 0.06 * rand() } }'
}
small_run() { # small_run FILE TRAIN VALID TEST: a network after ten steps, in the run folder `run`
    cat > c.yaml <<YAML
version: 1
run: {name: run, dir: .}
data: {file: $1, split: {method: numpy-legacy, seed: 1, sizes: [$2, $3, $4]}}
method: {xc: lda, basis: sto-3g, grid: 0}
model: {d_model: 16, heads: 2, layers: 1, frame: none}
eval: {refine: {kind: anderson, steps: 3}}
optim: {lr: 2e-3, lr_min: 0, warmup: 2, steps: 10}
train: {batch: 4}
valid: {every: 10, frames: 2}
YAML
    "$KSGRAD" train c.yaml --threads 1 > train.log 2>&1
    check "training" [ $? -eq 0 ]
}
