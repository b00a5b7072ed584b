#!/usr/bin/env bash
# The main job, end to end: scripts/demo.sh [TRACE.csv]
# Starts the lab, runs site.yml, replays a trace and requires its exact totals.
set -euo pipefail
cd "$(dirname "$0")/.."
trace=${1:-}

say() { printf '\n\033[1m==> %s\033[0m (%d s)\n' "$*" "$SECONDS"; }

if [ -z "$trace" ]; then
  trace=build/synthetic-trace.csv
  echo "demo: no TRACE given and none found: generating a seeded trace of the same shape as $trace"
  mkdir -p build
  python -m gpu_token_producers trace --rows 8819 --seed 1 "$trace"
fi
[ -r "$trace" ] || { echo "TRACE $trace cannot be read: give the path of a CSV file." >&2; exit 2; }

# The totals are counted here, independently of the code under test.
read -r rows prompt completion < <(awk -F, 'NR > 1 {n++; p += $2; c += $3} END {printf "%d %d %d\n", n, p, c}' "$trace")

say "Lab: machines of fleet.yml, an EC2 API, an image registry"
lab up
say "ansible-playbook site.yml"
ansible-playbook site.yml
say "Replaying $(basename "$trace"): $rows requests, $prompt prompt and $completion completion tokens"
ansible-playbook playbooks/replay.yml -e "replay_trace=$(realpath "$trace")"
say "Verifying"
ansible-playbook playbooks/verify.yml -e "verify_expected_events=$rows verify_expected_prompt_tokens=$prompt verify_expected_completion_tokens=$completion"
say "Done: the pipeline is up and its totals are exact"
cat build/costs.txt
echo
lab status
address=$(ansible-inventory --host processor-1 | jq -r .ansible_host)
echo "Dashboard: http://$address:8080/ (its token: make api-token)   checks: build/verify.json   a shell: lab ssh kafka-1   remove it all: make demo-down"
