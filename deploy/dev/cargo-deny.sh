#!/usr/bin/env bash
# cargo-deny of one version, into target/: what .deny.toml says is checked with it.
#
# Usage: deploy/dev/cargo-deny.sh
#
# Prints nothing when it is there already. Built from crates.io with the versions it was released with,
# without optimization: that takes two cores 40 seconds, and a check still only two.
set -euo pipefail

version=0.20.2
cd "$(dirname "$0")/../.."
folder=target/tools
program=$folder/bin/cargo-deny
[ "$("$program" --version 2>/dev/null)" = "cargo-deny $version" ] && exit 0

echo "building cargo-deny $version for \`make check\`, into $folder"
CARGO_PROFILE_DEV_DEBUG=false CARGO_TARGET_DIR=$folder/build \
  cargo install --locked --debug --quiet --root "$folder" "cargo-deny@$version"
rm -rf "$folder/build"
"$program" --version
