#!/usr/bin/env bash
# Installs what the real-client tests need: scripts/e2e_tools.sh CACHE short|long
# What is there already is left alone.
set -euo pipefail
here="$(cd "$(dirname "$0")/../tests/e2e" && pwd)"
cache="$1" form="$2"
{ command -v strace && command -v pgrep; } > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends strace procps; } > /dev/null
# It is no system's logger here: where another one is, apt would remove that, and says so instead.
dpkg -s syslog-ng-mod-http > /dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends --no-remove syslog-ng-core syslog-ng-mod-http; } > /dev/null
venv="$cache/venv"
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

"$here/../../scripts/stores.sh" "$cache"

# What Spark needs to be a client; Spark itself is among the Python packages.
jars="$cache/jars"
for artifact in iceberg-spark-runtime-3.5_2.12:1.11.0 iceberg-aws-bundle:1.11.0; do
    jar="${artifact/:/-}.jar"
    [ ! -s "$jars/$jar" ] || continue
    # Moved when it is whole: a download that was cut off is not taken for one.
    mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
        -Dartifact="org.apache.iceberg:$artifact" -Dmdep.useBaseVersion=true -DoutputDirectory="$jars.new"
    mkdir -p "$jars"
    mv "$jars.new/$jar" "$jars/$jar"
done

"$(dirname "$0")/trino.sh" "$cache"

# Engines that only the long form meets.
if [ "$form" = long ]; then
    "$(dirname "$0")/flink.sh" "$cache"
    "$(dirname "$0")/python_engines.sh" "$cache"
fi

javascript="$cache/javascript"
# iceberg-js asks for Node 22 and runs on 20, of which npm would warn.
"$here/../../scripts/node_modules.sh" "$here/javascript" "$javascript"
