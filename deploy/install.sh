#!/bin/sh
# Installs a release of hallpass, after it has verified its checksum and its signature.
#
# Usage: install.sh VERSION [DIR]
#
#   VERSION  such as 0.1.0
#   DIR      where `hallpass` is placed; default: ~/.local/bin
#
# Verified are, in this order:
#   1. HALLPASS_SHA256, if it is set: the SHA-256 of the archive, pinned by the caller. Nothing else is
#      needed then.
#   2. the signature of SHA256SUMS, by `cosign`, or the provenance of the archive, by `gh`, whichever is in
#      PATH; then the checksum of the archive in SHA256SUMS.
# Without a pinned checksum and without one of these programs nothing is installed.
#
# HALLPASS_REPOSITORY is `owner/name` on GitHub. HALLPASS_RELEASES replaces the URL of its releases, for a
# mirror: signatures must still be those of HALLPASS_REPOSITORY. Proxies are those of curl: HTTPS_PROXY.
#
# Needs curl or wget, tar, and sha256sum or shasum; no root unless DIR does.
set -eu

repository=${HALLPASS_REPOSITORY:-acme/hallpass}
releases=${HALLPASS_RELEASES:-https://github.com/$repository/releases/download}

fail() {
  printf 'install.sh: %s\n' "$1" >&2
  exit 1
}

case ${1:-} in
'' | -*)
  echo "usage: install.sh VERSION [DIR]" >&2
  exit 2
  ;;
esac
version=${1#v}
case $version in
*[!0-9A-Za-z.-]* | .* | *..*) fail "\`$1\` is not a version; expected one such as 0.1.0" ;;
esac
if [ $# -gt 1 ]; then
  folder=$2
else
  folder=${HOME:?is not set; name the folder}/.local/bin
fi

# The names of `uname`, and those of the releases.
system=$(uname -s)
machine=$(uname -m)
case $system in
Linux) os=linux ;;
Darwin) os=macos ;;
*) fail "no release for the system \`$system\`; there are releases for Linux and macOS" ;;
esac
case $machine in
x86_64 | amd64) arch=x86_64 ;;
aarch64 | arm64) arch=aarch64 ;;
*) fail "no release for the machine \`$machine\`; there are releases for x86_64 and aarch64" ;;
esac
archive=hallpass-$version-$os-$arch.tar.gz

pinned=${HALLPASS_SHA256:-}
case $pinned in
'') ;;
*[!0-9a-f]*) fail "HALLPASS_SHA256 is not a SHA-256 in lower-case hexadecimal" ;;
*) [ ${#pinned} -eq 64 ] || fail "HALLPASS_SHA256 has ${#pinned} digits; expected 64" ;;
esac
# Before anything is fetched.
if [ -n "$pinned" ]; then
  verifier=pinned
elif command -v cosign >/dev/null; then
  verifier=cosign
elif command -v gh >/dev/null; then
  verifier=gh
else
  fail "nothing can verify the signature: install cosign or gh, or set HALLPASS_SHA256 to the archive's SHA-256 from a source that you trust"
fi
if command -v sha256sum >/dev/null; then
  sha256() { sha256sum "$1" | cut -d ' ' -f 1; }
elif command -v shasum >/dev/null; then
  sha256() { shasum -a 256 "$1" | cut -d ' ' -f 1; }
else
  fail "nothing computes a SHA-256: install sha256sum or shasum"
fi
# What is before an `@` is no host, even if it looks like one.
case ${releases#*://} in
*@*) fail "HALLPASS_RELEASES has an \`@\`; expected an https URL without a user name" ;;
esac
# Plain HTTP only from this machine itself, as tests and local mirrors do.
case $releases in
http://127.0.0.1:* | http://localhost:*) protocols='=http,https' ;;
https://*) protocols='=https' ;;
*) fail "HALLPASS_RELEASES is \`$releases\`; expected an https URL" ;;
esac
if command -v curl >/dev/null; then
  fetch() {
    curl --fail --silent --show-error --location --proto "$protocols" --proto-redir "$protocols" \
      --retry 3 --connect-timeout 20 --max-time 600 --output "$2" "$1"
  }
elif command -v wget >/dev/null; then
  fetch() { wget --quiet --timeout=20 --tries=4 --output-document="$2" "$1"; }
else
  fail "nothing fetches files: install curl or wget"
fi

mkdir -p "$folder" || fail "folder \`$folder\` cannot be made"
# In the same folder, so that the last step is a rename.
work=$(mktemp -d "$folder/.hallpass-install.XXXXXX") || fail "folder \`$folder\` cannot be written; name another as the second argument"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

get() {
  fetch "$releases/v$version/$1" "$work/$1" ||
    fail "cannot fetch $releases/v$version/$1; does version $version exist, with an archive for $os-$arch?"
}

get "$archive"
found=$(sha256 "$work/$archive")
case $verifier in
pinned) expected=$pinned ;;
cosign)
  get SHA256SUMS
  get SHA256SUMS.sigstore.json
  cosign verify-blob --bundle "$work/SHA256SUMS.sigstore.json" \
    --certificate-oidc-issuer https://token.actions.githubusercontent.com \
    --certificate-identity "https://github.com/$repository/.github/workflows/release.yml@refs/tags/v$version" \
    "$work/SHA256SUMS" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    fail "the signature of SHA256SUMS is not that of the release workflow of $repository for v$version"
  }
  ;;
gh)
  get SHA256SUMS
  gh attestation verify "$work/$archive" --repo "$repository" \
    --signer-workflow "$repository/.github/workflows/release.yml" \
    --source-ref "refs/tags/v$version" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    fail "the provenance of $archive is not that of the release workflow of $repository for v$version"
  }
  ;;
esac
if [ "$verifier" != pinned ]; then
  expected=$(awk -v name="$archive" '$2 == name || $2 == "*" name { print $1; exit }' "$work/SHA256SUMS")
  [ -n "$expected" ] || fail "SHA256SUMS of version $version does not name $archive"
fi
[ "$found" = "$expected" ] ||
  fail "$archive has the SHA-256 $found; expected $expected: the file was changed or is incomplete"

# Only now is anything of the archive read.
tar -xzf "$work/$archive" -C "$work" "hallpass-$version-$os-$arch/hallpass" ||
  fail "$archive has no hallpass-$version-$os-$arch/hallpass"
program=$work/hallpass-$version-$os-$arch/hallpass
chmod 755 "$program"
says=$("$program" -V) || fail "the installed program does not run on this machine"
[ "$says" = "hallpass $version" ] || fail "the archive holds \`$says\`; expected hallpass $version"
# `mv` would move into a folder of that name.
[ ! -d "$folder/hallpass" ] || fail "\`$folder/hallpass\` is a folder"
mv -f "$program" "$folder/hallpass"
echo "installed hallpass $version as $folder/hallpass"
case :$PATH: in
*:"$folder":*) ;;
*) echo "note: $folder is not in PATH" ;;
esac
