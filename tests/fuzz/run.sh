#!/bin/bash
# Builds each fuzz target with clang and runs it on a copy of its corpus; the last line is the count.
#   [EVERCOPY_FUZZ_SECONDS=20] tests/fuzz/run.sh [NAME-PART]     crash inputs stay in build/fuzz
set -u
cd "$(dirname "$0")/../.."
seconds=${EVERCOPY_FUZZ_SECONDS:-20}
part=${1:-}
out=build/fuzz
san='-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer'
if ! command -v clang >/dev/null; then
    echo 'fuzz: no program clang (package clang)' >&2
    exit 1
fi
# The Makefile's own rules, with another compiler in a place of their own.
make --no-print-directory -s SAY=0 -j 2 CC=clang B="$out" SANFLAGS="$san -fsanitize=fuzzer-no-link" \
    "$out/libevercopy.a" || exit 1
# mbedTLS 2.28 is not known to pkg-config.
read -ra libs <<<"$(pkg-config --libs libzstd libgcrypt libuv libnghttp2 libprotobuf-c sqlite3 jansson libxxhash libnfs libcurl expat)"
libs+=(-lmbedtls -lmbedx509 -lmbedcrypto -lpthread -lm)
work=$(mktemp -d "${TMPDIR:-/tmp}/evercopy-fuzz.XXXXXX")
trap 'rm -rf "$work"' EXIT

run_one() {
    local target=$1 work=$2 out=$3 seconds=$4 short=${1#fuzz_}
    mkdir -p "$work/$short"
    [ ! -d "tests/fuzz/corpus/$short" ] || cp -R "tests/fuzz/corpus/$short/." "$work/$short/"
    "$out/$target" -max_total_time="$seconds" -rss_limit_mb=1024 -malloc_limit_mb=512 -timeout=10 \
        -artifact_prefix="$out/$short-" "$work/$short" >"$work/$short.log" 2>&1
    echo "$?" >"$work/$short.code"
}
export -f run_one

passed=0 failed=0
targets=()
for source in tests/fuzz/fuzz_*"$part"*.c; do
    [ -f "$source" ] || continue
    target=$(basename "$source" .c)
    # shellcheck disable=SC2086 # the flags are words
    if clang -std=gnu11 -D_GNU_SOURCE -g -O1 $san -fsanitize=fuzzer -I. -I"$out/gen" \
        -o "$out/$target" "$source" "$out/libevercopy.a" "${libs[@]}"; then
        targets+=("$target")
    else
        echo "FAILED $target: does not build"
        failed=$((failed + 1))
    fi
done
[ ${#targets[@]} = 0 ] || printf '%s\n' "${targets[@]}" |
    xargs -P 2 -I{} bash -c 'run_one "$@"' _ {} "$work" "$out" "$seconds"
for target in "${targets[@]}"; do
    short=${target#fuzz_}
    log=$work/$short.log
    if [ "$(cat "$work/$short.code")" = 0 ]; then
        passed=$((passed + 1))
        echo "$target: $(grep -E '^Done [0-9]+ runs' "$log")"
        continue
    fi
    failed=$((failed + 1))
    echo "FAILED $target"
    grep -E '^==[0-9]+==.*ERROR|runtime error|SUMMARY|Assertion|^    #[0-9] ' "$log" | head -n 20 | sed 's/^/    /'
    echo "    input: $(sed -nE 's/.*Test unit written to (.*)/\1/p' "$log" | tail -n 1)"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
