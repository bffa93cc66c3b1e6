"""PyIceberg and DuckDB live through the catalog: create, append, delete, evolve, rename, drop; each reads the other's."""

import pyarrow as pa
import pytest
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.transforms import BucketTransform, DayTransform
from pyiceberg.types import LongType, StringType


def rows(count, start=0):
    ids = list(range(start, start + count))
    return pa.table({"id": pa.array(ids, pa.int64()), "name": pa.array([f"n{i}" for i in ids])})


def test_pyiceberg_lives(lake, namespace):
    catalog = lake.pyiceberg()
    table = catalog.create_table(f"{namespace}.t", schema=rows(1).schema)
    table.append(rows(10))
    table.append(rows(5, start=10))
    assert table.scan().to_arrow().num_rows == 15
    table.delete("id < 3")
    assert sorted(catalog.load_table(f"{namespace}.t").scan().to_arrow()["id"].to_pylist()) == list(range(3, 15))
    with table.update_schema() as update:
        update.add_column("more", LongType())
        update.rename_column("name", "label")
    with table.update_spec() as update:
        update.add_field("id", BucketTransform(4), "id_bucket")
    table = catalog.load_table(f"{namespace}.t")
    table.append(pa.table({"id": pa.array([99], pa.int64()), "label": ["x"], "more": pa.array([7], pa.int64())}))
    read = catalog.load_table(f"{namespace}.t").scan(row_filter="id == 99").to_arrow().to_pylist()
    assert read == [{"id": 99, "label": "x", "more": 7}]
    with table.manage_snapshots() as snapshots:
        snapshots.create_tag(table.current_snapshot().snapshot_id, "v1")
    assert set(catalog.load_table(f"{namespace}.t").metadata.refs) == {"main", "v1"}
    catalog.rename_table(f"{namespace}.t", f"{namespace}.u")
    with pytest.raises(NoSuchTableError):
        catalog.load_table(f"{namespace}.t")
    assert catalog.table_exists(f"{namespace}.u") and catalog.list_tables(namespace) == [(namespace, "u")]
    catalog.purge_table(f"{namespace}.u")
    assert not catalog.table_exists(f"{namespace}.u")
    catalog.drop_namespace(namespace)


def test_pyiceberg_stages_a_table_in_a_transaction(lake, namespace):
    catalog = lake.pyiceberg()
    with catalog.create_table_transaction(f"{namespace}.t", schema=rows(1).schema) as transaction:
        with transaction.update_schema() as update:
            update.add_column("b", StringType())
        transaction.set_properties(owner="me")
    table = catalog.load_table(f"{namespace}.t")
    assert [field.name for field in table.schema().fields] == ["id", "name", "b"]
    assert table.properties["owner"] == "me"


def test_odd_names_round_trip_through_pyiceberg(lake, namespace):
    catalog = lake.pyiceberg()
    inner = (namespace, "a b/c%")
    catalog.create_namespace(inner)
    catalog.create_table((*inner, "t 3/é+x"), schema=rows(1).schema)
    assert catalog.list_tables(inner) == [(*inner, "t 3/é+x")]
    assert catalog.list_namespaces((namespace,)) == [inner]
    table = catalog.load_table((*inner, "t 3/é+x"))
    table.append(rows(2))
    assert table.scan().to_arrow().num_rows == 2


def test_duckdb_lives(lake, namespace):
    db = lake.duckdb()
    db.execute(f"CREATE TABLE ice.{namespace}.t (id BIGINT, name VARCHAR, day DATE)")
    db.execute(f"INSERT INTO ice.{namespace}.t SELECT i, 'n' || i, DATE '2024-01-01' + CAST(i % 3 AS INTEGER) FROM range(10) r(i)")
    assert db.execute(f"SELECT count(*), sum(id) FROM ice.{namespace}.t").fetchone() == (10, 45)
    db.execute(f"DELETE FROM ice.{namespace}.t WHERE id < 4")
    db.execute(f"UPDATE ice.{namespace}.t SET name = 'changed' WHERE id = 9")
    assert db.execute(f"SELECT count(*), min(id) FROM ice.{namespace}.t").fetchone() == (6, 4)
    db.execute(f"CREATE TABLE ice.{namespace}.copy AS SELECT * FROM ice.{namespace}.t WHERE id > 6")
    assert db.execute(f"SELECT name FROM ice.{namespace}.copy ORDER BY id").fetchall() == [("n7",), ("n8",), ("changed",)]
    db.execute("BEGIN")
    db.execute(f"INSERT INTO ice.{namespace}.copy VALUES (100, 'a', NULL)")
    db.execute(f"INSERT INTO ice.{namespace}.t VALUES (100, 'a', NULL)")
    db.execute("COMMIT")
    fresh = lake.duckdb()
    assert fresh.execute(f"SELECT count(*) FROM ice.{namespace}.copy WHERE id = 100").fetchone() == (1,)
    db.execute(f"ALTER TABLE ice.{namespace}.t ADD COLUMN more INTEGER")
    db.execute(f"INSERT INTO ice.{namespace}.t VALUES (101, 'b', NULL, 5)")
    fresh = lake.duckdb()
    assert fresh.execute(f"SELECT more FROM ice.{namespace}.t WHERE id = 101").fetchone() == (5,)
    fresh.execute(f"DROP TABLE ice.{namespace}.copy")
    assert lake.pyiceberg().list_tables(namespace) == [(namespace, "t")]


def test_each_reads_what_the_other_wrote(lake, namespace):
    catalog, db = lake.pyiceberg(), lake.duckdb()
    schema = pa.schema([("id", pa.int64()), ("moment", pa.timestamp("us", tz="UTC"))])
    table = catalog.create_table(f"{namespace}.p", schema=schema)
    with table.update_spec() as update:
        update.add_field("moment", DayTransform(), "moment_day")
    day = 86_400_000_000
    table.append(pa.table({"id": [1, 2], "moment": pa.array([0, day], pa.timestamp("us", tz="UTC"))}))
    assert db.execute(f"SELECT count(*) FROM ice.{namespace}.p WHERE moment >= TIMESTAMPTZ '1970-01-02 00:00:00+00'").fetchone() == (1,)
    db.execute(f"INSERT INTO ice.{namespace}.p VALUES (3, TIMESTAMPTZ '1970-01-02 05:00:00+00')")
    read = catalog.load_table(f"{namespace}.p").scan(row_filter="moment >= '1970-01-02T00:00:00+00:00'").to_arrow()
    assert sorted(read["id"].to_pylist()) == [2, 3]
