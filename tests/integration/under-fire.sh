#!/bin/bash
# The agent goes away in the midst of runs, shims are killed, jobs are cancelled, leases run out: RMAN goes
# on, nothing is told twice or not at all, and the next run is whole.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_either 4G "$@"

backup_in_background() {
    rm -f "$work/$lane.$1.bg.out"
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
in_output() { grep -qsE -- "$1" "$work/$lane.$db.bg.out"; }
# hangs AT STEP: a run of $db in the background that hangs there; its id is in $job.
hangs() {
    hold_at "$1"
    backup_in_background "$db"
    within 60 in_output "snapshot '.*-pre'" # before the agent is asked, which is dear
    within 60 step_is "$2" || { saw "it did not come to $2"; return 1; }
    job=$(jobs_are "j[0]['id']")
}
# The kept log is the run's own, each line once: what the shim printed stands in it, in order.
log_is_whole() {
    local job=$1 out=$work/$lane.log err=$work/$lane.log.err
    shim operator log "$job" || { saw "no log: $(cat "$err")"; return 1; }
    grep -o 'evercopy: .*' "$out" | cut -c11- | grep -vE 'the agent|^finding' >"$work/$lane.kept"
    sed -E 's/^[0-9:]{8}Z?  //' "$work/$lane.$db.bg.out" | grep -vE 'the agent|^finding|\[run ' >"$work/$lane.printed"
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
begin_world() { # DB[:ANOTHER] KEY VALUE...
    db=${1%%:*}
    # shellcheck disable=SC2086 # one word for each database
    world_apart ${1//:/ }
    database "$db"
    configured spool "$work/spool" "${@:2}"
    backup "$db"
    exits 0 || world_fail "first backup: $seen"
    work "$db"
}

# ---- the agent away ----

the_run_goes_on_while_the_agent_is_away() {
    local job
    hangs merge merge || return 1
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
    local rounds=1 round wait
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
an_agent_that_restarts_at_every_phase_costs_nothing() {
    local phase
    for phase in logs pre level1 merge controlfile preview post; do
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
    [ -z "${EVERCOPY_LONG:-}" ] || try an_agent_that_restarts_at_every_phase_costs_nothing
}

# ---- away for longer than the shim waits ----

a_verdict_nobody_heard_waits_in_the_spool() {
    local job
    hangs merge merge || return 1
    lost=$job
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
    exits 161 && says "$out" "^FAILED +$db: last run: " || return 1
    same "$(jobs_are "j[0]['id']+' '+j[0]['state']")" "$lost failed" "the run" || return 1
    spool_is_empty && log_is_whole "$lost" || return 1
    shim operator log "$lost"
    cp "$out" "$work/$lane.once"
    shim "host-$db" status "$db"
    shim operator log "$lost"
    cmp -s "$out" "$work/$lane.once" || saw "the log changed by another call"
}
# In whatever way the agent could not take it: here its database is out of the configuration.
a_verdict_the_agent_could_not_take_waits_too() {
    local job kept=$work/etc/evercopyd.conf
    work "$db"
    hangs merge merge || return 1
    agent_crash
    cp "$kept" "$kept.whole"
    sed -i "/^\[database $db\]/,+1d" "$kept"
    agent_start
    go_on
    within 90 gone "$bg" || { saw "the run does not end"; return 1; }
    [ -s "$work/spool/$job.verdict" ] || { saw "no verdict in the spool: $(ls "$work/spool"); $(head -n 1 "$work/$lane.$db.bg.err")"; return 1; }
    shim "host-$db" status "$db"
    [ -s "$work/spool/$job.verdict" ] || { saw "a call that was refused took the verdict"; return 1; }
    agent_crash
    mv "$kept.whole" "$kept"
    agent_start
    shim "host-$db" status "$db"
    same "$(jobs_are "j[0]['id']+' '+j[0]['state']")" "$job failed" "the run" && spool_is_empty && log_is_whole "$job"
}
the_run_after_it_is_whole() {
    work "$db"
    backup "$db"
    exits 0 && first_line "^OK $db: "
}
too_long() {
    begin_world LONG:ELSE agentwait 2
    try a_verdict_nobody_heard_waits_in_the_spool
    try until_it_is_told_the_run_is_open_and_never_green
    try the_next_call_on_that_host_tells_it_once
    try a_verdict_the_agent_could_not_take_waits_too
    try the_run_after_it_is_whole
}

# ---- killed, cancelled, silent ----

a_killed_shims_lines_are_told_by_the_next() {
    local job
    hangs merge merge || return 1
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
    hangs backup level1 || return 1
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
    hangs backup level1 || return 1
    shim "host-$db" cancel "$job"
    exits 0 && ends_with 164 "^STOPPED $db level1: cancelled by host-$db" || return 1
    go_on
    backup "$db"
    exits 0
}
# In make test one phase by chance, in test-long each.
a_shim_killed_in_any_phase_is_followed_by_a_whole_run() {
    local -a points=('begins' 'copying [0-9]+ archived' 'log switched' "-pre'" 'level 1:' 'merge:' 'control file and'
        "RMAN's own word" 'pieces go' "-post'")
    local point round rounds=1
    [ -z "${EVERCOPY_LONG:-}" ] || rounds=${#points[@]}
    for ((round = 0; round < rounds; round++)); do
        point=${points[RANDOM % ${#points[@]}]}
        [ -z "${EVERCOPY_LONG:-}" ] || point=${points[round]}
        work "$db"
        backup_in_background "$db"
        within 60 in_output "$point" || { saw "it did not come to '$point'"; return 1; }
        kill -KILL "$bg" 2>/dev/null
        wait "$bg" 2>/dev/null
        backup "$db"
        exits 0 && first_line "^OK $db: " || { saw "killed at '$point': $seen"; return 1; }
        same "$(jobs_are "sum(x['state']=='running' for x in j)")" 0 "running jobs after '$point'" && spool_is_empty || return 1
    done
    local scn
    scn=$(scn_of "$db")
    work "$db"
    backup "$db"
    restores_to "$db" "$scn" --scn "$scn"
}
stopped() {
    RANDOM=${EVERCOPY_SEED:-$$}
    echo "# seed ${EVERCOPY_SEED:-$$}"
    begin_world STOP agentwait 60
    try a_killed_shims_lines_are_told_by_the_next
    try a_shim_killed_in_any_phase_is_followed_by_a_whole_run
}
cancelled() {
    begin_world CAN
    try an_operator_cancels_a_run
    try a_host_cancels_its_own_run
}

# ---- RMAN that says nothing ----

a_silent_rman_is_stopped_and_its_sessions_are_named() {
    local client job
    hangs backup level1 || return 1
    # A client that dies without a word leaves its server process behind.
    sim "$db" inject zombie-session
    hold_at copy
    printf "set command id to 'evercopy:left-over';\nbackup as copy datafile 1 format '%s';\n" "$work/left.dbf" |
        bare_exec ORACLE_HOME="$work/ora" ORACLE_SID="$db" "$work/ora/bin/rman" target / >"$work/left.out" 2>&1 &
    client=$!
    world_own "$client"
    within 20 grep -q 'starting datafile copy' "$work/left.out" || { saw "$(cat "$work/left.out")"; return 1; }
    kill -KILL "$client"
    ends_with 161 "^FAILED $db level1: RMAN said nothing for 1 minutes and was stopped" || return 1
    go_on
    says "$work/agent.log" "alarm db=$db .*RMAN has said nothing" || return 1
    in_output 'still in V.SESSION: sid' || { saw "no session is named"; return 1; }
    says "$work/$lane.$db.bg.err" "alter system kill session '[0-9]+,[0-9]+'"
}
silent() {
    begin_world MUTE rmansilent 1 rmandeadline 1
    try a_silent_rman_is_stopped_and_its_sessions_are_named
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
    [ -n "${world_is_plain:-}" ] || [ ! -e "$xfs/storage/clones/$db/short" ] || { saw "its files are there"; return 1; }
    agent_crash
    agent_start
    clones_left longer || saw "clones after a restart: $(clone_names)"
}
clones() {
    begin_world CLO
    try a_clone_goes_when_its_lease_is_over_and_stays_when_extended
}

# ---- restores and setups ----

restore_in_background() { # its id is the shim's own
    rm -f "$work/$lane.$db.bg.out"
    bare_exec unshare -m sh -c 'mount --make-rprivate / && mount -t tmpfs none "$1" && shift && exec "$@"' sh \
        "$work/prod" "$bin/evercopy" restore "$db" --config "$work/etc/operator.shim.conf" "$@" \
        </dev/null >"$work/$lane.$db.bg.out" 2>"$work/$lane.$db.bg.err" &
    bg=$!
    world_own "$bg"
}
sandbox_processes() { # of the instance RX, and tools that work for it
    local dir cmd
    for dir in /proc/[0-9]*; do
        cmd=$(tr '\0' ' ' <"$dir/cmdline") || continue
        case $cmd in ora_pmon_RX*) echo "${dir#/proc/}" ;; esac
        case $cmd in "$work/ora/bin/"*) if tr '\0' '\n' <"$dir/environ" | grep -qx 'ORACLE_SID=RX'; then echo "${dir#/proc/}"; fi ;; esac
    done 2>/dev/null
}
none_runs() { [ -z "$(sandbox_processes)" ]; }
points() {
    if [ -n "${EVERCOPY_LONG:-}" ]; then
        printf '%s\n' "^[0-9:]+Z? +clone '" 'recovering to SCN' "own headers" 'database open'
    else
        printf '%s\n' 'recovering to SCN'
    fi
}
a_stopped_restore_leaves_nothing() {
    local point
    while read -r point; do
        restore_in_background --scn "$scn" --sid RX --name fired
        within 60 in_output "$point" || { saw "it never said '$point': $(cat "$work/$lane.$db.bg.err")"; return 1; }
        kill -TERM "$bg" 2>/dev/null
        within 60 gone "$bg" || { saw "it is still there, stopped at '$point'"; return 1; }
        wait "$bg"
        code=$?
        if [ "$code" = 0 ]; then restore_undo "$db" RX fired; else [ "$code" = 164 ] || { saw "exit code $code at '$point': $(cat "$work/$lane.$db.bg.err")"; return 1; }; fi
        [ ! -e "$work/sandbox-$db" ] && clones_left '' && none_runs || { saw "something is left of a stop at '$point'"; return 1; }
    done < <(points)
}
a_killed_restore_is_cleared_by_the_next() {
    local point
    while read -r point; do
        restore_in_background --scn "$scn" --sid RX --name fired
        within 60 in_output "$point" || { saw "it never said '$point'"; return 1; }
        kill -KILL "$bg" 2>/dev/null
        within 10 gone "$bg"
        wait "$bg" 2>/dev/null
        if says "$work/sandbox-$db/.evercopy-sandbox" '"state":"open"' 2>/dev/null; then
            restore_undo "$db" RX fired
            continue
        fi
        restore "$db" --scn "$scn" --sid RX --name fired || { saw "the next restore, killed at '$point': $(head -n 1 "$err")"; return 1; }
        sim "$db" compare --scn "$scn" --instance RX >"$work/$lane.compare" 2>&1 || { saw "$(head -n 1 "$work/$lane.compare")"; return 1; }
        restore "$db" --scn "$scn" --sid RX --name fired
        exits 160 && first_line "sandbox '.*' is not empty" || return 1
        restore_undo "$db" RX fired
        clones_left '' && none_runs || { saw "something is left, killed at '$point'"; return 1; }
    done < <(points)
}
a_killed_setup_is_gone_on_with() {
    local rounds=2 round wait
    [ -z "${EVERCOPY_LONG:-}" ] || rounds=15
    RANDOM=${EVERCOPY_SEED:-$$}
    echo "# seed ${EVERCOPY_SEED:-$$}"
    sim NEW create --dbdir "$work/prod/NEW" --db-name NEW --unique-name NEW --files 2 --blocks 100 --dbid "$(dbid_of NEW)" >/dev/null || return 1
    world_who host-NEW dbhost NEW
    for round in $(seq "$rounds"); do
        bare_exec "$bin/evercopy" setup NEW --apply --config "$work/etc/host-NEW.shim.conf" </dev/null >/dev/null 2>&1 &
        bg=$!
        for wait in $(seq $((RANDOM % 6))); do pause; done
        if [ $((round % 2)) = 0 ]; then
            agent_crash
            agent_start
        fi
        kill -KILL "$bg" 2>/dev/null
        wait "$bg" 2>/dev/null
    done
    shim host-NEW setup NEW --apply
    exits 0 || return 1
    shim host-NEW setup NEW
    exits 0 && says "$out" 'nothing to do' || return 1
    work NEW
    backup NEW
    exits 0 && first_line '^OK NEW: '
}
restores() {
    begin_world RST:NEW
    scn=$(scn_of "$db")
    work "$db"
    backup "$db"
    try a_stopped_restore_leaves_nothing
    try a_killed_restore_is_cleared_by_the_next
    try a_killed_setup_is_gone_on_with
}

: >"$work/agent.log" # the lanes have agents of their own
more=
[ -z "${EVERCOPY_LONG:-}" ] || more=silent # it takes a minute of silence
# shellcheck disable=SC2086 # none or one
world_lanes away too_long stopped cancelled clones restores $more
world_end
