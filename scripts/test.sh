#!/usr/bin/env bash
# The test suite, part by part, with the time each took; goes on after a failing part and fails at the end, where it
# also says what was left out.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

part() { # part NAME COMMAND...
  local name=$1 start=$SECONDS outcome=passed
  printf '\n\033[1m==> %s\033[0m\n' "$name"
  "${@:2}" 2>&1 | tee "$results/$name.log" | sed -u "s/^/[$name] /"
  case ${PIPESTATUS[0]} in
    0) ;;
    77) outcome=skipped ;; # the part's own word that it could not be done
    *) outcome=FAILED ;;
  esac
  printf '%-20s %-7s %4d s\n' "$name" "$outcome" $((SECONDS - start)) | tee -a "$results/outcomes"
}

# Two lanes. The whole site takes longest: it begins at once, and its `lab up` builds the machines' images.
part e2e pytest -v --durations=0 --durations-min=5 tests/e2e &

# The other lane never has more than one lab up. It begins with what needs none, which gives way to the site. Should the
# images still not be there then, `lab up` waits for them: only one lab at a time builds (lab/images/choose.py).
{
  part lint nice scripts/lint.sh
  part sbom scripts/sbom.sh
  part audit scripts/audit.sh
  # A file stays on one worker, for what its tests share. In the order of pyproject.toml, whose last files are short:
  # no worker waits long for the other at the end.
  part unit nice pytest -q -n 2 --dist loadfile --no-loadscope-reorder
  # The roles' scenarios follow each other on the same machines: what one has set up, the next finds there.
  for scenario in docker kafka mongo processor producers; do
    part "molecule $scenario" env KEEP_MACHINES=1 molecule test -s "$scenario"
  done
  part "molecule destroy" molecule destroy -s producers
  part lab pytest -q tests/lab
} &
wait

# pytest's skipped tests with their reasons, and tools that this computer does not have
printf '\nLeft out:\n'
cat "$results"/*.log | grep -E '^(SKIPPED|left out:|not audited:)' | sort -u | grep . || echo nothing

# failures are repeated here: between the lines of both lanes they are hard to find
if grep -q ' FAILED ' "$results/outcomes"; then
  printf '\nFailed:\n'
  cat "$results"/*.log | grep -E '^(FAILED|ERROR) |^E  |^fatal:' | cut -c 1-600 | head -60
fi

printf '\n'
cat "$results/outcomes"
count() { grep -c " $1 " "$results/outcomes"; }
printf '%d passed, %d failed, %d skipped\n' "$(count passed)" "$(count FAILED)" "$(count skipped)"
[ "$(count FAILED)" -eq 0 ]
