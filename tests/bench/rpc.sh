#!/bin/bash
# RPC figures, rows as in run.sh: health Check through the agent's whole way (loop, engine's lane, loop) beside the
# same service on libgrpc++, one load generator for both, one warm connection.
#   tests/bench/rpc.sh BUILD_DIR [SECONDS]
set -u
cd "$(dirname "$0")/../.." || exit 1
build=$1
seconds=${2:-4}
work=$(mktemp -d "${TMPDIR:-/tmp}/evercopy-bench.XXXXXX")
agent='' peer_in=
finish() {
    [ -z "$peer_in" ] || exec {peer_in}>&-
    [ -z "$agent" ] || { kill "$agent" && wait "$agent"; } 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT
row() { (IFS=$'\t'; printf '%s\n' "$*"); }

build_peer() {
    local gen=$build/bench-gen
    pkg-config --exists grpc++ protobuf 2>/dev/null && command -v grpc_cpp_plugin >/dev/null || return 1
    [ "$gen/peer_rpc" -nt tests/bench/peer_rpc.cc ] && return 0
    mkdir -p "$gen"
    protoc -Iproto --cpp_out="$gen" --grpc_out="$gen" --plugin="protoc-gen-grpc=$(command -v grpc_cpp_plugin)" grpc/health/v1/health.proto &&
        # shellcheck disable=SC2046 # flags are words
        g++ -O2 -I"$gen" -o "$gen/peer_rpc" tests/bench/peer_rpc.cc "$gen"/grpc/health/v1/*.cc $(pkg-config --cflags --libs grpc++ protobuf) \
            2>"$work/peer.log"
}

# load PORT CALLS: calls per second, of the best of three rounds
load() {
    local i
    for i in 1 2 3; do
        "$build/tests/bench/bench_rpc" "$1" "$work/pki" bench /grpc.health.v1.Health/Check "$2" "$seconds" | sed -n 's/^rpc_s //p'
    done | sort -n | tail -n 1
}

printf '[agent]\nlisten = 127.0.0.1:0\nstate = %s/state\npki = %s/pki\n' "$work" "$work" >"$work/evercopyd.conf"
mkdir "$work/state"
evercopyd() { "$build/evercopyd" --config "$work/evercopyd.conf" "$@"; }
if ! { evercopyd init --name localhost --name 127.0.0.1 && evercopyd enroll bench --role monitor --out "$work/pki"; } >"$work/init.log" 2>&1; then
    echo "bench: $(tail -n 1 "$work/init.log")" >&2
    exit 1
fi
"$build/evercopyd" --config "$work/evercopyd.conf" serve --port-file "$work/port" 2>"$work/agent.log" &
agent=$!
for _ in $(seq 100); do
    [ -s "$work/port" ] && break
    read -r -t 0.1 <> <(:) || true
done
[ -s "$work/port" ] || { echo "bench: the agent did not start: $(tail -n 1 "$work/agent.log")" >&2; exit 1; }
if build_peer; then
    exec {peer_in}> >(exec "$build/bench-gen/peer_rpc" "$work/pki" >"$work/peer.port")
    for _ in $(seq 100); do
        [ -s "$work/peer.port" ] && break
        read -r -t 0.1 <> <(:) || true
    done
fi
for calls in 1 64; do
    name=rpc_$calls
    ours=$(load "$(cat "$work/port")" "$calls")
    if [ -s "$work/peer.port" ]; then
        theirs=$(load "$(cat "$work/peer.port")" "$calls")
        row "$name" "$ours calls/s" 'libgrpc++ 1.51' "$theirs calls/s" "$(awk "BEGIN {printf \"%.2f\", $ours / $theirs}")" '3 x'
    else
        row "$name" "$ours calls/s" 'libgrpc++' 'not here' - '3 x'
    fi
done
