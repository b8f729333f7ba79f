#!/bin/bash
# test_bench.sh KSGRAD -- every operation is timed, the JSON holds them, groups and selections work.
KSGRAD=$(realpath "$1")
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/verbs_common.sh"

run=(--basis sto-3g --grid 0 --repeat 2 --warmup 0 --threads 2)
"$KSGRAD" bench h2o.xyz "${run[@]}" --json b.json --set model.d_model=16 --set model.heads=2 --set model.layers=1 > out.txt 2> err.txt
check "exit code" [ $? -eq 0 ]
k=0
for name in int1e eri jk j grid xc xc_dense response eigh scf tensors net net_adj refine optim step train; do
    k=$((k + 1))
    check "$name is in the table" grep -q "^$name " out.txt
    check "$name has its place in the JSON" same "$(json b.json op $k)" "\"$name\""
    check "$name took time" awk -v t="$(json b.json seconds $k)" 'BEGIN { exit !(t > 0 && t < 60) }'
done
check "a rate where a model of the work is" awk -v g="$(json b.json gflops 3)" 'BEGIN { exit !(g > 0) }'
check "no rate where there is none" same "$(json b.json gflops 1)" null
check "the SCF converged" awk -v c="$(json b.json scf_cycles)" 'BEGIN { exit !(c > 3 && c < 30) }'
"$KSGRAD" bench ops h2o.xyz "${run[@]}" > out.txt 2> err.txt
check "group ops" [ $? -eq 0 ]
check "group ops has no SCF" same "$(grep -cE '^(scf|train|step) ' out.txt)" 0
"$KSGRAD" bench --only eri,jk --grid 0 --repeat 1 --warmup 0 > out.txt 2> err.txt
check "the shipped uracil" [ $? -eq 0 ]
check "is uracil" grep -q 'C4H4N2O2.*132 AOs' out.txt
check "only what was asked for" same "$(grep -cE '^(int1e|grid|xc|eigh|scf|train) ' out.txt)" 0
check "frames per second" awk -v f="$(json b.json frames_per_s 17)" 'BEGIN { exit !(f > 0) }'
check "the budget is a GPU's" same "$(json b.json budget_share 3)" null
finish bench 61
