#!/bin/bash
# npm's packages for the tests, as the lock file names them, into build/clients; kept from one run to the next.
# Ends with 1 and the reason on stdout where that cannot be.
set -u
clients=$(cd "$(dirname "$0")" && pwd)
modules=${clients%/tests/clients}/build/clients
lock=$clients/package-lock.json
command -v npm >/dev/null && command -v node >/dev/null || { echo 'no node or npm here'; exit 1; }
mkdir -p "$modules" || exit 1
exec {one}>"$modules/.lock" && flock "$one" || exit 1
cmp -s "$lock" "$modules/fetched" && exit 0
cp "$clients/package.json" "$lock" "$clients/.npmrc" "$modules/" || exit 1
said=$( (cd "$modules" && timeout 120 npm ci --ignore-scripts --no-audit --no-fund) 2>&1) ||
    { echo "npm ci failed: $(grep -m 1 -E 'npm (error|ERR!)' <<<"$said")"; exit 1; }
cp "$lock" "$modules/fetched"
