#!/bin/bash
# Figures of `evercopy status` for 1,000 databases with eight snapshots each, through the real agent and shim:
# the first call (cold: everything is read from the catalog) and later ones (warm), in seconds.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_enter 1G "$@"

count=1000
mapfile -t names < <(seq -f 'DB%g' $((count - 1)))
world_verify=headers world_agent ORCL "${names[@]}"
database ORCL
for _ in 1 2 3 4; do
    backup ORCL || world_fail "backup: $(cat "$err")"
    work ORCL
done
agent_stop
# The others stand as ORCL does: the agent reads their rows as it reads any.
python3 - "$work/state/catalog.sqlite" "${names[@]}" <<'PY' || world_fail 'no rows'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
snapshot = 'kind, run, driver_id, created_us, durability, mid_merge, manifest, facts'
job = 'kind, parent, owner, state, step, verdict, cause, next, started_us, ended_us, document'
for name in sys.argv[2:]:
    db.execute("INSERT INTO database SELECT ?, dbid, db_name, storage, ?, registered_us FROM database WHERE name = 'ORCL'", (name, name))
    db.execute(f"INSERT INTO snapshot (database, name, {snapshot}) SELECT ?, ? || substr(name, 5), {snapshot} FROM snapshot WHERE database = 'ORCL' ORDER BY seq", (name, name))
    db.execute(f"INSERT INTO job (id, database, key, {job}) SELECT id || ?, ?, '', {job} FROM job WHERE database = 'ORCL' AND kind = 'backup' ORDER BY seq", (name, name))
db.commit()
PY
agent_start
shim_config operator ORCL >"$work/etc/operator.shim.conf"
once() {
    local start=$EPOCHREALTIME
    shim operator status --json || [ "$code" = 161 ] || world_fail "status: $(cat "$err")"
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN {printf "%.3f\n", b - a}'
}
echo "status_1000_cold $(once)"
[ "$(ask "$out" 'len(d["databases"])')" = "$count" ] || world_fail 'not all databases were told'
echo "status_1000_snapshots $(ask "$out" 'sum(x["snapshots"] for x in d["databases"])')"
# Processor time of the agent, in ms: what a busy machine cannot spoil.
agent_ms() { awk -v hz="$(getconf CLK_TCK)" '{sub(/.*\) /, ""); print ($12 + $13) * 1000 / hz}' "/proc/$agent_pid/stat"; }
before=$(agent_ms)
for _ in 1 2 3 4 5 6 7 8 9 10; do once >/dev/null; done
echo "status_1000_agent_ms $(awk -v a="$before" -v b="$(agent_ms)" 'BEGIN {print (b - a) / 10}')"
echo "status_1000_warm $(for _ in 1 2 3 4 5 6 7; do once; done | sort -g | sed -n 4p)"
echo "status_1000_first_answer $(
    start=$EPOCHREALTIME
    shim operator status ORCL --json
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN {printf "%.3f\n", b - a}'
)"
awk '/^(VmHWM|VmRSS|RssAnon)/ {printf "status_1000_%s %d\n", tolower(substr($1, 1, length($1) - 1)), $2}' "/proc/$agent_pid/status"
touch "$work/said"
