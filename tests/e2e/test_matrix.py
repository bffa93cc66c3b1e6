"""Who writes and who reads: rows of floeberg's ingest, PyIceberg, DuckDB, Trino and Spark, read by each client.

Multisets are compared: every value of every row, and how often it is there. What comes out is the table of the README.
"""

import base64
import json
from collections import Counter
from datetime import date, datetime, time, timezone
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pytest
import requests
from pyiceberg.transforms import BucketTransform, DayTransform

from conftest import LAKES, LONG

pytestmark = pytest.mark.parametrize("lake", [lake for lake in LAKES if LONG or lake == "seaweedfs"], indirect=True)

# Column -> its type for Trino, for DuckDB and for Spark.
TYPES = {
    "id": ("bigint", "bigint", "bigint"),
    "b": ("boolean", "boolean", "boolean"),
    "i": ("integer", "integer", "int"),
    "r": ("real", "real", "float"),
    "d": ("double", "double", "double"),
    "c": ("decimal(12,2)", "decimal(12,2)", "decimal(12,2)"),
    "day": ("date", "date", "date"),
    "ts": ("timestamp(6)", "timestamp", "timestamp_ntz"),
    "tz": ("timestamp(6) with time zone", "timestamptz", "timestamp"),
    "s": ("varchar", "varchar", "string"),
    "x": ("varbinary", "blob", "binary"),
    "a": ("array(bigint)", "bigint[]", "array<bigint>"),
    "m": ("map(varchar, bigint)", "map(varchar, bigint)", "map<string, bigint>"),
    "st": ("row(n integer, w varchar)", "struct(n integer, w varchar)", "struct<n: int, w: string>"),
}
FULL = {
    "b": True, "i": -(2**31), "r": 1.5, "d": 0.1, "c": Decimal("-9999999999.99"), "day": date(1969, 12, 31),
    "ts": datetime(1969, 12, 31, 23, 59, 59, 999999), "tz": datetime(2024, 1, 1, 0, 0, 0, 123456, timezone.utc), "s": "ü, 'quoted' \U0001f9ca",
    "x": b"\x00\xff", "a": [1, None, 2**63 - 1], "m": {"k": 7, "l": None}, "st": {"n": 1, "w": None},
}
EMPTY = {**FULL, "s": "", "x": b"", "a": [], "m": {}, "d": -0.0, "c": Decimal("0.00")}
NOTHING = dict.fromkeys(FULL)
NO_NUMBER = {**NOTHING, "r": float("-inf"), "d": float("nan")}
# What Spark 3.5 has no types for.
MORE_TYPES = {"id": TYPES["id"], "t": ("time(6)", "time"), "u": ("uuid", "uuid")}
MORE = {"t": time(23, 59, 59, 999999), "u": UUID(int=2**127 + 5)}
NEWEST_TYPES = {"id": TYPES["id"], "s": TYPES["s"]}

WRITERS = {"ingest": "ingest", "pyiceberg": "PyIceberg", "duckdb": "DuckDB", "trino": "Trino", "spark": "Spark"}
READERS = [writer for writer in WRITERS if writer != "ingest"]


class Clients:
    """One table, as each client writes and reads it; its columns and their types."""

    def __init__(self, lake, trino, ice, table, types):
        self.lake, self.trino, self.ice, self.table, self.types = lake, trino, ice, table, types

    def columns(self, dialect):
        return ", ".join(f"{name} {types[dialect]}" for name, types in self.types.items())

    def make(self, maker, version=2, partitioned=False):
        getattr(self, f"make_by_{maker}")(version, partitioned)
        table = self.lake.pyiceberg().load_table(self.table)
        assert table.format_version == version and len(table.spec().fields) == (2 if partitioned else 0)

    def make_by_trino(self, version, partitioned):
        more = ", partitioning = ARRAY['day(tz)', 'bucket(i, 4)']" if partitioned else ""
        self.trino.sql(f"CREATE TABLE {self.table} ({self.columns(0)}) WITH (format_version = {version}{more})")

    def make_by_duckdb(self, version, partitioned):
        db = self.lake.duckdb()
        db.execute(f"CREATE TABLE ice.{self.table} ({self.columns(1)}) WITH ('format-version' = {version})")
        if partitioned:
            db.execute(f"ALTER TABLE ice.{self.table} SET PARTITIONED BY (day(tz), bucket(4, i))")

    def make_by_spark(self, version, partitioned):
        layout = "PARTITIONED BY (days(tz), bucket(4, i))" if partitioned else ""
        properties = f"'format-version' = '{version}', 'write.delete.mode' = 'merge-on-read'"
        self.ice.sql(f"CREATE TABLE {self.table} ({self.columns(2)}) USING iceberg {layout} TBLPROPERTIES ({properties})")

    def make_by_pyiceberg(self, version, partitioned):
        arrow = {
            "bigint": pa.int64(), "boolean": pa.bool_(), "integer": pa.int32(), "real": pa.float32(), "double": pa.float64(),
            "decimal(12,2)": pa.decimal128(12, 2), "date": pa.date32(), "timestamp": pa.timestamp("us"), "time": pa.time64("us"),
            "timestamptz": pa.timestamp("us", "UTC"), "varchar": pa.string(), "blob": pa.binary(), "uuid": pa.uuid(),
            "bigint[]": pa.list_(pa.int64()), "map(varchar, bigint)": pa.map_(pa.string(), pa.int64()),
            "struct(n integer, w varchar)": pa.struct({"n": pa.int32(), "w": pa.string()}),
        }
        schema = pa.schema({name: arrow[types[1]] for name, types in self.types.items()})
        table = self.lake.pyiceberg().create_table(self.table, schema, properties={"format-version": str(version)})
        if partitioned:
            with table.update_spec() as spec:
                spec.add_field("tz", DayTransform(), "tz_day")
                spec.add_field("i", BucketTransform(4), "i_bucket")

    # What ingest makes by itself has no more types than JSON.
    make_by_ingest = make_by_pyiceberg

    def statement(self, target, rows, dialect):
        made = ", ".join(f"CAST(? AS {types[dialect]})" for types in self.types.values())
        return f"INSERT INTO {target} VALUES {', '.join([f'({made})'] * len(rows))}"

    def write_by_trino(self, rows):
        shaped = lambda name, value: tuple(value.values()) if name == "st" and value else value
        self.trino.sql(self.statement(self.table, rows, 0), [shaped(name, row[name]) for row in rows for name in self.types])

    def write_by_duckdb(self, rows):
        shaped = lambda name, value: {"key": list(value), "value": list(value.values())} if name == "m" and value is not None else value
        values = [shaped(name, row[name]) for row in rows for name in self.types]
        self.lake.duckdb().execute(self.statement(f"ice.{self.table}", rows, 1), values)

    def write_by_pyiceberg(self, rows):
        table = self.lake.pyiceberg().load_table(self.table)
        shaped = lambda name, value: list(value.items()) if name == "m" and value is not None else value.bytes if name == "u" else value
        rows = [{name: shaped(name, row[name]) for name in self.types} for row in rows]
        table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))

    def write_by_spark(self, rows):
        values = [tuple(row[name] for name in self.types) for row in rows]
        frame = self.ice.spark.createDataFrame(values, self.columns(2))
        frame.writeTo(f"{self.engine('spark').name}.{self.table}").append()

    def write_by_ingest(self, rows, **parameters):
        # JSON's dates and times are ISO's.
        iso = lambda value: value.isoformat() if isinstance(value, (date, time)) else value
        plain = lambda value: base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
        lines = "".join(json.dumps({name: iso(value) for name, value in row.items()}, default=plain) + "\n" for row in rows)
        url = f"{self.lake.url}/ingest/v1/{self.table.replace('.', '/')}"
        answer = requests.post(url, params=parameters, data=lines, headers={"content-type": "application/x-ndjson"}, timeout=60)
        assert answer.status_code == 200 and answer.json()["rows"]["written"] == len(rows), answer.text

    def write(self, writer, rows):
        getattr(self, f"write_by_{writer}")(rows)

    def engine(self, name):
        if name == "trino":
            return self.trino
        # Spark keeps a table for a while as it was.
        self.ice.sql(f"REFRESH TABLE {self.table}")
        return self.ice

    def delete(self, writer, ids):
        where = f"id IN ({', '.join(map(str, ids))})"
        if writer == "pyiceberg":
            self.lake.pyiceberg().load_table(self.table).delete(where)
        elif writer == "duckdb":
            self.lake.duckdb().execute(f"DELETE FROM ice.{self.table} WHERE {where}")
        else:
            self.engine(writer).sql(f"DELETE FROM {self.table} WHERE {where}")

    def read(self, reader):
        select = f"SELECT {', '.join(self.types)} FROM"
        if reader == "pyiceberg":
            read = self.lake.pyiceberg().load_table(self.table).scan().to_arrow().to_pylist()
            return [tuple(row[name] for name in self.types) for row in read]
        if reader == "duckdb":
            return self.lake.duckdb().execute(f"{select} ice.{self.table}").fetchall()
        return self.engine(reader).sql(f"{select} {self.table}")

    def multiset(self, rows):
        """Rows as any client gives them, counted. A map may come as pairs, a struct as a tuple; NaN is NaN, and -0.0 is not 0.0."""

        def plain(name, value):
            if value is None:
                return None
            if name == "m":
                return tuple(sorted(dict(value).items()))
            if name == "st":
                return tuple(value.values() if isinstance(value, dict) else value)
            if name == "tz":
                return value.astimezone(timezone.utc)
            if name == "x":
                return bytes(value)
            return repr(value) if isinstance(value, (float, list)) else value

        return Counter(tuple(map(plain, self.types, row)) for row in rows)

    def wanted(self, rows):
        return self.multiset([tuple(row[name] for name in self.types) for row in rows])

    def outcome(self, reader, rows):
        """Whether a reader sees just these rows: ✓, or ✗ if it refuses. What is worse has no sign."""
        try:
            read = self.read(reader)
        except Exception as error:
            print(f"{self.table} {reader}: {type(error).__name__}: {str(error)[:1000]}")
            return "✗"
        assert self.multiset(read) == self.wanted(rows), reader
        return "✓"

    def outcomes(self, rows):
        return [self.outcome(reader, rows) for reader in READERS]


@pytest.fixture
def clients(lake, trino, ice, namespace):
    return lambda name, types: Clients(lake, trino, ice, f"{namespace}.{name}", types)


def rows_of(writer):
    """What each writes: a row more than once, and its own id in each. JSON has no word for what is no number."""
    start = 10 * list(WRITERS).index(writer)
    kinds = [FULL, EMPTY, NOTHING, NOTHING] + ([NO_NUMBER] if writer != "ingest" else [])
    return [{"id": start + min(at, 2), **kind} for at, kind in enumerate(kinds)]


def row_of_the_readme(writer):
    """What the README's table says of a writer, reader by reader, without the marks of its notes."""
    lines = (Path(__file__).parents[2] / "README.md").read_text().splitlines()
    head = next(line for line in lines if line.startswith("| written by |"))
    assert [cell.strip() for cell in head.split("|")[2:-1]] == [WRITERS[reader] for reader in READERS]
    row = next(line for line in lines[lines.index(head) :] if line.startswith(f"| {WRITERS[writer]} |"))
    return ["".join(sign for sign in cell if sign in "✓✗–") for cell in row.split("|")[2:-1]]


@pytest.mark.parametrize("writer", WRITERS)
def test_what_each_writes_the_others_read_as_the_readme_says(clients, writer):
    table, newest = clients("t", TYPES), clients("newest", NEWEST_TYPES)
    table.make(writer, partitioned=True)
    rows = rows_of(writer)
    table.write(writer, rows)
    written = table.outcomes(rows)
    # Into the same table everyone writes, and of each a row is deleted.
    for other in WRITERS.keys() - {writer}:
        table.write(other, rows_of(other))
        rows += rows_of(other)
    assert table.outcomes(rows) == written
    deleted = ["–"] * len(READERS)
    if writer != "ingest":
        ids = [10 * at + 1 for at in range(len(WRITERS))]
        table.delete(writer, ids)
        deleted = table.outcomes([row for row in rows if row["id"] not in ids])
    # The third format, where rows are deleted by vectors.
    newest.make(writer, version=3)
    rows = [{"id": id, "s": f"s{id}"} for id in range(4)]
    third = ["–"] * len(READERS)
    if writer == "pyiceberg":
        with pytest.raises(ValueError, match="Cannot write manifest for table version: 3"):
            newest.write(writer, rows)
    else:
        newest.write(writer, rows)
        if writer != "ingest":
            newest.delete(writer, [2])
            del rows[2]
        third = newest.outcomes(rows)
    measured = ["".join(signs) for signs in zip(written, deleted, third)]
    assert measured == row_of_the_readme(writer)


def test_times_and_uuids_are_for_all_but_spark(clients):
    table, rows = clients("t", MORE_TYPES), []
    table.make("pyiceberg")
    for id, writer in enumerate(WRITERS):
        if writer != "spark":
            table.write(writer, [{"id": id, **MORE}])
            rows.append({"id": id, **MORE})
    assert dict(zip(READERS, table.outcomes(rows))) == dict.fromkeys(READERS, "✓") | {"spark": "✗"}
    # Alone, a UUID is text to it.
    table = clients("uuids", {"id": TYPES["id"], "u": MORE_TYPES["u"]})
    table.make("pyiceberg")
    table.write("pyiceberg", rows[:1])
    assert table.read("spark") == [(rows[0]["id"], str(MORE["u"]))]


def test_everyone_reads_and_writes_a_table_that_ingest_made(clients):
    table = clients("pushed", {"id": TYPES["id"], "tz": TYPES["tz"], "d": TYPES["d"], "note": TYPES["s"]})
    on = lambda day, hour, minute=0: datetime(2024, 1, day, hour, minute, tzinfo=timezone.utc)
    pushed = [{"id": 1, "tz": on(1, 10), "d": 9.5}, {"id": 2, "tz": on(2, 11, 30)}]
    table.write_by_ingest(pushed, partition_by="day(tz)")
    table.trino.sql(f"ALTER TABLE {table.table} ADD COLUMN note varchar")
    rows = [{"d": None, "note": None, **row} for row in pushed]
    for id, writer in enumerate(WRITERS, start=3):
        more = [{"id": id, "tz": on(2, 12), "d": -0.5, "note": writer}] * 2
        table.write(writer, more)
        rows += more
    assert table.outcomes(rows) == ["✓"] * len(READERS)
    late = f"SELECT id FROM {table.table} WHERE tz >= TIMESTAMP '2024-01-02 12:00:00 UTC' AND note > 'q' ORDER BY id"
    assert all(table.engine(name).column(late) == [6, 6, 7, 7] for name in ("trino", "spark"))
    days = [(date(2024, 1, 1), 1), (date(2024, 1, 2), 11)]
    namespace = table.table.split(".")[0]
    assert sorted(table.trino.sql(f'SELECT partition.tz_day, sum(record_count) FROM {namespace}."pushed$files" GROUP BY 1')) == days
    # A row that another deleted stays deleted when more are pushed.
    for id, writer in ((6, "trino"), (7, "spark"), (5, "duckdb")):
        table.delete(writer, [id])
    table.write_by_ingest([{"id": 9, "tz": on(2, 0), "d": 0.0}])
    rows = [row for row in rows if row["id"] not in (5, 6, 7)] + [{"id": 9, "tz": on(2, 0), "d": 0.0, "note": None}]
    assert table.outcomes(rows) == ["✓"] * len(READERS)
