#!/usr/bin/env bash
# Lists what each app is made of, this project's packages and the page's libraries included, as CycloneDX:
# scripts/sbom.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-build/sbom}
mkdir -p "$folder"
for app in processor producers; do
  uv export --quiet --frozen --no-dev --all-extras --package "gpu-token-$app" --format cyclonedx1.5 --output-file "$folder/$app.cdx.json"
done

# The libraries that the processor's package holds as copies.
page=$(jq '[to_entries[] | {
  type: "library", name: .key, version: .value.version, purl: "pkg:npm/\(.key)@\(.value.version)",
  "bom-ref": "pkg:npm/\(.key)@\(.value.version)", licenses: [{license: {id: .value.license}}]
}]' apps/processor/npm/vendored.json)
jq --argjson page "$page" '.components += $page' "$folder/processor.cdx.json" > "$folder/with-page"
mv "$folder/with-page" "$folder/processor.cdx.json"
