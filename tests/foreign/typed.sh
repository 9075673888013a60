#!/usr/bin/env bash
# Generates types and typed documents from a GraphQL schema and type-checks a program that uses them:
# typed.sh SCHEMA_FILE OUT_DIR
set -euo pipefail

fail() { printf '%s\n' "typed: $*" >&2; exit 1; }

[ "$#" -eq 2 ] || fail "usage: typed.sh SCHEMA_FILE OUT_DIR"
here=$(cd "$(dirname "$0")" && pwd)
schema=$(realpath "$1") out=$2
[ -d "$here/node_modules/@graphql-codegen" ] || fail "run npm ci in tests/foreign first"

mkdir -p "$out"
cp "$here/package.json" "$here"/typed/* "$out"
ln -sfn "$here/node_modules" "$out/node_modules"
cd "$out"
node generate.mjs "$schema" documents.graphql api.ts >&2 || fail "no types could be generated"
node node_modules/typescript/bin/tsc --project . >&2 || fail "the types do not fit"
printf '%s\n' "ok"
