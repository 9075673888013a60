#!/usr/bin/env bash
# Runs every test. Installs what is missing from the distribution's packages, starts a PostgreSQL of
# its own on a private port and directory, and stops it again. What daemons and servers have left behind
# by then is searched for secrets.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "tests: $*" >&2; }
fail() { say "$*"; exit 1; }

# name of a package that is needed, and a command that succeeds when it is there
missing=()
need() { eval "$2" >/dev/null 2>&1 || missing+=("$1"); }
postgres_bin() {
  local found
  found=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
  [ -n "$found" ] || found=$(dirname "$(command -v initdb 2>/dev/null)" 2>/dev/null)
  [ -x "$found/initdb" ] && printf '%s' "$found"
}
need postgresql postgres_bin
need nodejs 'node --version'
need npm 'npm --version'
need python3-jwcrypto '/usr/bin/python3 -c "import jwcrypto"'
need python3-venv '/usr/bin/python3 -c "import ensurepip"'
need redis-server 'redis-server --version'
need openssl 'openssl version'
need iproute2 'ip -V'
need util-linux 'unshare --version'
need chromium 'chromium --version'
if [ "${#missing[@]}" -gt 0 ]; then
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "not installed, and no way to become root: ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  "${as_root[@]}" apt-get update -q >/dev/null || fail "apt-get update failed"
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -q --no-install-recommends \
    "${missing[@]}" >/dev/null || fail "could not install ${missing[*]}"
fi
bin=$(postgres_bin) || fail "PostgreSQL is installed, but its initdb is not where it should be"

scratch=$(mktemp -d)
export TEST_LEAVINGS="$scratch/leavings"
mkdir "$TEST_LEAVINGS"
data="$TEST_LEAVINGS/postgres/data"
run=()
if [ "$(id -u)" -eq 0 ]; then
  # PostgreSQL refuses to run as root.
  id postgres >/dev/null 2>&1 || useradd --system postgres
  chmod 755 "$scratch"
  install -d -o postgres "$TEST_LEAVINGS/postgres"
  run=(runuser -u postgres --)
else
  mkdir "$TEST_LEAVINGS/postgres"
fi
stop() { "${run[@]}" "$bin/pg_ctl" -D "$data" -m "$1" stop >/dev/null 2>&1; }
cleanup() {
  stop immediate || true
  rm -rf "$scratch"
}
trap cleanup EXIT

say "starting PostgreSQL"
"${run[@]}" "$bin/initdb" -D "$data" -U hookseal -A trust -E UTF8 \
  >"$scratch/initdb.log" 2>&1 || { cat "$scratch/initdb.log" >&2; fail "initdb failed"; }
started=
for _ in 1 2 3 4 5; do
  port=$((20000 + RANDOM % 20000))
  if "${run[@]}" "$bin/pg_ctl" -D "$data" -w -t 30 \
    -l "$TEST_LEAVINGS/postgres/log" -o "-h 127.0.0.1 -p $port -k '' -c max_connections=300 -c wal_keep_size=8GB" start >/dev/null 2>&1; then
    started=yes
    break
  fi
done
[ -n "$started" ] || { cat "$TEST_LEAVINGS/postgres/log" >&2; fail "PostgreSQL did not start"; }
export TEST_POSTGRES_URL="postgres://hookseal@127.0.0.1:$port"

say "installing the foreign libraries that verify, decrypt, ask and watch"
(cd tests/foreign && npm ci --silent --no-audit --no-fund) || fail "npm ci in tests/foreign failed"
tests/foreign/venv.sh "$PWD/target/foreign" || fail "the Python libraries could not be installed"

failed=0
cargo test --workspace --locked "$@" || failed=$?

# A dump beside the files, in which long values are compressed. The write-ahead log was kept from the start.
say "searching what was left behind"
"$bin/pg_dumpall" -d "$TEST_POSTGRES_URL/postgres" --data-only -f "$TEST_LEAVINGS/dump.sql" || fail "pg_dumpall failed"
stop fast || fail "PostgreSQL did not stop"
say "$(du -sh "$TEST_LEAVINGS" | cut -f 1) in $(find "$TEST_LEAVINGS" -type f | wc -l) files"
cargo test --quiet --locked --test suite -- --ignored --exact leaks::the_whole_suite_left_no_secret_behind ||
  fail "a secret or a payload was left behind"
exit "$failed"
