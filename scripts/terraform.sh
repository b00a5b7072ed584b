#!/usr/bin/env bash
# Runs Terraform in its folder with the operator's address: scripts/terraform.sh plan|apply|destroy …
set -euo pipefail
cd "$(dirname "$0")/.."
cidrs=$(python3 terraform/allowed_cidrs.py)
if [ -n "$cidrs" ]; then export TF_VAR_allowed_cidrs=$cidrs; fi
exec terraform -chdir=terraform "$@"
