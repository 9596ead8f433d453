#!/bin/bash
# A backup as DBMS_SCHEDULER's external job: no environment, no stdin, too many descriptors, a stop
# at each phase. Nothing may be left: no child, no lease, and a verdict within what the views keep.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_enter 3G "$@"

# extjob DB [OPTION VALUE]...: result in $code or $how, output in $out, the kept 200 bytes in $kept.
extjob() {
    local db=$1 folder=$work/job-$1
    shift
    mkdir -p "$folder"
    how=$(timeout 100 "$work/extjob" --limit 80 "$@" "$folder" "$bin/evercopy" backup "$db" --config "$work/etc/host-$db.shim.conf" | tail -n 2 | tr '\n' ' ')
    how=${how% }
    out=$folder/stdout err=$folder/stderr kept=$folder/errors
}
ends() { [ "$how" = "$1" ] || saw "the job's end: '$how', expected '$1'; errors: $(head -n 1 "$kept")"; }
# Verdict, database and run stand in the first line, whole, inside the 200 bytes that are kept.
kept_line() {
    local line
    line=$(head -n 1 "$kept")
    [ "$(printf %s "$line" | wc -c)" -le 160 ] || { saw "the first line has more than 160 bytes: $line"; return 1; }
    [ "$(wc -c <"$kept")" -le 200 ] && [ "$(head -n 1 "$err")" = "$line" ] || { saw "the line was cut: $line"; return 1; }
    [[ $line =~ $1 ]] || { saw "kept line '$line', expected /$1/"; return 1; }
    grep -qxF -- "$line" "$out" || saw "stdout does not repeat the line"
}
our_children() {
    local dir cmd
    for dir in /proc/[0-9]*; do
        cmd=$(tr '\0' ' ' <"$dir/cmdline") || continue
        case $cmd in "$work/ora/bin/"*) if tr '\0' '\n' <"$dir/environ" | grep -qx "ORACLE_SID=$1"; then echo "${dir#/proc/}"; fi ;; esac
    done 2>/dev/null
}
nothing_is_left() {
    local left list=$work/$lane.left
    left=$(our_children "$1" 2>/dev/null)
    [ -z "$left" ] || { saw "children are left: $left"; return 1; }
    timeout 20 "$bin/evercopy" jobs "$1" --json --config "$work/etc/operator.shim.conf" >"$list" || { saw "the agent does not list jobs"; return 1; }
    same "$(ask "$list" "sum(j['state']=='running' for j in d['jobs'] if j['kind']=='backup')")" 0 "runs that still hold the lease"
}

a_run_needs_no_environment_and_no_stdin() {
    extjob ONE --stdin closed
    ends 'exit 0' && kept_line '^OK ONE: recoverable to SCN [0-9]+ .*\[run backup-[^]]*\]$' && nothing_is_left ONE
}
a_run_is_the_same_with_dev_null() {
    work ONE
    extjob ONE --stdin null
    ends 'exit 0' && kept_line '^OK ONE: ' && nothing_is_left ONE
}
a_failure_fits_into_what_is_kept() {
    sim ONE inject merge-enospc --after-blocks 5
    work ONE
    extjob ONE
    ends 'exit 161' && kept_line '^FAILED ONE merge: .*ORA-[0-9]+.*\[run backup-[^]]*\]$' && nothing_is_left ONE
}
plain_jobs() {
    database ONE
    try a_run_needs_no_environment_and_no_stdin
    try a_run_is_the_same_with_dev_null
    try a_failure_fits_into_what_is_kept
}

# stopped_after DB TEXT: the signal comes when the run has said TEXT; the run after it is whole.
stopped_after() {
    work "$1"
    extjob "$1" --signal-after "$2"
    ends 'exit 164' && kept_line "^STOPPED $1 " && nothing_is_left "$1"
}
# A healing run after each stop would take long; one at the end of a lane shows that all can be healed.
a_stop_as_the_run_begins() { stopped_after TWO ' begins'; }
a_stop_while_logs_are_copied() { stopped_after TWO 'archived logs into the area'; }
a_stop_after_the_first_switch() { stopped_after TWO 'log switched at SCN'; }
a_stop_after_the_first_snapshot() { stopped_after TWO '-pre'; }
a_stop_after_level_1() { stopped_after TRE 'level 1: '; }
a_stop_after_the_merge() { stopped_after TRE 'merge: '; }
a_stop_after_the_control_file() { stopped_after TRE 'control file and spfile'; }
a_stop_after_the_preview() { stopped_after TRE "RMAN's own word"; }
# The last word may be said already when the signal comes: then the run is whole, and says so.
a_stop_at_the_very_end() {
    work TRE
    extjob TRE --signal-after '-post'
    case $how in 'exit 0') kept_line '^OK TRE' ;; *) ends 'exit 164' && kept_line '^STOPPED TRE ' ;; esac && nothing_is_left TRE
}
the_run_after_all_stops_is_whole_two() { heals TWO; }
the_run_after_all_stops_is_whole_three() { heals TRE; }
heals() {
    local scn
    work "$1"
    scn=$(scn_of "$1")
    extjob "$1"
    ends 'exit 0' && kept_line "^OK $1: " || return 1
    work "$1"
    extjob "$1"
    ends 'exit 0' || return 1
    scn=$(scn_of "$1")
    work "$1"
    extjob "$1"
    ends 'exit 0' || return 1
    out=$work/$lane.out err=$work/$lane.err
    restores_to "$1" "$scn" --scn "$scn"
}
early_stops() {
    database TWO
    backup TWO
    try a_stop_as_the_run_begins
    try a_stop_while_logs_are_copied
    try a_stop_after_the_first_switch
    try a_stop_after_the_first_snapshot
    try the_run_after_all_stops_is_whole_two
}
late_stops() {
    database TRE
    backup TRE
    try a_stop_after_level_1
    try a_stop_after_the_merge
    try a_stop_after_the_control_file
    try a_stop_after_the_preview
    try a_stop_at_the_very_end
    try the_run_after_all_stops_is_whole_three
}
# RMAN is in the midst of its work, which hangs: in level 1, then in the merge.
rman_is_at() {
    local list=$work/$lane.steps
    timeout 20 "$bin/evercopy" jobs FOR --json --config "$work/etc/operator.shim.conf" >"$list" &&
        [ "$(ask "$list" "[j['step'] for j in d['jobs'] if j['state']=='running' and j['kind']=='backup']")" = "[\"$1\"]" ] &&
        [ -n "$(our_children FOR 2>/dev/null)" ]
}
stopped_inside() {
    local watcher
    work FOR
    rm -f "$work/stop-now"
    sim FOR inject hang --at "$1"
    { if within 40 rman_is_at "$2"; then : >"$work/stop-now"; fi; } &
    watcher=$!
    world_own "$watcher"
    extjob FOR --signal-file "$work/stop-now"
    wait "$watcher"
    sim FOR inject clear
    ends 'exit 164' && kept_line "^STOPPED FOR $2: " && nothing_is_left FOR
}
a_stop_inside_level_1() { stopped_inside backup level1; }
a_stop_inside_the_merge() { stopped_inside merge merge; }
the_run_after_a_stopped_merge_heals() { heals FOR; }
stops_inside() {
    database FOR
    backup FOR
    try a_stop_inside_level_1
    try a_stop_inside_the_merge
    try the_run_after_a_stopped_merge_heals
}

"${CC:-gcc}" -std=gnu11 -Wall -Wextra -O1 -o "$work/extjob" "$here/tests/integration/extjob.c" || exit 1
world_agent ONE TWO TRE FOR
world_lanes plain_jobs early_stops late_stops stops_inside
world_end
