#!/bin/bash
# Rows of the vault as in run.sh, beside zstd, restic, borgbackup, casync on one scratch XFS, and beside XFS reflink
# and btrfs. Figures are of this machine: look at the ratios. Seconds end when the bytes are on disk, for all of them.
#   tests/bench/vault.sh BUILD_DIR [MIB]
# shellcheck disable=SC2317 # peers are called by their names
set -u
cd "$(dirname "$0")/../.." || exit 1
build=$1
mib=${2:-1536}
if [ "${3:-}" != inside ]; then
    row() { (IFS=$'\t'; printf '%s\n' "$*"); }
    [ "$(id -u)" = 0 ] || { row vault 'SKIPPED (needs root)' - - - -; exit 0; }
    dir=$(mktemp -d "${TMPDIR:-/tmp}/evercopy-vault-bench.XXXXXX")
    trap 'rm -rf "$dir"' EXIT
    timeout 420 tests/lib/in-scratch-xfs.sh 24G "$dir/xfs" "$0" "$build" "$mib" inside "$dir/xfs"
    status=$?
    [ "$status" != 77 ] || { row vault 'SKIPPED (no scratch XFS can be mounted here)' - - - -; exit 0; }
    [ "$status" != 124 ] || echo 'bench: vault.sh took more than seven minutes' >&2
    exit "$status"
fi
xfs=$4
status=0
bench=$build/tests/bench/bench_vault
gen=$build/tests/bench/gen_blocks
tell() { echo "bench: $1" >&2; status=1; }
row() { (IFS=$'\t'; printf '%s\n' "$*"); }
calc() { awk "BEGIN {printf \"$1\", $2}"; }
disk_of() { sync -f "$xfs" && du -s -B1 "$@" | awk '{n += $1} END {print n}'; } # blocks, as df counts
bytes_of() { du -sb --exclude=reserve "$@" | awk '{n += $1} END {print n}'; } # without the room kept for deleting
# versus NAME OURS UNIT PEER THEIRS FLOOR: ratio is how many times better ours is
versus() { row "$1" "$2 $3" "$4" "$5 $3" "$(calc %.2f "$5 / ($2 + 1e-9)")" "$6"; }

# measure NAME COMMAND...: wall and cpu seconds of it and of what it left to be written
declare -A wall cpu stored
measure() {
    local name=$1 times
    shift
    sync -f "$xfs"
    TIMEFORMAT='%R %U %S'
    # shellcheck disable=SC2016
    times=$({ time sh -c '"$@" >/dev/null 2>&1 && sync -f "$0"' "$xfs" "$@"; } 2>&1) || return 1
    read -r _ user system <<<"$times"
    wall[$name]=${times%% *} cpu[$name]=$(calc %.2f "$user + $system")
}
# ours VERB ARGUMENT...: its figures, in $figures
ours() {
    if ! figures=$(timeout 120 "$bench" "$@" 2>"$xfs/error"); then
        tell "bench_vault $1 failed: $(head -n 1 "$xfs/error")"
        figures=
        return 1
    fi
}
# Whether there is time left for a part; what is left out is said aloud.
has_time() {
    [ "$SECONDS" -lt 330 ] || { row "$1" 'SKIPPED (this machine is too slow or too busy)' - - - -; return 1; }
}
figure() { sed -nE "s/^$1 //p" <<<"$figures"; }

data=$xfs/data
"$gen" make "$data" $((mib << 20)) 1 || exit 1
sync -f "$xfs"
cat "$data" >/dev/null
echo "# vault: $mib MiB of Oracle-like datafiles, zstd -1 makes them $(calc %.2f "$(stat -c %s "$data") / $(zstd -1 -q -c "$data" | wc -c)") times smaller"

# ---- first run and next snapshot ----
export RESTIC_PASSWORD=bench RESTIC_CACHE_DIR=$xfs/restic-cache BORG_BASE_DIR=$xfs/borg-base
export BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
zstd_run() { measure "zstd_$1" zstd -1 -q -f "$data" -o "$xfs/data.zst"; }
zstd_T2_run() { measure "zstd_T2_$1" zstd -1 -T2 -q -f "$data" -o "$xfs/data2.zst"; }
restic_run() { measure "restic_$1" restic -q -r "$xfs/restic" backup "$data"; }
borg_run() { measure "borg_$1" borg create "$xfs/borg::$1" "$data"; }
casync_run() { measure "casync_$1" casync make --store="$xfs/casync" "$xfs/$1.caibx" "$data"; }
cp_run() { measure "cp_$1" cp --reflink=never "$data" "$xfs/copy"; }
peers=(zstd zstd_T2)
if command -v restic >/dev/null && restic -q -r "$xfs/restic" init >/dev/null 2>&1; then peers+=(restic); fi
if command -v borg >/dev/null && borg init -e none "$xfs/borg" >/dev/null 2>&1; then peers+=(borg); fi
if command -v casync >/dev/null && mkdir "$xfs/casync"; then peers+=(casync); fi
for peer in restic borg casync; do
    [[ " ${peers[*]} " = *" $peer "* ]] || row "vault_first_cpu.vs_$peer" "SKIPPED (no $peer here)" - - - -
done

for peer in "${peers[@]}" cp; do "${peer}_run" first || tell "$peer failed"; done
rm -f "$xfs/copy"
mkdir "$xfs/v"
ours ingest "$xfs/v" "$data" || exit 1
first_cpu=$(figure cpu_s) first_wall=$(figure wall_s) peak=$(figure peak_mib)
echo "# vault first run: written in $(figure write_s) s, snapshot $(figure snapshot_s) s, sealed after $(figure seal_s) s"
for name in restic borg casync; do [ ! -d "$xfs/$name" ] || stored[$name]=$(bytes_of "$xfs/$name"); done
stored[ours]=$(bytes_of "$xfs/v/store")
for peer in "${peers[@]}"; do
    floor=- wall_floor=-
    case $peer in zstd) floor='0.67 x' wall_floor='0.67 x' ;; restic) floor='2.5 x' ;; esac
    versus "vault_first_cpu.vs_$peer" "$first_cpu" s "$peer" "${cpu[${peer}_first]}" "$floor"
    versus "vault_first_wall.vs_$peer" "$first_wall" s "$peer" "${wall[${peer}_first]}" "$wall_floor"
done
# What is written lands on the box before it is compressed: the same by hand is cp, then zstd.
versus vault_first_cpu.vs_cp_and_zstd "$first_cpu" s 'cp, zstd' "$(calc %.2f "${cpu[cp_first]} + ${cpu[zstd_first]}")" -
versus vault_first_wall.vs_cp_and_zstd "$first_wall" s 'cp, zstd' "$(calc %.3f "${wall[cp_first]} + ${wall[zstd_first]}")" -
ours hash "$data" && row vault_first_cpu.hash "$(figure cpu_s) s" - - - -
row vault_first_stored "$(calc %.1f "${stored[ours]} / 1e6") MB" 'zstd -1' "$(calc %.1f "$(stat -c %s "$xfs/data.zst") / 1e6") MB" \
    "$(calc %.2f "$(stat -c %s "$xfs/data.zst") / ${stored[ours]}")" -
row vault_reserve "$(calc %.1f "$(du -sb "$xfs/v/store/reserve" | cut -f1) / 1e6") MB" - - - -
row vault_load_memory "$peak MiB" - - - '256 MiB'

"$gen" change "$data" 2 77 "$xfs/list" || exit 1
changed=$(($(wc -l <"$xfs/list") * 8192))
ours next "$xfs/v" "$data" "$xfs/list" s2 || exit 1
next_cpu=$(figure cpu_s) next_wall=$(figure wall_s)
more=$(($(bytes_of "$xfs/v/store") - stored[ours]))
row vault_next_stored "$(calc %.2f "$more / 1e6") MB" 'bytes changed' "$(calc %.2f "$changed / 1e6") MB" "$(calc %.2f "$changed / $more")" '2 x'
for peer in "${peers[@]}"; do
    case $peer in zstd*) continue ;; restic) floor='50 x' ;; *) floor=- ;; esac
    has_time "vault_next_cpu.vs_$peer" || continue
    "${peer}_run" second || { tell "$peer failed the second time"; continue; }
    versus "vault_next_cpu.vs_$peer" "$next_cpu" s "$peer" "${cpu[${peer}_second]}" "$floor"
    versus "vault_next_wall.vs_$peer" "$next_wall" s "$peer" "${wall[${peer}_second]}" -
    versus "vault_next_stored.vs_$peer" "$(calc %.2f "$more / 1e6")" MB "$peer" \
        "$(calc %.2f "($(bytes_of "$xfs/$peer") - ${stored[$peer]}) / 1e6")" -
done
# ---- looking after a store: everything read and compared, rows alone, a second store ----
printf '[vault]\nbox = %s\nsocket = %s\n[store]\nurl = %s\n' "$xfs/v/box" "$xfs/none" "$xfs/v/store" >"$xfs/tools.conf"
tool() { measure "$@" --config "$xfs/tools.conf" || tell "evercopy-vaultd $3 failed"; }
stored_gb() { calc %.3f "$(bytes_of "$1") / 1e9 / ($2 + 1e-9)"; }
if [ -x "$build/evercopy-vaultd" ] && has_time vault_scrub; then
    vaultd=$build/evercopy-vaultd
    tool scrub "$vaultd" scrub
    tool fsck "$vaultd" fsck
    tool sync "$vaultd" sync "$xfs/far"
    tool sync_again "$vaultd" sync "$xfs/far"
    measure sync_cp cp -r --reflink=never "$xfs/v/store" "$xfs/copy"
    rm -rf "$xfs/copy"
    if [ -d "$xfs/restic" ]; then
        measure restic_scrub restic -q -r "$xfs/restic" check --read-data || tell 'restic check failed'
        measure restic_fsck restic -q -r "$xfs/restic" check || tell 'restic check failed'
        theirs=$(stored_gb "$xfs/restic" "${wall[restic_scrub]}")
        mine=$(stored_gb "$xfs/v/store" "${wall[scrub]}")
        row vault_scrub "$mine GB/s" 'restic check --read-data' "$theirs GB/s" "$(calc %.2f "$mine / $theirs")" -
        versus vault_scrub_cpu "${cpu[scrub]}" s 'restic check --read-data' "${cpu[restic_scrub]}" -
        versus vault_fsck "${wall[fsck]}" s 'restic check' "${wall[restic_fsck]}" -
        versus vault_fsck_cpu "${cpu[fsck]}" s 'restic check' "${cpu[restic_fsck]}" -
    else
        row vault_scrub "$(stored_gb "$xfs/v/store" "${wall[scrub]}") GB/s" cpu "${cpu[scrub]} s" - -
        row vault_fsck "${wall[fsck]} s" cpu "${cpu[fsck]} s" - -
    fi
    row vault_sync "$(stored_gb "$xfs/v/store" "${wall[sync]}") GB/s" cp "$(stored_gb "$xfs/v/store" "${wall[sync_cp]}") GB/s" \
        "$(calc %.2f "${wall[sync_cp]} / ${wall[sync]}")" -
    row vault_sync_cpu "${cpu[sync]} s" cp "${cpu[sync_cp]} s" - -
    row vault_sync.nothing_new "${wall[sync_again]} s" cpu "${cpu[sync_again]} s" - -
    rm -rf "$xfs/far"
fi

rm -rf "$xfs/restic" "$xfs/restic-cache" "$xfs/borg" "$xfs/borg-base" "$xfs/casync" "$xfs/data2.zst"

# ---- reading ----
"$bench" cat "$xfs/v" s2 2>/dev/null | cmp -s - "$data" || tell 'what is read from the snapshot differs from what was written'
zstd -1 -q -f "$data" -o "$xfs/data.zst"
# median3 COMMAND...: of three rounds of something that prints seconds
median3() { for _ in 1 2 3; do "$@"; done | sort -g | sed -n 2p; }
read_ours() { ours read "$xfs/v" s2 && figure wall_s; }
read_zstd() { measure d zstd -d -q -f -c "$xfs/data.zst" && echo "${wall[d]}"; }
gb() { calc %.3f "$(stat -c %s "$data") / 1e9 / $1"; }
if has_time vault_read; then
    reading=$(gb "$(median3 read_ours)") peer=$(gb "$(median3 read_zstd)")
    row vault_read "$reading GB/s" 'zstd -d' "$peer GB/s" "$(calc %.2f "$reading / $peer")" '0.8 x'
fi
if ours random "$xfs/v" s2 2000; then
    row vault_random_read.decompressed "$(figure random_kib) KiB" p99 "$(figure random_kib_p99) KiB" - '128 KiB'
    row vault_random_read.decompressed_with_read_ahead "$(figure random_kib_with_ahead) KiB" - - - -
    row vault_random_read.median "$(figure random_us) us" - - - -
    row vault_random_read.p99 "$(figure random_us_p99) us" - - - -
fi

# ---- clones ----
before=$(disk_of "$xfs/v/store" "$xfs/v/box")
if ours clones "$xfs/v" s2 1000; then
    row vault_clone "$(figure clone_ms) ms" p99 "$(figure clone_ms_p99) ms" - '5 ms'
    row vault_clone.of_1000 "$(figure clone_last_ms) ms" 'the first hundred' "$(figure clone_first_ms) ms" \
        "$(calc %.2f "$(figure clone_first_ms) / ($(figure clone_last_ms) + 1e-9)")" -
    row vault_clone.stored "$(calc %.1f "($(disk_of "$xfs/v/store" "$xfs/v/box") - $before) / 1000 / 1024") KiB" - - - '64 KiB'
    row vault_clone.cpu "$(figure clone_cpu_ms) ms" - - - -
    row vault_clone.memory "$(figure clone_memory_kib) KiB" - - - -
fi

# ---- the daemon, idle over that store ----
idle_of() { # BOX STORE
    local pid kib=0
    printf '[vault]\nbox = %s\nsocket = %s\n[store]\nurl = %s\n' "$1" "$xfs/sock" "$2" >"$xfs/vaultd.conf"
    rm -f "$xfs/ready"
    "$build/evercopy-vaultd" serve --config "$xfs/vaultd.conf" --ready-file "$xfs/ready" >/dev/null 2>&1 </dev/null &
    pid=$!
    for _ in $(seq 300); do
        [ ! -s "$xfs/ready" ] || break
        read -r -t 0.1 <> <(:) || true
    done
    kib=$(awk '/^VmRSS/ {print $2}' "/proc/$pid/status")
    kill "$pid"
    wait "$pid" 2>/dev/null
    [ -s "$xfs/ready" ] && calc %.1f "${kib:-0} / 1024"
}
mkdir -p "$xfs/empty/store"
if [ -x "$build/evercopy-vaultd" ] && idle=$(idle_of "$xfs/empty/box" "$xfs/empty/store") &&
    full=$(idle_of "$xfs/v/box" "$xfs/v/store"); then
    row vault_idle_memory "$idle MiB" - - - '16 MiB'
    row vault_idle_memory.with_1000_clones "$full MiB" - - - '16 MiB'
else
    row vault_idle_memory 'SKIPPED (no evercopy-vaultd)' - - - '16 MiB'
fi
rm -rf "$xfs/v"

# ---- what a writer of 8 KiB notices of a snapshot ----
pause_row() { # NAME BYTES RECORDS KIND ROUNDS
    has_time "vault_pause.$1" || return
    rm -rf "$xfs/p"
    mkdir "$xfs/p"
    ours pause "$xfs/p" "$2" "$3" "$4" "$5" || return
    row "vault_pause.$1" "$(figure pause_ms) ms" p99 "$(figure pause_ms_p99) ms" - '5 ms'
    row "vault_held.$1" "$(figure held_ms) ms" p99 "$(figure held_ms_p99) ms" - '5 ms'
    row "vault_durable.$1" "$(figure durable_ms) ms" p99 "$(figure durable_ms_p99) ms" - '100 ms'
}
pause_row 1MiB $((1 << 20)) 0 zeros 100
pause_row 1GiB $((1 << 30)) 0 zeros 100
pause_row 1TiB $((1 << 40)) 0 zeros 100
pause_row 1TiB.100k_changed $((1 << 40)) 100000 data 3
pause_row 1TiB.1M_changed $((1 << 40)) 1000000 zeros 5
rm -rf "$xfs/p"

# ---- deleting one of a thousand ----
mkdir "$xfs/a"
if has_time vault_drop && ours drop "$xfs/a" 1000; then
    row vault_snapshot_and_seal.64_changed "$(figure snapshot_and_seal_ms) ms" cpu "$(figure snapshot_and_seal_cpu_ms) ms" - -
    for size in small large; do
        case $size in small) freed=64 ;; large) freed=12800 ;; esac
        row "vault_drop.one_of_$(figure snapshots).${freed}_records" "$(figure "drop_${size}_ms") ms" cpu "$(figure "drop_${size}_cpu_ms") ms" - -
        row "vault_drop.one_of_$(figure snapshots).${freed}_records.reads" \
            "$(figure "drop_${size}_reads") ($(figure "drop_${size}_read_kib") KiB)" - - - -
        row "vault_drop.one_of_$(figure snapshots).${freed}_records.memory" "$(figure "drop_${size}_memory_mib") MiB" - - - '64 MiB'
    done
fi
rm -rf "$xfs/a"

# ---- growth: 512 records changed in a sparse file that is larger and larger ----
declare -A grow
for gib in 1 16 256 1024; do
    rm -rf "$xfs/g"
    mkdir "$xfs/g"
    if ! has_time "vault_grow.${gib}GiB" || ! ours grow "$xfs/g" $((gib << 30)); then continue; fi
    grow[$gib]=$(figure grow_cpu_ms) grow[m$gib]=$(figure grow_peak_mib)
    row "vault_grow.${gib}GiB" "$(figure grow_ms) ms" cpu "$(figure grow_cpu_ms) ms" - -
done
rm -rf "$xfs/g"
if [ -n "${grow[1024]:-}" ]; then
    row vault_grow.cpu_slope "$(calc %.2f "${grow[1024]} - ${grow[1]}") ms/TiB" - - - -
    row vault_grow.memory_slope "$(calc %.2f "${grow[m1024]} - ${grow[m1]}") MiB/TiB" - - - -
fi

# ---- file systems that share extents: half of the blocks scattered, then a snapshot; 2 % more, what that costs ----
used() { df --output=used -B1 "$1" | tail -n 1; }
ms_of() {
    local begun=$EPOCHREALTIME
    "$@" && calc %.1f "($EPOCHREALTIME - $begun) * 1000"
}
shared() { # NAME DIRECTORY SNAPSHOT-COMMAND DELETE-COMMAND
    local name=$1 dir=$2 take=$3 drop=$4 first second before more
    mkdir "$dir/live" 2>/dev/null
    head -c 512M "$data" >"$dir/live/data" && "$take" "$dir" 1 && "$gen" change "$dir/live/data" 50 5 && sync -f "$dir" || return 1
    first=$(ms_of "$take" "$dir" 2) && sync -f "$dir"
    before=$(used "$dir")
    "$gen" change "$dir/live/data" 2 6 "$xfs/list" && sync -f "$dir"
    more=$(($(used "$dir") - before))
    changed=$(($(wc -l <"$xfs/list") * 8192))
    second=$(ms_of "$drop" "$dir" 1)
    row "peer_$name.snapshot" "$first ms" - - - -
    row "peer_$name.pinned_per_byte_changed" "$(calc %.2f "$more / $changed")" - - - -
    row "peer_$name.delete" "$second ms" - - - -
}
xfs_take() { cp --reflink=always "$1/live/data" "$1/s$2" && sync -f "$1/s$2"; }
xfs_drop() { rm "$1/s$2" && sync -f "$1"; }
btrfs_take() { btrfs -q subvolume snapshot -r "$1/live" "$1/s$2" >/dev/null && sync -f "$1"; }
btrfs_drop() { btrfs -q subvolume delete -c "$1/s$2" >/dev/null && btrfs subvolume sync "$1" >/dev/null; }
mkdir "$xfs/x" && has_time peer_xfs_reflink && shared xfs_reflink "$xfs/x" xfs_take xfs_drop
rm -rf "$xfs/x"
truncate -s 8G "$xfs/btrfs" && mkdir "$xfs/b"
if ! has_time peer_btrfs; then
    :
elif command -v mkfs.btrfs >/dev/null && mkfs.btrfs -q "$xfs/btrfs" >/dev/null 2>&1 && mount -o loop "$xfs/btrfs" "$xfs/b" 2>/dev/null; then
    btrfs -q subvolume create "$xfs/b/live" >/dev/null && shared btrfs "$xfs/b" btrfs_take btrfs_drop
    umount "$xfs/b"
else
    row peer_btrfs 'SKIPPED (no btrfs can be mounted here)' - - - -
fi
exit "$status"
