"""PyIceberg and DuckDB live through the catalog by every door: create, append, delete, evolve, rename, drop; each reads the other's."""

from datetime import datetime, timedelta, timezone

import duckdb
import pyarrow as pa
import pytest
from pyiceberg.exceptions import NamespaceNotEmptyError, NoSuchNamespaceError, NoSuchTableError, NoSuchViewError
from pyiceberg.schema import Schema
from pyiceberg.transforms import BucketTransform, DayTransform
from pyiceberg.types import IntegerType, LongType, NestedField, StringType
from pyiceberg.view.metadata import SQLViewRepresentation, ViewVersion

from conftest import every_door


def rows(count, start=0):
    ids = list(range(start, start + count))
    return pa.table({"id": pa.array(ids, pa.int64()), "name": pa.array([f"n{i}" for i in ids])})


@every_door
def test_pyiceberg_lives(lake, namespace):
    catalog = lake.pyiceberg()
    assert (namespace,) in catalog.list_namespaces()
    catalog.update_namespace_properties(namespace, updates={"owner": "me"})
    assert catalog.load_namespace_properties(namespace)["owner"] == "me"
    table = catalog.create_table(f"{namespace}.t", schema=rows(1).schema)
    table.append(rows(10))
    table.append(rows(5, start=10))
    assert table.scan().to_arrow().num_rows == 15
    table.delete("id < 3")
    assert sorted(catalog.load_table(f"{namespace}.t").scan().to_arrow()["id"].to_pylist()) == list(range(3, 15))
    first = table.snapshots()[0].snapshot_id
    assert sorted(table.scan(snapshot_id=first).to_arrow()["id"].to_pylist()) == list(range(10))
    with table.update_schema() as update:
        update.add_column("more", IntegerType())
        update.add_column("brief", StringType())
        update.rename_column("name", "label")
    with table.update_schema() as update:
        update.update_column("more", LongType())
        update.delete_column("brief")
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
    with pytest.raises(NamespaceNotEmptyError):
        catalog.drop_namespace(namespace)
    catalog.purge_table(f"{namespace}.u")
    assert not catalog.table_exists(f"{namespace}.u")
    catalog.drop_namespace(namespace)
    with pytest.raises(NoSuchNamespaceError):
        catalog.list_tables(namespace)


@every_door
def test_pyiceberg_makes_a_view(lake, namespace):
    catalog = lake.pyiceberg()
    schema = Schema(NestedField(1, "one", IntegerType(), required=False))
    version = ViewVersion(
        version_id=1, schema_id=0, timestamp_ms=1, summary={"engine-name": "pyiceberg"}, default_namespace=[namespace],
        representations=[SQLViewRepresentation(type="sql", sql="SELECT 1 AS one", dialect="spark")],
    )
    catalog.create_view(f"{namespace}.v", schema, version)
    assert catalog.list_views(namespace) == [(namespace, "v")] and catalog.view_exists(f"{namespace}.v")
    assert catalog.load_view(f"{namespace}.v").current_version().representations[0].root.sql == "SELECT 1 AS one"
    catalog.drop_view(f"{namespace}.v")
    with pytest.raises(NoSuchViewError):
        catalog.load_view(f"{namespace}.v")


def test_pyiceberg_changes_rows_and_goes_back_in_time(lake, namespace):
    catalog = lake.pyiceberg()
    table = catalog.create_table(f"{namespace}.t", schema=rows(1).schema)
    table.append(rows(5))
    first = table.current_snapshot()
    changed = pa.table({"id": pa.array([3, 7], pa.int64()), "name": ["changed", "new"]})
    done = table.upsert(changed, join_cols=["id"])
    assert (done.rows_updated, done.rows_inserted) == (1, 1)
    table.overwrite(pa.table({"id": pa.array([0], pa.int64()), "name": ["over"]}), overwrite_filter="id < 2")
    named = lambda scan: dict(zip(*(scan.to_arrow()[name].to_pylist() for name in ("id", "name"))))
    now = {0: "over", 2: "n2", 3: "changed", 4: "n4", 7: "new"}
    table = catalog.load_table(f"{namespace}.t")
    assert named(table.scan()) == now
    then = table.snapshot_as_of_timestamp(first.timestamp_ms)
    assert named(table.scan(snapshot_id=then.snapshot_id)) == {id: f"n{id}" for id in range(5)}

    # A branch has rows of its own, until it goes.
    with table.manage_snapshots() as refs:
        refs.create_branch(first.snapshot_id, "side").create_tag(first.snapshot_id, "start")
    table.append(rows(1, start=9), branch="side")
    table = catalog.load_table(f"{namespace}.t")
    assert named(table.scan()) == now and named(table.scan().use_ref("start")) == {id: f"n{id}" for id in range(5)}
    assert named(table.scan().use_ref("side")) == {id: f"n{id}" for id in (0, 1, 2, 3, 4, 9)}
    with table.manage_snapshots() as refs:
        refs.remove_branch("side").remove_tag("start")
    assert set(catalog.load_table(f"{namespace}.t").metadata.refs) == {"main"}
    table.maintenance.expire_snapshots().older_than(datetime.now(timezone.utc) + timedelta(days=1)).commit()
    table = catalog.load_table(f"{namespace}.t")
    assert len(table.snapshots()) == 1 and named(table.scan()) == now


def test_duckdb_goes_back_in_time_and_knows_neither_views_nor_refs(lake, namespace):
    db, table = lake.duckdb(), f"ice.{namespace}.t"
    db.execute(f"CREATE TABLE {table} AS SELECT i AS id FROM range(3) r(i)")
    first = lake.pyiceberg().load_table(f"{namespace}.t").current_snapshot()
    db.execute(f"INSERT INTO {table} VALUES (3)")
    db.execute(f"DELETE FROM {table} WHERE id = 0")
    moment = datetime.fromtimestamp(first.timestamp_ms / 1_000, timezone.utc).isoformat(sep=" ")
    for past in (f"VERSION => {first.snapshot_id}", f"TIMESTAMP => TIMESTAMP '{moment}'"):
        assert db.execute(f"SELECT id FROM {table} AT ({past}) ORDER BY id").fetchall() == [(0,), (1,), (2,)], past
    assert db.execute(f"SELECT id FROM {table} ORDER BY id").fetchall() == [(1,), (2,), (3,)]
    shown = db.execute(f"SELECT snapshot_id FROM iceberg_snapshots({table}) ORDER BY sequence_number").fetchall()
    assert len(shown) == 3 and shown[0] == (first.snapshot_id,)
    with lake.pyiceberg().load_table(f"{namespace}.t").manage_snapshots() as refs:
        refs.create_tag(first.snapshot_id, "start")
    for ref in ("VERSION => 'start'", "TAG => 'start'", "BRANCH => 'main'"):
        with pytest.raises(duckdb.Error):
            db.execute(f"SELECT id FROM {table} AT ({ref})")
    with pytest.raises(duckdb.Error, match="(?i)view"):
        db.execute(f"CREATE VIEW ice.{namespace}.v AS SELECT id FROM {table}")


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


@every_door
def test_duckdb_lives(lake, namespace):
    db = lake.duckdb()
    db.execute(f"CREATE TABLE ice.{namespace}.t (id BIGINT, name VARCHAR, day DATE)")
    db.execute(f"INSERT INTO ice.{namespace}.t SELECT i, 'n' || i, DATE '2024-01-01' + CAST(i % 3 AS INTEGER) FROM range(10) r(i)")
    assert db.execute(f"SELECT count(*), sum(id) FROM ice.{namespace}.t").fetchone() == (10, 45)
    db.execute(f"DELETE FROM ice.{namespace}.t WHERE id < 4")
    db.execute(f"UPDATE ice.{namespace}.t SET name = 'changed' WHERE id = 9")
    read = lake.pyiceberg().load_table(f"{namespace}.t").scan().to_arrow()
    assert sorted(read["name"].to_pylist()) == ["changed", "n4", "n5", "n6", "n7", "n8"]
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
    for change in (
        "RENAME COLUMN name TO label", "ALTER COLUMN more TYPE BIGINT", "DROP COLUMN day", "SET PARTITIONED BY (bucket(4, id))",
    ):
        fresh.execute(f"ALTER TABLE ice.{namespace}.t {change}")
    fresh.execute(f"INSERT INTO ice.{namespace}.t VALUES (102, 'c', 5000000000)")
    fresh.execute(f"MERGE INTO ice.{namespace}.t USING (SELECT 4 AS id) s ON t.id = s.id WHEN MATCHED THEN DELETE")
    assert lake.duckdb().execute(f"SELECT * FROM ice.{namespace}.t WHERE id < 6 OR id > 101 ORDER BY id").fetchall() == [
        (5, "n5", None), (102, "c", 5_000_000_000),
    ]
    fresh.execute(f"ALTER TABLE ice.{namespace}.t RENAME TO u")
    table = lake.pyiceberg().load_table(f"{namespace}.u")
    assert [field.name for field in table.schema().fields] == ["id", "label", "more"]
    assert [field.transform for field in table.spec().fields] == [BucketTransform(4)]
    assert lake.pyiceberg().list_tables(namespace) == [(namespace, "u")]


@every_door
def test_duckdb_makes_a_namespace_and_a_table_of_format_3(lake, namespace):
    db = lake.duckdb()
    db.execute(f"CREATE SCHEMA ice.{namespace}_own")
    db.execute(f"CREATE TABLE ice.{namespace}_own.t (id BIGINT) WITH ('format-version' = 3)")
    db.execute(f"INSERT INTO ice.{namespace}_own.t SELECT * FROM range(5)")
    db.execute(f"DELETE FROM ice.{namespace}_own.t WHERE id = 2")
    assert lake.pyiceberg().load_table(f"{namespace}_own.t").metadata.next_row_id == 5
    fresh = lake.duckdb()
    assert fresh.execute(f"SELECT id FROM ice.{namespace}_own.t ORDER BY id").fetchall() == [(0,), (1,), (3,), (4,)]
    with pytest.raises(duckdb.Error, match="not empty"):
        fresh.execute(f"DROP SCHEMA ice.{namespace}_own")
    fresh.execute(f"DROP TABLE ice.{namespace}_own.t")
    fresh.execute(f"DROP SCHEMA ice.{namespace}_own")
    assert not lake.pyiceberg().namespace_exists(f"{namespace}_own")


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
