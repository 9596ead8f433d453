#!/bin/bash
# tests/features.tsv: id <TAB> test <TAB> remark. A test is file:suite/name (Criterion) or a script;
# `open` needs a reason. Every id of the capability list has a row, and every named test exists.
set -u
cd "$(dirname "$0")/../.."
bad=0
complain() { echo "$1"; bad=1; }
expected() {
    seq -f 'R%g' 1 86
    seq -f 'X%g' 1 22
    seq -f 'B%g' 1 27
    seq -f 'U%g' 1 22
    seq -f 'O%g' 1 40
    seq -f 'N%g' 1 21
}
while IFS=$'\t' read -r id test remark; do
    case $id in '' | '#'*) continue ;; esac
    case $test in
    open) [ -n "$remark" ] || complain "$id: open without a reason" ;;
    *.sh) [ -x "$test" ] || complain "$id: no script $test" ;;
    *:*)
        file=${test%%:*} name=${test#*:}
        suite=${name%%/*} title=${name#*/}
        [ -f "$file" ] || complain "$id: no file $file"
        grep -qE "Test\($suite, $title[,)]" "$file" 2>/dev/null || complain "$id: no Test($suite, $title) in $file"
        ;;
    *) complain "$id: '$test' is neither a test nor 'open'" ;;
    esac
done <tests/features.tsv
for id in $(expected); do
    grep -qP "^$id\t" tests/features.tsv || complain "$id: no row"
done
exit $bad
