#!/usr/bin/env bash
# Runs the real-client tests against a binary: scripts/e2e.sh BINARY CACHE short|long [pytest arguments]
set -euo pipefail
here="$(cd "$(dirname "$0")/../tests/e2e" && pwd)"
binary="$1" cache="$2" form="$3"
shift 3
"$(dirname "$0")/e2e_tools.sh" "$cache" "$form"
# A script finds its modules beside itself.
cp "$here/javascript/"*.mjs "$cache/javascript"
if [ "$form" = long ]; then
    PYTHONPATH="$(cd "$cache/engines" && pwd)"
    export PYTHONPATH
fi

export E2E_CACHE="$cache" E2E_BINARY="$binary" E2E_FORM="$form" PYTHONDONTWRITEBYTECODE=1
exec "$cache/venv/bin/python" -m pytest -p no:cacheprovider -q --tb=short "$here" "$@"
