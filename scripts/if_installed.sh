#!/usr/bin/env bash
# Runs a command where its tool is installed, and says plainly where it is not: scripts/if_installed.sh TOOL COMMAND...
set -euo pipefail
if command -v "$1" >/dev/null; then exec "${@:2}"; fi
echo "left out: $1, not installed"
