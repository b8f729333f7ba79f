#!/usr/bin/env bash
# From a fresh clone to a trained and evaluated model: packages, build, training on the shipped sample without any
# label, evaluation on held-out frames against SCF references computed on the spot. About ten minutes on two cores.
#
#   scripts/quickstart.sh [--no-setup]
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ "${1:-}" != --no-setup ]]; then bash scripts/setup-debian.sh; fi
cmake --preset cpu-release -G Ninja -DKS_TESTS=OFF >/dev/null
cmake --build --preset cpu-release
program=build/cpu-release/ksgrad

"$program" check configs/quickstart.yaml
"$program" train configs/quickstart.yaml --resume auto
"$program" eval runs/quickstart --split test --label --out runs/quickstart/eval
echo
echo "quickstart: done. Results: runs/quickstart/eval/summary.json and per_frame.csv; log: runs/quickstart/run.log"
