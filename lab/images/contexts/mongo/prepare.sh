#!/bin/sh
# Fetches the wheels of requirements.txt, checked against their hashes, into $1/wheels.
# Environment: PYTHON, PYTHON_MINOR.
# requirements.txt is made by: uv pip compile --universal --generate-hashes --python-version 3.13 requirements.in
set -eu
machine=$(uname -m)
"$PYTHON" -m pip download --quiet --disable-pip-version-check --require-hashes --only-binary=:all: --no-deps \
  --implementation cp --python-version "$PYTHON_MINOR" \
  --platform "manylinux_2_28_$machine" --platform "manylinux_2_17_$machine" --platform "manylinux2014_$machine" \
  --dest "$1/wheels" --requirement requirements.txt
