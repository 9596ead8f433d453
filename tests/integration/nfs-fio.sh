#!/bin/bash
# fio, by its own nfs engine, writes what it can verify to an area over NFS and reads it back: random and in
# order, many at once, with snapshots, clones and seals meanwhile, and over kills of the server.
# Its engine neither makes files nor waits for its last calls when they are fewer than its depth: so files are
# there before, what must be whole is written one call at a time by sixteen jobs, and KiB moved are counted.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
[ -n "${EVERCOPY_LONG:-}" ] || world_skip_all 'builds fio with its nfs engine; make test-long'
world_plain "$@"
fio=$("$here/tests/lib/fio_nfs.sh" "$here/build/fio") || world_skip_all "${fio#SKIPPED }"
. "$here/tests/lib/vault_host.sh"
vault_config 'layer = 32M'
vault_up
vault_ask() { timeout 120 "$bin/tests/kernel/ask" "$work/vault/sock" "$@" >"$out" 2>"$err" || saw "$1: $(cat "$err")"; }
vault_ask volume.create name=ORCL || world_fail "no volume: $seen"
truncate -s 48m "$work/zeros"
for name in random large uneven deep killed; do
    nfs-cp "$work/zeros" "nfs://127.0.0.1/ORCL/$name?nfsport=$vault_port&mountport=$vault_port&version=3" >/dev/null ||
        world_fail "no file '$name'"
done
all=$((48 << 10)) # KiB

# job NAME EXPORT MOVED OPTION...: one fio that read or wrote so many KiB and found nothing wrong.
job() {
    local name=$1 export=$2 moved=$3 kib
    shift 3
    (cd "$work" && exec timeout -k 5 400 "$fio" --name="$name" --ioengine=nfs --thread --verify=crc32c --verify_fatal=1 \
        --verify_state_save=0 --group_reporting --minimal --output="$work/$name.fio" \
        --nfs_url="nfs://127.0.0.1$export?nfsport=$vault_port&mountport=$vault_port&version=3&autoreconnect=-1" "$@") \
        >"$work/$name.said" 2>&1 && ! grep -q 'verify: bad\|Failed to open' "$work/$name.said" ||
        { saw "fio $name: $(grep -m 1 'verify: bad\|Failed' "$work/$name.said")"; return 1; }
    kib=$(grep '^[0-9]*;' "$work/$name.fio" | cut -d';' -f"$(case $name in *written) echo 47 ;; *) echo 6 ;; esac)")
    [ "${kib:-0}" -ge "$moved" ] || saw "fio $name moved $kib KiB of $moved: $(head -n 1 "$work/$name.said")"
}
sixteen="--numjobs=16 --size=3m --offset_increment=3m --iodepth=1"
written() { job "$1.written" /ORCL "$all" --filename="$1" --do_verify=0 "${@:2}"; }
reads() { job "$1.read" "${export:-/ORCL}" "$all" --filename="$1" --verify_only=1 "${@:2}"; }
there_and_back() { written "$@" && reads "$@"; }

# shellcheck disable=SC2086 # words
random_blocks_come_back() { there_and_back random --rw=randwrite --bs=8k $sixteen; }
# shellcheck disable=SC2086
large_ones_in_order_come_back() { there_and_back large --rw=write --bs=1m $sixteen; }
# shellcheck disable=SC2086
uneven_sizes_come_back() { all=$((47 << 10)) there_and_back uneven --rw=randwrite --bsrange=512-64k --bs_unaligned=1 --randseed="$seed" $sixteen; }
# The referee: other numbers than were written are other bytes.
# shellcheck disable=SC2086
what_was_not_written_is_told() {
    ! reads uneven --rw=randwrite --bsrange=512-64k --bs_unaligned=1 --randseed="$((seed + 1))" $sixteen || { saw 'fio found nothing wrong'; return 1; }
    [[ $seen == *'verify: bad'* ]]
}
deep_queues_read_what_was_written() {
    job deep.read /ORCL $((all - 16 * 8)) --filename=random --rw=randread --bs=8k --iodepth=16 --size=48m --do_verify=0
}
deep_queues_read_back_what_they_write() {
    job deep /ORCL $((10 << 10)) --filename=deep --rw=randrw --rwmixread=40 --bs=8k --iodepth=16 --size=48m --do_verify=0 --verify_backlog=256
}
# What fio wrote before the snapshot is in its clone, whatever it writes to the area afterwards.
# shellcheck disable=SC2086
a_clone_of_what_it_wrote_is_whole_while_it_writes_on() {
    local writer status over="--rw=randwrite --bs=8k --verify_pattern=0xdeadbeef --verify=pattern"
    vault_ask snapshot.create 'volumes[]=ORCL' name=before && vault_ask clone.create volume=ORCL snapshot=before name=c || return 1
    written random $over $sixteen &
    writer=$!
    export=/ORCL/c reads random --rw=randwrite --bs=8k $sixteen
    status=$?
    wait "$writer" || saw 'the writer failed'
    [ $status = 0 ] && vault_ask snapshot.wait volume=ORCL name=before && says "$out" '"sealed": true' || return 1
    export=/ORCL/c reads random --rw=randwrite --bs=8k $sixteen && reads random $over $sixteen
}
# shellcheck disable=SC2086
a_clone_takes_writes_of_its_own() {
    local own="--rw=randwrite --bs=8k --verify_pattern=0xfeed --verify=pattern $sixteen"
    job own.written /ORCL/c "$all" --filename=large --do_verify=0 $own && export=/ORCL/c reads large $own && reads large --rw=write --bs=1m $sixteen
}
# Calls are sent again until they are answered; what the killed server had not made durable is what it told.
kills_of_the_server_are_but_a_pause() {
    local writer i
    job killed.written /ORCL $((5 * all)) --filename=killed --rw=randwrite --bs=8k --iodepth=1 --size=48m --loops=5 --do_verify=0 --rate=24m &
    writer=$!
    for i in 1 2 3; do
        within 2 gone "$writer" && break
        vault_crash
        vault_up
    done
    ! gone "$writer" || { saw "fio ended before the third kill"; return 1; }
    wait "$writer"
}
lane_fio() {
    seed=${EVERCOPY_SEED:-$RANDOM$RANDOM}
    echo "# EVERCOPY_SEED=$seed"
    try random_blocks_come_back
    try large_ones_in_order_come_back
    try uneven_sizes_come_back
    try what_was_not_written_is_told
    try deep_queues_read_what_was_written
    try deep_queues_read_back_what_they_write
    try a_clone_of_what_it_wrote_is_whole_while_it_writes_on
    try a_clone_takes_writes_of_its_own
    try kills_of_the_server_are_but_a_pause
}
world_lanes lane_fio
vault_stop
world_end
