#!/usr/bin/env bash
# What hallpass needs on a Debian or Ubuntu machine to be built, tried, tested, fuzzed and put into an image.
#
# Usage: deploy/dev/install.sh demo|test|fuzz|image
#
# Installs what is missing and nothing else, and says what and why before it does. Runs apt as root
# or through sudo. Safe to run again: with everything there it prints nothing and changes nothing.
set -euo pipefail

purpose=${1:-}
case "$purpose" in
demo | test | fuzz | image) ;;
*)
  echo "usage: deploy/dev/install.sh demo|test|fuzz|image" >&2
  exit 2
  ;;
esac

missing=()
need() { # need PACKAGE "WHY"
  missing+=("$1")
  echo "hallpass needs $1: $2"
}

command -v cc >/dev/null || need gcc "the cryptographic library has parts in C"
[ -e /usr/include/stdio.h ] || [ -e "/usr/include/$(uname -m)-linux-gnu/sys/types.h" ] ||
  need libc6-dev "headers for those parts"
runs=false
case "$purpose" in demo | test) runs=true ;; esac
if $runs && ! command -v initdb >/dev/null && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
  need postgresql "a private server is started in a temporary folder; the cluster that this package makes on port 5432 is left alone"
fi
if $runs && ! command -v psql >/dev/null; then
  need postgresql-client "logging in with what a job got, by hand and in the tests"
fi
if [ "$purpose" = fuzz ]; then
  command -v c++ >/dev/null || need g++ "libFuzzer, which makes up the inputs, is C++"
fi
if [ "$purpose" = image ]; then
  command -v buildah >/dev/null || need buildah "builds the container image; it needs no daemon"
fi
if [ "$purpose" = test ]; then
  command -v npm >/dev/null || need npm "PostgreSQL 18, which Debian does not have, and what the GitHub Action is built with come from the npm registry"
  command -v redis-server >/dev/null || need redis-server "replicas share used tokens on one; private servers are started on free ports, and the one that this package makes on port 6379 is left alone"
  command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ] || need mariadb-server "logins are made on it; private servers are started on free ports, and the one that this package makes on port 3306 is left alone"
  command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || need pgbouncer "a pooler in front of PostgreSQL, which hallpass must notice; private ones are started on free ports, and the one that this package makes on port 6432 is left alone"
  command -v ssh >/dev/null || need openssh-client "logging in with a certificate that a job got"
  command -v sshd >/dev/null || [ -x /usr/sbin/sshd ] || need openssh-server "hosts that trust our SSH CA; private ones are started on free ports, and the one that this package makes on port 22 is left alone"
  command -v rsync >/dev/null || need rsync "gitlab-ci-local copies the checkout of a job with it"
  python3 -c "import ensurepip" 2>/dev/null || need python3-venv "linters of workflows and shell scripts, and solvers that check our proofs, are wheels of PyPI"
  /usr/bin/python3 -c "import jwt" 2>/dev/null || need python3-jwt "the example of a webhook checks signatures with it"
  /usr/bin/python3 -c "import cryptography" 2>/dev/null || need python3-cryptography "the library before is built on it"
  command -v curl >/dev/null || need curl "a job fetches hallpass from a broker or a release with it"
  command -v zsh >/dev/null || need zsh "completions are loaded into it, and it reads \`hallpass get --format env\`"
  command -v fish >/dev/null || need fish "completions are loaded into it, and it reads \`hallpass get --format fish\`"
  command -v mandoc >/dev/null || need mandoc "checks the manual pages"
  command -v git >/dev/null || need git "one test logs in to git with a minted token"
  command -v skopeo >/dev/null || need skopeo "a registry's client, which asks a Docker credential helper"
  command -v pkg-config >/dev/null || need pkg-config "finds the next one"
  [ -e /usr/include/openssl/ssl.h ] || need libssl-dev "josekit is built on it, for sealed delivery and as a second opinion on tokens; hallpass without the feature \`sealed\` is not"
  command -v openssl >/dev/null || need openssl "certificates that tests must refuse"
fi

if ! command -v cargo >/dev/null; then
  echo "hallpass is built with Rust, and there is no cargo in PATH: install a toolchain from https://rustup.rs (1.89 or later)" >&2
  exit 1
fi
for component in rustfmt clippy; do
  if [ "$purpose" = test ] && ! cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1; then
    if ! command -v rustup >/dev/null; then
      echo "\`make test\` needs $component: install it with your Rust toolchain" >&2
      exit 1
    fi
    echo "hallpass needs $component: \`make test\` begins with \`make check\`"
    rustup component add "$component"
  fi
done

[ ${#missing[@]} -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null; then
  echo "these are missing, and this machine has no apt-get: ${missing[*]}" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "these are missing: ${missing[*]}; run as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "installing with apt-get: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
