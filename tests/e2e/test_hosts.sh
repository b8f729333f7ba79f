#!/bin/bash
# test_hosts.sh -- two hosts: two network namespaces with a cable between them and host names of their own. Ranks find each
# other by address; a cable that is pulled ends both sides in time, one that is pulled for a moment does not. Needs root.
KSGRAD=$1
skip() { echo "skipped: $*" && exit 77; }
[ "$(id -u)" -eq 0 ] || skip "network namespaces need root"
for tool in ip unshare hostname; do command -v $tool > /dev/null || skip "no $tool (Debian: iproute2, util-linux, hostname)"; done
. "$(dirname "$0")/ranks_common.sh"
a=ks$$a b=ks$$b
AT_EXIT="ip netns del $a; ip netns del $b; ip link del ${a}v; true" # what is left of them
AT_EXIT="{ $AT_EXIT; } 2> /dev/null"
net() {
    ip netns add $a && ip netns add $b && ip link add ${a}v type veth peer name ${b}v &&
        ip link set ${a}v netns $a && ip link set ${b}v netns $b &&
        ip -n $a addr add 10.87.0.1/24 dev ${a}v && ip -n $b addr add 10.87.0.2/24 dev ${b}v &&
        ip -n $a link set ${a}v up && ip -n $b link set ${b}v up && ip -n $a link set lo up && ip -n $b link set lo up
}
net 2> "$WORK/net" || skip "no network namespaces here: $(tail -n 1 "$WORK/net")"
ip -n $a addr add fd87::1/64 dev ${a}v nodad 2> /dev/null && ip -n $b addr add fd87::2/64 dev ${b}v nodad 2> /dev/null
cable() { ip -n $b link set ${b}v "$1"; }

on() { # on a|b: the next rank starts there
    BEFORE=(ip netns exec "${!1}" unshare -u bash -c 'hostname host-$0 && exec "$@"' "$1")
}
# there R OF ADDRESS [arguments]: rank R with rank 0 looked for at ADDRESS
there() {
    local r=$1 of=$2 address=$3
    shift 3
    in_background "$r" "${BEFORE[@]}" "$KSGRAD" train "$WORK/c.yaml" -q --set run.name="$NAME" --rank "$r" --ranks "$of" \
        --rendezvous "$address:$PORT" "$@"
}
SHORT=(--set optim.steps=20 --set valid.every=100000)

begin near
ranks 3 "${SHORT[@]}"
wait_ranks 60
ended 0 0 1 2
closed "3 ranks on one host"

begin far
event
on a && there 0 3 10.87.0.1 "${SHORT[@]}" && there 2 3 10.87.0.1 "${SHORT[@]}"
on b && there 1 3 10.87.0.1 "${SHORT[@]}"
wait_ranks 60
ended 0 0 1 2
check "$NAME: the bits of one host" same_state near far
closed "3 ranks on two hosts"

begin six
event
on a && there 0 2 '[fd87::1]' "${SHORT[@]}"
on b && there 1 2 '[fd87::1]' "${SHORT[@]}"
wait_ranks 60
ended 0 0 1
closed "2 ranks on two hosts, IPv6"

begin pulled
on a && there 0 2 10.87.0.1 "${LONG[@]}"
on b && there 1 2 10.87.0.1 "${LONG[@]}"
check "$NAME: it trains" is_training 6
event
cable down
wait_ranks $((4 + SLACK))
cable up
ended 5 0 1
check "$NAME: both speak, neither can be told" spoke 0 1
check "$NAME: rank 0 about rank 1" rank_says 0 'rank 1' 'host-b'
check "$NAME: rank 1 about rank 0" rank_says 1 'rank 0' 'host-a' 'rank 1 of 2'
closed "cable pulled"
intact

begin moment
on a && there 0 2 10.87.0.1 --set optim.steps=200 --set valid.every=100000 --set comm.timeout_s=30
on b && there 1 2 10.87.0.1 --set optim.steps=200 --set valid.every=100000 --set comm.timeout_s=30
check "$NAME: it trains" is_training 6
event
cable down
sleep 1
cable up
wait_ranks 90
ended 0 0 1
check "$NAME: nobody says an error" spoke
check "$NAME: to the end" test "$(step_of $NAME)" = 200
closed "cable pulled for a second"

begin wrong
event
on a && there 0 2 10.87.0.1 "${SHORT[@]}"
on b && there 1 2 10.87.0.99 "${SHORT[@]}"
wait_ranks $((4 + SLACK))
ended 5 0 1
check "$NAME: rank 0 misses rank 1" rank_says 0 'rank 1'
check "$NAME: rank 1 names the address" rank_says 1 '10\.87\.0\.99' 'rank 1 of 2' 'host-b'
closed "wrong address on rank 1"

begin loopback
event
on a && there 0 2 127.0.0.1 "${SHORT[@]}"
on b && there 1 2 127.0.0.1 "${SHORT[@]}"
wait_ranks $((4 + SLACK))
ended 5 0 1
check "$NAME: rank 0 misses rank 1" rank_says 0 'rank 1'
check "$NAME: rank 1 names the address" rank_says 1 '127\.0\.0\.1'
closed "loopback address between two hosts"

begin notmine
event
on a && there 0 2 10.87.0.2 "${SHORT[@]}" # rank 1's address
on b && there 1 2 10.87.0.2 "${SHORT[@]}"
wait_ranks $((4 + SLACK))
ended 5 0 1
check "$NAME: rank 0 names the address" rank_says 0 '10\.87\.0\.2'
closed "rank 0 is not where it should be"

begin noname
event
on b && there 1 2 no-such-host.invalid "${SHORT[@]}"
wait_ranks $((4 + SLACK))
check "$NAME: rank 1 ends with 3 or 5" grep -qE '^(3|5) ' "$CASE/1.end"
check "$NAME: rank 1 names the name" rank_says 1 'no-such-host'
closed "a host name that is none"

table
finish hosts 60
