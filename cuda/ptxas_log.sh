#!/bin/bash
# ptxas_log.sh COMPILER ARGUMENTS... -o OBJECT ...: compiles. What ptxas reports of each kernel (-Xptxas=-v) goes to
# OBJECT.ptxas, for tests/gpu/kernels.sh; everything else that the compiler says is passed on.
out=
for ((i = 1; i < $#; i++)); do
    if [ "${!i}" = -o ]; then
        next=$((i + 1))
        out=${!next}
    fi
done
[ -n "$out" ] || exec "$@"
"$@" 2>"$out.log"
rc=$?
grep -E '^ptxas info|^ +[0-9]+ bytes stack frame' "$out.log" >"$out.ptxas"
grep -vE '^ptxas info|^ +[0-9]+ bytes stack frame' "$out.log" >&2
rm -f "$out.log"
exit $rc
