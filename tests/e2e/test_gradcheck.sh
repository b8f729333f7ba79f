#!/bin/bash
# test_gradcheck.sh KSGRAD -- the gradient check on water for every refinement scheme with all losses at once, on a batch of two
# compositions, and with a planted error, which it must find.
KSGRAD=$(realpath "$1")
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/verbs_common.sh"

{ cat h2o.xyz; printf '3\n\nH 0 0 -1.07\nC 0.01 0 0\nN 0 0.02 1.15\n'; sed 's/0.7572/0.8/' h2o.xyz; } > mix.xyz
cat > c.yaml <<YAML
version: 1
data: {file: mix.xyz}
method: {xc: b3lyp5, basis: sto-3g, grid: 0}
model: {d_model: 16, heads: 4, layers: 2, frame: kabsch}
loss: {energy: 1, commutator: 0.5, self_consistency: 0.3, hamiltonian: 10, density: 0.2}
YAML
last() { tail -1 out.txt | sed -nE 's/^gradcheck: max relative error ([0-9.e+-]+) over ([0-9]+) directions$/\1/p'; }
for kind in none qpt qptx cdiis anderson damped; do
    "$KSGRAD" gradcheck c.yaml --refine $kind --frames : --directions 1 > out.txt 2> err.txt
    check "$kind: exit code" [ $? -eq 0 ]
    check "$kind: the last line" at_most "$(last)" 1e-6
    check "$kind: eight stages" same "$(grep -cE '^  (energy|fock|density|refine E|refine|loss|network|whole) ' out.txt)" 8
done
"$KSGRAD" gradcheck c.yaml --frames 0 --directions 1 --set method.basis=def2-svp --set loss.commutator=0 > out.txt 2> err.txt
check "d functions: exit code" [ $? -eq 0 ]
for set in model.frame=bond model.frame=inertia model.output=ao model.head=qpt "model.bias=pairs --set model.d_model=28 --set model.heads=14" method.xc=hf method.xc=lda method.guess=core; do
    "$KSGRAD" gradcheck c.yaml --frames 0 --directions 1 --set $set > out.txt 2> err.txt
    check "$set" [ $? -eq 0 ]
done
"$KSGRAD" gradcheck c.yaml --frames 0 --directions 1 --plant 3e-6 > out.txt 2> err.txt
check "planted error: exit code 6" [ $? -eq 6 ]
check "planted error: every stage shows it" same "$(grep -c 'ABOVE THE LIMIT' out.txt)" 8
check "planted error: message" grep -q 'above the limit 1e-06' err.txt
check "planted error: the last line is still there" grep -q '^gradcheck: max relative error 3' out.txt
finish gradcheck 30
