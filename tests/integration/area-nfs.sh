#!/bin/bash
# The agent reads its areas back through a real NFS server (storage option `reader`): the same verdicts
# as over the directory, also while the server dies; while it stays away it is named and waited for.
# shellcheck source=tests/lib/world.sh disable=SC2154
if [ -z "${EVERCOPY_OWN_NET:-}" ] && [ "$(id -u)" = 0 ] && unshare -n true 2>/dev/null; then
    EVERCOPY_OWN_NET=1 exec unshare -n "$0" "$@"
fi
. "$(dirname "$0")/../lib/world.sh"
world_enter 2G "$@"
PATH=$PATH:/usr/sbin:/sbin
if [ -n "${EVERCOPY_OWN_NET:-}" ]; then ip link set lo up; fi

# ---- the server ----

coproc NFS { exec "$here/tests/lib/ganesha.sh" "$xfs/storage" 2>/dev/null; }
exec {nfs_to}>&"${NFS[1]}" {nfs_from}<&"${NFS[0]}"
nfs_tell() {
    local answer=
    echo "$1" >&"$nfs_to"
    read -r -t 30 -u "$nfs_from" answer
    case $answer in SKIPPED*) world_skip_all "${answer#SKIPPED }" ;; esac
    [ "$answer" = "$2" ]
}
nfs_tell start up || world_skip_all "no NFS server"
reader="nfs://127.0.0.1$xfs/storage?version=3&nfsport=20491&mountport=20492&timeout=2"
agent_config ORCL | sed "s|^root = .*|&\nreader = ${reader//&/\\&}|" >"$work/etc/evercopyd.conf"
world_begin ORCL

# ---- the days ----

a_run_is_green_and_read_back_through_nfs() {
    backup ORCL
    exits 0 && first_line '^OK ORCL: recoverable to SCN [0-9]+' && says "$out" '4 new copies'
}
what_was_read_is_restored() {
    local scn
    work ORCL
    scn=$(scn_of ORCL)
    work ORCL
    backup ORCL
    exits 0 && restores_to ORCL "$scn" --scn "$scn"
}
# Killed and started again from the run's beginning to its end.
a_run_is_green_while_the_server_is_killed() {
    local run kills=0
    work ORCL
    backup ORCL &
    run=$!
    while ! gone "$run" && [ "$kills" -lt 40 ]; do
        nfs_tell kill down && nfs_tell start up || { saw "the server did not come back"; return 1; }
        kills=$((kills + 1))
        pause
    done
    wait "$run"
    code=$?
    exits 0 && [ "$kills" -gt 1 ] || saw "$kills kills; $(head -n 1 "$err")"
}
waits_for_the_server() { grep -q "waiting for the agent.*nfs server '127.0.0.1'" "$out"; }
a_run_says_who_is_away_and_goes_on_when_it_is_back() {
    local run
    nfs_tell kill down
    work ORCL
    : >"$out"
    backup ORCL &
    run=$!
    within 30 waits_for_the_server || saw "it does not wait: $(tail -n 3 "$out" | tr '\n' '|')"
    local waited=$?
    nfs_tell start up || { saw "the server did not come back"; return 1; }
    wait "$run"
    code=$?
    [ "$waited" = 0 ] && exits 0 && first_line '^OK ORCL: '
}
a_damaged_block_is_seen_through_nfs() {
    local copy
    copy=$(find "$area/ORCL" -name 'data_*' -size +300k | sort | head -n 1)
    [ -n "$copy" ] || { saw "no copy: $(find "$area/ORCL" | head -n 20 | tr '\n' ' ')"; return 1; }
    printf 'spoiled' | dd of="$copy" bs=1 seek=$((8192 * 30 + 4000)) conv=notrunc status=none
    backup ORCL
    exits 161 && never_says "$err" '^OK'
}
days() {
    database ORCL
    try a_run_is_green_and_read_back_through_nfs
    try what_was_read_is_restored
    try a_run_is_green_while_the_server_is_killed
    try a_run_says_who_is_away_and_goes_on_when_it_is_back
    try a_damaged_block_is_seen_through_nfs
}
world_lanes days
world_end
