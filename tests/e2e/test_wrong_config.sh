#!/bin/bash
# test_wrong_config.sh -- bad configs and command lines: a message with its place on the first line, the right exit code,
# nothing written.
KSGRAD=$1
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK" || exit 1
CHECKS=0
FAILED=0

# bad LINE:COLUMN WORDS TEXT [OPTIONS...]: both train and check refuse it with code 3 and say where and what
bad() {
    local place=$1 words=$2 verb
    printf '%b' "$3" > bad.yaml
    shift 3
    for verb in check train; do
        CHECKS=$((CHECKS + 1))
        "$KSGRAD" $verb bad.yaml "$@" > out 2> err
        local code=$?
        if [ $code -ne 3 ] || ! head -1 err | grep -qF "ksgrad: error: $place: " || ! head -1 err | grep -qF -- "$words"; then
            FAILED=$((FAILED + 1))
            echo "FAIL: $verb, exit code $code, expected 3 and '$place: ... $words ...':"
            cat bad.yaml err
        fi
    done
}
# usage CODE WORDS ARGUMENTS...
usage() {
    local want=$1 words=$2
    shift 2
    CHECKS=$((CHECKS + 1))
    "$KSGRAD" "$@" > out 2> err
    local code=$?
    if [ $code -ne "$want" ] || ! grep -qF -- "$words" err; then
        FAILED=$((FAILED + 1))
        echo "FAIL: ksgrad $*: exit code $code, expected $want and '$words':"
        cat err
    fi
}

V='version: 1\n'
bad bad.yaml:1:1 'the file is empty' ''
bad bad.yaml:1:1 "'version: 1' is missing" 'run: {name: x}\n'
bad bad.yaml:1:10 'reads version 1' 'version: 7\n'
bad bad.yaml:3:3 "unknown key 'bacth' in 'train' (did you mean 'batch'?)" "${V}train:\n  bacth: 4\n"
bad bad.yaml:2:1 "did you mean 'optim'?" "${V}optin:\n  lr: 1\n"
bad bad.yaml:3:3 "did you mean 'optim.lr'?" "${V}train:\n  lr: 1\n"
bad bad.yaml:3:1 'repeated (first at line 2)' "${V}run: {seed: 1}\nrun: {name: a}\n"
bad bad.yaml:2:13 'outside its range (0, 10]' "${V}optim: {lr: -1e-3}\n"
bad bad.yaml:2:13 "must be a number, got 'fast'" "${V}optim: {lr: fast}\n"
bad bad.yaml:2:16 'must be an integer' "${V}train: {batch: 2.5}\n"
bad bad.yaml:2:16 '[0, 3]' "${V}method: {grid: 4}\n"
bad bad.yaml:2:14 'b3lyp5' "${V}method: {xc: b3lyp}\n"
bad bad.yaml:2:16 "did you mean 'anderson'?" "${V}refine: {kind: andersen}\n"
bad bad.yaml:2:18 'not a multiple' "${V}model: {d_model: 65}\n"
bad bad.yaml:2:20 'fp16' "${V}model: {precision: fp16}\n"
bad bad.yaml:2:15 'means d_model 192' "${V}model: {size: tiny, d_model: 64}\n"
bad bad.yaml:2:16 'nothing to train' "${V}loss: {energy: 0}\n"
bad bad.yaml:2:23 'got 2 values' "${V}data: {split: {sizes: [1, 2]}}\n"
bad bad.yaml:2:13 'anchors' "${V}run: {name: &a x}\n"
bad bad.yaml:2:13 'name of a folder' "${V}run: {name: a/b}\n"
bad bad.yaml:3:1 'cannot start any token' "${V}run:\n\tname: x\n"
bad bad.yaml:3:1 'did not find expected' "${V}run: [name: x\n"
bad '--set optim.lr=abc' 'must be a number' "${V}" --set optim.lr=abc
bad '--set optim.rl=1' "unknown key 'rl' in 'optim' (did you mean 'lr'?)" "${V}" --set optim.rl=1
bad '--set device.threads=-1' 'outside its range' "${V}" --threads -1
head -c 2000 /dev/urandom > bad.yaml
usage 3 'bad.yaml' check bad.yaml
usage 3 'No such file' check none.yaml
usage 3 'data.file is missing' train <(printf "$V")
usage 2 "unknown verb 'trian' (did you mean 'train'?)" trian
usage 2 "unknown option '--reume=auto' (did you mean '--resume'?)" train --reume=auto x.yaml
usage 2 'missing argument' train
usage 2 'unexpected argument' train a.yaml b.yaml
usage 2 '--set wants KEY=VALUE' train a.yaml --set nothing
usage 2 "--resume wants" train a.yaml --resume=perhaps
usage 4 'No such file' info nothing.npz
usage 4 'no checkpoint in it' info "$WORK"
CHECKS=$((CHECKS + 1))
if [ -n "$(find "$WORK" -mindepth 1 ! -name bad.yaml ! -name out ! -name err)" ]; then
    FAILED=$((FAILED + 1))
    echo "FAIL: something was written:"
    find "$WORK"
fi
echo "wrong_config: $CHECKS checks, $FAILED failed, at least 60 expected"
[ $FAILED -eq 0 ] && [ $CHECKS -ge 60 ]
