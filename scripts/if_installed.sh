#!/usr/bin/env bash
# Runs a command if its tool is installed, and otherwise says that it is not: scripts/if_installed.sh TOOL COMMAND...
set -euo pipefail
if command -v "$1" >/dev/null; then exec "${@:2}"; fi
echo "left out: $1, not installed"
