#!/bin/bash
# A configuration read again under a running agent: databases come and go, runs under way stay, quotas bind.
. "$(dirname "$0")/../lib/world.sh"
world_enter 600M "$@"

again() {
    agent_config "$@" | sed "s/^listen = .*/listen = 127.0.0.1:$agent_port/" >"$work/etc/evercopyd.conf"
    shim boss reload
}

a_new_database_is_served_at_once() {
    ! shim boss status NEW || return 1
    says "$err" "is not configured on the agent" || return 1
    again OLD NEW && says "$out" '\[database NEW\] is new' || return 1
    database NEW
    backup NEW && first_line 'recoverable to SCN' && exits 0
}

a_run_beyond_the_quota_is_refused_and_nothing_goes() {
    world_agent_keys='runsperday = 1' again OLD NEW && says "$out" '\[database NEW\] has changed' || return 1
    ! backup NEW && exits 160 && first_line 'REFUSED NEW begin: .*1 runs of 24 hours \(runsperday\)' || return 1
    shim boss snapshots NEW --json && same "$(ask "$out" 'len(d["snapshots"])')" 2 snapshots
}

a_database_that_went_is_told_and_kept() {
    again OLD && says "$out" '\[database NEW\] is gone' || return 1
    ! shim boss snapshots NEW || return 1
    again OLD NEW && shim boss snapshots NEW --json && same "$(ask "$out" 'len(d["snapshots"])')" 2 snapshots
}

the_audit_knows_all_of_it() {
    evercopyd audit verify >"$out" && says "$out" '^ok [0-9]+ records' || return 1
    evercopyd audit show --db NEW >"$out" && says "$out" 'outcome of [0-9]+ host-NEW \(dbhost\).*BeginBackup NEW .*QUOTA' &&
        says "$out" 'outcome of [0-9]+ host-NEW .*RegisterDatabase NEW .*ok'
}

world_agent OLD
world_who boss admin OLD NEW
{
    try a_new_database_is_served_at_once
    try a_run_beyond_the_quota_is_refused_and_nothing_goes
    try a_database_that_went_is_told_and_kept
    try the_audit_knows_all_of_it
} | tee -a "$work/said"
world_end
