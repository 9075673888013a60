#!/usr/bin/env bash
# Calls every operation of BASE_URL/openapi with generated data and compares the answers with the document:
# schemathesis.sh VENV_DIR BASE_URL ORGANIZATION_KEY PLATFORM_KEY SESSION EXAMPLES [LEAST_CASES]
set -euo pipefail

fail() { printf '%s\n' "schemathesis: $*" >&2; exit 1; }

[ "$#" -ge 6 ] || fail "usage: schemathesis.sh VENV_DIR BASE_URL ORGANIZATION_KEY PLATFORM_KEY SESSION EXAMPLES [LEAST_CASES]"
here=$(cd "$(dirname "$0")" && pwd)
venv=$1 examples=$6 least=${7:-1}
export BASE_URL=$2 ORGANIZATION_KEY=$3 PLATFORM_KEY=$4 SESSION=$5 HOOKS=$here/schemathesis_hooks.py NO_PROXY='*'
[[ $BASE_URL =~ ^http://(127\.0\.0\.1|localhost|\[::1\]):[0-9]+$ ]] || fail "$BASE_URL is not on this machine"

"$here/venv.sh" "$venv" || fail "no virtual environment"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
status=0
PYTHONDONTWRITEBYTECODE=1 timeout 1500 "$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run "$BASE_URL/openapi" \
  --max-examples "$examples" --no-color >"$scratch/log" 2>&1 || status=$?
if [ "$status" -ne 0 ]; then
  cat "$scratch/log" >&2
  [ "$status" -ne 124 ] || fail "took longer than 25 minutes"
  fail "the answers are not those of the document (exit $status)"
fi
"$venv/bin/python" - <<'CHECK' || fail "a key no longer works: the run has removed what it needed"
import os, urllib.request

opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for path, key in (
    ("/v1/webhooks/endpoints", "ORGANIZATION_KEY"),
    ("/v1/platform/organizations", "PLATFORM_KEY"),
    ("/v1/auth/api-keys", "SESSION"),
):
    headers = {"Authorization": f"Bearer {os.environ[key]}"}
    opener.open(urllib.request.Request(os.environ["BASE_URL"] + path, headers=headers), timeout=20)
CHECK
cases=$(sed -nE 's/^ *([0-9]+) generated, .*/\1/p' "$scratch/log" | tail -n 1)
[ "${cases:-0}" -ge "$least" ] || { cat "$scratch/log" >&2; fail "${cases:-0} cases instead of $least"; }
printf '%s\n' "schemathesis: $cases cases, no difference"
