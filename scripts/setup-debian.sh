#!/usr/bin/env bash
# Installs what ksgrad needs on Debian 12 (bookworm). Idempotent; needs root or sudo; downloads nothing but packages.
#
#   scripts/setup-debian.sh            compiler and libraries: enough to build and run
#   scripts/setup-debian.sh --tests    also what the tests use: oracles (libxc, libint2), clang, fibres, Open MPI, NumPy, h5py
#   scripts/setup-debian.sh --samples  also xtb and PySCF's prerequisites, to make the shipped samples and tables again
#
# CUDA is not a Debian package: for the preset cuda-release install NVIDIA's toolkit (13.x) first.
set -euo pipefail

packages=(ca-certificates git gcc g++ cmake ninja-build pkg-config
          libyaml-dev libjansson-dev libhdf5-dev libzip-dev libopenblas-dev liblapacke-dev librandom123-dev)
for arg in "$@"; do
    case "$arg" in
    --tests) packages+=(clang libomp-dev libclang-rt-14-dev libxc-dev libint2-dev libeigen3-dev libboost-dev libboost-context-dev
                        libopenmpi-dev openmpi-bin python3 python3-numpy python3-h5py) ;;
    --samples) packages+=(xtb python3 python3-venv) ;;
    *)
        echo "usage: scripts/setup-debian.sh [--tests] [--samples]" >&2
        exit 2
        ;;
    esac
done

missing=()
for p in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
done
if ((${#missing[@]} == 0)); then
    echo "setup: all ${#packages[@]} packages are installed"
    exit 0
fi
run=()
if ((EUID != 0)); then
    command -v sudo >/dev/null || { echo "setup: run as root, or install sudo; missing: ${missing[*]}" >&2; exit 1; }
    run=(sudo)
fi
echo "setup: installing ${missing[*]}"
"${run[@]}" apt-get update -q
DEBIAN_FRONTEND=noninteractive "${run[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}"
