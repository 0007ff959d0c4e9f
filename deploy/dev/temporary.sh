#!/usr/bin/env bash
# Prints the folder for the temporary files of the tests. Their servers make some thousand small files each: in
# memory where there is room for them, and where a fake program of a test may be run.
set -euo pipefail

shared=/dev/shm
usual=${TMPDIR:-/tmp}
if [[ ${TMPDIR:-} || $(stat --file-system --format=%T "$shared" 2>/dev/null) != tmpfs ]]; then
    echo "$usual"
    exit
fi
room=$(df --output=avail --block-size=1G "$shared" | tail -n 1)
if ((room < 4)); then
    echo "$usual"
    exit
fi
try=$(mktemp "$shared/hallpass-XXXXXX")
trap 'rm -f "$try"' EXIT
printf '#!/bin/sh\n' >"$try"
chmod 700 "$try"
if "$try" 2>/dev/null; then echo "$shared"; else echo "$usual"; fi
