#!/usr/bin/env bash
# z3 and cvc5 for the tests, which ask them what our own search decides: wheels of PyPI, into target/.
#
# Usage: deploy/dev/smt-solvers.sh
#
# Prints nothing when they are there already.
set -euo pipefail

z3=5.4.1.0
cvc5=1.4.2

cd "$(dirname "$0")/../.."
folder=target/smt-solvers
[ "$(cat "$folder/version" 2>/dev/null)" = "$z3 $cvc5" ] && exit 0

echo "fetching z3 $z3 and cvc5 $cvc5 for the tests, into $folder"
rm -rf "$folder"
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "z3-solver==$z3" "cvc5==$cvc5"
echo "$z3 $cvc5" >"$folder/version"
