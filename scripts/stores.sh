#!/usr/bin/env bash
# Makes the stores that the real-store tests run against: scripts/stores.sh CACHE
# MinIO and an emulator of Google's store are built from source into CACHE/bin, one of Azure's comes from npm into CACHE/azurite.
# What is there already stays. (SeaweedFS is a Python package of the tests.)
set -euo pipefail
scripts="$(cd "$(dirname "$0")" && pwd)"
mkdir -p "$1/bin"
cache="$(cd "$1" && pwd)"

# Two GB of sources and objects are left over from a build: they go, the binary stays.
built() {
    local name="$1" package="$2" scratch
    shift 2
    [ ! -x "$cache/bin/$name" ] || return 0
    scratch="$(mktemp -d)"
    echo "building $name (once)"
    GOPATH="$scratch/path" GOCACHE="$scratch/cache" GOTMPDIR="$scratch" GOFLAGS="-buildvcs=false -modcacherw" CGO_ENABLED=0 \
        go install -p 2 -trimpath -ldflags "-s -w" "$@" "$package" > "$scratch/log" 2>&1 ||
        { tail -n 20 "$scratch/log" >&2; rm -rf "$scratch"; return 1; }
    # Copied beside, then moved: one that was cut off is not taken for whole.
    cp "$scratch/path/bin/$name" "$cache/bin/$name.new"
    mv "$cache/bin/$name.new" "$cache/bin/$name"
    rm -rf "$scratch"
}
built minio github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c -tags kqueue
built fake-gcs-server github.com/fsouza/fake-gcs-server@v1.56.1

"$scripts/node_modules.sh" "$scripts/../tests/e2e/azurite" "$cache/azurite"
