#!/usr/bin/env bash
# Sets up the controller: scripts/setup.sh [tools|lab]
#   tools  the Python environment .venv with Ansible and everything in uv.lock
#   lab    tools, and the Debian packages that the local lab needs
# Installs Debian packages when run as root; otherwise prints the command and stops.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() { # need COMMAND PACKAGE...: the packages wanted where the command is missing
  command -v "$1" >/dev/null 2>&1 || missing+=("${@:2}")
}

need git git
need ssh openssh-client
need jq jq
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)

if [ "${1:-tools}" = lab ]; then
  need dockerd docker.io
  need docker docker.io
  need docker-registry docker-registry
  need debootstrap debootstrap
  need iptables iptables
  need ip iproute2
  need losetup mount
  need java default-jre-headless
  need mvn maven
  need chromium chromium
fi

if [ "${#missing[@]}" -gt 0 ]; then
  # trixie has the client in a package of its own
  if [[ " ${missing[*]} " == *" docker.io "* ]] && apt-cache show docker-cli >/dev/null 2>&1; then
    missing+=(docker-cli)
  fi
  packages=$(printf '%s\n' "${missing[@]}" | sort -u | tr '\n' ' ')
  if [ "$(id -u)" -ne 0 ]; then
    printf 'Debian packages are missing; run: sudo apt-get install --no-install-recommends %s\n' "$packages" >&2
    exit 1
  fi
  echo "setup: installing $packages"
  apt-get update -qq
  # shellcheck disable=SC2086 # split into one word for each package
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
fi

stamp=.venv/.synced
if [ ! -e "$stamp" ] || [ -n "$(find pyproject.toml uv.lock apps/*/pyproject.toml -newer "$stamp")" ]; then
  echo "setup: Python environment .venv from uv.lock"
  if [ ! -x .venv/bin/uv ]; then
    python3 -m venv --clear .venv
    # uv installs the rest by its hashes; its own are in the same file.
    .venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: \
      --requirement <(python3 scripts/locked_uv.py)
  fi
  .venv/bin/uv sync --quiet --locked --all-packages
  touch "$stamp"
fi
