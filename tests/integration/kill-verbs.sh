#!/bin/bash
# kill -9 of agent and shim before every step that can be seen from outside, in every verb: what was told is
# there, what was not told is whole or absent, typing the verb again does it, and a second start changes nothing.
#
# EVERCOPY_SEED=N chooses the steps; make test takes a few, EVERCOPY_LONG=1 walks through each verb until it goes
# through untouched, in EVERCOPY_POINTS strides (16; 1000 is every step). EVERCOPY_LANES="keeping cloning ..." chooses.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_enter 4G "$@"

line_of_ours='^(OK|WARNING|REFUSED|FAILED|UNKNOWN|UNREACHABLE|STOPPED)( [^ ]+){0,2}: .+'

# ---- one round ----

referee() { # judge|digest FILE
    local said
    said=$(bare python3 "$here/tests/integration/kill_verbs.py" "$bin" "$work" "$xfs/storage" "${judged:-$db}" "$2" "$1" 2>&1) ||
        saw "${said:-the referee ended}"
}
reborn() {
    [ -z "$agent_pid" ] || agent_crash
    agent_start
}
# The verb as a person types it, or under the knife; leaves $code.
type_it() {
    bare_exec "$@" "$bin/evercopy" "${words[@]}" --config "$work/etc/$who.shim.conf" </dev/null >"$out" 2>"$err" &
    typed=$!
    world_own "$typed"
}
ends_by_itself() {
    wait "$typed"
    code=$?
}
# Leaves $struck: yes when the step came.
type_and_kill_agent() {
    local knife
    "$killat" --report "$work/steps" --nth "$1" --pid "$agent_pid" &
    knife=$!
    world_own "$knife"
    within 10 grep -qs ready "$work/steps" || { saw "the agent cannot be traced"; return 1; }
    type_it
    # Whichever ends first: the agent under the knife, or the verb.
    wait -n "$knife" "$typed" 2>/dev/null
    if gone "$typed" && ! grep -q killed "$work/steps"; then
        pause # what follows an answer is a step too
        kill "$knife" 2>/dev/null
    fi
    wait "$knife" 2>/dev/null
    struck=no
    if grep -q killed "$work/steps"; then
        struck=yes
        wait "$agent_pid" 2>/dev/null
        agent_pid=
        agent_start
    fi
    ends_by_itself
}
# LeakSanitizer cannot look into a traced process.
type_and_kill_shim() {
    local ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0
    type_it "$killat" --report "$work/steps" --nth "$1" --
    ends_by_itself
    struck=no
    ! grep -q killed "$work/steps" || struck=yes
}
documented() { # CODE...
    local one
    for one in "$@"; do
        [ "$code" != "$one" ] || { [ "$code" = 0 ] || first_line "$line_of_ours"; return; }
    done
    saw "exit code $code: $(head -n 1 "$err")"
}

ended_as_told() { # VICTIM
    if [ "$1" = shim ] && [ "$struck" = yes ]; then same "$code" 137 'exit code of the killed shim'; else documented 0 163; fi
}
where_it_fell() { # VERB VICTIM NTH
    where="$1, $2 killed before step $3 ($(grep -v killed "$work/steps" | tail -n 1 | sed "s|$work||g"))"
    [ "$struck" = yes ] || where="$1, $2 untouched at $3"
}
# round VERB agent|shim NTH: the verb's make_ready sets who, words and what is_done looks for.
round() {
    local verb=$1 victim=$2 was_done=no
    serial=$((serial + 1)) who=operator again='0'
    "ready_$verb" || { saw "$verb cannot be prepared: $seen $(head -n 1 "$err")"; return 1; }
    "type_and_kill_$victim" "$3" || return 1
    where_it_fell "$verb" "$victim" "$3"
    ended_as_told "$victim" || { seen="$where: $seen"; return 1; }
    told=$code
    cp "$out" "$work/told"
    referee judge "$work/before" || { seen="$where, then: $seen"; return 1; }
    "done_$verb" && was_done=yes
    [ "$told" != 0 ] || [ "$was_done" = yes ] || { saw "$where: it said that it was done, and it is not"; return 1; }
    reborn
    referee digest "$work/after" || { seen="$where, second start: $seen"; return 1; }
    cmp -s "$work/before" "$work/after" ||
        { saw "$where: a second start changed $(diff "$work/before" "$work/after" | grep '^[<>]' | head -n 3 | tr '\n' ' ')"; return 1; }
    [ "$was_done" = no ] || again=$again_done
    type_it
    ends_by_itself
    # shellcheck disable=SC2086 # codes
    documented $again && { cp "$out" "$work/told"; "done_$verb" || saw 'it is not done'; } ||
        { seen="$where, typed again: $seen"; return 1; }
}

# ---- the walk: every step in test-long, some by chance in test ----

walk() { # VERB VICTIM STEPS: about so many there are
    local stride=1 at=0 nth limit=$((3 * $3 + 60))
    [ "$3" -le "$points" ] || stride=$((($3 + points - 1) / points))
    struck=yes
    while [ "$struck" = yes ]; do
        nth=$((at + 1 + RANDOM % stride))
        round "$1" "$2" "$nth" || return 1
        rounds=$((rounds + 1)) kills=$((kills + (${#struck} == 3)))
        at=$((at + stride))
        [ "$at" -lt "$limit" ] || { saw "$1 never ends"; return 1; }
    done
}
# Verbs as rows: name, steps of the agent, steps of the shim.
walk_all() {
    local verb agent shim row
    rounds=0 kills=0
    if [ -n "${EVERCOPY_LONG:-}" ]; then
        while read -r verb agent shim; do
            walk "$verb" agent "$agent" && walk "$verb" shim "$shim" || return 1
        done <<<"$1"
    else
        mapfile -t row < <(shuf --random-source=<(yes "$seed") -n "$2" <<<"$1")
        for row in "${row[@]}"; do
            read -r verb agent shim <<<"$row"
            if [ $((RANDOM % 3)) = 0 ]; then round "$verb" shim $((1 + RANDOM % shim)); else round "$verb" agent $((1 + RANDOM % agent)); fi || return 1
            rounds=$((rounds + 1)) kills=$((kills + (${#struck} == 3)))
        done
    fi
    echo "# $lane: $rounds rounds, $kills kills"
}

# ---- verbs on snapshots, clones and retention ----

on_storage() { [ -e "$xfs/storage/$1/$db/$2" ]; }
note_has() { ask "$xfs/storage/snapshots/$db/$anchor/note.json" "$1"; }
again_done=0

ready_verify() { again_done=0 words=(snapshot verify "$db" "$anchor"); }
done_verify() { true; }
ready_preview() { again_done=0 words=(retention "$db"); }
done_preview() { true; }
ready_create() { again_done=0 words=(snapshot create "$db"); }
done_create() { [ -s "$work/told" ] && on_storage snapshots "$(cat "$work/told")"; }
ready_hold() { again_done=0 words=(snapshot hold "$db" "$anchor" --reason "kill $serial"); }
done_hold() { [ "$(note_has "any(h['reason']=='kill $serial' for h in d['holds'])")" = true ]; }
ready_release() {
    again_done='0 160'
    id=$(note_has "([h['id'] for h in d['holds'] if h['reason'][:4]=='kill']+[''])[0]")
    if [ -z "$id" ]; then
        shim operator snapshot hold "$db" "$anchor" --reason "kill $serial" || return 1
        id=$(note_has "d['holds'][-1]['id']")
    fi
    words=(snapshot release "$db" "$anchor" --hold "$id")
}
done_release() { [ "$(note_has "any(h['id']=='$id' for h in d['holds'])")" = false ]; }
ready_lock() { again_done=0 words=(snapshot lock "$db" "$anchor" --for "$((24 + serial))h"); }
done_lock() { [ "$(note_has "d.get('lock',{}).get('left_ms',0) > $(((23 + serial) * 3600000))")" = true ]; }
spare() { # snapshots that the policy lets go, at least one
    local i
    for i in 1 2 3 4; do
        shim operator retention "$db" --json || return 1
        going=$(ask "$out" "' '.join(x['snapshot'] for x in d['decisions'] if not x['keep'])")
        [ -z "$going" ] || return 0
        shim operator snapshot create "$db" || return 1
    done
    saw 'no snapshot goes'
}
none_there() { # NAME...
    local name
    for name in "$@"; do ! on_storage snapshots "$name" || return 1; done
}
ready_delete() {
    spare && target=${going%% *} || return 1
    again_done='0 160' words=(snapshot delete "$db" "$target")
}
done_delete() { none_there "$target"; }
ready_apply() { again_done=0 words=(retention "$db" --apply) && spare; }
# shellcheck disable=SC2086 # names
done_apply() { none_there $going; }
ready_clone() { again_done='0 160' target=k$serial words=(clone create "$db" "k$serial" --snapshot "$anchor" --purpose kill); }
done_clone() { on_storage clones "$target"; }
ready_recipe() { again_done='0 160' target=p$serial words=(clone create "$db" "p$serial" --scn "$reach" --purpose kill); }
done_recipe() { done_clone; }
some_clone() {
    local one
    for one in "$xfs/storage/clones/$db"/*; do
        [ ! -d "$one" ] || { target=${one##*/}; return 0; }
    done
    target=s$serial
    shim operator clone create "$db" "$target" --snapshot "$anchor"
}
ready_extend() {
    some_clone || return 1
    again_done=0 words=(clone extend "$db" "$target" --for "$((30 + serial))h")
}
done_extend() {
    local hours="(d['expires_us']/1e6-__import__('time').time())/3600"
    [ "$(ask "$xfs/storage/clones/$db/$target/note.json" "$((29 + serial)) < $hours < $((31 + serial))")" = true ]
}
ready_drop() {
    some_clone || return 1
    again_done='0 160' words=(clone drop "$db" "$target")
}
done_drop() { ! on_storage clones "$target"; }

begin_keeping() {
    db=ONE serial=0
    world_apart "$(printf 'ONE]\nstorage = box\nkeephourly = 1\nkeepproven = 1\n[database NONE')"
    shim_config operator ONE NONE >"$work/etc/operator.shim.conf"
    database ONE --files 2 --blocks 80
    backup ONE || world_fail "backup: $(head -n 1 "$err")"
    anchor=$(cd "$xfs/storage/snapshots/ONE" && echo *-post)
    shim operator snapshot hold ONE "$anchor" --reason anchor || world_fail "hold: $(head -n 1 "$err")"
    shim operator snapshots ONE --json
    reach=$(ask "$out" "[x['latest_scn'] for x in d['snapshots'] if x['name']=='$anchor'][0]")
}

# Two hands on the same verb in the same second.
at_once() { # NUMBER: as many of $words; their outputs in once.N
    local i
    local -a pids=()
    for ((i = 1; i <= $1; i++)); do
        bare_exec "$bin/evercopy" "${words[@]}" --config "$work/etc/$who.shim.conf" </dev/null >"$work/once.$i" 2>"$work/once.$i.err" &
        pids+=("$!")
        world_own "$!"
    done
    for ((i = 1; i <= $1; i++)); do
        wait "${pids[i - 1]}"
        code=$?
        [ "$code" = 0 ] || { saw "one of $1 at once ended with $code: $(head -n 1 "$work/once.$i.err")"; return 1; }
    done
}
snapshots_made_at_once_are_all_there() {
    local name
    who=operator words=(snapshot create "$db")
    at_once 4 || return 1
    for name in $(cat "$work"/once.[1-4]); do
        on_storage snapshots "$name" || { saw "$name was told and is not there"; return 1; }
    done
    same "$(cat "$work"/once.[1-4] | sort -u | wc -l)" 4 'names of snapshots' && referee judge "$work/end"
}
snapshots_are_whole_or_absent() {
    walk_all 'create 88 10
verify 8 10
hold 22 10
release 22 10
lock 22 10
delete 50 10
preview 6 10
apply 60 16' 2 && referee judge "$work/end"
}
keeping() {
    begin_keeping
    try snapshots_made_at_once_are_all_there
    try snapshots_are_whole_or_absent
    [ -n "${EVERCOPY_LONG:-}" ] || try clones_are_whole_or_absent # there they have a lane of their own
    agent_stop
}
clones_are_whole_or_absent() {
    walk_all 'clone 80 10
recipe 70 10
extend 22 10
drop 44 10' 1 && referee judge "$work/end"
}
cloning() {
    begin_keeping
    try clones_are_whole_or_absent
    agent_stop
}

# ---- verbs on the agent itself and on certificates ----

ready_renew() { again_done=0 who=host-ONE words=(renew ONE); }
done_renew() {
    local pair=$work/etc/host-ONE out=$work/renew.out err=$work/renew.err
    [ -z "$(find "$work/etc" -name '*.next' -o -name '*.tmp')" ] || return 1
    [ "$(openssl x509 -in "$pair.crt" -noout -pubkey)" = "$(openssl pkey -in "$pair.key" -pubout)" ] &&
        shim host-ONE jobs ONE
}
ready_reload() {
    again_done=0 who=boss words=(reload)
    if [ $((serial % 2)) = 0 ]; then served='ONE TWO'; else served='ONE'; fi
    # shellcheck disable=SC2086 # names
    agent_config $served | sed "s/^listen = .*/listen = 127.0.0.1:$agent_port/" >"$work/etc/evercopyd.conf"
}
done_reload() {
    local out=$work/reload.out err=$work/reload.err code
    shim boss window TWO
    case $served in *TWO*) ! grep -q 'not configured' "$err" ;; *) grep -q 'not configured' "$err" ;; esac
}
renewals_at_once_leave_a_pair_that_fits() {
    ready_renew
    at_once 4 && { done_renew || saw 'certificate and key do not fit, or something is left'; }
}
certificates_and_configuration_are_the_old_or_the_new() {
    walk_all 'renew 14 22
reload 6 10' 1 && referee judge "$work/end"
}
administering() {
    db=ONE serial=0
    world_apart ONE TWO
    database ONE --files 2 --blocks 80
    world_who boss admin ONE TWO
    try renewals_at_once_leave_a_pair_that_fits
    try certificates_and_configuration_are_the_old_or_the_new
    agent_stop
}

ready_setup() {
    db=S$serial who=host-$db again_done=0 words=(setup "$db" --apply)
    sim "$db" create --dbdir "$work/prod/$db" --db-name "$db" --unique-name "$db" --files 2 --blocks 80 --dbid "$(dbid_of "$db")" >"$work/create" 2>&1 &&
        world_who "$who" dbhost "$db"
}
done_setup() {
    local out=$work/setup.out err=$work/setup.err code
    shim "$who" setup "$db" && grep -q 'nothing to do' "$out"
}
a_setup_is_gone_on_with() { walk_all 'setup 16 24' 2; }
setting_up() {
    serial=0 judged=S0
    # shellcheck disable=SC2046 # names
    world_apart $(seq -f 'S%g' 0 60)
    database S0 --files 2 --blocks 80
    try a_setup_is_gone_on_with
    agent_stop
}

# ---- runs: the backup with all that follows it, and its end from outside ----

jobs_are() { # EXPRESSION over backups, newest first
    local out=$work/jobs.out err=$work/jobs.err code
    shim operator jobs "$db" --json && ask "$out" "(lambda j: $1)([x for x in d['jobs'] if x['kind']=='backup'])"
}
rest_is_as_told() { # after the run that follows
    referee judge "$work/before" && reborn && referee digest "$work/after" || { seen="$where, then: $seen"; return 1; }
    cmp -s "$work/before" "$work/after" || saw "$where: a second start changed $(diff "$work/before" "$work/after" | grep '^[<>]' | head -n 3 | tr '\n' ' ')"
}
round_backup() { # VICTIM NTH
    serial=$((serial + 1)) who=host-$db words=(backup "$db")
    work "$db" 20
    "type_and_kill_$1" "$2" || return 1
    where_it_fell backup "$1" "$2"
    ended_as_told "$1" || { seen="$where: $seen"; return 1; }
    type_it
    ends_by_itself
    exits 0 && first_line "^OK $db: " || { seen="$where, the next run: $seen"; return 1; }
    rest_is_as_told
}
level1() { [ "$(jobs_are "j[0]['state']+' '+j[0]['step']" 2>/dev/null)" = 'running level1' ]; }
round_cancel() { # VICTIM NTH
    local run run_err=$work/cancelled.err job
    serial=$((serial + 1))
    sim "$db" inject hang --at backup || return 1
    bare_exec "$bin/evercopy" backup "$db" --config "$work/etc/host-$db.shim.conf" </dev/null >"$work/cancelled.out" 2>"$run_err" &
    run=$!
    world_own "$run"
    within 30 level1 || { saw "it did not come to level 1: $(cat "$run_err")"; return 1; }
    job=$(jobs_are "j[0]['id']")
    who=operator words=(cancel "$job")
    "type_and_kill_$1" "$2" || return 1
    where_it_fell cancel "$1" "$2"
    ended_as_told "$1" || { seen="$where: $seen"; return 1; }
    type_it
    ends_by_itself
    documented 0 || { seen="$where, typed again: $seen"; return 1; }
    within 60 gone "$run" || { saw "$where: the run does not end"; return 1; }
    wait "$run"
    code=$? err=$run_err
    exits 164 && first_line "^STOPPED $db level1: cancelled by operator" || { seen="$where, the run: $seen"; err=$work/main.err; return 1; }
    err=$work/main.err
    sim "$db" inject clear
    same "$(jobs_are "j[0]['state']+' '+j[0]['cancelled_by']")" 'failed operator (operator)' "$where, the cancelled run" && rest_is_as_told
}
# Points spread over a run whose steps are asked of a run that is left alone; those that PATTERN names, all.
walk_run() { # VERB VICTIM POINTS [PATTERN]
    local steps stride i nth
    "round_$1" "$2" 0 || return 1
    steps=$(grep -vc '^ready\|^killed' "$work/steps")
    for nth in $(grep -E "${4:-^none}" "$work/steps" | cut -d' ' -f1); do
        "round_$1" "$2" "$nth" || return 1
        rounds=$((rounds + 1)) kills=$((kills + (${#struck} == 3)))
    done
    stride=$(((steps + $3 - 1) / $3))
    for ((i = 0; i < $3; i++)); do
        "round_$1" "$2" $((1 + i * stride + RANDOM % stride)) || return 1
        rounds=$((rounds + 1)) kills=$((kills + (${#struck} == 3)))
    done
}
a_killed_run_is_followed_by_a_whole_one_and_a_cancelled_one_ends() {
    rounds=0 kills=0
    if [ -n "${EVERCOPY_LONG:-}" ]; then
        walk_run backup agent $((points * 7 / 16)) && walk_run backup shim $((points * 6 / 16)) ' (fsync|rename) .*/facts-' &&
            walk_run cancel agent $((points / 4)) && walk_run cancel shim 3 || return 1
        echo "# $lane: $rounds rounds, $kills kills"
    elif [ $((RANDOM % 2)) = 0 ]; then
        round_backup agent $((1 + RANDOM % 300))
    else
        round_backup shim $((1 + RANDOM % 200))
    fi
}
running() {
    db=RUN serial=0
    world_apart "$(printf 'RUN]\nstorage = box\nlogretention = 0\nkeepdaily = 2\nkeepproven = 1\nretention = auto\n[database NONE')"
    shim_config operator RUN NONE >"$work/etc/operator.shim.conf"
    database RUN --files 2 --blocks 80
    sed -i "s|^logwait = .*|&\nagentwait = 60\nspool = $work/spool|" "$work/etc/host-RUN.shim.conf"
    backup RUN || world_fail "backup: $(head -n 1 "$err")"
    try a_killed_run_is_followed_by_a_whole_one_and_a_cancelled_one_ends
    agent_stop
}

seed=${EVERCOPY_SEED:-$$} points=${EVERCOPY_POINTS:-16}
RANDOM=$seed
echo "# seed $seed"
: >"$work/agent.log" # the lanes have agents of their own
"${CC:-gcc}" -std=gnu11 -Wall -Wextra -O1 -o "$work/killat" "$here/tests/integration/killat.c" || exit 1
killat=$work/killat
"$killat" --report "$work/steps" -- /bin/true || world_skip_all 'no program can be traced here'
lanes=(administering setting_up running cloning)
[ -n "${EVERCOPY_LONG:-}" ] || lanes=("${lanes[RANDOM % 3]}")
# shellcheck disable=SC2086 # names
world_lanes ${EVERCOPY_LANES:-keeping "${lanes[@]}"}
world_end
