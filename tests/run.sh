#!/bin/bash
# Runs every test of a built flavour, one more at a time than there are cores, as they wait a good deal, and
# the longest first, so that none is left over for the end; the last line is the count. Sanitizer
# logs, and a feature whose test does not exist, are failures.
#   tests/run.sh build/FLAVOUR [NAME-PART]
set -u
cd "$(dirname "$0")/.."
flavour=$1
part=${2:-}
kept=$flavour/failed
rm -rf "$kept"
out=$(mktemp -d "${TMPDIR:-/tmp}/evercopy-test.XXXXXX")
trap 'rm -rf "$out"' EXIT
chmod 755 "$out" # tests drop root and must still reach their folders
mkdir "$out/logs" "$out/san"
export ASAN_OPTIONS="log_path=$out/san/asan:detect_leaks=1:abort_on_error=0:allocator_may_return_null=1"
export UBSAN_OPTIONS="log_path=$out/san/ubsan:print_stacktrace=1"
export TMPDIR="$out/tmp" EVERCOPY_BUILD="$PWD/$flavour"
mkdir "$TMPDIR"

run_one() {
    local test=$1 name log code=0 limit=420 begun=$SECONDS
    [ -z "${EVERCOPY_LONG:-}" ] || limit=3000
    name=${test#*/tests/}
    name=${name#tests/}
    log="$2/logs/${name//\//_}"
    case $test in
    */selftest.sh) timeout "$limit" "$test" "$EVERCOPY_BUILD/oracle-sim-checked" >"$log" 2>&1 || code=$? ;;
    *.sh) timeout "$limit" "$test" "$EVERCOPY_BUILD" >"$log" 2>&1 || code=$? ;;
    *) timeout "$limit" "$test" --color=never -j4 >"$log" 2>&1 || code=$? ;;
    esac
    echo "$code $name" >"$log.code"
    echo "$((SECONDS - begun)) $name" >"$log.seconds"
}
export -f run_one

all_tests() {
    local f
    for f in "$flavour"/tests/*/test_*; do
        [ -x "$f" ] && [ ! -d "$f" ] && case $f in *.o | *.d) ;; *) echo "$f" ;; esac
    done
    ls tests/integration/*.sh tests/lint/test_*.sh 2>/dev/null
    [ -f tests/oracle-sim/selftest.sh ] && echo tests/oracle-sim/selftest.sh
}

# By the seconds of the last whole run; scripts before it was known.
longest_first() {
    local test name seconds
    local -A known=()
    while read -r seconds name; do known[$name]=$seconds; done 2>/dev/null <"$flavour/seconds"
    while read -r test; do
        name=${test#*/tests/}
        name=${name#tests/}
        case $test in *.sh) seconds=20 ;; *) seconds=2 ;; esac
        echo "${known[$name]:-$seconds} $test"
    done | sort -k1,1nr -s | cut -d' ' -f2-
}

all_tests | grep -F "$part" | longest_first | xargs -P "$(($(nproc) + 1))" -I{} bash -c 'run_one "$1" "$2"' _ {} "$out"
[ -n "$part" ] || cat "$out"/logs/*.seconds >"$flavour/seconds"

passed=0 failed=0 skipped=0
for code_file in "$out"/logs/*.code; do
    read -r code name <"$code_file"
    log=${code_file%.code}
    line=$(grep -aE '^\[====\] Synthesis|^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
    case $line in
    '[====]'*)
        p=$(sed -E 's/.*Passing: ([0-9]+).*/\1/' <<<"$line")
        f=$(($(sed -E 's/.*Failing: ([0-9]+).*/\1/' <<<"$line") + $(sed -E 's/.*Crashing: ([0-9]+).*/\1/' <<<"$line")))
        ;;
    *passed*) p=${line%% *} f=$(sed -E 's/.*, ([0-9]+) failed.*/\1/' <<<"$line") ;;
    *) p=0 f=1 ;;
    esac
    [ "$code" = 0 ] || [ "$f" != 0 ] || f=1
    s=$(grep -acE '^SKIPPED ' "$log")
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    [ "$s" = 0 ] || grep -aE '^SKIPPED ' "$log"
    if [ "$f" != 0 ]; then
        echo "FAILED $name (exit $code), whole log: $kept/${log##*/}"
        mkdir -p "$kept" && cp "$log" "$kept/"
        { grep -aE -A 20 '^not ok |^\[FAIL\]|^\[----\]' "$log" || tail -n 60 "$log"; } | head -n 80 | sed 's/^/    /'
    fi
done
for report in "$out"/san/*; do
    [ -s "$report" ] || continue
    # Nothing but this line: a test killed the process amid its leak check, at its end; nothing was found.
    grep -qv 'Unable to get registers from thread' "$report" || continue
    failed=$((failed + 1))
    echo "FAILED sanitizer report"
    head -n 40 "$report" | sed 's/^/    /'
done
if [ -z "$part" ]; then
    features=$(tests/lint/features.sh)
    missing=$?
    if [ "$missing" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED features.tsv"
        sed 's/^/    /' <<<"$features"
    fi
fi
echo "slowest: $(cat "$out"/logs/*.seconds | sort -rn | head -n 6 | sed 's/ / s /' | paste -sd, | sed 's/,/, /g')"
if [ "$skipped" = 0 ]; then
    echo "$passed passed, $failed failed"
else
    echo "$passed passed, $failed failed, $skipped skipped"
fi
[ "$failed" = 0 ]
