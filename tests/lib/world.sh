# shellcheck shell=bash
# A world for end-to-end tests: scratch XFS, agent, simulated databases, configurations, verdicts.
#
#   . "$(dirname "$0")/../lib/world.sh"
#   world_enter 2G "$@"             re-executes the script where a scratch XFS is mounted
#   world_plain "$@"                or: neither root nor a mount, for what is reached by NFS
#   world_vault A B C               (plain) a vault that serves NFS, before world_agent
#   world_either 2G "$@"            the first, or with EVERCOPY_WORLD=vault the second; then world_agent
#   world_agent A:B C               agent that serves databases A, B and C, started
#   world_lanes lane_one lane_two   each in a subshell of its own, at once; prints what they said
#   world_end                       the last line: N passed, N failed
#
# A lane calls `try NAME`: NAME is a function that returns 0, or says what it saw by `saw TEXT`.
# Everything lives below $work; only processes of the world are ended, each by its own id.
# shellcheck disable=SC2034 # variables are for the scripts
set -u

world_skip_all() {
    echo "SKIPPED $(basename "$0" .sh): $1"
    echo "0 passed, 0 failed"
    exit 0
}

world_enter() {
    local size=$1 self outer status
    shift
    here=$(cd "$(dirname "$0")/../.." && pwd)
    bin=$(cd "$1" && pwd)
    self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
    if [ "${2:-}" != inside ]; then
        [ "$(id -u)" = 0 ] || world_skip_all "needs root: it mounts a scratch XFS"
        outer=$(mktemp -d -t evercopy-world.XXXXXX)
        "$here/tests/lib/in-scratch-xfs.sh" "$size" "$outer/xfs" "$self" "$bin" inside "$outer"
        status=$?
        rm -rf "$outer"
        [ "$status" != 77 ] || world_skip_all "no scratch XFS can be mounted here"
        exit "$status"
    fi
    work=$3
    xfs=$work/xfs
    area=$xfs/storage/volumes
    mkdir -p "$xfs/storage"
    world_made
}

world_plain() {
    here=$(cd "$(dirname "$0")/../.." && pwd)
    bin=$(cd "$1" && pwd)
    work=$(mktemp -d -t evercopy-world.XXXXXX)
    area=$work/nfs
    world_is_plain=1
    world_made
    trap 'world_close; rm -rf "$work"' EXIT
}

world_either() {
    if [ "${EVERCOPY_WORLD:-}" = vault ]; then
        shift
        world_plain "$@"
        world_driver=vault
    else
        world_enter "$@"
    fi
}

# in_area DB: names in its area, as the database's host sees them.
in_area() { sim "$1" files "$area/$1" | cut -d' ' -f3-; }

# shellcheck source=tests/lib/vault_host.sh
world_vault() {
    . "$here/tests/lib/vault_host.sh"
    world_driver=vault
    vault_config
    vault_up
    vault_host "$@"
}
vault_up() {
    vault_start || world_fail "the vault did not start: $(tail -n 3 "$work/vault/log" | tr '\n' ' ')"
    world_own "$vault_pid"
}

world_made() {
    agent_pid='' lane=main out=$work/main.out err=$work/main.err
    mkdir -p "$work/etc" "$work/state" "$work/ora/dbs" "$work/prod"
    world_pids=$work/pids
    : >"$world_pids"
    trap world_close EXIT
    trap 'exit 143' TERM INT
}

# In a lane: folders and an agent of its own, for lanes in which the agent dies.
world_apart() {
    work=$work/apart-$lane agent_pid=
    out=$work/main.out err=$work/main.err
    if [ -n "${world_is_plain:-}" ]; then
        area=$work/nfs
    else
        xfs=$xfs/apart-$lane area=$xfs/storage/volumes
        mkdir -p "$xfs/storage"
    fi
    mkdir -p "$work/etc" "$work/state" "$work/ora/dbs" "$work/prod"
    world_agent "$@"
}

# The world itself could not be made: its lane, or the script, ends here.
world_fail() {
    echo "not ok $lane: $1"
    exit 1
}

# ---- processes ----

# When a process began (proc(5), starttime): what ended long ago may have left its id to somebody else.
started() {
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
    # shellcheck disable=SC2086 # a word is a field
    set -- ${stat##*) }
    echo "${20}"
}
# Remembers a process so that world_close ends it, and it alone.
world_own() { echo "$1 $(started "$1")" >>"$world_pids"; }

world_close() {
    local pid since
    agent_stop
    while read -r pid since; do
        [ -z "$since" ] || [ "$(started "$pid")" != "$since" ] || kill -KILL "$pid" 2>/dev/null
    done <"$world_pids"
}

# A tenth of a second, without a program: nothing ever comes from this pipe.
pause() {
    [ -n "${pause_fd:-}" ] || exec {pause_fd}<> <(:)
    read -r -t 0.1 -u "$pause_fd" || true
}

# within SECONDS COMMAND...: true as soon as the command is.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        pause
    done
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# Empty environment, as a scheduler gives it; the sanitizers' report paths alone go through.
bare() {
    env -i ${ASAN_OPTIONS+"ASAN_OPTIONS=$ASAN_OPTIONS"} ${UBSAN_OPTIONS+"UBSAN_OPTIONS=$UBSAN_OPTIONS"} "$@"
}

# The same in place of a background subshell, so that $! is the program's own id.
bare_exec() {
    exec env -i ${ASAN_OPTIONS+"ASAN_OPTIONS=$ASAN_OPTIONS"} ${UBSAN_OPTIONS+"UBSAN_OPTIONS=$UBSAN_OPTIONS"} "$@"
}

# ---- the agent ----

agent_config() {
    local spec group name
    cat <<CONF
[agent]
listen = 127.0.0.1:0
state = $work/state
pki = $work/pki
verify = ${world_verify:-full}
${world_agent_keys:-}
[storage box]
CONF
    if [ "${world_driver:-reflink}" = vault ]; then
        printf 'driver = vault\nsocket = %s\nnfshost = 127.0.0.1\n' "$work/vault/sock"
    else
        printf 'driver = reflink\nroot = %s\n' "$xfs/storage"
    fi
    for spec in "$@"; do printf '[database %s]\nstorage = box\n' "$spec"; done
}

agent_start() {
    rm -f "$work/port"
    "$bin/evercopyd" --config "$work/etc/evercopyd.conf" serve --port-file "$work/port" \
        2>>"$work/agent.log" </dev/null &
    agent_pid=$!
    world_own "$agent_pid"
    if ! within 30 test -s "$work/port" || gone "$agent_pid"; then
        world_fail "the agent did not start: $(tail -n 3 "$work/agent.log" | tr '\n' ' ')"
    fi
    agent_port=$(cat "$work/port")
    # From now on the same one, as it is with a service that starts again.
    sed -i "s/^listen = .*/listen = 127.0.0.1:$agent_port/" "$work/etc/evercopyd.conf"
}

agent_stop() {
    [ -n "$agent_pid" ] || return 0
    kill "$agent_pid" 2>/dev/null
    within 20 gone "$agent_pid" || kill -KILL "$agent_pid" 2>/dev/null
    wait "$agent_pid" 2>/dev/null
    agent_pid=
}

agent_crash() {
    kill -KILL "$agent_pid"
    wait "$agent_pid" 2>/dev/null
    agent_pid=
}

evercopyd() { timeout 30 "$bin/evercopyd" --config "$work/etc/evercopyd.conf" "$@"; }

# world_agent DB...: authority, agent, and the person 'operator' whose configuration knows them all.
world_agent() {
    if [ "${world_driver:-}" = vault ] && [ ! -e "$work/vault" ]; then world_vault "$@"; fi
    agent_config "$@" >"$work/etc/evercopyd.conf"
    world_begin "$@"
}

# The same with an evercopyd.conf that lies there already.
world_begin() {
    evercopyd init --name localhost --name 127.0.0.1 >"$work/init.out" 2>&1 || world_fail "init: $(cat "$work/init.out")"
    agent_start
    world_who operator operator "$@"
}

# world_who NAME ROLE DB...: certificate and configuration of a host or person.
world_who() {
    local name=$1 role=$2 db
    local -a names=()
    shift 2
    if [ "$role" = dbhost ]; then for db in "$@"; do names+=(--db "$db"); done; fi
    evercopyd enroll "$name" --role "$role" "${names[@]}" --out "$work/etc" >"$work/$name.enroll" 2>&1 ||
        world_fail "enroll $name: $(cat "$work/$name.enroll")"
    shim_config "$name" "$@" >"$work/etc/$name.shim.conf"
}

shim_config() {
    local name=$1 db
    shift
    cat <<CONF
[generic]
agent = 127.0.0.1:$agent_port
ca = $work/etc/ca.crt
cert = $work/etc/$name.crt
key = $work/etc/$name.key
ticketfile = $work/$name.ticket
backupdest = $area
oraclehome = $work/ora
logwait = 30
CONF
    if [ "${world_driver:-}" = vault ]; then
        echo 'areamounted = false'
        printf '[autorestore]\nmounthelper = %s/etc/mounthelper\n' "$work"
    fi
    for db in "$@"; do
        printf '[%s]\nautorestoredestination = %s/sandbox-%s\n' "$db" "$work" "$db"
        [ "${world_driver:-}" != vault ] || printf 'autorestoremountpoint = %s/clones/%s\n' "$work" "$db"
    done
}

# ---- databases ----

# sim DB VERB...: the control command of the simulated database.
sim() {
    local db=$1
    shift
    timeout 60 "$bin/oracle-sim" "$@" --home "$work/ora" --sid "$db"
}

# The simulator's databases are all of one dbid unless told otherwise.
dbid_of() { cksum <<<"$1" | cut -d' ' -f1; }

# database DB [OPTION...]: a small one, its host's certificate, and `setup --apply`.
database() {
    local db=$1
    shift
    sim "$db" create --dbdir "$work/prod/$db" --db-name "$db" --unique-name "$db" --files 4 --blocks 300 \
        --log-blocks 4096 --churn 5 --dbid "$(dbid_of "$db")" "$@" >"$work/$db.create" 2>&1 ||
        world_fail "create $db: $(cat "$work/$db.create")"
    work "$db" || world_fail "no work in $db"
    world_who "host-$db" dbhost "$db"
    shim "host-$db" setup "$db" --apply || world_fail "setup $db: $(cat "$err")"
}

work() { sim "$1" work --changes "${2:-60}" >/dev/null; }
scn_of() { sim "$1" scn | cut -d' ' -f1; }
# Local time of the database, as people type it.
time_of() { sim "$1" scn | sed -E 's/^[0-9]+ +//; s/T/ /' | cut -c1-19; }

# ---- the program under test ----

# shim WHO VERB...: as the scheduler starts it; leaves $code, $out and $err.
shim() {
    local who=$1
    shift
    bare setsid -w timeout -k 5 "${shim_timeout:-90}" "$bin/evercopy" "$@" --config "$work/etc/$who.shim.conf" \
        </dev/null >"$out" 2>"$err"
    code=$?
    return "$code"
}

backup() {
    local db=$1
    shift
    shim "host-$db" backup "$db" "$@"
}

# The restore host is another machine: production's own files are not there.
restore() {
    local db=$1
    shift
    if [ -n "${world_is_plain:-}" ]; then
        sim "$db" hide
        shim operator restore "$db" "$@"
        sim "$db" hide off
        return "$code"
    fi
    bare unshare -m sh -c 'mount --make-rprivate / && mount -t tmpfs none "$1" && shift && exec "$@"' sh \
        "$work/prod" timeout -k 5 90 "$bin/evercopy" restore "$db" --config "$work/etc/operator.shim.conf" "$@" \
        </dev/null >"$out" 2>"$err"
    code=$?
    return "$code"
}

# Shuts a sandbox instance down, drops clone and sandbox.
restore_undo() {
    local db=$1 sid=$2 clone=$3
    printf 'shutdown abort\nexit\n' |
        bare "ORACLE_HOME=$work/ora" "ORACLE_SID=$sid" timeout 30 "$work/ora/bin/sqlplus" -S / as sysdba >/dev/null
    if [ "${world_driver:-}" = vault ]; then "$work/etc/mounthelper" umount "$work/clones/$db/$clone"; fi
    shim operator clone drop "$db" "$clone"
    rm -rf "$work/sandbox-$db"
}

# restores_to DB SCN OPTION...: restored, and equal to the truth at that SCN, block for block.
restores_to() {
    local db=$1 scn=$2 report=$work/$1.compare status=0
    shift 2
    restore "$db" --sid "R$db" --name drill "$@" || { saw "restore $* ended with $code: $(head -n 1 "$err")"; return 1; }
    sim "$db" compare --scn "$scn" --instance "R$db" >"$report" 2>&1 || status=1
    restore_undo "$db" "R$db" drill
    [ "$status" = 0 ] || saw "restored $*: $(head -n 1 "$report")"
}

# ask FILE EXPRESSION: one value out of JSON, `d` is the document.
ask() { python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); v=eval(sys.argv[2]); print(json.dumps(v) if isinstance(v,(dict,list,bool)) else v)' "$@"; }

# ---- verdicts ----

saw() { seen=$1; return 1; }

# Each expectation says what was seen instead.
exits() {
    [ "$code" = "$1" ] || saw "exit code $code, expected $1; stderr: $(head -n 1 "$err")"
}
first_line() {
    local line
    line=$(head -n 1 "$err")
    [[ $line =~ $1 ]] || { saw "first line of stderr: '$line', expected /$1/"; return 1; }
    [ "$(printf %s "$line" | wc -c)" -le 160 ] || saw "first line of stderr is longer than 160 bytes: '$line'"
}
says() {
    grep -qE -- "$2" "$1" || saw "no line /$2/ in: $(tail -n 5 "$1" | tr '\n' '|')"
}
never_says() {
    ! grep -qE -- "$2" "$1" || saw "line '$(grep -E -m 1 -- "$2" "$1")' stands there"
}
same() {
    [ "$1" = "$2" ] || saw "${3:-values} differ: '$1' and '$2'"
}

try() {
    seen=
    if "$1"; then
        echo "ok $1"
    else
        echo "not ok $1: ${seen:-it ended with an error}"
        sed 's/^/#   out: /' "$out" 2>/dev/null | tail -n 12
        sed 's/^/#   err: /' "$err" 2>/dev/null | tail -n 5
        for background in "$work/$lane".*.bg.out "$work/$lane".*.bg.err; do
            [ -s "$background" ] && tail -n 12 "$background" | sed "s|^|#   ${background##*/}: |"
        done
    fi
}

# Lanes share the agent, each has its own databases.
world_lanes() {
    local name pid
    local -a pids=()
    for name in "$@"; do
        (
            trap - EXIT
            lane=$name out=$work/$name.out err=$work/$name.err
            pause_fd=
            "$name"
            echo "# $name: $SECONDS s"
        ) >"$work/$name.said" 2>&1 &
        pids+=("$!")
        world_own "$!"
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    for name in "$@"; do
        cat "$work/$name.said"
        grep -q '^ok \|^not ok \|^SKIPPED ' "$work/$name.said" || echo "not ok $name: it said nothing"
    done | tee -a "$work/said"
}

world_end() {
    local passed failed
    touch "$work/said"
    passed=$(grep -c '^ok ' "$work/said")
    failed=$(grep -c '^not ok ' "$work/said")
    if [ "$failed" != 0 ] && [ -e "$work/agent.log" ]; then
        { grep -E '^[^ ]* (error|warning) ' "$work/agent.log" | tail -n 40; tail -n 15 "$work/agent.log"; } | sed 's/^/#   agent: /'
    fi
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
    exit
}
