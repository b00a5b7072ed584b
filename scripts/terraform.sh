#!/usr/bin/env bash
# Terraform in its folder, told who may log in: scripts/terraform.sh plan|apply|destroy …
set -euo pipefail
cd "$(dirname "$0")/.."
cidrs=$(python3 terraform/allowed_cidrs.py)
if [ -n "$cidrs" ]; then export TF_VAR_allowed_cidrs=$cidrs; fi
exec terraform -chdir=terraform "$@"
