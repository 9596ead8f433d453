#!/bin/bash
# A vault of which one volume is damaged: its database is told as failed, with the reason; the other one is as before.
. "$(dirname "$0")/../lib/world.sh"
world_enter 600M "$@"

vaultd_start() {
    rm -f "$work/vault.ready"
    "$bin/evercopy-vaultd" serve --config "$work/etc/vaultd.conf" --ready-file "$work/vault.ready" \
        2>>"$work/vaultd.log" </dev/null &
    vaultd_pid=$!
    world_own "$vaultd_pid"
    within 30 test -s "$work/vault.ready" || world_fail "the vault did not start: $(tail -n 3 "$work/vaultd.log")"
}
vaultd_stop() {
    kill "$vaultd_pid"
    within 30 gone "$vaultd_pid" || world_fail 'the vault did not stop'
    wait "$vaultd_pid" 2>/dev/null
}
# One byte of the journal of one of the two; which one it was, fsck of nobody knows.
flip() {
    journal=$(find "$work/box/v" -name journal | sort | head -n 1)
    printf '\x7f' | dd of="$journal" bs=1 seek=30 conv=notrunc status=none
}
closed() { shim boss status --json; ask "$out" "' '.join(r['database'] for r in d['databases'] if 'takes no changes' in r['cause'])"; }

both_volumes_are_well() {
    same "$(closed)" '' 'closed volumes'
}

the_damaged_one_is_told_with_its_reason_and_the_other_is_not() {
    agent_stop
    vaultd_stop
    cp -a "$work/box" "$work/box.whole"
    flip
    vaultd_start
    agent_start
    within 20 grep -q 'takes no changes' "$work/agent.log" || return 1
    bad=$(closed)
    case $bad in ONE | TWO) ;; *) saw "closed is '$bad'" || return 1 ;; esac
    shim boss status "$bad"
    says "$out" 'FAILED' && says "$out" "volume '$bad' takes no changes: .*journal" && says "$out" 'next: look at the disks of storage'
}

once_it_is_mended_nobody_speaks_of_it() {
    vaultd_stop
    rm -rf "$work/box" && mv "$work/box.whole" "$work/box"
    vaultd_start
    agent_stop
    agent_start
    within 20 grep -q 'takes changes again' "$work/agent.log" && same "$(closed)" '' 'closed volumes'
}

mkdir -p "$work/etc"
printf '[vault]\nbox = %s/box\nsocket = %s/vault.sock\n[store]\nurl = %s/store\n' "$work" "$work" "$work" >"$work/etc/vaultd.conf"
vaultd_start
agent_config ONE TWO | sed "s/^driver = reflink/driver = vault/; s|^root = .*|socket = $work/vault.sock|" >"$work/etc/evercopyd.conf"
world_begin ONE TWO
world_who boss admin ONE TWO
mkdir -p "$xfs/storage/volumes/ONE" "$xfs/storage/volumes/TWO" # where a host would mount them
database ONE
database TWO
{
    try both_volumes_are_well
    try the_damaged_one_is_told_with_its_reason_and_the_other_is_not
    try once_it_is_mended_nobody_speaks_of_it
} >"$work/said"
cat "$work/said"
vaultd_stop
world_end
