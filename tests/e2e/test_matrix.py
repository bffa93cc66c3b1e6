"""Who writes and who reads: rows of Trino, DuckDB, PyIceberg and floeberg's ingest in one table, read by each client.

Multisets are compared: every value of every row, and how often it is there.
"""

import base64
import json
from collections import Counter
from datetime import date, datetime, time, timezone
from decimal import Decimal

import pyarrow as pa
import pytest
import requests

pytestmark = pytest.mark.parametrize("lake", ["local", "seaweedfs"], indirect=True)

# Column -> its type for Trino and for DuckDB.
TYPES = {
    "id": ("bigint", "bigint"),
    "b": ("boolean", "boolean"),
    "i": ("integer", "integer"),
    "r": ("real", "real"),
    "d": ("double", "double"),
    "c": ("decimal(12,2)", "decimal(12,2)"),
    "day": ("date", "date"),
    "t": ("time(6)", "time"),
    "ts": ("timestamp(6)", "timestamp"),
    "tz": ("timestamp(6) with time zone", "timestamptz"),
    "s": ("varchar", "varchar"),
    "x": ("varbinary", "blob"),
    "a": ("array(bigint)", "bigint[]"),
    "m": ("map(varchar, bigint)", "map(varchar, bigint)"),
    "st": ("row(n integer, w varchar)", "struct(n integer, w varchar)"),
}
ARROW = pa.schema([
    ("id", pa.int64()), ("b", pa.bool_()), ("i", pa.int32()), ("r", pa.float32()), ("d", pa.float64()), ("c", pa.decimal128(12, 2)),
    ("day", pa.date32()), ("t", pa.time64("us")), ("ts", pa.timestamp("us")), ("tz", pa.timestamp("us", "UTC")), ("s", pa.string()),
    ("x", pa.binary()), ("a", pa.list_(pa.int64())), ("m", pa.map_(pa.string(), pa.int64())), ("st", pa.struct({"n": pa.int32(), "w": pa.string()})),
])
FULL = {
    "b": True, "i": -(2**31), "r": 1.5, "d": 0.1, "c": Decimal("-9999999999.99"), "day": date(1969, 12, 31), "t": time(23, 59, 59, 999999),
    "ts": datetime(1969, 12, 31, 23, 59, 59, 999999), "tz": datetime(2024, 1, 1, 0, 0, 0, 123456, timezone.utc), "s": "ü, 'quoted' \U0001f9ca",
    "x": b"\x00\xff", "a": [1, None, 2**63 - 1], "m": {"k": 7, "l": None}, "st": {"n": 1, "w": None},
}
EMPTY = {**FULL, "s": "", "x": b"", "a": [], "m": {}, "d": -0.0, "c": Decimal("0.00")}
NOTHING = dict.fromkeys(FULL)
NO_NUMBER = {**NOTHING, "r": float("-inf"), "d": float("nan")}


def rows_of(writer):
    """What each writes: a row more than once, and its own id in each. JSON has no word for what is no number."""
    start = 10 * WRITERS.index(writer)
    kinds = [FULL, EMPTY, NOTHING, NOTHING] + ([NO_NUMBER] if writer != "ingest" else [])
    return [{"id": start + min(at, 2), **kind} for at, kind in enumerate(kinds)]


def statement(target, rows, dialect):
    made = ", ".join(f"CAST(? AS {types[dialect]})" for types in TYPES.values())
    return f"INSERT INTO {target} VALUES {', '.join([f'({made})'] * len(rows))}"


def write_by_trino(trino, lake, table, rows):
    shaped = lambda name, value: tuple(value.values()) if name == "st" and value else value
    trino.sql(statement(table, rows, 0), [shaped(name, row[name]) for row in rows for name in TYPES])


def write_by_duckdb(trino, lake, table, rows):
    shaped = lambda name, value: {"key": list(value), "value": list(value.values())} if name == "m" and value is not None else value
    lake.duckdb().execute(statement(f"ice.{table}", rows, 1), [shaped(name, row[name]) for row in rows for name in TYPES])


def write_by_pyiceberg(trino, lake, table, rows):
    table = lake.pyiceberg().load_table(table)
    rows = [{**row, "m": list(row["m"].items()) if row["m"] is not None else None} for row in rows]
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))


def push(lake, table, rows, **parameters):
    lines = "".join(json.dumps(row, default=lambda value: base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)) + "\n" for row in rows)
    headers = {"content-type": "application/x-ndjson", **lake.headers}
    answer = requests.post(f"{lake.url}/ingest/v1/{table.replace('.', '/')}", params=parameters, data=lines, headers=headers, timeout=60)
    assert answer.status_code == 200 and answer.json()["rows"]["written"] == len(rows), answer.text


def write_by_ingest(trino, lake, table, rows):
    # JSON's dates and times are ISO's.
    iso = lambda value: value.isoformat() if isinstance(value, (date, time)) else value
    push(lake, table, [{name: iso(value) for name, value in row.items()} for row in rows])


WRITERS = ["trino", "duckdb", "pyiceberg", "ingest"]


def read_by_everyone(trino, lake, table, names):
    some = ", ".join(names)
    read = lake.pyiceberg().load_table(table).scan().to_arrow().to_pylist()
    return {
        "trino": trino.sql(f"SELECT {some} FROM {table}"),
        "duckdb": lake.duckdb().execute(f"SELECT {some} FROM ice.{table}").fetchall(),
        "pyiceberg": [tuple(row[name] for name in names) for row in read],
    }


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
        return repr(value) if isinstance(value, (float, list)) else value

    return Counter(tuple(map(plain, names, row)) for row in rows)


@pytest.mark.parametrize("maker", ["trino", "duckdb", "pyiceberg"])
def test_trino_and_everyone_read_everyone(trino, lake, namespace, maker):
    table = f"{namespace}.t"
    columns = lambda dialect: ", ".join(f"{name} {types[dialect]}" for name, types in TYPES.items())
    if maker == "trino":
        trino.sql(f"CREATE TABLE {table} ({columns(0)}) WITH (partitioning = ARRAY['day(tz)', 'bucket(i, 4)'])")
    elif maker == "duckdb":
        lake.duckdb().execute(f"CREATE TABLE ice.{table} ({columns(1)})")
    else:
        lake.pyiceberg().create_table(table, schema=ARROW)
    written = Counter()
    for writer in WRITERS:
        rows = rows_of(writer)
        globals()[f"write_by_{writer}"](trino, lake, table, rows)
        written += multiset([tuple(row[name] for name in TYPES) for row in rows])
    for reader, read in read_by_everyone(trino, lake, table, TYPES).items():
        assert multiset(read) == written, reader


def test_trino_reads_and_writes_a_table_that_ingest_made(trino, lake, namespace):
    table, names = f"{namespace}.pushed", ["id", "ts", "amount"]
    push(lake, table, [{"id": 1, "ts": "2024-01-01T10:00:00Z", "amount": 9.5}, {"id": 2, "ts": "2024-01-02T11:30:00Z"}], partition_by="day(ts)")
    trino.sql(f"INSERT INTO {table} (id, ts, amount) VALUES (3, TIMESTAMP '2024-01-02 12:00:00 UTC', 3), (3, TIMESTAMP '2024-01-02 12:00:00 UTC', 3)")
    trino.sql(f"ALTER TABLE {table} ADD COLUMN note varchar")
    push(lake, table, [{"id": 4, "ts": "2024-01-03T00:00:00Z", "amount": -1, "note": "late"}])
    on = lambda day, hour, minute=0: datetime(2024, 1, day, hour, minute, tzinfo=timezone.utc)
    rows = Counter([(1, on(1, 10), 9.5), (2, on(2, 11, 30), None), (3, on(2, 12), 3.0), (3, on(2, 12), 3.0), (4, on(3, 0), -1.0)])
    for reader, read in read_by_everyone(trino, lake, table, names).items():
        assert Counter((id, moment.astimezone(timezone.utc), amount) for id, moment, amount in read) == rows, reader
    assert trino.sql(f"SELECT id, note FROM {table} WHERE ts >= TIMESTAMP '2024-01-02 12:00:00 UTC' ORDER BY id") == [(3, None), (3, None), (4, "late")]
    days = [(date(2024, 1, 1), 1), (date(2024, 1, 2), 3), (date(2024, 1, 3), 1)]
    assert sorted(trino.sql(f'SELECT partition.ts_day, sum(record_count) FROM {namespace}."pushed$files" GROUP BY 1')) == days
    # A row that Trino deleted stays deleted when more are pushed.
    assert trino.value(f"DELETE FROM {table} WHERE id = 2") == 1
    push(lake, table, [{"id": 5, "ts": "2024-01-02T00:00:00Z", "amount": 0}])
    assert trino.column(f"SELECT id FROM {table} ORDER BY id") == [1, 3, 3, 4, 5]
    assert sorted(lake.duckdb().execute(f"SELECT id FROM ice.{table}").fetchall()) == [(1,), (3,), (3,), (4,), (5,)]
