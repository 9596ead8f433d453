#!/bin/bash
# The main job's days once more on the vault, over NFS, by a host without root or mount; in make test-long only.
if [ -z "${EVERCOPY_LONG:-}" ]; then
    echo "SKIPPED main-job-vault: takes a minute; make test-long (vault.sh has its core)"
    echo "0 passed, 0 failed"
    exit 0
fi
EVERCOPY_WORLD=vault exec "$(dirname "$0")/main-job.sh" "$@"
