#!/usr/bin/env bash
# Known vulnerabilities in what both apps' images hold. Exit 0: none; 1: some, or a package that the service does not
# know; 77: not audited, since no vulnerability service answers, which is a failure with AUDIT_REQUIRED=1.
# PIP_AUDIT_VULNERABILITY_SERVICE and PIP_AUDIT_OSV_URL name another service.
set -euo pipefail
cd "$(dirname "$0")/.."

# pip-audit runs in its own environment, since its dependencies are not the project's.
PIP_AUDIT="pip-audit==2.10.1"
audit() { uv tool run --quiet --from "$PIP_AUDIT" pip-audit --progress-spinner off --disable-pip "$@"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# pip-audit takes no answer for "no vulnerabilities": the service must first report a release that is known to have some.
echo 'django==3.0' > "$work/known.txt"
audit --no-deps --cache-dir "$work/cache" --format json -r "$work/known.txt" > "$work/known.json" 2> "$work/said" ||
  true # 1 is the answer that is hoped for
if [ "$(jq '[.dependencies[].vulns // [] | length] | add > 0' "$work/known.json")" != true ]; then
  reason=$(jq -r '.dependencies[].skip_reason // empty' "$work/known.json")
  [ -n "$reason" ] || reason=$(tail -1 "$work/said")
  echo "not audited: the vulnerability service does not report $(cat "$work/known.txt") (${reason:-it gave no reason})"
  [ "${AUDIT_REQUIRED:-0}" = 1 ] && exit 1
  exit 77
fi

files=()
for app in processor producers; do
  uv export --quiet --frozen --no-dev --no-emit-workspace --all-extras --package "gpu-token-$app" --output-file "$work/$app.txt" > /dev/null
  files+=(-r "$work/$app.txt")
done
audit --strict --require-hashes "${files[@]}"
