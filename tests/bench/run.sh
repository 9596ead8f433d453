#!/bin/bash
# Prints the figures, a row each: name, ours, peer, peer's value, times better, aim; tabs between. The last lines say
# which aims were missed.
#   tests/bench/run.sh BUILD_DIR
set -u
cd "$(dirname "$0")/../.."
build=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/evercopy-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
status=0
rows=$work/rows
exec 3>&1 > >(tee "$rows")
told=$!
tell() { echo "bench: $1" >&2; }
row() { (IFS=$'\t'; printf '%s\n' "$*"); }
skip() { row "$1" "SKIPPED ($2)" - - - "$3"; }
median() { sort -g | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
# Seconds of a command, the median of five after one to warm up.
seconds_of() {
    local i
    "$@" >/dev/null || return 1
    for i in 1 2 3 4 5; do
        local start=$EPOCHREALTIME
        "$@" >/dev/null
        awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN {printf "%.6f\n", b - a}'
    done | median
}
calc() { awk "BEGIN {printf \"$1\", $2}"; }
sim() { "$build/oracle-sim" "$1" --home "$work/ora" --sid BENCH "${@:2}" >/dev/null; }

cpu=$(sed -nE 's/^model name[^:]*: (.*)/\1/p' /proc/cpuinfo | head -n 1)
echo "# machine: ${cpu:-$(uname -m)}, $(nproc) cores, kernel $(uname -r), load $(cut -d' ' -f1 /proc/loadavg)"

# ---- a database: small files, one of nearly 1 GiB (larger than any cache), one long log ----
mkdir "$work/db"
if ! { sim create --dbdir "$work/db" --blocks 160 --log-blocks 600000 &&
    sim add-file --blocks 130000 && sim work --changes 60000 && sim switch; }; then
    tell 'the simulator could not make a database'
    exit 1
fi
largest() { find "$work/db" -name "$1" -type f -printf '%s\t%p\n' | sort -n | tail -n 1; }
IFS=$'\t' read -r data_bytes data < <(largest '*.dbf')
IFS=$'\t' read -r log_bytes log < <(largest '*.arc')

# The peers read the same bytes, warm in the page cache; ours has them in memory, so both are CPU.
if figures=$("$build/tests/bench/bench_block" "$data" "$log"); then
    ours=$(sed -nE 's/^block_verify_gbs //p' <<<"$figures")
    for peer in 'xxhsum -H2' cksum; do
        name=block_verify.vs_${peer%% *}
        # shellcheck disable=SC2086 # the peer's option is a word of its own
        if command -v "${peer%% *}" >/dev/null && spent=$(seconds_of $peer "$data"); then
            theirs=$(calc %.2f "$data_bytes / $spent / 1e9")
            row "$name" "$ours GB/s" "$peer" "$theirs GB/s" "$(calc %.2f "$ours / $theirs")" '3 GB/s'
        else
            row "$name" "$ours GB/s" "$peer" 'not here' - '3 GB/s'
        fi
    done
    echo "# log_check: a log of $(calc %.1f "$log_bytes / 1048576") MiB, again and again to 256 MiB"
    row log_check "$(sed -nE 's/^log_check_gbs //p' <<<"$figures") GB/s" - - - -
else
    tell 'bench_block failed'
    status=1
fi
rm -f "$data"

# ---- a datafile of 256 MiB over NFS: read and dropped beside nfs-cat; copied into memory, and to the server, beside nfs-cp ----
if [ "$(id -u)" != 0 ] || ! command -v ganesha.nfsd nfs-cat nfs-cp >/dev/null; then
    skip area_nfs_read 'needs root, nfs-ganesha, libnfs-utils' '1.0 x'
elif figures=$(unshare -n -m --propagation private tests/bench/area-nfs.sh "$build"); then
    nfs_figure() { sed -nE "s/^$1 //p" <<<"$figures"; }
    nfs_row() { # NAME OURS PEER PEER'S-WORDS [FLOOR]
        local ours theirs
        ours=$(nfs_figure "$2") theirs=$(nfs_figure "$3")
        row "$1" "$ours GB/s" "$4, same ganesha" "$theirs GB/s" "$(calc %.2f "$ours / $theirs")" "${5:-1.0 x}"
    }
    nfs_row area_nfs_read.contexts_1 read1 cat 'nfs-cat, dropped too'
    nfs_row area_nfs_read.contexts_2 read2 cat 'nfs-cat, dropped too'
    nfs_row area_nfs_copy copy cp 'nfs-cp into memory too'
    nfs_row vault_io_nfs_put put put_cp 'nfs-cp to the server, not committed' '0.8 x'
    row area_nfs_verify "$(nfs_figure verify) GB/s" - - - -
else
    skip area_nfs_read "${figures:-area-nfs.sh failed}" '1.0 x'
fi

# ---- 10,000 genuine files: the simulator's own, linked; each link is opened and read as a file ----
tree=$work/tree
mkdir "$tree"
mapfile -t genuine < <(find "$work/db" -type f -size +1 -size -4096k \( -name '*.dbf' -o -name '*.arc' -o -name '*.ctl' \) | sort)
count=0
while [ "$count" -lt 10000 ]; do
    dir=$tree/$((count / 500))
    mkdir "$dir"
    for i in $(seq 500); do
        from=${genuine[$((i % ${#genuine[@]}))]}
        printf '%s\0%s\0' "$from" "$dir/$i.${from##*.}"
    done | xargs -0 -n 2 -P 2 ln || exit 1
    count=$((count + 500))
done
if figures=$("$build/tests/bench/bench_manifest" "$tree" 5); then
    ours=$(sed -nE 's/^manifest_s //p' <<<"$figures")
    theirs=$(seconds_of find "$tree" -type f -size +1)
    row "manifest_$(sed -nE 's/^manifest_files //p' <<<"$figures")" "$ours s" 'find -size' \
        "$(calc %.3f "$theirs") s" "$(calc %.3f "$theirs / $ours")" -
else
    tell 'bench_manifest failed'
    status=1
fi
rm -rf "$tree"

# ---- the vault's packs, beside zstd on the same 256 MiB ----
cpu_and_wall_of() { # the medians of five, after one to warm up
    local i TIMEFORMAT='%U %S %R'
    "$@" >/dev/null || return 1
    for i in 1 2 3 4 5; do { time "$@" >/dev/null; } 2>&1; done >"$work/times"
    echo "$(awk '{print $1 + $2}' "$work/times" | median) $(awk '{print $3}' "$work/times" | median)"
}
if figures=$("$build/tests/bench/bench_vault_pack" "$work/blocks" 256 "$work/store") && command -v zstd >/dev/null; then
    vault_figure() { sed -nE "s/^$1 //p" <<<"$figures"; }
    vault_row() { row "$1" "$2 $4" "$3" "$5 $4" "$(calc %.2f "$5 / $2")" "$6"; }
    read -r peer_cpu _ < <(cpu_and_wall_of zstd -1 -q -c "$work/blocks")
    zstd -1 -q "$work/blocks" -o "$work/blocks.zst"
    read -r peer_read_cpu peer_wall < <(cpu_and_wall_of zstd -d -q -c "$work/blocks.zst")
    vault_row vault_press "$(vault_figure press_cpu)" 'zstd -1' 's CPU' "$peer_cpu" '0.8 x'
    vault_row vault_press_and_hash "$(vault_figure press_hash_cpu)" 'zstd -1' 's CPU' "$peer_cpu" '0.67 x'
    vault_row vault_pack_bytes "$(vault_figure stored)" 'zstd -1' bytes "$(stat -c %s "$work/blocks.zst")" '0.95 x'
    vault_row vault_read_in_order "$(vault_figure read_ahead_wall)" 'zstd -d' s "$peer_wall" '0.8 x'
    vault_row vault_read_cpu "$(vault_figure read_ahead_cpu)" 'zstd -d' 's CPU' "$peer_read_cpu" '0.8 x'
    vault_row vault_read_one_thread "$(vault_figure read_alone_wall)" 'zstd -d' s "$peer_wall" '-'
else
    skip vault_press 'bench_vault_pack failed, or no program zstd' '0.8 x'
fi
rm -rf "$work/blocks" "$work/blocks.zst" "$work/store"

# ---- RPC beside libgrpc++ ----
tests/bench/rpc.sh "$build" || status=1

# ---- status of a thousand databases, through agent and shim ----
if [ "$(id -u)" != 0 ]; then
    skip status_1000 'needs root' '0.100 s'
elif timeout 120 tests/bench/status.sh "$build" >"$work/status" 2>&1 && grep -q '^status_1000_warm' "$work/status"; then
    figure() { sed -nE "s/^status_1000_$1 //p" "$work/status"; }
    row status_1000 "$(figure warm) s" - - - '0.100 s'
    row status_1000_agent_cpu "$(figure agent_ms) ms" - - - -
    row status_1000_cold "$(figure cold) s" - - - -
    row status_1000_rss "$(figure vmrss) KiB" - - - -
else
    tell "status.sh failed: $(tail -n 1 "$work/status")"
    status=1
fi

# ---- connections, and the shim ----
"$PWD/tests/bench/net.sh" "$build" || { tell 'net.sh failed'; status=1; }
if resident=$(timeout 120 tests/bench/shim.sh "$build"); then
    case $resident in
    SKIPPED*) skip shim_resident_in_a_run "$(sed -nE '1s/^SKIPPED [^:]*: //p' <<<"$resident")" '6 MiB' ;;
    *) echo "$resident" ;;
    esac
else
    tell 'shim.sh failed'
    status=1
fi

# ---- the audit: what a change waits for, alone and with 64 others ----
if figures=$("$build/tests/bench/bench_audit" "$work/audit"); then
    for name in audit_lines_alone audit_lines_grouped audit_verify; do
        row "$name" "$(sed -nE "s/^$name //p" <<<"$figures") lines/s" - - - -
    done
else
    tell 'bench_audit failed'
    status=1
fi

# ---- the vault: a map of a 1 TiB file that aged 50 generations, 2 % of its records changed in each ----
if figures=$("$build/tests/bench/bench_vault_map"); then
    map_figure() { sed -nE "s/^map_$1 //p" <<<"$figures"; }
    row vault_map_nodes "$(map_figure nodes_s) nodes/s of CPU" - - - -
    row vault_map_update "$(map_figure update_us_per_record) us CPU/changed record" - - - -
    row vault_map_bytes_first "$(map_figure first_bytes_per_record) bytes/record" - - - -
    row vault_map_bytes_aged "$(map_figure bytes_per_record) bytes/changed record" - - - -
    row vault_map_items "$(map_figure items_young_s) items/s of CPU" - - - -
else
    tell 'bench_vault_map failed'
    status=1
fi

# ---- what a call of a volume costs beside pread and pwrite of a plain file beside it: 8 KiB at random, four threads ----
mkdir "$work/view"
if figures=$(timeout 60 "$build/tests/bench/bench_vault_view" "$work/view" 256 1); then
    view_figure() { sed -nE "s/^$1 //p" <<<"$figures"; }
    view_row() { # NAME OURS PEER FLOOR
        row "vault_call.$1" "$(view_figure "$1_4_cpu_us") us CPU" "$2" "$(view_figure "$2_4_cpu_us") us CPU" \
            "$(calc %.2f "$(view_figure "$2_4_cpu_us") / $(view_figure "$1_4_cpu_us")")" "$3"
        row "vault_call.$1.a_second" "$(view_figure "$1_4_s") calls/s" "$2" "$(view_figure "$2_4_s") calls/s" \
            "$(calc %.2f "$(view_figure "$1_4_s") / $(view_figure "$2_4_s")")" -
    }
    view_row live_read plain_read -
    view_row live_write plain_write -
    view_row sealed_read plain_read -
else
    tell 'bench_vault_view failed'
    status=1
fi
rm -rf "$work/view"

# ---- an ingest that finds nothing changed, beside reading and XXH3 of the same 512 MiB ----
mkdir "$work/ingest"
if figures=$(timeout 60 "$build/tests/bench/bench_ingest" "$work/ingest" 512); then
    scan_figure() { sed -nE "s/^$1 //p" <<<"$figures"; }
    scan_row() { row "$1" "$2 $4" 'read and XXH3' "$3 $4" "$(calc %.2f "$3 / $2")" '0.67 x'; }
    scan_row vault_scan_unchanged_cpu "$(scan_figure scan_cpu_ms)" "$(scan_figure hash_cpu_ms)" 'ms CPU'
    scan_row vault_scan_unchanged_wall "$(scan_figure scan_ms)" "$(scan_figure hash_ms)" ms
else
    tell 'bench_ingest failed'
    status=1
fi
rm -rf "$work/ingest"

# ---- a run's log: all but a million lines that waited, from the spool to the agent ----
if [ "$(id -u)" != 0 ]; then
    skip log_upload 'needs root' -
elif figures=$(timeout 120 tests/bench/log-upload.sh "$build" 2>/dev/null) && grep -q log_upload_agent <<<"$figures"; then
    row log_upload "$(sed -nE 's/^log_upload_lines_s //p' <<<"$figures") lines/s" - - - -
    row log_upload_shim_rss "$(calc %.1f "$(sed -nE 's/^log_upload_shim_kib //p' <<<"$figures") / 1024") MiB" - - - '6 MiB'
    row log_upload_agent_rss "$(calc %.1f "$(sed -nE 's/^log_upload_agent_kib ([0-9]+).*/\1/p' <<<"$figures") / 1024") MiB" - - - '12 MiB'
else
    skip log_upload "$(grep -m 1 SKIPPED <<<"$figures" || echo 'it failed')" -
fi

# ---- the vault beside zstd, restic, borgbackup, casync, reflink and btrfs ----
tests/bench/vault.sh "$build" || status=1

# ---- its NFS server beside nfs-ganesha, and beside a plain folder ----
tests/bench/nfs.sh "$build" || { tell 'nfs.sh failed'; status=1; }

# ---- the main job ----
if [ "$(id -u)" != 0 ]; then
    skip demo 'needs root' '120 s'
else
    start=$EPOCHREALTIME
    if timeout 150 tests/demo/demo.sh "$build" >"$work/demo.log" 2>&1; then
        row demo "$(calc %.1f "$EPOCHREALTIME - $start") s" - - - '120 s'
    else
        why=$(grep -m 1 -E '^(demo:|SKIPPED)' "$work/demo.log" || echo 'no reason given')
        skip demo "$why" '120 s'
        case $why in SKIPPED*) ;; *) status=1 ;; esac
    fi
fi

for program in evercopy evercopyd; do
    strip -o "$work/$program" "$build/$program"
    row "size_$program" "$(stat -c %s "$work/$program") bytes" - - - -
done
exec >&3
wait "$told"
awk -f tests/bench/aims.awk "$rows"
exit "$status"
