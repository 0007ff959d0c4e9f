#!/usr/bin/env bash
# Valkey 8 for the tests, which Debian 12 has among its backports only: into target/.
#
# Usage: deploy/dev/valkey.sh
#
# Prints nothing when it is there already. apt checks the packages with Debian's keys and its own list of
# sources for this script; nothing of them is installed on the machine. Tests find Valkey by the folder.
set -euo pipefail

cd "$(dirname "$0")/../.."
folder=target/valkey
[ -x "$folder/usr/bin/valkey-server" ] && exit 0

echo "fetching Valkey for the tests, into $folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
# The mirror that this machine uses already.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm-backports main" >"$work/sources.list"
options=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
apt-get "${options[@]}" -qq update
mkdir "$work/packages"
(cd "$work/packages" && apt-get "${options[@]}" -qq download valkey-server valkey-tools)
rm -rf "$folder"
mkdir -p "$folder"
for package in "$work"/packages/*.deb; do
  dpkg-deb -x "$package" "$folder"
done
"$folder/usr/bin/valkey-server" --version
