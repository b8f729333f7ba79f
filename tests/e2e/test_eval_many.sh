#!/bin/bash
# test_eval_many.sh PROGRAM -- 4,500 frames on three ranks: every metric as with one rank to 1e-12, every frame once.
KSGRAD=$(realpath "$1")
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/eval_ranks_common.sh"

water_frames 4500 > water.xyz
small_run water.xyz 16 4 4480
SECONDS=0
alone big run --data water.xyz
seconds=$SECONDS
SECONDS=0
compare big3 3 4500 run --data water.xyz
echo "4,500 frames: $seconds s with one rank, $SECONDS s with three on $(nproc --all) cores"
check "no reference is missing" same "$(json big3/summary.json n_reference_unconverged)" 0
# compare asks for the same bits; the means themselves, to 1e-12:
for key in $(head -1 big/per_frame.csv | cut -d, -f7- | tr , ' '); do
    for row in 1 2 3; do
        a=$(json big/summary.json "$key" $row)
        check "$key, row $row" close_to "$(json big3/summary.json "$key" $row)" "$a" "$(awk -v a="$a" 'BEGIN { print 1e-12 * a }')"
    done
done
check "three rows of every frame" same "$(awk 'END { print NR }' big3/per_frame.csv)" 13501
finish eval_many 40
