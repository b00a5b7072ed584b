#!/usr/bin/env bash
# The main job, end to end: scripts/demo.sh [TRACE.csv]
# Starts the lab, runs site.yml, replays a week for the page, then a trace, and requires the trace's exact totals.
set -euo pipefail
cd "$(dirname "$0")/.."
trace=${1:-}
mkdir -p build

say() { printf '\n\033[1m==> %s\033[0m (%d s)\n' "$*" "$SECONDS"; }

if [ -z "$trace" ]; then
  trace=build/synthetic-trace.csv
  echo "demo: no TRACE given and none found: generating a seeded trace of the same shape as $trace"
  python -m gpu_token_producers trace --rows 8819 --seed 1 "$trace"
fi
[ -r "$trace" ] || { echo "TRACE $trace cannot be read: give the path of a CSV file." >&2; exit 2; }
[ "$(head -n 1 "$trace" | tr -d '\r\0')" = TIMESTAMP,ContextTokens,GeneratedTokens ] || {
  echo "The demo counts the totals of TRACE itself, and $trace has not the columns that it counts:" \
    "TIMESTAMP,ContextTokens,GeneratedTokens. make replay TRACE=$trace sends other traces (docs/traces.md)." >&2
  exit 2
}

# The totals are counted here, independently of the code under test.
read -r rows prompt completion < <(awk -F, 'NR > 1 {n++; p += $2; c += $3} END {printf "%d %d %d\n", n, p, c}' "$trace")

say "Lab: machines of fleet.yml, an EC2 API, an image registry; engines, a GPU exporter and a gateway to read"
lab up --workload
say "ansible-playbook site.yml"
ansible-playbook site.yml
say "Replaying the days since $(date -u -d '-6 days' +%F), for the page: two models, a request in five minutes each"
start=$(date -u -d "$(date -u -d '-6 days' +%F)" +%s)
for model in chat code; do
  awk -v upto=$(($(date +%s) - start)) -v model="$model" 'BEGIN {
    print "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
    srand(length(model) + (model == "chat"))
    for (at = 0; at < upto; at += 300) {
      prompt = int(200 + rand() * 3800); completion = int(20 + rand() * 480)
      print at "," model "," prompt "," completion "," prompt + completion ",API log"
    }
  }' > "build/week-$model.csv"
  ansible-playbook playbooks/replay.yml -e "replay_trace=$PWD/build/week-$model.csv replay_model=$model" \
    -e "replay_start=$(date -u -d "@$start" +%FT%TZ) replay_metrics_interval_seconds=30"
done
say "Replaying $(basename "$trace"): $rows requests, $prompt prompt and $completion completion tokens"
ansible-playbook playbooks/replay.yml -e "replay_trace=$(realpath "$trace")"
say "Verifying"
ansible-playbook playbooks/verify.yml -e "verify_expected_events=$rows verify_expected_prompt_tokens=$prompt verify_expected_completion_tokens=$completion"
say "Done: the pipeline is up and its totals are exact"
cat build/costs.txt
echo
lab status
address=$(ansible-inventory --host processor-1 | jq -r .ansible_host)
echo "Page: http://$address:8080/?group=team (its token: make api-token)   checks: build/verify.json   a shell: lab ssh kafka-1   remove it all: make demo-down"
