#!/usr/bin/env bash
# Every linter, each named before it runs; stops at the first that finds something.
set -euo pipefail
cd "$(dirname "$0")/.."

run() { printf '\n== %s\n' "$*"; "$@"; }

run fleet check
run gpu-token-catalog check catalog.yml
run yamllint --strict .
run env ANSIBLE_INVENTORY=.config/lint-inventory.yml ansible-lint --profile production --offline
run ruff check .
run ruff format --check .
run mypy lab fleet bench drill testing supply
for app in contracts processor producers; do
  run mypy "apps/$app/gpu_token_$app"
done
run mypy roles/app_image/files/build_context.py
# By the names under which Ansible loads them.
run env MYPYPATH=collections mypy --explicit-package-bases --package ansible_collections.gpu_token.pipeline.plugins
mapfile -t dockerfiles < <(git ls-files --cached --others --exclude-standard | grep -E '(^|/)Dockerfile|\.Dockerfile$')
run hadolint "${dockerfiles[@]}"
mapfile -t scripts < <(git ls-files --cached --others --exclude-standard | xargs grep -lE '^#!.*\b(ba)?sh\b' --)
run scripts/role_docs.sh --check
run fleet docs --check
run scripts/if_installed.sh tflint scripts/tflint.sh
run shellcheck -x "${scripts[@]}"
