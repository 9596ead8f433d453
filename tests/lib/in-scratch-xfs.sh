#!/bin/sh
# Runs a command with a scratch XFS mounted at a directory that only the command sees.
#   in-scratch-xfs.sh SIZE DIR COMMAND [ARGUMENT...]      SIZE as for truncate: 400M, 2G
# The exit status is the command's; 77 and a line SKIPPED where this machine does not allow it.
set -eu
if [ $# -lt 3 ]; then
    echo "usage: in-scratch-xfs.sh SIZE DIR COMMAND [ARGUMENT...]" >&2
    exit 2
fi
skip() {
    echo "SKIPPED in-scratch-xfs: $1" >&2
    exit 77
}
PATH=$PATH:/usr/sbin:/sbin
[ "$(id -u)" -eq 0 ] || skip "needs root"
command -v mkfs.xfs >/dev/null || skip "no program mkfs.xfs (package xfsprogs)"
unshare -m true 2>/dev/null || skip "no mounts of our own"
size=$1
dir=$2
shift 2

made=
image=
cleanup() {
    if [ -n "$image" ]; then rm -f "$image"; fi
    if [ -n "$made" ]; then rmdir "$dir" 2>/dev/null || true; fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ ! -d "$dir" ]; then
    mkdir -p "$dir"
    made=1
fi
image=$(mktemp "${TMPDIR:-/tmp}/evercopy-scratch.XXXXXX")
truncate -s "$size" "$image"
mkfs.xfs -q -f -m reflink=1 "$image"

# The loop device frees itself with the mount, the mount with its namespace, the image is unnamed.
status=0
# shellcheck disable=SC2016 # the inner shell expands these
unshare -m --propagation private sh -c '
    image=$1 dir=$2
    shift 2
    mount -o loop "$image" "$dir" || { echo "SKIPPED in-scratch-xfs: no loop mount" >&2; exit 77; }
    rm -f "$image"
    exec "$@"' sh "$image" "$dir" "$@" || status=$?
exit "$status"
