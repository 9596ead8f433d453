#!/bin/bash
# The main job on the vault, by a host that has neither root nor a mount: the simulated RMAN writes over NFS,
# restores read clones over NFS, the vault is killed on the way, and deleted snapshots give space back.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_plain "$@"
world_vault ONE TWO
agent_config ONE TWO | sed '/^storage = box/a keephourly = 1' >"$work/etc/evercopyd.conf"
world_begin ONE TWO

vaultd() { timeout 60 "$bin/evercopy-vaultd" --config "$work/vault/vaultd.conf" "$@"; }

# ---- one database ----

setup_has_nothing_left_to_do() {
    shim host-ONE setup ONE && says "$out" "nothing to do: 'ONE' is set up"
}
the_first_run_copies_every_file_over_nfs() {
    backup ONE
    exits 0 && first_line '^OK ONE: recoverable to SCN [0-9]+' && says "$out" '4 new copies' || return 1
    [ -z "$(find "$area" -type f)" ] || saw "something was written beside the export: $(find "$area" -type f | head -n 2)"
}
a_moment_between_runs_is_restored_from_a_clone_over_nfs() {
    work ONE
    between=$(scn_of ONE)
    work ONE
    backup ONE
    exits 0 && restores_to ONE "$between" --scn "$between" && says "$work/ONE.compare" 'identical to the truth' || return 1
    ! grep clones "$work/ora/dbs/oranfstab" || saw "the clone is still mounted"
}
rman_of() {
    local dir cmd
    for dir in /proc/[0-9]*; do
        cmd=$(tr '\0' ' ' 2>/dev/null <"$dir/cmdline") || continue
        case $cmd in "$work/ora/bin/rman "*) [ "$(tr '\0' '\n' 2>/dev/null <"$dir/environ" | grep -c "^ORACLE_SID=$1$")" = 0 ] || echo "${dir#/proc/}" ;; esac
    done
}
# Its copy never took its final name: it is no copy, and the next run makes one.
a_killed_rman_leaves_a_dot_file_that_counts_for_nothing() {
    local run
    sim ONE add-file --blocks 300 >/dev/null
    sim ONE inject hang --at copy
    backup ONE &
    run=$!
    within 60 sim ONE hangs || { saw "it does not come to its copy"; return 1; }
    # shellcheck disable=SC2046 # an id is a word
    kill -KILL $(rman_of ONE)
    wait "$run"
    code=$?
    exits 161 || return 1
    sim ONE inject clear
    backup ONE
    exits 0 && first_line '^OK ONE: ' && says "$out" '1 new copies'
}
one() {
    database ONE
    try setup_has_nothing_left_to_do
    try the_first_run_copies_every_file_over_nfs
    try a_moment_between_runs_is_restored_from_a_clone_over_nfs
    try a_killed_rman_leaves_a_dot_file_that_counts_for_nothing
}

# ---- another one at the same time ----

stored() { vaultd stat TWO --json | python3 -c 'import json,sys
print([d["stored_bytes"] for d in map(json.loads, sys.stdin) if d.get("what") == "volume" or "packs" in d][0])'; }
stores_less_than() { [ "$(stored)" -lt "$1" ]; }
deleted_snapshots_give_their_space_back() {
    local before going
    for _ in 1 2 3; do
        work TWO 1500
        backup TWO || { saw "backup: $(head -n 1 "$err")"; return 1; }
    done
    within 30 all_are_sealed || { saw "not all snapshots are sealed"; return 1; }
    before=$(stored)
    shim operator retention TWO --apply && says "$out" '^deleted ' || { saw "retention: $(head -n 1 "$err")"; return 1; }
    going=$(grep -c '^deleted ' "$out")
    within 30 stores_less_than "$before" || saw "$going snapshots were deleted, $before bytes are still stored"
}
all_are_sealed() { [ "$(vaultd stat TWO | grep -c '^snapshot')" = "$(snapshots_known)" ]; }
snapshots_known() {
    local out=$work/$lane.known err=$work/$lane.known.err
    shim operator snapshots TWO --json && ask "$out" "len(d['snapshots'])"
}
what_stays_is_restored_beside_the_other() {
    local scn
    shim operator snapshots TWO --json || return 1
    scn=$(ask "$out" "[s['latest_scn'] for s in d['snapshots'] if s['verdict']=='ok'][0]")
    restores_to TWO "$scn" --scn "$scn"
}
# A release before 12.2: its files have their names from the beginning.
two() {
    database TWO --release 11.2.0.4.0
    backup TWO
    try deleted_snapshots_give_their_space_back
    try what_stays_is_restored_beside_the_other
}

# ---- the vault dies ----

# As with a hard mount: rman waits, what was not answered is sent again, what it was told stays.
a_run_survives_the_vaults_death_in_the_midst_of_a_copy() {
    local run before scn
    work ONE
    before=$(scn_of ONE)
    sim ONE add-file --blocks 300 >/dev/null
    sim ONE inject hang --at copy
    backup ONE &
    run=$!
    within 60 sim ONE hangs || { saw "it does not come to its copy"; return 1; }
    vault_crash
    sim ONE inject clear
    vault_up
    wait "$run"
    code=$?
    exits 0 && first_line '^OK ONE: ' && says "$out" '1 new copies' || return 1
    scn=$(scn_of ONE)
    work ONE
    backup ONE && restores_to ONE "$scn" --scn "$scn" && restores_to ONE "$before" --scn "$before"
}
both_runs_are_green_while_the_vault_dies_again_and_again() {
    local run other kills=0 most=4
    [ -z "${EVERCOPY_LONG:-}" ] || most=40
    work ONE 200
    work TWO 200
    backup ONE &
    run=$!
    (out=$work/other.bg.out err=$work/other.bg.err; backup TWO) &
    other=$!
    while ! { gone "$run" && gone "$other"; } && [ "$kills" -lt "$most" ]; do
        vault_crash
        vault_up
        kills=$((kills + 1))
        pause && pause && pause && pause
    done
    wait "$other" || { saw "TWO after $kills kills: $(head -n 1 "$work/other.bg.err")"; return 1; }
    wait "$run"
    code=$?
    exits 0 && first_line '^OK ONE: ' || { saw "ONE after $kills kills: $seen"; return 1; }
    [ "$kills" -gt 1 ] || saw "$kills kills only"
}
# Ten times over; what was acknowledged is compared with the truth each time.
and_what_they_left_is_the_truth_each_time() {
    local round scn
    for round in 1 2 3 4 5 6 7 8 9 10; do
        both_runs_are_green_while_the_vault_dies_again_and_again || { seen="round $round: $seen"; return 1; }
        scn=$(scn_of ONE)
        work ONE
        backup ONE && restores_to ONE "$scn" --scn "$scn" || { seen="round $round: ${seen:-$(head -n 1 "$err")}"; return 1; }
    done
}
deaths() {
    try a_run_survives_the_vaults_death_in_the_midst_of_a_copy
    try both_runs_are_green_while_the_vault_dies_again_and_again
    if [ -n "${EVERCOPY_LONG:-}" ]; then try and_what_they_left_is_the_truth_each_time; fi
}

the_vault_stops_in_order_and_its_store_is_sound() {
    vault_pid=$(cat "$work/vault/pid")
    kill "$vault_pid" || { saw "it does not run"; return 1; }
    within 30 gone "$vault_pid" || { saw "it does not stop"; return 1; }
    vaultd scrub >"$out" 2>&1 || saw "scrub: $(tail -n 2 "$out")"
}

world_lanes one two
world_lanes deaths
try the_vault_stops_in_order_and_its_store_is_sound | tee -a "$work/said"
world_end
