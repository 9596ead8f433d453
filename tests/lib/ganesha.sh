#!/bin/bash
# A real NFS server (nfs-ganesha) over a directory, for tests. Runs in the caller's network namespace,
# which must be a private one, with mounts of its own; obeys lines on stdin and ends with it.
#   ganesha.sh DIRECTORY
# "start", "kill" (SIGKILL) and "stop" are answered by "up" and "down", what cannot run here by "SKIPPED why".
# NFS listens on 20491, mountd on 20492: nfs://127.0.0.1DIRECTORY?nfsport=20491&mountport=20492
set -u
export PATH=$PATH:/usr/sbin:/sbin
skip() {
    echo "SKIPPED $1"
    exit 77
}
if [ "${2:-}" != inside ]; then
    [ "$(id -u)" = 0 ] || skip "needs root"
    for program in ganesha.nfsd rpcbind unshare ip; do
        command -v "$program" >/dev/null || skip "no program $program (packages nfs-ganesha nfs-ganesha-vfs rpcbind)"
    done
    [ "$(readlink /proc/self/ns/net)" != "$(readlink /proc/1/ns/net)" ] || skip "not in a network of its own"
    # Whoever dies first, nobody is left: with the first process of a process namespace go all others.
    exec unshare -m -p -f --kill-child --mount-proc --propagation private "$0" "$1" inside
fi
export_dir=$1
mount -t tmpfs none /run && mkdir -p /run/rpcbind /run/ganesha /run/state /var/lib/nfs || skip "no tmpfs on /run"
mount -t tmpfs none /var/lib/nfs && mkdir -p /var/lib/nfs/ganesha || skip "no tmpfs on /var/lib/nfs"
ip link set lo up
cat >/run/state/ganesha.conf <<CONF
NFS_CORE_PARAM { NFS_Port = 20491; MNT_Port = 20492; NLM_Port = 20493; RQUOTA_Port = 20494; Protocols = 3;
  Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; mount_path_pseudo = true; }
NFS_KRB5 { Active_krb5 = false; }
MDCACHE { Dir_Chunk = 0; }
EXPORT { Export_Id = 1; Path = $export_dir; Pseudo = $export_dir; Access_Type = RW; Squash = No_Root_Squash;
  SecType = sys; Protocols = 3; Transports = TCP; Attr_Expiration_Time = 0;
  MaxRead = 1048576; MaxWrite = 1048576; PrefRead = 1048576; PrefWrite = 1048576; FSAL { Name = VFS; } }
LOG { Default_Log_Level = EVENT; }
CONF
server='' binder=''
run() { "$@" </dev/null >/run/state/said 2>&1 & }
end() {
    for pid in $server $binder; do kill -KILL "$pid" 2>/dev/null; done
    exit 0
}
trap end EXIT TERM INT
run rpcbind -f -i
binder=$!
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
until_up() {
    local i
    for i in $(seq 200); do
        answers "$1" && return 0
        kill -0 "$2" 2>/dev/null || return 1
        read -r -t 0.05 -u "$pause_fd"
    done
    return 1
}
exec {pause_fd}<> <(:) # nothing ever comes from it: a pause without a program
until_up 111 "$binder" || skip "rpcbind does not start: $(tail -n 1 /run/state/said)"
while read -r word; do
    case $word in
    start)
        run ganesha.nfsd -F -L /run/state/ganesha.log -f /run/state/ganesha.conf -p /run/state/ganesha.pid -N NIV_EVENT
        server=$!
        until_up 20491 "$server" && until_up 20492 "$server" ||
            skip "ganesha does not start: $(grep -E 'CRIT|FATAL' /run/state/ganesha.log | tail -n 1)"
        echo up
        ;;
    kill | stop)
        signal=KILL
        [ "$word" = kill ] || signal=TERM
        [ -z "$server" ] || kill -"$signal" "$server"
        wait "$server" 2>/dev/null
        server=
        echo down
        ;;
    esac
done
