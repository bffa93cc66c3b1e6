#!/usr/bin/env bash
# Runs Iceberg's REST compatibility kit against a binary: scripts/rck.sh BINARY CACHE
# The kit wants a file: location under /tmp for some tables, which the server is therefore told to allow.
set -euo pipefail
here="$(cd "$(dirname "$0")/../tests/rck" && pwd)"
binary="$1" cache="$2"
mkdir -p "$cache"

if ! cmp -s "$here/pom.xml" "$cache/pom.xml" || [ ! -s "$cache/cp.txt" ]; then
    rm -f "$cache/cp.txt"
    cp "$here/pom.xml" "$cache/pom.xml.new"
    (cd "$cache" && mvn -q -B -f pom.xml.new org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath -Dmdep.outputFile=cp.txt)
    mv "$cache/pom.xml.new" "$cache/pom.xml"
fi
classpath="$(cat "$cache/cp.txt")"

work="$(mktemp -d)"
server=
cleanup() { [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }; rm -rf "$work"; }
trap cleanup EXIT

mkdir "$work/classes"
find "$here/java" -name '*.java' -print0 | xargs -0 javac -d "$work/classes" -cp "$classpath"
"$binary" serve --listen 127.0.0.1:0 --data-dir "$work/data" --allow-location file:///tmp > "$work/out" 2> "$work/log" &
server=$!
url=
for _ in $(seq 100); do
    url="$(sed -n 's/^  Iceberg REST catalog *//p' "$work/out")"
    [ -z "$url" ] || break
    sleep 0.1
done
[ -n "$url" ] || { echo "the server did not start:"; cat "$work/log"; exit 1; }

# Every CATALOG_* variable would become a property of the kit's client.
for variable in $(compgen -e CATALOG_ || true); do unset "$variable"; done
java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djava.io.tmpdir="$work" \
    -Drck.local=false -Drck.requires-namespace-create=true -Duri="$url/" -Dwarehouse= \
    -Djunit.jupiter.execution.timeout.testable.method.default=60s \
    -cp "$work/classes:$classpath" org.junit.platform.console.ConsoleLauncher execute \
    --select-class org.apache.iceberg.rest.FloebergCatalogTests --select-class org.apache.iceberg.rest.FloebergViewTests \
    --reports-dir "$work/reports" --details=none \
    > "$work/console" 2>&1 || true

python3 "$here/verdict.py" "$work/reports" 153 4 || { tail -80 "$work/console"; exit 1; }
