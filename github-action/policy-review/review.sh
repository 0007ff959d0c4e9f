#!/bin/sh
# Installs hallpass, pinned by its checksum, and reviews the policies of a pull request.
#
# Usage: review.sh, by action.yml, with HALLPASS_VERSION, HALLPASS_SHA256, HALLPASS_FOLDER,
# HALLPASS_BASE, HALLPASS_FAIL_ON_WIDER, HALLPASS_AUTHOR and GITHUB_TOKEN.
set -eu

if [ -z "${HALLPASS_SHA256:-}" ]; then
  echo "hallpass policy review: input sha256 is empty; expected the SHA-256 of the release's archive" >&2
  exit 1
fi
folder=$RUNNER_TEMP/hallpass-policy-review
# Nothing that is installed needs the token.
(
  unset GITHUB_TOKEN
  sh "$GITHUB_ACTION_PATH/../../deploy/install.sh" "$HALLPASS_VERSION" "$folder"
)
program=$folder/hallpass

if [ "${HALLPASS_FAIL_ON_WIDER:-false}" = true ] && [ -z "${HALLPASS_BASE:-}" ]; then
  echo "hallpass policy review: fail-on-wider needs a commit to compare with; set the input base" >&2
  exit 1
fi

# Annotations at the lines of the pull request. The review has the verdict.
(
  unset GITHUB_TOKEN
  "$program" policy check --output github -- "$HALLPASS_FOLDER"
) || true
set -- --post github --author "$HALLPASS_AUTHOR"
if [ -n "${HALLPASS_BASE:-}" ]; then
  set -- "$@" "--base=$HALLPASS_BASE"
  if [ "${HALLPASS_FAIL_ON_WIDER:-false}" = true ]; then
    set -- "$@" --fail-on wider
  fi
fi
"$program" policy review "$@" -- "$HALLPASS_FOLDER" >>"$GITHUB_STEP_SUMMARY"
