#!/usr/bin/env bash
# Forgets everything local: caches, tools, Terraform's working files and state. Asks first; refuses while the state
# still has machines, since nothing else knows about them.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -e terraform/terraform.tfstate ] && grep -q '"type":' terraform/terraform.tfstate; then
  echo "terraform/terraform.tfstate still holds resources: run make down ENV=aws first." >&2
  exit 1
fi
read -r -p "Remove .venv, build, caches and Terraform's state? Type yes: " answer
[ "$answer" = yes ] || { echo "Nothing was removed."; exit 1; }
make clean
rm -rf .venv terraform/.terraform terraform/terraform.tfstate* terraform/*.tfplan
