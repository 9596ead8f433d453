#!/bin/bash
# One million lines of a run's log, from the spool to the agent; prints figures for tests/bench/run.sh.
#   tests/bench/log-upload.sh BUILD_DIR
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_enter 1G "$@"
world_agent LOG
world_who host dbhost LOG
sed -i "s|^logwait = .*|&\nspool = $work/spool\nspoolmax = 256|" "$work/etc/host.shim.conf"
before=$(sed -nE 's/^VmRSS:\s*([0-9]+).*/\1/p' "/proc/$agent_pid/status")
"$bin/tests/bench/bench_log" "$work/etc/host.shim.conf" LOG 4711 990000 || exit 1
echo "log_upload_agent_kib $(sed -nE 's/^VmHWM:\s*([0-9]+).*/\1/p' "/proc/$agent_pid/status") $before"
