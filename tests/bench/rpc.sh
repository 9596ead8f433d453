#!/bin/bash
# RPC figures, rows as in run.sh: health Check by a tiny server of ours and by the whole agent (loop, engine's lane,
# loop) beside a tiny libgrpc++ one, one load generator for all, one warm connection.
#   tests/bench/rpc.sh BUILD_DIR [SECONDS]
set -u
cd "$(dirname "$0")/../.." || exit 1
build=$1
seconds=${2:-4}
work=$(mktemp -d "${TMPDIR:-/tmp}/evercopy-bench.XXXXXX")
agent='' peer_in='' tiny_in=
finish() {
    [ -z "$peer_in" ] || exec {peer_in}>&-
    [ -z "$tiny_in" ] || exec {tiny_in}>&-
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

# cpu_us PORT PID CALLS: processor time of that server for one call, warm-up and all
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
cpu_us() {
    local before rate
    before=$(ticks "$2")
    rate=$("$build/tests/bench/bench_rpc" "$1" "$work/pki" bench /grpc.health.v1.Health/Check "$3" "$seconds" | sed -n 's/^rpc_s //p')
    awk "BEGIN { printf \"%.1f\", ($(ticks "$2") - $before) / $(getconf CLK_TCK) * 1e6 / ($rate * $seconds) }"
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
    peer=$!
    for _ in $(seq 100); do
        [ -s "$work/peer.port" ] && break
        read -r -t 0.1 <> <(:) || true
    done
fi
exec {tiny_in}> >(exec "$build/tests/bench/tiny_rpc" "$work/pki" >"$work/tiny.port")
tiny=$!
for _ in $(seq 100); do
    [ -s "$work/tiny.port" ] && break
    read -r -t 0.1 <> <(:) || true
done
[ -s "$work/tiny.port" ] || { echo 'bench: tiny_rpc did not start' >&2; exit 1; }
# A server of the peer's size beside the peer; then the agent, whose answer goes by the engine's lane.
for calls in 1 64; do
    ours=$(load "$(cat "$work/tiny.port")" "$calls")
    whole=$(load "$(cat "$work/port")" "$calls")
    if [ -s "$work/peer.port" ]; then
        theirs=$(load "$(cat "$work/peer.port")" "$calls")
        row "rpc_$calls" "$ours calls/s" 'libgrpc++ 1.51' "$theirs calls/s" "$(awk "BEGIN {printf \"%.2f\", $ours / $theirs}")" '3 x'
        row "rpc_agent_$calls" "$whole calls/s" 'libgrpc++ 1.51' "$theirs calls/s" "$(awk "BEGIN {printf \"%.2f\", $whole / $theirs}")" -
    else
        row "rpc_$calls" "$ours calls/s" 'libgrpc++' 'not here' - '3 x'
        row "rpc_agent_$calls" "$whole calls/s" 'libgrpc++' 'not here' - -
    fi
done
# Generator and servers share two cores, and a wake-up costs more than a call: this is what a server itself costs.
ours=$(cpu_us "$(cat "$work/tiny.port")" "$tiny" 64)
whole=$(cpu_us "$(cat "$work/port")" "$agent" 64)
if [ -s "$work/peer.port" ]; then
    theirs=$(cpu_us "$(cat "$work/peer.port")" "$peer" 64)
    row rpc_64_cpu "$ours us a call" 'libgrpc++ 1.51' "$theirs us a call" "$(awk "BEGIN {printf \"%.2f\", $theirs / $ours}")" '3 x'
    row rpc_agent_64_cpu "$whole us a call" 'libgrpc++ 1.51' "$theirs us a call" "$(awk "BEGIN {printf \"%.2f\", $theirs / $whole}")" -
fi
