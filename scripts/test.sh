#!/usr/bin/env bash
# Every test. Installs what it needs under ~/.cache/floeberg and starts every server itself, on loopback.
#   scripts/test.sh          the short form, which CI runs
#   scripts/test.sh --long   the full form: long kill runs, and engines that are big to install
set -euo pipefail
cd "$(dirname "$0")/.."

form=short
case "${1:-}" in
    "") ;;
    --long) form=long ;;
    *) echo "usage: scripts/test.sh [--long]" >&2; exit 2 ;;
esac

[ "$form" = short ] || export TESTS_LONG=1

cache="${TEST_CACHE:-$HOME/.cache/floeberg}"
mkdir -p "$cache"
# One profile for the binary and the tests: the dependencies are compiled once.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"
export CARGO_TERM_COLOR=never RUST_BACKTRACE=0 PIP_DISABLE_PIP_VERSION_CHECK=1

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

# The database's suite runs on a real PostgreSQL too, which the tests start themselves.
if [ ! -d /usr/lib/postgresql ]; then
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql; } > /dev/null
fi
export REQUIRE_POSTGRES=1

# Downloads, and tools that are built once, while Rust's compiler leaves a core idle.
nice -n 10 scripts/e2e_tools.sh "$cache/e2e" "$form" > "$cache/e2e_tools.log" 2>&1 &
tools=$!
trap 'kill "$tools" 2> /dev/null || true' EXIT

step "Rust: format and lints"
cargo fmt --check
cargo clippy --quiet --release --locked -- -D warnings
cargo clippy --quiet --release --locked --all-targets --features failpoints -- -D warnings

step "Rust: unit and integration tests"
# Every decoder is fed damaged bodies beside the tests; anew each time only in the long form.
if [ "$form" = short ]; then
    export FUZZ_SECONDS="${FUZZ_SECONDS:-30}" FUZZ_SEED="${FUZZ_SEED:-1}"
else
    export FUZZ_SECONDS="${FUZZ_SECONDS:-1800}"
fi
cargo test --quiet --release --locked --features failpoints
# Last, so that what the real clients meet is the binary as it is shipped.
cargo build --quiet --release --locked
binary="$CARGO_TARGET_DIR/release/floeberg"

step "Iceberg's REST compatibility kit"
scripts/rck.sh "$binary" "$cache/rck" "$form"

step "Real clients"
wait "$tools" || { cat "$cache/e2e_tools.log"; exit 1; }
scripts/e2e.sh "$binary" "$cache/e2e" "$form"

step "done"
