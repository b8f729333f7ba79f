#!/usr/bin/env bash
# Sets up and passes the tests: packages, four builds, all of CTest. At most 90 minutes on two cores, no GPU needed.
#
#   1. cpu-release with gcc and Open MPI: every test, the oracles (libxc, libint2), the kernel launcher, end to end
#   2. cpu-debug with gcc, ASan and UBSan: every test but those labelled slow
#   3. clang: the whole tree compiles without a warning
#   4. nvcc, where it is installed: library, program and GPU tests for sm_80, sm_90 and sm_100, warnings as errors; what a
#      CUDA build must do without a GPU; registers and spills. Without nvcc: one skip
#
#   scripts/test.sh [--no-setup]
set -uo pipefail
cd "$(dirname "$0")/.."
[[ "${1:-}" == --no-setup ]] || bash scripts/setup-debian.sh --tests || exit 1

passed=0 failed=0 skipped=0
step() { # step NAME COMMAND...
    echo "== $1"
    shift
    if ! "$@"; then
        echo "FAILED: $*"
        failed=$((failed + 1))
        return 1
    fi
}
run_ctest() { # run_ctest DIR ARGS...
    local log p f s
    log=$(mktemp)
    ctest --test-dir "$1" --output-on-failure -j2 "${@:2}" 2>&1 | tee "$log"
    f=$(grep -cE '\*\*\*(Failed|Timeout|Exception|Not Run)|\(Not Run\)' "$log")
    s=$(grep -cE '\*\*\*Skipped' "$log")
    p=$(grep -cE ' Passed +[0-9.]+ sec' "$log")
    if ! grep -q 'tests passed' "$log"; then f=$((f + 1)); fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    rm -f "$log"
}

start=$SECONDS
if step "cpu-release (gcc)" cmake --preset cpu-release -G Ninja -DKS_TESTS=ON -DKS_ORACLES=ON -DKS_MPI=ON &&
    step "build" cmake --build --preset cpu-release; then
    echo "build: $((SECONDS - start)) s"
    run_ctest build/cpu-release
fi
if step "cpu-debug (gcc, ASan, UBSan)" cmake --preset cpu-debug -G Ninja -DKS_TESTS=ON &&
    step "build" cmake --build --preset cpu-debug; then
    run_ctest build/cpu-debug -LE slow
fi
if step "clang" cmake -G Ninja -B build/clang -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++; then
    step "build" cmake --build build/clang && run_ctest build/clang -R '^(unit\.core|op\.)' -LE slow
fi
if command -v nvcc >/dev/null || [[ -x /usr/local/cuda/bin/nvcc ]]; then
    cuda_start=$SECONDS
    if step "cuda-release (nvcc)" cmake --preset cuda-release -G Ninja -DKS_TESTS=ON &&
        step "build" cmake --build --preset cuda-release --target ksgrad ks_cuda_tests; then
        echo "CUDA build: $((SECONDS - cuda_start)) s"
        run_ctest build/cuda-release -L cuda-build
        echo "$(ctest --test-dir build/cuda-release -N -L '^cuda$' | sed -n 's/^Total Tests: //p') op tests are built and need a GPU: scripts/gpu-check.sh"
    fi
else
    echo "no nvcc: the CUDA build is skipped"
    skipped=$((skipped + 1))
fi
echo "total: $((SECONDS - start)) s"
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0 && passed > 0))
