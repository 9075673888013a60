#!/usr/bin/env bash
# Runs every fuzz target, or those named, for so many seconds each: fuzz/run.sh [seconds] [target…]
# Needs the toolchain and a C++ compiler, nothing else. What breaks a target is kept in fuzz/artifacts/<target>;
# what is found on the way is kept in fuzz/target/corpus. Beside it, fuzz/corpus holds the seeds.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-60}
shift || true
targets=("$@")
if [ "${#targets[@]}" -eq 0 ]; then
  for file in fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

# What `cargo fuzz` passes, less the sanitizer, which asks for another toolchain: nothing here is unsafe.
host=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
RUSTFLAGS=$(echo $coverage) cargo build --release --locked --quiet --target "$host" \
  "${targets[@]/#/--bin=}"

failed=()
for target in "${targets[@]}"; do
  mkdir -p "target/corpus/$target" "artifacts/$target"
  log="target/$target.log"
  if "target/$host/release/$target" "target/corpus/$target" "corpus/$target" \
    -artifact_prefix="artifacts/$target/" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 \
    -max_len=8192 -print_final_stats=1 >"$log" 2>&1; then
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, nothing found"
  else
    failed+=("$target")
    echo "$target: broken, see fuzz/$log"
    grep -m 3 -E 'panicked at|^ERROR|SUMMARY' -A 2 "$log" || true
  fi
done
[ "${#failed[@]}" -eq 0 ] || { echo "broken: ${failed[*]}" >&2; exit 1; }
