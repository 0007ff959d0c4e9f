#!/bin/bash
# Runs HALLPASS_COMMAND by `hallpass exec`, which asks CircleCI for an ID token.
set -euo pipefail

# Every line of it; read fails at the end, as it must.
read -rd '' -a credentials <<<"$HALLPASS_CREDENTIALS" || true
if [ ${#credentials[@]} -eq 0 ]; then
  echo "hallpass: credentials is empty; expected one or more, such as shop-db/read" >&2
  exit 2
fi
exec hallpass exec "${credentials[@]}" -- bash -eo pipefail -c "$HALLPASS_COMMAND"
