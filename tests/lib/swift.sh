#!/bin/bash
# OpenStack Swift with its S3 interface in a directory, one server of each kind, with the bucket "vault"; ends with its stdin.
# Not Ceph's radosgw: it keeps objects in RADOS alone, so it wants monitors, a manager and OSDs (4 GiB of memory each by default) beside it.
#   swift.sh DIRECTORY      first line: "port N", or why it cannot run
set -u
dir=$1/swift
python=/usr/bin/python3
for kind in proxy account container object; do
    command -v "swift-$kind-server" >/dev/null || { printf 'no swift-%s-server (packages swift-proxy swift-account swift-container swift-object)' $kind; exit 77; }
done
[ -r /etc/swift/swift.conf ] || { printf 'no /etc/swift/swift.conf that can be read'; exit 77; }
mkdir -p "$dir/dev/d" || exit 77
read -r proxy account container object < <("$python" -c '
import socket
held = [socket.socket() for _ in range(4)]
for s in held: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in held))')
server() { # KIND PORT
    cat >"$dir/$1.conf" <<CONF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $2
workers = 0
user = $(id -un)
swift_dir = $dir
devices = $dir/dev
mount_check = false
[pipeline:main]
pipeline = $3
[app:$1-server]
use = egg:swift#$1
$4
CONF
}
server account "$account" account-server ''
server container "$container" container-server ''
server object "$object" object-server ''
server proxy "$proxy" 'catch_errors cache s3api tempauth slo proxy-server' 'account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:slo]
use = egg:swift#slo'
sed 's/^pipeline = .*/pipeline = catch_errors cache proxy-server/' "$dir/proxy.conf" >"$dir/internal.conf"
"$python" -c '
import sys
from swift.common.ring import RingBuilder
for kind, port in zip(("account", "container", "object"), sys.argv[2:]):
    ring = RingBuilder(2, 1, 1)
    ring.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1, "ip": "127.0.0.1", "port": int(port), "device": "d"})
    ring.rebalance()
    ring.get_ring().save("%s/%s.ring.gz" % (sys.argv[1], kind))' "$dir" "$account" "$container" "$object" >"$dir/rings.log" 2>&1 ||
    { printf 'no rings: %s' "$(tail -n 1 "$dir/rings.log")"; exit 77; }
pids=''
end() {
    for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done
    exit "$1"
}
trap 'end 0' TERM INT
for kind in account container object proxy; do
    setpriv --pdeathsig KILL "swift-$kind-server" "$dir/$kind.conf" </dev/null >"$dir/$kind.log" 2>&1 &
    pids="$pids $!"
done
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
exec {pause}<> <(:) # nothing ever comes from it: a pause without a program
for port in $account $container $object $proxy; do
    for _ in $(seq 1200); do
        answers "$port" && continue 2
        read -r -t 0.05 -u "$pause"
    done
    printf 'it does not start: %s' "$(tail -n 1 "$dir"/*.log)"
    end 77
done
"$python" -c '
import sys
from swift.common.internal_client import InternalClient
InternalClient(sys.argv[1], "test", 3).create_container("AUTH_test", "vault")' "$dir/internal.conf" >"$dir/bucket.log" 2>&1 ||
    { printf 'no bucket: %s' "$(tail -n 1 "$dir/bucket.log")"; end 77; }
echo "port $proxy"
cat >/dev/null
end 0
