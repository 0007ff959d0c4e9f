#!/bin/bash
# Runs HALLPASS_COMMAND by `hallpass exec`, with an ID token for the broker's address.
set -euo pipefail

case $HALLPASS_BROKER in
"" | *[\"\\]*)
  echo "hallpass: the parameter broker is not an address" >&2
  exit 2
  ;;
esac
# Every line of it; read fails at the end, as it must.
read -rd '' -a credentials <<<"$HALLPASS_CREDENTIALS" || true
if [ ${#credentials[@]} -eq 0 ]; then
  echo "hallpass: credentials is empty; expected one or more, such as shop-db/read" >&2
  exit 2
fi
HALLPASS_ID_TOKEN=$(circleci run oidc get --claims "{\"aud\": \"$HALLPASS_BROKER\"}")
export HALLPASS_ID_TOKEN
exec hallpass exec "${credentials[@]}" -- bash -eo pipefail -c "$HALLPASS_COMMAND"
