"""Spark, and with it Iceberg's Java client, lives through the catalog by every door; PyIceberg and DuckDB read what it wrote.

Over a bucket it has no keys: it is lent some, or has each request signed. One JVM serves all tests: each door is a catalog of
the session.
"""

import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pyiceberg.catalog import load_catalog
from pyspark.errors import AnalysisException

from conftest import BRIEFLY, LAKES, LONG, every_door
from delegating import Delegating
from planning import Planner, path, plans_answered
from spark_session import Catalog
from trino_server import objects


def names_by_pyiceberg(lake, table):
    read = lake.pyiceberg().load_table(table).scan().to_arrow()
    return dict(zip(read["id"].to_pylist(), read["name"].to_pylist()))


def names_by_duckdb(lake, table):
    return dict(lake.duckdb().execute(f"SELECT id, name FROM ice.{table}").fetchall())


def live(ice, lake, ns, others=(names_by_pyiceberg, names_by_duckdb)):
    sql, column = ice.sql, ice.column
    sql(f"CREATE NAMESPACE {ns} COMMENT 'a life'")
    sql(f"CREATE NAMESPACE {ns}.inner")
    sql(f"ALTER NAMESPACE {ns} SET PROPERTIES ('k' = 'v')")
    assert ns in column("SHOW NAMESPACES") and column(f"SHOW NAMESPACES IN {ns}") == [f"{ns}.inner"]
    described = dict(sql(f"DESCRIBE NAMESPACE EXTENDED {ns}"))
    assert described["Comment"] == "a life" and "(k,v)" in described["Properties"]
    sql(f"DROP NAMESPACE {ns}.inner")
    assert column(f"SHOW NAMESPACES IN {ns}") == []

    sql(
        f"CREATE TABLE {ns}.t (id BIGINT NOT NULL, name STRING, at TIMESTAMP) USING iceberg PARTITIONED BY (days(at)) "
        "TBLPROPERTIES ('write.delete.mode' = 'merge-on-read', 'write.merge.mode' = 'merge-on-read')"
    )
    sql(f"INSERT INTO {ns}.t SELECT id, 'n' || id, TIMESTAMP '2024-01-01' + make_interval(0, 0, 0, id % 3) FROM range(10)")
    first, moment = sql(f"SELECT snapshot_id, string(committed_at) FROM {ns}.t.snapshots")[0]
    assert column(f"SELECT id FROM {ns}.t WHERE at >= TIMESTAMP '2024-01-03' ORDER BY id") == [2, 5, 8]

    # One by files of positions, one by files written again, one by both at once.
    sql(f"DELETE FROM {ns}.t WHERE id = 4")
    sql(f"UPDATE {ns}.t SET name = 'changed' WHERE id = 5")
    sql(
        f"MERGE INTO {ns}.t USING (SELECT 6 AS id, 'merged' AS name UNION ALL SELECT 100, 'new') s ON t.id = s.id "
        "WHEN MATCHED THEN UPDATE SET name = s.name "
        "WHEN NOT MATCHED THEN INSERT (id, name, at) VALUES (s.id, s.name, TIMESTAMP '2024-01-02')"
    )
    assert set(sql(f"SELECT content, file_format FROM {ns}.t.all_delete_files")) == {(1, "PARQUET")}
    names = {id: f"n{id}" for id in range(10) if id != 4} | {5: "changed", 6: "merged", 100: "new"}
    assert dict(sql(f"SELECT id, name FROM {ns}.t")) == names
    for other in others:
        assert other(lake, f"{ns}.t") == names, other

    for change in (
        "ADD COLUMN more INT AFTER id",
        "ALTER COLUMN more TYPE BIGINT",
        "RENAME COLUMN name TO label",
        "ADD PARTITION FIELD bucket(4, id) AS shard",
        "REPLACE PARTITION FIELD days(at) WITH months(at)",
        "WRITE ORDERED BY id",
    ):
        sql(f"ALTER TABLE {ns}.t {change}")
    sql(f"INSERT INTO {ns}.t VALUES (200, 5000000000, 'late', TIMESTAMP '2024-03-01')")
    assert sql(f"SELECT id, more, label FROM {ns}.t WHERE id > 99 ORDER BY id") == [(100, None, "new"), (200, 5000000000, "late")]
    assert sorted(column(f"SELECT DISTINCT spec_id FROM {ns}.t.files")) == [0, 2]
    if names_by_pyiceberg in others:
        assert lake.pyiceberg().load_table(f"{ns}.t").scan(row_filter="id == 200").to_arrow()["label"].to_pylist() == ["late"]

    assert column(f"SELECT id FROM {ns}.t VERSION AS OF {first} ORDER BY id") == list(range(10))
    assert column(f"SELECT count(*) FROM {ns}.t TIMESTAMP AS OF '{moment}'") == [10]
    sql(f"ALTER TABLE {ns}.t CREATE TAG start AS OF VERSION {first}")
    sql(f"ALTER TABLE {ns}.t CREATE BRANCH side")
    sql(f"INSERT INTO {ns}.t.branch_side VALUES (300, 1, 'side', TIMESTAMP '2024-03-02')")
    counts = [column(f"SELECT count(*) FROM {ns}.t VERSION AS OF '{ref}'") for ref in ("start", "main", "side")]
    assert counts == [[10], [11], [12]]
    sql(f"CALL system.fast_forward('{ns}.t', 'main', 'side')")
    sql(f"ALTER TABLE {ns}.t DROP BRANCH side")
    sql(f"ALTER TABLE {ns}.t DROP TAG start")
    assert column(f"SELECT name FROM {ns}.t.refs") == ["main"]
    sql(f"CALL system.expire_snapshots(table => '{ns}.t', older_than => TIMESTAMP '2999-01-01', retain_last => 1)")
    assert column(f"SELECT count(*) FROM {ns}.t.snapshots") == [1]

    sql(f"ALTER TABLE {ns}.t RENAME TO {ns}.u")
    assert sql(f"SHOW TABLES IN {ns}") == [(ns, "u", False)] and lake.pyiceberg().list_tables(ns) == [(ns, "u")]
    assert column(f"SELECT count(*) FROM {ns}.u") == [12]
    # Spark deletes the files itself.
    location = lake.pyiceberg().load_table(f"{ns}.u").location()
    assert objects(lake, location)
    sql(f"DROP TABLE {ns}.u PURGE")
    assert not objects(lake, location)
    sql(f"DROP NAMESPACE {ns}")
    assert ns not in column("SHOW NAMESPACES")


@every_door
def test_spark_lives(ice, lake, request):
    live(ice, lake, f"spark_{request.node.callspec.id}")


@every_door
def test_format_3_through_spark(ice, lake, namespace):
    table = f"{namespace}.t"
    ice.sql(
        f"CREATE TABLE {table} USING iceberg TBLPROPERTIES ('format-version' = '3', 'write.delete.mode' = 'merge-on-read', "
        "'write.update.mode' = 'merge-on-read') AS SELECT id, 'a' AS name FROM range(5)"
    )
    ice.sql(f"DELETE FROM {table} WHERE id = 2")
    ice.sql(f"UPDATE {table} SET name = 'b' WHERE id = 3")
    assert set(ice.sql(f"SELECT content, file_format FROM {table}.delete_files")) == {(1, "PUFFIN")}
    # A changed row keeps its id and tells the commit that changed it; the catalog gave the ids out.
    lineage = ice.sql(f"SELECT id, name, _row_id, _last_updated_sequence_number FROM {table} ORDER BY id")
    assert lineage == [(0, "a", 0, 1), (1, "a", 1, 1), (3, "b", 3, 3), (4, "a", 4, 1)]
    assert sorted(lake.duckdb().execute(f"SELECT id, name FROM ice.{table}").fetchall()) == [(0, "a"), (1, "a"), (3, "b"), (4, "a")]
    assert lake.pyiceberg().load_table(table).metadata.next_row_id > 5

    ice.sql(f"CREATE OR REPLACE TABLE {table} USING iceberg AS SELECT 'one' AS only")
    assert ice.sql(f"SELECT * FROM {table}") == [("one",)]
    assert ice.column(f"SELECT count(*) FROM {table}.snapshots") == [4]
    ice.sql(f"DROP TABLE {table}")
    assert ice.sql(f"SHOW TABLES IN {namespace}") == []


@every_door
def test_views_through_spark(ice, lake, namespace):
    sql, column = ice.sql, ice.column
    sql(f"CREATE TABLE {namespace}.t USING iceberg AS SELECT id FROM range(10)")
    sql(f"CREATE VIEW {namespace}.v COMMENT 'big ones' AS SELECT id FROM {namespace}.t WHERE id > 5")
    assert column(f"SELECT id FROM {namespace}.v ORDER BY id") == [6, 7, 8, 9]
    with pytest.raises(AnalysisException, match="ALREADY_EXISTS"):
        sql(f"CREATE VIEW {namespace}.v AS SELECT 1 AS one")
    sql(f"CREATE OR REPLACE VIEW {namespace}.v (n COMMENT 'a number') AS SELECT id FROM {namespace}.t WHERE id > 7")
    sql(f"ALTER VIEW {namespace}.v SET TBLPROPERTIES ('k' = 'v', 'gone' = 'x')")
    sql(f"ALTER VIEW {namespace}.v UNSET TBLPROPERTIES ('gone')")
    properties = dict(sql(f"SHOW TBLPROPERTIES {namespace}.v"))
    assert properties["k"] == "v" and "gone" not in properties
    assert lake.pyiceberg().list_views(namespace) == [(namespace, "v")]
    sql(f"ALTER VIEW {namespace}.v RENAME TO {ice.name}.{namespace}.w")
    assert sql(f"SHOW VIEWS IN {namespace}") == [(namespace, "w", False)]
    assert column(f"SELECT n FROM {namespace}.w ORDER BY n") == [8, 9]
    sql(f"DROP VIEW {namespace}.w")
    assert sql(f"SHOW VIEWS IN {namespace}") == []
    with pytest.raises(AnalysisException, match="NOT_FOUND"):
        sql(f"SELECT * FROM {namespace}.w")


def put_a_stray(lake, location):
    """A file beside a table's own that nobody names."""
    if lake.store:
        lake.store.client().put_object(Bucket=lake.store.bucket, Key=f"{lake.store.key_of(location)}/data/stray", Body=b"x")
    else:
        Path(urlsplit(location).path, "data/stray").write_text("x")


def tidy(ice, lake, table):
    """By the procedures that write manifests, files of deletes and data files again, and find what nobody names."""
    sql, column = ice.sql, ice.column
    sql(f"CREATE TABLE {table} (id BIGINT) USING iceberg TBLPROPERTIES ('write.delete.mode' = 'merge-on-read')")
    for start in (0, 10):
        sql(f"INSERT INTO {table} SELECT id FROM range({start}, {start + 10})")
        sql(f"DELETE FROM {table} WHERE id = {start}")
    deletes = set(column(f"SELECT file_path FROM {table}.delete_files"))
    assert len(deletes) == 2 and column(f"SELECT count(*) FROM {table}.manifests") == [4]
    ((rewritten, added),) = sql(f"CALL system.rewrite_manifests('{table}')")
    assert (rewritten, added) == (4, 2) and column(f"SELECT count(*) FROM {table}.manifests") == [2]
    sql(f"CALL system.rewrite_position_delete_files(table => '{table}', options => map('rewrite-all', 'true'))")
    assert deletes.isdisjoint(column(f"SELECT file_path FROM {table}.delete_files"))
    sql(f"CALL system.rewrite_data_files(table => '{table}', strategy => 'sort', sort_order => 'id desc', options => map('rewrite-all', 'true'))")
    assert column(f"SELECT count(*) FROM {table}.data_files") == [1]

    location = lake.pyiceberg().load_table(table).location()
    put_a_stray(lake, location)
    there = set(objects(lake, location))
    # What lies there for less than a day may be about to be a table's. A bucket is listed by its own client.
    assert column(f"CALL system.remove_orphan_files(table => '{table}', prefix_listing => {bool(lake.store)})") == []
    # Locally beside each file lies one of its checksums, hidden from listings.
    shown = [(path if lake.store else f"file://{path}",) for path in there if "/." not in path]
    listed = ice.spark.createDataFrame(shown, "file_path string")
    listed.selectExpr("file_path", "timestamp '2000-01-01' AS last_modified").createOrReplaceTempView("listed")
    (stray,) = column(f"CALL system.remove_orphan_files(table => '{table}', file_list_view => 'listed')")
    assert stray.endswith("/data/stray") and {path for path in there if not path.endswith("/stray")} == set(objects(lake, location))
    assert column(f"SELECT count(*) FROM {table}") == [18]
    sql(f"DROP TABLE {table}")


@pytest.mark.parametrize("lake", [lake for lake in LAKES if LONG or lake != "local"], indirect=True)
def test_spark_tidies_a_table(ice, lake, namespace):
    tidy(ice, lake, f"{namespace}.t")


@pytest.mark.parametrize("lake", [*(lake for lake in LAKES if LONG or lake != "local"), "token"], indirect=True)
def test_spark_tends_a_table(ice, lake, spark, namespace):
    """What is asked seldom: old formats upgraded, snapshots that no branch has, going back, statistics, other names."""
    sql, column, table = ice.sql, ice.column, f"{namespace}.t"
    sql(f"CREATE TABLE {table} USING iceberg TBLPROPERTIES ('format-version' = '1') AS SELECT 1 AS id")
    for version in (2, 3):
        sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('format-version' = '{version}')")
        sql(f"INSERT INTO {table} VALUES ({version})")
    assert lake.pyiceberg().load_table(table).format_version == 3
    assert column(f"SELECT id FROM {table} ORDER BY id") == [1, 2, 3]

    before, after = column(f"SELECT snapshot_id FROM {table}.history ORDER BY made_current_at")[1:]
    sql(f"CALL system.rollback_to_snapshot('{table}', {before})")
    assert column(f"SELECT id FROM {table} ORDER BY id") == [1, 2]
    sql(f"CALL system.set_current_snapshot('{table}', {after})")
    assert column(f"SELECT id FROM {table} ORDER BY id") == [1, 2, 3]

    # Written and audited first, published later: until then the snapshot belongs to no branch.
    sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('write.wap.enabled' = 'true')")
    spark.conf.set("spark.wap.id", "audited")
    sql(f"INSERT INTO {table} VALUES (4)")
    spark.conf.unset("spark.wap.id")
    assert column(f"SELECT id FROM {table} ORDER BY id") == [1, 2, 3]
    sql(f"CALL system.publish_changes('{table}', 'audited')")
    assert column(f"SELECT id FROM {table} ORDER BY id") == [1, 2, 3, 4]

    sql(f"CALL system.rewrite_data_files(table => '{table}', options => map('rewrite-all', 'true'))")
    sql(f"CALL system.compute_table_stats(table => '{table}')")
    assert column(f"SELECT count(*) FROM {table}.files") == [1]
    metadata = lake.pyiceberg().load_table(table).metadata
    assert [statistics.snapshot_id for statistics in metadata.statistics] == [metadata.current_snapshot_id]

    # Dropped without its files, and taken in again by its last metadata, under a name as odd as they come.
    sql(f"CREATE NAMESPACE {namespace}.`a.b/c`")
    assert column(f"SHOW NAMESPACES IN {namespace}") == [f"{namespace}.`a.b/c`"]
    location = lake.pyiceberg().load_table(table).metadata_location
    sql(f"DROP TABLE {table}")
    sql(f"CALL system.register_table(table => '{namespace}.back', metadata_file => '{location}')")
    sql(f"ALTER TABLE {namespace}.back RENAME TO {namespace}.`a.b/c`.`t 3/é+%x`")
    assert column(f"SELECT id FROM {namespace}.`a.b/c`.`t 3/é+%x` ORDER BY id") == [1, 2, 3, 4]
    assert lake.pyiceberg().list_tables((namespace, "a.b/c")) == [(namespace, "a.b/c", "t 3/é+%x")]


@pytest.mark.parametrize("lake", ["local"], indirect=True)
@pytest.mark.parametrize("version", [2, 3])
def test_planning_by_the_server_for_spark(ice, lake, spark, namespace, version):
    """Deletes by positions and by vectors, several partition specs, old snapshots and renamed columns, as Spark and PyIceberg read them."""
    table = f"{namespace}.t"
    ice.sql(
        f"CREATE TABLE {table} (id BIGINT, name STRING, at TIMESTAMP, price DECIMAL(9,2)) USING iceberg PARTITIONED BY (days(at)) TBLPROPERTIES "
        f"('format-version' = '{version}', 'write.delete.mode' = 'merge-on-read', 'write.update.mode' = 'merge-on-read')"
    )

    def insert(start, places):
        made = "id, 'n' || id, TIMESTAMP '2024-01-01' + make_interval(0, 0, 0, id % 4), cast(id / 10 AS DECIMAL(9, 2))"
        ice.sql(f"INSERT INTO {table} SELECT {places.format(made)} FROM range({start}, {start + 20})")

    insert(0, "{}")
    ice.sql(f"DELETE FROM {table} WHERE id IN (1, 2, 5)")
    ice.sql(f"UPDATE {table} SET name = 'changed' WHERE id = 7")
    then = ice.column(f"SELECT snapshot_id FROM {table}.snapshots ORDER BY committed_at")[-1]
    ice.sql(f"ALTER TABLE {table} RENAME COLUMN name TO label")
    ice.sql(f"ALTER TABLE {table} ADD PARTITION FIELD bucket(3, id)")
    insert(20, "{}")
    ice.sql(f"ALTER TABLE {table} DROP PARTITION FIELD days(at)")
    insert(40, "{}")
    ice.sql(f"DELETE FROM {table} WHERE id IN (1, 8, 22, 45, 46) OR label = 'n31'")
    assert set(ice.sql(f"SELECT content, file_format FROM {table}.delete_files")) == {(1, "PARQUET" if version == 2 else "PUFFIN")}
    assert sorted(ice.column(f"SELECT DISTINCT spec_id FROM {table}.files")) == [0, 1, 2]

    served = Catalog(spark, f"{ice.name}_served", {**lake.client_settings(), "scan-planning-mode": "server"})
    rows = ice.sql(f"SELECT * FROM {table} ORDER BY id")
    assert len(rows) == 52
    for condition in (
        "true", "id IN (1, 7, 21, 22, 44, 45)", "at < TIMESTAMP '2024-01-02' OR id > 50", "label = 'changed'",
        "NOT (label LIKE 'n3%' OR price > 2.5)", "price = 4.40 AND label IS NOT NULL", "label <> 'n10' AND at >= TIMESTAMP '2024-01-03'",
    ):
        before = plans_answered(lake)
        read = served.sql(f"SELECT * FROM {table} WHERE {condition} ORDER BY id")
        assert plans_answered(lake) > before, "the server planned"
        assert read == ice.sql(f"SELECT * FROM {table} WHERE {condition} ORDER BY id"), condition
    assert served.column(f"SELECT count(*) FROM {table}") == [52]
    # Not by a column that was renamed since: Iceberg's Java client cannot read by that, whoever plans.
    old = f"SELECT id, name FROM {table} VERSION AS OF {then} WHERE id <> 3 ORDER BY id"
    assert served.sql(old) == ice.sql(old) == [(id, "changed" if id == 7 else f"n{id}") for id in range(20) if id not in (1, 2, 3, 5)]
    before = plans_answered(lake)
    other = lake.pyiceberg().load_table(table).scan().to_arrow()
    assert plans_answered(lake) == before, "who is not told plans itself"
    assert sorted(other["id"].to_pylist()) == [row[0] for row in rows]
    mine = load_catalog("served", type="rest", **{**lake.client_settings(), "scan-planning-mode": "server"}).load_table(table)
    for filter in ("id >= 0", "id < 10", "label = 'changed'", "id in (1, 7, 21, 22, 44, 45)"):
        own = lake.pyiceberg().load_table(table).scan(row_filter=filter).to_arrow()
        assert sorted(mine.scan(row_filter=filter).to_arrow()["id"].to_pylist()) == sorted(own["id"].to_pylist()), filter
    assert plans_answered(lake) == before + 4
    attached = {path(task): task["deletes"] for task in Planner(lake.url, namespace).tasks()}
    if version == 2:
        own = {task.file.file_path: {delete.file_path for delete in task.delete_files} for task in lake.pyiceberg().load_table(table).scan().plan_files()}
        assert {data: {delete["file-path"] for delete in deletes} for data, deletes in attached.items()} == own and any(own.values())
    else:
        # PyIceberg takes a vector for one of its whole partition, and Java's client knows whose it is.
        vectors = ice.sql(f"SELECT referenced_data_file, file_path, content_offset, content_size_in_bytes FROM {table}.delete_files")
        names = ("referenced-data-file", "file-path", "content-offset", "content-size-in-bytes")
        assert sorted(tuple(delete[name] for name in names) for deletes in attached.values() for delete in deletes) == sorted(vectors)
        assert all(delete["referenced-data-file"] == data for data, deletes in attached.items() for delete in deletes)
    # What it changes, it has to find first.
    served.sql(f"DELETE FROM {table} WHERE id = 12")
    served.sql(f"UPDATE {table} SET label = 'served' WHERE id = 50")
    served.sql(
        f"MERGE INTO {table} t USING (SELECT 14 AS id, 'merged' AS label UNION ALL SELECT 500, 'new') s ON t.id = s.id "
        "WHEN MATCHED THEN UPDATE SET label = s.label WHEN NOT MATCHED THEN INSERT (id, label) VALUES (s.id, s.label)"
    )
    # The other catalog keeps the table as it was.
    ice.sql(f"REFRESH TABLE {table}")
    assert ice.sql(f"SELECT id, label FROM {table} WHERE id IN (12, 13, 14, 50, 500) ORDER BY id") == [(13, "n13"), (14, "merged"), (50, "served"), (500, "new")]
    where = f"SELECT id, _file, _pos, _spec_id, _partition FROM {table} ORDER BY id"
    assert served.sql(where) == ice.sql(where)


@pytest.fixture(scope="module", params=["minio", "seaweedfs"] if LONG else ["minio"])
def delegating(request, tmp_path_factory):
    server = Delegating(tmp_path_factory.mktemp("delegating"), request.getfixturevalue(request.param))
    yield server
    assert server.stop() == 0, "a stop is clean"


class OneWay:
    """A warehouse of a floeberg that delegates, met as `lake` is. Only Java's client has its requests signed as Spark needs it."""

    def __init__(self, server, way):
        self.server, self.way, self.store = server, way, server.store

    def client_settings(self, asked):
        return {**self.server.client_settings(self.way), "header.X-Iceberg-Access-Delegation": asked}

    def pyiceberg(self):
        return self.server.pyiceberg(self.way)


@pytest.mark.parametrize("way, asked", [("signed", "remote-signing"), *([("lent", "vended-credentials")] if LONG else [])])
def test_spark_lives_without_keys_of_its_own(spark, delegating, request, way, asked):
    """With a token, behind a path, in a warehouse that is not the first."""
    name = f"none_{request.node.callspec.id}".replace("-", "_")
    lake = OneWay(delegating, way)
    ice = Catalog(spark, name, lake.client_settings(asked))
    # A namespace must not be called as its catalog is: Spark would take one for the other.
    live(ice, lake, f"in_{name}", others=())
    ice.sql(f"CREATE NAMESPACE in_{name}")
    tidy(ice, lake, f"in_{name}.t")


@pytest.mark.skipif(not LONG, reason="Keys take their time to expire.")
def test_spark_asks_for_other_keys_before_its_own_expire(spark, briefly_lent_lake):
    settings = {"uri": briefly_lent_lake.url, "header.X-Iceberg-Access-Delegation": "vended-credentials"}
    ice = Catalog(spark, "brief", settings)
    ice.sql("CREATE NAMESPACE in_spark")
    ice.sql("CREATE TABLE in_spark.t USING iceberg AS SELECT id FROM range(3)")
    asked = lambda: briefly_lent_lake.process.log.read_text().count('/tables/t/credentials"')
    before = asked()
    # A statement that outlives the keys it began with: each row of it takes a second.
    ice.spark.udf.register("slowly", lambda id: time.sleep(1) or id, "long")
    ice.sql(f"INSERT INTO in_spark.t SELECT slowly(id) FROM range(3, {BRIEFLY + 3})")
    time.sleep(BRIEFLY + 1)
    assert ice.column("SELECT id FROM in_spark.t ORDER BY id") == list(range(BRIEFLY + 3))
    ice.sql("INSERT INTO in_spark.t VALUES (100)")
    assert ice.sql("SELECT count(*), max(id) FROM in_spark.t") == [(BRIEFLY + 4, 100)] and asked() > before


@pytest.mark.parametrize("lake", ["token", "credential"], indirect=True)
def test_spark_is_told_what_it_may_not(ice, lake, spark, namespace):
    ice.sql(f"CREATE TABLE {namespace}.t USING iceberg AS SELECT id FROM range(3)")
    reader = Catalog(spark, f"{ice.name}_reader", lake.reader.client_settings())
    assert reader.column(f"SELECT count(*) FROM {namespace}.t") == [3]
    for statement in (f"INSERT INTO {namespace}.t VALUES (9)", f"DROP TABLE {namespace}.t", f"CREATE NAMESPACE {namespace}.inner"):
        with pytest.raises(Exception, match="ForbiddenException"):
            reader.sql(statement)
    assert ice.column(f"SELECT count(*) FROM {namespace}.t") == [3]
    stranger = Catalog(spark, f"{ice.name}_stranger", {**lake.client_settings(), lake.how: "flo_wrong"})
    with pytest.raises(Exception, match="NotAuthorizedException"):
        stranger.sql("SHOW NAMESPACES")
