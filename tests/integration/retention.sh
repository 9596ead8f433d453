#!/bin/bash
# Retention as an operator meets it: preview with reasons, apply of exactly that, holds, locks, deletes,
# manual snapshots, what a database host may not, and logs that leave the area once snapshots hold them.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_enter 2G "$@"

preview() {
    shim operator retention "$1" --json || { saw "preview ended with $code: $(head -n 1 "$err")"; return 1; }
    cp "$out" "$work/$1.preview"
}
names() { ask "$work/$1.preview" "' '.join(d2['snapshot'] for d2 in d['decisions'] if $2)"; }
reasons_of() { ask "$work/$1.preview" "'; '.join(r['text'] for d2 in d['decisions'] if d2['snapshot']=='$2' for r in d2['reasons'])"; }
on_storage() { ls "$xfs/storage/snapshots/$1" | tr '\n' ' '; }
listed() {
    shim operator snapshots "$1" --json >/dev/null
    ask "$out" "' '.join(s['name'] for s in d['snapshots'])"
}

a_preview_names_every_reason_and_deletes_nothing() {
    for _ in 1 2 3; do
        work RET
        backup RET || { saw "backup: $(head -n 1 "$err")"; return 1; }
    done
    shim operator retention RET && says "$out" 'DELETE past every period of the policy' &&
        says "$out" 'hourly: the point of hour' && says "$out" 'the floor: a proven point of day' &&
        says "$out" 'the last good one' && says "$out" 'space that comes back: unknown' &&
        preview RET || return 1
    going=$(names RET "not d2['keep']") staying=$(names RET "d2['keep']")
    [ "$(wc -w <<<"$going")" -ge 4 ] || { saw "only '$going' would go"; return 1; }
    same "$(on_storage RET | wc -w)" 6 "snapshots on the storage"
}
a_database_host_sees_the_plan_and_may_not_touch_it() {
    shim host-RET retention RET --quiet || { saw "preview refused: $(head -n 1 "$err")"; return 1; }
    shim host-RET retention RET --apply
    exits 160 && first_line "role 'dbhost'" || return 1
    set -- "${going%% *}"
    for verb in delete hold lock release verify; do
        shim host-RET snapshot "$verb" RET "$1" --reason x --for 1h
        exits 160 && first_line "role 'dbhost'" || return 1
    done
    same "$(on_storage RET | wc -w)" 6 "snapshots on the storage"
}
a_hold_keeps_what_would_go_and_several_hold_one() {
    first=${going%% *}
    shim operator snapshot hold RET "$first" --reason 'audit 2026' --for 30d && says "$out" 'is held until' || return 1
    shim operator snapshot hold RET "$first" --reason 'the lawyers' || return 1
    shim operator snapshots RET && says "$out" 'held by operator: audit 2026, until 20' &&
        says "$out" 'held by operator: the lawyers, until it is released' && preview RET || return 1
    [[ $(reasons_of RET "$first") == *'held by operator: audit 2026'* ]] || { saw "$(reasons_of RET "$first")"; return 1; }
    shim operator snapshot delete RET "$first"
    exits 160 && says "$err" 'stays: held by operator: audit 2026' || return 1
    shim operator snapshot release RET "$first"
    exits 160 && says "$err" '2 holds are on' || return 1
    grep -q 'the lawyers' "$xfs/storage/snapshots/RET/$first/note.json" || saw "the hold is not kept with the snapshot"
}
a_plan_that_changed_is_not_applied() {
    local old
    preview RET
    old=$(ask "$work/RET.preview" "d['plan']")
    second=$(names RET "not d2['keep']")
    second=${second%% *}
    shim operator snapshot lock RET "$second" --for 2h && says "$out" 'locked by the agent for 120 min' || return 1
    preview RET
    [ "$old" != "$(ask "$work/RET.preview" "d['plan']")" ] || { saw "the plan id is the same"; return 1; }
    shim operator snapshot lock RET "$second" --for 1h
    exits 160 && says "$err" 'a lock is never shortened' || return 1
    shim operator snapshot delete RET "$second"
    exits 160 && says "$err" 'locked by the agent for another 2 h'
}
a_clone_keeps_its_snapshot() {
    third=$(names RET "not d2['keep']")
    third=${third%% *}
    shim operator clone create RET probe --snapshot "$third" && preview RET || return 1
    [[ $(reasons_of RET "$third") == *"clone 'probe' is made of it"* ]] || { saw "$(reasons_of RET "$third")"; return 1; }
    shim operator snapshot delete RET "$third"
    exits 160 && says "$err" "clone 'probe' is made of it"
}
apply_deletes_exactly_what_was_shown() {
    going=$(names RET "not d2['keep']") staying=$(names RET "d2['keep']")
    shim operator retention RET --apply --json || { saw "apply: $(head -n 1 "$err")"; return 1; }
    same "$(ask "$out" "' '.join(d['deleted'])")" "$going" deleted &&
        same "$(listed RET)" "$staying" "the catalog's list" &&
        same "$(on_storage RET | wc -w)" "$(wc -w <<<"$staying")" "number on the storage" || return 1
    shim operator retention RET --apply --json && same "$(ask "$out" "d['deleted']")" '[]' 'deleted twice'
}
hooks_hear_what_went() {
    within 20 grep -q '^kept=' "$work/applied" || { saw "no hook heard of it"; return 1; }
    same "$(grep -E '^(event|db|deleted|kept)=' "$work/applied" | head -n 4 | tr '\n' ' ')" \
        "event=retention.applied db=RET deleted=$(wc -w <<<"$going") kept=$(wc -w <<<"$staying") " 'what the hook heard'
}
# In make test the oldest of them, in test-long each.
what_stays_is_still_restored() {
    local scn most=1
    [ -z "${EVERCOPY_LONG:-}" ] || most=99
    shim operator snapshots RET --json || return 1
    for scn in $(ask "$out" "' '.join([str(s['latest_scn']) for s in d['snapshots'] if s['verdict']=='ok'][:$most])"); do
        restores_to RET "$scn" --scn "$scn" || return 1
    done
}
a_released_hold_lets_go_and_a_restart_forgets_nothing() {
    agent_stop
    agent_start
    shim operator snapshots RET --json || return 1
    hold=$(ask "$out" "[h['id'] for s in d['snapshots'] for h in s['holds']][0]")
    shim operator snapshot release RET "$first" --hold "$hold" && says "$out" '1 others hold it' &&
        shim operator snapshot release RET "$first" && says "$out" '0 others' &&
        shim operator clone drop RET probe && shim operator retention RET --apply || return 1
    [[ " $(listed RET) " != *" $first "* && " $(listed RET) " != *" $third "* ]] || { saw "they stay"; return 1; }
    [[ " $(listed RET) " == *" $second "* ]] || saw "the locked one is gone"
}
a_snapshot_by_hand_is_a_base_and_is_verified() {
    local name
    shim operator snapshot create RET && says "$err" 'as a recovery base: ok' || return 1
    name=$(cat "$out")
    shim operator snapshot verify RET "$name" && says "$out" '^ok ' || return 1
    local victim
    victim=$(find "$xfs/storage/snapshots/RET/$name/data" -name 'data_*' | head -n 1)
    chmod u+w "$victim" && printf 'X' | dd of="$victim" bs=1 seek=40000 conv=notrunc status=none
    shim operator snapshot verify RET "$name"
    exits 161 && says "$out" "^differs .*data_"
}
# A script that forgets to make a new key must not be told that what it named is deleted or locked.
a_used_key_never_answers_for_another_snapshot() {
    /usr/bin/python3 -c 'import grpc, google.protobuf' 2>/dev/null ||
        { echo "SKIPPED a_used_key_never_answers_for_another_snapshot: no python3-grpcio"; return 0; }
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$here/tests/clients timeout 60 /usr/bin/python3 - "127.0.0.1:$agent_port" \
        "$work/etc" "$bin/gen/descriptors.binpb" >"$out" 2>&1 <<'PY'
import select, sys, time, grpc
from wire import Channel, Wire, fails
operator = Channel(Wire(sys.argv[3]), *sys.argv[1:3], 'operator')
def call(method, **fields):
    return operator.call(method, db_unique_name='RET', **fields)
def names():
    return [s.name for s in call('Snapshots/ListSnapshots').snapshots]
def make():
    """Names have whole seconds: two in one second are one too many."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            return call('Snapshots/CreateSnapshot', idempotency_key=f'{time.monotonic()}').snapshot.name
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.ALREADY_EXISTS, e.details()
        select.select([], [], [], 0.1)
    raise AssertionError('no second snapshot within 10 s')
made = [make(), make()]
call('Retention/LockSnapshot', idempotency_key='lock', snapshot=made[1], for_s=600)
call('Retention/LockSnapshot', idempotency_key='lock', snapshot=made[1], for_s=600)
wrong = grpc.StatusCode.INVALID_ARGUMENT
fails(wrong, call, 'Retention/LockSnapshot', idempotency_key='lock', snapshot=made[0], for_s=600)
fails(wrong, call, 'Retention/LockSnapshot', idempotency_key='lock', snapshot=made[1], for_s=6000)
held = [call('Retention/HoldSnapshot', idempotency_key=f'hold-{i}', snapshot=made[1], reason='x').hold for i in range(2)]
call('Retention/ReleaseSnapshot', idempotency_key='release', snapshot=made[1], hold=held[0])
fails(wrong, call, 'Retention/ReleaseSnapshot', idempotency_key='release', snapshot=made[1], hold=held[1])
call('Retention/ReleaseSnapshot', idempotency_key='again', snapshot=made[1], hold=held[1])
call('Retention/DeleteSnapshot', idempotency_key='delete', snapshot=made[0])
call('Retention/DeleteSnapshot', idempotency_key='delete', snapshot=made[0])
fails(wrong, call, 'Retention/DeleteSnapshot', idempotency_key='delete', snapshot=made[1])
assert made[0] not in names() and made[1] in names(), names()
PY
    [ "$?" = 0 ] || saw "$(tail -n 1 "$out")"
}
the_last_good_one_is_never_deleted() {
    local last
    preview RET
    last=$(names RET "any(r['rule']=='last-good' for r in d2['reasons'])")
    shim operator snapshot delete RET "${last%% *}"
    exits 160 && says "$err" 'the last good one'
}
the_clock_jumps() {
    agent_stop
    python3 - "$work/state/catalog.sqlite" <<'PY'
import json, sqlite3, sys
c = sqlite3.connect(sys.argv[1])
note = json.loads(c.execute("select text from note where key='clock'").fetchone()[0])
note['wall_us'] -= 2 * 3600 * 1000000
c.execute("update note set text=? where key='clock'", (json.dumps(note),))
c.commit()
PY
    agent_start
}
a_clock_that_jumped_stops_it_until_an_operator_speaks() {
    the_clock_jumps
    shim operator retention RET && says "$out" 'applying would be refused now: the clock jumped forward by 1[12][0-9] min' || return 1
    shim operator retention RET --apply --quiet
    exits 160 && says "$err" 'the clock jumped forward' || return 1
    shim operator retention RET --apply --quiet --clock-is-right && shim operator retention RET --apply --quiet
}
keeping() {
    # shellcheck disable=SC2034 # read by world_agent
    world_agent_keys="hooks = $work/apart-$lane/hook.d"
    mkdir -p "$work/apart-$lane/hook.d/retention.applied"
    printf '#!/bin/sh\ncat >>%s\n' "$work/apart-$lane/applied" >"$work/apart-$lane/hook.d/retention.applied/10-keep"
    chmod 0755 "$work/apart-$lane/hook.d/retention.applied/10-keep"
    world_apart "$(printf 'RET]\nstorage = box\nkeephourly = 1\nkeepproven = 1\n[database NONE')"
    shim_config operator RET NONE >"$work/etc/operator.shim.conf"
    database RET --files 2 --blocks 80
    try a_preview_names_every_reason_and_deletes_nothing
    try a_database_host_sees_the_plan_and_may_not_touch_it
    try a_hold_keeps_what_would_go_and_several_hold_one
    try a_plan_that_changed_is_not_applied
    try a_clone_keeps_its_snapshot
    try apply_deletes_exactly_what_was_shown
    try hooks_hear_what_went
    try what_stays_is_still_restored
    try a_released_hold_lets_go_and_a_restart_forgets_nothing
    try a_snapshot_by_hand_is_a_base_and_is_verified
    try a_used_key_never_answers_for_another_snapshot
    try the_last_good_one_is_never_deleted
    try a_clock_that_jumped_stops_it_until_an_operator_speaks
    agent_stop
}

# ---- the live area ----

logs_leave_the_area_once_two_proven_snapshots_hold_them() {
    local before
    backup PRU || { saw "first: $(head -n 1 "$err")"; return 1; }
    before=$(ls "$area/PRU/archivelog" | tr '\n' ' ')
    between=
    for _ in 1 2; do
        work PRU
        [ -n "$between" ] || between=$(scn_of PRU)
        backup PRU || { saw "later: $(head -n 1 "$err")"; return 1; }
    done
    cp "$err" "$work/last.err"
    for log in $before; do
        [ ! -e "$area/PRU/archivelog/$log" ] || { saw "$log is still there of '$before'"; return 1; }
    done
    [ -n "$(ls "$area/PRU/archivelog")" ] || saw "no log is left, not even the newest"
}
a_moment_whose_logs_are_gone_from_the_area_is_restored() { restores_to PRU "$between" --scn "$between"; }
automatic_retention_is_told_in_the_runs_log() {
    local run
    run=$(sed -nE 's/.*\[run ([^]]*)\].*/\1/p' "$work/last.err" | head -n 1)
    shim operator log "$run" && says "$out" 'retention: [0-9]+ snapshots go, plan' || return 1
    within 20 retention_is_over
}
a_refused_retention_is_told_until_it_has_gone_well() {
    shim operator check PRU && the_clock_jumps || { saw "before: $(head -n 1 "$out")"; return 1; }
    shim operator status PRU && says "$out" 'the agent: nothing is deleted and no clone ends: the clock jumped forward' || return 1
    work PRU
    backup PRU || { saw "backup: $(head -n 1 "$err")"; return 1; }
    shim operator check PRU
    exits 1 && says "$out" 'no snapshot goes, retention was refused: the clock jumped forward' || return 1
    shim operator status PRU && says "$out" 'next: look at .evercopy retention PRU.; when the clock is right' || return 1
    within 20 grep -q '^cause=the clock jumped' "$work/refused" || { saw "no hook heard of it"; return 1; }
    says "$work/agent.log" 'automatic retention refused: the clock jumped .*db=PRU' || return 1
    shim operator retention PRU --apply --quiet --clock-is-right || { saw "apply: $(head -n 1 "$err")"; return 1; }
    shim operator check PRU
    exits 0 && shim operator status PRU && never_says "$out" '^the agent:'
}
retention_is_over() {
    shim operator jobs PRU --json && [ "$(ask "$out" "sum(1 for j in d['jobs'] if j['kind']=='retention' and j['state']=='running')")" = 0 ] &&
        [ "$(ask "$out" "sum(1 for j in d['jobs'] if j['kind']=='retention' and j['state']=='done')")" -ge 1 ]
}
pruning() {
    # shellcheck disable=SC2034 # read by world_agent
    world_agent_keys="hooks = $work/apart-$lane/hook.d"
    mkdir -p "$work/apart-$lane/hook.d/retention.refused"
    printf '#!/bin/sh\ncat >>%s\n' "$work/apart-$lane/refused" >"$work/apart-$lane/hook.d/retention.refused/10-keep"
    chmod 0755 "$work/apart-$lane/hook.d/retention.refused/10-keep"
    world_apart "$(printf 'PRU]\nstorage = box\nlogretention = 0\nkeepdaily = 2\nkeepproven = 1\nretention = auto\n[database NONE')"
    shim_config operator PRU NONE >"$work/etc/operator.shim.conf"
    database PRU --files 2 --blocks 80
    try logs_leave_the_area_once_two_proven_snapshots_hold_them
    try a_moment_whose_logs_are_gone_from_the_area_is_restored
    try automatic_retention_is_told_in_the_runs_log
    try a_refused_retention_is_told_until_it_has_gone_well
    agent_stop
}

world_lanes keeping pruning
world_end
