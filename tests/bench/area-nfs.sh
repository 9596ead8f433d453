#!/bin/bash
# The figures of reading over NFS, in a network and mounts of its own (run.sh sees to it): GB/s as the
# median of five. "read1" and "read2" copied with so many connections, "peer" for nfs-cp, "only" not copied, "verify" with every
# block checked.
#   area-nfs.sh BUILD_DIR
set -u
build=$1
dir=$(mktemp -d "${TMPDIR:-/tmp}/evercopy-nfs-bench.XXXXXX")
trap 'umount -l "$dir"; rmdir "$dir"' EXIT
mount -t tmpfs none "$dir" && mkdir "$dir/area" || exit 1
sim() { "$build/oracle-sim" "$1" --home "$dir/ora" --sid NFS "${@:2}" >/dev/null; }
sim create --dbdir "$dir/area" --blocks 160 && sim add-file --blocks 32768 || exit 1
file=$(find "$dir/area" -type f -size +200M -printf '%P\n' | head -n 1)
bytes=$(stat -c %s "$dir/area/$file")

coproc NFS { exec tests/lib/ganesha.sh "$dir/area" 2>/dev/null; }
echo start >&"${NFS[1]}"
read -r -t 30 answer <&"${NFS[0]}"
if [ "$answer" != up ]; then
    echo "$answer"
    exit 1
fi
place="?version=3&nfsport=20491&mountport=20492"
url=nfs://127.0.0.1$dir/area
for contexts in 1 2; do
    echo "read$contexts $("$build/tests/bench/bench_area_nfs" "$url$place" "$file" 5 "$contexts" "$dir/copy")"
done
echo "only $("$build/tests/bench/bench_area_nfs" "$url$place" "$file" 5 2 /dev/null)"
echo "verify $("$build/tests/bench/bench_area_nfs" "$url$place" "$file" 5 2 verify)"
for i in 0 1 2 3 4 5; do
    rm -f "$dir/copy"
    start=$EPOCHREALTIME
    nfs-cp "$url/$file$place" "$dir/copy" >/dev/null || exit 1
    [ "$i" = 0 ] || awk -v a="$start" -v b="$EPOCHREALTIME" -v n="$bytes" 'BEGIN {printf "%.3f\n", n / 1e9 / (b - a)}'
done | sort -g | awk '{v[NR] = $1} END {print "peer", v[3]}'
