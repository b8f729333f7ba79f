# verbs_common.sh -- what the tests of scf, eval, gradcheck, bench and bad inputs share. Sourced with KSGRAD set.
set -u
export OMP_WAIT_POLICY=passive # other tests run beside this one
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK" || exit 1
CHECKS=0
FAILED=0

check() { # check "what" command...: must succeed
    local what=$1
    shift
    CHECKS=$((CHECKS + 1))
    if ! "$@"; then
        echo "FAIL: $what"
        FAILED=$((FAILED + 1))
    fi
}
finish() { # finish name at-least
    echo "$1: $CHECKS checks, $FAILED failed, at least $2 expected"
    [ "$FAILED" -eq 0 ] && [ "$CHECKS" -ge "$2" ]
    exit
}

json() { # json file key [occurrence]: the value of the n-th "key": in a file written with one key a line
    awk -v key="\"$2\":" -v n="${3:-1}" '$1 == key && ++k == n { sub(/,$/, "", $2); print $2; found = 1; exit } END { exit !found }' "$1"
}
close_to() { # close_to a b tolerance: NaN and words fail
    awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a - b; if (d < 0) d = -d
        if (a !~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/ || !(d <= t)) { printf "  got %s, expected %s within %s\n", a, b, t; exit 1 } }'
}
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { if (a !~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/ || !(a + 0 <= b + 0)) { printf "  %s is above %s\n", a, b; exit 1 } }'; }
same() { [ "$1" = "$2" ] || { echo "  '$1' is not '$2'"; return 1; }; }

cat > h2o.xyz <<XYZ
3
water
O 0 0 0.1173
H 0 0.7572 -0.4692
H 0 -0.7572 -0.4692
XYZ
