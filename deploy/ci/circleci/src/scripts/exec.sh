#!/bin/bash
# Runs HALLPASS_COMMAND by `hallpass exec`, with an ID token for the broker's address.
set -euo pipefail

case $HALLPASS_BROKER in
*[\"\\]*)
  echo "hallpass: the parameter broker is not an address" >&2
  exit 2
  ;;
esac
HALLPASS_ID_TOKEN=$(circleci run oidc get --claims "{\"aud\": \"$HALLPASS_BROKER\"}")
export HALLPASS_ID_TOKEN
read -ra credentials <<<"$HALLPASS_CREDENTIALS"
exec hallpass exec "${credentials[@]}" -- bash -eo pipefail -c "$HALLPASS_COMMAND"
