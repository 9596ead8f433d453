#!/bin/bash
# Shows that the tests can say no: one line of a source is changed, the test that guards it must fail.
# A change that changes nothing, does not compile or is not noticed is a failure of this script.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_enter 2G "$@"

case ${bin##*/} in
san-*) san=-fsanitize=$(sed 's/^san-//; s/-/,/g' <<<"${bin##*/}") ;;
cover) san=--coverage ;;
*) san= ;;
esac
pkgs=$(sed -n 's,^PKGS *:= *,,p' "$here/Makefile")
read -r -a libs <<<"-Wl,--as-needed $(pkg-config --libs $pkgs) -lmbedtls -lmbedx509 -lmbedcrypto -lpthread -lm"
read -r -a flags <<<"-std=gnu11 -D_GNU_SOURCE -fvisibility=hidden -g -O1 -w $san $(pkg-config --cflags $pkgs)"

# mutant SOURCE SED: the changed source as an object, $object; says which line became what.
mutant() {
    local source=$here/$1 copy
    copy=$work/$lane-mutant.c
    object=$work/$lane-mutant.o
    sed -E "$2" "$source" >"$copy" || { saw "sed does not take '$2'"; return 1; }
    if cmp -s "$source" "$copy"; then
        saw "'$2' changes nothing in $1: the line it meant is gone"
        return 1
    fi
    [ "$(diff "$source" "$copy" | grep -c '^>')" -le 1 ] || { saw "'$2' changes more than one line of $1"; return 1; }
    echo "# $1:$(diff "$source" "$copy" | sed -n '1s/[acd].*//p;/^>/s/^> */ /p' | tr -d '\n')"
    "${CC:-gcc}" "${flags[@]}" -I"$here" -I"$bin/gen" -I"$(dirname "$source")" -c -o "$object" "$copy" 2>"$err" ||
        saw "the change does not compile: $(grep -m 1 error "$err")"
}

# caught TEST FILTER: that Criterion test passes as built, and fails with the object in it.
caught() {
    local test=$work/$lane-test
    "${CC:-gcc}" $san -o "$test" "$bin/tests/$1.o" "$object" "$bin"/tests/lib/*.o "$bin/libevercopy.a" \
        "${libs[@]}" -lcriterion 2>"$err" || { saw "no test was linked: $(tail -n 1 "$err")"; return 1; }
    timeout 60 "$bin/tests/$1" --filter "$2" >"$out" 2>&1 || { saw "$1 $2 fails before anything is changed"; return 1; }
    grep -qE 'Tested: [1-9]' <(sed 's/\x1b\[[0-9;]*m//g' "$out") || { saw "$1 has no test $2"; return 1; }
    # A report of the sanitizers is what the mutant deserves; it must not count against the run.
    if ASAN_OPTIONS='' UBSAN_OPTIONS='' timeout 60 "$test" --filter "$2" >"$out" 2>&1; then
        saw "$1 $2 did not notice"
        return 1
    fi
    echo "# caught by $1: $(sed 's/\x1b\[[0-9;]*m//g' "$out" | grep -oE '^\[FAIL\] [^:]+::[^:]+' | sed 's/\[FAIL\] //' | sort -u | head -n 3 | paste -sd' ')"
}

reader_offset_of_the_checkpoint() {
    mutant agent/oracle/datafile.c 's/^( *AT_CHECKPOINT_SCN = )484,/\1480,/' && caught oracle/test_datafile '*/*'
}
log_gaps_are_seen_by_header() { # N6
    mutant agent/engine/plan_logs.c 's/if \(log->log\.sequence != chain->sequence \+ 1\)/if (log->log.sequence <= chain->sequence)/' &&
        caught engine/test_planner 'planner/a_missing_log_ends_the_chain_and_is_named'
}
composed_intervals_reach_inside_a_run() { # N1
    mutant agent/engine/planner.c 's/^( *)plan->can_compose = can_compose;/\1plan->can_compose = false;/' &&
        caught engine/test_planner 'planner/the_hole_inside_a_run_is_closed*'
}
frozen_copies_are_red() { # N2
    mutant agent/engine/backup.c 's/!scn_less\(copy->datafile\.checkpoint_scn, file->header_scn\)/true/' &&
        caught engine/test_backup 'backup/a_copy_that_stood_still_is_red'
}
old_tokens_are_fenced() { # R48, N7
    mutant agent/catalog/catalog_lease.c '/FROM lease|WHERE job = \? AND token = \? AND left_ms > 0"\);/{0,/WHERE job = \? AND token = \?/s/token = \? AND left_ms > 0/token <> -? AND left_ms > 0/}' &&
        caught catalog/test_lease 'lease/an_old_token_is_fenced*'
}
clones_are_apart_from_the_area() { # R11, R86
    local link='char self[64]; str_format(self, sizeof self, "/proc/self/fd/%d", from); if (linkat(AT_FDCWD, self, to_dir, name, AT_SYMLINK_FOLLOW) == 0) { copy->files++; copy->bytes += (uint64_t)st->st_size; return true; }'
    mutant drivers/reflink/tree.c "0,/AUTO\(fd\) int to = sys_open_beneath\(to_dir, name, flags, 0600, err\);/s||$link &|" &&
        caught drivers/test_contract '*/*'
}
verdicts_fit_into_160_bytes() { # N7
    mutant agent/shim/verdict.c 's/size_t limit = VERDICT_LINE_MAX - strlen\(tail\);/size_t limit = VERDICT_LINE_MAX;/' &&
        caught shim/test_verdict 'shim/verdict_is_cut_at_160_bytes*'
}
units_one() {
    try reader_offset_of_the_checkpoint
    try log_gaps_are_seen_by_header
    try composed_intervals_reach_inside_a_run
    try verdicts_fit_into_160_bytes
}
units_two() {
    try frozen_copies_are_red
    try old_tokens_are_fenced
    try clones_are_apart_from_the_area
}

# ---- whole programs ----

# identifies SIMULATOR: its file's checkpoint as our reader sees it.
identifies() {
    local dir=$work/$lane-$2 file
    mkdir -p "$dir/ora"
    "$1" create --home "$dir/ora" --sid X --dbdir "$dir/prod" --files 3 --blocks 60 >"$out" 2>"$err" || return 1
    file=$(find "$dir/prod" -name '*system*.dbf' | head -n 1)
    "$bin/evercopy" identify "$file" --json >"$out" 2>"$err"
    ask "$out" "d[0].get('checkpoint_scn') or d[0].get('datafile', {}).get('checkpoint_scn')"
}
simulator_offset_of_the_checkpoint() {
    local right wrong
    mutant tests/oracle-sim/datafile.c 's/put_scn\(f, b \+ 484, h->ckp\);/put_scn(f, b + 476, h->ckp);/' || return 1
    right=$(identifies "$bin/oracle-sim" right)
    [ "${right:-0}" -ge 1000000 ] 2>/dev/null || { saw "identify tells no checkpoint: '$right' $(head -c 200 "$out")"; return 1; }
    "${CC:-gcc}" $san -o "$work/sim-mutant" "$object" $(ls "$bin"/tests/oracle-sim/*.o | grep -v '/datafile\.o$') -lsqlite3 -lnfs -lm 2>"$err" ||
        { saw "no simulator was linked: $(tail -n 1 "$err")"; return 1; }
    wrong=$(identifies "$work/sim-mutant" wrong)
    [ "$wrong" != "$right" ] && [ "${wrong:-0}" -lt 1000000 ] || { saw "identify still reads $wrong"; return 1; }
    echo "# caught by evercopy identify: checkpoint '$wrong' in place of $right"
}
# The fence of a restore: a host that can reach production's files.
the_fence_of_a_restore() { # R52
    mutant agent/shim/restore.c "s/if \(name\[0\] == '\+' \|\| stat\(name, &st\) == 0 .*/if (false \&\& stat(name, \&st) == 0 \&\& errno)/" || return 1
    # In its place in the library: a program's link order is part of the program.
    mv "$object" "$work/restore.o"
    cp "$bin/libevercopy.a" "$work/mutant.a"
    [ "$(ar t "$work/mutant.a" | grep -c '^restore\.o$')" = 1 ] && ar r "$work/mutant.a" "$work/restore.o" || { saw "restore.o is not in the library once"; return 1; }
    "${CC:-gcc}" $san -o "$work/evercopy-mutant" "$bin/agent/main/evercopy.o" "$work/mutant.a" \
        "${libs[@]}" 2>"$err" || { saw "no evercopy was linked: $(tail -n 1 "$err")"; return 1; }
    shim operator restore FEN --scn "$target" --sid RFEN --name drill
    exits 160 && says "$err" 'production can be reached from this host' || return 1
    ASAN_OPTIONS='' UBSAN_OPTIONS='' bare timeout 60 "$work/evercopy-mutant" restore FEN --scn "$target" --sid RFEN --name drill \
        --config "$work/etc/operator.shim.conf" </dev/null >"$out" 2>"$err"
    code=$?
    if exits 160 && says "$err" 'production can be reached from this host'; then
        saw "main-job's test of the fence would not notice"
        return 1
    fi
    echo "# caught by main-job.sh, a_restore_on_the_production_host_is_refused: $seen"
    seen=
}
programs() {
    try simulator_offset_of_the_checkpoint
    world_agent FEN
    database FEN --files 3 --blocks 200
    backup FEN
    work FEN
    target=$(scn_of FEN)
    work FEN
    backup FEN
    try the_fence_of_a_restore
    agent_stop
}

[ -f "$bin/tests/oracle/test_datafile.o" ] || world_skip_all "the tests are not built in this flavour"
world_lanes units_one units_two programs
world_end
