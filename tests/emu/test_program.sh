#!/usr/bin/env bash
# The program on the launcher's GPU against the program on the CPU: train, resume, eval, predict, scf, gradcheck, bench.
# Arguments: ksgrad, and the same linked with the launcher. Bars: SCF energies 1e-9 Ha (its own convergence); training
# losses 1e-7 Ha over six steps (fp32 network).
set -euo pipefail
cpu=$1 gpu=$2
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
cd "$dir"
for k in 0 1 2 3 4 5; do
    printf '3\nwater\nO 0.0%d 0 0.12\nH 0 0.7%d -0.47\nH 0.0%d -0.76 -0.4%d\n' $k $((3 + k)) $((5 - k)) $((4 + k % 3))
done >frames.xyz
cat >c.yaml <<'Y'
version: 1
run: {name: gpu, dir: runs}
data: {file: frames.xyz, split: {method: index, sizes: [3, 1, 2]}}
method: {xc: pbe0, basis: sto-3g, grid: 0}
model: {d_model: 16, heads: 2, layers: 1}
refine: {kind: qpt}
optim: {lr: 1e-3, warmup: 2, steps: 6}
train: {batch: 2}
valid: {every: 3, frames: 1}
ckpt: {every_steps: 3}
device: {backend: cuda}
Y
n=0
check() { # check TEXT CONDITION...
    local text=$1
    shift
    if "$@"; then n=$((n + 1)); else echo "FAIL $text" && exit 1; fi
}
# close FILE_A FILE_B KEY BAR COUNT: the numbers behind "KEY": agree
close() {
    python3 - "$@" <<'P'
import json, sys
a, b, key, bar, count = sys.argv[1:6]
def numbers(name):
    text = open(name).read()
    rows = [json.loads(line) for line in text.splitlines()] if name.endswith("jsonl") else json.loads(text)["frames"]
    return [row[key] for row in rows if isinstance(row.get(key), (int, float))]
x, y = numbers(a), numbers(b)
worst = max((abs(p - q) for p, q in zip(x, y)), default=float("nan"))
print(f"{key}: {len(x)} and {len(y)} numbers, largest difference {worst:.1e}")
sys.exit(not (len(x) == len(y) == int(count) and worst <= float(bar)))
P
}
"$gpu" train c.yaml >/dev/null
"$cpu" train c.yaml --set device.backend=cpu --set run.name=cpu >/dev/null
check "losses of six steps" close runs/gpu/metrics.jsonl runs/cpu/metrics.jsonl loss 1e-7 6
check "energies, trained and validated" close runs/gpu/metrics.jsonl runs/cpu/metrics.jsonl energy_Ha 1e-7 8

# stopped after three steps and resumed; recorded passes off: the same weights, bit for bit
"$gpu" train c.yaml --set run.name=half --set ckpt.every_steps=1 --set device.graphs=off >/dev/null
rm -r runs/half/ckpt/step_0000000[456] runs/half/ckpt/latest runs/half/ckpt/best
"$gpu" train c.yaml --set run.name=half --resume must --set device.graphs=off >/dev/null
state() { "$cpu" info "runs/$1/ckpt/latest" | grep -E '^(step|checksum) '; }
check "checksums" test -n "$(state gpu)"
check "a resumed run has the weights and moments of a whole one" test "$(state gpu)" = "$(state half)"

"$gpu" eval runs/gpu --label --out eval >/dev/null
check "eval writes its summary" test -s eval/summary.json
"$gpu" predict runs/gpu/ckpt/best frames.xyz --backend cuda --out p.h5 >/dev/null
check "predict writes its result" test -s p.h5
"$gpu" scf frames.xyz --xc b3lyp5 --basis sto-3g --grid 0 --backend cuda --json gpu.json >/dev/null
"$cpu" scf frames.xyz --xc b3lyp5 --basis sto-3g --grid 0 --backend cpu --json cpu.json >/dev/null
check "SCF energies" close gpu.json cpu.json energy_Ha 1e-9 6
check "SCF cycles" close gpu.json cpu.json cycles 0 6
"$gpu" gradcheck c.yaml --set model.precision=fp64 >gradcheck.txt
check "gradcheck: $(tail -1 gradcheck.txt)" grep -q '^gradcheck: max relative error' gradcheck.txt
tail -1 gradcheck.txt
"$gpu" bench frames.xyz --frames 0:2 --basis sto-3g --grid 0 --repeat 1 --backend cuda --set model.d_model=16 --set model.heads=2 \
    --set model.layers=1 --json bench.json >/dev/null
check "bench times all operations, the recorded ones too" test "$(grep -c '"seconds":' bench.json)" -eq 17
echo "$n checks"
test "$n" -ge 10
