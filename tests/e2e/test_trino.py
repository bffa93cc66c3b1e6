"""Trino lives through the catalog: over a directory, over a bucket with keys of its own, and as an OAuth client.

One server serves all tests: each door is a catalog of it. PyIceberg and DuckDB read what it wrote.
"""

from datetime import date, datetime

import pyarrow as pa
import pytest
from trino.exceptions import TrinoQueryError

from conftest import LAKES, LONG
from trino_server import Catalog, objects, wait_until_gone

trinos_doors = pytest.mark.parametrize("lake", [*LAKES, "credential"], indirect=True)
one_store = [lake for lake in LAKES if LONG or lake == "seaweedfs"]


def location_of(lake, table):
    return lake.pyiceberg().load_table(table).location()


def names(paths):
    """Java writes `file:/…` for `file:///…`: paths are compared by their ends."""
    return {path.rsplit("/", 1)[1] for path in paths}


@trinos_doors
def test_trino_lives(trino, lake, request):
    ns = f"trino_{request.node.callspec.id}"
    sql, column, value = trino.sql, trino.column, trino.value
    sql(f"CREATE SCHEMA {ns}")
    sql(f"CREATE SCHEMA IF NOT EXISTS {ns}")
    assert ns in column("SHOW SCHEMAS") and column(f"SHOW TABLES IN {ns}") == []
    sql(f"CREATE TABLE {ns}.t (id bigint NOT NULL, name varchar, at timestamp(6)) WITH (partitioning = ARRAY['day(at)'])")
    numbered = "SELECT n, 'n' || CAST(n AS varchar), TIMESTAMP '2024-01-01' + n % 3 * INTERVAL '1' DAY FROM unnest(sequence(0, 9)) s (n)"
    assert value(f"INSERT INTO {ns}.t {numbered}") == 10
    first, moment = sql(f'SELECT snapshot_id, CAST(committed_at AS varchar) FROM {ns}."t$snapshots" ORDER BY committed_at DESC LIMIT 1')[0]
    customers = "SELECT 10000 + custkey, name, TIMESTAMP '2024-01-04' FROM tpch.tiny.customer WHERE custkey <= 1000"
    assert value(f"INSERT INTO {ns}.t {customers}") == 1000

    assert sql(f"SELECT count(*), sum(id) FROM {ns}.t") == [(1010, 10_500_545)]
    assert column(f"SELECT id FROM {ns}.t WHERE at >= TIMESTAMP '2024-01-03' AND at < TIMESTAMP '2024-01-04' ORDER BY id") == [2, 5, 8]
    assert column(f"SELECT id FROM {ns}.t WHERE name IN ('n3', 'Customer#000000007') ORDER BY id") == [3, 10007]
    # The first snapshot is that of CREATE TABLE.
    snapshots = sql(f'SELECT snapshot_id, parent_id, operation, element_at(summary, \'added-records\') FROM {ns}."t$snapshots" ORDER BY committed_at')
    assert [row[2:] for row in snapshots] == [("append", None), ("append", "10"), ("append", "1000")]
    assert [row[1] for row in snapshots] == [None, *(row[0] for row in snapshots[:2])] and snapshots[1][0] == first
    assert sql(f'SELECT snapshot_id, is_current_ancestor FROM {ns}."t$history" ORDER BY made_current_at') == [(row[0], True) for row in snapshots]
    assert sql(f'SELECT name, type, snapshot_id FROM {ns}."t$refs"') == [("main", "BRANCH", snapshots[-1][0])]
    days = [(date(2024, 1, 1), 4), (date(2024, 1, 2), 3), (date(2024, 1, 3), 3), (date(2024, 1, 4), 1000)]
    assert sorted(sql(f'SELECT partition.at_day, record_count FROM {ns}."t$partitions"')) == days
    assert sorted(sql(f'SELECT partition.at_day, sum(record_count) FROM {ns}."t$files" GROUP BY 1')) == days

    assert sql(f"SELECT count(*), sum(id) FROM {ns}.t FOR VERSION AS OF {first}") == [(10, 45)]
    assert sql(f"SELECT count(*), sum(id) FROM {ns}.t FOR TIMESTAMP AS OF TIMESTAMP '{moment}'") == [(10, 45)]
    with lake.pyiceberg().load_table(f"{ns}.t").manage_snapshots() as refs:
        refs.create_tag(first, "start")
    assert value(f"SELECT count(*) FROM {ns}.t FOR VERSION AS OF 'start'") == 10
    for snapshot, rows in ((first, 10), (None, 1010)):
        read = lake.pyiceberg().load_table(f"{ns}.t").scan(snapshot_id=snapshot).to_arrow()
        assert sorted(zip(read["id"].to_pylist(), read["name"].to_pylist()))[:10] == [(id, f"n{id}") for id in range(10)]
        assert read.num_rows == rows
    assert sorted(column(f'SELECT name FROM {ns}."t$refs"')) == ["main", "start"]

    # A whole partition goes without a file written, single rows by files of positions.
    assert value(f"DELETE FROM {ns}.t WHERE at >= TIMESTAMP '2024-01-04'") == 1000
    assert set(column(f'SELECT content FROM {ns}."t$files"')) == {0}
    assert value(f"DELETE FROM {ns}.t WHERE id = 4") == 1
    assert value(f"UPDATE {ns}.t SET name = 'changed' WHERE id = 5") == 1
    assert set(sql(f'SELECT content, file_format FROM {ns}."t$files"')) == {(0, "PARQUET"), (1, "PARQUET")}
    merged = (
        f"MERGE INTO {ns}.t t USING (VALUES (6, 'merged'), (7, NULL), (100, 'new')) s (id, name) ON t.id = s.id "
        "WHEN MATCHED AND s.name IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET name = s.name "
        "WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.name, TIMESTAMP '2024-01-02')"
    )
    assert value(merged) == 3
    names = {id: f"n{id}" for id in range(10) if id not in (4, 7)} | {5: "changed", 6: "merged", 100: "new"}
    assert sorted(sql(f"SELECT id, name FROM {ns}.t")) == sorted(names.items())
    # Not by PyIceberg: PyArrow cannot read a file of positions as Trino encodes it.
    assert sorted(lake.duckdb().execute(f"SELECT id, name FROM ice.{ns}.t").fetchall()) == sorted(names.items())

    for change in (
        "ADD COLUMN more integer COMMENT 'much'",
        "ADD COLUMN brief varchar",
        "ALTER COLUMN more SET DATA TYPE bigint",
        "RENAME COLUMN name TO label",
        "DROP COLUMN brief",
        "ALTER COLUMN id DROP NOT NULL",
        "SET PROPERTIES partitioning = ARRAY['month(at)', 'bucket(id, 4)'], sorted_by = ARRAY['id']",
    ):
        sql(f"ALTER TABLE {ns}.t {change}")
    sql(f"COMMENT ON TABLE {ns}.t IS 'a life'")
    sql(f"COMMENT ON COLUMN {ns}.t.label IS 'once a name'")
    sql(f"INSERT INTO {ns}.t (id, label, at, more) VALUES (200, 'late', TIMESTAMP '2024-03-01', 5000000000)")
    assert sql(f"SELECT * FROM {ns}.t WHERE id > 99 ORDER BY id") == [
        (100, "new", datetime(2024, 1, 2), None), (200, "late", datetime(2024, 3, 1), 5_000_000_000),
    ]
    assert sql(f"DESCRIBE {ns}.t") == [
        ("id", "bigint", "", ""), ("label", "varchar", "", "once a name"), ("at", "timestamp(6)", "", ""), ("more", "bigint", "", "much"),
    ]
    assert sorted(column(f'SELECT DISTINCT spec_id FROM {ns}."t$files"')) == [0, 1]
    table = lake.pyiceberg().load_table(f"{ns}.t")
    assert [str(field.transform) for field in table.spec().fields] == ["month", "bucket[4]"] and table.properties["comment"] == "a life"
    assert [field.source_id for field in table.sort_order().fields] == [1]
    assert table.scan(row_filter="id == 200").to_arrow()["label"].to_pylist() == ["late"]

    sql(f"CALL system.rollback_to_snapshot('{ns}', 't', {first})")
    assert sql(f"SELECT count(*), sum(id), count(more) FROM {ns}.t") == [(10, 45, 0)]
    sql(f"ALTER TABLE {ns}.t RENAME TO {ns}.u")
    assert column(f"SHOW TABLES IN {ns}") == ["u"] and lake.pyiceberg().list_tables(ns) == [(ns, "u")]
    with pytest.raises(TrinoQueryError, match="SCHEMA_NOT_EMPTY"):
        sql(f"DROP SCHEMA {ns}")
    location = location_of(lake, f"{ns}.u")
    assert objects(lake, location)
    sql(f"DROP TABLE {ns}.u")
    with pytest.raises(TrinoQueryError, match="TABLE_NOT_FOUND"):
        sql(f"SELECT * FROM {ns}.u")
    wait_until_gone(lake, location)
    sql(f"DROP SCHEMA {ns}")
    assert ns not in column("SHOW SCHEMAS")


@pytest.mark.parametrize("lake", LAKES, indirect=True)
def test_trino_tends_a_table(trino, lake, namespace):
    sql, column, value, table = trino.sql, trino.column, trino.value, f"{namespace}.t"
    sql(f"CREATE TABLE {table} AS SELECT 0 AS id, 'n0' AS name")
    for id in (1, 2):
        sql(f"INSERT INTO {table} VALUES ({id}, 'n{id}')")
    sql(f"DELETE FROM {table} WHERE id = 0")
    location = location_of(lake, table)
    small = set(column(f'SELECT file_path FROM {namespace}."t$files"'))
    assert dict(sql(f"ALTER TABLE {table} EXECUTE optimize"))["added_data_files_count"] == 1
    (big,) = sql(f'SELECT content, record_count, file_path FROM {namespace}."t$files"')
    assert big[:2] == (0, 2) and big[2] not in small
    assert names(small) <= names(objects(lake, location)), "old snapshots still read them"
    # The last snapshot's own leftovers would go with it only.
    sql(f"INSERT INTO {table} VALUES (3, 'n3')")
    assert value(f'SELECT count(*) FROM {namespace}."t$snapshots"') == 6
    sql(f"ALTER TABLE {table} EXECUTE expire_snapshots(retention_threshold => '0s')")
    assert value(f'SELECT count(*) FROM {namespace}."t$snapshots"') == 1
    kept = names(objects(lake, location))
    assert not names(small) & kept and names([big[2]]) <= kept

    sql(f"ANALYZE {table}")
    shown = {row[0]: row for row in sql(f"SHOW STATS FOR {table}")}
    assert shown["id"][2] == shown["name"][2] == 3 and shown["id"][5:] == ("1", "3") and shown[None][4] == 3
    metadata = lake.pyiceberg().load_table(table).metadata
    (statistics,) = metadata.statistics
    assert statistics.snapshot_id == metadata.current_snapshot_id
    # Nobody names a stray file, nor the statistics that INSERT wrote and ANALYZE replaced.
    lake.pyiceberg().load_table(table).io.new_output(f"{location}/data/stray.parquet").create().close()
    assert "stray.parquet" in names(objects(lake, location))
    assert dict(sql(f"ALTER TABLE {table} EXECUTE remove_orphan_files(retention_threshold => '0s')"))["deleted_files_count"] == 2
    kept = names(objects(lake, location))
    assert "stray.parquet" not in kept and names([statistics.statistics_path, metadata.current_snapshot().manifest_list, big[2]]) <= kept
    assert sorted(sql(f"SELECT * FROM {table}")) == [(1, "n1"), (2, "n2"), (3, "n3")]

    # Forgotten with its files in place, and taken in again: which Trino does not do with lent keys.
    metadata_location = lake.pyiceberg().load_table(table).metadata_location
    sql(f"CALL system.unregister_table('{namespace}', 't')")
    assert column(f"SHOW TABLES IN {namespace}") == [] and names(objects(lake, location)) == kept
    if lake.store:
        lake.pyiceberg().register_table(f"{namespace}.back", metadata_location)
    else:
        last = names([metadata_location]).pop()
        sql(f"CALL system.register_table('{namespace}', 'back', '{location}', '{last}')")
    assert sorted(sql(f"SELECT * FROM {namespace}.back")) == [(1, "n1"), (2, "n2"), (3, "n3")]
    # Files that only a snapshot's list of what it removed still names.
    for tidy in ("optimize", "expire_snapshots(retention_threshold => '0s')"):
        sql(f"ALTER TABLE {namespace}.back EXECUTE {tidy}")
    assert names([big[2]]) <= names(objects(lake, location)) and value(f'SELECT count(*) FROM {namespace}."back$files"') == 1
    sql(f"DROP TABLE {namespace}.back")
    wait_until_gone(lake, location)


@pytest.mark.parametrize("lake", one_store, indirect=True)
def test_trino_reads_branches_and_joins_manifests(trino, lake, namespace):
    sql, column, table = trino.sql, trino.column, f"{namespace}.t"
    sql(f"CREATE TABLE {table} AS SELECT 0 AS id")
    with lake.pyiceberg().load_table(table).manage_snapshots() as refs:
        refs.create_branch(trino.value(f'SELECT snapshot_id FROM {namespace}."t$snapshots"'), "side")
    sql(f"INSERT INTO {table} VALUES 1")
    lake.pyiceberg().load_table(table).append(pa.table({"id": pa.array([2], pa.int32())}), branch="side")
    for ref, rows in (("main", [0, 1]), ("side", [0, 2])):
        assert column(f"SELECT id FROM {table} FOR VERSION AS OF '{ref}' ORDER BY id") == rows
    # It makes no branch of an Iceberg table, and writes to none.
    for statement in (f"CREATE BRANCH more IN TABLE {table}", f"INSERT INTO {table} @ side VALUES 3"):
        with pytest.raises(TrinoQueryError, match="NOT_SUPPORTED|BRANCH_NOT_FOUND"):
            sql(statement)
    manifests = f'SELECT count(*) FROM {namespace}."t$manifests"'
    assert trino.value(manifests) == 2
    sql(f"ALTER TABLE {table} EXECUTE optimize_manifests")
    assert trino.value(manifests) == 1 and column(f"SELECT id FROM {table} ORDER BY id") == [0, 1]


@trinos_doors
def test_views_through_trino(trino, lake, namespace):
    sql, column = trino.sql, trino.column
    sql(f"CREATE TABLE {namespace}.t AS SELECT n AS id FROM unnest(sequence(0, 9)) s (n)")
    sql(f"CREATE VIEW {namespace}.v COMMENT 'big ones' AS SELECT id FROM {namespace}.t WHERE id > 5")
    assert column(f"SELECT id FROM {namespace}.v ORDER BY id") == [6, 7, 8, 9]
    with pytest.raises(TrinoQueryError, match="already exists"):
        sql(f"CREATE VIEW {namespace}.v AS SELECT 1 AS one")
    sql(f"CREATE OR REPLACE VIEW {namespace}.v AS SELECT id AS n FROM {namespace}.t WHERE id > 7")
    sql(f"COMMENT ON COLUMN {namespace}.v.n IS 'a number'")
    sql(f"ALTER VIEW {namespace}.v RENAME TO {namespace}.w")
    assert column(f"SELECT n FROM {namespace}.w ORDER BY n") == [8, 9]
    assert sql(f"DESCRIBE {namespace}.w") == [("n", "bigint", "", "a number")]
    assert lake.pyiceberg().list_views(namespace) == [(namespace, "w")]
    shown = f"SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = '{namespace}' ORDER BY 1"
    assert sql(shown) == [("t", "BASE TABLE"), ("w", "VIEW")]
    sql(f"DROP VIEW {namespace}.w")
    assert column(f"SHOW TABLES IN {namespace}") == ["t"]
    with pytest.raises(TrinoQueryError, match="TABLE_NOT_FOUND"):
        sql(f"SELECT * FROM {namespace}.w")


@trinos_doors
def test_tables_made_and_replaced_through_trino(trino, lake, namespace):
    sql, table = trino.sql, f"{namespace}.nations"
    made = f"CREATE TABLE {table} WITH (compression_codec = 'ZSTD') AS SELECT nationkey, name, regionkey FROM tpch.tiny.nation"
    assert trino.value(made) == 25
    with pytest.raises(TrinoQueryError, match="TABLE_ALREADY_EXISTS"):
        sql(made)
    europe = [("FRANCE",), ("GERMANY",), ("ROMANIA",), ("RUSSIA",), ("UNITED KINGDOM",)]
    assert sql(f"SELECT name FROM {table} WHERE regionkey = 3 ORDER BY name") == europe
    assert lake.pyiceberg().load_table(table).properties["write.parquet.compression-codec"] == "zstd"
    assert sql(f"SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_schema = '{namespace}' ORDER BY ordinal_position") == [
        ("nationkey", "bigint", "YES"), ("name", "varchar", "YES"), ("regionkey", "bigint", "YES"),
    ]
    before = lake.pyiceberg().load_table(table)
    sql(f"CREATE OR REPLACE TABLE {table} AS SELECT 'one' AS only")
    assert sql(f"SELECT * FROM {table}") == [("one",)]
    after = lake.pyiceberg().load_table(table)
    assert after.metadata.table_uuid == before.metadata.table_uuid and len(after.snapshots()) == len(before.snapshots()) + 1
    assert trino.value(f"SELECT count(*) FROM {table} FOR VERSION AS OF {before.current_snapshot().snapshot_id}") == 25

    # The third format: rows are deleted by vectors, and have ids that the catalog gives out.
    newest = f"{namespace}.newest"
    sql(f"CREATE TABLE {newest} (id bigint, name varchar) WITH (format_version = 3)")
    sql(f"INSERT INTO {newest} VALUES (0, 'a'), (1, 'a'), (2, 'a'), (3, 'a')")
    sql(f"DELETE FROM {newest} WHERE id = 2")
    sql(f"UPDATE {newest} SET name = 'b' WHERE id = 3")
    assert set(sql(f'SELECT content, file_format FROM {namespace}."newest$files"')) == {(0, "PARQUET"), (1, "PUFFIN")}
    rows = [(0, "a"), (1, "a"), (3, "b")]
    assert sql(f"SELECT * FROM {newest} ORDER BY id") == rows
    assert sorted(lake.duckdb().execute(f"SELECT id, name FROM ice.{newest}").fetchall()) == rows
    assert lake.pyiceberg().load_table(newest).metadata.next_row_id >= 5
    # A table of the second format is lifted.
    sql(f"ALTER TABLE {table} SET PROPERTIES format_version = 3")
    sql(f"INSERT INTO {table} VALUES ('two')")
    assert lake.pyiceberg().load_table(table).format_version == 3 and sql(f"SELECT * FROM {table} ORDER BY 1") == [("one",), ("two",)]

    sql(f"DROP SCHEMA {namespace} CASCADE")
    assert namespace not in trino.column("SHOW SCHEMAS")


@pytest.mark.parametrize("lake", ["credential"], indirect=True)
def test_nested_schemas_through_trino(trino, lake, namespace):
    inner = f'"{namespace}.inner"'
    trino.sql(f"CREATE SCHEMA {inner}")
    assert f"{namespace}.inner" in trino.column("SHOW SCHEMAS")
    trino.sql(f"CREATE TABLE {inner}.t AS SELECT 1 AS id")
    trino.sql(f"CREATE VIEW {inner}.v AS SELECT id + 1 AS more FROM {inner}.t")
    assert trino.column(f"SELECT more FROM {inner}.v") == [2]
    assert trino.column(f"SHOW TABLES IN {namespace}") == [] and sorted(trino.column(f"SHOW TABLES IN {inner}")) == ["t", "v"]
    assert lake.pyiceberg().list_tables((namespace, "inner")) == [(namespace, "inner", "t")]
    trino.sql(f"DROP SCHEMA {inner} CASCADE")
    assert f"{namespace}.inner" not in trino.column("SHOW SCHEMAS")


@pytest.mark.parametrize("lake", ["credential"], indirect=True)
def test_trino_is_told_what_it_may_not(trino, trino_server, namespace):
    trino.sql(f"CREATE TABLE {namespace}.t AS SELECT 1 AS id")
    reader = Catalog(trino_server, "reader")
    assert reader.value(f"SELECT count(*) FROM {namespace}.t") == 1
    for statement in (f"INSERT INTO {namespace}.t VALUES 9", f"DROP TABLE {namespace}.t", f"CREATE SCHEMA {namespace}_more"):
        with pytest.raises(TrinoQueryError) as refusal:
            reader.sql(statement)
        assert "ForbiddenException" in str(refusal.value.failure_info), statement
    assert trino.column(f"SELECT id FROM {namespace}.t") == [1]
