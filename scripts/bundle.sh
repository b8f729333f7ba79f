#!/usr/bin/env bash
# Makes a folder that runs where nothing can be installed: a cluster node, a rented GPU machine. It holds the program, the
# GPU's op tests, configs, basis sets and samples, gpu-check.sh, and every shared library but glibc and the driver; it finds
# all of that relative to itself, wherever it is put.
#
#   scripts/bundle.sh [--arch 90] [--without-cuda-libs] [--nccl] [--tar] [--build DIR] [--output DIR]
#
#   --arch LIST           GPU architectures, e.g. 90 (H100, H200; default) or "80;90"
#   --without-cuda-libs   leave cuBLAS and cuSOLVER to the target: its toolkit's folder of libraries is searched
#                         (/usr/local/cuda/lib64, or LD_LIBRARY_PATH). They are about 900 MB
#   --nccl                NCCL too, the one that this machine's ksgrad doctor names (about 200 MB): only ranks on several GPUs
#                         need it, and most clusters have their own, made for their network
#   --tar                 also OUTPUT.tar.gz
#   --build DIR           build folder (default build/bundle)
#   --output DIR          default build/ksgrad-bundle; replaced
#
# The target needs x86-64 Linux with a glibc not older than the one named in BUNDLE.txt, and for the GPU NVIDIA's driver.
set -euo pipefail
cd "$(dirname "$0")/.."
arch=90 cuda_libs=1 nccl=0 tar=0 build=build/bundle out=build/ksgrad-bundle
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
while (($#)); do
    case $1 in
    --arch) arch=$2 && shift ;;
    --without-cuda-libs) cuda_libs=0 ;;
    --nccl) nccl=1 ;;
    --tar) tar=1 ;;
    --build) build=$2 && shift ;;
    --output) out=$2 && shift ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done
if [ -e "$out" ] && [ ! -e "$out/BUNDLE.txt" ]; then
    echo "bundle: $out exists and is no bundle: it is not replaced" >&2
    exit 2
fi

generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
real=$(tr ';' '\n' <<<"$arch" | sed 's/$/-real/' | paste -sd';')
cmake -S . -B "$build" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DKS_CUDA=ON -DKS_SHARED=ON -DKS_TESTS=ON -DKS_TEST_DIR=. \
    "-DCMAKE_CUDA_ARCHITECTURES=$real" >/dev/null
cmake --build "$build" --target ksgrad ks_cuda_tests -j "$(nproc)"

rm -rf "$out"
mkdir -p "$out"/{bin,lib,share/ksgrad,tests/gpu,scripts}
cp "$build/ksgrad" "$build"/cuda_test_* "$out/bin"
cp "$build/libks.so" "$out/lib"
cp -r datasets/basis datasets/*.npz "$out/share/ksgrad"
cp -r configs datasets "$out"           # paths in configs are relative to them
cp -r tests/golden tests/fixtures "$out/tests" # what the tests read, relative to the folder they are started in
cp tests/gpu/STATUS.md tests/gpu/kernels.txt "$out/tests/gpu"
cp scripts/gpu-check.sh "$out/scripts"
cp LICENSE "$out"

# Every library that programs and libraries ask for, by the name they ask with; never glibc's own nor the driver's.
declare -A system=()
for name in ld-linux-x86-64 libc libm libmvec libdl libpthread librt libresolv libutil libnsl libanl libBrokenLocale \
    libcuda libnvidia-ml; do system[$name]=1; done
cuda_names='^lib(cublas|cublasLt|cusolver|cusparse|cudart|nvJitLink)\.so'
while read -r name path; do
    [ -z "${system[${name%%.so*}]:-}" ] || continue
    [ "$name" != libks.so ] || continue
    if [[ $name =~ $cuda_names ]] && ((!cuda_libs)); then continue; fi
    [ -f "$path" ] || { echo "bundle: $name is not found on this machine" >&2 && exit 1; }
    cp -L "$path" "$out/lib/$name"
done < <(ldd "$out"/bin/* "$out/lib/libks.so" | awk '$2 == "=>" { print $1, $3 == "not" ? "-" : $3 }' | sort -u)
if ((nccl)); then
    from=$("$build/ksgrad" doctor | sed -n 's/^nccl  *[0-9.]*, \(\/.*\)$/\1/p')
    [ -f "$from" ] || { echo "bundle: no NCCL on this machine: $("$build/ksgrad" doctor | grep '^nccl')" >&2 && exit 1; }
    cp -L "$from" "$out/lib/libnccl.so.2"
fi
chmod -R u+rwX,go+rX "$out"
chmod -x "$out"/lib/*.so*

# The newest glibc that anything asks for.
glibc=$(find "$out/bin" "$out/lib" -type f -exec readelf -V {} + 2>/dev/null | grep -oE 'GLIBC_[0-9]+\.[0-9]+(\.[0-9]+)?' | sort -uV | tail -1)
size() { du -s --block-size=1 "$1" | cut -f1; }
{
    echo "ksgrad bundle"
    "$build/ksgrad" doctor | sed -n '1,2p'
    echo "nvcc               $("${CUDACXX:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}" --version | sed -n 's/.*release [^,]*, V//p')"
    echo "architectures      $arch"
    echo "glibc              ${glibc#GLIBC_} or newer"
    echo "CUDA libraries     $( ((cuda_libs)) && echo "in lib/" || echo "not included: those of the target's toolkit (needed: $(readelf -d "$out/lib/libks.so" | sed -n 's/.*\[\(libcu[^]]*\)\].*/\1/p' | paste -sd' '))")"
    echo "NCCL               $( ((nccl)) && echo "in lib/" || echo "not included: that of the target, for ranks on several GPUs")"
    echo
    echo "bin/ksgrad doctor            what the machine offers"
    echo "scripts/gpu-check.sh         everything that is meant for a GPU; --help"
    echo
    (cd "$out" && find lib bin -type f -printf '%10s %p\n' | sort -k2)
} >"$out/BUNDLE.txt"

# Every library that anything in the folder asks for is in it, is glibc's, or is CUDA's and left out on purpose.
for f in "$out"/bin/* "$out"/lib/*; do
    for name in $(readelf -d "$f" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
        [ -e "$out/lib/$name" ] || [ -n "${system[${name%%.so*}]:-}" ] && continue
        [[ $name =~ $cuda_names ]] && ((!cuda_libs)) && continue
        echo "bundle: $f needs $name, which is not in lib/" >&2
        exit 1
    done
done
# Moved away and without this machine's variables it starts and computes; without CUDA's libraries only where they are.
if ((cuda_libs)) || [ -d /usr/local/cuda/lib64 ]; then
    moved=$(mktemp -d) && trap 'rm -rf "$moved"' EXIT
    cp -r "$out" "$moved/b"
    (cd / && env -i "$moved/b/bin/ksgrad" scf "$moved/b/share/ksgrad/water-512.npz" --frames 0 --grid 0 --backend cpu -q --json "$moved/e.json" >/dev/null)
    grep -q '"converged": true' "$moved/e.json" || { echo "bundle: the moved folder does not compute" >&2 && exit 1; }
fi
echo "bundle: $out, $(($(size "$out") / 1048576)) MiB, sm_$arch, glibc ${glibc#GLIBC_} or newer"
if ((tar)); then
    tar -C "$(dirname "$out")" -czf "$out.tar.gz" "$(basename "$out")"
    echo "bundle: $out.tar.gz, $(($(stat -c %s "$out.tar.gz") / 1048576)) MiB"
fi
