#!/bin/bash
# The figures of reading over NFS, in a network and mounts of its own (run.sh sees to it): GB/s, the median
# of seven alternating runs. "read1" and "read2" read and drop over so many connections, as "cat" does
# (nfs-cat into nothing); "copy" and "cp" (nfs-cp) write into memory too; "verify" checks every block; "put" makes
# an object of a store on the server, committed piece by piece, and "put_cp" (nfs-cp) a file there.
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
ours() { "$build/tests/bench/bench_area_nfs" "$url$place" "$file" 1 "$@" >/dev/null; }
cat_peer() { nfs-cat "$url/$file$place" >/dev/null; }
cp_peer() { rm -f "$dir/copy.cp" && nfs-cp "$url/$file$place" "$dir/copy.cp" >/dev/null; }
put() { "$build/tests/bench/bench_io" "$url/store$place" "$dir/area/$file"; }
put_peer() { nfs-cp "$dir/area/$file" "$url/put.cp$place" >/dev/null && rm -f "$dir/area/put.cp"; }
copy() { rm -f "$dir/copy.ours" && ours 2 "$dir/copy.ours"; }
# Mounting, opening and the program's own start count for all alike.
run() {
    local name=$1 start=$EPOCHREALTIME
    shift
    "$@" || exit 1
    awk -v a="$start" -v b="$EPOCHREALTIME" -v n="$bytes" -v name="$name" 'BEGIN {printf "%s %.3f\n", name, n / 1e9 / (b - a)}'
}
for i in 0 1 2 3 4 5 6 7; do
    [ "$i" != 1 ] || : >"$dir/runs" # the first ones warm up
    {
        run read1 ours 1 read
        run cat cat_peer
        run read2 ours 2 read
        run cp cp_peer
        run copy copy
        run verify ours 2 verify
        run put put
        run put_cp put_peer
    } >>"$dir/runs"
done
for name in read1 read2 cat copy cp verify put put_cp; do
    echo "$name $(sed -n "s/^$name //p" "$dir/runs" | sort -g | sed -n 4p)"
done
