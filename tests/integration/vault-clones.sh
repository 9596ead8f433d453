#!/bin/bash
# Clones over NFS as hosts meet them: how to mount is printed and done, a killed restore is cleared, what is in
# use stays unless forced, the doctor names what is wrong, and a log that arrives is noticed at once.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_plain "$@"
world_vault ORCL
world_agent ORCL
database ORCL
backup ORCL || world_fail "backup: $(head -n 1 "$err")"
work ORCL
mid=$(scn_of ORCL)
work ORCL
backup ORCL || world_fail "backup: $(head -n 1 "$err")"

newest() {
    shim person snapshots ORCL --json >/dev/null
    ask "$out" "d['snapshots'][-1]['name']"
}
source_of() { echo "127.0.0.1:/ORCL/$1"; }
options="rw,hard,nointr,rsize=1048576,wsize=1048576,tcp,vers=3,timeo=600,actimeo=0,nolock"
ports="port=$vault_port,mountport=$vault_port,mountproto=tcp"

# ---- clone create, doctor ----

clone_create_prints_how_to_mount_and_unmount() {
    shim person clone create ORCL plain --snapshot "$(newest)" &&
        says "$out" "^mount:   mount -t nfs -o $options,$ports $(source_of plain) $work/clones/ORCL/plain$" &&
        says "$out" "^unmount: umount $work/clones/ORCL/plain$"
}
space_tells_what_is_stored_once_and_shown_often() {
    shim person space ORCL && says "$out" "^ORCL: files of .* stored with all snapshots" &&
        says "$out" '^area and snapshots show .* to 1$' && says "$out" '^clone +plain ' || return 1
    shim person space ORCL --json && same "$(ask "$out" "d['area']['stored_bytes'] < d['area']['files_bytes'] and all(s['files_bytes'] for s in d['snapshots'])")" true compressed
}
# As the kernel writes them for the line above.
good="rw,relatime,vers=3,rsize=1048576,wsize=1048576,acregmin=0,acregmax=0,acdirmin=0,acdirmax=0,hard,nolock,proto=tcp,port=$vault_port,timeo=600,local_lock=all,addr=127.0.0.1"
table() { printf '%s nfs %s 0 0\n' "$@" >"$work/$lane.table"; }
doctor() { shim host-ORCL doctor ORCL --mounts "$work/$lane.table" "$@"; }
the_doctor_has_nothing_to_say_of_a_sound_host() {
    table "127.0.0.1:/ORCL $area/ORCL" "$good"
    doctor && never_says "$out" 'WRONG|note' && says "$out" "^ORCL area at $area/ORCL" &&
        says "$out" "^ORCL clone plain at " && says "$out" "export: /ORCL/plain mount: $work/clones/ORCL/plain"
}
the_doctor_names_each_wrong_thing_in_json_too() {
    table "127.0.0.1:/ORCL $area/ORCL" "${good/hard/soft}" "127.0.0.1:/ORCL/plain /mnt/p" "${good/vers=3/vers=4.1}" \
        "127.0.0.1:/ORCL/gone /mnt/gone" "$good"
    doctor
    exits 161 && says "$out" 'WRONG it is a soft mount' && says "$out" 'NFS version 4' &&
        says "$out" 'the clone is no more.* umount /mnt/gone' || return 1
    doctor --json
    exits 161 && same "$(ask "$out" "[p['clone'] for p in d['places'] if any(f['wrong'] for f in p['faults'])]")" '["", "plain", "gone"]' 'what is wrong'
}
the_doctor_wants_an_entry_where_direct_nfs_is_all_there_is() {
    : >"$work/$lane.table"
    doctor && never_says "$out" WRONG || return 1
    sed "s|^oraclehome = .*|oraclehome = $work|" "$work/etc/host-ORCL.shim.conf" >"$work/etc/bare.shim.conf"
    shim bare doctor ORCL --mounts "$work/$lane.table"
    exits 161 && says "$out" 'WRONG oranfstab has no entry'
}
# The host's own mounts are right, and yet nothing can be written: the vault says so itself.
vault_reread() {
    kill -HUP "$(cat "$work/vault/pid")"
    within 20 "$@"
}
reads_only() { "$bin/evercopy-vaultd" --config "$work/vault/vaultd.conf" exports | grep -q read-only; }
reads_and_writes() { ! reads_only; }
the_doctor_names_an_export_that_is_wrong() {
    local bad=1
    table "127.0.0.1:/ORCL $area/ORCL" "$good"
    cp "$work/vault/vaultd.conf" "$work/vaultd.kept"
    sed -i 's/^\[export\]/&\nreadonly = true/' "$work/vault/vaultd.conf"
    vault_reread reads_only || saw 'it is not read anew'
    doctor
    exits 161 && says "$out" "WRONG the export is read-only: set 'readonly = false' in its \[export\]" && bad=0
    cp "$work/vaultd.kept" "$work/vault/vaultd.conf"
    vault_reread reads_and_writes && doctor && never_says "$out" WRONG && return $bad
}

# ---- restore ----

no_helper() { sed -i '/^mounthelper/d; /^autorestoremountpoint/d' "$work/etc/operator.shim.conf"; }
restore_without_a_helper_says_what_to_mount_and_goes_on_with_it() {
    local at=$work/clones/ORCL/hand
    cp "$work/etc/operator.shim.conf" "$work/helped.conf"
    no_helper
    restore ORCL --scn "$mid" --sid RORCL --name hand
    exits 160 && first_line "^REFUSED ORCL restore: clone 'hand' waits to be mounted" &&
        says "$out" "mkdir -p /mnt/hand && mount -t nfs -o $options,$ports $(source_of hand) /mnt/hand" &&
        says "$out" 'evercopy restore ORCL --clone hand --mounted /mnt/hand' || return 1
    [ ! -e "$work/sandbox-ORCL" ] || { saw "the sandbox stays"; return 1; }
    : >"$work/$lane.table"
    restore ORCL --clone hand --mounted "$at" --sid RORCL --mounts "$work/$lane.table"
    exits 160 && first_line "nothing is mounted at" || return 1
    table "127.0.0.1:/ORCL/plain $at" "$good"
    restore ORCL --clone hand --mounted "$at" --sid RORCL --mounts "$work/$lane.table"
    exits 160 && first_line "shows '127.0.0.1:/ORCL/plain', the clone is '/ORCL/hand'" || return 1
    # By root's hand, as it was told.
    "$work/etc/mounthelper" mount "$(source_of hand)" "$at" "$options,$ports"
    table "127.0.0.1:/ORCL/hand $at" "$good"
    restore ORCL --clone hand --mounted "$at" --sid RORCL --mounts "$work/$lane.table"
    exits 0 && says "$out" "then 'umount $at', 'evercopy clone drop ORCL hand'" || return 1
    sim ORCL compare --scn "$mid" --instance RORCL >"$work/compare" 2>&1 || { saw "$(head -n 1 "$work/compare")"; return 1; }
    restore_undo ORCL RORCL hand
    "$work/etc/mounthelper" umount "$at"
    cp "$work/helped.conf" "$work/etc/operator.shim.conf"
}
clone_is_mounted() { grep -q "$work/clones/ORCL/$1" "$work/ora/dbs/oranfstab"; }
no_clone_is_mounted() { ! grep "$work/clones" "$work/ora/dbs/oranfstab"; }
a_killed_restore_is_unmounted_and_dropped_by_the_next() {
    local pid
    (
        out=$work/killed.out err=$work/killed.err
        bare_exec "$bin/evercopy" restore ORCL --scn "$mid" --sid KORCL --name killed --config "$work/etc/operator.shim.conf" \
            </dev/null >"$out" 2>"$err"
    ) &
    pid=$!
    within 30 clone_is_mounted killed || { saw "it never mounts: $(head -n 1 "$work/killed.err")"; return 1; }
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null
    restore ORCL --scn "$mid" --sid RORCL --name after
    exits 0 && says "$out" 'was left by a restore that was killed' || return 1
    restore_undo ORCL RORCL after
    no_clone_is_mounted || { saw "a clone is still mounted"; return 1; }
    shim operator clones ORCL && never_says "$out" killed
}
a_restore_whose_helper_fails_leaves_no_clone() {
    cp "$work/etc/mounthelper" "$work/helper.kept"
    printf '#!/bin/sh\necho "mount.nfs: access denied by server" >&2\nexit 32\n' >"$work/etc/mounthelper"
    restore ORCL --scn "$mid" --sid RORCL --name failing
    local ended=$code
    cp "$work/helper.kept" "$work/etc/mounthelper"
    same "$ended" 161 'exit code' && first_line 'access denied by server' || return 1
    shim operator clones ORCL && never_says "$out" failing
}

# ---- in use ----

tells_who_keeps_it() { shim person clones ORCL && grep -q 'in use by 127\.0\.0\.1' "$out"; }
a_clone_in_use_is_dropped_by_force_alone() {
    local reader file
    shim person clone create ORCL used --snapshot "$(newest)" --lease 3s >/dev/null
    file=$(nfs-ls "nfs://127.0.0.1/ORCL/used?nfsport=$vault_port&mountport=$vault_port&version=3" | awk '$5 > 1000000 { print $NF; exit }')
    [ -n "$file" ] || { saw "no datafile in the clone"; return 1; }
    mkfifo "$work/pipe"
    nfs-cat "nfs://127.0.0.1/ORCL/used/$file?nfsport=$vault_port&mountport=$vault_port&version=3" >"$work/pipe" 2>/dev/null &
    reader=$!
    exec 8<"$work/pipe"
    head -c 100000 <&8 >/dev/null # it reads, and stays
    shim person clone drop ORCL used
    exits 160 && first_line '127\.0\.0\.1' || return 1
    within 20 tells_who_keeps_it || { saw "clones: $(cat "$out")"; return 1; } # its lease is over: told, never forced
    shim person clone drop ORCL used --force
    exits 0 || return 1
    kill "$reader" 2>/dev/null
    exec 8<&-
    evercopyd audit show >"$work/audit" 2>&1 || cp "$work/state/audit.log" "$work/audit"
    says "$work/audit" 'DropClone.*by force' && says "$work/vault/log" 'drop by force'
}

# ---- what arrives ----

# Through the control socket: what a host does by NFS, with a rename at the end.
renamed_in() {
    python3 - "$work/vault/sock" "$1" "$2" "$3" <<'PY'
import json, socket, struct, sys, time
path, source, half, name = sys.argv[1:]
s = socket.socket(socket.AF_UNIX); s.connect(path)
def ask(head, data=b''):
    h = json.dumps(head).encode()
    s.sendall(struct.pack('<II', len(h), len(data)) + h + data)
    n, m = struct.unpack('<II', s.recv(8, socket.MSG_WAITALL))
    answer = json.loads(s.recv(n, socket.MSG_WAITALL)) if n else {}
    if m: s.recv(m, socket.MSG_WAITALL)
    if 'error' in answer: sys.exit(answer['text'])
    return answer
ask({'op': 'hello', 'version': 1})
view = ask({'op': 'view.open', 'volume': 'ORCL'})['view']
folder = ask({'op': 'file.find', 'view': view, 'path': 'archivelog'})['file']
file = ask({'op': 'file.create', 'view': view, 'folder': folder, 'name': half, 'kind': 1})['file']
data = open(source, 'rb').read()
for at in range(0, len(data), 1 << 20):
    ask({'op': 'file.write', 'view': view, 'file': file, 'offset': at, 'stable': True}, data[at:at + (1 << 20)])
print(time.time())
ask({'op': 'file.rename', 'view': view, 'folder': folder, 'name': half, 'to_folder': folder, 'to': name})
PY
}
arrivals() { grep -c 'log arrived db=ORCL' "$work/agent.log"; }
more_arrivals_than() { [ "$(arrivals)" -gt "$1" ]; }
newest_log() {
    # shellcheck disable=SC2012 # names of its own making
    ls -t "$work"/prod/ORCL/fra/ORCL/archivelog/*/*.arc | head -n 1
}
# Far before the two seconds in which nothing was written to it would tell; a busy machine may have three tries.
a_log_renamed_into_place_is_noticed_at_once() {
    local before at scn took='' n
    work ORCL
    sim ORCL switch
    for n in 900 901 902; do
        before=$(arrivals)
        at=$(renamed_in "$(newest_log)" ".1_${n}_1.dbf" "1_${n}_1.dbf") || { saw "$at"; return 1; }
        within 10 more_arrivals_than "$before" || { saw "it is not noticed"; return 1; }
        took="$took $(python3 -c "import time; print(round(time.time() - $at, 2))")"
        python3 -c "import sys; sys.exit(${took##* } > 1.8)" && break
        [ "$n" != 902 ] || { saw "it took$took s"; return 1; }
    done
    scn=$(sed -n 's/.*log arrived.*next_scn=//p' "$work/agent.log" | tail -n 1)
    shim operator status ORCL --json && same "$(ask "$out" "d['databases'][0]['arrived_to_scn']")" "$scn" 'what has arrived'
}

# What came while the vault was away, and the agent could not be told.
a_log_that_came_while_the_vault_was_started_anew_is_noticed_too() {
    local before
    before=$(arrivals)
    vault_crash
    vault_up
    work ORCL
    sim ORCL switch
    renamed_in "$(newest_log)" .1_910_1.dbf 1_910_1.dbf >/dev/null || { saw "it cannot be written"; return 1; }
    within 20 more_arrivals_than "$before" || saw "it is not noticed"
}

# A helper that mounts, shows it in $work/$lane.table, and finds every mount busy.
busy_helper() {
    cp "$work/etc/mounthelper" "$work/helper.kept"
    cat >"$work/etc/mounthelper" <<SH
#!/bin/sh
case \$1 in
mount) echo "\$2 \$3 nfs $good 0 0" >>$work/$lane.table ;;
umount) echo 'umount.nfs: device is busy' >&2 && exit 32 ;;
esac
exec $work/helper.kept "\$@"
SH
    : >"$work/$lane.table"
}
# Else the clone would be deleted under a mount that nobody knows of any more.
a_mount_that_is_busy_keeps_clone_sandbox_and_mark() {
    local mark=$work/sandbox-ORCL/.evercopy-sandbox
    busy_helper
    restore ORCL --scn "$mid" --sid ORCL --name stuck --mounts "$work/$lane.table"
    exits 160 && first_line "production's SID" && says "$out" "sandbox '.*' stay: .*device is busy" &&
        says "$mark" '"clone":"stuck"' && says "$mark" '"mounted":".*/stuck"' || { cp "$work/helper.kept" "$work/etc/mounthelper"; return 1; }
    restore ORCL --scn "$mid" --sid RORCL --name after --mounts "$work/$lane.table"
    cp "$work/helper.kept" "$work/etc/mounthelper"
    exits 161 && first_line "sandbox '.*' and its clone stay: " && says "$err" 'device is busy' && says "$mark" '"mounted":".*/stuck"' || return 1
    shim operator clones ORCL && says "$out" stuck || return 1
    restore ORCL --scn "$mid" --sid RORCL --name after
    exits 0 && says "$out" 'was left by a restore that was killed' || return 1
    restore_undo ORCL RORCL after
    no_clone_is_mounted || { saw "a clone is still mounted"; return 1; }
    shim operator clones ORCL && never_says "$out" stuck
}
a_helper_that_refuses_loses_the_first_restore_nothing() {
    restore ORCL --scn "$mid" --sid RORCL --name both
    exits 0 || return 1
    cp "$work/etc/mounthelper" "$work/helper.kept"
    sed -i '2i [ "$1" != mount ] || { echo "something is mounted there" >\&2; exit 2; }' "$work/etc/mounthelper"
    restore ORCL --clone both --scn "$mid" --sid TORCL --dest "$work/sandbox-two"
    cp "$work/helper.kept" "$work/etc/mounthelper"
    clone_is_mounted both || { saw "the first one's clone is not mounted any more"; return 1; }
    exits 160 && first_line 'refused: something is mounted there' || return 1
    [ ! -e "$work/sandbox-two" ] || { saw "the second sandbox stays"; return 1; }
    restore_undo ORCL RORCL both
}

# ---- whose clone it is ----

somebody_elses_clone_is_dropped_by_an_operator_alone() {
    local how
    world_who tester restore ORCL
    shim person clone create ORCL theirs --snapshot "$(newest)" >/dev/null || { saw "$(cat "$err")"; return 1; }
    for how in '' --force; do
        # shellcheck disable=SC2086 # one word or none
        shim tester clone drop ORCL theirs $how
        exits 160 && first_line "clone 'theirs' belongs to 'person'; needed: its owner or an operator" || { saw "drop $how: $seen"; return 1; }
    done
    shim tester clone create ORCL own --snapshot "$(newest)" >/dev/null && shim tester clone drop ORCL own || { saw "$(cat "$err")"; return 1; }
    shim operator clone drop ORCL theirs
    exits 0
}
drop_is_at_work() {
    local out=$work/drops.out err=$work/drops.err
    shim operator jobs ORCL --json && [ "$(ask "$out" "sum(j['kind']=='clone-drop' and j['state']=='running' for j in d['jobs'])")" = 1 ]
}
# Else the second waits, and takes a clone of that name made since.
a_second_drop_at_the_same_time_is_refused() {
    local first vault
    vault=$(cat "$work/vault/pid") # another lane may have started it anew
    shim person clone create ORCL twice --snapshot "$(newest)" >/dev/null || { saw "$(cat "$err")"; return 1; }
    kill -STOP "$vault"
    (bare_exec "$bin/evercopy" clone drop ORCL twice --config "$work/etc/person.shim.conf" </dev/null >"$work/first.out" 2>&1) &
    first=$!
    world_own "$first"
    within 20 drop_is_at_work || { kill -CONT "$vault"; saw "the first drop does not begin"; return 1; }
    shim_timeout=20 shim person clone drop ORCL twice
    kill -CONT "$vault"
    exits 160 && first_line "job .* is at work on clone 'twice'" || return 1
    within 60 gone "$first" && wait "$first" || saw "the first drop: $(cat "$work/first.out")"
}

restores() {
    try restore_without_a_helper_says_what_to_mount_and_goes_on_with_it
    try a_killed_restore_is_unmounted_and_dropped_by_the_next
    try a_restore_whose_helper_fails_leaves_no_clone
    try a_mount_that_is_busy_keeps_clone_sandbox_and_mark
    try a_helper_that_refuses_loses_the_first_restore_nothing
}
clones() {
    try clone_create_prints_how_to_mount_and_unmount
    try space_tells_what_is_stored_once_and_shown_often
    try the_doctor_has_nothing_to_say_of_a_sound_host
    try the_doctor_names_each_wrong_thing_in_json_too
    try the_doctor_wants_an_entry_where_direct_nfs_is_all_there_is
    try a_clone_in_use_is_dropped_by_force_alone
}
arrives() {
    try a_log_renamed_into_place_is_noticed_at_once
    try a_log_that_came_while_the_vault_was_started_anew_is_noticed_too
}
whose() {
    try somebody_elses_clone_is_dropped_by_an_operator_alone
    try a_second_drop_at_the_same_time_is_refused
    try the_doctor_names_an_export_that_is_wrong
}
world_who person operator ORCL # the other's configuration changes
world_lanes restores clones
world_lanes arrives # production's files are not hidden any more
world_lanes whose # it stops the vault for a moment, and makes it read-only for another
world_end
