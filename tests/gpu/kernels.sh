#!/bin/bash
# Registers, stack, spills and static shared memory of every kernel, as ptxas reported them when the build folder was
# compiled (cuda/ptxas_log.sh), against the committed table tests/gpu/kernels.txt.
#
#   kernels.sh SOURCE BUILD            compares; exit 1 on a new spill or too many registers of a kernel in hot_kernels.txt
#   kernels.sh SOURCE BUILD --renew    writes the table of the architectures that BUILD was compiled for
#
# Changes of kernels that are not hot are printed and accepted. Exit 77: BUILD holds no report of nvcc.
set -u
src=$1 build=$2 mode=${3:-compare}
table=$src/tests/gpu/kernels.txt hot=$src/tests/gpu/hot_kernels.txt
logs=$build/CMakeFiles/ks_cuda_objects.dir
now=$(mktemp) && trap 'rm -f "$now"' EXIT

# One line per kernel and architecture: file kernel sm registers stack spilled shared
while IFS= read -r log; do
    file=${log#"$logs"/} file=${file%.o.ptxas}
    [ -f "$src/$file" ] || continue # of a source that is gone
    c++filt <"$log" | awk -v file="${file#cuda/}" '
        function name_of(s,   i, c, depth) { # without return type, template keyword and arguments
            sub(/^void /, "", s)
            gsub(/\(anonymous namespace\)::/, "", s)
            for (i = 1; i <= length(s); i++) {
                c = substr(s, i, 1)
                if (c == "<") depth++
                else if (c == ">") depth--
                else if (c == "(" && !depth) break
            }
            s = substr(s, 1, i - 1)
            gsub(/\([a-z_ ]+\)/, "", s) # casts of template arguments
            gsub(/ /, "", s)
            return s
        }
        /Compiling entry function/ {
            line = $0
            sub(/.*Compiling entry function ./, "", line)
            match(line, /.sm_[0-9]+[a-z]*.[^0-9a-z]*$/)
            sm = line
            sub(/.*sm_/, "", sm)
            sub(/[^0-9a-z].*$/, "", sm)
            sub(/. for .sm_[0-9]+.*$/, "", line)
            kernel = name_of(line)
            stack = spilled = 0
        }
        /stack frame/ && kernel != "" { stack = $1; spilled = $5 + $9 }
        /Used [0-9]+ registers/ && kernel != "" {
            shared = 0
            for (i = 2; i < NF; i++) if ($(i + 1) == "bytes" && $(i + 2) ~ /^smem/) shared = $i
            for (i = 2; i < NF; i++) if ($i == "Used") print file, kernel, sm, $(i + 1), stack, spilled, shared
            kernel = ""
        }'
done < <(find "$logs" -name '*.ptxas' 2>/dev/null | sort) | sort -k1,1 -k2,2 -k3,3n >"$now"
if [ ! -s "$now" ]; then
    echo "SKIP: $build holds no report of nvcc: build the preset cuda-release"
    exit 77
fi

if [ "$mode" = --renew ]; then
    nvcc=${CUDACXX:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
    {
        echo "# Per kernel and architecture: registers / bytes of stack / bytes spilled, stores and loads / bytes of static shared memory."
        echo "# Made by tests/gpu/kernels.sh SOURCE BUILD --renew; $("$nvcc" --version | sed -n 's/.*release [^,]*, V/nvcc /p')."
        awk '{ key = $1 " " $2; if (!(key in seen)) { seen[key] = 1; order[++n] = key }
               if (!($3 in arch)) { arch[$3] = 1; sms[++m] = $3 }
               cell[key, $3] = $4 "/" $5 "/" $6 "/" $7 }
             END { for (i = 1; i <= m; i++) for (j = i + 1; j <= m; j++) if (sms[i] + 0 > sms[j] + 0) { t = sms[i]; sms[i] = sms[j]; sms[j] = t }
                   line = sprintf("%-22s %-50s", "#file", "kernel")
                   for (i = 1; i <= m; i++) line = line sprintf(" sm_%-13s", sms[i])
                   sub(/ +$/, "", line)
                   print line
                   for (k = 1; k <= n; k++) { split(order[k], p, " ")
                       line = sprintf("%-22s %-50s", p[1], p[2])
                       for (i = 1; i <= m; i++) line = line sprintf(" %-16s", (order[k], sms[i]) in cell ? cell[order[k], sms[i]] : "-")
                       sub(/ +$/, "", line)
                       print line } }' "$now"
    } >"$table"
    echo "$table: $(grep -vc '^#' "$table") kernels"
    exit 0
fi

awk -v table="$table" -v hot="$hot" '
    function fail(text) { print "FAIL " text; bad++ }
    FILENAME == hot {
        sub(/#.*/, "")
        if (NF) { limit[$1] = $2; n_hot++ }
        next
    }
    FILENAME == table {
        if (/^#file/) for (i = 3; i <= NF; i++) { sms[i] = $i; sub(/sm_/, "", sms[i]) }
        if (/^#/ || !NF) next
        listed[$1 " " $2] = 1
        for (i = 3; i <= NF; i++) if (split($i, v, "/") == 4) { regs[$1, $2, sms[i]] = v[1]; spill[$1, $2, sms[i]] = v[3] }
        next
    }
    {
        base = $2
        sub(/<.*/, "", base)
        met[base] = 1
        there[$1 " " $2] = 1
        n++
        was = ($1, $2, $3) in regs
        what = "sm_" $3 " " $2 " (cuda/" $1 "): " $4 " registers, " $6 " bytes spilled, " $7 " bytes shared"
        if (base in limit) {
            checked++
            if ($6 > (was ? spill[$1, $2, $3] : 0)) fail(what "; hot, the table allows " (was ? spill[$1, $2, $3] : 0) " bytes of spills")
            else if (limit[base] > 0 && $4 > limit[base]) fail(what "; hot, hot_kernels.txt allows " limit[base] " registers")
            else if (was && $6 < spill[$1, $2, $3]) print "better: " what ", was " spill[$1, $2, $3] " bytes: renew the table"
        } else if (!was) {
            fresh++
        } else if ($6 > spill[$1, $2, $3] || $4 > regs[$1, $2, $3] + 8) {
            print "note: " what ", was " regs[$1, $2, $3] " registers, " spill[$1, $2, $3] " bytes spilled"
        }
    }
    END {
        for (k in limit) if (!(k in met)) fail("hot_kernels.txt lists " k ", which no file of cuda/ has")
        for (k in listed) if (!(k in there)) gone++
        if (fresh || gone) print "note: " fresh + 0 " kernels are not in the table, " gone + 0 " of it are gone: renew it"
        print n " kernels of all architectures, " checked + 0 " of them hot (" n_hot + 0 " names), " bad + 0 " failures"
        if (bad) print "When a change is meant: state its reason and cost in the .cu file, then\n  tests/gpu/kernels.sh SOURCE BUILD --renew"
        exit bad > 0
    }' "$hot" "$([ -f "$table" ] && echo "$table" || echo /dev/null)" "$now"
