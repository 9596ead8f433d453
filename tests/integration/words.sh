#!/bin/bash
# What every verb says, when it works and when it does not: exit codes, the first line of stderr, JSON by its
# schemas, the plug-in's figures by their grammar, progress on a terminal, zones.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_enter 1G "$@"

words() {
    timeout 120 /usr/bin/python3 "$here/tests/integration/words.py" "$bin" "$work" "$1" >"$work/words.$1" 2>&1 ||
        saw "$(grep -v '^#' "$work/words.$1" | head -n 12)"
}
every_failing_call_ends_with_its_code_and_one_line() { words table; }
a_certificate_of_another_authority_is_refused_and_says_so() { words refused; }
json_is_by_its_schema() { words schemas; }
the_plug_in_speaks_the_grammar_and_is_never_green_by_default() { words check; }
progress_is_drawn_on_terminals_alone_and_taken_away() { words terminal; }
every_printed_time_names_its_zone() { words zones; }
pages_put_together_are_the_whole() { words pages; }

world_agent ORCL EMPTY
world_who watcher monitor ORCL
(
    work=$work/other-pki
    mkdir -p "$work/etc"
    agent_config ORCL >"$work/etc/evercopyd.conf"
    evercopyd init --name localhost >/dev/null && evercopyd enroll host-ORCL --role dbhost --db ORCL --out "$work/../other" >/dev/null
) || world_fail 'no other authority'
database ORCL --zone +01:00
backup ORCL || world_fail "backup: $(cat "$err")"

failing() {
    try every_failing_call_ends_with_its_code_and_one_line
    try a_certificate_of_another_authority_is_refused_and_says_so
}
speaking() {
    try json_is_by_its_schema
    try the_plug_in_speaks_the_grammar_and_is_never_green_by_default
    try every_printed_time_names_its_zone
    try pages_put_together_are_the_whole
    try progress_is_drawn_on_terminals_alone_and_taken_away
}
world_lanes failing speaking
world_end
