#!/usr/bin/env bash
# Writes the parts of docs/ that are drawn from fleet.yml and the playbooks, and their pictures (dot, mscgen);
# with --check says which texts are out of date.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
document() { # document FILE COMMAND...: FILE is what COMMAND prints
  local file=$1 text
  text=$(mktemp)
  "${@:2}" >"$text"
  if [ "$check" = --check ]; then
    cmp -s "$text" "$file" || { echo "$file is out of date; run: make docs" >&2; status=1; }
  else
    cp "$text" "$file"
  fi
  rm -f "$text"
}

check=${1:-}
document docs/architecture.dot fleet diagram
document docs/provisioning.msc fleet sequence
document docs/network.md fleet network
if [ "$check" != --check ]; then
  dot -Tsvg docs/architecture.dot -o docs/architecture.svg
  mscgen -T svg -i docs/provisioning.msc -o docs/provisioning.svg
fi
exit "$status"
