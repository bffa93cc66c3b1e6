"""Engines that the long form meets as clients: Flink, ClickHouse, Polars and Daft. They know the catalog's address and a token, and no keys.

Each has `write(table, rows, names)` and `read(table, names)`, and `create(table, names)` if it makes tables; the columns are the matrix's.
`said(row)` is what becomes of a row in the engine's own types, `unwritable` the columns that it cannot write as what they are, and
`uncreatable` those that it cannot make as such.
"""

import atexit
import base64
import json
import subprocess
import sys
import threading
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import daft
import polars
import pyarrow as pa
from daft.catalog import Catalog

from matrix import MORE_TYPES, arrow, arrow_schema
from stores import CACHE

FLINK = CACHE / "flink-2.0.0"


class Refusal(Exception):
    """What an engine says that cannot do something."""


class Lines:
    """A process that answers each line with a line, both in JSON; an answer that is text is a refusal."""

    def __init__(self, command, log):
        self.log = Path(log)
        with self.log.open("wb") as out:
            self.child = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, cwd=self.log.parent)
        atexit.register(self.child.kill)

    def ask(self, statement, seconds=180):
        late = threading.Timer(seconds, self.child.kill)
        late.start()
        self.child.stdin.write(json.dumps(statement).encode() + b"\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        late.cancel()
        assert line, f"no answer to {statement}:\n{self.log.read_text(errors='replace')[-4000:]}"
        answer = json.loads(line)
        if isinstance(answer, str):
            raise Refusal(f"{answer}\n{statement}")
        return answer

    def stop(self):
        self.child.stdin.close()
        self.child.wait(40)


class Flink:
    """Flink's SQL in one JVM."""

    unwritable, uncreatable = {"t"}, set()
    types = {
        "id": "BIGINT", "b": "BOOLEAN", "i": "INT", "r": "FLOAT", "d": "DOUBLE", "c": "DECIMAL(12, 2)", "day": "DATE", "ts": "TIMESTAMP(6)",
        "tz": "TIMESTAMP_LTZ(6)", "s": "STRING", "x": "BYTES", "a": "ARRAY<BIGINT>", "m": "MAP<STRING, BIGINT>", "st": "ROW<n INT, w STRING>",
    }
    # What is not in JSON as it is.
    values = {
        "r": float, "d": float, "c": Decimal, "day": date.fromisoformat, "t": time.fromisoformat, "ts": datetime.fromisoformat,
        "tz": datetime.fromisoformat, "x": base64.b64decode, "m": dict,
    }

    def __init__(self, lake, folder):
        java = next(Path("/usr/lib/jvm").glob("*17*/bin/java"))
        opens = (f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("lang", "util"))
        self.lake = lake
        self.lines = Lines(
            [java, "-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *opens, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
             "-cp", f"{FLINK}/classes:{FLINK}/lib/*", "FlinkMain"], folder / "flink.log",
        )
        settings = {
            "type": "iceberg", "catalog-type": "rest", "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
            "header.X-Iceberg-Access-Delegation": "vended-credentials", **lake.client_settings(),
        }
        said = ", ".join(f"'{key}' = '{value}'" for key, value in settings.items())
        self.lines.ask(f"CREATE CATALOG ice WITH ({said})")
        self.lines.ask("USE CATALOG ice")

    def create(self, table, names):
        columns = ", ".join(f"`{name}` {self.types[name]}" for name in names)
        self.lines.ask(f"CREATE TABLE {table} ({columns}) PARTITIONED BY (`day`)")

    def write(self, table, rows, names):
        # From a table: its literals know no empty array.
        some = ", ".join(f"`{name}`" for name in names)
        self.lines.ask(f"INSERT INTO {table} SELECT {some} FROM {source_of(self.lake, table, rows, names)}")

    def read(self, table, names):
        some = ", ".join(f"`{name}`" for name in names)
        rows = self.lines.ask(f"SELECT {some} FROM {table}")
        whole = lambda name, value: value if value is None else self.values.get(name, lambda same: same)(value)
        return [tuple(map(whole, names, row)) for row in rows]

    def said(self, row):
        # A time has milliseconds.
        at = row.get("t")
        return {**row, "t": at and at.replace(microsecond=at.microsecond // 1000 * 1000)}

    def stop(self):
        self.lines.stop()


class ClickHouse:
    """ClickHouse's catalog database. It lists its locations when it makes a table, with keys of its own; else it takes what is lent."""

    # A time it writes as a long, bytes as text, whatever they are; and it makes neither booleans nor timestamps with a zone.
    unwritable, uncreatable = {"t", "x"}, {"b", "tz"}
    types = {
        "id": "Nullable(Int64)", "i": "Nullable(Int32)", "r": "Nullable(Float32)", "d": "Nullable(Float64)", "c": "Nullable(Decimal(12, 2))",
        "day": "Nullable(Date32)", "ts": "Nullable(DateTime64(6))", "s": "Nullable(String)", "a": "Array(Nullable(Int64))",
        "m": "Map(String, Nullable(Int64))", "st": "Tuple(n Nullable(Int32), w Nullable(String))",
    }

    def __init__(self, lake, folder):
        self.lake = lake
        self.lines = Lines([sys.executable, Path(__file__).with_name("clickhouse_lines.py")], folder / "clickhouse.log")
        # The third has it write whole locations, as the specification wants them.
        for setting in ("allow_database_iceberg", "allow_insert_into_iceberg", "write_full_path_in_iceberg_metadata"):
            self.lines.ask(f"SET {setting} = 1")
        self.lines.ask("SET session_timezone = 'UTC', output_format_arrow_string_as_string = 0")
        settings = lake.client_settings()
        self.lines.ask(
            f"CREATE DATABASE ice ENGINE = DataLakeCatalog('{settings['uri']}/v1') SETTINGS catalog_type = 'rest', warehouse = 'lake', "
            f"vended_credentials = 1, auth_header = 'Authorization: Bearer {settings['token']}'"
        )

    def create(self, table, names):
        store, prefix = self.lake.store, f"engines/{table.replace('.', '/')}"
        own = store.own_settings(prefix, write=True)
        place = [f"{store.endpoint}/{store.bucket}/{prefix}/", *(own[f"s3.{key}"] for key in ("access-key-id", "secret-access-key", "session-token"))]
        columns = ", ".join(f"{name} {self.types[name]}" for name in names)
        # Not by a date: its manifests say that it is a number, and DuckDB, which trusts the table, dies of that.
        self.lines.ask(f"CREATE TABLE ice.`{table}` ({columns}) ENGINE = IcebergS3({', '.join(map(repr, place))}) PARTITION BY i")

    def write(self, table, rows, names):
        some = ", ".join(names)
        self.lines.ask(f"INSERT INTO ice.`{table}` ({some}) SELECT {some} FROM ice.`{source_of(self.lake, table, rows, names)}`")

    def read(self, table, names):
        (answer,) = self.lines.ask(f"SELECT {', '.join(names)} FROM ice.`{table}`")
        found = pa.ipc.open_file(base64.b64decode(answer)).read_all().to_pylist() if answer else []
        return [tuple(self.whole(name, row[name]) for name in names) for row in found]

    def whole(self, name, value):
        text = lambda one: one.decode() if isinstance(one, bytes) else one
        if name == "s":
            return text(value)
        if name == "m":
            return {text(key): held for key, held in value}
        if name == "ts":
            return value and value.replace(tzinfo=None)
        return {key: text(held) for key, held in value.items()} if name == "st" else value

    def said(self, row):
        # Collections are never null, and a time is a count of whole seconds.
        at = row.get("t")
        since_midnight = at and (at.hour * 60 + at.minute) * 60 + at.second
        return {**row, "t": since_midnight, "a": row["a"] or [], "m": row["m"] or {}, "st": row["st"] or {"n": None, "w": None}}

    def stop(self):
        self.lines.stop()


class OverPyIceberg:
    """What Polars and Daft have in common: PyIceberg is how they speak to a catalog, and what it was lent is theirs."""

    unwritable, uncreatable = set(), set()

    def __init__(self, lake, folder):
        self.catalog = lake.pyiceberg()

    def said(self, row):
        return row

    def stop(self):
        pass


class Polars(OverPyIceberg):
    # Its times have nanoseconds, which Iceberg's have not.
    unwritable = {"t"}

    def write(self, table, rows, names):
        polars.from_arrow(arrow(rows, schema_of(names))).write_iceberg(self.catalog.load_table(table), mode="append")

    def read(self, table, names):
        table = self.catalog.load_table(table)
        return polars.scan_iceberg(table, storage_options=table.io.properties).select(names).collect().rows()


class Daft(OverPyIceberg):
    def create(self, table, names):
        Catalog.from_iceberg(self.catalog).create_table(table, daft.from_arrow(arrow([], schema_of(names))).schema())

    def write(self, table, rows, names):
        daft.from_arrow(arrow(rows, schema_of(names))).write_iceberg(self.catalog.load_table(table), mode="append")

    def read(self, table, names):
        found = daft.read_iceberg(self.catalog.load_table(table)).select(*names).to_pylist()
        return [tuple(row[name] for name in names) for row in found]


def schema_of(names):
    return arrow_schema({name: MORE_TYPES[name] for name in names})


def source_of(lake, table, rows, names):
    """A table of these rows, of which an engine writes what it reads."""
    source = f"{table}_source"
    lake.pyiceberg().create_table(source, schema=schema_of(names)).append(arrow(rows, schema_of(names)))
    return source


ENGINES = {"flink": Flink, "clickhouse": ClickHouse, "polars": Polars, "daft": Daft}
