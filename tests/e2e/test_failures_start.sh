#!/bin/bash
# test_failures_start.sh -- what goes wrong before several ranks train: ranks that are late, missing, doubled, of another
# build or config, with other data, without memory, on one GPU; taken ports and strangers. Refused by name on every rank.
# Arguments: ksgrad, and ksgrad with the kernel launcher as its GPU where there is one.
KSGRAD=$1
EMU=${2:-}
. "$(dirname "$0")/ranks_common.sh"
host=$(hostname)
SHORT=(--set optim.steps=3 --set valid.every=100000)

# How long it takes when nothing is wrong: one step.
for of in 2 4; do
    begin start$of
    event
    ranks $of --set optim.steps=1 --set valid.every=100000
    wait_ranks 60
    ended 0 $(seq 0 $((of - 1)))
    check "$NAME: nobody says an error" spoke
    closed "start, one step, end: $of ranks"
done

# 1. A rank comes late, but in time.
begin late
rank 0 2 "${SHORT[@]}" --set comm.timeout_s=30
event
sleep 2
rank 1 2 "${SHORT[@]}" --set comm.timeout_s=30
wait_ranks 60
ended 0 0 1
check "$NAME: nobody says an error" spoke
closed "rank 1 of 2 comes after 2 s"
begin late0
rank 1 2 "${SHORT[@]}" --set comm.timeout_s=30
event
sleep 2
rank 0 2 "${SHORT[@]}" --set comm.timeout_s=30
wait_ranks 60
ended 0 0 1
check "$NAME: nobody says an error" spoke
closed "rank 0 of 2 comes after 2 s"

begin names # of rank 0's host, as different ranks may know it
event
RENDEZVOUS=localhost
rank 0 2 "${SHORT[@]}"
unset RENDEZVOUS
rank 1 2 "${SHORT[@]}"
wait_ranks 60
ended 0 0 1
check "$NAME: nobody says an error" spoke
closed "rank 0 under two names"

# 2. A rank that never comes; rank 0 never comes.
begin never
event
rank 0 4 "${SHORT[@]}"
rank 1 4 "${SHORT[@]}"
wait_ranks $((4 + SLACK))
ended 5 0 1
check "$NAME: rank 0 speaks" spoke 0
check "$NAME: it names the missing ranks" rank_says 0 'ranks? 2.*3' 'timeout_s'
closed "ranks 2 and 3 of 4 never come"
begin never0
event
rank 1 3 "${SHORT[@]}"
rank 2 3 "${SHORT[@]}"
wait_ranks $((4 + SLACK))
ended 5 1 2
check "$NAME: each speaks for itself" spoke 1 2
check "$NAME: where rank 0 should be" rank_says 1 '127\.0\.0\.1' "port $PORT" 'rank 1 of 3' 'Has rank 0 started'
closed "rank 0 of 3 never comes"

# 3. Two builds: the same program with another version text.
begin build
version=$("$KSGRAD" --version | awk 'NR == 1 { print $2 }')
sed "s/\(${version//./\\.}\) (git/${version//[0-9]/7} (git/g" "$KSGRAD" > "$WORK/other_build"
chmod +x "$WORK/other_build"
check "$NAME: it is another one" test "$("$WORK/other_build" --version | head -n 1)" != "$("$KSGRAD" --version | head -n 1)"
event
rank 0 3 "${SHORT[@]}"
rank 1 3 "${SHORT[@]}"
PROGRAM=$WORK/other_build
rank 2 3 "${SHORT[@]}"
wait_ranks $((4 + SLACK))
ended 5 0 1 2
check "$NAME: rank 0 speaks" spoke 0
check "$NAME: which rank, which builds" rank_says 0 'rank 2' "$host" "${version//[0-9]/7}" "$version"
closed "rank 2 of 3 is another build"

# 4. Two configs.
begin config
event
rank 0 2 "${SHORT[@]}"
rank 1 2 "${SHORT[@]}" --set optim.lr=2e-3
wait_ranks $((4 + SLACK))
ended 5 0 1
check "$NAME: rank 0 speaks" spoke 0
check "$NAME: which rank" rank_says 0 'rank 1' "$host" 'config'
closed "rank 1 of 2 has another config"

# 5. The same rank twice; other numbers of ranks.
begin twice
event
rank 0 3 "${SHORT[@]}"
rank 1 3 "${SHORT[@]}"
rank_as again1 1 3 "${SHORT[@]}"
wait_ranks $((4 + SLACK))
ended 5 0 1 again1
check "$NAME: rank 0 speaks" spoke 0
check "$NAME: which rank" rank_says 0 'two processes are rank 1' "$host" "$(pid_of 1)" "$(pid_of again1)"
closed "rank 1 of 3 comes twice"
begin twice0
event
rank 0 2 "${SHORT[@]}"
until_true 10 listens
rank_as again0 0 2 "${SHORT[@]}"
wait_ranks $((4 + SLACK))
ended 5 0 again0
check "$NAME: the port is taken" rank_says again0 "$PORT" 'in use|taken'
check "$NAME: nobody came to the first" rank_says 0 'rank 1'
closed "rank 0 of 2 twice, no rank 1"
begin size
event
rank 0 2 "${SHORT[@]}"
rank 1 3 "${SHORT[@]}"
wait_ranks $((4 + SLACK))
ended 5 0 1
check "$NAME: rank 0 speaks" spoke 0
check "$NAME: both numbers" rank_says 0 'rank 1' "$host" 'in 3 ranks' 'in 2'
closed "rank 1 was told of 3 ranks, rank 0 of 2"

# 6. The port belongs to somebody else, who does not speak our language: a program that listens and says nothing.
begin taken
in_background squatter "$KSGRAD" train "$WORK/c.yaml" -q --set run.name=squatter --set comm.timeout_s=60 --rank 0 --ranks 2 \
    --rendezvous "127.0.0.1:$PORT"
until_true 10 listens
event
rank 0 2 "${SHORT[@]}" --set run.seed=7
wait_ranks $((4 + SLACK)) 0
ended 5 0
check "$NAME: the port, and what to do" rank_says 0 "$PORT" 'in use|taken' 'rendezvous'
kill -TERM "$(pid_of squatter)" # still waiting for its rank 1: a stop must not take a minute
wait_ranks $((4 + 2 * SLACK)) squatter
check "$NAME: a wait for ranks can be stopped" grep -qE '^(75|143|5) ' "$CASE/squatter.end"
closed "port taken; SIGTERM in the rendezvous"

# 7. Strangers come first: garbage, silence, a web browser, a shower of connections. The ranks find each other all the same.
begin visit
event
rank 0 3 "${SHORT[@]}" --set comm.timeout_s=30
until_true 10 listens
exec 5<> "/dev/tcp/127.0.0.1/$PORT" # silent, and stays
for word in $'GET / HTTP/1.0\r\n\r\n' "$(head -c 3000 /dev/urandom | tr -d '\0')" ''; do
    (exec 3<> "/dev/tcp/127.0.0.1/$PORT" && printf '%s' "$word" >&3) 2> /dev/null
done
for i in $(seq 20); do (exec 3<> "/dev/tcp/127.0.0.1/$PORT") 2> /dev/null; done
rank 1 3 "${SHORT[@]}" --set comm.timeout_s=30
exec 6<> "/dev/tcp/127.0.0.1/$PORT"
rank 2 3 "${SHORT[@]}" --set comm.timeout_s=30
wait_ranks 60
exec 5>&- 6>&-
ended 0 0 1 2
check "$NAME: nobody says an error" spoke
closed "strangers in the rendezvous"

# 8. Data: a rank whose file has other geometries, is not there, or cannot be read because nothing comes (a pipe without a
# writer stands in for a file server that hangs).
other() { # a folder like $WORK as another host may see it: the same config, another file of geometries
    mkdir -p "$WORK/$NAME.host"
    CONFIG=$WORK/$NAME.host/c.yaml
    cp "$WORK/c.yaml" "$CONFIG"
}
begin data
event
rank 0 2 "${SHORT[@]}"
other
sed 's/^O 0[.]/O 0.1/' "$WORK/water.xyz" > "$WORK/data.host/water.xyz"
rank 1 2 "${SHORT[@]}"
CONFIG=
wait_ranks $((4 + SLACK))
check "$NAME: the same exit code on both, data or communication" \
    test "$(code_of 0)" = "$(code_of 1)" -a \( "$(code_of 0)" = 4 -o "$(code_of 0)" = 5 \)
check "$NAME: rank 0 speaks" spoke 0
check "$NAME: which rank, what is different" rank_says 0 'rank 1' "$host" 'geometries|data'
closed "rank 1 of 2 has other geometries"
begin nodata
event
rank 0 2 "${SHORT[@]}"
other
rank 1 2 "${SHORT[@]}"
CONFIG=
wait_ranks $((4 + SLACK))
ended 4 0 1
check "$NAME: which file" rank_says 1 "$NAME.host/water.xyz" 'rank 1 of 2'
check "$NAME: rank 0 says which rank" rank_says 0 'rank 1' "$host" 'water.xyz'
closed "rank 1 of 2 has no data"
for r in 1 0; do
    begin pipe$r
    event
    [ $r = 0 ] || rank 0 2 "${SHORT[@]}"
    other
    mkfifo "$WORK/$NAME.host/water.xyz"
    rank $r 2 "${SHORT[@]}"
    CONFIG=
    [ $r = 1 ] || rank 1 2 "${SHORT[@]}"
    wait_ranks $((4 + 2 * SLACK))
    ended 5 0 1
    check "$NAME: rank 0 says which rank is missed" rank_says 0 "for rank $r" "$host" 'comm.timeout_s'
    closed "rank $r of 2 hangs in reading its data"
done

# 9. Memory: too little to plan with, and none when it is asked for.
begin memory
event
rank 0 3 "${SHORT[@]}"
rank 1 3 "${SHORT[@]}"
rank 2 3 "${SHORT[@]}" --set device.memory_gib=0.0001
wait_ranks $((4 + SLACK))
ended 5 0 1 2
check "$NAME: rank 0 speaks, for all have met the same" spoke 0
check "$NAME: it says which rank has how little" rank_says 0 'rank 2' "$host" 'device.memory_gib'
closed "no memory planned for rank 2 of 3"

if ! grep -q __asan_init "$KSGRAD"; then # which itself needs terabytes of addresses
    begin starved # an address space that hardly holds the program: whatever fails in it, or hangs
    event
    rank 0 2 "${LONG[@]}"
    BEFORE=(bash -c 'ulimit -v 100000; exec "$@"' _)
    rank 1 2 "${LONG[@]}"
    wait_ranks $((4 + 2 * SLACK))
    ended 5 0
    check "$NAME: rank 1 ends with an error" test "$(code_of 1)" -ne 0
    check "$NAME: rank 0 says which rank" rank_says 0 'rank 1'
    closed "100 MB of address space for rank 1 of 2"
fi

# 10. A rank that cannot read its config.
begin noconfig
event
rank 0 3 "${SHORT[@]}"
rank 1 3 "${SHORT[@]}"
CONFIG=$WORK/none.yaml
rank 2 3 "${SHORT[@]}"
CONFIG=
wait_ranks $((4 + SLACK))
ended 5 0 1
ended 3 2
check "$NAME: rank 0 and the rank itself speak" spoke 0 2
check "$NAME: which rank, which file" rank_says 0 'rank 2' "$host" 'none.yaml'
check "$NAME: rank 2 says the same" rank_says 2 'rank 2 of 3' 'none.yaml'
closed "rank 2 of 3 cannot read its config"

# 11. Two ranks on one GPU.
if [ -x "$EMU" ]; then
    begin gpu
    PROGRAM=$EMU
    export KS_EMU_DEVICES=1
    event
    ranks 2 "${SHORT[@]}" --backend cuda
    unset KS_EMU_DEVICES
    wait_ranks $((4 + SLACK))
    ended 5 0 1
    check "$NAME: rank 0 speaks" spoke 0
    check "$NAME: which ranks" rank_says 0 'rank' "$host" 'GPU'
    closed "two ranks on one GPU"
fi
unset CONFIG
for run in never never0 build config twice size data nodata memory noconfig; do
    check "$run: no run folder was made" test ! -e "$WORK/$run"
done

table
finish failures_start 140
