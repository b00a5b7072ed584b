#!/usr/bin/env bash
# tflint over terraform/ and each of its modules.
set -euo pipefail
cd "$(dirname "$0")/../terraform"
exec tflint --recursive --config="$PWD/../.tflint.hcl"
