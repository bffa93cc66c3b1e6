"""A Trino server on loopback with catalogs of one's own (`Trino`), and a client of one of them (`Catalog`).

Not `trino.py`: that is the name of Trino's client, which it imports.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import requests
import trino.dbapi

from conftest import CACHE, Process, free_ports

INSTALLED = CACHE / "trino-483"
# It stops at once on an older Java, and on one without the vector module.
JVM = [
    "-Xmx1G", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=256M", "-XX:+ExitOnOutOfMemoryError",
    "-Djdk.attach.allowAttachSelf=true", "-Djdk.nio.maxCachedBufferSize=2000000", "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow", "--add-modules=jdk.incubator.vector",
]
CONFIG = {
    "coordinator": "true",
    "node-scheduler.include-coordinator": "true",
    "query.max-memory": "512MB",
    "query.max-memory-per-node": "512MB",
    "memory.heap-headroom-per-node": "256MB",
    "task.max-worker-threads": "4",
    # Tests may add some.
    "catalog.management": "dynamic",
}


def write(path, properties):
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))


class Trino:
    """A server with these catalogs (name -> properties, or the text of their file). Of one with a wrong property the log says why it is not there."""

    def __init__(self, folder, catalogs):
        folder = Path(folder)
        etc = folder / "etc"
        (etc / "catalog").mkdir(parents=True)
        (folder / "plugin").symlink_to(INSTALLED / "plugin")
        for name, properties in catalogs.items():
            file = etc / "catalog" / f"{name}.properties"
            file.write_text(properties) if isinstance(properties, str) else write(file, properties)
        write(etc / "log.properties", {"io.trino": "WARN"})
        self.port = free_ports(1)[0]
        url = f"http://127.0.0.1:{self.port}"
        write(etc / "config.properties", {**CONFIG, "http-server.http.port": self.port, "discovery.uri": url})
        java = next(Path("/usr/lib/jvm").glob("*25*/bin/java"))
        options = {
            "node.environment": "test", "node.id": "one", "node.data-dir": folder / "data", "node.bind-ip": "127.0.0.1",
            "node.internal-address": "127.0.0.1", "config": "etc/config.properties", "log.levels-file": "etc/log.properties",
            "trino.version": "483",
        }
        command = [java, "-cp", f"{INSTALLED}/classes:{INSTALLED}/lib/*", *JVM, *(f"-D{key}={value}" for key, value in options.items())]
        self.process = Process([*command, "TrinoMain"], folder / "log", cwd=folder)
        self.process.wait_for("Trino", lambda: self.started(url), seconds=120)

    def started(self, url):
        try:
            return requests.get(f"{url}/v1/info", timeout=5).json().get("starting") is False
        except requests.RequestException:
            return False

    def add(self, name, properties):
        """One catalog more."""
        said = ", ".join(f"\"{key}\" = '{value}'" for key, value in properties.items() if key != "connector.name")
        self.sql(f"CREATE CATALOG {name} USING {properties['connector.name']} WITH ({said})")

    def sql(self, statement, values=None, catalog=None):
        with trino.dbapi.connect(host="127.0.0.1", port=self.port, user="e2e", catalog=catalog, timezone="UTC") as connection:
            return [tuple(row) for row in connection.cursor().execute(statement, values).fetchall()]

    def stop(self):
        self.process.stop()


class Catalog:
    """A catalog of a server. Names in its statements are looked up in it."""

    def __init__(self, server, name):
        self.server, self.name = server, name

    def sql(self, statement, values=None):
        return self.server.sql(statement, values, self.name)

    def column(self, statement):
        return [row[0] for row in self.sql(statement)]

    def value(self, statement):
        ((value,),) = self.sql(statement)
        return value


def iceberg(lake, **more):
    """The properties of a catalog that is this floeberg, with keys that it is lent. Trino has names of its
    own for what other clients share."""
    settings = lake.client_settings()
    rest = "iceberg.rest-catalog"
    properties = {
        "connector.name": "iceberg",
        "iceberg.catalog.type": "rest",
        f"{rest}.uri": settings["uri"],
        # What would be kept for days may go at once.
        "iceberg.expire-snapshots.min-retention": "0s",
        "iceberg.remove-orphan-files.min-retention": "0s",
    }
    if "warehouse" in settings:
        properties[f"{rest}.warehouse"] = settings["warehouse"]
    if "credential" in settings:
        properties |= {
            f"{rest}.security": "OAUTH2",
            f"{rest}.oauth2.credential": settings["credential"],
            f"{rest}.oauth2.server-uri": settings["oauth2-server-uri"],
            f"{rest}.oauth2.scope": "catalog",
        }
    if "token" in settings:
        properties |= {f"{rest}.security": "OAUTH2", f"{rest}.oauth2.token": settings["token"]}
    if lake.store:
        # Trino takes neither endpoint nor region from a catalog, and keys where it is lent some: then it registers no table.
        properties |= {
            "fs.s3.enabled": "true", "s3.endpoint": lake.store.endpoint, "s3.path-style-access": "true", "s3.region": "us-east-1",
            f"{rest}.vended-credentials-enabled": "true",
        }
    else:
        properties |= {"fs.local.enabled": "true", "local.location": "/", "iceberg.register-table-procedure.enabled": "true"}
    return properties | more


def objects(lake, location):
    """The files under a table's location, as the store lists them: path -> (size, when it was written)."""
    if lake.store:
        bucket, prefix = location.removeprefix("s3://").split("/", 1)
        pages = lake.store.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        found = (entry for page in pages for entry in page.get("Contents", ()))
        return {f"s3://{bucket}/{entry['Key']}": (entry["Size"], entry["LastModified"]) for entry in found}
    root = Path(urlsplit(location).path)
    found = {}
    # What is deleted meanwhile is passed over, files and folders alike.
    for folder, _, names in os.walk(root):
        for path in (Path(folder, name) for name in names):
            with suppress(FileNotFoundError):
                found[str(path)] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found


def wait_until_gone(lake, location, seconds=30):
    """What a purge deletes, it deletes after the answer."""
    deadline = time.monotonic() + seconds
    while left := objects(lake, location):
        assert time.monotonic() < deadline, f"still there: {sorted(left)}"
        time.sleep(0.05)
