#!/bin/bash
# Bad input and bad days: wrong words, wrong people, wrong databases, hung and killed programs, odd
# files, full disks, noise on the wire. Each is refused or survived with a sentence, and harms nothing.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_enter 3G "$@"

# What must not change by a call that was refused.
standing() {
    local out=$work/$lane.standing err=$work/$lane.standing.err verb
    for verb in snapshots jobs clones; do
        shim operator "$verb" "$1" --json
        cat "$out"
    done
    find "$area/$1" "$xfs/storage/clones/$1" -printf '%p %s\n' 2>/dev/null | sort
}
unchanged() {
    local now
    now=$(standing "$1")
    [ "$now" = "$2" ] || saw "something changed: $(diff <(echo "$2") <(echo "$now") | head -n 4 | tr '\n' '|')"
}
# The database was not even asked: no change, no new log. Asking the simulator costs one SCN.
production() { find "$work/prod/$1" -type f -name '*[a-z]' | sort | md5sum; scn_of "$1"; }
production_is() {
    local files scn now
    { read -r files; read -r scn; } <<<"$2"
    now=$(production "$1")
    same "$now" "$files"$'\n'"$((scn + 1))" "production's files and SCN"
}
children_of_oracle() {
    local dir cmd found=
    for dir in /proc/[0-9]*; do
        cmd=$(tr '\0' ' ' 2>/dev/null <"$dir/cmdline") || continue
        case $cmd in "$work/ora/bin/"*) [ "$(tr '\0' '\n' <"$dir/environ" 2>/dev/null | grep -c "^ORACLE_SID=$1$")" = 0 ] || found="$found ${dir#/proc/}" ;; esac
    done
    echo "$found"
}
no_child_is_left() {
    local left
    left=$(children_of_oracle "$1" 2>/dev/null)
    [ -z "$left" ] || saw "children are left:$left"
}

# ---- configuration ----

# wrong NAME TEXT LINE WORD...: the shim refuses this file, naming line and words.
wrong_shim_file() {
    local file=$work/etc/$lane.shim.conf line=$1 word before
    shift
    before=$(production CFG)
    shim "$lane" backup CFG
    exits 160 && first_line "^REFUSED .*" && says "$err" "$lane\.shim\.conf:$line: " || return 1
    for word in "$@"; do says "$err" "$word" || return 1; done
    production_is CFG "$before"
}
mangle() { sed "$1" "$work/etc/host-CFG.shim.conf" >"$work/etc/$lane.shim.conf"; }
an_unknown_key_names_line_and_the_nearest() {
    mangle 's/^logwait =/logwiat =/'
    wrong_shim_file 9 "'logwiat'" "logwait"
}
a_number_that_is_none_names_its_line() {
    mangle 's/^logwait = .*/logwait = soon/'
    wrong_shim_file 9 "logwait" "soon"
}
a_line_without_a_sign_names_its_line() {
    mangle 's/^logwait = .*/logwait/'
    wrong_shim_file 9
}
a_key_given_twice_names_both_lines() {
    mangle 's/^logwait = .*/oraclehome = \/nowhere/'
    wrong_shim_file 9 "twice" "line 8"
}
a_key_outside_a_section_names_its_line() {
    mangle '1d'
    wrong_shim_file 1
}
binary_bytes_are_refused() {
    mangle 's/^logwait = .*/logwait = \x01\x02\xff/'
    wrong_shim_file 9
}
a_database_that_is_not_configured_is_refused() {
    shim host-CFG backup CFF
    exits 160 && says "$err" "CFF" && says "$err" "CFG"
}
a_missing_configuration_is_refused() {
    shim nobody backup CFG
    exits 160 && says "$err" "nobody.shim.conf"
}
a_readable_private_key_is_refused() {
    local before
    before=$(standing CFG)
    mangle ''
    cp "$work/etc/host-CFG.key" "$work/etc/open.key"
    chmod 0644 "$work/etc/open.key"
    sed -i "s/^key = .*/key = ${work//\//\\/}\/etc\/open.key/" "$work/etc/$lane.shim.conf"
    shim "$lane" backup CFG
    exits 160 && says "$err" 'open\.key' && says "$err" '(0644|0600|permission|mode|wider|others)' && unchanged CFG "$before"
}
# wrong_agent_file LINE WORD...: evercopyd does not start, and says where.
wrong_agent_file() {
    local file=$work/etc/bad.conf line=$1 word
    shift
    timeout 20 "$bin/evercopyd" --config "$file" serve --port-file "$work/bad.port" >"$out" 2>"$err"
    code=$?
    [ "$code" != 0 ] && [ "$code" -lt 124 ] || { saw "evercopyd ended with $code"; return 1; }
    [ ! -e "$work/bad.port" ] || { saw "evercopyd listened"; return 1; }
    [ ! -e "$work/bad-state" ] || { saw "evercopyd made its state folder"; return 1; }
    says "$err" "bad\.conf:$line: " || return 1
    for word in "$@"; do says "$err" "$word" || return 1; done
}
mangle_agent() { sed "s/^state = .*/state = ${work//\//\\/}\/bad-state/; $1" "$work/etc/evercopyd.conf" >"$work/etc/bad.conf"; }
the_agents_unknown_key_names_line_and_the_nearest() {
    mangle_agent 's/^verify = .*/verfiy = full/'
    wrong_agent_file 5 "'verfiy'" "verify"
}
the_agents_unknown_storage_is_named() {
    mangle_agent '0,/^storage = box/s//storage = bx/'
    wrong_agent_file '[0-9]+' "bx" "box"
}
the_agents_choice_that_is_none_is_named() {
    mangle_agent 's/^verify = .*/verify = sometimes/'
    wrong_agent_file 5 "sometimes"
}
the_agent_refuses_a_readable_key() {
    cp -a "$work/pki" "$work/pki-open"
    chmod 0644 "$work/pki-open/server.key"
    sed "s/^pki = .*/pki = ${work//\//\\/}\/pki-open/; s/^state = .*/state = ${work//\//\\/}\/state-open/" "$work/etc/evercopyd.conf" >"$work/etc/open.conf"
    timeout 20 "$bin/evercopyd" --config "$work/etc/open.conf" serve --port-file "$work/bad.port" >"$out" 2>"$err"
    code=$?
    [ "$code" != 0 ] && [ "$code" -lt 124 ] || { saw "evercopyd ended with $code"; return 1; }
    [ ! -e "$work/bad.port" ] || { saw "evercopyd listened"; return 1; }
    says "$err" 'server\.key'
}
configs() {
    database CFG
    try an_unknown_key_names_line_and_the_nearest
    try a_number_that_is_none_names_its_line
    try a_line_without_a_sign_names_its_line
    try a_key_given_twice_names_both_lines
    try a_key_outside_a_section_names_its_line
    try binary_bytes_are_refused
    try a_database_that_is_not_configured_is_refused
    try a_missing_configuration_is_refused
    try a_readable_private_key_is_refused
    try the_agents_unknown_key_names_line_and_the_nearest
    try the_agents_unknown_storage_is_named
    try the_agents_choice_that_is_none_is_named
    try the_agent_refuses_a_readable_key
}

# ---- who may ----

refused_as() {
    local before=$1 db=$2
    shift 2
    [ "$code" != 0 ] || { saw "it was not refused: $(cat "$out")"; return 1; }
    first_line '^(REFUSED|UNREACHABLE) ' && says "$err" "$*" && unchanged "$db" "$before"
}
a_certificate_of_another_authority_is_refused() {
    local before
    before=$(standing WHO)
    timeout 30 "$bin/evercopyd" --pki "$work/pki-other" init --name 127.0.0.1 >/dev/null || return 1
    mkdir -p "$work/other"
    timeout 30 "$bin/evercopyd" --pki "$work/pki-other" enroll host-WHO --role dbhost --db WHO --out "$work/other" >/dev/null || return 1
    sed "s|^cert = .*|cert = $work/other/host-WHO.crt|; s|^key = .*|key = $work/other/host-WHO.key|" \
        "$work/etc/host-WHO.shim.conf" >"$work/etc/other.shim.conf"
    shim other backup WHO
    refused_as "$before" WHO '(certificate|closed the connection during the TLS handshake)'
}
an_agent_of_another_authority_is_not_believed() {
    local before
    before=$(standing WHO)
    sed "s|^ca = .*|ca = $work/other/ca.crt|" "$work/etc/host-WHO.shim.conf" >"$work/etc/other.shim.conf"
    shim other backup WHO
    refused_as "$before" WHO 'certificate'
}
a_monitor_may_not_back_up() {
    local before
    before=$(standing WHO)
    world_who mon monitor WHO
    shim mon status WHO || { saw "a monitor may not even look: $(cat "$err")"; return 1; }
    shim mon backup WHO
    refused_as "$before" WHO "'mon' has the role 'monitor'; needed:" && exits 160
}
a_database_host_may_not_make_clones() {
    local before
    before=$(standing WHO)
    shim host-WHO clone create WHO thief --scn "$target"
    refused_as "$before" WHO "has the role 'dbhost'; needed:" && exits 160
}
a_database_host_may_not_drop_clones() {
    local before
    shim operator clone create WHO keepme --scn "$target" || { saw "$(cat "$err")"; return 1; }
    before=$(standing WHO)
    shim host-WHO clone drop WHO keepme
    refused_as "$before" WHO "has the role 'dbhost'; needed:" && exits 160
}
a_host_of_one_database_may_not_touch_another() {
    local before
    before=$(standing WHO)
    sed 's/^\[STR\]/[WHO]/' "$work/etc/host-STR.shim.conf" >"$work/etc/stranger.shim.conf"
    shim stranger backup WHO
    refused_as "$before" WHO "does not name database 'WHO'" && exits 160 || return 1
    shim stranger snapshots WHO
    refused_as "$before" WHO "does not name database 'WHO'"
}
a_configured_dbid_that_is_wrong_is_refused() {
    local before
    before=$(standing WHO)
    sed 's/^\[WHO\]/[WHO]\ndbid = 4711/' "$work/etc/host-WHO.shim.conf" >"$work/etc/pinned.shim.conf"
    shim pinned backup WHO
    exits 160 && refused_as "$before" WHO '4711'
}
# Same name, same certificate, another database: what a clone or a mix-up looks like.
another_database_under_the_same_name_is_refused() {
    local before
    sim TWIN create --dbdir "$work/prod/TWIN" --db-name WHO --unique-name WHO --dbid 99887766 --files 3 --blocks 200 >/dev/null || return 1
    before=$(standing WHO)
    sed 's/^\[WHO\]/[WHO]\nsid = TWIN/' "$work/etc/host-WHO.shim.conf" >"$work/etc/twin.shim.conf"
    shim twin backup WHO
    exits 160 && refused_as "$before" WHO "99887766 is not that of 'WHO'"
}
people() {
    database WHO
    database STR --files 3 --blocks 200
    backup WHO
    work WHO
    target=$(scn_of WHO)
    work WHO
    backup WHO
    try a_certificate_of_another_authority_is_refused
    try an_agent_of_another_authority_is_not_believed
    try a_monitor_may_not_back_up
    try a_database_host_may_not_make_clones
    try a_database_host_may_not_drop_clones
    try a_host_of_one_database_may_not_touch_another
    try a_configured_dbid_that_is_wrong_is_refused
    try another_database_under_the_same_name_is_refused
}

# ---- the agent is away ----

says_unreachable_soon() {
    local before start
    before=$(production AWAY)
    start=$SECONDS
    shim "$lane" backup AWAY
    exits 163 && first_line '^UNREACHABLE AWAY agent: ' || return 1
    [ $((SECONDS - start)) -le 11 ] || { saw "it took $((SECONDS - start)) s"; return 1; }
    production_is AWAY "$before"
}
nobody_listens_there() {
    sed 's/^agent = .*/agent = 127.0.0.1:1/' "$work/etc/host-AWAY.shim.conf" >"$work/etc/$lane.shim.conf"
    says_unreachable_soon
}
somebody_listens_and_never_answers() {
    local listener
    python3 -c 'import socket,sys
s=socket.socket(); s.bind(("127.0.0.1",0)); s.listen(5)
print(s.getsockname()[1], flush=True)
s.settimeout(60); c=[]
while True: c.append(s.accept())' >"$work/deaf.port" 2>/dev/null &
    listener=$!
    world_own "$listener"
    within 10 test -s "$work/deaf.port" || return 1
    sed "s/^agent = .*/agent = 127.0.0.1:$(cat "$work/deaf.port")/" "$work/etc/host-AWAY.shim.conf" >"$work/etc/$lane.shim.conf"
    says_unreachable_soon
    local status=$?
    kill "$listener" 2>/dev/null
    return "$status"
}
no_such_host() {
    sed 's/^agent = .*/agent = no-such-host.invalid:7420/' "$work/etc/host-AWAY.shim.conf" >"$work/etc/$lane.shim.conf"
    says_unreachable_soon
}
away() {
    database AWAY --files 3 --blocks 200
    try nobody_listens_there
    try somebody_listens_and_never_answers
    try no_such_host
}

# ---- hung, doubled, left over ----

step_is() {
    local out=$work/$lane.step err=$work/$lane.step.err
    shim operator jobs "$1" --json && [ "$(ask "$out" "[j['step'] for j in d['jobs'] if j['kind']=='backup' and j['state']=='running'][0]" 2>/dev/null)" = "$2" ]
}
# In the background; its id is the shim's own, so that signals meet it.
backup_in_background() {
    bare_exec "$bin/evercopy" backup "$1" --config "$work/etc/host-$1.shim.conf" </dev/null >"$work/$lane.$1.bg.out" 2>"$work/$lane.$1.bg.err" &
    bg=$!
    world_own "$bg"
}
a_second_run_leaves_with_a_warning() {
    sim HUNG inject hang --at merge || { saw "no hang injected"; return 1; }
    work HUNG
    backup_in_background HUNG
    within 30 step_is HUNG merge || { saw "the first run did not come to its merge: $(tail -n 3 "$work/$lane.HUNG.bg.out")"; return 1; }
    backup HUNG
    exits 0 && first_line '^WARNING HUNG begin: already running since .* on host ' || return 1
    backup HUNG --strict
    [ "$code" != 0 ] || saw "--strict ended with 0"
}
a_stop_signal_ends_a_hung_run_in_order() {
    [ -n "$(children_of_oracle HUNG 2>/dev/null)" ] || { saw "RMAN is not there"; return 1; }
    kill -TERM "$bg"
    within 75 gone "$bg" || { saw "it is still there"; return 1; }
    wait "$bg"
    code=$? err=$work/$lane.HUNG.bg.err out=$work/$lane.HUNG.bg.out
    exits 164 && first_line '^STOPPED HUNG merge: ' && no_child_is_left HUNG
    local status=$?
    err=$work/$lane.err out=$work/$lane.out
    return "$status"
}
the_run_after_it_works() {
    sim HUNG inject clear
    backup HUNG
    exits 0 && first_line '^OK HUNG: '
}
a_left_over_session_is_refused() {
    local before client
    sim HUNG inject zombie-session
    sim HUNG inject hang --at copy
    printf "set command id to 'evercopy:left-over';\nbackup as copy datafile 1 format '%s';\n" "$work/left.dbf" |
        bare_exec ORACLE_HOME="$work/ora" ORACLE_SID=HUNG "$work/ora/bin/rman" target / >"$work/left.out" 2>&1 &
    client=$!
    world_own "$client"
    within 20 grep -q 'starting datafile copy' "$work/left.out" || { saw "$(cat "$work/left.out")"; return 1; }
    kill -KILL "$client"
    before=$(standing HUNG)
    backup HUNG
    exits 160 && first_line '^REFUSED HUNG begin: .*V.SESSION' && unchanged HUNG "$before" || return 1
    sim HUNG inject clear
    backup HUNG
    exits 0
}
hung() {
    database HUNG
    backup HUNG
    try a_second_run_leaves_with_a_warning
    try a_stop_signal_ends_a_hung_run_in_order
    try the_run_after_it_works
    try a_left_over_session_is_refused
}

# ---- odd files ----

odd_files_are_named_and_harm_nothing() {
    local copy name
    copy=$(find "$area/ODD" -name '*FNO-3*' | head -n 1)
    : >"$area/ODD/empty.dbf"
    echo 'shopping list' >"$area/ODD/notes.txt"
    head -c 100000 "$copy" >"$area/ODD/halfcopy.dbf"
    head -c 8192 /dev/zero >"$area/ODD/zeroes.dbf"
    head -c 300000 /dev/urandom >"$area/ODD/noise.arc"
    cp "$(find "$work/prod/STRANGE" -name '*system*.dbf' | head -n 1)" "$area/ODD/foreign.dbf" || return 1
    head -c 1000 "$(find "$area/ODD/archivelog" -type f | head -n 1)" >"$area/ODD/archivelog/short.arc"
    work ODD
    backup ODD
    exits 0 && first_line '^(OK|WARNING) ODD' || return 1
    shim operator snapshots ODD --json || return 1
    ask "$out" "'\n'.join(d['snapshots'][-1]['odd_files'])" >"$work/odd.list"
    for name in empty.dbf notes.txt halfcopy.dbf zeroes.dbf noise.arc foreign.dbf archivelog/short.arc; do
        says "$work/odd.list" "^$name: .+" || return 1
    done
    says "$work/odd.list" '^foreign.dbf: .*(dbid|database)'
}
the_run_says_what_it_does_not_count() {
    local name
    backup ODD
    for name in empty.dbf halfcopy.dbf foreign.dbf; do says "$out" "not counted: .*$name" || return 1; done
}
a_restore_beside_odd_files_is_right() {
    local scn
    scn=$(scn_of ODD)
    work ODD
    backup ODD
    restores_to ODD "$scn" --scn "$scn"
}
odd() {
    database ODD
    sim STRANGE create --dbdir "$work/prod/STRANGE" --db-name STRANGE --unique-name STRANGE --dbid "$(dbid_of STRANGE)" --files 3 --blocks 200 >/dev/null
    backup ODD
    try odd_files_are_named_and_harm_nothing
    try the_run_says_what_it_does_not_count
    try a_restore_beside_odd_files_is_right
}

# ---- a full disk ----

small=$xfs/small
listed() {
    local out=$work/$lane.list err=$work/$lane.list.err
    shim operator snapshots FULL --json
    ask "$out" "' '.join(s['name'] for s in d['snapshots'])"
}
# Many small files make a snapshot need more room than a run's own files do.
a_full_disk_while_snapshotting_leaves_nothing_half_made() {
    local i before kib
    before=$(listed)
    for i in {1..1500}; do echo "$i" >"$small/volumes/FULL/many/$i"; done
    sync -f "$small"
    kib=$(($(df --output=avail -k "$small" | tail -n 1) - 700))
    fallocate -l "${kib}K" "$small/filler" || { saw "the disk could not be filled"; return 1; }
    backup FULL
    exits 161 && first_line '^FAILED FULL pre: .*[Nn]o space left' || return 1
    same "$(listed)" "$before" "snapshots" || return 1
    shim operator status FULL
    exits 161 || return 1
    [ -z "$(find "$small" -maxdepth 4 -name '.tmp*' -print -quit)" ] || { saw "left behind: $(find "$small" -maxdepth 4 -name '.tmp*' | head -n 1)"; return 1; }
    same "$(find "$small/snapshots/FULL" -mindepth 1 -maxdepth 1 -type d | wc -l)" "$(wc -w <<<"$before")" "snapshots on the disk"
}
with_room_again_the_next_run_works() {
    rm -rf "$small/filler" "$small/volumes/FULL/many"
    backup FULL
    exits 0 && first_line '^OK FULL: '
}
full() {
    area=$small/volumes database FULL --files 3 --blocks 200
    backup FULL || { echo "not ok full: $(head -n 1 "$err")"; return; }
    mkdir "$small/volumes/FULL/many"
    try a_full_disk_while_snapshotting_leaves_nothing_half_made
    try with_room_again_the_next_run_works
}

# ---- noise on the wire ----

still_answers() {
    kill -0 "$agent_pid" 2>/dev/null || { saw "the agent is gone"; return 1; }
    shim operator status AWAY
    exits 161 && says "$out" AWAY # never backed up, and it says so
}
tls_client() {
    timeout 10 openssl s_client -connect "127.0.0.1:$agent_port" -alpn h2 -quiet -no_ign_eof \
        -CAfile "$work/etc/ca.crt" -cert "$work/etc/operator.crt" -key "$work/etc/operator.key" >/dev/null 2>&1
}
plain_bytes_are_survived() {
    python3 - "$agent_port" <<'PY'
import os, random, socket, sys
random.seed(7)
for i in range(30):
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
    try:
        s.sendall([b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff", b"\x16\x03\x01\x40\x00" + bytes(random.randbytes(300)),
                   random.randbytes(random.randint(1, 70000)), b""][i % 5])
    except OSError:
        pass
    s.close()
PY
    still_answers
}
noise_inside_tls_is_survived() {
    local i
    for i in 1 2 3 4 5 6; do
        { [ $((i % 2)) = 0 ] || printf 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'; head -c $((i * 3000)) /dev/urandom; } | tls_client &
    done
    printf 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x01' | tls_client & # 16 MiB that never come
    printf 'PRI * HTT' | tls_client &
    wait
    still_answers
}
wrong_calls_get_an_answer() {
    timeout 60 "$grpc_python" - "$agent_port" "$work/etc" >"$out" 2>"$err" <<'PY'
import grpc, os, sys
port, etc = sys.argv[1:]
read = lambda n: open(os.path.join(etc, n), "rb").read()
creds = grpc.ssl_channel_credentials(read("ca.crt"), read("operator.key"), read("operator.crt"))
channel = grpc.secure_channel("127.0.0.1:" + port, creds, options=[("grpc.max_send_message_length", -1)])
def call(method, payload):
    try:
        channel.unary_unary(method)(payload, timeout=20)
        return "OK"
    except grpc.RpcError as e:
        return e.code().name
print("unknown method:", call("/evercopy.v1.Jobs/Destroy", b""))
print("unknown service:", call("/evercopy.v9.Jobs/ListJobs", b""))
print("truncated:", call("/evercopy.v1.Jobs/ListJobs", b"\x0a\xff\xff\xff\x7f"))
print("garbage:", call("/evercopy.v1.Jobs/ListJobs", bytes(range(255, 0, -1))))
print("oversized:", call("/evercopy.v1.Jobs/ListJobs", b"\x0a" + b"\x80\x80\x80\x20" + b"x" * (64 << 20)))
print("right:", call("/evercopy.v1.Jobs/ListJobs", b""))
PY
    code=$?
    exits 0 && says "$out" '^unknown method: UNIMPLEMENTED' && says "$out" '^unknown service: UNIMPLEMENTED' &&
        says "$out" '^truncated: (INVALID_ARGUMENT|INTERNAL)' && says "$out" '^garbage: (INVALID_ARGUMENT|INTERNAL)' &&
        says "$out" '^oversized: (RESOURCE_EXHAUSTED|INVALID_ARGUMENT)' && says "$out" '^right: OK' && still_answers
}
many_idle_connections_do_not_shut_others_out() {
    python3 - "$agent_port" "$work/idle.ready" <<'PY' &
import socket, sys, time
held = []
for i in range(200):
    try: held.append(socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=2))
    except OSError: break
open(sys.argv[2], "w").write(str(len(held)) + "\n")
sys.stdin.close()
time.sleep(30)
PY
    local holder=$!
    world_own "$holder"
    within 20 test -s "$work/idle.ready" && still_answers
    local status=$?
    kill "$holder" 2>/dev/null
    return "$status"
}
noise() {
    within 60 test -f "$work/etc/host-AWAY.shim.conf"
    try plain_bytes_are_survived
    try noise_inside_tls_is_survived
    local grpc_python=
    for grpc_python in python3 /usr/bin/python3 ''; do
        [ -z "$grpc_python" ] || ! "$grpc_python" -c 'import grpc' 2>/dev/null || break
    done
    if [ -n "$grpc_python" ]; then
        try wrong_calls_get_an_answer
    else
        echo "SKIPPED wrong_calls_get_an_answer: no python3-grpcio"
    fi
    try many_idle_connections_do_not_shut_others_out
}

# ---- the agent dies ----

# Everything listed is there, whole; everything there is listed.
storage_and_list_agree() {
    local out=$work/agree.out err=$work/agree.err name
    shim operator snapshots DIE --json || { saw "no list: $(cat "$err")"; return 1; }
    ask "$out" "'\n'.join(s['name'] for s in d['snapshots'])" | sort >"$work/agree.listed"
    find "$xfs/storage/snapshots/DIE" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort >"$work/agree.there"
    cmp -s "$work/agree.listed" "$work/agree.there" || saw "list and storage differ: $(diff "$work/agree.listed" "$work/agree.there" | tr '\n' ' ')"
}
an_agent_killed_at_any_moment_heals() {
    local round rounds=${EVERCOPY_LONG:+20} tenths t
    for ((round = 1; round <= ${rounds:-3}; round++)); do
        work DIE 40
        backup_in_background DIE
        tenths=$((RANDOM % 22))
        for ((t = 0; t < tenths; t++)); do pause; done
        agent_crash
        : >"$work/agent.log"
        agent_start
        kill -TERM "$bg" 2>/dev/null
        within 60 gone "$bg" || { saw "round $round: the shim hangs"; return 1; }
        wait "$bg"
        first_status_is_true || { saw "round $round, killed after $tenths tenths: $seen"; return 1; }
        storage_and_list_agree || { saw "round $round, killed after $tenths tenths: $seen"; return 1; }
        [ -z "$(find "$xfs/storage" -maxdepth 4 -name '.tmp*' -print -quit)" ] || { saw "round $round: half-made $(find "$xfs/storage" -maxdepth 4 -name '.tmp*' | head -n 1)"; return 1; }
        within 30 run_is_over || { saw "round $round: the dead run still holds its lease"; return 1; }
        backup DIE
        exits 0 && first_line '^OK DIE: ' || { saw "round $round, killed after $tenths tenths: $seen"; return 1; }
    done
}
# A shim that was ended while the agent was away leaves its verdict in the spool: the host's next call tells it.
run_is_over() {
    local out=$work/over.out err=$work/over.err
    shim host-DIE status DIE
    shim operator jobs DIE --json && [ "$(ask "$out" "sum(j['state']=='running' for j in d['jobs'])")" = 0 ]
}
# The run that $1 (python over j, newest first) tells of, by an operator, who delivers nothing.
runs_are() {
    local out=$work/runs.out err=$work/runs.err
    shim operator jobs DIE --json && ask "$out" "(lambda j: $1)([x for x in d['jobs'] if x['kind']=='backup'])"
}
# status as the host is told it first, against what is true then.
first_status_is_true() {
    local out=$work/first.out err=$work/first.err said
    shim host-DIE status DIE --json
    said=$(ask "$out" "d['databases'][0]['last_run']+' '+d['databases'][0]['running']")
    same "$said" "$(runs_are "next(x['id'] for x in j if x['state']!='running')+' '+''.join(x['id'] for x in j if x['state']=='running')")" 'the first status and the jobs'
}
# After a good run one that ends while the agent is away: $lost; its verdict lies in the spool.
a_run_ends_unheard() {
    backup DIE
    exits 0 || return 1
    work DIE
    sim DIE inject hang --at backup || { saw "no hang injected"; return 1; }
    backup_in_background DIE
    within 60 step_is DIE level1 || { saw "the run did not come to its level 1"; return 1; }
    lost=$(runs_are "j[0]['id']")
    agent_crash
    kill -TERM "$bg"
    within 60 gone "$bg" || { saw "the shim hangs"; return 1; }
    sim DIE inject clear
    [ -s "$work/spool/$lost.verdict" ] || { saw "no verdict in the spool: $(ls "$work/spool")"; return 1; }
    : >"$work/agent.log"
    agent_start
}
spool_is_empty() {
    local left
    left=$(ls -A "$work/spool")
    [ -z "$left" ] || saw "the spool holds: $left"
}
the_first_status_tells_a_verdict_nobody_heard() {
    local lost
    a_run_ends_unheard || return 1
    shim host-DIE status # of every database of this host
    exits 161 && says "$out" '^FAILED +DIE: last run: ' && spool_is_empty &&
        same "$(runs_are "j[0]['id']+' '+j[0]['state']")" "$lost failed" 'the run'
}
the_first_check_tells_a_verdict_nobody_heard() {
    local lost
    a_run_ends_unheard || return 1
    shim host-DIE check DIE
    exits 2 && says "$out" '^CRITICAL - DIE: .*last run: ' && spool_is_empty
}
# Nothing of that host calls: the run is open until its lease ends, and says so.
a_lease_ends_by_itself_and_the_late_word_is_taken() {
    local lost cause
    a_run_ends_unheard || return 1
    shim operator status DIE
    says "$out" "^ +running: $lost since .*, lease [0-9]+ s\$" || return 1
    within 120 grep -qE "backup run lost db=DIE job=$lost: level1: .* went silent, its lease ran out" "$work/agent.log" || { saw 'the lease does not end'; return 1; }
    cause=$(runs_are "j[0]['id']+' '+j[0]['state']+' '+j[0]['cause']")
    [[ $cause == "$lost failed level1: the shim on host "*' went silent, its lease ran out' ]] || { saw "the run: $cause"; return 1; }
    [ -s "$work/spool/$lost.verdict" ] || { saw "the verdict is gone: $(ls "$work/spool")"; return 1; }
    shim host-DIE status DIE
    exits 161 && spool_is_empty && same "$(runs_are "j[0]['id']+' '+j[0]['state']+' '+j[0]['cause']")" "$cause" 'the run' &&
        says "$work/agent.log" "late word of a run db=DIE job=$lost: the shim's own word, told late: level1: "
}
an_interrupted_snapshot_is_told_at_the_next_start() {
    local t
    agent_crash
    # A stop right inside the job: the copies are many, so a snapshot takes a while.
    mkdir -p "$area/DIE/many"
    for t in {1..1200}; do echo "$t" >"$area/DIE/many/$t"; done
    agent_start
    backup_in_background DIE
    within 30 snapshot_runs || { saw "no snapshot began"; return 1; }
    agent_crash
    : >"$work/agent.log"
    agent_start
    kill -TERM "$bg" 2>/dev/null
    within 60 gone "$bg"
    within 30 grep -qE 'recovered after an interruption finished=[0-9]+ swept=[0-9]+' "$work/agent.log" || { saw 'the agent does not tell of it'; return 1; }
    storage_and_list_agree
}
snapshot_runs() { find "$xfs/storage" -maxdepth 4 -name '.tmp*' -print -quit 2>/dev/null | grep -q .; }
the_target_before_all_this_is_still_restored() {
    rm -rf "$area/DIE/many"
    within 30 run_is_over || { saw 'the interrupted run still holds its lease'; return 1; }
    restores_to DIE "$target" --scn "$target"
}
deaths() {
    world_agent_keys='backuplease = 60' # the least
    world_apart DIE
    database DIE --files 3 --blocks 100
    sed -i "s|^logwait = .*|&\nagentwait = 2\nspool = $work/spool|" "$work/etc/host-DIE.shim.conf"
    backup DIE
    work DIE
    target=$(scn_of DIE)
    work DIE
    backup DIE
    try an_agent_killed_at_any_moment_heals
    try an_interrupted_snapshot_is_told_at_the_next_start
    try the_first_status_tells_a_verdict_nobody_heard
    try the_first_check_tells_a_verdict_nobody_heard
    try a_lease_ends_by_itself_and_the_late_word_is_taken
    try the_target_before_all_this_is_still_restored
    agent_stop
}

seed=${EVERCOPY_SEED:-$((RANDOM * 7 + $$))}
RANDOM=$seed
echo "seed $seed"
mkdir -p "$small"
truncate -s 320M "$xfs/small.img"
PATH=$PATH:/usr/sbin:/sbin
has_small=
if mkfs.xfs -q -m reflink=1 "$xfs/small.img" && mount -o loop "$xfs/small.img" "$small"; then has_small=1; fi
agent_config CFG WHO STR AWAY HUNG ODD >"$work/etc/evercopyd.conf"
printf '[storage small]\ndriver = reflink\nroot = %s\n[database FULL]\nstorage = small\n' "$small" >>"$work/etc/evercopyd.conf"
world_begin CFG WHO STR AWAY HUNG ODD FULL
if [ -n "$has_small" ]; then
    world_lanes deaths configs people away hung odd noise full
else
    echo "SKIPPED full: no second XFS can be mounted"
    world_lanes deaths configs people away hung odd noise
fi
world_end
