#!/usr/bin/env bash
# Builds the release of this machine twice and checks it: static, complete, the same each time, installable.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "deploy/release-test.sh: $1" >&2
  exit 1
}

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

# Tags and commits may differ while it runs in a changed checkout.
SOURCE_DATE_EPOCH=$(git show -s --format=%ct)
export SOURCE_DATE_EPOCH
rm -rf target/release-files
deploy/release.sh >"$work/log" || { cat "$work/log"; fail "the release cannot be built"; }
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
name=hallpass-$version-linux-$(uname -m)
files=target/release-files
for file in "$name.tar.gz" "$name.cdx.json" "linux-$(uname -m)" SHA256SUMS; do
  [ -s "$files/$file" ] || fail "there is no $file"
done
(cd "$files" && sha256sum --check --quiet SHA256SUMS) || fail "SHA256SUMS does not fit the files"

echo "the program is static and says what it is"
tar -xzf "$files/$name.tar.gz" -C "$work"
program=$work/$name/hallpass
ldd "$program" 2>&1 | grep -qE 'statically linked|not a dynamic executable' || fail "ldd lists libraries: $(ldd "$program")"
cmp "$program" "$files/linux-$(uname -m)" || fail "the program in the archive is another one"
said=$("$program" --version)
for line in "hallpass $version" "commit: $(git rev-parse HEAD)" \
  "build date: $(date --utc --date "@$SOURCE_DATE_EPOCH" +%F)" "features: none"; do
  grep -q "^$line" <<<"$said" || fail "\`--version\` has no line \`$line\`: $said"
done
! grep -aq "$PWD" "$program" || fail "the program holds the path of the checkout"
for file in completions/_hallpass completions/hallpass.bash completions/hallpass.fish man/man1/hallpass-exec.1 LICENSE-MIT; do
  [ -s "$work/$name/$file" ] || fail "the archive has no $file"
done

echo "it runs where nothing else is"
mkdir "$work/root"
cp "$program" "$work/root/"
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
said=$("${as_root[@]}" chroot "$work/root" /hallpass -V) || fail "it does not run in an empty folder"
[ "$said" = "hallpass $version" ] || fail "it says \`$said\`"

echo "the SBOM names what is built in and no more"
python3 - "$files/$name.cdx.json" <<'PY' || fail "the SBOM is wrong"
import json, sys
bom = json.load(open(sys.argv[1]))
names = {component["name"] for component in bom["components"]}
assert bom["bomFormat"] == "CycloneDX" and bom["metadata"]["component"]["name"] == "hallpass"
assert {"rustls", "aws-lc-rs", "tokio", "clap_complete"} <= names, names
assert not {"insta", "proptest", "rcgen", "tempfile", "josekit", "cc"} & names, names
refs = {component["bom-ref"] for component in bom["components"]} | {bom["metadata"]["component"]["bom-ref"]}
assert all(set(entry["dependsOn"]) <= refs for entry in bom["dependencies"])
assert all("licenses" in component for component in bom["components"])
PY

echo "it is installed from a server"
mkdir -p "$work/releases/v$version"
cp "$files"/* "$work/releases/v$version/"
python3 -u -m http.server --bind 127.0.0.1 --directory "$work/releases" 0 >"$work/server" 2>/dev/null &
server=$!
for _ in $(seq 100); do
  port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$work/server")
  [ -z "$port" ] || break
  sleep 0.1
done
HALLPASS_SHA256=$(sha256sum "$files/$name.tar.gz" | cut -d ' ' -f 1) HALLPASS_RELEASES=http://127.0.0.1:$port \
  deploy/install.sh "$version" "$work/bin"
cmp "$work/bin/hallpass" "$program" || fail "another program was installed"

echo "two builds make the same files"
cp "$files/SHA256SUMS" "$work/first"
rm -rf target/release-build "$files"
deploy/release.sh >"$work/log" || { cat "$work/log"; fail "the release cannot be built again"; }
diff "$work/first" "$files/SHA256SUMS" || fail "the second build made other files"
echo "the release is as it should be"
