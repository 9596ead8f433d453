#!/bin/bash
# The main job with the days it meets: new, dropped and static files, failed merges, expired copies, and
# restores compared with the simulator's truth, over byte orders, releases, threads and containers.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_either 3G "$@"

# Beside $out and $err, which the caller goes on to read.
no_clone_is_left() {
    local err=$work/clones.err out=$work/clones.out
    shim operator clones "$1" && says "$out" '^no clones$'
}

# ---- one database over its days ----

setup_without_apply_changes_nothing() {
    shim host-ORCL setup ORCL && says "$out" '^to do ' && says "$out" 'nothing was changed' || return 1
    [ ! -e "$area/ORCL/archivelog" ] || saw "the area has been made"
}
setup_applies_and_then_has_nothing_to_do() {
    shim host-ORCL setup ORCL --apply && says "$out" '^done ' && shim host-ORCL setup ORCL &&
        says "$out" "nothing to do: 'ORCL' is set up"
}
nothing_is_recoverable_before_the_first_run() {
    shim operator status ORCL
    exits 161 && says "$out" '^FAILED +ORCL: nothing is recoverable'
}
the_tls_session_is_kept_for_the_next_start() {
    same "$(stat -c '%a %F' "$work/operator.ticket")" '600 regular file' 'the ticket file'
}
the_first_run_copies_every_file() {
    backup ORCL
    exits 0 && first_line '^OK ORCL: recoverable to SCN [0-9]+ \(.*\+01:00\) \[run backup-' &&
        says "$out" '4 new copies' && same "$(tail -n 1 "$out")" "$(head -n 1 "$err")" "last line of stdout and first of stderr"
}
a_file_added_later_is_copied_and_green() {
    sim ORCL add-file --blocks 300 >/dev/null
    work ORCL
    echo "box:/ORCL $area/ORCL nfs rw,soft,vers=3,rsize=1048576,wsize=1048576,noac,nolock 0 0" >"$work/soft"
    backup ORCL --mounts "$work/soft"
    exits 0 && first_line '^OK ORCL: ' && says "$out" '1 new copies' || return 1
    # A host without a mount (Direct NFS alone) has none to look at.
    [ "${world_driver:-}" = vault ] ||
        says "$out" 'WARNING: mount of the area: it is a soft mount.*evercopy doctor ORCL' || return 1
    shim operator log "$(sed -E 's/.*\[run (.*)\]/\1/; 1q' "$err")"
    says "$out" 'no parent backup or copy of datafile 5 found' &&
        says "$out" 'no copy of datafile 5 found to recover'
}
a_moment_between_runs_is_restored_by_scn() {
    work ORCL
    between=$(scn_of ORCL)
    work ORCL
    in_run_from=$(scn_of ORCL)
    backup ORCL
    exits 0 || return 1
    in_run_to=$(ask_latest earliest_scn)
    restores_to ORCL "$between" --scn "$between" && says "$work/ORCL.compare" 'identical to the truth'
}
ask_latest() {
    shim operator snapshots ORCL --json >/dev/null
    ask "$out" "d['snapshots'][-1]['$1']"
}
# After the last log of "pre" and before "post" is consistent: only logs of the later snapshot reach it.
a_moment_inside_a_run_is_restored_by_composing() {
    local gap
    shim operator window ORCL --json || return 1
    gap=$(ask "$out" "[g['last_scn'] for g in d['gaps'] if g['bridged']][-1]") || { saw "no bridged gap: $(cat "$out")"; return 1; }
    [ "$gap" -gt "$in_run_from" ] || { saw "the gap ends at $gap, before the run"; return 1; }
    restores_to ORCL "$gap" --scn "$gap"
}
a_restore_says_when_it_composes() {
    restore ORCL --scn "$in_run_to" --sid RORCL --name drill
    exits 0 && says "$out" 'composed of several snapshots'
    local status=$?
    restore_undo ORCL RORCL drill
    return "$status"
}
# The database's clock goes at one hour ahead of UTC; nothing changes in the second that is asked for.
a_wall_time_of_the_database_is_restored() {
    sim ORCL clock --add 5 >/dev/null
    wall=$(time_of ORCL)
    wall_scn=$(scn_of ORCL)
    sim ORCL clock --add 5 >/dev/null
    wall_end=$(scn_of ORCL)
    work ORCL
    backup ORCL
    exits 0 && restores_to_time "$wall"
}
# The SCN is the agent's choice: above everything of that second; UNTIL SCN keeps the next change out.
restores_to_time() {
    local scn status=0
    restore ORCL --to "$1" --sid RORCL --name drill
    exits 0 || return 1
    scn=$(sed -nE 's/^restored ORCL to SCN ([0-9]+) .*/\1/p' "$out")
    [ "$scn" -ge "$wall_scn" ] && [ "$scn" -le $((wall_end + 1)) ] || { saw "SCN $scn, expected $wall_scn to $((wall_end + 1))"; status=1; }
    sim ORCL compare --scn "$scn" --instance RORCL >"$work/ORCL.compare" 2>&1 || { saw "$(head -n 1 "$work/ORCL.compare")"; status=1; }
    restore_undo ORCL RORCL drill
    return "$status"
}
the_same_moment_in_utc_is_the_same_restore() {
    local utc
    utc=$(date -u -d "$wall +0100" '+%Y-%m-%d %H:%M:%S') || return 1
    restores_to_time "${utc}Z"
}
a_target_out_of_reach_names_the_nearest() {
    local first last
    shim operator window ORCL --json || return 1
    last=$(ask "$out" "d['arrived_scn']")
    first=$(ask "$out" "d['intervals'][0]['first_scn']")
    restore ORCL --scn $((last + 1000000))
    exits 160 && first_line 'REFUSED ORCL restore: SCN [0-9]+ cannot be reached' &&
        says "$err" "nearest reachable is SCN $last \(" && no_clone_is_left ORCL || return 1
    restore ORCL --scn 17
    exits 160 && says "$err" "cannot be reached; nearest reachable is SCN $first \(" && no_clone_is_left ORCL
}
a_restore_on_the_production_host_is_refused() {
    shim operator restore ORCL --scn "$between" --sid RORCL --name drill
    exits 160 && says "$err" 'production can be reached from this host' && no_clone_is_left ORCL || return 1
    [ ! -e "$work/sandbox-ORCL" ] || { saw "the sandbox was left: $(ls "$work/sandbox-ORCL")"; return 1; }
    [ ! -e "$work/ora/dbs/simRORCL.lnk" ] || { saw "the sandbox instance was left"; return 1; }
    [ ! -e "$work/ora/dbs/sim.hazards" ] || saw "the sandbox touched production: $(head -n 1 "$work/ora/dbs/sim.hazards")"
}
copies_of_file_5() { in_area ORCL | grep -c FNO-5; }
a_dropped_files_copy_stays_for_one_run() {
    sim ORCL drop-file 5 >/dev/null
    work ORCL
    backup ORCL
    exits 0 && first_line '^OK ' && same "$(copies_of_file_5)" 1 "copies of the dropped file"
}
a_dropped_files_copy_goes_at_the_second_run() {
    backup ORCL
    exits 0 && first_line '^OK ' && says "$out" 'copy of dropped datafile 5 goes' &&
        same "$(copies_of_file_5)" 0 "copies of the dropped file"
}
the_days_before_the_drop_are_still_reached() {
    restores_to ORCL "$between" --scn "$between"
}
production_was_never_touched() {
    [ ! -e "$work/ora/dbs/sim.hazards" ] || saw "$(head -n 1 "$work/ora/dbs/sim.hazards")"
}
days() {
    sim ORCL create --dbdir "$work/prod/ORCL" --db-name ORCL --unique-name ORCL --files 4 --blocks 300 \
        --log-blocks 4096 --zone +01:00 --churn 10 >"$work/ORCL.create" || return 1
    world_who host-ORCL dbhost ORCL
    work ORCL
    try setup_without_apply_changes_nothing
    try setup_applies_and_then_has_nothing_to_do
    try nothing_is_recoverable_before_the_first_run
    try the_tls_session_is_kept_for_the_next_start
    try the_first_run_copies_every_file
    try a_file_added_later_is_copied_and_green
    try a_moment_between_runs_is_restored_by_scn
    try a_moment_inside_a_run_is_restored_by_composing
    try a_restore_says_when_it_composes
    try a_wall_time_of_the_database_is_restored
    try the_same_moment_in_utc_is_the_same_restore
    try a_target_out_of_reach_names_the_nearest
    try a_restore_on_the_production_host_is_refused
    try a_dropped_files_copy_stays_for_one_run
    try a_dropped_files_copy_goes_at_the_second_run
    try the_days_before_the_drop_are_still_reached
    try production_was_never_touched
}

# ---- merges that fail ----

a_killed_merge_turns_the_run_red() {
    sim MRG inject merge-kill --after-blocks 5
    work MRG
    backup MRG
    exits 161 && first_line '^FAILED MRG merge: ' || return 1
    shim operator status MRG
    exits 161 && says "$out" '^FAILED +MRG: last run: merge: '
}
a_full_disk_in_the_merge_is_named_in_the_first_line() {
    sim MRG inject merge-enospc --after-blocks 5
    work MRG
    backup MRG
    exits 161 && first_line '^FAILED MRG merge: .*ORA-[0-9]+.*\[run backup-' || return 1
    shim operator status MRG
    exits 161 && says "$out" 'No space left on device' && says "$out" 'next: .*space'
}
the_point_before_the_failure_is_still_restored() {
    restores_to MRG "$older" --scn "$older"
}
the_next_pre_is_no_recovery_base() {
    backup MRG
    exits 0 && says "$out" 'a merge was interrupted' || return 1
    shim operator snapshots MRG --json || return 1
    same "$(ask "$out" "[s['verdict'] for s in d['snapshots'] if s['kind']=='pre'][-1]")" failed "verdict of the pre"
}
the_run_after_the_failure_heals() {
    backup MRG
    exits 0 && first_line '^OK ' && shim operator status MRG && says "$out" '^ok +MRG' || return 1
    local scn
    scn=$(scn_of MRG)
    work MRG
    backup MRG && restores_to MRG "$scn" --scn "$scn"
}
merges() {
    database MRG
    backup MRG
    work MRG
    older=$(scn_of MRG)
    work MRG
    backup MRG
    try a_killed_merge_turns_the_run_red
    try a_full_disk_in_the_merge_is_named_in_the_first_line
    try the_point_before_the_failure_is_still_restored
    try the_next_pre_is_no_recovery_base
    try the_run_after_the_failure_heals
}

# ---- static files, expired copies ----

a_read_only_tablespace_stays_green() {
    local scn
    sim STA read-only USERS >/dev/null || sim STA read-only "$(last_tablespace)" >/dev/null || { saw "no tablespace to make read only"; return 1; }
    backup STA && work STA && backup STA
    exits 0 && first_line '^OK STA: ' || return 1
    scn=$(scn_of STA)
    work STA
    backup STA
    exits 0 && first_line '^OK STA: ' && says "$out" '[1-9][0-9]* files unchanged' &&
        restores_to STA "$scn" --scn "$scn"
}
last_tablespace() { in_area STA | grep FNO-4 | sed -E 's/.*TS-(.*)_FNO.*/\1/' | head -n 1; }
expired_copies_stop_the_run_with_the_command_to_mend_it() {
    local before
    sim STA expire-copies
    before=$(in_area STA | grep -c '^data_D')
    backup STA
    exits 160 || exits 161 || return 1
    first_line '^(FAILED|REFUSED) STA guard: RMAN does not see 4 copies' &&
        says "$err" "^next: catalog datafilecopy '.*' level 0 tag 'EVERCOPY_STA'.*--allow-full" || return 1
    same "$(in_area STA | grep -c '^data_D')" "$before" "copies in the area" || return 1
    shim operator status STA
    exits 161
}
with_allow_full_the_run_goes_on() {
    local scn
    backup STA --allow-full
    exits 0 && says "$out" '[1-9] new copies' || return 1
    scn=$(scn_of STA)
    work STA
    backup STA
    exits 0 && first_line '^OK ' && restores_to STA "$scn" --scn "$scn"
}
statics() {
    database STA
    backup STA
    try a_read_only_tablespace_stays_green
    try expired_copies_stop_the_run_with_the_command_to_mend_it
    try with_allow_full_the_run_goes_on
}

# ---- kinds of databases: two runs, a moment between them, the truth ----

between_two_runs() {
    local db=$1 scn
    shift
    database "$db" "$@"
    backup "$db"
    exits 0 && first_line "^OK $db: " || return 1
    work "$db"
    scn=$(scn_of "$db")
    work "$db"
    backup "$db"
    exits 0 && first_line "^OK $db: " && restores_to "$db" "$scn" --scn "$scn"
}
a_quiet_database_is_green() { between_two_runs QUIET --churn 0; }
a_big_endian_database() { between_two_runs BIG --endian big; }
a_database_of_release_11_2() { between_two_runs OLD --release 11.2.0.4.0; }
a_container_database() { between_two_runs CDB --cdb; }
a_cluster_of_two_threads() { between_two_runs RAC --threads 2; }
a_closed_thread_stays_green() {
    local scn
    sim RAC thread 2 close && work RAC && backup RAC
    exits 0 && first_line '^OK RAC: ' || return 1
    work RAC
    scn=$(scn_of RAC)
    work RAC
    backup RAC
    exits 0 && first_line '^OK RAC: ' && restores_to RAC "$scn" --scn "$scn"
}
a_reopened_threads_lost_log_is_red() {
    local sequence
    sim RAC thread 2 open && work RAC && sim RAC switch --thread 2 >/dev/null && work RAC || return 1
    sequence=$(sim RAC switch --thread 2 | grep -oE 'sequence [0-9]+' | grep -oE '[0-9]+')
    : "${sequence:=$(lost_sequence)}"
    work RAC
    sim RAC lose-log 2 "$sequence" || { saw "no log thread 2 sequence $sequence to lose"; return 1; }
    backup RAC
    exits 161 && first_line "thread 2 sequence $sequence" && shim operator status RAC
    exits 161
}
lost_sequence() {
    find "$work/prod/RAC" -name '*.arc' -o -name '*_2_*' | sed -nE 's/.*1_2_([0-9]+).*/\1/p; s/.*[^0-9]2_([0-9]+)_.*/\1/p' | sort -n | tail -n 1
}
kinds_one() { try a_quiet_database_is_green; try a_big_endian_database; try a_database_of_release_11_2; try a_container_database; }
kinds_two() { try a_cluster_of_two_threads; try a_closed_thread_stays_green; try a_reopened_threads_lost_log_is_red; }

world_agent QUIET ORCL MRG STA BIG OLD CDB RAC
world_lanes days merges statics kinds_one kinds_two
world_end
