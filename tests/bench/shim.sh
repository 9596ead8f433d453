#!/bin/bash
# A row: the shim's resident memory while RMAN runs, in a whole run of a simulated database.
#   tests/bench/shim.sh BUILD_DIR
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_enter 2G "$@"

world_agent ORCL
database ORCL
most=0
bare_exec "$bin/evercopy" backup ORCL --config "$work/etc/host-ORCL.shim.conf" </dev/null >"$out" 2>"$err" &
pid=$!
world_own "$pid"
# The highest of all moments is kept by the kernel; what is left to do is to ask until the end.
while read -r _ kib _ < <(grep VmHWM "/proc/$pid/status" 2>/dev/null); do
    [ "$kib" -le "$most" ] || most=$kib
    pause
done
if wait "$pid"; then
    awk -v kib="$most" 'BEGIN {printf "shim_resident_in_a_run\t%.1f MiB\t-\t-\t-\t6 MiB\n", kib / 1024}'
else
    echo "bench: the run failed: $(head -n 1 "$err")" >&2
    exit 1
fi
