#!/usr/bin/env bash
# Puts a Flink that runs in one process together in CACHE/flink-2.0.0: scripts/flink.sh CACHE
set -euo pipefail
here="$(cd "$(dirname "$0")/../tests/e2e/flink" && pwd)"
mkdir -p "$1"
# Maven takes a relative path for one beside its POM.
whole="$(cd "$1" && pwd)/flink-2.0.0"
if [ ! -d "$whole" ]; then
    # Moved when it is whole: what was cut off is not taken for Flink.
    rm -rf "$whole.new"
    mvn -q -B -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$whole.new/lib"
    mv "$whole.new" "$whole"
fi
cmp -s "$here/FlinkMain.java" "$whole/FlinkMain.java" && exit 0
# Java 17 is what this Flink and this Iceberg run on.
"$(compgen -G '/usr/lib/jvm/*17*/bin/javac' | head -1)" -cp "$whole/lib/*" -d "$whole/classes" "$here/FlinkMain.java"
cp "$here/FlinkMain.java" "$whole/FlinkMain.java"
