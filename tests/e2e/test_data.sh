#!/bin/bash
# test_data.sh -- data convert, info, split, label, verify: the whole way, killed and stopped labelling, wrong use.
KSGRAD=$1
SOURCE=$(cd "$(dirname "$0")/../.." && pwd)
. "$(dirname "$0")/train_common.sh"
data() { "$KSGRAD" data "$@" > "$WORK/stdout" 2>> "$WORK/stderr"; }
prints() { grep -q -- "$1" "$WORK/stdout" || { echo "stdout lacks '$1':"; cat "$WORK/stdout"; return 1; }; }
method="--xc lda --basis sto-3g --grid 0"
D=$WORK/w.h5

check "convert" data convert "$SOURCE/datasets/water-512.npz" -o "$D" --frames :160 --licence none
check "... says what" prints '160 frames, 480 atoms'
check "convert again replaces" data convert "$SOURCE/datasets/water-512.npz" -o "$D" --frames :160
check "info" data info "$D"
check "... frames" prints '160 of 1 composition'
check "... hash of the source" prints "$(sha256sum "$SOURCE/datasets/water-512.npz" | cut -d' ' -f1)"
check "split" data split "$D" --name a --method numpy-legacy --seed 42 --sizes 100,20,40
check "split once more" exit_code 2 data split "$D" --name a --sizes 100,20,40
check "... is named" says "there is a split 'a' already"
check "split replaced" data split "$D" --name a --sizes 100,20,-1 --replace
printf '3\n1\n' > "$WORK/t.csv"
check "split by index" data split "$D" --name b --method index --index ",,$WORK/t.csv"
check "... parts" prints 'train 0, valid 0, test 2'

# A labelling that is killed at random instants ends with the labels of one left alone.
cp "$D" "$WORK/whole.h5"
start=$(date +%s%N)
check "label" data label "$WORK/whole.h5" --split a/train $method
span=$((($(date +%s%N) - start) / 1000000))
check "... all" prints '100 labels written, 0 missing'
RANDOM=${SEED:-$$}
echo "seed ${SEED:-$$}, $span ms"
killed=0
for i in $(seq 12); do
    "$KSGRAD" data label "$D" --split a/train $method > /dev/null 2>> "$WORK/stderr" &
    pid=$!
    sleep "$(awk "BEGIN { print ($RANDOM % 1000) / 1000 * $span / 4000 + 0.005 }")"
    kill -KILL $pid 2> /dev/null && killed=$((killed + 1))
    wait $pid 2> /dev/null
    check "readable after kill $i" data info "$D"
done
check "kills that hit a running labelling: $killed" test "$killed" -ge 4
check "label to the end" data label "$D" --split a/train $method
check "nothing left" data label "$D" --split a/train $method
check "... says so" prints '100 frames wanted, 100 have a label'
check "the same labels" cmp <("$KSGRAD" data verify "$D" --frames 100) <("$KSGRAD" data verify "$WORK/whole.h5" --frames 100)
check "verify" data verify "$D" --frames 100
check "... bit by bit" test "$(grep -c '0.00e+00   0.00e+00   0.00e+00   0.00e+00   0.00e+00$' "$WORK/stdout")" -eq 100

# Ctrl-C: what is done is kept, exit code 75, the same command goes on.
"$KSGRAD" data label "$D" $method --frames : > "$WORK/stdout" 2>> "$WORK/stderr" &
pid=$!
sleep "$(awk "BEGIN { print $span / 4000 + 0.03 }")"
kill -TERM $pid 2> /dev/null
wait $pid
code=$?
check "stopped or just done (exit code $code)" test "$code" -eq 75 -o "$code" -eq 0
check "goes on" data label "$D" $method
check "all there" data label "$D" $method
check "... says so" prints '160 frames wanted, 160 have a label'

# Another method is another set; other thresholds of the same method are refused.
check "second method" data label "$D" --frames 0:2 --xc pbe --basis sto-3g --grid 0
check "info lists both" data info "$D"
check "... sets" prints 'labels: 2 sets'
check "other thresholds" exit_code 2 data label "$D" $method --conv 1e-7 --frames 0:1
check "... are named" says 'use the same thresholds'

# A mixture of compositions.
printf '3\n\nO 0 0 0\nH 0 0.76 0.59\nH 0 -0.76 0.59\n2\n\nH 0 0 0\nF 0 0 0.92\n3\n\nO 0 0 0\nH 0 0.79 0.57\nH 0 -0.76 0.59\n' > "$WORK/mix.xyz"
check "mixture" data convert "$WORK/mix.xyz" -o "$WORK/mix.h5"
check "mixture labelled" data label "$WORK/mix.h5" $method
check "mixture verified" data verify "$WORK/mix.h5"

# Wrong use.
check "no action" exit_code 2 data
check "unknown action" exit_code 2 data konvert
check "no output" exit_code 2 data convert "$WORK/mix.xyz"
check "unknown preset" exit_code 2 data convert "$WORK/mix.xyz" -o "$WORK/x.h5" --preset md71
check "preset of a later version" exit_code 4 data convert "$WORK/mix.xyz" -o "$WORK/x.h5" --preset qh9
check "... says so" says 'not in this version'
check "preset that does not fit" exit_code 4 data convert "$SOURCE/datasets/water-512.npz" -o "$WORK/x.h5" --preset rmd17
check "absent file" exit_code 4 data convert "$WORK/none.xyz" -o "$WORK/x.h5"
check "foreign file is not replaced" exit_code 4 data convert "$WORK/mix.xyz" -o "$WORK/mix.xyz"
check "bad slice" exit_code 2 data convert "$WORK/mix.xyz" -o "$WORK/x.h5" --frames 7
check "bad sizes" exit_code 2 data split "$D" --name c --sizes 100,x
check "sizes that do not fit" exit_code 2 data split "$D" --name c --sizes 100,100,100
check "unknown split" exit_code 4 data label "$D" --split zz/test $method
check "unknown functional" exit_code 3 data label "$D" --xc b3lyp --frames 0
check "unlabelled file" exit_code 4 data verify "$WORK/x.h5"
head -c 20000 "$D" > "$WORK/cut.h5"
check "cut file" exit_code 4 data info "$WORK/cut.h5"
printf '2\n\nH 0 0 0\nCl 0 0 1.3\n' > "$WORK/cl.xyz"
check "element without support" data convert "$WORK/cl.xyz" -o "$WORK/cl.h5"
check "... refused when labelled" exit_code 4 data label "$WORK/cl.h5" $method
printf '1\n\nH 0 0 0\n' > "$WORK/h.xyz"
check "open shell" data convert "$WORK/h.xyz" -o "$WORK/h.h5"
check "... refused" exit_code 4 data label "$WORK/h.h5" $method
check "no temporaries left" test -z "$(find "$WORK" -name '*.tmp')"
finish data 60
