#!/bin/sh
# Runs a command by `hallpass exec` in a Bitbucket step that has `oidc: { audiences: [BROKER] }`.
#
# Usage: hallpass.sh [PREFIX=]CREDENTIAL... -- COMMAND [ARGUMENT]...
#
# HALLPASS_BROKER is the address of the broker.
set -eu

if [ -z "${BITBUCKET_STEP_OIDC_TOKEN:-}" ]; then
  echo "hallpass: the step has no ID token; add to it: oidc: { audiences: [ ${HALLPASS_BROKER:-BROKER} ] }" >&2
  exit 2
fi
HALLPASS_ID_TOKEN=$BITBUCKET_STEP_OIDC_TOKEN
export HALLPASS_ID_TOKEN
unset BITBUCKET_STEP_OIDC_TOKEN
exec hallpass exec "$@"
