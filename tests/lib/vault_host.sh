# shellcheck shell=bash
# A vault that serves NFS, and a database host that reaches it by Direct NFS alone: no root, no mount.
# Needs $bin and $work; everything lies below $work.
#
#   vault_config [LINE...]  $work/vault/vaultd.conf; lines are added to [vault]
#   vault_start             evercopy-vaultd, each time on the same port: $vault_pid, $vault_port
#   vault_stop, vault_crash
#   vault_host DB...        the simulated host knows the areas of these, and how clones are mounted
#
# shellcheck disable=SC2034,SC2154 # variables are the scripts'
vault_pid='' vault_port=''

vault_config() {
    mkdir -p "$work/vault/box" "$work/vault/store"
    vault_port=$((20000 + RANDOM % 12000)) # below those that connections take, so that it is free again
    {
        printf '[vault]\nbox = %s\nsocket = %s\n' "$work/vault/box" "$work/vault/sock"
        printf 'nfslisten = 127.0.0.1\nnfsport = %s\nrpcbind = no\n' "$vault_port"
        [ $# = 0 ] || printf '%s\n' "$@"
        printf '[store]\nurl = %s\n' "$work/vault/store"
        printf '[export]\nclients = 127.0.0.1\nsquash = all\nanonuid = 0\nanongid = 0\n'
    } >"$work/vault/vaultd.conf"
}

# False when it does not come: its log says why.
vault_start() {
    local end=$((SECONDS + 60))
    rm -f "$work/vault/port"
    "$bin/evercopy-vaultd" --config "$work/vault/vaultd.conf" serve --port-file "$work/vault/port" \
        2>>"$work/vault/log" </dev/null &
    vault_pid=$!
    echo "$vault_pid" >"$work/vault/pid"
    until [ -s "$work/vault/port" ]; do
        if ! kill -0 "$vault_pid" 2>/dev/null || [ "$SECONDS" -gt "$end" ]; then return 1; fi
        sleep 0.05
    done
}

vault_stop() {
    [ -n "$vault_pid" ] || return 0
    kill "$vault_pid" 2>/dev/null
    vault_is_gone
}

# Also where another shell began it.
vault_is_gone() {
    wait "$vault_pid" 2>/dev/null
    while kill -0 "$vault_pid" 2>/dev/null; do sleep 0.02; done
    vault_pid=
}

vault_crash() {
    kill -KILL "$vault_pid"
    vault_is_gone
}

# The helper knows nothing but its arguments: a mount is a server of oranfstab, an unmount its absence.
vault_host() {
    local db
    mkdir -p "$work/ora/dbs" "$work/nfs" "$work/clones" "$work/etc"
    cat >"$work/etc/mounthelper" <<'SH'
#!/bin/sh
# mount HOST:/EXPORT DIR OPTIONS | umount DIR: for a host that has Direct NFS and no mount.
set -eu
dbs=DBS
exec 9>"$dbs/.mounthelper"
flock 9
case $1 in mount) dir=$3 ;; umount) dir=$2 ;; *) exit 2 ;; esac
forget() { awk -v dir="$dir" '$NF != dir' "$dbs/oranfstab" >"$dbs/.oranfstab"; }
case $1 in
mount)
    forget
    printf 'server: %s export: %s mount: %s\n' "${2%%:*}" "${2#*:}" "$dir" >>"$dbs/.oranfstab"
    port=$(echo "$4" | sed -n 's/.*[^a-z]port=\([0-9]*\).*/\1/p')
    echo "${2%%:*} ${port:-2049} ${port:-2049}" >"$dbs/.sim.nfs"
    mv "$dbs/.sim.nfs" "$dbs/sim.nfs"
    mkdir -p "$dir"
    ;;
umount)
    SIM unmount "$dir" --home "${dbs%/dbs}" --sid none || true
    forget
    rmdir "$dir" 2>/dev/null || true
    ;;
esac
mv "$dbs/.oranfstab" "$dbs/oranfstab"
SH
    sed -i "s|^dbs=.*|dbs='$work/ora/dbs'|; s|^    SIM |    '$bin/oracle-sim' |" "$work/etc/mounthelper"
    chmod 755 "$work/etc/mounthelper"
    for db in "$@"; do
        printf 'server: 127.0.0.1 export: /%s mount: %s/nfs/%s\n' "$db" "$work" "$db"
        mkdir -p "$work/nfs/$db"
    done >"$work/ora/dbs/oranfstab"
    echo "127.0.0.1 $vault_port $vault_port" >"$work/ora/dbs/sim.nfs"
}
