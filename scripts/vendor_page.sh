#!/usr/bin/env bash
# Puts the page's libraries, as apps/processor/npm/package-lock.json pins them, into the processor's package, and
# records what they are. Only who changes a version needs npm: the copies are committed.
set -euo pipefail
cd "$(dirname "$0")/.."

lock=apps/processor/npm/package-lock.json
record=apps/processor/npm/vendored.json
vendor=apps/processor/gpu_token_processor/page/vendor
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp apps/processor/npm/{package.json,package-lock.json} "$work"
# npm checks each package against the integrity in the lock.
npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund --loglevel=error

rm -rf "$vendor"
mkdir -p "$vendor/uplot"
cp "$work"/node_modules/uplot/{LICENSE,dist/uPlot.iife.min.js,dist/uPlot.min.css} "$vendor/uplot"

files=$(cd "$vendor/uplot" && sha256sum -- * | jq -Rn '[inputs | split("  ") | {(.[1]): .[0]}] | add')
jq --argjson files "$files" \
  '.packages["node_modules/uplot"] | {uplot: {version, license, integrity, sha256: $files}}' "$lock" > "$record"
