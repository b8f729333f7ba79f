#!/usr/bin/env bash
# Runs everything that is meant for a GPU, from a bundle (scripts/bundle.sh) or from a source tree with a CUDA build, and
# writes a log folder with STATUS.md in it: the tables of tests/gpu/STATUS.md, filled in.
#
#   scripts/gpu-check.sh [--section tests|sanitizer|compare|bench|all] [--minutes N] [--only REGEX] [--tools LIST]
#                        [--jobs N] [--build DIR] [--program FILE] [--output DIR] [--blank]
#
#   tests      the op tests on the GPU, among them NCCL with one rank (comm_one) and, on several GPUs, between ranks (comm)
#   sanitizer  the same under compute-sanitizer (memcheck, racecheck, initcheck, synccheck), and a small SCF and training
#   compare    SCF and 20 training steps, CPU against CUDA; the training twice, bit by bit
#   bench      times of the parts and of a training step: uracil, grid levels 1 and 3, refinements none and qpt, B = 1..128
#
#   --minutes N   stop in time: what does not fit is listed as "no time" (default 60). The sections are written so that the
#                 first minutes say most: ten give the op tests, the comparison, and the benchmark at B = 64
#   --only REGEX  of the op tests, those whose name matches
#   --tools LIST  of the sanitizers, e.g. memcheck,racecheck
#   --jobs N      op tests at a time, alone and under the sanitizers (default 4; benchmarks run alone)
#   --build DIR   build folder in a source tree (default build/cuda-release)
#   --program F   this ksgrad instead
#   --output DIR  default gpu-check
#   --blank       only write STATUS.md with nothing run
#
# Exit code: 0 all that ran passed, 1 something failed, 2 usage, 77 no usable GPU.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
section=all minutes=60 only=. tools=memcheck,racecheck,initcheck,synccheck jobs=4 build=$root/build/cuda-release program='' out=gpu-check blank=0
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
while (($#)); do
    case $1 in
    --section | --minutes | --only | --tools | --jobs | --build | --program | --output)
        (($# > 1)) || { usage >&2 && exit 2; }
        if [ "$1" = --output ]; then out=$2; else printf -v "${1#--}" %s "$2"; fi # variables named as the options
        shift
        ;;
    --blank) blank=1 ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done
[[ $section =~ ^(tests|sanitizer|compare|bench|all)$ && $minutes =~ ^[0-9]+$ && $jobs =~ ^[1-9][0-9]*$ ]] || { usage >&2 && exit 2; }
if [ -x "$root/bin/ksgrad" ]; then bin=$root/bin; else bin=$build; fi
bin=$(realpath -m "$bin")
[ -n "$program" ] || program=$bin/ksgrad
mkdir -p "$out/logs" || exit 2
out=$(cd "$out" && pwd)
program=$(realpath -m "$program")
results=$out/results.tsv # section, name, what, result, seconds, note
deadline=$((SECONDS + 60 * minutes))
cd "$root" || exit 2 # the tests look for their data here
export OMP_WAIT_POLICY=passive

names() { # of the op tests: those that are built, else (--blank) those of the source tree
    { ls "$bin" 2>/dev/null | sed -n 's/^cuda_test_//p' | grep . ||
        (cd "$root/tests" && ls ops/test_*.c gpu/test_*.c | sed 's/.*test_\(.*\)\.c$/\1/' | sort); } 2>/dev/null | grep -E "$only"
}
left() { echo $((deadline - SECONDS)); }
say() { printf '%6d s  %-10s %-34s %-10s %s\n' "$SECONDS" "$1" "$2 $3" "$4" "$6"; }
record() { # record SECTION NAME WHAT RESULT SECONDS NOTE
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$@" >>"$results"
    say "$@"
}
note_of() { # the line of a log that says most
    grep -E 'FAIL|SKIP|skipped|error:|========= (Invalid|Error|Race|Hazard|Uninit|Barrier|Program hit)|ERROR SUMMARY' "$1" | head -1 | tr '\t|' '  ' | cut -c1-110
}
# run SECTION NAME WHAT LIMIT COMMAND...: at most LIMIT seconds and what is left
run() {
    local sec=$1 name=$2 what=$3 limit=$4 rc t0 t1 log result
    shift 4
    log=$out/logs/$sec.$name.$what.log
    if (($(left) < 10)); then
        record "$sec" "$name" "$what" "no time" - ""
        return 1
    fi
    (($(left) < limit)) && limit=$(left)
    t0=$(date +%s.%N)
    timeout -k 5 "$limit" "$@" >"$log" 2>&1
    rc=$?
    t1=$(date +%s.%N)
    case $rc in
    0) result=pass ;;
    77) result=skipped ;;
    124 | 137) result=timeout ;;
    *) result=FAIL ;;
    esac
    if [ "$sec" = sanitizer ] && grep -qE 'Device not supported|Failed to initialize|Unable to find injection' "$log"; then result="not usable"; fi
    record "$sec" "$name" "$what" "$result" "$(awk -v a="$t0" -v b="$t1" 'BEGIN { printf "%.1f", b - a }')" "$([ "$result" = pass ] || note_of "$log")"
    [ "$result" = pass ]
}
queue() { # the same, `jobs` at a time
    while (($(jobs -rp | wc -l) >= jobs)); do wait -n; done
    run "$@" &
}

# ---- the four sections ----

do_tests() {
    for t in $(names); do queue tests "$t" cuda 180 "$bin/cuda_test_$t" cuda; done
    wait
}

small_inputs() {
    cat >"$out/mixed.yaml" <<YAML
version: 1
run: {name: run, dir: .}
data: {file: mixed.xyz, split: {method: index, sizes: [16, 4, 4]}}
method: {xc: b3lyp5, basis: def2-svp, grid: 0}
model: {d_model: 16, heads: 2, layers: 1, frame: bond}
refine: {kind: qpt}
optim: {lr: 1e-3, warmup: 1, steps: 20}
train: {batch: 4}
valid: {every: 20, frames: 4}
log: {every_steps: 1}
YAML
    awk 'function r(s) { return s * rand() }
        BEGIN { srand(7)
            for (f = 0; f < 12; f++) {
                printf "3\nwater %d\nO %.6f %.6f %.6f\n", f, r(0.05), r(0.05), 0.12 + r(0.03)
                printf "H %.6f %.6f %.6f\nH %.6f %.6f %.6f\n", r(0.05), 0.76 + r(0.06), -0.48 - r(0.06), r(0.05), -0.76 - r(0.06), -0.48 + r(0.06)
                printf "3\nHCN %d\nC %.6f %.6f %.6f\n", f, r(0.05), r(0.05), r(0.03)
                printf "N %.6f %.6f %.6f\nH %.6f %.6f %.6f\n", r(0.05), r(0.05), 1.15 + r(0.03), r(0.05), r(0.05), -1.06 - r(0.03) } }' >"$out/mixed.xyz"
    head -10 "$out/mixed.xyz" >"$out/pair.xyz"
}

do_sanitizer() {
    local cs tool t
    cs=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer /usr/local/cuda/compute-sanitizer/compute-sanitizer 2>/dev/null | head -1)
    if [ -z "$cs" ]; then
        record sanitizer all all "not usable" - "no compute-sanitizer on this machine"
        return
    fi
    small_inputs
    for tool in ${tools//,/ }; do
        local cmd=("$cs" --tool "$tool" --error-exitcode 9)
        for t in $(names); do queue sanitizer "$t" "$tool" 120 "${cmd[@]}" "$bin/cuda_test_$t" cuda; done
        queue sanitizer scf "$tool" 180 "${cmd[@]}" "$program" scf "$out/pair.xyz" --backend cuda --grid 0 --basis sto-3g
        queue sanitizer train "$tool" 300 "${cmd[@]}" "$program" train "$out/mixed.yaml" --backend cuda --set method.basis=sto-3g \
            --set optim.steps=2 --set valid.every=2 --set run.dir="$out" --set run.name="run_$tool" --resume never
        wait
    done
}

# values of a key in a JSON file with one key a line
values() { awk -v key="\"$2\":" '$1 == key { sub(/,$/, "", $2); print $2 }' "$1"; }
# column of the training rows of metrics.csv
column() { awk -F, -v c="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == c) k = i; next } $3 == "train" { print $k }' "$1/metrics.csv"; }
# differ FILE_A FILE_B LIMIT relative|absolute: prints the largest difference; fails above the limit, on NaN, words or other lengths
differ() {
    paste "$1" "$2" | awk -v limit="$3" -v how="$4" '
        NF != 2 || $1 !~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/ || $2 !~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/ { bad = 1 }
        { d = $1 - $2; if (d < 0) d = -d; s = $1 < 0 ? -$1 : $1
          if (how == "relative" && s > 0) d /= s
          if (d > worst) worst = d; n++ }
        END { printf "%d values, worst %.1e, limit %s\n", n, worst, limit; exit bad || !n || worst > limit + 0 }'
}
compare() { # compare NAME LIMIT relative|absolute: out/a against out/b
    local note result=pass
    note=$(differ "$out/a" "$out/b" "$2" "$3") || result=FAIL
    record compare "$1" cuda "$result" - "$note"
}

do_compare() {
    small_inputs
    local b molecule
    printf '3\nHCN\nC 0 0 0\nN 0 0 1.156\nH 0 0 -1.064\n' >"$out/hcn.xyz"
    # Tight tolerances: the difference left is that of rounding. 1e-9 Ha is 2e-12 of uracil's energy.
    for molecule in water "$out/hcn.xyz" uracil; do
        local name file args
        name=$(basename "$molecule" .xyz) file=$molecule args=(--grid 3)
        [ "$molecule" != water ] || { file=$root/datasets/water-512.npz && args=(--grid 3 --frames 0:8); }
        [ "$molecule" != uracil ] || { file=$root/datasets/uracil-512.npz && args=(--grid 1 --frames 0:4); }
        for b in cpu cuda; do
            run compare "scf-$name" "run-$b" 180 "$program" scf "$file" "${args[@]}" --conv 1e-11 --conv-grad 1e-8 --backend $b --json "$out/$name.$b.json" || continue 2
        done
        values "$out/$name.cpu.json" energy_Ha >"$out/a" && values "$out/$name.cuda.json" energy_Ha >"$out/b"
        compare "scf-$name: energy, Ha" 1e-9 absolute
        values "$out/$name.cpu.json" gap_eV >"$out/a" && values "$out/$name.cuda.json" gap_eV >"$out/b"
        compare "scf-$name: gap, eV" 1e-6 absolute
    done
    for b in cpu cuda again; do
        run compare train "run-$b" 180 "$program" train "$out/mixed.yaml" --backend "${b/again/cuda}" --set run.dir="$out" --set run.name="run_$b" --resume never || return
    done
    # Rounding at step 1; after 20 steps of a float network what it has grown to.
    column "$out/run_cpu" energy_Ha | head -1 >"$out/a" && column "$out/run_cuda" energy_Ha | head -1 >"$out/b"
    compare "train: energy of step 1, Ha" 1e-9 absolute
    column "$out/run_cpu" grad_norm | head -1 >"$out/a" && column "$out/run_cuda" grad_norm | head -1 >"$out/b"
    compare "train: gradient norm of step 1" 1e-5 relative
    column "$out/run_cpu" energy_Ha >"$out/a" && column "$out/run_cuda" energy_Ha >"$out/b"
    compare "train: energy of 20 steps, Ha" 1e-7 absolute
    for b in cuda again; do
        for c in loss energy_Ha grad_norm min_gap_Ha; do column "$out/run_$b" $c; done >"$out/bits_$b"
        "$program" info "$out/run_$b/ckpt/latest" | grep '^checksum ' >>"$out/bits_$b"
    done
    if [ "$(wc -l <"$out/bits_cuda")" -gt 80 ] && cmp -s "$out/bits_cuda" "$out/bits_again"; then
        record compare "train: two runs, bit by bit" cuda pass - "losses, gradients, checksums of the weights"
    else
        record compare "train: two runs, bit by bit" cuda FAIL - "see bits_cuda and bits_again"
    fi
}

bench() { # bench NAME LIMIT ARGUMENTS...: its JSON becomes rows
    local name=$1 limit=$2
    shift 2
    rm -f "$out/bench.$name.json"
    run bench "$name" run "$limit" "$program" bench "$@" --backend cuda --json "$out/bench.$name.json" || return
    awk -v name="$name" '
        function value() { sub(/^[^:]*: */, ""); sub(/,$/, ""); gsub(/"/, ""); return $0 }
        $1 == "\"op\":" { op = value() }
        $1 == "\"seconds\":" { t = value() }
        $1 == "\"gflops\":" { g = value() }
        $1 == "\"gbytes_per_s\":" { b = value() }
        $1 == "\"frames_per_s\":" { f = value() }
        $1 == "\"budget_share\":" { s = value()
            printf "rate\t%s\t%s\t%.3f\t%s\t%s\t%s\t%s\n", name, op, 1e3 * t, g, b, f, s }' "$out/bench.$name.json" >>"$results"
}

do_bench() {
    local level refine B
    bench train-level3-none-B64 120 train --grid 3 --frames 0:64 --set refine.kind=none
    bench ops-level3-B64 120 ops --grid 3 --frames 0:64
    for B in 64 128 32 8 1; do
        for level in 3 1; do
            for refine in none qpt; do
                [ "$level$refine$B" = 3none64 ] || bench "train-level$level-$refine-B$B" 120 train --grid "$level" --frames "0:$B" --set "refine.kind=$refine"
            done
        done
    done
    bench ops-level1-B64 120 ops --grid 1 --frames 0:64
    bench ops-level3-B1 120 ops --grid 3 --frames 0:1
    bench scf-level3-B64 240 scf --grid 3 --frames 0:64 --repeat 2
}

# ---- the table ----

write_status() {
    local commit gpu
    commit=$("$program" doctor 2>/dev/null | sed -n 's/^ksgrad .*(git \(.*\)).*/\1/p')
    gpu=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -1 | sed 's/, /, driver /')
    [ -n "$gpu" ] || gpu="GPU unnamed (no nvidia-smi)"
    awk -F'\t' -v names="$(names | paste -sd' ')" -v commit="$commit" -v gpu="$gpu" -v date="$(date -u +%F)" -v blank="$blank" '
        function cell(s, n, w) { return (s, n, w) in result ? result[s, n, w] : s == "tests" ? "not run on a GPU yet" : "not run" }
        function num(x, f) { return x ~ /^-?[0-9]/ ? sprintf(f, x) : "-" }
        $1 == "rate" { if (!(($2, $3) in row)) row[$2, $3] = ++n_rate; rate[row[$2, $3]] = $0; next }
        { if ($1 == "compare" && $3 == "cuda" && !(($1, $2, $3) in result)) order[++n_compare] = $2
          result[$1, $2, $3] = $4; seconds[$1, $2, $3] = $5; note[$1, $2, $3] = $6 }
        END {
            print "# What has run on a real GPU\n"
            print "Written by `scripts/gpu-check.sh`, whose output replaces this file; a change of an op'"'"'s `.cu` file empties its row. Without a GPU every"
            print "CUDA op passes its tests under the launcher (`op.<name>.emu`) and compiles without warnings for sm_80, sm_90 and sm_100, with the"
            print "registers and spills of [kernels.txt](kernels.txt). Neither shows speed, races between blocks or the behaviour of NVIDIA'"'"'s libraries.\n"
            if (blank) print "Not run on a GPU yet.\n"
            else print "Commit " commit ", " date ", " gpu ".\n"
            print "| op test | passes | seconds | memcheck | racecheck | initcheck | synccheck |"
            print "|---|---|---|---|---|---|---|"
            n = split(names, name, " ")
            for (i = 1; i <= n; i++)
                print "| `op." name[i] ".cuda` | " cell("tests", name[i], "cuda") " | " (("tests", name[i], "cuda") in seconds ? seconds["tests", name[i], "cuda"] : "-") " | " cell("sanitizer", name[i], "memcheck") " | " cell("sanitizer", name[i], "racecheck") " | " cell("sanitizer", name[i], "initcheck") " | " cell("sanitizer", name[i], "synccheck") " |"
            split("scf train", whole, " ")
            for (i = 1; i <= 2; i++) print "| `ksgrad " whole[i] "`, small | see below | - | " cell("sanitizer", whole[i], "memcheck") " | " cell("sanitizer", whole[i], "racecheck") " | " cell("sanitizer", whole[i], "initcheck") " | " cell("sanitizer", whole[i], "synccheck") " |"
            print "\n| CPU against CUDA | result | |"
            print "|---|---|---|"
            if (!n_compare) print "| SCF of water, HCN, uracil; 20 training steps; two equal runs | not run on a GPU yet | |"
            for (i = 1; i <= n_compare; i++) print "| " order[i] " | " cell("compare", order[i], "cuda") " | " note["compare", order[i], "cuda"] " |"
            print "\n| speed | part | ms | GFLOP/s | GB/s | molecules/s | share of the budget |"
            print "|---|---|---|---|---|---|---|"
            if (!n_rate) print "| uracil, levels 1 and 3, `none` and `qpt`, B = 1 to 128 | all | not measured | | | | |"
            for (i = 1; i <= n_rate; i++) { split(rate[i], v, "\t")
                print "| " v[2] " | " v[3] " | " v[4] " | " num(v[5], "%.0f") " | " num(v[6], "%.0f") " | " num(v[7], "%.1f") " | " num(v[8] * 100, "%.0f %%") " |" }
        }' "$results" >"$out/STATUS.md"
}

# A bundle without CUDA's libraries: those of the machine's toolkit, or of its Python packages.
lost() { ldd "$program" "$bin"/../lib/libks.so 2>/dev/null | awk '$2 == "=>" && $3 == "not" { print $1 }' | sort -u; }
for name in $(lost); do
    found=$(find /usr/local /usr/lib /opt "$HOME" -name "$name" 2>/dev/null | head -1)
    [ -z "$found" ] || export LD_LIBRARY_PATH="$(dirname "$found")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
done

touch "$results"
if ((blank)); then
    : >"$results"
    write_status
    echo "$out/STATUS.md"
    exit 0
fi
if [ -n "$(lost)" ]; then
    echo "gpu-check: not found on this machine: $(lost | paste -sd' '): set LD_LIBRARY_PATH" >&2
    exit 1
fi
"$program" doctor >"$out/doctor.txt" 2>&1 || { cat "$out/doctor.txt" && exit 1; }
if ! grep -qE '^backend +cuda,' "$out/doctor.txt"; then
    sed -n 's/^backend  *cuda: /SKIP: /p' "$out/doctor.txt"
    exit 77
fi
cat "$out/doctor.txt"
(nvidia-smi || true) >"$out/nvidia-smi.txt" 2>&1
case $section in
all)
    # Rows of earlier calls stay; a name that is run again replaces its row in the table.
    do_tests
    do_compare
    do_bench
    do_sanitizer
    ;;
*) "do_$section" ;;
esac
write_status
failed=$(awk -F'\t' '$1 != "rate" { r[$1, $2, $3] = $4 } END { for (k in r) n += r[k] == "FAIL" || r[k] == "timeout"; print n + 0 }' "$results")
missed=$(awk -F'\t' '{ r[$1, $2, $3] = $4 } END { for (k in r) n += r[k] == "no time" || r[k] == "not usable"; print n + 0 }' "$results")
ran=$(awk -F'\t' '{ r[$1, $2, $3] = $4 } END { for (k in r) n += r[k] == "pass"; print n + 0 }' "$results")
tar -C "$(dirname "$out")" -czf "$out.tar.gz" "$(basename "$out")"
echo "gpu-check: $ran passed, $failed failed, $missed not run; $out/STATUS.md, logs in $out/logs; all of it: $out.tar.gz"
((failed == 0))
