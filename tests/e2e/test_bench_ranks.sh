#!/bin/bash
# test_bench_ranks.sh KSGRAD -- bench comm and bench train as several ranks: the table, the JSON, wrong use.
KSGRAD=$(realpath "$1")
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/ranks_common.sh"
. "$HERE/verbs_common.sh"
trap 'clean_up; rm -rf "$WORK"' EXIT

bench() { # bench N arguments...: as N ranks by hand, rank 0's output in out.txt
    local n=$1 r pids=() code=0
    shift
    free_port
    for r in $(seq $((n - 1)) -1 1); do
        "$KSGRAD" bench "$@" --rank "$r" --ranks "$n" --rendezvous "127.0.0.1:$PORT" > out.$r 2> err.$r &
        pids+=($!)
    done
    "$KSGRAD" bench "$@" --rank 0 --ranks "$n" --rendezvous "127.0.0.1:$PORT" > out.txt 2> err.txt || code=$?
    for r in "${pids[@]}"; do
        wait "$r"
        r=$?
        [ $r -eq $code ] || { echo "  exit codes $code of rank 0 and $r of another: $(cat err.*)"; return 99; }
    done
    return $code
}
positive() { awk -v t="$1" 'BEGIN { exit !(t > 0 && t < 1e4) }'; }
silent() { # the others have written nothing
    local r
    for r in out.[1-9]*; do [ ! -s "$r" ] || { echo "  $r: $(head -3 "$r")"; return 1; }; done
}

# ---- comm ----
for n in 2 3; do
    check "comm on $n ranks" bench $n comm --sizes 1,4K,300K --repeat 3 --threads 1 --json comm.json
    check "the others are silent" silent
    row='^(sum|reduce_scatter|all_gather) +(fp32|bf16) '
    check "18 rows: 3 calls, 2 types, 3 sizes" same "$(grep -cE "$row" out.txt)" 18
    check "none of them wrong" same "$(grep -cE "$row.* 0\$" out.txt)" 18
    check "ranks" same "$(json comm.json ranks)" $n
    check "transport" same "$(json comm.json transport)" '"tcp"'
    check "barrier" positive "$(json comm.json barrier_seconds)"
    check "sum of a number" positive "$(json comm.json host_sum_seconds)"
    check "sum of a few" positive "$(json comm.json small_sum_seconds)"
    for k in $(seq 18); do
        check "time $k" positive "$(json comm.json seconds $k)"
        check "wrong $k" same "$(json comm.json wrong $k)" 0
    done
    # the bus carries 2 (n-1)/n of a sum, (n-1)/n of its halves, each relative to the algorithm's
    for k in 3 9; do
        factor=$(awk -v n=$n -v k=$k 'BEGIN { print (k == 3 ? 2 : 1) * (n - 1) / n }')
        ratio=$(awk -v a="$(json comm.json algorithm_gbytes_per_s $k)" -v b="$(json comm.json bus_gbytes_per_s $k)" \
            'BEGIN { print b / a }')
        check "bus bandwidth, row $k" close_to "$ratio" "$factor" 1e-4
    done
done
check "bytes are rounded up to whole slices" same "$(json comm.json bytes 1)" 12
check "two hundred runs" bench 2 comm --sizes 64 --repeat 200 --threads 1

"$KSGRAD" bench comm > out.txt 2> err.txt
check "one rank: exit code" same $? 2
check "one rank: says so" grep -q 'one rank has nothing to measure' err.txt
"$KSGRAD" bench comm h2o.xyz > out.txt 2> err.txt
check "no geometry: exit code" same $? 2
"$KSGRAD" bench ops --sizes 4K > out.txt 2> err.txt
check "no sizes elsewhere: exit code" same $? 2
for sizes in '' 4Q 0 -1 1,,2 4K, 99999999999999G; do
    bench 2 comm --sizes "$sizes" --threads 1
    check "--sizes '$sizes': exit code" same $? 2
done

# ---- train ----
small=(--basis sto-3g --grid 0 --xc lda --repeat 2 --warmup 1 --threads 1 --set model.d_model=16 --set model.heads=2
    --set model.layers=1)
for f in 1 2 3 4 5; do sed "s/0.1173/0.11$f/" h2o.xyz; done > five.xyz
for more in "" "--set comm.shard_moments=on --set comm.wire=bf16"; do
    check "train on 2 ranks $more" bench 2 train five.xyz --frames : "${small[@]}" $more --json train.json
    check "the others are silent" silent
    check "two tables" same "$(grep -cE '^(step|train): ' out.txt)" 2
    check "two rows each" same "$(grep -cE '^ +[01] ' out.txt)" 4
    for k in 1 2; do
        check "speed-up $k" positive "$(json train.json speedup $k)"
        check "efficiency $k is that over 2" close_to "$(json train.json efficiency $k)" \
            "$(awk -v s="$(json train.json speedup $k)" 'BEGIN { print s / 2 }')" 1e-4
        check "frames of rank 0, table $k" same "$(json train.json frames $((2 * k - 1)))" 2.0
        check "frames of rank 1, table $k" same "$(json train.json frames $((2 * k)))" 3.0
    done
    for k in 1 2 3 4; do
        check "step time $k" positive "$(json train.json step_seconds $k)"
        check "compute time $k" positive "$(json train.json compute_seconds $k)"
        check "wait $k is part of the step" awk -v w="$(json train.json wait_share $k)" \
            'BEGIN { exit !(w >= 0 && w <= 1) }'
    done
done
check "only what was asked for" bench 2 train five.xyz --frames : "${small[@]}" --only step
check "... is step" same "$(grep -cE '^(step|train): ' out.txt)" 1
bench 2 train five.xyz --frames 0 "${small[@]}"
check "fewer frames than ranks: exit code" same $? 2
check "fewer frames than ranks: says so" grep -q '1 frames for 2 ranks' err.txt err.1
bench 2 ops five.xyz "${small[@]}"
check "ops as two ranks: exit code" same $? 3
finish bench_ranks 160
