#!/bin/bash
# Rows of the vault's NFS server as in run.sh, beside nfs-ganesha (FSAL_VFS) and beside a plain folder exported by our own
# server ("plain": what the protocol costs without the store), on one scratch XFS, in turns; medians of three.
#   tests/bench/nfs.sh BUILD_DIR
set -u
cd "$(dirname "$0")/../.." || exit 1
build=$1
row() { (IFS=$'\t'; printf '%s\n' "$*"); }
if [ "${2:-}" != inside ]; then
    skip() { row vault_nfs "SKIPPED ($1)" - - - -; exit 0; }
    [ "$(id -u)" = 0 ] || skip 'needs root'
    PATH=$PATH:/usr/sbin:/sbin
    command -v ganesha.nfsd rpcbind >/dev/null || skip 'no nfs-ganesha'
    dir=$(mktemp -d "${TMPDIR:-/tmp}/evercopy-nfs-bench.XXXXXX")
    trap 'rm -rf "$dir"' EXIT
    timeout 300 tests/lib/in-scratch-xfs.sh 12G "$dir/xfs" unshare -n "$0" "$build" inside "$dir/xfs"
    status=$?
    [ "$status" != 77 ] || skip 'no scratch XFS can be mounted here'
    [ "$status" != 124 ] || echo 'bench: nfs.sh took more than five minutes' >&2
    exit "$status"
fi
xfs=$3
seconds=${EVERCOPY_BENCH_SECONDS:-1.5}
ip link set lo up
load=$build/tests/bench/bench_nfs_load
tell() { echo "bench: nfs.sh: $1" >&2; }
die() { tell "$1"; exit 1; }
calc() { awk "BEGIN {printf \"$1\", $2}"; }
median() { sort -g | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

# ---- three servers ----
mkdir -p "$xfs/plain" "$xfs/vault/store"
head -c 256M /dev/urandom >"$xfs/plain/data" && head -c 32M "$xfs/plain/data" >"$xfs/plain/warm" || exit 1
coproc GANESHA { exec tests/lib/ganesha.sh "$xfs/plain" 2>/dev/null; }
echo start >&"${GANESHA[1]}"
read -r -t 30 answer <&"${GANESHA[0]}"
[ "$answer" = up ] || die "ganesha: $answer"
ganesha_in=${GANESHA[1]} # bash forgets the first coprocess when the second begins
{ coproc PLAIN { exec "$build/tests/bench/bench_nfsd" plain "$xfs/plain" 2>"$xfs/plain.log"; }; } 2>/dev/null
read -r -t 10 plain_port <&"${PLAIN[0]}" || die "$(tail -n 1 "$xfs/plain.log")"
plain_in=${PLAIN[1]} plain_out=${PLAIN[0]}
{ coproc VAULT { exec "$build/tests/bench/bench_nfsd" vault "$xfs/vault" 2>"$xfs/vault.log"; }; } 2>/dev/null
read -r -t 10 vault_port <&"${VAULT[0]}" || die "$(tail -n 1 "$xfs/vault.log")"
vault_in=${VAULT[1]} vault_out=${VAULT[0]}
for comm in /proc/[0-9]*/comm; do
    ganesha_pid=${comm//[!0-9]/}
    [ "$(cat "$comm" 2>/dev/null)" = ganesha.nfsd ] &&
        [ "$(readlink "/proc/$ganesha_pid/ns/net")" = "$(readlink /proc/self/ns/net)" ] && break
done
ask_plain() { echo "$*" >&"$plain_in" && read -r answer <&"$plain_out" && echo "$answer"; }
ask_vault() { echo "$*" >&"$vault_in" && read -r answer <&"$vault_out" && echo "$answer"; }
ask_vault fill data 256 >/dev/null || die 'the volume cannot be filled'
ask_vault fill warm 32 >/dev/null || die 'the volume cannot be filled'
cpu_us() { # of a server, so far
    case $1 in
    ganesha) awk -v hz="$(getconf CLK_TCK)" '{sub(/.*\) /, ""); print ($12 + $13) * 1e6 / hz}' "/proc/$ganesha_pid/stat" ;;
    plain) ask_plain cpu ;;
    *) ask_vault cpu ;;
    esac
}
place() { # of a server: ports and export
    case $1 in
    ganesha) echo "20491 20492 $xfs/plain" ;;
    plain) echo "$plain_port $plain_port /plain" ;;
    vault) echo "$vault_port $vault_port /db" ;;
    clone) echo "$vault_port $vault_port /db/warm" ;;
    esac
}

# turn NAME SERVERS FILE LOAD...: three turns of each; "NAME SERVER ops p50 p99 MiB cpu-us" into $xfs/figures
turn() {
    local name=$1 servers=$2 file=$3 server before after ops p50 p99 mib calls errors
    shift 3
    for _ in 1 2 3; do
        for server in $servers; do
            sync -f "$xfs"
            before=$(cpu_us "$server")
            # shellcheck disable=SC2046 # words
            read -r ops p50 p99 mib calls errors < <("$load" $(place "$server") "$file" "$@") || die "$name on $server"
            after=$(cpu_us "$server")
            [ "$errors" = 0 ] || die "$name on $server: $errors errors"
            echo "$name $server $ops $p50 $p99 $mib $(calc %.2f "($after - $before) / $calls")" >>"$xfs/figures"
        done
    done
}
figure() { awk -v name="$1" -v server="$2" -v at="$3" '$1 == name && $2 == server {print $(at + 2)}' "$xfs/figures" | median; }
# versus ROW NAME AT UNIT OURS PEER FLOOR [less]: the ratio says how many times better ours is
versus() {
    local ours theirs ratio
    ours=$(figure "$2" "$5" "$3") theirs=$(figure "$2" "$6" "$3")
    if [ "${8:-}" = less ]; then ratio="$theirs / $ours"; else ratio="$ours / $theirs"; fi
    row "$1" "$ours $4" "$6" "$theirs $4" "$(calc %.2f "$ratio")" "$7"
}
OPS=1 P50=2 MIB=4 CPU=5
turn read8k 'vault plain ganesha' data read 8192 4 16 "$seconds"
turn read1 'vault plain ganesha' data read 8192 1 1 "$seconds"
turn write8k 'vault plain ganesha' data write 8192 4 16 "$seconds"
turn read1m 'vault plain ganesha' data read 1048576 1 4 "$seconds" seq
turn write1m 'vault plain ganesha' data write 1048576 1 4 "$seconds" seq
versus vault_nfs_read_8k read8k $OPS op/s vault ganesha '3.0 x'
versus vault_nfs_read_8k.plain read8k $OPS op/s vault plain -
versus vault_nfs_read_8k_cpu read8k $CPU 'us/call' vault ganesha '6 us' less
versus vault_nfs_write_8k write8k $OPS op/s vault ganesha '2.0 x'
versus vault_nfs_write_8k.plain write8k $OPS op/s vault plain -
versus vault_nfs_write_8k_cpu.plain write8k $CPU 'us/call' vault plain - less
versus vault_nfs_write_8k_cpu write8k $CPU 'us/call' vault ganesha - less
versus vault_nfs_read_1m read1m $MIB MiB/s vault ganesha '1.0 x'
versus vault_nfs_read_1m_cpu read1m $CPU us/MiB vault ganesha - less
versus vault_nfs_read_1m.plain read1m $MIB MiB/s vault plain '0.83 x'
versus vault_nfs_write_1m write1m $MIB MiB/s vault ganesha '1.0 x'
versus vault_nfs_write_1m_cpu write1m $CPU us/MiB vault ganesha - less
versus vault_nfs_write_1m.plain write1m $MIB MiB/s vault plain '0.83 x'
versus vault_nfs_latency_p50 read1 $P50 us vault ganesha '1.67 x' less
versus vault_nfs_latency_p50.plain read1 $P50 us plain ganesha - less

# ---- a sealed clone: cold, then all of it in the cache ----
ask_vault snapshot s1 >/dev/null || die 'the snapshot was not sealed'
ask_vault clone warm s1 >/dev/null || die 'no clone'
sync -f "$xfs"
find "$xfs/vault/store" -type f -exec dd of={} oflag=nocache conv=notrunc count=0 status=none \;
read -r ops p50 _ < <("$load" "$vault_port" "$vault_port" /db/warm data read 8192 4 16 "$seconds") || die 'clone, cold'
row vault_nfs_clone_cold "$ops op/s" 'p50 us' "$p50" - -
"$load" "$vault_port" "$vault_port" /db/warm warm read 1048576 1 4 1 seq >/dev/null || die 'clone'
turn warm 'clone plain' warm read 8192 4 16 "$seconds"
versus vault_nfs_clone_warm.plain warm $OPS op/s clone plain '0.77 x'
versus vault_nfs_clone_warm_cpu.plain warm $CPU 'us/call' clone plain '0.77 x' less

# ---- a clone to its first byte ----
for i in 1 2 3 4 5; do
    made=$(ask_vault clone "first$i" s1) || die 'no clone'
    first=$("$load" "$vault_port" "$vault_port" "/db/first$i" data first) || die 'first byte'
    calc '%.2f\n' "$made + $first"
done >"$xfs/first"
row vault_nfs_clone_first_byte "$(median <"$xfs/first") ms" - - - '20 ms'

# ---- idle connections ----
before=$(ask_vault rss)
{ coproc IDLE { exec "$load" "$vault_port" "$vault_port" /db data idle 1000; }; } 2>/dev/null
idle_in=${IDLE[1]}
read -r -t 20 answer <&"${IDLE[0]}" || die 'idle connections'
row vault_nfs_idle_1000 "$(calc %.1f "($(ask_vault rss) - $before) / 1024") MiB" - - - '32 MiB'
exec {idle_in}>&- {ganesha_in}>&- {plain_in}>&- {vault_in}>&-
wait

# ---- the daemon itself: idle connections after work, and its memory under the worst that one address may do ----
printf '%s\n' '[vault]' "box = $xfs/vault/box" "socket = $xfs/sock" 'nfslisten = 127.0.0.1' 'rpcbind = no' '[store]' \
    "url = $xfs/vault/store" '[export db]' 'clients = 127.0.0.0/8' 'squash = none' >"$xfs/vaultd.conf"
"$build/evercopy-vaultd" serve --config "$xfs/vaultd.conf" --ready-file "$xfs/ready" --port-file "$xfs/port" \
    </dev/null >"$xfs/vaultd.log" 2>&1 &
vaultd=$!
trap 'kill "$vaultd" 2>/dev/null' EXIT
for _ in $(seq 300); do
    [ ! -s "$xfs/ready" ] || break
    read -r -t 0.1 <> <(:) || true
done
port=$(cat "$xfs/port") || die "$(tail -n 1 "$xfs/vaultd.log")"
memory() { calc %.1f "$(awk -v key="$1:" '$1 == key {print $2}' "/proc/$vaultd/status") / 1024"; }
for part in 'read 1048576 250 4' 'read 8192 250 16' 'write 8192 250 16' 'write 1048576 250 4'; do
    # shellcheck disable=SC2086 # words
    read -r _ _ _ _ calls errors < <("$load" "$port" "$port" /db data $part "$seconds")
    [ "${calls:-0}" -gt 0 ] || die "evercopy-vaultd under load: $part"
done
# A thousand MiB asked for at once is more than the stock of buffers: they wait for one another, and none is cut.
row vault_nfs_load_memory "$(memory VmHWM) MiB" '250 connections (cap 1024) cut' "$errors" - '256 MiB'
row vault_nfs_memory_after_load "$(memory VmRSS) MiB" - - - -
trap - EXIT
kill "$vaultd"
wait "$vaultd" || die "evercopy-vaultd: $(tail -n 1 "$xfs/vaultd.log")"
exit 0
