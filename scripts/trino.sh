#!/usr/bin/env bash
# Puts a Trino server together in CACHE/trino-483: scripts/trino.sh CACHE
# Of this version there is no archive to unpack, only its jars: the server, the Iceberg connector, and tpch, a source of rows.
set -euo pipefail
here="$(cd "$(dirname "$0")/../tests/e2e/trino" && pwd)"
mkdir -p "$1"
# Maven takes a relative path for one beside its POM.
whole="$(cd "$1" && pwd)/trino-483"
[ ! -d "$whole" ] || exit 0
# This Trino runs on Java 25 and on no older one.
java="$(compgen -G '/usr/lib/jvm/*25*/bin/java' | head -1)" || { echo "Trino needs a JDK 25 in /usr/lib/jvm" >&2; exit 1; }
bin="$(dirname "$java")"

# Moved when it is whole: what was cut off is not taken for a server.
new="$whole.new"
rm -rf "$new"
mkdir -p "$new"
jars() {
    local part="$1" folder="$2"
    shift 2
    mvn -q -B -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -Dpart="$part" -DincludeScope=runtime -DoutputDirectory="$folder" "$@"
}
jars main "$new/lib"
# Some the server lends to its plugins; the two big ones serve catalogs that are not asked for here.
lent=trino-spi,slice,jackson-annotations,opentelemetry-api,opentelemetry-context,opentelemetry-api-incubator,jol-core
for plugin in iceberg:Iceberg tpch:Tpch; do
    name="${plugin%:*}"
    jars "$name" "$new/plugin/$name" -DexcludeArtifactIds="$lent,modernizer-maven-annotations,snowflake-jdbc,rocksdbjni"
    # The published jar does not say which class the plugin is.
    services="$new/services/META-INF/services"
    mkdir -p "$services"
    echo "io.trino.plugin.$name.${plugin#*:}Plugin" > "$services/io.trino.spi.Plugin"
    "$bin/jar" --create --file "$new/plugin/$name/services.jar" -C "$new/services" .
done
rm -r "$new/services"
"$bin/javac" -cp "$new/lib/*" -d "$new/classes" "$here/TrinoMain.java"
mv "$new" "$whole"
