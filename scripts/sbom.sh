#!/usr/bin/env bash
# Lists what each app is made of, this project's packages included, as CycloneDX: scripts/sbom.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-build/sbom}
mkdir -p "$folder"
for app in processor producers; do
  uv export --quiet --frozen --no-dev --package "gpu-token-$app" --format cyclonedx1.5 --output-file "$folder/$app.cdx.json"
done
