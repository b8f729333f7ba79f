#!/bin/bash
# gpu_check.sh SOURCE KSGRAD: scripts/gpu-check.sh with a stand-in for a GPU machine: the CPU answers for CUDA. The comparison
# passes and finds planted errors, the benchmark's rows arrive in the table, and a machine without GPU is exit code 77.
SOURCE=$(realpath "$1")
REAL=$(realpath "$2")
. "$SOURCE/tests/e2e/verbs_common.sh"
gpu_check() { bash "$SOURCE/scripts/gpu-check.sh" --build "$WORK" --program "$WORK/ksgrad" "$@" > log.txt 2>&1; }

cat > ksgrad <<SH
#!/bin/bash
args=("\${@/#cuda/cpu}")
case \$1 in
doctor) "$REAL" doctor | sed 's/^backend  *cuda: .*/backend            cuda, stand-in/'; exit ;;
bench) args=(bench "\${2/#--*/ops}" "$WORK/h2o.xyz" --grid 0 --basis sto-3g --repeat 1 --json "\${!#}" --set model.d_model=8 --set model.heads=2) ;;
scf)
    args+=(--grid 0 --frames 0:1 --basis sto-3g) # small
    [ -z "\$PLANT" ] || [ "\${args[*]:0:\$#}" = "\$*" ] || args+=(--xc lda)
    ;;
esac
exec "$REAL" "\${args[@]}"
SH
printf '#!/bin/bash\n[ "$1" = cuda ] && sleep 0.1\n' > cuda_test_good
printf '#!/bin/bash\necho "FAIL: planted"; exit 1\n' > cuda_test_bad
chmod +x ksgrad cuda_test_*

gpu_check --section compare --output same
check "equal backends pass" [ $? -eq 0 ]
check "ten comparisons" same "$(awk -F'\t' '$3 == "cuda" && $4 == "pass"' same/results.tsv | wc -l)" 10
check "they are in the table" same "$(grep -c '^| \(scf-\|train\).* | pass |' same/STATUS.md)" 10
PLANT=1 gpu_check --section compare --output other
check "another energy fails" [ $? -eq 1 ]
check "and is named" grep -q '| scf-water: energy, Ha | FAIL |' other/STATUS.md
gpu_check --section tests --output tests
check "a failing op test fails" [ $? -eq 1 ]
check "the good one passes" grep -q '^| `op.good.cuda` | pass |' tests/STATUS.md
check "the bad one does not" grep -q '^| `op.bad.cuda` | FAIL |' tests/STATUS.md
check "with its first message" grep -q 'FAIL: planted' tests/results.tsv
gpu_check --section tests --only good --output tests2
check "--only chooses" [ $? -eq 0 ]
gpu_check --section tests --minutes 0 --output tests3
check "without time nothing is run" same "$(awk -F'\t' '$4 == "no time"' tests3/results.tsv | wc -l)" 2
gpu_check --section bench --minutes 1 --output bench
check "the benchmark runs" [ $? -eq 0 ]
check "its parts are in the table" grep -Eq '^\| train-level3-none-B64 \| train \| [0-9.]+ \|' bench/STATUS.md
printf '#!/bin/bash\nexec "%s" "$@"\n' "$REAL" > ksgrad
gpu_check --output none
[ $? -eq 77 ]
check "no GPU is exit code 77" [ $? -eq 0 ]
check "with the reason" grep -q '^SKIP: backend .*cuda' log.txt
bash "$SOURCE/scripts/gpu-check.sh" --build "$WORK/none" --blank --output blank > log.txt 2>&1
check "a table with nothing run" grep -q 'not run on a GPU yet' blank/STATUS.md
check "of the op tests in the source" [ "$(grep -c '^| `op\.' blank/STATUS.md)" -gt 20 ]
for op in $(sed -n 's/^| `\(op\.[a-z0-9_]*\.cuda\)`.*/\1/p' blank/STATUS.md); do
    check "tests/gpu/STATUS.md has a row for $op" grep -qF "\`$op\`" "$SOURCE/tests/gpu/STATUS.md"
done
finish gpu_check 37
