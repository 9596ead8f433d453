#!/bin/bash
# The main job, shown: setup, three runs, the window, a restore compared block for block, a merge that
# fails half-way. Exit status 0: everything was as it must.
#   demo.sh BIN [vault]      on the vault, over NFS, as any user
#   demo.sh BIN reflink      on a scratch XFS, which only root can mount
# shellcheck source=tests/lib/vault_host.sh
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
bin=$(cd "$1" && pwd)
driver=${2:-vault}
case $driver in
reflink)
    if [ "${3:-}" != inside ]; then
        if [ "$(id -u)" != 0 ]; then
            if sudo -n true 2>/dev/null; then exec sudo -n "$0" "$@"; fi
            echo "demo: it mounts a scratch XFS and so needs root or sudo" >&2
            exit 1
        fi
        work=$(mktemp -d "${TMPDIR:-/tmp}/evercopy-demo.XXXXXX")
        trap 'rm -rf "$work"' EXIT
        "$here/tests/lib/in-scratch-xfs.sh" 3G "$work/xfs" "$0" "$bin" reflink inside "$work"
        exit $?
    fi
    work=$4
    area=$work/xfs/storage/volumes
    ;;
vault)
    work=$(mktemp -d "${TMPDIR:-/tmp}/evercopy-demo.XXXXXX")
    area=$work/nfs # a plain folder: nothing is ever mounted there
    . "$here/tests/lib/vault_host.sh"
    ;;
*)
    echo "demo: DRIVER is vault or reflink" >&2
    exit 2
    ;;
esac
agent_pid='' looker_pid=''
bold= dim= off=
if [ -t 1 ]; then bold=$(printf '\033[1m') dim=$(printf '\033[2m') off=$(printf '\033[0m'); fi
finish() {
    status=$?
    [ -z "$looker_pid" ] || kill "$looker_pid" 2>/dev/null
    if [ -n "$agent_pid" ] && kill -0 "$agent_pid" 2>/dev/null; then
        kill "$agent_pid"
        wait "$agent_pid"
    fi
    if [ "$driver" = vault ]; then vault_stop; fi
    if [ "$status" != 0 ]; then
        echo "--- the agent's log ---"
        tail -n 40 "$work/agent.log" "$work/vault/log" 2>/dev/null
    fi
    if [ "$driver" = vault ]; then rm -rf "$work"; fi
    exit "$status"
}
trap finish EXIT
title() { printf '\n%s== %s%s\n' "$bold" "$1" "$off"; }
say() { printf '%s%s%s\n' "$dim" "$1" "$off"; }
die() { printf 'demo: %s\n' "$1" >&2; exit 1; }
must() { "$@" || die "failed: $*"; }
sim() { "$bin/oracle-sim" "$@" --home "$work/ora" --sid ORCL; }
# As DBMS_SCHEDULER starts an external job: empty environment, no stdin, no terminal.
as_scheduler() { env -i setsid -w "$bin/evercopy" "$@" --config "$work/etc/dbhost1.conf" </dev/null; }
operator() { env -i "$bin/evercopy" "$@" --config "$work/etc/operator.conf"; }
# The restore host is another machine: production's own files are not there.
on_restore_host() {
    local status
    if [ "$driver" = vault ]; then
        must sim hide
        operator "$@"
        status=$?
        must sim hide off
        return "$status"
    fi
    unshare -m sh -c 'mount --make-rprivate / && mount -t tmpfs none "$1" && shift && exec "$@"' sh \
        "$work/prod/oradata" env -i "$bin/evercopy" "$@" --config "$work/etc/operator.conf"
}
vaultd() { env -i "$bin/evercopy-vaultd" --config "$work/vault/vaultd.conf" "$@"; }
drill_ends() {
    printf 'shutdown abort\nexit\n' |
        ORACLE_HOME=$work/ora ORACLE_SID=DRILL "$work/ora/bin/sqlplus" -S / as sysdba >/dev/null
    if [ "$driver" = vault ]; then must "$work/etc/mounthelper" umount "$work/clones/drill"; fi
    must operator clone drop ORCL drill
    rm -rf "$work/sandbox"
}
scn_of() { sim scn | cut -d' ' -f1; }

mkdir -p "$work/etc" "$work/state" "$work/ora"
box_of_vault() {
    title "A storage box of two folders: the vault, which serves its volumes over NFS"
    vault_config
    vault_start || die "the vault did not start"
    vault_host ORCL
    say "evercopy-vaultd listens on 127.0.0.1:$vault_port; the host's oranfstab, which Direct NFS reads:"
    cat "$work/ora/dbs/oranfstab"
    storage="driver = vault
socket = $work/vault/sock
nfshost = 127.0.0.1"
}
box_of_reflink() {
    mkdir -p "$work/xfs/storage"
    storage="driver = reflink
root = $work/xfs/storage"
}
"box_of_$driver"
title "The agent: its own certificate authority, mutual TLS"
cat >"$work/etc/evercopyd.conf" <<CONF
[agent]
listen = 127.0.0.1:0
state = $work/state
pki = $work/pki
verify = full
[storage box]
$storage
[database ORCL]
storage = box
zone = Europe/Vienna
keephourly = 1
keepproven = 1
CONF
must "$bin/evercopyd" --config "$work/etc/evercopyd.conf" init --name localhost --name 127.0.0.1
must "$bin/evercopyd" --config "$work/etc/evercopyd.conf" enroll dbhost1 --role dbhost --db ORCL --out "$work/etc"
must "$bin/evercopyd" --config "$work/etc/evercopyd.conf" enroll operator --role operator --out "$work/etc"
"$bin/evercopyd" --config "$work/etc/evercopyd.conf" serve --port-file "$work/port" 2>"$work/agent.log" &
agent_pid=$!
for _ in $(seq 100); do
    [ -s "$work/port" ] && break
    kill -0 "$agent_pid" 2>/dev/null || die "the agent did not start"
    sleep 0.1
done
mounts=
if [ "$driver" = vault ]; then
    mounts="areamounted = false
autorestoremountpoint = $work/clones
mounthelper = $work/etc/mounthelper"
fi
for who in dbhost1 operator; do
    cat >"$work/etc/$who.conf" <<CONF
[generic]
agent = 127.0.0.1:$(cat "$work/port")
ca = $work/etc/ca.crt
cert = $work/etc/$who.crt
key = $work/etc/$who.key
backupdest = $area
oraclehome = $work/ora
zone = Europe/Vienna
[autorestore]
autorestoredestination = $work/sandbox
[ORCL]
$mounts
CONF
done

title "A database with genuine block layouts (simulated: there is no Oracle here)"
must sim create --dbdir "$work/prod" --db-name ORCL --unique-name ORCL --files 5 --blocks 2000 --zone +01:00 --churn 25
must sim work --changes 800

title "evercopy setup: first what is to be done, then --apply"
must as_scheduler setup ORCL
must as_scheduler setup ORCL --apply

# What a snapshot cost is what the store grew by when it was sealed: somebody has to look on.
look_on() {
    local stat=$work/looked.txt
    while vaultd stat ORCL >"$stat" 2>/dev/null || true; do
        stored=$(sed -nE 's/^volume .* stored_bytes=([0-9]+).*/\1/p' "$stat")
        sed -nE "s/^snapshot .* snapshot='([^']*)'.*/\1/p" "$stat" | while read -r name; do
            grep -qs "^$name " "$work/costs.txt" || echo "$name $stored" >>"$work/costs.txt"
        done
        sleep 0.1
    done
}
all_sealed() {
    local tries
    for tries in $(seq 100); do
        [ "$(grep -c . "$work/costs.txt")" -lt "$1" ] || return 0
        sleep 0.1
    done
    die "not all snapshots were sealed ($tries tries)"
}
if [ "$driver" = vault ]; then
    look_on &
    looker_pid=$!
fi
for day in 1 2 3; do
    title "Backup run $day, started as DBMS_SCHEDULER starts an external job"
    must as_scheduler backup ORCL 2>/dev/null # stderr says the same verdict again
    if [ "$driver" = vault ]; then all_sealed $((day * 2)); fi
    [ "$day" = 3 ] && break
    must sim work --changes 400 >/dev/null
    if [ "$day" = 2 ]; then
        target=$(scn_of)
        say "the moment we shall ask for: SCN $target, between this run's 'post' and the next 'pre'"
        must sim work --changes 400 >/dev/null
    fi
done

title "How it stands, and which moments can be reached"
must operator status ORCL
must operator window ORCL
must operator snapshots ORCL
copy=$area/ORCL
if [ "$driver" = vault ]; then
    copy=$work/taken-out
    mkdir "$copy"
    latest=$(operator snapshots ORCL | awk '$1 ~ /-post$/ { name = $1 } END { print name }')
    must vaultd export ORCL "$latest" "$copy" >/dev/null
fi
say 'what a file of the area is, by its own header:'
must env -i "$bin/evercopy" identify "$(find "$copy" -name 'data_*FNO-1_*' | head -n 1)"
cost_of_vault() {
    title "What it costs: the store, and a clone"
    kill "$looker_pid"
    wait "$looker_pid" 2>/dev/null
    looker_pid=
    must vaultd stat ORCL >"$work/stat.txt"
    awk '
        function field(name) { return match($0, " " name "=[^ ]*") ? substr($0, RSTART + length(name) + 2, RLENGTH - length(name) - 2) : "" }
        FILENAME ~ /costs/ { cost[$1] = $2 - before; before = $2; next }
        /^snapshot/ {
            name = field("snapshot")
            gsub("\047", "", name)
            files = field("logical_bytes")
            printf "%-28s %6.1f MiB of files cost %8.1f KiB; deleting it alone would free %.1f KiB\n", name, files / 1048576, cost[name] / 1024, field("unique_bytes") / 1024
            if (cost[name] > most) {
                most = cost[name]
                first = files / most
            }
        }
        /^volume/ {
            printf "the first copies: compressed %.1f to 1\n", first
            printf "all snapshots and the area: %.1f MiB of files in %.1f MiB of the store, %.1f to 1\n", field("logical_bytes") / 1048576, field("stored_bytes") / 1048576, field("ratio_percent") / 100
        }' "$work/costs.txt" "$work/stat.txt"
    before=$(date +%s%N)
    must operator clone create ORCL probe --snapshot "$latest" --lease 1h >"$work/probe.txt"
    say "a clone of $latest took $((($(date +%s%N) - before) / 1000000)) ms, this command's own start and TLS included"
    say "and what this host must have, were it to mount them or to know them by Direct NFS:"
    must as_scheduler doctor ORCL
    must operator clone drop ORCL probe
}
if [ "$driver" = vault ]; then cost_of_vault; fi

title "A restore to SCN $target on another host: thin clone, sandbox instance, opened read only"
must on_restore_host restore ORCL --scn "$target" --sid DRILL --name drill
must operator clones ORCL
say "block for block against the truth of that moment:"
must sim compare --scn "$target" --instance DRILL
say "and the referee can say no: the same database against the moment after it"
if sim compare --scn $((target + 60)) --instance DRILL >"$work/differs.txt"; then
    die "the comparison sees no difference where there must be one"
fi
head -n 1 "$work/differs.txt"
drill_ends

title "A merge that fails half-way: the disk is full in the midst of it"
must sim work --changes 300 >/dev/null
must sim inject merge-enospc --after-blocks 40
as_scheduler backup ORCL 2>"$work/stderr.txt"
code=$?
say "exit code $code, first line of stderr:"
head -n 1 "$work/stderr.txt"
[ "$code" = 161 ] || die "exit code $code, expected 161"
head -n 1 "$work/stderr.txt" | grep -q '^FAILED ORCL merge: ' || die "the first line does not name the merge"
[ "$(head -n 1 "$work/stderr.txt" | wc -c)" -le 161 ] || die "the first line is too long for the scheduler"
say "from the run's log, kept by the agent:"
operator log "$(sed -nE 's/.*\[run ([^]]*)\].*/\1/p' "$work/stderr.txt" | head -n 1)" >"$work/log.txt" || die 'the log cannot be read'
grep -aE 'RMAN-0|ORA-' "$work/log.txt" | tail -n 6
operator status ORCL
[ $? = 161 ] || die "status is not red"
say "the older point is still recoverable:"
must on_restore_host restore ORCL --scn "$target" --sid DRILL --name drill --quiet
must sim compare --scn "$target" --instance DRILL
drill_ends

title "The next run heals it"
must as_scheduler backup ORCL 2>/dev/null
must operator status ORCL

title "Retention: what would go, and why; a hold, and what a database host may not"
must operator retention ORCL
going=$(operator retention ORCL | awk '$4 == "DELETE" && $1 ~ /-post$/ { print $1; exit }')
[ -n "$going" ] || die "nothing would go"
must operator snapshot hold ORCL "$going" --reason 'audit 2026' --for 30d
say "a database host asks for the same snapshot to be deleted:"
if as_scheduler snapshot delete ORCL "$going" 2>"$work/refused.txt"; then die "a database host deleted a snapshot"; fi
head -n 1 "$work/refused.txt"
say "and the operator, while it is held:"
if operator snapshot delete ORCL "$going" 2>"$work/refused.txt"; then die "a held snapshot was deleted"; fi
tail -n 1 "$work/refused.txt"
say "applied, exactly as previewed:"
operator retention ORCL --apply >"$work/applied.txt" || die "retention was not applied"
grep -E '^deleted |snapshots deleted' "$work/applied.txt"
operator snapshots ORCL | grep -q "held by operator: audit 2026" || die "the held snapshot is gone"
must operator snapshots ORCL

title "The audit: every change is in it, and a changed byte shows"
agentd() { "$bin/evercopyd" --config "$work/etc/evercopyd.conf" "$@"; }
must agentd audit show >"$work/audit.txt"
grep 'evercopy.v1.Retention' "$work/audit.txt" | cut -c 1-160
grep -q 'refused .*dbhost1.*DeleteSnapshot' "$work/audit.txt" || die "the refused deletion is not in the audit"
must agentd audit verify
cp "$work/state/audit.log" "$work/audit.forged"
sed -i '0,/dbhost1/s//dbhost2/' "$work/audit.forged"
say "a copy in which one name is changed:"
if agentd audit verify --file "$work/audit.forged"; then die "a forged audit was believed"; fi

title "All cleaned up"
must operator clones ORCL
kill "$agent_pid"
wait "$agent_pid"
agent_pid=
cleaned_vault() {
    [ -z "$(ls "$work/clones")" ] || die "a clone is still mounted"
    vault_stop
    say "and everything in the store is read and compared:"
    must vaultd scrub
}
cleaned_reflink() {
    [ -z "$(find "$work/xfs/storage" -name '.tmp*' -print -quit)" ] || die "something half-made was left behind"
    [ -z "$(ls "$work/xfs/storage/clones/ORCL" 2>/dev/null)" ] || die "a clone was left behind"
}
"cleaned_$driver"
say "nothing half-made, no clone, no process is left"
