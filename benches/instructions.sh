#!/usr/bin/env bash
# Counts what the pieces of the hot path cost in instructions, which no other work on the machine changes,
# and compares it with benches/instructions.txt: fails when a piece grew by more than a tenth.
#
#   benches/instructions.sh             every piece
#   benches/instructions.sh seal lane   those whose names begin so
#   benches/instructions.sh --record    writes benches/instructions.txt anew
#
# Builds `cargo bench --bench hot` in the profile `instructions`: optimised, without link-time optimisation.
# Each piece is run under callgrind a few times and many times, after the same preparations; the difference
# is what the runs between cost.
set -euo pipefail
cd "$(dirname "$0")/.."

recorded=benches/instructions.txt
most_grown=1.10

say() { printf '%s\n' "instructions: $*" >&2; }
fail() { say "$*"; exit 1; }

record=
if [ "${1:-}" = --record ]; then
  record=yes
  shift
  [ "$#" -eq 0 ] || fail "--record counts every piece"
fi
command -v valgrind >/dev/null || fail "valgrind is not installed: it is the distribution's package of that name"

say "building"
built=$(cargo bench --profile instructions --bench hot --no-run 2>&1) || fail "it does not build: $built"
hot=$(printf '%s\n' "$built" | sed -n 's/.*Executable benches\/hot\.rs (\(.*\))$/\1/p')
[ -x "$hot" ] || fail "cargo did not say what it built: $built"

# Instructions of the whole process that runs a piece so many times.
count() {
  local told
  told=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$hot" --piece "$1" --times "$2" 2>&1) ||
    fail "$1 failed: $told"
  printf '%s\n' "$told" | sed -n 's/^==[0-9]*== Collected *: *\([0-9]*\).*/\1/p'
}

wanted() {
  local prefix
  [ "$#" -gt 1 ] || return 0
  for prefix in "${@:2}"; do
    case "$1" in "$prefix"*) return 0 ;; esac
  done
  return 1
}

pieces=$("$hot" --pieces)
counts=$(mktemp)
trap 'rm -f "$counts"' EXIT
grown=
while read -r name items few many; do
  wanted "$name" "$@" || continue
  less=$(count "$name" "$few")
  more=$(count "$name" "$many")
  each=$(((more - less) / ((many - few) * items)))
  printf '%s %s\n' "$name" "$each" >>"$counts"
  before=$(awk -v name="$name" '$1 == name { print $2 }' "$recorded" 2>/dev/null || true)
  if [ -z "$before" ]; then
    printf '%-38s %12d\n' "$name" "$each"
    [ -n "$record" ] || say "$name is not recorded"
    continue
  fi
  verdict=$(awk -v now="$each" -v before="$before" -v most="$most_grown" \
    'BEGIN { printf "%+.1f %% %s", (now / before - 1) * 100, (now > before * most) ? "grown" : "" }')
  printf '%-38s %12d  recorded %12d  %s\n' "$name" "$each" "$before" "$verdict"
  case "$verdict" in *grown) grown="$grown $name" ;; esac
done <<<"$pieces"

[ -s "$counts" ] || fail "no piece has such a name: $*"
if [ -n "$record" ]; then
  cp "$counts" "$recorded"
  chmod 644 "$recorded"
  say "recorded in $recorded"
elif [ -n "$grown" ]; then
  fail "more than a tenth above what is recorded:$grown"
fi
