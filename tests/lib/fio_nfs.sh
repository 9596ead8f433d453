#!/bin/bash
# Prints the path of an fio that has its nfs engine (Debian's is built without): Debian's source, built below DIR
# when it is not there yet. Exit 77 and a line SKIPPED where it cannot be had.
#   fio_nfs.sh DIR
set -u -o pipefail
umask 022
dir=$1
skip() {
    echo "SKIPPED fio_nfs: $1"
    exit 77
}
has_engine() { [ -x "$dir/fio" ] && "$dir/fio" --enghelp 2>/dev/null | grep -qw nfs; }
if ! has_engine; then
    command -v apt-get >/dev/null || skip 'no apt-get'
    made=$dir/source
    rm -rf "$made"
    mkdir -p "$made/parts" "$made/lists/partial" "$made/cache/archives/partial"
    made=$(cd "$made" && pwd)
    # This machine's own package sources, asked for what its packages were made of; its lists stay as they are.
    for f in /etc/apt/sources.list.d/*.sources; do
        grep -q debian-archive-keyring "$f" 2>/dev/null &&
            sed 's/^Types:.*/Types: deb-src/' "$f" >"$made/parts/${f##*/}"
    done
    sed -n 's/^deb /deb-src /p' /etc/apt/sources.list 2>/dev/null >"$made/parts/own.list"
    apt=(-qq -o "Dir::Etc::SourceList=/dev/null" -o "Dir::Etc::SourceParts=$made/parts"
        -o "Dir::State::Lists=$made/lists" -o "Dir::Cache=$made/cache")
    (
        cd "$made" && timeout 120 apt-get "${apt[@]}" update &&
            timeout 120 apt-get "${apt[@]}" source --download-only fio && tar xf fio_*.orig.tar.gz
    ) >"$made/log" 2>&1 || skip "Debian's source of fio cannot be had: $(tail -n 1 "$made/log")"
    (cd "$made"/fio-*/ && ./configure && make -j2) >"$made/log" 2>&1 || skip "fio does not build: $(tail -n 1 "$made/log")"
    mv "$made"/fio-*/fio "$dir/fio"
    rm -rf "$made"
    has_engine || skip 'fio was built without its nfs engine'
fi
(cd "$dir" && echo "$PWD/fio")
