#!/bin/bash
# compile.sh SOURCE [ARCH [FILE...]]: compiles .cu files (all of cuda/ when none is named) with nvcc for one architecture
# (90), warnings as errors, and prints registers, stack and spills of each kernel. For work on a kernel; the build of the
# preset cuda-release compiles the same and tests/gpu/kernels.sh guards it. Exit 77 without nvcc, 1 when a file fails.
set -u
src=$1 arch=${2:-90}
shift $(($# < 2 ? $# : 2))
nvcc=${CUDACXX:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[ -x "$nvcc" ] || { echo "SKIP no nvcc"; exit 77; }
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
[ $# -gt 0 ] || set -- "$src"/cuda/*.cu "$src"/cuda/ops/*.cu
bad=0
for f in "$@"; do
    if ! "$nvcc" -std=c++17 -O3 -gencode "arch=compute_$arch,code=sm_$arch" -I"$src/include" -I"$src/src" -I"$src" \
        -Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Wshadow,-Werror -Xptxas=-v -c "$f" -o "$tmp/o" 2>"$tmp/log"; then
        bad=1
        echo "FAIL sm_$arch ${f#"$src"/}"
        cat "$tmp/log"
        continue
    fi
    echo "sm_$arch ${f#"$src"/}"
    c++filt <"$tmp/log" | awk '
        /Compiling entry function/ { match($0, /'"'"'[^'"'"']*'"'"'/); name = substr($0, RSTART + 1, RLENGTH - 2) }
        /stack frame/ { stack = $1; store = $5; load = $9 }
        /Used [0-9]+ registers/ { match($0, /Used [0-9]+/); regs = substr($0, RSTART + 5, RLENGTH - 5)
            printf "  %4d registers  %5d bytes stack  %4d+%d bytes spilled  %s\n", regs, stack, store, load, name }'
done
exit $bad
