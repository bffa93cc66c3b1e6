#!/usr/bin/env bash
# Runs the real-client tests against a binary: scripts/e2e.sh BINARY CACHE short|long [pytest arguments]
set -euo pipefail
here="$(cd "$(dirname "$0")/../tests/e2e" && pwd)"
binary="$1" cache="$2" form="$3"
shift 3
{ command -v strace && command -v pgrep; } > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends strace procps; } > /dev/null
venv="$cache/venv"
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
export E2E_BINARY="$binary" E2E_FORM="$form" PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" -m pytest -p no:cacheprovider -q --tb=short "$here" "$@"
