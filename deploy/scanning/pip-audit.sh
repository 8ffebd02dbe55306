#!/bin/sh
# Known vulnerabilities in what the images hold, by the lock alone: nothing is installed. Exit code 1 names them.
# Needs pip-audit (`uvx pip-audit` gets it) and the network.
set -eu
cd "$(dirname "$0")/../.."
for image in slim speech; do
  lock="$(mktemp)"
  trap 'rm -f "$lock"' EXIT
  python3 deploy/docker/requirements.py "$image" > "$lock"
  pip-audit --requirement "$lock" --require-hashes --disable-pip --strict --progress-spinner off
done
