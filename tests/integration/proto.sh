#!/bin/bash
# The wire against its released description: nothing that a client in the field holds may break. How to
# release a new one: proto/README.md.
#   tests/integration/proto.sh BUILD_DIR
set -u
cd "$(dirname "$0")/../.." || exit 1
python=/usr/bin/python3
passed=0 failed=0
if ! "$python" -c 'import google.protobuf' 2>/dev/null; then
    echo 'SKIPPED proto: no python3-protobuf'
    echo '0 passed, 0 failed'
    exit 0
fi
export PYTHONDONTWRITEBYTECODE=1
said=$("$python" tests/proto/compat.py tests/proto/released.binpb "$1/gen/descriptors.binpb" 2>&1)
if [ "$said" = compatible ]; then
    echo 'ok the_wire_serves_clients_of_the_released_one'
    passed=1
else
    echo "not ok the_wire_serves_clients_of_the_released_one: $said"
    failed=1
fi
referee=$("$python" tests/proto/compat.py --referee tests/proto/released.binpb 2>&1)
echo "$referee"
ok=$(grep -c '^ok ' <<<"$referee")
passed=$((passed + ok)) failed=$((failed + $(grep -c '^not ok ' <<<"$referee")))
[ "$ok" -ge 26 ] || { echo "not ok the_referee_came_to_its_end: $ok of 26"; failed=$((failed + 1)); }
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
