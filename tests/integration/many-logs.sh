#!/bin/bash
# An area with many archived logs: neither their list nor their text fits into one message, their recipe into
# one page, and all the same the run, the window and the restore go through. 5,200 logs (EVERCOPY_LOGS: more),
# in make test-long only.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_enter 3G "$@"
[ -n "${EVERCOPY_LONG:-}" ] || world_skip_all 'takes minutes; make test-long'
count=${EVERCOPY_LOGS:-5200}

the_run_copies_and_counts_them_all() {
    shim_timeout=900 backup ORCL
    exits 0 && first_line '^OK ORCL: ' || return 1
    shim operator snapshots ORCL --json || return 1
    logs=$(ask "$out" 'd["snapshots"][-1]["logs"]')
    [ "$logs" -ge "$count" ] || saw "$logs logs in the snapshot"
}
their_manifest_is_longer_than_a_message_and_the_next_run_reads_it() {
    local bytes
    bytes=$(python3 -c 'import sqlite3,sys; print(sqlite3.connect(sys.argv[1]).execute("SELECT max(length(manifest)) FROM snapshot").fetchone()[0])' "$work/state/catalog.sqlite")
    [ "$bytes" -gt $((4 << 20)) ] || saw "the manifest has $bytes bytes" || return 1
    sim ORCL add-file --blocks 100 >/dev/null
    work ORCL
    shim_timeout=900 backup ORCL
    exits 0 && first_line '^OK ORCL: '
}
the_window_is_one() {
    shim operator window ORCL --json && same "$(ask "$out" 'len(d["intervals"])')" 1 intervals
}
lists_come_in_pages() {
    shim operator jobs --limit 3 --json && same "$(ask "$out" 'len(d["jobs"])')" 3 jobs
}
world_verify=headers world_agent ORCL
sim ORCL create --dbdir "$work/prod/ORCL" --db-name ORCL --unique-name ORCL --files 2 --blocks 200 --log-blocks 16 \
    --churn 0 >"$work/ORCL.create" 2>&1 || world_fail "create: $(cat "$work/ORCL.create")"
world_who host-ORCL dbhost ORCL
shim host-ORCL setup ORCL --apply || world_fail "setup: $(cat "$err")"
backup ORCL || world_fail "first backup: $(cat "$err")"
# A log of 16 blocks holds some 63 changes.
for _ in $(seq $((count / 1000 + 1))); do work ORCL 64000 || world_fail 'no work'; done
target=$(scn_of ORCL)
work ORCL 400
echo "# $count logs made after $SECONDS s"

a_restore_over_all_of_them_is_the_truth() { restores_to ORCL "$target" --scn "$target"; }
many() {
    for step in the_run_copies_and_counts_them_all the_window_is_one a_restore_over_all_of_them_is_the_truth \
        their_manifest_is_longer_than_a_message_and_the_next_run_reads_it lists_come_in_pages; do
        try "$step"
        echo "# $step: $SECONDS s"
    done
}
world_lanes many
world_end
