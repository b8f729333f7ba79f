#!/bin/bash
# test_wrong_use.sh KSGRAD -- bad command lines, configs, geometries, basis files, checkpoints and HDF5 files: each must give the
# right exit code and one message that names what is wrong and where, must not crash (a sanitizer report or a signal fails
# the case), must not print a result and must leave every file as it was.
KSGRAD=$(realpath "$1")
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/verbs_common.sh"
export ASAN_OPTIONS=exitcode=99 UBSAN_OPTIONS=halt_on_error=1:exitcode=98

# ---- good inputs to spoil ----
cat > good.yaml <<YAML
version: 1
run: {name: run, dir: .}
data: {file: train.xyz, split: {method: index, sizes: [4, 2, 2]}}
method: {xc: lda, basis: sto-3g, grid: 0}
model: {d_model: 8, heads: 2, layers: 1, frame: bond}
optim: {lr: 1e-3, warmup: 1, steps: 2}
train: {batch: 2}
valid: {every: 2, frames: 2}
device: {threads: 1}
YAML
awk 'BEGIN { for (f = 0; f < 8; f++) printf "3\nwater\nO 0 0 0.%d\nH 0 0.75 -0.47\nH 0 -0.76 -0.46\n", 110 + f }' > train.xyz
"$KSGRAD" train good.yaml > train.log 2>&1
check "the good config trains" [ $? -eq 0 ]
"$KSGRAD" scf h2o.xyz --xc lda --basis sto-3g --grid 0 --out good.h5 > /dev/null 2>&1
check "the good SCF runs" [ -s good.h5 ]

# bad "what" exit-code 'pattern of the message' arguments...
bad() {
    local what=$1 code=$2 pattern=$3 before after rc
    shift 3
    before=$(find . -type f ! -name 'out.txt' ! -name 'err.txt' -exec cksum {} + | sort)
    timeout 120 "$KSGRAD" "$@" > out.txt 2> err.txt
    rc=$?
    after=$(find . -type f ! -name 'out.txt' ! -name 'err.txt' -exec cksum {} + | sort)
    CHECKS=$((CHECKS + 1))
    local why=""
    [[ $rc =~ ^($code)$ ]] || why="exit code $rc instead of $code"
    grep -Eq "error: .*($pattern)" err.txt || why="$why; no message with '$pattern'"
    grep -Eq 'Sanitizer|runtime error' err.txt && why="$why; sanitizer report"
    [ "$before" = "$after" ] || why="$why; files changed"
    if [ -n "$why" ]; then
        echo "FAIL: $what: $why"
        head -3 err.txt | sed 's/^/    /'
        FAILED=$((FAILED + 1))
    fi
}
# a config that differs from the good one in a sed command
config() { # config "what" 'sed command' pattern
    sed "$2" good.yaml > bad.yaml
    bad "config: $1" 3 "$3" train bad.yaml
}
geometry() { # geometry "what" pattern, text on standard input
    cat > bad.xyz
    bad "geometry: $1" 4 "$2" scf bad.xyz --xc lda --basis sto-3g --grid 0
}

# ---- command lines ----
bad "no geometry" 2 'missing argument' scf
bad "unknown verb" 2 "unknown verb 'trian'.*train" trian good.yaml
bad "unknown option" 2 "unknown option '--basiss'.*--basis" scf h2o.xyz --basiss sto-3g
bad "option without value" 2 'conv' scf h2o.xyz --conv
bad "not a number" 2 "conv.*number.*'abc'" scf h2o.xyz --conv abc
bad "negative tolerance" 2 'conv -1e-09 must be positive' scf h2o.xyz --conv=-1e-9
bad "one argument too many" 2 "unexpected argument 'x'" scf h2o.xyz x
bad "empty selection" 2 '7:9' scf h2o.xyz --frames 7:9
bad "bad selection" 2 "1:x" scf h2o.xyz --frames 1:x
bad "predict --chk (not there yet)" 2 "unknown option '--chk'" predict run h2o.xyz --chk a.chk
bad "unknown functional" '2|3' 'nosuchxc' scf h2o.xyz --xc nosuchxc
bad "ambiguous b3lyp" '2|3' 'b3lyp5' scf h2o.xyz --xc b3lyp
bad "grid level" '2|3' 'method.grid.*7' scf h2o.xyz --grid 7
bad "unknown basis" 4 'nosuchbasis' scf h2o.xyz --basis nosuchbasis
bad "unknown refinement" '2|3' 'magic' predict run h2o.xyz --refine magic
bad "unknown bench operation" 2 'warp' bench h2o.xyz --only warp
bad "odd number of electrons" 4 'frame 0.*9 electrons' scf h2o.xyz --basis sto-3g --charge 1
bad "more charge than protons" 4 'frame 0.*electrons' scf h2o.xyz --basis sto-3g --charge 12

# ---- configs ----
config "unknown key" 's/layers: 1/layerz: 1/' 'bad.yaml:5:[0-9]+.*layerz.*layers'
config "unknown section" 's/^optim:/optimm:/' 'bad.yaml:6:1.*optimm.*optim'
config "repeated key" 's/^train: .*/&\ntrain: {batch: 3}/' 'bad.yaml:8:1.*train'
config "text for a number" 's/batch: 2/batch: two/' 'bad.yaml:7:[0-9]+.*two'
config "fraction for an integer" 's/heads: 2/heads: 2.5/' 'bad.yaml:5:[0-9]+.*2.5'
config "out of range" 's/grid: 0/grid: 9/' 'bad.yaml:4:[0-9]+.*9'
config "unknown choice" 's/frame: bond/frame: bondd/' 'bad.yaml:5:[0-9]+.*bondd'
config "heads do not divide the width" 's/heads: 2/heads: 3/' 'd_model|heads'
config "not YAML" 's/^train: .*/train: {batch: 2/' 'bad.yaml:[0-9]+'
config "tab as indentation" 's/^valid: .*/valid:\n\tevery: 2/' 'bad.yaml:[0-9]+'
config "anchor" 's/batch: 2/batch: \&a 2/' 'bad.yaml:7'
config "future version" 's/^version: 1/version: 99/' 'bad.yaml:1.*99'
config "no version" '/^version/d' 'version'
config "split larger than the data" 's/\[4, 2, 2\]/[40, 2, 2]/' '40'
sed 's/^valid:/loss: {hamiltonian: 1}\n&/' good.yaml > bad.yaml
bad "config: label loss without labels" 4 'train.xyz.*0 of 4 training frames' train bad.yaml
: > bad.yaml
bad "config: empty file" 3 'bad.yaml' train bad.yaml
head -c 3000 /dev/urandom > bad.yaml
bad "config: random bytes" 3 'bad.yaml' train bad.yaml
bad "config: missing file" '3|4' 'nothere.yaml' train nothere.yaml
bad "config: --set of an unknown key" 3 "optim.lrr=1.*'lr'" train good.yaml --set optim.lrr=1
bad "config: --set out of range" 3 'train.batch' train good.yaml --set train.batch=0
bad "config: --set without value" 2 'KEY=VALUE' train good.yaml --set train.batch
bad "config: missing data file" 4 'gone.xyz' train good.yaml --set data.file=gone.xyz
bad "gradcheck: unknown key" 3 'layerz' gradcheck good.yaml --set model.layerz=3

# ---- geometries ----
geometry "empty file" 'bad.xyz' < /dev/null
geometry "atom count is not a number" 'bad.xyz:1' <<< $'three\n\nO 0 0 0'
geometry "fewer atoms than announced" 'bad.xyz' <<< $'3\n\nO 0 0 0\nH 0 0 1'
geometry "negative atom count" 'bad.xyz:1' <<< $'-3\n\nO 0 0 0'
geometry "huge atom count" 'bad.xyz' <<< $'99999999999999999999\n\nO 0 0 0'
geometry "unknown element" 'bad.xyz:3.*Xq' <<< $'2\n\nXq 0 0 0\nH 0 0 1'
geometry "coordinate is a word" 'bad.xyz:4.*abc' <<< $'2\n\nH 0 0 0\nH 0 0 abc'
geometry "coordinate is NaN" 'bad.xyz:4.*nan' <<< $'2\n\nH 0 0 0\nH 0 0 nan'
geometry "coordinate missing" 'bad.xyz:4' <<< $'2\n\nH 0 0 0\nH 0 0'
geometry "atoms on top of each other" 'frame 0.*atoms 0 and 1' <<< $'2\n\nH 0 0 0\nH 0 0 0.001'
geometry "element outside the basis" 'Au' <<< $'2\n\nAu 0 0 0\nAu 0 0 2'
head -c 5000 /dev/urandom > bad.xyz
bad "geometry: random bytes" 4 'bad.xyz' scf bad.xyz
bad "geometry: missing file" 4 'nothere.xyz' scf nothere.xyz
bad "geometry: a folder" 4 '\./' scf ./
head -c 2000 /dev/urandom > bad.npz
bad "npz: random bytes" 4 'bad.npz' scf bad.npz
SAMPLE=$HERE/../../datasets/water-512.npz
head -c 7000 "$SAMPLE" > bad.npz
bad "npz: truncated" 4 'bad.npz' scf bad.npz
printf 'PK\005\006%018d' 0 | tr '0' '\000' > bad.npz
bad "npz: empty archive" 4 'bad.npz' scf bad.npz
bad "npz: frame beyond the end" 2 '512' scf "$SAMPLE" --frames 512

# ---- basis files ----
basis() { # basis "what" pattern, text on standard input
    cat > bad.gbs
    bad "basis: $1" 4 "$2" scf h2o.xyz --basis ./bad.gbs
}
basis "empty" 'bad.gbs' < /dev/null
basis "not a basis" 'bad.gbs:[0-9]+' <<< 'hello world'
basis "fewer primitives than announced" 'bad.gbs' <<< $'****\nH 0\nS 3 1.00\n1.0 1.0\n****'
basis "negative exponent" 'bad.gbs:4' <<< $'****\nH 0\nS 1 1.00\n-1.0 1.0\n****'
basis "f functions" 'bad.gbs' <<< $'****\nH 0\nF 1 1.00\n1.0 1.0\n****'
basis "element missing" ' O |O\b' <<< $'****\nH 0\nS 1 1.00\n1.0 1.0\n****'

# ---- checkpoints and HDF5 ----
bad "checkpoint: a folder without one" 4 'empty' eval empty_or_missing
mkdir empty
bad "checkpoint: an empty folder" 4 'empty' predict empty h2o.xyz
CKPT=$(echo run/ckpt/step_*2)
cp -r run broken && truncate -s -500 broken/ckpt/step_*2/model.h5
bad "checkpoint: model.h5 truncated" 4 'broken' predict broken/ckpt/step_*2 h2o.xyz
cp -r run flipped && printf 'x' | dd of=flipped/ckpt/"$(basename "$CKPT")"/model.h5 bs=1 seek=20000 conv=notrunc 2> /dev/null
timeout 60 "$KSGRAD" predict flipped/ckpt/"$(basename "$CKPT")" h2o.xyz > out.txt 2> err.txt
rc=$?
check "checkpoint: a flipped byte gives a result only if it is unused" [ $rc -eq 0 -o $rc -eq 4 ]
bad "checkpoint: a text file" 4 'h2o.xyz' predict h2o.xyz h2o.xyz
bad "checkpoint: a result file" 4 'good.h5' predict good.h5 h2o.xyz
bad "checkpoint: another architecture" 3 'model' predict run h2o.xyz --set model.layers=3
bad "eval: unknown split" 2 'nosuch' eval run --split nosuch
bad "eval: empty selection" 2 '50:60' eval run --frames 50:60
bad "eval: prediction without data" 2 'data' eval --prediction good.h5
bad "eval: prediction of other frames" 4 'good.h5.*another geometry' eval --prediction good.h5 --data train.xyz --set method.xc=lda --set method.basis=sto-3g --set method.grid=0
bad "eval: --out is a file" 4 'good.yaml' eval run --out good.yaml
bad "predict: --out is the geometry" 2 'h2o.xyz' predict run h2o.xyz --out h2o.xyz
bad "predict: --out in a missing folder" 4 'nodir' predict run h2o.xyz --out nodir/p.h5
bad "guess: not HDF5" 4 'train.xyz.*HDF5' scf h2o.xyz --guess train.xyz --basis sto-3g --grid 0
head -c 3000 good.h5 > cut.h5
bad "guess: truncated" 4 'cut.h5' scf h2o.xyz --guess cut.h5 --basis sto-3g --grid 0
bad "guess: missing" 4 'none.h5' scf h2o.xyz --guess none.h5 --basis sto-3g --grid 0
bad "guess: another geometry" 4 'good.h5' scf train.xyz --guess good.h5 --basis sto-3g --grid 0
bad "guess: another basis" 4 'good.h5' scf h2o.xyz --guess good.h5 --basis def2-svp --grid 0
bad "data: info of a text" 4 'h2o.xyz' data info h2o.xyz
bad "data: info of a truncated file" 4 'cut.h5' data info cut.h5
bad "backend that is not there" '3|5' 'abacus' scf h2o.xyz --backend abacus
finish wrong_use 85
