# train_common.sh -- a small water training for the tests of checkpoints and resume. Sourced with KSGRAD set.
set -u
export OMP_WAIT_POLICY=passive # other tests run beside this one
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
CHECKS=0
FAILED=0

check() { # check "what" command...: must succeed
    local what=$1
    shift
    CHECKS=$((CHECKS + 1))
    if ! "$@"; then
        echo "FAIL: $what"
        FAILED=$((FAILED + 1))
    fi
}
finish() { # finish name at-least
    echo "$1: $CHECKS checks, $FAILED failed, at least $2 expected"
    [ "$FAILED" -eq 0 ] && [ "$CHECKS" -ge "$2" ]
    exit
}

# 24 distorted water molecules
awk 'BEGIN { srand(7); for (f = 0; f < 24; f++) { print "3\nwater " f
    printf "O %.6f %.6f %.6f\n", 0.05 * rand(), 0.05 * rand(), 0.1193 + 0.03 * rand()
    printf "H %.6f %.6f %.6f\n", 0.05 * rand(), 0.7632 + 0.06 * rand(), -0.4770 - 0.06 * rand()
    printf "H %.6f %.6f %.6f\n", 0.05 * rand(), -0.7632 - 0.06 * rand(), -0.4770 + 0.06 * rand() } }' > "$WORK/water.xyz"
cat > "$WORK/c.yaml" <<YAML
version: 1
run: {name: run, dir: .}
data: {file: water.xyz, split: {sizes: [16, 4, 4]}}
method: {xc: lda, basis: sto-3g, grid: 0}
model: {d_model: 16, heads: 2, layers: 1, frame: kabsch}
loss: {energy: 1.0, self_consistency: 0.1}
optim: {lr: 1e-3, warmup: 5, steps: 40}
train: {batch: 4, pool: 8, reuse: 3, micro_batch: 3}
valid: {every: 20, frames: 4}
ckpt: {every_steps: 1, every_minutes: 0, keep_last: 3}
device: {threads: 2}
YAML

train() { "$KSGRAD" train "$WORK/c.yaml" -q "$@" 2>> "$WORK/stderr" > /dev/null; }
# step and checksums of weights, moments and pool of a checkpoint
state() { "$KSGRAD" info "$WORK/$1/ckpt/${2:-latest}" | grep -E '^(step|checksum) '; }
same_state() { [ -n "$(state "$1")" ] && [ "$(state "$1")" = "$(state "$2")" ]; }
exit_code() { # exit_code N command...
    local want=$1
    shift
    "$@"
    local got=$?
    [ "$got" -eq "$want" ] || { echo "exit code $got, expected $want: $*"; return 1; }
}
says() { grep -q -- "$1" "$WORK/stderr" || { echo "stderr lacks '$1':"; tail -3 "$WORK/stderr"; return 1; }; }
