# evercopy-vaultd as the server of the machine; sourced by run.sh.
server_begin() { # FOLDER
    vault=$1
    mkdir "$vault/store"
    export ASAN_OPTIONS="log_path=$vault/sanitizer:detect_leaks=1" UBSAN_OPTIONS="log_path=$vault/sanitizer:print_stacktrace=1"
    local i
    for i in 1 2 3 4 5; do
        # none that anybody else is given while the server is away: not NFS's own, not an ephemeral one
        vault_configure $((21000 + RANDOM % 10000))
        server_start && return
    done
    return 1
}
vault_configure() { # PORT
    cat >"$vault/conf" <<CONF
[vault]
box = $vault/box
socket = $vault/socket
nfslisten = 127.0.0.1 ::1
nfsport = $1
rpcbind = no
[store]
url = $vault/store
[export]
clients = 127.0.0.1 ::1
squash = none
CONF
}
server_start() {
    rm -f "$vault/ready"
    leash "$build/evercopy-vaultd" --config "$vault/conf" --ready-file "$vault/ready" --port-file "$vault/port" serve \
        >>"$vault/log" 2>&1 </dev/null &
    echo $! >"$vault/pid"
    disown # its death is no news
    local i
    for i in $(seq 1200); do
        [ ! -e "$vault/ready" ] || return 0
        kill -0 "$(cat "$vault/pid")" 2>/dev/null || break
        read -r -t 0.05 -u "$pause_fd"
    done
    tail -n 2 "$vault/log" | tr '\n' ' '
    return 1
}
vault_gone() { # SIGNAL
    local pid i
    pid=$(cat "$vault/pid")
    kill "-$1" "$pid"
    for i in $(seq 1200); do
        kill -0 "$pid" 2>/dev/null || return 0
        read -r -t 0.05 -u "$pause_fd"
    done
    echo "evercopy-vaultd does not end"
    return 1
}
server_kill() { vault_gone KILL; }
server_stop() { vault_gone TERM; }
server_log() { cat "$vault/log" "$vault"/sanitizer.* 2>/dev/null; }
server_end() { vault_gone TERM; }
# What a build with sanitizers has to say is a failure; said once the server has ended.
server_complains() { head -n 3 "$vault"/sanitizer.* 2>/dev/null; }
vault_ask() { "$build/tests/kernel/ask" "$vault/socket" "$@"; }
# AREA KEY=VALUE...: this area's export has these rules from now on, and the default's else.
server_rule() {
    local before i pair
    before=$(grep -c 'configuration read again' "$vault/log")
    sed -i "/^\[export $1\]/,\$d" "$vault/conf"
    {
        echo "[export $1]"
        for pair in "${@:2}"; do echo "${pair%%=*} = ${pair#*=}"; done
    } >>"$vault/conf"
    kill -HUP "$(cat "$vault/pid")"
    for i in $(seq 400); do
        [ "$(grep -c 'configuration read again' "$vault/log")" = "$before" ] || return 0
        read -r -t 0.05 -u "$pause_fd"
    done
    echo 'the configuration is not read again'
    return 1
}
where() { echo "$1 $(cat "$vault/port") $(cat "$vault/port")"; }
server_area() { # AREA: made when it is not there
    vault_ask volume.list | grep -q "\"$1\"" || vault_ask volume.create name="$1" >/dev/null || return 1
    where "/$1"
}
server_snapshot() { vault_ask snapshot.create volumes[]="$1" name="$2" >/dev/null; } # AREA SNAPSHOT
server_clone() { # AREA SNAPSHOT CLONE
    vault_ask clone.create volume="$1" snapshot="$2" name="$3" >/dev/null && where "/$1/$3"
}
server_drop() { vault_ask clone.drop volume="$1" name="$2" force=true >/dev/null; } # AREA CLONE, in use or not
