"""The rows that the long form's engines meet: written by Trino, DuckDB, PyIceberg and floeberg's ingest, and read by each of them.

Multisets are compared: every value of every row, and how often it is there.
"""

import base64
import json
from collections import Counter
from datetime import date, datetime, time, timezone
from decimal import Decimal

import pyarrow as pa
import requests

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
