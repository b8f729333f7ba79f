#!/bin/bash
# test_eval_ranks.sh PROGRAM -- eval as several ranks: the same figures, in the same bits, as one rank, every frame once, for
# compositions mixed, labels stored and computed, predictions of somebody else and fewer frames than ranks. A rank that is
# killed, cannot read, reads something else or cannot write ends all, and no result is left behind. Verbs that work as one
# rank refuse several.
KSGRAD=$(realpath "$1")
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/eval_ranks_common.sh"

# Frames of three compositions in no order.
awk 'function r() { return 0.05 * rand() }
    BEGIN { srand(5); for (f = 0; f < 26; f++) { k = f < 3 ? f : int(3 * rand())
    if (k == 0) printf "2\nhydrogen\nH %.6f %.6f %.6f\nH %.6f %.6f %.6f\n", r(), r(), r(), r(), r(), 0.74 + r()
    if (k == 1) printf "3\nwater\nO %.6f %.6f %.6f\nH %.6f %.6f %.6f\nH %.6f %.6f %.6f\n", r(), r(), 0.1193 + r(),
        r(), 0.7632 + r(), -0.4770 - r(), r(), -0.7632 - r(), -0.4770 + r()
    if (k == 2) printf "4\nammonia\nN %.6f %.6f %.6f\nH %.6f %.6f %.6f\nH %.6f %.6f %.6f\nH %.6f %.6f %.6f\n", r(), r(), 0.12 + r(),
        r(), 0.94 + r(), -0.27 + r(), 0.81 + r(), -0.47 + r(), -0.27 + r(), -0.81 + r(), -0.47 + r(), -0.27 + r() } }' > mixed.xyz
water_frames 600 > water.xyz
small_run mixed.xyz 14 2 10

# the test part, references computed on the spot
alone spot run
compare spot2 2 10 run
compare spot3 3 10 run
check "says how many ranks" grep -q '3 ranks' spot3.0.out
# all frames, uneven shares, SCF cycles of 5 of them; stored labels
alone all run --data mixed.xyz --cycles 5
compare all3 3 26 run --data mixed.xyz --cycles 5
check "five frames with cycles" same "$(json all3/summary.json n_frames_scf_cycles)" 5
"$KSGRAD" data convert mixed.xyz -o mixed.h5 > /dev/null 2>&1 &&
    "$KSGRAD" data label mixed.h5 --set method.xc=lda --set method.basis=sto-3g --set method.grid=0 > label.txt 2>&1
check "labels" [ $? -eq 0 ]
alone labels run --data mixed.h5 --cycles -1
compare labels4 4 26 run --data mixed.h5 --cycles -1
check "with the labels" grep -q 'reference: labels of mixed.h5' labels4.0.out
alone label run --data mixed.h5 --label --frames ::3
compare label2 2 9 run --data mixed.h5 --label --frames ::3
# other refinements; more ranks than frames; somebody's Hamiltonians; little memory
for kind in none qpt cdiis damped; do
    alone "$kind" run --data mixed.h5 --frames 0:7 --refine $kind --cycles 0
    compare "${kind}2" 2 7 run --data mixed.h5 --frames 0:7 --refine $kind --cycles 0
done
alone few run --data mixed.h5 --frames 0:3
compare few5 5 3 run --data mixed.h5 --frames 0:3
method=(--set method.xc=lda --set method.basis=sto-3g --set method.grid=0)
"$KSGRAD" scf mixed.xyz "${method[@]}" --conv 1e-11 --conv-grad 1e-8 --out f.h5 > /dev/null 2>&1
alone theirs --prediction f.h5 --data mixed.xyz "${method[@]}" --cycles 3
compare theirs2 2 26 --prediction f.h5 --data mixed.xyz "${method[@]}" --cycles 3
check "a converged F is perfect" close_to "$(json theirs2/summary.json psi_similarity_pct)" 100 1e-6
alone little run --data mixed.h5 --set device.memory_gib=0.002
compare little2 2 26 run --data mixed.h5 --set device.memory_gib=0.002

# ---- ends ----

free_port # a rank that cannot read its data
start lost 0 2 eval run --data mixed.h5 --out lost
start lost 1 2 eval run --data nowhere.h5 --out lost
finished 2
check "no data on one rank: exit codes" codes 4 2
check "no data on one rank: it says so" grep -q 'rank 1 of 2.*nowhere.h5' lost.1.err
check "no data on one rank: the first one says whose" grep -q 'error: rank 1 .*nowhere.h5' lost.0.err
check "no data on one rank: once" same "$(cat lost.?.err | grep -c 'error: ')" 2
check "no data on one rank: no results" [ ! -e lost/summary.json ]

free_port # other frames on one rank
start other 0 3 eval run --data mixed.h5 --frames 0:9 --out other
start other 1 3 eval run --data mixed.h5 --frames 0:9 --out other
start other 2 3 eval run --data mixed.h5 --frames 1:10 --out other
finished 3
check "other frames on one rank: exit codes" codes 5 3
check "other frames on one rank: message" grep -q 'frames to evaluate' other.0.err
check "other frames on one rank: no results" [ ! -e other/summary.json ]

echo taken > taken # rank 0 cannot write
on_ranks taken 2 eval run --data mixed.h5 --frames 0:4 --out taken
check "no folder: exit codes" codes 4 2
check "no folder: the other is silent" same "$(grep -c 'error: ' taken.1.err)" 0

free_port # a rank is killed in the middle of the work
for r in 0 1 2; do start killed $r 3 eval run --data water.xyz --cycles -1 --out killed; done
check "the work has begun" until_true 150 grep -q "of 600 frames" killed.0.err
pkill -KILL -P "${PIDS[1]}"
SECONDS=0
finished 3
check "a killed rank: the others end" same "$(echo "$CODES" | cut -d' ' -f1,3)" "5 5"
check "a killed rank: soon" [ $SECONDS -le 45 ] # a few s of a chunk, the watchdog's grace, a busy machine
check "a killed rank: one line that names it" same "$(grep -c 'error: .*rank 1' killed.0.err) $(grep -c 'error: ' killed.2.err)" "1 0"
check "a killed rank: no results" same "$(ls killed | wc -l)" 0

# verbs that work as one rank
cp mixed.h5 before.h5
for verb in "predict run mixed.xyz --out p.h5" "data label mixed.h5 --set method.xc=pbe" "gradcheck c.yaml"; do
    # shellcheck disable=SC2086
    on_ranks refused 2 $verb
    check "$verb: exit codes" codes 3 2
    check "$verb: says why" grep -q 'one process' refused.0.err
    check "$verb: once" same "$(grep -c 'error: ' refused.1.err)" 0
done
check "nothing was written" cmp mixed.h5 before.h5
check "nothing was predicted" [ ! -e p.h5 ]

finish eval_ranks 100
