"""Rows pushed over HTTP are read by PyIceberg and DuckDB as what they are."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import requests

import flights

NDJSON = {"content-type": "application/x-ndjson"}


def push(lake, path, lines, **options):
    body = "".join(lines) if isinstance(lines, list) else lines
    response = requests.post(f"{lake.url}/ingest/v1/{path}", data=body.encode(), headers=NDJSON, timeout=120, **options)
    assert response.status_code == 200, response.text[:2000]
    return response.json()


@pytest.fixture
def all_flights(lake, namespace):
    """Every flight, pushed by eight clients at once after a first body that has every column."""
    push(lake, f"{namespace}/flights?partition_by=day(time)", flights.lines()[:1])
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda body: push(lake, f"{namespace}/flights", body), flights.bodies(seed=1)))
    assert 1 + sum(answer["rows"]["written"] for answer in answers) == flights.source().num_rows
    return f"{namespace}.flights"


def numbers(table):
    """Count, sums, least and greatest values, and rows per day."""
    found = {"count": table.num_rows}
    for name in ["dep_delay", "arr_delay", "air_time", "distance", "flight"]:
        found[name] = (pc.sum(table[name]).as_py(), pc.min(table[name]).as_py(), pc.max(table[name]).as_py())
    for name in ["carrier", "tailnum", "origin", "dest"]:
        found[name] = (pc.min(table[name]).as_py(), pc.max(table[name]).as_py(), table[name].null_count)
    times = [text[:10] for text in table["time"].to_pylist()]
    found["days"] = {day: times.count(day) for day in sorted(set(times))[:40]}
    return found


def test_all_flights_arrive_once(lake, all_flights):
    truth = numbers(flights.source())
    read = lake.pyiceberg().load_table(all_flights).scan().to_arrow()
    times = pc.strftime(read["time"], format="%Y-%m-%d").cast(pa.string())
    read = read.set_column(read.column_names.index("time"), "time", times)
    assert numbers(read) == truth
    db = lake.duckdb()
    name = f"ice.{all_flights}"
    assert db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] == truth["count"]
    for column in ["dep_delay", "arr_delay", "air_time", "distance", "flight"]:
        found = db.execute(f"SELECT sum({column}), min({column}), max({column}) FROM {name}").fetchone()
        assert tuple(int(value) for value in found) == truth[column], column
    days = db.execute(f"SELECT strftime(time, '%Y-%m-%d'), count(*) FROM {name} GROUP BY 1 ORDER BY 1 LIMIT 40").fetchall()
    assert dict(days) == truth["days"]


def test_a_filter_on_the_partition_reads_only_matching_files(request, namespace):
    lake = request.getfixturevalue("local_lake")
    requests.post(f"{lake.url}/v1/namespaces", json={"namespace": [namespace + "_x"]}, timeout=10)
    table = f"{namespace}_x/flights"
    push(lake, f"{table}?partition_by=day(time)", flights.lines()[:6_000])
    location = lake.pyiceberg().load_table(table.replace("/", ".")).location().removeprefix("file://")
    for folder in Path(location, "data").iterdir():
        if folder.name != "time_day=2013-01-03":
            shutil.rmtree(folder)
    query = f"SELECT count(*) FROM ice.{table.replace('/', '.')} WHERE time >= TIMESTAMPTZ '2013-01-03 00:00:00+00' AND time < TIMESTAMPTZ '2013-01-04 00:00:00+00'"
    wanted = sum(1 for line in flights.lines()[:6_000] if '"time":"2013-01-03' in line)
    assert wanted > 500 and lake.duckdb().execute(query).fetchone() == (wanted,)
    rows = lake.pyiceberg().load_table(table.replace("/", ".")).scan(
        row_filter="time >= '2013-01-03T00:00:00+00:00' and time < '2013-01-04T00:00:00+00:00'"
    )
    assert rows.to_arrow().num_rows == wanted


def test_odd_partition_values_read_back(lake, namespace):
    values = ["../../x", "a/b", "..", "", "é %", "x" * 300, "a+b", "a=b&c", None]
    rows = "".join(flights.json.dumps({"part": value, "id": index}) + "\n" for index, value in enumerate(values))
    push(lake, f"{namespace}/odd?partition_by=part", rows)
    read = lake.pyiceberg().load_table(f"{namespace}.odd").scan().to_arrow().to_pylist()
    assert {row["id"]: row["part"] for row in read} == dict(enumerate(values))
    found = lake.duckdb().execute(f"SELECT id, part FROM ice.{namespace}.odd ORDER BY id").fetchall()
    assert found == list(enumerate(values))


def test_every_type_reads_back(lake, namespace):
    catalog = lake.pyiceberg()
    schema = pa.schema(
        [
            ("i", pa.int32()), ("l", pa.int64()), ("f", pa.float32()), ("d", pa.float64()), ("dec", pa.decimal128(20, 4)),
            ("date", pa.date32()), ("t", pa.time64("us")), ("ts", pa.timestamp("us")), ("tz", pa.timestamp("us", "UTC")),
            ("s", pa.string()), ("b", pa.binary()), ("fx", pa.binary(2)), ("bool", pa.bool_()),
            ("list", pa.list_(pa.int64())), ("map", pa.map_(pa.string(), pa.float64())),
            ("struct", pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))])),
        ]
    )
    catalog.create_table(f"{namespace}.types", schema=schema)
    row = {
        "i": -5, "l": 2**62, "f": 0.5, "d": 1e-300, "dec": "1234567890123456.7891", "date": "1969-12-31",
        "t": "23:59:59.999999", "ts": "1900-01-01 00:00:00.000001", "tz": "2024-01-01T00:00:00+05:30", "s": "ü😀",
        "b": "AAEC", "fx": "//8=", "bool": False, "list": [1, None, 3], "map": {"k": 1.5, "n": None},
        "struct": {"a": 7, "b": ["x"]},
    }
    push(lake, f"{namespace}/types", [flights.json.dumps(row) + "\n", "{}\n"])
    read = catalog.load_table(f"{namespace}.types").scan().to_arrow().to_pylist()
    full = next(r for r in read if r["i"] is not None)
    assert str(full["dec"]) == row["dec"] and str(full["date"]) == row["date"] and str(full["t"]) == row["t"]
    assert full["ts"].isoformat(" ") == row["ts"] and full["tz"].isoformat() == "2023-12-31T18:30:00+00:00"
    assert (full["b"], full["fx"], full["s"], full["l"], full["f"], full["d"]) == (b"\0\1\2", b"\xff\xff", "ü😀", 2**62, 0.5, 1e-300)
    assert full["list"] == [1, None, 3] and dict(full["map"]) == row["map"] and full["struct"] == row["struct"]
    empty = next(r for r in read if r["i"] is None)
    assert all(value is None for value in empty.values())
    found = lake.duckdb().execute(f"SELECT dec::VARCHAR, date::VARCHAR, s, list, struct.b[1] FROM ice.{namespace}.types WHERE i = -5")
    assert found.fetchone() == (row["dec"], row["date"], row["s"], [1, None, 3], "x")


def test_ingest_goes_on_in_tables_that_others_change(lake, namespace):
    push(lake, f"{namespace}/t", '{"id":1,"day":"2024-01-01"}\n')
    catalog = lake.pyiceberg()
    table = catalog.load_table(f"{namespace}.t")
    with table.update_schema() as update:
        update.rename_column("id", "ident")
    with table.update_spec() as update:
        update.add_identity("day")
    push(lake, f"{namespace}/t", '{"ident":2,"day":"2024-01-02"}\n')
    catalog.load_table(f"{namespace}.t").append(pa.table({"ident": [3], "day": pa.array([19725], pa.int32()).cast(pa.date32())}))
    push(lake, f"{namespace}/t", '{"ident":4,"day":null}\n')
    lake.duckdb().execute(f"INSERT INTO ice.{namespace}.t VALUES (5, DATE '2024-01-05')")
    push(lake, f"{namespace}/t", '{"ident":6,"day":null}\n')
    read = catalog.load_table(f"{namespace}.t").scan().to_arrow()
    assert sorted(read["ident"].to_pylist()) == [1, 2, 3, 4, 5, 6]
