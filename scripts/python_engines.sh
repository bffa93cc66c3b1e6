#!/usr/bin/env bash
# Puts the engines that are Python packages, ClickHouse and Daft, in CACHE/engines: scripts/python_engines.sh CACHE
# Beside the tests' own packages and without what they would bring along: what they need of that is there.
set -euo pipefail
wanted="$(dirname "$0")/../tests/e2e/requirements-engines.txt" whole="$1/engines"
cmp -s "$wanted" "$whole/requirements.txt" && exit 0
# Moved when it is whole: what was cut off is not taken for them.
rm -rf "$whole" "$whole.new"
"$1/venv/bin/pip" install --quiet --no-deps --target "$whole.new" -r "$wanted"
cp "$wanted" "$whole.new/requirements.txt"
mv "$whole.new" "$whole"
