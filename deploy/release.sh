#!/usr/bin/env bash
# Builds the files of a release for one target into target/release-files.
#
# Usage: deploy/release.sh [TARGET]      default: this machine's, linked statically on Linux
#
# Makes hallpass-VERSION-OS-ARCH.tar.gz (the program without `demo` and `dev`, completions, manual, licences),
# its SBOM in CycloneDX, the file OS-ARCH that a broker serves to jobs, and SHA256SUMS of all that is there.
# Two runs from one commit, with one toolchain, make the same files. Runs on Linux and on macOS.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "deploy/release.sh: $1" >&2
  exit 1
}

host=$(rustc -vV | sed -n 's/^host: //p')
target=${1:-$host}
case $target in
x86_64-*) arch=x86_64 ;;
aarch64-*) arch=aarch64 ;;
*) fail "no release is made for \`$target\`; expected x86_64 or aarch64" ;;
esac
case $target in
*-linux-*) os=linux ;;
*-apple-darwin) os=macos ;;
*) fail "no release is made for \`$target\`; expected linux or apple-darwin" ;;
esac
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
name=hallpass-$version-$os-$arch
out=$PWD/target/release-files
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git show -s --format=%ct)}
export SOURCE_DATE_EPOCH

build() { # build TARGET
  # No path of this machine is in the program.
  local flags="--remap-path-prefix=$PWD=/source --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
  case $1 in
  *-linux-*) flags="$flags -Ctarget-feature=+crt-static" ;;
  esac
  RUSTFLAGS=$flags CFLAGS="${CFLAGS:-} -ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=/cargo -ffile-prefix-map=$PWD=/source" \
    "${CARGO:-cargo}" build --locked --release --no-default-features \
    --package hallpass --bin hallpass --target "$1" --target-dir target/release-build
}

echo "building $name for $target"
build "$target"
program=target/release-build/$target/release/hallpass
if [ "$os" = linux ] && LC_ALL=C readelf --program-headers --wide "$program" | grep -q 'INTERP'; then
  fail "the program is linked dynamically"
fi

mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
folder=$work/$name
mkdir -p "$folder/completions" "$folder/man/man1"
cp "$program" LICENSE-APACHE LICENSE-MIT CHANGELOG.md "$folder/"
# A program of another machine does not run here; this machine's own prints the same texts.
asked=$program
if ! "$asked" -V >/dev/null 2>&1; then
  build "$host"
  asked=target/release-build/$host/release/hallpass
fi
"$asked" completions bash >"$folder/completions/hallpass.bash"
"$asked" completions zsh >"$folder/completions/_hallpass"
"$asked" completions fish >"$folder/completions/hallpass.fish"
"$asked" completions powershell >"$folder/completions/hallpass.ps1"
"$asked" completions elvish >"$folder/completions/hallpass.elv"
"$asked" man --out "$folder/man/man1"

deploy/sbom.py "$target" "$version" >"$out/$name.cdx.json"
deploy/pack.py "$folder" "$out/$name.tar.gz"
cp "$program" "$out/$os-$arch"
cd "$out"
rm -f SHA256SUMS
if command -v sha256sum >/dev/null; then
  sha256sum -- * >"$work/SHA256SUMS"
else
  shasum -a 256 -- * >"$work/SHA256SUMS"
fi
mv "$work/SHA256SUMS" .
echo "made in target/release-files:"
cat SHA256SUMS
