#!/bin/bash
# The main job's days, and those under fire, once more on the vault over NFS, by a host without root or mount.
# In make test-long only; vault.sh has their core.
set -u
if [ -z "${EVERCOPY_LONG:-}" ]; then
    echo "SKIPPED on-the-vault: takes minutes; make test-long"
    echo "0 passed, 0 failed"
    exit 0
fi
said=$(mktemp -t evercopy-said.XXXXXX)
trap 'rm -f "$said"' EXIT
for script in main-job under-fire; do
    EVERCOPY_WORLD=vault "$(dirname "$0")/$script.sh" "$@" | grep -v '^[0-9]* passed, [0-9]* failed$' | tee -a "$said"
    [ "${PIPESTATUS[0]}" = 0 ] || echo "# $script ended with an error"
done
passed=$(grep -c '^ok ' "$said")
failed=$(grep -c '^not ok ' "$said")
[ "$passed" -gt 20 ] || failed=$((failed + 1))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
