#!/bin/bash
# Stock gRPC clients against a real agent: the demo's story in Python and JavaScript, buf's command line by
# reflection, and every method of the descriptor set by every role.
# shellcheck source=tests/lib/world.sh disable=SC2154,SC2329
. "$(dirname "$0")/../lib/world.sh"
world_enter 2G "$@"

python=/usr/bin/python3
clients=$here/tests/clients
modules=$here/build/clients

fetch_modules() {
    local why
    why=$("$clients/fetch.sh") || { saw "$why"; return 1; }
}

story_python() {
    database PY --db-name PYDB && work PY && backup PY || { echo "not ok python: $(head -n 1 "$err")"; return; }
    PYTHONDONTWRITEBYTECODE=1 timeout 100 "$python" "$clients/story.py" "127.0.0.1:$agent_port" "$work/etc" "$bin/gen/descriptors.binpb" PY PYDB ||
        echo "not ok python_story: exit code $?"
    PYTHONDONTWRITEBYTECODE=1 timeout 100 "$python" "$clients/roles.py" "127.0.0.1:$agent_port" "$work/roles" "$bin/gen/descriptors.binpb" PY ||
        echo "not ok roles: exit code $?"
}

story_javascript() {
    if ! fetch_modules; then
        echo "SKIPPED javascript and buf: $seen"
        return
    fi
    database JS && work JS && backup JS || { echo "not ok javascript: $(head -n 1 "$err")"; return; }
    NODE_PATH=$modules/node_modules timeout 100 node "$clients/story.js" "127.0.0.1:$agent_port" "$work/etc" "$here/proto" JS JS ||
        echo "not ok javascript_story: exit code $?"
    for check in buf_lists_what_is_served buf_lists_by_the_old_reflection buf_calls_without_any_file buf_reads_a_stream \
        buf_sends_a_stream reflection_is_for_admins; do
        try "$check"
    done
}

# buf_curl WHO PATH [OPTION...]
buf_curl() {
    local who=$1 path=$2
    shift 2
    HOME=$work timeout 30 "$modules/node_modules/@bufbuild/buf-linux-x64/bin/buf" curl --protocol grpc --cacert "$work/roles/ca.crt" \
        --cert "$work/roles/$who.crt" --key "$work/roles/$who.key" "$@" "https://127.0.0.1:$agent_port$path" >"$out" 2>"$err"
    code=$?
    return "$code"
}
buf_lists_what_is_served() {
    buf_curl admin '' --list-methods || { saw "$(head -n 1 "$err")"; return 1; }
    same "$(sort "$out" | tr '\n' ' ')" "$(grep -v '^#' "$clients/roles.tsv" | cut -f 1 | sort | tr '\n' ' ')" methods
}
buf_lists_by_the_old_reflection() {
    buf_curl admin '' --list-services --reflect-protocol grpc-v1alpha && says "$out" '^evercopy.v1.Backups$'
}
buf_calls_without_any_file() {
    buf_curl admin /evercopy.v1.Databases/GetStatus -d '{"db_unique_name": "JS"}' || { saw "$(head -n 1 "$err")"; return 1; }
    same "$(ask "$out" "d['databases'][0]['dbUniqueName']")" JS
}
buf_reads_a_stream() {
    local job
    shim operator jobs JS --json || return 1
    job=$(ask "$out" "[j['id'] for j in d['jobs'] if j['kind'] == 'backup'][0]")
    buf_curl admin /evercopy.v1.Jobs/FollowLog -d "{\"job\": \"$job\"}" || { saw "$(head -n 1 "$err")"; return 1; }
    [ "$(grep -c '"timeUs"' "$out")" -gt 5 ] || saw "the log of $job: $(head -n 3 "$out")"
}
buf_sends_a_stream() {
    buf_curl admin /evercopy.v1.Backups/UploadLog -d '{"job": "none"}{"job": "none"}' && { saw 'it succeeded'; return 1; }
    says "$err" '"code": "not_found"'
}
reflection_is_for_admins() {
    buf_curl operator '' --list-methods && { saw 'an operator may list'; return 1; }
    says "$err" 'permission_denied|Permission'
}

"$python" -c 'import grpc, google.protobuf' 2>/dev/null || world_skip_all 'no python3-grpcio'
world_agent PY JS
evercopyd_roles() {
    local role
    for role in restore operator monitor admin; do evercopyd enroll "$role" --role "$role" --out "$work/roles" || return 1; done
    evercopyd enroll dbhost --role dbhost --db PY --out "$work/roles"
}
evercopyd_roles >"$work/roles.out" 2>&1 || world_fail "enroll: $(tail -n 1 "$work/roles.out")"
world_lanes story_python story_javascript

# The agent goes at once, although streams without an end are open.
an_agent_that_stops_tells_who_watches() {
    local watcher began
    PYTHONDONTWRITEBYTECODE=1 timeout 60 "$python" "$clients/watch.py" "127.0.0.1:$agent_port" "$work/roles" "$bin/gen/descriptors.binpb" monitor \
        >"$work/watch.out" 2>&1 &
    watcher=$!
    world_own "$watcher"
    within 15 grep -q watching "$work/watch.out" || { saw "$(tail -n 1 "$work/watch.out")"; return 1; }
    began=$SECONDS
    agent_stop
    wait "$watcher" || { saw "$(tail -n 1 "$work/watch.out")"; return 1; }
    [ $((SECONDS - began)) -lt 10 ] || saw "it took $((SECONDS - began)) s"
}
try an_agent_that_stops_tells_who_watches | tee -a "$work/said"
world_end
