#!/bin/bash
# test_resume.sh -- which changes a resumed run accepts, damaged checkpoints, and wrong use: message and exit code.
KSGRAD=$1
. "$(dirname "$0")/train_common.sh"
check "first run" train --set optim.steps=10
check "nothing left to do" train --set optim.steps=10
check "longer run" train --set optim.steps=20
check "resumed, not repeated" grep -q '"step": 10, "kind": "resume"' "$WORK/run/metrics.jsonl"

for file in config.yaml config.resolved.yaml run.log metrics.jsonl metrics.csv env.json ckpt/latest/model.h5 ckpt/best/model.h5; do
    check "run folder has $file" test -s "$WORK/run/$file"
done
check "the resolved config is one" exit_code 0 "$KSGRAD" check "$WORK/run/config.resolved.yaml" > /dev/null

# config changes
check "hard key" exit_code 3 train --set model.layers=2
check "... is named" says 'model.layers: 1 -> 2'
check "soft key" exit_code 3 train --set optim.lr=2e-3
check "... is named" says 'optim.lr: 0.001 -> 0.002'
check "soft key, allowed" train --set optim.lr=2e-3 --set optim.steps=21 --allow-change
check "free key" train --set valid.every=7 --set optim.steps=22 --set optim.lr=2e-3
sed 's/^O 0[.]/O 0.1/' "$WORK/water.xyz" > "$WORK/other.xyz"
check "other geometries" exit_code 4 train --set data.file="$WORK/other.xyz" --set optim.steps=23 --set optim.lr=2e-3
check "... are named" says 'other geometries'
check "never over an old run" exit_code 3 train --resume=never --set optim.lr=2e-3
check "... says what to do" says 'choose another run.name'
check "must without a checkpoint" exit_code 4 train --resume=must --set run.name=nothing
check "wrong --resume" exit_code 2 train --resume=maybe

# damage: a cut file, no DONE, flipped bytes in the middle, an emptied file
again() { train --set optim.steps=25 --set optim.lr=2e-3 "$@"; }
before=$(readlink "$WORK/run/ckpt/latest")
cp -r "$WORK/run" "$WORK/done"
cp -r "$WORK/run" "$WORK/flip"
cp -r "$WORK/run" "$WORK/empty"
truncate -s -100 "$WORK/run/ckpt/latest/state.h5"
check "cut file, must" exit_code 4 again --resume=must
check "... names file and size" says "$before/state.h5 has"
check "cut file, auto: goes on from the one before" again
check "... loudly" says 'DAMAGED CHECKPOINT'
check "... and on record" grep -q '"kind": "warn".*DAMAGED' "$WORK/run/metrics.jsonl"
check "... to the end" test "$(state run | awk '/^step/ { print $2 }')" = 25
rm "$WORK/done/ckpt/latest/DONE"
check "no DONE, must" exit_code 4 again --resume=must --set run.name=done
check "... is named" says "no DONE"
size=$(stat -c %s "$WORK/flip/ckpt/latest/model.h5")
for part in 2 3 4 5; do
    printf '\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff' |
        dd of="$WORK/flip/ckpt/latest/model.h5" bs=1 seek=$((size * part / 6)) conv=notrunc 2> /dev/null
done
check "flipped bytes, must" exit_code 4 again --resume=must --set run.name=flip
check "flipped bytes, auto" again --set run.name=flip
check "... to the end" test "$(state flip | awk '/^step/ { print $2 }')" = 25
: > "$WORK/empty/ckpt/latest/model.h5"
check "emptied file, must" exit_code 4 again --resume=must --set run.name=empty
rm -r "$WORK"/empty/ckpt/step_0000002[0-1]
check "no other checkpoint left" exit_code 4 again --set run.name=empty
check "... says so" says "no other complete checkpoint"

# wrong use, before anything is written
check "missing config" exit_code 3 "$KSGRAD" train "$WORK/none.yaml" 2> /dev/null
check "missing data" exit_code 4 train --set data.file=none.npz --set run.name=new
check "batch above the data" exit_code 3 train --set train.batch=17 --set train.pool=0 --set run.name=new
check "labels wanted, none there" exit_code 4 train --set loss.hamiltonian=1 --set run.name=new
check "... with the counts" says '0 of 16 training frames'
check "no memory" exit_code 5 train --set device.memory_gib=0.0001 --set run.name=new
check "fp16" exit_code 3 train --set model.precision=fp16 --set run.name=new
check "cuda is not there" exit_code 5 train --backend cuda --set run.name=new
check "no folder was made" test ! -e "$WORK/new"
finish resume 45
