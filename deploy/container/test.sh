#!/usr/bin/env bash
# Builds the container image without a registry and checks it.
#
# The binary is built here, from the files that the first stage copies. The last stage is built from
# the Containerfile, on a base of this machine's C library in place of the published base image.
set -euo pipefail
cd "$(dirname "$0")/../.."

containerfile=deploy/container/Containerfile
work=$(mktemp --directory)
store=(--root "$work/store" --runroot "$work/run" --storage-driver vfs)
trap 'buildah "${store[@]}" rm --all >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

fail() {
  echo "$containerfile: $1" >&2
  exit 1
}

echo "building without the feature \`dev\`"
sed -n 's/^COPY \([^-].*\) [^ ]*$/\1/p' "$containerfile" | tr ' ' '\n' >"$work/files"
target=$PWD/target/container
rm -rf "$target/source"
mkdir --parents "$target/source"
xargs cp --parents --archive --target-directory "$target/source" <"$work/files"
build=$(sed -n 's/^RUN \(cargo build .*\)$/\1/p' "$containerfile")
[[ $build == *--no-default-features* ]] || fail "the binary is built with the feature \`dev\`"
# Without optimisation: what is tested does not depend on it.
(cd "$target/source" && CARGO_TARGET_DIR=$target ${build/ --release/})
mkdir --parents "$work/build/source/target/release" "$work/base"
cp "$target/debug/hallpass" "$work/build/source/target/release/"
ldd "$target/debug/hallpass" | grep --only-matching '/[^ ]*' |
  xargs cp --parents --dereference --target-directory "$work/base"

echo "building the image"
base=$(sed -n 's/^FROM \([^ ]*\)$/\1/p' "$containerfile")
printf 'FROM scratch\nCOPY . /\n' >"$work/Containerfile"
buildah "${store[@]}" build --quiet --isolation chroot --file "$work/Containerfile" --tag base "$work/base" >/dev/null
buildah "${store[@]}" build --quiet --isolation chroot --file "$containerfile" --tag hallpass \
  --build-context "build=$work/build" \
  --build-context "$base=container-image://localhost/base" . >/dev/null

inspect() {
  buildah "${store[@]}" inspect --type image --format "{{$1}}" hallpass
}
[ "$(inspect .OCIv1.Config.User)" = 65532:65532 ] || fail "the image does not run as user 65532"
[ "$(inspect .OCIv1.Config.Entrypoint)" = '[/usr/bin/hallpass]' ] || fail "the entry point is not hallpass"
read -ra command <<<"$(inspect .OCIv1.Config.Cmd | tr -d '[]')"
[ "${command[0]}" = serve ] || fail "the image does not run \`serve\`"

container=$(buildah "${store[@]}" from hallpass)
hallpass() {
  buildah "${store[@]}" run --isolation chroot "$container" -- /usr/bin/hallpass "$@" 2>&1
}
[[ $(hallpass keys generate --print) == hallpass-root-1:* ]] || fail "\`keys generate\` makes no key"
# shellcheck disable=SC2016 # a text of the broker, in which nothing is run
[[ $(hallpass "${command[@]}" || true) == *'settings file `/etc/hallpass/hallpass.yaml` cannot be read'* ]] ||
  fail "\`serve\` does not look for /etc/hallpass/hallpass.yaml"
help=$(hallpass --help)
for name in demo dev; do
  ! grep --quiet "^ *$name\b" <<<"$help" || fail "\`$name\` is in the help"
  [[ $(hallpass "$name" || true) == *"unrecognized subcommand '$name'"* ]] || fail "\`$name\` is a command"
done
echo "the image is as it should be"
