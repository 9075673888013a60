#!/usr/bin/env bash
# Makes a virtual environment of what requirements.txt names, unless it is there: venv.sh VENV_DIR
set -euo pipefail

fail() { printf '%s\n' "venv: $*" >&2; exit 1; }

[ "$#" -eq 1 ] || fail "usage: venv.sh VENV_DIR"
here=$(cd "$(dirname "$0")" && pwd)
venv=$1
mkdir -p "$(dirname "$venv")"
# Tests that need it at the same time wait for whoever makes it.
exec 9>"$venv.lock"
flock 9
cmp -s "$here/requirements.txt" "$venv/installed.txt" && exit
rm -rf "$venv"
/usr/bin/python3 -m venv "$venv" || fail "no virtual environment could be made in $venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes \
  --only-binary :all: --requirement "$here/requirements.txt" || fail "could not be installed"
cp "$here/requirements.txt" "$venv/installed.txt"
