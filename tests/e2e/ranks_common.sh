# ranks_common.sh -- several ranks of a program on this machine, and what must be true when they have ended. Sourced with
# KSGRAD set. A case: `begin NAME`, ranks in the background (`rank`, `launch`), something happens (`event`), `wait_ranks`,
# assertions. All limits are seconds on a busy machine; what an end really took is in the table at the end.
. "$(dirname "${BASH_SOURCE[0]}")/train_common.sh"

SLACK=${KS_SLACK:-15}     # what a machine busy with other tests may add to a deadline
LONG=(--set optim.steps=100000 --set valid.every=100000)
TIMES=""                  # rows of the table
BEFORE=()                 # a command in front of the next rank's program, e.g. (env X=1)
PROGRAM=$KSGRAD
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

sed -i 's/^device: .*/device: {threads: 1}/; s/every_steps: 1,/every_steps: 5,/' "$WORK/c.yaml"
echo 'comm: {timeout_s: 4}' >> "$WORK/c.yaml"

clean_up() {
    [ -n "${AT_EXIT:-}" ] && eval "$AT_EXIT"
    pkill -KILL -f "$WORK" 2> /dev/null
    rm -rf "$WORK"
}
trap clean_up EXIT
trap 'exit 130' INT TERM # through clean_up

now() { date +%s%N; }
# A port that nobody listens on, below the ones that the system gives out by itself.
free_port() {
    while :; do
        PORT=$((10000 + (RANDOM * 32768 + RANDOM) % 9000))
        listens || break
    done
}

listens() { # is PORT open?
    local hex
    printf -v hex '%04X' "$PORT"
    grep -qi "^ *[0-9]*: [0-9A-F]*:$hex .* 0A " /proc/net/tcp /proc/net/tcp6 2> /dev/null
}

begin() { # begin NAME: run folder $WORK/NAME, streams and exit codes of its ranks in $CASE
    NAME=$1
    CASE=$WORK/ranks.$NAME
    mkdir -p "$CASE"
    RANKS=()
    BEFORE=()
    PROGRAM=$KSGRAD
    EVENT=
    HUNG=0
    free_port
}
in_background() { # in_background ID command...: $CASE/ID.{pid,out,err}, and .end: exit code and time
    local id=$1
    shift
    RANKS+=("$id")
    rm -f "$CASE/$id.end"
    : > "$CASE/$id.err"
    (
        trap - EXIT INT TERM
        "$@" > "$CASE/$id.out" 2> "$CASE/$id.err" &
        pid=$!
        echo $pid > "$CASE/$id.pid.new" && mv "$CASE/$id.pid.new" "$CASE/$id.pid"
        wait $pid 2> /dev/null
        echo "$? $(now)" > "$CASE/$id.end.new" && mv "$CASE/$id.end.new" "$CASE/$id.end"
    ) 2> /dev/null &
    until [ -s "$CASE/$id.pid" ]; do sleep 0.01; done
}
rank() { # rank R OF [arguments]: rank R trains run $NAME
    rank_as "$1" "$@"
}
rank_as() { # rank_as ID R OF [arguments]: the same under another name, for a rank that is there twice
    local id=$1 r=$2 of=$3
    shift 3
    in_background "$id" "${BEFORE[@]}" "$PROGRAM" train "${CONFIG:-$WORK/c.yaml}" -q --set run.name="$NAME" --rank "$r" \
        --ranks "$of" --rendezvous "${RENDEZVOUS:-127.0.0.1}:$PORT" "$@"
}
ranks() { # ranks OF [arguments]: all of them
    local of=$1 r
    shift
    for r in $(seq 0 $((of - 1))); do rank "$r" "$of" "$@"; done
}
pid_of() { cat "$CASE/$1.pid"; }
is_running() { [ ! -e "$CASE/$1.end" ]; }
event() { EVENT=$(now); }
send() { # send SIGNAL R...: the event of the case
    local signal=$1 r
    shift
    event
    for r in "$@"; do kill -"$signal" "$(pid_of "$r")"; done
}

# until_true SECONDS command...: tries it again and again
until_true() {
    local limit=$(($(now) + $1 * 1000000000))
    shift
    until "$@"; do
        [ "$(now)" -lt $limit ] || return 1
        sleep 0.02
    done
}
steps_done() { grep -c '"kind": "train"' "$WORK/$NAME/metrics.jsonl" 2> /dev/null; }
is_at() { [ "$(steps_done)" -ge "$1" ] 2> /dev/null || ! is_running "${RANKS[0]}"; }
# is_training N: N steps are on record and the first rank (or the launcher) is alive. A checkpoint of step 5 is there when
# step 6 is on record.
is_training() {
    until_true 60 is_at "$1" && is_running "${RANKS[0]}" && [ "$(steps_done)" -ge "$1" ] && return
    echo "no training: $(steps_done) steps, $(head -c 500 "$CASE"/*.err)"
    return 1
}
has_ended() { ! is_running "$1"; }
# wait_ranks SECONDS [R...]: until they have ended, all when none is named. Whoever has not by then is killed and counts as hung.
wait_ranks() {
    local limit=$1 r
    shift
    [ -n "$EVENT" ] || event
    limit=$((EVENT + limit * 1000000000))
    for r in "${@:-${RANKS[@]}}"; do
        while is_running "$r" && [ "$(now)" -lt $limit ]; do sleep 0.02; done
        if is_running "$r"; then
            echo "$NAME: rank $r has not ended $((($(now) - EVENT) / 1000000000)) s after the event"
            HUNG=$((HUNG + 1))
            kill -KILL "$(pid_of "$r")"
            until_true 10 has_ended "$r"
        fi
    done
}
seconds_of() { awk -v e="$EVENT" '{ printf "%.1f", ($2 - e) / 1e9 }' "$CASE/$1.end"; }

# ---- what must be true ----

code_of() { cut -d' ' -f1 "$CASE/$1.end"; }
has_code() { # has_code CODE R
    [ "$(code_of "$2")" -eq "$1" ] && return
    echo "$NAME: exit code of rank $2 is $(code_of "$2"), expected $1; it says: $(tail -n 3 "$CASE/$2.err")"
    return 1
}
errors_of() { grep -c 'error: ' "$CASE/$1.err"; }
# spoke R...: these ranks say one error line each, the others none
spoke() {
    local r want ok=0
    for r in "${RANKS[@]}"; do
        want=0
        [[ " $* " == *" $r "* ]] && want=1
        [ "$(errors_of "$r")" -eq $want ] && continue
        echo "$NAME: rank $r says $(errors_of "$r") errors, expected $want: $(head -c 1000 "$CASE/$r.err")"
        ok=1
    done
    return $ok
}
rank_says() { # rank_says R TEXT...: its error line has all of them
    local r=$1 text
    shift
    for text in "$@"; do
        grep 'error: ' "$CASE/$r.err" | grep -qiE -- "$text" && continue
        echo "$NAME: rank $r lacks '$text': $(head -c 1000 "$CASE/$r.err")"
        return 1
    done
}
nothing_runs() {
    until_true 5 eval '! pgrep -f "$WORK" > /dev/null' && return
    echo "$NAME: still running: $(pgrep -af "$WORK")"
    pkill -KILL -f "$WORK"
    return 1
}
no_sanitizer_report() { ! grep -lE 'AddressSanitizer|runtime error:|LeakSanitizer' "$CASE"/*.err; }
# ended CODE R...: these ranks have this exit code
ended() {
    local code=$1 r
    shift
    for r in "$@"; do check "$NAME: rank $r ends with $code" has_code "$code" "$r"; done
}
# closed WHAT: nothing hangs, nothing is left over; a row for the table
closed() {
    local r row=""
    check "$NAME: nobody hangs" test $HUNG -eq 0
    check "$NAME: nothing is left running" nothing_runs
    check "$NAME: no memory error" no_sanitizer_report
    for r in "${RANKS[@]}"; do row="$row $(seconds_of "$r") ($(code_of "$r"))"; done
    TIMES="$TIMES$(printf '%-44s%s' "$1" "$row")"$'\n'
    [ -z "${KS_SHOW:-}" ] || grep -H '' "$CASE"/*.err
}
table() { printf '%-44s %s\n%s' "case" "s from event to end (exit code), by rank" "$TIMES"; }

step_of() { state "$1" | awk '/^step/ { print $2 }'; }
# intact [RANKS]: the newest checkpoint is whole, and the run goes on from it for three more steps
intact() {
    local of=${1:-1} step r
    step=$(step_of "$NAME")
    check "$NAME: the newest checkpoint is whole (step ${step:-none})" test "${step:-0}" -gt 0
    [ "${step:-0}" -gt 0 ] || return
    check "$NAME: resumed" goes_on "$of" $((step + 3))
    check "$NAME: ... to step $((step + 3))" test "$(step_of "$NAME")" = $((step + 3))
    check "$NAME: no temporaries left" test -z "$(find "$WORK/$NAME" -name '*.tmp')"
}
goes_on() { # goes_on RANKS STEPS
    local of=$1 steps=$2 r before=("${RANKS[@]}") event=$EVENT
    if [ "$of" -eq 1 ]; then
        train --set run.name="$NAME" --set optim.steps="$steps" --set valid.every=100000 --resume=must ||
            { tail -n 3 "$WORK/stderr"; return 1; }
        return
    fi
    RANKS=()
    BEFORE=()
    PROGRAM=$KSGRAD
    free_port
    for r in $(seq 0 $((of - 1))); do
        in_background "again$r" "$KSGRAD" train "$WORK/c.yaml" -q --set run.name="$NAME" --set optim.steps="$steps" \
            --set valid.every=100000 --resume=must --rank "$r" --ranks "$of" --rendezvous "127.0.0.1:$PORT"
    done
    event
    wait_ranks 60
    for r in "${RANKS[@]}"; do has_code 0 "$r" || of=0; done
    RANKS=("${before[@]}") EVENT=$event
    [ "$of" -gt 0 ]
}
