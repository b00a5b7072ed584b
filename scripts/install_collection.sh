#!/usr/bin/env bash
# Packs the collection and installs the archive: scripts/install_collection.sh FOLDER, for ANSIBLE_COLLECTIONS_PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

archive=$(mktemp -d)
trap 'rm -rf "$archive"' EXIT
ansible-galaxy collection build --output-path "$archive" >/dev/null
# What it depends on comes with the PyPI package ansible.
ansible-galaxy collection install --offline --no-deps --force -p "$1" "$archive"/*.tar.gz
