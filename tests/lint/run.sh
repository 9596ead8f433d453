#!/bin/bash
# Lint: strict warnings as errors, rooms, banned words, format, clang-tidy, cppcheck.
set -u
cd "$(dirname "$0")/../.."
gen=build/lint/gen # the first step makes it
bad=0
step() { printf '  LINT     %s\n' "$1"; }
fail() { echo "lint: $1"; bad=1; }
mapfile -t sources < <(ls agent/*/*.c drivers/*.c drivers/*/*.c drivers/*/*/*.c firmware-hooks/*.c firmware-hooks/*/*.c 2>/dev/null)
mapfile -t headers < <(ls agent/*/*.h drivers/*.h drivers/*/*.h drivers/*/*/*.h firmware-hooks/*.h 2>/dev/null)
mapfile -t tests < <(ls tests/*/*.c tests/*/*.h tests/*/*/*.c tests/*/*/*.h 2>/dev/null)

step 'warnings as errors'
make --no-print-directory -s SAY=0 WERROR=1 B=build/lint build/lint/evercopyd build/lint/evercopy build/lint/evercopy-hook-host || fail 'the build warns'

step 'rooms'
awk -f tests/lint/rooms.awk tests/lint/rooms.txt "${sources[@]}" "${headers[@]}" || bad=1

step 'banned words'
while read -r word instead; do
    case $word in '' | '#'*) continue ;; esac
    grep -nE "(^|[^a-zA-Z0-9_>.])$word\(" "${sources[@]}" "${headers[@]}" && fail "$word: use $instead"
done <tests/lint/banned.txt

step 'what the repository may say'
git grep -nIE '/(w[o]rk|r[o]ot|f[a]rm)/|/tmp/bash_[j]obs' -- . && fail 'a path of one machine'
for top in $(git ls-tree --name-only HEAD 2>/dev/null); do
    case $top in agent | proto | drivers | firmware-hooks | tests | Makefile | README.md | LICENSE | .*) ;; *) fail "top level: $top" ;; esac
done

step 'clang-format'
clang-format --dry-run -Werror "${sources[@]}" "${headers[@]}" "${tests[@]}" 2>&1 | grep -E 'error:' | head -n 20
[ "${PIPESTATUS[0]}" = 0 ] || fail 'not formatted; clang-format -i mends it'

step 'clang-tidy'
tidy=$(mktemp)
printf '%s\n' "${sources[@]}" | xargs -P 2 -n 1 sh -c 'gen=$1; shift
    clang-tidy --quiet --warnings-as-errors="*" "$@" -- -std=gnu11 -D_GNU_SOURCE -I. -I"$gen" 2>/dev/null' _ "$gen" >"$tidy" ||
    fail 'clang-tidy'
grep -E 'error:' "$tidy" | sort -u | head -n 80
rm -f "$tidy"

step 'cppcheck'
cppcheck --quiet --std=c11 -j 2 --enable=warning,portability --inline-suppr -I. -I"$gen" \
    --suppressions-list=tests/lint/cppcheck.txt --error-exitcode=1 agent drivers firmware-hooks || fail 'cppcheck'
[ "$bad" = 0 ] && echo 'lint: clean'
exit "$bad"
