#!/usr/bin/env bash
# What differs from what the repository says: scripts/drift.sh lab|aws [more options for ansible-playbook]
# Exit 0: nothing; 2: something; 1: it could not be determined. (make itself exits with 2 in both of the latter cases.)
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
environment=${1:-lab} drift=0
shift || true

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Only what differs is shown, and the recap is read without colours.
ANSIBLE_DISPLAY_OK_HOSTS=false ANSIBLE_DISPLAY_SKIPPED_HOSTS=false ANSIBLE_FORCE_COLOR=false \
  ansible-playbook -i "inventories/$environment" "$@" site.yml --check --diff | tee "$log"
[ "${PIPESTATUS[0]}" -eq 0 ] || { echo "drift: site.yml could not be checked; see above." >&2; exit 1; }
if grep -qE ' changed=[1-9]' "$log"; then drift=2; fi

if [ "$environment" = aws ]; then
  scripts/terraform.sh plan -input=false -detailed-exitcode
  case $? in
    0) ;;
    2) drift=2 ;;
    *) echo "drift: terraform could not plan; see above." >&2; exit 1 ;;
  esac
fi

if [ "$drift" -eq 0 ]; then
  echo "drift: none"
else
  echo "drift: found; make deploy ENV=$environment puts it right" >&2
fi
exit "$drift"
