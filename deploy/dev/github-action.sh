#!/usr/bin/env bash
# Checks the GitHub Action: types, unit tests, and that dist/ is what the source builds.
#
# Usage: deploy/dev/github-action.sh [install|build]
#
# `install` only fetches the packages of package-lock.json, Node 24 among them; `build` writes dist/.
# npm checks each package against the digest in the lock file. Nothing is installed on the machine.
set -euo pipefail

cd "$(dirname "$0")/../../github-action"
if [ ! -x node_modules/node/bin/node ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  echo "fetching the packages of the GitHub Action, into github-action/node_modules"
  npm ci --no-audit --no-fund --loglevel=error
  touch node_modules/.package-lock.json
fi
PATH=$PWD/node_modules/node/bin:$PWD/node_modules/.bin:$PATH

case "${1:-check}" in
install) ;;
build) node build.ts dist ;;
check)
  tsc
  node --test --test-reporter=dot "test/*.test.ts"
  built=$(mktemp -d)
  trap 'rm -rf "$built"' EXIT
  node build.ts "$built"
  if ! diff -r "$built" dist; then
    echo "github-action/dist is not what its source builds; run deploy/dev/github-action.sh build" >&2
    exit 1
  fi
  ;;
*)
  echo "usage: deploy/dev/github-action.sh [install|build]" >&2
  exit 2
  ;;
esac
