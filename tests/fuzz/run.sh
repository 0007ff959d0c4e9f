#!/usr/bin/env bash
# Runs fuzz targets, each for a while, and says where the input lies when one breaks its law.
#
# Usage: tests/fuzz/run.sh [TARGET...]     (all, unless some are named)
#
# FUZZ_SECONDS is how long each of them runs: 60 unless set. What they learn stays in
# tests/fuzz/target and makes the next run deeper; the corpus in the repository is only read.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${FUZZ_SECONDS:-60}
version=0.13.1
if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "hallpass needs cargo-fuzz $version: it builds and starts the fuzz targets"
  cargo install cargo-fuzz --version "$version" --locked
fi

# Without a sanitizer, which would need a nightly compiler: there is no unsafe code of ours to watch.
options=(--fuzz-dir tests/fuzz --sanitizer none)
cargo fuzz build "${options[@]}"

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list --fuzz-dir tests/fuzz)
found=()
for target in "${targets[@]}"; do
  learned=tests/fuzz/target/corpus/$target
  log=tests/fuzz/target/$target.log
  dictionary=tests/fuzz/dictionaries/$target.dict
  mkdir -p "$learned"
  # An input that takes 10 s or 512 MiB is a find too.
  limits=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=512 -max_len=20000)
  [ ! -e "$dictionary" ] || limits+=(-dict="$dictionary")
  echo "$target: fuzzing for $seconds s"
  if cargo fuzz run "${options[@]}" "$target" "$learned" "tests/fuzz/corpus/$target" \
    -- "${limits[@]}" >"$log" 2>&1; then
    grep '^Done' "$log" || tail -n 1 "$log"
  else
    found+=("$target")
    grep -m 1 -A 8 'panicked at\|ERROR: libFuzzer' "$log" || tail -n 20 "$log"
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    echo "$target: FOUND ${input:-nothing that was written down}; all of its output is in $log"
    echo "  replay it:   cargo fuzz run ${options[*]} $target $input"
    echo "  make it small:   cargo fuzz tmin ${options[*]} $target $input"
    echo "  keep it:   move it to tests/fuzz/corpus/$target, where \`make test\` replays it"
  fi
done
if [ ${#found[@]} -gt 0 ]; then
  echo "these targets found something: ${found[*]}" >&2
  exit 1
fi
