#!/usr/bin/env bash
# The test suite, part by part, with the time each took; goes on after a failing part and fails at the end, where it
# also says what was left out.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

log=$(mktemp)
trap 'rm -f "$log"' EXIT

parts=() failed=0 skipped=0
part() { # part NAME COMMAND...
  local start=$SECONDS outcome=passed
  printf '\n\033[1m==> %s\033[0m\n' "$1"
  "${@:2}" 2>&1 | tee -a "$log"
  case ${PIPESTATUS[0]} in
    0) ;;
    77) outcome=skipped skipped=$((skipped + 1)) ;; # the part's own word that it could not be done
    *) outcome=FAILED failed=$((failed + 1)) ;;
  esac
  parts+=("$(printf '%-20s %-7s %4d s' "$1" "$outcome" $((SECONDS - start)))")
}

part lint scripts/lint.sh
part unit pytest -q -n 4 --dist loadfile
part sbom scripts/sbom.sh
part audit scripts/audit.sh
part lab pytest -q tests/lab
for scenario in docker kafka mongo processor producers site; do
  part "molecule $scenario" molecule test -s "$scenario"
done

part e2e pytest -q tests/e2e/test_site.py

# pytest's skipped tests with their reasons, and tools that this machine does not have
printf '\nLeft out:\n'
grep -E '^(SKIPPED|left out:|not audited:)' "$log" | sort -u || echo nothing

printf '\n'
printf '%s\n' "${parts[@]}"
printf '%d passed, %d failed, %d skipped\n' $((${#parts[@]} - failed - skipped)) "$failed" "$skipped"
[ "$failed" -eq 0 ]
