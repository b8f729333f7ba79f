#!/bin/bash
# test_eval.sh KSGRAD -- eval of a trained network: references computed here and stored as labels agree, summary.json and
# per_frame.csv agree with each other, a trained network beats both rows without one; a converged F as prediction is perfect;
# predict's file starts an SCF that ends sooner.
KSGRAD=$(realpath "$1")
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/verbs_common.sh"

# 40 water molecules with random distortions
awk 'BEGIN { srand(11); for (f = 0; f < 40; f++) { print "3\nwater " f
    printf "O %.6f %.6f %.6f\n", 0.04 * rand(), 0.04 * rand(), 0.1193 + 0.03 * rand()
    printf "H %.6f %.6f %.6f\n", 0.04 * rand(), 0.7632 + 0.06 * rand(), -0.4770 - 0.06 * rand()
    printf "H %.6f %.6f %.6f\n", 0.04 * rand(), -0.7632 - 0.06 * rand(), -0.4770 + 0.06 * rand() } }' > water.xyz
cat > c.yaml <<YAML
version: 1
run: {name: run, dir: .}
data: {file: water.xyz, split: {method: numpy-legacy, seed: 1, sizes: [28, 4, 8]}}
method: {xc: pbe0, basis: sto-3g, grid: 0}
model: {d_model: 32, heads: 4, layers: 2, frame: bond}
eval: {refine: {kind: anderson, steps: 4}}
optim: {lr: 2e-3, lr_min: 0, warmup: 10, steps: 120}
train: {batch: 8}
valid: {every: 60, frames: 4}
YAML
"$KSGRAD" train c.yaml > train.log 2>&1
check "training" [ $? -eq 0 ]
"$KSGRAD" eval run --out e1 > e1.txt 2> err.txt
check "eval of the run" [ $? -eq 0 ]
check "says which checkpoint" grep -q 'best checkpoint .*step_0000' err.txt
check "eight frames" same "$(json e1/summary.json n_frames)" 8
keys="energy_mae_meV h_mae_uHa eps_all_mae_uHa eps_occ_mae_uHa psi_similarity_pct gap_mae_meV dipole_mae_mD scf_cycles_mean scf_cycles_minao_mean commutator_rms"
column=7
for key in $(head -1 e1/per_frame.csv | cut -d, -f7- | tr , ' '); do # means of the CSV are the JSON's
    k=0
    for row in model no_network no_network_qpt; do
        k=$((k + 1))
        mean=$(awk -F, -v c=$column -v row=$row '$2 == row { s += $c; n++ } END { printf "%.9g", s / n }' e1/per_frame.csv)
        check "$row $key" close_to "$(json e1/summary.json "$key" $k)" "$mean" "$(awk -v m="$mean" 'BEGIN { print 1e-6 * m + 1e-9 }')"
    done
    column=$((column + 1))
done
for key in $keys; do check "key $key" json e1/summary.json "$key" > /dev/null; done
for key in split reference kind steps tensors network refine; do check "key $key" json e1/summary.json "$key" > /dev/null; done
for key in energy_mae_meV h_mae_uHa commutator_rms; do # a factor of two is far below what 120 steps reach
    check "the network beats the refinement alone: $key" awk -v a="$(json e1/summary.json $key 1)" -v b="$(json e1/summary.json $key 2)" 'BEGIN { exit !(a < 0.5 * b) }'
    check "the network beats qpt alone: $key" awk -v a="$(json e1/summary.json $key 1)" -v b="$(json e1/summary.json $key 3)" 'BEGIN { exit !(a < 0.5 * b) }'
done
check "fewer cycles than from minao" awk -v a="$(json e1/summary.json scf_cycles_mean 1)" -v b="$(json e1/summary.json scf_cycles_minao_mean 1)" 'BEGIN { exit !(a < b) }'

# labels in a data file give the same figures as references computed here
"$KSGRAD" data convert water.xyz -o water.h5 > /dev/null 2>&1 &&
    "$KSGRAD" data label water.h5 --set method.xc=pbe0 --set method.basis=sto-3g --set method.grid=0 > label.txt 2>&1
check "labels" [ $? -eq 0 ]
"$KSGRAD" eval run --data water.h5 --split test --out e2 > e2.txt 2> err.txt
check "eval against labels" [ $? -eq 0 ]
check "says so" grep -q 'reference: labels of water.h5' e2.txt
"$KSGRAD" eval run --data water.h5 --split test --label --out e3 > e3.txt 2> err.txt
check "--label computes" grep -q 'reference: converged here' e3.txt
for key in energy_mae_meV h_mae_uHa eps_all_mae_uHa dipole_mae_mD; do # both references are converged to 1e-8 in the gradient
    check "labels and computed references: $key" close_to "$(json e2/summary.json $key 2)" "$(json e1/summary.json $key 2)" 0.05
    check "--label and computed references: $key" close_to "$(json e3/summary.json $key 2)" "$(json e1/summary.json $key 2)" 1e-6
done
check "file order of the split" same "$(cut -d, -f1 e2/per_frame.csv | uniq | tr '\n' ' ')" "$(cut -d, -f1 e1/per_frame.csv | uniq | tr '\n' ' ')"

# selections
"$KSGRAD" eval run --data water.xyz --frames 2:4 --cycles 0 --refine cdiis --steps 3 --out e4 > e4.txt 2> err.txt
check "selected frames" same "$(cut -d, -f1 e4/per_frame.csv | uniq | tr '\n' ' ')" "frame 2 3 "
check "another refinement" same "$(json e4/summary.json kind) $(json e4/summary.json steps)" '"cdiis" 3'
check "no cycles counted" same "$(json e4/summary.json scf_cycles_mean)" null

# somebody's Hamiltonians: converged ones are perfect
method=(--set method.xc=pbe0 --set method.basis=sto-3g --set method.grid=0)
"$KSGRAD" scf water.xyz --frames 0:4 "${method[@]}" --conv 1e-11 --conv-grad 1e-8 --out f.h5 > /dev/null 2>&1
"$KSGRAD" eval --prediction f.h5 --data water.xyz --frames 0:4 "${method[@]}" --out e5 > e5.txt 2> err.txt
check "eval --prediction" [ $? -eq 0 ]
check "converged F: energy" at_most "$(json e5/summary.json energy_mae_meV)" 1e-5
check "converged F: H" at_most "$(json e5/summary.json h_mae_uHa)" 0.05
check "converged F: psi" close_to "$(json e5/summary.json psi_similarity_pct)" 100 1e-6
check "converged F: cycles" at_most "$(json e5/summary.json scf_cycles_mean)" 3 # two for the energy to settle, one polishing

# predict: the same numbers as eval's, and a start for an SCF
"$KSGRAD" predict run water.xyz --frames 2:4 --refine cdiis --steps 3 --out p.h5 > p.txt 2> err.txt
check "predict" [ $? -eq 0 ]
check "predict's energy is eval's" close_to "$(awk '$1 == 3 { print $2 }' p.txt)" "$(awk -F, '$1 == 3 && $2 == "model" { print $5 }' e4/per_frame.csv)" 2e-10
"$KSGRAD" scf water.xyz --frames 2:4 "${method[@]}" --guess p.h5 --json g.json > /dev/null 2>&1
"$KSGRAD" scf water.xyz --frames 2:4 "${method[@]}" --json m.json > /dev/null 2>&1
check "SCF from the prediction: sooner" awk -v a="$(json g.json cycles)" -v b="$(json m.json cycles)" 'BEGIN { exit !(a < b) }'
check "SCF from the prediction: same energy" close_to "$(json g.json energy_Ha)" "$(json m.json energy_Ha)" 2e-9
check "info of the file" sh -c "'$KSGRAD' info p.h5 | grep -q predict"
finish eval 80
