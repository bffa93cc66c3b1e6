"""A table with a version hint is read by its path alone, floeberg stopped: by DuckDB, PyIceberg and Polars, on a directory and a bucket.

Readers of a bucket have keys of their own that get the table's objects and do no more: nothing is listed, nothing guessed.
"""

import duckdb
import polars
import pyarrow as pa
import pytest
import requests
from pyiceberg.table import StaticTable

from conftest import Floeberg, duckdb_with_extensions
from stores import Directory

ASKED = {"floeberg.version-hint": "true"}
SCHEMA = pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("note", pa.string())])
# Polars looks for an optional reader of its own before it reads by itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*polars_iceberg")


def rows(*ids):
    return [{"id": id, "at": f"2024-01-0{1 + id % 2}T00:00:00Z", "note": None if id % 3 else f"ü {id}"} for id in ids]


def push(server, lines, **parameters):
    answer = requests.post(f"{server.url}/ingest/v1/ns/t", json=lines, params=parameters, timeout=60)
    assert answer.status_code == 200 and answer.json()["rows"]["written"] == len(lines), answer.text


def arrow(lines):
    table = pa.Table.from_pylist(lines, schema=pa.schema([("id", pa.int64()), ("at", pa.string()), ("note", pa.string())]))
    return table.set_column(1, SCHEMA.field("at"), table["at"].cast(SCHEMA.field("at").type))


def by_duckdb(path, settings):
    with duckdb_with_extensions() as db:
        if settings:
            endpoint = settings["s3.endpoint"].removeprefix("http://")
            db.execute(
                f"CREATE SECRET (TYPE s3, KEY_ID '{settings['s3.access-key-id']}', SECRET '{settings['s3.secret-access-key']}', "
                f"SESSION_TOKEN '{settings['s3.session-token']}', ENDPOINT '{endpoint}', USE_SSL false, URL_STYLE 'path', REGION 'us-east-1')"
            )
        return db.execute(f"SELECT * FROM iceberg_scan('{path}')").fetchall()


def by_pyiceberg(path, settings):
    return [tuple(row.values()) for row in StaticTable.from_metadata(path, settings).scan().to_arrow().to_pylist()]


def by_polars(path, settings):
    return polars.scan_iceberg(path, storage_options=settings or None).collect().rows()


READERS = {"duckdb": by_duckdb, "pyiceberg": by_pyiceberg, "polars": by_polars}


@pytest.fixture(params=["directory", "minio"])
def store(request, tmp_path):
    return Directory(tmp_path / "lake") if request.param == "directory" else request.getfixturevalue("minio")


def all_read(store, path, wanted):
    settings = store.own_settings(store.key_of(path))
    wanted = sorted(tuple(row.values()) for row in arrow(wanted).to_pylist())
    for reader, read in READERS.items():
        assert sorted(read(path, settings)) == wanted, reader


def test_a_table_is_read_by_its_path_alone(store, tmp_path):
    # On the directory the table asks and PyIceberg makes it; on the bucket the warehouse asks and a push of rows makes it.
    by_table = store.url("").startswith("file:")
    server = Floeberg(tmp_path / "floeberg", store.config("hints") + ("" if by_table else "version-hint = true\n"), store=store)
    first = rows(0, 1, 2)
    if by_table:
        server.pyiceberg().create_namespace("ns")
        server.pyiceberg().create_table("ns.t", schema=SCHEMA, properties=ASKED).append(arrow(first))
    else:
        push(server, first, partition_by="day(at)")
    path = server.pyiceberg().load_table("ns.t").location()
    assert path == f"{store.url('hints')}/ns/t"
    server.stop()
    all_read(store, path, first)

    second, third = rows(3, 4), rows(5, 6)
    server.start()
    push(server, second)
    server.stop()
    all_read(store, path, first + second)
    server.start()
    server.pyiceberg().load_table("ns.t").append(arrow(third))
    server.stop()
    all_read(store, path, first + second + third)


def test_a_table_that_does_not_ask_is_not(store, tmp_path):
    server = Floeberg(tmp_path / "floeberg", store.config("no-hints"), store=store)
    push(server, rows(0))
    path = server.pyiceberg().load_table("ns.t").location()
    server.stop()
    with pytest.raises(duckdb.Error, match="[Vv]ersion"):
        by_duckdb(path, store.own_settings(store.key_of(path)))
