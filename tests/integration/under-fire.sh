#!/bin/bash
# The agent goes away in the midst of runs, shims are killed, jobs are cancelled, leases run out: RMAN goes
# on, nothing is told twice or not at all, and the next run is whole.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_enter 4G "$@"

backup_in_background() {
    bare_exec "$bin/evercopy" backup "$1" --config "$work/etc/host-$1.shim.conf" </dev/null >"$work/$lane.$1.bg.out" 2>"$work/$lane.$1.bg.err" &
    bg=$!
    world_own "$bg"
}
# ends_with CODE PATTERN: the background run.
ends_with() {
    local expected=$1 line
    within 90 gone "$bg" || { saw "the run does not end"; return 1; }
    wait "$bg"
    code=$?
    line=$(head -n 1 "$work/$lane.$db.bg.err")
    [ "$code" = "$expected" ] || { saw "exit code $code, expected $expected: $line"; return 1; }
    [[ $line =~ $2 ]] || saw "first line '$line', expected /$2/"
}
jobs_are() { # EXPRESSION over d['jobs'], newest first; backups only
    local out=$work/$lane.jobs err=$work/$lane.jobs.err
    shim operator jobs "$db" --json && ask "$out" "(lambda j: $1)([x for x in d['jobs'] if x['kind']=='backup'])"
}
step_is() { [ "$(jobs_are "j[0]['state']+' '+j[0]['step']" 2>/dev/null)" = "running $1" ]; }
hold_at() { sim "$db" inject hang --at "$1" || saw "no hang injected"; }
go_on() { sim "$db" inject clear; }
in_output() { grep -qE -- "$1" "$work/$lane.$db.bg.out"; }
# The kept log is the run's own, each line once: what the shim printed stands in it, in order.
log_is_whole() {
    local job=$1 out=$work/$lane.log err=$work/$lane.log.err
    shim operator log "$job" || { saw "no log: $(cat "$err")"; return 1; }
    grep -o 'evercopy: .*' "$out" | cut -c11- | grep -vE 'the agent|^finding' >"$work/$lane.kept"
    cut -c11- "$work/$lane.$db.bg.out" | grep -vE 'the agent|^finding|\[run ' >"$work/$lane.printed"
    cmp -s "$work/$lane.kept" "$work/$lane.printed" || saw "log and output differ: $(diff "$work/$lane.kept" "$work/$lane.printed" | head -n 4 | tr '\n' '|')"
}
spool_is_empty() {
    local left
    left=$(ls -A "$work/spool" 2>/dev/null)
    [ -z "$left" ] || saw "the spool holds: $left"
}
configured() { # KEY VALUE...: in the host's configuration
    local file=$work/etc/host-$db.shim.conf
    while [ $# -gt 1 ]; do
        sed -i "/^$1 =/d; s|^logwait = .*|&\n$1 = $2|" "$file"
        shift 2
    done
}
begin_world() {
    db=$1
    world_apart "$db"
    database "$db"
    configured spool "$work/spool" "${@:2}"
    backup "$db"
    exits 0 || world_fail "first backup: $seen"
    work "$db"
}

# ---- the agent away ----

the_run_goes_on_while_the_agent_is_away() {
    local job
    hold_at merge
    backup_in_background "$db"
    within 60 step_is merge || { saw "it did not come to its merge"; return 1; }
    job=$(jobs_are "j[0]['id']")
    agent_crash
    go_on
    within 60 in_output 'waiting for the agent' || { saw "it did not wait"; return 1; }
    [ -s "$work/spool/$job.log" ] || { saw "nothing was spooled"; return 1; }
    [ "$(stat -c %a "$work/spool/$job.log")" = 600 ] || { saw "the spool is readable by others"; return 1; }
    agent_start
    ends_with 0 "^OK $db: " || return 1
    same "$(jobs_are "j[0]['id']")" "$job" "the job" && in_output 'the agent is back' && log_is_whole "$job" && spool_is_empty
}
an_agent_killed_at_any_instant_costs_nothing() {
    local rounds=2 round wait
    [ -z "${EVERCOPY_LONG:-}" ] || rounds=30
    RANDOM=${EVERCOPY_SEED:-$$}
    echo "# seed ${EVERCOPY_SEED:-$$}"
    for round in $(seq "$rounds"); do
        work "$db"
        backup_in_background "$db"
        within 60 in_output ' begins'
        wait=$((RANDOM % 25))
        while [ "$wait" -gt 0 ] && ! gone "$bg"; do
            pause
            wait=$((wait - 1))
        done
        agent_crash
        agent_start
        ends_with 0 "^OK $db: " || { seen="round $round: $seen"; return 1; }
    done
    spool_is_empty
}
away() {
    local job
    hold_at merge
    backup_in_background "$db"
    within 60 step_is merge || { saw "it did not come to its merge"; return 1; }
    job=$(jobs_are "j[0]['id']")
    agent_crash
    go_on
    within 60 in_output 'waiting for the agent' || { saw "it did not wait"; return 1; }
    [ -s "$work/spool/$job.log" ] || { saw "nothing was spooled"; return 1; }
    [ "$(stat -c %a "$work/spool/$job.log")" = 600 ] || { saw "the spool is readable by others"; return 1; }
    agent_start
    ends_with 0 "^OK $db: " || return 1
    same "$(jobs_are "j[0]['id']")" "$job" "the job" && in_output 'the agent is back' && log_is_whole "$job" && spool_is_empty
}
an_agent_that_restarts_at_every_phase_costs_nothing() {
    local phase rounds='level1 merge post'
    [ -z "${EVERCOPY_LONG:-}" ] || rounds='logs pre level1 merge controlfile preview post'
    for phase in $rounds; do
        work "$db"
        backup_in_background "$db"
        within 60 step_is "$phase" || gone "$bg"
        agent_crash
        agent_start
        ends_with 0 "^OK $db: " || { seen="restart at $phase: $seen"; return 1; }
    done
    spool_is_empty
}
away() {
    begin_world AWAY agentwait 60
    try the_run_goes_on_while_the_agent_is_away
    try an_agent_killed_at_any_instant_costs_nothing
}

# ---- away for longer than the shim waits ----

a_verdict_nobody_heard_waits_in_the_spool() {
    hold_at merge
    backup_in_background "$db"
    within 60 step_is merge || { saw "it did not come to its merge"; return 1; }
    lost=$(jobs_are "j[0]['id']")
    agent_crash
    go_on
    within 90 gone "$bg"
    wait "$bg"
    code=$?
    [ "$code" = 163 ] || { saw "exit code $code: $(head -n 1 "$work/$lane.$db.bg.err")"; return 1; }
    [ -s "$work/spool/$lost.verdict" ] || { saw "no verdict in the spool: $(ls "$work/spool")"; return 1; }
    [ "$(stat -c %a "$work/spool/$lost.verdict")" = 600 ] || saw "the verdict is readable by others"
}
until_it_is_told_the_run_is_open_and_never_green() {
    agent_start
    same "$(jobs_are "j[0]['state']")" running "state of the run" || return 1
    shim operator status "$db" --json
    [ "$(ask "$out" "d['databases'][0]['verdict']")" != '' ] || return 1
    [ -s "$work/spool/$lost.verdict" ] || saw "an operator's call took the verdict"
}
the_next_call_on_that_host_tells_it_once() {
    shim "host-$db" status "$db"
    same "$(jobs_are "j[0]['id']+' '+j[0]['state']")" "$lost failed" "the run" || return 1
    spool_is_empty && log_is_whole "$lost" || return 1
    shim operator log "$lost"
    cp "$out" "$work/$lane.once"
    shim "host-$db" status "$db"
    shim operator log "$lost"
    cmp -s "$out" "$work/$lane.once" || saw "the log changed by another call"
}
the_run_after_it_is_whole() {
    local scn
    work "$db"
    backup "$db"
    exits 0 && first_line "^OK $db: " || return 1
    work "$db"
    scn=$(scn_of "$db")
    work "$db"
    backup "$db"
    exits 0 && restores_to "$db" "$scn" --scn "$scn"
}
too_long() {
    begin_world LONG agentwait 2
    try a_verdict_nobody_heard_waits_in_the_spool
    try until_it_is_told_the_run_is_open_and_never_green
    try the_next_call_on_that_host_tells_it_once
    try the_run_after_it_is_whole
}

# ---- killed, cancelled, silent ----

a_killed_shims_lines_are_told_by_the_next() {
    local job
    hold_at merge
    backup_in_background "$db"
    within 60 step_is merge || { saw "it did not come to its merge"; return 1; }
    job=$(jobs_are "j[0]['id']")
    agent_crash
    kill -KILL "$bg"
    within 10 gone "$bg"
    agent_start
    go_on
    backup "$db"
    exits 0 || { saw "the next run: $(head -n 1 "$err")"; return 1; }
    same "$(jobs_are "j[1]['id']+' '+j[1]['state']")" "$job failed" "the killed run" && spool_is_empty || return 1
    shim operator log "$job"
    says "$out" 'recover copy of database'
}
an_operator_cancels_a_run() {
    local job
    hold_at backup
    backup_in_background "$db"
    within 60 step_is level1 || { saw "it did not come to level 1"; return 1; }
    job=$(jobs_are "j[0]['id']")
    world_who looker monitor "$db"
    shim looker cancel "$job"
    exits 160 && says "$err" "has the role 'monitor'" || return 1
    shim operator cancel "$job"
    exits 0 && says "$out" 'told within seconds' || return 1
    ends_with 164 "^STOPPED $db level1: cancelled by operator" || return 1
    go_on
    same "$(jobs_are "j[0]['state']+' '+j[0]['cancelled_by']")" 'failed operator (operator)' "the cancelled run" || return 1
    shim operator cancel "$job"
    exits 0 && says "$out" 'ended already' && spool_is_empty
}
a_host_cancels_its_own_run() {
    local job
    hold_at backup
    backup_in_background "$db"
    within 60 step_is level1 || { saw "it did not come to level 1"; return 1; }
    job=$(jobs_are "j[0]['id']")
    shim "host-$db" cancel "$job"
    exits 0 && ends_with 164 "^STOPPED $db level1: cancelled by host-$db" || return 1
    go_on
    backup "$db"
    exits 0
}
stopped() {
    begin_world STOP agentwait 60
    try a_killed_shims_lines_are_told_by_the_next
    try an_operator_cancels_a_run
    try a_host_cancels_its_own_run
}

# ---- clones ----

clone_names() {
    local out=$work/$lane.clones err=$work/$lane.clones.err
    shim operator clones "$db" --json && ask "$out" "' '.join(sorted(c['name'] for c in d['clones']))"
}
clones_left() { [ "$(clone_names)" = "$1" ]; }
a_clone_goes_when_its_lease_is_over_and_stays_when_extended() {
    local name
    name=$(shim operator snapshots "$db" --json; ask "$out" "d['snapshots'][-1]['name']")
    shim operator clone create "$db" short --snapshot "$name" --lease 3 || { saw "$(cat "$err")"; return 1; }
    shim operator clone create "$db" longer --snapshot "$name" --lease 10 || { saw "$(cat "$err")"; return 1; }
    shim operator clone extend "$db" longer --for 2h || { saw "$(cat "$err")"; return 1; }
    world_who other restore "$db"
    shim other clone extend "$db" longer --for 3h
    exits 160 && says "$err" "belongs to 'operator'" || return 1
    within 40 clones_left longer || { saw "clones: $(clone_names)"; return 1; }
    [ ! -e "$xfs/storage/clones/$db/short" ] || { saw "its files are there"; return 1; }
    agent_crash
    agent_start
    clones_left longer || saw "clones after a restart: $(clone_names)"
}
clones() {
    begin_world CLO
    try a_clone_goes_when_its_lease_is_over_and_stays_when_extended
}

world_lanes away too_long stopped clones
world_end
