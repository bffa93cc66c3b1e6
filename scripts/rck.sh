#!/usr/bin/env bash
# Runs Iceberg's REST compatibility kit against a binary: scripts/rck.sh BINARY CACHE [short|long]
# The kit wants a file: location under /tmp for some tables, which the server is therefore told to allow. The long form
# runs it again with pages of one entry, with snapshots loaded lazily, through a token and an OAuth credential, and with
# scans planned by the server.
set -euo pipefail
here="$(cd "$(dirname "$0")/../tests/rck" && pwd)"
binary="$1" cache="$2" form="${3:-short}"
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
stop() { [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; server=; }; }
cleanup() { stop; rm -rf "$work"; }
trap cleanup EXIT

mkdir "$work/classes"
find "$here/java" -name '*.java' -print0 | xargs -0 javac -d "$work/classes" -cp "$classpath"
# Every CATALOG_* variable would become a property of the kit's client.
for variable in $(compgen -e CATALOG_ || true); do unset "$variable"; done

# kit NAME AUTH PASSED PROPERTY..: a fresh server and a run of the kit, of which so many tests must pass; SECRET in a
# property is an administrator's secret.
kit() {
    local name="$1" auth="$2" passed="$3" url='' secret=none data="$work/$1" without=()
    shift 3
    # This one asks the client for a report that it makes only where it plans itself.
    [ "$name" != planned ] || without=(--exclude-methodname '.*testCatalogWithCustomMetricsReporter')
    mkdir "$data"
    if [ "$auth" = token ]; then
        secret="$(FLOEBERG_AUTH=token "$binary" token create --admin --data-dir "$data/data" 2> "$data/made")"
    fi
    FLOEBERG_AUTH="$auth" "$binary" serve --listen 127.0.0.1:0 --data-dir "$data/data" --allow-location file:///tmp > "$data/out" 2> "$data/log" &
    server=$!
    for _ in $(seq 100); do
        url="$(sed -n 's/^  Iceberg REST catalog *//p' "$data/out")"
        [ -z "$url" ] || break
        sleep 0.1
    done
    [ -n "$url" ] || { echo "the server did not start:"; cat "$data/log"; exit 1; }
    java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djava.io.tmpdir="$data" \
        -Drck.local=false -Drck.requires-namespace-create=true -Duri="$url/" -Dwarehouse= "${@//SECRET/$secret}" \
        -Djunit.jupiter.execution.timeout.testable.method.default=60s \
        -cp "$work/classes:$classpath" org.junit.platform.console.ConsoleLauncher execute \
        --select-class org.apache.iceberg.rest.FloebergCatalogTests --select-class org.apache.iceberg.rest.FloebergViewTests \
        "${without[@]}" \
        --reports-dir "$data/reports" --details=none > "$data/console" 2>&1 || true
    stop
    echo "$name:"
    python3 "$here/verdict.py" "$data/reports" "$passed" 4 || { tail -80 "$data/console" | cut -c1-300; exit 1; }
}

kit plain none 153
if [ "$form" = long ]; then
    kit pages none 153 -Drest-page-size=1
    kit lazy none 153 -Dsnapshot-loading-mode=REFS
    kit bearer token 153 -Dtoken=SECRET
    kit oauth token 153 -Dcredential=SECRET -Drest.auth.type=oauth2
    kit planned none 152 -Dscan-planning-mode=server
fi
