#!/usr/bin/env bash
# Writes each role's README from its meta/argument_specs.yml; with --check says which are out of date.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
for role in roles/*/; do
  readme=$(mktemp)
  aar-doc --output-file "$readme" --output-mode replace --output-template '{{ content }}' "$role" markdown >/dev/null
  example="docs/examples/$(basename "$role").yml"
  # aar-doc writes the collection's version into the text, an example that YAML cannot read, and for each entry point the
  # options that stand at main already, to which its links then lead.
  awk -v example="$([ ! -e "$example" ] || echo "$example")" '
    function flush() {
      if (names) printf "Takes the options of `main`:%s.\n\n", names
      if (rows) printf "%s%s\n", header, rows
      names = rows = header = ""
    }
    { gsub(/`main:/, "`") }
    /^Version: / { print ""; next }
    /^## Example Playbook/ { skip = 1; if (example) printf "%s\n\n[%s](../../%s)\n\n", $0, example, example }
    /^## License/ { skip = 0 }
    /^##/ {
      flush()
      if (/^### /) { again = !/: main$/; nested = 0 }
      if (/^## /) again = nested = 0
      nested = again && /^####/ && ($6 in main)
    }
    again && !nested && /^\|/ {
      if (/^\|(Option|-)/) header = header $0 "\n"
      else if ($2 in main) names = names (names ? ", `" : " `") $2 "`"
      else rows = rows $0 "\n"
      next
    }
    /^### Entrypoint: main$/ { remember = 1 }
    /^####|^### Entrypoint: [^m]/ { remember = 0 }
    remember && /^\| / { main[$2]; gsub(/#options-for-[a-z]+--/, "#options-for-main--") }
    !nested && !skip' "$readme" | cat -s >"$readme.mended"
  mv "$readme.mended" "$readme"
  if [ "${1:-}" = --check ]; then
    cmp -s "$readme" "${role}README.md" || { echo "${role}README.md differs from the role's argument specs; run: make docs" >&2; status=1; }
  else
    cp "$readme" "${role}README.md"
  fi
  rm -f "$readme"
done
exit "$status"
