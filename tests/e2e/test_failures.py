"""What goes wrong around a table, as engines over a bucket meet it, each with its outcome.

The catalog is stopped: engines say that nobody answers, whoever has loaded a table reads on, nothing is changed, and all
goes on when it is back. The current metadata file is damaged: engines are told which it is, and read again after a rollback.
Data files carry other names than the table's columns, or lack one: they are read by field id, and NULL where nothing is.
Several write to one partition: a conflict is told, and every row that was acknowledged is there once.
"""

import re
import signal
import threading
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import ValidationException
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.typedef import Record

from conftest import LONG, run
from trino_server import objects

pytestmark = pytest.mark.parametrize("lake", ["seaweedfs"], indirect=True)


def rows(*ids, **more):
    return pa.table({"id": pa.array(ids, pa.int64()), **more})


def ids(table):
    return sorted(table.scan().to_arrow()["id"].to_pylist())


class Engines:
    """PyIceberg, DuckDB and Trino at one table of ids, through connections that stay open."""

    def __init__(self, lake, trino, table):
        self.catalog, self.db, self.trino, self.table = lake.pyiceberg(), lake.duckdb(), trino, table

    def reads(self):
        """By its name, how an engine reads all ids."""
        return {
            "PyIceberg": lambda: ids(self.catalog.load_table(self.table)),
            "DuckDB": lambda: [id for id, in self.db.execute(f"SELECT id FROM ice.{self.table} ORDER BY id").fetchall()],
            "Trino": lambda: self.trino.column(f"SELECT id FROM {self.table} ORDER BY id"),
        }

    def adds(self, id):
        """By its name, how an engine adds a row."""
        return {
            "PyIceberg": lambda: self.catalog.load_table(self.table).append(rows(id)),
            "DuckDB": lambda: self.db.execute(f"INSERT INTO ice.{self.table} VALUES ({id})"),
            "Trino": lambda: self.trino.sql(f"INSERT INTO {self.table} VALUES ({id})"),
        }

    def all_read(self, wanted):
        assert {name: read() for name, read in self.reads().items()} == dict.fromkeys(self.reads(), wanted)

    def all_add(self, first):
        for id, name in enumerate(self.reads(), first):
            self.adds(id)[name]()

    def all_are_told(self, words):
        """Whoever reads or writes fails, with words that say why."""
        for name, ask in [*self.reads().items(), *self.adds(100).items()]:
            with pytest.raises(Exception) as failure:
                ask()
            # Trino tells the cause beside its message.
            said = f"{failure.value} {getattr(failure.value, 'failure_info', '')}"
            assert re.search(words, said), f"{name} says: {said}"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL] if LONG else [signal.SIGTERM], ids=lambda how: how.name)
def test_a_catalog_that_is_stopped_is_told_and_all_goes_on_when_it_is_back(lake, trino, namespace, how):
    engines = Engines(lake, trino, f"{namespace}.t")
    engines.catalog.create_table(engines.table, schema=rows().schema).append(rows(0))
    engines.all_add(1)
    loaded = engines.catalog.load_table(engines.table)
    before = objects(lake, loaded.location())
    lake.stop(how)
    try:
        engines.all_are_told("(?i)refused|connect")
        assert ids(loaded) == [0, 1, 2, 3], "whoever has loaded the table reads on"
        with pytest.raises(requests.ConnectionError):
            loaded.append(rows(100))
        assert before.items() <= objects(lake, loaded.location()).items(), "what is there is untouched"
    finally:
        lake.start()
    engines.all_read([0, 1, 2, 3])
    assert engines.catalog.load_table(engines.table).metadata_location == loaded.metadata_location
    engines.all_add(4)
    loaded.append(rows(7))
    engines.all_read(list(range(8)))


def test_a_table_whose_metadata_is_damaged_is_named_and_read_again_after_a_rollback(lake, trino, namespace):
    engines = Engines(lake, trino, f"{namespace}.t")
    table = engines.catalog.create_table(engines.table, schema=rows().schema)
    files = []
    for id in range(3):
        table.append(rows(id))
        files.append(table.metadata_location)
    engines.all_read([0, 1, 2])
    lake.store.client().put_object(Bucket=lake.store.bucket, Key=lake.store.key_of(files[-1]), Body=b'{"format-version":2,')
    lake.restart()
    engines.all_are_told(re.escape(files[-1]))
    shown = run("tables", "show", engines.table, cwd=lake.folder)
    assert "DAMAGED" in shown.stdout and files[-2] in shown.stdout, shown
    back = run("tables", "rollback", engines.table, "--to", files[-2], cwd=lake.folder)
    assert back.returncode == 0, back
    engines.all_read([0, 1])
    engines.all_add(2)
    engines.all_read(list(range(5)))


def parquet(table, name, columns):
    """A Parquet file in the table's folder: each column by what it is called, its field id, its type and its values."""
    fields = [pa.field(called, type, metadata={"PARQUET:field_id": str(id)}) for called, id, type, _ in columns]
    written = pa.table([pa.array(values, type) for _, _, type, values in columns], schema=pa.schema(fields))
    path = f"{table.location()}/data/{name}.parquet"
    with table.io.new_output(path).create() as out:
        pq.write_table(written, out)
    return path, written.num_rows


def append_as_it_is(table, path, count, partition):
    """By PyIceberg's own way the file's columns would get field ids by their names."""
    file = DataFile.from_args(
        content=DataFileContent.DATA, file_path=path, file_format=FileFormat.PARQUET, partition=Record(partition), record_count=count,
        file_size_in_bytes=len(table.io.new_input(path)),
    )
    file.spec_id = table.metadata.default_spec_id
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        append.append_data_file(file)


def test_files_are_read_by_field_id_and_null_where_they_have_no_column(lake, trino, namespace):
    name = f"{namespace}.t"
    place = pa.struct([("city", pa.string()), ("zip", pa.string())])
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("amount", pa.decimal128(12, 2)), ("part", pa.string()), ("place", place)])
    table = lake.pyiceberg().create_table(name, schema=schema)
    with table.update_spec() as update:
        update.add_identity("part")
    assert [(field.name, field.field_id) for field in table.schema().fields] == [("id", 1), ("name", 2), ("amount", 3), ("part", 4), ("place", 5)]
    tagged = lambda called, id: pa.field(called, pa.string(), metadata={"PARQUET:field_id": str(id)})
    # In another order, and twice two of them under each other's name.
    other_names = [
        ("place", 5, pa.struct([tagged("zip", 6), tagged("city", 7)]), [{"zip": "Bonn", "city": "53111"}, None]),
        ("amount", 2, pa.string(), ["a", "b"]), ("Menge", 3, pa.decimal128(12, 2), [Decimal("1.50"), None]),
        ("teil", 4, pa.string(), ["p", "p"]), ("name", 1, pa.int64(), [1, 2]),
    ]
    lacking = [
        ("id", 1, pa.int64(), [3, 4]), ("surplus", 99, pa.string(), ["x", "y"]),
        ("place", 5, pa.struct([tagged("city", 6)]), [{"city": "Ulm"}, {"city": None}]),
    ]
    for called, columns in (("other-names", other_names), ("lacking", lacking)):
        append_as_it_is(table, *parquet(table, called, columns), partition="p")
    # What the partition says of a column is not NULL where the file lacks it.
    wanted = [
        (1, "a", Decimal("1.50"), "p", "Bonn", "53111"), (2, "b", None, "p", None, None),
        (3, None, None, "p", "Ulm", None), (4, None, None, "p", None, None),
    ]
    query = "SELECT id, name, amount, part, place.city, place.zip FROM {} {} ORDER BY id"
    for condition, found in [
        ("", wanted), ("WHERE name = 'b'", wanted[1:2]), ("WHERE name IS NULL", wanted[2:]), ("WHERE amount > 1", wanted[:1]), ("WHERE part = 'q'", []),
    ]:
        assert trino.sql(query.format(name, condition)) == found
        assert lake.duckdb().execute(query.format(f"ice.{name}", condition)).fetchall() == found
        for planned in ("client", "server"):
            catalog = load_catalog("c", type="rest", **lake.client_settings(), **{"scan-planning-mode": planned})
            read = catalog.load_table(name).scan(row_filter=condition.removeprefix("WHERE ") or AlwaysTrue()).to_arrow().to_pylist()
            assert sorted(map(flat, read)) == found, (condition, planned)


def flat(row):
    place = row.pop("place") or {"city": None, "zip": None}
    return (*row.values(), place["city"], place["zip"])


WRITES = 20 if LONG else 4


def test_writers_of_one_partition_are_told_of_conflicts_and_no_row_is_lost_or_doubled(lake, trino, namespace):
    name = f"{namespace}.t"
    trino.sql(f"CREATE TABLE {name} (id bigint, part varchar) WITH (partitioning = ARRAY['part'])")
    acknowledged, conflicts, failures = [], [], []

    def by_pyiceberg(id):
        lake.pyiceberg().load_table(name).append(rows(id, part=["p"]))

    def by_trino(id):
        trino.sql(f"INSERT INTO {name} VALUES ({id}, 'p')")

    def by_ingest(id):
        answer = requests.post(f"{lake.url}/ingest/v1/{namespace}/t", json=[{"id": id, "part": "p"}], timeout=60)
        assert answer.status_code == 200, answer.text

    def write(number, add):
        """Rows, one after the other. An engine tries a commit again by itself, a few times, and then says that it lost."""
        for id in range(number * 1_000, number * 1_000 + WRITES):
            while id not in acknowledged:
                try:
                    add(id)
                    acknowledged.append(id)
                except Exception as failure:
                    said = f"{failure!r} {getattr(failure, 'failure_info', '')}"
                    if "CommitFailedException" not in said:
                        failures.append(f"{add.__name__}: {said}")
                        return
                    conflicts.append(said)

    writers = [threading.Thread(target=write, args=one) for one in enumerate([by_pyiceberg, by_trino, by_ingest] * 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert not writer.is_alive(), "everybody gets through"
    assert not failures, failures
    assert all(re.search("has changed|changed concurrently", said) for said in conflicts), conflicts
    wanted = sorted(acknowledged)
    assert len(wanted) == 6 * WRITES
    assert trino.column(f"SELECT id FROM {name} WHERE part = 'p' ORDER BY id") == ids(lake.pyiceberg().load_table(name)) == wanted
    assert [id for id, in lake.duckdb().execute(f"SELECT id FROM ice.{name} ORDER BY id").fetchall()] == wanted


def test_of_two_who_write_a_partition_anew_the_second_is_told_and_may_try_again(lake, trino, namespace):
    name = f"{namespace}.t"
    trino.sql(f"CREATE TABLE {name} (id bigint, part varchar) WITH (partitioning = ARRAY['part'])")
    trino.sql(f"INSERT INTO {name} VALUES (1, 'p'), (2, 'q')")
    loaded = lake.pyiceberg().load_table(name)
    anew = lambda table: table.overwrite(rows(20, part=["p"]), "part == 'p'")
    trino.sql(f"UPDATE {name} SET id = 10 WHERE part = 'p'")
    with pytest.raises(ValidationException, match="data files were found"):
        anew(loaded)
    assert trino.column(f"SELECT id FROM {name} ORDER BY id") == [2, 10]
    anew(lake.pyiceberg().load_table(name))
    assert trino.column(f"SELECT id FROM {name} ORDER BY id") == [2, 20]
