#!/bin/bash
# no_gpu.sh KSGRAD LIBRARY: a CUDA build on a machine without GPU and driver. It starts (nothing needs libcuda at load
# time), says why CUDA cannot be used, refuses --backend cuda, and works on the CPU. Exit 77 where there is a GPU.
if [ -e /dev/nvidiactl ] || [ -e /dev/dxg ]; then
    echo "SKIP: this machine has an NVIDIA driver"
    exit 77
fi
KSGRAD=$(realpath "$1")
LIBRARY=$(realpath "$2")
. "$(cd "$(dirname "$0")/../e2e" && pwd)/verbs_common.sh"

for f in "$KSGRAD" "$LIBRARY"; do
    readelf -d "$f" | grep NEEDED > needed.txt
    check "$(basename "$f") does not name the driver's library" [ "$(grep -c 'libcuda\.so' needed.txt)" -eq 0 ]
    ldd "$f" > ldd.txt
    check "$(basename "$f"): every library is found" [ "$(grep -c 'not found' ldd.txt)" -eq 0 ]
done
"$KSGRAD" doctor > doctor.txt 2> err.txt
check "doctor passes: no GPU is no fault" [ $? -eq 0 ]
check "doctor says that this is a CUDA build" grep -q '^build .*cuda ON' doctor.txt
check "doctor says why CUDA is not usable" grep -Eq '^backend  *cuda: .*(no usable GPU|no NVIDIA driver)' doctor.txt
check "doctor says which NCCL, or why none" grep -Eq '^nccl  *([0-9]+\.[0-9]+|NCCL (is not there|[0-9.]* .* is too old)|this build has none)' doctor.txt
check "no NCCL is needed to start" [ "$(readelf -d "$KSGRAD" "$LIBRARY" | grep -c 'NEEDED.*nccl')" -eq 0 ]
check "the verdict is 'ready'" grep -q '^verdict  *ready' doctor.txt

run=(--xc pbe0 --basis def2-svp --grid 0)
"$KSGRAD" scf h2o.xyz "${run[@]}" --backend cuda > out.txt 2> err.txt
check "--backend cuda is a device error" [ $? -eq 5 ]
check "its message names the reason" grep -Eq 'error: .*backend cuda.*(no usable GPU|no NVIDIA driver)' err.txt
check "no result is printed" [ ! -s out.txt ]
for backend in cpu auto; do
    "$KSGRAD" scf h2o.xyz "${run[@]}" --backend $backend --json $backend.json > out.txt 2> err.txt
    check "--backend $backend works" [ $? -eq 0 ]
done
check "the energy of water" close_to "$(json cpu.json energy_Ha)" -76.26 0.1
check "auto is the CPU" same "$(json cpu.json energy_Ha)" "$(json auto.json energy_Ha)"
cat > train.yaml <<YAML
version: 1
run: {name: run, dir: .}
data: {file: train.xyz, split: {method: index, sizes: [4, 2, 2]}}
method: {xc: pbe0, basis: sto-3g, grid: 0}
model: {d_model: 8, heads: 2, layers: 1, frame: bond}
optim: {lr: 1e-3, warmup: 1, steps: 3}
train: {batch: 2}
valid: {every: 3, frames: 2}
device: {threads: 1, backend: auto}
YAML
awk 'BEGIN { for (f = 0; f < 8; f++) printf "3\nwater\nO 0 0 0.%d\nH 0 0.75 -0.47\nH 0 -0.76 -0.46\n", 110 + f }' > train.xyz
"$KSGRAD" train train.yaml > out.txt 2> err.txt
check "three training steps" [ $? -eq 0 ]
check "a checkpoint is there" [ -s run/ckpt/latest/model.h5 ]
finish no_gpu 19
