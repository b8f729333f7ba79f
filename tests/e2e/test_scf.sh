#!/bin/bash
# test_scf.sh KSGRAD -- converged energies, frontier orbitals, dipoles and cycles against PySCF 2.14 (numbers from tests' reference
# files, converged to 1e-12 Ha), batches against single frames, guesses from files, unconverged frames, output files.
KSGRAD=$(realpath "$1")
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/verbs_common.sh"

cat > hcn.xyz <<XYZ
3

H 0 0 -1.07
C 0.01 0 0
N 0 0.02 1.15
XYZ
cat > nh4.xyz <<XYZ
5

N 0 0 0
H 0.59 0.59 0.59
H -0.59 -0.59 0.59
H -0.59 0.59 -0.59
H 0.59 -0.59 -0.59
XYZ
printf '2\n\nO 0 0 0\nH 0 0 0.97\n' > oh.xyz

# against PySCF: energy 2e-8 Ha and HOMO 1e-6 Ha (tolerances of the method with tight convergence), cycles at most one more
reference() { # reference file xc basis level charge energy homo dipole_D cycles
    "$KSGRAD" scf "$1" --xc "$2" --basis "$3" --grid "$4" --charge "$5" --conv 1e-11 --conv-grad 1e-8 --json r.json > out.txt 2> err.txt
    check "$1 $2/$3: exit code" [ $? -eq 0 ]
    check "$1 $2/$3: energy" close_to "$(json r.json energy_Ha)" "$6" 2e-8
    check "$1 $2/$3: homo" close_to "$(json r.json homo_Ha)" "$7" 1e-7
    check "$1 $2/$3: dipole" close_to "$(awk 'NR == 3 { print $5 }' out.txt)" "$8" 2e-4
    "$KSGRAD" scf "$1" --xc "$2" --basis "$3" --grid "$4" --charge "$5" --json d.json > /dev/null 2>&1
    check "$1 $2/$3: cycles with default tolerances" at_most "$(json d.json cycles)" $(($9 + 1))
    check "$1 $2/$3: energy with default tolerances" close_to "$(json d.json energy_Ha)" "$6" 1e-8
}
reference h2o.xyz b3lyp5 def2-svp 3 0 -76.32099273638806 -0.28838765519427545 1.98094 7
reference h2o.xyz pbe0 def2-svp 1 0 -76.27623373875684 -0.30539217003931185 2.00996 7
reference h2o.xyz hf sto-3g 3 0 -74.96302313846289 -0.39123677032478865 1.72531 6
reference h2o.xyz b3lyp5 '6-31g*' 1 0 -76.36965329054331 -0.2872897530973857 2.07272 7
reference hcn.xyz lda def2-svp 1 0 -92.54080658229162 -0.32312258930708637 2.79103 8
reference nh4.xyz b3lyp5 def2-svp 1 1 -56.81876244889531 -0.8243735785117575 0 6
reference oh.xyz b3lyp5 def2-svp 1 -1 -75.62465113666364 0.16870157985524933 0.61174 8

# two compositions in one file: each frame as if it were alone, whatever the threads
{ cat h2o.xyz hcn.xyz h2o.xyz; printf '2\n\nH 0 0 0\nH 0 0 0.74\n'; } > mix.xyz
run=(--grid 0 --basis sto-3g --xc pbe)
"$KSGRAD" scf mix.xyz "${run[@]}" --threads 2 --json mix.json --out mix.h5 > mix.txt 2> err.txt
check "mixed file" [ $? -eq 0 ]
check "four frames in order" same "$(awk '$1 ~ /^[0-9]+$/ && NF == 6 { printf "%s ", $1 }' mix.txt)" "0 1 2 3 "
"$KSGRAD" scf hcn.xyz "${run[@]}" --threads 1 --json one.json > /dev/null 2>&1
check "batched and alone" close_to "$(json mix.json energy_Ha 2)" "$(json one.json energy_Ha)" 1e-10
check "equal frames, equal energies" close_to "$(json mix.json energy_Ha 1)" "$(json mix.json energy_Ha 3)" 1e-11
check "formula" same "$(json mix.json formula 2)" '"CHN"'
for key in converged cycles energy_Ha gap_eV homo_Ha lumo_Ha n_ao n_electrons n_grid electrons_on_grid seconds; do
    check "JSON key $key" json mix.json $key 4 > /dev/null
done
check "electrons on the grid" close_to "$(json mix.json electrons_on_grid 1)" 10 0.01
"$KSGRAD" scf mix.xyz "${run[@]}" --frames 1:3 --json part.json > part.txt 2>&1
check "selected frames keep their numbers" same "$(json part.json frame 1) $(json part.json frame 2)" "1 2"

# guesses
"$KSGRAD" scf mix.xyz "${run[@]}" --guess mix.h5 --json again.json > /dev/null 2>&1
check "from its own result: cycles" at_most "$(json again.json cycles 2)" 3 # two for the energy to settle, one polishing
check "from its own result: energy" close_to "$(json again.json energy_Ha 2)" "$(json mix.json energy_Ha 2)" 2e-9
"$KSGRAD" scf mix.xyz "${run[@]}" --guess core --json core.json > /dev/null 2>&1
check "from the core guess" close_to "$(json core.json energy_Ha 1)" "$(json mix.json energy_Ha 1)" 2e-9
"$KSGRAD" scf h2o.xyz "${run[@]}" --guess mix.h5 --frames 0 > /dev/null 2>&1
check "guess of the same frame in another file" [ $? -eq 0 ]
"$KSGRAD" scf hcn.xyz "${run[@]}" --guess mix.h5 > out.txt 2> err.txt
check "guess of another molecule: exit code" [ $? -eq 4 ]
check "guess of another molecule: message" grep -q 'mix.h5.*element' err.txt
"$KSGRAD" scf h2o.xyz --xc pbe --basis def2-svp --grid 0 --guess mix.h5 > out.txt 2> err.txt
check "guess of another basis: exit code" [ $? -eq 4 ]
check "guess of another basis: message" grep -q 'mix.h5.*7.*24\|mix.h5.*24.*7' err.txt

# an unconverged frame is reported and kept, the exit code says so
"$KSGRAD" scf mix.xyz "${run[@]}" --max-cycle 3 --json short.json --out short.h5 > short.txt 2> err.txt
check "unconverged: exit code 6" [ $? -eq 6 ]
check "unconverged: in the table" grep -q 'NOT CONVERGED' short.txt
check "unconverged: in JSON" same "$(json short.json converged 1)" false
check "unconverged: warning names frame and limit" grep -q 'frame 0 did not converge in 3 cycles: orbital gradient .*limit' err.txt
check "unconverged: result file is there" [ -s short.h5 ]

# output files
echo precious > text.txt
"$KSGRAD" scf h2o.xyz "${run[@]}" --out text.txt > out.txt 2> err.txt
check "not a result file: exit code" [ $? -eq 4 ]
check "not a result file: kept" grep -q precious text.txt
"$KSGRAD" scf h2o.xyz "${run[@]}" --json h2o.xyz > out.txt 2> err.txt
check "input as output: exit code" [ $? -eq 2 ]
check "input as output: kept" grep -q water h2o.xyz
"$KSGRAD" scf h2o.xyz "${run[@]}" --out mix.h5 > /dev/null 2>&1
check "a result file is replaced" [ $? -eq 0 ]
check "nothing left behind" same "$(ls | grep -c tmp)" 0
finish scf 75
