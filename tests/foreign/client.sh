#!/usr/bin/env bash
# Generates a TypeScript client from an OpenAPI document, type-checks the life of an endpoint against
# it, compiles that and runs it: client.sh BASE_URL API_KEY OPENAPI_FILE OUT_DIR [TARGET_URL]
set -euo pipefail

fail() { printf '%s\n' "client: $*" >&2; exit 1; }

[ "$#" -ge 4 ] || fail "usage: client.sh BASE_URL API_KEY OPENAPI_FILE OUT_DIR [TARGET_URL]"
here=$(cd "$(dirname "$0")" && pwd)
base=$1 key=$2 document=$(realpath "$3") out=$4
shift 4
[ -d "$here/node_modules/openapi-typescript" ] || fail "run npm ci in tests/foreign first"

mkdir -p "$out"
cp "$here/package.json" "$here/client/life.ts" "$here/client/tsconfig.json" "$out"
ln -sfn "$here/node_modules" "$out/node_modules"
cd "$out"
node node_modules/openapi-typescript/bin/cli.js "$document" --output api.ts >generate.log 2>&1 ||
  { cat generate.log >&2; fail "no client could be generated"; }
node node_modules/typescript/bin/tsc --project . >&2 || fail "the types do not fit"
node life.js "$base" "$key" "$@"
