"""The rows that clients write for each other, and how each of them writes and reads a table (`Clients`).

Multisets are compared: every value of every row, and how often it is there.
"""

import base64
import json
from collections import Counter
from datetime import date, datetime, time, timezone
from decimal import Decimal

import pyarrow as pa
import requests
from pyiceberg.transforms import BucketTransform, DayTransform

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
# And what Spark 3.5 has no type for.
MORE_TYPES = {**TYPES, "t": ("time(6)", "time")}
# By DuckDB's types.
ARROW = {
    "bigint": pa.int64(), "boolean": pa.bool_(), "integer": pa.int32(), "real": pa.float32(), "double": pa.float64(),
    "decimal(12,2)": pa.decimal128(12, 2), "date": pa.date32(), "timestamp": pa.timestamp("us"), "time": pa.time64("us"),
    "timestamptz": pa.timestamp("us", "UTC"), "varchar": pa.string(), "blob": pa.binary(), "uuid": pa.uuid(),
    "bigint[]": pa.list_(pa.int64()), "map(varchar, bigint)": pa.map_(pa.string(), pa.int64()),
    "struct(n integer, w varchar)": pa.struct({"n": pa.int32(), "w": pa.string()}),
}
FULL = {
    "b": True, "i": -(2**31), "r": 1.5, "d": 0.1, "c": Decimal("-9999999999.99"), "day": date(1969, 12, 31), "t": time(23, 59, 59, 999999),
    "ts": datetime(1969, 12, 31, 23, 59, 59, 999999), "tz": datetime(2024, 1, 1, 0, 0, 0, 123456, timezone.utc), "s": "ü, 'quoted' \U0001f9ca",
    "x": b"\x00\xff", "a": [1, None, 2**63 - 1], "m": {"k": 7, "l": None}, "st": {"n": 1, "w": None},
}
EMPTY = {**FULL, "s": "", "x": b"", "a": [], "m": {}, "d": -0.0, "c": Decimal("0.00")}
NOTHING = dict.fromkeys(FULL)
NO_NUMBER = {**NOTHING, "r": float("-inf"), "d": float("nan")}

WRITERS = {"ingest": "ingest", "pyiceberg": "PyIceberg", "duckdb": "DuckDB", "trino": "Trino", "spark": "Spark"}
READERS = [writer for writer in WRITERS if writer != "ingest"]


def rows_of(writer):
    """What each writes: a row more than once, and its own id in each. JSON has no word for what is no number."""
    start = 10 * list(WRITERS).index(writer)
    kinds = [FULL, EMPTY, NOTHING, NOTHING] + ([NO_NUMBER] if writer != "ingest" else [])
    return [{"id": start + min(at, 2), **kind} for at, kind in enumerate(kinds)]


def arrow_schema(types):
    return pa.schema({name: ARROW[duckdb] for name, (_, duckdb, *_) in types.items()})


def arrow(rows, schema):
    """Rows as Arrow takes them, of a schema's columns."""
    shaped = lambda name, value: list(value.items()) if name == "m" and value is not None else value.bytes if name == "u" else value
    return pa.Table.from_pylist([{name: shaped(name, row[name]) for name in schema.names} for row in rows], schema=schema)


def multiset(rows, names=TYPES):
    """Rows of these columns as any client gives them, counted. A map may come as pairs, a struct as a tuple; NaN is NaN, and -0.0 is not 0.0."""

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

    return Counter(tuple(map(plain, names, row)) for row in rows)


def wanted(rows, names=TYPES):
    return multiset([tuple(row[name] for name in names) for row in rows], names)


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
        table = self.lake.pyiceberg().create_table(self.table, arrow_schema(self.types), properties={"format-version": str(version)})
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
        table.append(arrow(rows, table.schema().as_arrow()))

    def write_by_spark(self, rows):
        values = [tuple(row[name] for name in self.types) for row in rows]
        frame = self.ice.spark.createDataFrame(values, self.columns(2))
        frame.writeTo(f"{self.engine('spark').name}.{self.table}").append()

    def write_by_ingest(self, rows, **parameters):
        # JSON's dates and times are ISO's.
        iso = lambda value: value.isoformat() if isinstance(value, (date, time)) else value
        plain = lambda value: base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
        lines = "".join(json.dumps({name: iso(row[name]) for name in self.types if name in row}, default=plain) + "\n" for row in rows)
        url = f"{self.lake.url}/ingest/v1/{self.table.replace('.', '/')}"
        headers = {"content-type": "application/x-ndjson", **self.lake.headers}
        answer = requests.post(url, params=parameters, data=lines, headers=headers, timeout=60)
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

    def outcome(self, reader, rows):
        """Whether a reader sees just these rows: ✓, or ✗ if it refuses. What is worse has no sign."""
        try:
            read = self.read(reader)
        except Exception as error:
            print(f"{self.table} {reader}: {type(error).__name__}: {str(error)[:1000]}")
            return "✗"
        assert multiset(read, self.types) == wanted(rows, self.types), reader
        return "✓"

    def outcomes(self, rows):
        return [self.outcome(reader, rows) for reader in READERS]
