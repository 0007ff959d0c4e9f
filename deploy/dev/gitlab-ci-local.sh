#!/usr/bin/env bash
# gitlab-ci-local for the tests, which runs GitLab's jobs on this machine: from the npm registry, into target/.
#
# Usage: deploy/dev/gitlab-ci-local.sh
#
# Prints nothing when it is there already. It needs the Node of deploy/dev/github-action.sh.
set -euo pipefail

version=4.75.1

cd "$(dirname "$0")/../.."
folder=target/gitlab-ci-local
[ "$(cat "$folder/version" 2>/dev/null)" = "$version" ] && exit 0

echo "fetching gitlab-ci-local $version for the tests, into $folder"
rm -rf "$folder"
mkdir -p "$folder"
npm install --prefix "$folder" --no-audit --no-fund --loglevel=error --engine-strict=false "gitlab-ci-local@$version"
echo "$version" >"$folder/version"
