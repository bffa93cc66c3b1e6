#!/usr/bin/env bash
# All of the example: makes the tables, fills them, asks the four questions.   examples/analytics/run.sh [ROWS]
# FLOEBERG_URL says of which server (http://127.0.0.1:8181), FLOEBERG_TOKEN with which token, if one is asked for.
set -euo pipefail
here="$(dirname "$0")"
python3 "$here/setup.py"
python3 "$here/generate.py" --rows "${1:-1000000}" --push
python3 "$here/queries.py"
