#!/bin/bash
# Rows of the connections: handshakes, idle connections, the agent at rest, the shim's first answer.
#   tests/bench/net.sh BUILD_DIR
set -u
cd "$(dirname "$0")/../.."
build=$PWD/$1
work=$(mktemp -d "${TMPDIR:-/tmp}/evercopy-bench-net.XXXXXX")
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
    wait
    rm -rf "$work"
}
trap finish EXIT
row() { (IFS=$'\t'; printf '%s\n' "$*"); }
value() { sed -nE "s/^$1 //p" <<<"$2"; }
calc() { awk "BEGIN {printf \"$1\", $2}"; }
within() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@" 2>/dev/null; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}
answers() { : <"/dev/tcp/127.0.0.1/$1"; }
fail() {
    echo "bench: $1" >&2
    exit 1
}

cat >"$work/evercopyd.conf" <<CONF
[agent]
listen = 127.0.0.1:0
state = $work/state
pki = $work/pki
run = $work/run
CONF
evercopyd() { "$build/evercopyd" --config "$work/evercopyd.conf" "$@" >>"$work/out" 2>&1; }
evercopyd init --name localhost || fail "init: $(tail -n 1 "$work/out")"
names=(op)
for i in $(seq 20); do names+=("c$i"); done
for name in "${names[@]}"; do
    evercopyd enroll "$name" --role operator --out "$work/pki/all" || fail "enroll: $(tail -n 1 "$work/out")"
done
agent() { # starts one; leaves $agent_pid and $port
    rm -f "$work/port"
    "$build/evercopyd" --config "$work/evercopyd.conf" serve --port-file "$work/port" 2>>"$work/agent.log" &
    agent_pid=$!
    pids+=("$agent_pid")
    within 20 test -s "$work/port" || fail "the agent did not start: $(tail -n 1 "$work/agent.log")"
    port=$(cat "$work/port")
}
tls() { timeout 50 tests/bench/tls.py "$@"; }

# ---- memory first, of an agent that has done nothing else ----
agent
if figures=$(tls idle "$port" "$agent_pid" "$work/pki/all" 1000 "${names[@]:1}"); then
    row agent_idle_anon "$(calc %.1f "$(value anon_kib "$figures") / 1024") MiB" - - - '4 MiB'
    row agent_idle_rss "$(calc %.1f "$(value rss_kib "$figures") / 1024") MiB" - - - '12 MiB'
    row tls_1000_idle "$(calc %.1f "$(value idle_more_kib "$figures") / 1024") MiB more" - - - '60 MiB'
    row tls_1000_just_served "$(calc %.1f "$(value busy_more_kib "$figures") / 1024") MiB more" - - - -
else
    fail 'idle connections'
fi

# ---- handshakes: one after the other, per second of processor time, both ends proving themselves ----
openssl s_server -accept "127.0.0.1:$((port + 1))" -cert "$work/pki/server.crt" -key "$work/pki/server.key" \
    -CAfile "$work/pki/ca.crt" -Verify 1 -tls1_2 -alpn h2 -quiet >/dev/null 2>&1 &
peer_pid=$!
pids+=("$peer_pid")
peer=
within 5 answers "$((port + 1))" && peer=1
for kind in full resumed; do
    count=$([ "$kind" = full ] && echo 200 || echo 2000)
    figures=$(tls cpu "$port" "$agent_pid" "$work/pki/all" op "$kind" "$count") || fail "handshakes: $kind"
    ours=$(value "${kind}_per_core_s" "$figures")
    if [ -n "$peer" ] && figures=$(tls cpu "$((port + 1))" "$peer_pid" "$work/pki/all" op "$kind" "$count"); then
        theirs=$(value "${kind}_per_core_s" "$figures")
        row "handshake_$kind" "$ours /s a core" 'openssl s_server' "$theirs /s a core" "$(calc %.2f "$ours / $theirs")" -
    else
        row "handshake_$kind" "$ours /s a core" 'openssl s_server' 'not here' - -
    fi
done

# ---- from the shim's start to its end, with the agent's answer in between ----
cat >"$work/evercopy.conf" <<CONF
[generic]
agent = 127.0.0.1:$port
ca = $work/pki/ca.crt
cert = $work/pki/all/op.crt
key = $work/pki/all/op.key
ticketfile = $work/op.ticket
CONF
sed -i 's/127.0.0.1/localhost/' "$work/evercopy.conf" # the name in the agent's certificate
shim_ms() { # cold|warm: the median of eleven
    local i start
    for i in $(seq 11); do
        [ "$1" = warm ] || rm -f "$work/op.ticket"
        start=$EPOCHREALTIME
        "$build/evercopy" status --config "$work/evercopy.conf" >"$work/status" 2>&1
        awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN {printf "%.2f\n", (b - a) * 1000}'
        grep -q '^no databases' "$work/status" || return 1
    done | sort -g | sed -n 6p
}
for kind in cold warm; do
    spent=$(shim_ms "$kind")
    grep -q '^no databases' "$work/status" || fail "status: $(head -n 1 "$work/status")"
    row "shim_first_answer_$kind" "$spent ms" - - - "$([ "$kind" = cold ] && echo 60 || echo 15) ms"
done
